// Blocks of products of few rows: few_block.c makes them, product_few.c calls them.
#pragma once
#include "llvm.h"

enum { MOST_ROWS = 8 };

// Parameters of a block: addresses of the first row's first output, of its input and weight; what to fetch; the
// addresses of what is added behind, or null; where each row is; bytes from weight to weight of the next input; inputs
// and what becomes of `out`.
enum {
    BLOCK_OUT,
    BLOCK_X,
    BLOCK_W,
    BLOCK_FETCH,
    BLOCK_ADD,
    BLOCK_BIAS,
    BLOCK_ROWS,
    BLOCK_W_STEP,
    BLOCK_WHAT,
    BLOCK_PARAMS
};

// BLOCK_WHAT: the number of inputs, and: sums go on from what waits in `out`; it is added to them; so are BLOCK_ADD and
// BLOCK_BIAS; they are multiplied by BLOCK_ADD, a lane, before that. Of chains abreast: the inputs of the last one,
// above LAST_SHIFT.
#define COUNT_MASK (((int64_t)1 << 27) - 1)
#define SCALED ((int64_t)1 << 27)
#define OLD_STARTS ((int64_t)1 << 28)
#define OLD_ADDS ((int64_t)1 << 29)
#define ADDS ((int64_t)1 << 30)
#define BIASED ((int64_t)1 << 31)
enum { LAST_SHIFT = 32 };

// An entry of BLOCK_ROWS, one a row: bytes from the first row in `out`, in x and in BLOCK_ADD.
enum { ROW_OUT, ROW_X, ROW_ADD, ROW_WORDS = 4 };

// rows x vectors of outputs; chains of each, abreast.
typedef struct {
    int rows, units, chains;
} FewShape;
// All weights fit a core's own cache, and a block's columns of them are four lines wide (AVX-512).
bool few_near(const Gen *g);
// Two rows have blocks of their own: near, and where weights are of 16 bits, of which memory brings more than blocks
// for four rows, half of them in vain, can multiply.
bool few_two(const Gen *g, MatrixKind kind);
FewShape few_shape(const Gen *g, MatrixKind kind, int i);
LLVMTypeRef few_block_type(Gen *g);
void few_block_emit(Gen *g, MatrixKind kind, FewShape shape);
int64_t few_weight_bytes(MatrixKind kind);
