// Rewriting: the usual pass is one rule, "this node on these (already rewritten) operands, or NULL to copy it".
#pragma once
#include "passes.h"

typedef const Node *RewriteRule(Builder *b, const Node *n, const Node *const *in, void *user);

// A value in another shape is the same value.
bool is_reshape(const Node *n);
const Node *shapeless(const Node *x);
// A constant that scales or shifts K features: const_lane gives the number of each.
bool of_features(const Node *c, int64_t K);
// How often each value is read, in whatever shape, by node id.
int *readers_of(Context *cx, const Function *f);

const Function *rewrite_function(Context *cx, const Function *f, RewriteRule *rule, void *user);
