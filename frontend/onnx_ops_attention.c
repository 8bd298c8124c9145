// Attention, softmax(scale Q K' + mask) V on [rows, heads, tokens, size]: ONNX's own (opset 23) and the two that ONNX
// Runtime's transformer optimiser writes. Rotary positions: pairs of elements (a, b) of a head become
// (a cos - b sin, a sin + b cos), with cos and sin of their token's position.
#include "onnx_import.h"

#include <math.h>

// [rows, tokens, heads * size] -> [rows, heads, tokens, size]; of rank 4 it is so already.
static const Node *heads_of(Call *c, const Node *x, int64_t heads)
{
    if (!x || x->type.rank == 4) return x;
    if (x->type.rank != 3 || heads < 1 || x->type.dim[2] % heads)
        return fail(c, DAMAGED, "%s in %lld heads", type_text(call_arena(c), x->type), (long long)heads);
    x = build_reshape(c->b, x, 4, (int64_t[]){x->type.dim[0], x->type.dim[1], heads, x->type.dim[2] / heads});
    return build_transpose(c->b, x, (int[]){0, 2, 1, 3});
}

// And back.
static const Node *merged_heads(Call *c, const Node *x)
{
    Type t = x->type;
    return build_reshape(c->b, build_transpose(c->b, x, (int[]){0, 2, 1, 3}), 3,
                         (int64_t[]){t.dim[0], t.dim[2], t.dim[1] * t.dim[3]});
}

// Grouped queries: each key and value head serves several query heads.
static const Node *repeated(Call *c, const Node *x, int64_t heads)
{
    if (!x || x->type.dim[1] == heads) return x;
    Type t = x->type;
    if (!t.dim[1] || heads % t.dim[1])
        return fail(c, DAMAGED, "%lld query heads for %lld key heads", (long long)heads, (long long)t.dim[1]);
    int64_t n = heads / t.dim[1];
    x = build_reshape(c->b, x, 5, (int64_t[]){t.dim[0], t.dim[1], 1, t.dim[2], t.dim[3]});
    x = checked_broadcast(c, x, 5, (int64_t[]){t.dim[0], t.dim[1], n, t.dim[2], t.dim[3]});
    return x ? build_reshape(c->b, x, 4, (int64_t[]){t.dim[0], heads, t.dim[2], t.dim[3]}) : NULL;
}

static const Node *scores(Call *c, const Node *q, const Node *k)
{
    double scale = attr_real(c, "scale", 0);
    if (scale == 0) scale = 1 / sqrt((double)type_last(q->type));
    k = build_transpose(c->b, k, (int[]){0, 1, 3, 2});
    return product(c, op2(c, OP_mul, q, number(c, scale)), k);
}

// s + mask; NULL after an error, s where there is no mask.
static const Node *masked(Call *c, const Node *s, const Node *mask)
{
    Type t;
    if (!s || !mask || c->failed) return c->failed ? NULL : s;
    return broadcast_ok(c, 2, (const Node *const[]){s, mask}, &t) ? op2(c, OP_add, s, mask) : NULL;
}

// 0 where attention is allowed, -inf elsewhere.
static const Node *causal_mask(Call *c, int64_t queries, int64_t keys)
{
    int64_t dim[2] = {queries, keys};
    if (!affordable(c, 2, dim)) return NULL;
    double *v = ARENA_ARRAY(call_arena(c), double, queries *keys + 1);
    for (int64_t i = 0; i < queries; i++)
        for (int64_t j = 0; j < keys; j++) v[i * keys + j] = j <= i ? 0 : -INFINITY;
    return build_reals(c->b, type_make(T_F32, 2, dim), v);
}

static const Node *causal(Call *c, const Node *s, const char *attribute)
{
    if (!s || !attr_int(c, attribute, 0)) return s;
    return masked(c, s, causal_mask(c, s->type.dim[2], s->type.dim[3]));
}

// ---- opset 23

// Where a row of scores is masked as a whole, nothing is attended to: 0 instead of 0 / 0.
static const Node *attended(Call *c, const Node *s)
{
    const Node *mask = optional(c, 3), *p = softmax_last(c, s, false);
    bool whole = mask && mask->type.dtype == T_BOOL;
    int64_t n = whole && node_is_const(mask) ? type_last(mask->type) : 0, rows = n ? type_lanes(mask->type) / n : 0,
            open = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0, any = 0; k < n && !any; k++) open += any = const_at(mask, i * n + k) != 0;
    if (!whole || (rows && open == rows && !attr_int(c, "is_causal", 0))) return p;
    const Node *least = number(c, -INFINITY), *empty = op2(c, OP_eq, keep_last(c, OP_reduce_max, s), least);
    return build_select(c->b, empty, number(c, 0), p);
}

static const Node *masked_scores(Call *c, const Node *s)
{
    const Node *mask = optional(c, 3);
    double cap = attr_real(c, "softcap", 0);
    if (cap != 0) {
        const Node *most = number(c, cap);
        s = op2(c, OP_mul, build_unary(c->b, OP_tanh, op2(c, OP_div, s, most)), most);
    }
    if (mask && mask->type.dtype == T_BOOL) {
        const Node *closed = number(c, -INFINITY);
        mask = build_select(c->b, mask, number(c, 0), closed);
    }
    return causal(c, masked(c, s, mask), "is_causal");
}

void import_attention(Call *c, int a)
{
    (void)a;
    const Node *q = cast_real(c, arg(c, 0)), *k = cast_real(c, arg(c, 1)), *v = cast_real(c, arg(c, 2));
    if (!q || !k || !v) return;
    if (has_arg(c, 4) || has_arg(c, 5) || c->n_out > 1) {
        fail(c, "export without a key-value cache", "attention with past keys or several outputs is not supported");
        return;
    }
    bool flat = q->type.rank == 3;
    q = heads_of(c, q, attr_int(c, "q_num_heads", 0));
    k = heads_of(c, k, attr_int(c, "kv_num_heads", 0));
    v = heads_of(c, v, attr_int(c, "kv_num_heads", 0));
    if (!q || !(k = repeated(c, k, q->type.dim[1])) || !(v = repeated(c, v, q->type.dim[1]))) return;
    const Node *s = scores(c, q, k);
    if (!s || !(s = masked_scores(c, s))) return;
    const Node *y = product(c, attended(c, s), v);
    if (y) result(c, 0, flat ? merged_heads(c, y) : y);
}

// ---- com.microsoft

// Operand i, 1 for keys that count: [rows, keys] or [rows, queries, keys] -> what is added to scores, or NULL.
static const Node *key_mask(Call *c, int i)
{
    const Node *m = optional(c, i);
    double filter = attr_real(c, "mask_filter_value", -10000);
    if (!m) return NULL;
    Type t = m->type;
    if (t.rank != 2 && t.rank != 3)
        return fail(c, "pass a mask of 0 and 1 for each key", "a mask %s is not supported",
                    type_text(call_arena(c), t));
    m = build_reshape(c->b, m, 4, (int64_t[]){t.dim[0], 1, t.rank == 3 ? t.dim[1] : 1, t.dim[t.rank - 1]});
    const Node *closed = number(c, filter), *zero = number(c, 0);
    return build_select(c->b, op2(c, OP_lt, zero, cast_real(c, m)), zero, closed);
}

static void attend(Call *c, const Node *const qkv[3], int mask)
{
    if (c->n_out > 1 || attr_int(c, "past_present_share_buffer", 0)) {
        fail(c, "export without a key-value cache", "attention with several outputs is not supported");
        return;
    }
    int64_t heads = attr_int(c, "num_heads", 0);
    const Node *q = heads_of(c, qkv[0], heads), *k = heads_of(c, qkv[1], heads), *v = heads_of(c, qkv[2], heads);
    if (!q || !k || !v) return;
    const Node *open = key_mask(c, mask);
    const Node *s = masked(c, scores(c, q, k), open);
    s = causal(c, masked(c, s, optional(c, 5)), "unidirectional");
    const Node *y = s ? product(c, softmax_last(c, s, false), v) : NULL;
    if (y) result(c, 0, merged_heads(c, y));
}

// Queries, keys and values of the sizes `size` behind each other in the last axis.
static bool cut(Call *c, const Node *x, const int64_t size[3], const Node *out[3])
{
    int64_t at = 0;
    int last = x->type.rank - 1;
    for (int i = 0; i < 3; at += size[i++]) {
        if (size[i] < 0 || at + size[i] > x->type.dim[last])
            return fail(c, DAMAGED, "%s holds no queries, keys and values", type_text(call_arena(c), x->type)) != NULL;
        out[i] = build_slice(c->b, x, last, at, size[i], 1);
    }
    return true;
}

// [rows, tokens, heads, n, size] -> n times [rows, heads, tokens, size]
static void unpack(Call *c, const Node *x, int n, const Node **out)
{
    Type t = x->type;
    x = build_transpose(c->b, x, (int[]){0, 2, 1, 3, 4});
    for (int i = 0; i < n; i++)
        out[i] = build_reshape(c->b, build_slice(c->b, x, 3, i, 1, 1), 4,
                               (int64_t[]){t.dim[0], t.dim[2], t.dim[1], t.dim[4]});
}

// The three operands, or packed: all in the first, keys and values in the second. Rank 4 are keys with their heads.
static bool unpacked(Call *c, const Node *qkv[3])
{
    for (int i = 0; i < 3; i++) qkv[i] = cast_real(c, i ? optional(c, i) : arg(c, 0));
    int first = qkv[1] ? 1 : 0, n = 3 - first;
    const Node *x = qkv[first];
    if (!x || c->failed) return false;
    if (qkv[1] && qkv[2]) return true;
    if (x->type.rank != 5 || x->type.dim[3] != n || qkv[2])
        return fail(c, DAMAGED, "%s holds no %s", type_text(call_arena(c), x->type),
                    first ? "keys and values" : "queries, keys and values") != NULL;
    unpack(c, x, n, qkv + first);
    return true;
}

// + bias [queries, keys, values], each as long as heads times size; keys with their heads have none.
static bool biased(Call *c, const Node *qkv[3])
{
    const Node *bias = optional(c, 3), *part[3];
    int64_t size[3], heads = attr_int(c, "num_heads", 0);
    if (!bias) return !c->failed;
    for (int i = 0; i < 3; i++) {
        Type t = qkv[i]->type;
        size[i] = t.rank == 4 ? t.dim[1] * t.dim[3] : type_last(t);
    }
    if (bias->type.rank != 1 || !cut(c, bias, size, part)) return fail(c, DAMAGED, "a bias of another size") != NULL;
    bool given = qkv[1]->type.rank == 4 && c->in[1].kind == VALUE_TENSOR && c->in[1].node->type.rank == 4;
    for (int i = 0; i < (given ? 1 : 3); i++) {
        part[i] = build_reshape(c->b, part[i], 3, (int64_t[]){1, 1, size[i]});
        qkv[i] = heads_of(c, qkv[i], heads);
        const Node *added = heads_of(c, part[i], heads);
        if (!qkv[i] || !added) return false;
        qkv[i] = op2(c, OP_add, qkv[i], added);
    }
    return true;
}

void import_multi_head_attention(Call *c, int a)
{
    (void)a;
    const Node *qkv[3];
    if (unpacked(c, qkv) && biased(c, qkv)) attend(c, qkv, 4);
}

// x W + bias holds queries, keys and values.
void import_projected_attention(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *w = arg(c, 1), *bias = optional(c, 2), *qkv[3];
    if (!x || !w) return;
    if (attr_int(c, "do_rotary", 0)) {
        fail(c, "export with opset 23: RotaryEmbedding and Attention", "rotary positions inside are not supported");
        return;
    }
    const Node *y = product(c, x, w);
    y = y ? masked(c, y, bias) : NULL;
    if (!y) return;
    Ints sizes;
    int64_t third = type_last(y->type) / 3, size[3] = {third, third, third};
    if (attr_ints(c, "qkv_hidden_sizes", &sizes))
        for (int i = 0; i < 3 && sizes.n == 3; i++) size[i] = sizes.v[i];
    if (cut(c, y, size, qkv)) attend(c, qkv, 3);
}

// ---- rotary positions

// cos or sin of each token: rows of `cache` [positions, n] at `at` ([rows, tokens], or [1]: where the first token is);
// without it [rows, tokens, n] as they are. [rows or 1, 1, tokens, n].
static const Node *angles(Call *c, const Node *cache, const Node *at, int64_t tokens)
{
    if (at && at->type.rank == 1) {
        int64_t *v = ARENA_ARRAY(call_arena(c), int64_t, tokens + 1);
        for (int64_t i = 0; i < tokens; i++) v[i] = i;
        const Node *numbers = build_reshape(c->b, build_ints(c->b, tokens, v), 2, (int64_t[]){1, tokens});
        at = op2(c, OP_add, build_reshape(c->b, at, 2, (int64_t[]){1, type_lanes(at->type)}), numbers);
    }
    if (at && cache->type.rank == 2) cache = gathered(c, cache, at, 0);
    if (!cache) return NULL;
    Type t = cache->type;
    if (t.rank != 3 || t.dim[1] != tokens)
        return fail(c, DAMAGED, "%s are no angles of %lld tokens", type_text(call_arena(c), t), (long long)tokens);
    return build_reshape(c->b, cast_real(c, cache), 4, (int64_t[]){t.dim[0], 1, tokens, t.dim[2]});
}

// The first 2 n elements of each head turned; pairs are neighbours, or an element of each half.
static const Node *turned(Call *c, const Node *x, const Node *cosine, const Node *sine, bool neighbours)
{
    Type t = x->type, joined;
    int64_t n = type_last(cosine->type), step = neighbours ? 2 : 1;
    if (2 * n > t.dim[3]) return fail(c, DAMAGED, "heads of %lld elements", (long long)t.dim[3]);
    const Node *u = build_slice(c->b, x, 3, 0, n, step), *v = build_slice(c->b, x, 3, neighbours ? 1 : n, n, step);
    if (!broadcast_ok(c, 3, (const Node *const[]){u, cosine, sine}, &joined)) return NULL;
    const Node *part[3], *other = op2(c, OP_mul, v, sine);
    part[0] = op2(c, OP_sub, op2(c, OP_mul, u, cosine), other);
    other = op2(c, OP_mul, v, cosine);
    part[1] = op2(c, OP_add, op2(c, OP_mul, u, sine), other);
    part[2] = build_slice(c->b, x, 3, 2 * n, t.dim[3] - 2 * n, 1);
    if (neighbours) {
        for (int i = 0; i < 2; i++)
            part[i] = build_reshape(c->b, part[i], 5, (int64_t[]){t.dim[0], t.dim[1], t.dim[2], n, 1});
        part[0] =
            build_reshape(c->b, build_concat(c->b, 2, part, 4), 4, (int64_t[]){t.dim[0], t.dim[1], t.dim[2], 2 * n});
        part[1] = part[2];
    }
    return build_concat(c->b, neighbours ? 2 : 3, part, 3);
}

// Operands: x, and then cos, sin, positions, or (of com.microsoft) positions, cos, sin.
void import_rotary_embedding(Call *c, int positions)
{
    const Node *x = cast_real(c, arg(c, 0)), *at = optional(c, positions);
    const Node *cosine = arg(c, positions == 1 ? 2 : 1), *sine = arg(c, positions == 1 ? 3 : 2);
    if (!x || !cosine || !sine || c->failed) return;
    bool flat = x->type.rank == 3, neighbours = attr_int(c, "interleaved", 0) != 0;
    int64_t heads = attr_int(c, "num_heads", 0), n = attr_int(c, "rotary_embedding_dim", 0);
    if (positions == 1 && (attr_int(c, "is_packed_batching", 0) || attr_real(c, "scale", 1) != 1)) {
        fail(c, "optimise without them", "is_packed_batching and scale are not supported");
        return;
    }
    if (flat && !heads && !n) heads = type_last(x->type) / (2 * type_last(cosine->type) + !type_last(cosine->type));
    if (!(x = heads_of(c, x, heads))) return;
    cosine = angles(c, cosine, at, x->type.dim[2]);
    sine = angles(c, sine, at, x->type.dim[2]);
    if (!cosine || !sine || !(x = turned(c, x, cosine, sine, neighbours))) return;
    result(c, 0, flat ? merged_heads(c, x) : x);
}
