// plan: a lowered module -> Plan. Each function becomes a program of steps over numbered lanes.
//
// 1. Values. A node's lanes are stored contiguously in WORK (or stand in PREP, for the input p). A move that is a
//    slice of one value is that value at an offset; a two-level regular one is an Access of the map that reads it; any
//    other is stored by move steps. Some differences and products are made by the steps that read them.
// 2. Clusters. Elementwise nodes of equal lane count that feed each other become one map step. A node's level counts
//    the steps before it; only nodes of equal level are joined, so clusters cannot wait for each other.
// 3. Order: topological, smallest original position first. Then buffers get lanes by lifetime, first fit; a map's result
//    takes over an argument's where it can.
// 4. Constants are packed once into CONST, shared by content between programs.
#include "base.h"
#include "planner.h"
#include "units.h"

#include <stdlib.h>
#include <string.h>

// ---- lanes of buffers

static int by_first(const void *a, const void *b)
{
    const Buffer *x = *(Buffer *const *)a, *y = *(Buffer *const *)b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : x < y ? -1 : x > y;
}

enum { MANY_STEPS = 512, MOST_ROUNDED = 2048 };

// In a long program the lanes that grow from round to round (the logits of token 5, 6, 7, ...) take the room of a power
// of two, so that what lies behind them stays, and roll_steps finds rounds alike.
static uint32_t room_of(const Planner *p, uint32_t lanes)
{
    uint32_t room = 16;
    if (p->n_steps < MANY_STEPS || lanes > MOST_ROUNDED) return (uint32_t)round_up_lanes(lanes);
    while (room < lanes) room *= 2;
    return room;
}

// ---- maps in place: a result takes over the lanes of an argument that nobody reads later, so that they stay in cache.

// Fixups from f on, of one step.
static int same_step(const Planner *p, int f)
{
    int n = f;
    while (n < p->n_fixups && p->fixups[n].step == p->fixups[f].step) n++;
    return n - f;
}

static bool at_start(const Planner *p, const Fixup *f, uint32_t n)
{
    return *(const uint32_t *)((const char *)&p->steps[f->step] + f->offset) == 0 && p->buffers[f->buffer].lanes == n;
}

static bool is_result(const Fixup *f) { return f->offset >= offsetof(Step, map.outs); }

// The argument of this fixup is read lane by lane, as results are written.
static bool reads_in_order(const Planner *p, const Fixup *f)
{
    const MapStep *s = &p->steps[f->step].map;
    const Access *a = &s->args[(f->offset - offsetof(Step, map.args)) / sizeof(Access)];
    return at_start(p, f, s->n) && a->inner == s->n && a->inner_step == 1;
}

// The first argument of the step that dies there and is read in order wherever the step reads it, or -1.
static int free_argument(const Planner *p, const Fixup *all, int n)
{
    for (int i = 0; i < n; i++) {
        int buffer = all[i].buffer;
        bool good = !is_result(&all[i]) && p->buffers[buffer].last == all[i].step;
        for (int k = 0; k < n && good; k++)
            if (all[k].buffer == buffer) good = !is_result(&all[k]) && reads_in_order(p, &all[k]);
        if (good) return buffer;
    }
    return -1;
}

static void find_maps_in_place(Planner *p)
{
    for (int f = 0, n; f < p->n_fixups; f += n) {
        const Fixup *all = &p->fixups[f];
        n = same_step(p, f);
        if (p->steps[all->step].kind != STEP_MAP) continue;
        int argument = free_argument(p, all, n);
        for (int i = 0; i < n && argument >= 0; i++) {
            Buffer *b = &p->buffers[all[i].buffer];
            if (!is_result(&all[i]) || b->first != all[i].step || !at_start(p, &all[i], p->steps[all->step].map.n))
                continue;
            b->over = argument;
            break;
        }
    }
}

// First fit among the buffers that live at the same time.
static uint32_t assign_lanes(Planner *p)
{
    Buffer **order = ARENA_ARRAY(scratch_arena(p->cx), Buffer *, p->n_buffers + 1),
           **live = ARENA_ARRAY(scratch_arena(p->cx), Buffer *, p->n_buffers + 1);
    uint32_t total = 0;
    int n_live = 0;
    for (int i = 0; i < p->n_buffers; i++) order[i] = &p->buffers[i];
    qsort(order, (size_t)p->n_buffers, sizeof *order, by_first);
    for (int i = 0; i < p->n_buffers; i++) {
        Buffer *b = order[i];
        int kept = 0, k = 0;
        for (int j = 0; j < n_live; j++)
            if (live[j]->last >= b->first && live[j] - p->buffers != b->over) live[kept++] = live[j];
        n_live = kept;
        uint32_t at = 0, size = room_of(p, b->lanes);
        if (b->over >= 0) at = p->buffers[b->over].at;
        for (; k < n_live && at + size > live[k]->at; k++) // live is sorted by lane
            if (b->over < 0) at = live[k]->at + room_of(p, live[k]->lanes);
        memmove(live + k + 1, live + k, (size_t)(n_live - k) * sizeof *live);
        live[k] = b;
        n_live++;
        b->at = at;
        if (at + size > total) total = at + size;
    }
    return total;
}

static void put_table(Planner *p, MoveStep *s, const Table *t)
{
    MoveRun *runs = move_runs(t->lane, t->dst, t->n, &s->runs);
    s->src_table =
        runs ? pool_put(p->pool, runs, (uint64_t)s->runs * MOVE_RUN_WORDS) : pool_put(p->pool, t->lane, t->n);
    s->dst_table = runs ? 0 : pool_put(p->pool, t->dst, t->n);
    if (!runs) s->runs = 0;
    free(runs);
}

static void fix_fields(Planner *p)
{
    for (int i = 0; i < p->n_fixups; i++) {
        Fixup f = p->fixups[i];
        uint32_t *field = (uint32_t *)((char *)&p->steps[f.step] + f.offset);
        *field += p->buffers[f.buffer].at;
    }
    for (int i = 0; i < p->n_tables; i++) {
        Table t = p->tables[i];
        for (uint32_t k = 0; k < t.n; k++)
            if (t.buffer[k] >= 0) t.lane[k] += p->buffers[t.buffer[k]].at;
        uint32_t low = t.lane[0];
        for (uint32_t k = 1; k < t.n; k++)
            if (t.lane[k] < low) low = t.lane[k];
        for (uint32_t k = 0; k < t.n; k++) t.lane[k] -= low;
        p->steps[t.step].move.in = low;
        put_table(p, &p->steps[t.step].move, &t);
    }
}

// ---- ports

typedef struct {
    const char *name;
    PortKind kind;
} PortName;

static const PortName NAMES[] = {
    {"x", PORT_X},     {"z", PORT_Z},     {"log_det", PORT_LOG_DET}, {"log_prob", PORT_LOG_PROB},
    {"act", PORT_ACT}, {"e", PORT_EARLY}, {"p", PORT_PREP},          {"score", PORT_SCORE}};

static PlanPort port_named(const char *name, bool graph, int index)
{
    PlanPort port = {graph ? PORT_GRAPH : PORT_CONTEXT, (uint32_t)index, 0, 0};
    if (!graph && !strncmp(name, "score.", 6))
        return (PlanPort){PORT_SCORE, (uint32_t)index, 0, 0}; // of context index - 1
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0] && !graph; i++)
        if (!strcmp(NAMES[i].name, name)) port = (PlanPort){NAMES[i].kind, 0, 0, 0};
    return port;
}

static int place_inputs(Planner *p, PlanPort *ports, bool graph, bool contexts, int *buffers)
{
    int n = 0;
    for (int i = 0; i < p->f->n_inputs; i++) {
        const Node *in = p->f->inputs[i];
        PlanPort port = contexts ? (PlanPort){PORT_CONTEXT, (uint32_t)i, 0, 0} : port_named(in->name, graph, i);
        port.lanes = (uint32_t)type_lanes(in->type);
        if (port.kind == PORT_PREP) {
            p->place[in->id] = (Place){true, SPACE_PREP, -1, 0};
            continue;
        }
        buffers[n] = store_node(p, in).buffer;
        touch_buffer(p, buffers[n], 0);
        ports[n++] = port;
    }
    return n;
}

// An output that stands in PREP or CONST is copied; all live to the end.
static PlanPort place_output(Planner *p, const Output *out, bool graph, int index, int *buffer)
{
    Place at = place_of(p, out->node);
    PlanPort port = port_named(out->name, graph, index);
    port.lanes = (uint32_t)type_lanes(out->node->type);
    if (at.space != SPACE_WORK) {
        Node copy = {.op = OP_move, .type = out->node->type, .n_in = 1, .in = &out->node, .id = p->f->n_nodes};
        at = emit_extra(p, &copy);
    }
    *buffer = at.buffer;
    port.at = at.at;
    return port;
}

// How a program is planned: its ports are the graph's, its inputs contexts; planner.h says the rest.
typedef struct {
    bool graph, contexts, grow, tiled;
} Manner;

static Program plan_with(Context *cx, Pool *pool, const Function *f, const Manner *how, bool *ordered)
{
    Planner p = {.cx = cx, .f = f, .pool = pool};
    size_t n = (size_t)f->n_nodes + 2;
    p.place = ARENA_ARRAY(scratch_arena(cx), Place, n);
    p.view = ARENA_ARRAY(scratch_arena(cx), View, n);
    p.windows = ARENA_ARRAY(scratch_arena(cx), Windows *, n);
    p.level = ARENA_ARRAY(scratch_arena(cx), int, n);
    p.unit = ARENA_ARRAY(scratch_arena(cx), int, n);
    p.stored = ARENA_ARRAY(scratch_arena(cx), bool, n);
    p.made = ARENA_ARRAY(scratch_arena(cx), bool, n);
    p.columns = ARENA_ARRAY(scratch_arena(cx), bool, n);
    p.reserved = ARENA_ARRAY(scratch_arena(cx), Place, n);
    p.written = ARENA_ARRAY(scratch_arena(cx), int, n);
    p.grow = how->grow;
    p.tiled = how->tiled;
    PlanPort *in = ARENA_ARRAY(cx->arena, PlanPort, f->n_inputs + 1),
             *out = ARENA_ARRAY(cx->arena, PlanPort, f->n_outputs + 1);
    int *in_buffers = ARENA_ARRAY(scratch_arena(cx), int, f->n_inputs + 1),
        *out_buffers = ARENA_ARRAY(scratch_arena(cx), int, f->n_outputs + 1);
    find_levels(&p);
    find_windows(&p);
    find_stored(&p);
    find_columns(&p);
    find_made(&p);
    int n_in = place_inputs(&p, in, how->graph, how->contexts, in_buffers);
    emit_units(&p);
    for (int i = 0; i < f->n_outputs; i++) out[i] = place_output(&p, &f->outputs[i], how->graph, i, &out_buffers[i]);
    for (int i = 0; i < f->n_outputs; i++) touch_buffer(&p, out_buffers[i], p.n_steps);
    *ordered = parts_in_order(&p);
    find_maps_in_place(&p);
    uint32_t lanes = assign_lanes(&p);
    fix_fields(&p);
    for (int i = 0; i < n_in; i++) in[i].at = p.buffers[in_buffers[i]].at;
    for (int i = 0; i < f->n_outputs; i++) out[i].at += p.buffers[out_buffers[i]].at;
    return (Program){true, p.steps, p.n_steps, lanes ? lanes : 16, in, out, n_in, f->n_outputs};
}

// Its steps are in the scratch arena: roll_steps copies what remains of them.
static Program plan_function(Context *cx, Pool *pool, const Function *f, Manner how)
{
    Context own = *cx;
    own.scratch = arena_within(scratch_arena(cx));
    bool ordered = false;
    how.grow = true;
    Program program = plan_with(&own, pool, f, &how, &ordered);
    how.grow = false;
    if (!ordered) program = plan_with(&own, pool, f, &how, &ordered);
    program.steps = arena_copy(scratch_arena(cx), program.steps, (size_t)program.n_steps * sizeof *program.steps);
    arena_free(own.scratch);
    return program;
}

// ---- the plan

static PlanValue value_of(const char *name, Type type, int64_t lanes)
{
    PlanValue v = {
        .name = name, .dtype = type.dtype == T_F64 ? T_F32 : type.dtype, .rank = type.rank, .lanes = (uint32_t)lanes};
    for (int i = 0; i < type.rank; i++) v.dim[i] = type.dim[i];
    return v;
}

static PlanValue *port_values(Context *cx, const Port *ports, int n)
{
    PlanValue *v = ARENA_ARRAY(cx->arena, PlanValue, n + 1);
    for (int i = 0; i < n; i++) v[i] = value_of(ports[i].name, ports[i].type, type_lanes(ports[i].type));
    return v;
}

// CONST begins with the tables of the noise program; a graph that is no flow draws golden inputs with it.
static void start_with_noise(Context *cx, const Flow *flow, Pool *pool, Program *noise)
{
    float *words = NULL;
    uint64_t n = 0;
    plan_noise(cx, flow->base_kind, flow->is_flow ? (uint32_t)flow->dims : 16, noise, &words, &n);
    pool_reserve(pool, n);
    memcpy(pool->words, words, n * sizeof *words);
    pool->n = n;
}

static int by_data(const void *a, const void *b)
{
    const Node *x = *(const Node *const *)a, *y = *(const Node *const *)b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    int64_t n = type_lanes(x->type), k = type_lanes(y->type);
    return (n < k) - (n > k); // the larger first: the others are its beginning
}

// Lanes of all constants, those of several functions once: so many CONST will hold, and few more.
static uint64_t constant_lanes(Context *cx, const Module *m)
{
    const Node **all = NULL;
    int n = 0, cap = 0;
    uint64_t lanes = 0;
    for (int i = 0; i < m->n_functions; i++)
        for (int k = 0; k < m->functions[i]->n_nodes; k++)
            if (node_is_const(m->functions[i]->nodes[k]))
                ARENA_PUSH(scratch_arena(cx), all, n, cap, m->functions[i]->nodes[k]);
    if (n) qsort(all, (size_t)n, sizeof *all, by_data);
    for (int i = 0; i < n; i++)
        if (!i || all[i]->data != all[i - 1]->data) lanes += (uint64_t)type_lanes(all[i]->type) + 15;
    return lanes;
}

static void plan_programs(Context *cx, Plan *plan, Pool *pool, const Module *m, bool tiled)
{
    for (ProgramId id = 0; id < PROGRAM_COUNT; id++) {
        const Function *f = id == PROGRAM_NOISE ? NULL : module_function(m, program_name(id));
        if (!f) continue;
        f = with_own_matrices(cx, with_diagonals(cx, with_scales(cx, f)));
        const Manner how = {.graph = id == PROGRAM_RUN, .contexts = id == PROGRAM_ENCODE, .tiled = tiled};
        plan->programs[id] = plan_function(cx, pool, f, how);
        if (id == PROGRAM_ENCODE) plan->early_lanes = (uint32_t)type_lanes(f->outputs[0].node->type);
        if (id == PROGRAM_LATE) plan->prep_lanes = (uint32_t)type_lanes(f->outputs[0].node->type);
    }
    const Program *act = &plan->programs[PROGRAM_ACT];
    if (act->exists) plan->notes = march_note(cx, act, &plan->programs[PROGRAM_TO_EVENT]);
    for (int i = 0; i < PROGRAM_COUNT; i++) roll_steps(cx, &plan->programs[i]);
}

// What nfcc info says besides roles and sizes, a line each.
static const char *notes_of(Arena *arena, const Flow *flow, const char *units, const char *march)
{
    const char *text = flow->why ? flow->why : "";
    if (flow->no_inverse) text = arena_format(arena, "%s\none way: %s", text, flow->no_inverse);
    if (units) text = arena_format(arena, "%s\n%s", text, units);
    if (flow->denoise > 0) text = arena_format(arena, "%s\ndenoise: act is x + %g^2 score(x)", text, flow->denoise);
    if (flow->has_clip)
        text = arena_format(arena, "%s\nclip: act keeps every number in %g..%g", text, flow->clip_lo, flow->clip_hi);
    return march ? arena_format(arena, "%s\n%s", text, march) : text;
}

Plan *plan_build(Context *cx, const Module *m, const Flow *flow, const char *name, const unsigned char hash[32],
                 bool tiled)
{
    Context own = {.arena = cx->arena, .diag = cx->diag, .scratch = arena_within(cx->arena)};
    Plan *plan = ARENA_NEW(cx->arena, Plan);
    Pool pool = {.arena = cx->arena};
    plan->name = name;
    memcpy(plan->hash, hash, 32);
    plan->given_only = flow->base_kind == BASE_STUDENT_T || flow->base_kind == BASE_GRAPH;
    pool_reserve(&pool, constant_lanes(&own, m) + (1 << 16));
    start_with_noise(cx, flow, &pool, &plan->programs[PROGRAM_NOISE]);
    plan_programs(&own, plan, &pool, m, tiled);
    arena_free(own.scratch);
    const char *march = plan->notes; // or NULL
    pool_reserve(&pool, 16);         // what a step may read past the end
    plan->weights = pool.words;
    plan->weight_lanes = pool.n;
    plan->n_inputs = m->n_inputs;
    plan->n_outputs = m->n_outputs;
    plan->inputs = port_values(cx, m->inputs, m->n_inputs);
    plan->outputs = port_values(cx, m->outputs, m->n_outputs);
    PlanValue *contexts = ARENA_ARRAY(cx->arena, PlanValue, flow->n_contexts + 1);
    for (int i = 0; i < flow->n_contexts; i++) contexts[i] = plan->inputs[flow->contexts[i]];
    plan->contexts = contexts;
    plan->n_contexts = flow->is_flow ? flow->n_contexts : 0;
    if (flow->is_flow) plan->event = value_of(flow->event ? flow->event : "x", flow->event_type, flow->dims);
    plan->base = flow->is_flow ? base_text(cx->arena, flow) : "";
    plan->notes = notes_of(cx->arena, flow, units_text(m), march);
    return plan_verify(plan, cx) ? plan : NULL;
}
