// nfcc info POLICY.so and nfcc selftest POLICY.so...: what a compiled file says about itself.
#include "cli_entry.h"

#include "abi.h"
#include "cli.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static Elf64_Ehdr header_of(const char *path)
{
    Elf64_Ehdr head;
    return file_head(path, &head, sizeof head) == sizeof head ? head : (Elf64_Ehdr){.e_machine = EM_NONE};
}

static bool is_object(const char *path) { return header_of(path).e_type == ET_REL; }

// The kind of processor that a shared object is for, or NULL.
static const char *machine_of(const char *path)
{
    unsigned machine = header_of(path).e_machine;
    return machine == EM_AARCH64 ? "aarch64" : machine == EM_X86_64 ? "x86-64" : NULL;
}

static void say_not_opened(const char *path, nfcc_status status, int error)
{
    const char *machine = status == NFCC_CPU ? machine_of(path) : NULL;
    if (status == NFCC_FILE && error)
        fprintf(stderr, "nfcc: error: %s: cannot be opened: %s%s\n", path, strerror(error),
                error == EPERM ? "; is its folder mounted noexec?" : "");
    else if (status == NFCC_FILE && is_object(path))
        fprintf(stderr,
                "nfcc: error: %s: is an object, to be linked into a program (nfcc_open_static); nfcc selftest compares "
                "its checksum\n",
                path);
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
                    {NFCC_CPU_AMX_BF16, "AMX_BF16"},
                    {NFCC_CPU_NEON, "NEON"}};
    const char *text = "";
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (cpu & features[i].bit) text = arena_format(arena, "%s%s%s", text, *text ? ", " : "", features[i].name);
    return text;
}

static const char *hash_text(Arena *arena, const uint8_t hash[32])
{
    const char *text = "";
    for (int k = 0; k < 32; k++) text = arena_format(arena, "%s%02x", text, hash[k]);
    return text;
}

// ---- the checksum
typedef struct {
    bool found;
    uint32_t stored, computed;
} Checksum;

static Checksum checksum_of(const char *path)
{
    Checksum c = {0};
    c.found = checksum_read(path, &c.stored, &c.computed);
    return c;
}

static bool is_right(const Checksum *c) { return c->found && c->stored == c->computed; }

static int say_changed(const char *path, const Checksum *c)
{
    fprintf(stderr, "nfcc: error: %s: is not as nfcc wrote it: ", path);
    if (c->found)
        fprintf(stderr, "it holds the checksum %08x, its bytes make %08x", c->stored, c->computed);
    else
        fputs("its checksum is not there", stderr);
    fputs("; copy it again (patchelf changes it, too; strip does not)\n", stderr);
    return IO_FAILED;
}

// ---- info
static void print_info(Arena *arena, const char *path, const nfcc_policy *p, const Checksum *c)
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
    print_line(stdout, "model", "%s (SHA-256)", hash_text(arena, i->model_hash));
    if (is_right(c)) print_line(stdout, "checksum", "%08x, that of the file", c->stored);
    print_notes(i->notes);
}

static void json_flow(const nfcc_info *i)
{
    json_bool("flow", i->event_size != 0);
    if (!i->event_size) return;
    json_text("base", i->base);
    json_key("event", false);
    json_value(&i->event);
    json_values("contexts", i->contexts, i->n_contexts);
}

static void json_info(Arena *arena, const char *path, const nfcc_policy *p, const Checksum *c)
{
    const nfcc_info *i = nfcc_get_info(p);
    struct stat st;
    putchar('{');
    json_key("file", true);
    json_string(stdout, path);
    json_text("policy", i->name);
    json_flow(i);
    json_values("inputs", i->inputs, i->n_inputs);
    json_values("outputs", i->outputs, i->n_outputs);
    json_entries(i->entries);
    json_text("target", i->target);
    json_text("needs", needs_text(arena, i->cpu));
    json_text("compiler", i->compiler);
    json_count("abi", i->abi_version);
    if (!stat(path, &st)) json_count("bytes", (size_t)st.st_size);
    json_count("weights_bytes", i->weights_size);
    json_count("work_bytes", i->work_size);
    json_count("prepared_bytes", nfcc_prepared_size(p, 1));
    if (i->stack_size) json_count("stack_bytes", i->stack_size);
    json_text("model_sha256", hash_text(arena, i->model_hash));
    if (c->found) json_text("checksum", arena_format(arena, "%08x", c->stored));
    json_bool("checksum_right", is_right(c));
    json_text("notes", i->notes);
    printf("\n}\n");
}

int cmd_info(const Options *o)
{
    int code = DONE;
    const char *path = o->args[0];
    nfcc_policy *p = NULL;
    // One of the openblas backend can only be opened.
    if (nfcc_open(path, NFCC_OPEN_LOOK, &p)) p = open_policy(o->arena, path, &code);
    if (!p) return code;
    Checksum c = checksum_of(path);
    if (o->value[OPT_json])
        json_info(o->arena, path, p, &c);
    else
        print_info(o->arena, path, p, &c);
    nfcc_close(p);
    fflush(stdout);
    return is_right(&c) ? DONE : say_changed(path, &c);
}

// ---- selftest
static nfcc_status golden_rows(const nfcc_policy *p)
{
    size_t size = nfcc_selftest_size(p);
    void *memory = malloc(size + 1);
    nfcc_status status = memory ? nfcc_selftest(p, memory, size) : NFCC_MEMORY;
    free(memory);
    return status;
}

// What was damaged is not run. No checksum at all may be no policy at all: opening it says more.
static int selftest(Arena *arena, const char *path)
{
    int code;
    Checksum c = checksum_of(path);
    if ((c.found || is_object(path)) && !is_right(&c)) return say_changed(path, &c);
    if (is_object(path)) {
        printf("%s: the checksum is right; the program that it is linked into computes its golden rows\n", path);
        return DONE;
    }
    nfcc_policy *p = open_policy(arena, path, &code);
    if (!p && c.found) fprintf(stderr, "nfcc: note: %s: the checksum is right; no golden row was computed\n", path);
    if (!p) return code;
    bool own_bits = nfcc_get_info(p)->stack_size == 0; // OpenBLAS's
    nfcc_status status = c.found && !own_bits ? golden_rows(p) : NFCC_OK;
    nfcc_close(p);
    if (!c.found) return say_changed(path, &c);
    if (own_bits)
        printf("%s: the checksum is right; OpenBLAS has bits of its own, so no golden row was compared\n", path);
    else if (status == NFCC_OK)
        printf("%s: the checksum is right; the golden rows are equal, bit for bit\n", path);
    else
        fprintf(stderr, "nfcc: error: %s: the checksum is right, but %s\n", path, nfcc_status_text(status));
    return status == NFCC_OK ? DONE : WRONG_MODEL;
}

int cmd_selftest(const Options *o)
{
    int worst = DONE;
    for (int i = 0; i < o->n_args; i++) {
        int code = selftest(o->arena, o->args[i]);
        if (code > worst) worst = code;
    }
    return worst;
}
