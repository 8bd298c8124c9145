// The runtime on the fake policy: every entry against plain formulas, for all numbers of rows and samples, by any
// number of threads, without system calls; damaged files and descriptors; and that nothing allocates once a policy is
// open. Usage: runtime_test FAKE.so [--only PATTERN] (the library of fake_policy.c); with a second name alone, only
// writes the policy there.
#include "fake_policy.h"
#include "nfcc.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif
#include <cmocka.h>

#define SEED 0x123456789abcdefull
enum { GOLDEN_ROWS = 5, MAX_ROWS = 200, MAX_ITEMS = 4096 };

// ---- allocations are counted, and the n-th can be made to fail
static int allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int fail_at = -1;
extern void *__libc_malloc(size_t size);
void *malloc(size_t size)
{
    if (allocations++ == fail_at) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}
#endif

// ---- building the descriptor

typedef struct {
    unsigned char *base;
    uint32_t used;
} Tables;

static uint32_t put(Tables *t, const void *data, size_t size)
{
    uint32_t at = t->used;
    memcpy(t->base + at, data, size);
    t->used += (uint32_t)((size + 3) / 4 * 4);
    return at;
}

static uint32_t put_text(Tables *t, const char *text) { return put(t, text, strlen(text) + 1); }

static nfcc_abi_value value(Tables *t, const char *name, uint32_t dtype, uint32_t rank, uint32_t a, uint32_t b)
{
    nfcc_abi_value v = {
        .name = put_text(t, name), .dtype = dtype, .rank = rank, .lanes = rank ? rank == 2 ? a * b : a : 1};
    if (rank > 0) v.dim[0] = a;
    if (rank > 1) v.dim[1] = b;
    return v;
}

static void add_program(Tables *t, nfcc_model_header *m, const void *base, int id, const nfcc_abi_port *in,
                        uint32_t n_in, const nfcc_abi_port *out, uint32_t n_out)
{
    nfcc_abi_program *program = &m->programs[id];
    *program = (nfcc_abi_program){.exists = 1, .work_lanes = 96, .n_in = n_in, .n_out = n_out};
    for (int s = 0; s < NFCC_TILES; s++)
        if (fake_code(id, s)) program->code[s] = (int32_t)((intptr_t)(uintptr_t)fake_code(id, s) - (intptr_t)base);
    program->in = put(t, in, n_in * sizeof *in);
    program->out = put(t, out, n_out * sizeof *out);
}

#define PORTS(...) (const nfcc_abi_port[]){__VA_ARGS__}, sizeof((nfcc_abi_port[]){__VA_ARGS__}) / sizeof(nfcc_abi_port)

static void add_programs(Tables *t, nfcc_model_header *m, const void *base)
{
    add_program(t, m, base, NFCC_PROGRAM_ENCODE,
                PORTS({NFCC_PORT_CONTEXT, 0, 0, 5}, {NFCC_PORT_CONTEXT, 1, 5, 2}, {NFCC_PORT_CONTEXT, 2, 7, 1}),
                PORTS({NFCC_PORT_EARLY, 0, 48, FAKE_EARLY}));
    add_program(t, m, base, NFCC_PROGRAM_LATE, PORTS({NFCC_PORT_EARLY, 0, 0, FAKE_EARLY}),
                PORTS({NFCC_PORT_PREP, 0, 48, FAKE_PREP}));
    add_program(t, m, base, NFCC_PROGRAM_TO_LATENT, PORTS({NFCC_PORT_X, 0, 0, 3}),
                PORTS({NFCC_PORT_Z, 0, 48, 3}, {NFCC_PORT_LOG_DET, 0, 64, 1}, {NFCC_PORT_LOG_PROB, 0, 65, 1}));
    add_program(t, m, base, NFCC_PROGRAM_SCORE, PORTS({NFCC_PORT_X, 0, 0, 3}), PORTS({NFCC_PORT_SCORE, 0, 48, 3}));
    add_program(t, m, base, NFCC_PROGRAM_TO_EVENT, PORTS({NFCC_PORT_Z, 0, 0, 3}),
                PORTS({NFCC_PORT_X, 0, 48, 3}, {NFCC_PORT_ACT, 0, 52, 3}, {NFCC_PORT_LOG_DET, 0, 64, 1},
                      {NFCC_PORT_LOG_PROB, 0, 65, 1}));
    add_program(t, m, base, NFCC_PROGRAM_NOISE, PORTS({NFCC_PORT_SEED, 0, 0, 4}, {NFCC_PORT_TEMPERATURE, 0, 4, 1}),
                PORTS({NFCC_PORT_Z, 0, 48, 3}));
    add_program(
        t, m, base, NFCC_PROGRAM_RUN,
        PORTS({NFCC_PORT_GRAPH, 0, 0, FAKE_WIDE}, {NFCC_PORT_GRAPH, 1, FAKE_WIDE, FAKE_COUNT}),
        PORTS({NFCC_PORT_GRAPH, 0, 48, FAKE_WIDE}, {NFCC_PORT_GRAPH, 1, 44, FAKE_COUNT}, {NFCC_PORT_GRAPH, 2, 47, 1}));
}

// Noise gets the context's own mean and scale before it is z.
static void add_base(unsigned char *image, const void *base)
{
    nfcc_model_header *m = (nfcc_model_header *)image;
    Tables t = {.base = image, .used = m->size};
    add_program(&t, m, base, NFCC_PROGRAM_BASE, PORTS({NFCC_PORT_Z, 0, 0, 3}), PORTS({NFCC_PORT_Z, 0, 0, 3}));
    m->size = t.used;
}

static void add_golden(Tables *t, nfcc_model_header *m)
{
    float words[GOLDEN_ROWS][2 * FAKE_D + 2];
    for (uint64_t r = 0; r < GOLDEN_ROWS; r++) {
        float early[FAKE_EARLY] = {0}, z[FAKE_D], back[FAKE_D];
        for (int l = 0; l < FAKE_OBS; l++) early[l] = fake_noise(7 + 1 + (uint64_t)l / FAKE_D, r, l % FAKE_D, 1);
        for (int d = 0; d < FAKE_D; d++) {
            z[d] = fake_noise(7, r, d, 1);
            words[r][d] = fake_x(z[d], fake_prep(early, d));
            back[d] = words[r][FAKE_D + 1 + d] = fake_z(words[r][d], fake_prep(early, d));
        }
        (void)back;
        words[r][FAKE_D] = fake_log_prob(z);
        words[r][2 * FAKE_D + 1] = -2.0794415f;
    }
    m->golden = put(t, words, sizeof words);
    m->golden_rows = GOLDEN_ROWS;
    m->golden_words = sizeof words / 4;
    m->golden_seed = 7;
}

// The descriptor for code at offsets from `base` (where it will be mapped), into `image`.
static void build(unsigned char *image, const void *base, size_t weights_size)
{
    Tables t = {.base = image, .used = sizeof(nfcc_model_header)};
    nfcc_model_header *m = (nfcc_model_header *)image;
    memset(image, 0, FAKE_IMAGE);
    *m = (nfcc_model_header){.magic = NFCC_ABI_MAGIC,
                             .version = NFCC_ABI_VERSION,
                             .hash = {1, 2, 3},
                             .few_rows = 8,
                             .shares_prep = 1,
                             .cost = {10, 15, 20, 3, 60, 110, 200}};
    m->name = put_text(&t, "fake");
    m->compiler = put_text(&t, "by hand");
    m->base = put_text(&t, "standard normal");
    m->early_lanes = FAKE_EARLY;
    m->prep_lanes = FAKE_PREP;
    const nfcc_abi_value contexts[] = {value(&t, "obs", NFCC_F32, 1, 5, 0), value(&t, "a/goal", NFCC_I64, 2, 2, 1),
                                       value(&t, "flag", NFCC_BOOL, 0, 0, 0)};
    const nfcc_abi_value inputs[] = {value(&t, "wide", NFCC_F32, 2, 8, 5), value(&t, "count", NFCC_I64, 1, 3, 0)};
    const nfcc_abi_value outputs[] = {value(&t, "sum", NFCC_F32, 1, 40, 0), value(&t, "twice", NFCC_I64, 1, 3, 0),
                                      value(&t, "positive", NFCC_BOOL, 0, 0, 0)};
    m->contexts = put(&t, contexts, sizeof contexts), m->n_contexts = 3;
    m->inputs = put(&t, inputs, sizeof inputs), m->n_inputs = 2;
    m->outputs = put(&t, outputs, sizeof outputs), m->n_outputs = 3;
    m->event = value(&t, "x", NFCC_F32, 1, FAKE_D, 0);
    add_programs(&t, m, base);
    add_golden(&t, m);
    m->size = t.used;
    m->weights = FAKE_TABLES;
    m->weights_size = weights_size;
    for (int l = 0; l < FAKE_PREP; l++) {
        float w = fake_weight(l);
        memcpy(image + FAKE_TABLES + 4 * l, &w, 4);
    }
}

// ---- policies to test: linked in, and as a file

static _Alignas(64) unsigned char image[FAKE_IMAGE];
static _Alignas(64) unsigned char static_memory[8192];
static const char *library;
static char folder[] = "/tmp/nfcc-runtime-XXXXXX";

// With estimates of what tiles cost, or none.
static nfcc_policy *static_policy_of(const uint32_t *cost)
{
    nfcc_policy *p = NULL;
    build(image, image, 4096);
    if (cost) memcpy(((nfcc_model_header *)image)->cost, cost, NFCC_COSTS * sizeof *cost);
    assert_int_equal(nfcc_open_static((const nfcc_model *)image, static_memory + 3, sizeof static_memory - 3, &p),
                     NFCC_OK);
    return p;
}

static nfcc_policy *static_policy(void) { return static_policy_of(NULL); }

static size_t read_file(const char *path, unsigned char **data)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size_t size = (size_t)ftell(f);
    rewind(f);
    *data = malloc(size);
    assert_int_equal(fread(*data, 1, size, f), size);
    fclose(f);
    return size;
}

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

// Written beside and renamed, as the compiler does.
static void write_file(const char *name, const void *data, size_t size)
{
    char temporary[256];
    snprintf(temporary, sizeof temporary, "%s/.new", folder);
    FILE *f = fopen(temporary, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    assert_int_equal(rename(temporary, in_folder(name)), 0);
}

typedef struct {
    unsigned char *file;
    size_t size, model; // where in the file the descriptor begins
} Library;

// The library's file with a descriptor in it.
static Library make_library(size_t weights_size)
{
    static const unsigned char mark[] = {1, 0, 0, 0, 0, 0, 0, 0};
    Library l;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    unsigned char *base = dlsym(handle, "nfcc_model");
    nfcc_abi_code *(*code)(int, int) = (nfcc_abi_code * (*)(int, int)) dlsym(handle, "fake_code");
    assert_true(base && code);
    unsigned char *built = malloc(FAKE_IMAGE);
    build(built, built, weights_size);
    nfcc_model_header *m = (nfcc_model_header *)built;
    for (int id = 0; id < NFCC_PROGRAMS; id++)
        for (int s = 0; s < NFCC_TILES; s++)
            m->programs[id].code[s] = code(id, s) ? (int32_t)((unsigned char *)(uintptr_t)code(id, s) - base) : 0;
    l.size = read_file(library, &l.file);
    for (l.model = 0; memcmp(l.file + l.model, mark, sizeof mark) != 0 || memcmp(l.file + l.model, base, 4096) != 0;)
        assert_true((l.model += 64) + 4096 < l.size);
    memcpy(l.file + l.model, built, FAKE_IMAGE);
    free(built);
    dlclose(handle);
    return l;
}

static nfcc_policy *open_library(const char *name, size_t weights_size, unsigned flags)
{
    Library l = make_library(weights_size);
    nfcc_policy *p = NULL;
    write_file(name, l.file, l.size);
    free(l.file);
    assert_int_equal(nfcc_open(in_folder(name), flags, &p), NFCC_OK);
    return p;
}

// ---- data and what is expected of it

typedef struct {
    float obs[MAX_ROWS][FAKE_OBS];
    int64_t goal[MAX_ROWS][FAKE_GOAL];
    unsigned char flag[MAX_ROWS];
    const void *context[3];
    float x[MAX_ITEMS][FAKE_D], z[MAX_ITEMS][FAKE_D], act[MAX_ITEMS][FAKE_D];
    float log_prob[MAX_ITEMS], log_det[MAX_ITEMS];
    bool bad[MAX_ITEMS];
} Data;

static Data data, made;

static float spread(uint64_t i) { return (float)(int32_t)(i * 2654435761u + 12345u) * 0x1p-30f; }

static float special(int i) { return i % 3 == 0 ? INFINITY : i % 3 == 1 ? -INFINITY : NAN; }

static void fill(size_t rows, size_t n)
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

static void early_of(size_t row, float *early)
{
    for (size_t l = 0; l < FAKE_OBS; l++) early[l] = data.obs[row][l];
    for (size_t l = 0; l < FAKE_GOAL; l++) early[FAKE_OBS + l] = (float)data.goal[row][l];
    early[7] = data.flag[row] ? 1.0f : 0.0f;
}

// x, act, log_prob of data.z
static void expect(size_t rows, size_t n)
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

static void assert_same(const void *a, const void *b, size_t floats)
{
    if (memcmp(a, b, floats * 4) == 0) return;
    for (size_t i = 0; i < floats; i++) {
        uint32_t u, v;
        memcpy(&u, (const char *)a + 4 * i, 4);
        memcpy(&v, (const char *)b + 4 * i, 4);
        if (u != v) fail_msg("float %zu of %zu: %08x, expected %08x", i, floats, u, v);
    }
}

typedef struct {
    void *prepared, *work, *prepared_at, *work_at;
} Memory;

// Exactly as large as promised, and as misaligned as `shift` says.
static Memory memory_for(const nfcc_policy *p, size_t rows, size_t shift)
{
    Memory m = {.prepared_at = malloc(nfcc_prepared_size(p, rows) + shift)};
    m.work_at = malloc(nfcc_get_info(p)->work_size + shift);
    m.prepared = (char *)m.prepared_at + shift;
    m.work = (char *)m.work_at + shift;
    return m;
}

static void release(Memory m)
{
    free(m.prepared_at);
    free(m.work_at);
}

// ---- entries

// Of the n candidates of each row (data.x, data.log_prob) the first that none exceeds.
static void check_best(const nfcc_policy *p, const Memory *m, nfcc_noise noise, size_t rows, size_t n)
{
    uint64_t next = noise.z ? noise.next : noise.next + rows * n;
    memset(&made, 0, sizeof made);
    assert_int_equal(nfcc_sample_best(p, m->prepared, &noise, n, made.x[0], made.log_prob, m->work), NFCC_OK);
    assert_true(noise.next == next);
    for (size_t r = 0; r < rows; r++) {
        size_t best = r * n;
        for (size_t i = r * n; i < r * n + n; i++)
            if (data.log_prob[i] > data.log_prob[best]) best = i;
        assert_same(made.x[r], data.x[best], FAKE_D);
        assert_same(&made.log_prob[r], &data.log_prob[best], 1);
    }
    assert_true(made.log_prob[rows] == 0 && made.x[rows][0] == 0);
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

static void check_entries(const nfcc_policy *p, size_t rows, size_t n, size_t shift)
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

static void test_entries(void **state)
{
    (void)state;
    nfcc_policy *p = static_policy();
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
        nfcc_policy *p = static_policy_of(costs[i]);
        for (size_t rows = 1; rows <= 20; rows++) check_entries(p, rows, 1, 0);
        for (size_t n = 2; n <= 20; n++) check_entries(p, 1, n, 0);
        check_entries(p, 3, 47, 0);
        nfcc_close(p);
    }
}

// A row's bits do not depend on its neighbours: rows one by one, of a prepared state of few rows and of many.
static void test_rows_alone(void **state)
{
    (void)state;
    nfcc_policy *p = static_policy();
    Memory many = memory_for(p, 70, 0), one = memory_for(p, 1, 0);
    fill(70, 1);
    assert_int_equal(nfcc_prepare(p, 70, data.context, many.prepared, many.work), NFCC_OK);
    assert_int_equal(nfcc_to_event(p, many.prepared, 1, data.z[0], made.x[0], NULL, many.work), NFCC_OK);
    for (size_t r = 0; r < 70; r++) {
        const void *context[] = {data.obs[r], data.goal[r], &data.flag[r]};
        float x[FAKE_D];
        assert_int_equal(nfcc_prepare(p, 1, context, one.prepared, one.work), NFCC_OK);
        assert_int_equal(nfcc_to_event(p, one.prepared, 1, data.z[r], x, NULL, one.work), NFCC_OK);
        assert_same(x, made.x[r], FAKE_D);
    }
    release(many);
    release(one);
}

// Equal candidates: the first. A candidate that is NaN never wins, whatever its place; where all are, the row is NaN.
static void test_best(void **state)
{
    (void)state;
    enum { N = 130, ROWS = 5 };
    nfcc_policy *p = static_policy();
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
    nfcc_abi_port *out = (nfcc_abi_port *)(image + ((nfcc_model_header *)image)->programs[NFCC_PROGRAM_TO_EVENT].out);
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
    nfcc_policy *p = static_policy();
    float *weights = (float *)(image + FAKE_TABLES);
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
    nfcc_policy *p = static_policy();
    add_base(image, image);
    assert_int_equal(nfcc_open_static((const nfcc_model *)image, static_memory, sizeof static_memory, &p), NFCC_OK);
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

static void test_run(void **state)
{
    (void)state;
    static float wide[150][FAKE_WIDE], sum[150][FAKE_WIDE];
    static int64_t count[150][FAKE_COUNT], twice[150][FAKE_COUNT];
    static unsigned char positive[150];
    nfcc_policy *p = static_policy();
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
    nfcc_policy *p = static_policy();
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
    nfcc_policy *p = static_policy();
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
    nfcc_policy *p = static_policy();
    for (size_t rows = 1; rows <= MAX_ROWS; rows += 1 + rows / 2)
        for (size_t n = 1; rows * n <= MAX_ITEMS && n < 90; n += 1 + n) check_bad_rows(p, rows, n);
}

// ---- arguments

static void test_arguments(void **state)
{
    (void)state;
    nfcc_policy *p = static_policy();
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
    image[offsetof(nfcc_model_header, hash)] ^= 1; // another policy's prepared state
    nfcc_policy *other;
    static char other_memory[8192];
    assert_int_equal(nfcc_open_static((const nfcc_model *)image, other_memory, sizeof other_memory, &other), NFCC_OK);
    assert_int_equal(nfcc_sample(other, m.prepared, &noise, 1, x, m.work), NFCC_BAD_SHAPE);
    nfcc_noise zero = {0};
    assert_int_equal(nfcc_sample(p, m.prepared, &zero, 1, x, m.work), NFCC_OK);
    release(m);
    nfcc_close(NULL);
}

static void test_info(void **state)
{
    (void)state;
    const nfcc_info *info = nfcc_get_info(static_policy());
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
    assert_int_equal(info->weights_size, 4096);
    assert_null(nfcc_get_info(NULL));
    for (int s = 0; s <= NFCC_ENVIRONMENT + 1; s++) assert_true(strlen(nfcc_status_text((nfcc_status)s)) > 3);
}

// ---- self test

static nfcc_status selftest(const nfcc_policy *p)
{
    size_t size = nfcc_selftest_size(p);
    char *memory = malloc(size + 7);
    assert_int_equal(nfcc_selftest(p, memory + 7, size - 1), NFCC_BAD_ARGUMENT);
    nfcc_status status = nfcc_selftest(p, memory + 7, size);
    free(memory);
    return status;
}

static void test_selftest(void **state)
{
    (void)state;
    nfcc_policy *p = static_policy();
    nfcc_model_header *m = (nfcc_model_header *)image;
    assert_int_equal(selftest(p), NFCC_OK);
    for (uint32_t i = 0; i < m->golden_words; i++) {
        image[m->golden + 4 * i] ^= 1;
        assert_int_equal(selftest(p), NFCC_GOLDEN);
        image[m->golden + 4 * i] ^= 1;
    }
    image[m->weights] ^= 1;
    assert_int_equal(selftest(p), NFCC_GOLDEN);
    image[m->weights] ^= 1;
    fesetround(FE_UPWARD);
    nfcc_status status = selftest(p);
    fesetround(FE_TONEAREST);
    assert_int_equal(status, NFCC_ENVIRONMENT);
#if defined(__x86_64__)
    uint32_t mxcsr, flush;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    flush = mxcsr | 0x8000u;
    __asm__ volatile("ldmxcsr %0" ::"m"(flush));
    status = selftest(p);
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
    assert_int_equal(status, NFCC_ENVIRONMENT);
#endif
    assert_int_equal(selftest(p), NFCC_OK);
}

// ---- files

static void test_open(void **state)
{
    (void)state;
    static const size_t weights[] = {4096, 3 << 20};
    static const unsigned flags[] = {0, NFCC_OPEN_SHARED, NFCC_OPEN_BULK | NFCC_OPEN_LOCK};
    for (size_t w = 0; w < 2; w++)
        for (size_t f = 0; f < 3; f++) {
            nfcc_policy *p = open_library("open.so", weights[w], flags[f]);
            check_entries(p, 3, 50, 11);
            assert_int_equal(selftest(p), NFCC_OK);
            nfcc_close(p);
        }
}

// KiB of this process that are locked in memory; -1: not known. The sanitizers turn mlock into nothing.
static long locked_now(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return -1;
#endif
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmLck: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

static void test_open_locked(void **state)
{
    (void)state;
    static const size_t weights[] = {4096, 3 << 20};
    for (size_t w = 0; w < 2; w++) {
        long before = locked_now();
        if (before < 0) skip();
        nfcc_policy *p = open_library("locked.so", weights[w], NFCC_OPEN_LOCK);
        assert_true(locked_now() - before >= (long)(weights[w] / 1024));
        nfcc_close(p);
        assert_int_equal(locked_now(), before);
        nfcc_close(open_library("locked.so", weights[w], 0));
        assert_int_equal(locked_now(), before);
    }
}

// A policy compiled again under the same name, while the first is in use, is the new one.
static void test_open_replaced(void **state)
{
    (void)state;
    nfcc_policy *first = open_library("same.so", 4096, 0), *second = NULL, *again = NULL;
    Library l = make_library(4096);
    l.file[l.model + ((nfcc_model_header *)(l.file + l.model))->name] = 'c';
    write_file("same.so", l.file, l.size);
    free(l.file);
    assert_int_equal(nfcc_open(in_folder("same.so"), 0, &second), NFCC_OK);
    assert_int_equal(nfcc_open(in_folder("same.so"), 0, &again), NFCC_OK);
    assert_string_equal(nfcc_get_info(first)->name, "fake");
    assert_string_equal(nfcc_get_info(second)->name, "cake");
    assert_string_equal(nfcc_get_info(again)->name, "cake");
    nfcc_close(second);
    check_entries(again, 2, 3, 0);
    nfcc_close(again);
    check_entries(first, 2, 3, 0);
    nfcc_close(first);
}

static void test_open_here(void **state)
{
    (void)state;
    char before[4096];
    nfcc_policy *p = open_library("here.so", 4096, 0);
    nfcc_close(p);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    nfcc_status status = nfcc_open("here.so", 0, &p);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, NFCC_OK);
    nfcc_close(p);
}

// NFCC_OPEN_LOOK sees what is opened, and else only what is of another machine; nothing of it can be called.
static void look_at(const char *path, nfcc_status opened, const nfcc_policy *same)
{
    nfcc_policy *p;
    unsigned char memory[256];
    float z[FAKE_D];
    nfcc_status status = nfcc_open(path, NFCC_OPEN_LOOK, &p);
    assert_true((status == NFCC_OK) == (p != NULL));
    assert_true(status == opened || (status == NFCC_OK && opened == NFCC_CPU) || opened == NFCC_CPU);
    if (!p) return;
    assert_string_equal(nfcc_get_info(p)->name, "fake");
    assert_int_equal(nfcc_get_info(p)->entries, same ? nfcc_get_info(same)->entries : nfcc_get_info(p)->entries);
    assert_int_equal(nfcc_prepare(p, 1, data.context, memory, memory), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_draw(p, 0, 0, 1, z, memory), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_run(p, 1, data.context, (void *[]){z, z, z}, memory), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_selftest_size(p), 0);
    nfcc_close(p);
}

static nfcc_status open_bytes(const void *bytes, size_t size)
{
    nfcc_policy *p = NULL;
    write_file("bytes.so", bytes, size);
    nfcc_status status = nfcc_open(in_folder("bytes.so"), 0, &p);
    assert_true((status == NFCC_OK) == (p != NULL));
    look_at(in_folder("bytes.so"), status, p);
    nfcc_close(p);
    return status;
}

static void test_not_a_policy(void **state)
{
    (void)state;
    nfcc_policy *p = (nfcc_policy *)image;
    assert_int_equal(nfcc_open("/nonexistent/policy.so", 0, &p), NFCC_FILE);
    assert_int_equal(errno, ENOENT);
    assert_null(p);
    assert_int_equal(nfcc_open(folder, 0, &p), NFCC_FILE);
    assert_int_equal(errno, 0);
    assert_int_equal(nfcc_open(NULL, 0, &p), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_open(library, 64, &p), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_open(library, 0, NULL), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_open(library, 0, &p), NFCC_ABI); // the descriptor is not filled in
    assert_int_equal(open_bytes("", 0), NFCC_FILE);
    assert_int_equal(open_bytes("# not an object file", 20), NFCC_FILE);
    Library l = make_library(4096);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_OK);
    for (size_t size = l.model + 100; size > 0; size = size * 2 / 3)
        assert_int_equal(open_bytes(l.file, size), NFCC_FILE);
    for (size_t size = 0; size < 4096; size += 97) assert_int_equal(open_bytes(l.file, size), NFCC_FILE);
    l.file[18] ^= 0xff; // e_machine
    assert_int_equal(open_bytes(l.file, l.size), NFCC_CPU);
    free(l.file);
}

// Every word of the descriptor's head and tables overwritten with hostile values: refused, or opened and usable.
static void test_damaged(void **state)
{
    (void)state;
    static const uint32_t values[] = {0, 1, 8, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0, 4096, 16384};
    static unsigned char memory[65536];
    build(image, image, 4096);
    uint32_t size = ((nfcc_model_header *)image)->size, refused = 0, tried = 0;
    for (uint32_t at = 0; at < size; at += 4)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            nfcc_policy *p = NULL;
            build(image, image, 4096);
            nfcc_model_header *m = (nfcc_model_header *)image;
            bool code = false, extent = at == offsetof(nfcc_model_header, weights) + 4 ||
                                        at == offsetof(nfcc_model_header, weights) ||
                                        at == offsetof(nfcc_model_header, weights_size) ||
                                        at == offsetof(nfcc_model_header, weights_size) + 4 ||
                                        at == offsetof(nfcc_model_header, size);
            for (int id = 0; id < NFCC_PROGRAMS; id++) {
                size_t first = offsetof(nfcc_model_header, programs) + (size_t)id * sizeof *m->programs;
                code |= at >= first && at < first + sizeof m->programs->code;
            }
            if (code || extent) continue; // a policy that is linked in has these from the linker; files: below
            memcpy(image + at, &values[v], 4);
            nfcc_status status = nfcc_open_static((const nfcc_model *)image, memory, sizeof memory, &p);
            tried++, refused += status != NFCC_OK;
            if (status == NFCC_OK && nfcc_get_info(p)->work_size < 1 << 20) {
                size_t bytes = nfcc_selftest_size(p);
                if (bytes == 0 || bytes > 1 << 22) continue;
                void *test = malloc(bytes);
                nfcc_selftest(p, test, bytes);
                free(test);
            }
        }
    print_message("damaged words: %u of %u refused\n", refused, tried);
    assert_true(refused > tried / 4);
}

static void set64(unsigned char *file, size_t at, uint64_t v) { memcpy(file + at, &v, 8); }
static void set32(unsigned char *file, size_t at, uint32_t v) { memcpy(file + at, &v, 4); }

#define FIELD(name) (l.model + offsetof(nfcc_model_header, name))
static void test_damaged_file(void **state)
{
    (void)state;
    static const uint64_t hostile[] = {1, 0x7fffffffffffffff, 0xffffffffffffffc0, 1ull << 32, FAKE_IMAGE + 65536};
    static const uint32_t code[] = {0, 63, FAKE_TABLES, 0x7ffffff0, 0x80000000};
    Library l = make_library(4096);
    unsigned char *good = malloc(l.size);
    memcpy(good, l.file, l.size);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        set64(l.file, FIELD(weights), hostile[i]);
        assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
        set64(l.file, FIELD(weights), FAKE_TABLES);
        set64(l.file, FIELD(weights_size), i == 0 ? 1ull << 40 : hostile[i]);
        assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
        memcpy(l.file, good, l.size);
        set32(l.file, FIELD(programs[NFCC_PROGRAM_RUN].code[1]), code[i]);
        assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
        memcpy(l.file, good, l.size);
    }
    set32(l.file, FIELD(size), 0x7fffffff);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
    set32(l.file, FIELD(size), ((nfcc_model_header *)(good + l.model))->size);
    set32(l.file, FIELD(version), 2);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
    set32(l.file, FIELD(version), 1);
    set32(l.file, FIELD(cpu), 1u << 31);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_CPU);
    free(l.file);
    free(good);
}

// Opens the file with byte `at` damaged in two ways, and mends it.
static void open_damaged(const char *path, int fd, const Library *l, size_t at)
{
    static const unsigned char flips[] = {1, 0xff};
    for (size_t i = 0; i < 2; i++) {
        nfcc_policy *p;
        unsigned char damaged = l->file[at] ^ flips[i];
        if (pwrite(fd, &damaged, 1, (off_t)at) != 1) _exit(1);
        if (nfcc_open(path, 0, &p) == NFCC_OK) nfcc_close(p);
    }
    if (pwrite(fd, &l->file[at], 1, (off_t)at) != 1) _exit(1);
}

// Every byte of the file outside the descriptor's image: headers, symbols, the dynamic section. It is the dynamic loader
// that reads them, so a mistake is a crash; hence the children, one for each MANY bytes.
static void test_damaged_headers(void **state)
{
    (void)state;
    enum { MANY = 64 };
    Library l = make_library(4096);
    write_file("headers.so", l.file, l.size);
    const char *path = in_folder("headers.so");
    int fd = open(path, O_WRONLY);
    size_t *reached = mmap(NULL, sizeof *reached, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(fd >= 0 && reached != MAP_FAILED);
    for (size_t at = 0; at < l.size; at += MANY) {
        if (at == 640) at = l.model + FAKE_IMAGE;
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL), signal(SIGBUS, SIG_DFL), signal(SIGFPE, SIG_DFL), signal(SIGABRT, SIG_DFL);
            for (*reached = at; *reached < at + MANY && *reached < l.size; ++*reached)
                open_damaged(path, fd, &l, *reached);
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (!WIFEXITED(status)) fail_msg("byte %zu: died of signal %d", *reached, WTERMSIG(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    munmap(reached, sizeof *reached);
    close(fd);
    free(l.file);
}

static void test_static_memory(void **state)
{
    (void)state;
    nfcc_policy *p;
    build(image, image, 4096);
    size_t size = nfcc_static_size((const nfcc_model *)image);
    assert_in_range(size, 200, sizeof static_memory);
    for (size_t shift = 0; shift < 16; shift++)
        assert_int_equal(nfcc_open_static((const nfcc_model *)image, static_memory + shift, size, &p), NFCC_OK);
    assert_int_equal(nfcc_open_static((const nfcc_model *)image, static_memory, size - 1, &p), NFCC_MEMORY);
    assert_null(p);
    assert_int_equal(nfcc_open_static((const nfcc_model *)image, NULL, size, &p), NFCC_BAD_ARGUMENT);
    image[0] ^= 1;
    assert_int_equal(nfcc_static_size((const nfcc_model *)image), 0);
    assert_int_equal(nfcc_open_static((const nfcc_model *)image, static_memory, size, &p), NFCC_ABI);
}

// ---- promises: threads, no allocation, no system calls

typedef struct {
    const nfcc_policy *p;
    const void *prepared;
    float x[300][FAKE_D], log_prob[300];
    bool ok;
} Worker;

static void *work_thread(void *argument)
{
    Worker *w = argument;
    void *work = malloc(nfcc_get_info(w->p)->work_size);
    w->ok = true;
    for (int i = 0; i < 50; i++) {
        nfcc_noise noise = NFCC_NOISE(SEED);
        w->ok &= nfcc_sample_and_log_prob(w->p, w->prepared, &noise, 10, w->x[0], w->log_prob, work) == NFCC_OK;
    }
    free(work);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static Worker worker[8];
    pthread_t thread[8];
    nfcc_policy *p = open_library("threads.so", 3 << 20, 0);
    Memory m = memory_for(p, 30, 0);
    fill(30, 10);
    assert_int_equal(nfcc_prepare(p, 30, data.context, m.prepared, m.work), NFCC_OK);
    for (int i = 0; i < 8; i++) worker[i] = (Worker){.p = p, .prepared = m.prepared};
    for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&thread[i], NULL, work_thread, &worker[i]), 0);
    for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 8; i++) {
        assert_true(worker[i].ok);
        assert_same(worker[i].x, worker[0].x, 900);
        assert_same(worker[i].log_prob, worker[0].log_prob, 300);
    }
    release(m);
    nfcc_close(p);
}

// ---- bulk: the bits of the plain entries, whoever does the work

typedef struct {
    float x[MAX_ITEMS][FAKE_D], one[MAX_ITEMS];
} Outputs;

static Outputs plain, bulk;

// A caller's pool of one thread that takes the tasks in the wrong order.
static void run_backwards(void *user, void (*task)(void *argument, size_t index), void *argument, size_t count)
{
    assert_true(count >= 1 && count <= 5);
    *(size_t *)user += 1;
    while (count > 0) task(argument, --count);
}

static nfcc_status call_plain(const nfcc_policy *p, const Memory *m, unsigned entry, size_t n, nfcc_noise *noise)
{
    float *x = plain.x[0], *one = plain.one;
    switch (entry) {
    case NFCC_HAS_TO_LATENT: return nfcc_to_latent(p, m->prepared, n, data.x[0], x, one, m->work);
    case NFCC_HAS_TO_EVENT: return nfcc_to_event(p, m->prepared, n, data.x[0], x, one, m->work);
    case NFCC_HAS_LOG_PROB: return nfcc_log_prob(p, m->prepared, n, data.x[0], one, m->work);
    case NFCC_HAS_SCORE: return nfcc_score(p, m->prepared, n, data.x[0], x, m->work);
    case NFCC_HAS_SAMPLE: return nfcc_sample(p, m->prepared, noise, n, x, m->work);
    case NFCC_HAS_SAMPLE_AND_LOG_PROB: return nfcc_sample_and_log_prob(p, m->prepared, noise, n, x, one, m->work);
    case NFCC_HAS_SAMPLE_BEST: return nfcc_sample_best(p, m->prepared, noise, n, x, one, m->work);
    default: return nfcc_act(p, m->prepared, noise, n, x, m->work);
    }
}

static void check_bulk(const nfcc_policy *p, const Memory *m, unsigned entry, size_t rows, size_t n, const float *z)
{
    size_t calls = 0;
    const nfcc_threads hows[] = {{1, NULL, NULL}, {2, NULL, NULL}, {3, NULL, NULL},
                                 {8, NULL, NULL}, {0, NULL, NULL}, {5, run_backwards, &calls}};
    nfcc_noise start = {SEED, UINT32_MAX - 3ull, 0.5f, z}, noise = start;
    memset(&plain, 0, sizeof plain);
    nfcc_status status = call_plain(p, m, entry, n, &noise);
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++) {
        nfcc_noise used = start;
        bool number = entry == NFCC_HAS_LOG_PROB;
        void *out[] = {number ? (void *)bulk.one : (void *)bulk.x, bulk.one};
        nfcc_call call = {.entry = entry, .rows = rows, .n = n, .in = data.context, .noise = &used, .out = out};
        call.given = data.x[0];
        memset(&bulk, 0, sizeof bulk);
        assert_int_equal(nfcc_bulk(p, &call, &hows[i]), status);
        assert_memory_equal(&bulk, &plain, sizeof bulk);
        assert_true(used.next == noise.next);
    }
    assert_int_equal(calls, 1);
}

static const struct {
    size_t rows, n;
} BULK_SHAPES[] = {{1, 1}, {1, 130}, {1, 4096}, {200, 20}, {70, 1}, {33, 7}, {192, 7}, {3, 1300}, {2, 2048}, {200, 1}};

static void test_bulk(void **state)
{
    (void)state;
    nfcc_policy *p = static_policy();
    for (size_t i = 0; i < sizeof BULK_SHAPES / sizeof *BULK_SHAPES; i++) {
        size_t rows = BULK_SHAPES[i].rows, n = BULK_SHAPES[i].n;
        Memory m = memory_for(p, rows, 0);
        fill(rows, n);
        expect(rows, n);
        for (int bad = 0; bad < 2; bad++) {
            if (bad) data.x[rows * n / 2][1] = data.z[rows * n - 1][0] = NAN, data.obs[rows / 3][2] = INFINITY;
            nfcc_status status = nfcc_prepare(p, rows, data.context, m.prepared, m.work);
            assert_int_equal(status, bad ? NFCC_NOT_FINITE : NFCC_OK);
            for (unsigned bit = 1; bit <= NFCC_HAS_SAMPLE_BEST; bit <<= 1) {
                if (bit == NFCC_HAS_RUN || !(nfcc_get_info(p)->entries & bit)) continue;
                check_bulk(p, &m, bit, rows, n, NULL);
                check_bulk(p, &m, bit, rows, n, data.z[0]);
            }
        }
        release(m);
    }
}

static void test_bulk_run(void **state)
{
    (void)state;
    enum { ROWS = 1000 };
    static float wide[ROWS][FAKE_WIDE], sum[2][ROWS][FAKE_WIDE];
    static int64_t count[ROWS][FAKE_COUNT], twice[2][ROWS][FAKE_COUNT];
    static unsigned char positive[2][ROWS];
    const void *in[] = {wide, count};
    nfcc_policy *p = static_policy();
    void *work = malloc(nfcc_get_info(p)->work_size);
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t l = 0; l < FAKE_WIDE; l++) wide[r][l] = spread(r * FAKE_WIDE + l);
        for (size_t l = 0; l < FAKE_COUNT; l++) count[r][l] = (int64_t)(r * l);
    }
    assert_int_equal(nfcc_run(p, ROWS, in, (void *[]){sum[0], twice[0], positive[0]}, work), NFCC_OK);
    for (unsigned threads = 1; threads <= 8; threads++) {
        nfcc_threads how = {.threads = threads};
        nfcc_call call = {NFCC_HAS_RUN, ROWS, 1, in, NULL, NULL, (void *[]){sum[1], twice[1], positive[1]}};
        memset(sum[1], 0, sizeof sum[1]);
        assert_int_equal(nfcc_bulk(p, &call, &how), NFCC_OK);
        assert_memory_equal(sum[0], sum[1], sizeof sum[0]);
        assert_memory_equal(twice[0], twice[1], sizeof twice[0]);
        assert_memory_equal(positive[0], positive[1], sizeof positive[0]);
        call.out = (void *[]){NULL, NULL, NULL};
        assert_int_equal(nfcc_bulk(p, &call, &how), NFCC_OK);
    }
    free(work);
}

static void test_bulk_arguments(void **state)
{
    (void)state;
    nfcc_policy *p = static_policy();
    nfcc_noise noise = NFCC_NOISE(1);
    const void *lacks_one[] = {data.obs, data.goal, NULL};
    void *out[] = {bulk.x, NULL};
    fill(3, 1);
    const nfcc_call good = {NFCC_HAS_SAMPLE, 3, 2, data.context, NULL, &noise, out};
    nfcc_call call = good;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_OK);
    assert_int_equal(noise.next, 6);
    assert_int_equal(nfcc_bulk(NULL, &call, NULL), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_bulk(p, NULL, NULL), NFCC_BAD_ARGUMENT);
    call.in = lacks_one;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call.in = NULL;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.noise = NULL;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.out = NULL;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.n = 0;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.rows = SIZE_MAX / 2;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.entry = NFCC_HAS_SAMPLE | NFCC_HAS_ACT;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.entry = NFCC_HAS_LOG_PROB;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.entry = NFCC_HAS_RUN;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_BAD_ARGUMENT);
    call = good, call.rows = 0;
    assert_int_equal(nfcc_bulk(p, &call, NULL), NFCC_OK);
    assert_int_equal(noise.next, 6);
    noise.temperature = NAN;
    assert_int_equal(nfcc_bulk(p, &good, NULL), NFCC_BAD_ARGUMENT);
    assert_int_equal(noise.next, 6);
}

// Every function that may be called after open.
static unsigned call_everything(const nfcc_policy *p, const Memory *m, void *test, size_t test_size)
{
    static float wide[30][FAKE_WIDE], sum[30][FAKE_WIDE];
    static int64_t count[30][FAKE_COUNT];
    const void *in[] = {wide, count};
    void *out[] = {sum, NULL, NULL};
    nfcc_noise noise = NFCC_NOISE(1);
    unsigned status = 0;
    status |= nfcc_prepare(p, 30, data.context, m->prepared, m->work);
    status |= nfcc_sample(p, m->prepared, &noise, 3, made.x[0], m->work);
    status |= nfcc_act(p, m->prepared, &noise, 3, made.x[0], m->work);
    status |= nfcc_sample_and_log_prob(p, m->prepared, &noise, 3, made.x[0], made.log_prob, m->work);
    status |= nfcc_sample_best(p, m->prepared, &noise, 3, made.x[0], made.log_prob, m->work);
    status |= nfcc_to_latent(p, m->prepared, 3, made.x[0], made.z[0], made.log_det, m->work);
    status |= nfcc_to_event(p, m->prepared, 3, made.z[0], made.x[0], made.log_det, m->work);
    status |= nfcc_log_prob(p, m->prepared, 3, made.x[0], made.log_prob, m->work);
    status |= nfcc_score(p, m->prepared, 3, made.x[0], made.z[0], m->work);
    status |= nfcc_draw(p, 1, 2, 30, made.z[0], m->work);
    status |= nfcc_run(p, 30, in, out, m->work);
    status |= nfcc_selftest(p, test, test_size);
    return status;
}

static void test_no_allocation(void **state)
{
    (void)state;
    nfcc_policy *p = open_library("allocation.so", 3 << 20, 0);
    Memory m = memory_for(p, 30, 0);
    size_t size = nfcc_selftest_size(p);
    void *test = malloc(size);
    fill(30, 3);
    int before = allocations;
    unsigned status = call_everything(p, &m, test, size);
    assert_int_equal(allocations, before);
    assert_int_equal(status, NFCC_OK);
    free(test);
    release(m);
    nfcc_close(p);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Under strict seccomp any call of the system but read, write and exit kills the child.
static void test_no_system_call(void **state)
{
    (void)state;
    nfcc_policy *p = open_library("seccomp.so", 3 << 20, 0);
    Memory m = memory_for(p, 30, 0);
    size_t size = nfcc_selftest_size(p);
    void *test = malloc(size);
    fill(30, 3);
    pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(77); // not allowed here: nothing shown
        syscall(SYS_exit, (int)call_everything(p, &m, test, size));
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status)) fail_msg("a system call: signal %d", WTERMSIG(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
    free(test);
    release(m);
    nfcc_close(p);
}

// Bulk with every allocation failing in turn: a status, and with one more all is well.
static void test_bulk_out_of_memory(void **state)
{
    (void)state;
    nfcc_policy *p = static_policy();
    nfcc_noise noise = NFCC_NOISE(1);
    nfcc_threads how = {.threads = 1};
    for (size_t rows = 1; rows < 200; rows += 150) {
        nfcc_call call = {NFCC_HAS_SAMPLE, rows, 2, data.context, NULL, &noise, (void *[]){bulk.x}};
        nfcc_status status = NFCC_MEMORY;
        fill(rows, 2);
        for (int n = 0; n < 20 && status != NFCC_OK; n++) {
            fail_at = allocations + n;
            status = nfcc_bulk(p, &call, &how);
            fail_at = -1;
            assert_true(status == NFCC_OK || (status == NFCC_MEMORY && noise.next == 0));
        }
        assert_int_equal(status, NFCC_OK);
        noise.next = 0;
    }
}

// Open with every allocation failing in turn: a status, and nothing is left open.
static void test_out_of_memory(void **state)
{
    (void)state;
    nfcc_policy *p = open_library("memory.so", 4096, 0);
    nfcc_close(p);
    nfcc_status status = NFCC_MEMORY;
    const char *path = in_folder("memory.so");
    for (int n = 0; n < 100 && status != NFCC_OK; n++) {
        fail_at = allocations + n;
        status = nfcc_open(path, 0, &p);
        fail_at = -1;
        assert_true(status == NFCC_OK || status == NFCC_MEMORY || status == NFCC_FILE);
        assert_true((status == NFCC_OK) == (p != NULL));
    }
    assert_int_equal(status, NFCC_OK);
    nfcc_close(p);
}
#endif

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"open.so",    "same.so",       "here.so",    "bytes.so",  "headers.so",
                                        "threads.so", "allocation.so", "seccomp.so", "memory.so", ".new"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_folder(names[i]));
    return rmdir(folder);
}

// For the tests in Python.
static int write_policy(const char *path)
{
    Library l = make_library(4096);
    FILE *f = fopen(path, "wb");
    bool written = f && fwrite(l.file, 1, l.size, f) == l.size;
    free(l.file);
    return f && fclose(f) == 0 && written ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_tilings),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_best_order),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_event_overflows),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_selftest),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_locked),
        cmocka_unit_test(test_open_replaced),
        cmocka_unit_test(test_open_here),
        cmocka_unit_test(test_not_a_policy),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_damaged_file),
        cmocka_unit_test(test_damaged_headers),
        cmocka_unit_test(test_static_memory),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_bulk_run),
        cmocka_unit_test(test_bulk_arguments),
        cmocka_unit_test(test_no_allocation),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_no_system_call),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_bulk_out_of_memory),
#endif
    };
    if (argc < 2) return 2;
    library = argv[1];
    if (argc == 3) return write_policy(argv[2]);
    if (argc == 4) cmocka_set_test_filter(argv[3]); // FAKE.so --only PATTERN
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
