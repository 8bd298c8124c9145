// gemm: groups of up to 128 outputs, each packed as its own matrix (plan.h), each one product.
#include "llvm.h"

GemmOperands gemm_operands(Gen *g, const GemmStep *s)
{
    GemmOperands o = {0};
    o.x = operand(g, s->x_space);
    if (s->has_add) o.add = operand(g, s->add_space);
    o.w = operand(g, SPACE_CONST);
    if (s->has_bias) o.bias = operand(g, SPACE_CONST);
    o.out = operand(g, SPACE_WORK);
    return o;
}

static void group_emit(Gen *g, const GemmStep *s, Product p, Value group, int64_t n)
{
    Value first = mul(g, group, GEMM_GROUP);
    p.n = p.w_stride = n;
    p.w = operand_at(g, p.w, mul(g, first, s->k));
    p.out = operand_at(g, p.out, first);
    if (s->has_add) p.add = operand_at(g, p.add, first);
    if (s->has_bias) p.bias = operand_at(g, p.bias, first);
    product_emit(g, &p);
}

void gemm_emit(Gen *g, const GemmStep *s)
{
    if (s->transposed) {
        transposed_emit(g, s);
        return;
    }
    Product p = {.m = s->m,
                 .k = s->k,
                 .kb = s->kb,
                 .x_stride = s->k,
                 .out_stride = s->n,
                 .has_add = s->has_add,
                 .has_bias = s->has_bias};
    GemmOperands o = gemm_operands(g, s);
    p.x = o.x;
    p.add = o.add;
    p.w = o.w;
    p.bias = o.bias;
    p.out = o.out;
    int64_t full = s->n / GEMM_GROUP, rest = s->n % GEMM_GROUP;
    if (full) {
        Loop l = loop_begin(g, full);
        group_emit(g, s, p, l.i, GEMM_GROUP);
        loop_end(g, &l, NULL);
    }
    if (rest) group_emit(g, s, p, word_i64(g, full), rest);
}
