// Threads take the next job from a counter; the caller is one of them. Where no thread can be made, the caller does
// what is left.
#define _GNU_SOURCE // sched_getaffinity
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST_THREADS = 16 };

typedef struct {
    Job *job;
    void *user;
    int n;
    atomic_int next;
} Work;

static int cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static void *work_off(void *user)
{
    Work *w = user;
    for (int i; (i = atomic_fetch_add(&w->next, 1)) < w->n;) w->job(w->user, i);
    return NULL;
}

void parallel_for(int n, Job *job, void *user)
{
    Work w = {.job = job, .user = user, .n = n};
    pthread_t thread[MOST_THREADS];
    int wanted = n > 1 ? cores() - 1 : 0, started = 0;
    if (wanted > n - 1) wanted = n - 1;
    if (wanted > MOST_THREADS) wanted = MOST_THREADS;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PARALLEL_STACK);
    while (started < wanted && !pthread_create(&thread[started], &attributes, work_off, &w)) started++;
    pthread_attr_destroy(&attributes);
    work_off(&w);
    while (started > 0) pthread_join(thread[--started], NULL);
}
