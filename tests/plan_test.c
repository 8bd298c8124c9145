// The Plan's interpreter against a second, naive one (one row at a time, each step as plan.h says it), the build with
// FMA instructions against the one with libm's fmaf, repeats against their rounds written out, and the scalar code
// builder.
#include "plan_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 37 };

// ---- the naive interpreter: work, prep and weights of one row
typedef struct {
    const float *work, *prep, *weights;
} Row;

static float lane(const Row *r, uint32_t space, size_t at)
{
    return space == SPACE_WORK ? r->work[at] : space == SPACE_PREP ? r->prep[at] : r->weights[at];
}

// To bfloat16, to nearest, ties to even; numbers below 2^-63 are 0.
static float naive_half(float x)
{
    uint32_t word;
    memcpy(&word, &x, sizeof word);
    word += 0x7fff + (word >> 16 & 1);
    word &= 0xffff0000;
    memcpy(&x, &word, sizeof x);
    return fabsf(x) < 0x1p-63f ? 0 : x;
}

static uint32_t naive_x(const Row *r, const GemmStep *g, uint32_t m, uint32_t k, uint32_t n)
{
    const int32_t *words = (const int32_t *)r->weights;
    if (g->picture)
        return g->x + (uint32_t)(words[g->places + m] + words[g->taps + k]) + (g->diagonal ? n - n % g->diagonal : 0);
    return g->x + (g->one_x ? 0 : m * g->k) + k;
}

// An input of a chain: paired, the second of two comes first.
static uint32_t naive_input(const GemmStep *g, uint32_t first, uint32_t k)
{
    uint32_t end = first + g->kb < g->k ? first + g->kb : g->k;
    if (!g->paired) return k;
    return (k - first) % 2 ? k - 1 : k + 1 < end ? k + 1 : k;
}

static void naive_gemm(const Row *r, const GemmStep *g, float *out)
{
    for (uint32_t m = 0; m < g->m; m++)
        for (uint32_t n = 0; n < g->n; n++) {
            float sum = 0;
            for (uint32_t first = 0; first < g->k; first += g->kb) {
                float chain = 0;
                for (uint32_t i = first; i < g->k && i < first + g->kb; i++) {
                    uint32_t k = naive_input(g, first, i);
                    float x = lane(r, g->x_space, naive_x(r, g, m, k, n));
                    uint32_t group = n / 128, width = g->n - 128 * group < 128 ? g->n - 128 * group : 128;
                    float w = r->weights[g->w + (g->apart ? m * g->k * g->n : 0) + group * 128 * g->k + k * width +
                                         (n - 128 * group)];
                    chain = fmaf(g->paired ? naive_half(x) : x, w, chain);
                }
                sum = first ? sum + chain : chain;
            }
            if (g->has_add) sum += lane(r, g->add_space, g->add + m * g->n + n);
            float bias = g->has_bias ? r->weights[g->bias + (g->apart ? m * g->n : 0) + n] : 0;
            if (g->scaled)
                sum = fmaf(sum, lane(r, g->add_space, g->add + m), bias);
            else if (g->has_bias)
                sum += bias;
            out[m * g->n + n] = sum;
        }
}

static void naive_transposed(const Row *r, const GemmStep *g, float *out)
{
    for (uint32_t m = 0; m < g->m; m++)
        for (uint32_t k = 0; k < g->k; k++) {
            float p[16] = {0};
            for (uint32_t n = 0; n < g->n; n++) {
                uint32_t group = n / 128, width = g->n - 128 * group < 128 ? g->n - 128 * group : 128;
                float w = r->weights[g->w + (g->apart ? m * g->k * g->n : 0) + group * 128 * g->k + k * width +
                                     (n - 128 * group)];
                p[n % 16] = fmaf(lane(r, g->x_space, g->x + m * g->n + n), w, p[n % 16]);
            }
            for (int s = 8; s; s /= 2)
                for (int j = 0; j < s; j++) p[j] = p[j] + p[j + s];
            out[m * g->k + k] = p[0];
        }
}

static float reduce_two(Op op, float p, float v)
{
    if (op == OP_reduce_sum) return p + v;
    if (op == OP_reduce_prod) return p * v;
    return op == OP_reduce_max ? (v > p ? v : p) : (v < p ? v : p);
}

static void naive_reduce(const Row *r, const ReduceStep *s, float *out)
{
    float start = s->op == OP_reduce_sum    ? 0
                  : s->op == OP_reduce_prod ? 1
                  : s->op == OP_reduce_max  ? -INFINITY
                                            : INFINITY;
    for (uint32_t o = 0; o < s->outer; o++) {
        float p[16];
        for (int i = 0; i < 16; i++) p[i] = start;
        for (uint32_t i = 0; i < s->k; i++) {
            float v = lane(r, s->in_space, s->in + (s->across ? i * s->outer + o : o * s->k + i));
            float d = s->squares ? v - lane(r, s->centre_space, s->centre + (s->centres ? o : 0)) : 0;
            if (s->squares) v = d * d;
            p[i % 16] = reduce_two(s->op, p[i % 16], v);
        }
        for (int h = 8; h; h /= 2)
            for (int i = 0; i < h; i++) p[i] = reduce_two(s->op, p[i], p[i + h]);
        out[o] = p[0];
    }
}

static void naive_matmul(const Row *r, const MatmulStep *s, float *out)
{
    for (uint32_t i = 0; i < s->batch * s->m * s->n; i++) {
        uint32_t n = i % s->n, bm = i / s->n, b = bm / s->m;
        float chain = 0;
        for (uint32_t k = 0; k < s->k; k++)
            chain = fmaf(lane(r, s->a_space, s->a + bm * s->k + k),
                         lane(r, s->c_space, s->c + (b * s->k + k) * s->n + n), chain);
        out[i] = chain;
    }
}

static void naive_take(const Row *r, const TakeStep *s, float *out)
{
    for (uint32_t i = 0; i < s->outer * s->j; i++) {
        double index = trunc((double)lane(r, s->index_space, s->index + i));
        index = isnan(index) ? 0 : fmin(fmax(index, 0), s->k - 1);
        out[i] = lane(r, s->table_space, s->table + (s->table_shared ? 0 : i / s->j * s->k) + (uint32_t)index);
    }
}

static void naive_move(const Row *r, const MoveStep *s, float *out)
{
    const int32_t *src = (const int32_t *)r->weights + s->src_table, *dst = (const int32_t *)r->weights + s->dst_table;
    const MoveRun *run = (const MoveRun *)src;
    for (uint32_t b = 0; b < s->runs * 16; b++) { // boxes of at most two places along each axis
        int32_t i[4] = {b >> 3 & 1, b >> 2 & 1, b >> 1 & 1, b & 1}, from = run[b / 16].src, to = run[b / 16].dst;
        bool inside = true;
        for (int k = 0; k < 4; k++) {
            inside = inside && i[k] < run[b / 16].axis[k].count;
            from += i[k] * run[b / 16].axis[k].src;
            to += i[k] * run[b / 16].axis[k].dst;
        }
        if (inside) out[to] = lane(r, s->space, s->in + (size_t)from);
    }
    if (s->runs) return;
    for (uint32_t i = 0; i < s->n; i++) out[dst[i]] = lane(r, s->space, s->in + (size_t)src[i]);
}

// v = fma(arg 0, arg 1, arg 0) - arg 1, the map of case_map
static void naive_map(const Row *r, const MapStep *s, float *out)
{
    for (uint32_t i = 0; i < s->n; i++) {
        float v[2];
        for (int j = 0; j < 2; j++) {
            const Access *a = &s->args[j];
            v[j] = lane(r, a->space,
                        (size_t)((int64_t)a->at + (int64_t)(i / a->inner) * a->outer_step +
                                 (int64_t)(i % a->inner) * a->inner_step));
        }
        out[i] = fmaf(v[0], v[1], v[0]) - v[1];
    }
}

static void naive_step(const Row *r, const Step *s, float *out)
{
    switch (s->kind) {
    case STEP_GEMM: (s->gemm.transposed ? naive_transposed : naive_gemm)(r, &s->gemm, out); break;
    case STEP_MAP: naive_map(r, &s->map, out); break;
    case STEP_REDUCE: naive_reduce(r, &s->reduce, out); break;
    case STEP_MOVE: naive_move(r, &s->move, out); break;
    case STEP_MATMUL: naive_matmul(r, &s->matmul, out); break;
    case STEP_TAKE: naive_take(r, &s->take, out); break;
    case STEP_REPEAT: break; // check_rounds
    }
}

// Runs the case's step on ROWS rows of random numbers, three ways, and compares the bits.
static void check_case(Case *c, uint32_t out_lanes)
{
    case_program(c, out_lanes);
    bool good = plan_verify(&c->plan, &c->cx);
    diag_print(&c->diag, stderr);
    assert_true(good);
    static float x[ROWS * 64], index[ROWS * 16], prep[ROWS * PREP_LANES], got[ROWS * WORK_LANES],
        slow[ROWS * WORK_LANES];
    uint64_t seed = 5;
    for (int i = 0; i < ROWS * 64; i++) x[i] = random_value(&seed), prep[i] = random_value(&seed);
    for (int i = 0; i < ROWS * 16; i++) index[i] = i % 11 == 3 ? NAN : 5 + 3.5f * random_value(&seed);
    const uint32_t *const in[] = {(uint32_t *)x, (uint32_t *)index};
    uint32_t *const out[] = {(uint32_t *)got}, *const out_slow[] = {(uint32_t *)slow};
    plan_run(&c->plan, PROGRAM_TO_LATENT, ROWS, (uint32_t *)prep, in, out);
    plan_run_portable(&c->plan, PROGRAM_TO_LATENT, ROWS, (uint32_t *)prep, in, out_slow);
    assert_memory_equal(got, slow, ROWS * out_lanes * sizeof *got);
    for (int row = 0; row < ROWS; row++) {
        float work[WORK_LANES] = {0}, want[WORK_LANES];
        memcpy(work + X, x + row * 64, 64 * sizeof *x);
        memcpy(work + INDEX, index + row * 16, 16 * sizeof *index);
        naive_step(&(Row){work, prep + row * PREP_LANES, c->plan.weights}, &c->step, want);
        for (uint32_t l = 0; l < out_lanes; l++) assert_true(want[l] == got[(uint32_t)row * out_lanes + l]);
    }
    arena_free(c->arena);
}

static void check_gemm(bool paired, bool scaled)
{
    static const uint32_t shapes[][4] = {{1, 5, 7, 2},   {1, 64, 100, 64}, {1, 17, 3, 5},   {4, 16, 33, 4},
                                         {1, 8, 300, 8}, {1, 33, 129, 10}, {1, 64, 64, 16}, {2, 3, 32, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const uint32_t *s = shapes[i];
        Case *c = case_new();
        bool add = !scaled && s[0] * s[2] <= 64, bias = scaled || i % 2;
        c->step.kind = STEP_GEMM;
        c->step.gemm =
            (GemmStep){.m = s[0], .k = s[1], .n = s[2], .kb = s[3], .has_add = add, .scaled = scaled, .has_bias = bias};
        c->step.gemm.x_space = i % 3 == 2 ? SPACE_PREP : SPACE_WORK;
        c->step.gemm.add_space = i % 2 ? SPACE_PREP : SPACE_WORK;
        c->step.gemm.w = 16;
        c->step.gemm.bias = 7000;
        c->step.gemm.out = OUT;
        c->step.gemm.paired = paired;
        c->step.gemm.pairs = PAIRS;
        if (paired && s[3] < s[1]) c->step.gemm.kb = (s[3] + 1) / 2 * 2;
        check_case(c, s[0] * s[2]);
    }
}

static void test_gemm(void **state)
{
    (void)state;
    check_gemm(false, false);
    check_gemm(true, false);
    check_gemm(false, true);
}

static void test_windows(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = {{4, 5, 7}, {2, 64, 30}, {2, 33, 16}};
    for (uint32_t i = 0; i < 6; i++) {
        const uint32_t *s = shapes[i / 2];
        Case *c = case_windows(s[0], s[1], s[2], 16);
        c->step.gemm.has_bias = c->step.gemm.scaled = c->step.gemm.paired = i % 2;
        c->step.gemm.bias = 7000;
        c->step.gemm.pairs = PAIRS;
        check_case(c, s[0] * s[2]);
    }
}

static void test_diagonal(void **state)
{
    (void)state;
    static const uint32_t shapes[][4] = {{4, 5, 7, 1}, {2, 33, 16, 1}, {9, 1, 21, 1}, {3, 6, 12, 4}, {1, 40, 32, 16}};
    for (uint32_t i = 0; i < 10; i++) {
        const uint32_t *s = shapes[i / 2];
        Case *c = case_windows(s[0], s[1], s[2], i % 2 ? 16 : s[1]);
        c->step.gemm.diagonal = s[3];
        c->step.gemm.has_bias = i % 2;
        c->step.gemm.bias = 7000;
        check_case(c, s[0] * s[2]);
    }
}

static void test_transposed(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = {{1, 5, 7},   {1, 64, 100}, {1, 17, 3}, {4, 16, 33},
                                         {1, 8, 300}, {1, 33, 129}, {2, 3, 32}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const uint32_t *s = shapes[i];
        Case *c = case_new();
        c->step.kind = STEP_GEMM;
        c->step.gemm = (GemmStep){.m = s[0], .k = s[1], .n = s[2], .kb = s[1], .transposed = true};
        c->step.gemm.x_space = s[0] * s[2] > 64 ? SPACE_CONST : i % 2 ? SPACE_PREP : SPACE_WORK;
        c->step.gemm.w = 16;
        c->step.gemm.out = OUT;
        check_case(c, s[0] * s[1]);
    }
}

// Tokens with weights of their own: on their own x, on one, transposed.
static void test_apart(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = {{2, 5, 16}, {2, 4, 144}, {3, 16, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int way = 0; way < 3; way++) {
            const uint32_t *s = shapes[i];
            Case *c = case_new();
            bool transposed = way == 2;
            c->step.kind = STEP_GEMM;
            c->step.gemm =
                (GemmStep){.m = s[0], .k = s[1], .n = s[2], .kb = s[1], .apart = true, .transposed = transposed};
            c->step.gemm.one_x = way == 1;
            c->step.gemm.has_bias = !transposed;
            c->step.gemm.scaled = !transposed && i % 2;
            c->step.gemm.x_space = transposed && s[0] * s[2] > 64 ? SPACE_CONST : SPACE_WORK;
            c->step.gemm.w = 16;
            c->step.gemm.bias = 7000;
            c->step.gemm.out = OUT;
            check_case(c, s[0] * (transposed ? s[1] : s[2]));
        }
}

static void test_map(void **state)
{
    (void)state;
    static const Access access[][2] = {
        {{SPACE_WORK, 3, 40, 0, 1}, {SPACE_CONST, 9, 40, 0, 1}},   // contiguous
        {{SPACE_WORK, 63, 40, 0, -1}, {SPACE_PREP, 2, 40, 0, 0}},  // backwards, one lane
        {{SPACE_PREP, 5, 4, 5, 1}, {SPACE_WORK, 30, 8, -3, 2}},    // rows with gaps
        {{SPACE_CONST, 100, 1, 7, 0}, {SPACE_CONST, 3, 10, 0, 1}}, // every seventh, repeated
    };
    for (size_t i = 0; i < sizeof access / sizeof *access; i++) {
        Case *c = case_new();
        case_map(c, 40, access[i][0], access[i][1]);
        check_case(c, 40);
    }
}

static Case *reduce_case(Op op, uint32_t k, uint32_t space)
{
    Case *c = case_new();
    c->step.kind = STEP_REDUCE;
    c->step.reduce = reduction(op, 64 / k, k, space);
    return c;
}

static void test_reduce(void **state)
{
    (void)state;
    static const Op ops[] = {OP_reduce_sum, OP_reduce_max, OP_reduce_min, OP_reduce_prod};
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t k = 1; k <= 61; k += 15)
            for (int across = 0; across < 2; across++) {
                Case *c = reduce_case(ops[i], k, i == 1 ? SPACE_PREP : SPACE_WORK);
                c->step.reduce.across = across;
                check_case(c, 64 / k);
                c = reduce_case(ops[i], k, i == 1 ? SPACE_PREP : SPACE_WORK);
                c->step.reduce.across = across;
                c->step.reduce.squares = true;
                c->step.reduce.centre_space = k % 2 ? SPACE_PREP : SPACE_WORK;
                check_case(c, 64 / k);
            }
}

static void test_move(void **state)
{
    (void)state;
    Case *c = case_new();
    int32_t *table = (int32_t *)c->plan.weights;
    for (int i = 0; i < 20; i++) table[i] = (i * 7) % 60, table[32 + i] = (i * 3) % 20;
    c->step.kind = STEP_MOVE;
    c->step.move = (MoveStep){20, SPACE_PREP, 2, 0, 32, OUT, 0};
    check_case(c, 20);
}

static void test_move_runs(void **state)
{
    (void)state;
    check_case(case_runs(SPACE_PREP), 20);
    check_case(case_runs(SPACE_WORK), 20);
}

static void test_matmul(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        Case *c = case_new();
        c->step.kind = STEP_MATMUL;
        c->step.matmul = (MatmulStep){2, 3, 5, 6, SPACE_WORK, 1, i ? SPACE_CONST : SPACE_PREP, 3, OUT};
        check_case(c, 36);
    }
}

static void test_take(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        Case *c = case_new();
        c->step.kind = STEP_TAKE;
        c->step.take = (TakeStep){2, 7, 5, i == 1, i == 2 ? SPACE_CONST : SPACE_WORK, 4, SPACE_WORK, INDEX, OUT};
        check_case(c, 10);
    }
}

// An out exactly on an argument: all of a strip is read before it is written.
static void test_in_place(void **state)
{
    (void)state;
    Case *c = case_new();
    case_map(c, 64, (Access){SPACE_WORK, X, 64, 0, 1}, (Access){SPACE_CONST, 0, 64, 0, 1});
    c->step.map.outs[0].at = X;
    c->out.at = X;
    case_program(c, 64);
    assert_true(plan_verify(&c->plan, &c->cx));
    float x[64], index[16] = {0}, got[64];
    uint64_t seed = 1;
    for (int i = 0; i < 64; i++) x[i] = random_value(&seed);
    const uint32_t *const in[] = {(uint32_t *)x, (uint32_t *)index};
    uint32_t *const out[] = {(uint32_t *)got};
    plan_run(&c->plan, PROGRAM_TO_LATENT, 1, NULL, in, out);
    for (int i = 0; i < 64; i++) assert_true(got[i] == fmaf(x[i], c->plan.weights[i], x[i]) - c->plan.weights[i]);
    arena_free(c->arena);
}

// ---- repeats
static void run_once(const Plan *plan, float *got)
{
    float x[64], index[16] = {0};
    uint64_t seed = 3;
    for (int i = 0; i < 64; i++) x[i] = random_value(&seed);
    const uint32_t *const in[] = {(uint32_t *)x, (uint32_t *)index};
    uint32_t *const out[] = {(uint32_t *)got};
    plan_run(plan, PROGRAM_TO_LATENT, 1, NULL, in, out);
}

static void test_repeat(void **state)
{
    (void)state;
    Case *c = case_new();
    Rounds *r = case_rounds(c);
    float got[192], want[192];
    assert_true(plan_verify(&c->plan, &c->cx));
    run_once(&c->plan, got);
    Step written[12];
    for (uint32_t i = 0; i < 6; i++) {
        Step *s = &written[2 * i];
        memcpy(s, r->steps + 1, 2 * sizeof *s);
        s[0].gemm.x -= 10 * i, s[0].gemm.w += 64 * i, s[0].gemm.out += 16 * i;
        s[1].reduce.k += 2 * i, s[1].reduce.in += 7 * i, s[1].reduce.out += 16 * i;
    }
    Program *p = &c->plan.programs[PROGRAM_TO_LATENT];
    p->steps = written;
    p->n_steps = 12;
    run_once(&c->plan, want);
    assert_memory_equal(got, want, sizeof got);
    arena_free(c->arena);
}

// ---- scalar code
static void test_code_sharing(void **state)
{
    (void)state;
    static MapCode m;
    int a = map_arg(&m, 0), one = map_float(&m, 1);
    assert_int_equal(map_arg(&m, 0), a);
    assert_int_equal(map_imm(&m, 0x3f800000u), one);
    int sum = map_op(&m, S_fadd, a, one, 0);
    assert_int_equal(map_op(&m, S_fadd, a, one, 7), sum); // an operand that is none does not count
    assert_int_not_equal(map_op(&m, S_fadd, one, a, 0), sum);
    for (int i = 0; i < 2 * MAP_MAX_CODE; i++) map_imm(&m, (uint32_t)i);
    assert_true(m.overflow);
    assert_int_equal(m.n, MAP_MAX_CODE);
}

static void test_print(void **state)
{
    (void)state;
    Case *c = case_new();
    case_map(c, 40, (Access){SPACE_WORK, 0, 40, 0, 1}, (Access){SPACE_CONST, 0, 40, 0, 1});
    case_program(c, 40);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    plan_print(&c->plan, f);
    fclose(f);
    assert_non_null(strstr(text, "program to_latent: 1 steps, 1024 work lanes"));
    assert_non_null(strstr(text, "v2 = fma v0, v1, v0"));
    free(text);
    arena_free(c->arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),       cmocka_unit_test(test_windows),      cmocka_unit_test(test_diagonal),
        cmocka_unit_test(test_transposed), cmocka_unit_test(test_apart),        cmocka_unit_test(test_map),
        cmocka_unit_test(test_reduce),     cmocka_unit_test(test_move),         cmocka_unit_test(test_move_runs),
        cmocka_unit_test(test_matmul),     cmocka_unit_test(test_take),         cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_repeat),     cmocka_unit_test(test_code_sharing), cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
