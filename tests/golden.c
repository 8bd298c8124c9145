// Golden tests: golden [--update] FILE.nf|FOLDER..., golden --passes FOLDER
//
// A file is a comment, an input module, a line "----" and the exact text expected. In a folder .../passes/<pass>/ the
// expected text is that of the module after that pass alone, and a function that keeps its inputs and outputs must give
// the same numbers as before. Elsewhere (tests/ir) it is the input read and written, which must also read back to the
// same module. Instead of an expected text a file may hold "# error: TEXT": the input must be refused with a message
// that holds TEXT; beside a statement the message must name that line, on a line of its own not.
// --update rewrites what follows "----". A failure prints a diff; exit code 1.
// --passes: every pass of the pipeline table has a folder of cases in FOLDER.
#include "passes.h"
#include "same_module.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    Context cx;
    Diag diag;
    const char *path, *dir;
    char *input, *expected; // expected: NULL without "----"
    const char *pass;       // or NULL
    bool update;
} Case;

// ---- files

static char *read_all(Arena *arena, const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        fprintf(stderr, "golden: cannot read %s\n", path);
        exit(2);
    }
    *size = (size_t)ftell(file);
    rewind(file);
    char *text = arena_alloc(arena, *size + 1);
    *size = fread(text, 1, *size, file);
    fclose(file);
    return text;
}

// The parts before and after the line "----".
static void split(Case *c)
{
    for (char *line = c->input; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (strncmp(line, "----\n", 5)) continue;
        *line = '\0';
        c->expected = line + 5;
        return;
    }
}

// .../passes/<pass>/<case>.nf: the pass; .../<case>.nf: dir
static void place(Case *c)
{
    Arena *a = c->cx.arena;
    char *dir = arena_string(a, c->path), *slash = strrchr(dir, '/');
    if (slash) *slash = '\0';
    c->dir = slash ? dir : ".";
    char *folder = slash ? strrchr(dir, '/') : NULL;
    if (!folder) return;
    size_t head = (size_t)(folder - dir);
    bool in_passes = head >= 6 && !memcmp(dir + head - 6, "passes", 6) && (head == 6 || dir[head - 7] == '/');
    if (in_passes) c->pass = folder + 1;
}

// ---- diff

typedef struct {
    const char **line;
    int n, cap;
} Lines;

static Lines lines_of(Arena *arena, const char *text)
{
    Lines l = {0};
    char *copy = arena_string(arena, text);
    for (char *line = copy, *next; *line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        if (end) *end = '\0';
        const char *item = line;
        ARENA_PUSH(arena, l.line, l.n, l.cap, item);
    }
    return l;
}

// Longest common subsequence: common[i][j] of the rests from lines i and j.
static void print_diff(Arena *arena, const char *expected, const char *found)
{
    Lines a = lines_of(arena, expected), b = lines_of(arena, found);
    if ((int64_t)a.n * b.n > 1 << 26) {
        printf("(too long for a diff)\n");
        return;
    }
    int width = b.n + 1, *common = ARENA_ARRAY(arena, int, (int64_t)(a.n + 1) * width);
    for (int i = a.n - 1; i >= 0; i--)
        for (int j = b.n - 1; j >= 0; j--) {
            int *at = &common[i * width + j];
            bool same = !strcmp(a.line[i], b.line[j]);
            *at = same ? at[width + 1] + 1 : at[width] > at[1] ? at[width] : at[1];
        }
    printf("--- expected\n+++ found\n");
    for (int i = 0, j = 0; i < a.n || j < b.n;) {
        if (i < a.n && j < b.n && !strcmp(a.line[i], b.line[j])) {
            printf(" %s\n", a.line[i]);
            i++, j++;
        } else if (j >= b.n || (i < a.n && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
            printf("-%s\n", a.line[i++]);
        } else {
            printf("+%s\n", b.line[j++]);
        }
    }
}

static bool complain(const Case *c, const char *what)
{
    printf("%s: %s\n", c->path, what);
    for (size_t i = 0; i < c->diag.n; i++) printf("  message: %s\n", c->diag.list[i].text);
    return false;
}

// ---- cases that must be refused

static bool message_holds(const Case *c, const char *wanted, int line)
{
    char at[32] = "";
    if (line) snprintf(at, sizeof at, "line %d", line);
    for (size_t i = 0; i < c->diag.n; i++) {
        const char *text = c->diag.list[i].text, *found = strstr(text, at);
        bool whole = !line || (found && (found[strlen(at)] < '0' || found[strlen(at)] > '9'));
        if (c->diag.list[i].kind == DIAG_ERROR && whole && strstr(text, wanted)) return true;
    }
    return false;
}

static bool blank_before(const char *text, const char *at)
{
    while (at > text && at[-1] != '\n')
        if (*--at != ' ') return false;
    return true;
}

// Every "# error: TEXT" must have its message; false also if there was no error at all.
static bool check_errors(const Case *c, const char *mark)
{
    bool right = true;
    if (!c->diag.errors) return complain(c, "was accepted, but should be refused");
    for (; mark; mark = strstr(mark + 1, "# error: ")) {
        int line = 1;
        for (const char *p = c->input; p < mark; p++) line += *p == '\n';
        const char *text = mark + strlen("# error: ");
        char *wanted = arena_string(c->cx.arena, text);
        wanted[strcspn(wanted, "\n")] = '\0';
        if (message_holds(c, wanted, blank_before(c->input, mark) ? 0 : line)) continue;
        right = complain(c, arena_format(c->cx.arena, "line %d: no such error: %s", line, wanted));
    }
    return right;
}

// ---- cases with a result

static char *text_of(Arena *arena, const Module *m)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) exit(2);
    module_write(m, out, NULL, NULL);
    fclose(out);
    char *copy = arena_string(arena, text);
    free(text);
    return copy;
}

static bool rewrite(const Case *c, const char *found)
{
    FILE *file = fopen(c->path, "wb");
    bool done = file && fprintf(file, "%s----\n%s", c->input, found) >= 0;
    if (file && fclose(file)) done = false;
    return done ? true : complain(c, "cannot be written");
}

static bool round_trip(Case *c, const Module *m, const char *text)
{
    if (strstr(text, "= constant ...")) return true; // data that has no place in a golden text
    const Module *again = module_read(&c->cx, text, strlen(text), c->dir, NULL);
    const char *why = again ? module_difference(m, again) : "it cannot be read";
    return why ? complain(c, arena_format(c->cx.arena, "what was written reads back differently: %s", why)) : true;
}

// ---- the same numbers before and after a pass, where a function keeps its inputs and outputs

enum { ROWS = 5 };

// Inside the domain of log, atanh and acos.
static double *sample_rows(Arena *arena, int64_t lanes, uint32_t *seed)
{
    double *v = ARENA_ARRAY(arena, double, lanes *ROWS);
    for (int64_t i = 0; i < lanes * ROWS; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        v[i] = 0.05 + 0.9 * (*seed >> 8) / (1 << 24);
    }
    return v;
}

static bool same_lanes(const Function *f, const Function *g)
{
    if (f->n_inputs != g->n_inputs || f->n_outputs != g->n_outputs) return false;
    for (int i = 0; i < f->n_inputs; i++)
        if (type_lanes(f->inputs[i]->type) != type_lanes(g->inputs[i]->type) ||
            strcmp(f->inputs[i]->name, g->inputs[i]->name))
            return false;
    for (int i = 0; i < f->n_outputs; i++)
        if (type_lanes(f->outputs[i].node->type) != type_lanes(g->outputs[i].node->type)) return false;
    return true;
}

static double **evaluate(Arena *arena, const Function *f)
{
    const double **in = ARENA_ARRAY(arena, const double *, f->n_inputs + 1);
    double **out = ARENA_ARRAY(arena, double *, f->n_outputs + 1);
    uint32_t seed = 7;
    for (int i = 0; i < f->n_inputs; i++) in[i] = sample_rows(arena, type_lanes(f->inputs[i]->type), &seed);
    for (int i = 0; i < f->n_outputs; i++)
        out[i] = ARENA_ARRAY(arena, double, type_lanes(f->outputs[i].node->type) * ROWS);
    eval_function(f, ROWS, in, out, NULL, NULL);
    return out;
}

static bool same_numbers(const Case *c, const Function *before, const Function *after)
{
    double **a = evaluate(c->cx.arena, before), **b = evaluate(c->cx.arena, after);
    for (int i = 0; i < before->n_outputs; i++)
        for (int64_t k = 0; k < type_lanes(before->outputs[i].node->type) * ROWS; k++) {
            double x = a[i][k], y = b[i][k];
            if (x == y || fabs(x - y) <= 1e-9 * (1 + fabs(x)) || (isnan(x) && isnan(y))) continue;
            const char *name = before->outputs[i].name;
            return complain(
                c, arena_format(c->cx.arena, "@%s: output '%s' was %.17g, is %.17g", before->name, name, x, y));
        }
    return true;
}

static bool check_numbers(const Case *c, const Module *before, const Module *after)
{
    bool right = true;
    for (int i = 0; i < before->n_functions; i++) {
        const Function *f = before->functions[i], *g = module_function(after, f->name);
        if (!g && !strcmp(f->name, "main")) g = module_function(after, "run");
        if (g && same_lanes(f, g)) right = same_numbers(c, f, g) && right;
    }
    return right;
}

static bool check_result(Case *c, const Module *input, const Module *m)
{
    if (!m) return complain(c, "failed");
    if (!module_verify(m, &c->cx)) return complain(c, "the result breaks the rules of form");
    if (m != input && !check_numbers(c, input, m)) return false;
    const char *found = text_of(c->cx.arena, m);
    if (!round_trip(c, m, found)) return false;
    if (c->expected && !strcmp(c->expected, found)) return true;
    if (c->update) return rewrite(c, found);
    printf("%s:\n", c->path);
    print_diff(c->cx.arena, c->expected ? c->expected : "", found);
    return false;
}

static bool run_case(const char *path, bool update)
{
    size_t size = 0;
    Case c = {.path = path, .update = update};
    c.cx.arena = c.diag.arena = arena_new();
    c.diag.file = path;
    c.cx.diag = &c.diag;
    c.input = read_all(c.cx.arena, path, &size);
    split(&c);
    place(&c);
    const Module *input = module_read(&c.cx, c.input, strlen(c.input), c.dir, NULL), *m = input;
    if (m && c.pass) m = pass_run_one(&c.cx, c.pass, m);
    const char *mark = strstr(c.input, "# error: ");
    bool right = mark ? check_errors(&c, mark) : check_result(&c, input, m);
    arena_free(c.cx.arena);
    return right;
}

// ---- folders, in the order of names

static int only_nf(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return e->d_name[0] != '.' && (n < 4 || !strchr(e->d_name, '.') || !strcmp(e->d_name + n - 3, ".nf"));
}

static bool run_path(const char *path, bool update)
{
    struct stat info;
    if (stat(path, &info)) {
        fprintf(stderr, "golden: cannot read %s\n", path);
        exit(2);
    }
    if (!S_ISDIR(info.st_mode)) return run_case(path, update);
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, only_nf, alphasort);
    bool right = true;
    for (int i = 0; i < n; i++) {
        char below[4096];
        snprintf(below, sizeof below, "%s/%s", path, entries[i]->d_name);
        right = run_path(below, update) && right;
        free(entries[i]);
    }
    free(entries);
    return right;
}

static bool has_case(const char *folder, const char *pass)
{
    char path[4096];
    struct dirent **entries = NULL;
    int n = snprintf(path, sizeof path, "%s/", folder), count;
    for (; *pass && n < (int)sizeof path - 1; pass++, n++) path[n] = *pass == '_' ? '-' : *pass;
    path[n] = '\0';
    count = scandir(path, &entries, only_nf, alphasort);
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
    if (count < 1) printf("no golden case in %s\n", path);
    return count > 0;
}

static bool check_passes(const char *folder)
{
    int n = 0;
    const PassInfo *passes = pass_list(&n);
    bool right = true;
    for (int i = 0; i < n; i++) right = has_case(folder, passes[i].name) && right;
    return right;
}

int main(int argc, char **argv)
{
    bool update = argc > 1 && !strcmp(argv[1], "--update"), right = true;
    int first = update ? 2 : 1;
    if (argc <= first) {
        fprintf(stderr, "usage: golden [--update] FILE.nf|FOLDER... | golden --passes FOLDER\n");
        return 2;
    }
    if (argc == 3 && !strcmp(argv[1], "--passes")) return check_passes(argv[2]) ? 0 : 1;
    for (int i = first; i < argc; i++) right = run_path(argv[i], update) && right;
    return right ? 0 : 1;
}
