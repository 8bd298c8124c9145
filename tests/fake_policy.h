// A policy written by hand in C, for tests of the runtime: x = 2 z + prep, with contexts of every type, an encoder, a
// late part, noise and a graph. Its formulas stand here once, for the code (fake_policy.c) and for what tests expect.
// The same source is linked into the test (nfcc_open_static) and built as a library whose descriptor the test fills in.
#pragma once
#include "abi.h"
#include <stdint.h>
#include <string.h>

enum { FAKE_D = 3, FAKE_OBS = 5, FAKE_GOAL = 2, FAKE_EARLY = 8, FAKE_PREP = 20, FAKE_WIDE = 40, FAKE_COUNT = 3 };
enum { FAKE_TABLES = 16384, FAKE_IMAGE = FAKE_TABLES + (3 << 20) }; // bytes of the descriptor with tables; with weights

// Code of a program for tile TILE[slot]; NULL where the fake has none.
nfcc_abi_code *fake_code(int program, int slot);

#define FAKE_EARLY_LOG_DET 7.0f // of the programs that read EARLY lanes

static inline float fake_weight(int l) { return 0.25f + 0.125f * (float)l; }
static inline float fake_prep(const float *early, int l) { return early[l % FAKE_EARLY] * fake_weight(l) + (float)l; }
static inline float fake_x(float z, float prep) { return 2 * z + prep; }
static inline float fake_z(float x, float prep) { return (x - prep) * 0.5f; }
static inline float fake_base(float z, float prep) { return 0.5f * z + prep; }
static inline float fake_act(float x) { return x < -1 ? -1 : x > 1 ? 1 : x; }
static inline float fake_log_prob(const float *z)
{
    float sum = 0;
    for (int d = 0; d < FAKE_D; d++) sum += z[d] * z[d];
    return -0.5f * sum - 4.8363119f;
}

static inline float fake_noise(uint64_t seed, uint64_t row, int d, float temperature)
{
    uint64_t h = (seed + 1) * 0x9e3779b97f4a7c15u ^ (row * 3 + (uint64_t)d + 1) * 0xc2b2ae3d27d4eb4fu;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    return (float)(int32_t)(h >> 32) * 0x1p-30f * temperature;
}
