// The root of a one-lane function without a closed inverse whose slope keeps one sign (one_lane_monotone.c), bracketed.
//
//   a grid     0, +-1, +-2, +-4, ..., +-2^32: how many of its points are below. None where t is a position in a bin
//              (0..1) or where v's thresholds tell the bin
//              Of a net (one_lane_net.c) in two rounds, of an integral from 0 outward
//   4 times    the interval's 16 parts: how many of the 15 points between them are below
//   3 times    a Newton step, kept inside the interval and its neighbours
// All points of a round are one vector; no row's work depends on another's, and the count is the same for all.
#include "one_lane_dual.h"

#include <math.h>
#include <stdlib.h>

// ---- value and slope of the slots above t, for `copies` values of t in each function

typedef struct {
    LaneEnv *env;
    Builder *b;
    const OneLane *g;
    int t, copies;
    bool slopes;
    const Node *at;
    Dual *dual; // by slot
} Duals;

static Dual slot_dual(Duals *d, int s);

static Dual operand_dual(Duals *d, int s, int k)
{
    const Slot *slot = &d->g->slots[s];
    if (slot->in[k] >= 0) return slot_dual(d, slot->in[k]);
    int64_t n = (int64_t)d->g->n * d->copies;
    LaneRef *refs = heap_array(n, sizeof *refs);
    for (int64_t i = 0; i < n; i++)
        refs[i] = lane_env_get(d->env, lane_operand(slot->node, k, slot->lanes[i / d->copies]));
    Dual v = {lanes_gather(d->b, refs, n), NULL};
    free(refs);
    return v;
}

static Dual slot_dual(Duals *d, int s)
{
    if (s == d->t) return (Dual){d->at, build_scalar(d->b, 1)};
    if (d->dual[s].value) return d->dual[s];
    const Node *n = d->g->slots[s].node, *v[3];
    Dual in[3];
    for (int k = 0; k < n->n_in; k++) {
        in[k] = operand_dual(d, s, k);
        v[k] = in[k].value;
    }
    Dual out = {lanes_apply(d->b, n, v), NULL};
    int passed = one_lane_guarded(d->g->slots, d->g->n, s);
    if (d->slopes) out.slope = passed >= 0 ? slot_dual(d, passed).slope : dual_slope(d->b, n, in, out.value);
    return d->dual[s] = out;
}

// Slot s where slot t is `at`.
static Dual evaluate_slot(LaneEnv *env, const OneLane *g, int s, int t, const Node *at, int copies, bool slopes)
{
    if (g->net) return s == t ? (Dual){at, NULL} : net_evaluate(env, g, at, copies, slopes);
    Duals d = {.env = env, .b = env->b, .g = g, .t = t, .copies = copies, .at = at, .slopes = slopes};
    d.dual = heap_array(g->n_slots, sizeof *d.dual);
    Dual v = slot_dual(&d, s);
    free(d.dual);
    return v;
}

static Dual evaluate(LaneEnv *env, const OneLane *g, const Way *way, const Node *at, int copies, bool slopes)
{
    return evaluate_slot(env, g, way->slot, way->t, at, copies, slopes);
}

// f32[n * copies]: lane i of x for each copy of function i.
static const Node *repeated(Builder *b, const Node *x, int n, int copies)
{
    int32_t *map = heap_array(n * copies, sizeof *map);
    for (int i = 0; i < n * copies; i++) map[i] = type_lanes(x->type) == 1 ? 0 : i / copies;
    const Node *v = build_move(b, type_vector((int64_t)n * copies), 1, &x, map);
    free(map);
    return v;
}

// How many of each function's points lie not above the root.
static const Node *count_below(LaneEnv *env, const OneLane *g, const Way *way, const Node *points, int copies,
                               const Node *u)
{
    Builder *b = env->b;
    const Node *value = evaluate(env, g, way, points, copies, false).value, *wanted = repeated(b, u, g->n, copies);
    const Node *above = way->slope > 0 ? build_binary(b, OP_lt, wanted, value) : build_binary(b, OP_lt, value, wanted);
    const Node *one = build_scalar(b, 1), *below = build_select(b, above, build_scalar(b, 0), one);
    int64_t dim[2] = {g->n, copies};
    return build_reduce(b, OP_reduce_sum,
                        build_reshape(b, build_broadcast(b, below, 1, &(int64_t){(int64_t)g->n * copies}), 2, dim));
}

static const Node *tiled(Builder *b, int n, int copies, const double *values)
{
    double *all = heap_array(n * copies, sizeof *all);
    for (int i = 0; i < n * copies; i++) all[i] = values[i % copies];
    const Node *v = build_reals(b, type_vector((int64_t)n * copies), all);
    free(all);
    return v;
}

// values[count] by each function's count.
static const Node *pick(Builder *b, const Node *count, int n, int size, const double *values)
{
    int64_t one[2] = {n, 1}, table[2] = {n, size};
    const Node *all = build_reshape(b, tiled(b, n, size, values), 2, table);
    const Node *v = build_take(b, all, build_cast(b, build_reshape(b, count, 2, one), T_I64));
    return build_reshape(b, v, 1, &(int64_t){n});
}

// Point i of the grid; points after the last one are that.
static double grid_point(int i)
{
    int k = (i < 0 ? 0 : i < ROOT_GRID ? i : ROOT_GRID - 1) - ROOT_DOUBLINGS - 1;
    return k ? copysign(ldexp(1, abs(k) - 1), k) : 0;
}

// How many of the grid's points lie not above the root, in two rounds: of every NET_PARTS-th, then of those after it.
static const Node *grid_count(LaneEnv *env, const OneLane *g, const Way *way, const Node *u)
{
    enum { FINE = NET_PARTS - 1, SIZE = NET_COARSE * NET_PARTS + FINE };
    Builder *b = env->b;
    double coarse[NET_COARSE], after[FINE], grid[SIZE];
    int64_t table[2] = {g->n, SIZE}, places[2] = {g->n, FINE}, points = (int64_t)g->n * FINE;
    for (int i = 0; i < NET_COARSE; i++) coarse[i] = grid_point(i * NET_PARTS + FINE);
    for (int i = 0; i < FINE; i++) after[i] = i;
    for (int i = 0; i < SIZE; i++) grid[i] = grid_point(i);
    const Node *first = count_below(env, g, way, tiled(b, g->n, NET_COARSE, coarse), NET_COARSE, u);
    first = build_binary(b, OP_mul, first, build_scalar(b, NET_PARTS));
    const Node *at = tiled(b, g->n, FINE, after);
    at = build_binary(b, OP_add, repeated(b, first, g->n, FINE), at);
    const Node *all = build_reshape(b, tiled(b, g->n, SIZE, grid), 2, table);
    const Node *fine = build_take(b, all, build_cast(b, build_reshape(b, at, 2, places), T_I64));
    return build_binary(b, OP_add, first, count_below(env, g, way, build_reshape(b, fine, 1, &points), FINE, u));
}

static void grid_interval(LaneEnv *env, const OneLane *g, const Way *way, const Node *u, const Node **lo,
                          const Node **hi)
{
    enum { MOST = (NET_COARSE + 1) * NET_PARTS };
    Builder *b = env->b;
    double grid[ROOT_GRID], low[MOST], high[MOST];
    int size = g->net ? MOST : ROOT_GRID + 1;
    for (int i = 0; i < ROOT_GRID; i++) grid[i] = grid_point(i);
    for (int i = 0; i < size; i++) {
        low[i] = grid_point(i - 1);
        high[i] = grid_point(i);
    }
    const Node *count =
        g->net ? grid_count(env, g, way, u) : count_below(env, g, way, tiled(b, g->n, ROOT_GRID, grid), ROOT_GRID, u);
    *lo = pick(b, count, g->n, size, low);
    *hi = pick(b, count, g->n, size, high);
}

// f32[n]: of each function's points, how many come before the first that is not below the root on its side (1, -1).
static const Node *count_outward(LaneEnv *env, const OneLane *g, const Way *way, const Node *points, const Node *sides,
                                 const Node *u)
{
    Builder *b = env->b;
    int64_t square[2] = {ROOT_OUTWARD, ROOT_OUTWARD}, rows[2] = {g->n, ROOT_OUTWARD}, all = rows[0] * rows[1];
    double upper[ROOT_OUTWARD * ROOT_OUTWARD];
    for (int i = 0; i < ROOT_OUTWARD * ROOT_OUTWARD; i++) upper[i] = i / ROOT_OUTWARD <= i % ROOT_OUTWARD;
    const Node *zero = build_scalar(b, 0), *one = build_scalar(b, 1);
    const Node *value = evaluate(env, g, way, points, ROOT_OUTWARD, false).value;
    const Node *left = build_binary(b, OP_sub, repeated(b, u, g->n, ROOT_OUTWARD), value);
    const Node *slope = build_scalar(b, way->slope);
    left = build_binary(b, OP_mul, build_binary(b, OP_mul, left, sides), slope);
    const Node *past = build_reshape(b, build_select(b, build_binary(b, OP_lt, zero, left), zero, one), 2, rows);
    const Node *so_far = build_linear(b, past, build_reals(b, type_make(T_F32, 2, square), upper), NULL, NULL);
    so_far = build_reshape(b, so_far, 1, &all);
    const Node *before = build_select(b, build_binary(b, OP_eq, so_far, zero), one, zero);
    return build_reduce(b, OP_reduce_sum, build_reshape(b, before, 2, rows));
}

// Far out an integral's quadrature may fall, so that counts of all points mislead: from 0 outward, on the root's side,
// as far as the first of 1, 2, 4, ...
static void outward_interval(LaneEnv *env, const OneLane *g, const Way *way, const Node *u, const Node **lo,
                             const Node **hi)
{
    Builder *b = env->b;
    double size[ROOT_OUTWARD + 1], next[ROOT_OUTWARD + 1];
    for (int i = 0; i <= ROOT_OUTWARD; i++) {
        size[i] = i ? ldexp(1, i - 1) : 0;
        next[i] = ldexp(1, i < ROOT_OUTWARD ? i : i - 1);
    }
    const Node *start = evaluate(env, g, way, tiled(b, g->n, 1, size), 1, false).value;
    const Node *up = way->slope > 0 ? build_binary(b, OP_le, start, u) : build_binary(b, OP_le, u, start);
    const Node *minus = build_scalar(b, -1), *side = build_select(b, up, build_scalar(b, 1), minus);
    const Node *sides = repeated(b, side, g->n, ROOT_OUTWARD);
    const Node *points = build_binary(b, OP_mul, sides, tiled(b, g->n, ROOT_OUTWARD, size + 1));
    const Node *count = count_outward(env, g, way, points, sides, u);
    const Node *near = pick(b, count, g->n, ROOT_OUTWARD + 1, size),
               *far = pick(b, count, g->n, ROOT_OUTWARD + 1, next);
    *lo = build_select(b, up, near, build_unary(b, OP_neg, far));
    *hi = build_select(b, up, far, build_unary(b, OP_neg, near));
}

// t's values where v is low and high.
static void bin_interval(LaneEnv *env, const OneLane *g, const Way *way, const Node **lo, const Node **hi)
{
    const Node *x = evaluate_slot(env, g, way->t, g->v_slot, *lo, 1, false).value,
               *y = evaluate_slot(env, g, way->t, g->v_slot, *hi, 1, false).value;
    *lo = build_binary(env->b, OP_min, x, y);
    *hi = build_binary(env->b, OP_max, x, y);
}

const Node *one_lane_bracketed(LaneEnv *env, const OneLane *g, const Way *way, const Node *u, const Node *low,
                               const Node *high)
{
    Builder *b = env->b;
    const Node *lo = way->between ? low : build_scalar(b, 0), *hi = way->between ? high : build_scalar(b, 1);
    int parts = g->net ? NET_PARTS : ROOT_PARTS, sections = g->net ? NET_SECTIONS : ROOT_SECTIONS;
    double between[ROOT_PARTS - 1];
    for (int i = 0; i < parts - 1; i++) between[i] = (i + 1.0) / parts;
    bool bin = way->in_bin || way->between;
    if (g->net && !g->proved)
        outward_interval(env, g, way, u, &lo, &hi);
    else if (!bin)
        grid_interval(env, g, way, u, &lo, &hi);
    if (way->between) bin_interval(env, g, way, &lo, &hi);
    for (int k = 0; k < sections; k++) {
        const Node *width = build_binary(b, OP_sub, hi, lo);
        const Node *shares = tiled(b, g->n, parts - 1, between);
        const Node *shift = build_binary(b, OP_mul, repeated(b, width, g->n, parts - 1), shares);
        const Node *points = build_binary(b, OP_add, repeated(b, lo, g->n, parts - 1), shift);
        const Node *count = count_below(env, g, way, points, parts - 1, u);
        const Node *part = build_binary(b, OP_mul, width, build_scalar(b, 1.0 / parts));
        lo = build_binary(b, OP_add, lo, build_binary(b, OP_mul, part, count));
        hi = build_binary(b, OP_add, lo, part);
    }
    const Node *half = build_scalar(b, 0.5), *t = build_binary(b, OP_mul, build_binary(b, OP_add, lo, hi), half);
    const Node *width = build_binary(b, OP_sub, hi, lo); // rounding may have shown a neighbour
    if (!bin) {
        lo = build_binary(b, OP_sub, lo, width);
        hi = build_binary(b, OP_add, hi, width);
    }
    for (int k = 0; k < ROOT_STEPS; k++) {
        Dual v = evaluate(env, g, way, t, 1, true);
        const Node *next =
            build_binary(b, OP_sub, t, build_binary(b, OP_div, build_binary(b, OP_sub, v.value, u), v.slope));
        next = build_select(b, build_binary(b, OP_lt, lo, next), next, lo);
        t = build_select(b, build_binary(b, OP_lt, next, hi), next, hi);
    }
    return t;
}

const Node *one_lane_steepness(LaneEnv *env, const OneLane *g, const Way *way, const Node *t)
{
    return evaluate(env, g, way, t, 1, true).slope;
}
