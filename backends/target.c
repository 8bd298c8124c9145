// Targets: a triple and a CPU name become a level of instructions (targets.def). The level alone decides which
// instructions are used, AVX512_BF16's only for bf16 weights; `native` is the host's level, tuned for the host's CPU.
#include "target.h"

#include "abi.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    const char *triple, *name;
    int level; // LEVEL_*
    const char *tune;
} Cpu;

static const Cpu cpus[] = {
#define CPU(triple, name, level, tune) {triple, name, level, tune},
#include "targets.def"
#undef CPU
};
enum { CPUS = sizeof cpus / sizeof *cpus };

// The CPU name that stands for code for two levels.
static const char dispatch[] = "dispatch", dispatch_triple[] = "x86_64-linux-gnu";

// By level: what an instruction set brings.
static const TargetInfo levels[LEVELS] = {
    [LEVEL_AVX2] = {LEVEL_AVX2, "x86-64-v3", NULL, "x86_64-unknown-linux-gnu", "elf_x86_64", "x86_64-linux-gnu",
                    NFCC_CPU_AVX2_FMA, 8, 12, false, false},
    [LEVEL_AVX512] = {LEVEL_AVX512, "x86-64-v4", NULL, "x86_64-unknown-linux-gnu", "elf_x86_64", "x86_64-linux-gnu",
                      NFCC_CPU_AVX2_FMA | NFCC_CPU_AVX512, 16, 24, false, false},
    [LEVEL_NEON] = {LEVEL_NEON, "generic", NULL, "aarch64-unknown-linux-gnu", "aarch64linux", "aarch64-linux-gnu",
                    NFCC_CPU_NEON, 4, 24, false, false},
    [LEVEL_AVX512_BF16] = {LEVEL_AVX512, "x86-64-v4", NULL, "x86_64-unknown-linux-gnu", "elf_x86_64",
                           "x86_64-linux-gnu", NFCC_CPU_AVX2_FMA | NFCC_CPU_AVX512 | NFCC_CPU_AVX512_BF16, 16, 24, true,
                           false},
    [LEVEL_AMX_BF16] = {LEVEL_AVX512, "x86-64-v4", NULL, "x86_64-unknown-linux-gnu", "elf_x86_64", "x86_64-linux-gnu",
                        NFCC_CPU_AVX2_FMA | NFCC_CPU_AVX512 | NFCC_CPU_AVX512_BF16 | NFCC_CPU_AMX_BF16, 16, 24, true,
                        true},
};

static const char *host_triple(void)
{
#if defined(__x86_64__)
    return "x86_64-linux-gnu";
#elif defined(__aarch64__)
    return "aarch64-linux-gnu";
#else
    return "";
#endif
}

// LLVM's text is "+avx2,+fma,-sse4a,...".
static bool has_feature(const char *features, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = features; (at = strstr(at, name)); at += n)
        if (at > features && at[-1] == '+' && (at[n] == ',' || !at[n])) return true;
    return false;
}

static bool has_features(const char *const *names)
{
    char *features = LLVMGetHostCPUFeatures();
    bool all = true;
    for (; *names; names++) all = all && has_feature(features, *names);
    LLVMDisposeMessage(features);
    return all;
}

#if defined(__linux__) && defined(__x86_64__)
bool tiles_permitted(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const char *const amx[] = {"amx-tile", "amx-bf16", NULL};
    return has_features(amx) && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
bool tiles_permitted(void) { return false; }
#endif

static bool host_has(int level)
{
    static const char *const v3[] = {"avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe", NULL};
    static const char *const v4[] = {"avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512cd", NULL};
    static const char *const bf16[] = {"avx512bf16", NULL};
    bool arm = !strcmp(host_triple(), "aarch64-linux-gnu");
    if (level == LEVEL_NEON) return arm;
    if (arm || !has_features(v3)) return false;
    if (level >= LEVEL_AVX512_BF16 && !has_features(bf16)) return false;
    return level == LEVEL_AVX2 || (has_features(v4) && (level != LEVEL_AMX_BF16 || tiles_permitted()));
}

static const Cpu *cpu_find(const char *triple, const char *name)
{
    for (int i = 0; i < CPUS; i++)
        if (!strcmp(cpus[i].triple, triple) && (!name || !strcmp(cpus[i].name, name))) return &cpus[i];
    return NULL;
}

static const char *known_triples(Context *cx)
{
    const char *list = NULL;
    for (int i = 0; i < CPUS; i++)
        if (!i || strcmp(cpus[i].triple, cpus[i - 1].triple))
            list = list ? arena_format(cx->arena, "%s, %s", list, cpus[i].triple) : cpus[i].triple;
    return list;
}

static const char *known_cpus(Context *cx, const char *triple)
{
    const char *list = strcmp(triple, dispatch_triple) ? "native" : "native, dispatch";
    for (int i = 0; i < CPUS; i++)
        if (!strcmp(cpus[i].triple, triple)) list = arena_format(cx->arena, "%s, %s", list, cpus[i].name);
    return list;
}

static bool is_dispatch(const Target *target)
{
    return !strcmp(target->cpu, dispatch) && !strcmp(target->triple, dispatch_triple);
}

static const char *unknown_cpu(Context *cx, const Target *target)
{
    for (int i = 0; i < CPUS; i++)
        if (!strcmp(cpus[i].name, target->cpu))
            return arena_format(cx->arena, "--cpu %s is of %s, not of %s: --target %s", target->cpu, cpus[i].triple,
                                target->triple, cpus[i].triple);
    return arena_format(cx->arena, "unknown --cpu '%.100s' for %s; known: %s", target->cpu, target->triple,
                        known_cpus(cx, target->triple));
}

const char *target_resolve(Context *cx, Target *target)
{
    if (!target->triple) target->triple = *host_triple() ? host_triple() : cpus[0].triple;
    const Cpu *first = cpu_find(target->triple, NULL);
    if (!first) return arena_format(cx->arena, "unknown target '%.100s'; known: %s", target->triple, known_triples(cx));
    if (!target->cpu) target->cpu = first->name;
    if (!strcmp(target->cpu, "native")) {
        if (strcmp(target->triple, host_triple()))
            return arena_format(cx->arena, "--cpu native is this machine, which is no %s; known: %s", target->triple,
                                known_cpus(cx, target->triple));
        if (!host_has(first->level))
            return arena_format(cx->arena,
                                "this machine has less than %s; choose a --cpu for the machine that will run it",
                                first->name);
        return NULL;
    }
    return is_dispatch(target) || cpu_find(target->triple, target->cpu) ? NULL : unknown_cpu(cx, target);
}

static int native_level(const Target *target)
{
    static const int better[] = {LEVEL_AMX_BF16, LEVEL_AVX512_BF16, LEVEL_AVX512};
    int level = cpu_find(target->triple, NULL)->level;
    for (size_t i = 0; level == LEVEL_AVX2 && i < sizeof better / sizeof *better; i++)
        if (host_has(better[i])) level = better[i];
    return level;
}

static int used_level(int level, WeightType type, bool tiled)
{
    if (level < LEVEL_AVX512_BF16) return level;
    if (type != WEIGHTS_BF16) return LEVEL_AVX512;
    return tiled ? level : LEVEL_AVX512_BF16;
}

static const Cpu *cpu_of(const Target *target)
{
    return cpu_find(target->triple, is_dispatch(target) ? NULL : target->cpu);
}

static int whole_level(const Target *target)
{
    const Cpu *cpu = cpu_of(target);
    return cpu ? cpu->level : native_level(target);
}

TargetInfo target_info(const Target *target, WeightType type, bool tiled)
{
    const Cpu *cpu = cpu_of(target);
    TargetInfo info = levels[used_level(whole_level(target), type, tiled)];
    info.tune = cpu ? cpu->tune : "native";
    return info;
}

bool target_other(const Target *target, WeightType type, TargetInfo *other)
{
    if (!is_dispatch(target)) return false;
    *other = levels[used_level(LEVEL_AVX512_BF16, type, false)];
    other->tune = other->isa;
    return true;
}

bool target_tiles(const Target *target) { return whole_level(target) == LEVEL_AMX_BF16; }

bool target_runs_here(const Target *target, WeightType type, bool tiled)
{
    return !strcmp(target->triple, host_triple()) && host_has(used_level(whole_level(target), type, tiled));
}

const char *compiler_name(Context *cx)
{
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);
    return arena_format(cx->arena, "nfcc " NFCC_VERSION ", LLVM %u.%u.%u", major, minor, patch);
}
