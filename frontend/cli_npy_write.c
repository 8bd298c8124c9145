// .npy files written piece by piece: under a temporary name beside their own, with the space taken at once so that a
// disk that is too small is known before any work; then synced, then renamed, all or none.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE // fallocate
#endif
#include "cli_npy.h"

#include "base/unfinished.h"
#include "cli_npy_fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The whole head of a file, padded so that the elements begin at a multiple of 64.
static size_t make_head(const Array *a, char *out, size_t room)
{
    static const char *const descr[] = {"<f4", "<f8", "<i8", "|b1"};
    char *dict = out + 10;
    room -= 10;
    int n = snprintf(dict, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr[a->type]);
    for (int d = 0; d < a->rank; d++)
        n += snprintf(dict + n, room - (size_t)n, "%zu%s", a->dim[d], a->rank == 1 ? "," : d + 1 < a->rank ? ", " : "");
    n += snprintf(dict + n, room - (size_t)n, "), }");
    while ((n + 11) % 64) dict[n++] = ' ';
    dict[n++] = '\n';
    memcpy(out, "\x93NUMPY\1\0", 8);
    out[8] = (char)(n & 255), out[9] = (char)(n >> 8);
    return 10 + (size_t)n;
}

static const char *not_written(const NpyWriter *w, int why, NpyError *e)
{
    return fail(e, "%s: cannot be written: %s", w->path, strerror(why));
}

// Not every file system can; then writing will tell.
static bool take_space(int file, size_t bytes)
{
#if defined(__linux__)
    return bytes == 0 || fallocate(file, 0, 0, (off_t)bytes) == 0 || (errno != ENOSPC && errno != EFBIG);
#else
    return file >= 0 || bytes == 0;
#endif
}

const char *npy_append(NpyWriter *w, const void *data, size_t bytes, NpyError *e)
{
    for (const char *at = data; bytes;) {
        ssize_t n = write(w->file, at, bytes < (size_t)1 << 30 ? bytes : (size_t)1 << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return not_written(w, errno, e);
        at += n;
        bytes -= (size_t)n;
    }
    return NULL;
}

const char *npy_create(const char *path, const Array *shape, NpyWriter *w, NpyError *e)
{
    char head[1024];
    size_t n = make_head(shape, head, sizeof head);
    *w = (NpyWriter){.path = path, .temporary = unfinished_name(path), .file = -1};
    if (!w->temporary) return fail(e, "out of memory");
    w->file = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->file < 0 || !take_space(w->file, n + shape->count * npy_type_size(shape->type)))
        return not_written(w, errno, e);
    return npy_append(w, head, n, e);
}

static const char *sync_file(NpyWriter *w, NpyError *e)
{
    bool ok = fsync(w->file) == 0;
    int why = errno;
    if (close(w->file) && ok) ok = false, why = errno;
    w->file = -1;
    return ok ? NULL : not_written(w, why, e);
}

const char *npy_finish(NpyWriter *list, size_t n, NpyError *e)
{
    const char *wrong = NULL;
    for (size_t i = 0; i < n && !wrong; i++) wrong = sync_file(&list[i], e);
    for (size_t i = 0; i < n && !wrong; i++)
        if (rename(list[i].temporary, list[i].path)) wrong = not_written(&list[i], errno, e);
    if (wrong) return wrong;
    for (size_t i = 0; i < n; i++) free(list[i].temporary), list[i].temporary = NULL;
    return NULL;
}

void npy_abandon(NpyWriter *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].file >= 0 && list[i].temporary) close(list[i].file);
        if (list[i].temporary) unlink(list[i].temporary);
        free(list[i].temporary);
        list[i].temporary = NULL;
    }
}
