// reduce: sixteen partial results and a tree (plan.h). T = 1: the partials are one vector's slots. T > 1: sixteen
// vectors of rows. Where a policy has reductions of many lengths (the softmax of each token of causal attention), the
// code learns the length, and elements behind the last are read but not taken.
#include "llvm.h"

#include <math.h>

enum { PARTIALS = 16 };

static Value start(Gen *g, Op op, int n)
{
    if (op == OP_reduce_sum) return splat_float(g, 0.0f, n);
    if (op == OP_reduce_prod) return splat_float(g, 1.0f, n);
    return splat_float(g, op == OP_reduce_max ? -INFINITY : INFINITY, n);
}

static Value two(Gen *g, Op op, Value p, Value v)
{
    if (op == OP_reduce_sum) return LLVMBuildFAdd(g->b, p, v, "");
    if (op == OP_reduce_prod) return LLVMBuildFMul(g->b, p, v, "");
    Value better = LLVMBuildFCmp(g->b, op == OP_reduce_max ? LLVMRealOGT : LLVMRealOLT, v, p, "");
    return LLVMBuildSelect(g->b, better, v, p, "");
}

static Value half_of(Gen *g, Value v, int first, int n)
{
    Value list[PARTIALS];
    for (int i = 0; i < n; i++) list[i] = word_i32(g, first + i);
    return LLVMBuildShuffleVector(g->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(list, (unsigned)n), "");
}

// The first n slots of `some`, the rest of `all`.
static Value blend(Gen *g, Value some, Value all, int n)
{
    Value list[PARTIALS];
    for (int i = 0; i < PARTIALS; i++) list[i] = word_i32(g, i < n ? i : PARTIALS + i);
    return LLVMBuildShuffleVector(g->b, some, all, LLVMConstVector(list, PARTIALS), "");
}

static Value tree_of_slots(Gen *g, Op op, Value p)
{
    for (int half = PARTIALS / 2; half > 1; half /= 2)
        p = two(g, op, half_of(g, p, 0, half), half_of(g, p, half, half));
    Value first = LLVMBuildExtractElement(g->b, p, word_i64(g, 0), "");
    return two(g, op, first, LLVMBuildExtractElement(g->b, p, word_i64(g, 1), ""));
}

static Value tree_of_rows(Gen *g, Op op, Value *p)
{
    for (int half = PARTIALS / 2; half; half /= 2)
        for (int j = 0; j < half; j++) p[j] = two(g, op, p[j], p[j + half]);
    return p[0];
}

// What is reduced: the value itself or, where there is a centre, the square of its distance.
static Value element(Gen *g, Value v, Value centre)
{
    if (!centre) return v;
    Value d = LLVMBuildFSub(g->b, v, centre, "");
    return LLVMBuildFMul(g->b, d, d, "");
}

static Value load_slots(Gen *g, Operand in, Value centre) { return element(g, load_lanes(g, in, PARTIALS), centre); }

static Value load_element(Gen *g, Operand in, int j, Value row, Value centre)
{
    return element(g, load_rows(g, operand_fixed(g, in, j), row, g->width), centre);
}

// full: whole sixteens, where there are any.
static void reduce_slots(Gen *g, const ReduceStep *s, Value full, Operand in, Value centre, Operand out)
{
    int64_t rest = s->k % PARTIALS;
    Value p = start(g, s->op, PARTIALS);
    if (s->k / PARTIALS) {
        Loop l = loop_of(g, full);
        p = loop_phi(g, &l, p);
        p = two(g, s->op, p, load_slots(g, operand_at(g, in, mul(g, l.i, PARTIALS)), centre));
        loop_end(g, &l, &p);
    }
    if (rest) {
        Value last = load_slots(g, operand_at(g, in, mul(g, full, PARTIALS)), centre);
        p = blend(g, two(g, s->op, p, last), p, (int)rest);
    }
    store(g, tree_of_slots(g, s->op, p), out.base);
}

static void reduce_rows(Gen *g, const ReduceStep *s, Value full, Operand in, Value centre, Operand out, Value row)
{
    int64_t rest = s->k % PARTIALS;
    Value p[PARTIALS];
    for (int j = 0; j < PARTIALS; j++) p[j] = start(g, s->op, g->width);
    if (s->k / PARTIALS) {
        Loop l = loop_of(g, full);
        for (int j = 0; j < PARTIALS; j++) p[j] = loop_phi(g, &l, p[j]);
        Operand at = operand_at(g, in, mul(g, l.i, PARTIALS));
        for (int j = 0; j < PARTIALS; j++) p[j] = two(g, s->op, p[j], load_element(g, at, j, row, centre));
        loop_end(g, &l, p);
    }
    Operand behind = operand_at(g, in, mul(g, full, PARTIALS));
    for (int j = 0; j < (int)rest; j++) p[j] = two(g, s->op, p[j], load_element(g, behind, j, row, centre));
    store(g, tree_of_rows(g, s->op, p), row_address(g, out, row));
}

// ---- a length that the code learns

static Value sixteens(Gen *g, Value k)
{
    return LLVMBuildUDiv(g->b, add(g, k, word_i64(g, PARTIALS - 1)), word_i64(g, PARTIALS), "");
}

static void slots_of_any(Gen *g, Op op, Value k, Operand in, Value centre, Operand out)
{
    Loop l = loop_of(g, sixteens(g, k));
    Value p = loop_phi(g, &l, start(g, op, PARTIALS)), at = mul(g, l.i, PARTIALS);
    Value left = LLVMBuildTrunc(g->b, LLVMBuildSub(g->b, k, at, ""), g->i32, "");
    Value there = LLVMBuildICmp(g->b, LLVMIntULT, iota(g, PARTIALS), splat(g, left, PARTIALS), "");
    Value taken = two(g, op, p, load_slots(g, operand_at(g, in, at), centre));
    p = LLVMBuildSelect(g->b, there, taken, p, "");
    loop_end(g, &l, &p);
    store(g, tree_of_slots(g, op, p), out.base);
}

static void rows_of_any(Gen *g, Op op, Value k, Operand in, Value centre, Operand out, Value row)
{
    Value p[PARTIALS];
    Loop l = loop_of(g, sixteens(g, k));
    for (int j = 0; j < PARTIALS; j++) p[j] = loop_phi(g, &l, start(g, op, g->width));
    Value at = mul(g, l.i, PARTIALS), left = LLVMBuildSub(g->b, k, at, "");
    for (int j = 0; j < PARTIALS; j++) {
        Value there = LLVMBuildICmp(g->b, LLVMIntULT, word_i64(g, j), left, "");
        Value v = load_element(g, operand_at(g, in, at), j, row, centre);
        p[j] = LLVMBuildSelect(g->b, there, two(g, op, p[j], v), p[j], "");
    }
    loop_end(g, &l, p);
    store(g, tree_of_rows(g, op, p), row_address(g, out, row));
}

static void reduce_one(Gen *g, const ReduceStep *s, Value k, Value full, Operand in, Value centre, Operand out,
                       Value row)
{
    if (g->lengths_vary && g->tile == 1)
        slots_of_any(g, s->op, k, in, centre, out);
    else if (g->lengths_vary)
        rows_of_any(g, s->op, k, in, centre, out, row);
    else if (g->tile == 1)
        reduce_slots(g, s, full, in, centre, out);
    else
        reduce_rows(g, s, full, in, centre, out, row);
}

bool reduce_learns_lines(const Gen *g, const ReduceStep *s) { return s->outer > 1 || g->ahead; }
bool reduce_centres_move(const ReduceStep *s) { return s->centres || s->outer == 1; }

// The counts behind the lane numbers: outer where it is learned; the length, or its whole sixteens where there are any.
void reduce_emit(Gen *g, const ReduceStep *s)
{
    Operand in = operand(g, s->in_space), centre = in;
    if (s->squares) centre = operand(g, s->centre_space);
    Operand out = operand(g, SPACE_WORK);
    Value outer = reduce_learns_lines(g, s) ? count_arg(g, s->outer) : word_i64(g, 1);
    Value full = word_i64(g, 0), k = g->lengths_vary ? count_arg(g, s->k) : NULL;
    if (!k && s->k / PARTIALS) full = count_arg(g, s->k / PARTIALS);
    if (!k) k = add(g, mul(g, full, PARTIALS), word_i64(g, s->k % PARTIALS));
    Loop l = loop_of(g, outer);
    Operand from = operand_at(g, in, LLVMBuildMul(g->b, l.i, k, "")), to = operand_at(g, out, l.i);
    if (s->squares && reduce_centres_move(s)) centre = operand_at(g, centre, l.i);
    Loop rows = rows_begin(g, g->width);
    Value row = mul(g, rows.i, g->width), from_centre = NULL;
    if (s->squares) from_centre = load_rows(g, centre, row, g->tile == 1 ? PARTIALS : g->width);
    reduce_one(g, s, k, full, from, from_centre, to, row);
    loop_end(g, &rows, NULL);
    loop_end(g, &l, NULL);
}
