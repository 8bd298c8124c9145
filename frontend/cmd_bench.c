// nfcc bench MODEL.onnx: the model is compiled once and built with each backend; every entry is timed on every number
// of rows and threads, and held against what the machine can do at most, measured in the same run.
#include "cli_bench.h"
#include "cli_entry.h"

#include "abi.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Arena *arena;
    Options options; // the user's, with what the compile is told instead
    Session *s;
    Build build;
    BenchChoice choice;
    BenchReport report;
    BenchResult *results;
    int n_results, results_cap, done, total;
    struct {
        double bytes, rate;
    } *reads; // read rates by size
    int n_reads, reads_cap;
    PeakMemory others; // of --cold
    const char **said; // notes
    int n_said, said_cap;
} Bench;

// Unless said: everything that a user of the policy waits for.
static void default_entries(Bench *b)
{
    static const char *const usual[] = {"log_prob", "sample", "sample_and_log_prob", "act", "score", "prepare+sample"};
    unsigned has = plan_entries(b->build.plan);
    int cap = b->choice.n_entries;
    if (b->choice.n_entries) return;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        bool prepares;
        bool sensible = b->build.plan->n_contexts || strncmp(usual[i], "prepare", 7);
        if (sensible && (has & bench_entry(usual[i], &prepares)))
            ARENA_PUSH(b->arena, b->choice.entries, b->choice.n_entries, cap, usual[i]);
    }
    if (!b->choice.n_entries) ARENA_PUSH(b->arena, b->choice.entries, b->choice.n_entries, cap, "run");
    b->report.entries = "";
    for (int i = 0; i < b->choice.n_entries; i++)
        b->report.entries = arena_format(b->arena, "%s%s%s", b->report.entries, i ? "," : "", b->choice.entries[i]);
}

// ---- measuring
// As large a buffer is read to learn how fast the weights can be: their own size, of --cold what no cache holds.
static double read_size(const Bench *b, const BenchWork *work)
{
    return b->report.timing.cold ? (double)b->report.peak.memory_bytes : work->bytes;
}

// Of reading so many bytes, the best rate so far.
static double *best_rate(Bench *b, double bytes)
{
    int i = 0;
    while (i < b->n_reads && b->reads[i].bytes != bytes) i++;
    __typeof__(*b->reads) none = {bytes, 0};
    if (i == b->n_reads) ARENA_PUSH(b->arena, b->reads, b->n_reads, b->reads_cap, none);
    return &b->reads[i].rate;
}

// Reading is measured again beside each result, since others may use the memory, too: the best counts for all results
// of its size.
static double read_rate(Bench *b, double bytes)
{
    double most = 0.3, seconds = b->report.timing.seconds < most ? b->report.timing.seconds : most;
    double *best = best_rate(b, bytes), rate = peak_read((size_t)bytes, *best > 0 ? seconds / 3 : seconds);
    if (rate > *best) *best = rate;
    return *best;
}

// What the threads of a machine share is its memory, not its arithmetic.
static void set_limit(BenchResult *r, double rate)
{
    double compute = r->work.flops / (r->peak * (double)r->what.threads);
    r->read_rate = rate;
    r->limit = fmax(compute, rate > 0 ? r->work.bytes / rate : 0);
}

static double peak_of(const Bench *b, const nfcc_policy *policy)
{
    const Peak *p = &b->report.peak;
    unsigned cpu = policy ? nfcc_get_info(policy)->cpu : 0;
    if (cpu & NFCC_CPU_AMX_BF16) return p->flops_amx;
    return cpu & NFCC_CPU_AVX512_BF16 ? p->flops_bf16 : p->flops;
}

// The rate from memory of the machine and of --cold are one: the best that was measured.
static void final_limits(Bench *b)
{
    Peak *peak = &b->report.peak;
    peak->read_memory = *best_rate(b, (double)peak->memory_bytes);
    for (int i = 0; i < b->n_results; i++)
        for (int k = 0; k < b->n_reads; k++)
            if (b->reads[k].bytes == read_size(b, &b->results[i].work)) set_limit(&b->results[i], b->reads[k].rate);
}

static void show_progress(Bench *b, const BenchCase *c)
{
    if (!b->s->progress) return;
    const BenchTiming *t = &b->report.timing;
    double left = (b->total - b->done) * (t->seconds + t->warmup);
    fprintf(stderr, "\r\033[Knfcc: bench: %d of %d: %s %s, %llu rows; some %.0f s left", b->done + 1, b->total, c->name,
            c->entry, (unsigned long long)c->rows, left);
    fflush(stderr);
}

static void clear_progress(const Bench *b)
{
    if (b->s->progress) fputs("\r\033[K", stderr);
}

// Once for an entry, however many numbers of rows there are.
static void say_left_out(Bench *b, const BenchCase *c, const char *why)
{
    const char *text = arena_format(b->arena, "%s %s, %llu thread%s: left out: %s", c->name, c->entry,
                                    (unsigned long long)c->threads, c->threads > 1 ? "s" : "", why);
    for (int i = 0; i < b->n_said; i++)
        if (!strcmp(b->said[i], text)) return;
    ARENA_PUSH(b->arena, b->said, b->n_said, b->said_cap, text);
    fprintf(stderr, "nfcc: note: %s\n", text);
}

static void measure(Bench *b, const BenchEngine *engine, const BenchCase *c)
{
    BenchResult r;
    show_progress(b, c);
    const char *why_not = bench_run(engine, c, b->arena, &r);
    b->done++;
    clear_progress(b);
    if (why_not) {
        say_left_out(b, c, why_not);
        return;
    }
    r.work = bench_work(b->arena, engine->build->plan, &r.what);
    r.peak = peak_of(b, engine->policy);
    set_limit(&r, read_rate(b, read_size(b, &r.work)));
    ARENA_PUSH(b->arena, b->results, b->n_results, b->results_cap, r);
    bench_print_result(stdout, &r);
}

static void measure_all(Bench *b, const Build *build, const char *backend, nfcc_policy *policy)
{
    const BenchEngine engine = {b->s, build, policy, &b->report.timing, b->others.data ? &b->others : NULL};
    WeightType type = build->plan->weight_type;
    const char *name = type == WEIGHTS_F32 ? backend : arena_format(b->arena, "%s-%s", backend, weight_names[type]);
    for (int e = 0; e < b->choice.n_entries; e++)
        for (int r = 0; r < b->choice.n_rows; r++)
            for (int t = 0; t < b->choice.n_threads; t++) {
                BenchCase c = {backend,
                               name,
                               type,
                               b->choice.entries[e],
                               b->choice.rows[r],
                               b->report.samples,
                               b->choice.threads[t]};
                measure(b, &engine, &c);
            }
}

static Build with_weights(Bench *b, WeightType type)
{
    Build build = b->build;
    if (type == WEIGHTS_F32) return build;
    build.plan = build_plan(b->s, &build, build.plan->name, type);
    if (build.plan) plan_golden(&b->s->cx, build.plan);
    return build;
}

static bool bench_built(Bench *b, const char *backend, WeightType type)
{
    size_t native_rows;
    int code;
    Build build = with_weights(b, type);
    if (!build.plan) return false;
    b->options.value[OPT_backend] = backend;
    nfcc_policy *p = build_opened(b->s, &build, !b->options.value[OPT_no_verify], &native_rows, &code);
    session_stage(b->s, NULL);
    if (p) measure_all(b, &build, backend, p);
    nfcc_close(p);
    return p != NULL;
}

static bool bench_backend(Bench *b, const char *backend)
{
    if (!strcmp(backend, "interp")) {
        measure_all(b, &b->build, backend, NULL);
        return true;
    }
    if (strcmp(backend, "llvm")) return bench_built(b, backend, WEIGHTS_F32);
    for (int i = 0; i < b->choice.n_weights; i++)
        if (!bench_built(b, backend, b->choice.weights[i])) return false;
    return true;
}

static int engines(const Bench *b)
{
    int n = 0;
    for (int i = 0; i < b->choice.n_backends; i++) n += strcmp(b->choice.backends[i], "llvm") ? 1 : b->choice.n_weights;
    return n;
}

// ---- files
static bool reports_possible(Bench *b)
{
    static const OptionId ids[] = {OPT_json_file, OPT_html};
    for (int i = 0; i < 2; i++)
        if (b->options.value[ids[i]] && !session_may_write(b->s, b->options.value[ids[i]], true)) return false;
    const char *json = b->options.value[OPT_json_file], *html = b->options.value[OPT_html];
    if (!json || !html || strcmp(json, html)) return true;
    diag_io_error(&b->s->cx, "give each a name of its own", "%s: is named by --json and by --html", json);
    return false;
}

static bool write_report(Bench *b, OptionId id, void (*print)(FILE *, const BenchReport *))
{
    const char *path = b->options.value[id];
    char *text = NULL;
    size_t size = 0;
    if (!path) return true;
    FILE *f = open_memstream(&text, &size);
    if (!f) return false;
    print(f, &b->report);
    bool ok = !fclose(f) && write_file(&b->s->cx, path, text, size);
    free(text);
    return ok;
}

static int run(Bench *b)
{
    if (!reports_possible(b)) return IO_FAILED;
    b->options.value[OPT_backend] = NULL;
    if (!build_run(b->s, NULL, !b->options.value[OPT_no_verify], NULL, NULL, &b->build)) return WRONG_MODEL;
    default_entries(b);
    b->total = engines(b) * b->choice.n_entries * b->choice.n_rows * b->choice.n_threads;
    session_stage(b->s, "measuring the machine");
    BenchReport *r = &b->report;
    r->model = b->options.args[0], r->hash = b->build.hash, r->cpu = bench_cpu_name(b->arena);
    r->peak = peak_measure(r->timing.seconds < 0.5 ? r->timing.seconds : 0.5);
    *best_rate(b, (double)r->peak.memory_bytes) = r->peak.read_memory;
    if (r->timing.cold) b->others = peak_memory_new(r->peak.memory_bytes);
    session_stage(b->s, NULL);
    if (r->timing.cold && !b->others.data) {
        diag_error(&b->s->cx, NULL, "measure without --cold",
                   "no memory for the %zu bytes that --cold reads before every call", r->peak.memory_bytes);
        return IO_FAILED;
    }
    bench_print_machine(stdout, r);
    bench_print_head(stdout, r->timing.hertz > 0);
    for (int i = 0; i < b->choice.n_backends; i++)
        if (!bench_backend(b, b->choice.backends[i])) return session_code(b->s) == DONE ? INTERNAL : session_code(b->s);
    peak_memory_free(&b->others);
    final_limits(b);
    r->results = b->results, r->n_results = b->n_results;
    bool written = write_report(b, OPT_json_file, bench_json);
    written &= write_report(b, OPT_html, bench_html);
    return written ? DONE : IO_FAILED;
}

int cmd_bench(const Options *o)
{
    Bench b = {.arena = o->arena, .options = *o};
    b.s = session_new(&b.options, o->args[0]);
    b.choice = (BenchChoice){.s = b.s, .options = &b.options, .report = &b.report};
    int code = bench_choose(&b.choice) ? run(&b) : WRONG_USAGE;
    if (code == WRONG_MODEL && session_code(b.s) != DONE) code = DONE;
    return session_finish(b.s, code);
}
