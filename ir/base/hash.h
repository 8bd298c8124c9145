// One step of a hash for tables in memory (multiplication by 2^64 over the golden ratio). Nothing that is written
// depends on its values.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash_mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

// The characters of a text (FNV-1a), from HASH_START or another hash on.
#define HASH_START 0xCBF29CE484222325u
static inline uint64_t hash_text(uint64_t h, const char *text)
{
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001B3u;
    return h ^ h >> 29;
}

// Slots of an open-addressing table for n entries: a power of two, at least half of them free.
static inline size_t hash_slots(size_t n)
{
    size_t slots = 64;
    while (slots < 2 * n) slots *= 2;
    return slots;
}

static inline uint64_t hash_bytes(uint64_t h, const void *data, size_t size)
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
