// Adjoints: the sum of what a node's users contribute to it, lane by lane.
//
// A contribution is a layer: a value of the function under construction and, for each lane of the node, which lane of
// that value belongs to it. It goes to the canonical lanes behind moves, which so need no rule, and a lane that is read
// several times gets the sum. When all layers are there they are added up, lanes with the same layers together, so that
// whole values are added whole.
#include "adjoint.h"
#include "base/hash.h"

#include <stdlib.h>

typedef struct {
    const Node *value;
    const int32_t *lane; // by lane of the node: lane of value, -1: none. NULL: in order, or one lane for all
    bool masked;
} Layer;

struct LayerSum {
    Layer *layers;
    int n, cap;
};

static Arena *scratch(const Adjoints *to) { return scratch_arena(builder_context(to->b)); }

Adjoints adjoints_new(Builder *b, int n_nodes)
{
    Arena *a = scratch_arena(builder_context(b));
    return (Adjoints){b, ARENA_ARRAY(a, LayerSum, n_nodes + 1), ARENA_ARRAY(a, bool, n_nodes + 1), false};
}

bool adjoint_is_zero(const Node *v)
{
    double s = 1;
    return node_is_const(v) && const_is_splat(v, &s) && s == 0;
}

static const Node *flat(Builder *b, const Node *v)
{
    int64_t lanes = type_lanes(v->type);
    return build_reshape(b, v, 1, &lanes);
}

// ---- contributions

static void push_layer(Adjoints *to, const Node *n, const Node *value, const int32_t *lane)
{
    LayerSum *s = &to->sums[n->id];
    Layer l = {value, lane, to->masked};
    ARENA_PUSH(scratch(to), s->layers, s->n, s->cap, l);
}

static LaneRef lane_of(const Node *value, int64_t i) { return (LaneRef){value, type_lanes(value->type) == 1 ? 0 : i}; }

static bool in_order(const LaneRef *targets, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (targets[i].node != targets[0].node || targets[i].lane != i) return false;
    return n > 0 && type_lanes(targets[0].node->type) == n;
}

// Lanes of `node` that the targets name `times` times: the sum of these lanes of value, as one layer.
static void push_sums(Adjoints *to, const Node *node, const LaneRef *targets, int64_t n, const Node *value,
                      const int32_t *count, int32_t times)
{
    int64_t lanes = type_lanes(node->type), m = 0;
    int32_t *at = ARENA_ARRAY(scratch(to), int32_t, lanes), *filled = heap_array(lanes, sizeof *filled);
    for (int64_t i = 0; i < lanes; i++) at[i] = count[i] == times ? (int32_t)m++ : -1;
    LaneRef *refs = heap_array(m * times, sizeof *refs);
    for (int64_t i = 0; i < n; i++)
        if (targets[i].node == node && at[targets[i].lane] >= 0)
            refs[(int64_t)at[targets[i].lane] * times + filled[targets[i].lane]++] = lane_of(value, i);
    int64_t dim[2] = {m, times};
    const Node *sum;
    if (type_lanes(value->type) == 1) {
        const Node *number = build_scalar(to->b, times);
        sum = build_binary(to->b, OP_mul, flat(to->b, value), number);
    } else {
        sum = flat(to->b, build_reduce(to->b, OP_reduce_sum, lanes_gather_as(to->b, refs, type_make(T_F32, 2, dim))));
    }
    push_layer(to, node, sum, at);
    free(filled);
    free(refs);
}

static void add_to_node(Adjoints *to, const Node *node, const LaneRef *targets, int64_t n, const Node *value)
{
    int64_t lanes = type_lanes(node->type);
    int32_t *count = heap_array(lanes, sizeof *count), *at = ARENA_ARRAY(scratch(to), int32_t, lanes), most = 0;
    bool single = false;
    for (int64_t i = 0; i < lanes; i++) at[i] = -1;
    for (int64_t i = 0; i < n; i++) {
        if (targets[i].node != node) continue;
        int64_t lane = targets[i].lane;
        at[lane] = (int32_t)lane_of(value, i).lane;
        if (++count[lane] > most) most = count[lane];
    }
    for (int64_t i = 0; i < lanes; i++) {
        if (count[i] > 1) at[i] = -1;
        single = single || count[i] == 1;
    }
    if (single) push_layer(to, node, value, at);
    bool *seen = heap_array(most + 1, sizeof *seen);
    for (int64_t i = 0; i < lanes && most > 1; i++) {
        if (count[i] < 2 || seen[count[i]]) continue;
        seen[count[i]] = true;
        push_sums(to, node, targets, n, value, count, count[i]);
    }
    free(seen);
    free(count);
}

void adjoint_add_lanes(Adjoints *to, const LaneRef *targets, int64_t n, const Node *value)
{
    if (adjoint_is_zero(value)) return;
    if (in_order(targets, n)) {
        if (to->depends[targets[0].node->id]) push_layer(to, targets[0].node, value, NULL);
        return;
    }
    const Node **seen = NULL;
    int n_seen = 0, cap = 0;
    for (int64_t i = 0; i < n; i++) {
        const Node *node = targets[i].node;
        bool known = node_is_const(node) || !to->depends[node->id] || (i && targets[i - 1].node == node);
        for (int k = 0; k < n_seen && !known; k++) known = seen[k] == node;
        if (known) continue;
        ARENA_PUSH(scratch(to), seen, n_seen, cap, node);
        add_to_node(to, node, targets, n, value);
    }
}

void adjoint_add(Adjoints *to, const Node *v, const Node *value)
{
    int64_t n = type_lanes(v->type);
    LaneRef *targets = heap_array(n, sizeof *targets);
    for (int64_t i = 0; i < n; i++) targets[i] = lane_canonical(v, i);
    adjoint_add_lanes(to, targets, n, value);
    free(targets);
}

// ---- adding up

static uint64_t *layer_sets(const LayerSum *s, int64_t lanes)
{
    uint64_t *set = heap_array(lanes, sizeof *set);
    for (int k = 0; k < s->n; k++)
        for (int64_t i = 0; i < lanes; i++)
            if (!s->layers[k].lane || s->layers[k].lane[i] >= 0) set[i] = hash_mix(set[i], (uint64_t)(k + 1));
    return set;
}

// The lanes of one group have the same layers.
static const Node *add_group(Builder *b, const LayerSum *s, const int64_t *lanes, int64_t n, int64_t all)
{
    const Node *total = NULL;
    LaneRef *refs = heap_array(n, sizeof *refs);
    for (int k = 0; k < s->n; k++) {
        const Layer *l = &s->layers[k];
        if (l->lane && l->lane[lanes[0]] < 0) continue;
        const Node *part = flat(b, l->value);
        if (type_lanes(part->type) > 1 && (l->lane || n < all)) {
            for (int64_t i = 0; i < n; i++) refs[i] = lane_of(l->value, l->lane ? l->lane[lanes[i]] : lanes[i]);
            part = lanes_gather_as(b, refs, type_vector(n));
        }
        total = total ? build_binary(b, OP_add, total, part) : part;
    }
    free(refs);
    return total;
}

// All groups side by side: the lanes that have an adjoint.
static const Node *add_groups(Builder *b, const LayerSum *s, const uint64_t *set, Adjoint *a, int64_t all)
{
    LaneRef *refs = heap_array(a->n, sizeof *refs);
    int64_t *group = heap_array(a->n, sizeof *group);
    int64_t *place = heap_array(a->n, sizeof *place);
    for (int64_t i = 0; i < a->n; i++) {
        int64_t m = 0;
        if (refs[i].node) continue;
        for (int64_t j = i; j < a->n; j++)
            if (!refs[j].node && set[a->lanes[j]] == set[a->lanes[i]]) {
                place[m] = j;
                group[m++] = a->lanes[j];
            }
        const Node *sum = add_group(b, s, group, m, all);
        for (int64_t k = 0; k < m; k++) refs[place[k]] = lane_of(sum, k);
    }
    const Node *value = a->n ? lanes_gather(b, refs, a->n) : NULL;
    free(refs);
    free(group);
    free(place);
    return value;
}

bool adjoint_any(const Adjoints *of, const Node *n) { return of->sums[n->id].n > 0; }

Adjoint adjoint_of(const Adjoints *of, const Node *n)
{
    const LayerSum *s = &of->sums[n->id];
    int64_t all = type_lanes(n->type);
    uint64_t *set = layer_sets(s, all);
    Adjoint a = {NULL, 0, heap_array(all, sizeof *a.lanes), false};
    for (int k = 0; k < s->n; k++) a.masked = a.masked || s->layers[k].masked;
    for (int64_t i = 0; i < all; i++)
        if (set[i]) a.lanes[a.n++] = i;
    a.value = add_groups(of->b, s, set, &a, all);
    free(set);
    return a;
}

const Node *adjoint_whole(Builder *b, const Adjoint *a, Type type)
{
    int64_t n = type_lanes(type);
    LaneRef *refs = heap_array(n, sizeof *refs);
    LaneRef zero = {build_scalar(b, 0), 0};
    for (int64_t i = 0; i < n; i++) refs[i] = zero;
    for (int64_t i = 0; i < a->n; i++) refs[a->lanes[i]] = lane_of(a->value, i);
    type.dtype = T_F32;
    const Node *v = lanes_gather_as(b, refs, type);
    free(refs);
    return v;
}
