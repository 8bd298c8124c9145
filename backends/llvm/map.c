// map: the elementwise code of a step (scalar.def) over n lanes. Every value is a vector of words; T = 1: of lanes,
// else of rows of one lane.
//
// Lanes are visited by two loops, `outer` over runs and `inner` within a run, where the arguments of two levels
// agree on the length of a run; else by one loop, and lane numbers of such arguments are computed. For T > 1, where
// all arguments lie as the results do, the rows of all lanes are one run of floats (map_joined).
#include "llvm.h"

#include <string.h>

typedef struct {
    Gen *g;
    const MapStep *s;
    Pattern pattern[MAP_MAX_ARGS];
    Operand arg[MAP_MAX_ARGS], out[MAP_MAX_OUTS];
    Value *number; // by instruction: a word that the code learns (i32), or NULL
    Value run;     // lanes of a run (i64)
    Value vectors; // of a run, T = 1
    int64_t lanes; // of a run of this step
    int64_t runs;  // number of runs
    int width;     // words of a vector
} Map;

// ---- one instruction

static Value as_float(const Map *m, Value v) { return LLVMBuildBitCast(m->g->b, v, floats(m->g, m->width), ""); }
static Value as_int(const Map *m, Value v) { return LLVMBuildBitCast(m->g->b, v, ints(m->g, m->width), ""); }
static Value mask(const Map *m, Value bits) { return LLVMBuildSExt(m->g->b, bits, ints(m->g, m->width), ""); }

static Value multiply_high(const Map *m, Value a, Value b)
{
    Gen *g = m->g;
    LLVMTypeRef wide = LLVMVectorType(g->i64, (unsigned)m->width);
    Value product = product_of(g, LLVMBuildZExt(g->b, a, wide, ""), LLVMBuildZExt(g->b, b, wide, ""));
    Value high = LLVMBuildLShr(g->b, product, splat(g, word_i64(g, 32), m->width), "");
    return LLVMBuildTrunc(g->b, high, ints(g, m->width), "");
}

static Value shift_count(const Map *m, Value b) { return LLVMBuildAnd(m->g->b, b, splat_word(m->g, 31, m->width), ""); }

// Out of range is the plan's duty; freeze keeps a garbage slot (padding) from spreading.
static Value to_int(const Map *m, Value a)
{
    Gen *g = m->g;
    return LLVMBuildFreeze(g->b, LLVMBuildFPToSI(g->b, as_float(m, a), ints(g, m->width), ""), "");
}

// Of floats: x86 has a minimum and a maximum that are exactly  a < b ? a : b  and  b < a ? a : b.
static Value select_emit(const Map *m, Value mask, Value a, Value b)
{
    Gen *g = m->g;
    Value bits = LLVMBuildICmp(g->b, LLVMIntNE, mask, splat_word(g, 0, m->width), "");
    return as_int(m, where(g, bits, as_float(m, a), as_float(m, b)));
}

static Value instr_emit(const Map *m, const ScalarInstr *c, const Value *v)
{
    Gen *g = m->g;
    LLVMBuilderRef b = g->b;
    const Value x = v[c->a], y = v[c->b], z = v[c->c]; // unused ones name value 0
#define F(v) as_float(m, v)
    switch ((ScalarOp)c->op) {
    case S_fadd: return as_int(m, LLVMBuildFAdd(b, F(x), F(y), ""));
    case S_fsub: return as_int(m, LLVMBuildFSub(b, F(x), F(y), ""));
    case S_fmul: return as_int(m, LLVMBuildFMul(b, F(x), F(y), ""));
    case S_fdiv: return as_int(m, LLVMBuildFDiv(b, F(x), F(y), ""));
    case S_fma: return as_int(m, fma_of(g, F(x), F(y), F(z)));
    case S_fsqrt: return as_int(m, call(g, "llvm.sqrt", floats(g, m->width), (Value[]){F(x)}, 1));
    case S_flt: return mask(m, LLVMBuildFCmp(b, LLVMRealOLT, F(x), F(y), ""));
    case S_fle: return mask(m, LLVMBuildFCmp(b, LLVMRealOLE, F(x), F(y), ""));
    case S_feq: return mask(m, LLVMBuildFCmp(b, LLVMRealOEQ, F(x), F(y), ""));
    case S_ilt: return mask(m, LLVMBuildICmp(b, LLVMIntSLT, x, y, ""));
    case S_ult: return mask(m, LLVMBuildICmp(b, LLVMIntULT, x, y, ""));
    case S_ieq: return mask(m, LLVMBuildICmp(b, LLVMIntEQ, x, y, ""));
    case S_sel: return select_emit(m, x, y, z);
    case S_and: return LLVMBuildAnd(b, x, y, "");
    case S_or: return LLVMBuildOr(b, x, y, "");
    case S_xor: return LLVMBuildXor(b, x, y, "");
    case S_iadd: return LLVMBuildAdd(b, x, y, "");
    case S_isub: return LLVMBuildSub(b, x, y, "");
    case S_imul: return LLVMBuildMul(b, x, y, "");
    case S_umulh: return multiply_high(m, x, y);
    case S_shl: return LLVMBuildShl(b, x, shift_count(m, y), "");
    case S_shr: return LLVMBuildLShr(b, x, shift_count(m, y), "");
    case S_sar: return LLVMBuildAShr(b, x, shift_count(m, y), "");
    case S_i2f: return as_int(m, LLVMBuildSIToFP(b, x, floats(g, m->width), ""));
    case S_f2i: return to_int(m, x);
    case S_arg:
    case S_imm:
    case S_COUNT: break; // code_emit's
    }
#undef F
    return x;
}

static void code_emit(const Map *m, const Value *args, Value *value)
{
    for (uint32_t k = 0; k < m->s->n_code; k++) {
        const ScalarInstr *c = &m->s->code[k];
        if (c->op == S_arg)
            value[k] = as_int(m, args[c->imm]);
        else if (c->op == S_imm)
            value[k] = m->number[k] ? splat(m->g, m->number[k], m->width) : splat_word(m->g, c->imm, m->width);
        else
            value[k] = instr_emit(m, c, value);
    }
}

static Value map_one(Gen *g, const MapStep *s, Value x)
{
    Map m = {.g = g, .s = s, .width = g->width};
    Value *value = ARENA_ARRAY(g->cx->arena, Value, s->n_code);
    m.number = ARENA_ARRAY(g->cx->arena, Value, s->n_code);
    code_emit(&m, &x, value);
    return as_float(&m, value[s->outs[0].value]);
}

bool maps_equal(const MapStep *a, const MapStep *b)
{
    return a->n_code == b->n_code && a->outs[0].value == b->outs[0].value &&
           !memcmp(a->code, b->code, a->n_code * sizeof *a->code);
}

void map_where(Gen *g, const MapStep *s, Value applies, Value *x, int n)
{
    LLVMBasicBlockRef blocks[] = {LLVMGetInsertBlock(g->b), block_new(g, "map")}, done = block_new(g, "done");
    LLVMBuildCondBr(g->b, differs(g, applies, 0), blocks[1], done);
    Value *mapped = ARENA_ARRAY(g->cx->arena, Value, n + 1);
    LLVMPositionBuilderAtEnd(g->b, blocks[1]);
    for (int i = 0; i < n; i++) mapped[i] = map_one(g, s, x[i]);
    LLVMBuildBr(g->b, done);
    LLVMPositionBuilderAtEnd(g->b, done);
    for (int i = 0; i < n; i++) {
        Value both[] = {x[i], mapped[i]};
        x[i] = LLVMBuildPhi(g->b, LLVMTypeOf(x[i]), "");
        LLVMAddIncoming(x[i], both, blocks, 2);
    }
}

// ---- arguments
// Lane i (i32 or i64, scalar or vector) of a two-level argument, counted from its base; in 64 bits.
static Value two_level_lane(Gen *g, const Pattern *p, Value i)
{
    LLVMTypeRef type = LLVMTypeOf(i);
    bool vector = LLVMGetTypeKind(type) == LLVMVectorTypeKind;
    int n = vector ? (int)LLVMGetVectorSize(type) : 1;
    Value inner = splat(g, word_i64(g, p->inner), n), outer = splat(g, word_i64(g, p->outer_step), n);
    Value step = splat(g, word_i64(g, p->inner_step), n);
    Value run = quotient(g, i, inner), within = LLVMBuildURem(g->b, i, inner, "");
    return add(g, product_of(g, run, outer), product_of(g, within, step));
}

// T = 1, steps other than 0 and 1: the lanes by number; slots behind the end read the last lane.
static Value gather_lanes(Map *m, int a, Value run, Value first)
{
    Gen *g = m->g;
    const Pattern *p = &m->pattern[a];
    int n = m->width;
    Value i = LLVMBuildZExt(g->b, iota(g, n), LLVMVectorType(g->i64, (unsigned)n), "");
    Value last = splat(g, add(g, m->run, word_i64(g, -1)), n);
    i = add(g, i, splat(g, first, n));
    i = least_word(g, i, last);
    Value lane;
    if (p->one_level)
        lane = product_of(g, add(g, i, splat(g, product_of(g, run, m->run), n)), splat(g, word_i64(g, p->step), n));
    else if (m->runs > 1)
        lane =
            add(g, product_of(g, i, splat(g, word_i64(g, p->inner_step), n)), splat(g, mul(g, run, p->outer_step), n));
    else
        lane = two_level_lane(g, p, i);
    return gather(g, m->arg[a].base, product_of(g, lane, splat(g, word_i64(g, 4), n)), n);
}

// Lane `i` of run `run`, as a number of lanes from the argument's base.
static Value lane_of(Map *m, int a, Value run, Value i)
{
    Gen *g = m->g;
    const Pattern *p = &m->pattern[a];
    if (p->one_level) return mul(g, add(g, product_of(g, run, m->run), i), p->step);
    if (m->runs > 1) return add(g, mul(g, run, p->outer_step), mul(g, i, p->inner_step));
    return two_level_lane(g, p, i);
}

static bool by_number(const Map *m, int a)
{
    const Pattern *p = &m->pattern[a];
    if (!p->one_level && m->runs == 1) return true;
    int64_t step = p->one_level ? p->step : p->inner_step;
    return step != 0 && step != 1;
}

static bool same_in_run(const Map *m, int a)
{
    const Pattern *p = &m->pattern[a];
    return p->one_level ? p->step == 0 : m->runs > 1 && p->inner_step == 0;
}

// ---- the loops
// T = 1: it lies the other way (corner_turn.c).
static bool lies_across(const Map *m, int a)
{
    const Pattern *p = &m->pattern[a];
    return m->g->tile == 1 && m->runs % m->width == 0 && m->runs > 1 && !p->one_level && p->outer_step == 1 &&
           p->inner_step >= m->width;
}

// One vector of T = 1: lanes first .. first + width of the run; `kept`: arguments read before the loop.
static void lanes_emit(Map *m, Value run, Value first, const Value *kept, Value *value)
{
    Gen *g = m->g;
    Value args[MAP_MAX_ARGS];
    for (int a = 0; a < (int)m->s->n_args; a++) {
        if (kept[a])
            args[a] = kept[a];
        else if (by_number(m, a))
            args[a] = gather_lanes(m, a, run, first);
        else
            args[a] = load_lanes(g, operand_at(g, m->arg[a], lane_of(m, a, run, first)), m->width);
    }
    code_emit(m, args, value);
}

static void store_lanes(Map *m, Value lane, const Value *value, int n)
{
    Gen *g = m->g;
    for (uint32_t o = 0; o < m->s->n_outs; o++)
        store_first(g, as_float(m, value[m->s->outs[o].value]), n, m->width, operand_at(g, m->out[o], lane).base);
}

// What the last vector holds behind n lanes may be written (plan.h); behind a run it may not: there the next one is,
// and may be an argument as well.
static void store_vector(Map *m, Value run, const Loop *l, Value first, const Value *value)
{
    Gen *g = m->g;
    int part = m->runs > 1 ? (int)(m->lanes % m->width) : 0;
    Value lane = add(g, product_of(g, run, m->run), first);
    if (!part || l->once) {
        store_lanes(m, lane, value, part ? part : m->width);
        return;
    }
    LLVMBasicBlockRef whole = block_new(g, "whole"), rest = block_new(g, "part"), both = block_new(g, "stored");
    Value is_part = LLVMBuildICmp(g->b, LLVMIntEQ, l->i, add(g, l->count, word_i64(g, -1)), "");
    LLVMBuildCondBr(g->b, is_part, rest, whole);
    LLVMPositionBuilderAtEnd(g->b, whole);
    store_lanes(m, lane, value, m->width);
    LLVMBuildBr(g->b, both);
    LLVMPositionBuilderAtEnd(g->b, rest);
    store_lanes(m, lane, value, part);
    LLVMBuildBr(g->b, both);
    LLVMPositionBuilderAtEnd(g->b, both);
}

static Value load_same(Map *m, int a, Value run)
{
    Gen *g = m->g;
    return load_rows(g, operand_at(g, m->arg[a], lane_of(m, a, run, word_i64(g, 0))), NULL, m->width);
}

static void run_by_lanes(Map *m, Value run, Value *value)
{
    Gen *g = m->g;
    Value kept[MAP_MAX_ARGS] = {0};
    for (int a = 0; a < (int)m->s->n_args; a++)
        if (same_in_run(m, a)) kept[a] = load_same(m, a, run);
    Loop l = loop_of(g, m->vectors);
    Value first = mul(g, l.i, m->width);
    lanes_emit(m, run, first, kept, value);
    store_vector(m, run, &l, first, value);
    loop_end(g, &l, NULL);
}

// As many runs together as a vector has slots: blocks of arguments that lie the other way are turned first.
static void runs_across(Map *m, Value *value)
{
    Gen *g = m->g;
    Value turned[MAP_MAX_ARGS] = {0}, kept[MAP_MAX_ARGS];
    for (int a = 0; a < (int)m->s->n_args; a++)
        if (lies_across(m, a)) turned[a] = stack_floats(g, m->width * m->width);
    Loop blocks = loop_begin(g, m->runs / m->width), l = loop_of(g, m->vectors);
    Value first = mul(g, l.i, m->width), first_run = mul(g, blocks.i, m->width);
    for (int a = 0; a < (int)m->s->n_args; a++) {
        Value from = turned[a] ? operand_at(g, m->arg[a], lane_of(m, a, first_run, first)).base : NULL;
        if (from) turn_call(g, turned[a], from, 4 * (int64_t)m->pattern[a].inner_step, difference(g, m->run, first));
    }
    Loop each = loop_begin(g, m->width);
    Value run = add(g, first_run, each.i);
    for (int a = 0; a < (int)m->s->n_args; a++) {
        kept[a] = turned[a] ? load(g, floats(g, m->width), bytes_at(g, turned[a], mul(g, each.i, m->width * 4))) : NULL;
        if (!turned[a] && same_in_run(m, a)) kept[a] = load_same(m, a, run);
    }
    lanes_emit(m, run, first, kept, value);
    store_vector(m, run, &l, first, value);
    loop_end(g, &each, NULL);
    loop_end(g, &l, NULL);
    loop_end(g, &blocks, NULL);
}

// T > 1: one lane after the other, its rows by vectors.
static void run_by_rows(Map *m, Value run, Value *value)
{
    Gen *g = m->g;
    Value args[MAP_MAX_ARGS];
    Operand at[MAP_MAX_ARGS];
    Loop l = loop_of(g, m->run);
    for (int a = 0; a < (int)m->s->n_args; a++) {
        at[a] = operand_at(g, m->arg[a], lane_of(m, a, run, l.i));
        args[a] = at[a].shared ? load_rows(g, at[a], NULL, m->width) : NULL;
    }
    Value lane = add(g, product_of(g, run, m->run), l.i);
    Loop rows = rows_begin(g, m->width);
    Value row = mul(g, rows.i, m->width);
    for (int a = 0; a < (int)m->s->n_args; a++)
        if (!at[a].shared) args[a] = load_rows(g, at[a], row, m->width);
    code_emit(m, args, value);
    for (uint32_t o = 0; o < m->s->n_outs; o++)
        store(g, as_float(m, value[m->s->outs[o].value]), row_address(g, operand_at(g, m->out[o], lane), row));
    loop_end(g, &rows, NULL);
    loop_end(g, &l, NULL);
}

// T > 1, joined: vectors go side by side, since the chain of operations of one is longer than what a CPU has in flight
// of it. A long code is busy by itself, and takes room; one of NEON's has two registers, of which four would leave few.
// The last vectors may pass the end by less than sixteen lanes (plan.h).
static int vectors_abreast(const Gen *g, const MapStep *s)
{
    int most = g->info.level == LEVEL_NEON ? 2 : 4;
    return s->n_code <= 40 ? most : s->n_code <= 128 ? 2 : 1;
}

static void run_joined(Map *m, Value *value)
{
    Gen *g = m->g;
    Value args[MAP_MAX_ARGS];
    m->width *= vectors_abreast(g, m->s);
    for (int a = 0; a < (int)m->s->n_args; a++)
        args[a] = m->arg[a].shared ? load_rows(g, m->arg[a], NULL, m->width) : NULL;
    Value floats_in_all = product_of(g, m->run, g->rows);
    Loop l = loop_of(g, pieces(g, floats_in_all, word_i64(g, m->width)));
    Value at = mul(g, l.i, 4 * m->width);
    for (int a = 0; a < (int)m->s->n_args; a++)
        if (!m->arg[a].shared) args[a] = load(g, floats(g, m->width), bytes_at(g, m->arg[a].base, at));
    code_emit(m, args, value);
    for (uint32_t o = 0; o < m->s->n_outs; o++)
        store(g, as_float(m, value[m->s->outs[o].value]), bytes_at(g, m->out[o].base, at));
    loop_end(g, &l, NULL);
}

// The length that all arguments of two levels share and that divides n; else n. Short runs waste vectors of lanes.
static int64_t run_of(const Map *m)
{
    int64_t n = m->s->n, run = n;
    for (uint32_t a = 0; a < m->s->n_args; a++) {
        const Pattern *p = &m->pattern[a];
        if (p->one_level) continue;
        if (n % p->inner || (run != n && run != p->inner)) return n;
        run = p->inner;
    }
    return m->g->tile == 1 && 2 * run < m->width ? n : run;
}

static bool any_across(const Map *m)
{
    for (int a = 0; a < (int)m->s->n_args; a++)
        if (lies_across(m, a)) return true;
    return false;
}

static Map map_new(Gen *g, const MapStep *s)
{
    Map m = {.g = g, .s = s, .width = map_width(&g->info)};
    for (uint32_t a = 0; a < s->n_args; a++) m.pattern[a] = pattern_of(&s->args[a], s->n);
    m.lanes = run_of(&m);
    m.runs = s->n / m.lanes;
    return m;
}

bool map_turns(Gen *g, const MapStep *s)
{
    Map m = map_new(g, s);
    return any_across(&m);
}

// Lanes of a run: a count that the code learns, except where there are runs.
static void set_runs(Map *m)
{
    Gen *g = m->g;
    m->run = map_flat(m->s) ? count_arg(g, m->lanes) : word_i64(g, m->lanes);
    m->vectors = m->lanes > m->width ? pieces(g, m->run, word_i64(g, m->width)) : word_i64(g, 1);
}

void map_emit(Gen *g, const MapStep *s)
{
    Map m = map_new(g, s);
    for (uint32_t a = 0; a < s->n_args; a++) m.arg[a] = operand(g, s->args[a].space);
    for (uint32_t o = 0; o < s->n_outs; o++) m.out[o] = operand(g, SPACE_WORK);
    const Learned *learned = numbers_learned(g->numbers, s);
    m.number = ARENA_ARRAY(g->cx->arena, Value, s->n_code);
    for (uint32_t k = 0; k < s->n_code; k++)
        if (is_learned(learned, k)) m.number[k] = word_arg(g);
    set_runs(&m);
    Value *value = ARENA_ARRAY(g->cx->arena, Value, s->n_code);
    if (g->tile > 1 && map_joined(s)) {
        run_joined(&m, value);
        return;
    }
    if (any_across(&m)) {
        runs_across(&m, value);
        return;
    }
    Loop l = loop_begin(g, m.runs);
    if (g->tile == 1)
        run_by_lanes(&m, l.i, value);
    else
        run_by_rows(&m, l.i, value);
    loop_end(g, &l, NULL);
}
