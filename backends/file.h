// Files that appear whole or not at all: written beside the target (base/unfinished.h), synced, renamed. An interrupted
// compile leaves nothing behind.
#pragma once
#include "backend.h"

#include <elf.h>
#include <signal.h>

typedef struct {
    const char *path; // what the user asked for
    const char *dir;  // its folder
    const char *name; // its last part
    const char *temp; // the temporary file
    sigset_t signals; // that were blocked before
} NewFile;

// Names the temporary file; signals wait until file_commit or file_abandon. Reports and returns false if `path` cannot
// become a regular file.
bool file_begin(Context *cx, const char *path, NewFile *file);
// Makes the temporary file of `size` bytes, so that a full disk or a folder without permission is found here.
// Returns a descriptor, or -1 after a reported error with nothing left behind.
int file_create(Context *cx, const NewFile *file, size_t size);
// Syncs the temporary file and renames it. On failure reports and removes it.
bool file_commit(Context *cx, const NewFile *file);
void file_abandon(const NewFile *file);
// Reports that `path` cannot be written, from errno.
void file_error(Context *cx, const char *path);
// All pieces to fd; false with errno.
bool write_all(int fd, const Bytes *bytes);

// ---- checksum.c
bool file_section(int fd, Elf64_Shdr *section); // the descriptor's, of a shared object or an object; false: none
bool checksum_write(int fd, const Elf64_Shdr *section);
uint32_t checksum_bytes(const Bytes *bytes); // of a file in memory
