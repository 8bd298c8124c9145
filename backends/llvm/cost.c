// What tiles cost, estimated in cycles, so that the runtime can choose between them: few rows together, or 16, 32 or 64
// with the last rows repeated. The main program is counted step by step:
//
//     products     multiply-adds at the rate that the code reaches, but no faster than the weights come (from L2, or
//                  from beyond it where they are too many) nor than chains of sums allow
//     other steps  vector instructions at two to three a cycle, and what it takes to begin
//
// The rates fit the smallest times of a dozen flows of all kinds on Zen 5 within a fifth. Those of NEON are what is
// known of Cortex-A76, not measured: Zen 5's for what is computed, its own for what is read. A72 takes about twice as
// long for either, so the choices are the same. Wrong rates cost time, never bits.
#include "few.h"

#include "abi.h"

#include <math.h>

enum { MANY_WEIGHTS = 1500000, CHUNK = 32 };

typedef struct {
    double width, map_width; // floats of a vector, words of a map's
    Level level;
    bool streams;  // the weights do not fit L2
    bool dot;      // pairs are one instruction
    double weight; // bytes of one
} Rates;

static double vectors(const Rates *r, double lanes) { return ceil(lanes / r->width); }
static double larger(double a, double b) { return a > b ? a : b; }

// ---- products
static double own_tokens(const GemmStep *s) { return s->apart ? s->m : 1; }

// Bytes a cycle, of one row, which reads weights in order, and of several: from L2, and from beyond it.
static const struct {
    double one_near, one_far, near, far;
} reads[LEVELS] = {
    [LEVEL_AVX2] = {40, 11.5, 38, 13},
    [LEVEL_AVX512] = {48, 21, 38, 13},
    [LEVEL_NEON] = {14, 5, 14, 5},
};

static double load_cycles(const Rates *r, const GemmStep *s, bool one)
{
    double far = one ? reads[r->level].one_far : reads[r->level].far;
    double near = one ? reads[r->level].one_near : reads[r->level].near;
    return r->weight * s->k * s->n * own_tokens(s) / (r->streams ? far : near);
}

// Instructions a multiply-add.
static double part(const Rates *r, const GemmStep *s) { return s->paired && r->dot ? 0.5 : 1; }

// NEON expands weights of 16 bits in the multiplying units: a vector of f16 in two cycles of one of them, pairs by two
// instructions.
static double expand_cycles(const Rates *r, const GemmStep *s)
{
    if (r->level != LEVEL_NEON || r->weight == 4) return 0;
    return (s->paired ? 0.5 : 1.5) * s->k * vectors(r, s->n) * own_tokens(s);
}

static double gemm_one(const Rates *r, const GemmStep *s)
{
    double chains = s->kb < s->k ? 4 : 1, latency = 4.0 * s->k / chains * own_tokens(s);
    double sums = 0.5 * s->m * s->k * vectors(r, s->n) * (s->transposed ? 1.3 : 1) + expand_cycles(r, s);
    return 7 + 15 * own_tokens(s) + larger(larger(sums, latency), load_cycles(r, s, true));
}

// Tiles: a row more costs what a sixteenth of a tile does, its inputs as pairs and its outputs on their way.
static double tiled_row(const GemmStep *s) { return s->m * (s->k * s->n / 256.0 + s->k / 5.0 + s->n / 4.0); }
static double tiled_shared(const Rates *r, const GemmStep *s)
{
    return 200 * own_tokens(s) + larger(load_cycles(r, s, true), s->k * s->n / 32.0 * own_tokens(s));
}

static double gemm_few(const Rates *r, const GemmStep *s, double rows)
{
    double units = vectors(r, s->n), sums = 0.53 * part(r, s) * s->k * units * rows,
           expand = expand_cycles(r, s) / own_tokens(s) * ceil(rows / 4),
           load = load_cycles(r, s, false) / own_tokens(s);
    double blocks = ceil(units * rows / (r->width > 8 ? 16 : 8)) * ceil(1.0 * s->k / CHUNK);
    return 7 + own_tokens(s) * (200 + larger(14 * blocks + sums + expand, load) + 2.5 * rows * units);
}

static double gemm_tile(const Rates *r, const GemmStep *s, double rows)
{
    double rate = r->width > 8 ? 0.6 : 0.55,
           sums = rate * part(r, s) * s->m * s->k * s->n * rows / r->width * (s->transposed ? 1.6 : 1);
    bool beside = r->streams && r->level == LEVEL_AVX512 && rows > 16; // else 16-bit weights are expanded first
    if (r->weight < 4 && !s->paired && !beside) sums += 0.1 * s->m * s->k * s->n + expand_cycles(r, s);
    return 36 + larger(sums, load_cycles(r, s, false)) + 2 * s->m * s->n * rows / r->width;
}

// ---- other steps: one row, a tile
static double map_code(const MapStep *s)
{
    double n = 0;
    for (uint32_t i = 0; i < s->n_code; i++) {
        ScalarOp op = (ScalarOp)s->code[i].op;
        bool slow = op == S_fdiv || op == S_fsqrt;
        if (op != S_arg && op != S_imm) n += slow ? 10 : op == S_umulh ? 4 : 1;
    }
    return n;
}

static double other_one(const Rates *r, const Step *s)
{
    double n = s->kind == STEP_MAP ? s->map.n : 0, code = s->kind == STEP_MAP ? map_code(&s->map) : 0;
    switch (s->kind) {
    case STEP_MAP: return 20 + ceil(n / r->map_width) * (code * 0.37 * r->map_width / r->width + 2) + code * 0.1;
    case STEP_REDUCE: return 7 + s->reduce.outer * (s->reduce.k / 4.0 + 12);
    case STEP_MOVE: return 7 + (s->move.runs ? 0.3 : 1.4) * s->move.n;
    case STEP_MATMUL: return 7 + s->matmul.batch * (20 + s->matmul.m * s->matmul.k * vectors(r, s->matmul.n));
    case STEP_TAKE: return 7 + 8.0 * s->take.outer * s->take.j;
    case STEP_GEMM:
    case STEP_REPEAT: break; // not here
    }
    return 0;
}

static double other_tile(const Rates *r, const Step *s, double rows)
{
    double lines = rows / r->width;
    switch (s->kind) {
    case STEP_MAP: return 72 + s->map.n * lines * (map_code(&s->map) * 0.37 + 1.4);
    case STEP_REDUCE: return 7 + s->reduce.outer * lines * (s->reduce.k * 0.6 + 20);
    case STEP_MOVE: return 7 + s->move.n * lines * 5;
    case STEP_MATMUL: return 7 + s->matmul.batch * 0.8 * s->matmul.m * s->matmul.k * s->matmul.n * lines;
    case STEP_TAKE: return 7 + 1.2 * s->take.outer * s->take.j * rows;
    case STEP_GEMM:
    case STEP_REPEAT: break;
    }
    return 0;
}

// ---- the program
static const Program *main_program(const Plan *plan)
{
    static const ProgramId order[] = {PROGRAM_TO_EVENT, PROGRAM_TO_LATENT, PROGRAM_RUN};
    for (int i = 0; i < 2; i++)
        if (plan->programs[order[i]].exists) return &plan->programs[order[i]];
    return &plan->programs[order[2]];
}

// ---- tiles or rows side by side
enum { ROWS_BESIDE = 64 };

// Of one of many rows. Pairs beside each other: a CPU that has tiles takes two cycles for a dot product of sixteen.
static double beside(const Rates *r, const Step *s, bool paired)
{
    if (s->kind != STEP_GEMM) return other_tile(r, s, ROWS_BESIDE) / ROWS_BESIDE;
    if (paired) return s->gemm.m * (s->gemm.k * s->gemm.n / 16.0 + 2.0 * s->gemm.n / r->width);
    return gemm_tile(r, &s->gemm, ROWS_BESIDE) / ROWS_BESIDE;
}

static double by_tiles(const Rates *r, const Step *s, bool paired)
{
    if (s->kind != STEP_GEMM) return other_one(r, s);
    if (paired) return tiled_row(&s->gemm);
    return s->gemm.m == 1 || s->gemm.apart ? gemm_few(r, &s->gemm, MOST_ROWS) / MOST_ROWS : gemm_one(r, &s->gemm);
}

// Cycles that a row takes less by tiles.
static double saved_by_tiles(const Program *p, uint32_t short_from)
{
    Rates r = {.width = 16, .map_width = 16, .level = LEVEL_AVX512, .dot = true, .weight = 2};
    double all = 0;
    const Step *s;
    for (StepWalk w = plan_walk(p); p->exists && (s = plan_next(&w));) {
        bool paired = s->kind == STEP_GEMM && gemm_may_pair(&s->gemm) && gemm_w_lanes(&s->gemm) >= short_from;
        all += beside(&r, s, paired) - by_tiles(&r, s, paired);
    }
    return all;
}

bool tiles_pay(const Plan *plan, uint32_t short_from)
{
    const Program *encode = &plan->programs[PROGRAM_ENCODE];
    return saved_by_tiles(main_program(plan), short_from) + saved_by_tiles(encode, short_from) > 0;
}

// ---- the program's costs
enum { COST_TWO = NFCC_COSTS, ALL_COSTS };

static void add_step(const Gen *g, const Rates *r, const Step *s, double *cost)
{
    if (s->kind == STEP_GEMM && gemm_tiled(g, &s->gemm)) {
        static const int shared[] = {NFCC_COST_ONE, NFCC_COST_FOUR, NFCC_COST_EIGHT, COST_TWO};
        for (int i = 0; i < 4; i++) cost[shared[i]] += tiled_shared(r, &s->gemm);
        cost[NFCC_COST_EACH] += tiled_row(&s->gemm);
        return;
    }
    bool gemm = s->kind == STEP_GEMM, together = gemm && gemm_takes_few(g, &s->gemm);
    double one = gemm ? gemm_one(r, &s->gemm) : other_one(r, s);
    uint32_t at;
    MatrixKind kind = gemm ? layout_matrix(g->layout, s->gemm.w, &at) : MATRIX_F32;
    cost[NFCC_COST_ONE] += one;
    cost[COST_TWO] += together ? gemm_few(r, &s->gemm, few_two(g, kind) ? 2 : 4) : 0;
    cost[NFCC_COST_FOUR] += together ? gemm_few(r, &s->gemm, 4) : 0;
    cost[NFCC_COST_EIGHT] += together ? gemm_few(r, &s->gemm, 8) : 0;
    cost[NFCC_COST_EACH] += together ? 0 : one;
    for (int i = 0; i < 3; i++)
        cost[NFCC_COST_16 + i] += gemm ? gemm_tile(r, &s->gemm, 16 << i) : other_tile(r, s, 16 << i);
}

static double weight_bytes(const Gen *g, const Program *p)
{
    double bytes = 0, each = layout_short(g->layout) ? 2 : 4;
    const Step *s;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));)
        if (s->kind == STEP_GEMM) bytes += each * s->gemm.k * s->gemm.n * own_tokens(&s->gemm);
    return bytes;
}

static Rates rates_of(const Gen *g, const TargetInfo *info, const Program *p)
{
    return (Rates){info->width, map_width(info),
                   info->level, weight_bytes(g, p) > MANY_WEIGHTS,
                   info->bf16,  layout_short(g->layout) ? 2 : 4};
}

void tile_costs(const Gen *g, uint32_t *to, uint32_t *two)
{
    const Program *p = main_program(g->plan);
    Rates r = rates_of(g, &g->level[g->n_levels - 1], p);
    double cost[ALL_COSTS] = {0};
    const Step *s;
    for (StepWalk w = plan_walk(p); p->exists && (s = plan_next(&w));) add_step(g, &r, s, cost);
    for (int i = 0; i < NFCC_COSTS; i++) to[i] = (uint32_t)fmin(cost[i], 4e9);
    *two = (uint32_t)fmin(cost[COST_TWO], 4e9);
}

// Rows as long as a picture's: a tile of them does not stay in a core's own cache, one row may. Of windows the code of
// one row reads weights for six places at once, so it waits for them less than its share of a tile does.
enum { OWN_CACHE = 2 << 20 };

bool encodes_by_rows(const Gen *g)
{
    const Program *p = &g->plan->programs[PROGRAM_ENCODE];
    if (!p->exists || g->gemm != gemm_emit || p->work_lanes * 16.0 * 4 < OWN_CACHE) return false;
    Rates r = rates_of(g, &g->info, p);
    double cost[ALL_COSTS] = {0};
    const Step *s;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));) add_step(g, &r, s, cost);
    return 16 * cost[NFCC_COST_ONE] < cost[NFCC_COST_16];
}
