// A function under construction, as build.c and build_move.c see it.
#pragma once
#include "ir.h"

struct Builder {
    Context *cx;
    const char *name;
    Arena *work; // of the lists and tables below, which go when the function is finished
    Node **nodes;
    uint64_t *hashes; // of nodes
    int n, cap, cap_hashes;
    const Node **inputs;
    int n_inputs, cap_inputs;
    Output *outputs;
    int n_outputs, cap_outputs;
    const Origin *origin;
    int *table; // open addressing: node number + 1
    size_t table_size;
    int *slots; // of moves under construction, by node id: number of the source + 1; all 0 between them
    int n_slots;
    Node draft; // the node under construction; its operands are the caller's
};

// A broken call is a bug of the compiler, never of the model: importers check first.
_Noreturn void builder_bug(const Builder *b, const char *what, const Node *n);
// The draft of a node, which builder_add copies in, or finds where there is an equal one already.
Node *builder_node(Builder *b, Op op, Type type, int n_in, const Node *const *in);
const Node *builder_add(Builder *b, const Node *n);
// The same, or its value where all operands are constants.
const Node *builder_fold(Builder *b, Node *n);
bool node_folds(const Node *n);
