/* nfcc_bulk: one entry on any number of rows, by several threads. Built on the functions of nfcc.h alone.
 *
 * The call is cut into units: some whole context rows, or, where a row has very many samples, a part of one row; whole
 * tiles of 64 items where that can be. Workers take the next units, a piece, until none is left: many while there are
 * many, one at the end, so that they end together (guided self-scheduling). Which pieces there are depends on the call
 * and the number of workers alone. A piece is a call of its own; each worker has a workspace and prepared state of the
 * largest, so memory does not grow with the rows. What a row gives depends on that row alone and its noise row on its
 * place in the call, so neither the pieces nor who computes them changes a bit. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nfcc.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TILE = 64,
    MOST_ITEMS = 4096, /* of a piece: enough that preparing and starting it cost little */
    MOST_ROWS = 1024,  /* of a piece */
    FULL_ROWS = 256,   /* more rows keep less prepared state (nfcc_prepared_size): used once, it takes less time */
    PARTS = 8,         /* a row's samples are cut where there are fewer rows than so many for each worker */
    MOST_THREADS = 1024
};

typedef struct {
    unsigned entry;
    bool draws, one_of_n;
    char out[2]; /* 'E': an event, '1': a number, 0: none */
} Entry;

static const Entry ENTRIES[] = {
    {NFCC_HAS_TO_LATENT, false, false, "E1"}, {NFCC_HAS_TO_EVENT, false, false, "E1"},
    {NFCC_HAS_LOG_PROB, false, false, "1"},   {NFCC_HAS_SCORE, false, false, "E"},
    {NFCC_HAS_SAMPLE, true, false, "E"},      {NFCC_HAS_SAMPLE_AND_LOG_PROB, true, false, "E1"},
    {NFCC_HAS_SAMPLE_BEST, true, true, "E1"}, {NFCC_HAS_ACT, true, false, "E"},
    {NFCC_HAS_RUN, false, false, ""},
};

typedef struct {
    const nfcc_policy *policy;
    const nfcc_info *info;
    const nfcc_call *call;
    const Entry *entry;
    size_t rows, n, parts; /* a unit: `rows` context rows; or, if parts > 1, n samples of one row, which has `parts` */
    size_t units, workers;
    size_t most, many;  /* units of a piece at most; at least, while that keeps all workers busy */
    const void *shared; /* the prepared state of a call with one context row */
    size_t prepared;    /* bytes of any other */
    atomic_size_t next; /* unit */
    atomic_int failed;  /* the first status that is neither OK nor NOT_FINITE */
    atomic_bool not_finite;
} Job;

/* What one worker needs. */
typedef struct {
    void *work, *prepared;
    const void **in;
    void **out;
} Desk;

typedef struct {
    size_t row, rows, sample, n;
} Piece;

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static size_t row_bytes(const nfcc_value *v)
{
    return v->size * (v->type == NFCC_TYPE_I64 || v->type == NFCC_TYPE_F64 ? 8 : v->type == NFCC_TYPE_BOOL ? 1 : 4);
}

/* ---- one piece */

static void note(Job *job, nfcc_status status)
{
    int none = NFCC_OK;
    if (status == NFCC_NOT_FINITE)
        atomic_store(&job->not_finite, true);
    else if (status != NFCC_OK)
        atomic_compare_exchange_strong(&job->failed, &none, (int)status);
}

static bool fine(nfcc_status status) { return status == NFCC_OK || status == NFCC_NOT_FINITE; }

static void point_at(const void **to, const void *const *arrays, const nfcc_value *values, size_t n, size_t row)
{
    for (size_t i = 0; i < n; i++)
        to[i] = arrays && arrays[i] ? (const char *)arrays[i] + row * row_bytes(&values[i]) : NULL;
}

static nfcc_status run_piece(const Job *job, const Desk *desk, const Piece *piece)
{
    const nfcc_info *info = job->info;
    point_at(desk->in, job->call->in, info->inputs, info->n_inputs, piece->row);
    point_at((const void **)(void *)desk->out, (const void *const *)job->call->out, info->outputs, info->n_outputs,
             piece->row);
    return nfcc_run(job->policy, piece->rows, desk->in, desk->out, desk->work);
}

static nfcc_status call_entry(const Job *job, const void *prepared, const Piece *piece, const float *given,
                              nfcc_noise *noise, void *work)
{
    const nfcc_policy *p = job->policy;
    size_t item = piece->row * job->call->n + piece->sample, n = piece->n;
    float *out[2] = {NULL, NULL};
    for (int i = 0; i < 2 && job->entry->out[i]; i++) {
        size_t lanes = job->entry->out[i] == 'E' ? job->info->event_size : 1;
        if (job->call->out[i]) out[i] = (float *)job->call->out[i] + (job->entry->one_of_n ? piece->row : item) * lanes;
    }
    switch (job->entry->entry) {
    case NFCC_HAS_TO_LATENT: return nfcc_to_latent(p, prepared, n, given, out[0], out[1], work);
    case NFCC_HAS_TO_EVENT: return nfcc_to_event(p, prepared, n, given, out[0], out[1], work);
    case NFCC_HAS_LOG_PROB: return nfcc_log_prob(p, prepared, n, given, out[0], work);
    case NFCC_HAS_SCORE: return nfcc_score(p, prepared, n, given, out[0], work);
    case NFCC_HAS_SAMPLE: return nfcc_sample(p, prepared, noise, n, out[0], work);
    case NFCC_HAS_SAMPLE_AND_LOG_PROB: return nfcc_sample_and_log_prob(p, prepared, noise, n, out[0], out[1], work);
    case NFCC_HAS_SAMPLE_BEST: return nfcc_sample_best(p, prepared, noise, n, out[0], out[1], work);
    default: return nfcc_act(p, prepared, noise, n, out[0], work);
    }
}

static nfcc_status do_piece(const Job *job, const Desk *desk, const Piece *piece)
{
    const nfcc_call *call = job->call;
    size_t item = piece->row * call->n + piece->sample, at = item * job->info->event_size;
    const void *prepared = job->shared ? job->shared : desk->prepared;
    nfcc_noise noise = {0};
    if (call->entry == NFCC_HAS_RUN) return run_piece(job, desk, piece);
    if (!job->shared) {
        point_at(desk->in, call->in, job->info->contexts, job->info->n_contexts, piece->row);
        nfcc_status made = nfcc_prepare(job->policy, piece->rows, desk->in, desk->prepared, desk->work);
        if (!fine(made)) return made;
    }
    if (job->entry->draws) {
        noise = *call->noise;
        if (noise.z) noise.z += at;
        noise.next += item;
    }
    return call_entry(job, prepared, piece, call->given ? call->given + at : NULL, &noise, desk->work);
}

/* How many units the piece that begins at unit `at` has. */
static size_t units_at(const Job *job, size_t at)
{
    size_t left = job->units - at, row = job->parts > 1 ? job->parts - at % job->parts : left;
    size_t units = least(job->workers > 1 ? left / (2 * job->workers) : left, job->most);
    if (units < job->many) units = left / job->workers >= job->many ? job->many : 1;
    return least(units, row);
}

static Piece piece_at(const Job *job, size_t at, size_t units)
{
    const nfcc_call *call = job->call;
    Piece piece = {.row = at / job->parts * job->rows, .n = call->n};
    piece.rows = least(job->parts > 1 ? 1 : units * job->rows, call->rows - piece.row);
    if (job->parts > 1) {
        piece.sample = at % job->parts * job->n;
        piece.n = least(units * job->n, call->n - piece.sample);
    }
    return piece;
}

static bool next_piece(Job *job, Piece *piece)
{
    size_t at = atomic_load(&job->next), units;
    do {
        if (at >= job->units) return false;
        units = units_at(job, at);
    } while (!atomic_compare_exchange_weak(&job->next, &at, at + units));
    *piece = piece_at(job, at, units);
    return true;
}

/* ---- workers */

/* Of the piece that takes most: not always the one of most rows (nfcc_prepared_size). */
static size_t prepared_size(const Job *job)
{
    size_t most = 0, units;
    for (size_t at = 0; at < job->units; at += units) {
        units = units_at(job, at);
        size_t size = nfcc_prepared_size(job->policy, piece_at(job, at, units).rows);
        if (size > most) most = size;
    }
    return most;
}

static bool open_desk(const Job *job, Desk *desk)
{
    size_t in = job->info->n_contexts > job->info->n_inputs ? job->info->n_contexts : job->info->n_inputs;
    bool prepares = job->entry->entry != NFCC_HAS_RUN && !job->shared;
    *desk = (Desk){.work = malloc(job->info->work_size)};
    desk->in = malloc((in + 1) * sizeof *desk->in);
    desk->out = malloc((job->info->n_outputs + 1) * sizeof *desk->out);
    if (prepares) desk->prepared = malloc(job->prepared + 1);
    return desk->work && desk->in && desk->out && (desk->prepared || !prepares);
}

static void close_desk(Desk *desk)
{
    free(desk->work);
    free(desk->prepared);
    free(desk->in);
    free(desk->out);
}

static void work_on(void *argument, size_t index)
{
    Job *job = argument;
    Desk desk;
    (void)index;
    if (!open_desk(job, &desk)) note(job, NFCC_MEMORY);
    for (Piece piece; !atomic_load(&job->failed) && next_piece(job, &piece);) note(job, do_piece(job, &desk, &piece));
    close_desk(&desk);
}

static void *thread_main(void *job)
{
    work_on(job, 0);
    return NULL;
}

/* Threads of our own for this call. One that cannot be made is not missed: the others take its pieces. They take no
 * signals: those are the caller's. */
static void run_threads(Job *job, size_t workers)
{
    pthread_t thread[MOST_THREADS];
    sigset_t all, before;
    size_t n = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (n + 1 < workers && pthread_create(&thread[n], NULL, thread_main, job) == 0) n++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work_on(job, n);
    while (n > 0) pthread_join(thread[--n], NULL);
}

/* ---- the call */

static unsigned processors(void)
{
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (unsigned)CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

static size_t divisor(size_t a, size_t b)
{
    while (b) {
        size_t rest = a % b;
        a = b, b = rest;
    }
    return a;
}

static void cut(Job *job)
{
    const nfcc_call *call = job->call;
    size_t items = call->rows * call->n / (job->workers * PARTS) / TILE * TILE;
    items = items < TILE ? TILE : least(items, MOST_ITEMS);
    job->rows = job->parts = 1;
    job->n = call->n;
    if (call->n > items && !job->entry->one_of_n) {
        job->n = call->rows > 1 ? items : TILE; /* one row is prepared already, several are for each piece */
        job->parts = (call->n + job->n - 1) / job->n;
    } else {
        size_t whole = TILE / divisor(TILE, call->n), rows = items / call->n; /* `whole` rows fill tiles */
        job->rows = rows >= whole ? whole : rows > 1 ? rows : 1;
    }
    job->units = (call->rows + job->rows - 1) / job->rows * job->parts;
    job->most = least(MOST_ITEMS / least(job->rows * job->n, MOST_ITEMS), MOST_ROWS / job->rows);
    job->many = job->parts > 1 ? 1 : least(FULL_ROWS / job->rows + 1, job->most);
}

static const Entry *entry_of(unsigned bit)
{
    for (size_t i = 0; i < sizeof ENTRIES / sizeof *ENTRIES; i++)
        if (ENTRIES[i].entry == bit) return &ENTRIES[i];
    return NULL;
}

static nfcc_status check_call(Job *job)
{
    const nfcc_call *call = job->call;
    size_t items;
    job->entry = entry_of(call->entry);
    if (!job->entry || !call->out || call->n == 0 || (call->entry == NFCC_HAS_RUN && call->n != 1))
        return NFCC_BAD_ARGUMENT;
    if (!(job->info->entries & call->entry)) return NFCC_NO_ENTRY;
    if (job->entry->draws ? !call->noise : job->entry->out[0] && !call->given) return NFCC_BAD_ARGUMENT;
    items = call->rows > SIZE_MAX / call->n ? SIZE_MAX : call->rows * call->n;
    return items > SIZE_MAX / 64 / (job->info->event_size + 1) ? NFCC_BAD_ARGUMENT : NFCC_OK;
}

/* One context row is prepared once, for all pieces. */
static nfcc_status prepare_shared(Job *job, void **memory)
{
    if (job->call->rows != 1 || job->call->entry == NFCC_HAS_RUN) return NFCC_OK;
    void *work = malloc(job->info->work_size);
    *memory = malloc(nfcc_prepared_size(job->policy, 1));
    nfcc_status status = NFCC_MEMORY;
    if (work && *memory) status = nfcc_prepare(job->policy, 1, job->call->in, *memory, work);
    job->shared = *memory;
    free(work);
    return status;
}

static void run_all(Job *job, const nfcc_threads *how)
{
    job->workers = least(how && how->threads ? how->threads : processors(), MOST_THREADS);
    cut(job);
    job->workers = least(job->workers, job->units);
    job->prepared = job->shared || job->entry->entry == NFCC_HAS_RUN ? 0 : prepared_size(job);
    if (how && how->run)
        how->run(how->user, work_on, job, job->workers);
    else
        run_threads(job, job->workers);
}

nfcc_status nfcc_bulk(const nfcc_policy *policy, const nfcc_call *call, const nfcc_threads *how)
{
    Job job = {.policy = policy, .info = nfcc_get_info(policy), .call = call};
    void *memory = NULL;
    if (!policy || !call) return NFCC_BAD_ARGUMENT;
    nfcc_status status = check_call(&job);
    if (status != NFCC_OK || call->rows == 0) return status;
    status = prepare_shared(&job, &memory);
    note(&job, status);
    if (fine(status)) run_all(&job, how);
    free(memory);
    status = (nfcc_status)atomic_load(&job.failed);
    if (status != NFCC_OK) return status;
    if (job.entry->draws && !call->noise->z) call->noise->next += call->rows * call->n;
    return atomic_load(&job.not_finite) ? NFCC_NOT_FINITE : NFCC_OK;
}
