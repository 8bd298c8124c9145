// GridSample: an image at computed places; AffineGrid: the places of an affine map of the output.
//
// A place is a number for each axis, x first (the last axis), -1 to 1 across the image. Along an axis it is a weighted
// sum of one, two or four pixels around it, whose numbers are computed; over all axes of every combination of them:
//
//     y[c][j] = sum over combinations of   w_0[j] w_1[j] ...   x[c][ i_0[j] * stride_0 + i_1[j] * stride_1 + ... ]
//
// Beyond the border stands nothing (zeros: such a weight is 0), the outermost pixel, or the image mirrored.
#include "onnx_import.h"

#include <string.h>

typedef enum { NEAREST, LINEAR, CUBIC } Kernel;
typedef enum { ZEROS, BORDER, REFLECTION } Padding;
enum { MOST_TAPS = 4, MOST_AXES = 3 };

typedef struct {
    Call *c;
    Kernel kernel;
    Padding padding;
    bool corners; // -1 and 1 are the centres of the outermost pixels, else their edges
    int n;        // axes
} Grid;

// The pixels along one axis; weight NULL: 1.
typedef struct {
    int n;
    const Node *pixel[MOST_TAPS], *weight[MOST_TAPS];
} Taps;

static const Node *plus(Call *c, const Node *x, double v) { return op2(c, OP_add, x, number(c, v)); }
static const Node *times(Call *c, const Node *x, double v) { return op2(c, OP_mul, x, number(c, v)); }
static const Node *minus_from(Call *c, double v, const Node *x) { return op2(c, OP_sub, number(c, v), x); }

// ---- one axis of `in` pixels

static const Node *place_of(const Grid *g, const Node *x, double in)
{
    Call *c = g->c;
    x = plus(c, x, 1);
    return g->corners ? times(c, times(c, x, 0.5), in - 1) : times(c, plus(c, times(c, x, in), -1), 0.5);
}

static const Node *clamped(Call *c, const Node *p, double in) { return limited(c, p, 0, in - 1); }

// Mirrored at the outermost pixels' centres, or at their edges.
static const Node *mirrored(const Grid *g, const Node *p, double in)
{
    Call *c = g->c;
    double low = g->corners ? 0 : -0.5, span = g->corners ? in - 1 : in;
    if (span == 0) return times(c, p, 0);
    const Node *period = number(c, 2 * span), *at = op2(c, OP_mod, plus(c, p, -low), period);
    return plus(c, op2(c, OP_min, at, minus_from(c, 2 * span, at)), low);
}

static const Node *inside(const Grid *g, const Node *p, double in)
{
    if (g->padding == ZEROS) return p;
    return clamped(g->c, g->padding == REFLECTION ? mirrored(g, p, in) : p, in);
}

// What stands at pixel i counts `weight`.
static void add_tap(const Grid *g, Taps *t, const Node *i, const Node *weight, double in)
{
    Call *c = g->c;
    if (g->padding == ZEROS) {
        const Node *below = op2(c, OP_le, i, number(c, in - 1)), *zero = number(c, 0);
        const Node *there = op2(c, OP_and, op2(c, OP_le, zero, i), below);
        weight = build_select(c->b, there, weight ? weight : number(c, 1), zero);
    }
    t->pixel[t->n] = clamped(c, i, in);
    t->weight[t->n++] = weight;
}

// The cubic convolution of Keys at distance d: 0 to 1, 1 to 2.
static const Node *near_weight(Call *c, const Node *d)
{
    const Node *line = plus(c, times(c, d, 1.25), -2.25);
    return plus(c, op2(c, OP_mul, op2(c, OP_mul, line, d), d), 1);
}

static const Node *far_weight(Call *c, const Node *d)
{
    const Node *line = plus(c, times(c, d, -0.75), 3.75);
    return plus(c, op2(c, OP_mul, plus(c, op2(c, OP_mul, line, d), -6), d), 3);
}

static void cubic_taps(const Grid *g, Taps *t, const Node *p, double in)
{
    Call *c = g->c;
    const Node *first = build_unary(c->b, OP_floor, p), *d = op2(c, OP_sub, p, first), *e = minus_from(c, 1, d);
    const Node *weight[MOST_TAPS] = {far_weight(c, plus(c, d, 1)), near_weight(c, d), near_weight(c, e),
                                     far_weight(c, plus(c, e, 1))};
    for (int i = 0; i < MOST_TAPS; i++) add_tap(g, t, inside(g, plus(c, first, i - 1), in), weight[i], in);
}

static Taps taps_of(const Grid *g, const Node *x, double in)
{
    Call *c = g->c;
    Taps t = {0};
    const Node *p = place_of(g, x, in);
    if (g->kernel == CUBIC) {
        cubic_taps(g, &t, p, in);
        return t;
    }
    p = inside(g, p, in);
    const Node *first = build_unary(c->b, g->kernel == NEAREST ? OP_round : OP_floor, p);
    const Node *d = g->kernel == NEAREST ? NULL : op2(c, OP_sub, p, first);
    add_tap(g, &t, first, d ? minus_from(c, 1, d) : NULL, in);
    if (d) add_tap(g, &t, plus(c, first, 1), d, in);
    return t;
}

// ---- all axes

// Combinations of the pixels of axes from `axis` on; `at`, `weight`: of those before it. image: [rows, channels,
// pixels].
static const Node *combined(const Grid *g, const Node *image, const int64_t *size, const Taps *taps, int axis,
                            const Node *at, const Node *weight)
{
    Call *c = g->c;
    if (axis == g->n) {
        int64_t dim[3] = {at->type.dim[0], image->type.dim[1], at->type.dim[2]};
        const Node *y = build_take(c->b, image, checked_broadcast(c, build_cast(c->b, at, T_I64), 3, dim));
        return weight ? op2(c, OP_mul, y, weight) : y;
    }
    const Node *sum = NULL;
    for (int i = 0; i < taps[axis].n; i++) {
        const Node *w = taps[axis].weight[i], *both = w && weight ? op2(c, OP_mul, weight, w) : w ? w : weight;
        const Node *next = taps[axis].pixel[i];
        if (at) next = op2(c, OP_add, times(c, at, (double)size[axis]), next);
        const Node *part = combined(g, image, size, taps, axis + 1, next, both);
        sum = sum ? op2(c, OP_add, sum, part) : part;
    }
    return sum;
}

static bool named(Call *c, const char *attribute, const char *const *names, int n, int *out)
{
    const char *name = attr_text(c, attribute, names[0]);
    for (*out = 0; *out < n && strcmp(name, names[*out]);) ++*out;
    return *out < n || fail(c, DAMAGED, "%s '%.40s' is not known", attribute, name);
}

static bool read_grid(Call *c, Grid *g)
{
    static const char *const MODES[] = {"linear", "nearest", "cubic", "bilinear", "bicubic"};
    static const char *const PADDINGS[] = {"zeros", "border", "reflection"};
    static const Kernel KERNELS[] = {LINEAR, NEAREST, CUBIC, LINEAR, CUBIC};
    int mode, padding;
    if (!named(c, "mode", MODES, 5, &mode) || !named(c, "padding_mode", PADDINGS, 3, &padding)) return false;
    *g = (Grid){
        .c = c, .kernel = KERNELS[mode], .padding = (Padding)padding, .corners = attr_int(c, "align_corners", 0) != 0};
    return true;
}

static bool fits(Call *c, const Node *x, const Node *grid)
{
    int rank = x->type.rank;
    bool ok = rank >= 3 && rank <= MOST_AXES + 2 && grid->type.rank == rank && type_last(grid->type) == rank - 2 &&
              grid->type.dim[0] == x->type.dim[0] && type_lanes(x->type);
    return ok || fail(c, DAMAGED, "an image %s at places %s", type_text(call_arena(c), x->type),
                      type_text(call_arena(c), grid->type));
}

void import_grid_sample(Call *c, int unused)
{
    (void)unused;
    const Node *x = cast_real(c, arg(c, 0)), *grid = cast_real(c, arg(c, 1));
    Grid g;
    Taps taps[MOST_AXES];
    if (!x || !grid || !read_grid(c, &g) || !fits(c, x, grid)) return;
    g.n = x->type.rank - 2;
    int64_t rows = x->type.dim[0], places = 1, dim[MAX_RANK] = {rows, x->type.dim[1]};
    const int64_t *size = x->type.dim + 2;
    for (int i = 0; i < g.n; i++) places *= dim[2 + i] = grid->type.dim[1 + i];
    const Node *list = checked_reshape(c, grid, 3, (int64_t[]){rows, places, g.n});
    const Node *image = checked_reshape(c, x, 3, (int64_t[]){rows, dim[1], type_lanes(x->type) / (rows * dim[1])});
    if (!list || !image) return;
    for (int i = 0; i < g.n; i++) {
        const Node *at = build_slice(c->b, list, 2, g.n - 1 - i, 1, 1);
        taps[i] = taps_of(&g, build_reshape(c->b, at, 3, (int64_t[]){rows, 1, places}), (double)size[i]);
    }
    result(c, 0, checked_reshape(c, combined(&g, image, size, taps, 0, NULL, NULL), 2 + g.n, dim));
}

// ---- AffineGrid: theta times every place of the output, behind which stands 1.

// [n + 1, places]
static const Node *all_places(Call *c, int n, const int64_t *size, bool corners)
{
    int64_t places = 1;
    for (int i = 0; i < n; i++) places *= size[i];
    double *v = ARENA_ARRAY(call_arena(c), double, (n + 1) * places);
    for (int64_t j = 0; j < places; j++) {
        int64_t rest = j;
        for (int i = n - 1; i >= 0; i--, rest /= size[i + 1]) {
            double at = (double)(rest % size[i]), last = (double)(size[i] - 1);
            double place = !corners ? (2 * at + 1) / (double)size[i] - 1 : last > 0 ? 2 * at / last - 1 : 0;
            v[(n - 1 - i) * places + j] = place;
        }
        v[n * places + j] = 1;
    }
    return build_const(c->b, type_make(T_F64, 2, (int64_t[]){n + 1, places}), v);
}

void import_affine_grid(Call *c, int unused)
{
    (void)unused;
    const Node *theta = cast_real(c, arg(c, 0));
    bool corners = attr_int(c, "align_corners", 0) != 0;
    Ints size;
    if (!theta || !ints_arg(c, 1, "size", &size)) return;
    int n = (int)size.n - 2;
    if (n < 2 || n > MOST_AXES || theta->type.rank != 3 || theta->type.dim[1] != n || theta->type.dim[2] != n + 1) {
        fail(c, DAMAGED, "theta %s for %d axes", type_text(call_arena(c), theta->type), n);
        return;
    }
    int64_t dim[MAX_RANK] = {theta->type.dim[0]};
    memcpy(dim + 1, size.v + 2, sizeof *dim * (size_t)n);
    dim[n + 1] = n;
    if (!affordable(c, n + 2, dim)) return;
    const Node *y = product(c, theta, all_places(c, n, size.v + 2, corners));
    if (y) result(c, 0, checked_reshape(c, build_transpose(c->b, y, (int[]){0, 2, 1}), n + 2, dim));
}
