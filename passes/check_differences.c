// Log-determinants against finite differences, on two rows: where the graph exports none, or where no inverse proves
// the exported one.
#include "check.h"

#include <math.h>

enum { DIFFERENCE_ROWS = 2 };
static const double DIFFERENCE_ERROR = 1e-3, EXPORTED_DIFFERENCE_ERROR = 1e-4; // accepted, relative

// Of a program, whose last input is what moves, around row r of `last`.
static double program_difference(Check *c, const Function *f, const double *last, size_t r)
{
    const double **in = ARENA_ARRAY(c->cx->arena, const double *, f->n_inputs + 1);
    for (int i = 0; i + 1 < f->n_inputs; i++) in[i] = c->in[c->flow->contexts[i]];
    in[f->n_inputs - 1] = last;
    return difference_log_det(c->cx, f, f->n_inputs - 1, in, r);
}

void check_one_way(Check *c)
{
    const double *own = c->flow->density ? c->log_det_x : c->log_det_z, *from = c->flow->density ? c->x : c->z;
    const Function *f = c->flow->density ? c->to_latent : c->to_event;
    if (c->dims > DIFFERENCE_DIMS) {
        diag_error(c->cx, NULL, "--no-verify takes it as it is",
                   "a log_det of %zu numbers that has no inverse cannot be checked; the limit is %d numbers", c->dims,
                   DIFFERENCE_DIMS);
        return;
    }
    c->report->finite_differences = true;
    for (size_t r = 0; r < DIFFERENCE_ROWS && r < c->rows; r++) {
        double numeric = program_difference(c, f, from, r), error = fabs(numeric - own[r]) / (1 + fabs(numeric));
        if (error > c->report->log_det_error) c->report->log_det_error = error;
        if (!(error <= EXPORTED_DIFFERENCE_ERROR))
            diag_error(c->cx, NULL,
                       "wrong sign, scale or offset in the exported log_det, or --verify-inputs gives rows inside the "
                       "flow's domain",
                       "the exported log_det %.9g differs from the finite-difference Jacobian's %.9g", own[r], numeric);
    }
}

static double farthest(const Check *c, size_t r)
{
    double most = 0;
    for (size_t i = r * c->dims; i < (r + 1) * c->dims; i++) most = fmax(most, fabs(c->z[i]));
    return most;
}

// Differences need room: near the edge of a squash a step leaves the domain. Returns how many rows.
static size_t rows_near_centre(const Check *c, size_t rows[DIFFERENCE_ROWS])
{
    size_t n = 0;
    for (size_t r = 0; r < c->rows; r++) {
        size_t at = n < DIFFERENCE_ROWS ? n++ : n;
        for (; at > 0 && farthest(c, r) < farthest(c, rows[at - 1]); at--)
            if (at < n) rows[at] = rows[at - 1];
        if (at < n) rows[at] = r;
    }
    return n;
}

void check_differences(Check *c)
{
    bool exported = c->flow->log_prob_output >= 0 && c->flow->base_kind != BASE_GRAPH;
    if (c->flow->log_det_output >= 0 || exported || c->dims > DIFFERENCE_DIMS) return;
    c->report->finite_differences = true;
    size_t rows[DIFFERENCE_ROWS], n = rows_near_centre(c, rows);
    for (size_t k = 0; k < n; k++) {
        size_t r = rows[k];
        double numeric = program_difference(c, c->to_latent, c->x, r),
               error = fabs(numeric - c->log_det_x[r]) / (1 + fabs(numeric) + (double)c->dims);
        if (isinf(numeric) && numeric == c->log_det_x[r]) {
            diag_error(c->cx, NULL, "a matrix of the graph is singular on a row that was drawn",
                       "the map has no inverse: its log_det is %.9g", numeric);
            return;
        }
        if (error > c->report->log_det_error) c->report->log_det_error = error;
        if (!(error <= DIFFERENCE_ERROR))
            diag_error(c->cx, NULL,
                       "this is a bug of nfcc, or a kink of the graph lies on the row: please report it with the model",
                       "derived log_det %.9g differs from the finite-difference Jacobian's %.9g", c->log_det_x[r],
                       numeric);
    }
}
