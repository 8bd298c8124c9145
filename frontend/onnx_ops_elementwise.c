// Elementwise operators. Most are one op of the IR; activations are written with those that have an inverse
// (leaky_relu, elu, softplus, sigmoid, tanh) wherever they can be. Float types are all read as reals.
#include "double_math.h"
#include "onnx_import.h"

#include <math.h>
#include <string.h>

static const Node *mul(Call *c, const Node *x, const Node *y) { return build_binary(c->b, OP_mul, x, y); }
static const Node *add(Call *c, const Node *x, const Node *y) { return build_binary(c->b, OP_add, x, y); }
static const Node *scaled(Call *c, const Node *x, double v) { return v == 1 ? x : mul(c, x, number(c, v)); }
const Node *limited(Call *c, const Node *x, double low, double high)
{
    const Node *most = number(c, high);
    return build_binary(c->b, OP_min, build_binary(c->b, OP_max, x, number(c, low)), most);
}
// a x + b in 0..1
static const Node *hard_sigmoid(Call *c, const Node *x, double factor, double shift)
{
    const Node *b = number(c, shift);
    return limited(c, add(c, scaled(c, x, factor), b), 0, 1);
}

void import_unary(Call *c, int op)
{
    const Node *x = arg(c, 0);
    if (x) result(c, 0, build_unary(c->b, (Op)op, x));
}

void import_binary(Call *c, int op)
{
    const Node *in[2];
    if (operands(c, 2, in)) result(c, 0, build_binary(c->b, (Op)op, in[0], in[1]));
}

void import_flipped(Call *c, int op)
{
    const Node *in[2];
    if (operands(c, 2, in)) result(c, 0, build_binary(c->b, (Op)op, in[1], in[0]));
}

static const Node *fold_all(Call *c, Op op)
{
    const Node **in = ARENA_ARRAY(call_arena(c), const Node *, c->n_in + 1);
    if (!c->n_in || !operands(c, c->n_in, in)) return c->n_in ? NULL : arg(c, 0);
    const Node *sum = in[0];
    for (int i = 1; i < c->n_in; i++) sum = build_binary(c->b, op, sum, in[i]);
    return sum;
}

void import_variadic(Call *c, int op) { result(c, 0, fold_all(c, (Op)op)); }

void import_mean(Call *c, int a)
{
    (void)a;
    const Node *sum = fold_all(c, OP_add);
    if (sum) result(c, 0, build_binary(c->b, OP_div, sum, number(c, c->n_in)));
}

void import_isinf(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (!x) return;
    const Node *inf = build_unary(c->b, OP_isinf, x), *zero = number(c, 0);
    if (!attr_int(c, "detect_negative", 1)) inf = build_binary(c->b, OP_and, inf, build_binary(c->b, OP_lt, zero, x));
    if (!attr_int(c, "detect_positive", 1)) inf = build_binary(c->b, OP_and, inf, build_binary(c->b, OP_lt, x, zero));
    result(c, 0, inf);
}

void import_reciprocal(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (x) result(c, 0, build_binary(c->b, OP_div, number(c, 1), x));
}

// ---- activations: alone, or behind a product or a convolution where ONNX Runtime's optimiser has fused the two

static const struct {
    const char *name, *parameter[2];
    double usual[2];
} ACTIVATIONS[] = {
    [ACTIVATION_RELU] = {"Relu", {NULL}, {0}},
    [ACTIVATION_LEAKY_RELU] = {"LeakyRelu", {"alpha"}, {(double)0.01f}},
    [ACTIVATION_THRESHOLDED_RELU] = {"ThresholdedRelu", {"alpha"}, {1}},
    [ACTIVATION_ELU] = {"Elu", {"alpha"}, {1}},
    [ACTIVATION_SELU] = {"Selu",
                         {"alpha", "gamma"},
                         {(double)1.67326319217681884765625f, (double)1.05070102214813232421875f}},
    [ACTIVATION_HARD_SIGMOID] = {"HardSigmoid", {"alpha", "beta"}, {(double)0.2f, 0.5}},
    [ACTIVATION_SOFTSIGN] = {"Softsign", {NULL}, {0}},
    [ACTIVATION_SIGMOID] = {"Sigmoid", {NULL}, {0}},
    [ACTIVATION_TANH] = {"Tanh", {NULL}, {0}},
    [ACTIVATION_SOFTPLUS] = {"Softplus", {NULL}, {0}},
    [ACTIVATION_CLIP] = {"Clip", {"min", "max"}, {-INFINITY, INFINITY}},
};

static const Node *activation(Call *c, int kind, const Node *x, const double *p)
{
    Builder *b = c->b;
    switch (kind) {
    case ACTIVATION_RELU: return build_alpha(b, OP_leaky_relu, x, 0);
    case ACTIVATION_LEAKY_RELU: return build_alpha(b, OP_leaky_relu, x, p[0]);
    case ACTIVATION_THRESHOLDED_RELU: {
        const Node *zero = number(c, 0);
        return build_select(b, build_binary(b, OP_lt, number(c, p[0]), x), x, zero);
    }
    case ACTIVATION_ELU: return build_alpha(b, OP_elu, x, p[0]);
    case ACTIVATION_SELU: return scaled(c, build_alpha(b, OP_elu, x, p[0]), p[1]);
    case ACTIVATION_HARD_SIGMOID: return hard_sigmoid(c, x, p[0], p[1]);
    case ACTIVATION_SOFTSIGN: {
        const Node *size = build_unary(b, OP_abs, x);
        return build_binary(b, OP_div, x, add(c, number(c, 1), size));
    }
    case ACTIVATION_SIGMOID: return build_unary(b, OP_sigmoid, x);
    case ACTIVATION_TANH: return build_unary(b, OP_tanh, x);
    case ACTIVATION_SOFTPLUS: return build_unary(b, OP_softplus, x);
    default: return limited(c, x, p[0], p[1]);
    }
}

static void read_parameters(Call *c, int kind, const char *prefix, double *p)
{
    for (int i = 0; i < 2; i++) {
        const char *name = ACTIVATIONS[kind].parameter[i];
        p[i] = name ? attr_real(c, arena_format(call_arena(c), "%s%s", prefix, name), ACTIVATIONS[kind].usual[i]) : 0;
    }
}

void import_activation(Call *c, int kind)
{
    const Node *x = arg(c, 0);
    double p[2];
    read_parameters(c, kind, "", p);
    if (x) result(c, 0, activation(c, kind, x, p));
}

// The parameters are activation_alpha, ... behind a product, a list behind a convolution.
const Node *activated(Call *c, const Node *y)
{
    const char *name = attr_text(c, "activation", "");
    const Onnx__AttributeProto *list = attr(c, "activation_params");
    if (!y || !*name) return y;
    for (int kind = 0; kind < (int)(sizeof ACTIVATIONS / sizeof *ACTIVATIONS); kind++) {
        if (strcmp(name, ACTIVATIONS[kind].name)) continue;
        double p[2];
        read_parameters(c, kind, "activation_", p);
        for (size_t i = 0; i < 2 && list && i < list->n_floats; i++) p[i] = (double)list->floats[i];
        return activation(c, kind, y, p);
    }
    return fail(c, "optimise the graph at a lower level", "its activation '%s' is not supported", name);
}

// max(0, x) + min(0, alpha (e^(x / alpha) - 1)) = alpha elu(x / alpha)
void import_celu(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    double alpha = attr_real(c, "alpha", 1);
    if (x && alpha == 0) fail(c, "use ReLU", "alpha is 0");
    if (x && alpha != 0) result(c, 0, scaled(c, build_alpha(c->b, OP_elu, scaled(c, x, 1 / alpha), 1), alpha));
}

void import_prelu(Call *c, int a)
{
    (void)a;
    const Node *in[2];
    double slope = 0;
    if (!operands(c, 2, in)) return;
    if (node_is_const(in[1]) && const_is_splat(in[1], &slope) && in[1]->type.rank <= in[0]->type.rank)
        result(c, 0, build_alpha(c->b, OP_leaky_relu, in[0], slope));
    else {
        const Node *below = mul(c, in[0], in[1]);
        result(c, 0, build_select(c->b, build_binary(c->b, OP_lt, in[0], number(c, 0)), below, in[0]));
    }
}

void import_hard_swish(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (x) result(c, 0, mul(c, x, hard_sigmoid(c, x, 1.0 / 6, 0.5)));
}

// 0.5 x (1 + v)
static const Node *half_times(Call *c, const Node *x, const Node *v)
{
    const Node *sum = add(c, v, number(c, 1));
    return mul(c, scaled(c, x, 0.5), sum);
}

// 0.5 x (1 + erf(x / sqrt 2))
static const Node *gelu_erf(Call *c, const Node *x)
{
    const Node *erf = build_unary(c->b, OP_erf, build_binary(c->b, OP_div, x, number(c, sqrt(2.0))));
    return half_times(c, x, erf);
}

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
static const Node *gelu_tanh(Call *c, const Node *x)
{
    const Node *cube = mul(c, mul(c, x, x), x);
    const Node *inner = scaled(c, add(c, x, scaled(c, cube, 0.044715)), sqrt(2 / double_acos(-1.0)));
    return half_times(c, x, build_unary(c->b, OP_tanh, inner));
}

void import_gelu(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (x) result(c, 0, strcmp(attr_text(c, "approximate", "none"), "tanh") ? gelu_erf(c, x) : gelu_tanh(c, x));
}

// With a bias in front, as ONNX Runtime's optimiser writes them.
void import_bias_gelu(Call *c, int by_tanh)
{
    const Node *in[2], *x = NULL;
    if (!has_arg(c, 1))
        x = arg(c, 0);
    else if (operands(c, 2, in))
        x = add(c, in[0], in[1]);
    if (x) result(c, 0, by_tanh ? gelu_tanh(c, x) : gelu_erf(c, x));
}

static const Node *swish(Call *c, const Node *x, double alpha)
{
    return mul(c, x, build_unary(c->b, OP_sigmoid, scaled(c, x, alpha)));
}

void import_swish(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (x) result(c, 0, swish(c, x, attr_real(c, "alpha", 1)));
}

void import_quick_gelu(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (x) result(c, 0, swish(c, x, attr_real(c, "alpha", (double)1.702f)));
}

// x + bias below -lambd, x - bias above lambd, else 0.
void import_shrink(Call *c, int a)
{
    (void)a;
    const Node *x = cast_real(c, arg(c, 0));
    if (!x) return;
    double edge = attr_real(c, "lambd", 0.5), bias = attr_real(c, "bias", 0);
    const Node *zero = number(c, 0), *less = add(c, x, number(c, -bias));
    const Node *above = build_select(c->b, op2(c, OP_lt, number(c, edge), x), less, zero);
    const Node *more = add(c, x, number(c, bias));
    result(c, 0, build_select(c->b, op2(c, OP_lt, x, number(c, -edge)), more, above));
}

void import_mish(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (x) result(c, 0, mul(c, x, build_unary(c->b, OP_tanh, build_unary(c->b, OP_softplus, x))));
}

// Bounds are inputs since opset 11, attributes before.
void import_clip(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *lo = optional(c, 1), *hi = optional(c, 2);
    if (!x || c->failed) return;
    if (c->opset < 11 && attr(c, "min")) lo = number(c, attr_real(c, "min", 0));
    if (c->opset < 11 && attr(c, "max")) hi = number(c, attr_real(c, "max", 0));
    for (int i = 0; i < 2; i++)
        if ((i ? hi : lo) && type_lanes((i ? hi : lo)->type) != 1) {
            fail(c, "write it with torch.maximum and torch.minimum", "its bounds are not single numbers");
            return;
        }
    Type t = x->type;
    if (lo) x = build_binary(c->b, OP_max, x, build_reshape(c->b, lo, 0, t.dim));
    if (hi) x = build_binary(c->b, OP_min, x, build_reshape(c->b, hi, 0, t.dim));
    result(c, 0, build_reshape(c->b, x, t.rank, t.dim));
}

// x^n as products, roots and exponentials, where the exponent or the base is one constant.
static const Node *power(Call *c, const Node *x, const Node *y)
{
    double e = 0, base = 0;
    bool real = x->type.dtype == T_F32 || x->type.dtype == T_F64;
    if (!node_is_const(x) && node_is_const(y) && const_is_splat(y, &e) && y->type.rank <= x->type.rank) {
        if (e == 1) return x;
        if (e == 2) return mul(c, x, x);
        if (e == 3) return mul(c, mul(c, x, x), x);
        if (e == 4) return mul(c, mul(c, x, x), mul(c, x, x));
        if (e == 0.5 && real) return build_unary(c->b, OP_sqrt, x);
        if (e == -1 && real) return build_binary(c->b, OP_div, number(c, 1), x);
        if (e == -0.5 && real) {
            const Node *root = build_unary(c->b, OP_sqrt, x);
            return build_binary(c->b, OP_div, number(c, 1), root);
        }
    }
    if (real && node_is_const(x) && !node_is_const(y) && const_is_splat(x, &base) && base > 0 &&
        x->type.rank <= y->type.rank)
        return build_unary(c->b, OP_exp, scaled(c, cast_real(c, y), double_log(base)));
    return build_binary(c->b, OP_pow, x, y);
}

void import_pow(Call *c, int a)
{
    (void)a;
    const Node *in[2];
    if (!operands(c, 2, in)) return;
    const Node *p = power(c, in[0], in[1]);
    bool whole = p && in[0]->type.dtype == T_I64 && p->type.dtype != T_I64; // a power has its base's type
    result(c, 0, whole ? build_cast(c->b, p, T_I64) : p);
}

void import_mod(Call *c, int a)
{
    (void)a;
    const Node *in[2];
    if (operands(c, 2, in)) result(c, 0, build_binary(c->b, attr_int(c, "fmod", 0) ? OP_fmod : OP_mod, in[0], in[1]));
}

// A constant condition chooses lanes: that is a movement, which has an inverse.
static const Node *chosen(Call *c, const Node *const in[3], Type t)
{
    int64_t n = type_lanes(t);
    const Node *from[2] = {build_broadcast(c->b, in[1], t.rank, t.dim), build_broadcast(c->b, in[2], t.rank, t.dim)};
    const Node *mask = build_broadcast(c->b, in[0], t.rank, t.dim);
    int32_t *map = ARENA_ARRAY(call_arena(c), int32_t, n);
    for (int64_t i = 0; i < n; i++) map[i] = (int32_t)(const_at(mask, i) != 0 ? i : n + i);
    t.dtype = in[1]->type.dtype == T_F64 ? T_F32 : in[1]->type.dtype;
    return build_move(c->b, t, 2, from, map);
}

// What a mask of one element selected, chosen by that mask: torch writes x[mask] = y so where y is one number.
static void end_selection(Call *c, const Node *condition)
{
    const Node *mask = c->in[1].mask;
    if (!mask || mask != condition || type_lanes(mask->type) != 1) return;
    if (c->in[2].mask == outer_mask(c->im, mask)) c->mask = c->in[2].mask;
}

void import_where(Call *c, int a)
{
    (void)a;
    const Node *in[3];
    Type t;
    if (!operands(c, 3, in) || !broadcast_ok(c, 3, in, &t)) return;
    end_selection(c, in[0]);
    result(c, 0, node_is_const(in[0]) ? chosen(c, in, t) : build_select(c->b, in[0], in[1], in[2]));
}

// A constant in a narrower integer type wraps.
static const Node *wrapped(Call *c, const Node *x, int bits)
{
    int width = bits < 0 ? -bits : bits;
    if (!node_is_const(x) || width == 0 || width == 64) return x;
    int64_t n = type_lanes(x->type), *v = ARENA_ARRAY(call_arena(c), int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) {
        uint64_t u = (uint64_t)const_int_at(x, i) << (64 - width);
        v[i] = bits < 0 ? (int64_t)u >> (64 - width) : (int64_t)(u >> (64 - width));
    }
    return build_const(c->b, x->type, v);
}

void import_cast(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t to = attr_int(c, "to", 0);
    DType dtype;
    if (!x) return;
    if (to < 0 || to > 100 || !onnx_dtype((int)to, &dtype)) {
        fail(c, "export in float32", "a cast to %s is not supported",
             onnx_type_name(to < 0 || to > 100 ? -1 : (int)to));
        return;
    }
    x = build_cast(c->b, x, dtype == T_F64 ? T_F32 : dtype);
    result(c, 0, dtype == T_I64 ? wrapped(c, x, onnx_int_bits((int)to)) : x);
}

void import_cast_like(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *like = arg(c, 1);
    if (x && like) result(c, 0, build_cast(c->b, x, like->type.dtype == T_F64 ? T_F32 : like->type.dtype));
}

void import_identity(Call *c, int a)
{
    (void)a;
    if (has_arg(c, 0) && c->in[0].kind == VALUE_SEQUENCE)
        result_value(c, 0, c->in[0]);
    else
        result(c, 0, arg(c, 0));
}

// The identity outside training.
void import_dropout(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *training = optional(c, 2);
    has_arg(c, 1); // the ratio
    if (!x || c->failed) return;
    if (training && !(node_is_const(training) && const_at(training, 0) == 0)) {
        fail(c, "call model.eval() before the export", "dropout in training mode");
        return;
    }
    result(c, 0, x);
    uint8_t *ones = c->n_out > 1 ? arena_alloc(call_arena(c), (size_t)type_lanes(x->type)) : NULL;
    if (!ones) return;
    memset(ones, 1, (size_t)type_lanes(x->type));
    Type t = x->type;
    t.dtype = T_BOOL;
    result(c, 1, build_const(c->b, t, ones));
}

// One number, or one per element of the axis, for every element of x.
static const Node *along_axis(Call *c, const Node *v, const Node *x, int axis)
{
    int64_t dim[MAX_RANK];
    for (int i = 0; i < x->type.rank; i++) dim[i] = 1;
    if (type_lanes(v->type) != 1) dim[axis] = type_lanes(v->type);
    const Node *shaped = checked_reshape(c, v, x->type.rank, dim);
    return shaped ? checked_broadcast(c, shaped, x->type.rank, x->type.dim) : NULL;
}

// (x - zero point) * scale
void import_dequantize(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *scale = arg(c, 1), *zero = optional(c, 2);
    int axis = 0;
    attr(c, "output_dtype");
    if (!x || !scale || c->failed) return;
    if (x->type.rank && type_lanes(scale->type) != 1 && !axis_of(c, attr_int(c, "axis", 1), x->type.rank, &axis))
        return;
    attr(c, "axis");
    if (attr_int(c, "block_size", 0) != 0) {
        fail(c, "quantise whole tensors or channels", "it is quantised in blocks");
        return;
    }
    x = build_cast(c->b, x, T_F32);
    if (zero && (zero = along_axis(c, build_cast(c->b, zero, T_F32), x, axis))) x = build_binary(c->b, OP_sub, x, zero);
    scale = along_axis(c, cast_real(c, scale), x, axis);
    result(c, 0, scale ? build_binary(c->b, OP_mul, x, scale) : NULL);
}
