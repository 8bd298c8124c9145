// move and take: lanes copied by number. Tables that run evenly (a slice, a stride) are read at compile time and
// become addresses; others are read from CONST as the code runs, as are the records of runs.
#include "llvm.h"

enum { COPY_ROWS = 16 }; // rows copied at a time

// Lane number i of a table: i64, relative to the operand's base.
static Value table_lane(Gen *g, TableShape t, Operand table, Value i)
{
    if (t.affine) return mul(g, i, t.step);
    return table_word(g, table.base, i);
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
typedef struct {
    Value count, src, dst; // src and dst: bytes from one to the next
} Axis;
// How the innermost axis is walked: lane by lane; or by vectors, since it lies side by side in WORK, and at the source
// or (SPREAD) is one lane there.
typedef enum { LANE_BY_LANE, BESIDE, SPREAD } Walk;
typedef struct {
    Axis axis[MOVE_AXES];
    Walk walk;
    Value vectors, some, rest; // by vectors: whole ones; the slots of what is left of one, its bytes
} Box;

static Value run_word(Gen *g, Operand run, int i)
{
    return LLVMBuildSExt(g->b, load(g, g->i32, operand_at(g, run, word_i64(g, i)).base), g->i64, "");
}

// What is left first, then whole vectors.
static void copy_vectors(Gen *g, const Box *b, Operand from, Operand to)
{
    bool spread = b->walk == SPREAD;
    Value all = spread ? splat(g, load(g, g->f32, from.base), g->width) : NULL;
    store_some(g, spread ? all : load_some(g, from.base, b->some), b->some, to.base);
    Loop l = loop_maybe(g, b->vectors);
    Value bytes = add(g, b->rest, mul(g, l.i, (int64_t)g->width * 4));
    from.base = bytes_at(g, from.base, bytes);
    store(g, spread ? all : load_lanes(g, from, g->width), bytes_at(g, to.base, bytes));
    loop_end(g, &l, NULL);
}

static void box_emit(Gen *g, const Box *b, int number, Operand from, Operand to)
{
    if (b->walk != LANE_BY_LANE && number == MOVE_AXES - 1) {
        copy_vectors(g, b, from, to);
        return;
    }
    if (number == MOVE_AXES) {
        copy_lane(g, from, to);
        return;
    }
    const Axis *a = &b->axis[number];
    Loop l = number ? loop_of(g, a->count) : loop_maybe(g, a->count);
    Value next[] = {loop_phi(g, &l, from.base), loop_phi(g, &l, to.base)};
    from.base = next[0];
    to.base = next[1];
    box_emit(g, b, number + 1, from, to);
    next[0] = bytes_at(g, from.base, a->src);
    next[1] = bytes_at(g, to.base, a->dst);
    loop_end(g, &l, next);
}

static Box box_of(Gen *g, Operand run, const Operand *from, const Operand *to)
{
    Box b = {.walk = LANE_BY_LANE};
    for (int k = 0; k < MOVE_AXES; k++) {
        Value src = run_word(g, run, 3 + 3 * k), dst = run_word(g, run, 4 + 3 * k);
        src = product_of(g, src, from->lane_bytes);
        b.axis[k] = (Axis){run_word(g, run, 2 + 3 * k), src, product_of(g, dst, to->lane_bytes)};
    }
    return b;
}

// T = 1: the box where it can be walked in this way, else one of nothing.
static Box box_by_vectors(Gen *g, const Box *all, Walk walk)
{
    Box b = *all;
    const Axis *last = &b.axis[MOVE_AXES - 1];
    Value fits = LLVMBuildAnd(g->b, equal(g, last->dst, 4), equal(g, last->src, walk == SPREAD ? 0 : 4), "");
    b.walk = walk;
    b.vectors = quotient(g, last->count, word_i64(g, g->width));
    Value left = difference(g, last->count, mul(g, b.vectors, g->width));
    b.some = first_lanes(g, left, g->width);
    b.rest = mul(g, left, 4);
    b.axis[0].count = where(g, fits, b.axis[0].count, word_i64(g, 0));
    return b;
}

// By vectors where that is possible and a store of some lanes is one instruction.
static void record_emit(Gen *g, Operand run, Operand from, Operand to)
{
    Box b = box_of(g, run, &from, &to);
    from = operand_at(g, from, run_word(g, run, 0));
    to = operand_at(g, to, run_word(g, run, 1));
    for (Walk walk = BESIDE; walk <= SPREAD && g->tile == 1 && !reads_slots(g); walk++) {
        Box by_vectors = box_by_vectors(g, &b, walk);
        box_emit(g, &by_vectors, 0, from, to);
        b.axis[0].count = difference(g, b.axis[0].count, by_vectors.axis[0].count); // all, or none
    }
    box_emit(g, &b, 0, from, to);
}

static void runs_emit(Gen *g, const MoveStep *s)
{
    Operand from = operand(g, s->space), table = operand(g, SPACE_CONST), to = operand(g, SPACE_WORK);
    Loop records = loop_of(g, count_arg(g, s->runs));
    record_emit(g, operand_at(g, table, mul(g, records.i, MOVE_RUN_WORDS)), from, to);
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
