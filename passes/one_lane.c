// One-lane functions, found and understood: see one_lane.h.
//
// From a known lane u the unknown lanes below it are collected until only one is left to expand, v
// (one_lane_search.c). Lanes on the way are either fixed (comparisons of a monotone function of v with known lanes,
// and all that follows from such comparisons alone: a bin's number, what is taken at it, masks; also a bin's number
// that is rounded down from such a function) or slots; and the same once more, where comparisons with what is fixed
// in a bin halve it. Then a Way is looked for.
#include "lane_order.h"
#include "one_lane_find.h"
#include "one_lane_net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SLOTS = 256, MOST_CUTS = 6, MOST_BINS = 256, MOST_LEVELS = 2, MOST_VISITS = 30000000 };

// ---- the lanes between u and v, of one function

typedef struct {
    LaneRef lane;
    int in[3], class_of[3]; // of operands: slot, or number of the distinct known lane
} ShapeSlot;

typedef struct {
    ShapeSlot *slots;
    int n, v_slot;
} Shape;

OneLaneFinder *one_lane_finder(Context *cx, const Function *f, const LaneEnv *base, const bool *known)
{
    OneLaneFinder *q = ARENA_NEW(cx->arena, OneLaneFinder);
    *q = (OneLaneFinder){cx, f, base, known, .budget = MOST_VISITS};
    q->place = ARENA_ARRAY(cx->arena, int, base->n_lanes + 1);
    q->operands = ARENA_ARRAY(cx->arena, LaneRef, MOST_LANES + 4);
    return q;
}

const char *one_lane_why(const OneLaneFinder *q) { return q->why; }

const void *refuse(OneLaneFinder *q, const Node *n, const char *why)
{
    const char *name = n->origin && n->origin->node ? n->origin->node : op_info(n->op)->name;
    q->why = arena_format(q->cx->arena, "'%s': %s", name, why);
    return NULL;
}

// ---- fixed lanes and slots

bool varies(const OneLaneFinder *q, const Single *s, LaneRef r)
{
    int at = place_of(q, r);
    return at == -1 || (at > 0 && !s->fixed[at - 1]);
}

double one_lane_threshold(Op op, int k, double c, double number)
{
    const double v[3] = {number};
    switch ((int)op) {
    case OP_neg: return -number;
    case OP_add: return number - c;
    case OP_sub: return k == 0 ? number + c : c - number;
    case OP_mul: return number / c;
    case OP_div: return k == 0 ? number * c : NAN;
    default: return one_lane_rising(op) ? eval_scalar(one_lane_rising(op), 0, v) : NAN;
    }
}

const double *lane_number_of(LaneRef r, double *v) { return lane_is_const(r) && const_number(r.node, v) ? v : NULL; }

// How often thresholds are found before lane r is constant between them: 0 known, 1, 2; deeper: it is not.
static int level_of(const OneLaneFinder *q, const Single *s, LaneRef r)
{
    if (is_known(q, r)) return 0;
    return varies(q, s, r) ? MOST_LEVELS + 1 : s->fixed[place_of(q, r) - 1];
}

// The deepest level of what stands on the way from r back to v; -1: there is none, or one deeper than `most`.
static int walk_level(const OneLaneFinder *q, const Single *s, LaneRef r, const double *threshold, int most)
{
    double at = threshold ? *threshold : 0, c = 0;
    bool number = threshold != NULL;
    int deepest = 0;
    for (int turns = 0; !lane_same(r, s->v);) {
        const Node *n = r.node;
        if (!op_elementwise(n->op) || n->n_in > 2 || turns == MOST_TURNS) return -1;
        int k = varies(q, s, lane_operand(n, 0, r.lane)) ? 0 : 1;
        LaneRef other = n->n_in == 2 ? lane_operand(n, 1 - k, r.lane) : r;
        int level = n->n_in == 2 ? level_of(q, s, other) : 0;
        if (level > most) return -1;
        if (level > deepest) deepest = level;
        number = number && (n->n_in == 1 || lane_number_of(other, &c));
        if (number && n->op != OP_min && n->op != OP_max) at = one_lane_threshold(n->op, k, c, at);
        turns += n->op == OP_neg || n->op == OP_min || n->op == OP_max;
        switch ((int)n->op) {
        case OP_neg:
        case OP_add:
        case OP_min:
        case OP_max: break;
        case OP_sub: turns += k == 1; break;
        case OP_div:
        case OP_mul: {
            int sign = n->op == OP_div && k == 1 ? 0 : lane_sign(other);
            if (!sign) return -1;
            turns += sign < 0;
            break;
        }
        default:
            if (!one_lane_rising(n->op) || !number || !isfinite(at)) return -1;
        }
        r = lane_operand(n, k, r.lane);
    }
    return deepest;
}

bool walkable(const OneLaneFinder *q, const Single *s, LaneRef r, const double *threshold)
{
    return walk_level(q, s, r, threshold, 0) == 0;
}

// A comparison of a function of v with a lane that is known, or constant in the bin, is constant between thresholds of v:
// its level, or 0.
static int compares(const OneLaneFinder *q, const Single *s, LaneRef r)
{
    LaneRef x = lane_operand(r.node, 0, r.lane), y = lane_operand(r.node, 1, r.lane), with = varies(q, s, x) ? y : x;
    double c;
    int by = level_of(q, s, with);
    if (by >= MOST_LEVELS) return 0;
    int along = walk_level(q, s, lane_same(with, y) ? x : y, lane_number_of(with, &c), MOST_LEVELS - 1);
    return along < 0 ? 0 : 1 + (by > along ? by : along);
}

int64_t one_lane_bins(const LaneRef *lanes, int n)
{
    int64_t most = 0;
    for (int i = 0; i < n; i++) {
        int64_t rows = lanes[i].node->op == OP_take ? type_last(lanes[i].node->in[0]->type) : 0;
        if (rows > most) most = rows;
    }
    return most;
}

// The bin's number, rounded down from a function of v: constant between the edges 1, 2, .. of the tables' rows.
static bool numbers_bins(const OneLaneFinder *q, const Single *s, LaneRef r)
{
    int64_t bins = one_lane_rounds(r.node) ? one_lane_bins(s->lanes, s->n) : 0;
    return bins > 1 && bins <= MOST_BINS && walkable(q, s, lane_operand(r.node, 0, r.lane), NULL);
}

static bool noted(OneLaneFinder *q, const Node *n, const char *why) { return !refuse(q, n, why); }

// The collected lanes, sorted; each gets its place.
static void collect(OneLaneFinder *q, const Search *w, Single *out)
{
    int n = w->s.n + 1;
    *out = (Single){w->s.u, w->s.v, ARENA_ARRAY(q->cx->arena, LaneRef, n), ARENA_ARRAY(q->cx->arena, uint8_t, n), n};
    memcpy(out->lanes, w->s.lanes, (size_t)w->s.n * sizeof(LaneRef));
    out->lanes[n - 1] = w->s.v;
    qsort(out->lanes, (size_t)n, sizeof(LaneRef), lane_compare);
    for (int i = 0; i < n; i++) q->place[number(q, out->lanes[i])] = i + 1;
}

// What is fixed. False: a lane that is neither fixed nor elementwise.
static bool classify(OneLaneFinder *q, Single *out)
{
    LaneRef *in = q->operands;
    bool ok = true;
    for (int i = 0; i < out->n && ok; i++) {
        LaneRef r = out->lanes[i];
        if (lane_same(r, out->v)) continue;
        int count = lane_operands(r, in, MOST_LANES);
        int level = 1;
        for (int k = 0; k < count; k++)
            if (level_of(q, out, in[k]) > level) level = level_of(q, out, in[k]);
        bool any = level > MOST_LEVELS, test = any && (r.node->op == OP_lt || r.node->op == OP_le);
        if (test)
            level = compares(q, out, r);
        else if (any)
            level = numbers_bins(q, out, r);
        if (test && !level)
            ok = !noted(q, r.node, "compares with something that is not known");
        else if (any && !op_elementwise(r.node->op))
            ok = !noted(q, r.node, "mixes several functions of one lane");
        out->fixed[i] = (uint8_t)level;
    }
    return ok && !out->fixed[place_of(q, out->u) - 1];
}

typedef struct {
    OneLaneFinder *q;
    const Single *s;
    Shape *shape;
    int *slot_of; // by place
    LaneRef classes[MOST_SLOTS];
    int n_classes;
    bool failed;
} ShapeMaker;

static int class_number(ShapeMaker *m, LaneRef r)
{
    for (int i = 0; i < m->n_classes; i++)
        if (lane_same(m->classes[i], r)) return i;
    if (m->n_classes == MOST_SLOTS)
        m->failed = true;
    else
        m->classes[m->n_classes++] = r;
    return m->n_classes - 1;
}

static int make_slot(ShapeMaker *m, LaneRef r)
{
    int place = place_of(m->q, r), at = m->shape->n;
    if (m->slot_of[place]) return m->slot_of[place] - 1;
    if (at == MOST_SLOTS) m->failed = true;
    if (m->failed) return 0;
    m->slot_of[place] = at + 1;
    m->shape->n++;
    ShapeSlot *slot = &m->shape->slots[at];
    slot->lane = r;
    for (int k = 0; k < 3; k++) slot->in[k] = slot->class_of[k] = -1;
    if (lane_same(r, m->s->v)) {
        m->shape->v_slot = at;
        return at;
    }
    for (int k = 0; k < r.node->n_in; k++) {
        LaneRef x = lane_operand(r.node, k, r.lane);
        if (varies(m->q, m->s, x))
            slot->in[k] = make_slot(m, x);
        else
            slot->class_of[k] = class_number(m, x);
    }
    return at;
}

static Shape *make_shape(OneLaneFinder *q, const Single *s)
{
    Arena *a = q->cx->arena;
    ShapeMaker *m = heap_array(1, sizeof *m);
    *m = (ShapeMaker){.q = q, .s = s, .shape = ARENA_NEW(a, Shape), .slot_of = ARENA_ARRAY(a, int, s->n + 1)};
    m->shape->slots = ARENA_ARRAY(a, ShapeSlot, s->n < MOST_SLOTS ? s->n : MOST_SLOTS);
    m->shape->v_slot = -1;
    make_slot(m, s->u);
    Shape *shape = m->failed || m->shape->v_slot < 0 ? NULL : m->shape;
    free(m);
    return shape;
}

static bool same_shape(const Shape *x, const Shape *y)
{
    if (x->n != y->n || x->v_slot != y->v_slot) return false;
    for (int i = 0; i < x->n; i++) {
        const ShapeSlot *a = &x->slots[i], *b = &y->slots[i];
        if (a->lane.node != b->lane.node || memcmp(a->in, b->in, sizeof a->in) ||
            memcmp(a->class_of, b->class_of, sizeof a->in))
            return false;
    }
    return true;
}

// ---- groups

static bool has_bin(const Way *way)
{
    if (way->kind == WAY_END) return false;
    return way->in_bin || way->from_bin || has_bin(way->next) || (way->otherwise && has_bin(way->otherwise));
}

// Is the slope's sign known on every branch?
static bool is_proved(const Way *way)
{
    switch (way->kind) {
    case WAY_END: return true;
    case WAY_SELECT: return is_proved(way->next) && is_proved(way->otherwise);
    case WAY_CHAIN: return (way->same || way->slope) && is_proved(way->next);
    case WAY_RATIONAL:
    case WAY_BRACKET: return way->slope && !way->between && is_proved(way->next);
    }
    return false;
}

static OneLane *new_group(OneLaneFinder *q, int n, Single *const *single)
{
    Arena *a = q->cx->arena;
    OneLane *g = ARENA_NEW(a, OneLane);
    LaneRef *u = ARENA_ARRAY(a, LaneRef, n), *v = ARENA_ARRAY(a, LaneRef, n);
    const LaneRef **lanes = ARENA_ARRAY(a, const LaneRef *, n);
    const uint8_t **fixed = ARENA_ARRAY(a, const uint8_t *, n);
    int *n_lanes = ARENA_ARRAY(a, int, n);
    for (int i = 0; i < n; i++) {
        u[i] = single[i]->u;
        v[i] = single[i]->v;
        lanes[i] = single[i]->lanes;
        fixed[i] = single[i]->fixed;
        n_lanes[i] = single[i]->n;
    }
    *g = (OneLane){.f = q->f, .n = n, .u = u, .v = v, .lanes = lanes, .fixed = fixed, .n_lanes = n_lanes};
    return g;
}

static const OneLane *make_group(OneLaneFinder *q, int n, Single *const *single, Shape *const *shape)
{
    Arena *a = q->cx->arena;
    Slot *slots = ARENA_ARRAY(a, Slot, shape[0]->n);
    for (int s = 0; s < shape[0]->n; s++) {
        int64_t *lanes = ARENA_ARRAY(a, int64_t, n);
        for (int i = 0; i < n; i++) lanes[i] = shape[i]->slots[s].lane.lane;
        slots[s].node = shape[0]->slots[s].lane.node;
        slots[s].lanes = lanes;
        memcpy(slots[s].in, shape[0]->slots[s].in, sizeof slots[s].in);
    }
    WayFinder w = {
        .q = q, .a = a, .slots = slots, .n_slots = shape[0]->n, .v_slot = shape[0]->v_slot, .n = n, .first = single[0]};
    w.truth = ARENA_ARRAY(a, int8_t, w.n_slots);
    w.side = ARENA_ARRAY(a, int8_t, w.n_slots);
    w.constant = ARENA_ARRAY(a, bool, w.n_slots);
    w.number = ARENA_ARRAY(a, double, w.n_slots);
    const Way *way = find_way(&w, 0);
    bool ok = true;
    if (!way || way == &DEAD) return NULL;
    int slope = way_slope(&w, way, &ok);
    if (!slope && has_bin(way)) slope = 1; // a spline whose widths and heights are not seen to be positive
    if (!ok || !slope)
        return refuse(q, single[0]->u.node,
                      ok ? "rising or falling is not decided" : "rises in one branch and falls in another");
    if (!tests_walkable(&w, way))
        return refuse(q, single[0]->u.node, "what it chooses by is no simple function of the unknown lane");
    OneLane *g = new_group(q, n, single);
    g->slots = slots;
    g->n_slots = w.n_slots;
    g->v_slot = w.v_slot;
    g->way = way;
    g->slope = slope;
    g->proved = is_proved(way);
    return g;
}

// The function that ends in u, at the given cut. *shape gets its slots. NULL: none.
static Single *single_at(OneLaneFinder *q, LaneRef u, int cut, Shape **shape, Search **search)
{
    Search *w = search_new(q, u);
    Single *s = ARENA_NEW(q->cx->arena, Single);
    bool ok = w->heap.n > 0;
    for (int i = 0; i <= cut && ok; i++) ok = search_next(q, w);
    *search = w;
    *shape = NULL;
    if (!ok) return NULL;
    collect(q, w, s);
    if (classify(q, s)) *shape = make_shape(q, s);
    return s;
}

static bool wanted(const OneLaneFinder *q, const Node *n, int64_t i)
{
    if (!is_known(q, (LaneRef){n, i})) return false;
    if (!op_elementwise(n->op)) return true; // the search looks at what is below
    for (int k = 0; k < n->n_in; k++)
        if (!is_known(q, lane_operand(n, k, i))) return true;
    return false;
}

typedef struct {
    Single **single;
    Shape **shape;
    int n;
} Members;

static void add_members(OneLaneFinder *q, const Node *n, int64_t from, int cut, Members *m)
{
    int64_t lanes = type_lanes(n->type);
    for (int64_t i = from; i < lanes; i++) {
        if (!wanted(q, n, i)) continue;
        Search *search;
        Shape *shape;
        Single *s = single_at(q, (LaneRef){n, i}, cut, &shape, &search);
        search_free(q, search);
        bool fits = s && shape && same_shape(shape, m->shape[0]);
        for (int k = 0; k < m->n && fits; k++) fits = !lane_same(m->single[k]->v, s->v);
        if (!fits) continue;
        m->single[m->n] = s;
        m->shape[m->n++] = shape;
    }
}

static const OneLane *find_from(OneLaneFinder *q, const Node *n, int64_t i)
{
    int64_t lanes = type_lanes(n->type);
    for (int cut = 0; cut < MOST_CUTS; cut++) {
        Search *search;
        Shape *shape;
        Single *s = single_at(q, (LaneRef){n, i}, cut, &shape, &search);
        const OneLane *g = s && shape ? make_group(q, 1, &s, &shape) : NULL;
        search_free(q, search);
        if (!s) return NULL;
        if (!g) continue;
        Members m = {ARENA_ARRAY(q->cx->arena, Single *, lanes), ARENA_ARRAY(q->cx->arena, Shape *, lanes), 1};
        m.single[0] = s;
        m.shape[0] = shape;
        add_members(q, n, i + 1, cut, &m);
        if (m.n == 1) return g;
        Search *again = NULL; // the first function's lanes are marked while its way is looked for
        s = single_at(q, (LaneRef){n, i}, cut, &shape, &again);
        const OneLane *all = s ? make_group(q, m.n, m.single, m.shape) : NULL;
        search_free(q, again);
        return all ? all : g;
    }
    return NULL;
}

// ---- nets

// Sums alone become additions (unfold_sums.c), which other ways lead through, too.
static bool is_net(const Single *s)
{
    bool product = false;
    for (int i = 0; i < s->n; i++) {
        if (!lane_same(s->lanes[i], s->v) && !net_follows(s->lanes[i].node)) return false;
        product = product || s->lanes[i].node->op == OP_linear || s->lanes[i].node->op == OP_matmul;
    }
    return product;
}

// The net that ends in u, at the given cut, and the sign of its slope, 0: it is none. NULL: there is no such cut.
static Single *net_at(OneLaneFinder *q, LaneRef u, int cut, int *slope, bool *proved)
{
    Search *w = search_new(q, u);
    Single *s = ARENA_NEW(q->cx->arena, Single);
    bool ok = w->heap.n > 0;
    for (int i = 0; i <= cut && ok; i++) ok = search_next(q, w);
    if (ok) collect(q, w, s);
    *slope = ok && is_net(s) ? net_slope(q, s, proved) : 0;
    search_free(q, w);
    return ok ? s : NULL;
}

static const OneLane *net_group(OneLaneFinder *q, int n, Single *const *single, int slope, bool proved)
{
    Arena *a = q->cx->arena;
    OneLane *g = new_group(q, n, single);
    Slot *slots = ARENA_ARRAY(a, Slot, 2);
    for (int s = 0; s < 2; s++) {
        int64_t *lanes = ARENA_ARRAY(a, int64_t, n);
        for (int i = 0; i < n; i++) lanes[i] = s ? g->v[i].lane : g->u[i].lane;
        slots[s] = (Slot){s ? g->v->node : g->u->node, lanes, {s ? -1 : 1, -1, -1}};
    }
    Way *way = ARENA_NEW(a, Way), *end = ARENA_NEW(a, Way);
    *end = (Way){.kind = WAY_END, .slot = 1};
    *way = (Way){.kind = WAY_BRACKET, .t = 1, .slope = slope, .next = end};
    g->net = true;
    g->slots = slots;
    g->n_slots = 2;
    g->v_slot = 1;
    g->way = way;
    g->slope = slope;
    g->proved = proved;
    return g;
}

// The net that ends in lane i of n, and those of the lanes after it that are like it.
static const OneLane *find_net(OneLaneFinder *q, const Node *n, int64_t i)
{
    for (int cut = 0; cut < MOST_CUTS; cut++) {
        int slope, slope_too, count = 1;
        bool proved, proved_too;
        Single *first = net_at(q, (LaneRef){n, i}, cut, &slope, &proved);
        if (!first) return NULL;
        if (!slope) continue;
        Single **all = ARENA_ARRAY(q->cx->arena, Single *, type_lanes(n->type));
        all[0] = first;
        while (++i < type_lanes(n->type)) {
            Single *s = wanted(q, n, i) ? net_at(q, (LaneRef){n, i}, cut, &slope_too, &proved_too) : NULL;
            bool fits = s && slope_too == slope && proved_too == proved && s->v.node == first->v.node;
            for (int k = 0; k < count && fits; k++) fits = !lane_same(all[k]->v, s->v);
            if (fits) all[count++] = s;
        }
        return net_group(q, count, all, slope, proved);
    }
    return NULL;
}

const OneLane *one_lane_find(OneLaneFinder *q, const Node *n, bool nets)
{
    if (!op_elementwise(n->op) && !(nets && net_follows(n))) return NULL;
    for (int64_t i = 0; i < type_lanes(n->type); i++) {
        if (!wanted(q, n, i)) continue;
        const OneLane *g = nets ? find_net(q, n, i) : find_from(q, n, i);
        if (g) return g;
    }
    return NULL;
}
