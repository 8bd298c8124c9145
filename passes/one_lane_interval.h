// Intervals of value and slope, by the ops' rules (one_lane_monotone.c): what proves that a function of one lane rises.
#pragma once
#include "one_lane.h"

typedef struct {
    double lo, hi;
} Interval;

typedef struct {
    Interval value, slope;
} Bounds;

// Of an elementwise op, by its operands'. False: no rule.
bool one_lane_step(const Node *n, const Bounds *in, Bounds *out);
// Of base^k, k >= 0.
Bounds one_lane_power(Bounds base, int k);
// The values of a known lane.
Interval one_lane_known(LaneRef r);
