// grad: reverse-mode differentiation on lanes.
//
// Going through the nodes backwards, what a node's users contributed is added up (adjoint.c), and the node's rule turns
// this adjoint y' of its result into those of its operands:
//
//   y = x w         x' = y' w^T (linear_t: the same weights)
//   y = a b         a' = y' b^T, b' = a^T y'                  (matmul)
//   y = sum x       x' = y' in every lane
//   y = max x       x' = y' / count where x = y, else 0
//   y = c ? a : b   a' = c ? y' : 0, b' = c ? 0 : y'          never a product with a mask: 0 * inf is NaN
//   y = f(x)        x' = y' f'(x)                        (derivative.c)
//
// An adjoint that a select, min or max may have set to 0 is *masked*: what it reaches may be a branch not taken, whose
// values are anything (the root of a negative number). There 0 times anything is 0: x' = (y' = 0) ? 0 : y' f'(x).
//
// Comparisons, roundings and integers have no adjoint. A constant adjoint (of a sum of log-det terms: 1) stays one
// lane.
#include "grad.h"
#include "adjoint.h"
#include "derivative.h"

#include <stdlib.h>

typedef struct {
    LaneEnv *env;
    Builder *b;
    Adjoints adjoints;
} Grad;

static bool is_real(const Node *n) { return n->type.dtype == T_F32; }

// ---- values

static const Node *value_of(Grad *g, const Node *v)
{
    int64_t n = type_lanes(v->type);
    LaneRef *refs = heap_array(n, sizeof *refs);
    for (int64_t i = 0; i < n; i++) refs[i] = lane_env_lane(g->env, v, i);
    const Node *now = lanes_gather_as(g->b, refs, v->type);
    free(refs);
    return now;
}

// Operand k of an elementwise node (k < 0: its result) at the adjoint's lanes.
static const Node *at_lanes(Grad *g, const Node *n, int k, const Adjoint *a)
{
    LaneRef *refs = heap_array(a->n, sizeof *refs);
    for (int64_t i = 0; i < a->n; i++)
        refs[i] = lane_env_get(g->env, k < 0 ? (LaneRef){n, a->lanes[i]} : lane_operand(n, k, a->lanes[i]));
    const Node *v = lanes_gather(g->b, refs, a->n);
    free(refs);
    return v;
}

static void contribute_operand(Grad *g, const Node *n, int k, const Adjoint *a, const Node *value)
{
    LaneRef *targets = heap_array(a->n, sizeof *targets);
    for (int64_t i = 0; i < a->n; i++) targets[i] = lane_operand(n, k, a->lanes[i]);
    adjoint_add_lanes(&g->adjoints, targets, a->n, value);
    free(targets);
}

// ---- elementwise nodes

static const Node *elementwise_rule(Grad *g, const Node *n, int k, const Adjoint *a)
{
    Builder *b = g->b;
    const Node *d = a->value, *zero = build_scalar(b, 0);
    const Node *y = n->n_in < 3 ? at_lanes(g, n, -1, a) : NULL, *q = n->n_in == 2 ? at_lanes(g, n, 1, a) : NULL;
    const Node *p = at_lanes(g, n, 0, a);
    if (n->n_in == 1) return derivative_unary(b, n, d, p, y);
    if (n->n_in == 2) return derivative_binary(b, n, k, d, p, q, y);
    return k == 0 ? NULL : k == 1 ? build_select(b, p, d, zero) : build_select(b, p, zero, d);
}

static bool operand_depends(const Grad *g, const Node *v) { return v && is_real(v) && g->adjoints.depends[v->id]; }

static bool only_passes(Op op) { return op == OP_add || op == OP_sub || op == OP_neg; }
static bool sets_zero(Op op) { return op == OP_select || op == OP_min || op == OP_max; }

static void elementwise(Grad *g, const Node *n, const Adjoint *a)
{
    for (int k = 0; k < n->n_in; k++) {
        if (!operand_depends(g, n->in[k])) continue;
        const Node *part = elementwise_rule(g, n, k, a), *zero = build_scalar(g->b, 0);
        if (!part) continue;
        if (a->masked && !only_passes(n->op) && !sets_zero(n->op))
            part = build_select(g->b, build_binary(g->b, OP_eq, a->value, zero), zero, part);
        g->adjoints.masked = a->masked || sets_zero(n->op);
        contribute_operand(g, n, k, a, part);
        g->adjoints.masked = false;
    }
}

// ---- products

static const Node *tokens_of(Grad *g, const Adjoint *a, const Node *n)
{
    int64_t last = type_last(n->type), dim[2] = {last ? type_lanes(n->type) / last : 0, last};
    return adjoint_whole(g->b, a, type_make(T_F32, 2, dim));
}

static void linear(Grad *g, const Node *n, const Adjoint *a)
{
    const Node *w = matrix_part(g->b, n->in[1], 0, NULL, 0, NULL), *d = tokens_of(g, a, n);
    if (operand_depends(g, n->in[0]))
        adjoint_add(&g->adjoints, n->in[0],
                    n->op == OP_linear ? build_linear_t(g->b, d, w) : build_linear(g->b, d, w, NULL, NULL));
    if (n->n_in > 3 && operand_depends(g, n->in[3])) adjoint_add(&g->adjoints, n->in[3], d);
}

static void matmul(Grad *g, const Node *n, const Adjoint *a)
{
    Builder *b = g->b;
    const Node *d = adjoint_whole(g->b, a, n->type);
    if (operand_depends(g, n->in[0]))
        adjoint_add(&g->adjoints, n->in[0], build_matmul(b, d, build_swap_last(b, value_of(g, n->in[1]))));
    if (operand_depends(g, n->in[1]))
        adjoint_add(&g->adjoints, n->in[1], build_matmul(b, build_swap_last(b, value_of(g, n->in[0])), d));
}

// ---- reductions; x is [outer][K]

static const Node *spread(Builder *b, const Node *v, int64_t outer, int64_t K) // [outer] -> [outer][K]
{
    int64_t one[2] = {outer, 1}, dim[2] = {outer, K};
    return build_broadcast(b, build_reshape(b, v, 2, one), 2, dim);
}

static const Node *rows_of(Builder *b, const Node *v, int64_t outer, int64_t K)
{
    int64_t dim[2] = {outer, K};
    return build_reshape(b, v, 2, dim);
}

// Equal largest lanes share the adjoint.
static const Node *extreme_rule(Grad *g, const Node *n, const Node *d, int64_t outer, int64_t K)
{
    Builder *b = g->b;
    const Node *x = rows_of(b, value_of(g, n->in[0]), outer, K), *y = spread(b, value_of(g, n), outer, K);
    const Node *chosen = build_binary(b, OP_eq, x, y);
    const Node *zero = build_scalar(b, 0),
               *count = build_reduce(b, OP_reduce_sum, build_select(b, chosen, build_scalar(b, 1), zero));
    return build_select(b, chosen, spread(b, build_binary(b, OP_div, d, count), outer, K), zero);
}

// The product of the others: so it is right where a factor is 0.
static const Node *product_rule(Grad *g, const Node *n, const Node *d, int64_t outer, int64_t K)
{
    Builder *b = g->b;
    const Node *x = value_of(g, n->in[0]);
    LaneRef *refs = heap_array(outer * K * (K - 1), sizeof *refs);
    int64_t at = 0, dim[2] = {outer * K, K - 1};
    for (int64_t i = 0; i < outer * K; i++)
        for (int64_t k = 0; k < K; k++)
            if (k != i % K) refs[at++] = (LaneRef){x, i / K * K + k};
    const Node *others = build_reduce(b, OP_reduce_prod, lanes_gather_as(b, refs, type_make(T_F32, 2, dim)));
    free(refs);
    others = rows_of(b, others, outer, K);
    return build_binary(b, OP_mul, spread(b, d, outer, K), others);
}

static void reduce(Grad *g, const Node *n, const Adjoint *a)
{
    int64_t K = type_last(n->in[0]->type), outer = type_lanes(n->type);
    g->adjoints.masked = a->masked && n->op == OP_reduce_sum;
    if (n->op == OP_reduce_sum && type_lanes(a->value->type) == 1 && a->n == outer) {
        adjoint_add(&g->adjoints, n->in[0], a->value);
        return;
    }
    const Node *d = adjoint_whole(g->b, a, type_vector(outer)), *x;
    if (n->op == OP_reduce_sum)
        x = spread(g->b, d, outer, K);
    else
        x = n->op == OP_reduce_prod ? product_rule(g, n, d, outer, K) : extreme_rule(g, n, d, outer, K);
    adjoint_add(&g->adjoints, n->in[0], x);
}

// Entry k of a table gets what was taken at index k: [tables][K][J] selects, summed over J.
static void take(Grad *g, const Node *n, const Adjoint *a)
{
    Builder *b = g->b;
    int64_t K = type_last(n->in[0]->type), tables = type_lanes(n->in[0]->type) / K, J = type_lanes(n->type) / tables;
    int64_t one[3] = {tables, 1, J}, all[3] = {tables, K, J}, entries[3] = {1, K, 1};
    const Node *index = build_reshape(b, value_of(g, n->in[1]), 3, one);
    if (index->type.dtype != T_F32) index = build_cast(b, index, T_F32);
    const Node *zero = build_scalar(b, 0);
    index = build_binary(b, OP_max, build_unary(b, OP_trunc, index), zero);
    index = build_binary(b, OP_min, index, build_scalar(b, (double)(K - 1)));
    double *numbers = heap_array(K, sizeof *numbers);
    for (int64_t k = 0; k < K; k++) numbers[k] = (double)k;
    const Node *d = build_broadcast(b, build_reshape(b, adjoint_whole(g->b, a, n->type), 3, one), 3, all);
    const Node *is = build_binary(b, OP_eq, index, build_reals(b, type_make(T_F64, 3, entries), numbers));
    adjoint_add(&g->adjoints, n->in[0], build_reduce(b, OP_reduce_sum, build_select(b, is, d, zero)));
    free(numbers);
}

// ---- the march backwards

static void find_dependent(Grad *g, int n, const Node *const *wrt)
{
    const Function *f = g->env->from;
    for (int i = 0; i < n; i++) g->adjoints.depends[wrt[i]->id] = is_real(wrt[i]);
    for (int i = 0; i < f->n_nodes; i++)
        for (int k = 0; k < f->nodes[i]->n_in && is_real(f->nodes[i]); k++)
            if (operand_depends(g, f->nodes[i]->in[k])) g->adjoints.depends[i] = true;
}

static void node_backward(Grad *g, const Node *n)
{
    Adjoint a = adjoint_of(&g->adjoints, n);
    builder_origin(g->b, n->origin);
    if (a.value && !adjoint_is_zero(a.value)) switch (op_info(n->op)->kind) {
        case KIND_LEAF:
        case KIND_MOVE: break;
        case KIND_UNARY:
        case KIND_BINARY:
        case KIND_TERNARY: elementwise(g, n, &a); break;
        case KIND_LINEAR:
        case KIND_LINEAR_T: linear(g, n, &a); break;
        case KIND_MATMUL: matmul(g, n, &a); break;
        case KIND_REDUCE: reduce(g, n, &a); break;
        case KIND_TAKE: take(g, n, &a); break;
        }
    g->adjoints.masked = false;
    free(a.lanes);
}

void grad_of(LaneEnv *env, const Node *of, int n, const Node *const *wrt, const Node **out)
{
    const Function *f = env->from;
    Grad g = {env, env->b, adjoints_new(env->b, f->n_nodes)};
    find_dependent(&g, n, wrt);
    adjoint_add(&g.adjoints, of, build_scalar(g.b, 1));
    for (int i = f->n_nodes - 1; i >= 0; i--)
        if (adjoint_any(&g.adjoints, f->nodes[i]) && op_info(f->nodes[i]->op)->differentiable)
            node_backward(&g, f->nodes[i]);
    builder_origin(g.b, NULL);
    for (int i = 0; i < n; i++) {
        Adjoint a = adjoint_of(&g.adjoints, wrt[i]);
        out[i] = adjoint_whole(g.b, &a, wrt[i]->type);
        free(a.lanes);
    }
}
