// Backends: Plan -> native code. A backend sees only a Plan and a Target. backends.def is the table.
#pragma once
#include "plan.h"

#include "abi.h"

#define NFCC_VERSION "0.1.0" // of the compiler; as in CMakeLists.txt

typedef struct {
    const char *triple; // "x86_64-linux-gnu", "aarch64-linux-gnu"
    const char *cpu;    // "native", "x86-64-v3", "x86-64-v4", "cortex-a72"; NULL: the triple's baseline (x86-64-v3,
                        // generic armv8-a)
} Target;

typedef enum { EMIT_SO, EMIT_O, EMIT_H, EMIT_LL } EmitKind; // `ir` is printed by the driver

// In pieces, so that weights are not copied to stand behind code.
typedef struct Bytes {
    const void *data;
    size_t size;
    const struct Bytes *rest; // what follows, or NULL
} Bytes;

size_t bytes_size(const Bytes *b); // of all pieces

// Weights pass through neither LLVM nor the linker: they are written behind the descriptor, which ends its section.
#define DESCRIPTOR_SECTION ".rodata.nfcc"
typedef struct Object {
    const Bytes *bytes;
    const struct Object *also; // which is linked with it, or NULL
    const Bytes *weights; // of the first: what follows the descriptor in the linked file; NULL: it is in the object
} Object;
enum { MOST_OBJECTS = 4 }; // of one policy

typedef struct Backend {
    const char *name;
    const char *meaning;
    // Machine code with the descriptor `symbol` (nfcc_model_header and all that follows). NULL after reported errors.
    // one: in a single object; else several may have to be linked together. ll (or NULL): also the LLVM IR as text.
    const Object *(*emit)(Context *cx, const Plan *plan, const Target *target, const char *symbol, bool one,
                          const char **ll);
} Backend;

const Backend *backend_find(const char *name); // or NULL
const Backend *backend_list(int *n);

// NULL if the target is known and usable; else the sentence for the user. Fills defaults.
const char *target_resolve(Context *cx, Target *target);
// "nfcc 0.1.0, LLVM 19.1.7": what the descriptor says made it.
const char *compiler_name(Context *cx);
bool tiles_pay(const Plan *plan, uint32_t short_from); // many rows take less time so (plan_round's, not yet rounded)
bool target_tiles(const Target *target);               // its products of bf16 weights can be tiled
// This host has AMX tiles, and the kernel, which is asked here, permits them to this process (runtime/REALTIME.md).
bool tiles_permitted(void);
bool target_runs_here(const Target *target, WeightType type, bool tiled); // this host can execute it

// Object, and those beside it -> shared object at `path`, proved self-contained (-nostdlib -z defs); written to a
// temporary file beside it, synced, renamed (file.h). needs_blas: openblas backend only. `check` (or NULL) sees the
// finished file under its temporary name; false: it is not kept.
typedef bool LinkCheck(void *user, const char *unchecked);
bool link_shared(Context *cx, const Object *object, const Target *target, bool needs_blas, const char *path,
                 LinkCheck *check, void *user);
// False, reported, if no file can be made there (`streams`: nor a pipe or /dev/null is): asked before anything is
// computed.
bool file_possible(Context *cx, const char *path, bool streams);
// The checksum that a policy.so or .o holds, and that of its bytes (checksum.c). False: no file of nfcc's.
bool checksum_read(const char *path, uint32_t *stored, uint32_t *computed);
// The same atomic write for any file (o, h, ll, nf).
bool write_file(Context *cx, const char *path, const void *data, size_t size);
bool write_bytes(Context *cx, const char *path, const Bytes *bytes);
// The typed C header of one policy (--emit h): sizes as constants, inline functions that name each context. It declares
// the descriptor of `--emit o` as nfcc_model_NAME. `name` is a C identifier.
const char *emit_header(Context *cx, const Plan *plan, const char *name);
// What a backend says of its code and weights (abi.h).
typedef struct {
    WeightType type;      // as which matrices are stored
    size_t weights;       // bytes
    const uint32_t *cost; // [NFCC_COSTS]
    uint32_t cost_two;
    bool shares_prep;
    const nfcc_abi_compact *compact; // [n_compact]
    uint32_t n_compact, compact_programs;
} CodeFacts;
// The descriptor and tables as bytes (code offsets 0: a backend fills them in), shared by all backends. Ends where the
// weights begin (64-byte aligned).
const Bytes *descriptor_bytes(Context *cx, const Plan *plan, const Target *target, const CodeFacts *facts);
