// Which ops are sums of their operands with factors, and which: see affine.h. A product of two computed values is a sum of
// either one's lanes, with the other's as factors.
#include "affine.h"

static int64_t matmul_inner(const Node *n) { return type_last(n->in[0]->type); }

int64_t affine_operands(const Node *n)
{
    if (n->op == OP_reduce_sum) return type_last(n->in[0]->type);
    if (n->op == OP_linear) return n->in[1]->type.dim[0] + (n->n_in > 3);
    if (n->op == OP_matmul) return 2 * matmul_inner(n);
    return op_elementwise(n->op) ? n->n_in : 0;
}

// Lane k of row (or column) of lane i's left (right) operand.
static LaneRef matmul_operand(const Node *n, int64_t i, int64_t k)
{
    int64_t K = matmul_inner(n), N = type_last(n->type), M = n->type.dim[n->type.rank - 2];
    if (k < K) return lane_canonical(n->in[0], i / N * K + k);
    return lane_canonical(n->in[1], (i / (M * N) * K + k - K) * N + i % N);
}

LaneRef affine_operand(const Node *n, int64_t i, int64_t k)
{
    if (n->op == OP_matmul) return matmul_operand(n, i, k);
    if (n->op == OP_reduce_sum) return lane_canonical(n->in[0], i * type_last(n->in[0]->type) + k);
    if (n->op != OP_linear) return lane_operand(n, (int)k, i);
    int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1];
    return k < K ? lane_canonical(n->in[0], i / N * K + k) : lane_canonical(n->in[3], i);
}

static AffineFactor by_number(double v) { return (AffineFactor){.affine = true, .number = v}; }
static AffineFactor by_lane(LaneRef r, bool divides) { return (AffineFactor){true, divides, r, 0}; }

AffineFactor affine_factor(const Node *n, int64_t i, int64_t k)
{
    switch ((int)n->op) {
    case OP_neg: return by_number(-1);
    case OP_add:
    case OP_reduce_sum: return by_number(1);
    case OP_sub: return by_number(k ? -1 : 1);
    case OP_mul: return by_lane(lane_operand(n, (int)(1 - k), i), false);
    case OP_div: return k ? (AffineFactor){0} : by_lane(lane_operand(n, 1, i), true);
    case OP_matmul: return by_lane(matmul_operand(n, i, (k + matmul_inner(n)) % (2 * matmul_inner(n))), false);
    case OP_linear: {
        int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1];
        return by_number(k < K ? const_at(n->in[1], k * N + i % N) : 1);
    }
    default: return (AffineFactor){0};
    }
}
