// Products of few rows of one token: one function for all of them, for which each weight comes from memory once.
// Rows lie apart in memory (abi.h), so a row's inputs and outputs are contiguous, as they are for one row alone.
//
//     out[r][n] = sum over k of x[r][k] * w[k][n]    by blocks of rows x vectors of outputs (few_block.c)
//
// Where weights do not fit a core's own cache, K is cut into chunks, and all outputs of a group take a chunk before
// they take the next: the chunk's weights (8 KiB) come from memory once, in order. What blocks fetch follows the
// weights as they lie, not a block's columns: 16 KiB ahead, as many lines as the block reads (columns of 256 bytes came
// at half the speed). Between chunks the sums wait in `out`; each is one chain in the order of k all the same. Where
// the Plan cuts K, its blocks are the chunks: chains from +0, added to `out`.
//
// Where they do (few_near): all of K is one chunk, and nothing is fetched; two rows have wider blocks of their own
// (few_two), and of a K that is cut the few outputs that fill no block take the chunks abreast.
#include "few.h"

enum { AHEAD = 1 << 14 };

static Value never(Gen *g) { return LLVMConstInt(LLVMInt1TypeInContext(g->llvm), 0, false); }

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

enum { SCALED_ADD = 16 }; // in PARAM_SPACES, above the two spaces: PARAM_ADD is a scale

// A block: its function and size, and how often it goes for all rows.
typedef struct {
    Value fn, units, rows, passes;
} Blocks;

typedef struct {
    Gen *g;
    MatrixKind kind;
    Value out, x, w, add, bias; // of row 0
    Value rows, k, n;
    Value cut, chunk;  // K is cut (i1); inputs of a chunk
    Value is_abreast;  // (i1) single vectors take the chunks abreast
    Value behind;      // ADDS and BIASED, or SCALED
    Value add_step;    // bytes of BLOCK_ADD from output to output: 4, or 0 where it is a scale
    Value table;       // of all rows
    Blocks pair, wide; // two rows by many vectors, where these divide a group's; up to eight rows
} Few;

// Inputs of a group of outputs: the addresses of the first output, input, weight, addend and bias.
typedef struct {
    Value out, x, w, add, bias, w_step;
    Value count, what; // inputs; all of BLOCK_WHAT
} Chunk;

LLVMTypeRef few_type(Gen *g)
{
    LLVMTypeRef list[PARAMS];
    for (int i = 0; i < PARAMS; i++) list[i] = i < PARAM_SHAPE ? g->ptr : g->i64;
    return LLVMFunctionType(g->none, list, PARAMS, false);
}

static Blocks blocks_new(const Few *f, int shape)
{
    Gen *g = f->g;
    FewShape s = few_shape(g, f->kind, shape);
    Value rows = word_i64(g, s.rows);
    return (Blocks){g->few_block[f->kind][shape], word_i64(g, s.units), rows, pieces(g, f->rows, rows)};
}

static Blocks blocks_where(Gen *g, Value condition, Blocks a, Blocks b)
{
    return (Blocks){where(g, condition, a.fn, b.fn), where(g, condition, a.units, b.units),
                    where(g, condition, a.rows, b.rows), where(g, condition, a.passes, b.passes)};
}

static void set_blocks(Few *f)
{
    Gen *g = f->g;
    Value up_to_four = LLVMBuildICmp(g->b, LLVMIntULE, f->rows, word_i64(g, few_shape(g, f->kind, FEW_FOUR).rows), "");
    f->pair = blocks_new(f, FEW_PAIR);
    f->wide = blocks_where(g, up_to_four, blocks_new(f, FEW_FOUR), blocks_new(f, FEW_EIGHT));
}

// Bytes from row to row of the space whose number stands in two bits of PARAM_SPACES: x's, then add's; above, scaled.
static Value step_of(Gen *g, Value shape, int bit)
{
    Value spaces = LLVMBuildLShr(g->b, LLVMGetParam(g->fn, PARAM_SPACES), word_i64(g, bit), "");
    return few_step_of(g, shape, LLVMBuildAnd(g->b, spaces, word_i64(g, 3), ""));
}

// Where each row is. Up to a multiple of eight, rows that are not there are the last one once more.
static Value table_emit(const Few *f, Value shape)
{
    Gen *g = f->g;
    Value step[] = {
        [ROW_OUT] = few_step(g, shape, SPACE_WORK), [ROW_X] = step_of(g, shape, 0), [ROW_ADD] = step_of(g, shape, 2)};
    Value table = LLVMBuildAlloca(g->b, LLVMArrayType2(g->i64, (rows_of_one(&g->info) + MOST_ROWS) * ROW_WORDS), "");
    Loop l = loop_of(g, mul(g, pieces(g, f->rows, word_i64(g, MOST_ROWS)), MOST_ROWS));
    Value row = least_word(g, l.i, add(g, f->rows, word_i64(g, -1)));
    for (int i = ROW_OUT; i <= ROW_ADD; i++) {
        Value at = add(g, mul(g, l.i, 8 * ROW_WORDS), word_i64(g, 8 * i));
        LLVMBuildStore(g->b, product_of(g, row, step[i]), bytes_at(g, table, at));
    }
    loop_end(g, &l, NULL);
    return table;
}

// Of many passes over a block's weights each fetches its part of what comes later: all at once is more than a CPU asks
// memory for at a time, and what it waits for then it does not multiply.
static void fetch_part(Gen *g, Value ahead, Value lines, Value pass)
{
    Loop l = loop_maybe(g, lines);
    Value line = add(g, product_of(g, pass, lines), l.i);
    prefetch(g, ahead, mul(g, line, LINE_BYTES), TO_L2);
    loop_end(g, &l, NULL);
}

// All rows of the vectors of outputs from `unit` on.
static void rows_emit(const Few *f, const Chunk *c, Value unit, const Blocks *b)
{
    Gen *g = f->g;
    Value lane = mul(g, unit, g->width), bytes = mul(g, lane, 4), column = mul(g, lane, few_weight_bytes(f->kind));
    Value args[BLOCK_PARAMS] = {bytes_at(g, c->out, bytes), c->x, bytes_at(g, c->w, column)};
    Value ahead = bytes_at(g, c->w, add(g, product_of(g, column, c->count), word_i64(g, AHEAD))), lines = NULL;
    args[BLOCK_FETCH] = ahead;
    if (g->gathers_tokens) {
        Value spread = exceeds(g, b->passes, 2);
        Value own = mul(g, product_of(g, b->units, c->count), g->width * few_weight_bytes(f->kind));
        Value all = quotient(g, own, word_i64(g, LINE_BYTES));
        lines = where(g, spread, pieces(g, all, b->passes), word_i64(g, 0));
        args[BLOCK_FETCH] = where(g, spread, args[BLOCK_W], ahead);
    }
    args[BLOCK_ADD] = bytes_at(g, c->add, product_of(g, lane, f->add_step));
    args[BLOCK_BIAS] = bytes_at(g, c->bias, bytes);
    args[BLOCK_W_STEP] = c->w_step;
    args[BLOCK_WHAT] = c->what;
    Loop l = loop_of(g, b->passes);
    args[BLOCK_ROWS] = bytes_at(g, f->table, mul(g, product_of(g, l.i, b->rows), 8 * ROW_WORDS));
    if (lines) fetch_part(g, ahead, lines, l.i);
    LLVMBuildCall2(g->b, few_block_type(g), b->fn, args, BLOCK_PARAMS, "");
    loop_end(g, &l, NULL);
}

// Vectors of outputs: `full` blocks, then single ones.
static void chunk_emit(const Few *f, const Chunk *c, const Blocks *wide, Value full, Value singles)
{
    Gen *g = f->g;
    Blocks single = blocks_new(f, FEW_SINGLE);
    Loop l = loop_maybe(g, add(g, full, singles));
    Value is_full = is_below(g, l.i, full);
    Value behind = add(g, product_of(g, full, wide->units), difference(g, l.i, full));
    Blocks blocks = blocks_where(g, is_full, *wide, single);
    rows_emit(f, c, where(g, is_full, product_of(g, l.i, wide->units), behind), &blocks);
    loop_end(g, &l, NULL);
}

// The vectors from `unit` on, all of K at once.
static void abreast_emit(const Few *f, Chunk c, Value unit, Value n)
{
    Gen *g = f->g;
    Blocks abreast = blocks_new(f, FEW_ABREAST);
    Value last = difference(g, f->k, mul(g, f->chunk, SIDE_BY_SIDE - 1));
    c.count = f->chunk;
    c.what = LLVMBuildOr(g->b, LLVMBuildOr(g->b, c.count, f->behind, ""),
                         LLVMBuildShl(g->b, last, word_i64(g, LAST_SHIFT), ""), "");
    Loop l = loop_maybe(g, n);
    rows_emit(f, &c, add(g, unit, l.i), &abreast);
    loop_end(g, &l, NULL);
}

// The chunk of a group that begins at input k.
static Chunk chunk_at(const Few *f, const Chunk *group, Value k)
{
    Gen *g = f->g;
    Chunk c = *group;
    Value left = difference(g, f->k, k), old = where(g, f->cut, word_i64(g, OLD_ADDS), word_i64(g, OLD_STARTS));
    Value is_last = LLVMBuildICmp(g->b, LLVMIntULE, left, f->chunk, "");
    c.count = least_word(g, left, f->chunk);
    c.what = LLVMBuildOr(g->b, c.count, where(g, equal(g, k, 0), word_i64(g, 0), old), "");
    c.what = LLVMBuildOr(g->b, c.what, where(g, is_last, f->behind, word_i64(g, 0)), "");
    c.x = bytes_at(g, c.x, mul(g, k, 4));
    c.w = bytes_at(g, c.w, product_of(g, k, c.w_step));
    return c;
}

// (i1) Blocks of two rows take all of a group.
static Value pairs_divide(const Few *f, Value units)
{
    Gen *g = f->g;
    if (!few_two(g, f->kind)) return never(g);
    Value are_two = LLVMBuildICmp(g->b, LLVMIntULE, f->rows, f->pair.rows, "");
    return LLVMBuildAnd(g->b, are_two, equal(g, LLVMBuildURem(g->b, units, f->pair.units, ""), 0), "");
}

static void group_emit(const Few *f, Value first)
{
    Gen *g = f->g;
    Value width = least_word(g, difference(g, f->n, first), word_i64(g, GEMM_GROUP)), lane = mul(g, first, 4);
    Chunk group = {.out = bytes_at(g, f->out, lane), .x = f->x};
    group.w = bytes_at(g, f->w, mul(g, product_of(g, first, f->k), few_weight_bytes(f->kind)));
    group.add = bytes_at(g, f->add, product_of(g, first, f->add_step));
    group.bias = bytes_at(g, f->bias, lane);
    group.w_step = mul(g, width, few_weight_bytes(f->kind));
    Value units = pieces(g, width, word_i64(g, g->width));
    Value is_pair = pairs_divide(f, units);
    Blocks wide = blocks_where(g, is_pair, f->pair, f->wide);
    Value full = quotient(g, units, wide.units), done = product_of(g, full, wide.units);
    Value rest = difference(g, units, done), none = word_i64(g, 0);
    Loop l = loop_of(g, pieces(g, f->k, f->chunk));
    Chunk c = chunk_at(f, &group, product_of(g, l.i, f->chunk));
    chunk_emit(f, &c, &wide, full, where(g, f->is_abreast, none, rest));
    loop_end(g, &l, NULL);
    abreast_emit(f, group, done, where(g, f->is_abreast, rest, none));
}

// 8 KiB of a group, which with what is fetched stay in L1. Where blocks are narrower (not AVX-512) or inputs are used
// up sooner (pairs), calls of blocks cost more than that brings.
static int64_t chunk_inputs(const Few *f)
{
    return f->kind == MATRIX_F32 && f->g->info.level == LEVEL_AVX512 ? 16 : 32;
}

static Value chunks_abreast(const Few *f)
{
    Gen *g = f->g;
    if (!few_near(g)) return never(g);
    return LLVMBuildAnd(g->b, f->cut, equal(g, pieces(g, f->k, f->chunk), SIDE_BY_SIDE), "");
}

void few_emit(Gen *g, MatrixKind kind)
{
    Value shape = LLVMGetParam(g->fn, PARAM_SHAPE), kb = LLVMGetParam(g->fn, PARAM_KB), none = word_i64(g, 0);
    Few f = {.g = g, .kind = kind, .x = LLVMGetParam(g->fn, PARAM_X), .w = LLVMGetParam(g->fn, PARAM_W)};
    f.out = LLVMGetParam(g->fn, PARAM_OUT);
    f.add = LLVMGetParam(g->fn, PARAM_ADD);
    f.bias = LLVMGetParam(g->fn, PARAM_BIAS);
    f.k = LLVMGetParam(g->fn, PARAM_K);
    f.n = LLVMGetParam(g->fn, PARAM_N);
    f.rows = few_rows(g, shape);
    f.cut = is_below(g, kb, f.k);
    f.chunk = where(g, f.cut, kb, few_near(g) ? f.k : word_i64(g, chunk_inputs(&f)));
    f.is_abreast = chunks_abreast(&f);
    Value added = LLVMBuildOr(g->b, where(g, is_null(g, f.add), none, word_i64(g, ADDS)),
                              where(g, is_null(g, f.bias), none, word_i64(g, BIASED)), "");
    Value scaled = LLVMBuildICmp(g->b, LLVMIntUGE, LLVMGetParam(g->fn, PARAM_SPACES), word_i64(g, SCALED_ADD), "");
    f.behind = where(g, scaled, word_i64(g, SCALED), added);
    f.add_step = where(g, scaled, none, word_i64(g, 4));
    f.table = table_emit(&f, shape);
    set_blocks(&f);
    Loop l = loop_of(g, pieces(g, f.n, word_i64(g, GEMM_GROUP)));
    group_emit(&f, mul(g, l.i, GEMM_GROUP));
    loop_end(g, &l, NULL);
}

// m = 1: the stride of `out` is n.
void few_call(Gen *g, const Product *p, MatrixKind kind, Value shape, uint32_t x_space, Value add_space)
{
    Value none = LLVMConstNull(g->ptr), scaled = word_i64(g, p->scaled ? SCALED_ADD : 0);
    Value args[PARAMS] = {p->out.base, p->x.base, p->w.base, p->has_add || p->scaled ? p->add.base : none};
    args[PARAM_BIAS] = p->has_bias ? p->bias.base : none;
    if (p->parts) {
        Value both = equal(g, p->parts, 2);
        scaled = where(g, both, scaled, word_i64(g, 0));
        args[PARAM_ADD] = where(g, both, p->add.base, none);
        args[PARAM_BIAS] = where(g, equal(g, p->parts, 0), none, p->bias.base);
    }
    args[PARAM_SHAPE] = shape;
    args[PARAM_K] = p->k;
    args[PARAM_KB] = p->kb;
    args[PARAM_N] = p->out_stride;
    args[PARAM_SPACES] = add(g, add(g, mul(g, add_space, 4), word_i64(g, x_space)), scaled);
    LLVMBuildCall2(g->b, few_type(g), g->few[kind], args, PARAMS, "");
}
