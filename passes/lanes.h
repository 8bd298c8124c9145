// What the files of `lanes` share: a function under reconstruction with the remaining lanes of its nodes.
#pragma once
#include "lane_env.h"
#include "lane_number.h"

typedef struct {
    Builder *b;
    LaneEnv *env;
    const bool *need;     // by lane number of env
    LaneNumbers *numbers; // or NULL
} Lanes;

static inline bool needed(const Lanes *s, const Node *n, int64_t i) { return s->need[s->env->base[n->id] + i]; }
static inline bool is_value(LaneRef r, double v) { return lane_is_const(r) && lane_value(r) == v; }
static inline void set_const(Lanes *s, const Node *n, int64_t i, double v)
{
    const Node *c = n->type.dtype == T_I64 ? build_ints(s->b, 1, (int64_t[]){(int64_t)v}) : build_scalar(s->b, v);
    lane_env_set(s->env, (LaneRef){n, i}, (LaneRef){c, 0});
}

// lanes_linear.c, lanes_reduce.c: a product, a reduction.
void rebuild_linear(Lanes *s, const Node *n);
void rebuild_reduce(Lanes *s, const Node *n);
