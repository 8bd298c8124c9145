// The Plan: all that a backend sees. Programs of plain-data steps over numbered lanes of one row, with one byte
// string of weights. It does not depend on target or code shape and fixes every f32 operation and its order; a
// backend may only interleave independent ones. plan_run.c (f32, fmaf) is the definition of the bits.
//
// Memory. A program runs on a tile of T rows (T = 1, 16, 32 or 64; the same bits for each). Three spaces:
//   WORK   lane l of row t is the float  work[l * T + t]; of few rows, which lie apart, work[t * stride + l] (abi.h)
//   PREP   likewise   (read only; what `prepare` made from the contexts)
//   CONST  lane l of every row is the float ((const float *)weights)[l]   (read only, shared by all rows)
// A step that writes n lanes at lane a of WORK may write garbage up to lane a + (n rounded up to a multiple of 16):
// a backend may use whole vectors, and what stands there is lost. It may read (but not use) up to 16 lanes past the
// end of anything in any space (the weights and the workspaces are padded for it).
#pragma once
#include "ir.h"

typedef enum { SPACE_WORK, SPACE_PREP, SPACE_CONST } Space;

enum { ALIGN_LANES = 16 };
static inline uint64_t round_up_lanes(uint64_t n) { return (n + ALIGN_LANES - 1) / ALIGN_LANES * ALIGN_LANES; }

// Lane i (0 <= i < n) of an operand is lane  at + (i / inner) * outer_step + (i % inner) * inner_step  of its space.
// Contiguous: inner = n, inner_step = 1. One lane for all: inner = n, inner_step = 0.
typedef struct {
    uint32_t space, at;
    uint32_t inner;
    int32_t outer_step, inner_step;
} Access;

typedef enum {
#define SCALAR(id, operands, meaning) S_##id,
#include "scalar.def"
#undef SCALAR
    S_COUNT
} ScalarOp;

int scalar_operands(ScalarOp op);

// Value number k of a map is the result of code[k]; a, b, c are earlier value numbers.
typedef struct {
    uint16_t op, a, b, c;
    uint32_t imm; // arg: operand number; imm: the word
} ScalarInstr;

typedef enum { STEP_GEMM, STEP_MAP, STEP_REDUCE, STEP_MOVE, STEP_MATMUL, STEP_TAKE, STEP_REPEAT } StepKind;

// A product, for each of M tokens m and N outputs n (x token stride K, out and add token stride N, all contiguous):
//   blocks: K is cut in blocks of kb inputs; each block is one chain  acc = fma(x[k], w[k][n], acc)  from +0, k rising
//   out = ((block 0 + block 1) + block 2) ... , then + add[m][n] if has_add, then + bias[n] if has_bias
// scaled: `add` is one lane for each token, and out = fma(sum of the blocks, add[m], bias[n]); has_bias and no has_add
// Weights: packed in CONST at lane `w` in groups of up to 128 outputs; group g holds K rows of its width
//   width(g) = min(128, N - 128 g);   w[k][n] is CONST lane  w + g * 128 * K + k * width(g) + (n - 128 g)
//
// apart: each token has its own weights and bias, those of token m at  w + m * K * N  and  bias + m * N; K * N and N
// are multiples of 16. one_x: then all tokens read the same x (token stride 0).
//
// picture: x is not M x K lanes but `picture` lanes, of which token m reads its input k at  x + places[m] + taps[k]:
// windows of a picture, where they lie. Two i32 tables in CONST; the words behind taps[K - 1], up to a multiple of
// TILED_INPUTS, are the same as it. Neither transposed nor apart.
//
// diagonal (of a picture): so many outputs share their inputs, and the next ones read them as many lanes further:
// output n at  x + places[m] + taps[k] + n - n % diagonal.  1: the sum over k of diagonal matrices times neighbouring
// lanes, as of a depthwise convolution; more: that of a grouped one. It divides GEMM_GROUP and n. Not paired; its
// weights are no matrix.
//
// transposed: the same weights the other way, the adjoint of a product; x token stride N, out token stride K:
//   out[m][k] = sum over n of x[m][n] * w[k][n]: 16 partial sums from +0, element n goes to partial n % 16 by fma in
//   rising order; then the tree of ReduceStep. No add, no bias; kb is not used.
//
// paired (plan_round; kb is even or K): the dot product of two bfloat16 pairs that AVX512_BF16 has, to the bit. x[k] is
// rounded to bfloat16 (pair_value), and a chain takes the inputs in the order 1 0 3 2 5 4 ... (an odd K: the last one
// alone). Rounded numbers x below 2^-63 and w below 2^-49 in size are 0, so that products are multiples of 2^-126: no
// sum is denormal, and it does not matter that those instructions take and leave 0 for such numbers. A backend may
// write what it likes to the gemm_pair_lanes lanes of WORK from `pairs` on.
//
// tiled (a paired product, kb = K): instead the sum that AMX_BF16 has, to the bit. For every 32 inputs, those of even
// and those of odd number are a chain each, from +0, k rising; then  sum = sum + (even + odd),  from +0.
//
// tiles (a tiled product of windows, plan_tiles.c): so many tiles of AMX have all tokens. A tile is sixteen places,
// `stride` lanes from one to the next; tile t begins with token firsts[t] (firsts[tiles] is M), and token m is number
// slots[m] % 16 of tile slots[m] / 16: two more i32 tables in CONST. The taps are runs of TILED_INPUTS lanes. `pairs`
// are then of the picture, not of windows.
typedef struct {
    uint32_t m, k, n, kb;
    bool has_add, scaled, has_bias, transposed, paired, tiled, apart, one_x;
    uint32_t x_space, x;     // first lane
    uint32_t add_space, add; // WORK or PREP
    uint32_t w, bias;        // CONST lanes
    uint32_t out;            // WORK
    uint32_t pairs;          // WORK, where paired
    uint32_t picture;        // lanes of it; 0: none
    uint32_t diagonal;       // outputs that share inputs; 0: all
    uint32_t places, taps;   // CONST: tables of lanes
    uint32_t tiles, stride, firsts, slots;
} GemmStep;

enum { TILED_INPUTS = 32, TILE_PLACES = 16 }; // in a tile of AMX

// Lanes of x, weights and biases that a product reads in all; that pairs of x take.
static inline uint64_t gemm_x_lanes(const GemmStep *g)
{
    if (g->picture) return g->picture;
    return (uint64_t)(g->one_x ? 1 : g->m) * (g->transposed ? g->n : g->k);
}
static inline uint64_t gemm_w_lanes(const GemmStep *g) { return (uint64_t)(g->apart ? g->m : 1) * g->k * g->n; }
static inline bool gemm_may_pair(const GemmStep *g) { return !g->transposed && !g->diagonal; }
static inline uint64_t gemm_add_lanes(const GemmStep *g)
{
    return g->has_add ? (uint64_t)g->m * g->n : g->scaled ? g->m : 0;
}
static inline uint32_t tap_words(uint32_t k) { return (k + TILED_INPUTS - 1) / TILED_INPUTS * TILED_INPUTS; }
static inline uint64_t gemm_pair_lanes(const GemmStep *g)
{
    uint32_t inputs = g->tiled ? TILED_INPUTS : 16;
    uint64_t picture = g->tiled && g->picture ? tap_words(g->picture) / 2 + 16 : 0; // rounded before it is copied
    if (g->tiles) return (tap_words(g->picture) + (TILE_PLACES - 1) * (uint64_t)g->stride + 1) / 2;
    return g->paired ? (uint64_t)g->m * ((g->k + inputs - 1) / inputs * (inputs / 2)) + picture : 0;
}
static inline uint32_t gemm_inputs_apart(const GemmStep *g) { return g->diagonal ? g->n : 1; } // lanes of a window
static inline uint32_t gemm_biases(const GemmStep *g) { return g->apart ? g->m * g->n : g->n; }

enum { GEMM_GROUP = 128, MAP_MAX_ARGS = 12, MAP_MAX_OUTS = 6, MAP_MAX_CODE = 400 };

// Elementwise code over n lanes. Argument j at lane i is read through args[j]; outs are written contiguously:
// out j, lane i = WORK lane outs[j].at + i takes value outs[j].value. It may stand on a contiguous argument (in place).
typedef struct {
    uint32_t n;
    uint32_t n_args, n_outs, n_code;
    Access args[MAP_MAX_ARGS];
    struct {
        uint32_t at, value;
    } outs[MAP_MAX_OUTS];
    const ScalarInstr *code;
} MapStep;

// out[o] = reduction of in[o * k .. o * k + k); across: of in[o], in[outer + o], ... in[(k - 1) * outer + o].
// Sum: 16 partial sums from +0, element i goes to partial i % 16 in rising order; then for s = 8, 4, 2, 1:
// p[j] = p[j] + p[j + s] for j < s. Max, min: the same shape from -inf (+inf) with  v > p ? v : p  (v < p ? v : p);
// the tree with  p[j+s] > p[j] ? p[j+s] : p[j].  Prod: as sum, from 1, with *.
// squares: of d * d, where d = in[..] - centre, both rounded as a map's operations are; centre is one lane or, if
// centres, lane centre + o.
typedef struct {
    Op op; // OP_reduce_*
    bool squares, centres, across;
    uint32_t outer, k;
    uint32_t in_space, in;
    uint32_t centre_space, centre;
    uint32_t out; // WORK
} ReduceStep;

// WORK lane out + dst[i] = lane in + src[i] of `space` for i < n. The two tables are i32 arrays in CONST (lane numbers
// of the tables' first elements; their words are integers). Moves of equal shape share them, wherever they
// stand. Of CONST, lane `in` itself is read.
//
// With runs (windows of a picture, a causal mask), src and dst are not listed: src_table is that of `runs` records
// MoveRun, which hold n pairs in all, and dst_table is not used. A record is a box: all src + i[0] axis[0].src +
// i[1] axis[1].src + ..., with the dst of the same i, 0 <= i[k] < axis[k].count, the last axis innermost.
typedef struct {
    uint32_t n, space, in;
    uint32_t src_table, dst_table;
    uint32_t out;
    uint32_t runs;
} MoveStep;

enum { MOVE_AXES = 4, MOVE_RUN_WORDS = 2 + 3 * MOVE_AXES };
typedef struct {
    int32_t src, dst;
    struct {
        int32_t count, src, dst;
    } axis[MOVE_AXES];
} MoveRun;

static inline uint32_t reduce_centres(const ReduceStep *r) { return r->centres ? r->outer : 1; }

// out[b][m][n] = chain of fma over k rising from +0 of a[b][m][k] * c[b][k][n]; all contiguous, lane offsets.
typedef struct {
    uint32_t batch, m, k, n;
    uint32_t a_space, a, c_space, c;
    uint32_t out;
} MatmulStep;

// out[o][j] = table[o][clamp(trunc(index[o][j]), 0, k - 1)]; index is a float (NaN: 0); table and index contiguous.
// One table row for all when table_shared.
typedef struct {
    uint32_t outer, k, j;
    bool table_shared;
    uint32_t table_space, table, index_space, index;
    uint32_t out;
} TakeStep;

// The `length` steps behind this one (no repeat among them), `count` times. In round r a lane number or count of such a
// step (step_fields) is what stands there plus r times what stands in the same place of its `stride`; all else is equal
// in every round. What the tokens of causal attention or the equal blocks of a deep flow come to.
typedef struct Step Step;
typedef struct {
    uint32_t count, length;
    const Step *stride; // [length]
} RepeatStep;

struct Step {
    StepKind kind;
    const char *name; // node name, for dumps; never emitted
    union {
        GemmStep gemm;
        MapStep map;
        ReduceStep reduce;
        MoveStep move;
        MatmulStep matmul;
        TakeStep take;
        RepeatStep repeat;
    };
};

// What a port of a program carries. The numbers are part of the ABI (runtime/abi.h has the same list).
typedef enum {
    PORT_CONTEXT, // index: which context
    PORT_X,       // event
    PORT_Z,       // latent
    PORT_LOG_DET,
    PORT_LOG_PROB,
    PORT_ACT,         // event after the policy's output clip (and denoising)
    PORT_EARLY,       // what `encode` makes from the contexts
    PORT_PREP,        // what `late` makes from EARLY: the PREP space of the other programs
    PORT_GRAPH,       // index: which input or output of the exported graph
    PORT_SEED,        // noise: 4 words: seed low, seed high, row low, row high
    PORT_TEMPERATURE, // noise: 1 lane
    PORT_SCORE,       // index 0: by the event; 1 + i: by context i
} PortKind;

typedef struct {
    uint32_t kind, index;
    uint32_t at, lanes; // WORK lanes
} PlanPort;

typedef enum {
    PROGRAM_ENCODE,
    PROGRAM_LATE,
    PROGRAM_TO_LATENT,
    PROGRAM_TO_EVENT,
    PROGRAM_NOISE,
    PROGRAM_RUN,
    PROGRAM_SCORE,
    PROGRAM_ACT,
    PROGRAM_BASE,
    PROGRAM_TO_LATENT_EARLY, // the same from EARLY, where there are so many PREP lanes that a tile's leave the cache
    PROGRAM_TO_EVENT_EARLY,
    PROGRAM_COUNT
} ProgramId;

const char *program_name(ProgramId id); // as the function of a derived module that it is made from
const char *step_name(StepKind kind);

typedef struct {
    bool exists;
    const Step *steps;
    int n_steps;
    uint32_t work_lanes;
    const PlanPort *in, *out;
    int n_in, n_out;
} Program;

// Base distributions, standardised, independent over the lanes. `noise` draws them; passes/base.c has their densities.
// BASE_GRAPH: of no known form (a mixture): the density is what the graph's own log_prob says.
typedef enum {
    BASE_NORMAL,
    BASE_LAPLACE,
    BASE_LOGISTIC,
    BASE_UNIFORM,
    BASE_STUDENT_T,
    BASE_GRAPH,
    BASE_COUNT
} BaseKind;

// How a backend may store the weights of gemm steps. The Plan's own are f32 always, already rounded to the type.
typedef enum { WEIGHTS_F32, WEIGHTS_F16, WEIGHTS_BF16 } WeightType;

// A context, event, or graph input/output as the caller sees it.
typedef struct {
    const char *name;
    DType dtype; // T_F32, T_I64, T_BOOL
    int rank;
    int64_t dim[MAX_RANK]; // without the batch
    uint32_t lanes;
} PlanValue;

typedef struct {
    const char *name;       // policy name
    unsigned char hash[32]; // SHA-256 of the model file, its external data behind it
    Program programs[PROGRAM_COUNT];
    float *weights; // CONST: f32 and i32 words
    uint64_t weight_lanes;
    WeightType weight_type;
    bool tiled;          // paired products are
    uint32_t short_from; // matrices of fewer numbers stay f32, whatever the type
    uint32_t early_lanes, prep_lanes;
    const PlanValue *contexts, *inputs, *outputs; // inputs, outputs: of the graph (`run`)
    int n_contexts, n_inputs, n_outputs;
    PlanValue event;   // lanes 0: not a flow
    const char *base;  // "standard normal", ...
    bool given_only;   // the base has no sampler (Student t, of no known form): z must be given
    const char *notes; // lines for `nfcc info`: direction and what decided it, base, verified errors
    // golden rows, see abi.h; filled after the plan has been run
    uint32_t golden_rows;
    const uint32_t *golden; // golden_words words
    uint32_t golden_words;
} Plan;

// ---- steps in the order in which they are done (plan_steps.c)
// A program's steps with repeats unrolled:  for (StepWalk w = plan_walk(p); (s = plan_next(&w));)
typedef struct {
    const Step *steps;
    int n, at;  // steps[at - 1] is the one that plan_next returned, in some round
    int repeat; // the repeat under way, or -1
    uint32_t round;
    Step step; // as it is in a later round
} StepWalk;
StepWalk plan_walk(const Program *p);
const Step *plan_next(StepWalk *w); // NULL at the end; good until the next call
// The pairs of a move, one after the other:  for (MoveWalk w = move_walk(plan, s); move_next(&w);) w.src, w.dst
typedef struct {
    const Plan *plan;
    const MoveStep *s;
    uint32_t at; // pairs so far
    int64_t src, dst;
    uint32_t record; // runs: the one under way
    MoveRun run;
    int32_t i[MOVE_AXES];
} MoveWalk;
MoveWalk move_walk(const Plan *plan, const MoveStep *s);
bool move_next(MoveWalk *w);
// Words of the tables, or of the records.
uint32_t move_src_words(const MoveStep *s);
uint32_t move_dst_words(const MoveStep *s);
int32_t plan_table(const Plan *plan, uint32_t table, uint64_t i); // word i of a table in CONST
// The lane numbers and counts of a step that may differ from round to round.
enum { MOST_FIELDS = 1 + 2 * MAP_MAX_ARGS + MAP_MAX_OUTS };
int step_fields(Step *s, uint32_t *fields[MOST_FIELDS]);
bool step_alike(const Step *a, const Step *b); // but for these

// Run one program for `rows` rows with the interpreter: the definition of the bits. in[i]: [rows][lanes] words of
// in-port i, row-major; out likewise. prep: [rows][prep_lanes] or NULL. For tests, golden rows and verification.
void plan_run(const Plan *plan, ProgramId program, size_t rows, const uint32_t *prep, const uint32_t *const *in,
              uint32_t *const *out);
// The same with the product loop built without FMA instructions (fmaf of libm): tests prove both equal.
void plan_run_portable(const Plan *plan, ProgramId program, size_t rows, const uint32_t *prep,
                       const uint32_t *const *in, uint32_t *const *out);
// Rounds the matrices (plan_weights.c) where they stand to a type of 16 bits, to nearest, ties to even; bf16: its
// products are paired, and `tiled` if so asked.
void plan_round(Context *cx, Plan *plan, WeightType type, uint32_t short_from, bool tiled);
bool plan_taps_are_runs(const Plan *plan, const GemmStep *g, uint32_t length); // all of them, each of so many lanes
// For plan_round: these are its programs' steps; tiles of windows, where they pay (plan_tiles.c).
void plan_tiles(Context *cx, Plan *plan, Step *const steps[PROGRAM_COUNT]);
// A good short_from: the smallest matrices, as many sizes as together have at most 1/64 of all numbers, stay f32. They
// cost nothing, and those through which the event itself goes are among them: half of the error was theirs.
uint32_t plan_short_from(Context *cx, const Plan *plan, WeightType type);
// CONST lanes whose values all are of the plan's weight type of 16 bits, and which only gemm steps read, as weights;
// rising, apart. None for f32. k, n: of its parts, the matrices of tokens and the whole groups of outputs that lie one
// after the other, where all these steps read such parts, paired or transposed; else 0.
typedef struct {
    uint32_t at, lanes, k, n;
    uint32_t tokens; // that are multiplied by it
} PlanMatrix;
const PlanMatrix *plan_matrices(Arena *arena, const Plan *plan, int *n);
uint16_t weight_short(WeightType type, float value);
float weight_value(WeightType type, uint16_t word);
float pair_value(float x); // x as a paired product takes it
// Every rule above: ranges, alignment, no step reads what was not written. Reports and returns false.
bool plan_verify(const Plan *plan, Context *cx);
void plan_print(const Plan *plan, FILE *out); // for `--stop-after plan`

// ---- building map code (map_code.c), used by the plan pass and expand_math
typedef struct {
    ScalarInstr code[MAP_MAX_CODE];
    int n;
    bool overflow; // more than MAP_MAX_CODE were asked for
} MapCode;

// Append; equal instructions are shared, imm-only operands are not folded. Returns the value number.
int map_arg(MapCode *m, int operand);
int map_imm(MapCode *m, uint32_t word);
int map_float(MapCode *m, float value);
int map_op(MapCode *m, ScalarOp op, int a, int b, int c);
// An elementwise op of the IR written in primitive operations (expand_math.c): exp, log, tanh, ... as polynomials.
// Operands are value numbers; booleans are 0.0f and 1.0f. Returns the value number of the result.
int expand_op(MapCode *m, Op op, double alpha, int a, int b, int c);
// The noise program (noise.c): Philox4x32-10 and, for `lanes` numbers of the base, Box-Muller or the inverse
// distribution function of 64-bit uniforms. See runtime/nfcc.h. Student t draws normals, for golden rows only.
void plan_noise(Context *cx, BaseKind base, uint32_t lanes, Program *program, float **weights, uint64_t *weight_lanes);
