// merge-siblings: nets of equal shape that start from one value become one net of G tokens, each with weights of its
// own.
//
//     a_g = linear(x, W_g, b_g)    ->    A = linear(x, [W_0 W_1 ...], [b_0 b_1 ...])           A[g] = a_g
//     c_g = op(a_g, ...)           ->    C = op(A, ...)                                        C[g] = c_g
//
// The s and t nets of a coupling, q, k and v, the contexts' products of all blocks: half of the steps or fewer, and no
// other arithmetic (plan.h: apart). siblings_find.c says which nodes, siblings_build.c what they become,
// siblings_weights.c how their weights lie.
#include "pipeline.h"
#include "siblings.h"

#include <string.h>

static const Function *merge_function(Weights *weights, const Function *f)
{
    Siblings s = {.cx = weights->cx, .f = f, .weights = weights};
    return siblings_find(&s) ? siblings_build(&s) : f;
}

// `late` first: its products, of all blocks, are the longest tuples.
Module *pass_merge_siblings(const Module *m, Context *cx)
{
    Weights weights = {.cx = cx};
    const Function **functions = ARENA_ARRAY(scratch_arena(cx), const Function *, m->n_functions + 1);
    for (int late = 1; late >= 0; late--) // 1: it alone
        for (int i = 0; i < m->n_functions; i++)
            if ((strcmp(m->functions[i]->name, "late") == 0) == late)
                functions[i] = merge_function(&weights, m->functions[i]);
    return module_new(cx, STAGE_FUSED, m->n_functions, functions, m);
}
