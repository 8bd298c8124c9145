// A module under construction: the steps of a Plan, their functions, their lists, the walk. Internal to backends/llvm.
#pragma once
#include "llvm.h"

#include "abi.h"

#include <llvm-c/TargetMachine.h>

// Rows of a tile, by slot of nfcc_abi_program.code.
static const int tiles[NFCC_TILES] = {1, 16, 32, 64};
enum { SLOT_ONE, SLOT_16, SLOT_32, SLOT_64 };
enum { MOST_BODY = 4096 }; // bytes of a round

// The words of a key that decide all its code, that of T > 1, that of T = 1.
typedef enum { KEY_ALL, KEY_ROWS, KEY_ONE, KEY_PARTS } KeyPart;

typedef struct {
    StepKey key;
    const Step *step;
    const MapStep *after; // Gen.after and taken
    bool taken;
    int first, one;          // the first codes of equal words for T > 1 and for T = 1
    bool large;              // of a first: some step has so many weights that wider blocks of rows pay
    Value fn[2][NFCC_TILES]; // by level
} Code;

typedef struct {
    int code;
    const Arg *args;
} Use;

// `length` steps from use `first` on, `rounds` times; in each round every arg is larger by the same.
typedef struct {
    int first, length, rounds;
} Part;

// Of a product and all that are equal but for their counts.
typedef struct {
    int codes;            // how many different counts they have
    const MapStep *after; // the map that their code can do behind it: the first that follows one of them
    bool applies;         // this product is followed by that map
} Twins;

typedef struct {
    Gen g;
    LLVMTargetMachineRef machine;
    Code *codes;
    int n_codes, cap_codes;
    int *buckets[KEY_PARTS]; // hash of part of a key -> code + 1
    int n_buckets;
    Use *uses[PROGRAM_COUNT]; // the steps of each program, repeats unrolled
    int n_uses[PROGRAM_COUNT];
    Part *parts[PROGRAM_COUNT]; // how the list has them; NULL: all in one
    int n_parts[PROGRAM_COUNT], cap_parts[PROGRAM_COUNT];
    int code_bytes;   // of a code's number: 1, 2 or 4
    int length_bytes; // of a step's length in bytes: 1 or 2
    bool has_apart;   // see as_emitted
    int level;        // under construction
    Value steps[PROGRAM_COUNT], code_table[NFCC_TILES], walk, rounds;
    LLVMTypeRef walk_type;
    Value program[2][PROGRAM_COUNT][NFCC_TILES];
} Unit;

// ---- which steps are distinct, and how the lists have them (steps.c, twins.c, turns.c, rounds.c)

void collect_steps(Unit *u);
uint32_t words_hash(const uint32_t *words, int n);
// By product, in the order in which the programs have them.
const Twins *find_twins(Unit *u, int steps);
// As code is made of it: where a policy has products of several tokens with weights of their own, that code serves the
// products of one token.
Step as_emitted(const Unit *u, const Step *s);
// By product of the program that has a turn (gemm_turns).
const Turn *find_turns(const Gen *g, const Program *p, int steps);
void collect_parts(Unit *u, int id);

// ---- one function per distinct step and shape of code (functions.c)

Value function_new(Gen *g, const char *name, LLVMTypeRef type);
const char *level_suffix(const Gen *g);
// The slot whose code serves a kind of step at `slot`.
int shape_slot(const Gen *g, StepKind kind, bool large, int slot);
bool takes_few(const Gen *g, const Step *s);
void emit_steps(Unit *u);

// ---- lists, tables and the loops that walk them (walk.c)

Value distance(Gen *g, Value to, Value from);
Value text_new(Gen *g, const void *data, size_t size);
int uses_bytes(const Unit *u, const Use *uses, int n); // of a list
void emit_program_steps(Unit *u, int id);
void emit_code_table(Unit *u, int t);
void emit_walk(Unit *u);
void emit_rounds(Unit *u);
void emit_program(Unit *u, int id, int t);

// ---- the module as text or as objects (module.c, parts.c)

LLVMTargetMachineRef machine_of(const Gen *g); // NULL after a reported error
void internal_error(Unit *u, const char *what, const char *message);
const char *module_text(Unit *u);
Object *compile_parts(Unit *u, bool one); // several objects, or one
