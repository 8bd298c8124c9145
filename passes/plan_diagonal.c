// Planning, before steps: products of one column each whose inputs are neighbours (diagonal.c) become one,
//
//     y[p][c] = linear(x_c, w_c)[p]    ->    y = linear(x, w)      x[p][c] = x_c[p], w[c] = w_c
//
// in which every column has its own x: a product of diagonal matrices (plan.h). Such a node, which has more tokens than
// matrices, there is in the planner alone. Its x is windows, read where they lie.
#include "diagonal.h"
#include "planner.h"
#include "rewrite.h"

#include <stdlib.h>

// x_c side by side for each place.
static const Node *all_inputs(Builder *b, const Node *const *in, const Diagonal *d)
{
    int64_t each = d->places * d->inputs, n = d->columns * each;
    const Node **x = heap_array(d->columns, sizeof *x);
    int32_t *map = heap_array(n, sizeof *map);
    for (int64_t c = 0; c < d->columns; c++) x[c] = in[c]->in[0];
    for (int64_t i = 0; i < n; i++) {
        int64_t token = i / d->inputs, column = token % d->columns, place = token / d->columns;
        map[i] = (int32_t)(column * each + place * d->inputs + i % d->inputs);
    }
    Type type = type_make(T_F32, 3, (int64_t[]){d->places, d->columns, d->inputs});
    const Node *all = build_move(b, type, (int)d->columns, x, map);
    free(x);
    free(map);
    return all;
}

static const Node *all_weights(Builder *b, const Node *const *in, const Diagonal *d)
{
    const Node **w = heap_array(d->columns, sizeof *w);
    for (int64_t c = 0; c < d->columns; c++) w[c] = in[c]->in[1];
    const Node *all = build_concat(b, (int)d->columns, w, 0);
    free(w);
    return build_reshape(b, all, 3, (int64_t[]){d->columns, d->inputs, 1});
}

static const Node *rule(Builder *b, const Node *n, const Node *const *in, void *unused)
{
    (void)unused;
    Diagonal d;
    if (!diagonal_of(n, true, &d) || d.step != 1 || d.inputs < 2) return NULL;
    builder_origin(b, n->in[0]->origin);
    const Node *w = all_weights(b, in, &d), *y = build_linear(b, all_inputs(b, in, &d), w, NULL, NULL);
    return build_reshape(b, y, n->type.rank, n->type.dim);
}

const Function *with_diagonals(Context *cx, const Function *f) { return rewrite_function(cx, f, rule, NULL); }
