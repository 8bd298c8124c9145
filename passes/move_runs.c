// Runs of a move: boxes of up to MOVE_AXES axes, along each of which source and destination rise evenly (plan.h).
//
// Found from the inside out: neighbours of equal shape that differ by one constant become one, then the results again,
// once per axis. The taps of a convolution's windows come to a few records a line of the picture, the triangle of a
// causal mask to one a token.
#include "planner.h"

#include <stdlib.h>

enum { LEAST_LANES = 1024, SMALLER = 8 }; // below that, or less than so many times smaller, tables are good enough

static bool same_shape(const MoveRun *a, const MoveRun *b, int from)
{
    for (int k = from; k < MOVE_AXES; k++)
        if (a->axis[k].count != b->axis[k].count || a->axis[k].src != b->axis[k].src ||
            a->axis[k].dst != b->axis[k].dst)
            return false;
    return true;
}

// Joins neighbours along `axis`, those inside of it being done; gives how many are left.
static uint32_t join_runs(MoveRun *runs, uint32_t n, int axis)
{
    uint32_t kept = 0;
    for (uint32_t i = 0, end; i < n; i = end) {
        MoveRun run = runs[i];
        end = i + 1;
        if (end < n && same_shape(&run, &runs[end], axis + 1)) {
            run.axis[axis].src = runs[end].src - run.src;
            run.axis[axis].dst = runs[end].dst - run.dst;
            while (end < n && same_shape(&run, &runs[end], axis + 1) &&
                   runs[end].src - runs[end - 1].src == run.axis[axis].src &&
                   runs[end].dst - runs[end - 1].dst == run.axis[axis].dst)
                end++;
            run.axis[axis].count = (int32_t)(end - i);
        }
        runs[kept++] = run;
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
