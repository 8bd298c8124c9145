// merge-siblings: nets of equal shape that start from one value become one net of G tokens, each with weights of its
// own.
//
//     a_g = linear(x, W_g, b_g)    ->    A = linear(x, [W_0 W_1 ...], [b_0 b_1 ...])           A[g] = a_g
//     c_g = op(a_g, ...)           ->    C = op(A, ...)                                        C[g] = c_g
//
// The s and t nets of a coupling, q, k and v, the contexts' products of all blocks: half of the steps or fewer, and no
// other arithmetic (plan.h: apart). A *bundle* is G nodes that become one; *seeds* are products that share their input,
// and adjoint products on the weights of a bundle. From there it spreads: nodes of one operation whose operands are the
// same parts of the same bundles, or constants, or shared, are a bundle too.
//
// No cycle arises. Let L(n) be the most products on a way to n. Members of a bundle have equal L: seeds are asked for
// it, the others inherit it. A way from bundle to bundle on which L stays passes through no seed, so what it uses of
// one part it uses of every part, or it is shared by all: it exists in the function itself, which has no cycle.
//
// Weights stand once in the file: all programs merge the same matrices in the same order, or parts of it that lie
// together (Tuple).
#include "pipeline.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int n, filled;
    const Node **member; // by part
    bool seed, good;
    const Node *weights; // products: their data, joined; NULL: they do not fit
} Bundle;

typedef struct {
    int bundle, part; // bundle -1: none
} Seat;

// Matrices that are merged, in this order, in all functions.
typedef struct {
    int n;
    const Node **w;
    void *joined;
} Tuple;

typedef struct {
    const Node *w; // NULL: free
    int tuple, index;
} Known;

// What all functions of a module share.
typedef struct {
    Context *cx;
    Tuple *tuples;
    int n_tuples, cap_tuples;
    Known *known; // open addressing, by content
    size_t n_known, known_size;
} Weights;

// What decides which nodes belong together, as words; the bundles of it, of which some may lack parts.
typedef struct {
    const uint64_t *words;
    int n_words, *bundles, n, cap;
} Kind;

typedef struct {
    Context *cx;
    const Function *f;
    Weights *weights;
    int *level, *user; // by node id: L; the least L of its users
    bool *cached;      // by node id: part of what grows from round to round
    Seat *seat;
    Bundle *bundles;
    int n_bundles, cap_bundles;
    Kind *kinds;
    int n_kinds, cap_kinds;
    int *table; // open addressing: number of the kind + 1
    size_t table_size;
} Merge;

// ---- weights

static size_t bytes_of(const Node *w) { return (size_t)type_lanes(w->type) * dtype_size(w->type.dtype); }

static bool same_weights(const Node *a, const Node *b)
{
    if (!type_equal(a->type, b->type)) return false;
    return a->data == b->data || !memcmp(a->data, b->data, bytes_of(a));
}

static uint64_t words_hash(const uint64_t *words, int n)
{
    uint64_t h = HASH_START;
    for (int i = 0; i < n; i++) h = hash_mix(h, words[i]);
    return h;
}

// By its first elements: others seldom begin alike.
static size_t known_slot(const Weights *all, const Node *w)
{
    uint64_t begin[8] = {0};
    size_t size = bytes_of(w);
    memcpy(begin, w->data, size < sizeof begin ? size : sizeof begin);
    size_t slot = words_hash(begin, 8) & (all->known_size - 1);
    while (all->known[slot].w && !same_weights(all->known[slot].w, w)) slot = (slot + 1) & (all->known_size - 1);
    return slot;
}

static Known known_of(const Weights *all, const Node *w)
{
    return all->known_size ? all->known[known_slot(all, w)] : (Known){NULL, 0, 0};
}

static void know(Weights *all, Known k)
{
    if (2 * all->n_known >= all->known_size) {
        Known *old = all->known;
        size_t n = all->known_size;
        all->known_size = n ? 2 * n : 256;
        all->known = ARENA_ARRAY(scratch_arena(all->cx), Known, all->known_size);
        for (size_t i = 0; i < n; i++)
            if (old[i].w) all->known[known_slot(all, old[i].w)] = old[i];
    }
    all->known[known_slot(all, k.w)] = k;
    all->n_known++;
}

static void *joined_data(Weights *all, Tuple *t)
{
    size_t each = bytes_of(t->w[0]);
    if (t->joined) return t->joined;
    t->joined = arena_alloc(all->cx->arena, (size_t)t->n * each);
    for (int i = 0; i < t->n; i++) memcpy((char *)t->joined + (size_t)i * each, t->w[i]->data, each);
    return t->joined;
}

static int add_tuple(Weights *all, const Node *const *w, int n)
{
    Tuple t = {n, arena_copy(scratch_arena(all->cx), w, (size_t)n * sizeof *w), NULL};
    for (int i = 0; i < n; i++) know(all, (Known){w[i], all->n_tuples, i});
    ARENA_PUSH(scratch_arena(all->cx), all->tuples, all->n_tuples, all->cap_tuples, t);
    return all->n_tuples - 1;
}

// The matrices as one constant [G, K, N]: a tuple's, or some of it that lie together; new ones become a tuple. NULL:
// other functions merge them otherwise.
static const Node *join_weights(Weights *all, const Node *const *w, int n)
{
    Known first = known_of(all, w[0]);
    int tuple = first.tuple;
    for (int i = 0; i < n; i++) {
        Known k = known_of(all, w[i]);
        if (!k.w != !first.w || (k.w && (k.tuple != tuple || k.index != first.index + i))) return NULL;
        for (int j = 0; j < i; j++)
            if (same_weights(w[i], w[j])) return NULL;
    }
    if (!first.w) tuple = add_tuple(all, w, n);
    Tuple *t = &all->tuples[tuple];
    int64_t dim[3] = {n, w[0]->type.dim[0], w[0]->type.dim[1]};
    Node *c = ARENA_NEW(scratch_arena(all->cx), Node);
    size_t each = bytes_of(w[0]);
    char *data = joined_data(all, t);
    *c = (Node){.op = OP_constant, .type = type_make(w[0]->type.dtype, 3, dim)};
    c->data = data + (size_t)(first.w ? first.index : 0) * each;
    return c;
}

// ---- bundles

static int new_bundle(Merge *m, int n, bool seed)
{
    Bundle b = {.n = n, .member = ARENA_ARRAY(scratch_arena(m->cx), const Node *, n), .seed = seed};
    ARENA_PUSH(scratch_arena(m->cx), m->bundles, m->n_bundles, m->cap_bundles, b);
    return m->n_bundles - 1;
}

static bool is_product(const Node *n) { return n->op == OP_linear || n->op == OP_linear_t; }

// The part is filled; a product's weights are joined with the last.
static void sit_down(Merge *m, int bundle, int part, const Node *n)
{
    Bundle *b = &m->bundles[bundle];
    b->member[part] = n;
    m->seat[n->id] = (Seat){bundle, part};
    if (++b->filled < b->n || !is_product(n)) return;
    const Node **w = heap_array(b->n, sizeof *w);
    for (int g = 0; g < b->n; g++) w[g] = b->member[g]->in[1];
    b->weights = join_weights(m->weights, w, b->n);
    free(w);
}

// One token, and sixteens of outputs (plan.h).
static bool may_join(const Node *n)
{
    if (!is_product(n) || n->in[1]->type.rank != 2 || n->type.rank == MAX_RANK) return false;
    const int64_t *dim = n->in[1]->type.dim;
    return type_lanes(n->type) == dim[n->op == OP_linear] && dim[1] % ALIGN_LANES == 0;
}

// ---- kinds

static bool same_words(const Kind *k, const uint64_t *words, int n)
{
    return k->n_words == n && !memcmp(k->words, words, (size_t)n * sizeof *words);
}

static Kind *kind_of(Merge *m, const uint64_t *words, int n)
{
    size_t slot = words_hash(words, n) & (m->table_size - 1);
    for (; m->table[slot]; slot = (slot + 1) & (m->table_size - 1))
        if (same_words(&m->kinds[m->table[slot] - 1], words, n)) return &m->kinds[m->table[slot] - 1];
    Kind k = {.words = arena_copy(scratch_arena(m->cx), words, (size_t)n * sizeof *words), .n_words = n};
    ARENA_PUSH(scratch_arena(m->cx), m->kinds, m->n_kinds, m->cap_kinds, k);
    m->table[slot] = m->n_kinds;
    return &m->kinds[m->n_kinds - 1];
}

// The first bundle of a kind that lacks this part, or a new one.
static void join_kind(Merge *m, Kind *k, int parts, int part, const Node *n, bool seed)
{
    int i = 0;
    while (i < k->n && m->bundles[k->bundles[i]].member[part]) i++;
    if (i == k->n) ARENA_PUSH(scratch_arena(m->cx), k->bundles, k->n, k->cap, new_bundle(m, parts, seed));
    sit_down(m, k->bundles[i], part, n);
}

enum { MOST_WORDS = 64 };

typedef struct {
    uint64_t words[MOST_WORDS];
    int n;
} Words;

static void put(Words *w, uint64_t word)
{
    if (w->n < MOST_WORDS) w->words[w->n] = word;
    w->n++;
}

static void put_type(Words *w, Type t)
{
    put(w, (uint64_t)t.dtype << 8 | (uint64_t)t.rank);
    for (int i = 0; i < t.rank; i++) put(w, (uint64_t)t.dim[i]);
}

// ---- seeds: products of one input

// Products that read x, with equal shapes, levels and use.
static void put_seed(Words *w, const Merge *m, const Node *n)
{
    put(w, 1);
    put(w, (uint64_t)n->in[0]->id);
    put_type(w, n->in[1]->type);
    put_type(w, n->type);
    put(w, (uint64_t)(n->n_in > 2 && n->in[2]) << 1 | (uint64_t)(n->n_in > 3));
    put(w, (uint64_t)m->level[n->id] << 32 | (uint32_t)m->user[n->id]);
}

typedef struct {
    const Node *n;
    int tuple, index;
} Candidate;

static int tuple_order(const void *a, const void *b)
{
    const Candidate *x = a, *y = b;
    if (x->tuple != y->tuple) return x->tuple < y->tuple ? -1 : 1;
    if (x->index != y->index) return x->index < y->index ? -1 : 1;
    return x->n->id < y->n->id ? -1 : 1;
}

// In the order that their weights have elsewhere.
static void seed_bundle(Merge *m, const Node *const *nodes, int n)
{
    Candidate *c = heap_array(n, sizeof *c);
    for (int i = 0; i < n; i++) {
        Known k = known_of(m->weights, nodes[i]->in[1]);
        c[i] = (Candidate){nodes[i], k.w ? k.tuple : -1, k.w ? k.index : 0};
    }
    qsort(c, (size_t)n, sizeof *c, tuple_order);
    int bundle = new_bundle(m, n, true);
    for (int i = 0; i < n; i++) sit_down(m, bundle, i, c[i].n);
    free(c);
}

typedef struct {
    const Node **nodes;
    int n, cap;
} Group;

static void find_seeds(Merge *m)
{
    Group *groups = ARENA_ARRAY(scratch_arena(m->cx), Group, m->f->n_nodes + 1);
    for (int i = 0; i < m->f->n_nodes; i++) {
        const Node *n = m->f->nodes[i];
        Words w = {.n = 0};
        if (n->op != OP_linear || !may_join(n)) continue;
        put_seed(&w, m, n);
        Group *g = &groups[kind_of(m, w.words, w.n) - m->kinds];
        ARENA_PUSH(scratch_arena(m->cx), g->nodes, g->n, g->cap, n);
    }
    for (int k = 0; k < m->n_kinds; k++)
        if (groups[k].n > 1) seed_bundle(m, groups[k].nodes, groups[k].n);
}

// ---- what follows

// The value that a node reads through moves, and something that tells maps apart.
static const Node *traced(const Node *n, uint64_t *moved)
{
    for (; n->op == OP_move && n->n_in == 1; n = n->in[0]) {
        int64_t lanes = type_lanes(n->type);
        *moved = *moved * 31 + (uint64_t)lanes;
        if (n->map && lanes) *moved = (*moved * 31 + (uint64_t)n->map[0]) * 31 + (uint64_t)n->map[lanes - 1];
    }
    return n;
}

// Its part, if all operands in bundles have that part; -1 else.
static int put_operands(Words *w, const Merge *m, const Node *n, int *parts)
{
    int part = -1;
    bool mixed = false;
    for (int k = 0; k < n->n_in; k++) {
        uint64_t moved = 0;
        put(w, 0xffff0000u + (uint64_t)k);
        if (!n->in[k]) continue;
        put_type(w, n->in[k]->type);
        if (node_is_const(n->in[k])) continue;
        const Node *from = traced(n->in[k], &moved);
        Seat s = m->seat[from->id];
        put(w, s.bundle < 0 ? (uint64_t)n->in[k]->id << 1 : (uint64_t)s.bundle << 1 | 1);
        put(w, s.bundle < 0 ? 0 : moved);
        if (s.bundle < 0) continue;
        mixed = mixed || (part >= 0 && part != s.part);
        part = s.part;
        *parts = m->bundles[s.bundle].n;
    }
    return mixed ? -1 : part;
}

static bool may_follow(const Node *n)
{
    if (n->type.dtype != T_F32 || n->type.rank == MAX_RANK) return false;
    if (n->op == OP_linear) return may_join(n);
    return op_elementwise(n->op) || op_info(n->op)->kind == KIND_REDUCE;
}

static void follow(Merge *m, const Node *n)
{
    Words w = {.n = 0};
    int parts = 0;
    uint64_t alpha = 0;
    memcpy(&alpha, &n->alpha, sizeof alpha);
    put(&w, (uint64_t)n->op << 8);
    put(&w, alpha);
    put_type(&w, n->type);
    int part = put_operands(&w, m, n, &parts);
    if (part >= 0 && w.n <= MOST_WORDS) join_kind(m, kind_of(m, w.words, w.n), parts, part, n, false);
}

// An adjoint product on weights that are merged.
static void follow_adjoint(Merge *m, const Node *n)
{
    Known k = known_of(m->weights, n->in[1]);
    Words w = {.n = 0};
    if (!k.w || !may_join(n)) return;
    put(&w, 2);
    put(&w, (uint64_t)k.tuple);
    put(&w, (uint64_t)m->level[n->id]);
    put_type(&w, n->type);
    join_kind(m, kind_of(m, w.words, w.n), m->weights->tuples[k.tuple].n, k.index, n, true);
}

// ---- which bundles are worth it

// Operand k of all parts: the same parts of one good bundle.
static bool is_packed(const Merge *m, const Bundle *b, int k)
{
    int bundle = -1;
    for (int g = 0; g < b->n; g++) {
        uint64_t moved = 0;
        const Node *in = b->member[g]->in[k];
        Seat s = in ? m->seat[traced(in, &moved)->id] : (Seat){-1, 0};
        if (s.bundle < 0 || s.part != g || (g && s.bundle != bundle)) return false;
        bundle = s.bundle;
    }
    return m->bundles[bundle].good;
}

static bool is_shared(const Bundle *b, int k)
{
    bool all_const = true, same = true;
    for (int g = 0; g < b->n; g++) {
        const Node *in = b->member[g]->in[k];
        all_const = all_const && (!in || node_is_const(in));
        same = same && in == b->member[0]->in[k];
    }
    return all_const || same;
}

static bool is_good(const Merge *m, const Bundle *b)
{
    if (b->filled < b->n) return false;
    for (int g = 0; g < b->n; g++)
        if (m->cached[b->member[g]->id]) return false;
    if (is_product(b->member[0]) && !b->weights) return false;
    if (b->seed) return true;
    bool packed = false;
    for (int k = 0; k < b->member[0]->n_in; k++) {
        bool here = is_packed(m, b, k);
        if (!here && !is_shared(b, k) && !(is_product(b->member[0]) && k == 3)) return false;
        packed = packed || here;
    }
    return packed && (!is_product(b->member[0]) || is_packed(m, b, 0));
}

// ---- building

typedef struct {
    Merge *m;
    Builder *b;
    const Node **now; // by node id
} Emit;

static Type grouped(Type t, int n)
{
    for (int i = t.rank; i > 0; i--) t.dim[i] = t.dim[i - 1];
    t.dim[0] = n;
    t.rank++;
    if (t.dtype == T_F64) t.dtype = T_F32;
    return t;
}

// Operand k of all parts side by side, each of type t; one lane serves all of a part.
static const Node *side_by_side(Emit *e, const Bundle *b, int k, Type t)
{
    const Node **in = heap_array(b->n, sizeof *in);
    int64_t lanes = type_lanes(t), own = type_lanes(b->member[0]->in[k]->type);
    int32_t *map = heap_array(b->n * lanes, sizeof *map);
    for (int g = 0; g < b->n; g++) {
        in[g] = e->now[b->member[g]->in[k]->id];
        for (int64_t i = 0; i < lanes; i++) map[g * lanes + i] = (int32_t)(g * own + (own == 1 ? 0 : i));
    }
    const Node *all = build_move(e->b, grouped(t, b->n), b->n, in, map);
    free(in);
    free(map);
    return all;
}

static bool one_operand(const Bundle *b, int k)
{
    for (int g = 1; g < b->n; g++)
        if (b->member[g]->in[k] != b->member[0]->in[k]) return false;
    return true;
}

static const Node *build_product(Emit *e, const Bundle *b)
{
    const Node *n = b->member[0], *w = build_const(e->b, b->weights->type, b->weights->data);
    bool one = n->op == OP_linear && one_operand(b, 0);
    const Node *x = one ? e->now[n->in[0]->id] : side_by_side(e, b, 0, n->in[0]->type);
    if (n->op == OP_linear_t) return build_linear_t(e->b, x, w);
    const Node *bias = n->n_in > 2 && n->in[2] ? side_by_side(e, b, 2, n->in[2]->type) : NULL;
    return build_linear(e->b, x, w, bias, n->n_in > 3 ? side_by_side(e, b, 3, n->type) : NULL);
}

static const Node *build_bundle(Emit *e, const Bundle *b)
{
    const Node *n = b->member[0], *in[4];
    if (is_product(n)) return build_product(e, b);
    if (!op_elementwise(n->op)) return build_reduce(e->b, n->op, side_by_side(e, b, 0, n->in[0]->type));
    for (int k = 0; k < n->n_in; k++) {
        bool one = one_operand(b, k) && type_lanes(n->in[k]->type) == 1;
        in[k] = one ? e->now[n->in[k]->id] : side_by_side(e, b, k, n->type);
    }
    Node like = *n;
    like.type = grouped(n->type, b->n);
    return build_like(e->b, &like, in);
}

// Members are their parts of it.
static void hand_out(Emit *e, const Bundle *b, const Node *all)
{
    int64_t lanes = type_lanes(b->member[0]->type);
    int32_t *map = heap_array(lanes, sizeof *map);
    for (int g = 0; g < b->n; g++) {
        for (int64_t i = 0; i < lanes; i++) map[i] = (int32_t)(g * lanes + i);
        e->now[b->member[g]->id] = build_move(e->b, b->member[g]->type, 1, &all, map);
    }
    free(map);
}

static void build_unit(Emit *e, const Node *n)
{
    Seat s = e->m->seat[n->id];
    builder_origin(e->b, n->origin);
    if (s.bundle >= 0) {
        hand_out(e, &e->m->bundles[s.bundle], build_bundle(e, &e->m->bundles[s.bundle]));
        return;
    }
    e->now[n->id] = build_copy(e->b, n, e->now);
}

typedef struct {
    const Node **list;
    int n, cap;
} Stack;

static void push_missing(Emit *e, const Node *n, Stack *s)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && !e->now[n->in[k]->id]) ARENA_PUSH(scratch_arena(e->m->cx), s->list, s->n, s->cap, n->in[k]);
}

// In the function's order, but a bundle comes whole: what its members wait for comes before it.
static void build_all(Emit *e)
{
    Merge *m = e->m;
    Stack s = {NULL, 0, 0};
    for (int i = 0; i < m->f->n_nodes; i++) {
        ARENA_PUSH(scratch_arena(m->cx), s.list, s.n, s.cap, m->f->nodes[i]);
        while (s.n) {
            const Node *n = s.list[s.n - 1];
            int before = s.n, bundle = m->seat[n->id].bundle;
            if (!e->now[n->id] && bundle < 0) push_missing(e, n, &s);
            for (int g = 0; !e->now[n->id] && bundle >= 0 && g < m->bundles[bundle].n; g++)
                push_missing(e, m->bundles[bundle].member[g], &s);
            if (s.n > before) continue;
            if (!e->now[n->id]) build_unit(e, n);
            s.n--;
        }
    }
}

static const Function *build_function(Merge *m)
{
    const Function *f = m->f;
    Emit e = {m, builder_new(m->cx, f->name), ARENA_ARRAY(scratch_arena(m->cx), const Node *, f->n_nodes + 1)};
    for (int i = 0; i < f->n_inputs; i++)
        e.now[f->inputs[i]->id] = build_input(e.b, f->inputs[i]->name, f->inputs[i]->type);
    build_all(&e);
    builder_origin(e.b, NULL);
    for (int i = 0; i < f->n_outputs; i++) build_output(e.b, f->outputs[i].name, e.now[f->outputs[i].node->id]);
    return builder_finish(e.b);
}

// ---- a function

static bool is_row(const Node *n) { return n->op == OP_move && !n->map && n->n_in > 2; }

// Keys and values of attention token by token: h0 h1 h2; h0 h1 h2 h3; ... The plan lets each part be written into the
// row as it is made, which a piece of a bundle is not.
static void find_cached(Merge *m)
{
    const Function *f = m->f;
    int *begins = ARENA_ARRAY(scratch_arena(m->cx), int, f->n_nodes + 1);
    for (int i = 0; i < f->n_nodes; i++)
        if (is_row(f->nodes[i])) begins[f->nodes[i]->in[0]->id]++;
    for (int i = 0; i < f->n_nodes; i++)
        for (int k = 0; is_row(f->nodes[i]) && begins[f->nodes[i]->in[0]->id] > 1 && k < f->nodes[i]->n_in; k++)
            m->cached[f->nodes[i]->in[k]->id] = true;
}

static void find_levels(Merge *m)
{
    const Function *f = m->f;
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] && m->level[n->in[k]->id] > m->level[i]) m->level[i] = m->level[n->in[k]->id];
        m->level[i] += is_product(n);
        m->user[i] = INT32_MAX;
    }
    for (int i = f->n_nodes - 1; i >= 0; i--) {
        const Node *n = f->nodes[i];
        int level = n->op == OP_move ? m->user[i] : m->level[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] && level < m->user[n->in[k]->id]) m->user[n->in[k]->id] = level;
    }
}

static const Function *merge_function(Weights *weights, const Function *f)
{
    Arena *a = scratch_arena(weights->cx);
    Merge m = {.cx = weights->cx, .f = f, .weights = weights, .table_size = hash_slots((size_t)f->n_nodes)};
    m.table = ARENA_ARRAY(a, int, m.table_size);
    m.level = ARENA_ARRAY(a, int, f->n_nodes + 1);
    m.user = ARENA_ARRAY(a, int, f->n_nodes + 1);
    m.seat = ARENA_ARRAY(a, Seat, f->n_nodes + 1);
    for (int i = 0; i < f->n_nodes; i++) m.seat[i].bundle = -1;
    m.cached = ARENA_ARRAY(a, bool, f->n_nodes + 1);
    find_levels(&m);
    find_cached(&m);
    find_seeds(&m);
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        if (m.seat[i].bundle >= 0) continue;
        if (n->op == OP_linear_t)
            follow_adjoint(&m, n);
        else if (may_follow(n))
            follow(&m, n);
    }
    bool any = false;
    for (int i = 0; i < m.n_bundles; i++) any = (m.bundles[i].good = is_good(&m, &m.bundles[i])) || any;
    for (int i = 0; i < f->n_nodes; i++)
        if (m.seat[i].bundle >= 0 && !m.bundles[m.seat[i].bundle].good) m.seat[i].bundle = -1;
    return any ? build_function(&m) : f;
}

// `late` first: its products, of all blocks, are the longest tuples.
Module *pass_merge_siblings(const Module *m, Context *cx)
{
    Weights weights = {.cx = cx};
    const Function **functions = ARENA_ARRAY(scratch_arena(cx), const Function *, m->n_functions + 1);
    for (int late = 1; late >= 0; late--) // 1: it alone
        for (int i = 0; i < m->n_functions; i++)
            if ((strcmp(m->functions[i]->name, "late") == 0) == late)
                functions[i] = merge_function(&weights, m->functions[i]);
    return module_new(cx, STAGE_FUSED, m->n_functions, functions, m);
}
