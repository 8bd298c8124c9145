// matmul: a batch of products of two computed matrices.
#include "llvm.h"

void matmul_emit(Gen *g, const MatmulStep *s)
{
    int64_t a_lanes = (int64_t)s->m * s->k, c_lanes = (int64_t)s->k * s->n, out_lanes = (int64_t)s->m * s->n;
    Product p = {.m = s->m, .k = s->k, .n = s->n, .kb = s->k, .x_stride = s->k, .w_stride = s->n, .out_stride = s->n};
    Operand a = operand(g, s->a_space), c = operand(g, s->c_space), out = operand(g, SPACE_WORK);
    Loop l = loop_begin(g, s->batch);
    p.x = operand_at(g, a, mul(g, l.i, a_lanes));
    p.w = operand_at(g, c, mul(g, l.i, c_lanes));
    p.out = operand_at(g, out, mul(g, l.i, out_lanes));
    product_emit(g, &p);
    loop_end(g, &l, NULL);
}
