// The caller's units: see units.c.
#pragma once
#include "passes.h"

// mean and std of a context (its ONNX name), or of the event (name NULL): n numbers each, or one for all.
typedef struct {
    const char *name;
    int64_t n;
    const double *mean, *std;
    const char *file; // where they are from, for messages
} Scaling;

// The graph in the caller's units: an imported module, before passes_run. NULL after reported errors.
const Module *units_apply(Context *cx, const Module *m, const FlowOptions *options, int n, const Scaling *list);
// What was applied, for people; NULL: nothing.
const char *units_text(const Module *m);
