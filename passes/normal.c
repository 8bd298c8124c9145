// normal: composites that exporters write out become one op again, so that each has one inverse, one derivative and
// one accurate implementation.
//
//   atanh:     0.5 (log(1 + x) - log(1 - x)), 0.5 log((1 + x) / (1 - x)), the same with log1p, / 2 for 0.5
//   sigmoid:   1 / (1 + e^-x)
//   softplus:  log(1 + e^x), log1p(e^x), max(x, 0) + log1p(e^-|x|), x > 20 ? x : softplus(x)
//   guards:    isnan(x) ? c : x  and  isfinite(x) ? x : c   are x (they differ for non-finite x only)
//   log e^x    is x
#include "pipeline.h"
#include "rewrite.h"

#include <math.h>

static bool is_value(const Node *n, double v)
{
    double s = 0;
    return node_is_const(n) && type_lanes(n->type) <= 65536 && const_is_splat(n, &s) && fabs(s - v) <= 1e-7 * fabs(v);
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

static const Node *find_atanh(const Node *n)
{
    const Node *twice = scaled(n, 0.5), *x = NULL, *y = NULL;
    if (!twice) return NULL;
    if (twice->op == OP_sub) {
        x = log_one_plus(twice->in[0]);
        y = log_one_minus(twice->in[1]);
    } else if (twice->op == OP_log && twice->in[0]->op == OP_div) {
        x = one_plus(twice->in[0]->in[0]);
        y = one_minus(twice->in[0]->in[1]);
    }
    return x && x == y ? x : NULL;
}

static const Node *find_sigmoid(const Node *n)
{
    if (n->op != OP_div || !is_value(n->in[0], 1)) return NULL;
    const Node *e = one_plus(n->in[1]);
    return e && e->op == OP_exp ? scaled(e->in[0], -1) : NULL;
}

static const Node *exponent(const Node *n) { return n && n->op == OP_exp ? n->in[0] : NULL; }

// max(x, 0) + log1p(e^-|x|)
static const Node *find_logaddexp(const Node *n)
{
    for (int k = 0; n->op == OP_add && k < 2; k++) {
        const Node *m = n->in[k], *p = exponent(log_one_plus(n->in[1 - k]) ? log_one_plus(n->in[1 - k]) : n);
        if (!p || m->op != OP_max) continue;
        const Node *x = is_value(m->in[1], 0) ? m->in[0] : is_value(m->in[0], 0) ? m->in[1] : NULL, *a = scaled(p, -1);
        if (x && a && a->op == OP_abs && (a->in[0] == x || scaled(a->in[0], -1) == x)) return x;
    }
    return NULL;
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

// c holds exactly where x is not a number (or not finite)
static bool tests_nan(const Node *c, const Node *x)
{
    if (c->op == OP_isnan || c->op == OP_isinf) return c->in[0] == x || (c->in[0]->op == OP_abs && c->in[0]->in[0] == x);
    if (c->op == OP_or) return tests_nan(c->in[0], x) && tests_nan(c->in[1], x);
    return c->op == OP_not && c->in[0]->op == OP_eq && c->in[0]->in[0] == x && c->in[0]->in[1] == x;
}

static bool tests_finite(const Node *c, const Node *x)
{
    if (c->op == OP_not) return tests_nan(c->in[0], x);
    if (c->op == OP_and) return tests_finite(c->in[0], x) && tests_finite(c->in[1], x);
    if (c->op == OP_eq && c->in[0] == x && c->in[1] == x) return true;
    return false;
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *user)
{
    (void)user;
    if (n->type.dtype != T_F32 || !op_elementwise(n->op)) return NULL;
    if (n->op == OP_log && in[0]->op == OP_exp) return in[0]->in[0];
    if (n->op == OP_select && tests_nan(in[0], in[2]) && type_equal(in[2]->type, n->type)) return in[2];
    if (n->op == OP_select && tests_finite(in[0], in[1]) && type_equal(in[1]->type, n->type)) return in[1];
    const Node *copy = build_like(b, n, in), *x = NULL;
    if (copy->type.rank != n->type.rank || type_lanes(copy->type) != type_lanes(n->type)) return copy;
    if ((x = find_atanh(copy)) && type_lanes(x->type) == type_lanes(n->type)) return build_unary(b, OP_atanh, x);
    if ((x = find_sigmoid(copy)) && type_lanes(x->type) == type_lanes(n->type)) return build_unary(b, OP_sigmoid, x);
    if ((x = find_softplus(copy)) && type_lanes(x->type) == type_lanes(n->type)) return build_unary(b, OP_softplus, x);
    return copy;
}

Module *pass_normal(const Module *m, Context *cx)
{
    Module *out = rewrite_module(m, rule, cx);
    out->stage = STAGE_NORMAL;
    return out;
}
