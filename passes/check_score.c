// Checks of gradients, on few rows and in few directions, so that they cost the same for any number of lanes.
//
//   score . v  =  (log_prob(x + h v) - log_prob(x - h v)) / 2h      v normal, two step sizes
//
// Where the two step sizes disagree a kink of the graph lies between them: the direction is skipped.
#include "check_score.h"
#include "flow.h"

#include <math.h>
#include <string.h>

enum { ROWS = 2, DIRECTIONS = 4, STEPS = 2, NEAR = 16 };
static const double step_size[STEPS] = {1e-6, 4e-6};

static double *numbers(Context *cx, size_t n) { return ARENA_ARRAY(cx->arena, double, n + 1); }

static size_t lanes_of(const Node *n) { return (size_t)type_lanes(n->type); }

// `copies` times the given row of every input; the last input's copies are also given back, to be changed.
static const double **repeat_row(Context *cx, const Function *f, size_t row, size_t copies, const double *const *in,
                                 double **last)
{
    const double **many = ARENA_ARRAY(cx->arena, const double *, f->n_inputs + 1);
    for (int i = 0; i < f->n_inputs; i++) {
        size_t n = lanes_of(f->inputs[i]);
        double *v = numbers(cx, copies * n);
        for (size_t k = 0; k < copies; k++) memcpy(v + k * n, in[i] + row * n, n * sizeof *v);
        many[i] = *last = v;
    }
    return many;
}

static double *run_output(Context *cx, const Function *f, const char *name, size_t rows, const double *const *in)
{
    double **out = ARENA_ARRAY(cx->arena, double *, f->n_outputs + 1), *value = NULL;
    for (int i = 0; i < f->n_outputs; i++)
        if (!strcmp(f->outputs[i].name, name)) out[i] = value = numbers(cx, rows * lanes_of(f->outputs[i].node));
    eval_function(f, rows, in, out, NULL, NULL);
    return value;
}

// log_prob at x +- step v for each direction and step: [direction][step][+, -].
static double *moved_log_probs(Context *cx, const Function *to_latent, size_t row, const double *const *in,
                               const double *v, size_t d, double size)
{
    double *x;
    const double **many = repeat_row(cx, to_latent, row, DIRECTIONS * STEPS * 2, in, &x);
    for (size_t k = 0; k < DIRECTIONS; k++)
        for (size_t s = 0; s < STEPS; s++)
            for (size_t i = 0; i < d; i++) {
                double *at = x + (k * STEPS + s) * 2 * d + i, h = step_size[s] * size * v[k * d + i];
                at[0] += h;
                at[d] -= h;
            }
    return run_output(cx, to_latent, "log_prob", DIRECTIONS * STEPS * 2, many);
}

static double size_of(const double *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return 1 + most;
}

// Relative error of one direction; 0 where differences say nothing.
static double direction_error(const double *score, const double *v, size_t d, const double *log_prob, double size,
                              double *along, double *numeric)
{
    double slope[STEPS], sum = 0;
    *along = 0;
    for (size_t i = 0; i < d; i++) {
        *along += score[i] * v[i];
        sum += fabs(score[i] * v[i]);
    }
    for (size_t s = 0; s < STEPS; s++) slope[s] = (log_prob[2 * s] - log_prob[2 * s + 1]) / (2 * step_size[s] * size);
    *numeric = slope[0];
    if (!isfinite(slope[0]) || !isfinite(slope[1]) || fabs(slope[0] - slope[1]) > 1e-5 * (1 + fabs(slope[0]))) return 0;
    double error = fabs(*along - slope[0]) / (1 + fabs(slope[0]) + sum);
    return isnan(error) ? INFINITY : error;
}

bool check_score(Context *cx, const Function *to_latent, const Function *score, size_t rows, const double *const *in,
                 double *worst)
{
    size_t d = lanes_of(score->inputs[score->n_inputs - 1]);
    uint64_t state = 0x73636f7265;
    double *v = numbers(cx, DIRECTIONS * d), *exact = run_output(cx, score, "score", rows < ROWS ? rows : ROWS, in);
    for (size_t r = 0; r < rows && r < ROWS; r++) {
        double size = size_of(in[score->n_inputs - 1] + r * d, d);
        for (size_t i = 0; i < DIRECTIONS * d; i++) v[i] = draw_normal(&state);
        double *log_prob = moved_log_probs(cx, to_latent, r, in, v, d, size);
        for (size_t k = 0; k < DIRECTIONS; k++) {
            double along, numeric,
                error = direction_error(exact + r * d, v + k * d, d, log_prob + k * STEPS * 2, size, &along, &numeric);
            if (worst && error > *worst) *worst = error;
            if (error <= 1e-4) continue;
            diag_error(
                cx, NULL, "this is a bug of nfcc: please report it with the model; --no-verify compiles it unchecked",
                "the derived score is %.9g along a random direction, differences of log_prob say %.9g", along, numeric);
            return false;
        }
    }
    return true;
}

static double distance(const double *a, const double *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= most)) most = fabs(a[i] - b[i]);
    return most;
}

bool at_kink(Context *cx, const Function *f, size_t row, const double *const *in, const double *value,
             const double *exact, size_t lanes)
{
    double *last;
    const double **many = repeat_row(cx, f, row, NEAR, in, &last);
    size_t d = lanes_of(f->inputs[f->n_inputs - 1]);
    uint64_t state = 0x6b696e6b;
    double size = size_of(last, d);
    for (size_t i = 0; i < NEAR * d; i++) last[i] += 1e-5 * size * draw_normal(&state);
    double *near = run_output(cx, f, f->outputs[0].name, NEAR, many), reach = 0;
    for (size_t k = 0; k < NEAR; k++) reach = fmax(reach, distance(near + k * lanes, exact, lanes));
    return distance(value, exact, lanes) <= 4 * reach;
}
