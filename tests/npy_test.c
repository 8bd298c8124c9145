// .npy and .npz files: types, orders, conversions, and files that lie.
#include "cli_npy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    assert_string_equal(a.said, "");
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
    assert_string_equal(a.said, "Fortran order");
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
    assert_string_equal(a.said, "float16");
    npy_free(&a);
    f = file_of("{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }\n", big, sizeof big);
    assert_null(npy_parse(f.bytes, f.size, &a, &e));
    assert_int_equal(((int64_t *)a.data)[0], 258);
    assert_true(((int64_t *)a.data)[1] == -2);
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
    refuse("{}\n", "missing");
}

static void refuse_every_truncation(void **state)
{
    (void)state;
    const float data[] = {1, 2};
    File f = file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data, sizeof data);
    for (size_t n = 0; n < f.size; n++) {
        unsigned char *copy = malloc(n + 1); // its own block: a read past the end is seen by ASan
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
    float data[] = {1, 2, 3, 4, 5, 6};
    Array a = {NPY_F32, 3, {1, 2, 3}, 6, data, ""}, b;
    NpyFile file = {path, &a};
    NpyError e;
    assert_null(npy_write_all(&file, 1, &e));
    assert_null(npy_read(path, &b, &e));
    assert_int_equal(b.rank, 3);
    assert_memory_equal(b.data, data, sizeof data);
    npy_free(&b);
    unlink(path);
    file.path = "/nowhere/at/all.npy";
    assert_non_null(npy_write_all(&file, 1, &e));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_float),
        cmocka_unit_test(read_fortran),
        cmocka_unit_test(refuse_lies),
        cmocka_unit_test(read_half_and_big_endian),
        cmocka_unit_test(write_and_read),
        cmocka_unit_test(refuse_every_truncation),
        cmocka_unit_test(convert_whole_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
