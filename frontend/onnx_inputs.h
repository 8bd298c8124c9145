// A model's inputs as the importer takes them (onnx_inputs.c).
#pragma once
#include "onnx_import.h"

typedef struct {
    const char *name;
    DType dtype;
    int rank, batch_axis;
    int64_t dim[MAX_RANK]; // -1: symbolic
    const char *symbol[MAX_RANK];
} Input;

typedef struct {
    Input *inputs;
    int n_inputs;
    int64_t rows; // of the instantiation for many: 3, or the number fixed at export; 1: none
    bool fixed;
    bool no_batch; // rows is 1, and a leading 1 of an output is no batch either
} Inputs;

// False after reported errors. no_batch: inputs of fixed shape have none (--no-batch).
bool read_inputs(Context *cx, const Onnx__GraphProto *g, bool no_batch, Inputs *all);
Type input_type(const Input *in, int64_t rows); // in an instantiation for so many rows
