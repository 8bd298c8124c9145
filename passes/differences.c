// The numeric log-determinant of a function of lanes: its Jacobian by central differences, in double, and its
// elimination. What a derived or exported log_det is checked against.
#include "flow.h"
#include "small_matrix.h"

#include <math.h>
#include <string.h>

// The row's inputs 2 d times; of input `port` lane k is moved up in copy 2 k, down in copy 2 k + 1.
static const double **shifted_rows(Context *cx, const Function *f, int port, const double *const *in, size_t row,
                                   double *step)
{
    size_t d = (size_t)type_lanes(f->inputs[port]->type);
    const double **out = ARENA_ARRAY(cx->arena, const double *, f->n_inputs + 1);
    for (int i = 0; i < f->n_inputs; i++) {
        size_t lanes = (size_t)type_lanes(f->inputs[i]->type);
        double *copy = ARENA_ARRAY(cx->arena, double, 2 * d * lanes + 1);
        for (size_t k = 0; k < 2 * d; k++) memcpy(copy + k * lanes, in[i] + row * lanes, lanes * sizeof *copy);
        for (size_t k = 0; i == port && k < d; k++) {
            step[k] = 1e-6 * (1 + fabs(in[i][row * lanes + k]));
            copy[2 * k * d + k] += step[k];
            copy[(2 * k + 1) * d + k] -= step[k];
        }
        out[i] = copy;
    }
    return out;
}

double difference_log_det(Context *cx, const Function *f, int port, const double *const *in, size_t row)
{
    size_t d = (size_t)type_lanes(f->inputs[port]->type);
    double *step = ARENA_ARRAY(cx->arena, double, d), *jacobian = ARENA_ARRAY(cx->arena, double, d *d);
    double *y = ARENA_ARRAY(cx->arena, double, 2 * d * d), **out = ARENA_ARRAY(cx->arena, double *, f->n_outputs + 1);
    const double **rows = shifted_rows(cx, f, port, in, row, step);
    out[0] = y;
    eval_function(f, 2 * d, rows, out, NULL, NULL);
    for (size_t k = 0; k < d; k++)
        for (size_t j = 0; j < d; j++)
            jacobian[j * d + k] = (y[2 * k * d + j] - y[(2 * k + 1) * d + j]) / (2 * step[k]);
    Determinant det = invert_matrix(jacobian, ARENA_ARRAY(cx->arena, double, d *d), (int64_t)d);
    return det.sign ? det.log_size : -INFINITY;
}
