// Runs of a move: boxes of up to MOVE_AXES axes, along each of which source and destination rise evenly (plan.h).
//
// Found from the inside out: neighbours of equal shape that differ by one constant become one, then the results again,
// once per axis; where neighbours differ, groups of a few that repeat (the padding around a picture's corner, channel
// by channel) become one each. The taps of a convolution's windows come to a few records a line of the picture, the
// triangle of a causal mask to one a token.
#include "planner.h"

#include <stdlib.h>

enum { LEAST_LANES = 1024, SMALLER = 8 }; // below that, or less than so many times smaller, tables are good enough
enum { MOST_PERIOD = 8 };

static bool same_shape(const MoveRun *a, const MoveRun *b, int from)
{
    for (int k = from; k < MOVE_AXES; k++)
        if (a->axis[k].count != b->axis[k].count || a->axis[k].src != b->axis[k].src ||
            a->axis[k].dst != b->axis[k].dst)
            return false;
    return true;
}

// How often `period` runs come one after the other, each by a constant further than the one before.
static uint32_t rounds_of(const MoveRun *runs, uint32_t n, uint32_t period, int axis)
{
    uint32_t i = period;
    for (; i < n; i++) {
        const MoveRun *a = &runs[i - period], *b = &runs[i];
        if (!same_shape(a, b, axis + 1)) break;
        if (i >= 2 * period &&
            (b->src - a->src != a->src - a[-(int)period].src || b->dst - a->dst != a->dst - a[-(int)period].dst))
            break;
    }
    return i / period;
}

// Two rounds of several runs may be chance.
static uint32_t best_period(const MoveRun *runs, uint32_t n, int axis, uint32_t *rounds)
{
    for (uint32_t period = 1; period <= MOST_PERIOD && period < n; period++) {
        *rounds = rounds_of(runs, n, period, axis);
        if (*rounds >= (period == 1 ? 2 : 3)) return period;
    }
    *rounds = 1;
    return 1;
}

// Joins neighbours along `axis`, those inside of it being done; gives how many are left.
static uint32_t join_runs(MoveRun *runs, uint32_t n, int axis)
{
    uint32_t kept = 0;
    for (uint32_t i = 0, rounds; i < n;) {
        uint32_t period = best_period(runs + i, n - i, axis, &rounds);
        for (uint32_t k = 0; k < period; k++) {
            MoveRun run = runs[i + k];
            if (rounds > 1) {
                const MoveRun *next = &runs[i + k + period];
                run.axis[axis].src = next->src - run.src;
                run.axis[axis].dst = next->dst - run.dst;
                run.axis[axis].count = (int32_t)rounds;
            }
            runs[kept++] = run;
        }
        i += period * rounds;
    }
    return kept;
}

MoveRun *move_runs(const uint32_t *src, const uint32_t *dst, uint32_t n, uint32_t *count)
{
    if (n < LEAST_LANES) return NULL;
    MoveRun *runs = heap_array(n, sizeof *runs);
    for (uint32_t i = 0; i < n; i++) {
        runs[i] = (MoveRun){.src = (int32_t)src[i], .dst = (int32_t)dst[i]};
        for (int k = 0; k < MOVE_AXES; k++) runs[i].axis[k].count = 1;
    }
    *count = n;
    for (int axis = MOVE_AXES - 1; axis >= 0; axis--) *count = join_runs(runs, *count, axis);
    if ((uint64_t)*count * MOVE_RUN_WORDS * SMALLER <= 2 * (uint64_t)n) return runs;
    free(runs);
    return NULL;
}
