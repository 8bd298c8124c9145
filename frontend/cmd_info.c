// nfcc info POLICY.so and nfcc selftest POLICY.so: what a compiled file says about itself.
#include "cli_entry.h"

#include "abi.h"
#include "cli.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// The kind of processor that a shared object is for, or NULL.
static const char *machine_of(const char *path)
{
    Elf64_Ehdr head = {.e_machine = EM_NONE};
    FILE *f = fopen(path, "rb");
    bool read = f && fread(&head, sizeof head, 1, f) == 1;
    if (f) fclose(f);
    return !read ? NULL : head.e_machine == EM_AARCH64 ? "aarch64" : head.e_machine == EM_X86_64 ? "x86-64" : NULL;
}

static void say_not_opened(const char *path, nfcc_status status, int error)
{
    const char *machine = status == NFCC_CPU ? machine_of(path) : NULL;
    if (status == NFCC_FILE && error)
        fprintf(stderr, "nfcc: error: %s: cannot be opened: %s\n", path, strerror(error));
    else if (status == NFCC_FILE)
        fprintf(stderr,
                "nfcc: error: %s: is no policy of nfcc, or a damaged one; nfcc MODEL.onnx -o POLICY.so makes one\n",
                path);
    else if (machine)
        fprintf(stderr, "nfcc: error: %s: was compiled for %s: %s\n", path, machine, nfcc_status_text(status));
    else
        fprintf(stderr, "nfcc: error: %s: %s\n", path, nfcc_status_text(status));
}

nfcc_policy *open_policy(Arena *arena, const char *path, int *code)
{
    nfcc_policy *p = NULL;
    // A name without a slash is a file here, never one of the loader's search path.
    nfcc_status status = nfcc_open(strchr(path, '/') ? path : arena_format(arena, "./%s", path), 0, &p);
    *code = status == NFCC_OK ? DONE : status == NFCC_FILE ? IO_FAILED : WRONG_MODEL;
    if (status) say_not_opened(path, status, errno);
    return p;
}

static const char *value_text(Arena *arena, const nfcc_value *v)
{
    static const char *const types[] = {"", " float64", " int64", " bool"};
    const char *text = "";
    for (unsigned i = 0; i < v->rank; i++) text = arena_format(arena, "%s%s%zu", text, i ? ", " : "", v->shape[i]);
    return arena_format(arena, "%s [%s]%s", v->name, text, types[v->type]);
}

static const char *values_text(Arena *arena, const nfcc_value *list, size_t n)
{
    const char *text = "";
    for (size_t i = 0; i < n; i++)
        text = arena_format(arena, "%s%s%s", text, i ? ", " : "", value_text(arena, &list[i]));
    return n ? text : "none";
}

static void print_notes(const char *notes)
{
    for (const char *line = notes; line && *line;) {
        size_t n = strcspn(line, "\n");
        printf("%10s  %.*s\n", "", (int)n, line);
        line += n + (line[n] != 0);
    }
}

// The instructions that the processor must have, which "native" does not say.
static const char *needs_text(Arena *arena, unsigned cpu)
{
    static const struct {
        unsigned bit;
        const char *name;
    } features[] = {{NFCC_CPU_AVX2_FMA, "AVX2, FMA"},
                    {NFCC_CPU_AVX512, "AVX-512 F, VL, BW, DQ"},
                    {NFCC_CPU_AVX512_BF16, "AVX512_BF16"},
                    {NFCC_CPU_NEON, "NEON"}};
    const char *text = "";
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (cpu & features[i].bit) text = arena_format(arena, "%s%s%s", text, *text ? ", " : "", features[i].name);
    return text;
}

static void print_info(Arena *arena, const char *path, const nfcc_policy *p)
{
    const nfcc_info *i = nfcc_get_info(p);
    struct stat st;
    print_line(stdout, "policy", "%s", i->name);
    if (i->event_size) {
        print_line(stdout, "base", "%s", i->base);
        print_line(stdout, "event", "%s", value_text(arena, &i->event));
        print_line(stdout, "contexts", "%s", values_text(arena, i->contexts, i->n_contexts));
    }
    if (i->entries & NFCC_HAS_RUN) {
        print_line(stdout, "inputs", "%s", values_text(arena, i->inputs, i->n_inputs));
        print_line(stdout, "outputs", "%s", values_text(arena, i->outputs, i->n_outputs));
    }
    print_line(stdout, "entries", "%s", entry_list(arena, i->entries));
    print_line(stdout, "target", "%s; needs %s", i->target, needs_text(arena, i->cpu));
    print_line(stdout, "compiler", "%s, ABI %u", i->compiler, i->abi_version);
    if (!stat(path, &st)) print_line(stdout, "size", "%lld bytes, weights %zu", (long long)st.st_size, i->weights_size);
    print_line(stdout, "workspace", "%zu bytes, prepared state %zu for one row", i->work_size,
               nfcc_prepared_size(p, 1));
    if (i->stack_size) print_line(stdout, "stack", "%zu bytes at most in any call", i->stack_size);
    printf("%10s: ", "model");
    for (int k = 0; k < 32; k++) printf("%02x", i->model_hash[k]);
    printf(" (SHA-256)\n");
    print_notes(i->notes);
}

int cmd_info(const Options *o)
{
    int code = DONE;
    nfcc_policy *p = NULL;
    // One of the openblas backend can only be opened.
    if (nfcc_open(o->args[0], NFCC_OPEN_LOOK, &p)) p = open_policy(o->arena, o->args[0], &code);
    if (!p) return code;
    print_info(o->arena, o->args[0], p);
    nfcc_close(p);
    return DONE;
}

int cmd_selftest(const Options *o)
{
    int code;
    nfcc_policy *p = open_policy(o->arena, o->args[0], &code);
    if (!p) return code;
    size_t size = nfcc_selftest_size(p);
    void *memory = malloc(size + 1);
    nfcc_status status = memory ? nfcc_selftest(p, memory, size) : NFCC_MEMORY;
    if (status == NFCC_OK)
        printf("%s: the golden rows are equal, bit for bit\n", o->args[0]);
    else
        fprintf(stderr, "nfcc: error: %s: %s\n", o->args[0], nfcc_status_text(status));
    free(memory);
    nfcc_close(p);
    return status == NFCC_OK ? DONE : WRONG_MODEL;
}
