// Unit tests of ir/build.c: folding, sharing, neutral elements, broadcasting and movement.
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_fold_keeps_precision(void **state)
{
    Fixture *f = *state;
    const Node *third = build_binary(f->b, OP_div, build_scalar(f->b, 1), build_scalar(f->b, 3));
    assert_int_equal(third->type.dtype, T_F64);
    assert_const(third, (double[]){1.0 / 3}, 1);
    const Node *half = build_binary(f->b, OP_div, build_scalar(f->b, 1), build_scalar(f->b, 2));
    assert_int_equal(half->type.dtype, T_F32);
}

static void test_fold_kinds(void **state)
{
    Fixture *f = *state;
    const Node *x = reals(f, SHAPE(1, 2), (double[]){1, 2}), *w = reals(f, SHAPE(2, 2), (double[]){2, 0, 0, 3});
    assert_const(build_linear(f->b, x, w, NULL, NULL), (double[]){2, 6}, 2);
    assert_const(build_matmul(f->b, x, w), (double[]){2, 6}, 2);
    assert_const(build_reduce(f->b, OP_reduce_prod, w), (double[]){0, 0}, 2);
    assert_const(build_transpose(f->b, reals(f, SHAPE(2, 2), (double[]){1, 2, 3, 4}), (int[]){1, 0}),
                 (double[]){1, 3, 2, 4}, 4);
    const Node *both[2] = {x, x};
    assert_const(build_concat(f->b, 2, both, 0), (double[]){1, 2, 1, 2}, 4);
}

static void test_sharing(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(2)), *y = build_input(f->b, "y", type_vector(2));
    assert_ptr_equal(build_unary(f->b, OP_exp, x), build_unary(f->b, OP_exp, x));
    assert_ptr_not_equal(build_unary(f->b, OP_exp, x), build_unary(f->b, OP_exp, y));
    assert_ptr_equal(build_scalar(f->b, 2), build_scalar(f->b, 2));
    assert_ptr_not_equal(build_scalar(f->b, 0), build_scalar(f->b, -0.0));
    assert_ptr_not_equal(build_alpha(f->b, OP_elu, x, 1), build_alpha(f->b, OP_elu, x, 2));
    assert_ptr_not_equal(build_move(f->b, type_vector(1), 1, &x, MAP(0)),
                         build_move(f->b, type_vector(1), 1, &x, MAP(1)));
    assert_ptr_equal(build_binary(f->b, OP_add, x, y), build_binary(f->b, OP_add, x, y));
}

static void test_neutral_elements(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(2)), *zero = build_scalar(f->b, 0), *one = build_scalar(f->b, 1);
    assert_ptr_equal(build_binary(f->b, OP_add, x, zero), x);
    assert_ptr_equal(build_binary(f->b, OP_add, zero, x), x);
    assert_ptr_equal(build_binary(f->b, OP_sub, x, zero), x);
    assert_ptr_equal(build_binary(f->b, OP_mul, one, x), x);
    assert_ptr_equal(build_binary(f->b, OP_div, x, one), x);
    assert_ptr_not_equal(build_binary(f->b, OP_sub, zero, x), x);
    assert_ptr_not_equal(build_binary(f->b, OP_div, one, x), x);
    assert_const(build_binary(f->b, OP_mul, x, zero), (double[]){0, 0}, 2);
    assert_ptr_equal(build_unary(f->b, OP_neg, build_unary(f->b, OP_neg, x)), x);
    assert_ptr_equal(build_alpha(f->b, OP_leaky_relu, x, 1), x);
}

// A neutral constant of a larger shape still broadcasts.
static void test_neutral_broadcasts(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(1, 2));
    const Node *sum = build_binary(f->b, OP_add, x, reals(f, SHAPE(2, 2), (double[]){0, 0, 0, 0}));
    assert_int_equal(type_lanes(sum->type), 4);
    const double xs[2] = {3, 4};
    double out[4];
    run_output(f, sum, 1, (const double *[]){xs}, out);
    assert_values(out, (double[]){3, 4, 3, 4}, 4);
}

static void test_broadcast(void **state)
{
    Fixture *f = *state;
    const Node *a = build_input(f->b, "a", SHAPE(2, 1)), *c = build_input(f->b, "c", SHAPE(3));
    const double as[2] = {10, 20}, cs[3] = {1, 2, 3};
    double out[6];
    run_output(f, build_binary(f->b, OP_add, a, c), 1, (const double *[]){as, cs}, out);
    assert_values(out, (double[]){11, 12, 13, 21, 22, 23}, 6);
}

static void test_one_lane_stays(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(2, 3)), *s = build_input(f->b, "s", SHAPE(1, 1));
    const Node *n = build_binary(f->b, OP_mul, x, s);
    assert_int_equal(n->op, OP_mul);
    assert_ptr_equal(n->in[0], x);
    assert_ptr_equal(n->in[1], s);
    assert_true(type_equal(n->type, SHAPE(2, 3)));
}

static void test_equal_lanes_stay(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(1, 3)), *y = build_input(f->b, "y", SHAPE(3));
    const Node *n = build_binary(f->b, OP_mul, y, x);
    assert_ptr_equal(n->in[0], y);
    assert_true(type_equal(n->type, SHAPE(1, 3)));
}

static void test_moves_compose(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(2, 3));
    const Node *t = build_transpose(f->b, x, (int[]){1, 0});
    assert_ptr_equal(build_transpose(f->b, t, (int[]){1, 0}), x);
    const Node *s = build_slice(f->b, t, 0, 2, 3, -1); // rows 2, 1, 0 of t
    assert_ptr_equal(s->in[0], x);
    assert_memory_equal(s->map, MAP(2, 5, 1, 4, 0, 3), 6 * sizeof(int32_t));
    const Node *flat = build_reshape(f->b, x, 1, (int64_t[]){6});
    assert_null(flat->map);
    assert_ptr_equal(build_reshape(f->b, flat, 2, (int64_t[]){2, 3}), x);
}

static void test_slice_and_concat_is_identity(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(1, 4));
    const Node *halves[2] = {build_slice(f->b, x, 1, 0, 2, 1), build_slice(f->b, x, 1, 2, 2, 1)};
    assert_ptr_equal(build_concat(f->b, 2, halves, 1), x);
    const Node *swapped[2] = {halves[1], halves[0]};
    const Node *n = build_concat(f->b, 2, swapped, 1);
    assert_int_equal(n->n_in, 1);
    assert_memory_equal(n->map, MAP(2, 3, 0, 1), 4 * sizeof(int32_t));
}

static void test_concat_inner_axis(void **state)
{
    Fixture *f = *state;
    const Node *in[2] = {build_input(f->b, "a", SHAPE(2, 1)), build_input(f->b, "b", SHAPE(2, 2))};
    const double a[2] = {1, 2}, b[4] = {3, 4, 5, 6};
    double out[6];
    run_output(f, build_concat(f->b, 2, in, 1), 1, (const double *[]){a, b}, out);
    assert_values(out, (double[]){1, 3, 4, 2, 5, 6}, 6);
}

// A constant that f32 cannot hold, concatenated with computed lanes, is still a real value: f32, not f64.
static void test_concat_with_double_constant(void **state)
{
    Fixture *f = *state;
    const Node *in[2] = {reals(f, SHAPE(1), (double[]){0.1}), build_input(f->b, "x", SHAPE(1))};
    const Node *n = build_concat(f->b, 2, in, 0);
    double out[2];
    assert_int_equal(n->type.dtype, T_F32);
    run_output(f, n, 1, (const double *[]){(double[]){3}}, out);
    assert_values(out, (double[]){0.1, 3}, 2);
}

static void test_empty_move(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(1, 3));
    const Node *in[2] = {build_slice(f->b, x, 1, 0, 0, 1), x};
    assert_ptr_equal(build_concat(f->b, 2, in, 1), x);
}

static void test_select_folds(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(2)), *y = build_input(f->b, "y", type_vector(2));
    assert_ptr_equal(build_select(f->b, build_scalar(f->b, 1), x, y), x);
    assert_ptr_equal(build_select(f->b, build_scalar(f->b, 0), x, y), y);
    assert_ptr_equal(build_select(f->b, build_input(f->b, "c", type_vector(2)), x, x), x);
    const Node *wide = build_select(f->b, build_scalar(f->b, 1), build_input(f->b, "s", type_vector(1)), y);
    assert_int_equal(type_lanes(wide->type), 2);
}

static void test_casts(void **state)
{
    Fixture *f = *state;
    const Node *c = reals(f, SHAPE(3), (double[]){-1.5, 0, 2.9});
    assert_const(build_cast(f->b, c, T_I64), (double[]){-1, 0, 2}, 3);
    assert_const(build_cast(f->b, c, T_BOOL), (double[]){1, 0, 1}, 3);
    assert_ptr_equal(build_cast(f->b, c, T_F64), c);
    const Node *x = build_input(f->b, "x", type_vector(3));
    const Node *i = build_cast(f->b, x, T_I64), *b = build_cast(f->b, x, T_BOOL);
    assert_int_equal(i->type.dtype, T_I64);
    assert_int_equal(b->type.dtype, T_BOOL);
    const Node *back = build_binary(f->b, OP_add, build_cast(f->b, i, T_F32), build_cast(f->b, b, T_F32));
    assert_int_equal(back->type.dtype, T_F32);
    double out[3];
    run_output(f, back, 1, (const double *[]){(double[]){-1.5, 0, 2.9}}, out);
    assert_values(out, (double[]){0, 0, 3}, 3);
}

static void test_reduce_of_one(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", SHAPE(3, 1));
    const Node *n = build_reduce(f->b, OP_reduce_sum, x);
    assert_int_equal(n->op, OP_move);
    assert_true(type_equal(n->type, SHAPE(3)));
}

static void test_dead_nodes_go(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(2));
    build_input(f->b, "unused", type_vector(2));
    build_unary(f->b, OP_exp, x);
    build_output(f->b, "y", build_unary(f->b, OP_tanh, x));
    const Function *fn = builder_finish(f->b);
    assert_int_equal(fn->n_nodes, 3);
    assert_int_equal(fn->n_inputs, 2);
    assert_string_equal(fn->inputs[1]->name, "unused");
    assert_int_equal(fn->nodes[2]->op, OP_tanh);
    assert_int_equal(fn->nodes[2]->id, 2);
}

static void test_like(void **state)
{
    Fixture *f = *state;
    const Node *x = build_input(f->b, "x", type_vector(2)), *y = build_input(f->b, "y", type_vector(2));
    const Node *n = build_alpha(f->b, OP_leaky_relu, x, 0.25),
               *m = build_move(f->b, type_vector(3), 1, &x, MAP(1, 0, 1));
    const Node *same = build_like(f->b, n, &x), *other = build_like(f->b, n, &y), *moved = build_like(f->b, m, &y);
    assert_ptr_equal(same, n);
    assert_ptr_equal(other->in[0], y);
    assert_true(other->alpha == 0.25);
    assert_memory_equal(moved->map, MAP(1, 0, 1), 3 * sizeof(int32_t));
    const Node *c = reals(f, SHAPE(2), (double[]){-4, 4});
    assert_const(build_like(f->b, n, &c), (double[]){-1, 4}, 2);
}

#define TEST FIXTURE_TEST

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fold_keeps_precision),
        TEST(test_fold_kinds),
        TEST(test_sharing),
        TEST(test_neutral_elements),
        TEST(test_neutral_broadcasts),
        TEST(test_broadcast),
        TEST(test_one_lane_stays),
        TEST(test_equal_lanes_stay),
        TEST(test_moves_compose),
        TEST(test_slice_and_concat_is_identity),
        TEST(test_concat_inner_axis),
        TEST(test_concat_with_double_constant),
        TEST(test_empty_move),
        TEST(test_select_folds),
        TEST(test_casts),
        TEST(test_reduce_of_one),
        TEST(test_dead_nodes_go),
        TEST(test_like),
    };
    return cmocka_run_group_tests_name("build", tests, NULL, NULL);
}
