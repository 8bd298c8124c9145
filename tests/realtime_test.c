// What runtime/REALTIME.md promises, on a compiled policy: no system call, no allocation, no page fault, control
// registers left as found, the same numbers under flush to zero but for subnormals, the same number of instructions
// whatever the data, and no more stack than nfcc_info says. Usage: realtime_test POLICY.so [--quick | --long] [--only
// PATTERN]; --quick leaves out the instructions, --long counts them for more shapes and prints what was measured.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE // processors
#endif
#include "nfcc.h"
#include "tiles_now.h"
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#endif
#if defined(__x86_64__)
#include <sys/user.h>
#endif
#include <cmocka.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ALONE 1 // no sanitizer adds calls, stack or instructions of its own
#else
#define ALONE 0
#endif
enum { MOST_ROWS = 17, MOST_SAMPLES = 70, MOST_ITEMS = MOST_ROWS * MOST_SAMPLES };

// ---- allocations are counted
#if ALONE
static int allocations;
extern void *__libc_malloc(size_t size), *__libc_calloc(size_t n, size_t size), *__libc_realloc(void *p, size_t size);
void *malloc(size_t size) { return allocations++, __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return allocations++, __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return allocations++, __libc_realloc(p, size); }
#endif

// ---- every call of a policy

typedef enum {
    PREPARE,
    TO_LATENT,
    TO_EVENT,
    LOG_PROB,
    SCORE,
    SAMPLE,
    SAMPLE_GIVEN,
    SAMPLE_AND_LOG_PROB,
    SAMPLE_BEST,
    ACT,
    DRAW,
    RUN,
    SELFTEST,
    CALLS
} CallId;
static const char *const NAMES[CALLS] = {
    "prepare",     "to_latent", "to_event", "log_prob", "score",   "sample", "sample z=", "sample_and_log_prob",
    "sample_best", "act",       "draw",     "run",      "selftest"};

// Arrays for MOST_ROWS rows of MOST_SAMPLES events, and all memory that the calls use.
typedef struct {
    nfcc_policy *p;
    const nfcc_info *info;
    const void **contexts, **in;
    void **out;
    float *x, *z, *wide, one[MOST_ITEMS];
    void *prepared[MOST_ROWS + 1], *work, *test;
    nfcc_noise noise;
} Desk;

static Desk desk;
static bool is_long;

static bool has(CallId id)
{
    static const unsigned bits[CALLS] = {0,
                                         NFCC_HAS_TO_LATENT,
                                         NFCC_HAS_TO_EVENT,
                                         NFCC_HAS_LOG_PROB,
                                         NFCC_HAS_SCORE,
                                         NFCC_HAS_SAMPLE,
                                         NFCC_HAS_SAMPLE,
                                         NFCC_HAS_SAMPLE_AND_LOG_PROB,
                                         NFCC_HAS_SAMPLE_BEST,
                                         NFCC_HAS_ACT,
                                         NFCC_HAS_SAMPLE,
                                         NFCC_HAS_RUN,
                                         0};
    if (id == PREPARE) return desk.info->event_size > 0;
    return !bits[id] || (desk.info->entries & bits[id]);
}

static nfcc_status call(CallId id, size_t rows, size_t n)
{
    Desk *d = &desk;
    const void *prepared = d->prepared[rows];
    nfcc_noise given = {.z = d->z};
    switch (id) {
    case PREPARE: return nfcc_prepare(d->p, rows, d->contexts, d->prepared[rows], d->work);
    case TO_LATENT: return nfcc_to_latent(d->p, prepared, n, d->x, d->wide, d->one, d->work);
    case TO_EVENT: return nfcc_to_event(d->p, prepared, n, d->z, d->wide, d->one, d->work);
    case LOG_PROB: return nfcc_log_prob(d->p, prepared, n, d->x, d->one, d->work);
    case SCORE: return nfcc_score(d->p, prepared, n, d->x, d->wide, d->work);
    case SAMPLE: return nfcc_sample(d->p, prepared, &d->noise, n, d->wide, d->work);
    case SAMPLE_GIVEN: return nfcc_sample(d->p, prepared, &given, n, d->wide, d->work);
    case SAMPLE_AND_LOG_PROB: return nfcc_sample_and_log_prob(d->p, prepared, &d->noise, n, d->wide, d->one, d->work);
    case SAMPLE_BEST: return nfcc_sample_best(d->p, prepared, &d->noise, n, d->wide, d->one, d->work);
    case ACT: return nfcc_act(d->p, prepared, &d->noise, n, d->wide, d->work);
    case DRAW: return nfcc_draw(d->p, d->noise.seed, d->noise.next, rows, d->wide, d->work);
    case RUN: return nfcc_run(d->p, rows, d->in, d->out, d->work);
    case SELFTEST: return nfcc_selftest(d->p, d->test, nfcc_selftest_size(d->p));
    case CALLS: break;
    }
    return NFCC_NO_ENTRY;
}

static const size_t SHAPES[][2] = {
    {1, 1}, {1, MOST_SAMPLES}, {MOST_ROWS, 1}, {3, 2}}; // all tiles; the self test has both prepared forms
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

// 0, or the first status that is not OK.
static int call_everything(void)
{
    for (int s = 0; s < N_SHAPES; s++)
        for (CallId id = 0; id < CALLS; id++) {
            int status = has(id) ? (int)call(id, SHAPES[s][0], SHAPES[s][1]) : 0;
            if (status) return status;
        }
    return 0;
}

// ---- data

typedef enum { NORMAL, LARGE, SUBNORMAL, SHORT_KINDS, ZERO = SHORT_KINDS, NEGATIVE, KINDS } Kind;

static float number(Kind kind, uint64_t i)
{
    float v = (float)(int32_t)(uint32_t)(i * 2654435761u + 12345u) * 0x1p-30f;
    switch (kind) {
    case NORMAL: return v;
    case LARGE: return v * 1e30f;
    case SUBNORMAL: return v * 1e-40f;
    case NEGATIVE: return -fabsf(v) - 0.25f;
    default: return 0;
    }
}

static size_t element_size(nfcc_type t) { return t == NFCC_TYPE_I64 ? 8 : t == NFCC_TYPE_BOOL ? 1 : 4; }

// Integers stay as they are: they are indices.
static void fill_value(const nfcc_value *v, const void *array, Kind kind)
{
    float *f = (float *)(uintptr_t)array;
    for (size_t i = 0; v->type == NFCC_TYPE_F32 && i < MOST_ROWS * v->size; i++) f[i] = number(kind, i + 7);
}

static void fill(Kind kind)
{
    const nfcc_info *info = desk.info;
    for (size_t i = 0; i < info->n_contexts; i++) fill_value(&info->contexts[i], desk.contexts[i], kind);
    for (size_t i = 0; i < info->n_inputs; i++) fill_value(&info->inputs[i], desk.in[i], kind);
    for (size_t i = 0; i < MOST_ITEMS * info->event_size; i++) {
        desk.x[i] = number(kind, i + 1000) * 0.4f; // inside of a squash
        desk.z[i] = number(kind, i + 2000);
    }
    desk.noise = (nfcc_noise){(uint64_t)kind * 12345, (uint64_t)kind << 31, 1.0f, NULL};
}

// Memory that is there, page by page.
static void *memory(size_t size)
{
    void *p = aligned_alloc(64, (size + 127) / 64 * 64);
    assert_non_null(p);
    memset(p, 0, (size + 127) / 64 * 64);
    return p;
}

static const void **arrays_of(const nfcc_value *values, size_t n)
{
    const void **arrays = memory((n + 1) * sizeof *arrays);
    for (size_t i = 0; i < n; i++) arrays[i] = memory(MOST_ROWS * values[i].size * element_size(values[i].type));
    return arrays;
}

static const char *path;

static int open_desk(void **state)
{
    (void)state;
    if (nfcc_open(path, 0, &desk.p) != NFCC_OK) return -1;
    const nfcc_info *info = desk.info = nfcc_get_info(desk.p);
    desk.contexts = arrays_of(info->contexts, info->n_contexts);
    desk.in = arrays_of(info->inputs, info->n_inputs);
    desk.out = (void **)(uintptr_t)arrays_of(info->outputs, info->n_outputs);
    desk.x = memory(MOST_ITEMS * info->event_size * 4);
    desk.z = memory(MOST_ITEMS * info->event_size * 4);
    desk.wide = memory(MOST_ITEMS * info->event_size * 4);
    desk.work = memory(info->work_size);
    desk.test = memory(nfcc_selftest_size(desk.p));
    for (size_t rows = 1; rows <= MOST_ROWS; rows++) desk.prepared[rows] = memory(nfcc_prepared_size(desk.p, rows) + 1);
    fill(NORMAL);
    return call_everything();
}

static int close_desk(void **state)
{
    (void)state;
    nfcc_close(desk.p);
    return 0;
}

// ---- no system call, no allocation, no page fault

#if ALONE
static void test_no_system_call(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(77); // not allowed here: nothing shown
        syscall(SYS_exit, call_everything());
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status)) fail_msg("a system call: signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_no_allocation(void **state)
{
    (void)state;
    int before = allocations, status = call_everything();
    assert_int_equal(allocations, before);
    assert_int_equal(status, 0);
}

static long page_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

static void copy_file(const char *from, const char *to)
{
    static char block[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;) assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

// A file that this process has not seen, opened with `flags`: page faults of its first calls, the arrays being there.
static long faults_of_first_calls(unsigned flags)
{
    char name[4096];
    nfcc_policy *seen = desk.p;
    snprintf(name, sizeof name, "%s-first-%d.so", path, (int)getpid());
    copy_file(path, name);
    nfcc_status status = nfcc_open(name, flags, &desk.p);
    unlink(name);
    assert_int_equal(status, NFCC_OK);
    long before = page_faults();
    status = call_everything();
    long faults = page_faults() - before;
    nfcc_close(desk.p);
    desk.p = seen;
    assert_int_equal(status, NFCC_OK);
    return faults;
}

static void test_first_call(void **state)
{
    (void)state;
    static const unsigned flags[] = {0, NFCC_OPEN_SHARED, NFCC_OPEN_BULK};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        long faults = 1;
        for (int attempt = 0; attempt < 3 && faults; attempt++) faults = faults_of_first_calls(flags[i]);
        if (faults) fail_msg("opened with flags %u, the first calls took %ld page faults", flags[i], faults);
    }
}

// The kernel may take a page away for reasons of its own (to move it), so one of three attempts is enough.
static void test_no_page_fault(void **state)
{
    (void)state;
    long faults = 1;
    for (int attempt = 0; attempt < 3 && faults; attempt++) {
        call_everything();
        faults = page_faults();
        for (int i = 0; i < (is_long ? 1000000 : 100000);)
            for (CallId id = 0; id < SELFTEST; id++)
                if (has(id)) call(id, 1, 1), i++;
        faults = page_faults() - faults;
    }
    assert_int_equal(faults, 0);
}
#endif

// ---- control registers

#if defined(__x86_64__)
enum { CONTROL_BITS = 0xffc0 }; // of MXCSR; the rest are flags that say what has happened, and stay set
static const uint32_t MODES[] = {0x1f80, 0x1f80 | 0x8040, 0x1f80 | 0x4000, 0x1f80 | 0x6000 | 0x8040};
enum { N_MODES = sizeof MODES / sizeof *MODES };
static void set_mode(uint32_t mode) { __asm__ volatile("ldmxcsr %0" : : "m"(mode)); }

static uint32_t mode_now(void)
{
    uint32_t mode;
    uint16_t x87;
    uint64_t flags;
    __asm__ volatile("stmxcsr %0" : "=m"(mode));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    __asm__ volatile("pushfq; popq %0" : "=r"(flags));
    mode = (mode & CONTROL_BITS) | (uint32_t)(x87 ^ 0x37f) << 16 | (uint32_t)(flags >> 10 & 1); // x87's default, DF
    return mode | tiles_now() << 1;
}
#elif defined(__aarch64__)
static const uint32_t MODES[] = {0, 1u << 24, 1u << 22, 3u << 22 | 1u << 24};
enum { N_MODES = sizeof MODES / sizeof *MODES };
static void set_mode(uint32_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)mode)); }
static uint32_t mode_now(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return (uint32_t)mode;
}
#endif

static void test_control_registers(void **state)
{
    (void)state;
    for (int m = 0; m < N_MODES; m++)
        for (CallId id = 0; id < CALLS; id++) {
            if (!has(id)) continue;
            set_mode(MODES[m]);
            call(id, 3, 2);
            uint32_t after = mode_now();
            set_mode(MODES[0]);
            if (after != MODES[m]) fail_msg("%s: control registers %08x, were %08x", NAMES[id], after, MODES[m]);
        }
}

// ---- flush to zero

typedef struct {
    float x[MOST_ITEMS * 64], one[MOST_ITEMS];
    nfcc_status status;
} Result;

static Result plain, flushed;

static void call_in_mode(uint32_t mode, CallId id, Result *r)
{
    size_t lanes = desk.info->event_size < 64 ? desk.info->event_size : 64;
    memset(desk.wide, 0, MOST_ITEMS * desk.info->event_size * 4);
    memset(desk.one, 0, sizeof desk.one);
    desk.noise.next = 5;
    set_mode(mode);
    if (id != PREPARE && id != RUN && id != SELFTEST) call(PREPARE, MOST_ROWS, 1);
    r->status = call(id, MOST_ROWS, 1);
    set_mode(MODES[0]);
    memcpy(r->x, desk.wide, MOST_ROWS * lanes * 4);
    memcpy(r->one, desk.one, MOST_ROWS * 4);
}

static double worst(const float *a, const float *b, size_t n)
{
    double scale = 1, distance = 0;
    for (size_t i = 0; i < n; i++) scale = fmax(scale, isfinite(a[i]) ? fabs((double)a[i]) : 0);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], 4) != 0) distance = fmax(distance, fabs((double)a[i] - (double)b[i]) / scale);
    return distance;
}

// Numbers of usual size give the same within a millionth of their scale; a subnormal input is taken for 0.
static void test_flush_to_zero(void **state)
{
    (void)state;
    size_t lanes = desk.info->event_size < 64 ? desk.info->event_size : 64;
    for (CallId id = TO_LATENT; id < DRAW; id++) {
        if (!has(id)) continue;
        fill(NORMAL);
        call_in_mode(MODES[0], id, &plain);
        call_in_mode(MODES[1], id, &flushed);
        assert_int_equal(plain.status, flushed.status);
        double x = worst(plain.x, flushed.x, MOST_ROWS * lanes), one = worst(plain.one, flushed.one, MOST_ROWS);
        if (x > 1e-6 || one > 1e-6) fail_msg("%s under flush to zero: off by %g and %g", NAMES[id], x, one);
        if (id >= SAMPLE && id != SAMPLE_GIVEN) continue;
        fill(SUBNORMAL);
        call_in_mode(MODES[1], id, &flushed);
        fill(ZERO);
        call_in_mode(MODES[1], id, &plain);
        x = worst(plain.x, flushed.x, MOST_ROWS * lanes), one = worst(plain.one, flushed.one, MOST_ROWS);
        if (x > 1e-6 || one > 1e-6)
            fail_msg("%s of subnormals under flush to zero: off by %g and %g", NAMES[id], x, one);
    }
    fill(NORMAL);
    set_mode(MODES[1]);
    nfcc_status status = call(SELFTEST, 1, 1);
    set_mode(MODES[0]);
    assert_int_equal(status, NFCC_ENVIRONMENT);
}

// ---- stack

#if ALONE
enum { STACK = 1 << 20, PAINT = 0x5a };
static struct {
    CallId id;
    size_t rows, n;
    size_t used[CALLS];
} painted;

static __attribute__((noinline)) void paint(void)
{
    unsigned char block[STACK / 4];
    memset(block, PAINT, sizeof block);
    __asm__ volatile("" : : "r"(block) : "memory");
}

// Lowest byte that is not as painted, below this frame.
static void *measure(void *stack)
{
    paint();
    call(painted.id, painted.rows, painted.n);
    const unsigned char *here = __builtin_frame_address(0), *at = here - STACK / 4 + 4096;
    assert_true(at > (unsigned char *)stack);
    while (*at == PAINT) at++;
    if ((size_t)(here - at) > painted.used[painted.id]) painted.used[painted.id] = (size_t)(here - at);
    return NULL;
}

static void test_stack(void **state)
{
    (void)state;
    enum { HARNESS = 512 }; // this test's own frames
    pthread_attr_t attributes;
    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(stack, MAP_FAILED);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    assert_true(desk.info->stack_size > 0);
    for (int s = 0; s < N_SHAPES; s++)
        for (CallId id = 0; id < CALLS; id++) {
            pthread_t thread;
            if (!has(id)) continue;
            painted.id = id, painted.rows = SHAPES[s][0], painted.n = SHAPES[s][1];
            assert_int_equal(pthread_create(&thread, &attributes, measure, stack), 0);
            pthread_join(thread, NULL);
        }
    pthread_attr_destroy(&attributes);
    munmap(stack, STACK);
    for (CallId id = 0; id < CALLS; id++) {
        if (painted.used[id] > desk.info->stack_size + HARNESS)
            fail_msg("%s used %zu bytes of stack; %zu are promised", NAMES[id], painted.used[id],
                     desk.info->stack_size);
        if (is_long && has(id)) print_message("%-20s %6zu bytes of stack\n", NAMES[id], painted.used[id]);
    }
}
#endif

// ---- instructions: a child is stepped through each call, one instruction at a time

#if defined(__x86_64__) && ALONE
// Of 70 samples it would take minutes. One row and a few take the same paths as many, but for wider tiles.
static Kind kinds_for(int shape)
{
    if (SHAPES[shape][0] * SHAPES[shape][1] > 6) return 0;
    return is_long ? KINDS : SHORT_KINDS;
}

extern const char realtime_call_end[]; // the int3 behind the call

#if !defined(__clang__) // which makes no clones
__attribute__((noclone))
#endif
static __attribute__((noinline)) void
stepped_call(CallId id, size_t rows, size_t n)
{
    __asm__ volatile("int3");
    call(id, rows, n);
    __asm__ volatile("realtime_call_end: int3");
}

// Of each shape one call comes first: this process has not touched the policy's pages, and a load of a tile that a page
// fault interrupts goes on from its row as one more step.
static void stepped_child(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(77);
    raise(SIGSTOP); // the parent continues from here
    for (CallId id = 0; id < SELFTEST; id++)
        for (int s = 0; has(id) && s < (is_long ? N_SHAPES : 1); s++) {
            if (kinds_for(s)) call(id, SHAPES[s][0], SHAPES[s][1]);
            for (Kind k = 0; k < kinds_for(s); k++) {
                fill(k);
                if (id != PREPARE && has(PREPARE)) call(PREPARE, SHAPES[s][0], SHAPES[s][1]);
                stepped_call(id, SHAPES[s][0], SHAPES[s][1]);
            }
        }
    _exit(0);
}

// The child goes on until it traps, at an int3 or after one step; other signals that stop it are passed on to it.
// False: it ended.
static bool run_to_trap(pid_t child, bool step, int *status)
{
    for (intptr_t signal = 0;; signal = WSTOPSIG(*status)) {
        if (ptrace(step ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, (void *)signal) != 0) return false;
        if (waitpid(child, status, 0) != child || !WIFSTOPPED(*status)) return false;
        if (WSTOPSIG(*status) == SIGTRAP) return true;
    }
}

// The child stands behind its first int3: instructions to the second. -1: it ended instead.
static long step_to_int3(pid_t child)
{
    const long at = (long)offsetof(struct user_regs_struct, rip);
    for (long n = 0;; n++) {
        int status;
        if (ptrace(PTRACE_PEEKUSER, child, (void *)at, NULL) == (long)(uintptr_t)realtime_call_end) return n;
        if (!run_to_trap(child, true, &status)) return -1;
    }
}

// Both on one processor: a step is then a switch, not a wake-up of another processor.
static void use_one_processor(void)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0) return;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

static void test_instructions(void **state)
{
    (void)state;
    use_one_processor();
    pid_t child = fork();
    if (child == 0) stepped_child();
    int status;
    waitpid(child, &status, 0); // at its SIGSTOP
    for (CallId id = 0; id < SELFTEST; id++)
        for (int s = 0; has(id) && s < (is_long ? N_SHAPES : 1); s++) {
            long first = 0;
            for (Kind k = 0; k < kinds_for(s); k++) {
                if (!run_to_trap(child, false, &status)) {
                    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) skip();
                    fail_msg("the child ended at %s", NAMES[id]);
                }
                if (k % 2) kill(child, SIGWINCH); // as a terminal does; it stops the child and is no instruction
                long n = step_to_int3(child);
                if (k == 0) first = n;
                if (n != first || n <= 0)
                    fail_msg("%s: %ld instructions for data %d, else %ld", NAMES[id], n, k, first);
                run_to_trap(child, false, &status); // over the second int3, which the next call then begins behind
            }
            if (is_long && first)
                print_message("%-20s %zu x %zu: %ld instructions\n", NAMES[id], SHAPES[s][0], SHAPES[s][1], first);
        }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}
#endif

// This CPU or kernel has not what the policy asks for; said, since nothing is tested then.
static bool another_cpu(const char *policy)
{
    nfcc_policy *p;
    nfcc_status status = nfcc_open(policy, 0, &p);
    nfcc_close(p);
    if (status == NFCC_CPU || status == NFCC_AMX) printf("skipped: %s: %s\n", policy, nfcc_status_text(status));
    return status == NFCC_CPU || status == NFCC_AMX;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_control_registers),
        cmocka_unit_test(test_flush_to_zero),
#if ALONE
        cmocka_unit_test(test_no_system_call),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_no_page_fault),
        cmocka_unit_test(test_first_call),
        cmocka_unit_test(test_stack),
#if defined(__x86_64__)
        cmocka_unit_test(test_instructions),
#endif
#endif
    };
    if (argc < 2) return 2;
    for (int i = 2; i < argc; i++) {
        is_long |= !strcmp(argv[i], "--long");
        if (!strcmp(argv[i], "--quick")) cmocka_set_skip_filter("test_instructions");
        if (!strcmp(argv[i], "--only") && i + 1 < argc) cmocka_set_test_filter(argv[i + 1]);
    }
    path = argv[1];
    if (another_cpu(path)) return 77;
    return cmocka_run_group_tests(tests, open_desk, close_desk);
}
