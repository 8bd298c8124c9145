// Arena: a list of blocks, each filled front to back. Large requests get a block of their own.
#include "arena.h"

#include "hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64, ALIGN_SMALL = 16, SMALL = 256, BLOCK = 1 << 18 };

typedef struct Block {
    struct Block *next;
    char *data; // aligned
    size_t size, used;
} Block;

typedef struct {
    const void *data;
    size_t size;
    uint64_t hash;
} Interned;

struct Arena {
    Arena *whole, *next, *parts; // of arena_within: the one that it goes with, that one's next part, its own first
    Block *head;
    size_t total;
    Interned *table; // open addressing
    size_t n_interned, table_size;
};

static _Noreturn void out_of_memory(size_t size)
{
    fprintf(stderr, "nfcc: out of memory (asked for %zu bytes)\n", size);
    exit(4);
}

// SIZE_MAX: more than there is.
static size_t product(size_t count, size_t size)
{
    size_t bytes = 0;
    return __builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes;
}

static size_t round_up(size_t n, size_t align) { return (n + align - 1) & ~(align - 1); }

Arena *arena_new(void)
{
    Arena *arena = calloc(1, sizeof *arena);
    if (!arena) out_of_memory(sizeof *arena);
    return arena;
}

static void join_whole(Arena *part, Arena *whole)
{
    part->whole = whole;
    part->next = whole->parts;
    whole->parts = part;
}

static void leave_whole(const Arena *part)
{
    Arena **at = &part->whole->parts;
    while (*at != part) at = &(*at)->next;
    *at = part->next;
}

Arena *arena_within(Arena *whole)
{
    Arena *part = arena_new();
    join_whole(part, whole);
    return part;
}

void arena_move(Arena *part, Arena *whole)
{
    leave_whole(part);
    join_whole(part, whole);
}

void arena_free(Arena *arena)
{
    if (!arena) return;
    if (arena->whole) leave_whole(arena);
    while (arena->parts) arena_free(arena->parts);
    for (Block *b = arena->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(arena->table);
    free(arena);
}

// Zeroed by calloc: fresh pages of the kernel are not touched before they are used.
static Block *block_new(size_t size)
{
    size_t bytes = sizeof(Block) + ALIGN + size;
    Block *b = bytes < size ? NULL : calloc(1, bytes);
    if (!b) out_of_memory(size);
    b->data = (char *)round_up((uintptr_t)(b + 1), ALIGN);
    b->size = size;
    return b;
}

// The block that has room for size bytes from *at on.
static Block *block_with_room(Arena *arena, size_t size, size_t align, size_t *at)
{
    Block *b = arena->head;
    *at = b ? round_up(b->used, align) : 0;
    if (b && *at <= b->size && b->size - *at >= size) return b;
    Block *fresh = block_new(size > BLOCK / 2 ? size : BLOCK);
    *at = 0;
    if (size > BLOCK / 2 && b) { // keep filling the current block
        fresh->next = b->next;
        b->next = fresh;
    } else {
        fresh->next = b;
        arena->head = fresh;
    }
    return fresh;
}

void *arena_alloc(Arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2) out_of_memory(size);
    size_t align = size >= SMALL ? ALIGN : ALIGN_SMALL, at;
    size = round_up(size ? size : 1, align);
    Block *b = block_with_room(arena, size, align, &at);
    b->used = at + size;
    arena->total += size;
    return b->data + at;
}

void *arena_array(Arena *arena, size_t count, size_t size) { return arena_alloc(arena, product(count, size)); }

void *heap_array(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p) out_of_memory(product(count, size));
    return p;
}

void *heap_grow(void *memory, size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *p = bytes < SIZE_MAX ? realloc(memory, bytes ? bytes : 1) : NULL;
    if (!p) out_of_memory(bytes);
    return p;
}

void *arena_copy(Arena *arena, const void *data, size_t size)
{
    void *p = arena_alloc(arena, size);
    if (size) memcpy(p, data, size);
    return p;
}

static Interned *interned_slot(const Arena *arena, const void *data, size_t size, uint64_t hash)
{
    for (size_t at = hash;; at++) {
        Interned *slot = &arena->table[at & (arena->table_size - 1)];
        if (!slot->data || (slot->hash == hash && slot->size == size && !memcmp(slot->data, data, size))) return slot;
    }
}

static void grow_interned(Arena *arena)
{
    Interned *old = arena->table;
    size_t n = arena->table_size;
    arena->table_size = n ? 2 * n : 64;
    arena->table = heap_array(arena->table_size, sizeof *old);
    for (size_t i = 0; i < n; i++)
        if (old[i].data) *interned_slot(arena, old[i].data, old[i].size, old[i].hash) = old[i];
    free(old);
}

const void *arena_intern(Arena *arena, const void *data, size_t size)
{
    if (2 * arena->n_interned >= arena->table_size) grow_interned(arena);
    uint64_t hash = hash_bytes(size, data, size);
    Interned *slot = interned_slot(arena, data, size, hash);
    if (slot->data) return slot->data;
    *slot = (Interned){arena_copy(arena, data, size), size, hash};
    arena->n_interned++;
    return slot->data;
}

char *arena_string(Arena *arena, const char *text) { return arena_copy(arena, text, strlen(text) + 1); }

char *arena_format(Arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = arena_alloc(arena, (size_t)(n < 0 ? 0 : n) + 1);
    if (n > 0) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

void arena_forget(const void *data, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = round_up((uintptr_t)data, page), end = ((uintptr_t)data + size) & ~(uintptr_t)(page - 1);
    if (end > first) (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

size_t arena_used(const Arena *arena) { return arena->total; }
