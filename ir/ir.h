// The IR: Module, Function, Node, Type, the build API, text form, verifier and the double interpreter.
//
// A Function describes ONE row. Every value is a tensor of that row; the batch is implicit, because rows are
// independent (the importer proves it). A per-row scalar of a value is a *lane*. All data movement (slice,
// concat, gather, transpose, reshape, broadcast, masks once normalised) is one op, `move`: a constant lane map.
//
// A node is immutable, has one result, and precedes its users in Function.nodes. Passes read one module and
// build another; build_* checks shapes, folds constants (in double) and shares equal nodes.
#pragma once
#include "base/arena.h"
#include "base/diag.h"

enum { MAX_RANK = 8 };

// Storage of constants; of a computed value F32 stands for "real". Constants folded in double are F64.
typedef enum { T_F32, T_F64, T_I64, T_BOOL } DType;

typedef struct {
    DType dtype;
    int rank;
    int64_t dim[MAX_RANK];
} Type;

typedef enum {
#define OP(id, kind, flow, slope, meaning) OP_##id,
#include "ops.def"
#undef OP
    OP_COUNT
} Op;

typedef enum {
    KIND_LEAF,
    KIND_MOVE,
    KIND_UNARY,
    KIND_BINARY,
    KIND_TERNARY,
    KIND_LINEAR,
    KIND_LINEAR_T,
    KIND_MATMUL,
    KIND_REDUCE,
    KIND_TAKE
} OpKind;

typedef struct {
    const char *name;
    OpKind kind;
    bool bijective, differentiable;
    const char *meaning;
} OpInfo;

const OpInfo *op_info(Op op);
bool op_elementwise(Op op); // UNARY, BINARY or TERNARY

typedef struct Node Node;
struct Node {
    int id; // position in Function.nodes
    Op op;
    Type type;
    int n_in;
    const Node *const *in;
    double alpha;         // leaky_relu, elu
    const int32_t *map;   // move: one source lane per result lane, counted over all operands; NULL: in order
    const int64_t *base;  // move of several operands: where each one's lanes begin in that count; NULL: of one
    const void *data;     // constant: elements of type.dtype (T_BOOL: one byte each)
    const char *name;     // input: its name; else a name for messages and text, or NULL
    const Origin *origin; // where it came from, or NULL
};

typedef struct {
    const char *name;
    const Node *node;
} Output;

typedef struct {
    const char *name;
    const Node *const *nodes;
    int n_nodes;
    const Node *const *inputs; // op input, in order
    int n_inputs;
    const Output *outputs;
    int n_outputs;
} Function;

typedef enum { STAGE_IMPORTED, STAGE_NORMAL, STAGE_DERIVED, STAGE_FUSED, STAGE_LOWERED } Stage;

typedef struct {
    const char *key, *value;
} Property;

// Name and real shape of an input or output of the exported graph, as its user knows it. dims exclude the batch.
typedef struct {
    const char *name;
    Type type;      // dtype: T_I64 and T_BOOL inputs stay so; f16, bf16, f64 are read as T_F32
    int batch_axis; // -1: no batch axis (a shared input)
} Port;

typedef struct {
    Stage stage;
    const Function *const *functions;
    int n_functions;
    const Property *properties; // the model's own metadata_props
    const Property
        *notes; // what was found on the way, for later passes: a .nf file keeps them, a model cannot say them
    int n_properties, n_notes;
    const Port *inputs, *outputs; // of @main, in its order
    int n_inputs, n_outputs;
} Module;

const Function *module_function(const Module *m, const char *name); // or NULL
const char *module_property(const Module *m, const char *key);      // or NULL
const char *module_note(const Module *m, const char *key);          // or NULL
const char *names_of_ports(Context *cx, const Port *ports, int n);  // "a, b", for messages
// m with this note, in place of one of the same key.
Module *module_with_note(Context *cx, const Module *m, const char *key, const char *value);
// Lane i of a move is lane *lane of the operand whose number is returned.
int move_source(const Node *move, int64_t i, int64_t *lane);
// Node.base for these operands; one may be missing.
const int64_t *move_bases(Arena *arena, int n_in, const Node *const *in);

// ---- types
const char *dtype_name(DType dtype); // "f32"
size_t dtype_size(DType dtype);      // bytes of an element of a constant
Type type_make(DType dtype, int rank, const int64_t *dim);
Type type_vector(int64_t n);             // f32[n]
Type type_scalar(void);                  // f32[]
static inline int64_t type_lanes(Type t) // product of the dims
{
    int64_t n = 1;
    for (int i = 0; i < t.rank; i++) n *= t.dim[i];
    return n;
}
int64_t type_last(Type t); // last dim, 1 for a scalar
bool type_equal(Type a, Type b);
const char *type_text(Arena *arena, Type t); // "f32[1,6]"

// ---- constants
// Of a linear's or linear_t's weights w[K, N], or w[G, K, N]: each of G tokens has its own (merge-siblings).
typedef struct {
    int64_t groups, k, n; // groups 0: one matrix for all tokens
} LinearDims;
LinearDims linear_dims(Type w);
// Its result. Where each token has its own weights x has G tokens, or one, which all read (linear alone).
Type linear_type(Type x, Type w, bool transposed);
double linear_bias(const Node *linear, int64_t n); // of output n; 0 where it has none
static inline bool node_is_const(const Node *n) { return n->op == OP_constant; }
int64_t int_of_real(double v);                          // towards zero; what does not fit is the nearest, NaN the least
static inline double const_at(const Node *n, int64_t i) // element i as double
{
    switch (n->type.dtype) {
    case T_F32: return ((const float *)n->data)[i];
    case T_F64: return ((const double *)n->data)[i];
    case T_I64: return (double)((const int64_t *)n->data)[i];
    case T_BOOL: return ((const uint8_t *)n->data)[i];
    }
    return 0;
}
double const_lane(const Node *n, int64_t i);       // the same of a constant that may be one lane for all
int64_t const_int_at(const Node *n, int64_t i);    // element i as integer
bool const_is_splat(const Node *n, double *value); // all elements equal
bool const_number(const Node *n, double *value);   // the same, of constants small enough to be asked often

// ---- build: a function under construction
typedef struct Builder Builder;
Builder *builder_new(Context *cx, const char *name);
const Function *builder_finish(Builder *b);            // drops nodes that no output needs (inputs stay), renumbers
void builder_origin(Builder *b, const Origin *origin); // of the nodes built from now on
Context *builder_context(Builder *b);

const Node *build_input(Builder *b, const char *name, Type type);
void build_output(Builder *b, const char *name, const Node *node);
const Node *build_const(Builder *b, Type type, const void *data);      // data is not copied; it must outlive the module
const Node *build_scalar(Builder *b, double value);                    // f64[] constant
const Node *build_ints(Builder *b, int64_t n, const int64_t *values);  // i64[n] constant
const Node *build_reals(Builder *b, Type shape, const double *values); // copied; stored as f32 where exact, else f64
// Movement. The map has type_lanes(type) entries, is copied, and may be NULL (lanes in order, counts must agree).
const Node *build_move(Builder *b, Type type, int n_in, const Node *const *in, const int32_t *map);
const Node *build_reshape(Builder *b, const Node *x, int rank, const int64_t *dim);
const Node *build_transpose(Builder *b, const Node *x, const int *perm);
const Node *build_swap_last(Builder *b, const Node *x);                               // the last two axes
const Node *build_broadcast(Builder *b, const Node *x, int rank, const int64_t *dim); // NumPy rules
const Node *build_slice(Builder *b, const Node *x, int axis, int64_t start, int64_t count, int64_t step);
const Node *build_concat(Builder *b, int n_in, const Node *const *in, int axis);
// Elementwise. Operands of unequal shape are broadcast by NumPy rules with moves; one-lane operands stay as they are.
const Node *build_unary(Builder *b, Op op, const Node *x);
const Node *build_alpha(Builder *b, Op op, const Node *x, double alpha);
const Node *build_binary(Builder *b, Op op, const Node *a, const Node *c);
const Node *build_select(Builder *b, const Node *c, const Node *x, const Node *y);
const Node *build_cast(Builder *b, const Node *x, DType dtype); // real to integer truncates; to bool: != 0
const Node *build_linear(Builder *b, const Node *x, const Node *w, const Node *bias,
                         const Node *add); // bias, add: or NULL
// Each token's sums times its own scale, then + bias. What planning makes of a product, a factor and an addend.
const Node *build_scaled_linear(Builder *b, const Node *x, const Node *w, const Node *scale, const Node *bias);
const Node *build_linear_t(Builder *b, const Node *x, const Node *w); // x[..., N] times w[K, N] transposed
const Node *build_matmul(Builder *b, const Node *a, const Node *c);   // leading dims equal
const Node *build_reduce(Builder *b, Op op, const Node *x);           // last axis goes
const Node *build_take(Builder *b, const Node *table, const Node *index);
// Matrices a[m, k, k], k <= MOST_SOLVED, all computed: a^-1 x of x[m, k, r]; the pivots [m, k], whose product times
// sign [m, 1] (or NULL) is the determinant. Both eliminate by the same nodes (build_solve.c).
enum { MOST_SOLVED = 16 };
const Node *build_solve(Builder *b, const Node *a, const Node *x);
const Node *build_pivots(Builder *b, const Node *a, const Node **sign);
// The same node on other operands, of their shapes; used by passes that copy.
const Node *build_like(Builder *b, const Node *n, const Node *const *in);
// The same on what its operands have become, by their ids.
const Node *build_copy(Builder *b, const Node *n, const Node *const *now);

// Module from functions; keeps the ports, properties and notes of `like` (or none).
Module *module_new(Context *cx, Stage stage, int n, const Function *const *functions, const Module *like);

// ---- text form (text_write.c, text_read.c): exact round trip
// Constants of more than 64 elements go to `bin` (NULL: are written as "..." and cannot be read back).
void module_write(const Module *m, FILE *out, FILE *bin, const char *bin_name);
// dir: where FILE.nf.bin is; NULL: refuse them. bin (or NULL): what was read of it, size 0 where no constant is there.
typedef struct {
    const void *data;
    size_t size;
} TextBin;
Module *module_read(Context *cx, const char *text, size_t size, const char *dir, TextBin *bin);

// ---- verifier: every rule of the form. Reports and returns false.
bool module_verify(const Module *m, Context *cx);

// ---- the double interpreter: the meaning of every op, at any stage.
// in[i]: [rows][lanes of input i] row-major; out[i]: [rows][lanes of output i], or NULL where not wanted.
// `probe` (or NULL) sees each node's value, lane-major [lanes][rows].
typedef void (*EvalProbe)(void *user, const Node *n, const double *value, size_t rows);
void eval_function(const Function *f, size_t rows, const double *const *in, double *const *out, EvalProbe probe,
                   void *user);
// Value of one node from its operands' values; all lane-major [lanes][rows]. What folding uses with rows = 1.
void eval_node(const Node *n, size_t rows, const double *const *in, double *out);
// Of one elementwise op on numbers.
double eval_scalar(Op op, double alpha, const double *in);
