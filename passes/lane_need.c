// Which lanes of a function its outputs need: backwards, from an operand's lane to those that it is computed from. A
// product's lane needs the inputs that have a weight in its column; attention, tables and adjoints are taken whole.
#include "lane_env.h"

#include <stdlib.h>
#include <string.h>

static void need_value(LaneEnv *env, bool *need, const Node *v, int64_t i)
{
    LaneRef r = lane_canonical(v, i);
    if (!node_is_const(r.node)) need[env->base[r.node->id] + r.lane] = true;
}

// All lanes of v, where it joins whole values.
static bool need_parts(LaneEnv *env, bool *need, const Node *v)
{
    if (v->op != OP_move || v->map) return false;
    for (int k = 0; k < v->n_in; k++)
        if (!node_is_const(v->in[k]))
            memset(need + env->base[v->in[k]->id], true, (size_t)type_lanes(v->in[k]->type) * sizeof *need);
    return true;
}

static void need_linear(LaneEnv *env, bool *need, const Node *n)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], tokens = N ? type_lanes(n->type) / N : 0;
    bool *row = heap_array(K, sizeof *row);
    for (int64_t m = 0; m < tokens; m++) {
        const bool *out = need + env->base[n->id] + m * N;
        for (int64_t k = 0; k < K; k++) {
            row[k] = false;
            for (int64_t c = 0; c < N && !row[k]; c++) row[k] = out[c] && const_at(w, k * N + c) != 0;
            if (row[k]) need_value(env, need, n->in[0], m * K + k);
        }
        for (int64_t c = 0; c < N && n->n_in > 3; c++)
            if (out[c]) need_value(env, need, n->in[3], m * N + c);
    }
    free(row);
}

static void need_operands(LaneEnv *env, bool *need, const Node *n)
{
    int64_t lanes = type_lanes(n->type);
    const bool *out = need + env->base[n->id];
    OpKind kind = op_info(n->op)->kind;
    bool any = false;
    for (int64_t i = 0; i < lanes; i++) any = any || out[i];
    if (!any) return;
    if (kind == KIND_LINEAR) {
        need_linear(env, need, n);
        return;
    }
    bool whole = kind == KIND_LINEAR_T || kind == KIND_MATMUL || kind == KIND_TAKE;
    for (int k = 0; k < n->n_in; k++) {
        if (node_is_const(n->in[k])) continue;
        if (whole && need_parts(env, need, n->in[k])) continue;
        int64_t count = type_lanes(n->in[k]->type), per = kind == KIND_REDUCE ? type_last(n->in[k]->type) : 1;
        for (int64_t i = 0; i < count; i++)
            if (whole || count == 1 || out[i / per]) need_value(env, need, n->in[k], i);
    }
}

bool *lanes_needed(Context *scratch, const Function *f)
{
    LaneEnv *env = lane_env_new(scratch, f, NULL);
    bool *need = ARENA_ARRAY(scratch->arena, bool, env->n_lanes + 1);
    for (int i = 0; i < f->n_outputs; i++) {
        int64_t lanes = type_lanes(f->outputs[i].node->type);
        for (int64_t k = 0; k < lanes; k++) need_value(env, need, f->outputs[i].node, k);
    }
    for (int i = f->n_nodes - 1; i >= 0; i--)
        if (f->nodes[i]->op != OP_move && op_info(f->nodes[i]->op)->kind != KIND_LEAF)
            need_operands(env, need, f->nodes[i]);
    return need;
}
