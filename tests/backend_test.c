// The llvm backend against the Plan's interpreter, bit for bit: plans of random steps of every kind with sizes at
// the edges of vectors, blocks and groups, for every CPU level that this host runs and, under qemu, for aarch64. Also
// what rounding to 16 bits makes of a Plan, which those bits rest on.
#include "plan_compiled.h"
#include "scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// ---- bits
static const uint32_t edges_n[] = {1, 5, 16, 17, 64, 65, 128, 129, 300}, edges_k[] = {1, 3, 4, 5, 64, 257};
enum { EDGES_N = 9, EDGES_K = 6 };

// The last product once more, of so many tokens, inputs and outputs.
static GemmStep *add_again(Maker *m, uint32_t tokens, uint32_t k, uint32_t n)
{
    Step last = *maker_last(m);
    last.gemm.m = tokens;
    last.gemm.k = last.gemm.kb = k;
    last.gemm.n = n;
    last.gemm.out = add_output(m, tokens * n);
    *add_step(m, STEP_GEMM) = last;
    return &maker_last(m)->gemm;
}

static void gemm_bits(void **state)
{
    (void)state;
    for (uint32_t tokens = 1; tokens <= 8; tokens += tokens < 3 ? 2 : 5) {
        Maker *m = maker_new(tokens);
        for (int n = 0; n < EDGES_N; n++)
            for (int k = 0; k < EDGES_K; k++)
                add_gemm(m, tokens, edges_k[k], edges_n[n], edges_n[n] <= 64 ? (edges_k[k] + 3) / 4 : edges_k[k]);
        check_everywhere(m);
    }
}

// Few rows take weights that do not fit a core's cache in chunks.
static void far_gemm_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(29);
    for (int n = 0; n < EDGES_N; n++)
        for (int k = n % 2; k < EDGES_K; k += 2)
            add_gemm(m, 1, edges_k[k], edges_n[n], edges_n[n] <= 64 ? (edges_k[k] + 3) / 4 : edges_k[k]);
    add_constants(m, 1 << 18);
    check_everywhere(m);
}

// Weights of which one is not like the others: 0 and -0, the smallest and largest, no number.
static void spoil_weights(Maker *m)
{
    static const float odd[] = {0, -0.0f, 0x1p-149f, -0x1p-126f, 1e-9f, 0x1.8p-10f, -3e38f, INFINITY};
    for (size_t i = below(m, 700); i < m->n_weights; i += 1 + below(m, 700))
        m->weights[i] = odd[below(m, sizeof odd / sizeof *odd)];
}

// One row: the compact image of large weights gives the same bits, also where some units have none. (Where there is an
// adjoint, as in apart_bits, there is no image.)
static void compact_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++) {
        Maker *m = maker_new((uint64_t)(81 + type));
        m->weight_type = (WeightType)type;
        m->compact = true;
        add_gemm(m, 1, 80, 300, 80);
        add_gemm(m, 1, 32, 128, 32);
        add_gemm(m, 1, 513, 256, 513);
        add_gemm(m, 1, 40, 80, 40);
        add_apart(m, 3, 32, 272, OWN_X);
        add_apart(m, 2, 48, 384, ONE_X);
        spoil_weights(m);
        add_gemm(m, 1, 30, 140, 30);
        add_constants(m, 1 << 19);
        check_everywhere(m);
    }
}

// One row: many tokens take a large matrix as few rows do, but for inputs and outputs that are no whole sixteens,
// windows and a scale.
static void many_tokens_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(61);
    add_gemm(m, 35, 80, 1648, 80);
    for (uint32_t kb = 160; kb <= 640; kb *= 4) add_gemm(m, 2, 640, 208, kb);
    add_gemm(m, 2, 641, 208, 641);
    add_gemm(m, 2, 640, 209, 640);
    check_everywhere(m);
    for (int windows = 0; windows < 2; windows++) {
        m = maker_new(64); // all weights fit a core's own cache
        if (windows)
            add_windows(m, 2, 640, 208, 640, 16);
        else
            add_gemm(m, 2, 640, 208, 640);
        GemmStep *g = &maker_last(m)->gemm;
        g->has_add = false;
        g->scaled = !windows;
        g->has_bias = true;
        g->bias = g->w;
        check_everywhere(m);
    }
    for (int type = WEIGHTS_F16; type <= WEIGHTS_BF16; type++) {
        m = maker_new(62);
        m->weight_type = (WeightType)type;
        add_gemm(m, type == WEIGHTS_F16 ? 9 : 2, 80, 3280, 80);
        check_everywhere(m);
    }
}

// Windows of a picture, where they lie: whole runs of sixteen, other runs, and taps anywhere.
static void windows_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++) {
        Maker *m = maker_new((uint64_t)(51 + type));
        m->weight_type = (WeightType)type;
        for (uint32_t tokens = 1; tokens <= 13; tokens += 6) {
            for (int n = type % 2; n < EDGES_N; n += 2)
                for (int k = n % 2; k < EDGES_K; k += 2)
                    add_windows(m, tokens, edges_k[k], edges_n[n], edges_n[n] <= 64 ? edges_k[k] : 64, 1);
            add_windows(m, tokens, 48, 40, 48, 16);
            add_windows(m, tokens, 96, 136, 32, 16);
            add_windows(m, tokens, 75, 24, 75, 5 + tokens);
            add_windows(m, tokens, 147, 16, 147, 21);
        }
        check_everywhere(m);
    }
}

// Outputs with inputs of their own, or some for each block of them; their weights stay f32 beside others of 16 bits.
static void diagonal_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++) {
        Maker *m = maker_new((uint64_t)(71 + type));
        m->weight_type = (WeightType)type;
        for (uint32_t tokens = 1; tokens <= 13; tokens += 6) {
            for (int n = type % 2; n < EDGES_N; n += 2)
                for (int k = n % 2; k + 1 < EDGES_K; k += 2)
                    add_diagonal(m, tokens, edges_k[k], edges_n[n], k % 3 ? edges_k[k] : (edges_k[k] + 1) / 2, 1);
            for (uint32_t block = 2; block <= 128; block *= 2)
                add_diagonal(m, tokens, block < 32 ? 9 : 18, block * (block < 16 ? 31 : 3), 9, block);
        }
        add_windows(m, 7, 48, 40, 48, 16);
        check_everywhere(m);
    }
}

// x > 0 ? x : slope x of the last step's n results, in place.
static void add_rectifier(Maker *m, uint32_t n, float slope)
{
    uint32_t at = maker_last(m)->gemm.out, word;
    memcpy(&word, &slope, sizeof word);
    MapCode *code = ARENA_NEW(m->cx.arena, MapCode);
    int x = map_arg(code, 0), low = map_op(code, S_fmul, x, map_imm(code, word), 0);
    int value = map_op(code, S_sel, map_op(code, S_flt, map_imm(code, 0), x, 0), x, low);
    MapStep *s = &add_step(m, STEP_MAP)->map;
    *s = (MapStep){.n = n, .n_args = 1, .n_outs = 1, .n_code = (uint32_t)code->n, .code = code->code};
    s->args[0] = (Access){SPACE_WORK, at, n, 0, 1};
    s->outs[0].at = at;
    s->outs[0].value = (uint32_t)value;
}

// Where there are tiles of AMX these have what lies in a picture's lines, or, half empty, copies of it.
static const struct {
    uint32_t lines, places, step, behind, tiles;
} pictures[] = {{1, 2, 7, 0, 1},   {2, 16, 32, 2, 2},  {3, 16, 16, 3, 3}, {5, 7, 8, 2, 3}, {3, 24, 4, 2, 5},
                {4, 24, 16, 2, 7}, {2, 70, 5, 11, 10}, {6, 8, 4, 9, 0},   {3, 4, 9, 2, 1}, {10, 1, 3, 1, 1}};
enum { PICTURES = sizeof pictures / sizeof *pictures };

static void add_pictures(Maker *m, uint32_t from)
{
    static const uint32_t ks[] = {32, 64}, ns[] = {16, 24, 130, 7};
    for (uint32_t i = from; i < PICTURES; i += 2) {
        uint32_t m_all = pictures[i].lines * pictures[i].places, n = m_all > 45 ? 16 : ns[i % 4];
        add_lines(m, pictures[i].lines, pictures[i].places, pictures[i].step, pictures[i].behind, ks[m_all < 90], n);
        if (i % 3) add_rectifier(m, m_all * n, 0.25f);
    }
}

static void pictures_bits(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < 2; from++) {
        Maker *m = maker_new(54 + from);
        m->weight_type = WEIGHTS_BF16;
        add_pictures(m, from);
        check_everywhere(m);
    }
}

// 64 taps, the first `n` of them from lane 0 on, the others from lane 100 on.
static uint32_t two_runs(Maker *m, int32_t n)
{
    int32_t taps[64];
    for (int32_t i = 0; i < 64; i++) taps[i] = i < n ? i : 100 + i - n;
    return add_table(m, taps, 64);
}

// Two lines, one of them alone, the second one first, half a step behind the first; the first place behind the second;
// inputs that are no whole 32, and a run of one.
static const uint32_t other_tiles[] = {2, 1, 2, 2, 0, 0, 0};
enum { OTHER_TILES = sizeof other_tiles / sizeof *other_tiles };

static void add_others(Maker *m)
{
    int32_t back[32], half[16], first[16] = {8, 4};
    for (int32_t i = 0; i < 32; i++) back[i] = 4 * (i < 16 ? 20 + i : i - 16);
    for (int32_t i = 0; i < 16; i++) half[i] = 4 * i + (i < 8 ? 0 : 2);
    for (int32_t i = 2; i < 16; i++) first[i] = 4 + 4 * i;
    add_lines(m, 2, 16, 4, 4, 32, 16);
    add_again(m, 16, 32, 16);
    add_again(m, 32, 32, 16)->places = add_table(m, back, 32);
    add_again(m, 16, 32, 16)->places = add_table(m, half, 16);
    add_again(m, 16, 32, 16)->places = add_table(m, first, 16);
    add_lines(m, 1, 16, 4, 0, 48, 16);
    add_lines(m, 1, 16, 4, 0, 64, 16);
    maker_last(m)->gemm.taps = two_runs(m, 1);
}

static void pictures_have_tiles(void **state)
{
    (void)state;
    Maker *m = maker_new(56);
    m->weight_type = WEIGHTS_BF16;
    m->tiled = true;
    for (uint32_t i = 0; i < PICTURES; i++)
        add_lines(m, pictures[i].lines, pictures[i].places, pictures[i].step, pictures[i].behind, 32, 16);
    add_others(m);
    const Step *s = maker_plan(m)->programs[PROGRAM_TO_EVENT].steps;
    for (uint32_t i = 0; i < PICTURES; i++) assert_int_equal(s[i].gemm.tiles, pictures[i].tiles);
    for (uint32_t i = 0; i < OTHER_TILES; i++) assert_int_equal(s[PICTURES + i].gemm.tiles, other_tiles[i]);
    maker_free(m);
}

// What products have that are alike but for one thing, which decides their code.
static void add_alike(Maker *m)
{
    add_diagonal(m, 3, 9, 48, 9, 1);
    for (uint32_t block = 4; block <= 16; block *= 4) add_again(m, 3, 9, 48)->diagonal = block;
    add_windows(m, 3, 64, 24, 64, 1); // of one run
    maker_last(m)->gemm.taps = order_table(m, ROWS_IN_ORDER, 96, 96, 0);
    add_again(m, 3, 96, 24)->w = add_constants(m, 96 * 24);
    for (int32_t run = 16; run <= 32; run += 8) {
        GemmStep *g = add_again(m, 3, 64, 24);
        g->taps = two_runs(m, run);
        g->w = add_constants(m, 64 * 24);
    }
    add_lines(m, 1, 16, 5, 0, 32, 16);
    add_again(m, 16, 32, 16)->places = order_table(m, ROWS_STRIDED, 16, 64, 0); // four lanes from each to the next
    GemmStep *g = add_again(m, 16, 32, 16);
    g->places = order_table(m, ROWS_STRIDED, 16, 80, 40);
    g->picture += 40;
    add_gemm(m, 1, 30, 20, 30);
    m->weights[add_again(m, 1, 30, 20)->w = add_constants(m, 30 * 20)] = 3.4e38f; // stays f32
    add_gemm(m, 1, 64, 40, 64);
    maker_last(m)->gemm.x_space = SPACE_PREP;
    maker_last(m)->gemm.x = 0;
    for (uint32_t k = 63; k >= 59; k--) {
        g = add_again(m, 1, k, 40);
        g->x = PREP_LANES - k; // behind it stands a NaN
        g->w = add_constants(m, k * 40);
    }
    add_gemm(m, 1, 512, 40, 128); // weights of 16 bits: too many of a block to be expanded
    GemmStep *small = &maker_last(m)->gemm;
    add_again(m, 1, 512, 40)->kb = 128;
    small->k = 64;
    small->kb = 16;
    small->w = add_constants(m, 64 * 40);
}

// The same of other steps.
static void add_others_alike(Maker *m)
{
    const AccessForm forms[] = {ACCESS_PER_RUN};
    add_map(m, 12, 3, 12, 1, forms, 1);
    Step last = *maker_last(m);
    last.map.n = 24;
    last.map.outs[0].at = add_output(m, 24);
    *add_step(m, STEP_MAP) = last;
    add_reduce(m, OP_reduce_sum, 3, 23);
    for (int across = 0; across < 2; across++) {
        last = *maker_last(m);
        last.reduce.k = 7;
        last.reduce.across = across;
        last.reduce.out = add_output(m, 3);
        *add_step(m, STEP_REDUCE) = last;
    }
}

static void alike_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++) {
        Maker *m = maker_new((uint64_t)(63 + type));
        m->weight_type = (WeightType)type;
        add_alike(m);
        add_others_alike(m);
        check_everywhere(m);
    }
}

// Two or three tokens with weights of their own, on their own x, on one, and transposed.
static void apart_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(42);
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t k = 0; k < EDGES_K; k++)
            for (Apart way = OWN_X; way <= TRANSPOSED; way++)
                add_apart(m, 2 + (i + k) % 2, edges_k[k], 16 + 64 * i, way);
    check_everywhere(m);
}

static void transposed_bits(void **state)
{
    (void)state;
    for (uint32_t tokens = 1; tokens <= 3; tokens += 2) {
        Maker *m = maker_new(17 + tokens);
        for (int n = 0; n < EDGES_N; n++)
            for (int k = 0; k < EDGES_K; k++) add_transposed(m, tokens, edges_k[k], edges_n[n]);
        for (uint32_t k = 6; k <= 15; k++) add_transposed(m, tokens, k, 40 + k);
        check_everywhere(m);
    }
}

// Blocks of K that the plan's rule does not make, and wide products.
static void gemm_blocks_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(11);
    for (uint32_t kb = 1; kb <= 64; kb = kb * 2 + 1) add_gemm(m, 1, 64, 40, kb);
    for (uint32_t kb = 7; kb <= 64; kb += 19) add_gemm(m, 7, 70, 100, kb);
    add_gemm(m, 1, 300, 600, 300);
    add_gemm(m, 13, 33, 48, 9);
    check_everywhere(m);
}

// Products that round to -0: no sum of them becomes +0 by what it is added to.
static void signed_zero_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_F16; type++) {
        Maker *m = maker_new(13);
        m->weight_type = (WeightType)type;
        for (int i = 0; i < 4; i++) {
            if (i % 2)
                add_transposed(m, 1, 10, 40);
            else
                add_gemm(m, 1, i ? 40 : 9, 40, i ? 3 : 2);
            GemmStep *s = &maker_last(m)->gemm;
            s->has_add = s->has_bias = false;
            s->x_space = SPACE_CONST, s->x = add_constants(m, gemm_x_lanes(s));
            for (uint64_t x = 0; x < gemm_x_lanes(s); x++) m->weights[s->x + x] = 1e-45f;
            for (uint64_t w = 0; w < gemm_w_lanes(s); w++) m->weights[s->w + w] = -0.25f;
        }
        check_everywhere(m);
    }
}

// Weights of 16 bits. Some matrices stay f32: one has a number too large, one is read by a map as well, one lies
// among what a move gathers; the others close up, and everything behind them moves.
static void add_kept(Maker *m)
{
    int32_t lanes[20];
    add_gemm(m, 1, 30, 20, 30);
    m->weights[maker_last(m)->gemm.w + 7] = 3.4e38f;
    add_gemm(m, 1, 30, 20, 30);
    uint32_t shared = maker_last(m)->gemm.w;
    AccessForm forms[] = {ACCESS_WHOLE};
    add_map(m, 40, 40, 12, 1, forms, 1);
    maker_last(m)->map.args[0] = (Access){SPACE_CONST, shared + 39, 40, 0, -1};
    add_gemm(m, 1, 30, 20, 30);
    uint32_t among = maker_last(m)->gemm.w;
    for (int i = 0; i < 20; i++) lanes[i] = (i * 7 % 20) * 60;
    MoveStep *s = &add_step(m, STEP_MOVE)->move;
    *s = (MoveStep){.n = 20, .space = SPACE_CONST, .in = among - 100, .out = add_output(m, 20)};
    s->src_table = add_table(m, lanes, 20);
    s->dst_table = order_table(m, ROWS_IN_ORDER, 20, 20, 0);
    add_constants(m, 1200);
}

// A matrix of 30 x 256 read as another one, too: of other rows, its products are not paired.
static void add_overlapping(Maker *m, uint32_t k, uint32_t n)
{
    add_gemm(m, 1, 30, 256, 30);
    add_again(m, 1, k, n)->w += 30 * (256 - n);
}

// Weights that do not fit a core's own cache: fetched ahead, other blocks of few rows.
static void far_weights_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++) {
        Maker *m = maker_new(60);
        m->weight_type = (WeightType)type;
        uint32_t k = type == WEIGHTS_F32 ? 520 : 1030; // a little more than 1 MiB
        add_gemm(m, 1, k, 520, k);
        add_gemm(m, 1, 130, 64, 34);
        add_gemm(m, 1, 13, 301, 13);
        add_transposed(m, 1, 43, 392);
        check_everywhere(m);
    }
}

static void short_weights_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F16; type <= WEIGHTS_BF16; type++)
        for (uint32_t tokens = 1; tokens <= 7; tokens += 6) {
            Maker *m = maker_new(90 + tokens);
            m->weight_type = (WeightType)type;
            for (int n = 0; n < EDGES_N; n++)
                for (int k = 0; k < EDGES_K; k += 2) {
                    add_gemm(m, tokens, edges_k[k], edges_n[n], edges_n[n] <= 64 ? (edges_k[k] + 3) / 4 : edges_k[k]);
                    if (n % 3 == 0) add_transposed(m, tokens, edges_k[k], edges_n[n]);
                    if (n == 4) add_kept(m);
                    if (n == 5) add_overlapping(m, 15, 256);
                }
            for (size_t i = 0; i < m->n_weights; i++)
                if (i % 3 == 0 && fabsf(m->weights[i]) < 4 && fabsf(m->weights[i]) > 1e-3f) m->weights[i] *= 1e-5f;
            check_everywhere(m);
        }
}

// Paired products of numbers of every size: what is small counts as 0 wherever the code runs, so that no sum is
// denormal, and neither rounding nor the order of a pair depends on the CPU. Blocks of K that would cut a pair become
// even.
static void paired_bits(void **state)
{
    (void)state;
    for (int any = 0; any < 2; any++) {
        Maker *m = maker_new(70 + (uint64_t)any);
        m->weight_type = WEIGHTS_BF16;
        m->any_size = any;
        for (uint32_t kb = 1; kb <= 64; kb = kb * 2 + 1) add_gemm(m, 1, 63, 40, kb);
        for (uint32_t kb = 7; kb <= 64; kb += 19) add_gemm(m, 3, 70, 100, kb);
        add_gemm(m, 1, 1, 300, 1);
        add_gemm(m, 1, 31, 600, 31);
        for (size_t i = POOL; any && i < m->n_weights; i++) m->weights[i] = ldexpf(m->weights[i], (int)(i % 120) - 80);
        check_everywhere(m);
    }
}

// Own weights of each token are paired, of an odd K, too, and also where a step reads those of some tokens or outputs.
static void paired_apart_bits(void **state)
{
    (void)state;
    static const uint32_t outputs[] = {128, 256, 80};
    Maker *m = maker_new(76);
    m->weight_type = WEIGHTS_BF16;
    for (int n = 0; n < 3; n++)
        for (int k = 0; k < EDGES_K; k++)
            for (Apart way = OWN_X; way <= TRANSPOSED; way++) {
                add_apart(m, 2, edges_k[k], outputs[n], way);
                if (way == ONE_X) add_again(m, 1, edges_k[k], outputs[n])->w += edges_k[k] * outputs[n];
            }
    const Program *p = &maker_plan(m)->programs[PROGRAM_TO_EVENT];
    for (int i = 0; i < p->n_steps; i++) assert_true(p->steps[i].gemm.paired || p->steps[i].gemm.transposed);
    check_everywhere(m);
}

// A product of several rounds is paired if it can be in all of them, and so are the others of their matrices.
static void paired_rounds(void **state)
{
    (void)state;
    enum { K = 14, N = 32 };
    for (int fits = 0; fits < 2; fits++) {
        Maker *m = maker_new(48);
        m->weight_type = WEIGHTS_BF16;
        uint32_t w = add_constants(m, 2 * K * N);
        Step *by = ARENA_NEW(m->cx.arena, Step);
        *by = (Step){.kind = STEP_GEMM, .gemm = {.x = 3, .w = K * N, .out = N}};
        add_step(m, STEP_REPEAT)->repeat = (RepeatStep){2, 1, by};
        GemmStep body = {.m = 1, .k = K, .n = N, .kb = K, .x_space = SPACE_WORK, .w = w, .out = add_output(m, 2 * N)};
        add_step(m, STEP_GEMM)->gemm = body;
        add_step(m, STEP_GEMM)->gemm = body;
        m->steps[2].gemm.out = add_output(m, N);
        if (!fits) m->weights[w + K * N] = 3.4e38f; // infinity in bfloat16
        const Step *s = maker_plan(m)->programs[PROGRAM_TO_EVENT].steps;
        assert_true(s[1].gemm.paired == fits && s[2].gemm.paired == fits);
        check_everywhere(m);
    }
}

// Every product of a matrix that is read in one way is paired; no number is so small that it would give denormal sums.
static void paired_plan(void **state)
{
    (void)state;
    Maker *m = maker_new(5);
    m->weight_type = WEIGHTS_BF16;
    add_gemm(m, 2, 9, 40, 3);
    add_transposed(m, 1, 8, 20);
    add_overlapping(m, 15, 256);
    add_overlapping(m, 30, 128);
    uint32_t w = m->steps[0].gemm.w;
    m->weights[w] = 0x1p-50f;
    m->weights[w + 1] = -0x1p-49f;
    const Plan *p = maker_plan(m);
    const Step *s = p->programs[PROGRAM_TO_EVENT].steps;
    assert_true(s[0].gemm.paired && s[0].gemm.kb == 4 && s[0].gemm.pairs == m->lanes);
    assert_int_equal(p->programs[PROGRAM_TO_EVENT].work_lanes, m->lanes + 16);
    assert_true(!s[1].gemm.paired && !s[2].gemm.paired && !s[3].gemm.paired);
    assert_true(s[4].gemm.paired && s[5].gemm.paired);
    assert_true(p->weights[w] == 0 && p->weights[w + 1] == -0x1p-49f);
    assert_true(pair_value(0x1.fep-64f) == 0 && pair_value(-0x1.fffp-64f) == -0x1p-63f && isnan(pair_value(NAN)));
    maker_free(m);
}

enum { READERS = 13 };

// A step that reads 40 lanes of CONST otherwise than as weights.
static void add_reader(Maker *m, int number, uint32_t at)
{
    const AccessForm forms[] = {ACCESS_WHOLE};
    const Access access[] = {{SPACE_CONST, at + 39, 40, 0, -1},
                             {SPACE_CONST, at, 8, 8, 1},
                             {SPACE_CONST, at + 32, 8, -8, 1},
                             {SPACE_CONST, at + 7, 8, 8, -1}};
    const Step steps[] = {
        {.kind = STEP_REDUCE, .reduce = {.op = OP_reduce_max, .outer = 4, .k = 10, .in_space = SPACE_CONST, .in = at}},
        {.kind = STEP_REDUCE, .reduce = {OP_reduce_max, true, true, false, 40, 1, SPACE_WORK, 0, SPACE_CONST, at, 0}},
        {.kind = STEP_MATMUL, .matmul = {2, 4, 5, 1, SPACE_CONST, at, SPACE_WORK, 0, 0}},
        {.kind = STEP_MATMUL, .matmul = {2, 1, 5, 4, SPACE_WORK, 0, SPACE_CONST, at, 0}},
        {.kind = STEP_TAKE, .take = {4, 10, 1, false, SPACE_CONST, at, SPACE_WORK, 0, 0}},
        {.kind = STEP_TAKE, .take = {4, 10, 10, true, SPACE_WORK, 0, SPACE_CONST, at, 0}},
        {.kind = STEP_GEMM, .gemm = {.m = 2, .k = 20, .n = 16, .kb = 20, .x_space = SPACE_CONST, .x = at}},
        {.kind = STEP_GEMM, .gemm = {.m = 1, .k = 3, .n = 40, .kb = 3, .has_bias = true, .bias = at}},
        {.kind = STEP_MOVE, .move = {.n = 40, .space = SPACE_CONST, .in = at, .src_table = 100, .dst_table = 100}}};
    if (number < 4) {
        add_map(m, 40, 40, 12, 1, forms, 1);
        maker_last(m)->map.args[0] = access[number];
    } else {
        *add_step(m, steps[number - 4].kind) = steps[number - 4];
    }
}

// A matrix stays f32 if any step reads one of its lanes otherwise, the first or the last, and not for those beside it.
static void matrices_read_otherwise(void **state)
{
    (void)state;
    enum { LANES = 30 * 20 };
    static const int32_t from[] = {-39, LANES - 1, -40, LANES};
    for (int number = 0; number < READERS; number++)
        for (int i = 0; i < 4; i++) {
            Maker *m = maker_new(9);
            m->weight_type = WEIGHTS_BF16;
            for (int32_t lane = 0; lane < 40; lane++) memcpy(&m->weights[100 + lane], &lane, sizeof lane);
            add_gemm(m, 1, 30, 20, 30);
            add_constants(m, 40);
            uint32_t at = maker_last(m)->gemm.w + (uint32_t)from[i];
            if (from[i] < 0) add_reader(m, number, at - 20); // in part the same lanes
            add_reader(m, number, at);
            if (maker_plan(m)->programs[PROGRAM_TO_EVENT].steps[0].gemm.paired != (i >= 2))
                fail_msg("reader %d from lane %d on", number, from[i]);
            maker_free(m);
        }
}

// The smallest matrices stay f32: all of a size or none, together at most 1/64.
static void small_matrices_stay(void **state)
{
    (void)state;
    Maker *m = maker_new(8);
    for (int i = 0; i < 2; i++) add_gemm(m, 1, 10, 20, 10);
    for (int i = 0; i < 3; i++) add_gemm(m, 1, 30, 40, 30);
    add_gemm(m, 1, 100, 300, 100);
    maker_plan(m);
    int n;
    uint32_t from = plan_short_from(&m->cx, &m->plan, WEIGHTS_BF16);
    assert_int_equal(from, 1200); // 400 of 34000 stay, 4000 would be too many
    maker_own_weights(m);
    plan_round(&m->cx, &m->plan, WEIGHTS_BF16, from, false);
    plan_matrices(m->cx.arena, &m->plan, &n);
    const Step *s = m->plan.programs[PROGRAM_TO_EVENT].steps;
    assert_true(n == 4 && !s[1].gemm.paired && s[2].gemm.paired && s[5].gemm.paired);
    assert_true(m->plan.weights[s[0].gemm.w] == m->weights[s[0].gemm.w]);
    m->weight_type = WEIGHTS_F16;
    assert_int_equal(plan_short_from(&m->cx, maker_plan(m), WEIGHTS_F16), 1200);
    add_gemm(m, 1, 5, 20, 5); // 100 numbers that many tokens are multiplied by
    add_again(m, 30, 5, 20);
    assert_int_equal(plan_short_from(&m->cx, maker_plan(m), WEIGHTS_F16), 1200);
    assert_int_equal(plan_short_from(&m->cx, maker_plan(m), WEIGHTS_BF16), 100);
    maker_free(m);
    m = maker_new(8);
    add_gemm(m, 1, 100, 300, 100);
    add_apart(m, 4, 5, 16, OWN_X); // 320 numbers, of which each token is multiplied by its own
    assert_int_equal(plan_short_from(&m->cx, maker_plan(m), WEIGHTS_BF16), 30000);
    maker_free(m);
}

// Every word of 16 bits is its own value's; what lies between two goes to the nearer one, a tie to the even one.
static void short_weights_round(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F16; type <= WEIGHTS_BF16; type++)
        for (uint32_t w = 0; w < 0xffff; w++) {
            float low = weight_value((WeightType)type, (uint16_t)w),
                  high = weight_value((WeightType)type, (uint16_t)(w + 1));
            if (isnan(low)) continue;
            assert_int_equal(weight_short((WeightType)type, low), w);
            if ((w & 0x7fff) == 0x7fff || !isfinite(high) || !isfinite(low)) continue;
            float middle = (float)(((double)low + (double)high) / 2);
            assert_int_equal(weight_short((WeightType)type, middle), w + (w & 1));
            assert_int_equal(weight_short((WeightType)type, nextafterf(middle, low)), w);
            assert_int_equal(weight_short((WeightType)type, nextafterf(middle, high)), w + 1);
        }
    assert_int_equal(weight_short(WEIGHTS_F16, 65519.99f), 0x7bff);
    assert_int_equal(weight_short(WEIGHTS_F16, 65520.0f), 0x7c00);
}

// The result takes the place of an argument.
static void add_map_in_place(Maker *m, uint32_t n, uint32_t at)
{
    AccessForm forms[] = {ACCESS_WHOLE, ACCESS_WHOLE};
    add_map(m, n, n, 20, 1, forms, 2);
    MapStep *s = &maker_last(m)->map;
    s->args[0] = (Access){SPACE_WORK, at, n, 0, 1};
    s->args[1] = (Access){SPACE_PREP, 3, n, 0, 1};
    s->outs[0].at = m->out[m->n_out - 1].at = at;
}

// Maps behind products, which tiles do in the products' registers: of some products alike, not of all.
static void map_behind_bits(void **state)
{
    (void)state;
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++) {
        Maker *m = maker_new(83);
        m->weight_type = (WeightType)type;
        for (uint32_t i = 0; i < 24; i++) {
            uint32_t tokens = 1 + i % 3 % 2 * 2, k = edges_k[i % EDGES_K], n = edges_n[i % EDGES_N];
            if (i % 8 == 7)
                add_apart(m, 2, k, 80, OWN_X);
            else
                add_gemm(m, tokens, k, n, i % 2 ? k : (k + 3) / 4);
            if (i % 5 == 4) continue;
            add_rectifier(m, i % 8 == 7 ? 160 : tokens * n, i % 11 == 9 ? 0.5f : 0.25f);
            if (i % 6 == 5) maker_last(m)->map.outs[0].at = add_output(m, maker_last(m)->map.n); // not in place
        }
        add_gemm(m, 1, 64, 64, 64);
        add_rectifier(m, 48, 0.25f); // of some of the results
        check_everywhere(m);
    }
}

static void map_bits(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 7, 8, 15, 16, 17, 31, 64, 100};
    for (uint64_t seed = 0; seed < 3; seed++) {
        Maker *m = maker_new(100 + seed);
        for (int i = 0; i < 10; i++) {
            AccessForm forms[] = {ACCESS_WHOLE, ACCESS_ONE, (AccessForm)below(m, 7), ACCESS_WHOLE};
            uint32_t length = i == 5 ? 380 : 10 + below(m, 60);
            add_map(m, sizes[i], sizes[i], length, 1 + below(m, 6), forms, 2 + below(m, 3));
        }
        add_map_in_place(m, 112, 48);
        check_everywhere(m);
    }
}

// Maps that tiles do as one run of floats: the last vectors pass the end, here of T = 16 rows by most lanes.
static void joined_map_bits(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 5, 13, 33}, lengths[] = {12, 60, 200};
    Maker *m = maker_new(31);
    for (int i = 0; i < 18; i++) {
        uint32_t n = sizes[i / 3];
        AccessForm forms[] = {ACCESS_WHOLE, ACCESS_WHOLE, ACCESS_ONE};
        add_map(m, n, n, lengths[i % 3], 2, forms, 3);
        MapStep *s = &maker_last(m)->map;
        s->args[0] = (Access){SPACE_WORK, 5, n, 0, 1};
        s->args[1] = (Access){SPACE_WORK, 48, n, 0, 1};
        s->args[2] = (Access){SPACE_CONST, 3, n, 0, 0};
        if (i % 3 == 1) s->args[1].at = s->outs[0].at = m->out[m->n_out - 2].at = m->out[m->n_out - 4].at; // in place
    }
    check_everywhere(m);
}

// A polynomial of so many numbers.
static void add_polynomial(Maker *m, uint32_t numbers)
{
    MapCode *code = ARENA_NEW(m->cx.arena, MapCode);
    int x = map_arg(code, 0), value = x;
    for (uint32_t i = 0; i < numbers; i++) value = map_op(code, S_fma, value, x, map_float(code, a_real(m)));
    MapStep *s = &add_step(m, STEP_MAP)->map;
    *s = (MapStep){.n = 20, .n_args = 1, .n_outs = 1, .n_code = (uint32_t)code->n, .code = code->code};
    s->args[0] = (Access){SPACE_WORK, 5, 20, 0, 1};
    s->outs[0].at = add_output(m, 20);
    s->outs[0].value = (uint32_t)value;
}

// Of two numbers, and of so many that a step has more bytes than most.
static void many_numbers_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(11);
    add_maps_alike(m, 40);
    for (int i = 0; i < 10; i++) add_polynomial(m, 50);
    check_everywhere(m);
}

static void map_access_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(7);
    static const uint32_t inner[] = {1, 2, 3, 5, 8, 16, 20, 33};
    for (int i = 0; i < 8; i++)
        for (uint32_t runs = 1; runs <= 9; runs += 4) {
            AccessForm forms[] = {ACCESS_PER_RUN, ACCESS_PER_LANE, (AccessForm)below(m, 7), ACCESS_WHOLE, ACCESS_ONE};
            add_map(m, runs * inner[i], inner[i], 12, 1, forms, 5);
            AccessForm all[] = {ACCESS_ODD, ACCESS_BACKWARD, ACCESS_STRIDED, ACCESS_PER_RUN};
            add_map(m, runs * inner[i], inner[i], 12, 2, all, 4);
        }
    for (int i = 3; i < 8; i++)
        for (uint32_t runs = 16; runs <= 48; runs += 16) {
            AccessForm across[] = {ACCESS_ACROSS, ACCESS_WHOLE, ACCESS_PER_RUN, ACCESS_ACROSS, ACCESS_PER_LANE};
            add_map(m, runs * inner[i], inner[i], 12, 1, across, 5);
        }
    AccessForm mixed[] = {ACCESS_PER_RUN, ACCESS_PER_LANE};
    add_map(m, 50, 7, 12, 1, mixed, 2); // runs that do not divide n
    add_map(m, 60, 5, 12, 1, mixed, 2);
    maker_last(m)->map.args[1].inner = 12; // two lengths of runs
    maker_last(m)->map.args[1].at = 0;
    check_everywhere(m);
}

static void check_reductions(uint64_t seed, const uint32_t *sizes, int n)
{
    static const Op ops[] = {OP_reduce_sum, OP_reduce_max, OP_reduce_min, OP_reduce_prod};
    Maker *m = maker_new(seed);
    for (int i = 0; i < n; i++)
        for (int op = 0; op < 4; op++) {
            add_reduce(m, ops[op], 1 + below(m, 9), sizes[i]);
            add_reduce_squares(m, ops[op], 1 + below(m, 9), sizes[i]);
        }
    check_everywhere(m);
}

// Of few lengths each has code; of more, the code learns them. Where most lanes are of long ones, T > 1 reads all in the
// order in which they lie.
static void reduce_bits(void **state)
{
    (void)state;
    check_reductions(21, (const uint32_t[]){2, 7, 16, 33}, 4);
    check_reductions(22, (const uint32_t[]){17, 15, 32, 100}, 4);
    check_reductions(24, (const uint32_t[]){256, 263, 330, 20}, 4);
    check_reductions(23, (const uint32_t[]){1, 2, 7, 15, 16, 17, 32, 33, 100, 256}, 10);
}

// Columns: of fewer and more results than vectors have slots; the code knows their lengths.
static void reduce_across_bits(void **state)
{
    (void)state;
    static const uint32_t outers[] = {2, 16, 21, 40}, lengths[] = {2, 9, 16, 33, 100};
    static const Op ops[] = {OP_reduce_sum, OP_reduce_max, OP_reduce_min, OP_reduce_prod};
    Maker *m = maker_new(25);
    for (int i = 0; i < 20; i++) {
        add_reduce(m, ops[i % 4], outers[i % 4], lengths[i % 5]);
        maker_last(m)->reduce.across = true;
        add_reduce_squares(m, ops[(i + 1) % 4], outers[i % 4], lengths[i % 5]);
        maker_last(m)->reduce.across = true;
    }
    check_everywhere(m);
}

static void move_bits(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 7, 16, 17, 40, 100};
    Maker *m = maker_new(31);
    for (int i = 0; i < 8; i++)
        for (int src = 0; src < 4; src++)
            for (int dst = 0; dst < 4; dst++) add_move(m, sizes[i], (Order)src, (Order)dst);
    for (uint32_t space = SPACE_WORK; space <= SPACE_CONST; space++) add_runs(m, space);
    check_everywhere(m);
}

static void matmul_bits(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 3, 4, 5, 16, 17, 40};
    Maker *m = maker_new(41);
    for (int i = 0; i < 60; i++) {
        uint32_t columns = sizes[below(m, 7)], inner = sizes[below(m, 7)], rows = sizes[below(m, 7)] % 20 + 1;
        add_matmul(m, 1 + below(m, 3), rows, inner, columns);
    }
    for (uint32_t tokens = 1; tokens < 25; tokens += 3) add_matmul(m, 1, tokens, sizes[below(m, 7)], 1);
    check_everywhere(m);
}

// One product a * b; lane numbers are the caller's.
static Step multiply(Maker *m, uint32_t n, Access a, Access b, uint32_t out)
{
    MapCode *code = ARENA_NEW(m->cx.arena, MapCode);
    int value = map_op(code, S_fmul, map_arg(code, 0), map_arg(code, 1), 0);
    Step s = {.kind = STEP_MAP, .name = "test"};
    s.map = (MapStep){.n = n, .n_args = 2, .n_outs = 1, .n_code = (uint32_t)code->n, .code = code->code};
    s.map.args[0] = a;
    s.map.args[1] = b;
    s.map.outs[0].at = out;
    s.map.outs[0].value = (uint32_t)value;
    return s;
}

// Rounds in which counts grow (from one code to the next: the list splits them) and lanes grow and fall.
static void repeat_bits(void **state)
{
    (void)state;
    enum { ROUNDS = 20, BODY = 5 };
    Maker *m = maker_new(47);
    add_reduce(m, OP_reduce_sum, 3, 40);
    uint32_t a = add_output(m, 3 + ROUNDS), b = add_output(m, 3 + ROUNDS),
             c = add_output(m, 1); // as the last round left them
    uint32_t w = add_constants(m, ROUNDS * 16 * 12);
    Step *by = ARENA_ARRAY(m->cx.arena, Step, BODY);
    add_step(m, STEP_REPEAT)->repeat = (RepeatStep){ROUNDS, BODY, by};
    Step body[BODY] = {
        {.kind = STEP_MATMUL, .matmul = {1, 4, 7, 1, SPACE_WORK, 3000, SPACE_PREP, 9, a}},
        multiply(m, 4, (Access){SPACE_WORK, a, 4, 0, 1}, (Access){SPACE_CONST, 900, 4, 0, 1}, b),
        {.kind = STEP_REDUCE,
         .reduce = {.op = OP_reduce_max, .outer = 1, .k = 4, .in_space = SPACE_WORK, .in = b, .out = c}},
        multiply(m, 16, (Access){SPACE_WORK, c, 16, 0, 0}, (Access){SPACE_WORK, 4000, 16, 0, 1},
                 add_output(m, 16 * ROUNDS)),
        {.kind = STEP_GEMM, .gemm = {.m = 1, .k = 12, .n = 16, .kb = 12, .x_space = SPACE_WORK, .x = 20, .w = w}}};
    body[4].gemm.out = add_output(m, 16 * ROUNDS);
    for (int i = 0; i < BODY; i++) {
        by[i] = (Step){.kind = body[i].kind, .map = {.n_args = 2 * (body[i].kind == STEP_MAP)}};
        by[i].map.n_outs = body[i].kind == STEP_MAP;
        if (body[i].kind != STEP_MAP) by[i] = (Step){.kind = body[i].kind};
        *add_step(m, body[i].kind) = body[i];
    }
    by[0].matmul = (MatmulStep){.m = 1, .a = (uint32_t)-130, .c = 3};
    by[1].map.n = by[1].map.args[0].inner = by[1].map.args[1].inner = by[2].reduce.k = 1;
    by[1].map.args[1].at = 2;
    by[3].map.args[1].at = (uint32_t)-77;
    by[3].map.outs[0].at = by[4].gemm.out = 16;
    by[4].gemm.x = 31;
    by[4].gemm.w = 16 * 12;
    add_reduce(m, OP_reduce_sum, 2, 30);
    assert_true(plan_verify(maker_plan(m), &m->cx));
    check_everywhere(m);
}

// Rounds of more bytes than are kept while they grow.
static void long_round_bits(void **state)
{
    (void)state;
    enum { ROUNDS = 3, BODY = 130, ARGS = 12, OUTS = 6, LANES = 3 };
    AccessForm forms[ARGS] = {ACCESS_WHOLE};
    Maker *m = maker_new(53);
    Step *by = ARENA_ARRAY(m->cx.arena, Step, BODY);
    add_step(m, STEP_REPEAT)->repeat = (RepeatStep){ROUNDS, BODY, by};
    add_map(m, LANES, LANES, 20, OUTS, forms, ARGS);
    const MapStep first = maker_last(m)->map;
    for (uint32_t i = 0; i < BODY; i++) {
        MapStep *s = i ? &add_step(m, STEP_MAP)->map : &maker_last(m)->map;
        *s = first;
        for (uint32_t a = 0; a < ARGS; a++) s->args[a].at = 100 * a + 5 * i;
        for (uint32_t o = 0; o < OUTS && i; o++) s->outs[o].at = add_output(m, LANES);
        by[i] = (Step){.kind = STEP_MAP, .map = {.n_args = ARGS, .n_outs = OUTS}};
        for (uint32_t a = 0; a < ARGS; a++) by[i].map.args[a].at = 7;
    }
    check_everywhere(m);
}

// More codes than a byte numbers: each move has another step.
static void many_codes_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(57);
    const uint32_t in_order = add_table(m, (const int32_t[]){0, 1}, 2);
    for (int32_t i = 0; i < 270; i++) {
        MoveStep *s = &add_step(m, STEP_MOVE)->move;
        *s = (MoveStep){.n = 2, .space = SPACE_WORK, .in = 30, .dst_table = in_order, .out = add_output(m, 2)};
        s->src_table = add_table(m, (const int32_t[]){0, i}, 2);
    }
    check_everywhere(m);
}

// More lanes than 16 bits number: of first lanes of buffers they do, without the zeros at their end; others are wide.
static void many_lanes_bits(void **state)
{
    (void)state;
    AccessForm forms[] = {ACCESS_ONE, ACCESS_ONE};
    Maker *m = maker_new(59);
    add_map(m, 20000, 20000, 10, 3, forms, 2);
    for (int i = 0; i < 10; i++) add_reduce(m, OP_reduce_sum, 2, 30);
    for (int i = 0; i < 6; i++) {
        add_map(m, 20, 20, 12, 1, forms, 2);
        MapStep *s = &maker_last(m)->map;
        s->args[0] = (Access){SPACE_WORK, m->out[1].at + 16 * 7 * (uint32_t)i + (uint32_t)i % 2, 20, 0, 1};
    }
    check_everywhere(m);
}

// Indices below, inside and above the table, NaN and infinities.
static void take_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(51);
    for (int i = 0; i < POOL; i++) m->weights[i] = a_real(m) * 40;
    m->weights[100] = NAN;
    m->weights[200] = INFINITY;
    m->weights[300] = -INFINITY;
    for (int i = 0; i < 40; i++) add_take(m, 1 + below(m, 5), 1 + below(m, 60), 1 + below(m, 40), below(m, 2));
    add_take(m, 1, 5, 2000, true);
    maker_last(m)->take.index_space = SPACE_CONST;
    maker_last(m)->take.index = 0;
    check_everywhere(m);
}

static void empty_program(void **state)
{
    (void)state;
    Maker *m = maker_new(5); // outputs are the inputs: no step at all
    m->out[m->n_out++] = (PlanPort){PORT_GRAPH, 0, 0, IN_LANES};
    check_everywhere(m);
}

// Policies of one CPU level each, and with the host's own.
static void every_cpu(void **state)
{
    (void)state;
    static const char *const cpus[] = {"x86-64-v3", "x86-64-v4", "znver4", "native"};
    for (int type = WEIGHTS_F32; type <= WEIGHTS_BF16; type++)
        for (int i = 0; i < 4; i++) {
            Maker *m = maker_new(60);
            m->weight_type = (WeightType)type;
            add_gemm(m, 3, 20, 70, 20);
            add_reduce(m, OP_reduce_sum, 3, 40);
            check_cpu(m, "llvm", cpus[i]);
            maker_free(m);
        }
}

// OpenBLAS adds in its own order.
static void openblas_is_near(void **state)
{
    (void)state;
    Maker *m = maker_new(61);
    m->near = true;
    for (uint32_t n = 5; n < 300; n += 77) {
        add_gemm(m, 1, 100, n, 100);
        add_gemm(m, 3, 50, n, 50);
    }
    check_cpu(m, "openblas", NULL);
    maker_free(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

// backend_test [PATTERN]: the tests of such names alone.
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        TEST(gemm_bits),
        TEST(far_gemm_bits),
        TEST(compact_bits),
        TEST(many_tokens_bits),
        TEST(windows_bits),
        TEST(pictures_bits),
        TEST(pictures_have_tiles),
        TEST(alike_bits),
        TEST(diagonal_bits),
        TEST(transposed_bits),
        TEST(apart_bits),
        TEST(gemm_blocks_bits),
        TEST(short_weights_bits),
        TEST(far_weights_bits),
        TEST(short_weights_round),
        TEST(paired_bits),
        TEST(paired_apart_bits),
        TEST(paired_rounds),
        TEST(paired_plan),
        TEST(small_matrices_stay),
        TEST(matrices_read_otherwise),
        TEST(map_bits),
        TEST(joined_map_bits),
        TEST(map_access_bits),
        TEST(reduce_bits),
        TEST(reduce_across_bits),
        TEST(move_bits),
        TEST(matmul_bits),
        TEST(repeat_bits),
        TEST(take_bits),
        TEST(empty_program),
        TEST(every_cpu),
        TEST(openblas_is_near),
        TEST(many_numbers_bits),
        TEST(map_behind_bits),
        TEST(long_round_bits),
        TEST(many_codes_bits),
        TEST(many_lanes_bits),
        TEST(signed_zero_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
