// The adjoints of a function's nodes while they are summed (adjoint.c): what grad.c's rules contribute to.
#pragma once
#include "lane_env.h"

typedef struct LayerSum LayerSum;

typedef struct {
    Builder *b;
    LayerSum *sums; // by node id of the function
    bool *depends;  // by node id: on an input that is differentiated by; others get nothing
    bool masked;    // of what is added now: a select, min or max may have set it to 0
} Adjoints;

// The adjoint of some lanes of a node: value has n lanes or one. NULL: nothing was added.
typedef struct {
    const Node *value;
    int64_t n;
    int64_t *lanes; // which lanes of the node, rising; to be freed
    bool masked;
} Adjoint;

Adjoints adjoints_new(Builder *b, int n_nodes); // of scratch memory
// value has n lanes or one; lane i belongs to targets[i], a canonical lane.
void adjoint_add_lanes(Adjoints *to, const LaneRef *targets, int64_t n, const Node *value);
// To all lanes of v, in order.
void adjoint_add(Adjoints *to, const Node *v, const Node *value);
bool adjoint_any(const Adjoints *of, const Node *n); // something was added
Adjoint adjoint_of(const Adjoints *of, const Node *n);
// The adjoint of the whole node in its shape: 0 where there is none.
const Node *adjoint_whole(Builder *b, const Adjoint *a, Type type);
bool adjoint_is_zero(const Node *v);
