// One row of a tiled product. A tile would have one row in use and takes its time to be set up: multiply-adds of the
// expanded halves make the same sums. (vdpbf16ps would, too, with one input of two 0; on a CPU that has tiles it takes
// four times as long as one of them.)
#include "tiles.h"

enum { MOST_UNITS = ONE_ROW_UNITS }; // whose sums are three registers each

typedef struct {
    Value total[MOST_UNITS], even[MOST_UNITS], odd[MOST_UNITS];
} OneSums;

static void one_pair(const Tiles *t, int units, Value x, const Value *w, Value at, OneSums *s)
{
    Gen *g = t->g;
    Value pair = splat(g, load(g, g->f32, x), SIDE);
    for (int u = 0; u < units; u++) {
        Value held = load(g, floats(g, SIDE), bytes_at(g, w[u], at));
        s->even[u] = fma_of(g, pairs_half(g, pair, false), pairs_half(g, held, false), s->even[u]);
        s->odd[u] = fma_of(g, pairs_half(g, pair, true), pairs_half(g, held, true), s->odd[u]);
    }
}

// 32 inputs are two chains.
static void one_step(const Tiles *t, int units, Value x, const Value *w, Value at, OneSums *s)
{
    Gen *g = t->g;
    Value sums[2 * MOST_UNITS];
    for (int u = 0; u < units; u++) s->even[u] = s->odd[u] = splat_float(g, 0, SIDE);
    Loop l = loop_begin(g, SIDE / 2);
    for (int u = 0; u < units; u++) {
        s->even[u] = loop_phi(g, &l, s->even[u]);
        s->odd[u] = loop_phi(g, &l, s->odd[u]);
    }
    for (int i = 0; i < 2; i++) {
        Value pair = add(g, mul(g, l.i, 2), word_i64(g, i));
        one_pair(t, units, bytes_at(g, x, mul(g, pair, 4)), w, add(g, at, mul(g, pair, ROW_BYTES)), s);
    }
    for (int u = 0; u < units; u++) sums[2 * u] = s->even[u], sums[2 * u + 1] = s->odd[u];
    loop_end(g, &l, sums);
    for (int u = 0; u < units; u++)
        s->total[u] = LLVMBuildFAdd(g->b, s->total[u], LLVMBuildFAdd(g->b, sums[2 * u], sums[2 * u + 1], ""), "");
}

static void all_steps(const Tiles *t, int units, const Value *w, Value *total)
{
    Gen *g = t->g;
    OneSums s;
    for (int u = 0; u < units; u++) s.total[u] = splat_float(g, 0, SIDE);
    Loop l = loop_of(g, t->param[PARAM_STEPS]);
    for (int u = 0; u < units; u++) s.total[u] = loop_phi(g, &l, s.total[u]);
    Value x = bytes_at(g, t->param[PARAM_X], mul(g, l.i, ROW_BYTES));
    one_step(t, units, x, w, mul(g, l.i, TILE_BYTES), &s);
    loop_end(g, &l, s.total);
    for (int u = 0; u < units; u++) total[u] = s.total[u];
}

// The outputs from `lane` of the group on.
static void one_units(const Tiles *t, int units, Value lane)
{
    Gen *g = t->g;
    Value none = word_i64(g, 0), unit = quotient(g, lane, word_i64(g, SIDE)), w[MOST_UNITS] = {0}, total[MOST_UNITS];
    for (int u = 0; u < units; u++) w[u] = tile_weights(t, add(g, unit, word_i64(g, u)));
    Compact c = {t->buffer, t->param[PARAM_X], w[0], t->param[PARAM_COMPACT], t->param[PARAM_STEPS]};
    if (g->compact)
        compact_sums(g, units, c, total);
    else
        all_steps(t, units, w, total);
    Leaving to = leaving_at(t, none, lane);
    Value left = difference(g, t->width, lane);
    for (int u = 0; u < units; u++) total[u] = finished(t, &to, total[u], word_i64(g, u));
    map_behind(t, total, units);
    for (int u = 0; u < units; u++) {
        Value out = bytes_at(g, to.out, word_i64(g, (int64_t)u * ROW_BYTES));
        store_some(g, total[u], first_lanes(g, difference(g, left, word_i64(g, u * SIDE)), SIDE), out);
    }
}

// All outputs of a group: MOST_UNITS sixteens at a time, then half of those that are left, and so on.
static void one_group(Tiles *t)
{
    Gen *g = t->g;
    Value done = word_i64(g, 0), units = t->units;
    for (int n = MOST_UNITS; n; n /= 2) {
        Value passes = quotient(g, difference(g, units, done), word_i64(g, n));
        Loop l = loop_maybe(g, passes);
        one_units(t, n, mul(g, add(g, done, mul(g, l.i, n)), SIDE));
        loop_end(g, &l, NULL);
        done = add(g, done, mul(g, passes, n));
    }
}

void tiles_one_emit(Tiles *t)
{
    Loop groups = tile_groups(t);
    one_group(t);
    loop_end(t->g, &groups, NULL);
}
