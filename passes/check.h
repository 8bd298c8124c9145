// What the checks of one compile share: the rows drawn for them and the derived programs' values there, in double.
#pragma once
#include "flow.h"

typedef struct Check {
    Context *cx;
    const Module *imported, *derived;
    const Function *main, *to_latent, *to_event;
    const Flow *flow;
    size_t rows, dims;
    double **in;                    // by port of @main
    double *x, *z, *back;           // back: to_latent(x)
    double *log_det_x, *log_prob_x; // by to_latent
    double *log_det_z, *log_prob_z; // by to_event
    double **exported;              // @main's outputs on `in`, NULL: not evaluated yet
    CheckReport *report;
    double graph_limit; // of an exported log_prob or log_det, relative to its terms
} Check;

double *check_numbers(Context *cx, size_t n);
// Draws the inputs. Without `imported`, @run of the derived module stands for the exported graph.
Check check_start(Context *cx, const Module *imported, const Module *derived, const Flow *flow,
                  const CheckOptions *options, CheckReport *report);
// x, z and what belongs to them by the derived programs, in both directions or the one there is.
void check_run_programs(Check *c, const CheckOptions *options);
// A derived program on the drawn contexts and `last`.
void check_run_program(Check *c, const Function *f, const double *last, double *const *out);
// All outputs of @main on the inputs.
double **check_exported(Check *c);
// Draws z of the saturated rows again, the `tries`th time; false where nothing is to be done (check_saturation.c).
bool check_redraw(Check *c, int tries);
bool all_finite(const double *v, size_t n);
// The log-determinant against finite differences, where the graph exports none that proves it; that of a one-way flow,
// which is the exported one and which nothing else proves (check_differences.c).
void check_differences(Check *c);
void check_one_way(Check *c);
// Contexts and `last`, as the derived programs take them.
const double **check_inputs(Check *c, const double *last);

// ---- the Plan's interpreter, in words
uint32_t **output_words(Context *cx, const Program *p, size_t rows);
// contexts (words by context number) -> PREP of each row; NULL where the plan prepares nothing.
uint32_t *prepared_words(Context *cx, const Plan *plan, size_t rows, const uint32_t *const *contexts);
