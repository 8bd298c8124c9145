// The noise program: Philox against its published vectors, Box-Muller against long double on the same words (also at
// the ends of its range), the distribution, and that (seed, row) alone decides a row.
#include "expand.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// ---- a map step alone: words in, words out
typedef struct {
    Step step;
    PlanPort in, out;
    Plan plan;
} Words;

// n_in arguments from the lanes 0, 1, ... of the one in-port; out j is lane 16 j of a buffer.
static void words_init(Words *w, const MapCode *m, uint32_t n_in, uint32_t n_out, const int *value)
{
    *w = (Words){.step = {.kind = STEP_MAP, .name = "words"}};
    w->step.map = (MapStep){.n = 1, .n_args = n_in, .n_outs = n_out, .n_code = (uint32_t)m->n, .code = m->code};
    for (uint32_t j = 0; j < n_in; j++) w->step.map.args[j] = (Access){SPACE_WORK, j, 1, 0, 1};
    for (uint32_t j = 0; j < n_out; j++) {
        w->step.map.outs[j].at = 16 + 16 * j;
        w->step.map.outs[j].value = (uint32_t)value[j];
    }
    w->in = (PlanPort){PORT_GRAPH, 0, 0, n_in};
    w->out = (PlanPort){PORT_GRAPH, 0, 16, 16 * n_out};
    w->plan.programs[PROGRAM_RUN] = (Program){true, &w->step, 1, 16 + 16 * n_out, &w->in, &w->out, 1, 1};
}

static void words_run(const Words *w, const uint32_t *in, uint32_t *out)
{
    const uint32_t *const ins[] = {in};
    uint32_t buffer[16 * 4], *const outs[] = {buffer};
    plan_run(&w->plan, PROGRAM_RUN, 1, NULL, ins, outs);
    for (uint32_t j = 0; j < w->step.map.n_outs; j++) out[j] = buffer[16 * j];
}

// ---- Philox
// counter, key, result: "kat_vectors" of Random123, philox4x32 10
static const uint32_t vectors[][10] = {
    {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
     0x6d5451fd},
    {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
     0x24126ea1},
};

static void test_known_answers(void **state)
{
    (void)state;
    MapCode m = {0};
    int c[4], key[2];
    for (int i = 0; i < 4; i++) c[i] = map_arg(&m, i);
    for (int i = 0; i < 2; i++) key[i] = map_arg(&m, 4 + i);
    math_philox(&m, c, key);
    assert_false(m.overflow);
    Words w;
    words_init(&w, &m, 6, 4, c);
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++) {
        uint32_t got[4];
        words_run(&w, vectors[v], got);
        for (int i = 0; i < 4; i++) assert_int_equal(got[i], vectors[v][6 + i]);
    }
}

// The same generator, written once more as plain C.
static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int i = 0; i < 10; i++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        uint64_t a = (uint64_t)c[0] * 0xd2511f53u, b = (uint64_t)c[2] * 0xcd9e8d57u;
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        memcpy(c, next, sizeof next);
    }
}

// ---- Box-Muller
static void box_muller(const uint32_t w[4], long double out[2])
{
    uint64_t r = (uint64_t)w[0] << 32 | w[1], angle = (uint64_t)w[2] << 32 | w[3];
    long double ln = r >> 63 ? log1pl(-((long double)~r + 0.5L) * 0x1p-64L) : logl(((long double)r + 0.5L) * 0x1p-64L);
    long double radius = sqrtl(-2 * ln), quarter = 1.57079632679489661923132L;
    // the nearest quarter turn is taken off in integers, so that the reference is exact near the axes
    uint64_t n = (angle + (1ull << 61)) >> 62;
    long double rest = ((long double)(int64_t)(angle - (n << 62)) + 0.5L) * 0x1p-62L * quarter;
    long double s = sinl(rest), c = cosl(rest);
    long double sine = n % 4 == 0 ? s : n % 4 == 1 ? c : n % 4 == 2 ? -s : -c;
    long double cosine = n % 4 == 0 ? c : n % 4 == 1 ? -s : n % 4 == 2 ? -c : s;
    out[0] = radius * cosine;
    out[1] = radius * sine;
}

// |got - want| in ULP of want, of 2^-126 at least.
static double error_ulp(float got, long double want)
{
    int e;
    frexpl(want, &e);
    return (double)(fabsl((long double)got - want) / ldexpl(1, e < -125 ? -149 : e - 24));
}

static void test_box_muller_edges(void **state)
{
    (void)state;
    static const uint32_t edge[] = {0,          1,          2,          0xff,       0x100,      0xffff,
                                    0x10000,    0x00ffffff, 0x1fffffff, 0x20000000, 0x20000001, 0x3fffffff,
                                    0x40000000, 0x5fffffff, 0x60000000, 0x7fffffff, 0x80000000, 0x80000001,
                                    0xa0000000, 0xbfffffff, 0xc0000000, 0xe0000000, 0xfffffffe, 0xffffffff};
    enum { N = sizeof edge / sizeof *edge };
    MapCode m = {0};
    int c[4], value[2];
    for (int i = 0; i < 4; i++) c[i] = map_arg(&m, i);
    math_box_muller(&m, c, value);
    Words w;
    words_init(&w, &m, 4, 2, value);
    double worst = 0;
    for (int i = 0; i < N * N; i++)
        for (int k = 0; k < N * N; k += 5) {
            uint32_t in[4] = {edge[i / N], edge[i % N], edge[(k + i) % (N * N) / N], edge[k % N]}, got[2];
            long double want[2];
            float z[2];
            words_run(&w, in, got);
            memcpy(z, got, sizeof z);
            box_muller(in, want);
            for (int j = 0; j < 2; j++) worst = fmax(worst, error_ulp(z[j], want[j]));
        }
    if (getenv("NFCC_VERBOSE")) printf("edges: %.3f ulp\n", worst);
    assert_true(worst < 5);
}

// ---- the program
typedef struct {
    Arena *arena;
    Plan plan;
} Noise;

static Noise noise_new(uint32_t lanes)
{
    Noise n = {.arena = arena_new()};
    Diag diag = {.arena = n.arena, .file = "test"};
    Context cx = {.arena = n.arena, .diag = &diag};
    float *weights = ARENA_ARRAY(n.arena, float, 5); // something is there already, of an uneven size
    weights[4] = 42;
    uint64_t weight_lanes = 5;
    plan_noise(&cx, BASE_NORMAL, lanes, &n.plan.programs[PROGRAM_NOISE], &weights, &weight_lanes);
    assert_true(weights[4] == 42 && weight_lanes % 16 == 0);
    n.plan.weights = weights;
    n.plan.weight_lanes = weight_lanes;
    bool good = plan_verify(&n.plan, &cx);
    diag_print(&diag, stderr);
    assert_true(good);
    return n;
}

static void draw(const Noise *n, uint64_t seed, uint64_t row, float temperature, size_t rows, float *z)
{
    uint32_t *words = malloc(rows * 4 * sizeof *words);
    float *t = malloc(rows * sizeof *t);
    assert_true(words && t);
    for (size_t i = 0; i < rows; i++) {
        uint32_t *w = words + 4 * i;
        w[0] = (uint32_t)seed, w[1] = (uint32_t)(seed >> 32);
        w[2] = (uint32_t)(row + i), w[3] = (uint32_t)((row + i) >> 32);
        t[i] = temperature;
    }
    const uint32_t *const in[] = {words, (const uint32_t *)t};
    uint32_t *const out[] = {(uint32_t *)z};
    plan_run(&n->plan, PROGRAM_NOISE, rows, NULL, in, out);
    free(words);
    free(t);
}

enum { LANES = 101, ROWS = 9901 }; // 1e6 numbers, an odd number of lanes

static void test_against_long_double(void **state)
{
    (void)state;
    Noise n = noise_new(LANES);
    float *z = malloc(sizeof *z * LANES * ROWS);
    const uint64_t seed = 0x123456789abcdefull, row = 0xfffffff0ull; // rows cross 2^32
    draw(&n, seed, row, 1, ROWS, z);
    double worst = 0, worst_absolute = 0;
    for (size_t r = 0; r < ROWS; r++)
        for (uint32_t l = 0; l < LANES; l++) {
            uint32_t w[4] = {(uint32_t)(row + r), (uint32_t)((row + r) >> 32), l / 2, 0};
            long double want[2];
            philox(w, (uint32_t)seed, (uint32_t)(seed >> 32));
            box_muller(w, want);
            worst = fmax(worst, error_ulp(z[r * LANES + l], want[l % 2]));
            worst_absolute = fmax(worst_absolute, (double)fabsl((long double)z[r * LANES + l] - want[l % 2]));
        }
    if (getenv("NFCC_VERBOSE")) printf("normals: %.3f ulp, %.3g absolute\n", worst, worst_absolute);
    assert_true(worst < 5 && worst_absolute < 1e-6);
    free(z);
    arena_free(n.arena);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Kolmogorov-Smirnov: sqrt(n) times the largest distance of the empirical distribution; 1.95 is passed once in 1000.
static double kolmogorov(float *z, size_t n)
{
    qsort(z, n, sizeof *z, by_value);
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double p = 0.5 * erfc(-(double)z[i] * 0.70710678118654752);
        worst = fmax(worst, fmax(fabs(p - (double)i / (double)n), fabs(p - (double)(i + 1) / (double)n)));
    }
    return worst * sqrt((double)n);
}

static void test_distribution(void **state)
{
    (void)state;
    Noise n = noise_new(LANES);
    const size_t count = (size_t)LANES * ROWS;
    float *z = malloc(sizeof *z * count);
    draw(&n, 7, 0, 1, ROWS, z);
    double moment[5] = {0}, neighbours = 0, rows = 0;
    for (size_t i = 0; i < count; i++) {
        double p = 1;
        for (int k = 1; k < 5; k++) moment[k] += (p *= (double)z[i]);
        if (i + 1 < count) neighbours += (double)z[i] * (double)z[i + 1];
        if (i + LANES < count) rows += (double)z[i] * (double)z[i + LANES];
    }
    double scale = sqrt((double)count), ks = kolmogorov(z, count);
    // each in units of its standard deviation
    double mean = moment[1] / scale, variance = (moment[2] / scale - scale) / sqrt(2),
           skew = moment[3] / scale / sqrt(15);
    double kurtosis = (moment[4] / scale - 3 * scale) / sqrt(96), near = neighbours / scale, far = rows / scale;
    if (getenv("NFCC_VERBOSE"))
        printf("mean %.2f, variance %.2f, third %.2f, fourth %.2f, neighbours %.2f, rows %.2f sigma; ks %.3f\n", mean,
               variance, skew, kurtosis, near, far, ks);
    const double sigma[] = {mean, variance, skew, kurtosis, near, far};
    for (int i = 0; i < 6; i++) assert_true(fabs(sigma[i]) < 4);
    assert_true(ks < 1.95);
    free(z);
    arena_free(n.arena);
}

// A row is the same wherever it stands in the call; another seed, row or lane is another number.
static void test_rows_and_seeds(void **state)
{
    (void)state;
    enum { D = 7, R = 40 };
    Noise n = noise_new(D);
    float all[R * D], one[D], other[D];
    draw(&n, 5, 100, 1, R, all);
    for (uint64_t r = 0; r < R; r++) {
        draw(&n, 5, 100 + r, 1, 1, one);
        assert_memory_equal(one, all + r * D, sizeof one);
    }
    draw(&n, 5 + (1ull << 32), 100, 1, 1, other);
    for (int l = 0; l < D; l++) assert_true(other[l] != all[l] && all[l] != all[D + l]);
    draw(&n, 5, 100 + (1ull << 32), 1, 1, other);
    for (int l = 0; l < D; l++) assert_true(other[l] != all[l]);
    Noise wider = noise_new(D + 1); // the same stream, one lane more
    float more[D + 1];
    draw(&wider, 5, 100, 1, 1, more);
    assert_memory_equal(more, all, D * sizeof *more);
    Noise single = noise_new(1);
    draw(&single, 5, 100, 1, 1, one);
    assert_memory_equal(one, all, sizeof *one);
    arena_free(single.arena);
    arena_free(wider.arena);
    arena_free(n.arena);
}

static void test_temperature(void **state)
{
    (void)state;
    enum { D = 64 };
    Noise n = noise_new(D);
    float full[D], half[D], none[D], zeros[D] = {0};
    draw(&n, 3, 9, 1, 1, full);
    draw(&n, 3, 9, 0.5f, 1, half);
    draw(&n, 3, 9, 0, 1, none);
    assert_memory_equal(none, zeros, sizeof none); // +0, not -0
    for (int l = 0; l < D; l++) assert_true(half[l] == 0.5f * full[l]);
    arena_free(n.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),       cmocka_unit_test(test_box_muller_edges),
        cmocka_unit_test(test_against_long_double), cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_rows_and_seeds),      cmocka_unit_test(test_temperature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
