// Order and signs of lanes of a function under construction, proved from what defines them.
#pragma once
#include "lane_env.h"

// a <= b for every input? Affine combinations of the same lanes are compared: by signs of what is left, and for shares
// of a whole (exp(x_i) / sum of exp(x)) by the corners of their simplex.
// depth: 0; less is tried the larger it is.
bool lanes_in_order(LaneRef a, LaneRef b, int depth);
// The sign that a lane has for every input: 1, -1; 0: not known (lane_sign.c).
int lane_sign(LaneRef r);
int lane_sign_within(LaneRef r, int depth); // looks less far the larger depth is
// Does lane i of a pow give back its base? Its exponent is no integer, so that only a base >= 0 has a power, or the
// base is seen to be positive.
bool lane_power_inverts(const Node *n, int64_t i);
