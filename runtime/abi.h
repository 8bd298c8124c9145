/* The contract between policy.so and libnfcc: one const descriptor, `nfcc_model`, followed by tables, names and
 * weights. All offsets are in bytes from the descriptor's first byte, so the file holds no pointers and needs no
 * relocations; 0 means absent. Little endian. The compiler fills it (backends/), the runtime reads it. */
#ifndef NFCC_ABI_H
#define NFCC_ABI_H
#include <stddef.h>
#include <stdint.h>

#define NFCC_ABI_MAGIC 0x6363666eu /* "nfcc" */
#define NFCC_ABI_VERSION 3u
#define NFCC_TILES 4 /* rows of a tile: 1, 16, 32, 64; a program may lack some, @encode all but 1 */

enum {
    NFCC_PORT_CONTEXT,
    NFCC_PORT_X,
    NFCC_PORT_Z,
    NFCC_PORT_LOG_DET,
    NFCC_PORT_LOG_PROB,
    NFCC_PORT_ACT,
    NFCC_PORT_EARLY,
    NFCC_PORT_PREP,
    NFCC_PORT_GRAPH,
    NFCC_PORT_SEED,
    NFCC_PORT_TEMPERATURE,
    NFCC_PORT_SCORE
};
enum {
    NFCC_PROGRAM_ENCODE,
    NFCC_PROGRAM_LATE,
    NFCC_PROGRAM_TO_LATENT,
    NFCC_PROGRAM_TO_EVENT,
    NFCC_PROGRAM_NOISE,
    NFCC_PROGRAM_RUN,
    NFCC_PROGRAM_SCORE,
    NFCC_PROGRAM_ACT,
    NFCC_PROGRAM_BASE,
    NFCC_PROGRAM_TO_LATENT_EARLY, /* the same from EARLY, with a context per row; may be absent */
    NFCC_PROGRAM_TO_EVENT_EARLY,
    NFCC_PROGRAMS
};
enum { NFCC_F32, NFCC_F64, NFCC_I64, NFCC_BOOL }; /* element types of caller's arrays (F64 is not used) */
enum { NFCC_WEIGHTS_F32, NFCC_WEIGHTS_F16, NFCC_WEIGHTS_BF16 };
/* CPU features the code needs: all must be there at open. */
enum {
    NFCC_CPU_AVX2_FMA = 1u << 0,
    NFCC_CPU_AVX512 = 1u << 1 /* F, VL, BW, DQ */,
    NFCC_CPU_NEON = 1u << 2,
    NFCC_CPU_AVX512_BF16 = 1u << 3,
    NFCC_CPU_AMX_BF16 = 1u << 4 /* AMX_TILE, AMX_BF16 */
};

/* What a call of the main program costs: of one row; what is shared by up to four and up to eight rows together (by
 * more than four, where T = 1 is all there is), and what each of them adds; of whole tiles. */
enum {
    NFCC_COST_ONE,
    NFCC_COST_FOUR,
    NFCC_COST_EIGHT,
    NFCC_COST_EACH,
    NFCC_COST_16,
    NFCC_COST_32,
    NFCC_COST_64,
    NFCC_COSTS
};

typedef struct {
    uint32_t kind, index, at, lanes;
} nfcc_abi_port; /* WORK lanes [at, at + lanes) */

/* Compact weights. One row reads each weight once, so that beyond a core's own cache its time is that of their bytes;
 * the exponents of a trained matrix differ by little. So there may be, beside the weights, an image of them in which
 * large matrices take 28 bits for an f32 weight and 12 for a bf16 one, and which products of one row read. The numbers
 * are the same.
 *
 * A unit is NFCC_UNIT_LINES(type) lines of 64 bytes of the weights, one after the other: 8 of f32, 4 of bf16. Its image
 * is one line less. Words are of 32 (16) bits; bits of a word, from the highest: the sign, four bits of the last line,
 * the code of the exponent (4), the fraction. The weight is the number that these bits are without the four, times the
 * scale of its group, which is a power of two; code 0 is +0 or -0. The word of the last line has its bits in this order
 * without the four, its lowest four in the first line, the next in the second, and so on.
 *
 * A group of units begins as far from the image's start as from that of the weights. It is a line that begins with the
 * scale (f32) and a word, 0 if there is no image of this group; the units' images; from a line on, a byte for each unit,
 * not 0 where some weight of the unit has no such form; from a line on, these units as they lie in the weights, one after
 * the other. A group may be several equal columns of units, one behind the other: its units are the first of each column,
 * then the second of each, and so on. */
#define NFCC_UNIT_LINES(type) ((type) == NFCC_WEIGHTS_F32 ? 8u : 4u)
typedef struct {
    uint32_t at; /* words of 4 bytes from the weights' start */
    uint32_t units, columns, groups;
} nfcc_abi_compact; /* so many groups, one after the other */

/* The CONST space; bytes from there to its image, 0: there is none. */
typedef struct {
    const void *at;
    int64_t image;
} nfcc_abi_weights;

/* Code of a program for one tile; a pure function.
 *   T = 16, 32, 64   work: work_lanes * T floats, lane-major (lane l of row t at [l * T + t]); prep: prep_lanes * T
 *                    floats likewise (NULL where the program reads none). Of `shape` prep_stride alone is read: 0, or,
 *                    where one context serves all rows (only if shares_prep), 16: prep is prep_lanes * 16 floats, 16
 *                    equal ones a lane.
 *   T = 1            as many rows as `shape` says, up to few_rows: row r begins at work + r * work_stride and at
 *                    prep + r * prep_stride. Strides are multiples of 16 floats; prep_stride 0: all rows share one. */
typedef void nfcc_abi_code(float *work, const float *prep, const nfcc_abi_weights *weights, uint64_t shape);
#define NFCC_FEW(rows, work_stride, prep_stride) \
    ((uint64_t)(rows) | (uint64_t)(work_stride) / 16 << 8 | (uint64_t)(prep_stride) / 16 << 36)
#define NFCC_MOST_FEW 128 /* the largest few_rows */
#define NFCC_FEW_ROWS(shape) ((size_t)((shape) & 255))
#define NFCC_FEW_WORK(shape) ((size_t)((shape) >> 8 & 0xfffffff) * 16)
#define NFCC_FEW_PREP(shape) ((size_t)((shape) >> 36) * 16)

/* Prepared state of up to so many context rows holds all that depends on them; of more, up to the second number, if it
 * fits so many bytes and there is code for T > 1, or none that reads EARLY. */
enum { NFCC_PREPARED_FEW = 16, NFCC_PREPARED_ROWS = 256, NFCC_PREPARED_BYTES = 1 << 24 };

typedef struct {
    int32_t code[NFCC_TILES]; /* offset of an nfcc_abi_code from the descriptor; 0: none */
    uint32_t exists, work_lanes;
    uint32_t n_in, n_out;
    uint32_t in, out; /* offsets of nfcc_abi_port arrays */
} nfcc_abi_program;

typedef struct {
    uint32_t name; /* offset of a zero-terminated string */
    uint32_t dtype, rank, lanes;
    uint32_t dim[8]; /* without the batch */
} nfcc_abi_value;

typedef struct nfcc_model_header {
    uint32_t magic, version;
    uint32_t size;                                /* bytes of descriptor and tables before the weights */
    uint32_t cpu;                                 /* NFCC_CPU_* bits */
    uint8_t hash[32];                             /* SHA-256 of the model file, and of its external data behind it */
    uint32_t name, compiler, target, base, notes; /* strings */
    uint32_t early_lanes, prep_lanes;
    uint32_t n_contexts, contexts; /* nfcc_abi_value arrays */
    uint32_t n_inputs, inputs;
    uint32_t n_outputs, outputs;
    nfcc_abi_value event; /* lanes 0: no flow, only `run` */
    nfcc_abi_program programs[NFCC_PROGRAMS];
    uint64_t weights, weights_size; /* offset (64-byte aligned), bytes */
    /* Golden rows. Row r (0 .. rows-1): z = noise program with this seed, row r, temperature 1. Context lane l (counted
     * over all contexts): noise program with seed + 1 + l / L, row r, lane l % L, L the noise program's lanes; integer
     * and bool contexts are 0. `golden` words, row by row: x, log_prob (sample_and_log_prob at z), then z, log_det
     * (to_latent at that x; NaN where it is not finite); for a graph that is no flow the graph's outputs at inputs drawn
     * as contexts. */
    uint32_t golden_rows, golden, golden_words, stack_bytes;
    uint64_t golden_seed;
    uint32_t weight_dtype; /* NFCC_WEIGHTS_*: of matrices; the rest is f32 */
    uint32_t given_only;   /* the base has no sampler: z must be given */
    uint32_t other_cpu;    /* NFCC_CPU_* of a second set of code (--cpu dispatch), used where all are there; 0: none */
    uint32_t other_code;   /* its offsets: int32_t [NFCC_PROGRAMS][NFCC_TILES], as `code` of the programs */
    uint32_t few_rows;     /* rows that the code of T = 1 takes at most; 0 means 1 */
    uint32_t cost[NFCC_COSTS];   /* estimates in cycles, by which tiles are chosen */
    uint32_t shares_prep;        /* the code of T > 1 knows prep_stride */
    uint32_t cost_two;           /* as NFCC_COST_FOUR, of two rows; 0: the same */
    uint32_t checksum;           /* CRC-32 of what is loaded, this word 0 */
    uint32_t compact, n_compact; /* nfcc_abi_compact array, of code that has NFCC_CPU_AVX512 */
    uint32_t compact_programs;   /* bit p: program p is to read the image */
} nfcc_model_header;

#endif
