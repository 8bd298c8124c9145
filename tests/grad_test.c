// Unit tests of passes/grad.c: the adjoint of every op against central differences of the interpreter, in double. Each
// case is a function of one input x to one number; points lie away from kinks, except where the kink's choice is the
// test.
#include "grad.h"

#include "fixture.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 64 };

static const Node *begin(Fixture *f, int rank, const int64_t *dim)
{
    f->b = builder_new(&f->cx, "f");
    return build_input(f->b, "x", type_make(T_F32, rank, dim));
}
#define BEGIN(f, ...) begin((f), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static const Node *num(Fixture *f, double v) { return build_scalar(f->b, v); }

static const Node *row(Fixture *f, int64_t n, const double *v) { return reals(f, type_vector(n), v); }

// Lane i of y times 1 + i / 3, summed: no two lanes have the same adjoint.
static const Node *weighted(Fixture *f, const Node *y)
{
    int64_t n = type_lanes(y->type);
    double w[MOST];
    for (int64_t i = 0; i < n; i++) w[i] = 1 + (double)i / 3;
    y = build_binary(f->b, OP_mul, build_reshape(f->b, y, 1, &n), row(f, n, w));
    return build_reduce(f->b, OP_reduce_sum, y);
}

static const Function *gradient(Fixture *f, const Function *of)
{
    Builder *b = builder_new(&f->cx, "g");
    LaneEnv *env = lane_env_new(&f->cx, of, b);
    const Node *x = of->inputs[0], *g;
    lane_env_set_all(env, x, build_input(b, "x", x->type));
    emit_forward(env);
    grad_of(env, of->outputs[0].node, 1, &x, &g);
    assert_int_equal(type_lanes(g->type), type_lanes(x->type));
    return finish_with(f, b, "g", g);
}

static double value_at(const Function *f, const double *x)
{
    double y, *out = &y;
    eval_function(f, 1, &x, &out, NULL, NULL);
    return y;
}

static void differences(const Function *f, const double *x, int64_t n, double *g)
{
    double moved[MOST];
    for (int64_t i = 0; i < n; i++) {
        double h = 1e-6 * (1 + fabs(x[i]));
        memcpy(moved, x, (size_t)n * sizeof *x);
        moved[i] = x[i] + h;
        double above = value_at(f, moved);
        moved[i] = x[i] - h;
        g[i] = (above - value_at(f, moved)) / (2 * h);
    }
}

static void finish(Fixture *f, const Node *scalar, const Function **of, const Function **grad)
{
    build_output(f->b, "y", scalar);
    *of = builder_finish(f->b);
    *grad = gradient(f, *of);
}

// The gradient of weighted(y) equals its differences at x.
static void check_at(Fixture *f, const char *name, const Node *y, const double *x)
{
    const Function *of, *grad;
    double g[MOST], d[MOST], *out = g;
    finish(f, weighted(f, y), &of, &grad);
    int64_t n = type_lanes(of->inputs[0]->type);
    eval_function(grad, 1, &x, &out, NULL, NULL);
    differences(of, x, n, d);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(g[i] - d[i]) <= 2e-7 * (1 + fabs(d[i]))))
            fail_msg("%s: lane %d: gradient %.12g, differences %.12g", name, (int)i, g[i], d[i]);
}

// The gradient itself, where differences do not say it.
static void check_is(Fixture *f, const char *name, const Node *y, const double *x, const double *want)
{
    const Function *of, *grad;
    double g[MOST], *out = g;
    finish(f, build_reduce(f->b, OP_reduce_sum, y), &of, &grad);
    eval_function(grad, 1, &x, &out, NULL, NULL);
    for (int64_t i = 0; i < type_lanes(of->inputs[0]->type); i++)
        if (!(g[i] == want[i] || fabs(g[i] - want[i]) <= 1e-12))
            fail_msg("%s: lane %d: gradient %.12g, not %.12g", name, (int)i, g[i], want[i]);
}

// ---- elementwise

static void every_unary(void **state)
{
    Fixture *f = *state;
    static const double real[4] = {-1.7, -0.3, 0.4, 2.1}, positive[4] = {0.2, 0.9, 1.4, 3.7},
                        unit[4] = {-0.8, -0.2, 0.3, 0.9}, inside[4] = {0.1, 0.3, 0.5, 0.9},
                        above[4] = {1.1, 1.5, 2.2, 4};
    for (Op op = 0; op < OP_COUNT; op++) {
        if (op_info(op)->kind != KIND_UNARY) continue;
        const double *x = real;
        if (op == OP_sqrt || op == OP_log || op == OP_log1p || op == OP_softplus_inv) x = positive;
        if (op == OP_asin || op == OP_acos || op == OP_atanh || op == OP_erfinv) x = unit;
        if (op == OP_logit) x = inside;
        if (op == OP_acosh) x = above;
        double alpha = op == OP_leaky_relu || op == OP_elu ? 0.3 : 0;
        const Node *in = BEGIN(f, 4), *y = build_alpha(f->b, op, in, alpha);
        if (y->type.dtype == T_BOOL) y = build_cast(f->b, y, T_F32);
        check_at(f, op_info(op)->name, y, x);
    }
}

static void every_binary(void **state)
{
    Fixture *f = *state;
    static const double p[4] = {-1.7, 0.3, 0.4, 2.1}, q[4] = {1.2, 0.7, -0.7, 0.5}, positive[4] = {0.2, 0.9, 1.4, 3.7};
    for (Op op = 0; op < OP_COUNT; op++) {
        if (op_info(op)->kind != KIND_BINARY) continue;
        bool logic = op == OP_and || op == OP_or || op == OP_xor;
        for (int side = 0; side < 3; side++) { // x as the first, the second, both operands
            const double *x = op == OP_pow ? positive : p;
            const Node *a = BEGIN(f, 4), *c = row(f, 4, q);
            if (logic) continue;
            const Node *first = side == 1 ? (op == OP_pow ? row(f, 4, positive) : c) : a;
            const Node *second = side == 0 ? c : side == 1 ? a : build_binary(f->b, OP_add, a, c);
            const Node *y = build_binary(f->b, op, first, second);
            if (y->type.dtype == T_BOOL) y = build_cast(f->b, y, T_F32);
            check_at(f, op_info(op)->name, y, x);
        }
    }
}

static void one_lane_operands(void **state)
{
    Fixture *f = *state;
    static const double x[5] = {-1.7, 0.3, 0.4, 2.1, 0.8};
    for (int side = 0; side < 2; side++) {
        const Node *all = BEGIN(f, 5), *one = build_slice(f->b, all, 0, 4, 1, 1),
                   *four = build_slice(f->b, all, 0, 0, 4, 1);
        check_at(f, "mul", build_binary(f->b, OP_mul, side ? one : four, side ? four : one), x);
        all = BEGIN(f, 5), one = build_slice(f->b, all, 0, 4, 1, 1), four = build_slice(f->b, all, 0, 0, 4, 1);
        check_at(f, "div", build_binary(f->b, OP_div, side ? one : four, side ? four : one), x);
    }
}

static void selects(void **state)
{
    Fixture *f = *state;
    static const double x[4] = {-1.7, 0.3, 0.4, 2.1}, at_zero[4] = {0, -1, 4, 0}, want[4] = {0, 0, 0.25, 0};
    const Node *a = BEGIN(f, 4);
    const Node *c = build_binary(f->b, OP_lt, a, num(f, 0.35));
    check_at(f, "select", build_select(f->b, c, build_binary(f->b, OP_mul, a, a), build_unary(f->b, OP_exp, a)), x);
    a = BEGIN(f, 4); // the branch not taken is infinite or not a number: nothing of it shows
    const Node *positive = build_binary(f->b, OP_lt, num(f, 0), a);
    check_is(f, "select", build_select(f->b, positive, build_unary(f->b, OP_sqrt, a), num(f, 0)), at_zero, want);
}

// A spline's slope d_1 in a bin that one-hot tests choose, its first one fixed to 1: a mask beside d_1 times a mask.
// Their row was taken for masks, which have no gradient.
static void masks_beside_numbers(void **state)
{
    Fixture *f = *state;
    static const double x[2] = {0.3, 1.7};
    const Node *all = BEGIN(f, 2), *v = build_slice(f->b, all, 0, 0, 1, 1), *d = build_slice(f->b, all, 0, 1, 1, 1);
    const Node *first = build_binary(f->b, OP_lt, v, num(f, 0.2)), *second = build_unary(f->b, OP_not, first);
    const Node *chosen[2] = {first, build_binary(f->b, OP_mul, d, second)};
    const Node *slope = build_reduce(f->b, OP_reduce_sum, build_move(f->b, type_vector(2), 2, chosen, NULL));
    check_at(f, "masks beside numbers", build_binary(f->b, OP_mul, slope, v), x);
    all = BEGIN(f, 2), v = build_slice(f->b, all, 0, 0, 1, 1), d = build_slice(f->b, all, 0, 1, 1, 1);
    first = build_binary(f->b, OP_lt, v, num(f, 0.2)), second = build_binary(f->b, OP_lt, d, num(f, 3));
    check_at(f, "a mask or a number", build_binary(f->b, OP_mul, build_select(f->b, first, second, d), v), x);
}

static void kinks(void **state)
{
    Fixture *f = *state;
    static const double zero[2] = {0, 0}, half[2] = {0.5, 0.5}, none[2] = {0, 0}, one[2] = {1, 1};
    const Node *x = BEGIN(f, 2);
    check_is(f, "leaky_relu", build_alpha(f->b, OP_leaky_relu, x, 0.5), zero, half); // 0 is not > 0
    x = BEGIN(f, 2);
    check_is(f, "relu", build_alpha(f->b, OP_leaky_relu, x, 0), zero, none);
    x = BEGIN(f, 2);
    check_is(f, "abs", build_unary(f->b, OP_abs, x), zero, none);
    x = BEGIN(f, 2);
    check_is(f, "max", build_binary(f->b, OP_max, x, num(f, 0)), zero, none); // 0 > 0 ? x : 0
    x = BEGIN(f, 2);
    check_is(f, "max", build_binary(f->b, OP_max, num(f, 0), x), zero, one);
    x = BEGIN(f, 2);
    check_is(f, "reduce_max", build_reduce(f->b, OP_reduce_max, x), zero, half);
    x = BEGIN(f, 2);
    check_is(f, "pow", build_binary(f->b, OP_pow, num(f, 0), x), half, none);
}

static void stays_finite(void **state)
{
    Fixture *f = *state;
    static const double far[2] = {-700, 700};
    static const struct {
        Op op;
        double want[2];
    } rows[] = {{OP_softplus, {0, 1}}, {OP_sigmoid, {0, 0}}, {OP_tanh, {0, 0}}, {OP_erf, {0, 0}}, {OP_elu, {0, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const Node *x = BEGIN(f, 2);
        check_is(f, op_info(rows[i].op)->name, build_alpha(f->b, rows[i].op, x, rows[i].op == OP_elu ? 1 : 0), far,
                 rows[i].want);
    }
}

// ---- movement

static void moves(void **state)
{
    Fixture *f = *state;
    static const double x[6] = {-1.7, 0.3, 0.4, 2.1, -0.6, 0.9};
    static const int32_t repeated[8] = {5, 0, 0, 3, 3, 3, 1, 5}, reversed[6] = {5, 4, 3, 2, 1, 0};
    const Node *a = BEGIN(f, 6);
    check_at(f, "repeated lanes", build_unary(f->b, OP_exp, build_move(f->b, type_vector(8), 1, &a, repeated)), x);
    a = BEGIN(f, 6);
    check_at(f, "permutation", build_unary(f->b, OP_exp, build_move(f->b, type_vector(6), 1, &a, reversed)), x);
    a = BEGIN(f, 2, 3);
    const Node *parts[3] = {build_unary(f->b, OP_exp, a),
                            build_unary(f->b, OP_sin, build_transpose(f->b, a, (int[]){1, 0})), num(f, 2)};
    int32_t map[7] = {12, 11, 0, 7, 3, 3, 6};
    check_at(f, "concat", build_move(f->b, type_vector(7), 3, parts, map), x);
    a = BEGIN(f, 2, 3);
    int64_t dim[3] = {4, 2, 3};
    check_at(f, "broadcast", build_binary(f->b, OP_mul, build_broadcast(f->b, a, 3, dim), num(f, 0.5)), x);
}

// A value used whole by two, in part by a third, and not at all in one lane.
static void shared_values(void **state)
{
    Fixture *f = *state;
    static const double x[4] = {-1.7, 0.3, 0.4, 2.1};
    const Node *a = BEGIN(f, 4), *h = build_unary(f->b, OP_tanh, a);
    const Node *y = build_binary(f->b, OP_add, build_unary(f->b, OP_exp, h), build_binary(f->b, OP_mul, h, h));
    const Node *parts[2] = {build_slice(f->b, y, 0, 1, 3, 1),
                            build_unary(f->b, OP_sin, build_slice(f->b, h, 0, 1, 2, 1))};
    check_at(f, "shared", build_concat(f->b, 2, parts, 0), x);
}

static void no_path(void **state)
{
    Fixture *f = *state;
    static const double x[3] = {1, 2, 3}, want[3] = {0, 2, 0};
    const Node *a = BEGIN(f, 3);
    check_is(f, "unused lanes", build_binary(f->b, OP_mul, build_slice(f->b, a, 0, 1, 1, 1), num(f, 2)), x, want);
}

// ---- products and reductions

static const Node *matrix(Fixture *f, int64_t K, int64_t N)
{
    double w[MOST];
    int64_t dim[2] = {K, N};
    for (int64_t i = 0; i < K * N; i++) w[i] = sin(1.7 * (double)i + 0.3);
    return build_reals(f->b, type_make(T_F64, 2, dim), w);
}

static void products(void **state)
{
    Fixture *f = *state;
    static const double x[6] = {-1.7, 0.3, 0.4, 2.1, -0.6, 0.9};
    int64_t two[2] = {2, 2}, six[1] = {6};
    const Node *a = BEGIN(f, 2, 3), *w = matrix(f, 3, 4);
    const Node *y = build_linear(f->b, build_unary(f->b, OP_tanh, a), w, row(f, 4, x), NULL);
    check_at(f, "linear", build_unary(f->b, OP_sin, y), x);
    a = BEGIN(f, 2, 3);
    const Node *add = build_slice(f->b, build_unary(f->b, OP_exp, a), 1, 0, 2, 1);
    check_at(f, "linear with add",
             build_unary(f->b, OP_sin, build_linear(f->b, a, matrix(f, 3, 2), NULL, build_reshape(f->b, add, 2, two))),
             x);
    a = BEGIN(f, 2, 3);
    check_at(f, "linear_t", build_unary(f->b, OP_sin, build_linear_t(f->b, a, matrix(f, 4, 3))), x);
    a = BEGIN(f, 2, 3);
    const Node *left = build_unary(f->b, OP_tanh, a),
               *right = build_transpose(f->b, build_unary(f->b, OP_exp, a), (int[]){1, 0});
    check_at(f, "matmul", build_unary(f->b, OP_sin, build_matmul(f->b, left, right)), x);
    a = BEGIN(f, 6);
    check_at(f, "matmul batch",
             build_matmul(f->b, build_reshape(f->b, a, 3, (int64_t[]){3, 1, 2}),
                          build_reshape(f->b, build_unary(f->b, OP_sin, a), 3, (int64_t[]){3, 2, 1})),
             x);
    (void)six;
}

static void reductions(void **state)
{
    Fixture *f = *state;
    static const double x[6] = {-1.7, 0.3, 0.4, 2.1, -0.6, 0.9}, with_zero[6] = {-1.7, 0, 0.4, 2.1, -0.6, 0.9};
    static const Op ops[] = {OP_reduce_sum, OP_reduce_max, OP_reduce_min, OP_reduce_prod};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        const Node *a = BEGIN(f, 2, 3);
        check_at(f, op_info(ops[i])->name, build_reduce(f->b, ops[i], build_unary(f->b, OP_sinh, a)), x);
    }
    const Node *a = BEGIN(f, 2, 3);
    check_at(f, "product with a zero", build_reduce(f->b, OP_reduce_prod, a), with_zero);
}

static void tables(void **state)
{
    Fixture *f = *state;
    static const double x[6] = {-1.7, 0.3, 0.4, 2.1, -0.6, 0.9}, index[4] = {2, 0, 9, -3};
    int64_t rows[2] = {2, 2};
    const Node *a = BEGIN(f, 2, 3), *i = build_reals(f->b, type_make(T_F64, 2, rows), index);
    check_at(f, "take", build_take(f->b, build_unary(f->b, OP_exp, a), i), x);
    a = BEGIN(f, 6);
    i = build_reals(f->b, type_make(T_F64, 2, rows), index);
    check_at(f, "take of one table", build_take(f->b, build_unary(f->b, OP_exp, a), i), x);
}

// LayerNorm, SiLU and softmax as nets have them.
static void compositions(void **state)
{
    Fixture *f = *state;
    static const double x[6] = {-1.7, 0.3, 0.4, 2.1, -0.6, 0.9};
    int64_t column[2] = {2, 1};
    const Node *a = BEGIN(f, 2, 3);
    const Node *mean = build_reshape(
        f->b, build_binary(f->b, OP_mul, build_reduce(f->b, OP_reduce_sum, a), num(f, 1.0 / 3)), 2, column);
    const Node *c = build_binary(f->b, OP_sub, a, mean);
    const Node *var =
        build_reshape(f->b, build_reduce(f->b, OP_reduce_sum, build_binary(f->b, OP_mul, c, c)), 2, column);
    const Node *n =
        build_binary(f->b, OP_div, c, build_unary(f->b, OP_sqrt, build_binary(f->b, OP_add, var, num(f, 1e-5))));
    check_at(f, "layer norm, silu", build_binary(f->b, OP_mul, n, build_unary(f->b, OP_sigmoid, n)), x);
    a = BEGIN(f, 2, 3);
    const Node *top = build_reshape(f->b, build_reduce(f->b, OP_reduce_max, a), 2, column);
    const Node *e = build_unary(f->b, OP_exp, build_binary(f->b, OP_sub, a, top));
    check_at(f, "softmax",
             build_binary(f->b, OP_div, e, build_reshape(f->b, build_reduce(f->b, OP_reduce_sum, e), 2, column)), x);
}

#define TEST FIXTURE_TEST

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_unary),
        TEST(every_binary),
        TEST(one_lane_operands),
        TEST(selects),
        TEST(kinks),
        TEST(stays_finite),
        TEST(moves),
        TEST(shared_values),
        TEST(no_path),
        TEST(products),
        TEST(masks_beside_numbers),
        TEST(reductions),
        TEST(tables),
        TEST(compositions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
