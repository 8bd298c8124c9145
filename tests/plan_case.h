// Plans of one step on random weights, for the tests of the Plan's interpreter and verifier; and one of six rounds.
#pragma once
#include "plan.h"

// WORK: x at 0 (64 lanes), an index in [-2, 12) at 64 (16), outputs from 128 on. PREP: 64 lanes.
enum { X = 0, INDEX = 64, OUT = 128, PAIRS = 960, WORK_LANES = 1024, PREP_LANES = 64, WEIGHT_LANES = 8192 };

typedef struct {
    Arena *arena;
    Diag diag;
    Context cx;
    Plan plan;
    Step step;
    PlanPort in[2], out;
    MapCode code;
} Case;

float random_value(uint64_t *state); // in [-2, 2)

Case *case_new(void);
void case_program(Case *c, uint32_t out_lanes); // the step as the program to_latent

void case_map(Case *c, uint32_t n, Access a, Access b); // fma(arg 0, arg 1, arg 0) - arg 1
// A product of m windows of the 64 lanes x: places 0, 5, 10, ..., taps 3, 10, 17, ... of 44, round and round.
Case *case_windows(uint32_t m, uint32_t k, uint32_t n, uint32_t kb);
Case *case_tiles(void); // two tiles: two lines of ten places, two apart, inputs in two runs of 32
ReduceStep reduction(Op op, uint32_t outer, uint32_t k, uint32_t space);
Case *case_runs(uint32_t space); // a move of 20 lanes in two boxes: 2 x 2 x 2 x 2 and 2 x 2

// Six times: a product on x from 50 on downwards, a maximum of 3, 5, 7, ... of x; 16 lanes behind the ones before.
typedef struct {
    Step steps[3], stride[2];
} Rounds;
Rounds *case_rounds(Case *c);
