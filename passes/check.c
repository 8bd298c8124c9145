// Checks: every compile proves itself (design, "Checked, always").
//
//   check_flow   in double: the exported graph's own outputs against the derived programs, the round trip, and the
//                log-determinant against finite differences where the graph exports none, or where no inverse proves it
//   check_plan   the Plan's f32 interpreter against the derived programs in double
//   plan_golden  the rows that policy.so carries for its self test (runtime/abi.h)
//
// Rows: z from the base, contexts standard normal (integers 0, images in [0, 1]), x = to_event(z), inside the support.
// There are 32; of a model of more than 2^25 multiplications a row fewer, at least 8: its lanes are many samples already.
#include "base.h"
#include "check_score.h"
#include "double_math.h"
#include "float_bits.h"
#include "flow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_ROWS = 32, LEAST_ROWS = 8, MOST_WORK = 1 << 30, DIFFERENCE_ROWS = 2 };

typedef struct {
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
} Check;
struct Checked {
    Check c;
};

static double *numbers(Context *cx, size_t n) { return ARENA_ARRAY(cx->arena, double, n + 1); }

static double draw_for(Type type, uint64_t *state)
{
    double v = draw_normal(state);
    if (type.dtype == T_I64 || type.dtype == T_BOOL) return 0;
    return type.rank >= 3 ? 0.5 + 0.5 * double_tanh(v) : v;
}

static void draw_inputs(Check *c, const CheckOptions *options)
{
    uint64_t state = options->seed ? options->seed : 0x6e666363;
    c->in = ARENA_ARRAY(c->cx->arena, double *, c->main->n_inputs + 1);
    for (int i = 0; i < c->main->n_inputs; i++) {
        size_t n = c->rows * (size_t)type_lanes(c->main->inputs[i]->type);
        c->in[i] = numbers(c->cx, n);
        for (size_t k = 0; k < n; k++) c->in[i][k] = (double)(float)draw_for(c->imported->inputs[i].type, &state);
    }
    int given = !options->contexts ? 0 : c->flow->is_flow ? c->flow->n_contexts : c->main->n_inputs;
    for (int k = 0; k < given; k++) { // of a graph that is no flow: all its inputs
        int port = c->flow->is_flow ? c->flow->contexts[k] : k;
        if (options->contexts[k])
            memcpy(c->in[port], options->contexts[k],
                   c->rows * (size_t)type_lanes(c->main->inputs[port]->type) * sizeof(double));
    }
    if (!c->flow->is_flow) return;
    c->z = numbers(c->cx, c->rows * c->dims);
    for (size_t k = 0; k < c->rows * c->dims; k++)
        c->z[k] = (double)(float)base_draw(c->flow->base_kind, c->flow->base_param, &state);
}

// Run a derived program on the drawn contexts and `last`.
static void run_program(Check *c, const Function *f, const double *last, double *const *out)
{
    const double **in = ARENA_ARRAY(c->cx->arena, const double *, f->n_inputs + 1);
    for (int i = 0; i + 1 < f->n_inputs; i++) in[i] = c->in[c->flow->contexts[i]];
    in[f->n_inputs - 1] = last;
    eval_function(f, c->rows, in, out, NULL, NULL);
}

static void run_both(Check *c, const CheckOptions *options)
{
    size_t n = c->rows;
    c->x = numbers(c->cx, n * c->dims);
    c->back = numbers(c->cx, n * c->dims);
    c->log_det_x = numbers(c->cx, n);
    c->log_prob_x = numbers(c->cx, n);
    c->log_det_z = numbers(c->cx, n);
    c->log_prob_z = numbers(c->cx, n);
    double *event[4] = {c->x, c->log_det_z, c->log_prob_z, NULL}, *latent[3] = {c->back, c->log_det_x, c->log_prob_x};
    // Given events stand for the latents that they belong to; so everything below holds for them too.
    if (options->x) run_program(c, c->to_latent, options->x, (double *[]){c->z, NULL, NULL});
    run_program(c, c->to_event, c->z, event);
    run_program(c, c->to_latent, c->x, latent);
    int port = c->flow->density ? c->flow->event_input : c->flow->latent_input;
    memcpy(c->in[port], c->flow->density ? c->x : c->z, n * c->dims * sizeof(double));
}

// A flow with one direction: the end that it starts from is drawn or given. Both log-determinants are then sizes of the
// one.
static void run_one_way(Check *c, const CheckOptions *options)
{
    bool density = c->flow->density;
    size_t n = c->rows * c->dims;
    const double *given = density ? options->x : options->z;
    double *drawn = density ? c->in[c->flow->event_input] : c->z, *image = numbers(c->cx, n);
    if (given) memcpy(drawn, given, n * sizeof *drawn);
    c->x = density ? drawn : image;
    c->z = c->back = density ? image : drawn;
    c->log_det_x = c->log_det_z = numbers(c->cx, c->rows);
    c->log_prob_x = c->log_prob_z = numbers(c->cx, c->rows);
    double *all[] = {image, c->log_det_x, c->log_prob_x, NULL};
    run_program(c, density ? c->to_latent : c->to_event, drawn, c->flow->density_alone ? &c->log_prob_x : all);
    if (!density) memcpy(c->in[c->flow->latent_input], drawn, n * sizeof *drawn);
}

static void run_programs(Check *c, const CheckOptions *options)
{
    if (c->to_latent && c->to_event)
        run_both(c, options);
    else
        run_one_way(c, options);
}

// Worst |a - b| relative to 1 + |a| + extra[row]; NaN and unequal infinities count as infinite.
static double worst_difference(const double *a, const double *b, double scale, size_t rows, size_t lanes,
                               const double *extra)
{
    double worst = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < lanes; i++) {
            double x = a[r * lanes + i], y = scale * b[r * lanes + i];
            if (x == y || (isnan(x) && isnan(y))) continue;
            double d = fabs(x - y) / (1 + fabs(x) + (extra ? extra[r] : 0));
            if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
        }
    return worst;
}

// Constants were rounded to f32 by the exporter, to 16 bits in a graph that computes so.
static double limit_of(const Check *c) { return module_property(c->imported, "nfcc.floats") ? 2e-3 : 1e-5; }

static void differ(Check *c, int output, double error, double exported, double derived, const char *hint)
{
    diag_error(c->cx, NULL, hint,
               "output '%s' differs from what the graph's structure gives: %.9g exported, %.9g derived (relative error "
               "%.3g, limit %.0e)",
               c->imported->outputs[output].name, exported, derived, error, limit_of(c));
}

// All outputs of a function on its own inputs.
static double **outputs_of(Check *c, const Function *f, double *const *in)
{
    double **out = ARENA_ARRAY(c->cx->arena, double *, f->n_outputs + 1);
    for (int i = 0; i < f->n_outputs; i++)
        out[i] = numbers(c->cx, c->rows * (size_t)type_lanes(f->outputs[i].node->type));
    eval_function(f, c->rows, (const double *const *)in, out, NULL, NULL);
    return out;
}

static double *exported_output(Check *c, int output)
{
    if (!c->exported) c->exported = outputs_of(c, c->main, c->in);
    return c->exported[output];
}

// Sum of absolute terms that a row's log_prob is made of, beside its own value.
static double *term_sizes(Check *c)
{
    double *size = numbers(c->cx, c->rows);
    for (size_t r = 0; r < c->rows; r++) {
        size[r] = fabs(c->log_det_x[r]);
        for (size_t k = 0; k < c->dims; k++) size[r] += 0.5 * c->back[r * c->dims + k] * c->back[r * c->dims + k] + 1;
    }
    return size;
}

// One exported number a row against the derived one; the first row that is off is shown.
static void compare_scalar(Check *c, int output, const double *derived, double scale, const double *extra,
                           const char *hint)
{
    if (output < 0) return;
    double *claimed = exported_output(c, output), error = worst_difference(claimed, derived, scale, c->rows, 1, extra);
    if (error > c->report->exported_error) c->report->exported_error = error;
    if (error <= limit_of(c)) return;
    size_t r = 0;
    while (r + 1 < c->rows &&
           !(fabs(claimed[r] - scale * derived[r]) > limit_of(c) * (1 + fabs(claimed[r]) + (extra ? extra[r] : 0))))
        r++;
    differ(c, output, error, claimed[r], scale * derived[r], hint);
}

static void compare_exported(Check *c)
{
    const Flow *f = c->flow;
    double *own = f->density ? c->log_det_x : c->log_det_z, mean = f->log_det_mean ? 1.0 / (double)f->dims : 1;
    double *extra = term_sizes(c);
    compare_scalar(
        c, f->log_det_output, own, mean, extra,
        "wrong sign, scale or offset in the exported log_det (only the mean over the event is recognised); or the "
        "drawn rows lie outside the flow's domain: --verify-inputs gives typical ones");
    compare_scalar(c, f->log_prob_output, f->density ? c->log_prob_x : c->log_prob_z, f->log_prob_negated ? -1 : 1,
                   extra, "the rest of the log_prob is not the log-determinant of the flow that its squares show");
    int output = f->density ? f->latent_output : f->event_output;
    if (output < 0 || output >= c->imported->n_outputs) return;
    double *claimed = exported_output(c, output), *derived = f->density ? c->back : c->x;
    if (!f->density && f->has_clip) {
        double *clipped = numbers(c->cx, c->rows * c->dims);
        for (size_t i = 0; i < c->rows * c->dims; i++) clipped[i] = fmin(fmax(c->x[i], f->clip_lo), f->clip_hi);
        for (size_t i = 0; i < c->rows * c->dims; i++) claimed[i] = fmin(fmax(claimed[i], f->clip_lo), f->clip_hi);
        derived = clipped;
    }
    double error = worst_difference(claimed, derived, 1, c->rows, c->dims, NULL);
    if (error > c->report->exported_error) c->report->exported_error = error;
    if (error > limit_of(c))
        differ(c, output, error, claimed[0], derived[0], "this is a bug of nfcc: please report it with the model");
}

static void compare_round_trip(Check *c)
{
    double error = worst_difference(c->z, c->back, 1, c->rows, c->dims, NULL);
    c->report->round_trip = error;
    if (error > 1e-3)
        diag_error(c->cx, NULL,
                   "a squash or a clip saturates on these rows, or a matrix is nearly singular; --verify-inputs gives "
                   "typical rows",
                   "to_latent(to_event(z)) differs from z by %.3g (relative)", error);
}

// ---- finite differences

// Of a program, whose last input is what moves, around row r of `last`.
static double program_difference(Check *c, const Function *f, const double *last, size_t r)
{
    const double **in = ARENA_ARRAY(c->cx->arena, const double *, f->n_inputs + 1);
    for (int i = 0; i + 1 < f->n_inputs; i++) in[i] = c->in[c->flow->contexts[i]];
    in[f->n_inputs - 1] = last;
    return difference_log_det(c->cx, f, f->n_inputs - 1, in, r);
}

// A one-way flow's log_det is the exported one, which nothing else proves.
static void compare_one_way(Check *c)
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
        if (!(error <= 1e-4))
            diag_error(c->cx, NULL,
                       "wrong sign, scale or offset in the exported log_det, or --verify-inputs gives rows inside the "
                       "flow's domain",
                       "the exported log_det %.9g differs from the finite-difference Jacobian's %.9g", own[r], numeric);
    }
}

static void compare_differences(Check *c)
{
    bool exported = c->flow->log_prob_output >= 0 && c->flow->base_kind != BASE_GRAPH;
    if (c->flow->log_det_output >= 0 || exported || c->dims > DIFFERENCE_DIMS) return;
    c->report->finite_differences = true;
    for (size_t r = 0; r < DIFFERENCE_ROWS && r < c->rows; r++) {
        double numeric = program_difference(c, c->to_latent, c->x, r),
               error = fabs(numeric - c->log_det_x[r]) / (1 + fabs(numeric) + (double)c->dims);
        if (error > c->report->log_det_error) c->report->log_det_error = error;
        if (!(error <= 1e-3))
            diag_error(c->cx, NULL,
                       "this is a bug of nfcc, or a kink of the graph lies on the row: please report it with the model",
                       "derived log_det %.9g differs from the finite-difference Jacobian's %.9g", c->log_det_x[r],
                       numeric);
    }
}

// ---- score

// Contexts and `last`, as the derived programs take them.
static const double **program_inputs(Check *c, const double *last)
{
    const double **in = ARENA_ARRAY(c->cx->arena, const double *, c->flow->n_contexts + 2);
    for (int i = 0; i < c->flow->n_contexts; i++) in[i] = c->in[c->flow->contexts[i]];
    in[c->flow->n_contexts] = last;
    return in;
}

static void compare_score(Check *c)
{
    const Function *score = module_function(c->derived, "score");
    if (score) check_score(c->cx, c->to_latent, score, c->rows, program_inputs(c, c->x), &c->report->score_error);
}

// Multiplications and other operations of one row.
static int64_t work_of(const Function *f)
{
    int64_t work = 0;
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        OpKind kind = op_info(n->op)->kind;
        bool product = kind == KIND_LINEAR || kind == KIND_MATMUL;
        if (kind != KIND_LEAF) work += type_lanes(n->type) * (product ? type_last(n->in[0]->type) : 1);
    }
    return work;
}

static size_t default_rows(const Function *f)
{
    int64_t rows = MOST_WORK / (work_of(f) + 1);
    return rows > DEFAULT_ROWS ? DEFAULT_ROWS : rows < LEAST_ROWS ? LEAST_ROWS : (size_t)rows;
}

static Check check_start(Context *cx, const Module *imported, const Module *derived, const Flow *flow,
                         const CheckOptions *options, CheckReport *report)
{
    Check c = {.cx = cx, .imported = imported, .derived = derived, .flow = flow, .report = report};
    c.main = imported ? module_function(imported, "main") : module_function(derived, "run");
    c.imported = imported ? imported : derived;
    c.to_latent = module_function(derived, "to_latent");
    c.to_event = module_function(derived, "to_event");
    c.rows = options->rows ? options->rows : default_rows(c.main);
    c.dims = (size_t)flow->dims;
    report->rows = c.rows;
    report->few_rows = !options->rows && c.rows < DEFAULT_ROWS;
    draw_inputs(&c, options);
    return c;
}

// @run, after all passes, is the exported graph still: on rows of its own, every other one three times as wide, so that
// tails and clips are met.
static void compare_run(Check *c)
{
    const Function *run = module_function(c->derived, "run");
    double **in = ARENA_ARRAY(c->cx->arena, double *, c->main->n_inputs + 1);
    uint64_t state = 0x72756e;
    for (int i = 0; i < c->main->n_inputs; i++) {
        size_t lanes = (size_t)type_lanes(c->main->inputs[i]->type);
        in[i] = numbers(c->cx, c->rows * lanes);
        for (size_t k = 0; k < c->rows * lanes; k++)
            in[i][k] = (k / lanes % 2 ? 3 : 1) * draw_for(c->imported->inputs[i].type, &state);
    }
    double **main_out = outputs_of(c, c->main, in), **run_out = outputs_of(c, run, in);
    for (int o = 0; o < c->main->n_outputs; o++) {
        size_t lanes = (size_t)type_lanes(c->main->outputs[o].node->type);
        const double *two[2] = {main_out[o], run_out[o]};
        double error = worst_difference(two[0], two[1], 1, c->rows, lanes, NULL);
        if (error > limit_of(c))
            differ(c, o, error, two[0][0], two[1][0], "this is a bug of nfcc: please report it with the model");
    }
}

bool check_flow(Context *cx, const Module *imported, const Module *derived, const Flow *flow,
                const CheckOptions *options, CheckReport *report)
{
    size_t before = cx->diag->errors;
    Check c = check_start(cx, imported, derived, flow, options, report);
    compare_run(&c);
    if (!flow->is_flow) return cx->diag->errors == before;
    run_programs(&c, options);
    report->checked = arena_copy(cx->arena, &c, sizeof c);
    compare_exported(&c);
    if (!flow->no_inverse)
        compare_differences(&c);
    else if (!flow->density_alone)
        compare_one_way(&c);
    if (!flow->no_inverse && !options->x) compare_round_trip(&c);
    compare_score(&c);
    return cx->diag->errors == before;
}

// ---- the plan in f32

static uint32_t *to_words(Context *cx, const double *v, size_t n)
{
    uint32_t *w = ARENA_ARRAY(cx->arena, uint32_t, n + 1);
    for (size_t i = 0; i < n; i++) w[i] = word_of((float)v[i]);
    return w;
}

static uint32_t **output_words(Context *cx, const Program *p, size_t rows)
{
    uint32_t **out = ARENA_ARRAY(cx->arena, uint32_t *, p->n_out + 1);
    for (int i = 0; i < p->n_out; i++) out[i] = ARENA_ARRAY(cx->arena, uint32_t, rows * p->out[i].lanes + 1);
    return out;
}

// contexts (words by context number) -> PREP of each row; NULL where the plan prepares nothing.
static uint32_t *prepared_words(Context *cx, const Plan *plan, size_t rows, const uint32_t *const *contexts)
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
    for (size_t i = 0; i < c->rows * lanes; i++)
        if (isfinite(exact[i]) && fabs(exact[i]) > scale) scale = fabs(exact[i]);
    for (size_t i = 0; i < c->rows * lanes; i++) {
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
static void compare_gradient(Check *c, const Plan *plan, ProgramId id, const char *name, const char *label,
                             const uint32_t *prep, const double *last)
{
    const Function *f = module_function(c->derived, name);
    const Program *p = &plan->programs[id];
    if (!f || !p->exists) return;
    size_t d = c->dims;
    double *exact = numbers(c->cx, c->rows * d), *mine = numbers(c->cx, d), scale = 1;
    double **doubles = ARENA_ARRAY(c->cx->arena, double *, f->n_outputs + 1);
    const double **in = program_inputs(c, last);
    const uint32_t *words[1] = {to_words(c->cx, last, c->rows * d)};
    uint32_t **out = output_words(c->cx, p, c->rows);
    doubles[0] = exact;
    run_program(c, f, last, doubles);
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
    compare_port(c, label, out[0], exact, d);
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
    run_program(c, c->to_latent, c->x, out + first);
    compare_program(c, plan, PROGRAM_TO_LATENT, prep, c->x, latent + first, latent_names + first, 3 - (size_t)first,
                    lanes + first);
    compare_gradient(c, plan, PROGRAM_SCORE, "score", "score", prep, c->x);
    compare_gradient(c, plan, PROGRAM_ACT, "act", "act", prep, c->z);
}

static void check_graph_plan(Check *c, const Plan *plan)
{
    const Program *p = &plan->programs[PROGRAM_RUN];
    const uint32_t **in = ARENA_ARRAY(c->cx->arena, const uint32_t *, c->main->n_inputs + 1);
    double **exact = ARENA_ARRAY(c->cx->arena, double *, c->main->n_outputs + 1);
    for (int i = 0; i < c->main->n_inputs; i++)
        in[i] = to_words(c->cx, c->in[i], c->rows * (size_t)type_lanes(c->main->inputs[i]->type));
    for (int i = 0; i < c->main->n_outputs; i++)
        exact[i] = numbers(c->cx, c->rows * (size_t)type_lanes(c->main->outputs[i].node->type));
    eval_function(c->main, c->rows, (const double *const *)c->in, exact, NULL, NULL);
    uint32_t **out = output_words(c->cx, p, c->rows);
    plan_run(plan, PROGRAM_RUN, c->rows, NULL, in, out);
    for (int i = 0; i < p->n_out; i++) compare_port(c, c->main->outputs[i].name, out[i], exact[i], p->out[i].lanes);
}

bool check_plan(Context *cx, const Module *derived, const Plan *plan, const Flow *flow, const CheckOptions *options,
                double max_error, CheckReport *report)
{
    const struct Checked *done = report->checked; // check_flow has been there: rows and their values in double
    Check c = done ? done->c : check_start(cx, NULL, derived, flow, options, report);
    report->f32_error = report->sample_error = report->log_prob_error = 0;
    report->f32_worst = NULL;
    if (flow->is_flow) {
        if (!done) run_programs(&c, options);
        check_flow_plan(&c, plan);
    } else
        check_graph_plan(&c, plan);
    double limit = max_error > 0 ? max_error : 1e-2;
    if (report->f32_error <= limit) return true;
    static const char *const types[] = {"float32", "float32 with f16 weights", "float32 with bf16 weights"};
    diag_error(cx, NULL, "--max-error accepts it; it may be too coarse for this flow",
               "%s in %s differs from double by %.3g of its scale, above %.3g", report->f32_worst,
               types[plan->weight_type], report->f32_error, limit);
    return false;
}

// ---- golden rows

static const uint64_t GOLDEN_SEED = 0x6e666363;

// Noise rows first .. first + rows of a stream, with the plan's own noise program.
static uint32_t *noise_words(Context *cx, const Plan *plan, uint64_t seed, size_t rows)
{
    const Program *p = &plan->programs[PROGRAM_NOISE];
    uint32_t *key = ARENA_ARRAY(cx->arena, uint32_t, rows * 4), *temperature = ARENA_ARRAY(cx->arena, uint32_t, rows);
    for (size_t r = 0; r < rows; r++) {
        key[r * 4] = (uint32_t)seed;
        key[r * 4 + 1] = (uint32_t)(seed >> 32);
        key[r * 4 + 2] = (uint32_t)r;
        temperature[r] = word_of(1);
    }
    const uint32_t *in[2] = {key, temperature};
    if (p->in[0].kind == PORT_TEMPERATURE) in[0] = temperature, in[1] = key;
    uint32_t **out = output_words(cx, p, rows);
    plan_run(plan, PROGRAM_NOISE, rows, NULL, in, out);
    return out[0];
}

// Lane l over all the values: seed + 1 + l / L, lane l % L; integers and bools 0.
static uint32_t **golden_inputs(Context *cx, const Plan *plan, const PlanValue *values, int n, size_t rows)
{
    uint32_t L = plan->programs[PROGRAM_NOISE].out[0].lanes, *noise = NULL;
    uint32_t **in = ARENA_ARRAY(cx->arena, uint32_t *, n + 1);
    uint64_t lane = 0;
    for (int i = 0; i < n; i++) {
        in[i] = ARENA_ARRAY(cx->arena, uint32_t, rows *values[i].lanes + 1);
        for (uint32_t l = 0; l < values[i].lanes; l++, lane++) {
            if (lane % L == 0 || !noise) noise = noise_words(cx, plan, GOLDEN_SEED + 1 + lane / L, rows);
            for (size_t r = 0; r < rows && values[i].dtype == T_F32; r++)
                in[i][r * values[i].lanes + l] = noise[r * L + lane % L];
        }
    }
    return in;
}

static const uint32_t *port_words(const Program *p, uint32_t *const *out, PortKind kind)
{
    for (int i = 0; i < p->n_out; i++)
        if (p->out[i].kind == (uint32_t)kind) return out[i];
    return NULL;
}

static void put_rows(uint32_t *golden, size_t stride, size_t at, const uint32_t *words, size_t lanes, size_t rows)
{
    for (size_t r = 0; r < rows; r++) memcpy(golden + r * stride + at, words + r * lanes, lanes * 4);
}

// Row by row: x and log_prob of to_event at the drawn z, z and log_det of to_latent at that x. Of a flow with one
// direction its own half, of a density alone its log_prob, and x is drawn where nothing makes it.
static void golden_flow(Context *cx, Plan *plan, size_t rows)
{
    const Program *event = &plan->programs[PROGRAM_TO_EVENT], *latent = &plan->programs[PROGRAM_TO_LATENT];
    size_t d = plan->event.lanes, half = d + 1, at = 0;
    size_t stride = (event->exists ? half : 0) + (!latent->exists ? 0 : latent->n_out > 1 ? half : 1);
    uint32_t **contexts = golden_inputs(cx, plan, plan->contexts, plan->n_contexts, rows);
    uint32_t *prep = prepared_words(cx, plan, rows, (const uint32_t *const *)contexts),
             *golden = ARENA_ARRAY(cx->arena, uint32_t, rows *stride + 1);
    const uint32_t *x = noise_words(cx, plan, GOLDEN_SEED, rows);
    if (event->exists) {
        uint32_t **out = output_words(cx, event, rows);
        plan_run(plan, PROGRAM_TO_EVENT, rows, prep, &x, out);
        x = port_words(event, out, PORT_X);
        put_rows(golden, stride, 0, x, d, rows);
        put_rows(golden, stride, d, port_words(event, out, PORT_LOG_PROB), 1, rows);
        at = half;
    }
    if (latent->exists) {
        uint32_t **out = output_words(cx, latent, rows);
        plan_run(plan, PROGRAM_TO_LATENT, rows, prep, &x, out);
        const uint32_t *z = port_words(latent, out, PORT_Z);
        if (z) put_rows(golden, stride, at, z, d, rows);
        put_rows(golden, stride, at + (z ? d : 0), port_words(latent, out, z ? PORT_LOG_DET : PORT_LOG_PROB), 1, rows);
    }
    plan->golden = golden;
    plan->golden_words = (uint32_t)(rows * stride);
}

static void golden_graph(Context *cx, Plan *plan, size_t rows)
{
    const Program *p = &plan->programs[PROGRAM_RUN];
    uint32_t **in = golden_inputs(cx, plan, plan->inputs, plan->n_inputs, rows), **out = output_words(cx, p, rows);
    plan_run(plan, PROGRAM_RUN, rows, NULL, (const uint32_t *const *)in, out);
    size_t stride = 0, at = 0;
    for (int i = 0; i < p->n_out; i++) stride += p->out[i].lanes;
    uint32_t *golden = ARENA_ARRAY(cx->arena, uint32_t, rows *stride + 1);
    for (int i = 0; i < p->n_out; i++) {
        put_rows(golden, stride, at, out[i], p->out[i].lanes, rows);
        at += p->out[i].lanes;
    }
    plan->golden = golden;
    plan->golden_words = (uint32_t)(rows * stride);
}

void plan_golden(Context *cx, Plan *plan)
{
    size_t rows = plan->event.lanes > 256 ? 1 : 4;
    plan->golden_rows = (uint32_t)rows;
    if (plan->event.lanes)
        golden_flow(cx, plan, rows);
    else
        golden_graph(cx, plan, rows);
}
