// What the files of the llvm backend share: the generator's state and the small words it speaks in.
//
// One LLVM function is made per distinct step (its descriptor without the lane numbers) and shape of code:
//     void step(float *work, const float *prep, const float *weights, const int32 *args, int64 rows)
// args: the lane numbers of this use; rows: the tile size T. Shapes: T = 1; T = 16 and T = 64 with AVX-512; elsewhere
// one for every multiple of 16 ("strided": bytes from lane to lane are known when it runs). A lane of WORK and PREP is T contiguous floats, a lane of CONST is one float.
// Vectors are as wide as the target's registers (g->width floats) and run along lanes for T = 1, else along rows.
// Every float operation is written as the Plan has it; there are no fast-math flags, and fma only where it says so.
#pragma once
#include "target.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

typedef LLVMValueRef Value;

// A step's descriptor as words (equal words: equal code) and its lane numbers in the order of the code's args.
typedef struct {
    uint32_t *words;
    int n_words, cap_words;
    uint32_t *args;
    int n_args, cap_args;
} StepKey;

typedef struct Gen Gen;
struct Gen {
    Context *cx;
    const Plan *plan;
    TargetInfo info;
    void (*gemm)(Gen *g, const GemmStep *s); // gemm_emit, or the one of another backend

    LLVMContextRef llvm;
    LLVMModuleRef module;
    LLVMBuilderRef b;
    LLVMTypeRef f32, i32, i64, i8, ptr, none;
    LLVMTypeRef step_type, code_type; // of a step function, of a program

    int tile; // T; strided: 16, the least
    bool strided; // T is the code's last parameter: one code for every T that is a multiple of 16
    Value lane_bytes; // from lane to lane of WORK and PREP
    Value rows;       // T (i64)
    int width;    // floats of a vector
    int next_arg; // of the step under construction: args are read in the order in which key.c lists them
    Value fn, work, prep, weights, args; // of the function under construction
};

// ---- words.c
Value word_i64(Gen *g, int64_t v);
Value word_i32(Gen *g, int64_t v);
LLVMTypeRef floats(Gen *g, int n); // <n x float>; float for 1
LLVMTypeRef ints(Gen *g, int n);
Value splat(Gen *g, Value scalar, int n);
Value splat_word(Gen *g, uint32_t word, int n); // <n x i32>
Value splat_float(Gen *g, float value, int n);
Value iota(Gen *g, int n); // <n x i32> 0, 1, 2, ...
Value add(Gen *g, Value a, Value b);
Value mul(Gen *g, Value a, int64_t b);
Value call(Gen *g, const char *intrinsic, LLVMTypeRef overload, Value *args, int n);
Value fma_of(Gen *g, Value a, Value b, Value c);
Value bytes_at(Gen *g, Value pointer, Value bytes); // pointer + bytes
LLVMBasicBlockRef block_new(Gen *g, const char *name);

// A loop over i = 0, 1, ... count - 1, count > 0; without a branch for count = 1. Values that change from pass to pass
// come from loop_phi (in the order of `next` of loop_end); after the loop they are `next`.
typedef struct {
    Value i; // i64
    int64_t count; // 0: known only when the code runs
    Value passes;
    Value phi[64];
    int n;
    LLVMBasicBlockRef before, head, done;
} Loop;
Loop loop_begin(Gen *g, int64_t count);
Loop rows_begin(Gen *g, int rows); // over the tile's rows in steps of `rows`; one pass for T = 1
Value loop_phi(Gen *g, Loop *l, Value first);
void loop_end(Gen *g, Loop *l, const Value *next);

// An operand: where lane 0 of it is, and bytes from lane to lane. `shared`: all rows have the same float (CONST).
typedef struct {
    Value base;
    Value lane_bytes;
    bool shared;
} Operand;
Operand operand(Gen *g, uint32_t space); // at the lane number in the next arg
Operand space_start(Gen *g, uint32_t space);
Operand operand_at(Gen *g, Operand o, Value lane); // moved by `lane` (i64) lanes
Operand operand_fixed(Gen *g, Operand o, int64_t lane);
Value row_address(Gen *g, Operand o, Value row); // row (i64, or NULL: row 0) of its lane 0
Value load(Gen *g, LLVMTypeRef type, Value address);
void store(Gen *g, Value value, Value address);
void store_first(Gen *g, Value vector, int n, int of, Value address); // the first n of `of` floats, no more
Value load_rows(Gen *g, Operand o, Value row, int n);                 // rows row .. row + n of lane 0; splat if shared
Value load_lanes(Gen *g, Operand o, int n);                           // lanes 0 .. n (T = 1, or CONST)
Value gather(Gen *g, Value base, Value offsets, int n);               // floats at base + offsets (<n x i64>, bytes)

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

// ---- key.c
StepKey step_key(Gen *g, const Step *s);

// How the lanes of a move's table run: lane(i) = first + i * step, or anything.
typedef struct {
    bool affine;
    int32_t first, step;
} TableShape;
TableShape table_shape(const Plan *plan, uint32_t table, uint32_t n);

// An Access reduced to its simplest form. One level: lane at + i * step. Else as in plan.h.
typedef struct {
    bool one_level;
    int64_t step; // one level
    int64_t inner, outer_step, inner_step;
} Pattern;
Pattern pattern_of(const Access *a, uint32_t n);

// ---- emission of one step's code; the function's entry block is open, `ret void` follows
void gemm_emit(Gen *g, const GemmStep *s);
void transposed_emit(Gen *g, const GemmStep *s);
void map_emit(Gen *g, const MapStep *s);
void reduce_emit(Gen *g, const ReduceStep *s);
void move_emit(Gen *g, const MoveStep *s);
void matmul_emit(Gen *g, const MatmulStep *s);
void take_emit(Gen *g, const TakeStep *s);
// The operands of a gemm in the order of its args.
typedef struct {
    Operand x, add, w, bias, out;
} GemmOperands;
GemmOperands gemm_operands(Gen *g, const GemmStep *s);

// ---- product.c: the two kernels of gemm and matmul
// Sum over k of x[m][k] * w[k][n] in chains of kb, for `m` tokens and `n` outputs.
typedef struct {
    int64_t m, k, n, kb;
    Operand x, w;               // lanes x[m * k_all + k], w[k * w_stride + n]
    int64_t x_stride, w_stride; // lanes from token to token, from k to k
    bool has_add, has_bias;
    Operand add, bias, out; // of token 0, output 0
    int64_t out_stride;     // lanes from token to token, of add and out
} Product;
void product_emit(Gen *g, const Product *p);

// ---- module.c
const Bytes *llvm_emit_with(Context *cx, const Plan *plan, const Target *target, const char *symbol, const char **ll,
                            void (*gemm)(Gen *g, const GemmStep *s));
