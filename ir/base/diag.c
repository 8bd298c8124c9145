// Diagnostics: see diag.h.
#include "diag.h"

#include <string.h>

enum { MOST = 50 };

static void add(Context *cx, DiagKind kind, const char *text, const char *hint)
{
    Diag *d = cx->diag;
    if (kind == DIAG_ERROR) d->errors++;
    if (d->n >= MOST) return;
    Diagnostic entry = {kind, text, hint ? arena_string(d->arena, hint) : NULL};
    ARENA_PUSH(d->arena, d->list, d->n, d->cap, entry);
}

// One line, printable characters only: names come from files.
static char *clean(Arena *arena, const char *text)
{
    char *copy = arena_string(arena, text);
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = ' ';
    if (strlen(copy) > 1500) memcpy(copy + 1497, "...", 4);
    return copy;
}

static const char *compose(Context *cx, const Origin *where, const char *format, va_list args)
{
    Arena *a = cx->diag->arena;
    char reason[4096];
    vsnprintf(reason, sizeof reason, format, args);
    const char *file = cx->diag->file ? cx->diag->file : "model";
    if (!where || (!where->node && !where->op)) return clean(a, arena_format(a, "%s: %s", file, reason));
    const char *text = arena_format(a, "%s: node '%.300s' (%.100s): %s", file, where->node ? where->node : "?",
                                    where->op ? where->op : "?", reason);
    if (where->module && where->source)
        text = arena_format(a, "%s [%.200s; %.400s]", text, where->module, where->source);
    else if (where->module || where->source)
        text = arena_format(a, "%s [%.400s]", text, where->module ? where->module : where->source);
    return clean(a, text);
}

void diag_error(Context *cx, const Origin *where, const char *hint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(cx, DIAG_ERROR, compose(cx, where, format, args), hint);
    va_end(args);
}

void diag_warning(Context *cx, const Origin *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(cx, DIAG_WARNING, compose(cx, where, format, args), NULL);
    va_end(args);
}

void diag_io_error(Context *cx, const char *hint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char reason[4096];
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    cx->diag->io_error = true;
    add(cx, DIAG_ERROR, clean(cx->diag->arena, reason), hint);
}

static void print_kind(const Diag *d, DiagKind kind, const char *label, FILE *out)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->list[i].kind != kind) continue;
        fprintf(out, "%s: %s\n", label, d->list[i].text);
        if (d->list[i].hint) fprintf(out, "  hint: %s\n", d->list[i].hint);
    }
}

void diag_print(const Diag *diag, FILE *out)
{
    print_kind(diag, DIAG_ERROR, "error", out);
    if (diag->errors > MOST) fprintf(out, "error: %zu errors in all; the first are shown\n", diag->errors);
    print_kind(diag, DIAG_WARNING, "warning", out);
}
