// Rewriting a function node by node: see rewrite.h. Operands are rewritten before their users; nodes that nothing
// needs any more are dropped at the end.
#include "rewrite.h"

bool is_reshape(const Node *n) { return n->op == OP_move && n->n_in == 1 && !n->map; }

const Node *shapeless(const Node *x)
{
    while (is_reshape(x)) x = x->in[0];
    return x;
}

bool of_features(const Node *c, int64_t K)
{
    int64_t lanes = type_lanes(c->type);
    return node_is_const(c) && (lanes == 1 || (lanes == K && type_last(c->type) == K));
}

int *readers_of(Context *cx, const Function *f)
{
    int *readers = ARENA_ARRAY(scratch_arena(cx), int, f->n_nodes + 1);
    for (int i = 0; i < f->n_outputs; i++) readers[f->outputs[i].node->id]++;
    for (int i = f->n_nodes; i-- > 0;) {
        const Node *n = f->nodes[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) readers[n->in[k]->id] += is_reshape(n) ? readers[n->id] : 1;
    }
    return readers;
}

const Function *rewrite_function(Context *cx, const Function *f, RewriteRule *rule, void *user)
{
    Builder *b = builder_new(cx, f->name);
    const Node **now = ARENA_ARRAY(scratch_arena(cx), const Node *, f->n_nodes + 1);
    for (int i = 0; i < f->n_inputs; i++)
        now[f->inputs[i]->id] = build_input(b, f->inputs[i]->name, f->inputs[i]->type);
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        if (n->op == OP_input) continue;
        const Node **in = ARENA_ARRAY(scratch_arena(cx), const Node *, n->n_in + 1);
        for (int k = 0; k < n->n_in; k++) in[k] = n->in[k] ? now[n->in[k]->id] : NULL;
        builder_origin(b, n->origin);
        now[i] = rule ? rule(b, n, in, user) : NULL;
        if (!now[i]) now[i] = build_like(b, n, in);
    }
    builder_origin(b, NULL);
    for (int i = 0; i < f->n_outputs; i++) build_output(b, f->outputs[i].name, now[f->outputs[i].node->id]);
    return builder_finish(b);
}
