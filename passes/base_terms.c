// What a term of a log_prob must look like to belong to a base:
//
//   normal     c k a^2            u = a sqrt(-2 c k)       c < 0 constant; k: lanes that are factors (a learned scale); c a k a;
//                                                          also as a product of lanes with themselves, or a norm's square
//   laplace    c k |a|            u = a (-c k)
//   logistic   -2 softplus(v)     u = -v                   also as -softplus(v) - softplus(-v), log sigmoid(v) + log sigmoid(-v)
//   student_t  c log(1 + q)       u = a sqrt(q' v), q = q' a^2, v = -2 c - 1 degrees of freedom
//   uniform    log(low <= a and a < high), or select(inside, constant, -inf), one test for each lane or one for all
//              u = (a - low) / (high - low)
#include "base_terms.h"

#include <math.h>

static bool abs_of(LaneRef r, LaneRef *base)
{
    *base = r.node->op == OP_abs ? lane_operand(r.node, 0, r.lane) : r;
    return r.node->op == OP_abs;
}

bool lane_square_of(LaneRef r, LaneRef *base)
{
    const Node *n = r.node;
    if (n->op == OP_mul) {
        *base = lane_operand(n, 0, r.lane);
        return lane_same(*base, lane_operand(n, 1, r.lane)) && !lane_is_const(*base);
    }
    if (n->op != OP_pow) return false;
    LaneRef e = lane_operand(n, 1, r.lane);
    *base = lane_operand(n, 0, r.lane);
    return lane_is_const(e) && lane_value(e) == 2;
}

// r = c a: to a, and c into the weight. False: r has no constant factor.
static bool drop_constant(LaneRef *r, double *weight)
{
    if (r->node->op != OP_mul) return false;
    LaneRef x = lane_operand(r->node, 0, r->lane), y = lane_operand(r->node, 1, r->lane);
    if (!lane_is_const(x) && !lane_is_const(y)) return false;
    *weight *= lane_value(lane_is_const(x) ? x : y);
    *r = lane_is_const(x) ? y : x;
    return !lane_is_const(*r);
}

// (c a) a: the nearest lane that both factors are multiples of, and the constants.
static bool scaled_square(LaneRef r, LaneRef *base, double *weight)
{
    if (r.node->op != OP_mul) return false;
    double w = *weight;
    LaneRef a = lane_operand(r.node, 0, r.lane);
    do {
        double v = w;
        LaneRef b = lane_operand(r.node, 1, r.lane);
        do {
            if (!lane_same(a, b) || lane_is_const(a)) continue;
            *base = a;
            *weight = v;
            return true;
        } while (drop_constant(&b, &v));
    } while (drop_constant(&a, &w));
    return false;
}

// A product: constants, at most one square, other factors. False: not of this form.
typedef bool CoreOf(LaneRef r, LaneRef *base);

static bool factor(BaseTerm *s, LaneRef r, CoreOf *core, bool over, bool *found, int depth)
{
    LaneRef base;
    if (lane_is_const(r)) {
        s->weight = over ? s->weight / lane_value(r) : s->weight * lane_value(r);
        return true;
    }
    if (!over && !*found && (core(r, &base) || (core == lane_square_of && scaled_square(r, &base, &s->weight)))) {
        s->lane = base;
        *found = true;
        return true;
    }
    if (depth < FACTOR_DEPTH && r.node->op == OP_neg) {
        s->weight = -s->weight;
        return factor(s, lane_operand(r.node, 0, r.lane), core, over, found, depth + 1);
    }
    if (depth < FACTOR_DEPTH && (r.node->op == OP_mul || r.node->op == OP_div)) {
        bool flip = r.node->op == OP_div;
        return factor(s, lane_operand(r.node, 0, r.lane), core, over, found, depth + 1) &&
               factor(s, lane_operand(r.node, 1, r.lane), core, over != flip, found, depth + 1);
    }
    LaneRef *list = over ? s->over : s->times;
    int *n = over ? &s->n_over : &s->n_times;
    if (*n == MOST_FACTORS) return false;
    list[(*n)++] = r;
    return true;
}

// c a k a: a lane that stands twice among the factors is the square.
static bool lane_twice(BaseTerm *s)
{
    for (int i = 0; i < s->n_times; i++)
        for (int j = i + 1; j < s->n_times; j++) {
            if (!lane_same(s->times[i], s->times[j])) continue;
            s->lane = s->times[i];
            s->times[j] = s->times[--s->n_times];
            s->times[i] = s->times[--s->n_times];
            return true;
        }
    return false;
}

// log(1 + q) with q a square and its factors.
static bool student_term(BaseTerm *s, LaneRef r)
{
    const Node *n = r.node;
    if (n->op != OP_log && n->op != OP_log1p) return false;
    LaneRef q = lane_operand(n, 0, r.lane);
    bool found = false;
    if (n->op == OP_log && q.node->op == OP_add) {
        for (int k = 0; k < 2 && !found; k++) {
            LaneRef one = lane_operand(q.node, k, q.lane);
            if (!lane_is_const(one) || lane_value(one) != 1) continue;
            q = lane_operand(q.node, 1 - k, q.lane);
            found = true;
        }
    } else
        found = n->op == OP_log1p;
    if (!found) return false;
    s->outer = s->weight;
    s->weight = 1;
    found = false;
    return factor(s, q, lane_square_of, false, &found, 0) && found;
}

// ---- the uniform's tests of range

static BaseTerm *range_of(BaseTerms *c, int64_t first, LaneRef lane)
{
    for (int64_t i = first; i < c->n; i++)
        if (lane_same(c->terms[i].lane, lane)) return &c->terms[i];
    BaseTerm s = {.lane = lane, .weight = 1, .low = INFINITY, .high = -INFINITY};
    ARENA_PUSH(scratch_arena(c->cx), c->terms, c->n, c->cap, s);
    return &c->terms[c->n - 1];
}

// One bound: constant <= a or a <= constant holds inside, a < constant or constant < a outside.
static bool bound(BaseTerms *c, int64_t first, LaneRef r, bool outside)
{
    LaneRef a = lane_operand(r.node, 0, r.lane), b = lane_operand(r.node, 1, r.lane);
    bool left = lane_is_const(a);
    if (left == lane_is_const(b)) return false;
    BaseTerm *s = range_of(c, first, left ? b : a);
    (left != outside ? &s->low : &s->high)[0] = lane_value(left ? a : b);
    return true;
}

static bool is_zero(LaneRef r) { return lane_is_const(r) && lane_value(r) == 0; }

// All tests below r: r holds where all of them do (inside), or where any does (outside).
static bool bounds(BaseTerms *c, int64_t first, LaneRef r, bool outside)
{
    const Node *n = r.node;
    if (--c->budget < 0) return false;
    if (n->op == (outside ? OP_reduce_max : OP_reduce_min) || n->op == (outside ? OP_reduce_sum : OP_reduce_prod)) {
        int64_t K = type_last(n->in[0]->type);
        for (int64_t k = 0; k < K; k++)
            if (!bounds(c, first, lane_canonical(n->in[0], r.lane * K + k), outside)) return false;
        return true;
    }
    if (!op_elementwise(n->op)) return false;
    LaneRef x = lane_operand(n, 0, r.lane), y = n->n_in > 1 ? lane_operand(n, 1, r.lane) : x;
    switch ((int)n->op) {
    case OP_not: return bounds(c, first, x, !outside);
    case OP_or:
    case OP_max: return outside && bounds(c, first, x, true) && bounds(c, first, y, true);
    case OP_and:
    case OP_mul:
    case OP_min: return !outside && bounds(c, first, x, false) && bounds(c, first, y, false);
    case OP_add: // a cast, or a count
        if (is_zero(y)) return bounds(c, first, x, outside);
        return outside && bounds(c, first, x, true) && bounds(c, first, y, true);
    case OP_lt: // a count of tests above 0
        if (outside && is_zero(x) && (op_info(y.node->op)->kind == KIND_REDUCE || y.node->op == OP_add))
            if (bounds(c, first, y, true)) return true;
        return bound(c, first, r, outside);
    case OP_le: return bound(c, first, r, outside);
    default: return false;
    }
}

// A constant inside and -inf outside, not the linear tails of a spline, which ask the same question.
static bool is_outside(LaneRef r) { return lane_is_const(r) && lane_value(r) == -INFINITY; }

static void uniform_terms(BaseTerms *c, LaneRef r, double weight)
{
    int64_t first = c->n;
    bool ok = r.node->op == OP_log, outside = false;
    if (r.node->op == OP_select) {
        LaneRef x = lane_operand(r.node, 1, r.lane), y = lane_operand(r.node, 2, r.lane);
        outside = is_outside(x);
        ok = lane_is_const(x) && lane_is_const(y) && outside != is_outside(y);
    }
    ok = ok && bounds(c, first, lane_operand(r.node, 0, r.lane), outside);
    for (int64_t i = first; i < c->n && ok; i++) {
        ok = c->terms[i].low < c->terms[i].high;
        c->terms[i].weight = -weight; // as the other bases' terms: negative in a log_prob
    }
    if (!ok) c->n = first;
}

// -2 softplus(v), or a half of it: -softplus(v), log(sigmoid(-v)).
static bool logistic_term(BaseTerm *s, LaneRef r)
{
    LaneRef x = r.node->op == OP_log ? lane_operand(r.node, 0, r.lane) : r;
    s->minus = x.node->op == OP_sigmoid;
    if (s->minus) s->weight = -s->weight;
    double weight = fabs(s->weight);
    if (x.node->op != (r.node->op == OP_log ? OP_sigmoid : OP_softplus)) return false;
    if (fabs(weight - 1) > 1e-6 && (s->minus || fabs(weight - 2) > 1e-6)) return false;
    s->lane = lane_operand(x.node, 0, x.lane);
    return !lane_is_const(s->lane);
}

// The half whose lane is the negative of s's; NULL: there is none.
static const BaseTerm *other_half(const BaseTerms *c, const BaseTerm *s)
{
    for (int64_t j = 0; j < c->n; j++) {
        const BaseTerm *t = &c->terms[j];
        bool negative = t->lane.node->op == OP_neg && lane_same(lane_operand(t->lane.node, 0, t->lane.lane), s->lane);
        if (negative && t->weight == s->weight && t->minus == s->minus) return t;
    }
    return NULL;
}

void base_terms_pair(BaseTerms *c)
{
    BaseTerm *kept = ARENA_ARRAY(scratch_arena(c->cx), BaseTerm, c->n + 1);
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++) {
        const BaseTerm *s = &c->terms[i], *other = fabs(s->weight) < 1.5 ? other_half(c, s) : s;
        if (!other) continue;
        kept[n] = s->minus ? *s : *other;
        kept[n++].weight = s->weight * (fabs(s->weight) < 1.5 ? 2 : 1);
    }
    c->terms = kept;
    c->n = c->cap = n;
}

void base_terms_add(BaseTerms *c, LaneRef r, double weight)
{
    BaseTerm s = {.weight = weight};
    bool found = false;
    switch (c->base) {
    case BASE_NORMAL: found = factor(&s, r, lane_square_of, false, &found, 0) && (found || lane_twice(&s)); break;
    case BASE_LAPLACE: found = factor(&s, r, abs_of, false, &found, 0) && found; break;
    case BASE_LOGISTIC: found = logistic_term(&s, r); break;
    case BASE_UNIFORM: uniform_terms(c, r, weight); break;
    case BASE_STUDENT_T: found = student_term(&s, r); break;
    case BASE_GRAPH:
    case BASE_COUNT: break;
    }
    if (found) ARENA_PUSH(scratch_arena(c->cx), c->terms, c->n, c->cap, s);
}
