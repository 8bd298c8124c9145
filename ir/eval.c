// The double interpreter: the meaning of every op, for many rows at once.
//
// A value is lane-major, [lanes][rows], so that every op is a loop over contiguous rows. Constants are read where
// they are (f32, f64, i64, bool) and never expanded over rows. Values are freed after their last use.
#include "eval.h"

#include "base/parallel.h"
#include "double_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void *eval_alloc(size_t count) { return heap_grow(NULL, count, sizeof(double)); }

static EvalOperand operand(const Node *n, const double *value, size_t rows)
{
    int64_t lanes = type_lanes(n->type);
    if (value) return (EvalOperand){value, lanes == 1 ? 0 : rows, 1, NULL};
    double *copy = eval_alloc((size_t)lanes);
    for (int64_t i = 0; i < lanes; i++) copy[i] = const_at(n, i);
    return (EvalOperand){copy, lanes == 1 ? 0 : 1, 0, copy};
}

static double round_even(double x)
{
    double r = floor(x + 0.5);
    return r - x == 0.5 && fmod(r, 2.0) != 0.0 ? r - 1 : r;
}

static double eval_unary(Op op, double x, double alpha)
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
    case OP_logit: return double_log(x) - double_log1p(-x);
    case OP_softplus: return x > 0 ? x + double_log1p(double_exp(-x)) : double_log1p(double_exp(x));
    case OP_softplus_inv: return x < 1 ? double_log(double_expm1(x)) : x + double_log1p(-double_exp(-x));
    case OP_erf: return double_erf(x);
    case OP_erfinv: return double_erfinv(x);
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

static double eval_binary(Op op, double a, double b, bool integer)
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

double eval_scalar(Op op, double alpha, const double *in)
{
    OpKind kind = op_info(op)->kind;
    if (kind == KIND_UNARY) return eval_unary(op, in[0], alpha);
    return kind == KIND_BINARY ? eval_binary(op, in[0], in[1], false) : in[0] != 0 ? in[1] : in[2];
}

// The ops that nets are made of, as loops that need no call; false: any other.
static bool eval_common(Op op, const double *a, size_t a_step, const double *b, size_t b_step, double *o, size_t rows)
{
    switch ((int)op) {
    case OP_add:
        for (size_t r = 0; r < rows; r++) o[r] = a[r * a_step] + b[r * b_step];
        return true;
    case OP_sub:
        for (size_t r = 0; r < rows; r++) o[r] = a[r * a_step] - b[r * b_step];
        return true;
    case OP_mul:
        for (size_t r = 0; r < rows; r++) o[r] = a[r * a_step] * b[r * b_step];
        return true;
    default: return false;
    }
}

static void eval_elementwise(const Node *n, size_t rows, const EvalOperand *in, double *out)
{
    size_t lanes = (size_t)type_lanes(n->type);
    OpKind kind = op_info(n->op)->kind;
    bool integer = n->type.dtype == T_I64;
    if (n->op == OP_erf && in[0].row_step && (lanes == 1 || in[0].lane_step == rows)) {
        double_erf_many(in[0].v, out, lanes * rows);
        return;
    }
    for (size_t i = 0; i < lanes; i++) {
        const double *a = in[0].v + i * in[0].lane_step;
        double *o = out + i * rows;
        if (kind == KIND_UNARY) {
            for (size_t r = 0; r < rows; r++) o[r] = eval_unary(n->op, a[r * in[0].row_step], n->alpha);
            continue;
        }
        const double *b = in[1].v + i * in[1].lane_step;
        if (kind == KIND_BINARY) {
            if (eval_common(n->op, a, in[0].row_step, b, in[1].row_step, o, rows)) continue;
            for (size_t r = 0; r < rows; r++)
                o[r] = eval_binary(n->op, a[r * in[0].row_step], b[r * in[1].row_step], integer);
            continue;
        }
        const double *c = in[2].v + i * in[2].lane_step;
        for (size_t r = 0; r < rows; r++)
            o[r] = a[r * in[0].row_step] != 0 ? b[r * in[1].row_step] : c[r * in[2].row_step];
    }
}

static void eval_move(const Node *n, size_t rows, const EvalOperand *in, double *out)
{
    int64_t lanes = type_lanes(n->type);
    for (int64_t i = 0; i < lanes; i++) {
        int64_t lane = n->map ? n->map[i] : i;
        int k = n->base ? move_source(n, i, &lane) : 0;
        const double *src = in[k].v + (size_t)lane * in[k].lane_step;
        double *to = out + (size_t)i * rows;
        if (in[k].row_step)
            memcpy(to, src, rows * sizeof *to);
        else
            for (size_t r = 0; r < rows; r++) to[r] = *src;
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

static void eval_reduce(const Node *n, size_t rows, const EvalOperand *in, double *out)
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

static void eval_take(const Node *n, size_t rows, const EvalOperand *in, double *out)
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
    EvalOperand small[8] = {0}, *ops = n->n_in <= 8 ? small : heap_array(n->n_in, sizeof *ops);
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

// One evaluation. Chunks of rows share nothing but what is read, so they go to all cores; a probe sees them in order.
typedef struct {
    const Function *f;
    size_t rows, chunk;
    const double *const *in;
    double *const *out;
    EvalProbe probe;
    void *user;
    const int *last_use;
} Run;

static void eval_one(const Run *run, const Node *n, size_t rows, double **value)
{
    const double *few[8] = {0};
    const double **in = n->n_in <= 8 ? few : heap_array(n->n_in, sizeof *in);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i]) in[i] = node_is_const(n->in[i]) ? NULL : value[n->in[i]->id];
    double *out = eval_alloc((size_t)type_lanes(n->type) * rows);
    value[n->id] = out;
    eval_node(n, rows, in, out);
    if (run->probe) run->probe(run->user, n, out, rows);
    for (int i = 0; i < n->n_in; i++) {
        const Node *d = n->in[i];
        if (!d || run->last_use[d->id] != n->id) continue;
        free(value[d->id]);
        value[d->id] = NULL;
    }
    if (in != few) free(in);
}

static void eval_chunk(void *user, int number)
{
    const Run *run = user;
    const Function *f = run->f;
    size_t first = (size_t)number * run->chunk, left = run->rows - first, rows = left < run->chunk ? left : run->chunk;
    double **value = heap_array(f->n_nodes + 1, sizeof *value); // by node id
    for (int i = 0; i < f->n_inputs; i++) {
        size_t lanes = (size_t)type_lanes(f->inputs[i]->type);
        double *v = eval_alloc(lanes * rows);
        load_rows(run->in[i] + first * lanes, lanes, rows, v);
        value[f->inputs[i]->id] = v;
        if (run->probe) run->probe(run->user, f->inputs[i], v, rows);
    }
    for (int i = 0; i < f->n_nodes; i++)
        if (op_info(f->nodes[i]->op)->kind != KIND_LEAF) eval_one(run, f->nodes[i], rows, value);
    for (int i = 0; i < f->n_outputs; i++) {
        const Node *n = f->outputs[i].node;
        if (run->out[i]) store_output(n, value[n->id], rows, run->out[i] + first * (size_t)type_lanes(n->type));
    }
    for (int i = 0; i < f->n_nodes; i++) free(value[i]);
    free(value);
}

// At most 64 MiB a value, at most 64 rows; 16 where that makes several chunks, if a row is worth a thread's while; half
// of few rows, if the model is large.
static size_t chunk_rows(size_t rows, int64_t widest, int64_t work)
{
    size_t most = ((size_t)1 << 23) / (size_t)widest;
    if (most < 1) return 1;
    if (most > 64) most = 64;
    if (work > 1 << 22 && rows >= 8 && rows <= 16 && most > rows / 2) return (rows + 1) / 2;
    return work > 1 << 16 && rows > 16 && most > 16 ? 16 : most;
}

void eval_function(const Function *f, size_t rows, const double *const *in, double *const *out, EvalProbe probe,
                   void *user)
{
    int *last_use = heap_array(f->n_nodes + 1, sizeof *last_use);
    int64_t widest = 1, work = 0;
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        work += type_lanes(n->type); // weights too
        if (type_lanes(n->type) > widest && !node_is_const(n)) widest = type_lanes(n->type);
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) last_use[n->in[k]->id] = i;
    }
    for (int i = 0; i < f->n_outputs; i++) last_use[f->outputs[i].node->id] = f->n_nodes;
    Run run = {f, rows, chunk_rows(rows, widest, work), in, out, probe, user, last_use};
    int chunks = (int)((rows + run.chunk - 1) / run.chunk);
    for (int i = 0; i < chunks && probe; i++) eval_chunk(&run, i);
    if (!probe) parallel_for(chunks, eval_chunk, &run);
    free(last_use);
}
