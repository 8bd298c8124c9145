// One-lane functions, found and understood: see one_lane.h.
//
// From a known lane u the unknown lanes below it are collected, latest first, until only one is left to expand: that is
// v. Lanes on the way are either fixed (comparisons of a monotone function of v with known lanes, and all that follows
// from such comparisons alone: a bin's number, what is taken at it, masks) or slots. Then a Way is looked for.
#include "one_lane.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHIFTED = 1, SCALED = 2, POSITION = SHIFTED | SCALED }; // (v - x_k) / w: the position in a bin
enum { MOST_LANES = 4096, MOST_SLOTS = 256, MOST_ASSUMED = 64, MOST_SPLITS = 6, MOST_CUTS = 6 };

// ---- the lanes between u and v, of one function

typedef struct {
    LaneRef u, v;
    LaneRef *lanes; // sorted; v and u among them
    bool *fixed;
    int n;
} Single;

typedef struct {
    LaneRef lane;
    int in[3], class_of[3]; // of operands: slot, or number of the distinct known lane
} ShapeSlot;

typedef struct {
    ShapeSlot *slots;
    int n, v_slot;
} Shape;

struct OneLaneFinder {
    Context *cx;
    const Function *f;
    const LaneEnv *base;
    const bool *known;
    int *place; // by lane number: position + 1 among the collected lanes
    const char *why;
};

OneLaneFinder *one_lane_finder(Context *cx, const Function *f, const LaneEnv *base, const bool *known)
{
    OneLaneFinder *q = ARENA_NEW(cx->arena, OneLaneFinder);
    *q = (OneLaneFinder){cx, f, base, known, ARENA_ARRAY(cx->arena, int, base->n_lanes + 1), NULL};
    return q;
}

const char *one_lane_why(const OneLaneFinder *q) { return q->why; }

static int64_t number(const OneLaneFinder *q, LaneRef r) { return q->base->base[r.node->id] + r.lane; }
static bool is_known(const OneLaneFinder *q, LaneRef r) { return node_is_const(r.node) || q->known[number(q, r)]; }

static const void *refuse(OneLaneFinder *q, const Node *n, const char *why)
{
    const char *name = n->origin && n->origin->node ? n->origin->node : op_info(n->op)->name;
    q->why = arena_format(q->cx->arena, "'%s': %s", name, why);
    return NULL;
}

// All operand lanes of r that it needs; -1: too many.
static int operands(LaneRef r, LaneRef *out, int room)
{
    const Node *n = r.node;
    int64_t first = 0, count = 0, i = r.lane;
    int at = 0;
    switch (op_info(n->op)->kind) {
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY:
        for (int k = 0; k < n->n_in; k++) out[at++] = lane_operand(n, k, i);
        return at;
    case KIND_REDUCE:
        count = type_last(n->in[0]->type);
        first = i * count;
        break;
    case KIND_TAKE: {
        int64_t K = type_last(n->in[0]->type), J = type_last(n->in[1]->type), rows = type_lanes(n->in[0]->type) / K;
        out[at++] = lane_canonical(n->in[1], i);
        first = rows == 1 ? 0 : i / J * K;
        count = K;
        break;
    }
    case KIND_LINEAR: {
        int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1];
        if (K + 1 > room) return -1;
        for (int64_t k = 0; k < K; k++)
            if (const_at(n->in[1], k * N + i % N) != 0) out[at++] = lane_canonical(n->in[0], i / N * K + k);
        if (n->n_in > 3) out[at++] = lane_canonical(n->in[3], i);
        return at;
    }
    default: return -1;
    }
    if (count + 1 > room) return -1;
    for (int64_t k = 0; k < count; k++) out[at++] = lane_canonical(n->in[0], first + k);
    return at;
}

// Pending lanes, latest first: a heap by lane number.
typedef struct {
    LaneRef *item;
    int n;
} Heap;

static void heap_push(const OneLaneFinder *q, Heap *h, LaneRef r)
{
    int i = h->n++;
    for (; i && number(q, h->item[(i - 1) / 2]) < number(q, r); i = (i - 1) / 2) h->item[i] = h->item[(i - 1) / 2];
    h->item[i] = r;
}

static LaneRef heap_pop(const OneLaneFinder *q, Heap *h)
{
    LaneRef top = h->item[0], last = h->item[--h->n];
    int i = 0;
    for (int c; (c = 2 * i + 1) < h->n; i = c) {
        if (c + 1 < h->n && number(q, h->item[c + 1]) > number(q, h->item[c])) c++;
        if (number(q, h->item[c]) <= number(q, last)) break;
        h->item[i] = h->item[c];
    }
    h->item[i] = last;
    return top;
}

typedef struct {
    Heap heap;
    Single s;
} Search;

// The unknown operands of r become pending. False: too many, or r cannot be expanded.
static bool expand(OneLaneFinder *q, Search *w, LaneRef r)
{
    LaneRef *in = malloc(sizeof *in * (MOST_LANES + 4));
    int n = operands(r, in, MOST_LANES);
    bool ok = n >= 0;
    for (int i = 0; i < n && ok; i++) {
        if (is_known(q, in[i]) || q->place[number(q, in[i])]) continue;
        ok = w->heap.n < MOST_LANES && w->s.n + w->heap.n < MOST_LANES;
        if (!ok) break;
        q->place[number(q, in[i])] = -1; // pending
        heap_push(q, &w->heap, in[i]);
    }
    free(in);
    return ok;
}

static void take_lane(OneLaneFinder *q, Search *w, LaneRef r)
{
    w->s.lanes[w->s.n++] = r;
    q->place[number(q, r)] = w->s.n;
}

// On to the next lane through which everything leads. w->s.v is the last one (or nothing).
static bool next_cut(OneLaneFinder *q, Search *w)
{
    if (w->s.v.node) {
        heap_pop(q, &w->heap);
        take_lane(q, w, w->s.v);
        if (!expand(q, w, w->s.v)) return false;
    }
    while (w->heap.n > 1) {
        LaneRef r = heap_pop(q, &w->heap);
        take_lane(q, w, r);
        if (!expand(q, w, r)) return false;
    }
    if (!w->heap.n) return false;
    w->s.v = w->heap.item[0];
    return true;
}

static Search *search_new(OneLaneFinder *q, LaneRef u)
{
    Search *w = calloc(1, sizeof *w);
    w->heap.item = malloc(sizeof(LaneRef) * (MOST_LANES + 4));
    w->s.lanes = malloc(sizeof(LaneRef) * (MOST_LANES + 4));
    w->s.u = u;
    take_lane(q, w, u);
    if (!expand(q, w, u)) w->heap.n = 0;
    return w;
}

static void search_free(OneLaneFinder *q, Search *w)
{
    for (int i = 0; i < w->s.n; i++) q->place[number(q, w->s.lanes[i])] = 0;
    for (int i = 0; i < w->heap.n; i++) q->place[number(q, w->heap.item[i])] = 0;
    free(w->heap.item);
    free(w->s.lanes);
    free(w);
}

// ---- signs of known lanes, by the ops that define them

static int lane_sign(LaneRef r, int depth);

static int all_signs(const LaneRef *in, int n, int depth)
{
    int first = n ? lane_sign(in[0], depth) : 0;
    for (int i = 1; i < n && first; i++)
        if (lane_sign(in[i], depth) != first) first = 0;
    return first;
}

static int combined_sign(LaneRef r, int depth)
{
    LaneRef in[130];
    int n = operands(r, in, 128);
    if (n < 0) return 0;
    if (r.node->op == OP_take) return all_signs(in + 1, n - 1, depth);
    if (r.node->op == OP_linear) {
        const Node *w = r.node->in[1];
        for (int64_t k = 0; k < w->type.dim[0]; k++)
            if (const_at(w, k * w->type.dim[1] + r.lane % w->type.dim[1]) < 0) return 0;
        if (r.node->n_in > 2 && r.node->in[2]) return 0;
    }
    return all_signs(in, n, depth);
}

static int lane_sign(LaneRef r, int depth)
{
    const Node *n = r.node;
    if (node_is_const(n)) return lane_value(r) > 0 ? 1 : lane_value(r) < 0 ? -1 : 0;
    if (depth > 24) return 0;
    LaneRef x = n->n_in ? lane_operand(n, 0, r.lane) : r,
            y = op_elementwise(n->op) && n->n_in > 1 ? lane_operand(n, 1, r.lane) : x;
    switch ((int)n->op) {
    case OP_exp:
    case OP_softplus:
    case OP_sigmoid:
    case OP_cosh: return 1;
    case OP_neg: return -lane_sign(x, depth + 1);
    case OP_sqrt: return lane_sign(x, depth + 1) > 0;
    case OP_leaky_relu: return n->alpha > 0 ? lane_sign(x, depth + 1) : 0;
    case OP_mul:
    case OP_div: return lane_sign(x, depth + 1) * lane_sign(y, depth + 1);
    case OP_add: {
        if (lane_is_const(y) && lane_value(y) == 0) return lane_sign(x, depth + 1);
        int s = lane_sign(x, depth + 1);
        return s && lane_sign(y, depth + 1) == s ? s : 0;
    }
    case OP_sub: {
        int s = lane_sign(x, depth + 1);
        return s && lane_sign(y, depth + 1) == -s ? s : 0;
    }
    case OP_max: return lane_sign(x, depth + 1) > 0 || lane_sign(y, depth + 1) > 0;
    case OP_select: {
        int s = lane_sign(y, depth + 1);
        return s && lane_sign(lane_operand(n, 2, r.lane), depth + 1) == s ? s : 0;
    }
    case OP_take:
    case OP_reduce_sum:
    case OP_reduce_max:
    case OP_reduce_min:
    case OP_linear: return combined_sign(r, depth + 1);
    default: return 0;
    }
}

int one_lane_sign(LaneRef r) { return lane_sign(r, 0); }

// ---- fixed lanes and slots

static int place_of(const OneLaneFinder *q, LaneRef r) { return node_is_const(r.node) ? 0 : q->place[number(q, r)]; }

// Does the lane vary with v within a bin? Known and fixed lanes do not.
static bool varies(const OneLaneFinder *q, const Single *s, LaneRef r)
{
    int at = place_of(q, r);
    return at == -1 || (at > 0 && !s->fixed[at - 1]);
}

// Is lane r a monotone function of v by steps that the emission can walk back (walk_back there)?
static bool walkable(const OneLaneFinder *q, const Single *s, LaneRef r)
{
    while (!lane_same(r, s->v)) {
        const Node *n = r.node;
        if (!op_elementwise(n->op) || n->n_in > 2) return false;
        int k = varies(q, s, lane_operand(n, 0, r.lane)) ? 0 : 1;
        LaneRef other = n->n_in == 2 ? lane_operand(n, 1 - k, r.lane) : r;
        if (n->n_in == 2 && !is_known(q, other)) return false;
        switch ((int)n->op) {
        case OP_neg:
        case OP_add:
        case OP_sub:
        case OP_min:
        case OP_max: break;
        case OP_div:
            if (k == 1) return false;
            if (!lane_sign(other, 0)) return false;
            break;
        case OP_mul:
            if (!lane_sign(other, 0)) return false;
            break;
        default: return false;
        }
        r = lane_operand(n, k, r.lane);
    }
    return true;
}

// A comparison of a function of v with a known lane is constant between thresholds of v.
static bool compares(const OneLaneFinder *q, const Single *s, LaneRef r)
{
    const Node *n = r.node;
    if (n->op != OP_lt && n->op != OP_le) return false;
    LaneRef x = lane_operand(n, 0, r.lane), y = lane_operand(n, 1, r.lane);
    if (varies(q, s, x)) return is_known(q, y) && walkable(q, s, x);
    return is_known(q, x) && walkable(q, s, y);
}

static int compare_lanes(const void *a, const void *b)
{
    const LaneRef *x = a, *y = b;
    if (x->node != y->node) return x->node->id < y->node->id ? -1 : 1;
    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

// The collected lanes, sorted, with what is fixed. False: a lane that is neither fixed nor elementwise.
static bool classify(OneLaneFinder *q, Search *w, Single *out)
{
    int n = w->s.n + 1;
    *out = (Single){w->s.u, w->s.v, ARENA_ARRAY(q->cx->arena, LaneRef, n), ARENA_ARRAY(q->cx->arena, bool, n), n};
    memcpy(out->lanes, w->s.lanes, (size_t)w->s.n * sizeof(LaneRef));
    out->lanes[n - 1] = w->s.v;
    qsort(out->lanes, (size_t)n, sizeof(LaneRef), compare_lanes);
    for (int i = 0; i < n; i++) q->place[number(q, out->lanes[i])] = i + 1;
    LaneRef *in = malloc(sizeof *in * (MOST_LANES + 4));
    bool ok = true;
    for (int i = 0; i < n && ok; i++) {
        LaneRef r = out->lanes[i];
        if (lane_same(r, out->v)) continue;
        int count = operands(r, in, MOST_LANES);
        bool any = false;
        for (int k = 0; k < count && !any; k++) any = varies(q, out, in[k]);
        bool test = any && (r.node->op == OP_lt || r.node->op == OP_le);
        if (test && !compares(q, out, r))
            ok = refuse(q, r.node, "compares with something that is not known") != NULL;
        else if (any && !op_elementwise(r.node->op))
            ok = refuse(q, r.node, "mixes several functions of one lane") != NULL;
        out->fixed[i] = !any || test;
    }
    free(in);
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
    ShapeMaker *m = calloc(1, sizeof *m);
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

// ---- the way from u to v

typedef struct {
    LaneRef lane; // of the first function
    bool value;
} Assumed;

typedef struct {
    OneLaneFinder *q;
    Arena *a;
    const Slot *slots;
    int n_slots, v_slot, n;
    const Single *first;
    Assumed assumed[MOST_ASSUMED];
    int n_assumed;
    int8_t *truth; // by slot: 1, -1, 0: not assumed
    int splits;
    unsigned fixed_above; // SHIFTED, SCALED by fixed lanes on the way down from u
} WayFinder;

static const Way DEAD = {.kind = WAY_END, .slot = -1};

static LaneRef slot_operand(const WayFinder *w, int s, int k, int i)
{
    return lane_operand(w->slots[s].node, k, w->slots[s].lanes[i]);
}

static void assume(WayFinder *w, LaneRef lane, bool value)
{
    if (w->n_assumed == MOST_ASSUMED || node_is_const(lane.node)) return;
    w->assumed[w->n_assumed++] = (Assumed){lane, value};
    const Node *n = lane.node;
    if (n->op == OP_not) assume(w, lane_operand(n, 0, lane.lane), !value);
    if ((n->op == OP_and && value) || (n->op == OP_or && !value)) {
        assume(w, lane_operand(n, 0, lane.lane), value);
        assume(w, lane_operand(n, 1, lane.lane), value);
    }
}

static bool assumed(const WayFinder *w, LaneRef lane, double *value)
{
    for (int i = 0; i < w->n_assumed; i++)
        if (lane_same(w->assumed[i].lane, lane)) {
            *value = w->assumed[i].value;
            return true;
        }
    if (lane.node->op != OP_not || !assumed(w, lane_operand(lane.node, 0, lane.lane), value)) return false;
    *value = *value == 0;
    return true;
}

// Is operand k of slot s one number for all functions?
static bool operand_number(const WayFinder *w, int s, int k, double *value)
{
    LaneRef r = slot_operand(w, s, k, 0);
    if (!lane_is_const(r)) return assumed(w, r, value);
    *value = lane_value(r);
    for (int i = 1; i < w->n; i++) {
        LaneRef x = slot_operand(w, s, k, i);
        if (!lane_is_const(x) || lane_value(x) != *value) return false;
    }
    return true;
}

static int operand_sign(const WayFinder *w, int s, int k)
{
    double v = 0;
    if (operand_number(w, s, k, &v)) return v > 0 ? 1 : v < 0 ? -1 : 0;
    int sign = lane_sign(slot_operand(w, s, k, 0), 0);
    for (int i = 1; i < w->n && sign; i++)
        if (lane_sign(slot_operand(w, s, k, i), 0) != sign) sign = 0;
    return sign;
}

bool one_lane_invertible(const Node *n, int k)
{
    (void)k;
    if (n->op == OP_leaky_relu || n->op == OP_elu) return n->alpha > 0;
    return op_info(n->op)->bijective;
}

// Slope of a slot's op by its operand k.
static int chain_slope(const WayFinder *w, int s, int k)
{
    switch ((int)w->slots[s].node->op) {
    case OP_neg: return -1;
    case OP_sub: return k == 0 ? 1 : -1;
    case OP_mul: return operand_sign(w, s, 1 - k);
    case OP_div: return k == 0 ? operand_sign(w, s, 1) : -operand_sign(w, s, 0);
    default: return 1;
    }
}

// Sign of p for symbol in 0..1 (bin) or anywhere, by its coefficients; 0: not decided.
static int range_sign(Arena *a, Poly p, int symbol, bool bin, const int *sign)
{
    int degree = poly_degree(p, symbol), result = 0;
    if (degree && !bin) return poly_sign(p, sign);
    static const double choose[5][5] = {{1}, {1, 1}, {1, 2, 1}, {1, 3, 3, 1}, {1, 4, 6, 4, 1}};
    if (degree > 4) return 0;
    for (int i = 0; i <= degree; i++) {
        Poly c = poly_number(a, 0);
        for (int k = 0; k <= i; k++)
            c = poly_add(a, c, choose[i][k] / choose[degree][k], poly_coefficient(a, p, symbol, k));
        int s = poly_sign(c, sign);
        if (poly_is_number(c, 0)) continue;
        if (!s || (result && s != result)) return 0;
        result = s;
    }
    return result;
}

// p' q - p q'
static Poly derivative_pair(Arena *a, Poly p, Poly q, int symbol)
{
    Poly dp = poly_number(a, 0), dq = dp, x = poly_symbol(a, symbol), power = poly_number(a, 1);
    for (int k = 1; k <= 4; k++) {
        dp = poly_add(a, dp, k, poly_mul(a, power, poly_coefficient(a, p, symbol, k)));
        dq = poly_add(a, dq, k, poly_mul(a, power, poly_coefficient(a, q, symbol, k)));
        power = poly_mul(a, power, x);
    }
    return poly_add(a, poly_mul(a, dp, q), -1, poly_mul(a, p, dq));
}

Poly one_lane_slope(Arena *a, const Way *way)
{
    bool by_u = poly_degree(way->relation, 1) != 1;
    int other = by_u ? 0 : 1, own = 1 - other;
    Poly p = poly_coefficient(a, way->relation, other, 0), q = poly_coefficient(a, way->relation, other, 1);
    return derivative_pair(a, p, q, own); // other = -p / q
}

// F = 0 is other = -p/q; d other / d own = -(p'q - pq') / q^2.
static int rational_slope(const WayFinder *w, const Way *way)
{
    bool by_u = poly_degree(way->relation, 1) != 1;
    return -range_sign(w->a, one_lane_slope(w->a, way), by_u ? 1 : 0, by_u ? way->from_bin : way->in_bin, way->sign);
}

static bool agree(int a, int b) { return !a || !b || a == b; }

// dg/dv's sign along the way; *ok false where branches disagree.
static int way_slope(const WayFinder *w, const Way *way, bool *ok)
{
    switch (way->kind) {
    case WAY_END: return 1;
    case WAY_CHAIN: return way->same ? way_slope(w, way->next, ok) : way->slope * way_slope(w, way->next, ok);
    case WAY_RATIONAL:
    case WAY_BRACKET: return way->slope * way_slope(w, way->next, ok);
    case WAY_SELECT: {
        int x = way_slope(w, way->next, ok), y = way_slope(w, way->otherwise, ok);
        if (!agree(x, y)) *ok = false;
        return x ? x : y;
    }
    }
    return 0;
}

static const Way *find_way(WayFinder *w, int s);

static Way *new_way(WayFinder *w, WayKind kind, int slot)
{
    Way *way = ARENA_NEW(w->a, Way);
    way->kind = kind;
    way->slot = slot;
    return way;
}

static const Way *chain(WayFinder *w, int s, int k, bool same)
{
    Way *way = new_way(w, WAY_CHAIN, s);
    way->operand = k;
    way->same = same;
    unsigned above = w->fixed_above;
    const Slot *slot = &w->slots[s];
    bool scale = slot->node->op == OP_mul || slot->node->op == OP_div;
    for (int j = 0; j < slot->node->n_in && !same; j++)
        if (slot->in[j] < 0 && place_of(w->q, slot_operand(w, s, j, 0))) way->uses_fixed = scale ? SCALED : SHIFTED;
    w->fixed_above |= way->uses_fixed;
    if (!same) way->slope = chain_slope(w, s, k);
    way->next = find_way(w, slot->in[k]);
    w->fixed_above = above;
    return way->next == &DEAD ? &DEAD : way->next ? way : NULL;
}

// What the op of slot s (select, abs, leaky_relu, min, max) chooses by.
static void assume_test(WayFinder *w, int s, bool value)
{
    w->truth[s] = value ? 1 : -1;
    if (w->slots[s].node->op == OP_select) assume(w, slot_operand(w, s, 0, 0), value);
}

static const Way *split(WayFinder *w, int test, int s)
{
    if (w->splits >= MOST_SPLITS) return refuse(w->q, w->slots[s].node, "more than 6 nested choices");
    int kept = w->n_assumed;
    const Way *way[2];
    w->splits++;
    for (int k = 0; k < 2; k++) {
        assume_test(w, test, k == 0);
        way[k] = find_way(w, s);
        w->n_assumed = kept;
        w->truth[test] = 0;
        if (!way[k]) break;
    }
    w->splits--;
    if (!way[0] || !way[1]) return NULL;
    if (way[0] == &DEAD) return way[1];
    if (way[1] == &DEAD) return way[0];
    Way *select = new_way(w, WAY_SELECT, s);
    select->test = test;
    select->next = way[0];
    select->otherwise = way[1];
    return select;
}

// Whether the test of slot s is decided, and how.
static int decided(const WayFinder *w, int s)
{
    double v = 0;
    if (w->truth[s]) return w->truth[s];
    if (w->slots[s].node->op == OP_select && assumed(w, slot_operand(w, s, 0, 0), &v)) return v ? 1 : -1;
    return 0;
}

// ---- rational functions of a slot t

// (a + b r) / (c + e r), r the square root of d
typedef struct {
    Poly a, b, c, e, d;
    bool root;
} Ratio;

enum { MOST_PARTS = 128 };

typedef struct {
    LaneRef lane; // of the first function
    int in[2], n_in;
    bool root, apart;
} Parts;

typedef struct {
    WayFinder *w;
    int t;
    Ratio *value; // by slot
    bool *done;
    LaneRef *direct; // distinct known operands, of the first function
    int n_direct;
    Parts *parts;
    int n_parts;
    LaneRef **symbols; // from 2 on
    int n_symbols;
    int wants; // slot whose test must be assumed, or -1
    bool failed;
} Rational;

static Ratio ratio(Arena *a, Poly p)
{
    return (Ratio){.a = p, .b = poly_number(a, 0), .c = poly_number(a, 1), .e = poly_number(a, 0)};
}

static bool known_or_fixed(const WayFinder *w, LaneRef r) { return is_known(w->q, r) || !varies(w->q, w->first, r); }

static int symbol_of(Rational *x, const LaneRef *refs)
{
    int n = x->w->n;
    for (int s = 2; s < x->n_symbols; s++) {
        bool same = true;
        for (int i = 0; i < n && same; i++) same = lane_same(x->symbols[s][i], refs[i]);
        if (same) return s;
    }
    if (x->n_symbols == POLY_SYMBOLS) return -1;
    x->symbols[x->n_symbols] = arena_copy(x->w->a, refs, (size_t)n * sizeof *refs);
    return x->n_symbols++;
}

static bool sums(Op op) { return op == OP_add || op == OP_sub || op == OP_neg || op == OP_mul; }

// Known lanes and what they are sums and products of. One is taken apart where a part of it is also used elsewhere, so
// that equal terms can meet; it stays a symbol where it is the only user of its parts (a width, the difference of
// knots).
static int part_number(Rational *x, LaneRef r, int depth)
{
    for (int i = 0; i < x->n_parts; i++)
        if (lane_same(x->parts[i].lane, r)) return i;
    if (x->n_parts == MOST_PARTS) return -1;
    int at = x->n_parts++;
    Parts *p = &x->parts[at];
    *p = (Parts){.lane = r};
    bool apart = depth < 6 && sums(r.node->op);
    for (int k = 0; k < r.node->n_in && apart; k++) apart = known_or_fixed(x->w, lane_operand(r.node, k, r.lane));
    for (int k = 0; k < r.node->n_in && apart; k++) {
        LaneRef in = lane_operand(r.node, k, r.lane);
        int part = lane_is_const(in) ? -1 : part_number(x, in, depth + 1);
        if (part >= 0) p->in[p->n_in++] = part;
    }
    return at;
}

static void reach(const Rational *x, int from, int without, bool *seen)
{
    if (from == without || seen[from]) return;
    seen[from] = true;
    for (int k = 0; k < x->parts[from].n_in; k++) reach(x, x->parts[from].in[k], without, seen);
}

static void find_parts(Rational *x)
{
    x->parts = ARENA_ARRAY(x->w->a, Parts, MOST_PARTS);
    for (int i = 0; i < x->n_direct; i++) {
        if (lane_is_const(x->direct[i])) continue;
        int at = part_number(x, x->direct[i], 0);
        if (at >= 0) x->parts[at].root = true;
    }
    for (int z = 0; z < x->n_parts; z++) {
        bool below[MOST_PARTS] = {false}, beside[MOST_PARTS] = {false};
        for (int k = 0; k < x->parts[z].n_in; k++) reach(x, x->parts[z].in[k], -1, below);
        for (int i = 0; i < x->n_parts; i++)
            if (x->parts[i].root) reach(x, i, z, beside);
        for (int i = 0; i < x->n_parts; i++) x->parts[z].apart = x->parts[z].apart || (below[i] && beside[i]);
    }
}

static bool taken_apart(const Rational *x, LaneRef r)
{
    for (int i = 0; i < x->n_parts; i++)
        if (lane_same(x->parts[i].lane, r)) return x->parts[i].apart;
    return false;
}

static Poly known_poly(Rational *x, const LaneRef *refs, int depth)
{
    Arena *a = x->w->a;
    int n = x->w->n;
    bool one_node = true, number = true;
    for (int i = 0; i < n; i++) {
        one_node = one_node && refs[i].node == refs[0].node;
        number = number && lane_is_const(refs[i]) && lane_value(refs[i]) == lane_value(refs[0]);
    }
    double v = 0;
    if (number) return poly_number(a, lane_value(refs[0]));
    if (assumed(x->w, refs[0], &v)) return poly_number(a, v);
    const Node *node = refs[0].node;
    if (one_node && depth < 6 && taken_apart(x, refs[0])) {
        Poly in[2];
        LaneRef *below = malloc((size_t)n * sizeof *below);
        for (int k = 0; k < node->n_in; k++) {
            for (int i = 0; i < n; i++) below[i] = lane_operand(node, k, refs[i].lane);
            in[k] = known_poly(x, below, depth + 1);
        }
        free(below);
        if (node->op == OP_neg) return poly_add(a, poly_number(a, 0), -1, in[0]);
        return node->op == OP_mul ? poly_mul(a, in[0], in[1]) : poly_add(a, in[0], node->op == OP_add ? 1 : -1, in[1]);
    }
    int s = symbol_of(x, refs);
    return s < 0 ? poly_none() : poly_symbol(a, s);
}

static Ratio operand_ratio(Rational *x, int s, int k);

static void pair_mul(Arena *A, Poly a, Poly b, Poly c, Poly e, Poly d, Poly *p, Poly *q)
{
    *p = poly_add(A, poly_mul(A, a, c), 1, poly_mul(A, poly_mul(A, b, e), d));
    *q = poly_add(A, poly_mul(A, a, e), 1, poly_mul(A, b, c));
}

static Ratio ratio_mul(Arena *A, Ratio x, Ratio y)
{
    Ratio z = {.root = x.root || y.root, .d = x.root ? x.d : y.d};
    if (!z.root) z.d = poly_number(A, 0);
    pair_mul(A, x.a, x.b, y.a, y.b, z.d, &z.a, &z.b);
    pair_mul(A, x.c, x.e, y.c, y.e, z.d, &z.c, &z.e);
    return z;
}

static Ratio ratio_add(Arena *A, Ratio x, double sign, Ratio y)
{
    Ratio z = {.root = x.root || y.root, .d = x.root ? x.d : y.d, .c = x.c, .e = x.e};
    if (!z.root) z.d = poly_number(A, 0);
    if (poly_equal(x.c, y.c) && poly_equal(x.e, y.e)) {
        z.a = poly_add(A, x.a, sign, y.a);
        z.b = poly_add(A, x.b, sign, y.b);
        return z;
    }
    Poly p1, q1, p2, q2;
    pair_mul(A, x.a, x.b, y.c, y.e, z.d, &p1, &q1);
    pair_mul(A, y.a, y.b, x.c, x.e, z.d, &p2, &q2);
    z.a = poly_add(A, p1, sign, p2);
    z.b = poly_add(A, q1, sign, q2);
    pair_mul(A, x.c, x.e, y.c, y.e, z.d, &z.c, &z.e);
    return z;
}

static Ratio failed_ratio(Rational *x)
{
    x->failed = true;
    return ratio(x->w->a, poly_number(x->w->a, 0));
}

static Ratio ratio_sqrt(Rational *x, Ratio v)
{
    if (v.root || !poly_is_number(v.c, 1)) return failed_ratio(x);
    Arena *a = x->w->a;
    Ratio r = ratio(a, poly_number(a, 0));
    r.b = poly_number(a, 1);
    r.d = v.a;
    r.root = true;
    return r;
}

static bool joins(Ratio p, Ratio q) { return !p.root || !q.root || poly_equal(p.d, q.d); }

// max(x, 0) below a square root only hides rounding.
static bool guards_root(const WayFinder *w, int s)
{
    for (int i = 0; i < w->n_slots; i++)
        for (int k = 0; k < 3; k++)
            if (w->slots[i].in[k] == s && w->slots[i].node->op != OP_sqrt) return false;
    return true;
}

// select, abs, leaky_relu, min, max: the side that is taken, once its test is assumed.
static Ratio chosen_ratio(Rational *x, int s)
{
    WayFinder *w = x->w;
    Arena *a = w->a;
    const Slot *slot = &w->slots[s];
    int side = decided(w, s);
    if ((slot->node->op == OP_max || slot->node->op == OP_min) && guards_root(w, s)) side = 1;
    if (!side) {
        x->wants = s;
        return failed_ratio(x);
    }
    int k = slot->in[0] >= 0 ? 0 : 1;
    switch ((int)slot->node->op) {
    case OP_select: return operand_ratio(x, s, side > 0 ? 1 : 2);
    case OP_abs: return ratio_mul(a, ratio(a, poly_number(a, side)), operand_ratio(x, s, 0));
    case OP_leaky_relu:
        return ratio_mul(a, ratio(a, poly_number(a, side > 0 ? 1 : slot->node->alpha)), operand_ratio(x, s, 0));
    default: return operand_ratio(x, s, side > 0 ? k : 1 - k);
    }
}

static Ratio slot_ratio(Rational *x, int s)
{
    WayFinder *w = x->w;
    Arena *a = w->a;
    const Node *n = w->slots[s].node;
    if (s == x->t) return ratio(a, poly_symbol(a, 0));
    if (x->done[s] || x->failed) return x->value[s];
    Ratio p, q, r;
    double power = 0;
    switch ((int)n->op) {
    case OP_select:
    case OP_abs:
    case OP_leaky_relu:
    case OP_min:
    case OP_max: r = chosen_ratio(x, s); break;
    case OP_neg: r = ratio_mul(a, ratio(a, poly_number(a, -1)), operand_ratio(x, s, 0)); break;
    case OP_sqrt: r = ratio_sqrt(x, operand_ratio(x, s, 0)); break;
    case OP_add:
    case OP_sub:
    case OP_mul:
    case OP_div:
        p = operand_ratio(x, s, 0);
        q = operand_ratio(x, s, 1);
        if (!joins(p, q))
            r = failed_ratio(x);
        else if (n->op == OP_mul)
            r = ratio_mul(a, p, q);
        else if (n->op == OP_div)
            r = ratio_mul(a, p, (Ratio){q.c, q.e, q.a, q.b, q.d, q.root});
        else
            r = ratio_add(a, p, n->op == OP_add ? 1 : -1, q);
        break;
    case OP_pow:
        p = operand_ratio(x, s, 0);
        if (w->slots[s].in[1] >= 0 || !operand_number(w, s, 1, &power) || power != 2)
            r = failed_ratio(x);
        else
            r = ratio_mul(a, p, p);
        break;
    default: r = failed_ratio(x); break;
    }
    x->done[s] = true;
    return x->value[s] = r;
}

static Ratio operand_ratio(Rational *x, int s, int k)
{
    WayFinder *w = x->w;
    if (w->slots[s].in[k] >= 0) return slot_ratio(x, w->slots[s].in[k]);
    LaneRef *refs = malloc((size_t)w->n * sizeof *refs);
    for (int i = 0; i < w->n; i++) refs[i] = slot_operand(w, s, k, i);
    Poly p = known_poly(x, refs, 0);
    free(refs);
    return poly_ok(p) ? ratio(w->a, p) : failed_ratio(x);
}

// (a + b r) - u (c + e r) = 0, the root squared away, common factors gone.
static Poly relation_of(Arena *a, Ratio v)
{
    Poly u = poly_symbol(a, 1);
    Poly p = poly_add(a, v.a, -1, poly_mul(a, u, v.c)), q = poly_add(a, v.b, -1, poly_mul(a, u, v.e));
    if (v.root) p = poly_add(a, poly_mul(a, p, p), -1, poly_mul(a, poly_mul(a, q, q), v.d));
    if (!poly_ok(p) || p.n == 0) return poly_none();
    Term common = poly_common(p);
    common.power[1] = 0;
    return poly_divide(a, p, &common);
}

static void find_direct(Rational *x, const bool *inside)
{
    const WayFinder *w = x->w;
    for (int s = 0; s < w->n_slots; s++)
        for (int k = 0; k < w->slots[s].node->n_in && inside[s]; k++)
            if (w->slots[s].in[k] < 0) x->direct[x->n_direct++] = slot_operand(w, s, k, 0);
}

static const int *symbol_signs(const Rational *x)
{
    int *sign = ARENA_ARRAY(x->w->a, int, POLY_SYMBOLS);
    for (int s = 2; s < x->n_symbols; s++) {
        sign[s] = lane_sign(x->symbols[s][0], 0);
        for (int i = 1; i < x->w->n && sign[s]; i++)
            if (lane_sign(x->symbols[s][i], 0) != sign[s]) sign[s] = 0;
    }
    return sign;
}

// Is the way's first slot a position in a bin?
static bool is_position(const Way *way)
{
    unsigned found = 0;
    for (; way->kind == WAY_CHAIN; way = way->next) found |= way->uses_fixed;
    return found == POSITION;
}

// Slot s as a rational function of slot t. *wants: a test to assume first.
static const Way *try_rational(WayFinder *w, int s, int t, const bool *inside, int *wants)
{
    Rational x = {.w = w, .t = t, .wants = -1, .n_symbols = 2};
    x.value = ARENA_ARRAY(w->a, Ratio, w->n_slots);
    x.done = ARENA_ARRAY(w->a, bool, w->n_slots);
    x.symbols = ARENA_ARRAY(w->a, LaneRef *, POLY_SYMBOLS);
    x.direct = ARENA_ARRAY(w->a, LaneRef, 3 * w->n_slots + 1);
    find_direct(&x, inside);
    find_parts(&x);
    Ratio v = slot_ratio(&x, s);
    *wants = x.wants;
    if (x.failed) return NULL;
    Poly f = relation_of(w->a, v);
    int by_t = poly_degree(f, 0), by_u = poly_degree(f, 1);
    if (!poly_ok(f) || !(by_t == 1 ? by_u >= 1 && by_u <= 2 : by_t == 2 && by_u == 1)) return NULL;
    Way *way = new_way(w, WAY_RATIONAL, s);
    way->t = t;
    way->relation = f;
    way->n_symbols = x.n_symbols;
    way->symbols = (const LaneRef *const *)x.symbols;
    way->sign = symbol_signs(&x);
    way->from_bin = w->fixed_above == POSITION;
    way->next = find_way(w, t);
    if (!way->next || way->next == &DEAD) return way->next;
    way->in_bin = is_position(way->next);
    way->slope = rational_slope(w, way);
    // F = p + u q: dF/dt = -q du/dt
    if (by_t == 2)
        way->relation_slope =
            -way->slope * range_sign(w->a, poly_coefficient(w->a, f, 1, 1), 0, way->in_bin, way->sign);
    if (by_t == 2 && !way->relation_slope && !way->in_bin) return NULL;
    return way;
}

static int latest(const WayFinder *w, const bool *pending)
{
    int at = -1;
    for (int i = 0; i < w->n_slots; i++) {
        LaneRef r = {w->slots[i].node, w->slots[i].lanes[0]};
        if (pending[i] &&
            (at < 0 || number(w->q, r) > number(w->q, (LaneRef){w->slots[at].node, w->slots[at].lanes[0]})))
            at = i;
    }
    return at;
}

// Slot s as a function of slot t whose slope keeps one sign.
static const Way *try_bracket(WayFinder *w, int s, int t)
{
    const Way *next = find_way(w, t);
    if (!next || next == &DEAD) return next;
    bool in_bin = is_position(next);
    int slope = one_lane_monotone(w->slots, w->n_slots, w->n, s, t, in_bin);
    if (!slope) return NULL;
    Way *way = new_way(w, WAY_BRACKET, s);
    way->t = t;
    way->in_bin = in_bin;
    way->slope = slope;
    way->next = next;
    return way;
}

// The slots through which all ways from s to v lead, nearest first, each tried; inside: the slots above it.
static const Way *each_cut(WayFinder *w, int s, bool bracket, int *wants)
{
    bool *pending = ARENA_ARRAY(w->a, bool, w->n_slots), *inside = ARENA_ARRAY(w->a, bool, w->n_slots);
    int count = 0, at = s;
    while (at >= 0 && at != w->v_slot) {
        inside[at] = true;
        for (int k = 0; k < 3; k++) {
            int in = w->slots[at].in[k];
            if (in >= 0 && !pending[in]) pending[in] = true, count++;
        }
        at = latest(w, pending);
        if (at >= 0 && count == 1) {
            const Way *way = bracket ? try_bracket(w, s, at) : try_rational(w, s, at, inside, wants);
            if (way || *wants >= 0) return way;
        }
        if (at >= 0) pending[at] = false;
        count--;
    }
    return NULL;
}

static const Way *rational(WayFinder *w, int s)
{
    int wants = -1;
    const Way *way = each_cut(w, s, false, &wants);
    if (!way && wants >= 0) way = split(w, wants, s);
    wants = -1;
    if (!way) way = each_cut(w, s, true, &wants);
    if (way) return way;
    return refuse(w->q, w->slots[s].node, "uses its unknown lane more than once; neither solved nor proved monotone");
}

static const Way *find_way(WayFinder *w, int s)
{
    const Slot *slot = &w->slots[s];
    const Node *n = slot->node;
    if (s == w->v_slot) return new_way(w, WAY_END, s);
    if (n->op == OP_select) {
        if (slot->in[0] >= 0) return refuse(w->q, n, "its condition is not a comparison");
        int side = decided(w, s), k = side > 0 ? 1 : 2;
        if (!side) return split(w, s, s);
        return slot->in[k] < 0 ? &DEAD : chain(w, s, k, true);
    }
    int found = -1, count = 0;
    for (int k = 0; k < n->n_in; k++)
        if (slot->in[k] >= 0) count++, found = k;
    if (count != 1) return rational(w, s);
    if (n->op == OP_min || n->op == OP_max)
        return w->n_assumed ? chain(w, s, found, true) : refuse(w->q, n, "a clamp has no inverse");
    if (!one_lane_invertible(n, found)) return rational(w, s);
    double v = 0;
    bool number_known = n->n_in == 2 && operand_number(w, s, 1 - found, &v);
    if (number_known && (n->op == OP_mul || (n->op == OP_div && found == 1)) && v == 0)
        return refuse(w->q, n, "multiplies by 0");
    bool same = number_known && ((n->op == OP_mul && v == 1) || (n->op == OP_div && found == 0 && v == 1) ||
                                 (n->op == OP_add && v == 0) || (n->op == OP_sub && found == 0 && v == 0));
    const Way *way = chain(w, s, found, same);
    if (way && way != &DEAD && number_known && !same) {
        Way *numbered = arena_copy(w->a, way, sizeof *way);
        numbered->has_number = true;
        numbered->number = v;
        way = numbered;
    }
    return way;
}

// Every test of the way that is no select compares a function of v that can be walked back.
static bool tests_walkable(const WayFinder *w, const Way *way)
{
    if (way->kind == WAY_END) return true;
    if (way->kind != WAY_SELECT) return tests_walkable(w, way->next);
    const Slot *t = &w->slots[way->test];
    if (t->node->op != OP_select) {
        int k = t->in[0] >= 0 ? 0 : 1;
        if (t->node->n_in == 2 && t->in[1 - k] >= 0) return false;
        if (!walkable(w->q, w->first, slot_operand(w, way->test, k, 0))) return false;
        if (t->node->n_in == 2 && !is_known(w->q, slot_operand(w, way->test, 1 - k, 0))) return false;
    }
    return tests_walkable(w, way->next) && tests_walkable(w, way->otherwise);
}

// ---- groups

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
    const Way *way = find_way(&w, 0);
    bool ok = true;
    if (!way || way == &DEAD) return NULL;
    int slope = way_slope(&w, way, &ok);
    if (!ok || !slope)
        return refuse(q, single[0]->u.node,
                      ok ? "rising or falling is not decided" : "rises in one branch and falls in another");
    if (!tests_walkable(&w, way))
        return refuse(q, single[0]->u.node, "what it chooses by is no simple function of the unknown lane");
    OneLane *g = ARENA_NEW(a, OneLane);
    LaneRef *u = ARENA_ARRAY(a, LaneRef, n), *v = ARENA_ARRAY(a, LaneRef, n);
    const LaneRef **lanes = ARENA_ARRAY(a, const LaneRef *, n);
    const bool **fixed = ARENA_ARRAY(a, const bool *, n);
    int *n_lanes = ARENA_ARRAY(a, int, n);
    for (int i = 0; i < n; i++) {
        u[i] = single[i]->u;
        v[i] = single[i]->v;
        lanes[i] = single[i]->lanes;
        fixed[i] = single[i]->fixed;
        n_lanes[i] = single[i]->n;
    }
    *g = (OneLane){q->f, n, u, v, slots, w.n_slots, w.v_slot, way, slope, lanes, fixed, n_lanes};
    return g;
}

// The function that ends in u, at the given cut. *shape gets its slots. NULL: none.
static Single *single_at(OneLaneFinder *q, LaneRef u, int cut, Shape **shape, Search **search)
{
    Search *w = search_new(q, u);
    Single *s = ARENA_NEW(q->cx->arena, Single);
    bool ok = w->heap.n > 0;
    for (int i = 0; i <= cut && ok; i++) ok = next_cut(q, w);
    *search = w;
    *shape = NULL;
    if (!ok) return NULL;
    if (classify(q, w, s)) *shape = make_shape(q, s);
    return s;
}

static bool wanted(const OneLaneFinder *q, const Node *n, int64_t i)
{
    if (!is_known(q, (LaneRef){n, i})) return false;
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

const OneLane *one_lane_find(OneLaneFinder *q, const Node *n)
{
    if (!op_elementwise(n->op)) return NULL;
    for (int64_t i = 0; i < type_lanes(n->type); i++) {
        if (!wanted(q, n, i)) continue;
        const OneLane *g = find_from(q, n, i);
        if (g) return g;
    }
    return NULL;
}

// ---- for people

static const char *way_text(Context *cx, const Way *way)
{
    switch (way->kind) {
    case WAY_END: return "";
    case WAY_CHAIN: return way_text(cx, way->next);
    case WAY_SELECT:
        return arena_format(cx->arena, "either (%s) or (%s)", way_text(cx, way->next), way_text(cx, way->otherwise));
    case WAY_RATIONAL:
    case WAY_BRACKET: {
        const char *kind = way->kind == WAY_BRACKET             ? "bracketed root"
                           : poly_degree(way->relation, 0) == 2 ? "root of a quadratic"
                                                                : "rational";
        const char *rest = way_text(cx, way->next);
        return arena_format(cx->arena, "%s%s%s", kind, *rest ? ", " : "", rest);
    }
    }
    return "";
}

const char *one_lane_text(Context *cx, const OneLane *g)
{
    return arena_format(cx->arena, "%s; %s", g->slope > 0 ? "rising" : "falling", way_text(cx, g->way));
}
