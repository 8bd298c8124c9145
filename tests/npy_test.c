// .npy and .npz files: types, orders, conversions, and files that lie.
#include "cli_npy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

typedef struct {
    unsigned char bytes[512];
    size_t size;
} File;

// A version 1 file with this header dict and these element bytes.
static File file_of(const char *dict, const void *data, size_t size)
{
    File f = {0};
    size_t n = strlen(dict);
    memcpy(f.bytes, "\x93NUMPY\1\0", 8);
    f.bytes[8] = (unsigned char)n;
    memcpy(f.bytes + 10, dict, n);
    memcpy(f.bytes + 10 + n, data, size);
    f.size = 10 + n + size;
    return f;
}

static void read_float(void **state)
{
    (void)state;
    const float data[] = {1.5f, -2.0f, 3.25f, 4.0f, 5.0f, 6.0f};
    Array a;
    NpyError e;
    File f = file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", data, sizeof data);
    assert_null(npy_parse(f.bytes, f.size, &a, &e));
    assert_int_equal(a.rank, 2);
    assert_int_equal(a.dim[1], 3);
    assert_memory_equal(a.data, data, sizeof data);
    assert_string_equal(a.file, "float32");
    npy_free(&a);
}

static void read_fortran(void **state)
{
    (void)state;
    const double data[] = {0, 3, 1, 4, 2, 5};
    Array a;
    NpyError e;
    File f = file_of("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n", data, sizeof data);
    assert_null(npy_parse(f.bytes, f.size, &a, &e));
    for (int i = 0; i < 6; i++) assert_true(((double *)a.data)[i] == i);
    assert_string_equal(a.file, "float64, Fortran order");
    assert_null(npy_convert(&a, NPY_F32, &e));
    for (int i = 0; i < 6; i++) assert_true(((float *)a.data)[i] == (float)i);
    npy_free(&a);
}

static void read_half_and_big_endian(void **state)
{
    (void)state;
    const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7c00}; // 1, -2, 2^-24, infinity
    const unsigned char big[] = {0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe};
    Array a;
    NpyError e;
    File f = file_of("{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }\n", half, sizeof half);
    assert_null(npy_parse(f.bytes, f.size, &a, &e));
    const float *v = a.data;
    assert_true(v[0] == 1 && v[1] == -2 && v[2] == 0x1p-24f && v[3] == __builtin_inff());
    assert_string_equal(a.file, "float16");
    npy_free(&a);
    f = file_of("{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }\n", big, sizeof big);
    assert_null(npy_parse(f.bytes, f.size, &a, &e));
    assert_int_equal(((int64_t *)a.data)[0], 258);
    assert_true(((int64_t *)a.data)[1] == -2);
    assert_string_equal(a.file, "int32, big endian");
    npy_free(&a);
}

static void read_large_unsigned(void **state)
{
    (void)state;
    const uint64_t data[] = {UINT64_MAX, 7};
    Array a;
    NpyError e;
    File f = file_of("{'descr': '<u8', 'fortran_order': False, 'shape': (2,), }\n", data, sizeof data);
    assert_null(npy_parse(f.bytes, f.size, &a, &e));
    assert_string_equal(a.file, "uint64");
    assert_non_null(npy_convert(&a, NPY_I64, &e));
    assert_null(npy_convert(&a, NPY_F32, &e));
    assert_true(((float *)a.data)[0] == 0x1p64f && ((float *)a.data)[1] == 7);
    npy_free(&a);
}

static void refuse(const char *dict, const char *words)
{
    const float data[2] = {0};
    Array a;
    NpyError e;
    File f = file_of(dict, data, sizeof data);
    const char *wrong = npy_parse(f.bytes, f.size, &a, &e);
    assert_non_null(wrong);
    if (!strstr(wrong, words)) fail_msg("'%s' is not in '%s'", words, wrong);
    assert_null(a.data);
}

static void refuse_lies(void **state)
{
    (void)state;
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n", "ends before");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }\n", "too large");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n", "tuple of numbers");
    refuse("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }\n", "'<c8'");
    refuse("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", "structured");
    refuse("{'descr': '<f4', 'shape': (1,), }\n", "fortran_order");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (1, \n", "tuple of numbers");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,), }\n", "dimensions");
    refuse("{}\n", "missing");
}

// A version 2 file of two floats whose header, filled up with spaces, has this length.
static const char *read_wide_header(size_t length, size_t missing)
{
    static const char dict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    const float data[] = {1, 2};
    size_t size = 12 + length + sizeof data;
    unsigned char *bytes = malloc(size);
    Array a;
    static NpyError e;
    memset(bytes, ' ', size);
    memcpy(bytes, "\x93NUMPY\2\0", 8);
    for (int i = 0; i < 4; i++) bytes[8 + i] = (unsigned char)(length >> 8 * i);
    memcpy(bytes + 12, dict, strlen(dict));
    memcpy(bytes + 12 + length, data, sizeof data);
    const char *wrong = npy_parse(bytes, size - missing, &a, &e);
    if (!wrong) assert_memory_equal(a.data, data, sizeof data);
    npy_free(&a);
    free(bytes);
    return wrong;
}

static void read_long_headers(void **state)
{
    (void)state;
    assert_null(read_wide_header(64, 0));
    assert_null(read_wide_header(1 << 16, 0));
    assert_non_null(strstr(read_wide_header((1 << 16) + 1, 0), "the header is longer"));
    assert_non_null(strstr(read_wide_header(1 << 16, 9), "the header is longer"));
}

static void refuse_every_truncation(void **state)
{
    (void)state;
    const float data[] = {1, 2};
    File f = file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data, sizeof data);
    for (size_t n = 0; n < f.size; n++) {
        unsigned char *copy = malloc(n); // its own block: a read past the end is seen by ASan
        Array a;
        NpyError e;
        memcpy(copy, f.bytes, n);
        assert_non_null(npy_parse(copy, n, &a, &e));
        free(copy);
    }
}

static void write_and_read(void **state)
{
    (void)state;
    char path[] = "/tmp/npy_test-XXXXXX";
    close(mkstemp(path));
    const float data[] = {1, 2, 3, 4, 5, 6};
    const Array shape = {NPY_F32, 3, {1, 2, 3}, 6, NULL, ""};
    double buffer[6];
    const void *part;
    NpyWriter w;
    NpyReader r;
    NpyError e;
    assert_null(npy_create(path, &shape, &w, &e));
    assert_null(npy_append(&w, data, 8, &e));
    assert_null(npy_append(&w, data + 2, 16, &e));
    assert_null(npy_finish(&w, 1, &e));
    assert_null(npy_open(path, &r, &e));
    assert_int_equal(r.array.rank, 3);
    assert_int_equal(r.array.count, 6);
    assert_true(npy_is_direct(&r, NPY_F32) && !npy_is_direct(&r, NPY_F64));
    assert_null(npy_part(&r, 1, 4, NPY_F32, NULL, &part, &e));
    assert_memory_equal(part, data + 1, 16);
    assert_null(npy_part(&r, 2, 4, NPY_F64, buffer, &part, &e));
    for (int i = 0; i < 4; i++) assert_true(((const double *)part)[i] == data[2 + i]);
    npy_close(&r);
    unlink(path);
    assert_non_null(npy_create("/nowhere/at/all.npy", &shape, &w, &e));
    npy_abandon(&w, 1);
}

// What is no regular file is read to its end, which may come after more than is read at once.
static void read_a_pipe(void **state)
{
    enum { N = 50000 };
    (void)state;
    char path[32];
    int ends[2];
    NpyReader r;
    NpyError e;
    float *data = calloc(N, sizeof *data);
    for (int i = 0; i < N; i++) data[i] = (float)i;
    File head = file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (50000,), }\n", data, 0);
    assert_int_equal(pipe(ends), 0);
    pid_t writer = fork();
    if (!writer) {
        close(ends[0]); // so that it ends where nobody reads
        FILE *to = fdopen(ends[1], "wb");
        bool written = fwrite(head.bytes, 1, head.size, to) == head.size && fwrite(data, sizeof *data, N, to) == N;
        _exit(fclose(to) || !written);
    }
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_null(npy_open(path, &r, &e));
    assert_int_equal(r.array.count, N);
    assert_memory_equal(r.elements, data, N * sizeof *data);
    npy_close(&r);
    close(ends[0]);
    waitpid(writer, NULL, 0);
    free(data);
}

// The old file stays until the new one is whole; nothing is left of one that is given up.
static void write_nothing(void **state)
{
    (void)state;
    char path[] = "/tmp/npy_test-XXXXXX";
    const Array shape = {NPY_BOOL, 1, {3}, 3, NULL, ""},
                vast = {NPY_F64, 1, {(size_t)1 << 59}, (size_t)1 << 59, NULL, ""};
    NpyWriter w;
    NpyError e;
    assert_int_equal(write(mkstemp(path), "old", 3), 3);
    assert_null(npy_create(path, &shape, &w, &e));
    assert_null(npy_append(&w, "\1\0\1", 3, &e));
    char *temporary = strdup(w.temporary);
    assert_int_equal(access(temporary, F_OK), 0);
    npy_abandon(&w, 1);
    assert_int_not_equal(access(temporary, F_OK), 0);
    assert_non_null(npy_create(path, &vast, &w, &e)); // more than any disk has: known at once
    npy_abandon(&w, 1);
    assert_int_not_equal(access(temporary, F_OK), 0);
    free(temporary);
    char old[4] = {0};
    FILE *f = fopen(path, "rb");
    assert_int_equal(fread(old, 1, 4, f), 3);
    assert_string_equal(old, "old");
    fclose(f);
    unlink(path);
}

// A part is what the same elements are in the whole, for every type, order and place.
static void read_parts(void **state)
{
    (void)state;
    static const char *const dicts[] = {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n",
                                        "{'descr': '>f4', 'fortran_order': True, 'shape': (3, 4), }\n",
                                        "{'descr': '<f2', 'fortran_order': True, 'shape': (3, 4), }\n",
                                        "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4), }\n",
                                        "{'descr': '|b1', 'fortran_order': True, 'shape': (3, 4), }\n"};
    unsigned char data[48];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 5 % 64);
    for (size_t k = 0; k < sizeof dicts / sizeof *dicts; k++) {
        char path[] = "/tmp/npy_test-XXXXXX";
        File f = file_of(dicts[k], data, sizeof data);
        Array whole;
        NpyReader r;
        NpyError e;
        assert_int_equal(write(mkstemp(path), f.bytes, f.size), f.size);
        assert_null(npy_parse(f.bytes, f.size, &whole, &e));
        assert_null(npy_convert(&whole, NPY_F64, &e));
        assert_null(npy_open(path, &r, &e));
        for (size_t first = 0; first < 12; first++)
            for (size_t n = 1; first + n <= 12; n++) {
                double buffer[12];
                const void *part;
                assert_null(npy_part(&r, first, n, NPY_F64, buffer, &part, &e));
                assert_memory_equal(part, (double *)whole.data + first, n * sizeof(double));
            }
        npy_close(&r);
        npy_free(&whole);
        unlink(path);
    }
}

static void convert_whole_numbers(void **state)
{
    (void)state;
    const double data[] = {1, 2.5};
    Array a;
    NpyError e;
    File f = file_of("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", data, sizeof data);
    assert_null(npy_parse(f.bytes, f.size, &a, &e));
    const char *wrong = npy_convert(&a, NPY_I64, &e);
    assert_non_null(wrong);
    assert_non_null(strstr(wrong, "element 1 is 2.5"));
    npy_free(&a);
}

static const char *bools_of(double second, Array *a, NpyError *e)
{
    const double data[] = {1, second};
    File f = file_of("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", data, sizeof data);
    assert_null(npy_parse(f.bytes, f.size, a, e));
    return npy_convert(a, NPY_BOOL, e);
}

static void convert_bools(void **state)
{
    (void)state;
    Array a;
    NpyError e;
    assert_null(bools_of(0, &a, &e));
    assert_memory_equal(a.data, "\1\0", 2);
    npy_free(&a);
    assert_non_null(strstr(bools_of(2, &a, &e), "element 1 is 2, which bool cannot hold"));
    npy_free(&a);
}

// ---- .npz
typedef struct {
    unsigned char bytes[1024];
    size_t size, directory;
} Zip;

enum { METHOD = 10, PACKED = 20, UNPACKED = 24, OFFSET = 42, NAME = 46 }; // fields of the directory

static void put(Zip *z, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) z->bytes[z->size++] = (unsigned char)(i < 8 ? value >> 8 * i : 0);
}

static void put_bytes(Zip *z, const void *data, size_t size)
{
    memcpy(z->bytes + z->size, data, size);
    z->size += size;
}

// What stands in both heads of a stored member, behind the version.
static void put_fields(Zip *z, uint64_t checksum, size_t size, unsigned extra)
{
    put(z, 0, 2 + 2 + 4); // flags, method, time
    put(z, checksum, 4);
    put(z, size, 4);
    put(z, size, 4);
    put(z, 5, 2);
    put(z, extra, 2);
}

// One member x.npy of this checksum, stored and named `entries` times in the directory.
static Zip zip_of_member(const void *member, size_t size, uint64_t checksum, int entries, unsigned extra)
{
    Zip z = {.size = 0};
    put(&z, 0x04034b50, 4), put(&z, 20, 2), put_fields(&z, checksum, size, 0);
    put_bytes(&z, "x.npy", 5), put_bytes(&z, member, size);
    z.directory = z.size;
    for (int i = 0; i < entries; i++) {
        put(&z, 0x02014b50, 4), put(&z, 20, 4), put_fields(&z, checksum, size, extra);
        put(&z, 0, 2 + 2 + 2), put(&z, 0, 4 + 4); // comment, disk, attributes; where the member is
        put_bytes(&z, "x.npy", 5), put(&z, 0, (int)extra);
    }
    size_t end = z.size;
    put(&z, 0x06054b50, 4), put(&z, 0, 4), put(&z, (uint64_t)entries, 2), put(&z, (uint64_t)entries, 2);
    put(&z, end - z.directory, 4), put(&z, z.directory, 4), put(&z, 0, 2);
    return z;
}

// Of two floats.
static Zip zip_of(int entries, unsigned extra)
{
    const float data[] = {1.5f, 2.5f};
    File f = file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data, sizeof data);
    return zip_of_member(f.bytes, f.size, crc32_z(0, f.bytes, f.size), entries, extra);
}

// The same, deflated: one block that is stored.
static Zip zip_deflated(void)
{
    Zip z = zip_of(1, 0), all = {.size = 0};
    size_t from = 30 + 5, size = z.directory - from;
    put(&all, 1, 1), put(&all, size, 2), put(&all, ~size, 2), put_bytes(&all, z.bytes + from, size);
    z = zip_of_member(all.bytes, all.size, crc32_z(0, z.bytes + from, size), 1, 0);
    z.bytes[z.directory + METHOD] = 8;
    z.bytes[z.directory + UNPACKED] = (unsigned char)size;
    return z;
}

// The end of a Zip64 file, which counts the members in 64 bits, in the place of the other.
static void put_wide_end(Zip *z, uint64_t entries)
{
    z->size -= 22;
    size_t wide = z->size;
    put(z, 0x06064b50, 4), put(z, 44, 8), put(z, 0, 2 + 2 + 4 + 4); // its size; versions, disks
    put(z, entries, 8), put(z, entries, 8), put(z, wide - z->directory, 8), put(z, z->directory, 8);
    put(z, 0x07064b50, 4), put(z, 0, 4), put(z, wide, 8), put(z, 1, 4);
    put(z, 0x06054b50, 4), put(z, 0, 4), put(z, 0xffff, 2), put(z, 0xffff, 2);
    put(z, 0xffffffff, 4), put(z, 0xffffffff, 4), put(z, 0, 2);
}

static const char *read_zip(const Zip *z, Npz *npz, NpyError *e)
{
    char path[] = "/tmp/npz_test-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, z->bytes, z->size), z->size);
    close(fd);
    const char *wrong = npz_read(path, npz, e);
    unlink(path);
    return wrong;
}

static void accept_npz(const Zip *z)
{
    Npz npz;
    NpyError e;
    assert_null(read_zip(z, &npz, &e));
    assert_int_equal(npz.n, 1);
    assert_string_equal(npz.members[0].name, "x");
    assert_true(((const float *)npz.members[0].array.data)[1] == 2.5f);
    npz_free(&npz);
}

static void refuse_zip(const Zip *z, const char *words)
{
    Npz npz;
    NpyError e;
    const char *wrong = read_zip(z, &npz, &e);
    assert_non_null(wrong);
    if (!strstr(wrong, words)) fail_msg("'%s' is not in '%s'", words, wrong);
}

static void read_npz(void **state)
{
    (void)state;
    Zip z = zip_of(1, 0);
    accept_npz(&z);
    z = zip_deflated();
    accept_npz(&z);
    put_wide_end(&z, 1);
    accept_npz(&z);
    z = zip_of(1, 20); // both sizes in 64 bits, in the extra field
    uint64_t size = z.bytes[z.directory + PACKED];
    memset(z.bytes + z.directory + PACKED, 0xff, 8);
    unsigned char *extra = z.bytes + z.directory + NAME + 5;
    memcpy(extra, "\1\0\20\0", 4), memcpy(extra + 4, &size, 8), memcpy(extra + 12, &size, 8);
    accept_npz(&z);
    memcpy(extra, "\1\0\377\377", 4); // which is longer than there is room
    refuse_zip(&z, "overlap");
}

// Encrypted members; one member under many names, which would unpack to more than the file says; cut anywhere.
static void refuse_npz(void **state)
{
    (void)state;
    Zip z = zip_of(1, 0);
    z.bytes[z.directory + 8] = 1;
    refuse_zip(&z, "encrypted");
    z = zip_of(7, 0);
    refuse_zip(&z, "overlap");
    z = zip_of(1, 0);
    put_wide_end(&z, 65537);
    refuse_zip(&z, "more members");
    for (size_t size = zip_of(1, 0).size; size-- > 0;) {
        z = zip_of(1, 0);
        z.size = size;
        refuse_zip(&z, "");
    }
}

// Lengths and places that are not in the file, sizes that no member unpacks to.
static void refuse_npz_that_lies(void **state)
{
    (void)state;
    const Zip plain = zip_of(1, 0), deflated = zip_deflated();
    Zip wide = plain;
    put_wide_end(&wide, 1);
    size_t locator = wide.size - 22 - 20, at = plain.directory;
    const struct {
        const Zip *zip;
        size_t at, size;
        const char *bytes, *words;
    } lies[] = {
        {&plain, at + 28, 2, "\377\377", "directory is corrupt"}, // lengths of the name, the extra field, the comment
        {&plain, at + 30, 2, "\377\377", "directory is corrupt"},
        {&plain, at + 32, 2, "\377\377", "directory is corrupt"},
        {&plain, 26, 2, "\377\377", "outside of the file"}, // lengths in the member's own head
        {&plain, 28, 2, "\377\377", "outside of the file"},
        {&plain, 26, 2, "\226\0", "outside of the file"}, // its bytes would begin in the file, but not end there
        {&plain, at + OFFSET, 4, "\377\377\377\177", "outside of the file"},
        {&plain, at - 1, 1, "\1", "the file is damaged"}, // the last byte of the last number
        {&deflated, at + 5 - 1, 1, "\1", "the file is damaged"},
        {&plain, at + METHOD, 2, "\11\0", "unknown way"},
        {&deflated, at + 5 + UNPACKED, 4, "\377\377\377\177", "not possible"},
        {&deflated, at + 5 + UNPACKED, 1, "\377", "corrupt"},
        {&wide, locator + 8, 8, "\0\0\0\0\0\0\0\177", "no zip directory"},
        {&wide, locator - 56 + 48, 8, "\0\0\0\0\0\0\0\177", "directory is corrupt"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        Zip z = *lies[i].zip;
        memcpy(z.bytes + lies[i].at, lies[i].bytes, lies[i].size);
        refuse_zip(&z, lies[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_float),
        cmocka_unit_test(read_fortran),
        cmocka_unit_test(refuse_lies),
        cmocka_unit_test(read_half_and_big_endian),
        cmocka_unit_test(read_large_unsigned),
        cmocka_unit_test(write_and_read),
        cmocka_unit_test(read_a_pipe),
        cmocka_unit_test(write_nothing),
        cmocka_unit_test(read_parts),
        cmocka_unit_test(read_long_headers),
        cmocka_unit_test(refuse_every_truncation),
        cmocka_unit_test(convert_whole_numbers),
        cmocka_unit_test(convert_bools),
        cmocka_unit_test(read_npz),
        cmocka_unit_test(refuse_npz),
        cmocka_unit_test(refuse_npz_that_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
