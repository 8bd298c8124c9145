// A number as its bits, and back: f32 results are kept, compared and stored as words, doubles are hashed as theirs.
#pragma once
#include <stdint.h>
#include <string.h>

static inline uint32_t word_of(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

static inline float float_of(uint32_t word)
{
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static inline uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Of the types of 16 bits, exactly; a NaN keeps its bits.
static inline float float_of_bfloat(uint16_t word) { return float_of((uint32_t)word << 16); }
static inline float float_of_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, size = half & 0x7fff;
    if (size >= 0x7c00) return float_of(sign | 0x7f800000 | size << 13);
    if (size >= 0x0400) return float_of(sign | ((size << 13) + 0x38000000));
    float value = (float)size * 0x1p-24f;
    return sign ? -value : value;
}
