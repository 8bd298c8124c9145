// See plan_maker.h.
#include "plan_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint32_t next_word(Maker *m)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->random >> 32);
}

uint32_t below(Maker *m, uint32_t n) { return (uint32_t)((uint64_t)next_word(m) * n >> 32); }
float a_real(Maker *m) { return (float)((int32_t)next_word(m)) * 0x1p-30f; }

// Of any exponent, infinity and NaN; some are 0.
float any_real(Maker *m)
{
    uint32_t word = below(m, 20) ? next_word(m) : 0;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

uint32_t add_constants(Maker *m, size_t n)
{
    uint32_t at = (uint32_t)m->n_weights;
    for (size_t i = 0; i < n; i++) ARENA_PUSH(m->cx.arena, m->weights, m->n_weights, m->cap_weights, a_real(m));
    return at;
}

uint32_t add_table(Maker *m, const int32_t *lanes, size_t n)
{
    uint32_t at = add_constants(m, n);
    memcpy(m->weights + at, lanes, n * sizeof *lanes);
    return at;
}

Maker *maker_new(uint64_t seed)
{
    Arena *arena = arena_new();
    Maker *m = ARENA_NEW(arena, Maker);
    m->diag = (Diag){.arena = arena, .file = "test.onnx"};
    m->cx = (Context){.arena = arena, .diag = &m->diag};
    m->random = seed;
    m->in[0] = (PlanPort){PORT_GRAPH, 0, 0, IN_LANES};
    m->lanes = (IN_LANES + 15) / 16 * 16;
    add_constants(m, POOL);
    return m;
}

void maker_free(Maker *m) { arena_free(m->cx.arena); }

uint32_t add_output(Maker *m, uint32_t lanes)
{
    uint32_t at = m->lanes;
    m->out[m->n_out] = (PlanPort){PORT_GRAPH, (uint32_t)m->n_out, at, lanes};
    m->n_out++;
    m->lanes += (lanes + 15) / 16 * 16;
    return at;
}

Step *add_step(Maker *m, StepKind kind)
{
    assert_true(m->n_steps < MOST_STEPS);
    Step *s = &m->steps[m->n_steps++];
    s->kind = kind;
    s->name = "test";
    return s;
}

Step *maker_last(Maker *m) { return &m->steps[m->n_steps - 1]; }

// First lane of `n` readable lanes of `space`.
static uint32_t source(Maker *m, uint32_t space, uint32_t n)
{
    uint32_t have = space == SPACE_WORK ? IN_LANES : space == SPACE_PREP ? PREP_LANES : POOL;
    assert_true(n <= have);
    return below(m, have - n + 1);
}

static uint32_t any_space(Maker *m) { return below(m, 3); }

// What a product does behind its sums.
static void add_behind(Maker *m, GemmStep *g)
{
    g->has_add = below(m, 2);
    g->scaled = !g->has_add && !below(m, 3);
    g->has_bias = g->scaled || below(m, 2);
}

void add_gemm(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t kb)
{
    GemmStep *g = &add_step(m, STEP_GEMM)->gemm;
    *g = (GemmStep){.m = tokens, .k = k, .n = n, .kb = kb};
    add_behind(m, g);
    g->has_add = g->has_add && (uint64_t)tokens * n <= IN_LANES;
    g->x_space = any_space(m);
    g->add_space = below(m, 2);
    if (tokens * k > 2000) g->x_space = SPACE_WORK;
    if (tokens * n > 2000) g->add_space = SPACE_WORK;
    g->x = source(m, g->x_space, tokens * k);
    g->add = source(m, g->add_space, (uint32_t)gemm_add_lanes(g));
    g->w = add_constants(m, (size_t)k * n);
    g->bias = g->has_bias ? add_constants(m, n) : 0;
    g->out = add_output(m, tokens * n);
}

enum { PICTURE = 700 };

// The step's x becomes windows of `lanes` lanes of a picture.
static void take_windows(Maker *m, GemmStep *g, uint32_t lanes, const int32_t *places, uint32_t run, uint32_t reach)
{
    uint32_t words = tap_words(g->k);
    int32_t *taps = ARENA_ARRAY(m->cx.arena, int32_t, words);
    for (uint32_t i = 0; i < words; i++)
        taps[i] = i >= g->k ? taps[g->k - 1] : i % run ? taps[i - 1] + 1 : (int32_t)below(m, reach - run);
    g->picture = lanes;
    g->x = source(m, g->x_space, lanes);
    g->places = add_table(m, places, g->m);
    g->taps = add_table(m, taps, words);
}

void add_windows(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t kb, uint32_t run)
{
    add_gemm(m, tokens, k, n, kb);
    int32_t *places = ARENA_ARRAY(m->cx.arena, int32_t, tokens);
    for (uint32_t i = 0; i < tokens; i++) places[i] = (int32_t)below(m, PICTURE / 2);
    take_windows(m, &maker_last(m)->gemm, PICTURE, places, run, PICTURE / 2);
}

void add_lines(Maker *m, uint32_t lines, uint32_t places, uint32_t step, uint32_t behind, uint32_t k, uint32_t n)
{
    add_gemm(m, lines * places, k, n, k);
    GemmStep *g = &maker_last(m)->gemm;
    int32_t *list = ARENA_ARRAY(m->cx.arena, int32_t, g->m);
    for (uint32_t i = 0; i < g->m; i++) list[i] = (int32_t)((i / places * (places + behind) + i % places) * step);
    g->x_space = SPACE_WORK;
    take_windows(m, g, (uint32_t)list[g->m - 1] + PICTURE / 2, list, TILED_INPUTS, PICTURE / 2);
}

void add_diagonal(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t kb, uint32_t block)
{
    add_windows(m, tokens, k, n, kb, 1);
    GemmStep *g = &maker_last(m)->gemm;
    g->diagonal = block;
    g->picture = PICTURE + n;
    g->x = source(m, g->x_space, g->picture);
}

void add_apart(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, Apart way)
{
    GemmStep *g = &add_step(m, STEP_GEMM)->gemm;
    bool transposed = way == TRANSPOSED;
    *g = (GemmStep){.m = tokens, .k = k, .n = n, .apart = true, .one_x = way == ONE_X, .transposed = transposed};
    g->kb = n <= 64 ? (k + 3) / 4 : k;
    if (!transposed) add_behind(m, g);
    g->x = source(m, SPACE_WORK, (uint32_t)gemm_x_lanes(g));
    g->add = source(m, SPACE_WORK, (uint32_t)gemm_add_lanes(g));
    g->w = add_constants(m, gemm_w_lanes(g));
    g->bias = g->has_bias ? add_constants(m, gemm_biases(g)) : 0;
    g->out = add_output(m, tokens * (transposed ? k : n));
}

void add_transposed(Maker *m, uint32_t tokens, uint32_t k, uint32_t n)
{
    GemmStep *g = &add_step(m, STEP_GEMM)->gemm;
    *g = (GemmStep){.m = tokens, .k = k, .n = n, .kb = k, .transposed = true};
    g->x_space = tokens * n > 2000 ? SPACE_WORK : any_space(m);
    g->x = source(m, g->x_space, tokens * n);
    g->w = add_constants(m, (size_t)k * n);
    g->out = add_output(m, tokens * k);
}

void add_reduce(Maker *m, Op op, uint32_t outer, uint32_t k)
{
    ReduceStep *r = &add_step(m, STEP_REDUCE)->reduce;
    *r = (ReduceStep){.op = op, .outer = outer, .k = k, .in_space = any_space(m)};
    if (outer * k > 2000) r->in_space = SPACE_WORK;
    r->in = source(m, r->in_space, outer * k);
    r->out = add_output(m, outer);
}

void add_reduce_squares(Maker *m, Op op, uint32_t outer, uint32_t k)
{
    add_reduce(m, op, outer, k);
    ReduceStep *r = &maker_last(m)->reduce;
    r->squares = true;
    r->centre_space = any_space(m);
    r->centres = outer > 1 && below(m, 2);
    r->centre = source(m, r->centre_space, reduce_centres(r));
}

void add_matmul(Maker *m, uint32_t batch, uint32_t tokens, uint32_t k, uint32_t n)
{
    MatmulStep *s = &add_step(m, STEP_MATMUL)->matmul;
    *s = (MatmulStep){.batch = batch, .m = tokens, .k = k, .n = n, .a_space = any_space(m), .c_space = any_space(m)};
    s->a = source(m, s->a_space, batch * tokens * k);
    s->c = source(m, s->c_space, batch * k * n);
    s->out = add_output(m, batch * tokens * n);
}

void add_take(Maker *m, uint32_t outer, uint32_t k, uint32_t j, bool shared)
{
    TakeStep *s = &add_step(m, STEP_TAKE)->take;
    *s = (TakeStep){.outer = outer, .k = k, .j = j, .table_shared = shared, .table_space = any_space(m)};
    s->index_space = any_space(m);
    s->table = source(m, s->table_space, k * (shared ? 1 : outer));
    s->index = source(m, s->index_space, outer * j);
    s->out = add_output(m, outer * j);
}

uint32_t order_table(Maker *m, Order order, uint32_t n, uint32_t room, int32_t first)
{
    int32_t *lanes = ARENA_ARRAY(m->cx.arena, int32_t, room);
    int32_t stride = order == ROWS_STRIDED ? (int32_t)(room / n) : 1;
    for (uint32_t i = 0; i < room; i++) lanes[i] = (int32_t)i * stride + first;
    if (order == ROWS_REVERSED)
        for (uint32_t i = 0; i < n; i++) lanes[i] = (int32_t)(n - 1 - i);
    for (uint32_t i = room - 1; order == ROWS_SHUFFLED && i > 0; i--) {
        uint32_t j = below(m, i + 1);
        int32_t other = lanes[j];
        lanes[j] = lanes[i];
        lanes[i] = other;
    }
    return add_table(m, lanes, n);
}

// A strided destination takes two moves: every second lane, then the others.
void add_move(Maker *m, uint32_t n, Order src, Order dst)
{
    uint32_t parts = dst == ROWS_STRIDED ? 2 : 1, out = add_output(m, parts * n);
    for (uint32_t part = 0; part < parts; part++) {
        MoveStep *s = &add_step(m, STEP_MOVE)->move;
        *s = (MoveStep){.n = n, .space = below(m, 2), .in = below(m, 900), .out = out};
        s->src_table = order_table(m, src, n, 2000, 0);
        s->dst_table = order_table(m, dst, n, parts * n, (int32_t)part);
    }
}

// Windows of a picture, then a line the other way round, lines of several vectors, and of one lane.
void add_runs(Maker *m, uint32_t space)
{
    const MoveRun runs[] = {{0, 0, {{3, 100, 60}, {4, 5, 15}, {5, 40, 3}, {3, 1, 1}}},
                            {400, 180, {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}, {20, -1, 1}}},
                            {10, 200, {{1, 0, 0}, {1, 0, 0}, {2, 50, 37}, {37, 1, 1}}},
                            {7, 274, {{1, 0, 0}, {1, 0, 0}, {2, 9, 35}, {35, 0, 1}}},
                            {30, 344, {{1, 0, 0}, {1, 0, 0}, {3, 40, 16}, {16, 1, 1}}}};
    const uint32_t n = 392, count = sizeof runs / sizeof *runs;
    MoveStep *s = &add_step(m, STEP_MOVE)->move;
    *s = (MoveStep){.n = n, .space = space, .out = add_output(m, n), .runs = count};
    s->in = space == SPACE_CONST ? add_constants(m, 401) : below(m, 900);
    s->src_table = add_table(m, (const int32_t *)runs, count * MOVE_RUN_WORDS);
}

// ---- maps: code of known types, so that no NaN's payload is read as an integer
typedef struct {
    Maker *m;
    ScalarInstr *code;
    uint32_t n;
    uint16_t real[MAP_MAX_CODE], word[MAP_MAX_CODE], mask[MAP_MAX_CODE];
    uint32_t n_real, n_word, n_mask;
} Coder;

static uint16_t put(Coder *c, ScalarOp op, int x, int y, int z, uint32_t imm)
{
    assert_true(c->n < MAP_MAX_CODE);
    c->code[c->n] = (ScalarInstr){(uint16_t)op, (uint16_t)x, (uint16_t)y, (uint16_t)z, imm};
    return (uint16_t)c->n++;
}

static uint16_t put_float(Coder *c, float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return put(c, S_imm, 0, 0, 0, word);
}

static uint16_t real_of(Coder *c) { return c->real[below(c->m, c->n_real)]; }
static uint16_t word_of(Coder *c) { return c->word[below(c->m, c->n_word)]; }
static uint16_t mask_of(Coder *c) { return c->mask[below(c->m, c->n_mask)]; }

static void to_int(Coder *c)
{
    uint16_t x = real_of(c), hi = put_float(c, 1e9f), lo = put_float(c, -1e9f);
    x = put(c, S_sel, put(c, S_flt, x, hi, 0, 0), x, hi, 0);
    x = put(c, S_sel, put(c, S_flt, lo, x, 0, 0), x, lo, 0);
    c->word[c->n_word++] = put(c, S_f2i, x, 0, 0, 0);
}

static void random_instr(Coder *c)
{
    static const ScalarOp reals[] = {S_fadd, S_fsub, S_fmul, S_fdiv, S_fma, S_fsqrt};
    static const ScalarOp words[] = {S_and, S_or, S_xor, S_iadd, S_isub, S_imul, S_umulh};
    static const ScalarOp float_tests[] = {S_flt, S_fle, S_feq}, word_tests[] = {S_ilt, S_ult, S_ieq};
    static const ScalarOp shifts[] = {S_shl, S_shr, S_sar};
    Maker *m = c->m;
    switch (below(m, 9)) {
    case 0:
    case 1:
    case 2: c->real[c->n_real++] = put(c, reals[below(m, 6)], real_of(c), real_of(c), real_of(c), 0); break;
    case 3: c->word[c->n_word++] = put(c, words[below(m, 7)], word_of(c), word_of(c), 0, 0); break;
    case 4: c->mask[c->n_mask++] = put(c, float_tests[below(m, 3)], real_of(c), real_of(c), 0, 0); break;
    case 5: c->mask[c->n_mask++] = put(c, word_tests[below(m, 3)], word_of(c), word_of(c), 0, 0); break;
    case 6: c->real[c->n_real++] = put(c, S_sel, mask_of(c), real_of(c), real_of(c), 0); break;
    case 7: {
        uint16_t count = put(c, S_imm, 0, 0, 0, below(m, 32));
        c->word[c->n_word++] = put(c, shifts[below(m, 3)], word_of(c), count, 0, 0);
        break;
    }
    default:
        if (below(m, 2))
            to_int(c);
        else
            c->real[c->n_real++] = put(c, S_i2f, word_of(c), 0, 0, 0);
    }
}

// An access of n lanes in runs of `inner`, inside the space.
static Access access_of(Maker *m, AccessForm form, uint32_t n, uint32_t inner)
{
    uint32_t space = any_space(m), runs = (n + inner - 1) / inner;
    switch (form) {
    case ACCESS_WHOLE: return (Access){space, source(m, space, n), n, 0, 1};
    case ACCESS_ONE: return (Access){space, source(m, space, 1), n, 0, 0};
    case ACCESS_PER_RUN: return (Access){space, source(m, space, runs), inner, 1, 0};
    case ACCESS_PER_LANE: return (Access){space, source(m, space, inner), inner, 0, 1};
    case ACCESS_STRIDED: return (Access){space, source(m, space, 2 * n), n, 0, 2};
    case ACCESS_BACKWARD: return (Access){space, source(m, space, n) + n - 1, n, 0, -1};
    case ACCESS_ACROSS: return (Access){space, source(m, space, inner * runs), inner, 1, (int32_t)runs};
    case ACCESS_ODD: return (Access){space, source(m, space, 3 * inner + runs), inner, 1, 3};
    }
    return (Access){0};
}

void add_map(Maker *m, uint32_t n, uint32_t inner, uint32_t length, uint32_t outs, const AccessForm *forms,
             uint32_t n_args)
{
    MapStep *s = &add_step(m, STEP_MAP)->map;
    *s = (MapStep){.n = n, .n_args = n_args, .n_outs = outs};
    Coder c = {.m = m, .code = ARENA_ARRAY(m->cx.arena, ScalarInstr, MAP_MAX_CODE)};
    for (uint32_t a = 0; a < n_args; a++) {
        s->args[a] = access_of(m, forms[a], n, inner);
        c.real[c.n_real++] = c.word[c.n_word++] = put(&c, S_arg, 0, 0, 0, a);
    }
    c.real[c.n_real++] = put_float(&c, a_real(m));
    c.word[c.n_word++] = put(&c, S_imm, 0, 0, 0, next_word(m));
    c.mask[c.n_mask++] = put(&c, S_flt, real_of(&c), real_of(&c), 0, 0);
    while (c.n < length) random_instr(&c);
    s->code = c.code;
    s->n_code = c.n;
    for (uint32_t o = 0; o < outs; o++) {
        s->outs[o].value = o % 2 ? word_of(&c) : c.real[c.n_real - 1 - o / 2];
        s->outs[o].at = add_output(m, n);
    }
}

// Behind its arguments the code of add_map has a float and a word.
void add_maps_alike(Maker *m, int count)
{
    AccessForm forms[] = {ACCESS_WHOLE, ACCESS_ONE};
    add_map(m, 20, 20, 40, 2, forms, 2);
    const MapStep first = maker_last(m)->map;
    for (int i = 1; i < count; i++) {
        MapStep *s = &add_step(m, STEP_MAP)->map;
        *s = first;
        ScalarInstr *code = arena_copy(m->cx.arena, s->code, s->n_code * sizeof *code);
        float number = a_real(m);
        memcpy(&code[2].imm, &number, sizeof number);
        code[3].imm = next_word(m);
        s->code = code;
        for (uint32_t o = 0; o < 2; o++) s->outs[o].at = add_output(m, 20);
    }
}

void maker_own_weights(Maker *m)
{
    Plan *p = &m->plan;
    float *weights = arena_alloc(m->cx.arena, (p->weight_lanes + 16) * sizeof *weights); // 16: plan.h
    memcpy(weights, p->weights, p->weight_lanes * sizeof *weights);
    p->weights = weights;
}

const Plan *maker_plan(Maker *m)
{
    Plan *p = &m->plan;
    *p = (Plan){.name = "test", .base = "standard normal", .notes = "a plan of random steps"};
    for (int i = 0; i < 32; i++) p->hash[i] = (unsigned char)(7 * i);
    p->programs[PROGRAM_TO_EVENT] = (Program){true, m->steps, m->n_steps, m->lanes, m->in, m->out, 1, m->n_out};
    p->weights = m->weights;
    p->weight_lanes = m->n_weights;
    p->prep_lanes = PREP_LANES;
    if (m->weight_type == WEIGHTS_F32) return p;
    maker_own_weights(m);
    plan_round(&m->cx, p, m->weight_type, 0, m->tiled);
    return p;
}
