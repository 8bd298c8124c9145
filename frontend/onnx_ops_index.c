// Index lists, and gathers by them. Constant indices are lane maps, computed ones become `take`.
//
// A graph whose batch was fixed at export lists its rows in the indices; at one row the other rows' entries are
// cut (index_of_kept_rows). onnx_rows.c proves the result.
#include "onnx_import.h"

#include <string.h>

// ---- gathers

bool index_in_range(Call *c, int64_t *index, int64_t n)
{
    if (*index >= -n && *index < n) {
        *index += *index < 0 ? n : 0;
        return true;
    }
    if (c->im->numbers && n > 0) {
        *index = *index < 0 ? 0 : n - 1;
        return true;
    }
    return fail(c, c->im->fixed ? "export with a dynamic batch" : DAMAGED, "index %lld of %lld elements%s",
                (long long)*index, (long long)n,
                c->im->fixed && c->im->many ? "; it picks other rows of the batch" : "") != NULL;
}

// Looks at no more than `*budget` nodes.
static bool never_negative(const Node *n, int *budget)
{
    if (n->type.dtype == T_BOOL) return true;
    if (--*budget < 0) return false;
    if (node_is_const(n)) {
        for (int64_t i = 0; i < type_lanes(n->type); i++)
            if (!(const_at(n, i) >= 0)) return false;
        return true;
    }
    bool all = n->op == OP_add || n->op == OP_mul || n->op == OP_min || n->op == OP_move || n->op == OP_reduce_sum ||
               n->op == OP_trunc;
    if (n->op == OP_abs) return true;
    if (n->op == OP_max) return never_negative(n->in[0], budget) || never_negative(n->in[1], budget);
    for (int i = 0; i < n->n_in && all; i++) all = never_negative(n->in[i], budget);
    return all;
}

const Node *index_from_start(Call *c, const Node *index, int64_t n)
{
    int budget = 64;
    if (never_negative(index, &budget)) return index;
    const Node *negative = build_binary(c->b, OP_lt, index, build_ints(c->b, 1, (int64_t[]){0}));
    return build_select(c->b, negative, build_binary(c->b, OP_add, index, build_ints(c->b, 1, &n)), index);
}

// table[..., n] taken at index[..., j], lines equal; a negative index counts from the end.
static const Node *take(Call *c, const Node *table, const Node *index)
{
    int64_t n = type_last(table->type);
    if (n == 0) return fail(c, DAMAGED, "it takes from an empty tensor");
    return build_take(c->b, table, index_from_start(c, index, n));
}

// Computed indices: table as [lines, n], the same indices on every line.
static const Node *gather_computed(Call *c, const Node *x, const Node *index, int axis)
{
    LastAxes l = last_axes(x, 1, (int64_t[]){axis});
    int64_t n = type_lanes(index->type), dim[2 * MAX_RANK], back = index->type.rank;
    const Node *table = to_last(c, x, &l);
    if (!table) return NULL;
    int64_t lines = type_lanes(table->type) / (x->type.dim[axis] ? x->type.dim[axis] : 1);
    table = build_reshape(c->b, table, 2, (int64_t[]){lines, x->type.dim[axis]});
    const Node *flat = build_reshape(c->b, index, 2, (int64_t[]){1, n});
    if (!(flat = checked_broadcast(c, flat, 2, (int64_t[]){lines, n}))) return NULL;
    const Node *taken = take(c, table, flat); // [lines, n] = [before axis, after axis, index dims]
    int rank = x->type.rank - 1 + (int)back, perm[2 * MAX_RANK], at = 0;
    if (!taken || !rank_fits(c, rank)) return NULL;
    for (int i = 0; i < x->type.rank; i++)
        if (i != axis) dim[at++] = x->type.dim[i];
    for (int i = 0; i < back; i++) dim[at++] = index->type.dim[i];
    for (int i = 0; i < rank; i++)
        perm[i] = i < axis ? i : i < axis + back ? x->type.rank - 1 + (i - axis) : i - (int)back;
    return build_transpose(c->b, build_reshape(c->b, taken, rank, dim), perm);
}

typedef struct {
    const int64_t *index;
    int64_t inner; // elements after the axis
    int axis, index_rank, rank;
    const int64_t *dim; // of the result
    int64_t axis_dim;
} GatherMap;

static int64_t gather_source(const void *user, const int64_t *at)
{
    const GatherMap *g = user;
    int64_t outer = 0, which = 0, inner = 0;
    for (int i = 0; i < g->axis; i++) outer = outer * g->dim[i] + at[i];
    for (int i = g->axis; i < g->axis + g->index_rank; i++) which = which * g->dim[i] + at[i];
    for (int i = g->axis + g->index_rank; i < g->rank; i++) inner = inner * g->dim[i] + at[i];
    return (outer * g->axis_dim + g->index[which]) * g->inner + inner;
}

const Node *gathered(Call *c, const Node *x, const Node *index, int axis)
{
    if (!node_is_const(index)) return gather_computed(c, x, index, axis);
    int rank = x->type.rank - 1 + index->type.rank;
    int64_t n = type_lanes(index->type), *v = ARENA_ARRAY(call_arena(c), int64_t, n + 1), inner = 1;
    for (int64_t i = 0; i < n; i++) {
        v[i] = const_int_at(index, i);
        if (!index_in_range(c, &v[i], x->type.dim[axis])) return NULL;
    }
    Type t = real_type(x);
    if (!rank_fits(c, rank)) return NULL;
    t.rank = rank;
    for (int i = axis + 1; i < x->type.rank; i++) inner *= x->type.dim[i];
    for (int i = 0; i < rank; i++)
        t.dim[i] = i < axis                      ? x->type.dim[i]
                   : i < axis + index->type.rank ? index->type.dim[i - axis]
                                                 : x->type.dim[i - index->type.rank + 1];
    GatherMap g = {v, inner, axis, index->type.rank, rank, t.dim, x->type.dim[axis]};
    return remap(c, t, 1, &x, gather_source, &g);
}

void import_gather(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *index = arg(c, 1);
    int axis = 0;
    if (!x || !index || !axis_of(c, attr_int(c, "axis", 0), x->type.rank, &axis)) return;
    // x[arange(batch)] written for a fixed batch
    if (node_is_const(index) && c->im->fixed && shrinks(c, 0, axis) && index->type.rank == 1 &&
        index->type.dim[0] == many_dim(c, 0, axis))
        index = build_slice(c->b, index, 0, 0, x->type.dim[axis], 1);
    result(c, 0, gathered(c, x, index, axis));
}

// The true places of a constant condition along an axis, or of the whole tensor in one line.
void import_compress(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints keep;
    int axis = 0;
    if (!x || !ints_arg(c, 1, "condition", &keep)) return;
    if (!attr(c, "axis"))
        x = build_reshape(c->b, x, 1, (int64_t[]){type_lanes(x->type)});
    else if (!axis_of(c, attr_int(c, "axis", 0), x->type.rank, &axis))
        return;
    int64_t n = 0, inner = 1, *v = ARENA_ARRAY(call_arena(c), int64_t, keep.n + 1);
    for (int64_t i = 0; i < keep.n && i < x->type.dim[axis]; i++)
        if (keep.v[i]) v[n++] = i;
    Type t = real_type(x);
    for (int i = axis + 1; i < x->type.rank; i++) inner *= x->type.dim[i];
    t.dim[axis] = n;
    GatherMap g = {v, inner, axis, 1, t.rank, t.dim, x->type.dim[axis]};
    result(c, 0, remap(c, t, 1, &x, gather_source, &g));
}

typedef struct {
    Frame f;
    int axis;
    const int64_t *index;
    const int64_t *dim; // of the index
} ElementsMap;

static int64_t elements_source(const void *user, const int64_t *at)
{
    const ElementsMap *e = user;
    int64_t flat = 0, lane = 0;
    for (int i = 0; i < e->f.from.rank; i++) flat = flat * e->dim[i] + at[i];
    for (int i = 0; i < e->f.from.rank; i++) lane += (i == e->axis ? e->index[flat] : at[i]) * e->f.stride[i];
    return lane;
}

bool index_fits(Call *c, const Node *x, const Node *index, int axis)
{
    bool ok = index->type.rank == x->type.rank;
    for (int i = 0; i < x->type.rank && ok; i++) ok = i == axis || index->type.dim[i] <= x->type.dim[i];
    return ok || fail(c, DAMAGED, "indices of shape %s for %s", type_text(call_arena(c), index->type),
                      type_text(call_arena(c), x->type)) != NULL;
}

void import_gather_elements(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *index = arg(c, 1);
    int axis = 0;
    if (!x || !index || !axis_of(c, attr_int(c, "axis", 0), x->type.rank, &axis)) return;
    x = unbaked(c, 2, 0, x);
    index = unbaked(c, 2, 1, index);
    if (!index_fits(c, x, index, axis)) return;
    if (!node_is_const(index)) {
        for (int i = 0; i < x->type.rank; i++)
            if (i != axis && x->type.dim[i] != index->type.dim[i])
                x = build_slice(c->b, x, i, 0, index->type.dim[i], 1);
        LastAxes lx = last_axes(x, 1, (int64_t[]){axis}), li = last_axes(index, 1, (int64_t[]){axis});
        const Node *table = to_last(c, x, &lx), *at = to_last(c, index, &li);
        result(c, 0, table && at ? from_last(c, take(c, table, at), &li) : NULL);
        return;
    }
    int64_t n = type_lanes(index->type), *v = ARENA_ARRAY(call_arena(c), int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) {
        v[i] = const_int_at(index, i);
        if (!index_in_range(c, &v[i], x->type.dim[axis])) return;
    }
    Type t = real_type(x);
    memcpy(t.dim, index->type.dim, sizeof t.dim);
    ElementsMap e = {frame_of(x), axis, v, index->type.dim};
    result(c, 0, remap(c, t, 1, &x, elements_source, &e));
}

// ---- index tuples

int64_t *index_lanes(Call *c, const Node *x, const Node *index, int batch_dims, int64_t *count)
{
    int64_t r = type_last(index->type), n = r ? type_lanes(index->type) / r : 0, *lane = NULL, per = 1;
    if (!index->type.rank || r < 1 || batch_dims + r > x->type.rank)
        return fail(c, DAMAGED, "index tuples of %lld for rank %d", (long long)r, x->type.rank);
    Frame f = frame_of(x);
    for (int i = batch_dims; i < index->type.rank - 1; i++) per *= index->type.dim[i];
    lane = ARENA_ARRAY(call_arena(c), int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) {
        int64_t batch = per ? i / per : 0;
        for (int k = batch_dims - 1; k >= 0; k--) {
            lane[i] += batch % x->type.dim[k] * f.stride[k];
            batch /= x->type.dim[k];
        }
        for (int64_t k = 0; k < r; k++) {
            int64_t v = const_int_at(index, i * r + k);
            if (!index_in_range(c, &v, x->type.dim[batch_dims + k])) return NULL;
            lane[i] += v * f.stride[batch_dims + k];
        }
    }
    *count = n;
    return lane;
}

const Node *index_of_kept_rows(Call *c, const Node *index, int64_t k, int64_t rows, int64_t kept, int *axis)
{
    *axis = -1;
    if (!c->im->fixed || !node_is_const(index) || k < 0 || k >= type_last(index->type)) return index;
    int64_t n = type_lanes(index->type), r = type_last(index->type);
    bool outside = false;
    for (int64_t i = k; i < n; i += r) outside |= const_int_at(index, i) >= kept;
    for (int d = 0; outside && d < index->type.rank - 1; d++) {
        if (index->type.dim[d] != rows) continue;
        const Node *cut = build_slice(c->b, index, d, 0, kept, 1);
        bool fits = true;
        for (int64_t i = k; i < type_lanes(cut->type); i += r) fits &= const_int_at(cut, i) < kept;
        if (!fits) continue;
        *axis = d;
        return cut;
    }
    return index;
}

// Computed index tuples: one computed position in the indexed dims, merged; the other dims are lines of a table.
static const Node *gather_nd_computed(Call *c, const Node *x, const Node *index, int batch_dims)
{
    int64_t r = type_last(index->type), B = 1, P = 1, n = 1, inner = 1, dim[2 * MAX_RANK];
    int rank = 0;
    if (batch_dims + r > x->type.rank || r < 1)
        return fail(c, DAMAGED, "index tuples of %lld for rank %d", (long long)r, x->type.rank);
    const Node *at = NULL;
    for (int64_t k = 0; k < r; k++) {
        const Node *column = build_slice(c->b, index, index->type.rank - 1, k, 1, 1),
                   *size = build_ints(c->b, 1, &x->type.dim[batch_dims + k]);
        column = index_from_start(c, column, x->type.dim[batch_dims + k]);
        at = at ? build_binary(c->b, OP_add, build_binary(c->b, OP_mul, at, size), column) : column;
        P *= x->type.dim[batch_dims + k];
    }
    for (int i = 0; i < batch_dims; i++) B *= dim[rank++] = x->type.dim[i];
    for (int i = batch_dims; i < index->type.rank - 1; i++) n *= dim[rank++] = index->type.dim[i];
    for (int i = batch_dims + (int)r; i < x->type.rank; i++) inner *= dim[rank++] = x->type.dim[i];
    const Node *table = checked_reshape(c, x, 3, (int64_t[]){B, P, inner});
    if (!table || P == 0) return fail(c, DAMAGED, "it takes from an empty tensor");
    table = build_transpose(c->b, table, (int[]){0, 2, 1});
    at = checked_broadcast(c, checked_reshape(c, at, 3, (int64_t[]){B, 1, n}), 3, (int64_t[]){B, inner, n});
    return at ? checked_reshape(c, build_transpose(c->b, build_take(c->b, table, at), (int[]){0, 2, 1}), rank, dim)
              : NULL;
}

void import_gather_nd(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *index = arg(c, 1);
    int64_t batch_dims = attr_int(c, "batch_dims", 0), n = 0;
    int cut = -1, k = x && index ? batch_axis(c, 0) : -1;
    if (!x || !index) return;
    if (batch_dims < 0 || batch_dims >= index->type.rank || batch_dims > x->type.rank) {
        fail(c, DAMAGED, "batch_dims is %lld", (long long)batch_dims);
        return;
    }
    if (!node_is_const(index)) {
        result(c, 0, gather_nd_computed(c, x, index, (int)batch_dims));
        return;
    }
    if (k >= batch_dims) index = index_of_kept_rows(c, index, k - batch_dims, many_dim(c, 0, k), x->type.dim[k], &cut);
    if (k >= 0 && k < batch_dims && c->im->fixed && index->type.dim[k] == many_dim(c, 0, k))
        index = build_slice(c->b, index, k, 0, x->type.dim[k], 1);
    for (int i = 0; i < batch_dims; i++)
        if (index->type.dim[i] != x->type.dim[i]) fail(c, DAMAGED, "batch dims of data and indices differ");
    int64_t *lane = c->failed ? NULL : index_lanes(c, x, index, (int)batch_dims, &n), r = type_last(index->type),
            inner = 1;
    if (!lane) return;
    Type t = real_type(x);
    t.rank = 0;
    for (int i = 0; i < index->type.rank - 1; i++) t.dim[t.rank++] = index->type.dim[i];
    for (int64_t i = batch_dims + r; i < x->type.rank; i++) {
        if (t.rank == MAX_RANK) {
            fail(c, "merge dimensions in the model", "a tensor of more than 8 dimensions");
            return;
        }
        inner *= t.dim[t.rank++] = x->type.dim[i];
    }
    if (!affordable(c, t.rank, t.dim)) return;
    int32_t *map = ARENA_ARRAY(call_arena(c), int32_t, n *inner + 1);
    for (int64_t i = 0; i < n * inner; i++) map[i] = (int32_t)(lane[i / inner] + i % inner);
    result(c, 0, build_move(c->b, t, 1, &x, map));
}
