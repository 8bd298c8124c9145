// The tests of a one-lane function's v, from u (one_lane.h).
//
// A test of v against a threshold T becomes a test of u against g(T + 0): the whole function is built once more for
// every threshold, with v := T. Comparisons of thresholds with each other fold where their order is proved
// (lane_order.c), so that of a spline only the knots' heights remain. Then all that is constant between thresholds is
// built forward.
#include "lane_order.h"
#include "one_lane_emit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// h > k (not strict: h >= k) of lanes h of several functions, walked back to v > at.
typedef struct {
    int n, edges; // edges: so many after another are of one lane, which counts those that hold (h rounded down)
    int *who;     // function of each
    LaneRef *h;
    LaneRef *k; // built lanes; walked back: the threshold of v
    bool strict, negated;
    struct {
        Op op; // not, or, and
        LaneRef *with;
    } step[12];
    int n_steps;
    int slot;       // whose test this is, or -1
    int64_t *lanes; // of `node`, a comparison
    const Node *node;
    LaneRef *truth, *above; // built lanes; above: v > at
    int *at;                // evaluation at the threshold
} Compare;

typedef struct {
    int who;
    LaneRef at;     // built lane
    LaneRef *value; // by lane of the function
    bool *outside;  // by lane: it needs what a table has not (the threshold after the last bin)
} Point;

typedef struct {
    Emit *e;
    Compare *compare;
    int n_compare, cap_compare;
    Point *points;
    int n_points, cap_points;
} Thresholds;

static int place_in(const OneLane *g, int i, LaneRef r)
{
    int lo = 0, hi = g->n_lanes[i] - 1;
    while (lo <= hi) {
        int mid = (lo + hi) / 2;
        LaneRef x = g->lanes[i][mid];
        if (lane_same(x, r)) return mid;
        bool below = x.node->id != r.node->id ? x.node->id < r.node->id : x.lane < r.lane;
        if (below)
            lo = mid + 1;
        else
            hi = mid - 1;
    }
    return -1;
}

static bool varies(const OneLane *g, int i, LaneRef r)
{
    int at = node_is_const(r.node) ? -1 : place_in(g, i, r);
    return at >= 0 && !g->fixed[i][at];
}

// One elementwise op on built lanes, those apart that are decided lane by lane; the others in one vector.
static bool decided(Emit *e, Op op, const LaneRef *in, LaneRef *out)
{
    const Node *zero = num(e, 0), *one = num(e, 1);
    bool same = op_info(op)->kind == KIND_BINARY && lane_same(in[0], in[1]);
    bool c0 = lane_is_const(in[0]), c1 = op_info(op)->kind != KIND_UNARY && lane_is_const(in[1]);
    double x = c0 ? lane_value(in[0]) : NAN, y = c1 ? lane_value(in[1]) : NAN;
    LaneRef none = {NULL, 0};
    *out = none;
    switch ((int)op) {
    case OP_sub:
        if (same)
            *out = (LaneRef){zero, 0};
        else if (y == 0)
            *out = in[0];
        break;
    case OP_add:
        if (x == 0)
            *out = in[1];
        else if (y == 0)
            *out = in[0];
        break;
    case OP_mul:
        if (x == 0 || y == 0)
            *out = (LaneRef){zero, 0};
        else if (x == 1)
            *out = in[1];
        else if (y == 1)
            *out = in[0];
        break;
    case OP_div:
        if (x == 0)
            *out = (LaneRef){zero, 0};
        else if (same)
            *out = (LaneRef){one, 0};
        else if (y == 1)
            *out = in[0];
        break;
    case OP_and:
        if (x == 0 || y == 0)
            *out = (LaneRef){zero, 0};
        else if (x == 1)
            *out = in[1];
        else if (y == 1)
            *out = in[0];
        break;
    case OP_or:
        if (x == 1 || y == 1)
            *out = (LaneRef){one, 0};
        else if (x == 0)
            *out = in[1];
        else if (y == 0)
            *out = in[0];
        break;
    case OP_min:
    case OP_max:
        if (same) *out = in[0];
        break;
    case OP_select:
        if (c0)
            *out = x != 0 ? in[1] : in[2];
        else if (lane_same(in[1], in[2]))
            *out = in[1];
        break;
    case OP_le:
        if (!(c0 && c1) && lanes_in_order(in[0], in[1], 0))
            *out = (LaneRef){one, 0};
        else if (!(c0 && c1) && lanes_in_order(in[1], in[0], 0) && !same)
            *out = (LaneRef){zero, 0};
        break;
    default: break;
    }
    return out->node != NULL;
}

// `like`: the node whose op it is (its alpha and type); NULL: op on its own.
static const Node *apply(Emit *e, Op op, const Node *like, const Node *const *in)
{
    if (like) return lanes_apply(e->b, like, in);
    return op_info(op)->kind == KIND_UNARY ? build_unary(e->b, op, in[0]) : build_binary(e->b, op, in[0], in[1]);
}

static void apply_lanes(Emit *e, Op op, const Node *like, LaneRef *const *in, int64_t n, LaneRef *out)
{
    int n_in = like ? like->n_in : op_info(op)->kind == KIND_UNARY ? 1 : 2;
    int64_t *rest = heap_array(n, sizeof *rest), n_rest = 0;
    for (int64_t j = 0; j < n; j++) {
        LaneRef own[3];
        bool constant = true;
        for (int k = 0; k < n_in; k++) own[k] = in[k][j], constant = constant && lane_is_const(own[k]);
        if (!constant && decided(e, op, own, &out[j])) continue;
        if (!constant) {
            rest[n_rest++] = j;
            continue;
        }
        const Node *v[3];
        for (int k = 0; k < n_in; k++) v[k] = lanes_gather_as(e->b, &own[k], type_vector(1));
        out[j] = (LaneRef){apply(e, op, like, v), 0};
    }
    if (n_rest) {
        const Node *v[3];
        LaneRef *refs = heap_array(n_rest, sizeof *refs);
        for (int k = 0; k < n_in; k++) {
            for (int64_t j = 0; j < n_rest; j++) refs[j] = in[k][rest[j]];
            v[k] = lanes_gather(e->b, refs, n_rest);
        }
        const Node *now = apply(e, op, like, v);
        for (int64_t j = 0; j < n_rest; j++) out[rest[j]] = lane_canonical(now, type_lanes(now->type) == 1 ? 0 : j);
        free(refs);
    }
    free(rest);
}

static LaneRef *new_lanes(Emit *e, int64_t n) { return ARENA_ARRAY(e->a, LaneRef, n + 1); }

// One op of (c's k) with built lanes, or with a number.
static void step_k(Emit *e, Compare *c, Op op, LaneRef *other, bool reversed)
{
    LaneRef *in[2] = {reversed ? other : c->k, reversed ? c->k : other}, *out = new_lanes(e, c->n);
    apply_lanes(e, op, NULL, in, c->n, out);
    c->k = out;
}

static void push_step(Compare *c, Op op, LaneRef *with)
{
    if (c->n_steps == 12) return;
    c->step[c->n_steps].op = op;
    c->step[c->n_steps++].with = with;
}

// (-h > k) = not (h >= -k)
static void flip(Compare *c)
{
    push_step(c, OP_not, NULL);
    c->strict = !c->strict;
}

static int lane_sign_at(const LaneRef *other) { return one_lane_sign(*other) < 0 ? -1 : 1; }

// All h are lanes of one node: one op back. The group was made so that ops and signs agree.
static void walk_back(Emit *e, Compare *c)
{
    const Node *n = c->h[0].node;
    int k = varies(e->g, c->who[0], lane_operand(n, 0, c->h[0].lane)) ? 0 : 1;
    LaneRef *other = n->n_in == 2 ? new_lanes(e, c->n) : NULL,
            was = n->n_in == 2 ? lane_operand(n, 1 - k, c->h[0].lane) : c->h[0];
    for (int j = 0; j < c->n && other; j++) other[j] = lane_env_get(e->env, lane_operand(n, 1 - k, c->h[j].lane));
    switch ((int)n->op) {
    case OP_neg: {
        LaneRef *out = new_lanes(e, c->n);
        apply_lanes(e, OP_neg, NULL, &c->k, c->n, out);
        c->k = out;
        flip(c);
        break;
    }
    case OP_add: step_k(e, c, OP_sub, other, false); break;
    case OP_sub:
        step_k(e, c, k == 0 ? OP_add : OP_sub, other, k == 1);
        if (k == 1) flip(c);
        break;
    case OP_mul:
    case OP_div:
        step_k(e, c, n->op == OP_mul ? OP_div : OP_mul, other, false);
        if (lane_sign_at(&was) < 0) flip(c);
        break;
    case OP_max:
    case OP_min: { // max(h, c) > k  =  h > k or c > k
        LaneRef *with = new_lanes(e, c->n), *in[2] = {c->k, other};
        apply_lanes(e, c->strict ? OP_lt : OP_le, NULL, in, c->n, with);
        push_step(c, n->op == OP_max ? OP_or : OP_and, with);
        break;
    }
    default: break;
    }
    for (int j = 0; j < c->n; j++) c->h[j] = lane_operand(n, k, c->h[j].lane);
}

static bool same_walk(const Emit *e, int i, LaneRef x, int j, LaneRef y)
{
    while (!lane_same(x, e->g->v[i])) {
        if (x.node != y.node || lane_same(y, e->g->v[j])) return false;
        int k = varies(e->g, i, lane_operand(x.node, 0, x.lane)) ? 0 : 1;
        if (x.node->n_in == 2 &&
            one_lane_sign(lane_operand(x.node, 1 - k, x.lane)) != one_lane_sign(lane_operand(y.node, 1 - k, y.lane)))
            return false;
        x = lane_operand(x.node, k, x.lane);
        y = lane_operand(y.node, k, y.lane);
    }
    return lane_same(y, e->g->v[j]);
}

static Compare *compare_for(Thresholds *t, const Node *node, int slot, bool strict, bool negated, int edges, int who,
                            LaneRef h)
{
    for (int i = 0; i < t->n_compare; i++) {
        Compare *c = &t->compare[i];
        if (c->node == node && c->slot == slot && c->strict == strict && c->negated == negated && c->edges == edges &&
            same_walk(t->e, c->who[0], c->h[0], who, h))
            return c;
    }
    Compare c = {.node = node, .slot = slot, .strict = strict, .negated = negated, .edges = edges};
    int room = 1;
    for (int i = 0; i < t->e->g->n; i++) room += t->e->g->n_lanes[i] * edges;
    c.who = ARENA_ARRAY(t->e->a, int, room);
    c.at = ARENA_ARRAY(t->e->a, int, room);
    c.h = new_lanes(t->e, room);
    c.k = new_lanes(t->e, room);
    c.truth = new_lanes(t->e, room);
    c.above = new_lanes(t->e, room);
    c.lanes = ARENA_ARRAY(t->e->a, int64_t, room);
    ARENA_PUSH(t->e->a, t->compare, t->n_compare, t->cap_compare, c);
    return &t->compare[t->n_compare - 1];
}

static void add_compare(Compare *c, int who, LaneRef h, LaneRef k, int64_t lane)
{
    c->who[c->n] = who;
    c->h[c->n] = h;
    c->k[c->n] = k;
    c->lanes[c->n++] = lane;
}

// A number of bins that is rounded down from h: how many of 1, 2, .. are not above h.
static void collect_edges(Thresholds *t, int i, LaneRef r)
{
    const OneLane *g = t->e->g;
    LaneRef h = lane_operand(r.node, 0, r.lane);
    int edges = (int)one_lane_bins(g->lanes[i], g->n_lanes[i]) - 1;
    if (!varies(g, i, h)) return;
    Compare *c = compare_for(t, r.node, -1, false, false, edges, i, h);
    for (int k = 1; k <= edges; k++) add_compare(c, i, h, (LaneRef){num(t->e, k), 0}, r.lane);
}

// The comparisons among function i's lanes.
static void collect(Thresholds *t, int i)
{
    const OneLane *g = t->e->g;
    for (int p = 0; p < g->n_lanes[i]; p++) {
        LaneRef r = g->lanes[i][p];
        if (!g->fixed[i][p] || (r.node->op != OP_lt && r.node->op != OP_le)) continue;
        LaneRef x = lane_operand(r.node, 0, r.lane), y = lane_operand(r.node, 1, r.lane);
        bool left = varies(g, i, x), lt = r.node->op == OP_lt; // x < y is not (x >= y)
        if (!left && !varies(g, i, y)) continue;
        LaneRef h = left ? x : y, k = left ? y : x;
        add_compare(compare_for(t, r.node, -1, left != lt, left, 1, i, h), i, h, lane_env_get(t->e->env, k), r.lane);
    }
    for (int p = 0; p < g->n_lanes[i]; p++)
        if (g->fixed[i][p] && one_lane_rounds(g->lanes[i][p].node)) collect_edges(t, i, g->lanes[i][p]);
}

static void collect_tests(Thresholds *t, const Way *way)
{
    const OneLane *g = t->e->g;
    if (way->kind == WAY_END) return;
    const Slot *slot = way->kind == WAY_SELECT ? &g->slots[way->test] : NULL;
    if (slot && slot->node->op != OP_select) {
        int k = varying_operand(slot);
        for (int i = 0; i < g->n; i++) {
            LaneRef h = lane_operand(slot->node, k, slot->lanes[i]), zero = {num(t->e, 0), 0};
            LaneRef other =
                slot->node->n_in == 2 ? lane_env_get(t->e->env, lane_operand(slot->node, 1 - k, slot->lanes[i])) : zero;
            bool less = slot->node->op == OP_min;
            Compare *c = compare_for(t, slot->node, way->test, false, less, 1, i, h);
            if (c->n <= i) add_compare(c, i, h, other, slot->lanes[i]);
        }
    }
    collect_tests(t, way->next);
    if (way->otherwise) collect_tests(t, way->otherwise);
}

static int point_at(Thresholds *t, int who, LaneRef at)
{
    for (int i = 0; i < t->n_points; i++) {
        LaneRef have = t->points[i].at;
        bool equal = lane_is_const(have) && lane_is_const(at) && lane_value(have) == lane_value(at);
        if (t->points[i].who == who && (equal || lane_same(have, at))) return i;
    }
    int n = t->e->g->n_lanes[who];
    Point p = {who, at, new_lanes(t->e, n), ARENA_ARRAY(t->e->a, bool, n + 1)};
    ARENA_PUSH(t->e->a, t->points, t->n_points, t->cap_points, p);
    return t->n_points - 1;
}

// Truth of c for elements `which` of c, from v > threshold: the steps back, last one first.
static void apply_steps(Emit *e, const Compare *c, const int *which, int64_t n, LaneRef *truth)
{
    LaneRef *with = new_lanes(e, n);
    for (int s = c->n_steps - 1; s >= 0; s--) {
        for (int64_t j = 0; j < n && c->step[s].with; j++) with[j] = c->step[s].with[which[j]];
        LaneRef *in[2] = {truth, with}, *out = new_lanes(e, n);
        apply_lanes(e, c->step[s].op, NULL, in, n, out);
        memcpy(truth, out, (size_t)n * sizeof *out);
    }
    if (!c->negated) return;
    LaneRef *in[1] = {truth}, *out = new_lanes(e, n);
    apply_lanes(e, OP_not, NULL, in, n, out);
    memcpy(truth, out, (size_t)n * sizeof *out);
}

// Of each `edges` truths how many hold, as lanes of the node: n / edges of them.
static void count_truths(Emit *e, const Node *node, const LaneRef *truth, int64_t n, int edges, LaneRef *out)
{
    int64_t dim[2] = {n / edges, edges};
    const Node *each = lanes_gather_as(e->b, truth, type_make(T_F32, 2, dim));
    const Node *sum = build_reduce(e->b, OP_reduce_sum, build_select(e->b, each, num(e, 1), num(e, 0)));
    if (node->type.dtype == T_I64) sum = build_cast(e->b, sum, T_I64);
    for (int64_t j = 0; j < n / edges; j++) out[j] = lane_canonical(sum, j);
}

// ---- g at the thresholds

static LaneRef point_lane(Thresholds *t, const Point *p, LaneRef r)
{
    int at = node_is_const(r.node) ? -1 : place_in(t->e->g, p->who, r);
    return at >= 0 ? p->value[at] : lane_env_get(t->e->env, r);
}

static bool is_outside(const Thresholds *t, const Point *p, LaneRef r)
{
    int at = node_is_const(r.node) ? -1 : place_in(t->e->g, p->who, r);
    return at >= 0 && p->outside[at];
}

// Does an elementwise lane read such a one? Of a select that is decided, the side that is taken counts.
static bool reads_outside(const Thresholds *t, const Point *p, LaneRef r)
{
    const Node *n = r.node;
    int test = n->op == OP_select ? place_in(t->e->g, p->who, lane_operand(n, 0, r.lane)) : -1;
    bool chosen = test >= 0 && lane_is_const(p->value[test]);
    for (int k = 0; k < n->n_in; k++) {
        bool taken = !chosen || k == (lane_value(p->value[test]) != 0 ? 1 : 2);
        if (taken && is_outside(t, p, lane_operand(n, k, r.lane))) return true;
    }
    return false;
}

// The comparisons of node c->node, for all points: v = T + 0 is above another threshold S where S <= T.
static void compare_points(Thresholds *t, const Compare *c)
{
    Emit *e = t->e;
    int64_t room = 0, n = 0;
    for (int j = 0; j < c->n; j++)
        for (int p = 0; p < t->n_points; p++) room += t->points[p].who == c->who[j];
    LaneRef *in[2] = {new_lanes(e, room), new_lanes(e, room)}, *truth = new_lanes(e, room);
    int *which = ARENA_ARRAY(e->a, int, room + 1), *point = ARENA_ARRAY(e->a, int, room + 1);
    for (int first = 0; first < c->n; first += c->edges)
        for (int p = 0; p < t->n_points; p++)
            for (int j = first; j < first + c->edges; j++) {
                if (t->points[p].who != c->who[j]) continue;
                in[0][n] = c->k[j];
                in[1][n] = t->points[p].at;
                which[n] = j;
                point[n++] = p;
            }
    apply_lanes(e, OP_le, NULL, in, n, truth);
    apply_steps(e, c, which, n, truth);
    for (int64_t j = 0; j < n; j += c->edges) {
        Point *p = &t->points[point[j]];
        if (one_lane_rounds(c->node)) count_truths(e, c->node, &truth[j], c->edges, c->edges, &truth[j]);
        p->value[place_in(e->g, p->who, (LaneRef){c->node, c->lanes[which[j]]})] = truth[j];
    }
}

typedef struct {
    int point, place;
} Cell;

static void elementwise_points(Thresholds *t, const Node *node, const Cell *cells, int64_t n)
{
    Emit *e = t->e;
    LaneRef *in[3] = {NULL, NULL, NULL}, *out = new_lanes(e, n);
    for (int k = 0; k < node->n_in; k++) {
        in[k] = new_lanes(e, n);
        for (int64_t j = 0; j < n; j++) {
            const Point *p = &t->points[cells[j].point];
            in[k][j] = point_lane(t, p, lane_operand(node, k, e->g->lanes[p->who][cells[j].place].lane));
        }
    }
    bool cast = node->type.dtype == T_I64 && node->op == OP_add; // bool + 0 is a cast: not decided by 0
    apply_lanes(e, cast ? OP_move : node->op, node, in, n, out);
    for (int64_t j = 0; j < n; j++) {
        Point *p = &t->points[cells[j].point];
        p->value[cells[j].place] = out[j];
        p->outside[cells[j].place] = reads_outside(t, p, e->g->lanes[p->who][cells[j].place]);
    }
}

static void reduce_points(Thresholds *t, const Node *node, const Cell *cells, int64_t n)
{
    Emit *e = t->e;
    int64_t K = type_last(node->in[0]->type), n_rest = 0;
    Cell *rest = ARENA_ARRAY(e->a, Cell, n + 1);
    LaneRef *x = new_lanes(e, n * K);
    for (int64_t j = 0; j < n; j++) {
        Point *p = &t->points[cells[j].point];
        int64_t lane = e->g->lanes[p->who][cells[j].place].lane, dim[2] = {1, K};
        LaneRef *own = &x[n_rest * K];
        bool constant = true;
        for (int64_t k = 0; k < K; k++) {
            own[k] = point_lane(t, p, lane_canonical(node->in[0], lane * K + k));
            constant = constant && lane_is_const(own[k]);
        }
        if (!constant)
            rest[n_rest++] = cells[j];
        else
            p->value[cells[j].place] =
                (LaneRef){build_reduce(e->b, node->op, lanes_gather_as(e->b, own, type_make(T_F32, 2, dim))), 0};
    }
    if (!n_rest) return;
    int64_t dim[2] = {n_rest, K};
    const Node *now = build_reduce(e->b, node->op, lanes_gather_as(e->b, x, type_make(T_F32, 2, dim)));
    for (int64_t j = 0; j < n_rest; j++) t->points[rest[j].point].value[rest[j].place] = lane_canonical(now, j);
}

static void take_points(Thresholds *t, const Node *node, const Cell *cells, int64_t n)
{
    Emit *e = t->e;
    int64_t K = type_last(node->in[0]->type), J = type_last(node->in[1]->type),
            rows = type_lanes(node->in[0]->type) / K, n_rest = 0;
    Cell *rest = ARENA_ARRAY(e->a, Cell, n + 1);
    LaneRef *x = new_lanes(e, n * K), *index = new_lanes(e, n);
    for (int64_t j = 0; j < n; j++) {
        Point *p = &t->points[cells[j].point];
        int64_t lane = e->g->lanes[p->who][cells[j].place].lane, row = rows == 1 ? 0 : lane / J;
        LaneRef at = point_lane(t, p, lane_canonical(node->in[1], lane));
        if (lane_is_const(at)) {
            double k = fmin(fmax(lane_value(at), 0), (double)(K - 1));
            p->outside[cells[j].place] = k != lane_value(at);
            p->value[cells[j].place] = point_lane(t, p, lane_canonical(node->in[0], row * K + (int64_t)k));
            continue;
        }
        for (int64_t k = 0; k < K; k++) x[n_rest * K + k] = point_lane(t, p, lane_canonical(node->in[0], row * K + k));
        index[n_rest] = at;
        rest[n_rest++] = cells[j];
    }
    if (!n_rest) return;
    int64_t table[2] = {n_rest, K}, one[2] = {n_rest, 1};
    const Node *now = build_take(e->b, lanes_gather_as(e->b, x, type_make(T_F32, 2, table)),
                                 lanes_gather_as(e->b, index, type_make(T_F32, 2, one)));
    for (int64_t j = 0; j < n_rest; j++) t->points[rest[j].point].value[rest[j].place] = lane_canonical(now, j);
}

// A product of few lanes: sum of weight times lane.
static void linear_points(Thresholds *t, const Node *node, const Cell *cells, int64_t n)
{
    Emit *e = t->e;
    const Node *w = node->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1];
    for (int64_t j = 0; j < n; j++) {
        Point *p = &t->points[cells[j].point];
        int64_t lane = e->g->lanes[p->who][cells[j].place].lane;
        const Node *sum = num(e, node->n_in > 2 && node->in[2] ? const_at(node->in[2], lane % N) : 0);
        for (int64_t k = 0; k < K; k++) {
            double weight = const_at(w, k * N + lane % N);
            if (weight == 0) continue;
            LaneRef x = point_lane(t, p, lane_canonical(node->in[0], lane / N * K + k));
            sum = bin(e, OP_add, sum, bin(e, OP_mul, lanes_gather_as(e->b, &x, type_vector(1)), num(e, weight)));
        }
        if (node->n_in > 3) {
            LaneRef x = point_lane(t, p, lane_canonical(node->in[3], lane));
            sum = bin(e, OP_add, sum, lanes_gather_as(e->b, &x, type_vector(1)));
        }
        p->value[cells[j].place] = lane_canonical(sum, 0);
    }
}

static bool compared(const Thresholds *t, const Node *node)
{
    for (int i = 0; i < t->n_compare; i++)
        if (t->compare[i].slot < 0 && t->compare[i].node == node) return true;
    return false;
}

static void node_points(Thresholds *t, const Node *node, const Cell *cells, int64_t n)
{
    builder_origin(t->e->b, node->origin);
    if (compared(t, node)) {
        for (int i = 0; i < t->n_compare; i++)
            if (t->compare[i].slot < 0 && t->compare[i].node == node) compare_points(t, &t->compare[i]);
        return;
    }
    switch (op_info(node->op)->kind) {
    case KIND_REDUCE: reduce_points(t, node, cells, n); break;
    case KIND_TAKE: take_points(t, node, cells, n); break;
    case KIND_LINEAR: linear_points(t, node, cells, n); break;
    default: elementwise_points(t, node, cells, n); break;
    }
}

// All lanes of all points, node by node.
static void evaluate_points(Thresholds *t)
{
    const OneLane *g = t->e->g;
    int *cursor = ARENA_ARRAY(t->e->a, int, t->n_points + 1);
    int64_t room = 1;
    for (int p = 0; p < t->n_points; p++) room += g->n_lanes[t->points[p].who];
    Cell *cells = ARENA_ARRAY(t->e->a, Cell, room);
    for (;;) {
        const Node *node = NULL;
        for (int p = 0; p < t->n_points; p++) {
            int who = t->points[p].who;
            if (cursor[p] == g->n_lanes[who]) continue;
            const Node *own = g->lanes[who][cursor[p]].node;
            if (!node || own->id < node->id) node = own;
        }
        if (!node) return;
        int64_t n = 0;
        for (int p = 0; p < t->n_points; p++) {
            int who = t->points[p].who;
            for (; cursor[p] < g->n_lanes[who] && g->lanes[who][cursor[p]].node == node; cursor[p]++) {
                if (lane_same(g->lanes[who][cursor[p]], g->v[who]))
                    t->points[p].value[cursor[p]] = t->points[p].at;
                else
                    cells[n++] = (Cell){p, cursor[p]};
            }
        }
        if (n) node_points(t, node, cells, n);
    }
}

// Truth of the comparisons for the real v, from u.
static void decide(Thresholds *t, Compare *c)
{
    Emit *e = t->e;
    const OneLane *g = e->g;
    LaneRef *at = new_lanes(e, c->n), *u = new_lanes(e, c->n);
    int *which = ARENA_ARRAY(e->a, int, c->n + 1);
    for (int j = 0; j < c->n; j++) {
        const Point *p = &t->points[c->at[j]];
        at[j] = p->value[place_in(g, p->who, g->u[p->who])];
        u[j] = lane_env_get(e->env, g->u[p->who]);
        which[j] = j;
    }
    LaneRef *in[2] = {g->slope > 0 ? at : u, g->slope > 0 ? u : at};
    apply_lanes(e, OP_le, NULL, in, c->n, c->above);
    for (int j = 0; j < c->n; j++)
        if (is_outside(t, &t->points[c->at[j]], g->u[c->who[j]])) c->above[j] = (LaneRef){num(e, 0), 0};
    memcpy(c->truth, c->above, (size_t)c->n * sizeof *c->truth);
    apply_steps(e, c, which, c->n, c->truth);
    if (one_lane_rounds(c->node)) count_truths(e, c->node, c->truth, c->n, c->edges, at);
    const LaneRef *now = one_lane_rounds(c->node) ? at : c->truth;
    if (c->slot < 0)
        for (int j = 0; j < c->n; j += c->edges)
            lane_env_set(e->env, (LaneRef){c->node, c->lanes[j]}, now[j / c->edges]);
}

// f32[n, count]: lane i of x, count times.
static const Node *repeated_rows(Emit *e, const Node *x, int count)
{
    int64_t dim[2] = {type_lanes(x->type), count};
    LaneRef *refs = new_lanes(e, dim[0] * count);
    for (int64_t i = 0; i < dim[0] * count; i++) refs[i] = lane_canonical(x, i / count);
    return lanes_gather_as(e->b, refs, type_make(T_F32, 2, dim));
}

// The thresholds of function i, and whether v is above them. Their number.
static int thresholds_of(const Thresholds *t, int i, LaneRef *at, LaneRef *above)
{
    int n = 0;
    bool *seen = ARENA_ARRAY(t->e->a, bool, t->n_points + 1);
    for (int k = 0; k < t->n_compare; k++)
        for (int j = 0; j < t->compare[k].n; j++) {
            const Compare *c = &t->compare[k];
            if (c->who[j] != i || seen[c->at[j]]) continue;
            seen[c->at[j]] = true;
            at[n] = t->points[c->at[j]].at;
            above[n++] = c->above[j];
        }
    return n;
}

static bool needs_bracket(const Way *way)
{
    if (way->kind == WAY_END) return false;
    return way->between || needs_bracket(way->next) || (way->otherwise && needs_bracket(way->otherwise));
}

// low = max of the thresholds that v is above, high = min of the others.
static void bracket(Thresholds *t)
{
    Emit *e = t->e;
    int n = e->g->n, most = 0;
    for (int i = 0; i < n; i++) {
        int own = 0;
        for (int p = 0; p < t->n_points; p++) own += t->points[p].who == i;
        if (own > most) most = own;
    }
    LaneRef *at = new_lanes(e, (int64_t)n * most), *above = new_lanes(e, (int64_t)n * most);
    for (int i = 0; i < n; i++) {
        int own = thresholds_of(t, i, &at[i * most], &above[i * most]);
        for (int j = own; j < most && own; j++) {
            at[i * most + j] = at[i * most];
            above[i * most + j] = above[i * most];
        }
    }
    int64_t dim[2] = {n, most};
    const Node *v = lanes_gather_as(e->b, at, type_make(T_F32, 2, dim)),
               *is_above = lanes_gather_as(e->b, above, type_make(T_F32, 2, dim));
    const Node *least = repeated_rows(e, build_reduce(e->b, OP_reduce_min, v), most),
               *largest = repeated_rows(e, build_reduce(e->b, OP_reduce_max, v), most);
    e->low = build_reduce(e->b, OP_reduce_max, build_select(e->b, is_above, v, least));
    e->high = build_reduce(e->b, OP_reduce_min, build_select(e->b, is_above, largest, v));
}

// Tests that are no lanes of f, as vectors.
static void set_tests(Thresholds *t, const Way *way)
{
    Emit *e = t->e;
    if (way->kind == WAY_END) return;
    if (way->kind == WAY_SELECT && !e->test[way->test]) {
        LaneRef *refs = new_lanes(e, e->g->n);
        for (int i = 0; i < t->n_compare; i++)
            for (int j = 0; j < t->compare[i].n && t->compare[i].slot == way->test; j++)
                refs[t->compare[i].who[j]] = t->compare[i].truth[j];
        e->test[way->test] = refs[0].node ? lanes_gather(e->b, refs, e->g->n) : operand_vector(e, way->test, 0);
    }
    set_tests(t, way->next);
    if (way->otherwise) set_tests(t, way->otherwise);
}

static int compare_ints(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// Lanes that are constant between thresholds, forward, node by node.
static void emit_fixed(Emit *e)
{
    const OneLane *g = e->g;
    for (int id = 0; id < g->f->n_nodes; id++) {
        const Node *n = g->f->nodes[id];
        int64_t *lanes = NULL, count = 0;
        for (int i = 0; i < g->n; i++)
            for (int p = 0; p < g->n_lanes[i]; p++) {
                LaneRef r = g->lanes[i][p];
                if (r.node != n || !g->fixed[i][p] || lane_env_get(e->env, r).node) continue;
                if (!lanes) lanes = ARENA_ARRAY(e->a, int64_t, type_lanes(n->type) + 1);
                lanes[count++] = r.lane;
            }
        if (!count) continue;
        qsort(lanes, (size_t)count, sizeof *lanes, compare_ints);
        emit_forward_lanes(e->env, n, lanes, count);
    }
}

void one_lane_decide(Emit *e)
{
    const OneLane *g = e->g;
    Thresholds t = {.e = e};
    for (int i = 0; i < g->n; i++) collect(&t, i);
    collect_tests(&t, g->way);
    for (int i = 0; i < t.n_compare; i++) {
        Compare *c = &t.compare[i];
        while (!lane_same(c->h[0], g->v[c->who[0]])) walk_back(e, c);
        for (int j = 0; j < c->n; j++) c->at[j] = point_at(&t, c->who[j], c->k[j]);
    }
    evaluate_points(&t);
    builder_origin(e->b, g->slots[0].node->origin);
    for (int i = 0; i < t.n_compare; i++) decide(&t, &t.compare[i]);
    if (needs_bracket(g->way)) bracket(&t);
    emit_fixed(e);
    builder_origin(e->b, g->slots[0].node->origin);
    set_tests(&t, g->way);
}
