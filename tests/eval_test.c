// Unit tests of ir/eval.c: every op against values known from elsewhere (closed forms, tables, hand arithmetic), alone
// and folded.
#include "fixture.h"
#include "small_matrix.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// ---- elementwise ops: op, operands, value, alpha

typedef struct {
    Op op;
    double a, b, wanted, alpha;
} Row;

#define LN2 0.69314718055994530942
#define E_1 2.71828182845904523536
static const Row UNARY[] = {
    {OP_neg, 2, 0, -2, 0},
    {OP_neg, 0, 0, -0.0, 0},
    {OP_abs, -3.5, 0, 3.5, 0},
    {OP_abs, -INFINITY, 0, INFINITY, 0},
    {OP_sign, -7, 0, -1, 0},
    {OP_sign, 7, 0, 1, 0},
    {OP_sign, 0, 0, 0, 0},
    {OP_sign, NAN, 0, NAN, 0},
    {OP_sqrt, 2, 0, 1.41421356237309504880, 0},
    {OP_sqrt, -1, 0, NAN, 0},
    {OP_exp, 1, 0, E_1, 0},
    {OP_exp, -INFINITY, 0, 0, 0},
    {OP_exp, 1000, 0, INFINITY, 0},
    {OP_log, 2, 0, LN2, 0},
    {OP_log, 0, 0, -INFINITY, 0},
    {OP_log, -1, 0, NAN, 0},
    {OP_log1p, 1, 0, LN2, 0},
    {OP_log1p, 1e-20, 0, 1e-20, 0},
    {OP_expm1, 1, 0, E_1 - 1, 0},
    {OP_expm1, 1e-20, 0, 1e-20, 0},
    {OP_sin, 1, 0, 0.84147098480789650665, 0},
    {OP_cos, 1, 0, 0.54030230586813971740, 0},
    {OP_tan, 1, 0, 1.55740772465490223051, 0},
    {OP_asin, 1, 0, 1.57079632679489661923, 0},
    {OP_asin, 2, 0, NAN, 0},
    {OP_acos, -1, 0, 3.14159265358979323846, 0},
    {OP_atan, 1, 0, 0.78539816339744830962, 0},
    {OP_sinh, 1, 0, 1.17520119364380145688, 0},
    {OP_cosh, 1, 0, 1.54308063481524377848, 0},
    {OP_tanh, 1, 0, 0.76159415595576488812, 0},
    {OP_tanh, 1000, 0, 1, 0},
    {OP_asinh, 1, 0, 0.88137358701954302523, 0},
    {OP_acosh, 2, 0, 1.31695789692481670863, 0},
    {OP_atanh, 0.5, 0, 0.54930614433405484570, 0},
    {OP_atanh, 1, 0, INFINITY, 0},
    {OP_logit, 0.5, 0, 0, 0},
    {OP_logit, 0.75, 0, 1.09861228866810969140, 0},
    {OP_logit, 0, 0, -INFINITY, 0},
    {OP_logit, 1, 0, INFINITY, 0},
    {OP_sigmoid, 0, 0, 0.5, 0},
    {OP_sigmoid, 1, 0, 0.73105857863000487926, 0},
    {OP_sigmoid, -1, 0, 0.26894142136999512075, 0},
    {OP_sigmoid, -700, 0, 9.8596765437597708567e-305, 0},
    {OP_sigmoid, 1000, 0, 1, 0},
    {OP_sigmoid, NAN, 0, NAN, 0},
    {OP_softplus_inv, 0.5, 0, -0.43275212956718850, 0},
    {OP_softplus_inv, 2, 0, 1.85458654213114099, 0},
    {OP_softplus_inv, 800, 0, 800, 0},
    {OP_softplus_inv, 0, 0, -INFINITY, 0},
    {OP_erfinv, 0.5, 0, 0.47693627620446987338, 0},
    {OP_erfinv, -0.9, 0, -1.1630871536766740867, 0},
    {OP_erfinv, 0x1.fffffep-1, 0, 3.83250685690071090946, 0},
    {OP_erfinv, -1, 0, -INFINITY, 0},
    {OP_erfinv, 1.5, 0, NAN, 0},
    {OP_softplus, 0, 0, LN2, 0},
    {OP_softplus, 1, 0, 1.31326168751822283405, 0},
    {OP_softplus, 1000, 0, 1000, 0},
    {OP_softplus, -700, 0, 9.8596765437597708567e-305, 0},
    {OP_erf, 1, 0, 0.84270079294971486934, 0},
    {OP_floor, -1.5, 0, -2, 0},
    {OP_ceil, -1.5, 0, -1, 0},
    {OP_round, 0.5, 0, 0, 0},
    {OP_round, 1.5, 0, 2, 0},
    {OP_round, 2.5, 0, 2, 0},
    {OP_round, -1.5, 0, -2, 0},
    {OP_round, 2.4, 0, 2, 0},
    {OP_round, 0.49999999999999994, 0, 0, 0},
    {OP_round, 4503599627370497, 0, 4503599627370497, 0},
    {OP_round, INFINITY, 0, INFINITY, 0},
    {OP_round, NAN, 0, NAN, 0},
    {OP_trunc, -1.5, 0, -1, 0},
    {OP_leaky_relu, 3, 0, 3, 0.01},
    {OP_leaky_relu, -3, 0, -0.03, 0.01},
    {OP_leaky_relu, NAN, 0, NAN, 0},
    {OP_elu, 3, 0, 3, 2},
    {OP_elu, -1, 0, 2 * (1 / E_1 - 1), 2},
    {OP_elu, -INFINITY, 0, -2, 2},
    {OP_isnan, NAN, 0, 1, 0},
    {OP_isnan, INFINITY, 0, 0, 0},
    {OP_isinf, -INFINITY, 0, 1, 0},
    {OP_isinf, NAN, 0, 0, 0},
    {OP_not, 0, 0, 1, 0},
    {OP_not, 1, 0, 0, 0},
};

static const Row BINARY[] = {
    {OP_add, 1.5, 2, 3.5, 0},  {OP_add, -INFINITY, 1, -INFINITY, 0},
    {OP_sub, 1.5, 2, -0.5, 0}, {OP_mul, 1.5, -2, -3, 0},
    {OP_div, 1, 4, 0.25, 0},   {OP_div, -1, 0, -INFINITY, 0},
    {OP_pow, 2, 10, 1024, 0},  {OP_pow, -8, 3, -512, 0},
    {OP_pow, -8, 0.5, NAN, 0}, {OP_pow, 0, 0, 1, 0},
    {OP_mod, -7, 3, 2, 0},     {OP_mod, 7, -3, -2, 0},
    {OP_fmod, -7, 3, -1, 0},   {OP_fmod, 7, -3, 1, 0},
    {OP_min, 1, 2, 1, 0},      {OP_min, NAN, 2, NAN, 0},
    {OP_min, 2, NAN, NAN, 0},  {OP_max, 1, 2, 2, 0},
    {OP_max, NAN, 2, NAN, 0},  {OP_max, 2, NAN, NAN, 0},
    {OP_lt, 1, 2, 1, 0},       {OP_lt, 2, 2, 0, 0},
    {OP_lt, NAN, 2, 0, 0},     {OP_le, 2, 2, 1, 0},
    {OP_le, 3, 2, 0, 0},       {OP_eq, 2, 2, 1, 0},
    {OP_eq, NAN, NAN, 0, 0},   {OP_and, 1, 0, 0, 0},
    {OP_and, 1, 1, 1, 0},      {OP_or, 0, 1, 1, 0},
    {OP_or, 0, 0, 0, 0},       {OP_xor, 1, 1, 0, 0},
    {OP_xor, 1, 0, 1, 0},
};

static double run_row(const Row *row)
{
    void *state = NULL;
    fixture_setup(&state);
    Fixture *f = state;
    const double a[3] = {0.25, row->a, 0.25}, b[3] = {0.5, row->b, 0.5};
    const double *in[2] = {a, b};
    double result[3];
    const Node *x = build_input(f->b, "x", type_vector(1)), *y = build_input(f->b, "y", type_vector(1));
    bool unary = op_info(row->op)->kind == KIND_UNARY;
    const Node *n = unary ? build_alpha(f->b, row->op, x, row->alpha) : build_binary(f->b, row->op, x, y);
    run_output(f, n, 3, in, result);
    fixture_teardown(&state);
    return result[1];
}

static double fold_row(const Row *row)
{
    void *state = NULL;
    fixture_setup(&state);
    Fixture *f = state;
    const Node *x = reals(f, type_scalar(), &row->a), *y = reals(f, type_scalar(), &row->b);
    bool unary = op_info(row->op)->kind == KIND_UNARY;
    const Node *n = unary ? build_alpha(f->b, row->op, x, row->alpha) : build_binary(f->b, row->op, x, y);
    double v = node_is_const(n) ? const_at(n, 0) : 1e300;
    fixture_teardown(&state);
    return v;
}

static void check_rows(const Row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double got = run_row(&rows[i]), folded = fold_row(&rows[i]);
        const char *name = op_info(rows[i].op)->name;
        if (!near(got, rows[i].wanted)) fail_msg("%s row %zu: got %.17g, wanted %.17g", name, i, got, rows[i].wanted);
        if (!near(folded, rows[i].wanted))
            fail_msg("%s row %zu folded: got %.17g, wanted %.17g", name, i, folded, rows[i].wanted);
    }
}

static void test_unary(void **state)
{
    (void)state;
    check_rows(UNARY, sizeof UNARY / sizeof *UNARY);
}

static void test_binary(void **state)
{
    (void)state;
    check_rows(BINARY, sizeof BINARY / sizeof *BINARY);
}

// A new elementwise op without a row here is noticed.
static void test_every_op_has_a_row(void **state)
{
    (void)state;
    bool seen[OP_COUNT] = {false};
    for (size_t i = 0; i < sizeof UNARY / sizeof *UNARY; i++) seen[UNARY[i].op] = true;
    for (size_t i = 0; i < sizeof BINARY / sizeof *BINARY; i++) seen[BINARY[i].op] = true;
    for (int op = 0; op < OP_COUNT; op++) {
        OpKind kind = op_info((Op)op)->kind;
        if ((kind == KIND_UNARY || kind == KIND_BINARY) && !seen[op]) fail_msg("no row for %s", op_info((Op)op)->name);
    }
}

static void test_integers(void **state)
{
    Fixture *f = *state;
    const Node *a = build_ints(f->b, 4, (int64_t[]){-7, 7, 5, -7}), *c = build_ints(f->b, 4, (int64_t[]){2, -2, 0, 3});
    const Node *div = build_binary(f->b, OP_div, a, c), *mod = build_binary(f->b, OP_mod, a, c);
    assert_int_equal(div->type.dtype, T_I64);
    assert_const(div, (double[]){-3, -3, 0, -2}, 4);
    assert_const(mod, (double[]){1, -1, 0, 2}, 4);
}

static void test_select(void **state)
{
    Fixture *f = *state;
    const Node *c = build_input(f->b, "c", type_vector(3)), *x = build_input(f->b, "x", type_vector(3));
    const double cs[3] = {0, 1, -2}, xs[3] = {10, NAN, 30};
    double out[3];
    run_output(f, build_select(f->b, c, x, build_scalar(f->b, 5)), 1, (const double *[]){cs, xs}, out);
    assert_values(out, (double[]){5, NAN, 30}, 3);
}

// ---- the other kinds, two rows each

static void test_move(void **state)
{
    Fixture *f = *state;
    const Node *in[2] = {build_input(f->b, "x", type_vector(3)), build_input(f->b, "y", type_vector(2))};
    const double x[6] = {1, 2, 3, 4, 5, 6}, y[4] = {7, 8, 9, 10};
    double out[8];
    run_output(f, build_move(f->b, type_vector(4), 2, in, MAP(4, 0, 0, 3)), 2, (const double *[]){x, y}, out);
    assert_values(out, (double[]){8, 1, 1, 7, 10, 4, 4, 9}, 8);
}

static void test_linear(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(2, 2)), *add = build_input(f->b, "add", SHAPE(2, 3));
    const Node *w = reals(f, SHAPE(2, 3), (double[]){1, 0, 2, 0, 1, -1}),
               *bias = reals(f, SHAPE(3), (double[]){0.1, 0.2, 0.3});
    const double xs[8] = {1, 2, 3, 4, -1, -2, -3, -4}, adds[12] = {10, 20, 30, 40, 50, 60};
    double out[12];
    run_output(f, build_linear(f->b, x, w, bias, add), 2, (const double *[]){xs, adds}, out);
    const double wanted[12] = {11.1, 22.2, 30.3, 43.1, 54.2, 62.3, -0.9, -1.8, 0.3, -2.9, -3.8, -1.7};
    assert_values(out, wanted, 12);
}

static void test_linear_without_bias(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(2)), *add = build_input(f->b, "add", type_vector(1));
    const double xs[2] = {1, 2}, adds[1] = {0.5};
    double out[1];
    const Node *w = reals(f, SHAPE(2, 1), (double[]){3, 4});
    const Node *n = build_linear(f->b, x, w, NULL, add);
    assert_int_equal(n->n_in, 4);
    assert_null(n->in[2]);
    run_output(f, n, 1, (const double *[]){xs, adds}, out);
    assert_near(out[0], 11.5);
}

// Each token's sums times its own scale.
static void test_linear_scaled(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(2, 2)), *scale = build_input(f->b, "scale", SHAPE(2, 1));
    const Node *w = reals(f, SHAPE(2, 1), (double[]){3, 4}), *bias = reals(f, SHAPE(1), (double[]){0.5});
    const double xs[4] = {1, 2, 10, 20}, scales[2] = {2, -1};
    double out[2];
    run_output(f, build_scaled_linear(f->b, x, w, scale, bias), 1, (const double *[]){xs, scales}, out);
    assert_values(out, (const double[]){22.5, -109.5}, 2);
}

// A zero weight means no dependence: 0 * inf is 0 there.
static void test_linear_zero_weight(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(2));
    double out[1];
    run_output(f, build_linear(f->b, x, reals(f, SHAPE(2, 1), (double[]){0, 2}), NULL, NULL), 1,
               (const double *[]){(double[]){INFINITY, 3}}, out);
    assert_near(out[0], 6);
}

// More outputs than one block of the interpreter, many rows.
static void test_linear_wide(void **state)
{
    enum { K = 5, N = 37, ROWS = 70 };
    Fixture *f = *state;
    double w[K * N], x[ROWS * K], out[ROWS * N];
    for (int i = 0; i < K * N; i++) w[i] = (i * 7) % 11 - 5;
    for (int i = 0; i < ROWS * K; i++) x[i] = (i * 5) % 13 - 6;
    run_output(f, build_linear(f->b, build_input(f->b, "x", type_vector(K)), reals(f, SHAPE(K, N), w), NULL, NULL),
               ROWS, (const double *[]){x}, out);
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < K; k++) sum += x[r * K + k] * w[k * N + j];
            assert_true(out[r * N + j] == sum);
        }
}

// One row's bits do not depend on how many there are, nor on a neighbour that is not finite: both directions.
static void test_linear_rows(void **state)
{
    enum { K = 5, N = 37, ROWS = 40 };
    Fixture *f = *state;
    double w[K * N], x[ROWS * K], y[ROWS * N], back[ROWS * K];
    for (int i = 0; i < K * N; i++) w[i] = i % 7 ? ((i * 7) % 11 - 5.5) * 0.125 : 0;
    for (int i = 0; i < ROWS * K; i++) x[i] = (i * 5 % 13 - 6) / 3.0;
    x[9 * K + 2] = INFINITY;
    const Node *weights = reals(f, SHAPE(K, N), w),
               *forward = build_linear(f->b, build_input(f->b, "x", type_vector(K)), weights, NULL, NULL);
    build_output(f->b, "y", forward);
    build_output(f->b, "back", build_linear_t(f->b, forward, weights));
    const Function *fn = builder_finish(f->b);
    for (size_t rows = 1; rows <= ROWS; rows++) {
        eval_function(fn, rows, (const double *[]){x}, (double *[]){y, back}, NULL, NULL);
        for (size_t r = 0; r < rows; r++) {
            for (int j = 0; j < N; j++) {
                double sum = 0;
                for (int k = 0; k < K; k++) sum += w[k * N + j] != 0 ? w[k * N + j] * x[r * K + k] : 0;
                assert_memory_equal(&y[r * N + j], &sum, sizeof sum);
            }
            for (int k = 0; k < K && r != 9; k++) {
                double sum = 0;
                for (int j = 0; j < N; j++) sum += w[k * N + j] * y[r * N + j];
                assert_memory_equal(&back[r * K + k], &sum, sizeof sum);
            }
        }
    }
}

static void test_matmul(void **state)
{
    Fixture *f = *state;
    const Node *a = build_input(f->b, "a", SHAPE(2, 1, 2)), *c = build_input(f->b, "c", SHAPE(2, 2, 2));
    const double as[4] = {1, 2, 3, 4}, cs[8] = {1, 0, 0, 1, 5, 6, 7, 8};
    double out[4];
    run_output(f, build_matmul(f->b, a, c), 1, (const double *[]){as, cs}, out);
    assert_values(out, (double[]){1, 2, 43, 50}, 4);
}

// The same for a product of two values; a zero hides what is not finite, as masked attention needs.
static void test_matmul_rows(void **state)
{
    enum { M = 3, K = 6, N = 9, ROWS = 21 };
    Fixture *f = *state;
    double a[ROWS * 2 * M * K], c[ROWS * 2 * K * N], out[ROWS * 2 * M * N];
    for (int i = 0; i < ROWS * 2 * M * K; i++) a[i] = i % 5 ? (i * 7 % 11 - 5.5) / 3 : 0;
    for (int i = 0; i < ROWS * 2 * K * N; i++) c[i] = (i * 5 % 13 - 6) / 7.0;
    c[17 * 2 * K * N + 4] = INFINITY;
    const Node *x_in = build_input(f->b, "a", SHAPE(2, M, K)), *y_in = build_input(f->b, "c", SHAPE(2, K, N));
    build_output(f->b, "y", build_matmul(f->b, x_in, y_in));
    const Function *fn = builder_finish(f->b);
    for (size_t rows = 1; rows <= ROWS; rows++) {
        eval_function(fn, rows, (const double *[]){a, c}, (double *[]){out}, NULL, NULL);
        for (size_t i = 0; i < rows * 2 * M * N; i++) {
            const double *x = a + i / N * K, *y = c + i / (M * N) * K * N + i % N;
            double sum = 0;
            for (int k = 0; k < K; k++) sum += x[k] != 0 ? x[k] * y[k * N] : 0;
            if (memcmp(&out[i], &sum, sizeof sum))
                fail_msg("%zu rows, number %zu: %a, wanted %a", rows, i, out[i], sum);
        }
    }
}

static void reduce_case(Op op, const double *wanted)
{
    void *state = NULL;
    fixture_setup(&state);
    Fixture *f = state;
    const double x[6] = {1, -2, 3, 4, NAN, 6};
    double out[2];
    run_output(f, build_reduce(f->b, op, build_input(f->b, "x", SHAPE(2, 3))), 1, (const double *[]){x}, out);
    assert_values(out, wanted, 2);
    fixture_teardown(&state);
}

static void test_reduce(void **state)
{
    (void)state;
    reduce_case(OP_reduce_sum, (double[]){2, NAN});
    reduce_case(OP_reduce_max, (double[]){3, NAN});
    reduce_case(OP_reduce_min, (double[]){-2, NAN});
    reduce_case(OP_reduce_prod, (double[]){-6, NAN});
}

static void test_take(void **state)
{
    Fixture *f = *state;
    const Node *index = build_input(f->b, "index", SHAPE(2, 2)), *table = build_input(f->b, "table", SHAPE(2, 3));
    const double is[4] = {0, 2, -1, 9}, ts[6] = {1, 2, 3, 4, 5, 6};
    double out[4];
    run_output(f, build_take(f->b, table, index), 1, (const double *[]){is, ts}, out);
    assert_values(out, (double[]){1, 3, 4, 6}, 4);
}

static void test_take_one_table(void **state)
{
    Fixture *f = *state;
    const Node *index = build_input(f->b, "index", SHAPE(2, 2));
    const double is[4] = {0, 2, 1, NAN};
    double out[4];
    run_output(f, build_take(f->b, reals(f, SHAPE(3), (double[]){7, 8, 9}), index), 1, (const double *[]){is}, out);
    assert_values(out, (double[]){7, 9, 8, 7}, 4);
}

// Systems of which the first and the second row exchange, and in one of which the first pivot would be 0.
static const double SYSTEMS[18] = {0, 2, 1, 4, 1, 1, 2, 0.5, 3, 1, 2, 3, -4, 1, 0, 2, 2, 8},
                    DETERMINANTS[2] = {-20, 42};

static void test_computed_systems(void **state)
{
    Fixture *f = *state;
    const double found[6] = {1, -2, 0.5, 3, 0, -1};
    double xs[6] = {0}, out[6], pivots[6], sign[2], det[2];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 3; j++) xs[i] += SYSTEMS[i * 3 + j] * found[i / 3 * 3 + j];
    const Node *a = build_input(f->b, "a", SHAPE(2, 3, 3)), *x = build_input(f->b, "x", SHAPE(2, 3, 1)), *signs = NULL;
    build_output(f->b, "pivots", build_pivots(f->b, a, &signs));
    build_output(f->b, "sign", signs);
    build_output(f->b, "found", build_solve(f->b, a, x));
    const Function *fn = builder_finish(f->b);
    eval_function(fn, 1, (const double *[]){SYSTEMS, xs}, (double *[]){pivots, sign, out}, NULL, NULL);
    assert_values(out, found, 6);
    for (int i = 0; i < 2; i++) det[i] = pivots[3 * i] * pivots[3 * i + 1] * pivots[3 * i + 2] * sign[i];
    assert_values(det, DETERMINANTS, 2);
}

// The same in numbers: exchanges and negative pivots turn the sign, and what has no inverse has none.
static void test_systems_of_numbers(void **state)
{
    (void)state;
    for (int m = 0; m < 2; m++) {
        double a[9], inverse[9], one_more[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
        memcpy(a, SYSTEMS + 9 * m, sizeof a);
        Determinant d = invert_matrix(a, inverse, 3);
        for (int i = 0; i < 9; i++)
            for (int k = 0; k < 3; k++) one_more[i] += SYSTEMS[9 * m + i / 3 * 3 + k] * inverse[k * 3 + i % 3];
        assert_values(one_more, (double[]){2, 1, 1, 1, 2, 1, 1, 1, 2}, 9);
        assert_int_equal(d.sign, DETERMINANTS[m] < 0 ? -1 : 1);
        assert_values(&d.log_size, (double[]){log(fabs(DETERMINANTS[m]))}, 1);
    }
    double singular[4] = {1, 2, 2, 4}, none[4] = {NAN, 0, 0, 1}, inverse[4];
    Determinant zero = invert_matrix(singular, inverse, 2), nan = invert_matrix(none, inverse, 2);
    assert_true(zero.sign == 0 && zero.log_size == -INFINITY);
    assert_true(nan.sign == 0 && isnan(nan.log_size));
}

static void count_node(void *user, const Node *n, const double *value, size_t rows)
{
    (void)value;
    assert_int_equal(rows, 2);
    if (n->op == OP_input || n->op == OP_exp) ++*(int *)user;
}

static void test_probe_and_unwanted_output(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(1));
    build_output(f->b, "a", build_unary(f->b, OP_exp, x));
    build_output(f->b, "x", x);
    const Function *fn = builder_finish(f->b);
    double xs[2] = {0, 1}, copy[2];
    int seen = 0;
    eval_function(fn, 2, (const double *[]){xs}, (double *[]){NULL, copy}, count_node, &seen);
    assert_int_equal(seen, 2);
    assert_values(copy, xs, 2);
}

#define TEST FIXTURE_TEST

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unary),
        TEST(test_binary),
        TEST(test_every_op_has_a_row),
        TEST(test_integers),
        TEST(test_select),
        TEST(test_move),
        TEST(test_linear),
        TEST(test_linear_without_bias),
        TEST(test_linear_scaled),
        TEST(test_linear_zero_weight),
        TEST(test_linear_wide),
        TEST(test_linear_rows),
        TEST(test_matmul),
        TEST(test_matmul_rows),
        TEST(test_reduce),
        TEST(test_take),
        TEST(test_take_one_table),
        TEST(test_computed_systems),
        TEST(test_systems_of_numbers),
        TEST(test_probe_and_unwanted_output),
    };
    return cmocka_run_group_tests_name("eval", tests, NULL, NULL);
}
