// The products of the double interpreter: nearly all of its time.
//
//     out[m][j][r] = sum over k of w[k][j] * x[m][k][r]      k rising from +0, each product rounded, then added
//
// A weight of zero hides whatever it meets, also what is not finite; where all of x is finite it changes no sum, so it
// is not looked for. Four outputs at a time: their weights are put side by side as doubles (a panel), and the sums of
// eight rows stay in registers. Few rows have no such blocks: vectors run along the outputs instead. The loops are
// built twice, with AVX2 where the host has it; neither fuses, so both give the same bits.
//
// A product of two values (attention) is the same sum with y[k][j][r] in the weight's place, a zero in x hiding y.
#include "eval.h"

#include <stdlib.h>
#include <string.h>

enum { ACROSS = 4, LINE = 16, FEW = 4 };

typedef double Four __attribute__((vector_size(32)));
typedef double FourAt __attribute__((vector_size(32), aligned(8), may_alias)); // anywhere in memory
typedef float FourFloats __attribute__((vector_size(16), aligned(4), may_alias));

// One side of a product as a matrix of weights: element (k, j) is w[k * k_step + j * j_step].
typedef struct {
    const Node *w;
    const float *f32; // its elements, or NULL: const_at
    size_t first;     // element of w: which of its matrices
    size_t k_count, j_count, k_step, j_step;
} Weights;

static Weights weights_of(const Node *w, size_t group, bool transposed)
{
    LinearDims d = linear_dims(w->type);
    size_t K = (size_t)d.k, N = (size_t)d.n, first = group * K * N;
    const float *f32 = w->type.dtype == T_F32 ? (const float *)w->data + first : NULL;
    return transposed ? (Weights){w, f32, first, N, K, 1, N} : (Weights){w, f32, first, K, N, N, 1};
}

static double weight(const Weights *w, size_t k, size_t j)
{
    size_t at = k * w->k_step + j * w->j_step;
    return w->f32 ? (double)w->f32[at] : const_at(w->w, (int64_t)(w->first + at));
}

#define INLINE static inline __attribute__((always_inline))

// `vectors` times four rows of ACROSS outputs.
INLINE void panel_vectors(int vectors, size_t k_count, const double *panel, const double *x, size_t lane_step,
                          double *out, size_t width, size_t rows)
{
    Four acc[ACROSS][2] = {0}, v[2];
    for (size_t k = 0; k < k_count; k++) {
        for (int i = 0; i < vectors; i++) v[i] = ((const FourAt *)(x + k * lane_step))[i];
        for (int j = 0; j < ACROSS; j++) {
            double w = panel[k * ACROSS + j];
            for (int i = 0; i < vectors; i++) acc[j][i] += (Four){w, w, w, w} * v[i];
        }
    }
    for (size_t j = 0; j < ACROSS; j++) // all indices constant: the sums stay in registers
        for (int i = 0; i < vectors && j < width; i++) ((FourAt *)(out + j * rows))[i] = acc[j][i];
}

INLINE void panel_row(size_t k_count, const double *panel, const double *x, size_t lane_step, double *out, size_t width,
                      size_t rows)
{
    Four acc = {0};
    for (size_t k = 0; k < k_count; k++) {
        double v = x[k * lane_step];
        acc += *(const FourAt *)(panel + k * ACROSS) * (Four){v, v, v, v};
    }
    for (size_t j = 0; j < width; j++) out[j * rows] = acc[j];
}

INLINE void panel_rows(size_t k_count, const double *panel, const double *x, size_t lane_step, double *out,
                       size_t width, size_t rows)
{
    size_t r = 0;
    for (; r + 8 <= rows; r += 8) panel_vectors(2, k_count, panel, x + r, lane_step, out + r, width, rows);
    for (; r + 4 <= rows; r += 4) panel_vectors(1, k_count, panel, x + r, lane_step, out + r, width, rows);
    for (; r < rows; r++) panel_row(k_count, panel, x + r, lane_step, out + r, width, rows);
}

// acc[j] += w[j] * v for f32 weights side by side.
INLINE void add_row(const float *w, double v, double *acc, size_t n)
{
    for (size_t j = 0; j < n; j++) acc[j] += (double)w[j] * v;
}

// ---- products of two values: out[j][r] = sum over k of x[k][r] * y[k][j][r], y's next k being y_step further
INLINE void value_vectors(int vectors, int width, size_t k_count, const double *x, const double *y, size_t y_step,
                          double *out, size_t rows)
{
    Four acc[ACROSS][2] = {0}, v[2];
    for (size_t k = 0; k < k_count; k++) {
        for (int i = 0; i < vectors; i++) v[i] = ((const FourAt *)(x + k * rows))[i];
        for (int j = 0; j < width; j++)
            for (int i = 0; i < vectors; i++)
                acc[j][i] += v[i] * ((const FourAt *)(y + k * y_step + (size_t)j * rows))[i];
    }
    for (int j = 0; j < width; j++)
        for (int i = 0; i < vectors; i++) ((FourAt *)(out + (size_t)j * rows))[i] = acc[j][i];
}

INLINE void value_row(int width, size_t k_count, const double *x, const double *y, size_t y_step, double *out,
                      size_t rows)
{
    double acc[ACROSS] = {0};
    for (size_t k = 0; k < k_count; k++)
        for (int j = 0; j < width; j++) acc[j] += x[k * rows] * y[k * y_step + (size_t)j * rows];
    for (int j = 0; j < width; j++) out[(size_t)j * rows] = acc[j];
}

INLINE void value_rows(int width, size_t k_count, const double *x, const double *y, size_t y_step, double *out,
                       size_t rows)
{
    size_t r = 0;
    for (; r + 8 <= rows; r += 8) value_vectors(2, width, k_count, x + r, y + r, y_step, out + r, rows);
    for (; r + 4 <= rows; r += 4) value_vectors(1, width, k_count, x + r, y + r, y_step, out + r, rows);
    for (; r < rows; r++) value_row(width, k_count, x + r, y + r, y_step, out + r, rows);
}

// [m_count][k_count] times [k_count][j_count]; a few columns of y meet all of x, so that they stay in cache.
INLINE void value_product(size_t m_count, size_t k_count, size_t j_count, const double *x, const double *y, double *out,
                          size_t rows)
{
    size_t j = 0, y_step = j_count * rows;
    for (; j + ACROSS <= j_count; j += ACROSS)
        for (size_t m = 0; m < m_count; m++)
            value_rows(ACROSS, k_count, x + m * k_count * rows, y + j * rows, y_step, out + (m * j_count + j) * rows,
                       rows);
    for (; j < j_count; j++)
        for (size_t m = 0; m < m_count; m++)
            value_rows(1, k_count, x + m * k_count * rows, y + j * rows, y_step, out + (m * j_count + j) * rows, rows);
}

// Sixteen f32 weights of one k to where they belong in four panels.
INLINE void spread_line(const float *w, double *panels, size_t panel_size)
{
    for (int p = 0; p < LINE / ACROSS; p++)
        *(FourAt *)(panels + (size_t)p * panel_size) =
            __builtin_convertvector(*(const FourFloats *)(w + p * ACROSS), Four);
}

typedef struct {
    void (*spread_line)(const float *w, double *panels, size_t panel_size);
    void (*panel_rows)(size_t k_count, const double *panel, const double *x, size_t lane_step, double *out,
                       size_t width, size_t rows);
    void (*add_row)(const float *w, double v, double *acc, size_t n);
    void (*value_product)(size_t m_count, size_t k_count, size_t j_count, const double *x, const double *y, double *out,
                          size_t rows);
} Kernels;

#define BUILD(suffix, attributes)                                                                                      \
    attributes static void panel_rows_##suffix(size_t k_count, const double *panel, const double *x, size_t lane_step, \
                                               double *out, size_t width, size_t rows)                                 \
    {                                                                                                                  \
        panel_rows(k_count, panel, x, lane_step, out, width, rows);                                                    \
    }                                                                                                                  \
    attributes static void spread_line_##suffix(const float *w, double *panels, size_t panel_size)                     \
    {                                                                                                                  \
        spread_line(w, panels, panel_size);                                                                            \
    }                                                                                                                  \
    attributes static void add_row_##suffix(const float *w, double v, double *acc, size_t n)                           \
    {                                                                                                                  \
        add_row(w, v, acc, n);                                                                                         \
    }                                                                                                                  \
    attributes static void value_product_##suffix(size_t m_count, size_t k_count, size_t j_count, const double *x,     \
                                                  const double *y, double *out, size_t rows)                           \
    {                                                                                                                  \
        value_product(m_count, k_count, j_count, x, y, out, rows);                                                     \
    }                                                                                                                  \
    static const Kernels kernels_##suffix = {spread_line_##suffix, panel_rows_##suffix, add_row_##suffix,              \
                                             value_product_##suffix};

BUILD(portable, )
#if defined(__x86_64__)
BUILD(avx2, __attribute__((target("avx2"))))
static const Kernels *kernels_fastest(void)
{
    return __builtin_cpu_supports("avx2") ? &kernels_avx2 : &kernels_portable;
}
#else
static const Kernels *kernels_fastest(void) { return &kernels_portable; }
#endif

// Lanes of one token as they are, or with every row written out.
static const double *token_rows(const EvalOperand *x, size_t lane, size_t count, size_t rows, double *buffer)
{
    const double *v = x->v + lane * x->lane_step;
    if (x->row_step == 1) return v;
    for (size_t k = 0; k < count; k++)
        for (size_t r = 0; r < rows; r++) buffer[k * rows + r] = v[k * x->lane_step];
    return buffer;
}

static bool all_finite(const double *x, size_t lane_step, size_t lanes, size_t rows)
{
    double sum = 0; // NaN as soon as one is not finite
    for (size_t k = 0; k < lanes; k++)
        for (size_t r = 0; r < rows; r++) sum += 0 * x[k * lane_step + r];
    return sum == 0;
}

// The meaning itself, where x is not finite.
static void careful_token(const Weights *w, const double *x, size_t lane_step, double *out, size_t rows)
{
    memset(out, 0, w->j_count * rows * sizeof *out);
    for (size_t k = 0; k < w->k_count; k++)
        for (size_t j = 0; j < w->j_count; j++) {
            double v = weight(w, k, j);
            for (size_t r = 0; r < rows && v != 0; r++) out[j * rows + r] += v * x[k * lane_step + r];
        }
}

// One token of few rows, weights side by side along the outputs.
static void few_token(const Kernels *kernels, const Weights *w, const double *x, size_t lane_step, double *out,
                      size_t rows, double *acc)
{
    for (size_t r = 0; r < rows; r++) {
        memset(acc, 0, w->j_count * sizeof *acc);
        for (size_t k = 0; k < w->k_count; k++)
            kernels->add_row(w->f32 + k * w->k_step, x[k * lane_step + r], acc, w->j_count);
        for (size_t j = 0; j < w->j_count; j++) out[j * rows + r] = acc[j];
    }
}

// The panels of `width` outputs from `first` on, one after the other.
static void fill_panels(const Kernels *kernels, const Weights *w, size_t first, size_t width, double *panels)
{
    size_t K = w->k_count;
    const double *f64 = w->w->type.dtype == T_F64 ? (const double *)w->w->data + w->first : NULL;
    for (size_t k = 0; k < K; k++) {
        if (w->f32 && w->j_step == 1 && width == LINE) { // one cache line
            kernels->spread_line(w->f32 + k * w->k_step + first, panels + k * ACROSS, K * ACROSS);
            continue;
        }
        if (f64 && w->j_step == 1 && width % ACROSS == 0) {
            for (size_t j = 0; j < width; j += ACROSS)
                memcpy(panels + j * K + k * ACROSS, f64 + k * w->k_step + first + j, ACROSS * sizeof *panels);
            continue;
        }
        for (size_t j = 0; j < width; j++) panels[(j / ACROSS * K + k) * ACROSS + j % ACROSS] = weight(w, k, first + j);
    }
}

typedef struct {
    const double *x; // [k][rows], NULL: done already
    size_t lane_step;
} Token;

// Tokens with numbers that are not finite, or of few rows, are done singly; the others share each panel.
static void product(const Weights *w, size_t tokens, size_t rows, const EvalOperand *x, double *out)
{
    const Kernels *kernels = kernels_fastest();
    size_t K = w->k_count, N = w->j_count, spread = x->row_step == 1 ? 0 : tokens * K * rows;
    double *buffer = eval_alloc(spread + K * LINE + N), *panels = buffer + spread;
    Token *token = eval_alloc(tokens * 2);
    bool left = false;
    for (size_t m = 0; m < tokens; m++) {
        const double *v = token_rows(x, m * K, K, rows, buffer + (spread ? m * K * rows : 0));
        size_t step = spread ? rows : x->lane_step;
        bool finite = all_finite(v, step, K, rows), few = rows < FEW && w->f32 && w->j_step == 1;
        token[m] = (Token){finite && !few ? v : NULL, step};
        left = left || token[m].x;
        if (!finite)
            careful_token(w, v, step, out + m * N * rows, rows);
        else if (few)
            few_token(kernels, w, v, step, out + m * N * rows, rows, panels + K * LINE);
    }
    for (size_t first = 0; first < N && left; first += LINE) {
        size_t width = N - first < LINE ? N - first : LINE;
        fill_panels(kernels, w, first, width, panels);
        for (size_t m = 0; m < tokens; m++)
            for (size_t j = 0; j < width && token[m].x; j += ACROSS)
                kernels->panel_rows(K, panels + j * K, token[m].x, token[m].lane_step, out + (m * N + first + j) * rows,
                                    width - j < ACROSS ? width - j : ACROSS, rows);
    }
    free(buffer);
    free(token);
}

// All tokens on one matrix, or each on its own, from its own x or from the one there is.
static void products(const Node *n, size_t rows, const EvalOperand *x, bool transposed, double *out)
{
    LinearDims d = linear_dims(n->in[1]->type);
    Weights w = weights_of(n->in[1], 0, transposed);
    size_t lanes = (size_t)type_lanes(n->type), from = (size_t)type_lanes(n->in[0]->type) > w.k_count ? w.k_count : 0;
    if (!d.groups) product(&w, w.j_count ? lanes / w.j_count : 0, rows, x, out);
    for (size_t g = 0; g < (size_t)d.groups; g++) {
        EvalOperand token = *x;
        token.v += g * from * x->lane_step;
        w = weights_of(n->in[1], g, transposed);
        product(&w, 1, rows, &token, out + g * w.j_count * rows);
    }
}

void eval_linear(const Node *n, size_t rows, const EvalOperand *in, double *out)
{
    LinearDims d = linear_dims(n->in[1]->type);
    size_t lanes = (size_t)type_lanes(n->type), biases = (size_t)(d.groups ? d.groups * d.n : d.n);
    bool has_bias = n->n_in > 2 && n->in[2], has_add = n->n_in > 3 && n->in[3], has_scale = n->n_in > 4;
    products(n, rows, &in[0], false, out);
    for (size_t lane = 0; lane < lanes && (has_bias || has_add); lane++) {
        double *o = out + lane * rows;
        for (size_t r = 0; r < rows; r++) {
            if (has_scale) o[r] *= in[4].v[lane / (size_t)d.n * in[4].lane_step + r * in[4].row_step];
            if (has_add) o[r] += in[3].v[lane * in[3].lane_step + r * in[3].row_step];
            if (has_bias) o[r] += in[2].v[lane % biases * in[2].lane_step];
        }
    }
}

void eval_linear_t(const Node *n, size_t rows, const EvalOperand *in, double *out)
{
    products(n, rows, &in[0], true, out);
}

// The meaning itself, where y is not finite: a zero of x hides it.
static void careful_matmul(size_t m_count, size_t k_count, size_t j_count, const EvalOperand *x, const EvalOperand *y,
                           double *out, size_t rows)
{
    memset(out, 0, m_count * j_count * rows * sizeof *out);
    for (size_t m = 0; m < m_count; m++)
        for (size_t k = 0; k < k_count; k++)
            for (size_t j = 0; j < j_count; j++) {
                const double *a = x->v + (m * k_count + k) * x->lane_step, *b = y->v + (k * j_count + j) * y->lane_step;
                double *o = out + (m * j_count + j) * rows;
                for (size_t r = 0; r < rows; r++)
                    if (a[r * x->row_step] != 0) o[r] += a[r * x->row_step] * b[r * y->row_step];
            }
}

void eval_matmul(const Node *n, size_t rows, const EvalOperand *in, double *out)
{
    Type a = n->in[0]->type, b = n->in[1]->type;
    size_t M = (size_t)a.dim[a.rank - 2], K = (size_t)type_last(a), N = (size_t)type_last(b);
    size_t batch = M && N ? (size_t)type_lanes(n->type) / (M * N) : 0;
    for (size_t z = 0; z < batch; z++) {
        EvalOperand x = in[0], y = in[1];
        x.v += z * M * K * x.lane_step;
        y.v += z * K * N * y.lane_step;
        bool with_rows = x.row_step && y.row_step;
        if (with_rows && all_finite(y.v, rows, K * N, rows))
            kernels_fastest()->value_product(M, K, N, x.v, y.v, out + z * M * N * rows, rows);
        else
            careful_matmul(M, K, N, &x, &y, out + z * M * N * rows, rows);
    }
}
