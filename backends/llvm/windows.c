// A product whose tokens are windows of a picture reads them where they lie (plan.h). One table says where each token's
// window begins, its place; the other how far behind that each of its inputs lies, its tap, which is the same for all.
//
//     input k of token m   =   x[places[m] + taps[k]]
#include "llvm.h"

bool windows_even(const Gen *g, const GemmStep *s) { return s->picture && plan_taps_are_runs(g->plan, s, 16); }

Windows windows_operand(Gen *g, const GemmStep *s)
{
    Windows w = {0};
    if (!s->picture) return w;
    w.places = operand(g, SPACE_CONST).base;
    w.taps = operand(g, SPACE_CONST).base;
    w.even = windows_even(g, s);
    if (!s->tiles) return w;
    w.firsts = operand(g, SPACE_CONST).base;
    w.slots = operand(g, SPACE_CONST).base;
    return w;
}

Operand window_at(Gen *g, const Windows *w, Operand x, Value token)
{
    return operand_at(g, x, table_word(g, w->places, token));
}

Value window_tap(Gen *g, const Windows *w, Value input) { return table_word(g, w->taps, input); }

Windows windows_from(Gen *g, Windows w, Value input)
{
    if (w.taps) w.taps = bytes_at(g, w.taps, mul(g, input, 4));
    return w;
}
