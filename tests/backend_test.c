// The llvm backend against the Plan's interpreter, bit for bit: plans of random steps of every kind with sizes at
// the edges of vectors, blocks and groups, for every CPU level that this host runs and, under qemu, for aarch64.
// Also what a compiled policy must be: no undefined symbols, no relocations, equal bytes for equal input, and the
// errors of targets, linking and writing.
#include "abi.h"
#include "backend.h"

#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
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
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 64, MOST_STEPS = 400, SLACK = 16, SHARED_FROM = 40 /* rows from here on have one PREP */ };

// ---- plans under construction: every step reads ports, PREP or CONST and writes a buffer that is an out port
typedef struct {
    Diag diag;
    Context cx;
    Plan plan;
    Step steps[MOST_STEPS];
    PlanPort in[1], out[MOST_STEPS * 2];
    int n_steps, n_out;
    uint32_t lanes; // of WORK so far
    float *weights;
    size_t n_weights, cap_weights;
    uint64_t random;
    WeightType weight_type;
    bool any_size; // inputs of all exponents
} Maker;

static uint32_t next_word(Maker *m)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->random >> 32);
}

static uint32_t below(Maker *m, uint32_t n) { return (uint32_t)((uint64_t)next_word(m) * n >> 32); }
static float real(Maker *m) { return (float)((int32_t)next_word(m)) * 0x1p-30f; }

// Of any exponent, infinity and NaN; some are 0.
static float any_real(Maker *m)
{
    uint32_t word = below(m, 20) ? next_word(m) : 0;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

enum { IN_LANES = 6000, PREP_LANES = 3000 };

static uint32_t constants(Maker *m, size_t n)
{
    uint32_t at = (uint32_t)m->n_weights;
    for (size_t i = 0; i < n; i++) ARENA_PUSH(m->cx.arena, m->weights, m->n_weights, m->cap_weights, real(m));
    return at;
}

static uint32_t table(Maker *m, const int32_t *lanes, size_t n)
{
    uint32_t at = constants(m, n);
    memcpy(m->weights + at, lanes, n * sizeof *lanes);
    return at;
}

static Maker *maker_new(uint64_t seed)
{
    Arena *arena = arena_new();
    Maker *m = ARENA_NEW(arena, Maker);
    m->diag = (Diag){.arena = arena, .file = "test.onnx"};
    m->cx = (Context){arena, &m->diag};
    m->random = seed;
    m->in[0] = (PlanPort){PORT_GRAPH, 0, 0, IN_LANES};
    m->lanes = (IN_LANES + 15) / 16 * 16;
    constants(m, 7000); // a pool for map, matmul and take
    return m;
}

static void maker_free(Maker *m) { arena_free(m->cx.arena); }

static uint32_t output(Maker *m, uint32_t lanes)
{
    uint32_t at = m->lanes;
    m->out[m->n_out] = (PlanPort){PORT_GRAPH, (uint32_t)m->n_out, at, lanes};
    m->n_out++;
    m->lanes += (lanes + 15) / 16 * 16;
    return at;
}

static Step *step(Maker *m, StepKind kind)
{
    assert_true(m->n_steps < MOST_STEPS);
    Step *s = &m->steps[m->n_steps++];
    s->kind = kind;
    s->name = "test";
    return s;
}

// First lane of `n` readable lanes of `space`.
static uint32_t source(Maker *m, uint32_t space, uint32_t n)
{
    uint32_t have = space == SPACE_WORK ? IN_LANES : space == SPACE_PREP ? PREP_LANES : 7000;
    assert_true(n <= have);
    return below(m, have - n + 1);
}

static uint32_t any_space(Maker *m) { return below(m, 3); }

static void add_gemm(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t kb)
{
    GemmStep *g = &step(m, STEP_GEMM)->gemm;
    *g = (GemmStep){.m = tokens, .k = k, .n = n, .kb = kb, .has_add = below(m, 2), .has_bias = below(m, 2)};
    g->x_space = any_space(m);
    g->add_space = below(m, 2);
    if (tokens * k > 2000) g->x_space = SPACE_WORK;
    if (tokens * n > 2000) g->add_space = SPACE_WORK;
    g->x = source(m, g->x_space, tokens * k);
    g->add = g->has_add ? source(m, g->add_space, tokens * n) : 0;
    g->w = constants(m, (size_t)k * n);
    g->bias = g->has_bias ? constants(m, n) : 0;
    g->out = output(m, tokens * n);
}

// way 0: a product, 1: of one x, 2: transposed
static void add_apart(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t way)
{
    GemmStep *g = &step(m, STEP_GEMM)->gemm;
    bool transposed = way == 2;
    *g = (GemmStep){.m = tokens, .k = k, .n = n, .apart = true, .one_x = way == 1, .transposed = transposed};
    g->kb = n <= 64 ? (k + 3) / 4 : k;
    g->has_add = !transposed && below(m, 2);
    g->has_bias = !transposed && below(m, 2);
    g->x = source(m, SPACE_WORK, (uint32_t)gemm_x_lanes(g));
    g->add = g->has_add ? source(m, SPACE_WORK, tokens * n) : 0;
    g->w = constants(m, gemm_w_lanes(g));
    g->bias = g->has_bias ? constants(m, gemm_biases(g)) : 0;
    g->out = output(m, tokens * (transposed ? k : n));
}

static void add_transposed(Maker *m, uint32_t tokens, uint32_t k, uint32_t n)
{
    GemmStep *g = &step(m, STEP_GEMM)->gemm;
    *g = (GemmStep){.m = tokens, .k = k, .n = n, .kb = k, .transposed = true};
    g->x_space = tokens * n > 2000 ? SPACE_WORK : any_space(m);
    g->x = source(m, g->x_space, tokens * n);
    g->w = constants(m, (size_t)k * n);
    g->out = output(m, tokens * k);
}

static void add_reduce(Maker *m, Op op, uint32_t outer, uint32_t k)
{
    ReduceStep *r = &step(m, STEP_REDUCE)->reduce;
    *r = (ReduceStep){.op = op, .outer = outer, .k = k, .in_space = any_space(m)};
    if (outer * k > 2000) r->in_space = SPACE_WORK;
    r->in = source(m, r->in_space, outer * k);
    r->out = output(m, outer);
}

static void add_reduce_squares(Maker *m, Op op, uint32_t outer, uint32_t k)
{
    add_reduce(m, op, outer, k);
    ReduceStep *r = &m->steps[m->n_steps - 1].reduce;
    r->squares = true;
    r->centre_space = any_space(m);
    r->centres = outer > 1 && below(m, 2);
    r->centre = source(m, r->centre_space, reduce_centres(r));
}

static void add_matmul(Maker *m, uint32_t batch, uint32_t tokens, uint32_t k, uint32_t n)
{
    MatmulStep *s = &step(m, STEP_MATMUL)->matmul;
    *s = (MatmulStep){.batch = batch, .m = tokens, .k = k, .n = n, .a_space = any_space(m), .c_space = any_space(m)};
    s->a = source(m, s->a_space, batch * tokens * k);
    s->c = source(m, s->c_space, batch * k * n);
    s->out = output(m, batch * tokens * n);
}

static void add_take(Maker *m, uint32_t outer, uint32_t k, uint32_t j, bool shared)
{
    TakeStep *s = &step(m, STEP_TAKE)->take;
    *s = (TakeStep){.outer = outer, .k = k, .j = j, .table_shared = shared, .table_space = any_space(m)};
    s->index_space = any_space(m);
    s->table = source(m, s->table_space, k * (shared ? 1 : outer));
    s->index = source(m, s->index_space, outer * j);
    s->out = output(m, outer * j);
}

typedef enum { ROWS_IN_ORDER, ROWS_STRIDED, ROWS_REVERSED, ROWS_SHUFFLED } Order;

static uint32_t order_table(Maker *m, Order order, uint32_t n, uint32_t room, int32_t first)
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
    return table(m, lanes, n);
}

// A strided destination takes two moves: every second lane, then the others.
static void add_move(Maker *m, uint32_t n, Order src, Order dst)
{
    uint32_t parts = dst == ROWS_STRIDED ? 2 : 1, out = output(m, parts * n);
    for (uint32_t part = 0; part < parts; part++) {
        MoveStep *s = &step(m, STEP_MOVE)->move;
        *s = (MoveStep){.n = n, .space = below(m, 2), .in = below(m, 900), .out = out};
        s->src_table = order_table(m, src, n, 2000, 0);
        s->dst_table = order_table(m, dst, n, parts * n, (int32_t)part);
    }
}

// Windows of a picture, then a line the other way round.
static void add_runs(Maker *m, uint32_t space)
{
    const MoveRun runs[2] = {{0, 0, {{3, 100, 60}, {4, 5, 15}, {5, 40, 3}, {3, 1, 1}}},
                             {400, 180, {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}, {20, -1, 1}}}};
    MoveStep *s = &step(m, STEP_MOVE)->move;
    *s = (MoveStep){.n = 200, .space = space, .out = output(m, 200), .runs = 2};
    s->in = space == SPACE_CONST ? constants(m, 401) : below(m, 900);
    s->src_table = table(m, (const int32_t *)runs, 2 * MOVE_RUN_WORDS);
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

static uint16_t a_real(Coder *c) { return c->real[below(c->m, c->n_real)]; }
static uint16_t a_word(Coder *c) { return c->word[below(c->m, c->n_word)]; }
static uint16_t a_mask(Coder *c) { return c->mask[below(c->m, c->n_mask)]; }

static void to_int(Coder *c)
{
    uint16_t x = a_real(c), hi = put_float(c, 1e9f), lo = put_float(c, -1e9f);
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
    case 2: c->real[c->n_real++] = put(c, reals[below(m, 6)], a_real(c), a_real(c), a_real(c), 0); break;
    case 3: c->word[c->n_word++] = put(c, words[below(m, 7)], a_word(c), a_word(c), 0, 0); break;
    case 4: c->mask[c->n_mask++] = put(c, float_tests[below(m, 3)], a_real(c), a_real(c), 0, 0); break;
    case 5: c->mask[c->n_mask++] = put(c, word_tests[below(m, 3)], a_word(c), a_word(c), 0, 0); break;
    case 6: c->real[c->n_real++] = put(c, S_sel, a_mask(c), a_real(c), a_real(c), 0); break;
    case 7: {
        uint16_t count = put(c, S_imm, 0, 0, 0, below(m, 32));
        c->word[c->n_word++] = put(c, shifts[below(m, 3)], a_word(c), count, 0, 0);
        break;
    }
    default:
        if (below(m, 2))
            to_int(c);
        else
            c->real[c->n_real++] = put(c, S_i2f, a_word(c), 0, 0, 0);
    }
}

typedef enum {
    ACCESS_WHOLE,
    ACCESS_ONE,
    ACCESS_PER_RUN,
    ACCESS_PER_LANE,
    ACCESS_STRIDED,
    ACCESS_BACKWARD,
    ACCESS_ODD
} AccessForm;

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
    case ACCESS_ODD: return (Access){space, source(m, space, 3 * inner + runs), inner, 1, 3};
    }
    return (Access){0};
}

static void add_map(Maker *m, uint32_t n, uint32_t inner, uint32_t length, uint32_t outs, const AccessForm *forms,
                    uint32_t n_args)
{
    MapStep *s = &step(m, STEP_MAP)->map;
    *s = (MapStep){.n = n, .n_args = n_args, .n_outs = outs};
    Coder c = {.m = m, .code = ARENA_ARRAY(m->cx.arena, ScalarInstr, MAP_MAX_CODE)};
    for (uint32_t a = 0; a < n_args; a++) {
        s->args[a] = access_of(m, forms[a], n, inner);
        c.real[c.n_real++] = c.word[c.n_word++] = put(&c, S_arg, 0, 0, 0, a);
    }
    c.real[c.n_real++] = put_float(&c, real(m));
    c.word[c.n_word++] = put(&c, S_imm, 0, 0, 0, next_word(m));
    c.mask[c.n_mask++] = put(&c, S_flt, a_real(&c), a_real(&c), 0, 0);
    while (c.n < length) random_instr(&c);
    s->code = c.code;
    s->n_code = c.n;
    for (uint32_t o = 0; o < outs; o++) {
        s->outs[o].value = o % 2 ? a_word(&c) : c.real[c.n_real - 1 - o / 2];
        s->outs[o].at = output(m, n);
    }
}

// The result takes the place of an argument.
static void add_map_in_place(Maker *m, uint32_t n, uint32_t at)
{
    AccessForm forms[] = {ACCESS_WHOLE, ACCESS_WHOLE};
    add_map(m, n, n, 20, 1, forms, 2);
    MapStep *s = &m->steps[m->n_steps - 1].map;
    s->args[0] = (Access){SPACE_WORK, at, n, 0, 1};
    s->args[1] = (Access){SPACE_PREP, 3, n, 0, 1};
    s->outs[0].at = m->out[m->n_out - 1].at = at;
}

static const Plan *plan_of(Maker *m)
{
    Plan *p = &m->plan;
    *p = (Plan){.name = "test", .base = "standard normal", .notes = "a plan of random steps"};
    for (int i = 0; i < 32; i++) p->hash[i] = (unsigned char)(7 * i);
    p->programs[PROGRAM_TO_EVENT] = (Program){true, m->steps, m->n_steps, m->lanes, m->in, m->out, 1, m->n_out};
    p->weights = m->weights;
    p->weight_lanes = m->n_weights;
    p->prep_lanes = PREP_LANES;
    if (m->weight_type != WEIGHTS_F32) plan_round(&m->cx, p, m->weight_type, 0);
    return p;
}

// ---- a compiled plan: its data, row-major
typedef struct {
    uint32_t *in, *prep, **want;
    size_t out_words;
} Data;

static Data data_of(Maker *m)
{
    Arena *a = m->cx.arena;
    Data d = {ARENA_ARRAY(a, uint32_t, ROWS *IN_LANES), ARENA_ARRAY(a, uint32_t, ROWS *PREP_LANES),
              ARENA_ARRAY(a, uint32_t *, m->n_out), 0};
    for (size_t i = 0; i < (size_t)ROWS * IN_LANES; i++) ((float *)d.in)[i] = m->any_size ? any_real(m) : real(m);
    for (size_t i = 0; i < (size_t)ROWS * PREP_LANES; i++) ((float *)d.prep)[i] = m->any_size ? any_real(m) : real(m);
    for (size_t i = SHARED_FROM + 1; i < ROWS; i++)
        memcpy(d.prep + i * PREP_LANES, d.prep + SHARED_FROM * PREP_LANES, PREP_LANES * 4);
    for (int i = 0; i < m->n_out; i++) d.want[i] = ARENA_ARRAY(a, uint32_t, (size_t)ROWS * m->out[i].lanes);
    const uint32_t *in[] = {d.in};
    plan_run(&m->plan, PROGRAM_TO_EVENT, ROWS, d.prep, in, d.want);
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

// Integers that a map made may have the bits of a NaN; floats that are NaN have any.
static void check_word(const Maker *m, int port, uint32_t lane, size_t row, size_t tile, uint32_t want, uint32_t got)
{
    if (want == got || (is_nan(want) && is_nan(got))) return;
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
    return (Tile){rows, 1, row, 1, shared ? 0 : prep_row, rows};
}

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
}

static void run_tile(const Maker *m, const Data *d, nfcc_abi_code *code, const void *weights, Tile t, size_t row)
{
    size_t rows = t.rows, lanes = work_lanes(m) + SLACK + 16, prep_lanes = PREP_LANES + SLACK + 16;
    uint32_t *work = malloc(lanes * rows * 4), *prep = malloc(prep_lanes * rows * 4);
    for (size_t i = 0; i < lanes * rows; i++) work[i] = untouched;
    for (size_t i = 0; i < prep_lanes * rows; i++) prep[i] = untouched;
    for (size_t r = 0; r < rows; r++) {
        size_t i = r % t.period, from = row + i;
        for (size_t l = 0; l < IN_LANES; l++) work[l * t.lane + r * t.row] = d->in[from * IN_LANES + l];
        for (size_t l = 0; l < PREP_LANES; l++) prep[l * t.prep_lane + i * t.prep_row] = d->prep[from * PREP_LANES + l];
    }
    size_t prep_step = t.lane > 1 && t.period < rows ? t.prep_lane : t.prep_row;
    code((float *)work, (const float *)prep, weights, NFCC_FEW(rows, t.row, prep_step));
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

// Up to five rows by themselves, then as many as one call takes: around the edges of blocks, with PREP apart and
// shared.
static void run_few(const Maker *m, const Data *d, const nfcc_model_header *h, nfcc_abi_code *code)
{
    static const size_t some[] = {2, 3, 4, 5, 7, 8, 9, 13, 32};
    const void *weights = (const char *)h + h->weights;
    for (size_t row = 0; row < 5; row++) run_tile(m, d, code, weights, few_rows(m, 1, false), row);
    for (size_t i = 0; i < sizeof some / sizeof *some && some[i] <= h->few_rows; i++) {
        run_tile(m, d, code, weights, few_rows(m, some[i], false), i);
        if (some[i] <= ROWS - SHARED_FROM) run_tile(m, d, code, weights, few_rows(m, some[i], true), SHARED_FROM);
    }
}

static void run_set(const Maker *m, const Data *d, const nfcc_model_header *h, const int32_t *offsets)
{
    const char *base = (const char *)h;
    for (int slot = 0; slot < NFCC_TILES; slot++) {
        int32_t offset = offsets[slot];
        if (!offset) continue;
        nfcc_abi_code *code;
        const char *at = base + offset;
        memcpy(&code, &at, sizeof code);
        if (slot == 0) {
            run_few(m, d, h, code);
            continue;
        }
        size_t rows = (size_t)tiles[slot];
        for (size_t row = 0; row < ROWS; row += rows) run_tile(m, d, code, base + h->weights, tile_of(rows), row);
        if (h->shares_prep) run_tile(m, d, code, base + h->weights, shared_tile(rows), SHARED_FROM);
    }
}

static bool host_runs(const char *cpu, WeightType type);

static void run_policy(const Maker *m, const Data *d, const nfcc_model_header *h)
{
    run_set(m, d, h, h->programs[NFCC_PROGRAM_TO_EVENT].code);
    bool bf16 = h->other_cpu & NFCC_CPU_AVX512_BF16;
    if (!h->other_code || !host_runs(bf16 ? "znver4" : "x86-64-v4", m->weight_type)) return;
    const int32_t *other = (const int32_t *)((const char *)h + h->other_code) + NFCC_PROGRAM_TO_EVENT * NFCC_TILES;
    run_set(m, d, h, other);
}

// ---- files
static char folder[64];

static const char *path_in(Context *cx, const char *name) { return arena_format(cx->arena, "%s/%s", folder, name); }

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/nfcc-backend-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int count_files(void)
{
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static int remove_folder(void **state)
{
    (void)state;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(folder);
}

static void assert_no_errors(const Maker *m)
{
    if (m->diag.errors) diag_print(&m->diag, stderr);
    assert_int_equal(m->diag.errors, 0);
}

static const char *build(Maker *m, const char *backend, const char *triple, const char *cpu, const char *name)
{
    Target target = {triple, cpu};
    const char *wrong = target_resolve(&m->cx, &target);
    if (wrong) print_error("%s\n", wrong);
    assert_null(wrong);
    plan_verify(plan_of(m), &m->cx);
    assert_no_errors(m);
    const Bytes *object = backend_find(backend)->emit(&m->cx, plan_of(m), &target, "nfcc_model", NULL);
    assert_no_errors(m);
    assert_non_null(object);
    const char *path = path_in(&m->cx, name);
    bool linked = link_shared(&m->cx, object, &target, !strcmp(backend, "openblas"), path);
    assert_no_errors(m);
    assert_true(linked);
    return path;
}

static bool host_runs(const char *cpu, WeightType type)
{
    Maker *m = maker_new(1);
    Target target = {"x86_64-linux-gnu", cpu};
    bool runs = !target_resolve(&m->cx, &target) && target_runs_here(&target, type);
    maker_free(m);
    return runs;
}

static void check_cpu(Maker *m, const char *cpu)
{
    if (!host_runs(cpu, m->weight_type)) return;
    const char *path = build(m, "llvm", "x86_64-linux-gnu", cpu, "native.so");
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

static void run_or_fail(const char *command)
{
    if (system(command)) fail_msg("failed: %s", command);
}

static const char *driver(Context *cx)
{
    const char *path = path_in(cx, "driver"), *slash = strrchr(__FILE__, '/');
    int n = slash ? (int)(slash - __FILE__) : 1;
    const char *dir = slash ? __FILE__ : ".";
    if (access(path, X_OK))
        run_or_fail(arena_format(
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
            for (size_t r = 0; r < ROWS; r++)
                for (uint32_t l = 0; l < m->out[p].lanes; l++)
                    check_word(m, p, l, r, order[i], d->want[p][r * m->out[p].lanes + l], *got++);
}

static void check_aarch64(Maker *m, const char *cpu)
{
    if (!have_aarch64()) return;
    const char *so = build(m, "llvm", "aarch64-linux-gnu", cpu, "arm.so");
    Data d = data_of(m);
    const char *in = path_in(&m->cx, "in.bin"), *out = path_in(&m->cx, "out.bin");
    FILE *f = fopen(in, "wb");
    fwrite(d.in, 4, (size_t)ROWS * IN_LANES, f);
    fwrite(d.prep, 4, (size_t)ROWS * PREP_LANES, f);
    fclose(f);
    run_or_fail(arena_format(m->cx.arena, "qemu-aarch64 -L /usr/aarch64-linux-gnu %s %s %d %s %s", driver(&m->cx), so,
                             ROWS, in, out));
    size_t words = 0;
    for (int p = 0; p < m->n_out; p++) words += ORDERS * (size_t)ROWS * m->out[p].lanes;
    uint32_t *got = ARENA_ARRAY(m->cx.arena, uint32_t, words);
    f = fopen(out, "rb");
    assert_int_equal(fread(got, 4, words, f), words);
    fclose(f);
    check_outputs(m, &d, got);
}

static void check_everywhere(Maker *m)
{
    check_cpu(m, "x86-64-v3");
    check_cpu(m, "x86-64-v4");
    check_cpu(m, "dispatch");
    if (m->weight_type == WEIGHTS_BF16) check_cpu(m, "znver4");
    check_aarch64(m, "generic");
    maker_free(m);
}

// ---- bits
static const uint32_t edges_n[] = {1, 5, 16, 17, 64, 65, 128, 129, 300}, edges_k[] = {1, 3, 4, 5, 64, 257};
enum { EDGES_N = 9, EDGES_K = 6 };

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

// Tokens with weights of their own, on their own x or on one.
static void apart_bits(void **state)
{
    (void)state;
    for (uint32_t tokens = 2; tokens <= 3; tokens++) {
        Maker *m = maker_new(40 + tokens);
        for (uint32_t n = 16; n <= 272; n += 64)
            for (int k = 0; k < EDGES_K; k++)
                for (uint32_t way = 0; way < 3; way++) add_apart(m, tokens, edges_k[k], n, way);
        check_everywhere(m);
    }
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

// Weights of 16 bits. Some matrices stay f32: one has a number too large, one is read by a map as well, one lies
// among what a move gathers; the others close up, and everything behind them moves.
static void add_kept(Maker *m)
{
    int32_t lanes[20];
    add_gemm(m, 1, 30, 20, 30);
    m->weights[m->steps[m->n_steps - 1].gemm.w + 7] = 3.4e38f;
    add_gemm(m, 1, 30, 20, 30);
    uint32_t shared = m->steps[m->n_steps - 1].gemm.w;
    AccessForm forms[] = {ACCESS_WHOLE};
    add_map(m, 40, 40, 12, 1, forms, 1);
    m->steps[m->n_steps - 1].map.args[0] = (Access){SPACE_CONST, shared + 39, 40, 0, -1};
    add_gemm(m, 1, 30, 20, 30);
    uint32_t among = m->steps[m->n_steps - 1].gemm.w;
    for (int i = 0; i < 20; i++) lanes[i] = (i * 7 % 20) * 60;
    MoveStep *s = &step(m, STEP_MOVE)->move;
    *s = (MoveStep){.n = 20, .space = SPACE_CONST, .in = among - 100, .out = output(m, 20)};
    s->src_table = table(m, lanes, 20);
    s->dst_table = order_table(m, ROWS_IN_ORDER, 20, 20, 0);
    constants(m, 1200);
}

// A matrix of 30 x 256 read as another one, too: of other rows, its products are not paired.
static void add_overlapping(Maker *m, uint32_t k, uint32_t n)
{
    add_gemm(m, 1, 30, 256, 30);
    Step other = m->steps[m->n_steps - 1];
    other.gemm.k = other.gemm.kb = k;
    other.gemm.w += 30 * (256 - n);
    other.gemm.n = n;
    other.gemm.out = output(m, n);
    *step(m, STEP_GEMM) = other;
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
        for (size_t i = 7000; any && i < m->n_weights; i++) m->weights[i] = ldexpf(m->weights[i], (int)(i % 120) - 80);
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
            for (uint32_t way = 0; way < 3; way++) {
                add_apart(m, 2, edges_k[k], outputs[n], way);
                if (way != 1) continue;
                Step last = m->steps[m->n_steps - 1];
                last.gemm.m = 1;
                last.gemm.w += last.gemm.k * last.gemm.n;
                last.gemm.out = output(m, last.gemm.n);
                *step(m, STEP_GEMM) = last;
            }
    const Program *p = &plan_of(m)->programs[PROGRAM_TO_EVENT];
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
        uint32_t w = constants(m, 2 * K * N);
        Step *by = ARENA_NEW(m->cx.arena, Step);
        *by = (Step){.kind = STEP_GEMM, .gemm = {.x = 3, .w = K * N, .out = N}};
        step(m, STEP_REPEAT)->repeat = (RepeatStep){2, 1, by};
        GemmStep body = {.m = 1, .k = K, .n = N, .kb = K, .x_space = SPACE_WORK, .w = w, .out = output(m, 2 * N)};
        step(m, STEP_GEMM)->gemm = body;
        step(m, STEP_GEMM)->gemm = body;
        m->steps[2].gemm.out = output(m, N);
        if (!fits) m->weights[w + K * N] = 3.4e38f; // infinity in bfloat16
        const Step *s = plan_of(m)->programs[PROGRAM_TO_EVENT].steps;
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
    const Plan *p = plan_of(m);
    const Step *s = p->programs[PROGRAM_TO_EVENT].steps;
    assert_true(s[0].gemm.paired && s[0].gemm.kb == 4 && s[0].gemm.pairs == m->lanes);
    assert_int_equal(p->programs[PROGRAM_TO_EVENT].work_lanes, m->lanes + 16);
    assert_true(!s[1].gemm.paired && !s[2].gemm.paired && !s[3].gemm.paired);
    assert_true(s[4].gemm.paired && s[5].gemm.paired);
    assert_true(p->weights[w] == 0 && p->weights[w + 1] == -0x1p-49f);
    assert_true(pair_value(0x1.fep-64f) == 0 && pair_value(-0x1.fffp-64f) == -0x1p-63f && isnan(pair_value(NAN)));
    maker_free(m);
}

// The smallest matrices stay f32: all of a size or none, together at most 1/64.
static void small_matrices_stay(void **state)
{
    (void)state;
    Maker *m = maker_new(8);
    for (int i = 0; i < 2; i++) add_gemm(m, 1, 10, 20, 10);
    for (int i = 0; i < 3; i++) add_gemm(m, 1, 30, 40, 30);
    add_gemm(m, 1, 100, 300, 100);
    plan_of(m);
    int n;
    uint32_t from = plan_short_from(&m->cx, &m->plan, WEIGHTS_BF16);
    assert_int_equal(from, 1200); // 400 of 34000 stay, 4000 would be too many
    plan_round(&m->cx, &m->plan, WEIGHTS_BF16, from);
    plan_matrices(m->cx.arena, &m->plan, &n);
    const Step *s = m->plan.programs[PROGRAM_TO_EVENT].steps;
    assert_true(n == 4 && !s[1].gemm.paired && s[2].gemm.paired && s[5].gemm.paired);
    assert_true(m->plan.weights[s[0].gemm.w] == m->weights[s[0].gemm.w]);
    m->weight_type = WEIGHTS_F16;
    assert_int_equal(plan_short_from(&m->cx, plan_of(m), WEIGHTS_F16), 1200);
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
    AccessForm mixed[] = {ACCESS_PER_RUN, ACCESS_PER_LANE};
    add_map(m, 50, 7, 12, 1, mixed, 2); // runs that do not divide n
    add_map(m, 60, 5, 12, 1, mixed, 2);
    m->steps[m->n_steps - 1].map.args[1].inner = 12; // two lengths of runs
    m->steps[m->n_steps - 1].map.args[1].at = 0;
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

// Of few lengths each has code; of more, the code learns them.
static void reduce_bits(void **state)
{
    (void)state;
    check_reductions(21, (const uint32_t[]){2, 7, 16, 33}, 4);
    check_reductions(22, (const uint32_t[]){17, 15, 32, 100}, 4);
    check_reductions(23, (const uint32_t[]){1, 2, 7, 15, 16, 17, 32, 33, 100, 256}, 10);
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
    for (int i = 0; i < 60; i++)
        add_matmul(m, 1 + below(m, 3), sizes[below(m, 7)] % 20 + 1, sizes[below(m, 7)], sizes[below(m, 7)]);
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
    uint32_t a = output(m, 3 + ROUNDS), b = output(m, 3 + ROUNDS), c = output(m, 1); // as the last round left them
    uint32_t w = constants(m, ROUNDS * 16 * 12);
    Step *by = ARENA_ARRAY(m->cx.arena, Step, BODY);
    step(m, STEP_REPEAT)->repeat = (RepeatStep){ROUNDS, BODY, by};
    Step body[BODY] = {
        {.kind = STEP_MATMUL, .matmul = {1, 4, 7, 1, SPACE_WORK, 3000, SPACE_PREP, 9, a}},
        multiply(m, 4, (Access){SPACE_WORK, a, 4, 0, 1}, (Access){SPACE_CONST, 900, 4, 0, 1}, b),
        {.kind = STEP_REDUCE,
         .reduce = {.op = OP_reduce_max, .outer = 1, .k = 4, .in_space = SPACE_WORK, .in = b, .out = c}},
        multiply(m, 16, (Access){SPACE_WORK, c, 16, 0, 0}, (Access){SPACE_WORK, 4000, 16, 0, 1},
                 output(m, 16 * ROUNDS)),
        {.kind = STEP_GEMM, .gemm = {.m = 1, .k = 12, .n = 16, .kb = 12, .x_space = SPACE_WORK, .x = 20, .w = w}}};
    body[4].gemm.out = output(m, 16 * ROUNDS);
    for (int i = 0; i < BODY; i++) {
        by[i] = (Step){.kind = body[i].kind, .map = {.n_args = 2 * (body[i].kind == STEP_MAP)}};
        by[i].map.n_outs = body[i].kind == STEP_MAP;
        if (body[i].kind != STEP_MAP) by[i] = (Step){.kind = body[i].kind};
        *step(m, body[i].kind) = body[i];
    }
    by[0].matmul = (MatmulStep){.m = 1, .a = (uint32_t)-130, .c = 3};
    by[1].map.n = by[1].map.args[0].inner = by[1].map.args[1].inner = by[2].reduce.k = 1;
    by[1].map.args[1].at = 2;
    by[3].map.args[1].at = (uint32_t)-77;
    by[3].map.outs[0].at = by[4].gemm.out = 16;
    by[4].gemm.x = 31;
    by[4].gemm.w = 16 * 12;
    add_reduce(m, OP_reduce_sum, 2, 30);
    assert_true(plan_verify(plan_of(m), &m->cx));
    check_everywhere(m);
}

// Indices below, inside and above the table, NaN and infinities.
static void take_bits(void **state)
{
    (void)state;
    Maker *m = maker_new(51);
    for (int i = 0; i < 7000; i++) m->weights[i] = real(m) * 40;
    m->weights[100] = NAN;
    m->weights[200] = INFINITY;
    m->weights[300] = -INFINITY;
    for (int i = 0; i < 40; i++) add_take(m, 1 + below(m, 5), 1 + below(m, 60), 1 + below(m, 40), below(m, 2));
    add_take(m, 1, 5, 2000, true);
    m->steps[m->n_steps - 1].take.index_space = SPACE_CONST;
    m->steps[m->n_steps - 1].take.index = 0;
    check_everywhere(m);
}

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
        const char *so = build(m, "llvm", targets[i][0], targets[i][1], "alone.so");
        Arena *a = m->cx.arena;
        assert_string_equal(output_of(&m->cx, arena_format(a, "nm -uD %s 2>&1; nm -u %s 2>&1", so, so)), "");
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
    const Bytes *first = read_file(&a->cx, build(a, "llvm", "x86_64-linux-gnu", NULL, "same.so"));
    // Names under which a policy is checked before it gets its own must not enter it.
    const Bytes *second = read_file(&b->cx, build(b, "llvm", "x86_64-linux-gnu", NULL, ".same.so.nfcc-1"));
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
        void *handle = dlopen(build(m, "llvm", "x86_64-linux-gnu", cpus[i], "costs.so"), RTLD_NOW | RTLD_LOCAL);
        const nfcc_model_header *h = dlsym(handle, "nfcc_model");
        tile[i] = h->cost[NFCC_COST_64];
        dlclose(handle);
        maker_free(m);
    }
    assert_true(tile[0] > tile[1] + K * N); // at half a cycle each
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
            void *handle = dlopen(build(m, "llvm", "x86_64-linux-gnu", cpus[i], "bits.so"), RTLD_NOW | RTLD_LOCAL);
            const nfcc_model_header *h = dlsym(handle, "nfcc_model");
            assert_int_equal(h->cpu, want[i][0]);
            assert_int_equal(h->other_cpu, want[i][1]);
            dlclose(handle);
            maker_free(m);
        }
    }
}

static void descriptor_says_all(void **state)
{
    (void)state;
    Maker *m = small_plan();
    void *handle = dlopen(build(m, "llvm", "x86_64-linux-gnu", "x86-64-v3", "described.so"), RTLD_NOW | RTLD_LOCAL);
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

// Steps that differ in lanes only are one function, in all programs.
static void equal_steps_share_code(void **state)
{
    (void)state;
    Maker *m = maker_new(3);
    for (int i = 0; i < 20; i++) {
        add_reduce(m, OP_reduce_sum, 2, 10);
        m->steps[i].reduce.in_space = SPACE_WORK;
    }
    plan_of(m);
    m->plan.programs[PROGRAM_TO_LATENT] = m->plan.programs[PROGRAM_TO_EVENT];
    Target target = {"x86_64-linux-gnu", "x86-64-v3"};
    const Bytes *object = backend_find("llvm")->emit(&m->cx, &m->plan, &target, "nfcc_model", NULL);
    const char *path = path_in(&m->cx, "shared.o");
    assert_true(write_bytes(&m->cx, path, object));
    assert_string_equal(output_of(&m->cx, arena_format(m->cx.arena, "nm %s | grep -c ' reduce_'", path)), "2\n");
    maker_free(m);
}

static void typed_header(void **state)
{
    (void)state;
    Maker *m = small_plan();
    PlanValue contexts[] = {{"obs", T_F32, 2, {3, 4}, 12}, {"obs", T_I64, 0, {0}, 1}, {"a.b/c", T_BOOL, 1, {2}, 2}};
    PlanValue inputs[] = {{"x", T_F32, 1, {6}, 6}}, outputs[] = {{"1", T_F32, 1, {6}, 6}, {"class", T_F32, 0, {0}, 1}};
    plan_of(m);
    m->plan.contexts = contexts;
    m->plan.n_contexts = 3;
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
        "    lander_event x, z;\n    float log_prob = (float)LANDER_CONTEXT_OBS_SIZE;\n"
        "    nfcc_noise noise = NFCC_NOISE(1);\n"
        "    return lander_is(p) + lander_prepare(p, 1, &o, &i, &b, state, work) + lander_sample(p, state, &noise, 1, "
        "&x, work)\n"
        "        + lander_to_latent(p, state, 1, &x, &z, &log_prob, work) + lander_act(p, state, &noise, 1, &x, "
        "work);\n}\n";
    assert_true(write_file(&m->cx, path_in(&m->cx, "use.c"), use, sizeof use - 1));
    int n = (int)(strrchr(dir, '/') - dir);
    static const char *const compilers[] = {"cc -std=c11 -xc", "c++ -std=c++11 -xc++"};
    for (int i = 0; i < 2; i++)
        run_or_fail(arena_format(m->cx.arena,
                                 "%s -Wall -Wextra -Wpedantic -Werror -I %s -I %.*s/../runtime -c -o %s/use.o %s/use.c",
                                 compilers[i], folder, n, dir, folder, folder));
    static const char wrong[] =
        "#include \"lander.h\"\nnfcc_status use(const nfcc_policy *p, float *x, lander_event *z)\n"
        "{ return lander_to_latent(p, NULL, 1, x, z, NULL, NULL); }\n";
    assert_true(write_file(&m->cx, path_in(&m->cx, "use.c"), wrong, sizeof wrong - 1));
    assert_int_not_equal(
        system(arena_format(m->cx.arena,
                            "cc -std=c11 -Wall -Werror -I %s -I %.*s/../runtime -c -o %s/use.o %s/use.c 2>/dev/null",
                            folder, n, dir, folder, folder)),
        0);
    maker_free(m);
}

static void empty_program(void **state)
{
    (void)state;
    Maker *m = maker_new(5); // outputs are the inputs: no step at all
    m->out[m->n_out++] = (PlanPort){PORT_GRAPH, 0, 0, IN_LANES};
    check_everywhere(m);
}

// OpenBLAS adds in its own order: near is enough.
static void openblas_is_near(void **state)
{
    (void)state;
    Maker *m = maker_new(61);
    for (uint32_t n = 5; n < 300; n += 77) {
        add_gemm(m, 1, 100, n, 100);
        add_gemm(m, 3, 50, n, 50);
    }
    const char *path = build(m, "openblas", "x86_64-linux-gnu", NULL, "blas.so");
    Data d = data_of(m);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) print_error("%s\n", dlerror());
    assert_non_null(handle);
    const nfcc_model_header *h = dlsym(handle, "nfcc_model");
    for (int slot = 0; slot < NFCC_TILES; slot++) {
        const char *at = (const char *)h + h->programs[NFCC_PROGRAM_TO_EVENT].code[slot];
        if (at == (const char *)h) continue;
        nfcc_abi_code *code;
        memcpy(&code, &at, sizeof code);
        size_t t_rows = (size_t)tiles[slot];
        float *work = calloc((m->lanes + SLACK) * t_rows, 4), *prep = calloc((PREP_LANES + SLACK) * t_rows, 4);
        for (size_t t = 0; t < t_rows; t++) {
            for (size_t l = 0; l < IN_LANES; l++) memcpy(work + l * t_rows + t, d.in + t * IN_LANES + l, 4);
            for (size_t l = 0; l < PREP_LANES; l++) memcpy(prep + l * t_rows + t, d.prep + t * PREP_LANES + l, 4);
        }
        code(work, prep, (const char *)h + h->weights, NFCC_FEW(1, 0, 0));
        for (int p = 0; p < m->n_out; p++)
            for (uint32_t l = 0; l < m->out[p].lanes; l++)
                for (size_t t = 0; t < t_rows; t++) {
                    float want = ((const float *)d.want[p])[t * m->out[p].lanes + l],
                          got = work[(m->out[p].at + l) * t_rows + t];
                    assert_true(fabsf(want - got) < 1e-3f);
                }
        free(work);
        free(prep);
    }
    dlclose(handle);
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
    const Bytes *object = backend_find("llvm")->emit(&m->cx, plan_of(m), &target, "nfcc_model", NULL);
    const char *const bad[] = {folder, path_in(&m->cx, "no/such.so"), "/dev/null/x.so", "/dev/full"};
    for (int i = 0; i < 4; i++) {
        size_t before = m->diag.n;
        assert_false(link_shared(&m->cx, object, &target, false, bad[i]));
        assert_false(write_file(&m->cx, bad[i], "text", 4));
        assert_int_equal(m->diag.n, before + 2);
        assert_true(m->diag.io_error);
        assert_non_null(strstr(m->diag.list[before].text, bad[i]));
        assert_non_null(m->diag.list[before].hint);
        assert_non_null(m->diag.list[before + 1].hint);
    }
    assert_int_equal(count_files(), 0);
    maker_free(m);
}

static void file_too_large(void **state)
{
    (void)state;
    Maker *m = small_plan();
    Target target = {"x86_64-linux-gnu", "x86-64-v3"};
    const Bytes *object = backend_find("llvm")->emit(&m->cx, plan_of(m), &target, "nfcc_model", NULL);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    bool linked = link_shared(&m->cx, object, &target, false, path_in(&m->cx, "large.so"));
    bool written = write_bytes(&m->cx, path_in(&m->cx, "large.o"), object);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_false(linked || written);
    assert_int_equal(m->diag.errors, 2);
    assert_true(m->diag.io_error);
    assert_int_equal(count_files(), 0);
    maker_free(m);
}

static void broken_object(void **state)
{
    (void)state;
    Maker *m = maker_new(1);
    Target target = {"x86_64-linux-gnu", "x86-64-v3"};
    Bytes garbage = {"not an object", 13, NULL};
    assert_false(link_shared(&m->cx, &garbage, &target, false, path_in(&m->cx, "broken.so")));
    assert_int_equal(m->diag.errors, 1);
    assert_int_equal(count_files(), 0);
    maker_free(m);
}

static void writes_whole_files(void **state)
{
    (void)state;
    Maker *m = maker_new(1);
    const char *path = path_in(&m->cx, "text"), *dead = path_in(&m->cx, ".text.nfcc-2147480000.new"),
               *alive = path_in(&m->cx, ".text.nfcc-1"), *other = path_in(&m->cx, ".texts.nfcc-2147480000");
    const char *const made[] = {dead, alive, other};
    for (int i = 0; i < 3; i++) fclose(fopen(made[i], "w"));
    assert_true(write_file(&m->cx, path, "old", 3));
    assert_true(write_file(&m->cx, path, "new text", 8));
    const Bytes *b = read_file(&m->cx, path);
    assert_int_equal(b->size, 8);
    assert_memory_equal(b->data, "new text", 8);
    assert_int_equal(access(dead, F_OK), -1); // of a compiler that no longer runs
    assert_int_equal(access(alive, F_OK), 0);
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(count_files(), 3);
    assert_true(write_file(&m->cx, "/dev/null", "text", 4));
    maker_free(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

// backend_test [PATTERN]: the tests of such names alone.
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        TEST(gemm_bits),          TEST(transposed_bits),     TEST(apart_bits),          TEST(gemm_blocks_bits),
        TEST(short_weights_bits), TEST(short_weights_round), TEST(paired_bits),         TEST(paired_apart_bits),
        TEST(paired_rounds),      TEST(paired_plan),         TEST(small_matrices_stay), TEST(map_bits),
        TEST(map_access_bits),    TEST(reduce_bits),         TEST(move_bits),           TEST(matmul_bits),
        TEST(repeat_bits),        TEST(take_bits),           TEST(empty_program),       TEST(equal_steps_share_code),
        TEST(typed_header),       TEST(needs_nothing),       TEST(same_bytes),          TEST(cpu_bits_of_bf16),
        TEST(costs_of_pairs),     TEST(descriptor_says_all), TEST(openblas_is_near),    TEST(unknown_targets),
        TEST(refuses_folders),    TEST(file_too_large),      TEST(broken_object),       TEST(writes_whole_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
