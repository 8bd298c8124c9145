// Relations between two slots of a one-lane function: F(t, u) = 0 (one_lane.h).
//
// Between t and u everything is (a + b r) / (c + e r), with polynomials a, b, c, e in t and lanes, and r the square
// root of one such polynomial. u (c + e r) = a + b r, squared, is the relation; factors common to all its terms are
// gone, so the stable formula of a quadratic's root, t = 2c / (-b - sqrt(b^2 - 4ac)), is seen to be linear in what a, b
// and c are linear in.
#include "lane_order.h"
#include "one_lane_find.h"

#include <stdlib.h>

// (a + b r) / (c + e r), r the square root of d
typedef struct {
    Poly a, b, c, e, d;
    bool root;
} Ratio;

enum { MOST_PARTS = 128, MOST_DEPTH = 6 };

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
    bool apart = depth < MOST_DEPTH && sums(r.node->op);
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
    if (one_node && depth < MOST_DEPTH && taken_apart(x, refs[0])) {
        Poly in[2];
        LaneRef *below = heap_array(n, sizeof *below);
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
    Arena *a = x->w->a;
    Poly square = poly_quotient(a, v.a, v.c);
    if (v.root || !poly_ok(square)) return failed_ratio(x);
    Ratio r = ratio(a, poly_number(a, 0));
    r.b = poly_number(a, 1);
    r.d = square;
    r.root = true;
    return r;
}

static bool joins(Ratio p, Ratio q) { return !p.root || !q.root || poly_equal(p.d, q.d); }

// max(x, 0) below a square root only hides rounding.
static bool guards_root(const WayFinder *w, int s)
{
    const int *in = w->slots[s].in;
    bool root = false;
    for (int i = 0; i < w->n_slots; i++)
        for (int k = 0; k < 3; k++) {
            if (w->slots[i].in[k] != s) continue;
            root = w->slots[i].node->op == OP_sqrt;
            if (!root) return false;
        }
    return root && (in[0] < 0 || in[1] < 0);
}

// select, abs, leaky_relu, min, max: the side that is taken, once its test is assumed.
static Ratio chosen_ratio(Rational *x, int s)
{
    WayFinder *w = x->w;
    Arena *a = w->a;
    const Slot *slot = &w->slots[s];
    int side = w->side[s];
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
    if (w->constant[s]) return ratio(a, poly_number(a, w->number[s]));
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
    LaneRef *refs = heap_array(w->n, sizeof *refs);
    for (int i = 0; i < w->n; i++) refs[i] = slot_operand(w, s, k, i);
    Poly p = known_poly(x, refs, 0);
    free(refs);
    return poly_ok(p) ? ratio(w->a, p) : failed_ratio(x);
}

// F = p + q x, x of degree 1: where q divides p, it is gone. The quadratic formula squared has its leading coefficient
// as such a factor; a difference of heights would cancel where they are nearly equal.
static Poly without_divisor(Arena *a, Poly p)
{
    for (int symbol = 0; symbol < 2 && poly_ok(p); symbol++) {
        Poly q = poly_coefficient(a, p, symbol, 1);
        if (poly_degree(p, symbol) != 1 || poly_degree(q, 0) || poly_degree(q, 1)) continue;
        Term common = poly_common(q);
        Poly divided = poly_quotient(a, p, poly_divide(a, q, &common));
        if (poly_ok(divided)) p = divided;
    }
    return p;
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
    return without_divisor(a, poly_divide(a, p, &common));
}

static void find_direct(Rational *x, const bool *inside)
{
    const WayFinder *w = x->w;
    for (int s = 0; s < w->n_slots; s++)
        for (int k = 0; k < w->slots[s].node->n_in && inside[s]; k++)
            if (w->slots[s].in[k] < 0) x->direct[x->n_direct++] = slot_operand(w, s, k, 0);
}

static int slot_sign(const WayFinder *w, int s)
{
    LaneRef *lanes = ARENA_ARRAY(w->a, LaneRef, w->n);
    for (int i = 0; i < w->n; i++) lanes[i] = (LaneRef){w->slots[s].node, w->slots[s].lanes[i]};
    return one_lane_sign(lanes, w->n);
}

static const int *symbol_signs(const Rational *x, int u)
{
    int *sign = ARENA_ARRAY(x->w->a, int, POLY_SYMBOLS);
    sign[0] = slot_sign(x->w, x->t);
    sign[1] = slot_sign(x->w, u);
    for (int s = 2; s < x->n_symbols; s++) sign[s] = one_lane_sign(x->symbols[s], x->w->n);
    return sign;
}

Way *relate(WayFinder *w, int s, int t, const bool *inside, int *wants)
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
    Way *way = new_way(w, WAY_RATIONAL, s);
    way->t = t;
    way->relation = relation_of(w->a, v);
    way->n_symbols = x.n_symbols;
    way->symbols = (const LaneRef *const *)x.symbols;
    way->sign = symbol_signs(&x, s);
    way->from_bin = w->fixed_above == POSITION;
    return poly_ok(way->relation) ? way : NULL;
}

// ---- signs of slopes

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
int rational_slope(const WayFinder *w, const Way *way)
{
    bool by_u = poly_degree(way->relation, 1) != 1;
    return -range_sign(w->a, one_lane_slope(w->a, way), by_u ? 1 : 0, by_u ? way->from_bin : way->in_bin, way->sign);
}

int rational_divisor_sign(const WayFinder *w, const Way *way)
{
    return range_sign(w->a, poly_coefficient(w->a, way->relation, 1, 1), 0, way->in_bin, way->sign);
}
