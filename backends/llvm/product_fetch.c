// Fetching weights and addends of products ahead of their use, T > 1.
//
// A block's weights are a narrow column, which no hardware prefetcher foresees, and blocks that fetch their own
// ask memory for much at once and then, in the columns of a line that is there, for nothing. So the loops ask for the
// weights in the order in which they lie, for as many as they use up themselves, and g->ahead bytes before their turn.
#include "product.h"

enum { AHEAD_LANES = 32, NEAR_INPUTS = 16 };

bool prefetches(const Gen *g, const Product *p) { return g->tile > 1 && p->w.shared && g->ahead; }

// AVX-512 uses weights up faster than the loads of a narrow column foresee where they come from L3 or memory: blocks of
// several vectors of rows are as wide as they may be, and fetch their own column from L2, or expand it ahead.
bool hurries(const Gen *g, const Product *p)
{
    return prefetches(g, p) && g->info.level == LEVEL_AVX512 && !p->paired && (p->w.type == WEIGHTS_F32 || p->buffer);
}

bool has_inputs(const Product *p, uint64_t most)
{
    return LLVMIsConstant(p->k) && LLVMConstIntGetZExtValue(p->k) <= most;
}

static bool has_few_inputs(const Product *p) { return has_inputs(p, FEW_INPUTS); }

// Of few inputs they would be another block's.
static bool fetches_near(const Gen *g, const Product *p)
{
    return hurries(g, p) && p->w.type == WEIGHTS_F32 && !has_inputs(p, 2 * NEAR_INPUTS);
}

Value turned_at(Gen *g, Value end, Value next, Value at)
{
    Value over = difference(g, LLVMBuildPtrToInt(g->b, at, g->i64, ""), LLVMBuildPtrToInt(g->b, end, g->i64, ""));
    Value behind = LLVMBuildICmp(g->b, LLVMIntSGE, over, word_i64(g, 0), "");
    return where(g, behind, bytes_at(g, next, over), at);
}

static Value turned(Gen *g, const Product *p, Value at) { return p->end ? turned_at(g, p->end, p->next, at) : at; }

static int64_t weight_bytes(const Operand *w) { return w->type == WEIGHTS_F32 ? 4 : 2; }

// Bytes of weights that one k of a block accounts for: all rows of the tile share them.
static Value fetched_a_step(Gen *g, const Block *b)
{
    Value rows = quotient(g, g->rows, word_i64(g, (int64_t)b->v * g->width));
    return quotient(g, word_i64(g, b->n * weight_bytes(&b->w)), rows);
}

// The last of the block's weights NEAR_INPUTS on, from L2: the first ones share their line with the block before.
static void prefetch_near(Gen *g, const Product *p, const Block *b, Value k)
{
    Value last = add(g, mul(g, add(g, k, word_i64(g, NEAR_INPUTS)), p->w_stride), word_i64(g, b->n - 1));
    prefetch(g, operand_at(g, b->w, last).base, word_i64(g, 0), TO_L1);
}

static void prefetch_lines(Gen *g, Value base, Value bytes)
{
    Loop l = loop_of(g, pieces(g, bytes, word_i64(g, LINE_BYTES)));
    prefetch(g, base, mul(g, l.i, LINE_BYTES), TO_L2);
    loop_end(g, &l, NULL);
}

// PREP of many lanes and rows comes from far, too. Its lanes are taken in order: so many lines as this pass adds,
// AHEAD_LANES further on.
static void prefetch_add(Gen *g, const Block *b, Value rows)
{
    int64_t bytes = (int64_t)b->n * b->v * g->width * 4;
    Value ahead = add(g, mul(g, b->add.lane_bytes, AHEAD_LANES), mul(g, rows, bytes));
    prefetch_lines(g, bytes_at(g, b->add.base, ahead), word_i64(g, bytes));
}

Value fetch_begin(Gen *g, const Product *p, Block *b, Value lane)
{
    int64_t bytes = weight_bytes(&b->w);
    Value ahead = bytes_at(g, p->w.base, product_of(g, p->k, mul(g, lane, bytes)));
    if (has_few_inputs(p))
        prefetch_lines(g, turned(g, p, bytes_at(g, ahead, word_i64(g, g->ahead))), mul(g, p->k, b->n * bytes));
    else
        b->fetched = fetched_a_step(g, b);
    return ahead;
}

void fetch_rows(Gen *g, const Product *p, Block *b, Value ahead, Value first, Value rows)
{
    if (b->fetched) {
        Value inputs = add(g, product_of(g, rows, p->k), first);
        Value done = product_of(g, inputs, b->fetched);
        b->ahead = turned(g, p, bytes_at(g, ahead, add(g, done, word_i64(g, g->ahead))));
    }
    if (p->has_add) prefetch_add(g, b, rows);
}

Value fetch_from(Gen *g, const Block *b, Value k)
{
    return b->ahead ? bytes_at(g, b->ahead, product_of(g, k, b->fetched)) : NULL;
}

void fetch_pass(Gen *g, const Product *p, const Block *b, Value k, int unroll)
{
    for (int u = 0; u < unroll; u++) {
        if (b->ahead) prefetch(g, b->ahead, mul(g, b->fetched, u), TO_L2);
        if (fetches_near(g, p)) prefetch_near(g, p, b, add(g, k, word_i64(g, u)));
    }
}
