// From a known lane u down: the unknown lanes below it are collected, latest first, until only one is left to expand.
// See one_lane_find.h.
#include "one_lane_find.h"

#include <stdlib.h>

static void heap_push(const OneLaneFinder *q, Heap *h, LaneRef r)
{
    int i = h->n;
    HEAP_PUSH(h->item, h->n, h->cap, r);
    for (; i && number(q, h->item[(i - 1) / 2]) < number(q, r); i = (i - 1) / 2) h->item[i] = h->item[(i - 1) / 2];
    h->item[i] = r;
}

static LaneRef heap_pop(const OneLaneFinder *q, Heap *h)
{
    LaneRef top = h->item[0], last = h->item[--h->n];
    int i = 0;
    for (int c; (c = 2 * i + 1) < h->n; i = c) {
        if (c + 1 < h->n && number(q, h->item[c + 1]) > number(q, h->item[c])) c++;
        if (number(q, h->item[c]) <= number(q, last)) break;
        h->item[i] = h->item[c];
    }
    h->item[i] = last;
    return top;
}

// The unknown operands of r become pending. False: too many, or r cannot be expanded.
static bool expand(OneLaneFinder *q, Search *w, LaneRef r)
{
    LaneRef *in = q->operands;
    int n = lane_operands(r, in, MOST_LANES);
    bool ok = n >= 0 && (q->budget -= n + 1) >= 0;
    for (int i = 0; i < n && ok; i++) {
        if (is_known(q, in[i]) || q->place[number(q, in[i])]) continue;
        ok = w->heap.n < MOST_LANES && w->s.n + w->heap.n < MOST_LANES;
        if (!ok) break;
        q->place[number(q, in[i])] = -1; // pending
        heap_push(q, &w->heap, in[i]);
    }
    return ok;
}

static void take_lane(OneLaneFinder *q, Search *w, LaneRef r)
{
    HEAP_PUSH(w->s.lanes, w->s.n, w->cap_lanes, r);
    q->place[number(q, r)] = w->s.n;
}

bool search_next(OneLaneFinder *q, Search *w)
{
    if (w->s.v.node) {
        heap_pop(q, &w->heap);
        take_lane(q, w, w->s.v);
        if (!expand(q, w, w->s.v)) return false;
    }
    while (w->heap.n > 1) {
        LaneRef r = heap_pop(q, &w->heap);
        take_lane(q, w, r);
        if (!expand(q, w, r)) return false;
    }
    if (!w->heap.n) return false;
    w->s.v = w->heap.item[0];
    return true;
}

Search *search_new(OneLaneFinder *q, LaneRef u)
{
    Search *w = heap_array(1, sizeof *w);
    w->s.u = u;
    take_lane(q, w, u);
    if (!expand(q, w, u)) w->heap.n = 0;
    return w;
}

void search_free(OneLaneFinder *q, Search *w)
{
    for (int i = 0; i < w->s.n; i++) q->place[number(q, w->s.lanes[i])] = 0;
    for (int i = 0; i < w->heap.n; i++) q->place[number(q, w->heap.item[i])] = 0;
    free(w->heap.item);
    free(w->s.lanes);
    free(w);
}
