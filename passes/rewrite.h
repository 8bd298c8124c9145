// Rewriting: the usual pass is one rule, "this node on these (already rewritten) operands, or NULL to copy it".
#pragma once
#include "passes.h"

typedef const Node *RewriteRule(Builder *b, const Node *n, const Node *const *in, void *user);

const Function *rewrite_function(Context *cx, const Function *f, RewriteRule *rule, void *user);
