// What a policy asks of the processor, and for AMX tiles of the kernel: opened where both are there, refused with a
// status where they are not, asked for by what uses them alone; and tiles in use. What a process may do once it has
// asked stays so, hence a child for every case. Usage: runtime_cpu_test FAKE.so [--only PATTERN] (fake_model.h)
#include "fake_rows.h"
#include "scratch.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cmocka.h>

enum { NOT_SHOWN = 77, DIED = 78 }; // of a child: this system does not let it try; a signal ended it

static int in_child(int (*run)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) _exit(run());
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : DIED;
}

enum { SUPPORTED = 0x1021, PERMITTED = 0x1022, TILE_DATA = 18 }; // ARCH_GET_XCOMP_..., XFEATURE_XTILEDATA

static bool tiles_are(int what)
{
    unsigned long features = 0;
#if defined(__x86_64__)
    if (syscall(SYS_arch_prctl, what, &features) != 0) features = 0;
#endif
    (void)what;
    return features >> TILE_DATA & 1;
}

// By the kernel's account, not by CPUID.
static bool has_amx(void)
{
    static char line[1 << 14];
    bool has = false;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !has && fgets(line, sizeof line, f)) has = strstr(line, " amx_tile") && strstr(line, " amx_bf16");
    if (f) fclose(f);
    return has && tiles_are(SUPPORTED);
}

static nfcc_status if_amx(nfcc_status there) { return has_amx() ? there : NFCC_CPU; }

// ---- policies as files: one set of code that wants AMX, or a second one

static nfcc_model_header *header_of(const FakeFile *l) { return (nfcc_model_header *)(l->file + l->model); }

static FakeFile policy_file(uint32_t cpu, uint32_t other_cpu)
{
    FakeFile l = fake_file(FAKE_WEIGHTS);
    nfcc_model_header *m = header_of(&l);
    m->cpu = cpu;
    m->other_cpu = other_cpu;
    m->other_code = m->size;
    for (int id = 0; id < NFCC_PROGRAMS; id++) {
        memcpy(l.file + l.model + m->size, m->programs[id].code, sizeof m->programs[id].code);
        m->size += (uint32_t)sizeof m->programs[id].code;
    }
    return l;
}

static void write_policy(const char *name, uint32_t cpu, uint32_t other_cpu)
{
    FakeFile l = policy_file(cpu, other_cpu);
    write_file(name, l.file, l.size);
    free(l.file);
}

static nfcc_status opened(const char *name, unsigned flags, unsigned *cpu)
{
    nfcc_policy *p = NULL;
    nfcc_status status = nfcc_open(in_folder(name), flags, &p);
    *cpu = p ? nfcc_get_info(p)->cpu : 0;
    nfcc_close(p);
    return status;
}

static int open_amx(void)
{
    unsigned cpu;
    nfcc_status status = opened("amx.so", 0, &cpu);
    return status == NFCC_OK && cpu != NFCC_CPU_AMX_BF16 ? DIED : (int)status;
}

#define LACKING (1u << 31) // a feature that no processor has

static int make_policies(void **state)
{
    if (scratch_make(state) != 0) return 1;
    write_policy("amx.so", NFCC_CPU_AMX_BF16, 0);
    write_policy("both.so", 0, NFCC_CPU_AMX_BF16);
    write_policy("never.so", LACKING | NFCC_CPU_AMX_BF16, 0);
    write_policy("never_other.so", 0, LACKING | NFCC_CPU_AMX_BF16);
    return 0;
}

static void test_opened(void **state)
{
    (void)state;
    assert_int_equal(in_child(open_amx), if_amx(NFCC_OK));
}

static void test_lacking(void **state)
{
    (void)state;
    unsigned cpu;
    assert_int_equal(opened("never.so", 0, &cpu), NFCC_CPU);
    assert_int_equal(opened("never_other.so", 0, &cpu), NFCC_OK);
    assert_int_equal(cpu, 0);
}

// The second set of code is checked wherever the file is opened, also where it is not used.
static void test_damaged_second_code(void **state)
{
    (void)state;
    static const int32_t hostile[] = {63, FAKE_TABLES, INT32_MAX, INT32_MIN};
    unsigned cpu;
    for (size_t i = 0; i <= sizeof hostile / sizeof *hostile; i++) {
        FakeFile l = policy_file(0, LACKING);
        nfcc_model_header *m = header_of(&l);
        int32_t *codes = (int32_t *)(l.file + l.model + m->other_code);
        if (i == 0)
            m->other_code += 4; // its end lies behind the descriptor
        else
            codes[NFCC_PROGRAM_RUN * NFCC_TILES] = hostile[i - 1];
        write_file("damaged.so", l.file, l.size);
        assert_int_equal(opened("damaged.so", 0, &cpu), NFCC_ABI);
        free(l.file);
    }
}

#if defined(__x86_64__)

// ---- permission

static bool permitted(void) { return tiles_are(PERMITTED); }

// Only what will use tiles asks for them.
static int ask_late(void)
{
    unsigned cpu;
    if (permitted()) return 2;
    if (opened("amx.so", NFCC_OPEN_LOOK, &cpu) != NFCC_OK || cpu != NFCC_CPU_AMX_BF16 || permitted()) return 3;
    if (opened("both.so", NFCC_OPEN_BASELINE, &cpu) != NFCC_OK || cpu != 0 || permitted()) return 4;
    if (opened("never.so", 0, &cpu) != NFCC_CPU || permitted()) return 5;
    if (opened("both.so", 0, &cpu) != NFCC_OK || cpu != (has_amx() ? NFCC_CPU_AMX_BF16 : 0)) return 6;
    return permitted() == has_amx() ? 0 : 7;
}

static void test_asked_by_what_uses_them(void **state)
{
    (void)state;
    assert_int_equal(in_child(ask_late), 0);
}

// From here on the kernel fails arch_prctl, as an old one or a sandbox does.
static int refusal;

static void refuse(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)refusal),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(NOT_SHOWN);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(NOT_SHOWN);
}

static int open_refused(void)
{
    refuse();
    return open_amx();
}

static int open_static_refused(void)
{
    static unsigned char memory[FAKE_MEMORY];
    nfcc_policy *p;
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    ((nfcc_model_header *)fake_image)->cpu = NFCC_CPU_AMX_BF16;
    refuse();
    return (int)nfcc_open_static((const nfcc_model *)fake_image, memory, sizeof memory, &p);
}

// Of two sets of code the other is taken.
static int open_other_refused(void)
{
    unsigned cpu;
    refuse();
    return opened("both.so", 0, &cpu) == NFCC_OK && cpu == 0 ? 0 : 2;
}

static void test_refused(void **state)
{
    (void)state;
    static const int errors[] = {EPERM, ENOSYS, EINVAL};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        refusal = errors[i];
        int status = in_child(open_refused);
        if (status == NOT_SHOWN) skip();
        assert_int_equal(status, if_amx(NFCC_AMX));
        assert_int_equal(in_child(open_static_refused), if_amx(NFCC_AMX));
        assert_int_equal(in_child(open_other_refused), 0);
    }
    assert_non_null(strstr(nfcc_status_text(NFCC_AMX), "AMX"));
}

// The kernel's own refusal: a signal's frame with tiles in it has no room there, one without has.
static int open_with_small_stack(void)
{
    static unsigned char memory[6144];
    stack_t small = {.ss_sp = memory, .ss_size = sizeof memory};
    if (sigaltstack(&small, NULL) != 0) return NOT_SHOWN;
    return open_amx();
}

static void test_small_signal_stack(void **state)
{
    (void)state;
    int status = in_child(open_with_small_stack);
    if (status == NOT_SHOWN) skip();
    assert_int_equal(status, if_amx(NFCC_AMX));
}

// ---- tiles in use

// to_event, which takes 16 rows of its weights through a tile before it does its work.
__attribute__((target("amx-tile"))) static void tiled(float *work, const float *prep, const nfcc_abi_weights *weights,
                                                      uint64_t shape)
{
    enum { ROWS = 16, BYTES = 64 };
    const struct {
        uint8_t palette, start, unused[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1, .bytes = {BYTES}, .rows = {ROWS}};
    unsigned char out[ROWS * BYTES];
    _tile_loadconfig(&tiles);
    _tile_loadd(0, weights->at, BYTES);
    _tile_stored(0, out, BYTES);
    _tile_release();
    if (memcmp(out, weights->at, sizeof out) == 0) fake_code(NFCC_PROGRAM_TO_EVENT, 0)(work, prep, weights, shape);
}

static Memory tiled_memory;
static _Atomic(nfcc_policy *) tiled_policy;
static atomic_bool tiled_done;

// A thread that is there before the permission is asked for, and that makes no system call once it has been.
static void *call_tiled(void *unused)
{
    nfcc_policy *p;
    while (!(p = atomic_load(&tiled_policy))) sched_yield();
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return unused;
    nfcc_status status = nfcc_to_event(p, tiled_memory.prepared, 100, data.z[0], made.x[0], NULL, tiled_memory.work);
    atomic_store(&tiled_done, status == NFCC_OK && memcmp(made.x, data.x, sizeof(float[100][FAKE_D])) == 0);
    syscall(SYS_exit, 0);
    return unused;
}

static int run_tiled(void)
{
    static unsigned char memory[FAKE_MEMORY];
    pthread_t thread;
    nfcc_policy *p;
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    if (pthread_create(&thread, NULL, call_tiled, NULL) != 0) return 2;
    fake_few = 128;
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    m->cpu = NFCC_CPU_AMX_BF16;
    m->programs[NFCC_PROGRAM_TO_EVENT].code[0] = (int32_t)((intptr_t)(uintptr_t)tiled - (intptr_t)fake_image);
    if (nfcc_open_static(m, memory, sizeof memory, &p) != NFCC_OK) return 3;
    tiled_memory = memory_for(p, 1, 0);
    fill(1, 100);
    expect(1, 100);
    if (nfcc_prepare(p, 1, data.context, tiled_memory.prepared, tiled_memory.work) != NFCC_OK) return 4;
    atomic_store(&tiled_policy, p);
    pthread_join(thread, NULL);
    return tiled_done ? 0 : 5;
}

static void test_tiles(void **state)
{
    (void)state;
    if (!has_amx()) skip();
    assert_int_equal(in_child(run_tiled), 0);
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opened),
        cmocka_unit_test(test_lacking),
        cmocka_unit_test(test_damaged_second_code),
#if defined(__x86_64__)
        cmocka_unit_test(test_asked_by_what_uses_them),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_small_signal_stack),
        cmocka_unit_test(test_tiles),
#endif
    };
    if (!fake_arguments(argc, argv)) return 2;
    return cmocka_run_group_tests(tests, make_policies, scratch_remove);
}
