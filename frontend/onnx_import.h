// The importer's own header: what onnx_read.c, onnx_tensor.c, onnx_import.c, onnx_graph.c, onnx_call.c, onnx_rows.c
// and the onnx_ops_*.c files share.
//
// A graph is *instantiated* for a number of rows: every symbolic batch dim gets that number, all shapes become
// static, and the build API folds all shape arithmetic. It is done twice: for `batch` rows (the number fixed at
// export, else 3), which records the shape of every value, and for one row, which is the result. Comparing the
// two shapes of a value tells where its batch axis is; comparing the two on numbers proves that rows are
// independent (onnx_rows.c).
#pragma once
#include "frontend.h"
#include "onnx/onnx.pb-c.h"

// ---- onnx_read.c: files
typedef struct {
    Context *cx;
    const ImportOptions *options;
    const char *path;       // of the model, or NULL: external data is refused
    struct DataFile *files; // in the order in which they were needed
    size_t size;            // bytes of all files read: what a model may cost follows from it
    struct Transposed {
        struct Transposed *next;
        const void *from, *to;
    } *transposed; // weights that both instantiations transpose are transposed once
} Source;

Onnx__ModelProto *onnx_parse(Context *cx, const void *bytes, size_t size);
// `length` bytes at `offset` of an external data file; length -1: to its end. NULL after a reported error.
const unsigned char *source_bytes(Source *source, const char *location, int64_t offset, int64_t length, int64_t wanted,
                                  const char *tensor);
// As onnx_load_bytes; `source` holds path, options and size, and afterwards what else was read.
Module *onnx_load_source(Context *cx, const void *bytes, Source *source);
// Unpack a message from unknown fields of `base` with this number; NULL if there is none.
const ProtobufCMessageUnknownField *unknown_field(const ProtobufCMessage *base, uint32_t number, int nth);
const char *unknown_string(Arena *arena, const ProtobufCMessage *base, uint32_t number);

// ---- onnx_tensor.c: TensorProto -> type and elements
typedef struct {
    Type type;
    const void *data;
} Elements;

bool tensor_elements(Source *source, const Onnx__TensorProto *t, const Origin *where, Elements *out);
const char *onnx_type_name(int data_type);
bool onnx_dtype(int data_type, DType *out); // false: a type that nfcc does not read
int onnx_int_bits(int data_type);           // width of an integer type, negative if signed; 0: not an integer

// ---- values
typedef enum { VALUE_ABSENT, VALUE_TENSOR, VALUE_SEQUENCE, VALUE_BROKEN, VALUE_LAZY } ValueKind;

// NonZero of a computed mask selects a number of elements that depends on data. Such an index list, and every value
// made from it, is kept as if the mask were true everywhere, so that its shape is static, and carries the mask.
// Scattering by that list chooses by the mask, and the result is an ordinary value again. onnx_import.c proves on
// numbers, with the real selection, that nothing else came of it. A selection from selected elements (a list's NonZero)
// has the mask of both; scattering by it ends the inner one, and the result carries the outer mask again.
typedef struct Value Value;
struct Value {
    ValueKind kind;
    const Node *node;                // TENSOR
    const Type *many;                // TENSOR: its shape in the instantiation for `many_rows`, or NULL
    const Node *mask;                // TENSOR: holds only where this mask does; NULL: everywhere
    const Value *items;              // SEQUENCE
    int n_items;                     // SEQUENCE
    const Onnx__TensorProto *tensor; // LAZY: an initializer that nobody has read yet
};

// ---- an instantiation
typedef struct Record {
    uint64_t key;
    const char *name;
    Type type;
    int64_t choice; // under the name "": If: branch taken; Loop: trip count
} Record;

typedef struct {
    Record *table;
    size_t n, cap;
} Records;

typedef struct Scope Scope;

typedef struct {
    Context *cx;
    Builder *b;
    Source *source;
    const Onnx__ModelProto *model;
    int64_t rows;          // instantiated for
    int64_t many_rows;     // of the instantiation that `many` recorded
    int64_t suggested;     // a batch size that seems to be written into the graph, found where shapes did not fit
    bool no_batch;         // the graph is one row as it stands
    bool fixed;            // many_rows was fixed at export: shapes and constants of the file may carry it
    Records *record;       // filled, or NULL
    const Records *many;   // read, or NULL
    int64_t lanes;         // made so far
    int64_t steps;         // nodes executed so far
    double work;           // multiplications of computed values in products
    bool numbers;          // inputs are numbers, so indices that are computed are constants: clamped, as computed ones
    bool masked;           // a computed mask selects elements somewhere
    struct Nested *nested; // masks of selections from selected elements
    int n_nested, cap_nested;
    bool trace; // every computed value becomes an output (to find the node that mixes rows)
    struct Traced *traced;
    int n_traced, cap_traced;
} Importer;

// A value that tracing made an output, in order of execution.
typedef struct Traced {
    uint64_t key;
    const Origin *origin;
} Traced;

// ---- one node being imported (onnx_call.c)
typedef struct {
    Importer *im;
    Builder *b;
    const Onnx__NodeProto *node;
    const Origin *origin;
    Scope *scope;
    uint64_t key; // of this execution
    int opset;
    int n_in, n_out;
    Value *in, *out;
    const Node *mask;            // what the operands carry, and so the results, unless the importer clears it
    uint64_t read_in, read_attr; // operands and attributes that were asked for: any other present one is an error
    bool failed, quiet;          // quiet: depends on a node that failed
} Call;

// Report at this node, once; later calls are ignored. Always NULL, so that importers can return it.
#define DAMAGED "the file is damaged; export it again" // the hint where no exporter writes such a node
void *fail(Call *c, const char *hint, const char *format, ...) __attribute__((format(printf, 3, 4)));
Arena *call_arena(const Call *c);

const Node *arg(Call *c, int i);      // tensor operand; NULL after an error
const Node *optional(Call *c, int i); // or NULL if absent
bool has_arg(Call *c, int i);
void result(Call *c, int i, const Node *node); // NULL: nothing is set
void result_value(Call *c, int i, Value v);
// The first k positions of each line of computed values, sorted (onnx_ops_sort.c): i64[..., k]. Of equal ones the
// earlier first, or the later.
const Node *sorted_positions(Call *c, const Node *lines, int64_t k, bool largest, bool last_first);
// The mask of the elements from which those of `mask` were selected; NULL: from all.
const Node *outer_mask(const Importer *im, const Node *mask);
// The mask of elements of a list that carries `outer` for which `inner` holds, too; NULL after an error.
const Node *nested_mask(Call *c, const Node *outer, const Node *inner);

typedef struct {
    int64_t n;
    int64_t *v;
} Ints;

// Operand that must be known at import: shapes, axes, indices. `what` names it in the error.
bool ints_arg(Call *c, int i, const char *what, Ints *out);
bool int_arg(Call *c, int i, const char *what, int64_t *out);
bool real_arg(Call *c, int i, const char *what, double *out); // one constant number

const Onnx__AttributeProto *attr(Call *c, const char *name);
int64_t attr_int(Call *c, const char *name, int64_t otherwise);
double attr_real(Call *c, const char *name, double otherwise);
const char *attr_text(Call *c, const char *name, const char *otherwise);
bool attr_ints(Call *c, const char *name, Ints *out); // false: absent

bool axis_of(Call *c, int64_t axis, int rank, int *out); // negative from the end; error if outside
// Axes of attribute `axes` or operand i (absent: n = -1), normalised and distinct.
bool axes_of(Call *c, int operand, int rank, Ints *out);
static inline int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }
bool rank_fits(Call *c, int64_t rank); // false after an error: more than MAX_RANK
// A small file must not become a large compile: true if a value of these dims may be built; false after an error.
bool affordable(Call *c, int rank, const int64_t *dim);
// Counts lanes beyond the results, which are counted when they are bound, and multiplications.
bool charge(Call *c, int64_t lanes);
bool charge_work(Call *c, double multiplications);
bool step(Call *c); // one iteration of a loop; false after too many
int64_t most_steps(const Importer *im);

// Batch axis of operand i at one row: its dim is 1/many_rows of the recorded one. -1: none or unknown.
int batch_axis(const Call *c, int i);
// The dim of operand i in the instantiation for many rows; the own dim if unknown.
int64_t many_dim(const Call *c, int i, int axis);
// True if the axis of operand i carries the batch: it has many_rows times fewer elements than for many rows.
bool shrinks(const Call *c, int i, int axis);
// Operand i of n that broadcast (or have equal ranks), without the rows that a fixed batch wrote into constants.
const Node *unbaked(Call *c, int n, int i, const Node *x);
// Type of result i in the instantiation for many rows, or NULL.
const Type *many_result(const Call *c, int i);

// Elementwise operands 0..n-1, made to broadcast (rows of baked constants cut), shapes checked.
bool operands(Call *c, int n, const Node **out);
bool broadcast_ok(Call *c, int n, const Node *const *in, Type *out);

// ---- onnx_ops_*.c, shared between them
static inline const Node *number(Call *c, double v) { return build_scalar(c->b, v); }
static inline const Node *op2(Call *c, Op op, const Node *x, const Node *y) { return build_binary(c->b, op, x, y); }
const Node *cast_real(Call *c, const Node *x);
const Node *checked_reshape(Call *c, const Node *x, int rank, const int64_t *dim);
const Node *checked_broadcast(Call *c, const Node *x, int rank, const int64_t *dim);
// out lane = source(user, index), over the operands' concatenated lanes.
typedef int64_t (*LaneOf)(const void *user, const int64_t *index);
const Node *remap(Call *c, Type type, int n_in, const Node *const *in, LaneOf source, const void *user);
// Strides of a tensor, and what Pad and Trilu add: where the result starts in it, and the lane outside it.
typedef struct {
    Type from;
    int64_t stride[MAX_RANK], before[MAX_RANK];
    int mode; // of Pad
    int64_t fill;
} Frame;
Frame frame_of(const Node *x);
Type real_type(const Node *x); // its type, f32 for f64

// ---- onnx_ops_index.c: index lists. A negative index counts from the end (-1 is the last).
const Node *gathered(Call *c, const Node *x, const Node *index, int axis); // Gather; indices constant or computed
bool index_in_range(Call *c, int64_t *index, int64_t n);                   // from the start then; false: outside
const Node *index_from_start(Call *c, const Node *index, int64_t n);       // the same of computed ones
bool index_fits(Call *c, const Node *x, const Node *index, int axis);      // of as many dims, inside x but along axis
// Constant index tuples [..., r] into the leading dims of x (after batch_dims): first lane of each, or NULL.
int64_t *index_lanes(Call *c, const Node *x, const Node *index, int batch_dims, int64_t *count);
// Index tuples of a fixed batch name its rows in column k: only those of the kept rows stay. The axis that was cut is
// returned in *axis (-1: none).
const Node *index_of_kept_rows(Call *c, const Node *index, int64_t k, int64_t rows, int64_t kept, int *axis);

// x w (+ bias) whether w is constant or not: x[..., M, K], w[K, N] or [..., K, N].
const Node *product(Call *c, const Node *a, const Node *w);
const Node *inverse_of(Call *c, const Node *x); // of x[..., n, n] (onnx_ops_matrix.c); NULL: none, which is reported
const Node *swapped(Call *c, const Node *x);    // last two axes; constant weights once for both instantiations
bool finite_weights(Call *c, const Node *w, const char *what);
// x with `axes` moved last and merged into one: [kept..., n]; and back, with dims 1 (or `full` dims) there.
typedef struct {
    int rank, n_kept;
    int perm[MAX_RANK];
    int64_t dim[MAX_RANK]; // of x
    int64_t merged;
} LastAxes;
LastAxes last_axes(const Node *x, int64_t n, const int64_t *axes);
const Node *to_last(Call *c, const Node *x, const LastAxes *l);
const Node *from_last(Call *c, const Node *x, const LastAxes *l); // [kept..., merged] -> dims of x
const Node *mean_last(Call *c, const Node *x);                    // [.., n] -> [.., 1]
const Node *keep_last(Call *c, Op op, const Node *x);             // reduce, last dim 1
const Node *softmax_last(Call *c, const Node *x, bool logarithm);

const Node *limited(Call *c, const Node *x, double low, double high); // min(max(x, low), high)
// y through the activation that the node's attributes name; NULL after an error, y where they name none.
const Node *activated(Call *c, const Node *y);

// ---- onnx_origin.c
const Origin *node_origin(Arena *arena, const Onnx__NodeProto *node);

// ---- onnx_graph.c: scopes and execution
const Onnx__AttributeProto *attribute_of(Arena *arena, const Onnx__NodeProto *node, const Scope *scope,
                                         const char *name); // NULL: the node does not have it
Importer *importer_new(Context *cx, Source *source, const Onnx__ModelProto *model, int64_t rows);
// Executes a subgraph inside the scope of the call.
bool run_subgraph(Call *c, const Onnx__GraphProto *g, int64_t iteration, int n_in, const Value *in, int n_out,
                  Value *out);
// Executes the model's graph; inputs are named as in the graph.
bool run_main(Importer *im, int n_in, const char *const *names, const Value *in, int n_out, Value *out);
// A decision that the instantiation for many rows took, if there was one: both must take the same path.
int64_t agreed(Call *c, int64_t choice);
// For each input of the graph: is it an initializer, too (a default, as old files have them)?
bool *inputs_with_defaults(Arena *arena, const Onnx__GraphProto *g);

// ---- onnx_order.c
// Each node of the model's graphs and functions comes after those whose outputs it reads. Files in such an order, and
// graphs with a cycle, stay as they are.
void order_model(Context *cx, Onnx__ModelProto *model);
// For each node: does an output of the graph need it? The nodes are in order.
bool *live_nodes(Arena *arena, const Onnx__GraphProto *g);

// ---- onnx_ops.c
// The importer of an op, or NULL. `domain` "" is ONNX's own.
typedef void (*ImportOp)(Call *c, int arg);
typedef struct {
    const char *name;
    int first_opset;
    ImportOp import;
    int arg;
} OpRow;
const OpRow *op_row(const char *domain, const char *name);

// ---- onnx_rows.c
typedef struct {
    int output; // that differs
    int row;
    double one, many; // its first differing number computed for one row, and among many
} Mixing;

enum { ROUND_WIDE, ROUND_NEAR, ROUND_POSITIVE, ROUNDS };

// Random numbers for inputs of these types: x[i] as rows of the instantiation for one row, y[i] (malloc'd, as x[i])
// the same numbers for many rows at once.
bool row_numbers(int n, const Type *one, const Type *many, int64_t rows, int round, double **x, double **y);
// True if `many` (for `rows` rows) equals `one` row by row on the numbers of a round.
bool rows_agree(const Function *one, const Function *many, int64_t rows, int round, Mixing *out);

// ---- onnx_read.c
ProtobufCMessage *unknown_message(Arena *arena, const ProtobufCMessageDescriptor *type,
                                  const ProtobufCMessageUnknownField *f);
unsigned char *read_model_file(Context *cx, const char *path, size_t *size);

enum {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_PROD,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_SUM_SQUARE,
    REDUCE_LOG_SUM,
    REDUCE_LOG_SUM_EXP
};
enum {
    ACTIVATION_RELU,
    ACTIVATION_LEAKY_RELU,
    ACTIVATION_THRESHOLDED_RELU,
    ACTIVATION_ELU,
    ACTIVATION_SELU,
    ACTIVATION_HARD_SIGMOID,
    ACTIVATION_SOFTSIGN,
    ACTIVATION_SIGMOID,
    ACTIVATION_TANH,
    ACTIVATION_SOFTPLUS,
    ACTIVATION_CLIP
};
enum { LAYER_RNN, LAYER_LSTM, LAYER_GRU };

#define ONNX(name, first_opset, importer, arg) void import_##importer(Call *c, int a);
#include "onnx_ops.def"
#undef ONNX
// Sizes of n parts along an axis of `total`: given (n >= 0), or equal with a smaller last one.
bool split_sizes(Call *c, int64_t total, int64_t n, const Ints *given, Ints *out);
const Node *concat_checked(Call *c, int n, const Node *const *in, int64_t axis);
