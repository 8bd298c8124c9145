/* nfcc: run a compiled normalizing-flow policy. This header and nfcc.c (with nfcc_threads.c for nfcc_bulk), or libnfcc,
 * are all that ships beside policy.so.
 *
 *     nfcc_policy *p;
 *     if (nfcc_open("policy.so", 0, &p)) ...;
 *     const nfcc_info *info = nfcc_get_info(p);
 *     void *prepared = malloc(nfcc_prepared_size(p, 1)), *work = malloc(info->work_size);
 *     const void *context[] = {obs};
 *     nfcc_prepare(p, 1, context, prepared, work);
 *     nfcc_noise noise = NFCC_NOISE(seed);
 *     nfcc_sample_and_log_prob(p, prepared, &noise, 1, action, &log_prob, work);
 *
 * Shapes. All arrays are C-contiguous f32 unless nfcc_info says otherwise. N = rows of the prepared state, n = events
 * per row, D = info->event_size: x and z are [N][n][D], log_prob and log_det [N][n]. A context is [N][its shape]. NULL
 * for an output that is not wanted. z, x or score may be written over the x or z that was given (the same array); outputs
 * overlap nothing else.
 *
 * Units. log_prob and log_det are natural logarithms (nats), in the units of the event as the graph sees it.
 *
 * Promises. After nfcc_open nothing here but nfcc_bulk allocates, locks, makes a system call or keeps state: every
 * function may be called by any number of threads at once with the same policy, each with its own noise, prepared state
 * and workspace (prepared state is read-only after nfcc_prepare and may be shared), while others open and close policies
 * of their own. A row's result depends on that row alone, bit for bit, whatever N, n and the tile it falls into. This
 * file and nfcc.c hold no floating-point arithmetic.
 *
 * Status. NFCC_OK, or what happened; outputs are valid for NFCC_OK and NFCC_NOT_FINITE only. NFCC_NOT_FINITE: an input
 * row held a NaN or an infinity; the outputs of that row are NaN, all others are as usual. Or an event or action that
 * was computed from finite numbers is not finite (an observation far outside of all training overflows the net): it is
 * there as it was computed. So NFCC_OK says that an action is a number. Every function that computes also returns
 * BAD_ARGUMENT (NULL where something is read, a temperature that is negative or not finite, sizes that overflow) and
 * NO_ENTRY (info->entries says what there is); those that take prepared state BAD_SHAPE.
 */
#ifndef NFCC_H
#define NFCC_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default) /* exported even where the rest is built hidden */
#endif

/* Status codes and their sentences, once. */
#define NFCC_STATUSES(S)                                                                                     \
    S(OK, "done")                                                                                            \
    S(NOT_FINITE, "an input, or an event computed, holds NaN or infinity; an input's row of outputs is NaN") \
    S(BAD_ARGUMENT, "a NULL or impossible argument")                                                         \
    S(BAD_SHAPE, "prepared state that nfcc_prepare did not make for this policy, or that was moved since")   \
    S(NO_ENTRY, "the policy has no such entry, or its base cannot be drawn; nfcc info POLICY.so lists them") \
    S(CPU, "this CPU is of another kind than the policy's (--target) or lacks its instructions (--cpu)")     \
    S(ABI, "the file was made for another version of nfcc; compile it again or use that version's libnfcc")  \
    S(FILE, "the file cannot be opened (errno says why) or is no policy of nfcc, or a damaged one")          \
    S(MEMORY, "not enough memory, or for NFCC_OPEN_LOCK less that may be locked (ulimit -l)")                \
    S(GOLDEN, "the golden rows differ: this machine or process computes other bits")                         \
    S(ENVIRONMENT, "the floating-point environment is not the default (rounding mode or flush to zero)")     \
    S(AMX, "the kernel refuses AMX tiles (Linux < 5.16, a sandbox, a small sigaltstack): --cpu x86-64-v4")

typedef enum {
#define NFCC_STATUS_ENUM(id, text) NFCC_##id,
    NFCC_STATUSES(NFCC_STATUS_ENUM)
#undef NFCC_STATUS_ENUM
} nfcc_status;

typedef struct nfcc_policy nfcc_policy;      /* immutable after open */
typedef struct nfcc_model_header nfcc_model; /* the descriptor inside policy.so or a linked policy.o */

/* Noise of a call. Start from NFCC_NOISE(seed). z != NULL: [N][n][D] latents used as they are (seed, next and
 * temperature are not looked at). Else N*n rows are drawn: row i of the call is row next + i of the stream `seed`, and
 * `next` moves on by N*n. The same (seed, row) gives the same bits on every machine. temperature scales the noise
 * (of a uniform base about its middle, above 1 beyond its ends); 0 is the deterministic action; log_prob stays the
 * trained density's. A zeroed nfcc_noise is the deterministic action.
 * Generator: Philox4x32-10 (Salmon et al., SC 2011), key = seed, counter = (row low, row high, block, 0); block b makes
 * lanes 2b and 2b+1 by Box-Muller: words 0 (high) and 1 (low) are the radius, u = (r + 0.5) 2^-64; words 2 and 3 the
 * angle. Of a Laplace, logistic or uniform base words 0, 1 and words 2, 3 are two such u, which the inverse distribution
 * function turns into the lanes. */
typedef struct {
    uint64_t seed, next;
    float temperature;
    const float *z;
} nfcc_noise;
#define NFCC_NOISE(seed_) {(seed_), 0, 1.0f, NULL}

typedef enum { NFCC_TYPE_F32, NFCC_TYPE_F64, NFCC_TYPE_I64, NFCC_TYPE_BOOL } nfcc_type;

typedef struct {
    const char *name; /* as in the ONNX file */
    nfcc_type type;
    unsigned rank;
    size_t shape[8]; /* without the batch */
    size_t size;     /* elements of one row */
} nfcc_value;

enum {
    NFCC_HAS_TO_LATENT = 1u << 0,
    NFCC_HAS_TO_EVENT = 1u << 1,
    NFCC_HAS_LOG_PROB = 1u << 2,
    NFCC_HAS_SAMPLE = 1u << 3,
    NFCC_HAS_SAMPLE_AND_LOG_PROB = 1u << 4,
    NFCC_HAS_ACT = 1u << 5,
    NFCC_HAS_RUN = 1u << 6,
    NFCC_HAS_SCORE = 1u << 7,
    NFCC_HAS_SAMPLE_BEST = 1u << 8
};

typedef struct {
    unsigned abi_version;
    const char *name, *compiler, *target; /* --name; nfcc's version; --target and --cpu */
    const char *base, *notes; /* "standard normal", ...; lines for people: what was found and how it was checked */
    uint8_t model_hash[32];   /* SHA-256 of the ONNX file, its MODEL.onnx.data behind it */
    unsigned entries;         /* NFCC_HAS_* */
    size_t n_contexts, n_inputs, n_outputs; /* inputs, outputs: of the exported graph, for nfcc_run */
    const nfcc_value *contexts, *inputs, *outputs;
    nfcc_value event;    /* shape of x; size 0: not a flow */
    size_t event_size;   /* D */
    size_t work_size;    /* bytes of workspace for any call, any alignment */
    size_t weights_size; /* bytes */
    unsigned cpu;        /* NFCC_CPU_* of abi.h */
    size_t stack_size;   /* bytes of stack that a call takes at most; 0: not known (openblas) */
} nfcc_info;

enum {
    NFCC_OPEN_SHARED = 1u << 0,   /* use the file's own pages (shared between processes), no private memory; else large
                                     weights are copied, on AVX-512 twice: for one row as a compact image */
    NFCC_OPEN_BULK = 1u << 1,     /* memory may be spent on a packing for many rows (none is faster, so far) */
    NFCC_OPEN_LOCK = 1u << 2,     /* mlock the weights and their image; MEMORY where that may not be (RLIMIT_MEMLOCK) */
    NFCC_OPEN_BASELINE = 1u << 3, /* of two sets of code (--cpu dispatch) the one for the lesser CPU, for comparison */
    NFCC_OPEN_LOOK = 1u << 4      /* of whatever machine: for nfcc_get_info and nfcc_close; all else is BAD_ARGUMENT */
};

/* Open a compiled policy. Reads and checks the descriptor, touches every page of the weights. *out is NULL on failure.
 * Errors: FILE (errno says why it cannot be opened or its code not be loaded; 0: it is no policy, or a damaged one),
 * ABI, CPU, AMX, MEMORY, BAD_ARGUMENT. With AMX tiles it has Linux permit them, to the whole process. */
nfcc_status nfcc_open(const char *path, unsigned flags, nfcc_policy **out);
/* The same for a policy linked into the program (nfcc --emit o): no dlopen, no malloc. memory: at least
 * nfcc_static_size(model) bytes, any alignment, alive as long as the policy. Errors: ABI, CPU, AMX, MEMORY
 * (too small), BAD_ARGUMENT. */
nfcc_status nfcc_open_static(const nfcc_model *model, void *memory, size_t size, nfcc_policy **out);
size_t nfcc_static_size(const nfcc_model *model); /* 0: it is no policy of this version */
void nfcc_close(nfcc_policy *policy);             /* NULL is allowed; after open_static it does nothing */

const nfcc_info *nfcc_get_info(const nfcc_policy *policy);
const char *nfcc_status_text(nfcc_status status); /* one sentence, never NULL */

/* Bytes of prepared state for exactly `rows` context rows; fewer rows may take more: of up to 256 (and 16 MiB; of
 * large policies that use AMX tiles 16) all that depends on the contexts alone is kept, of more only what is small. */
size_t nfcc_prepared_size(const nfcc_policy *policy, size_t rows);
/* Everything that depends on the contexts alone, once. context[i]: [rows][shape of context i]; NULL array if there are
 * none (then rows may be any number >= 1). prepared: nfcc_prepared_size bytes, any alignment; it must not be moved. */
nfcc_status nfcc_prepare(const nfcc_policy *policy, size_t rows, const void *const context[], void *prepared,
                         void *work);

/* x -> z, log_det = log|det dz/dx|. */
nfcc_status nfcc_to_latent(const nfcc_policy *, const void *prepared, size_t n, const float *x, float *z,
                           float *log_det, void *work);
/* z -> x, log_det = log|det dx/dz|. */
nfcc_status nfcc_to_event(const nfcc_policy *, const void *prepared, size_t n, const float *z, float *x, float *log_det,
                          void *work);
/* log density of x; -inf outside the support, never NaN for finite x. */
nfcc_status nfcc_log_prob(const nfcc_policy *, const void *prepared, size_t n, const float *x, float *log_prob,
                          void *work);
/* score = d log_prob / d x, [N][n][D]; NaN where log_prob is -inf. */
nfcc_status nfcc_score(const nfcc_policy *, const void *prepared, size_t n, const float *x, float *score, void *work);
/* The same, and d log_prob / d context i into context_score[i], [N][n][shape of context i], or NULL; 0 for integers.
 * Errors also: NO_ENTRY for a policy that was not compiled with --score-context. */
nfcc_status nfcc_score_context(const nfcc_policy *, const void *prepared, size_t n, const float *x, float *score,
                               float *const context_score[], void *work);
nfcc_status nfcc_sample(const nfcc_policy *, const void *prepared, nfcc_noise *, size_t n, float *x, void *work);
nfcc_status nfcc_sample_and_log_prob(const nfcc_policy *, const void *prepared, nfcc_noise *, size_t n, float *x,
                                     float *log_prob, void *work);
/* Of n >= 1 samples of each row the most likely: x [N][D], log_prob [N]; noise (z: [N][n][D]) as for nfcc_sample. Of
 * equals the first; a candidate whose log_prob is NaN loses to all others. */
nfcc_status nfcc_sample_best(const nfcc_policy *, const void *prepared, nfcc_noise *, size_t n, float *x,
                             float *log_prob, void *work);
/* The action that ships: a sample after the policy's own output clip (and denoising, where compiled in). */
nfcc_status nfcc_act(const nfcc_policy *, const void *prepared, nfcc_noise *, size_t n, float *x, void *work);
/* The exported graph itself: in[i]: [rows][shape of input i], out[i]: [rows][shape of output i] or NULL. */
nfcc_status nfcc_run(const nfcc_policy *, size_t rows, const void *const in[], void *const out[], void *work);
/* Noise of the standardised base (normals, unless it is another): rows x D of the stream, as sample uses it (before
 * temperature). */
nfcc_status nfcc_draw(const nfcc_policy *, uint64_t seed, uint64_t first_row, size_t rows, float *z, void *work);
/* Compute the golden rows stored at compile time and compare bit for bit. memory: nfcc_selftest_size bytes, any
 * alignment. Errors: GOLDEN, ENVIRONMENT, BAD_ARGUMENT. */
nfcc_status nfcc_selftest(const nfcc_policy *, void *memory, size_t size);
size_t nfcc_selftest_size(const nfcc_policy *);

/* ---- many rows, several threads: in libnfcc, or nfcc_threads.c (POSIX threads) beside nfcc.c ----
 * A whole job as data: contexts are prepared and the entry is computed piece by piece, so memory does not grow with the
 * rows, and arrays may be mapped files. The bits are those of the entry's own function, whatever the number of threads.
 */
typedef struct {
    unsigned entry;        /* one NFCC_HAS_* */
    size_t rows, n;        /* N context rows (0: nothing to do), n >= 1 events per row; run: n = 1 */
    const void *const *in; /* as for nfcc_prepare; run: as for nfcc_run */
    const float *given;    /* to_latent, log_prob, score: x; to_event: z */
    nfcc_noise *noise;     /* sample, sample_and_log_prob, sample_best, act */
    void *const *out;      /* the outputs in the order of the entry's function; NULL: not wanted */
} nfcc_call;

/* Who works. {0}: one thread per processor that this process may use, made for the call. run, if not NULL, is the
 * caller's own pool: it calls task(argument, i) for every i < count (at most `threads`), on any threads, and returns
 * when all have returned. */
typedef struct {
    unsigned threads; /* 0: one per processor */
    void (*run)(void *user, void (*task)(void *argument, size_t index), void *argument, size_t count);
    void *user;
} nfcc_threads;

/* Unlike all else here this allocates (a workspace per thread, given back at the end) and starts threads: it is for
 * throughput, not for a control loop. NULL for `how` is {0}. Errors: those of the entry, and MEMORY. */
nfcc_status nfcc_bulk(const nfcc_policy *, const nfcc_call *call, const nfcc_threads *how);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
