// One compile as tests need it: an arena, its diagnostics and a function being built; numbers that are compared.
#pragma once
#include "ir.h"

typedef struct {
    Diag diag;
    Context cx;
    Builder *b;
} Fixture;

// cmocka's setup and teardown.
int fixture_setup(void **state);
int fixture_teardown(void **state);
#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

Type f32_type(int rank, const int64_t *dim);
#define SHAPE(...) f32_type((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define MAP(...) ((int32_t[]){__VA_ARGS__})

const Node *reals(Fixture *f, Type t, const double *v);

// The function finished with the one output; verified.
const Function *finish_with(Fixture *f, Builder *b, const char *name, const Node *out);

// Finishes f->b with the one output and runs it.
void run_output(Fixture *f, const Node *out, size_t rows, const double *const *in, double *result);

// Equal but for the last bits; zeros and infinities of the same sign, NaN as NaN.
bool near(double got, double wanted);
#define assert_near(got, wanted)                                                                \
    do {                                                                                        \
        double got_ = (got), wanted_ = (wanted);                                                \
        if (!near(got_, wanted_)) fail_msg("%s: got %.17g, wanted %.17g", #got, got_, wanted_); \
    } while (0)
void assert_values(const double *got, const double *wanted, size_t n);
void assert_const(const Node *n, const double *wanted, size_t count);
