// Lanes and lane environments: see lane_env.h.
#include "lane_env.h"
#include "affine.h"

#include <stdlib.h>
#include <string.h>

LaneRef lane_canonical(const Node *n, int64_t i)
{
    while (n->op == OP_move) n = n->in[move_source(n, i, &i)];
    return (LaneRef){n, i};
}

LaneRef lane_operand(const Node *n, int k, int64_t i)
{
    return lane_canonical(n->in[k], type_lanes(n->in[k]->type) == 1 ? 0 : i);
}

int lane_compare(const void *a, const void *b)
{
    const LaneRef *x = a, *y = b;
    if (x->node != y->node) return x->node->id < y->node->id ? -1 : 1;
    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

int lane_operands(LaneRef r, LaneRef *out, int room)
{
    const Node *n = r.node;
    int64_t first = 0, count = 0, i = r.lane;
    int at = 0;
    switch (op_info(n->op)->kind) {
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY:
        for (int k = 0; k < n->n_in; k++) out[at++] = lane_operand(n, k, i);
        return at;
    case KIND_REDUCE:
        count = type_last(n->in[0]->type);
        first = i * count;
        break;
    case KIND_TAKE: {
        int64_t K = type_last(n->in[0]->type), J = type_last(n->in[1]->type), rows = type_lanes(n->in[0]->type) / K;
        out[at++] = lane_canonical(n->in[1], i);
        first = rows == 1 ? 0 : i / J * K;
        count = K;
        break;
    }
    case KIND_LINEAR: {
        int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1];
        if (K + 1 > room) return -1;
        for (int64_t k = 0; k < K; k++)
            if (const_at(n->in[1], k * N + i % N) != 0) out[at++] = lane_canonical(n->in[0], i / N * K + k);
        if (n->n_in > 3) out[at++] = lane_canonical(n->in[3], i);
        return at;
    }
    case KIND_MATMUL:
        if (affine_operands(n) > room) return -1;
        for (int64_t k = 0; k < affine_operands(n); k++) out[at++] = affine_operand(n, i, k);
        return at;
    default: return -1;
    }
    if (count + 1 > room) return -1;
    for (int64_t k = 0; k < count; k++) out[at++] = lane_canonical(n->in[0], first + k);
    return at;
}

static bool all_equal(const LaneRef *refs, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (!lane_same(refs[i], refs[0])) return false;
    return n > 0;
}

// Distinct nodes of the refs in order of first use, with the first lane of each in their concatenation.
typedef struct {
    const Node **nodes;
    int64_t *base;
    int n, cap;
} Distinct;

static int find(const Distinct *d, const int *table, size_t mask, const Node *node, size_t *slot)
{
    size_t at = ((uintptr_t)node >> 6) * 0x9E3779B97F4A7C15u >> 20 & mask;
    while (table[at] && d->nodes[table[at] - 1] != node) at = (at + 1) & mask;
    *slot = at;
    return table[at] - 1;
}

const Node *lanes_gather_as(Builder *b, const LaneRef *refs, Type type)
{
    int64_t n = type_lanes(type), total = 0;
    Distinct d = {0};
    size_t size = 64;
    while (size < (size_t)n * 2 && size < 1u << 16) size *= 2;
    int *table = heap_array(size, sizeof *table);
    int32_t *map = heap_array(n, sizeof *map);
    int cap_base = 0, n_base = 0;
    for (int64_t i = 0; i < n; i++) {
        size_t slot = 0;
        int k = i && refs[i].node == refs[i - 1].node ? -2 : find(&d, table, size - 1, refs[i].node, &slot);
        if (k == -1) {
            HEAP_PUSH(d.nodes, d.n, d.cap, refs[i].node);
            HEAP_PUSH(d.base, n_base, cap_base, total);
            total += type_lanes(refs[i].node->type);
            table[slot] = d.n;
            k = d.n - 1;
        }
        map[i] =
            k == -2 ? (int32_t)(map[i - 1] - refs[i - 1].lane + refs[i].lane) : (int32_t)(d.base[k] + refs[i].lane);
    }
    bool in_order = total == n;
    for (int64_t i = 0; i < n && in_order; i++) in_order = map[i] == i;
    const Node *m = build_move(b, type, d.n, d.nodes, in_order ? NULL : map);
    free(d.nodes);
    free(d.base);
    free(table);
    free(map);
    return m;
}

const Node *lanes_gather(Builder *b, const LaneRef *refs, int64_t n)
{
    return lanes_gather_as(b, refs, type_vector(all_equal(refs, n) ? 1 : n));
}

LaneEnv *lane_env_new(Context *cx, const Function *from, Builder *b)
{
    LaneEnv *env = ARENA_NEW(scratch_arena(cx), LaneEnv);
    env->from = from;
    env->b = b;
    env->base = ARENA_ARRAY(scratch_arena(cx), int64_t, from->n_nodes + 1);
    for (int i = 0; i < from->n_nodes; i++) {
        const Node *n = from->nodes[i];
        bool real = n->op != OP_move && n->op != OP_constant;
        env->base[i + 1] = env->base[i] + (real ? type_lanes(n->type) : 0);
    }
    env->n_lanes = env->base[from->n_nodes];
    env->constant = ARENA_ARRAY(scratch_arena(cx), const Node *, from->n_nodes + 1);
    env->whole = ARENA_ARRAY(scratch_arena(cx), const Node *, from->n_nodes + 1);
    env->ref = ARENA_ARRAY(scratch_arena(cx), LaneRef, env->n_lanes + 1);
    return env;
}

LaneEnv *lane_env_copy(const LaneEnv *env)
{
    Arena *a = scratch_arena(builder_context(env->b));
    LaneEnv *copy = ARENA_NEW(a, LaneEnv);
    *copy = *env;
    copy->whole = arena_copy(a, env->whole, (size_t)env->from->n_nodes * sizeof *env->whole);
    copy->ref = arena_copy(a, env->ref, (size_t)env->n_lanes * sizeof *env->ref);
    return copy;
}

LaneRef lane_env_get(LaneEnv *env, LaneRef r)
{
    if (node_is_const(r.node)) {
        const Node **copy = &env->constant[r.node->id];
        if (!*copy) *copy = build_const(env->b, r.node->type, r.node->data);
        return (LaneRef){*copy, r.lane};
    }
    const Node *whole = env->whole[r.node->id];
    return whole ? (LaneRef){whole, r.lane} : env->ref[env->base[r.node->id] + r.lane];
}

static void set_ref(LaneEnv *env, const Node *n, int64_t lane, LaneRef now)
{
    env->ref[env->base[n->id] + lane] = lane_canonical(now.node, now.lane);
}

void lane_env_set(LaneEnv *env, LaneRef r, LaneRef now)
{
    const Node *whole = env->whole[r.node->id];
    int64_t lanes = whole ? type_lanes(r.node->type) : 0;
    for (int64_t i = 0; i < lanes; i++) set_ref(env, r.node, i, (LaneRef){whole, i});
    env->whole[r.node->id] = NULL;
    set_ref(env, r.node, r.lane, now);
}

void lane_env_set_all(LaneEnv *env, const Node *n, const Node *now)
{
    int64_t lanes = now->op == OP_move ? type_lanes(n->type) : 0;
    env->whole[n->id] = now->op == OP_move ? NULL : now;
    for (int64_t i = 0; i < lanes; i++) set_ref(env, n, i, (LaneRef){now, i});
}

void lane_env_inputs(LaneEnv *env)
{
    for (int i = 0; i < env->from->n_inputs; i++) {
        const Node *in = env->from->inputs[i];
        lane_env_set_all(env, in, build_input(env->b, in->name, in->type));
    }
}

LaneRef lane_env_lane(LaneEnv *env, const Node *n, int64_t i) { return lane_env_get(env, lane_canonical(n, i)); }

// The whole of n, or its lanes as a value of this type, where they need not be looked up one by one: n is a constant,
// or it, or what it moves, stands whole. Else NULL.
static const Node *whole_value(LaneEnv *env, const Node *n, Type type)
{
    if (n->op != OP_move) {
        const Node *whole = node_is_const(n) ? lane_env_get(env, (LaneRef){n, 0}).node : env->whole[n->id];
        return whole ? build_move(env->b, type, 1, &whole, NULL) : NULL;
    }
    const Node *few[4], **parts = n->n_in <= 4 ? few : heap_array(n->n_in, sizeof *parts), *value = NULL;
    int k = 0;
    while (k < n->n_in && (parts[k] = env->whole[n->in[k]->id])) k++;
    if (k == n->n_in) value = build_move(env->b, type, k, parts, n->map);
    if (parts != few) free(parts);
    return value;
}

static bool names_one_lane(const Node *move)
{
    int64_t n = type_lanes(move->type), i = 1;
    while (i < n && move->map && move->map[i] == move->map[0]) i++;
    return i >= n;
}

const Node *lane_env_row(LaneEnv *env, const Node *operand, int64_t n)
{
    if (type_lanes(operand->type) == 1) n = 1;
    if (n > 1 && operand->op == OP_move && names_one_lane(operand)) return NULL;
    return whole_value(env, operand, type_vector(n));
}

const Node *lane_env_value(LaneEnv *env, const Node *n)
{
    const Node *value = node_is_const(n) ? NULL : whole_value(env, n, n->type);
    if (value) return value;
    int64_t lanes = type_lanes(n->type);
    LaneRef *refs = heap_array(lanes, sizeof *refs), zero = {build_scalar(env->b, 0), 0};
    for (int64_t i = 0; i < lanes; i++) {
        refs[i] = lane_env_lane(env, n, i);
        if (!refs[i].node) refs[i] = zero;
    }
    value = lanes_gather_as(env->b, refs, n->type);
    free(refs);
    return value;
}

const Node *matrix_part(Builder *b, const Node *w, int64_t n_rows, const int32_t *rows, int64_t n_cols,
                        const int32_t *cols)
{
    int64_t N = w->type.dim[1];
    if (!rows && !cols) return build_const(b, w->type, w->data);
    int64_t dim[2] = {n_rows, n_cols};
    size_t size = dtype_size(w->type.dtype);
    char *data = arena_array(builder_context(b)->arena, (size_t)(n_rows * n_cols), size);
    const char *from = w->data;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < n_cols; c++) {
            int64_t at = (rows ? rows[r] : r) * N + (cols ? cols[c] : c);
            memcpy(data + (size_t)(r * n_cols + c) * size, from + (size_t)at * size, size);
        }
    return build_const(b, type_make(w->type.dtype, 2, dim), data);
}

const Node *linear_bias_part(LaneEnv *env, const Node *n, int64_t n_cols, const int32_t *cols)
{
    if (n->n_in < 3 || !n->in[2]) return NULL;
    LaneRef *refs = heap_array(n_cols, sizeof *refs);
    for (int64_t c = 0; c < n_cols; c++) refs[c] = lane_env_get(env, (LaneRef){n->in[2], cols ? cols[c] : c});
    const Node *bias = lanes_gather_as(env->b, refs, type_vector(n_cols));
    free(refs);
    return bias;
}

const Node *linear_add_part(LaneEnv *env, const Node *n, int64_t n_tokens, const int64_t *tokens, int64_t n_cols,
                            const int32_t *cols)
{
    if (n->n_in < 4) return NULL;
    int64_t N = type_last(n->type), dim[2] = {n_tokens, n_cols};
    LaneRef *refs = heap_array(n_tokens * n_cols, sizeof *refs);
    for (int64_t t = 0; t < n_tokens; t++)
        for (int64_t c = 0; c < n_cols; c++)
            refs[t * n_cols + c] = lane_env_lane(env, n->in[3], (tokens ? tokens[t] : t) * N + (cols ? cols[c] : c));
    const Node *add = lanes_gather_as(env->b, refs, type_make(T_F32, 2, dim));
    free(refs);
    return add;
}

static bool is_zero(const Node *n)
{
    double v;
    return node_is_const(n) && const_is_splat(n, &v) && v == 0;
}

static bool keeps_whole(Op op)
{
    switch ((int)op) {
    case OP_neg:
    case OP_abs:
    case OP_sign:
    case OP_floor:
    case OP_ceil:
    case OP_round:
    case OP_trunc: return true;
    default: return op_info(op)->kind != KIND_UNARY && op != OP_div && op != OP_pow;
    }
}

// Is a number made of what became integers, and may be none itself? Its rule must know: quotients of integers are
// integers.
static bool may_break(const Node *n, const Node *const *in)
{
    bool integers = in[0]->type.dtype == T_I64 && (n->n_in < 2 || in[1]->type.dtype == T_I64);
    return integers && n->type.dtype == T_F32 && !keeps_whole(n->op);
}

// + 0 of another type is a cast (build_cast).
const Node *lanes_apply(Builder *b, const Node *n, const Node *const *in)
{
    DType of = n->in[0]->type.dtype;
    bool cast = n->op == OP_add && of != n->type.dtype && (of == T_I64 || of == T_BOOL) && is_zero(n->in[1]);
    if (cast) return build_cast(b, in[0], n->type.dtype);
    if (n->op == OP_trunc && n->type.dtype == T_I64) return build_cast(b, in[0], T_I64);
    const Node *first = may_break(n, in) ? build_cast(b, in[0], T_F32) : in[0];
    switch (op_info(n->op)->kind) {
    case KIND_UNARY: return build_alpha(b, n->op, first, n->alpha);
    case KIND_BINARY: return build_binary(b, n->op, first, in[1]);
    default: return build_select(b, in[0], in[1], in[2]);
    }
}
