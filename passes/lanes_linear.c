// lanes, products: rows that are the constant 0 or have no weight are dropped, and columns that nobody needs. A column
// without weights is its bias; one with one weight 1 and no bias is its input; one that stands already is that.
#include "float_bits.h"
#include "lanes.h"

#include <stdlib.h>

typedef struct {
    int32_t *rows, *cols; // kept rows and columns
    int64_t n_rows, n_cols;
    LaneKey *keys; // of the kept columns, or NULL
} Part;

static LaneRef *linear_inputs(Lanes *s, const Node *n, int64_t tokens, int64_t K)
{
    LaneRef *x = heap_array(tokens * K, sizeof *x);
    for (int64_t i = 0; i < tokens * K; i++) x[i] = lane_env_lane(s->env, n->in[0], i);
    return x;
}

// Row k is dropped where every token's lane is not there (nobody needs it) or the constant 0.
static void choose_rows(Part *p, const LaneRef *x, int64_t tokens, int64_t K)
{
    p->rows = heap_array(K, sizeof *p->rows);
    for (int64_t k = 0; k < K; k++) {
        bool zero = true;
        for (int64_t m = 0; m < tokens && zero; m++) zero = !x[m * K + k].node || is_value(x[m * K + k], 0);
        if (!zero) p->rows[p->n_rows++] = (int32_t)k;
    }
}

// Rows without a weight in the kept columns.
static void drop_rows(const Node *w, Part *p)
{
    int64_t N = w->type.dim[1], kept = 0;
    for (int64_t r = 0; r < p->n_rows; r++) {
        bool weight = false;
        for (int64_t c = 0; c < p->n_cols && !weight; c++) weight = const_at(w, p->rows[r] * N + p->cols[c]) != 0;
        if (weight) p->rows[kept++] = p->rows[r];
    }
    if (p->n_cols) p->n_rows = kept;
}

static LaneRef column_alias(const Node *w, const Part *p, const LaneRef *x, int64_t col, int64_t *count)
{
    LaneRef found = {NULL, 0};
    *count = 0;
    int64_t N = w->type.dim[1];
    for (int64_t r = 0; r < p->n_rows && *count < 2; r++) {
        double v = const_at(w, p->rows[r] * N + col);
        if (v == 0) continue;
        ++*count;
        if (v == 1) found = x[p->rows[r]];
    }
    return found;
}

static bool column_needed(const Lanes *s, const Node *n, int64_t tokens, int64_t N, int64_t col)
{
    for (int64_t m = 0; m < tokens; m++)
        if (needed(s, n, m * N + col)) return true;
    return false;
}

// What column c of the one token is: its non-zero weights, their lanes, the bias and what is added.
static LaneKey column_key(Lanes *s, const Node *n, const Part *p, const LaneRef *x, int64_t c)
{
    int64_t N = n->in[1]->type.dim[1];
    LaneKey key = lane_key_start(OP_linear);
    for (int64_t r = 0; r < p->n_rows; r++) {
        double v = const_at(n->in[1], p->rows[r] * N + c);
        if (v == 0) continue;
        lane_key_word(&key, bits_of(v));
        lane_key_lane(&key, x[p->rows[r]]);
    }
    lane_key_word(&key, bits_of(linear_bias(n, c)));
    if (n->n_in > 3) lane_key_lane(&key, lane_env_lane(s->env, n->in[3], c));
    return key;
}

// Column c as the constants or inputs that its lanes are; false: it is to be computed. A token that nobody needs has
// no input.
static bool alias_column(Lanes *s, const Node *n, const Part *p, const LaneRef *x, int64_t tokens, int64_t c)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], count;
    if (n->n_in > 3) return false;
    LaneRef first = column_alias(w, p, x, c, &count);
    if (count != 0 && (count != 1 || !first.node || linear_bias(n, c) != 0)) return false;
    for (int64_t m = 0; m < tokens; m++) {
        LaneRef lane = {n, m * N + c}, input = column_alias(w, p, x + m * K, c, &count);
        if (count == 0)
            set_const(s, n, lane.lane, linear_bias(n, c));
        else if (input.node)
            lane_env_set(s->env, lane, input);
    }
    return true;
}

// The column of the one token stands already; else its key is kept with it.
static bool known_column(Lanes *s, const Node *n, Part *p, const LaneRef *x, int64_t c)
{
    if (!p->keys) return false;
    p->keys[p->n_cols] = column_key(s, n, p, x, c);
    LaneRef same = lane_numbers_find(s->numbers, p->keys[p->n_cols]);
    if (same.node) lane_env_set(s->env, (LaneRef){n, c}, same);
    return same.node;
}

// Columns that stay; the others have their values then.
static void choose_columns(Lanes *s, const Node *n, Part *p, const LaneRef *x, int64_t tokens)
{
    int64_t N = n->in[1]->type.dim[1];
    p->cols = heap_array(N, sizeof *p->cols);
    for (int64_t c = 0; c < N; c++)
        if (column_needed(s, n, tokens, N, c) && !alias_column(s, n, p, x, tokens, c) && !known_column(s, n, p, x, c))
            p->cols[p->n_cols++] = (int32_t)c;
}

// The kept rows of all tokens.
static const Node *kept_inputs(Lanes *s, const Part *p, const LaneRef *x, int64_t tokens, int64_t K)
{
    LaneRef *refs = heap_array(tokens * p->n_rows, sizeof *refs), zero = {build_scalar(s->b, 0), 0};
    for (int64_t m = 0; m < tokens; m++)
        for (int64_t r = 0; r < p->n_rows; r++) {
            LaneRef lane = x[m * K + p->rows[r]];
            refs[m * p->n_rows + r] = lane.node ? lane : zero;
        }
    int64_t dim[2] = {tokens, p->n_rows};
    const Node *in = lanes_gather_as(s->b, refs, type_make(T_F32, 2, dim));
    free(refs);
    return in;
}

// The kept columns of all tokens.
static const Node *kept_columns(Lanes *s, const Node *n, const Part *p, const LaneRef *x, int64_t tokens)
{
    const Node *w = n->in[1], *in = NULL, *part = NULL;
    int64_t K = w->type.dim[0], N = w->type.dim[1];
    if (p->n_rows) {
        in = kept_inputs(s, p, x, tokens, K);
        part = matrix_part(s->b, w, p->n_rows, p->n_rows == K ? NULL : p->rows, p->n_cols,
                           p->n_cols == N ? NULL : p->cols);
    }
    const Node *add = linear_add_part(s->env, n, tokens, NULL, p->n_cols, p->cols),
               *bias = linear_bias_part(s->env, n, p->n_cols, p->cols);
    if (in) return build_linear(s->b, in, part, bias, add);
    return bias ? build_binary(s->b, OP_add, add, bias) : add; // nothing is left of the product
}

void rebuild_linear(Lanes *s, const Node *n)
{
    int64_t K = n->in[1]->type.dim[0], N = n->in[1]->type.dim[1], tokens = N ? type_lanes(n->type) / N : 0;
    LaneRef *x = linear_inputs(s, n, tokens, K);
    Part p = {0};
    choose_rows(&p, x, tokens, K);
    if (s->numbers && tokens == 1) p.keys = heap_array(N, sizeof *p.keys);
    choose_columns(s, n, &p, x, tokens);
    drop_rows(n->in[1], &p);
    const Node *now = p.n_cols ? kept_columns(s, n, &p, x, tokens) : NULL;
    if (now && p.n_cols == N) lane_env_set_all(s->env, n, now);
    for (int64_t m = 0; m < tokens && p.n_cols < N; m++)
        for (int64_t c = 0; c < p.n_cols; c++)
            lane_env_set(s->env, (LaneRef){n, m * N + p.cols[c]}, (LaneRef){now, m * p.n_cols + c});
    for (int64_t c = 0; c < p.n_cols && p.keys; c++) lane_numbers_put(s->numbers, p.keys[c], lane_canonical(now, c));
    free(x);
    free(p.rows);
    free(p.cols);
    free(p.keys);
}
