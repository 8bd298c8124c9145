// Forward steps: nodes of the solved function, as they stand or at some of their lanes, in the function under
// construction.
//
// An elementwise op is copied on the gathered lanes; a product becomes one of the columns asked for and of the rows
// that have a weight there; a matmul one row of a matrix at a time; panels (panels.h) where a whole product has many
// zeros.
#include "emit.h"
#include "panels.h"

static bool is_whole(const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t i = 0;
    while (i < count && lanes[i] == i) i++;
    return i == type_lanes(n->type);
}

const Node *emit_operand_at(LaneEnv *env, const Node *n, int k, const int64_t *lanes, int64_t count)
{
    const Node *row = is_whole(n, lanes, count) ? lane_env_row(env, n->in[k], count) : NULL;
    if (row) return row;
    LaneRef *refs = emit_refs(count);
    for (int64_t i = 0; i < count; i++) refs[i] = lane_env_get(env, lane_operand(n, k, lanes[i]));
    const Node *v = lanes_gather(env->b, refs, count);
    free(refs);
    return v;
}

const Node *emit_result_at(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    LaneRef *refs = emit_refs(count);
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

static void forward_elementwise(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    const Node *in[3];
    for (int k = 0; k < n->n_in; k++) in[k] = emit_operand_at(env, n, k, lanes, count);
    set_result(env, n, lanes, count, lanes_apply(env->b, n, in));
}

static const Node *gather_range(LaneEnv *env, const Node *v, const int64_t *first, int64_t n_first, int64_t width,
                                Type type)
{
    LaneRef *refs = emit_refs(n_first * width);
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

// The rows that have a weight in one of the columns (NULL: all rows).
static int64_t weighted_rows(const Node *w, const int32_t *cols, int64_t n_cols, int32_t *rows)
{
    int64_t K = w->type.dim[0], N = w->type.dim[1], n_rows = 0;
    for (int64_t k = 0; k < K; k++) {
        bool weight = !cols;
        for (int64_t c = 0; c < n_cols && !weight; c++) weight = const_at(w, k * N + cols[c]) != 0;
        if (weight) rows[n_rows++] = (int32_t)k;
    }
    return n_rows;
}

// These rows of the tokens' inputs; NULL: there are none.
static const Node *inputs_at(LaneEnv *env, const Node *n, const int64_t *tokens, int64_t n_tokens, const int32_t *rows,
                             int64_t n_rows)
{
    if (!n_rows) return NULL;
    int64_t K = n->in[1]->type.dim[0], dim[2] = {n_tokens, n_rows};
    LaneRef *refs = emit_refs(n_tokens * n_rows), zero = {build_scalar(env->b, 0), 0};
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t r = 0; r < n_rows; r++) {
            LaneRef lane = lane_env_lane(env, n->in[0], tokens[t] * K + rows[r]);
            refs[t * n_rows + r] = lane.node ? lane : zero;
        }
    const Node *x = lanes_gather_as(env->b, refs, type_make(T_F32, 2, dim));
    free(refs);
    return x;
}

// Tokens `tokens`, columns `cols` (NULL: all) of a product.
static const Node *product_at(LaneEnv *env, const Node *n, const int64_t *tokens, int64_t n_tokens, const int32_t *cols,
                              int64_t n_cols)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], dim[2] = {n_tokens, n_cols};
    int32_t *rows = heap_array(K, sizeof *rows);
    int64_t n_rows = weighted_rows(w, cols, n_cols, rows);
    if (cols && n_tokens == 1) sort_rows(env, n, tokens[0], rows, n_rows);
    const Node *x = inputs_at(env, n, tokens, n_tokens, rows, n_rows), *now;
    const Node *bias = linear_bias_part(env, n, n_cols, cols);
    const Node *add = linear_add_part(env, n, n_tokens, tokens, n_cols, cols);
    if (x)
        now = build_linear(env->b, x, matrix_part(env->b, w, n_rows, n_rows == K && !cols ? NULL : rows, n_cols, cols),
                           bias, add);
    else {
        now = build_broadcast(env->b, bias ? bias : build_scalar(env->b, 0), 2, dim);
        if (add) now = build_binary(env->b, OP_add, now, add);
    }
    free(rows);
    return now;
}

static void forward_linear_part(LaneEnv *env, const Node *n, const int64_t *tokens, int64_t n_tokens,
                                const int32_t *cols, int64_t n_cols)
{
    int64_t N = n->in[1]->type.dim[1];
    const Node *now = product_at(env, n, tokens, n_tokens, cols, n_cols);
    bool whole = !cols && n_tokens * N == type_lanes(n->type);
    if (whole) lane_env_set_all(env, n, now);
    for (int64_t t = 0; t < n_tokens && !whole; t++)
        for (int64_t c = 0; c < n_cols; c++)
            lane_env_set(env, (LaneRef){n, tokens[t] * N + (cols ? cols[c] : c)}, (LaneRef){now, t * n_cols + c});
}

// Lanes are sorted; tokens with the same columns go together.
static void forward_linear(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t N = n->in[1]->type.dim[1];
    int64_t *tokens = heap_array(count, sizeof *tokens);
    int32_t *cols = heap_array(N, sizeof *cols);
    for (int64_t i = 0; i < count;) {
        int64_t m = lanes[i] / N, width = 0, n_tokens = 0, j = i;
        for (; j < count && lanes[j] / N == m; j++) cols[width++] = (int32_t)(lanes[j] % N);
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
    LaneRef *turned = emit_refs(K * count);
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
    LaneRef *x = emit_refs(K), *y = emit_refs(K * count);
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
