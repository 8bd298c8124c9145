// Sums of functions of one lane, written as additions (unfold_sums.c).
#pragma once
#include "passes.h"

// NULL: @main has none.
const Module *unfold_sums(const Module *m, Context *cx);
