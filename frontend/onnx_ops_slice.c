// Parts of a tensor, and tensors joined: Slice, Split, Concat.
#include "onnx_import.h"

#include <string.h>

static const Node *slice_axis(Call *c, const Node *x, int axis, int64_t start, int64_t end, int64_t step)
{
    int64_t n = x->type.dim[axis];
    if (step == 0 || step < -INT32_MAX || step > INT32_MAX) {
        if (step == 0) return fail(c, DAMAGED, "a slice with step 0");
        step = step < 0 ? -INT32_MAX : INT32_MAX;
    }
    if (start < 0) start += n;
    if (end < 0) end += n;
    start = step > 0 ? clamp(start, 0, n) : clamp(start, -1, n - 1);
    end = step > 0 ? clamp(end, 0, n) : clamp(end, -1, n - 1);
    int64_t count = step > 0 ? (end - start + step - 1) / step : (start - end - step - 1) / -step;
    if (count < 0) count = 0;
    if (count == n && step == 1) return x;
    return affordable(c, x->type.rank, x->type.dim) ? build_slice(c->b, x, axis, start, count, step) : NULL;
}

static bool slice_lists(Call *c, Ints *starts, Ints *ends, Ints *axes, Ints *steps)
{
    *axes = *steps = (Ints){-1, NULL};
    if (c->opset < 10) {
        if (!attr_ints(c, "axes", axes)) axes->n = -1;
        return attr_ints(c, "starts", starts) && attr_ints(c, "ends", ends);
    }
    return ints_arg(c, 1, "start", starts) && ints_arg(c, 2, "end", ends) &&
           (!has_arg(c, 3) || ints_arg(c, 3, "list of axes", axes)) &&
           (!has_arg(c, 4) || ints_arg(c, 4, "step", steps));
}

void import_slice(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints starts, ends, axes, steps;
    if (!x || !slice_lists(c, &starts, &ends, &axes, &steps)) return;
    if (starts.n != ends.n || (axes.n >= 0 && axes.n != starts.n) || (steps.n >= 0 && steps.n != starts.n) ||
        starts.n > x->type.rank) {
        fail(c, DAMAGED, "its starts, ends, axes and steps differ in length");
        return;
    }
    for (int64_t i = 0; i < starts.n && x; i++) {
        int axis = 0;
        if (!axis_of(c, axes.n >= 0 ? axes.v[i] : i, x->type.rank, &axis)) return;
        x = slice_axis(c, x, axis, starts.v[i], ends.v[i], steps.n >= 0 ? steps.v[i] : 1);
    }
    result(c, 0, x);
}

bool split_sizes(Call *c, int64_t total, int64_t n, const Ints *given, Ints *out)
{
    int64_t sum = 0, each = n > 0 ? (total + n - 1) / n : 0;
    *out = (Ints){given->n >= 0 ? given->n : n, NULL};
    if (out->n < 0 || out->n > 1000000) return fail(c, DAMAGED, "%lld parts", (long long)out->n) != NULL;
    out->v = ARENA_ARRAY(call_arena(c), int64_t, out->n + 1);
    for (int64_t i = 0; i < out->n; i++) {
        int64_t left = total - sum;
        out->v[i] = given->n >= 0 ? given->v[i] : each < left ? each : left;
        if (out->v[i] < 0 || out->v[i] > left)
            return fail(c, DAMAGED, "its parts do not fit into %lld elements", (long long)total) != NULL;
        sum += out->v[i];
    }
    return sum == total ? true
                        : fail(c, DAMAGED, "its parts add up to %lld of %lld elements", (long long)sum,
                               (long long)total) != NULL;
}

void import_split(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0);
    Ints given = {-1, NULL}, sizes;
    int axis = 0;
    if (!x || !axis_of(c, attr_int(c, "axis", 0), x->type.rank, &axis)) return;
    if (c->opset >= 13 && has_arg(c, 1) && !ints_arg(c, 1, "list of sizes", &given)) return;
    if (c->opset < 13 && !attr_ints(c, "split", &given)) given.n = -1;
    if (!split_sizes(c, x->type.dim[axis], attr_int(c, "num_outputs", c->n_out), &given, &sizes)) return;
    if (sizes.n < c->n_out) {
        fail(c, DAMAGED, "%lld parts for %d outputs", (long long)sizes.n, c->n_out);
        return;
    }
    int64_t start = 0;
    for (int i = 0; i < c->n_out; start += sizes.v[i++]) {
        if (!affordable(c, x->type.rank, x->type.dim)) return;
        result(c, i, build_slice(c->b, x, axis, start, sizes.v[i], 1));
    }
}

const Node *concat_checked(Call *c, int n, const Node *const *in, int64_t axis64)
{
    int axis = 0;
    if (!axis_of(c, axis64, in[0]->type.rank, &axis)) return NULL;
    int64_t dim[MAX_RANK];
    memcpy(dim, in[0]->type.dim, sizeof dim);
    for (int i = 1; i < n; i++) {
        bool same = in[i]->type.rank == in[0]->type.rank;
        for (int k = 0; k < in[0]->type.rank && same; k++) same = k == axis || in[i]->type.dim[k] == dim[k];
        if (!same)
            return fail(c, "the file is damaged, or its batch size is written into it; export with a dynamic batch",
                        "%s and %s do not join along axis %d", type_text(call_arena(c), in[0]->type),
                        type_text(call_arena(c), in[i]->type), axis);
        dim[axis] += in[i]->type.dim[axis];
    }
    return affordable(c, in[0]->type.rank, dim) ? build_concat(c->b, n, in, axis) : NULL;
}

void import_concat(Call *c, int a)
{
    (void)a;
    const Node **in = ARENA_ARRAY(call_arena(c), const Node *, c->n_in + 1);
    for (int i = 0; i < c->n_in; i++)
        if (!(in[i] = arg(c, i))) return;
    for (int i = 0; i < c->n_in; i++) in[i] = unbaked(c, c->n_in, i, in[i]);
    if (!c->n_in || !attr(c, "axis"))
        fail(c, DAMAGED, "it has no inputs or no axis");
    else
        result(c, 0, concat_checked(c, c->n_in, in, attr_int(c, "axis", 0)));
}
