// The latent inside a log_prob: the sum is followed to the terms of its base.
//
//   log_prob = sum_i base(u_i) + rest     what the base's terms look like:
//   normal     c k a^2            u = a sqrt(-2 c k)       c < 0 constant; k: lanes that are factors (a learned scale); c a k a;
//                                                          also as a product of lanes with themselves, or a norm's square
//   laplace    c k |a|            u = a (-c k)
//   logistic   -2 softplus(v)     u = -v                   also as -softplus(v) - softplus(-v), log sigmoid(v) + log sigmoid(-v)
//   student_t  c log(1 + q)       u = a sqrt(q' v), q = q' a^2, v = -2 c - 1 degrees of freedom
//   uniform    log(low <= a and a < high), or select(inside, constant, -inf), one test for each lane or one for all
//              u = (a - low) / (high - low)
//
// Sums are adds, subtractions, negations, products with constants, reduce_sum and constant products (linear). What is
// no term of the base (log-det terms, normalisers) is the rest; that it is right is checked by numbers, later.
#include "base.h"
#include "flow.h"

#include <math.h>

enum { MOST_FACTORS = 6 };

// One term of a base: weight * k * f(lane).
typedef struct {
    LaneRef lane;
    double weight;
    LaneRef times[MOST_FACTORS], over[MOST_FACTORS];
    int n_times, n_over;
    double low, high; // uniform
    double outer;     // student_t: the weight of the logarithm
    bool minus;       // logistic: the lane is -v
} Square;

typedef struct {
    Context *cx;
    BaseKind base;
    Square *squares;
    int64_t n, cap;
    int64_t budget;
} Collector;

static bool abs_of(LaneRef r, LaneRef *base)
{
    *base = r.node->op == OP_abs ? lane_operand(r.node, 0, r.lane) : r;
    return r.node->op == OP_abs;
}

static bool square_of(LaneRef r, LaneRef *base)
{
    const Node *n = r.node;
    if (n->op == OP_mul) {
        *base = lane_operand(n, 0, r.lane);
        return lane_same(*base, lane_operand(n, 1, r.lane)) && !lane_is_const(*base);
    }
    if (n->op != OP_pow) return false;
    LaneRef e = lane_operand(n, 1, r.lane);
    *base = lane_operand(n, 0, r.lane);
    return lane_is_const(e) && lane_value(e) == 2;
}

// r = c a: to a, and c into the weight. False: r has no constant factor.
static bool drop_constant(LaneRef *r, double *weight)
{
    if (r->node->op != OP_mul) return false;
    LaneRef x = lane_operand(r->node, 0, r->lane), y = lane_operand(r->node, 1, r->lane);
    if (!lane_is_const(x) && !lane_is_const(y)) return false;
    *weight *= lane_value(lane_is_const(x) ? x : y);
    *r = lane_is_const(x) ? y : x;
    return !lane_is_const(*r);
}

// (c a) a: the nearest lane that both factors are multiples of, and the constants.
static bool scaled_square(LaneRef r, LaneRef *base, double *weight)
{
    if (r.node->op != OP_mul) return false;
    double w = *weight;
    LaneRef a = lane_operand(r.node, 0, r.lane);
    do {
        double v = w;
        LaneRef b = lane_operand(r.node, 1, r.lane);
        do {
            if (!lane_same(a, b) || lane_is_const(a)) continue;
            *base = a;
            *weight = v;
            return true;
        } while (drop_constant(&b, &v));
    } while (drop_constant(&a, &w));
    return false;
}

// A product: constants, at most one square, other factors. False: not of this form.
typedef bool CoreOf(LaneRef r, LaneRef *base);

static bool factor(Square *s, LaneRef r, CoreOf *core, bool over, bool *found, int depth)
{
    LaneRef base;
    if (lane_is_const(r)) {
        s->weight = over ? s->weight / lane_value(r) : s->weight * lane_value(r);
        return true;
    }
    if (!over && !*found && (core(r, &base) || (core == square_of && scaled_square(r, &base, &s->weight)))) {
        s->lane = base;
        *found = true;
        return true;
    }
    if (depth < 12 && r.node->op == OP_neg) {
        s->weight = -s->weight;
        return factor(s, lane_operand(r.node, 0, r.lane), core, over, found, depth + 1);
    }
    if (depth < 12 && (r.node->op == OP_mul || r.node->op == OP_div)) {
        bool flip = r.node->op == OP_div;
        return factor(s, lane_operand(r.node, 0, r.lane), core, over, found, depth + 1) &&
               factor(s, lane_operand(r.node, 1, r.lane), core, over != flip, found, depth + 1);
    }
    LaneRef *list = over ? s->over : s->times;
    int *n = over ? &s->n_over : &s->n_times;
    if (*n == MOST_FACTORS) return false;
    list[(*n)++] = r;
    return true;
}

// c a k a: a lane that stands twice among the factors is the square.
static bool lane_twice(Square *s)
{
    for (int i = 0; i < s->n_times; i++)
        for (int j = i + 1; j < s->n_times; j++) {
            if (!lane_same(s->times[i], s->times[j])) continue;
            s->lane = s->times[i];
            s->times[j] = s->times[--s->n_times];
            s->times[i] = s->times[--s->n_times];
            return true;
        }
    return false;
}

static void collect(Collector *c, LaneRef r, double weight);

// log(1 + q) with q a square and its factors.
static bool student_term(Square *s, LaneRef r)
{
    const Node *n = r.node;
    if (n->op != OP_log && n->op != OP_log1p) return false;
    LaneRef q = lane_operand(n, 0, r.lane);
    bool found = false;
    if (n->op == OP_log && q.node->op == OP_add) {
        for (int k = 0; k < 2 && !found; k++) {
            LaneRef one = lane_operand(q.node, k, q.lane);
            if (!lane_is_const(one) || lane_value(one) != 1) continue;
            q = lane_operand(q.node, 1 - k, q.lane);
            found = true;
        }
    } else
        found = n->op == OP_log1p;
    if (!found) return false;
    s->outer = s->weight;
    s->weight = 1;
    found = false;
    return factor(s, q, square_of, false, &found, 0) && found;
}

// ---- the uniform's tests of range

static Square *range_of(Collector *c, int64_t first, LaneRef lane)
{
    for (int64_t i = first; i < c->n; i++)
        if (lane_same(c->squares[i].lane, lane)) return &c->squares[i];
    Square s = {.lane = lane, .weight = 1, .low = INFINITY, .high = -INFINITY};
    ARENA_PUSH(scratch_arena(c->cx), c->squares, c->n, c->cap, s);
    return &c->squares[c->n - 1];
}

// One bound: constant <= a or a <= constant holds inside, a < constant or constant < a outside.
static bool bound(Collector *c, int64_t first, LaneRef r, bool outside)
{
    LaneRef a = lane_operand(r.node, 0, r.lane), b = lane_operand(r.node, 1, r.lane);
    bool left = lane_is_const(a);
    if (left == lane_is_const(b)) return false;
    Square *s = range_of(c, first, left ? b : a);
    (left != outside ? &s->low : &s->high)[0] = lane_value(left ? a : b);
    return true;
}

static bool is_zero(LaneRef r) { return lane_is_const(r) && lane_value(r) == 0; }

// All tests below r: r holds where all of them do (inside), or where any does (outside).
static bool bounds(Collector *c, int64_t first, LaneRef r, bool outside)
{
    const Node *n = r.node;
    if (--c->budget < 0) return false;
    if (n->op == (outside ? OP_reduce_max : OP_reduce_min) || n->op == (outside ? OP_reduce_sum : OP_reduce_prod)) {
        int64_t K = type_last(n->in[0]->type);
        for (int64_t k = 0; k < K; k++)
            if (!bounds(c, first, lane_canonical(n->in[0], r.lane * K + k), outside)) return false;
        return true;
    }
    if (!op_elementwise(n->op)) return false;
    LaneRef x = lane_operand(n, 0, r.lane), y = n->n_in > 1 ? lane_operand(n, 1, r.lane) : x;
    switch ((int)n->op) {
    case OP_not: return bounds(c, first, x, !outside);
    case OP_or:
    case OP_max: return outside && bounds(c, first, x, true) && bounds(c, first, y, true);
    case OP_and:
    case OP_mul:
    case OP_min: return !outside && bounds(c, first, x, false) && bounds(c, first, y, false);
    case OP_add: // a cast, or a count
        if (is_zero(y)) return bounds(c, first, x, outside);
        return outside && bounds(c, first, x, true) && bounds(c, first, y, true);
    case OP_lt: // a count of tests above 0
        if (outside && is_zero(x) && (op_info(y.node->op)->kind == KIND_REDUCE || y.node->op == OP_add))
            if (bounds(c, first, y, true)) return true;
        return bound(c, first, r, outside);
    case OP_le: return bound(c, first, r, outside);
    default: return false;
    }
}

// A constant inside and -inf outside, not the linear tails of a spline, which ask the same question.
static bool is_outside(LaneRef r) { return lane_is_const(r) && lane_value(r) == -INFINITY; }

static void uniform_terms(Collector *c, LaneRef r, double weight)
{
    int64_t first = c->n;
    bool ok = r.node->op == OP_log, outside = false;
    if (r.node->op == OP_select) {
        LaneRef x = lane_operand(r.node, 1, r.lane), y = lane_operand(r.node, 2, r.lane);
        outside = is_outside(x);
        ok = lane_is_const(x) && lane_is_const(y) && outside != is_outside(y);
    }
    ok = ok && bounds(c, first, lane_operand(r.node, 0, r.lane), outside);
    for (int64_t i = first; i < c->n && ok; i++) {
        ok = c->squares[i].low < c->squares[i].high;
        c->squares[i].weight = -weight; // as the other bases' terms: negative in a log_prob
    }
    if (!ok) c->n = first;
}

// -2 softplus(v), or a half of it: -softplus(v), log(sigmoid(-v)).
static bool logistic_term(Square *s, LaneRef r)
{
    LaneRef x = r.node->op == OP_log ? lane_operand(r.node, 0, r.lane) : r;
    s->minus = x.node->op == OP_sigmoid;
    if (s->minus) s->weight = -s->weight;
    double weight = fabs(s->weight);
    if (x.node->op != (r.node->op == OP_log ? OP_sigmoid : OP_softplus)) return false;
    if (fabs(weight - 1) > 1e-6 && (s->minus || fabs(weight - 2) > 1e-6)) return false;
    s->lane = lane_operand(x.node, 0, x.lane);
    return !lane_is_const(s->lane);
}

// The half whose lane is the negative of s's; NULL: there is none.
static const Square *other_half(const Collector *c, const Square *s)
{
    for (int64_t j = 0; j < c->n; j++) {
        const Square *t = &c->squares[j];
        bool negative = t->lane.node->op == OP_neg && lane_same(lane_operand(t->lane.node, 0, t->lane.lane), s->lane);
        if (negative && t->weight == s->weight && t->minus == s->minus) return t;
    }
    return NULL;
}

// -softplus(v) - softplus(-v) = -v - 2 softplus(-v): halves that meet are one term, the others none.
static void pair_halves(Collector *c)
{
    Square *kept = ARENA_ARRAY(scratch_arena(c->cx), Square, c->n + 1);
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++) {
        const Square *s = &c->squares[i], *other = fabs(s->weight) < 1.5 ? other_half(c, s) : s;
        if (!other) continue;
        kept[n] = s->minus ? *s : *other;
        kept[n++].weight = s->weight * (fabs(s->weight) < 1.5 ? 2 : 1);
    }
    c->squares = kept;
    c->n = c->cap = n;
}

static void collect_leaf(Collector *c, LaneRef r, double weight)
{
    Square s = {.weight = weight};
    bool found = false;
    switch (c->base) {
    case BASE_NORMAL: found = factor(&s, r, square_of, false, &found, 0) && (found || lane_twice(&s)); break;
    case BASE_LAPLACE: found = factor(&s, r, abs_of, false, &found, 0) && found; break;
    case BASE_LOGISTIC: found = logistic_term(&s, r); break;
    case BASE_UNIFORM: uniform_terms(c, r, weight); break;
    case BASE_STUDENT_T: found = student_term(&s, r); break;
    case BASE_GRAPH:
    case BASE_COUNT: break;
    }
    if (found) ARENA_PUSH(scratch_arena(c->cx), c->squares, c->n, c->cap, s);
}

static void collect_linear(Collector *c, LaneRef r, double weight)
{
    const Node *n = r.node, *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], m = r.lane / N, col = r.lane % N;
    for (int64_t k = 0; k < K; k++)
        if (const_at(w, k * N + col) != 0)
            collect(c, lane_canonical(n->in[0], m * K + k), weight * const_at(w, k * N + col));
    if (n->n_in > 3) collect(c, lane_canonical(n->in[3], r.lane), weight);
}

// One element of a product of computed values: the squares where a lane meets itself.
static void collect_matmul(Collector *c, LaneRef r, double weight)
{
    const Node *a = r.node->in[0], *b = r.node->in[1];
    int64_t K = type_last(a->type), M = a->type.dim[a->type.rank - 2], line = r.lane / M; // N is 1
    for (int64_t k = 0; k < K; k++) {
        LaneRef x = lane_canonical(a, r.lane * K + k), y = lane_canonical(b, line * K + k);
        Square s = {.lane = x, .weight = weight};
        if (c->base == BASE_NORMAL && lane_same(x, y) && !lane_is_const(x))
            ARENA_PUSH(scratch_arena(c->cx), c->squares, c->n, c->cap, s);
    }
}

static bool constant_operand(LaneRef r, int k, double *value)
{
    LaneRef o = lane_operand(r.node, k, r.lane);
    if (!lane_is_const(o)) return false;
    *value = lane_value(o);
    return true;
}

static void collect(Collector *c, LaneRef r, double weight)
{
    double v = 0;
    LaneRef inner;
    if (--c->budget < 0 || lane_is_const(r)) return;
    switch ((int)r.node->op) {
    case OP_neg: collect(c, lane_operand(r.node, 0, r.lane), -weight); return;
    case OP_add:
    case OP_sub:
        collect(c, lane_operand(r.node, 0, r.lane), weight);
        collect(c, lane_operand(r.node, 1, r.lane), r.node->op == OP_add ? weight : -weight);
        return;
    case OP_mul:
        if (square_of(r, &inner) && inner.node->op == OP_sqrt) {
            collect(c, lane_operand(inner.node, 0, inner.lane), weight);
            return;
        }
        for (int k = 0; k < 2; k++)
            if (constant_operand(r, k, &v)) {
                collect(c, lane_operand(r.node, 1 - k, r.lane), weight * v);
                return;
            }
        break;
    case OP_div:
        if (constant_operand(r, 1, &v) && v != 0) {
            collect(c, lane_operand(r.node, 0, r.lane), weight / v);
            return;
        }
        break;
    case OP_reduce_sum: {
        int64_t K = type_last(r.node->in[0]->type);
        for (int64_t k = 0; k < K; k++) collect(c, lane_canonical(r.node->in[0], r.lane * K + k), weight);
        return;
    }
    case OP_pow: // the square of a norm
        if (square_of(r, &inner) && inner.node->op == OP_sqrt) {
            collect(c, lane_operand(inner.node, 0, inner.lane), weight);
            return;
        }
        break;
    case OP_matmul:
        if (type_last(r.node->type) != 1) break; // attention
        collect_matmul(c, r, weight);
        return;
    case OP_linear:
        if (r.node->in[1]->type.dim[1] != 1) break; // a layer of a net, not a sum
        collect_linear(c, r, weight);
        return;
    default: break;
    }
    collect_leaf(c, r, weight);
}

// The term's own weight as it stands in a standardised log density.
static double own_weight(BaseKind base) { return base == BASE_NORMAL ? -0.5 : base == BASE_LAPLACE ? -1 : -2; }

static bool is_plain(const Square *s, BaseKind base, double sign)
{
    if (base == BASE_UNIFORM || base == BASE_STUDENT_T) return false;
    return fabs(s->weight * sign - own_weight(base)) < 1e-6 && !s->n_times && !s->n_over;
}

static double weight_of(const Square *s, BaseKind base) { return base == BASE_STUDENT_T ? s->outer : s->weight; }

// Terms of one sign; where there are more of them than plain ones, the latter are meant.
static int64_t choose(Square *s, int64_t n, BaseKind base, double sign)
{
    int64_t m = 0, plain = 0;
    for (int64_t i = 0; i < n; i++)
        if (weight_of(&s[i], base) * sign < 0) {
            s[m] = s[i];
            plain += is_plain(&s[m], base, sign);
            m++;
        }
    if (!plain || plain == m) return m;
    int64_t k = 0;
    for (int64_t i = 0; i < m; i++)
        if (is_plain(&s[i], base, sign)) s[k++] = s[i];
    return k;
}

static const Node *lane_node(LaneEnv *env, LaneRef r)
{
    LaneRef now = lane_env_get(env, r);
    return lanes_gather_as(env->b, &now, type_vector(1));
}

static const Node *scale_of(LaneEnv *env, const Square *s, double constant)
{
    Builder *b = env->b;
    const Node *scale = build_scalar(b, constant);
    for (int j = 0; j < s->n_times; j++) scale = build_binary(b, OP_mul, lane_node(env, s->times[j]), scale);
    for (int j = 0; j < s->n_over; j++) scale = build_binary(b, OP_div, scale, lane_node(env, s->over[j]));
    return scale;
}

static const Node *standardised_lane(LaneEnv *env, const Square *s, BaseKind base, double sign)
{
    Builder *b = env->b;
    const Node *a = lane_node(env, s->lane);
    switch (base) {
    case BASE_NORMAL:
        if (is_plain(s, base, sign)) return a;
        return build_binary(b, OP_mul, a, build_unary(b, OP_sqrt, scale_of(env, s, -2 * sign * s->weight)));
    case BASE_LAPLACE:
        if (is_plain(s, base, sign)) return a;
        return build_binary(b, OP_mul, a, scale_of(env, s, -sign * s->weight));
    case BASE_LOGISTIC: return s->minus ? a : build_unary(b, OP_neg, a);
    case BASE_UNIFORM:
        return build_binary(b, OP_mul, build_binary(b, OP_sub, a, build_scalar(b, s->low)),
                            build_scalar(b, 1 / (s->high - s->low)));
    case BASE_STUDENT_T:
        return build_binary(b, OP_mul, a,
                            build_unary(b, OP_sqrt, scale_of(env, s, s->weight * (-2 * sign * s->outer - 1))));
    case BASE_GRAPH:
    case BASE_COUNT: break;
    }
    return a;
}

static const Node *standardised(LaneEnv *env, const Square *s, int64_t n, BaseKind base, double sign)
{
    const Node **parts = ARENA_ARRAY(builder_context(env->b)->arena, const Node *, n);
    for (int64_t i = 0; i < n; i++) parts[i] = standardised_lane(env, &s[i], base, sign);
    return build_move(env->b, type_vector(n), (int)n, parts, NULL);
}

// A copy of f under construction, with f's outputs.
static LaneEnv *copy_of(Context *cx, const Function *f)
{
    Builder *b = builder_new(cx, f->name);
    LaneEnv *env = lane_env_new(cx, f, b);
    lane_env_inputs(env);
    emit_forward(env);
    for (int i = 0; i < f->n_outputs; i++) {
        const Node *v = f->outputs[i].node;
        int64_t count = type_lanes(v->type);
        LaneRef *refs = ARENA_ARRAY(scratch_arena(cx), LaneRef, count + 1);
        for (int64_t k = 0; k < count; k++) refs[k] = lane_env_lane(env, v, k);
        build_output(b, f->outputs[i].name, lanes_gather_as(b, refs, v->type));
    }
    return env;
}

Split *split_log_prob(Context *cx, const Function *f, int scalar, BaseKind base)
{
    const Node *out = f->outputs[scalar].node;
    if (type_lanes(out->type) != 1) return NULL;
    Collector c = {.cx = cx, .base = base, .budget = 1 << 22};
    collect(&c, lane_canonical(out, 0), 1);
    if (base == BASE_LOGISTIC) pair_halves(&c);
    int64_t negative = 0;
    for (int64_t i = 0; i < c.n; i++) negative += weight_of(&c.squares[i], base) < 0;
    if (!c.n) return NULL;
    double sign = negative * 2 >= c.n ? 1 : -1;
    int64_t n = choose(c.squares, c.n, base, sign);
    LaneRef *lanes = ARENA_ARRAY(scratch_arena(cx), LaneRef, n + 1);
    bool plain = true;
    for (int64_t i = 0; i < n; i++) {
        lanes[i] = c.squares[i].lane;
        plain = plain && is_plain(&c.squares[i], base, sign);
    }
    if (!n || !lanes_independent(lanes, n)) return NULL;
    LaneEnv *env = copy_of(cx, f);
    Builder *b = env->b;
    build_output(b, "u", standardised(env, c.squares, n, base, sign));
    Split *s = ARENA_NEW(scratch_arena(cx), Split);
    *s = (Split){builder_finish(b), n, sign < 0, plain, base, -2 * sign * c.squares[0].outer - 1};
    return s;
}

const Function *split_rest(Context *cx, const Split *s, int scalar, bool of_noise)
{
    LaneEnv *env = copy_of(cx, s->f);
    Builder *b = env->b;
    const Node *log_prob = lane_node(env, lane_canonical(s->f->outputs[scalar].node, 0));
    if (s->negated) log_prob = build_unary(b, OP_neg, log_prob);
    const Node *squares = s->f->outputs[s->f->n_outputs - 1].node;
    LaneRef *lanes = ARENA_ARRAY(scratch_arena(cx), LaneRef, s->dims + 1);
    for (int64_t i = 0; i < s->dims; i++) lanes[i] = lane_env_lane(env, squares, i);
    const Node *u = lanes_gather_as(b, lanes, type_vector(s->dims)), *base = base_log_density(b, s->base, s->param, u);
    build_output(b, "rest",
                 of_noise ? build_binary(b, OP_sub, base, log_prob) : build_binary(b, OP_sub, log_prob, base));
    return builder_finish(b);
}
