// The derivatives of elementwise ops, each op's once: d times f'(x), as nodes, written in y = f(x) where that is cheaper.
//
// grad.c carries an adjoint d backward through them; one_lane_dual.c asks for the slope itself, d = 1.
#include "derivative.h"
#include "double_math.h"

static const Node *num(Builder *b, double v) { return build_scalar(b, v); }
static const Node *mul(Builder *b, const Node *x, const Node *y) { return build_binary(b, OP_mul, x, y); }
static const Node *divide(Builder *b, const Node *x, const Node *y) { return build_binary(b, OP_div, x, y); }
static const Node *one_plus(Builder *b, const Node *x) { return build_binary(b, OP_add, x, num(b, 1)); }
static const Node *one_minus(Builder *b, const Node *x) { return build_binary(b, OP_sub, num(b, 1), x); }
static const Node *neg(Builder *b, const Node *x) { return build_unary(b, OP_neg, x); }
static const Node *square(Builder *b, const Node *x) { return mul(b, x, x); }
static const Node *less(Builder *b, const Node *x, const Node *y) { return build_binary(b, OP_lt, x, y); }

static const Node *where_positive(Builder *b, const Node *x, const Node *yes, const Node *no)
{
    return build_select(b, less(b, num(b, 0), x), yes, no);
}

// (1 - x) (1 + x), which does not cancel
static const Node *one_minus_square(Builder *b, const Node *x)
{
    const Node *plus = one_plus(b, x);
    return mul(b, one_minus(b, x), plus);
}

// d factor e^x
static const Node *times_exp(Builder *b, const Node *d, double factor, const Node *x)
{
    const Node *e = build_unary(b, OP_exp, x);
    return mul(b, mul(b, d, num(b, factor)), e);
}

static const Node *slope_of_abs(Builder *b, const Node *d, const Node *x)
{
    const Node *not_below = where_positive(b, x, d, num(b, 0)), *minus = neg(b, d);
    return build_select(b, less(b, x, num(b, 0)), minus, not_below);
}

static const Node *slope_of_acosh(Builder *b, const Node *d, const Node *x)
{
    const Node *plus = one_plus(b, x);
    return divide(b, d, build_unary(b, OP_sqrt, mul(b, build_binary(b, OP_sub, x, num(b, 1)), plus)));
}

const Node *derivative_unary(Builder *b, const Node *n, const Node *d, const Node *x, const Node *y)
{
    switch (n->op) {
    case OP_neg: return neg(b, d);
    case OP_abs: return slope_of_abs(b, d, x);
    case OP_sqrt: return divide(b, mul(b, d, num(b, 0.5)), y);
    case OP_exp: return mul(b, d, y);
    case OP_log: return divide(b, d, x);
    case OP_log1p: return divide(b, d, one_plus(b, x));
    case OP_expm1: return mul(b, d, build_unary(b, OP_exp, x));
    case OP_sin: return mul(b, d, build_unary(b, OP_cos, x));
    case OP_cos: return neg(b, mul(b, d, build_unary(b, OP_sin, x)));
    case OP_tan: return mul(b, d, one_plus(b, square(b, y)));
    case OP_asin: return divide(b, d, build_unary(b, OP_sqrt, one_minus_square(b, x)));
    case OP_acos: return neg(b, divide(b, d, build_unary(b, OP_sqrt, one_minus_square(b, x))));
    case OP_atan: return divide(b, d, one_plus(b, square(b, x)));
    case OP_sinh: return mul(b, d, build_unary(b, OP_cosh, x));
    case OP_cosh: return mul(b, d, build_unary(b, OP_sinh, x));
    case OP_tanh: return mul(b, d, one_minus_square(b, y));
    case OP_asinh: return divide(b, d, build_unary(b, OP_sqrt, one_plus(b, square(b, x))));
    case OP_acosh: return slope_of_acosh(b, d, x);
    case OP_atanh: return divide(b, d, one_minus_square(b, x));
    case OP_sigmoid: return mul(b, d, mul(b, y, one_minus(b, y)));
    case OP_logit: return divide(b, d, mul(b, x, one_minus(b, x)));
    case OP_softplus: return mul(b, d, build_unary(b, OP_sigmoid, x));
    case OP_softplus_inv: return neg(b, divide(b, d, build_unary(b, OP_expm1, neg(b, x))));
    case OP_erf: return times_exp(b, d, ERF_SLOPE, neg(b, square(b, x)));
    case OP_erfinv: return times_exp(b, d, 1 / ERF_SLOPE, square(b, y));
    case OP_leaky_relu: return where_positive(b, x, d, mul(b, d, num(b, n->alpha)));
    case OP_elu: return where_positive(b, x, d, times_exp(b, d, n->alpha, x));
    default: return NULL;
    }
}

// d log a, 0 for a = 0 (as the limit of a^b log a, b > 0)
static const Node *power_of_exponent(Builder *b, const Node *d, const Node *base, const Node *y)
{
    const Node *zero = num(b, 0), *is_zero = build_binary(b, OP_eq, base, zero), *log = build_unary(b, OP_log, base);
    return build_select(b, is_zero, zero, mul(b, mul(b, d, y), log));
}

const Node *derivative_binary(Builder *b, const Node *n, int k, const Node *d, const Node *p, const Node *q,
                              const Node *y)
{
    const Node *zero = num(b, 0);
    switch (n->op) {
    case OP_add: return d;
    case OP_sub: return k ? neg(b, d) : d;
    case OP_mul: return mul(b, d, k ? p : q);
    case OP_div: return k ? neg(b, mul(b, divide(b, d, q), y)) : divide(b, d, q);
    case OP_pow:
        if (k) return power_of_exponent(b, d, p, y);
        return mul(b, d, mul(b, q, build_binary(b, OP_pow, p, build_binary(b, OP_sub, q, num(b, 1)))));
    case OP_mod: return k ? neg(b, mul(b, d, build_unary(b, OP_floor, divide(b, p, q)))) : d;
    case OP_fmod: return k ? neg(b, mul(b, d, build_unary(b, OP_trunc, divide(b, p, q)))) : d;
    case OP_min: return k ? build_select(b, less(b, p, q), zero, d) : build_select(b, less(b, p, q), d, zero);
    case OP_max: return k ? build_select(b, less(b, q, p), zero, d) : build_select(b, less(b, q, p), d, zero);
    default: return NULL;
    }
}
