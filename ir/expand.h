// What expand_*.c and noise.c share: short ways to append to a map, and pieces of functions.
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

static const float MAGIC = 0x1.8p23f, INF = __builtin_inff();
static const uint32_t SIGN = 0x80000000u, REST = 0x7fffffffu, ONE = 0x3f800000u, HALF_ROOT = 0x3f3504f3u; // sqrt(1/2)

static inline int magnitude(MapCode *m, int x) { return map_op(m, S_and, x, map_imm(m, REST), 0); }
static inline int sign_bit(MapCode *m, int x) { return map_op(m, S_and, x, map_imm(m, SIGN), 0); }
static inline int negate(MapCode *m, int x) { return map_op(m, S_xor, x, map_imm(m, SIGN), 0); }
static inline int with_sign(MapCode *m, int x, int sign)
{
    return map_op(m, S_or, x, sign, 0);
} // x has a clear sign bit
static inline int shift_left(MapCode *m, int x, uint32_t n) { return map_op(m, S_shl, x, map_imm(m, n), 0); }
static inline int add_word(MapCode *m, int x, uint32_t word) { return map_op(m, S_iadd, x, map_imm(m, word), 0); }
static inline int sub_word(MapCode *m, int x, uint32_t word) { return map_op(m, S_isub, x, map_imm(m, word), 0); }
// A NaN passes both.
static inline int at_least(MapCode *m, int x, float low) { return pick(m, less(m, x, num(m, low)), num(m, low), x); }
static inline int at_most(MapCode *m, int x, float high) { return pick(m, less(m, num(m, high), x), num(m, high), x); }

int math_poly(MapCode *m, int x, int n, const float *c); // c[0] + c[1] x + ...
#define POLY(m, x, ...) \
    math_poly(m, x, (int)(sizeof((const float[]){__VA_ARGS__}) / sizeof(float)), (const float[]){__VA_ARGS__})

int math_pow(MapCode *m, int a, int b); // expand_pow.c
int math_sin(MapCode *m, int x);        // expand_circle.c
int math_cos(MapCode *m, int x);
int math_tan(MapCode *m, int x);
int math_asin(MapCode *m, int x);
int math_acos(MapCode *m, int x);
int math_atan(MapCode *m, int x);
int math_log_sum(MapCode *m, int e, int f);                  // e ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt 2)
void math_sincos(MapCode *m, int r, int *sine, int *cosine); // |r| <= 0.8
// Philox4x32-10: ten rounds on `counter` (four words, overwritten by the result) under the key (noise.c).
void math_philox(MapCode *m, int counter[4], const int key[2]);
// Two normals from four random words.
void math_box_muller(MapCode *m, const int w[4], int out[2]);
