// Planning, before steps: products of neighbouring inputs (diagonal.c) become one,
//
//     y[p][g] = linear(x_g, w_g)[p]    ->    y = linear(x, w)      x[p][g] = x_g[p], w[g] = w_g
//
// in which the columns of every group have an x of their own: a product of block diagonal matrices (plan.h). Such a
// node, which has more tokens than matrices, there is in the planner alone. Its x is windows, read where they lie.
#include "diagonal.h"
#include "planner.h"
#include "rewrite.h"

#include <stdlib.h>

// x_g side by side for each place.
static const Node *all_inputs(Builder *b, const Node *const *in, const Diagonal *d)
{
    int64_t each = d->places * d->inputs, n = d->groups * each;
    const Node **x = heap_array(d->groups, sizeof *x);
    int32_t *map = heap_array(n, sizeof *map);
    for (int64_t g = 0; g < d->groups; g++) x[g] = in[g]->in[0];
    for (int64_t i = 0; i < n; i++) {
        int64_t token = i / d->inputs, group = token % d->groups, place = token / d->groups;
        map[i] = (int32_t)(group * each + place * d->inputs + i % d->inputs);
    }
    Type type = type_make(T_F32, 3, (int64_t[]){d->places, d->groups, d->inputs});
    const Node *all = build_move(b, type, (int)d->groups, x, map);
    free(x);
    free(map);
    return all;
}

static const Node *all_weights(Builder *b, const Node *const *in, const Diagonal *d)
{
    const Node **w = heap_array(d->groups, sizeof *w);
    for (int64_t g = 0; g < d->groups; g++) w[g] = in[g]->in[1];
    const Node *all = build_concat(b, (int)d->groups, w, 0);
    free(w);
    return build_reshape(b, all, 3, (int64_t[]){d->groups, d->inputs, d->columns / d->groups});
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *unused)
{
    (void)unused;
    Diagonal d;
    if (!diagonal_of(n, true, &d) || d.step != d.columns / d.groups) return NULL;
    builder_origin(b, n->in[0]->origin);
    const Node *w = all_weights(b, in, &d), *y = build_linear(b, all_inputs(b, in, &d), w, NULL, NULL);
    return build_reshape(b, y, n->type.rank, n->type.dim);
}

const Function *with_diagonals(Context *cx, const Function *f) { return rewrite_function(cx, f, rule, NULL); }
