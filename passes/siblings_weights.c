// Weights stand once in the file: all functions merge the same matrices in the same order (a Tuple), or parts of it
// that lie together.
#include "siblings.h"

#include "base/hash.h"

#include <string.h>

static size_t bytes_of(const Node *w) { return (size_t)type_lanes(w->type) * dtype_size(w->type.dtype); }

static bool same_weights(const Node *a, const Node *b)
{
    if (!type_equal(a->type, b->type)) return false;
    return a->data == b->data || !memcmp(a->data, b->data, bytes_of(a));
}

// By its first elements: others seldom begin alike.
static size_t known_slot(const Weights *all, const Node *w)
{
    uint64_t begin[8] = {0};
    size_t size = bytes_of(w);
    memcpy(begin, w->data, size < sizeof begin ? size : sizeof begin);
    size_t slot = hash_bytes(HASH_START, begin, sizeof begin) & (all->known_size - 1);
    while (all->known[slot].w && !same_weights(all->known[slot].w, w)) slot = (slot + 1) & (all->known_size - 1);
    return slot;
}

Known weights_known(const Weights *all, const Node *w)
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

const Node *weights_join(Weights *all, const Node *const *w, int n)
{
    Known first = weights_known(all, w[0]);
    int tuple = first.tuple;
    for (int i = 0; i < n; i++) {
        Known k = weights_known(all, w[i]);
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
