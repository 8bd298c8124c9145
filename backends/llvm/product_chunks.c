// Products with weights of 16 bits, T > 1.
//
// A chunk of a block's columns is expanded for all rows at once, onto the stack; between chunks the sums wait in `out`.
// Each is one chain in the order of k all the same; where K is cut, a chunk is one of its blocks. Blocks of several
// vectors leave time for more: the first rows' pass over a chunk expands the next one.
#include "product.h"

#include <assert.h>

enum { CHUNK = 64, MOST_EXPANDED = 32, APART = 128 }; // APART: the two chunks' addresses differ in their low bits, too

// What is expanded: floats from input to input, whole vectors.
static int64_t expanded_stride(const Gen *g, const Block *b) { return blocks_of(b->n, g->width) * g->width; }

static void expand_input(Gen *g, const Block *b, Operand from, Value to)
{
    for (int n = 0; n < b->n; n += g->width)
        store(g, load_lanes(g, operand_fixed(g, from, n), g->width), bytes_at(g, to, word_i64(g, 4 * n)));
}

// Behind the last inputs, those again. In blocks of their own: else loads are moved past the stores, and spilled.
void expand_next(Gen *g, const Product *p, const Block *b, Value k, int unroll)
{
    Loop l = loop_maybe(g, b->next.inputs);
    Value input = least_word(g, add(g, b->next.first, k), add(g, p->k, word_i64(g, -unroll)));
    Operand from = operand_at(g, b->next.w, mul(g, input, b->next.w_stride));
    int64_t bytes = 4 * expanded_stride(g, b);
    Value to = bytes_at(g, b->next.to, mul(g, k, bytes));
    for (int u = 0; u < unroll; u++)
        expand_input(g, b, operand_fixed(g, from, u * b->next.w_stride), bytes_at(g, to, word_i64(g, u * bytes)));
    loop_end(g, &l, NULL);
}

static bool expands_beside(const Gen *g, const Product *p, const Block *b)
{
    return p->cut.cuts == 1 && hurries(g, p) && b->v > 1 && 2 * expanded_stride(g, b) <= MOST_EXPANDED;
}

Value product_buffer(Gen *g) { return stack_floats(g, CHUNK * MOST_EXPANDED + APART); }

bool product_expands(int64_t n, int cuts, uint32_t kb)
{
    return cuts == 1 || kb * (n > MOST_EXPANDED / 2 ? MOST_EXPANDED : MOST_EXPANDED / 2) <= CHUNK * MOST_EXPANDED;
}

static Value chunk_size(Gen *g, const Product *p) { return p->cut.cuts == 1 ? word_i64(g, CHUNK) : p->kb; }

static Value chunk_inputs(Gen *g, const Product *p, Value first)
{
    return least_word(g, difference(g, p->k, first), chunk_size(g, p));
}

static void expand(Gen *g, const Product *p, const Block *b, Value first, Value count)
{
    Loop l = loop_of(g, count);
    Operand from = operand_at(g, b->w, mul(g, add(g, first, l.i), p->w_stride));
    expand_input(g, b, from, bytes_at(g, p->buffer, mul(g, l.i, 4 * expanded_stride(g, b))));
    loop_end(g, &l, NULL);
}

// What waits in `out`, or 0: of a chain +0, of blocks that are added -0 (blocks_in_turn).
static void waiting_sums(Gen *g, const Product *p, const Block *b, Value first, Value *sum)
{
    Value some = differs(g, first, 0);
    Value mask = splat(g, LLVMBuildSExt(g->b, some, g->i32, ""), g->width), zero = NULL;
    if (p->cut.cuts > 1)
        zero = LLVMBuildAnd(g->b, LLVMBuildNot(g->b, mask, ""), splat_word(g, 0x80000000u, g->width), "");
    for (int i = 0; i < sums_of(b); i++) {
        Value word = LLVMBuildBitCast(g->b, load_unit(g, b, b->out, i / b->v, i % b->v), ints(g, g->width), "");
        word = LLVMBuildAnd(g->b, word, mask, "");
        if (zero) word = LLVMBuildOr(g->b, word, zero, "");
        sum[i] = LLVMBuildBitCast(g->b, word, floats(g, g->width), "");
    }
}

static void chunk_rows(Gen *g, const Product *p, const Block *b, Value buffer, Value first, Value count)
{
    Value sum[MOST_SUMS], end = add(g, first, count);
    Product q = *p;
    Block own = *b;
    q.w_stride = expanded_stride(g, b);
    own.x = operand_at(g, b->x, first);
    q.windows = windows_from(g, p->windows, first);
    own.w = (Operand){buffer, word_i64(g, 4), true, WEIGHTS_F32, NULL};
    waiting_sums(g, p, b, first, sum);
    if (p->cut.cuts == 1)
        run_chains(g, &q, &own, 1, word_i64(g, 0), count, false, sum);
    else
        one_block(g, &q, &own, word_i64(g, 0), count, sum);
    Value is_last = LLVMBuildICmp(g->b, LLVMIntEQ, end, p->k, "");
    Loop last = loop_where(g, is_last);
    for (int i = 0; i < sums_of(b); i++) sum[i] = loop_phi(g, &last, sum[i]);
    finish_sums(g, p, b, sum);
    loop_end(g, &last, sum);
    for (int i = 0; i < sums_of(b); i++) store_unit(g, p, b, 0, i / b->v, i % b->v, sum[i]);
}

// Where chunk `number` lies, one of two.
static Value chunk_at(Gen *g, const Product *p, const Block *b, Value number)
{
    Value odd = LLVMBuildAnd(g->b, number, word_i64(g, 1), "");
    return bytes_at(g, p->buffer, mul(g, odd, 4 * (CHUNK * expanded_stride(g, b) + APART)));
}

// One token.
void chunks_emit(Gen *g, const Product *p, const Block *b, Value ahead)
{
    assert(b->m == 1 && expanded_stride(g, b) <= MOST_EXPANDED);
    bool beside = expands_beside(g, p, b);
    Value chunks = pieces(g, p->k, chunk_size(g, p));
    if (beside) expand(g, p, b, word_i64(g, 0), chunk_inputs(g, p, word_i64(g, 0)));
    Loop l = loop_of(g, chunks);
    Value first = product_of(g, l.i, chunk_size(g, p)), count = chunk_inputs(g, p, first);
    if (!beside) expand(g, p, b, first, count);
    Block own = *b;
    Loop rows = pass_begin(g, p, &own, ahead, first);
    if (beside) {
        Value begins = equal(g, rows.i, 0);
        Value after = chunk_at(g, p, b, add(g, l.i, word_i64(g, 1)));
        own.next = (Expansion){b->w, p->w_stride, add(g, first, word_i64(g, CHUNK)), after,
                               LLVMBuildZExt(g->b, begins, g->i64, "")};
    }
    chunk_rows(g, p, &own, beside ? chunk_at(g, p, b, l.i) : p->buffer, first, count);
    loop_end(g, &rows, NULL);
    loop_end(g, &l, NULL);
}
