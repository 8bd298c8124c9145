// Every elementwise op of the IR in the primitive scalar operations of scalar.def. Accuracy is decided here, once,
// for all targets; MATH.md has the measured errors.
//
// Each function works on value numbers of the map under construction: `int y = add(m, a, b)` appends the addition
// and y names its result. There are no branches, only `pick` (select), and no float-to-integer conversions: adding
// MAGIC = 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum.
//
// Polynomials are minimax fits of the remainder after the exactly known leading terms, with coefficients rounded to
// f32 one by one, lowest order first, the rest refitted each time. Errors given below are those of the rounded
// polynomial, relative to the function.
#include "expand.h"

enum { COUNT_BITS = 23 };
#define LN2 0x1.62e43p-1f // ln 2 - LN2 = LN2_LOW; LN2 is lucky: it is right to 28 bits
#define LN2_LOW (-0x1.05c61p-29f)

// c[0] + c[1] x + ...
int math_poly(MapCode *m, int x, int n, const float *c)
{
    int p = num(m, c[n - 1]);
    for (int i = n - 2; i >= 0; i--) p = fma3(m, p, x, num(m, c[i]));
    return p;
}

// ---- exponentials
typedef struct {
    int q, scale; // e^x = 2^n (1 + q), 2^(n + k)
} Exp;
typedef enum { FULL, SHORT } Reduction;

// What makes a sum's lowest bits the exponent of 2^(n + k); n + k in [-126, 127].
static int magic(MapCode *m, int k) { return num(m, MAGIC + 127 + (float)k); }

// x = n ln 2 + r, |r| <= ln 2 / 2, q = e^r - 1; |x| < 1000. Error of the polynomial: 2^-26. SHORT leaves out
// LN2_LOW, which moves r by 2^-29 n: enough where the result is e^x - 1 and x <= 0, since that counts 2^n.
static Exp exp_parts(MapCode *m, int x, int magic_k, Reduction how)
{
    int t = fma3(m, x, num(m, 0x1.715476p+0f), magic_k), n = sub(m, t, magic_k);
    int r = fma3(m, n, num(m, -LN2), x);
    if (how == FULL) r = fma3(m, n, num(m, -LN2_LOW), r);
    int p = POLY(m, r, 0x1.fffffep-2f, 0x1.5554aap-3f, 0x1.55579ap-5f, 0x1.122c96p-7f, 0x1.6ab6b6p-10f);
    return (Exp){fma3(m, mul(m, r, r), p, r), shift_left(m, t, COUNT_BITS)};
}

// e^x 2^k, rounded once.
static int exp_scaled(MapCode *m, Exp e) { return fma3(m, e.scale, e.q, e.scale); }

// n spans [-150, 128]: no one power of two does. Negative x goes by 2^64, other x by 2^-64, and back.
static int exp_(MapCode *m, int x)
{
    int down = less(m, x, num(m, 0)), k = pick(m, down, magic(m, 64), magic(m, -64));
    int y = exp_scaled(m, exp_parts(m, at_most(m, at_least(m, x, -104), 89), k, FULL));
    return mul(m, y, pick(m, down, num(m, 0x1p-64f), num(m, 0x1p64f)));
}

static int exp_of_minus_magnitude(MapCode *m, int x)
{
    int low = at_least(m, with_sign(m, x, map_imm(m, SIGN)), -104);
    return mul(m, exp_scaled(m, exp_parts(m, low, magic(m, 64), FULL)), num(m, 0x1p-64f));
}

// e^x - 1 for x in [-20, 0]: 2^n q + (2^n - 1), rounded once.
static int expm1_below(MapCode *m, int x)
{
    Exp e = exp_parts(m, x, magic(m, 0), SHORT);
    return fma3(m, e.scale, e.q, sub(m, e.scale, num(m, 1)));
}

// For all x. Up to 88.8 e^x needs 2^128: half of it is computed, and doubled. Near 0 the result is x.
static int expm1_(MapCode *m, int x)
{
    Exp e = exp_parts(m, at_most(m, at_least(m, x, -20), 89), magic(m, -1), FULL);
    int h = fma3(m, e.scale, e.q, sub(m, e.scale, num(m, 0.5f)));
    return pick(m, less(m, magnitude(m, x), num(m, 0x1p-26f)), x, add(m, h, h));
}

// E = e^(-2|x|) - 1: tanh |x| = -E / (2 + E).
static int tanh_(MapCode *m, int x)
{
    int e = expm1_below(m, at_least(m, mul(m, magnitude(m, x), num(m, -2)), -20));
    int v = divide(m, e, add(m, e, num(m, 2)));
    return with_sign(m, magnitude(m, v), sign_bit(m, x));
}

// E = e^-|x|, v = E / (1 + E): 1 - v, or E - E v for negative x. Neither overflows, and v's errors count little.
static int sigmoid_(MapCode *m, int x)
{
    int e = exp_of_minus_magnitude(m, x), first = pick(m, less(m, x, num(m, 0)), e, num(m, 1));
    return fma3(m, first, divide(m, negate(m, e), add(m, e, num(m, 1))), first);
}

// max(x, 0) + log1p(E), E = e^-|x| in (0, 1]. Error of the polynomial for log1p: 2^-27.
static int softplus_(MapCode *m, int x)
{
    int e = exp_of_minus_magnitude(m, x);
    int p = POLY(m, e, -0x1.ffffd2p-2f, 0x1.554dd0p-2f, -0x1.ff2442p-3f, 0x1.935044p-3f, -0x1.3a5c86p-3f,
                 0x1.b52a7ap-4f, -0x1.d7f2dap-5f, 0x1.4abcfp-6f, -0x1.b2b74ep-9f);
    return add(m, at_least(m, x, 0), fma3(m, mul(m, e, e), p, e));
}

// e^|x| / 2, for sinh and cosh; infinite above 89.4.
static int half_exp(MapCode *m, int a)
{
    return mul(m, exp_scaled(m, exp_parts(m, at_most(m, a, 90), magic(m, -64), FULL)), num(m, 0x1p63f));
}

static int cosh_(MapCode *m, int x)
{
    int h = half_exp(m, magnitude(m, x));
    return add(m, h, divide(m, num(m, 0.25f), h));
}

// Below 1: x + x^3 S(x^2), error 2^-31.
static int sinh_(MapCode *m, int x)
{
    int a = magnitude(m, x), h = half_exp(m, a), z = mul(m, a, a);
    int s = POLY(m, z, 0x1.555556p-3f, 0x1.1110ep-7f, 0x1.a022bcp-13f, 0x1.756c1ep-19f);
    int small = fma3(m, mul(m, a, z), s, a), large = sub(m, h, divide(m, num(m, 0.25f), h));
    return with_sign(m, pick(m, less(m, a, num(m, 1)), small, large), sign_bit(m, x));
}

// ---- logarithms
// e ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt 2): f + f^2 (-1/2 + f P(f)). Error of the polynomial: 2^-27.
int math_log_sum(MapCode *m, int e, int f)
{
    int p = POLY(m, f, -0.5f, 0x1.555554p-2f, -0x1.000228p-2f, 0x1.99a038p-3f, -0x1.547214p-3f, 0x1.22d564p-3f,
                 -0x1.0d826cp-3f, 0x1.057e0cp-3f, -0x1.391f74p-4f);
    return fma3(m, e, num(m, LN2), fma3(m, mul(m, f, f), p, f));
}

// y where x > 0, with the limits: -inf at 0, NaN below, inf at inf. NaN stays.
static int log_limits(MapCode *m, int x, int y)
{
    int below = pick(m, equal(m, x, num(m, 0)), num(m, -INF), map_imm(m, 0x7fc00000u));
    return pick(m, less(m, num(m, 0), x), pick(m, less(m, x, num(m, INF)), y, x), below);
}

// x = 2^e (1 + f). Denormals are scaled by 2^23, and the bias of e with them.
static int log_(MapCode *m, int x)
{
    int small = less(m, x, num(m, 0x1p-126f));
    int y = pick(m, small, mul(m, x, num(m, 0x1p23f)), x);
    int bias = pick(m, small, map_imm(m, HALF_ROOT + (23u << COUNT_BITS)), map_imm(m, HALF_ROOT));
    int i = map_op(m, S_isub, y, bias, 0);
    int e = map_op(m, S_i2f, map_op(m, S_sar, i, map_imm(m, COUNT_BITS), 0), 0, 0);
    int fraction = map_op(m, S_and, i, map_imm(m, 0x7fffffu), 0);
    return log_limits(m, x, math_log_sum(m, e, sub(m, add_word(m, fraction, HALF_ROOT), num(m, 1))));
}

// log(1 + x + low), |low| no more than an ulp of x, or low < 0 (none). 1 + x = 2^e (1 + f) gives
// f = x 2^-e + (2^-e - 1) in one rounding: nothing of x is lost. 2^-e may be 2^-128, hence x / 4 and 2^(2-e).
static int log1p_of(MapCode *m, int x, int low)
{
    int i = sub_word(m, add(m, x, num(m, 1)), HALF_ROOT), quarter = num(m, 0.25f);
    int e = map_op(m, S_sar, i, map_imm(m, COUNT_BITS), 0);
    int power = map_op(m, S_isub, num(m, 4), shift_left(m, e, COUNT_BITS), 0);
    int f = fma3(m, mul(m, x, quarter), power, fma3(m, power, quarter, num(m, -1)));
    if (low >= 0) f = fma3(m, mul(m, low, quarter), power, f);
    return math_log_sum(m, map_op(m, S_i2f, e, 0, 0), f);
}

static int log1p_(MapCode *m, int x)
{
    int small = less(m, magnitude(m, x), num(m, 0x1p-26f)); // there log1p x is x, also -0
    int y = log_limits(m, add(m, x, num(m, 1)), log1p_of(m, x, -1));
    return pick(m, small, x, y);
}

// log(a + sqrt(a^2 + c)) for a >= 0 (asinh, c = 1) or a >= 1 (acosh, c = -1), given w + low = a + sqrt(a^2 + c) - 1.
// From 2^30 on it is log 2a, as log1p(a / 16) + 5 log 2, which is also right at infinity.
static int log_of_root_sum(MapCode *m, int a, int w, int low)
{
    int usual = less(m, a, num(m, 0x1p30f));
    int y = log1p_of(m, pick(m, usual, w, mul(m, a, num(m, 0x1p-4f))), pick(m, usual, low, num(m, 0)));
    y = add(m, y, pick(m, usual, num(m, 0), num(m, 5 * LN2)));
    return pick(m, less(m, a, num(m, INF)), y, a);
}

// a + sqrt(a^2 + 1) - 1 = a + a^2 / (1 + sqrt(a^2 + 1)). The sum is kept in two floats.
static int asinh_(MapCode *m, int x)
{
    int a = magnitude(m, x), z = mul(m, a, a);
    int root = map_op(m, S_fsqrt, add(m, z, num(m, 1)), 0, 0);
    int q = divide(m, z, add(m, root, num(m, 1)));
    int w = add(m, a, q), low = add(m, sub(m, a, w), q); // q < a: exact
    int y = with_sign(m, magnitude(m, log_of_root_sum(m, a, w, low)), sign_bit(m, x));
    return pick(m, less(m, a, num(m, 0x1p-13f)), x, y);
}

// t = x - 1: x + sqrt(x^2 - 1) - 1 = t + sqrt(t^2 + 2 t).
static int acosh_(MapCode *m, int x)
{
    int t = sub(m, x, num(m, 1)), v = fma3(m, t, t, add(m, t, t));
    int root = map_op(m, S_fsqrt, v, 0, 0);
    int rest = add(m, fma3(m, t, t, sub(m, add(m, t, t), v)), fma3(m, negate(m, root), root, v));
    int root_low = pick(m, less(m, num(m, 0), root), divide(m, mul(m, rest, num(m, 0.5f)), root), num(m, 0));
    int w = add(m, t, root);
    int larger = less(m, t, root), big = pick(m, larger, root, t), little = pick(m, larger, t, root);
    int low = add(m, add(m, sub(m, big, w), little), root_low);
    int y = log_of_root_sum(m, x, w, low);
    return pick(m, less(m, x, num(m, 1)), map_imm(m, 0x7fc00000u), y);
}

// log1p(2 a / (1 - a)) / 2, the quotient in two floats.
static int atanh_(MapCode *m, int x)
{
    int a = magnitude(m, x), twice = add(m, a, a), d = sub(m, num(m, 1), a);
    int d_low = sub(m, sub(m, num(m, 1), d), a), q = divide(m, twice, d), minus_q = negate(m, q);
    int low = divide(m, fma3(m, minus_q, d_low, fma3(m, minus_q, d, twice)), d);
    int y = mul(m, log1p_of(m, q, low), num(m, 0.5f));
    int edge = pick(m, equal(m, a, num(m, 1)), num(m, INF), map_imm(m, 0x7fc00000u));
    y = with_sign(m, pick(m, less(m, a, num(m, 1)), magnitude(m, y), edge), sign_bit(m, x));
    return pick(m, less(m, a, num(m, 0x1p-13f)), x, y);
}

// log(x / (1 - x)) below 0.35, else log1p((2 x - 1) / (1 - x)): there 2 x - 1 is exact and nothing cancels.
static int logit_(MapCode *m, int x)
{
    int rest = sub(m, num(m, 1), x), t = sub(m, add(m, x, x), num(m, 1));
    int near_zero = log_(m, divide(m, x, rest)), above = log1p_(m, divide(m, t, rest));
    return pick(m, less(m, x, num(m, 0.35f)), near_zero, above);
}

// log(e^x - 1) below 0.35, x + log(1 - e^-x) above 1.4; between, where it passes 0, log1p(2 (e^(x - log 2) - 1)), log 2
// in two floats.
static int softplus_inv(MapCode *m, int x)
{
    int low = less(m, x, num(m, 0.35f)), middle = less(m, x, num(m, 1.4f));
    int d = sub(m, sub(m, x, num(m, LN2)), num(m, LN2_LOW));
    int e = expm1_(m, pick(m, low, x, pick(m, middle, d, negate(m, x))));
    int far = add(m, log_(m, pick(m, low, e, negate(m, e))), pick(m, low, num(m, 0), x));
    return pick(m, low, far, pick(m, middle, log1p_(m, add(m, e, e)), far));
}

// ---- erf
// Below 0.9: x + x E(x^2), error 2^-30. Above: 1 - e^-g(|x|), g = -log erfc, error 2^-28; 1 from 4 on.
static int erf_(MapCode *m, int x)
{
    int a = magnitude(m, x), z = mul(m, x, x), b = at_most(m, a, 4);
    int p = POLY(m, z, 0x1.06eba8p-3f, -0x1.81274p-2f, 0x1.ce2d6p-4f, -0x1.b80062p-6f, 0x1.543f2ap-8f, -0x1.a583bcp-11f,
                 0x1.4d2864p-14f);
    int g = POLY(m, b, -0x1.dce23p-15f, -0x1.20d664p+0f, -0x1.45b46cp-1f, -0x1.ad92e2p-4f, 0x1.73dfe6p-6f,
                 -0x1.9ed52cp-9f, 0x1.b5b03ep-13f);
    int large = with_sign(m, magnitude(m, expm1_below(m, g)), sign_bit(m, x));
    return pick(m, less(m, a, num(m, 0.85f)), fma3(m, x, p, x), large);
}

// x f(w), w = -log(1 - x^2): f = 1 + P(w) below 6.25, error 2^-27, and s + G(s - 3), s = sqrt w, above, error 2^-26.
static int erfinv(MapCode *m, int x)
{
    int a = magnitude(m, x), w = negate(m, log_(m, fma3(m, negate(m, a), a, num(m, 1))));
    int p =
        POLY(m, w, -0x1.d203b6p-4f, 0x1.db29dcp-3f, 0x1.7a8322p-7f, -0x1.32df14p-9f, -0x1.ef9eaap-14f, 0x1.39dce8p-15f,
             0x1.ea9990p-18f, -0x1.896bf4p-19f, 0x1.9e806cp-22f, -0x1.a575d6p-26f, 0x1.5df874p-31f);
    int s = map_op(m, S_fsqrt, w, 0, 0);
    int g = POLY(m, sub(m, s, num(m, 3)), -0x1.561040p-3f, 0x1.b737b2p-10f, 0x1.357826p-7f, -0x1.f55778p-8f,
                 0x1.75e5f6p-8f, -0x1.cde002p-9f, 0x1.656d88p-10f, -0x1.45f4d0p-13f, -0x1.b76deep-15f);
    int large = pick(m, equal(m, a, num(m, 1)), num(m, INF), mul(m, a, add(m, s, g)));
    return with_sign(m, pick(m, less(m, w, num(m, 6.25f)), fma3(m, a, p, a), large), sign_bit(m, x));
}

// ---- rounding
// |x| + 2^23 - 2^23 rounds to nearest even; from 2^23 on every float is an integer. NaN and infinity pass.
static int nearest_magnitude(MapCode *m, int a)
{
    int r = sub(m, add(m, a, num(m, 0x1p23f)), num(m, 0x1p23f));
    return pick(m, less(m, a, num(m, 0x1p23f)), r, a);
}

static int one_where(MapCode *m, int mask) { return map_op(m, S_and, mask, map_imm(m, ONE), 0); }

static int round_(MapCode *m, int x) { return with_sign(m, nearest_magnitude(m, magnitude(m, x)), sign_bit(m, x)); }

static int trunc_(MapCode *m, int x)
{
    int a = magnitude(m, x), r = nearest_magnitude(m, a);
    return with_sign(m, sub(m, r, one_where(m, less(m, a, r))), sign_bit(m, x));
}

static int floor_(MapCode *m, int x)
{
    int r = round_(m, x);
    return sub(m, r, one_where(m, less(m, x, r)));
}

static int ceil_(MapCode *m, int x) // the result of a negative x is -0 or less
{
    int r = round_(m, x);
    return with_sign(m, add(m, r, one_where(m, less(m, r, x))), sign_bit(m, x));
}

// The quotient may have rounded up to an integer; the remainder then has the wrong sign and lacks one |b|.
static int mod_(MapCode *m, int a, int b)
{
    int r = fma3(m, negate(m, floor_(m, divide(m, a, b))), b, a);
    int wrong = less(m, with_sign(m, magnitude(m, r), map_op(m, S_xor, sign_bit(m, r), sign_bit(m, b), 0)), num(m, 0));
    return pick(m, wrong, add(m, r, b), r);
}

static int fmod_(MapCode *m, int a, int b)
{
    int q = trunc_(m, divide(m, a, b)), r = fma3(m, negate(m, q), b, a), sign = sign_bit(m, a);
    int wrong = less(m, map_op(m, S_xor, r, sign, 0), num(m, 0));
    r = pick(m, wrong, add(m, r, with_sign(m, magnitude(m, b), sign)), r);
    r = pick(m, equal(m, q, num(m, 0)), a, r); // also for infinite b
    return with_sign(m, magnitude(m, r), sign);
}

// ---- minimum, maximum, conditions
// `first` ? a : b, and NaN where either is: b passes by itself, as the comparison is then false.
static int choose(MapCode *m, int first, int a, int b)
{
    int v = pick(m, first, a, b);
    return m->code[a].op == S_imm ? v : pick(m, equal(m, a, a), v, a);
}

static int min_(MapCode *m, int a, int b)
{
    if (m->code[b].op == S_imm) return choose(m, map_op(m, S_fle, b, a, 0), b, a); // a passes its NaN for free
    return choose(m, less(m, a, b), a, b);
}

static int max_(MapCode *m, int a, int b)
{
    if (m->code[b].op == S_imm) return choose(m, map_op(m, S_fle, a, b, 0), b, a);
    return choose(m, less(m, b, a), a, b);
}

// A condition made by a comparison of this map is used as the mask it was.
static int select_(MapCode *m, int c, int a, int b)
{
    const ScalarInstr *s = &m->code[c];
    if (s->op == S_and && m->code[s->b].op == S_imm && m->code[s->b].imm == ONE) {
        ScalarOp made = (ScalarOp)m->code[s->a].op;
        if (made == S_flt || made == S_fle || made == S_feq) return pick(m, s->a, a, b);
    }
    return pick(m, equal(m, c, num(m, 0)), b, a);
}

static int sign_(MapCode *m, int x)
{
    int unit = with_sign(m, map_imm(m, ONE), sign_bit(m, x));
    return pick(m, less(m, num(m, 0), magnitude(m, x)), unit, x); // 0 and NaN are their own sign
}

// The larger of x and alpha x, or where alpha > 1 the smaller: to the bit what the sign of x decides, and one operation
// where a CPU has it. Not for alpha 0, where alpha x may be NaN.
static int leaky_relu(MapCode *m, double alpha, int x)
{
    if (alpha == 0) return at_least(m, x, 0);
    int low = mul(m, x, num(m, (float)alpha));
    if ((float)alpha <= 0) return pick(m, less(m, num(m, 0), x), x, low);
    return pick(m, alpha < 1 ? less(m, x, low) : less(m, low, x), low, x);
}

// What the exponential gives for x >= 0 and NaN is not taken, so it need not be right there, nor for -0.
static int elu(MapCode *m, double alpha, int x)
{
    int y = expm1_below(m, at_least(m, x, -20));
    if (alpha != 1) y = mul(m, y, num(m, (float)alpha));
    return pick(m, less(m, x, num(m, 0)), y, x);
}

int expand_op(MapCode *m, Op op, double alpha, int a, int b, int c)
{
    switch (op) {
    case OP_neg: return negate(m, a);
    case OP_abs: return magnitude(m, a);
    case OP_sign: return sign_(m, a);
    case OP_sqrt: return map_op(m, S_fsqrt, a, 0, 0);
    case OP_exp: return exp_(m, a);
    case OP_log: return log_(m, a);
    case OP_log1p: return log1p_(m, a);
    case OP_expm1: return expm1_(m, a);
    case OP_sin: return math_sin(m, a);
    case OP_cos: return math_cos(m, a);
    case OP_tan: return math_tan(m, a);
    case OP_asin: return math_asin(m, a);
    case OP_acos: return math_acos(m, a);
    case OP_atan: return math_atan(m, a);
    case OP_sinh: return sinh_(m, a);
    case OP_cosh: return cosh_(m, a);
    case OP_tanh: return tanh_(m, a);
    case OP_asinh: return asinh_(m, a);
    case OP_acosh: return acosh_(m, a);
    case OP_atanh: return atanh_(m, a);
    case OP_sigmoid: return sigmoid_(m, a);
    case OP_logit: return logit_(m, a);
    case OP_softplus: return softplus_(m, a);
    case OP_softplus_inv: return softplus_inv(m, a);
    case OP_erf: return erf_(m, a);
    case OP_erfinv: return erfinv(m, a);
    case OP_floor: return floor_(m, a);
    case OP_ceil: return ceil_(m, a);
    case OP_round: return round_(m, a);
    case OP_trunc: return trunc_(m, a);
    case OP_leaky_relu: return leaky_relu(m, alpha, a);
    case OP_elu: return elu(m, alpha, a);
    case OP_isnan: return pick(m, equal(m, a, a), num(m, 0), num(m, 1));
    case OP_isinf: return one_where(m, equal(m, magnitude(m, a), num(m, INF)));
    case OP_not: return one_where(m, equal(m, a, num(m, 0)));
    case OP_add: return add(m, a, b);
    case OP_sub: return sub(m, a, b);
    case OP_mul: return mul(m, a, b);
    case OP_div: return divide(m, a, b);
    case OP_pow: return math_pow(m, a, b);
    case OP_mod: return mod_(m, a, b);
    case OP_fmod: return fmod_(m, a, b);
    case OP_min: return min_(m, a, b);
    case OP_max: return max_(m, a, b);
    case OP_lt: return one_where(m, less(m, a, b));
    case OP_le: return one_where(m, map_op(m, S_fle, a, b, 0));
    case OP_eq: return one_where(m, equal(m, a, b));
    case OP_and: return map_op(m, S_and, a, b, 0); // of 0.0f and 1.0f: bit by bit
    case OP_or: return map_op(m, S_or, a, b, 0);
    case OP_xor: return map_op(m, S_xor, a, b, 0);
    case OP_select: return select_(m, a, b, c);
    case OP_input:
    case OP_constant:
    case OP_move:
    case OP_linear:
    case OP_linear_t:
    case OP_matmul:
    case OP_reduce_sum:
    case OP_reduce_max:
    case OP_reduce_min:
    case OP_reduce_prod:
    case OP_take:
    case OP_COUNT: break;
    }
    return 0; // not elementwise: the caller's mistake
}
