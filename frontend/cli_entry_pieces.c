// An entry on files, piece by piece: memory does not grow with the rows. Inputs are taken from the mapped files, or
// from a buffer where they must be converted or one row is shared; outputs are appended to their files as they come. A
// piece is some whole context rows, or, of a row with very many samples, some of those. When all contexts have one row,
// one prepared row serves N events: the same numbers for less work.
#include "cli_entry_run.h"

#include "base/clock.h"
#include "base/unfinished.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 32 << 20, MOST_ITEMS = 1 << 18, FIRST_ITEMS = 1 << 14, LEAST_ITEMS = 64 };

typedef struct {
    const char *name;
    Array array; // without data
    size_t size; // elements of an item
    void *buffer;
} Out;

// Items [first, first + rows * n) of the call: rows from `row` on, of each n samples from `sample` on.
typedef struct {
    size_t row, rows, sample, n, first;
} Piece;

typedef struct {
    Run *run;
    Out *outs;
    NpyWriter *writers; // one for each output; NULL before the first piece is computed
    sigset_t signals;   // while there are writers: those that were held before
    int n_outs;
    bool one_of_n;
    size_t rows, n;           // of the call: N and K, or 1 and N * K when one context row serves all
    size_t most_items, items; // of a piece: at most ever, at most now; and what that makes in rows and samples
    size_t piece_rows, piece_n;
    const void **contexts;
    void **out;
    nfcc_status status;
    bool said;           // a note about rows that are not finite
    double start, shown; // seconds
} Job;

const char *entry_shape_text(Arena *arena, const char *lead, const size_t *dim, size_t rank)
{
    const char *text = lead;
    for (size_t i = 0; i < rank; i++) text = arena_format(arena, "%s%s%zu", text, *text ? ", " : "", dim[i]);
    return arena_format(arena, "[%s]", text);
}

// ---- progress: on a terminal, of what takes longer than a second
static void show_progress(Job *j, size_t done)
{
    size_t all = j->rows * j->n;
    double now = clock_seconds(), passed = now - j->start;
    if (passed < 1 || (now - j->shown < 0.2 && done < all) || !isatty(STDERR_FILENO)) return;
    j->shown = now;
    fprintf(stderr, "\r\033[Knfcc: %zu of %zu rows, %.3g rows/s%s", done, all, (double)done / passed,
            done == all ? "\n" : "");
}

// ---- outputs
static void shape_output(const Job *j, Out *out, const nfcc_value *shape)
{
    const Run *r = j->run;
    Array *a = &out->array;
    *a = (Array){.type = r->engine->doubles ? NPY_F64 : NPY_F32};
    bool samples = r->request->samples != 0 && !j->one_of_n;
    if (!samples || r->n_contexts) a->dim[a->rank++] = r->rows;
    if (samples) a->dim[a->rank++] = r->samples;
    for (unsigned i = 0; shape && i < shape->rank; i++) a->dim[a->rank++] = shape->shape[i];
    if (shape && shape->type == NFCC_TYPE_I64) a->type = NPY_I64;
    if (shape && shape->type == NFCC_TYPE_BOOL) a->type = NPY_BOOL;
    out->size = shape ? shape->size : 1;
    a->count = r->rows * (samples ? r->samples : 1) * out->size;
}

static void list_outputs(Job *j)
{
    const Run *r = j->run;
    const nfcc_info *info = r->engine->info;
    bool run = r->entry->bit == NFCC_HAS_RUN;
    j->outs = ARENA_ARRAY(r->arena, Out, run ? info->n_outputs + 1 : 2);
    for (size_t i = 0; run && i < info->n_outputs; i++) {
        Out *out = &j->outs[j->n_outs++];
        out->name = info->outputs[i].name;
        shape_output(j, out, &info->outputs[i]);
    }
    for (int i = 0; !run && i < 2 && r->entry->out[i]; i++) {
        Out *out = &j->outs[j->n_outs++];
        out->name = r->entry->out[i];
        shape_output(j, out, !strncmp(out->name, "log_", 4) ? NULL : &info->event);
    }
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

static size_t item_bytes(const Out *out) { return out->size * npy_type_size(out->array.type); }

static int create_files(Job *j)
{
    Run *r = j->run;
    NpyError error;
    int code = make_folder(r->arena, r->request->dir);
    if (code) return code;
    unfinished_hold(&j->signals);
    j->writers = ARENA_ARRAY(r->arena, NpyWriter, j->n_outs + 1);
    for (int i = 0; i < j->n_outs; i++) {
        const char *path = arena_format(r->arena, "%s/%s.npy", r->request->dir, j->outs[i].name);
        const char *wrong = npy_create(path, &j->outs[i].array, &j->writers[i], &error);
        if (wrong) return fail(IO_FAILED, "%s", wrong);
    }
    return DONE;
}

static int append_outputs(Job *j, size_t items)
{
    NpyError error;
    int code = j->writers ? DONE : create_files(j);
    for (int i = 0; i < j->n_outs && !code; i++) {
        const char *wrong = npy_append(&j->writers[i], j->outs[i].buffer, items * item_bytes(&j->outs[i]), &error);
        if (wrong) code = fail(IO_FAILED, "%s", wrong);
    }
    return code;
}

static int finish_outputs(Job *j)
{
    NpyError error;
    const char *wrong = npy_finish(j->writers, (size_t)j->n_outs, &error);
    if (wrong) return fail(IO_FAILED, "%s", wrong);
    for (int i = 0; i < j->n_outs; i++) {
        const Array *a = &j->outs[i].array;
        printf("%s  %s %s\n", j->writers[i].path, npy_type_name(a->type),
               entry_shape_text(j->run->arena, "", a->dim, (size_t)a->rank));
    }
    return DONE;
}

// ---- inputs
static size_t row_bytes(const Input *in) { return in->value->size * npy_type_size(entry_type(in->value)); }

static bool make_buffer(Input *in, size_t rows)
{
    if (in->buffer_rows >= rows) return true;
    free(in->buffer);
    in->buffer = malloc(rows * row_bytes(in) + 1);
    in->buffer_rows = in->buffer ? rows : 0;
    in->repeated = 0;
    return in->buffer != NULL;
}

// One row, `rows` times.
static const char *repeat_row(Input *in, size_t rows, const void **out, NpyError *error)
{
    size_t bytes = row_bytes(in);
    const void *row;
    *out = in->buffer;
    if (in->repeated >= rows) return NULL;
    const char *wrong = npy_part(&in->file, 0, in->value->size, entry_type(in->value), in->buffer, &row, error);
    for (size_t i = 0; i < rows && !wrong; i++) memmove((char *)in->buffer + i * bytes, row, bytes);
    in->repeated = rows;
    return wrong;
}

static int load_input(Input *in, size_t first, size_t rows, const void **out)
{
    NpyError error;
    NpyType type = entry_type(in->value);
    const char *wrong = "out of memory";
    if (in->rows == 1 && rows > 1) {
        if (make_buffer(in, rows)) wrong = repeat_row(in, rows, out, &error);
    } else {
        size_t from = in->rows == 1 ? 0 : first, size = in->value->size;
        if (npy_is_direct(&in->file, type) || make_buffer(in, rows))
            wrong = npy_part(&in->file, from * size, rows * size, type, in->buffer, out, &error);
    }
    return wrong ? fail(WRONG_USAGE, "%.300s (input '%s'): %s", in->path, in->name, wrong) : DONE;
}

static void say_not_finite(Input *in, const float *data, size_t first, size_t rows)
{
    for (size_t i = 0; i < rows * in->value->size && !in->said; i++) {
        if (isfinite(data[i])) continue;
        fprintf(stderr, "nfcc: note: %s: row %zu holds NaN or infinity; outputs of such rows are NaN\n", in->path,
                in->rows == 1 ? 0 : first + i / in->value->size);
        in->said = true;
    }
}

// ---- pieces
static bool one_context_row(const Run *r)
{
    for (int i = 0; i < r->n_contexts; i++)
        if (r->inputs[i].rows != 1) return false;
    return true;
}

static void cut(Job *j)
{
    const Run *r = j->run;
    bool shared = r->entry->bit != NFCC_HAS_RUN && !j->one_of_n && one_context_row(r);
    j->rows = shared ? 1 : r->rows;
    j->n = shared ? r->rows * r->samples : r->samples;
    size_t bytes = 1;
    for (int i = 0; i < j->n_outs; i++) bytes += item_bytes(&j->outs[i]);
    for (int i = 0; i < r->n_inputs; i++)
        if (r->inputs[i].path && (!shared || i >= r->n_contexts)) bytes += row_bytes(&r->inputs[i]);
    size_t items = PIECE_BYTES / bytes / LEAST_ITEMS * LEAST_ITEMS;
    j->most_items = items < LEAST_ITEMS ? LEAST_ITEMS : items > MOST_ITEMS ? MOST_ITEMS : items;
}

static void set_items(Job *j, size_t items)
{
    j->items = items > j->most_items ? j->most_items : items < LEAST_ITEMS ? LEAST_ITEMS : items;
    j->piece_n = j->n > j->items && !j->one_of_n ? j->items : j->n;
    j->piece_rows = j->n < j->items ? j->items / j->n : 1;
    if (j->piece_rows > j->rows) j->piece_rows = j->rows;
}

// Pieces of a quarter of a second or so: few enough to cost little, many enough to show how it goes.
static void pace(Job *j, double took)
{
    if (took < 0.1) set_items(j, j->items * 2);
    if (took > 0.5) set_items(j, j->items / 2 / LEAST_ITEMS * LEAST_ITEMS);
}

static Piece piece_after(const Job *j, const Piece *p)
{
    Piece next = {.row = p->row, .sample = p->sample + p->n, .first = p->first + p->rows * p->n};
    if (next.sample == j->n) next.sample = 0, next.row += p->rows;
    next.rows = j->rows - next.row < j->piece_rows ? j->rows - next.row : j->piece_rows;
    next.n = j->n - next.sample < j->piece_n ? j->n - next.sample : j->piece_n;
    if (next.sample) next.rows = 1;
    return next;
}

static size_t given_rows(const Run *r, const Input *in, const Piece *p, size_t *first)
{
    bool event = in == entry_event(r);
    *first = event ? p->first : p->row;
    return event ? p->rows * p->n : p->rows;
}

static int load_inputs(Job *j, const Piece *p, EntryCall *call)
{
    Run *r = j->run;
    for (int i = 0; i < r->n_inputs; i++) {
        Input *in = &r->inputs[i];
        size_t first, rows = given_rows(r, in, p, &first);
        const void *data = NULL;
        int code = in->path ? load_input(in, first, rows, &data) : DONE;
        if (code) return code;
        if (i < r->n_contexts) j->contexts[i] = data;
        if (i >= r->n_contexts && (r->entry->takes & TAKES_X)) call->x = data;
        if (i >= r->n_contexts && (r->entry->takes & TAKES_Z)) call->noise.z = data;
    }
    return DONE;
}

// An event that is not finite though the inputs are.
static void say_overflow(Job *j, const Piece *p)
{
    const Out *x = &j->outs[0];
    size_t lanes = strcmp(x->name, "x") || x->array.type != NPY_F32 ? 0 : x->size;
    size_t items = j->one_of_n ? p->rows : p->rows * p->n, first = j->one_of_n ? p->row : p->first;
    for (size_t i = 0; i < items * lanes && !j->said; i++) {
        if (isfinite(((const float *)x->buffer)[i])) continue;
        fprintf(stderr, "nfcc: note: x: event %zu is not finite\n", first + i / lanes);
        j->said = true;
    }
}

static void say_rows(Job *j, const Piece *p, const EntryCall *call)
{
    Run *r = j->run;
    for (int i = 0; i < r->n_inputs; i++) {
        Input *in = &r->inputs[i];
        size_t first, rows = given_rows(r, in, p, &first);
        const void *data = i < r->n_contexts ? j->contexts[i] : call->x ? call->x : call->noise.z;
        if (in->path && entry_type(in->value) == NPY_F32) say_not_finite(in, data, first, rows);
        j->said |= in->said;
    }
    if (r->entry->bit != NFCC_HAS_RUN) say_overflow(j, p);
}

static int do_piece(Job *j, const Piece *p)
{
    const EntryRequest *q = j->run->request;
    bool run = j->run->entry->bit == NFCC_HAS_RUN;
    EntryCall call = {.entry = j->run->entry->bit, .rows = p->rows, .n = p->n, .threads = q->threads, .out = j->out};
    call.contexts = run ? NULL : j->contexts;
    call.in = run ? j->contexts : NULL;
    call.noise = (nfcc_noise){q->seed, q->first_row + p->first, q->temperature, NULL};
    int code = load_inputs(j, p, &call);
    if (code) return code;
    nfcc_status status = j->run->engine->call(j->run->engine->user, &call);
    if (status == NFCC_NOT_FINITE) say_rows(j, p, &call);
    if (status != NFCC_OK && status != NFCC_NOT_FINITE)
        return fail(WRONG_MODEL, "%s: %s", j->run->entry->name, nfcc_status_text(status));
    return append_outputs(j, j->one_of_n ? p->rows : p->rows * p->n);
}

static bool make_buffers(Job *j)
{
    set_items(j, j->most_items);
    size_t items = j->piece_rows * (j->one_of_n ? 1 : j->piece_n);
    for (int i = 0; i < j->n_outs; i++) {
        j->out[i] = j->outs[i].buffer = malloc((items + 1) * item_bytes(&j->outs[i]) + 64);
        if (!j->out[i]) return false;
    }
    return true;
}

static int do_all(Job *j)
{
    int code = DONE;
    if (!j->run->rows) { // empty files
        code = create_files(j);
        return code ? code : finish_outputs(j);
    }
    if (!make_buffers(j)) return fail(WRONG_MODEL, "out of memory");
    set_items(j, FIRST_ITEMS);
    j->start = clock_seconds();
    for (Piece p = piece_after(j, &(Piece){0}); p.rows && !code; p = piece_after(j, &p)) {
        double start = clock_seconds();
        code = do_piece(j, &p);
        pace(j, clock_seconds() - start);
        show_progress(j, p.first + p.rows * p.n);
        if (unfinished_interrupted()) code = IO_FAILED; // the signal itself says so
    }
    return code ? code : finish_outputs(j);
}

int entry_run_pieces(Run *r)
{
    Job j = {.run = r, .one_of_n = r->entry->takes & ONE_OF_N};
    list_outputs(&j);
    name_outputs(r->arena, j.outs, j.n_outs);
    cut(&j);
    j.contexts = ARENA_ARRAY(r->arena, const void *, r->n_contexts + 1);
    j.out = ARENA_ARRAY(r->arena, void *, j.n_outs + 1);
    int code = do_all(&j);
    if (code && j.writers) npy_abandon(j.writers, (size_t)j.n_outs);
    if (j.writers) unfinished_release(&j.signals);
    for (int i = 0; i < j.n_outs; i++) free(j.outs[i].buffer);
    return code;
}
