// Values with their slopes by one lane (one_lane_dual.c).
#pragma once
#include "one_lane.h"

typedef struct {
    const Node *value, *slope; // slope NULL: 0
} Dual;

// The slope of u = n(in).
const Node *dual_slope(Builder *b, const Node *n, const Dual *in, const Node *u);
// u of a group of nets (one_lane_net_emit.c) where v is `at`; both by function and copy.
Dual net_evaluate(LaneEnv *env, const OneLane *g, const Node *at, int copies, bool slopes);
