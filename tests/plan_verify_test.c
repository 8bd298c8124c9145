// What the Plan's verifier refuses (ir/plan_verify.c): a good plan made bad in one place, and the words it says.
#include "plan_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void refused(Case *c, const char *why)
{
    case_program(c, c->out.lanes ? c->out.lanes : 1);
    assert_false(plan_verify(&c->plan, &c->cx));
    assert_int_equal(c->diag.n, 1);
    if (!strstr(c->diag.list[0].text, why)) fail_msg("wanted '%s', got '%s'", why, c->diag.list[0].text);
    arena_free(c->arena);
}

static Case *good_map(void)
{
    Case *c = case_new();
    case_map(c, 40, (Access){SPACE_WORK, 0, 40, 0, 1}, (Access){SPACE_CONST, 0, 40, 0, 1});
    return c;
}

static void test_map_refusals(void **state)
{
    (void)state;
    Case *c = good_map();
    c->step.map.args[0].at = 100;
    refused(c, "step 0 (map 's'): argument 0: reads WORK lane 100, which holds no value");
    c = good_map();
    c->step.map.args[1].at = WEIGHT_LANES - 39;
    refused(c, "outside CONST");
    c = good_map();
    c->step.map.args[0].inner_step = -1;
    refused(c, "lane -1");
    c = good_map();
    c->step.map.args[0].inner = 0;
    refused(c, "inner is 0");
    c = good_map();
    c->step.map.outs[0].at = OUT + 1; // any lane may be written, but then the output port has one that is not
    refused(c, "holds no value");
    c = good_map();
    c->step.map.outs[0].at = 16;
    refused(c, "is read and written");
    c = good_map();
    c->step.map.outs[0].at = WORK_LANES - 32;
    refused(c, "outside WORK");
    c = good_map();
    c->step.map.outs[0].value = 99;
    refused(c, "there is no v99");
    c = good_map();
    c->step.map.outs[1] = c->step.map.outs[0];
    c->step.map.n_outs = 2;
    refused(c, "is written twice");
}

static void test_code_refusals(void **state)
{
    (void)state;
    Case *c = good_map();
    c->code.code[2].a = 3;
    refused(c, "operand v3 comes later");
    c = good_map();
    c->code.code[2].a = 2;
    refused(c, "operand v2 comes later");
    c = good_map();
    c->code.code[1].imm = 2;
    refused(c, "argument 2 of 2");
    c = good_map();
    c->code.code[3].op = S_shl;
    refused(c, "shift count");
    c = good_map();
    c->code.code[1] = (ScalarInstr){.op = S_imm, .imm = 32};
    c->code.code[3].op = S_shl;
    refused(c, "v3: the shift count is no imm of 0 to 31");
    c = good_map();
    c->code.code[3].op = S_COUNT;
    refused(c, "unknown operation");
    c = good_map();
    c->step.map.n_code = MAP_MAX_CODE + 1;
    refused(c, "too many");
    c = good_map();
    c->step.map.n = 0;
    refused(c, "n is 0");
}

static Case *good_move(void)
{
    Case *c = case_new();
    int32_t *table = (int32_t *)c->plan.weights;
    for (int i = 0; i < 20; i++) table[i] = 19 - i, table[32 + i] = i;
    c->step.kind = STEP_MOVE;
    c->step.move = (MoveStep){20, SPACE_WORK, 0, 0, 32, OUT, 0};
    return c;
}

static void test_move_refusals(void **state)
{
    (void)state;
    Case *c = good_move();
    ((int32_t *)c->plan.weights)[3] = -1;
    refused(c, "entry 3");
    c = good_move();
    c->step.move.space = SPACE_CONST;
    ((int32_t *)c->plan.weights)[19] = 20;
    refused(c, "no entry reads CONST lane 0");
    c = good_move();
    ((int32_t *)c->plan.weights)[3] = 90;
    refused(c, "holds no value");
    c = good_move();
    ((int32_t *)c->plan.weights)[35] = 4;
    refused(c, "destination lane 4 comes twice");
    c = good_move();
    ((int32_t *)c->plan.weights)[35] = WORK_LANES;
    refused(c, "outside WORK");
    c = good_move();
    c->step.move.out = X;
    refused(c, "is read and written");
    c = case_runs(SPACE_WORK);
    c->step.move.n = 21;
    refused(c, "20 pairs in the records of 21");
    c = case_runs(SPACE_WORK);
    ((MoveRun *)c->plan.weights)[1].axis[2].count = 0;
    refused(c, "record 1: axis of 0");
    c = case_runs(SPACE_WORK);
    ((MoveRun *)c->plan.weights)[1].dst = 8;
    refused(c, "comes twice");
    c = case_runs(SPACE_WORK);
    ((MoveRun *)c->plan.weights)[0].src = 0;
    refused(c, "entry 1: lanes -1");
    c = case_runs(SPACE_WORK);
    c->step.move.runs = 21;
    refused(c, "21 records of 20 pairs");
    c = good_move();
    c->out.lanes = 21; // the move fills 20
    refused(c, "out port: reads WORK lane");
}

// A product of one token with 16 inputs and outputs, but for what `s` says.
static void gemm_refused(GemmStep s, const char *why)
{
    Case *c = case_new();
    if (!s.m) s.m = 1;
    if (!s.k) s.k = 16;
    if (!s.n) s.n = 16;
    if (!s.kb) s.kb = s.k;
    if (!s.out) s.out = OUT;
    if (!s.pairs) s.pairs = PAIRS;
    c->step.kind = STEP_GEMM;
    c->step.gemm = s;
    refused(c, why);
}

static void test_product_refusals(void **state)
{
    (void)state;
    const char *adjoint = "a transposed product has neither add nor scale nor bias",
               *scaled = "a scaled product has a bias and no add", *paired = "a paired product is transposed or cuts",
               *own = "a product of own weights is not of whole sixteens", *tiled = "a tiled product is not paired";
    gemm_refused((GemmStep){.transposed = true, .has_bias = true}, adjoint);
    gemm_refused((GemmStep){.transposed = true, .has_add = true}, adjoint);
    gemm_refused((GemmStep){.scaled = true}, scaled);
    gemm_refused((GemmStep){.scaled = true, .has_bias = true, .has_add = true}, scaled);
    gemm_refused((GemmStep){.paired = true, .transposed = true}, paired);
    gemm_refused((GemmStep){.paired = true, .kb = 5}, paired);
    gemm_refused((GemmStep){.apart = true, .m = 2, .n = 8}, own);
    gemm_refused((GemmStep){.apart = true, .m = 2, .k = 3, .n = 24}, own);
    gemm_refused((GemmStep){.one_x = true}, own);
    gemm_refused((GemmStep){.one_x = true, .apart = true, .transposed = true}, own);
    gemm_refused((GemmStep){.tiled = true}, tiled);
    gemm_refused((GemmStep){.tiled = true, .paired = true, .kb = 8}, tiled);
    gemm_refused((GemmStep){.has_add = true, .add_space = SPACE_CONST}, "add: is in CONST");
    gemm_refused((GemmStep){.has_add = true, .add = 65}, "add: reads WORK lane 80, which holds no value");
    gemm_refused((GemmStep){.has_add = true, .add = 8, .x_space = SPACE_PREP, .out = 16},
                 "add: WORK lane 16 is read and written");
    gemm_refused((GemmStep){.paired = true, .pairs = OUT}, "pairs: WORK lane 128 is written twice");
    gemm_refused((GemmStep){.has_bias = true, .bias = WEIGHT_LANES - 15}, "bias: lanes 8177 + 16 are outside CONST");
}

// Steps whose results lie where they still read.
static void test_overlap_refusals(void **state)
{
    (void)state;
    const Step steps[] = {
        {.kind = STEP_MATMUL, .matmul = {1, 1, 16, 4, SPACE_WORK, 0, SPACE_CONST, 0, 0}},
        {.kind = STEP_MATMUL, .matmul = {1, 1, 4, 4, SPACE_CONST, 0, SPACE_WORK, 1, 16}},
        {.kind = STEP_TAKE, .take = {2, 16, 4, false, SPACE_WORK, 0, SPACE_WORK, INDEX, 16}},
        {.kind = STEP_TAKE, .take = {1, 4, 4, true, SPACE_CONST, 0, SPACE_WORK, INDEX, INDEX}},
        {.kind = STEP_REDUCE, .reduce = {.op = OP_reduce_sum, .outer = 2, .k = 20, .out = 32}},
        {.kind = STEP_REDUCE,
         .reduce =
             {.op = OP_reduce_sum, .squares = true, .centres = true, .outer = 2, .k = 2, .centre = 47, .out = 48}},
        {.kind = STEP_GEMM, .gemm = {.m = 1, .k = 64, .n = 16, .kb = 64, .out = 48}},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        Case *c = case_new();
        c->step = steps[i];
        refused(c, "is read and written");
    }
    Case *c = good_map(); // on its argument, whose lanes are not in order
    c->step.map.args[0] = (Access){SPACE_WORK, X, 8, 4, 1};
    c->step.map.outs[0].at = X;
    refused(c, "is read and written");
    c = good_map();
    c->step.map.n = 20;
    c->step.map.args[0] = (Access){SPACE_WORK, X, 20, 0, 2};
    c->step.map.outs[0].at = X;
    refused(c, "is read and written");
}

// A step may write garbage up to the next sixteen lanes, which so must be there and hold no value then; nor do pairs.
static void test_padding_refusals(void **state)
{
    (void)state;
    Case *c = good_map();
    c->step.map.n = 5;
    c->step.map.outs[0].at = WORK_LANES - 8;
    refused(c, "output: lanes 1016 + 16 are outside WORK");
    c = good_map();
    c->out.lanes = 41;
    refused(c, "out port: reads WORK lane 168, which holds no value");
    c = case_new();
    c->step.kind = STEP_GEMM;
    c->step.gemm = (GemmStep){.m = 1, .k = 16, .n = 16, .kb = 16, .paired = true, .pairs = INDEX, .out = OUT};
    c->out.at = INDEX;
    refused(c, "out port: reads WORK lane 64, which holds no value");
    c = good_move();
    c->step.move.out = OUT + 1;
    refused(c, "out: lane 129 is not a multiple of 16");
}

static void test_other_refusals(void **state)
{
    (void)state;
    Case *c = case_new();
    c->step.kind = STEP_GEMM;
    c->step.gemm = (GemmStep){.m = 1, .k = 64, .n = 128, .kb = 64, .w = 1, .out = OUT};
    refused(c, "w: lanes 1 + 8192 are outside CONST");
    c = case_new();
    c->step.kind = STEP_GEMM;
    c->step.gemm = (GemmStep){.m = 1, .k = 64, .n = 16, .kb = 0, .out = OUT};
    refused(c, "kb is 0");
    c = case_new();
    c->step.kind = STEP_GEMM;
    c->step.gemm = (GemmStep){.m = 1, .k = 64, .n = 16, .kb = 64, .out = 16};
    refused(c, "x: WORK lane 16 is read and written");
    c = case_windows(5, 30, 16, 30); // places 0 to 20, taps 0 to 43
    c->step.gemm.picture = 63;
    refused(c, "windows read lanes 1 to 63 of a picture of 63");
    c = case_windows(5, 30, 16, 30);
    ((int32_t *)c->plan.weights)[0] = -2;
    refused(c, "windows read lanes -1 to 63 of a picture of 64");
    c = case_windows(5, 30, 16, 30);
    c->step.gemm.taps = WEIGHT_LANES - 31;
    refused(c, "taps: lanes 8161 + 32 are outside CONST");
    c = case_windows(5, 30, 16, 30);
    ((int32_t *)c->plan.weights)[32 + 31] = 1;
    refused(c, "taps: word 31 behind the last one is another");
    c = case_windows(5, 30, 16, 30);
    c->step.gemm.transposed = true;
    refused(c, "a product of windows is transposed");
    c = case_windows(5, 30, 16, 30);
    c->step.gemm.diagonal = 1;
    refused(c, "windows read lanes 1 to 78 of a picture of 64");
    c = case_windows(5, 30, 16, 30);
    c->step.gemm.diagonal = 4;
    refused(c, "windows read lanes 1 to 75 of a picture of 64");
    c = case_windows(5, 30, 24, 30);
    c->step.gemm.diagonal = 16;
    refused(c, "or has a block that is not whole");
    c = case_windows(5, 30, 24, 30);
    c->step.gemm.diagonal = 24;
    refused(c, "or has a block that is not whole");
    c = case_windows(5, 30, 16, 30);
    c->step.gemm.paired = true;
    c->step.gemm.diagonal = 1;
    refused(c, "a diagonal product is paired");
    c = case_windows(5, 30, 16, 30);
    c->step.gemm.diagonal = 1;
    c->step.gemm.picture = 0;
    refused(c, "a diagonal product is paired, reads no picture");
    c = case_tiles();
    case_program(c, 320);
    assert_true(plan_verify(&c->plan, &c->cx));
    arena_free(c->arena);
    c = case_tiles();
    ((int32_t *)c->plan.weights)[100 + 15] = 18;
    refused(c, "token 15 is not where tile 1 has it");
    c = case_tiles();
    ((int32_t *)c->plan.weights)[98] = 19;
    refused(c, "2 tiles do not have all tokens");
    c = case_tiles();
    ((int32_t *)c->plan.weights)[96] = 1;
    refused(c, "2 tiles do not have all tokens");
    c = case_tiles(); // the first tile has a seventeenth place
    ((int32_t *)c->plan.weights)[97] = 15;
    for (int i = 15; i < 20; i++) ((int32_t *)c->plan.weights)[100 + i]--;
    refused(c, "token 14 is not where tile 0 has it");
    c = case_tiles();
    ((int32_t *)c->plan.weights)[32 + 40]++;
    refused(c, "whose taps are no runs of 32");
    c = case_new();
    c->step.kind = STEP_REDUCE;
    c->step.reduce = reduction(OP_add, 1, 4, SPACE_WORK);
    refused(c, "is no reduction");
    c = case_new();
    c->step.kind = STEP_REDUCE;
    c->step.reduce = reduction(OP_reduce_sum, 1, 65, SPACE_PREP);
    refused(c, "outside PREP");
    c = case_new();
    c->step.kind = STEP_REDUCE;
    c->step.reduce = reduction(OP_reduce_sum, 1, 64, SPACE_WORK);
    c->step.reduce.squares = true;
    c->step.reduce.centre_space = SPACE_PREP;
    c->step.reduce.centre = 64;
    refused(c, "outside PREP");
    c = case_new();
    c->step.kind = STEP_TAKE;
    c->step.take = (TakeStep){1, (1 << 24) + 1, 4, true, SPACE_CONST, 0, SPACE_WORK, INDEX, OUT};
    refused(c, "a table of 16777217 entries");
    c = case_new();
    c->in[1].at = 48;
    refused(c, "in port: WORK lane 48 is written twice");
}

// Only the density and event programs have a PREP space.
static void test_prep_refusal(void **state)
{
    (void)state;
    Case *c = case_new();
    c->step.kind = STEP_REDUCE;
    c->step.reduce = reduction(OP_reduce_sum, 1, 64, SPACE_PREP);
    case_program(c, 1);
    assert_true(plan_verify(&c->plan, &c->cx));
    c->plan.programs[PROGRAM_ENCODE] = c->plan.programs[PROGRAM_TO_LATENT];
    assert_false(plan_verify(&c->plan, &c->cx));
    assert_non_null(strstr(c->diag.list[0].text, "no PREP space"));
    arena_free(c->arena);
}

// ---- repeats
static void repeat_refused(Case *c, const char *why)
{
    assert_false(plan_verify(&c->plan, &c->cx));
    if (!strstr(c->diag.list[0].text, why)) fail_msg("wanted '%s', got '%s'", why, c->diag.list[0].text);
    arena_free(c->arena);
}

static void test_repeat_refusals(void **state)
{
    (void)state;
    Case *c = case_new();
    case_rounds(c)->steps[0].repeat.length = 3;
    repeat_refused(c, "step 0 (repeat 'r'): 6 times 3 of the 2 steps that follow");
    c = case_new();
    case_rounds(c)->steps[0].repeat.count = 1;
    repeat_refused(c, "1 times 2");
    c = case_new();
    case_rounds(c)->stride[1].kind = STEP_MOVE;
    repeat_refused(c, "step 1 of the body has no stride");
    c = case_new();
    Rounds *r = case_rounds(c);
    r->steps[1].kind = r->stride[0].kind = STEP_REPEAT;
    repeat_refused(c, "step 0 of the body has no stride");
    c = case_new();
    r = case_rounds(c);
    r->steps[1] = (Step){.kind = STEP_MAP, .map = {.n_args = 1}};
    r->stride[0] = (Step){.kind = STEP_MAP, .map = {.n_args = 2}};
    repeat_refused(c, "step 0 of the body has no stride");
    c = case_new();
    case_rounds(c);
    c->plan.programs[PROGRAM_TO_LATENT].work_lanes++;
    repeat_refused(c, "1025 WORK lanes are no multiple of 16");
    c = case_new();
    case_rounds(c)->stride[0].gemm.x = 10; // the third round passes the end
    repeat_refused(c, "step 1 (gemm 'g'): x: reads WORK lane");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_refusals),     cmocka_unit_test(test_code_refusals),
        cmocka_unit_test(test_move_refusals),    cmocka_unit_test(test_other_refusals),
        cmocka_unit_test(test_prep_refusal),     cmocka_unit_test(test_repeat_refusals),
        cmocka_unit_test(test_product_refusals), cmocka_unit_test(test_overlap_refusals),
        cmocka_unit_test(test_padding_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
