// What the emission of one-lane functions shares: one_lane_emit.c (ways), one_lane_tests.c (tests of v).
#pragma once
#include "one_lane.h"

typedef struct {
    LaneEnv *env;
    Builder *b;
    Arena *a;
    const OneLane *g;
    const Node **value;     // by slot: forward values, NULL: not built
    const Node **test;      // by slot: its test, NULL: not built
    const Node *low, *high; // v's nearest thresholds: the least and largest where u is outside of all; NULL: none
} Emit;

static inline const Node *num(Emit *e, double v) { return build_scalar(e->b, v); }
static inline const Node *bin(Emit *e, Op op, const Node *x, const Node *y) { return build_binary(e->b, op, x, y); }
// Of min and max: the operand that varies with v.
static inline int varying_operand(const Slot *slot) { return slot->in[0] >= 0 ? 0 : 1; }
// Operand k of slot s, a known one: a vector, one lane where all are the same.
const Node *operand_vector(Emit *e, int s, int k);

// All tests of v become known from u: lanes that are constant between thresholds are set in env, tests of slots in
// e->test; also e->low and e->high.
void one_lane_decide(Emit *e);
