// Bounded scan of a protobuf message before protobuf-c sees it: protobuf-c recurses as deep as the file says, joins
// repeated submessages again and again, and turns two bytes into 150.
//
// The scan walks the wire format with an explicit stack of at most 64 messages, guided by protobuf-c's own
// descriptors, so it knows for each field whether it is a message, and what it will cost in memory.
#include "onnx_import.h"

#include <string.h>

enum { DEPTH = 64, MEMBER = 96 /* protobuf-c's notes of one field while it parses */ };

typedef struct {
    const ProtobufCMessageDescriptor *type;
    const unsigned char *end;
    uint64_t seen; // singular message fields met so far
} Open;

typedef struct {
    Arena *arena;
    const unsigned char *at;
    Open stack[DEPTH];
    int depth;
    uint64_t memory, limit;
    const char *error;
} Scan;

static bool stop(Scan *s, const char *sentence)
{
    if (!s->error) s->error = sentence;
    return false;
}

static bool varint(Scan *s, const unsigned char *end, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (s->at == end) return stop(s, "a number runs past the end of its message");
        unsigned char byte = *s->at++;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return stop(s, "a number is longer than 10 bytes");
}

// Fields newer than the installed onnx.proto (IR 8) that are read or are mere annotations.
static const struct {
    const char *message;
    uint32_t field;
    const ProtobufCMessageDescriptor *type; // if it is a message that is read
} NEWER[] = {
    {"NodeProto", 8, NULL},                                         // overload
    {"NodeProto", 9, &onnx__string_string_entry_proto__descriptor}, // metadata_props
    {"NodeProto", 10, NULL},                                        // device_configurations
    {"FunctionProto", 11, &onnx__attribute_proto__descriptor},      // attribute_proto
    {"FunctionProto", 12, NULL},                                    // value_info
    {"FunctionProto", 13, NULL},                                    // overload
    {"FunctionProto", 14, NULL},                                    // metadata_props
    {"ModelProto", 26, NULL},                                       // configuration
    {"GraphProto", 16, NULL},                                       // metadata_props
    {"TensorProto", 16, NULL},                                      // metadata_props
    {"ValueInfoProto", 4, NULL},                                    // metadata_props
};

static bool newer_field(Scan *s, const ProtobufCMessageDescriptor *type, uint32_t field,
                        const ProtobufCMessageDescriptor **sub)
{
    for (size_t i = 0; i < sizeof NEWER / sizeof NEWER[0]; i++) {
        if (NEWER[i].field != field || strcmp(NEWER[i].message, type->short_name) != 0) continue;
        *sub = NEWER[i].type;
        return true;
    }
    return stop(s, arena_format(s->arena, "field %u of %s is unknown; the file is newer than nfcc, or damaged", field,
                                type->short_name));
}

static uint64_t round16(uint64_t n) { return (n + 15) & ~(uint64_t)15; }

// What the payload of a length-delimited field will cost once unpacked.
static uint64_t payload_cost(const ProtobufCFieldDescriptor *field, uint64_t length)
{
    if (!field) return round16(length) + sizeof(ProtobufCMessageUnknownField);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) return 0;
    if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES) return round16(length + 1) + 16;
    return length * 8; // packed numbers
}

static bool enter(Scan *s, const ProtobufCMessageDescriptor *type, const unsigned char *end)
{
    if (s->depth == DEPTH) return stop(s, "messages are nested deeper than 64");
    s->memory += round16(type->sizeof_message) + 8;
    s->stack[s->depth++] = (Open){type, end, 0};
    return true;
}

static bool once(Scan *s, Open *f, const ProtobufCFieldDescriptor *field)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED) return true;
    uint64_t bit = (uint64_t)1 << ((size_t)(field - f->type->fields) & 63);
    if (f->seen & bit) return stop(s, arena_format(s->arena, "%s.%s appears twice", f->type->short_name, field->name));
    f->seen |= bit;
    return true;
}

static bool delimited(Scan *s, Open *f, const ProtobufCFieldDescriptor *field, const ProtobufCMessageDescriptor *sub)
{
    uint64_t length = 0;
    if (!varint(s, f->end, &length)) return false;
    if (length > (uint64_t)(f->end - s->at))
        return stop(s, "a length runs past the end of its message: the file is truncated or damaged");
    s->memory += payload_cost(field, length);
    if (!sub) {
        s->at += length;
        return true;
    }
    if (field && !once(s, f, field)) return false;
    return enter(s, sub, s->at + length);
}

static bool fixed(Scan *s, const unsigned char *end, size_t size)
{
    if ((size_t)(end - s->at) < size) return stop(s, "a number runs past the end of its message");
    s->at += size;
    return true;
}

static bool one_field(Scan *s, Open *f)
{
    uint64_t tag = 0, ignored = 0;
    if (!varint(s, f->end, &tag)) return false;
    if (tag >> 3 == 0 || tag >> 32)
        return stop(s, "a field number is not valid: this is not an ONNX file, or it is damaged");
    const ProtobufCMessageDescriptor *sub = NULL;
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(f->type, (unsigned)(tag >> 3));
    if (!field && !newer_field(s, f->type, (uint32_t)(tag >> 3), &sub)) return false;
    if (field && field->type == PROTOBUF_C_TYPE_MESSAGE) sub = field->descriptor;
    s->memory += MEMBER + 8;
    if (s->memory > s->limit) return stop(s, "unpacked it would need more than 16 times its size and 64 MiB");
    switch (tag & 7) {
    case 0: return varint(s, f->end, &ignored);
    case 1: return fixed(s, f->end, 8);
    case 2: return delimited(s, f, field, sub);
    case 5: return fixed(s, f->end, 4);
    default: return stop(s, "a wire type is not valid: this is not an ONNX file, or it is damaged");
    }
}

const char *wire_scan(const void *bytes, size_t size, Arena *arena)
{
    Scan s = {.arena = arena, .at = bytes, .limit = 16 * (uint64_t)size + ((uint64_t)64 << 20)};
    enter(&s, &onnx__model_proto__descriptor, s.at + size);
    while (s.depth && !s.error) {
        Open *f = &s.stack[s.depth - 1];
        if (s.at == f->end)
            s.depth--;
        else
            one_field(&s, f);
    }
    if (!s.error && s.memory > s.limit) stop(&s, "unpacked it would need more than 16 times its size and 64 MiB");
    return s.error;
}
