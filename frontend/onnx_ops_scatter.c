// Scatters by index lists (onnx_ops_index.c). Constant indices are lane maps; computed ones are compared with all
// places along their axis, or are those of a computed mask (see Value in onnx_import.h), or are refused.
#include "onnx_import.h"

#include <string.h>

static const Node *constant_index(Call *c, int i)
{
    const Node *index = arg(c, i);
    if (!index || node_is_const(index)) return index;
    return fail(c, "index with a constant, or choose with torch.where", "its indices are computed from data");
}

static const struct {
    const char *name;
    Op op;
    double neutral;
} REDUCTIONS[] = {
    {"add", OP_add, 0}, {"mul", OP_mul, 1}, {"max", OP_max, -__builtin_inf()}, {"min", OP_min, __builtin_inf()}};

static int reduction_named(Call *c, const char *name)
{
    for (int i = 0; i < 4; i++)
        if (!strcmp(REDUCTIONS[i].name, name)) return i;
    fail(c, DAMAGED, "reduction '%.40s' is not known", name);
    return -1;
}

// data with updates[i] written to (or combined with) lane target[i]; later ones win.
static const Node *scatter(Call *c, const Node *data, const Node *updates, int64_t n, const int64_t *target,
                           const char *reduction)
{
    int64_t lanes = type_lanes(data->type);
    if (!affordable(c, data->type.rank, data->type.dim) || !affordable(c, updates->type.rank, updates->type.dim))
        return NULL;
    int32_t *map = ARENA_ARRAY(call_arena(c), int32_t, lanes + 1);
    if (!strcmp(reduction, "none")) {
        for (int64_t i = 0; i < lanes; i++) map[i] = (int32_t)i;
        for (int64_t i = 0; i < n; i++) map[target[i]] = (int32_t)(lanes + i);
        return build_move(c->b, real_type(data), 2, (const Node *const[]){data, updates}, map);
    }
    int how = reduction_named(c, reduction);
    if (how < 0) return NULL;
    const Node *neutral = build_scalar(c->b, REDUCTIONS[how].neutral);
    bool *done = ARENA_ARRAY(call_arena(c), bool, n + 1);
    for (int64_t left = n; left > 0;) { // one update a lane in each round
        if (!charge(c, lanes + n)) return NULL;
        for (int64_t i = 0; i < lanes; i++) map[i] = (int32_t)n;
        for (int64_t i = 0; i < n; i++) {
            if (done[i] || map[target[i]] != n) continue;
            map[target[i]] = (int32_t)i;
            done[i] = true;
            left--;
        }
        const Node *term = build_move(c->b, real_type(data), 2, (const Node *const[]){updates, neutral}, map);
        data = build_binary(c->b, REDUCTIONS[how].op, data, term);
    }
    return data;
}

// Scattered by an index list that carries a mask: where the mask holds the scattered value, elsewhere data.
// n list entries, each for `inner` lanes.
static const Node *where_mask(Call *c, const Node *mask, const Node *data, const Node *scattered, int64_t n,
                              int64_t inner, const int64_t *target)
{
    if (!scattered) return NULL;
    if (type_lanes(mask->type) != n)
        return fail(c, "write the selection with torch.where", "it scatters by a part of a computed selection");
    int64_t lanes = type_lanes(data->type);
    int32_t *map = ARENA_ARRAY(call_arena(c), int32_t, lanes + 1);
    for (int64_t i = 0; i < n * inner; i++) map[target[i]] = (int32_t)(1 + i / inner);
    Type t = data->type;
    t.dtype = T_BOOL;
    const Node *no = build_cast(c->b, build_scalar(c->b, 0), T_BOOL);
    const Node *hit = build_move(c->b, t, 2, (const Node *const[]){no, mask}, map);
    return build_select(c->b, hit, scattered, data);
}

// The mask that the index list of a scatter carries. Its data must be what that mask selects from; so is the result.
static bool scatter_mask(Call *c, const Node *data, const Node **mask)
{
    *mask = c->in[1].mask;
    if (!*mask) return true;
    c->mask = outer_mask(c->im, *mask);
    double v = 0; // zeros_like of selected elements are made from their shape alone
    return c->in[0].mask == c->mask || (node_is_const(data) && const_is_splat(data, &v)) ||
           fail(c, "write the selection with torch.where", "it scatters into elements that another mask selected");
}

// Which axis of data the rows of a fixed batch lie along: its own batch axis, else the one the updates' is.
static int scatter_axis(Call *c, const Node *index)
{
    int own = batch_axis(c, 0), u = batch_axis(c, 2);
    int64_t r = type_last(index->type);
    if (own >= 0 || u < 0) return own;
    if (u >= index->type.rank - 1) return u - (index->type.rank - 1) + (int)r;
    int64_t stride = 1;
    for (int d = u + 1; d < index->type.rank; d++) stride *= index->type.dim[d];
    for (int64_t k = 0; k < r && node_is_const(index); k++) // the column that counts rows
        if (index->type.dim[u] > 1 && const_int_at(index, k) == 0 && const_int_at(index, stride + k) == 1 &&
            c->in[0].node->type.dim[k] == many_dim(c, 2, u))
            return (int)k;
    return -1;
}

static const Node *first_rows(Call *c, const Node *x, int axis, int64_t rows, int64_t kept)
{
    return axis >= 0 && axis < x->type.rank && x->type.dim[axis] == rows && rows > kept
               ? build_slice(c->b, x, axis, 0, kept, 1)
               : x;
}

void import_scatter_nd(Call *c, int a)
{
    (void)a;
    const Node *data = arg(c, 0), *index = constant_index(c, 1), *updates = arg(c, 2), *mask = NULL;
    if (!data || !index || !updates || !scatter_mask(c, data, &mask)) return;
    for (int i = 0; mask && c->im->fixed && i < mask->type.rank && i < data->type.rank; i++)
        if (data->type.dim[i] == mask->type.dim[i] * c->im->many_rows)
            data = build_slice(c->b, data, i, 0, mask->type.dim[i], 1);
    int k = c->im->fixed && c->im->many && !mask ? scatter_axis(c, index) : -1;
    if (k >= 0) {
        int64_t rows = many_dim(c, 0, k), kept = rows / c->im->many_rows;
        int cut = -1, q = index->type.rank - 1;
        data = first_rows(c, data, k, rows, kept);
        index = index_of_kept_rows(c, index, k, rows, kept, &cut);
        updates =
            first_rows(c, updates, k < type_last(index->type) ? cut : q + k - (int)type_last(index->type), rows, kept);
    }
    int64_t n = 0, inner = 1, *lane = index_lanes(c, data, index, 0, &n);
    if (!lane) return;
    for (int64_t i = type_last(index->type); i < data->type.rank; i++) inner *= data->type.dim[i];
    if (type_lanes(updates->type) != n * inner) {
        fail(c, DAMAGED, "%s updates for indices %s", type_text(call_arena(c), updates->type),
             type_text(call_arena(c), index->type));
        return;
    }
    int64_t *target = ARENA_ARRAY(call_arena(c), int64_t, n *inner + 1);
    for (int64_t i = 0; i < n * inner; i++) target[i] = lane[i / inner] + i % inner;
    const Node *y = scatter(c, data, updates, n * inner, target, attr_text(c, "reduction", "none"));
    result(c, 0, mask ? where_mask(c, mask, data, y, n, inner, target) : y);
}

// Computed positions, one after another, each compared with all along the axis: of equal ones the last stays.
static const Node *scatter_computed(Call *c, const Node *data, const Node *index, const Node *updates, int axis)
{
    const char *reduction = attr_text(c, "reduction", "none");
    bool plain = !strcmp(reduction, "none");
    int64_t n = data->type.dim[axis], dim[MAX_RANK];
    int how = plain ? 0 : reduction_named(c, reduction);
    for (int i = 0; i < data->type.rank; i++) dim[i] = i == axis ? n : 1;
    for (int i = 0; i < data->type.rank; i++)
        if (i != axis && index->type.dim[i] != data->type.dim[i])
            return fail(c, "write whole lines, or choose with torch.where",
                        "its indices are computed from data and cover a part of the tensor only");
    if (how < 0 || n == 0 || !affordable(c, 1, &n)) return n ? NULL : data;
    int64_t *v = ARENA_ARRAY(call_arena(c), int64_t, n), last = n - 1;
    for (int64_t i = 0; i < n; i++) v[i] = i;
    const Node *places = build_reshape(c->b, build_ints(c->b, n, v), data->type.rank, dim);
    const Node *first = build_ints(c->b, 1, (int64_t[]){0});
    index = build_binary(c->b, OP_max, index_from_start(c, index, n), first);
    index = build_binary(c->b, OP_min, index, build_ints(c->b, 1, &last));
    for (int64_t k = 0; k < index->type.dim[axis]; k++) {
        if (!charge(c, 2 * type_lanes(data->type))) return NULL;
        const Node *at = build_slice(c->b, index, axis, k, 1, 1), *y = build_slice(c->b, updates, axis, k, 1, 1);
        if (!plain) y = build_binary(c->b, REDUCTIONS[how].op, data, y);
        data = build_select(c->b, build_binary(c->b, OP_eq, at, places), y, data);
    }
    return data;
}

void import_scatter_elements(Call *c, int a)
{
    (void)a;
    const Node *data = arg(c, 0), *index = arg(c, 1), *updates = arg(c, 2), *mask = NULL;
    int axis = 0;
    bool ends = c->in[1].mask && c->in[1].mask != c->in[0].mask;
    if (data && index && updates && ends && !scatter_mask(c, data, &mask)) return;
    if (!data || !index || !updates || !axis_of(c, attr_int(c, "axis", 0), data->type.rank, &axis)) return;
    data = unbaked(c, 3, 0, data);
    index = unbaked(c, 3, 1, index);
    updates = unbaked(c, 3, 2, updates);
    if (!index_fits(c, data, index, axis)) return;
    if (updates->type.rank != index->type.rank ||
        memcmp(updates->type.dim, index->type.dim, sizeof(int64_t) * (size_t)index->type.rank) != 0) {
        fail(c, DAMAGED, "updates and indices differ in shape");
        return;
    }
    if (!node_is_const(index)) {
        if (!ends)
            result(c, 0, scatter_computed(c, data, index, updates, axis));
        else
            constant_index(c, 1);
        return;
    }
    int64_t n = type_lanes(index->type), at[MAX_RANK] = {0}, *target = ARENA_ARRAY(call_arena(c), int64_t, n + 1);
    Frame f = frame_of(data);
    for (int64_t i = 0; i < n; i++) {
        int64_t v = const_int_at(index, i);
        if (!index_in_range(c, &v, data->type.dim[axis])) return;
        for (int k = 0; k < data->type.rank; k++) target[i] += (k == axis ? v : at[k]) * f.stride[k];
        for (int k = data->type.rank - 1; k >= 0 && ++at[k] == index->type.dim[k]; k--) at[k] = 0;
    }
    const Node *y = scatter(c, data, updates, n, target, attr_text(c, "reduction", "none"));
    result(c, 0, mask ? where_mask(c, mask, data, y, n, 1, target) : y);
}
