// Files that appear whole or not at all: a temporary file `.NAME.nfcc-PID.PLACE.new` beside the target, synced, renamed.
// PLACE tells machines and containers apart, which have equal process numbers. Signals that end a compile wait between
// file_begin and file_commit or file_abandon, so that an interrupted one leaves nothing behind.
// A path that is itself `.NAME.nfcc-PID` (a policy that is still being checked) counts as NAME.
#pragma once
#include "backend.h"

#include <signal.h>

typedef struct {
    const char *path; // what the user asked for
    const char *dir;  // its folder
    const char *name; // its last part
    const char *temp; // the temporary file
    sigset_t signals; // that were blocked before
} NewFile;

// Names the temporary file and removes those of dead compilers: here by their process, elsewhere after a day. Reports and returns false if `path` cannot become a
// regular file.
bool file_begin(Context *cx, const char *path, NewFile *file);
// Makes the temporary file of `size` bytes, so that a full disk or a folder without permission is found here.
// Returns a descriptor, or -1 after a reported error with nothing left behind.
int file_create(Context *cx, const NewFile *file, size_t size);
// Syncs the temporary file and renames it. On failure reports and removes it.
bool file_commit(Context *cx, const NewFile *file);
void file_abandon(const NewFile *file);
bool file_interrupted(void); // a signal waits: it is not worth going on
// Reports that `path` cannot be written, from errno.
void file_error(Context *cx, const char *path);
// All pieces to fd; false with errno.
bool write_all(int fd, const Bytes *bytes);
