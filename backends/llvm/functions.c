// The functions of a module: one per distinct step and shape of code, and what these call.
//
//   void step(float *work, const float *prep, const nfcc_abi_weights *weights, const void *args, int64 shape)
//
// A step's kind (gemm, map, ...) writes the body, with the generator set to a tile of T rows. Code for 16 rows serves
// larger T as well: `shape` tells it how far apart lanes lie. A product of many weights has wider blocks for 32 and 64
// (shape_slot). Products of few rows, those by AMX tiles and corner turns are functions of their own, made before the
// steps that call them; so are the sums of one row from compact weights.
#include "compact.h"
#include "few.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static void set_text(Gen *g, Value fn, const char *key, const char *value)
{
    LLVMAttributeRef a = LLVMCreateStringAttribute(g->llvm, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

static void set_flag(Gen *g, Value fn, unsigned index, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(fn, index, LLVMCreateEnumAttribute(g->llvm, kind, 0));
}

Value function_new(Gen *g, const char *name, LLVMTypeRef type)
{
    Value fn = LLVMAddFunction(g->module, name, type);
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    set_flag(g, fn, (unsigned)LLVMAttributeFunctionIndex, "nounwind");
    set_flag(g, fn, (unsigned)LLVMAttributeFunctionIndex, "optsize");
    set_text(g, fn, "no-builtins", "");
    set_text(g, fn, "target-cpu", g->info.isa);
    set_text(g, fn, "tune-cpu", g->info.tune);
    set_text(g, fn, "frame-pointer", "none");
    char limit[16];
    snprintf(limit, sizeof limit, "%d", STACK_BYTES / 2); // walk and one step
    set_text(g, fn, "warn-stack-size", limit);
    if (g->info.level == LEVEL_AVX512) {
        set_text(g, fn, "prefer-vector-width", "512");
        set_text(g, fn, "min-legal-vector-width", "512");
    }
    const char *features = g->info.tiles ? "+avx512bf16,+amx-tile,+amx-bf16" : "+avx512bf16";
    if (g->info.bf16) set_text(g, fn, "target-features", features);
    // Only the args are said to lie apart: else loads of a whole product's weights would be hoisted out of the loop
    // over rows, and spilled.
    for (unsigned i = 2; i <= 4; i++)
        if (LLVMTypeOf(LLVMGetParam(fn, i - 1)) == g->ptr) set_flag(g, fn, i, "readonly");
    if (type == g->step_type) set_flag(g, fn, 4, "noalias");
    g->fn = fn;
    LLVMPositionBuilderAtEnd(g->b, block_new(g, "entry"));
    return fn;
}

const char *level_suffix(const Gen *g) { return g->n_levels == 1 ? "" : g->info.level == LEVEL_AVX512 ? "_v4" : "_v3"; }

static const char *step_label(Gen *g, const Step *s)
{
    Arena *a = g->cx->arena;
    switch (s->kind) {
    case STEP_GEMM:
        return arena_format(a, "gemm%s_%ux%ux%u_t%d", s->gemm.transposed ? "_t" : "", s->gemm.m, s->gemm.k, s->gemm.n,
                            g->tile);
    case STEP_MAP: return arena_format(a, "map_%u_t%d", s->map.n, g->tile);
    case STEP_REDUCE: return arena_format(a, "reduce_%ux%u_t%d", s->reduce.outer, s->reduce.k, g->tile);
    case STEP_MOVE: return arena_format(a, "move_%u_t%d", s->move.n, g->tile);
    case STEP_MATMUL:
        return arena_format(a, "matmul_%ux%ux%ux%u_t%d", s->matmul.batch, s->matmul.m, s->matmul.k, s->matmul.n,
                            g->tile);
    case STEP_TAKE: return arena_format(a, "take_%ux%u_t%d", s->take.outer, s->take.j, g->tile);
    case STEP_REPEAT: break;
    }
    return "step";
}

// One code serves every multiple of its rows; not that of another backend.
static bool strided(const Gen *g, StepKind kind) { return kind != STEP_GEMM || g->gemm == gemm_emit; }

// The slot whose code serves `slot`, or -1: the programs have none for it, as where there are AMX tiles none for rows
// side by side. Products on AVX-512 have wider blocks from 32 rows on, where they are `large`.
int shape_slot(const Gen *g, StepKind kind, bool large, int slot)
{
    if (g->info.tiles && slot > SLOT_ONE) return -1;
    if (slot <= SLOT_16) return slot;
    if (!strided(g, STEP_GEMM) && slot == SLOT_32) return -1;
    if (!strided(g, kind)) return slot;
    return kind == STEP_GEMM && large && g->info.level == LEVEL_AVX512 ? SLOT_32 : SLOT_16;
}

bool takes_few(const Gen *g, const Step *s) { return s->kind == STEP_GEMM && gemm_takes_few(g, &s->gemm); }

static void step_code(Gen *g, const Step *s)
{
    switch (s->kind) {
    case STEP_GEMM: g->gemm(g, &s->gemm); break;
    case STEP_MAP:
        if ((g->tile == 1 && !g->info.tiles) || !g->taken) map_emit(g, &s->map);
        break;
    case STEP_REDUCE: reduce_emit(g, &s->reduce); break;
    case STEP_MOVE: move_emit(g, &s->move); break;
    case STEP_MATMUL: matmul_emit(g, &s->matmul); break;
    case STEP_TAKE: take_emit(g, &s->take); break;
    case STEP_REPEAT: break;
    }
}

// T, and how lanes lie. Strided code learns both from its last parameter (SHAPE_SHARED).
static void set_rows(Gen *g)
{
    bool learns = g->strided && g->tile > 1;
    g->rows = learns ? LLVMBuildAnd(g->b, g->shape, word_i64(g, SHAPE_SHARED - 1), "") : word_i64(g, g->tile);
    g->lane_bytes = g->prep_bytes = mul(g, g->rows, 4);
    g->prep_rows = NULL;
    if (!learns) return;
    Value bit = LLVMBuildAnd(g->b, g->shape, word_i64(g, SHAPE_SHARED), "");
    Value shared = differs(g, bit, 0);
    int64_t lane = 4 * SHARED_ROWS;
    g->prep_bytes = where(g, shared, word_i64(g, lane), g->lane_bytes);
    g->prep_rows = where(g, shared, word_i64(g, lane - 1), word_i64(g, -1));
}

static Value step_function(Gen *g, const Code *code)
{
    const Step *s = code->step;
    const char *name = arena_format(g->cx->arena, "%s%s", step_label(g, s), level_suffix(g));
    Value fn = function_new(g, name, g->step_type);
    g->known = code->key.known;
    g->wide = code->key.wide;
    g->strided = strided(g, s->kind);
    g->shape = LLVMGetParam(fn, 4);
    g->work = LLVMGetParam(fn, 0);
    g->prep = LLVMGetParam(fn, 1);
    g->weights = load(g, g->ptr, LLVMGetParam(fn, 2));
    g->args = LLVMGetParam(fn, 3);
    set_rows(g);
    g->next_arg = 0;
    g->after = code->after;
    g->taken = code->taken;
    step_code(g, s);
    LLVMBuildRetVoid(g->b);
    return fn;
}

// Products of several rows; equal shapes of blocks are one function.
static void emit_few_kind(Unit *u, MatrixKind kind, const char *name)
{
    Gen *g = &u->g;
    Arena *a = g->cx->arena;
    for (int i = 0; i < FEW_SHAPES; i++) {
        FewShape s = few_shape(g, kind, i), before = few_shape(g, kind, i ? i - 1 : 0);
        if (i && s.rows == before.rows && s.units == before.units && s.chains == before.chains) {
            g->few_block[kind][i] = g->few_block[kind][i - 1];
            continue;
        }
        const char *block = arena_format(a, "%s_%dx%dx%d%s", name, s.rows, s.units, s.chains, level_suffix(g));
        g->few_block[kind][i] = function_new(g, block, few_block_type(g));
        few_block_emit(g, kind, s);
        LLVMBuildRetVoid(g->b);
    }
    g->few[kind] = function_new(g, arena_format(a, "%s%s", name, level_suffix(g)), few_type(g));
    few_emit(g, kind);
    LLVMBuildRetVoid(g->b);
}

static void emit_tiles(Gen *g, const MapStep *after, bool windows)
{
    if (tiles_function(g, after, windows)) return;
    const char *name = arena_format(g->cx->arena, "tiles_%d%s", g->n_tiles, level_suffix(g));
    Tiled made = {after, windows, function_new(g, name, tiles_type(g))};
    ARENA_PUSH(g->cx->arena, g->tiles, g->n_tiles, g->cap_tiles, made);
    tiles_emit(g, after, windows);
    LLVMBuildRetVoid(g->b);
}

static void emit_few(Unit *u)
{
    static const char *const names[] = {
        [MATRIX_F32] = "few", [MATRIX_SHORT] = "few_short", [MATRIX_PAIRS] = "few_pairs"};
    Gen *g = &u->g;
    memset(g->few, 0, sizeof g->few);
    g->tile = 1;
    g->gathers_tokens = false;
    for (int i = 0; i < u->n_codes; i++) {
        const Step *s = u->codes[i].step;
        if (s->kind == STEP_GEMM && gemm_gathers_tokens(g, &s->gemm)) g->gathers_tokens = true;
    }
    for (int i = 0; i < u->n_codes; i++) {
        const Step *s = u->codes[i].step;
        uint32_t at;
        if (s->kind != STEP_GEMM || s->gemm.transposed) continue;
        if (!gemm_takes_few(g, &s->gemm) && !gemm_gathers_tokens(g, &s->gemm)) continue;
        MatrixKind kind = layout_matrix(g->layout, s->gemm.w, &at);
        if (gemm_tiled(g, &s->gemm)) {
            emit_tiles(g, u->codes[i].after, s->gemm.tiles);
            continue;
        }
        if (!g->few[kind]) emit_few_kind(u, kind, names[kind]);
    }
}

static void emit_compact(Gen *g)
{
    if (!g->compact || g->info.level != LEVEL_AVX512) return;
    g->tile = 1;
    for (int columns = layout_short(g->layout) ? ONE_ROW_UNITS : 0;; columns /= 2) {
        const char *name = arena_format(g->cx->arena, "compact_%d%s", columns, level_suffix(g));
        g->compact_sums[columns] = function_new(g, name, compact_type(g));
        compact_sums_emit(g, columns);
        LLVMBuildRetVoid(g->b);
        if (columns <= 1) break;
    }
}

static void emit_turn(Unit *u)
{
    Gen *g = &u->g;
    bool turns = false;
    g->tile = 1;
    for (int i = 0; i < u->n_codes; i++)
        turns = turns || (u->codes[i].step->kind == STEP_MAP && map_turns(g, &u->codes[i].step->map));
    if (!turns) return;
    g->turn_block = function_new(g, arena_format(g->cx->arena, "turn%s", level_suffix(g)), turn_type(g));
    turn_emit(g);
    LLVMBuildRetVoid(g->b);
}

void emit_steps(Unit *u)
{
    emit_compact(&u->g);
    emit_few(u);
    emit_turn(u);
    for (int i = 0; i < u->n_codes; i++)
        for (int t = 0; t < NFCC_TILES; t++) {
            int first = t == SLOT_ONE ? u->codes[i].one : u->codes[i].first;
            int shape = shape_slot(&u->g, u->codes[i].step->kind, u->codes[first].large, t);
            u->g.tile = tiles[t];
            bool made = first < i || shape < t;
            Value *fn = u->codes[i].fn[u->level];
            if (shape >= 0) fn[t] = made ? u->codes[first].fn[u->level][shape] : step_function(&u->g, &u->codes[i]);
        }
}
