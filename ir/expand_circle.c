// Sine, cosine, tangent and their inverses in the primitive scalar operations (expand_math.c has the others, and says how
// they are written).
#include "expand.h"

typedef struct {
    int sine, cosine; // of r
    int quarter;      // low bits: the number of quarter turns n, x = n pi/2 + r
} Circle;

// sin r = r + r^3 S, cos r = 1 - r^2/2 + r^4 C on |r| <= 0.8, errors 2^-27 and 2^-32.
void math_sincos(MapCode *m, int r, int *sine, int *cosine)
{
    int z = mul(m, r, r);
    int s = POLY(m, z, -0x1.555544p-3f, 0x1.1106aep-7f, -0x1.990f92p-13f);
    int c = POLY(m, z, -0.5f, 0x1.555548p-5f, -0x1.6c0af4p-10f, 0x1.99911cp-16f);
    *sine = fma3(m, mul(m, r, z), s, r);
    *cosine = fma3(m, z, c, num(m, 1));
}

// pi/2 in three floats; the first product cancels exactly up to |n| < 2^22. Above that r is only kept in [-1, 1], so
// that the results stay finite.
static Circle circle(MapCode *m, int x)
{
    int t = fma3(m, x, num(m, 0x1.45f306p-1f), num(m, MAGIC)), n = sub(m, t, num(m, MAGIC));
    int r = fma3(m, n, num(m, 0x1.777a5cp-25f), fma3(m, n, num(m, -0x1.921fb6p+0f), x));
    Circle c = {.quarter = t};
    math_sincos(m, at_most(m, at_least(m, fma3(m, n, num(m, 0x1.ee59dap-50f), r), -1), 1), &c.sine, &c.cosine);
    return c;
}

static int odd_quarter(MapCode *m, int quarter)
{
    int one = map_imm(m, 1);
    return map_op(m, S_ieq, map_op(m, S_and, quarter, one, 0), one, 0);
}

// The sign bit of sin: bit 1 of the number of quarter turns.
static int half_turn_sign(MapCode *m, int quarter) { return sign_bit(m, shift_left(m, quarter, 30)); }

int math_sin(MapCode *m, int x)
{
    Circle c = circle(m, magnitude(m, x));
    int v = pick(m, odd_quarter(m, c.quarter), c.cosine, c.sine);
    int sign = map_op(m, S_xor, half_turn_sign(m, c.quarter), sign_bit(m, x), 0);
    return map_op(m, S_xor, v, sign, 0);
}

int math_cos(MapCode *m, int x)
{
    Circle c = circle(m, magnitude(m, x));
    int v = pick(m, odd_quarter(m, c.quarter), c.sine, c.cosine);
    return map_op(m, S_xor, v, half_turn_sign(m, add_word(m, c.quarter, 1)), 0);
}

// sin / cos; after an odd number of quarter turns -cos / sin.
int math_tan(MapCode *m, int x)
{
    Circle c = circle(m, magnitude(m, x));
    int odd = odd_quarter(m, c.quarter);
    int v = divide(m, pick(m, odd, c.cosine, c.sine), pick(m, odd, c.sine, c.cosine));
    int sign = map_op(m, S_xor, shift_left(m, c.quarter, 31), sign_bit(m, x), 0);
    return map_op(m, S_xor, v, sign, 0);
}

// a > 1: pi/2 - atan(1/a). atan t = t + t^3 A(t^2), t <= 1, error 2^-28.
int math_atan(MapCode *m, int x)
{
    int a = magnitude(m, x), over = less(m, num(m, 1), a);
    int t = divide(m, pick(m, over, num(m, -1), a), pick(m, over, a, num(m, 1)));
    int z = mul(m, t, t);
    int p = POLY(m, z, -0x1.55553ep-2f, 0x1.9991e4p-3f, -0x1.242086p-3f, 0x1.c08c48p-4f, -0x1.5808d4p-4f,
                 0x1.da27dap-5f, -0x1.fd76fep-6f, 0x1.641b1cp-7f, -0x1.d347dcp-10f);
    int base = pick(m, over, num(m, 0x1.921fb6p+0f), num(m, 0)),
        low = pick(m, over, num(m, -0x1.777a5cp-25f), num(m, 0));
    int y = add(m, base, add(m, fma3(m, mul(m, t, z), p, low), t));
    return with_sign(m, y, sign_bit(m, x));
}

typedef struct {
    int big;   // |x| > 1/2
    int angle; // asin |x|, or, where big, asin(sqrt((1 - |x|) / 2)) = acos(|x|) / 2
    int low;   // what `angle` lacks
} Arc;

// asin s = s + s^3 P(s^2), s <= 1/2, error 2^-27. The root's rounding error goes to `low`.
static Arc arc(MapCode *m, int a)
{
    int big = less(m, num(m, 0.5f), a);
    int z = pick(m, big, fma3(m, a, num(m, -0.5f), num(m, 0.5f)), mul(m, a, a));
    int root = map_op(m, S_fsqrt, z, 0, 0), s = pick(m, big, root, a);
    int p = POLY(m, z, 0x1.5555c8p-3f, 0x1.3301fcp-4f, 0x1.747d04p-5f, 0x1.8c2dacp-6f, 0x1.596d3p-5f);
    int rest = divide(m, fma3(m, negate(m, root), root, z), add(m, root, root));
    int known = map_op(m, S_and, big, less(m, num(m, 0), root), 0);
    int tail = fma3(m, mul(m, s, z), p, pick(m, known, rest, num(m, 0)));
    int angle = add(m, s, tail);
    return (Arc){big, angle, add(m, sub(m, s, angle), tail)};
}

int math_asin(MapCode *m, int x)
{
    Arc c = arc(m, magnitude(m, x));
    int rest = fma3(m, c.low, num(m, -2), num(m, -0x1.777a5cp-25f));
    int turned = add(m, fma3(m, c.angle, num(m, -2), num(m, 0x1.921fb6p+0f)), rest);
    return with_sign(m, pick(m, c.big, turned, c.angle), sign_bit(m, x));
}

// big and x < 0: pi - 2 angle; big: 2 angle; else pi/2 - asin x.
int math_acos(MapCode *m, int x)
{
    Arc c = arc(m, magnitude(m, x));
    int negative = less(m, x, num(m, 0)), twice = add(m, c.angle, c.angle);
    int signed_angle = map_op(m, S_xor, c.angle, sign_bit(m, x), 0),
        signed_low = map_op(m, S_xor, c.low, sign_bit(m, x), 0);
    int middle = sub(m, num(m, 0x1.921fb6p+0f), add(m, signed_angle, add(m, signed_low, num(m, 0x1.777a5cp-25f))));
    int left = sub(m, num(m, 0x1.921fb6p+1f), add(m, twice, num(m, 0x1.777a5cp-24f)));
    return pick(m, c.big, pick(m, negative, left, twice), middle);
}
