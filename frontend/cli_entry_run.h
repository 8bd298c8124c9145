// What cli_entry.c (what is asked for) and cli_entry_pieces.c (doing it) share.
#pragma once
#include "cli_entry.h"

#include <stdarg.h>
#include <stdio.h>

enum { DONE, WRONG_MODEL, WRONG_USAGE, IO_FAILED };
enum { TAKES_X = 1, TAKES_Z = 2, DRAWS = 4, ONE_OF_N = 8 }; // ONE_OF_N: outputs are one of the --samples of a row

typedef struct {
    const char *name;
    unsigned bit, takes;
    const char *out[2]; // x, z and score have the event's shape, the others one number
} EntryRow;

typedef struct {
    const char *name; // as the user gives it
    const nfcc_value *value;
    bool needed;
    const char *path; // NULL: not given
    NpyReader file;
    size_t rows;
    void *buffer;                 // rows of a piece that are not taken from the file as they are
    size_t buffer_rows, repeated; // room; and how many times the one row is in it
    bool said;                    // that it holds a NaN or an infinity
} Input;

typedef struct {
    Arena *arena;
    const EntryEngine *engine;
    const EntryRequest *request;
    const EntryRow *entry;
    Input *inputs; // contexts (or the graph's inputs), then x or z
    int n_inputs, n_contexts;
    size_t rows, samples; // N, K (1 where none are asked for)
} Run;

Input *entry_event(const Run *r); // x or z, or NULL
int entry_run_pieces(Run *r);     // computes and writes; an exit code
const char *entry_shape_text(Arena *arena, const char *lead, const size_t *dim, size_t rank); // "[N, 3, 4]"
static inline NpyType entry_type(const nfcc_value *v)
{
    return v->type == NFCC_TYPE_I64 ? NPY_I64 : v->type == NFCC_TYPE_BOOL ? NPY_BOOL : NPY_F32;
}

__attribute__((format(printf, 2, 3))) static inline int fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("nfcc: error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}
