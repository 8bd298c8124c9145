// Small systems of equations whose matrices are computed: Gaussian elimination written as nodes, m systems of size k side
// by side. Of what is left of a column the largest number is the pivot:
//
//   pick = the first row with |a| = max |a|     p = its row     rows that stay: pick ? the first row : their own
//   a' = a - (column / pivot) p                 |det| = product of the pivots
//
// The pivot's row comes out as a sum of selects, so no instruction depends on the data, and bits are those of the ops.
#include "builder.h"

typedef struct {
    Builder *b;
    const Node *a, *x;      // what is left: [m, n, n] and its right sides [m, n, r], or NULL
    const Node *row, *side; // of the last pivot: [m, 1, n] and [m, 1, r]
    const Node *sign;       // of the exchanges so far: [m, 1]
} Elimination;

static const Node *shaped(Builder *b, const Node *x, int64_t i, int64_t j, int64_t k)
{
    return build_reshape(b, x, 3, (int64_t[]){i, j, k});
}

// [m, n] of the column's lanes [m, n]: is it the pivot's?
static const Node *pick_pivot(Builder *b, const Node *column, int64_t m, int64_t n)
{
    double rank[MOST_SOLVED];
    for (int64_t i = 0; i < n; i++) rank[i] = (double)(n - i);
    const Node *size = build_unary(b, OP_abs, column), *ranks = build_reals(b, type_vector(n), rank);
    const Node *most = build_reshape(b, build_reduce(b, OP_reduce_max, size), 2, (int64_t[]){m, 1});
    const Node *zero = build_scalar(b, 0), *score = build_select(b, build_binary(b, OP_le, most, size), ranks, zero);
    const Node *best = build_reshape(b, build_reduce(b, OP_reduce_max, score), 2, (int64_t[]){m, 1});
    return build_binary(b, OP_le, best, score);
}

// The picked row of x [m, n, w]: [m, 1, w].
static const Node *picked(Builder *b, const Node *pick, const Node *x)
{
    int64_t m = x->type.dim[0], n = x->type.dim[1];
    const Node *zero = build_scalar(b, 0), *row = build_select(b, shaped(b, pick, m, n, 1), x, zero);
    return shaped(b, build_reduce(b, OP_reduce_sum, build_swap_last(b, row)), m, 1, type_last(x->type));
}

// x without its picked row, which the first one takes the place of: [m, n - 1, w].
static const Node *without(Builder *b, const Node *pick, const Node *x)
{
    int64_t m = x->type.dim[0], n = x->type.dim[1] - 1;
    const Node *where = shaped(b, build_slice(b, pick, 1, 1, n, 1), m, n, 1);
    const Node *rest = build_slice(b, x, 1, 1, n, 1);
    return build_select(b, where, build_slice(b, x, 1, 0, 1, 1), rest);
}

static const Node *reduced(Builder *b, const Node *stays, const Node *factor, const Node *row)
{
    return build_binary(b, OP_sub, stays, build_binary(b, OP_mul, factor, row));
}

// One column: [m, n, n] becomes [m, n - 1, n - 1].
static void eliminate_column(Elimination *e)
{
    Builder *b = e->b;
    int64_t m = e->a->type.dim[0], n = type_last(e->a->type);
    const Node *pick = pick_pivot(b, build_reshape(b, build_slice(b, e->a, 2, 0, 1, 1), 2, (int64_t[]){m, n}), m, n);
    e->row = picked(b, pick, e->a);
    if (e->x) e->side = picked(b, pick, e->x);
    const Node *kept = build_slice(b, pick, 1, 0, 1, 1);
    const Node *minus = build_scalar(b, -1), *sign = build_select(b, kept, build_scalar(b, 1), minus);
    e->sign = build_binary(b, OP_mul, e->sign, sign);
    if (n == 1) return;
    const Node *a = without(b, pick, e->a);
    const Node *pivot = build_slice(b, e->row, 2, 0, 1, 1);
    const Node *factor = build_binary(b, OP_div, build_slice(b, a, 2, 0, 1, 1), pivot);
    const Node *row = build_slice(b, e->row, 2, 1, n - 1, 1);
    e->a = reduced(b, build_slice(b, a, 2, 1, n - 1, 1), factor, row);
    if (e->x) e->x = reduced(b, without(b, pick, e->x), factor, e->side);
}

static Elimination elimination(Builder *b, const Node *a, const Node *x)
{
    int64_t k = a->type.dim[1];
    if (a->type.rank != 3 || a->type.dim[2] != k || k < 1 || k > MOST_SOLVED) builder_bug(b, "no small squares", a);
    const Node *sign = build_broadcast(b, build_scalar(b, 1), 2, (int64_t[]){a->type.dim[0], 1});
    return (Elimination){.b = b, .a = a, .x = x, .sign = sign};
}

const Node *build_pivots(Builder *b, const Node *a, const Node **sign)
{
    Elimination e = elimination(b, a, NULL);
    int64_t m = a->type.dim[0], k = type_last(a->type);
    const Node *pivot[MOST_SOLVED];
    for (int64_t c = 0; c < k; c++) {
        eliminate_column(&e);
        pivot[c] = build_slice(b, e.row, 2, 0, 1, 1);
    }
    if (sign) *sign = e.sign;
    return build_reshape(b, build_concat(b, (int)k, pivot, 1), 2, (int64_t[]){m, k});
}

const Node *build_solve(Builder *b, const Node *a, const Node *x)
{
    Elimination e = elimination(b, a, x);
    int64_t k = type_last(a->type);
    const Node *row[MOST_SOLVED], *side[MOST_SOLVED], *found = NULL;
    for (int64_t c = 0; c < k; c++) {
        eliminate_column(&e);
        row[c] = e.row;
        side[c] = e.side;
    }
    for (int64_t c = k; c--;) {
        const Node *rest = side[c];
        if (found)
            rest = build_binary(b, OP_sub, rest, build_matmul(b, build_slice(b, row[c], 2, 1, k - 1 - c, 1), found));
        rest = build_binary(b, OP_div, rest, build_slice(b, row[c], 2, 0, 1, 1));
        found = found ? build_concat(b, 2, (const Node *[]){rest, found}, 1) : rest;
    }
    return found;
}
