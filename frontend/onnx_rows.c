// Row independence, on numbers: a function instantiated for one row, applied to each of several rows, must give
// what the function instantiated for all of them gives. Both are evaluated in double on random rows.
#include "onnx_import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// How the rows of a value lie in the instantiation for many: [outer][row][inner], or no rows at all.
typedef struct {
    int64_t lanes, outer, inner; // of one row
    bool shared;
} Layout;

// `interleaved`: rows are the inner part of a merged axis instead of the outer.
static bool layout_of(Type one, Type many, int64_t rows, bool interleaved, Layout *l)
{
    int axis = -1;
    if (one.rank != many.rank) return false;
    for (int i = 0; i < one.rank; i++) {
        if (one.dim[i] == many.dim[i]) continue;
        if (axis >= 0 || many.dim[i] != one.dim[i] * rows) return false;
        axis = i;
    }
    *l = (Layout){.lanes = type_lanes(one), .outer = 1, .inner = 1, .shared = axis < 0};
    for (int i = 0; i < one.rank; i++) *(i < axis || (interleaved && i == axis) ? &l->outer : &l->inner) *= one.dim[i];
    return true;
}

static int64_t lane_in_many(const Layout *l, int64_t rows, int64_t row, int64_t lane)
{
    if (l->shared || !l->inner) return lane;
    return (lane / l->inner * rows + row) * l->inner + lane % l->inner;
}

enum { SEED = 12345 };

static double draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

// Most functions are defined on one of the rounds; the wide one leaves the range of splines and squashes.
static double sample(uint64_t *state, DType dtype, int round)
{
    double u = draw(state);
    if (dtype == T_BOOL) return u < 0.5;
    if (dtype == T_I64) return floor(u * 3);
    if (round == ROUND_WIDE) return (draw(state) < 0.5 ? 1 : 6) * (2 * u - 1);
    return round == ROUND_POSITIVE ? 0.05 + 0.9 * u : 1.8 * u - 0.9;
}

bool row_numbers(int n, const Type *one, const Type *many, int64_t rows, int round, double **x, double **y)
{
    uint64_t state = SEED;
    for (int i = 0; i < n; i++) {
        Layout l;
        if (!layout_of(one[i], many[i], rows, false, &l)) return false;
        x[i] = heap_array(l.lanes * rows, sizeof(double));
        y[i] = heap_array(type_lanes(many[i]), sizeof(double));
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; k < l.lanes; k++) {
                double v = r && l.shared ? x[i][k] : sample(&state, one[i].dtype, round);
                x[i][r * l.lanes + k] = v;
                y[i][lane_in_many(&l, rows, r, k)] = v;
            }
    }
    return true;
}

static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-8 * (1 + fabs(a) + fabs(b));
}

static bool output_agrees(Type one, Type many, int64_t rows, bool interleaved, const double *x, const double *y,
                          Mixing *out)
{
    Layout l;
    if (!layout_of(one, many, rows, interleaved, &l)) return false;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < l.lanes; k++) {
            double a = x[r * l.lanes + k], b = y[lane_in_many(&l, rows, r, k)];
            if (same(a, b)) continue;
            out->row = (int)r;
            out->one = a;
            out->many = b;
            return false;
        }
    return true;
}

static const Output *named(const Function *f, int guess, const char *name)
{
    if (guess < f->n_outputs && !strcmp(f->outputs[guess].name, name)) return &f->outputs[guess];
    for (int i = 0; i < f->n_outputs; i++)
        if (!strcmp(f->outputs[i].name, name)) return &f->outputs[i];
    return NULL;
}

static bool compare(const Function *one, const Function *many, int64_t rows, double *const *x, double *const *y,
                    Mixing *out)
{
    for (int i = 0; i < one->n_outputs; i++) {
        const Output *o = named(many, i, one->outputs[i].name);
        if (!o) continue;
        Type a = one->outputs[i].node->type, b = o->node->type;
        const double *ym = y[o - many->outputs];
        if (output_agrees(a, b, rows, false, x[i], ym, out) || output_agrees(a, b, rows, true, x[i], ym, out)) continue;
        out->output = i;
        return false;
    }
    return true;
}

bool rows_agree(const Function *one, const Function *many, int64_t rows, int round, Mixing *out)
{
    int n = one->n_inputs, m = one->n_outputs, w = many->n_outputs;
    double **p = heap_array(2 * n + m + w, sizeof *p);
    Type *types = heap_array(2 * n, sizeof *types);
    double **x = p, **y = p + n, **xo = p + 2 * n, **yo = xo + m;
    for (int i = 0; i < n; i++) {
        types[i] = one->inputs[i]->type;
        types[n + i] = many->inputs[i]->type;
    }
    *out = (Mixing){0};
    bool ok = row_numbers(n, types, types + n, rows, round, x, y);
    for (int i = 0; i < m; i++) xo[i] = heap_array(type_lanes(one->outputs[i].node->type) * rows, sizeof(double));
    for (int i = 0; i < w; i++) yo[i] = heap_array(type_lanes(many->outputs[i].node->type), sizeof(double));
    if (ok) {
        eval_function(one, (size_t)rows, (const double *const *)x, xo, NULL, NULL);
        eval_function(many, 1, (const double *const *)y, yo, NULL, NULL);
        ok = compare(one, many, rows, xo, yo, out);
    }
    for (int i = 0; i < 2 * n + m + w; i++) free(p[i]);
    free(p);
    free(types);
    return ok;
}
