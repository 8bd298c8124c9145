// grad: reverse-mode differentiation on lanes.
//
// Every node n of the function has an adjoint d of / d n, the sum of what its users contribute. A contribution is a
// layer: a value of the function under construction and, for each lane of n, which lane of that value belongs to it.
// Moves need no rule: contributions go to the canonical lanes behind them, and a lane that is read several times gets
// the sum. Going through the nodes backwards, a node's layers are added up (lanes with the same layers together, so
// that whole values are added whole), and its rule turns the adjoint y' of the result into those of its operands:
//
//   y = x w         x' = y' w^T (linear_t: the same weights)
//   y = a b         a' = y' b^T, b' = a^T y'                  (matmul)
//   y = sum x       x' = y' in every lane
//   y = max x       x' = y' / count where x = y, else 0
//   y = c ? a : b   a' = c ? y' : 0, b' = c ? 0 : y'          never a product with a mask: 0 * inf is NaN
//   y = f(x)        x' = y' f'(x), written in y where that is cheaper (exp, tanh, sigmoid, sqrt)
//
// An adjoint that a select, min or max may have set to 0 is *masked*: what it reaches may be a branch not taken, whose
// values are anything (the root of a negative number). There 0 times anything is 0: x' = (y' = 0) ? 0 : y' f'(x).
//
// Comparisons, roundings and integers have no adjoint. A constant adjoint (of a sum of log-det terms: 1) stays one
// lane.
#include "grad.h"

#include <stdlib.h>

typedef struct {
    const Node *value;
    const int32_t *lane; // by lane of the node: lane of value, -1: none. NULL: in order, or one lane for all
    bool masked;
} Layer;

typedef struct {
    Layer *layers;
    int n, cap;
} Sum;

typedef struct {
    LaneEnv *env;
    Context *cx;
    Builder *b;
    Sum *sums;     // by node id of the function
    bool *depends; // by node id: on an input that is differentiated by
    bool masked;   // of what is contributed now
} Grad;

// The adjoint of some lanes of a node: value has n lanes or one.
typedef struct {
    const Node *value;
    int64_t n;
    int64_t *lanes; // which lanes of the node, rising
    bool masked;
} Adjoint;

static bool is_real(const Node *n) { return n->type.dtype == T_F32; }

static bool is_zero(const Node *v)
{
    double s = 1;
    return node_is_const(v) && const_is_splat(v, &s) && s == 0;
}

static const Node *flat(Builder *b, const Node *v)
{
    int64_t lanes = type_lanes(v->type);
    return build_reshape(b, v, 1, &lanes);
}

// ---- contributions

static void push_layer(Grad *g, const Node *n, const Node *value, const int32_t *lane)
{
    Sum *s = &g->sums[n->id];
    Layer l = {value, lane, g->masked};
    ARENA_PUSH(scratch_arena(g->cx), s->layers, s->n, s->cap, l);
}

static LaneRef lane_of(const Node *value, int64_t i) { return (LaneRef){value, type_lanes(value->type) == 1 ? 0 : i}; }

static bool in_order(const LaneRef *targets, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (targets[i].node != targets[0].node || targets[i].lane != i) return false;
    return n > 0 && type_lanes(targets[0].node->type) == n;
}

// Lanes of `node` that the targets name `times` times: the sum of these lanes of value, as one layer.
static void push_sums(Grad *g, const Node *node, const LaneRef *targets, int64_t n, const Node *value,
                      const int32_t *count, int32_t times)
{
    int64_t lanes = type_lanes(node->type), m = 0;
    int32_t *at = ARENA_ARRAY(scratch_arena(g->cx), int32_t, lanes), *filled = heap_array(lanes, sizeof *filled);
    for (int64_t i = 0; i < lanes; i++) at[i] = count[i] == times ? (int32_t)m++ : -1;
    LaneRef *refs = heap_array(m * times, sizeof *refs);
    for (int64_t i = 0; i < n; i++)
        if (targets[i].node == node && at[targets[i].lane] >= 0)
            refs[(int64_t)at[targets[i].lane] * times + filled[targets[i].lane]++] = lane_of(value, i);
    int64_t dim[2] = {m, times};
    if (type_lanes(value->type) == 1)
        push_layer(g, node, build_binary(g->b, OP_mul, flat(g->b, value), build_scalar(g->b, times)), at);
    else
        push_layer(g, node,
                   flat(g->b, build_reduce(g->b, OP_reduce_sum, lanes_gather_as(g->b, refs, type_make(T_F32, 2, dim)))),
                   at);
    free(filled);
    free(refs);
}

static void contribute_node(Grad *g, const Node *node, const LaneRef *targets, int64_t n, const Node *value)
{
    int64_t lanes = type_lanes(node->type);
    int32_t *count = heap_array(lanes, sizeof *count), *at = ARENA_ARRAY(scratch_arena(g->cx), int32_t, lanes),
            most = 0;
    bool single = false;
    for (int64_t i = 0; i < lanes; i++) at[i] = -1;
    for (int64_t i = 0; i < n; i++) {
        if (targets[i].node != node) continue;
        int64_t lane = targets[i].lane;
        at[lane] = (int32_t)lane_of(value, i).lane;
        if (++count[lane] > most) most = count[lane];
    }
    for (int64_t i = 0; i < lanes; i++) {
        if (count[i] > 1) at[i] = -1;
        single = single || count[i] == 1;
    }
    if (single) push_layer(g, node, value, at);
    bool *seen = heap_array(most + 1, sizeof *seen);
    for (int64_t i = 0; i < lanes && most > 1; i++) {
        if (count[i] < 2 || seen[count[i]]) continue;
        seen[count[i]] = true;
        push_sums(g, node, targets, n, value, count, count[i]);
    }
    free(seen);
    free(count);
}

// value: n lanes or one. Lane i belongs to targets[i], a canonical lane.
static void contribute_lanes(Grad *g, const LaneRef *targets, int64_t n, const Node *value)
{
    if (is_zero(value)) return;
    if (in_order(targets, n)) {
        if (g->depends[targets[0].node->id]) push_layer(g, targets[0].node, value, NULL);
        return;
    }
    const Node **seen = NULL;
    int n_seen = 0, cap = 0;
    for (int64_t i = 0; i < n; i++) {
        const Node *node = targets[i].node;
        bool known = node_is_const(node) || !g->depends[node->id] || (i && targets[i - 1].node == node);
        for (int k = 0; k < n_seen && !known; k++) known = seen[k] == node;
        if (known) continue;
        ARENA_PUSH(scratch_arena(g->cx), seen, n_seen, cap, node);
        contribute_node(g, node, targets, n, value);
    }
}

// To all lanes of v, in order.
static void contribute(Grad *g, const Node *v, const Node *value)
{
    int64_t n = type_lanes(v->type);
    LaneRef *targets = heap_array(n, sizeof *targets);
    for (int64_t i = 0; i < n; i++) targets[i] = lane_canonical(v, i);
    contribute_lanes(g, targets, n, value);
    free(targets);
}

// ---- adding up

static uint64_t *layer_sets(const Sum *s, int64_t lanes)
{
    uint64_t *set = heap_array(lanes, sizeof *set);
    for (int k = 0; k < s->n; k++)
        for (int64_t i = 0; i < lanes; i++)
            if (!s->layers[k].lane || s->layers[k].lane[i] >= 0)
                set[i] = (set[i] ^ (uint64_t)(k + 1)) * 0x9E3779B97F4A7C15u;
    return set;
}

// The lanes of one group have the same layers.
static const Node *add_group(Grad *g, const Sum *s, const int64_t *lanes, int64_t n, int64_t all)
{
    const Node *total = NULL;
    LaneRef *refs = heap_array(n, sizeof *refs);
    for (int k = 0; k < s->n; k++) {
        const Layer *l = &s->layers[k];
        if (l->lane && l->lane[lanes[0]] < 0) continue;
        const Node *part = flat(g->b, l->value);
        if (type_lanes(part->type) > 1 && (l->lane || n < all)) {
            for (int64_t i = 0; i < n; i++) refs[i] = lane_of(l->value, l->lane ? l->lane[lanes[i]] : lanes[i]);
            part = lanes_gather_as(g->b, refs, type_vector(n));
        }
        total = total ? build_binary(g->b, OP_add, total, part) : part;
    }
    free(refs);
    return total;
}

// All groups side by side: the lanes that have an adjoint.
static const Node *add_groups(Grad *g, const Sum *s, const uint64_t *set, Adjoint *a, int64_t all)
{
    LaneRef *refs = heap_array(a->n, sizeof *refs);
    int64_t *group = heap_array(a->n, sizeof *group);
    int64_t *place = heap_array(a->n, sizeof *place);
    for (int64_t i = 0; i < a->n; i++) {
        int64_t m = 0;
        if (refs[i].node) continue;
        for (int64_t j = i; j < a->n; j++)
            if (!refs[j].node && set[a->lanes[j]] == set[a->lanes[i]]) {
                place[m] = j;
                group[m++] = a->lanes[j];
            }
        const Node *sum = add_group(g, s, group, m, all);
        for (int64_t k = 0; k < m; k++) refs[place[k]] = lane_of(sum, k);
    }
    const Node *value = a->n ? lanes_gather(g->b, refs, a->n) : NULL;
    free(refs);
    free(group);
    free(place);
    return value;
}

static Adjoint adjoint_of(Grad *g, const Node *n)
{
    const Sum *s = &g->sums[n->id];
    int64_t all = type_lanes(n->type);
    uint64_t *set = layer_sets(s, all);
    Adjoint a = {NULL, 0, heap_array(all, sizeof *a.lanes), false};
    for (int k = 0; k < s->n; k++) a.masked = a.masked || s->layers[k].masked;
    for (int64_t i = 0; i < all; i++)
        if (set[i]) a.lanes[a.n++] = i;
    a.value = add_groups(g, s, set, &a, all);
    free(set);
    return a;
}

// The adjoint of the whole node in its shape: 0 where there is none.
static const Node *whole(Grad *g, const Adjoint *a, Type type)
{
    int64_t n = type_lanes(type);
    LaneRef *refs = heap_array(n, sizeof *refs);
    LaneRef zero = {build_scalar(g->b, 0), 0};
    for (int64_t i = 0; i < n; i++) refs[i] = zero;
    for (int64_t i = 0; i < a->n; i++) refs[a->lanes[i]] = lane_of(a->value, i);
    type.dtype = T_F32;
    const Node *v = lanes_gather_as(g->b, refs, type);
    free(refs);
    return v;
}

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
    contribute_lanes(g, targets, a->n, value);
    free(targets);
}

// ---- rules of one lane; d: the adjoint of the result

static const Node *num(Builder *b, double v) { return build_scalar(b, v); }
static const Node *mul(Builder *b, const Node *x, const Node *y) { return build_binary(b, OP_mul, x, y); }
static const Node *divide(Builder *b, const Node *x, const Node *y) { return build_binary(b, OP_div, x, y); }
static const Node *one_plus(Builder *b, const Node *x) { return build_binary(b, OP_add, x, num(b, 1)); }
static const Node *one_minus(Builder *b, const Node *x) { return build_binary(b, OP_sub, num(b, 1), x); }
static const Node *neg(Builder *b, const Node *x) { return build_unary(b, OP_neg, x); }
static const Node *square(Builder *b, const Node *x) { return mul(b, x, x); }
static const Node *less(Builder *b, const Node *x, const Node *y) { return build_binary(b, OP_lt, x, y); }

static const Node *unary_rule(Builder *b, const Node *n, const Node *d, const Node *x, const Node *y)
{
    switch (n->op) {
    case OP_neg: return neg(b, d);
    case OP_abs:
        return build_select(b, less(b, x, num(b, 0)), neg(b, d), build_select(b, less(b, num(b, 0), x), d, num(b, 0)));
    case OP_sqrt: return divide(b, mul(b, d, num(b, 0.5)), y);
    case OP_exp: return mul(b, d, y);
    case OP_log: return divide(b, d, x);
    case OP_log1p: return divide(b, d, one_plus(b, x));
    case OP_expm1: return mul(b, d, build_unary(b, OP_exp, x));
    case OP_sin: return mul(b, d, build_unary(b, OP_cos, x));
    case OP_cos: return neg(b, mul(b, d, build_unary(b, OP_sin, x)));
    case OP_tan: return mul(b, d, one_plus(b, square(b, y)));
    case OP_asin: return divide(b, d, build_unary(b, OP_sqrt, mul(b, one_minus(b, x), one_plus(b, x))));
    case OP_acos: return neg(b, divide(b, d, build_unary(b, OP_sqrt, mul(b, one_minus(b, x), one_plus(b, x)))));
    case OP_atan: return divide(b, d, one_plus(b, square(b, x)));
    case OP_sinh: return mul(b, d, build_unary(b, OP_cosh, x));
    case OP_cosh: return mul(b, d, build_unary(b, OP_sinh, x));
    case OP_tanh: return mul(b, d, mul(b, one_minus(b, y), one_plus(b, y)));
    case OP_asinh: return divide(b, d, build_unary(b, OP_sqrt, one_plus(b, square(b, x))));
    case OP_acosh:
        return divide(b, d, build_unary(b, OP_sqrt, mul(b, build_binary(b, OP_sub, x, num(b, 1)), one_plus(b, x))));
    case OP_atanh: return divide(b, d, mul(b, one_minus(b, x), one_plus(b, x)));
    case OP_sigmoid: return mul(b, d, mul(b, y, one_minus(b, y)));
    case OP_logit: return divide(b, d, mul(b, x, one_minus(b, x)));
    case OP_softplus: return mul(b, d, build_unary(b, OP_sigmoid, x));
    case OP_softplus_inv: return neg(b, divide(b, d, build_unary(b, OP_expm1, neg(b, x))));
    case OP_erf: return mul(b, mul(b, d, num(b, 1.1283791670955125739)), build_unary(b, OP_exp, neg(b, square(b, x))));
    case OP_erfinv: return mul(b, mul(b, d, num(b, 0.88622692545275801365)), build_unary(b, OP_exp, square(b, y)));
    case OP_leaky_relu: return build_select(b, less(b, num(b, 0), x), d, mul(b, d, num(b, n->alpha)));
    case OP_elu:
        return build_select(b, less(b, num(b, 0), x), d,
                            mul(b, mul(b, d, num(b, n->alpha)), build_unary(b, OP_exp, x)));
    default: return NULL;
    }
}

// d log a, 0 for a = 0 (as the limit of a^b log a, b > 0)
static const Node *power_of_exponent(Builder *b, const Node *d, const Node *base, const Node *y)
{
    const Node *zero = build_binary(b, OP_eq, base, num(b, 0));
    return build_select(b, zero, num(b, 0), mul(b, mul(b, d, y), build_unary(b, OP_log, base)));
}

// Adjoint of operand k (0: p, 1: q).
static const Node *binary_rule(Builder *b, const Node *n, int k, const Node *d, const Node *p, const Node *q,
                               const Node *y)
{
    const Node *zero = num(b, 0);
    switch (n->op) {
    case OP_add: return d;
    case OP_sub: return k ? neg(b, d) : d;
    case OP_mul: return mul(b, d, k ? p : q);
    case OP_div: return k ? neg(b, mul(b, divide(b, d, q), y)) : divide(b, d, q);
    case OP_pow:
        if (k) return power_of_exponent(b, d, p, y);
        return mul(b, d, mul(b, q, build_binary(b, OP_pow, p, build_binary(b, OP_sub, q, num(b, 1)))));
    case OP_mod: return k ? neg(b, mul(b, d, build_unary(b, OP_floor, divide(b, p, q)))) : d;
    case OP_fmod: return k ? neg(b, mul(b, d, build_unary(b, OP_trunc, divide(b, p, q)))) : d;
    case OP_min: return k ? build_select(b, less(b, p, q), zero, d) : build_select(b, less(b, p, q), d, zero);
    case OP_max: return k ? build_select(b, less(b, q, p), zero, d) : build_select(b, less(b, q, p), d, zero);
    default: return NULL;
    }
}

static const Node *elementwise_rule(Grad *g, const Node *n, int k, const Adjoint *a)
{
    Builder *b = g->b;
    const Node *d = a->value, *zero = num(b, 0);
    if (n->n_in == 1) return unary_rule(b, n, d, at_lanes(g, n, 0, a), at_lanes(g, n, -1, a));
    if (n->n_in == 2) return binary_rule(b, n, k, d, at_lanes(g, n, 0, a), at_lanes(g, n, 1, a), at_lanes(g, n, -1, a));
    const Node *c = at_lanes(g, n, 0, a);
    return k == 0 ? NULL : k == 1 ? build_select(b, c, d, zero) : build_select(b, c, zero, d);
}

static bool operand_depends(const Grad *g, const Node *v) { return v && is_real(v) && g->depends[v->id]; }

static bool only_passes(Op op) { return op == OP_add || op == OP_sub || op == OP_neg; }
static bool sets_zero(Op op) { return op == OP_select || op == OP_min || op == OP_max; }

static void elementwise(Grad *g, const Node *n, const Adjoint *a)
{
    for (int k = 0; k < n->n_in; k++) {
        if (!operand_depends(g, n->in[k])) continue;
        const Node *part = elementwise_rule(g, n, k, a), *zero = num(g->b, 0);
        if (!part) continue;
        if (a->masked && !only_passes(n->op) && !sets_zero(n->op))
            part = build_select(g->b, build_binary(g->b, OP_eq, a->value, zero), zero, part);
        g->masked = a->masked || sets_zero(n->op);
        contribute_operand(g, n, k, a, part);
        g->masked = false;
    }
}

// ---- products

static const Node *tokens_of(Grad *g, const Adjoint *a, const Node *n)
{
    int64_t last = type_last(n->type), dim[2] = {last ? type_lanes(n->type) / last : 0, last};
    return whole(g, a, type_make(T_F32, 2, dim));
}

static void linear(Grad *g, const Node *n, const Adjoint *a)
{
    const Node *w = matrix_part(g->b, n->in[1], 0, NULL, 0, NULL), *d = tokens_of(g, a, n);
    if (operand_depends(g, n->in[0]))
        contribute(g, n->in[0], n->op == OP_linear ? build_linear_t(g->b, d, w) : build_linear(g->b, d, w, NULL, NULL));
    if (n->n_in > 3 && operand_depends(g, n->in[3])) contribute(g, n->in[3], d);
}

static void matmul(Grad *g, const Node *n, const Adjoint *a)
{
    Builder *b = g->b;
    const Node *d = whole(g, a, n->type);
    if (operand_depends(g, n->in[0]))
        contribute(g, n->in[0], build_matmul(b, d, build_swap_last(b, value_of(g, n->in[1]))));
    if (operand_depends(g, n->in[1]))
        contribute(g, n->in[1], build_matmul(b, build_swap_last(b, value_of(g, n->in[0])), d));
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
    const Node *count = build_reduce(b, OP_reduce_sum, build_select(b, chosen, num(b, 1), num(b, 0)));
    return build_select(b, chosen, spread(b, divide(b, d, count), outer, K), num(b, 0));
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
    return mul(b, spread(b, d, outer, K), rows_of(b, others, outer, K));
}

static void reduce(Grad *g, const Node *n, const Adjoint *a)
{
    int64_t K = type_last(n->in[0]->type), outer = type_lanes(n->type);
    g->masked = a->masked && n->op == OP_reduce_sum;
    if (n->op == OP_reduce_sum && type_lanes(a->value->type) == 1 && a->n == outer) {
        contribute(g, n->in[0], a->value);
        return;
    }
    const Node *d = whole(g, a, type_vector(outer)), *x;
    if (n->op == OP_reduce_sum)
        x = spread(g->b, d, outer, K);
    else
        x = n->op == OP_reduce_prod ? product_rule(g, n, d, outer, K) : extreme_rule(g, n, d, outer, K);
    contribute(g, n->in[0], x);
}

// Entry k of a table gets what was taken at index k: [tables][K][J] selects, summed over J.
static void take(Grad *g, const Node *n, const Adjoint *a)
{
    Builder *b = g->b;
    int64_t K = type_last(n->in[0]->type), tables = type_lanes(n->in[0]->type) / K, J = type_lanes(n->type) / tables;
    int64_t one[3] = {tables, 1, J}, all[3] = {tables, K, J}, entries[3] = {1, K, 1};
    const Node *index = build_reshape(b, value_of(g, n->in[1]), 3, one);
    if (index->type.dtype != T_F32) index = build_cast(b, index, T_F32);
    index = build_binary(b, OP_max, build_unary(b, OP_trunc, index), num(b, 0));
    index = build_binary(b, OP_min, index, num(b, (double)(K - 1)));
    double *numbers = heap_array(K, sizeof *numbers);
    for (int64_t k = 0; k < K; k++) numbers[k] = (double)k;
    const Node *d = build_broadcast(b, build_reshape(b, whole(g, a, n->type), 3, one), 3, all);
    const Node *is = build_binary(b, OP_eq, index, build_reals(b, type_make(T_F64, 3, entries), numbers));
    contribute(g, n->in[0], build_reduce(b, OP_reduce_sum, build_select(b, is, d, num(b, 0))));
    free(numbers);
}

// ---- the march backwards

static void find_dependent(Grad *g, int n, const Node *const *wrt)
{
    const Function *f = g->env->from;
    for (int i = 0; i < n; i++) g->depends[wrt[i]->id] = is_real(wrt[i]);
    for (int i = 0; i < f->n_nodes; i++)
        for (int k = 0; k < f->nodes[i]->n_in && is_real(f->nodes[i]); k++)
            if (operand_depends(g, f->nodes[i]->in[k])) g->depends[i] = true;
}

static void node_backward(Grad *g, const Node *n)
{
    Adjoint a = adjoint_of(g, n);
    builder_origin(g->b, n->origin);
    if (a.value && !is_zero(a.value)) switch (op_info(n->op)->kind) {
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
    g->masked = false;
    free(a.lanes);
}

void grad_of(LaneEnv *env, const Node *of, int n, const Node *const *wrt, const Node **out)
{
    const Function *f = env->from;
    Context *cx = builder_context(env->b);
    Grad g = {env,
              cx,
              env->b,
              ARENA_ARRAY(scratch_arena(cx), Sum, f->n_nodes + 1),
              ARENA_ARRAY(scratch_arena(cx), bool, f->n_nodes + 1),
              false};
    find_dependent(&g, n, wrt);
    contribute(&g, of, build_scalar(g.b, 1));
    for (int i = f->n_nodes - 1; i >= 0; i--)
        if (g.sums[i].n && op_info(f->nodes[i]->op)->differentiable) node_backward(&g, f->nodes[i]);
    builder_origin(g.b, NULL);
    for (int i = 0; i < n; i++) {
        Adjoint a = adjoint_of(&g, wrt[i]);
        out[i] = whole(&g, &a, wrt[i]->type);
        free(a.lanes);
    }
}
