// CONST: constants and packed matrices of all programs, each once. Words are found by the hash of their content, and a
// matrix that several programs read by the address of its data.
#include "planner.h"

#include "base/hash.h"

#include <string.h>

// Four chains, so that one waits while the others multiply.
static uint64_t hash_words(const float *words, uint64_t n)
{
    uint64_t h[4] = {HASH_START, 1, 2, n}, i = 0, two;
    uint32_t one;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 4; k++) {
            memcpy(&two, words + i + 2 * k, sizeof two);
            h[k] = hash_mix(h[k], two);
        }
    for (; i < n; i++) {
        memcpy(&one, words + i, sizeof one);
        h[0] = hash_mix(h[0], one);
    }
    return hash_mix(hash_mix(hash_mix(h[0], h[1]), h[2]), h[3]);
}

void pool_reserve(Pool *p, uint64_t n)
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
    pool_reserve(p, round_up_lanes(n));
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
    p->n += round_up_lanes(n);
    return (uint32_t)at;
}

uint32_t pool_put(Pool *p, const void *words, uint64_t n)
{
    if (n) memcpy(pool_room(p, n), words, n * 4);
    return pool_keep(p, n, n + 1);
}

uint32_t pool_node(Pool *p, const Node *c)
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
    size_t slot = hash_mix((uintptr_t)data, (uint64_t)n) & (p->packed_size - 1);
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
uint32_t pool_matrix(Pool *p, const Node *w)
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

uint32_t pool_diagonal(Pool *p, const Node *w)
{
    LinearDims d = linear_dims(w->type);
    int64_t columns = d.groups * d.n, lanes = columns * d.k;
    float *at = pool_room(p, (uint64_t)lanes);
    for (int64_t first = 0; first < columns; first += GEMM_GROUP)
        for (int64_t k = 0; k < d.k; k++)
            for (int64_t c = first; c < columns && c < first + GEMM_GROUP; c++)
                *at++ = (float)const_at(w, (c / d.n * d.k + k) * d.n + c % d.n);
    return pool_keep(p, (uint64_t)lanes, (uint64_t)lanes + 1);
}
