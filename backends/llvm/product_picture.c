// x of a tiled product of windows (plan.h, `picture`), T = 1. The picture is rounded once, to halves that lie as its
// lanes do. Where the product has tiles for it (product_tiles_windows.c) that is all; else windows are copied from
// there, token by token, each a whole number of tiles of 32 inputs:
//
//     runs of taps    as vectors of 8, 16 or 32 halves, the last of which may pass the run's end: what comes next
//                     stands on that later
//     many of them    half by half
//     behind K        zeros
//
// Behind the last token the rounded picture lies, which by then nobody reads.
#include "llvm.h"

int tap_runs(const Gen *g, const GemmStep *s, uint32_t first[MOST_RUNS])
{
    int n = 0;
    for (uint32_t k = 0; k < s->k; k++) {
        if (k && plan_table(g->plan, s->taps, k) == plan_table(g->plan, s->taps, k - 1) + 1) continue;
        if (n == MOST_RUNS) return 0;
        first[n++] = k;
    }
    return n;
}

static LLVMTypeRef halves(Gen *g, int n) { return LLVMVectorType(LLVMInt16TypeInContext(g->llvm), (unsigned)n); }

static Value half_at(Gen *g, Value from, Value lane) { return bytes_at(g, from, mul(g, lane, 2)); }

static void store_halves(Gen *g, Value vector, Value to) { LLVMSetAlignment(LLVMBuildStore(g->b, vector, to), 2); }

static void copy_run(Gen *g, Value from, Value to, uint32_t length)
{
    int n = length > 16 ? 32 : length > 8 ? 16 : 8;
    for (uint32_t i = 0; i < length; i += (uint32_t)n) {
        Value at = word_i64(g, i);
        Value vector = load(g, halves(g, n), half_at(g, from, at));
        LLVMSetAlignment(vector, 2);
        store_halves(g, vector, half_at(g, to, at));
    }
}

static void copy_runs(Gen *g, const GemmStep *s, const uint32_t *first, int runs, const Value *tap, Value from,
                      Value to)
{
    for (int i = 0; i < runs; i++) {
        uint32_t end = i + 1 < runs ? first[i + 1] : s->k;
        copy_run(g, half_at(g, from, tap[i]), half_at(g, to, word_i64(g, first[i])), end - first[i]);
    }
}

static void copy_each(Gen *g, const GemmStep *s, const Windows *windows, Value from, Value to)
{
    Loop l = loop_of(g, word_i64(g, s->k));
    Value half = load(g, LLVMInt16TypeInContext(g->llvm), half_at(g, from, window_tap(g, windows, l.i)));
    LLVMSetAlignment(half, 2);
    store_halves(g, half, half_at(g, to, l.i));
    loop_end(g, &l, NULL);
}

static void copy_windows(Gen *g, const GemmStep *s, const GemmOperands *o, Value picture)
{
    uint32_t first[MOST_RUNS];
    int runs = tap_runs(g, s, first);
    Value tap[MOST_RUNS];
    for (int i = 0; i < runs; i++) tap[i] = window_tap(g, &o->windows, word_i64(g, first[i]));
    Loop tokens = loop_of(g, word_i64(g, s->m));
    Value from = half_at(g, picture, table_word(g, o->windows.places, tokens.i));
    Value to = half_at(g, o->pairs.base, mul(g, tokens.i, tap_words(s->k)));
    if (runs)
        copy_runs(g, s, first, runs, tap, from, to);
    else
        copy_each(g, s, &o->windows, from, to);
    if (s->k % TILED_INPUTS) store_halves(g, LLVMConstNull(halves(g, TILED_INPUTS)), half_at(g, to, word_i64(g, s->k)));
    loop_end(g, &tokens, NULL);
}

void picture_pairs(Gen *g, const GemmStep *s, const GemmOperands *o)
{
    Operand picture = o->pairs;
    if (!s->tiles) picture = operand_fixed(g, picture, (int64_t)s->m * tap_words(s->k) / 2);
    tile_pairs_of_row(g, o->x, picture, word_i64(g, s->picture));
    if (!s->tiles) copy_windows(g, s, o, picture.base);
}
