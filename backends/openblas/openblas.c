// openblas: the llvm backend's code with gemm steps as calls of cblas_sgemm. A tile of T rows is a K x T matrix:
// out (N x T) = W^T (N x K) times x (K x T), one call per token and group of outputs; for T = 1 the tokens are the
// rows of one product. Transposed products likewise, one call per group of inputs. `add` and bias follow in generated
// code. The bits are OpenBLAS's, not the Plan's. Products of windows, whose x does not lie in order, are the llvm
// backend's.
#include "../llvm/llvm.h"

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

// c (m x n) = or += a (m x k; stored k x m) times b (k x n; stored n x k), row-major with row lengths lda, ldb, ldc.
typedef struct {
    int64_t m, n, k;
    bool a_stored, b_stored; // the other way
    Value a, b, c;
    int64_t lda, ldb, ldc;
    bool adds;
} Sgemm;

static void call_sgemm(Gen *g, const Sgemm *s)
{
    LLVMTypeRef p[] = {g->i32, g->i32, g->i32, g->i32, g->i32, g->i32, g->f32,
                       g->ptr, g->i32, g->ptr, g->i32, g->f32, g->ptr, g->i32};
    LLVMTypeRef type = LLVMFunctionType(g->none, p, 14, false);
    Value fn = LLVMGetNamedFunction(g->module, "cblas_sgemm");
    if (!fn) fn = LLVMAddFunction(g->module, "cblas_sgemm", type);
    Value args[] = {word_i32(g, ROW_MAJOR),
                    word_i32(g, s->a_stored ? TRANS : NO_TRANS),
                    word_i32(g, s->b_stored ? TRANS : NO_TRANS),
                    word_i32(g, s->m),
                    word_i32(g, s->n),
                    word_i32(g, s->k),
                    LLVMConstReal(g->f32, 1.0),
                    s->a,
                    word_i32(g, s->lda),
                    s->b,
                    word_i32(g, s->ldb),
                    LLVMConstReal(g->f32, s->adds ? 1.0 : 0.0),
                    s->c,
                    word_i32(g, s->ldc)};
    LLVMBuildCall2(g->b, type, fn, args, 14, "");
}

// One group of `n` outputs from `first` (i64) on, without add and bias.
static void group_product(Gen *g, const GemmStep *s, Operand x, Operand w, Operand out, Value first, int64_t n)
{
    w = operand_at(g, w, mul(g, first, s->k));
    out = operand_at(g, out, first);
    if (g->tile == 1) {
        call_sgemm(g, &(Sgemm){s->m, n, s->k, false, false, x.base, w.base, out.base, s->k, n, s->n, false});
        return;
    }
    Loop l = loop_begin(g, s->m);
    Value xm = operand_at(g, x, mul(g, l.i, s->k)).base, om = operand_at(g, out, mul(g, l.i, s->n)).base;
    call_sgemm(g, &(Sgemm){n, g->tile, s->k, true, false, w.base, xm, om, n, g->tile, g->tile, false});
    loop_end(g, &l, NULL);
}

// The group's `n` columns of x from `first` on times the group transposed: the first group makes out, others add to it.
static void group_transposed(Gen *g, const GemmStep *s, const GemmOperands *o, int64_t first, int64_t n)
{
    Operand w = operand_fixed(g, o->w, first * s->k), x = operand_fixed(g, o->x, first);
    if (g->tile == 1) {
        call_sgemm(g, &(Sgemm){s->m, s->k, n, false, true, x.base, w.base, o->out.base, s->n, n, s->k, first > 0});
        return;
    }
    Loop l = loop_begin(g, s->m);
    Value xm = operand_at(g, x, mul(g, l.i, s->n)).base, om = operand_at(g, o->out, mul(g, l.i, s->k)).base;
    call_sgemm(g, &(Sgemm){s->k, g->tile, n, false, false, w.base, xm, om, n, g->tile, g->tile, first > 0});
    loop_end(g, &l, NULL);
}

// out[m][n] += add[m][n], then bias[n], or fma(out[m][n], scale[m], bias[n]): output by output, its rows by vectors.
static void add_rest(Gen *g, const GemmStep *s, const GemmOperands *o)
{
    int w = g->tile == 1 ? 1 : g->width;
    Loop m = loop_begin(g, s->m);
    Loop n = loop_begin(g, s->n);
    Loop rows = loop_begin(g, g->tile / w);
    Value row = mul(g, rows.i, w), lane = add(g, mul(g, m.i, s->n), n.i);
    Value to = bytes_at(g, operand_at(g, o->out, lane).base, mul(g, row, 4)), sum = load(g, floats(g, w), to);
    if (s->has_add) sum = LLVMBuildFAdd(g->b, sum, load_rows(g, operand_at(g, o->add, lane), row, w), "");
    Value bias = s->has_bias ? load_rows(g, operand_at(g, o->bias, n.i), row, w) : NULL;
    if (s->scaled)
        sum = fma_of(g, sum, load_rows(g, operand_at(g, o->add, m.i), row, w), bias);
    else if (bias)
        sum = LLVMBuildFAdd(g->b, sum, bias, "");
    store(g, sum, to);
    loop_end(g, &rows, NULL);
    loop_end(g, &n, NULL);
    loop_end(g, &m, NULL);
}

static void product_by_blas(Gen *g, const GemmStep *s, GemmOperands o)
{
    for (int64_t n = 0; s->transposed && n < s->n; n += GEMM_GROUP)
        group_transposed(g, s, &o, n, least(GEMM_GROUP, s->n - n));
    if (s->transposed) return;
    int64_t full = s->n / GEMM_GROUP, rest = s->n % GEMM_GROUP;
    if (full) {
        Loop l = loop_begin(g, full);
        group_product(g, s, o.x, o.w, o.out, mul(g, l.i, GEMM_GROUP), GEMM_GROUP);
        loop_end(g, &l, NULL);
    }
    if (rest) group_product(g, s, o.x, o.w, o.out, word_i64(g, full * GEMM_GROUP), rest);
    if (s->has_add || s->has_bias) add_rest(g, s, &o);
}

// Of a token that has weights and bias of its own.
static GemmOperands token_operands(Gen *g, const GemmStep *s, const GemmOperands *all, Value token)
{
    GemmOperands o = *all;
    uint32_t in = s->transposed ? s->n : s->k, out = s->transposed ? s->k : s->n;
    if (!s->one_x) o.x = operand_at(g, o.x, mul(g, token, in));
    if (gemm_add_lanes(s)) o.add = operand_at(g, o.add, mul(g, token, s->scaled ? 1 : out));
    if (s->has_bias) o.bias = operand_at(g, o.bias, mul(g, token, out));
    o.w = operand_at(g, o.w, mul(g, token, (int64_t)s->k * s->n));
    o.out = operand_at(g, o.out, mul(g, token, out));
    return o;
}

static void gemm_by_blas(Gen *g, const GemmStep *s)
{
    if (s->picture || (s->x_space == SPACE_CONST && g->tile > 1)) { // x has no rows
        gemm_emit(g, s);
        return;
    }
    GemmOperands o = gemm_operands(g, s);
    if (!s->apart) {
        product_by_blas(g, s, o);
        return;
    }
    GemmStep one = *s;
    one.m = 1;
    Loop l = loop_begin(g, s->m);
    product_by_blas(g, &one, token_operands(g, s, &o, l.i));
    loop_end(g, &l, NULL);
}

const Object *openblas_emit(Context *cx, const Plan *plan, const Target *target, const char *symbol, bool one,
                            const char **ll)
{
    if (plan->weight_type == WEIGHTS_BF16) {
        diag_error(cx, NULL, "use --weights f16, or --backend llvm",
                   "--weights bf16 rounds what its matrices multiply, which the library does not do");
        return NULL;
    }
    if (target_runs_here(target, WEIGHTS_F32, false))
        return llvm_emit_with(cx, plan, target, symbol, one, ll, gemm_by_blas);
    diag_error(cx, NULL, "use --backend llvm for other machines, or --cpu native",
               "the openblas backend makes code for this machine only, not for %s %s", target->triple, target->cpu);
    return NULL;
}
