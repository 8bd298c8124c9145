// Building functions: shapes are checked, constants folded in double, equal nodes shared (moves: build_move.c).
//
// A Builder keeps its nodes in order and a hash table of them. Nodes that no output needs are dropped by
// builder_finish, so building too much is harmless.
#include "builder.h"

#include "base/hash.h"
#include "float_bits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

Builder *builder_new(Context *cx, const char *name)
{
    Builder *b = ARENA_NEW(nodes_arena(cx), Builder);
    b->cx = cx;
    b->name = arena_string(nodes_arena(cx), name);
    b->work = arena_within(nodes_arena(cx));
    return b;
}

void builder_origin(Builder *b, const Origin *origin) { b->origin = origin; }
Context *builder_context(Builder *b) { return b->cx; }

_Noreturn void builder_bug(const Builder *b, const char *what, const Node *n)
{
    fprintf(stderr, "nfcc: internal error building @%s: %s", b->name, what);
    if (n) fprintf(stderr, " at node %d (%s)", n->id, op_info(n->op)->name);
    fprintf(stderr, "\n");
    exit(4);
}

// ---- sharing

static size_t const_bytes(Type t) { return (size_t)type_lanes(t) * dtype_size(t.dtype); }

enum { SMALL_CONST = 4096 }; // bytes: constants up to this are shared by content
enum { FEW_REALS = 16 };     // asked for again and again: 0, 1, an epsilon

static uint64_t hash_node(const Node *n)
{
    uint64_t h = hash_mix(n->op, (uint64_t)n->type.dtype * 16 + (uint64_t)n->type.rank);
    for (int i = 0; i < n->type.rank; i++) h = hash_mix(h, (uint64_t)n->type.dim[i]);
    for (int i = 0; i < n->n_in; i++) h = hash_mix(h, n->in[i] ? (uint64_t)n->in[i]->id + 1 : 0);
    h = hash_mix(h, bits_of(n->alpha));
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
    b->table = ARENA_ARRAY(b->work, int, b->table_size);
    for (int i = 0; i < b->n; i++) table_put(b, i);
}

const Node *builder_add(Builder *b, const Node *n)
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
    Node *added = arena_copy(nodes_arena(b->cx), n, sizeof *n);
    added->id = b->n;
    added->origin = b->origin;
    if (n->n_in) added->in = arena_copy(nodes_arena(b->cx), n->in, (size_t)n->n_in * sizeof *n->in);
    int count = b->n;
    ARENA_PUSH(b->work, b->hashes, count, b->cap_hashes, hash);
    ARENA_PUSH(b->work, b->nodes, b->n, b->cap, added);
    table_put(b, added->id);
    return added;
}

Node *builder_node(Builder *b, Op op, Type type, int n_in, const Node *const *in)
{
    for (int i = 0; i < n_in; i++)
        if (in[i] && (in[i]->id >= b->n || b->nodes[in[i]->id] != in[i]))
            builder_bug(b, "operand of another function", in[i]);
    b->draft = (Node){.op = op, .type = type, .n_in = n_in, .in = in};
    return &b->draft;
}

// ---- constants

const Node *build_const(Builder *b, Type type, const void *data)
{
    Node *n = builder_node(b, OP_constant, type, 0, NULL);
    n->data = data;
    return builder_add(b, n);
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
    float few[FEW_REALS], *data = n <= FEW_REALS ? few : ARENA_ARRAY(b->cx->arena, float, n);
    for (int64_t i = 0; i < n; i++) data[i] = (float)values[i];
    return build_const(b, shape, n <= FEW_REALS ? arena_intern(b->cx->arena, few, (size_t)n * sizeof *few) : data);
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
    for (int64_t i = 0; i < n; i++) data[i] = int_of_real(values[i]);
    return build_const(b, type, data);
}

bool node_folds(const Node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] && !node_is_const(n->in[i])) return false;
    return n->n_in > 0;
}

const Node *builder_fold(Builder *b, Node *n)
{
    if (!node_folds(n)) return builder_add(b, n);
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
    Node *n = builder_node(b, OP_input, type, 0, NULL);
    n->name = arena_string(b->cx->arena, name);
    const Node *node = builder_add(b, n);
    ARENA_PUSH(nodes_arena(b->cx), b->inputs, b->n_inputs, b->cap_inputs, node);
    return node;
}

void build_output(Builder *b, const char *name, const Node *node)
{
    Output out = {arena_string(b->cx->arena, name), node};
    ARENA_PUSH(nodes_arena(b->cx), b->outputs, b->n_outputs, b->cap_outputs, out);
}

const Function *builder_finish(Builder *b)
{
    Arena *a = nodes_arena(b->cx);
    bool *live = ARENA_ARRAY(b->work, bool, b->n + 1);
    for (int i = 0; i < b->n_outputs; i++) live[b->outputs[i].node->id] = true;
    for (int i = 0; i < b->n_inputs; i++) live[b->inputs[i]->id] = true;
    for (int i = b->n - 1; i >= 0; i--)
        for (int k = 0; live[i] && k < b->nodes[i]->n_in; k++)
            if (b->nodes[i]->in[k]) live[b->nodes[i]->in[k]->id] = true;
    int n = 0;
    for (int i = 0; i < b->n; i++) {
        if (!live[i]) continue;
        b->nodes[i]->id = n;
        b->nodes[n++] = b->nodes[i];
    }
    const Node **nodes = arena_copy(a, b->nodes, (size_t)n * sizeof *nodes);
    Function *f = ARENA_NEW(a, Function);
    *f = (Function){b->name, nodes, n, b->inputs, b->n_inputs, b->outputs, b->n_outputs};
    arena_free(b->work);
    *b = (Builder){.cx = b->cx, .name = b->name}; // the nodes now belong to the function
    return f;
}

// ---- elementwise

static bool is_test(Op op)
{
    static const Op tests[] = {OP_lt, OP_le, OP_eq, OP_and, OP_or, OP_xor, OP_not, OP_isnan, OP_isinf};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        if (op == tests[i]) return true;
    return false;
}

static bool splat(const Node *n, double v)
{
    double s = 0;
    return n->op == OP_constant && type_lanes(n->type) <= 4096 && const_is_splat(n, &s) && s == v;
}

const Node *build_alpha(Builder *b, Op op, const Node *x, double alpha)
{
    if (op == OP_neg && x->op == OP_neg) return x->in[0];
    if (op == OP_log && x->op == OP_sigmoid) // no -inf where the sigmoid is rounded to 0
        return build_unary(b, OP_neg, build_unary(b, OP_softplus, build_unary(b, OP_neg, x->in[0])));
    if (op == OP_leaky_relu && alpha == 1) return x;
    Type t = x->type;
    t.dtype = is_test(op) ? T_BOOL : t.dtype == T_I64 ? T_I64 : T_F32;
    Node *n = builder_node(b, op, t, 1, &x);
    n->alpha = alpha;
    return builder_fold(b, n);
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
    if (is_test(op)) return T_BOOL;
    bool real = a == T_F32 || a == T_F64 || c == T_F32 || c == T_F64 || (a == T_BOOL && c == T_BOOL);
    return real ? T_F32 : T_I64;
}

const Node *build_binary(Builder *b, Op op, const Node *a, const Node *c)
{
    Type t;
    if (!broadcast_type(a->type, c->type, &t)) builder_bug(b, "operands do not broadcast", a);
    t.dtype = binary_dtype(op, a->type.dtype, c->type.dtype);
    const Node *same = neutral(op, a, c, t);
    if (same && t.dtype != T_BOOL && t.dtype != T_I64) return shaped(b, same, t);
    if (op == OP_mul && t.dtype == T_F32 && (splat(a, 0) || splat(c, 0)))
        return build_broadcast(b, build_scalar(b, 0), t.rank, t.dim);
    const Node *in[2] = {fit(b, a, t), fit(b, c, t)};
    return builder_fold(b, builder_node(b, op, t, 2, in));
}

// A mask or a number is a number.
static DType select_dtype(DType x, DType y) { return x != y ? binary_dtype(OP_add, x, y) : x == T_F64 ? T_F32 : x; }

const Node *build_select(Builder *b, const Node *c, const Node *x, const Node *y)
{
    Type t, u;
    if (!broadcast_type(x->type, y->type, &u) || !broadcast_type(u, c->type, &t))
        builder_bug(b, "operands do not broadcast", c);
    t.dtype = select_dtype(x->type.dtype, y->type.dtype);
    if (x == y && type_lanes(x->type) == type_lanes(t)) return shaped(b, x, t);
    double v = 0;
    if (node_is_const(c) && const_is_splat(c, &v)) {
        const Node *chosen = v != 0 ? x : y;
        return shaped(b, type_lanes(chosen->type) == type_lanes(t) ? chosen : build_broadcast(b, chosen, t.rank, t.dim),
                      t);
    }
    const Node *in[3] = {fit(b, c, t), fit(b, x, t), fit(b, y, t)};
    return builder_fold(b, builder_node(b, OP_select, t, 3, in));
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
        Node *n = builder_node(b, OP_trunc, t, 1, &x);
        return builder_add(b, n);
    }
    // bool to integer, bool or integer to real: the same number under another type; + 0 carries the type.
    const Node *in[2] = {x, to_real ? build_scalar(b, 0) : build_ints(b, 1, (int64_t[]){0})};
    return builder_add(b, builder_node(b, OP_add, t, 2, in));
}

// ---- products, reductions

static bool is_weights(const Node *w) { return node_is_const(w) && (w->type.rank == 2 || w->type.rank == 3); }

static Type linear_result(Builder *b, const Node *x, const Node *w, const Node *bias)
{
    if (!is_weights(w) || !x->type.rank || type_last(x->type) != linear_dims(w->type).k)
        builder_bug(b, "linear: shapes", x);
    LinearDims d = linear_dims(w->type);
    if (bias && (!node_is_const(bias) || type_lanes(bias->type) != (d.groups ? d.groups * d.n : d.n)))
        builder_bug(b, "linear: bias", bias);
    return linear_type(x->type, w->type, false);
}

const Node *build_linear(Builder *b, const Node *x, const Node *w, const Node *bias, const Node *add)
{
    Type t = linear_result(b, x, w, bias);
    if (add && type_lanes(add->type) != type_lanes(t)) builder_bug(b, "linear: add", add);
    const Node *in[4] = {x, w, bias, add};
    return builder_fold(b, builder_node(b, OP_linear, t, add ? 4 : bias ? 3 : 2, in));
}

const Node *build_scaled_linear(Builder *b, const Node *x, const Node *w, const Node *scale, const Node *bias)
{
    Type t = linear_result(b, x, w, bias);
    if (!bias || type_lanes(scale->type) * type_last(t) != type_lanes(t))
        builder_bug(b, "linear: no bias, or not a scale for each token", scale);
    const Node *in[5] = {x, w, bias, NULL, scale};
    return builder_fold(b, builder_node(b, OP_linear, t, 5, in));
}

const Node *build_linear_t(Builder *b, const Node *x, const Node *w)
{
    if (!is_weights(w) || !x->type.rank || type_last(x->type) != linear_dims(w->type).n)
        builder_bug(b, "linear_t: shapes", x);
    const Node *in[2] = {x, w};
    return builder_fold(b, builder_node(b, OP_linear_t, linear_type(x->type, w->type, true), 2, in));
}

const Node *build_matmul(Builder *b, const Node *a, const Node *c)
{
    int r = a->type.rank;
    if (r < 2 || c->type.rank != r || a->type.dim[r - 1] != c->type.dim[r - 2]) builder_bug(b, "matmul: shapes", a);
    for (int i = 0; i < r - 2; i++)
        if (a->type.dim[i] != c->type.dim[i]) builder_bug(b, "matmul: leading dims", a);
    Type t = a->type;
    t.dtype = T_F32;
    t.dim[r - 1] = c->type.dim[r - 1];
    const Node *in[2] = {a, c};
    return builder_fold(b, builder_node(b, OP_matmul, t, 2, in));
}

const Node *build_reduce(Builder *b, Op op, const Node *x)
{
    if (!x->type.rank) return x;
    Type t = x->type;
    t.rank--;
    t.dtype = t.dtype == T_F64 ? T_F32 : t.dtype;
    if (type_last(x->type) == 1) return build_reshape(b, x, t.rank, t.dim);
    return builder_fold(b, builder_node(b, op, t, 1, &x));
}

const Node *build_take(Builder *b, const Node *table, const Node *index)
{
    int64_t J = type_last(index->type), K = type_last(table->type), rows = type_lanes(table->type) / (K ? K : 1);
    if (!table->type.rank || !K || (rows != 1 && rows != type_lanes(index->type) / (J ? J : 1)))
        builder_bug(b, "take: shapes", table);
    Type t = index->type;
    t.dtype = table->type.dtype == T_F64 ? T_F32 : table->type.dtype;
    const Node *in[2] = {table, index};
    return builder_fold(b, builder_node(b, OP_take, t, 2, in));
}

const Node *build_like(Builder *b, const Node *n, const Node *const *in)
{
    switch (op_info(n->op)->kind) {
    case KIND_LEAF: return n->op == OP_input ? build_input(b, n->name, n->type) : build_const(b, n->type, n->data);
    case KIND_MOVE: return build_move(b, n->type, n->n_in, in, n->map);
    default: break;
    }
    Node *copy = builder_node(b, n->op, n->type, n->n_in, in);
    copy->alpha = n->alpha;
    copy->name = n->name;
    const Origin *outer = b->origin;
    if (n->origin) b->origin = n->origin;
    const Node *done = builder_fold(b, copy);
    b->origin = outer;
    return done;
}

const Node *build_copy(Builder *b, const Node *n, const Node *const *now)
{
    const Node *few[4] = {NULL}, **in = n->n_in <= 4 ? few : heap_array(n->n_in, sizeof *in);
    for (int k = 0; k < n->n_in; k++) in[k] = n->in[k] ? now[n->in[k]->id] : NULL;
    const Node *copy = build_like(b, n, in);
    if (in != few) free(in);
    return copy;
}
