// See compact_image.h. Bit by bit, after the words of abi.h: a weight is written as sign, code and fraction, and the last
// line's bits are dealt out four by four.
#include "compact_image.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64, PAD = 64 /* bytes that code may read behind the end */ };

static unsigned words_in_line(uint32_t type) { return type == NFCC_WEIGHTS_F32 ? 16 : 32; }

static float weight_at(uint32_t type, const unsigned char *unit, unsigned i)
{
    uint32_t word = 0;
    float value;
    if (type == NFCC_WEIGHTS_F32)
        memcpy(&word, unit + 4 * i, 4);
    else
        memcpy((unsigned char *)&word + 2, unit + 2 * i, 2);
    memcpy(&value, &word, 4);
    return value;
}

// value = sign * scale * (0 or 2^(code - 127) * (1 + fraction)), code in 1 .. 15
static bool bits_of(uint32_t type, float value, int scale, uint32_t *sign, uint32_t *rest)
{
    int exponent = 0, digits = type == NFCC_WEIGHTS_F32 ? 23 : 7;
    *sign = signbit(value) != 0;
    *rest = 0;
    if (value == 0) return true;
    if (!isfinite(value)) return false;
    double fraction = 2 * frexp(fabs((double)value), &exponent) - 1;
    int code = exponent - 1 - scale + 127;
    *rest = (uint32_t)code << digits | (uint32_t)ldexp(fraction, digits);
    return fabsf(value) >= 0x1p-126f && code >= 1 && code <= 15;
}

static bool put_unit(uint32_t type, int scale, const unsigned char *unit, unsigned char *to)
{
    unsigned lines = NFCC_UNIT_LINES(type), n = words_in_line(type), digits = type == NFCC_WEIGHTS_F32 ? 23 : 7;
    bool all = true;
    for (unsigned line = 0; line + 1 < lines; line++)
        for (unsigned i = 0; i < n; i++) {
            uint32_t sign, rest, last_sign, last;
            all &= bits_of(type, weight_at(type, unit, line * n + i), scale, &sign, &rest);
            all &= bits_of(type, weight_at(type, unit, (lines - 1) * n + i), scale, &last_sign, &last);
            last |= last_sign << (digits + 4);
            uint32_t word = sign << (digits + 8) | (last >> 4 * line & 15) << (digits + 4) | rest;
            if (type == NFCC_WEIGHTS_F32)
                memcpy(to + line * LINE + 4 * i, &word, 4);
            else
                memcpy(to + line * LINE + 2 * i, &word, 2);
        }
    return all;
}

static int largest(uint32_t type, const unsigned char *from, size_t words)
{
    int most = -126, exponent;
    for (size_t i = 0; i < words; i++) {
        float value = weight_at(type, from, (unsigned)i);
        if (isfinite(value) && value != 0 && (frexpf(value, &exponent), exponent - 1) > most) most = exponent - 1;
    }
    return most;
}

// `shift`: powers of two by which the scale is larger than it must be.
static void put_group(uint32_t type, const nfcc_abi_compact *c, const unsigned char *from, unsigned char *to, int shift)
{
    size_t lines = NFCC_UNIT_LINES(type), unit_bytes = lines * LINE, room = c->units * unit_bytes;
    int scale = largest(type, from, (size_t)c->units * lines * words_in_line(type)) - 15 + 127 + shift;
    float value = ldexpf(1, scale);
    unsigned char *plain = to + LINE + c->units * (lines - 1) * LINE,
                  *rest = plain + (c->units + LINE - 1) / LINE * LINE;
    uint32_t made = 1, u = 0;
    for (uint32_t row = 0; row < c->units / c->columns; row++)
        for (uint32_t column = 0; column < c->columns; column++, u++) {
            const unsigned char *unit = from + ((size_t)column * (c->units / c->columns) + row) * unit_bytes;
            plain[u] = put_unit(type, scale, unit, to + LINE + u * (lines - 1) * LINE) ? 0 : (unsigned char)(u | 1);
            if (!plain[u]) continue;
            if (rest + unit_bytes > to + room) {
                memset(to, 0, room);
                return;
            }
            memcpy(rest, unit, unit_bytes);
            rest += unit_bytes;
        }
    memcpy(to, &value, 4);
    memcpy(to + 4, &made, 4);
}

unsigned char *compact_image(const nfcc_model_header *h)
{
    const nfcc_abi_compact *c = (const nfcc_abi_compact *)((const char *)h + h->compact);
    const unsigned char *weights = (const unsigned char *)h + h->weights;
    if (!h->n_compact) return NULL;
    unsigned char *image = malloc(h->weights_size + PAD);
    memset(image, 0x5a, h->weights_size + PAD);
    for (uint32_t i = 0; i < h->n_compact; i++)
        for (uint32_t j = 0; j < c[i].groups; j++) {
            uint64_t at = 4 * (uint64_t)c[i].at + (uint64_t)j * c[i].units * NFCC_UNIT_LINES(h->weight_dtype) * LINE;
            put_group(h->weight_dtype, &c[i], weights + at, image + at, j % 5 == 3 ? -20 : (int)(j % 2));
        }
    return image;
}
