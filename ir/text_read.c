// Text -> Module: reads what text_write.c writes, and what people write by hand (grammar: TEXT.md).
//
// One pass over the characters (text_lex.c), no recursion. Nodes are made as they are written, without the builder's
// folding and sharing, and every line is checked against the rules of form, so an error can say its line. The text is
// not trusted: what a short text may expand to (maps, splats) is limited by the lexer's budget, all else is bounded by
// the text's size.
#include "text_lex.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

typedef struct {
    Lexer *in;
    BinFile bin;

    // the function being read
    NameTable *named, *numbered; // label -> Node
    const Node **nodes;
    int n, cap;
    const Node **inputs;
    int n_inputs, cap_inputs;
    Output *outputs;
    int n_outputs, cap_outputs;

    // the module
    const Function **functions;
    int n_functions, cap_functions;
    Property *properties, *notes;
    int n_properties, cap_properties, n_notes, cap_notes;
    Port *ports[2]; // in, out
    int n_ports[2], cap_ports[2];
    Stage stage;
} Reader;

// ---- values

// A label as written: a name and number (1 where none is written), or %number with name NULL.
typedef struct {
    const char *name;
    int64_t number;
} Label;

static Label read_label(Reader *r, const char *what)
{
    if (lex_accept(r->in, '%')) return (Label){NULL, lex_count(r->in, INT64_MAX, "value number")};
    Label l = {lex_name(r->in, what), 1};
    if (lex_peek(r->in) == '~') {
        r->in->at++;
        l.number = lex_count(r->in, INT64_MAX, "name number");
        if (!r->in->failed && l.number < 2) lex_fail(r->in, NULL, "name numbers start at ~2");
    }
    return l;
}

static const char *label_text(Reader *r, Label l)
{
    if (!l.name) return arena_format(r->in->arena, "%%%" PRId64, l.number);
    return l.number > 1 ? arena_format(r->in->arena, "%.200s~%" PRId64, l.name, l.number) : l.name;
}

static void **label_slot(Reader *r, Label l)
{
    return l.name ? names_slot(r->named, l.name, l.number) : names_slot(r->numbered, "", l.number);
}

static const Origin *origin_of(Reader *r, Op op, Label l)
{
    Origin *o = ARENA_NEW(r->in->arena, Origin);
    *o = (Origin){.node = label_text(r, l),
                  .op = op_info(op)->name,
                  .source = arena_format(r->in->arena, "line %d", r->in->line)};
    return o;
}

static bool add_node(Reader *r, Node *n)
{
    const char *why = r->in->failed ? NULL : node_check(r->in->arena, n);
    if (why) lex_fail(r->in, NULL, "%s: %s", op_info(n->op)->name, why);
    if (r->in->failed) return false;
    n->id = r->n;
    ARENA_PUSH(r->in->arena, r->nodes, r->n, r->cap, n);
    return true;
}

static void define(Reader *r, Label l, Node *n)
{
    if (r->in->failed) return;
    void **slot = label_slot(r, l);
    if (*slot) lex_fail(r->in, NULL, "'%s' is defined twice", label_text(r, l));
    n->name = l.name;
    n->origin = origin_of(r, n->op, l);
    if (!add_node(r, n)) return;
    *slot = n;
    if (n->op == OP_input) ARENA_PUSH(r->in->arena, r->inputs, r->n_inputs, r->cap_inputs, n);
}

static const Node *use(Reader *r, Label l)
{
    if (r->in->failed) return NULL;
    const Node *n = *label_slot(r, l);
    if (!n) lex_fail(r->in, NULL, "'%s' is not defined before this line", label_text(r, l));
    return n;
}

static bool literal_here(Reader *r, DType *dtype)
{
    *dtype = T_F32;
    if (lex_dtype_is(r->in, dtype)) {
        r->in->at += strlen(dtype_name(*dtype));
        return true;
    }
    char c = lex_peek(r->in);
    return c == '[' || c == '-' || isdigit((unsigned char)c) || lex_word_is(r->in, "inf") || lex_word_is(r->in, "nan");
}

static const Node *read_operand(Reader *r)
{
    DType dtype;
    if (lex_accept_word(r->in, "_")) return NULL;
    if (!literal_here(r, &dtype)) return use(r, read_label(r, "an operand"));
    lex_skip_blanks(r->in);
    Node *n = ARENA_NEW(r->in->arena, Node);
    n->op = OP_constant;
    n->data = lex_literal(r->in, dtype, &n->type);
    if (r->in->failed) return NULL;
    n->origin = origin_of(r, OP_constant, (Label){NULL, r->n});
    return add_node(r, n) ? n : NULL;
}

static void read_operands(Reader *r, Node *n)
{
    const Node **in = NULL;
    int cap = 0;
    lex_skip_blanks(r->in);
    if (r->in->at >= r->in->end || lex_peek(r->in) == '\n' || lex_peek(r->in) == '{') return;
    do {
        const Node *operand = read_operand(r);
        if (r->in->failed) return;
        ARENA_PUSH(r->in->arena, in, n->n_in, cap, operand);
    } while (lex_accept(r->in, ','));
    n->in = in;
}

// ---- maps

// A, A..B or A..B:STEP, then *COUNT.
typedef struct {
    int64_t first, step, length, times;
} Item;

static Item read_item(Reader *r)
{
    Item it = {lex_count(r->in, INT32_MAX, "lane"), 0, 1, 1};
    lex_skip_blanks(r->in);
    if (r->in->end - r->in->at >= 2 && r->in->at[0] == '.' && r->in->at[1] == '.') {
        r->in->at += 2;
        int64_t last = lex_count(r->in, INT32_MAX, "lane");
        it.step = last < it.first ? -1 : 1;
        if (lex_accept(r->in, ':')) it.step = lex_int(r->in);
        int64_t way = last - it.first;
        if (!r->in->failed &&
            (!it.step || it.step > INT32_MAX || it.step < -INT32_MAX || way % it.step || way / it.step < 0))
            lex_fail(r->in, NULL, "steps of %" PRId64 " do not lead from %" PRId64 " to %" PRId64, it.step, it.first,
                     last);
        if (!r->in->failed) it.length = way / it.step + 1;
    }
    if (lex_accept(r->in, '*')) it.times = lex_count(r->in, INT32_MAX, "repeat");
    return it;
}

static void read_map(Reader *r, Node *n)
{
    int64_t lanes = type_lanes(n->type), at = 0;
    lex_expect(r->in, '[');
    if (!lex_spend(r->in, lanes * (int64_t)sizeof *n->map)) return;
    int32_t *map = ARENA_ARRAY(r->in->arena, int32_t, lanes);
    lex_skip_lines(r->in);
    bool more = !lex_accept(r->in, ']');
    while (more && !r->in->failed) {
        Item it = read_item(r);
        if (!r->in->failed && it.length * it.times > lanes - at)
            lex_fail(r->in, NULL, "the map has more entries than the result's %" PRId64 " lanes", lanes);
        for (int64_t t = 0; !r->in->failed && t < it.times; t++)
            for (int64_t k = 0; k < it.length; k++) map[at++] = (int32_t)(it.first + k * it.step);
        lex_skip_lines(r->in);
        more = lex_accept(r->in, ',');
        if (!more) lex_expect(r->in, ']');
        if (more) lex_skip_lines(r->in);
    }
    if (!r->in->failed && at != lanes)
        lex_fail(r->in, NULL, "the map has %" PRId64 " entries, the result %" PRId64 " lanes", at, lanes);
    n->map = map;
}

// ---- statements and functions

static bool read_op(Reader *r, Op *op)
{
    const char *word = lex_word(r->in, "an op");
    for (int i = 0; i < OP_COUNT; i++)
        if (!strcmp(op_info((Op)i)->name, word)) {
            *op = (Op)i;
            return true;
        }
    return lex_fail(r->in, "the ops are listed in ir/ops.def", "unknown op '%.100s'", word);
}

static void read_alpha(Reader *r, Node *n)
{
    if (!lex_accept_word(r->in, "alpha")) lex_fail(r->in, NULL, "the only attribute is alpha");
    lex_expect(r->in, '=');
    n->alpha = lex_double(r->in);
    lex_expect(r->in, '}');
}

// LABEL: TYPE = OP ...
static void read_statement(Reader *r)
{
    Node *n = ARENA_NEW(r->in->arena, Node);
    Label label = read_label(r, "a value, return or '}'");
    lex_expect(r->in, ':');
    n->type = lex_type(r->in);
    lex_expect(r->in, '=');
    if (r->in->failed || !read_op(r, &n->op)) return;
    if (n->op == OP_constant)
        n->data = lex_constant(r->in, n->type, &r->bin);
    else
        read_operands(r, n);
    lex_skip_blanks(r->in);
    if (n->op == OP_move && lex_peek(r->in) == '[') read_map(r, n);
    if (n->op == OP_move && !r->in->failed) n->base = move_bases(r->in->arena, n->n_in, n->in);
    if (lex_accept(r->in, '{')) read_alpha(r, n);
    if (lex_end_of_line(r->in)) define(r, label, n);
}

static void read_inputs(Reader *r)
{
    lex_expect(r->in, '(');
    lex_skip_lines(r->in);
    bool more = !lex_accept(r->in, ')');
    while (more && !r->in->failed) {
        Node *n = ARENA_NEW(r->in->arena, Node);
        n->op = OP_input;
        Label label = read_label(r, "an input");
        lex_expect(r->in, ':');
        n->type = lex_type(r->in);
        define(r, label, n);
        lex_skip_lines(r->in);
        more = lex_accept(r->in, ',');
        if (!more) lex_expect(r->in, ')');
        lex_skip_lines(r->in);
    }
}

// NAME=LABEL, or a value under its own name.
static void read_output(Reader *r)
{
    Label label = read_label(r, "an output");
    const char *name = label.name;
    if (lex_accept(r->in, '=')) {
        if (!name || label.number > 1) lex_fail(r->in, NULL, "'%s' is no name for an output", label_text(r, label));
        label = read_label(r, "a value");
    }
    if (!r->in->failed && !name)
        lex_fail(r->in, NULL, "output %s needs a name: NAME=%s", label_text(r, label), label_text(r, label));
    Output o = {name, use(r, label)};
    if (!r->in->failed) ARENA_PUSH(r->in->arena, r->outputs, r->n_outputs, r->cap_outputs, o);
}

static void read_outputs(Reader *r)
{
    lex_skip_blanks(r->in);
    if (lex_peek(r->in) != '\n' && r->in->at < r->in->end) {
        do read_output(r);
        while (!r->in->failed && lex_accept(r->in, ','));
    }
    lex_end_of_line(r->in);
    lex_skip_lines(r->in);
    lex_expect(r->in, '}');
}

static void start_function(Reader *r)
{
    r->named = names_new(r->in->arena);
    r->numbered = names_new(r->in->arena);
    r->nodes = r->inputs = NULL;
    r->outputs = NULL;
    r->n = r->cap = r->n_inputs = r->cap_inputs = r->n_outputs = r->cap_outputs = 0;
}

static void finish_function(Reader *r, const char *name)
{
    const Node *at = NULL;
    Function *f = ARENA_NEW(r->in->arena, Function);
    *f = (Function){name, r->nodes, r->n, r->inputs, r->n_inputs, r->outputs, r->n_outputs};
    const char *why = function_check(r->in->arena, f, &at);
    if (why) lex_fail(r->in, NULL, "func @%s: %s", name, why);
    ARENA_PUSH(r->in->arena, r->functions, r->n_functions, r->cap_functions, f);
}

static void read_function(Reader *r)
{
    start_function(r);
    lex_expect(r->in, '@');
    const char *name = lex_name(r->in, "the function's name");
    read_inputs(r);
    lex_expect(r->in, '{');
    lex_end_of_line(r->in);
    for (lex_skip_lines(r->in); !r->in->failed && !lex_accept_word(r->in, "return"); lex_skip_lines(r->in)) {
        if (r->in->at >= r->in->end) lex_fail(r->in, NULL, "func @%s has no return", name);
        if (!r->in->failed) read_statement(r);
    }
    read_outputs(r);
    lex_end_of_line(r->in);
    if (!r->in->failed) finish_function(r, name);
}

// ---- the module

static void read_stage(Reader *r)
{
    if (!lex_accept_word(r->in, "stage")) lex_fail(r->in, NULL, "expected stage=NAME");
    lex_expect(r->in, '=');
    const char *word = lex_word(r->in, "a stage");
    for (int i = 0; i <= STAGE_LOWERED; i++)
        if (!r->in->failed && !strcmp(TEXT_STAGES[i], word)) {
            r->stage = (Stage)i;
            return;
        }
    lex_fail(r->in, "stages: imported, normal, derived, fused, lowered", "unknown stage '%.100s'", word);
}

static Property read_pair(Reader *r)
{
    Property p = {.key = lex_quoted(r->in)};
    p.value = lex_quoted(r->in);
    return p;
}

static void read_port(Reader *r)
{
    bool out = lex_accept_word(r->in, "out");
    if (!out && !lex_accept_word(r->in, "in")) lex_fail(r->in, NULL, "expected in or out");
    Port p = {.name = lex_quoted(r->in), .batch_axis = -1};
    p.type = lex_type(r->in);
    if (lex_accept_word(r->in, "batch")) p.batch_axis = (int)lex_count(r->in, p.type.rank, "batch axis");
    if (!r->in->failed) ARENA_PUSH(r->in->arena, r->ports[out], r->n_ports[out], r->cap_ports[out], p);
}

static void read_bin_name(Reader *r)
{
    const char *name = lex_quoted(r->in);
    if (r->in->failed) return;
    if (r->bin.name) lex_fail(r->in, NULL, "a second bin file");
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        lex_fail(r->in, "the bin file lies beside the text", "bin file '%.200s' is not a plain file name", name);
    r->bin.name = name;
}

static void read_line(Reader *r)
{
    bool func = lex_accept_word(r->in, "func");
    if (func)
        read_function(r);
    else if (lex_accept_word(r->in, "module"))
        read_stage(r);
    else if (lex_accept_word(r->in, "bin"))
        read_bin_name(r);
    else if (lex_accept_word(r->in, "property"))
        ARENA_PUSH(r->in->arena, r->properties, r->n_properties, r->cap_properties, read_pair(r));
    else if (lex_accept_word(r->in, "note"))
        ARENA_PUSH(r->in->arena, r->notes, r->n_notes, r->cap_notes, read_pair(r));
    else if (lex_accept_word(r->in, "port"))
        read_port(r);
    else
        lex_fail(r->in, NULL, "expected module, bin, property, note, port or func, found %s", lex_shown(r->in));
    lex_end_of_line(r->in);
}

static Module *finish_module(Reader *r)
{
    Module *m = ARENA_NEW(r->in->arena, Module);
    *m = (Module){.stage = r->stage,
                  .functions = r->functions,
                  .n_functions = r->n_functions,
                  .properties = r->properties,
                  .notes = r->notes,
                  .n_properties = r->n_properties,
                  .n_notes = r->n_notes,
                  .inputs = r->ports[0],
                  .outputs = r->ports[1],
                  .n_inputs = r->n_ports[0],
                  .n_outputs = r->n_ports[1]};
    const char *why = module_check(r->in->arena, m);
    if (why) lex_fail(r->in, NULL, "%s", why);
    return r->in->failed ? NULL : m;
}

Module *module_read(Context *cx, const char *text, size_t size, const char *dir, TextBin *bin)
{
    Lexer in = lex_new(cx, text, size);
    Reader r = {.in = &in, .bin.dir = dir};
    for (lex_skip_lines(&in); !in.failed && in.at < in.end; lex_skip_lines(&in)) read_line(&r);
    if (bin) *bin = (TextBin){r.bin.data, r.bin.size};
    return in.failed ? NULL : finish_module(&r);
}
