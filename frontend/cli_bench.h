// nfcc bench, its parts: the options (cli_bench_options.c), what a call must do at least (cli_bench_work.c), calls
// and their times (cli_bench_run.c), and what is made of them (cli_bench_print.c: table and JSON; cli_bench_html.c).
// cmd_bench.c puts them together.
#pragma once
#include "cli.h"
#include "cli_peak.h"

// One thing to measure: an entry on `rows` contexts with `samples` events each, by `threads` threads.
typedef struct {
    const char *backend, *name; // name: as tables have it, "llvm", "llvm-bf16"
    WeightType weights;
    const char *entry; // "log_prob", "prepare+sample", "prepare", ...
    uint64_t rows, samples, threads;
} BenchCase;

// What must be done at least: multiply-adds of products (two operations each), and the bytes of weights and tables,
// each read once.
typedef struct {
    double flops, bytes;
} BenchWork;

typedef struct {
    uint64_t ticks, missed; // of --rate: periods that there were, and those without a result at their end
    double *late;           // per call: seconds from its tick to its end, sorted
} BenchRate;

typedef struct {
    BenchCase what;
    size_t calls;
    double *seconds; // per call, sorted
    double total;    // their sum
    BenchWork work;
    double peak;      // operations a second of one thread, of the instructions that the products use
    double read_rate; // bytes a second, for as many bytes as the work has
    double limit;     // seconds that no code can undercut
    BenchRate rate;   // ticks 0: no fixed rate
} BenchResult;

typedef struct {
    double seconds, warmup, hertz;
    uint64_t seed;
    bool cold;
} BenchTiming;

typedef struct {
    Session *s;
    const Build *build;
    nfcc_policy *policy; // NULL: the interpreter in double
    const BenchTiming *timing;
    const PeakMemory *others; // read before every call, so that no cache holds the policy; NULL: not
} BenchEngine;

// Everything that the reports tell besides the results.
typedef struct {
    const char *model, *cpu, *target_cpu, *pin, *backends, *weights, *entries, *rows, *threads;
    uint64_t samples;
    BenchTiming timing;
    const unsigned char *hash;
    Peak peak;
    const BenchResult *results;
    int n_results;
} BenchReport;

// What the options ask for; those that only the benchmark knows are taken out of what the compile is told.
typedef struct {
    Session *s;
    Options *options;
    BenchReport *report; // gets the options' words, timing and samples
    const char **backends, **entries;
    WeightType *weights;
    uint64_t *rows, *threads;
    int n_backends, n_weights, n_entries, n_rows, n_threads; // no entries: the usual ones
} BenchChoice;

// ---- cli_bench_options.c
bool bench_choose(BenchChoice *b); // false: something was wrong, and has been said

// ---- cli_bench_work.c
unsigned bench_entry(const char *entry, bool *prepares);   // NFCC_HAS_*; "prepare" alone: 0 and prepares; else 0
ProgramId bench_program(const Plan *plan, unsigned entry); // the one that computes it
BenchWork bench_work(Arena *arena, const Plan *plan, const BenchCase *what);

// ---- cli_bench_run.c
// NULL, or the sentence that says why this cannot be measured. Times are allocated in `arena`.
const char *bench_run(const BenchEngine *engine, const BenchCase *what, Arena *arena, BenchResult *out);

// ---- cli_bench_print.c
double bench_quantile(const double *sorted, size_t n, double q); // nearest rank
void bench_print_machine(FILE *out, const BenchReport *report);
void bench_print_head(FILE *out, bool rate);
void bench_print_result(FILE *out, const BenchResult *r);
void bench_json(FILE *out, const BenchReport *report);
const char *bench_cpu_name(Arena *arena);

// ---- cli_bench_html.c
void bench_html(FILE *out, const BenchReport *report);
