// Lanes as sums of others (affine.c): lane i of an affine op is sum_k factor_k operand_k (+ a bias).
#pragma once
#include "lane_env.h"

typedef struct {
    bool affine;  // false: the op is none by this operand
    bool divides; // the factor is 1 / by
    LaneRef by;   // the factor is this lane; node NULL: it is the number
    double number;
} AffineFactor;

int64_t affine_operands(const Node *n); // of each lane; 0: it is no such op
LaneRef affine_operand(const Node *n, int64_t i, int64_t k);
// d lane i / d operand k, where that is no other function of the operand.
AffineFactor affine_factor(const Node *n, int64_t i, int64_t k);
