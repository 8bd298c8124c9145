// The register blocks of all products. A block is m tokens x n units x v row vectors of sums in registers; one
// pass over k loads n units of w and m values of x and does m * n * v fused multiply-adds.
//
//     T = 1    a unit is a vector of outputs, x is spread over it; v = 1
//     T > 1    a unit is one output, its vectors are rows; of w the scalar is spread (CONST) or its rows are loaded
//
// Each sum is one chain in the order of k. Where K is cut into blocks of kb, each block is a chain from +0 and the
// blocks are added in order: either one after the other, or (one token, T = 1) up to four chains side by side.
// Weights of 16 bits are expanded in chunks first (product_chunks.c), and fetched ahead as others are (product_fetch.c).
//
// K and kb are counts that the code learns, so that products that differ in K alone share it; what is worth knowing
// beforehand is in Cuts.
#include "compact.h"

#include <assert.h>
#include <string.h>

enum { SMALL_SUMS = 8 }; // in_small_blocks

Value row_at(Gen *g, const Block *b, int v) { return add(g, b->row, word_i64(g, v * g->width)); }

// Unit n of an operand of outputs, row vector v.
Value load_unit(Gen *g, const Block *b, Operand o, int n, int v)
{
    o = operand_fixed(g, o, (int64_t)n * unit_lanes(g));
    return g->tile == 1 ? load_lanes(g, o, g->width) : load_rows(g, o, row_at(g, b, v), g->width);
}

static Factor load_x(Gen *g, const Product *p, const Block *b, Operand x, int m, int v)
{
    if (b->inputs) return (Factor){b->inputs[m], b->input};
    Operand at = b->tokens ? operand_at(g, b->tokens[m], b->tap) : operand_at(g, x, mul(g, p->x_stride, m));
    return g->tile == 1 ? scalar(g, load_lanes(g, at, 1)) : whole(load_rows(g, at, row_at(g, b, v), g->width));
}

// The one step of all sums: of numbers, or of pairs (product_bf16.c).
static Value multiply(Gen *g, const Product *p, Factor x, Factor w, Value sum)
{
    return p->paired ? pairs_dot(g, x, w, sum) : fma_of(g, spread(g, x), spread(g, w), sum);
}

// Unit n of w for all rows: one weight. Those of 16 bits are expanded a vector at a time (`few`), units in order; so
// are all loaded where slots are read.
static Factor load_weight(Gen *g, const Block *b, Operand w, int n, Value *few)
{
    if (w.type == WEIGHTS_F32 && !reads_slots(g)) return whole(load_unit(g, b, w, n, 0));
    if (n % g->width == 0) *few = load_lanes(g, operand_fixed(g, w, n), g->width);
    Factor f = {*few, n % g->width};
    return reads_slots(g) ? f : whole(spread(g, f));
}

// x is held in registers, w passes by.
static void hold_x(Gen *g, const Product *p, const Block *b, Operand x, Operand w, Value *sum)
{
    Factor held[MOST_SUMS], one = {0};
    Value few = NULL;
    bool is_one = w.shared && g->tile > 1;
    for (int m = 0; m < b->m; m++)
        for (int v = 0; v < b->v; v++) held[m * b->v + v] = load_x(g, p, b, x, m, v);
    for (int n = 0; n < b->n; n++) {
        if (is_one) one = load_weight(g, b, w, n, &few);
        for (int v = 0; v < b->v; v++) {
            Factor wv = is_one ? one : whole(load_unit(g, b, w, n, v));
            for (int m = 0; m < b->m; m++) {
                Value *s = &sum[(m * b->n + n) * b->v + v];
                *s = multiply(g, p, held[m * b->v + v], wv, *s);
            }
        }
    }
}

// No two units have an input in common.
static bool owns_x(const Gen *g, const Product *p) { return p->diagonal && p->diagonal <= unit_lanes(g); }

// Unit n of x: the inputs of its outputs, of which so many share one.
static Factor load_own(Gen *g, const Product *p, const Block *b, Operand x, int n, int v)
{
    int pick[MOST_SLOTS];
    if (p->diagonal == unit_lanes(g) && g->tile == 1)
        return scalar(g, load_lanes(g, operand_fixed(g, x, n * p->diagonal), 1));
    Value all = load_unit(g, b, x, n, v);
    if (p->diagonal == 1) return whole(all);
    for (int i = 0; i < g->width; i++) pick[i] = i - i % (int)p->diagonal;
    return whole(shuffled(g, all, NULL, pick, g->width));
}

// No two sums share their x, as none does that of w.
static void own_x(Gen *g, const Product *p, const Block *b, Operand w, Value *sum)
{
    Value few = NULL;
    for (int n = 0; n < b->n; n++) {
        Factor wn = g->tile > 1 ? load_weight(g, b, w, n, &few) : whole(load_unit(g, b, w, n, 0));
        for (int m = 0; m < b->m; m++) {
            Operand x = operand_at(g, b->tokens[m], b->tap);
            for (int v = 0; v < b->v; v++) {
                Value *s = &sum[(m * b->n + n) * b->v + v];
                *s = multiply(g, p, load_own(g, p, b, x, n, v), wn, *s);
            }
        }
    }
}

// w is held, x passes by; v = 1.
static void hold_w(Gen *g, const Product *p, const Block *b, Operand x, Operand w, Value *sum)
{
    Factor held[MOST_SUMS];
    Value few = NULL;
    for (int n = 0; n < b->n; n++)
        held[n] = w.shared && g->tile > 1 ? load_weight(g, b, w, n, &few) : whole(load_unit(g, b, w, n, 0));
    for (int m = 0; m < b->m; m++) {
        Factor xv = load_x(g, p, b, x, m, 0);
        for (int n = 0; n < b->n; n++) sum[m * b->n + n] = multiply(g, p, xv, held[n], sum[m * b->n + n]);
    }
}

// One k: x and w stand at it. The fewer operands are held, so that sums and operands fit the registers.
static void multiply_add(Gen *g, const Product *p, const Block *b, Operand x, Operand w, Value *sum)
{
    if (owns_x(g, p))
        own_x(g, p, b, w, sum);
    else if (b->v == 1 && b->m > b->n)
        hold_w(g, p, b, x, w, sum);
    else
        hold_x(g, p, b, x, w, sum);
}

static void zero_sums(Gen *g, Value *sum, int n)
{
    for (int i = 0; i < n; i++) sum[i] = splat_float(g, 0.0f, g->width);
}

Cuts cuts_of(uint32_t k, uint32_t kb)
{
    int64_t cuts = blocks_of(k, kb);
    bool whole = k % 4 == 0 && (cuts == 1 || (kb % 4 == 0 && k % kb == 0));
    return (Cuts){(int)least(cuts, SIDE_BY_SIDE + 1), whole};
}

// T = 1 where slots are read: the inputs of a pass are one load.
static bool loads_inputs(const Gen *g, const Product *p) { return g->tile == 1 && reads_slots(g) && !p->windows.taps; }

static const Value *load_inputs(Gen *g, const Product *p, const Block *b, Operand x, int n, Value *inputs)
{
    for (int m = 0; m < b->m; m++) inputs[m] = load_lanes(g, operand_at(g, x, mul(g, p->x_stride, m)), n);
    return inputs;
}

// Chains side by side: number c starts at k = c * kb. All go on for `unroll` inputs from k on.
static void run_pass(Gen *g, const Product *p, const Block *b, int chains, Value k, int unroll, Value *sum)
{
    if (b->next.to) expand_next(g, p, b, k, unroll);
    for (int c = 0; c < chains; c++) {
        Value first = add(g, k, mul(g, p->kb, c));
        Operand x = operand_at(g, b->x, first), w = operand_at(g, b->w, mul(g, first, p->w_stride));
        Value inputs[MOST_TOKENS];
        Block own = *b;
        if (loads_inputs(g, p) && unroll > 1) own.inputs = load_inputs(g, p, b, x, unroll, inputs);
        for (own.input = 0; own.input < unroll; own.input++) {
            if (b->tokens) own.tap = window_tap(g, &p->windows, add(g, first, word_i64(g, own.input)));
            if (p->diagonal) own.tap = add(g, own.tap, b->column);
            multiply_add(g, p, &own, operand_fixed(g, x, own.input), operand_fixed(g, w, own.input * p->w_stride),
                         sum + c * sums_of(b));
        }
    }
    fetch_pass(g, p, b, k, unroll);
}

// From k on for `passes` times `unroll` inputs; `maybe`: passes may be 0.
static void run_loop(Gen *g, const Product *p, const Block *b, int chains, Value k, Value passes, int unroll,
                     bool maybe, Value *sum)
{
    int all = sums_of(b) * chains;
    Block own = *b;
    Value next[MOST_SUMS + 1], ahead = fetch_from(g, b, k);
    Loop l = maybe ? loop_maybe(g, passes) : loop_of(g, passes);
    for (int i = 0; i < all; i++) next[i] = loop_phi(g, &l, sum[i]);
    if (ahead) own.ahead = loop_phi(g, &l, ahead);
    run_pass(g, p, &own, chains, add(g, k, mul(g, l.i, unroll)), unroll, next);
    if (ahead) next[all] = fetch_from(g, &own, word_i64(g, unroll));
    loop_end(g, &l, next);
    memcpy(sum, next, (size_t)all * sizeof *sum);
}

// T > 1. Of few inputs a block's loads and stores take as long as its multiplications; what a CPU has at once then has
// to be more than one block. Where only large products count in time, twice as many are few: it is less code.
static bool in_small_blocks(const Gen *g, const Product *p)
{
    bool f32 = p->w.type == WEIGHTS_F32 && !p->paired;
    return g->tile > 1 && p->w.shared && f32 && !reads_slots(g) &&
           has_inputs(p, g->ahead ? 2 * FEW_INPUTS : FEW_INPUTS);
}

// Two inputs a pass: Intel's AVX-512 takes 12.2 instead of 13.2 cycles for one of 24 sums then; Zen 5 takes as long. Where
// blocks are as wide as they may be, the narrower last ones are few, and would be more code.
static bool takes_two(const Gen *g, const Product *p, int sums)
{
    if (g->tile <= g->width || g->info.level != LEVEL_AVX512 || !p->w.shared || !p->cut.whole) return false;
    if (p->paired || !(p->w.type == WEIGHTS_F32 || p->buffer)) return false;
    return g->ahead ? 3 * sums > 2 * g->info.sums : 3 * sums >= 2 * g->info.sums;
}

// One row, weights in L2 or near L3: a loop with more than so many loads of them gets its lines at two thirds of the
// speed (Zen 5, whose prefetchers know loads by their places in the code). From memory more are better.
enum { MOST_LOADS = 16 };

static int unroll_of(const Gen *g, const Product *p, int sums)
{
    if (in_small_blocks(g, p)) return 1;
    if (takes_two(g, p, sums)) return 2;
    if (2 * sums > g->info.sums) return loads_inputs(g, p) && p->cut.whole && !p->paired ? 2 : 1;
    int unroll = sums <= 8 ? 4 : 2;
    bool fewer = g->few_loads && g->tile == 1 && !loads_inputs(g, p) && unroll * sums > MOST_LOADS;
    return fewer ? unroll / 2 : unroll;
}

static void run_known(Gen *g, const Product *p, const Block *b, int chains, Value k, int64_t count, int unroll,
                      Value *sum)
{
    int64_t passes = count / unroll;
    if (passes) run_loop(g, p, b, chains, k, word_i64(g, passes), unroll, false, sum);
    for (int64_t u = passes * unroll; u < count; u++) run_pass(g, p, b, chains, add(g, k, word_i64(g, u)), 1, sum);
}

// All chains go on for `count` inputs from k on; `maybe`: count may be 0.
void run_chains(Gen *g, const Product *p, const Block *b, int chains, Value k, Value count, bool maybe, Value *sum)
{
    int unroll = unroll_of(g, p, sums_of(b) * chains);
    if (LLVMIsConstant(count)) {
        run_known(g, p, b, chains, k, (int64_t)LLVMConstIntGetZExtValue(count), unroll, sum);
        return;
    }
    Value passes = quotient(g, count, word_i64(g, unroll));
    run_loop(g, p, b, chains, k, passes, unroll, maybe || (unroll > 1 && !p->cut.whole), sum);
    if (p->cut.whole || unroll == 1) return;
    Value done = mul(g, passes, unroll);
    run_loop(g, p, b, chains, add(g, k, done), difference(g, count, done), 1, true, sum);
}

static void add_sums(Gen *g, Value *total, const Value *sum, int n)
{
    for (int i = 0; i < n; i++) total[i] = LLVMBuildFAdd(g->b, total[i], sum[i], "");
}

// The next rows of a block, from input `first` on; what it has to fetch begins at `ahead`.
Loop pass_begin(Gen *g, const Product *p, Block *b, Value ahead, Value first)
{
    Loop rows = rows_begin(g, b->v * g->width);
    if (ahead) fetch_rows(g, p, b, ahead, first, rows.i);
    b->row = mul(g, rows.i, (int64_t)b->v * g->width);
    return rows;
}

// All blocks of K at once; the last one may be shorter.
static void blocks_abreast(Gen *g, const Product *p, const Block *b, int chains, Value *total)
{
    Value sum[MOST_SUMS], start = word_i64(g, 0);
    int each = sums_of(b);
    zero_sums(g, sum, each * chains);
    if (p->cut.whole) {
        run_chains(g, p, b, chains, start, p->kb, false, sum);
    } else {
        Value last = difference(g, p->k, mul(g, p->kb, chains - 1));
        run_chains(g, p, b, chains, start, last, false, sum);
        run_chains(g, p, b, chains - 1, last, difference(g, p->kb, last), true, sum);
    }
    for (int i = 0; i < each; i++) total[i] = sum[i];
    for (int c = 1; c < chains; c++) add_sums(g, total, sum + c * each, each);
}

void one_block(Gen *g, const Product *p, const Block *b, Value k, Value count, Value *total)
{
    Value sum[MOST_SUMS];
    zero_sums(g, sum, sums_of(b));
    run_chains(g, p, b, 1, k, count, false, sum);
    add_sums(g, total, sum, sums_of(b));
}

// One block of K after the other. The total starts at -0, which adds nothing to any number, not even to -0.
static void blocks_in_turn(Gen *g, const Product *p, const Block *b, Value *total)
{
    int each = sums_of(b);
    if (p->cut.cuts == 1) {
        zero_sums(g, total, each);
        run_chains(g, p, b, 1, word_i64(g, 0), p->k, false, total);
        return;
    }
    for (int i = 0; i < each; i++) total[i] = splat_float(g, -0.0f, g->width);
    Loop l = loop_of(g, p->full);
    for (int i = 0; i < each; i++) total[i] = loop_phi(g, &l, total[i]);
    one_block(g, p, b, product_of(g, l.i, p->kb), p->kb, total);
    loop_end(g, &l, total);
    if (p->cut.whole) return;
    if (LLVMIsConstant(p->rest)) {
        if (LLVMConstIntGetZExtValue(p->rest)) one_block(g, p, b, product_of(g, p->full, p->kb), p->rest, total);
        return;
    }
    Loop rest = loop_where(g, differs(g, p->rest, 0));
    for (int i = 0; i < each; i++) total[i] = loop_phi(g, &rest, total[i]);
    one_block(g, p, b, product_of(g, p->full, p->kb), p->rest, total);
    loop_end(g, &rest, total);
}

// Mixed: 1 where there is a bias alone.
static Value scale_of(Gen *g, const Product *p, const Block *b, int m, int v)
{
    Value scale = load_rows(g, operand_fixed(g, b->add, m), g->tile > 1 ? row_at(g, b, v) : NULL, g->width);
    if (!p->parts) return scale;
    Value both = equal(g, p->parts, 2);
    return where(g, both, scale, splat_float(g, 1.0f, g->width));
}

// The sum with what becomes of it behind the product.
static Value finished(Gen *g, const Product *p, const Block *b, int m, int n, int v, Value sum)
{
    if (p->scaled) return fma_of(g, sum, scale_of(g, p, b, m, v), load_unit(g, b, b->bias, n, v));
    Value token = mul(g, p->out_stride, m);
    if (p->has_add) sum = LLVMBuildFAdd(g->b, sum, load_unit(g, b, operand_at(g, b->add, token), n, v), "");
    if (p->has_bias) sum = LLVMBuildFAdd(g->b, sum, load_unit(g, b, b->bias, n, v), "");
    return sum;
}

// T = 1: the last unit of the only token may be written whole (plan.h).
void store_unit(Gen *g, const Product *p, const Block *b, int m, int n, int v, Value sum)
{
    Operand out = operand_at(g, b->out, mul(g, p->out_stride, m));
    out = operand_fixed(g, out, (int64_t)n * unit_lanes(g));
    if (g->tile > 1)
        store(g, sum, row_address(g, out, row_at(g, b, v)));
    else
        store_first(g, sum, (p->m > 1 || p->tight) && n == b->n - 1 ? b->last : g->width, g->width, out.base);
}

static void finish_all(Gen *g, const Product *p, const Block *b, Value *sum)
{
    int each = b->n * b->v;
    for (int i = 0; i < sums_of(b); i++) sum[i] = finished(g, p, b, i / each, i % each / b->v, i % b->v, sum[i]);
}

// Mixed: where there is anything.
static void finish_some(Gen *g, const Product *p, const Block *b, Value *sum)
{
    Loop l = loop_where(g, differs(g, p->parts, 0));
    for (int i = 0; i < sums_of(b); i++) sum[i] = loop_phi(g, &l, sum[i]);
    finish_all(g, p, b, sum);
    loop_end(g, &l, sum);
}

void finish_sums(Gen *g, const Product *p, const Block *b, Value *sum)
{
    (p->parts ? finish_some : finish_all)(g, p, b, sum);
    if (p->after) map_where(g, p->after, p->applies, sum, sums_of(b));
}

static void finish_block(Gen *g, const Product *p, const Block *b, Value *sum)
{
    int each = b->n * b->v;
    finish_sums(g, p, b, sum);
    for (int i = 0; i < sums_of(b); i++) store_unit(g, p, b, i / each, i % each / b->v, i % b->v, sum[i]);
}

static void rows_emit(Gen *g, const Product *p, const Block *b, int chains)
{
    Value total[MOST_SUMS];
    assert(sums_of(b) * chains <= MOST_SUMS && (!p->compact || sums_of(b) * g->width == GEMM_GROUP));
    if (p->compact)
        compact_sums(g, 0, (Compact){b->out.base, b->x.base, b->w.base, p->compact, p->k}, total);
    else if (chains > 1)
        blocks_abreast(g, p, b, chains, total);
    else
        blocks_in_turn(g, p, b, total);
    finish_block(g, p, b, total);
}

// The rows innermost: the block's weights are used for all of them while they are near.
// `lane`: outputs before the block's.
static void block_emit(Gen *g, const Product *p, Block b, Value lane, int chains)
{
    Value ahead = prefetches(g, p) ? fetch_begin(g, p, &b, lane) : NULL;
    if (p->buffer) {
        chunks_emit(g, p, &b, ahead);
        return;
    }
    Loop rows = pass_begin(g, p, &b, ahead, word_i64(g, 0));
    rows_emit(g, p, &b, chains);
    loop_end(g, &rows, NULL);
}

// ---- the shape of blocks
typedef struct {
    int m, n, v, chains;
} Shape;

// Of the units of a diagonal's block as many as go into it evenly.
static int units_sharing_x(int64_t units, int64_t most)
{
    int64_t n = least(most, units);
    while (units % n) n--;
    return (int)n;
}

static Shape shape_of(const Gen *g, const Product *p)
{
    Shape s = {1, 1, 1, 1};
    int64_t units = blocks_of(p->n, unit_lanes(g));
    int cuts = p->cut.cuts, sums = p->paired ? pairs_sums(&g->info) : g->info.sums;
    if (g->tile == 1) {
        s.m = (int)least(p->m, MOST_TOKENS);
        if (p->m == 1 && cuts <= SIDE_BY_SIDE) s.chains = cuts;
    } else if (p->w.shared) {
        int rows = g->info.level == LEVEL_AVX512 ? g->tile : 16;
        s.v = rows / g->width;
        if (p->diagonal) s.m = (int)least(p->m, s.v < MOST_TOKENS ? MOST_TOKENS / s.v : 1); // which share a weight
    } else {
        s.m = (int)least(p->m, sums > 12 ? 4 : 3);
    }
    // T > 1: the totals of a K that is cut may wait in memory, T = 1: they are as many as the sums
    int held = s.m * s.v * s.chains * (g->tile == 1 && cuts > 1 && s.chains == 1 ? 2 : 1);
    int64_t most = sums / held > 1 ? sums / held : 1;
    if (g->tile > 1 && !p->w.shared) most = least(most, 4);
    if (in_small_blocks(g, p)) most = least(most, SMALL_SUMS / s.v);
    s.n = (int)blocks_of(units, blocks_of(units, most)); // even blocks
    if (p->diagonal && !owns_x(g, p)) s.n = units_sharing_x(p->diagonal / unit_lanes(g), most);
    if (p->diagonal || (hurries(g, p) && s.v > 1)) return s;
    // or equal ones, which need no code for the last
    for (int64_t n = most; sums > 12 && 3 * n >= 2 * most; n--)
        if (units % n == 0) {
            s.n = (int)n;
            break;
        }
    return s;
}

// Where the inputs of the diagonal's block are in which output `lane` is.
static Value block_of_diagonal(Gen *g, const Product *p, Value lane)
{
    return mul(g, quotient(g, lane, word_i64(g, p->diagonal)), p->diagonal);
}

// Blocks along the outputs; `b` stands at the first.
static void outputs_emit(Gen *g, const Product *p, const Shape *s, Block b)
{
    int unit = unit_lanes(g);
    int64_t units = blocks_of(p->n, unit), full = p->n / unit / s->n, rest = units - full * s->n;
    Block first = b;
    b.n = s->n;
    b.last = unit;
    if (full) {
        Loop l = loop_begin(g, full);
        Value lane = mul(g, l.i, (int64_t)s->n * unit);
        b.w = operand_at(g, first.w, lane);
        if (p->diagonal) b.column = block_of_diagonal(g, p, lane);
        b.out = operand_at(g, first.out, lane);
        if (p->has_add) b.add = operand_at(g, first.add, lane);
        if (p->has_bias) b.bias = operand_at(g, first.bias, lane);
        block_emit(g, p, b, lane, s->chains);
        loop_end(g, &l, NULL);
    }
    if (!rest) return;
    int64_t lane = full * s->n * unit;
    b.n = (int)rest;
    b.last = (int)(p->n - (units - 1) * unit);
    b.w = operand_fixed(g, first.w, lane);
    if (p->diagonal) b.column = block_of_diagonal(g, p, word_i64(g, lane));
    b.out = operand_fixed(g, first.out, lane);
    if (p->has_add) b.add = operand_fixed(g, first.add, lane);
    if (p->has_bias) b.bias = operand_fixed(g, first.bias, lane);
    block_emit(g, p, b, word_i64(g, lane), s->chains);
}

// `m` tokens from `token` (i64) on.
static void tokens_emit(Gen *g, const Product *p, const Shape *s, Block b, int m, Value token)
{
    Operand tokens[MOST_TOKENS];
    b.m = m;
    if (p->windows.taps)
        b.tokens = tokens;
    else
        b.x = operand_at(g, b.x, product_of(g, token, p->x_stride));
    for (int i = 0; b.tokens && i < m; i++) tokens[i] = window_at(g, &p->windows, p->x, add(g, token, word_i64(g, i)));
    b.out = operand_at(g, b.out, product_of(g, token, p->out_stride));
    if (p->has_add) b.add = operand_at(g, b.add, product_of(g, token, p->out_stride));
    if (p->scaled) b.add = operand_at(g, b.add, token);
    outputs_emit(g, p, s, b);
}

void product_emit(Gen *g, const Product *p)
{
    Shape s = shape_of(g, p);
    Block b = {.m = 1, .n = 1, .v = s.v, .x = p->x, .w = p->w, .add = p->add, .bias = p->bias, .out = p->out};
    int64_t full = p->m / s.m;
    Loop l = loop_begin(g, full);
    tokens_emit(g, p, &s, b, s.m, mul(g, l.i, s.m));
    loop_end(g, &l, NULL);
    if (p->m % s.m) tokens_emit(g, p, &s, b, (int)(p->m % s.m), word_i64(g, full * s.m));
}
