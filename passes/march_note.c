// The march of a denoised policy in numbers: products of its plan, and how many bytes of weights lie between two uses
// of one.
#include "planner.h"

static uint64_t weight_bytes(const Step *s) { return s->kind == STEP_GEMM ? gemm_w_lanes(&s->gemm) * 4 : 0; }

// By step: the next product on the same weights, or n_steps.
static int *next_uses(Context *cx, const Program *p)
{
    int *next = ARENA_ARRAY(cx->arena, int, p->n_steps + 1);
    for (int i = 0; i < p->n_steps; i++) {
        next[i] = p->n_steps;
        if (p->steps[i].kind != STEP_GEMM) continue;
        for (int k = i - 1; k >= 0; k--)
            if (p->steps[k].kind == STEP_GEMM && p->steps[k].gemm.w == p->steps[i].gemm.w) {
                next[k] = i;
                break;
            }
    }
    return next;
}

// Bytes of different weights from the last use of step i's weights on until step i: what a cache must hold for them to
// be there. 0: no earlier use.
static uint64_t reuse_distance(const Program *p, const int *next, int i)
{
    uint64_t bytes = 0;
    for (int k = i - 1; k >= 0; k--) {
        if (next[k] >= i) bytes += weight_bytes(&p->steps[k]);
        if (next[k] == i) return bytes;
    }
    return 0;
}

const char *march_note(Context *cx, const Program *act, const Program *to_event)
{
    uint64_t furthest = 0, all = 0;
    int products = 0, transposed = 0, alone = 0;
    int *next = next_uses(cx, act);
    for (int i = 0; i < to_event->n_steps; i++) alone += to_event->steps[i].kind == STEP_GEMM;
    for (int i = 0; i < act->n_steps; i++) {
        if (act->steps[i].kind != STEP_GEMM) continue;
        uint64_t distance = reuse_distance(act, next, i);
        if (distance > furthest) furthest = distance;
        if (!distance) all += weight_bytes(&act->steps[i]);
        if (act->steps[i].gemm.transposed)
            transposed++;
        else
            products++;
    }
    return arena_format(cx->arena,
                        "act: one march of %d products (to_event: %d) and %d transposed ones; of %.0f KB of weights at "
                        "most %.0f KB lie between two uses of one",
                        products, alone, transposed, (double)all / 1024, (double)furthest / 1024);
}
