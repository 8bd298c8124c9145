// Rows from .npz files, for --verify-inputs and --reference: named arrays of double, [rows][lanes].
#pragma once
#include "cli.h"

typedef struct {
    const char *name;
    int64_t lanes;
    const double *data; // NULL: not in the file
} RowKey;

typedef struct {
    const RowKey *keys; // contexts in order (or the graph's inputs), then the keys below (or the graph's outputs)
    int n_keys, n_inputs;
    size_t rows;
} RowFile;

enum {
    KEY_X,
    KEY_Z,
    KEY_NOISE,
    KEY_LOG_DET,
    KEY_LOG_PROB,
    KEY_SCORE,
    KEY_TO_EVENT_X,
    KEY_TO_EVENT_LOG_DET,
    N_FLOW_KEYS
};

// False after reported errors: an unreadable file, an unknown key (the known ones are listed), a wrong shape.
bool rows_read(Session *s, const Build *b, const char *path, RowFile *out);
const double *rows_key(const RowFile *f, int key); // of a flow
// Options for check_flow from a file: its contexts, and x or to_event(z).
bool rows_inputs(Session *s, const Build *b, const char *path, CheckOptions *out);
// The derived programs in double against the file's values; reports errors above the limit, fills b->reference_*.
bool rows_compare(Session *s, Build *b, const char *path);
// One output of a program on rows of double: in[i] is [rows][lanes of input i]. False: there is no such output.
bool eval_output(const Function *f, size_t rows, const double *const *in, const char *output, double *out);
