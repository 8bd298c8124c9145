// Scopes of names, as the execution of graphs sees them (onnx_graph.c).
#pragma once
#include "onnx_import.h"

typedef struct {
    const char *name;
    Value value;
} Binding;

struct Scope {
    Scope *parent; // whose names are visible here; NULL for the model's graph and for a function's body
    int depth;
    uint64_t key; // of this execution of the graph
    Binding *table;
    size_t n, cap;
    Onnx__NodeProto *const *nodes;
    size_t n_nodes;
    const Onnx__FunctionProto *function; // whose body this is, or NULL
    const Call *caller;                  // of the function
};

bool scope_bind(Arena *arena, Scope *s, const char *name, Value value); // false: the name is taken
Value *scope_find(Scope *s, const char *name);                          // here or around; NULL: nowhere
// What is recorded of a value, or of a node's decision (under ""); made where it is not there.
Record *record_make(Arena *arena, Records *r, uint64_t key, const char *name);
const Record *record_find(const Records *r, uint64_t key, const char *name); // or NULL; also of r NULL
