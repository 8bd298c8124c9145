// Rows from .npz files. Keys: contexts by their ONNX names (ctx.NAME for one called as a key below), x, z (or noise), z
// and log_det of to_latent, log_prob, score, to_event.x, to_event.log_det, or what the graph itself calls these; a
// graph that is no flow: its inputs and outputs. The noise that to_event is fed with is `noise`; where there is none
// but to_event.* is given, z.
#include "cli_rows.h"

#include "cli_npy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    int64_t lanes;
    const double *data; // NULL: not in the file
} RowKey;

typedef struct {
    const RowKey *keys; // contexts in order (or the graph's inputs), then the keys below (or the graph's outputs)
    int n_keys, n_inputs;
    size_t rows;
} RowFile;

enum {
    KEY_X,
    KEY_Z,
    KEY_NOISE,
    KEY_LOG_DET,
    KEY_LOG_PROB,
    KEY_SCORE,
    KEY_TO_EVENT_X,
    KEY_TO_EVENT_LOG_DET,
    N_FLOW_KEYS
};

static const char *const flow_keys[N_FLOW_KEYS] = {"x",        "z",     "noise",      "log_det",
                                                   "log_prob", "score", "to_event.x", "to_event.log_det"};

// Of a flow.
static const double *rows_key(const RowFile *f, int key) { return f->keys[f->n_inputs + key].data; }

static int64_t key_lanes(int key, int64_t dims)
{
    return key == KEY_LOG_DET || key == KEY_LOG_PROB || key == KEY_TO_EVENT_LOG_DET ? 1 : dims;
}

static bool is_flow_key(const char *name)
{
    for (int i = 0; i < N_FLOW_KEYS; i++)
        if (!strcmp(name, flow_keys[i])) return true;
    return false;
}

static void flow_key_table(Session *s, const Build *b, RowFile *f)
{
    const Flow *flow = &b->flow;
    RowKey *keys = ARENA_ARRAY(s->arena, RowKey, flow->n_contexts + N_FLOW_KEYS);
    for (int i = 0; i < flow->n_contexts; i++) {
        const Port *port = &b->imported->inputs[flow->contexts[i]];
        keys[i].name = is_flow_key(port->name) ? arena_format(s->arena, "ctx.%s", port->name) : port->name;
        keys[i].lanes = type_lanes(port->type);
    }
    for (int i = 0; i < N_FLOW_KEYS; i++)
        keys[flow->n_contexts + i] = (RowKey){flow_keys[i], key_lanes(i, flow->dims), NULL};
    *f = (RowFile){keys, flow->n_contexts + N_FLOW_KEYS, flow->n_contexts, 0};
}

static void graph_key_table(Session *s, const Build *b, RowFile *f)
{
    const Module *m = b->imported;
    RowKey *keys = ARENA_ARRAY(s->arena, RowKey, m->n_inputs + m->n_outputs + 1);
    for (int i = 0; i < m->n_inputs; i++) keys[i] = (RowKey){m->inputs[i].name, type_lanes(m->inputs[i].type), NULL};
    for (int i = 0; i < m->n_outputs; i++)
        keys[m->n_inputs + i] = (RowKey){m->outputs[i].name, type_lanes(m->outputs[i].type), NULL};
    *f = (RowFile){keys, m->n_inputs + m->n_outputs, m->n_inputs, 0};
}

// ---- reading
static const char *key_names(Arena *arena, const RowFile *f)
{
    const char *text = "";
    for (int i = 0; i < f->n_keys; i++) text = arena_format(arena, "%s%s%s", text, i ? ", " : "", f->keys[i].name);
    return text;
}

static bool same_name(const char *a, const char *b) { return a && b && !strcmp(a, b); }

// The key of an input or output that the graph calls `name`, or -1. What is negated or a mean is not the key's value.
static int graph_key(const Flow *flow, const char *name)
{
    bool density = flow->density;
    if (!flow->is_flow) return -1;
    if (same_name(flow->event, name)) return density ? KEY_X : KEY_TO_EVENT_X;
    if (same_name(flow->latent, name)) return density ? KEY_Z : KEY_NOISE;
    if (same_name(flow->log_det, name) && !flow->log_det_mean) return density ? KEY_LOG_DET : KEY_TO_EVENT_LOG_DET;
    return same_name(flow->log_prob, name) && density && !flow->log_prob_negated ? KEY_LOG_PROB : -1;
}

static RowKey *find_key(RowFile *f, const Flow *flow, const char *name)
{
    for (int i = 0; i < f->n_keys; i++)
        if (!strcmp(f->keys[i].name, name)) return (RowKey *)&f->keys[i];
    int key = graph_key(flow, name);
    return key < 0 ? NULL : (RowKey *)&f->keys[f->n_inputs + key];
}

// All that a file holds and nobody asks for, at once: a misspelt key would be a check that is not made.
static bool all_known(Session *s, RowFile *f, const Flow *flow, const char *path, const Npz *npz)
{
    const char *unknown = "";
    int n = 0;
    for (size_t i = 0; i < npz->n; i++)
        if (!find_key(f, flow, npz->members[i].name))
            unknown = arena_format(s->arena, "%s%s'%.100s'", unknown, n++ ? ", " : "", npz->members[i].name);
    if (n)
        diag_error(&s->cx, NULL, arena_format(s->arena, "known keys: %s", key_names(s->arena, f)),
                   "%.300s: unknown key%s %.500s", path, n > 1 ? "s" : "", unknown);
    return !n;
}

static bool read_member(Session *s, RowKey *key, const char *path, NpzMember *m, size_t *rows)
{
    NpyError e;
    const char *wrong = npy_convert(&m->array, NPY_F64, &e);
    if (wrong) {
        diag_error(&s->cx, NULL, NULL, "%.300s: key '%s': %s", path, m->name, wrong);
        return false;
    }
    *rows = key->lanes ? m->array.count / (size_t)key->lanes : 0;
    bool batched = m->array.rank > 0 && m->array.dim[0] == *rows;
    if (*rows == 0 || *rows * (size_t)key->lanes != m->array.count || !batched) {
        diag_error(&s->cx, NULL, "rows come first; one row serves all",
                   "%.300s: key '%s' is wanted as [rows, ...] with %lld numbers a row; it has %zu numbers", path,
                   m->name, (long long)key->lanes, m->array.count);
        return false;
    }
    key->data = arena_copy(s->arena, m->array.data, m->array.count * sizeof(double));
    return true;
}

// An array of one row serves all rows.
static const double *repeat_row(Arena *arena, const double *row, int64_t lanes, size_t rows)
{
    double *all = ARENA_ARRAY(arena, double, rows *(size_t)lanes);
    for (size_t i = 0; i < rows; i++) memcpy(all + i * (size_t)lanes, row, (size_t)lanes * sizeof *all);
    return all;
}

static bool read_members(Session *s, RowFile *f, const Flow *flow, const char *path, Npz *npz)
{
    size_t *rows = ARENA_ARRAY(s->arena, size_t, npz->n + 1);
    bool ok = all_known(s, f, flow, path, npz);
    for (size_t i = 0; i < npz->n && ok; i++) {
        RowKey *key = find_key(f, flow, npz->members[i].name);
        if (key->data) {
            diag_error(&s->cx, NULL, "keep one of them",
                       "%.300s: '%.100s' is there twice: so called, and as the graph does", path, key->name);
            ok = false;
        } else {
            ok = read_member(s, key, path, &npz->members[i], &rows[i]);
        }
        if (ok && rows[i] > f->rows) f->rows = rows[i];
    }
    for (size_t i = 0; i < npz->n && ok; i++) {
        RowKey *key = find_key(f, flow, npz->members[i].name);
        if (rows[i] == f->rows) continue;
        if (rows[i] == 1) {
            key->data = repeat_row(s->arena, key->data, key->lanes, f->rows);
        } else {
            diag_error(&s->cx, NULL, "give all keys the same rows, or one row",
                       "%.300s: key '%s' has %zu rows, another key has %zu", path, key->name, rows[i], f->rows);
            ok = false;
        }
    }
    return ok;
}

static const double *noise_of(const RowFile *f)
{
    const double *noise = rows_key(f, KEY_NOISE);
    if (noise) return noise;
    bool for_event = rows_key(f, KEY_TO_EVENT_X) || rows_key(f, KEY_TO_EVENT_LOG_DET) || !rows_key(f, KEY_X);
    return for_event ? rows_key(f, KEY_Z) : NULL;
}

// A row that holds NaN or infinity, once it is float32, gives NaN everywhere, which equals NaN: nothing is checked.
static bool inputs_finite(Session *s, const RowFile *f, const Flow *flow, const char *path)
{
    for (int k = 0; k < f->n_keys; k++) {
        const RowKey *key = &f->keys[k];
        bool input =
            k < f->n_inputs || (flow->is_flow && (key->data == rows_key(f, KEY_X) || key->data == noise_of(f)));
        size_t n = input && key->data ? f->rows * (size_t)key->lanes : 0, i = 0;
        while (i < n && isfinite((float)key->data[i])) i++;
        if (i == n) continue;
        diag_error(&s->cx, NULL, "leave the row out: all that is computed from it is NaN",
                   "%.300s: key '%s': row %zu holds %g, which is no finite float32", path, key->name,
                   i / (size_t)key->lanes, key->data[i]);
        return false;
    }
    return true;
}

// False after reported errors: an unreadable file, an unknown key (the known ones are listed), a wrong shape.
static bool rows_read(Session *s, const Build *b, const char *path, RowFile *out)
{
    Npz npz;
    NpyError e;
    if (b->flow.is_flow) {
        flow_key_table(s, b, out);
    } else {
        graph_key_table(s, b, out);
    }
    const char *wrong = npz_read(path, &npz, &e);
    if (wrong) {
        diag_io_error(&s->cx, NULL, "%.300s: %s", path, wrong);
        return false;
    }
    bool ok = read_members(s, out, &b->flow, path, &npz);
    npz_free(&npz);
    if (ok && !out->rows)
        diag_error(&s->cx, NULL, "numpy.savez(\"FILE.npz\", x=..., ...) writes one", "%.300s: the file holds no rows",
                   path);
    return ok && out->rows && inputs_finite(s, out, &b->flow, path);
}

// ---- running in double
bool eval_output(const Function *f, size_t rows, const double *const *in, const char *output, double *out)
{
    double **to = heap_array(f->n_outputs, sizeof *to);
    bool found = false;
    for (int i = 0; i < f->n_outputs && !found; i++)
        if ((found = !strcmp(f->outputs[i].name, output))) to[i] = out;
    if (found) eval_function(f, rows, in, to, NULL, NULL);
    free(to);
    return found;
}

// Inputs of a derived program: the contexts, then the event or latent. NULL if the file lacks one.
static const double *const *program_inputs(Session *s, const RowFile *f, const double *last)
{
    const double **in = ARENA_ARRAY(s->arena, const double *, f->n_inputs + 1);
    for (int i = 0; i < f->n_inputs; i++) {
        in[i] = f->keys[i].data;
        if (!in[i]) {
            diag_error(&s->cx, NULL, "add its rows under this name", "the file of rows lacks the context '%s'",
                       f->keys[i].name);
            return NULL;
        }
    }
    in[f->n_inputs] = last;
    return in;
}

bool rows_inputs(Session *s, const Build *b, const char *path, CheckOptions *out)
{
    RowFile f;
    if (!rows_read(s, b, path, &f)) return false;
    out->rows = f.rows;
    out->contexts = program_inputs(s, &f, NULL);
    if (!out->contexts) return false;
    if (!b->flow.is_flow) return true;
    out->x = rows_key(&f, KEY_X);
    const double *z = noise_of(&f);
    const Function *to_event = module_function(b->derived, "to_event");
    out->z = z;
    if (out->x || !z || !to_event || b->flow.no_inverse) return true;
    double *x = ARENA_ARRAY(s->arena, double, f.rows *(size_t)b->flow.dims);
    eval_output(to_event, f.rows, program_inputs(s, &f, z), "x", x);
    out->x = x;
    return true;
}

// ---- comparing
static double worst_distance(const double *a, const double *ref, size_t n, double least_scale, size_t *where)
{
    double scale = least_scale, worst = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(ref[i]) && fabs(ref[i]) > scale) scale = fabs(ref[i]);
    for (size_t i = 0; i < n; i++) {
        double d = a[i] == ref[i] || (isnan(a[i]) && isnan(ref[i])) ? 0 : fabs(a[i] - ref[i]) / (scale > 0 ? scale : 1);
        if (isnan(d)) d = INFINITY;
        if (d > worst) worst = d, *where = i;
    }
    return worst;
}

typedef struct {
    Session *s;
    Build *b;
    const RowFile *file;
    double limit;
    int compared;
} Compare;

static bool compare(Compare *c, const Function *f, const double *last, const char *output, int key_at)
{
    const RowKey *key = &c->file->keys[key_at];
    if (!key->data || !f) return true;
    if (last || !c->b->flow.is_flow) {
        const double *const *in = program_inputs(c->s, c->file, last);
        size_t n = c->file->rows * (size_t)key->lanes, where = 0;
        double *mine = ARENA_ARRAY(c->s->arena, double, n);
        if (!in) return false;
        if (!eval_output(f, c->file->rows, in, output, mine)) return true;
        c->compared++;
        double d = worst_distance(mine, key->data, n, key->lanes == 1 ? 1 : 0, &where);
        if (d >= c->b->reference_error) c->b->reference_error = d, c->b->reference_worst = key->name;
        if (d <= c->limit) return true;
        diag_error(&c->s->cx, NULL, "the exported file, or the rows' own conventions, differ from the trained model",
                   "'%s' differs from the reference: row %zu, number %zu is %.9g, the reference says %.9g", key->name,
                   where / (size_t)key->lanes, where % (size_t)key->lanes, mine[where], key->data[where]);
        return false;
    }
    diag_error(&c->s->cx, NULL, "store the rows that it was computed from as x (to_event.*: as noise)",
               "the reference holds '%s' but not the rows it belongs to", key->name);
    return false;
}

static bool compare_flow(Compare *c)
{
    const RowFile *f = c->file;
    const Function *to_latent = module_function(c->b->derived, "to_latent"),
                   *to_event = module_function(c->b->derived, "to_event");
    const double *x = rows_key(f, KEY_X), *noise = noise_of(f);
    int at = f->n_inputs;
    bool ok = true;
    if (noise != rows_key(f, KEY_Z)) ok &= compare(c, to_latent, x, "z", at + KEY_Z);
    ok &= compare(c, to_latent, x, "log_det", at + KEY_LOG_DET);
    ok &= compare(c, to_latent, x, "log_prob", at + KEY_LOG_PROB);
    ok &= compare(c, to_event, noise, "x", at + KEY_TO_EVENT_X);
    ok &= compare(c, to_event, noise, "log_det", at + KEY_TO_EVENT_LOG_DET);
    ok &= compare(c, module_function(c->b->derived, "score"), x, "score", at + KEY_SCORE);
    return ok;
}

static bool compare_graph(Compare *c)
{
    const RowFile *f = c->file;
    bool ok = true;
    for (int i = f->n_inputs; i < f->n_keys; i++)
        ok &= compare(c, module_function(c->b->imported, "main"), NULL, f->keys[i].name, i);
    return ok;
}

bool rows_compare(Session *s, Build *b, const char *path)
{
    RowFile f;
    if (!rows_read(s, b, path, &f)) return false;
    double limit = 1e-3, given = 0;
    if (!option_double(s->options, OPT_max_error, &given)) return false;
    Compare c = {s, b, &f, given > limit ? given : limit, 0};
    b->reference_rows = f.rows;
    b->reference_error = 0;
    bool ok = b->flow.is_flow ? compare_flow(&c) : compare_graph(&c);
    if (c.compared || !ok) return ok;
    diag_error(&s->cx, NULL,
               b->flow.is_flow ? "beside x: z, log_det, log_prob or score; beside noise: to_event.x or to_event.log_det"
                               : "beside the inputs: an output",
               "%.300s: the file holds nothing to compare with", path);
    return false;
}
