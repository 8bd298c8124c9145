// gemm: groups of up to 128 outputs, each packed as its own matrix (plan.h), each one product; a paired one on pairs of
// x and of weights.
#include "few.h"

bool gemm_paired(const Gen *g, const GemmStep *s)
{
    uint32_t at;
    return s->paired && layout_matrix(g->layout, s->w, &at) == MATRIX_PAIRS;
}

bool gemm_tiled(const Gen *g, const GemmStep *s) { return s->tiled && gemm_paired(g, s); }

Cuts gemm_cuts(const Gen *g, const GemmStep *s)
{
    if (!gemm_paired(g, s)) return cuts_of(s->k, s->kb);
    return cuts_of((s->k + 1) / 2, (s->kb + 1) / 2);
}

GemmOperands gemm_operands(Gen *g, const GemmStep *s)
{
    GemmOperands o = {0};
    o.x = operand(g, s->x_space);
    o.add_space = word_i64(g, 0);
    bool mixed = gemm_mixed(g, s);
    if (mixed || gemm_add_lanes(s)) o.add = add_operand(g, &o.add_space);
    uint32_t at;
    o.kind = layout_matrix(g->layout, s->w, &at);
    o.w = weights_operand(g, o.kind);
    if (mixed || s->has_bias) o.bias = operand(g, SPACE_CONST);
    o.out = operand(g, SPACE_WORK);
    if (gemm_paired(g, s)) o.pairs = operand(g, SPACE_WORK);
    o.windows = windows_operand(g, s);
    if (mixed) o.parts = LLVMBuildZExt(g->b, word_arg(g), g->i64, "");
    o.tokens = s->apart ? count_arg(g, s->m) : word_i64(g, s->m);
    return o;
}

bool gemm_turns(const Gen *g, const GemmStep *s) { return g->turns && g->gemm == gemm_emit && !s->transposed; }

// What has neither is the same product in another program, or a small one of its own.
bool gemm_mixed(const Gen *g, const GemmStep *s)
{
    if (!g->mixes || (!s->has_bias && s->k < g->mixes)) return false;
    return g->gemm == gemm_emit && !s->has_add && !s->transposed && !s->one_x;
}

bool gemm_expands(const Gen *g, const GemmStep *s)
{
    uint32_t at;
    return layout_matrix(g->layout, s->w, &at) == MATRIX_SHORT && product_expands(s->n, gemm_cuts(g, s).cuts, s->kb);
}

bool gemm_takes_few(const Gen *g, const GemmStep *s)
{
    bool rows = !s->picture && (s->m == 1 || s->apart || s->transposed);
    return g->gemm == gemm_emit && (rows || gemm_tiled(g, s));
}

// T = 1: of a matrix that may lie beyond L2 many tokens are done as few rows are, so that it comes from there once for
// up to 32 of them, not once for each block of 6. Steps from row to row are multiples of 16 floats.
enum { FAR_BYTES = 1 << 19 };

bool gemm_gathers_tokens(const Gen *g, const GemmStep *s)
{
    if (g->gemm != gemm_emit || s->m == 1 || s->apart || s->transposed || s->paired) return false;
    if (s->scaled || s->picture || gemm_mixed(g, s) || s->k % 16 || s->n % 16) return false;
    return gemm_w_lanes(s) * (layout_short(g->layout) ? 2 : 4) > FAR_BYTES;
}

// x of all rows in pairs; T = 1 may have several.
static void x_pairs(Gen *g, const GemmStep *s, const GemmOperands *o, Value k)
{
    if (g->tile > 1 || !gemm_takes_few(g, s)) {
        pairs_emit(g, s, o, k);
        return;
    }
    Loop rows = loop_of(g, few_rows(g, g->shape));
    GemmOperands row = *o;
    row.x.base = bytes_at(g, o->x.base, product_of(g, rows.i, few_step(g, g->shape, s->x_space)));
    row.pairs.base = bytes_at(g, o->pairs.base, product_of(g, rows.i, few_step(g, g->shape, SPACE_WORK)));
    pairs_emit(g, s, &row, k);
    loop_end(g, &rows, NULL);
}

// Of a token that has weights and bias of its own.
static Product token_product(Gen *g, const GemmStep *s, const Product *all, Value token)
{
    Product p = *all;
    Value first = product_of(g, token, p.out_stride);
    p.m = 1;
    if (!s->one_x) p.x = operand_at(g, p.x, product_of(g, token, p.x_stride));
    p.w = operand_at(g, p.w, product_of(g, first, p.k));
    p.out = operand_at(g, p.out, first);
    if (p.has_add || p.scaled) p.add = operand_at(g, p.add, p.scaled ? token : first);
    if (p.has_bias) p.bias = operand_at(g, p.bias, first);
    return p;
}

// Several rows are product_few.c's.
static void few_or_one(Gen *g, const GemmStep *s, const GemmOperands *o, const Product *p)
{
    Value several = exceeds(g, few_rows(g, g->shape), 1);
    LLVMBasicBlockRef call_few = block_new(g, "few"), one = block_new(g, "one");
    LLVMBuildCondBr(g->b, several, call_few, one);
    LLVMPositionBuilderAtEnd(g->b, call_few);
    Loop l = loop_of(g, s->apart ? o->tokens : word_i64(g, 1));
    Product own = token_product(g, s, p, l.i);
    few_call(g, &own, o->kind, g->shape, p->paired ? SPACE_WORK : s->x_space, o->add_space);
    loop_end(g, &l, NULL);
    LLVMBuildRetVoid(g->b);
    LLVMPositionBuilderAtEnd(g->b, one);
}

// Tokens as rows: `out` goes from one to the next in the step of WORK, x in that of PREP.
static void few_tokens(Gen *g, const GemmStep *s, const GemmOperands *o, const Product *p)
{
    int64_t parts = blocks_of(s->m, FEW_ROWS), most = blocks_of(blocks_of(s->m, parts), MOST_ROWS) * MOST_ROWS;
    Loop l = loop_of(g, word_i64(g, parts));
    Value first = mul(g, l.i, most), rows = least_word(g, difference(g, word_i64(g, s->m), first), word_i64(g, most));
    Value outputs = product_of(g, first, p->out_stride);
    Product own = *p;
    own.x = operand_at(g, p->x, product_of(g, first, p->x_stride));
    own.out = operand_at(g, p->out, outputs);
    if (p->has_add) own.add = operand_at(g, p->add, outputs);
    few_call(g, &own, o->kind, few_shape_word(g, rows, p->out_stride, p->x_stride), SPACE_PREP,
             word_i64(g, SPACE_WORK));
    loop_end(g, &l, NULL);
}

static void tiled_emit(Gen *g, const GemmStep *s, const GemmOperands *o, const Product *p)
{
    Value add_step = few_step_of(g, g->shape, o->add_space);
    if (!s->apart && s->m > 1) {
        tiles_tokens(g, s, p, add_step);
        return;
    }
    Loop l = loop_of(g, o->tokens);
    Product own = token_product(g, s, p, l.i);
    tiles_rows(g, &own, add_step);
    loop_end(g, &l, NULL);
}

Product gemm_from(Gen *g, Product p, Value first)
{
    p.w = operand_at(g, p.w, product_of(g, first, p.k));
    if (p.diagonal) p.x = operand_at(g, p.x, first);
    p.out = operand_at(g, p.out, first);
    if (p.has_add) p.add = operand_at(g, p.add, first);
    if (p.has_bias) p.bias = operand_at(g, p.bias, first);
    return p;
}

static void group_emit(Gen *g, const Product *all, Value group, int64_t n)
{
    Product p = gemm_from(g, *all, mul(g, group, GEMM_GROUP));
    p.n = p.w_stride = n;
    if (n != GEMM_GROUP) p.compact = NULL;
    product_emit(g, &p);
}

// All outputs: `full` whole groups, then the rest.
static void groups_emit(Gen *g, const GemmStep *s, const Product *p, Value full)
{
    if (s->n / GEMM_GROUP) {
        Loop l = loop_of(g, full);
        group_emit(g, p, l.i, GEMM_GROUP);
        loop_end(g, &l, NULL);
    }
    if (s->n % GEMM_GROUP) group_emit(g, p, full, s->n % GEMM_GROUP);
}

// x as pairs; K counts them.
static void pair_inputs(Gen *g, const GemmStep *s, const GemmOperands *o, Product *p)
{
    x_pairs(g, s, o, p->k);
    p->x = o->pairs;
    p->x_stride = pairs_stride(g, p->k);
    p->k = p->kb = pairs_of(g, p->k);
}

static void cut_inputs(Gen *g, const GemmStep *s, Product *p)
{
    p->kb = count_arg(g, s->kb);
    if (p->paired) p->kb = pairs_of(g, p->kb);
    p->full = quotient(g, p->k, p->kb);
    p->rest = difference(g, p->k, product_of(g, p->full, p->kb));
}

// The counts behind the lane numbers: tokens of own weights, K, kb where K is cut, whole groups of outputs where there
// are any. Then the turn and the map behind, which T = 1 does not look at but for tiles.
static Product gemm_product(Gen *g, const GemmStep *s, const GemmOperands *o, Value *full)
{
    Product p = {.m = s->m, .cut = gemm_cuts(g, s), .has_add = s->has_add, .parts = o->parts, .diagonal = s->diagonal};
    p.scaled = o->parts || s->scaled;
    p.has_bias = o->parts || s->has_bias;
    if (g->tile > 1 && gemm_expands(g, s)) p.buffer = product_buffer(g);
    p.x = o->x;
    p.add = o->add;
    p.w = o->w;
    p.bias = o->bias;
    p.out = o->out;
    p.k = p.kb = p.x_stride = count_arg(g, s->k);
    bool wide = g->info.level == LEVEL_AVX512;
    if (g->tile == 1 && wide && gemm_compacts(g, s)) p.compact = compact_distance(g);
    p.paired = gemm_paired(g, s);
    if (!p.paired || s->tiles) p.windows = o->windows;
    if (p.paired) pair_inputs(g, s, o, &p);
    if (p.cut.cuts > 1) cut_inputs(g, s, &p);
    *full = s->n / GEMM_GROUP ? count_arg(g, s->n / GEMM_GROUP) : word_i64(g, 0);
    p.out_stride = add(g, mul(g, *full, GEMM_GROUP), word_i64(g, s->n % GEMM_GROUP));
    bool behind = g->tile > 1 || gemm_tiled(g, s);
    if (behind && gemm_turns(g, s)) {
        p.end = line_arg(g);
        p.next = line_arg(g);
    }
    if (behind && g->after) {
        p.after = g->after;
        p.applies = LLVMBuildZExt(g->b, word_arg(g), g->i64, "");
    }
    return p;
}

// All tokens; those of own weights one by one.
static void all_emit(Gen *g, const GemmStep *s, const GemmOperands *o, const Product *p, Value full)
{
    if (!s->apart) {
        groups_emit(g, s, p, full);
        return;
    }
    Loop l = loop_of(g, o->tokens);
    Product own = token_product(g, s, p, l.i);
    groups_emit(g, s, &own, full);
    loop_end(g, &l, NULL);
}

void gemm_emit(Gen *g, const GemmStep *s)
{
    if (s->transposed) {
        transposed_emit(g, s);
        return;
    }
    GemmOperands o = gemm_operands(g, s);
    Value full;
    Product p = gemm_product(g, s, &o, &full);
    if (gemm_tiled(g, s)) {
        tiled_emit(g, s, &o, &p);
        return;
    }
    if (g->tile == 1 && gemm_takes_few(g, s)) few_or_one(g, s, &o, &p);
    if (g->tile == 1 && gemm_gathers_tokens(g, s))
        few_tokens(g, s, &o, &p);
    else
        all_emit(g, s, &o, &p, full);
}
