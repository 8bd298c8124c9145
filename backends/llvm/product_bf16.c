// Paired products (plan.h): two neighbouring inputs rounded to bfloat16 are one word, two rows of the matrix are one
// row of words (weights.c), and the step of product.c's sums is
//
//     sum = x.first * w.first + (x.second * w.second + sum)        each rounded once
//
// which AVX512_BF16 has as one instruction, vdpbf16ps; elsewhere it is two multiply-adds of the expanded halves, with
// the same bits. A bfloat16 is the upper half of a float, so expanding is a shift or a mask. The words are held as
// floats and only ever moved as such.
//
// x is rounded once per product, not once per block of outputs:
//
//     T = 1    sixteen lanes become eight words
//     T > 1    the rows of two lanes become the rows of one word
#include "llvm.h"

enum { SIXTEEN = 16 };

// ---- the sums
Value pairs_half(Gen *g, Value pairs, bool second)
{
    LLVMTypeRef type = LLVMTypeOf(pairs);
    int n = LLVMGetTypeKind(type) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(type) : 1;
    Value words = LLVMBuildBitCast(g->b, pairs, ints(g, n), "");
    words = second ? LLVMBuildAnd(g->b, words, splat_word(g, 0xffff0000, n), "")
                   : LLVMBuildShl(g->b, words, splat_word(g, 16, n), "");
    return LLVMBuildBitCast(g->b, words, type, "");
}

static LLVMTypeRef bfloats(Gen *g, int n) { return LLVMVectorType(LLVMBFloatTypeInContext(g->llvm), (unsigned)n); }

// An instruction of AVX512_BF16 on registers of 512 bits.
static Value instruction(Gen *g, const char *name, Value *args, int n) { return call_of(g, name, NULL, 0, args, n); }

static Factor half_of(Gen *g, Factor f, bool second) { return (Factor){pairs_half(g, f.v, second), f.slot}; }

Value pairs_dot(Gen *g, Factor x, Factor w, Value sum)
{
    if (g->info.bf16) {
        LLVMTypeRef type = bfloats(g, 2 * g->width);
        Value args[] = {sum, LLVMBuildBitCast(g->b, spread(g, w), type, ""),
                        LLVMBuildBitCast(g->b, spread(g, x), type, "")};
        return instruction(g, "llvm.x86.avx512bf16.dpbf16ps.512", args, 3);
    }
    for (int second = 1; second >= 0; second--)
        sum = fma_of(g, spread(g, half_of(g, x, second)), spread(g, half_of(g, w, second)), sum);
    return sum;
}

// Expanded, each operand takes two registers.
int pairs_sums(const TargetInfo *info) { return info->bf16 ? info->sums : info->sums / 3 * 2; }

// ---- x
Value pairs_of(Gen *g, Value k)
{
    if (g->info.tiles) return mul(g, pieces(g, k, word_i64(g, TILED_INPUTS)), TILED_INPUTS / 2);
    return LLVMBuildLShr(g->b, add(g, k, word_i64(g, 1)), word_i64(g, 1), "");
}

static Value sixteens_of(Gen *g, Value k) { return pieces(g, k, word_i64(g, SIXTEEN)); }

Value pairs_stride(Gen *g, Value k) { return g->info.tiles ? pairs_of(g, k) : mul(g, sixteens_of(g, k), SIXTEEN / 2); }

// Numbers below 2^-63 become 0: those with neither of the exponent's upper bits.
static Value without_small(Gen *g, Value halves, int n)
{
    LLVMTypeRef i16 = LLVMInt16TypeInContext(g->llvm), type = LLVMVectorType(i16, (unsigned)n);
    halves = LLVMBuildBitCast(g->b, halves, type, "");
    Value upper = LLVMBuildAnd(g->b, halves, splat(g, LLVMConstInt(i16, 0x6000, false), n), "");
    Value small = LLVMBuildICmp(g->b, LLVMIntEQ, upper, LLVMConstNull(type), "");
    return where(g, small, LLVMConstNull(type), halves);
}

// n floats rounded to nearest, ties to even, in the upper halves of words; a NaN stays one.
static Value rounded(Gen *g, Value x, int n)
{
    Value words = LLVMBuildBitCast(g->b, x, ints(g, n), "");
    Value odd = LLVMBuildAnd(g->b, LLVMBuildLShr(g->b, words, splat_word(g, 16, n), ""), splat_word(g, 1, n), "");
    Value up = add(g, add(g, words, splat_word(g, 0x7fff, n)), odd);
    Value number = LLVMBuildFCmp(g->b, LLVMRealORD, x, x, "");
    return where(g, number, up, splat_word(g, 0x7fc00000, n));
}

// Sixteen floats as sixteen halves of words.
static Value halves_of(Gen *g, Value x)
{
    if (g->info.bf16) return without_small(g, instruction(g, "llvm.x86.avx512bf16.cvtneps2bf16.512", &x, 1), SIXTEEN);
    Value upper = LLVMBuildLShr(g->b, rounded(g, x, SIXTEEN), splat_word(g, 16, SIXTEEN), "");
    LLVMTypeRef halves = LLVMVectorType(LLVMInt16TypeInContext(g->llvm), SIXTEEN);
    return without_small(g, LLVMBuildTrunc(g->b, upper, halves, ""), SIXTEEN);
}

// Two vectors in one instruction, which puts those of its second operand first.
static Value both_rounded(Gen *g, Value first, Value second)
{
    Value args[] = {second, first};
    return instruction(g, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", args, 2);
}

// To be mixed.
static Value words_by_instruction(Gen *g, Value first, Value second)
{
    int order[2 * SIXTEEN];
    for (int i = 0; i < 2 * SIXTEEN; i++) order[i] = i / 2 + i % 2 * SIXTEEN;
    return shuffled(g, both_rounded(g, first, second), NULL, order, 2 * SIXTEEN);
}

static Value words_by_arithmetic(Gen *g, Value first, Value second)
{
    int n = g->width;
    Value low = LLVMBuildLShr(g->b, rounded(g, first, n), splat_word(g, 16, n), "");
    Value high = LLVMBuildAnd(g->b, rounded(g, second, n), splat_word(g, 0xffff0000, n), "");
    return LLVMBuildOr(g->b, low, high, "");
}

// Words of two vectors of floats.
static Value words_of(Gen *g, Value first, Value second)
{
    Value words = g->info.bf16 ? words_by_instruction(g, first, second) : words_by_arithmetic(g, first, second);
    return LLVMBuildBitCast(g->b, without_small(g, words, 2 * g->width), floats(g, g->width), "");
}

// What one token's inputs are read by, from one of them on: where x stands, or where its tap does.
typedef struct {
    Operand x;
    Windows windows;
} Token;

static Token token_from(Gen *g, Token t, Value first)
{
    if (!t.windows.taps) t.x = operand_at(g, t.x, first);
    t.windows = windows_from(g, t.windows, first);
    return t;
}

static Operand input_at(Gen *g, const Token *t, int64_t number)
{
    if (!t->windows.taps) return operand_fixed(g, t->x, number);
    return operand_at(g, t->x, window_tap(g, &t->windows, word_i64(g, number)));
}

// T = 1.
static Value sixteen_inputs(Gen *g, const Token *t, int64_t first)
{
    if (!t->windows.taps || t->windows.even) return load_lanes(g, input_at(g, t, first), SIXTEEN);
    Value all = LLVMGetPoison(floats(g, SIXTEEN));
    for (int i = 0; i < SIXTEEN; i++)
        all = LLVMBuildInsertElement(g->b, all, load_lanes(g, input_at(g, t, first + i), 1), word_i64(g, i), "");
    return all;
}

// T = 1. Behind an odd K stands whatever follows x: its half of the last word becomes 0.
static void row_pairs(Gen *g, Token x, Operand pairs, Value k, bool odd)
{
    Loop l = loop_of(g, sixteens_of(g, k));
    Token from = token_from(g, x, mul(g, l.i, SIXTEEN));
    store(g, halves_of(g, sixteen_inputs(g, &from, 0)), operand_at(g, pairs, mul(g, l.i, SIXTEEN / 2)).base);
    loop_end(g, &l, NULL);
    Value none = LLVMConstNull(LLVMInt16TypeInContext(g->llvm));
    if (odd) LLVMSetAlignment(LLVMBuildStore(g->b, none, bytes_at(g, pairs.base, mul(g, k, 2))), 2);
}

// Sixteen lanes from `first` on, of which those behind K are zeros.
static Value last_sixteen(Gen *g, Operand x, Value first, Value k)
{
    Value left = least_word(g, difference(g, k, first), word_i64(g, SIXTEEN));
    Value halves = halves_of(g, load_lanes(g, operand_at(g, x, first), SIXTEEN));
    LLVMTypeRef type = LLVMTypeOf(halves), half = LLVMGetElementType(type);
    Value number = LLVMBuildTrunc(g->b, iota(g, SIXTEEN), type, "");
    Value there = is_below(g, number, splat(g, LLVMBuildTrunc(g->b, left, half, ""), SIXTEEN));
    return where(g, there, halves, LLVMConstNull(type));
}

// T = 1, for tiles: zeros behind the k lanes of x, up to a whole tile.
void tile_pairs_of_row(Gen *g, Operand x, Operand pairs, Value k)
{
    Value whole = quotient(g, k, word_i64(g, TILED_INPUTS));
    Loop l = loop_maybe(g, whole);
    Operand from = operand_at(g, x, mul(g, l.i, TILED_INPUTS));
    Value second = load_lanes(g, operand_fixed(g, from, SIXTEEN), SIXTEEN);
    Value words = without_small(g, both_rounded(g, load_lanes(g, from, SIXTEEN), second), TILED_INPUTS);
    store(g, words, operand_at(g, pairs, mul(g, l.i, SIXTEEN)).base);
    loop_end(g, &l, NULL);
    Value first = mul(g, whole, TILED_INPUTS), left = difference(g, k, first);
    Operand to = operand_at(g, pairs, mul(g, whole, SIXTEEN));
    Loop zeros = loop_where(g, differs(g, left, 0));
    store(g, LLVMConstNull(LLVMTypeOf(words)), to.base);
    loop_end(g, &zeros, NULL);
    Loop rest = loop_maybe(g, sixteens_of(g, left));
    Value halves = last_sixteen(g, x, add(g, first, mul(g, rest.i, SIXTEEN)), k);
    store(g, halves, operand_at(g, to, mul(g, rest.i, SIXTEEN / 2)).base);
    loop_end(g, &rest, NULL);
}

// T > 1: one word of all rows; `second`: x has its second lane, too.
static void tile_pair(Gen *g, Token x, Operand pairs, bool second)
{
    Loop rows = rows_begin(g, g->width);
    Value row = mul(g, rows.i, g->width), a = load_rows(g, input_at(g, &x, 0), row, g->width);
    Value b = second ? load_rows(g, input_at(g, &x, 1), row, g->width) : splat_float(g, 0, g->width);
    store(g, words_of(g, a, b), row_address(g, pairs, row));
    loop_end(g, &rows, NULL);
}

static void tile_pairs(Gen *g, Token x, Operand pairs, Value k, bool odd)
{
    Value whole = LLVMBuildLShr(g->b, k, word_i64(g, 1), "");
    Loop l = loop_maybe(g, whole);
    tile_pair(g, token_from(g, x, mul(g, l.i, 2)), operand_at(g, pairs, l.i), true);
    loop_end(g, &l, NULL);
    if (odd) tile_pair(g, token_from(g, x, mul(g, whole, 2)), operand_at(g, pairs, whole), false);
}

void pairs_emit(Gen *g, const GemmStep *s, const GemmOperands *o, Value k)
{
    if (g->info.tiles && s->picture) {
        picture_pairs(g, s, o);
        return;
    }
    Loop tokens = loop_of(g, s->one_x ? word_i64(g, 1) : o->tokens);
    Operand x =
        s->picture ? window_at(g, &o->windows, o->x, tokens.i) : operand_at(g, o->x, product_of(g, tokens.i, k));
    Token from = {x, o->windows};
    Operand to = operand_at(g, o->pairs, product_of(g, tokens.i, pairs_stride(g, k)));
    if (g->info.tiles)
        tile_pairs_of_row(g, from.x, to, k);
    else if (g->tile == 1)
        row_pairs(g, from, to, k, s->k % 2);
    else
        tile_pairs(g, from, to, k, s->k % 2);
    loop_end(g, &tokens, NULL);
}
