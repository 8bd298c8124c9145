// NumPy files: .npy (cli_npy.c, plain C, no dependencies) and .npz (cli_npz.c, zip with stored or deflated members).
// An Array is always C-contiguous and little endian, one of the types below; what had to be converted is said.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NPY_MAX_RANK = 16 };
typedef enum { NPY_F32, NPY_F64, NPY_I64, NPY_BOOL } NpyType;

typedef struct {
    NpyType type;
    int rank;
    size_t dim[NPY_MAX_RANK];
    size_t count;  // elements
    void *data;    // malloc; npy_free
    char said[64]; // what was converted on reading ("float16, Fortran order"), or ""
} Array;

size_t npy_type_size(NpyType type);
const char *npy_type_name(NpyType type);
// Each returns NULL, or a sentence that says what is wrong (and leaves *out empty). `text` is its memory.
typedef struct {
    char text[400];
} NpyError;
const char *npy_parse(const void *bytes, size_t size, Array *out, NpyError *error);
const char *npy_read(const char *path, Array *out, NpyError *error);
// The elements as another type, in place. Float to integer only where every value is a whole number.
const char *npy_convert(Array *a, NpyType type, NpyError *error);
void npy_free(Array *a);
// All files or none: each is written beside its name, synced, then all are renamed.
typedef struct {
    const char *path;
    const Array *array;
} NpyFile;
const char *npy_write_all(const NpyFile *files, size_t n, NpyError *error);

typedef struct {
    char *name; // key, without .npy
    Array array;
} NpzMember;
typedef struct {
    NpzMember *members;
    size_t n;
} Npz;
const char *npz_read(const char *path, Npz *out, NpyError *error);
void npz_free(Npz *npz);
