// Where a policy's weights lie. f32: as in the Plan. 16 bits: first the lanes that stay f32, closed up, then the
// matrices (plan.h), each at a multiple of 64 bytes. Matrices give way in whole sixteens of lanes, so that what was
// aligned stays so. A matrix of pairs is parts (plan.h) of groups of outputs as in the Plan, in each ceil(K / 2) rows
// of words of 32 bits. For tiled products K goes on with zeros to a multiple of 32 and outputs to one of 16, and each
// tile of 16 rows and 16 outputs lies together:  [outputs / 16][K / 32][16][16].
#include "llvm.h"

#include <string.h>

enum { SIXTEEN = 16 };

struct Layout {
    const PlanMatrix *matrix;
    WeightType type;
    bool tiled; // pairs fill whole tiles
    int n;
    uint64_t *before;  // lanes that gave way before matrix i and, last, all of them
    uint64_t *half_at; // matrix i, in words of 16 bits from the weights' start
    uint64_t f32_lanes;
    size_t size;
};

static uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

static bool is_pairs(const Layout *l, const PlanMatrix *m) { return l->type == WEIGHTS_BF16 && m->k; }

static uint64_t part_lanes(const PlanMatrix *m) { return (uint64_t)m->k * m->n; }

// Rows of a part's matrix, with those of zeros behind them.
static uint64_t part_rows(const Layout *l, const PlanMatrix *m) { return round_up(m->k, l->tiled ? TILED_INPUTS : 2); }
static uint64_t part_words(const Layout *l, const PlanMatrix *m)
{
    return part_rows(l, m) * (l->tiled ? round_up(m->n, SIXTEEN) : m->n);
}

static uint64_t words_of(const Layout *l, const PlanMatrix *m)
{
    return is_pairs(l, m) ? m->lanes / part_lanes(m) * part_words(l, m) : m->lanes;
}

const Layout *layout_of(Gen *g)
{
    Arena *a = g->cx->arena;
    Layout *l = ARENA_NEW(a, Layout);
    *l = (Layout){.type = g->plan->weight_type, .tiled = g->plan->tiled};
    if (g->gemm == gemm_emit) l->matrix = plan_matrices(a, g->plan, &l->n);
    l->before = ARENA_ARRAY(a, uint64_t, l->n + 1);
    l->half_at = ARENA_ARRAY(a, uint64_t, l->n + 1);
    l->before[0] = 0;
    for (int i = 0; i < l->n; i++) l->before[i + 1] = l->before[i] + l->matrix[i].lanes / SIXTEEN * SIXTEEN;
    l->f32_lanes = g->plan->weight_lanes - l->before[l->n];
    l->size = l->f32_lanes * sizeof(float);
    for (int i = 0; i < l->n; i++) {
        l->half_at[i] = round_up(l->size, LINE_BYTES) / 2;
        l->size = 2 * (l->half_at[i] + words_of(l, &l->matrix[i]));
    }
    return l;
}

size_t layout_size(const Layout *l) { return l->size; }
bool layout_short(const Layout *l) { return l->n > 0; }

// Matrices that begin at or before `lane`.
static int matrices_to(const Layout *l, uint32_t lane)
{
    int low = 0, high = l->n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (l->matrix[middle].at <= lane)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t layout_lane(const Layout *l, uint32_t lane) { return lane - (uint32_t)l->before[matrices_to(l, lane)]; }

MatrixKind layout_matrix(const Layout *l, uint32_t lane, uint32_t *at)
{
    int i = matrices_to(l, lane) - 1;
    const PlanMatrix *m = i < 0 ? NULL : &l->matrix[i];
    if (!m || lane - m->at >= m->lanes) return MATRIX_F32;
    uint64_t from = lane - m->at;
    if (is_pairs(l, m)) from = from / part_lanes(m) * part_words(l, m); // paired steps begin with a part
    *at = (uint32_t)(l->half_at[i] + from);
    return is_pairs(l, m) ? MATRIX_PAIRS : MATRIX_SHORT;
}

static void put_short(WeightType type, float value, unsigned char *at)
{
    uint16_t word = weight_short(type, value);
    at[0] = (unsigned char)word;
    at[1] = (unsigned char)(word >> 8);
}

// Where in a group of `width` outputs the word of pair `pair` and output n is.
static size_t word_in_group(const Layout *l, uint32_t k, uint32_t width, uint32_t pair, uint32_t n)
{
    if (!l->tiled) return (size_t)pair * width + n;
    size_t steps = round_up(k, TILED_INPUTS) / TILED_INPUTS, tile = n / SIXTEEN * steps + pair / SIXTEEN;
    return (tile * SIXTEEN + pair % SIXTEEN) * SIXTEEN + n % SIXTEEN;
}

// A group of `width` outputs; what is behind an odd K was zeroed.
static void put_group(const Layout *l, const float *from, uint32_t k, uint32_t width, unsigned char *to)
{
    for (uint32_t i = 0; i < k; i++)
        for (uint32_t n = 0; n < width; n++)
            put_short(WEIGHTS_BF16, from[(size_t)i * width + n],
                      to + word_in_group(l, k, width, i / 2, n) * 4 + i % 2 * 2);
}

static void put_part(const Layout *l, const PlanMatrix *m, const float *from, unsigned char *to)
{
    for (uint32_t n = 0; n < m->n; n += GEMM_GROUP) {
        uint32_t width = m->n - n < GEMM_GROUP ? m->n - n : GEMM_GROUP;
        put_group(l, from + (size_t)n * m->k, m->k, width, to + (size_t)n * part_rows(l, m) * 2);
    }
}

static void put_matrix(const Layout *l, const Plan *plan, int i, unsigned char *to)
{
    const PlanMatrix *m = &l->matrix[i];
    const float *from = plan->weights + m->at;
    unsigned char *at = to + 2 * l->half_at[i];
    if (!is_pairs(l, m)) {
        for (uint32_t j = 0; j < m->lanes; j++) put_short(plan->weight_type, from[j], at + 2 * j);
        return;
    }
    for (uint64_t p = 0; p < m->lanes / part_lanes(m); p++)
        put_part(l, m, from + p * part_lanes(m), at + 2 * p * part_words(l, m));
}

static void layout_write(const Layout *l, const Plan *plan, unsigned char *to)
{
    uint64_t from = 0;
    for (int i = 0; i <= l->n; i++) {
        uint64_t end = i < l->n ? l->matrix[i].at : plan->weight_lanes;
        if (end > from) memcpy(to + 4 * (from - l->before[i]), plan->weights + from, (size_t)(end - from) * 4);
        if (i == l->n) break;
        from = l->matrix[i].at + (l->before[i + 1] - l->before[i]);
        put_matrix(l, plan, i, to);
    }
}

const void *layout_weights(Gen *g)
{
    if (!g->layout->n) return g->plan->weights;
    unsigned char *bytes = arena_alloc(g->cx->arena, g->layout->size);
    layout_write(g->layout, g->plan, bytes);
    return bytes;
}
