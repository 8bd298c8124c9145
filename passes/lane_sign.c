// The sign of a lane, proved from the ops that define it: e^x is positive, a sum of equal signs has that sign, the
// weights of a spline's bin are shares of a whole.
#include "lane_order.h"

#include <math.h>

enum { SIGN_DEPTH = 24, ORDER_DEPTH = 12, CHOICE_DEPTH = 4, MOST_OPERANDS = 128 };

static int all_signs(const LaneRef *in, int n, int depth)
{
    int first = n ? lane_sign_within(in[0], depth) : 0;
    for (int i = 1; i < n && first; i++)
        if (lane_sign_within(in[i], depth) != first) first = 0;
    return first;
}

static int combined_sign(LaneRef r, int depth)
{
    LaneRef in[MOST_OPERANDS + 2];
    int n = lane_operands(r, in, MOST_OPERANDS);
    if (n < 0) return 0;
    if (r.node->op == OP_take) return all_signs(in + 1, n - 1, depth);
    if (r.node->op == OP_linear) {
        const Node *w = r.node->in[1];
        for (int64_t k = 0; k < w->type.dim[0]; k++)
            if (const_at(w, k * w->type.dim[1] + r.lane % w->type.dim[1]) < 0) return 0;
        if (r.node->n_in > 2 && r.node->in[2]) return 0;
    }
    return all_signs(in, n, depth);
}

// The numbers between which a lane lies that is made of tests and numbers alone: 1 - 0.7 (v < 0). False: of more.
static bool choice_range(LaneRef r, int depth, double *lo, double *hi)
{
    double in[2][2], ends[4];
    if (lane_is_const(r)) {
        *lo = *hi = lane_value(r);
        return isfinite(*lo);
    }
    if (r.node->type.dtype == T_BOOL) {
        *lo = 0;
        *hi = 1;
        return true;
    }
    if (depth > CHOICE_DEPTH || (r.node->op != OP_add && r.node->op != OP_sub && r.node->op != OP_mul)) return false;
    for (int k = 0; k < 2; k++)
        if (!choice_range(lane_operand(r.node, k, r.lane), depth + 1, &in[k][0], &in[k][1])) return false;
    for (int i = 0; i < 4; i++)
        ends[i] = eval_scalar(r.node->op, r.node->alpha, (double[]){in[0][i & 1], in[1][i >> 1], 0});
    *lo = fmin(fmin(ends[0], ends[1]), fmin(ends[2], ends[3]));
    *hi = fmax(fmax(ends[0], ends[1]), fmax(ends[2], ends[3]));
    return true;
}

static int choice_sign(LaneRef r)
{
    double lo, hi;
    return !choice_range(r, 0, &lo, &hi) ? 0 : lo > 0 ? 1 : hi < 0 ? -1 : 0;
}

int lane_sign_within(LaneRef r, int depth)
{
    const Node *n = r.node;
    if (node_is_const(n)) return lane_value(r) > 0 ? 1 : lane_value(r) < 0 ? -1 : 0;
    if (depth > SIGN_DEPTH) return 0;
    LaneRef x = n->n_in ? lane_operand(n, 0, r.lane) : r,
            y = op_elementwise(n->op) && n->n_in > 1 ? lane_operand(n, 1, r.lane) : x;
    switch ((int)n->op) {
    case OP_exp:
    case OP_softplus:
    case OP_sigmoid:
    case OP_cosh: return 1;
    case OP_neg: return -lane_sign_within(x, depth + 1);
    case OP_sqrt: return lane_sign_within(x, depth + 1) > 0;
    case OP_leaky_relu: return n->alpha > 0 ? lane_sign_within(x, depth + 1) : 0;
    case OP_mul:
    case OP_div: return lane_sign_within(x, depth + 1) * lane_sign_within(y, depth + 1);
    case OP_add: {
        if (lane_is_const(y) && lane_value(y) == 0) return lane_sign_within(x, depth + 1);
        int s = lane_sign_within(x, depth + 1);
        return s && lane_sign_within(y, depth + 1) == s ? s : choice_sign(r);
    }
    case OP_sub: {
        int s = lane_sign_within(x, depth + 1);
        if (s && lane_sign_within(y, depth + 1) == -s) return s;
        if ((s = choice_sign(r)) || depth > ORDER_DEPTH) return s;
        return lanes_in_order(y, x, depth) ? 1 : lanes_in_order(x, y, depth) ? -1 : 0;
    }
    case OP_max: return lane_sign_within(x, depth + 1) > 0 || lane_sign_within(y, depth + 1) > 0;
    case OP_select: {
        int s = lane_sign_within(y, depth + 1);
        return s && lane_sign_within(lane_operand(n, 2, r.lane), depth + 1) == s ? s : 0;
    }
    case OP_take:
    case OP_reduce_sum:
    case OP_reduce_max:
    case OP_reduce_min:
    case OP_linear: return combined_sign(r, depth + 1);
    default: return 0;
    }
}

int lane_sign(LaneRef r) { return lane_sign_within(r, 0); }

bool lane_power_inverts(const Node *n, int64_t i)
{
    LaneRef e = lane_operand(n, 1, i);
    double v = lane_is_const(e) ? lane_value(e) : NAN;
    return v != floor(v) || (v != 0 && lane_sign(lane_operand(n, 0, i)) > 0);
}
