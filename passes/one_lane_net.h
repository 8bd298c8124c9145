// Functions of one lane through sums of many lanes: which of them rise (one_lane_net.c).
#pragma once
#include "one_lane_find.h"

// May lanes of n stand between v and u?
bool net_follows(const Node *n);
// The sign of du/dv: 1, -1; 0: neither, which is noted. The lanes of s have their places. *proved: not only seen to be an
// integral.
int net_slope(OneLaneFinder *q, const Single *s, bool *proved);
