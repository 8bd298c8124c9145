// Building moves: all data movement is one op with a constant lane map. A move of moves is one move from the values
// behind them, a move of constants is a constant, and one that changes nothing is its operand.
#include "builder.h"

#include <stdlib.h>
#include <string.h>

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

// ---- any map

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
    b->slots = ARENA_ARRAY(b->work, int, b->n_slots);
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

// The move itself, or what it comes to. Map and bases are kept only where it is a new node, and each once: the rounds
// of equal blocks, and the same value in the modules of all passes, have equal ones.
static const Node *add_move(Builder *b, Type type, const Sources *s, const int32_t *map, const int64_t *base)
{
    if (!map && s->n == 1 && s->nodes[0]->type.rank == type.rank) {
        Type same = type;
        same.dtype = s->nodes[0]->type.dtype;
        if (type_equal(s->nodes[0]->type, same)) return s->nodes[0];
    }
    if (s->n == 1 && node_is_const(s->nodes[0])) return move_of_const(b, type, s->nodes[0], map);
    Node *m = builder_node(b, OP_move, type, s->n, s->nodes);
    m->map = map;
    m->base = s->n > 1 ? base : NULL;
    if (node_folds(m)) return builder_fold(b, m);
    if (type.dtype == T_F64) m->type.dtype = T_F32; // F64 is for constants alone
    int count = b->n;
    const Node *added = builder_add(b, m);
    if (b->n == count) return added;
    Node *now = b->nodes[added->id];
    if (map) now->map = arena_intern(b->cx->arena, map, (size_t)type_lanes(type) * sizeof *map);
    if (now->base) now->base = arena_intern(b->cx->arena, base, (size_t)(s->n + 1) * sizeof *base);
    return now;
}

static const Node *finish_move(Builder *b, Type type, const Sources *s, const Lane *lanes)
{
    int64_t n = type_lanes(type), total = 0, *base = bases_of(s, &total);
    if (total > INT32_MAX) builder_bug(b, "move of more than 2^31 lanes", NULL);
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
        if (lane < 0 || lane >= start[n_in]) builder_bug(b, "lane map out of range", n_in ? in[0] : NULL);
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

static bool is_real(const Node *n) { return n->type.dtype == T_F32 || n->type.dtype == T_F64; }

// Masks and integers keep their type in a move that asks for numbers; together with numbers they are numbers: what is
// made of them has a gradient.
static DType moved_dtype(DType wanted, int n_in, const Node *const *in)
{
    int k = 0;
    while (wanted == T_F32 && k < n_in && !is_real(in[k])) k++;
    return n_in && k == n_in ? in[0]->type.dtype : wanted;
}

const Node *build_move(Builder *b, Type type, int n_in, const Node *const *in, const int32_t *map)
{
    int64_t n = type_lanes(type), total = 0;
    bool constant = true;
    for (int k = 0; k < n_in; k++) {
        total += type_lanes(in[k]->type);
        constant = constant && node_is_const(in[k]);
    }
    if (!map && total != n) builder_bug(b, "lane counts differ", NULL);
    if (constant && n_in == 1) return move_of_const(b, type, in[0], map);
    type.dtype = moved_dtype(type.dtype, n_in, in);
    if (!n) return build_const(b, type, ""); // whatever its operands are
    Sources s = {NULL, 0, 0};
    reserve_slots(b);
    if (!map && plain_concat(b, n_in, in)) {
        for (int k = 0; k < n_in; k++) HEAP_PUSH(s.nodes, s.n, s.cap, in[k]);
        int64_t *base = bases_of(&s, &total);
        const Node *joined = add_move(b, type, &s, NULL, base);
        free(base);
        free(s.nodes);
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

// ---- maps by index arithmetic

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

const Node *build_swap_last(Builder *b, const Node *x)
{
    int perm[MAX_RANK], r = x->type.rank;
    for (int a = 0; a < r; a++) perm[a] = a;
    perm[r - 1] = r - 2;
    perm[r - 2] = r - 1;
    return build_transpose(b, x, perm);
}

const Node *build_broadcast(Builder *b, const Node *x, int rank, const int64_t *dim)
{
    int64_t own[MAX_RANK], stride[MAX_RANK];
    strides_of(x->type, own);
    Type t = type_make(x->type.dtype, rank, dim);
    for (int a = 0; a < rank; a++) {
        int xa = a - (rank - x->type.rank);
        int64_t xd = xa >= 0 ? x->type.dim[xa] : 1;
        if (xd != 1 && xd != dim[a]) builder_bug(b, "broadcast of unequal dims", x);
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
