// Tiled products of windows of a picture of pairs, read where they lie (plan.h, `tiles`). Sums are those of up to four
// tiles, 64 places, and sixteen outputs:
//
//     C0 C1 C2 C3  =  A0 B, A1 B, A2 B, A3 B        An: what sixteen places have at 32 taps, B: the weights of these
//
// so that weights, which come from L2, are read once for 64 places; what these read of the picture stays in L1 while
// all outputs of a group have their turn. Sums leave the buffer token by token: rows of a tile between the lines of the
// picture are no token's.
#include "tiles.h"

enum { A0 = SUMS, A_TILES = 3, B = A0 + A_TILES };
enum { FETCHED = 8 }; // tiles ahead

// ---- a block of tiles
typedef struct {
    int n;             // tiles
    Value slots;       // in tiles before the block
    Value first, end;  // its tokens
    Value place[SUMS]; // addresses of its tiles' first places
} Places;

static Value first_token(const Tiles *t, Value tile) { return table_word(t->g, t->param[PARAM_FIRSTS], tile); }

// n tiles from `tile` on.
static Places places_of(const Tiles *t, Value tile, int n)
{
    Gen *g = t->g;
    Places p = {.n = n, .slots = mul(g, tile, SIDE)};
    p.first = first_token(t, tile);
    p.end = first_token(t, add(g, tile, word_i64(g, n)));
    for (int i = 0; i < n; i++) {
        Value lane = table_word(g, t->param[PARAM_PLACES], first_token(t, add(g, tile, word_i64(g, i))));
        p.place[i] = bytes_at(g, t->param[PARAM_X], mul(g, lane, 2));
    }
    return p;
}

// 32 inputs.
static void step_emit(const Tiles *t, const Places *p, Value tap, Value w)
{
    Gen *g = t->g;
    load_b(g, B, w);
    for (int i = 0; i < p->n; i++) {
        load_a(g, A0 + i % A_TILES, bytes_at(g, p->place[i], mul(g, tap, 2)), t->param[PARAM_X_STEP]);
        tile_dot(g, i, A0 + i % A_TILES, B);
    }
}

// Weights from beyond L2, by the first block, which reads them all in their order.
static void fetch_ahead(Gen *g, const Places *p, Value w)
{
    Loop l = loop_maybe(g, where(g, equal(g, p->slots, 0), word_i64(g, SIDE), word_i64(g, 0)));
    prefetch(g, bytes_at(g, w, word_i64(g, FETCHED * TILE_BYTES)), mul(g, l.i, LINE_BYTES), TO_L2);
    loop_end(g, &l, NULL);
}

// All inputs of sixteen `unit` of the group's outputs.
static void sums_emit(const Tiles *t, const Places *p, Value unit)
{
    Gen *g = t->g;
    Value w = tile_weights(t, unit);
    for (int i = 0; i < p->n; i++) tile_zero(g, i);
    Loop l = loop_of(g, t->param[PARAM_STEPS]);
    Value tap = table_word(g, t->param[PARAM_TAPS], mul(g, l.i, TILED_INPUTS));
    Value at = bytes_at(g, w, mul(g, l.i, TILE_BYTES));
    step_emit(t, p, tap, at);
    if (g->ahead) fetch_ahead(g, p, at);
    loop_end(g, &l, NULL);
    Value step = word_i64(g, ROW_BYTES);
    for (int i = 0; i < p->n; i++) tile_store(g, i, bytes_at(g, t->buffer, word_i64(g, i * SIDE * ROW_BYTES)), step);
}

// What becomes of the sums of each token.
static void finish(const Tiles *t, const Places *p, Value lane)
{
    Gen *g = t->g;
    Value stored = first_lanes(g, difference(g, t->width, lane), SIDE);
    Loop l = loop_of(g, difference(g, p->end, p->first));
    Value token = add(g, p->first, l.i), slot = difference(g, table_word(g, t->param[PARAM_SLOTS], token), p->slots);
    Leaving to = leaving_at(t, token, lane);
    Value sum = load(g, floats(g, SIDE), bytes_at(g, t->buffer, mul(g, slot, ROW_BYTES)));
    Value out = finished(t, &to, sum, word_i64(g, 0));
    map_behind(t, &out, 1);
    store_some(g, out, stored, to.out);
    loop_end(g, &l, NULL);
}

// All outputs of the group.
static void block_emit(const Tiles *t, Value tile, int n)
{
    Gen *g = t->g;
    Places p = places_of(t, tile, n);
    Loop outputs = loop_of(g, t->units);
    sums_emit(t, &p, outputs.i);
    finish(t, &p, mul(g, outputs.i, SIDE));
    loop_end(g, &outputs, NULL);
}

// Of one group of outputs. As many blocks as are needed, of nearly as many tiles each: five are three and two.
void tiles_windows_emit(Tiles *t)
{
    Gen *g = t->g;
    tiles_configure(t, word_i64(g, 2 * SIDE));
    t->first = word_i64(g, 0);
    t->width = t->param[PARAM_N];
    t->units = pieces(g, t->width, word_i64(g, SIDE));
    Value tiles = t->param[PARAM_ROWS], blocks = pieces(g, tiles, word_i64(g, SUMS)), most = pieces(g, tiles, blocks);
    Loop l = loop_of(g, blocks);
    Value tile = product_of(g, l.i, most), n = least_word(g, difference(g, tiles, tile), most);
    for (int i = SUMS; i; i--) {
        Loop has = loop_where(g, equal(g, n, i));
        block_emit(t, tile, i);
        loop_end(g, &has, NULL);
    }
    loop_end(g, &l, NULL);
    call_of(g, "llvm.x86.tilerelease", NULL, 0, NULL, 0);
}
