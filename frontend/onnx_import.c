// ModelProto -> Module: two instantiations of its graph (see onnx_import.h), the proof that rows are independent, ports
// and properties.
#include "onnx_inputs.h"

#include <stdlib.h>
#include <string.h>

enum { OLDEST_OPSET = 11 };

// ---- instantiation

// `constant`: the inputs' numbers (see row_numbers), which make every value a constant; NULL: they stay open.
static bool instantiate(Importer *im, const Inputs *all, double *const *constant, Value *out)
{
    const Onnx__GraphProto *g = im->model->graph;
    Value *in = ARENA_ARRAY(im->cx->arena, Value, all->n_inputs + 1);
    const char **names = ARENA_ARRAY(im->cx->arena, const char *, all->n_inputs + 1);
    for (int i = 0; i < all->n_inputs; i++) {
        Type *many = arena_copy(im->cx->arena, &(Type){0}, sizeof *many);
        *many = input_type(&all->inputs[i], im->many_rows);
        names[i] = all->inputs[i].name;
        in[i] =
            (Value){.kind = VALUE_TENSOR, .node = build_input(im->b, names[i], input_type(&all->inputs[i], im->rows))};
        if (im->many) in[i].many = many;
        if (constant)
            in[i].node = build_cast(im->b, build_reals(im->b, in[i].node->type, constant[i]), in[i].node->type.dtype);
    }
    return run_main(im, all->n_inputs, names, in, (int)g->n_output, out);
}

// The axis that grows with the rows. False, reported: a row gives several places of it.
static bool find_batch_axis(Importer *im, const Value *v, const Origin *where, int *axis)
{
    Type one = v->node->type;
    *axis = -1;
    for (int a = 0; v->many && im->many_rows > 1 && a < one.rank && *axis < 0; a++)
        if (v->many->dim[a] == one.dim[a] * im->many_rows) *axis = a;
    if (*axis < 0 || one.dim[*axis] == 1) return true;
    diag_error(im->cx, where, "give the rows of the batch an axis of their own, [N, K, ...]",
               "each row of the batch gives %lld rows of this output", (long long)one.dim[*axis]);
    return false;
}

// One output as the graph's user sees it: a tensor, one row of it if rows were written into a constant.
static const Node *output_node(Importer *im, const Value *v, const char *name, int *batch_axis)
{
    Origin where = {name, "output", NULL, NULL};
    if (v->kind != VALUE_TENSOR || v->mask) {
        diag_error(im->cx, &where, "leave it out of the export; or write the selection with torch.where",
                   "not a tensor of fixed shape");
        return NULL;
    }
    const Node *n = v->node;
    if (!find_batch_axis(im, v, &where, batch_axis)) return NULL;
    if (*batch_axis >= 0 || !n->type.rank) return n;
    if (!im->many && !im->no_batch && n->type.dim[0] == 1) *batch_axis = 0;
    if (im->fixed && im->many && node_is_const(n) && n->type.dim[0] == im->many_rows) {
        *batch_axis = 0;
        return build_slice(im->b, n, 0, 0, 1, 1);
    }
    return n;
}

static Type without_axis(Type t, int axis)
{
    if (axis < 0) return t;
    memmove(t.dim + axis, t.dim + axis + 1, (size_t)(t.rank - axis - 1) * sizeof t.dim[0]);
    t.rank--;
    return t;
}

static const Function *finish(Importer *im, const Value *values, Port *ports)
{
    const Onnx__GraphProto *g = im->model->graph;
    for (size_t i = 0; i < g->n_output; i++) {
        Value v = values[i];
        const Node *n = output_node(im, &v, g->output[i]->name, &ports[i].batch_axis);
        if (!n) return NULL;
        Type t = without_axis(n->type, ports[i].batch_axis);
        if (t.dtype == T_F64) t.dtype = T_F32;
        ports[i] = (Port){g->output[i]->name, t, ports[i].batch_axis};
        build_output(im->b, g->output[i]->name, n);
    }
    return builder_finish(im->b);
}

// ---- row independence

typedef struct {
    Context *cx;
    Source *source;
    const Onnx__ModelProto *model;
    const Inputs *inputs;
} Job;

// Its nodes are gone when the import is done.
static Importer *for_many(const Job *j, Records *records)
{
    Context *short_lived = arena_copy(scratch_arena(j->cx), j->cx, sizeof *j->cx);
    short_lived->nodes = j->cx->scratch;
    Importer *im = importer_new(short_lived, j->source, j->model, j->inputs->rows);
    im->record = records;
    im->many_rows = j->inputs->rows;
    return im;
}

static Importer *for_one(const Job *j, const Records *records)
{
    Importer *im = importer_new(j->cx, j->source, j->model, 1);
    im->many = j->inputs->rows > 1 ? records : NULL;
    im->many_rows = j->inputs->rows;
    im->fixed = j->inputs->fixed;
    im->no_batch = j->inputs->no_batch;
    return im;
}

static void report_mixing(const Job *j, const Origin *where, const Mixing *m)
{
    const char *hint = "compute each row from its own inputs only: no statistics, sums or sorting over the batch";
    if (j->inputs->fixed)
        hint = "compute each row from its own inputs only; if the first dimension of the inputs is no batch, give them "
               "one";
    diag_error(j->cx, where, hint, "mixes rows of the batch: row %d is %.6g alone and %.6g among %lld rows", m->row,
               m->one, m->many, (long long)j->inputs->rows);
}

// All rounds, or one where they would take long.
static bool all_rounds(const Function *one, const Function *many, int64_t rows, double work, Mixing *m)
{
    for (int round = 0; round < (work < 2e7 ? ROUNDS : 1); round++)
        if (!rows_agree(one, many, rows, round, m)) return false;
    return true;
}

// Both instantiations again with every value as an output: the first that differs is the culprit.
static void find_culprit(const Job *j, const char *output, const Mixing *seen)
{
    Records records = {0};
    Importer *many = for_many(j, &records), *one = for_one(j, &records);
    Value *values = ARENA_ARRAY(j->cx->arena, Value, j->model->graph->n_output + 1);
    Origin last = {output, "output", NULL, NULL};
    Mixing m;
    many->trace = one->trace = true;
    bool ok = instantiate(many, j->inputs, NULL, values) && instantiate(one, j->inputs, NULL, values);
    if (ok && !all_rounds(builder_finish(one->b), builder_finish(many->b), j->inputs->rows, many->work, &m))
        report_mixing(j, one->traced[m.output].origin, &m);
    else
        report_mixing(j, &last, seen);
}

// ---- selection by computed masks

// The graph with numbers as inputs: every value is a constant, and masks select what they really do.
static const Function *with_numbers(const Job *j, const Function *one, int round)
{
    int n = one->n_inputs;
    int64_t rows = j->inputs->rows;
    Type *types = ARENA_ARRAY(j->cx->arena, Type, 2 * n + 1);
    double **x = ARENA_ARRAY(j->cx->arena, double *, 2 * n + 1), **y = x + n;
    for (int i = 0; i < n; i++) {
        types[i] = input_type(&j->inputs->inputs[i], 1);
        types[n + i] = input_type(&j->inputs->inputs[i], rows);
    }
    Importer *im = importer_new(j->cx, j->source, j->model, rows);
    im->numbers = true;
    Value *values = ARENA_ARRAY(j->cx->arena, Value, j->model->graph->n_output + 1);
    Port *ports = ARENA_ARRAY(j->cx->arena, Port, j->model->graph->n_output + 1);
    bool ok = row_numbers(n, types, types + n, rows, round, x, y) && instantiate(im, j->inputs, y, values);
    for (int i = 0; i < 2 * n; i++) free(x[i]);
    return ok ? finish(im, values, ports) : NULL;
}

static bool masks_hold(const Job *j, const Function *one)
{
    for (int round = 0; round < ROUNDS; round++) {
        Mixing m;
        const Function *numbers = with_numbers(j, one, round);
        if (!numbers) return false;
        if (rows_agree(one, numbers, j->inputs->rows, round, &m)) continue;
        Origin where = {one->outputs[m.output].name, "output", NULL, NULL};
        diag_error(j->cx, &where, "write the selection with torch.where",
                   "elements that a computed mask selects are combined with each other (%.6g instead of %.6g)", m.one,
                   m.many);
        return false;
    }
    return true;
}

// ---- the whole

static bool check_model(Context *cx, const Onnx__ModelProto *m)
{
    int64_t opset = -1;
    if (!m->graph || !m->graph->n_output) {
        diag_error(cx, NULL, "export the model again", "the file holds no graph with outputs");
        return false;
    }
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const char *d = m->opset_import[i]->domain;
        if (!d || !*d || !strcmp(d, "ai.onnx")) opset = m->opset_import[i]->version;
    }
    if (opset >= OLDEST_OPSET) return true;
    if (opset < 0)
        diag_error(cx, NULL, "export the model again", "the file does not say which opset it uses");
    else
        diag_error(cx, NULL, "export with opset_version=18", "opset %lld is older than 11, the oldest that is read",
                   (long long)opset);
    return false;
}

static bool of_16_bits(int64_t type)
{
    return type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 || type == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
}

static bool casts_to_16_bits(const Onnx__NodeProto *node)
{
    if (!node->op_type || strcmp(node->op_type, "Cast")) return false;
    for (size_t i = 0; i < node->n_attribute; i++)
        if (node->attribute[i]->name && !strcmp(node->attribute[i]->name, "to"))
            return of_16_bits(node->attribute[i]->i);
    return false;
}

// Computed in float16 or bfloat16: then the exporter rounded the graph's own constants (log 2 pi, say) to that, which
// the checks allow for. Weights that are only stored so, behind a Cast to float32, do not count.
static bool has_16_bits(const Onnx__ModelProto *model)
{
    const Onnx__GraphProto *g = model->graph;
    for (size_t i = 0; i < g->n_node; i++)
        if (casts_to_16_bits(g->node[i])) return true;
    for (size_t i = 0; i < g->n_output; i++) {
        const Onnx__TypeProto *t = g->output[i]->type;
        bool tensor = t && t->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
        int type = tensor ? t->tensor_type->elem_type : 0;
        if (of_16_bits(type)) return true;
    }
    return false;
}

static void set_properties(Context *cx, const Onnx__ModelProto *model, Module *m)
{
    Property *p = ARENA_ARRAY(cx->arena, Property, model->n_metadata_props + 1);
    for (size_t i = 0; i < model->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *e = model->metadata_props[i];
        if (e->key) p[m->n_properties++] = (Property){e->key, e->value ? e->value : ""};
    }
    m->properties = p;
}

static Module *make_module(const Job *j, const Function *f, Port *outputs)
{
    const Function **functions = arena_copy(j->cx->arena, &f, sizeof(Function *));
    Module *m = module_new(j->cx, STAGE_IMPORTED, 1, functions, NULL);
    Port *in = ARENA_ARRAY(j->cx->arena, Port, j->inputs->n_inputs + 1);
    for (int i = 0; i < j->inputs->n_inputs; i++) {
        const Input *input = &j->inputs->inputs[i];
        in[i] = (Port){input->name, without_axis(input_type(input, 1), input->batch_axis), input->batch_axis};
    }
    m->inputs = in;
    m->n_inputs = j->inputs->n_inputs;
    m->outputs = outputs;
    m->n_outputs = f->n_outputs;
    set_properties(j->cx, j->model, m);
    return has_16_bits(j->model) ? module_with_note(j->cx, m, "floats", "16 bits") : m;
}

// The instantiation for many rows, noting shapes. A batch that claims to vary, but is written into the graph as a
// number, is tried again with that number.
static const Function *instantiate_many(Job *j, Records *records, Value *values, Port *ports, double *work)
{
    Diag *d = j->cx->diag;
    size_t n = d->n, errors = d->errors;
    Importer *im = for_many(j, records);
    bool ok = instantiate(im, j->inputs, NULL, values);
    if (!ok && !j->inputs->fixed && im->suggested > 0 && im->suggested != j->inputs->rows) {
        Inputs *fixed = arena_copy(j->cx->arena, j->inputs, sizeof *fixed);
        size_t all = d->n, all_errors = d->errors;
        fixed->rows = im->suggested;
        fixed->fixed = true;
        *records = (Records){0};
        d->n = n;
        d->errors = errors;
        im = for_many(&(Job){j->cx, j->source, j->model, fixed}, records);
        Diagnostic *first = arena_copy(j->cx->arena, d->list, all * sizeof *d->list);
        ok = instantiate(im, fixed, NULL, values);
        if (ok) j->inputs = fixed;
        if (!ok) { // the first attempt says it better
            d->list = first;
            d->n = d->cap = all;
            d->errors = all_errors;
        }
    }
    *work = im->work;
    return ok ? finish(im, values, ports) : NULL;
}

static Module *import_model(Job *j)
{
    const Onnx__GraphProto *g = j->model->graph;
    Records records = {0};
    Value *values = ARENA_ARRAY(j->cx->arena, Value, g->n_output + 1);
    Port *ports = ARENA_ARRAY(j->cx->arena, Port, g->n_output + 1);
    const Function *many = NULL;
    double work = 0;
    if (j->inputs->rows > 1 && !(many = instantiate_many(j, &records, values, ports, &work))) return NULL;
    Importer *im = for_one(j, &records);
    if (!instantiate(im, j->inputs, NULL, values)) return NULL;
    const Function *one = finish(im, values, ports);
    Mixing m;
    if (!one) return NULL;
    if (many && !all_rounds(one, many, j->inputs->rows, work, &m)) {
        find_culprit(j, one->outputs[m.output].name, &m);
        return NULL;
    }
    if (im->masked && !masks_hold(j, one)) return NULL;
    return make_module(j, one, ports);
}

// The inputs whose values are given become initializers, which stand for inputs of the same name.
static void give_inputs(Context *cx, Onnx__GraphProto *g, const ImportOptions *o)
{
    Onnx__TensorProto **all = ARENA_ARRAY(cx->arena, Onnx__TensorProto *, g->n_initializer + (size_t)o->n_known + 1);
    size_t n = g->n_initializer;
    if (n) memcpy(all, g->initializer, n * sizeof *all);
    for (int i = 0; i < o->n_known && (size_t)i < g->n_input; i++) {
        if (!o->known[i]) continue;
        all[n] = arena_copy(cx->arena, o->known[i]->proto, sizeof **all);
        all[n++]->name = g->input[i]->name;
    }
    g->initializer = all;
    g->n_initializer = n;
}

Module *onnx_load_source(Context *cx, const void *bytes, Source *source)
{
    Inputs inputs;
    const ImportOptions *options = source->options;
    Onnx__ModelProto *model = onnx_parse(cx, bytes, source->size);
    if (!model || !check_model(cx, model)) return NULL;
    if (options && options->n_known) give_inputs(cx, model->graph, options);
    if (!read_inputs(cx, model->graph, options && options->no_batch, &inputs)) return NULL;
    Context own = {.arena = cx->arena, .diag = cx->diag, .nodes = cx->nodes, .scratch = arena_within(cx->arena)};
    source->cx = &own;
    order_model(&own, model);
    Job job = {&own, source, model, &inputs};
    Module *m = import_model(&job);
    source->cx = cx;
    arena_free(own.scratch);
    return m;
}

Module *onnx_load_bytes(Context *cx, const void *bytes, size_t size, const char *path, const ImportOptions *options)
{
    return onnx_load_source(cx, bytes, &(Source){.options = options, .path = path, .size = size});
}
