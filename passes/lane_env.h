// Lanes: names of per-row scalars, shared by the passes that look below tensors (lanes, solve, derive).
//
// A lane of a function is (node, number). Moves only rename lanes, so every lane has one canonical name whose
// node is not a move. A LaneEnv maps the canonical lanes of one function to lanes of another one being built.
#pragma once
#include "passes.h"

typedef struct {
    const Node *node; // NULL: not there
    int64_t lane;
} LaneRef;

// The canonical name of lane i of n.
LaneRef lane_canonical(const Node *n, int64_t i);
// Lane i of operand k of an elementwise node, canonical; one-lane operands serve every i.
LaneRef lane_operand(const Node *n, int k, int64_t i);
// The lanes that lane r is computed from, without those of zero weights; -1: there is no room for them, or its op is
// none that is followed lane by lane. Elementwise lanes need room for three.
int lane_operands(LaneRef r, LaneRef *out, int room);
int lane_compare(const void *a, const void *b); // for qsort: two lanes by node, then by number
static inline bool lane_same(LaneRef a, LaneRef b) { return a.node == b.node && a.lane == b.lane; }
static inline bool lane_is_const(LaneRef r) { return r.node && node_is_const(r.node); }
static inline double lane_value(LaneRef r) { return const_at(r.node, r.lane); }

// A value whose lanes are refs[0..n): f32[n]; equal refs throughout give f32[1] (elementwise ops broadcast it).
const Node *lanes_gather(Builder *b, const LaneRef *refs, int64_t n);
const Node *lanes_gather_as(Builder *b, const LaneRef *refs, Type type); // never collapsed

typedef struct {
    const Function *from;
    Builder *b;
    int64_t *base; // by node id: first lane number
    int64_t n_lanes;
    LaneRef *ref;          // by lane number: lane in the function being built
    const Node **constant; // by node id: copies of constants
    const Node **whole; // by node id: the value whose lanes are those of the node, in order (ref says nothing), or NULL
} LaneEnv;

LaneEnv *lane_env_new(Context *cx, const Function *from, Builder *b);
LaneEnv *lane_env_copy(const LaneEnv *env); // what is set in one of them is not set in the other
void lane_env_inputs(LaneEnv *env);         // the function being built has the inputs of env->from
// Where lane r (of env->from) is now; constants are copied on demand. node NULL: not known.
LaneRef lane_env_get(LaneEnv *env, LaneRef r);
void lane_env_set(LaneEnv *env, LaneRef r, LaneRef now);
void lane_env_set_all(LaneEnv *env, const Node *n, const Node *now); // lane i of n is lane i of now
// The canonical lane i of n, looked up.
LaneRef lane_env_lane(LaneEnv *env, const Node *n, int64_t i);
// The n lanes of an operand of an elementwise node of n lanes, as lanes_gather gives them, where they need not be
// looked up one by one; else NULL.
const Node *lane_env_row(LaneEnv *env, const Node *operand, int64_t n);
// The whole of n: its lanes looked up, those that are not there 0.
const Node *lane_env_value(LaneEnv *env, const Node *n);
// Which lanes the outputs of f need, by lane number (lane_need.c).
bool *lanes_needed(Context *scratch, const Function *f);
// Rows and columns of a constant matrix; NULL list: all.
const Node *matrix_part(Builder *b, const Node *w, int64_t n_rows, const int32_t *rows, int64_t n_cols,
                        const int32_t *cols);
// Of a product: its bias in these columns, and what it adds there to these tokens; NULL list: all. NULL: it has none.
const Node *linear_bias_part(LaneEnv *env, const Node *n, int64_t n_cols, const int32_t *cols);
const Node *linear_add_part(LaneEnv *env, const Node *n, int64_t n_tokens, const int64_t *tokens, int64_t n_cols,
                            const int32_t *cols);
// Elementwise op n on operands of m lanes (or one lane): f32[m] (or f32[1] where all operands have one lane).
const Node *lanes_apply(Builder *b, const Node *n, const Node *const *in);
