// Runs the program `to_event` of a policy in each of its tile sizes: what plan_compiled.c cross-compiles to compare
// other machines' bits. driver POLICY.so ROWS IN OUT. IN: [rows][lanes] words of in-port 0, then of PREP. OUT: for one
// row, eight at once, T = 16, 32, 64 all out-ports, each [rows][lanes].
#include "abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const nfcc_model_header *h;
static const nfcc_abi_program *program;
static const nfcc_abi_port *in, *out;
static const uint32_t *in_words, *prep_words;

// Where rows lie: lane l of row r is word l * lane + r * row of WORK, + r * prep_row of PREP.
typedef struct {
    int slot;
    size_t rows, lane, row, prep_row;
} Tile;

static void run_tile(nfcc_abi_code *code, const Tile *t, size_t row, uint32_t **results)
{
    size_t work_lanes = program->work_lanes + 32, prep_lanes = h->prep_lanes + 32;
    uint32_t *work = calloc(work_lanes * t->rows, 4), *prep = calloc(prep_lanes * t->rows, 4);
    for (size_t r = 0; r < t->rows; r++) {
        for (size_t l = 0; l < in->lanes; l++)
            work[(in->at + l) * t->lane + r * t->row] = in_words[(row + r) * in->lanes + l];
        for (size_t l = 0; l < h->prep_lanes; l++)
            prep[l * t->lane + r * t->prep_row] = prep_words[(row + r) * h->prep_lanes + l];
    }
    nfcc_abi_weights weights = {(const char *)h + h->weights, 0};
    code((float *)work, (const float *)prep, &weights, NFCC_FEW(t->rows, t->row, t->prep_row));
    for (uint32_t p = 0; p < program->n_out; p++)
        for (size_t r = 0; r < t->rows; r++)
            for (size_t l = 0; l < out[p].lanes; l++)
                results[p][(row + r) * out[p].lanes + l] = work[(out[p].at + l) * t->lane + r * t->row];
    free(work);
    free(prep);
}

static void run_slot(const Tile *t, size_t rows, FILE *to)
{
    uint32_t **results = calloc(program->n_out, sizeof *results);
    for (uint32_t p = 0; p < program->n_out; p++) results[p] = calloc(rows * out[p].lanes, 4);
    const char *at = (const char *)h + program->code[t->slot];
    nfcc_abi_code *code;
    memcpy(&code, &at, sizeof code);
    for (size_t row = 0; row < rows; row += t->rows) run_tile(code, t, row, results);
    for (uint32_t p = 0; p < program->n_out; p++) fwrite(results[p], 4, rows * out[p].lanes, to);
}

static void run_all(size_t rows, FILE *to)
{
    size_t row = (program->work_lanes + 31) / 16 * 16, prep_row = (h->prep_lanes + 31) / 16 * 16;
    const Tile tiles[] = {
        {0, 1, 1, row, prep_row}, {0, 8, 1, row, prep_row}, {1, 16, 16, 1, 1}, {2, 32, 32, 1, 1}, {3, 64, 64, 1, 1}};
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) run_slot(&tiles[i], rows, to);
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
    run_all(rows, to);
    return fclose(to) ? 1 : 0;
}
