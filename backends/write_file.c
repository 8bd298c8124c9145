// Writing files atomically; see file.h.
#include "file.h"

#include "base/unfinished.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *remedy(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT: return "free some space, or choose another folder";
    case EACCES:
    case EPERM:
    case EROFS: return "choose a folder that you may write to";
    case ENOENT: return "make the folder first, or choose another";
    case ENOTDIR: return "a part of the path is a file; choose another path";
    case EFBIG: return "the system limits the size of files (ulimit -f)";
    case ENAMETOOLONG: return "choose a shorter name";
    case EMFILE:
    case ENFILE: return "the system limits open files (ulimit -n)";
    case ENOMEM: return "free some memory";
    case ENOSYS: return "this system or its sandbox has no such call";
    default: return "choose another path";
    }
}

void file_error(Context *cx, const char *path)
{
    int error = errno;
    diag_io_error(cx, remedy(error), "%s: cannot be written: %s", path, strerror(error));
}

size_t bytes_size(const Bytes *b)
{
    size_t size = 0;
    for (; b; b = b->rest) size += b->size;
    return size;
}

static bool write_piece(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size) {
        ssize_t n = write(fd, at, size < 1u << 30 ? size : 1u << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

bool write_all(int fd, const Bytes *bytes)
{
    for (const Bytes *b = bytes; b; b = b->rest)
        if (!write_piece(fd, b->data, b->size)) return false;
    return true;
}

// /dev/stdout, where that is a file: renaming would replace the machine's link, and the file stay empty.
static bool is_open_file(const char *path)
{
    static const char proc[] = "/proc/";
    char target[sizeof proc];
    return readlink(path, target, sizeof proc - 1) == sizeof proc - 1 && !memcmp(target, proc, sizeof proc - 1);
}

static bool may_become_file(Context *cx, const char *path)
{
    struct stat s;
    const char *slash = strrchr(path, '/');
    if (!strcmp(path, "-") || !(slash ? slash[1] : *path)) {
        diag_io_error(cx, "give the name of a file", "'%s': is not the name of a file", path);
        return false;
    }
    if (is_open_file(path)) {
        diag_io_error(cx, "give the name of the file itself", "%s: is a link to an open file", path);
        return false;
    }
    if (stat(path, &s) || S_ISREG(s.st_mode)) return true;
    if (S_ISDIR(s.st_mode))
        diag_io_error(cx, "give the name of a file", "%s: is a folder", path);
    else
        diag_io_error(cx, "give the name of a file", "%s: is not a regular file", path);
    return false;
}

static const char *folder_of(Context *cx, const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? "." : slash == path ? "/" : arena_format(cx->arena, "%.*s", (int)(slash - path), path);
}

// A pipe, a terminal, /dev/null: nothing to rename.
static bool is_stream(const char *path)
{
    struct stat s;
    return !stat(path, &s) && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

bool file_possible(Context *cx, const char *path, bool streams)
{
    if (streams && is_stream(path)) return true;
    if (!may_become_file(cx, path)) return false;
    if (!access(folder_of(cx, path), W_OK | X_OK)) return true;
    file_error(cx, path);
    return false;
}

bool file_begin(Context *cx, const char *path, NewFile *file)
{
    if (!may_become_file(cx, path)) return false;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *temp = unfinished_name(path);
    if (!temp) {
        file_error(cx, path);
        return false;
    }
    *file = (NewFile){path, folder_of(cx, path), base, arena_string(cx->arena, temp), {{0}}};
    free(temp);
    unfinished_hold(&file->signals);
    return true;
}

// Also what a linker that was killed left beside it.
void file_abandon(const NewFile *file)
{
    unlink(file->temp);
    const char *slash = strrchr(file->temp, '/'), *base = slash ? slash + 1 : file->temp;
    DIR *d = opendir(file->dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, base, strlen(base))) unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
    unfinished_release(&file->signals);
}

int file_create(Context *cx, const NewFile *file, size_t size)
{
    int fd = open(file->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        file_error(cx, file->path);
        unfinished_release(&file->signals);
        return -1;
    }
    int error = size ? posix_fallocate(fd, 0, (off_t)size) : 0;
    if (!error && ftruncate(fd, 0)) error = errno;
    if (!error || error == EOPNOTSUPP || error == EINVAL || error == ENOSYS)
        return fd; // some file systems cannot reserve, some sandboxes have no such call
    errno = error;
    file_error(cx, file->path);
    close(fd);
    file_abandon(file);
    return -1;
}

static bool sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = !fsync(fd) || errno == EINVAL || errno == EROFS; // file systems without sync
    int error = errno;
    close(fd);
    errno = error;
    return good;
}

bool file_commit(Context *cx, const NewFile *file)
{
    if (sync_path(file->temp, O_RDONLY) && !rename(file->temp, file->path)) {
        sync_path(file->dir, O_RDONLY | O_DIRECTORY); // the name; the file itself is safe already
        unfinished_release(&file->signals);
        return true;
    }
    file_error(cx, file->path);
    file_abandon(file);
    return false;
}

static bool write_stream(Context *cx, const char *path, const Bytes *bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write_all(fd, bytes);
    if (fd >= 0 && close(fd)) good = false;
    if (!good) file_error(cx, path);
    return good;
}

bool write_bytes(Context *cx, const char *path, const Bytes *bytes)
{
    if (is_stream(path)) return write_stream(cx, path, bytes);
    NewFile file;
    if (!file_begin(cx, path, &file)) return false;
    int fd = file_create(cx, &file, bytes_size(bytes));
    if (fd < 0) return false;
    bool good = write_all(fd, bytes);
    if (close(fd)) good = false;
    if (good) return file_commit(cx, &file);
    file_error(cx, path);
    file_abandon(&file);
    return false;
}

bool write_file(Context *cx, const char *path, const void *data, size_t size)
{
    return write_bytes(cx, path, &(Bytes){data, size, NULL});
}
