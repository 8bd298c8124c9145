// See fake_model.h.
#include "fake_model.h"

#include "scratch.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GOLDEN_ROWS = 5 };

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

// Of code for tile TILE[slot]: from `base` to `code`, if the policy has it.
static int32_t code_offset(nfcc_abi_code *code, const void *base, int slot)
{
    return code && (slot == 0 || !fake_few) ? (int32_t)((intptr_t)(uintptr_t)code - (intptr_t)base) : 0;
}

static void add_program(Tables *t, nfcc_model_header *m, const void *base, int id, const nfcc_abi_port *in,
                        uint32_t n_in, const nfcc_abi_port *out, uint32_t n_out)
{
    nfcc_abi_program *program = &m->programs[id];
    *program = (nfcc_abi_program){.exists = 1, .work_lanes = 96, .n_in = n_in, .n_out = n_out};
    for (int s = 0; s < NFCC_TILES; s++) program->code[s] = code_offset(fake_code(id, s), base, s);
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

void fake_add_base(unsigned char *image, const void *base)
{
    nfcc_model_header *m = (nfcc_model_header *)image;
    Tables t = {.base = image, .used = m->size};
    add_program(&t, m, base, NFCC_PROGRAM_BASE, PORTS({NFCC_PORT_Z, 0, 0, 3}), PORTS({NFCC_PORT_Z, 0, 0, 3}));
    m->size = t.used;
}

void fake_add_early(unsigned char *image, const void *base)
{
    nfcc_model_header *m = (nfcc_model_header *)image;
    Tables t = {.base = image, .used = m->size};
    add_program(&t, m, base, NFCC_PROGRAM_TO_LATENT_EARLY,
                PORTS({NFCC_PORT_EARLY, 0, 16, FAKE_EARLY}, {NFCC_PORT_X, 0, 0, 3}),
                PORTS({NFCC_PORT_Z, 0, 48, 3}, {NFCC_PORT_LOG_DET, 0, 64, 1}, {NFCC_PORT_LOG_PROB, 0, 65, 1}));
    add_program(&t, m, base, NFCC_PROGRAM_TO_EVENT_EARLY,
                PORTS({NFCC_PORT_EARLY, 0, 16, FAKE_EARLY}, {NFCC_PORT_Z, 0, 0, 3}),
                PORTS({NFCC_PORT_X, 0, 48, 3}, {NFCC_PORT_LOG_DET, 0, 64, 1}, {NFCC_PORT_LOG_PROB, 0, 65, 1}));
    m->size = t.used;
}

static void add_golden(Tables *t, nfcc_model_header *m)
{
    float words[GOLDEN_ROWS][2 * FAKE_D + 2];
    for (uint64_t r = 0; r < GOLDEN_ROWS; r++) {
        float early[FAKE_EARLY] = {0}, z[FAKE_D];
        for (int l = 0; l < FAKE_OBS; l++) early[l] = fake_noise(7 + 1 + (uint64_t)l / FAKE_D, r, l % FAKE_D, 1);
        for (int d = 0; d < FAKE_D; d++) {
            z[d] = fake_noise(7, r, d, 1);
            words[r][d] = fake_x(z[d], fake_prep(early, d));
            words[r][FAKE_D + 1 + d] = fake_z(words[r][d], fake_prep(early, d));
        }
        words[r][FAKE_D] = fake_log_prob(z);
        words[r][2 * FAKE_D + 1] = -2.0794415f;
    }
    m->golden = put(t, words, sizeof words);
    m->golden_rows = GOLDEN_ROWS;
    m->golden_words = sizeof words / 4;
    m->golden_seed = 7;
}

void fake_build(unsigned char *image, const void *base, size_t weights_size)
{
    Tables t = {.base = image, .used = sizeof(nfcc_model_header)};
    nfcc_model_header *m = (nfcc_model_header *)image;
    memset(image, 0, FAKE_IMAGE);
    *m = (nfcc_model_header){.magic = NFCC_ABI_MAGIC,
                             .version = NFCC_ABI_VERSION,
                             .hash = {1, 2, 3},
                             .few_rows = fake_few ? fake_few : 8,
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

// ---- opened: linked in, and as a file
_Alignas(64) unsigned char fake_image[FAKE_IMAGE];
const char *fake_library;
uint32_t fake_few;

bool fake_arguments(int argc, char **argv)
{
    fake_library = argv[1];
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--few") == 0)
            fake_few = (uint32_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--only") == 0)
            cmocka_set_test_filter(argv[i + 1]);
        else
            return false;
    }
    return argc > 1 && argc % 2 == 0;
}

nfcc_policy *fake_static_of(const uint32_t *cost)
{
    static _Alignas(64) unsigned char memory[FAKE_MEMORY];
    nfcc_policy *p = NULL;
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    if (cost) memcpy(((nfcc_model_header *)fake_image)->cost, cost, NFCC_COSTS * sizeof *cost);
    assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, memory + 3, sizeof memory - 3, &p), NFCC_OK);
    return p;
}

nfcc_policy *fake_static(void) { return fake_static_of(NULL); }

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

const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

void write_file(const char *name, const void *data, size_t size)
{
    char temporary[256];
    snprintf(temporary, sizeof temporary, "%s/.new", scratch);
    FILE *f = fopen(temporary, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    assert_int_equal(rename(temporary, in_folder(name)), 0);
}

// The fake_library's file with a descriptor in it.
FakeFile fake_file(size_t weights_size)
{
    static const unsigned char mark[] = {1, 0, 0, 0, 0, 0, 0, 0};
    FakeFile l;
    void *handle = dlopen(fake_library, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    unsigned char *base = dlsym(handle, "nfcc_model");
    nfcc_abi_code *(*code)(int, int) = (nfcc_abi_code * (*)(int, int)) dlsym(handle, "fake_code");
    assert_true(base && code);
    unsigned char *built = malloc(FAKE_IMAGE);
    fake_build(built, built, weights_size);
    nfcc_model_header *m = (nfcc_model_header *)built;
    for (int id = 0; id < NFCC_PROGRAMS; id++)
        for (int s = 0; s < NFCC_TILES; s++) m->programs[id].code[s] = code_offset(code(id, s), base, s);
    l.size = read_file(fake_library, &l.file);
    for (l.model = 0; memcmp(l.file + l.model, mark, sizeof mark) != 0 || memcmp(l.file + l.model, base, 4096) != 0;)
        assert_true((l.model += 64) + 4096 < l.size);
    memcpy(l.file + l.model, built, FAKE_IMAGE);
    free(built);
    dlclose(handle);
    return l;
}

nfcc_policy *fake_open(const char *name, size_t weights_size, unsigned flags)
{
    FakeFile l = fake_file(weights_size);
    nfcc_policy *p = NULL;
    write_file(name, l.file, l.size);
    free(l.file);
    assert_int_equal(nfcc_open(in_folder(name), flags, &p), NFCC_OK);
    return p;
}
