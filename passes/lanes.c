// lanes: follow single lanes through a function, so that masks, paddings and dead lanes disappear.
//
//   - a lane whose operands are constant is constant; 0 * x = 0 (finite x); -inf + x = -inf
//   - x + 0, x - 0, x * 1, x / 1, select(constant, x, y) are other names of x: an alias, no work
//   - a column of a product with one weight 1 and no bias is an alias; rows of constant zeros are dropped
//   - a lane that no output needs is not computed
//   - equal lanes are computed once, where a function repeats a product (lane_number.h)
//
// The function is rebuilt with only the remaining lanes of each node (lane_need.c), and once more: what became constant
// or another's name leaves fewer of them needed.
#include "float_bits.h"
#include "lane_env.h"
#include "lane_number.h"
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Builder *b;
    LaneEnv *env;
    const bool *need;     // by lane number of env
    LaneNumbers *numbers; // or NULL
} Lanes;

static bool needed(const Lanes *s, const Node *n, int64_t i) { return s->need[s->env->base[n->id] + i]; }

// ---- elementwise

static bool is_value(LaneRef r, double v) { return lane_is_const(r) && lane_value(r) == v; }

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

static void set_const(Lanes *s, const Node *n, int64_t i, double v)
{
    lane_env_set(s->env, (LaneRef){n, i}, (LaneRef){build_scalar(s->b, v), 0});
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

static void rebuild_elementwise(Lanes *s, const Node *n)
{
    if (rebuild_as_it_is(s, n)) return;
    int64_t lanes = type_lanes(n->type), m = 0;
    LaneRef *in[3] = {0};
    LaneKey *keys = s->numbers ? heap_array(lanes, sizeof *keys) : NULL;
    int64_t *kept = heap_array(lanes, sizeof *kept);
    for (int k = 0; k < n->n_in; k++) in[k] = heap_array(lanes, sizeof **in);
    for (int64_t i = 0; i < lanes; i++) {
        if (!needed(s, n, i)) continue;
        LaneRef now[3];
        bool constant = true;
        for (int k = 0; k < n->n_in; k++) {
            now[k] = lane_env_get(s->env, lane_operand(n, k, i));
            constant = constant && lane_is_const(now[k]);
        }
        LaneRef other = alias_of(n, now);
        if (keys) keys[m] = elementwise_key(n, now);
        if (keys && !constant && !other.node) other = lane_numbers_find(s->numbers, keys[m]);
        if (constant)
            set_const(s, n, i, const_result(n, now));
        else if (minus_inf_plus(n, now))
            set_const(s, n, i, -INFINITY);
        else if (other.node)
            lane_env_set(s->env, (LaneRef){n, i}, other);
        else {
            for (int k = 0; k < n->n_in; k++) in[k][m] = now[k];
            kept[m++] = i;
        }
    }
    if (m) {
        const Node *ops[3];
        for (int k = 0; k < n->n_in; k++) ops[k] = lanes_gather(s->b, in[k], m);
        const Node *now = lanes_apply(s->b, n, ops);
        bool whole = m == lanes && type_lanes(now->type) == m;
        if (whole) lane_env_set_all(s->env, n, now);
        for (int64_t j = 0; j < m && (keys || !whole); j++) {
            LaneRef lane = {now, type_lanes(now->type) == 1 ? 0 : j};
            if (!whole) lane_env_set(s->env, (LaneRef){n, kept[j]}, lane);
            if (keys) lane_numbers_put(s->numbers, keys[j], lane_canonical(lane.node, lane.lane));
        }
    }
    for (int k = 0; k < n->n_in; k++) free(in[k]);
    free(kept);
    free(keys);
}

// ---- products

typedef struct {
    int32_t *rows, *cols; // kept rows and columns
    int64_t n_rows, n_cols;
    LaneKey *keys; // of the kept columns, or NULL
} Part;

static LaneRef *linear_inputs(Lanes *s, const Node *n, int64_t tokens, int64_t K)
{
    LaneRef *x = heap_array(tokens * K, sizeof *x);
    for (int64_t i = 0; i < tokens * K; i++) x[i] = lane_env_lane(s->env, n->in[0], i);
    return x;
}

// Row k is dropped where every token's lane is not there (nobody needs it) or the constant 0.
static void choose_rows(Part *p, const LaneRef *x, int64_t tokens, int64_t K)
{
    p->rows = heap_array(K, sizeof *p->rows);
    for (int64_t k = 0; k < K; k++) {
        bool zero = true;
        for (int64_t m = 0; m < tokens && zero; m++) zero = !x[m * K + k].node || is_value(x[m * K + k], 0);
        if (!zero) p->rows[p->n_rows++] = (int32_t)k;
    }
}

// Rows without a weight in the kept columns.
static void drop_rows(const Node *w, Part *p)
{
    int64_t N = w->type.dim[1], kept = 0;
    for (int64_t r = 0; r < p->n_rows; r++) {
        bool weight = false;
        for (int64_t c = 0; c < p->n_cols && !weight; c++) weight = const_at(w, p->rows[r] * N + p->cols[c]) != 0;
        if (weight) p->rows[kept++] = p->rows[r];
    }
    if (p->n_cols) p->n_rows = kept;
}

static LaneRef column_alias(const Node *w, const Part *p, const LaneRef *x, int64_t col, int64_t *count)
{
    LaneRef found = {NULL, 0};
    *count = 0;
    int64_t N = w->type.dim[1];
    for (int64_t r = 0; r < p->n_rows && *count < 2; r++) {
        double v = const_at(w, p->rows[r] * N + col);
        if (v == 0) continue;
        ++*count;
        if (v == 1) found = x[p->rows[r]];
    }
    return found;
}

static bool column_needed(const Lanes *s, const Node *n, int64_t tokens, int64_t N, int64_t col)
{
    for (int64_t m = 0; m < tokens; m++)
        if (needed(s, n, m * N + col)) return true;
    return false;
}

// What column c of the one token is: its non-zero weights, their lanes, the bias and what is added.
static LaneKey column_key(Lanes *s, const Node *n, const Part *p, const LaneRef *x, int64_t c)
{
    int64_t N = n->in[1]->type.dim[1];
    LaneKey key = lane_key_start(OP_linear);
    for (int64_t r = 0; r < p->n_rows; r++) {
        double v = const_at(n->in[1], p->rows[r] * N + c);
        if (v == 0) continue;
        lane_key_word(&key, bits_of(v));
        lane_key_lane(&key, x[p->rows[r]]);
    }
    lane_key_word(&key, bits_of(linear_bias(n, c)));
    if (n->n_in > 3) lane_key_lane(&key, lane_env_lane(s->env, n->in[3], c));
    return key;
}

// Columns that stay; the others become aliases or constants at once.
static void choose_columns(Lanes *s, const Node *n, Part *p, const LaneRef *x, int64_t tokens)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1];
    p->cols = heap_array(N, sizeof *p->cols);
    for (int64_t c = 0; c < N; c++) {
        if (!column_needed(s, n, tokens, N, c)) continue;
        int64_t count = 2;
        LaneRef first = n->n_in > 3 ? (LaneRef){NULL, 0} : column_alias(w, p, x, c, &count);
        bool alias = count == 1 && first.node && linear_bias(n, c) == 0;
        if (count != 0 && !alias) {
            if (p->keys) p->keys[p->n_cols] = column_key(s, n, p, x, c);
            LaneRef same = p->keys ? lane_numbers_find(s->numbers, p->keys[p->n_cols]) : (LaneRef){NULL, 0};
            if (same.node)
                lane_env_set(s->env, (LaneRef){n, c}, same);
            else
                p->cols[p->n_cols++] = (int32_t)c;
            continue;
        }
        for (int64_t m = 0; m < tokens; m++) {
            if (count == 0) {
                set_const(s, n, m * N + c, linear_bias(n, c));
                continue;
            }
            lane_env_set(s->env, (LaneRef){n, m * N + c}, column_alias(w, p, x + m * K, c, &count));
        }
    }
}

static void rebuild_linear(Lanes *s, const Node *n)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], tokens = N ? type_lanes(n->type) / N : 0;
    LaneRef *x = linear_inputs(s, n, tokens, K);
    Part p = {0};
    choose_rows(&p, x, tokens, K);
    if (s->numbers && tokens == 1) p.keys = heap_array(N, sizeof *p.keys);
    choose_columns(s, n, &p, x, tokens);
    drop_rows(w, &p);
    if (p.n_cols && p.n_rows) {
        LaneRef *refs = heap_array(tokens * p.n_rows, sizeof *refs);
        LaneRef zero = {build_scalar(s->b, 0), 0};
        for (int64_t m = 0; m < tokens; m++)
            for (int64_t r = 0; r < p.n_rows; r++) {
                LaneRef lane = x[m * K + p.rows[r]];
                refs[m * p.n_rows + r] = lane.node ? lane : zero;
            }
        int64_t dim[2] = {tokens, p.n_rows};
        const Node *in = lanes_gather_as(s->b, refs, type_make(T_F32, 2, dim));
        const Node *part =
            matrix_part(s->b, w, p.n_rows, p.n_rows == K ? NULL : p.rows, p.n_cols, p.n_cols == N ? NULL : p.cols);
        const Node *now = build_linear(s->b, in, part, linear_bias_part(s->env, n, p.n_cols, p.cols),
                                       linear_add_part(s->env, n, tokens, NULL, p.n_cols, p.cols));
        if (p.n_cols == N) lane_env_set_all(s->env, n, now);
        for (int64_t m = 0; m < tokens && p.n_cols < N; m++)
            for (int64_t c = 0; c < p.n_cols; c++)
                lane_env_set(s->env, (LaneRef){n, m * N + p.cols[c]}, (LaneRef){now, m * p.n_cols + c});
        for (int64_t c = 0; c < p.n_cols && p.keys; c++)
            lane_numbers_put(s->numbers, p.keys[c], lane_canonical(now, c));
        free(refs);
    } else if (p.n_cols && n->n_in > 3) { // nothing is left of the product
        const Node *add = linear_add_part(s->env, n, tokens, NULL, p.n_cols, p.cols),
                   *bias = linear_bias_part(s->env, n, p.n_cols, p.cols);
        const Node *now = bias ? build_binary(s->b, OP_add, add, bias) : add;
        for (int64_t m = 0; m < tokens; m++)
            for (int64_t c = 0; c < p.n_cols; c++)
                lane_env_set(s->env, (LaneRef){n, m * N + p.cols[c]}, (LaneRef){now, m * p.n_cols + c});
    }
    free(x);
    free(p.rows);
    free(p.cols);
    free(p.keys);
}

// ---- reductions and the rest

static double reduce_neutral(Op op)
{
    return op == OP_reduce_sum ? 0 : op == OP_reduce_prod ? 1 : op == OP_reduce_max ? -INFINITY : INFINITY;
}

enum { MOST_SIZES = 4, LITTLE = 8 };

// Rows of many different lengths (a causal mask) stay one reduction: they keep neutral constants.
static void pad_rows(Lanes *s, LaneRef *refs, int64_t *count, int64_t outer, int64_t K, double neutral)
{
    int64_t sizes[MOST_SIZES], n = 0;
    for (int64_t o = 0; o < outer; o++) {
        int64_t k = 0;
        while (k < n && sizes[k] != count[o]) k++;
        if (k < n || !count[o]) continue;
        if (n < MOST_SIZES) {
            sizes[n++] = count[o];
            continue;
        }
        LaneRef pad = {build_scalar(s->b, neutral), 0};
        for (o = 0; o < outer; o++)
            while (count[o] && count[o] < K) refs[o * K + count[o]++] = pad;
    }
}

// Rows of a few lengths that with all their constants are little more stay one reduction, each lane in its place: a
// pool's windows at a picture's border, whose lanes then run on evenly.
static bool little_more(const int64_t *count, int64_t outer, int64_t K)
{
    int64_t all = 0, rows = 0, most = 0, least = K;
    for (int64_t o = 0; o < outer; o++) {
        if (!count[o]) continue;
        all += count[o];
        rows++;
        if (count[o] > most) most = count[o];
        if (count[o] < least) least = count[o];
    }
    return most > least && rows * K * LITTLE <= all * (LITTLE + 1);
}

// Outputs grouped by how many of their lanes remain after neutral constants went.
static void rebuild_reduce(Lanes *s, const Node *n)
{
    int64_t K = type_last(n->in[0]->type), outer = type_lanes(n->type);
    double neutral = reduce_neutral(n->op);
    LaneRef *refs = heap_array(outer * K, sizeof *refs);
    int64_t *count = heap_array(outer, sizeof *count), *group = heap_array(outer, sizeof *group);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < K && needed(s, n, o); k++) {
            LaneRef lane = lane_env_lane(s->env, n->in[0], o * K + k);
            if (!is_value(lane, neutral)) refs[o * K + count[o]++] = lane;
        }
    if (little_more(count, outer, K)) {
        for (int64_t o = 0; o < outer; o++)
            for (int64_t k = 0; k < K && count[o]; k++) refs[o * K + k] = lane_env_lane(s->env, n->in[0], o * K + k);
        for (int64_t o = 0; o < outer; o++) count[o] = count[o] ? K : 0;
    }
    pad_rows(s, refs, count, outer, K, neutral);
    for (int64_t size = 0; size <= K; size++) {
        int64_t m = 0;
        for (int64_t o = 0; o < outer; o++)
            if (count[o] == size && needed(s, n, o)) group[m++] = o;
        if (!m) continue;
        for (int64_t j = 0; j < m && size == 0; j++) set_const(s, n, group[j], neutral);
        if (!size) continue;
        LaneRef *part = heap_array(m * size, sizeof *part);
        for (int64_t j = 0; j < m; j++) memcpy(part + j * size, refs + group[j] * K, (size_t)size * sizeof *part);
        int64_t dim[2] = {m, size};
        const Node *now = build_reduce(s->b, n->op, lanes_gather_as(s->b, part, type_make(T_F32, 2, dim)));
        if (m == outer) lane_env_set_all(s->env, n, now);
        for (int64_t j = 0; j < m && m < outer; j++) lane_env_set(s->env, (LaneRef){n, group[j]}, (LaneRef){now, j});
        free(part);
    }
    free(refs);
    free(count);
    free(group);
}

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
