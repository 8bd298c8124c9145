// Reductions, softmax and normalisations, written with sums over the last axis, products and exp:
//
//   log sum exp   m + log sum e^(x - m), m = max x
//   softmax       e^(x - m) / sum e^(x - m)
//   normalised    (x - mean) / sqrt(variance + epsilon), of a row (LayerNorm), a channel's pixels (InstanceNorm) or a
//                 group of channels (GroupNorm); RMSNorm x / sqrt(mean x^2 + epsilon); scale and bias behind it
//   BatchNorm     in evaluation an affine map of each channel
#include "onnx_import.h"

#include <math.h>

// ---- reductions

// Lines [..., n] -> [...].
static const Node *reduced(Call *c, int how, const Node *x)
{
    Builder *b = c->b;
    const Node *m;
    switch (how) {
    case REDUCE_MAX: return build_reduce(b, OP_reduce_max, x);
    case REDUCE_MIN: return build_reduce(b, OP_reduce_min, x);
    case REDUCE_PROD: return build_reduce(b, OP_reduce_prod, x);
    case REDUCE_L1: return build_reduce(b, OP_reduce_sum, build_unary(b, OP_abs, x));
    case REDUCE_L2: return build_unary(b, OP_sqrt, build_reduce(b, OP_reduce_sum, op2(c, OP_mul, x, x)));
    case REDUCE_SUM_SQUARE: return build_reduce(b, OP_reduce_sum, op2(c, OP_mul, x, x));
    case REDUCE_LOG_SUM: return build_unary(b, OP_log, build_reduce(b, OP_reduce_sum, x));
    case REDUCE_LOG_SUM_EXP:
        m = build_reduce(b, OP_reduce_max, x);
        x = build_unary(b, OP_exp, op2(c, OP_sub, x, keep_last(c, OP_reduce_max, x)));
        return op2(c, OP_add, m, build_unary(b, OP_log, build_reduce(b, OP_reduce_sum, x)));
    case REDUCE_MEAN: {
        int64_t n = type_last(x->type);
        const Node *count = x->type.dtype == T_I64 ? build_ints(b, 1, &n) : number(c, (double)n);
        return op2(c, OP_div, build_reduce(b, OP_reduce_sum, x), count);
    }
    default: return build_reduce(b, OP_reduce_sum, x);
    }
}

void import_reduce(Call *c, int how)
{
    const Node *x = arg(c, 0);
    Ints axes;
    bool idle = attr_int(c, "noop_with_empty_axes", 0) != 0;
    bool as_input = c->opset >= (how == REDUCE_SUM ? 13 : 18), keep = attr_int(c, "keepdims", 1) != 0;
    if (!x || !axes_of(c, as_input ? 1 : -1, x->type.rank, &axes)) return;
    if (axes.n <= 0 && idle) {
        result(c, 0, x);
        return;
    }
    if (axes.n <= 0) {
        axes = (Ints){x->type.rank, ARENA_ARRAY(call_arena(c), int64_t, MAX_RANK)};
        for (int i = 0; i < x->type.rank; i++) axes.v[i] = i;
    }
    LastAxes l = last_axes(x, axes.n, axes.v);
    const Node *lines = to_last(c, x, &l);
    if (!lines) return;
    if (!type_last(lines->type) && lines->type.dtype == T_BOOL) {
        fail(c, DAMAGED, "a reduction of no elements");
        return;
    }
    const Node *y = reduced(c, how, how >= REDUCE_L2 || how == REDUCE_L1 ? cast_real(c, lines) : lines);
    int64_t dim[MAX_RANK];
    int rank = 0;
    bool gone[MAX_RANK] = {false};
    for (int64_t i = 0; i < axes.n; i++) gone[axes.v[i]] = true;
    for (int i = 0; i < x->type.rank; i++)
        if (keep || !gone[i]) dim[rank++] = gone[i] ? 1 : x->type.dim[i];
    result(c, 0, checked_reshape(c, y, rank, dim));
}

// One axis since opset 13; before, all axes from it on are one.
void import_softmax(Call *c, int logarithm)
{
    const Node *x = cast_real(c, arg(c, 0));
    int axis = 0;
    if (!x || !axis_of(c, attr_int(c, "axis", c->opset >= 13 ? -1 : 1), x->type.rank, &axis)) return;
    int64_t axes[MAX_RANK], n = 0;
    for (int i = axis; i < (c->opset >= 13 ? axis + 1 : x->type.rank); i++) axes[n++] = i;
    LastAxes l = last_axes(x, n, axes);
    const Node *lines = to_last(c, x, &l);
    if (lines) result(c, 0, from_last(c, softmax_last(c, lines, logarithm != 0), &l));
}

// ---- normalisation

// (x - mean) * (1 / sqrt(variance + epsilon)) along the last axis; without centring x * (1 / sqrt(mean square +
// epsilon)). As ONNX has it: one division a row.
static const Node *normalised(Call *c, const Node *x, double epsilon, bool centre, const Node **mean,
                              const Node **inverse)
{
    const Node *m = centre ? mean_last(c, x) : NULL, *d = m ? op2(c, OP_sub, x, m) : x;
    const Node *least = number(c, epsilon), *variance = mean_last(c, op2(c, OP_mul, d, d));
    const Node *s = build_unary(c->b, OP_sqrt, op2(c, OP_add, variance, least));
    if (mean) *mean = m;
    const Node *over = op2(c, OP_div, number(c, 1), s);
    if (inverse) *inverse = over;
    return op2(c, OP_mul, d, over);
}

// y * scale + bias, both optional, broadcast as given.
static const Node *scale_and_shift(Call *c, const Node *y, const Node *scale, const Node *bias)
{
    Type t;
    if (!finite_weights(c, scale, "scales") || !finite_weights(c, bias, "biases")) return NULL;
    if (scale && !broadcast_ok(c, 2, (const Node *const[]){y, scale}, &t)) return NULL;
    if (scale) y = op2(c, OP_mul, y, scale);
    if (bias && !broadcast_ok(c, 2, (const Node *const[]){y, bias}, &t)) return NULL;
    return bias ? op2(c, OP_add, y, bias) : y;
}

// One number for each channel, as [1, C, 1, ...].
static const Node *per_channel(Call *c, const Node *v, const Node *x)
{
    int64_t dim[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    if (!v) return NULL;
    if (x->type.rank < 2 || type_lanes(v->type) != x->type.dim[1])
        return fail(c, DAMAGED, "%s for the channels of %s", type_text(call_arena(c), v->type),
                    type_text(call_arena(c), x->type));
    dim[1] = x->type.dim[1];
    return build_reshape(c->b, v, x->type.rank, dim);
}

typedef struct {
    const Node *y, *mean, *inverse;
} Normalised;

// Over the axes from `axis` on; y is NULL after an error.
static Normalised norm_over_trailing(Call *c, const Node *x, int axis, double epsilon, bool centre)
{
    Normalised n = {0};
    int64_t axes[MAX_RANK], dim[MAX_RANK];
    for (int i = axis; i < x->type.rank; i++) axes[i - axis] = i;
    for (int i = 0; i < x->type.rank; i++) dim[i] = i < axis ? x->type.dim[i] : 1;
    LastAxes l = last_axes(x, x->type.rank - axis, axes);
    const Node *lines = to_last(c, x, &l);
    if (!lines) return n;
    n.y = from_last(c, normalised(c, lines, epsilon, centre, &n.mean, &n.inverse), &l);
    n.mean = n.mean ? build_reshape(c->b, n.mean, x->type.rank, dim) : NULL;
    n.inverse = build_reshape(c->b, n.inverse, x->type.rank, dim);
    return n;
}

static void layer_norm(Call *c, bool centre)
{
    const Node *x = cast_real(c, arg(c, 0)), *scale = arg(c, 1), *bias = centre ? optional(c, 2) : NULL;
    int axis = 0;
    if (!x || !scale || c->failed || !axis_of(c, attr_int(c, "axis", -1), x->type.rank, &axis)) return;
    Normalised n = norm_over_trailing(c, x, axis, attr_real(c, "epsilon", (double)1e-5f), centre);
    if (!n.y) return;
    result(c, 0, scale_and_shift(c, n.y, scale, bias));
    if (c->n_out > 1 && centre) result(c, 1, n.mean);
    if (c->n_out > 2 && centre) result(c, 2, n.inverse);
}

void import_layer_norm(Call *c, int a)
{
    (void)a;
    layer_norm(c, true);
}

void import_rms_norm(Call *c, int a)
{
    (void)a;
    layer_norm(c, false);
}

// As ONNX Runtime's optimiser writes the sum of a residual branch, and of a bias, and the normalisation behind it:
// (x, skip, scale[, shift], bias) -> y, mean, 1 / deviation, the sum. Without a mean there is no shift.
void import_skip_layer_norm(Call *c, int centre)
{
    const Node *in[3] = {arg(c, 0), arg(c, 1), optional(c, centre ? 4 : 3)}, *scale = arg(c, 2),
               *shift = centre ? optional(c, 3) : NULL, *sum = in[0];
    Type t;
    if (!in[0] || !in[1] || !scale) return;
    in[1] = unbaked(c, 2, 1, in[1]);
    for (int i = 1; i < 3 && !c->failed; i++) {
        if (!in[i] || !broadcast_ok(c, 2, (const Node *const[]){sum, in[i]}, &t)) continue;
        sum = op2(c, OP_add, sum, in[i]);
    }
    if (c->failed) return;
    sum = cast_real(c, sum);
    Normalised n = norm_over_trailing(c, sum, sum->type.rank - 1, attr_real(c, "epsilon", (double)1e-12f), centre != 0);
    if (!n.y) return;
    result(c, 0, scale_and_shift(c, n.y, scale, shift));
    if (c->n_out > 1 && centre) result(c, 1, n.mean);
    if (c->n_out > 2) result(c, 2, n.inverse);
    if (c->n_out > 3) result(c, 3, sum);
}

// Groups of channels with their pixels: [N, groups, rest].
static const Node *grouped(Call *c, const Node *x, int64_t groups)
{
    if (x->type.rank < 2 || groups < 1 || x->type.dim[1] % groups)
        return fail(c, DAMAGED, "%lld groups of %s", (long long)groups, type_text(call_arena(c), x->type));
    int64_t n = x->type.dim[0] * groups;
    const Node *lines = build_reshape(c->b, x, 3, (int64_t[]){x->type.dim[0], groups, n ? type_lanes(x->type) / n : 0});
    const Node *y = normalised(c, lines, attr_real(c, "epsilon", (double)1e-5f), true, NULL, NULL);
    return build_reshape(c->b, y, x->type.rank, x->type.dim);
}

void import_instance_norm(Call *c, int a)
{
    (void)a;
    const Node *x = cast_real(c, arg(c, 0)), *scale = arg(c, 1), *bias = arg(c, 2);
    if (!x || !scale || !bias) return;
    const Node *y = grouped(c, x, x->type.rank > 1 ? x->type.dim[1] : 0);
    if (!y) return;
    bias = per_channel(c, bias, x);
    result(c, 0, scale_and_shift(c, y, per_channel(c, scale, x), bias));
}

// Scale and bias are per group in opset 18, per channel since 21.
void import_group_norm(Call *c, int a)
{
    (void)a;
    const Node *x = cast_real(c, arg(c, 0)), *part[2] = {arg(c, 1), arg(c, 2)};
    int64_t groups = attr_int(c, "num_groups", 0);
    const Node *y = x && part[0] && part[1] ? grouped(c, x, groups) : NULL;
    for (int i = 0; i < 2 && y; i++) {
        if (type_lanes(part[i]->type) == groups && groups != x->type.dim[1]) {
            const Node *wide = build_broadcast(c->b, build_reshape(c->b, part[i], 2, (int64_t[]){groups, 1}), 2,
                                               (int64_t[]){groups, x->type.dim[1] / groups});
            part[i] = build_reshape(c->b, wide, 1, &x->type.dim[1]);
        }
        part[i] = per_channel(c, part[i], x);
    }
    if (y && !c->failed) result(c, 0, scale_and_shift(c, y, part[0], part[1]));
}

// In evaluation an affine map of each channel.
void import_batch_norm(Call *c, int a)
{
    (void)a;
    const Node *x = cast_real(c, arg(c, 0)), *p[4];
    bool training = attr_int(c, "training_mode", 0) != 0;
    for (int i = 1; i < c->n_out && c->opset < 14; i++) training |= *c->node->output[i] != 0;
    if (training) {
        fail(c, "call model.eval() before the export",
             "batch normalisation in training mode mixes the rows of the batch");
        return;
    }
    for (int i = 0; i < 4 && x; i++) {
        if (!(p[i] = arg(c, 1 + i)) || !finite_weights(c, p[i], "parameters")) return;
        p[i] = x->type.rank == 1 ? p[i] : per_channel(c, p[i], x);
        if (!p[i]) return;
    }
    if (!x) return;
    const Node *s = build_unary(c->b, OP_sqrt, op2(c, OP_add, p[3], number(c, attr_real(c, "epsilon", (double)1e-5f))));
    const Node *factor = op2(c, OP_div, p[0], s);
    result(c, 0, op2(c, OP_add, op2(c, OP_mul, op2(c, OP_sub, x, p[2]), factor), p[1]));
}

void import_lp_norm(Call *c, int a)
{
    (void)a;
    const Node *x = cast_real(c, arg(c, 0));
    int axis = 0;
    int64_t p = attr_int(c, "p", 2);
    if (!x || !axis_of(c, attr_int(c, "axis", -1), x->type.rank, &axis)) return;
    LastAxes l = last_axes(x, 1, (int64_t[]){axis});
    const Node *lines = to_last(c, x, &l);
    if (!lines) return;
    const Node *norm = p == 1 ? keep_last(c, OP_reduce_sum, build_unary(c->b, OP_abs, lines))
                              : build_unary(c->b, OP_sqrt, keep_last(c, OP_reduce_sum, op2(c, OP_mul, lines, lines)));
    const Node *one = number(c, 1);
    norm = build_select(c->b, op2(c, OP_eq, norm, number(c, 0)), one, norm); // 0 stays 0
    result(c, 0, from_last(c, op2(c, OP_div, lines, norm), &l));
}
