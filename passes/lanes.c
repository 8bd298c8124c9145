// lanes: follow single lanes through a function, so that masks, paddings and dead lanes disappear.
//
//   - a lane whose operands are constant is constant; 0 * x = 0 (finite x); -inf + x = -inf
//   - x + 0, x - 0, x * 1, x / 1, select(constant, x, y) are other names of x: an alias, no work
//   - a column of a product with one weight 1 and no bias is an alias (lanes_linear.c); rows of constant zeros are dropped
//   - a lane that no output needs is not computed
//   - equal lanes are computed once, where a function repeats a product (lane_number.h)
//
// The function is rebuilt with only the remaining lanes of each node (lane_need.c), and once more: what became constant
// or another's name leaves fewer of them needed.
#include "lanes.h"
#include "float_bits.h"
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- elementwise

// Another name for the result, or node NULL.
static LaneRef alias_of(const Node *n, const LaneRef *in)
{
    const LaneRef none = {NULL, 0};
    if (n->type.dtype != T_F32) return none;
    switch ((int)n->op) {
    case OP_add: return is_value(in[1], 0) ? in[0] : is_value(in[0], 0) ? in[1] : none;
    case OP_sub: return is_value(in[1], 0) ? in[0] : none;
    case OP_mul:
        if (is_value(in[0], 0)) return in[0];
        if (is_value(in[1], 0)) return in[1];
        return is_value(in[1], 1) ? in[0] : is_value(in[0], 1) ? in[1] : none;
    case OP_div: return is_value(in[1], 1) ? in[0] : is_value(in[0], 0) ? in[0] : none;
    case OP_select:
        return lane_is_const(in[0]) ? (lane_value(in[0]) != 0 ? in[1] : in[2]) : lane_same(in[1], in[2]) ? in[1] : none;
    default: return none;
    }
}

static bool minus_inf_plus(const Node *n, const LaneRef *in)
{
    if (n->op == OP_add) return is_value(in[0], -INFINITY) || is_value(in[1], -INFINITY);
    return n->op == OP_sub && is_value(in[0], -INFINITY);
}

static double const_result(const Node *n, const LaneRef *in)
{
    Node one = *n, c[3];
    const Node *ops[3];
    double v[3];
    for (int k = 0; k < n->n_in; k++) {
        v[k] = lane_value(in[k]);
        c[k] = (Node){.op = OP_constant, .type = type_make(T_F64, 0, NULL), .data = &v[k]};
        ops[k] = &c[k];
    }
    one.type = type_make(n->type.dtype, 0, NULL);
    one.in = ops;
    const double *none[3] = {0};
    double out = 0;
    eval_node(&one, 1, none, &out);
    return out;
}

static LaneKey elementwise_key(const Node *n, const LaneRef *in)
{
    LaneKey key = lane_key_start((uint64_t)n->op * 8 + (uint64_t)n->type.dtype);
    lane_key_word(&key, bits_of(n->alpha));
    for (int k = 0; k < n->n_in; k++) lane_key_lane(&key, in[k]);
    return key;
}

// Is some lane of this constant one that alias_of and minus_inf_plus look for?
static bool is_plain(const Node *c)
{
    int64_t lanes = type_lanes(c->type);
    for (int64_t i = 0; i < lanes; i++) {
        double v = const_at(c, i);
        if (v == 0 || v == 1 || v == -INFINITY) return false;
    }
    return true;
}

// Where no lane can become anything but n of its operands' lanes, and they stand whole: no look at single lanes.
static bool rebuild_as_it_is(Lanes *s, const Node *n)
{
    int64_t lanes = type_lanes(n->type);
    bool any = false; // an operand that is no constant
    if (s->numbers || n->op == OP_select) return false;
    if (memchr(s->need + s->env->base[n->id], false, (size_t)lanes)) return false;
    for (int k = 0; k < n->n_in; k++) {
        if (node_is_const(n->in[k]) && !is_plain(n->in[k])) return false;
        any = any || !node_is_const(n->in[k]);
    }
    const Node *ops[3];
    for (int k = 0; k < n->n_in && any; k++)
        if (node_is_const(n->in[k])) lane_env_get(s->env, (LaneRef){n->in[k], 0}); // constants come first
    for (int k = 0; k < n->n_in && any; k++) any = (ops[k] = lane_env_row(s->env, n->in[k], lanes)) != NULL;
    if (!any) return false;
    const Node *now = lanes_apply(s->b, n, ops);
    if (type_lanes(now->type) == lanes) lane_env_set_all(s->env, n, now);
    for (int64_t i = 0; i < lanes && type_lanes(now->type) < lanes; i++)
        lane_env_set(s->env, (LaneRef){n, i}, (LaneRef){now, 0});
    return true;
}

// The lanes of a node that are computed.
typedef struct {
    LaneRef *in[3];
    int64_t *lanes, n;
    LaneKey *keys; // or NULL
} Kept;

// Lane i, of these operands, is a constant or stands already; else it is kept.
static void rebuild_lane(Lanes *s, const Node *n, int64_t i, const LaneRef *now, Kept *kept)
{
    LaneRef other = alias_of(n, now);
    bool constant = true;
    for (int k = 0; k < n->n_in; k++) constant = constant && lane_is_const(now[k]);
    if (kept->keys) kept->keys[kept->n] = elementwise_key(n, now);
    if (kept->keys && !constant && !other.node) other = lane_numbers_find(s->numbers, kept->keys[kept->n]);
    if (constant)
        set_const(s, n, i, const_result(n, now));
    else if (minus_inf_plus(n, now))
        set_const(s, n, i, -INFINITY);
    else if (other.node)
        lane_env_set(s->env, (LaneRef){n, i}, other);
    else {
        for (int k = 0; k < n->n_in; k++) kept->in[k][kept->n] = now[k];
        kept->lanes[kept->n++] = i;
    }
}

static void build_kept(Lanes *s, const Node *n, const Kept *kept)
{
    const Node *ops[3];
    for (int k = 0; k < n->n_in; k++) ops[k] = lanes_gather(s->b, kept->in[k], kept->n);
    const Node *now = lanes_apply(s->b, n, ops);
    bool whole = kept->n == type_lanes(n->type) && type_lanes(now->type) == kept->n;
    if (whole) lane_env_set_all(s->env, n, now);
    for (int64_t j = 0; j < kept->n && (kept->keys || !whole); j++) {
        LaneRef lane = {now, type_lanes(now->type) == 1 ? 0 : j};
        if (!whole) lane_env_set(s->env, (LaneRef){n, kept->lanes[j]}, lane);
        if (kept->keys) lane_numbers_put(s->numbers, kept->keys[j], lane_canonical(lane.node, lane.lane));
    }
}

static void rebuild_elementwise(Lanes *s, const Node *n)
{
    if (rebuild_as_it_is(s, n)) return;
    int64_t lanes = type_lanes(n->type);
    Kept kept = {.lanes = heap_array(lanes, sizeof *kept.lanes)};
    if (s->numbers) kept.keys = heap_array(lanes, sizeof *kept.keys);
    for (int k = 0; k < n->n_in; k++) kept.in[k] = heap_array(lanes, sizeof **kept.in);
    for (int64_t i = 0; i < lanes; i++) {
        if (!needed(s, n, i)) continue;
        LaneRef now[3];
        for (int k = 0; k < n->n_in; k++) now[k] = lane_env_get(s->env, lane_operand(n, k, i));
        rebuild_lane(s, n, i, now, &kept);
    }
    if (kept.n) build_kept(s, n, &kept);
    for (int k = 0; k < n->n_in; k++) free(kept.in[k]);
    free(kept.lanes);
    free(kept.keys);
}

// ---- the rest

static void rebuild_whole(Lanes *s, const Node *n)
{
    const Node *in[2];
    for (int k = 0; k < n->n_in; k++) in[k] = lane_env_value(s->env, n->in[k]);
    lane_env_set_all(s->env, n, build_like(s->b, n, in));
}

// Whole, on the very weights of the product that it is the adjoint of.
static void rebuild_linear_t(Lanes *s, const Node *n)
{
    const Node *x = lane_env_value(s->env, n->in[0]), *w = matrix_part(s->b, n->in[1], 0, NULL, 0, NULL);
    lane_env_set_all(s->env, n, build_linear_t(s->b, x, w));
}

static bool any_needed(const Lanes *s, const Node *n)
{
    int64_t lanes = type_lanes(n->type);
    for (int64_t i = 0; i < lanes; i++)
        if (needed(s, n, i)) return true;
    return false;
}

static void rebuild(Lanes *s, const Node *n)
{
    if (n->op == OP_move || n->op == OP_constant || (n->op != OP_input && !any_needed(s, n))) return;
    builder_origin(s->b, n->origin);
    switch (op_info(n->op)->kind) {
    case KIND_LEAF: lane_env_set_all(s->env, n, build_input(s->b, n->name, n->type)); break;
    case KIND_MOVE: break;
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY: rebuild_elementwise(s, n); break;
    case KIND_LINEAR: rebuild_linear(s, n); break;
    case KIND_LINEAR_T: rebuild_linear_t(s, n); break;
    case KIND_REDUCE: rebuild_reduce(s, n); break;
    case KIND_MATMUL:
    case KIND_TAKE: rebuild_whole(s, n); break;
    }
}

// What is known of lanes is as large as the function, and goes with its arena.
static const Function *rebuild_function(Context *cx, const Function *f, bool number)
{
    Builder *b = builder_new(cx, f->name);
    Context scratch = {.arena = arena_new(), .diag = cx->diag};
    Lanes s = {b, lane_env_new(&scratch, f, b), lanes_needed(&scratch, f),
               number ? lane_numbers_new(&scratch, f) : NULL};
    for (int i = 0; i < f->n_inputs; i++) rebuild(&s, f->inputs[i]);
    for (int i = 0; i < f->n_nodes; i++)
        if (f->nodes[i]->op != OP_input) rebuild(&s, f->nodes[i]);
    builder_origin(b, NULL);
    for (int i = 0; i < f->n_outputs; i++) {
        const Node *n = f->outputs[i].node;
        int64_t lanes = type_lanes(n->type);
        LaneRef *refs = ARENA_ARRAY(scratch.arena, LaneRef, lanes + 1);
        for (int64_t k = 0; k < lanes; k++) refs[k] = lane_env_lane(s.env, n, k);
        build_output(b, f->outputs[i].name, lanes_gather_as(b, refs, n->type));
    }
    arena_free(scratch.arena);
    return builder_finish(b);
}

static Module *each_function(const Module *m, Context *cx, bool number)
{
    const Function **functions = ARENA_ARRAY(scratch_arena(cx), const Function *, m->n_functions);
    for (int i = 0; i < m->n_functions; i++)
        functions[i] = rebuild_function(cx, rebuild_function(cx, m->functions[i], number), number);
    return module_new(cx, m->stage, m->n_functions, functions, m);
}

Module *pass_lanes(const Module *m, Context *cx) { return each_function(m, cx, true); }

// The programs were built from a graph without equal lanes.
Module *pass_narrow(const Module *m, Context *cx) { return each_function(m, cx, false); }
