// Products of neighbouring inputs, as of a depthwise or grouped convolution (diagonal.c).
#pragma once
#include "passes.h"

typedef struct {
    int64_t columns, groups, places, inputs; // columns: of all groups
    const Node *picture;                     // what the inputs come from, but for constants (a border)
    int64_t step;                            // lanes of it from group to group
} Diagonal;

// Is m the results of such products: place after place, or column after column?
bool diagonal_of(const Node *m, bool by_place, Diagonal *d);
