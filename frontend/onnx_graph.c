// Execution of a graph by the importers: subgraphs, model-local functions.
//
// Nodes run in the order that onnx_order.c gave them. A node that fails leaves VALUE_BROKEN outputs, which silence
// the nodes after it, so one run reports every node that cannot be imported. Nodes no output needs are skipped.
#include "onnx_scope.h"

#include "base/hash.h"

#include <string.h>

enum { MAX_DEPTH = 64 };

static void run_nodes(Importer *im, Scope *s, const bool *live);

static int opset_of(const Importer *im, const Scope *s, const char *domain)
{
    while (s && !s->function && s->parent) s = s->parent;
    const Onnx__FunctionProto *f = s ? s->function : NULL;
    size_t n = f ? f->n_opset_import : im->model->n_opset_import;
    Onnx__OperatorSetIdProto *const *list = f ? f->opset_import : im->model->opset_import;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i]->domain ? list[i]->domain : "", domain))
            return (int)(list[i]->version > 1000 ? 1000 : list[i]->version);
    return f ? opset_of(im, NULL, domain) : 0;
}

static const char *domain_of(const Onnx__NodeProto *node)
{
    const char *d = node->domain ? node->domain : "";
    return !strcmp(d, "ai.onnx") ? "" : d;
}

static const Onnx__FunctionProto *function_of(const Importer *im, const Onnx__NodeProto *node)
{
    const char *overload = unknown_string(im->cx->arena, &node->base, 8);
    for (size_t i = 0; i < im->model->n_functions; i++) {
        const Onnx__FunctionProto *f = im->model->functions[i];
        const char *domain = f->domain && strcmp(f->domain, "ai.onnx") != 0 ? f->domain : "";
        if (f->name && node->op_type && !strcmp(f->name, node->op_type) && !strcmp(domain, domain_of(node)) &&
            !strcmp(unknown_string(im->cx->arena, &f->base, 13), overload))
            return f;
    }
    return NULL;
}

static bool is_random(const char *op)
{
    return !strncmp(op, "Random", 6) || !strcmp(op, "Bernoulli") || !strcmp(op, "Multinomial");
}

static bool is_quantised(const char *op)
{
    return strstr(op, "Quantize") || strstr(op, "Integer") || !strncmp(op, "QLinear", 7) || strstr(op, "NBits");
}

static void unsupported(Call *c, const char *domain)
{
    const char *op = c->node->op_type ? c->node->op_type : "";
    if (is_random(op)) {
        fail(c, "make the noise an input of the graph: nfcc draws it, reproducibly, from a seed",
             "random numbers are drawn inside the graph");
        return;
    }
    if (is_quantised(op)) {
        fail(c, "compile the model that was not quantised; --weights f16 or bf16 stores weights in 16 bits",
             "the model is quantised: it computes with integers of 8 or fewer bits");
        return;
    }
    if (*domain)
        fail(c, "export without custom operators, or with the operator's function in the file",
             "operator %.100s of domain '%.100s' is not known", op, domain);
    else
        fail(c, "write it with other operators, or leave this part out of the export",
             "this operator is not supported");
}

// Reads an initializer on first use.
static bool force(Call *c, Value *v)
{
    if (v->kind != VALUE_LAZY) return true;
    Elements e;
    if (!v->tensor)
        return fail(c, "leave this output out of the export", "it reads an optional output that is not computed") !=
               NULL;
    if (!tensor_elements(c->im->source, v->tensor, c->origin, &e)) {
        *v = (Value){.kind = VALUE_BROKEN};
        return false;
    }
    *v = (Value){.kind = VALUE_TENSOR, .node = build_const(c->b, e.type, e.data)};
    return true;
}

static bool made_later(const Scope *s, const char *name)
{
    for (; s; s = s->parent)
        for (size_t i = 0; i < s->n_nodes; i++)
            for (size_t k = 0; k < s->nodes[i]->n_output; k++)
                if (!strcmp(s->nodes[i]->output[k], name)) return true;
    return false;
}

static Value lookup(Call *c, const char *name)
{
    if (!*name) return (Value){.kind = VALUE_ABSENT};
    Value *v = scope_find(c->scope, name);
    if (!v) {
        if (made_later(c->scope, name))
            fail(c, DAMAGED, "its input '%.200s' is made by a later node, and the graph has a cycle", name);
        else
            fail(c, DAMAGED, "its input '%.200s' does not exist", name);
        return (Value){.kind = VALUE_BROKEN};
    }
    if (force(c, v)) return *v;
    c->failed = true;
    return (Value){.kind = VALUE_BROKEN};
}

static bool selects_from(const Importer *im, const Node *mask, const Node *outer)
{
    while (mask && mask != outer) mask = outer_mask(im, mask);
    return mask != NULL;
}

// Operands of one op carry one mask, or one that selects from the other's elements: the innermost is theirs.
static const Node *innermost(Call *c, const Node *x, const Node *y, bool one)
{
    if (!x || selects_from(c->im, y, x)) return y;
    if (!selects_from(c->im, x, y) && one)
        fail(c, "write the selections with torch.where", "its operands are selected by two different computed masks");
    return x;
}

static void gather_inputs(Call *c, const OpRow *row)
{
    c->n_in = (int)c->node->n_input;
    c->in = ARENA_ARRAY(scratch_arena(c->im->cx), Value, c->n_in + 1);
    for (int i = 0; i < c->n_in; i++) {
        c->in[i] = lookup(c, c->node->input[i]);
        if (c->in[i].kind == VALUE_BROKEN) c->quiet = true;
        if (!c->in[i].mask) continue;
        c->mask = innermost(c, c->mask, c->in[i].mask, row != NULL);
    }
    while (c->n_in && c->in[c->n_in - 1].kind == VALUE_ABSENT) c->n_in--;
}

static void note_shape(Call *c, const char *name, Value *v)
{
    if (v->kind != VALUE_TENSOR) return;
    if (c->im->record) record_make(scratch_arena(c->im->cx), c->im->record, c->scope->key, name)->type = v->node->type;
    const Record *r = record_find(c->im->many, c->scope->key, name);
    if (r && r->type.rank == v->node->type.rank) v->many = &r->type;
    if (!c->im->trace || node_is_const(v->node) || v->mask) return;
    uint64_t key = hash_text(c->scope->key, name);
    build_output(c->b, arena_format(call_arena(c), "%016llx", (unsigned long long)key), v->node);
    Traced t = {key, c->origin};
    ARENA_PUSH(call_arena(c), c->im->traced, c->im->n_traced, c->im->cap_traced, t);
}

static void bind_outputs(Call *c)
{
    for (int i = 0; i < c->n_out; i++) {
        const char *name = c->node->output[i];
        Value *v = &c->out[i];
        if (!*name) continue;
        if (c->failed || c->quiet) *v = (Value){.kind = VALUE_BROKEN};
        if (v->kind == VALUE_ABSENT) {
            if (!c->failed) *v = (Value){.kind = VALUE_LAZY}; // an error only where it is used
            continue;
        }
        if (v->kind == VALUE_TENSOR && !charge(c, type_lanes(v->node->type))) *v = (Value){.kind = VALUE_BROKEN};
        if (v->kind == VALUE_TENSOR && c->mask) v->mask = c->mask;
        note_shape(c, name, v);
        if (!scope_bind(scratch_arena(c->im->cx), c->scope, name, *v))
            fail(c, DAMAGED, "its output '%.200s' exists already", name);
    }
}

static void run_function(Call *c, const Onnx__FunctionProto *f)
{
    Scope s = {.depth = c->scope->depth + 1,
               .key = c->key,
               .nodes = f->node,
               .n_nodes = f->n_node,
               .function = f,
               .caller = c};
    if (s.depth > MAX_DEPTH) {
        fail(c, DAMAGED, "functions are nested deeper than %d; do they call each other?", MAX_DEPTH);
        return;
    }
    if (c->n_in > (int)f->n_input) {
        fail(c, DAMAGED, "%d inputs for a function of %zu", c->n_in, f->n_input);
        return;
    }
    for (size_t i = 0; i < f->n_input; i++)
        if ((int)i < c->n_in && c->in[i].kind != VALUE_ABSENT)
            scope_bind(scratch_arena(c->im->cx), &s, f->input[i], c->in[i]);
        else
            scope_bind(scratch_arena(c->im->cx), &s, f->input[i], (Value){.kind = VALUE_ABSENT});
    run_nodes(c->im, &s, NULL);
    for (size_t i = 0; i < f->n_output && (int)i < c->n_out; i++) {
        Value *v = scope_find(&s, f->output[i]);
        if (!v)
            fail(c, DAMAGED, "the function's output '%.200s' does not exist", f->output[i]);
        else
            c->out[i] = *v;
    }
}

// Attributes that say nothing about the result.
static bool is_idle(const char *name)
{
    static const char *const IDLE[] = {
        "momentum", "seed",    "stash_type",        "saturate",   "storage_order", "consumed_inputs",
        "spatial",  "is_test", "softmax_precision", "round_mode", "ratio",         "qk_matmul_output_mode",
        "sorted"};
    for (size_t i = 0; i < sizeof IDLE / sizeof IDLE[0]; i++)
        if (!strcmp(IDLE[i], name)) return true;
    return false;
}

// An operand or attribute that the importer never looked at would be silently ignored: newer opsets add some.
static void check_all_read(Call *c)
{
    for (int i = 0; i < c->n_in && i < 64; i++)
        if (c->in[i].kind != VALUE_ABSENT && !(c->read_in >> i & 1))
            fail(c, "export with opset_version=18", "its input %d is not supported", i);
    for (size_t i = 0; i < c->node->n_attribute && i < 64; i++) {
        const char *name = c->node->attribute[i]->name ? c->node->attribute[i]->name : "";
        if (!(c->read_attr >> i & 1) && !is_idle(name))
            fail(c, "export with opset_version=18", "its attribute '%.100s' is not supported", name);
    }
}

static void run_node(Importer *im, Scope *s, const Onnx__NodeProto *node)
{
    const Origin *outer = s->caller ? s->caller->origin : NULL;
    Call c = {.im = im, .b = im->b, .node = node, .origin = node_origin(im->cx->arena, node), .scope = s};
    const char *domain = domain_of(node);
    c.key = hash_text(s->key, node->n_output ? node->output[0] : "");
    c.n_out = (int)node->n_output;
    c.out = ARENA_ARRAY(scratch_arena(im->cx), Value, c.n_out + 1);
    if (outer && !c.origin->source && !c.origin->module) c.origin = outer;
    if (++im->steps > most_steps(im)) {
        if (im->steps == most_steps(im) + 1)
            fail(&c, "is this the intended model?", "loops and functions unroll to more than %lld nodes",
                 (long long)most_steps(im));
        return;
    }
    const Onnx__FunctionProto *f = function_of(im, node);
    const OpRow *row = f ? NULL : op_row(domain, node->op_type ? node->op_type : "");
    c.opset = opset_of(im, s, domain);
    builder_origin(im->b, c.origin);
    if (!f && (!row || (!*domain && c.opset < row->first_opset))) unsupported(&c, domain);
    if (!c.failed) gather_inputs(&c, row);
    if (f) c.mask = NULL; // values inside carry their own
    if (!c.failed && !c.quiet && f) run_function(&c, f);
    if (!c.failed && !c.quiet && row) {
        row->import(&c, row->arg);
        if (!c.failed && !c.quiet) check_all_read(&c);
    }
    bind_outputs(&c);
}

static void run_nodes(Importer *im, Scope *s, const bool *live)
{
    for (size_t i = 0; i < s->n_nodes && im->steps <= most_steps(im); i++)
        if (!live || live[i]) run_node(im, s, s->nodes[i]);
}

// ---- graphs

static bool bind_initializers(Importer *im, Scope *s, const Onnx__GraphProto *g)
{
    bool ok = true;
    for (size_t i = 0; i < g->n_initializer; i++) {
        const char *name = g->initializer[i]->name ? g->initializer[i]->name : "";
        if (scope_bind(scratch_arena(im->cx), s, name, (Value){.kind = VALUE_LAZY, .tensor = g->initializer[i]}))
            continue;
        diag_error(im->cx, NULL, DAMAGED, "two initializers are called '%.200s'", name);
        ok = false;
    }
    if (!g->n_sparse_initializer) return ok;
    diag_error(im->cx, NULL, "store the weights densely", "sparse initializers are not supported");
    return false;
}

bool run_subgraph(Call *c, const Onnx__GraphProto *g, int64_t iteration, int n_in, const Value *in, int n_out,
                  Value *out)
{
    Scope s = {.parent = c->scope,
               .depth = c->scope->depth + 1,
               .key = hash_mix(c->key, (uint64_t)iteration),
               .nodes = g->node,
               .n_nodes = g->n_node};
    if (s.depth > MAX_DEPTH) return fail(c, DAMAGED, "graphs are nested deeper than %d", MAX_DEPTH) != NULL;
    if ((int)g->n_input < n_in || (int)g->n_output != n_out)
        return fail(c, DAMAGED, "its subgraph has %zu inputs and %zu outputs instead of %d and %d", g->n_input,
                    g->n_output, n_in, n_out) != NULL;
    if (!bind_initializers(c->im, &s, g)) return (c->failed = true), false;
    for (int i = 0; i < n_in; i++)
        if (!scope_bind(scratch_arena(c->im->cx), &s, g->input[i]->name ? g->input[i]->name : "", in[i]))
            return fail(c, DAMAGED, "two inputs of its subgraph have one name") != NULL;
    run_nodes(c->im, &s, NULL);
    builder_origin(c->b, c->origin);
    Call inner = *c;
    inner.scope = &s;
    for (int i = 0; i < n_out; i++) {
        out[i] = lookup(&inner, g->output[i]->name ? g->output[i]->name : "");
        if (out[i].kind == VALUE_BROKEN) c->quiet = true;
    }
    c->failed = c->failed || inner.failed;
    return !c->failed && !c->quiet;
}

bool *inputs_with_defaults(Arena *arena, const Onnx__GraphProto *g)
{
    Scope names = {0};
    bool *has = ARENA_ARRAY(arena, bool, g->n_input + 1);
    for (size_t i = 0; i < g->n_initializer; i++)
        scope_bind(arena, &names, g->initializer[i]->name ? g->initializer[i]->name : "", (Value){0});
    for (size_t i = 0; i < g->n_input; i++)
        has[i] = scope_find(&names, g->input[i]->name ? g->input[i]->name : "") != NULL;
    return has;
}

bool run_main(Importer *im, int n_in, const char *const *names, const Value *in, int n_out, Value *out)
{
    const Onnx__GraphProto *g = im->model->graph;
    Scope s = {.key = 1, .nodes = g->node, .n_nodes = g->n_node};
    Onnx__NodeProto nothing = ONNX__NODE_PROTO__INIT;
    size_t before = im->cx->diag->errors;
    if (!bind_initializers(im, &s, g)) return false;
    for (int i = 0; i < n_in; i++)
        if (!scope_bind(scratch_arena(im->cx), &s, names[i], in[i]))
            diag_error(im->cx, NULL, DAMAGED, "two inputs, or an input and an initializer, are called '%.200s'",
                       names[i]);
    run_nodes(im, &s, live_nodes(im->cx->arena, g));
    builder_origin(im->b, NULL);
    for (int i = 0; i < n_out; i++) {
        Call c = {.im = im, .b = im->b, .node = &nothing, .scope = &s};
        Origin *o = ARENA_NEW(im->cx->arena, Origin);
        *o = (Origin){g->output[i]->name, "output", NULL, NULL};
        c.origin = o;
        out[i] = lookup(&c, g->output[i]->name ? g->output[i]->name : "");
    }
    return im->cx->diag->errors == before;
}

Importer *importer_new(Context *cx, Source *source, const Onnx__ModelProto *model, int64_t rows)
{
    Importer *im = ARENA_NEW(cx->arena, Importer);
    *im = (Importer){
        .cx = cx, .b = builder_new(cx, "main"), .source = source, .model = model, .rows = rows, .many_rows = 1};
    return im;
}
