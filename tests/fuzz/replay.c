// Runs a fuzz target over files and folders of files, without libFuzzer: replay_TARGET FILE|FOLDER...
// The corpus holds seeds and every input that once failed; normal tests run it. A crash is the failure.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Noreturn void cannot_read(const char *path)
{
    fprintf(stderr, "replay: cannot read %s\n", path);
    exit(2);
}

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) cannot_read(path);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(size ? size : 1); // exactly its size, so that a sanitizer sees a read past its end
    if (!data || fread(data, 1, size, file) != size) cannot_read(path);
    fclose(file);
    fprintf(stderr, "%s\n", path); // the last one printed is the one that failed
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static int visible(const struct dirent *e) { return e->d_name[0] != '.'; }

static int replay(const char *path)
{
    struct stat info;
    if (stat(path, &info)) cannot_read(path);
    if (!S_ISDIR(info.st_mode)) return replay_file(path);
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, visible, alphasort), count = 0;
    if (n < 0) cannot_read(path);
    for (int i = 0; i < n; i++) {
        char below[4096];
        snprintf(below, sizeof below, "%s/%s", path, entries[i]->d_name);
        count += replay(below);
        free(entries[i]);
    }
    free(entries);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++) count += replay(argv[i]);
    printf("%d inputs\n", count);
    return count ? 0 : 2;
}
