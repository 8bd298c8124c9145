// Linear algebra: products, Einsum, convolutions and pooling.
//
// A convolution is a lane map (each output position's window of inputs as one line, zeros at the border) and a
// product with the constant weights; pooling is the same map and a reduction.
#include "onnx_import.h"

#include <math.h>
#include <string.h>

static const char DAMAGED[] = "the file is damaged; export it again";

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

static const Node *swapped(Call *c, const Node *x)
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

void import_fused_matmul(Call *c, int unused)
{
    (void)unused;
    const Node *a = NULL, *w = NULL;
    if (!matrix_operands(c, &a, &w)) return;
    if (attr_int(c, "transBatchA", 0) || attr_int(c, "transBatchB", 0) || a->type.rank < 2 || w->type.rank < 2) {
        fail(c, "optimise the graph at a lower level", "this form of the fused product is not supported");
        return;
    }
    if (attr_int(c, "transA", 0)) a = swapped(c, a);
    if (attr_int(c, "transB", 0)) w = swapped(c, w);
    result(c, 0, times(c, matmul(c, a, w), attr_real(c, "alpha", 1)));
}

// Constant term of a product as the bias of a linear, f32[n]; NULL if it is not one.
static const Node *as_bias(Call *c, const Node *term, int64_t n)
{
    if (!node_is_const(term)) return NULL;
    int64_t lanes = type_lanes(term->type);
    if (lanes != type_last(term->type) || (lanes != n && lanes != 1)) return NULL;
    return build_broadcast(c->b, build_reshape(c->b, term, 1, &lanes), 1, &n);
}

// alpha A B + beta C
void import_gemm(Call *c, int unused)
{
    (void)unused;
    const Node *a = arg(c, 0), *w = arg(c, 1), *term = optional(c, 2), *bias = NULL;
    double alpha = attr_real(c, "alpha", 1), beta = attr_real(c, "beta", 1);
    if (!a || !w || c->failed) return;
    if (a->type.rank != 2 || w->type.rank != 2) {
        fail(c, DAMAGED, "its operands are not matrices");
        return;
    }
    if (attr_int(c, "transA", 0)) a = swapped(c, a);
    if (attr_int(c, "transB", 0)) w = swapped(c, w);
    if (alpha != 1) node_is_const(w) ? (w = times(c, w, alpha)) : (a = times(c, cast_real(c, a), alpha));
    const Node *y = product(c, a, w);
    if (!y || !term || beta == 0) {
        result(c, 0, y);
        return;
    }
    if (!finite_weights(c, term, "biases")) return;
    term = times(c, unbaked(c, 3, 2, term), beta);
    if (node_is_const(w) && !node_is_const(a)) bias = as_bias(c, term, w->type.dim[1]);
    Type t;
    if (bias)
        result(c, 0, build_linear(c->b, a, w, bias, NULL));
    else if (broadcast_ok(c, 2, (const Node *const[]){y, term}, &t))
        result(c, 0, build_binary(c->b, OP_add, y, term));
}

// ---- Einsum

enum { LETTERS = 128 };

typedef struct {
    int n;
    int axis[MAX_RANK]; // letter of each axis; digits stand for the axes of "..."
} Term;

// One term of an equation, up to ',' or '-' or the end. Axes of "..." become letters 0, 1, ... from the right.
static bool term_of(Call *c, const char **at, int rank, Term *t)
{
    t->n = 0;
    for (; **at && **at != ',' && **at != '-'; (*at)++) {
        if (**at == ' ') continue;
        if (!strncmp(*at, "...", 3)) {
            int letters = 0;
            for (const char *p = *at + 3; *p && *p != ',' && *p != '-'; p++) letters += *p != ' ';
            int dots = rank - t->n - letters;
            if (dots < 0 || t->n + dots > MAX_RANK)
                return fail(c, DAMAGED, "its equation does not fit its operands") != NULL;
            for (int i = dots; i-- > 0;) t->axis[t->n++] = i;
            *at += 2;
            continue;
        }
        if (**at < 'A' || **at > 'z' || t->n == MAX_RANK) return fail(c, DAMAGED, "its equation is not valid") != NULL;
        t->axis[t->n++] = **at;
    }
    return true;
}

typedef struct {
    const Node *x;
    Term t;
} Labelled;

static int position(const Term *t, int letter)
{
    for (int i = 0; i < t->n; i++)
        if (t->axis[i] == letter) return i;
    return -1;
}

static int64_t dim_of(const Labelled *l, int letter) { return l->x->type.dim[position(&l->t, letter)]; }

// Axes of x in the order of `want`, merged into dims by the given group sizes (-1 ends the list).
static const Node *arranged(Call *c, const Labelled *l, const Term *want)
{
    int perm[MAX_RANK];
    for (int i = 0; i < want->n; i++) perm[i] = position(&l->t, want->axis[i]);
    return affordable(c, l->x->type.rank, l->x->type.dim) ? build_transpose(c->b, l->x, perm) : NULL;
}

typedef struct {
    Type from;
    const Term *all, *kept;
} Diagonal;

static int64_t diagonal_source(const void *user, const int64_t *index)
{
    const Diagonal *d = user;
    int64_t lane = 0;
    for (int i = 0; i < d->all->n; i++) lane = lane * d->from.dim[i] + index[position(d->kept, d->all->axis[i])];
    return lane;
}

// A letter that occurs twice in a term walks the diagonal.
static bool take_diagonals(Call *c, Labelled *l)
{
    Term kept = {0};
    Type t = l->x->type;
    for (int i = 0; i < l->t.n; i++) {
        int seen = position(&kept, l->t.axis[i]);
        if (seen < 0) {
            t.dim[kept.n] = l->x->type.dim[i];
            kept.axis[kept.n++] = l->t.axis[i];
        } else if (t.dim[seen] != l->x->type.dim[i]) {
            return fail(c, DAMAGED, "a repeated letter of its equation has two sizes") != NULL;
        }
    }
    if (kept.n == l->t.n) return true;
    t.rank = kept.n;
    if (t.dtype == T_F64) t.dtype = T_F32;
    Diagonal d = {l->x->type, &l->t, &kept};
    l->x = remap(c, t, 1, &l->x, diagonal_source, &d);
    l->t = kept;
    return l->x != NULL;
}

// Sums over the letters that nobody needs any more.
static bool sum_unneeded(Call *c, Labelled *l, const bool *needed)
{
    int64_t axes[MAX_RANK], n = 0;
    Term kept = {0};
    for (int i = 0; i < l->t.n; i++) {
        if (needed[l->t.axis[i]])
            kept.axis[kept.n++] = l->t.axis[i];
        else
            axes[n++] = i;
    }
    if (!n) return true;
    LastAxes la = last_axes(l->x, n, axes);
    const Node *lines = to_last(c, l->x, &la);
    if (!lines) return false;
    l->x = build_reduce(c->b, OP_reduce_sum, lines);
    l->t = kept;
    return true;
}

// An axis of one element against more of them in the other operand broadcasts: it is dropped.
static void drop_ones(Call *c, Labelled *l, const Labelled *other)
{
    Term kept = {0};
    int64_t dim[MAX_RANK];
    for (int i = 0; i < l->t.n; i++) {
        if (l->x->type.dim[i] == 1 && position(&other->t, l->t.axis[i]) >= 0 && dim_of(other, l->t.axis[i]) != 1)
            continue;
        dim[kept.n] = l->x->type.dim[i];
        kept.axis[kept.n++] = l->t.axis[i];
    }
    l->x = build_reshape(c->b, l->x, kept.n, dim);
    l->t = kept;
}

static void append(Term *t, int64_t *size, const Labelled *l, int letter)
{
    t->axis[t->n++] = letter;
    *size *= dim_of(l, letter);
}

// Product of two operands: letters of both are batch (needed later) or contracted, the others free.
static bool contract(Call *c, Labelled *a, Labelled *w, const bool *needed)
{
    drop_ones(c, a, w);
    drop_ones(c, w, a);
    Term ta = {0}, tw = {0}, out = {0};
    int64_t P = 1, M = 1, K = 1, N = 1, one = 1, dim[2 * MAX_RANK];
    for (int i = 0; i < a->t.n; i++) {
        int letter = a->t.axis[i];
        if (position(&w->t, letter) < 0) continue;
        if (dim_of(a, letter) != dim_of(w, letter))
            return fail(c, DAMAGED, "a letter of its equation has two sizes") != NULL;
        if (needed[letter]) append(&ta, &P, a, letter), append(&tw, &one, w, letter);
    }
    for (int i = 0; i < a->t.n; i++)
        if (position(&w->t, a->t.axis[i]) < 0) append(&ta, &M, a, a->t.axis[i]);
    out = ta;
    for (int i = 0; i < a->t.n; i++)
        if (position(&w->t, a->t.axis[i]) >= 0 && !needed[a->t.axis[i]])
            append(&ta, &K, a, a->t.axis[i]), append(&tw, &one, w, a->t.axis[i]);
    for (int i = 0; i < w->t.n; i++) {
        if (position(&a->t, w->t.axis[i]) >= 0) continue;
        append(&tw, &N, w, w->t.axis[i]);
        if (out.n == MAX_RANK)
            return fail(c, "merge dimensions in the model", "a tensor of more than 8 dimensions") != NULL;
        out.axis[out.n++] = w->t.axis[i];
    }
    for (int i = 0; i < out.n; i++)
        dim[i] = position(&a->t, out.axis[i]) >= 0 ? dim_of(a, out.axis[i]) : dim_of(w, out.axis[i]);
    const Node *x = arranged(c, a, &ta), *y = arranged(c, w, &tw);
    if (!x || !y) return false;
    x = build_reshape(c->b, x, P == 1 ? 2 : 3, P == 1 ? (int64_t[]){M, K} : (int64_t[]){P, M, K});
    y = build_reshape(c->b, y, P == 1 ? 2 : 3, P == 1 ? (int64_t[]){K, N} : (int64_t[]){P, K, N});
    const Node *z = product(c, x, y);
    a->x = z ? checked_reshape(c, z, out.n, dim) : NULL;
    a->t = out;
    return a->x != NULL;
}

// Without "->": "..." first, then the letters that occur once, in alphabetical order.
static Term implicit_output(const Labelled *in, int n)
{
    int count[LETTERS] = {0};
    Term out = {0};
    for (int i = 0; i < n; i++)
        for (int k = 0; k < in[i].t.n; k++) count[in[i].t.axis[k]]++;
    for (int l = MAX_RANK; l-- > 0;)
        if (count[l] && out.n < MAX_RANK) out.axis[out.n++] = l;
    for (int l = 'A'; l <= 'z'; l++)
        if (count[l] == 1 && out.n < MAX_RANK) out.axis[out.n++] = l;
    return out;
}

static bool equation(Call *c, const char *at, Labelled *in, Term *out)
{
    int dots = 0;
    for (int i = 0; i < c->n_in; i++) {
        if (!(in[i].x = cast_real(c, arg(c, i))) || !term_of(c, &at, in[i].x->type.rank, &in[i].t)) return false;
        if (in[i].t.n != in[i].x->type.rank || (i + 1 < c->n_in && *at++ != ','))
            return fail(c, DAMAGED, "its equation does not fit its operands") != NULL;
        for (int k = 0; k < in[i].t.n; k++)
            if (in[i].t.axis[k] < MAX_RANK && in[i].t.axis[k] >= dots) dots = in[i].t.axis[k] + 1;
    }
    if (*at != '-') {
        *out = implicit_output(in, c->n_in);
        return true;
    }
    int letters = 0;
    for (const char *p = at + 2; at[1] && *p; p++) letters += *p != ' ' && *p != '.';
    bool has_dots = strstr(at, "...") != NULL;
    if (at[1] != '>') return fail(c, DAMAGED, "its equation is not valid") != NULL;
    at += 2;
    return term_of(c, &at, letters + (has_dots ? dots : 0), out) &&
           (!*at || fail(c, DAMAGED, "its equation is not valid"));
}

void import_einsum(Call *c, int unused)
{
    (void)unused;
    Labelled *in = ARENA_ARRAY(call_arena(c), Labelled, c->n_in + 1);
    Term out;
    if (c->n_in < 1 || c->n_in > 64) {
        fail(c, DAMAGED, "%d operands", c->n_in);
        return;
    }
    if (!equation(c, attr_text(c, "equation", ""), in, &out)) return;
    for (int i = 0; i < c->n_in; i++) {
        if (!take_diagonals(c, &in[i])) return;
        bool needed[LETTERS] = {false};
        for (int k = 0; k < out.n; k++) needed[out.axis[k]] = true;
        for (int k = i + 1; k < c->n_in; k++)
            for (int j = 0; j < in[k].t.n; j++) needed[in[k].t.axis[j]] = true;
        bool first[LETTERS];
        memcpy(first, needed, sizeof first);
        for (int j = 0; i > 0 && j < in[0].t.n; j++) first[in[0].t.axis[j]] = true; // contracted with what came before
        if (!sum_unneeded(c, &in[i], first)) return;
        if (i > 0 && !contract(c, &in[0], &in[i], needed)) return;
    }
    for (int k = 0; k < out.n; k++)
        if (position(&in[0].t, out.axis[k]) < 0 || out.n != in[0].t.n) {
            fail(c, DAMAGED, "its equation makes letters that no operand has");
            return;
        }
    result(c, 0, arranged(c, &in[0], &out));
}

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
        if (span < 0) return fail(c, DAMAGED, "its window is larger than the image") != NULL;
        w->out[i] = span / w->stride[i] + 1;
        if (ceiling && span % w->stride[i] && w->out[i] * w->stride[i] < w->in[i] + w->before[i])
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

// One group: windows times weights [channels * window, filters] -> [rows, filters, out...].
static const Node *convolve(Call *c, const Node *x, Window *w, int64_t channels, const Node *weights)
{
    const Node *lines = windows(c, x, w, channels, 0);
    if (!lines) return NULL;
    int perm[MAX_RANK];
    int64_t places = 1, rows = x->type.dim[0], dim[MAX_RANK];
    for (int i = 0; i < w->n; i++) places *= w->out[i];
    perm[0] = 0;
    for (int i = 0; i < w->n; i++) perm[1 + i] = 2 + i;
    perm[w->n + 1] = 1;
    perm[w->n + 2] = w->n + 2;
    lines = build_transpose(c->b, lines, perm);
    const Node *y = product(c, build_reshape(c->b, lines, 3, (int64_t[]){rows, places, channels * w->window}), weights);
    if (!y) return NULL;
    dim[0] = rows;
    dim[1] = type_last(y->type);
    memcpy(dim + 2, w->out, sizeof(int64_t) * (size_t)w->n);
    return build_reshape(c->b, build_transpose(c->b, y, (int[]){0, 2, 1}), w->n + 2, dim);
}

static void convolved(Call *c, const Node *const *part, int64_t groups)
{
    const Node *y = build_concat(c->b, (int)groups, part, 1), *bias = optional(c, 2);
    if (!bias) {
        result(c, 0, y);
        return;
    }
    int64_t dim[MAX_RANK] = {1, type_lanes(bias->type), 1, 1, 1, 1, 1, 1};
    Type t;
    if (!finite_weights(c, bias, "biases")) return;
    const Node *in[2] = {y, build_reshape(c->b, bias, y->type.rank, dim)};
    if (broadcast_ok(c, 2, in, &t)) result(c, 0, build_binary(c->b, OP_add, in[0], in[1]));
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

void import_conv(Call *c, int unused)
{
    (void)unused;
    const Node *x = NULL, *weights = NULL;
    int64_t groups = 1;
    Window w = {0};
    if (!conv_operands(c, &x, &weights, &groups) || !geometry(c, &w, x, weights->type.dim + 2) || !borders(c, &w))
        return;
    int64_t channels = w.channels / groups, filters = weights->type.dim[0] / groups;
    if (weights->type.dim[1] != channels || weights->type.dim[0] % groups || !filters) {
        fail(c, DAMAGED, "weights %s for %lld channels in %lld groups", type_text(call_arena(c), weights->type),
             (long long)w.channels, (long long)groups);
        return;
    }
    const Node **part = ARENA_ARRAY(call_arena(c), const Node *, groups);
    for (int64_t g = 0; g < groups; g++) {
        w.first_channel = g * channels;
        const Node *wg = build_slice(c->b, weights, 0, g * filters, filters, 1);
        wg = swapped(c, build_reshape(c->b, wg, 2, (int64_t[]){filters, channels * w.window}));
        if (!(part[g] = convolve(c, x, &w, channels, wg))) return;
    }
    convolved(c, part, groups);
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
        const Node *wg = build_slice(c->b, weights, 0, g * channels, channels, 1); // [channels, filters, window]
        wg = build_transpose(c->b, build_reshape(c->b, wg, 3, (int64_t[]){channels, filters, w.window}),
                             (int[]){0, 2, 1});
        wg = build_reshape(c->b, wg, 2, (int64_t[]){channels * w.window, filters});
        if (!(part[g] = convolve(c, x, &w, channels, wg))) return;
    }
    convolved(c, part, groups);
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
