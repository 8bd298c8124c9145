// plan: a lowered module -> Plan. Each function becomes a program of steps over numbered lanes.
//
// 1. Values. A node's lanes are stored contiguously in WORK (or stand in PREP, for the input p). A move that is a
//    slice of one value is that value at an offset; a two-level regular one is an Access of the map that reads it; any
//    other is stored by move steps. Some differences and products are made by the steps that read them.
// 2. Clusters. Elementwise nodes of equal lane count that feed each other become one map step. A node's level counts
//    the steps before it; only nodes of equal level are joined, so clusters cannot wait for each other.
// 3. Order: topological, smallest original position first. Then buffers get lanes by lifetime, first fit.
// 4. Constants are packed once into CONST, shared by content between programs.
#include "pipeline.h"
#include "units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- CONST

typedef struct {
    uint64_t hash, size, at;
} Entry;

// A matrix that has been packed: programs share the data of their weights.
typedef struct {
    const void *data; // NULL: free
    int64_t k, n;
    uint32_t at;
} Packed;

typedef struct {
    Arena *arena;
    float *words;
    uint64_t n, cap;
    Entry *entries;
    int n_entries, cap_entries;
    int *table; // open addressing: number of the entry + 1
    size_t table_size;
    Packed *packed; // open addressing, by data
    size_t n_packed, packed_size;
} Pool;

static uint64_t mix(uint64_t h, uint64_t w)
{
    h = (h ^ w) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 31;
}

// Four chains, so that one waits while the others multiply.
static uint64_t hash_words(const float *words, uint64_t n)
{
    uint64_t h[4] = {0xCBF29CE484222325u, 1, 2, n}, i = 0, two;
    uint32_t one;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 4; k++) {
            memcpy(&two, words + i + 2 * k, sizeof two);
            h[k] = mix(h[k], two);
        }
    for (; i < n; i++) {
        memcpy(&one, words + i, sizeof one);
        h[0] = mix(h[0], one);
    }
    return mix(mix(mix(h[0], h[1]), h[2]), h[3]);
}

static void pool_reserve(Pool *p, uint64_t n)
{
    if (p->n + n <= p->cap) return;
    uint64_t cap = p->cap ? 2 * p->cap : n; // pages that stay empty cost nothing
    if (cap < p->n + n) cap = p->n + n;
    float *grown = ARENA_ARRAY(p->arena, float, cap);
    if (p->n) memcpy(grown, p->words, p->n * sizeof *grown);
    p->words = grown;
    p->cap = cap;
}

static bool entry_is(const Pool *p, int i, uint64_t hash, const void *words, uint64_t n)
{
    const Entry *e = &p->entries[i];
    return e->hash == hash && e->size == n && !memcmp(p->words + e->at, words, n * 4);
}

static size_t free_slot(const Pool *p, uint64_t hash)
{
    size_t slot = hash & (p->table_size - 1);
    while (p->table[slot]) slot = (slot + 1) & (p->table_size - 1);
    return slot;
}

static void grow_table(Pool *p)
{
    p->table_size = p->table_size ? 2 * p->table_size : 256;
    p->table = ARENA_ARRAY(p->arena, int, p->table_size);
    for (int i = 0; i < p->n_entries; i++) p->table[free_slot(p, p->entries[i].hash)] = i + 1;
}

// Room for n words behind what is there.
static float *pool_room(Pool *p, uint64_t n)
{
    pool_reserve(p, (n + 15) & ~15ull);
    return p->words + p->n;
}

static void note_entry(Pool *p, uint64_t hash, uint64_t at, uint64_t n)
{
    if ((size_t)p->n_entries * 2 >= p->table_size) grow_table(p);
    Entry e = {hash, n, at};
    ARENA_PUSH(p->arena, p->entries, p->n_entries, p->cap_entries, e);
    p->table[free_slot(p, hash)] = p->n_entries;
}

// Where the n words in pool_room stand already, of which the first `head` are an entry; UINT64_MAX: nowhere.
static uint64_t find_words(const Pool *p, uint64_t hash, uint64_t head, uint64_t n)
{
    const float *words = p->words + p->n;
    for (size_t slot = hash & (p->table_size - 1); p->table_size && p->table[slot];
         slot = (slot + 1) & (p->table_size - 1)) {
        uint64_t at = p->entries[p->table[slot] - 1].at;
        if (entry_is(p, p->table[slot] - 1, hash, words, head) && at + n <= p->n &&
            !memcmp(p->words + at, words, n * 4))
            return at;
    }
    return UINT64_MAX;
}

// The CONST lane of the n words in pool_room: equal ones, or these, at a multiple of 16. Every `piece` of them is an
// entry, so that what begins there is found again.
static uint32_t pool_keep(Pool *p, uint64_t n, uint64_t piece)
{
    const float *words = p->words + p->n;
    uint64_t head = n < piece ? n : piece, hash = hash_words(words, head), at = find_words(p, hash, head, n);
    if (at != UINT64_MAX) {
        memset(p->words + p->n, 0, n * sizeof *words); // what stays unused is zero
        return (uint32_t)at;
    }
    at = p->n;
    note_entry(p, hash, at, head);
    for (uint64_t i = piece; i < n; i += piece) {
        uint64_t size = n - i < piece ? n - i : piece;
        note_entry(p, hash_words(words + i, size), at + i, size);
    }
    p->n += (n + 15) & ~15ull;
    return (uint32_t)at;
}

static uint32_t pool_put(Pool *p, const void *words, uint64_t n)
{
    if (n) memcpy(pool_room(p, n), words, n * 4);
    return pool_keep(p, n, n + 1);
}

static uint32_t pool_node(Pool *p, const Node *c)
{
    int64_t n = type_lanes(c->type);
    float *v = pool_room(p, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) v[i] = (float)const_at(c, i);
    return pool_keep(p, (uint64_t)n, (uint64_t)n + 1);
}

// w[K][N] in groups of 128 outputs, input-major (plan.h).
static void pack_matrix(const Node *w, int64_t first, float *at)
{
    LinearDims d = linear_dims(w->type);
    const float *same = w->type.dtype == T_F32 ? (const float *)w->data + first : NULL;
    for (int64_t g = 0; g < d.n; g += GEMM_GROUP) {
        int64_t width = d.n - g < GEMM_GROUP ? d.n - g : GEMM_GROUP;
        for (int64_t k = 0; k < d.k; k++, at += width) {
            if (same) memcpy(at, same + k * d.n + g, (size_t)width * sizeof *at);
            for (int64_t j = 0; j < width && !same; j++) at[j] = (float)const_at(w, first + k * d.n + g + j);
        }
    }
}

static Packed *packed_slot(const Pool *p, const void *data, int64_t k, int64_t n)
{
    size_t slot = mix((uintptr_t)data, (uint64_t)n) & (p->packed_size - 1);
    while (p->packed[slot].data && (p->packed[slot].data != data || p->packed[slot].k != k || p->packed[slot].n != n))
        slot = (slot + 1) & (p->packed_size - 1);
    return &p->packed[slot];
}

static void grow_packed(Pool *p)
{
    Packed *old = p->packed;
    size_t n = p->packed_size;
    p->packed_size = n ? 2 * n : 256;
    p->packed = ARENA_ARRAY(p->arena, Packed, p->packed_size);
    for (size_t i = 0; i < n; i++)
        if (old[i].data) *packed_slot(p, old[i].data, old[i].k, old[i].n) = old[i];
}

// One matrix, or several one after the other. A group of outputs is a piece: siblings' weights hold each one's.
static uint32_t pool_matrix(Pool *p, const Node *w)
{
    LinearDims d = linear_dims(w->type);
    int64_t matrices = d.groups ? d.groups : 1, each = d.k * d.n, width = d.n < GEMM_GROUP ? d.n : GEMM_GROUP;
    if (2 * p->n_packed >= p->packed_size) grow_packed(p);
    Packed *known = packed_slot(p, w->data, d.k, matrices * d.n);
    if (known->data) return known->at;
    float *room = pool_room(p, (uint64_t)(matrices * each));
    for (int64_t g = 0; g < matrices; g++) pack_matrix(w, g * each, room + g * each);
    bool even = matrices == 1 || d.n % width == 0;
    uint32_t at = pool_keep(p, (uint64_t)(matrices * each), (uint64_t)(even ? d.k * width : each));
    *known = (Packed){w->data, d.k, matrices * d.n, at};
    p->n_packed++;
    return at;
}

// ---- the program under construction

// A buffer in WORK; its lanes are assigned when all steps are known.
typedef struct {
    uint32_t lanes, at;
    int first, last; // steps that use it
} Buffer;

// Lanes of a value: at an offset of a buffer (SPACE_WORK), or at a lane of PREP or CONST.
typedef struct {
    bool known;
    Space space;
    int buffer;
    uint32_t at;
} Place;

// A regular move: lane i is lane first + i / inner * outer_step + i % inner * inner_step of source.
typedef struct {
    const Node *source; // NULL: not regular
    int64_t first, inner, outer_step, inner_step;
} View;

// Field `offset` bytes into a step gets the buffer's first lane added.
typedef struct {
    int step, buffer;
    size_t offset;
} Fixup;

// A move step whose table of source lanes waits for the buffers' lanes.
typedef struct {
    int step;
    uint32_t n;
    int *buffer; // -1: lane is absolute
    uint32_t *lane;
} Table;

typedef struct {
    Context *cx;
    const Function *f;
    Pool *pool;
    Buffer *buffers;
    int n_buffers, cap_buffers;
    Step *steps;
    int n_steps, cap_steps;
    Fixup *fixups;
    int n_fixups, cap_fixups;
    Table *tables;
    int n_tables, cap_tables;
    // by node id
    Place *place;
    View *view;      // of moves
    int *level;      // steps before it
    int *unit;       // the node that stands for its step: cluster root, itself, or -1 (view, constant, input)
    bool *stored;    // its lanes must be in memory
    bool *made;      // it is made where it is read
    Place *reserved; // inside the concatenation that reads it
    int *written;    // step that stores it
    bool grow;       // concatenations may be filled part by part at any lane
    const Node **grown;
    int n_grown, cap_grown;
    struct Cluster *cluster; // scratch of emit_members
} Planner;

static int new_buffer(Planner *p, int64_t lanes)
{
    Buffer b = {(uint32_t)lanes, 0, -1, -1};
    ARENA_PUSH(p->cx->arena, p->buffers, p->n_buffers, p->cap_buffers, b);
    return p->n_buffers - 1;
}

static void touch(Planner *p, int buffer, int step)
{
    Buffer *b = &p->buffers[buffer];
    if (b->first < 0) b->first = step;
    if (step > b->last) b->last = step;
}

// Lane of a place for a field of the step that is built next.
static uint32_t field_of(Planner *p, Place at, size_t offset)
{
    if (at.space == SPACE_WORK) {
        Fixup f = {p->n_steps, at.buffer, offset};
        ARENA_PUSH(p->cx->arena, p->fixups, p->n_fixups, p->cap_fixups, f);
        touch(p, at.buffer, p->n_steps);
    }
    return at.at;
}

#define FIELD(p, at, member) field_of((p), (at), offsetof(Step, member))

static void put_step(Planner *p, Step step, const Node *n)
{
    step.name = n->origin && n->origin->node ? n->origin->node : op_info(n->op)->name;
    ARENA_PUSH(p->cx->arena, p->steps, p->n_steps, p->cap_steps, step);
}

static Place store(Planner *p, const Node *n)
{
    Place at = p->reserved[n->id];
    if (!at.known) at = (Place){true, SPACE_WORK, new_buffer(p, type_lanes(n->type)), 0};
    p->place[n->id] = at;
    p->written[n->id] = p->n_steps;
    return at;
}

// ---- moves

static int64_t map_at(const Node *m, int64_t i) { return m->map ? m->map[i] : i; }

static View view_of(const Node *m)
{
    const View none = {NULL, 0, 0, 0, 0};
    int64_t n = type_lanes(m->type);
    if (m->n_in != 1 || !n) return none;
    View v = {m->in[0], map_at(m, 0), n, 0, n > 1 ? map_at(m, 1) - map_at(m, 0) : 1};
    for (int64_t i = 1; i < n; i++)
        if (map_at(m, i) != v.first + i * v.inner_step) {
            v.inner = i;
            v.outer_step = map_at(m, i) - v.first;
            break;
        }
    if (n % v.inner) return none;
    for (int64_t i = 0; i < n; i++)
        if (map_at(m, i) != v.first + i / v.inner * v.outer_step + i % v.inner * v.inner_step) return none;
    return v;
}

static bool is_slice(const Planner *p, const Node *m)
{
    View v = p->view[m->id];
    return v.source && v.inner == type_lanes(m->type) && (v.inner_step == 1 || v.inner == 1);
}

// Contiguous lanes of v: computed and stored, a slice of such a value, or a constant.
static Place place_of(Planner *p, const Node *v)
{
    if (p->place[v->id].known) return p->place[v->id];
    if (node_is_const(v)) return p->place[v->id] = (Place){true, SPACE_CONST, -1, pool_node(p->pool, v)};
    Place at = place_of(p, p->view[v->id].source);
    at.at += (uint32_t)p->view[v->id].first;
    return at;
}

// All parts of a concatenation are results of steps, and nobody has a place for them yet.
static bool can_grow(const Planner *p, const Node *m)
{
    for (int k = 0; k < m->n_in; k++) {
        const Node *part = m->in[k];
        if (p->unit[part->id] < 0 || part->op == OP_move || p->reserved[part->id].known) return false;
    }
    return p->grow && m->n_in > 2;
}

static bool is_prefix(const Node *small, const Node *large)
{
    if (small->n_in > large->n_in) return false;
    for (int k = 0; k < small->n_in; k++)
        if (small->in[k] != large->in[k]) return false;
    return true;
}

// What earlier rounds left, as later rounds read it: h0; h0 h1; h0 h1 h2; ... The longest gets the buffer, which its
// parts fill one after the other; the shorter ones are its beginnings. A part may spoil up to 15 lanes behind it, so
// each must be written before the next one: checked by parts_in_order.
static bool grow_parts(Planner *p, const Node *m)
{
    for (int g = 0; g < p->n_grown; g++) {
        if (!is_prefix(m, p->grown[g])) continue;
        p->view[m->id] = (View){p->grown[g], 0, type_lanes(m->type), 0, 1};
        p->unit[m->id] = -1;
        return true;
    }
    if (!can_grow(p, m)) return false;
    Place at = {true, SPACE_WORK, new_buffer(p, type_lanes(m->type) + 15), 0};
    p->place[m->id] = p->reserved[m->id] = at;
    for (int k = 0; k < m->n_in; k++) {
        p->reserved[m->in[k]->id] = at;
        at.at += (uint32_t)type_lanes(m->in[k]->type);
    }
    ARENA_PUSH(p->cx->arena, p->grown, p->n_grown, p->cap_grown, m);
    return true;
}

static bool parts_in_order(const Planner *p)
{
    for (int g = 0; g < p->n_grown; g++)
        for (int k = 1; k < p->grown[g]->n_in; k++)
            if (p->written[p->grown[g]->in[k]->id] <= p->written[p->grown[g]->in[k - 1]->id]) return false;
    return true;
}

// A concatenation's parts are computed where they belong, as far as they start and end at multiples of 16 lanes.
static void reserve_parts(Planner *p, const Node *m)
{
    int64_t at = 0;
    int buffer = -1;
    for (int k = 0; k < m->n_in; k++) {
        const Node *part = m->in[k];
        int64_t lanes = type_lanes(part->type);
        bool ends = lanes % 16 == 0 || k + 1 == m->n_in, whole = at % 16 == 0 && ends && p->unit[part->id] >= 0;
        if (whole && !p->reserved[part->id].known && part->op != OP_move) {
            if (buffer < 0) buffer = new_buffer(p, type_lanes(m->type));
            p->reserved[part->id] = (Place){true, SPACE_WORK, buffer, (uint32_t)at};
        }
        at += lanes;
    }
    if (buffer >= 0) p->reserved[m->id] = (Place){true, SPACE_WORK, buffer, 0};
}

static bool in_place(Place at, Place out, int64_t lane, int64_t i)
{
    return at.space == SPACE_WORK && out.buffer == at.buffer && at.at + lane == out.at + i;
}

// One move step for the lanes of m that stand in `space`.
static void move_from_space(Planner *p, const Node *m, Place out, Space space)
{
    int64_t n = type_lanes(m->type);
    Table t = {p->n_steps, 0, ARENA_ARRAY(p->cx->arena, int, n), ARENA_ARRAY(p->cx->arena, uint32_t, n)};
    uint32_t *dst = ARENA_ARRAY(p->cx->arena, uint32_t, n);
    for (int64_t i = 0; i < n; i++) {
        int64_t lane;
        const Node *source = m->in[move_source(m, i, &lane)];
        Place at = place_of(p, source);
        if (at.space != space || in_place(at, out, lane, i)) continue;
        t.buffer[t.n] = space == SPACE_WORK ? at.buffer : -1;
        t.lane[t.n] = at.at + (uint32_t)lane;
        dst[t.n++] = (uint32_t)i;
        if (space == SPACE_WORK) touch(p, at.buffer, p->n_steps);
    }
    if (!t.n) return;
    Step step = {.kind = STEP_MOVE};
    step.move.n = t.n;
    step.move.space = space;
    step.move.dst_table = pool_put(p->pool, dst, t.n);
    step.move.out = FIELD(p, out, move.out);
    ARENA_PUSH(p->cx->arena, p->tables, p->n_tables, p->cap_tables, t);
    put_step(p, step, m);
}

// A regular move is a map that copies; it needs no tables.
static void copy_view(Planner *p, const Node *m, Place out)
{
    View v = p->view[m->id];
    MapCode *code = ARENA_NEW(p->cx->arena, MapCode);
    Place at = place_of(p, v.source);
    Step s = {.kind = STEP_MAP};
    s.map = (MapStep){.n = (uint32_t)type_lanes(m->type), .n_args = 1, .n_outs = 1};
    s.map.outs[0].value = (uint32_t)map_arg(code, 0);
    s.map.n_code = (uint32_t)code->n;
    s.map.code = code->code;
    s.map.args[0] = (Access){at.space, 0, (uint32_t)v.inner, (int32_t)v.outer_step, (int32_t)v.inner_step};
    s.map.args[0].at = FIELD(p, at, map.args[0].at) + (uint32_t)v.first;
    s.map.outs[0].at = FIELD(p, out, map.outs[0].at);
    put_step(p, s, m);
}

static void emit_move(Planner *p, const Node *m)
{
    Place out = store(p, m);
    if (p->view[m->id].source && !p->reserved[m->id].known) {
        copy_view(p, m, out);
        return;
    }
    for (Space s = SPACE_WORK; s <= SPACE_CONST; s++) move_from_space(p, m, out, s);
}

// ---- products, reductions, table look-ups

static void emit_linear(Planner *p, const Node *n)
{
    const Node *w = n->in[1];
    LinearDims d = linear_dims(w->type);
    Step s = {.kind = STEP_GEMM};
    Place x = place_of(p, n->in[0]);
    bool has_bias = n->n_in > 2 && n->in[2];
    s.gemm = (GemmStep){.m = (uint32_t)(type_lanes(n->type) / d.n),
                        .k = (uint32_t)d.k,
                        .n = (uint32_t)d.n,
                        .kb = (uint32_t)(d.n <= 64 ? (d.k + 3) / 4 : d.k),
                        .has_add = n->n_in > 3,
                        .has_bias = has_bias,
                        .apart = d.groups > 1,
                        .one_x = d.groups > 1 && type_lanes(n->in[0]->type) == d.k,
                        .x_space = x.space,
                        .w = pool_matrix(p->pool, w)};
    s.gemm.x = FIELD(p, x, gemm.x);
    if (s.gemm.has_add) {
        Place add = place_of(p, n->in[3]);
        s.gemm.add_space = add.space;
        s.gemm.add = FIELD(p, add, gemm.add);
    }
    if (has_bias) s.gemm.bias = place_of(p, n->in[2]).at;
    s.gemm.out = FIELD(p, store(p, n), gemm.out);
    put_step(p, s, n);
}

static void emit_linear_t(Planner *p, const Node *n)
{
    const Node *w = n->in[1];
    LinearDims d = linear_dims(w->type);
    Step s = {.kind = STEP_GEMM};
    Place x = place_of(p, n->in[0]);
    s.gemm = (GemmStep){.m = (uint32_t)(type_lanes(n->type) / d.k),
                        .k = (uint32_t)d.k,
                        .n = (uint32_t)d.n,
                        .kb = (uint32_t)d.k,
                        .transposed = true,
                        .apart = d.groups > 1,
                        .x_space = x.space,
                        .w = pool_matrix(p->pool, w)};
    s.gemm.x = FIELD(p, x, gemm.x);
    s.gemm.out = FIELD(p, store(p, n), gemm.out);
    put_step(p, s, n);
}

// What v is another shape of, or v.
static const Node *reshaped(const Planner *p, const Node *v)
{
    if (v->op != OP_move || p->unit[v->id] >= 0 || !is_slice(p, v)) return v;
    const Node *source = p->view[v->id].source;
    return type_lanes(source->type) == type_lanes(v->type) ? source : v;
}

static void emit_reduce(Planner *p, const Node *n)
{
    const Node *in = reshaped(p, n->in[0]), *centre = NULL;
    if (p->made[in->id]) centre = in->in[0]->in[1], in = in->in[0]->in[0];
    Place x = place_of(p, in);
    Step s = {.kind = STEP_REDUCE};
    s.reduce = (ReduceStep){.op = n->op,
                            .squares = centre != NULL,
                            .outer = (uint32_t)type_lanes(n->type),
                            .k = (uint32_t)type_last(n->in[0]->type),
                            .in_space = x.space};
    s.reduce.in = FIELD(p, x, reduce.in);
    if (centre) {
        Place c = place_of(p, centre);
        s.reduce.centre_space = c.space;
        s.reduce.centre = FIELD(p, c, reduce.centre);
    }
    s.reduce.out = FIELD(p, store(p, n), reduce.out);
    put_step(p, s, n);
}

static void emit_matmul(Planner *p, const Node *n)
{
    Type a = n->in[0]->type;
    uint32_t M = (uint32_t)a.dim[a.rank - 2], N = (uint32_t)type_last(n->type);
    Place x = place_of(p, n->in[0]), y = place_of(p, n->in[1]);
    Step s = {.kind = STEP_MATMUL};
    s.matmul = (MatmulStep){.batch = (uint32_t)(type_lanes(n->type) / (M * N)),
                            .m = M,
                            .k = (uint32_t)type_last(a),
                            .n = N,
                            .a_space = x.space,
                            .c_space = y.space};
    s.matmul.a = FIELD(p, x, matmul.a);
    s.matmul.c = FIELD(p, y, matmul.c);
    s.matmul.out = FIELD(p, store(p, n), matmul.out);
    put_step(p, s, n);
}

static void emit_take(Planner *p, const Node *n)
{
    Place table = place_of(p, n->in[0]), index = place_of(p, n->in[1]);
    int64_t K = type_last(n->in[0]->type), J = type_last(n->in[1]->type), outer = type_lanes(n->type) / J;
    Step s = {.kind = STEP_TAKE};
    s.take = (TakeStep){.outer = (uint32_t)outer,
                        .k = (uint32_t)K,
                        .j = (uint32_t)J,
                        .table_shared = type_lanes(n->in[0]->type) == K && outer > 1,
                        .table_space = table.space,
                        .index_space = index.space};
    s.take.table = FIELD(p, table, take.table);
    s.take.index = FIELD(p, index, take.index);
    s.take.out = FIELD(p, store(p, n), take.out);
    put_step(p, s, n);
}

// ---- clusters: elementwise nodes of one step

typedef struct Cluster {
    MapCode code;
    int *value;          // by node id: value number + 1; 0: none yet
    const Node **valued; // those that have one
    int n_valued, cap_valued;
    const Node *args[MAP_MAX_ARGS];
    int n_args;
    bool full;
} Cluster;

static Cluster *empty_cluster(Planner *p)
{
    if (!p->cluster) {
        p->cluster = ARENA_NEW(p->cx->arena, Cluster);
        p->cluster->value = ARENA_ARRAY(p->cx->arena, int, p->f->n_nodes + 1);
    }
    Cluster *c = p->cluster;
    for (int i = 0; i < c->n_valued; i++) c->value[c->valued[i]->id] = 0;
    c->code.n = c->n_valued = c->n_args = 0;
    c->code.overflow = c->full = false;
    return c;
}

static int set_value(Planner *p, Cluster *c, const Node *v, int value)
{
    if (!c->value[v->id]) ARENA_PUSH(p->cx->arena, c->valued, c->n_valued, c->cap_valued, v);
    c->value[v->id] = value + 1;
    return value;
}

static bool imm_const(const Node *c, double *v)
{
    return node_is_const(c) && (type_lanes(c->type) == 1 || (type_lanes(c->type) <= 4096 && const_is_splat(c, v)));
}

static int operand_value(Planner *p, Cluster *c, const Node *v)
{
    double imm = 0;
    if (c->value[v->id]) return c->value[v->id] - 1;
    if (imm_const(v, &imm)) return set_value(p, c, v, map_float(&c->code, (float)const_at(v, 0)));
    if (p->made[v->id]) {
        int a = operand_value(p, c, v->in[0]), b = operand_value(p, c, v->in[1]);
        return set_value(p, c, v, expand_op(&c->code, v->op, v->alpha, a, b, 0));
    }
    if (c->n_args == MAP_MAX_ARGS) {
        c->full = true;
        return 0;
    }
    c->args[c->n_args] = v;
    return set_value(p, c, v, map_arg(&c->code, c->n_args++));
}

static bool needs_store(Planner *p, const Node *const *members, int hi, int n, const Node *v)
{
    if (p->stored[v->id]) return true;
    for (int i = hi; i < n; i++)
        for (int k = 0; k < members[i]->n_in; k++)
            if (members[i]->in[k] == v) return true;
    return false;
}

static Access arg_access(Planner *p, const Node *v, uint32_t n, int arg)
{
    size_t offset = offsetof(Step, map.args) + (size_t)arg * sizeof(Access) + offsetof(Access, at);
    View view = p->view[v->id];
    bool viewed = v->op == OP_move && !p->place[v->id].known && view.source;
    Place at = place_of(p, viewed ? view.source : v);
    Access a = {.space = at.space, .inner = n, .inner_step = type_lanes(v->type) == 1 ? 0 : 1};
    a.at = field_of(p, at, offset);
    if (!viewed) return a;
    a.at += (uint32_t)view.first;
    if (type_lanes(v->type) == 1) return a;
    a.inner = (uint32_t)view.inner;
    a.outer_step = (int32_t)view.outer_step;
    a.inner_step = (int32_t)view.inner_step;
    return a;
}

enum { CODE_LIMIT = 256 };

// Members lo .. hi of the cluster as one map step; false where that exceeds its limits (nothing is put).
static bool emit_members(Planner *p, const Node *const *members, int lo, int hi, int n)
{
    Cluster *c = empty_cluster(p);
    Step s = {.kind = STEP_MAP};
    const Node *outs[MAP_MAX_OUTS];
    for (int i = lo; i < hi && !c->full; i++) {
        const Node *m = members[i];
        int v[3] = {0};
        for (int k = 0; k < m->n_in; k++) v[k] = operand_value(p, c, m->in[k]);
        set_value(p, c, m, expand_op(&c->code, m->op, m->alpha, v[0], v[1], v[2]));
        if (c->code.overflow || (c->code.n > CODE_LIMIT && hi - lo > 1)) c->full = true;
        if (!needs_store(p, members, hi, n, m)) continue;
        if (s.map.n_outs == MAP_MAX_OUTS)
            c->full = true;
        else
            outs[s.map.n_outs++] = m;
    }
    if (c->full) return false;
    s.map.n = (uint32_t)type_lanes(members[lo]->type);
    s.map.n_args = (uint32_t)c->n_args;
    s.map.n_code = (uint32_t)c->code.n;
    s.map.code = arena_copy(p->cx->arena, c->code.code, (size_t)c->code.n * sizeof *s.map.code);
    for (int k = 0; k < c->n_args; k++) s.map.args[k] = arg_access(p, c->args[k], s.map.n, k);
    for (uint32_t k = 0; k < s.map.n_outs; k++) {
        s.map.outs[k].value = (uint32_t)c->value[outs[k]->id] - 1;
        s.map.outs[k].at = field_of(p, store(p, outs[k]), offsetof(Step, map.outs) + k * sizeof s.map.outs[0]);
    }
    if (s.map.n_outs) put_step(p, s, members[hi - 1]);
    return true;
}

static void emit_cluster(Planner *p, const Node *const *members, int lo, int hi, int n)
{
    if (lo >= hi || emit_members(p, members, lo, hi, n)) return;
    int mid = (lo + hi) / 2;
    emit_cluster(p, members, lo, mid, n);
    emit_cluster(p, members, mid, hi, n);
}

// ---- levels, clusters, order

static bool joins(const Node *n, const Node *operand)
{
    return op_elementwise(operand->op) && type_lanes(operand->type) == type_lanes(n->type);
}

static int root_of(Planner *p, int id)
{
    while (p->unit[id] != id) id = p->unit[id];
    return id;
}

static void find_levels(Planner *p)
{
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        bool elementwise = op_elementwise(n->op);
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k] || node_is_const(n->in[k])) continue;
            bool same = elementwise && joins(n, n->in[k]);
            int level = p->level[n->in[k]->id] + (same || n->op == OP_move ? 0 : 1);
            if (level > p->level[i]) p->level[i] = level;
        }
        p->unit[i] = op_info(n->op)->kind == KIND_LEAF ? -1 : i;
        if (n->op == OP_move) p->view[i] = view_of(n);
    }
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        for (int k = 0; op_elementwise(n->op) && k < n->n_in; k++)
            if (joins(n, n->in[k]) && p->level[n->in[k]->id] == p->level[i]) {
                int a = root_of(p, n->in[k]->id), b = root_of(p, i);
                p->unit[a > b ? a : b] = a < b ? a : b;
            }
    }
}

// Which values must be in memory; which moves need a step.
static void find_stored(Planner *p)
{
    bool *move_step = ARENA_ARRAY(p->cx->arena, bool, p->f->n_nodes + 1);
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            const Node *v = n->in[k];
            if (!v || node_is_const(v)) continue;
            bool inside = op_elementwise(n->op) && joins(n, v) && root_of(p, v->id) == root_of(p, i);
            if (!inside) p->stored[v->id] = true;
            if (v->op != OP_move) continue;
            bool fits =
                op_elementwise(n->op) ? p->view[v->id].source && !node_is_const(p->view[v->id].source) : is_slice(p, v);
            if (n->op != OP_move && !fits) move_step[v->id] = true;
        }
    }
    for (int i = 0; i < p->f->n_outputs; i++) {
        const Node *v = p->f->outputs[i].node;
        p->stored[v->id] = true;
        if (v->op == OP_move && !is_slice(p, v)) move_step[v->id] = true;
    }
    for (int i = 0; i < p->f->n_nodes; i++)
        if (p->f->nodes[i]->op == OP_move && !move_step[i]) p->unit[i] = -1;
    for (int i = p->f->n_nodes - 1; i >= 0; i--) { // later concatenations are longer
        const Node *n = p->f->nodes[i];
        if (p->unit[i] >= 0 && n->op == OP_move && !n->map && !grow_parts(p, n)) reserve_parts(p, n);
    }
}

// ---- values that are made where they are read, so that no map stores them
//
//     d = x - m, m one lane: by every map that reads it
//     d * d, read by a sum alone (a variance): by the sum
// if x and m stand in memory anyway.

static bool stands(const Planner *p, const Node *v, int64_t lanes)
{
    v = reshaped(p, v);
    return !node_is_const(v) && v->op != OP_move && p->stored[v->id] && type_lanes(v->type) == lanes;
}

static bool centred(const Planner *p, const Node *n)
{
    int64_t lanes = type_lanes(n->type);
    return n->op == OP_sub && lanes > 1 && p->stored[n->id] && stands(p, n->in[0], lanes) && stands(p, n->in[1], 1);
}

// By node: how often it is read, and whether by something else than maps of as many lanes.
static void count_uses(const Planner *p, int *uses, bool *elsewhere)
{
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            uses[n->in[k]->id]++;
            if (!op_elementwise(n->op) || !joins(n, n->in[k])) elsewhere[n->in[k]->id] = true;
        }
    }
    for (int i = 0; i < p->f->n_outputs; i++) {
        uses[p->f->outputs[i].node->id]++;
        elsewhere[p->f->outputs[i].node->id] = true;
    }
}

static void make(Planner *p, const Node *n)
{
    p->made[n->id] = true;
    p->stored[n->id] = false;
}

static void find_made(Planner *p)
{
    int *uses = ARENA_ARRAY(p->cx->arena, int, p->f->n_nodes + 1);
    bool *elsewhere = ARENA_ARRAY(p->cx->arena, bool, p->f->n_nodes + 1);
    count_uses(p, uses, elsewhere);
    for (int i = 0; i < p->f->n_nodes; i++)
        if (!elsewhere[i] && centred(p, p->f->nodes[i])) make(p, p->f->nodes[i]);
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *sum = p->f->nodes[i];
        if (sum->op != OP_reduce_sum || uses[sum->in[0]->id] != 1) continue;
        const Node *square = reshaped(p, sum->in[0]);
        bool squares = square->op == OP_mul && square->in[0] == square->in[1] && p->made[square->in[0]->id];
        if (squares && uses[square->id] == 1) make(p, square);
    }
}

static void emit_unit(Planner *p, int root, const Node *const *members, int n)
{
    const Node *node = p->f->nodes[root];
    switch (op_info(node->op)->kind) {
    case KIND_LEAF: break;
    case KIND_MOVE: emit_move(p, node); break;
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY: emit_cluster(p, members, 0, n, n); break;
    case KIND_LINEAR: emit_linear(p, node); break;
    case KIND_LINEAR_T: emit_linear_t(p, node); break;
    case KIND_MATMUL: emit_matmul(p, node); break;
    case KIND_REDUCE: emit_reduce(p, node); break;
    case KIND_TAKE: emit_take(p, node); break;
    }
}

typedef struct {
    const Node **members;
    int n, cap;
    int *users; // units that wait for this one
    int n_users, cap_users;
    int waits;
} Unit;

// Unit r waits for what v comes from, through views and what is made there. seen: by unit, the last one that was
// found to wait for it, + 1.
static void wait_for(Planner *p, const Node *v, int r, Unit *units, int *seen)
{
    if (node_is_const(v)) return;
    bool through = p->unit[v->id] < 0 || p->made[v->id];
    for (int k = 0; through && k < v->n_in; k++) wait_for(p, v->in[k], r, units, seen);
    if (through) return;
    int root = root_of(p, v->id);
    if (root == r || seen[root] == r + 1) return;
    seen[root] = r + 1;
    ARENA_PUSH(p->cx->arena, units[root].users, units[root].n_users, units[root].cap_users, r);
    units[r].waits++;
}

static Unit *find_units(Planner *p)
{
    int n = p->f->n_nodes;
    Unit *units = ARENA_ARRAY(p->cx->arena, Unit, n + 1);
    int *seen = ARENA_ARRAY(p->cx->arena, int, n + 1);
    for (int i = 0; i < n; i++)
        if (p->unit[i] >= 0 && !p->made[i]) {
            Unit *u = &units[root_of(p, i)];
            ARENA_PUSH(p->cx->arena, u->members, u->n, u->cap, p->f->nodes[i]);
        }
    for (int r = 0; r < n; r++)
        for (int m = 0; m < units[r].n; m++)
            for (int k = 0; k < units[r].members[m]->n_in; k++)
                if (units[r].members[m]->in[k]) wait_for(p, units[r].members[m]->in[k], r, units, seen);
    return units;
}

// Ready units, smallest first: original order as far as the clusters allow.
static void emit_units(Planner *p)
{
    int n = p->f->n_nodes, words = n / 64 + 1;
    Unit *units = find_units(p);
    uint64_t *ready = ARENA_ARRAY(p->cx->arena, uint64_t, words);
    for (int r = 0; r < n; r++)
        if (units[r].n && !units[r].waits) ready[r / 64] |= 1ull << (r % 64);
    for (int w = 0; w < words;) {
        if (!ready[w]) {
            w++;
            continue;
        }
        int r = w * 64 + __builtin_ctzll(ready[w]);
        ready[w] &= ready[w] - 1;
        emit_unit(p, r, units[r].members, units[r].n);
        for (int k = 0; k < units[r].n_users; k++) {
            int u = units[r].users[k];
            if (--units[u].waits) continue;
            ready[u / 64] |= 1ull << (u % 64);
            if (u / 64 < w) w = u / 64;
        }
    }
}

// ---- lanes of buffers

static int by_first(const void *a, const void *b)
{
    const Buffer *x = *(Buffer *const *)a, *y = *(Buffer *const *)b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : x < y ? -1 : x > y;
}

static uint32_t pad16(uint32_t n) { return (n + 15) & ~15u; }

enum { MANY_STEPS = 512, MOST_ROUNDED = 2048 };

// In a long program the lanes that grow from round to round (the logits of token 5, 6, 7, ...) take the room of a power
// of two, so that what lies behind them stays, and roll_steps finds rounds alike.
static uint32_t room_of(const Planner *p, uint32_t lanes)
{
    uint32_t room = 16;
    if (p->n_steps < MANY_STEPS || lanes > MOST_ROUNDED) return pad16(lanes);
    while (room < lanes) room *= 2;
    return room;
}

// First fit among the buffers that live at the same time.
static uint32_t assign_lanes(Planner *p)
{
    Buffer **order = ARENA_ARRAY(p->cx->arena, Buffer *, p->n_buffers + 1),
           **live = ARENA_ARRAY(p->cx->arena, Buffer *, p->n_buffers + 1);
    uint32_t total = 0;
    int n_live = 0;
    for (int i = 0; i < p->n_buffers; i++) order[i] = &p->buffers[i];
    qsort(order, (size_t)p->n_buffers, sizeof *order, by_first);
    for (int i = 0; i < p->n_buffers; i++) {
        Buffer *b = order[i];
        int kept = 0, k = 0;
        for (int j = 0; j < n_live; j++)
            if (live[j]->last >= b->first) live[kept++] = live[j];
        n_live = kept;
        uint32_t at = 0, size = room_of(p, b->lanes);
        for (; k < n_live && at + size > live[k]->at; k++)
            at = live[k]->at + room_of(p, live[k]->lanes); // live is sorted by lane
        memmove(live + k + 1, live + k, (size_t)(n_live - k) * sizeof *live);
        live[k] = b;
        n_live++;
        b->at = at;
        if (at + size > total) total = at + size;
    }
    return total;
}

static void fix_fields(Planner *p)
{
    for (int i = 0; i < p->n_fixups; i++) {
        Fixup f = p->fixups[i];
        uint32_t *field = (uint32_t *)((char *)&p->steps[f.step] + f.offset);
        *field += p->buffers[f.buffer].at;
    }
    for (int i = 0; i < p->n_tables; i++) {
        Table t = p->tables[i];
        for (uint32_t k = 0; k < t.n; k++)
            if (t.buffer[k] >= 0) t.lane[k] += p->buffers[t.buffer[k]].at;
        uint32_t low = t.lane[0];
        for (uint32_t k = 1; k < t.n; k++)
            if (t.lane[k] < low) low = t.lane[k];
        for (uint32_t k = 0; k < t.n; k++) t.lane[k] -= low;
        p->steps[t.step].move.in = low;
        p->steps[t.step].move.src_table = pool_put(p->pool, t.lane, t.n);
    }
}

// ---- ports

typedef struct {
    const char *name;
    PortKind kind;
} PortName;

static const PortName NAMES[] = {
    {"x", PORT_X},     {"z", PORT_Z},     {"log_det", PORT_LOG_DET}, {"log_prob", PORT_LOG_PROB},
    {"act", PORT_ACT}, {"e", PORT_EARLY}, {"p", PORT_PREP},          {"score", PORT_SCORE}};

static PlanPort port_named(const char *name, bool graph, int index)
{
    PlanPort port = {graph ? PORT_GRAPH : PORT_CONTEXT, (uint32_t)index, 0, 0};
    if (!graph && !strncmp(name, "score.", 6))
        return (PlanPort){PORT_SCORE, (uint32_t)index, 0, 0}; // of context index - 1
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0] && !graph; i++)
        if (!strcmp(NAMES[i].name, name)) port = (PlanPort){NAMES[i].kind, 0, 0, 0};
    return port;
}

static int place_inputs(Planner *p, PlanPort *ports, bool graph, bool contexts, int *buffers)
{
    int n = 0;
    for (int i = 0; i < p->f->n_inputs; i++) {
        const Node *in = p->f->inputs[i];
        PlanPort port = contexts ? (PlanPort){PORT_CONTEXT, (uint32_t)i, 0, 0} : port_named(in->name, graph, i);
        port.lanes = (uint32_t)type_lanes(in->type);
        if (port.kind == PORT_PREP) {
            p->place[in->id] = (Place){true, SPACE_PREP, -1, 0};
            continue;
        }
        buffers[n] = store(p, in).buffer;
        touch(p, buffers[n], 0);
        ports[n++] = port;
    }
    return n;
}

// An output that stands in PREP or CONST is copied; all live to the end.
static PlanPort place_output(Planner *p, const Output *out, bool graph, int index, int *buffer)
{
    Place at = place_of(p, out->node);
    PlanPort port = port_named(out->name, graph, index);
    port.lanes = (uint32_t)type_lanes(out->node->type);
    if (at.space != SPACE_WORK) {
        Node copy = {.op = OP_move, .type = out->node->type, .n_in = 1, .in = &out->node, .id = p->f->n_nodes};
        emit_move(p, &copy);
        at = p->place[copy.id];
        p->place[copy.id].known = false;
    }
    *buffer = at.buffer;
    port.at = at.at;
    return port;
}

static Program plan_with(Context *cx, Pool *pool, const Function *f, bool graph, bool contexts, bool grow,
                         bool *ordered)
{
    Planner p = {.cx = cx, .f = f, .pool = pool};
    size_t n = (size_t)f->n_nodes + 2;
    p.place = ARENA_ARRAY(cx->arena, Place, n);
    p.view = ARENA_ARRAY(cx->arena, View, n);
    p.level = ARENA_ARRAY(cx->arena, int, n);
    p.unit = ARENA_ARRAY(cx->arena, int, n);
    p.stored = ARENA_ARRAY(cx->arena, bool, n);
    p.made = ARENA_ARRAY(cx->arena, bool, n);
    p.reserved = ARENA_ARRAY(cx->arena, Place, n);
    p.written = ARENA_ARRAY(cx->arena, int, n);
    p.grow = grow;
    PlanPort *in = ARENA_ARRAY(cx->arena, PlanPort, f->n_inputs + 1),
             *out = ARENA_ARRAY(cx->arena, PlanPort, f->n_outputs + 1);
    int *in_buffers = ARENA_ARRAY(cx->arena, int, f->n_inputs + 1),
        *out_buffers = ARENA_ARRAY(cx->arena, int, f->n_outputs + 1);
    find_levels(&p);
    find_stored(&p);
    find_made(&p);
    int n_in = place_inputs(&p, in, graph, contexts, in_buffers);
    emit_units(&p);
    for (int i = 0; i < f->n_outputs; i++) out[i] = place_output(&p, &f->outputs[i], graph, i, &out_buffers[i]);
    for (int i = 0; i < f->n_outputs; i++) touch(&p, out_buffers[i], p.n_steps);
    *ordered = parts_in_order(&p);
    uint32_t lanes = assign_lanes(&p);
    fix_fields(&p);
    for (int i = 0; i < n_in; i++) in[i].at = p.buffers[in_buffers[i]].at;
    for (int i = 0; i < f->n_outputs; i++) out[i].at += p.buffers[out_buffers[i]].at;
    return (Program){true, p.steps, p.n_steps, lanes ? lanes : 16, in, out, n_in, f->n_outputs};
}

static Program plan_function(Context *cx, Pool *pool, const Function *f, bool graph, bool contexts)
{
    bool ordered = false;
    Program program = plan_with(cx, pool, f, graph, contexts, true, &ordered);
    return ordered ? program : plan_with(cx, pool, f, graph, contexts, false, &ordered);
}

// ---- the plan

static PlanValue value_of(const char *name, Type type, int64_t lanes)
{
    PlanValue v = {
        .name = name, .dtype = type.dtype == T_F64 ? T_F32 : type.dtype, .rank = type.rank, .lanes = (uint32_t)lanes};
    for (int i = 0; i < type.rank; i++) v.dim[i] = type.dim[i];
    return v;
}

static PlanValue *port_values(Context *cx, const Port *ports, int n)
{
    PlanValue *v = ARENA_ARRAY(cx->arena, PlanValue, n + 1);
    for (int i = 0; i < n; i++) v[i] = value_of(ports[i].name, ports[i].type, type_lanes(ports[i].type));
    return v;
}

static const struct {
    const char *name;
    ProgramId id;
} PROGRAMS[] = {{"encode", PROGRAM_ENCODE},     {"late", PROGRAM_LATE}, {"to_latent", PROGRAM_TO_LATENT},
                {"to_event", PROGRAM_TO_EVENT}, {"run", PROGRAM_RUN},   {"score", PROGRAM_SCORE},
                {"act", PROGRAM_ACT},           {"base", PROGRAM_BASE}};

// ---- the march of a denoised policy, in numbers

static uint64_t weight_bytes(const Step *s) { return s->kind == STEP_GEMM ? gemm_w_lanes(&s->gemm) * 4 : 0; }

// By step: the next product on the same weights, or n_steps.
static int *next_uses(Context *cx, const Program *p)
{
    int *next = ARENA_ARRAY(cx->arena, int, p->n_steps + 1);
    for (int i = 0; i < p->n_steps; i++) {
        next[i] = p->n_steps;
        if (p->steps[i].kind != STEP_GEMM) continue;
        for (int k = i - 1; k >= 0; k--)
            if (p->steps[k].kind == STEP_GEMM && p->steps[k].gemm.w == p->steps[i].gemm.w) {
                next[k] = i;
                break;
            }
    }
    return next;
}

// Bytes of different weights from the last use of step i's weights on until step i: what a cache must hold for them to
// be there. 0: no earlier use.
static uint64_t reuse_distance(const Program *p, const int *next, int i)
{
    uint64_t bytes = 0;
    for (int k = i - 1; k >= 0; k--) {
        if (next[k] >= i) bytes += weight_bytes(&p->steps[k]);
        if (next[k] == i) return bytes;
    }
    return 0;
}

static const char *march_note(Context *cx, const Program *act, const Program *to_event)
{
    uint64_t furthest = 0, all = 0;
    int products = 0, transposed = 0, alone = 0;
    int *next = next_uses(cx, act);
    for (int i = 0; i < to_event->n_steps; i++) alone += to_event->steps[i].kind == STEP_GEMM;
    for (int i = 0; i < act->n_steps; i++) {
        if (act->steps[i].kind != STEP_GEMM) continue;
        uint64_t distance = reuse_distance(act, next, i);
        if (distance > furthest) furthest = distance;
        if (!distance) all += weight_bytes(&act->steps[i]);
        if (act->steps[i].gemm.transposed)
            transposed++;
        else
            products++;
    }
    return arena_format(cx->arena,
                        "act: one march of %d products (to_event: %d) and %d transposed ones; of %.0f KB of weights at "
                        "most %.0f KB lie between two uses of one",
                        products, alone, transposed, (double)all / 1024, (double)furthest / 1024);
}

// CONST begins with the tables of the noise program; a graph that is no flow draws golden inputs with it.
static void start_with_noise(Context *cx, const Flow *flow, Pool *pool, Program *noise)
{
    float *words = NULL;
    uint64_t n = 0;
    plan_noise(cx, flow->base_kind, flow->is_flow ? (uint32_t)flow->dims : 16, noise, &words, &n);
    pool_reserve(pool, n);
    memcpy(pool->words, words, n * sizeof *words);
    pool->n = n;
}

// Lanes of constants in the function that has most: so many CONST will hold, and few more.
static uint64_t constant_lanes(const Module *m)
{
    uint64_t most = 0;
    for (int i = 0; i < m->n_functions; i++) {
        uint64_t lanes = 0;
        for (int k = 0; k < m->functions[i]->n_nodes; k++) {
            const Node *n = m->functions[i]->nodes[k];
            if (node_is_const(n)) lanes += (uint64_t)type_lanes(n->type) + 15;
        }
        if (lanes > most) most = lanes;
    }
    return most;
}

Plan *plan_build(Context *cx, const Module *m, const Flow *flow, const char *name, const unsigned char hash[32])
{
    Plan *plan = ARENA_NEW(cx->arena, Plan);
    Pool pool = {.arena = cx->arena};
    plan->name = name;
    memcpy(plan->hash, hash, 32);
    plan->given_only = flow->base_kind == BASE_STUDENT_T;
    pool_reserve(&pool, constant_lanes(m) + (1 << 16));
    start_with_noise(cx, flow, &pool, &plan->programs[PROGRAM_NOISE]);
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof PROGRAMS[0]; i++) {
        const Function *f = module_function(m, PROGRAMS[i].name);
        if (!f) continue;
        plan->programs[PROGRAMS[i].id] =
            plan_function(cx, &pool, f, PROGRAMS[i].id == PROGRAM_RUN, PROGRAMS[i].id == PROGRAM_ENCODE);
        if (PROGRAMS[i].id == PROGRAM_ENCODE) plan->early_lanes = (uint32_t)type_lanes(f->outputs[0].node->type);
        if (PROGRAMS[i].id == PROGRAM_LATE) plan->prep_lanes = (uint32_t)type_lanes(f->outputs[0].node->type);
    }
    pool_reserve(&pool, 16); // what a step may read past the end
    plan->weights = pool.words;
    plan->weight_lanes = pool.n;
    plan->n_inputs = m->n_inputs;
    plan->n_outputs = m->n_outputs;
    plan->inputs = port_values(cx, m->inputs, m->n_inputs);
    plan->outputs = port_values(cx, m->outputs, m->n_outputs);
    PlanValue *contexts = ARENA_ARRAY(cx->arena, PlanValue, flow->n_contexts + 1);
    for (int i = 0; i < flow->n_contexts; i++) contexts[i] = plan->inputs[flow->contexts[i]];
    plan->contexts = contexts;
    plan->n_contexts = flow->is_flow ? flow->n_contexts : 0;
    if (flow->is_flow) plan->event = value_of(flow->event ? flow->event : "x", flow->event_type, flow->dims);
    plan->base = flow->is_flow ? arena_format(cx->arena, "%s%s", flow->base,
                                              flow->base_assumed ? " (assumed; confirm with --base normal)" : "")
                               : "";
    plan->notes = flow->why ? flow->why : "";
    if (flow->no_inverse) plan->notes = arena_format(cx->arena, "%s\none way: %s", plan->notes, flow->no_inverse);
    const Program *act = &plan->programs[PROGRAM_ACT];
    if (units_text(m)) plan->notes = arena_format(cx->arena, "%s\n%s", plan->notes, units_text(m));
    if (act->exists)
        plan->notes =
            arena_format(cx->arena, "%s\n%s", plan->notes, march_note(cx, act, &plan->programs[PROGRAM_TO_EVENT]));
    for (int i = 0; i < PROGRAM_COUNT; i++) roll_steps(cx, &plan->programs[i]);
    return plan_verify(plan, cx) ? plan : NULL;
}
