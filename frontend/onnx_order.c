// Which nodes of a graph run, and in which order: each after the makers of what it reads.
//
// ONNX asks files to be so; ONNX Runtime does not, and its conversion to float16 appends its casts at the end. A node
// reads its inputs and what its subgraphs take from around them. A file in order stays as it is; else a search from
// each node, in the file's order, for what must come before it.
#include "onnx_scope.h"

#include <string.h>

typedef void NameFn(void *user, const char *name);

typedef struct {
    Arena *arena;
    NameFn *fn;
    void *user;
} Visit;

static void graph_reads(const Visit *visit, const Onnx__GraphProto *g, Scope *around);

// Every name that a node reads and none of the subgraphs around it (`inner`) holds.
static void node_reads(const Visit *visit, const Onnx__NodeProto *node, Scope *inner)
{
    for (size_t k = 0; k < node->n_input; k++)
        if (!scope_find(inner, node->input[k])) visit->fn(visit->user, node->input[k]);
    for (size_t k = 0; k < node->n_attribute; k++) {
        const Onnx__AttributeProto *a = node->attribute[k];
        if (a->g) graph_reads(visit, a->g, inner);
        for (size_t j = 0; j < a->n_graphs; j++) graph_reads(visit, a->graphs[j], inner);
    }
}

static void graph_reads(const Visit *visit, const Onnx__GraphProto *g, Scope *around)
{
    Scope own = {.parent = around};
    Value held = {0};
    for (size_t i = 0; i < g->n_input; i++)
        if (g->input[i]->name) scope_bind(visit->arena, &own, g->input[i]->name, held);
    for (size_t i = 0; i < g->n_initializer; i++)
        if (g->initializer[i]->name) scope_bind(visit->arena, &own, g->initializer[i]->name, held);
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++) scope_bind(visit->arena, &own, g->node[i]->output[k], held);
    for (size_t i = 0; i < g->n_node; i++) node_reads(visit, g->node[i], &own);
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name && !scope_find(&own, g->output[i]->name)) visit->fn(visit->user, g->output[i]->name);
}

// ---- order

typedef struct {
    Arena *arena;
    Scope makers;  // n_items of a name: the node that makes it
    size_t *reads; // makers of what node i reads: reads[first[i]] up to reads[first[i + 1]]
    size_t n_reads, cap;
} Makers;

static void add_maker(void *user, const char *name)
{
    Makers *m = user;
    const Value *maker = scope_find(&m->makers, name);
    if (maker) ARENA_PUSH(m->arena, m->reads, m->n_reads, m->cap, (size_t)maker->n_items);
}

typedef struct {
    const Makers *makers;
    const size_t *first;
    enum { NEW, WAITS, DONE } * state; // of each node
    size_t *next;                      // of what it reads: the first that may not be done
    size_t *path, *order, n_order;     // nodes that wait for the one behind them; those that are done
} Search;

// A node is done once all that it reads is. False: it waits for itself.
static bool finish(Search *s, size_t start)
{
    size_t depth = 0;
    if (s->state[start] == NEW) s->path[depth++] = start;
    while (depth) {
        size_t i = s->path[depth - 1];
        if (s->state[i] == NEW) s->next[i] = s->first[i];
        s->state[i] = WAITS;
        while (s->next[i] < s->first[i + 1] && s->state[s->makers->reads[s->next[i]]] == DONE) s->next[i]++;
        if (s->next[i] < s->first[i + 1]) {
            size_t maker = s->makers->reads[s->next[i]];
            if (s->state[maker] == WAITS) return false;
            s->path[depth++] = maker;
            continue;
        }
        s->state[i] = DONE;
        s->order[s->n_order++] = i;
        depth--;
    }
    return true;
}

static void reorder(const Makers *m, const size_t *first, Onnx__NodeProto **nodes, size_t n)
{
    Search s = {.makers = m, .first = first};
    s.state = arena_array(m->arena, n, sizeof *s.state);
    s.next = ARENA_ARRAY(m->arena, size_t, n);
    s.path = ARENA_ARRAY(m->arena, size_t, n);
    s.order = ARENA_ARRAY(m->arena, size_t, n);
    for (size_t i = 0; i < n; i++)
        if (!finish(&s, i)) return;
    Onnx__NodeProto **ordered = ARENA_ARRAY(m->arena, Onnx__NodeProto *, n);
    for (size_t i = 0; i < n; i++) ordered[i] = nodes[s.order[i]];
    memcpy(nodes, ordered, n * sizeof(Onnx__NodeProto *));
}

static void order_nodes(Arena *arena, Onnx__NodeProto **nodes, size_t n)
{
    Makers m = {.arena = arena};
    Visit visit = {arena, add_maker, &m};
    size_t *first = ARENA_ARRAY(arena, size_t, n + 1);
    bool in_order = true;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < nodes[i]->n_output; k++)
            if (*nodes[i]->output[k]) scope_bind(arena, &m.makers, nodes[i]->output[k], (Value){.n_items = (int)i});
    for (size_t i = 0; i < n; i++) {
        node_reads(&visit, nodes[i], NULL);
        first[i + 1] = m.n_reads;
        for (size_t k = first[i]; k < m.n_reads; k++) in_order = in_order && m.reads[k] < i;
    }
    if (!in_order) reorder(&m, first, nodes, n);
}

static void order_graphs(Arena *arena, Onnx__NodeProto **nodes, size_t n)
{
    order_nodes(arena, nodes, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
            const Onnx__AttributeProto *a = nodes[i]->attribute[k];
            if (a->g) order_graphs(arena, a->g->node, a->g->n_node);
            for (size_t j = 0; j < a->n_graphs; j++) order_graphs(arena, a->graphs[j]->node, a->graphs[j]->n_node);
        }
}

void order_model(Context *cx, Onnx__ModelProto *model)
{
    Arena *arena = scratch_arena(cx);
    order_graphs(arena, model->graph->node, model->graph->n_node);
    for (size_t i = 0; i < model->n_functions; i++)
        order_graphs(arena, model->functions[i]->node, model->functions[i]->n_node);
}

// ---- which nodes run

typedef struct {
    Arena *arena;
    Scope names;
} Needed;

static void need(void *user, const char *name)
{
    Needed *needed = user;
    scope_bind(needed->arena, &needed->names, name, (Value){0});
}

bool *live_nodes(Arena *arena, const Onnx__GraphProto *g)
{
    bool *live = ARENA_ARRAY(arena, bool, g->n_node + 1);
    Needed needed = {.arena = arena};
    Visit visit = {arena, need, &needed};
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name) need(&needed, g->output[i]->name);
    for (size_t i = g->n_node; i-- > 0;) {
        for (size_t k = 0; k < g->node[i]->n_output && !live[i]; k++)
            live[i] = scope_find(&needed.names, g->node[i]->output[k]) != NULL;
        if (live[i]) node_reads(&visit, g->node[i], NULL);
    }
    return live;
}
