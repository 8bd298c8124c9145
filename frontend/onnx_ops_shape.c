// Operators whose result is known at import: constants, shapes, and functions of constants that the IR has no op
// for (sorting, searching). A computed operand of the latter is refused with a reason; onnx_ops_sort.c sorts
// a few computed values.
#include "onnx_import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const Node *from_tensor(Call *c, const Onnx__TensorProto *t)
{
    Elements e;
    if (t && tensor_elements(c->im->source, t, c->origin, &e)) return build_const(c->b, e.type, e.data);
    return fail(c, DAMAGED, "its tensor cannot be read");
}

static const Node *reals_of(Call *c, int rank, int64_t n, const float *v)
{
    double *d = ARENA_ARRAY(call_arena(c), double, n + 1);
    for (int64_t i = 0; i < n; i++) d[i] = (double)v[i];
    return build_reals(c->b, type_make(T_F32, rank, &n), d);
}

void import_constant(Call *c, int a)
{
    (void)a;
    const Onnx__AttributeProto *v = NULL;
    int64_t one = 1;
    if ((v = attr(c, "value")))
        result(c, 0, from_tensor(c, v->t));
    else if ((v = attr(c, "value_float")))
        result(c, 0, build_scalar(c->b, (double)v->f));
    else if ((v = attr(c, "value_floats")))
        result(c, 0, reals_of(c, 1, (int64_t)v->n_floats, v->floats));
    else if ((v = attr(c, "value_int")))
        result(c, 0, build_reshape(c->b, build_ints(c->b, 1, &v->i), 0, &one));
    else if ((v = attr(c, "value_ints")))
        result(c, 0, build_ints(c->b, (int64_t)v->n_ints, v->n_ints ? v->ints : &one));
    else if (attr(c, "sparse_value"))
        fail(c, "store the constant densely", "sparse constants are not supported");
    else if (attr(c, "value_string") || attr(c, "value_strings"))
        fail(c, "leave strings out of the model", "string constants are not supported");
    else
        fail(c, DAMAGED, "a constant without a value");
}

// dims given as a constant list; -1 and the like are refused.
static bool dims_arg(Call *c, int i, Ints *out)
{
    return ints_arg(c, i, "shape", out) && affordable(c, out->n > MAX_RANK ? MAX_RANK + 1 : (int)out->n, out->v);
}

void import_constant_of_shape(Call *c, int a)
{
    (void)a;
    Ints dims;
    if (!dims_arg(c, 0, &dims)) return;
    const Onnx__AttributeProto *v = attr(c, "value");
    const Node *one = v ? from_tensor(c, v->t) : build_scalar(c->b, 0);
    if (!one) return;
    if (type_lanes(one->type) != 1) {
        fail(c, DAMAGED, "its value is not one number");
        return;
    }
    result(c, 0, build_broadcast(c->b, build_reshape(c->b, one, 0, dims.v), (int)dims.n, dims.v));
}

void import_shape(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (!x) return;
    int64_t rank = x->type.rank, start = attr_int(c, "start", 0), end = attr_int(c, "end", rank);
    start = clamp(start < 0 ? start + rank : start, 0, rank);
    end = clamp(end < 0 ? end + rank : end, start, rank);
    c->mask = NULL;
    result(c, 0, build_ints(c->b, end - start, x->type.dim + start));
}

void import_size(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t n = x ? type_lanes(x->type) : 0;
    c->mask = NULL;
    if (x) result(c, 0, build_reshape(c->b, build_ints(c->b, 1, &n), 0, &n));
}

void import_range(Call *c, int a)
{
    (void)a;
    double start = 0, limit = 0, delta = 0;
    if (!real_arg(c, 0, "start", &start) || !real_arg(c, 1, "limit", &limit) || !real_arg(c, 2, "step", &delta)) return;
    if (delta == 0 || !isfinite(start) || !isfinite(limit) || !isfinite(delta)) {
        fail(c, DAMAGED, "its step is zero or a bound is not finite");
        return;
    }
    double count = fmax(0, ceil((limit - start) / delta));
    int64_t n = count < 1e15 ? (int64_t)count : (int64_t)1e15;
    if (!affordable(c, 1, &n)) return;
    double *v = ARENA_ARRAY(call_arena(c), double, n + 1);
    for (int64_t i = 0; i < n; i++) v[i] = start + (double)i * delta;
    result(c, 0, build_cast(c->b, build_reals(c->b, type_vector(n), v), c->in[0].node->type.dtype));
}

void import_eye_like(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t k = attr_int(c, "k", 0), to = attr_int(c, "dtype", 0);
    if (!x) return;
    DType dtype = x->type.dtype;
    if (x->type.rank != 2 || (to && !onnx_dtype((int)clamp(to, -1, 100), &dtype))) {
        fail(c, "use torch.eye", "its operand is not a matrix, or its type is not supported");
        return;
    }
    double *v = ARENA_ARRAY(call_arena(c), double, type_lanes(x->type));
    for (int64_t i = 0; i < x->type.dim[0]; i++)
        for (int64_t j = 0; j < x->type.dim[1]; j++) v[i * x->type.dim[1] + j] = j - i == k;
    result(c, 0, build_cast(c->b, build_reals(c->b, x->type, v), dtype == T_F64 ? T_F32 : dtype));
}

static const Node *constant_arg(Call *c, int i, const char *what)
{
    const Node *x = arg(c, i);
    if (!x || node_is_const(x)) return x;
    return fail(c, "its result would select by data; write it with torch.where, or leave it out of the export",
                "%s of computed values is not supported", what);
}

// [rank, n] of the positions that are not zero, in order; of a computed mask all positions (see Value).
void import_non_zero(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (!x) return;
    int64_t n = type_lanes(x->type), count = 0, rank = x->type.rank ? x->type.rank : 1;
    bool computed = !node_is_const(x);
    if (!charge(c, rank * n)) return;
    if (computed) {
        const Node *mask = x->type.dtype == T_BOOL ? x : build_cast(c->b, x, T_BOOL);
        c->im->masked = true;
        c->mask = c->mask ? nested_mask(c, c->mask, mask) : mask;
        if (!c->mask) return;
    }
    for (int64_t i = 0; i < n; i++) count += computed || const_at(x, i) != 0;
    int64_t *v = ARENA_ARRAY(call_arena(c), int64_t, rank *count + 1), at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!computed && const_at(x, i) == 0) continue;
        int64_t rest = i;
        for (int axis = x->type.rank - 1; axis >= 0; axis--) {
            v[axis * count + at] = rest % x->type.dim[axis];
            rest /= x->type.dim[axis];
        }
        at++;
    }
    result(c, 0, build_const(c->b, type_make(T_I64, 2, (int64_t[]){rank, count}), v));
}

// ---- sorting

typedef struct {
    double v;
    int64_t index;
} Entry;

static int ascending(const void *x, const void *y)
{
    const Entry *p = x, *q = y;
    if (p->v != q->v) return p->v < q->v ? -1 : 1;
    return p->index < q->index ? -1 : p->index > q->index;
}

static int descending(const void *x, const void *y)
{
    const Entry *p = x, *q = y;
    if (p->v != q->v) return p->v > q->v ? -1 : 1;
    return p->index < q->index ? -1 : p->index > q->index;
}

// The first k of each line along the axis, sorted: values and indices, both [kept..., k] with the axis last.
static void sorted_lines(Call *c, const Node *lines, int64_t k, bool largest, double *values, int64_t *indices)
{
    int64_t n = type_last(lines->type), count = n ? type_lanes(lines->type) / n : 0;
    Entry *e = ARENA_ARRAY(call_arena(c), Entry, n + 1);
    for (int64_t l = 0; l < count; l++) {
        for (int64_t i = 0; i < n; i++) e[i] = (Entry){const_at(lines, l * n + i), i};
        qsort(e, (size_t)n, sizeof *e, largest ? descending : ascending);
        for (int64_t i = 0; i < k; i++) {
            values[l * k + i] = e[i].v;
            indices[l * k + i] = e[i].index;
        }
    }
}

// From [kept..., k] lines back to the axis.
static const Node *axis_back(Call *c, const Node *x, const LastAxes *l, int64_t k)
{
    LastAxes shape = *l;
    shape.dim[l->perm[l->rank - 1]] = k;
    return from_last(c, x, &shape);
}

void import_top_k(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t k = attr_int(c, "k", 0), axis64 = attr_int(c, "axis", -1);
    int axis = 0;
    if (!x || !axis_of(c, axis64, x->type.rank, &axis) || (c->opset >= 10 && !int_arg(c, 1, "k", &k))) return;
    if (k < 0 || k > x->type.dim[axis]) {
        fail(c, DAMAGED, "k is %lld of %lld", (long long)k, (long long)x->type.dim[axis]);
        return;
    }
    LastAxes l = last_axes(x, 1, (int64_t[]){axis});
    const Node *lines = to_last(c, x, &l);
    if (!lines) return;
    if (!node_is_const(lines)) {
        const Node *at = sorted_positions(c, lines, k, attr_int(c, "largest", 1) != 0, false);
        if (!at) return;
        result(c, 0, axis_back(c, build_take(c->b, lines, at), &l, k));
        result(c, 1, axis_back(c, at, &l, k));
        return;
    }
    Type t = lines->type;
    t.dim[t.rank - 1] = k;
    double *values = ARENA_ARRAY(call_arena(c), double, type_lanes(t) + 1);
    int64_t *indices = ARENA_ARRAY(call_arena(c), int64_t, type_lanes(t) + 1);
    sorted_lines(c, lines, k, attr_int(c, "largest", 1) != 0, values, indices);
    result(c, 0,
           build_cast(c->b, axis_back(c, build_reals(c->b, t, values), &l, k),
                      x->type.dtype == T_F64 ? T_F32 : x->type.dtype));
    t.dtype = T_I64;
    result(c, 1, axis_back(c, build_const(c->b, t, indices), &l, k));
}

// Where each line of a constant is largest (sign 1) or least.
static const Node *extreme_of(Call *c, const Node *lines, int sign, bool last)
{
    int64_t n = type_last(lines->type), count = n ? type_lanes(lines->type) / n : 0;
    int64_t *best = ARENA_ARRAY(call_arena(c), int64_t, count + 1);
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 1; k < n; k++) {
            double d = sign * (const_at(lines, i * n + k) - const_at(lines, i * n + best[i]));
            if (d > 0 || (d == 0 && last)) best[i] = k;
        }
    Type t = lines->type;
    t.dtype = T_I64;
    t.dim[t.rank - 1] = 1;
    return build_const(c->b, t, best);
}

void import_arg_extreme(Call *c, int sign)
{
    const Node *x = arg(c, 0);
    int axis = 0;
    if (!x || !axis_of(c, attr_int(c, "axis", 0), x->type.rank, &axis)) return;
    LastAxes l = last_axes(x, 1, (int64_t[]){axis});
    const Node *lines = to_last(c, x, &l);
    bool last = attr_int(c, "select_last_index", 0) != 0;
    if (!lines) return;
    const Node *at =
        node_is_const(lines) ? extreme_of(c, lines, sign, last) : sorted_positions(c, lines, 1, sign > 0, last);
    if (!at) return;
    const Node *r = axis_back(c, at, &l, 1);
    Type full = r->type;
    if (!attr_int(c, "keepdims", 1)) {
        memmove(full.dim + axis, full.dim + axis + 1, (size_t)(full.rank - axis - 1) * sizeof full.dim[0]);
        full.rank--;
    }
    result(c, 0, build_reshape(c->b, r, full.rank, full.dim));
}

// Of a flat constant: the distinct values, their first positions, and for each element which one it is.
void import_unique(Call *c, int a)
{
    (void)a;
    const Node *x = constant_arg(c, 0, "finding distinct elements");
    if (!x) return;
    if (attr(c, "axis")) {
        fail(c, "flatten it first", "distinct slices along an axis are not supported");
        return;
    }
    int64_t n = type_lanes(x->type), m = 0;
    bool sorted = attr_int(c, "sorted", 1) != 0;
    Entry *e = ARENA_ARRAY(call_arena(c), Entry, n + 1);
    for (int64_t i = 0; i < n; i++) e[i] = (Entry){const_at(x, i), i};
    qsort(e, (size_t)n, sizeof *e, ascending);
    double *value = ARENA_ARRAY(call_arena(c), double, n + 1);
    int64_t *first = ARENA_ARRAY(call_arena(c), int64_t, n + 1), *inverse = ARENA_ARRAY(call_arena(c), int64_t, n + 1);
    int64_t *counts = ARENA_ARRAY(call_arena(c), int64_t, n + 1), *rank = ARENA_ARRAY(call_arena(c), int64_t, n + 1);
    Entry *order = ARENA_ARRAY(call_arena(c), Entry, n + 1);
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || e[i].v != e[i - 1].v) order[m++] = e[i];
        inverse[e[i].index] = m - 1;
    }
    for (int64_t i = 0; i < m; i++) rank[i] = i;
    if (!sorted && !charge_work(c, (double)m * (double)m)) return;
    if (!sorted) { // in order of first occurrence
        for (int64_t i = 0; i < m; i++) {
            rank[i] = 0;
            for (int64_t k = 0; k < m; k++) rank[i] += order[k].index < order[i].index;
        }
    }
    for (int64_t i = 0; i < m; i++) {
        value[rank[i]] = order[i].v;
        first[rank[i]] = order[i].index;
    }
    for (int64_t i = 0; i < n; i++) counts[inverse[i] = rank[inverse[i]]]++;
    DType dtype = x->type.dtype == T_F64 ? T_F32 : x->type.dtype;
    result(c, 0, build_cast(c->b, build_reals(c->b, type_vector(m), value), dtype));
    result(c, 1, build_ints(c->b, m, first));
    result(c, 2, build_ints(c->b, n, inverse));
    result(c, 3, build_ints(c->b, m, counts));
}

// index == 0 .. depth-1 along a new axis, as values off and on.
void import_one_hot(Call *c, int a)
{
    (void)a;
    const Node *index = arg(c, 0), *values = arg(c, 2);
    int64_t depth = 0;
    int axis = 0;
    if (!index || !values || !int_arg(c, 1, "depth", &depth) ||
        !axis_of(c, attr_int(c, "axis", -1), index->type.rank + 1, &axis))
        return;
    if (type_lanes(values->type) != 2 || index->type.rank >= MAX_RANK || depth < 1) {
        fail(c, DAMAGED, "its values are not (off, on), or its depth is not positive");
        return;
    }
    int64_t dim[MAX_RANK];
    for (int i = 0; i <= index->type.rank; i++)
        dim[i] = i < axis ? index->type.dim[i] : i == axis ? 1 : index->type.dim[i - 1];
    const Node *wide = build_reshape(c->b, index, index->type.rank + 1, dim);
    const Node *off = build_slice(c->b, values, 0, 0, 1, 1), *on = build_slice(c->b, values, 0, 1, 1, 1);
    dim[axis] = depth;
    if (!affordable(c, wide->type.rank, dim) || !charge(c, depth)) return; // no index: no lanes, but depth steps
    int64_t *v = ARENA_ARRAY(call_arena(c), int64_t, depth), count[MAX_RANK];
    for (int64_t i = 0; i < depth; i++) v[i] = i;
    for (int i = 0; i < wide->type.rank; i++) count[i] = i == axis ? depth : 1;
    const Node *steps = build_reshape(c->b, build_ints(c->b, depth, v), wide->type.rank, count);
    const Node *n = build_ints(c->b, 1, &depth), *zero = build_ints(c->b, 1, (int64_t[]){0});
    const Node *from_start = build_binary(c->b, OP_add, wide, n);
    const Node *positive = build_select(c->b, build_binary(c->b, OP_lt, wide, zero), from_start, wide);
    result(c, 0, build_select(c->b, build_binary(c->b, OP_eq, positive, steps), on, off));
}
