// Products of one column each whose inputs are neighbours, as of a depthwise convolution (diagonal.c).
#pragma once
#include "passes.h"

typedef struct {
    int64_t columns, places, inputs;
    const Node *picture; // what the inputs come from, but for constants (a border)
    int64_t step;        // lanes of it from column to column
} Diagonal;

// Is m the results of such products: place after place, or column after column?
bool diagonal_of(const Node *m, bool by_place, Diagonal *d);
