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

static Value tree_of_slots(Gen *g, Op op, Value p)
{
    for (int half = PARTIALS / 2; half > 1; half /= 2) p = two(g, op, slots(g, p, 0, half), slots(g, p, half, half));
    Value first = slots(g, p, 0, 1);
    return two(g, op, first, slots(g, p, 1, 1));
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

// One result and where it comes from.
typedef struct {
    Gen *g;
    const ReduceStep *s;
    Value k, full; // the length, its whole sixteens (i64)
    Operand in, out;
    Value row;    // T > 1: the first of a vector
    Value centre; // or NULL
} Reduction;

static Value load_slots(const Reduction *r, Value lane)
{
    return element(r->g, load_lanes(r->g, operand_at(r->g, r->in, lane), PARTIALS), r->centre);
}

static Value load_element(const Reduction *r, Operand in, int j)
{
    return element(r->g, load_rows(r->g, operand_fixed(r->g, in, j), r->row, r->g->width), r->centre);
}

static void store_slots(const Reduction *r, Value p) { store(r->g, tree_of_slots(r->g, r->s->op, p), r->out.base); }

static void store_rows(const Reduction *r, Value *p)
{
    Gen *g = r->g;
    store(g, tree_of_rows(g, r->s->op, p), row_address(g, r->out, r->row));
}

static void reduce_slots(const Reduction *r)
{
    Gen *g = r->g;
    int rest = (int)(r->s->k % PARTIALS);
    Value p = start(g, r->s->op, PARTIALS);
    if (r->s->k / PARTIALS) {
        Loop l = loop_of(g, r->full);
        p = loop_phi(g, &l, p);
        p = two(g, r->s->op, p, load_slots(r, mul(g, l.i, PARTIALS)));
        loop_end(g, &l, &p);
    }
    if (rest) {
        Value last = load_slots(r, mul(g, r->full, PARTIALS));
        p = blend(g, two(g, r->s->op, p, last), p, rest);
    }
    store_slots(r, p);
}

static void reduce_rows(const Reduction *r)
{
    Gen *g = r->g;
    Op op = r->s->op;
    Value p[PARTIALS];
    for (int j = 0; j < PARTIALS; j++) p[j] = start(g, op, g->width);
    if (r->s->k / PARTIALS) {
        Loop l = loop_of(g, r->full);
        for (int j = 0; j < PARTIALS; j++) p[j] = loop_phi(g, &l, p[j]);
        Operand at = operand_at(g, r->in, mul(g, l.i, PARTIALS));
        for (int j = 0; j < PARTIALS; j++) p[j] = two(g, op, p[j], load_element(r, at, j));
        loop_end(g, &l, p);
    }
    Operand behind = operand_at(g, r->in, mul(g, r->full, PARTIALS));
    for (int j = 0; j < (int)(r->s->k % PARTIALS); j++) p[j] = two(g, op, p[j], load_element(r, behind, j));
    store_rows(r, p);
}

// ---- a length that the code learns

static void slots_of_any(const Reduction *r)
{
    Gen *g = r->g;
    Loop l = loop_of(g, pieces(g, r->k, word_i64(g, PARTIALS)));
    Value p = loop_phi(g, &l, start(g, r->s->op, PARTIALS)), at = mul(g, l.i, PARTIALS);
    Value left = LLVMBuildTrunc(g->b, LLVMBuildSub(g->b, r->k, at, ""), g->i32, "");
    Value there = LLVMBuildICmp(g->b, LLVMIntULT, iota(g, PARTIALS), splat(g, left, PARTIALS), "");
    Value taken = two(g, r->s->op, p, load_slots(r, at));
    p = LLVMBuildSelect(g->b, there, taken, p, "");
    loop_end(g, &l, &p);
    store_slots(r, p);
}

static void rows_of_any(const Reduction *r)
{
    Gen *g = r->g;
    Value p[PARTIALS];
    Loop l = loop_of(g, pieces(g, r->k, word_i64(g, PARTIALS)));
    for (int j = 0; j < PARTIALS; j++) p[j] = loop_phi(g, &l, start(g, r->s->op, g->width));
    Value at = mul(g, l.i, PARTIALS), left = LLVMBuildSub(g->b, r->k, at, "");
    for (int j = 0; j < PARTIALS; j++) {
        Value there = LLVMBuildICmp(g->b, LLVMIntULT, word_i64(g, j), left, "");
        Value v = load_element(r, operand_at(g, r->in, at), j);
        p[j] = LLVMBuildSelect(g->b, there, two(g, r->s->op, p[j], v), p[j], "");
    }
    loop_end(g, &l, p);
    store_rows(r, p);
}

bool reduce_learns_lines(const Gen *g, const ReduceStep *s) { return s->outer > 1 || g->ahead; }
bool reduce_centres_move(const ReduceStep *s) { return s->centres || s->outer == 1; }

// The counts behind the lane numbers: outer where it is learned; the length, or its whole sixteens where there are any.
void reduce_emit(Gen *g, const ReduceStep *s)
{
    Reduction r = {.g = g, .s = s, .full = word_i64(g, 0)};
    Operand in = operand(g, s->in_space), centre = in;
    if (s->squares) centre = operand(g, s->centre_space);
    Operand out = operand(g, SPACE_WORK);
    Value outer = reduce_learns_lines(g, s) ? count_arg(g, s->outer) : word_i64(g, 1);
    if (g->lengths_vary) r.k = count_arg(g, s->k);
    if (!r.k && s->k / PARTIALS) r.full = count_arg(g, s->k / PARTIALS);
    if (!r.k) r.k = add(g, mul(g, r.full, PARTIALS), word_i64(g, s->k % PARTIALS));
    Loop l = loop_of(g, outer);
    r.in = operand_at(g, in, LLVMBuildMul(g->b, l.i, r.k, ""));
    r.out = operand_at(g, out, l.i);
    if (s->squares && reduce_centres_move(s)) centre = operand_at(g, centre, l.i);
    Loop rows = rows_begin(g, g->width);
    r.row = mul(g, rows.i, g->width);
    if (s->squares) r.centre = load_rows(g, centre, r.row, g->tile == 1 ? PARTIALS : g->width);
    if (g->tile == 1)
        (g->lengths_vary ? slots_of_any : reduce_slots)(&r);
    else
        (g->lengths_vary ? rows_of_any : reduce_rows)(&r);
    loop_end(g, &rows, NULL);
    loop_end(g, &l, NULL);
}
