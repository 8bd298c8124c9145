// Emission: solved steps become nodes of a function under construction, and their log-determinants a sum.
//
// Forward steps copy the op on the gathered lanes; backward steps write the inverse v = f^-1(u):
//   u = a + b, a - b, a * b, a / b           v from u and the other operand
//   u = exp v, log v, sqrt v, expm1 v, ...   v = log u, exp u, u^2, log1p u, ...
//   u = x W (+ b + add)                      v = (u - known part) W_block^-1, folded into one product
// log|du/dv| is written in v or in u, whichever neither cancels nor overflows:
//   exp: v   log: -u   expm1: v   log1p: -u   sqrt: -log 2 - log|u|   tanh: 2 (log 2 - v - softplus(-2v))
//   atanh: the same in u, negated   sigmoid: -softplus(v) - softplus(-v)   logit: the same in u, negated
//   softplus: -softplus(-v)   atan: -log1p(v^2)   sinh: |v| + softplus(-2|v|) - log 2   asinh: the same in u, negated
//   leaky_relu, elu: 0 where v > 0, else log alpha (elu: + v)   a * b: log|b|   a / b: -log|b|, by b: log|a| - 2 log|b|
// and log|b| follows the lane to where it comes from: exp s gives s, sigmoid s gives -softplus(-s), products add.
#include "double_math.h"
#include "panels.h"
#include "solve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static LaneRef *new_refs(int64_t n)
{
    LaneRef *refs = heap_array(n, sizeof *refs);
    return refs;
}

static bool is_whole(const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t i = 0;
    while (i < count && lanes[i] == i) i++;
    return i == type_lanes(n->type);
}

// Operand k of n at the given output lanes.
static const Node *operand_at(LaneEnv *env, const Node *n, int k, const int64_t *lanes, int64_t count)
{
    const Node *row = is_whole(n, lanes, count) ? lane_env_row(env, n->in[k], count) : NULL;
    if (row) return row;
    LaneRef *refs = new_refs(count);
    for (int64_t i = 0; i < count; i++) refs[i] = lane_env_get(env, lane_operand(n, k, lanes[i]));
    const Node *v = lanes_gather(env->b, refs, count);
    free(refs);
    return v;
}

static const Node *result_at(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    LaneRef *refs = new_refs(count);
    for (int64_t i = 0; i < count; i++) refs[i] = lane_env_get(env, (LaneRef){n, lanes[i]});
    const Node *v = lanes_gather(env->b, refs, count);
    free(refs);
    return v;
}

static void set_result(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count, const Node *now)
{
    int64_t have = type_lanes(now->type);
    if (have == count && is_whole(n, lanes, count)) {
        lane_env_set_all(env, n, now);
        return;
    }
    for (int64_t i = 0; i < count; i++) lane_env_set(env, (LaneRef){n, lanes[i]}, (LaneRef){now, have == 1 ? 0 : i});
}

// ---- forward steps

static void forward_elementwise(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    const Node *in[3];
    for (int k = 0; k < n->n_in; k++) in[k] = operand_at(env, n, k, lanes, count);
    set_result(env, n, lanes, count, lanes_apply(env->b, n, in));
}

static const Node *gather_range(LaneEnv *env, const Node *v, const int64_t *first, int64_t n_first, int64_t width,
                                Type type)
{
    LaneRef *refs = new_refs(n_first * width);
    LaneRef zero = {build_scalar(env->b, 0), 0};
    for (int64_t i = 0; i < n_first; i++)
        for (int64_t j = 0; j < width; j++) {
            LaneRef r = lane_env_lane(env, v, first[i] * width + j);
            refs[i * width + j] = r.node ? r : zero; // a lane with weight 0 only
        }
    const Node *g = lanes_gather_as(env->b, refs, type);
    free(refs);
    return g;
}

static void forward_reduce(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t K = type_last(n->in[0]->type), dim[2] = {count, K};
    const Node *x = gather_range(env, n->in[0], lanes, count, K, type_make(T_F32, 2, dim));
    set_result(env, n, lanes, count, build_reduce(env->b, n->op, x));
}

typedef struct {
    LaneRef lane;
    int32_t row;
} StoredRow;

static int by_storage(const void *a, const void *b)
{
    const StoredRow *x = a, *y = b;
    int xn = x->lane.node ? x->lane.node->id : -1, yn = y->lane.node ? y->lane.node->id : -1;
    if (xn != yn) return xn < yn ? -1 : 1;
    if (x->lane.lane != y->lane.lane) return x->lane.lane < y->lane.lane ? -1 : 1;
    return x->row < y->row ? -1 : 1;
}

// The rows of a part in the order in which their lanes became known, so that what a round reads is what the earlier
// rounds left, in one piece.
static void sort_rows(LaneEnv *env, const Node *n, int64_t token, int32_t *rows, int64_t count)
{
    StoredRow *sorted = heap_array(count, sizeof *sorted);
    int64_t K = n->in[1]->type.dim[0];
    for (int64_t r = 0; r < count; r++)
        sorted[r] = (StoredRow){lane_env_lane(env, n->in[0], token * K + rows[r]), rows[r]};
    qsort(sorted, (size_t)count, sizeof *sorted, by_storage);
    for (int64_t r = 0; r < count; r++) rows[r] = sorted[r].row;
    free(sorted);
}

// Tokens `tokens`, columns `cols` (NULL: all) of a product.
static void forward_linear_part(LaneEnv *env, const Node *n, const int64_t *tokens, int64_t n_tokens,
                                const int32_t *cols, int64_t n_cols)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], n_rows = 0;
    int32_t *rows = heap_array(K, sizeof *rows);
    for (int64_t k = 0; k < K; k++) {
        bool weight = !cols;
        for (int64_t c = 0; c < n_cols && !weight; c++) weight = const_at(w, k * N + cols[c]) != 0;
        if (weight) rows[n_rows++] = (int32_t)k;
    }
    if (cols && n_tokens == 1) sort_rows(env, n, tokens[0], rows, n_rows);
    LaneRef *refs = new_refs(n_tokens * (n_rows > n_cols ? n_rows : n_cols));
    LaneRef zero = {build_scalar(env->b, 0), 0};
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t r = 0; r < n_rows; r++) {
            LaneRef lane = lane_env_lane(env, n->in[0], tokens[t] * K + rows[r]);
            refs[t * n_rows + r] = lane.node ? lane : zero;
        }
    int64_t dim[2] = {n_tokens, n_rows};
    const Node *x = n_rows ? lanes_gather_as(env->b, refs, type_make(T_F32, 2, dim)) : NULL;
    LaneRef *bias = new_refs(n_cols);
    bool has_bias = n->n_in > 2 && n->in[2];
    for (int64_t c = 0; c < n_cols; c++)
        bias[c] = has_bias ? lane_env_get(env, (LaneRef){n->in[2], cols ? cols[c] : c}) : zero;
    const Node *b = has_bias ? lanes_gather_as(env->b, bias, type_vector(n_cols)) : NULL;
    const Node *add = NULL;
    if (n->n_in > 3) {
        for (int64_t t = 0; t < n_tokens; t++)
            for (int64_t c = 0; c < n_cols; c++)
                refs[t * n_cols + c] = lane_env_lane(env, n->in[3], tokens[t] * N + (cols ? cols[c] : c));
        dim[1] = n_cols;
        add = lanes_gather_as(env->b, refs, type_make(T_F32, 2, dim));
    }
    const Node *now;
    if (x)
        now = build_linear(env->b, x, matrix_part(env->b, w, n_rows, n_rows == K && !cols ? NULL : rows, n_cols, cols),
                           b, add);
    else {
        dim[1] = n_cols;
        now = build_broadcast(env->b, b ? b : zero.node, 2, dim);
        if (add) now = build_binary(env->b, OP_add, now, add);
    }
    bool whole = !cols && n_tokens * N == type_lanes(n->type);
    if (whole) lane_env_set_all(env, n, now);
    for (int64_t t = 0; t < n_tokens && !whole; t++)
        for (int64_t c = 0; c < n_cols; c++)
            lane_env_set(env, (LaneRef){n, tokens[t] * N + (cols ? cols[c] : c)}, (LaneRef){now, t * n_cols + c});
    free(rows);
    free(refs);
    free(bias);
}

// Lanes are sorted; tokens with the same columns go together.
static void forward_linear(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t N = n->in[1]->type.dim[1], n_tokens = 0;
    int64_t *tokens = heap_array(count, sizeof *tokens);
    int32_t *cols = heap_array(N, sizeof *cols);
    for (int64_t i = 0; i < count;) {
        int64_t m = lanes[i] / N, width = 0, j = i;
        for (; j < count && lanes[j] / N == m; j++) cols[width++] = (int32_t)(lanes[j] % N);
        n_tokens = 0;
        tokens[n_tokens++] = m;
        while (j + width <= count) { // does the next token have the same columns?
            int64_t next = lanes[j] / N, same = 0;
            while (same < width && lanes[j + same] == next * N + cols[same]) same++;
            if (same < width || (j + width < count && lanes[j + width] / N == next)) break;
            tokens[n_tokens++] = next;
            j += width;
        }
        forward_linear_part(env, n, tokens, n_tokens, width == N ? NULL : cols, width);
        i = j;
    }
    free(tokens);
    free(cols);
}

// Do the inputs of a column stand side by side, as keys in a cache do?
static bool columns_stand(const LaneRef *y, int64_t K, int64_t count)
{
    return K > 1 && y[0].node && y[0].node == y[count].node && y[0].lane + 1 == y[count].lane;
}

// x[1, K] y[K, count], or the same products as y^T x^T, which reads standing columns as they are.
static const Node *row_product(LaneEnv *env, const LaneRef *x, const LaneRef *y, int64_t K, int64_t count)
{
    Builder *b = env->b;
    bool flip = columns_stand(y, K, count);
    int64_t xd[2] = {flip ? K : 1, flip ? 1 : K}, yd[2] = {flip ? count : K, flip ? K : count};
    const Node *row = lanes_gather_as(b, x, type_make(T_F32, 2, xd));
    if (!flip) return build_matmul(b, row, lanes_gather_as(b, y, type_make(T_F32, 2, yd)));
    LaneRef *turned = new_refs(K * count);
    for (int64_t k = 0; k < K; k++)
        for (int64_t j = 0; j < count; j++) turned[j * K + k] = y[k * count + j];
    const Node *now = build_matmul(b, lanes_gather_as(b, turned, type_make(T_F32, 2, yd)), row);
    free(turned);
    return now;
}

// One row of one matrix of the batch: columns present, inputs that are not constant zeros.
static void forward_matmul_row(LaneEnv *env, const Node *n, int64_t row, const int64_t *lanes, int64_t count)
{
    Type a = n->in[0]->type;
    int64_t M = a.dim[a.rank - 2], K = type_last(a), N = type_last(n->type), batch = row / M, k_count = 0;
    LaneRef *x = new_refs(K), *y = new_refs(K * count);
    int64_t *ks = heap_array(K, sizeof *ks);
    for (int64_t k = 0; k < K; k++) {
        LaneRef r = lane_env_lane(env, n->in[0], row * K + k);
        if (lane_is_const(r) && lane_value(r) == 0) continue;
        x[k_count] = r;
        ks[k_count++] = k;
    }
    if (!k_count) {
        set_result(env, n, lanes, count, build_scalar(env->b, 0));
    } else {
        for (int64_t k = 0; k < k_count; k++)
            for (int64_t j = 0; j < count; j++)
                y[k * count + j] = lane_env_lane(env, n->in[1], (batch * K + ks[k]) * N + lanes[j] % N);
        set_result(env, n, lanes, count, row_product(env, x, y, k_count, count));
    }
    free(x);
    free(y);
    free(ks);
}

static void forward_whole(LaneEnv *env, const Node *n)
{
    const Node *in[2];
    for (int k = 0; k < n->n_in; k++) in[k] = lane_env_value(env, n->in[k]);
    lane_env_set_all(env, n, build_like(env->b, n, in));
}

// Transposed products stay whole, so that their weights are the very ones of the product.
static void forward_linear_t(LaneEnv *env, const Node *n)
{
    const Node *x = lane_env_value(env, n->in[0]);
    lane_env_set_all(env, n, build_linear_t(env->b, x, matrix_part(env->b, n->in[1], 0, NULL, 0, NULL)));
}

static void forward_matmul(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t N = type_last(n->type);
    if (count == type_lanes(n->type)) {
        forward_whole(env, n);
        return;
    }
    for (int64_t i = 0, j = 0; i < count; i = j) {
        while (j < count && lanes[j] / N == lanes[i] / N) j++;
        forward_matmul_row(env, n, lanes[i] / N, lanes + i, j - i);
    }
}

static void forward_take(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    if (count == type_lanes(n->type)) {
        forward_whole(env, n);
        return;
    }
    int64_t K = type_last(n->in[0]->type), J = type_last(n->in[1]->type), rows = type_lanes(n->in[0]->type) / K;
    for (int64_t i = 0; i < count; i++) {
        int64_t row = rows == 1 ? 0 : lanes[i] / J;
        const Node *table = gather_range(env, n->in[0], &row, 1, K, type_vector(K));
        LaneRef index = lane_env_lane(env, n->in[1], lanes[i]);
        const Node *now = build_take(env->b, table, lanes_gather_as(env->b, &index, type_vector(1)));
        set_result(env, n, lanes + i, 1, now);
    }
}

void emit_forward_lanes(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    builder_origin(env->b, n->origin);
    switch (op_info(n->op)->kind) {
    case KIND_LEAF:
    case KIND_MOVE: break;
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY: forward_elementwise(env, n, lanes, count); break;
    case KIND_LINEAR: forward_linear(env, n, lanes, count); break;
    case KIND_LINEAR_T: forward_linear_t(env, n); break;
    case KIND_MATMUL: forward_matmul(env, n, lanes, count); break;
    case KIND_REDUCE: forward_reduce(env, n, lanes, count); break;
    case KIND_TAKE: forward_take(env, n, lanes, count); break;
    }
}

void emit_forward(LaneEnv *env)
{
    Panels panels = {NULL, 0};
    for (int i = 0; i < env->from->n_nodes; i++) {
        const Node *n = env->from->nodes[i];
        OpKind kind = op_info(n->op)->kind;
        if (kind == KIND_LEAF || kind == KIND_MOVE || panels_forward(&panels, env, n)) continue;
        int64_t lanes = type_lanes(n->type), *all = heap_array(lanes, sizeof *all);
        for (int64_t k = 0; k < lanes; k++) all[k] = k;
        emit_forward_lanes(env, n, all, lanes);
        free(all);
    }
    builder_origin(env->b, NULL);
}

void emit_missing(LaneEnv *env)
{
    for (int i = 0; i < env->from->n_nodes; i++) {
        const Node *n = env->from->nodes[i];
        OpKind kind = op_info(n->op)->kind;
        if (kind == KIND_LEAF || kind == KIND_MOVE) continue;
        int64_t lanes = type_lanes(n->type), *missing = heap_array(lanes, sizeof *missing), count = 0;
        for (int64_t k = 0; k < lanes; k++)
            if (!lane_env_get(env, (LaneRef){n, k}).node) missing[count++] = k;
        if (count) emit_forward_lanes(env, n, missing, count);
        free(missing);
    }
    builder_origin(env->b, NULL);
}

// ---- backward steps

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
    case OP_softplus: // u + log(1 - e^-u)
        return build_binary(
            b, OP_add, u,
            build_unary(b, OP_log, build_unary(b, OP_neg, build_unary(b, OP_expm1, build_unary(b, OP_neg, u)))));
    case OP_leaky_relu: return build_alpha(b, OP_leaky_relu, u, 1 / n->alpha);
    case OP_elu: {
        const Node *below = build_unary(
            b, OP_log1p, build_binary(b, OP_mul, build_binary(b, OP_min, u, num(env, 0)), num(env, 1 / n->alpha)));
        return build_select(b, build_binary(b, OP_lt, num(env, 0), u), u, below);
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
    default: return u; // a clip in front of atanh or log: the identity
    }
}

static void emit_backward_step(LaneEnv *env, const SolveStep *s)
{
    const Node *n = s->node;
    // a lane may stand behind several output lanes; the first one gives it
    const Node *u = result_at(env, n, s->lanes, s->n), *v;
    if (n->n_in == 1)
        v = emit_inverse_unary(env, n, u);
    else
        v = emit_inverse_binary(env, n, s->operand, u, operand_at(env, n, 1 - s->operand, s->lanes, s->n));
    int64_t have = type_lanes(v->type);
    for (int64_t i = 0; i < s->n; i++)
        lane_env_set(env, lane_operand(n, s->operand, s->lanes[i]), (LaneRef){v, have == 1 ? 0 : i});
}

// x[rows] = (u[cols] - b - add - x_known W_known) W^-1, as one product of [u[cols], add, x_known] with constant
// weights.
static void emit_block_step(LaneEnv *env, const SolveStep *s)
{
    const Node *n = s->node, *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], k = s->k, n_known = 0;
    int32_t *known = heap_array(K, sizeof *known);
    for (int64_t r = 0; r < K; r++) {
        bool unknown = false, weight = false;
        for (int64_t i = 0; i < k && !unknown; i++) unknown = s->rows[i] == r;
        for (int64_t j = 0; j < k && !weight && !unknown; j++) weight = const_at(w, r * N + s->cols[j]) != 0;
        if (weight) known[n_known++] = (int32_t)r;
    }
    bool has_add = n->n_in > 3, has_bias = n->n_in > 2 && n->in[2];
    int64_t inputs = k + (has_add ? k : 0) + n_known, at = 0;
    double *m = heap_array(inputs * k, sizeof *m), *bias = heap_array(k, sizeof *bias);
    LaneRef *refs = new_refs(inputs * s->n);
    for (int64_t j = 0; j < k; j++)
        for (int64_t i = 0; i < k; i++) {
            double inv = s->inverse[j * k + i];
            m[j * k + i] = inv;
            if (has_add) m[(k + j) * k + i] = -inv;
            if (has_bias) bias[i] -= const_at(n->in[2], s->cols[j]) * inv;
            for (int64_t r = 0; r < n_known; r++)
                m[(inputs - n_known + r) * k + i] -= const_at(w, known[r] * N + s->cols[j]) * inv;
        }
    for (int64_t t = 0; t < s->n; t++) {
        for (int64_t j = 0; j < k; j++) refs[at++] = lane_env_get(env, (LaneRef){n, s->lanes[t] * N + s->cols[j]});
        for (int64_t j = 0; j < k && has_add; j++)
            refs[at++] = lane_env_lane(env, n->in[3], s->lanes[t] * N + s->cols[j]);
        for (int64_t r = 0; r < n_known; r++) refs[at++] = lane_env_lane(env, n->in[0], s->lanes[t] * K + known[r]);
    }
    int64_t xd[2] = {s->n, inputs}, wd[2] = {inputs, k};
    const Node *x = lanes_gather_as(env->b, refs, type_make(T_F32, 2, xd));
    const Node *b = has_bias ? build_reals(env->b, type_vector(k), bias) : NULL;
    const Node *now = build_linear(env->b, x, build_reals(env->b, type_make(T_F64, 2, wd), m), b, NULL);
    for (int64_t t = 0; t < s->n; t++)
        for (int64_t i = 0; i < k; i++)
            lane_env_set(env, lane_canonical(n->in[0], s->lanes[t] * K + s->rows[i]), (LaneRef){now, t * k + i});
    free(known);
    free(m);
    free(bias);
    free(refs);
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
        }
    }
    builder_origin(env->b, NULL);
}

// ---- log-determinant

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

static bool follows(const Node *n, int depth)
{
    if (depth > 8) return false;
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
    LaneRef *in = new_refs(n);
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
    LaneRef *group = new_refs(n);
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
    LaneRef *refs = new_refs(s->n);
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

static void add_unary(Total *t, const SolveStep *s)
{
    LaneEnv *env = t->env;
    Builder *b = env->b;
    const Node *n = s->node, *v = operand_at(env, n, 0, s->lanes, s->n), *u = result_at(env, n, s->lanes, s->n);
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
    case OP_atan: add_term(t, -1, build_unary(b, OP_log1p, build_binary(b, OP_mul, v, v)), s->n); break;
    case OP_sinh: add_log_cosh(t, 1, v, s->n); break;
    case OP_asinh: add_log_cosh(t, -1, u, s->n); break;
    case OP_leaky_relu:
        add_term(t, 1, build_select(b, build_binary(b, OP_lt, zero, v), zero, build_scalar(b, double_log(n->alpha))),
                 s->n);
        break;
    case OP_elu: {
        const Node *below = build_binary(b, OP_add, v, build_scalar(b, double_log(n->alpha)));
        add_term(t, 1, build_select(b, build_binary(b, OP_lt, zero, v), zero, below), s->n);
        break;
    }
    default: break;
    }
}

static void add_step(Total *t, const SolveStep *s)
{
    if (s->kind == STEP_FORWARD) return;
    if (s->kind == STEP_BLOCK) {
        t->constant += s->log_det * (double)s->n;
        return;
    }
    builder_origin(t->env->b, s->node->origin);
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
