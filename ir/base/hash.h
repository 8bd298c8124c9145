// One step of a hash for tables in memory (multiplication by 2^64 over the golden ratio). Nothing that is written
// depends on its values.
#pragma once
#include <stdint.h>

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
