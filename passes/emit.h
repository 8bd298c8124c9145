// What the emission of solved steps shares: lanes of nodes of the solved function as values of the one that is built
// (emit_forward.c, emit_inverse.c, emit_system.c, emit_log_det.c).
#pragma once
#include "solve.h"

#include <stdlib.h>

static inline LaneRef *emit_refs(int64_t n)
{
    LaneRef *refs = heap_array(n, sizeof *refs);
    return refs;
}

// Operand k of n, and n itself, at the given output lanes.
const Node *emit_operand_at(LaneEnv *env, const Node *n, int k, const int64_t *lanes, int64_t count);
const Node *emit_result_at(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count);
