// How the value of u gives that of v: see one_lane.h. The way goes down from u, slot by slot; where an op has two
// operands that lead to v, both branches of a select are followed, or the nearest slot t is looked for through which
// all leads.
#include "lane_order.h"
#include "one_lane_find.h"

enum { MOST_SPLITS = 6 };

const Way DEAD = {.kind = WAY_END, .slot = -1};

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

// An or, and of conditions that are assumed.
static bool both_assumed(const WayFinder *w, LaneRef lane, double *value)
{
    bool is_or = lane.node->op == OP_or;
    if (!is_or && lane.node->op != OP_and) return false;
    int known = 0;
    for (int k = 0; k < 2; k++) {
        if (!assumed(w, lane_operand(lane.node, k, lane.lane), value)) continue;
        if ((*value != 0) == is_or) return true;
        known++;
    }
    return known == 2;
}

bool assumed(const WayFinder *w, LaneRef lane, double *value)
{
    for (int i = 0; i < w->n_assumed; i++)
        if (lane_same(w->assumed[i].lane, lane)) {
            *value = w->assumed[i].value;
            return true;
        }
    if (both_assumed(w, lane, value)) return true;
    if (lane.node->op != OP_not || !assumed(w, lane_operand(lane.node, 0, lane.lane), value)) return false;
    *value = *value == 0;
    return true;
}

bool operand_number(const WayFinder *w, int s, int k, double *value)
{
    if (w->slots[s].in[k] >= 0) {
        *value = w->number[w->slots[s].in[k]];
        return w->constant[w->slots[s].in[k]];
    }
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
    LaneRef *lanes = ARENA_ARRAY(w->a, LaneRef, w->n);
    for (int i = 0; i < w->n; i++) lanes[i] = slot_operand(w, s, k, i);
    return one_lane_sign(lanes, w->n);
}

static bool is_invertible(const WayFinder *w, int s, int k)
{
    const Node *n = w->slots[s].node;
    for (int i = 0; n->op == OP_pow && i < w->n; i++)
        if (k || !lane_power_inverts(n, w->slots[s].lanes[i])) return false;
    if (n->op == OP_pow) return true;
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
    case OP_pow: return operand_sign(w, s, 1);
    case OP_div: return k == 0 ? operand_sign(w, s, 1) : -operand_sign(w, s, 0);
    default: return 1;
    }
}

static bool agree(int a, int b) { return !a || !b || a == b; }

int way_slope(const WayFinder *w, const Way *way, bool *ok)
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

Way *new_way(WayFinder *w, WayKind kind, int slot)
{
    Way *way = ARENA_NEW(w->a, Way);
    way->kind = kind;
    way->slot = slot;
    return way;
}

// SHIFTED or SCALED: slot s does so by a fixed lane.
static unsigned fixed_use(const WayFinder *w, int s)
{
    const Slot *slot = &w->slots[s];
    bool scale = slot->node->op == OP_mul || slot->node->op == OP_div, fixed = false;
    for (int k = 0; k < slot->node->n_in; k++)
        fixed = fixed || (slot->in[k] < 0 && place_of(w->q, slot_operand(w, s, k, 0)));
    return !fixed ? 0 : scale ? SCALED : SHIFTED;
}

static const Way *chain(WayFinder *w, int s, int k, bool same)
{
    Way *way = new_way(w, WAY_CHAIN, s);
    way->operand = k;
    way->same = same;
    unsigned above = w->fixed_above;
    const Slot *slot = &w->slots[s];
    if (!same) way->uses_fixed = fixed_use(w, s);
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
        settle_kinks(w);
        way[k] = find_way(w, s);
        w->n_assumed = kept;
        w->truth[test] = 0;
        if (!way[k]) break;
    }
    w->splits--;
    settle_kinks(w);
    if (!way[0] || !way[1]) return NULL;
    if (way[0] == &DEAD) return way[1];
    if (way[1] == &DEAD) return way[0];
    Way *select = new_way(w, WAY_SELECT, s);
    select->test = test;
    select->next = way[0];
    select->otherwise = way[1];
    return select;
}

// ---- slots through which all leads

// Is the way's first slot a position in a bin?
static bool is_position(const Way *way)
{
    unsigned found = 0;
    for (; way->kind == WAY_CHAIN; way = way->next) found |= way->uses_fixed;
    return found == POSITION;
}

static const Way *try_rational(WayFinder *w, int s, int t, const bool *inside, int *wants)
{
    Way *way = relate(w, s, t, inside, wants);
    if (!way) return NULL;
    int by_t = poly_degree(way->relation, 0), by_u = poly_degree(way->relation, 1);
    if (!(by_t == 1 ? by_u >= 1 && by_u <= 2 : by_t == 2 && by_u == 1)) return NULL;
    way->next = find_way(w, t);
    if (!way->next || way->next == &DEAD) return way->next;
    way->in_bin = is_position(way->next);
    way->slope = rational_slope(w, way);
    if (by_t == 1) return way;
    way->relation_slope = -way->slope * rational_divisor_sign(w, way); // F = p + u q: dF/dt = -q du/dt
    return way->relation_slope || way->in_bin ? way : NULL;
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

// Do the slots use what a table has for the bin?
static bool uses_bin(const WayFinder *w, const bool *inside)
{
    for (int s = 0; s < w->n_slots; s++)
        if (inside[s] && fixed_use(w, s)) return one_lane_bins(w->first->lanes, w->first->n) > 0;
    return false;
}

// Slot s as a function of slot t whose slope keeps one sign. In a bin a polynomial rises (or falls) as the bins do.
static const Way *try_bracket(WayFinder *w, int s, int t, const bool *inside)
{
    int wants = -1;
    const Way *next = find_way(w, t);
    if (!next || next == &DEAD) return next;
    Way *way = new_way(w, WAY_BRACKET, s);
    way->t = t;
    way->in_bin = is_position(next);
    way->next = next;
    way->slope = one_lane_monotone(w->slots, w->n_slots, w->n, s, t, way->in_bin);
    Way *related = way->slope ? NULL : relate(w, s, t, inside, &wants); // a polynomial's slope may be seen to be
    if (related && poly_degree(related->relation, 1) == 1 && poly_degree(related->relation, 0) <= 4) {
        related->in_bin = way->in_bin;
        way->slope = rational_slope(w, related);
        way->between = !way->slope && uses_bin(w, inside);
        bool ok = true;
        if (way->between) way->slope = way_slope(w, next, &ok) < 0 ? -1 : 1;
    }
    return way->slope ? way : NULL;
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
            const Way *way = bracket ? try_bracket(w, s, at, inside) : try_rational(w, s, at, inside, wants);
            if (way || *wants >= 0) return way;
        }
        if (at >= 0) pending[at] = false;
        count--;
    }
    return NULL;
}

static void mark_below(const WayFinder *w, int s, bool *below)
{
    if (s < 0 || below[s] || w->constant[s]) return;
    below[s] = true;
    for (int k = 0; k < w->slots[s].node->n_in; k++) mark_below(w, w->slots[s].in[k], below);
}

// Each side of a kink for itself.
static const Way *split_kink(WayFinder *w, int s)
{
    bool *below = ARENA_ARRAY(w->a, bool, w->n_slots);
    mark_below(w, s, below);
    int kink = open_kink(w, below);
    return kink < 0 ? NULL : split(w, kink, s);
}

static const Way *rational(WayFinder *w, int s)
{
    int wants = -1;
    const Way *way = each_cut(w, s, false, &wants);
    if (!way && wants >= 0) way = split(w, wants, s);
    wants = -1;
    if (!way) way = each_cut(w, s, true, &wants);
    if (!way) way = split_kink(w, s);
    if (way) return way;
    return refuse(w->q, w->slots[s].node, "uses its unknown lane more than once; neither solved nor proved monotone");
}

static int only_operand(const WayFinder *w, int s)
{
    const Slot *slot = &w->slots[s];
    int found = -1;
    for (int k = 0; k < slot->node->n_in; k++) {
        if (slot->in[k] < 0 || w->constant[slot->in[k]]) continue;
        if (found >= 0) return -1;
        found = k;
    }
    return found;
}

static bool is_root_step(Op op)
{
    return op == OP_neg || op == OP_add || op == OP_sub || op == OP_mul || op == OP_div || op == OP_sqrt;
}

// The formula of a quadratic's root, step by step back, cancels where the leading coefficient is small:
// ((2 a u + b)^2 - b^2) / 4a. As a relation it is a polynomial. NULL: there is no root on the way, or first comes the
// position in a bin.
static const Way *through_root(WayFinder *w, int s)
{
    bool *inside = ARENA_ARRAY(w->a, bool, w->n_slots), root = false;
    unsigned above = w->fixed_above;
    int at = s, wants = -1;
    for (int k; at != w->v_slot && is_root_step(w->slots[at].node->op); at = w->slots[at].in[k]) {
        if ((k = only_operand(w, at)) < 0) break;
        if (above == POSITION && !root && w->fixed_above != POSITION) return NULL;
        inside[at] = true;
        root = root || w->slots[at].node->op == OP_sqrt;
        above |= fixed_use(w, at);
    }
    return root && w->slots[s].node->op != OP_sqrt ? try_rational(w, s, at, inside, &wants) : NULL;
}

// Slot s by its operand k, the other one being a number.
static const Way *chain_by_number(WayFinder *w, int s, int k, double number)
{
    Op op = w->slots[s].node->op;
    if (number == 0 && (op == OP_mul || (op == OP_div && k == 1)))
        return refuse(w->q, w->slots[s].node, "multiplies by 0");
    bool same = number == 1 ? op == OP_mul || (op == OP_div && k == 0)
                            : number == 0 && (op == OP_add || (op == OP_sub && k == 0));
    const Way *way = chain(w, s, k, same);
    if (!way || way == &DEAD || same) return way;
    Way *numbered = arena_copy(w->a, way, sizeof *way);
    numbered->has_number = true;
    numbered->number = number;
    return numbered;
}

const Way *find_way(WayFinder *w, int s)
{
    const Slot *slot = &w->slots[s];
    const Node *n = slot->node;
    if (s == w->v_slot) return new_way(w, WAY_END, s);
    if (n->op == OP_select) {
        if (slot->in[0] >= 0) return refuse(w->q, n, "its condition is not a comparison");
        int side = w->side[s], k = side > 0 ? 1 : 2;
        if (!side) return split(w, s, s);
        return slot->in[k] < 0 ? &DEAD : chain(w, s, k, true);
    }
    if (w->constant[s]) return refuse(w->q, n, "is constant on one side of a kink");
    int found = only_operand(w, s);
    if (found < 0) return rational(w, s);
    const Way *rooted = through_root(w, s);
    if (rooted) return rooted;
    if (n->op == OP_min || n->op == OP_max) {
        // the identity where a test has chosen the interval, and on a function in bins, whose image the clamp only
        // rounds
        bool same = w->side[s] > 0 || w->n_assumed || one_lane_bins(w->first->lanes, w->first->n);
        return same ? chain(w, s, found, true) : refuse(w->q, n, "a clamp has no inverse");
    }
    if (!is_invertible(w, s, found)) return rational(w, s);
    double v = 0;
    return n->n_in == 2 && operand_number(w, s, 1 - found, &v) ? chain_by_number(w, s, found, v)
                                                               : chain(w, s, found, false);
}

// Every test that is no select must compare a function of v that can be walked back.
bool tests_walkable(const WayFinder *w, const Way *way)
{
    if (way->kind == WAY_END) return true;
    if (way->kind != WAY_SELECT) return tests_walkable(w, way->next);
    const Slot *t = &w->slots[way->test];
    if (t->node->op != OP_select) {
        int k = t->in[0] >= 0 ? 0 : 1;
        if (t->node->n_in == 2 && t->in[1 - k] >= 0) return false;
        double zero = 0;
        const double *with = &zero;
        if (t->node->n_in == 2) {
            LaneRef other = slot_operand(w, way->test, 1 - k, 0);
            if (!is_known(w->q, other)) return false;
            with = lane_number_of(other, &zero);
        }
        if (!walkable(w->q, w->first, slot_operand(w, way->test, k, 0), with)) return false;
    }
    return tests_walkable(w, way->next) && tests_walkable(w, way->otherwise);
}
