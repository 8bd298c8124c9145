// Order of lanes: see lane_order.h.
//
// b - a is written as a constant plus weights times lanes, by following sums and constant products. Its least value is
// the constant plus, for each lane, 0 where lane and weight are positive; shares of a whole are bounded together, since
// they are positive and add up to 1: an affine function is least at a corner of the simplex.
#include "lane_order.h"

#include <math.h>

enum { MOST_TERMS = 96, MOST_DEPTH = 16 };

typedef struct {
    LaneRef lane;
    double weight;
} Part;

typedef struct {
    double constant, size; // size: of what was added, for rounding
    Part parts[MOST_TERMS];
    int n;
    bool failed;
} Affine;

static void put(Affine *s, LaneRef r, double weight)
{
    for (int i = 0; i < s->n; i++)
        if (lane_same(s->parts[i].lane, r)) {
            s->parts[i].weight += weight;
            return;
        }
    if (s->n == MOST_TERMS)
        s->failed = true;
    else
        s->parts[s->n++] = (Part){r, weight};
}

static void follow(Affine *s, LaneRef r, double weight, int depth);

static void follow_linear(Affine *s, LaneRef r, double weight, int depth)
{
    const Node *n = r.node, *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], column = r.lane % N;
    if (K > MOST_TERMS) {
        s->failed = true;
        return;
    }
    for (int64_t k = 0; k < K; k++) {
        double factor = const_at(w, k * N + column);
        if (factor != 0) follow(s, lane_canonical(n->in[0], r.lane / N * K + k), weight * factor, depth + 1);
    }
    if (n->n_in > 2 && n->in[2]) follow(s, (LaneRef){n->in[2], column}, weight, depth + 1);
    if (n->n_in > 3) follow(s, lane_canonical(n->in[3], r.lane), weight, depth + 1);
}

static void follow(Affine *s, LaneRef r, double weight, int depth)
{
    const Node *n = r.node;
    if (s->failed) return;
    if (lane_is_const(r)) {
        s->constant += weight * lane_value(r);
        s->size += fabs(weight * lane_value(r));
        return;
    }
    LaneRef x = op_elementwise(n->op) ? lane_operand(n, 0, r.lane) : r;
    LaneRef y = op_elementwise(n->op) && n->n_in > 1 ? lane_operand(n, 1, r.lane) : x;
    switch (depth < MOST_DEPTH ? (int)n->op : OP_input) {
    case OP_neg: follow(s, x, -weight, depth + 1); return;
    case OP_add:
    case OP_sub:
        follow(s, x, weight, depth + 1);
        follow(s, y, n->op == OP_add ? weight : -weight, depth + 1);
        return;
    case OP_mul:
        if (lane_is_const(y))
            follow(s, x, weight * lane_value(y), depth + 1);
        else if (lane_is_const(x))
            follow(s, y, weight * lane_value(x), depth + 1);
        else
            break;
        return;
    case OP_div:
        if (!lane_is_const(y)) break;
        follow(s, x, weight / lane_value(y), depth + 1);
        return;
    case OP_reduce_sum: {
        int64_t K = type_last(n->in[0]->type);
        for (int64_t k = 0; k < K && K <= MOST_TERMS; k++)
            follow(s, lane_canonical(n->in[0], r.lane * K + k), weight, depth + 1);
        s->failed = s->failed || K > MOST_TERMS;
        return;
    }
    case OP_linear: follow_linear(s, r, weight, depth); return;
    default: break;
    }
    put(s, r, weight);
}

// A share: exp(x_i) / sum of exp(x). *whole is the sum; 0: it is none, else the number of shares.
static int64_t share_of(LaneRef r, LaneRef *whole)
{
    if (r.node->op != OP_div) return 0;
    LaneRef part = lane_operand(r.node, 0, r.lane);
    *whole = lane_operand(r.node, 1, r.lane);
    if (part.node->op != OP_exp || whole->node->op != OP_reduce_sum) return 0;
    const Node *all = whole->node->in[0];
    int64_t K = type_last(all->type);
    bool found = false;
    for (int64_t k = 0; k < K; k++) {
        LaneRef x = lane_canonical(all, whole->lane * K + k);
        if (x.node->op != OP_exp) return 0;
        found = found || lane_same(x, part);
    }
    return found ? K : 0;
}

// Least of the weighted shares of one whole; those from `first` on are taken out of s.
static double least_of_shares(Affine *s, int first, LaneRef whole, int64_t count)
{
    double least = INFINITY;
    int64_t found = 0;
    for (int i = first; i < s->n; i++) {
        LaneRef own;
        if (!share_of(s->parts[i].lane, &own) || !lane_same(own, whole)) continue;
        found++;
        if (s->parts[i].weight < least) least = s->parts[i].weight;
        s->parts[i].weight = 0;
    }
    return found < count && least > 0 ? 0 : least;
}

static bool least_at_least_zero(Affine *s, int depth)
{
    double least = s->constant;
    for (int i = 0; i < s->n; i++) {
        LaneRef whole;
        double weight = s->parts[i].weight;
        int64_t count = weight != 0 ? share_of(s->parts[i].lane, &whole) : 0;
        if (count)
            least += least_of_shares(s, i, whole, count);
        else if (weight != 0 && lane_sign_within(s->parts[i].lane, depth + 9) * weight <= 0)
            return false;
    }
    return least >= -1e-6 * s->size;
}

bool lanes_in_order(LaneRef a, LaneRef b, int depth)
{
    if (lane_same(a, b)) return true;
    Affine s = {.n = 0};
    follow(&s, b, 1, 0);
    follow(&s, a, -1, 0);
    return !s.failed && least_at_least_zero(&s, depth);
}
