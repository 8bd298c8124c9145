// The checks of gradients: see check_score.c.
#pragma once
#include "passes.h"

// score against central differences of to_latent's log_prob on the first rows. in: contexts, then x, row-major.
// Reports; *error (or NULL) gets the worst relative difference.
bool check_score(Context *cx, const Function *to_latent, const Function *score, size_t rows, const double *const *in,
                 double *error);
// Does f's first output jump within what float32 can tell apart at this row (the kink of a leaky ReLU, a spline's
// knot)? value: what f32 says there, exact: f at the row itself; both of `lanes` numbers.
bool at_kink(Context *cx, const Function *f, size_t row, const double *const *in, const double *value,
             const double *exact, size_t lanes);
