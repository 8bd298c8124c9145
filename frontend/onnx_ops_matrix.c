// Determinants and inverses of small matrices: of constants in double, at import; of computed values by elimination
// written as nodes (build_solve).
#include "double_math.h"
#include "onnx_import.h"
#include "small_matrix.h"

// The inverse and determinant of each matrix of a constant x[..., n, n].
static bool dense(Call *c, const Node *x, double **inverse, Determinant **det)
{
    int64_t n = type_last(x->type), count = n ? type_lanes(x->type) / (n * n) : 0;
    if (!charge_work(c, (double)count * (double)(n * n) * (double)n)) return false;
    *inverse = ARENA_ARRAY(call_arena(c), double, type_lanes(x->type) + 1);
    *det = ARENA_ARRAY(call_arena(c), Determinant, count + 1);
    double *m = ARENA_ARRAY(call_arena(c), double, n *n + 1);
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < n * n; i++) m[i] = const_at(x, k * n * n + i);
        (*det)[k] = invert_matrix(m, *inverse + k * n * n, n);
    }
    return true;
}

enum { MOST_CONSTANT = 4096 }; // rows of a matrix that is computed with here

// x, [..., n, n]; computed ones have few rows.
static const Node *square(Call *c, const Node *x)
{
    if (!x) return NULL;
    Type t = x->type;
    if (t.rank < 2 || t.dim[t.rank - 1] != t.dim[t.rank - 2])
        return fail(c, DAMAGED, "%s is not a square matrix", type_text(call_arena(c), t));
    int64_t n = type_last(t);
    if (n > MOST_CONSTANT)
        return fail(c, "export its determinant or inverse as a constant",
                    "a matrix of %lld rows is not supported here; the most are %d", (long long)n, MOST_CONSTANT);
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

static void constant_det(Call *c, const Node *x, Type t)
{
    double *inverse;
    Determinant *det;
    if (!dense(c, x, &inverse, &det)) return;
    double *value = ARENA_ARRAY(call_arena(c), double, type_lanes(t) + 1);
    for (int64_t i = 0; i < type_lanes(t); i++) value[i] = (det[i].sign < 0 ? -1 : 1) * double_exp(det[i].log_size);
    result(c, 0, build_reals(c->b, t, value));
}

void import_det(Call *c, int a)
{
    (void)a;
    const Node *x = square(c, arg(c, 0)), *sign = NULL;
    if (!x) return;
    Type t = type_make(T_F32, x->type.rank - 2, x->type.dim);
    if (node_is_const(x)) {
        constant_det(c, x, t);
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

const Node *inverse_of(Call *c, const Node *x)
{
    double *inverse;
    Determinant *det;
    if (!square(c, x)) return NULL;
    if (!node_is_const(x)) return computed_inverse(c, x);
    if (!dense(c, x, &inverse, &det)) return NULL;
    int64_t n = type_last(x->type), count = n ? type_lanes(x->type) / (n * n) : 0;
    for (int64_t i = 0; i < count; i++)
        if (!det[i].sign) return fail(c, "a flow needs invertible matrices", "the matrix is singular");
    return build_reals(c->b, x->type, inverse);
}

void import_inverse(Call *c, int a)
{
    (void)a;
    result(c, 0, inverse_of(c, arg(c, 0)));
}
