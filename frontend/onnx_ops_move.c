// Movement: every operator here becomes a lane map.
//
// A graph whose batch was fixed at export carries that number in shapes; at one row they are divided by it (see
// one_row_of, import_expand, unbaked). onnx_rows.c proves the result.
#include "onnx_import.h"

#include <string.h>

static const Node *zero_like(Call *c, const Node *x)
{
    return build_cast(c->b, build_scalar(c->b, 0), x->type.dtype == T_F64 ? T_F32 : x->type.dtype);
}

Type real_type(const Node *x)
{
    Type t = x->type;
    if (t.dtype == T_F64) t.dtype = T_F32;
    return t;
}

// ---- shapes

// Row-major reshaping keeps the batch where as many elements lie before it: that axis of the recorded shape is
// divided by the number of rows.
static bool one_row_of(Call *c, const Type *many, Ints *dims)
{
    int k = batch_axis(c, 0), at = -1;
    int64_t before = 1, prefix = 1, rows = c->im->many_rows;
    if (k < 0 || many->rank > MAX_RANK) return false;
    for (int a = 0; a < k; a++) before *= many_dim(c, 0, a);
    for (int a = 0; a < many->rank; prefix *= many->dim[a++])
        if (many->dim[a] % rows == 0 && (at < 0 || prefix == before)) at = a;
    if (at < 0) return false;
    *dims = (Ints){many->rank, arena_copy(call_arena(c), many->dim, sizeof many->dim)};
    dims->v[at] /= rows;
    return true;
}

// 0 copies a dim (unless allowzero), -1 is what remains.
static bool resolve_dims(Call *c, const Node *x, Ints *dims)
{
    int64_t known = 1, open = -1;
    bool zero_is_zero = attr_int(c, "allowzero", 0) != 0;
    if (!rank_fits(c, dims->n)) return false;
    int64_t *v = arena_copy(call_arena(c), dims->v, sizeof *v * (size_t)(dims->n + 1));
    for (int64_t i = 0; i < dims->n; i++) {
        if (v[i] == 0 && !zero_is_zero && i < x->type.rank) v[i] = x->type.dim[i];
        if (v[i] == -1 && open < 0)
            open = i;
        else if (v[i] < 0 || __builtin_mul_overflow(known, v[i], &known))
            return fail(c, DAMAGED, "its shape is not valid") != NULL;
    }
    if (open >= 0) v[open] = known ? type_lanes(x->type) / known : 0;
    dims->v = v;
    return true;
}

void import_reshape(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    const Type *many = many_result(c, 0);
    Ints dims;
    if (!x || !ints_arg(c, 1, "shape", &dims)) return;
    attr(c, "allowzero");
    if (!(c->im->fixed && many && one_row_of(c, many, &dims)) && !resolve_dims(c, x, &dims)) return;
    result(c, 0, checked_reshape(c, x, (int)dims.n, dims.v));
}

void import_flatten(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    if (!x) return;
    int64_t axis = attr_int(c, "axis", 1), dim[2] = {1, 1};
    if (axis < 0) axis += x->type.rank;
    if (axis < 0 || axis > x->type.rank) {
        fail(c, DAMAGED, "axis %lld of a tensor of rank %d", (long long)axis, x->type.rank);
        return;
    }
    for (int i = 0; i < x->type.rank; i++) dim[i >= axis] *= x->type.dim[i];
    result(c, 0, checked_reshape(c, x, 2, dim));
}

// An axis that has more than 1 element stays: torch's exporter writes aten.squeeze.dim, which means that, as it is.
void import_squeeze(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints axes;
    if (!x || !axes_of(c, c->opset >= 13 ? 1 : -1, x->type.rank, &axes)) return;
    bool gone[MAX_RANK] = {false};
    for (int64_t i = 0; i < axes.n; i++) gone[axes.v[i]] = true;
    for (int i = 0; axes.n < 0 && i < x->type.rank; i++) gone[i] = many_dim(c, 0, i) == 1; // the batch axis stays
    int64_t dim[MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->type.rank; i++) {
        if (gone[i] && shrinks(c, 0, i)) fail(c, "export with a dynamic batch", "axis %d is the rows of the batch", i);
        if (!gone[i] || many_dim(c, 0, i) != 1) dim[rank++] = x->type.dim[i];
    }
    result(c, 0, checked_reshape(c, x, rank, dim));
}

void import_unsqueeze(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints given, axes;
    if (!x) return;
    if (c->opset >= 13 ? !ints_arg(c, 1, "list of axes", &given) : !attr_ints(c, "axes", &given)) {
        fail(c, DAMAGED, "it has no axes");
        return;
    }
    if (!rank_fits(c, x->type.rank + given.n)) return;
    int rank = x->type.rank + (int)given.n, from = 0;
    if (!axes_of(c, c->opset >= 13 ? 1 : -1, rank, &axes)) return;
    int64_t dim[MAX_RANK] = {0};
    for (int64_t i = 0; i < axes.n; i++) dim[axes.v[i]] = -1;
    for (int i = 0; i < rank; i++) dim[i] = dim[i] == -1 ? 1 : x->type.dim[from++];
    result(c, 0, checked_reshape(c, x, rank, dim));
}

void import_transpose(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints given;
    if (!x) return;
    int perm[MAX_RANK], rank = x->type.rank;
    bool seen[MAX_RANK] = {false}, has = attr_ints(c, "perm", &given), ok = !has || given.n == rank;
    for (int i = 0; i < rank && ok; i++) {
        int64_t p = has ? given.v[i] : rank - 1 - i;
        if (p < 0) p += rank;
        ok = p >= 0 && p < rank && !seen[p];
        if (ok) seen[perm[i] = (int)p] = true;
    }
    if (!ok)
        fail(c, DAMAGED, "its perm is not a permutation of %d axes", rank);
    else if (!c->failed && affordable(c, rank, x->type.dim))
        result(c, 0, build_transpose(c->b, x, perm));
}

void import_expand(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints to;
    if (!x || !ints_arg(c, 1, "shape", &to)) return;
    if (!rank_fits(c, to.n)) return;
    int rank = to.n > x->type.rank ? (int)to.n : x->type.rank;
    int64_t dim[MAX_RANK];
    for (int i = 0; i < rank; i++) {
        int xa = i - (rank - x->type.rank), ta = i - (rank - (int)to.n);
        int64_t own = xa >= 0 ? x->type.dim[xa] : 1, want = ta >= 0 ? to.v[ta] : 1;
        bool baked = c->im->fixed && xa >= 0 && shrinks(c, 0, xa) && want == many_dim(c, 0, xa);
        dim[i] = want == 1 || baked ? own : want;
    }
    result(c, 0, checked_broadcast(c, x, rank, dim));
}

Frame frame_of(const Node *x)
{
    Frame f = {.from = x->type};
    int64_t s = 1;
    for (int i = x->type.rank - 1; i >= 0; i--) {
        f.stride[i] = s;
        s *= x->type.dim[i];
    }
    f.fill = s;
    return f;
}

static int64_t tile_source(const void *user, const int64_t *index)
{
    const Frame *f = user;
    int64_t at = 0;
    for (int i = 0; i < f->from.rank; i++) at += index[i] % f->from.dim[i] * f->stride[i];
    return at;
}

void import_tile(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints repeats;
    if (!x || !ints_arg(c, 1, "repeats", &repeats)) return;
    Type t = real_type(x);
    if (repeats.n != t.rank) {
        fail(c, DAMAGED, "%lld repeats for a tensor of rank %d", (long long)repeats.n, t.rank);
        return;
    }
    for (int i = 0; i < t.rank; i++)
        if (repeats.v[i] < 0 || __builtin_mul_overflow(t.dim[i], repeats.v[i], &t.dim[i])) t.dim[i] = INT64_MAX;
    Frame f = frame_of(x);
    result(c, 0, remap(c, t, 1, &x, tile_source, &f));
}

// ---- borders and triangles

enum { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };

// Position in 0..n-1 that padding reads, or -1: the fill value.
static int64_t padded(int64_t i, int64_t n, int mode)
{
    if (i >= 0 && i < n) return i;
    if (mode == PAD_CONSTANT || n == 0) return -1;
    if (mode == PAD_EDGE) return i < 0 ? 0 : n - 1;
    if (mode == PAD_WRAP) return (i % n + n) % n;
    if (n == 1) return 0;
    int64_t period = 2 * (n - 1);
    i = (i % period + period) % period;
    return i < n ? i : period - i;
}

static int64_t pad_source(const void *user, const int64_t *index)
{
    const Frame *f = user;
    int64_t lane = 0;
    for (int i = 0; i < f->from.rank; i++) {
        int64_t at = padded(index[i] - f->before[i], f->from.dim[i], f->mode);
        if (at < 0) return f->fill;
        lane += at * f->stride[i];
    }
    return lane;
}

static int pad_mode(Call *c)
{
    static const char *const NAMES[] = {"constant", "reflect", "edge", "wrap"};
    const char *mode = attr_text(c, "mode", "constant");
    for (int i = 0; i < 4; i++)
        if (!strcmp(NAMES[i], mode)) return i;
    fail(c, DAMAGED, "mode '%.40s' is not known", mode);
    return PAD_CONSTANT;
}

void import_pad(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *value = c->opset >= 11 ? optional(c, 2) : NULL;
    Ints pads, axes = {-1, NULL};
    if (!x || c->failed || (c->opset >= 11 && !ints_arg(c, 1, "padding", &pads))) return;
    if (c->opset < 11 && !attr_ints(c, "pads", &pads)) pads.n = 0;
    if (has_arg(c, 3) && !axes_of(c, 3, x->type.rank, &axes)) return;
    Frame f = frame_of(x);
    f.mode = pad_mode(c);
    int64_t n = axes.n >= 0 ? axes.n : x->type.rank;
    Type t = real_type(x);
    if (pads.n != 2 * n || (value && type_lanes(value->type) != 1)) {
        fail(c, DAMAGED, "%lld pads for %lld axes", (long long)pads.n, (long long)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t axis = axes.n >= 0 ? axes.v[i] : i, before = pads.v[i], after = pads.v[n + i];
        f.before[axis] = before;
        if (before > INT32_MAX || after > INT32_MAX || before < -INT32_MAX || after < -INT32_MAX)
            t.dim[axis] = -1;
        else
            t.dim[axis] += before + after;
    }
    const Node *fill = value ? value : c->opset < 11 ? build_scalar(c->b, attr_real(c, "value", 0)) : zero_like(c, x);
    if (!c->failed) result(c, 0, remap(c, t, 2, (const Node *const[]){x, fill}, pad_source, &f));
}

typedef struct {
    Frame f;
    int64_t k;
    bool upper;
} Triangle;

static int64_t triangle_source(const void *user, const int64_t *index)
{
    const Triangle *t = user;
    int rank = t->f.from.rank;
    int64_t d = index[rank - 1] - index[rank - 2], lane = 0;
    if (t->upper ? d < t->k : d > t->k) return t->f.fill;
    for (int i = 0; i < rank; i++) lane += index[i] * t->f.stride[i];
    return lane;
}

void import_trilu(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t k = 0;
    if (!x || (has_arg(c, 1) && !int_arg(c, 1, "diagonal", &k))) return;
    if (x->type.rank < 2) {
        fail(c, DAMAGED, "its operand is not a matrix");
        return;
    }
    Triangle t = {frame_of(x), k, attr_int(c, "upper", 1) != 0};
    result(c, 0, remap(c, real_type(x), 2, (const Node *const[]){x, zero_like(c, x)}, triangle_source, &t));
}

// ---- reversed sequences

typedef struct {
    Frame f;
    int time, batch;
    Ints lengths;
} Reversed;

static int64_t reversed_source(const void *user, const int64_t *at)
{
    const Reversed *r = user;
    int64_t lane = 0, row = at[r->batch] < r->lengths.n ? at[r->batch] : 0, length = r->lengths.v[row];
    for (int i = 0; i < r->f.from.rank; i++)
        lane += (i == r->time && at[i] < length ? length - 1 - at[i] : at[i]) * r->f.stride[i];
    return lane;
}

// The first lengths[row] steps backwards, as TensorFlow writes x[:, ::-1].
void import_reverse_sequence(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Reversed r = {0};
    if (!x || !ints_arg(c, 1, "sequence_lens", &r.lengths)) return;
    if (!axis_of(c, attr_int(c, "time_axis", 0), x->type.rank, &r.time) ||
        !axis_of(c, attr_int(c, "batch_axis", 1), x->type.rank, &r.batch))
        return;
    for (int64_t i = 0; i < r.lengths.n; i++)
        if (r.lengths.v[i] < 0 || r.lengths.v[i] > x->type.dim[r.time]) r.lengths.n = 0;
    if (r.time == r.batch || r.lengths.n < x->type.dim[r.batch]) {
        fail(c, DAMAGED, "its axes or lengths do not fit %s", type_text(call_arena(c), x->type));
        return;
    }
    r.f = frame_of(x);
    result(c, 0, remap(c, real_type(x), 1, &x, reversed_source, &r));
}

// ---- blocks of pixels as channels

enum { MOST_BLOCK = UINT16_MAX };

static bool blocks(Call *c, const Node *x, int64_t *size)
{
    *size = attr_int(c, "blocksize", 0);
    return (x->type.rank == 4 && *size > 0 && *size <= MOST_BLOCK) ||
           fail(c, DAMAGED, "blocksize %lld, rank %d", (long long)*size, x->type.rank) != NULL;
}

void import_depth_to_space(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t s = 0;
    if (!x || !blocks(c, x, &s)) return;
    const int64_t *d = x->type.dim;
    if (d[1] % (s * s)) {
        fail(c, DAMAGED, "%lld channels for blocks of %lld", (long long)d[1], (long long)s);
        return;
    }
    bool crd = !strcmp(attr_text(c, "mode", "DCR"), "CRD");
    int64_t depth = d[1] / (s * s), dcr[6] = {d[0], s, s, depth, d[2], d[3]},
            other[6] = {d[0], depth, s, s, d[2], d[3]};
    x = checked_reshape(c, x, 6, crd ? other : dcr);
    if (!x) return;
    x = build_transpose(c->b, x, crd ? (int[]){0, 1, 4, 2, 5, 3} : (int[]){0, 3, 4, 1, 5, 2});
    result(c, 0, checked_reshape(c, x, 4, (int64_t[]){x->type.dim[0], depth, x->type.dim[2] * s, x->type.dim[4] * s}));
}

void import_space_to_depth(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    int64_t s = 0;
    if (!x || !blocks(c, x, &s)) return;
    const int64_t *d = x->type.dim;
    if (d[2] % s || d[3] % s) {
        fail(c, DAMAGED, "%lld by %lld pixels for blocks of %lld", (long long)d[2], (long long)d[3], (long long)s);
        return;
    }
    Type t = x->type;
    x = checked_reshape(c, x, 6, (int64_t[]){d[0], d[1], d[2] / s, s, d[3] / s, s});
    if (!x) return;
    bool crd = !strcmp(attr_text(c, "mode", "DCR"), "CRD");
    x = build_transpose(c->b, x, crd ? (int[]){0, 1, 3, 5, 2, 4} : (int[]){0, 3, 5, 1, 2, 4});
    result(c, 0, checked_reshape(c, x, 4, (int64_t[]){t.dim[0], t.dim[1] * s * s, t.dim[2] / s, t.dim[3] / s}));
}
