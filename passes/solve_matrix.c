// Systems whose factors are known lanes: see solve_system.h. The matrix is made of the derivatives of the lanes between by
// the atoms,
//
//   d lane / d atom = sum_k factor_k d operand_k / d atom      (affine.h)
//
// of which those that are 0 are left out; those of one node are computed together. One lane at a time is a division, more
// are eliminated (build_solve).
#include "affine.h"
#include "emit.h"
#include "solve_system.h"

// An atom or a lane between, as a function of the atoms of one of the systems.
typedef struct {
    LaneRef lane; // first: they are sorted by it
    bool atom;
    LaneRef *slope; // by the system's atoms, in the function being built; node NULL: 0
} Varying;

typedef struct {
    LaneEnv *env;
    const System *y;
    Varying *varying;
    int n;
} Slopes;

// One slope: products to be added up, and where the sum goes.
typedef struct {
    LaneRef *factor, *slope, *to;
    int n;
} Sum;

static LaneRef number_now(const Slopes *s, double v) { return (LaneRef){build_scalar(s->env->b, v), 0}; }
static bool is_one(LaneRef r) { return lane_is_const(r) && lane_value(r) == 1; }

static const Varying *varying(const Slopes *s, LaneRef r)
{
    return bsearch(&r, s->varying, (size_t)s->n, sizeof *s->varying, lane_compare);
}

static LaneRef factor_now(const Slopes *s, LaneRef lane, int64_t k)
{
    AffineFactor f = affine_factor(lane.node, lane.lane, k);
    if (!f.by.node) return number_now(s, f.number);
    LaneRef by = lane_env_get(s->env, f.by);
    if (!f.divides) return by;
    const Node *divisor = lanes_gather(s->env->b, &by, 1);
    return (LaneRef){build_binary(s->env->b, OP_div, build_scalar(s->env->b, 1), divisor), 0};
}

// The operands of v that vary, as terms of its slopes.
static void collect_terms(const Slopes *s, Varying *v, Sum *sums)
{
    int64_t K = affine_operands(v->lane.node);
    for (int64_t k = 0; k < K; k++) {
        const Varying *in = varying(s, affine_operand(v->lane.node, v->lane.lane, k));
        if (!in) continue;
        LaneRef factor = factor_now(s, v->lane, k);
        for (int j = 0; j < s->y->size; j++) {
            if (!in->slope[j].node) continue;
            sums[j].factor[sums[j].n] = factor;
            sums[j].slope[sums[j].n++] = in->slope[j];
        }
    }
}

static void set_plain(const Sum *t)
{
    if (t->n != 1) return;
    if (is_one(t->slope[0]))
        *t->to = t->factor[0];
    else if (is_one(t->factor[0]))
        *t->to = t->slope[0];
}

static bool is_open(const Sum *t) { return t->n && !t->to->node; }

// The sums that are no single lanes, all in one product.
static void build_sums(const Slopes *s, const Sum *sums, int64_t n)
{
    Builder *b = s->env->b;
    int64_t dim[2] = {0, 0}, at = 0, sum_at = 0;
    for (int64_t i = 0; i < n; i++) {
        set_plain(&sums[i]);
        if (!is_open(&sums[i])) continue;
        dim[0]++;
        if (sums[i].n > dim[1]) dim[1] = sums[i].n;
    }
    if (!dim[0]) return;
    LaneRef *factor = emit_refs(dim[0] * dim[1]), *slope = emit_refs(dim[0] * dim[1]), zero = number_now(s, 0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < dim[1] && is_open(&sums[i]); k++, at++) {
            factor[at] = k < sums[i].n ? sums[i].factor[k] : zero;
            slope[at] = k < sums[i].n ? sums[i].slope[k] : zero;
        }
    Type t = type_make(T_F32, 2, dim);
    const Node *slopes = lanes_gather_as(b, slope, t);
    const Node *product = build_binary(b, OP_mul, lanes_gather_as(b, factor, t), slopes);
    const Node *sum = build_reduce(b, OP_reduce_sum, product);
    for (int64_t i = 0; i < n; i++)
        if (is_open(&sums[i])) *sums[i].to = (LaneRef){sum, sum_at++};
    free(factor);
    free(slope);
}

// The slopes of `count` lanes of one node.
static void find_slopes(const Slopes *s, Varying *v, int count)
{
    int size = s->y->size;
    int64_t K = affine_operands(v->lane.node), n = (int64_t)count * size;
    Sum *sums = heap_array(n, sizeof *sums);
    LaneRef *terms = emit_refs(2 * n * K);
    for (int64_t i = 0; i < n; i++)
        sums[i] = (Sum){terms + 2 * i * K, terms + (2 * i + 1) * K, &v[i / size].slope[i % size], 0};
    for (int i = 0; i < count; i++) collect_terms(s, &v[i], sums + (int64_t)i * size);
    build_sums(s, sums, n);
    free(sums);
    free(terms);
}

// Lanes in the order in which they are computed.
static void find_all(const Slopes *s, Varying *v, int n)
{
    for (int i = 0, j = 0; i<n; i = j> i ? j : i + 1) {
        for (j = i; j < n && !v[j].atom && v[j].lane.node == v[i].lane.node;) j++;
        if (j > i) find_slopes(s, v + i, j - i);
    }
}

// ---- the matrix

static Varying *varying_lanes(const System *y, LaneRef *slope, LaneRef unit)
{
    Varying *v = heap_array(y->k + y->n_between, sizeof *v);
    for (int i = 0; i < y->k + y->n_between; i++) {
        v[i] = (Varying){i < y->k ? y->atoms[i] : y->between[i - y->k], i < y->k, slope + (int64_t)i * y->size};
        if (i < y->k) v[i].slope[i % y->size] = unit;
    }
    qsort(v, (size_t)(y->k + y->n_between), sizeof *v, lane_compare);
    return v;
}

// [systems, known, atoms]
static const Node *matrix(LaneEnv *env, const System *y)
{
    int64_t size = y->size, dim[3] = {y->k / size, size, size};
    LaneRef *slope = emit_refs((2 * y->k + y->n_between) * size), *entry = slope + (y->k + y->n_between) * size;
    Slopes s = {env, y, NULL, y->k + y->n_between};
    s.varying = varying_lanes(y, slope, number_now(&s, 1));
    Varying *known = heap_array(y->k, sizeof *known);
    for (int i = 0; i < y->k; i++) known[i] = (Varying){y->known[i], false, entry + i * size};
    find_all(&s, s.varying, s.n);
    find_all(&s, known, y->k);
    for (int64_t i = 0; i < y->k * size; i++)
        if (!entry[i].node) entry[i] = number_now(&s, 0);
    const Node *a = lanes_gather_as(env->b, entry, type_make(T_F32, 3, dim));
    free(slope);
    free(s.varying);
    free(known);
    return a;
}

const Node *system_solve(LaneEnv *env, const System *y, const Node *u)
{
    Builder *b = env->b;
    const Node *a = matrix(env, y), *x = build_reshape(b, u, 3, (int64_t[]){y->k / y->size, y->size, 1});
    x = y->size == 1 ? build_binary(b, OP_div, x, a) : build_solve(b, a, x);
    return build_reshape(b, x, 1, &(int64_t){y->k});
}

const Node *system_pivots(LaneEnv *env, const System *y)
{
    const Node *a = matrix(env, y);
    return build_reshape(env->b, y->size == 1 ? a : build_pivots(env->b, a, NULL), 1, &(int64_t){y->k});
}
