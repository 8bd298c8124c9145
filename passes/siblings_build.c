// The function in which every bundle is one node [G, ...]: operands side by side, members pieces of it.
#include "siblings.h"

#include <stdlib.h>

typedef struct {
    const Siblings *m;
    Builder *b;
    const Node **now; // by node id
} Emit;

static Type grouped(Type t, int n)
{
    for (int i = t.rank; i > 0; i--) t.dim[i] = t.dim[i - 1];
    t.dim[0] = n;
    t.rank++;
    if (t.dtype == T_F64) t.dtype = T_F32;
    return t;
}

// Operand k of all parts side by side, each of type t; one lane serves all of a part.
static const Node *side_by_side(Emit *e, const Bundle *b, int k, Type t)
{
    const Node **in = heap_array(b->n, sizeof *in);
    int64_t lanes = type_lanes(t), own = type_lanes(b->member[0]->in[k]->type);
    int32_t *map = heap_array(b->n * lanes, sizeof *map);
    for (int g = 0; g < b->n; g++) {
        in[g] = e->now[b->member[g]->in[k]->id];
        for (int64_t i = 0; i < lanes; i++) map[g * lanes + i] = (int32_t)(g * own + (own == 1 ? 0 : i));
    }
    const Node *all = build_move(e->b, grouped(t, b->n), b->n, in, map);
    free(in);
    free(map);
    return all;
}

static bool one_operand(const Bundle *b, int k)
{
    for (int g = 1; g < b->n; g++)
        if (b->member[g]->in[k] != b->member[0]->in[k]) return false;
    return true;
}

static const Node *build_product(Emit *e, const Bundle *b)
{
    const Node *n = b->member[0], *w = build_const(e->b, b->weights->type, b->weights->data);
    bool one = n->op == OP_linear && one_operand(b, 0);
    const Node *x = one ? e->now[n->in[0]->id] : side_by_side(e, b, 0, n->in[0]->type);
    if (n->op == OP_linear_t) return build_linear_t(e->b, x, w);
    const Node *bias = n->n_in > 2 && n->in[2] ? side_by_side(e, b, 2, n->in[2]->type) : NULL;
    return build_linear(e->b, x, w, bias, n->n_in > 3 ? side_by_side(e, b, 3, n->type) : NULL);
}

static const Node *build_bundle(Emit *e, const Bundle *b)
{
    const Node *n = b->member[0], *in[4];
    if (is_product(n)) return build_product(e, b);
    if (!op_elementwise(n->op)) return build_reduce(e->b, n->op, side_by_side(e, b, 0, n->in[0]->type));
    for (int k = 0; k < n->n_in; k++) {
        bool one = one_operand(b, k) && type_lanes(n->in[k]->type) == 1;
        in[k] = one ? e->now[n->in[k]->id] : side_by_side(e, b, k, n->type);
    }
    Node like = *n;
    like.type = grouped(n->type, b->n);
    return build_like(e->b, &like, in);
}

// Members are their parts of it.
static void hand_out(Emit *e, const Bundle *b, const Node *all)
{
    int64_t lanes = type_lanes(b->member[0]->type);
    int32_t *map = heap_array(lanes, sizeof *map);
    for (int g = 0; g < b->n; g++) {
        for (int64_t i = 0; i < lanes; i++) map[i] = (int32_t)(g * lanes + i);
        e->now[b->member[g]->id] = build_move(e->b, b->member[g]->type, 1, &all, map);
    }
    free(map);
}

static void build_unit(Emit *e, const Node *n)
{
    Seat s = e->m->seat[n->id];
    builder_origin(e->b, n->origin);
    if (s.bundle >= 0) {
        hand_out(e, &e->m->bundles[s.bundle], build_bundle(e, &e->m->bundles[s.bundle]));
        return;
    }
    e->now[n->id] = build_copy(e->b, n, e->now);
}

typedef struct {
    const Node **list;
    int n, cap;
} Stack;

static void push_missing(Emit *e, const Node *n, Stack *s)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && !e->now[n->in[k]->id]) ARENA_PUSH(scratch_arena(e->m->cx), s->list, s->n, s->cap, n->in[k]);
}

// In the function's order, but a bundle comes whole: what its members wait for comes before it.
static void build_all(Emit *e)
{
    const Siblings *m = e->m;
    Stack s = {NULL, 0, 0};
    for (int i = 0; i < m->f->n_nodes; i++) {
        ARENA_PUSH(scratch_arena(m->cx), s.list, s.n, s.cap, m->f->nodes[i]);
        while (s.n) {
            const Node *n = s.list[s.n - 1];
            int before = s.n, bundle = m->seat[n->id].bundle;
            if (!e->now[n->id] && bundle < 0) push_missing(e, n, &s);
            for (int g = 0; !e->now[n->id] && bundle >= 0 && g < m->bundles[bundle].n; g++)
                push_missing(e, m->bundles[bundle].member[g], &s);
            if (s.n > before) continue;
            if (!e->now[n->id]) build_unit(e, n);
            s.n--;
        }
    }
}

const Function *siblings_build(const Siblings *m)
{
    const Function *f = m->f;
    Emit e = {m, builder_new(m->cx, f->name), ARENA_ARRAY(scratch_arena(m->cx), const Node *, f->n_nodes + 1)};
    for (int i = 0; i < f->n_inputs; i++)
        e.now[f->inputs[i]->id] = build_input(e.b, f->inputs[i]->name, f->inputs[i]->type);
    build_all(&e);
    builder_origin(e.b, NULL);
    for (int i = 0; i < f->n_outputs; i++) build_output(e.b, f->outputs[i].name, e.now[f->outputs[i].node->id]);
    return builder_finish(e.b);
}
