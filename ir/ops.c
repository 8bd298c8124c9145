// The op table expanded, and small facts about types, constants and modules.
#include "ir.h"

#include <string.h>

static const OpInfo INFO[OP_COUNT] = {
#define BIJ true
#define FIX false
#define DIFF true
#define FLAT false
#define OP(id, kind, flow, slope, meaning) [OP_##id] = {#id, KIND_##kind, flow, slope, meaning},
#include "ops.def"
#undef OP
#undef BIJ
#undef FIX
#undef DIFF
#undef FLAT
};

const OpInfo *op_info(Op op) { return &INFO[op]; }

bool op_elementwise(Op op)
{
    OpKind kind = INFO[op].kind;
    return kind == KIND_UNARY || kind == KIND_BINARY || kind == KIND_TERNARY;
}

const char *dtype_name(DType dtype)
{
    static const char *const names[] = {[T_F32] = "f32", [T_F64] = "f64", [T_I64] = "i64", [T_BOOL] = "bool"};
    return names[dtype];
}

size_t dtype_size(DType dtype)
{
    switch (dtype) {
    case T_F32: return 4;
    case T_F64:
    case T_I64: return 8;
    case T_BOOL: return 1;
    }
    return 0;
}

Type type_make(DType dtype, int rank, const int64_t *dim)
{
    Type t = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++) t.dim[i] = dim[i];
    return t;
}

Type type_vector(int64_t n) { return type_make(T_F32, 1, &n); }
Type type_scalar(void) { return type_make(T_F32, 0, NULL); }

int64_t type_last(Type t) { return t.rank ? t.dim[t.rank - 1] : 1; }

bool type_equal(Type a, Type b)
{
    return a.dtype == b.dtype && a.rank == b.rank && !memcmp(a.dim, b.dim, (size_t)a.rank * sizeof a.dim[0]);
}

const char *type_text(Arena *arena, Type t)
{
    const char *text = arena_format(arena, "%s[", dtype_name(t.dtype));
    for (int i = 0; i < t.rank; i++) text = arena_format(arena, "%s%s%lld", text, i ? "," : "", (long long)t.dim[i]);
    return arena_format(arena, "%s]", text);
}

const int64_t *move_bases(Arena *arena, int n_in, const Node *const *in)
{
    if (n_in < 2) return NULL;
    int64_t *base = ARENA_ARRAY(arena, int64_t, n_in);
    for (int k = 1; k < n_in; k++) base[k] = base[k - 1] + (in[k - 1] ? type_lanes(in[k - 1]->type) : 0);
    return base;
}

int move_source(const Node *move, int64_t i, int64_t *lane)
{
    int64_t at = move->map ? move->map[i] : i;
    int low = 0, high = move->base ? move->n_in - 1 : 0;
    while (low < high) { // the last operand that begins at or before
        int middle = (low + high + 1) / 2;
        if (move->base[middle] <= at)
            low = middle;
        else
            high = middle - 1;
    }
    *lane = move->base ? at - move->base[low] : at;
    return low;
}

LinearDims linear_dims(Type w)
{
    const int64_t *d = w.dim + w.rank - 2;
    return (LinearDims){w.rank == 3 ? w.dim[0] : 0, d[0], d[1]};
}

Type linear_type(Type x, Type w, bool transposed)
{
    LinearDims d = linear_dims(w);
    Type t = x;
    if (d.groups > 1 && type_lanes(x) == (transposed ? d.n : d.k)) { // one x for all
        t.rank++;
        for (int i = x.rank; i > 0; i--) t.dim[i] = x.dim[i - 1];
        t.dim[0] = d.groups;
    }
    t.dtype = T_F32;
    t.dim[t.rank - 1] = transposed ? d.k : d.n;
    return t;
}

double linear_bias(const Node *linear, int64_t n)
{
    return linear->n_in > 2 && linear->in[2] ? const_at(linear->in[2], n) : 0;
}

double const_lane(const Node *n, int64_t i) { return const_at(n, type_lanes(n->type) == 1 ? 0 : i); }

int64_t int_of_real(double v)
{
    if (!(v > -9.2e18)) return INT64_MIN;
    return v < 9.2e18 ? (int64_t)v : INT64_MAX;
}

int64_t const_int_at(const Node *n, int64_t i)
{
    return n->type.dtype == T_I64 ? ((const int64_t *)n->data)[i] : int_of_real(const_at(n, i));
}

bool const_is_splat(const Node *n, double *value)
{
    int64_t count = type_lanes(n->type);
    if (!node_is_const(n) || !count) return false;
    double first = const_at(n, 0);
    for (int64_t i = 1; i < count; i++)
        if (!(const_at(n, i) == first)) return false;
    *value = first;
    return true;
}

bool const_number(const Node *n, double *value) { return type_lanes(n->type) <= 65536 && const_is_splat(n, value); }

const Function *module_function(const Module *m, const char *name)
{
    for (int i = 0; i < m->n_functions; i++)
        if (!strcmp(m->functions[i]->name, name)) return m->functions[i];
    return NULL;
}

static const char *value_of(const Property *list, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i].key, key)) return list[i].value;
    return NULL;
}

const char *module_property(const Module *m, const char *key) { return value_of(m->properties, m->n_properties, key); }
const char *module_note(const Module *m, const char *key) { return value_of(m->notes, m->n_notes, key); }

const char *names_of_ports(Context *cx, const Port *ports, int n)
{
    const char *names = "";
    for (int i = 0; i < n; i++) names = arena_format(cx->arena, "%s%s%s", names, i ? ", " : "", ports[i].name);
    return names;
}

Module *module_with_note(Context *cx, const Module *m, const char *key, const char *value)
{
    Module *out = arena_copy(cx->arena, m, sizeof *m);
    Property *list = ARENA_ARRAY(cx->arena, Property, m->n_notes + 1);
    int n = 0;
    for (int i = 0; i < m->n_notes; i++)
        if (strcmp(m->notes[i].key, key)) list[n++] = m->notes[i];
    list[n++] = (Property){key, value};
    out->notes = list;
    out->n_notes = n;
    return out;
}

Module *module_new(Context *cx, Stage stage, int n, const Function *const *functions, const Module *like)
{
    Module *m = ARENA_NEW(cx->arena, Module);
    if (like) *m = *like;
    m->stage = stage;
    m->functions = arena_copy(cx->arena, functions, (size_t)n * sizeof *functions);
    m->n_functions = n;
    return m;
}
