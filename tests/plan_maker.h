// Plans of random steps, for the tests of backends. A Maker holds a Plan of one program (to_event) that grows step by
// step: each add_* appends a step that reads the input, PREP or constants at random lanes and writes lanes of its own,
// which are an output of the program. Equal seeds make equal plans.
#pragma once
#include "plan.h"

enum { MOST_STEPS = 400, IN_LANES = 6000, PREP_LANES = 3000, POOL = 7000 /* constants that any step may read */ };

typedef struct {
    Diag diag;
    Context cx;
    Plan plan;
    Step steps[MOST_STEPS];
    PlanPort in[1], out[MOST_STEPS * 2];
    int n_steps, n_out;
    uint32_t lanes; // of WORK so far
    float *weights;
    size_t n_weights, cap_weights;
    uint64_t random;
    WeightType weight_type;
    bool tiled;    // products of bf16 weights
    bool compact;  // weights are so large that those of f32 and of tiles have a compact image on AVX-512
    bool any_size; // inputs of all exponents
    bool near;     // a library adds in its own order: results are near, not equal
} Maker;

Maker *maker_new(uint64_t seed);
void maker_free(Maker *m);
const Plan *maker_plan(Maker *m); // of the steps so far, weights rounded to weight_type
void maker_own_weights(Maker *m); // the plan gets a copy
Step *maker_last(Maker *m);       // the step that was added last

// ---- random numbers
uint32_t below(Maker *m, uint32_t n);
float a_real(Maker *m);   // in [-2, 2)
float any_real(Maker *m); // of any exponent, infinity and NaN; some are 0

// ---- parts of steps: lanes of constants and of outputs
uint32_t add_constants(Maker *m, size_t n);
uint32_t add_table(Maker *m, const int32_t *lanes, size_t n);
uint32_t add_output(Maker *m, uint32_t lanes);
Step *add_step(Maker *m, StepKind kind);

// ---- steps
typedef enum { OWN_X, ONE_X, TRANSPOSED } Apart;
typedef enum { ROWS_IN_ORDER, ROWS_STRIDED, ROWS_REVERSED, ROWS_SHUFFLED } Order;
typedef enum {
    ACCESS_WHOLE,
    ACCESS_ONE,
    ACCESS_PER_RUN,
    ACCESS_PER_LANE,
    ACCESS_STRIDED,
    ACCESS_BACKWARD,
    ACCESS_ACROSS, // runs side by side
    ACCESS_ODD
} AccessForm;

void add_gemm(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t kb);
// Of windows of a picture, whose taps are runs of so many lanes.
void add_windows(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t kb, uint32_t run);
// The places in lines of a picture, `step` lanes from one to the next, `behind` of them between two lines; runs of 32.
void add_lines(Maker *m, uint32_t lines, uint32_t places, uint32_t step, uint32_t behind, uint32_t k, uint32_t n);
// Of outputs of which a block has inputs of its own.
void add_diagonal(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, uint32_t kb, uint32_t block);
void add_apart(Maker *m, uint32_t tokens, uint32_t k, uint32_t n, Apart way); // weights of each token's own
void add_transposed(Maker *m, uint32_t tokens, uint32_t k, uint32_t n);
void add_reduce(Maker *m, Op op, uint32_t outer, uint32_t k);
void add_reduce_squares(Maker *m, Op op, uint32_t outer, uint32_t k);
void add_matmul(Maker *m, uint32_t batch, uint32_t tokens, uint32_t k, uint32_t n);
void add_take(Maker *m, uint32_t outer, uint32_t k, uint32_t j, bool shared);
void add_move(Maker *m, uint32_t n, Order src, Order dst);
void add_runs(Maker *m, uint32_t space); // a move said by runs
// Random code of `length` instructions; each argument has n lanes in runs of `inner`.
void add_map(Maker *m, uint32_t n, uint32_t inner, uint32_t length, uint32_t outs, const AccessForm *forms,
             uint32_t n_args);
void add_maps_alike(Maker *m, int count); // of one code but for two numbers
uint32_t order_table(Maker *m, Order order, uint32_t n, uint32_t room, int32_t first); // n of `room` lanes
