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
    int64_t rest;        // outputs of the product behind the whole groups
    bool grouped;        // there are whole groups
    bool paired;         // the words of w are pairs (llvm.h)
    bool tiled;          // which lie tile by tile
    Value k_all, rows;   // i64; rows of w: K, or its pairs
    Value groups, width; // whole groups and their outputs (i64)
    Operand x, w, out;   // w: the whole matrix; x, out: of the token
    Value k, row;        // first output, first row (i64)
    uint32_t x_space;
    Value lines; // T = 1: lines of weights that each row fetches ahead in a group (i64); NULL: none
    Value fetch; // where they begin, bytes from the block's weights on
} Block;

// Outputs of the product that lie together: `full` sixteens and `rest`.
typedef struct {
    Value first, width, full; // i64
    int rest;
} Group;

static Group whole_group(Gen *g, const Block *b, Value i)
{
    return (Group){product_of(g, i, b->width), b->width, quotient(g, b->width, word_i64(g, SLOTS)), 0};
}

static Group last_group(Gen *g, const Block *b)
{
    return (Group){mul(g, b->groups, GEMM_GROUP), word_i64(g, b->rest), word_i64(g, b->rest / SLOTS),
                   (int)b->rest % SLOTS};
}

static bool has_full(const Group *s) { return !LLVMIsConstant(s->full) || LLVMConstIntGetZExtValue(s->full); }
static Value behind_full(Gen *g, const Group *s) { return mul(g, s->full, SLOTS); }

enum { NEAR_ROWS = 4 }; // of weights, which one address reaches

typedef struct {
    Operand at[MOST_OUTPUTS / NEAR_ROWS];
    Value step; // words from one to the next (i64)
} Rows;

static Operand frozen(Gen *g, Operand o)
{
    o.base = LLVMBuildFreeze(g->b, o.base, "");
    return o;
}

// Pair k of a group's tiles (weights.c): a block's rows are in one, as its columns are.
static Operand in_tile(Gen *g, const Block *b, Operand group, Value k, Value col)
{
    return operand_at(g, group, add(g, product_of(g, col, b->rows), mul(g, k, SLOTS)));
}

// Row k of a group's weights and those behind it, from column `col` (i64) on. A block begins at an even k. Frozen: else
// LLVM keeps an address for each row, in memory.
static Rows rows_at(Gen *g, const Block *b, const Group *s, Value col)
{
    Value k = b->paired ? LLVMBuildLShr(g->b, b->k, word_i64(g, 1), "") : b->k;
    Operand group = operand_at(g, b->w, product_of(g, s->first, b->rows));
    if (b->tiled) return (Rows){{in_tile(g, b, group, k, col)}, word_i64(g, SLOTS)};
    Operand at = operand_at(g, operand_at(g, group, product_of(g, k, s->width)), col);
    if (!LLVMIsConstant(s->width)) at = frozen(g, at);
    Operand behind = operand_at(g, at, mul(g, s->width, NEAR_ROWS));
    return (Rows){{at, LLVMIsConstant(s->width) ? behind : frozen(g, behind)}, s->width};
}

static Operand row_of(Gen *g, const Block *b, const Rows *rows, int i)
{
    if (b->paired) i /= 2;
    return operand_at(g, rows->at[i / NEAR_ROWS], mul(g, rows->step, i % NEAR_ROWS));
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

// What a block has in a group.
static Value block_bytes(Gen *g, const Block *b)
{
    return mul(g, product_of(g, b->width, b->w.lane_bytes), b->paired ? MOST_OUTPUTS / 2 : MOST_OUTPUTS);
}

// A block's weights follow the one's before in each group. Several rows fetch a part of them each, so that all compute
// while weights come; one alone is as fast without.
static Value fetched_lines(Gen *g, const Block *b)
{
    Value rows = few_rows(g, g->shape), lines = quotient(g, block_bytes(g, b), word_i64(g, LINE_BYTES));
    Value part = pieces(g, lines, rows);
    Value alone = equal(g, rows, 1);
    return where(g, alone, word_i64(g, 0), part);
}

static void fetch_ahead(Gen *g, const Block *b, const Group *s)
{
    Value at = bytes_at(g, rows_at(g, b, s, word_i64(g, 0)).at[0].base, b->fetch);
    Loop l = loop_maybe(g, b->lines);
    prefetch(g, at, mul(g, l.i, LINE_BYTES), TO_L1);
    loop_end(g, &l, NULL);
}

// Sixteen (the first `n` of them) elements from column `col` of a group on.
static void slots_step(Gen *g, const Block *b, const Group *s, Value col, int n, Value *sum)
{
    Value x = load_lanes(g, operand_at(g, operand_at(g, b->x, s->first), col), SLOTS);
    Rows rows = rows_at(g, b, s, col);
    for (int i = 0; i < b->n; i++) {
        Value w = load_slots(g, b, row_of(g, b, &rows, i), i), next = fma_of(g, x, w, sum[i]);
        sum[i] = n < SLOTS ? blend(g, next, sum[i], n) : next;
    }
}

static void slots_group(Gen *g, const Block *b, const Group *s, Value *sum)
{
    if (has_full(s)) {
        Loop l = loop_of(g, s->full);
        for (int i = 0; i < b->n; i++) sum[i] = loop_phi(g, &l, sum[i]);
        slots_step(g, b, s, mul(g, l.i, SLOTS), SLOTS, sum);
        loop_end(g, &l, sum);
    }
    if (s->rest) slots_step(g, b, s, behind_full(g, s), s->rest, sum);
}

// Slots `half` wide of each output of a, then of b (or none): the lower or the upper halves.
static Value halves(Gen *g, Value a, Value b, int outputs, int half, bool upper)
{
    int pick[MOST_OUTPUTS * SLOTS], n = 0, from = outputs * 2 * half;
    for (int side = 0; side < (b ? 2 : 1); side++)
        for (int o = 0; o < outputs; o++)
            for (int i = 0; i < half; i++) pick[n++] = side * from + o * 2 * half + (upper ? half : 0) + i;
    return shuffled(g, a, b, pick, n);
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
        Group s = whole_group(g, b, l.i);
        if (b->lines && b->n == MOST_OUTPUTS) fetch_ahead(g, b, &s);
        slots_group(g, b, &s, sum);
        loop_end(g, &l, sum);
    }
    if (b->rest) {
        Group s = last_group(g, b);
        slots_group(g, b, &s, sum);
    }
    store(g, slots_tree(g, sum, b->n), operand_at(g, b->out, b->k).base);
}

// ---- T > 1

static Value row_at(Gen *g, const Block *b, int v) { return add(g, b->row, word_i64(g, v * g->width)); }

// One element: x of all rows times the weights of all outputs.
static void rows_step(Gen *g, const Block *b, const Group *s, Value col, Value *sum)
{
    Operand x = operand_at(g, operand_at(g, b->x, s->first), col);
    Value held[MOST_SUMS];
    for (int v = 0; v < b->v; v++) held[v] = load_rows(g, x, row_at(g, b, v), g->width);
    Rows rows = rows_at(g, b, s, col);
    for (int i = 0; i < b->n; i++) {
        Value w = load_weight(g, b, row_of(g, b, &rows, i), i);
        for (int v = 0; v < b->v; v++) sum[i * b->v + v] = fma_of(g, held[v], w, sum[i * b->v + v]);
    }
}

// Elements j, j + 16, ... of a group; the last one may not be there (it is computed and not taken).
static void rows_group(Gen *g, const Block *b, const Group *s, Value j, Value *sum)
{
    int sums = b->n * b->v;
    if (has_full(s)) {
        Loop l = loop_of(g, s->full);
        for (int i = 0; i < sums; i++) sum[i] = loop_phi(g, &l, sum[i]);
        rows_step(g, b, s, add(g, mul(g, l.i, SLOTS), j), sum);
        loop_end(g, &l, sum);
    }
    if (!s->rest) return;
    Value next[MOST_SUMS], there = is_below(g, j, word_i64(g, s->rest));
    for (int i = 0; i < sums; i++) next[i] = sum[i];
    rows_step(g, b, s, add(g, j, behind_full(g, s)), next);
    for (int i = 0; i < sums; i++) sum[i] = where(g, there, next[i], sum[i]);
}

static void rows_partial(Gen *g, const Block *b, Value j, Value *sum)
{
    int sums = b->n * b->v;
    for (int i = 0; i < sums; i++) sum[i] = splat_float(g, 0.0f, g->width);
    if (b->grouped) {
        Loop l = loop_of(g, b->groups);
        for (int i = 0; i < sums; i++) sum[i] = loop_phi(g, &l, sum[i]);
        Group s = whole_group(g, b, l.i);
        rows_group(g, b, &s, j, sum);
        loop_end(g, &l, sum);
    }
    if (b->rest) {
        Group s = last_group(g, b);
        rows_group(g, b, &s, j, sum);
    }
}

// Partial j of the level that has `step` partials: p[j] + p[j + step], down to the sixteen themselves; in two passes of
// one piece of code, which keeps the code small. To -0 any number may be added.
static void rows_tree(Gen *g, const Block *b, Value j, int step, Value *sum)
{
    if (step == SLOTS) {
        rows_partial(g, b, j, sum);
        return;
    }
    Value before[MOST_SUMS];
    int sums = b->n * b->v;
    Loop l = loop_begin(g, 2);
    for (int i = 0; i < sums; i++) before[i] = loop_phi(g, &l, splat_float(g, -0.0f, g->width));
    rows_tree(g, b, add(g, j, mul(g, l.i, step)), step * 2, sum);
    for (int i = 0; i < sums; i++) sum[i] = LLVMBuildFAdd(g->b, before[i], sum[i], "");
    loop_end(g, &l, sum);
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
    own.x.base = bytes_at(g, b->x.base, product_of(g, rows.i, few_step(g, g->shape, b->x_space)));
    own.out.base = bytes_at(g, b->out.base, product_of(g, rows.i, few_step(g, g->shape, SPACE_WORK)));
    if (b->lines) own.fetch = add(g, block_bytes(g, b), mul(g, product_of(g, rows.i, b->lines), LINE_BYTES));
    slots_emit(g, &own);
    loop_end(g, &rows, NULL);
}

// All k outputs in blocks of `most` (4 or 8), what is left for T = 1 in smaller powers of two. K itself is a count; the
// code knows k % 8 and whether there are eight.
static void outputs_emit(Gen *g, Block b, uint32_t k, int most)
{
    int rest = (int)k % 8 % most;
    Value full = quotient(g, b.k_all, word_i64(g, most)), at = mul(g, full, most);
    if (k >= 8 || (int)k >= most) {
        Loop l = loop_of(g, full);
        b.n = most;
        b.k = mul(g, l.i, most);
        block_emit(g, &b);
        loop_end(g, &l, NULL);
    }
    for (int n = most / 2; rest; n /= 2) {
        if (rest < n) continue;
        b.n = g->tile == 1 ? n : rest;
        b.k = at;
        block_emit(g, &b);
        at = add(g, at, word_i64(g, b.n));
        rest -= b.n;
    }
}

// How many there are and how wide, from the next arg: of even ones N, else the whole groups, where there are any. The
// code of T = 1 knows the width: its loads are to come without instructions between them.
static void set_groups(Gen *g, Block *b, const GemmStep *s)
{
    b->rest = transposed_even(s) ? 0 : s->n % GEMM_GROUP;
    b->grouped = transposed_even(s) || s->n >= GEMM_GROUP;
    b->width = word_i64(g, GEMM_GROUP);
    if (!transposed_even(s)) {
        b->groups = b->grouped ? count_arg(g, s->n / GEMM_GROUP) : word_i64(g, 0);
        return;
    }
    Value n = count_arg(g, s->n), one = is_below(g, n, b->width);
    b->width = g->tile == 1 ? word_i64(g, least(s->n, GEMM_GROUP)) : where(g, one, n, b->width);
    b->groups = pieces(g, n, word_i64(g, GEMM_GROUP));
}

// The counts behind the lane numbers: tokens of own weights, K, what set_groups reads.
void transposed_emit(Gen *g, const GemmStep *s)
{
    GemmOperands o = gemm_operands(g, s);
    Block b = {.v = 1, .w = o.w};
    b.paired = o.kind == MATRIX_PAIRS;
    b.tiled = b.paired && g->info.tiles;
    b.x_space = s->x_space;
    b.k_all = b.rows = count_arg(g, s->k);
    if (b.paired) b.rows = pairs_of(g, b.k_all);
    set_groups(g, &b, s);
    Value n_all = add(g, product_of(g, b.groups, b.width), word_i64(g, b.rest));
    bool wide = g->info.level == LEVEL_AVX512;
    if (g->tile > 1 && g->tile >= 2 * g->width) b.v = 2;
    int most = wide && b.v == 1 ? 8 : 4;
    if (g->tile == 1 && g->ahead && wide && !b.tiled) b.lines = fetched_lines(g, &b);
    Loop l = loop_of(g, o.tokens);
    b.x = operand_at(g, o.x, product_of(g, l.i, n_all));
    b.out = operand_at(g, o.out, product_of(g, l.i, b.k_all));
    if (s->apart) b.w = operand_at(g, o.w, product_of(g, l.i, product_of(g, n_all, b.rows)));
    Loop rows = rows_begin(g, b.v * g->width);
    b.row = mul(g, rows.i, (int64_t)b.v * g->width);
    outputs_emit(g, b, s->k, most);
    loop_end(g, &rows, NULL);
    loop_end(g, &l, NULL);
}
