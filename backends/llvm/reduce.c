// reduce: sixteen partial results and a tree (plan.h). T = 1: the partials are one vector's slots; across: sixteen
// vectors of results. T > 1: sixteen vectors of rows; where values are longer than L1 holds, lanes on the stack, so
// that a value is read as it lies. Where a policy has reductions of many lengths (the softmax of each token of causal
// attention), the code learns the length, and elements behind the last are read but not taken.
#include "llvm.h"

#include <math.h>

enum { PARTIALS = 16, MOST_ROWS = 64, LONG = 256 }; // LONG: lanes that L1 does not hold of so many rows

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
    return where(g, better, v, p);
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
    Value step;    // across: lanes from element to element, or NULL
    Operand in, out, centres;
    Value row;    // T > 1: the first of a vector
    Value centre; // or NULL
} Reduction;

static Value load_slots(const Reduction *r, Value lane)
{
    return element(r->g, load_lanes(r->g, operand_at(r->g, r->in, lane), PARTIALS), r->centre);
}

// From the element on that is number i (i64) from `in` on.
static Operand element_at(const Reduction *r, Operand in, Value i)
{
    return operand_at(r->g, in, r->step ? product_of(r->g, i, r->step) : i);
}

// Of a vector of rows; T = 1: of results that lie side by side.
static Value load_element(const Reduction *r, Operand in, int j)
{
    Gen *g = r->g;
    Operand at = r->step ? element_at(r, in, word_i64(g, j)) : operand_fixed(g, in, j);
    return element(g, g->tile == 1 ? load_lanes(g, at, g->width) : load_rows(g, at, r->row, g->width), r->centre);
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
        Operand at = element_at(r, r->in, mul(g, l.i, PARTIALS));
        for (int j = 0; j < PARTIALS; j++) p[j] = two(g, op, p[j], load_element(r, at, j));
        loop_end(g, &l, p);
    }
    Operand behind = element_at(r, r->in, mul(g, r->full, PARTIALS));
    for (int j = 0; j < (int)(r->s->k % PARTIALS); j++) p[j] = two(g, op, p[j], load_element(r, behind, j));
    store_rows(r, p);
}

// ---- T > 1, long values: in the order in which they lie, since a line of each lane at a time comes from L2 at less than
// half the speed (Intel: 3.5 cycles a line instead of 1.5)

bool reductions_long(const Plan *plan)
{
    uint64_t few = 0, many = 0; // lanes
    const Step *s;
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&plan->programs[id]); (s = plan_next(&w));)
            if (s->kind == STEP_REDUCE && !s->reduce.across)
                *(s->reduce.k < LONG ? &few : &many) += s->reduce.k * (uint64_t)s->reduce.outer;
    return many > 8 * few;
}

static bool in_order(const Gen *g, const ReduceStep *s)
{
    bool work = s->in_space == SPACE_WORK && (!s->squares || s->centre_space == SPACE_WORK);
    return g->tile > 1 && g->long_values && !g->lengths_vary && !s->across && work && s->k >= PARTIALS;
}

// Vector number `vector` of a value.
static Value vector_at(Gen *g, Value base, Value vector) { return bytes_at(g, base, mul(g, vector, 4 * g->width)); }

static Value load_vector(Gen *g, Value base, Value vector)
{
    return load(g, floats(g, g->width), vector_at(g, base, vector));
}

// The centre of such a vector's rows.
static Value centre_of(const Reduction *r, Value vector)
{
    Gen *g = r->g;
    if (!r->s->squares) return NULL;
    Value row = LLVMBuildAnd(g->b, mul(g, vector, g->width), add(g, g->rows, word_i64(g, -1)), "");
    return load_rows(g, r->centres, row, g->width);
}

// Partials of the whole sixteens: of so many vectors, from number `first` on, as 64 rows have.
static void some_partials(const Reduction *r, Value first, Value partials)
{
    Gen *g = r->g;
    Value p[PARTIALS], centre[PARTIALS], vector[PARTIALS];
    int n = MOST_ROWS / g->width;
    for (int v = 0; v < n; v++) {
        p[v] = start(g, r->s->op, g->width);
        centre[v] = centre_of(r, word_i64(g, v));
        vector[v] = add(g, first, word_i64(g, v));
    }
    Loop l = loop_of(g, r->full);
    for (int v = 0; v < n; v++) p[v] = loop_phi(g, &l, p[v]);
    Operand at = operand_at(g, r->in, mul(g, l.i, PARTIALS));
    for (int v = 0; v < n; v++)
        p[v] = two(g, r->s->op, p[v], element(g, load_vector(g, at.base, vector[v]), centre[v]));
    loop_end(g, &l, p);
    for (int v = 0; v < n; v++) store(g, p[v], vector_at(g, partials, vector[v]));
}

// Of each of the first partials and what lies at `with`, for so many lanes; `elements`: of the value itself.
static void combine(const Reduction *r, Value partials, Value with, bool elements, Value lanes, Value to)
{
    Gen *g = r->g;
    Loop l = loop_of(g, quotient(g, product_of(g, lanes, g->rows), word_i64(g, g->width)));
    Value v = load_vector(g, with, l.i);
    if (elements) v = element(g, v, centre_of(r, l.i));
    store(g, two(g, r->s->op, load_vector(g, partials, l.i), v), vector_at(g, to, l.i));
    loop_end(g, &l, NULL);
}

static void reduce_in_order(const Reduction *r, Value partials)
{
    Gen *g = r->g;
    Loop some = loop_of(g, quotient(g, g->rows, word_i64(g, MOST_ROWS / PARTIALS)));
    some_partials(r, mul(g, some.i, MOST_ROWS / g->width), partials);
    loop_end(g, &some, NULL);
    Value rest = word_i64(g, r->s->k % PARTIALS), behind = operand_at(g, r->in, mul(g, r->full, PARTIALS)).base;
    if (r->s->k % PARTIALS) combine(r, partials, behind, true, rest, partials);
    Loop tree = loop_begin(g, 4);
    Value half = LLVMBuildLShr(g->b, word_i64(g, PARTIALS / 2), tree.i, "");
    Value upper = bytes_at(g, partials, product_of(g, half, g->lane_bytes));
    Value last = equal(g, half, 1);
    combine(r, partials, upper, false, half, where(g, last, r->out.base, partials));
    loop_end(g, &tree, NULL);
}

// ---- a length that the code learns

static void slots_of_any(const Reduction *r)
{
    Gen *g = r->g;
    Loop l = loop_of(g, pieces(g, r->k, word_i64(g, PARTIALS)));
    Value p = loop_phi(g, &l, start(g, r->s->op, PARTIALS)), at = mul(g, l.i, PARTIALS);
    Value left = LLVMBuildTrunc(g->b, difference(g, r->k, at), g->i32, "");
    Value there = is_below(g, iota(g, PARTIALS), splat(g, left, PARTIALS));
    Value taken = two(g, r->s->op, p, load_slots(r, at));
    p = where(g, there, taken, p);
    loop_end(g, &l, &p);
    store_slots(r, p);
}

static void rows_of_any(const Reduction *r)
{
    Gen *g = r->g;
    Value p[PARTIALS];
    Loop l = loop_of(g, pieces(g, r->k, word_i64(g, PARTIALS)));
    for (int j = 0; j < PARTIALS; j++) p[j] = loop_phi(g, &l, start(g, r->s->op, g->width));
    Value at = mul(g, l.i, PARTIALS), left = difference(g, r->k, at);
    for (int j = 0; j < PARTIALS; j++) {
        Value there = is_below(g, word_i64(g, j), left);
        Value v = load_element(r, operand_at(g, r->in, at), j);
        p[j] = where(g, there, two(g, r->s->op, p[j], v), p[j]);
    }
    loop_end(g, &l, p);
    store_rows(r, p);
}

static void reduce_row_by_row(Reduction *r)
{
    Gen *g = r->g;
    bool any = reduce_learns_length(g, r->s), by_slots = g->tile == 1 && !r->s->across;
    Loop rows = rows_begin(g, g->width);
    r->row = mul(g, rows.i, g->width);
    if (r->s->squares && r->s->across && r->s->centres && g->tile == 1)
        r->centre = load_lanes(g, r->centres, g->width);
    else if (r->s->squares)
        r->centre = load_rows(g, r->centres, r->row, by_slots ? PARTIALS : g->width);
    if (by_slots)
        (any ? slots_of_any : reduce_slots)(r);
    else
        (any ? rows_of_any : reduce_rows)(r);
    loop_end(g, &rows, NULL);
}

bool reduce_learns_lines(const Gen *g, const ReduceStep *s) { return s->outer > 1 || g->ahead; }
bool reduce_learns_length(const Gen *g, const ReduceStep *s) { return g->lengths_vary && !s->across; }
bool reduce_centres_move(const ReduceStep *s) { return s->centres || s->outer == 1; }

// The counts behind the lane numbers: outer where it is learned; the length, or its whole sixteens where there are any.
void reduce_emit(Gen *g, const ReduceStep *s)
{
    Reduction r = {.g = g, .s = s, .full = word_i64(g, 0)};
    Operand in = operand(g, s->in_space), centres = in;
    if (s->squares) centres = operand(g, s->centre_space);
    Operand out = operand(g, SPACE_WORK);
    Value outer = reduce_learns_lines(g, s) ? count_arg(g, s->outer) : word_i64(g, 1);
    if (reduce_learns_length(g, s)) r.k = count_arg(g, s->k);
    if (!r.k && s->k / PARTIALS) r.full = count_arg(g, s->k / PARTIALS);
    if (!r.k) r.k = add(g, mul(g, r.full, PARTIALS), word_i64(g, s->k % PARTIALS));
    Value partials = in_order(g, s) ? stack_floats(g, PARTIALS * MOST_ROWS) : NULL;
    bool abreast = s->across && g->tile == 1;
    Loop l = loop_of(g, abreast ? pieces(g, outer, word_i64(g, g->width)) : outer);
    Value first = abreast ? mul(g, l.i, g->width) : l.i;
    if (s->across) r.step = outer;
    r.in = operand_at(g, in, s->across ? first : product_of(g, l.i, r.k));
    r.out = operand_at(g, out, first);
    r.centres = s->squares && reduce_centres_move(s) ? operand_at(g, centres, first) : centres;
    if (partials)
        reduce_in_order(&r, partials);
    else
        reduce_row_by_row(&r);
    loop_end(g, &l, NULL);
}
