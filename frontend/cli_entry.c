// An entry on NumPy files. N is the most rows of any input; an input of one row is shared. When all contexts have one
// row, one prepared row serves N events, which is the same numbers for less work; else shared inputs are repeated.
#include "cli_entry.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DONE, WRONG_MODEL, WRONG_USAGE, IO_FAILED };
enum { TAKES_X = 1, TAKES_Z = 2, DRAWS = 4, ONE_OF_N = 8 }; // ONE_OF_N: outputs are one of the --samples of a row

typedef struct {
    const char *name;
    unsigned bit, takes;
    const char *out[2]; // x, z and score have the event's shape, the others one number
} EntryRow;

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

typedef struct {
    const char *name; // as the user gives it
    const nfcc_value *value;
    bool needed;
    const char *path; // NULL: not given
    Array array;
    size_t rows;
} Input;

typedef struct {
    Arena *arena;
    const EntryEngine *engine;
    const EntryRequest *request;
    const EntryRow *entry;
    Input *inputs; // contexts (or the graph's inputs), then x or z
    int n_inputs, n_contexts;
    size_t rows; // N
} Run;

__attribute__((format(printf, 2, 3))) static int fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("nfcc: error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

unsigned entry_bit(const char *name)
{
    for (int i = 0; i < N_ENTRIES; i++)
        if (!strcmp(entries[i].name, name)) return entries[i].bit;
    return 0;
}

const char *entry_list(Arena *arena, unsigned bits)
{
    const char *text = "";
    for (int i = 0; i < N_ENTRIES; i++)
        if (bits & entries[i].bit) text = arena_format(arena, "%s%s%s", text, *text ? ", " : "", entries[i].name);
    return text;
}

static const EntryRow *find_entry(const Run *r)
{
    unsigned has = r->engine->info->entries;
    for (int i = 0; i < N_ENTRIES; i++)
        if (!strcmp(entries[i].name, r->request->entry) && (has & entries[i].bit)) return &entries[i];
    fail(WRONG_USAGE, "'%.100s' has no entry '%.100s'; it has: %s", r->engine->info->name, r->request->entry,
         entry_list(r->arena, has));
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
static const char *shape_text(Arena *arena, const char *lead, const size_t *dim, size_t rank)
{
    const char *text = lead;
    for (size_t i = 0; i < rank; i++) text = arena_format(arena, "%s%s%zu", text, *text ? ", " : "", dim[i]);
    return arena_format(arena, "[%s]", text);
}

static bool ends_with(const Array *a, size_t from, const size_t *dim, size_t rank)
{
    for (size_t i = 0; i < rank; i++)
        if (a->dim[from + i] != dim[i]) return false;
    return true;
}

// Rows of an array [N, shape], [N, size], one row without N, or (events under --samples) [N, K, shape]. False: no fit.
static bool count_rows(const Run *r, const Input *in, size_t *rows)
{
    const Array *a = &in->array;
    const nfcc_value *v = in->value;
    size_t rank = (size_t)a->rank;
    *rows = v->size ? a->count / v->size : 0;
    if (*rows == 0) return false;
    if (rank == v->rank + 1 && ends_with(a, 1, v->shape, v->rank)) return true;
    if (rank == v->rank && *rows == 1 && ends_with(a, 0, v->shape, v->rank)) return true;
    if (rank == 2 && a->dim[1] == v->size) return true;
    return r->request->samples && in - r->inputs >= r->n_contexts && rank == v->rank + 2 &&
           ends_with(a, 2, v->shape, v->rank);
}

static NpyType type_of(const nfcc_value *v)
{
    return v->type == NFCC_TYPE_I64 ? NPY_I64 : v->type == NFCC_TYPE_BOOL ? NPY_BOOL : NPY_F32;
}

static int read_input(Run *r, Input *in)
{
    NpyError error;
    const char *wrong = npy_read(in->path, &in->array, &error);
    if (wrong) return fail(IO_FAILED, "%.300s (input '%s'): %s", in->path, in->name, wrong);
    if (!count_rows(r, in, &in->rows)) {
        return fail(WRONG_USAGE, "%.300s: input '%s' is wanted as %s, got %s", in->path, in->name,
                    shape_text(r->arena, "N", in->value->shape, in->value->rank),
                    shape_text(r->arena, "", in->array.dim, (size_t)in->array.rank));
    }
    wrong = npy_convert(&in->array, type_of(in->value), &error);
    if (wrong) return fail(WRONG_USAGE, "%.300s (input '%s'): %s", in->path, in->name, wrong);
    if (in->array.said[0])
        fprintf(stderr, "nfcc: note: %s: %s, converted to %s in C order\n", in->path, in->array.said,
                npy_type_name(in->array.type));
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
static Input *event_input(Run *r) { return r->n_inputs > r->n_contexts ? &r->inputs[r->n_contexts] : NULL; }

static int agree_on_rows(Run *r)
{
    Input *event = event_input(r);
    size_t samples = r->request->samples ? r->request->samples : 1;
    r->rows = 1;
    for (int i = 0; i < r->n_inputs; i++) {
        Input *in = &r->inputs[i];
        if (!in->path) continue;
        size_t rows = in == event && in->rows % samples == 0 ? in->rows / samples : in->rows;
        if (rows > r->rows) r->rows = rows;
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

static bool one_context_row(const Run *r)
{
    for (int i = 0; i < r->n_contexts; i++)
        if (r->inputs[i].rows != 1) return false;
    return true;
}

// The input's data for `rows` rows: its own, or its one row repeated.
static const void *data_for(Run *r, const Input *in, size_t rows)
{
    size_t bytes = in->value->size * npy_type_size(in->array.type);
    if (in->rows == rows) return in->array.data;
    char *data = arena_array(r->arena, rows, bytes);
    for (size_t i = 0; i < rows; i++) memcpy(data + i * bytes, in->array.data, bytes);
    return data;
}

// ---- outputs
typedef struct {
    const char *name;
    Array array;
} Out;

static void shape_output(Run *r, Out *out, const nfcc_value *shape)
{
    Array *a = &out->array;
    *a = (Array){.type = r->engine->doubles ? NPY_F64 : NPY_F32};
    bool samples = r->request->samples != 0 && !(r->entry->takes & ONE_OF_N);
    if (!samples || r->n_contexts) a->dim[a->rank++] = r->rows;
    if (samples) a->dim[a->rank++] = r->request->samples;
    for (unsigned i = 0; shape && i < shape->rank; i++) a->dim[a->rank++] = shape->shape[i];
    if (shape && shape->type == NFCC_TYPE_I64) a->type = NPY_I64;
    if (shape && shape->type == NFCC_TYPE_BOOL) a->type = NPY_BOOL;
    a->count = r->rows * (samples ? r->request->samples : 1) * (shape ? shape->size : 1);
    a->data = arena_array(r->arena, a->count + 16, npy_type_size(a->type));
}

static int make_outputs(Run *r, Out **outs)
{
    const nfcc_info *info = r->engine->info;
    if (r->entry->bit == NFCC_HAS_RUN) {
        *outs = ARENA_ARRAY(r->arena, Out, info->n_outputs + 1);
        for (size_t i = 0; i < info->n_outputs; i++) {
            (*outs)[i].name = info->outputs[i].name;
            shape_output(r, &(*outs)[i], &info->outputs[i]);
        }
        return (int)info->n_outputs;
    }
    *outs = ARENA_ARRAY(r->arena, Out, 2);
    int n = 0;
    for (; n < 2 && r->entry->out[n]; n++) {
        (*outs)[n].name = r->entry->out[n];
        bool number = !strncmp((*outs)[n].name, "log_", 4);
        shape_output(r, &(*outs)[n], number ? NULL : &info->event);
    }
    return n;
}

static bool name_taken(const Out *outs, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(outs[i].name, name)) return true;
    return false;
}

// File names: / becomes _, and a name that is taken gets _2, _3, ...
static void name_outputs(Arena *arena, Out *outs, int n)
{
    for (int i = 0; i < n; i++) {
        char *plain = arena_format(arena, "%s", *outs[i].name ? outs[i].name : "output");
        for (char *c = plain; *c; c++)
            if (*c == '/') *c = '_';
        const char *name = plain;
        for (int k = 2; name_taken(outs, i, name); k++) name = arena_format(arena, "%s_%d", plain, k);
        outs[i].name = name;
    }
}

static int make_folder(Arena *arena, const char *dir)
{
    char *path = arena_string(arena, dir);
    for (char *c = path + 1; *path; c++) {
        char was = *c;
        if (was != '/' && was) continue;
        *c = 0;
        if (mkdir(path, 0777) && errno != EEXIST)
            return fail(IO_FAILED, "%.300s: cannot be made: %s", path, strerror(errno));
        *c = was;
        if (!was) break;
    }
    return DONE;
}

static int write_outputs(Run *r, Out *outs, int n)
{
    NpyFile *files = ARENA_ARRAY(r->arena, NpyFile, n + 1);
    NpyError error;
    name_outputs(r->arena, outs, n);
    for (int i = 0; i < n; i++)
        files[i] = (NpyFile){arena_format(r->arena, "%s/%s.npy", r->request->dir, outs[i].name), &outs[i].array};
    int code = make_folder(r->arena, r->request->dir);
    const char *wrong = code ? NULL : npy_write_all(files, (size_t)n, &error);
    if (wrong) return fail(IO_FAILED, "%s", wrong);
    for (int i = 0; i < n && !code; i++)
        printf("%s  %s %s\n", files[i].path, npy_type_name(outs[i].array.type),
               shape_text(r->arena, "", outs[i].array.dim, (size_t)outs[i].array.rank));
    return code;
}

// ---- the call
static nfcc_status call_engine(Run *r, Out *outs, int n_outs)
{
    Input *event = event_input(r);
    size_t samples = r->request->samples ? r->request->samples : 1, total = r->rows * samples;
    bool run = r->entry->bit == NFCC_HAS_RUN, one_of_n = r->entry->takes & ONE_OF_N;
    bool shared = !run && !one_of_n && one_context_row(r);
    const void **contexts = ARENA_ARRAY(r->arena, const void *, r->n_contexts + 1);
    void **out = ARENA_ARRAY(r->arena, void *, n_outs + 1);
    for (int i = 0; i < r->n_contexts; i++) contexts[i] = data_for(r, &r->inputs[i], shared ? 1 : r->rows);
    for (int i = 0; i < n_outs; i++) out[i] = outs[i].array.data;
    EntryCall call = {.entry = r->entry->bit, .rows = shared ? 1 : r->rows, .n = shared ? total : samples, .out = out};
    call.contexts = run ? NULL : contexts;
    call.in = run ? contexts : NULL;
    call.noise = (nfcc_noise){r->request->seed, r->request->first_row, r->request->temperature, NULL};
    const float *given = event && event->path ? data_for(r, event, total) : NULL;
    if (r->entry->takes & TAKES_X) call.x = given;
    if (r->entry->takes & TAKES_Z) call.noise.z = given;
    return r->engine->call(r->engine->user, &call);
}

static void say_not_finite(const Run *r)
{
    for (int i = 0; i < r->n_inputs; i++) {
        const Input *in = &r->inputs[i];
        if (!in->path || in->array.type != NPY_F32) continue;
        for (size_t j = 0; j < in->array.count; j++) {
            if (isfinite(((const float *)in->array.data)[j])) continue;
            fprintf(stderr, "nfcc: note: %s: row %zu holds NaN or infinity; outputs of such rows are NaN\n", in->path,
                    j / in->value->size);
            break;
        }
    }
}

static int check_request(const Run *r)
{
    const EntryRequest *q = r->request;
    const Input *event = event_input((Run *)r);
    bool draws = r->entry->takes & DRAWS, given = event && event->path;
    if (q->samples && !draws)
        return fail(WRONG_USAGE, "--samples draws noise; %s draws none (sample, sample_and_log_prob and act do)",
                    r->entry->name);
    if (!q->samples && (r->entry->takes & ONE_OF_N))
        return fail(WRONG_USAGE, "%s needs --samples K: it gives the most likely of K", r->entry->name);
    if (q->has_temperature && (!draws || given))
        return fail(WRONG_USAGE, "--temperature scales drawn noise; %s",
                    draws ? "z= is used as it is" : "this entry draws none");
    return DONE;
}

static int check_size(const Run *r)
{
    uint64_t samples = r->request->samples ? r->request->samples : 1;
    size_t bytes;
    if (!__builtin_mul_overflow(samples, r->rows * 8 * (r->engine->info->event_size + 1), &bytes) && bytes < (size_t)1
                                                                                                                 << 40)
        return DONE;
    return fail(WRONG_USAGE, "--samples %llu is more than memory holds", (unsigned long long)samples);
}

static int run_all(Run *r)
{
    Out *outs;
    list_inputs(r);
    int code = read_inputs(r);
    if (!code) code = check_request(r);
    if (!code) code = agree_on_rows(r);
    if (!code) code = check_size(r);
    if (code) return code;
    int n = make_outputs(r, &outs);
    nfcc_status status = call_engine(r, outs, n);
    if (status == NFCC_NOT_FINITE) say_not_finite(r);
    if (status != NFCC_OK && status != NFCC_NOT_FINITE)
        return fail(WRONG_MODEL, "%s: %s", r->entry->name, nfcc_status_text(status));
    return write_outputs(r, outs, n);
}

int entry_run(Arena *arena, const EntryEngine *engine, const EntryRequest *request)
{
    Run r = {.arena = arena, .engine = engine, .request = request};
    r.entry = find_entry(&r);
    if (!r.entry) return WRONG_USAGE;
    int code = run_all(&r);
    for (int i = 0; i < r.n_inputs; i++) npy_free(&r.inputs[i].array);
    return code;
}

// ---- libnfcc
static nfcc_status call_entry(const nfcc_policy *p, const EntryCall *c, const void *prepared, void *work)
{
    nfcc_noise noise = c->noise;
    float *first = c->out[0], *second = c->out[1];
    switch (c->entry) {
    case NFCC_HAS_TO_LATENT: return nfcc_to_latent(p, prepared, c->n, c->x, first, second, work);
    case NFCC_HAS_TO_EVENT: return nfcc_to_event(p, prepared, c->n, c->noise.z, first, second, work);
    case NFCC_HAS_LOG_PROB: return nfcc_log_prob(p, prepared, c->n, c->x, first, work);
    case NFCC_HAS_SCORE: return nfcc_score(p, prepared, c->n, c->x, first, work);
    case NFCC_HAS_SAMPLE: return nfcc_sample(p, prepared, &noise, c->n, first, work);
    case NFCC_HAS_SAMPLE_AND_LOG_PROB: return nfcc_sample_and_log_prob(p, prepared, &noise, c->n, first, second, work);
    case NFCC_HAS_SAMPLE_BEST: return nfcc_sample_best(p, prepared, &noise, c->n, first, second, work);
    case NFCC_HAS_ACT: return nfcc_act(p, prepared, &noise, c->n, first, work);
    }
    return NFCC_NO_ENTRY;
}

static nfcc_status call_native(void *user, const EntryCall *c)
{
    nfcc_policy *p = user;
    const nfcc_info *info = nfcc_get_info(p);
    void *work = malloc(info->work_size + 1), *prepared = malloc(nfcc_prepared_size(p, c->rows) + 1);
    nfcc_status status = NFCC_MEMORY, made = NFCC_OK;
    if (work && prepared) {
        status = c->entry == NFCC_HAS_RUN ? nfcc_run(p, c->rows, c->in, c->out, work)
                                          : (made = nfcc_prepare(p, c->rows, c->contexts, prepared, work));
        if (c->entry != NFCC_HAS_RUN && (status == NFCC_OK || status == NFCC_NOT_FINITE))
            status = call_entry(p, c, prepared, work);
        if (status == NFCC_OK) status = made;
    }
    free(work);
    free(prepared);
    return status;
}

EntryEngine entry_native(nfcc_policy *policy)
{
    return (EntryEngine){policy, nfcc_get_info(policy), false, call_native};
}
