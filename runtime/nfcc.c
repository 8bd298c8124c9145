/* libnfcc: everything that runs a compiled policy. nfcc.h says what the functions do, abi.h what a policy holds.
 *
 * A call is a list of items: item i is sample i % n of context row i / n. Items are worked off in tiles: few rows, one
 * after the other in memory ([row][lane]), or T = 16, 32, 64 rows, transposed ([lane][T]). The inputs of a tile are
 * laid into the program's work lanes, the program's code runs, its output lanes are taken back. Which tile an item
 * falls into never changes its bits, so tiles are chosen for speed alone.
 *
 * Nothing here computes with floats: they are moved as 32-bit words (get32, put32) and tested by their bits.
 *
 * Sections: words, descriptor, policy, processor, tiles, rows, prepared state, calls (prep, a tile, prepare), entries,
 * self test, open (of what is linked in; on Linux also file, look, load). */
#if defined(__SIZEOF_POINTER__) && __SIZEOF_POINTER__ != 8
#error "policies are code for 64-bit processors: compile for x86-64 or aarch64"
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nfcc.h"
#include "abi.h"
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef nfcc_abi_program Program;
typedef nfcc_abi_port Port;
typedef nfcc_abi_value Value;

enum {
    PORT_KINDS = NFCC_PORT_SCORE + 1,
    TILE_MAX = 64,        /* rows of the largest of TILE */
    MOST_FEW = 8,         /* so many rows are a tile of few at most, where there are larger tiles */
    LEAST_FIT = 4,        /* rows of few, fewer of which go by themselves */
    FEW_BYTES = 2 << 20,  /* WORK of many rows that a core's own cache holds */
    TILE_BYTES = 8 << 20, /* WORK of 32 and 64 rows at most: beyond that it comes from memory, and 16 rows take less */
    OVERREAD = 16,        /* lanes that code may read past the end of anything */
    MAX_LANES = 1 << 26,  /* of one program; more is a damaged file */
    MAX_VALUES = 1 << 16,
    ALIGN = 64,
    LINE = 64,
    OWN_STACK = 4096, /* bytes that the functions of this file use themselves */
    PAGE = 4096       /* no page is smaller */
};
static const unsigned TILE[NFCC_TILES] = {1, 16, 32, 64};
enum { FEW, SIXTEEN }; /* the slots whose code takes up to few_rows rows (abi.h), 16 rows */

/* A tile to be worked off next: its slot and the rows it has, padding included. */
typedef struct {
    uint8_t slot, rows;
} Choice;

/* Where the lanes of several rows lie: every row at a multiple of `stride` floats, in a tile of few rows. */
typedef struct {
    float *at;
    size_t stride;
} Region;

typedef struct {
    void *map;
    size_t size;
} Pages;

struct nfcc_policy {
    nfcc_info info;
    const nfcc_model *model;
    nfcc_abi_weights weights;
    bool other;                       /* the second set of code is used */
    unsigned tiles;                   /* bit s: every program has code for TILE[s] */
    unsigned few;                     /* rows that slot FEW takes */
    bool by_rows;                     /* @encode goes row by row, the other programs by tiles */
    bool shares_prep;                 /* one context of a tile lies as that of a tile of 16 rows */
    unsigned most;                    /* items that `choice` tells apart */
    Choice choice[NFCC_MOST_FEW + 1]; /* by the number of items left; that of `most` for more as well */
    uint32_t prep_lanes, noise_lanes; /* of two regions of a workspace; in the third lie programs' own */
    size_t main_bytes, prep_bytes;    /* of the first two */
    size_t widest;                    /* lanes of the largest of a caller's arrays */
    void *library;                    /* of nfcc_open: dlopen's handle */
    Pages copy, image;                /* mappings: of the weights, of their compact image (abi.h) */
    bool opened;                      /* by nfcc_open: nfcc_close gives everything back */
    bool looked;                      /* NFCC_OPEN_LOOK: nothing of it can be called */
};

/* ---- words: floats as bits ---------------------------------------------------------------------------------- */

#define ONE_BITS 0x3f800000u
#define NAN_BITS 0x7fc00000u
#define INF_BITS 0x7f800000u

static inline uint32_t get32(const void *p)
{
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}

static inline void put32(void *p, uint32_t w) { memcpy(p, &w, 4); }

/* Integers in the order of the floats: -0 is 0, and NaN (or `bad`) comes before -inf. Without a branch. */
static inline int32_t order_of(uint32_t w, bool bad)
{
    uint32_t magnitude = w & 0x7fffffffu, negative = 0u - (w >> 31);
    uint32_t none = 0u - (uint32_t)(bad | (magnitude > INF_BITS));
    return (int32_t)((((magnitude ^ negative) - negative) & ~none) | (0x80000000u & none));
}

/* Bit 31 of the result is set for NaN and infinity only. */
static inline uint32_t not_finite(uint32_t w) { return (w & 0x7fffffffu) + 0x00800000u; }

/* The float nearest to an integer, ties to even: exact up to 2^24. */
static uint32_t float_of_integer(int64_t value)
{
    if (value == 0) return 0;
    uint64_t m = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint32_t top = 63;
    while (!(m >> top)) top--;
    if (top <= 23) {
        m <<= 23 - top;
    } else {
        uint64_t half = 1ull << (top - 24), rest = m & (2 * half - 1);
        m >>= top - 23;
        m += rest > half || (rest == half && (m & 1)); /* 2^24 carries into the exponent by the addition below */
    }
    return (value < 0 ? 0x80000000u : 0) + ((top + 127) << 23) + (uint32_t)(m - (1u << 23));
}

/* Towards zero; NaN is 0, what does not fit is the nearest that does. */
static int64_t integer_of_float(uint32_t w)
{
    uint32_t exponent = w >> 23 & 255;
    bool negative = w >> 31;
    uint64_t m = (w & 0x7fffffu) | 0x800000u;
    if ((w & 0x7fffffffu) > INF_BITS || exponent < 127) return 0;
    if (exponent >= 127 + 63) return negative ? INT64_MIN : INT64_MAX;
    m = exponent >= 150 ? m << (exponent - 150) : m >> (150 - exponent);
    return negative ? -(int64_t)m : (int64_t)m;
}

static size_t element_size(uint32_t dtype) { return dtype == NFCC_I64 ? 8 : dtype == NFCC_BOOL ? 1 : 4; }

static uint32_t read_element(const unsigned char *at, uint32_t dtype)
{
    int64_t integer;
    if (dtype == NFCC_BOOL) return *at ? ONE_BITS : 0;
    if (dtype != NFCC_I64) return get32(at);
    memcpy(&integer, at, 8);
    return float_of_integer(integer);
}

static void write_element(unsigned char *at, uint32_t dtype, uint32_t w)
{
    int64_t integer = integer_of_float(w);
    if (dtype == NFCC_BOOL)
        *at = (w & 0x7fffffffu) != 0;
    else if (dtype == NFCC_I64)
        memcpy(at, &integer, 8);
    else
        put32(at, w);
}

static bool multiply(size_t a, size_t b, size_t *product)
{
    if (b && a > SIZE_MAX / 2 / b) return false;
    *product = a * b;
    return true;
}

static size_t least_of(size_t a, size_t b) { return a < b ? a : b; }
static size_t largest_of(size_t a, size_t b) { return a > b ? a : b; }

static size_t round_up(size_t value, size_t step) { return (value + step - 1) / step * step; }

static void *align_up(const void *p, size_t step) { return (void *)(((uintptr_t)p + step - 1) / step * step); }

/* ---- descriptor: reading and checking ----------------------------------------------------------------------- */

static const void *at_offset(const nfcc_model *m, uint64_t offset) { return (const char *)m + offset; }

static const Program *program_of(const nfcc_model *m, int id)
{
    return m->programs[id].exists ? &m->programs[id] : NULL;
}

static const Port *ports_in(const nfcc_model *m, const Program *program) { return at_offset(m, program->in); }
static const Port *ports_out(const nfcc_model *m, const Program *program) { return at_offset(m, program->out); }

static const Port *find_port(const Port *port, uint32_t n, uint32_t kind)
{
    for (uint32_t i = 0; i < n; i++)
        if (port[i].kind == kind) return &port[i];
    return NULL;
}

static const Port *in_port(const nfcc_model *m, int id, uint32_t kind)
{
    const Program *program = program_of(m, id);
    return program ? find_port(ports_in(m, program), program->n_in, kind) : NULL;
}

static const Port *out_port(const nfcc_model *m, int id, uint32_t kind)
{
    const Program *program = program_of(m, id);
    return program ? find_port(ports_out(m, program), program->n_out, kind) : NULL;
}

/* Where the policy's file is mapped. No segments: linked in, its ranges are the linker's. */
enum { MOST_SEGMENTS = 8 };
typedef struct {
    uintptr_t from, to;
    bool code;
} Segment;
typedef struct {
    Segment segment[MOST_SEGMENTS];
    int n;
} Image;

static bool image_holds(const Image *image, uintptr_t from, uint64_t size, bool code)
{
    if (image->n == 0) return true;
    for (int i = 0; i < image->n; i++)
        if (from >= image->segment[i].from && from <= image->segment[i].to && size <= image->segment[i].to - from &&
            (!code || image->segment[i].code))
            return true;
    return false;
}

static bool table_ok(const nfcc_model *m, uint32_t at, uint64_t count, size_t item)
{
    return count == 0 || (at >= sizeof *m && at % 4 == 0 && at <= m->size && count <= (m->size - at) / item);
}

static bool string_ok(const nfcc_model *m, uint32_t at)
{
    return at == 0 || (at < m->size && memchr(at_offset(m, at), 0, m->size - at));
}

static bool value_ok(const nfcc_model *m, const Value *value)
{
    uint64_t lanes = 1;
    if (value->rank > 8 || !string_ok(m, value->name)) return false;
    if (value->dtype != NFCC_F32 && value->dtype != NFCC_I64 && value->dtype != NFCC_BOOL) return false;
    for (uint32_t i = 0; i < value->rank; i++) {
        lanes *= value->dim[i];
        if (lanes > MAX_LANES) return false;
    }
    return lanes == value->lanes;
}

static bool values_ok(const nfcc_model *m, uint32_t at, uint32_t n)
{
    if (n > MAX_VALUES || !table_ok(m, at, n, sizeof(Value))) return false;
    const Value *value = at_offset(m, at);
    for (uint32_t i = 0; i < n; i++)
        if (!value_ok(m, &value[i])) return false;
    return true;
}

/* The ports each program may have and, as `needs`, those it must have. */
#define BIT(kind) (1u << NFCC_PORT_##kind)
static const struct {
    unsigned in, out, needs_in, needs_out;
} PORTS[NFCC_PROGRAMS] = {
    [NFCC_PROGRAM_ENCODE] = {BIT(CONTEXT), BIT(EARLY), 0, BIT(EARLY)},
    [NFCC_PROGRAM_LATE] = {BIT(EARLY), BIT(PREP), BIT(EARLY), BIT(PREP)},
    [NFCC_PROGRAM_TO_LATENT] = {BIT(X), BIT(Z) | BIT(LOG_DET) | BIT(LOG_PROB), BIT(X), 0},
    [NFCC_PROGRAM_TO_EVENT] = {BIT(Z), BIT(X) | BIT(LOG_DET) | BIT(LOG_PROB) | BIT(ACT), BIT(Z), BIT(X)},
    [NFCC_PROGRAM_NOISE] = {BIT(SEED) | BIT(TEMPERATURE), BIT(Z), BIT(SEED) | BIT(TEMPERATURE), BIT(Z)},
    [NFCC_PROGRAM_RUN] = {BIT(GRAPH), BIT(GRAPH), 0, 0},
    [NFCC_PROGRAM_SCORE] = {BIT(X), BIT(SCORE) | BIT(LOG_PROB), BIT(X), BIT(SCORE)},
    [NFCC_PROGRAM_ACT] = {BIT(Z), BIT(ACT), BIT(Z), BIT(ACT)},
    [NFCC_PROGRAM_BASE] = {BIT(Z), BIT(Z), BIT(Z), BIT(Z)},
    [NFCC_PROGRAM_TO_LATENT_EARLY] = {BIT(X) | BIT(EARLY), BIT(Z) | BIT(LOG_DET) | BIT(LOG_PROB), BIT(X) | BIT(EARLY),
                                      0},
    [NFCC_PROGRAM_TO_EVENT_EARLY] = {BIT(Z) | BIT(EARLY), BIT(X) | BIT(LOG_DET) | BIT(LOG_PROB) | BIT(ACT),
                                     BIT(Z) | BIT(EARLY), BIT(X)},
};

static bool array_lanes_ok(const nfcc_model *m, const Port *port, uint32_t at, uint32_t n)
{
    const Value *value = at_offset(m, at);
    return port->index < n && port->lanes == value[port->index].lanes;
}

/* A port is as wide as what it carries. Without an event the noise program may have any width (golden inputs). */
static bool port_lanes_ok(const nfcc_model *m, const Port *port, bool in)
{
    switch (port->kind) {
    case NFCC_PORT_CONTEXT: return array_lanes_ok(m, port, m->contexts, m->n_contexts);
    case NFCC_PORT_GRAPH:
        return in ? array_lanes_ok(m, port, m->inputs, m->n_inputs) : array_lanes_ok(m, port, m->outputs, m->n_outputs);
    case NFCC_PORT_EARLY: return port->lanes == m->early_lanes;
    case NFCC_PORT_PREP: return port->lanes == m->prep_lanes;
    case NFCC_PORT_SEED: return port->lanes == 4;
    case NFCC_PORT_LOG_DET:
    case NFCC_PORT_LOG_PROB:
    case NFCC_PORT_TEMPERATURE: return port->lanes == 1;
    case NFCC_PORT_Z: return port->lanes == m->event.lanes || (m->event.lanes == 0 && port->lanes > 0);
    case NFCC_PORT_SCORE:
        if (port->index)
            return array_lanes_ok(m, &(Port){.index = port->index - 1, .lanes = port->lanes}, m->contexts,
                                  m->n_contexts);
        return port->lanes == m->event.lanes;
    default: return port->lanes == m->event.lanes;
    }
}

static bool ports_ok(const nfcc_model *m, const Program *program, bool in, unsigned allowed, unsigned needed)
{
    uint32_t at = in ? program->in : program->out, n = in ? program->n_in : program->n_out;
    if (n > MAX_VALUES || !table_ok(m, at, n, sizeof(Port))) return false;
    const Port *port = at_offset(m, at);
    unsigned seen = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (port[i].kind >= PORT_KINDS || !(allowed >> port[i].kind & 1)) return false;
        if (port[i].at > program->work_lanes || port[i].lanes > program->work_lanes - port[i].at) return false;
        if (!port_lanes_ok(m, &port[i], in)) return false;
        seen |= 1u << port[i].kind;
    }
    if (m->early_lanes == 0) needed &= ~BIT(EARLY);
    if (m->prep_lanes == 0) needed &= ~BIT(PREP);
    return (needed & ~seen) == 0;
}

/* The code offsets of a program: the first set's, or the other's. */
static const int32_t *code_of(const nfcc_model *m, bool other, int id)
{
    if (!other) return m->programs[id].code;
    return (const int32_t *)at_offset(m, m->other_code) + id * NFCC_TILES;
}

static bool code_ok(const nfcc_model *m, const int32_t *code, const Image *image)
{
    for (int s = 0; s < NFCC_TILES; s++) {
        int64_t offset = code[s];
        uintptr_t address = (uintptr_t)m + (uintptr_t)offset;
        if (offset == 0 && s == FEW) return false;
        if (offset > 0 && (uint64_t)offset < m->weights + m->weights_size) return false; /* within the data */
        if (offset && !image_holds(image, address, 1, true)) return false;
    }
    return true;
}

static bool programs_ok(const nfcc_model *m, const Image *image)
{
    for (int id = 0; id < NFCC_PROGRAMS; id++) {
        const Program *program = program_of(m, id);
        if (!program) continue;
        if (program->work_lanes > MAX_LANES || !code_ok(m, program->code, image)) return false;
        if (m->other_cpu && !code_ok(m, code_of(m, true, id), image)) return false;
        if (!ports_ok(m, program, true, PORTS[id].in, PORTS[id].needs_in)) return false;
        if (!ports_ok(m, program, false, PORTS[id].out, PORTS[id].needs_out)) return false;
    }
    if (m->early_lanes && !program_of(m, NFCC_PROGRAM_ENCODE)) return false;
    return program_of(m, NFCC_PROGRAM_LATE) || m->prep_lanes == 0 || m->prep_lanes == m->early_lanes;
}

static bool strings_ok(const nfcc_model *m)
{
    return string_ok(m, m->name) && string_ok(m, m->compiler) && string_ok(m, m->target) && string_ok(m, m->base) &&
           string_ok(m, m->notes);
}

/* Bytes of a unit of compact weights as it lies in the weights, and of its image. */
static uint64_t unit_bytes(const nfcc_model *m) { return (uint64_t)NFCC_UNIT_LINES(m->weight_dtype) * LINE; }

/* Of a group's image: up to the bytes that say which units have none, up to these units; what there is room for. */
static uint64_t image_bytes(const nfcc_model *m, uint64_t units) { return LINE + units * (unit_bytes(m) - LINE); }
static uint64_t image_head(const nfcc_model *m, uint64_t units)
{
    return image_bytes(m, units) + round_up(units, LINE);
}

/* Every group is within the weights, and its image within the group. */
static bool compact_ok(const nfcc_model *m)
{
    if (!table_ok(m, m->compact, m->n_compact, sizeof(nfcc_abi_compact))) return false;
    const nfcc_abi_compact *c = at_offset(m, m->compact);
    for (uint32_t i = 0; i < m->n_compact; i++) {
        uint64_t units = (uint64_t)c[i].units * c[i].groups, at = 4 * (uint64_t)c[i].at;
        if (at > m->weights_size || c[i].units > MAX_LANES) return false;
        if (!c[i].columns || c[i].units % c[i].columns) return false;
        if (units > (m->weights_size - at) / unit_bytes(m)) return false;
        if (image_head(m, c[i].units) > c[i].units * unit_bytes(m)) return false;
    }
    return true;
}

/* Nothing of a descriptor is used before this has said NFCC_OK. */
static nfcc_status model_check(const nfcc_model *m, const Image *image)
{
    if ((uintptr_t)m % _Alignof(nfcc_model) || !image_holds(image, (uintptr_t)m, sizeof *m, false)) return NFCC_ABI;
    if (m->magic != NFCC_ABI_MAGIC || m->version != NFCC_ABI_VERSION || m->weight_dtype > NFCC_WEIGHTS_BF16)
        return NFCC_ABI;
    if (m->size < sizeof *m || m->size > INT32_MAX || !image_holds(image, (uintptr_t)m, m->size, false))
        return NFCC_ABI;
    if (m->weights % 4 || m->weights < m->size || m->weights > INT64_MAX || m->weights_size > INT64_MAX)
        return NFCC_ABI;
    if (!image_holds(image, (uintptr_t)m + (uintptr_t)m->weights, m->weights_size, false)) return NFCC_ABI;
    if (m->early_lanes > MAX_LANES || m->prep_lanes > MAX_LANES) return NFCC_ABI;
    if (!strings_ok(m) || !values_ok(m, m->contexts, m->n_contexts)) return NFCC_ABI;
    if (!values_ok(m, m->inputs, m->n_inputs) || !values_ok(m, m->outputs, m->n_outputs)) return NFCC_ABI;
    if (m->event.lanes && (!value_ok(m, &m->event) || m->event.dtype != NFCC_F32)) return NFCC_ABI;
    if (!table_ok(m, m->golden, m->golden_words, 4) || m->golden_rows > MAX_VALUES) return NFCC_ABI;
    if (m->few_rows > NFCC_MOST_FEW) return NFCC_ABI;
    if (m->other_cpu && !table_ok(m, m->other_code, NFCC_PROGRAMS * NFCC_TILES, 4)) return NFCC_ABI;
    if (!compact_ok(m)) return NFCC_ABI;
    return programs_ok(m, image) ? NFCC_OK : NFCC_ABI;
}

/* ---- policy: what a descriptor that was checked becomes ----------------------------------------------------- */

static const char *text_of(const nfcc_model *m, uint32_t at) { return at ? at_offset(m, at) : ""; }

static nfcc_value describe(const nfcc_model *m, const Value *value)
{
    nfcc_value v = {.name = text_of(m, value->name), .type = (nfcc_type)value->dtype, .size = value->lanes};
    v.rank = value->rank;
    for (unsigned i = 0; i < v.rank; i++) v.shape[i] = value->dim[i];
    return v;
}

static nfcc_value *describe_all(const nfcc_model *m, uint32_t at, uint32_t n, nfcc_value *to)
{
    const Value *value = at_offset(m, at);
    for (uint32_t i = 0; i < n; i++) to[i] = describe(m, &value[i]);
    return to + n;
}

static unsigned entries_of(const nfcc_model *m)
{
    unsigned entries = 0;
    if (out_port(m, NFCC_PROGRAM_TO_LATENT, NFCC_PORT_Z)) entries |= NFCC_HAS_TO_LATENT;
    if (out_port(m, NFCC_PROGRAM_TO_LATENT, NFCC_PORT_LOG_PROB)) entries |= NFCC_HAS_LOG_PROB;
    if (out_port(m, NFCC_PROGRAM_SCORE, NFCC_PORT_SCORE)) entries |= NFCC_HAS_SCORE;
    if (program_of(m, NFCC_PROGRAM_TO_EVENT)) {
        entries |= NFCC_HAS_TO_EVENT;
        if (program_of(m, NFCC_PROGRAM_NOISE)) entries |= NFCC_HAS_SAMPLE | NFCC_HAS_ACT;
        if ((entries & NFCC_HAS_SAMPLE) && out_port(m, NFCC_PROGRAM_TO_EVENT, NFCC_PORT_LOG_PROB))
            entries |= NFCC_HAS_SAMPLE_AND_LOG_PROB | NFCC_HAS_SAMPLE_BEST;
    }
    if (program_of(m, NFCC_PROGRAM_RUN)) entries |= NFCC_HAS_RUN;
    return m->event.lanes ? entries : entries & NFCC_HAS_RUN;
}

/* Of more than 16 rows only if WORK is not too much. The score's and the denoised action's may be: the other entries have
 * the tiles that are best for them. */
static bool fits(const nfcc_model *m, int id, int slot)
{
    if (slot <= SIXTEEN || id == NFCC_PROGRAM_SCORE || id == NFCC_PROGRAM_ACT) return true;
    return (uint64_t)m->programs[id].work_lanes * TILE[slot] * 4 <= TILE_BYTES;
}

/* @encode has code for few rows alone: it goes row by row, whatever tile its results are for. */
static bool encodes_few(const nfcc_model *m, bool other)
{
    const int32_t *code = code_of(m, other, NFCC_PROGRAM_ENCODE);
    for (int s = SIXTEEN; s < NFCC_TILES; s++)
        if (code[s]) return false;
    return program_of(m, NFCC_PROGRAM_ENCODE);
}

/* A tile size serves if every program has code for it, since a call chains several programs on one tile, and fits. */
static unsigned tiles_of(const nfcc_model *m, bool other)
{
    unsigned tiles = (1u << NFCC_TILES) - 1;
    for (int id = 0; id < NFCC_PROGRAMS; id++)
        for (int s = 0; s < NFCC_TILES; s++) {
            bool needs = m->programs[id].exists && !(id == NFCC_PROGRAM_ENCODE && encodes_few(m, other));
            if (needs && (code_of(m, other, id)[s] == 0 || !fits(m, id, s))) tiles &= ~(1u << s);
        }
    return tiles;
}

static bool only_few(const nfcc_policy *p) { return p->tiles >> SIXTEEN == 0; }

/* Floats from row to row of a tile of few rows: an odd number of cache lines, so that rows spread over a cache's sets.
 */
static size_t few_stride(uint32_t lanes) { return (round_up(lanes, 16) / 16 | 1) * 16; }

static size_t few_bytes(uint32_t lanes, size_t few) { return (few_stride(lanes) * few + OVERREAD) * 4; }

static size_t region_bytes(const nfcc_policy *p, uint32_t lanes, size_t few)
{
    size_t bytes = few_bytes(lanes, few);
    for (int s = FEW + 1; s < NFCC_TILES; s++) {
        size_t tile = (round_up(lanes, 16) + OVERREAD) * TILE[s] * 4;
        if ((p->tiles >> s & 1) && tile > bytes) bytes = tile;
    }
    return round_up(bytes, ALIGN);
}

/* Rows of a tile of few at most whose WORK has so many lanes: many rows stay within a core's own cache. Of rows as long
 * as a picture's nothing would stay there from step to step, so each goes by itself, unless the weights do not stay
 * either: then some share them. */
static size_t rows_within(const nfcc_policy *p, uint32_t lanes)
{
    if (!only_few(p)) return p->few;
    size_t fit = FEW_BYTES / (few_stride(lanes) * 4), most = fit < TILE[SIXTEEN] ? TILE[SIXTEEN] : fit;
    if (fit < LEAST_FIT) most = p->model->weights_size > FEW_BYTES ? LEAST_FIT : 1;
    return most < p->few ? most : p->few;
}

/* A tile's, by the estimates of the policy (abi.h). */
static uint64_t tile_cost(const nfcc_policy *p, int slot, size_t rows)
{
    const uint32_t *cost = p->model->cost;
    if (slot != FEW) return cost[NFCC_COST_16 + slot - 1];
    if (rows == 1) return cost[NFCC_COST_ONE];
    uint64_t shared = cost[rows <= 4 ? NFCC_COST_FOUR : NFCC_COST_EIGHT];
    if (rows == 2 && p->model->cost_two) shared = p->model->cost_two;
    return shared + (uint64_t)cost[NFCC_COST_EACH] * rows;
}

static size_t most_rows(const nfcc_policy *p, int slot) { return slot == FEW ? p->few : TILE[slot]; }

/* Code of few rows reads each weight once for up to MOST_FEW of them: more are better off in a larger tile. Where there
 * is none it is code that reads a weight once for all rows that it takes. */
static size_t few_of(const nfcc_policy *p)
{
    size_t rows = p->model->few_rows ? p->model->few_rows : 1;
    return only_few(p) || rows < MOST_FEW ? rows : MOST_FEW;
}

/* The cheapest tiles for as many items as the largest of them may have rows, the first one of each list: the rest has
 * its own. */
static void choose_tiles(nfcc_policy *p)
{
    uint64_t cost[NFCC_MOST_FEW + 1] = {0};
    p->most = only_few(p) ? NFCC_MOST_FEW : TILE_MAX;
    for (size_t left = 1; left <= p->most; left++) {
        cost[left] = UINT64_MAX;
        for (int s = NFCC_TILES - 1; s >= FEW; s--)
            for (size_t rows = most_rows(p, s), least = s == FEW ? 1 : rows; rows >= least; rows--) {
                uint64_t all = tile_cost(p, s, rows) + cost[left > rows ? left - rows : 0];
                if (!(p->tiles >> s & 1) || (s == FEW && rows > left) || all >= cost[left]) continue;
                cost[left] = all;
                p->choice[left] = (Choice){(uint8_t)s, (uint8_t)rows};
            }
    }
}

static uint32_t work_lanes(const nfcc_model *m, int id)
{
    const Program *program = program_of(m, id);
    return program ? program->work_lanes : 0;
}

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static void set_work_size(nfcc_policy *p)
{
    const nfcc_model *m = p->model;
    for (int id = 0; id < NFCC_PROGRAMS; id++) {
        uint32_t lanes = work_lanes(m, id);
        size_t bytes = region_bytes(p, lanes, rows_within(p, lanes));
        if (p->by_rows && id == NFCC_PROGRAM_ENCODE) bytes = round_up(few_bytes(lanes, 1), ALIGN);
        if (bytes > p->main_bytes) p->main_bytes = bytes;
    }
    p->prep_lanes = larger(work_lanes(m, NFCC_PROGRAM_LATE), larger(m->prep_lanes, p->by_rows ? m->early_lanes : 0));
    p->noise_lanes = larger(work_lanes(m, NFCC_PROGRAM_NOISE), work_lanes(m, NFCC_PROGRAM_BASE));
    p->prep_bytes = region_bytes(p, p->prep_lanes, p->few);
    p->info.work_size = ALIGN + p->main_bytes + p->prep_bytes + region_bytes(p, p->noise_lanes, p->few);
}

static size_t count_values(const nfcc_model *m) { return (size_t)m->n_contexts + m->n_inputs + m->n_outputs; }

static void set_widest(nfcc_policy *p)
{
    p->widest = p->info.event_size;
    for (size_t i = 0; i < count_values(p->model); i++) /* contexts, inputs and outputs follow each other */
        if (p->info.contexts[i].size > p->widest) p->widest = p->info.contexts[i].size;
}

static void fill_policy(nfcc_policy *p, const nfcc_model *m, bool other)
{
    nfcc_value *values = (nfcc_value *)(p + 1);
    memset(p, 0, sizeof *p);
    p->model = m;
    p->weights.at = at_offset(m, m->weights);
    p->other = other;
    p->tiles = tiles_of(m, other);
    p->few = (unsigned)few_of(p);
    p->by_rows = !only_few(p) && encodes_few(m, other);
    p->shares_prep = m->shares_prep && (p->tiles >> SIXTEEN & 1);
    p->info = (nfcc_info){.abi_version = m->version, .name = text_of(m, m->name), .compiler = text_of(m, m->compiler)};
    p->info.target = text_of(m, m->target);
    p->info.base = text_of(m, m->base);
    p->info.notes = text_of(m, m->notes);
    memcpy(p->info.model_hash, m->hash, sizeof m->hash);
    p->info.entries = entries_of(m);
    p->info.n_contexts = m->n_contexts, p->info.contexts = values;
    values = describe_all(m, m->contexts, m->n_contexts, values);
    p->info.n_inputs = m->n_inputs, p->info.inputs = values;
    values = describe_all(m, m->inputs, m->n_inputs, values);
    p->info.n_outputs = m->n_outputs, p->info.outputs = values;
    describe_all(m, m->outputs, m->n_outputs, values);
    p->info.event = m->event.lanes ? describe(m, &m->event) : (nfcc_value){.name = ""};
    p->info.event_size = m->event.lanes;
    p->info.weights_size = (size_t)m->weights_size;
    p->info.cpu = other ? m->other_cpu : m->cpu;
    p->info.stack_size = m->stack_bytes ? m->stack_bytes + (size_t)OWN_STACK : 0;
    choose_tiles(p);
    set_work_size(p);
    set_widest(p);
}

/* ---- processor ---------------------------------------------------------------------------------------------- */

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

static bool all_set(uint64_t word, uint64_t bits) { return (word & bits) == bits; }

/* What the processor has and the operating system saves (XCR0). AVX2_FMA stands for all of x86-64-v3, AVX512 for v4. */
static unsigned cpu_features(void)
{
    unsigned a, b, c, d, one, seven, tiles, extended, sub = 0, saved, saved_high, features = 0;
    if (!__get_cpuid(1, &a, &b, &one, &d) || !(one >> 27 & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(saved_high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &seven, &c, &tiles)) return 0;
    if (a >= 1 && __get_cpuid_count(7, 1, &sub, &b, &c, &d) == 0) sub = 0;
    if (!__get_cpuid(0x80000001u, &a, &b, &extended, &d)) return 0;
    bool v3 = all_set(one, 1u << 12 | 1u << 22 | 1u << 28 | 1u << 29) /* FMA MOVBE AVX F16C */ &&
              all_set(seven, 1u << 3 | 1u << 5 | 1u << 8) /* BMI1 AVX2 BMI2 */ && (extended >> 5 & 1) /* LZCNT */;
    bool v4 = all_set(seven, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) /* F DQ CD BW VL */;
    if (v3 && all_set(saved, 0x6)) features |= NFCC_CPU_AVX2_FMA;
    if (v3 && v4 && all_set(saved, 0xe6)) features |= NFCC_CPU_AVX512;
    if ((features & NFCC_CPU_AVX512) && (sub >> 5 & 1)) features |= NFCC_CPU_AVX512_BF16;
    if (all_set(tiles, 1u << 22 | 1u << 24) && all_set(saved, 1u << 17 | 1u << 18)) features |= NFCC_CPU_AMX_BF16;
    return features;
}

/* MXCSR: rounding to nearest, subnormals neither flushed nor read as zero. */
static bool default_environment(void)
{
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return (mxcsr & (0x6000u | 0x8000u | 0x40u)) == 0;
}
#elif defined(__aarch64__)
static unsigned cpu_features(void) { return NFCC_CPU_NEON; }

/* FPCR: RMode, FZ, and of FEAT_AFP FIZ and AH. */
static bool default_environment(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (fpcr & (3u << 22 | 1u << 24 | 3u)) == 0;
}
#else
static unsigned cpu_features(void) { return 0; }
static bool default_environment(void) { return true; }
#endif

/* AMX tiles are 8 KiB of a thread's state, which Linux keeps for processes that have asked: once, for all threads. */
#if defined(__linux__) && defined(__x86_64__)
static bool may_use(unsigned cpu)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return !(cpu & NFCC_CPU_AMX_BF16) || syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
static bool may_use(unsigned cpu)
{
    (void)cpu;
    return true;
}
#endif

/* ---- tiles -------------------------------------------------------------------------------------------------- */

/* Which row of an array each row t of a tile is: first + of[t]. of[0] = 0. */
typedef struct {
    size_t first;
    uint8_t of[NFCC_MOST_FEW];
} Index;

static size_t index_of(const Index *index, size_t t) { return index->first + index->of[t]; }

typedef struct {
    int slot;
    unsigned rows, used;        /* rows beyond `used` repeat the last one; their results are dropped */
    Index item, row;            /* of the call; of the contexts */
    uint8_t bad[NFCC_MOST_FEW]; /* an input of row t is not finite */
} Tile;

/* The tile of up to c.rows items from `first` on. */
static void set_tile(Tile *tile, Choice c, size_t first, size_t items, size_t n)
{
    size_t sample = first % n;
    uint8_t row = 0;
    tile->slot = c.slot;
    tile->rows = c.rows;
    tile->used = items - first < tile->rows ? (unsigned)(items - first) : tile->rows;
    tile->item.first = first;
    tile->row.first = first / n;
    for (unsigned t = 0; t < tile->rows; t++) {
        bool padding = t >= tile->used;
        tile->item.of[t] = (uint8_t)(padding ? tile->used - 1 : t);
        tile->row.of[t] = padding ? tile->row.of[t - 1] : row;
        tile->bad[t] = 0;
        if (++sample == n) row++, sample = 0;
    }
}

/* Lanes of a tile's rows: lane l of row t is at[l * lane + t * row]. */
typedef struct {
    float *at;
    size_t lane, row;
} Lanes;

static Lanes lanes_of(Region work, const Tile *tile)
{
    if (tile->slot == FEW) return (Lanes){work.at, 1, work.stride};
    return (Lanes){work.at, tile->rows, 1};
}

static Lanes lanes_from(Lanes lanes, size_t first)
{
    lanes.at += first * lanes.lane;
    return lanes;
}

static Lanes port_lanes(Region work, const Port *port, const Tile *tile)
{
    return lanes_from(lanes_of(work, tile), port->at);
}

static float *lane_of(Lanes lanes, size_t l, size_t t) { return lanes.at + l * lanes.lane + t * lanes.row; }

static void run_code(const nfcc_policy *p, int id, const Tile *tile, Region work, Lanes prep)
{
    intptr_t offset = code_of(p->model, p->other, id)[tile->slot];
    nfcc_abi_code *code = (nfcc_abi_code *)((uintptr_t)p->model + (uintptr_t)offset);
    bool shared = tile->slot != FEW && prep.lane != tile->rows; /* as 16 rows */
    bool compact = p->model->compact_programs >> id & 1;
    nfcc_abi_weights weights = {p->weights.at, compact ? p->weights.image : 0};
    code(work.at, prep.at, &weights, NFCC_FEW(tile->rows, work.stride, shared ? prep.lane : prep.row));
}

static void copy_lanes(const Tile *tile, Lanes to, Lanes from, size_t lanes)
{
    if (tile->slot != FEW) memmove(to.at, from.at, lanes * tile->rows * 4);
    for (size_t t = 0; tile->slot == FEW && t < tile->rows; t++)
        memmove(lane_of(to, 0, t), lane_of(from, 0, t), lanes * 4);
}

/* ---- rows: arrays into the lanes of a tile and back --------------------------------------------------------- */

/* Sixteen words, of four rows or of four lanes, change places in registers: rows enter and leave a tile of 16 and more
 * in blocks of these. Compilers without such vectors move words one by one. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define HAS_FOUR 1
#endif
#endif
#ifdef HAS_FOUR
typedef uint32_t Four __attribute__((vector_size(16)));

static inline Four get_four(const void *p)
{
    Four w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline void put_four(void *p, Four w) { memcpy(p, &w, sizeof w); }

/* Loops over four vectors are written out: compilers would keep an array of them in memory. */
typedef struct {
    Four a, b, c, d;
} Fours;

static inline Fours transposed(Fours w)
{
    Four a = __builtin_shufflevector(w.a, w.b, 0, 4, 1, 5), b = __builtin_shufflevector(w.c, w.d, 0, 4, 1, 5);
    Four c = __builtin_shufflevector(w.a, w.b, 2, 6, 3, 7), d = __builtin_shufflevector(w.c, w.d, 2, 6, 3, 7);
    return (Fours){__builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
                   __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
}

static inline Four not_finite_four(Four w) { return (w & 0x7fffffffu) + 0x00800000u; }

/* The first n / 4 * 4 lanes of four rows; bit 31 of *seen: one is not finite. `to`: lane 0 of the first of the rows. */
static size_t load_fours(float *to, size_t lane, const unsigned char *const row[4], size_t n, uint32_t seen[4])
{
    Four all = get_four(seen);
    size_t l = 0;
    for (; l + 4 <= n; l += 4, to += 4 * lane) {
        Fours w = {get_four(row[0] + 4 * l), get_four(row[1] + 4 * l), get_four(row[2] + 4 * l),
                   get_four(row[3] + 4 * l)};
        w = transposed(w);
        all |= not_finite_four(w.a) | not_finite_four(w.b) | not_finite_four(w.c) | not_finite_four(w.d);
        put_four(to, w.a), put_four(to + lane, w.b), put_four(to + 2 * lane, w.c), put_four(to + 3 * lane, w.d);
    }
    put_four(seen, all);
    return l;
}

/* The same of one row, whose lanes follow each other. */
static size_t load_run(float *to, const unsigned char *row, size_t n, uint32_t seen[4])
{
    Four all = get_four(seen);
    size_t l = 0;
    for (; l + 4 <= n; l += 4) {
        Four w = get_four(row + 4 * l);
        all |= not_finite_four(w);
        put_four(to + l, w);
    }
    put_four(seen, all);
    return l;
}

static size_t store_fours(unsigned char *const row[4], const float *from, size_t lane, size_t n)
{
    size_t l = 0;
    for (; l + 4 <= n; l += 4, from += 4 * lane) {
        Fours w = transposed(
            (Fours){get_four(from), get_four(from + lane), get_four(from + 2 * lane), get_four(from + 3 * lane)});
        put_four(row[0] + 4 * l, w.a), put_four(row[1] + 4 * l, w.b);
        put_four(row[2] + 4 * l, w.c), put_four(row[3] + 4 * l, w.d);
    }
    return l;
}
#else
static size_t load_fours(float *to, size_t lane, const unsigned char *const row[4], size_t n, uint32_t seen[4])
{
    (void)to, (void)lane, (void)row, (void)n, (void)seen;
    return 0;
}

static size_t load_run(float *to, const unsigned char *row, size_t n, uint32_t seen[4])
{
    (void)to, (void)row, (void)n, (void)seen;
    return 0;
}

static size_t store_fours(unsigned char *const row[4], const float *from, size_t lane, size_t n)
{
    (void)row, (void)from, (void)lane, (void)n;
    return 0;
}
#endif

/* One row whose lanes follow each other. */
static void load_row(float *to, const unsigned char *row, size_t lanes, uint8_t *bad)
{
    uint32_t seen[4] = {0};
    for (size_t l = load_run(to, row, lanes, seen); l < lanes; l++) {
        uint32_t w = get32(row + 4 * l);
        seen[0] |= not_finite(w);
        put32(to + l, w);
    }
    *bad |= (uint8_t)((seen[0] | seen[1] | seen[2] | seen[3]) >> 31);
}

/* Arrays [row][lane] -> lanes: row t is row index[t] of `from`, whose rows are `stride` words apart. Four rows at a
 * time stay in registers, and so many lanes that the lines read follow each other and those written stay in cache.
 * Marks rows that are not finite. */
enum { LANES_AT_ONCE = 64, ROWS_AT_ONCE = 4 };

static void load_block(Lanes to, const unsigned char *const row[ROWS_AT_ONCE], size_t lanes, uint8_t *bad)
{
    uint32_t seen[ROWS_AT_ONCE] = {0};
    size_t done = load_fours(to.at, to.lane, row, lanes, seen);
    for (size_t t = 0; t < ROWS_AT_ONCE; t++) {
        for (size_t l = done; l < lanes; l++) {
            uint32_t w = get32(row[t] + 4 * l);
            seen[t] |= not_finite(w);
            put32(lane_of(to, l, t), w);
        }
        bad[t] |= (uint8_t)(seen[t] >> 31);
    }
}

/* What the next tile will load from `row` + distance on; of the last one nothing is there, which does no harm. */
static void fetch_ahead(const unsigned char *row, size_t distance, size_t bytes)
{
#if defined(__GNUC__)
    for (size_t at = 0; at < bytes; at += ALIGN)
        __builtin_prefetch((const void *)((uintptr_t)row + distance + at), 0, 2);
#else
    (void)row, (void)distance, (void)bytes;
#endif
}

static void load_words(Tile *tile, Lanes to, const Index *index, const void *from, size_t lanes, size_t stride)
{
    if (tile->slot == FEW) {
        for (size_t t = 0; t < tile->rows; t++)
            load_row(lane_of(to, 0, t), (const unsigned char *)from + index_of(index, t) * stride * 4, lanes,
                     tile->bad + t);
        return;
    }
    for (size_t block = 0; block < lanes; block += LANES_AT_ONCE)
        for (size_t t = 0; t < tile->rows; t += ROWS_AT_ONCE) {
            const unsigned char *row[ROWS_AT_ONCE];
            size_t n = least_of(lanes - block, LANES_AT_ONCE);
            for (size_t i = 0; i < ROWS_AT_ONCE; i++) {
                row[i] = (const unsigned char *)from + (index_of(index, t + i) * stride + block) * 4;
                fetch_ahead(row[i], tile->rows * stride * 4, n * 4);
            }
            load_block((Lanes){lane_of(to, block, t), to.lane, to.row}, row, n, tile->bad + t);
        }
}

static void store_block(Lanes from, unsigned char *const row[ROWS_AT_ONCE], size_t rows, size_t lanes)
{
    size_t done = rows == ROWS_AT_ONCE ? store_fours(row, from.at, from.lane, lanes) : 0;
    for (size_t t = 0; t < rows; t++)
        for (size_t l = done; l < lanes; l++) put32(row[t] + 4 * l, get32(lane_of(from, l, t)));
}

static void store_words(const Tile *tile, Lanes from, const Index *index, void *to, size_t lanes, size_t stride)
{
    if (tile->slot == FEW) {
        for (size_t t = 0; t < tile->used; t++)
            memcpy((unsigned char *)to + index_of(index, t) * stride * 4, lane_of(from, 0, t), lanes * 4);
        return;
    }
    for (size_t block = 0; block < lanes; block += LANES_AT_ONCE)
        for (size_t t = 0; t < tile->used; t += ROWS_AT_ONCE) {
            unsigned char *row[ROWS_AT_ONCE];
            size_t rows = least_of(tile->used - t, ROWS_AT_ONCE), n = least_of(lanes - block, LANES_AT_ONCE);
            for (size_t i = 0; i < rows; i++)
                row[i] = (unsigned char *)to + (index_of(index, t + i) * stride + block) * 4;
            store_block((Lanes){lane_of(from, block, t), from.lane, from.row}, row, rows, n);
        }
}

/* Where row t of the tile begins in an array of such elements. */
static size_t row_offset(const Tile *tile, size_t t, size_t lanes, uint32_t dtype)
{
    return index_of(&tile->item, t) * lanes * element_size(dtype);
}

/* Integers and booleans enter and leave the lanes as floats. */
static void load_elements(const Tile *tile, Lanes to, const void *from, size_t lanes, uint32_t dtype)
{
    for (size_t t = 0; t < tile->rows; t++) {
        const unsigned char *row = (const unsigned char *)from + row_offset(tile, t, lanes, dtype);
        for (size_t l = 0; l < lanes; l++, row += element_size(dtype))
            put32(lane_of(to, l, t), read_element(row, dtype));
    }
}

static void store_elements(const Tile *tile, Lanes from, void *to, size_t lanes, uint32_t dtype)
{
    for (size_t t = 0; t < tile->used; t++) {
        unsigned char *row = (unsigned char *)to + row_offset(tile, t, lanes, dtype);
        for (size_t l = 0; l < lanes; l++, row += element_size(dtype))
            write_element(row, dtype, get32(lane_of(from, l, t)));
    }
}

/* The outputs of a row with an input that is not finite: NaN, of integers and booleans 0. */
static void spoil_rows(const Tile *tile, void *to, size_t lanes, uint32_t dtype)
{
    for (size_t t = 0; t < tile->used; t++) {
        unsigned char *row = (unsigned char *)to + row_offset(tile, t, lanes, dtype);
        for (size_t l = 0; tile->bad[t] && l < lanes; l++, row += element_size(dtype))
            write_element(row, dtype, dtype == NFCC_F32 ? NAN_BITS : 0);
    }
}

static bool any_bad(const Tile *tile)
{
    unsigned bad = 0;
    for (unsigned t = 0; t < tile->used; t++) bad |= tile->bad[t];
    return bad;
}

/* ---- prepared state ----------------------------------------------------------------------------------------- */

/* In the caller's memory from the first multiple of 64 on: this head, `words` words of lanes, `rows` PreparedRow. A row
 * holds its PREP lanes if `full`, else its EARLY lanes, one row after the other, and `late` runs for every tile: the
 * same code, so the same bits, and of very many rows the short form fits in memory.
 *
 * Full rows lie in the tiles in which nfcc_prepare has worked them off, each as code takes it (abi.h): a call of as many
 * rows has the same tiles and reads PREP where it is. */
typedef struct {
    uint32_t magic, full;
    uint64_t rows, stride, words, policy;
    uint32_t any_bad, unused[5];
} Prepared;
_Static_assert(sizeof(Prepared) == ALIGN, "rows of prepared state are aligned");
#define PREPARED_MAGIC 0x70657270u

/* bad: its contexts are not finite. Lane l is word (row - place) * stride + place + l * step. */
typedef struct {
    uint8_t bad, step, place;
} PreparedRow;

static float *prepared_words(const Prepared *s) { return (float *)(uintptr_t)(s + 1); }

static PreparedRow *prepared_table(const Prepared *s) { return (PreparedRow *)(prepared_words(s) + s->words); }

static Lanes prepared_row(const Prepared *s, size_t row)
{
    PreparedRow r = prepared_table(s)[row];
    return (Lanes){prepared_words(s) + (row - r.place) * s->stride + r.place, r.step, s->stride};
}

/* Tells the policies of a process apart, so that another's prepared state is refused. */
static uint64_t policy_tag(const nfcc_policy *p)
{
    uint64_t tag;
    memcpy(&tag, p->info.model_hash, sizeof tag);
    tag ^= (uint64_t)p->model->prep_lanes << 32 | p->model->early_lanes;
    return tag ^ p->model->weights_size << 16 ^ (uint64_t)p->model->checksum << 32; /* one model, other options */
}

static size_t prepared_stride(const nfcc_policy *p, bool full)
{
    return full ? round_up(p->model->prep_lanes, 16) : p->model->early_lanes;
}

/* Where code takes many rows at once, making PREP beside its use takes less time than bringing it from where it is. */
static size_t rows_kept_whole(const nfcc_policy *p)
{
    bool beside = only_few(p) && program_of(p->model, NFCC_PROGRAM_TO_LATENT_EARLY);
    return beside ? NFCC_PREPARED_FEW : NFCC_PREPARED_ROWS;
}

static bool prepares_in_full(const nfcc_policy *p, size_t rows)
{
    return rows <= NFCC_PREPARED_FEW ||
           (rows <= rows_kept_whole(p) && rows * prepared_stride(p, true) * 4 <= (size_t)NFCC_PREPARED_BYTES);
}

/* The next tile of so many items; of few rows there are as many as are left. */
static Choice next_tile(const nfcc_policy *p, Choice only, size_t left)
{
    Choice c = only.rows ? only : p->choice[left < p->most ? left : p->most];
    if (c.slot == FEW && left < c.rows) c.rows = (uint8_t)left;
    return c;
}

/* Tiles are whole, and code may read past the end of the last one. */
static Prepared new_prepared(const nfcc_policy *p, Choice only, size_t rows, bool full)
{
    Prepared s = {.full = full, .rows = rows, .stride = prepared_stride(p, full), .policy = policy_tag(p)};
    size_t slots = full ? 0 : rows, past = OVERREAD;
    while (slots < rows) {
        Choice c = next_tile(p, only, rows - slots);
        slots += c.rows;
        if (c.slot != FEW) past = largest_of(past, (size_t)OVERREAD * c.rows);
    }
    s.words = slots * s.stride + past;
    return s;
}

static size_t prepared_bytes(const nfcc_policy *p, Choice only, size_t rows, bool full)
{
    size_t bytes, row = prepared_stride(p, full) * 4 + sizeof(PreparedRow);
    if (!multiply(rows, row, &bytes)) return 0;
    Prepared s = new_prepared(p, only, rows, full);
    return ALIGN + sizeof s + s.words * 4 + rows * sizeof(PreparedRow);
}

size_t nfcc_prepared_size(const nfcc_policy *p, size_t rows)
{
    return p && rows ? prepared_bytes(p, (Choice){0, 0}, rows, prepares_in_full(p, rows)) : 0;
}

/* NULL unless `memory` holds a state that nfcc_prepare made for this policy and that has not been moved. */
static const Prepared *prepared_of(const nfcc_policy *p, const void *memory)
{
    const Prepared *s = align_up(memory, ALIGN);
    return s->magic == PREPARED_MAGIC && s->policy == policy_tag(p) ? s : NULL;
}

/* ---- calls -------------------------------------------------------------------------------------------------- */

typedef struct {
    const nfcc_policy *p;
    int program;
    const Prepared *prepared; /* NULL: the program reads none */
    size_t items, n;
    const void *input;         /* x or z, [items][D]; NULL: draw z */
    const void *const *arrays; /* contexts or graph inputs */
    void *const *out_arrays;   /* graph outputs; scores of the contexts */
    void *out[PORT_KINDS];     /* [items][lanes of the port] */
    bool words;                /* graph values are words whatever their type (self test) */
    bool best;                 /* of the n items of a row only the most likely is an output */
    int32_t best_order;        /* order_of the log_prob that the row has so far */
    Choice only;               /* the one kind of tile of a self test; 0 rows: the policy's choices */
    uint64_t seed, next;       /* noise */
    uint32_t temperature;      /* bits */
    Region main, prep, noise;  /* of the workspace */
    unsigned prep_rows;        /* `prep_lanes` holds context row prep_row, prep_rows times (0: nothing to reuse) */
    size_t prep_row;
    Lanes prep_lanes;
} Call;

static const Lanes no_lanes = {NULL, 0, 0};

static void set_program(Call *call, int program)
{
    call->program = program;
    call->main.stride = few_stride(work_lanes(call->p->model, program));
}

static void new_call(Call *call, const nfcc_policy *p, int program, void *work)
{
    unsigned char *at = align_up(work, ALIGN);
    memset(call, 0, sizeof *call);
    call->p = p;
    call->n = 1;
    call->temperature = ONE_BITS;
    call->main.at = (void *)at;
    set_program(call, program);
    at += p->main_bytes;
    call->prep = (Region){(void *)at, few_stride(p->prep_lanes)};
    at += p->prep_bytes;
    call->noise = (Region){(void *)at, few_stride(p->noise_lanes)};
}

/* ---- prep: PREP lanes of a tile ----------------------------------------------------------------------------- */

/* EARLY lanes, already at their place in the prep region -> PREP lanes. */
static Lanes run_late(Call *call, const Tile *tile)
{
    const Port *out = out_port(call->p->model, NFCC_PROGRAM_LATE, NFCC_PORT_PREP);
    run_code(call->p, NFCC_PROGRAM_LATE, tile, call->prep, no_lanes);
    return out ? port_lanes(call->prep, out, tile) : no_lanes;
}

/* Rows of a tile that have one context row. */
typedef struct {
    const float *from; /* its lane 0 */
    size_t step, rows;
} Run;

static size_t runs_of(const Prepared *s, const Tile *tile, Run *run)
{
    size_t n = 0;
    for (size_t t = 0; t < tile->rows; t++) {
        Lanes row = prepared_row(s, index_of(&tile->row, t));
        if (t == 0 || tile->row.of[t] != tile->row.of[t - 1]) run[n++] = (Run){row.at, row.lane, 0};
        run[n - 1].rows++;
    }
    return n;
}

static void spread_few(const Prepared *s, const Tile *tile, Lanes to, size_t lanes)
{
    for (size_t t = 0; t < tile->rows; t++) {
        Lanes from = prepared_row(s, index_of(&tile->row, t));
        for (size_t l = 0; l < lanes; l++) put32(lane_of(to, l, t), get32(lane_of(from, l, 0)));
    }
}

/* Full rows of the prepared state that lie in tiles of another size or serve several rows. Words are written four at a
 * time: what is too much gives way to the next run, and behind the last lane may be lost. */
static void spread_rows(const Prepared *s, const Tile *tile, Lanes to, size_t lanes)
{
    Run run[TILE_MAX];
    size_t n = runs_of(s, tile, run);
    for (size_t l = 0; l < lanes; l++) {
        float *at = lane_of(to, l, 0);
        for (size_t i = 0; i < n; i++) {
            uint32_t w = get32(run[i].from + l * run[i].step), four[4] = {w, w, w, w};
            size_t rows = run[i].rows;
            for (size_t t = 0; t < rows; t += 4) memcpy(at + t, four, sizeof four);
            at += rows;
        }
    }
}

static bool lie_in_rows(const Prepared *s, const Tile *tile)
{
    bool all = true;
    for (size_t t = 0; t < tile->rows; t++) all &= prepared_table(s)[index_of(&tile->row, t)].step == 1;
    return all;
}

/* Rows of the prepared state that lie one after the other. Finite contexts may well give infinite PREP lanes: that is
 * no input's fault, and whether a context is finite is known already. */
static void load_rows(const Prepared *s, Tile *tile, Lanes to, size_t lanes)
{
    uint8_t bad[NFCC_MOST_FEW];
    memcpy(bad, tile->bad, sizeof bad);
    load_words(tile, to, &tile->row, prepared_words(s), lanes, s->stride);
    memcpy(tile->bad, bad, sizeof bad);
}

/* Rows of the prepared state into the prep region: as PREP lanes, or as EARLY lanes at the place where `late` reads
 * them. */
static Lanes load_prepared(Call *call, Tile *tile)
{
    const Prepared *s = call->prepared;
    const Port *early = in_port(call->p->model, NFCC_PROGRAM_LATE, NFCC_PORT_EARLY);
    bool late = !s->full && program_of(call->p->model, NFCC_PROGRAM_LATE);
    size_t lanes = late ? early ? early->lanes : 0 : call->p->model->prep_lanes;
    Lanes to = late && early ? port_lanes(call->prep, early, tile) : lanes_of(call->prep, tile);
    bool in_rows = lie_in_rows(s, tile), several = s->full && call->n >= 4 && tile->slot != FEW;
    if (in_rows && !several)
        load_rows(s, tile, to, lanes);
    else if (tile->slot == FEW)
        spread_few(s, tile, to, lanes);
    else
        spread_rows(s, tile, to, lanes);
    return late ? run_late(call, tile) : to;
}

/* The prepared state has the tile as it is to be read. */
static bool lies_ready(const Call *call, const Tile *tile, bool one_row)
{
    const Prepared *s = call->prepared;
    const PreparedRow *first = &prepared_table(s)[tile->row.first];
    if (!s->full) return false;
    if (tile->slot == FEW) return (one_row || call->n == 1) && lie_in_rows(s, tile);
    return call->n == 1 && first->step == tile->rows && first->place == 0;
}

/* A tile of few rows: one row of PREP lanes serves all that share it. */
static Lanes few_prep(Call *call, Tile *tile, bool one_row)
{
    unsigned rows = tile->rows;
    if (one_row) tile->rows = 1;
    Lanes lanes = load_prepared(call, tile);
    tile->rows = rows;
    if (one_row) lanes.row = 0;
    return lanes;
}

/* The PREP lanes of a tile whose rows share a context: those of a tile of 16 rows, where the code knows them. */
static Lanes shared_prep(Call *call, Tile *tile)
{
    int slot = tile->slot;
    unsigned rows = tile->rows;
    if (call->p->shares_prep) tile->slot = SIXTEEN, tile->rows = TILE[SIXTEEN];
    Lanes lanes = load_prepared(call, tile);
    tile->slot = slot, tile->rows = rows;
    return lanes;
}

/* The PREP lanes of a tile. One context row often serves many tiles: then they are there already. */
static Lanes tile_prep(Call *call, Tile *tile)
{
    if (!call->prepared || call->p->model->prep_lanes == 0) return no_lanes;
    bool one_row = tile->row.of[tile->rows - 1] == 0;
    if (lies_ready(call, tile, one_row)) {
        Lanes lanes = prepared_row(call->prepared, tile->row.first);
        if (tile->slot != FEW) return (Lanes){lanes.at, tile->rows, 1};
        return (Lanes){lanes.at, 1, one_row ? 0 : lanes.row};
    }
    unsigned rows = tile->slot == FEW ? 1 : call->p->shares_prep ? TILE[SIXTEEN] : tile->rows;
    if (!one_row || call->prep_rows != rows || call->prep_row != tile->row.first)
        call->prep_lanes = tile->slot == FEW ? few_prep(call, tile, one_row)
                           : one_row         ? shared_prep(call, tile)
                                             : load_prepared(call, tile);
    call->prep_rows = one_row ? rows : 0;
    call->prep_row = tile->row.first;
    return call->prep_lanes;
}

/* ---- a tile: program, noise, inputs, outputs ---------------------------------------------------------------- */

/* What may take its place, or itself. */
static int early_program(int program)
{
    return program == NFCC_PROGRAM_TO_LATENT  ? NFCC_PROGRAM_TO_LATENT_EARLY
           : program == NFCC_PROGRAM_TO_EVENT ? NFCC_PROGRAM_TO_EVENT_EARLY
                                              : program;
}

/* The next tile of a program or of the one that takes its place: its rows have room in the workspace. */
static Choice program_tile(const Call *call, int program, size_t left)
{
    Choice c = next_tile(call->p, call->only, left);
    uint32_t lanes = larger(work_lanes(call->p->model, program), work_lanes(call->p->model, early_program(program)));
    size_t most = rows_within(call->p, lanes);
    if (c.slot == FEW && c.rows > most) c.rows = (uint8_t)most;
    return c;
}

/* The program of the tile: with a context per row the one that reads EARLY lanes, where there is one and they are all
 * that is needed. */
static int tile_program(const Call *call, int program, const Tile *tile)
{
    const nfcc_model *m = call->p->model;
    int early = early_program(program);
    if (early == program || !program_of(m, early)) return program;
    if (!call->prepared || call->prepared->full || tile->row.of[tile->rows - 1] == 0) return program;
    return call->input || !program_of(m, NFCC_PROGRAM_BASE) ? early : program; /* the base reads PREP */
}

static void fill_lane(const Tile *tile, Lanes lane, uint32_t w)
{
    for (unsigned t = 0; t < tile->rows; t++) put32(lane_of(lane, 0, t), w);
}

/* Standard noise of a tile -> z, where the base has a mean and scale of its own. In place in the noise region. */
static Lanes apply_base(const Call *call, const Tile *tile, Lanes z, Lanes prep)
{
    const nfcc_model *m = call->p->model;
    const Port *in = in_port(m, NFCC_PROGRAM_BASE, NFCC_PORT_Z);
    if (!in || call->program == NFCC_PROGRAM_NOISE) return z;
    copy_lanes(tile, port_lanes(call->noise, in, tile), z, in->lanes);
    run_code(call->p, NFCC_PROGRAM_BASE, tile, call->noise, prep);
    return port_lanes(call->noise, out_port(m, NFCC_PROGRAM_BASE, NFCC_PORT_Z), tile);
}

/* z of a tile by the noise program. */
static Lanes draw_tile(const Call *call, const Tile *tile)
{
    const nfcc_model *m = call->p->model;
    Lanes seed = port_lanes(call->noise, in_port(m, NFCC_PROGRAM_NOISE, NFCC_PORT_SEED), tile);
    fill_lane(tile, seed, (uint32_t)call->seed);
    fill_lane(tile, lanes_from(seed, 1), (uint32_t)(call->seed >> 32));
    for (unsigned t = 0; t < tile->rows; t++) {
        uint64_t row = call->next + index_of(&tile->item, t);
        put32(lane_of(seed, 2, t), (uint32_t)row);
        put32(lane_of(seed, 3, t), (uint32_t)(row >> 32));
    }
    fill_lane(tile, port_lanes(call->noise, in_port(m, NFCC_PROGRAM_NOISE, NFCC_PORT_TEMPERATURE), tile),
              call->temperature);
    run_code(call->p, NFCC_PROGRAM_NOISE, tile, call->noise, no_lanes);
    return port_lanes(call->noise, out_port(m, NFCC_PROGRAM_NOISE, NFCC_PORT_Z), tile);
}

static const Value *port_value(const nfcc_model *m, const Port *port, bool in)
{
    uint32_t table = port->kind == NFCC_PORT_CONTEXT ? m->contexts : in ? m->inputs : m->outputs;
    return (const Value *)at_offset(m, table) + port->index;
}

static void load_port(const Call *call, Tile *tile, const Port *port, Lanes prep)
{
    Lanes to = port_lanes(call->main, port, tile);
    if (port->kind == NFCC_PORT_CONTEXT || port->kind == NFCC_PORT_GRAPH) {
        uint32_t dtype = call->words ? NFCC_F32 : port_value(call->p->model, port, true)->dtype;
        const void *from = call->arrays[port->index];
        if (dtype == NFCC_F32)
            load_words(tile, to, &tile->item, from, port->lanes, port->lanes);
        else
            load_elements(tile, to, from, port->lanes, dtype);
    } else if (port->kind == NFCC_PORT_EARLY) {
        load_rows(call->prepared, tile, to, port->lanes);
    } else if (call->input) {
        load_words(tile, to, &tile->item, call->input, port->lanes, port->lanes);
    } else {
        copy_lanes(tile, to, apply_base(call, tile, draw_tile(call, tile), prep), port->lanes);
    }
}

static void load_inputs(const Call *call, Tile *tile, Lanes prep)
{
    const Program *program = &call->p->model->programs[call->program];
    for (uint32_t i = 0; i < program->n_in; i++) load_port(call, tile, &ports_in(call->p->model, program)[i], prep);
    if (call->prepared && call->prepared->any_bad)
        for (unsigned t = 0; t < tile->rows; t++)
            tile->bad[t] |= prepared_table(call->prepared)[index_of(&tile->row, t)].bad;
}

static void store_outputs(const Call *call, const Tile *tile)
{
    const nfcc_model *m = call->p->model;
    const Program *program = &m->programs[call->program];
    bool bad = any_bad(tile);
    for (uint32_t i = 0; i < program->n_out; i++) {
        const Port *port = &ports_out(m, program)[i];
        bool graph = port->kind == NFCC_PORT_GRAPH;
        void *to = graph ? call->out_arrays[port->index] : call->out[port->kind];
        if (port->kind == NFCC_PORT_SCORE && port->index)
            to = call->out_arrays ? call->out_arrays[port->index - 1] : NULL;
        if (!to) continue;
        uint32_t dtype = graph && !call->words ? port_value(m, port, false)->dtype : NFCC_F32;
        Lanes from = port_lanes(call->main, port, tile);
        if (dtype == NFCC_F32)
            store_words(tile, from, &tile->item, to, port->lanes, port->lanes);
        else
            store_elements(tile, from, to, port->lanes, dtype);
        if (bad) spoil_rows(tile, to, port->lanes, dtype);
    }
}

/* Row t of a port into its row of the output array, or, where the mask is 0, what is there once more: the number of
 * instructions does not depend on which candidate wins. */
static void store_if(const Call *call, const Tile *tile, const Port *port, unsigned t, uint32_t mask)
{
    unsigned char *to = call->out[port->kind];
    if (!to) return;
    Lanes from = port_lanes(call->main, port, tile);
    to += index_of(&tile->row, t) * port->lanes * 4;
    for (size_t l = 0; l < port->lanes; l++) {
        uint32_t w = tile->bad[t] ? NAN_BITS : get32(lane_of(from, l, t));
        put32(to + 4 * l, (w & mask) | (get32(to + 4 * l) & ~mask));
    }
}

/* The n items of a row follow each other. The first of them is stored, then each that is larger than all before it. */
static void store_best(Call *call, const Tile *tile)
{
    const Port *x = out_port(call->p->model, call->program, NFCC_PORT_X);
    const Port *log_prob = out_port(call->p->model, call->program, NFCC_PORT_LOG_PROB);
    Lanes from = port_lanes(call->main, log_prob, tile);
    for (unsigned t = 0; t < tile->used; t++) {
        int32_t order = order_of(get32(lane_of(from, 0, t)), tile->bad[t]);
        bool better = (index_of(&tile->item, t) % call->n == 0) | (order > call->best_order);
        uint32_t mask = 0u - better;
        call->best_order = (int32_t)(((uint32_t)order & mask) | ((uint32_t)call->best_order & ~mask));
        store_if(call, tile, x, t, mask);
        store_if(call, tile, log_prob, t, mask);
    }
}

/* Whether an event or action that was stored is not finite. */
static bool event_overflows(const Call *call)
{
    static const uint32_t kinds[] = {NFCC_PORT_X, NFCC_PORT_ACT};
    size_t rows = call->best ? call->items / call->n : call->items;
    uint32_t seen = 0;
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const Port *port = out_port(call->p->model, call->program, kinds[k]);
        const unsigned char *made = call->out[kinds[k]];
        for (size_t i = 0; made && port && i < rows * port->lanes; i++) seen |= not_finite(get32(made + 4 * i));
    }
    return seen >> 31;
}

static nfcc_status run_call(Call *call)
{
    bool bad = false;
    int program = call->program;
    Tile tile;
    for (size_t at = 0; at < call->items; at += tile.used) {
        set_tile(&tile, program_tile(call, program, call->items - at), at, call->items, call->n);
        set_program(call, tile_program(call, program, &tile));
        Lanes prep = call->program == program ? tile_prep(call, &tile) : no_lanes;
        load_inputs(call, &tile, prep);
        run_code(call->p, call->program, &tile, call->main, prep);
        if (call->best)
            store_best(call, &tile);
        else
            store_outputs(call, &tile);
        bad |= any_bad(&tile);
    }
    return (bad | event_overflows(call)) ? NFCC_NOT_FINITE : NFCC_OK;
}

static nfcc_status draw_rows(Call *call, float *z)
{
    size_t lanes = out_port(call->p->model, NFCC_PROGRAM_NOISE, NFCC_PORT_Z)->lanes;
    Tile tile;
    for (size_t at = 0; at < call->items; at += tile.used) {
        set_tile(&tile, next_tile(call->p, call->only, call->items - at), at, call->items, 1);
        store_words(&tile, draw_tile(call, &tile), &tile.item, z, lanes, lanes);
    }
    return NFCC_OK;
}

/* ---- prepare ------------------------------------------------------------------------------------------------ */

/* Contexts of one tile -> EARLY lanes, which stay where @encode leaves them. */
static Lanes encode_tile(Call *call, Tile *tile)
{
    const Port *made = out_port(call->p->model, NFCC_PROGRAM_ENCODE, NFCC_PORT_EARLY);
    if (!program_of(call->p->model, NFCC_PROGRAM_ENCODE)) return no_lanes;
    load_inputs(call, tile, no_lanes);
    run_code(call->p, NFCC_PROGRAM_ENCODE, tile, call->main, no_lanes);
    return made ? port_lanes(call->main, made, tile) : no_lanes;
}

/* The same of each row by itself, to `to`. */
static void encode_rows(Call *call, Tile *tile, Lanes to)
{
    Lanes from = no_lanes;
    for (unsigned t = 0; t < tile->rows; t++) {
        Tile one = {.slot = FEW, .rows = 1, .used = 1};
        one.item.first = one.row.first = tile->item.first + t;
        if (t < tile->used) from = encode_tile(call, &one), tile->bad[t] = one.bad[0];
        for (uint32_t l = 0; l < call->p->model->early_lanes; l++) put32(lane_of(to, l, t), get32(lane_of(from, l, 0)));
    }
}

/* Contexts of one tile -> what the prepared state keeps of them; *lanes words a row. */
static Lanes prepare_tile(Call *call, Tile *tile, bool full, size_t *lanes)
{
    const nfcc_model *m = call->p->model;
    const Port *wanted = in_port(m, NFCC_PROGRAM_LATE, NFCC_PORT_EARLY);
    bool late = full && program_of(m, NFCC_PROGRAM_LATE);
    Lanes to = late && wanted ? port_lanes(call->prep, wanted, tile) : lanes_of(call->prep, tile);
    *lanes = full ? m->prep_lanes : m->early_lanes;
    if (call->p->by_rows)
        encode_rows(call, tile, to);
    else {
        Lanes early = encode_tile(call, tile);
        if (!late) return early;
        if (early.at && wanted) copy_lanes(tile, to, early, wanted->lanes);
    }
    return late ? run_late(call, tile) : m->early_lanes ? to : no_lanes;
}

/* What prepare_tile made of the tile's rows, `lanes` of each. */
static void keep_tile(Prepared *s, const Tile *tile, Lanes from, size_t lanes)
{
    bool whole = s->full && tile->slot != FEW;
    PreparedRow *table = prepared_table(s) + tile->item.first;
    float *to = prepared_words(s) + tile->item.first * s->stride;
    for (unsigned t = 0; t < tile->used; t++)
        table[t] = (PreparedRow){tile->bad[t], (uint8_t)(whole ? tile->rows : 1), (uint8_t)(whole ? t : 0)};
    s->any_bad |= any_bad(tile);
    if (!from.at) return;
    if (whole)
        memcpy(to, from.at, lanes * tile->rows * 4);
    else
        store_words(tile, from, &tile->item, prepared_words(s), lanes, s->stride);
}

static nfcc_status prepare_rows(Call *call, bool full, void *memory)
{
    Prepared *s = align_up(memory, ALIGN);
    *s = new_prepared(call->p, call->only, call->items, full);
    Tile tile;
    for (size_t at = 0; at < call->items; at += tile.used) {
        size_t lanes;
        set_tile(&tile, program_tile(call, NFCC_PROGRAM_ENCODE, call->items - at), at, call->items, 1);
        Lanes from = prepare_tile(call, &tile, full, &lanes);
        keep_tile(s, &tile, from, lanes);
    }
    s->magic = PREPARED_MAGIC;
    return s->any_bad ? NFCC_NOT_FINITE : NFCC_OK;
}

/* ---- entries ------------------------------------------------------------------------------------------------ */

const nfcc_info *nfcc_get_info(const nfcc_policy *p) { return p ? &p->info : NULL; }

const char *nfcc_status_text(nfcc_status status)
{
    switch (status) {
#define STATUS_CASE(id, text) \
    case NFCC_##id: return text;
        NFCC_STATUSES(STATUS_CASE)
#undef STATUS_CASE
    }
    return "no such status";
}

static bool has(const nfcc_policy *p, unsigned entry) { return p->info.entries & entry; }

/* Every array that a program reads is there. */
static bool arrays_given(const nfcc_policy *p, int id, const void *const arrays[])
{
    const Program *program = program_of(p->model, id);
    for (uint32_t i = 0; program && i < program->n_in; i++)
        if (!arrays || !arrays[ports_in(p->model, program)[i].index]) return false;
    return true;
}

/* Every call comes through here. Sizes of arrays of `items` rows are computed without checks once this holds. */
static bool countable(const nfcc_policy *p, size_t items)
{
    size_t bytes;
    return !p->looked && multiply(items, p->widest, &bytes) && multiply(bytes, 8, &bytes);
}

nfcc_status nfcc_prepare(const nfcc_policy *p, size_t rows, const void *const context[], void *prepared, void *work)
{
    if (!p || !prepared || !work || rows == 0) return NFCC_BAD_ARGUMENT;
    if (!nfcc_prepared_size(p, rows) || !countable(p, rows)) return NFCC_BAD_ARGUMENT;
    if (!arrays_given(p, NFCC_PROGRAM_ENCODE, context)) return NFCC_BAD_ARGUMENT;
    Call call;
    new_call(&call, p, NFCC_PROGRAM_ENCODE, work);
    call.items = rows;
    call.arrays = context;
    return prepare_rows(&call, prepares_in_full(p, rows), prepared);
}

/* The part that all entries on a prepared state share. */
static nfcc_status begin(Call *call, const nfcc_policy *p, unsigned entry, int program, const void *prepared, size_t n,
                         void *work)
{
    if (!p || !prepared || !work) return NFCC_BAD_ARGUMENT;
    if (!has(p, entry)) return NFCC_NO_ENTRY;
    new_call(call, p, program, work);
    call->prepared = prepared_of(p, prepared);
    if (!call->prepared) return NFCC_BAD_SHAPE;
    if (!multiply((size_t)call->prepared->rows, n, &call->items) || !countable(p, call->items))
        return NFCC_BAD_ARGUMENT;
    call->n = n;
    return NFCC_OK;
}

/* The same of an entry that reads x or z. */
static nfcc_status begin_with(Call *call, const nfcc_policy *p, unsigned entry, int program, const void *prepared,
                              size_t n, const float *given, void *work)
{
    nfcc_status status = begin(call, p, entry, program, prepared, n, work);
    if (status != NFCC_OK) return status;
    call->input = given;
    return given ? NFCC_OK : NFCC_BAD_ARGUMENT;
}

nfcc_status nfcc_to_latent(const nfcc_policy *p, const void *prepared, size_t n, const float *x, float *z,
                           float *log_det, void *work)
{
    Call call;
    nfcc_status status = begin_with(&call, p, NFCC_HAS_TO_LATENT, NFCC_PROGRAM_TO_LATENT, prepared, n, x, work);
    if (status != NFCC_OK) return status;
    call.out[NFCC_PORT_Z] = z;
    call.out[NFCC_PORT_LOG_DET] = log_det;
    return run_call(&call);
}

nfcc_status nfcc_to_event(const nfcc_policy *p, const void *prepared, size_t n, const float *z, float *x,
                          float *log_det, void *work)
{
    Call call;
    nfcc_status status = begin_with(&call, p, NFCC_HAS_TO_EVENT, NFCC_PROGRAM_TO_EVENT, prepared, n, z, work);
    if (status != NFCC_OK) return status;
    call.out[NFCC_PORT_X] = x;
    call.out[NFCC_PORT_LOG_DET] = log_det;
    return run_call(&call);
}

nfcc_status nfcc_log_prob(const nfcc_policy *p, const void *prepared, size_t n, const float *x, float *log_prob,
                          void *work)
{
    Call call;
    nfcc_status status = begin_with(&call, p, NFCC_HAS_LOG_PROB, NFCC_PROGRAM_TO_LATENT, prepared, n, x, work);
    if (status != NFCC_OK) return status;
    call.out[NFCC_PORT_LOG_PROB] = log_prob;
    return run_call(&call);
}

nfcc_status nfcc_score(const nfcc_policy *p, const void *prepared, size_t n, const float *x, float *score, void *work)
{
    return nfcc_score_context(p, prepared, n, x, score, NULL, work);
}

static bool scores_contexts(const nfcc_model *m) { return m->programs[NFCC_PROGRAM_SCORE].n_out > m->n_contexts; }

nfcc_status nfcc_score_context(const nfcc_policy *p, const void *prepared, size_t n, const float *x, float *score,
                               float *const context_score[], void *work)
{
    Call call;
    nfcc_status status = begin_with(&call, p, NFCC_HAS_SCORE, NFCC_PROGRAM_SCORE, prepared, n, x, work);
    if (status != NFCC_OK) return status;
    if (context_score && !scores_contexts(p->model)) return NFCC_NO_ENTRY;
    call.out_arrays = (void *const *)context_score;
    call.out[NFCC_PORT_SCORE] = score;
    return run_call(&call);
}

/* Latents given or to be drawn; the temperature is a finite number that is not negative. */
static bool set_noise(Call *call, const nfcc_noise *noise)
{
    if (!noise) return false;
    call->input = noise->z;
    call->seed = noise->seed;
    call->next = noise->next;
    call->temperature = get32(&noise->temperature);
    if (call->temperature == 0x80000000u) call->temperature = 0;
    return noise->z || call->temperature < INF_BITS;
}

static nfcc_status sample(Call *call, nfcc_noise *noise)
{
    if (!set_noise(call, noise)) return NFCC_BAD_ARGUMENT;
    if (!noise->z && call->p->model->given_only) return NFCC_NO_ENTRY;
    nfcc_status status = run_call(call);
    if (!noise->z) noise->next += call->items;
    return status;
}

nfcc_status nfcc_sample(const nfcc_policy *p, const void *prepared, nfcc_noise *noise, size_t n, float *x, void *work)
{
    Call call;
    nfcc_status status = begin(&call, p, NFCC_HAS_SAMPLE, NFCC_PROGRAM_TO_EVENT, prepared, n, work);
    call.out[NFCC_PORT_X] = x;
    return status == NFCC_OK ? sample(&call, noise) : status;
}

nfcc_status nfcc_sample_and_log_prob(const nfcc_policy *p, const void *prepared, nfcc_noise *noise, size_t n, float *x,
                                     float *log_prob, void *work)
{
    Call call;
    nfcc_status status = begin(&call, p, NFCC_HAS_SAMPLE_AND_LOG_PROB, NFCC_PROGRAM_TO_EVENT, prepared, n, work);
    call.out[NFCC_PORT_X] = x;
    call.out[NFCC_PORT_LOG_PROB] = log_prob;
    return status == NFCC_OK ? sample(&call, noise) : status;
}

nfcc_status nfcc_sample_best(const nfcc_policy *p, const void *prepared, nfcc_noise *noise, size_t n, float *x,
                             float *log_prob, void *work)
{
    Call call;
    nfcc_status status = begin(&call, p, NFCC_HAS_SAMPLE_BEST, NFCC_PROGRAM_TO_EVENT, prepared, n, work);
    if (status != NFCC_OK) return status;
    if (n == 0) return NFCC_BAD_ARGUMENT;
    call.best = true;
    call.out[NFCC_PORT_X] = x;
    call.out[NFCC_PORT_LOG_PROB] = log_prob;
    return sample(&call, noise);
}

nfcc_status nfcc_act(const nfcc_policy *p, const void *prepared, nfcc_noise *noise, size_t n, float *x, void *work)
{
    Call call;
    int program = p && program_of(p->model, NFCC_PROGRAM_ACT) ? NFCC_PROGRAM_ACT : NFCC_PROGRAM_TO_EVENT;
    nfcc_status status = begin(&call, p, NFCC_HAS_ACT, program, prepared, n, work);
    if (status != NFCC_OK) return status;
    call.out[out_port(p->model, program, NFCC_PORT_ACT) ? NFCC_PORT_ACT : NFCC_PORT_X] = x;
    return sample(&call, noise);
}

nfcc_status nfcc_run(const nfcc_policy *p, size_t rows, const void *const in[], void *const out[], void *work)
{
    if (!p || !work || !out) return NFCC_BAD_ARGUMENT;
    if (!has(p, NFCC_HAS_RUN)) return NFCC_NO_ENTRY;
    if (!arrays_given(p, NFCC_PROGRAM_RUN, in) || !countable(p, rows)) return NFCC_BAD_ARGUMENT;
    Call call;
    new_call(&call, p, NFCC_PROGRAM_RUN, work);
    call.items = rows;
    call.arrays = in;
    call.out_arrays = out;
    return run_call(&call);
}

nfcc_status nfcc_draw(const nfcc_policy *p, uint64_t seed, uint64_t first_row, size_t rows, float *z, void *work)
{
    if (!p || !z || !work || !countable(p, rows)) return NFCC_BAD_ARGUMENT;
    if (p->info.event_size == 0 || !program_of(p->model, NFCC_PROGRAM_NOISE)) return NFCC_NO_ENTRY;
    Call call;
    new_call(&call, p, NFCC_PROGRAM_NOISE, work);
    call.items = rows;
    call.seed = seed;
    call.next = first_row;
    return draw_rows(&call, z);
}

/* ---- self test ---------------------------------------------------------------------------------------------- */

typedef struct {
    unsigned char *base; /* NULL: only measure */
    size_t used;
} Carver;

static void *carve(Carver *c, size_t bytes)
{
    void *at = c->base ? c->base + c->used : NULL;
    c->used += round_up(bytes, ALIGN);
    return at;
}

typedef struct {
    const nfcc_policy *p;
    size_t rows;
    const nfcc_value *in; /* contexts, or inputs of a graph that is no flow */
    size_t n_in;
    const void **arrays; /* [n_in] -> words */
    void **out_arrays;   /* [n_outputs] -> words, of a graph that is no flow */
    unsigned char *drawn;
    float *x, *log_prob, *z, *log_det;
    void *prepared, *work;
} SelfTest;

static size_t noise_lanes(const nfcc_policy *p)
{
    const Port *z = out_port(p->model, NFCC_PROGRAM_NOISE, NFCC_PORT_Z);
    return z ? z->lanes : 0;
}

/* Divides `base` (or measures, if NULL) and returns the bytes used. */
static size_t lay_out(SelfTest *test, const nfcc_policy *p, void *base)
{
    Carver c = {.base = base};
    bool flow = p->info.event_size > 0;
    size_t rows = p->model->golden_rows, word = rows * 4, prepared = 0;
    *test = (SelfTest){.p = p, .rows = rows};
    test->in = flow ? p->info.contexts : p->info.inputs;
    test->n_in = flow ? p->info.n_contexts : p->info.n_inputs;
    test->arrays = carve(&c, test->n_in * sizeof(void *));
    test->out_arrays = carve(&c, p->info.n_outputs * sizeof(void *));
    for (size_t i = 0; i < test->n_in; i++) {
        const void *array = carve(&c, word * test->in[i].size);
        if (base) test->arrays[i] = array;
    }
    for (size_t i = 0; !flow && i < p->info.n_outputs; i++) {
        void *array = carve(&c, word * p->info.outputs[i].size);
        if (base) test->out_arrays[i] = array;
    }
    test->drawn = carve(&c, word * noise_lanes(p));
    test->x = carve(&c, word * p->info.event_size);
    test->z = carve(&c, word * p->info.event_size);
    test->log_prob = carve(&c, word);
    test->log_det = carve(&c, word);
    for (int slot = 0; slot < NFCC_TILES; slot++) {
        Choice only = {(uint8_t)slot, (uint8_t)TILE[slot]};
        prepared = largest_of(prepared, prepared_bytes(p, only, rows, true));
    }
    test->prepared = carve(&c, largest_of(prepared, prepared_bytes(p, (Choice){0, 0}, rows, false)));
    test->work = carve(&c, p->info.work_size);
    return c.used;
}

size_t nfcc_selftest_size(const nfcc_policy *p)
{
    SelfTest test;
    if (!p || !countable(p, p->model->golden_rows)) return 0;
    return ALIGN + lay_out(&test, p, NULL);
}

/* Inputs by the rule of abi.h: lane l, counted over all arrays, is lane l % L of stream seed + 1 + l / L. */
static void draw_inputs(SelfTest *test)
{
    size_t lane = 0, width = noise_lanes(test->p), block = SIZE_MAX;
    Call call;
    new_call(&call, test->p, NFCC_PROGRAM_NOISE, test->work);
    call.items = test->rows;
    for (size_t i = 0; i < test->n_in; i++)
        for (size_t l = 0; l < test->in[i].size; l++, lane++) {
            call.seed = test->p->model->golden_seed + 1 + lane / width;
            if (lane / width != block) draw_rows(&call, (void *)test->drawn);
            block = lane / width;
            for (size_t r = 0; r < test->rows; r++)
                put32((unsigned char *)(uintptr_t)test->arrays[i] + (r * test->in[i].size + l) * 4,
                      test->in[i].type == NFCC_TYPE_F32 ? get32(test->drawn + (r * width + lane % width) * 4) : 0);
        }
}

/* Words are equal, or both NaN (whose sign and payload may differ between machines). */
static bool golden_equal(const uint32_t **golden, const void *made, size_t row, size_t lanes)
{
    bool equal = true;
    for (size_t l = 0; l < lanes; l++) {
        uint32_t want = *(*golden)++, got = get32((const unsigned char *)made + (row * lanes + l) * 4);
        bool both_nan = (want & 0x7fffffffu) > INF_BITS && (got & 0x7fffffffu) > INF_BITS;
        equal &= want == got || both_nan;
    }
    return equal;
}

static size_t golden_row_words(const nfcc_policy *p)
{
    size_t words = 0;
    if (p->info.event_size == 0) {
        for (size_t i = 0; i < p->info.n_outputs; i++) words += p->info.outputs[i].size;
        return words;
    }
    if (program_of(p->model, NFCC_PROGRAM_TO_EVENT))
        words += p->info.event_size + (has(p, NFCC_HAS_SAMPLE_AND_LOG_PROB) ? 1 : 0);
    if (program_of(p->model, NFCC_PROGRAM_TO_LATENT)) words += has(p, NFCC_HAS_TO_LATENT) ? p->info.event_size + 1 : 1;
    return words;
}

static Call test_call(const SelfTest *test, int program, Choice only)
{
    Call call;
    new_call(&call, test->p, program, test->work);
    call.items = test->rows;
    call.arrays = test->arrays;
    call.out_arrays = test->out_arrays;
    call.words = true;
    call.only = only;
    call.seed = test->p->model->golden_seed;
    return call;
}

/* The golden rows of a flow on one tile size, with full or short prepared state. */
static void run_flow(SelfTest *test, Choice only, bool full)
{
    Call call = test_call(test, NFCC_PROGRAM_ENCODE, only);
    prepare_rows(&call, full, test->prepared);
    const Prepared *prepared = prepared_of(test->p, test->prepared);
    if (program_of(test->p->model, NFCC_PROGRAM_TO_EVENT)) {
        call = test_call(test, NFCC_PROGRAM_TO_EVENT, only);
        call.prepared = prepared;
        call.out[NFCC_PORT_X] = test->x;
        call.out[NFCC_PORT_LOG_PROB] = test->log_prob;
        run_call(&call);
    } else {
        call = test_call(test, NFCC_PROGRAM_NOISE, only);
        draw_rows(&call, test->x);
    }
    if (!program_of(test->p->model, NFCC_PROGRAM_TO_LATENT)) return;
    call = test_call(test, NFCC_PROGRAM_TO_LATENT, only);
    call.prepared = prepared;
    call.input = test->x;
    if (has(test->p, NFCC_HAS_TO_LATENT)) {
        call.out[NFCC_PORT_Z] = test->z;
        call.out[NFCC_PORT_LOG_DET] = test->log_det;
    } else {
        call.out[NFCC_PORT_LOG_PROB] = test->log_prob;
    }
    run_call(&call);
}

static bool flow_is_golden(const SelfTest *test)
{
    const nfcc_policy *p = test->p;
    const uint32_t *golden = at_offset(p->model, p->model->golden);
    size_t lanes = p->info.event_size;
    bool equal = true;
    for (size_t r = 0; r < test->rows; r++) {
        if (program_of(p->model, NFCC_PROGRAM_TO_EVENT)) {
            equal &= golden_equal(&golden, test->x, r, lanes);
            if (has(p, NFCC_HAS_SAMPLE_AND_LOG_PROB)) equal &= golden_equal(&golden, test->log_prob, r, 1);
        }
        if (has(p, NFCC_HAS_TO_LATENT)) {
            equal &= golden_equal(&golden, test->z, r, lanes);
            equal &= golden_equal(&golden, test->log_det, r, 1);
        } else if (has(p, NFCC_HAS_LOG_PROB)) {
            equal &= golden_equal(&golden, test->log_prob, r, 1);
        }
    }
    return equal;
}

static bool graph_is_golden(SelfTest *test, Choice only)
{
    const nfcc_policy *p = test->p;
    const uint32_t *golden = at_offset(p->model, p->model->golden);
    bool equal = true;
    Call call = test_call(test, NFCC_PROGRAM_RUN, only);
    run_call(&call);
    for (size_t r = 0; r < test->rows; r++)
        for (size_t i = 0; i < p->info.n_outputs; i++)
            equal &= golden_equal(&golden, test->out_arrays[i], r, p->info.outputs[i].size);
    return equal;
}

static bool is_golden(SelfTest *test, Choice only)
{
    if (test->p->info.event_size == 0) return graph_is_golden(test, only);
    run_flow(test, only, true);
    bool equal = flow_is_golden(test);
    if (test->p->model->prep_lanes == 0) return equal;
    run_flow(test, only, false);
    return equal & flow_is_golden(test);
}

nfcc_status nfcc_selftest(const nfcc_policy *p, void *memory, size_t size)
{
    SelfTest test;
    if (!p || !memory || nfcc_selftest_size(p) == 0 || size < nfcc_selftest_size(p)) return NFCC_BAD_ARGUMENT;
    if (!default_environment()) return NFCC_ENVIRONMENT;
    if (p->model->golden_rows == 0) return NFCC_OK;
    if (p->model->golden_words != p->model->golden_rows * golden_row_words(p)) return NFCC_GOLDEN;
    if (p->info.event_size == 0 ? !has(p, NFCC_HAS_RUN) : !noise_lanes(p)) return NFCC_GOLDEN;
    lay_out(&test, p, align_up(memory, ALIGN));
    if (test.n_in && !noise_lanes(p)) return NFCC_GOLDEN;
    draw_inputs(&test);
    bool equal = true;
    for (int slot = 0; slot < NFCC_TILES; slot++)
        if (p->tiles >> slot & 1) equal &= is_golden(&test, (Choice){(uint8_t)slot, (uint8_t)TILE[slot]});
    if (p->few > 1) equal &= is_golden(&test, (Choice){FEW, (uint8_t)p->few});
    return equal ? NFCC_OK : NFCC_GOLDEN;
}

/* ---- open --------------------------------------------------------------------------------------------------- */

static nfcc_status admit(const nfcc_model *m, const Image *image)
{
    nfcc_status status = model_check(m, image);
    if (status != NFCC_OK) return status;
    if (m->cpu & ~cpu_features()) return NFCC_CPU;
    return may_use(m->cpu) ? NFCC_OK : NFCC_AMX;
}

static bool takes_other(const nfcc_model *m, unsigned flags)
{
    if (!m->other_cpu || (m->other_cpu & ~cpu_features()) || (flags & NFCC_OPEN_BASELINE)) return false;
    return may_use(m->other_cpu);
}

static size_t policy_bytes(const nfcc_model *m) { return sizeof(nfcc_policy) + count_values(m) * sizeof(nfcc_value); }

static void touch_pages(uintptr_t from, uintptr_t to)
{
    for (uintptr_t at = from; at < to; at = at / PAGE * PAGE + PAGE) (void)*(const volatile unsigned char *)at;
}

size_t nfcc_static_size(const nfcc_model *model)
{
    const Image linked = {.n = 0};
    if (!model || model_check(model, &linked) != NFCC_OK) return 0;
    return policy_bytes(model) + _Alignof(nfcc_policy);
}

nfcc_status nfcc_open_static(const nfcc_model *model, void *memory, size_t size, nfcc_policy **out)
{
    const Image linked = {.n = 0};
    if (out) *out = NULL;
    if (!model || !memory || !out) return NFCC_BAD_ARGUMENT;
    nfcc_status status = admit(model, &linked);
    if (status != NFCC_OK) return status;
    if (size < nfcc_static_size(model)) return NFCC_MEMORY;
    nfcc_policy *p = align_up(memory, _Alignof(nfcc_policy));
    fill_policy(p, model, takes_other(model, 0));
    touch_pages((uintptr_t)model, (uintptr_t)p->weights.at + p->info.weights_size);
    *out = p;
    return NFCC_OK;
}

#define ALL_FLAGS ((unsigned)(NFCC_OPEN_SHARED | NFCC_OPEN_BULK | NFCC_OPEN_LOCK | NFCC_OPEN_BASELINE | NFCC_OPEN_LOOK))

#if defined(__linux__)

#define MODEL_NAME "nfcc_model"
#define HUGE ((size_t)2 << 20)
#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_NONE
#endif

/* ---- file: its headers, before the loader sees them --------------------------------------------------------- */

/* The dynamic loader trusts a file's headers and maps and follows what they say: a file that was cut or damaged would
 * kill the process. So they are looked at first. */
typedef struct {
    int fd;
    uint64_t size, inode;
    Elf64_Ehdr head;
    bool *needs;     /* result: it uses other libraries */
    uint64_t *model; /* result: address of the descriptor, 0: there is none */
} ElfFile;

static bool read_at(const ElfFile *f, void *to, size_t size, uint64_t at)
{
    return at <= f->size && size <= f->size - at && pread(f->fd, to, size, (off_t)at) == (ssize_t)size;
}

static bool read_header(const ElfFile *f, unsigned i, Elf64_Phdr *ph)
{
    return i < f->head.e_phnum && read_at(f, ph, sizeof *ph, f->head.e_phoff + i * sizeof *ph);
}

/* The bytes from address `at` on are bytes of the file from `*offset` on, mapped with these flags. */
static bool address_in_file(const ElfFile *f, uint64_t at, uint64_t size, uint32_t flags, uint64_t *offset)
{
    Elf64_Phdr ph;
    for (unsigned i = 0; read_header(f, i, &ph); i++) {
        if (ph.p_type != PT_LOAD || (ph.p_flags & flags) != flags || at < ph.p_vaddr || at - ph.p_vaddr > ph.p_filesz)
            continue;
        *offset = ph.p_offset + (at - ph.p_vaddr);
        if (size <= ph.p_filesz - (at - ph.p_vaddr)) return true;
    }
    return false;
}

/* Segments lie in the file, follow each other in memory, and have no zeros behind them but what fills a page. */
static bool segment_ok(const ElfFile *f, const Elf64_Phdr *ph, uint64_t *end)
{
    const uint64_t most = (uint64_t)1 << 40, fill = 1 << 16;
    if (ph->p_offset > f->size || ph->p_filesz > f->size - ph->p_offset) return false;
    if (!(ph->p_flags & PF_R) || ph->p_memsz < ph->p_filesz || ph->p_memsz - ph->p_filesz > fill || ph->p_vaddr > most)
        return false;
    if ((ph->p_vaddr - ph->p_offset) % PAGE || ph->p_vaddr < *end) return false;
    if (ph->p_align > most || (ph->p_align & (ph->p_align - 1))) return false;
    *end = ph->p_vaddr + ph->p_memsz;
    return true;
}

static bool read_address(const ElfFile *f, void *to, size_t size, uint64_t at)
{
    uint64_t offset;
    return address_in_file(f, at, size, PF_R, &offset) && read_at(f, to, size, offset);
}

/* What the dynamic section says. */
typedef struct {
    uint64_t hash, symbols, strings, strings_size, soname;
    bool needs; /* other libraries, so it has relocations: the openblas backend's */
} Dynamic;

/* A symbol whose name lies in the strings, `last` if its hash chain ends here. */
static bool symbol_ok(const ElfFile *f, const Dynamic *d, uint64_t chains, uint32_t index, bool *last)
{
    Elf64_Sym symbol;
    uint32_t chain;
    if (!read_address(f, &symbol, sizeof symbol, d->symbols + (uint64_t)index * sizeof symbol)) return false;
    if (symbol.st_name >= d->strings_size || !read_address(f, &chain, 4, chains + (uint64_t)index * 4)) return false;
    char name[sizeof MODEL_NAME] = "";
    bool read = read_address(f, name, sizeof name, d->strings + symbol.st_name);
    if (read && memcmp(name, MODEL_NAME, sizeof name) == 0) *f->model = symbol.st_value;
    *last = chain & 1;
    return true;
}

/* The hash table (head: buckets, first symbol, words of the Bloom filter, shift) leads to symbols only, and chains end.
 */
static bool hash_ok(const ElfFile *f, const Dynamic *d)
{
    uint32_t head[4], first;
    if (!read_address(f, head, sizeof head, d->hash) || head[0] == 0 || head[2] == 0 || (head[2] & (head[2] - 1)))
        return false;
    uint64_t buckets = d->hash + sizeof head + (uint64_t)head[2] * 8, chains = buckets + (uint64_t)head[0] * 4, offset;
    if (head[3] > 31 || !address_in_file(f, d->hash, chains - d->hash, PF_R, &offset)) return false;
    for (uint64_t i = 0; i < head[0]; i++) {
        if (!read_address(f, &first, 4, buckets + i * 4) || (first && first < head[1])) return false;
        bool last = first == 0;
        for (uint32_t index = first; !last; index++)
            if (!symbol_ok(f, d, chains - (uint64_t)head[1] * 4, index, &last)) return false;
    }
    return true;
}

static bool tables_ok(const ElfFile *f, const Dynamic *d)
{
    char end;
    if (!d->hash || !d->symbols || !d->strings || !d->strings_size || d->soname >= d->strings_size) return false;
    if (d->hash % 8 || d->symbols % 8) return false;
    if (d->strings_size > f->size || !read_address(f, &end, 1, d->strings + d->strings_size - 1) || end) return false;
    return d->needs || hash_ok(f, d);
}

/* Only what the linker writes for a policy: above all no constructors, so that opening runs no code. */
static bool read_tag(Dynamic *d, const Elf64_Dyn *entry)
{
    switch (entry->d_tag) {
    case DT_GNU_HASH: d->hash = entry->d_un.d_ptr; return true;
    case DT_SYMTAB: d->symbols = entry->d_un.d_ptr; return true;
    case DT_STRTAB: d->strings = entry->d_un.d_ptr; return true;
    case DT_STRSZ: d->strings_size = entry->d_un.d_val; return true;
    case DT_SONAME: d->soname = entry->d_un.d_val; return true;
    case DT_SYMENT: return entry->d_un.d_val == sizeof(Elf64_Sym);
    case DT_NEEDED: d->needs = true; return true;
    case DT_FLAGS:
    case DT_FLAGS_1: return true;
    case DT_INIT:
    case DT_FINI:
    case DT_INIT_ARRAY:
    case DT_FINI_ARRAY: return false;
    default: return d->needs;
    }
}

static bool dynamic_ok(const ElfFile *f, const Elf64_Phdr *dynamic)
{
    Dynamic d = {0};
    Elf64_Dyn entry;
    for (uint64_t at = 0; at + sizeof entry <= dynamic->p_filesz; at += sizeof entry) {
        if (!read_at(f, &entry, sizeof entry, dynamic->p_offset + at)) return false;
        if (entry.d_tag == DT_NULL) return *f->needs = d.needs, tables_ok(f, &d);
        if (!read_tag(&d, &entry)) return false;
    }
    return false;
}

/* What a header speaks of is memory of one segment, to the end of its last page: the loader protects it. */
static bool memory_ok(const ElfFile *f, const Elf64_Phdr *part)
{
    Elf64_Phdr ph;
    for (unsigned i = 0; read_header(f, i, &ph); i++)
        if (ph.p_type == PT_LOAD && part->p_vaddr >= ph.p_vaddr && part->p_memsz <= ph.p_memsz + PAGE &&
            part->p_vaddr + part->p_memsz <= round_up(ph.p_vaddr + ph.p_memsz, PAGE))
            return true;
    return false;
}

static bool headers_ok(const ElfFile *f)
{
    Elf64_Phdr ph, dynamic = {.p_type = PT_NULL};
    uint64_t end = 0, offset;
    for (unsigned i = 0; i < f->head.e_phnum; i++) {
        if (!read_header(f, i, &ph) || ph.p_type == PT_TLS || ph.p_type == PT_INTERP) return false;
        if (ph.p_type == PT_GNU_STACK && (ph.p_flags & PF_X)) return false; /* would make every stack executable */
        if (ph.p_type == PT_LOAD && !segment_ok(f, &ph, &end)) return false;
    }
    for (unsigned i = 0; read_header(f, i, &ph); i++) {
        if (ph.p_type == PT_DYNAMIC) dynamic = ph;
        if (ph.p_type == PT_LOAD || ph.p_filesz == 0) continue;
        uint32_t flags = ph.p_type == PT_DYNAMIC ? PF_R | PF_W : PF_R; /* the loader writes there */
        if (!address_in_file(f, ph.p_vaddr, ph.p_filesz, flags, &offset) || offset != ph.p_offset) return false;
        if (!memory_ok(f, &ph)) return false;
    }
    return dynamic.p_type == PT_DYNAMIC && dynamic_ok(f, &dynamic);
}

static void close_file(const ElfFile *f)
{
    int error = errno;
    close(f->fd);
    errno = error;
}

/* A regular file, open. What is wrong from then on is the file, not the opening of it. */
static bool open_file(const char *path, ElfFile *f)
{
    struct stat info;
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0) return false;
    errno = 0;
    bool regular = fstat(f->fd, &info) == 0 && S_ISREG(info.st_mode);
    f->size = regular ? (uint64_t)info.st_size : 0;
    f->inode = regular ? (uint64_t)info.st_ino : 0;
    if (!regular) close_file(f);
    return regular;
}

static nfcc_status file_check(ElfFile *f, bool any_machine)
{
    const Elf64_Ehdr *head = &f->head;
    if (!read_at(f, &f->head, sizeof f->head, 0) || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0) return NFCC_FILE;
    if (head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_ident[EI_DATA] != ELFDATA2LSB) return NFCC_FILE;
    if (head->e_type != ET_DYN || head->e_phentsize != sizeof(Elf64_Phdr) || head->e_phoff % 8) return NFCC_FILE;
    if (head->e_machine != MACHINE && !any_machine) return NFCC_CPU;
    return headers_ok(f) ? NFCC_OK : NFCC_FILE;
}

/* ---- look: a file of any machine, as data ------------------------------------------------------------------- */

/* The segments as the loader would lay them out, without code: for a policy of any machine. */
static bool lay_out_segments(const ElfFile *f, unsigned char *memory, Image *image)
{
    Elf64_Phdr ph;
    for (unsigned i = 0; read_header(f, i, &ph); i++) {
        if (ph.p_type != PT_LOAD) continue;
        if (image->n == MOST_SEGMENTS || !read_at(f, memory + ph.p_vaddr, ph.p_filesz, ph.p_offset)) return false;
        uintptr_t from = (uintptr_t)memory + ph.p_vaddr;
        image->segment[image->n++] = (Segment){from, from + ph.p_filesz, (ph.p_flags & PF_X) != 0};
    }
    return image->n > 0;
}

static uint64_t end_of_segments(const ElfFile *f)
{
    uint64_t end = 0;
    Elf64_Phdr ph;
    for (unsigned i = 0; read_header(f, i, &ph); i++)
        if (ph.p_type == PT_LOAD) end = ph.p_vaddr + ph.p_memsz; /* they follow each other */
    return end;
}

static nfcc_status look_at(const ElfFile *f, nfcc_policy **out)
{
    size_t size = (size_t)end_of_segments(f);
    Image image = {.n = 0};
    if (!*f->model) return NFCC_FILE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return NFCC_MEMORY;
    const nfcc_model *m = (const nfcc_model *)((uintptr_t)memory + *f->model);
    nfcc_status status = lay_out_segments(f, memory, &image) ? model_check(m, &image) : NFCC_FILE;
    nfcc_policy *p = status == NFCC_OK ? malloc(policy_bytes(m)) : NULL;
    if (!p) {
        munmap(memory, size);
        return status == NFCC_OK ? NFCC_MEMORY : status;
    }
    fill_policy(p, m, false);
    p->opened = p->looked = true;
    p->copy = (Pages){memory, size};
    *out = p;
    return NFCC_OK;
}

static nfcc_status look(const char *path, nfcc_policy **out)
{
    bool needs = false;
    uint64_t model = 0;
    ElfFile f = {.needs = &needs, .model = &model};
    if (!open_file(path, &f)) return NFCC_FILE;
    nfcc_status status = file_check(&f, true);
    if (status == NFCC_OK) status = look_at(&f, out);
    close_file(&f);
    return status;
}

/* ---- load: the library, its weights, nfcc_open -------------------------------------------------------------- */

/* dlopen takes a name that it has seen for the file it has seen under it, even when the file has been replaced since (a
 * policy compiled again while the old one is in use). So spell the name differently for each file: bit by bit its inode
 * number, as "./" or ".//" in front of the last part. This also keeps dlopen from searching the library path. */
static char *unique_name(const char *path, uint64_t inode)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t length = strlen(path), folder = (size_t)(base - path);
    char *name = malloc(length + 64 * 3 + 3), *at = name;
    if (!name) return NULL;
    memcpy(at, path, folder);
    at += folder;
    memcpy(at, "./", 2);
    for (at += 2; inode; inode >>= 1) {
        memcpy(at, ".//", 3);
        at += 2 + (inode & 1);
    }
    memcpy(at, base, length - folder + 1);
    return name;
}

/* Why a file that is a policy was not loaded, as errno: no code may be mapped from where it lies (a folder that is
 * mounted noexec), a library that it needs is not there, or this program has no loader (musl's -static). */
static void why_not_loaded(int fd, bool needs)
{
    void *code = mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0), *self;
    if (code == MAP_FAILED) return;
    munmap(code, 1);
    self = dlopen(NULL, RTLD_NOW);
    if (self) dlclose(self);
    errno = !self ? ENOSYS : needs ? ELIBACC : 0;
}

static void *load_checked(const char *path, uint64_t inode, nfcc_status *status)
{
    char *name = unique_name(path, inode);
    void *library = name ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : NULL;
    *status = library ? NFCC_OK : name ? NFCC_FILE : NFCC_MEMORY;
    free(name);
    errno = 0;
    return library;
}

static nfcc_status load_library(const char *path, void **library, bool *needs)
{
    uint64_t model = 0;
    ElfFile f = {.needs = needs, .model = &model};
    if (!open_file(path, &f)) return NFCC_FILE;
    nfcc_status status = file_check(&f, false);
    if (status == NFCC_OK) {
        *library = load_checked(path, f.inode, &status);
        if (status == NFCC_FILE) why_not_loaded(f.fd, *needs);
    }
    close_file(&f);
    return status;
}

typedef struct {
    uintptr_t address;
    Image image;
} Search;

/* For dl_iterate_phdr: the readable segments of the library that holds the address. */
static int find_image(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    Search *search = data;
    Image image = {.n = 0};
    bool found = false;
    for (unsigned i = 0; i < info->dlpi_phnum && image.n < MOST_SEGMENTS; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_R)) continue;
        uintptr_t from = info->dlpi_addr + ph->p_vaddr, to = from + ph->p_filesz;
        found |= search->address >= from && search->address < to;
        image.segment[image.n++] = (Segment){from, to, (ph->p_flags & PF_X) != 0};
    }
    if (found) search->image = image;
    return found;
}

/* Memory of huge pages, zeros; NULL: there is none. */
static unsigned char *huge_pages(Pages *pages, size_t size)
{
    size_t wanted = round_up(size, HUGE);
    void *map = mmap(NULL, wanted + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return NULL;
    *pages = (Pages){map, wanted + HUGE};
    unsigned char *at = align_up(map, HUGE);
    (void)madvise(at, wanted, MADV_HUGEPAGE); /* a kernel without it still works */
    return at;
}

static void only_read(const Pages *pages) { (void)mprotect(pages->map, pages->size, PROT_READ); }

/* Large weights move to huge pages of our own (a few rows are bound by memory and the TLB) and the file's are dropped. */
static bool copy_weights(nfcc_policy *p)
{
    size_t size = p->info.weights_size;
    const unsigned char *from = p->weights.at;
    unsigned char *to = huge_pages(&p->copy, size + OVERREAD * 4);
    if (!to) return false;
    memcpy(to, from, size);
    only_read(&p->copy);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = round_up((uintptr_t)from, page);
    uintptr_t last = ((uintptr_t)from + size) / page * page;
    if (last > first) (void)madvise((void *)first, last - first, MADV_DONTNEED);
    p->weights.at = to;
    return true;
}

/* Words of compact weights (abi.h): the fraction's bits, the code's behind them, then the four of another word and the
 * sign. A unit has as many words of either size. */
typedef struct {
    unsigned fraction, foreign, lines;
    size_t bytes;
} WordForm;
enum { UNIT_WORDS = 128, CODE_BITS = 4, CODES = 1 << CODE_BITS };

static WordForm word_form(uint32_t type)
{
    unsigned lines = NFCC_UNIT_LINES(type);
    return type == NFCC_WEIGHTS_F32 ? (WordForm){23, 27, lines, 4} : (WordForm){7, 11, lines, 2};
}

static void get_words(const WordForm *f, const unsigned char *from, uint32_t *to)
{
    uint16_t narrow[UNIT_WORDS];
    if (f->bytes == sizeof *to) {
        memcpy(to, from, UNIT_WORDS * sizeof *to);
        return;
    }
    memcpy(narrow, from, sizeof narrow);
    for (size_t i = 0; i < UNIT_WORDS; i++) to[i] = narrow[i];
}

static void put_words(const WordForm *f, const uint32_t *from, size_t n, unsigned char *to)
{
    uint16_t narrow[UNIT_WORDS];
    for (size_t i = 0; i < n; i++) narrow[i] = (uint16_t)from[i];
    memcpy(to, f->bytes == sizeof *from ? (const void *)from : narrow, n * f->bytes);
}

/* False: some word has no such form. `base`: exponents are codes from there on. */
static bool compact_unit(const WordForm *f, uint32_t base, const unsigned char *from, unsigned char *to)
{
    uint32_t word[UNIT_WORDS], sign = 1u << (f->foreign + CODE_BITS), rest = (1u << f->foreign) - 1, others = 0;
    uint32_t line = UNIT_WORDS / f->lines, lowest = base << f->fraction;
    get_words(f, from, word);
    for (uint32_t i = 0; i < UNIT_WORDS; i++) {
        uint32_t size = word[i] & (sign - 1), is_zero = (size == 0);
        others |= ((size >> f->fraction) - base - 1 >= CODES - 1) & !is_zero;
        word[i] = (word[i] & sign) | ((size - lowest) & rest & (is_zero - 1));
    }
    uint32_t *last = word + UNIT_WORDS - line;
    for (uint32_t i = 0; i < line; i++) {
        uint32_t dealt = (last[i] >> CODE_BITS & 1u << f->foreign) | (last[i] & rest);
        for (uint32_t j = 0; j < f->lines - 1; j++)
            word[j * line + i] |= (dealt >> CODE_BITS * j & (CODES - 1)) << f->foreign;
    }
    put_words(f, word, UNIT_WORDS - line, to);
    return !others;
}

/* The exponent that code 0 stands for: the largest finite one has the last code. The scale is a normal number. */
static uint32_t group_base(const WordForm *f, const unsigned char *from, uint32_t units)
{
    uint32_t word[UNIT_WORDS], most = 0, sign = 1u << (f->foreign + CODE_BITS);
    for (uint32_t u = 0; u < units; u++) {
        get_words(f, from + u * UNIT_WORDS * f->bytes, word);
        for (size_t i = 0; i < UNIT_WORDS; i++) {
            uint32_t exponent = (word[i] & (sign - 1)) >> f->fraction;
            if (exponent > most && exponent < 255) most = exponent;
        }
    }
    return most < CODES ? 0 : most - (CODES - 1) < 127 ? most - (CODES - 1) : 127;
}

/* Units without an image that do not fit behind the others: the group has none. */
static void compact_group(const nfcc_model *m, const nfcc_abi_compact *c, const unsigned char *from, unsigned char *to)
{
    WordForm f = word_form(m->weight_dtype);
    uint32_t base = group_base(&f, from, c->units), scale = (base + 127) << 23, rows = c->units / c->columns;
    uint64_t bytes = unit_bytes(m), used = image_head(m, c->units), room = c->units * bytes;
    unsigned char *image = to + LINE, *plain = to + image_bytes(m, c->units);
    for (uint32_t u = 0; u < c->units; u++, image += bytes - LINE) {
        const unsigned char *unit = from + ((size_t)(u % c->columns) * rows + u / c->columns) * bytes;
        plain[u] = !compact_unit(&f, base, unit, image);
        if (!plain[u]) continue;
        if (used + bytes <= room) memcpy(to + used, unit, bytes);
        used += bytes;
    }
    uint32_t made = used <= room;
    memcpy(to, &scale, sizeof scale);
    memcpy(to + sizeof scale, &made, sizeof made);
}

/* One row is bound by memory: its products read a compact image of large weights. */
static bool compact_weights(nfcc_policy *p)
{
    const nfcc_model *m = p->model;
    const nfcc_abi_compact *c = at_offset(m, m->compact);
    const unsigned char *from = p->weights.at;
    unsigned char *to = huge_pages(&p->image, p->info.weights_size + OVERREAD * 4);
    if (!to) return false;
    for (uint32_t i = 0; i < m->n_compact; i++)
        for (uint32_t j = 0; j < c[i].groups; j++) {
            uint64_t at = 4 * (uint64_t)c[i].at + j * c[i].units * unit_bytes(m);
            compact_group(m, &c[i], from + at, to + at);
        }
    only_read(&p->image);
    p->weights.image = (int64_t)((uintptr_t)to - (uintptr_t)from);
    return true;
}

static bool all_locked(const nfcc_policy *p)
{
    const unsigned char *at = p->weights.at;
    if (mlock(at, p->info.weights_size)) return false;
    return !p->weights.image || mlock(at + p->weights.image, p->info.weights_size) == 0;
}

static nfcc_status place_weights(nfcc_policy *p, const Image *image, unsigned flags)
{
    uintptr_t from = (uintptr_t)p->weights.at, to = from + p->info.weights_size;
    bool copy = p->info.weights_size > HUGE && !(flags & NFCC_OPEN_SHARED);
    bool compact = copy && p->model->n_compact && (p->info.cpu & NFCC_CPU_AVX512);
    if ((copy && !copy_weights(p)) || (compact && !compact_weights(p))) return NFCC_MEMORY;
    for (int i = 0; i < image->n; i++) {
        uintptr_t begin = image->segment[i].from, end = image->segment[i].to;
        bool weights_here = copy && from >= begin && to <= end;
        touch_pages(begin, weights_here ? from : end);
        if (weights_here) touch_pages(to, end);
    }
    return !(flags & NFCC_OPEN_LOCK) || all_locked(p) ? NFCC_OK : NFCC_MEMORY;
}

static nfcc_status open_library(void *library, unsigned flags, nfcc_policy **out)
{
    const nfcc_model *m = dlsym(library, MODEL_NAME);
    Search search = {.address = (uintptr_t)m};
    if (!m || !dl_iterate_phdr(find_image, &search)) return NFCC_FILE;
    nfcc_status status = admit(m, &search.image);
    if (status != NFCC_OK) return status;
    nfcc_policy *p = malloc(policy_bytes(m));
    if (!p) return NFCC_MEMORY;
    fill_policy(p, m, takes_other(m, flags));
    p->opened = true;
    *out = p;
    return place_weights(p, &search.image, flags);
}

nfcc_status nfcc_open(const char *path, unsigned flags, nfcc_policy **out)
{
    void *library = NULL;
    bool needs = false;
    if (out) *out = NULL;
    if (!path || !out || (flags & ~ALL_FLAGS)) return NFCC_BAD_ARGUMENT;
    if (flags & NFCC_OPEN_LOOK) return look(path, out);
    nfcc_status status = load_library(path, &library, &needs);
    if (status != NFCC_OK) return status;
    status = open_library(library, flags, out);
    if (*out && needs) (*out)->info.stack_size = 0; /* theirs is not known */
    if (*out)
        (*out)->library = library;
    else
        dlclose(library);
    if (status == NFCC_OK || !*out) return status;
    nfcc_close(*out);
    *out = NULL;
    return status;
}

void nfcc_close(nfcc_policy *p)
{
    if (!p || !p->opened) return;
    void *library = p->library;
    if (p->copy.map) munmap(p->copy.map, p->copy.size);
    if (p->image.map) munmap(p->image.map, p->image.size);
    free(p);
    if (library) dlclose(library);
}

#else /* no files: policies are linked in */

nfcc_status nfcc_open(const char *path, unsigned flags, nfcc_policy **out)
{
    if (out) *out = NULL;
    return path && out && !(flags & ~ALL_FLAGS) ? NFCC_FILE : NFCC_BAD_ARGUMENT;
}

void nfcc_close(nfcc_policy *p) { (void)p; }

#endif
