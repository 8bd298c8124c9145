// See fake_rows.h.
#include "fake_rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

Rows data, made;

float spread(uint64_t i) { return (float)(int32_t)(i * 2654435761u + 12345u) * 0x1p-30f; }

float special(int i) { return i % 3 == 0 ? INFINITY : i % 3 == 1 ? -INFINITY : NAN; }

void fill(size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t l = 0; l < FAKE_OBS; l++) data.obs[r][l] = spread(r * 17 + l);
        data.goal[r][0] = (int64_t)r - 50;
        data.goal[r][1] = (int64_t)r << 40;
        data.flag[r] = r % 3 == 0 ? 2 : 0;
    }
    data.context[0] = data.obs, data.context[1] = data.goal, data.context[2] = data.flag;
    for (size_t i = 0; i < rows * n; i++)
        for (size_t d = 0; d < FAKE_D; d++) data.z[i][d] = spread(i * 31 + d + 1000);
}

void early_of(size_t row, float *early)
{
    for (size_t l = 0; l < FAKE_OBS; l++) early[l] = data.obs[row][l];
    for (size_t l = 0; l < FAKE_GOAL; l++) early[FAKE_OBS + l] = (float)data.goal[row][l];
    early[7] = data.flag[row] ? 1.0f : 0.0f;
}

void expect(size_t rows, size_t n)
{
    for (size_t i = 0; i < rows * n; i++) {
        float early[FAKE_EARLY];
        early_of(i / n, early);
        for (int d = 0; d < FAKE_D; d++) {
            data.x[i][d] = fake_x(data.z[i][d], fake_prep(early, d));
            data.act[i][d] = fake_act(data.x[i][d]);
        }
        data.log_prob[i] = fake_log_prob(data.z[i]);
    }
}

void assert_same(const void *a, const void *b, size_t floats)
{
    if (memcmp(a, b, floats * 4) == 0) return;
    for (size_t i = 0; i < floats; i++) {
        uint32_t u, v;
        memcpy(&u, (const char *)a + 4 * i, 4);
        memcpy(&v, (const char *)b + 4 * i, 4);
        if (u != v) fail_msg("float %zu of %zu: %08x, expected %08x", i, floats, u, v);
    }
}

static void *map_new(struct Mapping *map, size_t size, size_t shift)
{
    enum { PAGE = 65536, LINE = 64 }; // PAGE: no machine's are larger
    size_t usable = (size + shift + PAGE - 1) / PAGE * PAGE;
    map->size = usable + PAGE;
    map->at = mmap(NULL, map->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map->at != MAP_FAILED);
    assert_int_equal(mprotect(map->at + usable, PAGE, PROT_NONE), 0);
    return map->at + (usable - size - shift) / LINE * LINE + shift;
}

Memory memory_for(const nfcc_policy *p, size_t rows, size_t shift)
{
    Memory m;
    m.prepared = map_new(&m.prepared_at, nfcc_prepared_size(p, rows), shift);
    m.work = map_new(&m.work_at, nfcc_get_info(p)->work_size, shift);
    return m;
}

void release(Memory m)
{
    munmap(m.prepared_at.at, m.prepared_at.size);
    munmap(m.work_at.at, m.work_at.size);
}

// ---- entries
// Of the n candidates of each row (data.x, data.log_prob) the first that none exceeds.
static void check_best(const nfcc_policy *p, const Memory *m, nfcc_noise noise, size_t rows, size_t n)
{
    uint64_t next = noise.z ? noise.next : noise.next + rows * n;
    memset(&made, 0xff, sizeof made);
    assert_int_equal(nfcc_sample_best(p, m->prepared, &noise, n, made.x[0], made.log_prob, m->work), NFCC_OK);
    assert_true(noise.next == next);
    for (size_t r = 0; r < rows; r++) {
        size_t best = r * n;
        for (size_t i = r * n; i < r * n + n; i++)
            if (data.log_prob[i] > data.log_prob[best]) best = i;
        assert_same(made.x[r], data.x[best], FAKE_D);
        assert_same(&made.log_prob[r], &data.log_prob[best], 1);
    }
    assert_true(isnan(made.log_prob[rows]) && isnan(made.x[rows][0])); // as they were
}

static void check_noise_entries(const nfcc_policy *p, const Memory *m, size_t rows, size_t n)
{
    nfcc_noise given = {.z = data.z[0], .temperature = -1}, drawn = NFCC_NOISE(SEED);
    memset(&made, 0, sizeof made);
    assert_int_equal(nfcc_sample(p, m->prepared, &given, n, made.x[0], m->work), NFCC_OK);
    assert_same(made.x, data.x, rows * n * FAKE_D);
    assert_int_equal(nfcc_act(p, m->prepared, &given, n, made.act[0], m->work), NFCC_OK);
    assert_same(made.act, data.act, rows * n * FAKE_D);
    assert_int_equal(given.next, 0);
    drawn.next = UINT32_MAX - 3ull;
    for (size_t i = 0; i < rows * n; i++)
        for (int d = 0; d < FAKE_D; d++) data.z[i][d] = fake_noise(SEED, drawn.next + i, d, 1);
    assert_int_equal(nfcc_draw(p, SEED, drawn.next, rows * n, made.z[0], m->work), NFCC_OK);
    assert_same(made.z, data.z, rows * n * FAKE_D);
    expect(rows, n);
    assert_int_equal(nfcc_sample_and_log_prob(p, m->prepared, &drawn, n, made.x[0], made.log_prob, m->work), NFCC_OK);
    assert_same(made.x, data.x, rows * n * FAKE_D);
    assert_same(made.log_prob, data.log_prob, rows * n);
    assert_int_equal(drawn.next, UINT32_MAX - 3ull + rows * n);
    drawn.next = UINT32_MAX - 3ull;
    check_best(p, m, drawn, rows, n);
    given.z = data.z[0];
    check_best(p, m, given, rows, n);
}

void check_entries(const nfcc_policy *p, size_t rows, size_t n, size_t shift)
{
    Memory m = memory_for(p, rows, shift);
    fill(rows, n);
    expect(rows, n);
    memset(&made, 0, sizeof made);
    assert_int_equal(nfcc_prepare(p, rows, data.context, m.prepared, m.work), NFCC_OK);
    assert_int_equal(nfcc_to_event(p, m.prepared, n, data.z[0], made.x[0], made.log_det, m.work), NFCC_OK);
    assert_same(made.x, data.x, rows * n * FAKE_D);
    for (size_t i = 0; i < rows * n; i++) assert_true(made.log_det[i] == 2.0794415f);
    assert_int_equal(nfcc_to_latent(p, m.prepared, n, data.x[0], made.z[0], NULL, m.work), NFCC_OK);
    for (size_t i = 0; i < rows * n; i++) {
        float early[FAKE_EARLY];
        early_of(i / n, early);
        for (int d = 0; d < FAKE_D; d++) assert_true(made.z[i][d] == fake_z(data.x[i][d], fake_prep(early, d)));
        data.log_prob[i] = fake_log_prob(made.z[i]);
    }
    assert_int_equal(nfcc_log_prob(p, m.prepared, n, data.x[0], made.log_prob, m.work), NFCC_OK);
    assert_same(made.log_prob, data.log_prob, rows * n);
    assert_int_equal(nfcc_score(p, m.prepared, n, data.x[0], made.act[0], m.work), NFCC_OK);
    for (size_t i = 0; i < rows * n; i++)
        for (int d = 0; d < FAKE_D; d++) assert_true(made.act[i][d] == -0.5f * made.z[i][d]);
    check_noise_entries(p, &m, rows, n);
    release(m);
}
