// The passes' functions: one row in passes.def, one file, one function here.
#pragma once
#include "passes.h"

Module *pass_normal(const Module *m, Context *cx);
Module *pass_lanes(const Module *m, Context *cx);
Module *pass_channels_last(const Module *m, Context *cx);
Module *pass_merge_linear(const Module *m, Context *cx);
Module *pass_narrow(const Module *m, Context *cx);
Module *pass_hoist_context(const Module *m, Context *cx);
Module *pass_merge_siblings(const Module *m, Context *cx);
// normal_masks.c. By node id: the row length of the reduce_max that reads an add, a move or a select, perhaps with
// masks, or 0. And such a node n with -inf for them, on its new operands, or NULL.
int64_t *masked_logits(Context *cx, const Function *f);
const Node *mask_logits(Builder *b, const Node *n, const Node *const *in, int64_t K);
// merge_sum.c: a sum of two affine functions of one value as one product, or NULL.
const Node *merge_affine_sum(Builder *b, const Node *sum);
// merge_input.c: n on its new operands, and n as it was, whose readers are counted in `uses` (readers_of). What is done
// to a product's input, or a product with its mean subtracted, as one product; or NULL.
const Node *merge_input(Builder *b, const Node *linear, const Node *was, const int *uses);
const Node *merge_mean(Builder *b, const Node *sub, const Node *was, const int *uses);
double *linear_weights(const Node *linear); // its w, to be freed
// derive alone also reads the user's words and fills the Flow.
Module *pass_derive(const Module *m, Context *cx, const FlowOptions *options, Flow *flow);
// roll.c: what plan_build ends with.
void roll_steps(Context *cx, Program *p);
// What derive found, as notes of the module, and back (flow_state.c): a .nf file of a later stage is complete.
const Module *flow_attach(Context *cx, const Module *m, const Flow *flow);
bool flow_restore(Context *cx, const Module *m, Flow *flow);
