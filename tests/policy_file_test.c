// What a compiled policy is as a file: no undefined symbols, no relocations, equal bytes for equal input, a descriptor
// that says all; its typed header; and the errors of targets, linking and writing.
#include "abi.h"
#include "backend.h"
#include "cli.h"
#include "file.h"
#include "plan_compiled.h"
#include "scratch.h"

#include <dlfcn.h>
#include <elf.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include <cmocka.h>

// ---- what a policy is
static char *output_of(Context *cx, const char *command)
{
    char *text = arena_alloc(cx->arena, 4096);
    FILE *f = popen(command, "r");
    size_t n = fread(text, 1, 4095, f);
    text[n] = 0;
    pclose(f);
    return text;
}

static Maker *small_plan(void)
{
    Maker *m = maker_new(77);
    add_gemm(m, 1, 20, 30, 5);
    AccessForm forms[] = {ACCESS_WHOLE, ACCESS_ONE};
    add_map(m, 30, 30, 40, 2, forms, 2);
    add_reduce(m, OP_reduce_sum, 3, 40);
    add_move(m, 20, ROWS_SHUFFLED, ROWS_IN_ORDER);
    return m;
}

static void needs_nothing(void **state)
{
    (void)state;
    static const char *const targets[][2] = {{"x86_64-linux-gnu", "x86-64-v3"},
                                             {"x86_64-linux-gnu", "x86-64-v4"},
                                             {"x86_64-linux-gnu", "dispatch"},
                                             {"aarch64-linux-gnu", "cortex-a72"}};
    for (int i = 0; i < 4; i++) {
        Maker *m = small_plan();
        const char *so = compile_plan(m, "llvm", targets[i][0], targets[i][1], "alone.so");
        Arena *a = m->cx.arena;
        assert_string_equal(output_of(&m->cx, arena_format(a, "nm -uD %s 2>&1", so)), "");
        assert_non_null(strstr(output_of(&m->cx, arena_format(a, "LC_ALL=C readelf -r %s", so)), "no relocations"));
        const char *exported = output_of(&m->cx, arena_format(a, "nm -D --defined-only %s | sed 's/.* //'", so));
        assert_string_equal(exported, "nfcc_model\n");
        const char *writable = output_of(&m->cx, arena_format(a,
                                                              "LC_ALL=C readelf -SW %s | grep -E ' WA|\\.data|\\.bss' "
                                                              "| grep -v -e '\\.dynamic' -e '\\.relro_padding'",
                                                              so));
        assert_string_equal(writable, "");
        maker_free(m);
    }
}

static const Bytes *read_file(Context *cx, const char *path)
{
    Bytes *b = ARENA_NEW(cx->arena, Bytes);
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    void *data = arena_alloc(cx->arena, (size_t)s.st_size + 1);
    FILE *f = fopen(path, "rb");
    b->size = fread(data, 1, (size_t)s.st_size, f);
    b->data = data;
    fclose(f);
    return b;
}

static void same_bytes(void **state)
{
    (void)state;
    Maker *a = small_plan(), *b = small_plan();
    const Bytes *first = read_file(&a->cx, compile_plan(a, "llvm", "x86_64-linux-gnu", NULL, "same.so"));
    const Bytes *second = read_file(&b->cx, compile_plan(b, "llvm", "x86_64-linux-gnu", NULL, "same.so"));
    assert_int_equal(first->size, second->size);
    assert_memory_equal(first->data, second->data, first->size);
    maker_free(a);
    maker_free(b);
}

// Where the CPU has the instruction, a tile of paired products is estimated at half of their 2^20 instructions less.
static void costs_of_pairs(void **state)
{
    (void)state;
    enum { K = 512, N = 512 };
    static const char *const cpus[] = {"x86-64-v4", "znver4"};
    uint32_t tile[2];
    for (int i = 0; i < 2; i++) {
        Maker *m = maker_new(1);
        m->weight_type = WEIGHTS_BF16;
        add_gemm(m, 1, K, N, K);
        void *handle = dlopen(compile_plan(m, "llvm", "x86_64-linux-gnu", cpus[i], "costs.so"), RTLD_NOW | RTLD_LOCAL);
        const nfcc_model_header *h = dlsym(handle, "nfcc_model");
        tile[i] = h->cost[NFCC_COST_64];
        dlclose(handle);
        maker_free(m);
    }
    assert_true(tile[0] > tile[1] + K * N); // at half a cycle each
}

// A product of 256 x 256 and maps of so many lanes behind it.
static Maker *with_maps(uint32_t lanes)
{
    const AccessForm forms[] = {ACCESS_WHOLE};
    Maker *m = maker_new(1);
    add_gemm(m, 1, 256, 256, 256);
    for (int i = 0; i < 20; i++) add_map(m, lanes, lanes, 380, 1, forms, 1);
    return m;
}

// Tiles of AMX gain by paired products what rows that lie apart lose by maps, most by those of few lanes. They are
// chosen from the plan, its encoder too, for targets that have them: no CPU is asked.
static void tiles_where_they_pay(void **state)
{
    (void)state;
    enum { WEIGHTS = 256 * 256 };
    static const char *const cpus[] = {"sapphirerapids", "emeraldrapids", "graniterapids",
                                       "znver5",         "x86-64-v4",     "dispatch"};
    Maker *wide = with_maps(16), *narrow = with_maps(2), *encoder = maker_new(2);
    Plan plan = *maker_plan(narrow);
    add_gemm(encoder, 1, 512, 512, 512);
    assert_true(tiles_pay(maker_plan(wide), WEIGHTS));
    assert_false(tiles_pay(maker_plan(wide), WEIGHTS + 1)); // its matrix stays f32
    assert_false(tiles_pay(&plan, WEIGHTS));
    plan.programs[PROGRAM_ENCODE] = maker_plan(encoder)->programs[PROGRAM_TO_EVENT];
    assert_true(tiles_pay(&plan, WEIGHTS));
    plan.programs[PROGRAM_ENCODE].exists = false;
    plan.programs[PROGRAM_TO_LATENT] = maker_plan(encoder)->programs[PROGRAM_TO_EVENT];
    assert_false(tiles_pay(&plan, WEIGHTS)); // sampling decides, where there is any
    plan.programs[PROGRAM_TO_EVENT].exists = false;
    assert_true(tiles_pay(&plan, WEIGHTS));
    for (int i = 0; i < 6; i++) {
        Target target = {"x86_64-linux-gnu", cpus[i]};
        assert_null(target_resolve(&wide->cx, &target));
        assert_int_equal(target_tiles(&target), i < 3);
    }
    maker_free(wide);
    maker_free(narrow);
    maker_free(encoder);
}

// An aarch64 core reads a few bytes from L2 in the time of a multiply-add, so rows that share weights cost less
// together.
static void costs_of_aarch64(void **state)
{
    (void)state;
    Maker *m = maker_new(1);
    add_gemm(m, 1, 512, 512, 512);
    const Bytes *file = read_file(&m->cx, compile_plan(m, "llvm", "aarch64-linux-gnu", "cortex-a76", "costs.so"));
    nfcc_model_header h = {0}; // aligned to 64 bytes in the file, which this machine cannot load
    for (size_t at = 0; h.magic != NFCC_ABI_MAGIC && at + sizeof h <= file->size; at += 64)
        memcpy(&h, (const char *)file->data + at, sizeof h);
    assert_int_equal(h.version, NFCC_ABI_VERSION);
    assert_true(h.cost[NFCC_COST_FOUR] < 3 * h.cost[NFCC_COST_ONE]);
    assert_true(h.cost[NFCC_COST_64] < 48 * h.cost[NFCC_COST_ONE]);
    maker_free(m);
}

// AVX512_BF16 is asked for where its instructions are used: by bf16 weights.
static void cpu_bits_of_bf16(void **state)
{
    (void)state;
    static const uint32_t v3 = NFCC_CPU_AVX2_FMA, v4 = NFCC_CPU_AVX2_FMA | NFCC_CPU_AVX512;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++) {
        uint32_t bf16 = type == WEIGHTS_BF16 ? v4 | NFCC_CPU_AVX512_BF16 : v4;
        static const char *const cpus[] = {"x86-64-v4", "znver4", "dispatch"};
        const uint32_t want[][2] = {{v4, 0}, {bf16, 0}, {v3, bf16}};
        for (int i = 0; i < 3; i++) {
            Maker *m = maker_new(1);
            m->weight_type = (WeightType)type;
            add_gemm(m, 1, 8, 16, 8);
            void *handle =
                dlopen(compile_plan(m, "llvm", "x86_64-linux-gnu", cpus[i], "bits.so"), RTLD_NOW | RTLD_LOCAL);
            const nfcc_model_header *h = dlsym(handle, "nfcc_model");
            assert_int_equal(h->cpu, want[i][0]);
            assert_int_equal(h->other_cpu, want[i][1]);
            dlclose(handle);
            maker_free(m);
        }
    }
}

// Tiled products ask for AMX; such a policy has code for few rows alone, up to 128 of them. A CPU that has tiles does
// without where products are not tiled.
static void cpu_bits_of_tiles(void **state)
{
    (void)state;
    static const uint32_t bf16 = NFCC_CPU_AVX2_FMA | NFCC_CPU_AVX512 | NFCC_CPU_AVX512_BF16;
    for (int tiled = 0; tiled < 2; tiled++) {
        Maker *m = maker_new(1);
        m->weight_type = WEIGHTS_BF16;
        m->tiled = tiled;
        add_gemm(m, 1, 8, 16, 8);
        void *handle =
            dlopen(compile_plan(m, "llvm", "x86_64-linux-gnu", "sapphirerapids", "tiles.so"), RTLD_NOW | RTLD_LOCAL);
        const nfcc_model_header *h = dlsym(handle, "nfcc_model");
        const int32_t *code = h->programs[NFCC_PROGRAM_TO_EVENT].code;
        assert_int_equal(h->cpu, tiled ? bf16 | NFCC_CPU_AMX_BF16 : bf16);
        assert_int_equal(h->few_rows, tiled ? NFCC_MOST_FEW : 32);
        assert_true(code[0]);
        for (int slot = 1; slot < NFCC_TILES; slot++) assert_int_equal(!code[slot], tiled);
        dlclose(handle);
        maker_free(m);
    }
}

static void descriptor_says_all(void **state)
{
    (void)state;
    Maker *m = small_plan();
    void *handle =
        dlopen(compile_plan(m, "llvm", "x86_64-linux-gnu", "x86-64-v3", "described.so"), RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    const nfcc_model_header *h = dlsym(handle, "nfcc_model");
    const char *base = (const char *)h;
    assert_int_equal((uintptr_t)h % 64, 0);
    assert_int_equal(h->magic, NFCC_ABI_MAGIC);
    assert_int_equal(h->version, NFCC_ABI_VERSION);
    assert_int_equal(h->cpu, NFCC_CPU_AVX2_FMA);
    assert_memory_equal(h->hash, m->plan.hash, 32);
    assert_string_equal(base + h->name, "test");
    assert_string_equal(base + h->target, "x86_64-linux-gnu x86-64-v3");
    assert_string_equal(base + h->base, "standard normal");
    assert_int_equal(h->prep_lanes, PREP_LANES);
    assert_int_equal(h->weights % 64, 0);
    assert_int_equal(h->weights, h->size);
    assert_int_equal(h->weights_size, m->n_weights * 4);
    assert_int_equal(h->weight_dtype, NFCC_WEIGHTS_F32);
    assert_int_equal(h->shares_prep, 1);
    assert_int_equal(h->few_rows, 32);
    assert_int_equal(h->stack_bytes, 32768);
    assert_memory_equal(base + h->weights, m->weights, m->n_weights * 4);
    const nfcc_abi_program *run = &h->programs[NFCC_PROGRAM_TO_EVENT];
    assert_int_equal(run->exists, 1);
    assert_int_equal(run->work_lanes, m->lanes);
    assert_int_equal(run->n_out, m->n_out);
    assert_memory_equal(base + run->out, m->out, (size_t)m->n_out * sizeof *m->out);
    assert_true(run->code[0] && run->code[1] && run->code[3]);
    assert_int_equal(h->programs[NFCC_PROGRAM_SCORE].exists, 0);
    dlclose(handle);
    maker_free(m);
}

// All steps of one kind have two functions, for one row and for a tile.
static void one_row_and_tile(Maker *m, const char *function)
{
    Target target = {"x86_64-linux-gnu", "x86-64-v3"};
    const Object *object = backend_find("llvm")->emit(&m->cx, &m->plan, &target, "nfcc_model", true, NULL);
    const char *path = path_in(&m->cx, arena_format(m->cx.arena, "%s.o", function));
    assert_true(write_bytes(&m->cx, path, object->bytes));
    assert_string_equal(output_of(&m->cx, arena_format(m->cx.arena, "nm %s | grep -c ' %s'", path, function)), "2\n");
    maker_free(m);
}

// Steps that differ in lanes only are one function, in all programs.
static void equal_steps_share_code(void **state)
{
    (void)state;
    Maker *m = maker_new(3);
    for (int i = 0; i < 20; i++) {
        add_reduce(m, OP_reduce_sum, 2, 10);
        m->steps[i].reduce.in_space = SPACE_WORK;
    }
    maker_plan(m);
    m->plan.programs[PROGRAM_TO_LATENT] = m->plan.programs[PROGRAM_TO_EVENT];
    one_row_and_tile(m, "reduce_");
}

static void many_numbers_share_code(void **state)
{
    (void)state;
    Maker *m = maker_new(11);
    add_maps_alike(m, 40);
    maker_plan(m);
    one_row_and_tile(m, "map_");
}

// Code of which threads make parts: what these know of each other nobody else sees. One object is what a user links.
static void parts_are_linked(void **state)
{
    (void)state;
    static const char *const targets[][2] = {{"x86_64-linux-gnu", "x86-64-v3"}, {"aarch64-linux-gnu", "generic"}};
    for (int i = 0; i < 2; i++) {
        Maker *m = maker_new(12);
        for (uint32_t n = 1; n < 40; n++) add_gemm(m, 1 + n % 2, 3 * n, 7 * n, 3 * n);
        Target target = {targets[i][0], targets[i][1]};
        const Backend *llvm = backend_find("llvm");
        assert_null(llvm->emit(&m->cx, maker_plan(m), &target, "nfcc_model", true, NULL)->also);
        assert_non_null(llvm->emit(&m->cx, maker_plan(m), &target, "nfcc_model", false, NULL)->also);
        const char *so = compile_plan(m, "llvm", targets[i][0], targets[i][1], "parts.so");
        const char *exported = output_of(&m->cx, arena_format(m->cx.arena, "nm -D %s | sed 's/.* //'", so));
        assert_string_equal(exported, "nfcc_model\n");
        maker_free(m);
    }
}

static void typed_header(void **state)
{
    (void)state;
    Maker *m = small_plan();
    PlanValue contexts[] = {{"obs", T_F32, 2, {3, 4}, 12},
                            {"obs", T_I64, 0, {0}, 1},
                            {"a.b/c", T_BOOL, 1, {2}, 2},
                            {"Obs", T_F32, 0, {0}, 1}};
    PlanValue inputs[] = {{"x", T_F32, 1, {6}, 6}}, outputs[] = {{"1", T_F32, 1, {6}, 6}, {"class", T_F32, 0, {0}, 1}};
    maker_plan(m);
    m->plan.contexts = contexts;
    m->plan.n_contexts = 4; // sizes are macros in capitals, so Obs is obs
    m->plan.inputs = inputs;
    m->plan.n_inputs = 1;
    m->plan.outputs = outputs;
    m->plan.n_outputs = 2;
    m->plan.event = inputs[0];
    static const PlanPort z[] = {{PORT_Z, 0, 0, 6}, {PORT_LOG_PROB, 0, 16, 1}},
                          x[] = {{PORT_X, 0, 0, 6}, {PORT_LOG_PROB, 0, 16, 1}};
    m->plan.programs[PROGRAM_TO_LATENT] = (Program){true, NULL, 0, 32, NULL, z, 0, 2};
    m->plan.programs[PROGRAM_TO_EVENT] = (Program){true, NULL, 0, 32, NULL, x, 0, 2};
    m->plan.programs[PROGRAM_NOISE] = (Program){true, NULL, 0, 32, NULL, NULL, 0, 0};
    const char *text = emit_header(&m->cx, &m->plan, "lander"), *path = path_in(&m->cx, "lander.h"), *dir = __FILE__;
    assert_true(write_file(&m->cx, path, text, strlen(text)));
    static const char use[] =
        "#include \"lander.h\"\n#include \"lander.h\"\n"
        "int use(const nfcc_policy *p, void *state, void *work);\n"
        "int use(const nfcc_policy *p, void *state, void *work)\n{\n"
        "    lander_context_obs o = {{0}};\n    lander_context_obs_2 i = {{0}};\n    lander_context_a_b_c b = {{0}};\n"
        "    lander_context_Obs_3 c = {{LANDER_CONTEXT_OBS_3_SIZE}};\n"
        "    lander_event x, z;\n    float log_prob = (float)LANDER_CONTEXT_OBS_SIZE;\n"
        "    nfcc_noise noise = NFCC_NOISE(1);\n"
        "    return lander_is(p) + lander_prepare(p, 1, &o, &i, &b, &c, state, work) + lander_sample(p, state, &noise, "
        "1, "
        "&x, work)\n"
        "        + lander_to_latent(p, state, 1, &x, &z, &log_prob, work) + lander_act(p, state, &noise, 1, &x, "
        "work);\n}\n";
    assert_true(write_file(&m->cx, path_in(&m->cx, "use.c"), use, sizeof use - 1));
    int n = (int)(strrchr(dir, '/') - dir);
    static const char *const compilers[] = {"cc -std=c11 -xc", "c++ -std=c++11 -xc++"};
    for (int i = 0; i < 2; i++)
        run_command(arena_format(m->cx.arena,
                                 "%s -Wall -Wextra -Wpedantic -Werror -I %s -I %.*s/../runtime -c -o %s/use.o %s/use.c",
                                 compilers[i], scratch, n, dir, scratch, scratch));
    static const char wrong[] =
        "#include \"lander.h\"\nnfcc_status use(const nfcc_policy *p, float *x, lander_event *z)\n"
        "{ return lander_to_latent(p, NULL, 1, x, z, NULL, NULL); }\n";
    assert_true(write_file(&m->cx, path_in(&m->cx, "use.c"), wrong, sizeof wrong - 1));
    assert_int_not_equal(
        system(arena_format(m->cx.arena,
                            "cc -std=c11 -Wall -Werror -I %s -I %.*s/../runtime -c -o %s/use.o %s/use.c 2>/dev/null",
                            scratch, n, dir, scratch, scratch)),
        0);
    maker_free(m);
}

// One product as a graph that is no flow; compiled.
static const char *product_policy(Maker *m, const char *cpu, GemmStep **product)
{
    static const PlanValue x = {"x", T_F32, 1, {IN_LANES}, IN_LANES}, y = {"y", T_F32, 1, {30}, 30};
    Plan *p = &m->plan;
    add_gemm(m, 1, 20, 30, 20);
    GemmStep *s = *product = &maker_last(m)->gemm;
    s->x_space = SPACE_WORK, s->x = 5, s->has_add = false;
    maker_plan(m);
    p->programs[PROGRAM_RUN] = p->programs[PROGRAM_TO_EVENT];
    p->programs[PROGRAM_TO_EVENT].exists = false;
    p->prep_lanes = 0;
    p->inputs = &x, p->outputs = &y;
    p->n_inputs = p->n_outputs = 1;
    Target target = {"x86_64-linux-gnu", cpu};
    const Object *object = backend_find("llvm")->emit(&m->cx, p, &target, "nfcc_model", false, NULL);
    const char *path = path_in(&m->cx, "compared.so");
    assert_true(link_shared(&m->cx, object, &target, false, path, NULL, NULL));
    assert_true(cli_native_check(&m->cx, p, path, 0));
    return path;
}

// What every compile asks of its policy: a weight that is another one is found, in every output that it reaches; a
// library's sums may be a little off.
static void code_is_compared(void **state)
{
    (void)state;
    Maker *m = maker_new(9);
    Plan *p = &m->plan;
    GemmStep *s;
    const char *path = product_policy(m, "x86-64-v3", &s);
    maker_own_weights(m);
    p->weights[s->w] += 1e-5f;
    assert_true(cli_native_check(&m->cx, p, path, 1e-3));
    assert_no_errors(m);
    assert_false(cli_native_check(&m->cx, p, path, 0));
    p->weights[s->w] += 0.1f;
    assert_false(cli_native_check(&m->cx, p, path, 1e-3));
    for (size_t i = 0; i < 2; i++) assert_non_null(strstr(m->diag.list[i].text, "output 'y', row 0, number 0 is "));
    maker_free(m);
}

// Where the file has what is loaded `distance` bytes behind `from`.
static unsigned char *loaded_at(unsigned char *file, const unsigned char *from, int64_t distance)
{
    const Elf64_Phdr *ph = (const Elf64_Phdr *)(file + ((const Elf64_Ehdr *)file)->e_phoff);
    uint64_t offset = (uint64_t)(from - file), address = 0;
    for (int i = 0; !address; i++)
        if (ph[i].p_type == PT_LOAD && offset - ph[i].p_offset < ph[i].p_filesz)
            address = ph[i].p_vaddr + offset - ph[i].p_offset + (uint64_t)distance;
    while (ph->p_type != PT_LOAD || address - ph->p_vaddr >= ph->p_filesz) ph++;
    return file + ph->p_offset + (address - ph->p_vaddr);
}

static unsigned cpu_of(const char *path, unsigned flags)
{
    nfcc_policy *p;
    assert_int_equal(nfcc_open(path, flags, &p), NFCC_OK);
    unsigned cpu = nfcc_get_info(p)->cpu;
    nfcc_close(p);
    return cpu;
}

// With --cpu dispatch both sets of code are: here one of them returns at once.
static void both_sets_are_compared(void **state)
{
    (void)state;
    Maker *m = maker_new(9);
    GemmStep *s;
    const char *path = product_policy(m, "dispatch", &s);
    const Bytes *good = read_file(&m->cx, path);
    bool both = cpu_of(path, 0) != cpu_of(path, NFCC_OPEN_BASELINE);
    for (int other = 0; other <= both; other++) {
        unsigned char *file = arena_copy(m->cx.arena, good->data, good->size), *at = file;
        while (((const nfcc_model_header *)at)->magic != NFCC_ABI_MAGIC) at += 64;
        const nfcc_model_header *h = (const nfcc_model_header *)at;
        const int32_t *code = h->programs[NFCC_PROGRAM_RUN].code;
        if (other) code = (const int32_t *)(at + h->other_code) + NFCC_PROGRAM_RUN * NFCC_TILES;
        for (int t = 0; t < NFCC_TILES; t++)
            if (code[t]) *loaded_at(file, at, code[t]) = 0xc3; // ret
        assert_true(write_file(&m->cx, path, file, good->size));
        assert_false(cli_native_check(&m->cx, &m->plan, path, 0));
    }
    assert_true(write_file(&m->cx, path, good->data, good->size));
    assert_true(cli_native_check(&m->cx, &m->plan, path, 0));
    maker_free(m);
}

// ---- errors
static void unknown_targets(void **state)
{
    (void)state;
    Maker *m = maker_new(1);
    Target triple = {"riscv64-linux-gnu", NULL}, cpu = {"x86_64-linux-gnu", "z80"},
           native = {"aarch64-linux-gnu", "native"};
    assert_non_null(strstr(target_resolve(&m->cx, &triple), "x86_64-linux-gnu, aarch64-linux-gnu"));
    assert_non_null(strstr(target_resolve(&m->cx, &cpu), "native, dispatch, x86-64-v3, x86-64-v4"));
#ifdef __x86_64__
    assert_non_null(strstr(target_resolve(&m->cx, &native), "--cpu native"));
#else
    (void)native;
#endif
    Target fresh = {0};
    assert_null(target_resolve(&m->cx, &fresh));
    assert_non_null(fresh.triple);
    assert_non_null(fresh.cpu);
    maker_free(m);
}

static void refuses_folders(void **state)
{
    (void)state;
    Maker *m = small_plan();
    Target target = {"x86_64-linux-gnu", "x86-64-v3"};
    const Object *object = backend_find("llvm")->emit(&m->cx, maker_plan(m), &target, "nfcc_model", false, NULL);
    const char *const bad[] = {scratch, path_in(&m->cx, "no/such.so"), "/dev/null/x.so", "/dev/full"};
    for (int i = 0; i < 4; i++) {
        size_t before = m->diag.n;
        assert_false(link_shared(&m->cx, object, &target, false, bad[i], NULL, NULL));
        assert_false(write_file(&m->cx, bad[i], "text", 4));
        assert_int_equal(m->diag.n, before + 2);
        assert_true(m->diag.io_error);
        assert_non_null(strstr(m->diag.list[before].text, bad[i]));
        assert_non_null(m->diag.list[before].hint);
        assert_non_null(m->diag.list[before + 1].hint);
    }
    assert_int_equal(scratch_files(), 0);
    maker_free(m);
}

static void file_too_large(void **state)
{
    (void)state;
    Maker *m = small_plan();
    Target target = {"x86_64-linux-gnu", "x86-64-v3"};
    const Object *object = backend_find("llvm")->emit(&m->cx, maker_plan(m), &target, "nfcc_model", false, NULL);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    bool linked = link_shared(&m->cx, object, &target, false, path_in(&m->cx, "large.so"), NULL, NULL);
    bool written = write_bytes(&m->cx, path_in(&m->cx, "large.o"), object->bytes);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_false(linked || written);
    assert_int_equal(m->diag.errors, 2);
    assert_true(m->diag.io_error);
    assert_int_equal(scratch_files(), 0);
    maker_free(m);
}

static void broken_object(void **state)
{
    (void)state;
    Maker *m = maker_new(1);
    Target target = {"x86_64-linux-gnu", "x86-64-v3"};
    Bytes garbage = {"not an object", 13, NULL};
    Object object = {&garbage, NULL, NULL};
    assert_false(link_shared(&m->cx, &object, &target, false, path_in(&m->cx, "broken.so"), NULL, NULL));
    assert_int_equal(m->diag.errors, 1);
    assert_int_equal(scratch_files(), 0);
    maker_free(m);
}

static void die_writing(Context *cx, const char *path)
{
    pid_t child = fork();
    if (!child) {
        NewFile file;
        if (!file_begin(cx, path, &file) || file_create(cx, &file, 4) < 0) _exit(1);
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void writes_whole_files(void **state)
{
    (void)state;
    Maker *m = maker_new(1);
    const char *path = path_in(&m->cx, "text"), *other = path_in(&m->cx, ".texts.nfcc-2147480000.00000000.new"),
               *elsewhere = path_in(&m->cx, ".text.nfcc-2147480000.00000000.new");
    die_writing(&m->cx, path);
    assert_int_equal(scratch_files(), 1);
    fclose(fopen(other, "w"));
    fclose(fopen(elsewhere, "w"));
    assert_true(write_file(&m->cx, path, "old", 3));
    assert_true(write_file(&m->cx, path, "new text", 8));
    const Bytes *b = read_file(&m->cx, path);
    assert_int_equal(b->size, 8);
    assert_memory_equal(b->data, "new text", 8);
    assert_int_equal(scratch_files(),
                     3); // what the dead compiler left is gone, not what another machine's may be writing
    struct utimbuf days_ago = {time(NULL) - 200000, time(NULL) - 200000};
    utime(elsewhere, &days_ago);
    utime(other, &days_ago);
    assert_true(write_file(&m->cx, path, "new", 3));
    assert_int_equal(access(elsewhere, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(scratch_files(), 2);
    assert_true(write_file(&m->cx, "/dev/null", "text", 4));
    maker_free(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(needs_nothing),           TEST(same_bytes),
        TEST(cpu_bits_of_bf16),        TEST(cpu_bits_of_tiles),
        TEST(costs_of_pairs),          TEST(tiles_where_they_pay),
        TEST(costs_of_aarch64),        TEST(unknown_targets),
        TEST(descriptor_says_all),     TEST(equal_steps_share_code),
        TEST(many_numbers_share_code), TEST(typed_header),
        TEST(refuses_folders),         TEST(file_too_large),
        TEST(broken_object),           TEST(writes_whole_files),
        TEST(parts_are_linked),        TEST(code_is_compared),
        TEST(both_sets_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
