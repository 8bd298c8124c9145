// move and take: lanes copied by number. Tables that run evenly (a slice, a stride) are read at compile time and
// become addresses; others are read from CONST as the code runs, as are the records of runs.
#include "llvm.h"

enum { COPY_ROWS = 16 }; // rows copied at a time

// Lane number i of a table: i64, relative to the operand's base.
static Value table_lane(Gen *g, TableShape t, Operand table, Value i)
{
    if (t.affine) return mul(g, i, t.step);
    return LLVMBuildSExt(g->b, load(g, g->i32, operand_at(g, table, i).base), g->i64, "");
}

static void copy_lane(Gen *g, Operand from, Operand to)
{
    if (g->tile == 1) {
        store(g, load(g, g->f32, from.base), to.base);
        return;
    }
    Loop rows = rows_begin(g, COPY_ROWS);
    Value first = mul(g, rows.i, COPY_ROWS);
    for (int i = 0; i < COPY_ROWS; i += g->width) {
        Value row = add(g, first, word_i64(g, i));
        store(g, load_rows(g, from, row, g->width), row_address(g, to, row));
    }
    loop_end(g, &rows, NULL);
}

// A run of n lanes, T = 1: whole vectors where there are any, what is left one by one.
static void copy_run(Gen *g, Operand from, Operand to, const MoveStep *s, Value n)
{
    int w = g->width;
    Value vectors = quotient(g, n, word_i64(g, w)), done = mul(g, vectors, w);
    if (s->n / (uint32_t)w) {
        Loop l = loop_of(g, vectors);
        Value lane = mul(g, l.i, w);
        store(g, load_lanes(g, operand_at(g, from, lane), w), operand_at(g, to, lane).base);
        loop_end(g, &l, NULL);
    }
    if (s->n % (uint32_t)w == 0) return;
    Loop rest = loop_of(g, difference(g, n, done));
    Value lane = add(g, done, rest.i);
    copy_lane(g, operand_at(g, from, lane), operand_at(g, to, lane));
    loop_end(g, &rest, NULL);
}

// ---- runs: four loops over each record
static Value run_word(Gen *g, Operand run, int i)
{
    return LLVMBuildSExt(g->b, load(g, g->i32, operand_at(g, run, word_i64(g, i)).base), g->i64, "");
}

static void runs_emit(Gen *g, const MoveStep *s)
{
    Operand from = operand(g, s->space), table = operand(g, SPACE_CONST), to = operand(g, SPACE_WORK);
    Loop records = loop_of(g, count_arg(g, s->runs)), axis[MOVE_AXES];
    Operand run = operand_at(g, table, mul(g, records.i, MOVE_RUN_WORDS));
    Value src = run_word(g, run, 0), dst = run_word(g, run, 1), step[MOVE_AXES][3];
    for (int k = 0; k < MOVE_AXES; k++)
        for (int i = 0; i < 3; i++) step[k][i] = run_word(g, run, 2 + 3 * k + i);
    for (int k = 0; k < MOVE_AXES; k++) {
        axis[k] = loop_of(g, step[k][0]);
        src = add(g, src, product_of(g, axis[k].i, step[k][1]));
        dst = add(g, dst, product_of(g, axis[k].i, step[k][2]));
    }
    copy_lane(g, operand_at(g, from, src), operand_at(g, to, dst));
    for (int k = MOVE_AXES - 1; k >= 0; k--) loop_end(g, &axis[k], NULL);
    loop_end(g, &records, NULL);
}

void move_emit(Gen *g, const MoveStep *s)
{
    if (s->runs) {
        runs_emit(g, s);
        return;
    }
    TableShape src = table_shape(g->plan, s->src_table, s->n), dst = table_shape(g->plan, s->dst_table, s->n);
    Operand src_table = {0}, dst_table = {0}, from, to;
    from = operand(g, s->space); // of CONST: all its lanes have moved alike (plan_matrices)
    if (!src.affine) src_table = operand(g, SPACE_CONST);
    if (!dst.affine) dst_table = operand(g, SPACE_CONST);
    to = operand(g, SPACE_WORK);
    Value n = count_arg(g, s->n);
    if (g->tile == 1 && src.affine && dst.affine && src.step == 1 && dst.step == 1) {
        copy_run(g, from, to, s, n);
        return;
    }
    Loop l = loop_of(g, n);
    copy_lane(g, operand_at(g, from, table_lane(g, src, src_table, l.i)),
              operand_at(g, to, table_lane(g, dst, dst_table, l.i)));
    loop_end(g, &l, NULL);
}

// ---- take: out[o][j] = table[o][clamp(trunc(index[o][j]), 0, k - 1)]
// Clamped before the conversion, which then is exact; NaN becomes 0.
static Value clamped(Gen *g, Value index, int64_t k, int n)
{
    Value zero = splat_float(g, 0.0f, n), top = splat_float(g, (float)(k - 1), n);
    index = where(g, LLVMBuildFCmp(g->b, LLVMRealOGT, index, zero, ""), index, zero);
    Value below = LLVMBuildFCmp(g->b, LLVMRealOLT, index, top, "");
    Value number = LLVMBuildFPToSI(g->b, where(g, below, index, zero), ints(g, n), "");
    return where(g, below, number, splat_word(g, (uint32_t)(k - 1), n));
}

static void take_rows(Gen *g, Operand table, Operand index, Operand out, Value row, int64_t k)
{
    int w = g->width;
    Value number = clamped(g, load_rows(g, index, row, w), k, w);
    Value offset = LLVMBuildZExt(g->b, number, LLVMVectorType(g->i64, (unsigned)w), "");
    offset = product_of(g, offset, splat(g, table.lane_bytes, w));
    if (!table.shared) {
        Value rows = LLVMBuildZExt(g->b, iota(g, w), LLVMVectorType(g->i64, (unsigned)w), "");
        rows = product_of(g, rows, splat(g, word_i64(g, 4), w));
        offset = add(g, offset, add(g, rows, splat(g, row_offset(g, table, row), w)));
    }
    store(g, gather(g, table.base, offset, w), row_address(g, out, row));
}

// T = 1: one index at a time (a vector of two, since the words above speak of vectors).
static void take_one(Gen *g, Operand table, Operand index, Operand out, int64_t k)
{
    Value number = clamped(g, splat(g, load(g, g->f32, index.base), 2), k, 2);
    Value lane = LLVMBuildExtractElement(g->b, number, word_i64(g, 0), "");
    store(g, load(g, g->f32, operand_at(g, table, LLVMBuildZExt(g->b, lane, g->i64, "")).base), out.base);
}

void take_emit(Gen *g, const TakeStep *s)
{
    Operand table = operand(g, s->table_space), index = operand(g, s->index_space), out = operand(g, SPACE_WORK);
    Value outer = count_arg(g, s->outer), indices = count_arg(g, s->j);
    Loop l = loop_of(g, outer);
    Operand t = s->table_shared ? table : operand_at(g, table, mul(g, l.i, s->k));
    Loop j = loop_of(g, indices);
    Value lane = add(g, product_of(g, l.i, indices), j.i);
    Operand i = operand_at(g, index, lane), o = operand_at(g, out, lane);
    if (g->tile == 1) {
        take_one(g, t, i, o, s->k);
    } else {
        Loop rows = rows_begin(g, g->width);
        take_rows(g, t, i, o, mul(g, rows.i, g->width), s->k);
        loop_end(g, &rows, NULL);
    }
    loop_end(g, &j, NULL);
    loop_end(g, &l, NULL);
}
