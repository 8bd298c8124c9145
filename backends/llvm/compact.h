// Compact weights (abi.h): which there are, and a unit of them in registers.
#pragma once
#include "product.h"

// Sixteens of outputs that the code of one row of tiled products takes at once, or half of them, and so on.
enum { ONE_ROW_UNITS = 4 };

// A group in the code of one row.
typedef struct {
    Value there; // it has an image (i1)
    Value scale; // spread
    Value units; // address of the first unit
    Value bytes; // of the first unit's byte
    Value none;  // not 0 where there is no image (i64)
    Value plain; // address of the first unit that has no image
} CompactGroup;

// ---- compact.c
// `pairs`: words are bfloat16, else f32.
// Of so many units (i64); where the weights are, bytes from there to the image (0: there is none).
CompactGroup compact_group(Gen *g, Value w, Value distance, Value units, bool pairs);
Value compact_is_plain(Gen *g, const CompactGroup *c, Value unit); // it has no image (i1)
// The lines of a unit, whose numbers still are to be multiplied by the scale.
void compact_lines(Gen *g, const CompactGroup *c, Value unit, bool pairs, Value *line);

// ---- product_compact.c: functions for the sums of a group, of one row
// Where they go, the inputs, the group's weights, bytes from there to the image (0: there is none), and how many inputs
// there are: of pairs, 32s of them.
typedef struct {
    Value out, x, w, image, inputs;
} Compact;
// The sums, vectors of outputs. columns: of pairs, as tiles have them; 0: f32.
void compact_sums(Gen *g, int columns, Compact c, Value *sum);
LLVMTypeRef compact_type(Gen *g);
void compact_sums_emit(Gen *g, int columns);
