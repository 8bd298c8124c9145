// Reverse-mode differentiation: the adjoint of a function, built node by node.
#pragma once
#include "solve.h"

// d of / d wrt[i], of the shapes of wrt, as nodes of env->b. `of` is one lane of env->from, wrt are inputs of it; env
// has a value for every lane (emit_forward or emit_missing). Nodes are evaluated nowhere again: derivatives are taken
// at the values that env holds, and the choice of a select, min, max is the one that made these values.
void grad_of(LaneEnv *env, const Node *of, int n, const Node *const *wrt, const Node **out);

// f without its last outputs, from number n_outputs on: the nodes that output n_outputs needs keep their order, each
// other node stands right behind its operands (march.c).
const Function *march_order(Context *cx, const Function *f, int n_outputs);
