// A block of a constant product: k unknown inputs of one token and k known outputs, by which the inputs are found.
//
//   x[rows] = (y[cols] - what the known inputs and the bias give) inverse
#pragma once
#include "lane_env.h"

typedef struct {
    int32_t *rows, *cols; // rising
    int64_t k;
    double *inverse; // [k outputs][k inputs]
    double log_det;  // log|det|
    double condition;
} Block;

Block solve_block_new(const Node *product);
void solve_block_free(Block *b);
void solve_block_copy(Block *to, const Block *b); // which inputs and outputs
bool solve_block_same(const Block *a, const Block *b);
// Which inputs and outputs of token m. known: by lane number of base. False: there is no such block.
bool solve_block_find(const LaneEnv *base, const bool *known, const Node *n, int64_t m, Block *b);
// The inverse, in the arena, and what belongs to it. False: it is singular.
bool solve_block_invert(Arena *arena, const Node *n, Block *b);
