// Elementary functions in double: the same bits on every host, about one unit in the last place.
//
// A Pair is a number as an unevaluated sum hi + lo, |lo| <= half a unit of hi: about 106 bits. Sums and products of two
// doubles are exact Pairs (Knuth; Dekker with Veltkamp's split), so nothing here depends on fused operations, which the
// build forbids anyway. Each function reduces its argument to where a short Taylor series serves, keeps the leading
// terms as a Pair, and rounds once at the end:
//
//   e^x       x = k log 2 + r, |r| <= log(2) / 2; e^r - 1 by its series
//   log x     x = 2^k m, m in [sqrt 1/2, sqrt 2); log m = 2 atanh s, s = (m - 1) / (m + 1)
//   sin, cos  x = q pi/2 + r by the bits of 2/pi that matter (Payne and Hanek), series on |r| <= pi/4
//   angle     of (s, c): a rough one, a, then exactly rotated back by it: tan d = (s cos a - c sin a) / (c cos a + s sin a)
//   erf       Taylor series around the nearest quarter; its inverse by Newton steps on the same series
#include "double_math.h"
#include "float_bits.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    double hi, lo;
} Pair;

// log 2 = A + B + C: A has 33 bits, so that k A is exact.
static const double LN2_A = 0x1.62e42fef80000p-1, LN2_B = 0x1.1cf79abc9e3b4p-36, LN2_C = -0x1.9ff0342542fc3p-90;
static const double LOG2_E = 0x1.71547652b82fep+0;
static const Pair HALF_PI = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
static const Pair PI = {0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53};
static const Pair ERF_1 = {0x1.20dd750429b6dp+0, 0x1.1ae3a914fed80p-56}; // 2 / sqrt pi
static const Pair HALF_LOG_2PI = {0x1.d67f1c864beb5p-1, -0x1.65b5a1b7ff5dfp-55};

// ---- pairs

static Pair ordered_sum(double a, double b) // |a| >= |b| or a = 0
{
    double s = a + b;
    return (Pair){s, b - (s - a)};
}

static Pair exact_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (Pair){s, (a - (s - t)) + (b - t)};
}

static Pair exact_product(double a, double b)
{
    double s = 0x1p27 + 1, p = a * b;
    double ah = a * s - (a * s - a), bh = b * s - (b * s - b), al = a - ah, bl = b - bh;
    return (Pair){p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

static Pair add(Pair a, Pair b)
{
    Pair s = exact_sum(a.hi, b.hi);
    return ordered_sum(s.hi, s.lo + (a.lo + b.lo));
}

static Pair mul(Pair a, Pair b)
{
    Pair p = exact_product(a.hi, b.hi);
    return ordered_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static Pair quotient(Pair a, Pair b)
{
    double q = a.hi / b.hi;
    Pair p = exact_product(q, b.hi);
    return ordered_sum(q, (((a.hi - p.hi) - p.lo) + (a.lo - q * b.lo)) / b.hi);
}

static Pair root(Pair a)
{
    double s = sqrt(a.hi);
    if (!(s > 0)) return (Pair){s, 0};
    Pair p = exact_product(s, s);
    return ordered_sum(s, (((a.hi - p.hi) - p.lo) + a.lo) / (2 * s));
}

static Pair one(double x) { return (Pair){x, 0}; }
static Pair negative(Pair a) { return (Pair){-a.hi, -a.lo}; }
static Pair times(Pair a, double power_of_2) { return (Pair){a.hi * power_of_2, a.lo * power_of_2}; }
static double rounded(Pair a) { return a.hi + a.lo; }

static double power_of_2(int k) { return double_of((uint64_t)(k + 1023) << 52); } // -1022 <= k <= 1023

static double scaled(double x, int k) // |k| <= 2044; one rounding, x being a normal number
{
    return x * power_of_2(k / 2) * power_of_2(k - k / 2);
}

// a[0] + x (a[1] + x (a[2] + ...))
static double horner(double x, const double *a, int n)
{
    double s = a[n - 1];
    for (int i = n - 2; i >= 0; i--) s = a[i] + x * s;
    return s;
}

// ---- e^x

// e^(x.hi + x.lo) = 2^k (1 + the result), |x| below 1000.
static Pair exp_reduced(Pair x, int *k)
{
    static const double SERIES[] = {1. / 2,         1. / 6,          1. / 24,         1. / 120,     1. / 720,
                                    1. / 5040,      1. / 40320,      1. / 362880,     1. / 3628800, 1. / 39916800,
                                    1. / 479001600, 1. / 6227020800, 1. / 87178291200};
    double n = floor(x.hi * LOG2_E + 0.5);
    Pair r = exact_sum(x.hi - n * LN2_A, x.lo - n * LN2_B);
    double p = r.hi * r.hi * horner(r.hi, SERIES, 13);
    *k = (int)n;
    return ordered_sum(r.hi, p + (r.lo + r.hi * r.lo));
}

static double exp_of(Pair x)
{
    int k;
    if (isnan(x.hi)) return x.hi;
    if (x.hi > 710) return INFINITY;
    if (x.hi < -746) return 0;
    Pair t = exp_reduced(x, &k), s = ordered_sum(1, t.hi);
    return scaled(s.hi + (s.lo + t.lo), k);
}

// e^x and e^x - 1 as Pairs, |x| <= 700.
static Pair exp_pair(double x)
{
    int k;
    Pair t = exp_reduced(one(x), &k);
    return times(add(one(1), t), power_of_2(k));
}

static Pair expm1_pair(double x)
{
    int k;
    Pair t = exp_reduced(one(x), &k);
    double m = power_of_2(k);
    return k ? add(exact_sum(m, -1), times(t, m)) : t;
}

double double_exp(double x) { return exp_of(one(x)); }

double double_expm1(double x)
{
    if (fabs(x) < 0x1p-54 || isnan(x)) return x;
    if (x < -40) return -1;
    return x > 700 ? double_exp(x) : rounded(expm1_pair(x));
}

// ---- log

// 2 atanh s, |s| <= 0.172: 2 s (1 + z/3 + z^2/5 + ...), z = s^2.
static Pair twice_atanh(Pair s)
{
    static const double SERIES[] = {1. / 7,  1. / 9,  1. / 11, 1. / 13, 1. / 15, 1. / 17,
                                    1. / 19, 1. / 21, 1. / 23, 1. / 25, 1. / 27};
    Pair z = mul(s, s), zz = mul(z, z);
    Pair c = add(quotient(z, one(3)), quotient(zz, one(5)));
    c = add(c, one(zz.hi * z.hi * horner(z.hi, SERIES, 11)));
    return times(add(s, mul(s, c)), 2);
}

// log of a positive finite Pair.
static Pair log_pair(Pair x)
{
    int k = 0;
    if (x.hi < 0x1p-1000) x = times(x, 0x1p200), k = -200;
    int e = (int)(bits_of(x.hi) >> 52) - 1023;
    double down = e > 1000 ? 0x1p-1000 : 1;
    if (e > 1000) e -= 1000, k += 1000;
    Pair m = times(times(x, down), power_of_2(-e));
    k += e;
    if (m.hi > 1.4142135623730951) m = times(m, 0.5), k++;
    Pair l = twice_atanh(quotient(add(m, one(-1)), add(m, one(1))));
    if (!k) return l;
    Pair low = exact_product(k, LN2_B);
    low.lo += k * LN2_C;
    return add(add(one(k * LN2_A), low), l);
}

double double_log(double x)
{
    if (x == 0) return -INFINITY;
    if (x < 0) return NAN;
    return !(x < INFINITY) ? x : rounded(log_pair(one(x)));
}

double double_log1p(double x)
{
    if (fabs(x) < 0x1p-54 || isnan(x)) return x;
    if (x <= -1) return x == -1 ? -INFINITY : NAN;
    return x == INFINITY ? x : rounded(log_pair(exact_sum(1, x)));
}

// ---- powers

static bool is_whole(double y) { return floor(y) == y; }
static bool is_odd(double y) { return is_whole(y) && fabs(y) < 0x1p53 && floor(y / 2) * 2 != y; }

// x is 0 or infinite, y is not 0 nor NaN.
static double pow_of_end(double x, double y)
{
    double size = (x == 0) == (y < 0) ? INFINITY : 0;
    return is_odd(y) && signbit(x) ? -size : size;
}

double double_pow(double x, double y)
{
    if (y == 0 || x == 1) return 1;
    if (isnan(x) || isnan(y)) return NAN;
    if (isinf(y)) return x == -1 ? 1 : (fabs(x) > 1) == (y > 0) ? INFINITY : 0;
    if (x == 0 || isinf(x)) return pow_of_end(x, y);
    if (x < 0 && !is_whole(y)) return NAN;
    double sign = x < 0 && is_odd(y) ? -1 : 1;
    Pair l = log_pair(one(fabs(x)));
    if (fabs(y) > 0x1p70) return l.hi == 0 ? sign : sign * ((l.hi > 0) == (y > 0) ? INFINITY : 0);
    return sign * exp_of(mul(l, one(y)));
}

// ---- sine and cosine

// 2/pi = 0.b1 b2 b3...: bit i stands at position 63 + i, behind 64 zero bits.
static const uint64_t TWO_OVER_PI[] = {
    0x0,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
    0xf0cfbc209af4361d,
    0xa9e391615ee61b08,
};

static uint64_t bits_from(int position)
{
    int word = position / 64, shift = position % 64;
    uint64_t high = TWO_OVER_PI[word] << shift;
    return shift ? high | TWO_OVER_PI[word + 1] >> (64 - shift) : high;
}

// A fraction of 128 bits, f / 2^128, as a Pair.
static Pair fraction(unsigned __int128 f)
{
    if (!f) return one(0);
    int shift = 0;
    while (!(f >> 127)) f <<= 1, shift++;
    double top = (double)(uint64_t)(f >> 75), next = (double)(uint64_t)(f >> 22 & (((uint64_t)1 << 53) - 1));
    return ordered_sum(scaled(top, -53 - shift), scaled(next, -106 - shift));
}

// x = q pi/2 + r, |r| <= pi/4: r; q modulo 4.
static Pair reduced_angle(double x, int *q)
{
    *q = 0;
    if (fabs(x) <= 0.7853981633974483) return one(x);
    uint64_t u = bits_of(fabs(x)), m = (u & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
    int e = (int)(u >> 52) - 1075; // |x| = m 2^e; the bits of 2/pi up to number e - 2 give multiples of 4
    int at = e - 1 + 63;
    uint64_t w2 = bits_from(at), w1 = bits_from(at + 64), w0 = bits_from(at + 128);
    unsigned __int128 p0 = (unsigned __int128)m * w0, p1 = (unsigned __int128)m * w1 + (p0 >> 64);
    uint64_t p2 = m * w2 + (uint64_t)(p1 >> 64);
    unsigned __int128 f = (unsigned __int128)p2 << 66 | (unsigned __int128)(uint64_t)p1 << 2 | (uint64_t)p0 >> 62;
    int quarter = (int)(p2 >> 62);
    bool up = f >> 127;
    Pair r = fraction(up ? -f : f);
    if (up) r = negative(r), quarter++;
    r = mul(r, HALF_PI);
    *q = (x < 0 ? -quarter : quarter) & 3;
    return x < 0 ? negative(r) : r;
}

static Pair sin_series(Pair r)
{
    static const double SERIES[] = {-1. / 6,        1. / 120,        -1. / 5040,          1. / 362880,
                                    -1. / 39916800, 1. / 6227020800, -1. / 1307674368000, 1. / 355687428096000};
    double z = r.hi * r.hi;
    return ordered_sum(r.hi, r.lo * (1 - z / 2) + r.hi * (z * horner(z, SERIES, 8)));
}

static Pair cos_series(Pair r)
{
    static const double SERIES[] = {1. / 24,        -1. / 720,         1. / 40320,           -1. / 3628800,
                                    1. / 479001600, -1. / 87178291200, 1. / 20922789888000., -1. / 6402373705728000.};
    Pair z = exact_product(r.hi, r.hi), c = ordered_sum(1, -z.hi / 2);
    return ordered_sum(c.hi, c.lo + (z.hi * z.hi * horner(z.hi, SERIES, 8) - (z.lo / 2 + r.hi * r.lo)));
}

static void sin_and_cos(double x, Pair *s, Pair *c)
{
    int q;
    Pair r = reduced_angle(x, &q), a = sin_series(r), b = cos_series(r);
    *s = q & 1 ? b : a;
    *c = q & 1 ? a : b;
    if (q & 2) *s = negative(*s);
    if (q == 1 || q == 2) *c = negative(*c);
}

double double_sin(double x)
{
    Pair s, c;
    if (fabs(x) < 0x1p-27) return x;
    if (!isfinite(x)) return NAN;
    sin_and_cos(x, &s, &c);
    return rounded(s);
}

double double_cos(double x)
{
    Pair s, c;
    if (!isfinite(x)) return NAN;
    sin_and_cos(x, &s, &c);
    return rounded(c);
}

double double_tan(double x)
{
    Pair s, c;
    if (fabs(x) < 0x1p-28) return x;
    if (!isfinite(x)) return NAN;
    sin_and_cos(x, &s, &c);
    return rounded(quotient(s, c));
}

// ---- angles

// The angle of (c, s) in the first quadrant, each a Pair of 0 or more, not both 0.
static Pair angle(Pair s, Pair c)
{
    bool steep = s.hi > c.hi;
    double t = steep ? c.hi / s.hi : s.hi / c.hi;
    double a = t * (0.7853981633974483 + 0.273 * (1 - t)); // within 0.004
    if (steep) a = HALF_PI.hi - a;
    Pair sum = one(a);
    for (int i = 0; i < 2; i++) { // a step leaves d^7 / 7, then nothing
        Pair sa, ca;
        sin_and_cos(a, &sa, &ca);
        Pair d = quotient(add(mul(s, ca), negative(mul(c, sa))), add(mul(c, ca), mul(s, sa)));
        double z = d.hi * d.hi;
        sum = add(one(a), one(d.hi - d.hi * z * (1. / 3 - z / 5)));
        a = rounded(sum);
    }
    return sum;
}

double double_atan(double x)
{
    if (fabs(x) < 0x1p-27 || isnan(x)) return x;
    double a = fabs(x) > 0x1p60 ? HALF_PI.hi : rounded(angle(one(fabs(x)), one(1)));
    return copysign(a, x);
}

// sqrt(1 - x^2)
static Pair other_side(double x) { return root(mul(exact_sum(1, x), exact_sum(1, -x))); }

double double_asin(double x)
{
    if (fabs(x) < 0x1p-27) return x;
    if (!(fabs(x) <= 1)) return NAN;
    return copysign(rounded(angle(one(fabs(x)), other_side(x))), x);
}

double double_acos(double x)
{
    if (!(fabs(x) <= 1)) return NAN;
    if (x == 1) return 0;
    Pair a = angle(other_side(x), one(fabs(x)));
    return rounded(x < 0 ? add(PI, negative(a)) : a);
}

// ---- hyperbolic functions

// e^a / 2, a > 40
static double half_exp(double a)
{
    Pair h = exp_pair(a / 2);
    double rough = 0.5 * h.hi * h.hi;
    return rough < INFINITY ? rounded(mul(times(h, 0.5), h)) : rough;
}

double double_sinh(double x)
{
    double a = fabs(x);
    if (a < 0x1p-27 || !isfinite(x)) return x;
    if (a > 711) return copysign(INFINITY, x);
    if (a > 40) return copysign(half_exp(a), x);
    Pair t = expm1_pair(a);
    return copysign(rounded(times(add(t, quotient(t, add(one(1), t))), 0.5)), x);
}

double double_cosh(double x)
{
    double a = fabs(x);
    if (!isfinite(x)) return a;
    if (a > 711) return INFINITY;
    if (a > 40) return half_exp(a);
    Pair e = exp_pair(a);
    return rounded(times(add(e, quotient(one(1), e)), 0.5));
}

double double_tanh(double x)
{
    if (fabs(x) < 0x1p-27 || isnan(x)) return x;
    if (fabs(x) > 20) return copysign(1, x);
    Pair t = expm1_pair(2 * fabs(x));
    return copysign(rounded(quotient(t, add(t, one(2)))), x);
}

// log(1 + a)
static double log_of_1_plus(Pair a) { return rounded(log_pair(add(one(1), a))); }

double double_asinh(double x)
{
    double a = fabs(x);
    if (a < 0x1p-27 || !isfinite(x)) return x;
    if (a > 0x1p60) return copysign(rounded(log_pair(one(a / 2))) + rounded(times(log_pair(one(2)), 2)), x);
    Pair z = exact_product(a, a), under = root(add(one(1), z)); // a + a^2 / (1 + sqrt(1 + a^2))
    return copysign(log_of_1_plus(add(one(a), quotient(z, add(one(1), under)))), x);
}

double double_acosh(double x)
{
    if (!(x >= 1)) return NAN;
    if (x > 0x1p60) return x == INFINITY ? x : rounded(add(log_pair(one(x / 2)), times(log_pair(one(2)), 2)));
    Pair t = exact_sum(x, -1); // t + sqrt(t (t + 2))
    return log_of_1_plus(add(t, root(mul(t, add(t, one(2))))));
}

double double_atanh(double x)
{
    double a = fabs(x);
    if (a < 0x1p-27 || isnan(x)) return x;
    if (a >= 1) return a == 1 ? copysign(INFINITY, x) : NAN;
    Pair l = a < 0.17 ? twice_atanh(one(a)) : log_pair(quotient(exact_sum(1, a), exact_sum(1, -a)));
    return copysign(rounded(times(l, 0.5)), x);
}

// ---- error function

// At c = i / 4: erf c as a Pair, and its slope 2 / sqrt(pi) e^(-c^2).
static const struct {
    double hi, lo, slope;
} ERF_AT[] = {
    {0x0.0p+0, 0x0.0p+0, 0x1.20dd750429b6dp+0},
    {0x1.1af54e232d609p-2, -0x1.bee921fa4172bp-56, 0x1.0f5d1602f7e41p+0},
    {0x1.0a7ef5c18edd2p-1, 0x1.5e809f1a31a28p-56, 0x1.c1efca49a5011p-1},
    {0x1.6c1c9759d0e5fp-1, 0x1.b1432f2cbc455p-55, 0x1.492e42d78d2c5p-1},
    {0x1.af767a741088bp-1, -0x1.c97f778122797p-56, 0x1.a911f096fbc26p-2},
    {0x1.d8865d98abe01p-1, -0x1.fcec4afb974d9p-55, 0x1.e4652fadcb6b2p-3},
    {0x1.eea5557137ae0p-1, -0x1.385e445f2c96dp-55, 0x1.e723726b824a9p-4},
    {0x1.f92d077f8d56dp-1, 0x1.8b55ef493fce7p-56, 0x1.b055303221015p-5},
    {0x1.fd9ae142795e3p-1, 0x1.972801904b9a3p-56, 0x1.529b9e8cf9a1ep-6},
    {0x1.ff404760319b4p-1, 0x1.f142071432025p-56, 0x1.d4143a9dfe965p-8},
    {0x1.ffcaa8f4c9beap-1, 0x1.b0cee160116f9p-55, 0x1.1d83170fbf6fbp-9},
    {0x1.fff2cfb0453d9p-1, 0x1.9a913686042a3p-55, 0x1.3360ccd23db3ap-11},
    {0x1.fffd1ac4135f9p-1, 0x1.eeafa1ecd6cefp-55, 0x1.2408e9ba3327fp-13},
    {0x1.ffff6f9f67e55p-1, 0x1.e1e4483ba034bp-55, 0x1.e9b5e8d00ce77p-16},
    {0x1.ffffe710d565ep-1, 0x1.c9ea52d76dc04p-55, 0x1.6a597219a93dap-18},
    {0x1.fffffc2f171e3p-1, 0x1.85edd0395f475p-55, 0x1.d9371e2ff7c35p-21},
    {0x1.ffffff7b91176p-1, 0x1.0b2865615db40p-56, 0x1.10b1488aeb235p-23},
    {0x1.fffffff01a8b6p-1, 0x1.23370eca5ca6ap-60, 0x1.155a09065d4f7p-26},
    {0x1.fffffffe4fa30p-1, 0x1.d166bcb681c7bp-57, 0x1.f1e3523b41d7dp-30},
    {0x1.ffffffffd759dp-1, 0x1.f7bee7eb23420p-55, 0x1.8a61745ec7d1dp-33},
    {0x1.fffffffffc9e8p-1, -0x1.a759f7738935fp-56, 0x1.13af4f04f9998p-36},
    {0x1.ffffffffffc05p-1, 0x1.07ba96a6b2e1ap-55, 0x1.5422ef5d8949dp-40},
    {0x1.fffffffffffbep-1, -0x1.182b326b228dcp-55, 0x1.7258610b3b233p-44},
    {0x1.ffffffffffffcp-1, 0x1.8115fd1b12786p-56, 0x1.63daf8b4b1e0cp-48},
    {0x1.0000000000000p+0, -0x1.8cf81557d20b6p-56, 0x1.2dc119095729fp-52},
};

// erf(c + h) = erf c + slope (h + t1 h^2 / 2 + t2 h^3 / 3 + ...), t the series of e^(-2 c h - h^2). What slope
// multiplies:
static double erf_rise(double c, double h)
{
    double before = 0, t = 1, power = h, sum = 0;
    for (int n = 1; n < 20; n++) {
        double next = -2 * (c * t + before) / n;
        before = t;
        t = next;
        power *= h;
        sum += t * power / (n + 1);
    }
    return h + sum;
}

static double erf_near(int i, double h)
{
    return ERF_AT[i].hi + (ERF_AT[i].lo + ERF_AT[i].slope * erf_rise(i * 0.25, h));
}

double double_erf(double x)
{
    double a = fabs(x);
    if (isnan(x) || x == 0) return x;
    if (a >= 6) return copysign(1, x);
    int i = (int)(a * 4 + 0.5);
    if (i) return copysign(erf_near(i, a - i * 0.25), x);
    double z = x * x, s = 0, fact = 1; // x (1 - z / 3 + z^2 / 10 - z^3 / 42 + ...)
    for (int n = 1; n < 12; n++) {
        fact *= -z / n;
        s += fact / (2 * n + 1);
    }
    Pair first = exact_product(x, ERF_1.hi);
    return first.hi + (first.lo + x * ERF_1.lo + first.hi * s);
}

// h at which erf(i / 4 + h) = a. Only the difference from erf(i / 4) counts, so that nothing is lost near 1.
static double erf_step(int i, double a)
{
    double c = i * 0.25, rise = ((a - ERF_AT[i].hi) - ERF_AT[i].lo) / ERF_AT[i].slope;
    double h = i ? -double_log1p(-2 * c * rise) / (2 * c) : rise; // right but for h^2 in the exponent
    for (int n = 0; n < 5; n++) h -= (erf_rise(c, h) - rise) / double_exp(-h * (2 * c + h));
    return h;
}

double double_erfinv(double x)
{
    double a = fabs(x);
    if (isnan(x) || x == 0) return x;
    if (a >= 1) return a == 1 ? copysign(INFINITY, x) : NAN;
    int i = 0;
    while (ERF_AT[i + 1].hi <= a) i++;
    double h = erf_step(i, a);
    if (h > 0.125) h = erf_step(++i, a);
    return copysign(i * 0.25 + h, x);
}

// Eight at a time, each by the operations of erf_near in its order, so that divisions do not wait for each other.
enum { VECTORS = 2, SIDE = 4 };
typedef double Four __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))

INLINE void erf_block(const double *x, double *out)
{
    Four c[VECTORS], h[VECTORS], before[VECTORS] = {0}, t[VECTORS], power[VECTORS], sum[VECTORS] = {0};
    int at[VECTORS][SIDE]; // 0: near zero, far out, or NaN
    for (int v = 0; v < VECTORS; v++)
        for (int s = 0; s < SIDE; s++) {
            double a = fabs(x[v * SIDE + s]);
            at[v][s] = a < 6 ? (int)(a * 4 + 0.5) : 0;
            c[v][s] = at[v][s] * 0.25;
            h[v][s] = a - c[v][s];
            t[v][s] = 1;
        }
    for (int v = 0; v < VECTORS; v++) power[v] = h[v];
    for (int n = 1; n < 20; n++)
        for (int v = 0; v < VECTORS; v++) {
            Four next = -2 * (c[v] * t[v] + before[v]) / n;
            before[v] = t[v];
            t[v] = next;
            power[v] *= h[v];
            sum[v] += t[v] * power[v] / (n + 1);
        }
    for (int i = 0; i < VECTORS * SIDE; i++) {
        int k = at[i / SIDE][i % SIDE];
        double near = h[i / SIDE][i % SIDE] + sum[i / SIDE][i % SIDE];
        out[i] = k ? copysign(ERF_AT[k].hi + (ERF_AT[k].lo + ERF_AT[k].slope * near), x[i]) : double_erf(x[i]);
    }
}

INLINE void erf_all(const double *x, double *out, size_t n)
{
    size_t i = 0;
    for (; i + VECTORS * SIDE <= n; i += VECTORS * SIDE) erf_block(x + i, out + i);
    for (; i < n; i++) out[i] = double_erf(x[i]);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void erf_avx2(const double *x, double *out, size_t n) { erf_all(x, out, n); }
#endif

void double_erf_many(const double *x, double *out, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        erf_avx2(x, out, n);
        return;
    }
#endif
    erf_all(x, out, n);
}

// ---- log Gamma, for the normaliser of Student's t: Stirling's series behind x = 16

double double_log_gamma(double x)
{
    static const double SERIES[] = {1. / 12, -1. / 360, 1. / 1260, -1. / 1680, 1. / 1188, -691. / 360360, 1. / 156};
    Pair product = one(1), y = one(x);
    for (int n = 1; y.hi < 16; n++) {
        product = mul(product, y);
        y = exact_sum(x, n);
    }
    Pair main = mul(log_pair(y), add(y, one(-0.5)));
    Pair rest = add(add(negative(y), HALF_LOG_2PI), one(horner(1 / (y.hi * y.hi), SERIES, 7) / y.hi));
    return rounded(add(add(main, rest), negative(log_pair(product))));
}
