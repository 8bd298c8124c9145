// Resize: an image at another size.
//
// Each axis on its own: output i lies at the place p(i) of the input, by the coordinate transformation, and is a
// weighted sum of the input's pixels around it. Nearest is a choice of pixels, a move; linear and cubic are a product
// with the axis' constant weights [in, out], which is what the solver and merge-linear know. Beyond the border the
// outermost pixel stands, or with exclude_outside nothing; outside the crop of tf_crop_and_resize the extrapolation
// value.
#include "onnx_import.h"

#include <math.h>
#include <string.h>

typedef enum { NEAREST, LINEAR, CUBIC } Kernel;

typedef struct {
    int64_t in, out;
    double scale, from, to; // from, to: of the crop, 0 to 1
} Axis;

typedef struct {
    Kernel kernel;
    const char *place, *rounding;
    bool exclude, antialias;
    double a, outside; // of the cubic; extrapolation value
    int rank;
    Axis axis[MAX_RANK];
} Resize;

static double half_pixel(const Axis *x, int64_t i) { return ((double)i + 0.5) / x->scale - 0.5; }

// Place of output i in the input. False: the coordinate transformation is not known.
static bool place_of(const Resize *r, const Axis *x, int64_t i, double *p)
{
    double length = x->scale * (double)x->in, at = (double)i, last = (double)(x->in - 1);
    bool one = length == 1;
    if (!strcmp(r->place, "half_pixel"))
        *p = half_pixel(x, i);
    else if (!strcmp(r->place, "half_pixel_symmetric"))
        *p = (double)x->in / 2 * (1 - (double)x->out / length) + half_pixel(x, i);
    else if (!strcmp(r->place, "pytorch_half_pixel"))
        *p = one ? -0.5 : half_pixel(x, i);
    else if (!strcmp(r->place, "tf_half_pixel_for_nn"))
        *p = (at + 0.5) / x->scale;
    else if (!strcmp(r->place, "asymmetric"))
        *p = at / x->scale;
    else if (!strcmp(r->place, "align_corners"))
        *p = one ? 0 : at * last / (length - 1);
    else if (!strcmp(r->place, "tf_crop_and_resize"))
        *p = x->from * last + (one ? (x->to - x->from) * last / 2 : at * (x->to - x->from) * last / (length - 1));
    else
        return false;
    return true;
}

// Is the place outside the crop's image, where the extrapolation value stands?
static bool is_outside(const Resize *r, const Axis *x, double p)
{
    return !strcmp(r->place, "tf_crop_and_resize") && (p < 0 || p > (double)(x->in - 1));
}

static int64_t border(const Axis *x, double pixel)
{
    return pixel<0 ? 0 : pixel>(double)(x->in - 1) ? x->in - 1 : (int64_t)pixel;
}

// ---- nearest

static double rounded(const Resize *r, double p)
{
    if (!strcmp(r->rounding, "floor")) return floor(p);
    if (!strcmp(r->rounding, "ceil")) return ceil(p);
    return strcmp(r->rounding, "round_prefer_ceil") ? ceil(p - 0.5) : floor(p + 0.5);
}

typedef struct {
    Frame f;
    const int64_t *pixel[MAX_RANK]; // by axis and output: -1 is outside
} Choice;

static int64_t chosen(const void *user, const int64_t *index)
{
    const Choice *k = user;
    int64_t lane = 0;
    for (int i = 0; i < k->f.from.rank; i++) {
        int64_t at = k->pixel[i][index[i]];
        if (at < 0) return k->f.fill;
        lane += at * k->f.stride[i];
    }
    return lane;
}

static const Node *nearest(Call *c, const Resize *r, const Node *x)
{
    Choice k = {.f = frame_of(x)};
    Type t = real_type(x);
    for (int i = 0; i < r->rank; i++) {
        const Axis *axis = &r->axis[i];
        int64_t *pixel = ARENA_ARRAY(call_arena(c), int64_t, axis->out + 1);
        for (int64_t j = 0; j < axis->out; j++) {
            double p = (double)j;
            if (axis->scale != 1) place_of(r, axis, j, &p);
            pixel[j] = is_outside(r, axis, p) ? -1 : border(axis, rounded(r, p));
        }
        k.pixel[i] = pixel;
        t.dim[i] = axis->out;
    }
    const Node *fill =
        x->type.dtype == T_I64 ? build_ints(c->b, 1, (int64_t[]){(int64_t)r->outside}) : build_scalar(c->b, r->outside);
    return remap(c, t, 2, (const Node *const[]){x, fill}, chosen, &k);
}

// ---- weights

// The cubic convolution of Keys, the linear triangle, at distance d.
static double weight_at(const Resize *r, double d)
{
    double a = r->a;
    d = fabs(d);
    if (r->kernel == LINEAR) return d < 1 ? 1 - d : 0;
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

// Column j of the axis' weights: pixels around p; where it shrinks with antialiasing, as many more of them.
static void fill_column(const Resize *r, const Axis *x, double p, int64_t j, double *w)
{
    double narrow = r->antialias && x->scale < 1 ? x->scale : 1, reach = (r->kernel == LINEAR ? 1 : 2) / narrow;
    double total = 0;
    for (double pixel = ceil(p - reach); pixel <= p + reach; pixel++) {
        bool beyond = pixel < 0 || pixel > (double)(x->in - 1);
        double v = weight_at(r, (pixel - p) * narrow);
        if (beyond && r->exclude) continue;
        w[border(x, pixel) * x->out + j] += v;
        total += v;
    }
    for (int64_t k = 0; k < x->in && total != 0; k++) w[k * x->out + j] /= total;
}

// x along axis i: to_last, the product, and back. NULL after an error.
static const Node *along(Call *c, const Resize *r, const Node *x, int i)
{
    const Axis *axis = &r->axis[i];
    int64_t dim[2] = {axis->in, axis->out};
    if (!affordable(c, 2, dim)) return NULL;
    double *w = ARENA_ARRAY(call_arena(c), double, axis->in * axis->out + 1),
           *b = ARENA_ARRAY(call_arena(c), double, axis->out + 1);
    bool any = false;
    for (int64_t j = 0; j < axis->out; j++) {
        double p = 0;
        place_of(r, axis, j, &p);
        if (is_outside(r, axis, p))
            b[j] = r->outside, any = true;
        else
            fill_column(r, axis, p, j, w);
    }
    LastAxes l = last_axes(x, 1, (int64_t[]){i});
    const Node *lines = to_last(c, x, &l);
    if (!lines || !charge_work(c, (double)type_lanes(x->type) * (double)axis->out)) return NULL;
    const Node *weights = build_reals(c->b, type_make(T_F32, 2, dim), w),
               *bias = any ? build_reals(c->b, type_vector(axis->out), b) : NULL;
    l.dim[i] = l.merged = axis->out;
    return from_last(c, build_linear(c->b, lines, weights, bias, NULL), &l);
}

// ---- sizes

static bool reals_arg(Call *c, int i, const char *what, const Node **out)
{
    *out = optional(c, i);
    if (*out && !type_lanes((*out)->type)) *out = NULL; // how opset 11 leaves it out
    if (*out && !node_is_const(*out))
        return fail(c, "write the numbers into the export", "its %s are not known at import", what) != NULL;
    return !c->failed;
}

// Of the sizes, all axes by one scale: the smallest or the largest.
static bool keep_aspect(Call *c, Resize *r, int64_t n, const int64_t *axes)
{
    const char *policy = attr_text(c, "keep_aspect_ratio_policy", "stretch");
    bool smaller = !strcmp(policy, "not_larger");
    double scale = r->axis[axes[0]].scale;
    if (!strcmp(policy, "stretch")) return true;
    for (int64_t i = 1; i < n; i++)
        scale = smaller ? fmin(scale, r->axis[axes[i]].scale) : fmax(scale, r->axis[axes[i]].scale);
    for (int64_t i = 0; i < n; i++) {
        Axis *x = &r->axis[axes[i]];
        x->scale = scale;
        x->out = (int64_t)floor(scale * (double)x->in + 0.5);
    }
    return smaller || !strcmp(policy, "not_smaller") || fail(c, DAMAGED, "its aspect policy is '%.40s'", policy);
}

static bool size_of(Call *c, Resize *r, int axis, bool sizes, double v)
{
    Axis *x = &r->axis[axis];
    if (sizes && shrinks(c, 0, axis) && v == (double)many_dim(c, 0, axis)) v = (double)x->in; // the batch
    x->scale = sizes ? v / (double)x->in : v;
    double out = sizes ? v : floor(v * (double)x->in);
    if (!(out >= 1 && out < 1 << 24) || !x->in) return fail(c, DAMAGED, "a dim of %g", out) != NULL;
    x->out = (int64_t)out;
    return true;
}

static bool read_sizes(Call *c, Resize *r, const Node *x)
{
    const Node *roi, *scales, *sizes;
    Ints axes;
    r->rank = x->type.rank;
    for (int i = 0; i < r->rank; i++) r->axis[i] = (Axis){x->type.dim[i], x->type.dim[i], 1, 0, 1};
    if (!reals_arg(c, 1, "crop", &roi) || !reals_arg(c, 2, "scales", &scales) || !reals_arg(c, 3, "sizes", &sizes) ||
        !axes_of(c, -1, r->rank, &axes))
        return false;
    int64_t all[MAX_RANK], n = axes.n < 0 ? r->rank : axes.n;
    for (int i = 0; i < r->rank; i++) all[i] = i;
    const int64_t *at = axes.n < 0 ? all : axes.v;
    const Node *given = sizes ? sizes : scales;
    bool crop = roi && !strcmp(r->place, "tf_crop_and_resize");
    if (!given || type_lanes(given->type) != n || (crop && type_lanes(roi->type) != 2 * n))
        return fail(c, DAMAGED, "scales, sizes or crop do not fit %s", type_text(call_arena(c), x->type)) != NULL;
    for (int64_t i = 0; i < n; i++) {
        if (crop) r->axis[at[i]].from = const_at(roi, i), r->axis[at[i]].to = const_at(roi, n + i);
        if (!size_of(c, r, (int)at[i], sizes != NULL, const_at(given, i))) return false;
    }
    if (sizes && n) return keep_aspect(c, r, n, at);
    attr(c, "keep_aspect_ratio_policy");
    return true;
}

static bool read_kernel(Call *c, Resize *r)
{
    static const char *const KERNELS[] = {"nearest", "linear", "cubic"};
    const char *mode = attr_text(c, "mode", "nearest");
    int kernel = 0;
    double p;
    while (kernel < 3 && strcmp(mode, KERNELS[kernel])) kernel++;
    *r = (Resize){.kernel = (Kernel)kernel,
                  .place = attr_text(c, "coordinate_transformation_mode", "half_pixel"),
                  .rounding = attr_text(c, "nearest_mode", "round_prefer_floor"),
                  .exclude = attr_int(c, "exclude_outside", 0) != 0,
                  .antialias = attr_int(c, "antialias", 0) != 0,
                  .a = attr_real(c, "cubic_coeff_a", -0.75),
                  .outside = attr_real(c, "extrapolation_value", 0)};
    if (kernel == 3) return fail(c, DAMAGED, "mode '%.40s' is not known", mode) != NULL;
    return place_of(r, &(Axis){2, 2, 1, 0, 1}, 0, &p) ||
           fail(c, DAMAGED, "coordinate transformation '%.40s' is not known", r->place) != NULL;
}

void import_resize(Call *c, int unused)
{
    (void)unused;
    const Node *x = arg(c, 0);
    Resize r;
    if (!x || !read_kernel(c, &r) || !read_sizes(c, &r, x)) return;
    if (r.kernel == NEAREST) {
        result(c, 0, nearest(c, &r, x));
        return;
    }
    if (x->type.dtype == T_I64 || x->type.dtype == T_BOOL) {
        fail(c, "cast to float before it", "%s of whole numbers", r.kernel == LINEAR ? "linear" : "cubic");
        return;
    }
    x = cast_real(c, x);
    bool crop = !strcmp(r.place, "tf_crop_and_resize");
    for (int i = 0; i < r.rank && x; i++)
        if (r.axis[i].scale != 1 || r.axis[i].out != r.axis[i].in || crop) x = along(c, &r, x, i);
    if (x) result(c, 0, x);
}
