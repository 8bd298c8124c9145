// normal, masks: in a softmax a constant logit of -1e4 or less is -inf where another logit of its row is not masked,
// so that causal masks cut dependencies whatever number the exporter wrote; added, subtracted or chosen, before or
// after the logits are scaled.
#include "lane_env.h"
#include "pipeline.h"
#include "rewrite.h"

#include <math.h>
#include <string.h>

static bool is_mask(double v) { return v <= -1e4; }

// The logits before they were scaled: c x and x / c of c > 0 keep what is masked.
static const Node *before_scale(const Node *v)
{
    double c = 0;
    for (int k = 0; k < 2; k++) {
        if (v->op != OP_mul && !(v->op == OP_div && k == 0)) continue;
        if (const_number(v->in[1 - k], &c) && c > 0 && type_lanes(v->in[k]->type) == type_lanes(v->type))
            return v->in[k];
    }
    return v;
}

int64_t *masked_logits(Context *cx, const Function *f)
{
    int64_t *logits = ARENA_ARRAY(cx->arena, int64_t, f->n_nodes + 1);
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        if (n->op != OP_reduce_max) continue;
        const Node *v = n->in[0];
        if (is_reshape(v)) v = v->in[0];
        v = before_scale(v);
        if (v->op == OP_add || v->op == OP_sub || v->op == OP_select || (v->op == OP_move && v->n_in > 1))
            logits[v->id] = type_last(n->in[0]->type);
    }
    return logits;
}

static bool *lane_flags(Builder *b, int64_t lanes)
{
    return ARENA_ARRAY(scratch_arena(builder_context(b)), bool, lanes + 1);
}

// Every row of K lanes has a lane that is not masked.
static bool rows_stay(const bool *masked, int64_t lanes, int64_t K)
{
    for (int64_t row = 0; row < lanes; row += K)
        if (!memchr(masked + row, false, (size_t)K)) return false;
    return true;
}

// sign * c with -inf where it masks.
static const Node *masked_sum(Builder *b, const Node *c, int64_t lanes, int64_t K, double sign)
{
    if (!node_is_const(c) || type_lanes(c->type) != lanes) return NULL;
    bool *masked = lane_flags(b, lanes);
    double *v = ARENA_ARRAY(builder_context(b)->arena, double, lanes);
    for (int64_t i = 0; i < lanes; i++) {
        masked[i] = is_mask(sign * const_at(c, i));
        v[i] = masked[i] ? -INFINITY : sign * const_at(c, i);
    }
    return rows_stay(masked, lanes, K) ? build_reals(b, c->type, v) : NULL;
}

// A constant condition has become a move, which puts constants among the logits.
static const Node *mask_moved(Builder *b, const Node *n, const Node *const *in, int64_t K)
{
    const Node **to = ARENA_ARRAY(builder_context(b)->arena, const Node *, n->n_in);
    bool any = false, *masked = lane_flags(b, type_lanes(n->type));
    for (int k = 0; k < n->n_in; k++) {
        int64_t lanes = type_lanes(in[k]->type);
        to[k] = in[k];
        if (!node_is_const(in[k])) continue;
        double *v = ARENA_ARRAY(builder_context(b)->arena, double, lanes);
        for (int64_t i = 0; i < lanes; i++) {
            v[i] = is_mask(const_at(in[k], i)) ? -INFINITY : const_at(in[k], i);
            any = any || v[i] != const_at(in[k], i);
        }
        to[k] = build_reals(b, in[k]->type, v);
    }
    for (int64_t i = 0; i < type_lanes(n->type); i++) {
        LaneRef r = lane_canonical(n, i);
        masked[i] = lane_is_const(r) && is_mask(lane_value(r));
    }
    return any && rows_stay(masked, type_lanes(n->type), K) ? build_move(b, n->type, n->n_in, to, n->map) : NULL;
}

// Operand k of a choice by a constant is a number that masks.
static const Node *mask_chosen(Builder *b, const Node *const *in, int k, int64_t lanes, int64_t K)
{
    double v = 0;
    bool *masked = lane_flags(b, lanes);
    if (!const_is_splat(in[k], &v) || !is_mask(v)) return NULL;
    for (int64_t i = 0; i < lanes; i++) masked[i] = (const_at(in[0], i) != 0) == (k == 1);
    if (!rows_stay(masked, lanes, K)) return NULL;
    const Node *inf = build_scalar(b, -INFINITY);
    return build_select(b, in[0], k == 1 ? inf : in[1], k == 2 ? inf : in[2]);
}

const Node *mask_logits(Builder *b, const Node *n, const Node *const *in, int64_t K)
{
    int64_t lanes = type_lanes(n->type);
    if (n->op == OP_move) return mask_moved(b, n, in, K);
    for (int k = n->op == OP_sub; (n->op == OP_add || n->op == OP_sub) && k < 2; k++) {
        const Node *c = masked_sum(b, in[k], lanes, K, n->op == OP_sub ? -1 : 1);
        if (c) return build_binary(b, OP_add, in[1 - k], c);
    }
    if (n->op != OP_select || !node_is_const(in[0]) || type_lanes(in[0]->type) != lanes) return NULL;
    const Node *chosen = mask_chosen(b, in, 1, lanes, K);
    return chosen ? chosen : mask_chosen(b, in, 2, lanes, K);
}
