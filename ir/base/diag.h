// Diagnostics: errors and warnings of one compile, collected in order and printed by the driver.
// A user error names file, node, op and reason and says what to do. A stage reports all it finds; the
// driver stops after the first stage with errors. Diag is also how library code (tests, fuzzers) reads them.
#pragma once
#include "arena.h"

#include <stdarg.h>
#include <stdbool.h>

typedef enum { DIAG_ERROR, DIAG_WARNING } DiagKind;

// Where a node came from in the exported file; every field may be NULL. Printed in messages only: these
// strings never enter policy.so.
typedef struct {
    const char *node;   // ONNX node name, or its first output's name
    const char *op;     // ONNX op type
    const char *module; // module path, "blocks.3.s.2"
    const char *source; // the user's own line, "train.py:41, in forward: y = x[:, perm]"
} Origin;

typedef struct {
    DiagKind kind;
    const char *text; // whole message, with file and node, without "error: "
    const char *hint; // what to do, or NULL
} Diagnostic;

typedef struct {
    Arena *arena;
    const char *file; // the model's path as the user wrote it
    Diagnostic *list;
    size_t n, cap;
    size_t errors;
    bool io_error; // an error was about reading or writing a file: exit code 3 instead of 1
} Diag;

// What every stage gets beside its input: memory that lives as long as the compile, memory of shorter lives, and the
// diagnostics. Nothing else is shared.
typedef struct {
    Arena *arena;
    Diag *diag;
    Arena *nodes;   // of the functions under construction: a module's nodes go when the next one stands. NULL: arena
    Arena *scratch; // goes when the pass is done. NULL: arena
} Context;

static inline Arena *nodes_arena(const Context *cx) { return cx->nodes ? cx->nodes : cx->arena; }
static inline Arena *scratch_arena(const Context *cx) { return cx->scratch ? cx->scratch : cx->arena; }

// Report one error at `where` (NULL: the file as a whole). `hint` (NULL: none) is one sentence that says what
// to do. At most 50 errors are kept. The text: "FILE: node 'NAME' (OP): REASON [module; source line]".
void diag_error(Context *cx, const Origin *where, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void diag_warning(Context *cx, const Origin *where, const char *format, ...) __attribute__((format(printf, 3, 4)));
// As diag_error, for a file that cannot be read or written.
void diag_io_error(Context *cx, const char *hint, const char *format, ...) __attribute__((format(printf, 3, 4)));
// Print all, errors first, to `out` (stderr in the driver).
#include <stdio.h>
void diag_print(const Diag *diag, FILE *out);
