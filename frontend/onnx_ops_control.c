// Sequences, which exist only while importing, and control flow whose course is known: branches are chosen and
// loops unrolled. Both instantiations (onnx_import.h) take the course that the one for many rows took.
#include "onnx_import.h"

#include <string.h>

// ---- sequences

static const Value *sequence_arg(Call *c, int i)
{
    if (has_arg(c, i) && c->in[i].kind == VALUE_SEQUENCE) return &c->in[i];
    return fail(c, DAMAGED, "input %d is not a sequence", i);
}

static void result_sequence(Call *c, const Value *items, int n)
{
    result_value(c, 0, (Value){.kind = VALUE_SEQUENCE, .items = items, .n_items = n});
}

// The same item of a sequence for many rows is not recorded; its shape is that of the one for one row scaled.
void import_split_to_sequence(Call *c, int a)
{
    (void)a;
    const Node *x = arg(c, 0), *split = optional(c, 1);
    int axis = 0;
    Ints given = {-1, NULL}, sizes;
    if (!x || c->failed || !axis_of(c, attr_int(c, "axis", 0), x->type.rank, &axis)) return;
    bool keep = attr_int(c, "keepdims", 1) || split;
    int64_t total = x->type.dim[axis], n = total;
    if (split) {
        if (!ints_arg(c, 1, "list of sizes", &given)) return;
        if (split->type.rank == 0) { // the size of every part
            int64_t each = given.v[0];
            if (each < 1) {
                fail(c, DAMAGED, "parts of %lld elements", (long long)each);
                return;
            }
            n = (total + each - 1) / each;
            given = (Ints){n, ARENA_ARRAY(call_arena(c), int64_t, n + 1)};
            for (int64_t i = 0; i < n; i++) given.v[i] = i < n - 1 ? each : total - each * (n - 1);
        }
    }
    if (!split_sizes(c, total, n, &given, &sizes)) return;
    Value *items = ARENA_ARRAY(call_arena(c), Value, sizes.n + 1);
    int64_t start = 0, dim[MAX_RANK];
    for (int64_t i = 0; i < sizes.n; start += sizes.v[i++]) {
        if (!charge(c, type_lanes(x->type))) return;
        const Node *part = build_slice(c->b, x, axis, start, sizes.v[i], 1);
        int rank = 0;
        for (int k = 0; k < part->type.rank; k++)
            if (keep || k != axis) dim[rank++] = part->type.dim[k];
        items[i] = (Value){.kind = VALUE_TENSOR, .node = build_reshape(c->b, part, rank, dim)};
    }
    result_sequence(c, items, (int)sizes.n);
}

void import_sequence_construct(Call *c, int a)
{
    (void)a;
    attr(c, "dtype"); // of an empty sequence
    for (int i = 0; i < c->n_in; i++)
        if (!arg(c, i)) return;
    result_sequence(c, c->in, c->n_in);
}

static bool position(Call *c, int i, int n, int64_t *out)
{
    if (!int_arg(c, i, "position", out)) return false;
    if (*out < 0) *out += n;
    return (*out >= 0 && *out < n) || fail(c, DAMAGED, "position %lld of a sequence of %d", (long long)*out, n) != NULL;
}

void import_sequence_insert(Call *c, int a)
{
    (void)a;
    const Value *s = sequence_arg(c, 0);
    if (!s || !arg(c, 1)) return;
    int64_t at = s->n_items;
    if (has_arg(c, 2) && !position(c, 2, s->n_items + 1, &at)) return;
    Value *items = ARENA_ARRAY(call_arena(c), Value, s->n_items + 1);
    for (int i = 0; i <= s->n_items; i++) items[i] = i < at ? s->items[i] : i == at ? c->in[1] : s->items[i - 1];
    result_sequence(c, items, s->n_items + 1);
}

void import_sequence_at(Call *c, int a)
{
    (void)a;
    const Value *s = sequence_arg(c, 0);
    int64_t at = 0;
    if (s && position(c, 1, s->n_items, &at)) result_value(c, 0, s->items[at]);
}

void import_sequence_length(Call *c, int a)
{
    (void)a;
    const Value *s = sequence_arg(c, 0);
    int64_t n = s ? s->n_items : 0;
    if (s) result(c, 0, build_reshape(c->b, build_ints(c->b, 1, &n), 0, &n));
}

void import_concat_from_sequence(Call *c, int a)
{
    (void)a;
    const Value *s = sequence_arg(c, 0);
    if (!s) return;
    bool fresh = attr_int(c, "new_axis", 0) != 0;
    const Node **in = ARENA_ARRAY(call_arena(c), const Node *, s->n_items + 1);
    int axis = 0, rank = s->n_items ? s->items[0].node->type.rank + fresh : 1;
    if (!s->n_items || rank > MAX_RANK) {
        fail(c, DAMAGED, "an empty sequence, or tensors of more than 8 dimensions");
        return;
    }
    if (!axis_of(c, attr_int(c, "axis", 0), rank, &axis)) return;
    for (int i = 0; i < s->n_items; i++) {
        in[i] = s->items[i].node;
        int64_t dim[MAX_RANK];
        if (in[i]->type.rank + fresh != rank) {
            fail(c, DAMAGED, "tensors of unequal rank");
            return;
        }
        for (int k = 0; k < rank; k++)
            dim[k] = !fresh      ? in[i]->type.dim[k]
                     : k < axis  ? in[i]->type.dim[k]
                     : k == axis ? 1
                                 : in[i]->type.dim[k - 1];
        in[i] = build_reshape(c->b, in[i], rank, dim);
    }
    result(c, 0, concat_checked(c, s->n_items, in, axis));
}

// ---- control flow

static const Onnx__GraphProto *graph_attr(Call *c, const char *name)
{
    const Onnx__AttributeProto *a = attr(c, name);
    return a && a->g ? a->g : fail(c, DAMAGED, "it has no graph '%s'", name);
}

static const Node *condition(Call *c, const Node *x)
{
    if (x && type_lanes(x->type) == 1 && node_is_const(x)) return x;
    return x ? fail(c, "choose values with torch.where instead of Python's if", "its condition depends on data") : NULL;
}

// Item t of each sequence, and the tensors as they are, through the body; output i collects its result i.
void import_sequence_map(Call *c, int a)
{
    (void)a;
    const Onnx__GraphProto *g = graph_attr(c, "body");
    const Value *first = sequence_arg(c, 0);
    c->mask = NULL; // items carry their own
    c->read_in = UINT64_MAX;
    if (!g || !first) return;
    int n = first->n_items;
    Value *in = ARENA_ARRAY(call_arena(c), Value, c->n_in + 1), *out = ARENA_ARRAY(call_arena(c), Value, c->n_out + 1),
          **all = ARENA_ARRAY(call_arena(c), Value *, c->n_out + 1);
    for (int o = 0; o < c->n_out; o++) all[o] = ARENA_ARRAY(call_arena(c), Value, n + 1);
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < c->n_in; i++) {
            bool sequence = c->in[i].kind == VALUE_SEQUENCE;
            if (sequence && c->in[i].n_items != n) {
                fail(c, DAMAGED, "its sequences differ in length");
                return;
            }
            in[i] = sequence ? c->in[i].items[t] : c->in[i];
        }
        if (!step(c) || !run_subgraph(c, g, t, c->n_in, in, c->n_out, out)) return;
        for (int o = 0; o < c->n_out; o++) all[o][t] = out[o];
    }
    for (int o = 0; o < c->n_out; o++)
        result_value(c, o, (Value){.kind = VALUE_SEQUENCE, .items = all[o], .n_items = n});
}

void import_if(Call *c, int a)
{
    (void)a;
    const Node *cond = condition(c, arg(c, 0));
    c->mask = NULL;            // values inside carry their own
    c->read_attr = UINT64_MAX; // the other branch
    if (!cond) return;
    bool yes = agreed(c, const_at(cond, 0) != 0) != 0;
    const Onnx__GraphProto *g = graph_attr(c, yes ? "then_branch" : "else_branch");
    if (g) run_subgraph(c, g, yes, 0, NULL, c->n_out, c->out);
}

// One more axis in front.
static const Node *stacked(Call *c, const Node *x)
{
    int64_t dim[MAX_RANK + 1] = {1};
    if (x->type.rank == MAX_RANK) return fail(c, "merge dimensions in the model", "a tensor of more than 8 dimensions");
    memcpy(dim + 1, x->type.dim, sizeof(int64_t) * (size_t)x->type.rank);
    return build_reshape(c->b, x, x->type.rank + 1, dim);
}

// What one loop output collected: the iterations' values along `axis`.
typedef struct {
    const Node **items;
    int n, cap;
} Collected;

static bool collect(Call *c, Collected *all, const Value *v)
{
    if (v->kind != VALUE_TENSOR || v->mask)
        return fail(c, "return tensors of fixed shape from the loop", "a loop output is not a tensor of fixed shape") !=
               NULL;
    const Node *x = stacked(c, v->node);
    if (!x) return false;
    ARENA_PUSH(call_arena(c), all->items, all->n, all->cap, x);
    return true;
}

static void collected(Call *c, int output, Collected *all, bool reverse, int axis)
{
    if (!all->n) {
        fail(c, "run the loop at least once", "it collects nothing");
        return;
    }
    for (int i = 0; reverse && i < all->n / 2; i++) {
        const Node *t = all->items[i];
        all->items[i] = all->items[all->n - 1 - i];
        all->items[all->n - 1 - i] = t;
    }
    const Node *y = concat_checked(c, all->n, all->items, 0);
    if (!y || axis == 0) {
        result(c, output, y);
        return;
    }
    int perm[MAX_RANK];
    for (int i = 0; i < y->type.rank; i++) perm[i] = i < axis ? i + 1 : i == axis ? 0 : i;
    result(c, output, build_transpose(c->b, y, perm));
}

// Trip count and condition before the first iteration; -1: no limit but the condition.
static bool loop_start(Call *c, int64_t *trips, bool *go)
{
    *trips = -1;
    *go = true;
    if (has_arg(c, 0)) {
        const Node *m = arg(c, 0);
        if (!m || !node_is_const(m) || type_lanes(m->type) != 1)
            return fail(c, "loop a fixed number of times", "its trip count depends on data") != NULL;
        *trips = agreed(c, const_int_at(m, 0));
    }
    if (!has_arg(c, 1)) return true;
    const Node *cond = condition(c, arg(c, 1));
    if (cond) *go = const_at(cond, 0) != 0;
    return cond != NULL;
}

void import_loop(Call *c, int a)
{
    (void)a;
    const Onnx__GraphProto *g = graph_attr(c, "body");
    int64_t trips = 0;
    bool go = true;
    c->mask = NULL;
    c->read_in = UINT64_MAX;
    if (!g || !loop_start(c, &trips, &go)) return;
    int carried = c->n_in > 2 ? c->n_in - 2 : 0, scans = c->n_out - carried;
    if (scans < 0 || (int)g->n_output != 1 + c->n_out) {
        fail(c, DAMAGED, "its body has %zu outputs for %d", g->n_output, c->n_out);
        return;
    }
    Value *in = ARENA_ARRAY(call_arena(c), Value, 2 + carried), *out = ARENA_ARRAY(call_arena(c), Value, 1 + c->n_out);
    Collected *all = ARENA_ARRAY(call_arena(c), Collected, scans + 1);
    for (int i = 0; i < carried; i++) in[2 + i] = c->in[2 + i];
    for (int64_t t = 0; go && (trips < 0 || t < trips); t++) {
        uint8_t *yes = arena_copy(call_arena(c), &(uint8_t){1}, 1);
        Type boolean = type_make(T_BOOL, 0, &t);
        in[0] = (Value){.kind = VALUE_TENSOR, .node = build_reshape(c->b, build_ints(c->b, 1, &t), 0, &t)};
        in[1] = (Value){.kind = VALUE_TENSOR, .node = build_const(c->b, boolean, yes)};
        if (!step(c) || !run_subgraph(c, g, t, 2 + carried, in, 1 + c->n_out, out)) return;
        const Node *next = out[0].kind == VALUE_TENSOR ? condition(c, out[0].node) : NULL;
        if (!next) return;
        go = const_at(next, 0) != 0;
        for (int i = 0; i < carried; i++) in[2 + i] = out[1 + i];
        for (int i = 0; i < scans; i++)
            if (!collect(c, &all[i], &out[1 + carried + i])) return;
    }
    for (int i = 0; i < carried; i++) result_value(c, i, in[2 + i]);
    for (int i = 0; i < scans; i++) collected(c, carried + i, &all[i], false, 0);
}

// Element `at` of x along the axis, without it.
static const Node *element(Call *c, const Node *x, int axis, int64_t at)
{
    if (!charge(c, type_lanes(x->type))) return NULL;
    const Node *s = build_slice(c->b, x, axis, at, 1, 1);
    int64_t dim[MAX_RANK];
    int rank = 0;
    for (int i = 0; i < s->type.rank; i++)
        if (i != axis) dim[rank++] = s->type.dim[i];
    return build_reshape(c->b, s, rank, dim);
}

typedef struct {
    int states, scans, outs; // carried values, scanned inputs, collected outputs
    int64_t trips;
    Ints axis, back, out_axis, out_back;
} Scanning;

static int64_t listed(const Ints *v, int i) { return i < v->n ? v->v[i] : 0; }

static bool scan_start(Call *c, Scanning *s)
{
    s->scans = (int)attr_int(c, "num_scan_inputs", 0);
    s->states = c->n_in - s->scans;
    s->outs = c->n_out - s->states;
    s->trips = -1;
    attr_ints(c, "scan_input_axes", &s->axis);
    attr_ints(c, "scan_input_directions", &s->back);
    attr_ints(c, "scan_output_axes", &s->out_axis);
    attr_ints(c, "scan_output_directions", &s->out_back);
    if (s->scans < 1 || s->states < 0 || s->outs < 0)
        return fail(c, DAMAGED, "%d scanned inputs of %d", s->scans, c->n_in) != NULL;
    for (int i = 0; i < s->scans; i++) {
        const Node *x = arg(c, s->states + i);
        int axis = 0;
        if (!x || !axis_of(c, listed(&s->axis, i), x->type.rank, &axis)) return false;
        if (shrinks(c, s->states + i, axis))
            return fail(c, "scan over another axis", "it scans over the rows of the batch") != NULL;
        if (s->trips >= 0 && x->type.dim[axis] != s->trips)
            return fail(c, DAMAGED, "its scanned inputs differ in length") != NULL;
        s->trips = x->type.dim[axis];
    }
    return !c->failed;
}

void import_scan(Call *c, int a)
{
    (void)a;
    const Onnx__GraphProto *g = graph_attr(c, "body");
    Scanning s;
    c->mask = NULL;
    c->read_in = UINT64_MAX;
    if (!g || !scan_start(c, &s)) return;
    Value *in = ARENA_ARRAY(call_arena(c), Value, c->n_in + 1), *out = ARENA_ARRAY(call_arena(c), Value, c->n_out + 1);
    Collected *all = ARENA_ARRAY(call_arena(c), Collected, s.outs + 1);
    for (int i = 0; i < s.states; i++) in[i] = c->in[i];
    for (int64_t t = 0; t < s.trips; t++) {
        if (!step(c)) return;
        for (int i = 0; i < s.scans; i++) {
            const Node *x = c->in[s.states + i].node;
            int64_t axis = listed(&s.axis, i), at = listed(&s.back, i) ? s.trips - 1 - t : t;
            const Node *e = element(c, x, (int)(axis < 0 ? axis + x->type.rank : axis), at);
            if (!e) return;
            in[s.states + i] = (Value){.kind = VALUE_TENSOR, .node = e, .mask = c->in[s.states + i].mask};
        }
        if (!run_subgraph(c, g, t, c->n_in, in, c->n_out, out)) return;
        for (int i = 0; i < s.states; i++) in[i] = out[i];
        for (int i = 0; i < s.outs; i++)
            if (!collect(c, &all[i], &out[s.states + i])) return;
    }
    for (int i = 0; i < s.states; i++) result_value(c, i, in[i]);
    for (int i = 0; i < s.outs; i++) {
        int axis = 0;
        int rank = all[i].n ? all[i].items[0]->type.rank : 1;
        if (!axis_of(c, listed(&s.out_axis, i), rank, &axis)) return;
        collected(c, s.states + i, &all[i], listed(&s.out_back, i) != 0, axis);
    }
}
