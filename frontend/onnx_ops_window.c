// Convolutions and pooling. A convolution is a lane map (each output position's window of inputs as one line, zeros at
// the border) and a product with the constant weights; pooling is the same map and a reduction.
#include "onnx_import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- windows

enum { SPACE = MAX_RANK - 3 }; // most spatial dims: a window needs [N, C, out..., window]

// Geometry of a convolution or pooling over `n` spatial dims.
typedef struct {
    int n;
    int64_t in[SPACE], out[SPACE], kernel[SPACE], stride[SPACE], dilation[SPACE], before[SPACE], after[SPACE],
        extra[SPACE];
    int64_t channels, first_channel, window; // window: product of kernel
    int64_t image;                           // product of in
    int64_t fill;                            // lane of the border value
    bool transposed;
} Window;

static bool list(Call *c, const char *name, int n, int64_t otherwise, int64_t low, int64_t *out)
{
    Ints v;
    bool has = attr_ints(c, name, &v);
    if (has && v.n != n)
        return fail(c, DAMAGED, "attribute '%s' has %lld numbers instead of %d", name, (long long)v.n, n) != NULL;
    for (int i = 0; i < n; i++) {
        out[i] = has ? v.v[i] : otherwise;
        if (out[i] < low || out[i] > 1 << 20)
            return fail(c, DAMAGED, "attribute '%s' is %lld", name, (long long)out[i]) != NULL;
    }
    return !c->failed;
}

static bool geometry(Call *c, Window *w, const Node *x, const int64_t *kernel)
{
    w->n = x->type.rank - 2;
    if (w->n < 1 || w->n > SPACE)
        return fail(c, "use one to three spatial dimensions", "an image of rank %d", x->type.rank) != NULL;
    w->channels = x->type.dim[1];
    w->window = w->image = 1;
    for (int i = 0; i < w->n; i++) {
        w->in[i] = x->type.dim[2 + i];
        w->image *= w->in[i];
    }
    attr(c, "kernel_shape"); // the weights have it, too
    if (kernel)
        memcpy(w->kernel, kernel, sizeof(int64_t) * (size_t)w->n);
    else if (!list(c, "kernel_shape", w->n, 0, 1, w->kernel))
        return false;
    for (int i = 0; i < w->n; i++)
        if (w->kernel[i] < 1 || w->kernel[i] > 1 << 20 || __builtin_mul_overflow(w->window, w->kernel[i], &w->window))
            return fail(c, DAMAGED, "its kernel has size %lld", (long long)w->kernel[i]) != NULL;
    return list(c, "strides", w->n, 1, 1, w->stride) && list(c, "dilations", w->n, 1, 1, w->dilation);
}

// Padding and output size of each dim.
static bool borders(Call *c, Window *w)
{
    const char *automatic = attr_text(c, "auto_pad", "NOTSET");
    int64_t pads[2 * SPACE] = {0};
    attr(c, "pads"); // ignored when automatic
    bool explicit_pads = !strcmp(automatic, "NOTSET") || !*automatic, same = !strncmp(automatic, "SAME_", 5),
         ceiling = attr_int(c, "ceil_mode", 0) != 0;
    if (explicit_pads && !list(c, "pads", 2 * w->n, 0, 0, pads)) return false;
    for (int i = 0; i < w->n; i++) {
        int64_t reach = (w->kernel[i] - 1) * w->dilation[i] + 1;
        w->before[i] = pads[i];
        w->after[i] = pads[w->n + i];
        if (same) {
            w->out[i] = (w->in[i] + w->stride[i] - 1) / w->stride[i];
            int64_t total = (w->out[i] - 1) * w->stride[i] + reach - w->in[i];
            if (total < 0) total = 0;
            w->before[i] = !strcmp(automatic, "SAME_UPPER") ? total / 2 : total - total / 2;
            w->after[i] = total - w->before[i];
            continue;
        }
        int64_t span = w->in[i] + w->before[i] + w->after[i] - reach;
        bool overhangs = ceiling && -w->stride[i] < span; // its one output: / rounds a negative span up
        if (span < 0 && !overhangs) return fail(c, DAMAGED, "its window is larger than the image") != NULL;
        w->out[i] = span / w->stride[i] + 1;
        if (ceiling && span > 0 && span % w->stride[i] && w->out[i] * w->stride[i] < w->in[i] + w->before[i])
            w->out[i]++; // starts inside the image
    }
    return true;
}

// Lane of [row, channel, out..., window] in the image, or the border value.
static int64_t window_source(const void *user, const int64_t *index)
{
    const Window *w = user;
    int64_t lane = index[0] * w->channels + w->first_channel + index[1], rest = index[2 + w->n], k[SPACE];
    for (int i = w->n - 1; i >= 0; i--) {
        k[i] = rest % w->kernel[i];
        rest /= w->kernel[i];
    }
    for (int i = 0; i < w->n; i++) {
        int64_t at;
        if (w->transposed) { // the input that reaches this output through kernel element k
            at = index[2 + i] + w->before[i] - k[i] * w->dilation[i];
            if (at % w->stride[i]) return w->fill;
            at /= w->stride[i];
        } else {
            at = index[2 + i] * w->stride[i] - w->before[i] + k[i] * w->dilation[i];
        }
        if (at < 0 || at >= w->in[i]) return w->fill;
        lane = lane * w->in[i] + at;
    }
    return lane;
}

// [rows, channels, out..., window] of x with `border` outside.
static const Node *windows(Call *c, const Node *x, Window *w, int64_t channels, double border)
{
    Type t = type_make(T_F32, w->n + 3, x->type.dim);
    t.dim[1] = channels;
    memcpy(t.dim + 2, w->out, sizeof(int64_t) * (size_t)w->n);
    t.dim[2 + w->n] = w->window;
    w->fill = type_lanes(x->type);
    return remap(c, t, 2, (const Node *const[]){x, build_scalar(c->b, border)}, window_source, w);
}

// Where lane i of a picture comes from, as far as values lie like it: through moves, elementwise nodes, and reductions
// (a pool), of whose windows the middle is taken.
static const Node *source_of(const Node *n, int64_t *lane)
{
    for (const Node *next = n; next; n = next) {
        next = NULL;
        if (n->op == OP_move) {
            next = n->in[move_source(n, *lane, lane)];
        } else if (op_info(n->op)->kind == KIND_REDUCE) {
            int64_t k = type_last(n->in[0]->type);
            *lane = *lane * k + k / 2;
            next = n->in[0];
        } else if (op_elementwise(n->op)) {
            for (int k = n->n_in - 1; k >= 0; k--)
                if (type_lanes(n->in[k]->type) == type_lanes(n->type) && !node_is_const(n->in[k])) next = n->in[k];
        }
    }
    return n;
}

// Do the channels of a place lie nearer to each other than places of a channel, as products leave them? So then should
// the inputs of a window, which are copied run by run.
static bool lies_by_place(const Node *x, const Window *w)
{
    int64_t middle = w->image / 2 + w->in[w->n - 1] / 2, at[3] = {middle, middle + 1, middle + w->image};
    if (w->channels < 2 || middle + 1 >= w->image) return true;
    const Node *here = source_of(x, &at[0]), *place = source_of(x, &at[1]), *channel = source_of(x, &at[2]);
    return here != place || here != channel || llabs(at[2] - at[0]) < llabs(at[1] - at[0]);
}

// One group: windows times weights, with their axes `channel`, `filter` (the third is the window) -> [rows, filters,
// out...].
static const Node *convolve(Call *c, const Node *x, Window *w, const Node *weights, int channel, int filter)
{
    int64_t channels = weights->type.dim[channel], filters = weights->type.dim[filter];
    const Node *lines = windows(c, x, w, channels, 0);
    if (!lines) return NULL;
    int perm[MAX_RANK];
    int64_t places = 1, rows = x->type.dim[0], dim[MAX_RANK];
    bool by_place = lies_by_place(x, w);
    for (int i = 0; i < w->n; i++) places *= w->out[i];
    perm[0] = 0;
    for (int i = 0; i < w->n; i++) perm[1 + i] = 2 + i;
    perm[w->n + 1] = by_place ? w->n + 2 : 1;
    perm[w->n + 2] = by_place ? 1 : w->n + 2;
    lines = build_transpose(c->b, lines, perm);
    weights = build_transpose(c->b, weights, by_place ? (int[]){2, channel, filter} : (int[]){channel, 2, filter});
    weights = build_reshape(c->b, weights, 2, (int64_t[]){channels * w->window, filters});
    const Node *y = product(c, build_reshape(c->b, lines, 3, (int64_t[]){rows, places, channels * w->window}), weights);
    if (!y) return NULL;
    dim[0] = rows;
    dim[1] = type_last(y->type);
    memcpy(dim + 2, w->out, sizeof(int64_t) * (size_t)w->n);
    return build_reshape(c->b, build_transpose(c->b, y, (int[]){0, 2, 1}), w->n + 2, dim);
}

static const Node *convolved(Call *c, const Node *const *part, int64_t groups)
{
    const Node *y = build_concat(c->b, (int)groups, part, 1), *bias = optional(c, 2);
    if (!bias) return y;
    int64_t dim[MAX_RANK] = {1, type_lanes(bias->type), 1, 1, 1, 1, 1, 1};
    Type t;
    if (!finite_weights(c, bias, "biases")) return NULL;
    const Node *in[2] = {y, build_reshape(c->b, bias, y->type.rank, dim)};
    return broadcast_ok(c, 2, in, &t) ? build_binary(c->b, OP_add, in[0], in[1]) : NULL;
}

static bool conv_operands(Call *c, const Node **x, const Node **weights, int64_t *groups)
{
    if (!(*x = cast_real(c, arg(c, 0))) || !(*weights = arg(c, 1))) return false;
    *groups = attr_int(c, "group", 1);
    bool ok = (*x)->type.rank >= 3 && (*weights)->type.rank == (*x)->type.rank && *groups >= 1 && *groups <= 65536 &&
              (*x)->type.dim[1] % *groups == 0;
    return ok || fail(c, DAMAGED, "weights %s for an image %s", type_text(call_arena(c), (*weights)->type),
                      type_text(call_arena(c), (*x)->type)) != NULL;
}

static const Node *conv(Call *c)
{
    const Node *x = NULL, *weights = NULL;
    int64_t groups = 1;
    Window w = {0};
    if (!conv_operands(c, &x, &weights, &groups) || !geometry(c, &w, x, weights->type.dim + 2) || !borders(c, &w))
        return NULL;
    int64_t channels = w.channels / groups, filters = weights->type.dim[0] / groups;
    if (weights->type.dim[1] != channels || weights->type.dim[0] % groups || !filters)
        return fail(c, DAMAGED, "weights %s for %lld channels in %lld groups", type_text(call_arena(c), weights->type),
                    (long long)w.channels, (long long)groups);
    const Node **part = ARENA_ARRAY(call_arena(c), const Node *, groups);
    for (int64_t g = 0; g < groups; g++) {
        w.first_channel = g * channels;
        const Node *wg = build_slice(c->b, weights, 0, g * filters, filters, 1);
        wg = build_reshape(c->b, wg, 3, (int64_t[]){filters, channels, w.window});
        if (!(part[g] = convolve(c, x, &w, wg, 1, 0))) return NULL;
    }
    return convolved(c, part, groups);
}

void import_conv(Call *c, int unused)
{
    (void)unused;
    const Node *y = conv(c);
    if (y) result(c, 0, y);
}

// As ONNX Runtime's optimiser writes a convolution, a sum behind it and the activation of both.
void import_fused_conv(Call *c, int unused)
{
    (void)unused;
    const Node *y = conv(c), *term = y ? optional(c, 3) : NULL;
    Type t;
    if (term && !broadcast_ok(c, 2, (const Node *const[]){y, term}, &t)) return;
    if (term) y = build_binary(c->b, OP_add, y, term);
    y = activated(c, y);
    if (y) result(c, 0, y);
}

// Output sizes of a transposed convolution; its padding shrinks the output.
static bool transposed_borders(Call *c, Window *w)
{
    const char *automatic = attr_text(c, "auto_pad", "NOTSET");
    attr(c, "pads"); // ignored when automatic
    int64_t pads[2 * SPACE] = {0}, shape[SPACE] = {0};
    bool same = !strncmp(automatic, "SAME_", 5), given = attr(c, "output_shape") != NULL;
    if (!list(c, "output_padding", w->n, 0, 0, w->extra) || (given && !list(c, "output_shape", w->n, 0, 1, shape)))
        return false;
    if (!strcmp(automatic, "NOTSET") && !list(c, "pads", 2 * w->n, 0, 0, pads)) return false;
    for (int i = 0; i < w->n; i++) {
        int64_t full = (w->in[i] - 1) * w->stride[i] + w->extra[i] + (w->kernel[i] - 1) * w->dilation[i] + 1;
        w->out[i] = given ? shape[i] : same ? w->in[i] * w->stride[i] : full - pads[i] - pads[w->n + i];
        int64_t total = full - w->out[i] < 0 ? 0 : full - w->out[i];
        w->before[i] = !given && !same ? pads[i] : !strcmp(automatic, "SAME_UPPER") ? total / 2 : total - total / 2;
        if (w->out[i] < 1) return fail(c, DAMAGED, "its padding is larger than the image") != NULL;
    }
    return true;
}

void import_conv_transpose(Call *c, int unused)
{
    (void)unused;
    const Node *x = NULL, *weights = NULL;
    int64_t groups = 1;
    Window w = {.transposed = true};
    if (!conv_operands(c, &x, &weights, &groups) || !geometry(c, &w, x, weights->type.dim + 2) ||
        !transposed_borders(c, &w))
        return;
    int64_t channels = w.channels / groups, filters = weights->type.dim[1];
    if (weights->type.dim[0] != w.channels) {
        fail(c, DAMAGED, "weights %s for %lld channels", type_text(call_arena(c), weights->type),
             (long long)w.channels);
        return;
    }
    const Node **part = ARENA_ARRAY(call_arena(c), const Node *, groups);
    for (int64_t g = 0; g < groups; g++) {
        w.first_channel = g * channels;
        const Node *wg = build_slice(c->b, weights, 0, g * channels, channels, 1);
        wg = build_reshape(c->b, wg, 3, (int64_t[]){channels, filters, w.window});
        if (!(part[g] = convolve(c, x, &w, wg, 0, 1))) return;
    }
    const Node *y = convolved(c, part, groups);
    if (y) result(c, 0, y);
}

// ---- pooling

// How many numbers of the image (or of it and its explicit padding) lie in each window.
static const Node *window_counts(Call *c, const Node *x, Window *w, bool with_padding)
{
    Type t = type_make(T_F32, x->type.rank, x->type.dim);
    int64_t n = 1, index[SPACE] = {0};
    t.dim[0] = t.dim[1] = 1;
    for (int i = 0; i < w->n; i++) n *= t.dim[2 + i] = w->out[i];
    double *count = ARENA_ARRAY(call_arena(c), double, n + 1);
    for (int64_t p = 0; p < n; p++) {
        count[p] = 1;
        for (int i = 0; i < w->n; i++) {
            int64_t inside = 0;
            for (int64_t k = 0; k < w->kernel[i]; k++) {
                int64_t at = index[i] * w->stride[i] - w->before[i] + k * w->dilation[i];
                inside += with_padding ? at < w->in[i] + w->after[i] : at >= 0 && at < w->in[i];
            }
            count[p] *= (double)inside;
        }
        for (int i = w->n - 1; i >= 0 && ++index[i] == w->out[i]; i--) index[i] = 0;
    }
    return build_reals(c->b, t, count);
}

void import_pool(Call *c, int op)
{
    const Node *given = arg(c, 0), *x = cast_real(c, given);
    Window w = {0};
    if (!x || !geometry(c, &w, x, NULL) || !borders(c, &w)) return;
    if (c->n_out > 1 && *c->node->output[1]) {
        fail(c, "leave the indices out", "the positions of maxima are not supported");
        return;
    }
    const Node *lines = windows(c, x, &w, w.channels, op == OP_reduce_max ? -INFINITY : 0);
    if (!lines) return;
    const Node *y = build_reduce(c->b, (Op)op, lines);
    if (op == OP_reduce_sum)
        y = build_binary(c->b, OP_div, y, window_counts(c, x, &w, attr_int(c, "count_include_pad", 0) != 0));
    result(c, 0, given->type.dtype == T_I64 ? build_cast(c->b, y, T_I64) : y);
}

void import_global_pool(Call *c, int op)
{
    const Node *x = cast_real(c, arg(c, 0));
    int64_t places = 1, dim[MAX_RANK];
    if (!x) return;
    if (x->type.rank < 3) {
        fail(c, DAMAGED, "an image of rank %d", x->type.rank);
        return;
    }
    memcpy(dim, x->type.dim, sizeof dim);
    for (int i = 2; i < x->type.rank; i++) {
        places *= dim[i];
        dim[i] = 1;
    }
    const Node *lines = build_reshape(c->b, x, 3, (int64_t[]){dim[0], dim[1], places});
    const Node *y = op == OP_reduce_max ? build_reduce(c->b, OP_reduce_max, lines) : mean_last(c, lines);
    result(c, 0, build_reshape(c->b, y, x->type.rank, dim));
}
