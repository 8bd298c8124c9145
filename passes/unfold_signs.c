// Signs and absolute values as comparisons with places, which thresholds of a function of one lane are (one_lane.h):
//
//   sign x      ->  0 < x ? 1 : (x < 0 ? -1 : 0)
//   |x| < c     ->  x < c and -c < x        c <= |x|  ->  c <= x or x <= -c
#include "unfold_sums.h"

bool has_sign(const Node *n)
{
    if (n->op == OP_sign) return n->type.dtype == T_F32;
    return (n->op == OP_lt || n->op == OP_le) && (n->in[0]->op == OP_abs) != (n->in[1]->op == OP_abs);
}

const Node *unfold_sign(Builder *b, const Node *n, const Node *const *in)
{
    if (n->op == OP_sign) {
        const Node *zero = build_scalar(b, 0), *minus = build_scalar(b, -1);
        const Node *below = build_select(b, build_binary(b, OP_lt, in[0], zero), minus, zero);
        const Node *above = build_scalar(b, 1);
        return build_select(b, build_binary(b, OP_lt, zero, in[0]), above, below);
    }
    bool inside = n->in[0]->op == OP_abs;
    const Node *x = in[inside ? 0 : 1], *c = in[inside ? 1 : 0];
    if (x->op != OP_abs) return NULL;
    x = x->in[0];
    const Node *minus = build_unary(b, OP_neg, c), *other;
    if (inside) {
        other = build_binary(b, n->op, minus, x);
        return build_binary(b, OP_and, build_binary(b, n->op, x, c), other);
    }
    other = build_binary(b, n->op, x, minus);
    return build_binary(b, OP_or, build_binary(b, n->op, c, x), other);
}
