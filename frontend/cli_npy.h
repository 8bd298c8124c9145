// NumPy files: .npy (cli_npy.c, plain C, no dependencies) and .npz (cli_npz.c, zip with stored or deflated members).
// An Array is always C-contiguous and little endian, one of the types below.
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
    char file[64]; // what the file holds: "float32", "int16, Fortran order, big endian"
} Array;

size_t npy_type_size(NpyType type);
const char *npy_type_name(NpyType type);
// Each returns NULL, or a sentence that says what is wrong (and leaves *out empty). `text` is its memory.
typedef struct {
    char text[400];
} NpyError;
const char *npy_parse(const void *bytes, size_t size, Array *out, NpyError *error);
// The elements as another type, in place. Float to integer only where every value is a whole number.
const char *npy_convert(Array *a, NpyType type, NpyError *error);
void npy_free(Array *a);

// What a file's header says.
typedef struct {
    char order, kind; // '<', '>', '|', '='; 'f', 'i', 'u', 'b'
    int bytes;
    bool fortran;
    int rank;
    size_t dim[NPY_MAX_RANK], count;
} NpyHeader;

// A file whose elements are taken piece by piece. It is mapped, so it may be larger than memory; what cannot be mapped
// (a pipe) is read whole.
typedef struct {
    NpyHeader header;
    Array array;                   // without data
    const unsigned char *elements; // as they are in the file
    void *map, *heap;
    size_t map_size;
} NpyReader;

const char *npy_open(const char *path, NpyReader *out, NpyError *error);
// Elements [first, first + count), in C order and of this type: *out is a place in the file or `buffer`, which has room
// for them. npy_is_direct: never the buffer.
const char *npy_part(const NpyReader *r, size_t first, size_t count, NpyType type, void *buffer, const void **out,
                     NpyError *error);
bool npy_is_direct(const NpyReader *r, NpyType type);
void npy_close(NpyReader *r);

// Files that are written piece by piece beside their names; all get their names, or none (cli_npy_write.c).
typedef struct {
    const char *path;
    char *temporary;
    int file;
} NpyWriter;
const char *npy_create(const char *path, const Array *shape, NpyWriter *out, NpyError *error); // also takes the space
const char *npy_append(NpyWriter *w, const void *data, size_t bytes, NpyError *error);
const char *npy_finish(NpyWriter *list, size_t n, NpyError *error);
void npy_abandon(NpyWriter *list, size_t n);

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
