// Runs the program `to_event` of a policy in each of its tile sizes: what backend_test.c cross-compiles to compare
// other machines' bits. driver POLICY.so ROWS IN OUT. IN: [rows][lanes] words of in-port 0, then of PREP. OUT: for T =
// 1, 16, 64 all out-ports, each [rows][lanes].
#include "abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int tiles[NFCC_TILES] = {1, 16, 32, 64};

static const nfcc_model_header *h;
static const nfcc_abi_program *program;
static const nfcc_abi_port *in, *out;
static const uint32_t *in_words, *prep_words;

static void run_tile(nfcc_abi_code *code, size_t t, size_t row, uint32_t **results)
{
    uint32_t *work = calloc((program->work_lanes + 16) * t, 4), *prep = calloc((h->prep_lanes + 16) * t, 4);
    for (size_t r = 0; r < t; r++) {
        for (size_t l = 0; l < in->lanes; l++) work[(in->at + l) * t + r] = in_words[(row + r) * in->lanes + l];
        for (size_t l = 0; l < h->prep_lanes; l++) prep[l * t + r] = prep_words[(row + r) * h->prep_lanes + l];
    }
    code((float *)work, (const float *)prep, (const char *)h + h->weights);
    for (uint32_t p = 0; p < program->n_out; p++)
        for (size_t r = 0; r < t; r++)
            for (size_t l = 0; l < out[p].lanes; l++)
                results[p][(row + r) * out[p].lanes + l] = work[(out[p].at + l) * t + r];
    free(work);
    free(prep);
}

static void run_slot(int slot, size_t rows, FILE *to)
{
    uint32_t **results = calloc(program->n_out, sizeof *results);
    for (uint32_t p = 0; p < program->n_out; p++) results[p] = calloc(rows * out[p].lanes, 4);
    const char *at = (const char *)h + program->code[slot];
    nfcc_abi_code *code;
    memcpy(&code, &at, sizeof code);
    for (size_t row = 0; row < rows; row += (size_t)tiles[slot]) run_tile(code, (size_t)tiles[slot], row, results);
    for (uint32_t p = 0; p < program->n_out; p++) fwrite(results[p], 4, rows * out[p].lanes, to);
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    void *handle = dlopen(argv[1], RTLD_NOW);
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    h = dlsym(handle, "nfcc_model");
    program = &h->programs[NFCC_PROGRAM_TO_EVENT];
    in = (const nfcc_abi_port *)((const char *)h + program->in);
    out = (const nfcc_abi_port *)((const char *)h + program->out);
    size_t rows = (size_t)atoi(argv[2]), words = rows * (in->lanes + h->prep_lanes);
    uint32_t *data = malloc(words * 4);
    FILE *from = fopen(argv[3], "rb"), *to = fopen(argv[4], "wb");
    if (!from || !to || fread(data, 4, words, from) != words) return 1;
    in_words = data;
    prep_words = data + rows * in->lanes;
    for (int slot = 0; slot < NFCC_TILES; slot++)
        if (program->code[slot]) run_slot(slot, rows, to);
    return fclose(to) ? 1 : 0;
}
