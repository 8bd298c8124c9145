// An entry on NumPy files: which entries and inputs there are, and whether what was asked for fits. N is the most rows
// of any input, 0 where one has none; an input of one row is shared.
#include "cli_entry_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const EntryRow entries[] = {
    {"to_latent", NFCC_HAS_TO_LATENT, TAKES_X, {"z", "log_det"}},
    {"to_event", NFCC_HAS_TO_EVENT, TAKES_Z, {"x", "log_det"}},
    {"log_prob", NFCC_HAS_LOG_PROB, TAKES_X, {"log_prob"}},
    {"score", NFCC_HAS_SCORE, TAKES_X, {"score"}},
    {"sample", NFCC_HAS_SAMPLE, TAKES_Z | DRAWS, {"x"}},
    {"sample_and_log_prob", NFCC_HAS_SAMPLE_AND_LOG_PROB, TAKES_Z | DRAWS, {"x", "log_prob"}},
    {"sample_best", NFCC_HAS_SAMPLE_BEST, TAKES_Z | DRAWS | ONE_OF_N, {"x", "log_prob"}},
    {"act", NFCC_HAS_ACT, TAKES_Z | DRAWS, {"x"}},
    {"run", NFCC_HAS_RUN, 0, {NULL}},
};
enum { N_ENTRIES = sizeof entries / sizeof *entries };

unsigned entry_bit(const char *name)
{
    for (int i = 0; i < N_ENTRIES; i++)
        if (!strcmp(entries[i].name, name)) return entries[i].bit;
    return 0;
}

bool entry_takes_x(unsigned bit)
{
    for (int i = 0; i < N_ENTRIES; i++)
        if (bit == entries[i].bit) return entries[i].takes & TAKES_X;
    return false;
}

int entry_names(unsigned bits, const char *names[MOST_ENTRIES])
{
    int n = 0;
    for (int i = 0; i < N_ENTRIES; i++)
        if (bits & entries[i].bit) names[n++] = entries[i].name;
    return n;
}

const char *entry_list(Arena *arena, unsigned bits)
{
    const char *text = "", *names[MOST_ENTRIES];
    int n = entry_names(bits, names);
    for (int i = 0; i < n; i++) text = arena_format(arena, "%s%s%s", text, i ? ", " : "", names[i]);
    return text;
}

static const EntryRow *find_entry(const Run *r)
{
    unsigned has = r->engine->info->entries;
    for (int i = 0; i < N_ENTRIES; i++)
        if (!strcmp(entries[i].name, r->request->entry) && (has & entries[i].bit)) return &entries[i];
    const char *why = r->engine->info->notes ? strstr(r->engine->info->notes, "one way: ") : NULL;
    int length = why ? (int)strcspn(why, "\n") : 0;
    fail(WRONG_USAGE, "'%.100s' has no entry '%.100s'; it has: %s%s%.*s", r->engine->info->name, r->request->entry,
         entry_list(r->arena, has), why ? "; " : "", length, why ? why : "");
    return NULL;
}

// ---- inputs: which there are
static void add_input(Run *r, const char *name, const nfcc_value *value, bool needed)
{
    r->inputs[r->n_inputs++] = (Input){.name = name, .value = value, .needed = needed};
}

static void list_inputs(Run *r)
{
    const nfcc_info *info = r->engine->info;
    bool run = r->entry->bit == NFCC_HAS_RUN;
    size_t n = run ? info->n_inputs : info->n_contexts;
    r->inputs = ARENA_ARRAY(r->arena, Input, n + 1);
    for (size_t i = 0; i < n; i++) {
        const nfcc_value *v = run ? &info->inputs[i] : &info->contexts[i];
        bool taken = !run && (!strcmp(v->name, "x") || !strcmp(v->name, "z"));
        add_input(r, taken ? arena_format(r->arena, "ctx.%s", v->name) : v->name, v, true);
    }
    r->n_contexts = r->n_inputs;
    if (r->entry->takes & TAKES_X) add_input(r, "x", &info->event, true);
    if (r->entry->takes & TAKES_Z) add_input(r, "z", &info->event, !(r->entry->takes & DRAWS));
}

static const char *input_names(const Run *r)
{
    const char *text = "";
    for (int i = 0; i < r->n_inputs; i++)
        text = arena_format(r->arena, "%s%s%s", text, *text ? ", " : "", r->inputs[i].name);
    return *text ? text : "none";
}

// Text after "NAME=" if the argument begins so.
static const char *after_name(const char *argument, const char *prefix, const char *name)
{
    size_t p = strlen(prefix), n = strlen(name);
    if (strncmp(argument, prefix, p) || strncmp(argument + p, name, n) || argument[p + n] != '=') return NULL;
    return argument + p + n + 1;
}

static const char *match(const Run *r, int i, const char *argument)
{
    const char *path = after_name(argument, "", r->inputs[i].name);
    if (path || r->entry->bit == NFCC_HAS_RUN) return path;
    if (i < r->n_contexts) return after_name(argument, "ctx.", r->inputs[i].value->name);
    return !strcmp(r->inputs[i].name, "z") ? after_name(argument, "", "noise") : NULL;
}

static int assign(Run *r, const char *argument)
{
    for (int i = 0; i < r->n_inputs; i++) {
        const char *path = match(r, i, argument);
        if (!path) continue;
        if (r->inputs[i].path) return fail(WRONG_USAGE, "input '%s' is given twice", r->inputs[i].name);
        r->inputs[i].path = path;
        return DONE;
    }
    if (!strchr(argument, '=')) return fail(WRONG_USAGE, "'%.200s': inputs are given as NAME=FILE.npy", argument);
    return fail(WRONG_USAGE, "'%.200s': %s takes no such input; its inputs: %s", argument, r->entry->name,
                input_names(r));
}

// ---- inputs: reading
static bool ends_with(const Array *a, size_t from, const size_t *dim, size_t rank)
{
    for (size_t i = 0; i < rank; i++)
        if (a->dim[from + i] != dim[i]) return false;
    return true;
}

// Rows of an array [N, shape], [N, size], one row without N, or (events under --samples) [N, K, shape]. False: no fit.
static bool count_rows(const Run *r, const Input *in, size_t *rows)
{
    const Array *a = &in->file.array;
    const nfcc_value *v = in->value;
    size_t rank = (size_t)a->rank;
    if (v->size == 0) return false;
    *rows = a->count / v->size;
    if (rank == v->rank + 1 && ends_with(a, 1, v->shape, v->rank)) return true;
    if (rank == v->rank && *rows == 1 && ends_with(a, 0, v->shape, v->rank)) return true;
    if (rank == 2 && a->dim[1] == v->size) return true;
    return r->request->samples && in - r->inputs >= r->n_contexts && rank == v->rank + 2 &&
           ends_with(a, 2, v->shape, v->rank);
}

static void say_converted(const Input *in)
{
    const char *wanted = npy_type_name(entry_type(in->value)), *file = in->file.array.file;
    if (strcmp(file, wanted) != 0)
        fprintf(stderr, "nfcc: note: %s: %s, converted to %s in C order\n", in->path, file, wanted);
}

static int read_input(Run *r, Input *in)
{
    NpyError error;
    const char *wrong = npy_open(in->path, &in->file, &error);
    if (wrong) return fail(IO_FAILED, "%.300s (input '%s'): %s", in->path, in->name, wrong);
    if (!count_rows(r, in, &in->rows)) {
        return fail(WRONG_USAGE, "%.300s: input '%s' is wanted as %s, got %s", in->path, in->name,
                    entry_shape_text(r->arena, "N", in->value->shape, in->value->rank),
                    entry_shape_text(r->arena, "", in->file.array.dim, (size_t)in->file.array.rank));
    }
    say_converted(in);
    return DONE;
}

static int read_inputs(Run *r)
{
    for (int i = 0; i < r->request->n_inputs; i++) {
        int code = assign(r, r->request->inputs[i]);
        if (code) return code;
    }
    for (int i = 0; i < r->n_inputs; i++) {
        Input *in = &r->inputs[i];
        if (!in->path && in->needed)
            return fail(WRONG_USAGE, "%s needs %s=FILE.npy; its inputs: %s", r->entry->name, in->name, input_names(r));
        int code = in->path ? read_input(r, in) : DONE;
        if (code) return code;
    }
    return DONE;
}

// ---- rows
Input *entry_event(const Run *r) { return r->n_inputs > r->n_contexts ? &r->inputs[r->n_contexts] : NULL; }

static int agree_on_rows(Run *r)
{
    Input *event = entry_event(r);
    size_t samples = r->samples;
    r->rows = 1;
    for (int i = 0; i < r->n_inputs; i++) {
        Input *in = &r->inputs[i];
        if (!in->path) continue;
        size_t rows = in == event && in->rows % samples == 0 ? in->rows / samples : in->rows;
        if (rows == 0 || (r->rows && rows > r->rows)) r->rows = rows;
    }
    for (int i = 0; i < r->n_inputs; i++) {
        Input *in = &r->inputs[i];
        size_t want = in == event ? r->rows * samples : r->rows;
        if (in->path && in->rows != 1 && in->rows != want)
            return fail(WRONG_USAGE, "%.300s: input '%s' has %zu rows; wanted %zu, or one row for all", in->path,
                        in->name, in->rows, want);
    }
    return DONE;
}

static int check_request(const Run *r)
{
    const EntryRequest *q = r->request;
    const Input *event = entry_event(r);
    bool draws = r->entry->takes & DRAWS, given = event && event->path;
    if (q->samples && !draws)
        return fail(WRONG_USAGE, "--samples draws noise; %s draws none (sample, sample_and_log_prob and act do)",
                    r->entry->name);
    if (!q->samples && (r->entry->takes & ONE_OF_N))
        return fail(WRONG_USAGE, "%s needs --samples K: it gives the most likely of K", r->entry->name);
    if (q->noise_option && (!draws || given))
        return fail(WRONG_USAGE, "%s is about drawn noise; %s", q->noise_option,
                    draws ? "z= is used as it is" : "this entry draws none");
    return DONE;
}

// Sizes are computed without checks once this holds.
static int check_size(const Run *r)
{
    const nfcc_info *info = r->engine->info;
    size_t widest = info->event_size + 1, all;
    for (size_t i = 0; i < info->n_outputs; i++) widest += info->outputs[i].size;
    if (!__builtin_mul_overflow(r->samples * 8, r->rows * widest, &all) && r->samples < (size_t)1 << 40 &&
        all < (size_t)1 << 50)
        return DONE;
    return fail(WRONG_USAGE, "--samples %zu: the outputs would be larger than any disk", r->samples);
}

static int run_all(Run *r)
{
    r->samples = r->request->samples ? r->request->samples : 1;
    list_inputs(r);
    int code = read_inputs(r);
    if (!code) code = check_request(r);
    if (!code) code = agree_on_rows(r);
    if (!code) code = check_size(r);
    return code ? code : entry_run_pieces(r);
}

int entry_run(Arena *arena, const EntryEngine *engine, const EntryRequest *request)
{
    Run r = {.arena = arena, .engine = engine, .request = request};
    r.entry = find_entry(&r);
    if (!r.entry) return WRONG_USAGE;
    int code = run_all(&r);
    for (int i = 0; i < r.n_inputs; i++) {
        npy_close(&r.inputs[i].file);
        free(r.inputs[i].buffer);
    }
    return code;
}

// ---- libnfcc
static nfcc_status call_native(void *user, const EntryCall *c)
{
    nfcc_threads how = {.threads = c->threads};
    nfcc_noise noise = c->noise;
    nfcc_call call = {.entry = c->entry, .rows = c->rows, .n = c->n, .noise = &noise, .out = c->out};
    call.in = c->entry == NFCC_HAS_RUN ? c->in : c->contexts;
    call.given = c->entry == NFCC_HAS_TO_EVENT ? c->noise.z : c->x;
    return nfcc_bulk(user, &call, &how);
}

EntryEngine entry_native(nfcc_policy *policy)
{
    return (EntryEngine){policy, nfcc_get_info(policy), false, call_native};
}
