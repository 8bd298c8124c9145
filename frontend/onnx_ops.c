// The table of ONNX operators, and what their importers share: broadcasting, lane maps from an index function,
// products, axes brought last. Operators without parameters beyond their operands are rows of the table alone.
#include "onnx_import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const OpRow ROWS[] = {
#define ONNX(name, first_opset, importer, arg) {name, first_opset, import_##importer, arg},
#include "onnx_ops.def"
#undef ONNX
};

const OpRow *op_row(const char *domain, const char *name)
{
    size_t prefix = strlen(domain);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        const char *row = ROWS[i].name;
        if (!prefix ? !strcmp(row, name)
                    : !strncmp(row, domain, prefix) && row[prefix] == '.' && !strcmp(row + prefix + 1, name))
            return &ROWS[i];
    }
    return NULL;
}

// ---- rows written out for a fixed batch

int64_t many_dim(const Call *c, int i, int axis)
{
    const Value *v = &c->in[i];
    return v->many ? v->many->dim[axis] : v->node->type.dim[axis];
}

bool shrinks(const Call *c, int i, int axis)
{
    int64_t one = c->in[i].node->type.dim[axis];
    return c->im->many_rows > 1 && many_dim(c, i, axis) == one * c->im->many_rows && one > 0;
}

int batch_axis(const Call *c, int i)
{
    for (int a = 0; a < c->in[i].node->type.rank; a++)
        if (shrinks(c, i, a)) return a;
    return -1;
}

// How many elements of operand i stay along the axis that is `back` from the end, given what other operands have.
static int64_t kept(const Call *c, int n, int i, int back)
{
    int axis = c->in[i].node->type.rank - back;
    int64_t own = c->in[i].node->type.dim[axis];
    for (int k = 0; k < n; k++) {
        int other = k < c->n_in && c->in[k].kind == VALUE_TENSOR ? c->in[k].node->type.rank - back : -1;
        if (k == i || other < 0 || !shrinks(c, k, other) || shrinks(c, i, axis)) continue;
        if (many_dim(c, k, other) == own) return c->in[k].node->type.dim[other];
    }
    return own;
}

const Node *unbaked(Call *c, int n, int i, const Node *x)
{
    if (!c->im->fixed || !c->im->many) return x;
    Type t = x->type;
    for (int axis = 0; axis < t.rank; axis++) {
        int64_t count = kept(c, n, i, t.rank - axis);
        if (count < t.dim[axis]) x = build_slice(c->b, x, axis, 0, count, 1);
    }
    return x;
}

// ---- broadcasting

// Notes a batch size that seems to be written into a graph whose batch claims to vary.
static void suggest(Call *c, int64_t rows, bool likely)
{
    enum { MOST_BATCH = 65536 };
    if (likely && !c->im->suggested && rows > 0 && rows <= MOST_BATCH) c->im->suggested = rows;
}

bool broadcast_ok(Call *c, int n, const Node *const *in, Type *out)
{
    *out = type_scalar();
    for (int i = 0; i < n; i++)
        if (in[i]->type.rank > out->rank) out->rank = in[i]->type.rank;
    for (int a = 0; a < out->rank; a++) out->dim[a] = 1;
    for (int i = 0; i < n; i++) {
        for (int back = 1; back <= in[i]->type.rank; back++) {
            int64_t d = in[i]->type.dim[in[i]->type.rank - back], *o = &out->dim[out->rank - back];
            if (d != *o && d != 1 && *o != 1)
                suggest(c, d == c->im->rows ? *o : d, d == c->im->rows || *o == c->im->rows);
            if (d != *o && d != 1 && *o != 1)
                return fail(c, "the file is damaged, or its batch size is written into it; export with a dynamic batch",
                            "shapes %s and %s do not fit together", type_text(call_arena(c), in[0]->type),
                            type_text(call_arena(c), in[i]->type)) != NULL;
            if (*o == 1) *o = d;
        }
    }
    return affordable(c, out->rank, out->dim);
}

bool operands(Call *c, int n, const Node **out)
{
    Type t;
    for (int i = 0; i < n; i++)
        if (!(out[i] = arg(c, i))) return false;
    for (int i = 0; i < n; i++) out[i] = unbaked(c, n, i, out[i]);
    return broadcast_ok(c, n, out, &t);
}

const Node *cast_real(Call *c, const Node *x)
{
    return !x || x->type.dtype == T_F32 || x->type.dtype == T_F64 ? x : build_cast(c->b, x, T_F32);
}

const Node *checked_reshape(Call *c, const Node *x, int rank, const int64_t *dim)
{
    if (!x || !affordable(c, rank, dim)) return NULL;
    Type t = type_make(x->type.dtype, rank, dim);
    int64_t have = type_lanes(x->type), want = type_lanes(t);
    if (!have && want == 1 && c->im->numbers) // of one element, not selected: what reads it differs from all else
        return build_broadcast(c->b, build_scalar(c->b, NAN), rank, dim);
    if (have != want && c->mask)
        return fail(c, "the file holds for no other input: export with an example within bounds, or write torch.where",
                    "%lld elements, as many as a mask selected in the example at export, are written into it",
                    (long long)want);
    if (have != want) suggest(c, have ? want * c->im->rows / have : 0, have && want * c->im->rows % have == 0);
    if (have != want)
        return fail(c, "the file is damaged, or its batch size is written into it; export with a dynamic batch",
                    "%s does not reshape to %s", type_text(call_arena(c), x->type), type_text(call_arena(c), t));
    return build_reshape(c->b, x, rank, dim);
}

const Node *checked_broadcast(Call *c, const Node *x, int rank, const int64_t *dim)
{
    if (!x || !affordable(c, rank, dim)) return NULL;
    for (int back = 1; back <= x->type.rank; back++) {
        int64_t d = x->type.dim[x->type.rank - back];
        if (back <= rank && (d == 1 || d == dim[rank - back])) continue;
        if (back <= rank) suggest(c, dim[rank - back], d == c->im->rows);
        return fail(c, "the file is damaged, or its batch size is written into it; export with a dynamic batch",
                    "%s does not expand to %s", type_text(call_arena(c), x->type),
                    type_text(call_arena(c), type_make(T_F32, rank, dim)));
    }
    return build_broadcast(c->b, x, rank, dim);
}

// ---- movement by an index function

const Node *remap(Call *c, Type type, int n_in, const Node *const *in, LaneOf source, const void *user)
{
    if (!affordable(c, type.rank, type.dim)) return NULL;
    int64_t n = type_lanes(type), index[MAX_RANK] = {0};
    int32_t *map = heap_array(n, sizeof *map);
    for (int64_t i = 0; i < n; i++) {
        map[i] = (int32_t)source(user, index);
        for (int a = type.rank - 1; a >= 0 && ++index[a] == type.dim[a]; a--) index[a] = 0;
    }
    const Node *m = build_move(c->b, type, n_in, in, map);
    free(map);
    return m;
}

// ---- products

bool finite_weights(Call *c, const Node *w, const char *what)
{
    if (!w || !node_is_const(w) || (c->im->source->options && c->im->source->options->allow_nonfinite))
        return !c->failed;
    if (c->im->numbers) return true; // no weights: a value computed from numbers, perhaps of no logarithm
    const float *f = w->type.dtype == T_F32 ? w->data : NULL;
    int64_t n = type_lanes(w->type);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(f ? (double)f[i] : const_at(w, i)))
            return fail(c, "the training diverged; use an earlier checkpoint, or say --allow-nonfinite",
                        "its %s contain %s", what, isnan(const_at(w, i)) ? "NaN" : "infinity") != NULL;
    return true;
}

// Both broadcast to common leading dims.
static bool same_leading(Call *c, const Node **a, const Node **w)
{
    const Node *in[2] = {*a, *w};
    Type lead[2] = {(*a)->type, (*w)->type};
    int64_t dim[MAX_RANK];
    int rank = lead[0].rank > lead[1].rank ? lead[0].rank : lead[1].rank;
    for (int axis = 0; axis < rank - 2; axis++) {
        int64_t d[2];
        for (int i = 0; i < 2; i++)
            d[i] = axis - (rank - lead[i].rank) >= 0 ? lead[i].dim[axis - (rank - lead[i].rank)] : 1;
        if (d[0] != d[1] && d[0] != 1 && d[1] != 1)
            return fail(c, DAMAGED, "shapes %s and %s do not multiply", type_text(call_arena(c), lead[0]),
                        type_text(call_arena(c), lead[1])) != NULL;
        dim[axis] = d[0] == 1 ? d[1] : d[0];
    }
    for (int i = 0; i < 2; i++) {
        dim[rank - 2] = lead[i].dim[lead[i].rank - 2];
        dim[rank - 1] = lead[i].dim[lead[i].rank - 1];
        if (!(in[i] = checked_broadcast(c, in[i], rank, dim))) return false;
    }
    *a = in[0];
    *w = in[1];
    return true;
}

// Constant weights with leading dims, [.., K, N]: one linear for each.
static const Node *linear_each(Call *c, const Node *a, const Node *w)
{
    int r = a->type.rank;
    int64_t M = a->type.dim[r - 2], K = a->type.dim[r - 1], N = w->type.dim[r - 1], n = type_lanes(a->type) / (M * K);
    const Node **part = ARENA_ARRAY(call_arena(c), const Node *, n);
    a = build_reshape(c->b, a, 3, (int64_t[]){n, M, K});
    const Node *all = build_reshape(c->b, w, 3, (int64_t[]){n, K, N});
    for (int64_t i = 0; i < n; i++) {
        const Node *wi = build_reshape(c->b, build_slice(c->b, all, 0, i, 1, 1), 2, (int64_t[]){K, N});
        part[i] = build_linear(c->b, build_slice(c->b, a, 0, i, 1, 1), wi, NULL, NULL);
    }
    int64_t dim[MAX_RANK];
    memcpy(dim, w->type.dim, sizeof dim);
    dim[r - 2] = M;
    return build_reshape(c->b, build_concat(c->b, (int)n, part, 0), r, dim);
}

// Few enough for a step each.
static bool few_matrices(Type t)
{
    enum { MOST_MATRICES = 4096 };
    int64_t lanes = type_lanes(t);
    return lanes && lanes / (t.dim[t.rank - 1] * t.dim[t.rank - 2]) <= MOST_MATRICES;
}

const Node *product(Call *c, const Node *a, const Node *w)
{
    if (!(a = cast_real(c, a)) || !(w = cast_real(c, w))) return NULL;
    int ra = a->type.rank, rw = w->type.rank;
    if (a->type.dim[ra - 1] != w->type.dim[rw - 2])
        return fail(c, DAMAGED, "shapes %s and %s do not multiply", type_text(call_arena(c), a->type),
                    type_text(call_arena(c), w->type));
    if (!finite_weights(c, a, "weights") || !finite_weights(c, w, "weights")) return NULL;
    int64_t K = a->type.dim[ra - 1], N = w->type.dim[rw - 1];
    double every = (double)type_lanes(a->type), others = K ? (double)type_lanes(w->type) / (double)K : 0;
    if (!charge_work(c, fmax(every * (double)N, ra > 1 ? others * (double)(a->type.dim[ra - 2] * K) : 0))) return NULL;
    if (node_is_const(w) && rw > 2 && type_lanes(w->type) == w->type.dim[rw - 1] * w->type.dim[rw - 2] && ra >= rw) {
        w = build_reshape(c->b, w, 2, &w->type.dim[rw - 2]);
        rw = 2;
    }
    if (node_is_const(w) && rw == 2) {
        int64_t dim[MAX_RANK];
        memcpy(dim, a->type.dim, sizeof dim);
        dim[ra - 1] = w->type.dim[1];
        return affordable(c, ra, dim) ? build_linear(c->b, a, w, NULL, NULL) : NULL;
    }
    if (node_is_const(a) && ra == 2) { // a w = (w' a')'
        const Node *a_t = build_swap_last(c->b, a), *t = product(c, build_swap_last(c->b, w), a_t);
        return t ? build_swap_last(c->b, t) : NULL;
    }
    if (!same_leading(c, &a, &w)) return NULL;
    int64_t dim[MAX_RANK];
    memcpy(dim, a->type.dim, sizeof dim);
    dim[a->type.rank - 1] = w->type.dim[a->type.rank - 1];
    if (!affordable(c, a->type.rank, dim)) return NULL;
    if (node_is_const(w) && few_matrices(a->type)) return linear_each(c, a, w);
    if (node_is_const(a) && few_matrices(a->type)) {
        a = build_swap_last(c->b, a);
        return build_swap_last(c->b, linear_each(c, build_swap_last(c->b, w), a));
    }
    return build_matmul(c->b, a, w);
}

// ---- axes brought last

LastAxes last_axes(const Node *x, int64_t n, const int64_t *axes)
{
    LastAxes l = {.rank = x->type.rank, .merged = 1};
    bool chosen[MAX_RANK] = {false};
    for (int64_t i = 0; i < n; i++) chosen[axes[i]] = true;
    memcpy(l.dim, x->type.dim, sizeof l.dim);
    for (int a = 0; a < l.rank; a++)
        if (!chosen[a]) l.perm[l.n_kept++] = a;
    int at = l.n_kept;
    for (int a = 0; a < l.rank; a++)
        if (chosen[a]) {
            l.perm[at++] = a;
            l.merged *= l.dim[a];
        }
    return l;
}

const Node *to_last(Call *c, const Node *x, const LastAxes *l)
{
    int64_t dim[MAX_RANK + 1];
    for (int i = 0; i < l->n_kept; i++) dim[i] = l->dim[l->perm[i]];
    dim[l->n_kept] = l->merged;
    if (!affordable(c, l->n_kept + 1, dim)) return NULL;
    return build_reshape(c->b, build_transpose(c->b, x, l->perm), l->n_kept + 1, dim);
}

const Node *from_last(Call *c, const Node *x, const LastAxes *l)
{
    if (!x) return NULL;
    int64_t dim[MAX_RANK];
    int back[MAX_RANK];
    for (int i = 0; i < l->rank; i++) {
        dim[i] = l->dim[l->perm[i]];
        back[l->perm[i]] = i;
    }
    return build_transpose(c->b, build_reshape(c->b, x, l->rank, dim), back);
}

const Node *keep_last(Call *c, Op op, const Node *x)
{
    Type t = x->type;
    t.dim[t.rank - 1] = 1;
    return build_reshape(c->b, build_reduce(c->b, op, x), t.rank, t.dim);
}

const Node *mean_last(Call *c, const Node *x)
{
    const Node *count = build_scalar(c->b, (double)type_last(x->type));
    return build_binary(c->b, OP_div, keep_last(c, OP_reduce_sum, x), count);
}

const Node *softmax_last(Call *c, const Node *x, bool logarithm)
{
    const Node *d = build_binary(c->b, OP_sub, x, keep_last(c, OP_reduce_max, x));
    const Node *e = build_unary(c->b, OP_exp, d), *sum = keep_last(c, OP_reduce_sum, e);
    if (logarithm) return build_binary(c->b, OP_sub, d, build_unary(c->b, OP_log, sum));
    return build_binary(c->b, OP_div, e, sum);
}
