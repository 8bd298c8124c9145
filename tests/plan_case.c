// See plan_case.h.
#include "plan_case.h"

#include <string.h>

float random_value(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)((double)(int32_t)(*state >> 32) * 0x1p-30);
}

Case *case_new(void)
{
    Arena *arena = arena_new();
    Case *c = ARENA_NEW(arena, Case);
    c->arena = arena;
    c->diag = (Diag){.arena = arena, .file = "test"};
    c->cx = (Context){.arena = arena, .diag = &c->diag};
    float *weights = ARENA_ARRAY(arena, float, WEIGHT_LANES + 16);
    uint64_t seed = 11;
    for (int i = 0; i < WEIGHT_LANES; i++) weights[i] = random_value(&seed);
    c->plan.name = "case";
    c->plan.weights = weights;
    c->plan.weight_lanes = WEIGHT_LANES;
    c->plan.prep_lanes = PREP_LANES;
    c->in[0] = (PlanPort){PORT_X, 0, X, 64};
    c->in[1] = (PlanPort){PORT_CONTEXT, 0, INDEX, 16};
    c->out = (PlanPort){PORT_Z, 0, OUT, 0};
    c->step.name = "s";
    return c;
}

void case_program(Case *c, uint32_t out_lanes)
{
    c->out.lanes = out_lanes;
    c->plan.programs[PROGRAM_TO_LATENT] = (Program){true, &c->step, 1, WORK_LANES, c->in, &c->out, 2, 1};
}

void case_map(Case *c, uint32_t n, Access a, Access b)
{
    MapCode *m = &c->code;
    int x = map_arg(m, 0), y = map_arg(m, 1);
    int v = map_op(m, S_fsub, map_op(m, S_fma, x, y, x), y, 0);
    c->step.kind = STEP_MAP;
    c->step.map =
        (MapStep){.n = n, .n_args = 2, .n_outs = 1, .n_code = (uint32_t)m->n, .args = {a, b}, .code = m->code};
    c->step.map.outs[0].at = OUT;
    c->step.map.outs[0].value = (uint32_t)v;
}

Case *case_windows(uint32_t m, uint32_t k, uint32_t n, uint32_t kb)
{
    Case *c = case_new();
    int32_t *places = (int32_t *)c->plan.weights, *taps = places + 32;
    c->step.kind = STEP_GEMM;
    c->step.gemm = (GemmStep){.m = m, .k = k, .n = n, .kb = kb, .w = 1000, .out = OUT, .picture = 64, .taps = 32};
    for (uint32_t i = 0; i < m; i++) places[i] = (int32_t)(5 * i);
    for (uint32_t i = 0; i < tap_words(k); i++) taps[i] = (int32_t)((3 + 7 * (i < k ? i : k - 1)) % 44);
    return c;
}

Case *case_tiles(void)
{
    Case *c = case_windows(20, 64, 16, 64);
    int32_t *words = (int32_t *)c->plan.weights, *places = words, *taps = words + 32, *firsts = words + 96,
            *slots = words + 100;
    GemmStep *g = &c->step.gemm;
    g->paired = g->tiled = true;
    g->pairs = PAIRS;
    g->tiles = 2;
    g->stride = 1;
    g->firsts = 96;
    g->slots = 100;
    for (int i = 0; i < 20; i++) places[i] = i / 10 * 12 + i % 10;
    for (int i = 0; i < 64; i++) taps[i] = i / 32 * 5 + i % 32;
    memcpy(firsts, (int32_t[]){0, 14, 20}, 3 * sizeof *firsts);
    for (int i = 0; i < 20; i++) slots[i] = i < 14 ? places[i] : 16 + i - 14;
    return c;
}

ReduceStep reduction(Op op, uint32_t outer, uint32_t k, uint32_t space)
{
    return (ReduceStep){.op = op, .outer = outer, .k = k, .in_space = space, .out = OUT};
}

Case *case_runs(uint32_t space)
{
    Case *c = case_new();
    const MoveRun runs[2] = {{1, 0, {{2, 9, 10}, {2, 3, 2}, {2, 17, 4}, {2, -1, 1}}},
                             {2, 9, {{1, 0, 0}, {2, 5, 10}, {1, 0, 0}, {2, 1, -1}}}};
    memcpy((void *)c->plan.weights, runs, sizeof runs);
    c->step.kind = STEP_MOVE;
    c->step.move = (MoveStep){20, space, 2, 0, 0, OUT, 2};
    return c;
}

Rounds *case_rounds(Case *c)
{
    Rounds *r = ARENA_NEW(c->arena, Rounds);
    r->steps[0] = (Step){.kind = STEP_REPEAT, .name = "r", .repeat = {6, 2, r->stride}};
    r->steps[1] =
        (Step){.kind = STEP_GEMM, .name = "g", .gemm = {.m = 1, .k = 4, .n = 16, .kb = 4, .x = 50, .out = OUT}};
    r->steps[2] = (Step){.kind = STEP_REDUCE, .name = "m", .reduce = reduction(OP_reduce_max, 16, 3, SPACE_CONST)};
    r->steps[2].reduce.in = 5;
    r->steps[2].reduce.out = OUT + 96;
    r->stride[0] = (Step){.kind = STEP_GEMM, .gemm = {.x = (uint32_t)-10, .w = 64, .out = 16}};
    r->stride[1] = (Step){.kind = STEP_REDUCE, .reduce = {.k = 2, .in = 7, .out = 16}};
    c->out = (PlanPort){PORT_Z, 0, OUT, 192};
    c->plan.programs[PROGRAM_TO_LATENT] = (Program){true, r->steps, 3, WORK_LANES, c->in, &c->out, 2, 1};
    return r;
}
