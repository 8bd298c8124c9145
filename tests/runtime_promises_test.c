// What the runtime promises beside its numbers, on the fake policy: any number of threads may share it, bulk gives the
// bits of the plain entries whoever does the work, nothing allocates or calls the system once it is open, and an
// allocation that fails is a status. Usage: runtime_promises_test FAKE.so [--few ROWS] [--only PATTERN]
// (fake_model.h).
#include "fake_rows.h"
#include "scratch.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include <cmocka.h>

// ---- allocations are counted, and the n-th can be made to fail; those of threads of a call say which signals they take
static int allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int fail_at = -1;
static const pthread_t *caller;            // of test_bulk_signals
static atomic_int others, open_to_signals; // allocations of other threads; of those that take signals

static void look_at_signals(void)
{
    sigset_t held;
    if (!caller || pthread_equal(pthread_self(), *caller) || pthread_sigmask(SIG_SETMASK, NULL, &held)) return;
    others++;
    open_to_signals += !sigismember(&held, SIGINT) || !sigismember(&held, SIGUSR1);
}

extern void *__libc_malloc(size_t size);
void *malloc(size_t size)
{
    look_at_signals();
    if (allocations++ == fail_at) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}
#endif

// ---- promises: threads, no allocation, no system calls

typedef struct {
    const nfcc_policy *p;
    const void *prepared;
    float x[300][FAKE_D], log_prob[300];
    bool ok;
} Worker;

static void *work_thread(void *argument)
{
    Worker *w = argument;
    void *work = malloc(nfcc_get_info(w->p)->work_size);
    w->ok = true;
    for (int i = 0; i < 50; i++) {
        nfcc_noise noise = NFCC_NOISE(SEED);
        w->ok &= nfcc_sample_and_log_prob(w->p, w->prepared, &noise, 10, w->x[0], w->log_prob, work) == NFCC_OK;
    }
    free(work);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static Worker worker[8];
    pthread_t thread[8];
    nfcc_policy *p = fake_open("threads.so", FAKE_LARGE, 0);
    Memory m = memory_for(p, 30, 0);
    fill(30, 10);
    assert_int_equal(nfcc_prepare(p, 30, data.context, m.prepared, m.work), NFCC_OK);
    for (int i = 0; i < 8; i++) worker[i] = (Worker){.p = p, .prepared = m.prepared};
    for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&thread[i], NULL, work_thread, &worker[i]), 0);
    for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 8; i++) {
        assert_true(worker[i].ok);
        assert_same(worker[i].x, worker[0].x, 900);
        assert_same(worker[i].log_prob, worker[0].log_prob, 300);
    }
    release(m);
    nfcc_close(p);
}

// Each thread opens a file of its own and one that all open, as a server does that loads policies while others are used.
// (ThreadSanitizer does not know the lock of the dynamic loader and takes it for none.)
typedef struct {
    const char *path[2];
    float x[10][FAKE_D];
    bool ok;
} Opener;

static void *opening_thread(void *argument)
{
    Opener *o = argument;
    o->ok = true;
    for (int i = 0; i < 40 && o->ok; i++) {
        nfcc_policy *p = NULL;
        nfcc_noise noise = {.z = data.z[0]};
        o->ok = nfcc_open(o->path[i % 2], 0, &p) == NFCC_OK;
        if (!o->ok) break;
        void *work = malloc(nfcc_get_info(p)->work_size), *prepared = malloc(nfcc_prepared_size(p, 1));
        o->ok = nfcc_prepare(p, 1, data.context, prepared, work) == NFCC_OK &&
                nfcc_sample(p, prepared, &noise, 10, o->x[0], work) == NFCC_OK;
        free(work);
        free(prepared);
        nfcc_close(p);
    }
    return NULL;
}

static void test_open_at_once(void **state)
{
    (void)state;
    enum { N = 4 };
    static Opener opener[N];
    static char shared[300], own[N][300];
    pthread_t thread[N];
    nfcc_close(fake_open("shared.so", FAKE_WEIGHTS, 0));
    snprintf(shared, sizeof shared, "%s", in_folder("shared.so"));
    fill(1, 10);
    expect(1, 10);
    for (int i = 0; i < N; i++) {
        char name[] = {'o', 'w', 'n', (char)('0' + i), 0};
        nfcc_close(fake_open(name, i % 2 ? FAKE_LARGE : FAKE_WEIGHTS, 0));
        snprintf(own[i], sizeof own[i], "%s", in_folder(name));
        opener[i] = (Opener){.path = {shared, own[i]}};
    }
    for (int i = 0; i < N; i++) assert_int_equal(pthread_create(&thread[i], NULL, opening_thread, &opener[i]), 0);
    for (int i = 0; i < N; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < N; i++) {
        assert_true(opener[i].ok);
        assert_same(opener[i].x, data.x, 10 * FAKE_D);
    }
}

// ---- bulk: the bits of the plain entries, whoever does the work

typedef struct {
    float x[MAX_ITEMS][FAKE_D], one[MAX_ITEMS];
} Outputs;

static Outputs plain, bulk;

// A caller's pool of one thread that takes the tasks in the wrong order.
static void run_backwards(void *user, void (*task)(void *argument, size_t index), void *argument, size_t count)
{
    assert_true(count >= 1 && count <= 5);
    *(size_t *)user += 1;
    while (count > 0) task(argument, --count);
}

// And one of as many threads as there are tasks.
typedef struct {
    void (*task)(void *argument, size_t index);
    void *argument;
    size_t index;
} Task;

static void *task_thread(void *argument)
{
    const Task *t = argument;
    t->task(t->argument, t->index);
    return NULL;
}

static size_t bulk_items; // of the call: more workers have nothing to do

static void run_at_once(void *user, void (*task)(void *argument, size_t index), void *argument, size_t count)
{
    pthread_t thread[5];
    Task list[5];
    assert_true(count >= 1 && count <= 5 && count <= bulk_items);
    *(size_t *)user += 1;
    for (size_t i = 0; i < count; i++) {
        list[i] = (Task){task, argument, i};
        assert_int_equal(pthread_create(&thread[i], NULL, task_thread, &list[i]), 0);
    }
    for (size_t i = 0; i < count; i++) pthread_join(thread[i], NULL);
}

static nfcc_status call_plain(const nfcc_policy *p, const Memory *m, unsigned entry, size_t n, nfcc_noise *noise)
{
    float *x = plain.x[0], *one = plain.one;
    switch (entry) {
    case NFCC_HAS_TO_LATENT: return nfcc_to_latent(p, m->prepared, n, data.x[0], x, one, m->work);
    case NFCC_HAS_TO_EVENT: return nfcc_to_event(p, m->prepared, n, data.x[0], x, one, m->work);
    case NFCC_HAS_LOG_PROB: return nfcc_log_prob(p, m->prepared, n, data.x[0], one, m->work);
    case NFCC_HAS_SCORE: return nfcc_score(p, m->prepared, n, data.x[0], x, m->work);
    case NFCC_HAS_SAMPLE: return nfcc_sample(p, m->prepared, noise, n, x, m->work);
    case NFCC_HAS_SAMPLE_AND_LOG_PROB: return nfcc_sample_and_log_prob(p, m->prepared, noise, n, x, one, m->work);
    case NFCC_HAS_SAMPLE_BEST: return nfcc_sample_best(p, m->prepared, noise, n, x, one, m->work);
    default: return nfcc_act(p, m->prepared, noise, n, x, m->work);
    }
}

static void check_bulk(const nfcc_policy *p, const Memory *m, unsigned entry, size_t rows, size_t n, const float *z)
{
    size_t calls = 0;
    const nfcc_threads hows[] = {{1, NULL, NULL},         {2, NULL, NULL}, {3, NULL, NULL},
                                 {8, NULL, NULL},         {0, NULL, NULL}, {5, run_backwards, &calls},
                                 {5, run_at_once, &calls}};
    nfcc_noise start = {SEED, UINT32_MAX - 3ull, 0.5f, z}, noise = start;
    memset(&plain, 0, sizeof plain);
    bulk_items = rows * n;
    nfcc_status status = call_plain(p, m, entry, n, &noise);
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++) {
        nfcc_noise used = start;
        bool number = entry == NFCC_HAS_LOG_PROB;
        void *out[] = {number ? (void *)bulk.one : (void *)bulk.x, bulk.one};
        nfcc_call call = {.entry = entry, .rows = rows, .n = n, .in = data.context, .noise = &used, .out = out};
        call.given = data.x[0];
        memset(&bulk, 0, sizeof bulk);
        assert_int_equal(nfcc_bulk(p, &call, &hows[i]), status);
        assert_memory_equal(&bulk, &plain, sizeof bulk);
        assert_true(used.next == noise.next);
    }
    assert_int_equal(calls, 2);
}

static const struct {
    size_t rows, n;
} BULK_SHAPES[] = {{1, 1},   {1, 130},  {1, 4096}, {200, 20}, {70, 1},  {33, 7},
                   {192, 7}, {3, 1300}, {2, 2048}, {200, 1},  {1200, 1}};

static void test_bulk(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    for (size_t i = 0; i < sizeof BULK_SHAPES / sizeof *BULK_SHAPES; i++) {
        size_t rows = BULK_SHAPES[i].rows, n = BULK_SHAPES[i].n;
        Memory m = memory_for(p, rows, 0);
        fill(rows, n);
        expect(rows, n);
        for (int bad = 0; bad < 2; bad++) {
            if (bad) data.x[rows * n / 2][1] = data.z[rows * n - 1][0] = NAN, data.obs[rows / 3][2] = INFINITY;
            nfcc_status status = nfcc_prepare(p, rows, data.context, m.prepared, m.work);
            assert_int_equal(status, bad ? NFCC_NOT_FINITE : NFCC_OK);
            for (unsigned bit = 1; bit <= NFCC_HAS_SAMPLE_BEST; bit <<= 1) {
                if (bit == NFCC_HAS_RUN || !(nfcc_get_info(p)->entries & bit)) continue;
                check_bulk(p, &m, bit, rows, n, NULL);
                check_bulk(p, &m, bit, rows, n, data.z[0]);
            }
        }
        release(m);
    }
}

static void test_bulk_run(void **state)
{
    (void)state;
    enum { ROWS = 1000 };
    static float wide[ROWS][FAKE_WIDE], sum[2][ROWS][FAKE_WIDE];
    static int64_t count[ROWS][FAKE_COUNT], twice[2][ROWS][FAKE_COUNT];
    static unsigned char positive[2][ROWS];
    const void *in[] = {wide, count};
    nfcc_policy *p = fake_static();
    void *work = malloc(nfcc_get_info(p)->work_size);
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t l = 0; l < FAKE_WIDE; l++) wide[r][l] = spread(r * FAKE_WIDE + l);
        for (size_t l = 0; l < FAKE_COUNT; l++) count[r][l] = (int64_t)(r * l);
    }
    assert_int_equal(nfcc_run(p, ROWS, in, (void *[]){sum[0], twice[0], positive[0]}, work), NFCC_OK);
    for (unsigned threads = 1; threads <= 8; threads++) {
        nfcc_threads how = {.threads = threads};
        nfcc_call call = {NFCC_HAS_RUN, ROWS, 1, in, NULL, NULL, (void *[]){sum[1], twice[1], positive[1]}};
        memset(sum[1], 0, sizeof sum[1]);
        assert_int_equal(nfcc_bulk(p, &call, &how), NFCC_OK);
        assert_memory_equal(sum[0], sum[1], sizeof sum[0]);
        assert_memory_equal(twice[0], twice[1], sizeof twice[0]);
        assert_memory_equal(positive[0], positive[1], sizeof positive[0]);
        call.out = (void *[]){NULL, NULL, NULL};
        assert_int_equal(nfcc_bulk(p, &call, &how), NFCC_OK);
    }
    free(work);
}

static void test_bulk_arguments(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    nfcc_noise noise = NFCC_NOISE(1);
    const void *lacks_one[] = {data.obs, data.goal, NULL};
    void *out[] = {bulk.x, NULL};
    fill(3, 1);
    const nfcc_call good = {NFCC_HAS_SAMPLE, 3, 2, data.context, NULL, &noise, out};
    assert_int_equal(nfcc_bulk(p, &good, NULL), NFCC_OK);
    assert_int_equal(noise.next, 6);
    assert_int_equal(nfcc_bulk(NULL, &good, NULL), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_bulk(p, NULL, NULL), NFCC_BAD_ARGUMENT);
    nfcc_call bad[] = {good, good, good, good, good, good, good, good, good};
    bad[0].in = lacks_one;
    bad[1].in = NULL;
    bad[2].noise = NULL;
    bad[3].out = NULL;
    bad[4].n = 0;
    bad[5].rows = SIZE_MAX / 2;
    bad[6].entry = NFCC_HAS_SAMPLE | NFCC_HAS_ACT;
    bad[7].entry = NFCC_HAS_LOG_PROB; // whose x is not there
    bad[8].entry = NFCC_HAS_RUN;      // which has no n
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(nfcc_bulk(p, &bad[i], NULL), NFCC_BAD_ARGUMENT);
    nfcc_call nothing = good;
    nothing.rows = 0;
    assert_int_equal(nfcc_bulk(p, &nothing, NULL), NFCC_OK);
    assert_int_equal(noise.next, 6);
    noise.temperature = NAN;
    assert_int_equal(nfcc_bulk(p, &good, NULL), NFCC_BAD_ARGUMENT);
    assert_int_equal(noise.next, 6);
}

// A policy and what all of its functions write into.
typedef struct {
    nfcc_policy *policy;
    Memory memory;
    void *test;
    size_t test_size;
} Everything;

// Every function that may be called after open.
static unsigned call_everything(const Everything *e)
{
    const nfcc_policy *p = e->policy;
    const Memory *m = &e->memory;
    static float wide[30][FAKE_WIDE], sum[30][FAKE_WIDE];
    static int64_t count[30][FAKE_COUNT];
    const void *in[] = {wide, count};
    void *out[] = {sum, NULL, NULL};
    nfcc_noise noise = NFCC_NOISE(1);
    unsigned status = 0;
    status |= nfcc_prepare(p, 30, data.context, m->prepared, m->work);
    status |= nfcc_sample(p, m->prepared, &noise, 3, made.x[0], m->work);
    status |= nfcc_act(p, m->prepared, &noise, 3, made.x[0], m->work);
    status |= nfcc_sample_and_log_prob(p, m->prepared, &noise, 3, made.x[0], made.log_prob, m->work);
    status |= nfcc_sample_best(p, m->prepared, &noise, 3, made.x[0], made.log_prob, m->work);
    status |= nfcc_to_latent(p, m->prepared, 3, made.x[0], made.z[0], made.log_det, m->work);
    status |= nfcc_to_event(p, m->prepared, 3, made.z[0], made.x[0], made.log_det, m->work);
    status |= nfcc_log_prob(p, m->prepared, 3, made.x[0], made.log_prob, m->work);
    status |= nfcc_score(p, m->prepared, 3, made.x[0], made.z[0], m->work);
    status |= nfcc_draw(p, 1, 2, 30, made.z[0], m->work);
    status |= nfcc_run(p, 30, in, out, m->work);
    status |= nfcc_selftest(p, e->test, e->test_size);
    return status;
}

static Everything everything_of(const char *name)
{
    Everything e = {.policy = fake_open(name, FAKE_LARGE, 0)};
    e.memory = memory_for(e.policy, 30, 0);
    e.test_size = nfcc_selftest_size(e.policy);
    e.test = malloc(e.test_size);
    fill(30, 3);
    return e;
}

static void everything_free(Everything *e)
{
    free(e->test);
    release(e->memory);
    nfcc_close(e->policy);
}

static void test_no_allocation(void **state)
{
    (void)state;
    Everything e = everything_of("allocation.so");
    int before = allocations;
    unsigned status = call_everything(&e);
    assert_int_equal(allocations, before);
    assert_int_equal(status, NFCC_OK);
    everything_free(&e);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Under strict seccomp any call of the system but read, write and exit kills the child.
static void test_no_system_call(void **state)
{
    (void)state;
    Everything e = everything_of("seccomp.so");
    pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(77); // not allowed here: nothing shown
        syscall(SYS_exit, (int)call_everything(&e));
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status)) fail_msg("a system call: signal %d", WTERMSIG(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
    everything_free(&e);
}

// A signal is the caller's: threads that a call makes take none, and the caller takes what it took before.
static void test_bulk_signals(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    nfcc_noise noise = NFCC_NOISE(1);
    nfcc_threads how = {.threads = 4};
    nfcc_call call = {NFCC_HAS_SAMPLE, 1000, 2, data.context, NULL, &noise, (void *[]){bulk.x}};
    sigset_t held;
    fill(1000, 2);
    const pthread_t self = pthread_self();
    caller = &self;
    nfcc_status status = nfcc_bulk(p, &call, &how);
    caller = NULL;
    assert_int_equal(status, NFCC_OK);
    assert_true(others >= 3);
    assert_int_equal(open_to_signals, 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &held), 0);
    assert_false(sigismember(&held, SIGINT) || sigismember(&held, SIGUSR1));
}

// Bulk with every allocation failing in turn: a status, and with one more all is well.
static void test_bulk_out_of_memory(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    nfcc_noise noise = NFCC_NOISE(1);
    nfcc_threads how = {.threads = 1};
    for (size_t rows = 1; rows < 200; rows += 150) {
        nfcc_call call = {NFCC_HAS_SAMPLE, rows, 2, data.context, NULL, &noise, (void *[]){bulk.x}};
        nfcc_status status = NFCC_MEMORY;
        fill(rows, 2);
        for (int n = 0; n < 20 && status != NFCC_OK; n++) {
            bulk.x[0][0] = bulk.x[2 * rows - 1][0] = NAN;
            fail_at = allocations + n;
            status = nfcc_bulk(p, &call, &how);
            fail_at = -1;
            assert_true(status == NFCC_OK || (status == NFCC_MEMORY && noise.next == 0));
        }
        assert_int_equal(status, NFCC_OK);
        assert_false(isnan(bulk.x[0][0]) || isnan(bulk.x[2 * rows - 1][0]));
        noise.next = 0;
    }
}

// Open with every allocation failing in turn: a status, and nothing is left open.
static void test_out_of_memory(void **state)
{
    (void)state;
    nfcc_policy *p = fake_open("memory.so", FAKE_WEIGHTS, 0);
    nfcc_close(p);
    nfcc_status status = NFCC_MEMORY;
    const char *path = in_folder("memory.so");
    for (int n = 0; n < 100 && status != NFCC_OK; n++) {
        fail_at = allocations + n;
        status = nfcc_open(path, 0, &p);
        fail_at = -1;
        assert_true(status == NFCC_OK || status == NFCC_MEMORY || status == NFCC_FILE);
        assert_true((status == NFCC_OK) == (p != NULL));
    }
    assert_int_equal(status, NFCC_OK);
    nfcc_close(p);
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_open_at_once),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_bulk_run),
        cmocka_unit_test(test_bulk_arguments),
        cmocka_unit_test(test_no_allocation),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_no_system_call),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_bulk_out_of_memory),
        cmocka_unit_test(test_bulk_signals),
#endif
    };
    if (!fake_arguments(argc, argv)) return 2;
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
