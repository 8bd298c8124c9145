// What the text writer, the text reader and the verifier share: spelled words, a name table, and the rules of form as
// sentences, so that the reader can put a line number in front of them.
#pragma once
#include "ir.h"

enum {
    TEXT_INLINE = 16, // constants of at most this many elements may stand inline as operands
    TEXT_LIST = 64,   // constants of more elements go to the bin file
    MAX_LANES = 1 << 28
};

extern const char *const TEXT_STAGES[5];

// Words of the grammar that are no bare name: a value of such a name is written in quotes.
bool text_reserved(const char *word, size_t size);
bool text_bare_start(char c);
bool text_bare_more(char c);

// The rules of form. Each returns NULL, or a sentence in the arena. node_check looks at the node and its operands'
// types only; function_check also at ids, order, inputs and outputs, and sets *at to the offending node (or NULL);
// module_check at names, ports and stage of a module whose functions are right.
const char *type_check(Arena *arena, Type t);
const char *node_check(Arena *arena, const Node *n);
const char *function_check(Arena *arena, const Function *f, const Node **at);
const char *module_check(Arena *arena, const Module *m);

// Table from (name, number) to a pointer.
typedef struct NameTable NameTable;
NameTable *names_new(Arena *arena);
void **names_slot(NameTable *names, const char *name, int64_t number); // made, holding NULL, where absent
