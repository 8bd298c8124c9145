// Products of few rows of one token: one function for all of them, which reads each weight once for up to eight rows.
// Rows lie apart in memory (abi.h), so a row's inputs and outputs are contiguous, as they are for one row alone.
//
//     out[r][n] = sum over k of x[r][k] * w[k][n]    a block: R rows x U vectors of outputs, sums in registers
//
// K is cut into chunks, and all outputs of a group take a chunk before they take the next: the chunk's weights (16 KiB)
// come from memory once, in order. What blocks fetch follows the weights as they lie, not a block's columns: 16 KiB
// ahead, as many lines as the block reads (columns of 256 bytes came at half the speed). Between chunks the sums wait in
// `out`; each is one chain in the order of k all the same. Where the Plan cuts K, its blocks are the chunks: chains
// from +0, added to `out`. Blocks are functions of their own: in one with the loops around them most registers would
// spill.
#include "llvm.h"

enum { CHUNK = 32, UNROLL = 2, AHEAD = 1 << 14, LINE = 64, MOST_ROWS = 8, MOST_SUMS = 16 };

static int64_t weight_bytes(MatrixKind kind) { return kind == MATRIX_SHORT ? 2 : 4; }

static Value least_of(Gen *g, Value a, Value b)
{
    return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntULT, a, b, ""), a, b, "");
}

static Value product_of(Gen *g, Value a, Value b) { return LLVMBuildMul(g->b, a, b, ""); }
static Value difference(Gen *g, Value a, Value b) { return LLVMBuildSub(g->b, a, b, ""); }
static Value equal(Gen *g, Value a, int64_t b) { return LLVMBuildICmp(g->b, LLVMIntEQ, a, word_i64(g, b), ""); }

static Value pieces(Gen *g, Value n, Value piece)
{
    return LLVMBuildUDiv(g->b, add(g, n, add(g, piece, word_i64(g, -1))), piece, "");
}

// ---- one block
// Its function: addresses of the first row's first output, of its input and weight, of what it has to fetch; where each
// row is (a table: bytes from the first row in `out` and in x); bytes from weight to weight of the next input; inputs
// and what becomes of `out`.
enum { BLOCK_OUT, BLOCK_X, BLOCK_W, BLOCK_FETCH, BLOCK_ROWS, BLOCK_W_STEP, BLOCK_WHAT, BLOCK_PARAMS };
enum { OLD_STARTS = 1 << 29, OLD_ADDS = 1 << 30 }; // sums go on from what waits in `out`; it is added to them
enum { TABLE_ENTRY = 16 };

typedef struct {
    Gen *g;
    MatrixKind kind;
    FewShape shape;
    Value what;
    Value x[MOST_ROWS], out[MOST_ROWS], sum[MOST_SUMS];
} Block;

static LLVMTypeRef type_of(Gen *g, int pointers, int params)
{
    LLVMTypeRef list[16];
    for (int i = 0; i < params; i++) list[i] = i < pointers ? g->ptr : g->i64;
    return LLVMFunctionType(g->none, list, (unsigned)params, false);
}

LLVMTypeRef few_block_type(Gen *g) { return type_of(g, BLOCK_W_STEP, BLOCK_PARAMS); }

static Value is_set(const Block *b, int64_t flag)
{
    Gen *g = b->g;
    Value bit = LLVMBuildAnd(g->b, b->what, word_i64(g, flag), "");
    return LLVMBuildICmp(g->b, LLVMIntNE, bit, word_i64(g, 0), "");
}

static int sums_of(const Block *b) { return b->shape.rows * b->shape.units; }

// Where sum i belongs.
static Value place(const Block *b, int i)
{
    Gen *g = b->g;
    return bytes_at(g, b->out[i / b->shape.units], word_i64(g, (int64_t)(i % b->shape.units) * g->width * 4));
}

static void set_rows(Block *b)
{
    Gen *g = b->g;
    for (int r = 0; r < b->shape.rows; r++) {
        Value entry = bytes_at(g, LLVMGetParam(g->fn, BLOCK_ROWS), word_i64(g, r * TABLE_ENTRY));
        Value out = LLVMBuildLoad2(g->b, g->i64, entry, "");
        Value x = LLVMBuildLoad2(g->b, g->i64, bytes_at(g, entry, word_i64(g, TABLE_ENTRY / 2)), "");
        b->out[r] = bytes_at(g, LLVMGetParam(g->fn, BLOCK_OUT), out);
        b->x[r] = bytes_at(g, LLVMGetParam(g->fn, BLOCK_X), x);
    }
}

// What waits in `out`, or +0.
static void first_sums(Block *b)
{
    Gen *g = b->g;
    Value mask = LLVMBuildSExt(g->b, is_set(b, OLD_STARTS), g->i32, "");
    for (int i = 0; i < sums_of(b); i++) {
        Value waiting = load(g, ints(g, g->width), place(b, i));
        waiting = LLVMBuildAnd(g->b, waiting, splat(g, mask, g->width), "");
        b->sum[i] = LLVMBuildBitCast(g->b, waiting, floats(g, g->width), "");
    }
}

static void fetch_ahead(const Block *b, Value k)
{
    Gen *g = b->g;
    int64_t bytes = b->shape.units * g->width * weight_bytes(b->kind);
    Value ahead = bytes_at(g, LLVMGetParam(g->fn, BLOCK_FETCH), mul(g, k, bytes));
    for (int64_t byte = 0; byte < bytes; byte += LINE) {
        Value args[] = {bytes_at(g, ahead, word_i64(g, byte)), word_i32(g, 0), word_i32(g, 3), word_i32(g, 1)};
        call(g, "llvm.prefetch", g->ptr, args, 4);
    }
}

static void run_input(Block *b, Value k)
{
    Gen *g = b->g;
    Value held[MOST_SUMS];
    WeightType type = b->kind == MATRIX_SHORT ? g->plan->weight_type : WEIGHTS_F32;
    Value at = bytes_at(g, LLVMGetParam(g->fn, BLOCK_W), product_of(g, k, LLVMGetParam(g->fn, BLOCK_W_STEP)));
    Operand w = {at, word_i64(g, weight_bytes(b->kind)), true, type, NULL};
    for (int u = 0; u < b->shape.units; u++)
        held[u] = load_lanes(g, operand_fixed(g, w, (int64_t)u * g->width), g->width);
    fetch_ahead(b, k);
    for (int r = 0; r < b->shape.rows; r++) {
        Value input = splat(g, load(g, g->f32, bytes_at(g, b->x[r], mul(g, k, 4))), g->width);
        for (int u = 0; u < b->shape.units; u++) {
            Value *sum = &b->sum[r * b->shape.units + u];
            *sum = b->kind == MATRIX_PAIRS ? pairs_dot(g, input, held[u], *sum) : fma_of(g, input, held[u], *sum);
        }
    }
}

// `passes` times `unroll` inputs from k on; there may be none.
static void run_inputs(Block *b, Value k, Value passes, int unroll)
{
    Gen *g = b->g;
    Loop l = loop_maybe(g, passes);
    for (int i = 0; i < sums_of(b); i++) b->sum[i] = loop_phi(g, &l, b->sum[i]);
    Value first = add(g, k, mul(g, l.i, unroll));
    for (int u = 0; u < unroll; u++) run_input(b, add(g, first, word_i64(g, u)));
    loop_end(g, &l, b->sum);
}

static void run_chunk(Block *b)
{
    Gen *g = b->g;
    Value count = LLVMBuildAnd(g->b, b->what, word_i64(g, OLD_STARTS - 1), "");
    Value passes = LLVMBuildUDiv(g->b, count, word_i64(g, UNROLL), ""), done = mul(g, passes, UNROLL);
    run_inputs(b, word_i64(g, 0), passes, UNROLL);
    run_inputs(b, done, difference(g, count, done), 1);
}

static void add_old(Block *b)
{
    Gen *g = b->g;
    Loop l = loop_maybe(g, LLVMBuildZExt(g->b, is_set(b, OLD_ADDS), g->i64, ""));
    for (int i = 0; i < sums_of(b); i++) b->sum[i] = loop_phi(g, &l, b->sum[i]);
    for (int i = 0; i < sums_of(b); i++)
        b->sum[i] = LLVMBuildFAdd(g->b, load(g, floats(g, g->width), place(b, i)), b->sum[i], "");
    loop_end(g, &l, b->sum);
}

void few_block_emit(Gen *g, MatrixKind kind, FewShape shape)
{
    Block b = {.g = g, .kind = kind, .shape = shape, .what = LLVMGetParam(g->fn, BLOCK_WHAT)};
    set_rows(&b);
    first_sums(&b);
    run_chunk(&b);
    add_old(&b);
    for (int i = 0; i < sums_of(&b); i++) store(g, b.sum[i], place(&b, i));
}

// ---- the function: blocks of all outputs
// Its parameters and what follows from them. Steps are bytes from row to row.
enum {
    PARAM_OUT,
    PARAM_X,
    PARAM_W,
    PARAM_ADD,
    PARAM_BIAS,
    PARAM_SHAPE,
    PARAM_K,
    PARAM_KB,
    PARAM_N,
    PARAM_SPACES,
    PARAMS
};

typedef struct {
    Gen *g;
    MatrixKind kind;
    Value out, x, w; // of row 0
    Value x_step, out_step, rows, k, n;
    Value cut, chunk;                     // K is cut (i1); inputs of a chunk
    Value table;                          // of all rows
    Value block, block_rows, block_units; // the blocks used where there are outputs enough
} Few;

// A group of outputs and a chunk of K: addresses of the first output, input and weight.
typedef struct {
    Value out, x, w, w_step;
    Value count, old; // inputs; OLD_*
} Chunk;

LLVMTypeRef few_type(Gen *g) { return type_of(g, PARAM_SHAPE, PARAMS); }

// Four rows by many vectors or eight by few (AVX2: four rows, always), and single vectors that are left.
FewShape few_shape(const Gen *g, int i)
{
    static const FewShape wide[FEW_SHAPES] = {{4, 4}, {8, 2}, {8, 1}}, narrow[FEW_SHAPES] = {{4, 2}, {4, 2}, {4, 1}};
    return g->info.sums >= MOST_SUMS ? wide[i] : narrow[i];
}

static void set_blocks(Few *f)
{
    Gen *g = f->g;
    FewShape few = few_shape(g, 0), many = few_shape(g, 1);
    Value is_few = LLVMBuildICmp(g->b, LLVMIntULE, f->rows, word_i64(g, few.rows), "");
    f->block = LLVMBuildSelect(g->b, is_few, g->few_block[f->kind][0], g->few_block[f->kind][1], "");
    f->block_rows = LLVMBuildSelect(g->b, is_few, word_i64(g, few.rows), word_i64(g, many.rows), "");
    f->block_units = LLVMBuildSelect(g->b, is_few, word_i64(g, few.units), word_i64(g, many.units), "");
}

// Where each row is. Up to a multiple of eight, rows that are not there are the last one once more.
static Value table_emit(const Few *f)
{
    Gen *g = f->g;
    Value table = LLVMBuildAlloca(g->b, LLVMArrayType2(g->i64, (FEW_ROWS + MOST_ROWS) * TABLE_ENTRY / 8), "");
    Loop l = loop_of(g, mul(g, pieces(g, f->rows, word_i64(g, MOST_ROWS)), MOST_ROWS));
    Value row = least_of(g, l.i, add(g, f->rows, word_i64(g, -1)));
    Value entry = bytes_at(g, table, mul(g, l.i, TABLE_ENTRY));
    LLVMBuildStore(g->b, product_of(g, row, f->out_step), entry);
    LLVMBuildStore(g->b, product_of(g, row, f->x_step), bytes_at(g, entry, word_i64(g, TABLE_ENTRY / 2)));
    loop_end(g, &l, NULL);
    return table;
}

// All rows of the vectors of outputs from `unit` on: block_rows at a time.
static void rows_emit(const Few *f, const Chunk *c, Value unit, Value block, Value block_rows)
{
    Gen *g = f->g;
    Value lane = mul(g, unit, g->width);
    Value args[BLOCK_PARAMS] = {bytes_at(g, c->out, mul(g, lane, 4)), c->x};
    Value column = mul(g, lane, weight_bytes(f->kind));
    args[BLOCK_W] = bytes_at(g, c->w, column);
    args[BLOCK_FETCH] = bytes_at(g, c->w, add(g, product_of(g, column, c->count), word_i64(g, AHEAD)));
    args[BLOCK_W_STEP] = c->w_step;
    args[BLOCK_WHAT] = LLVMBuildOr(g->b, c->count, c->old, "");
    Loop l = loop_of(g, pieces(g, f->rows, block_rows));
    args[BLOCK_ROWS] = bytes_at(g, f->table, mul(g, product_of(g, l.i, block_rows), TABLE_ENTRY));
    LLVMBuildCall2(g->b, few_block_type(g), block, args, BLOCK_PARAMS, "");
    loop_end(g, &l, NULL);
}

// All vectors of outputs: full blocks, then single vectors.
static void chunk_emit(const Few *f, const Chunk *c, Value units)
{
    Gen *g = f->g;
    Value full = LLVMBuildUDiv(g->b, units, f->block_units, ""), done = product_of(g, full, f->block_units);
    Loop l = loop_of(g, add(g, full, difference(g, units, done)));
    Value is_full = LLVMBuildICmp(g->b, LLVMIntULT, l.i, full, "");
    Value single = add(g, done, difference(g, l.i, full));
    Value unit = LLVMBuildSelect(g->b, is_full, product_of(g, l.i, f->block_units), single, "");
    Value block = LLVMBuildSelect(g->b, is_full, f->block, g->few_block[f->kind][FEW_SHAPES - 1], "");
    Value rows = word_i64(g, few_shape(g, FEW_SHAPES - 1).rows);
    rows_emit(f, c, unit, block, LLVMBuildSelect(g->b, is_full, f->block_rows, rows, ""));
    loop_end(g, &l, NULL);
}

static void group_emit(const Few *f, Value first, Value chunks)
{
    Gen *g = f->g;
    int64_t bytes = weight_bytes(f->kind);
    Value width = least_of(g, difference(g, f->n, first), word_i64(g, GEMM_GROUP));
    Loop l = loop_of(g, chunks);
    Value k = product_of(g, l.i, f->chunk);
    Value old = LLVMBuildSelect(g->b, f->cut, word_i64(g, OLD_ADDS), word_i64(g, OLD_STARTS), "");
    Chunk c = {.w_step = mul(g, width, bytes), .count = least_of(g, difference(g, f->k, k), f->chunk)};
    c.old = LLVMBuildSelect(g->b, equal(g, k, 0), word_i64(g, 0), old, "");
    c.x = bytes_at(g, f->x, mul(g, k, 4));
    c.w = bytes_at(g, f->w, mul(g, add(g, product_of(g, first, f->k), product_of(g, k, width)), bytes));
    c.out = bytes_at(g, f->out, mul(g, first, 4));
    chunk_emit(f, &c, pieces(g, width, word_i64(g, g->width)));
    loop_end(g, &l, NULL);
}

// out += other where that is not null.
static void add_to_out(const Few *f, Value other, Value step)
{
    Gen *g = f->g;
    Value is_null = LLVMBuildICmp(g->b, LLVMIntEQ, other, LLVMConstNull(g->ptr), "");
    Loop rows = loop_maybe(g, LLVMBuildSelect(g->b, is_null, word_i64(g, 0), f->rows, ""));
    Loop l = loop_of(g, pieces(g, f->n, word_i64(g, g->width)));
    Value at = mul(g, l.i, 4 * g->width);
    Value to = bytes_at(g, bytes_at(g, f->out, product_of(g, rows.i, f->out_step)), at);
    Value from = bytes_at(g, bytes_at(g, other, product_of(g, rows.i, step)), at);
    store(g, LLVMBuildFAdd(g->b, load(g, floats(g, g->width), to), load(g, floats(g, g->width), from), ""), to);
    loop_end(g, &l, NULL);
    loop_end(g, &rows, NULL);
}

// Bytes from row to row of the space whose number stands in two bits of PARAM_SPACES.
static Value step_of(Gen *g, Value shape, int bit)
{
    Value spaces = LLVMBuildLShr(g->b, LLVMGetParam(g->fn, PARAM_SPACES), word_i64(g, bit), "");
    Value space = LLVMBuildAnd(g->b, spaces, word_i64(g, 3), "");
    Value step = LLVMBuildSelect(g->b, equal(g, space, SPACE_WORK), few_step(g, shape, SPACE_WORK),
                                 few_step(g, shape, SPACE_PREP), "");
    return LLVMBuildSelect(g->b, equal(g, space, SPACE_CONST), word_i64(g, 0), step, "");
}

void few_emit(Gen *g, MatrixKind kind)
{
    Value shape = LLVMGetParam(g->fn, PARAM_SHAPE), kb = LLVMGetParam(g->fn, PARAM_KB);
    Few f = {.g = g, .kind = kind, .x = LLVMGetParam(g->fn, PARAM_X), .w = LLVMGetParam(g->fn, PARAM_W)};
    f.out = LLVMGetParam(g->fn, PARAM_OUT);
    f.k = LLVMGetParam(g->fn, PARAM_K);
    f.n = LLVMGetParam(g->fn, PARAM_N);
    f.rows = few_rows(g, shape);
    f.out_step = few_step(g, shape, SPACE_WORK);
    f.x_step = step_of(g, shape, 0);
    f.cut = LLVMBuildICmp(g->b, LLVMIntULT, kb, f.k, "");
    f.chunk = LLVMBuildSelect(g->b, f.cut, kb, word_i64(g, CHUNK), "");
    f.table = table_emit(&f);
    set_blocks(&f);
    Value chunks = pieces(g, f.k, f.chunk);
    Loop l = loop_of(g, pieces(g, f.n, word_i64(g, GEMM_GROUP)));
    group_emit(&f, mul(g, l.i, GEMM_GROUP), chunks);
    loop_end(g, &l, NULL);
    add_to_out(&f, LLVMGetParam(g->fn, PARAM_ADD), step_of(g, shape, 2));
    add_to_out(&f, LLVMGetParam(g->fn, PARAM_BIAS), word_i64(g, 0));
}

// m = 1: the stride of `out` is n.
void few_call(Gen *g, const Product *p, MatrixKind kind, uint32_t x_space, Value add_space)
{
    Value none = LLVMConstNull(g->ptr);
    Value args[PARAMS] = {p->out.base, p->x.base, p->w.base, p->has_add ? p->add.base : none};
    args[PARAM_BIAS] = p->has_bias ? p->bias.base : none;
    args[PARAM_SHAPE] = g->shape;
    args[PARAM_K] = p->k;
    args[PARAM_KB] = p->kb;
    args[PARAM_N] = p->out_stride;
    args[PARAM_SPACES] = add(g, mul(g, add_space, 4), word_i64(g, x_space));
    LLVMBuildCall2(g->b, few_type(g), g->few[kind], args, PARAMS, "");
}
