// same_bits_run POLICY.so FILE [--rows N] [--baseline]: a compiled policy against the file of same_bits_plan, bit for
// bit (any NaN equals any other). Needs libnfcc alone, so that it runs on every machine that a policy is compiled for.
//
// Every entry on every row, in calls of 1 to `most` rows (same_bits.h), with a context per row and with one context for
// the call; then the whole set by nfcc_bulk with several numbers of threads.
#include "same_bits.h"

#include "nfcc.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 }; // contexts, inputs or outputs

typedef struct {
    SameHeader header;
    nfcc_policy *policy;
    const nfcc_info *info;
    const char *set; // "own" or "shared"
    SameRecord *records[64];
    size_t n_records, compared, calls;
    float *wide, *one; // outputs of a call, or of all rows
    void *work, *prepared;
} Check;

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "same_bits_run: %s: %s\n", what, why);
    exit(1);
}

// ---- the file
static void read_file(Check *c, const char *path)
{
    FILE *f = fopen(path, "rb");
    SameRecord record;
    if (!f || fread(&c->header, sizeof c->header, 1, f) != 1) stop(path, "cannot be read");
    while (c->n_records < 64 && fread(&record, sizeof record, 1, f) == 1) {
        size_t bytes = c->header.rows * record.lanes * 4;
        SameRecord *r = malloc(sizeof record + bytes + 1);
        if (!r || fread(r + 1, 1, bytes, f) != bytes) stop(path, "is cut short");
        *r = record;
        c->records[c->n_records++] = r;
    }
    fclose(f);
}

static const SameRecord *find(const Check *c, const char *set, const char *name)
{
    char full[48];
    snprintf(full, sizeof full, "%s.%s", set, name);
    for (size_t i = 0; i < c->n_records; i++)
        if (!strcmp(c->records[i]->name, full)) return c->records[i];
    return NULL;
}

static const float *rows_of(const SameRecord *r, size_t first)
{
    return r ? (const float *)(r + 1) + first * r->lanes : NULL;
}

static const float *input(const Check *c, const char *name, size_t first)
{
    return rows_of(find(c, c->set, name), first);
}

// ---- comparing
static bool is_nan(uint32_t word) { return (word & 0x7fffffff) > 0x7f800000; }

static void compare(Check *c, const char *set, const char *name, const float *got, SameCall at)
{
    const SameRecord *want = find(c, set, name);
    if (!want) stop(name, "the Plan has no such output");
    for (size_t i = 0; i < at.rows * want->lanes; i++) {
        uint32_t a, b;
        memcpy(&a, got + i, 4);
        memcpy(&b, rows_of(want, at.first) + i, 4);
        if (a == b || (is_nan(a) && is_nan(b))) continue;
        fprintf(stderr, "%s.%s, call of %zu rows from %zu: row %zu, number %zu is 0x%08x; the Plan says 0x%08x\n", set,
                name, at.rows, at.first, i / want->lanes, i % want->lanes, a, b);
        exit(1);
    }
    c->compared += at.rows * want->lanes;
}

static void done(Check *c, const char *entry, nfcc_status status)
{
    if (status != NFCC_OK) stop(entry, nfcc_status_text(status));
    c->calls++;
}

// ---- one call of every entry
static bool has(const Check *c, unsigned entry) { return c->info->entries & entry; }

// A policy without clip and denoising has no output of its own for act.
static const char *action(const Check *c) { return find(c, c->set, "act.x") ? "act.x" : "to_event.x"; }

static void check_events(Check *c, SameCall at, size_t n)
{
    const float *z = input(c, "z", at.first);
    nfcc_noise given = {.z = z}, drawn = {.seed = SAME_SEED, .next = at.first, .temperature = 1};
    if (has(c, NFCC_HAS_TO_EVENT)) {
        done(c, "to_event", nfcc_to_event(c->policy, c->prepared, n, z, c->wide, c->one, c->work));
        compare(c, c->set, "to_event.x", c->wide, at);
        compare(c, c->set, "to_event.log_det", c->one, at);
    }
    if (has(c, NFCC_HAS_SAMPLE_AND_LOG_PROB)) {
        done(c, "sample", nfcc_sample_and_log_prob(c->policy, c->prepared, &given, n, c->wide, c->one, c->work));
        compare(c, c->set, "to_event.x", c->wide, at);
        compare(c, c->set, "sample.log_prob", c->one, at);
    }
    if (has(c, NFCC_HAS_SAMPLE)) {
        done(c, "draw", nfcc_draw(c->policy, SAME_SEED, at.first, at.rows, c->wide, c->work));
        compare(c, c->set, "z", c->wide, at);
        done(c, "sample", nfcc_sample(c->policy, c->prepared, &drawn, n, c->wide, c->work));
        compare(c, c->set, "to_event.x", c->wide, at);
    }
    if (has(c, NFCC_HAS_ACT)) {
        done(c, "act", nfcc_act(c->policy, c->prepared, &given, n, c->wide, c->work));
        compare(c, c->set, action(c), c->wide, at);
    }
}

static void check_densities(Check *c, SameCall at, size_t n)
{
    const float *x = input(c, "x", at.first);
    if (has(c, NFCC_HAS_TO_LATENT)) {
        done(c, "to_latent", nfcc_to_latent(c->policy, c->prepared, n, x, c->wide, c->one, c->work));
        compare(c, c->set, "to_latent.z", c->wide, at);
        compare(c, c->set, "to_latent.log_det", c->one, at);
    }
    if (has(c, NFCC_HAS_LOG_PROB)) {
        done(c, "log_prob", nfcc_log_prob(c->policy, c->prepared, n, x, c->one, c->work));
        compare(c, c->set, "log_prob.log_prob", c->one, at);
    }
    if (has(c, NFCC_HAS_SCORE)) {
        done(c, "score", nfcc_score(c->policy, c->prepared, n, x, c->wide, c->work));
        compare(c, c->set, "score.score", c->wide, at);
    }
}

static void contexts_at(const Check *c, size_t first, const void **contexts)
{
    for (size_t i = 0; i < c->info->n_contexts; i++) {
        char name[32];
        snprintf(name, sizeof name, "context.%zu", i);
        contexts[i] = input(c, name, first);
    }
}

static void check_flow(Check *c, const char *set, size_t all)
{
    const void *contexts[MOST];
    c->set = set;
    for (SameCall at = same_next((SameCall){0}, c->header.most, all); at.rows;
         at = same_next(at, c->header.most, all)) {
        size_t rows = strcmp(set, "shared") ? at.rows : 1;
        contexts_at(c, at.first, contexts);
        done(c, "prepare", nfcc_prepare(c->policy, rows, contexts, c->prepared, c->work));
        check_events(c, at, at.rows / rows);
        check_densities(c, at, at.rows / rows);
    }
}

static void check_graph(Check *c, size_t all)
{
    const void *in[MOST];
    void *out[MOST];
    char name[32];
    for (SameCall at = same_next((SameCall){0}, c->header.most, all); at.rows;
         at = same_next(at, c->header.most, all)) {
        for (size_t i = 0; i < c->info->n_inputs; i++) {
            snprintf(name, sizeof name, "in.%zu", i);
            in[i] = rows_of(find(c, "run", name), at.first);
        }
        for (size_t i = 0; i < c->info->n_outputs; i++) out[i] = malloc(at.rows * c->info->outputs[i].size * 4 + 1);
        done(c, "run", nfcc_run(c->policy, at.rows, in, out, c->work));
        for (size_t i = 0; i < c->info->n_outputs; i++) {
            snprintf(name, sizeof name, "out.%zu", i);
            compare(c, "run", name, out[i], at);
            free(out[i]);
        }
    }
}

// ---- all rows at once, by threads
typedef struct {
    unsigned entry;
    const char *wide, *one; // outputs, in the entry's order
} Bulk;

static void check_threads(Check *c, size_t all, unsigned threads)
{
    c->set = "own";
    const Bulk jobs[] = {{NFCC_HAS_TO_EVENT, "to_event.x", "to_event.log_det"},
                         {NFCC_HAS_SAMPLE_AND_LOG_PROB, "to_event.x", "sample.log_prob"},
                         {NFCC_HAS_ACT, action(c), NULL},
                         {NFCC_HAS_TO_LATENT, "to_latent.z", "to_latent.log_det"},
                         {NFCC_HAS_LOG_PROB, NULL, "log_prob.log_prob"},
                         {NFCC_HAS_SCORE, "score.score", NULL}};
    const void *contexts[MOST];
    contexts_at(c, 0, contexts);
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        const Bulk *b = &jobs[i];
        nfcc_noise given = {.z = input(c, "z", 0)};
        void *out[2] = {b->wide ? c->wide : c->one, c->one};
        nfcc_call call = {b->entry, all, 1, contexts, input(c, b->entry == NFCC_HAS_TO_EVENT ? "z" : "x", 0),
                          &given,   out};
        if (!has(c, b->entry)) continue;
        done(c, "bulk", nfcc_bulk(c->policy, &call, &(nfcc_threads){.threads = threads}));
        if (b->wide) compare(c, c->set, b->wide, c->wide, (SameCall){0, all});
        if (b->one) compare(c, c->set, b->one, c->one, (SameCall){0, all});
    }
}

static void check(Check *c, size_t all)
{
    size_t lanes = c->info->event_size + 1, most = c->header.most, prepared = 0;
    for (size_t rows = 1; rows <= most; rows++) {
        size_t size = nfcc_prepared_size(c->policy, rows);
        prepared = size > prepared ? size : prepared;
    }
    c->wide = malloc((all + most) * lanes * 4);
    c->one = malloc((all + most) * 4);
    c->work = malloc(c->info->work_size);
    c->prepared = malloc(prepared + 1);
    if (!c->wide || !c->one || !c->work || !c->prepared) stop("malloc", nfcc_status_text(NFCC_MEMORY));
    if (c->info->event_size) {
        check_flow(c, "own", all);
        check_flow(c, "shared", all);
        for (unsigned threads = 1; threads <= 4; threads++) check_threads(c, all, threads);
    }
    if (has(c, NFCC_HAS_RUN)) check_graph(c, all);
    free(c->wide), free(c->one), free(c->work), free(c->prepared);
}

int main(int argc, char **argv)
{
    Check c = {0};
    unsigned flags = 0;
    size_t limit = SIZE_MAX;
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "--baseline")) flags = NFCC_OPEN_BASELINE;
        if (!strcmp(argv[i], "--rows") && i + 1 < argc) limit = strtoull(argv[++i], NULL, 10);
    }
    if (argc < 3) return fprintf(stderr, "usage: same_bits_run POLICY.so FILE [--rows N] [--baseline]\n"), 2;
    read_file(&c, argv[2]);
    nfcc_status status = nfcc_open(argv[1], flags, &c.policy);
    if (status) stop(argv[1], nfcc_status_text(status));
    c.info = nfcc_get_info(c.policy);
    if (c.info->n_contexts > MOST || c.info->n_inputs > MOST || c.info->n_outputs > MOST)
        stop(argv[1], "too many inputs");
    size_t all = c.header.rows < limit ? c.header.rows : limit;
    check(&c, all);
    printf("%zu rows in calls of 1 to %zu: %zu calls, %zu numbers equal\n", all, (size_t)c.header.most, c.calls,
           c.compared);
    nfcc_close(c.policy);
    for (size_t i = 0; i < c.n_records; i++) free(c.records[i]);
    return c.compared == 0;
}
