// A solved system as nodes (solve_system.h): its forms once more with atoms that are 0, which gives rest, and the
// atoms by the inverse of (known - rest), or by elimination where factors are lanes (solve_matrix.c).
#include "emit.h"

// Lanes of one node from `at` on.
static int same_node(const LaneRef *lanes, int n, int at, int64_t *numbers)
{
    int count = 0;
    for (int i = at; i < n && lanes[i].node == lanes[at].node; i++) numbers[count++] = lanes[i].lane;
    return count;
}

// The values of known lane i, and of the others of its node, where the atoms are 0: the node once more, at these lanes.
static void rest_of_node(LaneEnv *zero, const System *y, int i, LaneRef *rest)
{
    const Node *n = y->known[i].node;
    LaneRef *value = emit_refs(y->k);
    int64_t *lanes = heap_array(y->k, sizeof *lanes), count = 0;
    for (int j = i; j < y->k; j++)
        if (y->known[j].node == n) {
            value[count] = lane_env_get(zero, y->known[j]);
            lanes[count++] = y->known[j].lane;
        }
    emit_forward_lanes(zero, n, lanes, count);
    for (int j = i; j < y->k; j++)
        if (y->known[j].node == n) rest[j] = lane_env_get(zero, y->known[j]);
    for (int64_t m = 0; m < count; m++) lane_env_set(zero, (LaneRef){n, lanes[m]}, value[m]);
    free(value);
    free(lanes);
}

void emit_system(LaneEnv *env, const System *y)
{
    int64_t *numbers = heap_array(y->n_between, sizeof *numbers), k = y->k, dim[2] = {1, k}, square[2] = {k, k};
    LaneEnv *zero = lane_env_copy(env);
    LaneRef nothing = {build_scalar(env->b, 0), 0}, *value = emit_refs(k), *rest = emit_refs(k);
    for (int i = 0; i < y->n_zeros; i++) lane_env_set(zero, y->zeros[i], nothing);
    for (int at = 0, count; at < y->n_between; at += count) {
        count = same_node(y->between, y->n_between, at, numbers);
        emit_forward_lanes(zero, y->between[at].node, numbers, count);
    }
    for (int i = 0; i < y->k; i++) {
        value[i] = lane_env_get(env, y->known[i]);
        if (!rest[i].node) rest_of_node(zero, y, i, rest);
    }
    const Node *less = lanes_gather_as(env->b, rest, type_vector(k)), *x;
    const Node *u = build_binary(env->b, OP_sub, lanes_gather_as(env->b, value, type_vector(k)), less);
    if (y->inverse) {
        const Node *inverse = build_reals(env->b, type_make(T_F64, 2, square), y->inverse);
        x = build_linear(env->b, build_reshape(env->b, u, 2, dim), inverse, NULL, NULL);
    } else {
        x = system_solve(env, y, u);
    }
    for (int i = 0; i < y->k; i++) lane_env_set(env, y->atoms[i], (LaneRef){x, i});
    free(numbers);
    free(value);
    free(rest);
}
