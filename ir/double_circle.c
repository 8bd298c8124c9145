// Sine, cosine, tangent and their inverses in double (double_math.h):
//
//   sin, cos  x = q pi/2 + r by the bits of 2/pi that matter (Payne and Hanek), series on |r| <= pi/4
//   angle     of (s, c): a rough one, a, then exactly rotated back by it: tan d = (s cos a - c sin a) / (c cos a + s sin a)
#include "double_math.h"
#include "double_pair.h"

#include <stdbool.h>

static const Pair HALF_PI = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
static const Pair PI = {0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53};

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
