// The check of precision: the Plan's f32 interpreter against the derived programs in double, on check.c's rows.
#include "check.h"
#include "check_score.h"
#include "float_bits.h"

#include <math.h>
#include <string.h>

static uint32_t *to_words(Context *cx, const double *v, size_t n)
{
    uint32_t *w = ARENA_ARRAY(cx->arena, uint32_t, n + 1);
    for (size_t i = 0; i < n; i++) w[i] = word_of((float)v[i]);
    return w;
}

uint32_t **output_words(Context *cx, const Program *p, size_t rows)
{
    uint32_t **out = ARENA_ARRAY(cx->arena, uint32_t *, p->n_out + 1);
    for (int i = 0; i < p->n_out; i++) out[i] = ARENA_ARRAY(cx->arena, uint32_t, rows * p->out[i].lanes + 1);
    return out;
}

uint32_t *prepared_words(Context *cx, const Plan *plan, size_t rows, const uint32_t *const *contexts)
{
    const Program *encode = &plan->programs[PROGRAM_ENCODE], *late = &plan->programs[PROGRAM_LATE];
    if (!encode->exists || !late->exists) return NULL;
    const uint32_t **in = ARENA_ARRAY(cx->arena, const uint32_t *, encode->n_in + 1);
    for (int i = 0; i < encode->n_in; i++) in[i] = contexts[encode->in[i].index];
    uint32_t **e = output_words(cx, encode, rows), **p = output_words(cx, late, rows);
    plan_run(plan, PROGRAM_ENCODE, rows, NULL, in, e);
    const uint32_t *early = e[0];
    plan_run(plan, PROGRAM_LATE, rows, NULL, &early, p);
    return p[0];
}

static void compare_port(Check *c, const char *name, const uint32_t *words, const double *exact, size_t lanes)
{
    double scale = 0, worst = 0;
    size_t n_nan = 0, n = c->rows * lanes;
    for (size_t i = 0; i < n; i++) {
        n_nan += isnan(exact[i]);
        if (isfinite(exact[i]) && fabs(exact[i]) > scale) scale = fabs(exact[i]);
    }
    if (n && n_nan == n)
        diag_warning(c->cx, NULL, "%s is NaN in all rows checked: --verify-inputs FILE.npz gives rows that occur",
                     name);
    for (size_t i = 0; i < n; i++) {
        double got = float_of(words[i]), d = fabs(got - exact[i]) / (scale > 1 ? scale : 1);
        if (got == exact[i] || (isnan(got) && isnan(exact[i]))) continue;
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    double *kind = strstr(name, "log_") ? &c->report->log_prob_error : &c->report->sample_error;
    if ((strstr(name, "log_") || strstr(name, "event x")) && worst > *kind) *kind = worst;
    if (worst <= c->report->f32_error && c->report->f32_worst) return;
    c->report->f32_error = worst;
    c->report->f32_worst = name;
}

static void compare_program(Check *c, const Plan *plan, ProgramId id, const uint32_t *prep, const double *last,
                            const double *const *exact, const char *const *names, size_t n_exact, const size_t *lanes)
{
    const Program *p = &plan->programs[id];
    const uint32_t *in[1] = {to_words(c->cx, last, c->rows * c->dims)};
    uint32_t **out = output_words(c->cx, p, c->rows);
    plan_run(plan, id, c->rows, prep, in, out);
    for (size_t i = 0; i < n_exact && (int)i < p->n_out; i++) compare_port(c, names[i], out[i], exact[i], lanes[i]);
}

// One program with one output that is a gradient, or holds one: where float32 takes the other side of a kink than
// double (the sign of a lane that is nearly 0), the row says nothing about precision and is left out.
static void compare_gradient(Check *c, const Plan *plan, ProgramId id, const char *name, const uint32_t *prep,
                             const double *last)
{
    const Function *f = module_function(c->derived, name);
    const Program *p = &plan->programs[id];
    if (!f || !p->exists) return;
    size_t d = c->dims;
    double *exact = check_numbers(c->cx, c->rows * d), *mine = check_numbers(c->cx, d), scale = 1;
    double **doubles = ARENA_ARRAY(c->cx->arena, double *, f->n_outputs + 1);
    const double **in = check_inputs(c, last);
    const uint32_t *words[1] = {to_words(c->cx, last, c->rows * d)};
    uint32_t **out = output_words(c->cx, p, c->rows);
    doubles[0] = exact;
    check_run_program(c, f, last, doubles);
    plan_run(plan, id, c->rows, prep, words, out);
    for (size_t i = 0; i < c->rows * d; i++)
        if (isfinite(exact[i])) scale = fmax(scale, fabs(exact[i]));
    for (size_t r = 0; r < c->rows; r++) {
        bool far = false;
        for (size_t i = 0; i < d; i++) {
            mine[i] = float_of(out[0][r * d + i]);
            far = far || fabs(mine[i] - exact[r * d + i]) > 1e-4 * scale;
        }
        if (!far || !at_kink(c->cx, f, r, in, mine, exact + r * d, d)) continue;
        for (size_t i = 0; i < d; i++) exact[r * d + i] = mine[i];
    }
    compare_port(c, name, out[0], exact, d);
}

static void check_flow_plan(Check *c, const Plan *plan)
{
    const uint32_t **contexts = ARENA_ARRAY(c->cx->arena, const uint32_t *, c->flow->n_contexts + 1);
    for (int k = 0; k < c->flow->n_contexts; k++) {
        int port = c->flow->contexts[k];
        contexts[k] = to_words(c->cx, c->in[port], c->rows * (size_t)type_lanes(c->main->inputs[port]->type));
    }
    const uint32_t *prep = prepared_words(c->cx, plan, c->rows, contexts);
    static const char *const latent_names[] = {"to_latent z", "to_latent log_det", "log_prob"};
    static const char *const event_names[] = {"to_event x", "to_event log_det", "sample log_prob"};
    const double *latent[] = {c->back, c->log_det_x, c->log_prob_x}, *event[] = {c->x, c->log_det_z, c->log_prob_z};
    const size_t lanes[] = {c->dims, 1, 1};
    if (c->to_event) compare_program(c, plan, PROGRAM_TO_EVENT, prep, c->z, event, event_names, 3, lanes);
    if (!c->to_latent) return;
    for (size_t i = 0; i < c->rows * c->dims; i++) c->x[i] = (double)(float)c->x[i]; // what a caller can pass
    double *out[3] = {c->back, c->log_det_x, c->log_prob_x};
    int first = c->flow->density_alone ? 2 : 0; // no z, no log_det
    check_run_program(c, c->to_latent, c->x, out + first);
    compare_program(c, plan, PROGRAM_TO_LATENT, prep, c->x, latent + first, latent_names + first, 3 - (size_t)first,
                    lanes + first);
    compare_gradient(c, plan, PROGRAM_SCORE, "score", prep, c->x);
    compare_gradient(c, plan, PROGRAM_ACT, "act", prep, c->z);
}

static void check_graph_plan(Check *c, const Plan *plan)
{
    const Program *p = &plan->programs[PROGRAM_RUN];
    const uint32_t **in = ARENA_ARRAY(c->cx->arena, const uint32_t *, c->main->n_inputs + 1);
    double **exact = ARENA_ARRAY(c->cx->arena, double *, c->main->n_outputs + 1);
    for (int i = 0; i < c->main->n_inputs; i++)
        in[i] = to_words(c->cx, c->in[i], c->rows * (size_t)type_lanes(c->main->inputs[i]->type));
    for (int i = 0; i < c->main->n_outputs; i++)
        exact[i] = check_numbers(c->cx, c->rows * (size_t)type_lanes(c->main->outputs[i].node->type));
    eval_function(c->main, c->rows, (const double *const *)c->in, exact, NULL, NULL);
    uint32_t **out = output_words(c->cx, p, c->rows);
    plan_run(plan, PROGRAM_RUN, c->rows, NULL, in, out);
    for (int i = 0; i < p->n_out; i++) compare_port(c, c->main->outputs[i].name, out[i], exact[i], p->out[i].lanes);
}

bool check_plan(Context *cx, const Module *derived, const Plan *plan, const Flow *flow, const CheckOptions *options,
                double max_error, CheckReport *report)
{
    const Check *done = report->checked; // check_flow has been there: rows and their values in double
    Check c = done ? *done : check_start(cx, NULL, derived, flow, options, report);
    report->f32_error = report->sample_error = report->log_prob_error = 0;
    report->f32_worst = NULL;
    if (flow->is_flow) {
        if (!done) check_run_programs(&c, options);
        check_flow_plan(&c, plan);
    } else
        check_graph_plan(&c, plan);
    double limit = max_error > 0 ? max_error : 1e-2;
    if (report->f32_error <= limit) return true;
    static const char *const types[] = {"float32", "float32 with f16 weights", "float32 with bf16 weights"};
    diag_error(
        cx, NULL,
        "--verify-inputs FILE.npz checks rows that occur (drawn masks may leave nothing); --max-error accepts it",
        "%s in %s differs from double by %.3g of its scale, above %.3g", report->f32_worst, types[plan->weight_type],
        report->f32_error, limit);
    return false;
}
