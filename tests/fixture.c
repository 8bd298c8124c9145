// See fixture.h.
#include "fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

int fixture_setup(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    f->diag.arena = arena_new();
    f->cx = (Context){.arena = f->diag.arena, .diag = &f->diag};
    f->b = builder_new(&f->cx, "f");
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    Fixture *f = *state;
    arena_free(f->diag.arena);
    free(f);
    return 0;
}

Type f32_type(int rank, const int64_t *dim) { return type_make(T_F32, rank, dim); }
const Node *reals(Fixture *f, Type t, const double *v) { return build_reals(f->b, t, v); }

const Function *finish_with(Fixture *f, Builder *b, const char *name, const Node *out)
{
    build_output(b, name, out);
    const Function *fn = builder_finish(b);
    Module *m = module_new(&f->cx, STAGE_NORMAL, 1, &fn, NULL);
    if (!module_verify(m, &f->cx)) fail_msg("%s", f->diag.list[0].text);
    return fn;
}

void run_output(Fixture *f, const Node *out, size_t rows, const double *const *in, double *result)
{
    eval_function(finish_with(f, f->b, "out", out), rows, in, &result, NULL, NULL);
}

bool near(double got, double wanted)
{
    if (isnan(wanted)) return isnan(got);
    if (isinf(wanted) || wanted == 0) return got == wanted && signbit(got) == signbit(wanted);
    return fabs(got - wanted) <= 4e-16 * fabs(wanted);
}

void assert_values(const double *got, const double *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!near(got[i], wanted[i])) fail_msg("element %zu: got %.17g, wanted %.17g", i, got[i], wanted[i]);
}

void assert_const(const Node *n, const double *wanted, size_t count)
{
    assert_true(node_is_const(n));
    assert_int_equal(type_lanes(n->type), count);
    for (size_t i = 0; i < count; i++) assert_near(const_at(n, (int64_t)i), wanted[i]);
}
