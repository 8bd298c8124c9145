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
    c->code.code[1].imm = 2;
    refused(c, "argument 2 of 2");
    c = good_map();
    c->code.code[3].op = S_shl;
    refused(c, "shift count");
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
    case_rounds(c)->stride[0].gemm.x = 10; // the third round passes the end
    repeat_refused(c, "step 1 (gemm 'g'): x: reads WORK lane");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_refusals),  cmocka_unit_test(test_code_refusals),
        cmocka_unit_test(test_move_refusals), cmocka_unit_test(test_other_refusals),
        cmocka_unit_test(test_prep_refusal),  cmocka_unit_test(test_repeat_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
