// The runtime's entries on the fake policy against plain formulas: for all numbers of rows and samples and all tilings,
// values that are not finite, and arguments that are refused. Usage: runtime_test FAKE.so [--few ROWS]
// [--only PATTERN] (fake_model.h).
#include "fake_rows.h"
#include "scratch.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_entries(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    for (size_t rows = 1; rows <= MAX_ROWS; rows += rows < 36 ? 1 : 41)
        for (size_t n = 1; n <= 200 && rows * n <= MAX_ITEMS; n += n < 20 ? 1 : 30)
            check_entries(p, rows, n, (rows + n) % 64);
    check_entries(p, 1, 4000, 1);
    nfcc_close(p);
}

// Whatever tiles the estimates lead to: one row at a time, fours, eights, padded sixteens, padded 64, a mixture.
static void test_tilings(void **state)
{
    (void)state;
    static const uint32_t costs[][NFCC_COSTS] = {{1, 900, 900, 9, 900, 900, 900},    {90, 9, 900, 1, 900, 900, 900},
                                                 {90, 90, 9, 1, 900, 900, 900},      {90, 90, 90, 9, 20, 90, 90},
                                                 {90, 900, 900, 9, 900, 900, 10},    {0, 0, 0, 0, 0, 0, 0},
                                                 {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u}};
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++) {
        nfcc_policy *p = fake_static_of(costs[i]);
        for (size_t rows = 1; rows <= 20; rows++) check_entries(p, rows, 1, 0);
        for (size_t n = 2; n <= 20; n++) check_entries(p, 1, n, 0);
        check_entries(p, 3, 47, 0);
        for (size_t n = 2; n <= 6; n++) check_entries(p, 41, n, 0);
        nfcc_close(p);
    }
}

// A file that is opened twice may have code for other tiles (NFCC_OPEN_BASELINE). One policy reads what the other has
// prepared, in tiles of its own.
static void test_prepared_in_other_tiles(void **state)
{
    (void)state;
    static const uint32_t costs[][NFCC_COSTS] = {
        {90, 9, 900, 1, 900, 900, 900}, {90, 90, 90, 9, 20, 90, 90}, {90, 900, 900, 9, 900, 900, 10}};
    static _Alignas(64) unsigned char memory[3][FAKE_MEMORY];
    nfcc_model_header *header = (nfcc_model_header *)fake_image;
    nfcc_policy *p[3];
    fake_static();
    for (int i = 0; i < 3; i++) {
        memcpy(header->cost, costs[i], sizeof costs[i]);
        assert_int_equal(nfcc_open_static(header, memory[i], sizeof memory[i], &p[i]), NFCC_OK);
    }
    for (int pair = 0; pair < 9; pair++)
        for (size_t rows = 15; rows < 200; rows += rows / 2) {
            const nfcc_policy *one = p[pair / 3], *other = p[pair % 3];
            Memory m = memory_for(one, rows, 0), work = memory_for(other, 1, 0);
            fill(rows, 1);
            expect(rows, 1);
            assert_int_equal(nfcc_prepare(one, rows, data.context, m.prepared, m.work), NFCC_OK);
            assert_int_equal(nfcc_to_event(other, m.prepared, 1, data.z[0], made.x[0], NULL, work.work), NFCC_OK);
            assert_same(made.x, data.x, rows * FAKE_D);
            release(m);
            release(work);
        }
}

// A row's bits do not depend on its neighbours: rows one by one, of a prepared state of few rows and of `rows`.
static void check_rows_alone(size_t rows)
{
    nfcc_policy *p = fake_static();
    Memory many = memory_for(p, rows, 0), one = memory_for(p, 1, 0);
    fill(rows, 1);
    assert_int_equal(nfcc_prepare(p, rows, data.context, many.prepared, many.work), NFCC_OK);
    assert_int_equal(nfcc_to_event(p, many.prepared, 1, data.z[0], made.x[0], NULL, many.work), NFCC_OK);
    for (size_t r = 0; r < rows; r++) {
        const void *context[] = {data.obs[r], data.goal[r], &data.flag[r]};
        float x[FAKE_D];
        assert_int_equal(nfcc_prepare(p, 1, context, one.prepared, one.work), NFCC_OK);
        assert_int_equal(nfcc_to_event(p, one.prepared, 1, data.z[r], x, NULL, one.work), NFCC_OK);
        assert_same(x, made.x[r], FAKE_D);
    }
    release(many);
    release(one);
}

static void test_rows_alone(void **state)
{
    (void)state;
    check_rows_alone(70);
    check_rows_alone(257);
}

// More than 256 rows are kept in short form.
static void test_prepared_size(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    size_t whole = nfcc_prepared_size(p, 256), early = nfcc_prepared_size(p, 257);
    assert_true(whole >= (size_t)256 * 4 * FAKE_PREP && early < whole);
    for (size_t rows = 2; rows <= 256; rows++) {
        assert_true(nfcc_prepared_size(p, rows) >= rows * 4 * FAKE_PREP);
        assert_true(nfcc_prepared_size(p, rows) <= nfcc_prepared_size(p, (rows + 63) / 64 * 64)); // tiles fit the rows
    }
}

// Nor is more than 16 MiB kept whole, but of 16 rows whatever they are.
static void test_prepared_size_of_many_lanes(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    for (size_t rows = 17; rows <= 256; rows += 30) {
        m->prep_lanes = (uint32_t)((16 << 20) / 4 / rows / 16 * 16);
        assert_true(nfcc_prepared_size(p, rows) >= rows * 4 * m->prep_lanes);
        m->prep_lanes += 1;
        assert_true(nfcc_prepared_size(p, rows) < rows * 4 * m->prep_lanes / 8);
    }
    m->prep_lanes = 1 << 20;
    assert_true(nfcc_prepared_size(p, 16) >= (size_t)16 * 4 * m->prep_lanes);
    assert_true(nfcc_prepared_size(p, 17) < (size_t)4 * m->prep_lanes);
}

// Equal candidates: the first. A candidate that is NaN never wins, whatever its place; where all are, the row is NaN.
static void test_best(void **state)
{
    (void)state;
    enum { N = 130, ROWS = 5 };
    nfcc_policy *p = fake_static();
    Memory m = memory_for(p, ROWS, 3);
    nfcc_noise given = {.z = data.z[0]};
    fill(ROWS, N);
    for (size_t i = 0; i < ROWS * N; i++) data.z[i][0] = data.z[i][1] = data.z[i][2] = 3;
    const size_t first[ROWS] = {0, 7, 64, 129, 0};
    for (size_t r = 0; r < ROWS; r++) // two of equal log_prob and different x
        for (size_t k = first[r]; k < N; k += 40) data.z[r * N + k][0] = k == first[r] ? -1 : 1;
    for (size_t i = 0; i < 6; i++) data.z[N + i][1] = special((int)i);
    for (size_t i = 0; i < N; i++) data.z[4 * N + i][2] = NAN;
    expect(ROWS, N);
    assert_int_equal(nfcc_prepare(p, ROWS, data.context, m.prepared, m.work), NFCC_OK);
    assert_int_equal(nfcc_sample_best(p, m.prepared, &given, N, made.x[0], made.log_prob, m.work), NFCC_NOT_FINITE);
    for (size_t r = 0; r < 4; r++) {
        assert_same(made.x[r], data.x[r * N + first[r]], FAKE_D);
        assert_same(&made.log_prob[r], &data.log_prob[r * N + first[r]], 1);
    }
    assert_true(made.x[4][0] != made.x[4][0] && made.log_prob[4] != made.log_prob[4]);
    assert_int_equal(nfcc_sample_best(p, m.prepared, &given, 0, made.x[0], NULL, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_sample_best(p, m.prepared, &given, N, NULL, NULL, m.work), NFCC_NOT_FINITE);
    release(m);
}

// Two candidates whose log_prob is lane `lane` of to_event; which of them is given.
static int better_of(const nfcc_policy *p, const Memory *m, uint32_t lane, float a, float b)
{
    nfcc_abi_port *out =
        (nfcc_abi_port *)(fake_image + ((nfcc_model_header *)fake_image)->programs[NFCC_PROGRAM_TO_EVENT].out);
    const float z[2][FAKE_D] = {{a, 1, a}, {b, 2, b}};
    nfcc_noise given = {.z = z[0]};
    out[3].at = lane;
    nfcc_status status = nfcc_sample_best(p, m->prepared, &given, 2, made.x[0], made.log_prob, m->work);
    assert_int_equal(status,
                     fabsf(made.x[0][0]) < INFINITY && fabsf(made.x[0][2]) < INFINITY ? NFCC_OK : NFCC_NOT_FINITE);
    return made.x[0][1] == fake_x(2, fake_weight(1) + 1);
}

// The order of log_probs: numbers with both zeros equal, infinities, and NaN below all of them.
static void test_best_order(void **state)
{
    (void)state;
    static const float rising[] = {-FLT_MAX, -2, -1, -FLT_MIN, -1e-45f, -0.0f, 0, 1e-45f, FLT_MIN, 1, FLT_MAX};
    enum { K = sizeof rising / sizeof *rising, GIVEN = 2, X = 48 };
    nfcc_policy *p = fake_static();
    float *weights = (float *)(fake_image + FAKE_TABLES);
    Memory m = memory_for(p, 1, 0);
    fill(1, 1);
    data.obs[0][0] = data.obs[0][1] = 1;
    assert_int_equal(nfcc_prepare(p, 1, data.context, m.prepared, m.work), NFCC_OK);
    for (int a = 0; a < K; a++)
        for (int b = 0; b < K; b++)
            assert_int_equal(better_of(p, &m, GIVEN, rising[a], rising[b]), rising[b] > rising[a]);
    assert_true(better_of(p, &m, X, -FLT_MAX, 0) && !better_of(p, &m, X, 0, -FLT_MAX));     // -inf
    assert_true(better_of(p, &m, X, 0, FLT_MAX) && !better_of(p, &m, X, FLT_MAX, FLT_MAX)); // inf
    for (float sign = -1; sign <= 1; sign += 2) {                                           // NaN, and an infinity
        weights[0] = sign * INFINITY;
        assert_int_equal(nfcc_prepare(p, 1, data.context, m.prepared, m.work), NFCC_OK);
        assert_true(better_of(p, &m, X, -sign * FLT_MAX, 0) && !better_of(p, &m, X, 0, -sign * FLT_MAX));
    }
    release(m);
}

// A base with its own mean and scale changes noise, not latents that are given.
static void test_base(void **state)
{
    (void)state;
    static _Alignas(64) unsigned char memory[FAKE_MEMORY];
    nfcc_policy *p = fake_static();
    fake_add_base(fake_image, fake_image);
    assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, memory, sizeof memory, &p), NFCC_OK);
    for (size_t rows = 1; rows < 100; rows += 11)
        for (size_t n = 1; n < 40; n += 9) {
            Memory m = memory_for(p, rows, 2);
            nfcc_noise noise = NFCC_NOISE(SEED), given = {.z = data.z[0]};
            noise.temperature = 0.5f;
            fill(rows, n);
            assert_int_equal(nfcc_prepare(p, rows, data.context, m.prepared, m.work), NFCC_OK);
            for (size_t i = 0; i < rows * n; i++) {
                float early[FAKE_EARLY];
                early_of(i / n, early);
                for (int d = 0; d < FAKE_D; d++)
                    data.z[i][d] = fake_base(fake_noise(SEED, i, d, 0.5f), fake_prep(early, d));
            }
            expect(rows, n);
            assert_int_equal(nfcc_sample_and_log_prob(p, m.prepared, &noise, n, made.x[0], made.log_prob, m.work),
                             NFCC_OK);
            assert_same(made.x, data.x, rows * n * FAKE_D);
            assert_same(made.log_prob, data.log_prob, rows * n);
            assert_int_equal(nfcc_sample(p, m.prepared, &given, n, made.x[0], m.work), NFCC_OK);
            assert_same(made.x, data.x, rows * n * FAKE_D);
            release(m);
        }
}

// With a context per row, of which there are more than are prepared in full, the directions that read EARLY lanes are
// taken. Tiles of one context, and a base that reads PREP, want the others. The results are the same.
static void check_early(const nfcc_policy *p, size_t rows, size_t n, bool base, bool early)
{
    Memory m = memory_for(p, rows, 3);
    nfcc_noise given = {.z = data.z[0]}, noise = NFCC_NOISE(SEED);
    bool seen = false;
    fill(rows, n);
    expect(rows, n);
    assert_int_equal(nfcc_prepare(p, rows, data.context, m.prepared, m.work), NFCC_OK);
    assert_int_equal(nfcc_to_latent(p, m.prepared, n, data.x[0], made.z[0], made.log_det, m.work), NFCC_OK);
    assert_int_equal(nfcc_log_prob(p, m.prepared, n, data.x[0], made.log_prob, m.work), NFCC_OK);
    for (size_t i = 0; i < rows * n; i++) {
        float lanes[FAKE_EARLY];
        early_of(i / n, lanes);
        for (int d = 0; d < FAKE_D; d++) assert_true(made.z[i][d] == fake_z(data.x[i][d], fake_prep(lanes, d)));
        assert_true(made.log_prob[i] == fake_log_prob(made.z[i]));
        seen = seen || made.log_det[i] == FAKE_EARLY_LOG_DET;
    }
    assert_int_equal(seen, early);
    if (rows * n % 64 == 1) assert_true(made.log_det[rows * n - 1] != FAKE_EARLY_LOG_DET);
    assert_int_equal(nfcc_sample(p, m.prepared, &given, n, made.x[0], m.work), NFCC_OK);
    assert_same(made.x, data.x, rows * n * FAKE_D);
    for (size_t i = 0; i < rows * n && !base; i++)
        for (int d = 0; d < FAKE_D; d++) data.z[i][d] = fake_noise(SEED, i, d, 1);
    expect(rows, n);
    assert_int_equal(nfcc_sample_and_log_prob(p, m.prepared, &noise, n, made.x[0], made.log_prob, m.work), NFCC_OK);
    if (!base) assert_same(made.x, data.x, rows * n * FAKE_D);
    release(m);
}

static void test_early(void **state)
{
    (void)state;
    static _Alignas(64) unsigned char memory[FAKE_MEMORY];
    size_t kept = fake_few ? 16 : 256; // code for few rows alone makes PREP beside its use sooner
    nfcc_policy *p = fake_static();
    fake_add_early(fake_image, fake_image);
    for (int base = 0; base < 2; base++) {
        if (base) fake_add_base(fake_image, fake_image);
        assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, memory, sizeof memory, &p), NFCC_OK);
        check_early(p, kept, 1, base, false);
        check_early(p, kept + 1, 1, base, true);
        assert_true(nfcc_prepared_size(p, kept + 1) < nfcc_prepared_size(p, kept));
        check_early(p, 300, 3, base, true);
    }
}

static void test_run(void **state)
{
    (void)state;
    static float wide[150][FAKE_WIDE], sum[150][FAKE_WIDE];
    static int64_t count[150][FAKE_COUNT], twice[150][FAKE_COUNT];
    static unsigned char positive[150];
    nfcc_policy *p = fake_static();
    Memory m = memory_for(p, 1, 5);
    for (size_t r = 0; r < 150; r++) {
        for (size_t l = 0; l < FAKE_WIDE; l++) wide[r][l] = spread(r * 40 + l);
        for (size_t l = 0; l < FAKE_COUNT; l++) count[r][l] = (int64_t)(r * 3 + l) - 200;
    }
    wide[70][39] = INFINITY;
    const void *in[] = {wide, count};
    void *out[] = {sum, twice, positive}, *some[] = {NULL, NULL, positive};
    for (size_t rows = 1; rows <= 150; rows += 7) {
        memset(sum, 0, sizeof sum), memset(twice, 0, sizeof twice), memset(positive, 3, sizeof positive);
        assert_int_equal(nfcc_run(p, rows, in, out, m.work), rows > 70 ? NFCC_NOT_FINITE : NFCC_OK);
        for (size_t r = 0; r < rows; r++) {
            float total = 0;
            bool bad = r == 70;
            for (size_t l = 0; l < FAKE_COUNT; l++) total += (float)count[r][l];
            for (size_t l = 0; l < FAKE_WIDE; l++)
                assert_true(bad ? sum[r][l] != sum[r][l] : sum[r][l] == wide[r][l] + total);
            for (size_t l = 0; l < FAKE_COUNT; l++) assert_int_equal(twice[r][l], bad ? 0 : 2 * count[r][l]);
            assert_int_equal(positive[r], bad ? 0 : wide[r][0] > 0);
        }
        if (rows < 150) assert_int_equal(positive[rows], 3);
    }
    assert_int_equal(nfcc_run(p, 150, in, some, m.work), NFCC_NOT_FINITE);
    assert_int_equal(nfcc_run(p, 0, in, out, m.work), NFCC_OK);
    assert_int_equal(nfcc_run(p, SIZE_MAX / 100, in, out, m.work), NFCC_BAD_ARGUMENT);
    in[1] = NULL;
    assert_int_equal(nfcc_run(p, 1, in, out, m.work), NFCC_BAD_ARGUMENT);
    release(m);
}

// Integers become the nearest floats, ties to even, and come back towards zero.
static void test_integers(void **state)
{
    (void)state;
    static const int64_t edges[] = {
        0,        1,        -1,       16777215,  16777216,  16777217,          16777219,           -16777217,
        33554434, 33554438, 33554442, INT64_MAX, INT64_MIN, INT64_MAX / 2 + 1, 0x7fffffbfffffffff, 0x7fffffc000000000};
    nfcc_policy *p = fake_static();
    Memory m = memory_for(p, 1, 0);
    for (size_t i = 0; i < sizeof edges / sizeof *edges + 2000; i++) {
        float wide[FAKE_WIDE] = {0}, sum[FAKE_WIDE];
        size_t n = sizeof edges / sizeof *edges;
        int64_t pick = i < n ? edges[i] : (int64_t)(i * 0x9e3779b97f4a7c15u) >> (i % 61);
        int64_t count[3] = {pick, 0, 0}, twice[3];
        const void *in[] = {wide, count};
        void *out[] = {sum, twice, NULL};
        assert_int_equal(nfcc_run(p, 1, in, out, m.work), NFCC_OK);
        assert_true(sum[0] == (float)pick);
        float two = 2 * (float)pick;
        int64_t want = two >= 0x1p63f ? INT64_MAX : two < -0x1p63f ? INT64_MIN : (int64_t)two;
        assert_true(twice[0] == want);
    }
    release(m);
}

// ---- values that are not finite

// x = 2 z + prep: a status says that an action is no number, and the others are as usual.
static void test_event_overflows(void **state)
{
    (void)state;
    enum { ROWS = 2, N = 3 };
    nfcc_policy *p = fake_static();
    Memory m = memory_for(p, ROWS, 1);
    nfcc_noise given = {.z = data.z[0]};
    fill(ROWS, N);
    assert_int_equal(nfcc_prepare(p, ROWS, data.context, m.prepared, m.work), NFCC_OK);
    assert_int_equal(nfcc_sample(p, m.prepared, &given, N, made.x[0], m.work), NFCC_OK);
    data.z[4][1] = 3e38f;
    expect(ROWS, N);
    assert_int_equal(nfcc_sample(p, m.prepared, &given, N, made.x[0], m.work), NFCC_NOT_FINITE);
    for (size_t i = 0; i < ROWS * N; i++) assert_same(made.x[i], data.x[i], FAKE_D);
    assert_true(made.x[4][1] > 3.4e38f);
    assert_int_equal(nfcc_to_event(p, m.prepared, N, data.z[0], made.x[0], NULL, m.work), NFCC_NOT_FINITE);
    assert_int_equal(nfcc_to_event(p, m.prepared, N, data.z[0], NULL, made.log_prob, m.work), NFCC_OK);
    nfcc_call call = {.entry = NFCC_HAS_SAMPLE, .rows = ROWS, .n = N, .in = data.context, .noise = &given};
    call.out = (void *[]){made.x[0]};
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_NOT_FINITE);
    release(m);
}

// PREP lanes may be infinite where all inputs are finite: nothing is said of rows whose results are numbers or -inf.
static void test_infinite_prep(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 2, 7, 40, 300};
    nfcc_policy *p = fake_static();
    ((float *)(fake_image + FAKE_TABLES))[0] = -INFINITY;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t n = 1; n <= 5; n++) {
            Memory m = memory_for(p, rows[i], 0);
            nfcc_noise given = {.z = data.z[0]};
            fill(rows[i], n);
            for (size_t r = 0; r < rows[i]; r++) data.obs[r][0] = 1;
            assert_int_equal(nfcc_prepare(p, rows[i], data.context, m.prepared, m.work), NFCC_OK);
            assert_int_equal(nfcc_log_prob(p, m.prepared, n, data.z[0], made.log_prob, m.work), NFCC_OK);
            for (size_t k = 0; k < rows[i] * n; k++) assert_true(made.log_prob[k] == -INFINITY);
            assert_int_equal(nfcc_act(p, m.prepared, &given, n, made.act[0], m.work), NFCC_OK); // clipped
            data.z[rows[i] * n - 1][0] = 3e38f;
            assert_int_equal(nfcc_act(p, m.prepared, &given, n, made.act[0], m.work), NFCC_NOT_FINITE);
            release(m);
        }
}

static void check_bad_rows(const nfcc_policy *p, size_t rows, size_t n)
{
    Memory m = memory_for(p, rows, 9);
    nfcc_noise given = {.z = data.z[0]}, drawn = NFCC_NOISE(3);
    bool bad_context[MAX_ROWS] = {false};
    fill(rows, n);
    for (size_t r = 1; r < rows; r += 5) data.obs[r][r % FAKE_OBS] = special((int)r), bad_context[r] = true;
    expect(rows, n);
    for (size_t i = 0; i < rows * n; i++) data.bad[i] = bad_context[i / n];
    nfcc_status status = rows > 1 ? NFCC_NOT_FINITE : NFCC_OK;
    assert_int_equal(nfcc_prepare(p, rows, data.context, m.prepared, m.work), status);
    assert_int_equal(nfcc_sample(p, m.prepared, &drawn, n, made.x[0], m.work), status);
    for (size_t i = 0; i < rows * n; i++) assert_int_equal(made.x[i][0] != made.x[i][0], bad_context[i / n]);
    for (size_t i = 0; i < rows * n; i += 7) data.z[i][i % FAKE_D] = special((int)i), data.bad[i] = true;
    assert_int_equal(nfcc_sample_and_log_prob(p, m.prepared, &given, n, made.x[0], made.log_prob, m.work),
                     NFCC_NOT_FINITE);
    for (size_t i = 0; i < rows * n; i++) {
        uint32_t word;
        memcpy(&word, &made.log_prob[i], 4);
        if (data.bad[i])
            assert_int_equal(word, 0x7fc00000);
        else
            assert_same(&made.log_prob[i], &data.log_prob[i], 1);
        for (size_t d = 0; d < FAKE_D; d++) {
            memcpy(&word, &made.x[i][d], 4);
            if (data.bad[i])
                assert_int_equal(word, 0x7fc00000);
            else
                assert_same(&made.x[i][d], &data.x[i][d], 1);
        }
    }
    memcpy(data.x, data.z, sizeof data.x);
    assert_int_equal(nfcc_log_prob(p, m.prepared, n, data.x[0], made.log_prob, m.work), NFCC_NOT_FINITE);
    for (size_t i = 0; i < rows * n; i++) assert_int_equal(made.log_prob[i] != made.log_prob[i], data.bad[i]);
    release(m);
}

static void test_not_finite(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    for (size_t rows = 1; rows <= MAX_ROWS; rows += 1 + rows / 2)
        for (size_t n = 1; rows * n <= MAX_ITEMS && n < 90; n += 1 + n) check_bad_rows(p, rows, n);
}

// ---- arguments

static void test_arguments(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    Memory m = memory_for(p, 2, 0);
    nfcc_noise noise = NFCC_NOISE(1);
    float *x = made.x[0];
    fill(2, 1);
    assert_int_equal(nfcc_prepare(p, 2, NULL, m.prepared, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_prepare(p, 0, data.context, m.prepared, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_prepare(p, SIZE_MAX, data.context, m.prepared, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_prepare(p, SIZE_MAX / 64, data.context, m.prepared, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_prepare(NULL, 2, data.context, m.prepared, m.work), NFCC_BAD_ARGUMENT);
    memset(m.prepared, 0, nfcc_prepared_size(p, 2));
    assert_int_equal(nfcc_sample(p, m.prepared, &noise, 1, x, m.work), NFCC_BAD_SHAPE);
    assert_int_equal(nfcc_prepare(p, 2, data.context, m.prepared, m.work), NFCC_OK);
    assert_int_equal(nfcc_sample(p, m.prepared, NULL, 1, x, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_sample(p, NULL, &noise, 1, x, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_sample(p, m.prepared, &noise, 1, x, NULL), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_sample(p, m.prepared, &noise, SIZE_MAX, x, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_sample(p, m.prepared, &noise, SIZE_MAX / 8, x, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_to_latent(p, m.prepared, 1, NULL, x, x, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_to_event(p, m.prepared, 1, NULL, x, x, m.work), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_log_prob(p, m.prepared, 1, NULL, x, m.work), NFCC_BAD_ARGUMENT);
    for (int i = 0; i < 4; i++) {
        noise.temperature = i == 3 ? -0.5f : special(i);
        assert_int_equal(nfcc_sample(p, m.prepared, &noise, 1, x, m.work), NFCC_BAD_ARGUMENT);
    }
    assert_int_equal(noise.next, 0);
    noise.temperature = -0.0f;
    assert_int_equal(nfcc_sample(p, m.prepared, &noise, 1, x, m.work), NFCC_OK);
    assert_int_equal(nfcc_sample(p, m.prepared, &noise, 0, x, m.work), NFCC_OK);
    assert_int_equal(nfcc_sample_and_log_prob(p, m.prepared, &noise, 1, NULL, NULL, m.work), NFCC_OK);
    assert_int_equal(noise.next, 4);
    assert_int_equal(nfcc_prepared_size(p, SIZE_MAX), 0);
    assert_int_equal(nfcc_prepared_size(p, SIZE_MAX / 33), 0);
    assert_int_equal(nfcc_prepared_size(p, 0), 0);
    // Another policy's prepared state: of another model, and of the same model with other options.
    static const size_t differs[] = {offsetof(nfcc_model_header, hash), offsetof(nfcc_model_header, checksum)};
    for (size_t i = 0; i < 2; i++) {
        nfcc_policy *other;
        static char other_memory[FAKE_MEMORY];
        fake_image[differs[i]] ^= 1;
        assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, other_memory, sizeof other_memory, &other),
                         NFCC_OK);
        assert_int_equal(nfcc_sample(other, m.prepared, &noise, 1, x, m.work), NFCC_BAD_SHAPE);
        fake_image[differs[i]] ^= 1;
    }
    nfcc_noise zero = {0};
    assert_int_equal(nfcc_sample(p, m.prepared, &zero, 1, x, m.work), NFCC_OK);
    release(m);
    nfcc_close(NULL);
}

// ---- policies that lack entries

static nfcc_status call_entry(nfcc_policy *p, unsigned entry, const Memory *m)
{
    nfcc_noise noise = NFCC_NOISE(1);
    const void *in[] = {data.z, data.goal};
    void *out[] = {NULL, NULL, NULL};
    float *x = made.x[0];
    switch (entry) {
    case NFCC_HAS_TO_LATENT: return nfcc_to_latent(p, m->prepared, 1, data.z[0], x, NULL, m->work);
    case NFCC_HAS_TO_EVENT: return nfcc_to_event(p, m->prepared, 1, data.z[0], x, NULL, m->work);
    case NFCC_HAS_LOG_PROB: return nfcc_log_prob(p, m->prepared, 1, data.z[0], x, m->work);
    case NFCC_HAS_SCORE: return nfcc_score(p, m->prepared, 1, data.z[0], x, m->work);
    case NFCC_HAS_SAMPLE: return nfcc_sample(p, m->prepared, &noise, 1, x, m->work);
    case NFCC_HAS_SAMPLE_AND_LOG_PROB: return nfcc_sample_and_log_prob(p, m->prepared, &noise, 1, x, NULL, m->work);
    case NFCC_HAS_SAMPLE_BEST: return nfcc_sample_best(p, m->prepared, &noise, 1, x, NULL, m->work);
    case NFCC_HAS_ACT: return nfcc_act(p, m->prepared, &noise, 1, x, m->work);
    default: return nfcc_run(p, 1, in, out, m->work);
    }
}

// Of the fake policy without this program (or, -1, with latents that are given alone).
static void check_lacking(int program, unsigned lacking)
{
    static char memory[FAKE_MEMORY];
    const unsigned all = 2 * NFCC_HAS_SAMPLE_BEST - 1;
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    nfcc_policy *p;
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    if (program < 0)
        m->given_only = 1;
    else
        m->programs[program].exists = 0;
    assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_OK);
    assert_int_equal(nfcc_get_info(p)->entries, program < 0 ? all : all & ~lacking);
    Memory room = memory_for(p, 1, 0);
    assert_int_equal(nfcc_prepare(p, 1, data.context, room.prepared, room.work), NFCC_OK);
    for (unsigned entry = 1; entry <= all; entry *= 2)
        assert_int_equal(call_entry(p, entry, &room), entry & lacking ? NFCC_NO_ENTRY : NFCC_OK);
    nfcc_noise given = {.z = data.z[0]};
    bool samples = !(lacking & NFCC_HAS_SAMPLE) || program < 0;
    assert_int_equal(nfcc_sample(p, room.prepared, &given, 1, made.x[0], room.work), samples ? NFCC_OK : NFCC_NO_ENTRY);
    assert_int_equal(nfcc_draw(p, 1, 0, 1, made.z[0], room.work),
                     program == NFCC_PROGRAM_NOISE ? NFCC_NO_ENTRY : NFCC_OK);
    release(room);
}

static void test_no_entry(void **state)
{
    (void)state;
    const unsigned with_log_prob = NFCC_HAS_SAMPLE_AND_LOG_PROB | NFCC_HAS_SAMPLE_BEST,
                   sampling = NFCC_HAS_SAMPLE | NFCC_HAS_ACT | with_log_prob;
    fill(FAKE_WIDE, 1); // run reads more of it
    check_lacking(NFCC_PROGRAM_RUN, NFCC_HAS_RUN);
    check_lacking(NFCC_PROGRAM_SCORE, NFCC_HAS_SCORE);
    check_lacking(NFCC_PROGRAM_TO_LATENT, NFCC_HAS_TO_LATENT | NFCC_HAS_LOG_PROB);
    check_lacking(NFCC_PROGRAM_TO_EVENT, NFCC_HAS_TO_EVENT | sampling);
    check_lacking(NFCC_PROGRAM_NOISE, sampling);
    check_lacking(-1, sampling);
    nfcc_policy *p = fake_static();
    Memory m = memory_for(p, 1, 0);
    float *context_score[3] = {NULL};
    assert_int_equal(nfcc_prepare(p, 1, data.context, m.prepared, m.work), NFCC_OK);
    assert_int_equal(nfcc_score_context(p, m.prepared, 1, data.z[0], made.x[0], NULL, m.work), NFCC_OK);
    assert_int_equal(nfcc_score_context(p, m.prepared, 1, data.z[0], made.x[0], context_score, m.work), NFCC_NO_ENTRY);
    release(m);
}

static void test_info(void **state)
{
    (void)state;
    const nfcc_info *info = nfcc_get_info(fake_static());
    assert_string_equal(info->name, "fake");
    assert_string_equal(info->target, "");
    assert_string_equal(info->contexts[1].name, "a/goal");
    assert_int_equal(info->contexts[1].type, NFCC_TYPE_I64);
    assert_int_equal(info->contexts[1].rank, 2);
    assert_int_equal(info->contexts[1].size, 2);
    assert_int_equal(info->contexts[2].rank, 0);
    assert_int_equal(info->contexts[2].size, 1);
    assert_string_equal(info->inputs[1].name, "count");
    assert_string_equal(info->outputs[2].name, "positive");
    assert_int_equal(info->event_size, FAKE_D);
    assert_int_equal(info->entries, 0x1ff);
    assert_int_equal(info->weights_size, FAKE_WEIGHTS);
    assert_null(nfcc_get_info(NULL));
    for (int s = 0; s <= NFCC_AMX + 1; s++) assert_true(strlen(nfcc_status_text((nfcc_status)s)) > 3);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_tilings),
        cmocka_unit_test(test_prepared_in_other_tiles),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_prepared_size),
        cmocka_unit_test(test_prepared_size_of_many_lanes),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_best_order),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_event_overflows),
        cmocka_unit_test(test_infinite_prep),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_no_entry),
        cmocka_unit_test(test_info),
    };
    if (!fake_arguments(argc, argv)) return 2;
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
