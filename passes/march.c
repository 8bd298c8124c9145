// The order of a march: an inverse and the adjoint that runs along with it (derive, @act).
//
// The inverse goes from z to x, and so does the adjoint of log_prob. The nodes of the inverse keep their order; each
// node of the adjoint stands as soon as its operands are there. So a block's weights are read by the inverse and then,
// before the next block's, by its adjoint, and no activation outlives its block. A node waits for a number of operands;
// what becomes ready is taken in the old order.
#include "grad.h"

typedef struct {
    Context *cx;
    const Function *f;
    Builder *b;
    const Node **now; // by node id: the copy
    bool *forward;    // needed by the inverse
    int *waits;       // operands that have no copy yet
    int **users, *n_users, *cap_users;
    uint64_t *ready; // a set: adjoint nodes that wait for nothing
} March;

static void find_forward(March *m, const Node *last)
{
    m->forward[last->id] = true;
    for (int i = m->f->n_nodes - 1; i >= 0; i--)
        for (int k = 0; m->forward[i] && k < m->f->nodes[i]->n_in; k++)
            if (m->f->nodes[i]->in[k]) m->forward[m->f->nodes[i]->in[k]->id] = true;
}

static void set_ready(March *m, int id) { m->ready[id / 64] |= 1ull << (id % 64); }

static void find_users(March *m)
{
    for (int i = 0; i < m->f->n_nodes; i++) {
        const Node *n = m->f->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            int id = n->in[k]->id;
            ARENA_PUSH(scratch_arena(m->cx), m->users[id], m->n_users[id], m->cap_users[id], i);
            m->waits[i]++;
        }
        if (!m->waits[i] && !m->forward[i] && n->op != OP_input) set_ready(m, i);
    }
}

static void has_copy(March *m, int id)
{
    for (int u = 0; u < m->n_users[id]; u++) {
        int user = m->users[id][u];
        if (--m->waits[user] == 0 && !m->forward[user]) set_ready(m, user);
    }
}

static void copy_node(March *m, int id)
{
    m->now[id] = build_copy(m->b, m->f->nodes[id], m->now);
    has_copy(m, id);
}

// A node that becomes ready stands behind its operands, so the set is passed through once.
static void copy_ready(March *m)
{
    for (int w = 0; w <= m->f->n_nodes / 64; w++)
        while (m->ready[w]) {
            int id = w * 64 + __builtin_ctzll(m->ready[w]);
            m->ready[w] &= m->ready[w] - 1;
            copy_node(m, id);
        }
}

const Function *march_order(Context *cx, const Function *f, int n_outputs)
{
    size_t n = (size_t)f->n_nodes + 1;
    March m = {.cx = cx, .f = f, .b = builder_new(cx, f->name)};
    m.now = ARENA_ARRAY(scratch_arena(cx), const Node *, n);
    m.forward = ARENA_ARRAY(scratch_arena(cx), bool, n);
    m.waits = ARENA_ARRAY(scratch_arena(cx), int, n);
    m.users = ARENA_ARRAY(scratch_arena(cx), int *, n);
    m.n_users = ARENA_ARRAY(scratch_arena(cx), int, n);
    m.cap_users = ARENA_ARRAY(scratch_arena(cx), int, n);
    m.ready = ARENA_ARRAY(scratch_arena(cx), uint64_t, n / 64 + 1);
    find_forward(&m, f->outputs[n_outputs].node);
    find_users(&m);
    for (int i = 0; i < f->n_inputs; i++) {
        m.now[f->inputs[i]->id] = build_input(m.b, f->inputs[i]->name, f->inputs[i]->type);
        has_copy(&m, f->inputs[i]->id);
    }
    for (int i = 0; i < f->n_nodes; i++) {
        copy_ready(&m);
        if (m.forward[i] && !m.now[i]) copy_node(&m, i);
    }
    copy_ready(&m);
    for (int i = 0; i < n_outputs; i++) build_output(m.b, f->outputs[i].name, m.now[f->outputs[i].node->id]);
    return builder_finish(m.b);
}
