// Polynomials in a few symbols with real coefficients: what the solver knows of a rational function (one_lane.c).
//
// Symbols stand for lanes. Terms are kept apart, so that equal ones cancel exactly: the derivative of a rational
// quadratic spline comes out as a sum of positive terms, not as a difference of large ones.
#pragma once
#include "ir.h"

enum { POLY_SYMBOLS = 16, POLY_TERMS = 256 };

typedef struct {
    double factor;
    int8_t power[POLY_SYMBOLS];
} Term;

// n = -1: not a polynomial (too large, or made from such a one).
typedef struct {
    int n;
    const Term *terms;
} Poly;

static inline bool poly_ok(Poly p) { return p.n >= 0; }
Poly poly_none(void);
Poly poly_number(Arena *a, double v);
Poly poly_symbol(Arena *a, int symbol);
bool poly_is_number(Poly p, double v);
bool poly_equal(Poly p, Poly q);
Poly poly_add(Arena *a, Poly p, double scale, Poly q); // p + scale q
Poly poly_mul(Arena *a, Poly p, Poly q);
int poly_degree(Poly p, int symbol);
Poly poly_coefficient(Arena *a, Poly p, int symbol, int power); // of symbol^power
// The largest power product that divides every term; poly_divide takes it (or another such one) off.
Term poly_common(Poly p);
Poly poly_divide(Arena *a, Poly p, const Term *by);
Poly poly_quotient(Arena *a, Poly p, Poly by); // p / by where nothing is left over, else none
// 1 where all terms are > 0, -1 where all are < 0, given the signs of the symbols (0: unknown); 0: not decided.
int poly_sign(Poly p, const int *sign);
// Its value, given the symbols' values (vectors of equal length or one lane).
const Node *poly_build(Builder *b, Poly p, const Node *const *symbols);
