// Rows from .npz files, for --verify-inputs and --reference: named arrays of double, [rows][lanes].
#pragma once
#include "cli.h"

// Options for check_flow from a file: its contexts, and x or to_event(z).
bool rows_inputs(Session *s, const Build *b, const char *path, CheckOptions *out);
// The derived programs in double against the file's values; reports errors above the limit, fills b->reference_*.
bool rows_compare(Session *s, Build *b, const char *path);
// One output of a program on rows of double: in[i] is [rows][lanes of input i]. False: there is no such output.
bool eval_output(const Function *f, size_t rows, const double *const *in, const char *output, double *out);
