// What the files of products share: a block under construction, its loads, chains and results.
#pragma once
#include "llvm.h"

enum { MOST_SUMS = 64, FEW_INPUTS = 16 }; // FEW_INPUTS: a block takes no longer to multiply than to load and store

// Weights of 16 bits that a pass over K expands beside its multiplications: columns of `w` from input `first` on.
typedef struct {
    Operand w;
    int64_t w_stride; // from input to input
    Value first, to;  // to: NULL: none
    Value inputs;     // 0 or 1 for each of the pass
} Expansion;

typedef struct {
    int m, n, v;
    int last;     // floats of the last unit to store (T = 1)
    Operand x, w; // at the block's first token and output
    Value row;    // first row
    Value ahead;  // what this pass over K has to fetch begins here, `fetched` bytes for each k; NULL: nothing
    Value fetched;
    const Operand *tokens; // windows: each token's first lane; x is not used
    Value tap;             // windows: the lane of the input that has its turn
    Value column;          // diagonal: how far its first outputs' inputs are from those of output 0
    const Value *inputs;   // T = 1: by token, some neighbouring inputs, of which number `input` has its turn; or NULL
    int input;
    Operand add, bias, out;
    Expansion next;
} Block;

static inline int sums_of(const Block *b) { return b->m * b->n * b->v; }
static inline int unit_lanes(const Gen *g) { return g->tile == 1 ? g->width : 1; }

enum { MOST_TOKENS = 6 };

// ---- product.c
Value row_at(Gen *g, const Block *b, int v);
// Unit n of an operand of outputs, row vector v.
Value load_unit(Gen *g, const Block *b, Operand o, int n, int v);
// All chains go on for `count` inputs from k on; `maybe`: count may be 0.
void run_chains(Gen *g, const Product *p, const Block *b, int chains, Value k, Value count, bool maybe, Value *sum);
// One chain from +0 over `count` inputs from k on, added to the total.
void one_block(Gen *g, const Product *p, const Block *b, Value k, Value count, Value *total);
// The next rows of a block, from input `first` on; what it has to fetch begins at `ahead`.
Loop pass_begin(Gen *g, const Product *p, Block *b, Value ahead, Value first);
void finish_sums(Gen *g, const Product *p, const Block *b, Value *sum); // what becomes of them behind the product
void store_unit(Gen *g, const Product *p, const Block *b, int m, int n, int v, Value sum);

// ---- product_fetch.c
bool has_inputs(const Product *p, uint64_t most); // known to be no more
bool prefetches(const Gen *g, const Product *p);
bool hurries(const Gen *g, const Product *p);
// For the block behind `lane` outputs: where what it has to fetch begins.
Value fetch_begin(Gen *g, const Product *p, Block *b, Value lane);
void fetch_rows(Gen *g, const Product *p, Block *b, Value ahead, Value first, Value rows); // for these rows of it
Value fetch_from(Gen *g, const Block *b, Value k); // what is fetched at the next k inputs, NULL: nothing
// By one pass of a loop from k on, which takes `unroll` inputs; b->ahead is the pass's own.
void fetch_pass(Gen *g, const Product *p, const Block *b, Value k, int unroll);

// ---- product_chunks.c
void expand_next(Gen *g, const Product *p, const Block *b, Value k, int unroll);
void chunks_emit(Gen *g, const Product *p, const Block *b, Value ahead);
