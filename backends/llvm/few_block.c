// One block of a product of few rows: R rows x U vectors of outputs, sums in registers.
//
//     out[r][n] = sum over k of x[r][k] * w[k][n]
//
// It goes over one chunk of K, or over all four blocks of a K that the Plan cuts, in chains abreast. A block is a
// function of its own: in one with the loops around it most registers would spill.
#include "few.h"

enum { MOST_SUMS = 16 };

typedef struct {
    Gen *g;
    MatrixKind kind;
    FewShape shape;
    Value what, count;
    Value x[MOST_ROWS], out[MOST_ROWS];
    Value sum[MOST_SUMS]; // chain c of vector i: i * chains + c
} Block;

LLVMTypeRef few_block_type(Gen *g)
{
    LLVMTypeRef list[BLOCK_PARAMS];
    for (int i = 0; i < BLOCK_PARAMS; i++) list[i] = i < BLOCK_W_STEP ? g->ptr : g->i64;
    return LLVMFunctionType(g->none, list, BLOCK_PARAMS, false);
}

int64_t few_weight_bytes(MatrixKind kind) { return kind == MATRIX_SHORT ? 2 : 4; }

bool few_near(const Gen *g) { return !g->ahead && g->info.level == LEVEL_AVX512; }

bool few_two(const Gen *g, MatrixKind kind)
{
    return g->info.level == LEVEL_AVX512 && (few_near(g) || kind != MATRIX_F32);
}

// Near: two rows by many vectors, four by half of them, eight by few; single vectors that are left, and those with
// chains abreast. Else four rows at a time, two where few_two says so, and single vectors.
FewShape few_shape(const Gen *g, MatrixKind kind, int i)
{
    static const FewShape near[FEW_SHAPES] = {{2, 8, 1}, {4, 4, 1}, {8, 2, 1}, {8, 1, 1}, {4, 1, SIDE_BY_SIDE}},
                          wide[] = {{4, 4, 1}, {8, 1, 1}}, narrow[] = {{4, 2, 1}, {4, 1, 1}};
    if (few_near(g) || (i == FEW_PAIR && few_two(g, kind))) return near[i];
    return (g->info.sums >= MOST_SUMS ? wide : narrow)[i >= FEW_SINGLE];
}

static Value is_set(const Block *b, int64_t flag)
{
    Gen *g = b->g;
    Value bit = LLVMBuildAnd(g->b, b->what, word_i64(g, flag), "");
    return differs(g, bit, 0);
}

static int vectors_of(const Block *b) { return b->shape.rows * b->shape.units; }
static int sums_of(const Block *b) { return vectors_of(b) * b->shape.chains; }

static Value row_base(const Block *b, int param, int row, int word)
{
    Gen *g = b->g;
    int64_t entry = (int64_t)(row * ROW_WORDS + word) * 8;
    Value bytes = LLVMBuildLoad2(g->b, g->i64, bytes_at(g, LLVMGetParam(g->fn, BLOCK_ROWS), word_i64(g, entry)), "");
    return bytes_at(g, LLVMGetParam(g->fn, (unsigned)param), bytes);
}

// Where vector i is, of a row that begins at `row`.
static Value place(const Block *b, Value row, int i)
{
    return bytes_at(b->g, row, word_i64(b->g, (int64_t)(i % b->shape.units) * b->g->width * 4));
}

static Value out_place(const Block *b, int i) { return place(b, b->out[i / b->shape.units], i); }

// What waits in `out`, or +0.
static void first_sums(Block *b)
{
    Gen *g = b->g;
    if (b->shape.chains > 1) {
        for (int i = 0; i < sums_of(b); i++) b->sum[i] = splat_float(g, 0.0f, g->width);
        return;
    }
    Value mask = LLVMBuildSExt(g->b, is_set(b, OLD_STARTS), g->i32, "");
    for (int i = 0; i < sums_of(b); i++) {
        Value waiting = load(g, ints(g, g->width), out_place(b, i));
        waiting = LLVMBuildAnd(g->b, waiting, splat(g, mask, g->width), "");
        b->sum[i] = LLVMBuildBitCast(g->b, waiting, floats(g, g->width), "");
    }
}

// As many bytes as an input's weights of this block.
static void fetch_ahead(const Block *b, Value k)
{
    Gen *g = b->g;
    int64_t bytes = b->shape.units * g->width * few_weight_bytes(b->kind);
    Value ahead = bytes_at(g, LLVMGetParam(g->fn, BLOCK_FETCH), mul(g, k, bytes));
    for (int64_t byte = 0; byte < bytes; byte += LINE_BYTES) prefetch(g, ahead, word_i64(g, byte), TO_L1);
}

static void multiply_add(Block *b, Value k, int chain)
{
    Gen *g = b->g;
    Value held[MOST_SUMS];
    WeightType type = b->kind == MATRIX_SHORT ? g->plan->weight_type : WEIGHTS_F32;
    Value step = LLVMGetParam(g->fn, BLOCK_W_STEP);
    Value at = bytes_at(g, LLVMGetParam(g->fn, BLOCK_W), product_of(g, k, step));
    Operand w = {at, word_i64(g, few_weight_bytes(b->kind)), true, type, NULL};
    for (int u = 0; u < b->shape.units; u++)
        held[u] = load_lanes(g, operand_fixed(g, w, (int64_t)u * g->width), g->width);
    if (!few_near(g)) fetch_ahead(b, k);
    for (int i = 0; i < vectors_of(b); i += b->shape.units) {
        Factor x = scalar(g, load(g, g->f32, bytes_at(g, b->x[i / b->shape.units], mul(g, k, 4))));
        for (int u = 0; u < b->shape.units; u++) {
            Value *sum = &b->sum[(i + u) * b->shape.chains + chain];
            *sum = b->kind == MATRIX_PAIRS ? pairs_dot(g, x, whole(held[u]), *sum)
                                           : fma_of(g, spread(g, x), held[u], *sum);
        }
    }
}

// `passes` times `unroll` inputs of so many chains, from k on; there may be none.
static void run_inputs(Block *b, Value k, Value passes, int unroll, int chains)
{
    Gen *g = b->g;
    Loop l = loop_maybe(g, passes);
    for (int i = 0; i < sums_of(b); i++) b->sum[i] = loop_phi(g, &l, b->sum[i]);
    Value first = add(g, k, mul(g, l.i, unroll));
    for (int u = 0; u < unroll; u++) {
        Value at = add(g, first, word_i64(g, u));
        for (int c = 0; c < chains; c++) multiply_add(b, add(g, at, mul(g, b->count, c)), c);
    }
    loop_end(g, &l, b->sum);
}

// Two inputs a pass take 3 % less time where weights come from far; small policies stay small.
static void run_chunk(Block *b)
{
    Gen *g = b->g;
    if (!g->turns || g->info.sums < MOST_SUMS || b->shape.units == 1) {
        run_inputs(b, word_i64(g, 0), b->count, 1, 1);
        return;
    }
    Value passes = LLVMBuildLShr(g->b, b->count, word_i64(g, 1), ""), done = mul(g, passes, 2);
    run_inputs(b, word_i64(g, 0), passes, 2, 1);
    run_inputs(b, done, difference(g, b->count, done), 1, 1);
}

// The last chain may be shorter. They are added in order.
static void run_abreast(Block *b)
{
    Gen *g = b->g;
    int chains = b->shape.chains;
    Value last = LLVMBuildLShr(g->b, b->what, word_i64(g, LAST_SHIFT), "");
    run_inputs(b, word_i64(g, 0), last, 1, chains);
    run_inputs(b, last, difference(g, b->count, last), 1, chains - 1);
    for (int i = 0; i < vectors_of(b); i++) {
        Value total = b->sum[i * chains];
        for (int c = 1; c < chains; c++) total = LLVMBuildFAdd(g->b, total, b->sum[i * chains + c], "");
        b->sum[i] = total;
    }
}

static Value addend(const Block *b, int64_t flag, int i)
{
    Gen *g = b->g;
    if (flag == OLD_ADDS) return out_place(b, i);
    if (flag == BIASED) return place(b, LLVMGetParam(g->fn, BLOCK_BIAS), i);
    return place(b, row_base(b, BLOCK_ADD, i / b->shape.units, ROW_ADD), i);
}

// Sum i with what the flag says of it.
static Value finished(const Block *b, int64_t flag, int i)
{
    Gen *g = b->g;
    if (flag != SCALED) return LLVMBuildFAdd(g->b, b->sum[i], load(g, floats(g, g->width), addend(b, flag, i)), "");
    Value scale = load(g, g->f32, row_base(b, BLOCK_ADD, i / b->shape.units, ROW_ADD));
    Value bias = load(g, floats(g, g->width), addend(b, BIASED, i));
    return fma_of(g, b->sum[i], splat(g, scale, g->width), bias);
}

static void finish_where(Block *b, int64_t flag)
{
    Gen *g = b->g;
    Loop l = loop_where(g, is_set(b, flag));
    for (int i = 0; i < vectors_of(b); i++) b->sum[i] = loop_phi(g, &l, b->sum[i]);
    for (int i = 0; i < vectors_of(b); i++) b->sum[i] = finished(b, flag, i);
    loop_end(g, &l, b->sum);
}

void few_block_emit(Gen *g, MatrixKind kind, FewShape shape)
{
    Block b = {.g = g, .kind = kind, .shape = shape, .what = LLVMGetParam(g->fn, BLOCK_WHAT)};
    b.count = LLVMBuildAnd(g->b, b.what, word_i64(g, COUNT_MASK), "");
    for (int r = 0; r < shape.rows; r++) {
        b.out[r] = row_base(&b, BLOCK_OUT, r, ROW_OUT);
        b.x[r] = row_base(&b, BLOCK_X, r, ROW_X);
    }
    first_sums(&b);
    if (shape.chains > 1)
        run_abreast(&b);
    else
        run_chunk(&b);
    finish_where(&b, OLD_ADDS);
    finish_where(&b, ADDS);
    finish_where(&b, BIASED);
    finish_where(&b, SCALED);
    for (int i = 0; i < vectors_of(&b); i++) store(g, b.sum[i], out_place(&b, i));
}
