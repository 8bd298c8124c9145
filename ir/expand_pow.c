// a^b = 2^(b log2 |a|), with C's (and ONNX's) rules for signs, zeros and infinities.
//
// The exponent must be right to 2^-25 where it may be 128, so log2 |a| is carried as a sum of two floats, good to
// about 2^-36 of its size: with |a| = 2^e k, k in [sqrt(1/2), sqrt 2), s = (k - 1) / (k + 1), C = 2 log2 e,
//   log2 |a| = e + C s + s^3 Q(s^2)
#include "expand.h"

typedef struct {
    int hi, lo;
} Pair;

static int op(MapCode *m, ScalarOp o, int a, int b) { return map_op(m, o, a, b, 0); }

// k - 1 exactly, and e; a > 0, denormals scaled as in log.
static int split(MapCode *m, int a, int *e)
{
    int small = less(m, a, num(m, 0x1p-126f));
    int y = pick(m, small, mul(m, a, num(m, 0x1p23f)), a);
    int i = op(m, S_isub, y, pick(m, small, map_imm(m, HALF_ROOT + (23u << 23)), map_imm(m, HALF_ROOT)));
    *e = op(m, S_i2f, op(m, S_sar, i, map_imm(m, 23)), 0);
    return sub(m, op(m, S_iadd, op(m, S_and, i, map_imm(m, 0x7fffffu)), map_imm(m, HALF_ROOT)), num(m, 1));
}

// a + b, |a| >= |b| or a = 0, without loss.
static Pair sum_pair(MapCode *m, int a, int b)
{
    int hi = add(m, a, b);
    return (Pair){hi, add(m, sub(m, a, hi), b)};
}

static Pair product_pair(MapCode *m, int a, int b)
{
    int hi = mul(m, a, b);
    return (Pair){hi, fma3(m, a, b, negate(m, hi))};
}

// (k - 1) / (k + 1) from f = k - 1.
static Pair quotient_pair(MapCode *m, int f)
{
    int d = add(m, f, num(m, 2)), d_low = sub(m, f, sub(m, d, num(m, 2))); // k + 1 = d + d_low
    int s = divide(m, f, d), minus_s = negate(m, s);
    return (Pair){s, divide(m, fma3(m, minus_s, d_low, fma3(m, minus_s, d, f)), d)};
}

// log2 of a > 0, finite. Q = Q0 + z R, z = s^2; s^3 Q0 is a pair too. Error of the polynomial: 2^-36.
static Pair log2_pair(MapCode *m, int a)
{
    int e, f = split(m, a, &e), q0 = num(m, 0x1.ec709ep-1f), c = num(m, 0x1.715476p+1f);
    Pair s = quotient_pair(m, f), z = product_pair(m, s.hi, s.hi), t = product_pair(m, z.hi, s.hi);
    int t_low = fma3(m, mul(m, z.hi, s.lo), num(m, 3), fma3(m, z.lo, s.hi, t.lo));
    int r = math_poly(m, z.hi, 3, (const float[]){0x1.2776e2p-1f, 0x1.a5cebep-2f, 0x1.58b424p-2f});
    Pair linear = product_pair(m, s.hi, c), cubic = product_pair(m, t.hi, q0);
    int rest = fma3(m, mul(m, t.hi, z.hi), r, fma3(m, t_low, q0, cubic.lo));
    rest = add(m, rest, fma3(m, s.hi, num(m, 0x1.4ae0cp-25f), fma3(m, s.lo, c, linear.lo)));
    Pair fraction = sum_pair(m, linear.hi, cubic.hi), whole = sum_pair(m, e, fraction.hi);
    return sum_pair(m, whole.hi, add(m, whole.lo, add(m, fraction.lo, rest)));
}

// 2^(y + low). y in [-152, 129]. 2^r = 1 + r P(r), |r| <= 1/2, error 2^-32.
static int exp2_pair(MapCode *m, int y, int low)
{
    int magic = num(m, 0x1.8p23f), t = add(m, y, magic), r = add(m, sub(m, y, sub(m, t, magic)), low);
    int p = math_poly(m, r, 8,
                      (const float[]){1, 0x1.62e43p-1f, 0x1.ebfbep-3f, 0x1.c6b06ep-5f, 0x1.3b2a5ep-7f, 0x1.5da596p-10f,
                                      0x1.440bbap-13f, 0x1.e091cp-17f});
    // 2^n in two factors, so that denormal results are rounded once and the largest float is reached
    int half = op(m, S_shr, t, map_imm(m, 1));
    int first = op(m, S_iadd, op(m, S_shl, half, map_imm(m, 23)), map_imm(m, ONE));
    int second = op(m, S_iadd, op(m, S_shl, op(m, S_isub, t, half), map_imm(m, 23)), map_imm(m, ONE));
    return mul(m, mul(m, p, first), second);
}

// |a|^b, |a| given.
static int pow_magnitude(MapCode *m, int a, int b)
{
    Pair l = log2_pair(m, a);
    int zero = num(m, 0), inf = num(m, INF);
    int edge = op(m, S_or, equal(m, a, zero), equal(m, a, inf)); // log2: -inf, inf
    int hi = pick(m, edge, pick(m, equal(m, a, zero), num(m, -INF), inf), l.hi);
    hi = pick(m, equal(m, a, a), hi, a);
    int y = mul(m, b, hi);
    int low_end = num(m, -152), high_end = num(m, 129);
    int inside = op(m, S_and, less(m, low_end, y), less(m, y, high_end));
    int rest = fma3(m, b, l.lo, fma3(m, b, hi, negate(m, y)));
    int clamped = pick(m, less(m, y, low_end), low_end, y);
    clamped = pick(m, less(m, high_end, clamped), high_end, clamped);
    return exp2_pair(m, clamped, pick(m, inside, rest, zero));
}

// All ones where b is an integer; *odd: an odd one.
static int is_integer(MapCode *m, int b, int *odd)
{
    int a = magnitude(m, b), half = mul(m, a, num(m, 0.5f)), big = num(m, 0x1p23f);
    int whole = equal(m, sub(m, add(m, a, big), big), a), whole_half = equal(m, sub(m, add(m, half, big), big), half);
    int all = op(m, S_or, whole, op(m, S_fle, big, a));                   // from 2^23 on every float is an integer
    int even = op(m, S_or, whole_half, op(m, S_fle, num(m, 0x1p24f), a)); // and from 2^24 on an even one
    *odd = pick(m, even, num(m, 0), all);
    return all;
}

int math_pow(MapCode *m, int a, int b)
{
    int odd, whole = is_integer(m, b, &odd), one = num(m, 1), zero = num(m, 0);
    int size = magnitude(m, a);
    int y = pow_magnitude(m, size, b);
    y = op(m, S_or, y, op(m, S_and, odd, sign_bit(m, a)));
    int negative = op(m, S_and, less(m, a, zero), less(m, num(m, -INF), a)); // and finite
    y = pick(m, negative, pick(m, whole, y, map_imm(m, 0x7fc00000u)), y);
    int is_one = op(m, S_or, equal(m, b, zero), equal(m, a, one)); // 1, even where the other is NaN
    int minus_one = op(m, S_and, equal(m, a, num(m, -1)), equal(m, magnitude(m, b), num(m, INF)));
    return pick(m, op(m, S_or, is_one, minus_one), one, y);
}
