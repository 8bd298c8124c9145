// What expand_math.c and expand_pow.c share: one-letter-short ways to append to a map, and the polynomial.
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

int math_poly(MapCode *m, int x, int n, const float *c);
int math_pow(MapCode *m, int a, int b); // expand_pow.c
