// Where fetching ahead turns (llvm.h): the weights of one product after the other, as they lie and as they are used.
#include "unit.h"

enum { GAP = 1 << 16 };   // bytes between the weights of a run at most: biases, scales
enum { SMALL = 1 << 14 }; // products of fewer bytes are passed over, but where they go on with a run

typedef struct {
    uint64_t from, to; // bytes
    Turn turn;
} Stretch;

static Stretch stretch_of(const Gen *g, const GemmStep *s)
{
    uint32_t at;
    MatrixKind kind = layout_matrix(g->layout, s->w, &at);
    uint64_t from = kind ? 2ull * at : 4ull * layout_lane(g->layout, s->w);
    return (Stretch){from, from + gemm_w_lanes(s) * (kind ? 2 : 4), {0, 0}};
}

static bool follows(const Stretch *a, const Stretch *b) { return b->from >= a->to && b->from <= a->to + GAP; }

static Turn turn_to(uint64_t end, uint64_t next)
{
    return (Turn){(uint32_t)(end / LINE_BYTES), (uint32_t)(next / LINE_BYTES)};
}

// Behind the last one things are supposed to go on as they did, so that the rounds of a repeat are alike.
static void set_turns(Stretch *all, int n)
{
    Stretch *before = NULL, *after = NULL;
    uint64_t turn = 0; // how far the last one goes, modulo 2^64
    for (Stretch *at = all; at < all + n; at++) {
        if (at->to - at->from < SMALL) continue;
        if (before && !follows(before, at)) turn = at->from - before->to;
        before = at;
    }
    for (Stretch *at = all + n; at-- > all;) {
        bool there = (int64_t)(at->to + turn) >= 0;
        at->turn = turn_to(at->to, there ? at->to + turn : at->to);
        if (at->to - at->from < SMALL && (at == all || !follows(at - 1, at))) continue;
        if (after) at->turn = follows(at, after) ? after->turn : turn_to(at->to, after->from);
        after = at;
    }
}

const Turn *find_turns(const Gen *g, const Program *p, int steps)
{
    Stretch *all = ARENA_ARRAY(g->cx->arena, Stretch, steps + 1);
    Turn *turns = ARENA_ARRAY(g->cx->arena, Turn, steps + 1);
    const Step *s;
    int n = 0;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));)
        if (s->kind == STEP_GEMM && gemm_turns(g, &s->gemm)) all[n++] = stretch_of(g, &s->gemm);
    set_turns(all, n);
    for (int i = 0; i < n; i++) turns[i] = all[i].turn;
    return turns;
}
