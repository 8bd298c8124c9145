// merge-linear, inputs: what is done to all inputs of a product alike goes into its weights, in double.
//
//     linear(x * c, B, b)       =  linear(x, diag(c) B, b)
//     linear(x + c, B, b)       =  linear(x, B, c B + b)
//     linear(x * s, B, b)       =  s * linear(x, B) + b          one lane s: where B has no more outputs than inputs
//     linear(x - mean x, B, b)  =  linear(x, B - its columns' means, b)
//
// and of its output:
//
//     y - mean y  of  y = linear(x, B, b)  is  linear(x, B - its rows' means, b - mean b)
//
// These are the parts of LayerNorm (Ba et al. 2016, eq. 4): before a product nothing of it stays but its mean and its
// deviation, two numbers; behind a product not even the mean. The sums lose no more digits than x itself has lost: an
// x that is far from 0 for its spread has been rounded there.
#include "pipeline.h"
#include "rewrite.h"

#include <math.h>
#include <stdlib.h>

double *linear_weights(const Node *linear)
{
    const Node *w = linear->in[1];
    int64_t n = type_lanes(w->type);
    double *m = heap_array(n, sizeof *m);
    for (int64_t i = 0; i < n; i++) m[i] = const_at(w, i);
    return m;
}

// n = c * sum of x, or sum of x / c: c, else 0.
static double of_sum(const Node *n, const Node *x)
{
    double c = 0;
    for (int k = 0; k < 2 && (n->op == OP_mul || (n->op == OP_div && k == 0)); k++) {
        const Node *sum = shapeless(n->in[k]);
        if (sum->op != OP_reduce_sum || type_lanes(sum->type) != 1 || !const_number(n->in[1 - k], &c)) continue;
        if (shapeless(sum->in[0]) == x) return n->op == OP_mul ? c : 1 / c;
    }
    return 0;
}

// x, if n is x - mean x over all lanes; else NULL.
static const Node *centred(const Node *n)
{
    if (n->op != OP_sub || type_lanes(n->in[1]->type) != 1) return NULL;
    const Node *x = shapeless(n->in[0]);
    double lanes = (double)type_lanes(x->type);
    return lanes > 1 && fabs(of_sum(shapeless(n->in[1]), x) * lanes - 1) < 1e-6 ? x : NULL;
}

// ---- a product's input

// What a product reads: x in the function under construction, and what it was where uses are counted; the weights and
// biases that make up for what has been taken off it, NULL while they are the product's own. All outputs are then to be
// multiplied by `scale`, if there is one.
typedef struct {
    const Node *product, *x, *was;
    int64_t K, N;
    double *w, *bias;
    const Node *scale;
} Input;

static void own_weights(Input *p)
{
    if (p->w) return;
    p->w = linear_weights(p->product);
    p->bias = heap_array(p->N, sizeof *p->bias);
    for (int64_t j = 0; j < p->N; j++) p->bias[j] = linear_bias(p->product, j);
}

static void scale_rows(Input *p, const Node *c, bool inverse)
{
    own_weights(p);
    for (int64_t k = 0; k < p->K; k++) {
        double f = inverse ? 1 / const_lane(c, k) : const_lane(c, k);
        for (int64_t j = 0; j < p->N; j++) p->w[k * p->N + j] *= f;
    }
}

static void shift_rows(Input *p, const Node *c, double sign)
{
    own_weights(p);
    for (int64_t k = 0; k < p->K; k++)
        for (int64_t j = 0; j < p->N; j++) p->bias[j] += sign * const_lane(c, k) * p->w[k * p->N + j];
}

static void centre_columns(Input *p)
{
    double *mean = heap_array(p->N, sizeof *mean);
    own_weights(p);
    for (int64_t k = 0; k < p->K; k++)
        for (int64_t j = 0; j < p->N; j++) mean[j] += p->w[k * p->N + j] / (double)p->K;
    for (int64_t k = 0; k < p->K; k++)
        for (int64_t j = 0; j < p->N; j++) p->w[k * p->N + j] -= mean[j];
    free(mean);
}

static void step_to(Input *p, int k)
{
    p->x = p->x->in[k];
    p->was = p->was->in[k];
}

// x = y * c, y / c, y + c, y - c
static bool take_constant(Input *p, int k)
{
    const Node *n = p->x, *c = n->in[1 - k];
    bool sum = n->op == OP_add || n->op == OP_sub;
    if (!of_features(c, p->K) || type_last(n->in[k]->type) != p->K || (k && n->op != OP_add && n->op != OP_mul))
        return false;
    if (sum && p->scale) return false;
    if (sum)
        shift_rows(p, c, n->op == OP_sub ? -1 : 1);
    else
        scale_rows(p, c, n->op == OP_div);
    step_to(p, k);
    return true;
}

// x = y * s, y / s of one row
static bool take_scale(Builder *b, Input *p, int k)
{
    const Node *n = p->x, *s = n->in[1 - k];
    if (p->scale || p->N > p->K || node_is_const(s) || (n->op != OP_mul && (n->op != OP_div || k))) return false;
    if (type_lanes(s->type) != 1 || type_lanes(n->in[k]->type) != p->K) return false;
    p->scale = n->op == OP_mul ? s : build_binary(b, OP_div, build_scalar(b, 1), s);
    step_to(p, k);
    return true;
}

static bool take_mean(Input *p)
{
    const Node *y = centred(p->x);
    if (!y || type_lanes(y->type) != p->K) return false;
    centre_columns(p);
    p->x = y;
    p->was = NULL; // y has other readers
    return true;
}

static bool may_take(const Node *x) { return x->op == OP_mul || x->op == OP_div || x->op == OP_add || x->op == OP_sub; }

static bool take_one(Builder *b, Input *p, const int *uses)
{
    if (!p->was || p->x->op != p->was->op) return false;
    if (take_mean(p)) return true;
    for (int k = 0; k < 2 && may_take(p->x) && uses[p->was->id] <= 1; k++)
        if (take_constant(p, k) || take_scale(b, p, k)) return true;
    return false;
}

static void pass_shapes(Input *p)
{
    while (p->was && is_reshape(p->x) && is_reshape(p->was)) step_to(p, 0);
}

static bool take_all(Builder *b, Input *p, const int *uses)
{
    bool some = false;
    for (pass_shapes(p); take_one(b, p, uses); pass_shapes(p)) some = true;
    return some;
}

// The product of what is left, with the same result.
static const Node *product_of(Builder *b, Input *p)
{
    int64_t dim[2] = {p->K, p->N};
    const Node *n = p->product;
    own_weights(p);
    const Node *x = build_reshape(b, p->x, n->in[0]->type.rank, n->in[0]->type.dim),
               *add = n->n_in > 3 ? n->in[3] : NULL;
    const Node *w = build_reals(b, type_make(T_F64, 2, dim), p->w), *bias = build_reals(b, type_vector(p->N), p->bias);
    if (!p->scale) return build_linear(b, x, w, bias, add);
    const Node *y = build_binary(b, OP_mul, build_linear(b, x, w, NULL, NULL), shapeless(p->scale));
    y = build_binary(b, OP_add, y, bias);
    return add ? build_binary(b, OP_add, y, add) : y;
}

const Node *merge_input(Builder *b, const Node *n, const Node *was, const int *uses)
{
    if (n->in[1]->type.rank != 2 || !may_take(shapeless(n->in[0]))) return NULL;
    Input p = {n, n->in[0], was->in[0], n->in[1]->type.dim[0], n->in[1]->type.dim[1], NULL, NULL, NULL};
    const Node *y = take_all(b, &p, uses) ? product_of(b, &p) : NULL;
    free(p.w);
    free(p.bias);
    return y;
}

// ---- a product's output

const Node *merge_mean(Builder *b, const Node *n, const Node *was, const int *uses)
{
    const Node *y = centred(n), *y_was = y ? centred(was) : NULL;
    if (!y_was || uses[y_was->id] != 2 || y->op != OP_linear || y->n_in > 3 || y->in[1]->type.rank != 2) return NULL;
    int64_t K = y->in[1]->type.dim[0], N = y->in[1]->type.dim[1], dim[2] = {K, N};
    if (type_lanes(y->type) != N) return NULL;
    double *w = linear_weights(y), *bias = heap_array(N, sizeof *bias), mean = 0;
    for (int64_t j = 0; j < N; j++) mean += linear_bias(y, j) / (double)N;
    for (int64_t j = 0; j < N; j++) bias[j] = linear_bias(y, j) - mean;
    for (int64_t k = 0; k < K; k++) {
        mean = 0;
        for (int64_t j = 0; j < N; j++) mean += w[k * N + j] / (double)N;
        for (int64_t j = 0; j < N; j++) w[k * N + j] -= mean;
    }
    const Node *wn = build_reals(b, type_make(T_F64, 2, dim), w), *bn = build_reals(b, type_vector(N), bias);
    free(w);
    free(bias);
    return build_reshape(b, build_linear(b, y->in[0], wn, bn, NULL), n->type.rank, n->type.dim);
}
