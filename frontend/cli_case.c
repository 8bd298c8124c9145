// One case of ONNX's backend tests: DIR/model.onnx and DIR/test_data_set_N/{input,output}_K.pb, through the entry `run`
// in float32. A model whose inputs have fixed shapes is one row as it stands (--no-batch); one with a named batch gets
// the data's rows.
//
// nfcc compiles shapes, axes and indices into the code. Where the importer asks for an input's value it is taken from
// the data set as a constant: first nothing, then integers and booleans, then also numbers of at most two elements, at
// last everything (then only folding is tested, and the note says so). The latter also where an input is not finite: by
// nfcc's contract such a row's outputs are NaN.
#include "cli_case.h"
#include "float_bits.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FILES = 64, GIVE_NONE = 0, GIVE_INTEGERS, GIVE_SMALL, GIVE_ALL, GIVES };

typedef struct {
    Session *s;
    const char *dir;
    const CaseOptions *options;
    OnnxTensor in[MOST_FILES], out[MOST_FILES];
    int n_in, n_out;
    bool given[MOST_FILES];
    Build b;
    size_t rows;
    const char *why;
} Case;

// ---- files
static bool load_tensors(Case *c, int set, const char *kind, OnnxTensor *list, int *n)
{
    for (*n = 0;; (*n)++) {
        const char *path = arena_format(c->s->arena, "%s/test_data_set_%d/%s_%d.pb", c->dir, set, kind, *n);
        if (access(path, F_OK)) return true;
        if (*n == MOST_FILES || !onnx_load_tensor(&c->s->cx, path, &list[*n])) return false;
    }
}

// The first error's text without the file's name, and no error any more.
static const char *take_error(Session *s, const char *otherwise)
{
    const char *text = otherwise, *file = s->diag.file;
    for (size_t i = s->diag.n; i-- > 0;)
        if (s->diag.list[i].kind == DIAG_ERROR) text = s->diag.list[i].text;
    if (!strncmp(text, file, strlen(file)) && !strncmp(text + strlen(file), ": ", 2)) text += strlen(file) + 2;
    s->diag.n = s->diag.errors = 0;
    return text;
}

// ---- numbers
static double element(const OnnxTensor *t, size_t i)
{
    switch (t->type.dtype) {
    case T_F32: return (double)((const float *)t->data)[i];
    case T_F64: return ((const double *)t->data)[i];
    case T_I64: return (double)((const int64_t *)t->data)[i];
    case T_BOOL: return ((const unsigned char *)t->data)[i];
    }
    return 0;
}

static bool all_finite(const Case *c)
{
    for (int i = 0; i < c->n_in; i++)
        for (size_t k = 0; k < (size_t)type_lanes(c->in[i].type); k++)
            if (!isfinite(element(&c->in[i], k))) return false;
    return true;
}

// ---- compiling
static bool give(const Case *c, int level, int i)
{
    bool whole = c->in[i].type.dtype == T_I64 || c->in[i].type.dtype == T_BOOL;
    bool small = i && type_lanes(c->in[i].type) <= 2;
    return level == GIVE_ALL || (level >= GIVE_INTEGERS && whole) || (level >= GIVE_SMALL && small);
}

static const Module *import(Case *c, int level)
{
    const OnnxTensor **known = ARENA_ARRAY(c->s->arena, const OnnxTensor *, c->n_in + 1);
    for (int i = 0; i < c->n_in; i++) {
        c->given[i] = give(c, level, i);
        known[i] = c->given[i] ? &c->in[i] : NULL;
    }
    ImportOptions o = {.allow_nonfinite = true, .no_batch = true, .known = known, .n_known = c->n_in};
    return onnx_load(&c->s->cx, c->s->diag.file, &o, c->b.hash);
}

static bool plan_case(Case *c)
{
    Session *s = c->s;
    FlowOptions f = {.run_only = true};
    c->b.derived = NULL;
    c->b.lowered = passes_run(&s->cx, c->b.imported, &f, NULL, &c->b.flow, &c->b.derived);
    if (!c->b.lowered) return false;
    c->b.plan = plan_build(&s->cx, c->b.lowered, &c->b.flow, "test", c->b.hash, false);
    if (c->b.plan) plan_golden(&s->cx, c->b.plan);
    return c->b.plan != NULL;
}

static bool compile_case(Case *c, int *level)
{
    for (*level = GIVE_NONE; *level < GIVES; (*level)++) {
        bool more = *level == GIVE_NONE;
        for (int i = 0; i < c->n_in && *level; i++) more |= give(c, *level, i) != give(c, *level - 1, i);
        if (!more || (*level < GIVE_ALL && !all_finite(c))) continue;
        c->b.imported = import(c, *level);
        if (c->b.imported && plan_case(c)) return true;
        const char *why = take_error(c->s, "it cannot be imported");
        if (!c->why) c->why = why;
    }
    return false;
}

// ---- the caller's arrays
static size_t size_of(DType t) { return t == T_I64 ? 8 : t == T_BOOL ? 1 : 4; }

static void *caller_array(Arena *arena, const OnnxTensor *t, DType dtype)
{
    size_t n = (size_t)type_lanes(t->type);
    char *data = arena_array(arena, n + 1, size_of(dtype));
    for (size_t i = 0; i < n; i++) {
        double v = element(t, i);
        if (dtype == T_I64)
            ((int64_t *)(void *)data)[i] = t->type.dtype == T_I64 ? ((const int64_t *)t->data)[i] : (int64_t)v;
        else if (dtype == T_BOOL)
            data[i] = v != 0;
        else
            ((float *)(void *)data)[i] = (float)v;
    }
    return data;
}

static double made(const void *data, DType dtype, size_t i)
{
    if (dtype == T_I64) return (double)((const int64_t *)data)[i];
    return dtype == T_BOOL ? ((const unsigned char *)data)[i] : (double)((const float *)data)[i];
}

// ---- running: the open inputs in the graph's order
static bool match_inputs(Case *c, const OnnxTensor **open)
{
    const Module *m = c->b.imported;
    int n = 0;
    c->rows = 1;
    for (int i = 0; i < c->n_in; i++) {
        if (c->given[i]) continue;
        if (n == m->n_inputs) break;
        const Port *p = &m->inputs[n];
        int64_t lanes = type_lanes(p->type), all = type_lanes(c->in[i].type);
        if (p->batch_axis == 0 && c->in[i].type.rank) c->rows = (size_t)c->in[i].type.dim[0];
        if (p->batch_axis > 0 || (p->batch_axis < 0 ? lanes != all : lanes * (int64_t)c->rows != all)) {
            c->why = arena_format(c->s->arena, "input '%s' has %lld numbers in the data, %lld a row in the model",
                                  p->name, (long long)all, (long long)lanes);
            return false;
        }
        open[n++] = &c->in[i];
    }
    if (n == m->n_inputs) return true;
    c->why = "the data set has fewer inputs than the graph";
    return false;
}

static bool run_native(Case *c, const void *const *in, void *const *out)
{
    int code;
    size_t native_rows;
    nfcc_policy *p = build_opened(c->s, &c->b, false, &native_rows, &code);
    if (!p) return false;
    void *work = arena_alloc(c->s->arena, nfcc_get_info(p)->work_size + 1);
    nfcc_status status = nfcc_run(p, c->rows, in, out, work);
    nfcc_close(p);
    if (status) diag_error(&c->s->cx, NULL, NULL, "run: %s", nfcc_status_text(status));
    return !c->s->diag.errors;
}

static uint32_t *words_of(Arena *arena, const void *data, DType dtype, size_t n)
{
    uint32_t *w = ARENA_ARRAY(arena, uint32_t, n + 1);
    for (size_t i = 0; i < n; i++) w[i] = word_of((float)made(data, dtype, i));
    return w;
}

static bool run_interp(Case *c, const void *const *in, void *const *out)
{
    const Plan *p = c->b.plan;
    Arena *arena = c->s->arena;
    const uint32_t **words = ARENA_ARRAY(arena, const uint32_t *, p->n_inputs + 1);
    uint32_t **results = ARENA_ARRAY(arena, uint32_t *, p->n_outputs + 1);
    for (int i = 0; i < p->n_inputs; i++)
        words[i] = words_of(arena, in[i], p->inputs[i].dtype, c->rows * p->inputs[i].lanes);
    for (int i = 0; i < p->n_outputs; i++) results[i] = ARENA_ARRAY(arena, uint32_t, c->rows * p->outputs[i].lanes + 1);
    plan_run(p, PROGRAM_RUN, c->rows, NULL, words, results);
    for (int i = 0; i < p->n_outputs; i++) {
        for (size_t k = 0; k < c->rows * p->outputs[i].lanes; k++) {
            float f = float_of(results[i][k]);
            if (p->outputs[i].dtype == T_I64)
                ((int64_t *)out[i])[k] = (int64_t)f;
            else if (p->outputs[i].dtype == T_BOOL)
                ((unsigned char *)out[i])[k] = f != 0;
            else
                ((float *)out[i])[k] = f;
        }
    }
    return true;
}

// ---- comparing
static bool same_shape(const Case *c, const Port *p, Type want)
{
    Type t = p->type;
    int skip = p->batch_axis >= 0;
    if (want.rank != t.rank + skip || (skip && want.dim[0] != (int64_t)c->rows)) return false;
    for (int i = 0; i < t.rank; i++)
        if (t.dim[i] != want.dim[i + skip]) return false;
    return true;
}

static bool compare_output(Case *c, int i, const void *data)
{
    const Port *p = &c->b.imported->outputs[i];
    const OnnxTensor *want = &c->out[i];
    DType wide = want->type.dtype == T_F64 ? T_F32 : want->type.dtype;
    if (p->batch_axis > 0 || !same_shape(c, p, want->type)) {
        c->why = arena_format(c->s->arena, "output '%s' is %s, expected %s", p->name, type_text(c->s->arena, p->type),
                              type_text(c->s->arena, want->type));
        return false;
    }
    if (p->type.dtype != wide) {
        c->why = arena_format(c->s->arena, "output '%s' has another element type than expected", p->name);
        return false;
    }
    for (size_t k = 0; k < (size_t)type_lanes(want->type); k++) {
        double a = made(data, p->type.dtype, k), b = element(want, k);
        if (a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= c->options->atol + c->options->rtol * fabs(b)) continue;
        c->why = arena_format(c->s->arena, "output '%s' number %zu is %.9g, expected %.9g", p->name, k, a, b);
        return false;
    }
    return true;
}

static CaseVerdict run_and_compare(Case *c)
{
    const Module *m = c->b.imported;
    Arena *arena = c->s->arena;
    const OnnxTensor **open = ARENA_ARRAY(arena, const OnnxTensor *, c->n_in + 1);
    const void **in = ARENA_ARRAY(arena, const void *, m->n_inputs + 1);
    void **out = ARENA_ARRAY(arena, void *, m->n_outputs + 1);
    if (m->n_outputs != c->n_out) c->why = "the data set has another number of outputs than the graph";
    if (m->n_outputs != c->n_out || !match_inputs(c, open)) return CASE_UNSUPPORTED;
    for (int i = 0; i < m->n_inputs; i++) in[i] = caller_array(arena, open[i], m->inputs[i].type.dtype);
    for (int i = 0; i < m->n_outputs; i++)
        out[i] = arena_array(arena, c->rows * (size_t)type_lanes(m->outputs[i].type) + 1, 8);
    if (!(c->options->interp ? run_interp : run_native)(c, in, out)) {
        c->why = take_error(c->s, "it does not run");
        return CASE_FAIL;
    }
    for (int i = 0; i < m->n_outputs; i++)
        if (!compare_output(c, i, out[i])) return CASE_FAIL;
    return CASE_PASS;
}

// ---- the case
static CaseVerdict run_set(Case *c, int set, const char **note)
{
    int level = 0;
    c->why = NULL;
    if (!load_tensors(c, set, "input", c->in, &c->n_in) || !load_tensors(c, set, "output", c->out, &c->n_out)) {
        *note = take_error(c->s, "its data cannot be read");
        return CASE_UNSUPPORTED;
    }
    if (!compile_case(c, &level)) {
        *note = c->why;
        return CASE_UNSUPPORTED;
    }
    c->why = "";
    CaseVerdict v = run_and_compare(c);
    *note = c->why;
    static const char *const notes[GIVES] = {"", "integer inputs as constants", "small inputs as constants",
                                             "all inputs as constants"};
    if (v == CASE_PASS) *note = notes[level];
    return v;
}

CaseVerdict case_run(Session *s, const char *dir, const CaseOptions *options, const char **note)
{
    Case *c = ARENA_NEW(s->arena, Case);
    *c = (Case){.s = s, .dir = dir, .options = options};
    for (int set = 0;; set++) {
        if (access(arena_format(s->arena, "%s/test_data_set_%d", dir, set), F_OK)) {
            if (!set) *note = "it has no test_data_set_0";
            return set ? CASE_PASS : CASE_UNSUPPORTED;
        }
        CaseVerdict v = run_set(c, set, note);
        if (v != CASE_PASS) return v;
    }
}
