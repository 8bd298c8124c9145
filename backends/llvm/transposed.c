// Transposed products (plan.h): out[k] = sum over n of x[n] * w[k][n], on the packing of the product itself. The sum is
// sixteen partial sums by n % 16 and a tree; a group of 128 outputs is whole sixteens, so every sixteen of n lies in
// one.
//
//     T = 1    a partial-sum vector of 16 slots for each of up to 8 outputs; sixteen weights are one load. The tree
//              folds the vectors of two outputs into one, so that it ends with one vector of all outputs
//     T > 1    one partial at a time, its chain over n = j, j + 16, ... for a block of outputs x rows; in the order
//              0 8 4 12 2 10 ..., in which the tree needs at most four sums at a time
#include "llvm.h"

enum { SLOTS = 16, MOST_OUTPUTS = 8, MOST_SUMS = 32 };

// `n` outputs from the block's first on, of one token; v vectors of rows from `row` on.
typedef struct {
    int n, v;
    int64_t rest;              // outputs of the product behind the whole groups
    bool grouped;              // there are whole groups
    bool paired;               // the words of w are pairs (llvm.h)
    Value k_all, rows, groups; // i64; rows of w: K, or its pairs
    Operand x, w, out;         // w: the whole matrix; x, out: of the token
    Value k, row;              // first output, first row (i64)
    uint32_t x_space;
} Block;

// Row k + i of the group at `first` of `width` weights, from column `col` (i64) on. A block begins at an even k.
static Operand weights_at(Gen *g, const Block *b, Value first, int64_t width, int i, Value col)
{
    Value k = b->paired ? LLVMBuildLShr(g->b, b->k, word_i64(g, 1), "") : b->k;
    Operand group = operand_at(g, b->w, LLVMBuildMul(g->b, first, b->rows, ""));
    Operand row = operand_fixed(g, operand_at(g, group, mul(g, k, width)), (b->paired ? i / 2 : i) * width);
    return operand_at(g, row, col);
}

static Value load_slots(Gen *g, const Block *b, Operand w, int i)
{
    Value v = load_lanes(g, w, SLOTS);
    return b->paired ? pairs_half(g, v, i % 2) : v;
}

// One weight for all rows.
static Value load_weight(Gen *g, const Block *b, Operand w, int i)
{
    if (b->paired) w = (Operand){bytes_at(g, w.base, word_i64(g, i % 2 * 2)), w.lane_bytes, true, WEIGHTS_BF16, NULL};
    return load_rows(g, w, NULL, g->width);
}

// ---- T = 1

static Value first_slots(Gen *g, Value some, Value all, int64_t n)
{
    Value list[SLOTS];
    for (int i = 0; i < SLOTS; i++) list[i] = word_i32(g, i < n ? i : SLOTS + i);
    return LLVMBuildShuffleVector(g->b, some, all, LLVMConstVector(list, SLOTS), "");
}

// Sixteen (the first `n` of them) elements from column `col` of a group on.
static void slots_step(Gen *g, const Block *b, Value first, int64_t width, Value col, int64_t n, Value *sum)
{
    Value x = load_lanes(g, operand_at(g, operand_at(g, b->x, first), col), SLOTS);
    for (int i = 0; i < b->n; i++) {
        Value w = load_slots(g, b, weights_at(g, b, first, width, i, col), i), next = fma_of(g, x, w, sum[i]);
        sum[i] = n < SLOTS ? first_slots(g, next, sum[i], n) : next;
    }
}

static void slots_group(Gen *g, const Block *b, Value first, int64_t width, Value *sum)
{
    int64_t full = width / SLOTS, rest = width % SLOTS;
    if (full) {
        Loop l = loop_begin(g, full);
        for (int i = 0; i < b->n; i++) sum[i] = loop_phi(g, &l, sum[i]);
        slots_step(g, b, first, width, mul(g, l.i, SLOTS), SLOTS, sum);
        loop_end(g, &l, sum);
    }
    if (rest) slots_step(g, b, first, width, word_i64(g, full * SLOTS), rest, sum);
}

// Slots `half` wide of each output of a, then of b (or none): the lower or the upper halves.
static Value halves(Gen *g, Value a, Value b, int outputs, int half, bool upper)
{
    Value list[MOST_OUTPUTS * SLOTS];
    int n = 0, from = outputs * 2 * half;
    for (int side = 0; side < (b ? 2 : 1); side++)
        for (int o = 0; o < outputs; o++)
            for (int i = 0; i < half; i++) list[n++] = word_i32(g, side * from + o * 2 * half + (upper ? half : 0) + i);
    return LLVMBuildShuffleVector(g->b, a, b ? b : LLVMGetPoison(LLVMTypeOf(a)), LLVMConstVector(list, (unsigned)n),
                                  "");
}

// The tree over n vectors of 16 partials (n a power of two): a vector of n sums.
static Value slots_tree(Gen *g, Value *p, int n)
{
    int vectors = n, outputs = 1;
    for (int half = SLOTS / 2; half; half /= 2) {
        bool pair = vectors > 1;
        int made = pair ? vectors / 2 : 1;
        for (int i = 0; i < made; i++) {
            Value a = p[pair ? 2 * i : i], b = pair ? p[2 * i + 1] : NULL;
            Value low = halves(g, a, b, outputs, half, false), high = halves(g, a, b, outputs, half, true);
            p[i] = LLVMBuildFAdd(g->b, low, high, "");
        }
        if (pair) outputs *= 2;
        vectors = made;
    }
    return p[0];
}

static void slots_emit(Gen *g, const Block *b)
{
    Value sum[MOST_OUTPUTS];
    for (int i = 0; i < b->n; i++) sum[i] = splat_float(g, 0.0f, SLOTS);
    if (b->grouped) {
        Loop l = loop_of(g, b->groups);
        for (int i = 0; i < b->n; i++) sum[i] = loop_phi(g, &l, sum[i]);
        slots_group(g, b, mul(g, l.i, GEMM_GROUP), GEMM_GROUP, sum);
        loop_end(g, &l, sum);
    }
    if (b->rest) slots_group(g, b, mul(g, b->groups, GEMM_GROUP), b->rest, sum);
    store(g, slots_tree(g, sum, b->n), operand_at(g, b->out, b->k).base);
}

// ---- T > 1

static Value row_at(Gen *g, const Block *b, int v) { return add(g, b->row, word_i64(g, v * g->width)); }

// One element: x of all rows times the weights of all outputs.
static void rows_step(Gen *g, const Block *b, Value first, int64_t width, Value col, Value *sum)
{
    Operand x = operand_at(g, operand_at(g, b->x, first), col);
    Value held[MOST_SUMS];
    for (int v = 0; v < b->v; v++) held[v] = load_rows(g, x, row_at(g, b, v), g->width);
    for (int i = 0; i < b->n; i++) {
        Value w = load_weight(g, b, weights_at(g, b, first, width, i, col), i);
        for (int v = 0; v < b->v; v++) sum[i * b->v + v] = fma_of(g, held[v], w, sum[i * b->v + v]);
    }
}

// Elements j, j + 16, ... of a group; the last one may not be there (it is computed and not taken).
static void rows_group(Gen *g, const Block *b, Value first, int64_t width, Value j, Value *sum)
{
    int sums = b->n * b->v;
    int64_t full = width / SLOTS, rest = width % SLOTS;
    if (full) {
        Loop l = loop_begin(g, full);
        for (int i = 0; i < sums; i++) sum[i] = loop_phi(g, &l, sum[i]);
        rows_step(g, b, first, width, add(g, mul(g, l.i, SLOTS), j), sum);
        loop_end(g, &l, sum);
    }
    if (!rest) return;
    Value next[MOST_SUMS], there = LLVMBuildICmp(g->b, LLVMIntULT, j, word_i64(g, rest), "");
    for (int i = 0; i < sums; i++) next[i] = sum[i];
    rows_step(g, b, first, width, add(g, j, word_i64(g, full * SLOTS)), next);
    for (int i = 0; i < sums; i++) sum[i] = LLVMBuildSelect(g->b, there, next[i], sum[i], "");
}

static void rows_partial(Gen *g, const Block *b, Value j, Value *sum)
{
    int sums = b->n * b->v;
    for (int i = 0; i < sums; i++) sum[i] = splat_float(g, 0.0f, g->width);
    if (b->grouped) {
        Loop l = loop_of(g, b->groups);
        for (int i = 0; i < sums; i++) sum[i] = loop_phi(g, &l, sum[i]);
        rows_group(g, b, mul(g, l.i, GEMM_GROUP), GEMM_GROUP, j, sum);
        loop_end(g, &l, sum);
    }
    if (b->rest) rows_group(g, b, mul(g, b->groups, GEMM_GROUP), b->rest, j, sum);
}

static void rows_tree(Gen *g, const Block *b, Value j, int step, Value *sum);

// p[j] + p[j + step] in two passes of one piece of code, which keeps the code small.
static void rows_pair_loop(Gen *g, const Block *b, Value j, int step, Value *sum)
{
    Value before[MOST_SUMS];
    int sums = b->n * b->v;
    Loop l = loop_begin(g, 2);
    for (int i = 0; i < sums; i++) before[i] = loop_phi(g, &l, splat_float(g, 0.0f, g->width));
    Value first = LLVMBuildICmp(g->b, LLVMIntEQ, l.i, word_i64(g, 0), "");
    rows_tree(g, b, add(g, j, mul(g, l.i, step)), step * 2, sum);
    for (int i = 0; i < sums; i++) {
        Value both = LLVMBuildFAdd(g->b, before[i], sum[i], "");
        sum[i] = LLVMBuildSelect(g->b, first, sum[i], both, "");
    }
    loop_end(g, &l, sum);
}

// Partial j of the level that has `step` partials: p[j] + p[j + step], down to the sixteen themselves.
static void rows_tree(Gen *g, const Block *b, Value j, int step, Value *sum)
{
    if (step == SLOTS) {
        rows_partial(g, b, j, sum);
        return;
    }
    if (step < SLOTS / 2) {
        rows_pair_loop(g, b, j, step, sum);
        return;
    }
    Value other[MOST_SUMS];
    rows_partial(g, b, j, sum);
    rows_partial(g, b, add(g, j, word_i64(g, step)), other);
    for (int i = 0; i < b->n * b->v; i++) sum[i] = LLVMBuildFAdd(g->b, sum[i], other[i], "");
}

static void rows_emit(Gen *g, const Block *b)
{
    Value sum[MOST_SUMS];
    rows_tree(g, b, word_i64(g, 0), 1, sum);
    for (int i = 0; i < b->n; i++)
        for (int v = 0; v < b->v; v++)
            store(g, sum[i * b->v + v],
                  row_address(g, operand_fixed(g, operand_at(g, b->out, b->k), i), row_at(g, b, v)));
}

// ---- blocks of outputs

// T = 1: few rows, one after the other, while the block's weights are near.
static void block_emit(Gen *g, const Block *b)
{
    if (g->tile > 1) {
        rows_emit(g, b);
        return;
    }
    Loop rows = loop_of(g, few_rows(g, g->shape));
    Block own = *b;
    own.x.base = bytes_at(g, b->x.base, LLVMBuildMul(g->b, rows.i, few_step(g, g->shape, b->x_space), ""));
    own.out.base = bytes_at(g, b->out.base, LLVMBuildMul(g->b, rows.i, few_step(g, g->shape, SPACE_WORK), ""));
    slots_emit(g, &own);
    loop_end(g, &rows, NULL);
}

// All k outputs in blocks of `most` (4 or 8), what is left for T = 1 in smaller powers of two. K itself is a count; the
// code knows k % 8 and whether there are eight.
static void outputs_emit(Gen *g, Block b, uint32_t k, int most)
{
    int rest = (int)k % 8 % most;
    Value full = LLVMBuildUDiv(g->b, b.k_all, word_i64(g, most), ""), at = mul(g, full, most);
    if (k >= 8 || (int)k >= most) {
        Loop l = loop_of(g, full);
        b.n = most;
        b.k = mul(g, l.i, most);
        block_emit(g, &b);
        loop_end(g, &l, NULL);
    }
    for (int n = most / 2; rest; n /= 2) {
        if (g->tile == 1 && rest < n) continue;
        b.n = g->tile == 1 ? n : rest;
        b.k = at;
        block_emit(g, &b);
        at = add(g, at, word_i64(g, b.n));
        rest -= b.n;
    }
}

// The counts behind the lane numbers: tokens of own weights, K, whole groups of the product's outputs where there are
// any.
void transposed_emit(Gen *g, const GemmStep *s)
{
    GemmOperands o = gemm_operands(g, s);
    Block b = {.v = 1, .rest = s->n % GEMM_GROUP, .grouped = s->n >= GEMM_GROUP, .w = o.w};
    b.paired = o.kind == MATRIX_PAIRS;
    b.x_space = s->x_space;
    b.k_all = b.rows = count_arg(g, s->k);
    if (b.paired) b.rows = pairs_of(g, b.k_all);
    b.groups = b.grouped ? count_arg(g, s->n / GEMM_GROUP) : word_i64(g, 0);
    Value n_all = add(g, mul(g, b.groups, GEMM_GROUP), word_i64(g, b.rest));
    bool wide = g->info.level == LEVEL_AVX512;
    if (g->tile > 1 && g->tile >= 2 * g->width) b.v = 2;
    int most = wide && b.v == 1 ? 8 : 4;
    Loop l = loop_of(g, o.tokens);
    b.x = operand_at(g, o.x, LLVMBuildMul(g->b, l.i, n_all, ""));
    b.out = operand_at(g, o.out, LLVMBuildMul(g->b, l.i, b.k_all, ""));
    if (s->apart) b.w = operand_at(g, o.w, LLVMBuildMul(g->b, l.i, LLVMBuildMul(g->b, n_all, b.rows, ""), ""));
    Loop rows = rows_begin(g, b.v * g->width);
    b.row = mul(g, rows.i, (int64_t)b.v * g->width);
    outputs_emit(g, b, s->k, most);
    loop_end(g, &rows, NULL);
    loop_end(g, &l, NULL);
}
