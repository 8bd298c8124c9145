// Sums of functions of one lane: sum_k f_k(v), with v against K parameters (mixtures of logistics, sums of sigmoids).
// As one reduction they mix K lanes; as additions of its columns they are elementwise, and a function of one lane
// (one_lane.h). Only a flow that is not inverted otherwise is written so: what is summed in nets stays a reduction.
//
//   reduce_sum x[.., K]  ->  (x[.., 0] + x[.., 1]) + (x[.., 2] + ..)      where one lane stands behind every column
//
// So are sums of exponentials in logarithms, whose maximum mixes lanes as well:
//
//   m + log reduce_sum exp(x - m), m = reduce_max x  ->  the same tree of a + softplus(b - a) = log(e^a + e^b)
//
// And what a computed index takes of such columns, one of several maps that the context chooses:
//
//   take x[.., K], i  ->  i < 1 ? x[.., 0] : i < 2 ? x[.., 1] : ..
#include "unfold_sums.h"
#include "lane_env.h"
#include "rewrite.h"

#include <stdlib.h>

enum { MOST_COLUMNS = 64, MOST_LANES = 4096, MOST_SOURCES = 64, MOST_VISITS = 256 };

typedef struct {
    LaneRef lane[MOST_SOURCES];
    int seen[MOST_SOURCES]; // columns, from the first on, that have this source
    int n, visits;
    const bool *unfolded; // by node id: sums behind these that become additions, lanes like any other
} Sources;

// Any other sum or maximum stands behind all columns of what is normalised by it.
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
    if (s->unfolded[r.node->id] || !op_elementwise(r.node->op)) {
        if (s->unfolded[r.node->id] || !is_reduced(r.node)) note_source(s, r, column);
        return;
    }
    for (int k = 0; k < r.node->n_in; k++) find_sources(s, lane_operand(r.node, k, r.lane), column);
}

static bool has_common_lane(const Node *n, int64_t row, const bool *unfolded)
{
    int K = (int)type_last(n->in[0]->type);
    Sources s = {.unfolded = unfolded};
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

static bool may_unfold(const Node *n)
{
    int64_t K = type_last(n->in[0]->type);
    return K >= 2 && K <= MOST_COLUMNS && type_lanes(n->in[0]->type) <= MOST_LANES;
}

static bool is_one_lane(const Node *n, int64_t row)
{
    int64_t K = type_last(n->in[0]->type), k = 1;
    LaneRef first = lane_canonical(n->in[0], row * K);
    while (k < K && lane_same(lane_canonical(n->in[0], row * K + k), first)) k++;
    return k == K;
}

static bool unfolds(const Node *n, const bool *unfolded)
{
    bool takes = n->op == OP_take;
    if ((n->op != OP_reduce_sum && !takes) || !may_unfold(n)) return false;
    for (int64_t row = 0; row < type_lanes(n->in[0]->type) / type_last(n->in[0]->type); row++)
        if (!has_common_lane(n, row, unfolded) && !(takes && is_one_lane(n, row))) return false;
    return true;
}

// ---- logarithms of sums of exponentials

// The operand of lane r's node, where that is op, else none.
static LaneRef behind(LaneRef r, Op op, int k)
{
    return r.node && r.node->op == op ? lane_operand(r.node, k, r.lane) : (LaneRef){0};
}

// Is lane r log sum_c exp(x_c - m), m the lane `most` of reduce_max x?
static bool is_shifted(LaneRef r, LaneRef most)
{
    LaneRef sum = behind(r, OP_log, 0);
    int64_t K = type_last(most.node->in[0]->type);
    if (!sum.node || sum.node->op != OP_reduce_sum || type_last(sum.node->in[0]->type) != K) return false;
    for (int64_t c = 0; c < K; c++) {
        LaneRef shifted = behind(lane_canonical(sum.node->in[0], sum.lane * K + c), OP_exp, 0);
        LaneRef x = lane_canonical(most.node->in[0], most.lane * K + c);
        if (!lane_same(behind(shifted, OP_sub, 0), x) || !lane_same(behind(shifted, OP_sub, 1), most)) return false;
    }
    return true;
}

// reduce_max x, of which all lanes of n are logarithms of the sums; NULL: they are not.
static const Node *find_log_sum(const Node *n, const bool *unfolded)
{
    const Node *most = NULL;
    for (int64_t i = 0; n->op == OP_add && i < type_lanes(n->type); i++) {
        int k = lane_operand(n, 0, i).node->op == OP_reduce_max ? 0 : 1;
        LaneRef m = lane_operand(n, k, i);
        if (m.node->op != OP_reduce_max || (most && most != m.node)) return NULL;
        most = m.node;
        if (!may_unfold(most) || !has_common_lane(most, m.lane, unfolded) || !is_shifted(lane_operand(n, 1 - k, i), m))
            return NULL;
    }
    return most;
}

// ---- columns

typedef struct {
    const Node *n, *x;  // n's lanes are sums of rows of x
    const int64_t *row; // by lane of n; NULL: in order
} Rows;

static const Node *column(Builder *b, const Rows *r, int64_t k)
{
    int64_t K = type_last(r->x->type), lanes = type_lanes(r->n->type);
    int32_t *map = heap_array(lanes, sizeof *map);
    for (int64_t i = 0; i < lanes; i++) map[i] = (int32_t)((r->row ? r->row[i] : i) * K + k);
    const Node *c = build_move(b, r->n->type, 1, &r->x, map);
    free(map);
    return c;
}

static const Node *sum_of(Builder *b, const Rows *r, int64_t first, int64_t count)
{
    if (count == 1) return column(b, r, first);
    const Node *x = sum_of(b, r, first, count / 2), *y = sum_of(b, r, first + count / 2, count - count / 2);
    if (r->n->op == OP_reduce_sum) return build_binary(b, OP_add, x, y);
    return build_binary(b, OP_add, x, build_unary(b, OP_softplus, build_binary(b, OP_sub, y, x)));
}

// Indices are truncated and limited, as a take does.
static const Node *choice(Builder *b, const Node *n, const Node *table, const Node *index)
{
    int64_t lanes = type_lanes(n->type), K = type_last(table->type), each = lanes * K / type_lanes(table->type);
    int64_t *row = heap_array(lanes, sizeof *row);
    for (int64_t i = 0; i < lanes; i++) row[i] = i / each;
    const Rows r = {n, table, row};
    const Node *y = column(b, &r, K - 1);
    index = build_move(b, n->type, 1, &index, NULL);
    for (int64_t k = K - 2; k >= 0; k--) {
        const Node *x = column(b, &r, k);
        y = build_select(b, build_binary(b, OP_lt, index, build_scalar(b, (double)(k + 1))), x, y);
    }
    free(row);
    return y;
}

typedef struct {
    const bool *chosen;      // by node id: what is written as additions, or as a choice
    const Node *const *most; // by node id: of a logarithm of sums, its reduce_max
    const Node **now;        // by node id: what became of it
} Unfolding;

static const Node *log_sum(Builder *b, const Node *n, const Unfolding *u)
{
    const Node *most = u->most[n->id];
    int64_t *row = heap_array(type_lanes(n->type), sizeof *row);
    for (int64_t i = 0; i < type_lanes(n->type); i++) {
        LaneRef m = lane_operand(n, 0, i);
        row[i] = (m.node == most ? m : lane_operand(n, 1, i)).lane;
    }
    const Node *sum = sum_of(b, &(Rows){n, u->now[most->in[0]->id], row}, 0, type_last(most->in[0]->type));
    free(row);
    return sum;
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *user)
{
    const Unfolding *u = user;
    if (u->most[n->id]) return log_sum(b, n, u);
    if (u->chosen[n->id] && n->op == OP_take) return choice(b, n, in[0], in[1]);
    if (u->chosen[n->id]) return sum_of(b, &(Rows){n, in[0], NULL}, 0, type_last(in[0]->type));
    const Node *compared = has_sign(n) ? unfold_sign(b, n, in) : NULL;
    return u->now[n->id] = compared ? compared : build_like(b, n, in);
}

const Module *unfold_sums(const Module *m, Context *cx)
{
    const Function *f = module_function(m, "main");
    if (!f) return NULL;
    Arena *a = scratch_arena(cx);
    bool *chosen = ARENA_ARRAY(a, bool, f->n_nodes + 1), any = false;
    const Node **most = ARENA_ARRAY(a, const Node *, f->n_nodes + 1);
    for (int i = 0; i < f->n_nodes; i++) {
        most[i] = find_log_sum(f->nodes[i], chosen);
        any |= chosen[i] = most[i] || unfolds(f->nodes[i], chosen);
        any |= has_sign(f->nodes[i]);
    }
    if (!any) return NULL;
    Unfolding u = {chosen, most, ARENA_ARRAY(a, const Node *, f->n_nodes + 1)};
    const Function **functions = ARENA_ARRAY(cx->arena, const Function *, m->n_functions);
    for (int i = 0; i < m->n_functions; i++)
        functions[i] = m->functions[i] == f ? rewrite_function(cx, f, rule, &u) : m->functions[i];
    return module_new(cx, m->stage, m->n_functions, functions, m);
}
