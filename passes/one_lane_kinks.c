// Kinks of a one-lane function: select, min, max, abs and leaky_relu choose a side by comparing a monotone function of
// v with a known lane. On one branch of a split (one_lane_way.c) some sides are assumed. From these follow
//
//   the sides of the others that compare the same: max(v, 0) takes v where min(e^v - 1, 0) takes 0
//   numbers: what is constant there, e.g. log1p(min(v, 0)) = 0
#include "one_lane_find.h"

#include <math.h>
#include <string.h>

static bool is_kink(Op op) { return op == OP_abs || op == OP_leaky_relu || op == OP_min || op == OP_max; }

// The operand that leads to v; -1: both do.
static int leading(const Slot *slot)
{
    if (slot->node->n_in == 1) return 0;
    return slot->in[0] >= 0 && slot->in[1] >= 0 ? -1 : slot->in[0] >= 0 ? 0 : 1;
}

// slot >= k of one function (<=: not above)
typedef struct {
    int slot;
    LaneRef lane; // the threshold; node NULL: it is the number
    double number;
    bool above;
} Test;

// slot >= k where it is a known step of another slot: on to that one.
static bool step_back(const WayFinder *w, int i, Test *t)
{
    const Slot *slot = &w->slots[t->slot];
    int k = slot->node->n_in <= 2 ? leading(slot) : -1;
    if (t->slot == w->v_slot || k < 0) return false;
    double c = 0;
    if (slot->node->n_in == 2) {
        LaneRef other = slot_operand(w, t->slot, 1 - k, i);
        if (!lane_is_const(other)) return false;
        c = lane_value(other);
    }
    double number = one_lane_threshold(slot->node->op, k, c, t->number);
    if (!isfinite(number)) return false;
    if (slot->node->op == OP_neg || (slot->node->op == OP_sub && k == 1) ||
        ((slot->node->op == OP_mul || slot->node->op == OP_div) && c < 0))
        t->above = !t->above;
    t->number = number;
    t->slot = slot->in[k];
    return true;
}

// threshold.node NULL: 0
static Test test_of(const WayFinder *w, int i, int slot, LaneRef threshold, bool above)
{
    Test t = {.slot = slot, .lane = threshold, .above = above};
    if (threshold.node && !lane_is_const(threshold)) return t;
    t.lane.node = NULL;
    t.number = threshold.node ? lane_value(threshold) : 0;
    while (step_back(w, i, &t)) {
    }
    return t;
}

static int slot_of(const WayFinder *w, int i, LaneRef r)
{
    for (int s = 0; s < w->n_slots; s++)
        if (lane_same((LaneRef){w->slots[s].node, w->slots[s].lanes[i]}, r)) return s;
    return -1;
}

// What slot s chooses by in function i. False: no comparison of another slot.
static bool find_test(const WayFinder *w, int s, int i, Test *t)
{
    const Slot *slot = &w->slots[s];
    const Node *n = slot->node;
    if (is_kink(n->op)) {
        int k = leading(slot);
        if (k < 0) return false;
        LaneRef zero = {NULL, 0};
        *t = test_of(w, i, slot->in[k], n->n_in == 2 ? slot_operand(w, s, 1 - k, i) : zero, n->op != OP_min);
        return true;
    }
    LaneRef c = slot_operand(w, s, 0, i);
    bool holds = true;
    for (; c.node->op == OP_not; c = lane_operand(c.node, 0, c.lane)) holds = !holds;
    if (n->op != OP_select || (c.node->op != OP_lt && c.node->op != OP_le)) return false;
    LaneRef x = lane_operand(c.node, 0, c.lane), y = lane_operand(c.node, 1, c.lane);
    int left = slot_of(w, i, x), right = slot_of(w, i, y);
    if ((left < 0) == (right < 0)) return false;
    *t = left < 0 ? test_of(w, i, right, x, holds) : test_of(w, i, left, y, !holds);
    return true;
}

// Equal, or closer than the guards of some inverses (pyro's ELU: log1p(v + 1e-8)) put them.
static bool same_threshold(const Test *a, const Test *b)
{
    if (a->slot != b->slot || !a->lane.node != !b->lane.node) return false;
    if (a->lane.node) return lane_same(a->lane, b->lane);
    return fabs(a->number - b->number) <= 1e-7 * fmax(1, fabs(a->number));
}

// 1: s and t choose alike in all functions, -1: contrarily, 0: neither is seen.
static int alike(const WayFinder *w, int s, int t)
{
    int found = 0;
    for (int i = 0; i < w->n; i++) {
        Test a, b;
        if (!find_test(w, s, i, &a) || !find_test(w, t, i, &b) || !same_threshold(&a, &b)) return 0;
        int now = a.above == b.above ? 1 : -1;
        if (found && now != found) return 0;
        found = now;
    }
    return found;
}

static int own_side(const WayFinder *w, int s)
{
    double v = 0;
    if (w->truth[s]) return w->truth[s];
    if (w->slots[s].node->op == OP_select && assumed(w, slot_operand(w, s, 0, 0), &v)) return v != 0 ? 1 : -1;
    return 0;
}

static bool find_number(WayFinder *w, int s, bool *seen);

static bool operand_is_number(WayFinder *w, int s, int k, bool *seen, double *v)
{
    int in = w->slots[s].in[k];
    if (in < 0) return operand_number(w, s, k, v);
    if (!find_number(w, in, seen)) return false;
    *v = w->number[in];
    return true;
}

static bool find_number(WayFinder *w, int s, bool *seen)
{
    const Slot *slot = &w->slots[s];
    const Node *n = slot->node;
    if (s == w->v_slot || seen[s]) return w->constant[s];
    seen[s] = true;
    double in[3] = {0, 0, 0};
    int side = w->side[s], k = leading(slot);
    bool ok = true;
    if (n->op == OP_select)
        ok = side && operand_is_number(w, s, side > 0 ? 1 : 2, seen, &w->number[s]);
    else if ((n->op == OP_min || n->op == OP_max) && side && k >= 0)
        ok = operand_is_number(w, s, side > 0 ? k : 1 - k, seen, &w->number[s]);
    else if (n->op == OP_leaky_relu && n->alpha == 0 && side < 0)
        w->number[s] = 0;
    else {
        for (int j = 0; j < n->n_in && ok; j++) ok = operand_is_number(w, s, j, seen, &in[j]);
        if (ok) w->number[s] = eval_scalar(n->op, n->alpha, in);
    }
    return w->constant[s] = ok && isfinite(w->number[s]);
}

void settle_kinks(WayFinder *w)
{
    bool any = false, *seen = ARENA_ARRAY(w->a, bool, w->n_slots);
    memset(w->constant, 0, (size_t)w->n_slots * sizeof *w->constant);
    for (int s = 0; s < w->n_slots; s++) {
        w->side[s] = (int8_t)own_side(w, s);
        any = any || w->side[s];
    }
    if (!any) return;
    for (int s = 0; s < w->n_slots; s++)
        for (int t = 0; t < w->n_slots && !w->side[s] && is_kink(w->slots[s].node->op); t++)
            if (own_side(w, t)) w->side[s] = (int8_t)(own_side(w, t) * alike(w, s, t));
    for (int s = 0; s < w->n_slots; s++) find_number(w, s, seen);
}

int open_kink(const WayFinder *w, const bool *below)
{
    for (int s = 0; s < w->n_slots; s++) {
        const Slot *slot = &w->slots[s];
        if (below[s] && is_kink(slot->node->op) && !w->side[s] && !w->constant[s] && leading(slot) >= 0) return s;
    }
    return -1;
}
