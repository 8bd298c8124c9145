// The file that same_bits_plan writes and same_bits_run reads, and the calls that its rows are cut into. The file: a
// SameHeader, then records: a SameRecord and its words of 32 bits, [rows][lanes].
//
// Calls: rows are taken in order, 1 of them, then 2, ... up to `most`, and from 1 again: every size of call and every
// place in a tile. There are two sets of rows: in "own" every row has its own context, in "shared" all rows of a call
// have the context of its first row.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t rows, most;
} SameHeader;

typedef struct {
    char name[32]; // SET.ENTRY.OUTPUT, SET.x, SET.z, SET.context.0; run.in.0, run.out.0
    uint64_t lanes;
} SameRecord;

typedef struct {
    size_t first, rows;
} SameCall;

enum { SAME_SEED = 20 }; // of the noise that z was drawn with, from row 0 on

// The call that follows `c` (start from {0, 0}); its rows are 0 at the end.
static inline SameCall same_next(SameCall c, size_t most, size_t all)
{
    size_t first = c.first + c.rows, rows = c.rows % most + 1;
    return (SameCall){first, first >= all ? 0 : first + rows > all ? all - first : rows};
}
