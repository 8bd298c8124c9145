// What the files of tiled products share: a function under construction, and what becomes of sums.
#pragma once
#include "compact.h"

enum { SIDE = 16, ROW_BYTES = 64, TILE_BYTES = SIDE * ROW_BYTES, SUMS = 4 }; // SUMS: tiles C0 to C3
enum { BUFFER_FLOATS = SUMS * SIDE * SIDE };

// Parameters: addresses of row 0, null for what is absent; where fetching ahead turns; the tables of windows; rows (of
// windows: tiles) and bytes from one to the next; 32s of inputs; outputs; bytes from the weights to their image; whether
// the function's map is done behind them.
enum {
    PARAM_OUT,
    PARAM_X,
    PARAM_W,
    PARAM_ADD,
    PARAM_SCALE,
    PARAM_BIAS,
    PARAM_END,
    PARAM_NEXT,
    PARAM_PLACES,
    PARAM_TAPS,
    PARAM_FIRSTS,
    PARAM_SLOTS,
    PARAM_ROWS,
    PARAM_OUT_STEP,
    PARAM_X_STEP,
    PARAM_ADD_STEP,
    PARAM_STEPS,
    PARAM_N,
    PARAM_COMPACT,
    PARAM_APPLIES,
    PARAMS
};

// What is added behind the sums or scales them: bytes from row to row and from output to output; whether there is none
// (i1).
typedef struct {
    Value base, row, lane, absent;
} Behind;

typedef struct {
    Gen *g;
    Value param[PARAMS];
    Value config, buffer;
    const MapStep *after;
    Behind add, scale, bias;
    Value alone;        // nothing of these (i1): whole blocks of sums are outputs
    Value first, width; // outputs before the group, and of it
    Value units;        // sixteens of these
    Value row, rows;    // rows before the block, and of it
    Value fetch, lines; // of weights, in each step of 32 inputs; NULL: none
} Tiles;

// ---- product_tiles.c: the instructions. `step`: bytes from a tile's row to the next.
void load_a(Gen *g, int to, Value from, Value step);
void load_b(Gen *g, int to, Value from);    // of weights, which lie together
void tile_dot(Gen *g, int c, int a, int b); // of the tiles with these numbers
void tile_zero(Gen *g, int c);
void tile_store(Gen *g, int c, Value to, Value step);
void tiles_configure(const Tiles *t, Value rows); // the shapes of all tiles for a block of so many rows, up to 32

// ---- product_tiles.c
Loop tile_groups(Tiles *t); // of outputs: sets first, width and units
// Of sixteen `unit` of the group's outputs, or of the last one before it: a tile for every 32 inputs.
Value tile_weights(const Tiles *t, Value unit);
// From a sixteen of outputs on, of one row.
typedef struct {
    Value add, scale, bias, out; // addresses; scale: the number, spread
} Leaving;
Leaving leaving_at(const Tiles *t, Value row, Value lane);
Value finished(const Tiles *t, const Leaving *l, Value sum, Value unit); // what becomes of the sums of sixteen `unit`
void map_behind(const Tiles *t, Value *out, int n);

// ---- product_tiles_one.c, product_tiles_windows.c
void tiles_one_emit(Tiles *t);
void tiles_windows_emit(Tiles *t);
