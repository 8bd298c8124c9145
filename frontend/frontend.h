// Frontend: ONNX bytes -> Module. A bounded scan of the wire format (wire_scan.c), protobuf-c (onnx_read.c), the
// importer with one table of ONNX ops (onnx_import.c, onnx_ops.def).
#pragma once
#include "ir.h"

typedef struct {
    const char *external_data; // --external-data DIR, or NULL: only the sibling MODEL.onnx.data
    bool allow_nonfinite;      // --allow-nonfinite: NaN and infinite weights are accepted
} ImportOptions;

// Read and import a model file: a Module at STAGE_IMPORTED with the one function @main, which computes one row (batch
// 1). Ports keep the ONNX names and shapes. NULL after reported errors. hash (or NULL) gets the file's SHA-256.
Module *onnx_load(Context *cx, const char *path, const ImportOptions *options, unsigned char hash[32]);
// The same from memory (fuzzing, tests); external data is refused when path is NULL.
Module *onnx_load_bytes(Context *cx, const void *bytes, size_t size, const char *path, const ImportOptions *options);

// Bounded scan: depth <= 64, every length inside its parent, memory after protobuf-c at most 16 * size + 64 MiB.
// NULL if fine, else a sentence.
const char *wire_scan(const void *bytes, size_t size, Arena *arena);
