// normal: composites that exporters write out become one op again, so that each has one inverse, one derivative and
// one accurate implementation.
//
//   atanh:     log(1 + x) - log(1 - x) and log((1 + x) / (1 - x)), also with log1p, are 2 atanh x; half of that is atanh x
//   logit:     log(x / (1 - x)), log x - log(1 - x) (log x may be named: x = e^y), the same with log1p, -log(1 / x - 1);
//              log(x - lo) - log(hi - x) and log((x - lo) / (hi - x)) are the logit of (x - lo) / (hi - lo)
//   sigmoid:   1 / (1 + e^-x), x < -9 ? e^x : sigmoid(x)
//   softplus:  log(1 + e^x), log1p(e^x), max(x, 0) + log1p(e^-|x|) (logaddexp), x > 20 ? x : softplus(x),
//              isnan(x) ? x : softplus(x), as JAX writes it
//   inverse softplus: x + log(1 - e^-x), also with log1p and expm1, log(e^x - 1), x > 20 ? x : one of these
//   tanh:      (e^x - e^-x) / (e^x + e^-x), (e^2x - 1) / (e^2x + 1), (1 - e^-2x) / (1 + e^-2x)
//   algebraic: x / sqrt(1 + x^2) is tanh(asinh x), x / sqrt(1 - x^2) is sinh(atanh x)
//   signed:    sign(x) y(|x|) of y(0) = 0 is x < 0 ? -y : y
//   choice:    c x + (not c) y of a condition c, as tf2onnx writes it, is c ? x : y
//   leaky_relu: max(x, a x) of 0 < a < 1, min(x, a x) of a > 1
//   mod:       x - p floor(x / p), where the floor is used for this alone; x - p round(x / p) is mod(x + p/2, p) - p/2
//   guards:    isnan(x) ? c : x (but for c = -inf)  and  isfinite(x) ? x : c   are x (they differ for non-finite x only)
//   log e^x    is x, log cosh x is x + softplus(-2 x) - log 2
//   masks:     in a softmax a constant logit of -1e4 or less is -inf (normal_masks.c)
#include "double_math.h"
#include "lane_order.h"
#include "pipeline.h"
#include "rewrite.h"

#include <math.h>

static const double FAR_BELOW = -9;

static bool is_value(const Node *n, double v)
{
    double s = 0;
    return const_number(n, &s) && fabs(s - v) <= 1e-7 * fabs(v);
}

// n = c * x, x * c or x / (1/c)
static const Node *scaled(const Node *n, double c)
{
    if (n->op == OP_mul && is_value(n->in[0], c)) return n->in[1];
    if (n->op == OP_mul && is_value(n->in[1], c)) return n->in[0];
    if (n->op == OP_div && is_value(n->in[1], 1 / c)) return n->in[0];
    if (n->op == OP_neg && c == -1) return n->in[0];
    return NULL;
}

static const Node *one_plus(const Node *n) // 1 + x, x + 1
{
    if (n->op == OP_add && is_value(n->in[0], 1)) return n->in[1];
    if (n->op == OP_add && is_value(n->in[1], 1)) return n->in[0];
    return NULL;
}

static const Node *one_minus(const Node *n) // 1 - x, 1 + (-x)
{
    if (n->op == OP_sub && is_value(n->in[0], 1)) return n->in[1];
    const Node *x = one_plus(n);
    return x ? scaled(x, -1) : NULL;
}

static const Node *log_one_plus(const Node *n)
{
    if (n->op == OP_log1p) return n->in[0];
    return n->op == OP_log ? one_plus(n->in[0]) : NULL;
}

static const Node *log_one_minus(const Node *n)
{
    if (n->op == OP_log1p) return scaled(n->in[0], -1);
    return n->op == OP_log ? one_minus(n->in[0]) : NULL;
}

// Half of n is the atanh of it.
static const Node *find_half_atanh(const Node *n)
{
    const Node *x = NULL, *y = NULL;
    if (n->op == OP_sub) {
        x = log_one_plus(n->in[0]);
        y = log_one_minus(n->in[1]);
    } else if (n->op == OP_log && n->in[0]->op == OP_div) {
        x = one_plus(n->in[0]->in[0]);
        y = one_minus(n->in[0]->in[1]);
    }
    return x == y ? x : NULL;
}

static const Node *find_logit(const Node *n)
{
    const Node *x = NULL, *y = NULL;
    if (n->op == OP_sub && n->in[0]->op == OP_log) {
        x = n->in[0]->in[0];
        y = log_one_minus(n->in[1]);
        if (n->in[1]->op == OP_log1p && n->in[1]->in[0] == scaled(x, -1)) y = x;
    } else if (n->op == OP_sub) {
        y = log_one_minus(n->in[1]);
        if (y && y->op == OP_exp && y->in[0] == n->in[0]) x = y;
    } else if (n->op == OP_log && n->in[0]->op == OP_div) {
        x = n->in[0]->in[0];
        y = one_minus(n->in[0]->in[1]);
    } else if (n->op == OP_neg && n->in[0]->op == OP_log) {
        const Node *odds = n->in[0]->in[0], *over = odds->op == OP_sub && is_value(odds->in[1], 1) ? odds->in[0] : NULL;
        if (over && over->op == OP_div && is_value(over->in[0], 1)) x = y = over->in[1];
    }
    return x == y ? x : NULL;
}

// x + c, c + x, x - c of a constant c: x, and lo = -c in the graph's shapes.
static const Node *above(Builder *b, const Node *n, const Node **lo)
{
    for (int k = 0; n->op == OP_add && k < 2; k++)
        if (node_is_const(n->in[k])) {
            *lo = build_unary(b, OP_neg, n->in[k]);
            return n->in[1 - k];
        }
    if (n->op != OP_sub || !node_is_const(n->in[1])) return NULL;
    *lo = n->in[1];
    return n->in[0];
}

// (x - lo) / (hi - lo), whose logit n is.
static const Node *find_logit_between(Builder *b, const Node *n)
{
    const Node *over = NULL, *under = NULL, *lo = NULL;
    if (n->op == OP_sub && n->in[0]->op == OP_log && n->in[1]->op == OP_log) {
        over = n->in[0]->in[0];
        under = n->in[1]->in[0];
    } else if (n->op == OP_log && n->in[0]->op == OP_div) {
        over = n->in[0]->in[0];
        under = n->in[0]->in[1];
    }
    if (!over || under->op != OP_sub || !node_is_const(under->in[0])) return NULL;
    const Node *x = above(b, over, &lo);
    if (x != under->in[1]) return NULL;
    return build_binary(b, OP_div, over, build_binary(b, OP_sub, under->in[0], lo));
}

// x < c ? e^x : f(x), where f is e^x but for 2e-8 there.
static const Node *exp_far_below(const Node *n, Op f)
{
    double c = 0;
    if (n->op != OP_select || n->in[2]->op != f || n->in[0]->op != OP_lt) return NULL;
    const Node *x = n->in[2]->in[0];
    bool below = n->in[0]->in[0] == x && const_number(n->in[0]->in[1], &c) && c <= FAR_BELOW;
    return below && n->in[1]->op == OP_exp && n->in[1]->in[0] == x ? x : NULL;
}

static const Node *find_sigmoid(const Node *n)
{
    if (n->op == OP_select) return exp_far_below(n, OP_sigmoid);
    if (n->op != OP_div || !is_value(n->in[0], 1)) return NULL;
    const Node *e = one_plus(n->in[1]);
    return e && e->op == OP_exp ? scaled(e->in[0], -1) : NULL;
}

static const Node *exponent(const Node *n) { return n && n->op == OP_exp ? n->in[0] : NULL; }

static const Node *exp_minus_one(const Node *n) // e^x - 1
{
    if (n->op == OP_expm1) return n->in[0];
    if (n->op == OP_sub && is_value(n->in[1], 1)) return exponent(n->in[0]);
    for (int k = 0; n->op == OP_add && k < 2; k++)
        if (is_value(n->in[k], -1)) return exponent(n->in[1 - k]);
    return NULL;
}

// log(1 - e^-x), in its several forms: x.
static const Node *log_one_minus_exp(const Node *n)
{
    const Node *e = exponent(log_one_minus(n)), *minus = n->op == OP_log ? scaled(n->in[0], -1) : NULL;
    if (!e && minus) e = exp_minus_one(minus);
    return e ? scaled(e, -1) : NULL;
}

static const Node *find_softplus_inv(const Node *n)
{
    for (int k = 0; n->op == OP_add && k < 2; k++)
        if (log_one_minus_exp(n->in[1 - k]) == n->in[k]) return n->in[k];
    if (n->op == OP_select && n->in[2]->op == OP_softplus_inv && n->in[0]->op == OP_lt && n->in[1] == n->in[2]->in[0] &&
        n->in[0]->in[1] == n->in[1] && node_is_const(n->in[0]->in[0]))
        return n->in[1];
    return n->op == OP_log ? exp_minus_one(n->in[0]) : NULL;
}

// (e^x - e^-x) / (e^x + e^-x), (e^2x - 1) / (e^2x + 1), (1 - e^-2x) / (1 + e^-2x): *scale x is what tanh is of.
static const Node *find_tanh(const Node *n, double *scale)
{
    if (n->op != OP_div || n->in[0]->op != OP_sub || n->in[1]->op != OP_add) return NULL;
    const Node *p = n->in[0]->in[0], *q = n->in[0]->in[1];
    const Node *const *sum = n->in[1]->in;
    if (!(p == sum[0] && q == sum[1]) && !(p == sum[1] && q == sum[0])) return NULL;
    const Node *up = exponent(p), *down = exponent(q);
    *scale = up && down ? 1 : up ? 0.5 : -0.5;
    if (up && down) return scaled(down, -1) == up ? up : NULL;
    return is_value(up ? q : p, 1) ? up ? up : down : NULL;
}

// x / sqrt(1 + x^2) is tanh(asinh x) (sign 1), x / sqrt(1 - x^2) is sinh(atanh x) (sign -1).
static const Node *find_algebraic(const Node *n, int *sign)
{
    for (int k = 0; (n->op == OP_mul && k < 2) || (n->op == OP_div && k < 1); k++) {
        const Node *x = n->in[k], *root = n->in[1 - k];
        if (n->op == OP_mul) root = root->op == OP_div && is_value(root->in[0], 1) ? root->in[1] : NULL;
        if (!root || root->op != OP_sqrt) continue;
        const Node *up = one_plus(root->in[0]), *down = one_minus(root->in[0]), *square = down ? down : up;
        *sign = down ? -1 : 1;
        if (!square) continue;
        if (square->op == OP_mul && square->in[0] == x && square->in[1] == x) return x;
        if (square->op == OP_pow && square->in[0] == x && is_value(square->in[1], 2)) return x;
    }
    return NULL;
}

static bool all_positive(const Node *n)
{
    for (int64_t i = 0; i < type_lanes(n->type); i++)
        if (lane_sign(lane_canonical(n, i)) <= 0) return false;
    return true;
}

// n's value where x is 0; NaN: it is not seen. 0 c, 0 / c and 1^c are numbers whatever c is, 0^c where it is positive.
static double value_at_zero(const Node *n, const Node *x, int depth)
{
    double in[3] = {0, 0, 0};
    if (n == x) return 0;
    if (node_is_const(n)) return const_number(n, in) ? in[0] : NAN;
    if (!op_elementwise(n->op) || depth == 8) return NAN;
    for (int k = 0; k < n->n_in; k++) in[k] = value_at_zero(n->in[k], x, depth + 1);
    if (n->op == OP_mul && (in[0] == 0 || in[1] == 0)) return 0;
    if (n->op == OP_div && in[0] == 0 && in[1] != 0) return 0;
    if (n->op == OP_pow && (in[0] == 1 || (in[0] == 0 && all_positive(n->in[1])))) return in[0];
    return eval_scalar(n->op, n->alpha, in);
}

// sign(x) y, y a function of x that is 0 at 0: x, and y.
static const Node *find_signed(const Node *n, const Node **y)
{
    for (int k = 0; n->op == OP_mul && k < 2; k++) {
        if (n->in[k]->op != OP_sign) continue;
        const Node *x = n->in[k]->in[0];
        *y = n->in[1 - k];
        if (value_at_zero(*y, x, 0) == 0) return x;
    }
    return NULL;
}

// A condition as a number, c + 0: c.
static const Node *condition(const Node *n)
{
    for (int k = 0; n->op == OP_add && k < 2; k++)
        if (n->in[k]->type.dtype == T_BOOL && is_value(n->in[1 - k], 0)) return n->in[k];
    return n->type.dtype == T_BOOL ? n : NULL;
}

// c x of a condition c, which alone is c 1: c, and x. NULL: none.
static const Node *condition_times(Builder *b, const Node *n, const Node **x)
{
    const Node *c = condition(n);
    *x = build_scalar(b, 1);
    for (int k = 0; !c && n->op == OP_mul && k < 2; k++) {
        c = condition(n->in[k]);
        *x = n->in[1 - k];
    }
    return c;
}

// c x + (not c) y: c ? x : y.
static const Node *find_choice(Builder *b, const Node *n)
{
    const Node *x = NULL, *y = NULL;
    if (n->op != OP_add) return NULL;
    const Node *c = condition_times(b, n->in[0], &x), *d = condition_times(b, n->in[1], &y);
    if (!c || !d) return NULL;
    if (d->op == OP_not && d->in[0] == c) return build_select(b, c, x, y);
    return c->op == OP_not && c->in[0] == d ? build_select(b, d, y, x) : NULL;
}

// max(x, a x), a < 1, and min(x, a x), a > 1, are a leaky_relu.
static const Node *find_leaky_relu(const Node *n, double *alpha)
{
    for (int k = 0; (n->op == OP_max || n->op == OP_min) && k < 2; k++) {
        const Node *x = n->in[k], *y = n->in[1 - k];
        bool product = y->op == OP_mul, left = product && y->in[0] == x;
        if (!product && !(y->op == OP_div && y->in[0] == x)) continue;
        if (product && !left && y->in[1] != x) continue;
        const Node *c = left || !product ? y->in[1] : y->in[0];
        if (!const_number(c, alpha)) continue;
        if (!product) *alpha = 1 / *alpha;
        if (*alpha > 0 && (n->op == OP_max) == (*alpha < 1)) return x;
    }
    return NULL;
}

// max(x, 0) + softplus(-|x|), where log1p(e^-|x|) has become softplus already.
static const Node *find_logaddexp(const Node *n)
{
    for (int k = 0; n->op == OP_add && k < 2; k++) {
        const Node *m = n->in[k], *p = n->in[1 - k];
        if (p->op != OP_softplus || m->op != OP_max) continue;
        const Node *x = is_value(m->in[1], 0)   ? m->in[0]
                        : is_value(m->in[0], 0) ? m->in[1]
                                                : NULL,
                   *a = scaled(p->in[0], -1);
        if (x && a && a->op == OP_abs && (a->in[0] == x || scaled(a->in[0], -1) == x)) return x;
    }
    return NULL;
}

// x - p floor(x / p) of a number p: x. *nearest: it is rounded to the nearest. readers: of the function that n is of.
static const Node *find_mod(const Node *n, const int *readers, double *period, bool *nearest)
{
    if (n->op != OP_sub) return NULL;
    const Node *x = n->in[0], *whole = n->in[1];
    *period = 1;
    for (int k = 0; whole->op == OP_mul && k < 2; k++)
        if (const_number(whole->in[k], period) && *period > 0) {
            whole = whole->in[1 - k];
            break;
        }
    *nearest = whole->op == OP_round;
    if ((whole->op != OP_floor && !*nearest) || readers[whole->id] != 1 || readers[n->in[1]->id] != 1) return NULL;
    return (*period == 1 ? whole->in[0] : scaled(whole->in[0], 1 / *period)) == x ? x : NULL;
}

static const Node *build_mod(Builder *b, const Node *x, double period, bool nearest)
{
    const Node *p = build_scalar(b, period), *half = build_scalar(b, period / 2);
    if (!nearest) return build_binary(b, OP_mod, x, p);
    return build_binary(b, OP_sub, build_binary(b, OP_mod, build_binary(b, OP_add, x, half), p), half);
}

static const Node *find_softplus(const Node *n)
{
    const Node *inner = log_one_plus(n);
    if (inner && exponent(inner)) return exponent(inner);
    if (n->op == OP_select && n->in[2]->op == OP_softplus && n->in[0]->op == OP_lt && n->in[1] == n->in[2]->in[0] &&
        n->in[0]->in[1] == n->in[1] && node_is_const(n->in[0]->in[0]))
        return n->in[1];
    return find_logaddexp(n);
}

// c holds only where x is not a number, or not finite
static bool tests_nan(const Node *c, const Node *x)
{
    if (c->op == OP_isnan || c->op == OP_isinf)
        return c->in[0] == x || (c->in[0]->op == OP_abs && c->in[0]->in[0] == x);
    if (c->op == OP_or) return tests_nan(c->in[0], x) && tests_nan(c->in[1], x);
    if (c->op == OP_and) return tests_nan(c->in[0], x) || tests_nan(c->in[1], x); // infinite, and of one sign
    return c->op == OP_not && c->in[0]->op == OP_eq && c->in[0]->in[0] == x && c->in[0]->in[1] == x;
}

// isnan(x) ? -inf : x: a log density outside its support. @run tells it as the graph does; split.c sees through it.
static bool is_support(const Node *const *in)
{
    double v = 0;
    bool nan_alone = in[0]->op == OP_isnan || (in[0]->op == OP_not && in[0]->in[0]->op == OP_eq);
    return nan_alone && const_number(in[1], &v) && v == -INFINITY;
}

static bool tests_finite(const Node *c, const Node *x)
{
    if (c->op == OP_not) return tests_nan(c->in[0], x);
    if (c->op == OP_and) return tests_finite(c->in[0], x) && tests_finite(c->in[1], x);
    if (c->op == OP_eq && c->in[0] == x && c->in[1] == x) return true;
    return false;
}

// x, if it has as many lanes as what is made of it.
static const Node *as_large(const Node *x, const Node *n)
{
    return x && type_lanes(x->type) == type_lanes(n->type) ? x : NULL;
}

static const Node *log_cosh(Builder *b, const Node *x)
{
    const Node *less = build_unary(b, OP_softplus, build_binary(b, OP_mul, x, build_scalar(b, -2)));
    const Node *log_2 = build_scalar(b, double_log(2.0));
    return build_binary(b, OP_sub, build_binary(b, OP_add, x, less), log_2);
}

// By node id.
typedef struct {
    const int64_t *logits; // masked_logits
    const int *readers;
} Facts;

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *user)
{
    const Facts *facts = user;
    if (facts->logits[n->id]) return mask_logits(b, n, in, facts->logits[n->id]);
    if (n->type.dtype != T_F32 || !op_elementwise(n->op)) return NULL;
    if (n->op == OP_log && in[0]->op == OP_exp) return in[0]->in[0];
    if (n->op == OP_log && in[0]->op == OP_cosh) return log_cosh(b, in[0]->in[0]);
    if (n->op == OP_select && tests_nan(in[0], in[2]) && type_equal(in[2]->type, n->type))
        return is_support(in) ? build_select(b, build_unary(b, OP_isnan, in[2]), in[1], in[2]) : in[2];
    if (n->op == OP_select && tests_nan(in[0], in[1]) && in[2]->op == OP_softplus && in[2]->in[0] == in[1])
        return in[2];
    if (n->op == OP_select && tests_finite(in[0], in[1]) && type_equal(in[1]->type, n->type)) return in[1];
    const Node *copy = build_like(b, n, in), *x = NULL;
    if (copy->type.rank != n->type.rank || type_lanes(copy->type) != type_lanes(n->type)) return copy;
    if ((x = scaled(copy, 0.5)) && (x = as_large(scaled(x, 2), n)) && x->op == OP_atanh) return x;
    if ((x = as_large(find_half_atanh(copy), n))) {
        const Node *two = build_scalar(b, 2);
        return build_binary(b, OP_mul, build_unary(b, OP_atanh, x), two);
    }
    if ((x = as_large(find_logit(copy), n))) return build_unary(b, OP_logit, x);
    if ((x = as_large(find_logit_between(b, copy), n))) return build_unary(b, OP_logit, x);
    if ((x = as_large(find_sigmoid(copy), n))) return build_unary(b, OP_sigmoid, x);
    if ((x = as_large(find_softplus(copy), n))) return build_unary(b, OP_softplus, x);
    if ((x = as_large(find_softplus_inv(copy), n))) return build_unary(b, OP_softplus_inv, x);
    double number = 0;
    bool nearest = false;
    if (as_large(find_mod(n, facts->readers, &number, &nearest), n)) return build_mod(b, in[0], number, nearest);
    if ((x = as_large(find_tanh(copy, &number), n)))
        return build_unary(b, OP_tanh, number == 1 ? x : build_binary(b, OP_mul, x, build_scalar(b, number)));
    int sign = 0;
    if ((x = as_large(find_algebraic(copy, &sign), n)))
        return sign > 0 ? build_unary(b, OP_tanh, build_unary(b, OP_asinh, x))
                        : build_unary(b, OP_sinh, build_unary(b, OP_atanh, x));
    const Node *y = NULL;
    if ((y = find_choice(b, copy)) && type_equal(y->type, n->type)) return y;
    if ((x = as_large(find_signed(copy, &y), n))) {
        const Node *minus = build_unary(b, OP_neg, y);
        return build_select(b, build_binary(b, OP_lt, x, build_scalar(b, 0)), minus, y);
    }
    if ((x = as_large(find_leaky_relu(copy, &number), n))) return build_alpha(b, OP_leaky_relu, x, number);
    return copy;
}

Module *pass_normal(const Module *m, Context *cx)
{
    const Function **functions = ARENA_ARRAY(cx->arena, const Function *, m->n_functions);
    for (int i = 0; i < m->n_functions; i++) {
        Facts facts = {masked_logits(cx, m->functions[i]), readers_of(cx, m->functions[i])};
        functions[i] = rewrite_function(cx, m->functions[i], rule, &facts);
    }
    return module_new(cx, STAGE_NORMAL, m->n_functions, functions, m);
}
