// .npy: a magic, a header that is a Python dict literal with the keys descr, fortran_order and shape, then the
// elements. Every length is checked against the file before memory is taken for it. Floats of 2, 4 and 8 bytes,
// integers of 1 to 8 bytes and bools are read, either byte order and either memory order; the array handed out is
// C-contiguous.
#include "cli_npy.h"

#include "cli_npy_fail.h"
#include "float_bits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

size_t npy_type_size(NpyType type) { return type == NPY_BOOL ? 1 : type == NPY_F32 ? 4 : 8; }

const char *npy_type_name(NpyType type)
{
    switch (type) {
    case NPY_F32: return "float32";
    case NPY_F64: return "float64";
    case NPY_I64: return "int64";
    case NPY_BOOL: return "bool";
    }
    return "?";
}

void npy_free(Array *a)
{
    free(a->data);
    *a = (Array){0};
}

// ---- header
// The text after 'key': in the dict, or NULL.
static const char *value_of(const char *dict, const char *key)
{
    char quoted[40];
    for (const char *quote = "'\""; *quote; quote++) {
        snprintf(quoted, sizeof quoted, "%c%s%c", *quote, key, *quote);
        const char *at = strstr(dict, quoted);
        if (!at) continue;
        at += strlen(quoted);
        at += strspn(at, " ");
        if (*at == ':') return at + 1 + strspn(at + 1, " ");
    }
    return NULL;
}

static const char *read_descr(const char *dict, NpyHeader *h, NpyError *e)
{
    const char *at = value_of(dict, "descr");
    if (!at || (*at != '\'' && *at != '"')) return fail(e, "element type is missing or structured");
    char order = at[1], kind = order ? at[2] : 0;
    int bytes = kind ? atoi(at + 3) : 0;
    bool fits = (kind == 'f' && (bytes == 2 || bytes == 4 || bytes == 8)) || (kind == 'b' && bytes == 1) ||
                ((kind == 'i' || kind == 'u') && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8));
    if (!fits || !strchr("<>|=", order)) {
        return fail(e, "element type '%.*s' is not read; float16/32/64, integers and bool are",
                    (int)strcspn(at + 1, "'\""), at + 1);
    }
    h->order = order, h->kind = kind, h->bytes = bytes;
    return NULL;
}

static const char *read_shape(const char *dict, NpyHeader *h, NpyError *e)
{
    const char *at = value_of(dict, "shape");
    if (!at || *at++ != '(') return fail(e, "shape is missing");
    for (h->count = 1;;) {
        at += strspn(at, " ,");
        if (*at == ')') return NULL;
        char *end;
        errno = 0;
        unsigned long long n = strtoull(at, &end, 10);
        if (end == at || *at == '-' || errno) return fail(e, "shape is not a tuple of numbers");
        if (h->rank == NPY_MAX_RANK) return fail(e, "more than %d dimensions", NPY_MAX_RANK);
        h->dim[h->rank++] = n;
        if (__builtin_mul_overflow(h->count, (size_t)n, &h->count)) return fail(e, "shape is too large");
        at = end;
    }
}

static bool may_be_npy(const unsigned char *data, size_t n) { return n < 6 || !memcmp(data, "\x93NUMPY", 6); }

static const char *read_header(const unsigned char *p, size_t size, NpyHeader *h, size_t *start, NpyError *e)
{
    if (size < 10 || !may_be_npy(p, size)) return fail(e, "not a .npy file");
    bool wide = p[6] >= 2;
    if (p[6] < 1 || p[6] > 3 || (wide && size < 12)) return fail(e, ".npy version %d is not known", p[6]);
    size_t length = p[8] | (size_t)p[9] << 8;
    if (wide) length |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    *start = (wide ? 12 : 10) + length;
    if (length > 1 << 16 || *start > size) return fail(e, "the header is longer than the file");
    char *dict = calloc(length + 1, 1);
    if (!dict) return fail(e, "out of memory");
    memcpy(dict, p + (wide ? 12 : 10), length);
    const char *wrong = read_descr(dict, h, e);
    if (!wrong) wrong = read_shape(dict, h, e);
    const char *fortran = value_of(dict, "fortran_order");
    if (!wrong && !fortran) wrong = fail(e, "fortran_order is missing");
    h->fortran = fortran && !strncmp(fortran, "True", 4);
    free(dict);
    return wrong;
}

// ---- elements
static uint64_t load_bytes(const unsigned char *p, int n, bool big)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[big ? n - 1 - i : i] << 8 * i;
    return v;
}

static void store_element(const NpyHeader *h, const unsigned char *p, NpyType type, void *out, size_t i)
{
    uint64_t word = load_bytes(p, h->bytes, h->order == '>');
    if (type == NPY_BOOL) {
        ((unsigned char *)out)[i] = word != 0;
    } else if (type == NPY_I64) {
        int shift = h->kind == 'i' ? 64 - 8 * h->bytes : 0;
        ((int64_t *)out)[i] = (int64_t)(word << shift) >> shift;
    } else if (h->kind == 'u') {
        ((double *)out)[i] = (double)word;
    } else if (h->bytes == 8) {
        memcpy((double *)out + i, &word, 8);
    } else if (h->bytes == 4) {
        uint32_t half = (uint32_t)word;
        memcpy((float *)out + i, &half, 4);
    } else {
        ((float *)out)[i] = (float)float_of_half((uint16_t)word);
    }
}

// Element number `i` in C order stands at this place of a Fortran-order file.
static size_t fortran_place(const NpyHeader *h, size_t i)
{
    size_t place = 0, stride[NPY_MAX_RANK], s = 1;
    for (int d = 0; d < h->rank; d++) stride[d] = s, s *= h->dim[d];
    for (int d = h->rank - 1; d >= 0; d--) place += i % h->dim[d] * stride[d], i /= h->dim[d];
    return place;
}

static NpyType native_type(const NpyHeader *h)
{
    if (h->kind == 'b') return NPY_BOOL;
    if (h->bytes == 8 && h->kind != 'i') return NPY_F64; // uint64 does not fit in int64
    return h->kind == 'f' ? NPY_F32 : NPY_I64;
}

// The file's bytes are the array's.
static bool is_plain(const NpyHeader *h)
{
    return !h->fortran && h->order != '>' && (size_t)h->bytes == npy_type_size(native_type(h)) && strchr("fi", h->kind);
}

static void load_elements(const NpyHeader *h, const unsigned char *p, size_t first, size_t count, void *out)
{
    size_t bytes = (size_t)h->bytes;
    if (is_plain(h)) {
        memcpy(out, p + first * bytes, count * bytes);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t place = h->fortran ? fortran_place(h, first + i) : first + i;
        store_element(h, p + place * bytes, native_type(h), out, i);
    }
}

static void describe(const NpyHeader *h, Array *out)
{
    char bits[8] = "";
    if (h->kind != 'b') snprintf(bits, sizeof bits, "%d", 8 * h->bytes);
    snprintf(out->file, sizeof out->file, "%s%s%s%s",
             h->kind == 'f'   ? "float"
             : h->kind == 'i' ? "int"
             : h->kind == 'u' ? "uint"
                              : "bool",
             bits, h->fortran && h->rank > 1 ? ", Fortran order" : "", h->order == '>' ? ", big endian" : "");
}

// Header and shape of a file's bytes, and where its elements are.
static const char *read_shape_of(const void *bytes, size_t size, NpyHeader *h, Array *out,
                                 const unsigned char **elements, NpyError *e)
{
    size_t start = 0, need;
    *out = (Array){0};
    *h = (NpyHeader){0};
    const char *wrong = read_header(bytes, size, h, &start, e);
    if (wrong) return wrong;
    if (__builtin_mul_overflow(h->count, (size_t)h->bytes, &need) || need > size - start)
        return fail(e, "the file ends before its elements do");
    out->type = native_type(h);
    out->rank = h->rank, out->count = h->count;
    memcpy(out->dim, h->dim, sizeof h->dim);
    *elements = (const unsigned char *)bytes + start;
    describe(h, out);
    return NULL;
}

const char *npy_parse(const void *bytes, size_t size, Array *out, NpyError *e)
{
    NpyHeader h;
    const unsigned char *elements;
    const char *wrong = read_shape_of(bytes, size, &h, out, &elements, e);
    if (wrong) return wrong;
    out->data = malloc(h.count * 8 + 1);
    if (!out->data) return fail(e, "out of memory");
    load_elements(&h, elements, 0, h.count, out->data);
    return NULL;
}

// ---- files
// Of what begins otherwise, and may never end, only that.
static unsigned char *read_all(int file, size_t *size)
{
    unsigned char *data = NULL;
    size_t cap = 0, n = 0;
    for (ssize_t got = 1; got && may_be_npy(data, n); n += (size_t)got) {
        if (n == cap) {
            cap = cap ? cap * 2 : 1 << 16;
            unsigned char *more = realloc(data, cap);
            if (more) data = more;
            if (!more) errno = ENOMEM;
            got = more ? 0 : -1;
        }
        if (got >= 0) got = read(file, data + n, cap - n);
        if (got < 0) {
            free(data);
            return NULL;
        }
    }
    *size = n;
    return data;
}

static const char *open_bytes(int file, NpyReader *r, NpyError *e)
{
    struct stat st;
    size_t size = 0;
    if (fstat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        size = (size_t)st.st_size;
        r->map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
        if (r->map == MAP_FAILED) r->map = NULL;
        r->map_size = r->map ? size : 0;
    }
    if (!r->map) r->heap = read_all(file, &size);
    if (!r->map && !r->heap) return fail(e, "cannot be read: %s", strerror(errno));
    return read_shape_of(r->map ? r->map : r->heap, size, &r->header, &r->array, &r->elements, e);
}

const char *npy_open(const char *path, NpyReader *r, NpyError *e)
{
    *r = (NpyReader){0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return fail(e, "cannot be read: %s", strerror(errno));
    const char *wrong = open_bytes(file, r, e);
    close(file);
    if (wrong) npy_close(r);
    return wrong;
}

void npy_close(NpyReader *r)
{
    if (r->map) munmap(r->map, r->map_size);
    free(r->heap);
    *r = (NpyReader){0};
}

// ---- conversion
static double element_as_double(const Array *a, size_t i)
{
    switch (a->type) {
    case NPY_F32: return ((const float *)a->data)[i];
    case NPY_F64: return ((const double *)a->data)[i];
    case NPY_I64: return (double)((const int64_t *)a->data)[i];
    case NPY_BOOL: return ((const unsigned char *)a->data)[i];
    }
    return 0;
}

static bool store_double(void *data, NpyType type, size_t i, double v)
{
    switch (type) {
    case NPY_F32: ((float *)data)[i] = (float)v; return true;
    case NPY_F64: ((double *)data)[i] = v; return true;
    case NPY_BOOL: ((unsigned char *)data)[i] = v != 0; return v == 0 || v == 1;
    case NPY_I64:
        if (!(v >= -9.2e18 && v <= 9.2e18)) return false;
        ((int64_t *)data)[i] = (int64_t)v;
        return (double)(int64_t)v == v;
    }
    return false;
}

const char *npy_convert(Array *a, NpyType type, NpyError *e)
{
    if (a->type == type) return NULL;
    void *data = malloc(a->count * npy_type_size(type) + 1);
    if (!data) return fail(e, "out of memory");
    for (size_t i = 0; i < a->count; i++) {
        double v = element_as_double(a, i);
        if (store_double(data, type, i, v)) continue;
        free(data);
        return fail(e, "element %zu is %g, which %s cannot hold", i, v, npy_type_name(type));
    }
    free(a->data);
    a->data = data;
    a->type = type;
    return NULL;
}

bool npy_is_direct(const NpyReader *r, NpyType type)
{
    return is_plain(&r->header) && r->array.type == type && (uintptr_t)r->elements % npy_type_size(type) == 0;
}

static const char *convert_part(const NpyReader *r, size_t first, size_t count, NpyType type, void *out, NpyError *e)
{
    const NpyHeader *h = &r->header;
    for (size_t i = 0; i < count; i++) {
        double element;
        Array one = {.type = r->array.type, .data = &element};
        load_elements(h, r->elements, first + i, 1, &element);
        double v = element_as_double(&one, 0);
        if (!store_double(out, type, i, v))
            return fail(e, "element %zu is %g, which %s cannot hold", first + i, v, npy_type_name(type));
    }
    return NULL;
}

const char *npy_part(const NpyReader *r, size_t first, size_t count, NpyType type, void *buffer, const void **out,
                     NpyError *e)
{
    bool direct = npy_is_direct(r, type);
    *out = direct ? r->elements + first * npy_type_size(type) : buffer;
    if (!direct && r->array.type != type) return convert_part(r, first, count, type, buffer, e);
    if (!direct) load_elements(&r->header, r->elements, first, count, buffer);
    return NULL;
}
