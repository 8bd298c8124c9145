// What a call must do at least, counted from the Plan: two operations for each multiply-add of its products, and the
// bytes of weights and tables as they are stored that its steps read, each lane of CONST once however often it is read
// again: from then on it may come from a cache.
#include "cli_bench.h"
#include "cli_entry.h"

#include "abi.h"

#include <string.h>

typedef struct {
    const Plan *plan;
    unsigned char *read; // per lane of CONST
    double flops;
} Count;

unsigned bench_entry(const char *entry, bool *prepares)
{
    static const char prefix[] = "prepare+";
    *prepares = !strncmp(entry, "prepare", 7) && (!entry[7] || entry[7] == '+');
    if (!*prepares) return entry_bit(entry);
    unsigned bit = entry[7] ? entry_bit(entry + sizeof prefix - 1) : 0;
    *prepares = (bit || !entry[7]) && bit != NFCC_HAS_RUN;
    return *prepares ? bit : 0;
}

// Of more contexts the entries compute `late` themselves.
static bool prepares_in_full(const Plan *plan, uint64_t rows)
{
    uint64_t bytes = rows * round_up_lanes(plan->prep_lanes) * sizeof(float);
    bool beside = plan->tiled && plan->programs[PROGRAM_TO_LATENT_EARLY].exists;
    return rows <= NFCC_PREPARED_FEW || (!beside && rows <= NFCC_PREPARED_ROWS && bytes <= NFCC_PREPARED_BYTES);
}

static void read_lane(Count *c, int64_t lane)
{
    if (lane >= 0 && (uint64_t)lane < c->plan->weight_lanes) c->read[lane] = 1;
}

static void read_lanes(Count *c, uint32_t space, uint32_t at, uint64_t n)
{
    for (uint64_t i = 0; space == SPACE_CONST && i < n; i++) read_lane(c, (int64_t)(at + i));
}

static void read_access(Count *c, const Access *a, uint32_t n)
{
    for (uint32_t i = 0; a->space == SPACE_CONST && i < n; i++)
        read_lane(c,
                  (int64_t)a->at + (int64_t)(i / a->inner) * a->outer_step + (int64_t)(i % a->inner) * a->inner_step);
}

static double count_gemm(Count *c, const GemmStep *g)
{
    read_lanes(c, SPACE_CONST, g->w, gemm_w_lanes(g));
    if (g->has_bias) read_lanes(c, SPACE_CONST, g->bias, gemm_biases(g));
    read_lanes(c, g->x_space, g->x, gemm_x_lanes(g));
    return 2.0 * g->m * g->k * g->n;
}

static double count_matmul(Count *c, const MatmulStep *s)
{
    read_lanes(c, s->a_space, s->a, (uint64_t)s->batch * s->m * s->k);
    read_lanes(c, s->c_space, s->c, (uint64_t)s->batch * s->k * s->n);
    return 2.0 * s->batch * s->m * s->k * s->n;
}

static double count_other(Count *c, const Step *s)
{
    switch (s->kind) {
    case STEP_MAP:
        for (uint32_t i = 0; i < s->map.n_args; i++) read_access(c, &s->map.args[i], s->map.n);
        break;
    case STEP_REDUCE: read_lanes(c, s->reduce.in_space, s->reduce.in, (uint64_t)s->reduce.outer * s->reduce.k); break;
    case STEP_MOVE:
        read_lanes(c, SPACE_CONST, s->move.src_table, move_src_words(&s->move));
        read_lanes(c, SPACE_CONST, s->move.dst_table, move_dst_words(&s->move));
        break;
    case STEP_TAKE:
        // A row of the table per index; which ones is the data's affair.
        read_lanes(c, s->take.table_space, s->take.table, s->take.j);
        break;
    case STEP_GEMM:
    case STEP_MATMUL:
    case STEP_REPEAT: break;
    }
    return 0;
}

static void count_program(Count *c, ProgramId id, double times)
{
    const Program *p = &c->plan->programs[id];
    if (!p->exists || times <= 0) return;
    const Step *s;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));)
        c->flops += times * (s->kind == STEP_GEMM     ? count_gemm(c, &s->gemm)
                             : s->kind == STEP_MATMUL ? count_matmul(c, &s->matmul)
                                                      : count_other(c, s));
}

ProgramId bench_program(const Plan *plan, unsigned entry)
{
    switch (entry) {
    case NFCC_HAS_TO_LATENT:
    case NFCC_HAS_LOG_PROB: return PROGRAM_TO_LATENT;
    case NFCC_HAS_SCORE: return PROGRAM_SCORE;
    case NFCC_HAS_RUN: return PROGRAM_RUN;
    case NFCC_HAS_ACT: return plan->programs[PROGRAM_ACT].exists ? PROGRAM_ACT : PROGRAM_TO_EVENT;
    default: return PROGRAM_TO_EVENT;
    }
}

// Four bytes a lane; two where it is of a matrix of 16 bits.
static double bytes_read(const Count *c, Arena *arena)
{
    int n;
    const PlanMatrix *matrix = plan_matrices(arena, c->plan, &n);
    double bytes = 0;
    for (uint64_t i = 0; i < c->plan->weight_lanes; i++) bytes += 4 * c->read[i];
    for (int m = 0; m < n; m++)
        for (uint32_t i = 0; i < matrix[m].lanes; i++) bytes -= 2 * c->read[matrix[m].at + i];
    return bytes;
}

BenchWork bench_work(Arena *arena, const Plan *plan, const BenchCase *what)
{
    bool prepares, draws;
    unsigned entry = bench_entry(what->entry, &prepares);
    double rows = (double)what->rows, items = rows * (double)what->samples;
    Count c = {plan, ARENA_ARRAY(arena, unsigned char, plan->weight_lanes + 1), 0};
    bool many = !prepares_in_full(plan, what->rows), bulk = what->threads > 1 && entry != NFCC_HAS_RUN;
    draws = entry & (NFCC_HAS_SAMPLE | NFCC_HAS_SAMPLE_AND_LOG_PROB | NFCC_HAS_SAMPLE_BEST | NFCC_HAS_ACT);
    if (prepares || bulk) count_program(&c, PROGRAM_ENCODE, rows);
    if (entry == 0 ? !many : entry != NFCC_HAS_RUN && (prepares || bulk || many)) count_program(&c, PROGRAM_LATE, rows);
    if (draws) {
        count_program(&c, PROGRAM_NOISE, items);
        count_program(&c, PROGRAM_BASE, items);
    }
    if (entry) count_program(&c, bench_program(plan, entry), items);
    return (BenchWork){c.flops, bytes_read(&c, arena)};
}
