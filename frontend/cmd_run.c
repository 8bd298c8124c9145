// nfcc run MODEL.onnx|POLICY.so ENTRY ...: a policy is opened, a model is compiled to a temporary policy first, or,
// with --backend interp, its derived programs are run by the double interpreter behind the same entries.
#include "cli_entry.h"

#include "cli_rows.h"

#include <elf.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

// The first option given that means nothing where no noise is drawn.
static const char *noise_option(const Options *o)
{
    static const OptionId about_noise[] = {OPT_seed, OPT_first_row, OPT_temperature};
    for (size_t i = 0; i < sizeof about_noise / sizeof *about_noise; i++)
        if (o->value[about_noise[i]]) return option_spelling(about_noise[i]);
    return NULL;
}

static int request_of(const Options *o, EntryRequest *q)
{
    double temperature = 1;
    uint64_t threads = 1;
    *q = (EntryRequest){.entry = o->args[1],
                        .inputs = o->args + 2,
                        .n_inputs = o->n_args - 2,
                        .dir = o->value[OPT_output],
                        .noise_option = noise_option(o)};
    if (!q->dir || !*q->dir) return usage_error("-o DIR is missing: where the outputs go");
    if (!option_u64(o, OPT_samples, &q->samples) || !option_u64(o, OPT_seed, &q->seed) ||
        !option_u64(o, OPT_first_row, &q->first_row) || !option_double(o, OPT_temperature, &temperature) ||
        !option_u64(o, OPT_run_threads, &threads))
        return WRONG_USAGE;
    if (!isfinite((float)temperature))
        return usage_error("--temperature %s: too large for float32", o->value[OPT_temperature]);
    if (threads > 1024) return usage_error("--threads %s: at most 1024", o->value[OPT_run_threads]);
    if (o->value[OPT_samples] && !q->samples) return usage_error("--samples 0: at least 1 is wanted");
    if (!entry_bit(q->entry))
        return usage_error("'%.100s' is no entry; entries: %s", q->entry, entry_list(o->arena, ~0u));
    q->threads = (unsigned)threads;
    q->temperature = (float)temperature;
    return DONE;
}

static bool is_policy(const char *path)
{
    char magic[SELFMAG];
    return file_head(path, magic, SELFMAG) == SELFMAG && !memcmp(magic, ELFMAG, SELFMAG);
}

// ---- the double interpreter as an engine
typedef struct {
    Session *s;
    const Build *b;
    nfcc_info info;
    Arena *scratch; // of one piece
} Interp;

static void describe(Interp *e)
{
    const Module *m = e->b->imported;
    const Flow *f = &e->b->flow;
    Arena *arena = e->s->arena;
    e->info = (nfcc_info){.name = e->s->diag.file, .entries = plan_entries(e->b->plan), .notes = e->b->plan->notes};
    e->info.n_inputs = (size_t)m->n_inputs, e->info.inputs = port_values(arena, m->inputs, NULL, m->n_inputs);
    e->info.n_outputs = (size_t)m->n_outputs, e->info.outputs = port_values(arena, m->outputs, NULL, m->n_outputs);
    if (!f->is_flow) return;
    e->info.n_contexts = (size_t)f->n_contexts,
    e->info.contexts = port_values(arena, m->inputs, f->contexts, f->n_contexts);
    e->info.event = port_value(&(Port){"x", f->event_type, 0});
    e->info.event_size = (size_t)f->dims;
}

static double *doubles_of(Arena *arena, const nfcc_value *v, const void *data, size_t rows, size_t repeat)
{
    double *out = ARENA_ARRAY(arena, double, rows *repeat * v->size + 1);
    for (size_t r = 0; r < rows * repeat; r++) {
        for (size_t i = 0; i < v->size; i++) {
            size_t at = r / repeat * v->size + i;
            double d = v->type == NFCC_TYPE_I64    ? (double)((const int64_t *)data)[at]
                       : v->type == NFCC_TYPE_BOOL ? ((const unsigned char *)data)[at]
                                                   : (double)((const float *)data)[at];
            out[r * v->size + i] = d;
        }
    }
    return out;
}

// The policy's own noise: its program `noise`, so that every backend draws the same numbers.
static const float *draw(const Interp *e, const nfcc_noise *noise, size_t rows)
{
    Arena *arena = e->scratch;
    size_t dims = e->info.event_size;
    uint32_t *seed = ARENA_ARRAY(arena, uint32_t, rows * 4), *temperature = ARENA_ARRAY(arena, uint32_t, rows);
    uint32_t *z = ARENA_ARRAY(arena, uint32_t, rows *dims + 1);
    for (size_t r = 0; r < rows; r++) {
        uint64_t row = noise->next + r;
        const uint32_t words[4] = {(uint32_t)noise->seed, (uint32_t)(noise->seed >> 32), (uint32_t)row,
                                   (uint32_t)(row >> 32)};
        memcpy(seed + r * 4, words, sizeof words);
        memcpy(temperature + r, &noise->temperature, 4);
    }
    const Program *p = &e->b->plan->programs[PROGRAM_NOISE];
    const uint32_t *in[4] = {0};
    for (int i = 0; i < p->n_in && i < 4; i++) in[i] = p->in[i].kind == PORT_SEED ? seed : temperature;
    plan_run(e->b->plan, PROGRAM_NOISE, rows, NULL, in, &z);
    return (const float *)z;
}

static void write_integers(const nfcc_value *v, const double *from, size_t rows, void *to)
{
    for (size_t k = 0; k < rows * v->size; k++)
        if (v->type == NFCC_TYPE_I64)
            ((int64_t *)to)[k] = int_of_real(from[k]);
        else
            ((unsigned char *)to)[k] = from[k] != 0;
}

static nfcc_status run_graph(Interp *e, const EntryCall *c)
{
    const Module *m = e->b->imported;
    const Function *f = module_function(e->b->derived ? e->b->derived : m, "run");
    if (!f) f = module_function(m, "main");
    const double **in = ARENA_ARRAY(e->scratch, const double *, m->n_inputs + 1);
    double **out = ARENA_ARRAY(e->scratch, double *, m->n_outputs + 1);
    for (int i = 0; i < m->n_inputs; i++) in[i] = doubles_of(e->scratch, &e->info.inputs[i], c->in[i], c->rows, 1);
    for (int i = 0; i < m->n_outputs; i++) {
        const nfcc_value *v = &e->info.outputs[i];
        out[i] = v->type == NFCC_TYPE_F32 ? c->out[i] : ARENA_ARRAY(e->scratch, double, c->rows * v->size + 1);
    }
    eval_function(f, c->rows, in, out, NULL, NULL);
    for (int i = 0; i < m->n_outputs; i++)
        if (e->info.outputs[i].type != NFCC_TYPE_F32) write_integers(&e->info.outputs[i], out[i], c->rows, c->out[i]);
    return NFCC_OK;
}

// Of the n candidates of each row the first that none exceeds; NaN loses.
static nfcc_status pick_best(Interp *e, const EntryCall *c, const double *const *in)
{
    const Function *f = module_function(e->b->derived, "to_event");
    size_t total = c->rows * c->n, dims = e->info.event_size;
    double *x = ARENA_ARRAY(e->scratch, double, total *dims + 1);
    double *log_prob = ARENA_ARRAY(e->scratch, double, total + 1);
    if (!f || !eval_output(f, total, in, "x", x) || !eval_output(f, total, in, "log_prob", log_prob))
        return NFCC_NO_ENTRY;
    for (size_t r = 0; r < c->rows; r++) {
        size_t best = r * c->n;
        for (size_t i = best; i < (r + 1) * c->n; i++)
            if (log_prob[i] > log_prob[best] || (isnan(log_prob[best]) && !isnan(log_prob[i]))) best = i;
        memcpy((double *)c->out[0] + r * dims, x + best * dims, dims * sizeof *x);
        ((double *)c->out[1])[r] = log_prob[best];
    }
    return NFCC_OK;
}

static nfcc_status call_scratch(Interp *e, const EntryCall *c)
{
    static const struct {
        unsigned entry;
        const char *program, *out[2];
    } rows[] = {{NFCC_HAS_TO_LATENT, "to_latent", {"z", "log_det"}},
                {NFCC_HAS_TO_EVENT, "to_event", {"x", "log_det"}},
                {NFCC_HAS_LOG_PROB, "to_latent", {"log_prob"}},
                {NFCC_HAS_SCORE, "score", {"score"}},
                {NFCC_HAS_SAMPLE, "to_event", {"x"}},
                {NFCC_HAS_SAMPLE_AND_LOG_PROB, "to_event", {"x", "log_prob"}},
                {NFCC_HAS_ACT, "to_event", {"act"}}};
    if (c->entry == NFCC_HAS_RUN) return run_graph(e, c);
    size_t total = c->rows * c->n, n = e->info.n_contexts;
    const float *event = c->x ? c->x : c->noise.z ? c->noise.z : draw(e, &c->noise, total);
    const double **in = ARENA_ARRAY(e->scratch, const double *, n + 1);
    for (size_t i = 0; i < n; i++) in[i] = doubles_of(e->scratch, &e->info.contexts[i], c->contexts[i], c->rows, c->n);
    in[n] = doubles_of(e->scratch, &e->info.event, event, total, 1);
    if (c->entry == NFCC_HAS_SAMPLE_BEST) return pick_best(e, c, in);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const Function *f = module_function(e->b->derived, rows[i].program);
        const Function *act = c->entry == NFCC_HAS_ACT ? module_function(e->b->derived, "act") : NULL;
        if (act) f = act;
        if (rows[i].entry != c->entry || !f) continue;
        for (int k = 0; k < 2 && rows[i].out[k]; k++)
            if (!eval_output(f, total, in, rows[i].out[k], c->out[k]) &&
                !(c->entry == NFCC_HAS_ACT && eval_output(f, total, in, "x", c->out[k])))
                return NFCC_NO_ENTRY;
        return NFCC_OK;
    }
    return NFCC_NO_ENTRY;
}

// What a piece needs is given back after it: memory does not grow with the rows.
static nfcc_status call_interp(void *user, const EntryCall *c)
{
    Interp *e = user;
    e->scratch = arena_new();
    nfcc_status status = call_scratch(e, c);
    arena_free(e->scratch);
    return status;
}

// ---- the command
// Closes it; NULL: it could not be opened, for the reason `code`.
static int run_policy(Arena *arena, nfcc_policy *p, int code, const EntryRequest *q)
{
    if (!p) return code;
    EntryEngine engine = entry_native(p);
    code = entry_run(arena, &engine, q);
    nfcc_close(p);
    return code;
}

static int run_interp(Session *s, const EntryRequest *q)
{
    Build b;
    bool verify = !s->options->value[OPT_no_verify];
    if (!build_run(s, NULL, verify, NULL, NULL, &b)) return WRONG_MODEL;
    Interp e = {.s = s, .b = &b};
    describe(&e);
    session_stage(s, "running");
    EntryEngine engine = {&e, &e.info, true, call_interp};
    return entry_run(s->arena, &engine, q);
}

static int run_model(Session *s, const EntryRequest *q)
{
    Build b;
    int code;
    size_t native_rows;
    bool verify = !s->options->value[OPT_no_verify];
    if (!build_run(s, NULL, verify, NULL, NULL, &b)) return WRONG_MODEL;
    nfcc_policy *p = build_opened(s, &b, verify, &native_rows, &code);
    session_stage(s, "running");
    return run_policy(s->arena, p, code, q);
}

int cmd_run(const Options *o)
{
    EntryRequest q;
    FlowOptions f;
    const char *backend = o->value[OPT_backend];
    if (request_of(o, &q)) return WRONG_USAGE;
    if (access(o->args[0], F_OK)) {
        fprintf(stderr, "nfcc: error: %s: cannot be read: %s\n", o->args[0], strerror(errno));
        return IO_FAILED;
    }
    if (is_policy(o->args[0])) {
        const char *compiles = option_of_compile(o);
        if (compiles) return usage_error("%s belongs to a model: '%.200s' is compiled already", compiles, o->args[0]);
        int why;
        nfcc_policy *p = open_policy(o->arena, o->args[0], &why);
        return run_policy(o->arena, p, why, &q);
    }
    Session *s = session_new(o, o->args[0]);
    bool interp = backend && !strcmp(backend, "interp");
    if (!flow_options(s, &f) || (!interp && !backend_of(s))) return session_finish(s, WRONG_USAGE);
    int code = interp ? run_interp(s, &q) : run_model(s, &q);
    if (code == WRONG_MODEL && session_code(s) != DONE) code = DONE;
    return session_finish(s, code);
}
