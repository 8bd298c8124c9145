// One call of one entry on NumPy files: what `nfcc run` does once there is a policy. Needs libnfcc and nothing else of
// the compiler, so it is also what is cross-compiled to try a policy on another machine.
#pragma once
#include "base/arena.h"
#include "cli_npy.h"
#include "nfcc.h"

typedef struct {
    const char *entry;
    uint64_t samples; // 0: not asked for
    uint64_t seed, first_row;
    float temperature;
    const char *noise_option;  // that was given and means drawn noise; or NULL
    unsigned threads;          // 0: one per processor
    const char *const *inputs; // "NAME=FILE.npy"
    int n_inputs;
    const char *dir;
} EntryRequest;

// Arrays as in nfcc.h. out: the entry's outputs in the order of its table row, f32 or (engine->doubles) f64.
typedef struct {
    unsigned entry; // NFCC_HAS_*
    size_t rows, n;
    const void *const *contexts;
    const float *x;
    nfcc_noise noise;
    const void *const *in; // run
    unsigned threads;
    void *const *out;
} EntryCall;

typedef struct {
    void *user;
    const nfcc_info *info;
    bool doubles;
    nfcc_status (*call)(void *user, const EntryCall *call);
} EntryEngine;

// libnfcc behind the engine's one function.
EntryEngine entry_native(nfcc_policy *policy);
// Takes the inputs piece by piece, calls the entry on each, writes DIR/OUTPUT.npy. Returns an exit code; messages go to
// stderr, the list of what was written to stdout.
int entry_run(Arena *arena, const EntryEngine *engine, const EntryRequest *request);
// The names of NFCC_HAS_* bits; returns how many. And "to_latent, to_event, ...".
enum { MOST_ENTRIES = 16 };
int entry_names(unsigned entries, const char *names[MOST_ENTRIES]);
const char *entry_list(Arena *arena, unsigned entries);
unsigned entry_bit(const char *name); // 0: no such entry
bool entry_takes_x(unsigned bit);
