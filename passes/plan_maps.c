// Maps: a cluster of elementwise nodes becomes the code of one map step, or of several where it is too long.
//
// A member's value is a value number of the code (expand.h). What comes from outside is an immediate, where it is one number
// for all lanes, or an argument: an Access (plan.h), which says where its number for lane i lies. A constant that repeats is
// stored once.
#include "float_bits.h"
#include "planner.h"

#include <stdlib.h>

typedef struct Cluster {
    MapCode code;
    int *value;          // by node id: value number + 1; 0: none yet
    const Node **valued; // those that have one
    int n_valued, cap_valued;
    int *reader; // by node id, of members: the last member that reads it, or -1
    const Node *args[MAP_MAX_ARGS];
    int n_args;
    bool full;
} Cluster;

static Cluster *empty_cluster(Planner *p)
{
    if (!p->cluster) {
        p->cluster = ARENA_NEW(scratch_arena(p->cx), Cluster);
        p->cluster->value = ARENA_ARRAY(scratch_arena(p->cx), int, p->f->n_nodes + 1);
        p->cluster->reader = ARENA_ARRAY(scratch_arena(p->cx), int, p->f->n_nodes + 1);
    }
    Cluster *c = p->cluster;
    for (int i = 0; i < c->n_valued; i++) c->value[c->valued[i]->id] = 0;
    c->code.n = c->n_valued = c->n_args = 0;
    c->code.overflow = c->full = false;
    return c;
}

static int set_value(Planner *p, Cluster *c, const Node *v, int value)
{
    if (!c->value[v->id]) ARENA_PUSH(scratch_arena(p->cx), c->valued, c->n_valued, c->cap_valued, v);
    c->value[v->id] = value + 1;
    return value;
}

enum { MOST_LOOKED_AT = 4096 }; // lanes of a constant that may all be equal

static bool imm_const(const Node *c, double *v)
{
    return node_is_const(c) &&
           (type_lanes(c->type) == 1 || (type_lanes(c->type) <= MOST_LOOKED_AT && const_is_splat(c, v)));
}

static int operand_value(Planner *p, Cluster *c, const Node *v)
{
    double imm = 0;
    if (c->value[v->id]) return c->value[v->id] - 1;
    if (imm_const(v, &imm)) return set_value(p, c, v, map_float(&c->code, (float)const_at(v, 0)));
    if (p->made[v->id]) {
        int a = operand_value(p, c, v->in[0]), b = operand_value(p, c, v->in[1]);
        return set_value(p, c, v, expand_op(&c->code, v->op, v->alpha, a, b, 0));
    }
    if (c->n_args == MAP_MAX_ARGS) {
        c->full = true;
        return 0;
    }
    c->args[c->n_args] = v;
    return set_value(p, c, v, map_arg(&c->code, c->n_args++));
}

static void find_readers(Cluster *c, const Node *const *members, int n)
{
    for (int i = 0; i < n; i++) c->reader[members[i]->id] = -1;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < members[i]->n_in; k++) c->reader[members[i]->in[k]->id] = i;
}

static Access arg_access(Planner *p, const Node *v, uint32_t n, int arg)
{
    size_t offset = offsetof(Step, map.args) + (size_t)arg * sizeof(Access) + offsetof(Access, at);
    View view = p->view[v->id];
    bool viewed = v->op == OP_move && !p->place[v->id].known && view.source;
    Place at = place_of(p, viewed ? view.source : v);
    Access a = {.space = at.space, .inner = n, .inner_step = type_lanes(v->type) == 1 ? 0 : 1};
    a.at = field_of(p, at, offset);
    if (!viewed) return a;
    a.at += (uint32_t)view.first;
    if (type_lanes(v->type) == 1) return a;
    a.inner = (uint32_t)view.inner;
    a.outer_step = (int32_t)view.outer_step;
    a.inner_step = (int32_t)view.inner_step;
    return a;
}

// ---- large constants that repeat: a norm's scale for every token, a channel's bias for every place

enum { LARGE_CONST = 4096, LEAST_RUN = 32 };

static uint32_t word_at(const Node *v, int64_t i) { return word_of((float)const_at(v, i)); }

static bool repeats(const Node *v, int64_t period)
{
    int64_t n = type_lanes(v->type), i = period;
    while (i < n && word_at(v, i) == word_at(v, i - period)) i++;
    return i >= n;
}

static bool holds(const Node *v, int64_t length)
{
    int64_t n = type_lanes(v->type), i = 0;
    while (i < n && word_at(v, i) == word_at(v, i / length * length)) i++;
    return i == n;
}

// A constant as an access of two levels and the words that it needs. inner 0: it is neither, or not worth it.
typedef struct {
    int64_t inner, words, stride; // lane k of the words is lane k * stride of the constant
} Rhythm;

// run: the length that other arguments have, or 0.
static Rhythm rhythm_of(const Node *v, int64_t run)
{
    const Rhythm none = {0, 0, 0};
    int64_t n = type_lanes(v->type), length = 1;
    if (!node_is_const(v) || n < LARGE_CONST) return none;
    while (length < n && word_at(v, length) == word_at(v, 0)) length++;
    if (length >= LEAST_RUN && length < n && n % length == 0 && holds(v, length))
        return (Rhythm){length, n / length, length};
    if (run > 0 && n % run == 0 && repeats(v, run)) return (Rhythm){run, run, 1};
    for (int64_t period = LEAST_RUN; 2 * period <= n; period++)
        if (n % period == 0 && repeats(v, period)) return (Rhythm){period, period, 1};
    return none;
}

// Runs of one length alone keep the loops over a map simple: that of the arguments of two levels, or -1.
static int64_t run_length(const MapStep *s)
{
    int64_t run = 0;
    for (uint32_t k = 0; k < s->n_args; k++) {
        const Access *a = &s->args[k];
        bool even = a->inner >= s->n || a->inner == 1 || (int64_t)a->inner * a->inner_step == a->outer_step;
        if (!even) run = run && run != a->inner ? -1 : (int64_t)a->inner;
    }
    return run;
}

// Constant v as argument k of s, whose arguments that are no constants are there.
static Access const_access(Planner *p, const MapStep *s, const Node *v, int k)
{
    int64_t run = run_length(s);
    Rhythm r = type_lanes(v->type) == s->n ? rhythm_of(v, run) : (Rhythm){0, 0, 0};
    if (!r.inner || (run && run != r.inner)) return arg_access(p, v, s->n, k);
    float *words = heap_array(r.words, sizeof *words);
    for (int64_t i = 0; i < r.words; i++) words[i] = (float)const_at(v, i * r.stride);
    bool held = r.stride > 1;
    Access a = {SPACE_CONST, pool_put(p->pool, words, (uint64_t)r.words), (uint32_t)r.inner, held, !held};
    free(words);
    return a;
}

static void set_args(Planner *p, MapStep *s, const Node *const *args)
{
    for (uint32_t k = 0; k < s->n_args; k++) s->args[k] = (Access){.inner = s->n, .inner_step = 1};
    for (uint32_t k = 0; k < s->n_args; k++)
        if (!node_is_const(args[k])) s->args[k] = arg_access(p, args[k], s->n, (int)k);
    for (uint32_t k = 0; k < s->n_args; k++)
        if (node_is_const(args[k])) s->args[k] = const_access(p, s, args[k], (int)k);
}

enum { CODE_LIMIT = 256 };

// Members lo .. hi of the cluster as one map step; false where that exceeds its limits (nothing is put).
static bool emit_members(Planner *p, const Node *const *members, int lo, int hi)
{
    Cluster *c = empty_cluster(p);
    Step s = {.kind = STEP_MAP};
    const Node *outs[MAP_MAX_OUTS];
    for (int i = lo; i < hi && !c->full; i++) {
        const Node *m = members[i];
        int v[3] = {0};
        for (int k = 0; k < m->n_in; k++) v[k] = operand_value(p, c, m->in[k]);
        int now = expand_op(&c->code, m->op, m->alpha, v[0], v[1], v[2]);
        if (m->op == OP_div && m->type.dtype == T_I64) now = expand_op(&c->code, OP_trunc, 0, now, 0, 0);
        set_value(p, c, m, now);
        if (c->code.overflow || (c->code.n > CODE_LIMIT && hi - lo > 1)) c->full = true;
        if (!p->stored[m->id] && c->reader[m->id] < hi) continue;
        if (s.map.n_outs == MAP_MAX_OUTS)
            c->full = true;
        else
            outs[s.map.n_outs++] = m;
    }
    if (c->full) return false;
    s.map.n = (uint32_t)type_lanes(members[lo]->type);
    s.map.n_args = (uint32_t)c->n_args;
    s.map.n_code = (uint32_t)c->code.n;
    s.map.code = arena_intern(p->cx->arena, c->code.code, (size_t)c->code.n * sizeof *s.map.code);
    set_args(p, &s.map, c->args);
    for (uint32_t k = 0; k < s.map.n_outs; k++) {
        s.map.outs[k].value = (uint32_t)c->value[outs[k]->id] - 1;
        s.map.outs[k].at = field_of(p, store_node(p, outs[k]), offsetof(Step, map.outs) + k * sizeof s.map.outs[0]);
    }
    if (s.map.n_outs) put_step(p, s, members[hi - 1]);
    return true;
}

static void emit_part(Planner *p, const Node *const *members, int lo, int hi)
{
    if (lo >= hi || emit_members(p, members, lo, hi)) return;
    int mid = (lo + hi) / 2;
    emit_part(p, members, lo, mid);
    emit_part(p, members, mid, hi);
}

void emit_cluster(Planner *p, const Node *const *members, int n)
{
    find_readers(empty_cluster(p), members, n);
    emit_part(p, members, 0, n);
}
