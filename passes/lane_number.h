// Value numbers of lanes: two lanes are equal where the same op reads equal lanes (and, in a product, has the same
// non-zero weights on them). A sampler that was exported as D passes of a masked net computes most of its lanes D
// times; with numbers each is computed once.
#pragma once
#include "lane_env.h"

typedef struct LaneNumbers LaneNumbers;

// NULL where the function has no two products of equal weights: nothing can be equal then.
LaneNumbers *lane_numbers_new(Context *cx, const Function *f);

// 128 bits; equal keys are taken for equal values.
typedef struct {
    uint64_t a, b;
} LaneKey;

LaneKey lane_key_start(uint64_t what);
void lane_key_word(LaneKey *key, uint64_t word);
void lane_key_lane(LaneKey *key, LaneRef lane);
// The lane with this key, or node NULL; then the caller computes it and puts it in.
LaneRef lane_numbers_find(const LaneNumbers *numbers, LaneKey key);
void lane_numbers_put(LaneNumbers *numbers, LaneKey key, LaneRef lane);
