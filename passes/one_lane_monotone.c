// The proof that a one-lane function's slope keeps one sign.
//
// Intervals of value and slope are carried from t to u by the ops' rules:
//
//   (f + g)' = f' + g'    (f g)' = f' g + f g'    (f / g)' = (f' - f / g g') / g    f(g)' = f'(g) g'
//
// t is any number, or 0..1 where it is the position in a bin; what known lanes may be follows from the ops that define
// them. The sign is proved where the interval of u's slope excludes 0.
#include "double_math.h"
#include "lane_order.h"
#include "one_lane_interval.h"

#include <math.h>
#include <stdlib.h>

static const Interval ALL = {-INFINITY, INFINITY};

static Interval interval(double lo, double hi) { return isnan(lo) || isnan(hi) ? ALL : (Interval){lo, hi}; }

// Open ends are what slopes are about: the slope of exp is above 0 though its interval's end is 0, and so are products
// and reciprocals of such.
static const double TINY = 1e-300;

static double product(double a, double b)
{
    if (a == 0 || b == 0) return 0;
    return a * b == 0 ? copysign(TINY, (a > 0) == (b > 0) ? 1 : -1) : a * b;
}

static Interval interval_mul(Interval a, Interval b)
{
    double p[4] = {product(a.lo, b.lo), product(a.lo, b.hi), product(a.hi, b.lo), product(a.hi, b.hi)};
    double lo = p[0], hi = p[0];
    for (int i = 1; i < 4; i++) {
        lo = fmin(lo, p[i]);
        hi = fmax(hi, p[i]);
    }
    return interval(lo, hi);
}

static Interval interval_add(Interval a, double sign, Interval b)
{
    return sign > 0 ? interval(a.lo + b.lo, a.hi + b.hi) : interval(a.lo - b.hi, a.hi - b.lo);
}

static Interval interval_reciprocal(Interval a)
{
    if (a.lo > 0) return interval(fmax(1 / a.hi, TINY), 1 / a.lo);
    if (a.hi < 0) return interval(1 / a.hi, fmin(1 / a.lo, -TINY));
    if (a.lo == 0) return interval(a.hi == 0 ? 0 : 1 / a.hi, INFINITY);
    return ALL;
}

static Interval join(Interval a, Interval b) { return interval(fmin(a.lo, b.lo), fmax(a.hi, b.hi)); }

static double softplus(double x) { return x > 30 ? x : double_log1p(double_exp(x)); }
static double sigmoid(double x) { return 1 / (1 + double_exp(-x)); }
static double sigmoid_slope(double x) { return sigmoid(x) * sigmoid(-x); }
static double tanh_slope(double x) { return 1 - double_tanh(x) * double_tanh(x); }
static double atan_slope(double x) { return 1 / (1 + x * x); }
static double erf_slope(double x) { return ERF_SLOPE * double_exp(-x * x); }
static double asinh_slope(double x) { return 1 / sqrt(1 + x * x); }
static double root(double x) { return sqrt(x); }
static double root_slope(double x) { return 0.5 / sqrt(x); }
static double reciprocal(double x) { return 1 / x; }

// The ops that rise everywhere. Where on an interval the slope is least and largest: at its ends as it RISES or FALLS
// (of x > 0 alone), or far from 0 and near it (a BELL), or the other way (a BOWL).
typedef enum { RISES, FALLS, BELL, BOWL } Shape;
typedef struct {
    double (*value)(double), (*slope)(double);
    Shape shape;   // of the slope
    bool positive; // the value
} Rising;

static const Rising RISING[OP_COUNT] = {
    [OP_exp] = {double_exp, double_exp, RISES, true},    [OP_expm1] = {double_expm1, double_exp, RISES, false},
    [OP_softplus] = {softplus, sigmoid, RISES, true},    [OP_sqrt] = {root, root_slope, FALLS, true},
    [OP_log] = {double_log, reciprocal, FALLS, false},   [OP_tanh] = {double_tanh, tanh_slope, BELL, false},
    [OP_sigmoid] = {sigmoid, sigmoid_slope, BELL, true}, [OP_atan] = {double_atan, atan_slope, BELL, false},
    [OP_erf] = {double_erf, erf_slope, BELL, false},     [OP_asinh] = {double_asinh, asinh_slope, BELL, false},
    [OP_sinh] = {double_sinh, double_cosh, BOWL, false},
};

static double farthest(Interval x) { return fmax(fabs(x.lo), fabs(x.hi)); }
static double nearest(Interval x) { return x.lo > 0 ? x.lo : x.hi < 0 ? -x.hi : 0; }

static bool rising_bounds(const Rising *f, Interval x, Bounds *out)
{
    const double least[] = {[RISES] = x.lo, [FALLS] = x.hi, [BELL] = farthest(x), [BOWL] = nearest(x)};
    const double largest[] = {[RISES] = x.hi, [FALLS] = x.lo, [BELL] = nearest(x), [BOWL] = farthest(x)};
    if (f->shape == FALLS && x.lo <= 0) return false;
    double low = f->value(x.lo);
    out->value = interval(f->positive ? fmax(low, TINY) : low, f->value(x.hi));
    out->slope = interval(fmax(f->slope(least[f->shape]), TINY), f->slope(largest[f->shape]));
    return true;
}

static Bounds leaky_relu_bounds(double alpha, Interval x)
{
    double low = x.lo < 0 ? alpha : 1, high = x.hi > 0 ? 1 : alpha;
    Interval ends = interval(product(x.lo, low), product(x.hi, high));
    return (Bounds){join(interval(fmin(product(x.lo, alpha), x.lo), x.hi), ends),
                    interval(fmin(low, high), fmax(low, high))};
}

static double elu(double alpha, double x) { return x > 0 ? x : alpha * double_expm1(x); }

static Bounds elu_bounds(double alpha, Interval x)
{
    Interval below = interval(fmax(alpha * double_exp(x.lo), TINY), alpha * double_exp(fmin(x.hi, 0))), one = {1, 1};
    Interval slope = x.lo >= 0 ? one : x.hi > 0 ? join(below, one) : below;
    return (Bounds){interval(elu(alpha, x.lo), elu(alpha, x.hi)), slope};
}

// Value and slope of a unary op on an interval. False: no rule.
static bool unary_bounds(const Node *n, Interval x, Bounds *out)
{
    if (RISING[n->op].value) return rising_bounds(&RISING[n->op], x, out);
    switch ((int)n->op) {
    case OP_neg: *out = (Bounds){interval(-x.hi, -x.lo), interval(-1, -1)}; return true;
    case OP_sin:
    case OP_cos: *out = (Bounds){interval(-1, 1), interval(-1, 1)}; return true;
    case OP_abs:
        *out = (Bounds){interval(nearest(x), farthest(x)), interval(x.lo >= 0 ? 1 : -1, x.hi <= 0 ? -1 : 1)};
        return true;
    case OP_leaky_relu: *out = leaky_relu_bounds(n->alpha, x); return true;
    case OP_elu: *out = elu_bounds(n->alpha, x); return n->alpha > 0;
    default: return false;
    }
}

// x^k for all x of the interval.
static Interval interval_power(Interval x, int k)
{
    double lo = 1, hi = 1;
    for (int i = 0; i < k; i++) {
        lo = product(lo, x.lo);
        hi = product(hi, x.hi);
    }
    if (k % 2) return interval(lo, hi);
    return interval(k && x.lo <= 0 && x.hi >= 0 ? 0 : fmin(lo, hi), fmax(lo, hi));
}

Bounds one_lane_power(Bounds base, int k)
{
    Interval steep = interval_mul(interval(k, k), interval_power(base.value, k - 1));
    return (Bounds){interval_power(base.value, k), interval_mul(steep, base.slope)};
}

enum { MOST_DEPTH = 16, SIGN_DEPTH = 8, MOST_POWER_DEPTH = 6, MOST_EXPONENT = 64 };

static Interval lane_interval(LaneRef r, int depth);

Interval one_lane_known(LaneRef r) { return lane_interval(r, 0); }

static Interval lane_interval(LaneRef r, int depth)
{
    const Node *n = r.node;
    if (lane_is_const(r)) return interval(lane_value(r), lane_value(r));
    if (depth > MOST_DEPTH || !op_elementwise(n->op)) {
        int sign = lane_sign(r);
        return sign > 0 ? interval(TINY, INFINITY) : sign < 0 ? interval(-INFINITY, -TINY) : ALL;
    }
    Interval in[3];
    for (int k = 0; k < n->n_in; k++) in[k] = lane_interval(lane_operand(n, k, r.lane), depth + 1);
    Bounds bounds;
    switch ((int)n->op) {
    case OP_add: return interval_add(in[0], 1, in[1]);
    case OP_sub: return interval_add(in[0], -1, in[1]);
    case OP_mul: return interval_mul(in[0], in[1]);
    case OP_div: return interval_mul(in[0], interval_reciprocal(in[1]));
    case OP_min: return interval(fmin(in[0].lo, in[1].lo), fmin(in[0].hi, in[1].hi));
    case OP_max: return interval(fmax(in[0].lo, in[1].lo), fmax(in[0].hi, in[1].hi));
    case OP_select: return join(in[1], in[2]);
    default: return n->n_in == 1 && unary_bounds(n, in[0], &bounds) ? bounds.value : ALL;
    }
}

int one_lane_sign(const LaneRef *lanes, int n)
{
    int first = 0;
    for (int i = 0; i < n; i++) {
        int sign = lane_sign(lanes[i]);
        Interval r = sign ? ALL : lane_interval(lanes[i], MOST_DEPTH - SIGN_DEPTH);
        if (!sign) sign = r.lo > 0 ? 1 : r.hi < 0 ? -1 : 0;
        if (!sign || (i && sign != first)) return 0;
        first = sign;
    }
    return first;
}

typedef struct {
    const Slot *slots;
    int n, t;
    Bounds *bounds; // by slot
    char *done;
    bool failed, half; // half: t is on one side of 0, where the other side must go on
    Interval domain;
} Intervals;

static Bounds slot_bounds(Intervals *v, int s);

static Bounds operand_bounds(Intervals *v, int s, int k)
{
    const Slot *slot = &v->slots[s];
    if (slot->in[k] >= 0) return slot_bounds(v, slot->in[k]);
    Bounds p = {lane_interval(lane_operand(slot->node, k, slot->lanes[0]), 0), {0, 0}};
    for (int i = 1; i < v->n; i++)
        p.value = join(p.value, lane_interval(lane_operand(slot->node, k, slot->lanes[i]), 0));
    return p;
}

// a + softplus(b - a) = log(e^a + e^b), whose slope is a mean of those of a and b. Gives the slot of b - a, or -1.
static int log_sum_slot(const Intervals *v, int s)
{
    const Slot *sum = &v->slots[s], *plus = sum->in[1] >= 0 ? &v->slots[sum->in[1]] : NULL;
    if (sum->node->op != OP_add || sum->in[0] < 0 || !plus || plus->node->op != OP_softplus) return -1;
    int less = plus->in[0];
    bool found = less >= 0 && v->slots[less].node->op == OP_sub && v->slots[less].in[1] == sum->in[0];
    return found ? less : -1;
}

static Bounds log_sum_bounds(Bounds a, Bounds b)
{
    Interval top = interval(fmax(a.value.lo, b.value.lo), fmax(a.value.hi, b.value.hi));
    return (Bounds){interval(top.lo, top.hi + double_log(2.0)), join(a.slope, b.slope)};
}

// Bounds this near to the ends of a squash's range only keep rounding off them.
static const double ROUNDING = 0x1p-20;

int one_lane_guarded(const Slot *slots, int n, int s)
{
    const Slot *slot = &slots[s];
    Op op = slot->node->op;
    int k = slot->in[0] >= 0 ? 0 : 1, at = s;
    if ((op != OP_min && op != OP_max) || slot->in[k] < 0 || slot->in[1 - k] >= 0) return -1;
    while (slots[at].node->op == OP_min || slots[at].node->op == OP_max) {
        at = slots[at].in[slots[at].in[0] >= 0 ? 0 : 1];
        if (at < 0) return -1;
    }
    if (slots[at].node->op != OP_sigmoid && slots[at].node->op != OP_tanh) return -1;
    double lo = slots[at].node->op == OP_tanh ? -1 : 0;
    for (int i = 0; i < n; i++) {
        LaneRef bound = lane_operand(slot->node, 1 - k, slot->lanes[i]);
        bool end = lane_is_const(bound) &&
                   (op == OP_min ? lane_value(bound) >= 1 - ROUNDING : lane_value(bound) <= lo + ROUNDING);
        if (!end) return -1;
    }
    return slot->in[k];
}

bool one_lane_step(const Node *n, const Bounds *in, Bounds *out)
{
    Bounds own;
    *out = (Bounds){ALL, ALL};
    switch ((int)n->op) {
    case OP_add:
    case OP_sub: {
        double sign = n->op == OP_add ? 1 : -1;
        *out = (Bounds){interval_add(in[0].value, sign, in[1].value), interval_add(in[0].slope, sign, in[1].slope)};
        return true;
    }
    case OP_mul:
        out->value = interval_mul(in[0].value, in[1].value);
        out->slope = interval_add(interval_mul(in[0].slope, in[1].value), 1, interval_mul(in[0].value, in[1].slope));
        return true;
    case OP_div: {
        Interval over = interval_reciprocal(in[1].value);
        out->value = interval_mul(in[0].value, over);
        out->slope = interval_mul(interval_add(in[0].slope, -1, interval_mul(out->value, in[1].slope)), over);
        return true;
    }
    case OP_min:
    case OP_max:
        out->slope = join(in[0].slope, in[1].slope);
        out->value = n->op == OP_min
                         ? interval(fmin(in[0].value.lo, in[1].value.lo), fmin(in[0].value.hi, in[1].value.hi))
                         : interval(fmax(in[0].value.lo, in[1].value.lo), fmax(in[0].value.hi, in[1].value.hi));
        return true;
    case OP_select: *out = (Bounds){join(in[1].value, in[2].value), join(in[1].slope, in[2].slope)}; return true;
    default:
        if (n->n_in != 1 || !unary_bounds(n, in[0].value, &own)) return false;
        *out = (Bounds){own.value, interval_mul(own.slope, in[0].slope)};
        return true;
    }
}

// Slot s as a power of another one, x x x: that one, and *k.
static int power_of(const Intervals *v, int s, int *k, int depth)
{
    const Slot *slot = &v->slots[s];
    int by = 1;
    *k = 1;
    if (s == v->t || slot->node->op != OP_mul || slot->in[0] < 0 || slot->in[1] < 0 || depth > MOST_POWER_DEPTH)
        return s;
    int x = power_of(v, slot->in[0], k, depth + 1), y = power_of(v, slot->in[1], &by, depth + 1);
    *k = x == y ? *k + by : 1;
    return x == y ? x : s;
}

// k of a slot x^k, k a number 0, 1, 2, ...; -1: it is none.
static int exponent_of(const Intervals *v, int s)
{
    const Slot *slot = &v->slots[s];
    if (slot->node->op != OP_pow || slot->in[0] < 0 || slot->in[1] >= 0) return -1;
    double first = -1;
    for (int i = 0; i < v->n; i++) {
        LaneRef e = lane_operand(slot->node, 1, slot->lanes[i]);
        double k = lane_is_const(e) ? lane_value(e) : -1;
        if (k != floor(k) || k < 0 || k > MOST_EXPONENT || (i && k != first)) return -1;
        first = k;
    }
    return (int)first;
}

static Bounds slot_bounds(Intervals *v, int s)
{
    if (s == v->t) return (Bounds){v->domain, {1, 1}};
    if (v->done[s]) return v->bounds[s];
    const Node *n = v->slots[s].node;
    Bounds in[3], out = {ALL, ALL};
    int less = log_sum_slot(v, s), k, base = power_of(v, s, &k, 0), passed = one_lane_guarded(v->slots, v->n, s);
    if (less >= 0 && less != v->t && v->slots[s].in[1] != v->t)
        out = log_sum_bounds(operand_bounds(v, s, 0), operand_bounds(v, less, 0));
    else if (base != s)
        out = one_lane_power(slot_bounds(v, base), k);
    else if (exponent_of(v, s) >= 0)
        out = one_lane_power(slot_bounds(v, v->slots[s].in[0]), exponent_of(v, s));
    else if (passed >= 0)
        out = slot_bounds(v, passed);
    else {
        for (k = 0; k < n->n_in; k++) in[k] = operand_bounds(v, s, k);
        bool pole = v->half && n->op == OP_div && in[1].value.lo <= 0 && in[1].value.hi >= 0;
        if ((n->op == OP_select && v->slots[s].in[0] >= 0) || pole || !one_lane_step(n, in, &out)) v->failed = true;
    }
    v->done[s] = 1;
    return v->bounds[s] = out;
}

static int sign_within(const Slot *slots, int n_slots, int n, int s, int t, Interval domain)
{
    Intervals v = {.slots = slots, .n = n, .t = t, .domain = domain};
    v.half = isinf(domain.lo) != isinf(domain.hi);
    v.bounds = heap_array(n_slots, sizeof *v.bounds);
    v.done = heap_array(n_slots, 1);
    Bounds p = slot_bounds(&v, s);
    free(v.bounds);
    free(v.done);
    if (v.failed) return 0;
    return p.slope.lo > 0 ? 1 : p.slope.hi < 0 ? -1 : 0;
}

int one_lane_monotone(const Slot *slots, int n_slots, int n, int s, int t, bool in_bin)
{
    int sign = sign_within(slots, n_slots, n, s, t, in_bin ? interval(0, 1) : ALL);
    if (sign || in_bin) return sign;
    int below = sign_within(slots, n_slots, n, s, t, interval(-INFINITY, 0));
    return below && sign_within(slots, n_slots, n, s, t, interval(0, INFINITY)) == below ? below : 0;
}
