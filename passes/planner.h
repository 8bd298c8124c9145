// The parts of planning a function: a Planner builds one Program, a Pool holds the CONST of all. plan.c says how.
#pragma once
#include "pipeline.h"

#include <stddef.h>

// How many weights a product may have ...
enum {
    // ... to read the windows of a picture in place: as many as L2 holds. More come from memory, and there as many
    // tokens as can share their way, which takes windows that are copied (gemm_gathers_tokens); tiles do not.
    MOST_WITH_WINDOWS = 1 << 18,
    // ... to have a second copy, transposed, for its adjoint: it takes room in the file and in caches.
    MOST_TRANSPOSED = 1 << 17
};

// ---- CONST (plan_pool.c)

typedef struct {
    uint64_t hash, size, at;
} Entry;

// A matrix that has been packed: programs share the data of their weights.
typedef struct {
    const void *data; // NULL: free
    int64_t k, n;
    uint32_t at;
} Packed;

typedef struct {
    Arena *arena;
    float *words;
    uint64_t n, cap;
    Entry *entries;
    int n_entries, cap_entries;
    int *table; // open addressing: number of the entry + 1
    size_t table_size;
    Packed *packed; // open addressing, by data
    size_t n_packed, packed_size;
} Pool;

void pool_reserve(Pool *p, uint64_t n);
// First lane of n words, of a constant node, of a packed matrix; equal ones are kept once.
uint32_t pool_put(Pool *p, const void *words, uint64_t n);
uint32_t pool_node(Pool *p, const Node *c);
uint32_t pool_matrix(Pool *p, const Node *w);
uint32_t pool_diagonal(Pool *p, const Node *w); // [G, K, N] as a matrix of all outputs

// ---- the program under construction (plan_steps.c)

// A buffer in WORK; its lanes are assigned when all steps are known.
typedef struct {
    uint32_t lanes, at;
    int first, last; // steps that use it
    int over;        // buffer whose lanes it takes over, or -1
} Buffer;

// Lanes of a value: at an offset of a buffer (SPACE_WORK), or at a lane of PREP or CONST.
typedef struct {
    bool known;
    Space space;
    int buffer;
    uint32_t at;
} Place;

// A regular move: lane i is lane first + i / inner * outer_step + i % inner * inner_step of source.
typedef struct {
    const Node *source; // NULL: not regular
    int64_t first, inner, outer_step, inner_step;
} View;

// A move that products read as windows of a picture (plan_windows.c).
typedef struct {
    const Node *picture, *framed;  // framed: the same with its border, a move that is no node of the function; or NULL
    int64_t lanes, inputs, groups; // groups: of outputs of a place that each have windows, neighbours; else 1
    const int32_t *places, *taps;
    Place at; // of `framed`
} Windows;

// Field `offset` bytes into a step gets the buffer's first lane added.
typedef struct {
    int step, buffer;
    size_t offset;
} Fixup;

// A move step whose tables wait for the buffers' lanes.
typedef struct {
    int step;
    uint32_t n;
    int *buffer; // -1: lane is absolute
    uint32_t *lane, *dst;
} Table;

typedef struct {
    Context *cx;
    const Function *f;
    Pool *pool;
    Buffer *buffers;
    int n_buffers, cap_buffers;
    Step *steps;
    int n_steps, cap_steps;
    Fixup *fixups;
    int n_fixups, cap_fixups;
    Table *tables;
    int n_tables, cap_tables;
    // by node id
    Place *place;
    View *view;        // of moves
    Windows **windows; // of moves, or NULL
    int *level;        // steps before it
    int *unit;         // the node that stands for its step: cluster root, itself, or -1 (view, constant, input)
    bool *stored;      // its lanes must be in memory
    bool *made;        // it is made where it is read
    bool *columns;     // of moves: stored column by column, for reductions
    Place *reserved;   // inside the concatenation that reads it
    int *written;      // step that stores it
    bool grow;         // concatenations may be filled part by part at any lane
    bool tiled;        // products are to be tiled (plan.h): they read windows whatever the size of the matrix
    const Node **grown;
    int n_grown, cap_grown;
    struct Cluster *cluster; // scratch of emit_members
} Planner;

// Buffer b is used by `step`.
void touch_buffer(Planner *p, int buffer, int step);
// Where the step that is built next stores n.
Place store_node(Planner *p, const Node *n);
// Lane of a place for a field of the step that is built next.
uint32_t field_of(Planner *p, Place at, size_t offset);
#define FIELD(p, at, member) field_of((p), (at), offsetof(Step, member))
void put_step(Planner *p, Step step, const Node *n);
int new_buffer(Planner *p, int64_t lanes);
void emit_linear(Planner *p, const Node *n);
void emit_linear_t(Planner *p, const Node *n);
void emit_reduce(Planner *p, const Node *n);
void emit_matmul(Planner *p, const Node *n);
void emit_take(Planner *p, const Node *n);

// ---- moves (plan_moves.c)

View view_of(const Node *m);
bool is_slice(const Planner *p, const Node *m);
// What v is another shape of, or v.
const Node *reshaped(const Planner *p, const Node *v);
// The value whose columns, not lines, a reduction reads, or NULL.
const Node *reduced_across(const Planner *p, const Node *reduction);
// Contiguous lanes of v: computed and stored, a slice of such a value, or a constant.
Place place_of(Planner *p, const Node *v);
void find_columns(Planner *p);
bool grow_parts(Planner *p, const Node *m);
void reserve_parts(Planner *p, const Node *m);
bool parts_in_order(const Planner *p);
void emit_move(Planner *p, const Node *m);
Place emit_extra(Planner *p, const Node *m); // of one that is no node of the function: its id is n_nodes
// The pairs as records (move_runs.c), to be freed; NULL: tables are not much larger.
MoveRun *move_runs(const uint32_t *src, const uint32_t *dst, uint32_t n, uint32_t *count);

// ---- windows of a picture (plan_windows.c)

void find_windows(Planner *p);
// What this operand of a reader is read as, or NULL.
const Windows *windows_read(const Planner *p, const Node *reader, int operand);
Place place_of_windows(Planner *p, const Node *move);

// ---- products with a factor (plan_scale.c)

const Function *with_scales(Context *cx, const Function *f);

// ---- products of diagonal matrices (plan_diagonal.c)

const Function *with_diagonals(Context *cx, const Function *f);
// Does it have a matrix for each block of its outputs of a place?
static inline bool is_diagonal(const Node *linear)
{
    LinearDims d = linear_dims(linear->in[1]->type);
    return d.groups && (d.n == 1 || type_lanes(linear->in[0]->type) > d.groups * d.k);
}

// ---- adjoints of many tokens (plan_adjoint.c)

const Function *with_own_matrices(Context *cx, const Function *f);

// ---- maps (plan_maps.c)

void emit_cluster(Planner *p, const Node *const *members, int n);

// ---- which nodes are steps, and their order (plan_order.c)

void find_levels(Planner *p);
void find_stored(Planner *p);
void find_made(Planner *p);
const Node *centre_of(const Planner *p, const Node *difference);
void emit_units(Planner *p);

// ---- what `nfcc info` says of a denoised policy (march_note.c)

const char *march_note(Context *cx, const Program *act, const Program *to_event);
