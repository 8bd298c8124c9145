// Frontend: ONNX bytes -> Module. A bounded scan of the wire format (wire_scan.c), protobuf-c (onnx_read.c), the
// importer with one table of ONNX ops (onnx_import.c, onnx_ops.def).
#pragma once
#include "ir.h"

// A tensor of ONNX's test data: a TensorProto in a file of its own.
typedef struct {
    Type type;
    const void *data;  // elements of type.dtype
    const void *proto; // the message
} OnnxTensor;

typedef struct {
    const char *external_data;      // --external-data DIR, or NULL: only the sibling MODEL.onnx.data
    bool allow_nonfinite;           // --allow-nonfinite: NaN and infinite weights are accepted
    bool no_batch;                  // --no-batch: inputs of fixed shape have no batch axis; the whole graph is one row
    const OnnxTensor *const *known; // by number of the graph's input: its value, which makes it a constant; or NULL
    int n_known;
} ImportOptions;

// Read a TensorProto file with the same bounded reader. False after reported errors.
bool onnx_load_tensor(Context *cx, const char *path, OnnxTensor *out);

// Read and import a model file: a Module at STAGE_IMPORTED with the one function @main, which computes one row (batch
// 1). Ports keep the ONNX names and shapes. NULL after reported errors. hash (or NULL) gets the SHA-256 of the
// file, and of the files that hold its external data behind it.
Module *onnx_load(Context *cx, const char *path, const ImportOptions *options, unsigned char hash[32]);
// The same from memory (fuzzing, tests); external data is refused when path is NULL.
Module *onnx_load_bytes(Context *cx, const void *bytes, size_t size, const char *path, const ImportOptions *options);

// Bounded scan: depth <= 64, every length inside its parent, memory after protobuf-c at most 16 * size + 64 MiB.
// NULL if fine, else a sentence.
const char *wire_scan(const void *bytes, size_t size, Arena *arena);
