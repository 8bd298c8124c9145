// Operators of TensorFlow that ONNX has not: tf2onnx writes them down under their own names, and so do JAX's flows on
// their way through jax2tf. Log1p and Expm1 are rows of the table alone.
#include "onnx_import.h"

static const double ROOT_2 = 1.4142135623730951;

void import_erfc(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (!x) return;
    const Node *erf = build_unary(c->b, OP_erf, x);
    result(c, 0, op2(c, OP_sub, number(c, 1), erf));
}

// The normal quantile of p: sqrt(2) erfinv(2 p - 1).
void import_ndtri(Call *c, int a)
{
    (void)a;
    const Node *p = arg(c, 0);
    if (!p) return;
    const Node *one = number(c, 1), *both = op2(c, OP_sub, op2(c, OP_mul, p, number(c, 2)), one);
    const Node *root = number(c, ROOT_2);
    result(c, 0, op2(c, OP_mul, build_unary(c->b, OP_erfinv, both), root));
}

// x log(y), 0 where x is 0.
void import_x_times_log(Call *c, int op)
{
    const Node *in[2];
    if (!operands(c, 2, in)) return;
    const Node *product = op2(c, OP_mul, in[0], build_unary(c->b, (Op)op, in[1]));
    const Node *zero = number(c, 0);
    result(c, 0, build_select(c->b, op2(c, OP_eq, in[0], zero), zero, product));
}

// The shape that two shapes have together.
void import_broadcast_args(Call *c, int a)
{
    (void)a;
    Ints in[2];
    if (!ints_arg(c, 0, "shape", &in[0]) || !ints_arg(c, 1, "shape", &in[1])) return;
    int64_t n = in[0].n > in[1].n ? in[0].n : in[1].n, *dim = ARENA_ARRAY(call_arena(c), int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) {
        dim[n - 1 - i] = 1;
        for (int k = 0; k < 2; k++) {
            int64_t own = i < in[k].n ? in[k].v[in[k].n - 1 - i] : 1;
            if (own == 1) continue;
            if (dim[n - 1 - i] != 1 && dim[n - 1 - i] != own) {
                fail(c, DAMAGED, "dims %lld and %lld do not fit", (long long)dim[n - 1 - i], (long long)own);
                return;
            }
            dim[n - 1 - i] = own;
        }
    }
    result(c, 0, build_ints(c->b, n, dim));
}

// The x of A x = b, A the lower or upper triangle of a matrix, or its transpose.
void import_triangular_solve(Call *c, int a)
{
    (void)a;
    const Node *m = arg(c, 0), *b = arg(c, 1);
    if (!m || !b || c->failed) return;
    int64_t rows = type_last(m->type), n = m->type.rank < 2 ? 0 : m->type.dim[m->type.rank - 2];
    bool lower = attr_int(c, "lower", 1) != 0;
    double *kept = ARENA_ARRAY(call_arena(c), double, n *rows + 1);
    for (int64_t i = 0; i < n * rows; i++) kept[i] = lower ? i % rows <= i / rows : i % rows >= i / rows;
    const Node *mask = build_reals(c->b, type_make(T_F32, 2, (int64_t[]){n, rows}), kept);
    const Node *triangle = build_select(c->b, mask, m, number(c, 0)), *inverse = inverse_of(c, triangle);
    if (!inverse) return;
    const Node *x = product(c, attr_int(c, "adjoint", 0) ? swapped(c, inverse) : inverse, b);
    if (x) result(c, 0, x);
}
