// Step descriptors split in two: words that decide the code, and lane numbers that are its arguments. Steps of equal
// words share one function, whichever program they are in.
#include "llvm.h"

#include <string.h>

static void word(Gen *g, StepKey *k, uint32_t w) { ARENA_PUSH(g->cx->arena, k->words, k->n_words, k->cap_words, w); }
static void arg(Gen *g, StepKey *k, uint32_t a) { ARENA_PUSH(g->cx->arena, k->args, k->n_args, k->cap_args, a); }

static void gemm_key(Gen *g, StepKey *k, const GemmStep *s)
{
    const uint32_t words[] = {
        s->m, s->k, s->n, s->kb, s->has_add, s->has_bias, s->transposed, s->x_space, s->has_add ? s->add_space : 0};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) word(g, k, words[i]);
    arg(g, k, s->x);
    if (s->has_add) arg(g, k, s->add);
    arg(g, k, s->w);
    if (s->has_bias) arg(g, k, s->bias);
    arg(g, k, s->out);
}

Pattern pattern_of(const Access *a, uint32_t n)
{
    Pattern p = {true, a->inner_step, a->inner, a->outer_step, a->inner_step};
    if (a->inner >= n) return p;
    if (a->inner == 1) {
        p.step = a->outer_step;
        return p;
    }
    p.one_level = (int64_t)a->inner * a->inner_step == a->outer_step;
    return p;
}

static void map_key(Gen *g, StepKey *k, const MapStep *s)
{
    word(g, k, s->n);
    word(g, k, s->n_args);
    word(g, k, s->n_outs);
    word(g, k, s->n_code);
    for (uint32_t i = 0; i < s->n_args; i++) {
        Pattern p = pattern_of(&s->args[i], s->n);
        word(g, k, s->args[i].space);
        word(g, k, p.one_level ? 0 : (uint32_t)p.inner);
        word(g, k, p.one_level ? (uint32_t)p.step : (uint32_t)p.outer_step);
        word(g, k, p.one_level ? 0 : (uint32_t)p.inner_step);
        arg(g, k, s->args[i].at);
    }
    for (uint32_t i = 0; i < s->n_outs; i++) {
        word(g, k, s->outs[i].value);
        arg(g, k, s->outs[i].at);
    }
    for (uint32_t i = 0; i < s->n_code; i++) {
        const ScalarInstr *c = &s->code[i];
        word(g, k, (uint32_t)c->op | (uint32_t)c->a << 16);
        word(g, k, (uint32_t)c->b | (uint32_t)c->c << 16);
        word(g, k, c->imm);
    }
}

static void reduce_key(Gen *g, StepKey *k, const ReduceStep *s)
{
    word(g, k, (uint32_t)s->op);
    word(g, k, s->outer);
    word(g, k, s->k);
    word(g, k, s->in_space);
    arg(g, k, s->in);
    arg(g, k, s->out);
}

static int32_t table_entry(const Plan *plan, uint32_t table, uint32_t i)
{
    int32_t lane;
    memcpy(&lane, plan->weights + table + i, sizeof lane);
    return lane;
}

TableShape table_shape(const Plan *plan, uint32_t table, uint32_t n)
{
    TableShape t = {true, table_entry(plan, table, 0), 1};
    if (n > 1) t.step = table_entry(plan, table, 1) - t.first;
    for (uint32_t i = 1; i < n && t.affine; i++)
        t.affine = table_entry(plan, table, i) == t.first + (int64_t)i * t.step;
    return t;
}

static void move_key(Gen *g, StepKey *k, const MoveStep *s)
{
    TableShape src = table_shape(g->plan, s->src_table, s->n), dst = table_shape(g->plan, s->dst_table, s->n);
    word(g, k, s->n);
    word(g, k, s->space);
    word(g, k, src.affine);
    word(g, k, src.affine ? (uint32_t)src.step : 0);
    word(g, k, dst.affine);
    word(g, k, dst.affine ? (uint32_t)dst.step : 0);
    arg(g, k, src.affine ? (uint32_t)src.first : s->src_table);
    arg(g, k, dst.affine ? s->out + (uint32_t)dst.first : s->dst_table);
    if (!dst.affine) arg(g, k, s->out);
}

static void matmul_key(Gen *g, StepKey *k, const MatmulStep *s)
{
    const uint32_t words[] = {s->batch, s->m, s->k, s->n, s->a_space, s->c_space};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) word(g, k, words[i]);
    arg(g, k, s->a);
    arg(g, k, s->c);
    arg(g, k, s->out);
}

static void take_key(Gen *g, StepKey *k, const TakeStep *s)
{
    const uint32_t words[] = {s->outer, s->k, s->j, s->table_shared, s->table_space, s->index_space};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) word(g, k, words[i]);
    arg(g, k, s->table);
    arg(g, k, s->index);
    arg(g, k, s->out);
}

StepKey step_key(Gen *g, const Step *s)
{
    StepKey k = {0};
    word(g, &k, (uint32_t)s->kind);
    switch (s->kind) {
    case STEP_GEMM: gemm_key(g, &k, &s->gemm); break;
    case STEP_MAP: map_key(g, &k, &s->map); break;
    case STEP_REDUCE: reduce_key(g, &k, &s->reduce); break;
    case STEP_MOVE: move_key(g, &k, &s->move); break;
    case STEP_MATMUL: matmul_key(g, &k, &s->matmul); break;
    case STEP_TAKE: take_key(g, &k, &s->take); break;
    }
    return k;
}
