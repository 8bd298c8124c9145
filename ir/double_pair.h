// Pairs of doubles, what the elementary functions of double_math.h are made of.
//
// A Pair (a double-double) is a number as an unevaluated sum hi + lo, |lo| <= half a unit of hi: about 106 bits. Sums and products of two
// doubles are exact Pairs (Knuth; Dekker with Veltkamp's split), so nothing here depends on fused operations, which the
// build forbids anyway.
#pragma once
#include "float_bits.h"

#include <math.h>

typedef struct {
    double hi, lo;
} Pair;

static inline Pair ordered_sum(double a, double b) // |a| >= |b| or a = 0
{
    double s = a + b;
    return (Pair){s, b - (s - a)};
}

static inline Pair exact_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (Pair){s, (a - (s - t)) + (b - t)};
}

static inline Pair exact_product(double a, double b)
{
    double s = 0x1p27 + 1, p = a * b;
    double ah = a * s - (a * s - a), bh = b * s - (b * s - b), al = a - ah, bl = b - bh;
    return (Pair){p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

static inline Pair add(Pair a, Pair b)
{
    Pair s = exact_sum(a.hi, b.hi);
    return ordered_sum(s.hi, s.lo + (a.lo + b.lo));
}

static inline Pair mul(Pair a, Pair b)
{
    Pair p = exact_product(a.hi, b.hi);
    return ordered_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static inline Pair quotient(Pair a, Pair b)
{
    double q = a.hi / b.hi;
    Pair p = exact_product(q, b.hi);
    return ordered_sum(q, (((a.hi - p.hi) - p.lo) + (a.lo - q * b.lo)) / b.hi);
}

static inline Pair root(Pair a)
{
    double s = sqrt(a.hi);
    if (!(s > 0)) return (Pair){s, 0};
    Pair p = exact_product(s, s);
    return ordered_sum(s, (((a.hi - p.hi) - p.lo) + a.lo) / (2 * s));
}

static inline Pair one(double x) { return (Pair){x, 0}; }
static inline Pair negative(Pair a) { return (Pair){-a.hi, -a.lo}; }
static inline Pair times(Pair a, double power_of_2) { return (Pair){a.hi * power_of_2, a.lo * power_of_2}; }
static inline double rounded(Pair a) { return a.hi + a.lo; }

static inline double power_of_2(int k) { return double_of((uint64_t)(k + 1023) << 52); } // -1022 <= k <= 1023

static inline double scaled(double x, int k) // |k| <= 2044; one rounding, x being a normal number
{
    return x * power_of_2(k / 2) * power_of_2(k - k / 2);
}

// a[0] + x (a[1] + x (a[2] + ...))
static inline double horner(double x, const double *a, int n)
{
    double s = a[n - 1];
    for (int i = n - 2; i >= 0; i--) s = a[i] + x * s;
    return s;
}
