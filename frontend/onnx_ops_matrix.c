// Determinants and inverses of small matrices: of constants in double, at import; of computed values by elimination
// written as nodes (build_solve).
#include "onnx_import.h"

#include <math.h>

// Gaussian elimination with partial pivoting of m[n][n]; the right side r[n][n] is reduced along. Returns det.
static double eliminate(int64_t n, double *m, double *r)
{
    double det = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t p = k;
        for (int64_t i = k + 1; i < n; i++)
            if (fabs(m[i * n + k]) > fabs(m[p * n + k])) p = i;
        if (m[p * n + k] == 0) return 0;
        for (int64_t j = 0; j < n && p != k; j++) {
            double t = m[k * n + j], u = r[k * n + j];
            m[k * n + j] = m[p * n + j], m[p * n + j] = t;
            r[k * n + j] = r[p * n + j], r[p * n + j] = u;
        }
        det *= p != k ? -m[k * n + k] : m[k * n + k];
        double pivot = m[k * n + k];
        for (int64_t j = 0; j < n; j++) m[k * n + j] /= pivot, r[k * n + j] /= pivot;
        for (int64_t i = 0; i < n; i++) {
            double f = m[i * n + k];
            for (int64_t j = 0; i != k && f != 0 && j < n; j++)
                m[i * n + j] -= f * m[k * n + j], r[i * n + j] -= f * r[k * n + j];
        }
    }
    return det;
}

// The inverse and determinant of each matrix of a constant x[..., n, n].
static bool dense(Call *c, const Node *x, double **inverse, double **det)
{
    int64_t n = type_last(x->type), count = n ? type_lanes(x->type) / (n * n) : 0;
    if (!charge_work(c, (double)count * (double)(n * n) * (double)n)) return false;
    *inverse = ARENA_ARRAY(call_arena(c), double, type_lanes(x->type) + 1);
    *det = ARENA_ARRAY(call_arena(c), double, count + 1);
    double *m = ARENA_ARRAY(call_arena(c), double, n *n + 1);
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < n * n; i++) {
            m[i] = const_at(x, k * n * n + i);
            (*inverse)[k * n * n + i] = i / n == i % n;
        }
        (*det)[k] = eliminate(n, m, *inverse + k * n * n);
    }
    return true;
}

// The operand, [..., n, n]; computed ones have few rows.
static const Node *square_arg(Call *c)
{
    const Node *x = arg(c, 0);
    if (!x) return NULL;
    Type t = x->type;
    if (t.rank < 2 || t.dim[t.rank - 1] != t.dim[t.rank - 2] || t.dim[t.rank - 1] > 4096)
        return fail(c, DAMAGED, "%s is not a square matrix", type_text(call_arena(c), t));
    int64_t n = type_last(t);
    if (!node_is_const(x) && n > MOST_SOLVED)
        return fail(c, "give the matrix as a product of triangular ones, whose determinants are products",
                    "a determinant or an inverse of %lld computed rows is not supported; the most are %d", (long long)n,
                    MOST_SOLVED);
    if (!node_is_const(x) && (!n || !charge(c, 8 * type_lanes(t) * n))) return NULL;
    return x;
}

// The computed matrices x[..., n, n] side by side: [m, n, n].
static const Node *side_by_side(Call *c, const Node *x)
{
    int64_t n = type_last(x->type);
    return build_reshape(c->b, x, 3, (int64_t[]){type_lanes(x->type) / (n * n), n, n});
}

void import_det(Call *c, int a)
{
    (void)a;
    const Node *x = square_arg(c), *sign = NULL;
    double *inverse = NULL, *det = NULL;
    if (!x) return;
    Type t = type_make(T_F32, x->type.rank - 2, x->type.dim);
    if (node_is_const(x)) {
        if (dense(c, x, &inverse, &det)) result(c, 0, build_reals(c->b, t, det));
        return;
    }
    const Node *pivots = build_pivots(c->b, side_by_side(c, x), &sign),
               *size = build_reduce(c->b, OP_reduce_prod, pivots);
    const Node *value = build_binary(c->b, OP_mul, size, build_reshape(c->b, sign, 1, &size->type.dim[0]));
    result(c, 0, build_reshape(c->b, value, t.rank, t.dim));
}

static const Node *computed_inverse(Call *c, const Node *x)
{
    const Node *squares = side_by_side(c, x);
    int64_t n = type_last(x->type), unit[2] = {n, n};
    double *ones = ARENA_ARRAY(call_arena(c), double, n *n);
    for (int64_t i = 0; i < n; i++) ones[i * n + i] = 1;
    const Node *all = build_broadcast(c->b, build_reals(c->b, type_make(T_F32, 2, unit), ones), 3, squares->type.dim);
    return build_reshape(c->b, build_solve(c->b, squares, all), x->type.rank, x->type.dim);
}

void import_inverse(Call *c, int a)
{
    (void)a;
    const Node *x = square_arg(c);
    double *inverse = NULL, *det = NULL;
    if (!x) return;
    if (!node_is_const(x)) {
        result(c, 0, computed_inverse(c, x));
        return;
    }
    if (!dense(c, x, &inverse, &det)) return;
    int64_t n = type_last(x->type), count = n ? type_lanes(x->type) / (n * n) : 0;
    for (int64_t i = 0; i < count; i++)
        if (det[i] == 0 || !isfinite(det[i])) {
            fail(c, "a flow needs invertible matrices", "the matrix is singular");
            return;
        }
    result(c, 0, build_reals(c->b, x->type, inverse));
}
