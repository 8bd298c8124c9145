// Independent jobs on the cores that this process may use.
#pragma once

#include <stddef.h>

// Bytes of stack that a job has, whatever the system's limit: LLVM needs more than some give a thread.
#define PARALLEL_STACK ((size_t)8 << 20)

typedef void Job(void *user, int i);

// job(user, i) for 0 <= i < n, each once, in any order and on any thread; returns when all are done. What jobs write
// must not depend on that: results are the same on one core.
void parallel_for(int n, Job *job, void *user);
