// Backward steps: a node of the solved function whose output lanes are known gives an operand, v = f^-1(u).
//
//   u = a + b, a - b, a * b, a / b           v from u and the other operand
//   u = exp v, log v, sqrt v, expm1 v, ...   v = log u, exp u, u^2, log1p u, ...
//   u = v ^ c                                v = u ^ (1 / c)
//   u = mod(v, p)                           the v of one interval of length p (wrap.c)
//   u = x W (+ b + add)                      v = (u - known part) W_block^-1, folded into one product
//
// emit_solution writes all steps in the solver's order: that is the inverse program.
#include "emit.h"
#include "wrap.h"

static const Node *num(LaneEnv *env, double v) { return build_scalar(env->b, v); }

// u / c, where c = exp s is written u * exp(-s).
static const Node *divide(LaneEnv *env, const Node *u, const Node *c)
{
    if (c->op == OP_exp)
        return build_binary(env->b, OP_mul, u, build_unary(env->b, OP_exp, build_unary(env->b, OP_neg, c->in[0])));
    return build_binary(env->b, OP_div, u, c);
}

const Node *emit_inverse_unary(LaneEnv *env, const Node *n, const Node *u)
{
    Builder *b = env->b;
    switch ((int)n->op) {
    case OP_neg: return build_unary(b, OP_neg, u);
    case OP_exp: return build_unary(b, OP_log, u);
    case OP_log: return build_unary(b, OP_exp, u);
    case OP_sqrt: return build_binary(b, OP_mul, u, u);
    case OP_log1p: return build_unary(b, OP_expm1, u);
    case OP_expm1: return build_unary(b, OP_log1p, u);
    case OP_atan: return build_unary(b, OP_tan, u);
    case OP_sinh: return build_unary(b, OP_asinh, u);
    case OP_asinh: return build_unary(b, OP_sinh, u);
    case OP_tanh: return build_unary(b, OP_atanh, u);
    case OP_atanh: return build_unary(b, OP_tanh, u);
    case OP_sigmoid: return build_unary(b, OP_logit, u);
    case OP_logit: return build_unary(b, OP_sigmoid, u);
    case OP_softplus: return build_unary(b, OP_softplus_inv, u);
    case OP_softplus_inv: return build_unary(b, OP_softplus, u);
    case OP_erf: return build_unary(b, OP_erfinv, u);
    case OP_erfinv: return build_unary(b, OP_erf, u);
    case OP_leaky_relu: return build_alpha(b, OP_leaky_relu, u, 1 / n->alpha);
    case OP_elu: {
        const Node *over = num(env, 1 / n->alpha), *zero = num(env, 0);
        const Node *below = build_unary(b, OP_log1p, build_binary(b, OP_mul, build_binary(b, OP_min, u, zero), over));
        return build_select(b, build_binary(b, OP_lt, zero, u), u, below);
    }
    default: return NULL;
    }
}

const Node *emit_inverse_binary(LaneEnv *env, const Node *n, int k, const Node *u, const Node *other)
{
    Builder *b = env->b;
    switch ((int)n->op) {
    case OP_add: return build_binary(b, OP_sub, u, other);
    case OP_sub: return k == 0 ? build_binary(b, OP_add, u, other) : build_binary(b, OP_sub, other, u);
    case OP_mul: return divide(env, u, other);
    case OP_div: return k == 0 ? build_binary(b, OP_mul, u, other) : build_binary(b, OP_div, other, u);
    case OP_pow: return build_binary(b, OP_pow, u, build_binary(b, OP_div, num(env, 1), other));
    default: return u; // a clip in front of atanh or log: the identity
    }
}

static void emit_backward_step(LaneEnv *env, const SolveStep *s)
{
    const Node *n = s->node;
    const Node *u = emit_result_at(env, n, s->lanes, s->n), *v;
    if (n->n_in == 1)
        v = emit_inverse_unary(env, n, u);
    else if (n->op == OP_mod)
        v = emit_unwrapped(env, n, s->lanes, s->n, u);
    else
        v = emit_inverse_binary(env, n, s->operand, u, emit_operand_at(env, n, 1 - s->operand, s->lanes, s->n));
    int64_t have = type_lanes(v->type);
    for (int64_t i = 0; i < s->n; i++)
        lane_env_set(env, lane_operand(n, s->operand, s->lanes[i]), (LaneRef){v, have == 1 ? 0 : i});
}

// ---- blocks: x[rows] = (u[cols] - b - add - x_known W_known) W^-1, as one product of [u[cols], add, x_known] with
// constant weights

typedef struct {
    const SolveStep *s;
    int32_t *known; // rows that are known and have a weight in the block's columns
    int64_t k, n_known, inputs;
    bool has_add, has_bias;
} Block;

static Block block_of(const SolveStep *s)
{
    const Node *n = s->node, *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1];
    Block b = {.s = s, .known = heap_array(K, sizeof *b.known), .k = s->k};
    b.has_add = n->n_in > 3;
    b.has_bias = n->n_in > 2 && n->in[2];
    for (int64_t r = 0; r < K; r++) {
        bool unknown = false, weight = false;
        for (int64_t i = 0; i < b.k && !unknown; i++) unknown = s->rows[i] == r;
        for (int64_t j = 0; j < b.k && !weight && !unknown; j++) weight = const_at(w, r * N + s->cols[j]) != 0;
        if (weight) b.known[b.n_known++] = (int32_t)r;
    }
    b.inputs = b.k + (b.has_add ? b.k : 0) + b.n_known;
    return b;
}

static const Node *block_inputs(LaneEnv *env, const Block *b)
{
    const SolveStep *s = b->s;
    const Node *n = s->node;
    int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1], at = 0, dim[2] = {s->n, b->inputs};
    LaneRef *refs = emit_refs(b->inputs * s->n);
    for (int64_t t = 0; t < s->n; t++) {
        for (int64_t j = 0; j < b->k; j++) refs[at++] = lane_env_get(env, (LaneRef){n, s->lanes[t] * N + s->cols[j]});
        for (int64_t j = 0; j < b->k && b->has_add; j++)
            refs[at++] = lane_env_lane(env, n->in[3], s->lanes[t] * N + s->cols[j]);
        for (int64_t r = 0; r < b->n_known; r++)
            refs[at++] = lane_env_lane(env, n->in[0], s->lanes[t] * K + b->known[r]);
    }
    const Node *x = lanes_gather_as(env->b, refs, type_make(T_F32, 2, dim));
    free(refs);
    return x;
}

static const Node *block_product(LaneEnv *env, const Block *b, const Node *x)
{
    const SolveStep *s = b->s;
    const Node *w = s->node->in[1];
    int64_t k = b->k, N = w->type.dim[1], dim[2] = {b->inputs, k};
    double *m = heap_array(b->inputs * k, sizeof *m), *bias = heap_array(k, sizeof *bias);
    for (int64_t j = 0; j < k; j++)
        for (int64_t i = 0; i < k; i++) {
            double inv = s->inverse[j * k + i];
            m[j * k + i] = inv;
            if (b->has_add) m[(k + j) * k + i] = -inv;
            if (b->has_bias) bias[i] -= const_at(s->node->in[2], s->cols[j]) * inv;
            for (int64_t r = 0; r < b->n_known; r++)
                m[(b->inputs - b->n_known + r) * k + i] -= const_at(w, b->known[r] * N + s->cols[j]) * inv;
        }
    const Node *bias_node = b->has_bias ? build_reals(env->b, type_vector(k), bias) : NULL;
    const Node *now = build_linear(env->b, x, build_reals(env->b, type_make(T_F64, 2, dim), m), bias_node, NULL);
    free(m);
    free(bias);
    return now;
}

static void emit_block_step(LaneEnv *env, const SolveStep *s)
{
    Block b = block_of(s);
    const Node *n = s->node, *now = block_product(env, &b, block_inputs(env, &b));
    int64_t K = n->in[1]->type.dim[0];
    for (int64_t t = 0; t < s->n; t++)
        for (int64_t i = 0; i < b.k; i++)
            lane_env_set(env, lane_canonical(n->in[0], s->lanes[t] * K + s->rows[i]), (LaneRef){now, t * b.k + i});
    free(b.known);
}

void emit_solution(LaneEnv *env, const Solution *s)
{
    for (int i = 0; i < s->n_steps; i++) {
        const SolveStep *step = &s->steps[i];
        builder_origin(env->b, step->node->origin);
        switch (step->kind) {
        case STEP_FORWARD: emit_forward_lanes(env, step->node, step->lanes, step->n); break;
        case STEP_BACKWARD: emit_backward_step(env, step); break;
        case STEP_BLOCK: emit_block_step(env, step); break;
        case STEP_FUNCTION: one_lane_emit(env, step->function); break;
        case STEP_SYSTEM: emit_system(env, step->system); break;
        }
    }
    builder_origin(env->b, NULL);
}
