// See plan_compiled.h. Rows are laid out here as the runtime lays them out; what no step may write has a pattern that
// is looked at afterwards.
#include "plan_compiled.h"

#include "abi.h"
#include "backend.h"
#include "compact_image.h"
#include "scratch.h"
#include "tiles_now.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLACK = 16, SHARED_FROM = 40 /* rows from here on have one PREP */, MOST_PERIOD = 45 };

// ---- a compiled plan: its data, row-major
typedef struct {
    uint32_t *in, *prep, **want;
} Data;

static Data data_of(Maker *m)
{
    Arena *a = m->cx.arena;
    Data d = {ARENA_ARRAY(a, uint32_t, RUN_ROWS *IN_LANES), ARENA_ARRAY(a, uint32_t, RUN_ROWS *PREP_LANES),
              ARENA_ARRAY(a, uint32_t *, m->n_out)};
    for (size_t i = 0; i < (size_t)RUN_ROWS * IN_LANES; i++) ((float *)d.in)[i] = m->any_size ? any_real(m) : a_real(m);
    for (size_t i = 0; i < (size_t)RUN_ROWS * PREP_LANES; i++)
        ((float *)d.prep)[i] = m->any_size ? any_real(m) : a_real(m);
    for (size_t i = SHARED_FROM + 1; i < RUN_ROWS; i++)
        memcpy(d.prep + i * PREP_LANES, d.prep + SHARED_FROM * PREP_LANES, PREP_LANES * 4);
    for (int i = 0; i < m->n_out; i++) d.want[i] = ARENA_ARRAY(a, uint32_t, (size_t)RUN_ROWS * m->out[i].lanes);
    const uint32_t *in[] = {d.in};
    plan_run(&m->plan, PROGRAM_TO_EVENT, RUN_ROWS, d.prep, in, d.want);
    return d;
}

static bool is_nan(uint32_t w) { return (w & 0x7fffffff) > 0x7f800000; }

static int step_of_port(const Maker *m, int port)
{
    for (int i = 0; i < m->n_steps; i++) {
        const Step *s = &m->steps[i];
        uint32_t at = m->out[port].at;
        if (s->kind == STEP_GEMM && s->gemm.out == at) return i;
        if (s->kind == STEP_REDUCE && s->reduce.out == at) return i;
        if (s->kind == STEP_MOVE && s->move.out == at) return i;
        if (s->kind == STEP_MATMUL && s->matmul.out == at) return i;
        if (s->kind == STEP_TAKE && s->take.out == at) return i;
        for (uint32_t o = 0; s->kind == STEP_MAP && o < s->map.n_outs; o++)
            if (s->map.outs[o].at == at) return i;
    }
    return -1;
}

static void show_step(const Maker *m, int port)
{
    int i = step_of_port(m, port);
    if (i < 0) return;
    const Step *s = &m->steps[i];
    if (s->kind == STEP_GEMM)
        print_error("  gemm m %u k %u n %u kb %u add %d bias %d x in %u\n", s->gemm.m, s->gemm.k, s->gemm.n, s->gemm.kb,
                    s->gemm.has_add, s->gemm.has_bias, s->gemm.x_space);
    else if (s->kind == STEP_MAP)
        for (uint32_t a = 0; a < s->map.n_args; a++)
            print_error("  map n %u arg %u: space %u inner %u steps %d %d\n", s->map.n, a, s->map.args[a].space,
                        s->map.args[a].inner, s->map.args[a].outer_step, s->map.args[a].inner_step);
    else
        print_error("  step %d kind %d\n", i, (int)s->kind);
}

static float float_of(uint32_t word)
{
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

// Integers that a map made may have the bits of a NaN; floats that are NaN have any.
static bool equal_words(const Maker *m, uint32_t want, uint32_t got)
{
    if (want == got || (is_nan(want) && is_nan(got))) return true;
    return m->near && fabsf(float_of(want) - float_of(got)) < 1e-3f;
}

static void check_word(const Maker *m, int port, uint32_t lane, size_t row, size_t tile, uint32_t want, uint32_t got)
{
    if (equal_words(m, want, got)) return;
    print_error("T %zu, out %d, lane %u, row %zu: want %08x, got %08x\n", tile, port, lane, row, want, got);
    show_step(m, port);
    fail();
}

static const uint32_t untouched = 0x7fbadbad;

// Rows of a call and where they lie: lane l of row t is word l * lane + t * row of WORK, l * prep_lane + t * prep_row
// of PREP. Rows repeat after `period` rows.
typedef struct {
    size_t rows, lane, row, prep_lane, prep_row, period;
} Tile;

static Tile tile_of(size_t rows) { return (Tile){rows, rows, 1, rows, 1, rows}; }
static Tile shared_tile(size_t rows) { return (Tile){rows, rows, 1, 16, 1, 16}; }

static size_t work_lanes(const Maker *m) { return m->plan.programs[PROGRAM_TO_EVENT].work_lanes; }

static Tile few_rows(const Maker *m, size_t rows, bool shared)
{
    size_t row = (work_lanes(m) + SLACK + 15) / 16 * 16, prep_row = (PREP_LANES + SLACK + 15) / 16 * 16;
    return (Tile){rows, 1, row, 1, shared ? 0 : prep_row, rows < MOST_PERIOD ? rows : MOST_PERIOD};
}

// Of so many rows and one behind them.
static size_t work_words(const Maker *m, size_t rows) { return (work_lanes(m) + SLACK + 16) * (rows + 1); }

// Everything that no step may write still has the pattern: whole vectors may be written.
static void check_bounds(const Maker *m, const uint32_t *work, const Tile *t)
{
    size_t lanes = work_lanes(m), n = lanes + SLACK;
    unsigned char *mine = calloc(n, 1);
    memset(mine + m->lanes, 1, lanes - m->lanes); // pairs of bfloat16
    for (uint32_t l = 0; l < IN_LANES; l++) mine[l] = 1;
    for (int p = 0; p < m->n_out; p++) memset(mine + m->out[p].at, 1, (m->out[p].lanes + 15) / 16 * 16);
    for (size_t l = 0; l < n; l++)
        for (size_t r = 0; r < t->rows && !mine[l]; r++)
            if (work[l * t->lane + r * t->row] != untouched) {
                print_error("T %zu: lane %zu was written, which is no output\n", t->rows, l);
                fail();
            }
    free(mine);
    for (size_t i = t->lane > 1 ? n * t->rows : t->rows * t->row; i < work_words(m, t->rows); i++)
        if (work[i] != untouched) fail_msg("%zu rows: word %zu behind them was written", t->rows, i);
}

static void run_tile(const Maker *m, const Data *d, nfcc_abi_code *code, const nfcc_abi_weights *weights, Tile t,
                     size_t row)
{
    size_t rows = t.rows, words = work_words(m, rows), prep_lanes = PREP_LANES + SLACK + 16;
    uint32_t *work = malloc(words * 4), *prep = malloc(prep_lanes * rows * 4);
    for (size_t i = 0; i < words; i++) work[i] = untouched;
    for (size_t i = 0; i < prep_lanes * rows; i++) prep[i] = untouched;
    for (size_t r = 0; r < rows; r++) {
        size_t i = r % t.period, from = row + i;
        for (size_t l = 0; l < IN_LANES; l++) work[l * t.lane + r * t.row] = d->in[from * IN_LANES + l];
        size_t at = t.lane > 1 ? i : r;
        for (size_t l = 0; l < PREP_LANES; l++)
            prep[l * t.prep_lane + at * t.prep_row] = d->prep[from * PREP_LANES + l];
    }
    size_t prep_step = t.lane > 1 && t.period < rows ? t.prep_lane : t.prep_row;
    code((float *)work, (const float *)prep, weights, NFCC_FEW(rows, t.row, prep_step));
    assert_int_equal(tiles_now(), 0);
    for (int p = 0; p < m->n_out; p++)
        for (uint32_t l = 0; l < m->out[p].lanes; l++)
            for (size_t r = 0; r < rows; r++)
                check_word(m, p, l, row + r, rows, d->want[p][(row + r % t.period) * m->out[p].lanes + l],
                           work[(m->out[p].at + l) * t.lane + r * t.row]);
    check_bounds(m, work, &t);
    free(work);
    free(prep);
}

static const int tiles[NFCC_TILES] = {1, 16, 32, 64};

// One row reads the compact image of the weights where there is one.
static void run_compact(const Maker *m, const Data *d, const nfcc_model_header *h, nfcc_abi_code *code)
{
    unsigned char *image = compact_image(h);
    assert_int_equal(image != NULL, m->compact && (m->weight_type == WEIGHTS_F32 || m->tiled));
    if (!image) return;
    const unsigned char *weights = (const unsigned char *)h + h->weights;
    const nfcc_abi_weights both = {weights, (int64_t)((uintptr_t)image - (uintptr_t)weights)};
    for (size_t row = 0; row < 5; row++) run_tile(m, d, code, &both, few_rows(m, 1, false), row);
    free(image);
}

// Up to five rows by themselves, then as many as one call takes: around the edges of blocks, with PREP apart and
// shared.
static void run_few(const Maker *m, const Data *d, const nfcc_model_header *h, nfcc_abi_code *code,
                    const nfcc_abi_weights *weights)
{
    static const size_t some[] = {2, 3, 4, 5, 7, 8, 9, 13, 32, 17, 33, 48, 85, 128};
    for (size_t row = 0; row < 5; row++) run_tile(m, d, code, weights, few_rows(m, 1, false), row);
    for (size_t i = 0; i < sizeof some / sizeof *some && some[i] <= h->few_rows; i++) {
        run_tile(m, d, code, weights, few_rows(m, some[i], false), i);
        if (some[i] <= RUN_ROWS - SHARED_FROM) run_tile(m, d, code, weights, few_rows(m, some[i], true), SHARED_FROM);
    }
}

static void run_set(const Maker *m, const Data *d, const nfcc_model_header *h, const int32_t *offsets, unsigned cpu)
{
    const char *base = (const char *)h;
    const nfcc_abi_weights weights = {base + h->weights, 0};
    for (int slot = 0; slot < NFCC_TILES; slot++) {
        int32_t offset = offsets[slot];
        if (!offset) continue;
        nfcc_abi_code *code;
        const char *at = base + offset;
        memcpy(&code, &at, sizeof code);
        if (slot == 0) {
            run_few(m, d, h, code, &weights);
            if (cpu & NFCC_CPU_AVX512) run_compact(m, d, h, code);
            continue;
        }
        size_t rows = (size_t)tiles[slot];
        for (size_t row = 0; row < RUN_ROWS; row += rows) run_tile(m, d, code, &weights, tile_of(rows), row);
        if (h->shares_prep) run_tile(m, d, code, &weights, shared_tile(rows), SHARED_FROM);
    }
}

static bool host_runs(const char *cpu, WeightType type, bool tiled)
{
    Maker *m = maker_new(1);
    Target target = {"x86_64-linux-gnu", cpu};
    bool runs = !target_resolve(&m->cx, &target) && target_runs_here(&target, type, tiled);
    maker_free(m);
    return runs;
}

static void run_policy(const Maker *m, const Data *d, const nfcc_model_header *h)
{
    run_set(m, d, h, h->programs[NFCC_PROGRAM_TO_EVENT].code, h->cpu);
    bool bf16 = h->other_cpu & NFCC_CPU_AVX512_BF16;
    if (!h->other_code || !host_runs(bf16 ? "znver4" : "x86-64-v4", m->weight_type, false)) return;
    const int32_t *other = (const int32_t *)((const char *)h + h->other_code) + NFCC_PROGRAM_TO_EVENT * NFCC_TILES;
    run_set(m, d, h, other, h->other_cpu);
}

// ---- compiling
const char *path_in(Context *cx, const char *name) { return arena_format(cx->arena, "%s/%s", scratch, name); }

void assert_no_errors(const Maker *m)
{
    if (m->diag.errors) diag_print(&m->diag, stderr);
    assert_int_equal(m->diag.errors, 0);
}

const char *compile_plan(Maker *m, const char *backend, const char *triple, const char *cpu, const char *name)
{
    Target target = {triple, cpu};
    const char *wrong = target_resolve(&m->cx, &target);
    if (wrong) print_error("%s\n", wrong);
    assert_null(wrong);
    plan_verify(maker_plan(m), &m->cx);
    assert_no_errors(m);
    const Object *object = backend_find(backend)->emit(&m->cx, maker_plan(m), &target, "nfcc_model", false, NULL);
    assert_no_errors(m);
    assert_non_null(object);
    const char *path = path_in(&m->cx, name);
    bool linked = link_shared(&m->cx, object, &target, !strcmp(backend, "openblas"), path, NULL, NULL);
    assert_no_errors(m);
    assert_true(linked);
    return path;
}

void check_cpu(Maker *m, const char *backend, const char *cpu)
{
    if (!host_runs(cpu, m->weight_type, m->tiled)) return;
    const char *path = compile_plan(m, backend, "x86_64-linux-gnu", cpu, "native.so");
    Data d = data_of(m);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) print_error("%s\n", dlerror());
    assert_non_null(handle);
    run_policy(m, &d, dlsym(handle, "nfcc_model"));
    dlclose(handle);
}

// aarch64 under qemu: tests/backend_driver.c, cross-compiled, reads the inputs and writes the outputs of each tile.
static bool have(const char *tool)
{
    char command[200];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", tool);
    return system(command) == 0;
}

static bool have_aarch64(void) { return have("qemu-aarch64") && have("aarch64-linux-gnu-gcc"); }

void run_command(const char *command)
{
    if (system(command)) fail_msg("failed: %s", command);
}

static const char *driver(Context *cx)
{
    const char *path = path_in(cx, "driver"), *slash = strrchr(__FILE__, '/');
    int n = slash ? (int)(slash - __FILE__) : 1;
    const char *dir = slash ? __FILE__ : ".";
    if (access(path, X_OK))
        run_command(arena_format(
            cx->arena, "aarch64-linux-gnu-gcc -std=c11 -O1 -I %.*s/../runtime -o %s %.*s/backend_driver.c -ldl", n, dir,
            path, n, dir));
    return path;
}

enum { ORDERS = 5 };

static void check_outputs(const Maker *m, const Data *d, const uint32_t *got)
{
    static const size_t order[] = {1, 8, 16, 32, 64}; // the driver's
    for (int i = 0; i < ORDERS; i++)
        for (int p = 0; p < m->n_out; p++)
            for (size_t r = 0; r < RUN_ROWS; r++)
                for (uint32_t l = 0; l < m->out[p].lanes; l++)
                    check_word(m, p, l, r, order[i], d->want[p][r * m->out[p].lanes + l], *got++);
}

static void check_aarch64(Maker *m, const char *cpu)
{
    if (!have_aarch64()) return;
    const char *so = compile_plan(m, "llvm", "aarch64-linux-gnu", cpu, "arm.so");
    Data d = data_of(m);
    const char *in = path_in(&m->cx, "in.bin"), *out = path_in(&m->cx, "out.bin");
    FILE *f = fopen(in, "wb");
    fwrite(d.in, 4, (size_t)RUN_ROWS * IN_LANES, f);
    fwrite(d.prep, 4, (size_t)RUN_ROWS * PREP_LANES, f);
    fclose(f);
    run_command(arena_format(m->cx.arena, "qemu-aarch64 -L /usr/aarch64-linux-gnu %s %s %d %s %s", driver(&m->cx), so,
                             RUN_ROWS, in, out));
    size_t words = 0;
    for (int p = 0; p < m->n_out; p++) words += ORDERS * (size_t)RUN_ROWS * m->out[p].lanes;
    uint32_t *got = ARENA_ARRAY(m->cx.arena, uint32_t, words);
    f = fopen(out, "rb");
    assert_int_equal(fread(got, 4, words, f), words);
    fclose(f);
    check_outputs(m, &d, got);
}

// `dispatch` holds the code for x86-64-v3 and for the most that a newer CPU has; with bf16 weights x86-64-v4 lies
// between the two, and tiled products are another Plan.
void check_everywhere(Maker *m)
{
    check_cpu(m, "llvm", "dispatch");
    if (m->weight_type == WEIGHTS_BF16) check_cpu(m, "llvm", "x86-64-v4");
    check_aarch64(m, "generic");
    m->tiled = m->weight_type == WEIGHTS_BF16;
    if (m->tiled) check_cpu(m, "llvm", "sapphirerapids");
    maker_free(m);
}
