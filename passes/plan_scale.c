// Planning, first: a factor for each token and an addend behind a product become the product's own, so that its code
// does them in registers:
//
//     linear(x, w) * s + b  =  scaled linear(x, w, b, s)        s: one lane a token; b constant
//
// LayerNorm in front of a product has become that (merge_input.c).
#include "planner.h"
#include "rewrite.h"

// What the lanes of a factor are, one for each token of N lanes; or NULL.
static const Node *factor_of_tokens(const Node *s, int64_t tokens, int64_t N)
{
    if (node_is_const(s)) return NULL;
    if (type_lanes(s->type) == 1) return tokens == 1 ? s : NULL;
    if (s->op != OP_move || s->n_in != 1 || !s->map || type_lanes(s->in[0]->type) != tokens) return NULL;
    for (int64_t i = 0; i < tokens * N; i++)
        if (s->map[i] != i / N) return NULL;
    return s->in[0];
}

// n = product * s; `was`: the same in the function that was.
static const Node *scaled(Builder *b, const Node *n, const Node *was, const Node *bias, const int *readers)
{
    if (n->op != OP_mul || was->op != OP_mul || readers[was->id] != 1) return NULL;
    for (int k = 0; k < 2; k++) {
        const Node *y = shapeless(n->in[k]), *y_was = shapeless(was->in[k]);
        if (y->op != OP_linear || y->n_in != 2 || readers[y_was->id] != 1) continue;
        LinearDims d = linear_dims(y->in[1]->type);
        int64_t lanes = type_lanes(y->type), tokens = lanes / d.n;
        if (type_lanes(bias->type) != lanes || (tokens > 1 && !d.groups)) continue;
        const Node *s = factor_of_tokens(n->in[1 - k], tokens, d.n);
        if (s) return build_scaled_linear(b, y->in[0], y->in[1], s, bias);
    }
    return NULL;
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *readers)
{
    if (n->op != OP_add) return NULL;
    for (int k = 0; k < 2; k++) {
        if (!node_is_const(in[1 - k]) || type_lanes(in[k]->type) != type_lanes(n->type)) continue;
        const Node *y = scaled(b, shapeless(in[k]), shapeless(n->in[k]), in[1 - k], readers);
        if (y) return build_reshape(b, y, n->type.rank, n->type.dim);
    }
    return NULL;
}

const Function *with_scales(Context *cx, const Function *f) { return rewrite_function(cx, f, rule, readers_of(cx, f)); }
