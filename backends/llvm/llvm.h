// What the files of the llvm backend share: the generator's state and the small words it speaks in.
//
// One LLVM function is made per distinct step (its descriptor without the lane numbers) and shape of code:
//     void step(float *work, const float *prep, const nfcc_abi_weights *weights, const void *args, int64 shape)
// args: the lane numbers and counts of this use, packed; shape: the tile size T (and SHAPE_SHARED) or, for few rows,
// the word of abi.h.
// Shapes of code: T = 1, and one for every multiple of 16 ("strided": bytes from lane to lane are known when it runs);
// products of many weights on AVX-512 have one for 16 and one for 32 and 64 (shape_slot). A lane of WORK and PREP is T
// contiguous floats, a lane of CONST is one float. Few rows lie one after the other: products take them together, other
// steps run once for each (walk.c), with the code of T = 1. Vectors are as wide as the target's registers (g->width
// floats) and run along lanes for T = 1, else along rows. Every float operation is written as the Plan has it; there
// are no fast-math flags, and fma only where it says so.
#pragma once
#include "target.h"

#include "abi.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

typedef LLVMValueRef Value;

// Beside T: one context serves all rows, a lane of PREP is SHARED_ROWS equal floats.
enum { SHAPE_SHARED = 128, SHARED_ROWS = 16 };

// What an arg is: a lane number of one of the three spaces, a count, or a lane of WORK that needs more bytes than most.
typedef enum {
    ARG_WORK = SPACE_WORK,
    ARG_PREP = SPACE_PREP,
    ARG_CONST = SPACE_CONST,
    ARG_COUNT,
    ARG_WIDE,
    ARG_SHORT, // words of 16 bits from the weights' start
    ARG_LINE,  // lines of LINE_BYTES from there
    ARG_ADD,   // twice a lane of WORK, or of PREP and one more
    ARG_WORD,  // of a map's S_imm
    ARG_KINDS
} ArgKind;
typedef struct {
    uint32_t kind, value;
} Arg;

// A step's descriptor as words (equal words: equal code) and what the code learns when it runs, in the order in which
// it reads it. The first n_rows words decide the code of T > 1, those from n_after on that of T = 1.
typedef struct {
    const uint32_t *words;
    int n_words, n_rows, n_after;
    const Arg *args;
    int n_args;
    bool known, wide;
} StepKey;

// How args of a kind are stored: `bytes` (2, 3 or 4) little endian, to be shifted left by `shift`.
typedef struct {
    int bytes, shift;
} ArgForm;

// How a matrix lies: as in the Plan in words of 32 or 16 bits; or two rows as one, w[2k][n] and w[2k + 1][n] in a word
// of 32 bits (MATRIX_PAIRS: of paired products; 0 behind an odd K).
typedef enum { MATRIX_F32, MATRIX_SHORT, MATRIX_PAIRS, MATRIX_KINDS } MatrixKind;

// Blocks of products of few rows (few_block.c).
enum { FEW_PAIR, FEW_FOUR, FEW_EIGHT, FEW_SINGLE, FEW_ABREAST, FEW_SHAPES };

// Weights are fetched ahead of their use, as they lie. At `end` the run that a product's weights are in ends, and the
// next product's begins at `next` (lines).
typedef struct {
    uint32_t end, next;
} Turn;
enum { LINE_BYTES = 64, MOST_SLOTS = 128 /* of vectors that are shuffled */ };

typedef struct Gen Gen;
typedef struct Layout Layout;
typedef struct Numbers Numbers;
struct Gen {
    Context *cx;
    const Plan *plan;
    TargetInfo info;     // of the function under construction
    TargetInfo level[2]; // dispatch: two sets of functions, one list of steps
    int n_levels;
    const Layout *layout;                    // of the weights
    const nfcc_abi_compact *compact;         // those that have a compact image; NULL: none
    uint32_t n_compact, compact_programs;    // bit p: program p is to read them
    Value compact_sums[5];                   // product_compact.c's functions of this level, by columns
    void (*gemm)(Gen *g, const GemmStep *s); // gemm_emit, or the one of another backend
    bool lengths_vary;                       // reductions learn their length
    bool long_values;                        // those that are reduced, as a rule
    const Numbers *numbers;                  // that maps learn
    int64_t ahead;                           // bytes by which products of T > 1 fetch weights ahead; 0: not at all
    bool turns;                              // products know where their turn is
    bool gathers_tokens;                     // some product does (gemm_gathers_tokens)
    bool few_loads;                          // products of one row read few weights in a pass of their loops
    uint32_t mixes;                          // gemm_mixed: the least K of a product with a scale; 0: none is mixed
    Turn turn;                               // of the step whose key is made
    const MapStep *after;                    // of a gemm: the map of its results that its code of T > 1 can do as well
    bool applies;                            // this step does
    bool taken;                              // of a map: the gemm before it does
    uint32_t *key_words;                     // of the step whose key is made
    Arg *key_args;
    int cap_key_words, cap_key_args;

    LLVMContextRef llvm;
    LLVMModuleRef module;
    LLVMBuilderRef b;
    LLVMTypeRef f32, i32, i64, i8, ptr, none;
    LLVMTypeRef step_type, code_type; // of a step function, of a program

    int tile;         // T; strided: 16, the least
    bool strided;     // T is the code's last parameter: one code for every T that is a multiple of 16
    Value lane_bytes; // from lane to lane of WORK
    Value prep_bytes; // of PREP
    Value prep_rows;  // T > 1: what of a row's offset in bytes counts in a lane of PREP (i64; NULL: all of it)
    Value rows;       // T (i64)
    Value shape;      // T = 1: rows and where they lie (abi.h; i64)
    Value few[MATRIX_KINDS], few_block[MATRIX_KINDS][FEW_SHAPES]; // product_few.c's functions of this level
    Value turn_block;                                             // corner_turn.c's function of this level
    struct Tiled *tiles;                                          // product_tiles.c's functions
    int n_tiles, cap_tiles;
    int width; // floats of a vector
    ArgForm form[ARG_KINDS];
    bool known;   // the step under construction knows its counts
    bool wide;    // its lanes of WORK are ARG_WIDE
    int next_arg; // byte of the step's args to be read next: in the order in which key.c lists them
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
Value difference(Gen *g, Value a, Value b);
Value product_of(Gen *g, Value a, Value b);
Value quotient(Gen *g, Value a, Value b); // of whole numbers from 0 on, as these:
Value equal(Gen *g, Value a, int64_t b);  // of i64
Value differs(Gen *g, Value a, int64_t b);
Value exceeds(Gen *g, Value a, int64_t b);
Value is_below(Gen *g, Value a, Value b);
Value is_null(Gen *g, Value a);
Value where(Gen *g, Value condition, Value a, Value b);
Value call(Gen *g, const char *intrinsic, LLVMTypeRef overload, Value *args, int n);
Value call_of(Gen *g, const char *intrinsic, LLVMTypeRef *overloads, size_t n_overloads, Value *args, int n);
Value fma_of(Gen *g, Value a, Value b, Value c);
Value least_word(Gen *g, Value a, Value b);         // of whole numbers from 0 on, or of vectors of them
Value pieces(Gen *g, Value n, Value piece);         // how many n has, the last one perhaps not whole (i64)
Value bytes_at(Gen *g, Value pointer, Value bytes); // pointer + bytes
typedef enum { TO_L2 = 2, TO_L1 = 3 } Cache;        // as llvm.prefetch numbers them
void prefetch(Gen *g, Value base, Value bytes, Cache to);
LLVMBasicBlockRef block_new(Gen *g, const char *name);

// A loop over i = 0, 1, ... count - 1, count > 0; without a branch for a constant 1. Values that change from pass to
// pass come from loop_phi (in the order of `next` of loop_end); after the loop they are in `next`.
typedef struct {
    Value i;          // i64
    bool once, maybe; // a constant 1; perhaps 0
    Value count;
    Value phi[64], first[64];
    int n;
    LLVMBasicBlockRef before, head, done;
} Loop;
Loop loop_begin(Gen *g, int64_t count);
Loop loop_of(Gen *g, Value count);        // count (i64) known when the code runs
Loop loop_maybe(Gen *g, Value count);     // it may be 0
Loop loop_where(Gen *g, Value condition); // once, or not at all
Loop rows_begin(Gen *g, int rows);        // over the tile's rows in steps of `rows`; one pass for T = 1
Value loop_phi(Gen *g, Loop *l, Value first);
void loop_end(Gen *g, Loop *l, Value *next);

// What the word of abi.h for few rows says: how many, and bytes from row to row of a space.
Value few_rows(Gen *g, Value shape);
Value few_shape_word(Gen *g, Value rows, Value work_step, Value prep_step); // steps: multiples of 16 floats
Value few_step(Gen *g, Value shape, uint32_t space);
Value few_step_of(Gen *g, Value shape, Value space); // known when the code runs

// An operand: where lane 0 of it is, and bytes from lane to lane. `shared`: all rows have the same float (CONST).
typedef struct {
    Value base;
    Value lane_bytes;
    bool shared;
    WeightType type; // of weights; else f32, also of pairs: a lane is a word
    Value rows;      // as prep_rows
} Operand;
Operand operand(Gen *g, uint32_t space);           // at the lane number in the next arg
Value count_arg(Gen *g, int64_t known);            // the next arg, a count (i64); `known` where the code knows it
Value word_arg(Gen *g);                            // the next arg, a word (i32)
Value line_arg(Gen *g);                            // address of the line in the next arg
Operand add_operand(Gen *g, Value *space);         // what a product adds: the space is known when the code runs
Operand weights_operand(Gen *g, MatrixKind kind);  // at a matrix: its place is the next arg
Operand operand_at(Gen *g, Operand o, Value lane); // moved by `lane` (i64) lanes
Operand operand_fixed(Gen *g, Operand o, int64_t lane);
Value row_offset(Gen *g, Operand o, Value row);  // bytes from row 0 to row (i64)
Value row_address(Gen *g, Operand o, Value row); // row (i64, or NULL: row 0) of its lane 0
Value load(Gen *g, LLVMTypeRef type, Value address);
Value load_narrow(Gen *g, int bytes, Value address); // 1, 2 or 4 of them, anywhere (i64)
Value table_word(Gen *g, Value table, Value i);      // word i of a table of lanes in CONST (i64)
void store(Gen *g, Value value, Value address);
Value stack_floats(Gen *g, int n);                                    // in a function's first block
void store_first(Gen *g, Value vector, int n, int of, Value address); // the first n of `of` floats, no more
Value first_lanes(Gen *g, Value lanes, int n);                        // of n those below `lanes` (i64): n bits
Value load_some(Gen *g, Value address, Value some); // those floats that the bits say, 0 for others (not on NEON)
void store_some(Gen *g, Value vector, Value some, Value address);
Value load_rows(Gen *g, Operand o, Value row, int n); // rows row .. row + n of lane 0; splat if shared
Value load_lanes(Gen *g, Operand o, int n);           // lanes 0 .. n (T = 1, or CONST)
// What is multiplied: a vector, or (slot >= 0) one of its slots, spread. NEON's multiply-add reads a slot by itself,
// where a load that spreads would take its multiplying units.
typedef struct {
    Value v;
    int slot;
} Factor;
static inline Factor whole(Value v) { return (Factor){v, -1}; }
Factor scalar(Gen *g, Value v); // one number for a whole vector
Value spread(Gen *g, Factor f);
bool reads_slots(const Gen *g);
// Slot j of the result: slot pick[j] of a, or of b behind a's (NULL: there is none).
Value shuffled(Gen *g, Value a, Value b, const int *pick, int n);
Value slots(Gen *g, Value vector, int first, int n);    // n of its slots; of one the number
Value blend(Gen *g, Value some, Value all, int n);      // the first n slots of `some`, the others of `all`
Value gather(Gen *g, Value base, Value offsets, int n); // floats at base + offsets (<n x i64>, bytes)

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

// ---- weights.c
const Layout *layout_of(Gen *g);
size_t layout_size(const Layout *l);                                    // bytes
bool layout_short(const Layout *l);                                     // some weights have 16 bits
uint32_t layout_lane(const Layout *l, uint32_t lane);                   // where an f32 lane of CONST lies
MatrixKind layout_matrix(const Layout *l, uint32_t lane, uint32_t *at); // where, in words of 16 bits; not for f32
const void *layout_weights(Gen *g);                                     // all of them, layout_size bytes

// ---- object.c
enum { WEIGHTS_PAD = 128 }; // reads may run 16 lanes over
// object, which is one piece, with the weights: in it, or beside it.
Object *object_with_weights(Context *cx, Object *object, bool in_it, const void *weights, size_t size);

// ---- key.c
bool lengths_vary(const Plan *plan); // reductions of more lengths than code is to be made for
// known: the code of a gemm knows its counts. wide: lanes of WORK are ARG_WIDE, even if this step's need not be.
// It stands until the next one is made.
StepKey step_key(Gen *g, const Step *s, bool known, bool wide);

// ---- numbers.c
// Which words of a map's code are args: instructions by number.
typedef struct {
    uint64_t bits[MAP_MAX_CODE / 64 + 1];
} Learned;
static inline bool is_learned(const Learned *l, uint32_t k) { return l->bits[k / 64] >> k % 64 & 1; }
const Numbers *numbers_of(Context *cx, const Plan *plan, int steps); // of a plan's so many steps
const Learned *numbers_learned(const Numbers *numbers, const MapStep *s);

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
bool map_flat(const MapStep *s);   // all arguments have one level: n is a count that the code learns
bool map_joined(const MapStep *s); // T > 1: the rows of all lanes are one run
bool map_follows(const Gen *g, const MapStep *s, const GemmStep *gemm); // Gen.after
int map_width(const TargetInfo *info);                                  // words of a map's vectors

// ---- emission of one step's code; the function's entry block is open, `ret void` follows
void gemm_emit(Gen *g, const GemmStep *s);
void transposed_emit(Gen *g, const GemmStep *s);
bool transposed_even(const GemmStep *s);  // groups equally wide, in sixteens: the code learns their number and width
bool map_turns(Gen *g, const MapStep *s); // its code of this T has arguments turned (corner_turn.c)
void map_emit(Gen *g, const MapStep *s);
bool maps_equal(const MapStep *a, const MapStep *b); // their codes
// A map of one argument and one result, of each x, a product's vectors, where it applies (i64).
void map_where(Gen *g, const MapStep *s, Value applies, Value *x, int n);
void reduce_emit(Gen *g, const ReduceStep *s);
bool reduce_learns_lines(const Gen *g, const ReduceStep *s); // also of one: large policies have one code for all
bool reductions_long(const Plan *plan);                      // as a rule: they are read as they lie
bool reduce_learns_length(const Gen *g, const ReduceStep *s);
bool reduce_centres_move(const ReduceStep *s); // from line to line
void move_emit(Gen *g, const MoveStep *s);
bool matmul_dots(const MatmulStep *s); // one column: the rows of a are a count that the code learns
void matmul_emit(Gen *g, const MatmulStep *s);
void take_emit(Gen *g, const TakeStep *s);

// ---- windows.c: products that read the windows of a picture
// The tables of places and taps; NULL: x lies token by token. `even`: taps are runs of sixteen lanes.
typedef struct {
    Value places, taps;
    bool even;
    Value firsts, slots; // of its tiles
} Windows;
bool windows_even(const Gen *g, const GemmStep *s);
Windows windows_operand(Gen *g, const GemmStep *s);                  // none where x is no picture
Operand window_at(Gen *g, const Windows *w, Operand x, Value token); // where a token's window begins
Value window_tap(Gen *g, const Windows *w, Value input);             // lanes from there to an input
Windows windows_from(Gen *g, Windows w, Value input);                // the same, counted from this input on

// ---- gemm.c
// The operands of a gemm in the order of its args, which its counts follow.
typedef struct {
    Operand x, add, w, bias, out, pairs;
    Windows windows;
    MatrixKind kind;
    Value add_space, tokens; // i64
    Value parts;             // mixed
} GemmOperands;
GemmOperands gemm_operands(Gen *g, const GemmStep *s);
bool gemm_gathers_tokens(const Gen *g, const GemmStep *s); // its code of T = 1 takes tokens as few rows
bool gemm_takes_few(const Gen *g, const GemmStep *s);      // its code of T = 1 takes several rows at once
bool gemm_expands(const Gen *g, const GemmStep *s);        // T > 1: its weights of 16 bits are expanded in chunks
bool gemm_turns(const Gen *g, const GemmStep *s);          // its last args are a Turn
// One code for products with a scale and a bias, a bias, and neither; its argument behind these says which: 0, 1, 2.
bool gemm_mixed(const Gen *g, const GemmStep *s);
// What the code of a gemm knows of K and its blocks, and what it learns (key.c and product.c).
typedef struct {
    int cuts;   // blocks of K for T = 1, 5: more than four; for T > 1 2: more than one
    bool whole; // all blocks are equal and multiples of four inputs
} Cuts;
enum { SIDE_BY_SIDE = 4 };
Cuts cuts_of(uint32_t k, uint32_t kb);
Cuts matmul_cuts(const Gen *g, const MatmulStep *s);
Cuts gemm_cuts(const Gen *g, const GemmStep *s);   // in pairs where
bool gemm_paired(const Gen *g, const GemmStep *s); // pairs are multiplied
bool gemm_tiled(const Gen *g, const GemmStep *s);  // by tiles

// ---- compact.c: products of one row that read the compact image of their weights (abi.h)
void compact_choose(Gen *g);                         // which do
bool gemm_compacts(const Gen *g, const GemmStep *s); // on AVX-512
Value compact_distance(Gen *g);                      // bytes from the weights to the image, 0: there is none (i64)

// ---- product.c: the two kernels of gemm and matmul
// Sum over k of x[m][k] * w[k][n] in chains of kb, for `m` tokens and `n` outputs.
typedef struct {
    int64_t m, n;
    Value k, kb;      // i64
    Value full, rest; // where K is cut: whole blocks of kb, what is left
    Cuts cut;
    Operand x, w;     // lanes x[m * x_stride + k], w[k * w_stride + n]
    Value x_stride;   // lanes from token to token
    Windows windows;  // or x is these
    int64_t diagonal; // windows: as in plan.h
    int64_t w_stride; // from k to k
    bool has_add, scaled, has_bias;
    Value compact;          // w may have a compact image: compact_distance; NULL: it has none
    bool tight;             // out has no room behind it for a whole unit: one token of many, each a product of its own
    Value parts;            // scaled and has_bias by way of this: 0 neither, 1 the bias, 2 both (i64); or NULL
    Operand add, bias, out; // of token 0, output 0; scaled: add is one lane a token
    Value out_stride;       // lanes from token to token, of add and out
    bool paired;            // x and w are pairs of bfloat16, k and kb count pairs
    Value end, next;        // where fetching ahead turns (pointers); NULL: nowhere
    const MapStep *after;   // T > 1: of the results, or NULL
    Value applies;          // 1 if it is done, else 0 (i64)
    Value buffer;           // T > 1, weights of 16 bits that are no pairs: where they are expanded
} Product;
Value product_buffer(Gen *g);                           // in a function's first block
bool product_expands(int64_t n, int cuts, uint32_t kb); // the buffer is for such a product
void product_emit(Gen *g, const Product *p);
Product gemm_from(Gen *g, Product p, Value first); // gemm.c: the same from a group's first output on (i64)

// ---- corner_turn.c
LLVMTypeRef turn_type(Gen *g);
void turn_emit(Gen *g);
// A block of floats at `from`, `step` bytes from lane to lane, of which so many (i64) are left.
void turn_call(Gen *g, Value to, Value from, int64_t step, Value lanes);

// ---- product_few.c: T = 1 with several rows
LLVMTypeRef few_type(Gen *g);
void few_emit(Gen *g, MatrixKind kind); // the body of the function for such weights
// shape: rows and where they lie, as in abi.h.
void few_call(Gen *g, const Product *p, MatrixKind kind, Value shape, uint32_t x_space, Value add_space);

// ---- product_bf16.c: paired products (plan.h). A pair is a word, held as a float.
// x rounded and paired, for all tokens
void pairs_emit(Gen *g, const GemmStep *s, const GemmOperands *o, Value k);
// T = 1, for tiles: k lanes as pairs, zeros behind them.
void tile_pairs_of_row(Gen *g, Operand x, Operand pairs, Value k);
Value pairs_of(Gen *g, Value k);     // how many k inputs are
Value pairs_stride(Gen *g, Value k); // lanes from token to token
Value pairs_dot(Gen *g, Factor x, Factor w, Value sum);
int pairs_sums(const TargetInfo *info);             // accumulators of a paired product that stay in registers
Value pairs_half(Gen *g, Value pairs, bool second); // of each pair one number, as floats

// ---- product_picture.c: x of a tiled product of windows
enum { MOST_RUNS = 64 };
// Where taps do not go on from the one before: how many such there are, 0 if more than MOST_RUNS.
int tap_runs(const Gen *g, const GemmStep *s, uint32_t first[MOST_RUNS]);
void picture_pairs(Gen *g, const GemmStep *s, const GemmOperands *o);

// ---- product_fetch.c
Value turned_at(Gen *g, Value end, Value next, Value at); // `at`, or, behind the end of the run, what the next one has

// ---- product_tiles.c: tiled products, T = 1
// The function for all that do this map behind them (Gen.after), or none; of windows of a picture, or not.
typedef struct Tiled {
    const MapStep *after;
    bool windows;
    Value fn;
} Tiled;
Value tiles_function(const Gen *g, const MapStep *after, bool windows); // NULL: not made yet
LLVMTypeRef tiles_type(Gen *g);
void tiles_emit(Gen *g, const MapStep *after, bool windows); // its body
// Of all rows at once, each of one token; and of each row, whose tokens have the same weights. p: of row 0; add_step:
// bytes from row to row of what is added or scales.
void tiles_rows(Gen *g, const Product *p, Value add_step);
void tiles_tokens(Gen *g, const GemmStep *s, const Product *p, Value add_step);

// ---- cost.c
void tile_costs(const Gen *g, uint32_t *to, uint32_t *two); // cost and cost_two of abi.h
bool encodes_by_rows(const Gen *g);                         // its rows go one by one (the runtime: by_rows)

// ---- module.c
const Object *llvm_emit_with(Context *cx, const Plan *plan, const Target *target, const char *symbol, bool one,
                             const char **ll, void (*gemm)(Gen *g, const GemmStep *s));
