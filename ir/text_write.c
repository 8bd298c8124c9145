// Module -> text: the exact form that text_read.c reads back (grammar: TEXT.md).
//
// A value is called by its node's name, followed by ~2, ~3, ... from the second node of that name on, or by %ID where
// the node has none. A small unnamed constant that is used once, right before its user, stands inline in the user's
// line: reading makes inline constants in operand order right before the user, so positions are kept. Numbers are the
// shortest decimals that read back to the same bits.
#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    FILE *out, *bin;
    Arena *arena;
    uint64_t bin_size;  // bytes written to bin
    NameTable *written; // data already in bin: address and size -> offset + 1
    int *number;        // by node id: how many nodes up to here have this name
    bool *inlined;      // by node id
} Writer;

// ---- words and numbers

static void write_quoted(FILE *out, const char *text)
{
    putc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if ((unsigned char)*c < 32 || *c == 127)
            fprintf(out, "\\x%02x", (unsigned char)*c);
        else
            putc(*c, out);
    }
    putc('"', out);
}

static void write_name(FILE *out, const char *name)
{
    bool bare = text_bare_start(name[0]) && !text_reserved(name, strlen(name));
    for (const char *c = name; *c; c++) bare = bare && text_bare_more(*c);
    if (bare)
        fputs(name, out);
    else
        write_quoted(out, name);
}

static void write_label(const Writer *w, const Node *n)
{
    if (!n->name) {
        fprintf(w->out, "%%%d", n->id);
        return;
    }
    write_name(w->out, n->name);
    if (w->number[n->id] > 1) fprintf(w->out, "~%d", w->number[n->id]);
}

static bool same_bits(double a, double b) { return !memcmp(&a, &b, sizeof a); }

static bool reads_back(const char *text, double v, bool single)
{
    return single ? same_bits((double)strtof(text, NULL), v) : same_bits(strtod(text, NULL), v);
}

// v is finite or infinite; single: it is a float.
static void write_real(FILE *out, double v, bool single)
{
    char text[64];
    if (isinf(v)) {
        fputs(v < 0 ? "-inf" : "inf", out);
        return;
    }
    if (fabs(v) < 1e9 && v == floor(v)) {
        fprintf(out, "%.0f", v);
        return;
    }
    for (int digits = 1; digits <= (single ? 9 : 17); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (!reads_back(text, v, single)) continue;
        fputs(text, out);
        return;
    }
    fprintf(out, "%a", v);
}

static void write_f32(FILE *out, const float *p)
{
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    if (!isnan(*p))
        write_real(out, (double)*p, true);
    else if (bits == 0x7fc00000)
        fputs("nan", out);
    else
        fprintf(out, "nan(0x%08" PRIx32 ")", bits);
}

static void write_f64(FILE *out, const double *p)
{
    uint64_t bits;
    memcpy(&bits, p, sizeof bits);
    if (!isnan(*p))
        write_real(out, *p, false);
    else if (bits == 0x7ff8000000000000)
        fputs("nan", out);
    else
        fprintf(out, "nan(0x%016" PRIx64 ")", bits);
}

static void write_element(FILE *out, const Node *n, int64_t i)
{
    switch (n->type.dtype) {
    case T_F32: write_f32(out, (const float *)n->data + i); break;
    case T_F64: write_f64(out, (const double *)n->data + i); break;
    case T_I64: fprintf(out, "%" PRId64, ((const int64_t *)n->data)[i]); break;
    case T_BOOL: fprintf(out, "%d", ((const uint8_t *)n->data)[i]); break;
    }
}

static void write_type(FILE *out, Type t)
{
    fprintf(out, "%s[", dtype_name(t.dtype));
    for (int i = 0; i < t.rank; i++) fprintf(out, "%s%" PRId64, i ? "," : "", t.dim[i]);
    putc(']', out);
}

// ---- constants

static bool is_splat(const Node *n)
{
    size_t size = dtype_size(n->type.dtype);
    int64_t count = type_lanes(n->type);
    const char *data = n->data;
    if (count < 4) return false;
    return !memcmp(data, data + size, (size_t)(count - 1) * size);
}

// Brackets nested as the shape: before element i one '[' for each dim that starts there, after it one ']' for each that
// ends.
static void write_list(FILE *out, const Node *n)
{
    int64_t count = type_lanes(n->type);
    int rank = n->type.rank;
    if (!count) fputs("[]", out);
    for (int64_t i = 0; i < count; i++) {
        int64_t inner = 1;
        int opens = 0, closes = 0;
        for (int d = rank - 1; d >= 0; d--) {
            inner *= n->type.dim[d];
            opens += i % inner == 0;
            closes += (i + 1) % inner == 0;
        }
        if (i) fputs(", ", out);
        for (; opens; opens--) putc('[', out);
        write_element(out, n, i);
        for (; closes; closes--) putc(']', out);
    }
}

// At a multiple of 64; once per address, since functions of a module share their weights.
static void write_bin(Writer *w, const Node *n)
{
    size_t size = (size_t)type_lanes(n->type) * dtype_size(n->type.dtype);
    if (!w->bin) {
        fputs("...", w->out);
        return;
    }
    void **slot = names_slot(w->written, arena_format(w->arena, "%p", n->data), (int64_t)size);
    if (!*slot) {
        for (; w->bin_size % 64; w->bin_size++) putc(0, w->bin);
        *slot = (void *)(uintptr_t)(w->bin_size + 1);
        fwrite(n->data, 1, size, w->bin);
        w->bin_size += size;
    }
    fprintf(w->out, "bin[%" PRIu64 ",%zu]", (uint64_t)(uintptr_t)*slot - 1, size);
}

static void write_constant(Writer *w, const Node *n)
{
    if (is_splat(n)) {
        fputs("splat ", w->out);
        write_element(w->out, n, 0);
    } else if (type_lanes(n->type) > TEXT_LIST) {
        write_bin(w, n);
    } else {
        write_list(w->out, n);
    }
}

// ---- maps: items A, A..B (step 1 towards B), A..B:STEP, each followed by *COUNT where it repeats

static int64_t run_length(const int32_t *map, int64_t n, int64_t step)
{
    int64_t k = 1;
    while (k < n && (int64_t)map[k] - map[k - 1] == step) k++;
    return k;
}

static int64_t repeats(const int32_t *map, int64_t n, int64_t block)
{
    int64_t k = 1;
    while ((k + 1) * block <= n && !memcmp(map, map + k * block, (size_t)block * sizeof *map)) k++;
    return k;
}

// Writes one item and returns how many entries it covers.
static int64_t write_item(FILE *out, const int32_t *map, int64_t n)
{
    int64_t step = n > 1 ? (int64_t)map[1] - map[0] : 0;
    int64_t run = step ? run_length(map, n, step) : 1;
    int64_t times = repeats(map, n, run);
    if (run < 3 && times < 2) run = 1, times = repeats(map, n, 1);
    if (run == 1 && times < 3) times = 1;
    fprintf(out, "%" PRId32, map[0]);
    if (run > 1) fprintf(out, "..%" PRId32, map[run - 1]);
    if (run > 1 && step != 1 && step != -1) fprintf(out, ":%" PRId64, step);
    if (times > 1) fprintf(out, "*%" PRId64, times);
    return run * times;
}

static void write_map(FILE *out, const int32_t *map, int64_t n)
{
    putc('[', out);
    for (int64_t i = 0; i < n;) {
        if (i) fputs(", ", out);
        i += write_item(out, map + i, n - i);
    }
    putc(']', out);
}

// ---- nodes and functions

static void write_operand(const Writer *w, const Node *n)
{
    if (!n) {
        putc('_', w->out);
    } else if (w->inlined[n->id]) {
        if (n->type.dtype != T_F32) fprintf(w->out, "%s ", dtype_name(n->type.dtype));
        write_list(w->out, n);
    } else {
        write_label(w, n);
    }
}

static bool has_alpha(const Node *n) { return n->op == OP_leaky_relu || n->op == OP_elu || !same_bits(n->alpha, 0); }

static void write_node(Writer *w, const Node *n)
{
    fputs("    ", w->out);
    write_label(w, n);
    fputs(": ", w->out);
    write_type(w->out, n->type);
    fprintf(w->out, " = %s", op_info(n->op)->name);
    if (n->op == OP_constant) {
        putc(' ', w->out);
        write_constant(w, n);
    }
    for (int i = 0; i < n->n_in; i++) {
        fputs(i ? ", " : " ", w->out);
        write_operand(w, n->in[i]);
    }
    if (n->map && n->n_in) {
        putc(' ', w->out);
        write_map(w->out, n->map, type_lanes(n->type));
    }
    if (has_alpha(n)) {
        fputs(" {alpha=", w->out);
        write_f64(w->out, &n->alpha);
        putc('}', w->out);
    }
    putc('\n', w->out);
}

static bool can_inline(const Node *n, const int *uses)
{
    int64_t count = type_lanes(n->type);
    return n->op == OP_constant && !n->name && uses[n->id] == 1 && count > 0 && count <= TEXT_INLINE;
}

// Operands from last to first: the one right before what is inlined already.
static void mark_inlined(Writer *w, const Function *f)
{
    int *uses = ARENA_ARRAY(w->arena, int, f->n_nodes);
    for (int i = 0; i < f->n_nodes; i++)
        for (int k = 0; k < f->nodes[i]->n_in; k++)
            if (f->nodes[i]->in[k]) uses[f->nodes[i]->in[k]->id]++;
    for (int i = 0; i < f->n_outputs; i++) uses[f->outputs[i].node->id] += 2;
    w->inlined = ARENA_ARRAY(w->arena, bool, f->n_nodes);
    for (int i = 0; i < f->n_nodes; i++) {
        int expected = i - 1;
        for (int k = f->nodes[i]->n_in - 1; k >= 0; k--) {
            const Node *c = f->nodes[i]->in[k];
            if (c && c->id == expected && can_inline(c, uses)) w->inlined[expected--] = true;
        }
    }
}

static void count_names(Writer *w, const Function *f)
{
    NameTable *names = names_new(w->arena);
    w->number = ARENA_ARRAY(w->arena, int, f->n_nodes);
    for (int i = 0; i < f->n_nodes; i++) {
        if (!f->nodes[i]->name) continue;
        void **slot = names_slot(names, f->nodes[i]->name, 0);
        w->number[i] = (int)(intptr_t)*slot + 1;
        *slot = (void *)(intptr_t)w->number[i];
    }
}

static void write_outputs(const Writer *w, const Function *f)
{
    fputs("    return", w->out);
    for (int i = 0; i < f->n_outputs; i++) {
        const Output *o = &f->outputs[i];
        fputs(i ? ", " : " ", w->out);
        bool same = o->node->name && !strcmp(o->node->name, o->name);
        if (!same) write_name(w->out, o->name);
        if (!same) putc('=', w->out);
        write_label(w, o->node);
    }
    putc('\n', w->out);
}

// Inputs that come first stand in the header, others (no builder makes them) in their place: NAME: TYPE = input.
static void write_function(Writer *w, const Function *f)
{
    int first = 0;
    count_names(w, f);
    mark_inlined(w, f);
    fputs("func @", w->out);
    write_name(w->out, f->name);
    putc('(', w->out);
    for (; first < f->n_nodes && f->nodes[first]->op == OP_input; first++) {
        if (first) fputs(", ", w->out);
        write_label(w, f->nodes[first]);
        fputs(": ", w->out);
        write_type(w->out, f->nodes[first]->type);
    }
    fputs(") {\n", w->out);
    for (int i = first; i < f->n_nodes; i++)
        if (!w->inlined[i]) write_node(w, f->nodes[i]);
    write_outputs(w, f);
    fputs("}\n", w->out);
}

static void write_ports(FILE *out, const char *kind, const Port *ports, int n)
{
    for (int i = 0; i < n; i++) {
        fprintf(out, "port %s ", kind);
        write_quoted(out, ports[i].name);
        putc(' ', out);
        write_type(out, ports[i].type);
        if (ports[i].batch_axis >= 0) fprintf(out, " batch %d", ports[i].batch_axis);
        putc('\n', out);
    }
}

static void write_pairs(FILE *out, const char *what, const Property *list, int n)
{
    for (int i = 0; i < n; i++) {
        fprintf(out, "%s ", what);
        write_quoted(out, list[i].key);
        putc(' ', out);
        write_quoted(out, list[i].value);
        putc('\n', out);
    }
}

static void write_header(const Writer *w, const Module *m, const char *bin_name)
{
    if (m->stage != STAGE_IMPORTED) fprintf(w->out, "module stage=%s\n", TEXT_STAGES[m->stage]);
    if (w->bin) {
        fputs("bin ", w->out);
        write_quoted(w->out, bin_name);
        putc('\n', w->out);
    }
    write_pairs(w->out, "property", m->properties, m->n_properties);
    write_pairs(w->out, "note", m->notes, m->n_notes);
    write_ports(w->out, "in", m->inputs, m->n_inputs);
    write_ports(w->out, "out", m->outputs, m->n_outputs);
}

void module_write(const Module *m, FILE *out, FILE *bin, const char *bin_name)
{
    Writer w = {.out = out, .bin = bin, .arena = arena_new()};
    w.written = names_new(w.arena);
    write_header(&w, m, bin_name);
    for (int i = 0; i < m->n_functions; i++) {
        if (i) putc('\n', out);
        write_function(&w, m->functions[i]);
    }
    arena_free(w.arena);
}
