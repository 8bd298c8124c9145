// The tests of a one-lane function's v, from u (one_lane.h).
//
// A test of v against a threshold T becomes a test of u against g(T + 0), which one_lane_points.c builds. Then all that
// is constant between thresholds is built forward; then the tests of the next level, whose thresholds are among that.
#include "lane_order.h"
#include "one_lane_points.h"

#include <stdlib.h>
#include <string.h>

static bool varies(const OneLane *g, int i, LaneRef r)
{
    int at = node_is_const(r.node) ? -1 : points_place(g, i, r);
    return at >= 0 && !g->fixed[i][at];
}

// One op of (c's k) with built lanes, or with a number.
static void step_k(Emit *e, Compare *c, Op op, LaneRef *other, bool reversed)
{
    LaneRef *in[2] = {reversed ? other : c->k, reversed ? c->k : other}, *out = new_lanes(e, c->n);
    points_apply(e, op, NULL, in, c->n, out);
    c->k = out;
}

static void push_step(Compare *c, Op op, LaneRef *with)
{
    c->step[c->n_steps].op = op;
    c->step[c->n_steps++].with = with;
}

// (-h > k) = not (h >= -k)
static void flip(Compare *c)
{
    push_step(c, OP_not, NULL);
    c->strict = !c->strict;
}

static int lane_sign_at(const LaneRef *other) { return lane_sign(*other) < 0 ? -1 : 1; }

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
        points_apply(e, OP_neg, NULL, &c->k, c->n, out);
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
        points_apply(e, c->strict ? OP_lt : OP_le, NULL, in, c->n, with);
        push_step(c, n->op == OP_max ? OP_or : OP_and, with);
        break;
    }
    default: {
        LaneRef *out = new_lanes(e, c->n);
        points_apply(e, one_lane_rising(n->op), NULL, &c->k, c->n, out);
        c->k = out;
    }
    }
    for (int j = 0; j < c->n; j++) c->h[j] = lane_operand(n, k, c->h[j].lane);
}

static bool same_walk(const Emit *e, int i, LaneRef x, int j, LaneRef y)
{
    while (!lane_same(x, e->g->v[i])) {
        if (x.node != y.node || lane_same(y, e->g->v[j])) return false;
        int k = varies(e->g, i, lane_operand(x.node, 0, x.lane)) ? 0 : 1;
        if (x.node->n_in == 2 &&
            lane_sign(lane_operand(x.node, 1 - k, x.lane)) != lane_sign(lane_operand(y.node, 1 - k, y.lane)))
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
        if (g->fixed[i][p] != t->level || (r.node->op != OP_lt && r.node->op != OP_le)) continue;
        LaneRef x = lane_operand(r.node, 0, r.lane), y = lane_operand(r.node, 1, r.lane);
        bool left = varies(g, i, x), lt = r.node->op == OP_lt; // x < y is not (x >= y)
        if (!left && !varies(g, i, y)) continue;
        LaneRef h = left ? x : y, k = left ? y : x;
        LaneRef with = lane_env_get(t->e->env, k);
        add_compare(compare_for(t, r.node, -1, left != lt, left, 1, i, h), i, h, with, r.lane);
    }
    for (int p = 0; p < g->n_lanes[i]; p++)
        if (g->fixed[i][p] == t->level && one_lane_rounds(g->lanes[i][p].node)) collect_edges(t, i, g->lanes[i][p]);
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

// Truth of the comparisons for the real v, from u.
static void decide(Thresholds *t, Compare *c)
{
    Emit *e = t->e;
    const OneLane *g = e->g;
    LaneRef *at = new_lanes(e, c->n), *u = new_lanes(e, c->n);
    int *which = ARENA_ARRAY(e->a, int, c->n + 1);
    for (int j = 0; j < c->n; j++) {
        const Point *p = &t->points[c->at[j]];
        at[j] = p->value[points_place(g, p->who, g->u[p->who])];
        u[j] = lane_env_get(e->env, g->u[p->who]);
        which[j] = j;
    }
    LaneRef *in[2] = {g->slope > 0 ? at : u, g->slope > 0 ? u : at};
    points_apply(e, OP_le, NULL, in, c->n, c->above);
    for (int j = 0; j < c->n; j++)
        if (point_is_outside(t, &t->points[c->at[j]], g->u[c->who[j]])) c->above[j] = (LaneRef){num(e, 0), 0};
    memcpy(c->truth, c->above, (size_t)c->n * sizeof *c->truth);
    points_steps(e, c, which, c->n, c->truth);
    if (one_lane_rounds(c->node)) points_count(e, c->node, c->truth, c->n, c->edges, at);
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

// Lanes that are constant between thresholds of this level, forward, node by node.
static void emit_fixed(Emit *e, int level)
{
    const OneLane *g = e->g;
    for (int id = 0; id < g->f->n_nodes; id++) {
        const Node *n = g->f->nodes[id];
        int64_t *lanes = NULL, count = 0;
        for (int i = 0; i < g->n; i++)
            for (int p = 0; p < g->n_lanes[i]; p++) {
                LaneRef r = g->lanes[i][p];
                if (r.node != n || g->fixed[i][p] != level || lane_env_get(e->env, r).node) continue;
                if (!lanes) lanes = ARENA_ARRAY(e->a, int64_t, type_lanes(n->type) + 1);
                lanes[count++] = r.lane;
            }
        if (!count) continue;
        qsort(lanes, (size_t)count, sizeof *lanes, compare_ints);
        emit_forward_lanes(e->env, n, lanes, count);
    }
}

static bool has_level(const OneLane *g, int level)
{
    bool any = false;
    for (int i = 0; i < g->n; i++)
        for (int p = 0; p < g->n_lanes[i]; p++) any = any || g->fixed[i][p] == level;
    return any;
}

static Thresholds decide_level(Emit *e, int level)
{
    const OneLane *g = e->g;
    Thresholds t = {.e = e, .level = level};
    for (int i = 0; i < g->n; i++) collect(&t, i);
    if (level == 1) collect_tests(&t, g->way);
    for (int i = 0; i < t.n_compare; i++) {
        Compare *c = &t.compare[i];
        while (!lane_same(c->h[0], g->v[c->who[0]])) walk_back(e, c);
        for (int j = 0; j < c->n; j++) c->at[j] = point_at(&t, c->who[j], c->k[j]);
    }
    points_evaluate(&t);
    builder_origin(e->b, g->slots[0].node->origin);
    for (int i = 0; i < t.n_compare; i++) decide(&t, &t.compare[i]);
    if (level == 1 && needs_bracket(g->way)) bracket(&t);
    emit_fixed(e, level);
    builder_origin(e->b, g->slots[0].node->origin);
    return t;
}

void one_lane_decide(Emit *e)
{
    Thresholds t = decide_level(e, 1);
    for (int level = 2; has_level(e->g, level); level++) decide_level(e, level);
    set_tests(&t, e->g->way);
}
