// lanes, reductions: constants that change nothing leave their rows; rows that are as long then are one reduction.
#include "lanes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double reduce_neutral(Op op)
{
    return op == OP_reduce_sum ? 0 : op == OP_reduce_prod ? 1 : op == OP_reduce_max ? -INFINITY : INFINITY;
}

enum { MOST_SIZES = 4, LITTLE = 8 };

// What remains of each row, K lanes apart: none of a row that nobody needs.
typedef struct {
    LaneRef *lanes;
    int64_t *count, outer, K;
    double neutral;
} Rows;

static void gather_rows(Lanes *s, const Node *n, Rows *r)
{
    for (int64_t o = 0; o < r->outer; o++)
        for (int64_t k = 0; k < r->K && needed(s, n, o); k++) {
            LaneRef lane = lane_env_lane(s->env, n->in[0], o * r->K + k);
            if (!is_value(lane, r->neutral)) r->lanes[o * r->K + r->count[o]++] = lane;
        }
}

// Rows of a few lengths that with all their constants are little more stay one reduction, each lane in its place: a
// pool's windows at a picture's border, whose lanes then run on evenly.
static bool little_more(const Rows *r)
{
    int64_t all = 0, rows = 0, most = 0, least = r->K;
    for (int64_t o = 0; o < r->outer; o++) {
        if (!r->count[o]) continue;
        all += r->count[o];
        rows++;
        if (r->count[o] > most) most = r->count[o];
        if (r->count[o] < least) least = r->count[o];
    }
    return most > least && rows * r->K * LITTLE <= all * (LITTLE + 1);
}

static void keep_whole(Lanes *s, const Node *n, Rows *r)
{
    for (int64_t o = 0; o < r->outer; o++) {
        if (!r->count[o]) continue;
        for (int64_t k = 0; k < r->K; k++) r->lanes[o * r->K + k] = lane_env_lane(s->env, n->in[0], o * r->K + k);
        r->count[o] = r->K;
    }
}

// Rows of many different lengths (a causal mask) stay one reduction: they keep neutral constants.
static void pad_rows(Lanes *s, Rows *r)
{
    int64_t sizes[MOST_SIZES], n = 0;
    for (int64_t o = 0; o < r->outer; o++) {
        int64_t k = 0;
        while (k < n && sizes[k] != r->count[o]) k++;
        if (k < n || !r->count[o]) continue;
        if (n < MOST_SIZES) {
            sizes[n++] = r->count[o];
            continue;
        }
        LaneRef pad = {build_scalar(s->b, r->neutral), 0};
        for (o = 0; o < r->outer; o++)
            while (r->count[o] && r->count[o] < r->K) r->lanes[o * r->K + r->count[o]++] = pad;
    }
}

// The m rows of the list, which have `size` lanes each, as one reduction.
static void reduce_rows(Lanes *s, const Node *n, const Rows *r, int64_t size, const int64_t *list, int64_t m)
{
    LaneRef *part = heap_array(m * size, sizeof *part);
    for (int64_t j = 0; j < m; j++) memcpy(part + j * size, r->lanes + list[j] * r->K, (size_t)size * sizeof *part);
    int64_t dim[2] = {m, size};
    const Node *now = build_reduce(s->b, n->op, lanes_gather_as(s->b, part, type_make(T_F32, 2, dim)));
    if (m == r->outer) lane_env_set_all(s->env, n, now);
    for (int64_t j = 0; j < m && m < r->outer; j++) lane_env_set(s->env, (LaneRef){n, list[j]}, (LaneRef){now, j});
    free(part);
}

void rebuild_reduce(Lanes *s, const Node *n)
{
    Rows r = {.outer = type_lanes(n->type), .K = type_last(n->in[0]->type), .neutral = reduce_neutral(n->op)};
    r.lanes = heap_array(r.outer * r.K, sizeof *r.lanes);
    r.count = heap_array(r.outer, sizeof *r.count);
    int64_t *list = heap_array(r.outer, sizeof *list);
    gather_rows(s, n, &r);
    if (little_more(&r)) keep_whole(s, n, &r);
    pad_rows(s, &r);
    for (int64_t size = 0; size <= r.K; size++) {
        int64_t m = 0;
        for (int64_t o = 0; o < r.outer; o++)
            if (r.count[o] == size && needed(s, n, o)) list[m++] = o;
        if (m && size) reduce_rows(s, n, &r, size, list, m);
        for (int64_t j = 0; j < m && !size; j++) set_const(s, n, list[j], r.neutral);
    }
    free(r.lanes);
    free(r.count);
    free(list);
}
