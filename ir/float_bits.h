// A float as the word of its bits, and back: f32 results are kept, compared and stored as words.
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
