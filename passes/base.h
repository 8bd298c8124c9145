// Base distributions: one row each in base.c. All are standardised and independent over the lanes.
#pragma once
#include "passes.h"

// "normal", "laplace", "logistic", "uniform", "student_t:5" -> kind and parameter; false: not one of them.
bool base_named(const char *text, BaseKind *kind, double *param);
// "standard normal", "Student t, 5 degrees of freedom (z must be given)"
const char *base_describe(Context *cx, BaseKind kind, double param);
// That of the flow, as people read it.
const char *base_text(Arena *arena, const Flow *flow);
// sum over the lanes of log p(u_i): f32[1]; -inf outside the support.
const Node *base_log_density(Builder *b, BaseKind kind, double param, const Node *u);
// A draw, for the compiler's own checks.
double base_draw(BaseKind kind, uint64_t *state);
