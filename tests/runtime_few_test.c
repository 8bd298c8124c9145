// Policies whose code is for few rows alone (--few, fake_model.h): which tiles so many items make up, what the time of
// so many is by the policy's own estimates, and how far calls write. Usage: runtime_few_test FAKE.so [--only PATTERN]
#include "fake_rows.h"
#include "scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 300 };

// ---- the rows that code is called with
static size_t tile[MOST], n_tiles;

static void count_rows(float *work, const float *prep, const void *weights, uint64_t shape)
{
    if (n_tiles < MOST) tile[n_tiles++] = NFCC_FEW_ROWS(shape);
    fake_code(NFCC_PROGRAM_TO_EVENT, 0)(work, prep, weights, shape);
}

static void count_encoded(float *work, const float *prep, const void *weights, uint64_t shape)
{
    if (n_tiles < MOST) tile[n_tiles++] = NFCC_FEW_ROWS(shape);
    fake_code(NFCC_PROGRAM_ENCODE, 0)(work, prep, weights, shape);
}

// The fake policy with code for up to `few` rows, which count_rows sees; 0: with all tiles.
static nfcc_policy *counted(uint32_t few, const uint32_t *costs)
{
    fake_few = few;
    nfcc_policy *p = fake_static_of(costs);
    fake_few = 0;
    int32_t *code = ((nfcc_model_header *)fake_image)->programs[NFCC_PROGRAM_TO_EVENT].code;
    code[0] += (int32_t)((intptr_t)(uintptr_t)count_rows - (intptr_t)(uintptr_t)fake_code(NFCC_PROGRAM_TO_EVENT, 0));
    return p;
}

// The tiles of `items` samples of one context row.
static void count_tiles(const nfcc_policy *p, size_t items)
{
    Memory m = memory_for(p, 1, 0);
    fill(1, items);
    assert_int_equal(nfcc_prepare(p, 1, data.context, m.prepared, m.work), NFCC_OK);
    n_tiles = 0;
    assert_int_equal(nfcc_to_event(p, m.prepared, items, data.z[0], made.x[0], NULL, m.work), NFCC_OK);
    release(m);
}

static void test_as_many_as_are_left(void **state)
{
    (void)state;
    static const uint32_t costs[NFCC_COSTS] = {20, 20, 20, 3};
    static const uint32_t few[] = {1, 2, 7, 16, 64, 100, 127, 128};
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        nfcc_policy *p = counted(few[i], costs);
        for (size_t items = 1; items <= MOST; items++) {
            count_tiles(p, items);
            assert_int_equal(n_tiles, (items + few[i] - 1) / few[i]);
            size_t rows = 0;
            for (size_t t = 0; t < n_tiles; t++) rows += tile[t];
            assert_int_equal(rows, items);
        }
    }
}

// Where there are larger tiles, few rows are up to eight, whatever their code could take.
static void test_with_larger_tiles(void **state)
{
    (void)state;
    static const uint32_t costs[NFCC_COSTS] = {9, 9, 9, 1, 900, 900, 900};
    nfcc_policy *p = counted(0, costs);
    count_tiles(p, 128);
    assert_int_equal(n_tiles, 16);
    for (size_t t = 0; t < n_tiles; t++) assert_int_equal(tile[t], 8);
}

// Tiles of 64 and none of 16, as which a shared context would lie.
static void test_without_sixteen(void **state)
{
    (void)state;
    static _Alignas(64) unsigned char memory[FAKE_MEMORY];
    static const uint32_t costs[NFCC_COSTS] = {900, 900, 900, 9, 900, 900, 10};
    nfcc_policy *p = fake_static_of(costs);
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    for (int id = 0; id < NFCC_PROGRAMS; id++) m->programs[id].code[1] = 0;
    assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_OK);
    for (size_t n = 1; n <= MOST; n += 7) check_entries(p, 2, n, 0);
    for (size_t rows = 250; rows <= 260; rows++) check_entries(p, rows, 1, 0);
    check_entries(p, MOST, 13, 0);
}

// ---- time, by the estimates

static uint64_t tile_cost(const uint32_t *costs, size_t rows)
{
    uint64_t shared = costs[rows <= 4 ? NFCC_COST_FOUR : NFCC_COST_EIGHT];
    return rows == 1 ? costs[NFCC_COST_ONE] : shared + (uint64_t)costs[NFCC_COST_EACH] * rows;
}

// No number of items takes longer than two calls that share them, but for a tenth.
static void check_no_cliff(uint32_t few, const uint32_t *costs)
{
    static uint64_t time[MOST + 1];
    nfcc_policy *p = counted(few, costs);
    for (size_t items = 1; items <= MOST; items++) {
        count_tiles(p, items);
        time[items] = 0;
        for (size_t t = 0; t < n_tiles; t++) time[items] += tile_cost(costs, tile[t]);
        for (size_t part = 1; part <= items / 2; part++)
            if (10 * time[items] > 11 * (time[part] + time[items - part]))
                fail_msg("up to %u rows: %zu items are faster as %zu and the rest", few, items, part);
    }
}

static void test_no_cliff(void **state)
{
    (void)state;
    static const uint32_t few[] = {3, 16, 24, 100, 128};
    static const uint32_t costs[][NFCC_COSTS] = {
        {1000, 1000, 1000, 20}, {1000, 2000, 4000, 100}, {100, 2000, 2000, 50}, {1000, 1000, 1000, 1}, {1, 9, 9, 9}};
    for (size_t f = 0; f < sizeof few / sizeof *few; f++)
        for (size_t c = 0; c < sizeof costs / sizeof *costs; c++) check_no_cliff(few[f], costs[c]);
}

// ---- rows: all numbers of them, and memory around what calls may write

static void test_rows(void **state)
{
    (void)state;
    static const uint32_t few[] = {1, 100, 128};
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        nfcc_policy *p = counted(few[i], NULL);
        for (size_t rows = 1; rows <= MOST; rows++) check_entries(p, rows, 1, rows % 64);
        for (size_t n = 2; n <= MOST; n += 3) check_entries(p, 1, n, 0);
        for (size_t n = 2; n <= 13; n++) check_entries(p, MOST, n, 5);
    }
}

enum { AROUND = 4096, PAINT = 0x5a };

static unsigned char *painted(size_t size)
{
    unsigned char *at = malloc(size + 2 * AROUND);
    memset(at, PAINT, size + 2 * AROUND);
    return at + AROUND;
}

static void scrape(unsigned char *at, size_t size)
{
    for (size_t i = 0; i < AROUND; i++) {
        assert_int_equal(at[-1 - (ptrdiff_t)i], PAINT);
        assert_int_equal(at[size + i], PAINT);
    }
    free(at - AROUND);
}

// The policy in fake_image opened once more, with so many lanes of each program that a call is about; those beside it
// have few, so that whatever is written past its WORK is past the workspace.
static nfcc_policy *widened(uint32_t lanes)
{
    static _Alignas(64) unsigned char memory[FAKE_MEMORY];
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    nfcc_policy *p;
    for (int id = 0; id < NFCC_PROGRAMS; id++)
        if (id != NFCC_PROGRAM_LATE && id != NFCC_PROGRAM_NOISE && id != NFCC_PROGRAM_BASE &&
            m->programs[id].work_lanes < lanes)
            m->programs[id].work_lanes = lanes;
    assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_OK);
    return p;
}

// As many rows as WORK of 2 MiB has room for, and sixteen at least, whatever the code could take; but one where there is
// not room for four, and four where these share more than 2 MiB of weights.
static void test_wide_programs(void **state)
{
    (void)state;
    static const uint32_t costs[NFCC_COSTS] = {20, 20, 20, 3};
    static const uint32_t lanes[] = {4080, 8176, 16368, 100000, 140000, 140000}, want[] = {128, 64, 32, 16, 1, 4};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        counted(128, costs);
        if (want[i] == 4) ((nfcc_model_header *)fake_image)->weights_size = (2 << 20) + 1;
        nfcc_policy *p = widened(lanes[i]);
        size_t size = nfcc_get_info(p)->work_size, prepared_size = nfcc_prepared_size(p, MOST);
        unsigned char *work = painted(size), *prepared = painted(prepared_size);
        fill(MOST, 1);
        n_tiles = 0;
        assert_int_equal(nfcc_prepare(p, MOST, data.context, prepared, work), NFCC_OK);
        assert_int_equal(nfcc_to_event(p, prepared, 1, data.z[0], made.x[0], NULL, work), NFCC_OK);
        assert_int_equal(n_tiles, (MOST + want[i] - 1) / want[i]);
        assert_int_equal(tile[0], want[i]);
        scrape(work, size);
        scrape(prepared, prepared_size);
        check_entries(p, 40, 3, 0);
    }
}

// With a context per row the program that reads EARLY lanes may need more WORK than the one whose place it takes.
static void test_wide_early(void **state)
{
    (void)state;
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    counted(128, NULL);
    fake_add_early(fake_image, fake_image);
    m->programs[NFCC_PROGRAM_TO_LATENT_EARLY].work_lanes = 100000;
    nfcc_policy *p = widened(96);
    Memory room = memory_for(p, MOST, 0);
    fill(MOST, 1);
    assert_int_equal(nfcc_prepare(p, MOST, data.context, room.prepared, room.work), NFCC_OK);
    assert_int_equal(nfcc_to_latent(p, room.prepared, 1, data.z[0], made.z[0], made.log_det, room.work), NFCC_OK);
    for (size_t i = 0; i < MOST; i++) assert_true(made.log_det[i] == FAKE_EARLY_LOG_DET);
    release(room);
}

// The base may need more than the noise in whose place it works, beside what programs have.
static void test_wide_base(void **state)
{
    (void)state;
    enum { ROWS = 128, WIDE = 4096 };
    counted(ROWS, NULL);
    fake_add_base(fake_image, fake_image);
    ((nfcc_model_header *)fake_image)->programs[NFCC_PROGRAM_BASE].work_lanes = WIDE;
    assert_true(nfcc_get_info(widened(96))->work_size >= 2 * ROWS * WIDE * sizeof(float));
}

// Tiles of more than 16 rows have WORK of 8 MiB at most, but for the score's.
static void test_wide_tiles(void **state)
{
    (void)state;
    static const uint32_t costs[NFCC_COSTS] = {900, 900, 900, 900, 900, 900, 10};
    static const uint32_t lanes[] = {32768, 32784, 96}, score[] = {96, 96, 32784};
    static const uint32_t rows[] = {64, 16, 64}; // this policy has no code for 32
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        counted(0, costs);
        ((nfcc_model_header *)fake_image)->programs[NFCC_PROGRAM_SCORE].work_lanes = score[i];
        nfcc_policy *p = widened(lanes[i]);
        size_t work = (size_t)(lanes[i] > score[i] ? lanes[i] : score[i]) * rows[i] * 4;
        assert_in_range(nfcc_get_info(p)->work_size, work, work + work / 2);
        check_entries(p, 70, 3, 0);
    }
}

// An encoder with code for few rows alone takes its rows one by one, for tiles of any size: WORK of one row is enough,
// and it does not say which tiles the other programs have.
static void test_encode_by_rows(void **state)
{
    (void)state;
    static const uint32_t costs[NFCC_COSTS] = {900, 900, 900, 900, 900, 900, 10};
    enum { WIDE = 100000 };
    counted(0, costs);
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    nfcc_abi_program *encode = &m->programs[NFCC_PROGRAM_ENCODE];
    int32_t *code = encode->code;
    for (int s = 1; s < NFCC_TILES; s++) code[s] = 0;
    code[0] = (int32_t)((intptr_t)(uintptr_t)count_encoded - (intptr_t)fake_image);
    encode->work_lanes = WIDE;
    nfcc_policy *p = widened(96);
    assert_in_range(nfcc_get_info(p)->work_size, WIDE * 4, 2 * WIDE * 4);
    for (size_t rows = 1; rows <= MAX_ROWS; rows = rows * 4 + 3) {
        size_t size = nfcc_get_info(p)->work_size;
        unsigned char *work = painted(size), *prepared = painted(nfcc_prepared_size(p, rows));
        fill(rows, 1);
        n_tiles = 0;
        assert_int_equal(nfcc_prepare(p, rows, data.context, prepared, work), NFCC_OK);
        assert_int_equal(n_tiles, rows < MOST ? rows : MOST);
        for (size_t t = 0; t < n_tiles; t++) assert_int_equal(tile[t], 1);
        data.obs[rows / 2][1] = NAN; // is known of its row
        expect(rows, 1);
        assert_int_equal(nfcc_prepare(p, rows, data.context, prepared, work), NFCC_NOT_FINITE);
        assert_int_equal(nfcc_to_event(p, prepared, 1, data.z[0], made.x[0], NULL, work), NFCC_NOT_FINITE);
        for (size_t r = 0; r < rows; r++)
            assert_true(r == rows / 2 ? isnan(made.x[r][0]) : made.x[r][0] == data.x[r][0]);
        scrape(work, size);
        scrape(prepared, nfcc_prepared_size(p, rows));
        check_entries(p, rows, 3, 1);
    }
    size_t selftest = nfcc_selftest_size(p);
    void *memory = malloc(selftest);
    assert_int_equal(nfcc_selftest(p, memory, selftest), NFCC_OK);
    free(memory);
}

// The rows of a tile each have their place in the workspace, and nothing is written outside of it.
static void test_memory(void **state)
{
    (void)state;
    size_t before = 0;
    for (uint32_t few = 1; few <= NFCC_MOST_FEW; few *= 2) {
        nfcc_policy *p = counted(few, NULL);
        size_t size = nfcc_get_info(p)->work_size, prepared_size = nfcc_prepared_size(p, MOST);
        unsigned char *work = painted(size), *prepared = painted(prepared_size);
        nfcc_noise noise = NFCC_NOISE(SEED);
        assert_true(size >= before + few * 96 * sizeof(float));
        before = size;
        fill(MOST, 2);
        assert_int_equal(nfcc_prepare(p, MOST, data.context, prepared, work), NFCC_OK);
        assert_int_equal(nfcc_sample(p, prepared, &noise, 2, made.x[0], work), NFCC_OK);
        assert_int_equal(nfcc_log_prob(p, prepared, 2, made.x[0], made.log_prob, work), NFCC_OK);
        scrape(work, size);
        scrape(prepared, prepared_size);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_as_are_left),
        cmocka_unit_test(test_with_larger_tiles),
        cmocka_unit_test(test_without_sixteen),
        cmocka_unit_test(test_no_cliff),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_wide_programs),
        cmocka_unit_test(test_wide_early),
        cmocka_unit_test(test_wide_base),
        cmocka_unit_test(test_wide_tiles),
        cmocka_unit_test(test_encode_by_rows),
    };
    if (!fake_arguments(argc, argv)) return 2;
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
