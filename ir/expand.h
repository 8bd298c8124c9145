// What expand_math.c, expand_pow.c and noise.c share: short ways to append to a map, and pieces of functions.
#pragma once
#include "plan.h"

static inline int num(MapCode *m, float v) { return map_float(m, v); }
static inline int add(MapCode *m, int a, int b) { return map_op(m, S_fadd, a, b, 0); }
static inline int sub(MapCode *m, int a, int b) { return map_op(m, S_fsub, a, b, 0); }
static inline int mul(MapCode *m, int a, int b) { return map_op(m, S_fmul, a, b, 0); }
static inline int divide(MapCode *m, int a, int b) { return map_op(m, S_fdiv, a, b, 0); }
static inline int fma3(MapCode *m, int a, int b, int c) { return map_op(m, S_fma, a, b, c); }
static inline int less(MapCode *m, int a, int b) { return map_op(m, S_flt, a, b, 0); }
static inline int equal(MapCode *m, int a, int b) { return map_op(m, S_feq, a, b, 0); }
static inline int pick(MapCode *m, int mask, int a, int b) { return map_op(m, S_sel, mask, a, b); }

int math_poly(MapCode *m, int x, int n, const float *c);     // c[0] + c[1] x + ...
int math_pow(MapCode *m, int a, int b);                      // expand_pow.c
int math_log_sum(MapCode *m, int e, int f);                  // e ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt 2)
void math_sincos(MapCode *m, int r, int *sine, int *cosine); // |r| <= 0.8
// Philox4x32-10: ten rounds on `counter` (four words, overwritten by the result) under the key (noise.c).
void math_philox(MapCode *m, int counter[4], const int key[2]);
// Two normals from four random words.
void math_box_muller(MapCode *m, const int w[4], int out[2]);
