// nfcc test DIR...: folders of ONNX's backend tests, each a case (it holds model.onnx) or a folder of cases. One line a
// case: PASS, FAIL, or UNSUPPORTED where nfcc refuses the model, which is no failure.
#include "cli.h"
#include "cli_case.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST = 4 };

typedef struct {
    const Options *o;
    CaseOptions options;
    size_t count[3];
} Test;

static void run_case(Test *t, const char *dir)
{
    static const char *const verdicts[] = {"PASS", "FAIL", "UNSUPPORTED"};
    Session *s = session_new(t->o, arena_format(t->o->arena, "%s/model.onnx", dir));
    const char *note = "", *slash = strrchr(dir, '/');
    CaseVerdict v = case_run(s, dir, &t->options, &note);
    printf("%-11s %s%s%s\n", verdicts[v], slash && slash[1] ? slash + 1 : dir, *note ? ": " : "", note);
    fflush(stdout);
    t->count[v]++;
    arena_free(s->arena);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

static bool visit(Test *t, const char *dir, int depth)
{
    Arena *arena = t->o->arena;
    if (!access(arena_format(arena, "%s/model.onnx", dir), F_OK)) {
        run_case(t, dir);
        return true;
    }
    struct dirent **list;
    int n = depth < DEEPEST ? scandir(dir, &list, NULL, alphasort) : 0;
    if (n < 0) fprintf(stderr, "nfcc: error: %s: cannot be read as a folder\n", dir);
    for (int i = 0; i < n; i++) {
        const char *path = arena_format(arena, "%s/%s", dir, list[i]->d_name);
        if (list[i]->d_name[0] != '.' && is_folder(path)) visit(t, path, depth + 1);
        free(list[i]);
    }
    if (n >= 0 && depth < DEEPEST) free(list);
    return n >= 0;
}

int cmd_test(const Options *o)
{
    Test t = {.o = o, .options = {.rtol = 1e-3, .atol = 1e-7}};
    const char *backend = o->value[OPT_backend];
    t.options.interp = backend && !strcmp(backend, "interp");
    if (!option_double(o, OPT_rtol, &t.options.rtol) || !option_double(o, OPT_atol, &t.options.atol))
        return WRONG_USAGE;
    if (backend && !t.options.interp && !backend_find(backend))
        return usage_error("--backend %.100s: llvm, openblas or interp is wanted", backend);
    bool read = true;
    for (int i = 0; i < o->n_args; i++) read &= visit(&t, o->args[i], 0);
    printf("%zu passed, %zu failed, %zu unsupported\n", t.count[CASE_PASS], t.count[CASE_FAIL],
           t.count[CASE_UNSUPPORTED]);
    if (read && t.count[CASE_PASS] + t.count[CASE_FAIL] + t.count[CASE_UNSUPPORTED] == 0) {
        fprintf(stderr, "nfcc: error: %s: no case was found; a case is a folder with model.onnx in it\n", o->args[0]);
        return IO_FAILED;
    }
    return !read ? IO_FAILED : t.count[CASE_FAIL] ? WRONG_MODEL : DONE;
}
