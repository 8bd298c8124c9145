// The derivatives of elementwise ops (derivative.c).
#pragma once
#include "ir.h"

// d dy/dx of y = n(x). NULL: it has none.
const Node *derivative_unary(Builder *b, const Node *n, const Node *d, const Node *x, const Node *y);
// d dy/dp (k 0) or d dy/dq (k 1) of y = n(p, q).
const Node *derivative_binary(Builder *b, const Node *n, int k, const Node *d, const Node *p, const Node *q,
                              const Node *y);
