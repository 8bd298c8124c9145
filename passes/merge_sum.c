// merge-linear, sums: x + W2 W1 x, x - 2 v (v . x) and the like are one linear map of x, in double.
//
// Both operands of a sum are followed back through moves of one value, constant products, sums over the last axis,
// and elementwise ops with constants, to the nearest value x that they share. What lies between is affine: the sum is
// A x + b, with A computed by its columns. It replaces the sum where A is square, not diagonal (that is one lane's
// business) and regular: a Householder reflection, which as it was written no rule can invert, becomes a block that
// the solver does. A mean subtracted (LayerNorm) is singular and stays.
#include "pipeline.h"
#include "small_matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LANES = 256, MOST_CHAIN = 24 };
static const double MOST_CONDITION = 1e8;

// The one operand of n that is no constant, if n is affine in it; -1: it is not.
static int affine_operand(const Node *n)
{
    int at = -1;
    for (int k = 0; k < n->n_in; k++) {
        if (!n->in[k] || node_is_const(n->in[k])) continue;
        if (at >= 0) return -1;
        at = k;
    }
    switch ((int)n->op) {
    case OP_move: return n->n_in == 1 ? at : -1;
    case OP_linear: return n->n_in < 4 && n->in[1]->type.rank == 2 ? at : -1;
    case OP_reduce_sum:
    case OP_neg:
    case OP_add:
    case OP_sub:
    case OP_mul: return at;
    case OP_div: return at == 0 ? at : -1;
    default: return -1;
    }
}

// n, and what it is an affine function of, and so on back.
static int chain_of(const Node *n, const Node **chain)
{
    int count = 0;
    for (int k = 0; count < MOST_CHAIN; n = n->in[k]) {
        chain[count++] = n;
        if ((k = affine_operand(n)) < 0 || type_lanes(n->in[k]->type) > MOST_LANES) break;
    }
    return count;
}

// ---- images: n's lanes as affine functions of x's, [lanes + 1][lanes of x's]: the last row is the constant part

typedef struct {
    double *at;
    int64_t inputs, lanes;
} Image;

static double *image_row(const Image *m, int64_t k) { return m->at + k * m->lanes; }

static Image image_new(int64_t inputs, int64_t lanes)
{
    Image m = {calloc((size_t)((inputs + 1) * lanes + 1), sizeof(double)), inputs, lanes};
    if (!m.at) exit(4);
    return m;
}

static Image unit_image(int64_t n)
{
    Image m = image_new(n, n);
    for (int64_t i = 0; i < n; i++) image_row(&m, i)[i] = 1;
    return m;
}

static void through_linear(const Node *n, const double *in, double *out, bool constant)
{
    const Node *w = n->in[1], *bias = n->n_in > 2 ? n->in[2] : NULL;
    int64_t K = w->type.dim[0], N = w->type.dim[1], tokens = type_lanes(n->type) / N;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < N; c++) {
            double sum = constant && bias ? const_at(bias, c) : 0;
            for (int64_t k = 0; k < K; k++)
                if (in[t * K + k] != 0) sum += in[t * K + k] * const_at(w, k * N + c);
            out[t * N + c] = sum;
        }
}

// Lane i of n from its operand's value v there; `constant`: with what n adds.
static double through_lane(const Node *n, int k, int64_t i, double v, bool constant)
{
    double c = n->n_in == 2 ? const_lane(n->in[1 - k], i) : 0;
    switch ((int)n->op) {
    case OP_neg: return -v;
    case OP_mul: return v * c;
    case OP_div: return v / c;
    case OP_add: return constant ? v + c : v;
    default: return k == 0 ? (constant ? v - c : v) : (constant ? c - v : -v); // sub
    }
}

static void through(const Node *n, int k, const double *in, int64_t lanes_in, double *out, bool constant)
{
    int64_t lanes = type_lanes(n->type), width = lanes ? lanes_in / lanes : 0;
    if (n->op == OP_linear) {
        through_linear(n, in, out, constant);
        return;
    }
    for (int64_t i = 0; i < lanes; i++) {
        out[i] = 0;
        if (n->op == OP_reduce_sum)
            for (int64_t j = 0; j < width; j++) out[i] += in[i * width + j];
        else if (n->op == OP_move)
            out[i] = in[n->map ? n->map[i] : i];
        else
            out[i] = through_lane(n, k, i, in[lanes_in == 1 ? 0 : i], constant);
    }
}

// The image of chain[0] in the lanes of chain[from].
static Image image_of(const Node *const *chain, int from)
{
    Image m = unit_image(type_lanes(chain[from]->type));
    for (int s = from - 1; s >= 0; s--) {
        Image next = image_new(m.inputs, type_lanes(chain[s]->type));
        int k = affine_operand(chain[s]);
        for (int64_t i = 0; i <= m.inputs; i++)
            through(chain[s], k, image_row(&m, i), m.lanes, image_row(&next, i), i == m.inputs);
        free(m.at);
        m = next;
    }
    return m;
}

// ---- the sum

static bool regular(const double *a, int64_t n)
{
    double *copy = malloc((size_t)(n * n) * sizeof *copy), *inverse = malloc((size_t)(n * n) * sizeof *inverse);
    if (!copy || !inverse) exit(4);
    memcpy(copy, a, (size_t)(n * n) * sizeof *copy);
    bool ok = invert_matrix(copy, inverse, n).sign && matrix_norm1(a, n) * matrix_norm1(inverse, n) < MOST_CONDITION;
    free(copy);
    free(inverse);
    return ok;
}

static bool diagonal(const double *a, int64_t n)
{
    for (int64_t i = 0; i < n * n; i++)
        if (a[i] != 0 && i % (n + 1)) return false;
    return true;
}

static const Node *product_with(Builder *b, const Node *x, const Node *sum, const double *a)
{
    int64_t n = type_lanes(x->type), line[2] = {1, n}, square[2] = {n, n};
    const Node *w = build_reals(b, type_make(T_F64, 2, square), a), *bias = NULL;
    for (int64_t i = n * n; i < (n + 1) * n && !bias; i++)
        if (a[i] != 0) bias = build_reals(b, type_vector(n), a + n * n);
    const Node *y = build_linear(b, build_reshape(b, x, 2, line), w, bias, NULL);
    return build_reshape(b, y, sum->type.rank, sum->type.dim);
}

// Both name the same lanes in the same order, perhaps in two shapes.
static bool same_value(const Node *a, const Node *b)
{
    if (a == b) return true;
    int64_t lanes = type_lanes(a->type);
    if (a->op != OP_move || b->op != OP_move || a->n_in != b->n_in || lanes != type_lanes(b->type)) return false;
    for (int k = 0; k < a->n_in; k++)
        if (a->in[k] != b->in[k]) return false;
    return a->map == b->map || (a->map && b->map && !memcmp(a->map, b->map, (size_t)lanes * sizeof *a->map));
}

// The place of the nearest value that both chains share, in each; false: there is none.
static bool meeting(const Node *const *p, int n_p, const Node *const *q, int n_q, int *i, int *j)
{
    for (*i = 0; *i < n_p; ++*i)
        for (*j = 0; *j < n_q; ++*j)
            if (same_value(p[*i], q[*j])) return true;
    return false;
}

const Node *merge_affine_sum(Builder *b, const Node *n)
{
    const Node *p[MOST_CHAIN], *q[MOST_CHAIN];
    int64_t lanes = type_lanes(n->type);
    int i, j;
    if ((n->op != OP_add && n->op != OP_sub) || lanes < 2 || lanes > MOST_LANES) return NULL;
    if (!meeting(p, chain_of(n->in[0], p), q, chain_of(n->in[1], q), &i, &j)) return NULL;
    if (type_lanes(p[i]->type) != lanes || node_is_const(p[i])) return NULL;
    if (type_lanes(n->in[0]->type) != lanes || type_lanes(n->in[1]->type) != lanes) return NULL;
    Image left = image_of(p, i), right = image_of(q, j);
    double sign = n->op == OP_add ? 1 : -1;
    for (int64_t k = 0; k < (lanes + 1) * lanes; k++) left.at[k] += sign * right.at[k];
    bool ok = !diagonal(left.at, lanes) && regular(left.at, lanes);
    const Node *y = ok ? product_with(b, p[i], n, left.at) : NULL;
    free(left.at);
    free(right.at);
    return y;
}
