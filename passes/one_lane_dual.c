// The slopes of elementwise ops by their operands', as nodes: what Newton's steps and log-determinants of a bracketed
// function of one lane are made of.
#include "one_lane_dual.h"
#include "derivative.h"

static const Node *mul(Builder *b, const Node *x, const Node *y)
{
    return x && y ? build_binary(b, OP_mul, x, y) : NULL;
}

// 1 - tanh^2 x = 4 sigmoid(2x) sigmoid(-2x)
static const Node *tanh_slope(Builder *b, const Node *x)
{
    const Node *twice = mul(b, x, build_scalar(b, 2)), *p = build_unary(b, OP_sigmoid, twice);
    const Node *q = build_unary(b, OP_sigmoid, build_unary(b, OP_neg, twice));
    return mul(b, mul(b, p, q), build_scalar(b, 4));
}

// f'(x), u = f(x): as derivative.c has it, but never 0 for rounding, far out, nor between the two slopes of a kink.
static const Node *unary_slope(Builder *b, const Node *n, const Node *x, const Node *u)
{
    const Node *zero = build_scalar(b, 0), *one = build_scalar(b, 1), *falls = build_scalar(b, -1);
    switch ((int)n->op) {
    case OP_tanh: return tanh_slope(b, x);
    case OP_sigmoid: return mul(b, u, build_unary(b, OP_sigmoid, build_unary(b, OP_neg, x)));
    case OP_abs: return build_select(b, build_binary(b, OP_lt, x, zero), falls, one);
    default: return derivative_unary(b, n, one, x, u);
    }
}

static const Node *sum_of(Builder *b, Op op, const Node *x, const Node *y)
{
    if (!y) return x;
    if (!x) return op == OP_add ? y : build_unary(b, OP_neg, y);
    return build_binary(b, op, x, y);
}

static const Node *choose(Builder *b, const Node *c, const Node *x, const Node *y)
{
    if (!x && !y) return NULL;
    if (!y) y = build_scalar(b, 0);
    return build_select(b, c, x ? x : build_scalar(b, 0), y);
}

const Node *dual_slope(Builder *b, const Node *n, const Dual *in, const Node *u)
{
    switch ((int)n->op) {
    case OP_add:
    case OP_sub: return sum_of(b, n->op, in[0].slope, in[1].slope);
    case OP_mul: {
        const Node *other = mul(b, in[1].slope, in[0].value);
        return sum_of(b, OP_add, mul(b, in[0].slope, in[1].value), other);
    }
    case OP_div: {
        const Node *top = sum_of(b, OP_sub, in[0].slope, mul(b, in[1].slope, u));
        return top ? build_binary(b, OP_div, top, in[1].value) : NULL;
    }
    case OP_pow: { // of a number: in[1] has no slope
        const Node *e = in[1].value, *less = build_binary(b, OP_sub, e, build_scalar(b, 1)), *zero = build_scalar(b, 0);
        const Node *steep = build_binary(b, OP_mul, e, build_binary(b, OP_pow, in[0].value, less));
        return mul(b, build_select(b, build_binary(b, OP_eq, e, zero), zero, steep), in[0].slope);
    }
    case OP_min: return choose(b, build_binary(b, OP_lt, in[0].value, in[1].value), in[0].slope, in[1].slope);
    case OP_max: return choose(b, build_binary(b, OP_lt, in[1].value, in[0].value), in[0].slope, in[1].slope);
    case OP_select: return choose(b, in[0].value, in[1].slope, in[2].slope);
    default: return mul(b, unary_slope(b, n, in[0].value, u), in[0].slope);
    }
}
