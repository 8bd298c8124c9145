// Plan -> object: one function per distinct step and shape of code, one list of steps per program, and the descriptor.
//
//     descriptor   the bytes of descriptor.c with code offsets filled in; the weights join it in object.c
//     steps        per program, for all tiles: for each step the number of its code and its args, packed
//     codes        per shape of code: functions by number, as distances from here
//     lengths      bytes of a step by number of its code, and whether several rows are several calls
//     walk         the one loop that goes through the steps
//     rounds       where a program has repeats: walks from part to part of its list
//
// Everything refers to everything else by distances within the file, so it needs no relocations when loaded.
#include "llvm.h"

#include "abi.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Rows of a tile, by slot of nfcc_abi_program.code.
static const int tiles[NFCC_TILES] = {1, 16, 32, 64};
enum { SLOT_ONE, SLOT_16, SLOT_32, SLOT_64 };
// Weights of more bytes than IN_CACHE do not stay in a core's own cache. AHEAD: a group of 128 outputs of 512 inputs,
// whose every row the first block reads; measured best on PushT at 16, 32 and 64 rows. Half of it for 16 bits.
enum { IN_CACHE = 1 << 20, AHEAD = 256 << 10, LARGE_WEIGHTS = 1 << 15 };

typedef struct {
    StepKey key;
    const Step *step;
    int first;               // the first code of equal words for T > 1
    bool large;              // of a first: some step has so many weights that wider blocks of rows pay
    Value fn[2][NFCC_TILES]; // by level
} Code;

typedef struct {
    int code;
    const Arg *args;
} Use;

// `length` steps from use `first` on, `rounds` times; in each round every arg is larger by the same.
typedef struct {
    int first, length, rounds;
} Part;

// A product by the hashes of its words without and with its counts.
typedef struct {
    uint32_t rest, all;
} Twin;

typedef struct {
    Gen g;
    LLVMTargetMachineRef machine;
    Code *codes;
    int n_codes, cap_codes;
    int *buckets, *rows_buckets; // hash of a key -> code + 1
    int n_buckets;
    Use *uses[PROGRAM_COUNT]; // the steps of each program, repeats unrolled
    int n_uses[PROGRAM_COUNT];
    Part *parts[PROGRAM_COUNT]; // how the list has them; NULL: all in one
    int n_parts[PROGRAM_COUNT], cap_parts[PROGRAM_COUNT];
    int code_bytes; // of a code's number: 1, 2 or 4
    Twin *twins;
    int n_twins;
    bool has_apart; // see as_emitted
    int level;      // under construction
    Value steps[PROGRAM_COUNT], code_table[NFCC_TILES], walk, rounds;
    LLVMTypeRef walk_type;
    Value program[2][PROGRAM_COUNT][NFCC_TILES];
    const char *problem; // first message of LLVM
} Unit;

// ---- distinct steps
static uint32_t words_hash(const uint32_t *words, int n)
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ words[i]) * 16777619u ^ h >> 15;
    return h;
}

static bool words_equal(const uint32_t *a, int n_a, const uint32_t *b, int n_b)
{
    return n_a == n_b && !memcmp(a, b, (size_t)n_a * sizeof *a);
}

static int first_of_rows(Unit *u, const StepKey *key)
{
    uint32_t slot = words_hash(key->words, key->n_rows) % (uint32_t)u->n_buckets;
    for (; u->rows_buckets[slot]; slot = (slot + 1) % (uint32_t)u->n_buckets) {
        const StepKey *other = &u->codes[u->rows_buckets[slot] - 1].key;
        if (words_equal(other->words, other->n_rows, key->words, key->n_rows)) return u->rows_buckets[slot] - 1;
    }
    u->rows_buckets[slot] = u->n_codes + 1;
    return u->n_codes;
}

static int code_of(Unit *u, const Step *step, const StepKey *key)
{
    uint32_t slot = words_hash(key->words, key->n_words) % (uint32_t)u->n_buckets;
    for (; u->buckets[slot]; slot = (slot + 1) % (uint32_t)u->n_buckets) {
        const StepKey *other = &u->codes[u->buckets[slot] - 1].key;
        if (words_equal(other->words, other->n_words, key->words, key->n_words)) return u->buckets[slot] - 1;
    }
    Code code = {*key, arena_copy(u->g.cx->arena, step, sizeof *step), first_of_rows(u, key), false, {{0}}};
    ARENA_PUSH(u->g.cx->arena, u->codes, u->n_codes, u->cap_codes, code);
    return (u->buckets[slot] = u->n_codes) - 1;
}

// ---- how args are stored: as few bytes as the largest needs, without the zero bits that all of a kind end in
typedef struct {
    uint32_t any, most; // all values or'ed; the largest
} Range;

static ArgForm form_of(Range r)
{
    ArgForm f = {2, 0};
    while (f.shift < 4 && r.any && !(r.any >> f.shift & 1)) f.shift++;
    while (f.bytes < 4 && r.most >> f.shift >> 8 * f.bytes) f.bytes++;
    return f.bytes < 4 ? f : (ArgForm){4, 0};
}

// Two bytes for WORK: as they are, or without the four bits that are 0 of every buffer's first lane.
static ArgForm work_form(uint32_t work_lanes) { return (ArgForm){2, work_lanes <= 1 << 16 ? 0 : 4}; }

static void add_range(Range *ranges, const StepKey *key)
{
    for (int j = 0; j < key->n_args; j++) {
        Range *r = &ranges[key->args[j].kind];
        r->any |= key->args[j].value;
        if (key->args[j].value > r->most) r->most = key->args[j].value;
    }
}

// ---- products whose counts are known to their code: those that are alone with the rest of their words
static int twin_order(const void *a, const void *b)
{
    const Twin *x = a, *y = b;
    if (x->rest != y->rest) return x->rest < y->rest ? -1 : 1;
    return x->all < y->all ? -1 : x->all > y->all;
}

static uint32_t key_hash(Gen *g, const Step *s, bool known)
{
    StepKey k = step_key(g, s, known, false);
    return words_hash(k.words, k.n_words);
}

// As code is made of it: where a policy has products of several tokens with weights of their own, that code serves the
// products of one token.
static Step as_emitted(const Unit *u, const Step *s)
{
    Step one = *s;
    if (s->kind != STEP_GEMM || !u->has_apart) return one;
    one.gemm.apart = s->gemm.apart || (s->gemm.m == 1 && s->gemm.n % 16 == 0 && !s->gemm.transposed);
    return one;
}

static bool has_apart(const Plan *plan)
{
    const Step *s;
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&plan->programs[id]); (s = plan_next(&w));)
            if (s->kind == STEP_GEMM && s->gemm.apart && !s->gemm.transposed) return true;
    return false;
}

static void find_twins(Unit *u, int steps)
{
    Gen *g = &u->g;
    const Step *s;
    u->twins = ARENA_ARRAY(g->cx->arena, Twin, steps + 1);
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&g->plan->programs[id]); (s = plan_next(&w));)
            if (s->kind == STEP_GEMM) {
                Step one = as_emitted(u, s);
                u->twins[u->n_twins++] = (Twin){key_hash(g, &one, false), key_hash(g, &one, true)};
            }
    qsort(u->twins, (size_t)u->n_twins, sizeof *u->twins, twin_order);
}

// Code that learns its counts is larger, except where the blocks of K are whole. Other backends' code knows them.
static bool counts_known(Unit *u, const Step *s)
{
    if (s->kind != STEP_GEMM) return false;
    if (u->g.gemm != gemm_emit) return true;
    uint32_t rest = key_hash(&u->g, s, false);
    int low = 0, high = u->n_twins, codes = 0;
    int most = s->gemm.transposed || gemm_cuts(&u->g, &s->gemm).whole ? 1 : 3;
    while (low < high) {
        int middle = (low + high) / 2;
        if (u->twins[middle].rest < rest)
            low = middle + 1;
        else
            high = middle;
    }
    for (int i = low; i < u->n_twins && u->twins[i].rest == rest && codes <= most; i++)
        codes += i == low || u->twins[i].all != u->twins[i - 1].all;
    return codes <= most;
}

static int steps_of(const Program *p)
{
    int n = 0;
    for (StepWalk w = plan_walk(p); plan_next(&w);) n++;
    return n;
}

// Where weights do not stay in cache, only products of many of them take a noticeable time.
static bool is_large(const Gen *g, const Step *s)
{
    if (s->kind != STEP_GEMM || !g->ahead) return s->kind == STEP_GEMM;
    return !s->gemm.transposed && (uint64_t)s->gemm.k * s->gemm.n >= LARGE_WEIGHTS;
}

// By step of the list: some round of it needs wide lanes. Then all have them, so that the rounds share a code.
static bool *wide_steps(Unit *u, const Program *p)
{
    bool *wide = ARENA_ARRAY(u->g.cx->arena, bool, p->n_steps + 1);
    Context *cx = u->g.cx, scratch = {arena_new(), cx->diag};
    const Step *s;
    u->g.cx = &scratch; // of keys that nobody keeps
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));) {
        Step one = as_emitted(u, s);
        if (w.repeat >= 0 && !wide[w.at - 1]) wide[w.at - 1] = step_key(&u->g, &one, false, false).wide;
    }
    u->g.cx = cx;
    arena_free(scratch.arena);
    return wide;
}

static void collect_program(Unit *u, int id, Range *ranges)
{
    const Program *p = &u->g.plan->programs[id];
    const bool *wide = wide_steps(u, p);
    bool *known = ARENA_ARRAY(u->g.cx->arena, bool, p->n_steps + 1); // by step of the list, as in its first round
    const Step *s;
    u->uses[id] = ARENA_ARRAY(u->g.cx->arena, Use, steps_of(p) + 1);
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));) {
        Step one = as_emitted(u, s);
        int at = w.at - 1;
        if (w.repeat < 0 || !w.round) known[at] = counts_known(u, &one);
        StepKey key = step_key(&u->g, &one, known[at], wide[at]);
        int code = code_of(u, &one, &key);
        Code *first = &u->codes[u->codes[code].first];
        first->large = first->large || is_large(&u->g, s);
        u->uses[id][u->n_uses[id]++] = (Use){code, key.args};
        add_range(ranges, &key);
    }
}

// ---- parts of a list: repeats whose rounds have equal code and args that grow by the same
static int step_bytes(const Unit *u, const StepKey *key)
{
    int n = u->code_bytes;
    for (int i = 0; i < key->n_args; i++) n += u->g.form[key->args[i].kind].bytes;
    return n;
}

static int uses_bytes(const Unit *u, const Use *uses, int n)
{
    int bytes = 0;
    for (int i = 0; i < n; i++) bytes += step_bytes(u, &u->codes[uses[i].code].key);
    return bytes;
}

static int64_t growth(const Use *a, const Use *b, int arg)
{
    return (int64_t)b->args[arg].value - (int64_t)a->args[arg].value;
}

// Is round b to round a as round a to the one before it? (before: NULL: it is the first)
static bool goes_on(const Unit *u, const Use *before, const Use *a, const Use *b, int length)
{
    for (int i = 0; i < length; i++) {
        if (a[i].code != b[i].code) return false;
        for (int j = 0; before && j < u->codes[a[i].code].key.n_args; j++)
            if (growth(&before[i], &a[i], j) != growth(&a[i], &b[i], j)) return false;
    }
    return true;
}

static void add_part_of(Unit *u, int id, Part part)
{
    Part *last = u->n_parts[id] ? &u->parts[id][u->n_parts[id] - 1] : NULL;
    if (last && last->rounds == 1 && part.rounds == 1)
        last->length += part.length;
    else
        ARENA_PUSH(u->g.cx->arena, u->parts[id], u->n_parts[id], u->cap_parts[id], part);
}

enum { MOST_BODY = 4096 }; // bytes of a round

static void add_repeat(Unit *u, int id, int first, int length, int rounds)
{
    const Use *uses = u->uses[id] + first;
    bool fits = uses_bytes(u, uses, length) + 16 <= MOST_BODY;
    for (int r = 0, n; r < rounds; r += n) {
        const Use *at = uses + r * length;
        for (n = 1; fits && r + n < rounds; n++)
            if (!goes_on(u, n > 1 ? at + (n - 2) * length : NULL, at + (n - 1) * length, at + n * length, length))
                break;
        if (n == 2) n = 1; // two rounds are as long as their differences
        add_part_of(u, id, (Part){first + r * length, length, n});
    }
}

static void collect_parts(Unit *u, int id)
{
    const Program *p = &u->g.plan->programs[id];
    int use = 0;
    for (int i = 0; i < p->n_steps; i++) {
        const RepeatStep *r = &p->steps[i].repeat;
        if (p->steps[i].kind != STEP_REPEAT) {
            add_part_of(u, id, (Part){use++, 1, 1});
            continue;
        }
        add_repeat(u, id, use, (int)r->length, (int)r->count);
        use += (int)(r->length * r->count);
        i += (int)r->length;
    }
    if (u->n_parts[id] == 1 && u->parts[id][0].rounds == 1) u->n_parts[id] = 0;
}

static void collect(Unit *u)
{
    Gen *g = &u->g;
    Range ranges[ARG_KINDS] = {0};
    int steps = 0;
    uint32_t work_lanes = 0;
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        const Program *p = &g->plan->programs[i];
        steps += steps_of(p);
        if (p->work_lanes > work_lanes) work_lanes = p->work_lanes;
    }
    u->n_buckets = 2 * steps + 1;
    u->buckets = ARENA_ARRAY(g->cx->arena, int, u->n_buckets);
    u->rows_buckets = ARENA_ARRAY(g->cx->arena, int, u->n_buckets);
    g->form[ARG_WORK] = work_form(work_lanes);
    g->lengths_vary = lengths_vary(g->plan);
    u->has_apart = g->gemm == gemm_emit && has_apart(g->plan);
    find_twins(u, steps);
    for (int i = 0; i < PROGRAM_COUNT; i++) collect_program(u, i, ranges);
    for (int i = 0; i < ARG_KINDS; i++)
        if (i != ARG_WORK) g->form[i] = form_of(ranges[i]);
    u->code_bytes = u->n_codes <= 1 << 8 ? 1 : u->n_codes <= 1 << 16 ? 2 : 4;
    for (int i = 0; i < PROGRAM_COUNT; i++) collect_parts(u, i);
}

// ---- functions
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

static Value function_new(Gen *g, const char *name, LLVMTypeRef type)
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
    if (g->info.bf16) set_text(g, fn, "target-features", "+avx512bf16");
    // Only the args are said to lie apart: else loads of a whole product's weights would be hoisted out of the loop
    // over rows, and spilled.
    for (unsigned i = 2; i <= 4; i++)
        if (LLVMTypeOf(LLVMGetParam(fn, i - 1)) == g->ptr) set_flag(g, fn, i, "readonly");
    if (type == g->step_type) set_flag(g, fn, 4, "noalias");
    g->fn = fn;
    LLVMPositionBuilderAtEnd(g->b, block_new(g, "entry"));
    return fn;
}

static const char *level_suffix(const Gen *g)
{
    return g->n_levels == 1 ? "" : g->info.level == LEVEL_AVX512 ? "_v4" : "_v3";
}

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

// The slot whose code serves `slot`, or -1: the programs have none for it. Products on AVX-512 have wider blocks from
// 32 rows on, where they are `large`.
static int shape_slot(const Gen *g, StepKind kind, bool large, int slot)
{
    if (slot <= SLOT_16) return slot;
    if (!strided(g, STEP_GEMM) && slot == SLOT_32) return -1;
    if (!strided(g, kind)) return slot;
    return kind == STEP_GEMM && large && g->info.level == LEVEL_AVX512 ? SLOT_32 : SLOT_16;
}

static bool takes_few(const Gen *g, const Step *s) { return s->kind == STEP_GEMM && gemm_takes_few(g, &s->gemm); }

static void step_code(Gen *g, const Step *s)
{
    switch (s->kind) {
    case STEP_GEMM: g->gemm(g, &s->gemm); break;
    case STEP_MAP: map_emit(g, &s->map); break;
    case STEP_REDUCE: reduce_emit(g, &s->reduce); break;
    case STEP_MOVE: move_emit(g, &s->move); break;
    case STEP_MATMUL: matmul_emit(g, &s->matmul); break;
    case STEP_TAKE: take_emit(g, &s->take); break;
    case STEP_REPEAT: break;
    }
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
    g->weights = LLVMGetParam(fn, 2);
    g->args = LLVMGetParam(fn, 3);
    g->rows = g->strided && g->tile > 1 ? LLVMGetParam(fn, 4) : word_i64(g, g->tile);
    g->lane_bytes = mul(g, g->rows, 4);
    g->next_arg = 0;
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
        FewShape s = few_shape(g, i), before = few_shape(g, i ? i - 1 : 0);
        if (i && s.rows == before.rows && s.units == before.units) {
            g->few_block[kind][i] = g->few_block[kind][i - 1];
            continue;
        }
        const char *block = arena_format(a, "%s_%dx%d%s", name, s.rows, s.units, level_suffix(g));
        g->few_block[kind][i] = function_new(g, block, few_block_type(g));
        few_block_emit(g, kind, s);
        LLVMBuildRetVoid(g->b);
    }
    g->few[kind] = function_new(g, arena_format(a, "%s%s", name, level_suffix(g)), few_type(g));
    few_emit(g, kind);
    LLVMBuildRetVoid(g->b);
}

static void emit_few(Unit *u)
{
    static const char *const names[] = {
        [MATRIX_F32] = "few", [MATRIX_SHORT] = "few_short", [MATRIX_PAIRS] = "few_pairs"};
    Gen *g = &u->g;
    memset(g->few, 0, sizeof g->few);
    g->tile = 1;
    for (int i = 0; i < u->n_codes; i++) {
        const Step *s = u->codes[i].step;
        uint32_t at;
        if (!takes_few(g, s) || s->gemm.transposed) continue;
        MatrixKind kind = layout_matrix(g->layout, s->gemm.w, &at);
        if (!g->few[kind]) emit_few_kind(u, kind, names[kind]);
    }
}

static void emit_steps(Unit *u)
{
    emit_few(u);
    for (int i = 0; i < u->n_codes; i++)
        for (int t = 0; t < NFCC_TILES; t++) {
            int first = t == SLOT_ONE ? i : u->codes[i].first;
            int shape = shape_slot(&u->g, u->codes[i].step->kind, u->codes[first].large, t);
            u->g.tile = tiles[t];
            bool made = first < i || shape < t;
            Value *fn = u->codes[i].fn[u->level];
            if (shape >= 0) fn[t] = made ? u->codes[first].fn[u->level][shape] : step_function(&u->g, &u->codes[i]);
        }
}

// ---- tables and the walk
static Value distance(Gen *g, Value to, Value from)
{
    Value bytes = LLVMConstSub(LLVMConstPtrToInt(to, g->i64), LLVMConstPtrToInt(from, g->i64));
    return LLVMConstTrunc(bytes, g->i32);
}

static Value constant_new(Gen *g, const char *name, LLVMTypeRef type, unsigned align)
{
    Value global = LLVMAddGlobal(g->module, type, name);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetGlobalConstant(global, true);
    LLVMSetAlignment(global, align);
    return global;
}

static const char *const program_names[] = {
    [PROGRAM_ENCODE] = "encode",     [PROGRAM_LATE] = "late",   [PROGRAM_TO_LATENT] = "to_latent",
    [PROGRAM_TO_EVENT] = "to_event", [PROGRAM_NOISE] = "noise", [PROGRAM_RUN] = "run",
    [PROGRAM_SCORE] = "score",       [PROGRAM_ACT] = "act",     [PROGRAM_BASE] = "base",
};
_Static_assert(sizeof program_names / sizeof *program_names == PROGRAM_COUNT, "every program has a name");

static Value text(Gen *g, const void *data, size_t size)
{
    return LLVMConstStringInContext2(g->llvm, data, size, true);
}

static unsigned char *put_word(unsigned char *at, uint32_t word, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (unsigned char)(word >> 8 * i);
    return at + bytes;
}

enum { LIST_HEAD = 4, LIST_PAD = 4 }; // bytes of the number of steps; an arg of three bytes is read as four
enum { SHAPE_FEW = 256 };             // the walk's shape is T, or from here on the word of abi.h for few rows

static unsigned char *put_round(Unit *u, unsigned char *at, const Use *uses, int n)
{
    at = put_word(at, (uint32_t)n, LIST_HEAD);
    for (int i = 0; i < n; i++) {
        at = put_word(at, (uint32_t)uses[i].code, u->code_bytes);
        for (int j = 0; j < u->codes[uses[i].code].key.n_args; j++) {
            ArgForm f = u->g.form[uses[i].args[j].kind];
            at = put_word(at, uses[i].args[j].value >> f.shift, f.bytes);
        }
    }
    return at;
}

// A round is its steps' bytes as one long number; the next round is this plus a constant, `by`. Args may fall: what
// they borrow comes back from `by`, which is the difference of the numbers.
static void subtract(unsigned char *by, const unsigned char *less, int bytes)
{
    int borrow = 0;
    for (int i = 0; i < bytes; i++) {
        int d = by[i] - less[i] - borrow;
        borrow = d < 0;
        by[i] = (unsigned char)d;
    }
}

enum { PART_HEAD = 8 };

// Bytes of a part that are copied before its rounds: whole words.
static int body_bytes(const Unit *u, const Use *uses, const Part *part)
{
    int bytes = LIST_HEAD + uses_bytes(u, uses + part->first, part->length);
    return part->rounds == 1 ? bytes : (bytes + LIST_PAD + 7) / 8 * 8;
}

// Rounds, bytes of a round, the first round as a list for the walk; where there are more, what is added to get the next
// one.
static unsigned char *put_part(Unit *u, unsigned char *at, const Use *uses, const Part *part)
{
    int bytes = body_bytes(u, uses, part);
    uses += part->first;
    at = put_word(put_word(at, (uint32_t)part->rounds, 4), (uint32_t)bytes, 4);
    put_round(u, at, uses, part->length);
    if (part->rounds > 1) {
        put_round(u, at + bytes, uses + part->length, part->length);
        subtract(at + bytes, at, bytes);
    }
    return at + (part->rounds > 1 ? 2 : 1) * bytes;
}

static void emit_program_steps(Unit *u, int id)
{
    Gen *g = &u->g;
    const Use *uses = u->uses[id];
    Part whole = {0, u->n_uses[id], 1};
    if (!whole.length) return;
    size_t size = LIST_HEAD + LIST_PAD + (u->n_parts[id] ? 0 : (size_t)body_bytes(u, uses, &whole));
    for (int i = 0; i < u->n_parts[id]; i++)
        size += PART_HEAD + (u->parts[id][i].rounds > 1 ? 2 : 1) * (size_t)body_bytes(u, uses, &u->parts[id][i]);
    unsigned char *list = arena_alloc(g->cx->arena, size);
    unsigned char *at =
        u->n_parts[id] ? put_word(list, (uint32_t)u->n_parts[id], LIST_HEAD) : put_round(u, list, uses, whole.length);
    for (int i = 0; i < u->n_parts[id]; i++) at = put_part(u, at, uses, &u->parts[id][i]);
    const char *name = arena_format(g->cx->arena, "%s_steps", program_names[id]);
    u->steps[id] = constant_new(g, name, LLVMArrayType2(g->i8, size), 1);
    LLVMSetInitializer(u->steps[id], text(g, list, size));
}

static void emit_code_table(Unit *u, int t)
{
    Gen *g = &u->g;
    int shape = shape_slot(g, STEP_GEMM, true, t);
    unsigned n = (unsigned)u->n_codes;
    if (shape < t) {
        u->code_table[t] = u->code_table[shape];
        return;
    }
    const char *name = arena_format(g->cx->arena, "codes_t%d%s", tiles[t], level_suffix(g));
    Value table = u->code_table[t] = constant_new(g, name, LLVMArrayType2(g->i32, n), 4);
    Value *words = ARENA_ARRAY(g->cx->arena, Value, n + 1);
    for (int i = 0; i < u->n_codes; i++) words[i] = distance(g, u->codes[i].fn[u->level][t], table);
    LLVMSetInitializer(table, LLVMConstArray2(g->i32, words, n));
}

enum { EACH_ROW = 128 }; // in lengths: the code of T = 1 takes one row

// Bytes of a step, at most a code's number and 19 args of four, by number of its code.
static Value lengths_new(Unit *u)
{
    Gen *g = &u->g;
    unsigned char *bytes = arena_alloc(g->cx->arena, (size_t)u->n_codes + 1);
    for (int i = 0; i < u->n_codes; i++) {
        int each = takes_few(g, u->codes[i].step) ? 0 : EACH_ROW;
        bytes[i] = (unsigned char)(step_bytes(u, &u->codes[i].key) | each);
    }
    Value lengths = constant_new(g, "lengths", LLVMArrayType2(g->i8, (unsigned)u->n_codes), 1);
    LLVMSetInitializer(lengths, text(g, bytes, (size_t)u->n_codes));
    return lengths;
}

static Value load_narrow(Gen *g, int bytes, Value address)
{
    Value v = LLVMBuildLoad2(g->b, LLVMIntTypeInContext(g->llvm, 8 * (unsigned)bytes), address, "");
    LLVMSetAlignment(v, 1);
    return LLVMBuildZExt(g->b, v, g->i64, "");
}

// One step: once, or once for each of few rows.
static void walk_step(Gen *g, Value step, Value args, Value times, Value shape)
{
    Loop l = loop_of(g, times);
    Value work = bytes_at(g, LLVMGetParam(g->fn, 0), LLVMBuildMul(g->b, l.i, few_step(g, shape, SPACE_WORK), ""));
    Value prep = bytes_at(g, LLVMGetParam(g->fn, 1), LLVMBuildMul(g->b, l.i, few_step(g, shape, SPACE_PREP), ""));
    Value all[] = {work, prep, LLVMGetParam(g->fn, 2), args, shape};
    LLVMBuildCall2(g->b, g->step_type, step, all, 5, "");
    loop_end(g, &l, NULL);
}

// void walk(work, prep, weights, list, codes, shape): six words, which all are in registers. Before the list's steps
// stands their number, which is not 0. T > 1: shape is T.
static void emit_walk(Unit *u)
{
    Gen *g = &u->g;
    LLVMTypeRef params[] = {g->ptr, g->ptr, g->ptr, g->ptr, g->ptr, g->i64};
    u->walk_type = LLVMFunctionType(g->none, params, 6, false);
    Value fn = u->walk = function_new(g, "walk", u->walk_type);
    Value list = LLVMGetParam(fn, 3), codes = LLVMGetParam(fn, 4), shape = LLVMGetParam(fn, 5);
    Value count = load_narrow(g, LIST_HEAD, list), steps = bytes_at(g, list, word_i64(g, LIST_HEAD));
    LLVMBasicBlockRef before = LLVMGetInsertBlock(g->b), head = block_new(g, "step"), done = block_new(g, "done");
    LLVMBuildBr(g->b, head);
    LLVMPositionBuilderAtEnd(g->b, head);
    Value at = LLVMBuildPhi(g->b, g->ptr, "at"), left = LLVMBuildPhi(g->b, g->i64, "left");
    Value number = load_narrow(g, u->code_bytes, at);
    Value offset = LLVMBuildSExt(g->b, load(g, g->i32, bytes_at(g, codes, mul(g, number, 4))), g->i64, "");
    Value length = load_narrow(g, 1, bytes_at(g, lengths_new(u), number));
    Value bytes = LLVMBuildAnd(g->b, length, word_i64(g, EACH_ROW - 1), "");
    Value each = LLVMBuildICmp(g->b, LLVMIntNE, bytes, length, "");
    Value few = LLVMBuildICmp(g->b, LLVMIntUGE, shape, word_i64(g, SHAPE_FEW), "");
    Value times = LLVMBuildSelect(g->b, LLVMBuildAnd(g->b, each, few, ""), few_rows(g, shape), word_i64(g, 1), "");
    walk_step(g, bytes_at(g, codes, offset), bytes_at(g, at, word_i64(g, u->code_bytes)), times, shape);
    Value next = bytes_at(g, at, bytes), fewer = add(g, left, word_i64(g, -1));
    LLVMBasicBlockRef last = LLVMGetInsertBlock(g->b);
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntNE, fewer, word_i64(g, 0), ""), head, done);
    LLVMAddIncoming(at, (Value[]){steps, next}, (LLVMBasicBlockRef[]){before, last}, 2);
    LLVMAddIncoming(left, (Value[]){count, fewer}, (LLVMBasicBlockRef[]){before, last}, 2);
    LLVMPositionBuilderAtEnd(g->b, done);
    LLVMBuildRetVoid(g->b);
}

static Value head_word(Gen *g, Value at, int number)
{
    return LLVMBuildZExt(g->b, load_narrow(g, 4, bytes_at(g, at, word_i64(g, 4 * number))), g->i64, "");
}

static Value word_at(Gen *g, Value base, Value number) { return bytes_at(g, base, mul(g, number, 8)); }

static void copy_words(Gen *g, Value to, Value from, Value words)
{
    Loop l = loop_maybe(g, words);
    Value v = LLVMBuildLoad2(g->b, g->i64, word_at(g, from, l.i), "");
    LLVMSetAlignment(v, 1);
    LLVMBuildStore(g->b, v, word_at(g, to, l.i));
    loop_end(g, &l, NULL);
}

// to += by, both numbers of `words` words.
static void add_words(Gen *g, Value to, Value by, Value words)
{
    LLVMTypeRef wide = LLVMIntTypeInContext(g->llvm, 128);
    Loop l = loop_maybe(g, words);
    Value carry = loop_phi(g, &l, word_i64(g, 0)), place = word_at(g, to, l.i);
    Value a = LLVMBuildLoad2(g->b, g->i64, place, ""), b = LLVMBuildLoad2(g->b, g->i64, word_at(g, by, l.i), "");
    LLVMSetAlignment(b, 1);
    Value sum = add(g, add(g, LLVMBuildZExt(g->b, a, wide, ""), LLVMBuildZExt(g->b, b, wide, "")),
                    LLVMBuildZExt(g->b, carry, wide, ""));
    LLVMBuildStore(g->b, LLVMBuildTrunc(g->b, sum, g->i64, ""), place);
    Value high = LLVMBuildLShr(g->b, sum, LLVMConstInt(wide, 64, false), "");
    carry = LLVMBuildTrunc(g->b, high, g->i64, "");
    loop_end(g, &l, &carry);
}

// void rounds(work, prep, weights, list, codes, shape): a part's first round is copied, so that it can be added to
// between the rounds.
static void emit_rounds(Unit *u)
{
    Gen *g = &u->g;
    Value fn = u->rounds = function_new(g, "rounds", u->walk_type), list = LLVMGetParam(fn, 3);
    Value body = LLVMBuildArrayAlloca(g->b, g->i64, word_i32(g, MOST_BODY / 8), "");
    Value start = bytes_at(g, list, word_i64(g, LIST_HEAD));
    Loop parts = loop_of(g, head_word(g, list, 0));
    Value at = loop_phi(g, &parts, start);
    Value rounds = head_word(g, at, 0), bytes = head_word(g, at, 1), first = bytes_at(g, at, word_i64(g, PART_HEAD));
    Value many = LLVMBuildICmp(g->b, LLVMIntNE, rounds, word_i64(g, 1), "");
    Value words = LLVMBuildSelect(g->b, many, LLVMBuildLShr(g->b, bytes, word_i64(g, 3), ""), word_i64(g, 0), "");
    Value by = bytes_at(g, first, bytes), steps = LLVMBuildSelect(g->b, many, body, first, "");
    copy_words(g, body, first, words);
    Loop l = loop_of(g, rounds);
    Value args[] = {LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2), steps,
                    LLVMGetParam(fn, 4), LLVMGetParam(fn, 5)};
    LLVMBuildCall2(g->b, u->walk_type, u->walk, args, 6, "");
    add_words(g, body, by, words);
    loop_end(g, &l, NULL);
    Value next = LLVMBuildSelect(g->b, many, bytes_at(g, by, bytes), by, "");
    loop_end(g, &parts, &next);
    LLVMBuildRetVoid(g->b);
}

static void emit_program(Unit *u, int id, int t)
{
    Gen *g = &u->g;
    const char *name = arena_format(g->cx->arena, "%s_t%d%s", program_names[id], tiles[t], level_suffix(g));
    Value fn = u->program[u->level][id][t] = function_new(g, name, g->code_type);
    if (u->n_uses[id]) {
        Value args[] = {LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2),
                        u->steps[id],        u->code_table[t],    t ? word_i64(g, tiles[t]) : LLVMGetParam(fn, 3)};
        LLVMSetTailCall(LLVMBuildCall2(g->b, u->walk_type, u->n_parts[id] ? u->rounds : u->walk, args, 6, ""), true);
    }
    LLVMBuildRetVoid(g->b);
}

// ---- the descriptor
enum { MOST_PARTS = 4 * PROGRAM_COUNT + 4 };

typedef struct {
    const unsigned char *bytes;
    size_t at; // of the bytes: done
    LLVMTypeRef type[MOST_PARTS];
    Value value[MOST_PARTS];
    int n;
} Parts;

static void add_part(Parts *p, Value value)
{
    p->type[p->n] = LLVMTypeOf(value);
    p->value[p->n++] = value;
}

static void add_bytes_to(Gen *g, Parts *p, size_t end)
{
    if (end > p->at) add_part(p, text(g, p->bytes + p->at, end - p->at));
    p->at = end;
}

static WeightType stored_type(const Gen *g) { return layout_short(g->layout) ? g->plan->weight_type : WEIGHTS_F32; }

// The offsets of a program's code, at `at` of the descriptor.
static void add_code(Gen *g, Parts *p, size_t at, const Value *program, Value global)
{
    Value code[NFCC_TILES];
    add_bytes_to(g, p, at);
    for (int t = 0; t < NFCC_TILES; t++) code[t] = program[t] ? distance(g, program[t], global) : word_i32(g, 0);
    add_part(p, LLVMConstArray2(g->i32, code, NFCC_TILES));
    p->at += sizeof(int32_t) * NFCC_TILES;
}

// Its bytes in pieces: code offsets are distances, the rest is text. The pieces' types must be known before there is a
// global that distances can be counted from; a placeholder stands in for it until then.
static void emit_descriptor(Unit *u, const Target *target, const char *symbol, bool with_weights)
{
    Gen *g = &u->g;
    WeightType stored = stored_type(g);
    size_t weights = layout_size(g->layout);
    nfcc_model_header h;
    tile_costs(g, h.cost);
    const Bytes *d = descriptor_bytes(g->cx, g->plan, target, compiler_name(g->cx), stored, weights, h.cost);
    memcpy(&h, d->data, sizeof h);

    Parts p = {.bytes = d->data};
    Value start = LLVMAddGlobal(g->module, g->i8, "");
    for (size_t i = 0; i < PROGRAM_COUNT; i++)
        add_code(g, &p, offsetof(nfcc_model_header, programs) + i * sizeof(nfcc_abi_program), u->program[0][i], start);
    for (size_t i = 0; i < PROGRAM_COUNT && g->n_levels > 1; i++)
        add_code(g, &p, h.other_code + i * sizeof(int32_t) * NFCC_TILES, u->program[1][i], start);
    add_bytes_to(g, &p, d->size);
    if (with_weights) add_part(&p, text(g, layout_weights(g), weights));
    if (with_weights) add_part(&p, LLVMConstNull(LLVMArrayType2(g->i8, WEIGHTS_PAD)));

    Value global = LLVMAddGlobal(g->module, LLVMStructTypeInContext(g->llvm, p.type, (unsigned)p.n, true), symbol);
    LLVMSetInitializer(global, LLVMConstStructInContext(g->llvm, p.value, (unsigned)p.n, true));
    LLVMReplaceAllUsesWith(start, global);
    LLVMDeleteGlobal(start);
    LLVMSetGlobalConstant(global, true);
    LLVMSetAlignment(global, 64);
    LLVMSetSection(global, WEIGHTS_SECTION);
    LLVMSetVisibility(global, LLVMProtectedVisibility);
}

// ---- LLVM's objects
static void fatal(const char *reason)
{
    fprintf(stderr, "nfcc: internal error in LLVM: %s\n", reason);
    exit(4);
}

static void remember(LLVMDiagnosticInfoRef info, void *user)
{
    Unit *u = user;
    char *message = LLVMGetDiagInfoDescription(info);
    if (!u->problem && LLVMGetDiagInfoSeverity(info) <= LLVMDSWarning)
        u->problem = arena_string(u->g.cx->arena, message);
    LLVMDisposeMessage(message);
}

static void initialize_targets(void)
{
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
}

static void set_types(Gen *g)
{
    g->f32 = LLVMFloatTypeInContext(g->llvm);
    g->i8 = LLVMInt8TypeInContext(g->llvm);
    g->i32 = LLVMInt32TypeInContext(g->llvm);
    g->i64 = LLVMInt64TypeInContext(g->llvm);
    g->ptr = LLVMPointerTypeInContext(g->llvm, 0);
    g->none = LLVMVoidTypeInContext(g->llvm);
    LLVMTypeRef params[] = {g->ptr, g->ptr, g->ptr, g->ptr, g->i64}, code[] = {g->ptr, g->ptr, g->ptr, g->i64};
    g->step_type = LLVMFunctionType(g->none, params, 5, false);
    g->code_type = LLVMFunctionType(g->none, code, 4, false);
}

static const char *tune_name(Context *cx, const char *tune)
{
    if (strcmp(tune, "native")) return tune;
    char *name = LLVMGetHostCPUName();
    const char *copy = arena_string(cx->arena, name);
    LLVMDisposeMessage(name);
    return copy;
}

static bool unit_open(Unit *u)
{
    Gen *g = &u->g;
    LLVMTargetRef llvm_target;
    char *message = NULL;
    initialize_targets();
    if (LLVMGetTargetFromTriple(g->info.llvm, &llvm_target, &message)) {
        diag_error(g->cx, NULL, "use an LLVM that was built for it", "LLVM cannot make code for %s: %s", g->info.llvm,
                   message);
        LLVMDisposeMessage(message);
        return false;
    }
    u->machine = LLVMCreateTargetMachine(llvm_target, g->info.llvm, g->info.isa, "", LLVMCodeGenLevelDefault,
                                         LLVMRelocPIC, LLVMCodeModelSmall);
    g->llvm = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(g->llvm, remember, u);
    g->module = LLVMModuleCreateWithNameInContext(g->plan->name ? g->plan->name : "policy", g->llvm);
    LLVMSetTarget(g->module, g->info.llvm);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(u->machine);
    LLVMSetModuleDataLayout(g->module, layout);
    LLVMDisposeTargetData(layout);
    g->b = LLVMCreateBuilderInContext(g->llvm);
    set_types(g);
    return true;
}

static void unit_close(Unit *u)
{
    LLVMDisposeBuilder(u->g.b);
    LLVMDisposeModule(u->g.module);
    LLVMContextDispose(u->g.llvm);
    LLVMDisposeTargetMachine(u->machine);
}

static void internal_error(Unit *u, const char *what, char *message)
{
    diag_error(u->g.cx, NULL, "this is a bug of nfcc; please report it with the model", "internal error: %s: %s", what,
               message);
    LLVMDisposeMessage(message);
}

static bool optimise(Unit *u)
{
    char *message = NULL;
    if (LLVMVerifyModule(u->g.module, LLVMReturnStatusAction, &message)) {
        internal_error(u, "malformed code", message);
        return false;
    }
    LLVMDisposeMessage(message);
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    // No pass that widens, unrolls or recognises library calls: the code has its shape already. No licm: it would
    // hoist the spread weights of a whole product and spill them; what is worth hoisting was emitted outside.
    LLVMErrorRef error = LLVMRunPasses(u->g.module, "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg)",
                                       u->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error) return true;
    char *text_of = LLVMGetErrorMessage(error);
    internal_error(u, "optimiser", LLVMCreateMessage(text_of));
    LLVMDisposeErrorMessage(text_of);
    return false;
}

static const Bytes *object_of(Unit *u)
{
    LLVMMemoryBufferRef buffer;
    char *message = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(u->machine, u->g.module, LLVMObjectFile, &message, &buffer)) {
        internal_error(u, "code generation", message);
        return NULL;
    }
    size_t size = LLVMGetBufferSize(buffer);
    void *object = arena_copy(u->g.cx->arena, LLVMGetBufferStart(buffer), size);
    LLVMDisposeMemoryBuffer(buffer);
    if (!u->problem) return object_with_weights(u->g.cx, object, size, layout_weights(&u->g), layout_size(u->g.layout));
    internal_error(u, "code generation", LLVMCreateMessage(u->problem));
    return NULL;
}

static void emit_level(Unit *u, int level)
{
    Gen *g = &u->g;
    u->level = level;
    g->info = g->level[level];
    g->width = g->info.width;
    emit_steps(u);
    for (int t = 0; t < NFCC_TILES; t++)
        if (shape_slot(g, STEP_GEMM, true, t) >= 0) emit_code_table(u, t);
    for (int i = 0; i < PROGRAM_COUNT; i++)
        for (int t = 0; t < NFCC_TILES; t++)
            if (g->plan->programs[i].exists && shape_slot(g, STEP_GEMM, true, t) >= 0) emit_program(u, i, t);
}

static void emit_all(Unit *u, const Target *target, const char *symbol, bool with_weights)
{
    collect(u);
    bool parts = false;
    emit_walk(u);
    for (int i = 0; i < PROGRAM_COUNT; i++) parts = parts || u->n_parts[i];
    if (parts) emit_rounds(u);
    for (int i = 0; i < PROGRAM_COUNT; i++)
        if (u->g.plan->programs[i].exists) emit_program_steps(u, i);
    for (int i = 0; i < u->g.n_levels; i++) emit_level(u, i);
    emit_descriptor(u, target, symbol, with_weights);
}

static const char *module_text(Unit *u)
{
    char *printed = LLVMPrintModuleToString(u->g.module);
    const char *copy = arena_string(u->g.cx->arena, printed);
    LLVMDisposeMessage(printed);
    return copy;
}

typedef void GemmEmit(Gen *g, const GemmStep *s);

// The object, or (ll) the module as text, which holds its weights itself.
static const Bytes *emit_module(Context *cx, const Plan *plan, const Target *target, const char *symbol, GemmEmit *gemm,
                                const char **ll)
{
    Unit u = {.g = {.cx = cx, .plan = plan, .gemm = gemm}};
    u.g.layout = layout_of(&u.g);
    u.g.info = target_info(target, stored_type(&u.g));
    u.g.width = u.g.info.width;
    u.g.info.tune = tune_name(cx, u.g.info.tune);
    u.g.level[0] = u.g.info;
    u.g.n_levels = target_other(target, stored_type(&u.g), &u.g.level[1]) ? 2 : 1;
    if (layout_size(u.g.layout) > IN_CACHE) u.g.ahead = layout_short(u.g.layout) ? AHEAD / 2 : AHEAD;
    if (!unit_open(&u)) return NULL;
    emit_all(&u, target, symbol, ll != NULL);
    bool good = optimise(&u);
    if (good && ll) *ll = module_text(&u);
    const Bytes *object = good && !ll ? object_of(&u) : NULL;
    unit_close(&u);
    return object;
}

const Bytes *llvm_emit_with(Context *cx, const Plan *plan, const Target *target, const char *symbol, const char **ll,
                            GemmEmit *gemm)
{
    if (plan->weight_lanes > 480000000) {
        diag_error(cx, NULL, "split the model", "%llu weights: one file holds at most 480 million",
                   (unsigned long long)plan->weight_lanes);
        return NULL;
    }
    LLVMInstallFatalErrorHandler(fatal);
    if (ll) emit_module(cx, plan, target, symbol, gemm, ll);
    const Bytes *object = ll && !*ll ? NULL : emit_module(cx, plan, target, symbol, gemm, NULL);
    LLVMResetFatalErrorHandler();
    return object;
}

const Bytes *llvm_emit(Context *cx, const Plan *plan, const Target *target, const char *symbol, const char **ll)
{
    return llvm_emit_with(cx, plan, target, symbol, ll, gemm_emit);
}
