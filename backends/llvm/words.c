// The small words of the generator: constants, vectors, loops, addresses, loads and stores.
#include "llvm.h"

#include <assert.h>
#include <string.h>

Value word_i64(Gen *g, int64_t v) { return LLVMConstInt(g->i64, (unsigned long long)v, true); }
Value word_i32(Gen *g, int64_t v) { return LLVMConstInt(g->i32, (unsigned long long)v, true); }

LLVMTypeRef floats(Gen *g, int n) { return n == 1 ? g->f32 : LLVMVectorType(g->f32, (unsigned)n); }
LLVMTypeRef ints(Gen *g, int n) { return LLVMVectorType(g->i32, (unsigned)n); }

static Value splat_const(Value word, int n)
{
    Value list[64];
    for (int i = 0; i < n; i++) list[i] = word;
    return LLVMConstVector(list, (unsigned)n);
}

Value splat(Gen *g, Value scalar, int n)
{
    if (n == 1) return scalar;
    if (LLVMIsConstant(scalar)) return splat_const(scalar, n);
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(scalar), (unsigned)n);
    Value one = LLVMBuildInsertElement(g->b, LLVMGetPoison(type), scalar, word_i64(g, 0), "");
    return LLVMBuildShuffleVector(g->b, one, LLVMGetPoison(type), LLVMConstNull(ints(g, n)), "");
}

Value splat_word(Gen *g, uint32_t word, int n) { return splat_const(word_i32(g, (int32_t)word), n); }

Value splat_float(Gen *g, float value, int n)
{
    Value scalar = LLVMConstReal(g->f32, (double)value);
    return n == 1 ? scalar : splat_const(scalar, n);
}

Value iota(Gen *g, int n)
{
    Value list[64];
    for (int i = 0; i < n; i++) list[i] = word_i32(g, i);
    return LLVMConstVector(list, (unsigned)n);
}

Value add(Gen *g, Value a, Value b) { return LLVMBuildAdd(g->b, a, b, ""); }
Value mul(Gen *g, Value a, int64_t b)
{
    return LLVMBuildMul(g->b, a, LLVMConstInt(LLVMTypeOf(a), (unsigned long long)b, true), "");
}

Value difference(Gen *g, Value a, Value b) { return LLVMBuildSub(g->b, a, b, ""); }
Value product_of(Gen *g, Value a, Value b) { return LLVMBuildMul(g->b, a, b, ""); }
Value quotient(Gen *g, Value a, Value b) { return LLVMBuildUDiv(g->b, a, b, ""); }
Value equal(Gen *g, Value a, int64_t b) { return LLVMBuildICmp(g->b, LLVMIntEQ, a, word_i64(g, b), ""); }
Value differs(Gen *g, Value a, int64_t b) { return LLVMBuildICmp(g->b, LLVMIntNE, a, word_i64(g, b), ""); }
Value exceeds(Gen *g, Value a, int64_t b) { return LLVMBuildICmp(g->b, LLVMIntUGT, a, word_i64(g, b), ""); }
Value is_below(Gen *g, Value a, Value b) { return LLVMBuildICmp(g->b, LLVMIntULT, a, b, ""); }
Value is_null(Gen *g, Value a) { return LLVMBuildICmp(g->b, LLVMIntEQ, a, LLVMConstNull(g->ptr), ""); }
Value where(Gen *g, Value condition, Value a, Value b) { return LLVMBuildSelect(g->b, condition, a, b, ""); }

Value call_of(Gen *g, const char *intrinsic, LLVMTypeRef *overloads, size_t n_overloads, Value *args, int n)
{
    unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
    Value fn = LLVMGetIntrinsicDeclaration(g->module, id, overloads, n_overloads);
    return LLVMBuildCall2(g->b, LLVMIntrinsicGetType(g->llvm, id, overloads, n_overloads), fn, args, (unsigned)n, "");
}

Value call(Gen *g, const char *intrinsic, LLVMTypeRef overload, Value *args, int n)
{
    return call_of(g, intrinsic, &overload, 1, args, n);
}

Value fma_of(Gen *g, Value a, Value b, Value c)
{
    Value args[] = {a, b, c};
    return call(g, "llvm.fma", LLVMTypeOf(a), args, 3);
}

Value least_word(Gen *g, Value a, Value b) { return where(g, is_below(g, a, b), a, b); }

Value pieces(Gen *g, Value n, Value piece) { return quotient(g, add(g, n, add(g, piece, word_i64(g, -1))), piece); }

Value bytes_at(Gen *g, Value pointer, Value bytes) { return LLVMBuildGEP2(g->b, g->i8, pointer, &bytes, 1, ""); }

void prefetch(Gen *g, Value base, Value bytes, Cache to)
{
    Value args[] = {bytes_at(g, base, bytes), word_i32(g, 0), word_i32(g, to), word_i32(g, 1)};
    call(g, "llvm.prefetch", g->ptr, args, 4);
}

LLVMBasicBlockRef block_new(Gen *g, const char *name) { return LLVMAppendBasicBlockInContext(g->llvm, g->fn, name); }

// ---- loops
static void loop_open(Gen *g, Loop *l)
{
    l->before = LLVMGetInsertBlock(g->b);
    l->head = block_new(g, "loop");
    LLVMBuildBr(g->b, l->head);
    LLVMPositionBuilderAtEnd(g->b, l->head);
    l->i = LLVMBuildPhi(g->b, g->i64, "i");
}

Loop loop_of(Gen *g, Value count)
{
    Loop l = {.i = word_i64(g, 0), .count = count};
    l.once = LLVMIsConstant(count) && LLVMConstIntGetZExtValue(count) == 1;
    if (!l.once) loop_open(g, &l);
    return l;
}

Loop loop_begin(Gen *g, int64_t count)
{
    assert(count > 0);
    return loop_of(g, word_i64(g, count));
}

Loop loop_maybe(Gen *g, Value count)
{
    Loop l = {.maybe = true, .count = count, .before = LLVMGetInsertBlock(g->b)};
    l.head = block_new(g, "loop");
    l.done = block_new(g, "done");
    LLVMBuildCondBr(g->b, differs(g, count, 0), l.head, l.done);
    LLVMPositionBuilderAtEnd(g->b, l.head);
    l.i = LLVMBuildPhi(g->b, g->i64, "i");
    return l;
}

Loop loop_where(Gen *g, Value condition) { return loop_maybe(g, LLVMBuildZExt(g->b, condition, g->i64, "")); }

Loop rows_begin(Gen *g, int rows)
{
    if (g->tile == 1) return loop_begin(g, 1);
    if (!g->strided) return loop_begin(g, g->tile / rows);
    return loop_of(g, quotient(g, g->rows, word_i64(g, rows)));
}

Value loop_phi(Gen *g, Loop *l, Value first)
{
    if (l->once) return first;
    Value phi = LLVMBuildPhi(g->b, LLVMTypeOf(first), "");
    LLVMAddIncoming(phi, &first, &l->before, 1);
    assert(l->n < 64);
    l->first[l->n] = first;
    return l->phi[l->n++] = phi;
}

// Behind a loop that may not have run, a value is its last or its first.
static void merge(Gen *g, Loop *l, LLVMBasicBlockRef last, Value *next)
{
    for (int j = 0; j < l->n; j++) {
        Value phi = LLVMBuildPhi(g->b, LLVMTypeOf(next[j]), "");
        LLVMAddIncoming(phi, &l->first[j], &l->before, 1);
        LLVMAddIncoming(phi, &next[j], &last, 1);
        next[j] = phi;
    }
}

void loop_end(Gen *g, Loop *l, Value *next)
{
    if (l->once) return;
    Value zero = word_i64(g, 0);
    Value i = LLVMBuildNUWAdd(g->b, l->i, word_i64(g, 1), "");
    Value more = is_below(g, i, l->count);
    LLVMBasicBlockRef last = LLVMGetInsertBlock(g->b);
    if (!l->maybe) l->done = block_new(g, "done");
    LLVMBuildCondBr(g->b, more, l->head, l->done);
    LLVMAddIncoming(l->i, &zero, &l->before, 1);
    LLVMAddIncoming(l->i, &i, &last, 1);
    for (int j = 0; j < l->n; j++) LLVMAddIncoming(l->phi[j], &next[j], &last, 1);
    LLVMPositionBuilderAtEnd(g->b, l->done);
    if (l->maybe) merge(g, l, last, next);
}

// ---- few rows: NFCC_FEW of abi.h
enum { ROWS_BITS = 8, STEP_BITS = 28, WORK_BIT = ROWS_BITS, PREP_BIT = WORK_BIT + STEP_BITS, STEP_FLOATS = 16 };

static Value shape_field(Gen *g, Value shape, int bit, int bits)
{
    Value field = bit ? LLVMBuildLShr(g->b, shape, word_i64(g, bit), "") : shape;
    return LLVMBuildAnd(g->b, field, word_i64(g, ((int64_t)1 << bits) - 1), "");
}

Value few_rows(Gen *g, Value shape) { return shape_field(g, shape, 0, ROWS_BITS); }

Value few_shape_word(Gen *g, Value rows, Value work_step, Value prep_step)
{
    Value work = mul(g, work_step, ((int64_t)1 << WORK_BIT) / STEP_FLOATS);
    return add(g, rows, add(g, work, mul(g, prep_step, ((int64_t)1 << PREP_BIT) / STEP_FLOATS)));
}

Value few_step(Gen *g, Value shape, uint32_t space)
{
    if (space == SPACE_CONST) return word_i64(g, 0);
    return mul(g, shape_field(g, shape, space == SPACE_WORK ? WORK_BIT : PREP_BIT, STEP_BITS), 4 * STEP_FLOATS);
}

Value few_step_of(Gen *g, Value shape, Value space)
{
    Value step = where(g, equal(g, space, SPACE_WORK), few_step(g, shape, SPACE_WORK), few_step(g, shape, SPACE_PREP));
    return where(g, equal(g, space, SPACE_CONST), word_i64(g, 0), step);
}

// ---- operands
static Operand space_start(Gen *g, uint32_t space)
{
    if (space == SPACE_CONST) return (Operand){g->weights, word_i64(g, 4), true, WEIGHTS_F32, NULL};
    if (space == SPACE_WORK) return (Operand){g->work, g->lane_bytes, g->tile == 1, WEIGHTS_F32, NULL};
    return (Operand){g->prep, g->prep_bytes, g->tile == 1, WEIGHTS_F32, g->prep_rows};
}

// Three bytes are read as four: the lists are padded for it.
static Value next_arg(Gen *g, ArgKind kind)
{
    ArgForm f = g->form[kind];
    LLVMTypeRef type = f.bytes == 2 ? LLVMInt16TypeInContext(g->llvm) : g->i32;
    Value v = LLVMBuildLoad2(g->b, type, bytes_at(g, g->args, word_i64(g, g->next_arg)), "");
    LLVMSetAlignment(v, 1);
    g->next_arg += f.bytes;
    v = LLVMBuildZExt(g->b, v, g->i64, "");
    if (f.bytes == 3) v = LLVMBuildAnd(g->b, v, word_i64(g, 0xffffff), "");
    return f.shift ? LLVMBuildShl(g->b, v, word_i64(g, f.shift), "") : v;
}

Value count_arg(Gen *g, int64_t known) { return g->known ? word_i64(g, known) : next_arg(g, ARG_COUNT); }

Value word_arg(Gen *g) { return LLVMBuildTrunc(g->b, next_arg(g, ARG_WORD), g->i32, ""); }

Value line_arg(Gen *g) { return bytes_at(g, g->weights, mul(g, next_arg(g, ARG_LINE), LINE_BYTES)); }

Operand operand(Gen *g, uint32_t space)
{
    ArgKind kind = space == SPACE_WORK && g->wide ? ARG_WIDE : (ArgKind)space;
    return operand_at(g, space_start(g, space), next_arg(g, kind));
}

Operand add_operand(Gen *g, Value *space)
{
    Value word = next_arg(g, ARG_ADD), lane = LLVMBuildLShr(g->b, word, word_i64(g, 1), "");
    *space = LLVMBuildAnd(g->b, word, word_i64(g, 1), "");
    Operand o = space_start(g, SPACE_WORK);
    Value prepared = equal(g, *space, SPACE_PREP);
    o.base = where(g, prepared, g->prep, g->work);
    o.lane_bytes = where(g, prepared, g->prep_bytes, g->lane_bytes);
    if (g->prep_rows) o.rows = where(g, prepared, g->prep_rows, word_i64(g, -1));
    return operand_at(g, o, lane);
}

Operand weights_operand(Gen *g, MatrixKind kind)
{
    if (kind == MATRIX_F32) return operand(g, SPACE_CONST);
    Operand start = {g->weights, word_i64(g, 2), true, g->plan->weight_type, NULL};
    start = operand_at(g, start, next_arg(g, ARG_SHORT));
    return kind == MATRIX_PAIRS ? (Operand){start.base, word_i64(g, 4), true, WEIGHTS_F32, NULL} : start;
}

Operand operand_at(Gen *g, Operand o, Value lane)
{
    o.base = bytes_at(g, o.base, product_of(g, lane, o.lane_bytes));
    return o;
}

Operand operand_fixed(Gen *g, Operand o, int64_t lane) { return lane ? operand_at(g, o, word_i64(g, lane)) : o; }

Value row_offset(Gen *g, Operand o, Value row)
{
    Value bytes = mul(g, row, 4);
    return o.rows ? LLVMBuildAnd(g->b, bytes, o.rows, "") : bytes;
}

Value row_address(Gen *g, Operand o, Value row)
{
    return row && !o.shared ? bytes_at(g, o.base, row_offset(g, o, row)) : o.base;
}

Value load(Gen *g, LLVMTypeRef type, Value address)
{
    Value v = LLVMBuildLoad2(g->b, type, address, "");
    LLVMSetAlignment(v, 4);
    return v;
}

Value load_narrow(Gen *g, int bytes, Value address)
{
    Value v = LLVMBuildLoad2(g->b, LLVMIntTypeInContext(g->llvm, 8 * (unsigned)bytes), address, "");
    LLVMSetAlignment(v, 1);
    return LLVMBuildZExt(g->b, v, g->i64, "");
}

Value table_word(Gen *g, Value table, Value i)
{
    return LLVMBuildSExt(g->b, load(g, g->i32, bytes_at(g, table, mul(g, i, 4))), g->i64, "");
}

void store(Gen *g, Value value, Value address) { LLVMSetAlignment(LLVMBuildStore(g->b, value, address), 4); }

Value stack_floats(Gen *g, int n)
{
    Value buffer = LLVMBuildAlloca(g->b, LLVMArrayType2(g->f32, (uint64_t)n), "");
    LLVMSetAlignment(buffer, LINE_BYTES);
    return buffer;
}

Value shuffled(Gen *g, Value a, Value b, const int *pick, int n)
{
    Value list[MOST_SLOTS];
    for (int j = 0; j < n; j++) list[j] = word_i32(g, pick[j]);
    return LLVMBuildShuffleVector(g->b, a, b ? b : LLVMGetPoison(LLVMTypeOf(a)), LLVMConstVector(list, (unsigned)n),
                                  "");
}

Value slots(Gen *g, Value vector, int first, int n)
{
    if (n == 1) return LLVMBuildExtractElement(g->b, vector, word_i64(g, first), "");
    int pick[MOST_SLOTS];
    for (int i = 0; i < n; i++) pick[i] = first + i;
    return shuffled(g, vector, NULL, pick, n);
}

Value blend(Gen *g, Value some, Value all, int n)
{
    int pick[MOST_SLOTS], slots_of_all = (int)LLVMGetVectorSize(LLVMTypeOf(all));
    for (int i = 0; i < slots_of_all; i++) pick[i] = i < n ? i : slots_of_all + i;
    return shuffled(g, some, all, pick, slots_of_all);
}

// In pieces of 8, 4, 2 and 1: the lanes behind may belong to another value.
void store_first(Gen *g, Value vector, int n, int of, Value address)
{
    if (n == of) {
        store(g, vector, address);
        return;
    }
    int done = 0;
    for (int piece = of / 2; piece; piece /= 2)
        if (n & piece) {
            store(g, slots(g, vector, done, piece), bytes_at(g, address, word_i64(g, 4 * done)));
            done += piece;
        }
}

// n neighbours of an operand whose lanes are contiguous, as floats.
static Value load_floats(Gen *g, Operand o, int n)
{
    if (o.type == WEIGHTS_F32) return load(g, floats(g, n), o.base);
    LLVMTypeRef half = LLVMHalfTypeInContext(g->llvm), i16 = LLVMInt16TypeInContext(g->llvm);
    LLVMTypeRef word = o.type == WEIGHTS_F16 ? half : i16, whole = n == 1 ? g->i32 : ints(g, n);
    Value v = LLVMBuildLoad2(g->b, n == 1 ? word : LLVMVectorType(word, (unsigned)n), o.base, "");
    LLVMSetAlignment(v, 2);
    if (o.type == WEIGHTS_F16) return LLVMBuildFPExt(g->b, v, floats(g, n), "");
    v = LLVMBuildShl(g->b, LLVMBuildZExt(g->b, v, whole, ""), splat(g, word_i32(g, 16), n), "");
    return LLVMBuildBitCast(g->b, v, floats(g, n), "");
}

Value load_rows(Gen *g, Operand o, Value row, int n)
{
    if (o.shared) return splat(g, load_floats(g, o, 1), n);
    return load(g, floats(g, n), row_address(g, o, row));
}

Value load_lanes(Gen *g, Operand o, int n) { return load_floats(g, o, n); }

Value first_lanes(Gen *g, Value lanes, int n)
{
    return is_below(g, iota(g, n), splat(g, LLVMBuildTrunc(g->b, lanes, g->i32, ""), n));
}

void store_some(Gen *g, Value vector, Value some, Value address)
{
    LLVMTypeRef overloads[] = {LLVMTypeOf(vector), g->ptr};
    Value args[] = {vector, address, word_i32(g, 4), some};
    call_of(g, "llvm.masked.store", overloads, 2, args, 4);
}

Value load_some(Gen *g, Value address, Value some)
{
    LLVMTypeRef overloads[] = {floats(g, (int)LLVMGetVectorSize(LLVMTypeOf(some))), g->ptr};
    Value args[] = {address, word_i32(g, 4), some, LLVMConstNull(overloads[0])};
    return call_of(g, "llvm.masked.load", overloads, 2, args, 4);
}

bool reads_slots(const Gen *g) { return g->info.level == LEVEL_NEON; }

// Where slots are read, a pair of bfloat16 is expanded in one of them before it is spread.
Factor scalar(Gen *g, Value v)
{
    if (!reads_slots(g)) return whole(splat(g, v, g->width));
    Value one = LLVMBuildInsertElement(g->b, LLVMGetPoison(floats(g, g->width)), v, word_i64(g, 0), "");
    return (Factor){one, 0};
}

Value spread(Gen *g, Factor f)
{
    if (f.slot < 0) return f.v;
    Value number = splat_word(g, (uint32_t)f.slot, g->width);
    return LLVMBuildShuffleVector(g->b, f.v, LLVMGetPoison(LLVMTypeOf(f.v)), number, "");
}

Value gather(Gen *g, Value base, Value offsets, int n)
{
    LLVMTypeRef overloads[] = {floats(g, n), LLVMVectorType(g->ptr, (unsigned)n)};
    Value all = splat_const(LLVMConstInt(LLVMInt1TypeInContext(g->llvm), 1, false), n);
    Value args[] = {bytes_at(g, base, offsets), word_i32(g, 4), all, LLVMGetPoison(overloads[0])};
    return call_of(g, "llvm.masked.gather", overloads, 2, args, 4);
}
