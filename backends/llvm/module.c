// Plan -> object: one function per distinct step and shape of code, one list of steps per program, and the descriptor.
//
//     descriptor   the bytes of descriptor.c with code offsets filled in; the weights join it in object.c
//     steps        per program, for all tiles: for each step the number of its code and its args, packed
//     codes        per shape of code: functions by number, as distances from here
//     lengths      bytes of a step by number of its code, and whether several rows are several calls
//     walk         the one loop that goes through the steps
//     rounds       where a program has repeats: walks from part to part of its list
//
// Everything refers to everything else by distances within the file, so it needs no relocations when loaded.
#include "unit.h"

#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Weights of more bytes than IN_CACHE do not stay in a core's own cache. AHEAD: a group of 128 outputs of 512 inputs,
// whose every row the first block reads; measured best on PushT at 16, 32 and 64 rows. Half of it for 16 bits. NEAR: no
// args are spent on saying where so few weights go on, since they come from L3. FEW_LOADS: 5 MB of weights still gain
// by it, 17 MB lose.
enum { IN_CACHE = 1 << 20, AHEAD = 256 << 10, NEAR = 4 << 20, FEW_LOADS = 8 << 20 };

// ---- the descriptor
enum { MOST_PARTS = 4 * PROGRAM_COUNT + 4 };

typedef struct {
    const unsigned char *bytes;
    size_t at; // of the bytes: done
    LLVMTypeRef type[MOST_PARTS];
    Value value[MOST_PARTS];
    int n;
} Parts;

static void add_part(Parts *p, Value value)
{
    p->type[p->n] = LLVMTypeOf(value);
    p->value[p->n++] = value;
}

static void add_bytes_to(Gen *g, Parts *p, size_t end)
{
    if (end > p->at) add_part(p, text_new(g, p->bytes + p->at, end - p->at));
    p->at = end;
}

static WeightType stored_type(const Gen *g) { return layout_short(g->layout) ? g->plan->weight_type : WEIGHTS_F32; }

// The offsets of a program's code, at `at` of the descriptor.
static void add_code(Gen *g, Parts *p, size_t at, const Value *program, Value global)
{
    Value code[NFCC_TILES];
    add_bytes_to(g, p, at);
    for (int t = 0; t < NFCC_TILES; t++) code[t] = program[t] ? distance(g, program[t], global) : word_i32(g, 0);
    add_part(p, LLVMConstArray2(g->i32, code, NFCC_TILES));
    p->at += sizeof(int32_t) * NFCC_TILES;
}

// Its bytes in pieces: code offsets are distances, the rest is text. The pieces' types must be known before there is a
// global that distances can be counted from; a placeholder stands in for it until then.
static void emit_descriptor(Unit *u, const Target *target, const char *symbol, bool with_weights)
{
    Gen *g = &u->g;
    uint32_t cost[NFCC_COSTS];
    CodeFacts facts = {.type = stored_type(g), .weights = layout_size(g->layout), .cost = cost};
    tile_costs(g, cost, &facts.cost_two);
    facts.compact = g->compact;
    facts.n_compact = g->n_compact;
    facts.compact_programs = g->compact_programs;
    facts.shares_prep = g->gemm == gemm_emit; // another backend's products know one layout only
    const Bytes *d = descriptor_bytes(g->cx, g->plan, target, &facts);
    nfcc_model_header h;
    memcpy(&h, d->data, sizeof h);

    Parts p = {.bytes = d->data};
    Value start = LLVMAddGlobal(g->module, g->i8, "");
    for (size_t i = 0; i < PROGRAM_COUNT; i++)
        add_code(g, &p, offsetof(nfcc_model_header, programs) + i * sizeof(nfcc_abi_program), u->program[0][i], start);
    for (size_t i = 0; i < PROGRAM_COUNT && g->n_levels > 1; i++)
        add_code(g, &p, h.other_code + i * sizeof(int32_t) * NFCC_TILES, u->program[1][i], start);
    add_bytes_to(g, &p, d->size);
    if (with_weights) add_part(&p, text_new(g, layout_weights(g), facts.weights));
    if (with_weights) add_part(&p, LLVMConstNull(LLVMArrayType2(g->i8, WEIGHTS_PAD)));

    Value global = LLVMAddGlobal(g->module, LLVMStructTypeInContext(g->llvm, p.type, (unsigned)p.n, true), symbol);
    LLVMSetInitializer(global, LLVMConstStructInContext(g->llvm, p.value, (unsigned)p.n, true));
    LLVMReplaceAllUsesWith(start, global);
    LLVMDeleteGlobal(start);
    LLVMSetGlobalConstant(global, true);
    LLVMSetAlignment(global, 64);
    LLVMSetSection(global, DESCRIPTOR_SECTION);
    LLVMSetVisibility(global, LLVMProtectedVisibility);
}

// ---- LLVM's objects
static void fatal(const char *reason)
{
    fprintf(stderr, "nfcc: internal error in LLVM: %s\n", reason);
    exit(4);
}

static void initialize_targets(void)
{
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
}

static void set_types(Gen *g)
{
    g->f32 = LLVMFloatTypeInContext(g->llvm);
    g->i8 = LLVMInt8TypeInContext(g->llvm);
    g->i32 = LLVMInt32TypeInContext(g->llvm);
    g->i64 = LLVMInt64TypeInContext(g->llvm);
    g->ptr = LLVMPointerTypeInContext(g->llvm, 0);
    g->none = LLVMVoidTypeInContext(g->llvm);
    LLVMTypeRef params[] = {g->ptr, g->ptr, g->ptr, g->ptr, g->i64}, code[] = {g->ptr, g->ptr, g->ptr, g->i64};
    g->step_type = LLVMFunctionType(g->none, params, 5, false);
    g->code_type = LLVMFunctionType(g->none, code, 4, false);
}

static const char *tune_name(Context *cx, const char *tune)
{
    if (strcmp(tune, "native")) return tune;
    char *name = LLVMGetHostCPUName();
    const char *copy = arena_string(cx->arena, name);
    LLVMDisposeMessage(name);
    return copy;
}

LLVMTargetMachineRef machine_of(const Gen *g)
{
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(g->info.llvm, &target, &message)) {
        diag_error(g->cx, NULL, "use an LLVM that was built for it", "LLVM cannot make code for %s: %s", g->info.llvm,
                   message);
        LLVMDisposeMessage(message);
        return NULL;
    }
    return LLVMCreateTargetMachine(target, g->info.llvm, g->info.isa, "", LLVMCodeGenLevelDefault, LLVMRelocPIC,
                                   LLVMCodeModelSmall);
}

static bool unit_open(Unit *u)
{
    Gen *g = &u->g;
    initialize_targets();
    u->machine = machine_of(g);
    if (!u->machine) return false;
    g->llvm = LLVMContextCreate();
    g->module = LLVMModuleCreateWithNameInContext(g->plan->name ? g->plan->name : "policy", g->llvm);
    LLVMSetTarget(g->module, g->info.llvm);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(u->machine);
    LLVMSetModuleDataLayout(g->module, layout);
    LLVMDisposeTargetData(layout);
    g->b = LLVMCreateBuilderInContext(g->llvm);
    set_types(g);
    return true;
}

static void unit_close(Unit *u)
{
    LLVMDisposeBuilder(u->g.b);
    LLVMDisposeModule(u->g.module);
    LLVMContextDispose(u->g.llvm);
    LLVMDisposeTargetMachine(u->machine);
}

void internal_error(Unit *u, const char *what, const char *message)
{
    diag_error(u->g.cx, NULL, "this is a bug of nfcc; please report it with the model", "internal error: %s: %s", what,
               message);
}

static void emit_level(Unit *u, int level)
{
    Gen *g = &u->g;
    u->level = level;
    g->info = g->level[level];
    g->width = g->info.width;
    emit_steps(u);
    for (int t = 0; t < NFCC_TILES; t++)
        if (shape_slot(g, STEP_GEMM, true, t) >= 0) emit_code_table(u, t);
    bool alone = encodes_by_rows(g);
    for (int i = 0; i < PROGRAM_COUNT; i++)
        for (int t = 0; t < NFCC_TILES; t++) {
            bool has = shape_slot(g, STEP_GEMM, true, t) >= 0 && !(alone && i == PROGRAM_ENCODE && t > SLOT_ONE);
            if (g->plan->programs[i].exists && has) emit_program(u, i, t);
        }
}

static void emit_all(Unit *u, const Target *target, const char *symbol, bool with_weights)
{
    collect_steps(u);
    bool parts = false;
    emit_walk(u);
    for (int i = 0; i < PROGRAM_COUNT; i++) parts = parts || u->n_parts[i];
    if (parts) emit_rounds(u);
    for (int i = 0; i < PROGRAM_COUNT; i++)
        if (u->g.plan->programs[i].exists) emit_program_steps(u, i);
    for (int i = 0; i < u->g.n_levels; i++) emit_level(u, i);
    emit_descriptor(u, target, symbol, with_weights);
}

typedef void GemmEmit(Gen *g, const GemmStep *s);

// The object, or (ll) the module as text, which holds its weights itself.
static const Object *emit_module(Context *cx, const Plan *plan, const Target *target, const char *symbol,
                                 GemmEmit *gemm, bool one, const char **ll)
{
    Unit u = {.g = {.cx = cx, .plan = plan, .gemm = gemm}};
    u.g.layout = layout_of(&u.g);
    u.g.info = target_info(target, stored_type(&u.g), plan->tiled);
    u.g.width = u.g.info.width;
    u.g.info.tune = tune_name(cx, u.g.info.tune);
    u.g.level[0] = u.g.info;
    u.g.n_levels = target_other(target, stored_type(&u.g), &u.g.level[1]) ? 2 : 1;
    u.g.turns = layout_size(u.g.layout) > NEAR;
    u.g.few_loads = layout_size(u.g.layout) <= FEW_LOADS;
    if (layout_size(u.g.layout) > IN_CACHE) u.g.ahead = layout_short(u.g.layout) ? AHEAD / 2 : AHEAD;
    compact_choose(&u.g);
    if (!unit_open(&u)) return NULL;
    emit_all(&u, target, symbol, ll != NULL);
    Object *object = ll ? NULL : compile_parts(&u, one);
    if (ll) *ll = module_text(&u);
    if (object) object = object_with_weights(cx, object, one, layout_weights(&u.g), layout_size(u.g.layout));
    unit_close(&u);
    return object;
}

enum { MOST_WEIGHTS = 480000000 }; // their bytes are offsets of 31 bits, with room for code and tables

const Object *llvm_emit_with(Context *cx, const Plan *plan, const Target *target, const char *symbol, bool one,
                             const char **ll, GemmEmit *gemm)
{
    if (plan->weight_lanes > MOST_WEIGHTS) {
        diag_error(cx, NULL, "split the model", "%llu weights: one file holds at most %d million",
                   (unsigned long long)plan->weight_lanes, MOST_WEIGHTS / 1000000);
        return NULL;
    }
    LLVMInstallFatalErrorHandler(fatal);
    if (ll) emit_module(cx, plan, target, symbol, gemm, one, ll);
    const Object *object = ll && !*ll ? NULL : emit_module(cx, plan, target, symbol, gemm, one, NULL);
    LLVMResetFatalErrorHandler();
    return object;
}

const Object *llvm_emit(Context *cx, const Plan *plan, const Target *target, const char *symbol, bool one,
                        const char **ll)
{
    return llvm_emit_with(cx, plan, target, symbol, one, ll, gemm_emit);
}
