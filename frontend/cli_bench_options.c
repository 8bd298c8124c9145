// nfcc bench, its options: what is measured, and how. The compile is told less of them.
#define _GNU_SOURCE // sched_setaffinity
#include "cli_bench.h"
#include "cli_entry.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static int split(Arena *arena, const char *text, const char ***out)
{
    int n = 0, cap = 0;
    char *list = arena_string(arena, text), *save = NULL;
    *out = NULL;
    for (char *word = strtok_r(list, ", ", &save); word; word = strtok_r(NULL, ", ", &save))
        ARENA_PUSH(arena, *out, n, cap, word);
    return n;
}

enum { MOST = 1 << 30 };

static bool numbers(BenchChoice *b, OptionId id, const char *otherwise, const char **text, uint64_t **out, int *n)
{
    const char **words;
    *text = b->options->value[id] ? b->options->value[id] : otherwise;
    *n = split(b->s->arena, *text, &words);
    *out = ARENA_ARRAY(b->s->arena, uint64_t, *n + 1);
    for (int i = 0; i < *n; i++) {
        char *end;
        errno = 0;
        (*out)[i] = strtoull(words[i], &end, 10);
        if (*end || errno || (*out)[i] < 1 || (*out)[i] > MOST || strchr(words[i], '-')) *n = 0;
    }
    if (!*n)
        usage_error("%s %.100s: whole numbers from 1 to %d are wanted, as in %s", option_spelling(id), *text, MOST,
                    otherwise);
    return *n > 0;
}

static bool has_blas(void)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library) dlclose(library);
    return library != NULL;
}

static bool choose_backends(BenchChoice *b)
{
    static const char *const known[] = {"llvm", "openblas", "interp"};
    const char *text = b->options->value[OPT_backend];
    b->report->backends = text ? text : has_blas() ? "llvm,openblas" : "llvm";
    b->n_backends = split(b->s->arena, b->report->backends, &b->backends);
    for (int i = 0; i < b->n_backends; i++) {
        bool found = false;
        for (int k = 0; k < 3; k++) found |= !strcmp(b->backends[i], known[k]);
        if (found) continue;
        usage_error("--backend %.100s: the backends are llvm, openblas and interp%s", b->backends[i],
                    nearest_word(b->s->arena, b->backends[i], known, 3));
        return false;
    }
    if (!b->n_backends) usage_error("--backend: a list such as llvm,openblas is wanted");
    return b->n_backends > 0;
}

// Of llvm alone; other backends take f32.
static bool choose_weights(BenchChoice *b)
{
    const char **words, *text = b->options->value[OPT_weights];
    b->report->weights = text ? text : weight_names[WEIGHTS_F32];
    b->options->value[OPT_weights] = NULL;
    b->n_weights = split(b->s->arena, b->report->weights, &words);
    b->weights = ARENA_ARRAY(b->s->arena, WeightType, b->n_weights + 1);
    for (int i = 0; i < b->n_weights; i++)
        if (!weight_named(words[i], &b->weights[i])) b->n_weights = 0;
    if (!b->n_weights) usage_error("--weights %.100s: a list such as f32,f16,bf16 is wanted", text ? text : "");
    return b->n_weights > 0;
}

// The compile is asked for the entries that the benchmark needs, so that a graph without role names is read as a flow.
static bool choose_entries(BenchChoice *b)
{
    const char *text = b->options->value[OPT_entries], *wanted = "";
    if (!text) return true;
    b->n_entries = split(b->s->arena, text, &b->entries);
    for (int i = 0; i < b->n_entries; i++) {
        bool prepares;
        unsigned bit = bench_entry(b->entries[i], &prepares);
        if (!bit && !prepares) {
            usage_error("--entries: '%.100s' is no entry; entries: %s; and prepare, prepare+sample, ...", b->entries[i],
                        entry_list(b->s->arena, ~0u));
            return false;
        }
        const char *name = prepares ? bit ? b->entries[i] + strlen("prepare+") : "" : b->entries[i];
        if (*name) wanted = arena_format(b->s->arena, "%s%s%s", wanted, *wanted ? "," : "", name);
    }
    if (!b->n_entries) usage_error("--entries: a list such as sample,log_prob is wanted");
    b->options->value[OPT_entries] = *wanted ? wanted : NULL;
    return b->n_entries > 0;
}

static bool choose_timing(BenchChoice *b)
{
    const Options *o = b->options;
    BenchTiming *t = &b->report->timing;
    *t = (BenchTiming){.seconds = 1, .warmup = 0.2, .cold = o->value[OPT_cold]};
    b->report->samples = 1;
    if (!option_double(o, OPT_seconds, &t->seconds) || !option_double(o, OPT_warmup, &t->warmup) ||
        !option_double(o, OPT_rate, &t->hertz) || !option_u64(o, OPT_seed, &t->seed) ||
        !option_u64(o, OPT_samples, &b->report->samples))
        return false;
    bool ok = t->seconds > 0 && t->seconds <= 86400 && t->warmup <= 3600;
    if (!ok) usage_error("--seconds more than 0 and at most 86400, --warmup at most 3600 are wanted");
    if (o->value[OPT_rate] && !(t->hertz > 0 && t->hertz <= 1e6)) {
        usage_error("--rate %s: calls a second are wanted, more than 0 and at most 1000000", o->value[OPT_rate]);
        return false;
    }
    if (t->cold && t->hertz > 0) {
        usage_error("--cold and --rate: between two ticks there may be no time to read other memory; take one of them");
        return false;
    }
    if (!b->report->samples || b->report->samples > MOST) {
        usage_error("--samples: a whole number from 1 to %d is wanted", MOST);
        return false;
    }
    return ok;
}

static bool pin(BenchChoice *b)
{
    const char **words, *text = b->options->value[OPT_pin];
    cpu_set_t set;
    b->report->pin = text;
    if (!text) return true;
    CPU_ZERO(&set);
    int n = split(b->s->arena, text, &words);
    bool ok = n > 0;
    for (int i = 0; i < n && ok; i++) {
        char *end;
        long cpu = strtol(words[i], &end, 10);
        ok = end != words[i] && !*end && cpu >= 0 && cpu < CPU_SETSIZE;
        if (ok) CPU_SET((size_t)cpu, &set);
    }
    if (ok && !sched_setaffinity(0, sizeof set, &set)) return true;
    usage_error("--pin %.100s: numbers of processors that this process may use are wanted%s%s", text, ok ? ": " : "",
                ok ? strerror(errno) : "");
    return false;
}

bool bench_choose(BenchChoice *b)
{
    BenchReport *r = b->report;
    FlowOptions flow;
    r->entries = b->options->value[OPT_entries];
    if (!choose_backends(b) || !choose_weights(b) || !choose_entries(b) || !choose_timing(b)) return false;
    if (!numbers(b, OPT_rows, "1,8,64,1024", &r->rows, &b->rows, &b->n_rows)) return false;
    if (!numbers(b, OPT_threads, "1", &r->threads, &b->threads, &b->n_threads)) return false;
    for (int i = 0; i < b->n_threads; i++)
        if (b->threads[i] > 1024) return usage_error("--threads: at most 1024"), false;
    if (!b->options->value[OPT_cpu]) b->options->value[OPT_cpu] = "native"; // a benchmark is of this machine
    r->target_cpu = b->options->value[OPT_cpu];
    Target target;
    return pin(b) && flow_options(b->s, &flow) && target_of(b->s, &target);
}
