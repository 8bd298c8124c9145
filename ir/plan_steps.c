// Steps as they are done: what may differ between the rounds of a repeat, and the walk through all rounds.
#include "plan.h"

#include <string.h>

static int put(uint32_t **fields, int n, uint32_t *const *list)
{
    for (int i = 0; i < n; i++) fields[i] = list[i];
    return n;
}
#define FIELDS(...) put(fields, sizeof(uint32_t *[]){__VA_ARGS__} / sizeof(uint32_t *), (uint32_t *[]){__VA_ARGS__})

static int map_fields(MapStep *s, uint32_t **fields)
{
    int n = FIELDS(&s->n);
    for (uint32_t i = 0; i < s->n_args; i++) n += put(fields + n, 2, (uint32_t *[]){&s->args[i].at, &s->args[i].inner});
    for (uint32_t i = 0; i < s->n_outs; i++) fields[n++] = &s->outs[i].at;
    return n;
}

static int move_fields(MoveStep *s, uint32_t **fields)
{
    return FIELDS(&s->n, &s->in, &s->src_table, &s->dst_table, &s->out, &s->runs);
}

int step_fields(Step *s, uint32_t *fields[MOST_FIELDS])
{
    switch (s->kind) {
    case STEP_GEMM: return FIELDS(&s->gemm.x, &s->gemm.add, &s->gemm.w, &s->gemm.bias, &s->gemm.out);
    case STEP_MAP: return map_fields(&s->map, fields);
    case STEP_REDUCE: {
        ReduceStep *r = &s->reduce;
        return FIELDS(&r->outer, &r->k, &r->in, &r->centre, &r->out);
    }
    case STEP_MOVE: return move_fields(&s->move, fields);
    case STEP_MATMUL: {
        MatmulStep *m = &s->matmul;
        return FIELDS(&m->batch, &m->m, &m->k, &m->n, &m->a, &m->c, &m->out);
    }
    case STEP_TAKE: return FIELDS(&s->take.outer, &s->take.table, &s->take.index, &s->take.out);
    case STEP_REPEAT: return 0;
    }
    return 0;
}

static bool gemm_alike(const GemmStep *a, const GemmStep *b)
{
    return a->m == b->m && a->k == b->k && a->n == b->n && a->kb == b->kb && a->has_add == b->has_add &&
           a->scaled == b->scaled && a->has_bias == b->has_bias && a->transposed == b->transposed &&
           a->paired == b->paired && a->tiled == b->tiled && a->apart == b->apart && a->one_x == b->one_x &&
           a->diagonal == b->diagonal && a->x_space == b->x_space && a->add_space == b->add_space &&
           a->pairs == b->pairs && a->picture == b->picture && a->places == b->places && a->taps == b->taps;
}

static bool map_alike(const MapStep *a, const MapStep *b)
{
    bool alike = a->n_args == b->n_args && a->n_outs == b->n_outs && a->n_code == b->n_code &&
                 !memcmp(a->code, b->code, a->n_code * sizeof *a->code);
    for (uint32_t i = 0; alike && i < a->n_args; i++)
        alike = a->args[i].space == b->args[i].space && a->args[i].outer_step == b->args[i].outer_step &&
                a->args[i].inner_step == b->args[i].inner_step;
    for (uint32_t i = 0; alike && i < a->n_outs; i++) alike = a->outs[i].value == b->outs[i].value;
    return alike;
}

bool step_alike(const Step *a, const Step *b)
{
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case STEP_GEMM: return gemm_alike(&a->gemm, &b->gemm);
    case STEP_MAP: return map_alike(&a->map, &b->map);
    case STEP_REDUCE:
        return a->reduce.op == b->reduce.op && a->reduce.squares == b->reduce.squares &&
               a->reduce.centres == b->reduce.centres && a->reduce.across == b->reduce.across &&
               a->reduce.in_space == b->reduce.in_space && a->reduce.centre_space == b->reduce.centre_space;
    case STEP_MOVE: return a->move.space == b->move.space && !a->move.runs == !b->move.runs;
    case STEP_MATMUL: return a->matmul.a_space == b->matmul.a_space && a->matmul.c_space == b->matmul.c_space;
    case STEP_TAKE:
        return a->take.k == b->take.k && a->take.j == b->take.j && a->take.table_shared == b->take.table_shared &&
               a->take.table_space == b->take.table_space && a->take.index_space == b->take.index_space;
    case STEP_REPEAT: return false;
    }
    return false;
}

// ---- the pairs of a move

uint32_t move_src_words(const MoveStep *s) { return s->runs ? s->runs * MOVE_RUN_WORDS : s->n; }
uint32_t move_dst_words(const MoveStep *s) { return s->runs ? 0 : s->n; }

MoveWalk move_walk(const Plan *plan, const MoveStep *s) { return (MoveWalk){.plan = plan, .s = s}; }

int32_t plan_table(const Plan *plan, uint32_t table, uint64_t i)
{
    int32_t word;
    memcpy(&word, plan->weights + table + i, sizeof word);
    return word;
}

// To the next place of the box, or into the next box.
static void next_place(MoveWalk *w)
{
    int axis = w->at ? MOVE_AXES - 1 : -1;
    while (axis >= 0 && ++w->i[axis] >= w->run.axis[axis].count) w->i[axis--] = 0;
    if (axis < 0) memcpy(&w->run, w->plan->weights + w->s->src_table + w->record++ * MOVE_RUN_WORDS, sizeof w->run);
    w->src = w->run.src;
    w->dst = w->run.dst;
    for (int k = 0; k < MOVE_AXES; k++) {
        w->src += (int64_t)w->i[k] * w->run.axis[k].src;
        w->dst += (int64_t)w->i[k] * w->run.axis[k].dst;
    }
}

bool move_next(MoveWalk *w)
{
    if (w->at == w->s->n) return false;
    if (w->s->runs) {
        next_place(w);
    } else {
        w->src = plan_table(w->plan, w->s->src_table, w->at);
        w->dst = plan_table(w->plan, w->s->dst_table, w->at);
    }
    w->at++;
    return true;
}

// ---- the walk

StepWalk plan_walk(const Program *p) { return (StepWalk){.steps = p->steps, .n = p->n_steps, .repeat = -1}; }

static const Step *in_round(StepWalk *w, const Step *step, const Step *stride)
{
    w->step = *step;
    Step by = *stride;
    uint32_t *fields[MOST_FIELDS], *strides[MOST_FIELDS];
    int n = step_fields(&w->step, fields);
    step_fields(&by, strides);
    for (int i = 0; i < n; i++) *fields[i] += w->round * *strides[i];
    return &w->step;
}

const Step *plan_next(StepWalk *w)
{
    const RepeatStep *r = w->repeat < 0 ? NULL : &w->steps[w->repeat].repeat;
    if (r && w->at > w->repeat + (int)r->length) {
        w->at = ++w->round < r->count ? w->repeat + 1 : w->at;
        if (w->round == r->count) w->repeat = -1;
    }
    if (w->at == w->n) return NULL;
    const Step *s = &w->steps[w->at++];
    if (s->kind == STEP_REPEAT) {
        w->repeat = w->at - 1;
        w->round = 0;
        s = &w->steps[w->at++];
    }
    if (w->repeat < 0 || !w->round) return s;
    return in_round(w, s, &w->steps[w->repeat].repeat.stride[w->at - 2 - w->repeat]);
}
