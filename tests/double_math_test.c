// ir/double_math.c against the host's long double functions: within 2 units in the last place on random and edge
// arguments; exact at the ends; and the same bits for equal arguments whatever libm there is (none is linked).
#include "double_math.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RANDOM = 40000 };
typedef double Function(double);
typedef long double Reference(long double);

static uint64_t state = 88172645463325252u;
static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static double uniform(double lo, double hi) { return lo + (hi - lo) * ((double)(next() >> 11) * 0x1p-53); }

static double any_bits(void)
{
    uint64_t u = next();
    double x;
    memcpy(&x, &u, 8);
    return x;
}

static double units(double got, long double want)
{
    if (isnan(want)) return isnan(got) ? 0 : INFINITY;
    if (!isfinite((double)want) || !isfinite(got)) return (double)want == got ? 0 : INFINITY;
    int e;
    frexpl(want, &e);
    long double unit = ldexpl(1, e - 53 < -1074 ? -1074 : e - 53);
    return (double)(fabsl((long double)got - want) / unit);
}

static void check_at(const char *name, Function *f, Reference *ref, double x, double *worst)
{
    double got = f(x), u = units(got, ref((long double)x));
    if (u > *worst) *worst = u;
    if (!(u <= 2)) fail_msg("%s(%.17g = %a) = %.17g, want %.17Lg: %.3g units", name, x, x, got, ref((long double)x), u);
}

static void check(const char *name, Function *f, Reference *ref, double lo, double hi)
{
    static const double EDGES[] = {0,
                                   0x1p-1074,
                                   0x1p-1022,
                                   0x1p-60,
                                   0x1p-28,
                                   0x1p-27,
                                   0x1p-26,
                                   0.1,
                                   0.25,
                                   0.5,
                                   0.7071068,
                                   1 - 0x1p-53,
                                   1,
                                   1 + 0x1p-52,
                                   1.5,
                                   2,
                                   3.1415926535897931,
                                   6,
                                   19.99,
                                   20.01,
                                   39.99,
                                   40.01,
                                   88.7,
                                   700,
                                   709.78271289338397,
                                   709.79,
                                   710.4,
                                   711.5,
                                   745.1,
                                   745.2,
                                   1e5,
                                   1e16,
                                   1e22,
                                   0x1p60,
                                   0x1p61,
                                   0x1.921fb54442d18p+0,
                                   0x1.6ac5b262ca1ffp+849,
                                   DBL_MAX,
                                   INFINITY};
    double worst = 0;
    for (size_t i = 0; i < sizeof EDGES / sizeof *EDGES; i++) {
        check_at(name, f, ref, EDGES[i], &worst);
        check_at(name, f, ref, -EDGES[i], &worst);
    }
    check_at(name, f, ref, NAN, &worst);
    for (int i = 0; i < RANDOM; i++) {
        check_at(name, f, ref, uniform(lo, hi), &worst);
        check_at(name, f, ref, uniform(lo, hi) * 0x1p-10, &worst);
        check_at(name, f, ref, any_bits(), &worst);
    }
    printf("%-8s within %.3f units\n", name, worst);
    assert_true(isnan(f(-0.0)) || signbit(f(-0.0)) == (signbit(ref(-0.0L)) != 0));
}

// By Newton's steps on erf, or on erfc where erf is flat.
static long double erfinv_long(long double y)
{
    long double a = fabsl(y), x = a < 0.5L ? a : sqrtl(-log1pl(-a));
    if (!(a > 0 && a < 1)) return a == 1 ? copysignl(INFINITY, y) : a == 0 ? y : NAN;
    for (int i = 0; i < 20; i++)
        x -= (a < 0.5L ? erfl(x) - a : (1 - a) - erfcl(x)) * 0.886226925452758013649083741670572591L * expl(x * x);
    return copysignl(x, y);
}

static void functions(void **unused)
{
    (void)unused;
    if (LDBL_MANT_DIG <= 53) skip();
    check("exp", double_exp, expl, -750, 720);
    check("expm1", double_expm1, expm1l, -50, 720);
    check("log", double_log, logl, 0, 3);
    check("log1p", double_log1p, log1pl, -1, 3);
    check("sin", double_sin, sinl, -100, 100);
    check("cos", double_cos, cosl, -100, 100);
    check("tan", double_tan, tanl, -100, 100);
    check("asin", double_asin, asinl, -1, 1);
    check("acos", double_acos, acosl, -1, 1);
    check("atan", double_atan, atanl, -10, 10);
    check("sinh", double_sinh, sinhl, -720, 720);
    check("cosh", double_cosh, coshl, -720, 720);
    check("tanh", double_tanh, tanhl, -25, 25);
    check("asinh", double_asinh, asinhl, -100, 100);
    check("acosh", double_acosh, acoshl, 1, 100);
    check("atanh", double_atanh, atanhl, -1, 1);
    check("erf", double_erf, erfl, -7, 7);
    check("erfinv", double_erfinv, erfinv_long, -1, 1);
}

// Small ranges, where an absolute error would show.
static void near_ends(void **unused)
{
    (void)unused;
    if (LDBL_MANT_DIG <= 53) skip();
    double worst = 0;
    for (int i = 0; i < RANDOM; i++) {
        double d = uniform(-1, 1) * 0x1p-20;
        check_at("log", double_log, logl, 1 + d, &worst);
        check_at("acos", double_acos, acosl, 1 - fabs(d), &worst);
        check_at("asin", double_asin, asinl, 1 - fabs(d), &worst);
        check_at("acosh", double_acosh, acoshl, 1 + fabs(d), &worst);
        check_at("atanh", double_atanh, atanhl, 1 - fabs(d), &worst);
        check_at("erfinv", double_erfinv, erfinv_long, 1 - fabs(d), &worst);
        check_at("cos", double_cos, cosl, 1.5707963267948966 + d, &worst);
        check_at("sin", double_sin, sinl, floor(uniform(1, 1e6)) * 3.141592653589793, &worst);
        check_at("exp", double_exp, expl, uniform(-745.2, -708), &worst);
        check_at("expm1", double_expm1, expm1l, d, &worst);
        check_at("erf", double_erf, erfl, (i % 50) * 0.125 + d, &worst);
    }
    printf("ends     within %.3f units\n", worst);
}

static void many_are_each(void **unused)
{
    (void)unused;
    enum { N = 1003 };
    double x[N], got[N];
    for (int i = 0; i < N; i++) x[i] = i % 7 ? uniform(-6.5, 6.5) : any_bits();
    x[3] = NAN, x[4] = -0.0, x[5] = INFINITY, x[6] = -6, x[8] = 0.125;
    double_erf_many(x, got, N);
    for (int i = 0; i < N; i++) {
        double want = double_erf(x[i]);
        if (memcmp(&got[i], &want, sizeof want)) fail_msg("erf(%a) among many: %a, alone %a", x[i], got[i], want);
    }
}

static void powers(void **unused)
{
    (void)unused;
    if (LDBL_MANT_DIG <= 53) skip();
    static const double ENDS[] = {0,     -0.0,   1,        -1,        2,         -2,     3,          -3,
                                  0.5,   -0.5,   1.5,      -1.5,      1e9,       -1e9,   7e20,       -7e20,
                                  1e300, -1e300, INFINITY, -INFINITY, 0x1p-1074, 0x1p53, 0x1p53 - 1, NAN};
    enum { N = sizeof ENDS / sizeof *ENDS };
    double worst = 0;
    for (int i = 0; i < N * N + RANDOM; i++) {
        double x = i < N * N ? ENDS[i / N] : i % 3 ? uniform(0, 10) : fabs(any_bits());
        double y = i < N * N ? ENDS[i % N] : i % 3 ? uniform(-300, 300) : uniform(-3, 3);
        double got = double_pow(x, y), u = units(got, powl((long double)x, (long double)y));
        if (u > worst) worst = u;
        if (!(u <= 2))
            fail_msg("pow(%a, %a) = %.17g, want %.17Lg: %.3g units", x, y, got, powl((long double)x, (long double)y),
                     u);
    }
    printf("pow      within %.3f units\n", worst);
}

static void log_gamma(void **unused)
{
    (void)unused;
    if (LDBL_MANT_DIG <= 53) skip();
    for (int i = 0; i < RANDOM; i++) {
        double x = i % 2 ? uniform(0.01, 60) : floor(uniform(1, 200)) / 2;
        long double want = lgammal((long double)x);
        assert_true(fabsl((long double)double_log_gamma(x) - want) <= 4e-16L * (1 + fabsl(want)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(functions), cmocka_unit_test(near_ends),
                                       cmocka_unit_test(many_are_each), cmocka_unit_test(powers),
                                       cmocka_unit_test(log_gamma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
