// Elementary functions in double: the same bits on every host, about one unit in the last place.
//
// Each function reduces its argument to where a short Taylor series serves, keeps the leading terms as a Pair
// (double_pair.h), and rounds once at the end; here exp, log, powers, hyperbolic functions, log Gamma:
//
//   e^x       x = k log 2 + r, |r| <= log(2) / 2; e^r - 1 by its series
//   log x     x = 2^k m, m in [sqrt 1/2, sqrt 2); log m = 2 atanh s, s = (m - 1) / (m + 1)
#include "double_math.h"
#include "double_pair.h"

#include <stdbool.h>

// log 2 = A + B + C: A has 33 bits, so that k A is exact.
static const double LN2_A = 0x1.62e42fef80000p-1, LN2_B = 0x1.1cf79abc9e3b4p-36, LN2_C = -0x1.9ff0342542fc3p-90;
static const double LOG2_E = 0x1.71547652b82fep+0;
static const Pair HALF_LOG_2PI = {0x1.d67f1c864beb5p-1, -0x1.65b5a1b7ff5dfp-55};

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
