// Every compile proves itself. In double, here: the exported graph's own outputs against the derived programs, the
// round trip, and the log-determinant against finite differences (check_differences.c). check_plan.c then compares the
// Plan with these numbers; golden.c makes the rows that policy.so carries.
//
// Rows: z from the base, contexts standard normal (integers 0, images in [0, 1]), x = to_event(z), inside the support.
// There are 32; of a model of more than 2^25 multiplications a row fewer, at least 8: its lanes are many samples
// already.
#include "check.h"
#include "base.h"
#include "check_score.h"

#include <math.h>
#include <string.h>

enum { DEFAULT_ROWS = 32, LEAST_ROWS = 8, MOST_WORK = 1 << 30 };

// What is accepted, relative to the sizes that are compared. Constants were rounded to f32 by the exporter, to 16 bits
// in a graph that computes so.
static const double EXPORTED_ERROR = 1e-5, EXPORTED_ERROR_16 = 2e-3, ROUND_TRIP_ERROR = 1e-3;
static const double LOG_2_PI_HALF = 0.9189385332046727;

double *check_numbers(Context *cx, size_t n) { return ARENA_ARRAY(cx->arena, double, n + 1); }

static void draw_inputs(Check *c, const CheckOptions *options)
{
    uint64_t state = options->seed ? options->seed : 0x6e666363;
    c->in = ARENA_ARRAY(c->cx->arena, double *, c->main->n_inputs + 1);
    for (int i = 0; i < c->main->n_inputs; i++) {
        size_t n = c->rows * (size_t)type_lanes(c->main->inputs[i]->type);
        c->in[i] = check_numbers(c->cx, n);
        draw_input(c->imported->inputs[i].type, c->rows, &state, c->in[i]);
    }
    int given = !options->contexts ? 0 : c->flow->is_flow ? c->flow->n_contexts : c->main->n_inputs;
    for (int k = 0; k < given; k++) { // of a graph that is no flow: all its inputs
        int port = c->flow->is_flow ? c->flow->contexts[k] : k;
        if (options->contexts[k])
            memcpy(c->in[port], options->contexts[k],
                   c->rows * (size_t)type_lanes(c->main->inputs[port]->type) * sizeof(double));
    }
    if (!c->flow->is_flow) return;
    c->z = check_numbers(c->cx, c->rows * c->dims);
    for (size_t k = 0; k < c->rows * c->dims; k++) c->z[k] = (double)(float)base_draw(c->flow->base_kind, &state);
}

const double **check_inputs(Check *c, const double *last)
{
    const double **in = ARENA_ARRAY(c->cx->arena, const double *, c->flow->n_contexts + 2);
    for (int i = 0; i < c->flow->n_contexts; i++) in[i] = c->in[c->flow->contexts[i]];
    in[c->flow->n_contexts] = last;
    return in;
}

void check_run_program(Check *c, const Function *f, const double *last, double *const *out)
{
    eval_function(f, c->rows, check_inputs(c, last), out, NULL, NULL);
}

// x = to_event(z), back = to_latent(x).
static void run_there_and_back(Check *c)
{
    double *event[4] = {c->x, c->log_det_z, c->log_prob_z, NULL}, *latent[3] = {c->back, c->log_det_x, c->log_prob_x};
    check_run_program(c, c->to_event, c->z, event);
    check_run_program(c, c->to_latent, c->x, latent);
    int port = c->flow->density ? c->flow->event_input : c->flow->latent_input;
    memcpy(c->in[port], c->flow->density ? c->x : c->z, c->rows * c->dims * sizeof(double));
    c->exported = NULL;
}

static void run_both(Check *c, const CheckOptions *options)
{
    size_t n = c->rows;
    c->x = check_numbers(c->cx, n * c->dims);
    c->back = check_numbers(c->cx, n * c->dims);
    c->log_det_x = check_numbers(c->cx, n);
    c->log_prob_x = check_numbers(c->cx, n);
    c->log_det_z = check_numbers(c->cx, n);
    c->log_prob_z = check_numbers(c->cx, n);
    // Given events stand for the latents that they belong to; so everything below holds for them too.
    if (options->x) check_run_program(c, c->to_latent, options->x, (double *[]){c->z, NULL, NULL});
    run_there_and_back(c);
    for (int tries = 0; !options->x && check_redraw(c, tries); tries++) run_there_and_back(c);
}

// A flow with one direction: the end that it starts from is drawn or given. Both log-determinants are then sizes of the
// one.
static void run_one_way(Check *c, const CheckOptions *options)
{
    bool density = c->flow->density;
    size_t n = c->rows * c->dims;
    const double *given = density ? options->x : options->z;
    double *drawn = density ? c->in[c->flow->event_input] : c->z, *image = check_numbers(c->cx, n);
    if (given) memcpy(drawn, given, n * sizeof *drawn);
    c->x = density ? drawn : image;
    c->z = c->back = density ? image : drawn;
    c->log_det_x = c->log_det_z = check_numbers(c->cx, c->rows);
    c->log_prob_x = c->log_prob_z = check_numbers(c->cx, c->rows);
    double *all[] = {image, c->log_det_x, c->log_prob_x, NULL};
    check_run_program(c, density ? c->to_latent : c->to_event, drawn, c->flow->density_alone ? &c->log_prob_x : all);
    if (!density) memcpy(c->in[c->flow->latent_input], drawn, n * sizeof *drawn);
}

void check_run_programs(Check *c, const CheckOptions *options)
{
    if (c->to_latent && c->to_event)
        run_both(c, options);
    else
        run_one_way(c, options);
}

// Worst |a - b| relative to 1 + |a| + extra[row], and where; NaN and unequal infinities count as infinite.
static double worst_difference(const double *a, const double *b, double scale, size_t rows, size_t lanes,
                               const double *extra, size_t *where)
{
    double worst = 0;
    for (size_t k = 0; k < rows * lanes; k++) {
        double x = a[k], y = scale * b[k];
        if (x == y || (isnan(x) && isnan(y))) continue;
        double d = fabs(x - y) / (1 + fabs(x) + (extra ? extra[k / lanes] : 0));
        if (d <= worst) continue;
        worst = isnan(d) ? INFINITY : d;
        if (where) *where = k;
        if (isnan(d)) break;
    }
    return worst;
}

static double limit_of(const Check *c)
{
    return module_note(c->imported, "floats") ? EXPORTED_ERROR_16 : EXPORTED_ERROR;
}

static void differ(Check *c, int output, double error, double limit, double exported, double derived, const char *hint)
{
    diag_error(c->cx, NULL, hint,
               "output '%s' differs from what the graph's structure gives: %.9g exported, %.9g derived (relative error "
               "%.3g, limit %.0e)",
               c->imported->outputs[output].name, exported, derived, error, limit);
}

// All outputs of a function on its own inputs.
static double **outputs_of(Check *c, const Function *f, double *const *in)
{
    double **out = ARENA_ARRAY(c->cx->arena, double *, f->n_outputs + 1);
    for (int i = 0; i < f->n_outputs; i++)
        out[i] = check_numbers(c->cx, c->rows * (size_t)type_lanes(f->outputs[i].node->type));
    eval_function(f, c->rows, (const double *const *)in, out, NULL, NULL);
    return out;
}

double **check_exported(Check *c)
{
    if (!c->exported) c->exported = outputs_of(c, c->main, c->in);
    return c->exported;
}

static double *exported_output(Check *c, int output) { return check_exported(c)[output]; }

// Sum of absolute terms that a row's log_prob is made of, beside its own value.
static double *term_sizes(Check *c)
{
    double *size = check_numbers(c->cx, c->rows);
    for (size_t r = 0; r < c->rows; r++) {
        size[r] = fabs(c->log_det_x[r]);
        for (size_t k = 0; k < c->dims; k++) size[r] += 0.5 * c->back[r * c->dims + k] * c->back[r * c->dims + k] + 1;
    }
    return size;
}

// What the difference of an exported number looks like, over the rows: what to do about it, or NULL.
static const char *what_is_wrong(const Check *c, const double *claimed, const double *derived, double error)
{
    double least = INFINITY, most = -INFINITY, low = INFINITY, high = -INFINITY;
    for (size_t r = 0; r < c->rows; r++) {
        least = fmin(least, claimed[r] - derived[r]);
        most = fmax(most, claimed[r] - derived[r]);
        low = fmin(low, claimed[r] / derived[r]);
        high = fmax(high, claimed[r] / derived[r]);
    }
    Arena *a = c->cx->arena;
    for (size_t r = 0; r < c->rows; r++)
        if (isnan(claimed[r]))
            return "the graph itself gives NaN on drawn rows, as 0 times what a branch that is not taken overflows to: "
                   "write "
                   "its choices with where; or --verify-inputs gives rows that it can compute";
    double normaliser = (double)c->dims * LOG_2_PI_HALF;
    if (most - least <= 1e-5 * (1 + fabs(most)) && fabs(fabs(most) - normaliser) <= 1e-4 * normaliser)
        return arena_format(a, "the normaliser %zu log(2 pi) / 2 is missing: subtract it, or export (z, log_det)",
                            c->dims);
    if (most - least <= 1e-5 * (1 + fabs(most)))
        return arena_format(a, "it is %.6g too much in every row: leave that constant out", most);
    if (high - low <= 1e-5 * fabs(high))
        return arena_format(a, "it is %.6g times that in every row: leave the factor out", high);
    if (error <= 1e-2)
        return "a guard like log(1 - a^2 + 1e-6), constants rounded at the export, or the error of an integral's "
               "quadrature may be why: export without them, "
               "or --max-graph-error 1e-2 takes what the structure gives";
    return NULL;
}

// One exported number a row against the derived one; the worst row is shown.
static void compare_scalar(Check *c, int output, const double *derived, double scale, const double *extra,
                           const char *hint)
{
    if (output < 0) return;
    size_t at = 0;
    double *claimed = exported_output(c, output), *wanted = check_numbers(c->cx, c->rows);
    double error = worst_difference(claimed, derived, scale, c->rows, 1, extra, &at);
    if (error > c->report->exported_error) c->report->exported_error = error;
    if (error <= c->graph_limit) return;
    for (size_t r = 0; r < c->rows; r++) wanted[r] = scale * derived[r];
    const char *better = what_is_wrong(c, claimed, wanted, error);
    differ(c, output, error, c->graph_limit, claimed[at], wanted[at], better ? better : hint);
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
    compare_scalar(
        c, f->log_prob_output, f->density ? c->log_prob_x : c->log_prob_z, f->log_prob_negated ? -1 : 1, extra,
        "what is left of it without the base is not the flow's log-determinant (a loss in bits or per dimension "
        "is no log_prob); --entries run ships the graph as it is");
    int output = f->density ? f->latent_output : f->event_output;
    if (output < 0 || output >= c->imported->n_outputs) return;
    double *claimed = exported_output(c, output), *derived = f->density ? c->back : c->x;
    if (!f->density && f->has_clip) {
        double *clipped = check_numbers(c->cx, c->rows * c->dims);
        for (size_t i = 0; i < c->rows * c->dims; i++) clipped[i] = fmin(fmax(c->x[i], f->clip_lo), f->clip_hi);
        for (size_t i = 0; i < c->rows * c->dims; i++) claimed[i] = fmin(fmax(claimed[i], f->clip_lo), f->clip_hi);
        derived = clipped;
    }
    size_t at = 0;
    double error = worst_difference(claimed, derived, 1, c->rows, c->dims, NULL, &at);
    if (error > c->report->exported_error) c->report->exported_error = error;
    if (error > limit_of(c))
        differ(c, output, error, limit_of(c), claimed[at], derived[at],
               "this is a bug of nfcc: please report it with the model");
}

static void compare_round_trip(Check *c)
{
    double error = worst_difference(c->z, c->back, 1, c->rows, c->dims, NULL, NULL);
    c->report->round_trip = error;
    if (error > ROUND_TRIP_ERROR)
        diag_error(c->cx, NULL,
                   "a squash or a clip saturates on these rows, or a matrix is nearly singular: --verify-inputs gives "
                   "typical rows; or the latent is no standard normal: --base (uniform: on 0 to 1)",
                   "to_latent(to_event(z)) differs from z by %.3g (relative)", error);
}

// Is there an event for every latent? Where there is none, nothing else can be compared.
static bool has_events(Check *c)
{
    size_t without = 0;
    for (size_t r = 0; r < c->rows; r++) without += !all_finite(c->x + r * c->dims, c->dims);
    if (without)
        diag_error(
            c->cx, NULL,
            "what x goes to is bounded (by a squash, an exponential, a power) where the base is not: --base says "
            "another (uniform: on 0 to 1); or a squash of the event belongs into the graph as its inverse (atanh, "
            "log); or no such contexts as are drawn occur: --verify-inputs",
            "%zu of %zu latents drawn from the base have no event: to_event gives no finite number", without, c->rows);
    return !without;
}

// Where a function of one lane is not proved to rise, or its pieces not to overlap, two events may have one latent;
// to_event's own events do not show it. Events between two of the rows do.
static void compare_events(Check *c)
{
    uint64_t state = 0x65766e74;
    size_t n = c->rows * c->dims;
    double *x = check_numbers(c->cx, n), *z = check_numbers(c->cx, n), *back = check_numbers(c->cx, n);
    for (size_t r = 0; r < c->rows; r++) {
        double share = draw_uniform(&state);
        for (size_t k = r * c->dims; k < (r + 1) * c->dims; k++)
            x[k] = c->x[k] + share * (c->x[(k + c->dims) % n] - c->x[k]);
    }
    check_run_program(c, c->to_latent, x, (double *[]){z, NULL, NULL});
    check_run_program(c, c->to_event, z, (double *[]){back, NULL, NULL, NULL});
    double error = worst_difference(x, back, 1, c->rows, c->dims, NULL, NULL);
    if (error > ROUND_TRIP_ERROR)
        diag_error(c->cx, NULL,
                   "no density belongs to it: the pieces of a choice may not overlap; where a spline falls, train with "
                   "widths and heights above 0; where one was left out, export with an example within its bounds",
                   "to_event(to_latent(x)) differs from x by %.3g (relative): several events have one latent", error);
}

// ---- score

static void compare_score(Check *c)
{
    const Function *score = module_function(c->derived, "score");
    if (score) check_score(c->cx, c->to_latent, score, c->rows, check_inputs(c, c->x), &c->report->score_error);
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

Check check_start(Context *cx, const Module *imported, const Module *derived, const Flow *flow,
                  const CheckOptions *options, CheckReport *report)
{
    Check c = {.cx = cx, .derived = derived, .flow = flow, .report = report};
    c.imported = imported ? imported : derived;
    c.main = module_function(c.imported, imported ? "main" : "run");
    c.to_latent = module_function(derived, "to_latent");
    c.to_event = module_function(derived, "to_event");
    c.rows = options->rows ? options->rows : default_rows(c.main);
    c.dims = (size_t)flow->dims;
    c.graph_limit = options->max_graph_error > 0 ? options->max_graph_error : limit_of(&c);
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
        Type type = c->main->inputs[i]->type;
        size_t lanes = (size_t)type_lanes(type);
        in[i] = check_numbers(c->cx, c->rows * lanes);
        draw_input(c->imported->inputs[i].type, c->rows, &state, in[i]);
        for (size_t k = 0; type.dtype == T_F32 && k < c->rows * lanes; k++)
            if (k / lanes % 2) in[i][k] *= 3;
    }
    double **main_out = outputs_of(c, c->main, in), **run_out = outputs_of(c, run, in);
    for (int o = 0; o < c->main->n_outputs; o++) {
        size_t lanes = (size_t)type_lanes(c->main->outputs[o].node->type);
        double *main = main_out[o], *now = run_out[o];
        for (size_t k = 0; k < c->rows * lanes; k++) // outside the domain 0 * NaN may have gone
            if (isnan(main[k])) now[k] = main[k];
        size_t at = 0;
        double error = worst_difference(main, now, 1, c->rows, lanes, NULL, &at);
        if (error > limit_of(c))
            differ(c, o, error, limit_of(c), main[at], now[at],
                   "this is a bug of nfcc: please report it with the model");
    }
}

bool check_flow(Context *cx, const Module *imported, const Module *derived, const Flow *flow,
                const CheckOptions *options, CheckReport *report)
{
    size_t before = cx->diag->errors;
    Check c = check_start(cx, imported, derived, flow, options, report);
    compare_run(&c);
    if (!flow->is_flow) return cx->diag->errors == before;
    check_run_programs(&c, options);
    report->checked = arena_copy(cx->arena, &c, sizeof c);
    if (!flow->no_inverse && !options->x && !has_events(&c)) return false;
    compare_exported(&c);
    if (!flow->no_inverse)
        check_differences(&c);
    else if (!flow->density_alone)
        check_one_way(&c);
    if (!flow->no_inverse && !options->x) compare_round_trip(&c);
    if (!flow->no_inverse && (flow->unproved || flow->has_pieces)) compare_events(&c);
    if (cx->diag->errors == before) compare_score(&c); // on rows that are right
    return cx->diag->errors == before;
}
