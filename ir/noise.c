// The noise program: standard normals from a counter, without state.
//
//   Philox4x32-10 (Salmon et al., SC 2011): key = (seed low, seed high), counter = (row low, row high, block, 0),
//   four words w0 .. w3 per block. Box-Muller makes lanes 2 block and 2 block + 1 of them:
//     u = (w0 2^32 + w1 + 1/2) 2^-64,  R = sqrt(-2 ln u) <= 9.5,  theta = 2 pi (w2 2^32 + w3 + 1/2) 2^-64
//     z[2 block] = temperature * (R cos theta),  z[2 block + 1] = temperature * (R sin theta)
//
// Other bases take words 0, 1 and words 2, 3 as two uniforms u and turn each by the inverse distribution function:
//     uniform u;  logistic log u - log(1 - u);  Laplace log 2u below 1/2, else -log 2(1 - u)
// (temperature 0 of the uniform is the middle of its interval).
//
// One map step over the blocks makes the even and the odd lanes, a move interleaves them.
#include "expand.h"

#include <string.h>

enum { ROUNDS = 10 };

static int op(MapCode *m, ScalarOp o, int a, int b) { return map_op(m, o, a, b, 0); }
static int op_word(MapCode *m, ScalarOp o, int a, uint32_t word) { return op(m, o, a, map_imm(m, word)); }

static void philox_round(MapCode *m, int c[4], int k0, int k1)
{
    int m0 = map_imm(m, 0xd2511f53u), m1 = map_imm(m, 0xcd9e8d57u);
    int high0 = op(m, S_umulh, c[0], m0), low0 = op(m, S_imul, c[0], m0);
    int high1 = op(m, S_umulh, c[2], m1), low1 = op(m, S_imul, c[2], m1);
    c[0] = op(m, S_xor, op(m, S_xor, high1, c[1]), k0);
    c[1] = low1;
    c[2] = op(m, S_xor, op(m, S_xor, high0, c[3]), k1);
    c[3] = low0;
}

void math_philox(MapCode *m, int counter[4], const int key[2])
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        int k0 = i ? op_word(m, S_iadd, key[0], i * 0x9e3779b9u) : key[0];
        int k1 = i ? op_word(m, S_iadd, key[1], i * 0xbb67ae85u) : key[1];
        philox_round(m, counter, k0, k1);
    }
}

// (high 2^32 + low + 1/2) 2^-64 as a float, high < 2^31: 24 + 24 + 16 bits, each exact, summed from below.
static int fraction(MapCode *m, int high, int low)
{
    int top = op_word(m, S_shr, high, 8), bottom = op_word(m, S_and, low, 0xffff);
    int middle = op(m, S_or, op_word(m, S_shl, op_word(m, S_and, high, 0xff), 16), op_word(m, S_shr, low, 16));
    int f = add(m, op(m, S_i2f, bottom, 0), num(m, 0.5f));
    f = fma3(m, op(m, S_i2f, middle, 0), num(m, 0x1p16f), f);
    f = fma3(m, op(m, S_i2f, top, 0), num(m, 0x1p40f), f);
    return mul(m, f, num(m, 0x1p-64f));
}

// The distance of u to the nearer of 0 and 1, and all ones where that is 1.
static int nearer_end(MapCode *m, int high, int low, int *upper)
{
    *upper = op_word(m, S_sar, high, 31);
    return fraction(m, op(m, S_xor, high, *upper), op(m, S_xor, low, *upper));
}

// sqrt(-2 ln u). v is the distance of u to the nearer of 0 and 1, so that R keeps its digits at both ends:
// ln u is log v = log(2^e (1 + f)), f = v 2^-e - 1, or log(1 - v), f = -v 2^-e + (2^-e - 1).
static int radius(MapCode *m, int high, int low)
{
    int upper, v = nearer_end(m, high, low, &upper);
    int y = pick(m, upper, sub(m, num(m, 1), v), v);
    int e = op_word(m, S_sar, op_word(m, S_isub, y, HALF_ROOT), 23);
    int power = op(m, S_isub, num(m, 1), op_word(m, S_shl, e, 23)); // 2^-e
    int signed_v = op(m, S_xor, v, sign_bit(m, upper));
    int f = fma3(m, signed_v, power, pick(m, upper, sub(m, power, num(m, 1)), num(m, -1)));
    return op(m, S_fsqrt, mul(m, math_log_sum(m, op(m, S_i2f, e, 0), f), num(m, -2)), 0);
}

// theta = n quarter turns + r, |r| <= pi/4: the two top bits of the angle, rounded, are n. What is left is a signed
// number d of 64 bits; for d < 0, d + 1/2 = -(~d + 1/2).
static void direction(MapCode *m, int high, int low, int *cosine, int *sine)
{
    int t = op_word(m, S_iadd, high, 1u << 29);
    int rest = op_word(m, S_isub, op_word(m, S_and, t, (1u << 30) - 1), 1u << 29); // -2^29 .. 2^29 - 1
    int negative = op_word(m, S_sar, rest, 31);
    int size = fraction(m, op(m, S_xor, rest, negative), op(m, S_xor, low, negative));
    int turn = op(m, S_xor, size, sign_bit(m, negative));
    int s, c;
    math_sincos(m, mul(m, turn, num(m, 0x1.921fb6p+2f)), &s, &c); // 2 pi
    int quarter = map_imm(m, 1u << 30), odd = op(m, S_ieq, op(m, S_and, t, quarter), quarter);
    *sine = op(m, S_xor, pick(m, odd, c, s), sign_bit(m, t));
    *cosine = op(m, S_xor, pick(m, odd, s, c), sign_bit(m, op(m, S_iadd, t, quarter)));
}

void math_box_muller(MapCode *m, const int w[4], int out[2])
{
    int r = radius(m, w[0], w[1]), sine, cosine;
    direction(m, w[2], w[3], &cosine, &sine);
    out[0] = mul(m, r, cosine);
    out[1] = mul(m, r, sine);
}

// temperature * normal, and +0 where that is -0.
static int scaled(MapCode *m, int temperature, int normal) { return add(m, mul(m, temperature, normal), num(m, 0)); }

// 1/2 + temperature (u - 1/2), u itself at temperature 1; below 1 always.
static int uniform(MapCode *m, int temperature, int v, int upper)
{
    int one = num(m, 1), half = num(m, 0.5f), last = num(m, 0x1.fffffep-1f);
    int u = pick(m, upper, sub(m, one, v), v);
    u = pick(m, op(m, S_flt, u, one), u, last);
    int warm = fma3(m, temperature, sub(m, u, half), half);
    return pick(m, op(m, S_feq, temperature, one), u, warm);
}

// log v - log(1 - v), or log 2v, with the sign of the side.
static int two_sided(MapCode *m, BaseKind base, int temperature, int v, int upper)
{
    int minus_v = negate(m, v);
    int size = base == BASE_LOGISTIC
                   ? sub(m, expand_op(m, OP_log, 0, v, 0, 0), expand_op(m, OP_log1p, 0, minus_v, 0, 0))
                   : expand_op(m, OP_log, 0, add(m, v, v), 0, 0);
    int value = op(m, S_xor, size, sign_bit(m, upper));
    return scaled(m, temperature, value);
}

static int other_base(MapCode *m, BaseKind base, int temperature, int high, int low)
{
    int upper, v = nearer_end(m, high, low, &upper);
    return base == BASE_UNIFORM ? uniform(m, temperature, v, upper) : two_sided(m, base, temperature, v, upper);
}

// Arguments: 0 .. 3 the seed port, 4 the temperature, 5 the block. Returns the two values.
static void block_code(MapCode *m, BaseKind base, int out[2])
{
    int key[2] = {map_arg(m, 0), map_arg(m, 1)};
    int w[4] = {map_arg(m, 2), map_arg(m, 3), map_arg(m, 5), map_imm(m, 0)};
    math_philox(m, w, key);
    int temperature = map_arg(m, 4);
    bool normal = base == BASE_NORMAL || base == BASE_STUDENT_T || base == BASE_GRAPH;
    if (normal) math_box_muller(m, w, out);
    for (int i = 0; i < 2; i++)
        out[i] = normal ? scaled(m, temperature, out[i]) : other_base(m, base, temperature, w[2 * i], w[2 * i + 1]);
}

typedef struct {
    uint32_t seed, temperature, even, odd, z, work; // WORK lanes
    uint32_t block, src, dst;                       // CONST lanes
} Layout;

// Appends the block numbers and the move's two tables to the weights.
static void add_tables(Context *cx, uint32_t lanes, Layout *at, float **weights, uint64_t *weight_lanes)
{
    uint32_t blocks = (lanes + 1) / 2;
    uint64_t start = round_up_lanes(*weight_lanes);
    uint64_t end = start + round_up_lanes(blocks) + 2 * round_up_lanes(lanes);
    float *fresh = ARENA_ARRAY(cx->arena, float, end + ALIGN_LANES);
    if (*weight_lanes) memcpy(fresh, *weights, *weight_lanes * sizeof *fresh);
    at->block = (uint32_t)start;
    at->src = at->block + (uint32_t)round_up_lanes(blocks);
    at->dst = at->src + (uint32_t)round_up_lanes(lanes);
    for (uint32_t b = 0; b < blocks; b++) memcpy(fresh + at->block + b, &b, sizeof b);
    for (uint32_t l = 0; l < lanes; l++) {
        uint32_t from = (l % 2 ? at->odd : at->even) + l / 2;
        memcpy(fresh + at->src + l, &from, sizeof from);
        memcpy(fresh + at->dst + l, &l, sizeof l);
    }
    *weights = fresh;
    *weight_lanes = end;
}

static Step block_step(Context *cx, BaseKind base, uint32_t blocks, const Layout *at)
{
    MapCode *m = ARENA_NEW(cx->arena, MapCode);
    int value[2];
    block_code(m, base, value);
    if (m->overflow) diag_error(cx, NULL, NULL, "internal error: the noise program does not fit in one map step");
    Step s = {.kind = STEP_MAP, .name = "noise"};
    s.map = (MapStep){.n = blocks, .n_args = 6, .n_outs = 2, .n_code = (uint32_t)m->n, .code = m->code};
    for (uint32_t j = 0; j < 4; j++) s.map.args[j] = (Access){SPACE_WORK, at->seed + j, blocks, 0, 0};
    s.map.args[4] = (Access){SPACE_WORK, at->temperature, blocks, 0, 0};
    s.map.args[5] = (Access){SPACE_CONST, at->block, blocks, 0, 1};
    for (int j = 0; j < 2; j++) {
        s.map.outs[j].at = j ? at->odd : at->even;
        s.map.outs[j].value = (uint32_t)value[j];
    }
    return s;
}

void plan_noise(Context *cx, BaseKind base, uint32_t lanes, Program *program, float **weights, uint64_t *weight_lanes)
{
    uint32_t blocks = (lanes + 1) / 2;
    Layout at = {.seed = 0, .temperature = ALIGN_LANES, .even = 2 * ALIGN_LANES};
    at.odd = at.even + (uint32_t)round_up_lanes(blocks);
    at.z = at.odd + (uint32_t)round_up_lanes(blocks);
    at.work = at.z + (uint32_t)round_up_lanes(lanes);
    add_tables(cx, lanes, &at, weights, weight_lanes);
    Step *steps = ARENA_ARRAY(cx->arena, Step, 2);
    steps[0] = block_step(cx, base, blocks, &at);
    steps[1] = (Step){.kind = STEP_MOVE, .name = "noise"};
    steps[1].move = (MoveStep){lanes, SPACE_WORK, 0, at.src, at.dst, at.z, 0};
    const PlanPort in[] = {{PORT_SEED, 0, at.seed, 4}, {PORT_TEMPERATURE, 0, at.temperature, 1}};
    const PlanPort out = {PORT_Z, 0, at.z, lanes};
    *program = (Program){.exists = true, .steps = steps, .n_steps = 2, .work_lanes = at.work, .n_in = 2, .n_out = 1};
    program->in = arena_copy(cx->arena, in, sizeof in);
    program->out = arena_copy(cx->arena, &out, sizeof out);
}
