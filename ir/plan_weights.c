// Weights in 16 bits. The Plan keeps f32: rounded values, so that plan_run stays the definition of the bits; a backend
// stores them in two bytes and expands them exactly. What may be stored so are matrices: CONST lanes that gemm steps
// read as weights and no step reads otherwise, all of whose values are finite in the type. The products of bf16
// matrices are paired (plan.h): their inputs are rounded, too.
#include "float_bits.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t at, end; // CONST lanes
    uint32_t k, n;    // of the parts that are read there, in pairs (plan.h); 0: of more than one shape
    uint32_t tokens;  // of the products that read them, the most
} Span;

typedef struct {
    Arena *arena;
    const Plan *plan;
    Span *weights, *others;
    int n_weights, cap_weights, n_others, cap_others;
} Reads;

// ---- one value
// w / 2^shift, to nearest, ties to even.
static uint32_t shift_round(uint32_t w, uint32_t shift)
{
    uint32_t half = 1u << (shift - 1), low = w & ((1u << shift) - 1), whole = w >> shift;
    return whole + (low > half || (low == half && (whole & 1)));
}

static uint16_t half_of(float value)
{
    uint32_t w = word_of(value), sign = w >> 16 & 0x8000, size = w & 0x7fffffff;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (size >= 0x47800000) return (uint16_t)(sign | 0x7c00);
    if (size >= 0x38800000) return (uint16_t)(sign | shift_round(size - 0x38000000, 13)); // may carry into infinity
    if (size < 0x33000000) return (uint16_t)sign;
    uint32_t exponent = size >> 23, fraction = (size & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | shift_round(fraction, 126 - exponent));
}

static uint16_t bfloat_of(float value)
{
    uint32_t w = word_of(value), sign = w >> 16 & 0x8000, size = w & 0x7fffffff;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7fc0);
    return (uint16_t)(sign | shift_round(size, 16));
}

uint16_t weight_short(WeightType type, float value) { return type == WEIGHTS_F16 ? half_of(value) : bfloat_of(value); }

float weight_value(WeightType type, uint16_t word)
{
    return type == WEIGHTS_F16 ? float_of_half(word) : float_of_bfloat(word);
}

// ---- who reads which lanes of CONST
static void read_span(Reads *r, uint64_t at, uint64_t n)
{
    Span s = {.at = at, .end = at + n};
    ARENA_PUSH(r->arena, r->others, r->n_others, r->cap_others, s);
}

static void read_if_const(Reads *r, uint32_t space, uint64_t at, uint64_t n)
{
    if (space == SPACE_CONST) read_span(r, at, n);
}

// Outputs of a part: tokens of own weights and whole groups of outputs lie one after the other.
static uint32_t part_outputs(const GemmStep *s) { return s->n % GEMM_GROUP ? s->n : GEMM_GROUP; }

static void read_gemm(Reads *r, const GemmStep *s)
{
    Span w = {s->w, s->w + gemm_w_lanes(s), s->k, part_outputs(s), s->apart ? 1 : s->m};
    if (!s->transposed && !s->paired) w.k = w.n = 0;
    if (s->diagonal)
        read_span(r, s->w, gemm_w_lanes(s));
    else
        ARENA_PUSH(r->arena, r->weights, r->n_weights, r->cap_weights, w);
    read_if_const(r, s->x_space, s->x, gemm_x_lanes(s));
    if (s->has_bias) read_span(r, s->bias, gemm_biases(s));
    if (!s->picture) return;
    read_span(r, s->places, s->m);
    read_span(r, s->taps, tap_words(s->k));
    if (!s->tiles) return;
    read_span(r, s->firsts, s->tiles + 1);
    read_span(r, s->slots, s->m);
}

static void read_access(Reads *r, const Access *a, uint32_t n)
{
    int64_t lo = a->at, hi = a->at, runs = (int64_t)((n - 1) / a->inner),
            within = (int64_t)(a->inner < n ? a->inner : n) - 1;
    int64_t far = runs * a->outer_step, near = within * a->inner_step;
    lo += (far < 0 ? far : 0) + (near < 0 ? near : 0);
    hi += (far > 0 ? far : 0) + (near > 0 ? near : 0);
    read_if_const(r, a->space, (uint64_t)lo, (uint64_t)(hi - lo + 1));
}

static void read_move(Reads *r, const MoveStep *s)
{
    int64_t lo = INT32_MAX, hi = 0;
    for (MoveWalk w = move_walk(r->plan, s); move_next(&w);) {
        if (w.src < lo) lo = w.src;
        if (w.src > hi) hi = w.src;
    }
    read_span(r, s->src_table, move_src_words(s));
    if (!s->runs) read_span(r, s->dst_table, s->n);
    read_if_const(r, s->space, s->in + (uint64_t)lo, (uint64_t)(hi - lo) + 1);
}

static void read_step(Reads *r, const Step *s)
{
    switch (s->kind) {
    case STEP_GEMM: read_gemm(r, &s->gemm); break;
    case STEP_MAP:
        for (uint32_t i = 0; i < s->map.n_args; i++) read_access(r, &s->map.args[i], s->map.n);
        break;
    case STEP_REDUCE:
        read_if_const(r, s->reduce.in_space, s->reduce.in, (uint64_t)s->reduce.outer * s->reduce.k);
        if (s->reduce.squares) read_if_const(r, s->reduce.centre_space, s->reduce.centre, reduce_centres(&s->reduce));
        break;
    case STEP_MOVE: read_move(r, &s->move); break;
    case STEP_MATMUL:
        read_if_const(r, s->matmul.a_space, s->matmul.a, (uint64_t)s->matmul.batch * s->matmul.m * s->matmul.k);
        read_if_const(r, s->matmul.c_space, s->matmul.c, (uint64_t)s->matmul.batch * s->matmul.k * s->matmul.n);
        break;
    case STEP_TAKE:
        read_if_const(r, s->take.table_space, s->take.table,
                      (uint64_t)s->take.k * (s->take.table_shared ? 1 : s->take.outer));
        read_if_const(r, s->take.index_space, s->take.index, (uint64_t)s->take.outer * s->take.j);
        break;
    case STEP_REPEAT: break;
    }
}

// ---- matrices
static int span_order(const void *a, const void *b)
{
    const Span *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static bool parts_fit(uint64_t at, uint32_t k, uint32_t n, uint64_t other_at, uint32_t other_k, uint32_t other_n)
{
    return k && k == other_k && n == other_n && (other_at - at) % ((uint64_t)k * n) == 0;
}

static void join_two(Span *a, const Span *b)
{
    if (!parts_fit(a->at, a->k, a->n, b->at, b->k, b->n)) a->k = a->n = 0;
    if (b->end > a->end) a->end = b->end;
    if (b->tokens > a->tokens) a->tokens = b->tokens;
}

// In order, those that overlap joined.
static int join(Span *spans, int n)
{
    int kept = 0;
    if (n) qsort(spans, (size_t)n, sizeof *spans, span_order);
    for (int i = 0; i < n; i++)
        if (kept && spans[i].at < spans[kept - 1].end) {
            join_two(&spans[kept - 1], &spans[i]);
        } else {
            spans[kept++] = spans[i];
        }
    return kept;
}

static bool all_finite(const Plan *plan, WeightType type, Span s)
{
    for (uint64_t i = s.at; i < s.end; i++)
        if ((word_of(weight_value(type, weight_short(type, plan->weights[i]))) & 0x7fffffff) >= 0x7f800000)
            return false;
    return true;
}

static const PlanMatrix *matrices_of(Arena *arena, const Plan *plan, WeightType type, uint32_t from, int *n)
{
    Reads r = {.arena = arena, .plan = plan};
    PlanMatrix *list = NULL;
    const Step *s;
    int cap = 0, other = 0;
    *n = 0;
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&plan->programs[id]); (s = plan_next(&w));) read_step(&r, s);
    r.n_weights = join(r.weights, r.n_weights);
    r.n_others = join(r.others, r.n_others);
    for (int i = 0; i < r.n_weights; i++) {
        Span w = r.weights[i];
        while (other < r.n_others && r.others[other].end <= w.at) other++;
        bool shared = other < r.n_others && r.others[other].at < w.end;
        PlanMatrix m = {(uint32_t)w.at, (uint32_t)(w.end - w.at), w.k, w.n, w.tokens};
        if (m.lanes >= from && !shared && all_finite(plan, type, w)) ARENA_PUSH(arena, list, *n, cap, m);
    }
    return list;
}

const PlanMatrix *plan_matrices(Arena *arena, const Plan *plan, int *n)
{
    *n = 0;
    return plan->weight_type == WEIGHTS_F32 ? NULL : matrices_of(arena, plan, plan->weight_type, plan->short_from, n);
}

// ---- small matrices
static int size_order(const void *a, const void *b)
{
    const PlanMatrix *x = a, *y = b;
    return (x->lanes > y->lanes) - (x->lanes < y->lanes);
}

// What 16 bits bring: f16 less memory, pairs less work as well.
static uint64_t worth(const PlanMatrix *m, WeightType type)
{
    return type == WEIGHTS_BF16 ? (uint64_t)m->lanes * m->tokens : m->lanes;
}

uint32_t plan_short_from(Context *cx, const Plan *plan, WeightType type)
{
    enum { PART = 64 };
    int n;
    const PlanMatrix *found = matrices_of(cx->arena, plan, type, 0, &n);
    PlanMatrix *sorted = ARENA_ARRAY(cx->arena, PlanMatrix, n + 1);
    uint64_t all = 0, below = 0;
    for (int i = 0; i < n; i++) all += worth(&found[i], type), sorted[i] = found[i];
    qsort(sorted, (size_t)n, sizeof *sorted, size_order);
    for (int i = 0, end; i < n; i = end) {
        for (end = i; end < n && sorted[end].lanes == sorted[i].lanes; end++) below += worth(&sorted[end], type);
        if (below > all / PART) return sorted[i].lanes;
    }
    return 0;
}

// ---- rounding
// What is too small for a paired product: its exponent's bits.
static bool below_pairs(float x) { return !(word_of(x) & 0x60000000); } // 2^-63

float pair_value(float x)
{
    x = weight_value(WEIGHTS_BF16, weight_short(WEIGHTS_BF16, x));
    return below_pairs(x) ? 0 : x;
}

static float rounded(WeightType type, float w)
{
    bool small = type == WEIGHTS_BF16 && w < 0x1p-49f && w > -0x1p-49f;
    return small ? 0 : weight_value(type, weight_short(type, w));
}

static bool is_matrix(const PlanMatrix *list, int n, const GemmStep *s)
{
    int low = 0, high = n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (list[middle].at <= s->w)
            low = middle + 1;
        else
            high = middle;
    }
    const PlanMatrix *m = low ? &list[low - 1] : NULL;
    return m && s->w - m->at < m->lanes && parts_fit(m->at, m->k, m->n, s->w, s->k, part_outputs(s));
}

// A step stays paired if it reads a matrix in every round; false: some did not.
static bool keep_paired(Context *cx, Program *p, Step *steps, const PlanMatrix *list, int n)
{
    bool *paired = ARENA_ARRAY(cx->arena, bool, p->n_steps + 1), all = true;
    const Step *s;
    for (int i = 0; i < p->n_steps; i++) paired[i] = steps[i].kind == STEP_GEMM && steps[i].gemm.paired;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));)
        if (paired[w.at - 1] && !is_matrix(list, n, &s->gemm)) all = paired[w.at - 1] = false;
    for (int i = 0; i < p->n_steps; i++)
        if (steps[i].kind == STEP_GEMM) steps[i].gemm.paired = paired[i];
    return all;
}

// The pairs of all products lie at the same place behind the program's other lanes.
static void place_pairs(Program *p, Step *steps, bool tiled)
{
    uint64_t most = 0;
    for (int i = 0; i < p->n_steps; i++) {
        GemmStep *s = &steps[i].gemm;
        if (steps[i].kind != STEP_GEMM || !s->paired) continue;
        s->pairs = p->work_lanes;
        s->tiled = tiled;
        s->kb = s->kb < s->k && !tiled ? (s->kb + 1) / 2 * 2 : s->k;
        if (gemm_pair_lanes(s) > most) most = gemm_pair_lanes(s);
    }
    p->work_lanes += (uint32_t)round_up_lanes(most);
}

// Of all products that can be: a matrix that one step does not take in pairs is no one's.
static void choose_paired(Context *cx, Plan *plan, WeightType type)
{
    Step *steps[PROGRAM_COUNT];
    for (int id = 0; id < PROGRAM_COUNT; id++) {
        Program *p = &plan->programs[id];
        steps[id] = ARENA_ARRAY(cx->arena, Step, p->n_steps + 1);
        for (int i = 0; i < p->n_steps; i++) {
            steps[id][i] = p->steps[i];
            if (p->steps[i].kind == STEP_GEMM) steps[id][i].gemm.paired = gemm_may_pair(&p->steps[i].gemm);
        }
        p->steps = steps[id];
    }
    for (bool all = false; !all;) {
        int n;
        const PlanMatrix *list = matrices_of(cx->arena, plan, type, plan->short_from, &n);
        all = true;
        for (int id = 0; id < PROGRAM_COUNT; id++) all &= keep_paired(cx, &plan->programs[id], steps[id], list, n);
    }
    if (plan->tiled) plan_tiles(cx, plan, steps);
    for (int id = 0; id < PROGRAM_COUNT; id++) place_pairs(&plan->programs[id], steps[id], plan->tiled);
}

void plan_round(Context *cx, Plan *plan, WeightType type, uint32_t from, bool tiled)
{
    int n;
    const PlanMatrix *list = matrices_of(cx->arena, plan, type, from, &n);
    for (int i = 0; i < n; i++)
        for (float *w = plan->weights + list[i].at, *end = w + list[i].lanes; w < end; w++) *w = rounded(type, *w);
    plan->weight_type = type;
    plan->short_from = from;
    plan->tiled = tiled;
    if (type == WEIGHTS_BF16) choose_paired(cx, plan, type);
}
