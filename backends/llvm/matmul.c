// matmul: a batch of products of two computed matrices.
#include "llvm.h"

// The counts behind the lane numbers: batch, K.
void matmul_emit(Gen *g, const MatmulStep *s)
{
    Operand a = operand(g, s->a_space), c = operand(g, s->c_space), out = operand(g, SPACE_WORK);
    Value batch = count_arg(g, s->batch), k = count_arg(g, s->k);
    Product p = {.m = s->m, .n = s->n, .w_stride = s->n, .cut = cuts_of(s->k, s->k)};
    p.k = p.kb = p.x_stride = k;
    p.out_stride = word_i64(g, s->n);
    Loop l = loop_of(g, batch);
    p.x = operand_at(g, a, LLVMBuildMul(g->b, l.i, mul(g, k, s->m), ""));
    p.w = operand_at(g, c, LLVMBuildMul(g->b, l.i, mul(g, k, s->n), ""));
    p.out = operand_at(g, out, mul(g, l.i, (int64_t)s->m * s->n));
    product_emit(g, &p);
    loop_end(g, &l, NULL);
}
