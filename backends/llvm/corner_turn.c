// Corner turn: an argument of a map of T = 1 that lies the other way, runs side by side and its lanes rows apart, as a
// convolution leaves its channels at each place. A block of width runs by width lanes is loaded as it lies, transposed
// in registers and left in a buffer, run after run; one lane at a time would come from a line of its own.
//
//     to[j][i] = from[i * step + j]    0 <= i, j < width; of lanes behind the last one, the last one
//
// log2(width) rounds of shuffles: round s swaps, in each pair of rows s apart, the slots of the upper row whose number
// has bit s clear with those of the lower row whose number has it set.
#include "llvm.h"

enum { PARAM_TO, PARAM_FROM, PARAM_STEP, PARAM_LANES, PARAMS };

LLVMTypeRef turn_type(Gen *g)
{
    LLVMTypeRef list[PARAMS] = {g->ptr, g->ptr, g->i64, g->i64};
    return LLVMFunctionType(g->none, list, PARAMS, false);
}

static void swap_round(Gen *g, Value *row, int width, int s)
{
    int low[MOST_SLOTS], high[MOST_SLOTS];
    for (int j = 0; j < width; j++) {
        low[j] = j & s ? width + j - s : j;
        high[j] = j & s ? width + j : j + s;
    }
    for (int i = 0; i < width; i++) {
        if (i & s) continue;
        Value a = row[i], b = row[i + s];
        row[i] = shuffled(g, a, b, low, width);
        row[i + s] = shuffled(g, a, b, high, width);
    }
}

// The body. `step`: bytes from lane to lane; `lanes`: how many there are, at least 1.
void turn_emit(Gen *g)
{
    int width = map_width(&g->info);
    Value row[MOST_SLOTS], from = LLVMGetParam(g->fn, PARAM_FROM), left = LLVMGetParam(g->fn, PARAM_LANES);
    for (int i = 0; i < width; i++) {
        row[i] = load(g, floats(g, width), from);
        Value more = exceeds(g, left, i + 1);
        from = bytes_at(g, from, where(g, more, LLVMGetParam(g->fn, PARAM_STEP), word_i64(g, 0)));
    }
    for (int s = 1; s < width; s *= 2) swap_round(g, row, width, s);
    for (int j = 0; j < width; j++)
        store(g, row[j], bytes_at(g, LLVMGetParam(g->fn, PARAM_TO), word_i64(g, (int64_t)j * width * 4)));
}

void turn_call(Gen *g, Value to, Value from, int64_t step, Value lanes)
{
    Value args[PARAMS] = {to, from, word_i64(g, step), lanes};
    LLVMBuildCall2(g->b, turn_type(g), g->turn_block, args, PARAMS, "");
}
