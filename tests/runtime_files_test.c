// The fake policy as a file: ways to open it, damaged files and descriptors, memory of the caller's, and the self test.
// Usage: runtime_files_test FAKE.so [--few ROWS] [--only PATTERN] (fake_model.h); with a second name alone, only writes
// the policy there.
#include "fake_rows.h"
#include "scratch.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

// ---- self test

static nfcc_status selftest(const nfcc_policy *p)
{
    size_t size = nfcc_selftest_size(p);
    char *memory = malloc(size + 7);
    assert_int_equal(nfcc_selftest(p, memory + 7, size - 1), NFCC_BAD_ARGUMENT);
    nfcc_status status = nfcc_selftest(p, memory + 7, size);
    free(memory);
    return status;
}

static void test_selftest(void **state)
{
    (void)state;
    nfcc_policy *p = fake_static();
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    assert_int_equal(selftest(p), NFCC_OK);
    for (uint32_t i = 0; i < m->golden_words; i++) {
        fake_image[m->golden + 4 * i] ^= 1;
        assert_int_equal(selftest(p), NFCC_GOLDEN);
        fake_image[m->golden + 4 * i] ^= 1;
    }
    fake_image[m->weights] ^= 1;
    assert_int_equal(selftest(p), NFCC_GOLDEN);
    fake_image[m->weights] ^= 1;
    for (int more = -1; more <= 1; more += 2) {
        m->golden_words += (uint32_t)more;
        assert_int_equal(selftest(p), NFCC_GOLDEN);
        m->golden_words -= (uint32_t)more;
    }
    fesetround(FE_UPWARD);
    nfcc_status status = selftest(p);
    fesetround(FE_TONEAREST);
    assert_int_equal(status, NFCC_ENVIRONMENT);
#if defined(__x86_64__)
    uint32_t mxcsr, flush;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    flush = mxcsr | 0x8000u;
    __asm__ volatile("ldmxcsr %0" ::"m"(flush));
    status = selftest(p);
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
    assert_int_equal(status, NFCC_ENVIRONMENT);
#endif
    assert_int_equal(selftest(p), NFCC_OK);
}

// The encoder of the fake, whose call number `spoiled` gives zeros for the first row.
static int encodes, spoiled;

static void encode(int slot, size_t T, float *work, const float *prep, const nfcc_abi_weights *weights, uint64_t shape)
{
    enum { OUT = 48 };
    fake_code(NFCC_PROGRAM_ENCODE, slot)(work, prep, weights, shape);
    if (encodes++ == spoiled) memset(work + OUT * T, 0, FAKE_EARLY * T * sizeof *work);
}

#define ENCODE(name, slot, T)                                                                         \
    static void name(float *work, const float *prep, const nfcc_abi_weights *weights, uint64_t shape) \
    {                                                                                                 \
        encode(slot, T, work, prep, weights, shape);                                                  \
    }
ENCODE(encode_few, 0, 1)
ENCODE(encode_16, 1, 16)
ENCODE(encode_64, 3, 64)

// Each row alone, all of them as few and, if there are such, in tiles of 16 and 64; from whole prepared state and from
// the short one: whatever is computed is compared.
static void test_selftest_compares_all(void **state)
{
    (void)state;
    static nfcc_abi_code *const code[NFCC_TILES] = {encode_few, encode_16, NULL, encode_64};
    static _Alignas(64) unsigned char memory[FAKE_MEMORY];
    nfcc_policy *p = fake_static();
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    int32_t *offset = m->programs[NFCC_PROGRAM_ENCODE].code;
    for (int s = 0; s < NFCC_TILES; s++)
        if (offset[s]) offset[s] = (int32_t)((intptr_t)code[s] - (intptr_t)fake_image);
    assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_OK);
    spoiled = -1;
    assert_int_equal(selftest(p), NFCC_OK);
    uint32_t few = (m->golden_rows + m->few_rows - 1) / m->few_rows;
    int all = encodes;
    assert_int_equal(all, 2 * (m->golden_rows + few + (fake_few ? 0 : 2)));
    for (spoiled = 0; spoiled < all; spoiled++) {
        encodes = 0;
        assert_int_equal(selftest(p), NFCC_GOLDEN);
    }
}

// ---- files

static void test_open(void **state)
{
    (void)state;
    static const size_t weights[] = {FAKE_WEIGHTS, FAKE_LARGE};
    static const unsigned flags[] = {0, NFCC_OPEN_SHARED, NFCC_OPEN_BULK | NFCC_OPEN_LOCK};
    for (size_t w = 0; w < 2; w++)
        for (size_t f = 0; f < 3; f++) {
            nfcc_policy *p = fake_open("open.so", weights[w], flags[f]);
            check_entries(p, 3, 50, 11);
            assert_int_equal(selftest(p), NFCC_OK);
            nfcc_close(p);
        }
}

// KiB of this process that the system counts under this name; -1: not known.
static long status_kib(const char *name)
{
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (kib < 0 && f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name))) kib = strtol(line + strlen(name), NULL, 10);
    if (f) fclose(f);
    return kib;
}

// The sanitizers turn mlock into nothing.
static long locked_now(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return -1;
#endif
    return status_kib("VmLck:");
}

static void test_open_locked(void **state)
{
    (void)state;
    static const size_t weights[] = {FAKE_WEIGHTS, FAKE_LARGE};
    for (size_t w = 0; w < 2; w++) {
        long before = locked_now();
        if (before < 0) skip();
        nfcc_policy *p = fake_open("locked.so", weights[w], NFCC_OPEN_LOCK);
        assert_true(locked_now() - before >= (long)(weights[w] / 1024));
        nfcc_close(p);
        assert_int_equal(locked_now(), before);
        nfcc_close(fake_open("locked.so", weights[w], 0));
        assert_int_equal(locked_now(), before);
    }
}

// Large weights are copied into memory of the process, or stay the file's.
static void test_open_shared(void **state)
{
    (void)state;
    nfcc_policy *p = fake_open("shared.so", FAKE_LARGE, 0);
    nfcc_close(p);
    for (unsigned flags = 0; flags <= NFCC_OPEN_SHARED; flags += NFCC_OPEN_SHARED) {
        long before = status_kib("RssAnon:");
        if (before < 0) skip();
        assert_int_equal(nfcc_open(in_folder("shared.so"), flags, &p), NFCC_OK);
        long own = status_kib("RssAnon:") - before;
        nfcc_close(p);
        assert_true(flags ? own < FAKE_LARGE / 1024 / 4 : own > FAKE_LARGE / 1024 / 4 * 3);
    }
}

// A policy compiled again under the same name, while the first is in use, is the new one.
static void test_open_replaced(void **state)
{
    (void)state;
    nfcc_policy *first = fake_open("same.so", FAKE_WEIGHTS, 0), *second = NULL, *again = NULL;
    FakeFile l = fake_file(FAKE_WEIGHTS);
    l.file[l.model + ((nfcc_model_header *)(l.file + l.model))->name] = 'c';
    write_file("same.so", l.file, l.size);
    free(l.file);
    assert_int_equal(nfcc_open(in_folder("same.so"), 0, &second), NFCC_OK);
    assert_int_equal(nfcc_open(in_folder("same.so"), 0, &again), NFCC_OK);
    assert_string_equal(nfcc_get_info(first)->name, "fake");
    assert_string_equal(nfcc_get_info(second)->name, "cake");
    assert_string_equal(nfcc_get_info(again)->name, "cake");
    nfcc_close(second);
    check_entries(again, 2, 3, 0);
    nfcc_close(again);
    check_entries(first, 2, 3, 0);
    nfcc_close(first);
}

static void test_open_here(void **state)
{
    (void)state;
    char before[4096];
    nfcc_policy *p = fake_open("here.so", FAKE_WEIGHTS, 0);
    nfcc_close(p);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(scratch), 0);
    nfcc_status status = nfcc_open("here.so", 0, &p);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, NFCC_OK);
    nfcc_close(p);
}

// NFCC_OPEN_LOOK sees what is opened, and else only what is of another machine; nothing of it can be called.
static void look_at(const char *path, nfcc_status opened, const nfcc_policy *same)
{
    nfcc_policy *p;
    unsigned char memory[256];
    float z[FAKE_D];
    nfcc_status status = nfcc_open(path, NFCC_OPEN_LOOK, &p);
    assert_true((status == NFCC_OK) == (p != NULL));
    assert_true(status == opened || (status == NFCC_OK && opened == NFCC_CPU) || opened == NFCC_CPU);
    if (!p) return;
    assert_string_equal(nfcc_get_info(p)->name, "fake");
    assert_int_equal(nfcc_get_info(p)->entries, same ? nfcc_get_info(same)->entries : nfcc_get_info(p)->entries);
    assert_int_equal(nfcc_prepare(p, 1, data.context, memory, memory), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_draw(p, 0, 0, 1, z, memory), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_run(p, 1, data.context, (void *[]){z, z, z}, memory), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_selftest_size(p), 0);
    nfcc_close(p);
}

static nfcc_status open_bytes(const void *bytes, size_t size)
{
    nfcc_policy *p = NULL;
    write_file("bytes.so", bytes, size);
    nfcc_status status = nfcc_open(in_folder("bytes.so"), 0, &p);
    assert_true((status == NFCC_OK) == (p != NULL));
    look_at(in_folder("bytes.so"), status, p);
    nfcc_close(p);
    return status;
}

static void test_not_a_policy(void **state)
{
    (void)state;
    nfcc_policy *p = (nfcc_policy *)fake_image;
    assert_int_equal(nfcc_open("/nonexistent/policy.so", 0, &p), NFCC_FILE);
    assert_int_equal(errno, ENOENT);
    assert_null(p);
    assert_int_equal(nfcc_open(scratch, 0, &p), NFCC_FILE);
    assert_int_equal(errno, 0);
    assert_int_equal(nfcc_open(NULL, 0, &p), NFCC_BAD_ARGUMENT);
    for (unsigned flag = NFCC_OPEN_LOOK << 1; flag; flag <<= 1)
        assert_int_equal(nfcc_open(fake_library, flag, &p), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_open(fake_library, 0, NULL), NFCC_BAD_ARGUMENT);
    assert_int_equal(nfcc_open(fake_library, 0, &p), NFCC_ABI); // the descriptor is not filled in
    assert_int_equal(open_bytes("", 0), NFCC_FILE);
    assert_int_equal(open_bytes("# not an object file", 20), NFCC_FILE);
    FakeFile l = fake_file(FAKE_WEIGHTS);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_OK);
    for (size_t size = l.model + 100; size > 0; size = size * 2 / 3)
        assert_int_equal(open_bytes(l.file, size), NFCC_FILE);
    for (size_t size = 0; size < 4096; size += 97) assert_int_equal(open_bytes(l.file, size), NFCC_FILE);
    l.file[18] ^= 0xff; // e_machine
    assert_int_equal(open_bytes(l.file, l.size), NFCC_CPU);
    free(l.file);
}

// Every word of the descriptor's head and tables overwritten with hostile values: refused, or opened and usable.
static void test_damaged(void **state)
{
    (void)state;
    static const uint32_t values[] = {0, 1, 8, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0, 4096, 16384};
    static unsigned char memory[65536];
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    uint32_t size = ((nfcc_model_header *)fake_image)->size, refused = 0, tried = 0;
    for (uint32_t at = 0; at < size; at += 4)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            nfcc_policy *p = NULL;
            fake_build(fake_image, fake_image, FAKE_WEIGHTS);
            nfcc_model_header *m = (nfcc_model_header *)fake_image;
            bool code = false, extent = at == offsetof(nfcc_model_header, weights) + 4 ||
                                        at == offsetof(nfcc_model_header, weights) ||
                                        at == offsetof(nfcc_model_header, weights_size) ||
                                        at == offsetof(nfcc_model_header, weights_size) + 4 ||
                                        at == offsetof(nfcc_model_header, size);
            for (int id = 0; id < NFCC_PROGRAMS; id++) {
                size_t first = offsetof(nfcc_model_header, programs) + (size_t)id * sizeof *m->programs;
                code |= at >= first && at < first + sizeof m->programs->code;
            }
            if (code || extent) continue; // a policy that is linked in has these from the linker; files: below
            memcpy(fake_image + at, &values[v], 4);
            nfcc_status status = nfcc_open_static((const nfcc_model *)fake_image, memory, sizeof memory, &p);
            tried++, refused += status != NFCC_OK;
            if (status == NFCC_OK && nfcc_get_info(p)->work_size < 1 << 20) {
                size_t bytes = nfcc_selftest_size(p);
                if (bytes == 0 || bytes > 1 << 22) continue;
                void *test = malloc(bytes);
                nfcc_selftest(p, test, bytes);
                free(test);
            }
        }
    print_message("damaged words: %u of %u refused\n", refused, tried);
    assert_true(refused > tried / 4);
}

// What the code could not be called with.
static void test_refused_descriptor(void **state)
{
    (void)state;
    static unsigned char memory[FAKE_MEMORY];
    nfcc_policy *p;
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    nfcc_abi_value *context = (nfcc_abi_value *)(fake_image + m->contexts);
    nfcc_abi_program *program = m->programs;
    nfcc_abi_port *port = (nfcc_abi_port *)(fake_image + program[NFCC_PROGRAM_ENCODE].in);
    nfcc_abi_port *graph = (nfcc_abi_port *)(fake_image + program[NFCC_PROGRAM_RUN].in);
    const struct {
        uint32_t *word, value;
    } changes[] = {
        {&m->few_rows, NFCC_MOST_FEW + 1},
        {(uint32_t *)&m->weights, (uint32_t)m->weights + 2},
        {&context->lanes, FAKE_OBS + 1},
        {&context->dim[0], FAKE_OBS + 1},
        {&m->event.dtype, NFCC_I64},
        {&m->other_cpu, NFCC_CPU_AVX2_FMA}, // no code for it
        {&program[NFCC_PROGRAM_ENCODE].exists, 0},
        {&program[NFCC_PROGRAM_LATE].exists, 0},
        {&graph->index, m->n_inputs}, // what stands behind them is as wide
        {&port->at, program[NFCC_PROGRAM_ENCODE].work_lanes - 1},
        {&port->lanes, FAKE_OBS - 1},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        uint32_t good = *changes[i].word;
        *changes[i].word = changes[i].value;
        if (nfcc_open_static(m, memory, sizeof memory, &p) != NFCC_ABI) fail_msg("change %zu was opened", i);
        *changes[i].word = good;
    }
    assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_OK);
}

// Groups of compact weights that are not within the weights, or whose image is not within the group.
static void test_refused_compact(void **state)
{
    (void)state;
    static unsigned char memory[FAKE_MEMORY];
    static const nfcc_abi_compact good = {0, 6, 2, 1}, bad[] = {{FAKE_WEIGHTS / 4, 6, 2, 1},
                                                                {0x40000000, 6, 2, 1},
                                                                {0, 6, 2, 2},
                                                                {0, 6, 4, 1},
                                                                {0, 6, 0, 1},
                                                                {0, 1, 1, 1},
                                                                {0, 1u << 27, 1, 1},
                                                                {0, 9, 1, 1},
                                                                {512, 6, 2, 0xffffffff}};
    nfcc_policy *p;
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    nfcc_model_header *m = (nfcc_model_header *)fake_image;
    nfcc_abi_compact *table = (nfcc_abi_compact *)(fake_image + (m->size + 7) / 8 * 8);
    m->compact = (uint32_t)((unsigned char *)table - fake_image);
    m->n_compact = 1;
    assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_ABI); // behind the tables
    m->size = m->compact + (uint32_t)sizeof *table;
    *table = good;
    assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        *table = bad[i];
        assert_int_equal(nfcc_open_static(m, memory, sizeof memory, &p), NFCC_ABI);
    }
}

static void set64(unsigned char *file, size_t at, uint64_t v) { memcpy(file + at, &v, 8); }
static void set32(unsigned char *file, size_t at, uint32_t v) { memcpy(file + at, &v, 4); }

#define FIELD(name) (l.model + offsetof(nfcc_model_header, name))
static void test_damaged_file(void **state)
{
    (void)state;
    static const uint64_t hostile[] = {1, 0x7fffffffffffffff, 0xffffffffffffffc0, 1ull << 32, FAKE_IMAGE + 65536};
    static const uint32_t code[] = {0, 63, FAKE_TABLES, 0x7ffffff0, 0x80000000};
    FakeFile l = fake_file(FAKE_WEIGHTS);
    unsigned char *good = malloc(l.size);
    memcpy(good, l.file, l.size);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        set64(l.file, FIELD(weights), hostile[i]);
        assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
        set64(l.file, FIELD(weights), FAKE_TABLES);
        set64(l.file, FIELD(weights_size), i == 0 ? 1ull << 40 : hostile[i]);
        assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
        memcpy(l.file, good, l.size);
        set32(l.file, FIELD(programs[NFCC_PROGRAM_RUN].code[code[i] ? 1 : 0]), code[i]);
        assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
        memcpy(l.file, good, l.size);
    }
    set32(l.file, FIELD(size), 0x7fffffff);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
    set32(l.file, FIELD(size), ((nfcc_model_header *)(good + l.model))->size);
    set32(l.file, FIELD(version), NFCC_ABI_VERSION + 1);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_ABI);
    set32(l.file, FIELD(version), NFCC_ABI_VERSION);
    set32(l.file, FIELD(cpu), 1u << 31);
    assert_int_equal(open_bytes(l.file, l.size), NFCC_CPU);
    free(l.file);
    free(good);
}

// Opens the file with byte `at` damaged in two ways, and mends it.
static void open_damaged(const char *path, int fd, const FakeFile *l, size_t at)
{
    static const unsigned char flips[] = {1, 0xff};
    for (size_t i = 0; i < 2; i++) {
        nfcc_policy *p;
        unsigned char damaged = l->file[at] ^ flips[i];
        if (pwrite(fd, &damaged, 1, (off_t)at) != 1) _exit(1);
        if (nfcc_open(path, 0, &p) == NFCC_OK) nfcc_close(p);
    }
    if (pwrite(fd, &l->file[at], 1, (off_t)at) != 1) _exit(1);
}

// Every byte of the file outside the descriptor's fake_image: headers, symbols, the dynamic section. It is the dynamic
// loader that reads them, so a mistake is a crash; hence the children, one for each MANY bytes.
static void test_damaged_headers(void **state)
{
    (void)state;
    enum { MANY = 64 };
    FakeFile l = fake_file(FAKE_WEIGHTS);
    write_file("headers.so", l.file, l.size);
    const char *path = in_folder("headers.so");
    int fd = open(path, O_WRONLY);
    size_t *reached = mmap(NULL, sizeof *reached, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(fd >= 0 && reached != MAP_FAILED);
    for (size_t at = 0; at < l.size; at += MANY) {
        if (at == 640) at = l.model + FAKE_IMAGE;
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL), signal(SIGBUS, SIG_DFL), signal(SIGFPE, SIG_DFL), signal(SIGABRT, SIG_DFL);
            for (*reached = at; *reached < at + MANY && *reached < l.size; ++*reached)
                open_damaged(path, fd, &l, *reached);
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (!WIFEXITED(status)) fail_msg("byte %zu: died of signal %d", *reached, WTERMSIG(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    munmap(reached, sizeof *reached);
    close(fd);
    free(l.file);
}

// What no policy of the compiler has in its headers: a constructor would be code that runs when the file is opened, a
// stack segment with PF_X would make the stacks of the whole process executable, the others lead the loader astray.
static void test_refused_headers(void **state)
{
    (void)state;
    enum { STACK = 3 }; // number of the header PT_GNU_STACK; before it the two segments and the dynamic section
    FakeFile l = fake_file(FAKE_WEIGHTS);
    Elf64_Phdr *ph = (Elf64_Phdr *)(l.file + ((Elf64_Ehdr *)l.file)->e_phoff);
    Elf64_Dyn *tags = (Elf64_Dyn *)(l.file + ph[2].p_offset);
    uint32_t *hash = (uint32_t *)(l.file + tags[0].d_un.d_ptr);
    assert_int_equal(ph[1].p_type, PT_LOAD);
    assert_int_equal(ph[STACK].p_type, PT_GNU_STACK);
    assert_int_equal(tags[0].d_tag, DT_GNU_HASH);
    assert_int_equal(tags[4].d_tag, DT_SYMENT);
    const struct {
        void *at;
        uint64_t value;
        size_t size;
    } changes[] = {
        {&ph[STACK].p_flags, PF_R | PF_W | PF_X, 4},
        {&ph[STACK].p_type, PT_TLS, 4},
        {&ph[STACK].p_type, PT_INTERP, 4},
        {&ph[0].p_align, 3, 8},
        {&ph[0].p_memsz, ph[1].p_vaddr + 1, 8}, // into the next one
        {&ph[1].p_memsz, ph[1].p_filesz + (1 << 17), 8},
        {&tags[4].d_tag, DT_INIT, 8},
        {&tags[4].d_tag, DT_FINI, 8},
        {&tags[4].d_tag, DT_INIT_ARRAY, 8},
        {&tags[4].d_tag, DT_FINI_ARRAY, 8},
        {&tags[4].d_tag, DT_RELA, 8},
        {&hash[2], 3, 4},  // words of the Bloom filter: a power of two
        {&hash[3], 32, 4}, // its shift
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        uint64_t good = 0;
        memcpy(&good, changes[i].at, changes[i].size);
        memcpy(changes[i].at, &changes[i].value, changes[i].size);
        if (open_bytes(l.file, l.size) != NFCC_FILE) fail_msg("change %zu was opened", i);
        memcpy(changes[i].at, &good, changes[i].size);
    }
    assert_int_equal(open_bytes(l.file, l.size), NFCC_OK);
    free(l.file);
}

// The descriptor is found by its name, also where nothing is loaded: there are other symbols.
static void test_descriptor_of_another_name(void **state)
{
    (void)state;
    FakeFile l = fake_file(FAKE_WEIGHTS);
    size_t name = 0;
    while (name < l.model && memcmp(l.file + name, "nfcc_model", sizeof "nfcc_model")) name++;
    assert_true(name < l.model);
    l.file[name] = 'm';
    assert_int_equal(open_bytes(l.file, l.size), NFCC_FILE);
    free(l.file);
}

// The loader reads words of the hash table and of the symbols where they lie: copies at other addresses are as good,
// but not between two words.
static void test_tables_are_aligned(void **state)
{
    (void)state;
    enum { ROOM = FAKE_TABLES + 8192, SIZE = 1024 }; // unused bytes of the image
    FakeFile l = fake_file(FAKE_WEIGHTS);
    Elf64_Phdr *ph = (Elf64_Phdr *)(l.file + ((Elf64_Ehdr *)l.file)->e_phoff);
    Elf64_Dyn *tags = (Elf64_Dyn *)(l.file + ph[2].p_offset);
    unsigned char *room = l.file + l.model + ROOM;
    for (int tag = 0; tag < 2; tag++) {
        Elf64_Dyn *moved = &tags[0];
        while (moved->d_tag != (tag ? DT_SYMTAB : DT_GNU_HASH)) moved++;
        uint64_t good = moved->d_un.d_ptr; // also its place in the file: the first segment begins at 0
        for (uint64_t shift = 0; shift <= 8; shift++) {
            memcpy(room + shift, l.file + good, SIZE);
            moved->d_un.d_ptr = ph[0].p_vaddr + l.model + ROOM + shift;
            assert_int_equal(open_bytes(l.file, l.size), shift % 8 ? NFCC_FILE : NFCC_OK);
        }
        moved->d_un.d_ptr = good;
    }
    free(l.file);
}

static void test_static_memory(void **state)
{
    (void)state;
    static _Alignas(64) unsigned char memory[FAKE_MEMORY];
    nfcc_policy *p;
    fake_build(fake_image, fake_image, FAKE_WEIGHTS);
    size_t size = nfcc_static_size((const nfcc_model *)fake_image);
    assert_in_range(size, 200, sizeof memory);
    for (size_t shift = 0; shift < 16; shift++)
        assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, memory + shift, size, &p), NFCC_OK);
    assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, memory, size - 1, &p), NFCC_MEMORY);
    assert_null(p);
    assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, NULL, size, &p), NFCC_BAD_ARGUMENT);
    fake_image[0] ^= 1;
    assert_int_equal(nfcc_static_size((const nfcc_model *)fake_image), 0);
    assert_int_equal(nfcc_open_static((const nfcc_model *)fake_image, memory, size, &p), NFCC_ABI);
}

// For the tests in Python.
static int write_policy(const char *path)
{
    FakeFile l = fake_file(FAKE_WEIGHTS);
    FILE *f = fopen(path, "wb");
    bool written = f && fwrite(l.file, 1, l.size, f) == l.size;
    free(l.file);
    return f && fclose(f) == 0 && written ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selftest),
        cmocka_unit_test(test_selftest_compares_all),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_locked),
        cmocka_unit_test(test_open_shared),
        cmocka_unit_test(test_open_replaced),
        cmocka_unit_test(test_open_here),
        cmocka_unit_test(test_not_a_policy),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_damaged_file),
        cmocka_unit_test(test_refused_descriptor),
        cmocka_unit_test(test_refused_compact),
        cmocka_unit_test(test_refused_headers),
        cmocka_unit_test(test_descriptor_of_another_name),
        cmocka_unit_test(test_tables_are_aligned),
        cmocka_unit_test(test_damaged_headers),
        cmocka_unit_test(test_static_memory),
    };
    if (!fake_arguments(argc, argv)) return argc == 3 ? write_policy(argv[2]) : 2;
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
