// Emission of one-lane functions: v from u, and log|du/dv| (one_lane.h).
//
// The tests of v against thresholds T become tests of u against g(T + 0): the whole function is built once more for
// every threshold, with v := T. Comparisons of thresholds with each other fold where their order is proved
// (lane_order.c), so that of a spline only the knots' heights remain. With the tests known, all that is constant
// between thresholds is built forward, and the way gives v.
//
#include "one_lane_emit.h"
#include "double_math.h"

#include <math.h>
#include <stdlib.h>

static Emit emit_start(LaneEnv *env, const OneLane *g)
{
    Arena *a = builder_context(env->b)->arena;
    return (Emit){.env = env,
                  .b = env->b,
                  .a = a,
                  .g = g,
                  .value = ARENA_ARRAY(a, const Node *, g->n_slots),
                  .test = ARENA_ARRAY(a, const Node *, g->n_slots)};
}

// Lanes of f, where they are now, as a vector (one lane where all are the same).
static const Node *gather(Emit *e, const LaneRef *refs)
{
    LaneRef *now = heap_array(e->g->n, sizeof *now);
    for (int i = 0; i < e->g->n; i++) now[i] = lane_env_get(e->env, refs[i]);
    const Node *v = lanes_gather(e->b, now, e->g->n);
    free(now);
    return v;
}

const Node *operand_vector(Emit *e, int s, int k)
{
    const Slot *slot = &e->g->slots[s];
    LaneRef *refs = heap_array(e->g->n, sizeof *refs);
    for (int i = 0; i < e->g->n; i++) refs[i] = lane_operand(slot->node, k, slot->lanes[i]);
    const Node *v = gather(e, refs);
    free(refs);
    return v;
}

// ---- forward values of slots (v being in env)

static bool slot_in_env(Emit *e, const Slot *slot)
{
    for (int i = 0; i < e->g->n; i++)
        if (!lane_env_get(e->env, (LaneRef){slot->node, slot->lanes[i]}).node) return false;
    return true;
}

static const Node *slot_value(Emit *e, int s)
{
    const Slot *slot = &e->g->slots[s];
    if (e->value[s]) return e->value[s];
    if (slot_in_env(e, slot)) {
        LaneRef *refs = heap_array(e->g->n, sizeof *refs);
        for (int i = 0; i < e->g->n; i++) refs[i] = (LaneRef){slot->node, slot->lanes[i]};
        e->value[s] = gather(e, refs);
        free(refs);
        return e->value[s];
    }
    const Node *in[3];
    for (int k = 0; k < slot->node->n_in; k++)
        in[k] = slot->in[k] >= 0 ? slot_value(e, slot->in[k]) : operand_vector(e, s, k);
    return e->value[s] = lanes_apply(e->b, slot->node, in);
}

// The test of a slot, by forward values: select: its condition; abs, leaky_relu: x >= 0; min, max: is the varying one
// taken?
static const Node *slot_test(Emit *e, int s)
{
    if (e->test[s]) return e->test[s];
    const Slot *slot = &e->g->slots[s];
    const Node *t;
    if (slot->node->op == OP_select)
        t = operand_vector(e, s, 0);
    else {
        int k = varying_operand(slot);
        const Node *x = slot_value(e, slot->in[k]),
                   *other = slot->node->n_in == 2 ? operand_vector(e, s, 1 - k) : num(e, 0);
        t = slot->node->op == OP_min ? bin(e, OP_lt, x, other) : bin(e, OP_le, other, x);
    }
    return e->test[s] = t;
}

static const Node **symbol_vectors(Emit *e, const Way *way, const Node *t, const Node *u)
{
    const Node **v = ARENA_ARRAY(e->a, const Node *, POLY_SYMBOLS);
    v[0] = t;
    v[1] = u;
    for (int s = 2; s < way->n_symbols; s++) v[s] = gather(e, way->symbols[s]);
    return v;
}

// ---- v from u

// x limited to lo..hi; lo where x is no number.
static const Node *within(Emit *e, const Node *x, double lo, double hi)
{
    const Node *least = num(e, lo), *low = build_select(e->b, bin(e, OP_lt, least, x), x, least), *most = num(e, hi);
    return build_select(e->b, bin(e, OP_lt, low, most), low, most);
}

// Quotient that is 0 where the divisor is 0.
static const Node *quotient(Emit *e, const Node *x, const Node *y)
{
    const Node *zero = num(e, 0), *is_zero = bin(e, OP_eq, y, zero);
    return build_select(e->b, is_zero, zero, bin(e, OP_div, x, build_select(e->b, is_zero, num(e, 1), y)));
}

// The root at which F = c2 t^2 + c1 t + c0 has the slope r = +-sqrt(c1^2 - 4 c2 c0): (r - c1) / (2 c2) = 2 c0 / (-c1 -
// r), whichever does not cancel.
static const Node *solve_quadratic(Emit *e, const Way *way, const Node *c0, const Node *c1, const Node *c2)
{
    const Node *four = num(e, 4), *other = bin(e, OP_mul, bin(e, OP_mul, c2, c0), four);
    const Node *square = bin(e, OP_sub, bin(e, OP_mul, c1, c1), other);
    const Node *root = build_unary(e->b, OP_sqrt, bin(e, OP_max, square, num(e, 0))), *zero = num(e, 0);
    const Node *alike = bin(e, OP_le, zero, c1), *minus = build_unary(e->b, OP_neg, root);
    if (way->relation_slope < 0) {
        root = minus;
        alike = build_unary(e->b, OP_not, alike);
    }
    const Node *less = bin(e, OP_sub, root, c1), *top = build_select(e->b, alike, bin(e, OP_mul, c0, num(e, 2)), less);
    const Node *twice = bin(e, OP_mul, c2, num(e, 2)), *minus_sum = build_unary(e->b, OP_neg, bin(e, OP_add, c1, root));
    return quotient(e, top, build_select(e->b, alike, minus_sum, twice));
}

// The same for t in 0..1, by Bernstein's form F = b0 (1-t)^2 + 2 b1 t (1-t) + b2 t^2, made to rise: b0 <= 0 <= b2. Then
// with m = |b1| + sqrt(b1^2 - b0 b2), t = -b0 / (m - b0) for b1 >= 0, else m / (m + b2): nothing cancels, nothing is
// negative below the root, and t is in 0..1 whatever is rounded.
static const Node *solve_in_bin(Emit *e, const Way *way, const Node *b0, const Node *b1, const Node *b2)
{
    const Node *zero = num(e, 0), *minus0 = build_unary(e->b, OP_neg, b0);
    if (way->relation_slope <= 0) {
        const Node *falls = way->relation_slope ? num(e, 1) : bin(e, OP_lt, b2, b0);
        minus0 = build_select(e->b, falls, b0, minus0);
        b1 = build_select(e->b, falls, build_unary(e->b, OP_neg, b1), b1);
        b2 = build_select(e->b, falls, build_unary(e->b, OP_neg, b2), b2);
    }
    minus0 = bin(e, OP_max, minus0, zero);
    b2 = bin(e, OP_max, b2, zero);
    const Node *other = bin(e, OP_mul, minus0, b2), *square = bin(e, OP_add, bin(e, OP_mul, b1, b1), other);
    const Node *root = build_unary(e->b, OP_sqrt, square), *m = bin(e, OP_add, build_unary(e->b, OP_abs, b1), root);
    const Node *up = bin(e, OP_le, zero, b1), *below = bin(e, OP_add, m, build_select(e->b, up, minus0, b2));
    return quotient(e, build_select(e->b, up, minus0, m), below);
}

// Coefficient i of p by Bernstein's form in a symbol, without the binomial factor.
static Poly bernstein(Arena *a, Poly p, int symbol, int degree, int i)
{
    static const double choose[5][5] = {{1}, {1, 1}, {1, 2, 1}, {1, 3, 3, 1}, {1, 4, 6, 4, 1}};
    Poly c = poly_number(a, 0);
    for (int k = 0; k <= i; k++)
        c = poly_add(a, c, choose[i][k] / choose[degree][k], poly_coefficient(a, p, symbol, k));
    return c;
}

static const Node *solve_relation(Emit *e, const Way *way, const Node *u)
{
    if (way->from_bin) u = within(e, u, 0, 1); // nothing overflows where another branch is taken
    const Node *const *symbols = symbol_vectors(e, way, NULL, u), *c[3] = {NULL, NULL, NULL};
    int degree = poly_degree(way->relation, 0);
    bool in_bin = degree == 2 && way->in_bin;
    for (int k = 0; k <= degree; k++) {
        Poly p = in_bin ? bernstein(e->a, way->relation, 0, 2, k) : poly_coefficient(e->a, way->relation, 0, k);
        c[k] = poly_build(e->b, p, symbols);
    }
    if (in_bin) return solve_in_bin(e, way, c[0], c[1], c[2]);
    const Node *t =
        degree == 1 ? quotient(e, build_unary(e->b, OP_neg, c[0]), c[1]) : solve_quadratic(e, way, c[0], c[1], c[2]);
    return way->in_bin ? within(e, t, 0, 1) : t;
}

// The next slot's value through a chain's op.
static const Node *chain_value(Emit *e, const Way *way, const Node *u)
{
    const Slot *slot = &e->g->slots[way->slot];
    if (way->same) return u;
    if (slot->node->n_in == 1) return emit_inverse_unary(e->env, slot->node, u);
    const Node *other = way->has_number ? num(e, way->number) : operand_vector(e, way->slot, 1 - way->operand);
    return emit_inverse_binary(e->env, slot->node, way->operand, u, other);
}

static const Node *way_value(Emit *e, const Way *way, const Node *u)
{
    switch (way->kind) {
    case WAY_END: return u;
    case WAY_CHAIN: return way_value(e, way->next, chain_value(e, way, u));
    case WAY_SELECT: {
        const Node *otherwise = way_value(e, way->otherwise, u);
        return build_select(e->b, e->test[way->test], way_value(e, way->next, u), otherwise);
    }
    case WAY_RATIONAL: return way_value(e, way->next, solve_relation(e, way, u));
    case WAY_BRACKET: return way_value(e, way->next, one_lane_bracketed(e->env, e->g, way, u, e->low, e->high));
    }
    return NULL;
}

void one_lane_emit(LaneEnv *env, const OneLane *g)
{
    Emit e = emit_start(env, g);
    one_lane_decide(&e);
    const Node *v = way_value(&e, g->way, gather(&e, g->u));
    for (int i = 0; i < g->n; i++) lane_env_set(env, g->v[i], (LaneRef){v, type_lanes(v->type) == 1 ? 0 : i});
}

// ---- log|du/dv|

// log = sum of logs + log|product|
typedef struct {
    const Node *sum, *product; // NULL: 0 and 1
} Slope;

static const Node *join(Emit *e, Op op, const Node *x, const Node *y) { return x ? bin(e, op, x, y) : y; }

static void add_log(Emit *e, Slope *s, double scale, const Node *v)
{
    if (fabs(scale) != 1) v = bin(e, OP_mul, v, num(e, fabs(scale)));
    if (scale > 0)
        s->sum = join(e, OP_add, s->sum, v);
    else
        s->sum = s->sum ? bin(e, OP_sub, s->sum, v) : build_unary(e->b, OP_neg, v);
}

static void times(Emit *e, Slope *s, const Node *v) { s->product = join(e, OP_mul, s->product, v); }
static void over(Emit *e, Slope *s, const Node *v)
{
    s->product = s->product ? bin(e, OP_div, s->product, v) : bin(e, OP_div, num(e, 1), v);
}

static const Node *softplus_of(Emit *e, const Node *x, double scale)
{
    return build_unary(e->b, OP_softplus, bin(e, OP_mul, x, num(e, scale)));
}

static void add_sech2(Emit *e, Slope *s, double scale, const Node *w)
{
    const Node *sum = bin(e, OP_add, w, softplus_of(e, w, -2));
    add_log(e, s, 2 * scale, bin(e, OP_sub, num(e, double_log(2.0)), sum));
}

static void add_cosh(Emit *e, Slope *s, double scale, const Node *w)
{
    const Node *a = build_unary(e->b, OP_abs, w), *log_2 = num(e, double_log(2.0));
    add_log(e, s, scale, bin(e, OP_sub, bin(e, OP_add, a, softplus_of(e, a, -2)), log_2));
}

static void add_normal(Emit *e, Slope *s, double scale, const Node *w)
{
    const Node *square = bin(e, OP_mul, w, w);
    add_log(e, s, scale, bin(e, OP_sub, num(e, LOG_ERF_SLOPE), square));
}

// The slope of a unary bijection u = f(v); forms as in emit_log_det.c.
static void unary_slope(Emit *e, Slope *s, const Node *n, const Node *v, const Node *u)
{
    const Node *zero = num(e, 0);
    switch ((int)n->op) {
    case OP_exp:
    case OP_expm1: add_log(e, s, 1, v); break;
    case OP_log:
    case OP_log1p: add_log(e, s, -1, u); break;
    case OP_sqrt: over(e, s, bin(e, OP_mul, u, num(e, 2))); break;
    case OP_tanh: add_sech2(e, s, 1, v); break;
    case OP_atanh: add_sech2(e, s, -1, u); break;
    case OP_sigmoid:
        add_log(e, s, -1, softplus_of(e, v, 1));
        add_log(e, s, -1, softplus_of(e, v, -1));
        break;
    case OP_logit:
        add_log(e, s, 1, softplus_of(e, u, 1));
        add_log(e, s, 1, softplus_of(e, u, -1));
        break;
    case OP_softplus: add_log(e, s, -1, softplus_of(e, v, -1)); break;
    case OP_softplus_inv: add_log(e, s, 1, softplus_of(e, u, -1)); break;
    case OP_atan: add_log(e, s, -1, build_unary(e->b, OP_log1p, bin(e, OP_mul, v, v))); break;
    case OP_sinh: add_cosh(e, s, 1, v); break;
    case OP_asinh: add_cosh(e, s, -1, u); break;
    case OP_erf: add_normal(e, s, 1, v); break;
    case OP_erfinv: add_normal(e, s, -1, u); break;
    case OP_leaky_relu: {
        const Node *below = num(e, n->alpha), *above = num(e, 1);
        times(e, s, build_select(e->b, bin(e, OP_lt, zero, v), above, below));
        break;
    }
    case OP_elu: {
        const Node *below = bin(e, OP_add, v, num(e, double_log(n->alpha)));
        add_log(e, s, 1, build_select(e->b, bin(e, OP_lt, zero, v), zero, below));
        break;
    }
    default: break;
    }
}

static void chain_slope(Emit *e, Slope *s, const Way *way, const Node *u)
{
    const Slot *slot = &e->g->slots[way->slot];
    const Node *n = slot->node;
    if (way->same) return;
    if (n->n_in == 1) {
        unary_slope(e, s, n, slot_value(e, slot->in[0]), u);
        return;
    }
    if (n->op != OP_mul && n->op != OP_div && n->op != OP_pow) return;
    const Node *other = way->has_number ? num(e, way->number) : operand_vector(e, way->slot, 1 - way->operand);
    if (n->op == OP_div && way->operand == 0) {
        over(e, s, other);
        return;
    }
    times(e, s, other);
    if (n->op == OP_mul) return;
    const Node *v = slot_value(e, slot->in[way->operand]);
    if (n->op == OP_pow) {
        const Node *log = build_unary(e->b, OP_log, v);
        add_log(e, s, 1, bin(e, OP_mul, bin(e, OP_sub, other, num(e, 1)), log));
    } else { // other / v
        over(e, s, v);
        over(e, s, v);
    }
}

// p in x by Bernstein's form for x in 0..1 (sums of positive terms stay so), else by powers.
static const Node *range_value(Emit *e, Poly p, int symbol, bool bin_range, const Node **symbols)
{
    int degree = poly_degree(p, symbol);
    if (!bin_range || degree > 4 || !degree) return poly_build(e->b, p, symbols);
    static const double choose[5][5] = {{1}, {1, 1}, {1, 2, 1}, {1, 3, 3, 1}, {1, 4, 6, 4, 1}};
    const Node *x = symbols[symbol], *rest = bin(e, OP_sub, num(e, 1), x), *sum = NULL;
    for (int i = 0; i <= degree; i++) {
        Poly c = bernstein(e->a, p, symbol, degree, i);
        if (poly_is_number(c, 0)) continue;
        c = poly_mul(e->a, c, poly_number(e->a, choose[degree][i]));
        const Node *v = poly_build(e->b, c, symbols);
        for (int k = 0; k < i; k++) v = bin(e, OP_mul, v, x);
        for (int k = i; k < degree; k++) v = bin(e, OP_mul, v, rest);
        sum = join(e, OP_add, sum, v);
    }
    return sum ? sum : num(e, 0);
}

static void common_factor(Emit *e, Slope *s, const Term *t, const Node **symbols)
{
    for (int k = 0; k < POLY_SYMBOLS; k++)
        for (int i = 0; i < t->power[k]; i++) times(e, s, symbols[k]);
}

// F = p + other q = 0: d other / d own = -(p' q - p q') / q^2.
// u: value of the way's slot.
static void rational_slope(Emit *e, Slope *s, const Way *way, const Node *u)
{
    bool by_u = poly_degree(way->relation, 1) != 1;
    int other = by_u ? 0 : 1, own = 1 - other;
    const Node *t = by_u ? NULL : slot_value(e, way->t);
    if (by_u && way->from_bin) u = within(e, u, 0, 1);
    if (t && way->in_bin) t = within(e, t, 0, 1);
    const Node **symbols = symbol_vectors(e, way, t, u);
    Poly top = one_lane_slope(e->a, way), q = poly_coefficient(e->a, way->relation, other, 1);
    Term common = poly_common(top);
    top = poly_divide(e->a, top, &common);
    bool in_bin = by_u ? way->from_bin : way->in_bin;
    const Node *above = range_value(e, top, own, in_bin, symbols), *below = range_value(e, q, own, in_bin, symbols);
    if (by_u) {
        times(e, s, below);
        over(e, s, above);
        times(e, s, below);
        Slope factor = {NULL, NULL};
        common_factor(e, &factor, &common, symbols);
        if (factor.product) over(e, s, factor.product);
    } else {
        common_factor(e, s, &common, symbols);
        over(e, s, below);
        times(e, s, above);
        over(e, s, below);
    }
}

static const Node *slope_log(Emit *e, Slope s)
{
    if (s.product) add_log(e, &s, 1, build_unary(e->b, OP_log, build_unary(e->b, OP_abs, s.product)));
    return s.sum ? s.sum : num(e, 0);
}

// u: value of the way's first slot.
static const Node *way_log(Emit *e, const Way *way, const Node *u)
{
    Slope s = {NULL, NULL};
    for (; way->kind != WAY_END && way->kind != WAY_SELECT; way = way->next) {
        if (way->kind == WAY_CHAIN)
            chain_slope(e, &s, way, u);
        else if (way->kind == WAY_RATIONAL)
            rational_slope(e, &s, way, u);
        else
            times(e, &s, one_lane_steepness(e->env, e->g, way, slot_value(e, way->t)));
        // from above: of a branch that is not taken, the forward value may be no number (a root of less than 0)
        bool unary = way->kind == WAY_CHAIN && e->g->slots[way->slot].node->n_in == 1;
        if (way->next->kind == WAY_END)
            u = NULL;
        else
            u = way->kind == WAY_CHAIN && !unary ? chain_value(e, way, u) : slot_value(e, way->next->slot);
    }
    const Node *own = slope_log(e, s);
    if (way->kind == WAY_END) return own;
    const Node *otherwise = way_log(e, way->otherwise, u), *next = way_log(e, way->next, u);
    return bin(e, OP_add, own, build_select(e->b, slot_test(e, way->test), next, otherwise));
}

const Node *one_lane_log_slope(LaneEnv *env, const OneLane *g)
{
    Emit e = emit_start(env, g);
    return way_log(&e, g->way, gather(&e, g->u));
}
