// Generated flows: flows_test [COUNT [FIRST_SEED]]
//
// Each seed makes a flow: random layers (couplings of any split, mask or order; additive and affine with several scale
// forms; permutations, dense mixing, ActNorm; squashes; masked autoregressive layers), random nets, with and without
// context, exported as a density or as a sampler, with log_det, log_prob, its negative, both or none. The whole
// compiler must take it: roles, inverse, log-determinant, checks in double and f32, native code whose golden rows are
// equal bit for bit. A failure prints the seed. 100 flows unless said; NFCC_LONG=1: 1000.
#include "backend.h"
#include "nfcc.h"
#include "passes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    Context cx;
    Diag diag;
    Builder *b;
    uint64_t state;
    const Node *h;       // f32[1,D]
    const Node *log_det; // f32[1]
    const Node *context; // f32[1,C] or NULL
    int64_t dims;
    int bent; // pointwise layers so far
    char recipe[600];
} Gen;

// ---- random choices

static uint64_t next_word(Gen *g)
{
    uint64_t z = g->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int pick(Gen *g, int n) { return (int)(next_word(g) % (uint64_t)n); }
static double uniform(Gen *g) { return (double)(next_word(g) >> 11) * 0x1p-53; }
static double gauss(Gen *g) { return sqrt(-2 * log(uniform(g) + 1e-300)) * cos(6.283185307179586 * uniform(g)); }

static void note(Gen *g, const char *word)
{
    size_t n = strlen(g->recipe);
    snprintf(g->recipe + n, sizeof g->recipe - n, "%s%s", n ? " " : "", word);
}

// ---- constants

static const Node *matrix(Gen *g, int64_t rows, int64_t cols, double scale)
{
    int64_t dim[2] = {rows, cols};
    float *v = ARENA_ARRAY(g->cx.arena, float, rows *cols);
    for (int64_t i = 0; i < rows * cols; i++) v[i] = (float)(scale * gauss(g));
    return build_const(g->b, type_make(T_F32, 2, dim), v);
}

static const Node *vector(Gen *g, int64_t n, double mean, double scale)
{
    float *v = ARENA_ARRAY(g->cx.arena, float, n);
    for (int64_t i = 0; i < n; i++) v[i] = (float)(mean + scale * gauss(g));
    return build_const(g->b, type_vector(n), v);
}

static const Node *num(Gen *g, double v) { return build_scalar(g->b, v); }
static const Node *two(Gen *g, Op op, const Node *a, const Node *c) { return build_binary(g->b, op, a, c); }
static const Node *one(Gen *g, Op op, const Node *a) { return build_unary(g->b, op, a); }

static const Node *row(Gen *g, const Node *v)
{
    int64_t dim[2] = {1, type_lanes(v->type)};
    return build_reshape(g->b, v, 2, dim);
}

static const Node *lanes_of(Gen *g, const Node *x, int64_t n, const int32_t *lanes)
{
    return build_move(g->b, type_vector(n), 1, &x, lanes);
}

// ---- nets

static const Node *activation(Gen *g, const Node *h)
{
    switch (pick(g, 7)) {
    case 0: return build_alpha(g->b, OP_leaky_relu, h, 0.01);
    case 1: return one(g, OP_tanh, h);
    case 2: return build_alpha(g->b, OP_elu, h, 1);
    case 3: return build_alpha(g->b, OP_leaky_relu, h, 0);
    case 4: return two(g, OP_mul, h, one(g, OP_sigmoid, h));
    case 5:
        return two(g, OP_mul, two(g, OP_mul, h, num(g, 0.5)),
                   two(g, OP_add, one(g, OP_erf, two(g, OP_mul, h, num(g, sqrt(0.5)))), num(g, 1)));
    default: return one(g, OP_softplus, h);
    }
}

static const Node *mean_of(Gen *g, const Node *h)
{
    int64_t dim[2] = {1, 1};
    const Node *sum = build_reshape(g->b, build_reduce(g->b, OP_reduce_sum, h), 2, dim);
    return two(g, OP_div, sum, num(g, (double)type_last(h->type)));
}

static const Node *layer_norm(Gen *g, const Node *h)
{
    const Node *d = two(g, OP_sub, h, mean_of(g, h));
    const Node *variance = mean_of(g, two(g, OP_mul, d, d));
    const Node *n = two(g, OP_div, d, one(g, OP_sqrt, two(g, OP_add, variance, num(g, 1e-5))));
    return two(g, OP_add, two(g, OP_mul, n, row(g, vector(g, type_last(h->type), 1, 0.1))),
               row(g, vector(g, type_last(h->type), 0, 0.1)));
}

static const Node *dense(Gen *g, const Node *x, int64_t out, double scale)
{
    int64_t in = type_last(x->type);
    return build_linear(g->b, x, matrix(g, in, out, scale / sqrt((double)in)), vector(g, out, 0, 0.1), NULL);
}

static const Node *net(Gen *g, const Node *x, int64_t out)
{
    if (g->context) {
        const Node *both[2] = {x, g->context};
        if (pick(g, 2)) both[0] = g->context, both[1] = x;
        x = build_concat(g->b, 2, both, 1);
    }
    int layers = 1 + pick(g, 2);
    for (int i = 0; i < layers; i++) {
        x = activation(g, dense(g, x, 4 + pick(g, 21), 1));
        if (pick(g, 3) == 0) x = layer_norm(g, x);
    }
    return dense(g, x, out, 0.5);
}

// ---- layers: h -> h', log_det

static void add_log_det(Gen *g, const Node *terms, double sign)
{
    int64_t dim[1] = {1};
    const Node *sum = build_reshape(g->b, build_reduce(g->b, OP_reduce_sum, row(g, terms)), 1, dim);
    if (!g->log_det)
        g->log_det = sign < 0 ? one(g, OP_neg, sum) : sum;
    else
        g->log_det = two(g, sign < 0 ? OP_sub : OP_add, g->log_det, sum);
}

static const Node *positive(Gen *g, const Node *s)
{
    switch (pick(g, 4)) {
    case 0: return one(g, OP_exp, s);
    case 1: return one(g, OP_exp, two(g, OP_mul, one(g, OP_tanh, s), num(g, 0.8)));
    case 2: return two(g, OP_add, one(g, OP_sigmoid, two(g, OP_add, s, num(g, 2))), num(g, 1e-3));
    default: return two(g, OP_add, one(g, OP_softplus, s), num(g, 0.1));
    }
}

static void shuffle(Gen *g, int32_t *order, int64_t n)
{
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = pick(g, (int)i + 1);
        int32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

static const Node *affine(Gen *g, const Node *x, const Node *params, int64_t n, bool additive)
{
    const Node *t = build_slice(g->b, params, 1, 0, n, 1);
    if (additive) return two(g, pick(g, 2) ? OP_add : OP_sub, x, t);
    const Node *scale = positive(g, build_slice(g->b, params, 1, n, n, 1));
    bool divide = pick(g, 2);
    add_log_det(g, one(g, OP_log, scale), divide ? -1 : 1);
    if (pick(g, 2)) return two(g, OP_add, two(g, divide ? OP_div : OP_mul, x, scale), t);
    return two(g, divide ? OP_div : OP_mul, two(g, OP_sub, x, t), scale);
}

// Kept lanes feed a net that moves the others: by gather and concat, or by 0/1 masks.
static void coupling(Gen *g, bool additive)
{
    int64_t D = g->dims, keep = 1 + pick(g, (int)D - 1), n = D - keep;
    int32_t *order = ARENA_ARRAY(g->cx.arena, int32_t, D), *back = ARENA_ARRAY(g->cx.arena, int32_t, D);
    shuffle(g, order, D);
    for (int64_t i = 0; i < D; i++) back[order[i]] = (int32_t)i;
    if (pick(g, 2)) {
        note(g, additive ? "additive" : "affine");
        const Node *a = row(g, lanes_of(g, g->h, keep, order)), *x = row(g, lanes_of(g, g->h, n, order + keep));
        const Node *parts[2] = {a, affine(g, x, net(g, a, 2 * n), n, additive)};
        const Node *joined = build_concat(g->b, 2, parts, 1);
        g->h = row(g, lanes_of(g, joined, D, back));
        return;
    }
    note(g, "masked");
    float *mask = ARENA_ARRAY(g->cx.arena, float, D), *rest = ARENA_ARRAY(g->cx.arena, float, D);
    for (int64_t i = 0; i < D; i++) {
        mask[i] = back[i] < keep;
        rest[i] = 1 - mask[i];
    }
    const Node *m = build_const(g->b, type_vector(D), mask), *r = build_const(g->b, type_vector(D), rest);
    const Node *kept = two(g, OP_mul, row(g, m), g->h), *params = net(g, kept, 2 * D);
    const Node *s = two(g, OP_mul, one(g, OP_tanh, build_slice(g->b, params, 1, 0, D, 1)), row(g, r));
    const Node *moved = two(g, OP_add, two(g, OP_mul, g->h, one(g, OP_exp, s)), build_slice(g->b, params, 1, D, D, 1));
    g->h = two(g, OP_add, kept, two(g, OP_mul, row(g, r), moved));
    add_log_det(g, s, 1);
}

static void mixing(Gen *g)
{
    note(g, "mixing");
    int64_t D = g->dims, dim[2] = {D, D};
    double log_det = 0, *a = ARENA_ARRAY(g->cx.arena, double, D *D);
    float *w = ARENA_ARRAY(g->cx.arena, float, D *D);
    for (int64_t i = 0; i < D * D; i++) w[i] = (float)((i % (D + 1) ? 0 : 1.5) + 0.4 / sqrt((double)D) * gauss(g));
    for (int64_t i = 0; i < D * D; i++) a[i] = (double)w[i];
    for (int64_t c = 0; c < D; c++) { // the diagonal dominates: no pivoting
        log_det += log(fabs(a[c * D + c]));
        for (int64_t r = c + 1; r < D; r++) {
            double f = a[r * D + c] / a[c * D + c];
            for (int64_t j = c; j < D; j++) a[r * D + j] -= f * a[c * D + j];
        }
    }
    g->h = build_linear(g->b, g->h, build_const(g->b, type_make(T_F32, 2, dim), w),
                        pick(g, 2) ? vector(g, D, 0, 1) : NULL, NULL);
    add_log_det(g, build_broadcast(g->b, num(g, log_det), 1, (int64_t[]){1}), 1);
}

static void act_norm(Gen *g)
{
    note(g, "actnorm");
    const Node *s = row(g, vector(g, g->dims, 0, 0.3));
    g->h = two(g, OP_mul, two(g, OP_add, g->h, row(g, vector(g, g->dims, 0, 1))), one(g, OP_exp, s));
    add_log_det(g, s, 1);
}

static void permutation(Gen *g)
{
    note(g, "permutation");
    int32_t *order = ARENA_ARRAY(g->cx.arena, int32_t, g->dims);
    shuffle(g, order, g->dims);
    g->h = row(g, lanes_of(g, g->h, g->dims, order));
}

static void pointwise(Gen *g)
{
    const Node *v = g->h, *zero = num(g, 0);
    if (pick(g, 2)) {
        note(g, "leaky");
        g->h = build_alpha(g->b, OP_leaky_relu, v, 0.3);
        add_log_det(g, build_select(g->b, two(g, OP_lt, zero, v), zero, num(g, log(0.3))), 1);
    } else {
        note(g, "asinh");
        g->h = one(g, OP_asinh, v);
        add_log_det(g, two(g, OP_mul, one(g, OP_log1p, two(g, OP_mul, v, v)), num(g, 0.5)), -1);
    }
}

// Weights from units of degree a to units of degree b (j % degrees): zero where a unit would see too much.
static const Node *masked(Gen *g, int64_t in, int64_t out, const int32_t *order, bool first, bool last)
{
    int64_t degrees = g->dims > 1 ? g->dims - 1 : 1, dim[2] = {in, out};
    float *w = ARENA_ARRAY(g->cx.arena, float, in *out);
    for (int64_t i = 0; i < in; i++)
        for (int64_t j = 0; j < out; j++) {
            int64_t from = first ? order[i] : i % degrees, to = last ? order[j % g->dims] : j % degrees;
            bool sees = last ? from < to : from <= to;
            w[i * out + j] = sees ? (float)(gauss(g) * (last ? 0.3 : 1) / sqrt((double)in)) : 0;
        }
    return build_const(g->b, type_make(T_F32, 2, dim), w);
}

// A masked net: output i sees inputs of smaller order only (MADE, Germain et al. 2015). A wide one is cut in panels.
static void autoregressive(Gen *g)
{
    bool wide = pick(g, 3) == 0;
    note(g, wide ? "wide autoregressive" : "autoregressive");
    int64_t D = g->dims, H = wide ? 160 : D + pick(g, 12);
    int32_t *order = ARENA_ARRAY(g->cx.arena, int32_t, D);
    shuffle(g, order, D);
    const Node *h = build_linear(g->b, g->h, masked(g, D, H, order, true, false), vector(g, H, 0, 0.1), NULL);
    if (g->context) h = two(g, OP_add, h, dense(g, g->context, H, 1));
    h = one(g, OP_tanh, h);
    if (wide)
        h = activation(g, build_linear(g->b, h, masked(g, H, H, order, false, false), vector(g, H, 0, 0.1), NULL));
    const Node *params = build_linear(g->b, h, masked(g, H, 2 * D, order, false, true), vector(g, 2 * D, 0, 0.1), NULL);
    g->h = affine(g, g->h, params, D, false);
}

static void layer(Gen *g)
{
    switch (pick(g, 8)) {
    case 0:
    case 1: coupling(g, false); break;
    case 2: coupling(g, true); break;
    case 3: mixing(g); break;
    case 4: act_norm(g); break;
    case 5: permutation(g); break;
    case 6: // once: their inverses grow exponentially, and float32 ends at e^88
        if (g->bent++)
            permutation(g);
        else
            pointwise(g);
        break;
    default: autoregressive(g); break;
    }
}

// ---- a whole model

typedef enum { FORM_LOG_DET, FORM_PLAIN, FORM_LOG_PROB, FORM_NEGATIVE, FORM_BOTH, FORMS } Form;

static const Node *log_prob_of(Gen *g, const Node *z, double sign)
{
    int64_t dim[1] = {1};
    const Node *sum = build_reshape(g->b, build_reduce(g->b, OP_reduce_sum, two(g, OP_mul, z, z)), 1, dim);
    const Node *base =
        two(g, OP_sub, two(g, OP_mul, sum, num(g, -0.5)), num(g, 0.5 * (double)g->dims * log(6.283185307179586)));
    if (!g->log_det) return base;
    return two(g, sign > 0 ? OP_add : OP_sub, base, g->log_det);
}

static Port port(const char *name, int64_t n)
{
    Type t = n ? type_vector(n) : type_scalar();
    return (Port){name, t, 0};
}

static const Module *make_flow(Gen *g)
{
    g->dims = 2 + pick(g, 7);
    int64_t context = pick(g, 2) ? 1 + pick(g, 6) : 0, dim[2] = {1, g->dims};
    bool density = pick(g, 3) != 0;
    Form form = (Form)pick(g, FORMS);
    g->b = builder_new(&g->cx, "main");
    const Node *in = build_input(g->b, density ? "x" : "noise", type_make(T_F32, 2, dim));
    dim[1] = context;
    if (context) g->context = build_input(g->b, "obs", type_make(T_F32, 2, dim));
    g->h = in;
    snprintf(g->recipe, sizeof g->recipe, "%s, %lld lanes, context %lld, form %d:", density ? "density" : "sampler",
             (long long)g->dims, (long long)context, form);
    int layers = 2 + pick(g, 5);
    for (int i = 0; i < layers; i++) layer(g);
    if (!g->log_det) act_norm(g);
    Port *inputs = ARENA_ARRAY(g->cx.arena, Port, 2), *outputs = ARENA_ARRAY(g->cx.arena, Port, 3);
    int n_out = 0;
    inputs[0] = port(density ? "x" : "noise", g->dims);
    inputs[1] = port("obs", context);
    bool only = density && (form == FORM_LOG_PROB || form == FORM_NEGATIVE);
    if (!only) {
        build_output(g->b, density ? "z" : "action", g->h);
        outputs[n_out++] = port(density ? "z" : "action", g->dims);
    }
    const Node *log_prob = log_prob_of(g, density ? g->h : in, density ? 1 : -1);
    if (form == FORM_LOG_DET) build_output(g->b, "out", g->log_det);
    if (form == FORM_NEGATIVE) build_output(g->b, "out", one(g, OP_neg, log_prob));
    if (form == FORM_LOG_PROB || form == FORM_BOTH) build_output(g->b, "out", log_prob);
    if (form != FORM_PLAIN) outputs[n_out++] = port("out", 0);
    const Function *f = builder_finish(g->b);
    Module *m = module_new(&g->cx, STAGE_IMPORTED, 1, &f, NULL);
    m->inputs = inputs;
    m->outputs = outputs;
    m->n_inputs = context ? 2 : 1;
    m->n_outputs = n_out;
    return m;
}

// ---- the whole compiler

static bool golden_equal(const char *path)
{
    nfcc_policy *p = NULL;
    if (nfcc_open(path, 0, &p) != NFCC_OK) return false;
    size_t size = nfcc_selftest_size(p);
    void *memory = malloc(size);
    nfcc_status status = nfcc_selftest(p, memory, size);
    if (status != NFCC_OK) fprintf(stderr, "selftest: %s\n", nfcc_status_text(status));
    free(memory);
    nfcc_close(p);
    return status == NFCC_OK;
}

static bool native(Gen *g, const Plan *plan)
{
    Target target = {0};
    const char *error = target_resolve(&g->cx, &target);
    if (error) return false;
    const Object *object = backend_find("llvm")->emit(&g->cx, plan, &target, "nfcc_model", false, NULL);
    char path[] = "flow-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) return false;
    close(fd);
    bool ok = object && link_shared(&g->cx, object, &target, false, path, NULL, NULL) && golden_equal(path);
    unlink(path);
    return ok;
}

static bool compile(Gen *g)
{
    const Module *m = make_flow(g), *derived = NULL;
    FlowOptions options = {0};
    Flow flow = {0};
    CheckOptions check = {0};
    CheckReport report = {0};
    unsigned char hash[32] = {0};
    const Module *lowered = passes_run(&g->cx, m, &options, NULL, &flow, &derived);
    if (!lowered) return false;
    if (!flow.is_flow) {
        fprintf(stderr, "not taken for a flow: %s\n", flow.why);
        return false;
    }
    if (!check_flow(&g->cx, m, derived, &flow, &check, &report)) return false;
    Plan *plan = plan_build(&g->cx, lowered, &flow, "flow", hash, false);
    if (!plan) return false;
    plan_golden(&g->cx, plan);
    return check_plan(&g->cx, derived, plan, &flow, &check, 1e-3, &report) && native(g, plan);
}

static bool run_seed(uint64_t seed)
{
    Gen g = {.state = seed * 0x1234567 + 1};
    g.cx.arena = arena_new();
    g.diag.arena = g.cx.arena;
    g.diag.file = "generated";
    g.cx.diag = &g.diag;
    bool ok = compile(&g);
    if (!ok) {
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, g.recipe);
        diag_print(&g.diag, stderr);
    }
    arena_free(g.cx.arena);
    return ok;
}

int main(int argc, char **argv)
{
    const char *is_long = getenv("NFCC_LONG");
    int count = argc > 1 ? atoi(argv[1]) : is_long && *is_long == '1' ? 1000 : 100, failed = 0;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (int i = 0; i < count; i++) failed += !run_seed(first + (uint64_t)i);
    printf("%d passed, %d failed\n", count - failed, failed);
    return failed != 0;
}
