// Systems: lanes that are found together, from as many known lanes that are affine in them, by constants or by known
// lanes.
#pragma once
#include "lane_env.h"

typedef struct System System;
struct System {
    int k;
    int size;                     // k, or, where factors are lanes, of each of the systems that stand side by side
    const LaneRef *known, *atoms; // k each
    const double *inverse;        // [k known][k atoms]: atoms = (known - rest) inverse; NULL: factors are lanes
    double log_det;               // log|det| of d known / d atoms
    double condition;
    // Between them: unknown lanes in the order of their nodes; and the lanes, the atoms among them, that are 0 in rest.
    const LaneRef *between, *zeros;
    int n_between, n_zeros;
};

typedef struct {
    const Function *f;
    const LaneEnv *base; // lane numbers
    const bool *known;   // by lane number
    bool computed;       // factors may be known lanes
    const char **why;    // why there is none, where more than a missing equation is to be said
} SystemQuestion;

// All systems that can be solved now, side by side as one, or NULL.
const System *find_system(Context *cx, const SystemQuestion *q);
// The atoms' values into env, where the known lanes have theirs (emit_system.c).
void emit_system(LaneEnv *env, const System *y);

// ---- where factors are lanes (solve_matrix.c): k / size matrices of known lanes, which env has
// (known - rest), a vector of k: the atoms.
const Node *system_solve(LaneEnv *env, const System *y, const Node *u);
// What the determinants are products of, up to their sign: k lanes.
const Node *system_pivots(LaneEnv *env, const System *y);
