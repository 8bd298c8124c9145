// Rows for the fake policy and what is expected of them: contexts and latents of `data`, from which its formulas
// (fake_policy.h) make the events and log_probs that every entry must give. Entries write to `made`.
#pragma once
#include "fake_model.h"

#include <stdbool.h>

#define SEED 0x123456789abcdefull
enum { MAX_ROWS = 1200, MAX_ITEMS = 4096 };

typedef struct {
    float obs[MAX_ROWS][FAKE_OBS];
    int64_t goal[MAX_ROWS][FAKE_GOAL];
    unsigned char flag[MAX_ROWS];
    const void *context[3];
    float x[MAX_ITEMS][FAKE_D], z[MAX_ITEMS][FAKE_D], act[MAX_ITEMS][FAKE_D];
    float log_prob[MAX_ITEMS], log_det[MAX_ITEMS];
    bool bad[MAX_ITEMS];
} Rows;

extern Rows data, made;

float spread(uint64_t i);                // numbers in [-2, 2)
float special(int i);                    // infinities and NaN
void fill(size_t rows, size_t n);        // contexts of `rows` rows and z of n candidates each
void expect(size_t rows, size_t n);      // x, act, log_prob of data.z
void early_of(size_t row, float *early); // what the encoder makes of a row's contexts
void assert_same(const void *a, const void *b, size_t floats);

typedef struct {
    void *prepared, *work;
    struct Mapping {
        unsigned char *at;
        size_t size;
    } prepared_at, work_at;
} Memory;

// As large as promised, as misaligned as `shift`; less than 64 bytes behind it nothing may be touched.
Memory memory_for(const nfcc_policy *p, size_t rows, size_t shift);
void release(Memory m);

// Every entry of fresh rows gives what is expected.
void check_entries(const nfcc_policy *p, size_t rows, size_t n, size_t shift);
