// One-lane functions without a closed inverse: the slope is proved to keep one sign, and the root is bracketed.
//
// Intervals of values and slopes are carried from t to u by the ops' rules; what known lanes may be follows from the
// ops that define them. Where the slope's interval excludes 0, t is found so:
//   a grid     0, +-1, +-2, +-4, ..., +-2^32: how many of its points are below. None where t is a position in a bin
//              (0..1) or where v's thresholds tell the bin
//   4 times    the interval's 16 parts: how many of the 15 points between them are below
//   3 times    a Newton step, kept inside the interval and its neighbours
// All points of a round are one vector; no row's work depends on another's, and the count is the same for all.
#include "double_math.h"
#include "lane_order.h"
#include "one_lane.h"

#include <math.h>
#include <stdlib.h>

// ---- intervals

typedef struct {
    double lo, hi;
} Range;

static const Range ALL = {-INFINITY, INFINITY};

static Range range(double lo, double hi) { return isnan(lo) || isnan(hi) ? ALL : (Range){lo, hi}; }

// Open ends are what slopes are about: the slope of exp is above 0 though its interval's end is 0, and so are products
// and reciprocals of such.
static const double TINY = 1e-300;

static double product(double a, double b)
{
    if (a == 0 || b == 0) return 0;
    return a * b == 0 ? copysign(TINY, (a > 0) == (b > 0) ? 1 : -1) : a * b;
}

static Range range_mul(Range a, Range b)
{
    double p[4] = {product(a.lo, b.lo), product(a.lo, b.hi), product(a.hi, b.lo), product(a.hi, b.hi)};
    double lo = p[0], hi = p[0];
    for (int i = 1; i < 4; i++) {
        lo = fmin(lo, p[i]);
        hi = fmax(hi, p[i]);
    }
    return range(lo, hi);
}

static Range range_add(Range a, double sign, Range b)
{
    return sign > 0 ? range(a.lo + b.lo, a.hi + b.hi) : range(a.lo - b.hi, a.hi - b.lo);
}

static Range range_reciprocal(Range a)
{
    if (a.lo > 0) return range(fmax(1 / a.hi, TINY), 1 / a.lo);
    if (a.hi < 0) return range(1 / a.hi, fmin(1 / a.lo, -TINY));
    if (a.lo == 0) return range(a.hi == 0 ? 0 : 1 / a.hi, INFINITY);
    return ALL;
}

static Range join(Range a, Range b) { return range(fmin(a.lo, b.lo), fmax(a.hi, b.hi)); }

typedef struct {
    Range value, slope;
} Pair;

static double softplus(double x) { return x > 30 ? x : double_log1p(double_exp(x)); }
static double sigmoid(double x) { return 1 / (1 + double_exp(-x)); }

// Value and slope of a unary op on an interval. False: no rule.
static bool unary_range(const Node *n, Range x, Pair *out)
{
    double far = fmax(fabs(x.lo), fabs(x.hi)), near = x.lo > 0 ? x.lo : x.hi < 0 ? -x.hi : 0;
    switch ((int)n->op) {
    case OP_exp: out->slope = out->value = range(fmax(double_exp(x.lo), TINY), double_exp(x.hi)); return true;
    case OP_expm1:
        out->value = range(double_expm1(x.lo), double_expm1(x.hi));
        out->slope = range(fmax(double_exp(x.lo), TINY), double_exp(x.hi));
        return true;
    case OP_tanh:
        out->value = range(double_tanh(x.lo), double_tanh(x.hi));
        out->slope =
            range(fmax(1 - double_tanh(far) * double_tanh(far), TINY), 1 - double_tanh(near) * double_tanh(near));
        return true;
    case OP_sigmoid:
        out->value = range(fmax(sigmoid(x.lo), TINY), sigmoid(x.hi));
        out->slope = range(fmax(sigmoid(far) * sigmoid(-far), TINY), sigmoid(near) * sigmoid(-near));
        return true;
    case OP_softplus:
        out->value = range(fmax(softplus(x.lo), TINY), softplus(x.hi));
        out->slope = range(fmax(sigmoid(x.lo), TINY), sigmoid(x.hi));
        return true;
    case OP_atan:
        out->value = range(double_atan(x.lo), double_atan(x.hi));
        out->slope = range(fmax(1 / (1 + far * far), TINY), 1 / (1 + near * near));
        return true;
    case OP_erf:
        out->value = range(double_erf(x.lo), double_erf(x.hi));
        out->slope = range(fmax(1.1283791670955126 * double_exp(-far * far), TINY),
                           1.1283791670955126 * double_exp(-near * near));
        return true;
    case OP_sinh:
        out->value = range(double_sinh(x.lo), double_sinh(x.hi));
        out->slope = range(double_cosh(near), double_cosh(far));
        return true;
    case OP_asinh:
        out->value = range(double_asinh(x.lo), double_asinh(x.hi));
        out->slope = range(fmax(1 / sqrt(1 + far * far), TINY), 1 / sqrt(1 + near * near));
        return true;
    case OP_sqrt:
        if (x.lo <= 0) return false;
        out->value = range(sqrt(x.lo), sqrt(x.hi));
        out->slope = range(fmax(0.5 / sqrt(x.hi), TINY), 0.5 / sqrt(x.lo));
        return true;
    case OP_log:
        if (x.lo <= 0) return false;
        out->value = range(double_log(x.lo), double_log(x.hi));
        out->slope = range(fmax(1 / x.hi, TINY), 1 / x.lo);
        return true;
    case OP_sin:
    case OP_cos: out->value = out->slope = range(-1, 1); return true;
    case OP_abs:
        out->value = range(near, far);
        out->slope = range(x.lo >= 0 ? 1 : -1, x.hi <= 0 ? -1 : 1);
        return true;
    case OP_leaky_relu: {
        double low = x.lo < 0 ? n->alpha : 1, high = x.hi > 0 ? 1 : n->alpha;
        out->value =
            join(range(fmin(product(x.lo, n->alpha), x.lo), x.hi), range(product(x.lo, low), product(x.hi, high)));
        out->slope = range(fmin(low, high), fmax(low, high));
        return true;
    }
    case OP_neg:
        out->value = range(-x.hi, -x.lo);
        out->slope = range(-1, -1);
        return true;
    default: return false;
    }
}

static Range lane_range(LaneRef r, int depth)
{
    const Node *n = r.node;
    if (lane_is_const(r)) return range(lane_value(r), lane_value(r));
    if (depth > 16 || !op_elementwise(n->op)) {
        int sign = lane_sign(r);
        return sign > 0 ? range(TINY, INFINITY) : sign < 0 ? range(-INFINITY, -TINY) : ALL;
    }
    Range in[3];
    for (int k = 0; k < n->n_in; k++) in[k] = lane_range(lane_operand(n, k, r.lane), depth + 1);
    Pair pair;
    switch ((int)n->op) {
    case OP_add: return range_add(in[0], 1, in[1]);
    case OP_sub: return range_add(in[0], -1, in[1]);
    case OP_mul: return range_mul(in[0], in[1]);
    case OP_div: return range_mul(in[0], range_reciprocal(in[1]));
    case OP_min: return range(fmin(in[0].lo, in[1].lo), fmin(in[0].hi, in[1].hi));
    case OP_max: return range(fmax(in[0].lo, in[1].lo), fmax(in[0].hi, in[1].hi));
    case OP_select: return join(in[1], in[2]);
    default: return n->n_in == 1 && unary_range(n, in[0], &pair) ? pair.value : ALL;
    }
}

typedef struct {
    const Slot *slots;
    int n, t;
    Pair *pair; // by slot
    char *done;
    bool failed;
    Range domain;
} Intervals;

static Pair slot_range(Intervals *v, int s);

static Pair operand_range(Intervals *v, int s, int k)
{
    const Slot *slot = &v->slots[s];
    if (slot->in[k] >= 0) return slot_range(v, slot->in[k]);
    Pair p = {lane_range(lane_operand(slot->node, k, slot->lanes[0]), 0), {0, 0}};
    for (int i = 1; i < v->n; i++) p.value = join(p.value, lane_range(lane_operand(slot->node, k, slot->lanes[i]), 0));
    return p;
}

static Pair slot_range(Intervals *v, int s)
{
    if (s == v->t) return (Pair){v->domain, {1, 1}};
    if (v->done[s]) return v->pair[s];
    const Node *n = v->slots[s].node;
    Pair in[3], out = {ALL, ALL}, own;
    for (int k = 0; k < n->n_in; k++) in[k] = operand_range(v, s, k);
    switch ((int)n->op) {
    case OP_add:
    case OP_sub: {
        double sign = n->op == OP_add ? 1 : -1;
        out = (Pair){range_add(in[0].value, sign, in[1].value), range_add(in[0].slope, sign, in[1].slope)};
        break;
    }
    case OP_mul:
        out.value = range_mul(in[0].value, in[1].value);
        out.slope = range_add(range_mul(in[0].slope, in[1].value), 1, range_mul(in[0].value, in[1].slope));
        if (v->slots[s].in[0] >= 0 && v->slots[s].in[0] == v->slots[s].in[1]) out.value.lo = fmax(out.value.lo, 0);
        break;
    case OP_div: {
        Range over = range_reciprocal(in[1].value);
        out.value = range_mul(in[0].value, over);
        out.slope = range_mul(range_add(in[0].slope, -1, range_mul(out.value, in[1].slope)), over);
        break;
    }
    case OP_min:
    case OP_max:
        out.slope = join(in[0].slope, in[1].slope);
        out.value = n->op == OP_min ? range(fmin(in[0].value.lo, in[1].value.lo), fmin(in[0].value.hi, in[1].value.hi))
                                    : range(fmax(in[0].value.lo, in[1].value.lo), fmax(in[0].value.hi, in[1].value.hi));
        break;
    case OP_select:
        if (v->slots[s].in[0] >= 0) v->failed = true;
        out = (Pair){join(in[1].value, in[2].value), join(in[1].slope, in[2].slope)};
        break;
    default:
        if (n->n_in != 1 || !unary_range(n, in[0].value, &own))
            v->failed = true;
        else
            out = (Pair){own.value, range_mul(own.slope, in[0].slope)};
        break;
    }
    v->done[s] = 1;
    return v->pair[s] = out;
}

int one_lane_monotone(const Slot *slots, int n_slots, int n, int s, int t, bool in_bin)
{
    Intervals v = {.slots = slots, .n = n, .t = t, .domain = in_bin ? (Range){0, 1} : ALL};
    v.pair = heap_array(n_slots, sizeof *v.pair);
    v.done = heap_array(n_slots, 1);
    Pair p = slot_range(&v, s);
    free(v.pair);
    free(v.done);
    if (v.failed) return 0;
    return p.slope.lo > 0 ? 1 : p.slope.hi < 0 ? -1 : 0;
}

// ---- emission: value and slope of the slots above t, for `copies` values of t in each function

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
        return bin(d, OP_mul, build_unary(b, OP_exp, build_unary(b, OP_neg, bin(d, OP_mul, x, x))),
                   num(d, 1.1283791670955126));
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
