// How tiles of AMX take the windows of a picture (plan.h, `tiles`). A tile's rows are sixteen places, the same stride
// from each to the next, so that of a picture of pairs an instruction reads what they have at 32 taps that follow one
// another:
//
//     place of row r:    places[firsts[t]] + r * stride
//
// Tokens are taken in their order. A tile begins with the first that no tile has, and goes on as long as tokens are
// among its places; those between the lines of a picture are no token's, and nobody reads what comes of them. Where
// tiles would be less than FULL on an average, windows are copied as pairs.
#include "plan.h"

#include <string.h>

enum { FULL = 10 }; // of sixteen places

typedef struct {
    Arena *arena;
    Plan *plan;
    int32_t *words; // tables, to stand behind the plan's weights
    int n_words, cap_words;
    GemmStep *done; // steps that have tiles
    int n_done, cap_done;
} Tiling;

bool plan_taps_are_runs(const Plan *plan, const GemmStep *g, uint32_t length)
{
    for (uint32_t k = 1; k < g->k; k++)
        if (k % length && plan_table(plan, g->taps, k) != plan_table(plan, g->taps, k - 1) + 1) return false;
    return g->k % length == 0;
}

// Token m's number in a tile that begins at `from`; TILE_PLACES: it has none.
static int64_t slot_of(const Tiling *t, const GemmStep *g, uint32_t m, int64_t from, int64_t stride)
{
    int64_t far = plan_table(t->plan, g->places, m) - from;
    return far >= 0 && far % stride == 0 && far / stride < TILE_PLACES ? far / stride : TILE_PLACES;
}

static uint32_t put_table(Tiling *t, const int32_t *list, uint32_t n)
{
    uint32_t at = (uint32_t)(t->plan->weight_lanes + (uint64_t)t->n_words);
    for (uint32_t i = 0; i < n; i++) ARENA_PUSH(t->arena, t->words, t->n_words, t->cap_words, list[i]);
    return at;
}

static void tile_windows(Tiling *t, GemmStep *g)
{
    int32_t *firsts = ARENA_ARRAY(t->arena, int32_t, g->m + 1), *slots = ARENA_ARRAY(t->arena, int32_t, g->m);
    int64_t stride = plan_table(t->plan, g->places, 1) - (int64_t)plan_table(t->plan, g->places, 0), from = 0;
    uint32_t tiles = 0;
    if (stride <= 0) return;
    for (uint32_t m = 0; m < g->m; m++) {
        int64_t slot = m ? slot_of(t, g, m, from, stride) : TILE_PLACES;
        if (slot == TILE_PLACES) {
            from = plan_table(t->plan, g->places, m);
            firsts[tiles++] = (int32_t)m;
            slot = 0;
        }
        slots[m] = (int32_t)((tiles - 1) * TILE_PLACES + (uint32_t)slot);
    }
    if ((tiles - 1) * FULL >= g->m) return;
    firsts[tiles] = (int32_t)g->m;
    g->tiles = tiles;
    g->stride = (uint32_t)stride;
    g->firsts = put_table(t, firsts, tiles + 1);
    g->slots = put_table(t, slots, g->m);
    ARENA_PUSH(t->arena, t->done, t->n_done, t->cap_done, *g);
}

static const GemmStep *done_before(const Tiling *t, const GemmStep *g)
{
    for (int i = 0; i < t->n_done; i++)
        if (t->done[i].places == g->places && t->done[i].m == g->m) return &t->done[i];
    return NULL;
}

static void tile_step(Tiling *t, GemmStep *g)
{
    if (!g->picture || g->m == 1 || !plan_taps_are_runs(t->plan, g, TILED_INPUTS)) return;
    const GemmStep *before = done_before(t, g);
    if (!before) {
        tile_windows(t, g);
        return;
    }
    g->tiles = before->tiles;
    g->stride = before->stride;
    g->firsts = before->firsts;
    g->slots = before->slots;
}

static void append_tables(Tiling *t)
{
    Plan *plan = t->plan;
    size_t lanes = (size_t)plan->weight_lanes, all = lanes + (size_t)t->n_words;
    float *weights = arena_alloc(t->arena, (all + 16) * sizeof *weights); // 16: plan.h
    memcpy(weights, plan->weights, lanes * sizeof *weights);
    memcpy(weights + lanes, t->words, (size_t)t->n_words * sizeof *weights);
    plan->weights = weights;
    plan->weight_lanes = all;
}

void plan_tiles(Context *cx, Plan *plan, Step *const steps[PROGRAM_COUNT])
{
    Tiling t = {.arena = cx->arena, .plan = plan};
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (int i = 0; i < plan->programs[id].n_steps; i++)
            if (steps[id][i].kind == STEP_GEMM && steps[id][i].gemm.paired) tile_step(&t, &steps[id][i].gemm);
    if (t.n_words) append_tables(&t);
}
