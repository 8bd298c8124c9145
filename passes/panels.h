// Panels: a product with many zero weights (a masked net) as a few products of fewer inputs each.
#pragma once
#include "lane_env.h"

// Which nodes of the function under construction are panels, or were computed from one lane by lane.
typedef struct {
    bool *panel; // by node id
    int cap;
} Panels;

bool panels_any(const Function *f); // some product of f has panels
// Build node n in panels; false: it has none, the caller builds it whole.
bool panels_forward(Panels *panels, LaneEnv *env, const Node *n);
