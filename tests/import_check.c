// Imports one model and evaluates @main in double: a tool of check_import.py.
//
//     import_check MODEL.onnx [--external-data DIR] [--rows N OUTDIR NAME=FILE ...]
//
// FILE holds the rows of input NAME as doubles; output i is written to OUTDIR/i. Prints one line a port, and
// diagnostics on stderr. Exit code 1: the model was refused.
#include "frontend.h"

#include <stdlib.h>
#include <string.h>

static double *read_doubles(const char *path, size_t want)
{
    double *v = calloc(want + 1, sizeof *v);
    FILE *f = fopen(path, "rb");
    if (!v || !f || fread(v, sizeof *v, want + 1, f) != want) {
        fprintf(stderr, "%s: not %zu doubles\n", path, want);
        exit(2);
    }
    fclose(f);
    return v;
}

static const char *file_of(int argc, char **argv, const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], name, n) && argv[i][n] == '=') return argv[i] + n + 1;
    fprintf(stderr, "no file for input %s\n", name);
    exit(2);
}

static void evaluate(const Function *f, size_t rows, const char *dir, int argc, char **argv)
{
    const double **in = calloc((size_t)f->n_inputs + 1, sizeof *in);
    double **out = calloc((size_t)f->n_outputs + 1, sizeof *out);
    for (int i = 0; i < f->n_inputs; i++)
        in[i] = read_doubles(file_of(argc, argv, f->inputs[i]->name), rows * (size_t)type_lanes(f->inputs[i]->type));
    for (int i = 0; i < f->n_outputs; i++)
        out[i] = calloc(rows * (size_t)type_lanes(f->outputs[i].node->type) + 1, sizeof(double));
    eval_function(f, rows, in, out, NULL, NULL);
    for (int i = 0; i < f->n_outputs; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%d", dir, i);
        FILE *file = fopen(path, "wb");
        if (!file) exit(2);
        fwrite(out[i], sizeof(double), rows * (size_t)type_lanes(f->outputs[i].node->type), file);
        fclose(file);
        free(out[i]);
    }
    for (int i = 0; i < f->n_inputs; i++) free((void *)in[i]);
    free(in);
    free(out);
}

static void print_ports(Arena *a, const char *kind, const Port *p, int n)
{
    for (int i = 0; i < n; i++) printf("%s %s %d %s\n", kind, type_text(a, p[i].type), p[i].batch_axis, p[i].name);
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    Arena *arena = arena_new();
    Diag diag = {.arena = arena, .file = argv[1]};
    Context cx = {.arena = arena, .diag = &diag};
    ImportOptions options = {0};
    unsigned char hash[32];
    int at = 2;
    if (argc > 3 && !strcmp(argv[2], "--external-data")) {
        options.external_data = argv[3];
        at = 4;
    }
    Module *m = onnx_load(&cx, argv[1], &options, hash);
    diag_print(&diag, stderr);
    if (m && module_verify(m, &cx)) {
        const Function *f = m->functions[0];
        printf("nodes %d arena %zu hash ", f->n_nodes, arena_used(arena));
        for (int i = 0; i < 32; i++) printf("%02x", hash[i]);
        printf("\n");
        print_ports(arena, "input", m->inputs, m->n_inputs);
        print_ports(arena, "output", m->outputs, m->n_outputs);
        if (argc > at + 2 && !strcmp(argv[at], "--rows"))
            evaluate(f, strtoull(argv[at + 1], NULL, 10), argv[at + 2], argc - at - 3, argv + at + 3);
    } else if (m) {
        diag_print(&diag, stderr);
        m = NULL;
    }
    arena_free(arena);
    return m ? 0 : 1;
}
