// Products of few rows of one token: one function for all of them, which reads each weight once for up to eight rows.
// Rows lie apart in memory (abi.h), so a row's inputs and outputs are contiguous, as they are for one row alone.
//
//     out[r][n] = sum over k of x[r][k] * w[k][n]    a block: R rows x U vectors of outputs, sums in registers
//
// K is cut into chunks, and all outputs of a group take a chunk before they take the next: the chunk's weights (16 KiB)
// come from memory once, in order, each block fetching its own columns one chunk ahead. Between chunks the sums wait in
// `out`; each is one chain in the order of k all the same. Where the Plan cuts K, its blocks are the chunks: chains
// from +0, added to `out`.
#include "llvm.h"

enum { CHUNK = 32, LINE = 64, MOST_ROWS = 8, MOST_SUMS = 16 };

typedef struct {
    int rows, units;
} Shape;

// The function's parameters and what follows from them. Steps are bytes from row to row.
typedef struct {
    Gen *g;
    MatrixKind kind;
    Value x, w, out, add, bias; // of row 0; add and bias may be null
    Value x_step, out_step, add_step;
    Value rows, k, n;
    Value cut, chunk; // K is cut (i1); inputs of a chunk
} Few;

// A group of outputs and a chunk of K; in a block also its columns.
typedef struct {
    Value x, w, out; // the first input's, its weight's, the first output's address
    Value w_step;    // bytes from k to k
    Value first;     // the chunk is the first one (i1)
    Value count;     // its inputs
} Place;

static Value least_of(Gen *g, Value a, Value b)
{
    return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntULT, a, b, ""), a, b, "");
}

static Value product_of(Gen *g, Value a, Value b) { return LLVMBuildMul(g->b, a, b, ""); }
static Value difference(Gen *g, Value a, Value b) { return LLVMBuildSub(g->b, a, b, ""); }
static Value equal(Gen *g, Value a, int64_t b) { return LLVMBuildICmp(g->b, LLVMIntEQ, a, word_i64(g, b), ""); }
static Value count_if(Gen *g, Value condition, Value count)
{
    return LLVMBuildSelect(g->b, condition, count, word_i64(g, 0), "");
}

static Value pieces(Gen *g, Value n, Value piece)
{
    return LLVMBuildUDiv(g->b, add(g, n, add(g, piece, word_i64(g, -1))), piece, "");
}

static int64_t weight_bytes(const Few *f) { return f->kind == MATRIX_SHORT ? 2 : 4; }

// ---- one block
static void fetch_ahead(const Few *f, const Place *p, const Shape *s, Value w)
{
    Gen *g = f->g;
    Value ahead = bytes_at(g, w, mul(g, p->w_step, CHUNK));
    for (int64_t byte = 0; byte < s->units * g->width * weight_bytes(f); byte += LINE) {
        Value args[] = {bytes_at(g, ahead, word_i64(g, byte)), word_i32(g, 0), word_i32(g, 3), word_i32(g, 1)};
        call(g, "llvm.prefetch", g->ptr, args, 4);
    }
}

static void run_chunk(const Few *f, const Place *p, const Shape *s, const Value *x, Value *sum)
{
    Gen *g = f->g;
    Value held[MOST_SUMS];
    Loop l = loop_of(g, p->count);
    for (int i = 0; i < s->rows * s->units; i++) sum[i] = loop_phi(g, &l, sum[i]);
    WeightType type = f->kind == MATRIX_SHORT ? g->plan->weight_type : WEIGHTS_F32;
    Operand w = {bytes_at(g, p->w, product_of(g, l.i, p->w_step)), word_i64(g, weight_bytes(f)), true, type};
    for (int u = 0; u < s->units; u++) held[u] = load_lanes(g, operand_fixed(g, w, (int64_t)u * g->width), g->width);
    fetch_ahead(f, p, s, w.base);
    for (int r = 0; r < s->rows; r++) {
        Value input = splat(g, load(g, g->f32, bytes_at(g, x[r], mul(g, l.i, 4))), g->width);
        for (int u = 0; u < s->units; u++) {
            Value *to = &sum[r * s->units + u];
            *to = f->kind == MATRIX_PAIRS ? pairs_dot(g, input, held[u], *to) : fma_of(g, input, held[u], *to);
        }
    }
    loop_end(g, &l, sum);
}

static Value unit_at(Gen *g, Value row, int unit)
{
    return bytes_at(g, row, word_i64(g, (int64_t)unit * g->width * 4));
}

// +0 where a chain begins, else what waits in `out`.
static void first_sums(const Few *f, const Place *p, const Shape *s, const Value *out, Value *sum)
{
    Gen *g = f->g;
    Value begins = LLVMBuildOr(g->b, p->first, f->cut, "");
    Value mask = splat(g, LLVMBuildSelect(g->b, begins, word_i32(g, 0), word_i32(g, -1), ""), g->width);
    for (int i = 0; i < s->rows * s->units; i++) {
        Value waiting = load(g, ints(g, g->width), unit_at(g, out[i / s->units], i % s->units));
        sum[i] = LLVMBuildBitCast(g->b, LLVMBuildAnd(g->b, waiting, mask, ""), floats(g, g->width), "");
    }
}

// A block of K joins those before it.
static void add_block(const Few *f, const Place *p, const Shape *s, const Value *out, Value *sum)
{
    Gen *g = f->g;
    Value joins = LLVMBuildAnd(g->b, f->cut, LLVMBuildNot(g->b, p->first, ""), "");
    Loop l = loop_maybe(g, LLVMBuildZExt(g->b, joins, g->i64, ""));
    for (int i = 0; i < s->rows * s->units; i++) sum[i] = loop_phi(g, &l, sum[i]);
    for (int i = 0; i < s->rows * s->units; i++) {
        Value before = load(g, floats(g, g->width), unit_at(g, out[i / s->units], i % s->units));
        sum[i] = LLVMBuildFAdd(g->b, before, sum[i], "");
    }
    loop_end(g, &l, sum);
}

// Rows from `row` on; those that are not there are the last one once more.
static void block_emit(const Few *f, const Place *p, const Shape *s, Value row)
{
    Gen *g = f->g;
    Value x[MOST_ROWS], out[MOST_ROWS], sum[MOST_SUMS], last = add(g, f->rows, word_i64(g, -1));
    for (int r = 0; r < s->rows; r++) {
        Value here = least_of(g, add(g, row, word_i64(g, r)), last);
        x[r] = bytes_at(g, p->x, product_of(g, here, f->x_step));
        out[r] = bytes_at(g, p->out, product_of(g, here, f->out_step));
    }
    first_sums(f, p, s, out, sum);
    run_chunk(f, p, s, x, sum);
    add_block(f, p, s, out, sum);
    for (int i = 0; i < s->rows * s->units; i++) store(g, sum[i], unit_at(g, out[i / s->units], i % s->units));
}

// ---- blocks of a chunk
// Vectors of outputs from `unit` on, `count` times as many as a block has.
static void columns_emit(const Few *f, const Place *p, const Shape *s, Value unit, Value count)
{
    Gen *g = f->g;
    Loop l = loop_maybe(g, count);
    Value first = mul(g, add(g, unit, mul(g, l.i, s->units)), g->width);
    Place block = *p;
    block.w = bytes_at(g, p->w, mul(g, first, weight_bytes(f)));
    block.out = bytes_at(g, p->out, mul(g, first, 4));
    Loop rows = loop_of(g, pieces(g, f->rows, word_i64(g, s->rows)));
    block_emit(f, &block, s, mul(g, rows.i, s->rows));
    loop_end(g, &rows, NULL);
    loop_end(g, &l, NULL);
}

// Blocks as large as the registers allow; of up to four rows where that leaves too few vectors.
static void chunk_emit(const Few *f, const Place *p, Value units)
{
    Gen *g = f->g;
    bool wide = g->info.sums >= MOST_SUMS;
    Shape four = {4, wide ? 4 : 2}, eight = {8, 2}, rest = {8, 1};
    Value zero = word_i64(g, 0), done;
    if (wide) {
        Value is_four = LLVMBuildICmp(g->b, LLVMIntULE, f->rows, word_i64(g, four.rows), "");
        Value fours = LLVMBuildUDiv(g->b, units, word_i64(g, four.units), "");
        Value eights = LLVMBuildUDiv(g->b, units, word_i64(g, eight.units), "");
        columns_emit(f, p, &four, zero, count_if(g, is_four, fours));
        columns_emit(f, p, &eight, zero, count_if(g, LLVMBuildNot(g->b, is_four, ""), eights));
        done = LLVMBuildSelect(g->b, is_four, mul(g, fours, four.units), mul(g, eights, eight.units), "");
    } else {
        Value fours = LLVMBuildUDiv(g->b, units, word_i64(g, four.units), "");
        columns_emit(f, p, &four, zero, fours);
        done = mul(g, fours, four.units);
    }
    columns_emit(f, p, &rest, done, difference(g, units, done));
}

static void group_emit(const Few *f, Value first, Value chunks)
{
    Gen *g = f->g;
    Value width = least_of(g, difference(g, f->n, first), word_i64(g, GEMM_GROUP));
    Value units = pieces(g, width, word_i64(g, g->width)), w_step = mul(g, width, weight_bytes(f));
    Value group = bytes_at(g, f->w, product_of(g, mul(g, first, weight_bytes(f)), f->k));
    Loop l = loop_of(g, chunks);
    Value k = product_of(g, l.i, f->chunk);
    Place p = {.w_step = w_step, .first = equal(g, k, 0), .count = least_of(g, difference(g, f->k, k), f->chunk)};
    p.x = bytes_at(g, f->x, mul(g, k, 4));
    p.w = bytes_at(g, group, product_of(g, k, w_step));
    p.out = bytes_at(g, f->out, mul(g, first, 4));
    chunk_emit(f, &p, units);
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

// ---- the function and its calls
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

LLVMTypeRef few_type(Gen *g)
{
    LLVMTypeRef params[PARAMS];
    for (int i = 0; i < PARAMS; i++) params[i] = i < PARAM_SHAPE ? g->ptr : g->i64;
    return LLVMFunctionType(g->none, params, PARAMS, false);
}

// Bytes from row to row of the space whose number stands in two bits of PARAM_SPACES.
static Value step_of(Gen *g, Value shape, int bit)
{
    Value spaces = LLVMBuildLShr(g->b, LLVMGetParam(g->fn, PARAM_SPACES), word_i64(g, bit), "");
    Value space = LLVMBuildAnd(g->b, spaces, word_i64(g, 3), "");
    Value step = LLVMBuildSelect(g->b, equal(g, space, SPACE_WORK), few_step(g, shape, SPACE_WORK),
                                 few_step(g, shape, SPACE_PREP), "");
    return count_if(g, LLVMBuildNot(g->b, equal(g, space, SPACE_CONST), ""), step);
}

void few_emit(Gen *g, MatrixKind kind)
{
    Value shape = LLVMGetParam(g->fn, PARAM_SHAPE), kb = LLVMGetParam(g->fn, PARAM_KB);
    Few f = {.g = g, .kind = kind, .x = LLVMGetParam(g->fn, PARAM_X), .w = LLVMGetParam(g->fn, PARAM_W)};
    f.out = LLVMGetParam(g->fn, PARAM_OUT);
    f.add = LLVMGetParam(g->fn, PARAM_ADD);
    f.bias = LLVMGetParam(g->fn, PARAM_BIAS);
    f.k = LLVMGetParam(g->fn, PARAM_K);
    f.n = LLVMGetParam(g->fn, PARAM_N);
    f.rows = few_rows(g, shape);
    f.out_step = few_step(g, shape, SPACE_WORK);
    f.x_step = step_of(g, shape, 0);
    f.add_step = step_of(g, shape, 2);
    f.cut = LLVMBuildICmp(g->b, LLVMIntULT, kb, f.k, "");
    f.chunk = LLVMBuildSelect(g->b, f.cut, kb, word_i64(g, CHUNK), "");
    Value chunks = pieces(g, f.k, f.chunk);
    Loop l = loop_of(g, pieces(g, f.n, word_i64(g, GEMM_GROUP)));
    group_emit(&f, mul(g, l.i, GEMM_GROUP), chunks);
    loop_end(g, &l, NULL);
    add_to_out(&f, f.add, f.add_step);
    add_to_out(&f, f.bias, word_i64(g, 0));
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
