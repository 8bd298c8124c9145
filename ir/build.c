// Building functions: shapes are checked, constants folded in double, equal nodes shared, moves composed.
//
// A Builder keeps its nodes in order and a hash table of them. Nodes that no output needs are dropped by
// builder_finish, so building too much is harmless.
#include "ir.h"

#include "base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Builder {
    Context *cx;
    const char *name;
    Node **nodes;
    uint64_t *hashes; // of nodes
    int n, cap, cap_hashes;
    const Node **inputs;
    int n_inputs, cap_inputs;
    Output *outputs;
    int n_outputs, cap_outputs;
    const Origin *origin;
    int *table; // open addressing: node number + 1
    size_t table_size;
    int *slots; // of moves under construction, by node id: number of the source + 1; all 0 between them
    int n_slots;
};

Builder *builder_new(Context *cx, const char *name)
{
    Builder *b = ARENA_NEW(cx->arena, Builder);
    b->cx = cx;
    b->name = arena_string(cx->arena, name);
    return b;
}

void builder_origin(Builder *b, const Origin *origin) { b->origin = origin; }
Context *builder_context(Builder *b) { return b->cx; }

// A broken call is a bug of the compiler, never of the model: importers check first.
static _Noreturn void bug(const Builder *b, const char *what, const Node *n)
{
    fprintf(stderr, "nfcc: internal error building @%s: %s", b->name, what);
    if (n) fprintf(stderr, " at node %d (%s)", n->id, op_info(n->op)->name);
    fprintf(stderr, "\n");
    exit(4);
}

// ---- sharing

static size_t const_bytes(Type t) { return (size_t)type_lanes(t) * dtype_size(t.dtype); }

enum { SMALL_CONST = 4096 }; // bytes: constants up to this are shared by content

static uint64_t hash_bytes(uint64_t h, const void *data, size_t size)
{
    const unsigned char *p = data;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t v = 0;
        memcpy(&v, p, 8);
        h = hash_mix(h, v);
    }
    for (size_t i = 0; i < size; i++) h = hash_mix(h, p[i]);
    return h;
}

static uint64_t hash_node(const Node *n)
{
    uint64_t h = hash_mix(n->op, (uint64_t)n->type.dtype * 16 + (uint64_t)n->type.rank), bits = 0;
    for (int i = 0; i < n->type.rank; i++) h = hash_mix(h, (uint64_t)n->type.dim[i]);
    for (int i = 0; i < n->n_in; i++) h = hash_mix(h, n->in[i] ? (uint64_t)n->in[i]->id + 1 : 0);
    memcpy(&bits, &n->alpha, 8);
    h = hash_mix(h, bits);
    if (n->map) h = hash_bytes(h, n->map, (size_t)type_lanes(n->type) * 4);
    if (n->op == OP_constant)
        h = const_bytes(n->type) <= SMALL_CONST ? hash_bytes(h, n->data, const_bytes(n->type))
                                                : hash_mix(h, (uint64_t)(uintptr_t)n->data);
    return h;
}

static bool same_node(const Node *a, const Node *b)
{
    if (a->op != b->op || !type_equal(a->type, b->type) || a->n_in != b->n_in) return false;
    if (memcmp(&a->alpha, &b->alpha, sizeof a->alpha)) return false;
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i] != b->in[i]) return false;
    if (!a->map != !b->map || (a->map && memcmp(a->map, b->map, (size_t)type_lanes(a->type) * 4))) return false;
    if (a->op != OP_constant) return a->op != OP_input;
    return a->data == b->data ||
           (const_bytes(a->type) <= SMALL_CONST && !memcmp(a->data, b->data, const_bytes(a->type)));
}

static void table_put(Builder *b, int id)
{
    size_t at = b->hashes[id] & (b->table_size - 1);
    while (b->table[at]) at = (at + 1) & (b->table_size - 1);
    b->table[at] = id + 1;
}

static void table_grow(Builder *b)
{
    b->table_size = b->table_size ? b->table_size * 2 : 256;
    b->table = ARENA_ARRAY(b->cx->arena, int, b->table_size);
    for (int i = 0; i < b->n; i++) table_put(b, i);
}

static const Node *add_node(Builder *b, Node *n)
{
    if ((size_t)b->n * 2 >= b->table_size) table_grow(b);
    uint64_t hash = hash_node(n);
    if (n->op != OP_input) {
        size_t at = hash & (b->table_size - 1);
        for (; b->table[at]; at = (at + 1) & (b->table_size - 1)) {
            int id = b->table[at] - 1;
            if (b->hashes[id] == hash && same_node(b->nodes[id], n)) return b->nodes[id];
        }
    }
    n->id = b->n;
    n->origin = b->origin;
    int count = b->n;
    ARENA_PUSH(b->cx->arena, b->hashes, count, b->cap_hashes, hash);
    ARENA_PUSH(b->cx->arena, b->nodes, b->n, b->cap, n);
    table_put(b, n->id);
    return n;
}

static Node *fresh(Builder *b, Op op, Type type, int n_in, const Node *const *in)
{
    for (int i = 0; i < n_in; i++)
        if (in[i] && (in[i]->id >= b->n || b->nodes[in[i]->id] != in[i])) bug(b, "operand of another function", in[i]);
    Node *n = ARENA_NEW(b->cx->arena, Node);
    n->op = op;
    n->type = type;
    n->n_in = n_in;
    n->in = n_in ? arena_copy(b->cx->arena, in, (size_t)n_in * sizeof *in) : NULL;
    return n;
}

// ---- constants

const Node *build_const(Builder *b, Type type, const void *data)
{
    Node *n = fresh(b, OP_constant, type, 0, NULL);
    n->data = data;
    return add_node(b, n);
}

const Node *build_reals(Builder *b, Type shape, const double *values)
{
    int64_t n = type_lanes(shape);
    bool exact = true;
    for (int64_t i = 0; i < n && exact; i++) {
        float f = (float)values[i];
        exact = (double)f == values[i] || isnan(values[i]);
    }
    shape.dtype = exact ? T_F32 : T_F64;
    if (!exact) return build_const(b, shape, arena_copy(b->cx->arena, values, (size_t)n * sizeof *values));
    float *data = ARENA_ARRAY(b->cx->arena, float, n);
    for (int64_t i = 0; i < n; i++) data[i] = (float)values[i];
    return build_const(b, shape, data);
}

const Node *build_scalar(Builder *b, double value) { return build_reals(b, type_scalar(), &value); }

const Node *build_ints(Builder *b, int64_t n, const int64_t *values)
{
    Type t = type_make(T_I64, 1, &n);
    return build_const(b, t, arena_copy(b->cx->arena, values, (size_t)n * sizeof *values));
}

static const Node *const_of(Builder *b, Type type, const double *values)
{
    int64_t n = type_lanes(type);
    if (type.dtype == T_F32 || type.dtype == T_F64) return build_reals(b, type, values);
    if (type.dtype == T_BOOL) {
        uint8_t *data = ARENA_ARRAY(b->cx->arena, uint8_t, n);
        for (int64_t i = 0; i < n; i++) data[i] = values[i] != 0;
        return build_const(b, type, data);
    }
    int64_t *data = ARENA_ARRAY(b->cx->arena, int64_t, n);
    for (int64_t i = 0; i < n; i++)
        data[i] = values[i] >= 9.2e18 ? INT64_MAX : values[i] <= -9.2e18 ? INT64_MIN : (int64_t)values[i];
    return build_const(b, type, data);
}

static bool all_const(const Node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] && !node_is_const(n->in[i])) return false;
    return n->n_in > 0;
}

// The node, or its value where all operands are constants.
static const Node *finish_node(Builder *b, Node *n)
{
    if (!all_const(n)) return add_node(b, n);
    int64_t lanes = type_lanes(n->type);
    double *out = heap_array(lanes, sizeof *out);
    const double **in = heap_array(n->n_in, sizeof *in);
    eval_node(n, 1, in, out);
    const Node *c = const_of(b, n->type, out);
    free(out);
    free(in);
    return c;
}

// ---- inputs, outputs, end

const Node *build_input(Builder *b, const char *name, Type type)
{
    Node *n = fresh(b, OP_input, type, 0, NULL);
    n->name = arena_string(b->cx->arena, name);
    const Node *node = add_node(b, n);
    ARENA_PUSH(b->cx->arena, b->inputs, b->n_inputs, b->cap_inputs, node);
    return node;
}

void build_output(Builder *b, const char *name, const Node *node)
{
    Output out = {arena_string(b->cx->arena, name), node};
    ARENA_PUSH(b->cx->arena, b->outputs, b->n_outputs, b->cap_outputs, out);
}

const Function *builder_finish(Builder *b)
{
    Arena *a = b->cx->arena;
    bool *live = ARENA_ARRAY(a, bool, b->n + 1);
    for (int i = 0; i < b->n_outputs; i++) live[b->outputs[i].node->id] = true;
    for (int i = 0; i < b->n_inputs; i++) live[b->inputs[i]->id] = true;
    for (int i = b->n - 1; i >= 0; i--)
        for (int k = 0; live[i] && k < b->nodes[i]->n_in; k++)
            if (b->nodes[i]->in[k]) live[b->nodes[i]->in[k]->id] = true;
    const Node **nodes = ARENA_ARRAY(a, const Node *, b->n + 1);
    int n = 0;
    for (int i = 0; i < b->n; i++) {
        if (!live[i]) continue;
        b->nodes[i]->id = n;
        nodes[n++] = b->nodes[i];
    }
    Function *f = ARENA_NEW(a, Function);
    *f = (Function){b->name, nodes, n, b->inputs, b->n_inputs, b->outputs, b->n_outputs};
    b->n = 0; // the nodes now belong to the function
    return f;
}

// ---- movement

// One lane of a value after following moves: node and lane.
typedef struct {
    const Node *node;
    int64_t lane;
} Lane;

static Lane resolve(const Node *n, int64_t lane)
{
    Lane at = {n, lane};
    while (at.node->op == OP_move) at.node = at.node->in[move_source(at.node, at.lane, &at.lane)];
    return at;
}

static const Node *move_of_const(Builder *b, Type type, const Node *c, const int32_t *map)
{
    size_t s = dtype_size(c->type.dtype), n = (size_t)type_lanes(type);
    type.dtype = c->type.dtype;
    if (!map) return build_const(b, type, c->data);
    char *data = arena_array(b->cx->arena, n, s);
    const char *from = c->data;
    for (size_t i = 0; i < n; i++) memcpy(data + i * s, from + (size_t)map[i] * s, s);
    return build_const(b, type, data);
}

static bool is_identity(const int32_t *map, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (map[i] != i) return false;
    return true;
}

// Sources of the result's lanes, after following moves, in order of first use; the map over their concatenation.
typedef struct {
    const Node **nodes;
    int n, cap;
} Sources;

static void source_slot(Builder *b, Sources *s, const Node *n)
{
    if (b->slots[n->id]) return;
    HEAP_PUSH(s->nodes, s->n, s->cap, n);
    b->slots[n->id] = s->n;
}

static void reserve_slots(Builder *b)
{
    if (b->n <= b->n_slots) return;
    b->n_slots = 2 * b->n + 64;
    b->slots = ARENA_ARRAY(b->cx->arena, int, b->n_slots);
}

static int64_t *bases_of(const Sources *s, int64_t *total)
{
    int64_t *base = heap_array(s->n + 1, sizeof *base);
    *total = 0;
    for (int k = 0; k < s->n; k++) {
        base[k] = *total;
        *total += type_lanes(s->nodes[k]->type);
    }
    base[s->n] = *total;
    return base;
}

// The move itself, or what it comes to. Map and bases are copied only where it is a new node.
static const Node *add_move(Builder *b, Type type, const Sources *s, const int32_t *map, const int64_t *base)
{
    if (!map && s->n == 1 && s->nodes[0]->type.rank == type.rank) {
        Type same = type;
        same.dtype = s->nodes[0]->type.dtype;
        if (type_equal(s->nodes[0]->type, same)) return s->nodes[0];
    }
    if (s->n == 1 && node_is_const(s->nodes[0])) return move_of_const(b, type, s->nodes[0], map);
    Node *m = fresh(b, OP_move, type, s->n, s->nodes);
    m->map = map;
    m->base = s->n > 1 ? base : NULL;
    if (all_const(m)) return finish_node(b, m);
    if (type.dtype == T_F64) m->type.dtype = T_F32; // F64 is for constants alone
    const Node *added = add_node(b, m);
    if (added != m) return added;
    if (map) m->map = arena_copy(b->cx->arena, map, (size_t)type_lanes(type) * sizeof *map);
    if (m->base) m->base = arena_copy(b->cx->arena, base, (size_t)(s->n + 1) * sizeof *base);
    return m;
}

static const Node *finish_move(Builder *b, Type type, const Sources *s, const Lane *lanes)
{
    int64_t n = type_lanes(type), total = 0, *base = bases_of(s, &total);
    if (total > INT32_MAX) bug(b, "move of more than 2^31 lanes", NULL);
    int32_t *map = heap_array(n, sizeof *map);
    for (int64_t i = 0; i < n; i++) map[i] = (int32_t)(base[b->slots[lanes[i].node->id] - 1] + lanes[i].lane);
    bool identity = total == n && is_identity(map, n);
    for (int k = 0; k < s->n; k++) b->slots[s->nodes[k]->id] = 0;
    const Node *m = add_move(b, type, s, identity ? NULL : map, base);
    free(map);
    free(base);
    return m;
}

// Lane by lane what the move reads, after following moves.
static Lane *resolved_lanes(Builder *b, int64_t n, int n_in, const Node *const *in, const int32_t *map, Sources *s)
{
    Lane *lanes = heap_array(n, sizeof *lanes);
    int64_t *start = heap_array(n_in + 1, sizeof *start);
    start[0] = 0;
    for (int k = 0; k < n_in; k++) start[k + 1] = start[k] + type_lanes(in[k]->type);
    int k = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t lane = map ? map[i] : i;
        if (lane < 0 || lane >= start[n_in]) bug(b, "lane map out of range", n_in ? in[0] : NULL);
        while (lane < start[k]) k--;
        while (lane >= start[k + 1]) k++;
        lanes[i] = resolve(in[k], lane - start[k]);
        source_slot(b, s, lanes[i].node);
    }
    free(start);
    return lanes;
}

// Whole values one after the other, none of them a move or twice there, need no look at their lanes.
static bool plain_concat(Builder *b, int n_in, const Node *const *in)
{
    int k = 0;
    while (k < n_in && in[k]->op != OP_move && !b->slots[in[k]->id]) b->slots[in[k++]->id] = 1;
    for (int j = 0; j < k; j++) b->slots[in[j]->id] = 0;
    return k == n_in;
}

const Node *build_move(Builder *b, Type type, int n_in, const Node *const *in, const int32_t *map)
{
    int64_t n = type_lanes(type), total = 0;
    bool constant = true;
    for (int k = 0; k < n_in; k++) {
        total += type_lanes(in[k]->type);
        constant = constant && node_is_const(in[k]);
    }
    if (!map && total != n) bug(b, "lane counts differ", NULL);
    if (constant && n_in == 1) return move_of_const(b, type, in[0], map);
    if (n_in && in[0]->type.dtype != T_F64 && type.dtype == T_F32 && in[0]->type.dtype != T_F32)
        type.dtype = in[0]->type.dtype;
    Sources s = {NULL, 0, 0};
    reserve_slots(b);
    if (!map && plain_concat(b, n_in, in)) {
        s = (Sources){arena_copy(b->cx->arena, in, (size_t)n_in * sizeof *in), n_in, n_in};
        int64_t *base = bases_of(&s, &total);
        const Node *joined = add_move(b, type, &s, NULL, base);
        free(base);
        return joined;
    }
    Lane *lanes = resolved_lanes(b, n, n_in, in, map, &s);
    const Node *m = finish_move(b, type, &s, lanes);
    free(s.nodes);
    free(lanes);
    return m;
}

const Node *build_reshape(Builder *b, const Node *x, int rank, const int64_t *dim)
{
    return build_move(b, type_make(x->type.dtype, rank, dim), 1, &x, NULL);
}

// Result of a movement whose lane i comes from index arithmetic: strides of x per result axis.
static const Node *strided(Builder *b, const Node *x, Type type, const int64_t *stride, int64_t offset)
{
    int64_t n = type_lanes(type), index[MAX_RANK] = {0}, at = offset;
    int32_t *map = heap_array(n, sizeof *map);
    for (int64_t i = 0; i < n; i++) {
        map[i] = (int32_t)at;
        for (int a = type.rank - 1; a >= 0; a--) {
            at += stride[a];
            if (++index[a] < type.dim[a]) break;
            at -= stride[a] * type.dim[a];
            index[a] = 0;
        }
    }
    const Node *m = build_move(b, type, 1, &x, map);
    free(map);
    return m;
}

static void strides_of(Type t, int64_t *stride)
{
    int64_t s = 1;
    for (int a = t.rank - 1; a >= 0; a--) {
        stride[a] = s;
        s *= t.dim[a];
    }
}

// A constant matrix the other way round, in squares whose lines stay in cache: weights as PyTorch stores them.
static const Node *transposed_matrix(Builder *b, const Node *x)
{
    enum { SIDE = 16 };
    int64_t rows = x->type.dim[0], cols = x->type.dim[1], dim[2] = {cols, rows};
    const float *from = x->data;
    float *to = ARENA_ARRAY(b->cx->arena, float, rows *cols);
    for (int64_t r0 = 0; r0 < rows; r0 += SIDE)
        for (int64_t c0 = 0; c0 < cols; c0 += SIDE)
            for (int64_t c = c0; c < cols && c < c0 + SIDE; c++)
                for (int64_t r = r0; r < rows && r < r0 + SIDE; r++) to[c * rows + r] = from[r * cols + c];
    return build_const(b, type_make(T_F32, 2, dim), to);
}

const Node *build_transpose(Builder *b, const Node *x, const int *perm)
{
    if (node_is_const(x) && x->type.dtype == T_F32 && x->type.rank == 2 && perm[0] == 1) return transposed_matrix(b, x);
    int64_t own[MAX_RANK], stride[MAX_RANK];
    strides_of(x->type, own);
    Type t = x->type;
    for (int a = 0; a < t.rank; a++) {
        t.dim[a] = x->type.dim[perm[a]];
        stride[a] = own[perm[a]];
    }
    return strided(b, x, t, stride, 0);
}

const Node *build_broadcast(Builder *b, const Node *x, int rank, const int64_t *dim)
{
    int64_t own[MAX_RANK], stride[MAX_RANK];
    strides_of(x->type, own);
    Type t = type_make(x->type.dtype, rank, dim);
    for (int a = 0; a < rank; a++) {
        int xa = a - (rank - x->type.rank);
        int64_t xd = xa >= 0 ? x->type.dim[xa] : 1;
        if (xd != 1 && xd != dim[a]) bug(b, "broadcast of unequal dims", x);
        stride[a] = xd == 1 ? 0 : own[xa];
    }
    return strided(b, x, t, stride, 0);
}

const Node *build_slice(Builder *b, const Node *x, int axis, int64_t start, int64_t count, int64_t step)
{
    int64_t stride[MAX_RANK];
    strides_of(x->type, stride);
    Type t = x->type;
    t.dim[axis] = count;
    int64_t offset = start * stride[axis];
    stride[axis] *= step;
    return strided(b, x, t, stride, offset);
}

const Node *build_concat(Builder *b, int n_in, const Node *const *in, int axis)
{
    Type t = in[0]->type;
    int64_t inner = 1, outer = 1, rows = 0;
    for (int k = 0; k < n_in; k++) rows += in[k]->type.dim[axis];
    for (int a = 0; a < axis; a++) outer *= t.dim[a];
    for (int a = axis + 1; a < t.rank; a++) inner *= t.dim[a];
    t.dim[axis] = rows;
    int64_t n = type_lanes(t), i = 0;
    int32_t *map = heap_array(n, sizeof *map);
    for (int64_t o = 0; o < outer; o++) {
        int64_t base = 0;
        for (int k = 0; k < n_in; k++) {
            int64_t width = in[k]->type.dim[axis] * inner;
            for (int64_t j = 0; j < width; j++) map[i++] = (int32_t)(base + o * width + j);
            base += type_lanes(in[k]->type);
        }
    }
    const Node *m = build_move(b, t, n_in, in, map);
    free(map);
    return m;
}

const Node *build_lanes(Builder *b, const Node *x, int64_t n, const int32_t *lanes)
{
    Type t = type_make(x->type.dtype, 1, &n);
    return build_move(b, t, 1, &x, lanes);
}

// ---- elementwise

static DType result_dtype(Op op, const Node *a)
{
    switch ((int)op) {
    case OP_lt:
    case OP_le:
    case OP_eq:
    case OP_and:
    case OP_or:
    case OP_xor:
    case OP_not:
    case OP_isnan:
    case OP_isinf: return T_BOOL;
    default: return a->type.dtype == T_F64 ? T_F32 : a->type.dtype;
    }
}

static bool splat(const Node *n, double v)
{
    double s = 0;
    return n->op == OP_constant && type_lanes(n->type) <= 4096 && const_is_splat(n, &s) && s == v;
}

const Node *build_alpha(Builder *b, Op op, const Node *x, double alpha)
{
    if (op == OP_neg && x->op == OP_neg) return x->in[0];
    if (op == OP_leaky_relu && alpha == 1) return x;
    Type t = x->type;
    t.dtype = result_dtype(op, x);
    if (t.dtype == T_BOOL && op != OP_not && op != OP_isnan && op != OP_isinf) t.dtype = T_F32;
    Node *n = fresh(b, op, t, 1, &x);
    n->alpha = alpha;
    return finish_node(b, n);
}

const Node *build_unary(Builder *b, Op op, const Node *x) { return build_alpha(b, op, x, 0); }

// NumPy broadcasting of the shapes; false if they do not fit.
static bool broadcast_type(Type a, Type c, Type *out)
{
    *out = a.rank >= c.rank ? a : c;
    for (int i = 1; i <= out->rank; i++) {
        int64_t x = i <= a.rank ? a.dim[a.rank - i] : 1, y = i <= c.rank ? c.dim[c.rank - i] : 1;
        if (x != y && x != 1 && y != 1) return false;
        out->dim[out->rank - i] = x == 1 ? y : x;
    }
    return true;
}

static const Node *fit(Builder *b, const Node *x, Type t)
{
    int64_t lanes = type_lanes(x->type);
    if (lanes == 1 || lanes == type_lanes(t)) return x;
    return build_broadcast(b, x, t.rank, t.dim);
}

// x op constant that is x again. Design: the equalities are for finite lanes.
static const Node *neutral(Op op, const Node *a, const Node *c, Type t)
{
    bool keeps_a = type_lanes(a->type) == type_lanes(t), keeps_c = type_lanes(c->type) == type_lanes(t);
    if (op == OP_add && splat(c, 0) && keeps_a) return a;
    if (op == OP_add && splat(a, 0) && keeps_c) return c;
    if (op == OP_sub && splat(c, 0) && keeps_a) return a;
    if ((op == OP_mul || op == OP_div || op == OP_pow) && splat(c, 1) && keeps_a) return a;
    if (op == OP_mul && splat(a, 1) && keeps_c) return c;
    return NULL;
}

static const Node *shaped(Builder *b, const Node *x, Type t)
{
    if (x->type.rank == t.rank && !memcmp(x->type.dim, t.dim, (size_t)t.rank * sizeof t.dim[0])) return x;
    return build_reshape(b, x, t.rank, t.dim);
}

// Comparisons are bool; numbers are real where one operand is, integer where one is; two bools count as numbers.
static DType binary_dtype(Op op, DType a, DType c)
{
    static const Op tests[] = {OP_lt, OP_le, OP_eq, OP_and, OP_or, OP_xor};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        if (op == tests[i]) return T_BOOL;
    bool real = a == T_F32 || a == T_F64 || c == T_F32 || c == T_F64 || (a == T_BOOL && c == T_BOOL);
    return real ? T_F32 : T_I64;
}

const Node *build_binary(Builder *b, Op op, const Node *a, const Node *c)
{
    Type t;
    if (!broadcast_type(a->type, c->type, &t)) bug(b, "operands do not broadcast", a);
    t.dtype = binary_dtype(op, a->type.dtype, c->type.dtype);
    const Node *same = neutral(op, a, c, t);
    if (same && t.dtype != T_BOOL && t.dtype != T_I64) return shaped(b, same, t);
    if (op == OP_mul && !node_is_const(a) && !node_is_const(c)) {
        // nothing to do
    } else if (op == OP_mul && t.dtype == T_F32 && (splat(a, 0) || splat(c, 0))) {
        const Node *zero = build_scalar(b, 0);
        return build_broadcast(b, zero, t.rank, t.dim);
    }
    const Node *in[2] = {fit(b, a, t), fit(b, c, t)};
    return finish_node(b, fresh(b, op, t, 2, in));
}

const Node *build_select(Builder *b, const Node *c, const Node *x, const Node *y)
{
    Type t, u;
    if (!broadcast_type(x->type, y->type, &u) || !broadcast_type(u, c->type, &t))
        bug(b, "operands do not broadcast", c);
    t.dtype = x->type.dtype == T_F64 ? T_F32 : x->type.dtype;
    if (x == y && type_lanes(x->type) == type_lanes(t)) return shaped(b, x, t);
    double v = 0;
    if (node_is_const(c) && const_is_splat(c, &v)) {
        const Node *chosen = v != 0 ? x : y;
        return shaped(b, type_lanes(chosen->type) == type_lanes(t) ? chosen : build_broadcast(b, chosen, t.rank, t.dim),
                      t);
    }
    const Node *in[3] = {fit(b, c, t), fit(b, x, t), fit(b, y, t)};
    return finish_node(b, fresh(b, OP_select, t, 3, in));
}

const Node *build_cast(Builder *b, const Node *x, DType dtype)
{
    bool real = x->type.dtype == T_F32 || x->type.dtype == T_F64, to_real = dtype == T_F32 || dtype == T_F64;
    if (x->type.dtype == dtype || (real && to_real)) return x;
    if (node_is_const(x)) {
        int64_t n = type_lanes(x->type);
        double *v = heap_array(n, sizeof *v);
        for (int64_t i = 0; i < n; i++)
            v[i] = dtype == T_BOOL ? const_at(x, i) != 0 : dtype == T_I64 ? trunc(const_at(x, i)) : const_at(x, i);
        Type t = x->type;
        t.dtype = dtype;
        const Node *c = const_of(b, t, v);
        free(v);
        return c;
    }
    Type t = x->type;
    t.dtype = dtype;
    if (dtype == T_BOOL) return build_unary(b, OP_not, build_unary(b, OP_not, x));
    if (dtype == T_I64 && real) {
        Node *n = fresh(b, OP_trunc, t, 1, &x);
        return add_node(b, n);
    }
    // bool to integer, bool or integer to real: the same number under another type; + 0 carries the type.
    const Node *in[2] = {x, to_real ? build_scalar(b, 0) : build_ints(b, 1, (int64_t[]){0})};
    return add_node(b, fresh(b, OP_add, t, 2, in));
}

// ---- products, reductions

static bool is_weights(const Node *w) { return node_is_const(w) && (w->type.rank == 2 || w->type.rank == 3); }

const Node *build_linear(Builder *b, const Node *x, const Node *w, const Node *bias, const Node *add)
{
    if (!is_weights(w) || !x->type.rank || type_last(x->type) != linear_dims(w->type).k) bug(b, "linear: shapes", x);
    LinearDims d = linear_dims(w->type);
    if (bias && (!node_is_const(bias) || type_lanes(bias->type) != (d.groups ? d.groups * d.n : d.n)))
        bug(b, "linear: bias", bias);
    Type t = linear_type(x->type, w->type, false);
    if (add && type_lanes(add->type) != type_lanes(t)) bug(b, "linear: add", add);
    const Node *in[4] = {x, w, bias, add};
    return finish_node(b, fresh(b, OP_linear, t, add ? 4 : bias ? 3 : 2, in));
}

const Node *build_linear_t(Builder *b, const Node *x, const Node *w)
{
    if (!is_weights(w) || !x->type.rank || type_last(x->type) != linear_dims(w->type).n) bug(b, "linear_t: shapes", x);
    const Node *in[2] = {x, w};
    return finish_node(b, fresh(b, OP_linear_t, linear_type(x->type, w->type, true), 2, in));
}

const Node *build_matmul(Builder *b, const Node *a, const Node *c)
{
    int r = a->type.rank;
    if (r < 2 || c->type.rank != r || a->type.dim[r - 1] != c->type.dim[r - 2]) bug(b, "matmul: shapes", a);
    for (int i = 0; i < r - 2; i++)
        if (a->type.dim[i] != c->type.dim[i]) bug(b, "matmul: leading dims", a);
    Type t = a->type;
    t.dtype = T_F32;
    t.dim[r - 1] = c->type.dim[r - 1];
    const Node *in[2] = {a, c};
    return finish_node(b, fresh(b, OP_matmul, t, 2, in));
}

const Node *build_reduce(Builder *b, Op op, const Node *x)
{
    if (!x->type.rank) return x;
    Type t = x->type;
    t.rank--;
    t.dtype = t.dtype == T_F64 ? T_F32 : t.dtype;
    if (type_last(x->type) == 1) return build_reshape(b, x, t.rank, t.dim);
    return finish_node(b, fresh(b, op, t, 1, &x));
}

const Node *build_take(Builder *b, const Node *table, const Node *index)
{
    int64_t J = type_last(index->type), K = type_last(table->type), rows = type_lanes(table->type) / (K ? K : 1);
    if (!table->type.rank || !K || (rows != 1 && rows != type_lanes(index->type) / (J ? J : 1)))
        bug(b, "take: shapes", table);
    Type t = index->type;
    t.dtype = table->type.dtype == T_F64 ? T_F32 : table->type.dtype;
    const Node *in[2] = {table, index};
    return finish_node(b, fresh(b, OP_take, t, 2, in));
}

const Node *build_like(Builder *b, const Node *n, const Node *const *in)
{
    switch (op_info(n->op)->kind) {
    case KIND_LEAF: return n->op == OP_input ? build_input(b, n->name, n->type) : build_const(b, n->type, n->data);
    case KIND_MOVE: return build_move(b, n->type, n->n_in, in, n->map);
    default: break;
    }
    Node *copy = fresh(b, n->op, n->type, n->n_in, in);
    copy->alpha = n->alpha;
    copy->name = n->name;
    const Origin *outer = b->origin;
    if (n->origin) b->origin = n->origin;
    const Node *done = finish_node(b, copy);
    b->origin = outer;
    return done;
}
