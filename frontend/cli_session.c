// A session: the arena, the diagnostics, the progress line and the exit code of one command.
#include "cli.h"

#include "base/clock.h"

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

static bool is_file(const struct stat *st, const char *path)
{
    struct stat other;
    return !stat(path, &other) && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

bool session_may_write(Session *s, const char *path, bool streams)
{
    struct stat st;
    const char *model = s->options->args[0];
    if (!stat(path, &st) && (is_file(&st, model) || is_file(&st, arena_format(s->arena, "%s.data", model)))) {
        diag_io_error(&s->cx, "give another name", "%s: is a file of the model itself", path);
        return false;
    }
    return file_possible(&s->cx, path, streams);
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
