// TensorProto -> type and elements, from raw bytes, typed fields or an external file.
//
// f32 and i64 raw bytes are used where they lie; f16 and bf16 become f32 exactly, f64 stays, every other integer
// type becomes i64. A size is checked against the bytes before anything is allocated.
#include "onnx_import.h"

#include "float_bits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { F32 = 1, U8, I8, U16, I16, I32, I64, STRING, BOOL, F16, F64, U32, U64, C64, C128, BF16, LAST_TYPE = 23 };

// `bytes` 0: a type that nfcc does not read.
static const struct {
    const char *name;
    int bytes, int_bits;
    DType dtype;
} TYPES[LAST_TYPE + 1] = {
    {"undefined", 0, 0, T_F32},      {"float32", 4, 0, T_F32},    {"uint8", 1, 8, T_I64},
    {"int8", 1, -8, T_I64},          {"uint16", 2, 16, T_I64},    {"int16", 2, -16, T_I64},
    {"int32", 4, -32, T_I64},        {"int64", 8, -64, T_I64},    {"string", 0, 0, T_F32},
    {"bool", 1, 0, T_BOOL},          {"float16", 2, 0, T_F32},    {"float64", 8, 0, T_F64},
    {"uint32", 4, 32, T_I64},        {"uint64", 8, 64, T_I64},    {"complex64", 0, 0, T_F32},
    {"complex128", 0, 0, T_F32},     {"bfloat16", 2, 0, T_F32},   {"float8e4m3fn", 0, 0, T_F32},
    {"float8e4m3fnuz", 0, 0, T_F32}, {"float8e5m2", 0, 0, T_F32}, {"float8e5m2fnuz", 0, 0, T_F32},
    {"uint4", 0, 0, T_I64},          {"int4", 0, 0, T_I64},       {"float4e2m1", 0, 0, T_F32},
};

const char *onnx_type_name(int data_type)
{
    return data_type >= 0 && data_type <= LAST_TYPE ? TYPES[data_type].name : "an unknown type";
}

bool onnx_dtype(int data_type, DType *out)
{
    if (data_type < 0 || data_type > LAST_TYPE || !TYPES[data_type].bytes) return false;
    *out = TYPES[data_type].dtype;
    return true;
}

int onnx_int_bits(int data_type) { return data_type >= 0 && data_type <= LAST_TYPE ? TYPES[data_type].int_bits : 0; }

static int64_t load_int(const unsigned char *p, int type)
{
    int bytes = TYPES[type].bytes;
    uint64_t v = 0;
    memcpy(&v, p, (size_t)bytes);
    if (TYPES[type].int_bits > 0 || bytes == 8) return (int64_t)v;
    int shift = 64 - 8 * bytes;
    return (int64_t)(v << shift) >> shift;
}

// Raw little-endian bytes of n elements -> elements of the IR's type.
static const void *from_raw(Arena *arena, int type, int64_t n, const unsigned char *raw)
{
    bool aligned = (uintptr_t)raw % 8 == 0 || (type == F32 && (uintptr_t)raw % 4 == 0);
    if (type == F32 || type == F64 || type == I64 || type == U64)
        return aligned ? raw : arena_copy(arena, raw, (size_t)n * (size_t)TYPES[type].bytes);
    if (type == F16 || type == BF16) {
        float *out = ARENA_ARRAY(arena, float, n);
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = (uint16_t)(raw[2 * i] | raw[2 * i + 1] << 8);
            out[i] = type == F16 ? float_of_half(h) : float_of_bfloat(h);
        }
        return out;
    }
    if (type == BOOL) {
        uint8_t *out = ARENA_ARRAY(arena, uint8_t, n);
        for (int64_t i = 0; i < n; i++) out[i] = raw[i] != 0;
        return out;
    }
    int64_t *out = ARENA_ARRAY(arena, int64_t, n);
    for (int64_t i = 0; i < n; i++) out[i] = load_int(raw + i * TYPES[type].bytes, type);
    return out;
}

// How many elements the typed field that belongs to this type holds.
static size_t typed_count(const Onnx__TensorProto *t)
{
    switch (t->data_type) {
    case F32: return t->n_float_data;
    case F64: return t->n_double_data;
    case I64: return t->n_int64_data;
    case U32:
    case U64: return t->n_uint64_data;
    default: return t->n_int32_data;
    }
}

static const void *from_typed(Arena *arena, const Onnx__TensorProto *t, int64_t n)
{
    int type = t->data_type;
    if (type == F32) return t->float_data;
    if (type == F64) return t->double_data;
    if (type == I64) return t->int64_data;
    if (type == U64 || type == U32) return t->uint64_data;
    if (type == F16 || type == BF16) {
        float *out = ARENA_ARRAY(arena, float, n);
        for (int64_t i = 0; i < n; i++)
            out[i] =
                type == F16 ? float_of_half((uint16_t)t->int32_data[i]) : float_of_bfloat((uint16_t)t->int32_data[i]);
        return out;
    }
    if (type == BOOL) {
        uint8_t *out = ARENA_ARRAY(arena, uint8_t, n);
        for (int64_t i = 0; i < n; i++) out[i] = t->int32_data[i] != 0;
        return out;
    }
    int64_t *out = ARENA_ARRAY(arena, int64_t, n);
    for (int64_t i = 0; i < n; i++) out[i] = t->int32_data[i];
    return out;
}

static const char *entry(const Onnx__TensorProto *t, const char *key)
{
    for (size_t i = 0; i < t->n_external_data; i++)
        if (!strcmp(t->external_data[i]->key ? t->external_data[i]->key : "", key)) return t->external_data[i]->value;
    return NULL;
}

static int64_t entry_number(const Onnx__TensorProto *t, const char *key, int64_t otherwise)
{
    const char *text = entry(t, key);
    char *end = NULL;
    if (!text) return otherwise;
    long long v = strtoll(text, &end, 10);
    return end == text || *end || v < 0 ? -2 : v; // -2: lies outside every file
}

static bool bad(Source *s, const Origin *where, const Onnx__TensorProto *t, const char *hint, const char *why)
{
    diag_error(s->cx, where, hint, "tensor '%.200s': %s", t->name && *t->name ? t->name : "of an attribute", why);
    return false;
}

// Dims, rank and element count, without overflow.
static bool shape_of(Source *s, const Origin *where, const Onnx__TensorProto *t, Type *type, int64_t *count)
{
    if (t->n_dims > MAX_RANK) return bad(s, where, t, "reshape it before export", "it has more than 8 dimensions");
    if (!onnx_dtype(t->data_type, &type->dtype))
        return bad(
            s, where, t, "export in float32",
            arena_format(s->cx->arena, "its type, %s (%d), is not read", onnx_type_name(t->data_type), t->data_type));
    type->rank = (int)t->n_dims;
    *count = 1;
    for (int i = 0; i < type->rank; i++) {
        type->dim[i] = t->dims[i];
        if (t->dims[i] < 0 || __builtin_mul_overflow(*count, t->dims[i], count) || *count > INT32_MAX)
            return bad(s, where, t, "the file is damaged", "its dimensions are negative or larger than any file");
    }
    return true;
}

static const void *elements(Source *s, const Origin *where, const Onnx__TensorProto *t, int64_t n)
{
    const char *name = t->name ? t->name : "?";
    int64_t bytes = n * TYPES[t->data_type].bytes;
    if (t->segment) return bad(s, where, t, DAMAGED, "it is stored in segments"), NULL;
    if (t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        const char *location = entry(t, "location");
        if (!location) return bad(s, where, t, DAMAGED, "its external data has no location"), NULL;
        const unsigned char *raw =
            source_bytes(s, location, entry_number(t, "offset", 0), entry_number(t, "length", -1), bytes, name);
        return raw ? from_raw(s->cx->arena, t->data_type, n, raw) : NULL;
    }
    if (t->has_raw_data) {
        if ((int64_t)t->raw_data.len != bytes)
            return bad(s, where, t, DAMAGED,
                       arena_format(s->cx->arena, "it holds %zu bytes, its shape needs %lld", t->raw_data.len,
                                    (long long)bytes)),
                   NULL;
        return n ? from_raw(s->cx->arena, t->data_type, n, t->raw_data.data) : "";
    }
    if ((int64_t)typed_count(t) != n)
        return bad(s, where, t, DAMAGED,
                   arena_format(s->cx->arena, "it holds %zu elements, its shape needs %lld", typed_count(t),
                                (long long)n)),
               NULL;
    return n ? from_typed(s->cx->arena, t, n) : "";
}

static bool has_nan(Type type, int64_t n, const void *data)
{
    const float *f = data;
    const double *d = data;
    for (int64_t i = 0; type.dtype == T_F32 && i < n; i++)
        if (isnan(f[i])) return true;
    for (int64_t i = 0; type.dtype == T_F64 && i < n; i++)
        if (isnan(d[i])) return true;
    return false;
}

// The file is read as the one initializer of an otherwise empty model, so that everything that bounds a model bounds
// it.
static const Onnx__TensorProto *parse_tensor(Context *cx, const unsigned char *bytes, size_t size)
{
    enum { GRAPH = 7 << 3 | 2, INITIALIZER = 5 << 3 | 2, VARINT = 10 };
    unsigned char *model = arena_alloc(cx->arena, size + 2 * (VARINT + 1)), *at = model;
    size_t inner = size, digits = 1;
    while (inner >>= 7) digits++;
    size_t length[2] = {size + digits + 1, size};
    for (int i = 0; i < 2; i++) {
        *at++ = i ? INITIALIZER : GRAPH;
        for (; length[i] > 127; length[i] >>= 7) *at++ = (unsigned char)(length[i] | 128);
        *at++ = (unsigned char)length[i];
    }
    memcpy(at, bytes, size);
    const Onnx__ModelProto *m = onnx_parse(cx, model, (size_t)(at - model) + size);
    return m && m->graph && m->graph->n_initializer == 1 ? m->graph->initializer[0] : NULL;
}

bool onnx_load_tensor(Context *cx, const char *path, OnnxTensor *out)
{
    size_t size = 0;
    ImportOptions options = {.allow_nonfinite = true};
    Source source = {.cx = cx, .options = &options};
    unsigned char *bytes = read_model_file(cx, path, &size);
    const Onnx__TensorProto *t = bytes ? parse_tensor(cx, bytes, size) : NULL;
    free(bytes);
    Elements e;
    if (!t || !tensor_elements(&source, t, NULL, &e)) return false;
    *out = (OnnxTensor){e.type, e.data, t};
    return true;
}

bool tensor_elements(Source *s, const Onnx__TensorProto *t, const Origin *where, Elements *out)
{
    int64_t n = 0;
    if (!shape_of(s, where, t, &out->type, &n)) return false;
    out->data = elements(s, where, t, n);
    if (!out->data) return false;
    // A single NaN is a constant that a graph selects on purpose, where(isfinite(s), s, nan); more are broken weights.
    if (n > 1 && !(s->options && s->options->allow_nonfinite) && has_nan(out->type, n, out->data))
        return bad(s, where, t, "the training diverged; use an earlier checkpoint, or say --allow-nonfinite",
                   "it contains NaN");
    return true;
}
