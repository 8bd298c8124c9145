// What importers are written in (onnx_import.h): operands, results, attributes and axes of the node being imported, and
// what a model may cost. An error is reported once a node; whoever asks for more gets nothing and goes on.
#include "onnx_import.h"

#include <string.h>

// ---- operands and results

Arena *call_arena(const Call *c) { return c->im->cx->arena; }

void *fail(Call *c, const char *hint, const char *format, ...)
{
    if (c->failed) return NULL;
    c->failed = true;
    va_list args;
    va_start(args, format);
    char reason[2048];
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    diag_error(c->im->cx, c->origin, hint, "%s", reason);
    return NULL;
}

bool has_arg(Call *c, int i)
{
    if (i < 64) c->read_in |= (uint64_t)1 << i;
    return i < c->n_in && c->in[i].kind != VALUE_ABSENT;
}

const Node *optional(Call *c, int i)
{
    if (!has_arg(c, i) || c->failed) return NULL;
    if (c->in[i].kind == VALUE_TENSOR) return c->in[i].node;
    return fail(c, "index the sequence first", "input %d is a sequence of tensors", i);
}

const Node *arg(Call *c, int i)
{
    const Node *n = optional(c, i);
    if (!n && !c->failed) fail(c, DAMAGED, "input %d is missing", i);
    return n;
}

void result_value(Call *c, int i, Value v)
{
    if (i < c->n_out && !c->failed) c->out[i] = v;
}

void result(Call *c, int i, const Node *node)
{
    if (node) result_value(c, i, (Value){.kind = VALUE_TENSOR, .node = node});
}

// n without what only renames or retypes its lanes.
static const Node *undressed(const Node *n)
{
    for (double zero = 1;; n = n->in[0]) {
        bool same = n->op == OP_trunc || (n->op == OP_move && n->n_in == 1 && !n->map);
        if (n->op == OP_add && node_is_const(n->in[1])) same = const_is_splat(n->in[1], &zero) && zero == 0;
        if (!same) return n;
    }
}

struct Nested {
    const Node *mask, *outer;
};

const Node *outer_mask(const Importer *im, const Node *mask)
{
    for (int i = 0; i < im->n_nested; i++)
        if (im->nested[i].mask == mask) return im->nested[i].outer;
    return NULL;
}

const Node *nested_mask(Call *c, const Node *outer, const Node *inner)
{
    int64_t n = type_lanes(outer->type), lanes = type_lanes(inner->type);
    if (!n || lanes % n)
        return fail(c, "write the selections with torch.where", "it selects from a part of a computed selection");
    int32_t *map = ARENA_ARRAY(call_arena(c), int32_t, lanes + 1);
    for (int64_t i = 0; i < lanes; i++) map[i] = (int32_t)(i / (lanes / n));
    const Node *wide = build_move(c->b, inner->type, 1, &outer, map), *mask = build_binary(c->b, OP_and, inner, wide);
    struct Nested entry = {mask, outer};
    if (!outer_mask(c->im, mask)) ARENA_PUSH(call_arena(c), c->im->nested, c->im->n_nested, c->im->cap_nested, entry);
    return mask;
}

// The mask whose true elements a computed number counts, or NULL.
static const Node *counted_mask(const Node *n)
{
    n = undressed(n);
    while (n->op == OP_reduce_sum) n = undressed(n->in[0]);
    return n->type.dtype == T_BOOL ? n : NULL;
}

// Lane i of a computed list of integers, where it is a constant or counts the true elements of a mask.
static bool known_lane(Call *c, const Node *n, int64_t i, int64_t *out)
{
    while (n->op == OP_move) n = n->in[move_source(n, i, &i)];
    if (node_is_const(n)) {
        *out = const_int_at(n, i);
        return true;
    }
    const Node *mask = type_lanes(n->type) == 1 ? counted_mask(n) : NULL;
    if (!mask || (c->mask && c->mask != mask)) return false;
    c->mask = mask;
    *out = type_lanes(mask->type);
    return true;
}

bool ints_arg(Call *c, int i, const char *what, Ints *out)
{
    const Node *n = arg(c, i);
    if (!n) return false;
    out->n = type_lanes(n->type);
    out->v = ARENA_ARRAY(call_arena(c), int64_t, out->n + 1);
    for (int64_t k = 0; k < out->n; k++)
        if (!known_lane(c, n, k, &out->v[k]))
            return fail(c, "nfcc needs static shapes: export with fixed sizes, only the batch may vary",
                        "its %s (input %d) is computed from data", what, i) != NULL;
    return true;
}

bool int_arg(Call *c, int i, const char *what, int64_t *out)
{
    Ints v;
    if (!ints_arg(c, i, what, &v)) return false;
    if (v.n != 1) return fail(c, DAMAGED, "its %s is not one number", what) != NULL;
    *out = v.v[0];
    return true;
}

bool real_arg(Call *c, int i, const char *what, double *out)
{
    const Node *n = arg(c, i);
    if (!n) return false;
    if (!node_is_const(n) || type_lanes(n->type) != 1)
        return fail(c, "make it a constant of the model", "its %s is not one constant number", what) != NULL;
    *out = const_at(n, 0);
    return true;
}

// ---- attributes and axes

const Onnx__AttributeProto *attr(Call *c, const char *name)
{
    for (size_t i = 0; i < c->node->n_attribute && i < 64; i++)
        if (c->node->attribute[i]->name && !strcmp(c->node->attribute[i]->name, name)) c->read_attr |= (uint64_t)1 << i;
    return attribute_of(call_arena(c), c->node, c->scope, name);
}

static bool of_type(Call *c, const Onnx__AttributeProto *a, Onnx__AttributeProto__AttributeType type, bool has)
{
    if (a->has_type ? a->type == type : has) return true;
    fail(c, DAMAGED, "attribute '%.100s' has the wrong type", a->name);
    return false;
}

int64_t attr_int(Call *c, const char *name, int64_t otherwise)
{
    const Onnx__AttributeProto *a = attr(c, name);
    return a && of_type(c, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, a->has_i) ? a->i : otherwise;
}

double attr_real(Call *c, const char *name, double otherwise)
{
    const Onnx__AttributeProto *a = attr(c, name);
    return a && of_type(c, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, a->has_f) ? (double)a->f : otherwise;
}

const char *attr_text(Call *c, const char *name, const char *otherwise)
{
    const Onnx__AttributeProto *a = attr(c, name);
    if (!a || !of_type(c, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, a->has_s)) return otherwise;
    return arena_format(call_arena(c), "%.*s", (int)(a->s.len < 10000 ? a->s.len : 10000), (const char *)a->s.data);
}

bool attr_ints(Call *c, const char *name, Ints *out)
{
    const Onnx__AttributeProto *a = attr(c, name);
    *out = (Ints){0, NULL};
    if (!a || !of_type(c, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, true)) return false;
    *out = (Ints){(int64_t)a->n_ints, a->ints};
    return true;
}

bool axis_of(Call *c, int64_t axis, int rank, int *out)
{
    if (axis < -rank || axis >= rank)
        return fail(c, DAMAGED, "axis %lld of a tensor of rank %d", (long long)axis, rank) != NULL;
    *out = (int)(axis < 0 ? axis + rank : axis);
    return true;
}

bool axes_of(Call *c, int operand, int rank, Ints *out)
{
    Ints given;
    if (operand >= 0 && has_arg(c, operand)) {
        if (!ints_arg(c, operand, "list of axes", &given)) return false;
    } else if (!attr_ints(c, "axes", &given)) {
        *out = (Ints){-1, NULL};
        return !c->failed;
    }
    bool seen[2 * MAX_RANK] = {false};
    *out = (Ints){given.n, ARENA_ARRAY(call_arena(c), int64_t, given.n + 1)};
    for (int64_t i = 0; i < given.n; i++) {
        int axis = 0;
        if (!axis_of(c, given.v[i], rank, &axis)) return false;
        if (seen[axis]) return fail(c, DAMAGED, "axis %d is given twice", axis) != NULL;
        seen[axis] = true;
        out->v[i] = axis;
    }
    return true;
}

// ---- budgets

// What one instantiation may cost: a constant and so much for each byte of the files. The largest of known flows use
// 2 lanes and 600 multiplications a byte.
enum { STEPS = 1 << 17, LANES = 1 << 23, LANES_A_BYTE = 64, MAX_LANES = 1 << 26 };
static const double WORK = 5e8, WORK_A_BYTE = 4e3;

static int64_t lanes_left(const Importer *im) { return LANES + (int64_t)im->source->size * LANES_A_BYTE - im->lanes; }

bool charge(Call *c, int64_t lanes)
{
    if (__builtin_add_overflow(c->im->lanes, lanes, &c->im->lanes)) c->im->lanes = INT64_MAX / 2;
    if (lanes_left(c->im) >= 0) return true;
    return fail(c, "is this the intended model? its tensors are far larger than its file",
                "the tensors up to here are too large: %lld numbers for %lld rows", (long long)c->im->lanes,
                (long long)c->im->rows) != NULL;
}

bool charge_work(Call *c, double multiplications)
{
    c->im->work += multiplications;
    if (c->im->work <= (WORK + WORK_A_BYTE * (double)c->im->source->size) * (double)c->im->rows) return true;
    return fail(c, "is this the intended model? its products are far larger than its file",
                "the products up to here need %.3g multiplications for %lld rows", c->im->work,
                (long long)c->im->rows) != NULL;
}

bool rank_fits(Call *c, int64_t rank)
{
    if (rank <= MAX_RANK) return true;
    fail(c, "merge dimensions in the model", "a tensor of rank %lld; at most %d are supported", (long long)rank,
         MAX_RANK);
    return false;
}

bool affordable(Call *c, int rank, const int64_t *dim)
{
    int64_t lanes = 1;
    if (!rank_fits(c, rank)) return false;
    for (int i = 0; i < rank; i++) // dims beside a 0 count, too: strides are their products
        if (dim[i] < 0 || __builtin_mul_overflow(lanes, dim[i] ? dim[i] : 1, &lanes) || lanes > MAX_LANES ||
            lanes > lanes_left(c->im))
            return fail(c, "is this the intended model? its tensors are far larger than its file",
                        "the result would be too large") != NULL;
    return true;
}

int64_t most_steps(const Importer *im) { return STEPS + (int64_t)im->source->size / 16; }

bool step(Call *c)
{
    return ++c->im->steps <= most_steps(c->im) ||
           fail(c, "loop a fixed number of times", "the loop does not end") != NULL;
}
