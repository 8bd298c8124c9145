// Names of unfinished files, who left them, and signals that wait; see unfinished.h.
#include "unfinished.h"

#include "hash.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// Where process numbers mean the same: this boot of this machine, this container.
static uint32_t this_place(void)
{
    char text[200] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t boot = fd < 0 ? 0 : read(fd, text, 100);
    if (fd >= 0) close(fd);
    if (boot < 0) boot = 0;
    ssize_t space = readlink("/proc/self/ns/pid", text + boot, 99);
    text[boot + (space < 0 ? 0 : space)] = 0;
    return (uint32_t)hash_text(HASH_START, text);
}

enum { DAY = 24 * 60 * 60 };

static bool older_than_a_day(int dir, const char *entry)
{
    struct stat s;
    return !fstatat(dir, entry, &s, AT_SYMLINK_NOFOLLOW) && time(NULL) - s.st_mtime > DAY;
}

// PREFIX PID.PLACE and what follows a point; true if no process PID lives, or, elsewhere, none can any more.
static bool is_stale(int dir, const char *entry, const char *prefix, uint32_t place)
{
    size_t n = strlen(prefix);
    if (strncmp(entry, prefix, n) || !isdigit((unsigned char)entry[n])) return false;
    char *end;
    errno = 0;
    long pid = strtol(entry + n, &end, 10);
    if (errno || pid <= 0 || pid > INT32_MAX || (*end && *end != '.')) return false;
    bool here = *end && strtoul(end + 1, &end, 16) == place && *end == '.';
    return here ? kill((pid_t)pid, 0) < 0 && errno == ESRCH : older_than_a_day(dir, entry);
}

static void remove_stale(const char *folder, const char *prefix, uint32_t place)
{
    DIR *d = opendir(folder);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));)
        if (is_stale(dirfd(d), e->d_name, prefix, place)) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

char *unfinished_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t head = (size_t)(base - path), room = strlen(path) + sizeof "./..nfcc--9223372036854775808.01234567.new";
    uint32_t place = this_place();
    char *name = malloc(room), *folder = malloc(head + 2);
    if (name && folder) {
        snprintf(folder, head + 2, "%.*s", head ? (int)head : 1, head ? path : ".");
        snprintf(name, room, ".%s.nfcc-", base);
        remove_stale(folder, name, place);
        snprintf(name, room, "%.*s.%s.nfcc-%ld.%08x.new", (int)head, path, base, (long)getpid(), (unsigned)place);
    } else {
        free(name);
        name = NULL;
    }
    free(folder);
    return name;
}

// ---- signals
static const int endings[] = {SIGINT, SIGTERM, SIGHUP};
enum { N_ENDINGS = sizeof endings / sizeof *endings };

static bool ends_us(int number)
{
    struct sigaction now;
    return !sigaction(number, NULL, &now) && now.sa_handler != SIG_IGN;
}

void unfinished_hold(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < N_ENDINGS; i++)
        if (ends_us(endings[i])) sigaddset(&set, endings[i]);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

bool unfinished_interrupted(void)
{
    sigset_t waiting;
    bool any = false;
    for (int i = 0; i < N_ENDINGS && !sigpending(&waiting); i++)
        any = any || (sigismember(&waiting, endings[i]) && ends_us(endings[i]));
    return any;
}

void unfinished_release(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }
