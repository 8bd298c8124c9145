// Sums of functions of one lane: sum_k f_k(v), with v against K parameters (mixtures of logistics, sums of sigmoids).
// As one reduction they mix K lanes; as additions of its columns they are elementwise, and a function of one lane
// (one_lane.h). Only a flow that is not inverted otherwise is written so: what is summed in nets stays a reduction.
//
//   reduce_sum x[.., K]  ->  (x[.., 0] + x[.., 1]) + (x[.., 2] + ..)      where one lane stands behind every column
#include "unfold_sums.h"
#include "lane_env.h"
#include "rewrite.h"

#include <stdlib.h>

enum { MOST_COLUMNS = 64, MOST_LANES = 4096, MOST_SOURCES = 64, MOST_VISITS = 256 };

typedef struct {
    LaneRef lane[MOST_SOURCES];
    int seen[MOST_SOURCES]; // columns, from the first on, that have this source
    int n, visits;
} Sources;

// A sum or a maximum stands behind all columns of what is normalised by it.
static bool is_reduced(const Node *n) { return n->op == OP_reduce_sum || n->op == OP_reduce_max; }

static void note_source(Sources *s, LaneRef r, int column)
{
    for (int i = 0; i < s->n; i++)
        if (lane_same(s->lane[i], r)) {
            if (s->seen[i] == column) s->seen[i]++;
            return;
        }
    if (column || s->n == MOST_SOURCES) return;
    s->lane[s->n] = r;
    s->seen[s->n++] = 1;
}

// Lanes of ops that are not elementwise, behind lane r of one column.
static void find_sources(Sources *s, LaneRef r, int column)
{
    if (lane_is_const(r) || s->visits++ > MOST_VISITS) return;
    if (!op_elementwise(r.node->op)) {
        if (!is_reduced(r.node)) note_source(s, r, column);
        return;
    }
    for (int k = 0; k < r.node->n_in; k++) find_sources(s, lane_operand(r.node, k, r.lane), column);
}

static bool has_common_lane(const Node *n, int64_t row)
{
    int K = (int)type_last(n->in[0]->type);
    Sources s = {.n = 0};
    for (int k = 0; k < K; k++) {
        LaneRef r = lane_canonical(n->in[0], row * K + k);
        if (lane_is_const(r) || !op_elementwise(r.node->op)) return false;
        s.visits = 0;
        find_sources(&s, r, k);
    }
    for (int i = 0; i < s.n; i++)
        if (s.seen[i] == K) return true;
    return false;
}

static bool unfolds(const Node *n)
{
    if (n->op != OP_reduce_sum) return false;
    int64_t K = type_last(n->in[0]->type), lanes = type_lanes(n->in[0]->type);
    if (K < 2 || K > MOST_COLUMNS || lanes > MOST_LANES) return false;
    for (int64_t row = 0; row < lanes / K; row++)
        if (!has_common_lane(n, row)) return false;
    return true;
}

static const Node *column(Builder *b, const Node *n, const Node *x, int64_t k)
{
    int64_t K = type_last(x->type), rows = type_lanes(n->type);
    int32_t *map = heap_array(rows, sizeof *map);
    for (int64_t i = 0; i < rows; i++) map[i] = (int32_t)(i * K + k);
    const Node *c = build_move(b, n->type, 1, &x, map);
    free(map);
    return c;
}

static const Node *sum_of(Builder *b, const Node *n, const Node *x, int64_t first, int64_t count)
{
    if (count == 1) return column(b, n, x, first);
    return build_binary(b, OP_add, sum_of(b, n, x, first, count / 2),
                        sum_of(b, n, x, first + count / 2, count - count / 2));
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *user)
{
    const bool *chosen = user;
    return chosen[n->id] ? sum_of(b, n, in[0], 0, type_last(in[0]->type)) : NULL;
}

const Module *unfold_sums(const Module *m, Context *cx)
{
    const Function *f = module_function(m, "main");
    bool *chosen = f ? ARENA_ARRAY(scratch_arena(cx), bool, f->n_nodes + 1) : NULL, any = false;
    for (int i = 0; f && i < f->n_nodes; i++) any |= chosen[i] = unfolds(f->nodes[i]);
    if (!any) return NULL;
    const Function **functions = ARENA_ARRAY(cx->arena, const Function *, m->n_functions);
    for (int i = 0; i < m->n_functions; i++)
        functions[i] = m->functions[i] == f ? rewrite_function(cx, f, rule, chosen) : m->functions[i];
    return module_new(cx, m->stage, m->n_functions, functions, m);
}
