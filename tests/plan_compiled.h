// A made Plan compiled to a policy, run in every way a runtime may call it (each tile size; few rows; PREP of each row
// or shared) and compared with the Plan's interpreter, bit for bit. Files lie in the test's folder (scratch.h).
#pragma once
#include "plan_maker.h"

enum { RUN_ROWS = 64 };

const char *path_in(Context *cx, const char *name); // of a file in the test's folder
void run_command(const char *command);              // or fail
void assert_no_errors(const Maker *m);

// Path of the policy.
const char *compile_plan(Maker *m, const char *backend, const char *triple, const char *cpu, const char *name);

// Compiled by `backend` for a CPU, where this host is one (NULL: the default), run and compared.
void check_cpu(Maker *m, const char *backend, const char *cpu);

// By llvm for every CPU level that this host runs and, under qemu, for aarch64. Frees m.
void check_everywhere(Maker *m);
