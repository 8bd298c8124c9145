// Intervals of value and slope, by the ops' rules (one_lane_monotone.c): what proves that a function of one lane rises.
#pragma once
#include "one_lane.h"

typedef struct {
    double lo, hi;
} Range;

typedef struct {
    Range value, slope;
} Pair;

// Of an elementwise op, by its operands'. False: no rule.
bool one_lane_step(const Node *n, const Pair *in, Pair *out);
// Of base^k, k >= 0.
Pair one_lane_power(Pair base, int k);
// The values of a known lane.
Range one_lane_known(LaneRef r);
