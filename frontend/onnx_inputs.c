// The inputs of a model, and its batch.
//
// The batch is symbolic (some input's dim has a name), or fixed at export: the first dim that all inputs share. At 1 the
// graph is one row as it stands; larger, the rows written into shapes and constants are cut.
#include "onnx_inputs.h"

#include <string.h>

enum { SEVERAL = 3, MOST_INPUTS = 1024, WIDEST_INPUT = 1 << 22 };

static bool input_dims(Context *cx, const Origin *where, const Onnx__TensorShapeProto *shape, Input *in)
{
    in->rank = (int)(shape->n_dim > MAX_RANK ? MAX_RANK + 1 : shape->n_dim);
    if (in->rank > MAX_RANK) {
        diag_error(cx, where, "merge dimensions in the model", "more than 8 dimensions");
        return false;
    }
    int64_t lanes = 1;
    for (int i = 0; i < in->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        bool value = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        bool param = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        in->dim[i] = value ? d->dim_value : -1;
        in->symbol[i] = param && d->dim_param && *d->dim_param ? d->dim_param : NULL;
        if (!value) continue;
        if (d->dim_value > 0 && d->dim_value <= WIDEST_INPUT && (lanes *= d->dim_value) <= WIDEST_INPUT) continue;
        diag_error(cx, where, "is this the intended model? inputs have up to 2^22 numbers", "dimension %d is %lld", i,
                   (long long)d->dim_value);
        return false;
    }
    return true;
}

static bool read_input(Context *cx, const Onnx__ValueInfoProto *v, Input *in)
{
    *in = (Input){.name = v->name ? v->name : "", .batch_axis = -1};
    Origin where = {in->name, "input", NULL, NULL};
    const Onnx__TypeProto__Tensor *t =
        v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? v->type->tensor_type : NULL;
    if (!t) {
        diag_error(cx, &where, "give the graph tensors as inputs", "not a tensor");
        return false;
    }
    if (!onnx_dtype(t->has_elem_type ? t->elem_type : 0, &in->dtype)) {
        diag_error(cx, &where, "use float32", "its type, %s, is not supported",
                   onnx_type_name(t->has_elem_type ? t->elem_type : 0));
        return false;
    }
    if (in->dtype == T_F64) in->dtype = T_F32;
    if (t->shape) return input_dims(cx, &where, t->shape, in);
    diag_error(cx, &where, "export with input shapes", "it has no shape");
    return false;
}

// True if this name stands for the batch: it is some input's first dim.
static bool names_batch(const Inputs *all, const char *symbol)
{
    for (int i = 0; i < all->n_inputs; i++)
        if (all->inputs[i].rank && all->inputs[i].symbol[0] && !strcmp(all->inputs[i].symbol[0], symbol)) return true;
    return false;
}

// The only name in all shapes, or NULL: a batch that is nobody's first dim.
static const char *only_symbol(const Inputs *all)
{
    const char *found = NULL;
    for (int i = 0; i < all->n_inputs; i++)
        for (int k = 0; k < all->inputs[i].rank; k++) {
            const char *s = all->inputs[i].symbol[k];
            if (all->inputs[i].dim[k] >= 0) continue;
            if (!s || k == 0 || (found && strcmp(found, s) != 0)) return NULL;
            found = s;
        }
    return found;
}

static bool find_symbols(Context *cx, Inputs *all)
{
    bool ok = true;
    const char *only = only_symbol(all);
    for (int i = 0; i < all->n_inputs; i++) {
        Input *in = &all->inputs[i];
        Origin where = {in->name, "input", NULL, NULL};
        for (int k = 0; k < in->rank; k++) {
            if (in->dim[k] >= 0) continue;
            const char *s = in->symbol[k];
            if (in->batch_axis < 0 && (k == 0 || (s && (names_batch(all, s) || (only && !strcmp(only, s)))))) {
                in->batch_axis = k;
                all->rows = SEVERAL;
                continue;
            }
            diag_error(cx, &where, "export with fixed sizes; only the batch dimension may vary",
                       "dimension %d, '%.100s', is not fixed", k, s ? s : "unnamed");
            ok = false;
        }
    }
    return ok;
}

// A batch fixed at export: the first dim that all inputs of rank 2 and more share; one of them may be 1 (one for all
// rows). Vectors of that length are one number a row, others are shared.
static void find_fixed(Inputs *all)
{
    int64_t rows = 0;
    bool agree = true;
    for (int i = 0; i < all->n_inputs; i++)
        if (all->inputs[i].rank > 1 && all->inputs[i].dim[0] > rows) rows = all->inputs[i].dim[0];
    for (int i = 0; i < all->n_inputs; i++)
        agree &= all->inputs[i].rank < 2 || all->inputs[i].dim[0] == rows || all->inputs[i].dim[0] == 1;
    for (int i = 0; i < all->n_inputs && agree && rows; i++)
        if (all->inputs[i].rank && all->inputs[i].dim[0] == rows) all->inputs[i].batch_axis = 0;
    if (!agree || rows <= 1) return;
    all->rows = rows;
    all->fixed = true;
}

static bool all_fixed(const Inputs *all)
{
    for (int i = 0; i < all->n_inputs; i++)
        for (int k = 0; k < all->inputs[i].rank; k++)
            if (all->inputs[i].dim[k] < 0) return false;
    return true;
}

bool read_inputs(Context *cx, const Onnx__GraphProto *g, bool no_batch, Inputs *all)
{
    bool ok = true, *has_default = inputs_with_defaults(cx->arena, g);
    *all = (Inputs){.inputs = ARENA_ARRAY(cx->arena, Input, g->n_input + 1), .rows = 1};
    for (size_t i = 0; i < g->n_input && all->n_inputs < MOST_INPUTS; i++)
        if (!has_default[i]) ok &= read_input(cx, g->input[i], &all->inputs[all->n_inputs++]);
    if (all->n_inputs == MOST_INPUTS) {
        diag_error(cx, NULL, "is this the intended model?", "%d inputs or more", MOST_INPUTS);
        return false;
    }
    if (!ok) return false;
    if (no_batch && all_fixed(all)) {
        all->no_batch = true;
        return true;
    }
    if (!find_symbols(cx, all)) return false;
    if (all->rows == 1) find_fixed(all);
    return true;
}

Type input_type(const Input *in, int64_t rows)
{
    Type t = type_make(in->dtype, in->rank, in->dim);
    if (in->batch_axis >= 0) t.dim[in->batch_axis] = rows;
    return t;
}
