// Objects -> shared object, by lld as a process. They reach it through memory files, so that only the result touches
// the disk; -nostdlib -z defs prove that it needs nothing. The linker leaves a hole behind the descriptor, and the
// weights are written there: their only copy on the way to the file. Last comes its checksum.
#define _GNU_SOURCE // memfd_create, pipe2
#include "base/unfinished.h"
#include "file.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define OR_LINK_IT_IN "or use --emit o: what it writes is linked into a program (nfcc_open_static)"

static const char *in_path(Context *cx, const char *name)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/bin:/bin"; at;) {
        size_t n = strcspn(at, ":");
        const char *file = arena_format(cx->arena, "%.*s/%s", (int)n, at, name);
        if (n && !access(file, X_OK)) return file;
        at = at[n] ? at + n + 1 : NULL;
    }
    return NULL;
}

static const char *find_lld(Context *cx)
{
    static const char *const debian = "/usr/lib/llvm-19/bin/ld.lld";
    const char *lld = in_path(cx, "ld.lld-19");
    if (!lld) lld = in_path(cx, "ld.lld");
    if (!lld && !access(debian, X_OK)) lld = debian;
    if (!lld)
        diag_error(cx, NULL, "install it (Debian: apt-get install lld-19), " OR_LINK_IT_IN,
                   "the linker ld.lld is not on PATH");
    return lld;
}

// The object as a file without a name. The linker opens it by number, so it stays open across exec.
static int memory_file(Context *cx, const Bytes *bytes)
{
    int fd = memfd_create("policy.o", 0);
    if (fd >= 0 && write_all(fd, bytes)) return fd;
    file_error(cx, "the object file in memory");
    if (fd >= 0) close(fd);
    return -1;
}

// What the linker reads: the objects and, last, a script that makes the hole.
typedef struct {
    int fd[MOST_OBJECTS + 1];
    int n;
} Inputs;

static void close_inputs(const Inputs *in)
{
    for (int i = 0; i < in->n; i++) close(in->fd[i]);
}

static bool add_input(Context *cx, Inputs *in, const Bytes *bytes)
{
    int fd = memory_file(cx, bytes);
    if (fd >= 0) in->fd[in->n++] = fd;
    return fd >= 0;
}

static bool open_inputs(Context *cx, const Object *object, Inputs *in)
{
    const char *script = arena_format(cx->arena,
                                      "SECTIONS { " DESCRIPTOR_SECTION " : ALIGN(64) { *(" DESCRIPTOR_SECTION
                                      ") . += %zu; } } INSERT BEFORE .text;\n",
                                      bytes_size(object->weights));
    in->n = 0;
    for (const Object *o = object; o; o = o->also)
        if (!add_input(cx, in, o->bytes)) return false;
    return add_input(cx, in, &(Bytes){script, strlen(script), NULL});
}

enum { MOST_TEXT = 2000 };

// What the linker says, to its end; more than MOST_TEXT of it is dropped.
static char *read_text(Context *cx, int fd)
{
    char *text = arena_alloc(cx->arena, MOST_TEXT + 1), rest[512];
    size_t n = 0;
    for (ssize_t got; (got = n < MOST_TEXT ? read(fd, text + n, MOST_TEXT - n) : read(fd, rest, sizeof rest)) != 0;) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) break;
        if (n < MOST_TEXT) n += (size_t)got;
    }
    while (n && text[n - 1] == '\n') text[--n] = 0;
    return text;
}

// Runs it with its messages caught. Returns its status as of waitpid, or -1 with errno.
static int run(Context *cx, const char *const *argv, char **messages)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) return -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    posix_spawnattr_t attributes; // signals end it, while they wait here
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    pid_t pid;
    int error = posix_spawn(&pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    int status = -1;
    if (!error) {
        *messages = read_text(cx, ends[0]);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    close(ends[0]);
    errno = error;
    return status;
}

static void link_error(Context *cx, const char *path, int status, const char *messages)
{
    if (status == -1) {
        diag_error(cx, NULL, "check that ld.lld runs", "the linker could not be started: %s", strerror(errno));
    } else if (messages && strstr(messages, "-lopenblas")) {
        diag_error(cx, NULL, "install it (Debian: apt-get install libopenblas-dev), or use --backend llvm",
                   "libopenblas was not found");
    } else if (WIFEXITED(status)) {
        diag_error(cx, NULL, "if the disk is not full, this is a bug of nfcc; please report it",
                   "%s: the linker failed: %s", path, messages);
    } else {
        diag_error(cx, NULL, "is the disk full, or memory?", "%s: the linker was ended by signal %d: %s", path,
                   WTERMSIG(status), messages);
    }
}

static bool link_to(Context *cx, const NewFile *file, const Inputs *in, const TargetInfo *info, bool needs_blas)
{
    const char *lld = find_lld(cx);
    if (!lld) return false;
    if (access("/proc/self/fd", X_OK)) {
        diag_io_error(cx, "mount /proc, " OR_LINK_IT_IN,
                      "/proc is not there, through which the linker reads its input");
        return false;
    }
    const char *argv[32] = {lld,
                            "-m",
                            info->emulation,
                            "-shared",
                            "-nostdlib",
                            "-z",
                            "defs",
                            "-z",
                            "noseparate-code",
                            "--gc-sections",
                            "--strip-all",
                            "--hash-style=gnu",
                            "--build-id=none",
                            "-soname",
                            file->name,
                            "-o",
                            file->temp};
    int n = 0;
    while (argv[n]) n++;
    for (int i = 0; i < in->n; i++) {
        if (i == in->n - 1) argv[n++] = "-T";
        argv[n++] = arena_format(cx->arena, "/proc/self/fd/%d", in->fd[i]);
    }
    if (needs_blas) {
        argv[n++] = arena_format(cx->arena, "-L/usr/lib/%s", info->debian);
        argv[n++] = arena_format(cx->arena, "-L/usr/lib/%s/openblas-pthread", info->debian);
        argv[n++] = "-L/usr/local/lib";
        argv[n++] = "-L/usr/lib";
        argv[n++] = "-lopenblas";
    }
    char *messages = NULL;
    int status = run(cx, argv, &messages);
    if (status == 0) return true;
    link_error(cx, file->path, status, messages);
    return false;
}

// ---- the hole
static bool write_weights(Context *cx, const NewFile *file, const Bytes *weights)
{
    int fd = open(file->temp, O_RDWR | O_CLOEXEC);
    Elf64_Shdr s = {0};
    bool good = fd >= 0 && file_section(fd, &s);
    uint64_t at = s.sh_offset + s.sh_size - bytes_size(weights);
    good = good && lseek(fd, (off_t)at, SEEK_SET) > 0 && write_all(fd, weights) && checksum_write(fd, &s);
    if (!good) file_error(cx, file->path);
    if (fd >= 0) close(fd);
    return good;
}

// lld gives the mode of a program; what it was made from said nothing about it.
static void set_mode(const char *path)
{
    mode_t hidden = umask(0);
    umask(hidden);
    chmod(path, 0755 & ~hidden);
}

static bool link_inputs(Context *cx, const NewFile *file, const Object *object, const Target *target, bool needs_blas)
{
    Inputs in;
    TargetInfo info = target_info(target, WEIGHTS_F32, false);
    bool good = open_inputs(cx, object, &in) && link_to(cx, file, &in, &info, needs_blas);
    close_inputs(&in);
    return good && write_weights(cx, file, object->weights);
}

static size_t size_of(const Object *object)
{
    size_t size = bytes_size(object->weights);
    for (const Object *o = object; o; o = o->also) size += bytes_size(o->bytes);
    return size;
}

bool link_shared(Context *cx, const Object *object, const Target *target, bool needs_blas, const char *path,
                 LinkCheck *check, void *user)
{
    NewFile file;
    if (!file_begin(cx, path, &file)) return false;
    int room = file_create(cx, &file, size_of(object));
    if (room < 0) return false;
    close(room);
    bool good = link_inputs(cx, &file, object, target, needs_blas);
    if (good) set_mode(file.temp);
    if (!good || unfinished_interrupted() || (check && !check(user, file.temp))) {
        file_abandon(&file);
        return false;
    }
    return file_commit(cx, &file);
}
