// What this machine can do at most, measured: the limits that a benchmark's times are held against.
#pragma once
#include <stddef.h>

typedef struct {
    double flops;                // f32 operations a second of one thread, fused multiply-adds counted as two
    double flops_bf16;           // the same of AVX512_BF16's dot products; 0: this CPU has none
    double flops_amx;            // and of AMX_BF16's products of tiles; 0: none, or the kernel does not permit them
    double read_l2, read_memory; // bytes a second of one thread
    size_t l2_bytes, memory_bytes;
    double clock_seconds; // what reading the clock twice costs: part of every measured call
    const char *isa;      // instructions of the fastest kernels
} Peak;

// Takes about `seconds` for each of its measurements.
Peak peak_measure(double seconds);
// Bytes a second of one thread that reads a buffer of this size again and again, best of `seconds`. 0: no memory.
double peak_read(size_t bytes, double seconds);

// Memory of nobody else, in huge pages where the kernel has them, as nfcc_open gives it to weights.
typedef struct {
    const float *data; // NULL: there is none
    size_t bytes, mapped;
    void *memory;
} PeakMemory;
PeakMemory peak_memory_new(size_t bytes);
void peak_memory_read(const PeakMemory *m); // once, from front to back
void peak_memory_free(PeakMemory *m);
