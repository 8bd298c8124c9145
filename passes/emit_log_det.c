// The log-determinant: the sum of log|du/dv| over the backward steps, written in v or in u, whichever neither cancels
// nor overflows:
//
//   exp: v   log: -u   expm1: v   log1p: -u   sqrt: -log 2 - log|u|   tanh: 2 (log 2 - v - softplus(-2v))
//   atanh: the same in u, negated   sigmoid: -softplus(v) - softplus(-v)   logit: the same in u, negated
//   softplus: -softplus(-v)   softplus_inv: the same in u, negated   atan: -log1p(v^2)
//   sinh: |v| + softplus(-2|v|) - log 2   asinh: the same in u, negated
//   erf: log(2 / sqrt pi) - v^2   erfinv: the same in u, negated
//   leaky_relu, elu: 0 where v > 0, else log alpha (elu: + v)   a * b: log|b|   a / b: -log|b|, by b: log|a| - 2 log|b|
//   v^c: log|c| + (c - 1) log v
//
// and log|b| follows the lane to where it comes from: exp s gives s, sigmoid s gives -softplus(-s), products add.
#include "double_math.h"
#include "emit.h"

#include <math.h>

typedef struct {
    LaneEnv *env;
    const Node *sum; // f32[1] or NULL
    double constant;
} Total;

// sum += scale * sum of the lanes of v, `count` times where v is one lane for many.
static void add_term(Total *t, double scale, const Node *v, int64_t count)
{
    Builder *b = t->env->b;
    int64_t lanes = type_lanes(v->type), one = 1;
    double value = 0;
    if (lanes == 1 && count > 1) scale *= (double)count;
    if (node_is_const(v)) {
        for (int64_t i = 0; i < lanes; i++) value += const_at(v, i);
        t->constant += scale * value;
        return;
    }
    const Node *s = build_reduce(b, OP_reduce_sum, build_reshape(b, v, 1, &lanes));
    s = build_reshape(b, s, 1, &one);
    if (scale == -1)
        t->sum = t->sum ? build_binary(b, OP_sub, t->sum, s) : build_unary(b, OP_neg, s);
    else {
        if (scale != 1) s = build_binary(b, OP_mul, s, build_scalar(b, scale));
        t->sum = t->sum ? build_binary(b, OP_add, t->sum, s) : s;
    }
}

// sum += scale * sum of log|lane| over the refs (lanes of the function under construction), which are followed to where
// they come from. Refs of one node are handled together.
static void add_log_abs(Total *t, double scale, const LaneRef *refs, int64_t n, int depth);

enum { MOST_DEPTH = 8 };

static bool follows(const Node *n, int depth)
{
    if (depth > MOST_DEPTH) return false;
    switch ((int)n->op) {
    case OP_exp:
    case OP_sigmoid:
    case OP_neg:
    case OP_abs:
    case OP_mul:
    case OP_div:
    case OP_sqrt: return true;
    default: return false;
    }
}

static void add_log_abs_node(Total *t, double scale, const LaneRef *refs, int64_t n, int depth)
{
    Builder *b = t->env->b;
    const Node *v = refs[0].node;
    if (node_is_const(v)) {
        for (int64_t i = 0; i < n; i++) t->constant += scale * double_log(fabs(lane_value(refs[i])));
        return;
    }
    if (!follows(v, depth)) {
        const Node *x = lanes_gather_as(b, refs, type_vector(n));
        add_term(t, scale, build_unary(b, OP_log, build_unary(b, OP_abs, x)), n);
        return;
    }
    LaneRef *in = emit_refs(n);
    for (int k = 0; k < v->n_in; k++) {
        for (int64_t i = 0; i < n; i++) in[i] = lane_operand(v, k, refs[i].lane);
        if (v->op == OP_exp)
            add_term(t, scale, lanes_gather_as(b, in, type_vector(n)), n);
        else if (v->op == OP_sigmoid)
            add_term(t, -scale,
                     build_unary(b, OP_softplus, build_unary(b, OP_neg, lanes_gather_as(b, in, type_vector(n)))), n);
        else
            add_log_abs(t,
                        v->op == OP_sqrt            ? 0.5 * scale
                        : v->op == OP_div && k == 1 ? -scale
                                                    : scale,
                        in, n, depth + 1);
    }
    free(in);
}

static void add_log_abs(Total *t, double scale, const LaneRef *refs, int64_t n, int depth)
{
    LaneRef *group = emit_refs(n);
    bool *done = heap_array(n, 1);
    for (int64_t i = 0; i < n; i++) {
        if (done[i]) continue;
        int64_t m = 0;
        for (int64_t j = i; j < n; j++)
            if (!done[j] && refs[j].node == refs[i].node) {
                group[m++] = refs[j];
                done[j] = true;
            }
        add_log_abs_node(t, scale, group, m, depth);
    }
    free(group);
    free(done);
}

static void add_log_abs_operand(Total *t, double scale, const SolveStep *s, int k)
{
    LaneRef *refs = emit_refs(s->n);
    for (int64_t i = 0; i < s->n; i++) refs[i] = lane_env_get(t->env, lane_operand(s->node, k, s->lanes[i]));
    add_log_abs(t, scale, refs, s->n, 0);
    free(refs);
}

// log sech^2 of w: 2 (log 2 - w - softplus(-2w))
static void add_log_sech2(Total *t, double scale, const Node *w, int64_t n)
{
    Builder *b = t->env->b;
    const Node *two_w = build_binary(b, OP_mul, w, build_scalar(b, -2));
    t->constant += scale * 2 * double_log(2.0) * (double)n;
    add_term(t, -2 * scale, build_binary(b, OP_add, w, build_unary(b, OP_softplus, two_w)), n);
}

// log cosh w = |w| + softplus(-2|w|) - log 2
static void add_log_cosh(Total *t, double scale, const Node *w, int64_t n)
{
    Builder *b = t->env->b;
    const Node *a = build_unary(b, OP_abs, w);
    const Node *s = build_unary(b, OP_softplus, build_binary(b, OP_mul, a, build_scalar(b, -2)));
    t->constant -= scale * double_log(2.0) * (double)n;
    add_term(t, scale, build_binary(b, OP_add, a, s), n);
}

// log of erf's slope at w: log(2 / sqrt pi) - w^2
static void add_log_normal(Total *t, double scale, const Node *w, int64_t n)
{
    t->constant += scale * LOG_ERF_SLOPE * (double)n;
    add_term(t, -scale, build_binary(t->env->b, OP_mul, w, w), n);
}

static void add_unary(Total *t, const SolveStep *s)
{
    LaneEnv *env = t->env;
    Builder *b = env->b;
    const Node *n = s->node, *v = emit_operand_at(env, n, 0, s->lanes, s->n),
               *u = emit_result_at(env, n, s->lanes, s->n);
    const Node *zero = build_scalar(b, 0);
    switch ((int)n->op) {
    case OP_neg: break;
    case OP_exp:
    case OP_expm1: add_term(t, 1, v, s->n); break;
    case OP_log:
    case OP_log1p: add_term(t, -1, u, s->n); break;
    case OP_sqrt:
        t->constant -= double_log(2.0) * (double)s->n;
        add_term(t, -1, build_unary(b, OP_log, u), s->n);
        break;
    case OP_tanh: add_log_sech2(t, 1, v, s->n); break;
    case OP_atanh: add_log_sech2(t, -1, u, s->n); break;
    case OP_sigmoid:
        add_term(t, -1, build_unary(b, OP_softplus, v), s->n);
        add_term(t, -1, build_unary(b, OP_softplus, build_unary(b, OP_neg, v)), s->n);
        break;
    case OP_logit:
        add_term(t, 1, build_unary(b, OP_softplus, u), s->n);
        add_term(t, 1, build_unary(b, OP_softplus, build_unary(b, OP_neg, u)), s->n);
        break;
    case OP_softplus: add_term(t, -1, build_unary(b, OP_softplus, build_unary(b, OP_neg, v)), s->n); break;
    case OP_softplus_inv: add_term(t, 1, build_unary(b, OP_softplus, build_unary(b, OP_neg, u)), s->n); break;
    case OP_atan: add_term(t, -1, build_unary(b, OP_log1p, build_binary(b, OP_mul, v, v)), s->n); break;
    case OP_sinh: add_log_cosh(t, 1, v, s->n); break;
    case OP_asinh: add_log_cosh(t, -1, u, s->n); break;
    case OP_erf: add_log_normal(t, 1, v, s->n); break;
    case OP_erfinv: add_log_normal(t, -1, u, s->n); break;
    case OP_leaky_relu:
    case OP_elu: {
        const Node *below = build_scalar(b, double_log(n->alpha));
        if (n->op == OP_elu) below = build_binary(b, OP_add, v, below);
        add_term(t, 1, build_select(b, build_binary(b, OP_lt, zero, v), zero, below), s->n);
        break;
    }
    default: break;
    }
}

static void add_system(Total *t, const System *y)
{
    t->constant += y->log_det;
    if (y->inverse) return;
    const Node *pivots = system_pivots(t->env, y);
    LaneRef *refs = emit_refs(y->k);
    for (int i = 0; i < y->k; i++) refs[i] = lane_canonical(pivots, i);
    add_log_abs(t, 1, refs, y->k, 0);
    free(refs);
}

// u = v^c
static void add_power(Total *t, const SolveStep *s)
{
    Builder *b = t->env->b;
    const Node *v = emit_operand_at(t->env, s->node, 0, s->lanes, s->n),
               *c = emit_operand_at(t->env, s->node, 1, s->lanes, s->n);
    add_log_abs_operand(t, 1, s, 1);
    const Node *log = build_unary(b, OP_log, v);
    add_term(t, 1, build_binary(b, OP_mul, build_binary(b, OP_sub, c, build_scalar(b, 1)), log), s->n);
}

static void add_step(Total *t, const SolveStep *s)
{
    if (s->kind == STEP_FORWARD) return;
    if (s->kind == STEP_BLOCK) {
        t->constant += s->log_det * (double)s->n;
        return;
    }
    builder_origin(t->env->b, s->node->origin);
    if (s->kind == STEP_SYSTEM) {
        add_system(t, s->system);
        return;
    }
    if (s->kind == STEP_FUNCTION) {
        add_term(t, 1, one_lane_log_slope(t->env, s->function), s->n);
        return;
    }
    if (s->node->n_in == 1) add_unary(t, s);
    if (s->node->op == OP_mul) add_log_abs_operand(t, 1, s, 1 - s->operand);
    if (s->node->op == OP_div && s->operand == 0) add_log_abs_operand(t, -1, s, 1);
    if (s->node->op == OP_div && s->operand == 1) {
        add_log_abs_operand(t, 1, s, 0);
        add_log_abs_operand(t, -2, s, 1);
    }
    if (s->node->op == OP_pow) add_power(t, s);
}

const Node *emit_log_det(LaneEnv *env, const Solution *s)
{
    Total t = {env, NULL, 0};
    for (int i = 0; i < s->n_steps; i++) add_step(&t, &s->steps[i]);
    builder_origin(env->b, NULL);
    int64_t one = 1;
    const Node *constant = build_reshape(env->b, build_scalar(env->b, t.constant), 1, &one);
    if (!t.sum) return constant;
    return t.constant == 0 ? t.sum : build_binary(env->b, OP_add, t.sum, constant);
}
