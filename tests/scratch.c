// See scratch.h.
#include "scratch.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char scratch[64];

int scratch_make(void **state)
{
    (void)state;
    strcpy(scratch, "/tmp/nfcc-test-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

int scratch_files(void)
{
    DIR *d = opendir(scratch);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

int scratch_remove(void **state)
{
    (void)state;
    DIR *d = opendir(scratch);
    for (struct dirent *e; (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(scratch);
}
