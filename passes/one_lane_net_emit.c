// Functions of one lane through sums of many lanes, evaluated: u and du/dv at points of v.
//
// Each node between v and u is built once for all points: the lanes of it that stand between v and u, point after
// point. Of a product these are its rows and columns that do; what they have from known lanes is added to all points.
#include "affine.h"
#include "one_lane_dual.h"

#include <stdlib.h>

typedef struct {
    LaneEnv *env;
    Builder *b;
    const OneLane *g;
    const Node *at; // v, by function and copy
    int copies;
    int *column;    // by lane number: 1 + its place in its node's lanes; -1 - i: it is v of function i; 0: neither
    int64_t *count; // by node id: lanes at a point
    Dual *dual;     // by node id: f32[copies * count]
    const Node *zero, *one;
    bool slopes;
} Net;

static int *column_of(const Net *e, LaneRef r)
{
    return node_is_const(r.node) ? NULL : &e->column[e->env->base[r.node->id] + r.lane];
}

static bool varies(const Net *e, LaneRef r)
{
    const int *column = column_of(e, r);
    return column && *column;
}

// Lane r at a point; what is not known is not used there.
static LaneRef value_at(const Net *e, LaneRef r, int copy)
{
    if (!varies(e, r)) {
        LaneRef now = lane_env_get(e->env, r);
        return now.node ? now : (LaneRef){e->zero, 0};
    }
    int column = *column_of(e, r);
    if (column < 0) return (LaneRef){e->at, type_lanes(e->at->type) == 1 ? 0 : -(column + 1) * e->copies + copy};
    return (LaneRef){e->dual[r.node->id].value, copy * e->count[r.node->id] + column - 1};
}

static LaneRef slope_at(const Net *e, LaneRef r, int copy)
{
    if (!varies(e, r)) return (LaneRef){e->zero, 0};
    int column = *column_of(e, r);
    if (column < 0) return (LaneRef){e->one, 0};
    return (LaneRef){e->dual[r.node->id].slope, copy * e->count[r.node->id] + column - 1};
}

typedef LaneRef LaneAt(const Net *, LaneRef, int);

// These lanes at every point, one point after another.
static const Node *all_points(const Net *e, LaneAt *lane_at, const LaneRef *lanes, int64_t n, Type type)
{
    LaneRef *refs = heap_array(n * e->copies, sizeof *refs);
    for (int64_t i = 0; i < n * e->copies; i++) refs[i] = lane_at(e, lanes[i % n], (int)(i / n));
    const Node *v = lanes_gather_as(e->b, refs, type);
    free(refs);
    return v;
}

static Type points(const Net *e, int64_t n) { return type_vector(n * e->copies); }

static Dual operand_dual(const Net *e, const LaneRef *lanes, int64_t n)
{
    bool any = false;
    for (int64_t i = 0; i < n; i++) any = any || varies(e, lanes[i]);
    Dual d = {all_points(e, value_at, lanes, n, points(e, n)), NULL};
    if (any && e->slopes) d.slope = all_points(e, slope_at, lanes, n, points(e, n));
    return d;
}

static Dual elementwise_dual(const Net *e, const Node *n, const int64_t *lanes, int64_t count)
{
    Dual in[3];
    const Node *value[3];
    LaneRef *refs = heap_array(count, sizeof *refs);
    for (int k = 0; k < n->n_in; k++) {
        for (int64_t i = 0; i < count; i++) refs[i] = lane_operand(n, k, lanes[i]);
        in[k] = operand_dual(e, refs, count);
        value[k] = in[k].value;
    }
    free(refs);
    Dual out = {lanes_apply(e->b, n, value), NULL};
    if (e->slopes) out.slope = dual_slope(e->b, n, in, out.value);
    return out;
}

static Dual sum_dual(const Net *e, const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t K = type_last(n->in[0]->type), dim[2] = {count * e->copies, K};
    LaneRef *refs = heap_array(count * K, sizeof *refs);
    for (int64_t i = 0; i < count * K; i++) refs[i] = lane_canonical(n->in[0], lanes[i / K] * K + i % K);
    Dual d = operand_dual(e, refs, count * K);
    free(refs);
    d.value = build_reduce(e->b, OP_reduce_sum, build_reshape(e->b, d.value, 2, dim));
    if (d.slope) d.slope = build_reduce(e->b, OP_reduce_sum, build_reshape(e->b, d.slope, 2, dim));
    return d;
}

// Products of two computed matrices: sums of K products of lanes.
static Dual matmul_dual(const Net *e, const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t K = affine_operands(n) / 2, dim[2] = {count * e->copies, K};
    const Node times = {.op = OP_mul, .n_in = 2};
    Dual in[2], sum = {NULL, NULL};
    LaneRef *refs = heap_array(count * K, sizeof *refs);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < count * K; i++) refs[i] = affine_operand(n, lanes[i / K], side * K + i % K);
        in[side] = operand_dual(e, refs, count * K);
    }
    free(refs);
    const Node *product = build_binary(e->b, OP_mul, in[0].value, in[1].value),
               *slope = e->slopes ? dual_slope(e->b, &times, in, product) : NULL;
    sum.value = build_reduce(e->b, OP_reduce_sum, build_reshape(e->b, product, 2, dim));
    if (slope) sum.slope = build_reduce(e->b, OP_reduce_sum, build_reshape(e->b, slope, 2, dim));
    return sum;
}

// ---- products

// Which rows (tokens), outputs and inputs of a product the lanes have; inputs that vary come first.
typedef struct {
    int64_t *rows;
    int32_t *outputs, *inputs;
    int64_t n_rows, n_outputs, n_inputs, n_varying;
} Block;

static LaneRef input_of(const Node *n, int64_t row, int64_t k)
{
    return lane_canonical(n->in[0], row * n->in[1]->type.dim[0] + k);
}

static bool input_is_used(const Node *n, const Block *k, int64_t input)
{
    for (int64_t c = 0; c < k->n_outputs; c++)
        if (const_at(n->in[1], input * n->in[1]->type.dim[1] + k->outputs[c]) != 0) return true;
    return false;
}

static bool input_varies(const Net *e, const Node *n, const Block *k, int64_t input)
{
    for (int64_t r = 0; r < k->n_rows; r++)
        if (varies(e, input_of(n, k->rows[r], input))) return true;
    return false;
}

static Block block_of(const Net *e, const Node *n, const int64_t *lanes, int64_t count)
{
    int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1];
    Block k = {.rows = heap_array(count, sizeof *k.rows)};
    k.outputs = heap_array(N, sizeof *k.outputs);
    k.inputs = heap_array(K, sizeof *k.inputs);
    bool *used = heap_array(N, sizeof *used);
    for (int64_t i = 0; i < count; i++) {
        if (!k.n_rows || k.rows[k.n_rows - 1] != lanes[i] / N) k.rows[k.n_rows++] = lanes[i] / N;
        used[lanes[i] % N] = true;
    }
    for (int64_t c = 0; c < N; c++)
        if (used[c]) k.outputs[k.n_outputs++] = (int32_t)c;
    free(used);
    for (int varying = 1; varying >= 0; varying--) {
        for (int64_t i = 0; i < K; i++)
            if (input_is_used(n, &k, i) && input_varies(e, n, &k, i) == varying) k.inputs[k.n_inputs++] = (int32_t)i;
        if (varying) k.n_varying = k.n_inputs;
    }
    return k;
}

static void block_free(Block *k)
{
    free(k->rows);
    free(k->outputs);
    free(k->inputs);
}

// These inputs of each row.
static LaneRef *block_inputs(const Node *n, const Block *k, int64_t first, int64_t count)
{
    LaneRef *refs = heap_array(k->n_rows * count, sizeof *refs);
    for (int64_t i = 0; i < k->n_rows * count; i++)
        refs[i] = input_of(n, k->rows[i / count], k->inputs[first + i % count]);
    return refs;
}

static const Node *times(const Net *e, const Node *n, const Block *k, int64_t first, int64_t count, const Node *x,
                         const Node *bias)
{
    const Node *w = matrix_part(e->b, n->in[1], count, k->inputs + first, k->n_outputs, k->outputs);
    int64_t dim[2] = {type_lanes(x->type) / count, count};
    return build_linear(e->b, build_reshape(e->b, x, 2, dim), w, bias, NULL);
}

// What rows have from known inputs and the bias, at every point; NULL: nothing.
static const Node *known_part(const Net *e, const Node *n, const Block *k)
{
    int64_t known = k->n_inputs - k->n_varying, size = k->n_rows * k->n_outputs;
    const Node *part = linear_bias_part(e->env, n, k->n_outputs, k->outputs);
    if (known) {
        LaneRef *refs = block_inputs(n, k, k->n_varying, known);
        for (int64_t i = 0; i < k->n_rows * known; i++) refs[i] = value_at(e, refs[i], 0);
        const Node *x = lanes_gather_as(e->b, refs, type_vector(k->n_rows * known));
        free(refs);
        part = times(e, n, k, k->n_varying, known, x, part);
    }
    if (!part) return NULL;
    int32_t *map = heap_array(size * e->copies, sizeof *map);
    for (int64_t i = 0; i < size * e->copies; i++) map[i] = (int32_t)(i % type_lanes(part->type));
    part = build_move(e->b, points(e, size), 1, &part, map);
    free(map);
    return part;
}

static Dual product_dual(const Net *e, const Node *n, const Block *k)
{
    LaneRef *refs = block_inputs(n, k, 0, k->n_varying);
    Dual x = operand_dual(e, refs, k->n_rows * k->n_varying), out = {NULL, NULL};
    free(refs);
    int64_t size = k->n_rows * k->n_outputs * e->copies;
    const Node *known = known_part(e, n, k);
    out.value = build_reshape(e->b, times(e, n, k, 0, k->n_varying, x.value, NULL), 1, &size);
    if (known) out.value = build_binary(e->b, OP_add, out.value, known);
    if (x.slope) out.slope = build_reshape(e->b, times(e, n, k, 0, k->n_varying, x.slope, NULL), 1, &size);
    return out;
}

// ---- all nodes

static int compare_numbers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void build_node(Net *e, const Node *n, int64_t *lanes, int64_t count)
{
    Block k = {0};
    qsort(lanes, (size_t)count, sizeof *lanes, compare_numbers);
    if (n->op == OP_linear) {
        k = block_of(e, n, lanes, count);
        e->dual[n->id] = product_dual(e, n, &k);
    } else
        e->dual[n->id] = n->op == OP_matmul      ? matmul_dual(e, n, lanes, count)
                         : op_elementwise(n->op) ? elementwise_dual(e, n, lanes, count)
                                                 : sum_dual(e, n, lanes, count);
    e->count[n->id] = n->op == OP_linear ? k.n_rows * k.n_outputs : count;
    for (int64_t i = 0, row = 0, output = 0; i < count; i++) {
        int64_t N = type_last(n->type);
        while (k.n_rows && k.rows[row] != lanes[i] / N) row++;
        for (output = 0; k.n_rows && k.outputs[output] != lanes[i] % N;) output++;
        *column_of(e, (LaneRef){n, lanes[i]}) = 1 + (int)(k.n_rows ? row * k.n_outputs + output : i);
    }
    block_free(&k);
}

// The lanes of all functions, node by node: those of a function are in that order.
static void build_nodes(Net *e)
{
    const OneLane *g = e->g;
    int *next = heap_array(g->n, sizeof *next);
    int64_t *lanes = NULL, n, cap = 0;
    for (int id = 0; id < g->f->n_nodes; id++) {
        n = 0;
        for (int i = 0; i < g->n; i++)
            for (; next[i] < g->n_lanes[i] && g->lanes[i][next[i]].node->id == id; next[i]++)
                if (!lane_same(g->lanes[i][next[i]], g->v[i])) HEAP_PUSH(lanes, n, cap, g->lanes[i][next[i]].lane);
        if (n) build_node(e, g->f->nodes[id], lanes, n);
    }
    free(next);
    free(lanes);
}

Dual net_evaluate(LaneEnv *env, const OneLane *g, const Node *at, int copies, bool slopes)
{
    Net e = {.env = env, .b = env->b, .g = g, .at = at, .copies = copies, .slopes = slopes};
    e.column = heap_array(env->n_lanes, sizeof *e.column);
    e.count = heap_array(g->f->n_nodes, sizeof *e.count);
    e.dual = heap_array(g->f->n_nodes, sizeof *e.dual);
    e.zero = build_scalar(env->b, 0);
    e.one = build_scalar(env->b, 1);
    for (int i = 0; i < g->n; i++) *column_of(&e, g->v[i]) = -1 - i;
    build_nodes(&e);
    LaneRef *refs = heap_array((int64_t)g->n * copies, sizeof *refs);
    Dual u = {NULL, NULL};
    for (int i = 0; i < g->n * copies; i++) refs[i] = value_at(&e, g->u[i / copies], i % copies);
    u.value = lanes_gather_as(env->b, refs, type_vector((int64_t)g->n * copies));
    for (int i = 0; i < g->n * copies && slopes; i++) refs[i] = slope_at(&e, g->u[i / copies], i % copies);
    if (slopes) u.slope = lanes_gather_as(env->b, refs, type_vector((int64_t)g->n * copies));
    free(refs);
    free(e.column);
    free(e.count);
    free(e.dual);
    return u;
}
