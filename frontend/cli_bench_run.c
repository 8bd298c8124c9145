// Calls of one entry, each timed by itself. All memory and all inputs are made before the first call: contexts and
// latents are drawn from a fixed stream, the event is what the policy itself makes of a latent, so that it lies inside
// the support. Between two calls nothing is done but to read the clock and to keep a number; of --cold, other memory is
// read.
#include "cli_bench.h"
#include "cli_entry.h"
#include "cli_rows.h"
#include "flow.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_CALLS = 1 << 22, MOST_LANES = 1 << 28 };

typedef struct {
    const BenchEngine *engine;
    const BenchCase *what;
    Arena *arena;
    unsigned entry;
    bool prepares;
    size_t rows, n, items;
    uint64_t random;
    const void **contexts, **in; // in: of the graph
    void **out;                  // of the graph
    float *z, *x, *wide, *one;   // wide, one: outputs of a row's event and of one number
    void *prepared, *work;
    nfcc_noise noise;
    const Function *function; // interpreter: program, inputs, room for its first output
    const double **doubles;
    double *double_out;
} Caller;

// ---- inputs
// Near enough to a normal, and fast: the sum of four uniforms with variance 1, bounded by 3.5.
static float normal(Caller *c)
{
    double sum = -2;
    for (int i = 0; i < 4; i++) sum += draw_uniform(&c->random);
    return (float)(sum * 1.7320508075688772);
}

static float *normals(Caller *c, size_t count)
{
    float *data = ARENA_ARRAY(c->arena, float, count + 16);
    for (size_t i = 0; i < count; i++) data[i] = normal(c);
    return data;
}

static const void *rows_of(Caller *c, const PlanValue *v)
{
    size_t count = c->rows * v->lanes;
    if (v->dtype == T_F32) return normals(c, count);
    if (v->dtype == T_I64) return ARENA_ARRAY(c->arena, int64_t, count + 16); // zeros: an index of every table
    return ARENA_ARRAY(c->arena, unsigned char, count + 16);
}

static const void **all_rows(Caller *c, const PlanValue *values, int n)
{
    const void **data = ARENA_ARRAY(c->arena, const void *, n + 1);
    for (int i = 0; i < n; i++) data[i] = rows_of(c, &values[i]);
    return data;
}

static const double *as_doubles(Caller *c, const PlanValue *v, const void *data, size_t repeat)
{
    double *out = ARENA_ARRAY(c->arena, double, c->rows *repeat * v->lanes + 1);
    for (size_t i = 0; v->dtype == T_F32 && i < c->rows * repeat * v->lanes; i++)
        out[i] = (double)((const float *)data)[i / v->lanes / repeat * v->lanes + i % v->lanes];
    return out;
}

static const float *given_of(const Caller *c) { return entry_takes_x(c->entry) ? c->x : c->z; }

// ---- the two engines
static const Function *program_of(const Build *b, unsigned entry)
{
    ProgramId id = bench_program(b->plan, entry);
    return id == PROGRAM_RUN ? module_function(b->imported, "main") : module_function(b->derived, program_name(id));
}

static const char *make_interpreter(Caller *c)
{
    const Plan *p = c->engine->build->plan;
    bool graph = c->entry == NFCC_HAS_RUN;
    c->function = program_of(c->engine->build, c->entry);
    if (!c->entry || c->prepares) return "the interpreter prepares nothing";
    if (c->what->threads > 1) return "the interpreter has one thread";
    if (!c->function) return "the interpreter has no such program";
    int n = graph ? p->n_inputs : p->n_contexts;
    c->doubles = ARENA_ARRAY(c->arena, const double *, n + 2);
    for (int i = 0; i < n; i++)
        c->doubles[i] = as_doubles(c, graph ? &p->inputs[i] : &p->contexts[i], graph ? c->in[i] : c->contexts[i], c->n);
    const float *given = given_of(c);
    double *event = ARENA_ARRAY(c->arena, double, c->items * p->event.lanes + 1);
    for (size_t i = 0; i < c->items * p->event.lanes; i++) event[i] = (double)given[i];
    c->doubles[n] = event;
    c->double_out = ARENA_ARRAY(c->arena, double, c->items *(size_t)type_lanes(c->function->outputs[0].node->type) + 1);
    return NULL;
}

static const char *make_native(Caller *c)
{
    const nfcc_policy *p = c->engine->policy;
    const nfcc_info *info = nfcc_get_info(p);
    if (c->entry && !(info->entries & c->entry)) return "the policy has no such entry";
    c->work = arena_alloc(c->arena, info->work_size + 1);
    if (c->entry == NFCC_HAS_RUN) return NULL;
    size_t size = nfcc_prepared_size(p, c->rows);
    if (!size) return "too many rows";
    c->prepared = arena_alloc(c->arena, size);
    nfcc_status status = nfcc_prepare(p, c->rows, c->contexts, c->prepared, c->work);
    return status == NFCC_OK ? NULL : nfcc_status_text(status);
}

// What a latent becomes; where the policy cannot sample, a normal number may be outside the support, which costs the
// same.
static void make_event(Caller *c)
{
    nfcc_policy *p = c->engine->policy;
    size_t dims = c->engine->build->plan->event.lanes;
    c->x = normals(c, c->items * dims);
    if (!p || !c->prepared || !(nfcc_get_info(p)->entries & NFCC_HAS_TO_EVENT)) return;
    float *x = ARENA_ARRAY(c->arena, float, c->items *dims + 16);
    if (nfcc_to_event(p, c->prepared, c->n, c->z, x, NULL, c->work) != NFCC_OK) return;
    for (size_t i = 0; i < c->items * dims; i++)
        if (!isfinite(x[i])) return;
    c->x = x;
}

static const char *make_caller(Caller *c)
{
    const Plan *p = c->engine->build->plan;
    size_t widest = p->event.lanes + 1;
    for (int i = 0; i < p->n_inputs; i++) widest += p->inputs[i].lanes;
    for (int i = 0; i < p->n_outputs; i++) widest += p->outputs[i].lanes;
    if (c->what->rows > MOST_LANES / widest / c->what->samples) return "too many rows for a benchmark";
    c->contexts = all_rows(c, p->contexts, p->n_contexts);
    c->in = all_rows(c, p->inputs, p->n_inputs);
    c->out = ARENA_ARRAY(c->arena, void *, p->n_outputs + 1);
    for (int i = 0; i < p->n_outputs; i++) c->out[i] = arena_array(c->arena, c->rows * (p->outputs[i].lanes + 1), 8);
    c->z = normals(c, c->items * p->event.lanes);
    c->wide = ARENA_ARRAY(c->arena, float, c->items * p->event.lanes + 16);
    c->one = ARENA_ARRAY(c->arena, float, c->items + 16);
    const char *wrong = c->engine->policy ? make_native(c) : NULL;
    if (wrong) return wrong;
    make_event(c);
    return c->engine->policy ? NULL : make_interpreter(c);
}

// ---- one call
static nfcc_status call_bulk(Caller *c)
{
    const nfcc_threads how = {.threads = (unsigned)c->what->threads};
    bool one = c->entry == NFCC_HAS_LOG_PROB, graph = c->entry == NFCC_HAS_RUN;
    void *out[2] = {one ? c->one : c->wide, one ? NULL : c->one};
    const nfcc_call call = {.entry = c->entry,
                            .rows = c->rows,
                            .n = c->n,
                            .in = graph ? c->in : c->contexts,
                            .given = given_of(c),
                            .noise = &c->noise,
                            .out = graph ? c->out : out};
    return nfcc_bulk(c->engine->policy, &call, &how);
}

static nfcc_status call_native(Caller *c)
{
    const nfcc_policy *p = c->engine->policy;
    size_t n = c->n;
    nfcc_status status = NFCC_OK;
    if (c->what->threads > 1) return call_bulk(c);
    if (c->prepares) status = nfcc_prepare(p, c->rows, c->contexts, c->prepared, c->work);
    if (status != NFCC_OK) return status;
    switch (c->entry) {
    case 0: return status;
    case NFCC_HAS_TO_LATENT: return nfcc_to_latent(p, c->prepared, n, c->x, c->wide, c->one, c->work);
    case NFCC_HAS_TO_EVENT: return nfcc_to_event(p, c->prepared, n, c->z, c->wide, c->one, c->work);
    case NFCC_HAS_LOG_PROB: return nfcc_log_prob(p, c->prepared, n, c->x, c->one, c->work);
    case NFCC_HAS_SCORE: return nfcc_score(p, c->prepared, n, c->x, c->wide, c->work);
    case NFCC_HAS_SAMPLE: return nfcc_sample(p, c->prepared, &c->noise, n, c->wide, c->work);
    case NFCC_HAS_SAMPLE_AND_LOG_PROB:
        return nfcc_sample_and_log_prob(p, c->prepared, &c->noise, n, c->wide, c->one, c->work);
    case NFCC_HAS_SAMPLE_BEST: return nfcc_sample_best(p, c->prepared, &c->noise, n, c->wide, c->one, c->work);
    case NFCC_HAS_RUN: return nfcc_run(p, c->rows, c->in, c->out, c->work);
    default: return nfcc_act(p, c->prepared, &c->noise, n, c->wide, c->work);
    }
}

static nfcc_status call_once(Caller *c)
{
    if (c->engine->policy) return call_native(c);
    return eval_output(c->function, c->items, c->doubles, c->function->outputs[0].name, c->double_out) ? NFCC_OK
                                                                                                       : NFCC_NO_ENTRY;
}

// ---- many calls
// Base distributions that must be given their latents have z in place of a seed.
static const char *warm_up(Caller *c, double seconds)
{
    double end = clock_seconds() + seconds;
    c->noise = (nfcc_noise)NFCC_NOISE(c->engine->timing->seed);
    nfcc_status status = call_once(c);
    if (status == NFCC_NO_ENTRY && c->z) {
        c->noise.z = c->z;
        status = call_once(c);
    }
    while (status == NFCC_OK && clock_seconds() < end) status = call_once(c);
    return status == NFCC_OK || status == NFCC_NOT_FINITE ? NULL : nfcc_status_text(status);
}

static void run_freely(Caller *c, BenchResult *r, size_t most)
{
    double end = clock_seconds() + c->engine->timing->seconds, start;
    do {
        if (c->engine->others) peak_memory_read(c->engine->others);
        start = clock_seconds();
        call_once(c);
        r->seconds[r->calls++] = clock_seconds() - start;
    } while (r->calls < most && start + r->seconds[r->calls - 1] < end);
}

static void sleep_until(double start, double seconds)
{
    double whole = floor(start + seconds);
    struct timespec t = {(time_t)whole, (long)(1e9 * (start + seconds - whole))};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) continue;
}

// A control loop: tick k is at k periods; its call must end before tick k + 1. If it does not, its deadline is missed,
// and those of the ticks that have passed meanwhile; the loop goes on at the next one to come.
static void run_at_rate(Caller *c, BenchResult *r, size_t most)
{
    double period = 1 / c->engine->timing->hertz, start = clock_seconds() + period;
    uint64_t ticks = (uint64_t)ceil(c->engine->timing->seconds / period);
    r->rate.late = ARENA_ARRAY(c->arena, double, most + 1);
    for (uint64_t tick = 0, next; tick < ticks && r->calls < most; tick = next) {
        sleep_until(start, (double)tick * period);
        double begin = clock_seconds();
        call_once(c);
        double end = clock_seconds(), late = end - start - (double)tick * period;
        r->seconds[r->calls] = end - begin;
        r->rate.late[r->calls++] = late;
        next = late > period ? (uint64_t)ceil((end - start) / period) : tick + 1;
        if (next > ticks) next = ticks;
        if (late > period) r->rate.missed += next - tick;
        r->rate.ticks = next;
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t most_calls(const BenchTiming *t)
{
    double calls = t->hertz > 0 ? t->seconds * t->hertz + 2 : t->seconds * 2e7 + 2;
    return calls < MOST_CALLS ? (size_t)calls : MOST_CALLS;
}

const char *bench_run(const BenchEngine *engine, const BenchCase *what, Arena *arena, BenchResult *r)
{
    Arena *own = arena_new();
    Caller c = {.engine = engine, .what = what, .arena = own, .random = 1};
    size_t most = most_calls(engine->timing);
    *r = (BenchResult){.what = *what};
    c.entry = bench_entry(what->entry, &c.prepares);
    c.rows = what->rows, c.n = c.entry == NFCC_HAS_RUN || !c.entry ? 1 : what->samples, c.items = c.rows * c.n;
    r->what.samples = c.n;
    const char *wrong =
        c.prepares && what->threads > 1 ? "with several threads preparing is a part of every entry" : NULL;
    if (!wrong) wrong = make_caller(&c);
    if (!wrong) wrong = warm_up(&c, engine->timing->warmup);
    if (!wrong) {
        r->seconds = ARENA_ARRAY(own, double, most + 1);
        memset(r->seconds, 1, most * sizeof *r->seconds); // no page is new while calls are timed
        if (engine->timing->hertz > 0)
            run_at_rate(&c, r, most);
        else
            run_freely(&c, r, most);
        for (size_t i = 0; i < r->calls; i++) r->total += r->seconds[i];
        qsort(r->seconds, r->calls, sizeof *r->seconds, by_size);
        r->seconds = arena_copy(arena, r->seconds, r->calls * sizeof *r->seconds);
        if (r->rate.late) {
            qsort(r->rate.late, r->calls, sizeof *r->rate.late, by_size);
            r->rate.late = arena_copy(arena, r->rate.late, r->calls * sizeof *r->rate.late);
        }
    }
    arena_free(own);
    return wrong;
}
