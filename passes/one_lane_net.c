// Functions of one lane through sums of many lanes: nets (one_lane.h). Of the lanes between v and u each is made of
// the others and of known ones by elementwise ops, constant products and sums. Two kinds of function rise:
//
//   monotone nets      intervals of value and slope (one_lane_interval.h), carried through the products: positive weights
//                      and rising functions, as in block neural autoregressive flows
//   integrals          v sum_i w_i g(c t_i v), where g >= 0 is seen and the w_i, t_i integrate over 0..1 what has
//                      powers below their number: a quadrature of the integral of g from 0 to v. Its slope is g(v) but
//                      for the quadrature's error, so that its rise is not proved, and the rows of the check confirm it
#include "one_lane_net.h"
#include "lane_order.h"
#include "one_lane_interval.h"

#include <math.h>
#include <stdlib.h>

enum { NET_POINTS = 256, NET_POWER = 64, LEAST_MOMENTS = 3 };
#define MOMENT_ERROR 1e-4

typedef struct {
    OneLaneFinder *q;
    const Single *s;

    Bounds *bounds; // by place
    double *share;  // by place: the lane depends on v through share v alone; NaN: it does not
    bool *straight; // by place: it is share v
    int *twin;      // by place: the place that is the same function of another share; 0: none yet
    bool failed;
} Net;

static int place(const Net *net, LaneRef r) { return place_of(net->q, r) - 1; }
static bool inside(const Net *net, LaneRef r) { return place(net, r) >= 0; }
static double weight_of(LaneRef r, int64_t k)
{
    const Node *w = r.node->in[1];
    return const_at(w, k * w->type.dim[1] + r.lane % w->type.dim[1]);
}

// Operand k of a product's lane r.
static LaneRef factor(LaneRef r, int64_t k)
{
    const Node *w = r.node->in[1];
    return lane_canonical(r.node->in[0], r.lane / w->type.dim[1] * w->type.dim[0] + k);
}

static LaneRef bias(LaneRef r)
{
    const Node *n = r.node;
    return n->n_in > 2 && n->in[2] ? lane_canonical(n->in[2], r.lane % type_last(n->type)) : (LaneRef){0};
}

bool net_follows(const Node *n)
{
    if (n->op == OP_linear) return n->n_in <= 3 && n->in[1]->type.rank == 2;
    return n->op == OP_reduce_sum || n->op == OP_matmul || (op_elementwise(n->op) && n->type.dtype == T_F32);
}

// ---- intervals

static Bounds lane_bounds(const Net *net, LaneRef r)
{
    if (inside(net, r)) return net->bounds[place(net, r)];
    return (Bounds){one_lane_known(r), {0, 0}};
}

// sum + w x
static Bounds plus(Bounds sum, Bounds w, Bounds x)
{
    const Node times = {.op = OP_mul}, more = {.op = OP_add};
    Bounds in[2] = {w, x}, both[2] = {sum}, out = x;
    one_lane_step(&times, in, &both[1]);
    one_lane_step(&more, both, &out);
    return out;
}

static Bounds number_bounds(double v) { return (Bounds){{v, v}, {0, 0}}; }

static Bounds sum_bounds(Net *net, LaneRef r)
{
    Bounds sum = number_bounds(0);
    if (r.node->op == OP_linear) {
        for (int64_t k = 0; k < r.node->in[1]->type.dim[0]; k++)
            if (weight_of(r, k) != 0) sum = plus(sum, number_bounds(weight_of(r, k)), lane_bounds(net, factor(r, k)));
        return bias(r).node ? plus(sum, number_bounds(1), lane_bounds(net, bias(r))) : sum;
    }
    const LaneRef *in = net->q->operands;
    bool pairs = r.node->op == OP_matmul;
    int n = lane_operands(r, net->q->operands, MOST_LANES) / (pairs ? 2 : 1);
    for (int k = 0; k < n; k++)
        sum = plus(sum, pairs ? lane_bounds(net, in[n + k]) : number_bounds(1), lane_bounds(net, in[k]));
    return sum;
}

static Bounds bounds_of(Net *net, LaneRef r)
{
    if (lane_same(r, net->s->v)) return (Bounds){{-INFINITY, INFINITY}, {1, 1}};
    if (!op_elementwise(r.node->op)) return sum_bounds(net, r);
    Bounds in[3], out = {{-INFINITY, INFINITY}, {-INFINITY, INFINITY}};
    LaneRef operand[3];
    for (int k = 0; k < r.node->n_in; k++) {
        operand[k] = lane_operand(r.node, k, r.lane);
        in[k] = lane_bounds(net, operand[k]);
    }
    double power = r.node->op == OP_pow && lane_is_const(operand[1]) ? lane_value(operand[1]) : -1;
    if (r.node->op == OP_mul && lane_same(operand[0], operand[1])) power = 2;
    if (power >= 0 && power <= NET_POWER && power == floor(power)) return one_lane_power(in[0], (int)power);
    if (r.node->op == OP_select && inside(net, operand[0])) net->failed = true;
    if (!one_lane_step(r.node, in, &out)) net->failed = true;
    return out;
}

// ---- shares of v

static bool near(double a, double b) { return fabs(a - b) <= 1e-7 * (1 + fabs(b)); }

// What the operands of a lane have: the weighted sum of their shares, if all of them are shares of v, and the one share
// that all depend through (NaN: several).
typedef struct {
    double sum, common;
    bool straight, any;
} Shares;

static void see(const Net *net, Shares *s, double w, LaneRef r)
{
    if (!inside(net, r)) {
        s->straight = s->straight && lane_is_const(r) && lane_value(r) == 0;
        return;
    }
    double t = net->share[place(net, r)];
    s->sum += w * t;
    s->straight = s->straight && net->straight[place(net, r)];
    s->common = !s->any || near(s->common, t) ? t : NAN;
    s->any = true;
}

// c, where lane r is a straight one times c; 0: it is not.
static double scale_of(const Net *net, LaneRef r, LaneRef *x)
{
    int k = inside(net, lane_operand(r.node, 0, r.lane)) ? 0 : 1;
    LaneRef c = lane_operand(r.node, 1 - k, r.lane);
    *x = lane_operand(r.node, k, r.lane);
    if (!lane_is_const(c) || !net->straight[place(net, *x)] || (r.node->op == OP_div && k == 1)) return 0;
    return r.node->op == OP_div ? 1 / lane_value(c) : lane_value(c);
}

static void share_of(Net *net, LaneRef r, double *share, bool *straight)
{
    Shares s = {.straight = true};
    const Node *n = r.node;
    bool sum = n->op == OP_add || n->op == OP_sub || n->op == OP_neg || n->op == OP_linear || n->op == OP_reduce_sum;
    *straight = lane_same(r, net->s->v);
    *share = 1;
    if (*straight) return;
    if (n->op == OP_linear) {
        for (int64_t k = 0; k < n->in[1]->type.dim[0]; k++)
            if (weight_of(r, k) != 0) see(net, &s, weight_of(r, k), factor(r, k));
        if (bias(r).node) see(net, &s, 1, bias(r));
    } else {
        int count = lane_operands(r, net->q->operands, MOST_LANES);
        for (int k = 0; k < count; k++)
            see(net, &s, n->op == OP_neg || (n->op == OP_sub && k == 1) ? -1 : 1, net->q->operands[k]);
    }
    LaneRef x;
    double c = n->op == OP_mul || n->op == OP_div ? scale_of(net, r, &x) : 0;
    *straight = c != 0 || (sum && s.straight);
    *share = c != 0 ? c * net->share[place(net, x)] : *straight ? s.sum : s.common;
}

static bool same_number(LaneRef x, LaneRef y)
{
    return lane_is_const(x) && lane_is_const(y) && lane_value(x) == lane_value(y);
}

static bool same_function(Net *net, LaneRef x, LaneRef y);

static bool same_sum(Net *net, LaneRef x, LaneRef y)
{
    if (x.node->op == OP_linear) {
        if (x.node->in[1] != y.node->in[1] || (x.lane - y.lane) % type_last(x.node->type)) return false;
        for (int64_t k = 0; k < x.node->in[1]->type.dim[0]; k++)
            if (weight_of(x, k) != 0 && !same_function(net, factor(x, k), factor(y, k))) return false;
        return !bias(x).node || same_function(net, bias(x), bias(y));
    }
    int n = lane_operands(x, net->q->operands, MOST_LANES);
    LaneRef *in = arena_copy(net->q->cx->arena, net->q->operands, (size_t)n * sizeof *in);
    if (lane_operands(y, net->q->operands, MOST_LANES) != n) return false;
    LaneRef *too = arena_copy(net->q->cx->arena, net->q->operands, (size_t)n * sizeof *too);
    for (int k = 0; k < n; k++)
        if (!same_function(net, in[k], too[k])) return false;
    return true;
}

// Is lane y the same function of its share of v as lane x is of its own?
static bool same_function(Net *net, LaneRef x, LaneRef y)
{
    if (!inside(net, x) || !inside(net, y)) return lane_same(x, y) || same_number(x, y);
    int at = place(net, x);
    if (net->straight[at] || net->straight[place(net, y)]) return net->straight[at] && net->straight[place(net, y)];
    if (net->twin[at]) return net->twin[at] == place(net, y) + 1;
    if (x.node->op != y.node->op || x.node->n_in != y.node->n_in || x.node->alpha != y.node->alpha) return false;
    net->twin[at] = place(net, y) + 1;
    int n = op_elementwise(x.node->op) ? x.node->n_in : 0;
    for (int k = 0; k < n; k++)
        if (!same_function(net, lane_operand(x.node, k, x.lane), lane_operand(y.node, k, y.lane))) return false;
    return n || same_sum(net, x, y);
}

// ---- integrals

typedef struct {
    double weight, t;
    LaneRef g;
} Point;

typedef struct {
    Point points[NET_POINTS];
    int n;
    bool failed;
} Sum;

// Lane r times w, taken apart into functions of one share each. What does not depend on v may not be negative.
static void take_apart(Net *net, Sum *sum, LaneRef r, double w)
{
    const Node *n = r.node;
    if (sum->failed) return;
    if (!inside(net, r)) {
        sum->failed = w * lane_sign(r) < 0 || (lane_sign(r) == 0 && !(lane_is_const(r) && lane_value(r) == 0));
        return;
    }
    double t = net->share[place(net, r)];
    if (!isnan(t)) {
        sum->failed = sum->n == NET_POINTS || !(w > 0) || net->bounds[place(net, r)].value.lo < 0;
        if (!sum->failed) sum->points[sum->n++] = (Point){w, t, r};
        return;
    }
    LaneRef x = {0}, y = {0};
    if (op_elementwise(n->op)) {
        x = lane_operand(n, 0, r.lane);
        y = n->n_in > 1 ? lane_operand(n, 1, r.lane) : x;
    }
    switch ((int)n->op) {
    case OP_add:
    case OP_sub:
        take_apart(net, sum, x, w);
        take_apart(net, sum, y, n->op == OP_add ? w : -w);
        return;
    case OP_mul:
        if (lane_is_const(x))
            take_apart(net, sum, y, w * lane_value(x));
        else if (lane_is_const(y))
            take_apart(net, sum, x, w * lane_value(y));
        else
            sum->failed = true;
        return;
    case OP_div:
        if (lane_is_const(y))
            take_apart(net, sum, x, w / lane_value(y));
        else
            sum->failed = true;
        return;
    case OP_linear:
        for (int64_t k = 0; k < n->in[1]->type.dim[0]; k++)
            if (weight_of(r, k) != 0) take_apart(net, sum, factor(r, k), w * weight_of(r, k));
        if (bias(r).node) take_apart(net, sum, bias(r), w);
        return;
    case OP_reduce_sum:
        for (int64_t k = 0, K = type_last(n->in[0]->type); k < K; k++)
            take_apart(net, sum, lane_canonical(n->in[0], r.lane * K + k), w);
        return;
    default: sum->failed = true;
    }
}

// sum_i w_i t_i^k = c^k / (k + 1) sum_i w_i of some c, for all k below the number of points, all functions being one:
// the integral of g(c t v) over t.
static bool integrates(Net *net, const Sum *sum)
{
    double power[NET_POINTS], total = 0, scale = 1, c = 1;
    if (sum->failed || sum->n < 2) return false;
    for (int i = 0; i < sum->n; i++) {
        power[i] = sum->points[i].weight;
        total += power[i];
    }
    for (int k = 1; k < sum->n || k <= LEAST_MOMENTS; k++) {
        double moment = 0;
        for (int i = 0; i < sum->n; i++) moment += power[i] *= sum->points[i].t;
        if (k == 1) c = 2 * moment / total;
        scale *= c;
        if (!(fabs(moment * (k + 1) / (total * scale) - 1) < MOMENT_ERROR)) return false;
    }
    for (int i = 1; i < sum->n; i++) {
        for (int p = 0; p < net->s->n; p++) net->twin[p] = 0;
        if (!same_function(net, sum->points[0].g, sum->points[i].g)) return false;
    }
    return true;
}

static int integral_slope(Net *net, LaneRef r)
{
    int sign = 1;
    for (;;) {
        const Node *n = r.node;
        if (!op_elementwise(n->op) || n->n_in != 2) return 0;
        LaneRef x = lane_operand(n, 0, r.lane), y = lane_operand(n, 1, r.lane);
        bool both = inside(net, x) && inside(net, y);
        if (both && n->op != OP_mul) return 0;
        if (both) {
            if (!net->straight[place(net, x)]) {
                LaneRef swap = x;
                x = y;
                y = swap;
            }
            Sum *sum = heap_array(1, sizeof *sum);
            take_apart(net, sum, y, 1);
            double c = net->straight[place(net, x)] && integrates(net, sum) ? net->share[place(net, x)] : 0;
            free(sum);
            return c > 0 ? sign : c < 0 ? -sign : 0;
        }
        LaneRef known = inside(net, x) ? y : x;
        if (n->op == OP_mul || n->op == OP_div)
            sign *= n->op == OP_div && known.node == x.node ? 0 : lane_sign(known);
        else if (n->op == OP_sub && !inside(net, x))
            sign = -sign;
        else if (n->op != OP_add && n->op != OP_sub)
            return 0;
        r = inside(net, x) ? x : y;
    }
}

// Is u what a function of a part of the numbers is taken of?
static bool has_domain(const Net *net)
{
    const Function *f = net->q->f;
    for (int id = net->s->u.node->id + 1; id < f->n_nodes; id++) {
        const Node *n = f->nodes[id];
        bool part =
            n->op == OP_logit || n->op == OP_atanh || n->op == OP_erfinv || n->op == OP_log || n->op == OP_softplus_inv;
        for (int64_t i = 0; part && i < type_lanes(n->type); i++)
            if (lane_same(lane_operand(n, 0, i), net->s->u)) return true;
    }
    return false;
}

// A latent that is any number has an event only where u may be any.
static bool may_be_onto(const Net *net)
{
    Interval u = lane_bounds(net, net->s->u).value;
    return (u.lo == -INFINITY && u.hi == INFINITY) || has_domain(net);
}

int net_slope(OneLaneFinder *q, const Single *s, bool *proved)
{
    Net net = {.q = q, .s = s};
    net.bounds = heap_array(s->n, sizeof *net.bounds);
    net.share = heap_array(s->n, sizeof *net.share);
    net.straight = heap_array(s->n, sizeof *net.straight);
    net.twin = heap_array(s->n, sizeof *net.twin);
    for (int i = 0; i < s->n && !net.failed; i++) {
        net.bounds[i] = bounds_of(&net, s->lanes[i]);
        share_of(&net, s->lanes[i], &net.share[i], &net.straight[i]);
    }
    Interval slope = lane_bounds(&net, s->u).slope;
    int sign = net.failed ? 0 : slope.lo > 0 ? 1 : slope.hi < 0 ? -1 : 0;
    *proved = sign != 0;
    if (!sign && !net.failed) sign = integral_slope(&net, s->u);
    if (!sign) refuse(q, s->u.node, "a net of one lane that is neither proved to rise nor seen to be an integral");
    if (sign && !may_be_onto(&net)) {
        refuse(q, s->u.node, "a net of one lane whose values are bounded: not every latent has an event");
        sign = 0;
    }
    free(net.bounds);
    free(net.share);
    free(net.straight);
    free(net.twin);
    return sign;
}
