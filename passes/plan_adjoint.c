// Planning, before steps: an adjoint of many tokens becomes a product of its own.
//
//     linear_t(x, w)  =  linear(x, w^T)
//
// On the very weights of the forward product each output is a sum over a line of them, ended by a tree (plan.h); as a
// product, a block of weights serves several tokens. It takes a second copy of the weights, which so must be few.
#include "planner.h"
#include "rewrite.h"

enum { MANY_TOKENS = 16 };

static bool has_many(const Node *n)
{
    if (n->op != OP_linear_t) return false;
    LinearDims d = linear_dims(n->in[1]->type);
    return !d.groups && type_lanes(n->type) / d.k >= MANY_TOKENS && d.k * d.n <= MOST_TRANSPOSED;
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *unused)
{
    (void)unused;
    if (!has_many(n)) return NULL;
    const Node *turned = build_transpose(b, in[1], (int[]){1, 0});
    size_t bytes = (size_t)type_lanes(turned->type) * dtype_size(turned->type.dtype);
    const void *data = arena_intern(builder_context(b)->arena, turned->data, bytes); // the programs have one copy
    return build_linear(b, in[0], build_const(b, turned->type, data), NULL, NULL);
}

const Function *with_own_matrices(Context *cx, const Function *f)
{
    bool any = false;
    for (int i = 0; i < f->n_nodes; i++) any = any || has_many(f->nodes[i]);
    return any ? rewrite_function(cx, f, rule, NULL) : f;
}
