// Arena: bump allocation for everything a compile makes. Nothing is freed singly; arena_free releases all.
// Out of memory prints a sentence and exits with code 4: the compiler never continues on a failed allocation.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *arena);
// One that goes with `whole`, if arena_free does not release it before; and such a one moved to another whole.
Arena *arena_within(Arena *whole);
void arena_move(Arena *part, Arena *whole);

// `size` zeroed bytes, aligned to 64, below 256 bytes to 16. Never NULL.
void *arena_alloc(Arena *arena, size_t size);
// count * size zeroed bytes; a product that overflows is out of memory.
void *arena_array(Arena *arena, size_t count, size_t size);
void *arena_copy(Arena *arena, const void *data, size_t size);
// As arena_copy, but equal bytes are stored once: not to be written to.
const void *arena_intern(Arena *arena, const void *data, size_t size);
char *arena_string(Arena *arena, const char *text);
char *arena_format(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Gives the whole pages of memory whose content nobody reads again back to the system; it stays part of its arena.
void arena_forget(const void *data, size_t size);
// Bytes handed out so far: the high-water mark of a compile.
size_t arena_used(const Arena *arena);

#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_array((arena), (size_t)(count), sizeof(type)))

// Memory of a short life, outside of any arena: count * size zeroed bytes for free(). Never NULL.
void *heap_array(size_t count, size_t size);
void *heap_grow(void *memory, size_t count, size_t size); // realloc, also of NULL: what is new is not zeroed

// Growable array in an arena: `items` of `n` with room for `cap`. Old storage is abandoned to the arena.
#define ARENA_PUSH(arena, items, n, cap, value)                                    \
    do {                                                                           \
        if ((n) == (cap)) {                                                        \
            size_t new_cap_ = (size_t)(cap) ? (size_t)(cap) * 2 : 8;               \
            void *new_ = arena_array((arena), new_cap_, sizeof *(items));          \
            if (n) __builtin_memcpy(new_, (items), (size_t)(n) * sizeof *(items)); \
            (items) = new_;                                                        \
            (cap) = (__typeof__(cap))new_cap_;                                     \
        }                                                                          \
        (items)[(n)++] = (value);                                                  \
    } while (0)

// The same outside of any arena: free(items) at the end.
#define HEAP_PUSH(items, n, cap, value)                           \
    do {                                                          \
        if ((n) == (cap)) {                                       \
            (cap) = (cap) ? 2 * (cap) : 8;                        \
            (items) = heap_grow((items), (cap), sizeof *(items)); \
        }                                                         \
        (items)[(n)++] = (value);                                 \
    } while (0)
