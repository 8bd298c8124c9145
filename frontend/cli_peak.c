// The machine's limits, by small vectorised kernels: fused multiply-adds on registers alone, and loads of one buffer
// from front to back. Each kernel is written once over vectors of W floats and built for every instruction set of the
// architecture; the fastest one that this CPU runs counts. The best of many short runs is the limit, as the best of
// many calls is what it is compared with.
#include "cli_peak.h"

#include "backend.h"
#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { CHAINS = 12, BURST = 4096, HUGE_PAGE = 2 << 20, TURN = 256, READS = 3 };

typedef struct {
    const char *isa;
    bool runs;
    size_t width;                                           // floats in a vector
    float (*fma)(size_t n);                                 // n times CHAINS independent vector multiply-adds
    float (*dot)(size_t n);                                 // or NULL: products of bfloat16 pairs, likewise
    float (*read[READS])(const float *data, size_t floats); // all of them, a multiple of TURN
} Kernel;

// CHAINS accumulators hide the latency (4 cycles, two a cycle) and fit every register file.
#define FMA_KERNEL(name, attribute, Vector, W, SPLAT, FMA, LOAD, ADD, FIRST)                  \
    attribute static float fma_##name(size_t n)                                               \
    {                                                                                         \
        Vector a[CHAINS], x = SPLAT(0.999999f), y = SPLAT(1e-6f);                             \
        for (int i = 0; i < CHAINS; i++) a[i] = SPLAT((float)i);                              \
        for (size_t k = 0; k < n; k++) {                                                      \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) a[i] = FMA(a[i], x, y); \
        }                                                                                     \
        for (int i = 1; i < CHAINS; i++) a[0] = ADD(a[0], a[i]);                              \
        return FIRST(a[0]);                                                                   \
    }

// Eight vectors a turn, from as many places of the buffer as there are STREAMS; lines AHEAD floats on are asked for.
// Which way is fastest depends on the size and the machine's own prefetching, so that all are tried.
#define READ_KERNEL(name, STREAMS, AHEAD, attribute, Vector, W, SPLAT, FMA, LOAD, ADD, FIRST)     \
    attribute static float name(const float *data, size_t floats)                                 \
    {                                                                                             \
        enum { AT_ONCE = 8, EACH = AT_ONCE / STREAMS };                                           \
        size_t apart = floats / STREAMS;                                                          \
        Vector a[AT_ONCE];                                                                        \
        for (int i = 0; i < AT_ONCE; i++) a[i] = SPLAT(0.0f);                                     \
        for (size_t k = 0; k < apart; k += EACH * W) {                                            \
            _Pragma("GCC unroll 8") for (int i = 0; i < AT_ONCE; i++)                             \
            {                                                                                     \
                const float *at = data + (size_t)(i / EACH) * apart + k + (size_t)(i % EACH) * W; \
                if (AHEAD) __builtin_prefetch(at + AHEAD);                                        \
                a[i] = ADD(a[i], LOAD(at));                                                       \
            }                                                                                     \
        }                                                                                         \
        for (int i = 1; i < AT_ONCE; i++) a[0] = ADD(a[0], a[i]);                                 \
        return FIRST(a[0]);                                                                       \
    }

#define KERNELS(name, ...)                          \
    FMA_KERNEL(name, __VA_ARGS__)                   \
    READ_KERNEL(read_##name, 1, 0, __VA_ARGS__)     \
    READ_KERNEL(ahead_##name, 1, 4096, __VA_ARGS__) \
    READ_KERNEL(streams_##name, 4, 0, __VA_ARGS__)

#if defined(__x86_64__)
#define FMA_256(a, x, y) _mm256_fmadd_ps(a, x, y)
#define FMA_512(a, x, y) _mm512_fmadd_ps(a, x, y)
KERNELS(avx2, __attribute__((target("avx2,fma"))), __m256, 8, _mm256_set1_ps, FMA_256, _mm256_load_ps, _mm256_add_ps,
        _mm256_cvtss_f32)
KERNELS(avx512, __attribute__((target("avx512f"))), __m512, 16, _mm512_set1_ps, FMA_512, _mm512_load_ps, _mm512_add_ps,
        _mm512_cvtss_f32)
#define DOT(a, x, y) _mm512_dpbf16_ps(a, (__m512bh)(x), (__m512bh)(y))
FMA_KERNEL(avx512_bf16, __attribute__((target("avx512f,avx512bf16"))), __m512, 16, _mm512_set1_ps, DOT, , _mm512_add_ps,
           _mm512_cvtss_f32)

// Products of 16 rows of 32 numbers by 32 columns of 16, into four sums in turn, which hides the latency; for each of n
// as many as the other kernels have.
enum { TILE_SIDE = 16, TILE_BYTES = 64, TILE_PRODUCTS = TILE_SIDE * TILE_SIDE * 32 };
__attribute__((target("amx-tile,amx-bf16"))) static float fma_amx(size_t n)
{
    struct {
        uint8_t palette, start, unused[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};
    float data[TILE_SIDE * TILE_SIDE];
    for (int i = 0; i < 6; i++) tiles.bytes[i] = TILE_BYTES, tiles.rows[i] = TILE_SIDE;
    for (int i = 0; i < TILE_SIDE * TILE_SIDE; i++) data[i] = 1e-6f;
    _tile_loadconfig(&tiles);
    _tile_loadd(0, data, TILE_BYTES);
    _tile_loadd(1, data, TILE_BYTES);
    _tile_loadd(2, data, TILE_BYTES);
    _tile_loadd(3, data, TILE_BYTES);
    _tile_loadd(4, data, TILE_BYTES);
    _tile_loadd(5, data, TILE_BYTES);
    for (size_t k = 0; k < n * CHAINS / 4; k++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, data, TILE_BYTES);
    _tile_release();
    return data[0];
}
#elif defined(__aarch64__)
#define FMA_NEON(a, x, y) vfmaq_f32(y, a, x)
#define FIRST_NEON(a) vgetq_lane_f32(a, 0)
KERNELS(neon, , float32x4_t, 4, vdupq_n_f32, FMA_NEON, vld1q_f32, vaddq_f32, FIRST_NEON)
#else
#define SAME(a) (a)
#define FMA_ONE(a, x, y) ((a) * (x) + (y))
#define LOAD_ONE(p) (*(p))
#define ADD_ONE(a, b) ((a) + (b))
KERNELS(scalar, , float, 1, SAME, FMA_ONE, LOAD_ONE, ADD_ONE, SAME)
#endif

#define KERNEL(name, runs, width)                                                           \
    {                                                                                       \
        #name, runs, width, fma_##name, NULL, { read_##name, ahead_##name, streams_##name } \
    }

enum { MOST_KERNELS = 2 };

static int kernels(Kernel k[MOST_KERNELS])
{
    int n = 0;
#if defined(__x86_64__)
    k[n++] = (Kernel)KERNEL(avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), 8);
    k[n] = (Kernel)KERNEL(avx512, __builtin_cpu_supports("avx512f"), 16);
    if (__builtin_cpu_supports("avx512bf16")) k[n].dot = fma_avx512_bf16;
    n++;
#elif defined(__aarch64__)
    k[n++] = (Kernel)KERNEL(neon, true, 4);
#else
    k[n++] = (Kernel)KERNEL(scalar, true, 1);
#endif
    return n;
}

// Keeps a kernel's result alive: the sum may not be optimised away.
static void use(float value)
{
    volatile float sink = value;
    (void)sink;
}

// An instruction multiplies and adds `each` times.
static double best_fma(float (*fma)(size_t n), size_t each, double seconds)
{
    double best = 0, end = clock_seconds() + seconds;
    do {
        double start = clock_seconds();
        use(fma(BURST));
        double flops = 2.0 * (double)(CHAINS * BURST) * (double)each, rate = flops / (clock_seconds() - start);
        if (rate > best) best = rate;
    } while (clock_seconds() < end);
    return best;
}

static double best_tiles(double seconds)
{
#if defined(__x86_64__)
    if (tiles_permitted()) return best_fma(fma_amx, TILE_PRODUCTS, seconds);
#endif
    (void)seconds;
    return 0;
}

// Passes over a small buffer are timed together, or the clock would be most of what is measured. The ways take turns.
static double best_read(const Kernel *k, const float *data, size_t bytes, double seconds)
{
    size_t passes = bytes < HUGE_PAGE ? 1 + HUGE_PAGE / bytes : 1;
    double best = 0, end = clock_seconds() + seconds;
    use(k->read[0](data, bytes / 4));
    do {
        for (int way = 0; way < READS; way++) {
            double start = clock_seconds();
            for (size_t i = 0; i < passes; i++) use(k->read[way](data, bytes / 4));
            double rate = (double)passes * (double)bytes / (clock_seconds() - start);
            if (rate > best) best = rate;
        }
    } while (clock_seconds() < end);
    return best;
}

// Every page has numbers of its own: pages that are all zeros would be one page.
PeakMemory peak_memory_new(size_t bytes)
{
    size_t turn = TURN * sizeof(float);
    PeakMemory m = {.bytes = bytes < 4 * turn ? 4 * turn : bytes / turn * turn};
    m.mapped = (m.bytes / HUGE_PAGE + 2) * HUGE_PAGE;
    m.memory = mmap(NULL, m.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m.memory == MAP_FAILED) return (PeakMemory){0};
#ifdef MADV_HUGEPAGE
    madvise(m.memory, m.mapped, MADV_HUGEPAGE);
#endif
    float *data = (float *)(((uintptr_t)m.memory + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    for (size_t i = 0; i < m.bytes / 4; i++) data[i] = 1.0f;
    m.data = data;
    return m;
}

void peak_memory_free(PeakMemory *m)
{
    if (m->data) munmap(m->memory, m->mapped);
    *m = (PeakMemory){0};
}

void peak_memory_read(const PeakMemory *m)
{
    Kernel k[MOST_KERNELS];
    int best = 0;
    for (int i = 0, n = kernels(k); i < n; i++)
        if (k[i].runs) best = i;
    use(k[best].read[0](m->data, m->bytes / 4));
}

double peak_read(size_t bytes, double seconds)
{
    Kernel k[MOST_KERNELS];
    int n = kernels(k);
    PeakMemory m = peak_memory_new(bytes);
    double best = 0;
    for (int i = 0; i < n && m.data; i++) {
        double rate = k[i].runs ? best_read(&k[i], m.data, m.bytes, seconds / n) : 0;
        if (rate > best) best = rate;
    }
    peak_memory_free(&m);
    return best;
}

static size_t cache_bytes(int name, size_t otherwise)
{
    long bytes = sysconf(name);
    return bytes > 0 ? (size_t)bytes : otherwise;
}

static double clock_cost(void)
{
    double best = 1;
    for (int i = 0; i < 1000; i++) {
        double start = clock_seconds(), cost = clock_seconds() - start;
        if (cost < best) best = cost;
    }
    return best;
}

Peak peak_measure(double seconds)
{
    Kernel k[MOST_KERNELS];
    int n = kernels(k);
    Peak peak = {.isa = "", .clock_seconds = clock_cost()};
    for (int i = 0; i < n; i++) {
        double flops = k[i].runs ? best_fma(k[i].fma, k[i].width, seconds / n) : 0;
        if (flops > peak.flops) peak.flops = flops, peak.isa = k[i].isa;
        if (k[i].runs && k[i].dot) peak.flops_bf16 = best_fma(k[i].dot, 2 * k[i].width, seconds / n);
    }
    peak.flops_amx = best_tiles(seconds / n);
    peak.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 1 << 20) / 2; // half: the other half is for the rest
    peak.memory_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE, 32 << 20) * 4;
    if (peak.memory_bytes > (size_t)512 << 20) peak.memory_bytes = (size_t)512 << 20;
    peak.read_l2 = peak_read(peak.l2_bytes, seconds);
    peak.read_memory = peak_read(peak.memory_bytes, seconds);
    return peak;
}
