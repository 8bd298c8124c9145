// Numbers for the compiler's own checks, from a 64-bit state (SplitMix64: Steele, Lea, Flood 2014). What policies draw
// is ir/noise.c's.
#include "flow.h"

#include "double_math.h"

#include <math.h>

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double draw_uniform(uint64_t *state) { return ((double)(splitmix(state) >> 11) + 0.5) * 0x1p-53; }

// Box-Muller; one of its two normals.
double draw_normal(uint64_t *state)
{
    double u = draw_uniform(state), v = draw_uniform(state);
    return sqrt(-2 * double_log(u)) * double_cos(6.283185307179586 * v);
}

static double draw_number(Type type, uint64_t *state)
{
    double v = draw_normal(state);
    if (type.dtype != T_F32) return v > 0;
    return (double)(float)(type.rank >= 3 ? 0.5 + 0.5 * double_tanh(v) : v);
}

void draw_input(Type type, size_t rows, uint64_t *state, double *out)
{
    size_t n = rows * (size_t)type_lanes(type), last = (size_t)type_last(type);
    for (size_t k = 0; k < n; k++) out[k] = draw_number(type, state);
    for (size_t k = 0; type.dtype == T_BOOL && last > 1 && k < n; k += last) out[k] = out[k + 1] == 0;
}
