// Systems: lanes that are found together, from as many known lanes that are affine in them by constants.
#pragma once
#include "lane_env.h"

typedef struct System System;
struct System {
    int k;
    const LaneRef *known, *atoms; // k each
    const double *inverse;        // [k known][k atoms]: atoms = (known - rest) inverse
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
} SystemQuestion;

// All systems that can be solved now, side by side as one, or NULL.
const System *find_system(Context *cx, const SystemQuestion *q);
// The atoms' values into env, where the known lanes have theirs.
void emit_system(LaneEnv *env, const System *y);
