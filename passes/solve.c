// The solver on lanes.
//
// Every canonical lane is known or unknown. Two kinds of step are tried until nothing changes: forward (an output
// lane whose needed inputs are known) in topological order, then backward at the last node that may allow it: a
// one-lane bijection with one unknown operand, or a product in which k outputs are known and only k inputs with a
// weight are not. Where both stall, a known lane is looked for that is a function of one unknown lane (one_lane.h),
// then known lanes that are affine in as many unknown ones (solve_system.h). Nodes are visited only when a lane next to
// them became known (two bit sets, forward and backward), and then only the lanes that have nothing left to wait for
// (solve_reads.h). Lanes that nothing reads are not computed.
#include "solve.h"
#include "lane_order.h"
#include "solve_block.h"
#include "solve_reads.h"
#include "wrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int n;
    const int *ids;
} Users;

typedef struct {
    int64_t *lanes;
    int64_t n, cap;
} LaneList;

typedef struct {
    Context *cx;
    const Function *f;
    LaneEnv *base;
    bool *known;
    Reads *reads;
    bool *wanted;                 // by lane number: outputs, and what is to be found
    LaneList *ready, *found;      // by node id: results to compute; known results with one unknown operand
    int32_t **outputs;            // by node id, of products: known results by token
    Users *users;                 // by node id: ids of the nodes that read it (through moves)
    uint64_t *forward, *backward; // nodes to visit
    const bool *clips;            // by node id: min or max in front of atanh or log
    SolveStep *steps;
    int n_steps, cap_steps;
    double condition;
    OneLaneFinder *finder; // NULL: not needed yet
    const char *why;       // of a system that is refused
} Solver;

static int64_t lane_number(const Solver *s, LaneRef r) { return s->base->base[r.node->id] + r.lane; }
static bool is_known(const Solver *s, LaneRef r) { return node_is_const(r.node) || s->known[lane_number(s, r)]; }
static void mark(uint64_t *set, int id) { set[id >> 6] |= 1ull << (id & 63); }

static void put_lane(LaneList *list, int64_t lane) { HEAP_PUSH(list->lanes, list->n, list->cap, lane); }

static void waiting(void *user, const Node *n, int64_t i, int left)
{
    Solver *s = user;
    int64_t at = s->base->base[n->id] + i;
    if (left) {
        if (s->known[at]) put_lane(&s->found[n->id], i);
    } else if (!s->known[at] && (s->wanted[at] || reads_any(s->reads, (LaneRef){n, i}))) {
        put_lane(&s->ready[n->id], i);
        mark(s->forward, n->id);
    }
}

static void learn(Solver *s, LaneRef r)
{
    if (node_is_const(r.node)) return;
    bool *k = &s->known[lane_number(s, r)];
    if (*k) return;
    *k = true;
    mark(s->backward, r.node->id);
    Users u = s->users[r.node->id];
    for (int i = 0; i < u.n; i++) mark(s->backward, u.ids[i]);
    if (op_elementwise(r.node->op) && reads_left(s->reads, r.node, r.lane) == 1)
        put_lane(&s->found[r.node->id], r.lane);
    if (r.node->op == OP_linear) s->outputs[r.node->id][r.lane / type_last(r.node->type)]++;
    reads_learn(s->reads, r);
}

static int by_lane(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

// The list's lanes, rising; the list is empty afterwards. The caller frees them.
static int64_t *take_lanes(LaneList *list, int64_t *n)
{
    int64_t *lanes = list->lanes;
    *n = list->n;
    *list = (LaneList){0};
    if (*n > 1) qsort(lanes, (size_t)*n, sizeof *lanes, by_lane);
    return lanes;
}

static SolveStep *push_step(Solver *s, SolveKind kind, const Node *n, int64_t count, const int64_t *lanes)
{
    SolveStep step = {.kind = kind,
                      .node = n,
                      .n = count,
                      .lanes = arena_copy(scratch_arena(s->cx), lanes, (size_t)count * sizeof *lanes)};
    ARENA_PUSH(scratch_arena(s->cx), s->steps, s->n_steps, s->cap_steps, step);
    return &s->steps[s->n_steps - 1];
}

// ---- forward

static void visit_forward(Solver *s, const Node *n)
{
    int64_t all = 0, count = 0, *ready = take_lanes(&s->ready[n->id], &all);
    for (int64_t i = 0; i < all; i++)
        if (!is_known(s, (LaneRef){n, ready[i]})) ready[count++] = ready[i];
    if (count) push_step(s, STEP_FORWARD, n, count, ready);
    for (int64_t j = 0; j < count; j++) learn(s, (LaneRef){n, ready[j]});
    free(ready);
}

// ---- backward: one lane

// Can operand k of n's lane i be found from the result and the other operands?
static bool invertible(const Solver *s, const Node *n, int k, int64_t i)
{
    switch ((int)n->op) {
    case OP_leaky_relu:
    case OP_elu: return n->alpha > 0;
    case OP_min:
    case OP_max: return s->clips[n->id] && node_is_const(n->in[1 - k]);
    case OP_mod: return wraps(n, k);
    case OP_pow: return k == 0 && lane_power_inverts(n, i);
    default: return op_info(n->op)->bijective;
    }
}

static int unknown_operand(const Solver *s, const Node *n, int64_t i)
{
    int found = -1;
    for (int k = 0; k < n->n_in; k++) {
        if (is_known(s, lane_operand(n, k, i))) continue;
        if (found >= 0) return -1;
        found = k;
    }
    return found >= 0 && invertible(s, n, found, i) ? found : -1;
}

// A multiplier or divisor that is the constant 0 inverts nothing.
static bool divides_by_zero(const Node *n, int k, int64_t i)
{
    if (n->op != OP_mul && !(n->op == OP_div && k == 1)) return false;
    LaneRef other = lane_operand(n, 1 - k, i);
    return lane_is_const(other) && lane_value(other) == 0;
}

static void visit_elementwise_back(Solver *s, const Node *n)
{
    int64_t all = 0, *lanes = take_lanes(&s->found[n->id], &all);
    int64_t *ready = heap_array(all, sizeof *ready);
    for (int k = 0; all && k < n->n_in; k++) {
        int64_t count = 0;
        for (int64_t j = 0; j < all; j++) {
            int64_t i = lanes[j];
            if (unknown_operand(s, n, i) != k || divides_by_zero(n, k, i)) continue;
            ready[count++] = i;
            learn(s, lane_operand(n, k, i));
        }
        if (count) push_step(s, STEP_BACKWARD, n, count, ready)->operand = k;
    }
    free(ready);
    free(lanes);
}

// ---- backward: a block of a product

static bool push_block(Solver *s, const Node *n, Block *b, const int64_t *tokens, int64_t n_tokens)
{
    if (!solve_block_invert(scratch_arena(s->cx), n, b)) return false;
    SolveStep *step = push_step(s, STEP_BLOCK, n, n_tokens, tokens);
    step->k = b->k;
    step->rows = arena_copy(scratch_arena(s->cx), b->rows, (size_t)b->k * sizeof *b->rows);
    step->cols = arena_copy(scratch_arena(s->cx), b->cols, (size_t)b->k * sizeof *b->cols);
    step->inverse = b->inverse;
    step->log_det = b->log_det;
    step->condition = b->condition;
    s->condition = fmax(s->condition, b->condition);
    return true;
}

// The tokens that have the block of the first one; others wait for the next visit.
static void visit_linear_back(Solver *s, const Node *n)
{
    int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1], tokens = N ? type_lanes(n->type) / N : 0;
    Block b = solve_block_new(n), first = solve_block_new(n);
    int64_t *same = heap_array(tokens, sizeof *same), n_same = 0;
    for (int64_t m = 0; m < tokens; m++) {
        if (!reads_token_left(s->reads, n, m) || !s->outputs[n->id][m]) continue;
        if (!solve_block_find(s->base, s->known, n, m, &b) || (n_same && !solve_block_same(&first, &b))) continue;
        if (!n_same) solve_block_copy(&first, &b);
        same[n_same++] = m;
    }
    if (n_same && push_block(s, n, &first, same, n_same)) {
        for (int64_t t = 0; t < n_same; t++)
            for (int64_t r = 0; r < first.k; r++) learn(s, lane_canonical(n->in[0], same[t] * K + first.rows[r]));
        mark(s->backward, n->id);
    }
    solve_block_free(&b);
    solve_block_free(&first);
    free(same);
}

static void visit_backward(Solver *s, const Node *n)
{
    if (op_elementwise(n->op))
        visit_elementwise_back(s, n);
    else if (n->op == OP_linear)
        visit_linear_back(s, n);
}

// ---- set-up and loop

static void find_users(Solver *s)
{
    const Function *f = s->f;
    Arena *a = scratch_arena(s->cx);
    int **lists = ARENA_ARRAY(a, int *, f->n_nodes + 1), *caps = ARENA_ARRAY(a, int, f->n_nodes + 1);
    s->users = ARENA_ARRAY(a, Users, f->n_nodes + 1);
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        if (n->op == OP_move) continue;
        for (int k = 0; k < n->n_in; k++) {
            const Node *v = n->in[k];
            if (!v || node_is_const(v)) continue;
            int sources = v->op == OP_move ? v->n_in : 1;
            for (int j = 0; j < sources; j++) {
                int id = v->op == OP_move ? v->in[j]->id : v->id;
                if (s->users[id].n && lists[id][s->users[id].n - 1] == i) continue;
                ARENA_PUSH(a, lists[id], s->users[id].n, caps[id], i);
                s->users[id].ids = lists[id];
            }
        }
    }
}

// ---- functions of one lane

static bool visit_function(Solver *s, const Node *n, bool nets)
{
    const OneLane *g = one_lane_find(s->finder, n, nets);
    if (!g) return false;
    int64_t *lanes = heap_array(g->n, sizeof *lanes);
    for (int i = 0; i < g->n; i++) lanes[i] = g->u[i].lane;
    push_step(s, STEP_FUNCTION, n, g->n, lanes)->function = g;
    free(lanes);
    for (int i = 0; i < g->n; i++) {
        learn(s, g->v[i]);
        for (int p = 0; p < g->n_lanes[i]; p++)
            if (g->fixed[i][p]) learn(s, g->lanes[i][p]);
    }
    return true;
}

static bool visit_functions(Solver *s, bool nets)
{
    if (!s->finder) s->finder = one_lane_finder(s->cx, s->f, s->base, s->known);
    for (int i = s->f->n_nodes - 1; i >= 0; i--)
        if (visit_function(s, s->f->nodes[i], nets)) return true;
    return false;
}

// ---- systems

static bool visit_system(Solver *s)
{
    const System *y = NULL;
    for (int computed = 0; computed < 2 && !y; computed++)
        y = find_system(s->cx, &(SystemQuestion){s->f, s->base, s->known, computed, &s->why});
    if (!y) return false;
    push_step(s, STEP_SYSTEM, y->known[0].node, 1, &y->known[0].lane)->system = y;
    s->condition = fmax(s->condition, y->condition);
    for (int i = 0; i < y->k; i++) learn(s, y->atoms[i]);
    return true;
}

static int first_of(uint64_t *set, int words)
{
    for (int w = 0; w < words; w++)
        if (set[w]) {
            int bit = __builtin_ctzll(set[w]);
            set[w] &= set[w] - 1;
            return w * 64 + bit;
        }
    return -1;
}

static int last_of(uint64_t *set, int words)
{
    for (int w = words - 1; w >= 0; w--)
        if (set[w]) {
            int bit = 63 - __builtin_clzll(set[w]);
            set[w] &= ~(1ull << bit);
            return w * 64 + bit;
        }
    return -1;
}

static void want(Solver *s, LaneRef r)
{
    if (!node_is_const(r.node)) s->wanted[lane_number(s, r)] = true;
}

static void begin(Solver *s, const LaneRef *to, int64_t n_to)
{
    const Function *f = s->f;
    s->ready = heap_array(f->n_nodes, sizeof *s->ready);
    s->found = heap_array(f->n_nodes, sizeof *s->found);
    s->outputs = heap_array(f->n_nodes, sizeof *s->outputs);
    s->wanted = heap_array(s->base->n_lanes, sizeof *s->wanted);
    for (int i = 0; i < f->n_nodes; i++)
        if (f->nodes[i]->op == OP_linear && type_lanes(f->nodes[i]->type))
            s->outputs[i] =
                heap_array(type_lanes(f->nodes[i]->type) / type_last(f->nodes[i]->type), sizeof **s->outputs);
    for (int64_t i = 0; i < n_to; i++) want(s, to[i]);
    for (int i = 0; i < f->n_outputs; i++)
        for (int64_t k = 0; k < type_lanes(f->outputs[i].node->type); k++)
            want(s, lane_canonical(f->outputs[i].node, k));
    s->reads = reads_new(f, s->base, waiting, s);
    reads_start(s->reads);
}

static void end(Solver *s)
{
    for (int i = 0; i < s->f->n_nodes; i++) {
        free(s->ready[i].lanes);
        free(s->found[i].lanes);
        free(s->outputs[i]);
    }
    reads_free(s->reads);
    free(s->ready);
    free(s->found);
    free(s->outputs);
    free(s->wanted);
}

// How many of the first lanes of `to` are known, from the `done` that are on.
static int64_t known_up_to(const Solver *s, const LaneRef *to, int64_t n_to, int64_t done)
{
    while (done < n_to && is_known(s, to[done])) done++;
    return done;
}

Solution *solve_lanes(Context *cx, const Function *f, const LaneRef *from, int64_t n_from, const LaneRef *to,
                      int64_t n_to)
{
    Solver s = {.cx = cx, .f = f, .base = lane_env_new(cx, f, NULL)};
    int words = f->n_nodes / 64 + 1;
    s.known = ARENA_ARRAY(scratch_arena(cx), bool, s.base->n_lanes + 1);
    s.forward = ARENA_ARRAY(scratch_arena(cx), uint64_t, words);
    s.backward = ARENA_ARRAY(scratch_arena(cx), uint64_t, words);
    find_users(&s);
    s.clips = solve_clips(cx, f);
    begin(&s, to, n_to);
    for (int64_t i = 0; i < n_from; i++) learn(&s, from[i]);
    for (int64_t done = 0; (done = known_up_to(&s, to, n_to, done)) < n_to;) {
        int id = first_of(s.forward, words);
        if (id >= 0)
            visit_forward(&s, f->nodes[id]);
        else if ((id = last_of(s.backward, words)) >= 0)
            visit_backward(&s, f->nodes[id]);
        else if (!visit_functions(&s, false) && !visit_system(&s) && !visit_functions(&s, true))
            break;
    }
    Solution *out = ARENA_NEW(scratch_arena(cx), Solution);
    *out = (Solution){f,           s.steps, s.n_steps, known_up_to(&s, to, n_to, 0) == n_to,
                      s.condition, s.base,  s.known,   s.why ? s.why : s.finder ? one_lane_why(s.finder) : NULL};
    end(&s);
    return out;
}

int solve_unproved(const Solution *s)
{
    int count = 0;
    for (int i = 0; i < s->n_steps; i++)
        if (s->steps[i].kind == STEP_FUNCTION && !s->steps[i].function->proved) count += s->steps[i].function->n;
    return count;
}

static bool has_pieces(const OneLane *g)
{
    for (int i = 0; i < g->n; i++)
        for (int p = 0; p < g->n_lanes[i]; p++)
            if (g->fixed[i][p]) return true;
    return false;
}

bool solve_has_pieces(const Solution *s)
{
    for (int i = 0; i < s->n_steps; i++)
        if (s->steps[i].kind == STEP_FUNCTION && has_pieces(s->steps[i].function)) return true;
    return false;
}
