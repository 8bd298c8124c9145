// Which nodes become one. A *bundle* is G nodes that do; *seeds* are products that share their input, and adjoint
// products on the weights of a bundle. From there it spreads: nodes of one operation whose operands are the same parts
// of the same bundles, or constants, or shared, are a bundle too.
//
// No cycle arises. Let L(n) be the most products on a way to n. Members of a bundle have equal L: seeds are asked for
// it, the others inherit it. A way from bundle to bundle on which L stays passes through no seed, so what it uses of
// one part it uses of every part, or it is shared by all: it exists in the function itself, which has no cycle.
#include "siblings.h"

#include "base/hash.h"
#include "float_bits.h"

#include <stdlib.h>
#include <string.h>

// What decides which nodes belong together, as words; the bundles of it, of which some may lack parts.
typedef struct {
    const uint64_t *words;
    int n_words, *bundles, n, cap;
} Kind;

typedef struct {
    Siblings *s;
    int *level, *user; // by node id: L; the least L of its users
    bool *cached;      // by node id: part of what grows from round to round
    Kind *kinds;
    int n_kinds, cap_kinds;
    int *table; // open addressing: number of the kind + 1
    size_t table_size;
} Find;

// ---- bundles

static int new_bundle(Find *m, int n, bool seed)
{
    Bundle b = {.n = n, .member = ARENA_ARRAY(scratch_arena(m->s->cx), const Node *, n), .seed = seed};
    ARENA_PUSH(scratch_arena(m->s->cx), m->s->bundles, m->s->n_bundles, m->s->cap_bundles, b);
    return m->s->n_bundles - 1;
}

// The part is filled; a product's weights are joined with the last.
static void sit_down(Find *m, int bundle, int part, const Node *n)
{
    Bundle *b = &m->s->bundles[bundle];
    b->member[part] = n;
    m->s->seat[n->id] = (Seat){bundle, part};
    if (++b->filled < b->n || !is_product(n)) return;
    const Node **w = heap_array(b->n, sizeof *w);
    for (int g = 0; g < b->n; g++) w[g] = b->member[g]->in[1];
    b->weights = weights_join(m->s->weights, w, b->n);
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

static Kind *kind_of(Find *m, const uint64_t *words, int n)
{
    size_t slot = hash_bytes(HASH_START, words, (size_t)n * sizeof *words) & (m->table_size - 1);
    for (; m->table[slot]; slot = (slot + 1) & (m->table_size - 1))
        if (same_words(&m->kinds[m->table[slot] - 1], words, n)) return &m->kinds[m->table[slot] - 1];
    Kind k = {.words = arena_copy(scratch_arena(m->s->cx), words, (size_t)n * sizeof *words), .n_words = n};
    ARENA_PUSH(scratch_arena(m->s->cx), m->kinds, m->n_kinds, m->cap_kinds, k);
    m->table[slot] = m->n_kinds;
    return &m->kinds[m->n_kinds - 1];
}

// The first bundle of a kind that lacks this part, or a new one.
static void join_kind(Find *m, Kind *k, int parts, int part, const Node *n, bool seed)
{
    int i = 0;
    while (i < k->n && m->s->bundles[k->bundles[i]].member[part]) i++;
    if (i == k->n) ARENA_PUSH(scratch_arena(m->s->cx), k->bundles, k->n, k->cap, new_bundle(m, parts, seed));
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
static void put_seed(Words *w, const Find *m, const Node *n)
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
static void seed_bundle(Find *m, const Node *const *nodes, int n)
{
    Candidate *c = heap_array(n, sizeof *c);
    for (int i = 0; i < n; i++) {
        Known k = weights_known(m->s->weights, nodes[i]->in[1]);
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

static void find_seeds(Find *m)
{
    Group *groups = ARENA_ARRAY(scratch_arena(m->s->cx), Group, m->s->f->n_nodes + 1);
    for (int i = 0; i < m->s->f->n_nodes; i++) {
        const Node *n = m->s->f->nodes[i];
        Words w = {.n = 0};
        if (n->op != OP_linear || !may_join(n)) continue;
        put_seed(&w, m, n);
        Group *g = &groups[kind_of(m, w.words, w.n) - m->kinds];
        ARENA_PUSH(scratch_arena(m->s->cx), g->nodes, g->n, g->cap, n);
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
static int put_operands(Words *w, const Find *m, const Node *n, int *parts)
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
        Seat s = m->s->seat[from->id];
        put(w, s.bundle < 0 ? (uint64_t)n->in[k]->id << 1 : (uint64_t)s.bundle << 1 | 1);
        put(w, s.bundle < 0 ? 0 : moved);
        if (s.bundle < 0) continue;
        mixed = mixed || (part >= 0 && part != s.part);
        part = s.part;
        *parts = m->s->bundles[s.bundle].n;
    }
    return mixed ? -1 : part;
}

static bool may_follow(const Node *n)
{
    if (n->type.dtype != T_F32 || n->type.rank == MAX_RANK) return false;
    if (n->op == OP_linear) return may_join(n);
    return op_elementwise(n->op) || op_info(n->op)->kind == KIND_REDUCE;
}

static void follow(Find *m, const Node *n)
{
    Words w = {.n = 0};
    int parts = 0;
    put(&w, (uint64_t)n->op << 8);
    put(&w, bits_of(n->alpha));
    put_type(&w, n->type);
    int part = put_operands(&w, m, n, &parts);
    if (part >= 0 && w.n <= MOST_WORDS) join_kind(m, kind_of(m, w.words, w.n), parts, part, n, false);
}

// An adjoint product on weights that are merged.
static void follow_adjoint(Find *m, const Node *n)
{
    Known k = weights_known(m->s->weights, n->in[1]);
    Words w = {.n = 0};
    if (!k.w || !may_join(n)) return;
    put(&w, 2);
    put(&w, (uint64_t)k.tuple);
    put(&w, (uint64_t)m->level[n->id]);
    put_type(&w, n->type);
    join_kind(m, kind_of(m, w.words, w.n), m->s->weights->tuples[k.tuple].n, k.index, n, true);
}

// ---- which bundles are worth it

// Operand k of all parts: the same parts of one good bundle.
static bool is_packed(const Find *m, const Bundle *b, int k)
{
    int bundle = -1;
    for (int g = 0; g < b->n; g++) {
        uint64_t moved = 0;
        const Node *in = b->member[g]->in[k];
        Seat s = in ? m->s->seat[traced(in, &moved)->id] : (Seat){-1, 0};
        if (s.bundle < 0 || s.part != g || (g && s.bundle != bundle)) return false;
        bundle = s.bundle;
    }
    return m->s->bundles[bundle].good;
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

static bool is_good(const Find *m, const Bundle *b)
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

// ---- a function

static bool is_row(const Node *n) { return n->op == OP_move && !n->map && n->n_in > 2; }

// Keys and values of attention token by token: h0 h1 h2; h0 h1 h2 h3; ... The plan lets each part be written into the
// row as it is made, which a piece of a bundle is not.
static void find_cached(Find *m)
{
    const Function *f = m->s->f;
    int *begins = ARENA_ARRAY(scratch_arena(m->s->cx), int, f->n_nodes + 1);
    for (int i = 0; i < f->n_nodes; i++)
        if (is_row(f->nodes[i])) begins[f->nodes[i]->in[0]->id]++;
    for (int i = 0; i < f->n_nodes; i++)
        for (int k = 0; is_row(f->nodes[i]) && begins[f->nodes[i]->in[0]->id] > 1 && k < f->nodes[i]->n_in; k++)
            m->cached[f->nodes[i]->in[k]->id] = true;
}

static void find_levels(Find *m)
{
    const Function *f = m->s->f;
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

static bool keep_good(Find *m)
{
    Siblings *s = m->s;
    bool any = false;
    for (int i = 0; i < s->n_bundles; i++) any = (s->bundles[i].good = is_good(m, &s->bundles[i])) || any;
    for (int i = 0; i < s->f->n_nodes; i++)
        if (s->seat[i].bundle >= 0 && !s->bundles[s->seat[i].bundle].good) s->seat[i].bundle = -1;
    return any;
}

bool siblings_find(Siblings *s)
{
    Arena *a = scratch_arena(s->cx);
    const Function *f = s->f;
    Find m = {.s = s, .table_size = hash_slots((size_t)f->n_nodes)};
    m.table = ARENA_ARRAY(a, int, m.table_size);
    m.level = ARENA_ARRAY(a, int, f->n_nodes + 1);
    m.user = ARENA_ARRAY(a, int, f->n_nodes + 1);
    m.cached = ARENA_ARRAY(a, bool, f->n_nodes + 1);
    s->seat = ARENA_ARRAY(a, Seat, f->n_nodes + 1);
    for (int i = 0; i < f->n_nodes; i++) s->seat[i].bundle = -1;
    find_levels(&m);
    find_cached(&m);
    find_seeds(&m);
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = f->nodes[i];
        if (s->seat[i].bundle >= 0) continue;
        if (n->op == OP_linear_t)
            follow_adjoint(&m, n);
        else if (may_follow(n))
            follow(&m, n);
    }
    return keep_good(&m);
}
