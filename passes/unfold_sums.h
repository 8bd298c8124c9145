// Sums of functions of one lane, written as additions, and choices among them (unfold_sums.c).
#pragma once
#include "passes.h"

// NULL: @main has none.
const Module *unfold_sums(const Module *m, Context *cx);
// Is n a sign, or a comparison of an absolute value (unfold_signs.c)? Then what it is of these operands; NULL: as it
// was.
bool has_sign(const Node *n);
const Node *unfold_sign(Builder *b, const Node *n, const Node *const *in);
