// Accuracy of expand_math.c, in ULP of the double result rounded to f32, over floats spread evenly in bit space (2^20
// of them; all 2^32 with NFCC_LONG=1) and over edge values. The limits below, and where they are reached, are those that
// ir/MATH.md states.
#include "float_bits.h"
#include "plan.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LANES = 256, BATCH = 1 << 16 };

// ---- a map of up to three arguments as a plan of one step
typedef struct {
    Arena *arena;
    Plan plan;
    MapCode code;
    Step step;
    PlanPort in[3], out;
} Map;

static Map *map_new(Op op, double alpha, int n_args)
{
    Arena *arena = arena_new();
    Map *m = ARENA_NEW(arena, Map);
    m->arena = arena;
    int arg[3] = {0};
    for (int i = 0; i < n_args; i++) arg[i] = map_arg(&m->code, i);
    int result = expand_op(&m->code, op, alpha, arg[0], arg[1], arg[2]);
    assert_false(m->code.overflow);
    m->step = (Step){.kind = STEP_MAP, .name = op_info(op)->name};
    m->step.map = (MapStep){.n = LANES, .n_args = (uint32_t)n_args, .n_outs = 1, .n_code = (uint32_t)m->code.n};
    m->step.map.code = m->code.code;
    for (int i = 0; i < n_args; i++) {
        m->in[i] = (PlanPort){PORT_GRAPH, (uint32_t)i, (uint32_t)i * LANES, LANES};
        m->step.map.args[i] = (Access){SPACE_WORK, (uint32_t)i * LANES, LANES, 0, 1};
    }
    m->step.map.outs[0].at = 3 * LANES;
    m->step.map.outs[0].value = (uint32_t)result;
    m->out = (PlanPort){PORT_GRAPH, 0, 3 * LANES, LANES};
    m->plan.name = "map";
    m->plan.programs[PROGRAM_RUN] = (Program){true, &m->step, 1, 4 * LANES, m->in, &m->out, n_args, 1};
    Diag diag = {.arena = arena, .file = "test"};
    bool good = plan_verify(&m->plan, &(Context){.arena = arena, .diag = &diag});
    diag_print(&diag, stderr);
    assert_true(good);
    return m;
}

static void map_free(Map *m) { arena_free(m->arena); }

// n is a multiple of LANES.
static void map_run(const Map *m, size_t n, const float *a, const float *b, const float *c, float *out)
{
    const uint32_t *const in[] = {(const uint32_t *)a, (const uint32_t *)b, (const uint32_t *)c};
    uint32_t *const outs[] = {(uint32_t *)out};
    plan_run(&m->plan, PROGRAM_RUN, n / LANES, NULL, in, outs);
}

// ---- errors in ULP
static double ulp_of(double v)
{
    int e;
    frexp(v, &e); // v = f 2^e, f in [1/2, 1)
    return ldexp(1, e < -125 ? -149 : e > 128 ? 104 : e - 24);
}

// INFINITY where one is NaN and the other is not, or an infinity is wrong.
static double ulp_error(float got, double want)
{
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (isinf(got) || isinf((float)want)) {
        if ((double)got == want || got == (float)want) return 0;
        if (isinf(want)) return INFINITY;
        double largest = isinf(got) ? copysign(0x1p128, (double)got) : (double)got;
        return fabs(want - largest) / 0x1p104;
    }
    return fabs((double)got - want) / ulp_of(want);
}

typedef struct {
    Op op;
    double alpha;
    double (*exact)(double x);
    float lo, hi; // where the limit holds; NaN and infinities are always tried
    double limit; // in hundredths, rounded up
    float worst;  // where it is reached; 0: no error, or half a unit
} Unary;

static double exact_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double exact_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double softplus_nan(double x) { return isnan(x) ? x : exact_softplus(x); }
static double exact_elu(double x) { return x > 0 ? x : 0.5 * expm1(x); }
static double exact_leaky(double x) { return x > 0 ? x : (double)0.01f * x; }
static double exact_relu(double x) { return x < 0 ? 0 : x; }
static double exact_sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }
static double exact_logit(double x) { return log(x) - log1p(-x); }
static double exact_softplus_inv(double x) { return x < 1 ? log(expm1(x)) : x + log1p(-exp(-x)); }
static double exact_erfinv(double y) // by Newton's steps on erf, or on erfc where erf is flat
{
    double a = fabs(y), x = a < 0.5 ? a : sqrt(-log1p(-a));
    if (!(a > 0 && a < 1)) return a == 1 ? copysign(INFINITY, y) : a == 0 ? y : NAN;
    for (int i = 0; i < 20; i++) x -= (a < 0.5 ? erf(x) - a : (1 - a) - erfc(x)) * 0.88622692545275801365 * exp(x * x);
    return copysign(x, y);
}
static double exact_neg(double x) { return -x; }
static double exact_isnan(double x) { return isnan(x); }
static double exact_isinf(double x) { return isinf(x) ? 1 : 0; }
static double exact_not(double x) { return x == 0; }

#define ALL -FLT_MAX, FLT_MAX
static const Unary functions[] = {
    {OP_exp, 0, exp, ALL, 1.04, -5.85925484f},
    {OP_expm1, 0, expm1, ALL, 1.56, 0.379633218f},
    {OP_tanh, 0, tanh, ALL, 2.50, 4.50509071f},
    {OP_sigmoid, 0, exact_sigmoid, ALL, 1.67, -1.13550484f},
    {OP_softplus, 0, softplus_nan, ALL, 1.83, 0.0210354626f},
    {OP_log, 0, log, ALL, 0.94, 1.5662055f},
    {OP_log1p, 0, log1p, ALL, 1.48, 0.414940089f},
    {OP_erf, 0, erf, ALL, 1.02, 0.872172117f},
    {OP_sin, 0, sin, -1e5f, 1e5f, 1.55, 10687.9492f},
    {OP_cos, 0, cos, -1e5f, 1e5f, 1.54, 24819.9004f},
    {OP_tan, 0, tan, -1e5f, 1e5f, 3.54, 97277.8438f},
    {OP_asin, 0, asin, ALL, 1.03, 0.865799725f},
    {OP_acos, 0, acos, ALL, 0.93, -0.536134064f},
    {OP_atan, 0, atan, ALL, 1.21, 1.01529682f},
    {OP_sinh, 0, sinh, ALL, 1.62, 1.41824055f},
    {OP_cosh, 0, cosh, ALL, 1.51, 4.54465246f},
    {OP_asinh, 0, asinh, ALL, 1.87, 0.355073512f},
    {OP_acosh, 0, acosh, ALL, 1.92, 1.06167567f},
    {OP_atanh, 0, atanh, ALL, 2.18, 0.171649784f},
    {OP_logit, 0, exact_logit, ALL, 2.64, 0.37880823f},
    {OP_softplus_inv, 0, exact_softplus_inv, ALL, 2.31, 0.724838495f},
    {OP_erfinv, 0, exact_erfinv, ALL, 1.70, 0.999896348f},
    {OP_elu, 0.5, exact_elu, ALL, 0.95, -0.400232434f},
    {OP_sqrt, 0, sqrt, ALL, 0.5, 0},
    {OP_leaky_relu, 0.01, exact_leaky, ALL, 0.5, 0},
    {OP_leaky_relu, 0, exact_relu, ALL, 0, 0},
    {OP_floor, 0, floor, ALL, 0, 0},
    {OP_ceil, 0, ceil, ALL, 0, 0},
    {OP_round, 0, rint, ALL, 0, 0},
    {OP_trunc, 0, trunc, ALL, 0, 0},
    {OP_sign, 0, exact_sign, ALL, 0, 0},
    {OP_abs, 0, fabs, ALL, 0, 0},
    {OP_neg, 0, exact_neg, ALL, 0, 0},
    {OP_isnan, 0, exact_isnan, ALL, 0, 0},
    {OP_isinf, 0, exact_isinf, ALL, 0, 0},
    {OP_not, 0, exact_not, ALL, 0, 0},
};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions };

typedef struct {
    double error;
    float x, got;
    double want;
} Worst;

static void compare(const Unary *f, size_t n, const float *x, const float *got, Worst *worst)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] < f->lo || x[i] > f->hi) continue;
        double want = f->exact((double)x[i]), error = ulp_error(got[i], want);
        bool zero_sign = want == 0 && got[i] == 0 && !signbit(want) != !signbit(got[i]);
        if (zero_sign && f->op != OP_leaky_relu) error = INFINITY;
        if (error > worst->error) *worst = (Worst){error, x[i], got[i], want};
    }
}

// Words start, start + step, ... as floats, to the end of bit space.
static Worst sweep(const Unary *f, uint64_t start, uint64_t step)
{
    Map *m = map_new(f->op, f->alpha, 1);
    float *x = ARENA_ARRAY(m->arena, float, BATCH), *got = ARENA_ARRAY(m->arena, float, BATCH);
    Worst worst = {0};
    for (uint64_t word = start; word < 1ull << 32;) {
        size_t n = 0;
        for (; n < BATCH; n++, word += step) x[n] = float_of((uint32_t)(word < 1ull << 32 ? word : start));
        map_run(m, BATCH, x, x, x, got);
        compare(f, BATCH, x, got, &worst);
    }
    map_free(m);
    return worst;
}

static void report(const Unary *f, const char *how, Worst w, int instructions)
{
    printf("%-10s %s: %.3f ulp at %a (%.9g): %.9g, exactly %.12g; %d instructions\n", op_info(f->op)->name, how,
           w.error, (double)w.x, (double)w.x, (double)w.got, w.want, instructions);
}

static int instructions_of(const Unary *f)
{
    Map *m = map_new(f->op, f->alpha, 1);
    int n = 0;
    for (int i = 0; i < m->code.n; i++) n += m->code.code[i].op != S_imm && m->code.code[i].op != S_arg;
    map_free(m);
    return n;
}

static void test_sample(void **state)
{
    (void)state;
    int failures = 0;
    for (int i = 0; i < N_FUNCTIONS; i++) {
        Worst w = sweep(&functions[i], 1234567 % 4099, 4099);
        bool bad = w.error > functions[i].limit;
        failures += bad;
        if (bad || getenv("NFCC_VERBOSE")) report(&functions[i], "sample", w, instructions_of(&functions[i]));
    }
    assert_int_equal(failures, 0);
}

// The table states what is reached, not more.
static void test_worst(void **state)
{
    (void)state;
    for (int i = 0; i < N_FUNCTIONS; i++) {
        const Unary *f = &functions[i];
        Map *m = map_new(f->op, f->alpha, 1);
        float x[LANES], got[LANES];
        Worst w = {0};
        for (int k = 0; k < LANES; k++) x[k] = f->worst;
        map_run(m, LANES, x, x, x, got);
        compare(f, LANES, x, got, &w);
        map_free(m);
        if (f->worst == 0 || (w.error > f->limit - 0.01 && w.error <= f->limit)) continue;
        report(f, "worst", w, instructions_of(f));
        fail();
    }
}

// Both sides of every edge: zeros, denormals, powers of two, the ends of ranges, infinities, NaN.
static size_t edges(float *x)
{
    static const float middle[] = {0,          0.5f,    1,           2,          0.85f,  0.9f,      3.9f,    4,
                                   88.722839f, 88.0f,   103.97f,     89.41f,     17.33f, 9.01f,     0x1p23f, 1e5f,
                                   1.5708f,    3.1416f, 0.70710678f, 1.4142135f, 104,    0.9990343f};
    size_t n = 0;
    for (size_t i = 0; i < sizeof middle / sizeof *middle; i++)
        for (int d = -40; d <= 40; d++) {
            uint32_t word = word_of(middle[i]) + (uint32_t)d;
            x[n++] = float_of(word);
            x[n++] = float_of(word ^ 0x80000000u);
        }
    for (uint32_t e = 0; e < 256; e++)
        for (int d = -2; d <= 2; d++) {
            x[n++] = float_of((e << 23) + (uint32_t)d);
            x[n++] = float_of(((e << 23) + (uint32_t)d) ^ 0x80000000u);
        }
    while (n % LANES) x[n++] = NAN;
    return n;
}

static void test_edges(void **state)
{
    (void)state;
    static float x[8192], got[8192];
    size_t n = edges(x);
    int failures = 0;
    for (int i = 0; i < N_FUNCTIONS; i++) {
        Map *m = map_new(functions[i].op, functions[i].alpha, 1);
        Worst w = {0};
        map_run(m, n, x, x, x, got);
        compare(&functions[i], n, x, got, &w);
        map_free(m);
        bool bad = w.error > functions[i].limit;
        failures += bad;
        if (bad) report(&functions[i], "edges", w, instructions_of(&functions[i]));
    }
    assert_int_equal(failures, 0);
}

static void test_exhaustive(void **state)
{
    (void)state;
    const char *wanted = getenv("NFCC_LONG"), *only = getenv("NFCC_ONLY");
    if (!wanted) skip();
    int failures = 0;
    for (int i = 0; i < N_FUNCTIONS; i++) {
        if (only && strcmp(only, op_info(functions[i].op)->name)) continue;
        Worst w = sweep(&functions[i], 0, 1);
        failures += w.error > functions[i].limit;
        report(&functions[i], "all floats", w, instructions_of(&functions[i]));
        fflush(stdout);
    }
    assert_int_equal(failures, 0);
}

// ---- two operands
typedef struct {
    Op op;
    double (*exact)(double a, double b);
    double limit;
} Binary;

static double exact_add(double a, double b) { return a + b; }
static double exact_sub(double a, double b) { return a - b; }
static double exact_mul(double a, double b) { return a * b; }
static double exact_div(double a, double b) { return a / b; }
static double exact_min(double a, double b) { return isnan(a) ? a : a < b ? a : b; }
static double exact_max(double a, double b) { return isnan(a) ? a : a > b ? a : b; }
static double exact_lt(double a, double b) { return a < b; }
static double exact_le(double a, double b) { return a <= b; }
static double exact_eq(double a, double b) { return a == b; }

static const Binary functions2[] = {
    {OP_pow, pow, 1.5},       {OP_add, exact_add, 0.5}, {OP_sub, exact_sub, 0.5}, {OP_mul, exact_mul, 0.5},
    {OP_div, exact_div, 0.5}, {OP_min, exact_min, 0},   {OP_max, exact_max, 0},   {OP_lt, exact_lt, 0},
    {OP_le, exact_le, 0},     {OP_eq, exact_eq, 0},
};

static uint32_t random_word(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 32);
}

// A third anywhere in bit space, a third of moderate size, a third whole or half numbers and other special values.
static float random_float(uint64_t *state)
{
    static const float special[] = {0,     1,      2,        3,  0.5f, 1.5f, 0x1p23f, 0x1p24f, 0x1.000002p24f,
                                    1e30f, 1e-40f, INFINITY, NAN};
    uint32_t kind = random_word(state) % 3, word = random_word(state);
    if (kind == 0) return float_of(word);
    if (kind == 1) return (float)((double)(int32_t)word * 0x1p-27);
    float v = special[word % (sizeof special / sizeof *special)];
    return word >> 31 ? -v : v;
}

static double worst_of_two(const Binary *f, size_t n, const float *a, const float *b, const float *got)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double want = f->exact((double)a[i], (double)b[i]), error = ulp_error(got[i], want);
        if (want == 0 && got[i] == 0 && !signbit(want) != !signbit(got[i])) error = INFINITY;
        if (error > worst && error > f->limit)
            printf("%s: %.3f ulp at %a, %a: %a, exactly %a\n", op_info(f->op)->name, error, (double)a[i], (double)b[i],
                   (double)got[i], want);
        if (error > worst) worst = error;
    }
    return worst;
}

static void test_two_operands(void **state)
{
    (void)state;
    static float a[BATCH], b[BATCH], got[BATCH];
    uint64_t seed = 1;
    int failures = 0;
    for (size_t k = 0; k < sizeof functions2 / sizeof *functions2; k++) {
        Map *m = map_new(functions2[k].op, 0, 2);
        double worst = 0;
        for (int round = 0; round < (getenv("NFCC_LONG") ? 4096 : 16); round++) {
            for (size_t i = 0; i < BATCH; i++) a[i] = random_float(&seed), b[i] = random_float(&seed);
            map_run(m, BATCH, a, b, b, got);
            worst = fmax(worst, worst_of_two(&functions2[k], BATCH, a, b, got));
        }
        if (getenv("NFCC_VERBOSE"))
            printf("%-10s %.3f ulp, %d words\n", op_info(functions2[k].op)->name, worst, m->code.n);
        failures += worst > functions2[k].limit;
        map_free(m);
    }
    assert_int_equal(failures, 0);
}

// Remainders are exact while the quotient has at most 24 bits.
static void test_remainders(void **state)
{
    (void)state;
    static float a[BATCH], b[BATCH], mod[BATCH], fmod_got[BATCH];
    uint64_t seed = 2;
    for (size_t i = 0; i < BATCH; i++) {
        b[i] = random_float(&seed);
        a[i] = i % 2 ? (float)(int)(random_word(&seed) % 2000) * 0.5f * b[i] : random_float(&seed);
    }
    Map *m = map_new(OP_mod, 0, 2), *f = map_new(OP_fmod, 0, 2);
    map_run(m, BATCH, a, b, b, mod);
    map_run(f, BATCH, a, b, b, fmod_got);
    for (size_t i = 0; i < BATCH; i++) {
        double x = (double)a[i], y = (double)b[i], want = fmod(x, y);
        if (fabs(x / y) > 0x1p23 || (isfinite(x) && isinf(x / y))) continue;
        assert_true(ulp_error(fmod_got[i], want) == 0);
        if (isinf(y)) continue;
        if (want != 0 && (want < 0) != (y < 0)) want += y;
        assert_true(ulp_error(mod[i], want) <= 0.5);
    }
    map_free(m);
    map_free(f);
}

// A condition that a comparison of the same map made, and one that came as 0 and 1, NaN counting as true.
static void test_select(void **state)
{
    (void)state;
    static float c[LANES], a[LANES], b[LANES], got[LANES];
    for (int i = 0; i < LANES; i++)
        c[i] = i % 4 == 0 ? 0 : i % 4 == 1 ? 1 : i % 4 == 2 ? NAN : -0.0f, a[i] = (float)i, b[i] = -1;
    Map *m = map_new(OP_select, 0, 3);
    map_run(m, LANES, c, a, b, got);
    for (int i = 0; i < LANES; i++) assert_true(got[i] == (i % 4 == 1 || i % 4 == 2 ? a[i] : -1));
    map_free(m);
    MapCode code = {0};
    int x = map_arg(&code, 0), y = map_arg(&code, 1), less = expand_op(&code, OP_lt, 0, x, y, 0);
    int chosen = expand_op(&code, OP_select, 0, less, x, y);
    assert_int_equal(code.code[code.code[chosen].a].op, S_flt); // the mask itself, not a test of the 0 or 1
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sample),     cmocka_unit_test(test_worst),
                                       cmocka_unit_test(test_edges),      cmocka_unit_test(test_two_operands),
                                       cmocka_unit_test(test_remainders), cmocka_unit_test(test_select),
                                       cmocka_unit_test(test_exhaustive)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
