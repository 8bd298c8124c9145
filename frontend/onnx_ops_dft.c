// The discrete Fourier transform along one axis of a constant length: a product with a constant matrix of cosines and
// sines. Numbers are real, [.., 1], or complex, [.., 2].
//
//   y[m] = sum_k x[k] e^(-2 pi i k m / L)     inverse: + in the exponent, divided by L
//   one side: L / 2 + 1 of the y[m] of a real x; its inverse is real, and counts all but k = 0 and L / 2 twice
#include "double_math.h"
#include "onnx_import.h"

static const double TWO_PI = 6.283185307179586;

typedef struct {
    int64_t n, parts, length; // of x: numbers, each of 1 or 2 parts; L
    int64_t n_out, parts_out;
    bool inverse, one_side;
} Transform;

// What part p of x[k] adds to part q of y[m].
static double weight(const Transform *t, int64_t k, int64_t p, int64_t m, int64_t q)
{
    bool half = t->inverse && t->one_side;
    if (k >= (half ? t->length / 2 + 1 : t->length)) return 0;
    double angle = (t->inverse ? TWO_PI : -TWO_PI) * (double)(k * m % t->length) / (double)t->length;
    double v = p == q ? double_cos(angle) : q ? double_sin(angle) : -double_sin(angle);
    if (half && k && 2 * k != t->length) v *= 2;
    return t->inverse ? v / (double)t->length : v;
}

static const Node *matrix(Call *c, const Transform *t)
{
    int64_t rows = t->n * t->parts, columns = t->n_out * t->parts_out;
    if (!charge(c, rows * columns)) return NULL;
    double *w = ARENA_ARRAY(call_arena(c), double, rows *columns + 1);
    for (int64_t i = 0; i < rows * columns; i++) {
        int64_t r = i / columns, s = i % columns;
        w[i] = weight(t, r / t->parts, r % t->parts, s / t->parts_out, s % t->parts_out);
    }
    return build_reals(c->b, type_make(T_F32, 2, (int64_t[]){rows, columns}), w);
}

static bool find_transform(Call *c, const Node *x, int axis, Transform *t)
{
    *t = (Transform){.n = x->type.dim[axis], .parts = type_last(x->type)};
    t->inverse = attr_int(c, "inverse", 0) != 0;
    t->one_side = attr_int(c, "onesided", 0) != 0;
    t->length = t->inverse && t->one_side ? 2 * (t->n - 1) : t->n;
    if (has_arg(c, 1) && !int_arg(c, 1, "dft_length", &t->length)) return false;
    if (t->parts < 1 || t->parts > 2 || t->length < 1) return fail(c, DAMAGED, "its operand is no series of numbers");
    t->n_out = t->one_side && !t->inverse ? t->length / 2 + 1 : t->length;
    t->parts_out = t->one_side && t->inverse ? 1 : 2;
    return true;
}

void import_dft(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t axis64 = attr_int(c, "axis", c->opset < 20 ? 1 : -2);
    int axis = 0, perm[MAX_RANK], back[MAX_RANK];
    Transform t;
    if (!x || (has_arg(c, 2) && !int_arg(c, 2, "axis", &axis64)) || !axis_of(c, axis64, x->type.rank, &axis)) return;
    int rank = x->type.rank;
    if (!find_transform(c, x, axis, &t)) return;
    if (axis == rank - 1) {
        fail(c, DAMAGED, "its axis is that of the parts of its numbers");
        return;
    }
    for (int i = 0; i < rank; i++) perm[i] = i < axis ? i : i == rank - 2 ? axis : i == rank - 1 ? i : i + 1;
    for (int i = 0; i < rank; i++) back[perm[i]] = i;
    const Node *series = build_transpose(c->b, x, perm), *w = matrix(c, &t);
    if (!w || !charge_work(c, (double)type_lanes(x->type) * (double)(t.n_out * t.parts_out))) return;
    int64_t dim[MAX_RANK];
    for (int i = 0; i < rank - 2; i++) dim[i] = series->type.dim[i];
    dim[rank - 2] = t.n * t.parts;
    const Node *y = build_linear(c->b, build_reshape(c->b, series, rank - 1, dim), w, NULL, NULL);
    dim[rank - 2] = t.n_out;
    dim[rank - 1] = t.parts_out;
    result(c, 0, build_transpose(c->b, build_reshape(c->b, y, rank, dim), back));
}
