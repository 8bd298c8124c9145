// What the files of merge-siblings share: weights that stand side by side in all functions, bundles, who sits where.
#pragma once
#include "passes.h"

// ---- weights (siblings_weights.c)

// Matrices that are merged, in this order, in all functions.
typedef struct {
    int n;
    const Node **w;
    void *joined;
} Tuple;

typedef struct {
    const Node *w; // NULL: free
    int tuple, index;
} Known;

// What all functions of a module share.
typedef struct {
    Context *cx;
    Tuple *tuples;
    int n_tuples, cap_tuples;
    Known *known; // open addressing, by content
    size_t n_known, known_size;
} Weights;

// Where these weights are merged already; w NULL: nowhere.
Known weights_known(const Weights *all, const Node *w);
// The matrices as one constant [G, K, N]: a tuple's, or some of it that lie together; new ones become a tuple. NULL:
// other functions merge them otherwise.
const Node *weights_join(Weights *all, const Node *const *w, int n);

// ---- bundles

typedef struct {
    int n, filled;
    const Node **member; // by part
    bool seed, good;
    const Node *weights; // products: their data, joined; NULL: they do not fit
} Bundle;

typedef struct {
    int bundle, part; // bundle -1: none
} Seat;

// The bundles of one function.
typedef struct {
    Context *cx;
    const Function *f;
    Weights *weights;
    Seat *seat; // by node id
    Bundle *bundles;
    int n_bundles, cap_bundles;
} Siblings;

static inline bool is_product(const Node *n) { return n->op == OP_linear || n->op == OP_linear_t; }

// Seats for every node, and which bundles are good: all parts there, and worth it; nodes of others have none
// (siblings_find.c). False: no bundle is good.
bool siblings_find(Siblings *s);
// The function with every bundle as one node (siblings_build.c).
const Function *siblings_build(const Siblings *s);
