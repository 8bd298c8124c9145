// What the folder's files share about targets: the level of instructions and what follows from it.
#pragma once
#include "backend.h"

#include "abi.h"

typedef enum { LEVEL_AVX2, LEVEL_AVX512, LEVEL_NEON } Level;

// LEVEL_AVX512 for CPUs that have AVX512_BF16, too: used where weights are bf16, as LEVEL_AVX512 else.
// LEVEL_AMX_BF16 for those that have AMX_BF16 besides: used for tiled products (plan.h), as LEVEL_AVX512_BF16 else.
enum { LEVEL_AVX512_BF16 = LEVEL_NEON + 1, LEVEL_AMX_BF16, LEVELS };

typedef struct {
    Level level;
    const char *isa;       // LLVM's name of the CPU that fixes the instruction set
    const char *tune;      // LLVM's name of the CPU that orders instructions
    const char *llvm;      // LLVM's triple
    const char *emulation; // lld's -m
    const char *debian;    // folder of its libraries
    uint32_t cpu_bits;     // NFCC_CPU_* of abi.h
    int width;             // floats in a vector register
    int sums;              // accumulators of a product that stay in registers
    bool bf16;             // LEVEL_AVX512 with AVX512_BF16's products
    bool tiles;            // and with AMX_BF16's
} TargetInfo;

// Stack that generated code may use; emission fails if a function needs more (llvm/module.c).
enum { STACK_BYTES = 32768 };
// Rows that the code of T = 1 takes at most (abi.h): beside tiles of 16, and where there are none.
enum { FEW_ROWS = 32, MANY_ROWS = NFCC_MOST_FEW };
static inline uint32_t rows_of_one(const TargetInfo *info) { return info->tiles ? MANY_ROWS : FEW_ROWS; }

// Of a resolved target, for matrices that are stored as `type` and products that are tiled or not; `dispatch` is code for
// two levels, of which this is the lesser.
TargetInfo target_info(const Target *target, WeightType type, bool tiled);
bool target_other(const Target *target, WeightType type, TargetInfo *other);

// The emit functions of backends.def.
#define BACKEND(id, emit, meaning)                                                                        \
    const Object *emit(Context *cx, const Plan *plan, const Target *target, const char *symbol, bool one, \
                       const char **ll);
#include "backends.def"
#undef BACKEND
