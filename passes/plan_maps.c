// Maps: a cluster of elementwise nodes becomes the code of one map step, or of several where it is too long.
#include "planner.h"

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
        p->cluster = ARENA_NEW(p->cx->arena, Cluster);
        p->cluster->value = ARENA_ARRAY(p->cx->arena, int, p->f->n_nodes + 1);
        p->cluster->reader = ARENA_ARRAY(p->cx->arena, int, p->f->n_nodes + 1);
    }
    Cluster *c = p->cluster;
    for (int i = 0; i < c->n_valued; i++) c->value[c->valued[i]->id] = 0;
    c->code.n = c->n_valued = c->n_args = 0;
    c->code.overflow = c->full = false;
    return c;
}

static int set_value(Planner *p, Cluster *c, const Node *v, int value)
{
    if (!c->value[v->id]) ARENA_PUSH(p->cx->arena, c->valued, c->n_valued, c->cap_valued, v);
    c->value[v->id] = value + 1;
    return value;
}

static bool imm_const(const Node *c, double *v)
{
    return node_is_const(c) && (type_lanes(c->type) == 1 || (type_lanes(c->type) <= 4096 && const_is_splat(c, v)));
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
        set_value(p, c, m, expand_op(&c->code, m->op, m->alpha, v[0], v[1], v[2]));
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
    s.map.code = arena_copy(p->cx->arena, c->code.code, (size_t)c->code.n * sizeof *s.map.code);
    for (int k = 0; k < c->n_args; k++) s.map.args[k] = arg_access(p, c->args[k], s.map.n, k);
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
