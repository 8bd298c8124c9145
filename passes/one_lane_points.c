// A one-lane function at the thresholds of its tests: the function is built once more for every threshold, with v := T
// (one_lane_tests.c). Comparisons of thresholds with each other fold where their order is proved (lane_order.c), so
// that of a spline only the knots' heights remain.
#include "one_lane_points.h"
#include "lane_order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int points_place(const OneLane *g, int i, LaneRef r)
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

// The result of an op on built lanes, where one of them or its constants decide it; else none.
static LaneRef decided(Emit *e, Op op, const LaneRef *in)
{
    const LaneRef zero = {num(e, 0), 0}, one = {num(e, 1), 0}, none = {NULL, 0};
    bool same = op_info(op)->kind == KIND_BINARY && lane_same(in[0], in[1]);
    bool c0 = lane_is_const(in[0]), c1 = op_info(op)->kind != KIND_UNARY && lane_is_const(in[1]);
    double x = c0 ? lane_value(in[0]) : NAN, y = c1 ? lane_value(in[1]) : NAN;
    switch ((int)op) {
    case OP_sub: return same ? zero : y == 0 ? in[0] : none;
    case OP_add: return x == 0 ? in[1] : y == 0 ? in[0] : none;
    case OP_mul:
    case OP_and: return x == 0 || y == 0 ? zero : x == 1 ? in[1] : y == 1 ? in[0] : none;
    case OP_or: return x == 1 || y == 1 ? one : x == 0 ? in[1] : y == 0 ? in[0] : none;
    case OP_div: return x == 0 ? zero : same ? one : y == 1 ? in[0] : none;
    case OP_min:
    case OP_max: return same ? in[0] : none;
    case OP_select: return c0 ? in[x != 0 ? 1 : 2] : lane_same(in[1], in[2]) ? in[1] : none;
    case OP_le:
        if (c0 && c1) return none;
        return lanes_in_order(in[0], in[1], 0) ? one : !same && lanes_in_order(in[1], in[0], 0) ? zero : none;
    default: return none;
    }
}

// `like`: the node whose op it is (its alpha and type); NULL: op on its own.
static const Node *apply(Emit *e, Op op, const Node *like, const Node *const *in)
{
    if (like) return lanes_apply(e->b, like, in);
    return op_info(op)->kind == KIND_UNARY ? build_unary(e->b, op, in[0]) : build_binary(e->b, op, in[0], in[1]);
}

// One elementwise op on built lanes, those apart that are decided lane by lane; the others in one vector.
void points_apply(Emit *e, Op op, const Node *like, LaneRef *const *in, int64_t n, LaneRef *out)
{
    int n_in = like ? like->n_in : op_info(op)->kind == KIND_UNARY ? 1 : 2;
    int64_t *rest = heap_array(n, sizeof *rest), n_rest = 0;
    for (int64_t j = 0; j < n; j++) {
        LaneRef own[3];
        bool constant = true;
        for (int k = 0; k < n_in; k++) own[k] = in[k][j], constant = constant && lane_is_const(own[k]);
        if (!constant) {
            out[j] = decided(e, op, own);
            if (!out[j].node) rest[n_rest++] = j;
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

// Truth of c for elements `which` of c, from v > threshold: the steps back, last one first.
void points_steps(Emit *e, const Compare *c, const int *which, int64_t n, LaneRef *truth)
{
    LaneRef *with = new_lanes(e, n);
    for (int s = c->n_steps - 1; s >= 0; s--) {
        for (int64_t j = 0; j < n && c->step[s].with; j++) with[j] = c->step[s].with[which[j]];
        LaneRef *in[2] = {truth, with}, *out = new_lanes(e, n);
        points_apply(e, c->step[s].op, NULL, in, n, out);
        memcpy(truth, out, (size_t)n * sizeof *out);
    }
    if (!c->negated) return;
    LaneRef *in[1] = {truth}, *out = new_lanes(e, n);
    points_apply(e, OP_not, NULL, in, n, out);
    memcpy(truth, out, (size_t)n * sizeof *out);
}

// Of each `edges` truths how many hold, as lanes of the node: n / edges of them.
void points_count(Emit *e, const Node *node, const LaneRef *truth, int64_t n, int edges, LaneRef *out)
{
    int64_t dim[2] = {n / edges, edges};
    const Node *each = lanes_gather_as(e->b, truth, type_make(T_F32, 2, dim));
    const Node *zero = num(e, 0), *sum = build_reduce(e->b, OP_reduce_sum, build_select(e->b, each, num(e, 1), zero));
    if (node->type.dtype == T_I64) sum = build_cast(e->b, sum, T_I64);
    for (int64_t j = 0; j < n / edges; j++) out[j] = lane_canonical(sum, j);
}

// ---- g at the thresholds

static LaneRef point_lane(Thresholds *t, const Point *p, LaneRef r)
{
    int at = node_is_const(r.node) ? -1 : points_place(t->e->g, p->who, r);
    return at >= 0 ? p->value[at] : lane_env_get(t->e->env, r);
}

bool point_is_outside(const Thresholds *t, const Point *p, LaneRef r)
{
    int at = node_is_const(r.node) ? -1 : points_place(t->e->g, p->who, r);
    return at >= 0 && p->outside[at];
}

// Does an elementwise lane read such a one? Of a select that is decided, the side that is taken counts.
static bool reads_outside(const Thresholds *t, const Point *p, LaneRef r)
{
    const Node *n = r.node;
    int test = n->op == OP_select ? points_place(t->e->g, p->who, lane_operand(n, 0, r.lane)) : -1;
    bool chosen = test >= 0 && lane_is_const(p->value[test]);
    for (int k = 0; k < n->n_in; k++) {
        bool taken = !chosen || k == (lane_value(p->value[test]) != 0 ? 1 : 2);
        if (taken && point_is_outside(t, p, lane_operand(n, k, r.lane))) return true;
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
    points_apply(e, OP_le, NULL, in, n, truth);
    points_steps(e, c, which, n, truth);
    for (int64_t j = 0; j < n; j += c->edges) {
        Point *p = &t->points[point[j]];
        if (one_lane_rounds(c->node)) points_count(e, c->node, &truth[j], c->edges, c->edges, &truth[j]);
        p->value[points_place(e->g, p->who, (LaneRef){c->node, c->lanes[which[j]]})] = truth[j];
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
    points_apply(e, cast ? OP_move : node->op, node, in, n, out);
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
    const Node *at = lanes_gather_as(e->b, index, type_make(T_F32, 2, one));
    const Node *now = build_take(e->b, lanes_gather_as(e->b, x, type_make(T_F32, 2, table)), at);
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
            const Node *times = num(e, weight);
            sum = bin(e, OP_add, sum, bin(e, OP_mul, lanes_gather_as(e->b, &x, type_vector(1)), times));
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
void points_evaluate(Thresholds *t)
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
                int level = g->fixed[who][cursor[p]];
                LaneRef own = g->lanes[who][cursor[p]];
                if (lane_same(own, g->v[who]))
                    t->points[p].value[cursor[p]] = t->points[p].at;
                else if (level && level < t->level)
                    t->points[p].value[cursor[p]] = lane_env_get(t->e->env, own);
                else
                    cells[n++] = (Cell){p, cursor[p]};
            }
        }
        if (n) node_points(t, node, cells, n);
    }
}
