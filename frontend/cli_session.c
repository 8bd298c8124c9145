// A session: the arena, the diagnostics, the progress line and the exit code of one command.
#include "cli.h"

#include "base/clock.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Session *session_new(const Options *o, const char *file)
{
    Arena *arena = arena_new();
    Session *s = ARENA_NEW(arena, Session);
    s->arena = arena;
    s->diag = (Diag){.arena = arena, .file = file};
    s->cx = (Context){.arena = arena, .diag = &s->diag};
    s->options = o;
    s->progress = isatty(STDERR_FILENO);
    s->start = s->stage_start = clock_seconds();
    return s;
}

double session_seconds(const Session *s) { return clock_seconds() - s->start; }

static void clear_line(Session *s)
{
    if (s->shown) fputs("\r\033[K", stderr);
    s->shown = false;
}

// A compile that is over in a second shows nothing; a terminal is told what a longer one is doing.
void session_stage(Session *s, const char *stage)
{
    double t = clock_seconds();
    if (s->options->value[OPT_time] && s->stage) fprintf(stderr, "%8.3f s  %s\n", t - s->stage_start, s->stage);
    s->stage = stage;
    s->stage_start = t;
    clear_line(s);
    if (!s->progress || !stage || t - s->start < 1) return;
    fprintf(stderr, "nfcc: %s: %s ...", s->diag.file, stage);
    fflush(stderr);
    s->shown = true;
}

int session_code(const Session *s)
{
    if (s->internal) return INTERNAL;
    return !s->diag.errors ? DONE : s->diag.io_error ? IO_FAILED : WRONG_MODEL;
}

int session_finish(Session *s, int code)
{
    session_stage(s, NULL);
    fflush(stdout);
    diag_print(&s->diag, stderr);
    if (code == DONE) code = session_code(s);
    arena_free(s->arena);
    return code;
}

static bool same_file(const char *a, const char *b)
{
    struct stat one, other;
    return a && !stat(a, &one) && !stat(b, &other) && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static bool is_of_model(Session *s, const char *path)
{
    const char *model = s->options->args[0];
    return same_file(model, path) || same_file(arena_format(s->arena, "%s.data", model), path) ||
           same_file(arena_format(s->arena, "%s.bin", model), path);
}

static const OptionId files_read[] = {OPT_verify_inputs, OPT_reference, OPT_unnormalize};

// The option that has this file read, or NULL.
static const char *option_that_reads(const Options *o, const char *path)
{
    for (int i = 0; i < o->n_normalize; i++)
        if (same_file(strrchr(o->normalize[i], '=') + 1, path)) return option_spelling(OPT_normalize);
    for (size_t i = 0; i < sizeof files_read / sizeof *files_read; i++)
        if (same_file(o->value[files_read[i]], path)) return option_spelling(files_read[i]);
    return NULL;
}

bool session_may_write(Session *s, const char *path, bool streams)
{
    const char *reader = option_that_reads(s->options, path);
    const char *what = reader ? arena_format(s->arena, "the file of %s", reader) : "a file of the model itself";
    if (!reader && !is_of_model(s, path)) return file_possible(&s->cx, path, streams);
    diag_io_error(&s->cx, "give another name", "%s: is %s", path, what);
    return false;
}

size_t file_head(const char *path, void *head, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = file < 0 ? 0 : read(file, head, size);
    if (file >= 0) close(file);
    return n < 0 ? 0 : (size_t)n;
}

// A C identifier made of the file's name without folder and extension.
const char *policy_name(Arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = arena_format(arena, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot && dot > name) *dot = 0;
    for (char *c = name; *c; c++)
        if (!(*c == '_' || (*c >= '0' && *c <= '9') || ((*c | 32) >= 'a' && (*c | 32) <= 'z'))) *c = '_';
    bool digit = *name >= '0' && *name <= '9';
    return digit || !*name ? arena_format(arena, "policy_%s", name) : name;
}
