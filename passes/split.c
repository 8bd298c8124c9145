// The latent inside a log_prob: the sum is followed to its squares.
//
//   log_prob = sum_i c_i k_i a_i^2 + rest,  c_i < 0 constant, k_i lanes that are factors (a learned or conditional scale)
//   u_i = a_i sqrt(-2 c_i k_i)              so that the squares are -u^2 / 2
//
// Sums are adds, subtractions, negations, products with constants, reduce_sum and constant products (linear). What is
// not a square (log-det terms, normalisers) is the rest; that it is right is checked by numbers, later.
#include "flow.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_FACTORS = 6 };

typedef struct {
    LaneRef lane;
    double weight; // constant factor of lane^2
    LaneRef times[MOST_FACTORS], over[MOST_FACTORS];
    int n_times, n_over;
} Square;

typedef struct {
    Context *cx;
    Square *squares;
    int64_t n, cap;
    int64_t budget;
} Collector;

static bool square_of(LaneRef r, LaneRef *base)
{
    const Node *n = r.node;
    if (n->op == OP_mul) {
        *base = lane_operand(n, 0, r.lane);
        return lane_same(*base, lane_operand(n, 1, r.lane)) && !lane_is_const(*base);
    }
    if (n->op != OP_pow) return false;
    LaneRef e = lane_operand(n, 1, r.lane);
    *base = lane_operand(n, 0, r.lane);
    return lane_is_const(e) && lane_value(e) == 2;
}

// A product: constants, at most one square, other factors. False: not of this form.
static bool factor(Square *s, LaneRef r, bool over, bool *found, int depth)
{
    LaneRef base;
    if (lane_is_const(r)) {
        s->weight = over ? s->weight / lane_value(r) : s->weight * lane_value(r);
        return true;
    }
    if (!over && !*found && square_of(r, &base)) {
        s->lane = base;
        *found = true;
        return true;
    }
    if (depth < 12 && r.node->op == OP_neg) {
        s->weight = -s->weight;
        return factor(s, lane_operand(r.node, 0, r.lane), over, found, depth + 1);
    }
    if (depth < 12 && (r.node->op == OP_mul || r.node->op == OP_div)) {
        bool flip = r.node->op == OP_div;
        return factor(s, lane_operand(r.node, 0, r.lane), over, found, depth + 1) &&
               factor(s, lane_operand(r.node, 1, r.lane), over != flip, found, depth + 1);
    }
    LaneRef *list = over ? s->over : s->times;
    int *n = over ? &s->n_over : &s->n_times;
    if (*n == MOST_FACTORS) return false;
    list[(*n)++] = r;
    return true;
}

static void collect(Collector *c, LaneRef r, double weight);

static void collect_leaf(Collector *c, LaneRef r, double weight)
{
    Square s = {.weight = weight};
    bool found = false;
    if (factor(&s, r, false, &found, 0) && found) ARENA_PUSH(c->cx->arena, c->squares, c->n, c->cap, s);
}

static void collect_linear(Collector *c, LaneRef r, double weight)
{
    const Node *n = r.node, *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], m = r.lane / N, col = r.lane % N;
    for (int64_t k = 0; k < K; k++)
        if (const_at(w, k * N + col) != 0) collect(c, lane_canonical(n->in[0], m * K + k), weight * const_at(w, k * N + col));
    if (n->n_in > 3) collect(c, lane_canonical(n->in[3], r.lane), weight);
}

static bool constant_operand(LaneRef r, int k, double *value)
{
    LaneRef o = lane_operand(r.node, k, r.lane);
    if (!lane_is_const(o)) return false;
    *value = lane_value(o);
    return true;
}

static void collect(Collector *c, LaneRef r, double weight)
{
    double v = 0;
    if (--c->budget < 0 || lane_is_const(r)) return;
    switch ((int)r.node->op) {
    case OP_neg: collect(c, lane_operand(r.node, 0, r.lane), -weight); return;
    case OP_add:
    case OP_sub:
        collect(c, lane_operand(r.node, 0, r.lane), weight);
        collect(c, lane_operand(r.node, 1, r.lane), r.node->op == OP_add ? weight : -weight);
        return;
    case OP_mul:
        for (int k = 0; k < 2; k++)
            if (constant_operand(r, k, &v)) {
                collect(c, lane_operand(r.node, 1 - k, r.lane), weight * v);
                return;
            }
        break;
    case OP_div:
        if (constant_operand(r, 1, &v) && v != 0) {
            collect(c, lane_operand(r.node, 0, r.lane), weight / v);
            return;
        }
        break;
    case OP_reduce_sum: {
        int64_t K = type_last(r.node->in[0]->type);
        for (int64_t k = 0; k < K; k++) collect(c, lane_canonical(r.node->in[0], r.lane * K + k), weight);
        return;
    }
    case OP_linear: collect_linear(c, r, weight); return;
    default: break;
    }
    collect_leaf(c, r, weight);
}

static bool is_plain(const Square *s, double sign)
{
    return fabs(s->weight * sign + 0.5) < 1e-6 && !s->n_times && !s->n_over;
}

// Squares of one sign; where there are more of them than those of weight -1/2 exactly, the latter are meant.
static int64_t choose(Square *s, int64_t n, double sign)
{
    int64_t m = 0, plain = 0;
    for (int64_t i = 0; i < n; i++)
        if (s[i].weight * sign < 0) {
            s[m] = s[i];
            plain += is_plain(&s[m], sign);
            m++;
        }
    if (!plain || plain == m) return m;
    int64_t k = 0;
    for (int64_t i = 0; i < m; i++)
        if (is_plain(&s[i], sign)) s[k++] = s[i];
    return k;
}

static const Node *standardised(LaneEnv *env, const Square *s, int64_t n, double sign)
{
    Builder *b = env->b;
    const Node **parts = ARENA_ARRAY(builder_context(b)->arena, const Node *, n);
    for (int64_t i = 0; i < n; i++) {
        LaneRef a = lane_env_get(env, s[i].lane);
        parts[i] = lanes_gather_as(b, &a, type_vector(1));
        double k = -2 * sign * s[i].weight;
        if (is_plain(&s[i], sign)) continue;
        const Node *scale = build_scalar(b, k);
        for (int j = 0; j < s[i].n_times; j++) {
            LaneRef f = lane_env_get(env, s[i].times[j]);
            scale = build_binary(b, OP_mul, lanes_gather_as(b, &f, type_vector(1)), scale);
        }
        for (int j = 0; j < s[i].n_over; j++) {
            LaneRef f = lane_env_get(env, s[i].over[j]);
            scale = build_binary(b, OP_div, scale, lanes_gather_as(b, &f, type_vector(1)));
        }
        parts[i] = build_binary(b, OP_mul, parts[i], build_unary(b, OP_sqrt, scale));
    }
    return build_move(b, type_vector(n), (int)n, parts, NULL);
}

Split *split_log_prob(Context *cx, const Function *f, int scalar)
{
    const Node *out = f->outputs[scalar].node;
    if (type_lanes(out->type) != 1) return NULL;
    Collector c = {.cx = cx, .budget = 1 << 22};
    collect(&c, lane_canonical(out, 0), 1);
    int64_t negative = 0;
    for (int64_t i = 0; i < c.n; i++) negative += c.squares[i].weight < 0;
    if (!c.n) return NULL;
    double sign = negative * 2 >= c.n ? 1 : -1;
    int64_t n = choose(c.squares, c.n, sign);
    LaneRef *lanes = ARENA_ARRAY(cx->arena, LaneRef, n + 1);
    bool plain = true;
    for (int64_t i = 0; i < n; i++) {
        lanes[i] = c.squares[i].lane;
        plain = plain && is_plain(&c.squares[i], sign);
    }
    if (!n || !lanes_independent(lanes, n)) return NULL;
    Builder *b = builder_new(cx, f->name);
    LaneEnv *env = lane_env_new(cx, f, b);
    for (int i = 0; i < f->n_inputs; i++) lane_env_set_all(env, f->inputs[i], build_input(b, f->inputs[i]->name, f->inputs[i]->type));
    emit_forward(env);
    for (int i = 0; i < f->n_outputs; i++) {
        const Node *v = f->outputs[i].node;
        int64_t count = type_lanes(v->type);
        LaneRef *refs = ARENA_ARRAY(cx->arena, LaneRef, count + 1);
        for (int64_t k = 0; k < count; k++) refs[k] = lane_env_lane(env, v, k);
        build_output(b, f->outputs[i].name, lanes_gather_as(b, refs, v->type));
    }
    build_output(b, "u", standardised(env, c.squares, n, sign));
    Split *s = ARENA_NEW(cx->arena, Split);
    *s = (Split){builder_finish(b), n, sign < 0, plain};
    return s;
}
