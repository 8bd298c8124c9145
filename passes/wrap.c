// The inverse of a wrap: u = mod(v, p) = v - p floor(v / p), p > 0 a number.
//
// Of all v that give one u, one lies in an interval of length p, low .. low + p: v = low + mod(u - low, p), and du/dv
// = 1. Which interval, the graph says by what it makes of u: an angle stays in the interval that it is wrapped into,
// so of y = mod(w + a, p) + c in c .. c + p, w is in c .. c + p, too, and v = w + a is from low = c + a on. a are
// known lanes (a shift, learned or computed from the context), c is a number; mod(x + pi, 2 pi) - pi is x. Mirrors,
// v = a - w and y = c - u, turn the interval around.
#include "wrap.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_SCALES = 4 };

bool wraps(const Node *n, int k)
{
    double p = 0;
    return n->op == OP_mod && k == 0 && n->type.dtype == T_F32 && const_number(n->in[1], &p) && p > 0;
}

// Is made of one lane and perhaps another operand.
static bool leads_on(const Node *n) { return op_elementwise(n->op) && (n->n_in == 2 || n->op == OP_neg); }

// The one node that leads on and reads lane r, its other operand being a number (*c): its lane; none: node is NULL.
static LaneRef only_user(const Function *f, LaneRef r, int *operand, double *c)
{
    LaneRef found = {NULL, 0};
    for (int id = r.node->id + 1; id < f->n_nodes; id++) {
        const Node *n = f->nodes[id];
        for (int k = 0; n->op != OP_move && k < n->n_in; k++) {
            if (!n->in[k] || (n->in[k] != r.node && n->in[k]->op != OP_move)) continue;
            for (int64_t i = 0; i < type_lanes(n->in[k]->type); i++) {
                if (!lane_same(lane_canonical(n->in[k], i), r)) continue;
                if (found.node || !leads_on(n)) return (LaneRef){NULL, 0};
                found = (LaneRef){n, i};
                *operand = k;
            }
        }
    }
    bool numbered = found.node && type_lanes(found.node->in[*operand]->type) == type_lanes(found.node->type) &&
                    (found.node->op == OP_neg || const_number(found.node->in[1 - *operand], c));
    return numbered ? found : (LaneRef){NULL, 0};
}

// What is made of u: s u + c.
typedef struct {
    double s, c;
} Line;

static Line line_after(const Function *f, LaneRef r)
{
    Line y = {1, 0};
    double c = 0;
    int k = 0;
    for (int i = 0; i < MOST_SCALES; i++) {
        r = only_user(f, r, &k, &c);
        if (!r.node) break;
        if (r.node->op == OP_add) return (Line){y.s, c};
        if (r.node->op == OP_sub) return k ? (Line){-y.s, c} : (Line){y.s, -c};
        if (r.node->op == OP_neg)
            y.s = -y.s;
        else if (r.node->op == OP_mul && c != 0)
            y.s *= c;
        else if (r.node->op == OP_div && k == 0 && c != 0)
            y.s /= c;
        else
            break;
    }
    return y;
}

// Where s u + c, 0 <= u < p, begins, in units of u.
static double begin_of(Line y, double p) { return y.c / fabs(y.s) - (y.s < 0 ? p : 0); }

// Are the lanes of one node that leads on?
static bool of_one_node(const LaneRef *r, int64_t count)
{
    for (int64_t i = 1; i < count; i++)
        if (r[i].node != r[0].node) return false;
    return leads_on(r[0].node);
}

// Operand k of the lanes' node; NULL: it is not known.
static const Node *known_operand(LaneEnv *env, const LaneRef *r, int64_t count, int k)
{
    LaneRef *refs = heap_array(count, sizeof *refs);
    bool ok = true;
    for (int64_t i = 0; i < count && ok; i++) {
        refs[i] = lane_env_get(env, lane_operand(r[i].node, k, r[i].lane));
        ok = refs[i].node;
    }
    const Node *value = ok ? lanes_gather(env->b, refs, count) : NULL;
    free(refs);
    return value;
}

// low + a: the known lanes a that are added on the way to lanes r, under numbers that scale; their product is *scale.
static const Node *with_shifts(LaneEnv *env, LaneRef *r, int64_t count, const Node *low, double *scale)
{
    while (of_one_node(r, count)) {
        const Node *n = r[0].node, *shift = NULL;
        int k = 0; // the operand that leads on
        double c = 0;
        if (n->op != OP_neg && !(shift = known_operand(env, r, count, 1))) k = 1;
        if (k && !(shift = known_operand(env, r, count, 0))) return low;
        if (n->op == OP_add || n->op == OP_sub)
            low = build_binary(env->b, k ? OP_add : n->op, low,
                               build_binary(env->b, OP_mul, shift, build_scalar(env->b, *scale)));
        else if ((n->op == OP_mul || (n->op == OP_div && !k)) && const_number(n->in[1 - k], &c))
            *scale = n->op == OP_mul ? *scale * c : *scale / c;
        else if (n->op != OP_neg)
            return low;
        if (n->op == OP_neg || (n->op == OP_sub && k)) *scale = -*scale;
        for (int64_t i = 0; i < count; i++) r[i] = lane_operand(n, k, r[i].lane);
    }
    return low;
}

const Node *emit_unwrapped(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count, const Node *u)
{
    Builder *b = env->b;
    double *first = heap_array(count, sizeof *first), period = 0, zero = 1, scale = 1;
    const_number(n->in[1], &period);
    LaneRef *r = heap_array(count, sizeof *r);
    for (int64_t i = 0; i < count; i++) {
        first[i] = begin_of(line_after(env->from, (LaneRef){n, lanes[i]}), period);
        r[i] = lane_operand(n, 0, lanes[i]);
    }
    const Node *low = with_shifts(env, r, count, build_reals(b, type_vector(count), first), &scale);
    for (int64_t i = 0; i < count; i++) first[i] = 2 * first[i] + period;
    if (scale < 0) low = build_binary(b, OP_sub, low, build_reals(b, type_vector(count), first)); // from its other end
    free(first);
    free(r);
    if (node_is_const(low) && const_is_splat(low, &zero) && zero == 0) return u;
    const Node *turn = build_scalar(b, period);
    return build_binary(b, OP_add, build_binary(b, OP_mod, build_binary(b, OP_sub, u, low), turn), low);
}
