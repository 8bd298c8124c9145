// What the tests of a one-lane function (one_lane_tests.c) and its values at their thresholds (one_lane_points.c)
// share.
#pragma once
#include "one_lane_emit.h"

// h > k (not strict: h >= k) of lanes h of several functions, walked back to v > at.
typedef struct {
    int n, edges; // edges: so many after another are of one lane, which counts those that hold (h rounded down)
    int *who;     // function of each
    LaneRef *h;
    LaneRef *k; // built lanes; walked back: the threshold of v
    bool strict, negated;
    struct {
        Op op; // not, or, and
        LaneRef *with;
    } step[MOST_TURNS];
    int n_steps;
    int slot;       // whose test this is, or -1
    int64_t *lanes; // of `node`, a comparison
    const Node *node;
    LaneRef *truth, *above; // built lanes; above: v > at
    int *at;                // evaluation at the threshold
} Compare;

typedef struct {
    int who;
    LaneRef at;     // built lane
    LaneRef *value; // by lane of the function
    bool *outside;  // by lane: it needs what a table has not (the threshold after the last bin)
} Point;

typedef struct {
    Emit *e;
    int level; // of the comparisons (one_lane.h); lanes of lower levels have their values in e->env
    Compare *compare;
    int n_compare, cap_compare;
    Point *points;
    int n_points, cap_points;
} Thresholds;

static inline LaneRef *new_lanes(Emit *e, int64_t n) { return ARENA_ARRAY(e->a, LaneRef, n + 1); }
// Position of lane r among those of function i, or -1.
int points_place(const OneLane *g, int i, LaneRef r);
// op on built lanes, those apart that are decided lane by lane; `like`: the node whose op it is (its alpha and type),
// or NULL.
void points_apply(Emit *e, Op op, const Node *like, LaneRef *const *in, int64_t n, LaneRef *out);
// Truth of c for elements `which` of c, from v > threshold: the steps back, last one first.
void points_steps(Emit *e, const Compare *c, const int *which, int64_t n, LaneRef *truth);
// Of each `edges` truths how many hold, as lanes of the node: n / edges of them.
void points_count(Emit *e, const Node *node, const LaneRef *truth, int64_t n, int edges, LaneRef *out);
// All lanes of all points.
void points_evaluate(Thresholds *t);
// Does lane r need what a table has not at this point?
bool point_is_outside(const Thresholds *t, const Point *p, LaneRef r);
