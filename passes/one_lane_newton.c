// The root of a one-lane function without a closed inverse whose slope keeps one sign (one_lane_monotone.c), bracketed.
//
//   a grid     0, +-1, +-2, +-4, ..., +-2^32: how many of its points are below. None where t is a position in a bin
//              (0..1) or where v's thresholds tell the bin
//   4 times    the interval's 16 parts: how many of the 15 points between them are below
//   3 times    a Newton step, kept inside the interval and its neighbours
// All points of a round are one vector; no row's work depends on another's, and the count is the same for all.
#include "double_math.h"
#include "one_lane.h"

#include <math.h>
#include <stdlib.h>

// ---- value and slope of the slots above t, for `copies` values of t in each function

typedef struct {
    const Node *value, *slope; // slope NULL: 0
} Dual;

typedef struct {
    LaneEnv *env;
    Builder *b;
    const OneLane *g;
    int t, copies;
    bool slopes;
    const Node *at;
    Dual *dual; // by slot
} Duals;

static const Node *num(Duals *d, double v) { return build_scalar(d->b, v); }
static const Node *bin(Duals *d, Op op, const Node *x, const Node *y) { return build_binary(d->b, op, x, y); }
static const Node *mul(Duals *d, const Node *x, const Node *y) { return x && y ? bin(d, OP_mul, x, y) : NULL; }

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

// f'(x), u = f(x), in forms that keep their relative accuracy far out.
static const Node *unary_slope(Duals *d, const Node *n, const Node *x, const Node *u)
{
    Builder *b = d->b;
    const Node *zero = num(d, 0), *one = num(d, 1), *twice = bin(d, OP_mul, x, num(d, 2));
    switch ((int)n->op) {
    case OP_exp: return u;
    case OP_expm1: return build_unary(b, OP_exp, x);
    case OP_tanh: {
        const Node *p = build_unary(b, OP_sigmoid, twice),
                   *q = build_unary(b, OP_sigmoid, build_unary(b, OP_neg, twice));
        return bin(d, OP_mul, bin(d, OP_mul, p, q), num(d, 4));
    }
    case OP_sigmoid: return bin(d, OP_mul, u, build_unary(b, OP_sigmoid, build_unary(b, OP_neg, x)));
    case OP_softplus: return build_unary(b, OP_sigmoid, x);
    case OP_atan: return bin(d, OP_div, one, bin(d, OP_add, one, bin(d, OP_mul, x, x)));
    case OP_erf:
        return bin(d, OP_mul, build_unary(b, OP_exp, build_unary(b, OP_neg, bin(d, OP_mul, x, x))), num(d, ERF_SLOPE));
    case OP_sinh: return build_unary(b, OP_cosh, x);
    case OP_asinh: return bin(d, OP_div, one, build_unary(b, OP_sqrt, bin(d, OP_add, one, bin(d, OP_mul, x, x))));
    case OP_sqrt: return bin(d, OP_div, num(d, 0.5), u);
    case OP_log: return bin(d, OP_div, one, x);
    case OP_sin: return build_unary(b, OP_cos, x);
    case OP_cos: return build_unary(b, OP_neg, build_unary(b, OP_sin, x));
    case OP_abs: return build_select(b, bin(d, OP_lt, x, zero), num(d, -1), one);
    case OP_leaky_relu: return build_select(b, bin(d, OP_lt, zero, x), one, num(d, n->alpha));
    default: return num(d, -1); // neg
    }
}

static const Node *sum_of(Duals *d, Op op, const Node *x, const Node *y)
{
    if (!y) return x;
    if (!x) return op == OP_add ? y : build_unary(d->b, OP_neg, y);
    return bin(d, op, x, y);
}

static const Node *choose(Duals *d, const Node *c, const Node *x, const Node *y)
{
    if (!x && !y) return NULL;
    return build_select(d->b, c, x ? x : num(d, 0), y ? y : num(d, 0));
}

static const Node *slope_of(Duals *d, const Node *n, const Dual *in, const Node *u)
{
    switch ((int)n->op) {
    case OP_add:
    case OP_sub: return sum_of(d, n->op, in[0].slope, in[1].slope);
    case OP_mul: return sum_of(d, OP_add, mul(d, in[0].slope, in[1].value), mul(d, in[1].slope, in[0].value));
    case OP_div: {
        const Node *top = sum_of(d, OP_sub, in[0].slope, mul(d, in[1].slope, u));
        return top ? bin(d, OP_div, top, in[1].value) : NULL;
    }
    case OP_min: return choose(d, bin(d, OP_lt, in[0].value, in[1].value), in[0].slope, in[1].slope);
    case OP_max: return choose(d, bin(d, OP_lt, in[1].value, in[0].value), in[0].slope, in[1].slope);
    case OP_select: return choose(d, in[0].value, in[1].slope, in[2].slope);
    default: return mul(d, unary_slope(d, n, in[0].value, u), in[0].slope);
    }
}

static Dual slot_dual(Duals *d, int s)
{
    if (s == d->t) return (Dual){d->at, num(d, 1)};
    if (d->dual[s].value) return d->dual[s];
    const Node *n = d->g->slots[s].node, *v[3];
    Dual in[3];
    for (int k = 0; k < n->n_in; k++) {
        in[k] = operand_dual(d, s, k);
        v[k] = in[k].value;
    }
    Dual out = {lanes_apply(d->b, n, v), NULL};
    if (d->slopes) out.slope = slope_of(d, n, in, out.value);
    return d->dual[s] = out;
}

// Slot s where slot t is `at`.
static Dual evaluate_slot(LaneEnv *env, const OneLane *g, int s, int t, const Node *at, int copies, bool slopes)
{
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
    const Node *below = build_select(b, above, build_scalar(b, 0), build_scalar(b, 1));
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

static void grid_interval(LaneEnv *env, const OneLane *g, const Way *way, const Node *u, const Node **lo,
                          const Node **hi)
{
    Builder *b = env->b;
    double grid[ROOT_GRID], low[ROOT_GRID + 1], high[ROOT_GRID + 1];
    for (int i = 0; i < ROOT_GRID; i++) {
        int k = i - ROOT_DOUBLINGS - 1;
        grid[i] = k ? copysign(ldexp(1, abs(k) - 1), k) : 0;
    }
    for (int i = 0; i <= ROOT_GRID; i++) {
        low[i] = grid[i ? i - 1 : 0];
        high[i] = grid[i < ROOT_GRID ? i : ROOT_GRID - 1];
    }
    const Node *count = count_below(env, g, way, tiled(b, g->n, ROOT_GRID, grid), ROOT_GRID, u);
    *lo = pick(b, count, g->n, ROOT_GRID + 1, low);
    *hi = pick(b, count, g->n, ROOT_GRID + 1, high);
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
    double between[ROOT_PARTS - 1];
    for (int i = 0; i < ROOT_PARTS - 1; i++) between[i] = (i + 1.0) / ROOT_PARTS;
    bool bin = way->in_bin || way->between;
    if (!bin) grid_interval(env, g, way, u, &lo, &hi);
    if (way->between) bin_interval(env, g, way, &lo, &hi);
    for (int k = 0; k < ROOT_SECTIONS; k++) {
        const Node *width = build_binary(b, OP_sub, hi, lo);
        const Node *shift =
            build_binary(b, OP_mul, repeated(b, width, g->n, ROOT_PARTS - 1), tiled(b, g->n, ROOT_PARTS - 1, between));
        const Node *points = build_binary(b, OP_add, repeated(b, lo, g->n, ROOT_PARTS - 1), shift);
        const Node *count = count_below(env, g, way, points, ROOT_PARTS - 1, u);
        const Node *part = build_binary(b, OP_mul, width, build_scalar(b, 1.0 / ROOT_PARTS));
        lo = build_binary(b, OP_add, lo, build_binary(b, OP_mul, part, count));
        hi = build_binary(b, OP_add, lo, part);
    }
    const Node *t = build_binary(b, OP_mul, build_binary(b, OP_add, lo, hi), build_scalar(b, 0.5));
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
