// The double interpreter: the meaning of every op, for many rows at once.
//
// A value is lane-major, [lanes][rows], so that every op is a loop over contiguous rows. Constants are read where
// they are (f32, f64, i64, bool) and never expanded over rows. Values are freed after their last use.
#include "double_math.h"
#include "ir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// One operand: element (lane, row) is v[lane * lane_step + row * row_step].
typedef struct {
    const double *v;
    size_t lane_step, row_step;
    double *owned;
} Operand;

static void *eval_alloc(size_t count)
{
    void *p = malloc((count ? count : 1) * sizeof(double));
    if (!p) {
        fprintf(stderr, "nfcc: out of memory (interpreter, %zu values)\n", count);
        exit(4);
    }
    return p;
}

static Operand operand(const Node *n, const double *value, size_t rows)
{
    int64_t lanes = type_lanes(n->type);
    if (value) return (Operand){value, lanes == 1 ? 0 : rows, 1, NULL};
    double *copy = eval_alloc((size_t)lanes);
    for (int64_t i = 0; i < lanes; i++) copy[i] = const_at(n, i);
    return (Operand){copy, lanes == 1 ? 0 : 1, 0, copy};
}

static double round_even(double x)
{
    double r = floor(x + 0.5);
    return r - x == 0.5 && fmod(r, 2.0) != 0.0 ? r - 1 : r;
}

double eval_unary(Op op, double x, double alpha);
double eval_unary(Op op, double x, double alpha)
{
    switch ((int)op) {
    case OP_neg: return -x;
    case OP_abs: return fabs(x);
    case OP_sign: return x > 0 ? 1 : x < 0 ? -1 : x;
    case OP_sqrt: return sqrt(x);
    case OP_exp: return double_exp(x);
    case OP_log: return double_log(x);
    case OP_log1p: return double_log1p(x);
    case OP_expm1: return double_expm1(x);
    case OP_sin: return double_sin(x);
    case OP_cos: return double_cos(x);
    case OP_tan: return double_tan(x);
    case OP_asin: return double_asin(x);
    case OP_acos: return double_acos(x);
    case OP_atan: return double_atan(x);
    case OP_sinh: return double_sinh(x);
    case OP_cosh: return double_cosh(x);
    case OP_tanh: return double_tanh(x);
    case OP_asinh: return double_asinh(x);
    case OP_acosh: return double_acosh(x);
    case OP_atanh: return double_atanh(x);
    case OP_sigmoid: return x >= 0 ? 1 / (1 + double_exp(-x)) : double_exp(x) / (1 + double_exp(x));
    case OP_softplus: return x > 0 ? x + double_log1p(double_exp(-x)) : double_log1p(double_exp(x));
    case OP_erf: return double_erf(x);
    case OP_floor: return floor(x);
    case OP_ceil: return ceil(x);
    case OP_round: return round_even(x);
    case OP_trunc: return trunc(x);
    case OP_leaky_relu: return x > 0 ? x : isnan(x) ? x : alpha * x;
    case OP_elu: return x > 0 ? x : alpha * double_expm1(x);
    case OP_isnan: return isnan(x);
    case OP_isinf: return isinf(x) != 0;
    case OP_not: return x == 0;
    default: return NAN;
    }
}

double eval_binary(Op op, double a, double b, bool integer);
double eval_binary(Op op, double a, double b, bool integer)
{
    switch ((int)op) {
    case OP_add: return a + b;
    case OP_sub: return a - b;
    case OP_mul: return a * b;
    case OP_div: return integer ? (b == 0 ? 0 : trunc(a / b)) : a / b;
    case OP_pow: return double_pow(a, b);
    case OP_mod: return integer && b == 0 ? 0 : a - b * floor(a / b);
    case OP_fmod: return integer && b == 0 ? 0 : fmod(a, b);
    case OP_min: return isnan(a) ? a : isnan(b) ? b : a < b ? a : b;
    case OP_max: return isnan(a) ? a : isnan(b) ? b : a > b ? a : b;
    case OP_lt: return a < b;
    case OP_le: return a <= b;
    case OP_eq: return a == b;
    case OP_and: return a != 0 && b != 0;
    case OP_or: return a != 0 || b != 0;
    case OP_xor: return (a != 0) != (b != 0);
    default: return NAN;
    }
}

static void eval_elementwise(const Node *n, size_t rows, const Operand *in, double *out)
{
    size_t lanes = (size_t)type_lanes(n->type);
    OpKind kind = op_info(n->op)->kind;
    bool integer = n->type.dtype == T_I64;
    for (size_t i = 0; i < lanes; i++) {
        const double *a = in[0].v + i * in[0].lane_step;
        double *o = out + i * rows;
        if (kind == KIND_UNARY) {
            for (size_t r = 0; r < rows; r++) o[r] = eval_unary(n->op, a[r * in[0].row_step], n->alpha);
            continue;
        }
        const double *b = in[1].v + i * in[1].lane_step;
        if (kind == KIND_BINARY) {
            for (size_t r = 0; r < rows; r++)
                o[r] = eval_binary(n->op, a[r * in[0].row_step], b[r * in[1].row_step], integer);
            continue;
        }
        const double *c = in[2].v + i * in[2].lane_step;
        for (size_t r = 0; r < rows; r++)
            o[r] = a[r * in[0].row_step] != 0 ? b[r * in[1].row_step] : c[r * in[2].row_step];
    }
}

static void eval_move(const Node *n, size_t rows, const Operand *in, double *out)
{
    int64_t lanes = type_lanes(n->type), at = 0;
    int k = 0;
    int64_t size = n->n_in ? type_lanes(n->in[0]->type) : 0;
    for (int64_t i = 0; i < lanes; i++) {
        int64_t lane = n->map ? n->map[i] : i;
        if (lane < at) k = 0, at = 0, size = type_lanes(n->in[0]->type);
        while (lane >= at + size) at += size, size = type_lanes(n->in[++k]->type);
        const double *src = in[k].v + (size_t)(lane - at) * in[k].lane_step;
        for (size_t r = 0; r < rows; r++) out[(size_t)i * rows + r] = src[r * in[k].row_step];
    }
}

enum { WIDE = 16 };

// WIDE outputs of one token: acc[j][r] += w[k][j] * x[k][r]. Weights are read as stored.
static void linear_block(const Node *w, size_t k_count, size_t n_count, size_t n0, size_t width, size_t rows,
                         const Operand *x, size_t x_lane, double *out)
{
    const float *wf = w->type.dtype == T_F32 ? w->data : NULL;
    for (size_t i = 0; i < width * rows; i++) out[i] = 0;
    for (size_t k = 0; k < k_count; k++) {
        const double *xk = x->v + (x_lane + k) * x->lane_step;
        size_t row_step = x->row_step;
        for (size_t j = 0; j < width; j++) {
            size_t at = k * n_count + n0 + j;
            double wk = wf ? (double)wf[at] : const_at(w, (int64_t)at);
            if (wk == 0) continue;
            double *o = out + j * rows;
            if (row_step == 1)
                for (size_t r = 0; r < rows; r++) o[r] += wk * xk[r];
            else
                for (size_t r = 0; r < rows; r++) o[r] += wk * xk[0];
        }
    }
}

enum { FEW = 8 };

// One token of few rows: vectors run along the outputs instead.
static void linear_few(const Node *w, size_t k_count, size_t n_count, size_t rows, const Operand *x, size_t x_lane,
                       double *out)
{
    const float *wf = w->type.dtype == T_F32 ? w->data : NULL;
    double *acc = eval_alloc(n_count);
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < n_count; j++) acc[j] = 0;
        for (size_t k = 0; k < k_count; k++) {
            double v = x->v[(x_lane + k) * x->lane_step + r * x->row_step];
            if (wf && isfinite(v))
                for (size_t j = 0; j < n_count; j++) acc[j] += (double)wf[k * n_count + j] * v;
            else // a weight of zero hides what is not finite
                for (size_t j = 0; j < n_count; j++) {
                    double weight = const_at(w, (int64_t)(k * n_count + j));
                    if (weight != 0) acc[j] += weight * v;
                }
        }
        for (size_t j = 0; j < n_count; j++) out[j * rows + r] = acc[j];
    }
    free(acc);
}

static void eval_linear(const Node *n, size_t rows, const Operand *in, double *out)
{
    const Node *w = n->in[1];
    size_t K = (size_t)w->type.dim[0], N = (size_t)w->type.dim[1];
    size_t tokens = N ? (size_t)type_lanes(n->type) / N : 0;
    bool has_bias = n->n_in > 2 && n->in[2], has_add = n->n_in > 3;
    for (size_t m = 0; m < tokens; m++) {
        if (rows < FEW) linear_few(w, K, N, rows, &in[0], m * K, out + m * N * rows);
        for (size_t n0 = 0; n0 < N && rows >= FEW; n0 += WIDE) {
            size_t width = N - n0 < WIDE ? N - n0 : WIDE;
            linear_block(w, K, N, n0, width, rows, &in[0], m * K, out + (m * N + n0) * rows);
        }
        for (size_t j = 0; j < N; j++) {
            double *o = out + (m * N + j) * rows;
            for (size_t r = 0; r < rows; r++) {
                if (has_add) o[r] += in[3].v[(m * N + j) * in[3].lane_step + r * in[3].row_step];
                if (has_bias) o[r] += in[2].v[j * in[2].lane_step];
            }
        }
    }
}

static void eval_linear_t(const Node *n, size_t rows, const Operand *in, double *out)
{
    const Node *w = n->in[1];
    size_t K = (size_t)w->type.dim[0], N = (size_t)w->type.dim[1];
    size_t tokens = K ? (size_t)type_lanes(n->type) / K : 0;
    const float *wf = w->type.dtype == T_F32 ? w->data : NULL;
    for (size_t m = 0; m < tokens; m++)
        for (size_t k = 0; k < K; k++) {
            double *o = out + (m * K + k) * rows;
            for (size_t r = 0; r < rows; r++) o[r] = 0;
            for (size_t j = 0; j < N; j++) {
                double wk = wf ? (double)wf[k * N + j] : const_at(w, (int64_t)(k * N + j));
                const double *x = in[0].v + (m * N + j) * in[0].lane_step;
                for (size_t r = 0; r < rows && wk != 0; r++) o[r] += wk * x[r * in[0].row_step];
            }
        }
}

static void eval_matmul(const Node *n, size_t rows, const Operand *in, double *out)
{
    Type a = n->in[0]->type, b = n->in[1]->type;
    size_t M = (size_t)a.dim[a.rank - 2], K = (size_t)type_last(a), N = (size_t)type_last(b);
    size_t batch = M && N ? (size_t)type_lanes(n->type) / (M * N) : 0;
    for (size_t z = 0; z < batch; z++)
        for (size_t m = 0; m < M; m++)
            for (size_t j = 0; j < N; j++) {
                double *o = out + ((z * M + m) * N + j) * rows;
                for (size_t r = 0; r < rows; r++) o[r] = 0;
                for (size_t k = 0; k < K; k++) {
                    const double *x = in[0].v + ((z * M + m) * K + k) * in[0].lane_step;
                    const double *y = in[1].v + ((z * K + k) * N + j) * in[1].lane_step;
                    for (size_t r = 0; r < rows; r++) {
                        double p = x[r * in[0].row_step];
                        if (p != 0) o[r] += p * y[r * in[1].row_step]; // 0 * x = 0: masked attention
                    }
                }
            }
}

static double reduce_step(Op op, double acc, double v)
{
    switch ((int)op) {
    case OP_reduce_sum: return acc + v;
    case OP_reduce_prod: return acc * v;
    case OP_reduce_max: return isnan(acc) || acc > v ? acc : v;
    default: return isnan(acc) || acc < v ? acc : v;
    }
}

static double reduce_start(Op op)
{
    switch ((int)op) {
    case OP_reduce_sum: return 0;
    case OP_reduce_prod: return 1;
    case OP_reduce_max: return -INFINITY;
    default: return INFINITY;
    }
}

static void eval_reduce(const Node *n, size_t rows, const Operand *in, double *out)
{
    size_t k_count = (size_t)type_last(n->in[0]->type), outer = (size_t)type_lanes(n->type);
    for (size_t i = 0; i < outer; i++) {
        double *o = out + i * rows;
        for (size_t r = 0; r < rows; r++) o[r] = reduce_start(n->op);
        for (size_t k = 0; k < k_count; k++) {
            const double *x = in[0].v + (i * k_count + k) * in[0].lane_step;
            for (size_t r = 0; r < rows; r++) o[r] = reduce_step(n->op, o[r], x[r * in[0].row_step]);
        }
    }
}

static void eval_take(const Node *n, size_t rows, const Operand *in, double *out)
{
    size_t K = (size_t)type_last(n->in[0]->type), J = (size_t)type_last(n->in[1]->type);
    size_t lanes = (size_t)type_lanes(n->type), table_rows = K ? (size_t)type_lanes(n->in[0]->type) / K : 0;
    for (size_t i = 0; i < lanes; i++) {
        size_t o = J ? i / J : 0, base = table_rows == 1 ? 0 : o * K;
        for (size_t r = 0; r < rows; r++) {
            double index = trunc(in[1].v[i * in[1].lane_step + r * in[1].row_step]);
            size_t k = index > 0 ? (index < (double)K ? (size_t)index : K - 1) : 0;
            out[i * rows + r] = in[0].v[(base + k) * in[0].lane_step + r * in[0].row_step];
        }
    }
}

void eval_node(const Node *n, size_t rows, const double *const *in, double *out)
{
    Operand small[8] = {0}, *ops = n->n_in <= 8 ? small : calloc((size_t)n->n_in, sizeof *ops);
    if (!ops) exit(4);
    OpKind kind = op_info(n->op)->kind;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] && !((kind == KIND_LINEAR || kind == KIND_LINEAR_T) && i == 1))
            ops[i] = operand(n->in[i], in[i], rows);
    switch (kind) {
    case KIND_LEAF: break;
    case KIND_MOVE: eval_move(n, rows, ops, out); break;
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY: eval_elementwise(n, rows, ops, out); break;
    case KIND_LINEAR: eval_linear(n, rows, ops, out); break;
    case KIND_LINEAR_T: eval_linear_t(n, rows, ops, out); break;
    case KIND_MATMUL: eval_matmul(n, rows, ops, out); break;
    case KIND_REDUCE: eval_reduce(n, rows, ops, out); break;
    case KIND_TAKE: eval_take(n, rows, ops, out); break;
    }
    for (int i = 0; i < n->n_in; i++) free(ops[i].owned);
    if (ops != small) free(ops);
}

// Row-major [rows][lanes] <-> lane-major, for a chunk of rows.
static void load_rows(const double *rows_major, size_t lanes, size_t rows, double *out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < lanes; i++) out[i * rows + r] = rows_major[r * lanes + i];
}

static void store_output(const Node *n, const double *value, size_t rows, double *out)
{
    size_t lanes = (size_t)type_lanes(n->type);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < lanes; i++) out[r * lanes + i] = value ? value[i * rows + r] : const_at(n, (int64_t)i);
}

typedef struct {
    const Function *f;
    double **value; // by node id
    int *last_use;
} Run;

static void eval_one(Run *run, const Node *n, size_t rows, EvalProbe probe, void *user)
{
    const double *few[8] = {0};
    const double **in = n->n_in <= 8 ? few : calloc((size_t)n->n_in, sizeof *in);
    if (!in) exit(4);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i]) in[i] = node_is_const(n->in[i]) ? NULL : run->value[n->in[i]->id];
    double *out = eval_alloc((size_t)type_lanes(n->type) * rows);
    run->value[n->id] = out;
    eval_node(n, rows, in, out);
    if (probe) probe(user, n, out, rows);
    for (int i = 0; i < n->n_in; i++) {
        const Node *d = n->in[i];
        if (!d || run->last_use[d->id] != n->id) continue;
        free(run->value[d->id]);
        run->value[d->id] = NULL;
    }
    if (in != few) free(in);
}

static void eval_chunk(Run *run, size_t first, size_t rows, const double *const *in, double *const *out,
                       EvalProbe probe, void *user)
{
    const Function *f = run->f;
    for (int i = 0; i < f->n_inputs; i++) {
        size_t lanes = (size_t)type_lanes(f->inputs[i]->type);
        double *v = eval_alloc(lanes * rows);
        load_rows(in[i] + first * lanes, lanes, rows, v);
        run->value[f->inputs[i]->id] = v;
        if (probe) probe(user, f->inputs[i], v, rows);
    }
    for (int i = 0; i < f->n_nodes; i++)
        if (op_info(f->nodes[i]->op)->kind != KIND_LEAF) eval_one(run, f->nodes[i], rows, probe, user);
    for (int i = 0; i < f->n_outputs; i++) {
        const Node *n = f->outputs[i].node;
        if (out[i]) store_output(n, run->value[n->id], rows, out[i] + first * (size_t)type_lanes(n->type));
    }
    for (int i = 0; i < f->n_nodes; i++) {
        free(run->value[i]);
        run->value[i] = NULL;
    }
}

void eval_function(const Function *f, size_t rows, const double *const *in, double *const *out, EvalProbe probe,
                   void *user)
{
    Run run = {f, calloc((size_t)f->n_nodes + 1, sizeof(double *)), calloc((size_t)f->n_nodes + 1, sizeof(int))};
    if (!run.value || !run.last_use) exit(4);
    int64_t widest = 1;
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        if (type_lanes(n->type) > widest && !node_is_const(n)) widest = type_lanes(n->type);
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) run.last_use[n->in[k]->id] = i;
    }
    for (int i = 0; i < f->n_outputs; i++) run.last_use[f->outputs[i].node->id] = f->n_nodes;
    size_t chunk = ((size_t)1 << 23) / (size_t)widest; // at most 64 MiB a value
    if (chunk < 1) chunk = 1;
    if (chunk > 64) chunk = 64;
    for (size_t first = 0; first < rows; first += chunk)
        eval_chunk(&run, first, rows - first < chunk ? rows - first : chunk, in, out, probe, user);
    free(run.value);
    free(run.last_use);
}
