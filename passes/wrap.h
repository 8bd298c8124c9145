// Lanes that are wrapped into an interval: u = mod(v, p), as circular splines and shifts of an angle do (wrap.c).
#pragma once
#include "lane_env.h"

// Does n wrap its operand k? Then one lane of an interval of length p gives u, and u gives it back.
bool wraps(const Node *n, int k);
// Its operand's lanes from those of n, u. count: lanes of n.
const Node *emit_unwrapped(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count, const Node *u);
