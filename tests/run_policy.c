// run_policy POLICY.so ENTRY [NAME=FILE.npy ...] [--samples K] [--seed S] -o DIR: `nfcc run` without the compiler.
// Built from cli_entry.c, cli_npy.c, the arena and nfcc.c alone, for any machine that a policy is compiled for; the
// aarch64 tests run it under qemu.
#include "cli_entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool take(EntryRequest *q, const char *option, const char *value)
{
    if (!strcmp(option, "--samples"))
        q->samples = strtoull(value, NULL, 0);
    else if (!strcmp(option, "--seed"))
        q->seed = strtoull(value, NULL, 0);
    else if (!strcmp(option, "-o"))
        q->dir = value;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    Arena *arena = arena_new();
    const char **inputs = ARENA_ARRAY(arena, const char *, argc + 1);
    EntryRequest q = {.inputs = inputs, .temperature = 1, .threads = 1, .entry = argc > 2 ? argv[2] : ""};
    for (int i = 3; i < argc; i++) {
        if (argv[i][0] == '-' && i + 1 < argc && take(&q, argv[i], argv[i + 1]))
            i++;
        else
            inputs[q.n_inputs++] = argv[i];
    }
    nfcc_policy *policy;
    nfcc_status status = argc > 2 && q.dir ? nfcc_open(argv[1], 0, &policy) : NFCC_BAD_ARGUMENT;
    if (status) fprintf(stderr, "run_policy: %s\n", nfcc_status_text(status));
    if (status) return 2;
    EntryEngine engine = entry_native(policy);
    int code = entry_run(arena, &engine, &q);
    nfcc_close(policy);
    arena_free(arena);
    return code;
}
