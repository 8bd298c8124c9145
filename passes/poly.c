// Polynomials in a few symbols: see poly.h.
#include "poly.h"

#include <math.h>
#include <string.h>

Poly poly_none(void) { return (Poly){-1, NULL}; }

static bool same_powers(const Term *x, const Term *y) { return !memcmp(x->power, y->power, sizeof x->power); }

Poly poly_number(Arena *a, double v)
{
    if (v == 0) return (Poly){0, NULL};
    Term *t = ARENA_NEW(a, Term);
    t->factor = v;
    return isfinite(v) ? (Poly){1, t} : poly_none();
}

Poly poly_symbol(Arena *a, int symbol)
{
    Term *t = ARENA_NEW(a, Term);
    t->factor = 1;
    t->power[symbol] = 1;
    return (Poly){1, t};
}

bool poly_is_number(Poly p, double v)
{
    static const Term one = {1, {0}};
    if (v == 0) return p.n == 0;
    return p.n == 1 && p.terms[0].factor == v && same_powers(&p.terms[0], &one);
}

// Adds a term to n of them, which have room; terms that cancel to rounding are gone.
static int put(Term *terms, int n, const Term *t)
{
    for (int i = 0; i < n; i++) {
        if (!same_powers(&terms[i], t)) continue;
        double before = fabs(terms[i].factor);
        terms[i].factor += t->factor;
        if (fabs(terms[i].factor) > 1e-13 * before) return n;
        terms[i] = terms[n - 1];
        return n - 1;
    }
    terms[n] = *t;
    return n + 1;
}

static Poly kept(Arena *a, const Term *terms, int n)
{
    if (n > POLY_TERMS) return poly_none();
    return (Poly){n, arena_copy(a, terms, (size_t)n * sizeof *terms)};
}

Poly poly_add(Arena *a, Poly p, double scale, Poly q)
{
    if (!poly_ok(p) || !poly_ok(q)) return poly_none();
    Term terms[2 * POLY_TERMS];
    int n = 0;
    for (int i = 0; i < p.n; i++) n = put(terms, n, &p.terms[i]);
    for (int i = 0; i < q.n; i++) {
        Term t = q.terms[i];
        t.factor *= scale;
        n = put(terms, n, &t);
    }
    return kept(a, terms, n);
}

Poly poly_mul(Arena *a, Poly p, Poly q)
{
    if (!poly_ok(p) || !poly_ok(q)) return poly_none();
    Term terms[POLY_TERMS + 1];
    int n = 0;
    for (int i = 0; i < p.n; i++)
        for (int j = 0; j < q.n; j++) {
            Term t = {p.terms[i].factor * q.terms[j].factor, {0}};
            for (int s = 0; s < POLY_SYMBOLS; s++) {
                int power = p.terms[i].power[s] + q.terms[j].power[s];
                if (power > 32) return poly_none();
                t.power[s] = (int8_t)power;
            }
            n = put(terms, n, &t);
            if (n > POLY_TERMS) return poly_none();
        }
    return kept(a, terms, n);
}

bool poly_equal(Poly p, Poly q)
{
    if (p.n != q.n) return false;
    for (int i = 0; i < p.n; i++) {
        bool found = false;
        for (int j = 0; j < q.n && !found; j++)
            found = p.terms[i].factor == q.terms[j].factor && same_powers(&p.terms[i], &q.terms[j]);
        if (!found) return false;
    }
    return p.n >= 0;
}

int poly_degree(Poly p, int symbol)
{
    int most = 0;
    for (int i = 0; i < p.n; i++)
        if (p.terms[i].power[symbol] > most) most = p.terms[i].power[symbol];
    return most;
}

Poly poly_coefficient(Arena *a, Poly p, int symbol, int power)
{
    if (!poly_ok(p)) return p;
    Term terms[POLY_TERMS];
    int n = 0;
    for (int i = 0; i < p.n; i++) {
        if (p.terms[i].power[symbol] != power) continue;
        terms[n] = p.terms[i];
        terms[n++].power[symbol] = 0;
    }
    return kept(a, terms, n);
}

Term poly_common(Poly p)
{
    Term common = {1, {0}};
    for (int s = 0; s < POLY_SYMBOLS && p.n > 0; s++) {
        common.power[s] = p.terms[0].power[s];
        for (int i = 1; i < p.n; i++)
            if (p.terms[i].power[s] < common.power[s]) common.power[s] = p.terms[i].power[s];
    }
    return common;
}

Poly poly_divide(Arena *a, Poly p, const Term *by)
{
    if (p.n <= 0) return p;
    Term *terms = arena_copy(a, p.terms, (size_t)p.n * sizeof *terms);
    for (int i = 0; i < p.n; i++) {
        terms[i].factor /= by->factor;
        for (int s = 0; s < POLY_SYMBOLS; s++) terms[i].power[s] = (int8_t)(terms[i].power[s] - by->power[s]);
    }
    return (Poly){p.n, terms};
}

// The term that comes first, by the powers of the symbols in order.
static const Term *leading(Poly p)
{
    const Term *first = &p.terms[0];
    for (int i = 1; i < p.n; i++)
        if (memcmp(p.terms[i].power, first->power, sizeof first->power) > 0) first = &p.terms[i];
    return first;
}

Poly poly_quotient(Arena *a, Poly p, Poly by)
{
    if (!poly_ok(p) || by.n <= 0) return poly_none();
    const Term *divisor = leading(by);
    Poly quotient = poly_number(a, 0);
    for (int step = 0; p.n > 0; step++) {
        Term t = *leading(p);
        t.factor /= divisor->factor;
        for (int s = 0; s < POLY_SYMBOLS; s++) {
            if (t.power[s] < divisor->power[s] || step == POLY_TERMS) return poly_none();
            t.power[s] = (int8_t)(t.power[s] - divisor->power[s]);
        }
        Poly part = {1, &t};
        quotient = poly_add(a, quotient, 1, part);
        p = poly_add(a, p, -1, poly_mul(a, part, by));
    }
    return poly_ok(p) ? quotient : p;
}

static int term_sign(const Term *t, const int *sign)
{
    int s = t->factor > 0 ? 1 : -1;
    for (int k = 0; k < POLY_SYMBOLS; k++)
        if (t->power[k] % 2) s *= sign[k];
    return s;
}

int poly_sign(Poly p, const int *sign)
{
    if (p.n <= 0) return 0;
    int first = term_sign(&p.terms[0], sign);
    for (int i = 1; i < p.n; i++)
        if (term_sign(&p.terms[i], sign) != first) return 0;
    return first;
}

// ---- building: the symbol that most terms share is taken out, again and again

static int shared_symbol(const Term *terms, int n)
{
    int best = -1, most = 1;
    for (int s = POLY_SYMBOLS - 1; s >= 0; s--) { // t and u last: what they are compared with stays beside them
        int count = 0;
        for (int i = 0; i < n; i++) count += terms[i].power[s] > 0;
        if (count > most) most = count, best = s;
    }
    return best;
}

static const Node *times(Builder *b, const Node *x, const Node *y) { return x ? build_binary(b, OP_mul, x, y) : y; }

static const Node *build_term(Builder *b, const Term *t, const Node *const *symbols)
{
    const Node *v = NULL;
    for (int s = 0; s < POLY_SYMBOLS; s++)
        for (int k = 0; k < t->power[s]; k++) v = times(b, v, symbols[s]);
    if (!v) return build_scalar(b, fabs(t->factor));
    return fabs(t->factor) == 1 ? v : build_binary(b, OP_mul, v, build_scalar(b, fabs(t->factor)));
}

// The terms with a positive factor first, so that no negation is needed where one is there.
static const Node *build_sum(Builder *b, const Term *terms, int n, const Node *const *symbols)
{
    const Node *sum = NULL;
    for (int sign = 1; sign >= -1; sign -= 2)
        for (int i = 0; i < n; i++) {
            if ((terms[i].factor > 0) != (sign > 0)) continue;
            const Node *v = build_term(b, &terms[i], symbols);
            if (sum)
                sum = build_binary(b, sign > 0 ? OP_add : OP_sub, sum, v);
            else
                sum = sign > 0 ? v : build_unary(b, OP_neg, v);
        }
    return sum ? sum : build_scalar(b, 0);
}

static const Node *build_terms(Builder *b, Term *terms, int n, const Node *const *symbols)
{
    int s = n > 1 ? shared_symbol(terms, n) : -1;
    if (s < 0) return build_sum(b, terms, n, symbols);
    int with = 0;
    for (int i = 0; i < n; i++) { // those with the symbol to the front
        if (!terms[i].power[s]) continue;
        Term t = terms[i];
        t.power[s]--;
        terms[i] = terms[with];
        terms[with++] = t;
    }
    const Node *v = build_binary(b, OP_mul, build_terms(b, terms, with, symbols), symbols[s]);
    return with == n ? v : build_binary(b, OP_add, v, build_terms(b, terms + with, n - with, symbols));
}

const Node *poly_build(Builder *b, Poly p, const Node *const *symbols)
{
    Term terms[POLY_TERMS];
    for (int i = 0; i < p.n; i++) terms[i] = p.terms[i];
    return build_terms(b, terms, p.n < 0 ? 0 : p.n, symbols);
}
