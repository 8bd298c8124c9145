// What eval.c and eval_linear.c share.
#pragma once
#include "ir.h"

// One operand: element (lane, row) is v[lane * lane_step + row * row_step].
typedef struct {
    const double *v;
    size_t lane_step, row_step;
    double *owned;
} EvalOperand;

void *eval_alloc(size_t count); // of doubles; never NULL

// n's operands in in[0] (the product's left side), in[2] (bias) and in[3] (add); out: [lanes][rows].
void eval_linear(const Node *n, size_t rows, const EvalOperand *in, double *out);
void eval_matmul(const Node *n, size_t rows, const EvalOperand *in, double *out);
void eval_linear_t(const Node *n, size_t rows, const EvalOperand *in, double *out);
