// The march of a denoised policy in numbers: products of its plan, and how many bytes of weights lie between two uses
// of one.
#include "planner.h"

#include "base/hash.h"

static uint64_t weight_bytes(const Step *s) { return s->kind == STEP_GEMM ? gemm_w_lanes(&s->gemm) * 4 : 0; }

// Where weights were read last, by their lane; open addressing.
typedef struct {
    uint32_t w;
    int step; // + 1; 0: free
} LastUse;

static LastUse *last_use(LastUse *table, size_t size, uint32_t w)
{
    size_t at = hash_mix(0, w) & (size - 1);
    while (table[at].step && table[at].w != w) at = (at + 1) & (size - 1);
    return &table[at];
}

// Sums over steps 0 .. i, kept in a tree (Fenwick 1994).
static void add_at(uint64_t *tree, int n, int i, uint64_t by)
{
    for (i++; i <= n; i += i & -i) tree[i] += by;
}

static uint64_t sum_before(const uint64_t *tree, int i)
{
    uint64_t sum = 0;
    for (; i > 0; i -= i & -i) sum += tree[i];
    return sum;
}

// By product: bytes of different weights from the last use of its weights on until it, what a cache must hold for them
// to be there. 0: no earlier use. The tree holds each matrix at its last use so far.
static uint64_t *reuse_distances(Context *cx, const Program *p)
{
    size_t size = hash_slots((size_t)p->n_steps);
    LastUse *table = ARENA_ARRAY(scratch_arena(cx), LastUse, size);
    uint64_t *tree = ARENA_ARRAY(scratch_arena(cx), uint64_t, p->n_steps + 1);
    uint64_t *distance = ARENA_ARRAY(scratch_arena(cx), uint64_t, p->n_steps + 1);
    for (int i = 0; i < p->n_steps; i++) {
        if (p->steps[i].kind != STEP_GEMM) continue;
        LastUse *last = last_use(table, size, p->steps[i].gemm.w);
        if (last->step) {
            distance[i] = sum_before(tree, i) - sum_before(tree, last->step - 1);
            add_at(tree, p->n_steps, last->step - 1, -weight_bytes(&p->steps[last->step - 1]));
        }
        *last = (LastUse){p->steps[i].gemm.w, i + 1};
        add_at(tree, p->n_steps, i, weight_bytes(&p->steps[i]));
    }
    return distance;
}

const char *march_note(Context *cx, const Program *act, const Program *to_event)
{
    uint64_t furthest = 0, all = 0;
    int products = 0, transposed = 0, alone = 0;
    const uint64_t *distance = reuse_distances(cx, act);
    for (int i = 0; i < to_event->n_steps; i++) alone += to_event->steps[i].kind == STEP_GEMM;
    for (int i = 0; i < act->n_steps; i++) {
        if (act->steps[i].kind != STEP_GEMM) continue;
        if (distance[i] > furthest) furthest = distance[i];
        if (!distance[i]) all += weight_bytes(&act->steps[i]);
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
