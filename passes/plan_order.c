// Which nodes are steps, and in which order. A node's level counts the steps before it; only nodes of equal level are
// joined to one map, so maps cannot wait for each other. Units go in topological order, smallest original position
// first.
#include "planner.h"

static bool joins(const Node *n, const Node *operand)
{
    return op_elementwise(operand->op) && type_lanes(operand->type) == type_lanes(n->type);
}

static int root_of(Planner *p, int id)
{
    while (p->unit[id] != id) id = p->unit[id];
    return id;
}

void find_levels(Planner *p)
{
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        bool elementwise = op_elementwise(n->op);
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k] || node_is_const(n->in[k])) continue;
            bool same = elementwise && joins(n, n->in[k]);
            int level = p->level[n->in[k]->id] + (same || n->op == OP_move ? 0 : 1);
            if (level > p->level[i]) p->level[i] = level;
        }
        p->unit[i] = op_info(n->op)->kind == KIND_LEAF ? -1 : i;
        if (n->op == OP_move) p->view[i] = view_of(n);
    }
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        for (int k = 0; op_elementwise(n->op) && k < n->n_in; k++)
            if (joins(n, n->in[k]) && p->level[n->in[k]->id] == p->level[i]) {
                int a = root_of(p, n->in[k]->id), b = root_of(p, i);
                p->unit[a > b ? a : b] = a < b ? a : b;
            }
    }
}

// Which values must be in memory; which moves need a step.
void find_stored(Planner *p)
{
    bool *move_step = ARENA_ARRAY(scratch_arena(p->cx), bool, p->f->n_nodes + 1);
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            const Node *v = n->in[k];
            if (!v || node_is_const(v)) continue;
            bool inside = op_elementwise(n->op) && joins(n, v) && root_of(p, v->id) == root_of(p, i);
            if (!inside) p->stored[v->id] = true;
            if (v->op != OP_move) continue;
            bool fits =
                op_elementwise(n->op) ? p->view[v->id].source && !node_is_const(p->view[v->id].source) : is_slice(p, v);
            fits = fits || (op_info(n->op)->kind == KIND_REDUCE && reduced_across(p, n)) || windows_read(p, n, k);
            if (n->op != OP_move && !fits) move_step[v->id] = true;
        }
    }
    for (int i = 0; i < p->f->n_outputs; i++) {
        const Node *v = p->f->outputs[i].node;
        p->stored[v->id] = true;
        if (v->op == OP_move && !is_slice(p, v)) move_step[v->id] = true;
    }
    for (int i = 0; i < p->f->n_nodes; i++)
        if (p->f->nodes[i]->op == OP_move && !move_step[i]) p->unit[i] = -1;
    for (int i = p->f->n_nodes - 1; i >= 0; i--) { // later concatenations are longer
        const Node *n = p->f->nodes[i];
        if (p->unit[i] >= 0 && n->op == OP_move && !n->map && !grow_parts(p, n)) reserve_parts(p, n);
    }
}

// ---- values that are made where they are read, so that no map stores them
//
//     d = x - m, m one lane or one for each line (each column) of x: by every map that reads it
//     d * d, read by a sum alone (a variance): by the sum, line by line (column by column)
// if x and m stand in memory anyway.

static bool stands(const Planner *p, const Node *v, int64_t lanes)
{
    v = reshaped(p, v);
    return !node_is_const(v) && v->op != OP_move && p->stored[v->id] && type_lanes(v->type) == lanes;
}

// A value after the other again and again.
static bool spread_across(const Planner *p, const Node *m)
{
    View v = p->view[m->id];
    return m->op == OP_move && v.source && v.first == 0 && v.outer_step == 0 && v.inner_step == 1;
}

// What stands in memory of m, or NULL.
const Node *centre_of(const Planner *p, const Node *difference)
{
    const Node *m = difference->in[1];
    if (stands(p, m, 1)) return m;
    if (m->op != OP_move || p->unit[m->id] >= 0) return NULL;
    View v = p->view[m->id];
    int64_t centres = spread_across(p, m) ? v.inner : type_lanes(m->type) / v.inner;
    bool spread = v.source && v.first == 0 && v.outer_step == 1 && v.inner_step == 0;
    return (spread || spread_across(p, m)) && stands(p, v.source, centres) ? v.source : NULL;
}

static bool centred(const Planner *p, const Node *n)
{
    int64_t lanes = type_lanes(n->type);
    return n->op == OP_sub && lanes > 1 && stands(p, n->in[0], lanes) && centre_of(p, n);
}

// The sum's lines are those of the centres.
static bool sums_lines(const Planner *p, const Node *sum, const Node *difference)
{
    int64_t centres = type_lanes(centre_of(p, difference)->type);
    bool across = spread_across(p, difference->in[1]);
    return centres == 1 || (centres == type_lanes(sum->type) && across == (reduced_across(p, sum) != NULL));
}

// By node: how often it is read, and whether by something else than maps of as many lanes.
static void count_uses(const Planner *p, int *uses, bool *elsewhere)
{
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            uses[n->in[k]->id]++;
            if (!op_elementwise(n->op) || !joins(n, n->in[k])) elsewhere[n->in[k]->id] = true;
        }
    }
    for (int i = 0; i < p->f->n_outputs; i++) {
        uses[p->f->outputs[i].node->id]++;
        elsewhere[p->f->outputs[i].node->id] = true;
    }
}

static void make(Planner *p, const Node *n)
{
    p->made[n->id] = true;
    p->stored[n->id] = false;
}

void find_made(Planner *p)
{
    int *uses = ARENA_ARRAY(scratch_arena(p->cx), int, p->f->n_nodes + 1);
    bool *elsewhere = ARENA_ARRAY(scratch_arena(p->cx), bool, p->f->n_nodes + 1);
    count_uses(p, uses, elsewhere);
    for (int i = 0; i < p->f->n_nodes; i++)
        if (!elsewhere[i] && centred(p, p->f->nodes[i])) make(p, p->f->nodes[i]);
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *sum = p->f->nodes[i];
        if (sum->op != OP_reduce_sum || uses[sum->in[0]->id] != 1) continue;
        const Node *across = reduced_across(p, sum), *square = across ? across : reshaped(p, sum->in[0]);
        bool squares = square->op == OP_mul && square->in[0] == square->in[1] && p->made[square->in[0]->id];
        if (squares && uses[square->id] == 1 && sums_lines(p, sum, square->in[0])) make(p, square);
    }
}

static void emit_unit(Planner *p, int root, const Node *const *members, int n)
{
    const Node *node = p->f->nodes[root];
    switch (op_info(node->op)->kind) {
    case KIND_LEAF: break;
    case KIND_MOVE: emit_move(p, node); break;
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY: emit_cluster(p, members, n); break;
    case KIND_LINEAR: emit_linear(p, node); break;
    case KIND_LINEAR_T: emit_linear_t(p, node); break;
    case KIND_MATMUL: emit_matmul(p, node); break;
    case KIND_REDUCE: emit_reduce(p, node); break;
    case KIND_TAKE: emit_take(p, node); break;
    }
}

typedef struct {
    const Node **members;
    int n, cap;
    int *users; // units that wait for this one
    int n_users, cap_users;
    int waits;
} Unit;

// Unit r waits for what v comes from, through views and what is made there. seen: by unit, the last one that was
// found to wait for it, + 1.
static void wait_for(Planner *p, const Node *v, int r, Unit *units, int *seen)
{
    if (node_is_const(v)) return;
    bool through = p->unit[v->id] < 0 || p->made[v->id];
    for (int k = 0; through && k < v->n_in; k++) wait_for(p, v->in[k], r, units, seen);
    if (through) return;
    int root = root_of(p, v->id);
    if (root == r || seen[root] == r + 1) return;
    seen[root] = r + 1;
    ARENA_PUSH(scratch_arena(p->cx), units[root].users, units[root].n_users, units[root].cap_users, r);
    units[r].waits++;
}

static Unit *find_units(Planner *p)
{
    int n = p->f->n_nodes;
    Unit *units = ARENA_ARRAY(scratch_arena(p->cx), Unit, n + 1);
    int *seen = ARENA_ARRAY(scratch_arena(p->cx), int, n + 1);
    for (int i = 0; i < n; i++)
        if (p->unit[i] >= 0 && !p->made[i]) {
            Unit *u = &units[root_of(p, i)];
            ARENA_PUSH(scratch_arena(p->cx), u->members, u->n, u->cap, p->f->nodes[i]);
        }
    for (int r = 0; r < n; r++)
        for (int m = 0; m < units[r].n; m++)
            for (int k = 0; k < units[r].members[m]->n_in; k++)
                if (units[r].members[m]->in[k]) wait_for(p, units[r].members[m]->in[k], r, units, seen);
    return units;
}

// Ready units, smallest first: original order as far as the clusters allow.
void emit_units(Planner *p)
{
    int n = p->f->n_nodes, words = n / 64 + 1;
    Unit *units = find_units(p);
    uint64_t *ready = ARENA_ARRAY(scratch_arena(p->cx), uint64_t, words);
    for (int r = 0; r < n; r++)
        if (units[r].n && !units[r].waits) ready[r / 64] |= 1ull << (r % 64);
    for (int w = 0; w < words;) {
        if (!ready[w]) {
            w++;
            continue;
        }
        int r = w * 64 + __builtin_ctzll(ready[w]);
        ready[w] &= ready[w] - 1;
        emit_unit(p, r, units[r].members, units[r].n);
        for (int k = 0; k < units[r].n_users; k++) {
            int u = units[r].users[k];
            if (--units[u].waits) continue;
            ready[u / 64] |= 1ull << (u % 64);
            if (u / 64 < w) w = u / 64;
        }
    }
}
