// Module -> objects that are linked together. A large module is cut into parts, which threads optimise and compile,
// each in an LLVM context of its own: the other parts' functions are declarations there, and what was internal is
// hidden. Part 0 has all constants. How many parts there are and what is in them depends on the module alone, so the
// bytes do not depend on the machine.
#include "unit.h"

#include "base/parallel.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

// A part takes 100 ms or more; making one takes 15. Halves again and again, since cores come in even numbers.
enum { PART_INSTRUCTIONS = 4000 };

typedef struct {
    LLVMContextRef llvm;
    LLVMModuleRef module;
    LLVMTargetMachineRef machine;
    LLVMMemoryBufferRef object;
    char *problem; // first message of LLVM
    const char *stage;
    // of all parts
    const Gen *g;
    LLVMMemoryBufferRef bitcode;
    const int *owner; // by function
    int number;
} Share;

// ---- what is whose
static int instructions_of(Value fn)
{
    int n = 0;
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(fn); b; b = LLVMGetNextBasicBlock(b))
        for (Value i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i)) n++;
    return n;
}

static int least_of(const int64_t *load, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (load[i] < load[best]) best = i;
    return best;
}

// owner[i]: the part of the module's function number i. Returns how many parts there are.
static int share_out(Unit *u, bool one, int **owner)
{
    int64_t all = 0, load[MOST_OBJECTS] = {0};
    int n = 0, cap = 0;
    for (Value fn = LLVMGetFirstFunction(u->g.module); fn; fn = LLVMGetNextFunction(fn)) {
        int size = instructions_of(fn);
        ARENA_PUSH(u->g.cx->arena, *owner, n, cap, size);
        all += size;
    }
    int parts = 1;
    while (!one && parts < MOST_OBJECTS && all >= (int64_t)2 * parts * PART_INSTRUCTIONS) parts *= 2;
    for (int i = 0; i < n; i++) {
        int size = (*owner)[i], to = least_of(load, parts);
        load[to] += size;
        (*owner)[i] = to;
    }
    return parts;
}

// Parts find each other's functions and constants by name.
static void make_hidden(Unit *u, Value v, int *unnamed)
{
    size_t length;
    if (LLVMGetLinkage(v) != LLVMInternalLinkage && LLVMGetLinkage(v) != LLVMPrivateLinkage) return;
    LLVMGetValueName2(v, &length);
    if (!length) {
        const char *name = arena_format(u->g.cx->arena, "data_%d", ++*unnamed);
        LLVMSetValueName2(v, name, strlen(name));
    }
    LLVMSetLinkage(v, LLVMExternalLinkage);
    LLVMSetVisibility(v, LLVMHiddenVisibility);
}

static void make_all_hidden(Unit *u)
{
    int unnamed = 0;
    for (Value fn = LLVMGetFirstFunction(u->g.module); fn; fn = LLVMGetNextFunction(fn))
        if (LLVMGetFirstBasicBlock(fn)) make_hidden(u, fn, &unnamed);
    for (Value v = LLVMGetFirstGlobal(u->g.module); v; v = LLVMGetNextGlobal(v)) make_hidden(u, v, &unnamed);
}

// ---- a part's module
static void forget_body(Value fn)
{
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(fn); b; b = LLVMGetNextBasicBlock(b))
        for (Value i; (i = LLVMGetLastInstruction(b)); LLVMInstructionEraseFromParent(i))
            if (LLVMGetFirstUse(i)) LLVMReplaceAllUsesWith(i, LLVMGetPoison(LLVMTypeOf(i)));
    for (LLVMBasicBlockRef b; (b = LLVMGetFirstBasicBlock(fn));) LLVMDeleteBasicBlock(b);
}

static void forget_constants(LLVMModuleRef module)
{
    for (Value v = LLVMGetFirstGlobal(module), next; v; v = next) {
        next = LLVMGetNextGlobal(v);
        if (!LLVMGetInitializer(v)) continue;
        Value declared = LLVMAddGlobal(module, LLVMGlobalGetValueType(v), "");
        LLVMSetVisibility(declared, LLVMGetVisibility(v));
        LLVMReplaceAllUsesWith(v, declared);
        size_t length;
        const char *name = LLVMGetValueName2(v, &length);
        char copy[256];
        length = length < sizeof copy ? length : sizeof copy;
        memcpy(copy, name, length);
        LLVMDeleteGlobal(v);
        LLVMSetValueName2(declared, copy, length);
    }
}

static void keep_own(Share *p)
{
    int i = 0;
    for (Value fn = LLVMGetFirstFunction(p->module); fn; fn = LLVMGetNextFunction(fn), i++)
        if (p->owner[i] != p->number) forget_body(fn);
    if (p->number) forget_constants(p->module);
}

// ---- its object
static void remember(LLVMDiagnosticInfoRef info, void *user)
{
    Share *p = user;
    char *message = LLVMGetDiagInfoDescription(info);
    if (!p->problem && LLVMGetDiagInfoSeverity(info) <= LLVMDSWarning)
        p->problem = message;
    else
        LLVMDisposeMessage(message);
}

static bool optimise(Share *p)
{
    p->stage = "optimiser";
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    // No pass that widens, unrolls or recognises library calls: the code has its shape already. No licm: it would
    // hoist the spread weights of a whole product and spill them; what is worth hoisting was emitted outside.
    LLVMErrorRef error = LLVMRunPasses(p->module, "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg)",
                                       p->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error) return true;
    char *text = LLVMGetErrorMessage(error);
    p->problem = LLVMCreateMessage(text);
    LLVMDisposeErrorMessage(text);
    return false;
}

// Parts but the first are read from the whole module's bitcode.
static bool open_part(Share *p)
{
    if (!p->number) return true;
    p->stage = "reading a part";
    p->llvm = LLVMContextCreate();
    p->machine = machine_of(p->g);
    LLVMContextSetDiagnosticHandler(p->llvm, remember, p);
    return !LLVMParseBitcodeInContext2(p->llvm, p->bitcode, &p->module);
}

static void compile_part(void *user, int i)
{
    Share *p = (Share *)user + i;
    if (!open_part(p)) return;
    keep_own(p);
    if (!optimise(p)) return;
    p->stage = "code generation";
    char *message = NULL;
    if (!LLVMTargetMachineEmitToMemoryBuffer(p->machine, p->module, LLVMObjectFile, &message, &p->object)) return;
    if (p->problem) LLVMDisposeMessage(p->problem);
    p->problem = message;
}

static void close_part(Share *p)
{
    if (p->object) LLVMDisposeMemoryBuffer(p->object);
    if (p->problem) LLVMDisposeMessage(p->problem);
    if (!p->number) return; // the unit's own
    if (p->module) LLVMDisposeModule(p->module);
    LLVMDisposeTargetMachine(p->machine);
    LLVMContextDispose(p->llvm);
}

// ---- all of them
static bool verified(Unit *u)
{
    char *message = NULL;
    bool bad = LLVMVerifyModule(u->g.module, LLVMReturnStatusAction, &message);
    if (bad) internal_error(u, "malformed code", message);
    LLVMDisposeMessage(message);
    return !bad;
}

static Object *copy_of(Arena *arena, LLVMMemoryBufferRef buffer, Object *before)
{
    Object *o = ARENA_NEW(arena, Object);
    Bytes *b = ARENA_NEW(arena, Bytes);
    size_t size = LLVMGetBufferSize(buffer);
    *b = (Bytes){arena_copy(arena, LLVMGetBufferStart(buffer), size), size, NULL};
    o->bytes = b;
    if (before) before->also = o;
    return o;
}

Object *compile_parts(Unit *u, bool one)
{
    if (!verified(u)) return NULL;
    int *owner = NULL, n = share_out(u, one, &owner);
    Share part[MOST_OBJECTS];
    LLVMMemoryBufferRef bitcode = NULL;
    if (n > 1) {
        make_all_hidden(u);
        bitcode = LLVMWriteBitcodeToMemoryBuffer(u->g.module);
    }
    for (int i = 0; i < n; i++) part[i] = (Share){.g = &u->g, .bitcode = bitcode, .owner = owner, .number = i};
    part[0].llvm = u->g.llvm;
    part[0].module = u->g.module;
    part[0].machine = u->machine;
    LLVMContextSetDiagnosticHandler(u->g.llvm, remember, &part[0]);
    parallel_for(n, compile_part, part);
    Object *first = NULL, *last = NULL;
    for (int i = 0; i < n; i++) {
        if (!part[i].object || part[i].problem)
            internal_error(u, part[i].stage, part[i].problem ? part[i].problem : "no reason given");
        else
            last = copy_of(u->g.cx->arena, part[i].object, last);
        if (!first) first = last;
        close_part(&part[i]);
    }
    if (bitcode) LLVMDisposeMemoryBuffer(bitcode);
    return u->g.cx->diag->errors ? NULL : first;
}

const char *module_text(Unit *u)
{
    Share all = {.module = u->g.module, .machine = u->machine};
    if (!verified(u)) return NULL;
    LLVMContextSetDiagnosticHandler(u->g.llvm, remember, &all);
    if (!optimise(&all)) {
        internal_error(u, all.stage, all.problem);
        return NULL;
    }
    char *printed = LLVMPrintModuleToString(u->g.module);
    const char *copy = arena_string(u->g.cx->arena, printed);
    LLVMDisposeMessage(printed);
    return copy;
}
