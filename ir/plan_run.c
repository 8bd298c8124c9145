// The Plan's interpreter: the definition of the bits. plan.h states every operation and its order; this file is that
// statement as code, and each compiled policy must agree with it bit for bit (NaN payloads aside).
//
// Rows go through in tiles of TILE, lane-major as in plan.h: lane l of row t is work[l * TILE + t]. The innermost
// loop is always the rows of a tile, which are independent, so the compiler may vectorise it without changing any
// row's arithmetic. These loops are built twice: with FMA instructions where the host has them, and
// with libm's fmaf. Both round once, hence give the same bits; a test shows it.
#include "base/parallel.h"
#include "plan.h"

#include <math.h>
#include <string.h>

enum { TILE = 16, STRIP = 16, ACROSS = 4 };

typedef union {
    float f;
    uint32_t u;
    int32_t i;
} Word;

// The loops over a tile's rows, in one of their two builds.
typedef struct {
    void (*gemm)(const GemmStep *g, const float *x, const float *w, const float *add, const float *bias, float *out);
    void (*matmul)(const MatmulStep *s, const float *a, const float *c, float *out);
    void (*scalar)(ScalarOp op, const Word *a, const Word *b, const Word *c, Word *o, size_t n);
} Kernels;

#define INLINE static inline __attribute__((always_inline))

// One block's chain for `width` outputs of one token: sum[j] = or += the chain of input rows [0, k), `step` lanes apart.
// Paired: the odd one of two first.
INLINE void gemm_block(int width, bool paired, const float *x, size_t step, const float *w, size_t stride, size_t k,
                       bool first, float sum[][TILE])
{
    float acc[ACROSS][TILE] = {0};
    for (size_t number = 0; number < k; number++) {
        size_t i = paired && (number ^ 1) < k ? number ^ 1 : number;
        for (int j = 0; j < width; j++)
            for (int t = 0; t < TILE; t++)
                acc[j][t] = __builtin_fmaf(x[i * step * TILE + t], w[i * stride + j], acc[j][t]);
    }
    for (int j = 0; j < width; j++)
        for (int t = 0; t < TILE; t++) sum[j][t] = first ? acc[j][t] : sum[j][t] + acc[j][t];
}

// A tiled product's: two chains for every TILED_INPUTS.
INLINE void gemm_tiles(int width, const float *x, const float *w, size_t stride, size_t k, float sum[][TILE])
{
    for (size_t first = 0; first < k; first += TILED_INPUTS) {
        float acc[2][ACROSS][TILE] = {0};
        size_t end = k - first < TILED_INPUTS ? k : first + TILED_INPUTS;
        for (size_t i = first; i < end; i++)
            for (int j = 0; j < width; j++)
                for (int t = 0; t < TILE; t++)
                    acc[i % 2][j][t] = __builtin_fmaf(x[i * TILE + t], w[i * stride + j], acc[i % 2][j][t]);
        for (int j = 0; j < width; j++)
            for (int t = 0; t < TILE; t++) sum[j][t] = (first ? sum[j][t] : 0) + (acc[0][j][t] + acc[1][j][t]);
    }
}

// Outputs n .. n + width of one token. w: the group's first row at output n; x, add, out: of the token.
INLINE void gemm_outputs(int width, const GemmStep *g, uint32_t n, size_t stride, const float *x, const float *w,
                         const float *add, const float *bias, float *out)
{
    float sum[ACROSS][TILE];
    size_t step = gemm_inputs_apart(g);
    if (g->tiled) gemm_tiles(width, x, w, stride, g->k, sum);
    for (size_t k = 0; k < g->k && !g->tiled; k += g->kb) {
        size_t count = g->k - k < g->kb ? g->k - k : g->kb;
        gemm_block(width, g->paired, x + k * step * TILE, step, w + k * stride, stride, count, k == 0, sum);
    }
    for (int j = 0; j < width; j++)
        for (int t = 0; t < TILE; t++) {
            size_t lane = n + (size_t)j;
            float v = sum[j][t];
            if (g->has_add) v = v + add[lane * TILE + t];
            if (g->has_bias) v = g->scaled ? __builtin_fmaf(v, add[t], bias[lane]) : v + bias[lane];
            out[lane * TILE + t] = v;
        }
}

INLINE void gemm(const GemmStep *g, const float *x, const float *w, const float *add, const float *bias, float *out)
{
    for (uint32_t first = 0; first < g->n; first += GEMM_GROUP) { // groups outside: their weights stay in cache
        const float *group = w + (size_t)first * g->k;
        uint32_t width = g->n - first < GEMM_GROUP ? g->n - first : GEMM_GROUP;
        for (size_t m = 0; m < g->m; m++) {
            const float *xm = x + (g->one_x ? 0 : m * g->k * TILE), *gm = group + (g->apart ? m * g->k * g->n : 0),
                        *bm = g->apart && bias ? bias + m * g->n : bias,
                        *am = add ? add + m * (g->scaled ? 1 : g->n) * TILE : NULL;
            float *om = out + m * g->n * TILE;
            uint32_t j = 0;
            for (; j < width && g->diagonal; j++)
                gemm_outputs(1, g, first + j, width, xm + (size_t)(first + j - j % g->diagonal) * TILE, gm + j, am, bm,
                             om);
            for (; j + ACROSS <= width; j += ACROSS) gemm_outputs(ACROSS, g, first + j, width, xm, gm + j, am, bm, om);
            for (; j < width; j++) gemm_outputs(1, g, first + j, width, xm, gm + j, am, bm, om);
        }
    }
}

// Sixteen partial sums of x . w[k], then the tree. x: of the token; w: the whole packed matrix.
INLINE void gemm_dot(const GemmStep *g, uint32_t k, const float *x, const float *w, float *out)
{
    float p[16][TILE] = {0};
    for (uint32_t first = 0; first < g->n; first += GEMM_GROUP) { // a group is a multiple of 16 outputs
        uint32_t width = g->n - first < GEMM_GROUP ? g->n - first : GEMM_GROUP;
        const float *row = w + (size_t)first * g->k + (size_t)k * width;
        for (uint32_t j = 0; j < width; j++)
            for (int t = 0; t < TILE; t++)
                p[j % 16][t] = __builtin_fmaf(x[(size_t)(first + j) * TILE + t], row[j], p[j % 16][t]);
    }
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            for (int t = 0; t < TILE; t++) p[j][t] = p[j][t] + p[j + half][t];
    memcpy(out, p[0], sizeof p[0]);
}

INLINE void gemm_transposed(const GemmStep *g, const float *x, const float *w, float *out)
{
    for (size_t m = 0; m < g->m; m++)
        for (uint32_t k = 0; k < g->k; k++)
            gemm_dot(g, k, x + m * g->n * TILE, w + (g->apart ? m * g->k * g->n : 0), out + (m * g->k + k) * TILE);
}

// Outputs n .. n + width of row m, which share what they read of a.
INLINE void matmul_outputs(int width, const MatmulStep *s, const float *a, const float *c, float *out)
{
    float acc[ACROSS][TILE] = {0};
    for (size_t k = 0; k < s->k; k++)
        for (int j = 0; j < width; j++)
            for (int t = 0; t < TILE; t++)
                acc[j][t] = __builtin_fmaf(a[k * TILE + t], c[(k * s->n + (size_t)j) * TILE + t], acc[j][t]);
    memcpy(out, acc, (size_t)width * sizeof acc[0]);
}

INLINE void matmul(const MatmulStep *s, const float *a, const float *c, float *out)
{
    for (size_t b = 0; b < s->batch; b++, a += (size_t)s->m * s->k * TILE, c += (size_t)s->k * s->n * TILE)
        for (size_t m = 0; m < s->m; m++, out += (size_t)s->n * TILE) {
            const float *am = a + m * s->k * TILE;
            size_t n = 0;
            for (; n + ACROSS <= s->n; n += ACROSS) matmul_outputs(ACROSS, s, am, c + n * TILE, out + n * TILE);
            for (; n < s->n; n++) matmul_outputs(1, s, am, c + n * TILE, out + n * TILE);
        }
}

// ---- the operations of maps
INLINE Word mask(bool condition) { return (Word){.u = condition ? UINT32_MAX : 0}; }

// Toward zero. Outside the i32 range and for NaN the plan may not ask; here: the smallest integer.
INLINE Word float_to_int(float a) { return (Word){.i = a >= -0x1p31f && a < 0x1p31f ? (int32_t)a : INT32_MIN}; }

#define EACH(field, expression) \
    for (size_t i = 0; i < n; i++) o[i].field = (expression)
#define EACH_MASK(condition) \
    for (size_t i = 0; i < n; i++) o[i] = mask(condition)

// o = op(a, b, c) for n words. Shift counts are an imm: the same in every word.
INLINE void scalar(ScalarOp op, const Word *a, const Word *b, const Word *c, Word *o, size_t n)
{
    switch (op) {
    case S_fadd: EACH(f, a[i].f + b[i].f); return;
    case S_fsub: EACH(f, a[i].f - b[i].f); return;
    case S_fmul: EACH(f, a[i].f * b[i].f); return;
    case S_fdiv: EACH(f, a[i].f / b[i].f); return;
    case S_fma: EACH(f, __builtin_fmaf(a[i].f, b[i].f, c[i].f)); return;
    case S_fsqrt: EACH(f, __builtin_sqrtf(a[i].f)); return;
    case S_flt: EACH_MASK(a[i].f < b[i].f); return;
    case S_fle: EACH_MASK(a[i].f <= b[i].f); return;
    case S_feq: EACH_MASK(a[i].f == b[i].f); return;
    case S_ilt: EACH_MASK(a[i].i < b[i].i); return;
    case S_ult: EACH_MASK(a[i].u < b[i].u); return;
    case S_ieq: EACH_MASK(a[i].u == b[i].u); return;
    case S_sel: EACH(u, a[i].u ? b[i].u : c[i].u); return;
    case S_and: EACH(u, a[i].u & b[i].u); return;
    case S_or: EACH(u, a[i].u | b[i].u); return;
    case S_xor: EACH(u, a[i].u ^ b[i].u); return;
    case S_iadd: EACH(u, a[i].u + b[i].u); return;
    case S_isub: EACH(u, a[i].u - b[i].u); return;
    case S_imul: EACH(u, a[i].u * b[i].u); return;
    case S_umulh: EACH(u, (uint32_t)((uint64_t)a[i].u * b[i].u >> 32)); return;
    case S_shl: EACH(u, a[i].u << (b[0].u & 31)); return;
    case S_shr: EACH(u, a[i].u >> (b[0].u & 31)); return;
    case S_sar: EACH(i, a[i].i >> (b[0].u & 31)); return;
    case S_i2f: EACH(f, (float)a[i].i); return;
    case S_f2i: EACH(i, float_to_int(a[i].f).i); return;
    case S_arg:
    case S_imm:
    case S_COUNT: return;
    }
}

#define BUILD(suffix, attributes)                                                                             \
    attributes static void gemm_##suffix(const GemmStep *g, const float *x, const float *w, const float *add, \
                                         const float *bias, float *out)                                       \
    {                                                                                                         \
        if (g->transposed)                                                                                    \
            gemm_transposed(g, x, w, out);                                                                    \
        else                                                                                                  \
            gemm(g, x, w, add, bias, out);                                                                    \
    }                                                                                                         \
    attributes static void matmul_##suffix(const MatmulStep *s, const float *a, const float *c, float *out)   \
    {                                                                                                         \
        matmul(s, a, c, out);                                                                                 \
    }                                                                                                         \
    attributes static void scalar_##suffix(ScalarOp op, const Word *a, const Word *b, const Word *c, Word *o, \
                                           size_t n)                                                          \
    {                                                                                                         \
        scalar(op, a, b, c, o, n);                                                                            \
    }                                                                                                         \
    static const Kernels kernels_##suffix = {gemm_##suffix, matmul_##suffix, scalar_##suffix};

BUILD(portable, )
#if defined(__x86_64__)
BUILD(fma, __attribute__((target("avx2,fma"))))
static const Kernels *kernels_fastest(void)
{
    bool fast = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return fast ? &kernels_fma : &kernels_portable;
}
#else
static const Kernels *kernels_fastest(void) { return &kernels_portable; }
#endif

// ---- one tile in flight
typedef struct {
    const Plan *plan;
    const Kernels *kernels;
    float *work, *prep; // [lanes][TILE]
    Word *values;       // a map's values over one strip: [n_code][STRIP * TILE]
} Run;

// The TILE words of one lane, where the space has rows.
static const float *rows_of(const Run *r, uint32_t space, size_t lane)
{
    return (space == SPACE_PREP ? r->prep : r->work) + lane * TILE;
}

static void read_lane(const Run *r, uint32_t space, size_t lane, Word out[TILE])
{
    if (space == SPACE_CONST) {
        Word w;
        memcpy(&w, r->plan->weights + lane, sizeof w);
        for (int t = 0; t < TILE; t++) out[t] = w;
    } else {
        memcpy(out, rows_of(r, space, lane), TILE * sizeof *out);
    }
}

// `count` lanes from `lane` on as rows: in place where they have rows, else spread into `buffer`.
static const float *lanes_of(const Run *r, uint32_t space, size_t lane, size_t count, Arena *scratch)
{
    if (space != SPACE_CONST) return rows_of(r, space, lane);
    Word *buffer = ARENA_ARRAY(scratch, Word, count * TILE);
    for (size_t i = 0; i < count; i++) read_lane(r, space, lane + i, buffer + i * TILE);
    return &buffer->f;
}

static const float *paired_of(const float *x, size_t count, Arena *scratch)
{
    float *rounded = ARENA_ARRAY(scratch, float, count *TILE);
    for (size_t i = 0; i < count * TILE; i++) rounded[i] = pair_value(x[i]);
    return rounded;
}

// Windows: token by token, as a product of one whose inputs lie one after the other; diagonal: of all outputs.
static void run_windows(const Run *r, const GemmStep *g, const float *x, const float *add, Arena *scratch)
{
    const float *w = r->plan->weights, *bias = g->has_bias ? w + g->bias : NULL;
    size_t own = gemm_inputs_apart(g) * TILE;
    float *window = ARENA_ARRAY(scratch, float, g->k *own);
    GemmStep one = *g;
    one.m = 1;
    for (size_t m = 0; m < g->m; m++) {
        const float *first = x + (int64_t)plan_table(r->plan, g->places, m) * TILE;
        for (size_t k = 0; k < g->k; k++)
            memcpy(window + k * own, first + (int64_t)plan_table(r->plan, g->taps, k) * TILE, own * sizeof *x);
        r->kernels->gemm(&one, window, w + g->w, add ? add + m * (g->scaled ? 1 : g->n) * TILE : NULL, bias,
                         r->work + (g->out + m * g->n) * TILE);
    }
}

static void run_gemm(const Run *r, const GemmStep *g, Arena *scratch)
{
    const float *w = r->plan->weights;
    const float *x = lanes_of(r, g->x_space, g->x, gemm_x_lanes(g), scratch);
    const float *add = gemm_add_lanes(g) ? rows_of(r, g->add_space, g->add) : NULL;
    if (g->paired) x = paired_of(x, gemm_x_lanes(g), scratch);
    if (g->picture)
        run_windows(r, g, x, add, scratch);
    else
        r->kernels->gemm(g, x, w + g->w, add, g->has_bias ? w + g->bias : NULL, r->work + (size_t)g->out * TILE);
}

static void run_matmul(const Run *r, const MatmulStep *s, Arena *scratch)
{
    const float *a = lanes_of(r, s->a_space, s->a, (size_t)s->batch * s->m * s->k, scratch);
    const float *c = lanes_of(r, s->c_space, s->c, (size_t)s->batch * s->k * s->n, scratch);
    r->kernels->matmul(s, a, c, r->work + (size_t)s->out * TILE);
}

// ---- map
static size_t access_lane(const Access *a, size_t i)
{
    int64_t lane = (int64_t)a->at + (int64_t)(i / a->inner) * a->outer_step + (int64_t)(i % a->inner) * a->inner_step;
    return (size_t)lane;
}

static void run_instr(const Run *r, const MapStep *s, size_t k, size_t first, size_t lanes)
{
    const ScalarInstr *code = &s->code[k];
    Word *v = r->values, *o = v + k * STRIP * TILE;
    if (code->op == S_arg) {
        const Access *a = &s->args[code->imm];
        for (size_t i = 0; i < lanes; i++) read_lane(r, a->space, access_lane(a, first + i), o + i * TILE);
    } else if (code->op == S_imm) {
        for (size_t i = 0; i < lanes * TILE; i++) o[i].u = code->imm;
    } else {
        const size_t size = STRIP * TILE;
        r->kernels->scalar((ScalarOp)code->op, v + code->a * size, v + code->b * size, v + code->c * size, o,
                           lanes * TILE);
    }
}

// A strip's values are all made before any is stored: an out may lie exactly on an argument.
static void run_map(const Run *r, const MapStep *s)
{
    for (size_t first = 0; first < s->n; first += STRIP) {
        size_t lanes = s->n - first < STRIP ? s->n - first : STRIP;
        for (size_t k = 0; k < s->n_code; k++) run_instr(r, s, k, first, lanes);
        for (uint32_t j = 0; j < s->n_outs; j++)
            memcpy(r->work + (s->outs[j].at + first) * TILE, r->values + (size_t)s->outs[j].value * STRIP * TILE,
                   lanes * TILE * sizeof(Word));
    }
}

// ---- reduce: sixteen partial results, then a tree
static float reduce_two(Op op, float p, float v)
{
    switch (op) {
    case OP_reduce_sum: return p + v;
    case OP_reduce_prod: return p * v;
    case OP_reduce_max: return v > p ? v : p;
    default: return v < p ? v : p; // reduce_min; plan_verify admits no other
    }
}

static float reduce_start(Op op)
{
    if (op == OP_reduce_sum) return 0.0f;
    if (op == OP_reduce_prod) return 1.0f;
    return op == OP_reduce_max ? -INFINITY : INFINITY;
}

static void run_reduce(const Run *r, const ReduceStep *s)
{
    for (size_t o = 0; o < s->outer; o++) {
        float p[16][TILE];
        Word centre[TILE];
        if (s->squares) read_lane(r, s->centre_space, s->centre + (s->centres ? o : 0), centre);
        for (int j = 0; j < 16; j++)
            for (int t = 0; t < TILE; t++) p[j][t] = reduce_start(s->op);
        for (size_t i = 0; i < s->k; i++) {
            Word in[TILE];
            read_lane(r, s->in_space, s->in + (s->across ? i * s->outer + o : o * s->k + i), in);
            for (int t = 0; t < TILE && s->squares; t++) {
                float d = in[t].f - centre[t].f;
                in[t].f = d * d;
            }
            for (int t = 0; t < TILE; t++) p[i % 16][t] = reduce_two(s->op, p[i % 16][t], in[t].f);
        }
        for (int half = 8; half > 0; half /= 2)
            for (int j = 0; j < half; j++)
                for (int t = 0; t < TILE; t++) p[j][t] = reduce_two(s->op, p[j][t], p[j + half][t]);
        memcpy(r->work + (s->out + o) * TILE, p[0], sizeof p[0]);
    }
}

// ---- move, take
static void run_move(const Run *r, const MoveStep *s)
{
    for (MoveWalk w = move_walk(r->plan, s); move_next(&w);) {
        Word in[TILE];
        read_lane(r, s->space, s->in + (size_t)w.src, in);
        memcpy(r->work + (s->out + (size_t)w.dst) * TILE, in, sizeof in);
    }
}

static size_t take_index(float index, uint32_t k)
{
    if (!(index > 0.0f)) return 0; // also NaN
    return index < (float)(k - 1) ? (size_t)index : k - 1;
}

static void run_take(const Run *r, const TakeStep *s)
{
    for (size_t o = 0; o < s->outer; o++)
        for (size_t j = 0; j < s->j; j++) {
            Word index[TILE], row[TILE];
            read_lane(r, s->index_space, s->index + o * s->j + j, index);
            float *out = r->work + (s->out + o * s->j + j) * TILE;
            for (int t = 0; t < TILE; t++) {
                size_t at = take_index(index[t].f, s->k) + (s->table_shared ? 0 : o * s->k);
                read_lane(r, s->table_space, s->table + at, row);
                out[t] = row[t].f;
            }
        }
}

static void run_step(const Run *r, const Step *s)
{
    Arena *scratch = NULL; // only for operands that a product reads from CONST or rounds
    if (s->kind == STEP_GEMM || s->kind == STEP_MATMUL) scratch = arena_new();
    switch (s->kind) {
    case STEP_GEMM: run_gemm(r, &s->gemm, scratch); break;
    case STEP_MAP: run_map(r, &s->map); break;
    case STEP_REDUCE: run_reduce(r, &s->reduce); break;
    case STEP_MOVE: run_move(r, &s->move); break;
    case STEP_MATMUL: run_matmul(r, &s->matmul, scratch); break;
    case STEP_TAKE: run_take(r, &s->take); break;
    case STEP_REPEAT: break;
    }
    arena_free(scratch);
}

// ---- tiles
// Row-major [rows][lanes] to lane-major [lanes][TILE]. A short tile repeats its last row.
static void load_rows(float *to, const uint32_t *from, size_t lanes, size_t rows)
{
    for (size_t l = 0; l < lanes; l++)
        for (size_t t = 0; t < TILE; t++) memcpy(to + l * TILE + t, from + (t < rows ? t : rows - 1) * lanes + l, 4);
}

static void store_rows(uint32_t *to, const float *from, size_t lanes, size_t rows)
{
    for (size_t t = 0; t < rows; t++)
        for (size_t l = 0; l < lanes; l++) memcpy(to + t * lanes + l, from + l * TILE + t, 4);
}

static size_t most_values(const Program *p)
{
    size_t most = 1;
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind == STEP_MAP && p->steps[i].map.n_code > most) most = p->steps[i].map.n_code;
    return most;
}

// A call of a program. Its tiles share nothing but what is read, so they go to all cores.
typedef struct {
    const Kernels *kernels;
    const Plan *plan;
    const Program *p;
    size_t rows;
    const uint32_t *prep, *const *in;
    uint32_t *const *out;
} Call;

static void run_tile(void *user, int number)
{
    const Call *c = user;
    const Program *p = c->p;
    Arena *arena = arena_new();
    Run r = {c->plan, c->kernels, ARENA_ARRAY(arena, float, (size_t)p->work_lanes *TILE),
             ARENA_ARRAY(arena, float, (size_t)c->plan->prep_lanes *TILE),
             ARENA_ARRAY(arena, Word, most_values(p) * STRIP * TILE)};
    size_t row = (size_t)number * TILE, count = c->rows - row < TILE ? c->rows - row : TILE;
    if (c->prep) load_rows(r.prep, c->prep + row * c->plan->prep_lanes, c->plan->prep_lanes, count);
    for (int i = 0; i < p->n_in; i++)
        load_rows(r.work + (size_t)p->in[i].at * TILE, c->in[i] + row * p->in[i].lanes, p->in[i].lanes, count);
    const Step *s;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));) run_step(&r, s);
    for (int i = 0; i < p->n_out; i++)
        if (c->out[i])
            store_rows(c->out[i] + row * p->out[i].lanes, r.work + (size_t)p->out[i].at * TILE, p->out[i].lanes, count);
    arena_free(arena);
}

static void run(const Kernels *kernels, const Plan *plan, const Program *p, size_t rows, const uint32_t *prep,
                const uint32_t *const *in, uint32_t *const *out)
{
    Call c = {kernels, plan, p, rows, prep, in, out};
    parallel_for((int)((rows + TILE - 1) / TILE), run_tile, &c);
}

void plan_run(const Plan *plan, ProgramId program, size_t rows, const uint32_t *prep, const uint32_t *const *in,
              uint32_t *const *out)
{
    run(kernels_fastest(), plan, &plan->programs[program], rows, prep, in, out);
}

void plan_run_portable(const Plan *plan, ProgramId program, size_t rows, const uint32_t *prep,
                       const uint32_t *const *in, uint32_t *const *out)
{
    run(&kernels_portable, plan, &plan->programs[program], rows, prep, in, out);
}
