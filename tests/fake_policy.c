// The code of the fake policy: every program for few rows, T = 16 and 64 (NOISE also 32, which no call may use as the
// others lack it). Each writes garbage into the padding of its lanes and reads 16 lanes past the end, as compiled code
// may.
#include "fake_policy.h"
#include <stdbool.h>
#include <stddef.h>

// The descriptor of the library: filled in by the test, in a copy of the file.
extern const unsigned char nfcc_model[FAKE_IMAGE];
__attribute__((visibility("default"), aligned(64))) const unsigned char nfcc_model[FAKE_IMAGE] = {1};

// Lanes of the work area: inputs from lane 0, outputs behind.
enum { WORK_LANES = 96, OUT = 48 };

static void stress(float *work, const float *prep, const float *weights, size_t T)
{
    volatile float read;
    for (size_t l = 0; l < 16; l++) {
        read = work[(WORK_LANES + l) * T + T - 1];
        if (prep) read = prep[(FAKE_PREP + l) * T + T - 1];
        read = weights[FAKE_PREP + l];
    }
    for (size_t t = 0; t < T; t++) work[(WORK_LANES - 1) * T + t] = read;
}

static void encode(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t i = 0; i < FAKE_EARLY * T; i++) work[OUT * T + i] = work[i];
    stress(work, prep, weights, T);
}

static void late(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t t = 0; t < T; t++) {
        float early[FAKE_EARLY];
        for (size_t l = 0; l < FAKE_EARLY; l++) early[l] = work[l * T + t];
        for (size_t l = 0; l < FAKE_PREP; l++) work[(OUT + l) * T + t] = early[l % FAKE_EARLY] * weights[l] + (float)l;
    }
    stress(work, prep, weights, T);
}

static void to_latent(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t t = 0; t < T; t++) {
        float z[FAKE_D];
        for (size_t d = 0; d < FAKE_D; d++) work[(OUT + d) * T + t] = z[d] = fake_z(work[d * T + t], prep[d * T + t]);
        work[(OUT + 16) * T + t] = -2.0794415f;
        work[(OUT + 17) * T + t] = fake_log_prob(z);
    }
    stress(work, prep, weights, T);
}

// From EARLY lanes, told from the others by the log_det.
enum { EARLY = 16 };

static float prep_here(const float *work, const float *weights, size_t T, size_t t, size_t d)
{
    return work[(EARLY + d % FAKE_EARLY) * T + t] * weights[d] + (float)d;
}

static void run_early(float *work, const float *prep, const float *weights, size_t T, bool to_event)
{
    for (size_t t = 0; t < T; t++) {
        float z[FAKE_D];
        for (size_t d = 0; d < FAKE_D; d++) {
            float in = work[d * T + t], context = prep_here(work, weights, T, t, d);
            z[d] = to_event ? in : fake_z(in, context);
            work[(OUT + d) * T + t] = to_event ? fake_x(in, context) : z[d];
        }
        work[(OUT + 16) * T + t] = FAKE_EARLY_LOG_DET;
        work[(OUT + 17) * T + t] = fake_log_prob(z);
    }
    stress(work, prep, weights, T);
}

static void to_latent_early(float *work, const float *prep, const float *weights, size_t T)
{
    run_early(work, prep, weights, T, false);
}

static void to_event_early(float *work, const float *prep, const float *weights, size_t T)
{
    run_early(work, prep, weights, T, true);
}

static void to_event(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t t = 0; t < T; t++) {
        float z[FAKE_D];
        for (size_t d = 0; d < FAKE_D; d++) {
            z[d] = work[d * T + t];
            work[(OUT + d) * T + t] = fake_x(z[d], prep[d * T + t]);
            work[(OUT + 4 + d) * T + t] = fake_act(work[(OUT + d) * T + t]);
        }
        work[(OUT + 16) * T + t] = 2.0794415f;
        work[(OUT + 17) * T + t] = fake_log_prob(z);
    }
    stress(work, prep, weights, T);
}

static void noise(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t t = 0; t < T; t++) {
        uint32_t w[4];
        for (size_t l = 0; l < 4; l++) __builtin_memcpy(&w[l], &work[l * T + t], 4);
        for (int d = 0; d < FAKE_D; d++)
            work[(OUT + (size_t)d) * T + t] =
                fake_noise((uint64_t)w[1] << 32 | w[0], (uint64_t)w[3] << 32 | w[2], d, work[4 * T + t]);
    }
    stress(work, prep, weights, T);
}

// Of log_prob(x): z = (x - prep) / 2, so -z / 2.
static void score(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t d = 0; d < FAKE_D; d++)
        for (size_t t = 0; t < T; t++) work[(OUT + d) * T + t] = -0.5f * fake_z(work[d * T + t], prep[d * T + t]);
    stress(work, prep, weights, T);
}

// Reads and writes the same lanes.
static void base(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t i = 0; i < FAKE_D * T; i++) work[i] = fake_base(work[i], prep[i]);
    stress(work, prep, weights, T);
}

// wide -> wide + sum(count); count -> 2 count; wide[0] > 0
static void run(float *work, const float *prep, const float *weights, size_t T)
{
    for (size_t t = 0; t < T; t++) {
        float sum = 0;
        for (size_t l = 0; l < FAKE_COUNT; l++) sum += work[(FAKE_WIDE + l) * T + t];
        for (size_t l = 0; l < FAKE_COUNT; l++) work[(FAKE_WIDE + 4 + l) * T + t] = 2 * work[(FAKE_WIDE + l) * T + t];
        work[(FAKE_WIDE + 7) * T + t] = work[t] > 0 ? 1.0f : 0.0f;
        for (size_t l = 0; l < FAKE_WIDE; l++) work[(OUT + l) * T + t] = work[l * T + t] + sum;
    }
    stress(work, prep, weights, T);
}

typedef void Formulas(float *work, const float *prep, const float *weights, size_t T);

static void few(Formulas *f, float *work, const float *prep, const float *weights, uint64_t shape)
{
    for (size_t r = 0; r < NFCC_FEW_ROWS(shape); r++)
        f(work + r * NFCC_FEW_WORK(shape), prep ? prep + r * NFCC_FEW_PREP(shape) : NULL, weights, 1);
}

// PREP of one context for all rows (abi.h) is laid out for each.
static void tile(Formulas *f, float *work, const float *prep, const float *weights, size_t T, uint64_t shape)
{
    float own[(FAKE_PREP + 16) * 64];
    int shared = prep && NFCC_FEW_PREP(shape) == 16;
    for (size_t i = 0; shared && i < (FAKE_PREP + 16) * T; i++) own[i] = prep[i / T * 16 + i % 16];
    f(work, shared ? own : prep, weights, T);
}

#define TILE_CODE(name, T)                                                                                  \
    static void name##_##T(float *work, const float *prep, const nfcc_abi_weights *weights, uint64_t shape) \
    {                                                                                                       \
        tile(name, work, prep, weights->at, T, shape);                                                      \
    }
#define TILES(name)                                                                                         \
    static void name##_few(float *work, const float *prep, const nfcc_abi_weights *weights, uint64_t shape) \
    {                                                                                                       \
        few(name, work, prep, weights->at, shape);                                                          \
    }                                                                                                       \
    TILE_CODE(name, 16)                                                                                     \
    TILE_CODE(name, 64)
TILES(encode)
TILES(late)
TILES(to_latent)
TILES(to_event)
TILES(score)
TILES(noise)
TILES(run)
TILES(base)
TILES(to_latent_early)
TILES(to_event_early)
TILE_CODE(noise, 32)

#define PICK(name) (slot == 0 ? name##_few : slot == 1 ? name##_16 : slot == 3 ? name##_64 : NULL)

__attribute__((visibility("default"))) nfcc_abi_code *fake_code(int program, int slot)
{
    switch (program) {
    case NFCC_PROGRAM_ENCODE: return PICK(encode);
    case NFCC_PROGRAM_LATE: return PICK(late);
    case NFCC_PROGRAM_TO_LATENT: return PICK(to_latent);
    case NFCC_PROGRAM_TO_EVENT: return PICK(to_event);
    case NFCC_PROGRAM_SCORE: return PICK(score);
    case NFCC_PROGRAM_NOISE: return slot == 2 ? noise_32 : PICK(noise);
    case NFCC_PROGRAM_RUN: return PICK(run);
    case NFCC_PROGRAM_BASE: return PICK(base);
    case NFCC_PROGRAM_TO_LATENT_EARLY: return PICK(to_latent_early);
    case NFCC_PROGRAM_TO_EVENT_EARLY: return PICK(to_event_early);
    default: return NULL;
    }
}
