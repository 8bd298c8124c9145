// The latent inside a log_prob: the sum is followed to the terms of its base, log_prob = sum_i base(u_i) + rest.
//
// Sums are adds, subtractions, negations, products with constants, reduce_sum and constant products (linear). How u is
// read off a term, base_terms.c says. What is no term of the base (log-det terms, normalisers) is the rest; that it is
// right is checked by numbers, later.
#include "base_terms.h"
#include "flow.h"

#include <math.h>

static const double LEAST_BOUND = 1e3;

// ---- the sum

static void collect(BaseTerms *c, LaneRef r, double weight);

static void collect_linear(BaseTerms *c, LaneRef r, double weight)
{
    const Node *n = r.node, *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], m = r.lane / N, col = r.lane % N;
    for (int64_t k = 0; k < K; k++)
        if (const_at(w, k * N + col) != 0)
            collect(c, lane_canonical(n->in[0], m * K + k), weight * const_at(w, k * N + col));
    if (n->n_in > 3) collect(c, lane_canonical(n->in[3], r.lane), weight);
}

// One element of a product of computed values: the squares where a lane meets itself.
static void collect_matmul(BaseTerms *c, LaneRef r, double weight)
{
    const Node *a = r.node->in[0], *b = r.node->in[1];
    int64_t K = type_last(a->type), M = a->type.dim[a->type.rank - 2], line = r.lane / M; // N is 1
    for (int64_t k = 0; k < K; k++) {
        LaneRef x = lane_canonical(a, r.lane * K + k), y = lane_canonical(b, line * K + k);
        BaseTerm s = {.lane = x, .weight = weight};
        if (c->base == BASE_NORMAL && lane_same(x, y) && !lane_is_const(x))
            ARENA_PUSH(scratch_arena(c->cx), c->terms, c->n, c->cap, s);
    }
}

static bool constant_operand(LaneRef r, int k, double *value)
{
    LaneRef o = lane_operand(r.node, k, r.lane);
    if (!lane_is_const(o)) return false;
    *value = lane_value(o);
    return true;
}

static void collect(BaseTerms *c, LaneRef r, double weight)
{
    double v = 0;
    LaneRef inner;
    if (--c->budget < 0 || lane_is_const(r)) return;
    if (lane_square_of(r, &inner) && inner.node->op == OP_sqrt) { // the square of a norm
        collect(c, lane_operand(inner.node, 0, inner.lane), weight);
        return;
    }
    switch ((int)r.node->op) {
    case OP_neg: collect(c, lane_operand(r.node, 0, r.lane), -weight); return;
    case OP_add:
    case OP_sub:
        collect(c, lane_operand(r.node, 0, r.lane), weight);
        collect(c, lane_operand(r.node, 1, r.lane), r.node->op == OP_add ? weight : -weight);
        return;
    case OP_mul:
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
    case OP_select: // isnan(x) ? -inf : x
        inner = lane_operand(r.node, 2, r.lane);
        if (r.node->in[0]->op == OP_isnan && lane_same(lane_operand(r.node->in[0], 0, r.lane), inner)) {
            collect(c, inner, weight);
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
    base_terms_add(c, r, weight);
}

// ---- u from the terms

// The term's own weight as it stands in a standardised log density.
static double own_weight(BaseKind base) { return base == BASE_NORMAL ? -0.5 : base == BASE_LAPLACE ? -1 : -2; }

static bool is_plain(const BaseTerm *s, BaseKind base, double sign)
{
    if (base == BASE_UNIFORM || base == BASE_STUDENT_T) return false;
    return fabs(s->weight * sign - own_weight(base)) < 1e-6 && !s->n_times && !s->n_over;
}

static double weight_of(const BaseTerm *s, BaseKind base) { return base == BASE_STUDENT_T ? s->outer : s->weight; }

// Terms of one sign; where there are more of them than plain ones, the latter are meant.
static int64_t choose(BaseTerm *s, int64_t n, BaseKind base, double sign)
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

static const Node *scale_of(LaneEnv *env, const BaseTerm *s, double constant)
{
    Builder *b = env->b;
    const Node *scale = build_scalar(b, constant);
    for (int j = 0; j < s->n_times; j++) scale = build_binary(b, OP_mul, lane_node(env, s->times[j]), scale);
    for (int j = 0; j < s->n_over; j++) scale = build_binary(b, OP_div, scale, lane_node(env, s->over[j]));
    return scale;
}

static const Node *standardised_lane(LaneEnv *env, const BaseTerm *s, BaseKind base, double sign)
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
    case BASE_UNIFORM: {
        const Node *over = build_scalar(b, 1 / (s->high - s->low));
        return build_binary(b, OP_mul, build_binary(b, OP_sub, a, build_scalar(b, s->low)), over);
    }
    case BASE_STUDENT_T:
        return build_binary(b, OP_mul, a,
                            build_unary(b, OP_sqrt, scale_of(env, s, s->weight * (-2 * sign * s->outer - 1))));
    case BASE_GRAPH:
    case BASE_COUNT: break;
    }
    return a;
}

static const Node *standardised(LaneEnv *env, const BaseTerm *s, int64_t n, BaseKind base, double sign)
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

// Have all terms the same degrees of freedom?
static bool same_degrees(const BaseTerm *s, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (fabs(s[i].outer - s[0].outer) > 1e-6 * fabs(s[0].outer)) return false;
    return true;
}

// A log_prob within bounds so far out that they guard against infinities only; *sign: of what is left.
static LaneRef without_bounds(LaneRef r, double *sign, bool *bounded)
{
    for (double v = 0;;) {
        bool bound = r.node->op == OP_min || r.node->op == OP_max;
        int k = bound && constant_operand(r, 0, &v) ? 0 : 1;
        if (r.node->op == OP_neg)
            *sign = -*sign;
        else if (!bound || !constant_operand(r, k, &v) || fabs(v) < LEAST_BOUND)
            return r;
        *bounded |= bound;
        r = lane_operand(r.node, bound ? 1 - k : 0, r.lane);
    }
}

Split *split_log_prob(Context *cx, const Function *f, int scalar, BaseKind base)
{
    const Node *out = f->outputs[scalar].node;
    if (type_lanes(out->type) != 1) return NULL;
    BaseTerms c = {.cx = cx, .base = base, .budget = 1 << 22};
    double out_sign = 1;
    bool bounded = false;
    LaneRef sum = without_bounds(lane_canonical(out, 0), &out_sign, &bounded);
    collect(&c, sum, out_sign);
    if (base == BASE_LOGISTIC) base_terms_pair(&c);
    int64_t negative = 0;
    for (int64_t i = 0; i < c.n; i++) negative += weight_of(&c.terms[i], base) < 0;
    if (!c.n) return NULL;
    double sign = negative * 2 >= c.n ? 1 : -1;
    int64_t n = choose(c.terms, c.n, base, sign);
    LaneRef *lanes = ARENA_ARRAY(scratch_arena(cx), LaneRef, n + 1);
    bool plain = true;
    for (int64_t i = 0; i < n; i++) {
        lanes[i] = c.terms[i].lane;
        plain = plain && is_plain(&c.terms[i], base, sign);
    }
    if (!n || !lanes_independent(lanes, n)) return NULL;
    if (base == BASE_STUDENT_T && !same_degrees(c.terms, n)) return NULL;
    LaneEnv *env = copy_of(cx, f);
    Builder *b = env->b;
    build_output(b, "u", standardised(env, c.terms, n, base, sign));
    Split *s = ARENA_NEW(scratch_arena(cx), Split);
    *s = (Split){builder_finish(b), n, sign < 0, bounded, plain, base, -2 * sign * c.terms[0].outer - 1};
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
