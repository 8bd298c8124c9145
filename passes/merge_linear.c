// merge-linear: neighbouring constant linear maps become one, in double.
//
//     linear(linear(x, A, a), B, b)  =  linear(x, A B, a B + b)      where that is not more work
//     linear(x, A, a) * c            =  linear(x, A diag(c), a c)
//     linear(x, A, a) + c            =  linear(x, A, a + c)
//     x + linear(linear(x, A), B)    =  linear(x, 1 + A B)           where that is regular (merge_sum.c)
//     linear(x * c + d, B, b), and what LayerNorm does (merge_input.c)
//
// A move between two products only picks columns of the first. Flows put fixed mixing layers (permutations, PLU,
// ActNorm, normalisers) next to learned ones, so such pairs are common.
#include "pipeline.h"
#include "rewrite.h"

#include <stdlib.h>

static const Node *matrix_const(Builder *b, int64_t rows, int64_t cols, double *m)
{
    int64_t dim[2] = {rows, cols};
    const Node *w = build_reals(b, type_make(T_F64, 2, dim), m);
    free(m);
    return w;
}

static bool plain_linear(const Node *n) { return n->op == OP_linear && n->n_in < 4; }

// Which column of the inner product each input of the outer one is; NULL: not all are.
static int32_t *columns_of(const Node *x, const Node **inner)
{
    int64_t lanes = type_lanes(x->type);
    int32_t *cols = heap_array(lanes, sizeof *cols);
    *inner = x->op == OP_move && x->n_in == 1 ? x->in[0] : x;
    bool ok =
        plain_linear(*inner) && lanes == type_last(x->type) && type_lanes((*inner)->type) == type_last((*inner)->type);
    for (int64_t i = 0; i < lanes && ok; i++) cols[i] = (int32_t)(x == *inner || !x->map ? i : x->map[i]);
    if (ok) return cols;
    free(cols);
    return NULL;
}

// A[:, cols] B and the bias.
static const Node *merged(Builder *b, const Node *inner, const int32_t *cols, const Node *outer, const Node *add)
{
    const Node *A = inner->in[1], *B = outer->in[1];
    int64_t K = A->type.dim[0], M = B->type.dim[0], N = B->type.dim[1];
    double *w = heap_array(K * N, sizeof *w), *bias = heap_array(N, sizeof *bias);
    for (int64_t j = 0; j < M; j++)
        for (int64_t c = 0; c < N; c++) {
            double v = const_at(B, j * N + c);
            if (v == 0) continue;
            bias[c] += linear_bias(inner, cols[j]) * v;
            for (int64_t k = 0; k < K; k++) w[k * N + c] += const_at(A, k * A->type.dim[1] + cols[j]) * v;
        }
    for (int64_t c = 0; c < N; c++) bias[c] += linear_bias(outer, c);
    const Node *bn = build_reals(b, type_vector(N), bias);
    free(bias);
    return build_linear(b, inner->in[0], matrix_const(b, K, N, w), bn, add);
}

static const Node *merge_products(Builder *b, const Node *n)
{
    const Node *inner = NULL, *result = NULL;
    int32_t *cols = columns_of(n->in[0], &inner);
    if (!cols) return NULL;
    int64_t K = inner->in[1]->type.dim[0], M = type_last(n->in[0]->type), N = n->in[1]->type.dim[1];
    if (K * N <= M * (K + N) && K * N <= 1 << 20) result = merged(b, inner, cols, n, n->n_in > 3 ? n->in[3] : NULL);
    free(cols);
    return result;
}

// A constant that is the same for every token of N features, or one number.
static bool of_every_token(const Node *c, int64_t N)
{
    int64_t lanes = type_lanes(c->type);
    if (!node_is_const(c) || (lanes > 1 && (lanes % N || type_last(c->type) != N))) return false;
    for (int64_t i = N; i < lanes; i++)
        if (const_at(c, i) != const_at(c, i - N)) return false;
    return true;
}

static const Node *with_columns(Builder *b, const Node *linear, const Node *scale, const Node *shift, double sign)
{
    int64_t K = linear->in[1]->type.dim[0], N = linear->in[1]->type.dim[1];
    double *bias = heap_array(N, sizeof *bias);
    const Node *w = linear->in[1];
    for (int64_t j = 0; j < N; j++)
        bias[j] =
            linear_bias(linear, j) * (scale ? const_lane(scale, j) : 1) + (shift ? sign * const_lane(shift, j) : 0);
    if (scale) {
        double *m = linear_weights(linear);
        for (int64_t k = 0; k < K; k++)
            for (int64_t j = 0; j < N; j++) m[k * N + j] *= const_lane(scale, j);
        w = matrix_const(b, K, N, m);
    }
    const Node *bn = build_reals(b, type_vector(N), bias);
    free(bias);
    return build_linear(b, linear->in[0], w, bn, NULL);
}

static const Node *merge_output(Builder *b, const Node *n, const Node *const *in, const int *uses)
{
    for (int k = 0; k < 2; k++) {
        const Node *l = in[k], *c = in[1 - k];
        if (!plain_linear(l) || uses[n->in[k]->id] > 1 || type_lanes(n->type) != type_lanes(l->type)) continue;
        if (!of_every_token(c, type_last(l->type)) || (n->op == OP_sub && k == 1)) continue;
        const Node *r =
            with_columns(b, l, n->op == OP_mul ? c : NULL, n->op == OP_mul ? NULL : c, n->op == OP_sub ? -1 : 1);
        return build_reshape(b, r, n->type.rank, n->type.dim);
    }
    return NULL;
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *user)
{
    const int *uses = user; // readers_of the function that was
    if (n->op == OP_mul || n->op == OP_add || n->op == OP_sub) {
        const Node *better = merge_output(b, n, in, uses), *copy = better ? NULL : build_like(b, n, in);
        if (!better) better = merge_mean(b, copy, n, uses);
        return better ? better : merge_affine_sum(b, copy);
    }
    if (n->op != OP_linear) return NULL;
    const Node *copy = build_like(b, n, in), *x = n->in[0];
    if (copy->op != OP_linear) return copy;
    bool once = uses[x->id] <= 1 && (x->op != OP_move || uses[x->in[0]->id] <= 1);
    const Node *better = once ? merge_products(b, copy) : NULL;
    if (!better) better = merge_input(b, copy, n, uses);
    return better ? build_reshape(b, better, n->type.rank, n->type.dim) : copy;
}

static const Function *merge_function(Context *cx, const Function *f)
{
    return rewrite_function(cx, f, rule, readers_of(cx, f));
}

Module *pass_merge_linear(const Module *m, Context *cx)
{
    const Function **functions = ARENA_ARRAY(scratch_arena(cx), const Function *, m->n_functions);
    for (int i = 0; i < m->n_functions; i++) functions[i] = merge_function(cx, merge_function(cx, m->functions[i]));
    return module_new(cx, m->stage, m->n_functions, functions, m);
}
