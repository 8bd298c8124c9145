// Sorting of computed values (TopK, ArgMax, ArgMin): by counting. A lane's place in its line is the number of lanes
// that stand before it,
//
//     place[i] = sum over j of (x[j] > x[i] or (x[j] = x[i] and j < i)),
//
// and position p holds the sum over i of i (place[i] = p). n^2 comparisons a line, the same whatever the data.
#include "onnx_import.h"

enum { MOST_SORTED = 64 };

// f32[lines, a, b]: lane (line, i, j) is lane line n + (by_first ? i : j) of x, lines of n.
static const Node *spread(Call *c, const Node *x, int64_t n, int64_t a, int64_t b, bool by_first)
{
    int64_t dim[3] = {type_lanes(x->type) / n, a, b}, lanes = dim[0] * a * b;
    int32_t *map = ARENA_ARRAY(call_arena(c), int32_t, lanes + 1);
    for (int64_t k = 0; k < lanes; k++) map[k] = (int32_t)(k / (a * b) * n + (by_first ? k / b % a : k % b));
    return build_move(c->b, type_make(x->type.dtype, 3, dim), 1, &x, map);
}

// A constant like the spread one: i, j, or 1 where j < i (j > i).
typedef enum { FIRST, SECOND, BELOW, ABOVE } Grid;

static const Node *grid(Call *c, Type t, Grid what)
{
    int64_t n = type_lanes(t), a = t.dim[1], b = t.dim[2];
    double *v = ARENA_ARRAY(call_arena(c), double, n + 1);
    for (int64_t k = 0; k < n; k++) {
        double i = (double)(k / b % a), j = (double)(k % b);
        v[k] = what == FIRST ? i : what == SECOND ? j : what == BELOW ? j < i : j > i;
    }
    t.dtype = T_F32;
    return build_reals(c->b, t, v);
}

// How many lanes of its line stand before each: f32[lines, n].
static const Node *places(Call *c, const Node *lines, bool largest, bool last_first)
{
    Builder *b = c->b;
    int64_t n = type_last(lines->type);
    const Node *own = spread(c, lines, n, n, n, true), *other = spread(c, lines, n, n, n, false);
    const Node *better = largest ? build_binary(b, OP_lt, own, other) : build_binary(b, OP_lt, other, own);
    const Node *tie = grid(c, own->type, last_first ? ABOVE : BELOW), *zero = build_scalar(b, 0);
    const Node *equal = build_select(b, build_binary(b, OP_eq, own, other), tie, zero);
    const Node *before = build_select(b, better, build_scalar(b, 1), equal);
    return build_reduce(b, OP_reduce_sum, before);
}

const Node *sorted_positions(Call *c, const Node *lines, int64_t k, bool largest, bool last_first)
{
    int64_t n = type_last(lines->type), count = type_lanes(lines->type);
    if (n < 1 || k < 1 || n > MOST_SORTED)
        return fail(c, "sort outside the graph", "sorting of %lld computed values is not supported; the most are %d",
                    (long long)n, MOST_SORTED);
    if (!charge(c, 2 * count * n)) return NULL;
    Type t = lines->type;
    t.dim[t.rank - 1] = k;
    const Node *place = spread(c, places(c, lines, largest, last_first), n, k, n, false);
    const Node *here = build_binary(c->b, OP_eq, place, grid(c, place->type, FIRST));
    const Node *zero = build_scalar(c->b, 0), *index = build_select(c->b, here, grid(c, place->type, SECOND), zero);
    const Node *sum = build_cast(c->b, build_reduce(c->b, OP_reduce_sum, index), T_I64);
    return build_reshape(c->b, sum, t.rank, t.dim);
}
