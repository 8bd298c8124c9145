// Which weights have a compact image (abi.h), and its words in registers. One row of a policy that a core's own cache
// does not hold takes as long as its weights take to come, so fewer bytes are less time. The numbers are the same.
//
// f32: a group is that of the Plan, 128 outputs; a unit is one input of it, eight vectors. bf16 tiles: a group is a
// column of sixteen outputs; a unit is four pairs of inputs of it.
#include "compact.h"

#include <stdlib.h>

enum {
    IMAGE_FROM = 2 << 20, // bytes of weights: fewer stay in a core's own cache
    LEAST_INPUTS = 32,
    WORDS = 16 // of 32 bits in a line
};

static uint32_t unit_lines(bool pairs) { return NFCC_UNIT_LINES(pairs ? NFCC_WEIGHTS_BF16 : NFCC_WEIGHTS_F32); }

// ---- which

static bool has_image(const Gen *g, const GemmStep *s)
{
    if (s->transposed || s->picture || (s->m > 1 && !s->apart) || s->k < LEAST_INPUTS) return false;
    if (layout_short(g->layout)) return gemm_tiled(g, s);
    return s->n >= GEMM_GROUP && gemm_cuts(g, s).cuts == 1;
}

typedef struct {
    const Gen *g;
    nfcc_abi_compact *list;
    int n, cap;
} List;

static void list_groups(List *l, uint64_t at, uint32_t units, uint32_t columns, uint32_t groups)
{
    nfcc_abi_compact c = {(uint32_t)(at / 4), units * columns, columns, groups};
    if (groups) ARENA_PUSH(l->g->cx->arena, l->list, l->n, l->cap, c);
}

// The sixteens of a token's outputs, as the code of one row takes them: `units` of each, at byte `at`.
static void list_sixteens(List *l, uint64_t at, uint32_t units, uint32_t n)
{
    for (uint32_t columns = ONE_ROW_UNITS; columns; columns /= 2) {
        list_groups(l, at, units, columns, n / columns);
        at += (uint64_t)n / columns * columns * units * unit_lines(true) * LINE_BYTES;
        n %= columns;
    }
}

static void list_step(List *l, const GemmStep *s)
{
    uint32_t at, tokens = s->apart ? s->m : 1, sixteens = (uint32_t)blocks_of(s->n, WORDS);
    bool pairs = layout_matrix(l->g->layout, s->w, &at) == MATRIX_PAIRS;
    for (uint32_t t = 0; t < tokens; t++)
        if (pairs)
            list_sixteens(l, 2 * (at + (uint64_t)t * tap_words(s->k) * sixteens * WORDS), tap_words(s->k) / 8,
                          sixteens);
        else
            list_groups(l, 4 * (s->w + (uint64_t)t * s->k * s->n), s->k, 1, s->n / GEMM_GROUP);
}

static int by_place(const void *a, const void *b)
{
    uint32_t x = ((const nfcc_abi_compact *)a)->at, y = ((const nfcc_abi_compact *)b)->at;
    return (x > y) - (x < y);
}

// Runs of equal groups, apart; false: two steps take the same weights in groups that are not the same.
static bool join_groups(const List *l, uint32_t *n)
{
    nfcc_abi_compact *last = l->list;
    for (int i = 1; i < l->n; i++) {
        const nfcc_abi_compact *c = &l->list[i];
        uint64_t group = (uint64_t)last->units * unit_lines(layout_short(l->g->layout)) * LINE_BYTES;
        uint64_t before = 4 * (uint64_t)(c->at - last->at), end = before / group + c->groups;
        bool same = c->units == last->units && c->columns == last->columns && before % group == 0;
        if (before < group * last->groups && !same) return false;
        if (before > group * last->groups || !same)
            *++last = *c;
        else if (end > last->groups)
            last->groups = (uint32_t)end;
    }
    *n = (uint32_t)(last - l->list) + 1;
    return true;
}

// An adjoint follows its product while the weights are near: it would fetch them as they lie, beside their image.
static bool reads_twice(const Program *p)
{
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind == STEP_GEMM && p->steps[i].gemm.transposed) return true;
    return false;
}

void compact_choose(Gen *g)
{
    const TargetInfo *most = &g->level[g->n_levels - 1];
    const Step *s;
    List l = {.g = g};
    if (g->gemm != gemm_emit || layout_size(g->layout) <= IMAGE_FROM || most->level != LEVEL_AVX512) return;
    for (int id = 0; id < PROGRAM_COUNT; id++) {
        const Program *p = &g->plan->programs[id];
        if (reads_twice(p)) continue;
        g->compact_programs |= 1u << id;
        for (StepWalk w = plan_walk(p); (s = plan_next(&w));)
            if (s->kind == STEP_GEMM && has_image(g, &s->gemm)) list_step(&l, &s->gemm);
    }
    if (!l.n) return;
    qsort(l.list, (size_t)l.n, sizeof *l.list, by_place);
    if (join_groups(&l, &g->n_compact)) g->compact = l.list;
}

bool gemm_compacts(const Gen *g, const GemmStep *s) { return g->compact && has_image(g, s); }

// ---- a unit in registers

Value compact_distance(Gen *g)
{
    Value at = bytes_at(g, LLVMGetParam(g->fn, 2), word_i64(g, offsetof(nfcc_abi_weights, image)));
    return load(g, g->i64, at);
}

static Value unit_bytes(Gen *g, bool pairs) { return word_i64(g, (unit_lines(pairs) - 1) * LINE_BYTES); }

CompactGroup compact_group(Gen *g, Value w, Value distance, Value units, bool pairs)
{
    Value image = bytes_at(g, w, distance), made = load_narrow(g, 4, bytes_at(g, image, word_i64(g, 4)));
    Value some = differs(g, distance, 0), own = differs(g, made, 0);
    CompactGroup c = {.there = LLVMBuildAnd(g->b, some, own, "")};
    c.scale = splat(g, load(g, g->f32, image), WORDS);
    c.units = bytes_at(g, image, word_i64(g, LINE_BYTES));
    c.bytes = bytes_at(g, c.units, product_of(g, units, unit_bytes(g, pairs)));
    c.plain = bytes_at(g, c.bytes, mul(g, pieces(g, units, word_i64(g, LINE_BYTES)), LINE_BYTES));
    c.none = where(g, c.there, word_i64(g, 0), word_i64(g, 1));
    return c;
}

// Where there is no image the byte is some weight's.
Value compact_is_plain(Gen *g, const CompactGroup *c, Value unit)
{
    Value byte = load_narrow(g, 1, bytes_at(g, c->bytes, unit));
    return differs(g, LLVMBuildOr(g->b, byte, c->none, ""), 0);
}

// Where a word of 32 bits, or both its halves, have these bits.
static Value mask(Gen *g, bool pairs, uint32_t bits) { return splat_word(g, pairs ? bits | bits << 16 : bits, WORDS); }

static Value shifted(Gen *g, Value v, int by)
{
    Value amount = splat_word(g, (uint32_t)abs(by), WORDS);
    return by < 0 ? LLVMBuildShl(g->b, v, amount, "") : LLVMBuildLShr(g->b, v, amount, "");
}

static Value masked(Gen *g, Value v, Value bits) { return LLVMBuildAnd(g->b, v, bits, ""); }

void compact_lines(Gen *g, const CompactGroup *c, Value unit, bool pairs, Value *line)
{
    int lines = (int)unit_lines(pairs), foreign = pairs ? 11 : 27;
    uint32_t sign = 16u << foreign, rest = (1u << foreign) - 1;
    Value at = bytes_at(g, c->units, product_of(g, unit, unit_bytes(g, pairs))), last = NULL;
    for (int i = 0; i < lines - 1; i++) {
        Value word = load(g, ints(g, WORDS), bytes_at(g, at, word_i64(g, (int64_t)i * LINE_BYTES)));
        Value four = masked(g, shifted(g, word, foreign - 4 * i), mask(g, pairs, 15u << 4 * i));
        last = last ? LLVMBuildOr(g->b, last, four, "") : four;
        line[i] = masked(g, word, mask(g, pairs, sign | rest));
    }
    Value signs = masked(g, shifted(g, last, -4), mask(g, pairs, sign));
    line[lines - 1] = LLVMBuildOr(g->b, signs, masked(g, last, mask(g, pairs, rest)), "");
    for (int i = 0; i < lines; i++) line[i] = LLVMBuildBitCast(g->b, line[i], floats(g, WORDS), "");
}
