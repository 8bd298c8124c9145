// Blocks of constant products: see solve_block.h. Unknown inputs of a token face the known outputs in which they have a
// weight; where these are fewer, one output with one unknown input still gives it.
#include "solve_block.h"
#include "small_matrix.h"

#include <stdlib.h>
#include <string.h>

Block solve_block_new(const Node *product)
{
    const int64_t *dim = product->in[1]->type.dim;
    return (Block){.rows = heap_array(dim[0], sizeof(int32_t)), .cols = heap_array(dim[1], sizeof(int32_t))};
}

void solve_block_free(Block *b)
{
    free(b->rows);
    free(b->cols);
}

void solve_block_copy(Block *to, const Block *b)
{
    to->k = b->k;
    memcpy(to->rows, b->rows, (size_t)b->k * sizeof *b->rows);
    memcpy(to->cols, b->cols, (size_t)b->k * sizeof *b->cols);
}

bool solve_block_same(const Block *a, const Block *b)
{
    size_t bytes = (size_t)b->k * sizeof *b->rows;
    return a->k == b->k && !memcmp(a->rows, b->rows, bytes) && !memcmp(a->cols, b->cols, bytes);
}

typedef struct {
    const LaneEnv *base;
    const bool *known;
} Lanes;

static bool is_known(const Lanes *s, LaneRef r)
{
    return node_is_const(r.node) || s->known[s->base->base[r.node->id] + r.lane];
}

static int64_t unknown_rows(const Lanes *s, const Node *n, int64_t m, int32_t *rows)
{
    int64_t K = n->in[1]->type.dim[0], count = 0;
    for (int64_t k = 0; k < K; k++)
        if (!is_known(s, lane_canonical(n->in[0], m * K + k))) rows[count++] = (int32_t)k;
    return count;
}

// Known outputs in which these rows have a weight.
static int64_t known_columns(const Lanes *s, const Node *n, int64_t m, const int32_t *rows, int64_t n_rows,
                             int32_t *cols)
{
    int64_t N = n->in[1]->type.dim[1], count = 0;
    for (int64_t c = 0; c < N; c++) {
        if (!is_known(s, (LaneRef){n, m * N + c})) continue;
        if (n->n_in > 3 && !is_known(s, lane_canonical(n->in[3], m * N + c))) continue;
        bool weight = false;
        for (int64_t r = 0; r < n_rows && !weight; r++) weight = const_at(n->in[1], rows[r] * N + c) != 0;
        if (weight) cols[count++] = (int32_t)c;
    }
    return count;
}

static bool single_unknown(const Node *w, Block *b, int64_t n_rows, int64_t n_cols)
{
    int64_t N = w->type.dim[1];
    for (int64_t j = 0; j < n_cols; j++) {
        int64_t found = -1, count = 0;
        for (int64_t r = 0; r < n_rows; r++)
            if (const_at(w, b->rows[r] * N + b->cols[j]) != 0) count++, found = r;
        if (count != 1) continue;
        b->rows[0] = b->rows[found];
        b->cols[0] = b->cols[j];
        b->k = 1;
        return true;
    }
    return false;
}

// The unknown input lanes of a token must be distinct names, else the block is not what it seems.
static bool rows_distinct(const Node *n, int64_t m, const int32_t *rows, int64_t n_rows)
{
    int64_t K = n->in[1]->type.dim[0];
    for (int64_t i = 1; i < n_rows && n_rows < 64; i++)
        for (int64_t j = 0; j < i; j++)
            if (lane_same(lane_canonical(n->in[0], m * K + rows[i]), lane_canonical(n->in[0], m * K + rows[j])))
                return false;
    return true;
}

bool solve_block_find(const LaneEnv *base, const bool *known, const Node *n, int64_t m, Block *b)
{
    const Lanes s = {base, known};
    int64_t n_rows = unknown_rows(&s, n, m, b->rows), n_cols = known_columns(&s, n, m, b->rows, n_rows, b->cols);
    b->k = n_rows;
    if (!n_rows || !n_cols || !rows_distinct(n, m, b->rows, n_rows)) return false;
    return n_rows == n_cols || single_unknown(n->in[1], b, n_rows, n_cols);
}

bool solve_block_invert(Arena *arena, const Node *n, Block *b)
{
    const Node *w = n->in[1];
    int64_t k = b->k, N = w->type.dim[1];
    double *a = heap_array(k * k, sizeof *a);
    b->inverse = ARENA_ARRAY(arena, double, k *k);
    for (int64_t r = 0; r < k; r++)
        for (int64_t c = 0; c < k; c++) a[r * k + c] = const_at(w, b->rows[r] * N + b->cols[c]);
    double norm = matrix_norm1(a, k);
    Determinant det = invert_matrix(a, b->inverse, k);
    free(a);
    b->log_det = det.log_size;
    b->condition = det.sign && k > 1 ? norm * matrix_norm1(b->inverse, k) : 1;
    return det.sign;
}
