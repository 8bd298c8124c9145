// The solver: which lanes become known from which, in what order. That order is the inverse program and its
// log-determinant (README.md, "How a flow is inverted").
#pragma once
#include "one_lane.h"
#include "solve_system.h"

typedef enum {
    STEP_FORWARD,  // output lanes of a node from its inputs
    STEP_BACKWARD, // operand lanes of a one-lane bijection from its output lanes
    STEP_BLOCK,    // k unknown inputs of a product from k known outputs, per token
    STEP_FUNCTION, // lanes that are used more than once below known lanes (one_lane.h)
    STEP_SYSTEM,   // lanes that are found together (solve_system.h)
} SolveKind;

// One group of lanes of one node that become known together.
typedef struct {
    SolveKind kind;
    const Node *node;
    int operand;           // BACKWARD: which operand
    int64_t n;             // lanes (FORWARD, BACKWARD) or tokens (BLOCK)
    const int64_t *lanes;  // output lanes of the node, or token numbers
    int64_t k;             // BLOCK: size of the block
    const int32_t *rows;   // BLOCK: unknown inputs of a token
    const int32_t *cols;   // BLOCK: the known outputs used
    const double *inverse; // BLOCK: [k outputs][k inputs]: x[rows] = rest[cols] * inverse
    double log_det;        // BLOCK: log|det| of the k x k block, of one token
    double condition;
    const OneLane *function; // FUNCTION
    const System *system;    // SYSTEM
} SolveStep;

typedef struct {
    const Function *f;
    const SolveStep *steps;
    int n_steps;
    bool solved;
    double condition;  // worst of the blocks
    LaneEnv *base;     // lane numbering of f (its refs are not used)
    const bool *known; // by lane number
    const char *why;   // a one-lane function that was refused, or NULL
} Solution;

// From: lanes that are known at the start (constants are always). To: lanes that must become known.
// Stops when all of `to` is known. Not solved: the caller explains with solve_explain.
Solution *solve_lanes(Context *cx, const Function *f, const LaneRef *from, int64_t n_from, const LaneRef *to,
                      int64_t n_to);
// By node id: min or max that the inverse takes for the identity, in front of atanh or log (solve_clips.c).
const bool *solve_clips(Context *cx, const Function *f);
// Which of `to` are not known and what they wait for, by node name; for an error message. `name`: what to call them,
// "x".
const char *solve_explain(Context *cx, const Solution *s, const LaneRef *to, int64_t n_to, const char *name);
// Functions of one lane whose rise is not proved.
int solve_unproved(const Solution *s);
// Is a function of one lane chosen by comparisons? Each of its pieces rises; they may still overlap.
bool solve_has_pieces(const Solution *s);
// The inverse program for people: one line a step with rule and lanes, the last where it stops (check --explain).
const char *solve_text(Context *cx, const Solution *s);

// ---- emission (emit_inverse.c, emit_forward.c, emit_log_det.c)
// Build the steps into env (whose `from` is s->f); the lanes known at the start are set already.
void emit_solution(LaneEnv *env, const Solution *s);
// Build every node of the function forward; the inputs are set already.
void emit_forward(LaneEnv *env);
// The same for the lanes that have no value yet.
void emit_missing(LaneEnv *env);
// Sum of log|d out / d in| over the steps, all lanes of s->f being in env: f32[1]. See emit_log_det.c for the rules.
const Node *emit_log_det(LaneEnv *env, const Solution *s);
