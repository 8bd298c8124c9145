// Tiled products (plan.h) on the tiles of AMX: registers of 16 rows of 64 bytes each.
//
//     C[16 rows][16 outputs]  +=  A[16 rows][32 inputs of bfloat16]  B[16 pairs of inputs][16 outputs][2]
//
// One instruction, tdpbf16ps, does 8192 multiply-adds in 16 cycles. A is what product_bf16.c makes of x, row by row; B
// is the matrix as weights.c lays it (a group of up to 128 outputs, tile by tile); C are sums. Rows lie apart in memory
// (abi.h), so all maps between products run along lanes, with the code for one row.
//
//     tall    17 to 32 rows x 32 outputs: C0 C1 C2 C3 = A0 B0, A0 B1, A1 B0, A1 B1
//     wide    up to 16 rows x 64 outputs: C0 C1 C2 C3 = A0 B0, A0 B1, A0 B0', A0 B1'
//
// Rows go through a group of outputs block by block, so that A stays in L1 and a group's weights in L2; meanwhile the
// next group's are fetched into L2. Sums are outputs, or are stored into a small buffer and leave it with what is added
// behind them:
//
//     out = fma(sum + add, scale, bias)
//
// where an absent addend is zeros and an absent scale 1, which changes no bit: a sum that begins at +0 is never -0.
#include "tiles.h"

enum { MOST_ROWS = 2 * SIDE, A0 = SUMS, A1, B0, B1 };

// ---- the instructions
static Value tile(Gen *g, int number) { return LLVMConstInt(g->i8, (unsigned long long)number, false); }

static void load_tile(Gen *g, const char *instruction, int to, Value from, Value step)
{
    Value args[] = {tile(g, to), from, step};
    call_of(g, instruction, NULL, 0, args, 3);
}

void load_a(Gen *g, int to, Value from, Value step) { load_tile(g, "llvm.x86.tileloadd64", to, from, step); }

// Of all rows' blocks only the next one reads it again.
void load_b(Gen *g, int to, Value from) { load_tile(g, "llvm.x86.tileloaddt164", to, from, word_i64(g, ROW_BYTES)); }

void tile_dot(Gen *g, int c, int a, int b)
{
    Value args[] = {tile(g, c), tile(g, a), tile(g, b)};
    call_of(g, "llvm.x86.tdpbf16ps", NULL, 0, args, 3);
}

void tile_zero(Gen *g, int c)
{
    Value arg = tile(g, c);
    call_of(g, "llvm.x86.tilezero", NULL, 0, &arg, 1);
}

void tile_store(Gen *g, int c, Value to, Value step)
{
    Value args[] = {tile(g, c), to, step};
    call_of(g, "llvm.x86.tilestored64", NULL, 0, args, 3);
}

// The shapes of all tiles for a block of `rows` rows: palette 1; bytes of a row (16 bits each) from byte 16 on, rows
// (8 bits each) from byte 48 on.
void tiles_configure(const Tiles *t, Value rows)
{
    Gen *g = t->g;
    Value words[16];
    for (int i = 0; i < 16; i++) words[i] = word_i32(g, i == 0 ? 1 : i >= 4 && i < 8 ? ROW_BYTES * 0x10001 : 0);
    Value upper = least_word(g, rows, word_i64(g, SIDE)),
          lower = where(g, exceeds(g, rows, SIDE), difference(g, rows, upper), upper);
    upper = LLVMBuildTrunc(g->b, upper, g->i32, "");
    lower = LLVMBuildTrunc(g->b, lower, g->i32, "");
    words[12] = add(g, mul(g, upper, 0x101), mul(g, lower, 0x1010000));
    words[13] = add(g, add(g, upper, mul(g, lower, 0x100)), word_i32(g, SIDE * 0x1010000));
    for (int i = 0; i < 16; i++) {
        Value stored = LLVMBuildStore(g->b, words[i], bytes_at(g, t->config, word_i64(g, 4 * i)));
        LLVMSetAlignment(stored, 4);
    }
    Value arg = t->config;
    call_of(g, "llvm.x86.ldtilecfg", NULL, 0, &arg, 1);
}

// ---- a block
Value tile_weights(const Tiles *t, Value unit)
{
    Gen *g = t->g;
    Value last = difference(g, t->units, word_i64(g, 1));
    Value before = add(g, mul(g, t->first, ROW_BYTES), mul(g, least_word(g, unit, last), TILE_BYTES));
    return bytes_at(g, t->param[PARAM_W], product_of(g, before, t->param[PARAM_STEPS]));
}

typedef struct {
    bool tall;
    int units; // sixteens of outputs
} Form;

static const Form tall = {true, 2}, wide = {false, 4};

// 32 inputs; w: of each sixteen of outputs, x and w from `at` bytes on.
static void step_emit(const Tiles *t, const Form *f, Value x, const Value *w, Value at)
{
    Gen *g = t->g;
    Value x_step = t->param[PARAM_X_STEP];
    load_a(g, A0, x, x_step);
    if (f->tall) load_a(g, A1, bytes_at(g, x, mul(g, x_step, SIDE)), x_step);
    for (int u = 0; u < f->units; u++) {
        load_b(g, B0 + u % 2, bytes_at(g, w[u], at));
        tile_dot(g, u, A0, B0 + u % 2);
        if (f->tall) tile_dot(g, u + 2, A1, B0 + u % 2);
    }
}

static void fetch_ahead(const Tiles *t, Value number)
{
    Gen *g = t->g;
    if (!t->lines) return;
    Value at = bytes_at(g, t->fetch, product_of(g, mul(g, number, LINE_BYTES), t->lines));
    Loop l = loop_maybe(g, t->lines);
    prefetch(g, at, mul(g, l.i, LINE_BYTES), TO_L2);
    loop_end(g, &l, NULL);
}

// All inputs of the outputs from `lane` of the group on; a row's sums go to `to`, `step` bytes behind the row before.
static void sums_emit(const Tiles *t, const Form *f, Value column, Value lane, Value to, Value step)
{
    Gen *g = t->g;
    Value x = bytes_at(g, t->param[PARAM_X], product_of(g, t->row, t->param[PARAM_X_STEP]));
    Value unit = quotient(g, lane, word_i64(g, SIDE)), w[SUMS];
    for (int u = 0; u < f->units; u++) w[u] = tile_weights(t, add(g, unit, word_i64(g, u)));
    for (int c = 0; c < SUMS; c++) tile_zero(g, c);
    Loop l = loop_of(g, t->param[PARAM_STEPS]);
    step_emit(t, f, bytes_at(g, x, mul(g, l.i, ROW_BYTES)), w, mul(g, l.i, TILE_BYTES));
    fetch_ahead(t, add(g, product_of(g, column, t->param[PARAM_STEPS]), l.i));
    loop_end(g, &l, NULL);
    for (int c = 0; c < SUMS; c++) {
        Value row = mul(g, step, f->tall ? c / 2 * SIDE : 0);
        tile_store(g, c, bytes_at(g, bytes_at(g, to, row), word_i64(g, c % f->units * ROW_BYTES)), step);
    }
}

static Value behind_at(const Tiles *t, const Behind *b, Value row, Value output)
{
    Gen *g = t->g;
    return bytes_at(g, bytes_at(g, b->base, product_of(g, row, b->row)), product_of(g, output, b->lane));
}

static Value out_at(const Tiles *t, Value row, Value output)
{
    Gen *g = t->g;
    Value at = bytes_at(g, t->param[PARAM_OUT], product_of(g, row, t->param[PARAM_OUT_STEP]));
    return bytes_at(g, at, mul(g, output, 4));
}

Leaving leaving_at(const Tiles *t, Value row, Value lane)
{
    Gen *g = t->g;
    Value output = add(g, t->first, lane), none = word_i64(g, 0);
    return (Leaving){behind_at(t, &t->add, row, output),
                     splat(g, load(g, g->f32, behind_at(t, &t->scale, row, none)), SIDE),
                     behind_at(t, &t->bias, none, output), out_at(t, row, output)};
}

// What becomes of the sums of sixteen `unit`.
Value finished(const Tiles *t, const Leaving *l, Value sum, Value unit)
{
    Gen *g = t->g;
    Value lane = mul(g, unit, SIDE);
    Value added = bytes_at(g, l->add, product_of(g, lane, t->add.lane));
    sum = LLVMBuildFAdd(g->b, sum, load(g, floats(g, SIDE), added), "");
    return fma_of(g, sum, l->scale, load(g, floats(g, SIDE), bytes_at(g, l->bias, product_of(g, lane, t->bias.lane))));
}

void map_behind(const Tiles *t, Value *out, int n)
{
    if (t->after) map_where(t->g, t->after, t->param[PARAM_APPLIES], out, n);
}

// In the buffer: sixteen `unit` of the block's row `number`.
static Value waiting(const Tiles *t, const Form *f, Value number, Value unit)
{
    Gen *g = t->g;
    Value row = bytes_at(g, t->buffer, mul(g, number, f->units * ROW_BYTES));
    return load(g, floats(g, SIDE), bytes_at(g, row, mul(g, unit, ROW_BYTES)));
}

// The sums leave the buffer: of a whole block, or of `lanes` outputs.
static void finish_whole(const Tiles *t, const Form *f, Value lane, Value rows)
{
    Gen *g = t->g;
    Loop l = loop_maybe(g, rows);
    Leaving to = leaving_at(t, add(g, t->row, l.i), lane);
    Value out[SUMS];
    for (int u = 0; u < f->units; u++) {
        Value unit = word_i64(g, u);
        out[u] = finished(t, &to, waiting(t, f, l.i, unit), unit);
    }
    map_behind(t, out, f->units);
    for (int u = 0; u < f->units; u++) store(g, out[u], bytes_at(g, to.out, word_i64(g, (int64_t)u * ROW_BYTES)));
    loop_end(g, &l, NULL);
}

static void finish_part(const Tiles *t, const Form *f, Value lane, Value lanes, Value rows)
{
    Gen *g = t->g;
    Loop l = loop_maybe(g, rows);
    Leaving to = leaving_at(t, add(g, t->row, l.i), lane);
    Loop units = loop_of(g, pieces(g, lanes, word_i64(g, SIDE)));
    Value out = finished(t, &to, waiting(t, f, l.i, units.i), units.i);
    map_behind(t, &out, 1);
    Value left = difference(g, lanes, mul(g, units.i, SIDE)); // behind them another token's outputs may stand
    store_some(g, out, first_lanes(g, left, SIDE), bytes_at(g, to.out, mul(g, units.i, ROW_BYTES)));
    loop_end(g, &units, NULL);
    loop_end(g, &l, NULL);
}

static void columns_emit(const Tiles *t, const Form *f)
{
    Gen *g = t->g;
    int64_t lanes = f->units * SIDE;
    Value none = word_i64(g, 0);
    Loop l = loop_of(g, pieces(g, t->width, word_i64(g, lanes)));
    Value lane = mul(g, l.i, lanes), left = least_word(g, difference(g, t->width, lane), word_i64(g, lanes));
    Value whole = equal(g, left, lanes);
    Value straight = LLVMBuildAnd(g->b, whole, t->alone, "");
    Value out = out_at(t, t->row, add(g, t->first, lane)), step = word_i64(g, f->units * ROW_BYTES);
    sums_emit(t, f, l.i, lane, where(g, straight, out, t->buffer), where(g, straight, t->param[PARAM_OUT_STEP], step));
    finish_whole(t, f, lane, where(g, straight, none, where(g, whole, t->rows, none)));
    finish_part(t, f, lane, left, where(g, whole, none, t->rows));
    loop_end(g, &l, NULL);
}

// ---- all rows of a group of outputs
// The lines of the next group are shared by the blocks of 32 rows, or belong to the only block.
static void share_fetching(Tiles *t, Value number)
{
    Gen *g = t->g;
    if (!g->ahead) return;
    Value whole = quotient(g, t->param[PARAM_ROWS], word_i64(g, MOST_ROWS));
    Value sharers = where(g, exceeds(g, whole, 0), whole, word_i64(g, 1));
    Value several = exceeds(g, t->param[PARAM_ROWS], SIDE);
    Value takes = LLVMBuildAnd(g->b, is_below(g, number, sharers), several, "");
    Value lines = pieces(g, word_i64(g, MOST_ROWS), sharers), steps = t->param[PARAM_STEPS];
    Value columns = pieces(g, t->width, word_i64(g, tall.units * SIDE));
    Value before = mul(g, product_of(g, product_of(g, product_of(g, number, columns), steps), lines), LINE_BYTES);
    Value next = product_of(g, mul(g, add(g, t->first, t->width), ROW_BYTES), steps);
    Value at = bytes_at(g, t->param[PARAM_W], next);
    if (g->turns) at = turned_at(g, t->param[PARAM_END], t->param[PARAM_NEXT], at);
    t->fetch = bytes_at(g, at, before);
    t->lines = where(g, takes, lines, word_i64(g, 0));
}

static void block_emit(Tiles *t, Value number, Value mixed)
{
    Gen *g = t->g;
    t->row = mul(g, number, MOST_ROWS);
    t->rows = least_word(g, difference(g, t->param[PARAM_ROWS], t->row), word_i64(g, MOST_ROWS));
    Loop again = loop_where(g, mixed);
    tiles_configure(t, t->rows);
    loop_end(g, &again, NULL);
    share_fetching(t, number);
    LLVMBasicBlockRef are_tall = block_new(g, "tall"), are_wide = block_new(g, "wide"), done = block_new(g, "done");
    LLVMBuildCondBr(g->b, exceeds(g, t->rows, SIDE), are_tall, are_wide);
    LLVMPositionBuilderAtEnd(g->b, are_tall);
    columns_emit(t, &tall);
    LLVMBuildBr(g->b, done);
    LLVMPositionBuilderAtEnd(g->b, are_wide);
    columns_emit(t, &wide);
    LLVMBuildBr(g->b, done);
    LLVMPositionBuilderAtEnd(g->b, done);
}

// ---- all of a product
Loop tile_groups(Tiles *t)
{
    Gen *g = t->g;
    Loop groups = loop_of(g, pieces(g, t->param[PARAM_N], word_i64(g, GEMM_GROUP)));
    t->first = mul(g, groups.i, GEMM_GROUP);
    t->width = least_word(g, difference(g, t->param[PARAM_N], t->first), word_i64(g, GEMM_GROUP));
    t->units = pieces(g, t->width, word_i64(g, SIDE));
    return groups;
}

static void several_emit(Tiles *t)
{
    Gen *g = t->g;
    Value rows = t->param[PARAM_ROWS], most = word_i64(g, MOST_ROWS), rest = LLVMBuildURem(g->b, rows, most, "");
    Value mixed = LLVMBuildAnd(g->b, exceeds(g, rows, MOST_ROWS), exceeds(g, rest, 0), "");
    tiles_configure(t, least_word(g, rows, most));
    Loop groups = tile_groups(t);
    Loop l = loop_of(g, pieces(g, rows, most));
    block_emit(t, l.i, mixed);
    loop_end(g, &l, NULL);
    loop_end(g, &groups, NULL);
    call_of(g, "llvm.x86.tilerelease", NULL, 0, NULL, 0);
}

static void rows_emit(Tiles *t)
{
    Gen *g = t->g;
    LLVMBasicBlockRef one = block_new(g, "one"), several = block_new(g, "several");
    LLVMBuildCondBr(g->b, exceeds(g, t->param[PARAM_ROWS], 1), several, one);
    LLVMPositionBuilderAtEnd(g->b, one);
    tiles_one_emit(t);
    LLVMBuildRetVoid(g->b);
    LLVMPositionBuilderAtEnd(g->b, several);
    several_emit(t);
}

// A parameter's, or where it is null that of a line of one value.
static Behind behind(const Tiles *t, int param, Value step, float otherwise)
{
    Gen *g = t->g;
    Value none = word_i64(g, 0), line = LLVMBuildAlloca(g->b, floats(g, SIDE), "");
    store(g, splat_float(g, otherwise, SIDE), line);
    Value absent = is_null(g, t->param[param]);
    return (Behind){where(g, absent, line, t->param[param]), where(g, absent, none, step),
                    where(g, absent, none, word_i64(g, 4)), absent};
}

Value tiles_function(const Gen *g, const MapStep *after, bool windows)
{
    for (int i = 0; i < g->n_tiles; i++) {
        const MapStep *has = g->tiles[i].after;
        if (g->tiles[i].windows != windows) continue;
        if (after && has ? maps_equal(after, has) : after == has) return g->tiles[i].fn;
    }
    return NULL;
}

LLVMTypeRef tiles_type(Gen *g)
{
    LLVMTypeRef list[PARAMS];
    for (int i = 0; i < PARAMS; i++) list[i] = i < PARAM_ROWS ? g->ptr : g->i64;
    return LLVMFunctionType(g->none, list, PARAMS, false);
}

void tiles_emit(Gen *g, const MapStep *after, bool windows)
{
    Tiles t = {.g = g, .after = after};
    for (unsigned i = 0; i < PARAMS; i++) t.param[i] = LLVMGetParam(g->fn, i);
    t.config = LLVMBuildAlloca(g->b, LLVMArrayType2(g->i32, SIDE), "");
    t.buffer = LLVMBuildAlloca(g->b, LLVMArrayType2(g->f32, BUFFER_FLOATS), "");
    LLVMSetAlignment(t.buffer, LINE_BYTES);
    t.add = behind(&t, PARAM_ADD, t.param[PARAM_ADD_STEP], 0);
    t.scale = behind(&t, PARAM_SCALE, t.param[PARAM_ADD_STEP], 1);
    t.bias = behind(&t, PARAM_BIAS, word_i64(g, 0), 0);
    const Value absent[] = {t.add.absent, t.scale.absent, t.bias.absent};
    t.alone = equal(g, t.param[PARAM_APPLIES], 0);
    for (int i = 0; i < 3; i++) t.alone = LLVMBuildAnd(g->b, t.alone, absent[i], "");
    if (windows)
        tiles_windows_emit(&t);
    else
        rows_emit(&t);
}

// p: of the first row.
static void tiles_call(Gen *g, const Product *p, Value rows, Value out_step, Value x_step, Value add_step)
{
    const bool windows = p->windows.firsts;
    Value none = LLVMConstNull(g->ptr), args[PARAMS] = {p->out.base, p->x.base, p->w.base};
    args[PARAM_ADD] = p->has_add ? p->add.base : none;
    args[PARAM_SCALE] = p->scaled ? p->add.base : none;
    args[PARAM_BIAS] = p->has_bias ? p->bias.base : none;
    if (p->parts) {
        args[PARAM_SCALE] = where(g, equal(g, p->parts, 2), p->add.base, none);
        args[PARAM_BIAS] = where(g, exceeds(g, p->parts, 0), p->bias.base, none);
    }
    args[PARAM_END] = p->end ? p->end : none;
    args[PARAM_NEXT] = p->next ? p->next : none;
    args[PARAM_PLACES] = windows ? p->windows.places : none;
    args[PARAM_TAPS] = windows ? p->windows.taps : none;
    args[PARAM_FIRSTS] = windows ? p->windows.firsts : none;
    args[PARAM_SLOTS] = windows ? p->windows.slots : none;
    args[PARAM_ROWS] = rows;
    args[PARAM_OUT_STEP] = out_step;
    args[PARAM_X_STEP] = x_step;
    args[PARAM_ADD_STEP] = add_step;
    args[PARAM_STEPS] = quotient(g, p->k, word_i64(g, TILED_INPUTS / 2));
    args[PARAM_N] = p->out_stride;
    args[PARAM_COMPACT] = p->compact ? p->compact : word_i64(g, 0);
    args[PARAM_APPLIES] = p->after ? p->applies : word_i64(g, 0);
    LLVMBuildCall2(g->b, tiles_type(g), tiles_function(g, p->after, windows), args, PARAMS, "");
}

void tiles_rows(Gen *g, const Product *p, Value add_step)
{
    Value step = few_step(g, g->shape, SPACE_WORK);
    tiles_call(g, p, few_rows(g, g->shape), step, step, add_step);
}

void tiles_tokens(Gen *g, const GemmStep *s, const Product *p, Value add_step)
{
    Value step = few_step(g, g->shape, SPACE_WORK), outputs = mul(g, p->out_stride, 4);
    Value x_step = s->tiles ? word_i64(g, 2 * (int64_t)s->stride) : mul(g, p->x_stride, 4);
    Loop groups = loop_of(g, pieces(g, p->out_stride, word_i64(g, GEMM_GROUP)));
    Value first = mul(g, groups.i, GEMM_GROUP);
    Product part = gemm_from(g, *p, first);
    part.out_stride = least_word(g, difference(g, p->out_stride, first), word_i64(g, GEMM_GROUP));
    Loop rows = loop_of(g, few_rows(g, g->shape));
    Product own = part;
    Value at = product_of(g, rows.i, step);
    own.out.base = bytes_at(g, own.out.base, at);
    own.x.base = bytes_at(g, own.x.base, at);
    if (p->has_add || p->scaled) own.add.base = bytes_at(g, own.add.base, product_of(g, rows.i, add_step));
    Value tokens = word_i64(g, s->tiles ? s->tiles : s->m);
    tiles_call(g, &own, tokens, outputs, x_step, p->has_add ? outputs : word_i64(g, 4));
    loop_end(g, &rows, NULL);
    loop_end(g, &groups, NULL);
}
