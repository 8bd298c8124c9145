// hoist-context: what depends on the contexts alone is computed once (`prepare`).
//
//     linear([x; y], W)  =  linear(x, W_x) + linear(y, W_y)      x event lanes, y context lanes
//
// and its adjoint likewise: linear_t(a, W) is linear_t(a, W_x) in the event's lanes, linear_t(a, W_y) in the context's.
// Afterwards the context-only nodes of @to_latent and @to_event move to two functions that both share:
//     @encode(contexts) -> e     the encoder: what the products read
//     @late(e) -> p              all the products W_y y, and what else the programs read
// and the programs (also @base) read p instead of the contexts. With a context per row only e is prepared and @late
// runs next to the program; the arithmetic is the same. Where p is so long that a tile's would leave the cache before
// it is read, both directions exist a second time: @to_latent_early and @to_event_early read e, and have each value of
// p computed just before its use.
#include "lane_env.h"
#include "pipeline.h"
#include "rewrite.h"

#include <stdlib.h>
#include <string.h>

static bool named(const Function *f, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(f->inputs[i]->name, name)) return true;
    return false;
}

// By node id: does it depend on an input that is no context? The contexts are the first n_contexts inputs of `program`.
static bool *event_dependent(Context *cx, const Function *f, const Function *program, int n_contexts)
{
    bool *event = ARENA_ARRAY(scratch_arena(cx), bool, f->n_nodes + 1);
    for (int i = 0; i < f->n_inputs; i++) event[f->inputs[i]->id] = !named(program, n_contexts, f->inputs[i]->name);
    for (int i = 0; i < f->n_nodes; i++)
        for (int k = 0; k < f->nodes[i]->n_in; k++)
            if (f->nodes[i]->in[k] && event[f->nodes[i]->in[k]->id]) event[i] = true;
    return event;
}

// ---- splitting products

// A matrix cut into the rows of the event and of the context: the same parts for every program and for the adjoint, so
// that equal products of the context are one and the weights stand once in the file.
typedef struct {
    const Node *w;
    const Node *x, *y; // the parts: constants of some function
    const int32_t *x_rows, *y_rows;
    int64_t n_x, n_y;
} Cut;

typedef struct {
    Context *cx;
    Cut *cuts;
    int n, cap;
} Cuts;

typedef struct {
    const bool *event;
    Cuts *cuts;
} SplitUser;

static bool same_matrix(const Node *a, const Node *b) { return a->data == b->data && type_equal(a->type, b->type); }

static const Cut *find_cut(const Cuts *c, const Node *w, const int32_t *y_rows, int64_t n_y)
{
    for (int i = 0; i < c->n; i++)
        if (same_matrix(c->cuts[i].w, w) &&
            (!y_rows || (c->cuts[i].n_y == n_y && !memcmp(c->cuts[i].y_rows, y_rows, (size_t)n_y * 4))))
            return &c->cuts[i];
    return NULL;
}

static const Cut *cut_of(Cuts *c, Builder *b, const Node *w, const int32_t *x_rows, int64_t n_x, const int32_t *y_rows,
                         int64_t n_y)
{
    const Cut *known = find_cut(c, w, y_rows, n_y);
    if (known) return known;
    int64_t N = w->type.dim[1];
    Cut cut = {w,  matrix_part(b, w, n_x, x_rows, N, NULL), matrix_part(b, w, n_y, y_rows, N, NULL), NULL, NULL, n_x,
               n_y};
    cut.x_rows = arena_copy(scratch_arena(c->cx), x_rows, (size_t)n_x * 4);
    cut.y_rows = arena_copy(scratch_arena(c->cx), y_rows, (size_t)n_y * 4);
    ARENA_PUSH(scratch_arena(c->cx), c->cuts, c->n, c->cap, cut);
    return &c->cuts[c->n - 1];
}

static const Node *part_here(Builder *b, const Node *part) { return build_const(b, part->type, part->data); }

// linear_t on a matrix that is cut: each part's lanes from the part, in the order of the whole.
static const Node *split_adjoint(Builder *b, const Node *n, const Node *const *in, const Cuts *cuts)
{
    const Cut *c = find_cut(cuts, n->in[1], NULL, 0);
    if (!c) return NULL;
    int64_t K = n->in[1]->type.dim[0], tokens = type_lanes(n->type) / K, total = tokens * c->n_x;
    const Node *parts[2] = {build_linear_t(b, in[0], part_here(b, c->x)), build_linear_t(b, in[0], part_here(b, c->y))};
    int32_t *map = heap_array(tokens * K, sizeof *map);
    for (int64_t m = 0; m < tokens; m++) {
        for (int64_t r = 0; r < c->n_x; r++) map[m * K + c->x_rows[r]] = (int32_t)(m * c->n_x + r);
        for (int64_t r = 0; r < c->n_y; r++) map[m * K + c->y_rows[r]] = (int32_t)(total + m * c->n_y + r);
    }
    const Node *whole = build_move(b, n->type, 2, parts, map);
    free(map);
    return whole;
}

// Row k of the product is context only: in every token its lane comes from a context-only node.
static bool row_is_context(const Node *n, const bool *event, int64_t k, int64_t tokens)
{
    int64_t K = n->in[1]->type.dim[0];
    for (int64_t m = 0; m < tokens; m++)
        if (event[lane_canonical(n->in[0], m * K + k).node->id]) return false;
    return true;
}

static const Node *pick(Builder *b, const Node *x, int64_t tokens, int64_t K, const int32_t *rows, int64_t n)
{
    int32_t *map = heap_array(tokens * n, sizeof *map);
    for (int64_t m = 0; m < tokens; m++)
        for (int64_t r = 0; r < n; r++) map[m * n + r] = (int32_t)(m * K + rows[r]);
    int64_t dim[2] = {tokens, n};
    const Node *part = build_move(b, type_make(T_F32, 2, dim), 1, &x, map);
    free(map);
    return part;
}

static const Node *split_rule(Builder *b, const Node *n, const Node *const *in, void *user)
{
    const SplitUser *u = user;
    if (n->op == OP_linear_t) return split_adjoint(b, n, in, u->cuts);
    if (n->op != OP_linear || n->n_in > 3 || !u->event[n->id]) return NULL;
    int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1], tokens = type_lanes(n->type) / N, n_y = 0, n_x = 0;
    int32_t *y = heap_array(K, sizeof(int32_t)), *x = heap_array(K, sizeof(int32_t));
    const Node *now = NULL;
    for (int64_t k = 0; k < K; k++) {
        if (row_is_context(n, u->event, k, tokens))
            y[n_y++] = (int32_t)k;
        else
            x[n_x++] = (int32_t)k;
    }
    if (n_x && n_y) {
        const Cut *c = cut_of(u->cuts, b, in[1], x, n_x, y, n_y);
        const Node *own = part_here(b, c->y), *p = build_linear(b, pick(b, in[0], tokens, K, y, n_y), own, NULL, NULL);
        const Node *bias = n->n_in > 2 ? in[2] : NULL, *add = node_is_const(p) ? NULL : p; // it has no lanes in PREP
        own = part_here(b, c->x);
        now = build_linear(b, pick(b, in[0], tokens, K, x, n_x), own, bias, add);
        if (!add) now = build_binary(b, OP_add, now, p);
        now = build_reshape(b, now, n->type.rank, n->type.dim);
    }
    free(y);
    free(x);
    return now;
}

// ---- cutting out the context-only nodes

typedef struct {
    Context *cx;
    Builder *b;          // holds the context-only nodes of all programs
    const Node **values; // p: nodes of b that programs read
    int n, cap;
} Shared;

static int shared_index(Shared *s, const Node *v)
{
    for (int i = 0; i < s->n; i++)
        if (s->values[i] == v) return i;
    ARENA_PUSH(scratch_arena(s->cx), s->values, s->n, s->cap, v);
    return s->n - 1;
}

// Copy the context-only nodes of f into the shared builder; now[id] is the copy.
static const Node **copy_context_nodes(Shared *s, const Function *f, const bool *event, const Node *const *inputs,
                                       int n_contexts)
{
    const Node **now = ARENA_ARRAY(scratch_arena(s->cx), const Node *, f->n_nodes + 1);
    for (int i = 0; i < n_contexts; i++) now[f->inputs[i]->id] = inputs[i];
    for (int i = 0; i < f->n_nodes; i++)
        if (!event[i] && f->nodes[i]->op != OP_input) now[i] = build_copy(s->b, f->nodes[i], now);
    return now;
}

// Lanes of the context-only node n that an event-dependent node reads, as nodes of b that are not moves.
static void mark_read(Shared *s, const Node *copy)
{
    if (node_is_const(copy)) return;
    if (copy->op != OP_move) {
        shared_index(s, copy);
        return;
    }
    for (int k = 0; k < copy->n_in; k++)
        if (!node_is_const(copy->in[k])) shared_index(s, copy->in[k]);
}

static void find_read(Shared *s, const Function *f, const bool *event, const Node *const *now)
{
    for (int i = 0; i < f->n_nodes; i++)
        for (int k = 0; event[i] && k < f->nodes[i]->n_in; k++)
            if (f->nodes[i]->in[k] && !event[f->nodes[i]->in[k]->id]) mark_read(s, now[f->nodes[i]->in[k]->id]);
    for (int i = 0; i < f->n_outputs; i++)
        if (!event[f->outputs[i].node->id]) mark_read(s, now[f->outputs[i].node->id]);
}

// Where the values that a function reads (nodes of the shared builder, no moves) stand: number k in `from` at lane
// base[k]; or by itself, made from `early` when it is first read.
typedef struct Prepared Prepared;
struct Prepared {
    const Node **values;
    int n;
    int64_t *base; // [n + 1]
    const Node *from;
    const Node **made;
    const Prepared *early;
};

static Prepared prepared_new(Context *cx, const Node **values, int n)
{
    Prepared pr = {.values = values, .n = n, .base = ARENA_ARRAY(scratch_arena(cx), int64_t, n + 1)};
    for (int i = 0; i < n; i++) pr.base[i + 1] = pr.base[i] + type_lanes(values[i]->type);
    return pr;
}

static int64_t prepared_lanes(const Prepared *pr) { return pr->base[pr->n]; }

static const Node *late_value(Builder *b, const Prepared *early, const Node *v);

static LaneRef prepared_lane(Builder *b, const Prepared *pr, int k, int64_t lane)
{
    if (pr->from) return (LaneRef){pr->from, pr->base[k] + lane};
    if (!pr->made[k]) pr->made[k] = late_value(b, pr->early, pr->values[k]);
    return (LaneRef){pr->made[k], lane};
}

static const Node *from_prepared(Builder *b, const Prepared *pr, const Node *copy)
{
    if (node_is_const(copy)) return build_const(b, copy->type, copy->data);
    int64_t n = type_lanes(copy->type);
    LaneRef *refs = heap_array(n, sizeof *refs);
    for (int64_t i = 0; i < n; i++) {
        LaneRef r = lane_canonical(copy, i);
        if (node_is_const(r.node)) {
            refs[i] = (LaneRef){build_const(b, r.node->type, r.node->data), r.lane};
            continue;
        }
        for (int k = 0; k < pr->n; k++)
            if (pr->values[k] == r.node) refs[i] = prepared_lane(b, pr, k, r.lane);
    }
    const Node *v = lanes_gather_as(b, refs, copy->type);
    free(refs);
    return v;
}

// A value of p from e: a product, or lanes of e.
static const Node *late_value(Builder *b, const Prepared *early, const Node *v)
{
    if (v->op != OP_linear) return from_prepared(b, early, v);
    const Node *w = build_const(b, v->in[1]->type, v->in[1]->data);
    const Node *bias = v->n_in > 2 && v->in[2] ? build_const(b, v->in[2]->type, v->in[2]->data) : NULL;
    return build_linear(b, from_prepared(b, early, v->in[0]), w, bias, NULL);
}

// f in the builder b, which has the inputs of `pr`.
static const Function *without_context(Context *cx, Builder *b, const Prepared *pr, const Function *f,
                                       const bool *event, const Node *const *copies, int n_contexts)
{
    const Node **now = ARENA_ARRAY(scratch_arena(cx), const Node *, f->n_nodes + 1);
    for (int i = n_contexts; i < f->n_inputs; i++)
        now[f->inputs[i]->id] = build_input(b, f->inputs[i]->name, f->inputs[i]->type);
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        if (!event[i] || n->op == OP_input) continue;
        const Node **in = ARENA_ARRAY(scratch_arena(cx), const Node *, n->n_in + 1);
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            int id = n->in[k]->id;
            if (!event[id] && !now[id]) now[id] = from_prepared(b, pr, copies[id]);
            in[k] = now[id];
        }
        builder_origin(b, n->origin);
        now[i] = build_like(b, n, in);
        builder_origin(b, NULL);
    }
    for (int i = 0; i < f->n_outputs; i++) {
        int id = f->outputs[i].node->id;
        if (!event[id]) now[id] = from_prepared(b, pr, copies[id]);
        build_output(b, f->outputs[i].name, now[id]);
    }
    return builder_finish(b);
}

// ---- @encode and @late

// e: what the products among p read, and every p that is no product.
static Prepared encode_output(Shared *s)
{
    const Node **list = NULL;
    int n = 0, cap = 0;
    for (int i = 0; i < s->n; i++) {
        const Node *v = s->values[i], *sources[1] = {v};
        const Node *const *read = sources;
        int n_read = 1;
        if (v->op == OP_linear) {
            bool move = v->in[0]->op == OP_move;
            read = move ? v->in[0]->in : &v->in[0];
            n_read = move ? v->in[0]->n_in : 1;
        }
        for (int k = 0; k < n_read; k++) {
            bool seen = node_is_const(read[k]);
            for (int j = 0; j < n && !seen; j++) seen = list[j] == read[k];
            if (!seen) ARENA_PUSH(scratch_arena(s->cx), list, n, cap, read[k]);
        }
    }
    Prepared e = prepared_new(s->cx, list, n);
    build_output(s->b, "e", build_move(s->b, type_vector(prepared_lanes(&e)), n, list, NULL));
    return e;
}

static Prepared early_input(Builder *b, Prepared e)
{
    e.from = build_input(b, "e", type_vector(prepared_lanes(&e)));
    return e;
}

static const Function *late_function(Context *cx, const Prepared *p, const Prepared *e)
{
    Builder *b = builder_new(cx, "late");
    const Node **parts = ARENA_ARRAY(scratch_arena(cx), const Node *, p->n + 1);
    Prepared early = early_input(b, *e);
    for (int i = 0; i < p->n; i++) parts[i] = late_value(b, &early, p->values[i]);
    build_output(b, "p", build_move(b, type_vector(prepared_lanes(p)), p->n, parts, NULL));
    return builder_finish(b);
}

// ---- the programs

enum { FAR_PREP = 4096 }; // lanes: of 64 rows 1 MiB, a core's own cache

typedef struct {
    const Function *f;
    const bool *event;
    const Node *const *copies;
    int n_contexts;
} Part;

static const Function *reads_prepared(Context *cx, const Part *part, Prepared p)
{
    Builder *b = builder_new(cx, part->f->name);
    if (p.n) p.from = build_input(b, "p", type_vector(prepared_lanes(&p)));
    return without_context(cx, b, &p, part->f, part->event, part->copies, part->n_contexts);
}

static const Function *reads_early(Context *cx, const Part *part, Prepared p, const Prepared *e)
{
    Builder *b = builder_new(cx, arena_format(cx->arena, "%s_early", part->f->name));
    Prepared early = early_input(b, *e);
    p.early = &early;
    p.made = ARENA_ARRAY(scratch_arena(cx), const Node *, p.n + 1);
    return without_context(cx, b, &p, part->f, part->event, part->copies, part->n_contexts);
}

static bool is_direction(const Function *f) { return !strcmp(f->name, "to_latent") || !strcmp(f->name, "to_event"); }

Module *pass_hoist_context(const Module *m, Context *cx)
{
    int most = m->n_functions + 5;
    Part *parts = ARENA_ARRAY(scratch_arena(cx), Part, most);
    const Function **out = ARENA_ARRAY(scratch_arena(cx), const Function *, most);
    int n_parts = 0, n_out = 0, n_contexts = 0;
    for (int i = 0; i < m->n_functions; i++)
        if (strcmp(m->functions[i]->name, "run")) parts[n_parts++].f = m->functions[i];
    if (n_parts) n_contexts = parts[0].f->n_inputs - 1;
    if (n_contexts <= 0) return module_new(cx, STAGE_FUSED, m->n_functions, m->functions, m);
    const Function *run = module_function(m, "run"), *first = parts[0].f;
    Cuts cuts = {cx, NULL, 0, 0};
    SplitUser run_user = {event_dependent(cx, run, first, n_contexts), &cuts};
    out[n_out++] =
        rewrite_function(cx, run, split_rule, &run_user); // the same products: weights stand once in the file
    Shared s = {cx, builder_new(cx, "encode"), NULL, 0, 0};
    const Node **inputs = ARENA_ARRAY(scratch_arena(cx), const Node *, n_contexts);
    for (int i = 0; i < n_contexts; i++) inputs[i] = build_input(s.b, first->inputs[i]->name, first->inputs[i]->type);
    for (Part *p = parts; p < parts + n_parts; p++) {
        SplitUser user = {event_dependent(cx, p->f, p->f, n_contexts), &cuts};
        p->f = rewrite_function(cx, p->f, split_rule, &user);
        p->event = event_dependent(cx, p->f, p->f, n_contexts);
        p->copies = copy_context_nodes(&s, p->f, p->event, inputs, n_contexts);
        p->n_contexts = n_contexts;
        find_read(&s, p->f, p->event, p->copies);
    }
    Prepared p = prepared_new(cx, s.values, s.n);
    for (int i = 0; i < n_parts; i++) out[n_out++] = reads_prepared(cx, &parts[i], p);
    if (!s.n) return module_new(cx, STAGE_FUSED, n_out, out, m);
    Prepared e = encode_output(&s);
    for (int i = 0; i < n_parts && prepared_lanes(&p) >= FAR_PREP; i++)
        if (is_direction(parts[i].f)) out[n_out++] = reads_early(cx, &parts[i], p, &e);
    out[n_out++] = late_function(cx, &p, &e);
    out[n_out++] = builder_finish(s.b);
    return module_new(cx, STAGE_FUSED, n_out, out, m);
}
