// matmul: a batch of products of two computed matrices. One column (the logits of a token of causal attention, whose
// rows are the keys so far) is a row of chains, DOTS of them side by side.
#include "llvm.h"

enum { DOTS = 8 };

// Where lengths vary, K may be any: one code for a cache of 5, 6, 7, 8 tokens.
Cuts matmul_cuts(const Gen *g, const MatmulStep *s)
{
    Cuts c = cuts_of(s->k, s->k);
    c.whole = c.whole && !g->lengths_vary;
    return c;
}

bool matmul_dots(const MatmulStep *s) { return s->batch == 1 && s->n == 1; }

static Value lane_of(Gen *g, Operand o, Value row)
{
    return g->tile == 1 ? load(g, g->f32, o.base) : load_rows(g, o, row, g->width);
}

// out[j] = chain over k of a[j * k + i] * c[i] for j < n, of one vector of rows.
static void dots(Gen *g, Operand a, Operand c, Operand out, Value k, int n, Value row)
{
    Value sum[DOTS];
    for (int j = 0; j < n; j++) sum[j] = splat_float(g, 0.0f, g->tile == 1 ? 1 : g->width);
    Loop l = loop_of(g, k);
    for (int j = 0; j < n; j++) sum[j] = loop_phi(g, &l, sum[j]);
    Value with = lane_of(g, operand_at(g, c, l.i), row);
    for (int j = 0; j < n; j++) {
        Operand at = operand_at(g, a, add(g, l.i, mul(g, k, j)));
        sum[j] = fma_of(g, lane_of(g, at, row), with, sum[j]);
    }
    loop_end(g, &l, sum);
    for (int j = 0; j < n; j++) store(g, sum[j], row_address(g, operand_fixed(g, out, j), row));
}

static void dots_of_rows(Gen *g, Operand a, Operand c, Operand out, Value k, int n)
{
    if (g->tile == 1) {
        dots(g, a, c, out, k, n, NULL);
        return;
    }
    Loop rows = rows_begin(g, g->width);
    dots(g, a, c, out, k, n, mul(g, rows.i, g->width));
    loop_end(g, &rows, NULL);
}

// The counts behind the lane numbers: m, K.
static void dots_emit(Gen *g, const MatmulStep *s)
{
    Operand a = operand(g, s->a_space), c = operand(g, s->c_space), out = operand(g, SPACE_WORK);
    Value m = count_arg(g, s->m), k = count_arg(g, s->k);
    Value full = quotient(g, m, word_i64(g, DOTS)), done = mul(g, full, DOTS);
    Loop l = loop_maybe(g, full);
    Value first = mul(g, l.i, DOTS);
    dots_of_rows(g, operand_at(g, a, product_of(g, first, k)), c, operand_at(g, out, first), k, DOTS);
    loop_end(g, &l, NULL);
    Loop rest = loop_maybe(g, difference(g, m, done));
    Value at = add(g, done, rest.i);
    dots_of_rows(g, operand_at(g, a, product_of(g, at, k)), c, operand_at(g, out, at), k, 1);
    loop_end(g, &rest, NULL);
}

// The counts behind the lane numbers: batch, K.
void matmul_emit(Gen *g, const MatmulStep *s)
{
    if (matmul_dots(s)) {
        dots_emit(g, s);
        return;
    }
    Operand a = operand(g, s->a_space), c = operand(g, s->c_space), out = operand(g, SPACE_WORK);
    Value batch = count_arg(g, s->batch), k = count_arg(g, s->k);
    Product p = {.m = s->m, .n = s->n, .w_stride = s->n, .tight = true, .cut = matmul_cuts(g, s)};
    p.k = p.kb = p.x_stride = k;
    p.out_stride = word_i64(g, s->n);
    Loop l = loop_of(g, batch);
    p.x = operand_at(g, a, product_of(g, l.i, mul(g, k, s->m)));
    p.w = operand_at(g, c, product_of(g, l.i, mul(g, k, s->n)));
    p.out = operand_at(g, out, mul(g, l.i, (int64_t)s->m * s->n));
    product_emit(g, &p);
    loop_end(g, &l, NULL);
}
