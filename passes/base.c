// Base distributions. log p of one standardised lane u:
//
//   normal     -u^2 / 2 - log(2 pi) / 2
//   laplace    -|u| - log 2
//   logistic   -u - 2 softplus(-u)
//   uniform    0 for 0 <= u <= 1, else -inf
//   student_t  -(v + 1) / 2 log(1 + u^2 / v) + log Gamma((v + 1) / 2) - log Gamma(v / 2) - log(pi v) / 2
//   graph      no row: the exported log_prob stands in for the whole (Map.log_prob)
#include "base.h"

#include "double_math.h"
#include "flow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

typedef struct {
    const char *word, *text;
    double (*constant)(double param);                              // of one lane
    const Node *(*shape)(Builder *b, double param, const Node *u); // the rest, by lane
} Base;

static const Node *num(Builder *b, double v) { return build_scalar(b, v); }

static double normal_constant(double p) { return (void)p, -0.5 * double_log(2 * PI); }
static const Node *normal_shape(Builder *b, double p, const Node *u)
{
    (void)p;
    return build_binary(b, OP_mul, u, u); // the factor -1/2 after the sum
}

static double laplace_constant(double p) { return (void)p, -double_log(2.0); }
static const Node *laplace_shape(Builder *b, double p, const Node *u)
{
    (void)p;
    return build_unary(b, OP_neg, build_unary(b, OP_abs, u));
}

static double zero_constant(double p) { return (void)p, 0; }
static const Node *logistic_shape(Builder *b, double p, const Node *u)
{
    (void)p; // symmetric: -|u| - 2 softplus(-|u|) does not cancel
    const Node *minus = build_unary(b, OP_neg, build_unary(b, OP_abs, u));
    const Node *two = num(b, 2), *half = build_unary(b, OP_softplus, minus);
    return build_binary(b, OP_sub, minus, build_binary(b, OP_mul, half, two));
}

static const Node *uniform_shape(Builder *b, double p, const Node *u)
{
    (void)p;
    const Node *below = build_binary(b, OP_le, u, num(b, 1)), *zero = num(b, 0);
    const Node *inside = build_binary(b, OP_and, build_binary(b, OP_le, zero, u), below);
    return build_select(b, inside, zero, num(b, -INFINITY));
}

static double student_constant(double v)
{
    return double_log_gamma((v + 1) / 2) - double_log_gamma(v / 2) - 0.5 * double_log(PI * v);
}
static const Node *student_shape(Builder *b, double v, const Node *u)
{
    const Node *over = num(b, 1 / v), *q = build_binary(b, OP_mul, build_binary(b, OP_mul, u, u), over);
    const Node *power = num(b, -(v + 1) / 2);
    return build_binary(b, OP_mul, build_unary(b, OP_log1p, q), power);
}

static const Base BASES[BASE_COUNT] = {
    [BASE_NORMAL] = {"normal", "standard normal", normal_constant, normal_shape},
    [BASE_LAPLACE] = {"laplace", "standard Laplace", laplace_constant, laplace_shape},
    [BASE_LOGISTIC] = {"logistic", "standard logistic", zero_constant, logistic_shape},
    [BASE_UNIFORM] = {"uniform", "uniform on [0, 1]", zero_constant, uniform_shape},
    [BASE_STUDENT_T] = {"student_t", "Student t", student_constant, student_shape},
};

bool base_named(const char *text, BaseKind *kind, double *param)
{
    for (int i = 0; i < BASE_GRAPH; i++) {
        size_t n = strlen(BASES[i].word);
        if (strncmp(text, BASES[i].word, n)) continue;
        *kind = (BaseKind)i;
        *param = 0;
        if (i != BASE_STUDENT_T) return !text[n];
        char *end = NULL;
        *param = text[n] == ':' ? strtod(text + n + 1, &end) : 0;
        return end && !*end && *param > 0;
    }
    return false;
}

const char *base_describe(Context *cx, BaseKind kind, double param)
{
    if (kind != BASE_STUDENT_T) return BASES[kind].text;
    return arena_format(cx->arena, "%s, %.6g degrees of freedom (z must be given)", BASES[kind].text, param);
}

const char *base_text(Arena *arena, const Flow *flow)
{
    return flow->base_assumed ? arena_format(arena, "%s (assumed; confirm with --base normal)", flow->base)
                              : flow->base;
}

const Node *base_log_density(Builder *b, BaseKind kind, double param, const Node *u)
{
    int64_t one = 1;
    double n = (double)type_lanes(u->type);
    const Node *sum = build_reshape(b, build_reduce(b, OP_reduce_sum, BASES[kind].shape(b, param, u)), 1, &one);
    if (kind == BASE_NORMAL) sum = build_binary(b, OP_mul, sum, num(b, -0.5));
    return build_binary(b, OP_add, sum, num(b, n * BASES[kind].constant(param)));
}

double base_draw(BaseKind kind, uint64_t *state)
{
    double u = kind == BASE_LAPLACE || kind == BASE_LOGISTIC || kind == BASE_UNIFORM ? draw_uniform(state) : 0;
    switch (kind) {
    case BASE_LAPLACE: return u < 0.5 ? double_log(2 * u) : -double_log(2 * (1 - u));
    case BASE_LOGISTIC: return double_log(u) - double_log1p(-u);
    case BASE_UNIFORM: return u;
    case BASE_NORMAL:
    case BASE_STUDENT_T: // heavier tails do not matter for a check
    case BASE_GRAPH:
    case BASE_COUNT: break;
    }
    return draw_normal(state);
}
