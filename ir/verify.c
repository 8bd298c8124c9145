// The verifier: every rule of the form, as sentences (text.h), and module_verify, which reports them.
//
// node_check has one rule per OpKind and looks at types only. What an op computes is eval.c's matter, not checked here.
#include "text.h"

#include <inttypes.h>

// ---- types

const char *type_check(Arena *arena, Type t)
{
    if ((unsigned)t.dtype > T_BOOL) return "unknown element type";
    if (t.rank < 0 || t.rank > MAX_RANK) return arena_format(arena, "rank %d is not in 0..%d", t.rank, MAX_RANK);
    int64_t lanes = 1;
    for (int i = 0; i < t.rank; i++) {
        if (t.dim[i] < 0) return arena_format(arena, "dim %" PRId64 " is negative", t.dim[i]);
        int64_t dim = t.dim[i] ? t.dim[i] : 1; // dims beside a 0 count, too: strides are their products
        if (dim > MAX_LANES || lanes * dim > MAX_LANES) return arena_format(arena, "more than %d lanes", MAX_LANES);
        lanes *= dim;
    }
    return NULL;
}

static bool same_dims(Type a, Type b, int n)
{
    for (int i = 0; i < n; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

static const char *got(Arena *arena, const char *rule, Type wanted, Type type)
{
    return arena_format(arena, "%s should be %s, not %s", rule, type_text(arena, wanted), type_text(arena, type));
}

static const char *count_rule(Arena *arena, const Node *n, int wanted)
{
    if (n->n_in == wanted) return NULL;
    return arena_format(arena, "%s takes %d operand%s, not %d", op_info(n->op)->name, wanted, wanted == 1 ? "" : "s",
                        n->n_in);
}

// The result's dims are those of `wanted` (whose dtype does not matter).
static const char *result_rule(Arena *arena, const Node *n, Type wanted)
{
    wanted.dtype = n->type.dtype;
    return type_equal(n->type, wanted) ? NULL : got(arena, "the result", wanted, n->type);
}

// ---- one rule per kind

static const char *check_leaf(Arena *arena, const Node *n)
{
    const char *why = count_rule(arena, n, 0);
    if (why) return why;
    if (n->op == OP_input) return n->name && *n->name ? NULL : "an input needs a name";
    int64_t lanes = type_lanes(n->type);
    if (!n->data && lanes) return "a constant without data";
    const uint8_t *flag = n->data;
    for (int64_t i = 0; n->type.dtype == T_BOOL && i < lanes; i++)
        if (flag[i] > 1)
            return arena_format(arena, "element %" PRId64 " of a bool constant is %d, not 0 or 1", i, flag[i]);
    return NULL;
}

static const char *check_move(Arena *arena, const Node *n)
{
    int64_t lanes = type_lanes(n->type), total = 0;
    for (int k = 0; k < n->n_in; k++) {
        if (n->n_in > 1 && (!n->base || n->base[k] != total))
            return arena_format(arena, "the lanes of operand %d do not begin at %" PRId64, k, total);
        total += type_lanes(n->in[k]->type);
    }
    if (total > INT32_MAX) return "the operands have 2^31 lanes or more";
    if (!n->map && total != lanes)
        return arena_format(arena, "without a map %" PRId64 " lanes cannot become %" PRId64, total, lanes);
    for (int64_t i = 0; n->map && i < lanes; i++)
        if (n->map[i] < 0 || n->map[i] >= total)
            return arena_format(arena, "map entry %" PRId64 " is %" PRId32 "; the operands have %" PRId64 " lanes", i,
                                n->map[i], total);
    return NULL;
}

static const char *check_elementwise(Arena *arena, const Node *n, int operands)
{
    const char *why = count_rule(arena, n, operands);
    if (why) return why;
    int64_t lanes = type_lanes(n->type);
    bool full = false;
    for (int k = 0; k < operands; k++) {
        int64_t count = type_lanes(n->in[k]->type);
        full = full || count == lanes;
        if (count != lanes && count != 1)
            return arena_format(arena, "operand %d has %" PRId64 " lanes, the result %" PRId64, k, count, lanes);
    }
    return full ? NULL : arena_format(arena, "no operand has the result's %" PRId64 " lanes", lanes);
}

// x against the side of the weights that it meets.
static const char *check_weights(Arena *arena, Type x, const Node *w, bool transposed)
{
    if (!node_is_const(w))
        return arena_format(arena, "the weights of linear%s are not constant", transposed ? "_t" : "");
    if (w->type.rank != 2 && w->type.rank != 3)
        return arena_format(arena, "weights should be [K,N] or [G,K,N], not %s", type_text(arena, w->type));
    LinearDims d = linear_dims(w->type);
    int64_t in = transposed ? d.n : d.k, lanes = type_lanes(x);
    bool one = lanes == in && !transposed && x.rank < MAX_RANK, own = x.rank > 1 && lanes == in * d.groups;
    if (x.rank < 1 || type_last(x) != in || (d.groups && !one && !own) || (w->type.rank == 3 && !d.groups))
        return arena_format(arena, "x is %s, but the weights are %s", type_text(arena, x), type_text(arena, w->type));
    return NULL;
}

static const char *check_linear(Arena *arena, const Node *n)
{
    if (n->n_in < 2 || n->n_in > 5) return arena_format(arena, "linear takes 2 to 5 operands, not %d", n->n_in);
    const Node *w = n->in[1], *bias = n->n_in > 2 ? n->in[2] : NULL, *add = n->n_in > 3 ? n->in[3] : NULL;
    const Node *scale = n->n_in > 4 ? n->in[4] : NULL;
    const char *why = check_weights(arena, n->in[0]->type, w, false);
    if (why) return why;
    LinearDims d = linear_dims(w->type);
    if (bias && !node_is_const(bias)) return "the bias of linear is not constant";
    if (bias && type_lanes(bias->type) != (d.groups ? d.groups * d.n : d.n))
        return arena_format(arena, "bias is %s, but the weights are %s", type_text(arena, bias->type),
                            type_text(arena, w->type));
    if (add && type_lanes(add->type) != type_lanes(n->type))
        return arena_format(arena, "add is %s, but the result is %s", type_text(arena, add->type),
                            type_text(arena, n->type));
    if (scale && (add || !bias || type_lanes(scale->type) * d.n != type_lanes(n->type)))
        return arena_format(arena, "scale is %s, but the result is %s; it comes with a bias and without add",
                            type_text(arena, scale->type), type_text(arena, n->type));
    return result_rule(arena, n, linear_type(n->in[0]->type, w->type, false));
}

static const char *check_linear_t(Arena *arena, const Node *n)
{
    const char *why = count_rule(arena, n, 2);
    if (!why) why = check_weights(arena, n->in[0]->type, n->in[1], true);
    return why ? why : result_rule(arena, n, linear_type(n->in[0]->type, n->in[1]->type, true));
}

static const char *check_matmul(Arena *arena, const Node *n)
{
    const char *why = count_rule(arena, n, 2);
    if (why) return why;
    Type a = n->in[0]->type, b = n->in[1]->type, wanted = a;
    if (a.rank < 2 || a.rank != b.rank || !same_dims(a, b, a.rank - 2) || type_last(a) != b.dim[b.rank - 2])
        return arena_format(arena, "%s and %s do not fit", type_text(arena, a), type_text(arena, b));
    wanted.dim[a.rank - 1] = type_last(b);
    return result_rule(arena, n, wanted);
}

static const char *check_reduce(Arena *arena, const Node *n)
{
    const char *why = count_rule(arena, n, 1);
    if (why) return why;
    Type wanted = n->in[0]->type;
    if (wanted.rank < 1) return "a scalar has no axis to reduce";
    wanted.rank--;
    return result_rule(arena, n, wanted);
}

// One table per leading index, or one table for all.
static const char *check_take(Arena *arena, const Node *n)
{
    const char *why = count_rule(arena, n, 2);
    if (why) return why;
    Type table = n->in[0]->type, index = n->in[1]->type;
    int64_t K = type_last(table), J = type_last(index);
    if (!table.rank || K < 1) return "the table has no entries";
    int64_t tables = type_lanes(table) / K, rows = J ? type_lanes(index) / J : 0;
    if (tables != 1 && tables != rows)
        return arena_format(arena, "table is %s, but the index is %s", type_text(arena, table),
                            type_text(arena, index));
    return result_rule(arena, n, index);
}

static const char *kind_rule(Arena *arena, const Node *n)
{
    switch (op_info(n->op)->kind) {
    case KIND_LEAF: return check_leaf(arena, n);
    case KIND_MOVE: return check_move(arena, n);
    case KIND_UNARY: return check_elementwise(arena, n, 1);
    case KIND_BINARY: return check_elementwise(arena, n, 2);
    case KIND_TERNARY: return check_elementwise(arena, n, 3);
    case KIND_LINEAR: return check_linear(arena, n);
    case KIND_LINEAR_T: return check_linear_t(arena, n);
    case KIND_MATMUL: return check_matmul(arena, n);
    case KIND_REDUCE: return check_reduce(arena, n);
    case KIND_TAKE: return check_take(arena, n);
    }
    return "unknown kind of op";
}

// Fields that belong to some ops only.
static const char *field_rule(Arena *arena, const Node *n)
{
    const char *name = op_info(n->op)->name;
    bool has_alpha = n->op == OP_leaky_relu || n->op == OP_elu;
    if (!has_alpha && (n->alpha < 0 || n->alpha > 0 || n->alpha != n->alpha))
        return arena_format(arena, "%s has no alpha", name);
    if (n->map && n->op != OP_move) return arena_format(arena, "%s has no map", name);
    if (n->data && n->op != OP_constant) return arena_format(arena, "%s has no data", name);
    for (int k = 0; k < n->n_in; k++)
        if (!n->in[k] && !(n->op == OP_linear && (k == 2 || (k == 3 && n->n_in == 5))))
            return arena_format(arena, "operand %d is missing", k);
    if (n->op == OP_linear && n->n_in == 3 && !n->in[2]) return "operand 2 is missing";
    return NULL;
}

const char *node_check(Arena *arena, const Node *n)
{
    if ((unsigned)n->op >= OP_COUNT) return arena_format(arena, "unknown op number %d", (int)n->op);
    const char *why = type_check(arena, n->type);
    if (!why) why = field_rule(arena, n);
    if (!why && n->op != OP_constant && n->type.dtype == T_F64) why = "only constants are f64; a computed value is f32";
    return why ? why : kind_rule(arena, n);
}

// ---- functions and modules

static bool belongs(const Function *f, const Node *n, int before)
{
    return n->id >= 0 && n->id < before && f->nodes[n->id] == n;
}

static const char *order_rule(Arena *arena, const Function *f, int i)
{
    const Node *n = f->nodes[i];
    if (n->id != i) return arena_format(arena, "its id is %d, but its position is %d", n->id, i);
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && !belongs(f, n->in[k], i))
            return arena_format(arena, "operand %d is not an earlier node of the function", k);
    return NULL;
}

// f->inputs are the input nodes in their order.
static const char *inputs_rule(Arena *arena, const Function *f, const Node **at)
{
    NameTable *names = names_new(arena);
    int count = 0;
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = *at = f->nodes[i];
        if (n->op != OP_input) continue;
        if (count >= f->n_inputs || f->inputs[count] != n) return "is not listed among the inputs, in order";
        void **slot = names_slot(names, n->name, 0);
        if (*slot) return arena_format(arena, "two inputs are called '%s'", n->name);
        *slot = names;
        count++;
    }
    *at = NULL;
    return count == f->n_inputs ? NULL : "an input is listed that is no node of the function";
}

static const char *outputs_rule(Arena *arena, const Function *f)
{
    NameTable *names = names_new(arena);
    for (int i = 0; i < f->n_outputs; i++) {
        const Output *o = &f->outputs[i];
        if (!o->name || !*o->name) return arena_format(arena, "output %d has no name", i);
        if (!o->node || !belongs(f, o->node, f->n_nodes))
            return arena_format(arena, "output '%s' is no node of the function", o->name);
        void **slot = names_slot(names, o->name, 0);
        if (*slot) return arena_format(arena, "two outputs are called '%s'", o->name);
        *slot = names;
    }
    return NULL;
}

const char *function_check(Arena *arena, const Function *f, const Node **at)
{
    for (int i = 0; i < f->n_nodes; i++) {
        const Node *n = *at = f->nodes[i];
        if (!n) return arena_format(arena, "node %d is missing", i);
        const char *why = order_rule(arena, f, i);
        if (!why && n->name && !*n->name) why = "a name is empty";
        if (!why) why = node_check(arena, n);
        if (why) return why;
    }
    const char *why = inputs_rule(arena, f, at);
    return why ? why : outputs_rule(arena, f);
}

static const char *ports_rule(Arena *arena, const char *kind, const Port *ports, int n)
{
    NameTable *names = names_new(arena);
    for (int i = 0; i < n; i++) {
        if (!ports[i].name) return arena_format(arena, "%s port %d has no name", kind, i);
        const char *why = type_check(arena, ports[i].type);
        if (why) return arena_format(arena, "%s port '%s': %s", kind, ports[i].name, why);
        if (ports[i].batch_axis < -1 || ports[i].batch_axis > ports[i].type.rank)
            return arena_format(arena, "%s port '%s': no batch axis %d", kind, ports[i].name, ports[i].batch_axis);
        void **slot = names_slot(names, ports[i].name, 0);
        if (*slot) return arena_format(arena, "two %s ports are called '%s'", kind, ports[i].name);
        *slot = names;
    }
    return NULL;
}

static const char *ports_fit(Arena *arena, const char *kind, const Port *ports, int n, const Function *f, bool outputs)
{
    int count = outputs ? f->n_outputs : f->n_inputs;
    if (n != count) return arena_format(arena, "%d %s ports, but @%s has %d", n, kind, f->name, count);
    for (int i = 0; i < n; i++) {
        Type t = outputs ? f->outputs[i].node->type : f->inputs[i]->type;
        if (type_lanes(t) != type_lanes(ports[i].type))
            return arena_format(arena, "%s port '%s' is %s, but @%s has %s there", kind, ports[i].name,
                                type_text(arena, ports[i].type), f->name, type_text(arena, t));
    }
    return NULL;
}

// The exported graph is @main before derive and @run after it; the ports, if there are any, are its inputs and outputs.
static const char *stage_rule(Arena *arena, const Module *m)
{
    bool derived = m->stage >= STAGE_DERIVED;
    const Function *f = module_function(m, derived ? "run" : "main");
    if (derived && !f) return "a derived module has a function @run, the exported graph";
    if (!f || !(m->n_inputs || m->n_outputs)) return NULL;
    const char *why = ports_fit(arena, "input", m->inputs, m->n_inputs, f, false);
    return why ? why : ports_fit(arena, "output", m->outputs, m->n_outputs, f, true);
}

static const char *pairs_rule(Arena *arena, const char *what, const Property *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!list[i].key || !list[i].value) return arena_format(arena, "%s %d is incomplete", what, i);
    return NULL;
}

const char *module_check(Arena *arena, const Module *m)
{
    if ((unsigned)m->stage > STAGE_LOWERED) return "unknown stage";
    if (m->n_functions < 1) return "a module without functions";
    NameTable *names = names_new(arena);
    for (int i = 0; i < m->n_functions; i++) {
        const Function *f = m->functions[i];
        if (!f || !f->name || !*f->name) return arena_format(arena, "function %d has no name", i);
        void **slot = names_slot(names, f->name, 0);
        if (*slot) return arena_format(arena, "two functions are called @%s", f->name);
        *slot = names;
    }
    const char *why = pairs_rule(arena, "property", m->properties, m->n_properties);
    if (!why) why = pairs_rule(arena, "note", m->notes, m->n_notes);
    if (!why) why = ports_rule(arena, "input", m->inputs, m->n_inputs);
    if (!why) why = ports_rule(arena, "output", m->outputs, m->n_outputs);
    return why ? why : stage_rule(arena, m);
}

static void report(Context *cx, const Function *f, const Node *n, const char *why)
{
    const char *function = f->name ? f->name : "?";
    if (!n) {
        diag_error(cx, NULL, NULL, "func @%s: %s", function, why);
        return;
    }
    const char *op = (unsigned)n->op < OP_COUNT ? op_info(n->op)->name : "?";
    const char *name = n->name ? n->name : arena_format(cx->arena, "%%%d", n->id);
    diag_error(cx, n->origin, NULL, "func @%s, value '%.200s' (%s): %s", function, name, op, why);
}

bool module_verify(const Module *m, Context *cx)
{
    bool right = true;
    for (int i = 0; i < m->n_functions; i++) {
        const Node *at = NULL;
        const char *why = m->functions[i] ? function_check(cx->arena, m->functions[i], &at) : NULL;
        if (!why) continue;
        report(cx, m->functions[i], at, why);
        right = false;
    }
    const char *why = right ? module_check(cx->arena, m) : NULL;
    if (why) diag_error(cx, NULL, NULL, "%s", why);
    return right && !why;
}
