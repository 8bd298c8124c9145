// Linear algebra: matrix products, and running sums, which are products with a triangle of ones.
#include "onnx_import.h"

#include <math.h>
#include <string.h>

// A weight matrix, transposed once for both instantiations.
static const Node *transposed_weights(Call *c, const Node *x)
{
    Source *s = c->im->source;
    int64_t dim[2] = {x->type.dim[1], x->type.dim[0]};
    for (struct Transposed *t = s->transposed; t; t = t->next)
        if (t->from == x->data) return build_const(c->b, type_make(x->type.dtype, 2, dim), t->to);
    const Node *y = build_transpose(c->b, x, (int[]){1, 0});
    struct Transposed *t = ARENA_NEW(call_arena(c), struct Transposed);
    *t = (struct Transposed){s->transposed, x->data, y->data};
    s->transposed = t;
    return y;
}

const Node *swapped(Call *c, const Node *x)
{
    int perm[MAX_RANK], r = x->type.rank;
    if (r == 2 && x->type.dim[0] > 16 && x->type.dim[1] > 16 && node_is_const(x)) return transposed_weights(c, x);
    for (int a = 0; a < r; a++) perm[a] = a;
    perm[r - 1] = r - 2;
    perm[r - 2] = r - 1;
    return build_transpose(c->b, x, perm);
}

static const Node *times(Call *c, const Node *x, double v)
{
    return !x || v == 1 ? x : build_binary(c->b, OP_mul, x, build_scalar(c->b, v));
}

// ---- products

// MatMul by NumPy's rules: a vector is a row on the left and a column on the right.
static const Node *matmul(Call *c, const Node *a, const Node *w)
{
    int ra = a->type.rank, rw = w->type.rank;
    if (!ra || !rw) return fail(c, DAMAGED, "a product with a scalar");
    if (ra == 1) a = build_reshape(c->b, a, 2, (int64_t[]){1, a->type.dim[0]});
    if (rw == 1) w = build_reshape(c->b, w, 2, (int64_t[]){w->type.dim[0], 1});
    const Node *y = product(c, a, w);
    if (!y || (ra > 1 && rw > 1)) return y;
    Type t = y->type;
    if (rw == 1) t.rank--;
    if (ra == 1) {
        if (rw > 1) t.dim[t.rank - 2] = t.dim[t.rank - 1];
        t.rank--;
    }
    return build_reshape(c->b, y, t.rank, t.dim);
}

// Leading (batch) dims of the two operands, without the rows of a fixed batch.
static bool matrix_operands(Call *c, const Node **a, const Node **w)
{
    if (!(*a = arg(c, 0)) || !(*w = arg(c, 1))) return false;
    if ((*a)->type.rank < 3 && (*w)->type.rank < 3) return true;
    for (int back = 3; back <= (*w)->type.rank && c->im->fixed && back <= (*a)->type.rank; back++) {
        int aa = (*a)->type.rank - back, wa = (*w)->type.rank - back;
        if (shrinks(c, 0, aa) && (*w)->type.dim[wa] == many_dim(c, 0, aa))
            *w = build_slice(c->b, *w, wa, 0, (*a)->type.dim[aa], 1);
        else if (shrinks(c, 1, wa) && (*a)->type.dim[aa] == many_dim(c, 1, wa))
            *a = build_slice(c->b, *a, aa, 0, (*w)->type.dim[wa], 1);
    }
    return true;
}

void import_matmul(Call *c, int unused)
{
    (void)unused;
    const Node *a = NULL, *w = NULL;
    if (matrix_operands(c, &a, &w)) result(c, 0, matmul(c, a, w));
}

// An operand of the fused product: [M, B..., K] -> [B..., M, K] where its batch is transposed, then the last two axes.
static const Node *fused_operand(Call *c, const Node *x, const char *batch, const char *last)
{
    int perm[MAX_RANK], r = x->type.rank;
    bool first_last = attr_int(c, batch, 0) != 0, swap = attr_int(c, last, 0) != 0;
    if (r < 2) return first_last || swap ? fail(c, DAMAGED, "a vector is transposed") : x;
    for (int i = 0; i < r - 2; i++) perm[i] = i + 1;
    perm[r - 2] = 0;
    perm[r - 1] = r - 1;
    if (first_last) x = build_transpose(c->b, x, perm);
    return swap ? swapped(c, x) : x;
}

void import_fused_matmul(Call *c, int unused)
{
    (void)unused;
    const Node *a = arg(c, 0), *w = arg(c, 1);
    bool aligned = !attr_int(c, "transBatchA", 0) && !attr_int(c, "transBatchB", 0);
    if (!a || !w || (aligned && !matrix_operands(c, &a, &w))) return;
    a = fused_operand(c, a, "transBatchA", "transA");
    w = fused_operand(c, w, "transBatchB", "transB");
    if (a && w) result(c, 0, times(c, matmul(c, a, w), attr_real(c, "alpha", 1)));
}

// Constant term of a product as the bias of a linear, f32[n]; NULL if it is not one.
static const Node *as_bias(Call *c, const Node *term, int64_t n)
{
    if (!node_is_const(term)) return NULL;
    int64_t lanes = type_lanes(term->type);
    if (lanes != type_last(term->type) || (lanes != n && lanes != 1)) return NULL;
    return build_broadcast(c->b, build_reshape(c->b, term, 1, &lanes), 1, &n);
}

// alpha A B + beta C; NULL: it failed.
static const Node *gemm(Call *c)
{
    const Node *a = arg(c, 0), *w = arg(c, 1), *term = optional(c, 2), *bias = NULL;
    double alpha = attr_real(c, "alpha", 1), beta = attr_real(c, "beta", 1);
    if (!a || !w || c->failed) return NULL;
    if (a->type.rank != 2 || w->type.rank != 2) {
        fail(c, DAMAGED, "its operands are not matrices");
        return NULL;
    }
    if (attr_int(c, "transA", 0)) a = swapped(c, a);
    if (attr_int(c, "transB", 0)) w = swapped(c, w);
    if (alpha != 1) node_is_const(w) ? (w = times(c, w, alpha)) : (a = times(c, cast_real(c, a), alpha));
    const Node *y = product(c, a, w);
    if (!y || !term || beta == 0) return y;
    if (!finite_weights(c, term, "biases")) return NULL;
    term = times(c, unbaked(c, 3, 2, term), beta);
    if (node_is_const(w) && !node_is_const(a)) bias = as_bias(c, term, w->type.dim[1]);
    Type t;
    if (bias) return build_linear(c->b, a, w, bias, NULL);
    return broadcast_ok(c, 2, (const Node *const[]){y, term}, &t) ? build_binary(c->b, OP_add, y, term) : NULL;
}

void import_gemm(Call *c, int unused)
{
    (void)unused;
    const Node *y = gemm(c);
    if (y) result(c, 0, y);
}

// As ONNX Runtime's optimiser writes a product and the activation behind it.
void import_fused_gemm(Call *c, int unused)
{
    (void)unused;
    const Node *y = activated(c, gemm(c));
    if (y) result(c, 0, y);
}

// ---- running sums: a product with a triangle of ones, which the solver inverts like any other

void import_cum_sum(Call *c, int unused)
{
    (void)unused;
    const Node *x = arg(c, 0);
    int64_t axis64 = 0;
    int axis = 0;
    if (!x || !int_arg(c, 1, "axis", &axis64) || !axis_of(c, axis64, x->type.rank, &axis)) return;
    bool exclusive = attr_int(c, "exclusive", 0) != 0, reverse = attr_int(c, "reverse", 0) != 0;
    int64_t n = x->type.dim[axis];
    if (!affordable(c, 2, (int64_t[]){n, n})) return;
    double *ones = ARENA_ARRAY(call_arena(c), double, n *n + 1);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) ones[i * n + j] = (reverse ? i > j : i < j) || (i == j && !exclusive);
    LastAxes l = last_axes(x, 1, (int64_t[]){axis});
    const Node *lines = to_last(c, x, &l), *w = build_reals(c->b, type_make(T_F32, 2, (int64_t[]){n, n}), ones);
    if (!lines || !charge_work(c, (double)type_lanes(x->type) * (double)n)) return;
    const Node *y = from_last(c, build_linear(c->b, lines, w, NULL, NULL), &l);
    result(c, 0, build_cast(c->b, y, x->type.dtype == T_F64 ? T_F32 : x->type.dtype));
}
