// Moves: a slice of one value is that value at an offset, a concatenation is filled in place where its parts allow it,
// what is left is a move step.
#include "planner.h"

static int64_t map_at(const Node *m, int64_t i) { return m->map ? m->map[i] : i; }

View view_of(const Node *m)
{
    const View none = {NULL, 0, 0, 0, 0};
    int64_t n = type_lanes(m->type);
    if (m->n_in != 1 || !n) return none;
    View v = {m->in[0], map_at(m, 0), n, 0, n > 1 ? map_at(m, 1) - map_at(m, 0) : 1};
    for (int64_t i = 1; i < n; i++)
        if (map_at(m, i) != v.first + i * v.inner_step) {
            v.inner = i;
            v.outer_step = map_at(m, i) - v.first;
            break;
        }
    if (n % v.inner) return none;
    for (int64_t i = 0; i < n; i++)
        if (map_at(m, i) != v.first + i / v.inner * v.outer_step + i % v.inner * v.inner_step) return none;
    return v;
}

bool is_slice(const Planner *p, const Node *m)
{
    View v = p->view[m->id];
    return v.source && v.inner == type_lanes(m->type) && (v.inner_step == 1 || v.inner == 1);
}

const Node *reshaped(const Planner *p, const Node *v)
{
    if (v->op != OP_move || p->unit[v->id] >= 0 || !is_slice(p, v)) return v;
    const Node *source = p->view[v->id].source;
    return type_lanes(source->type) == type_lanes(v->type) ? source : v;
}

const Node *reduced_across(const Planner *p, const Node *reduction)
{
    const Node *m = reduction->in[0];
    int64_t lanes = type_lanes(m->type), outer = type_lanes(reduction->type);
    if (m->op != OP_move || lanes == outer || outer == 1) return NULL;
    View v = p->view[m->id];
    if (p->columns[m->id]) return m;
    bool across = v.source && v.first == 0 && v.inner == lanes / outer && v.inner_step == outer && v.outer_step == 1;
    return across && type_lanes(v.source->type) == lanes && !node_is_const(v.source) ? v.source : NULL;
}

Place place_of(Planner *p, const Node *v)
{
    if (p->place[v->id].known) return p->place[v->id];
    if (node_is_const(v)) return p->place[v->id] = (Place){true, SPACE_CONST, -1, pool_node(p->pool, v)};
    Place at = place_of(p, p->view[v->id].source);
    at.at += (uint32_t)p->view[v->id].first;
    return at;
}

// All parts of a concatenation are results of steps, and nobody has a place for them yet.
static bool can_grow(const Planner *p, const Node *m)
{
    for (int k = 0; k < m->n_in; k++) {
        const Node *part = m->in[k];
        if (p->unit[part->id] < 0 || part->op == OP_move || p->reserved[part->id].known) return false;
    }
    return p->grow && m->n_in > 2;
}

static bool is_prefix(const Node *small, const Node *large)
{
    if (small->n_in > large->n_in) return false;
    for (int k = 0; k < small->n_in; k++)
        if (small->in[k] != large->in[k]) return false;
    return true;
}

// What earlier rounds left, as later rounds read it: h0; h0 h1; h0 h1 h2; ... The longest gets the buffer, which its
// parts fill one after the other; the shorter ones are its beginnings. A part may spoil up to 15 lanes behind it, so
// each must be written before the next one: checked by parts_in_order.
bool grow_parts(Planner *p, const Node *m)
{
    for (int g = 0; g < p->n_grown; g++) {
        if (!is_prefix(m, p->grown[g])) continue;
        p->view[m->id] = (View){p->grown[g], 0, type_lanes(m->type), 0, 1};
        p->unit[m->id] = -1;
        return true;
    }
    if (!can_grow(p, m)) return false;
    Place at = {true, SPACE_WORK, new_buffer(p, type_lanes(m->type) + 15), 0};
    p->place[m->id] = p->reserved[m->id] = at;
    for (int k = 0; k < m->n_in; k++) {
        p->reserved[m->in[k]->id] = at;
        at.at += (uint32_t)type_lanes(m->in[k]->type);
    }
    ARENA_PUSH(scratch_arena(p->cx), p->grown, p->n_grown, p->cap_grown, m);
    return true;
}

bool parts_in_order(const Planner *p)
{
    for (int g = 0; g < p->n_grown; g++)
        for (int k = 1; k < p->grown[g]->n_in; k++)
            if (p->written[p->grown[g]->in[k]->id] <= p->written[p->grown[g]->in[k - 1]->id]) return false;
    return true;
}

// A concatenation's parts are computed where they belong, as far as they start and end at multiples of 16 lanes.
void reserve_parts(Planner *p, const Node *m)
{
    int64_t at = 0;
    int buffer = -1;
    for (int k = 0; k < m->n_in; k++) {
        const Node *part = m->in[k];
        int64_t lanes = type_lanes(part->type);
        bool ends = lanes % 16 == 0 || k + 1 == m->n_in, whole = at % 16 == 0 && ends && p->unit[part->id] >= 0;
        if (whole && !p->reserved[part->id].known && part->op != OP_move) {
            if (buffer < 0) buffer = new_buffer(p, type_lanes(m->type));
            p->reserved[part->id] = (Place){true, SPACE_WORK, buffer, (uint32_t)at};
        }
        at += lanes;
    }
    if (buffer >= 0) p->reserved[m->id] = (Place){true, SPACE_WORK, buffer, 0};
}

static bool in_place(Place at, Place out, int64_t lane, int64_t i)
{
    return at.space == SPACE_WORK && out.buffer == at.buffer && at.at + lane == out.at + i;
}

// ---- windows that are reduced: by columns, the first elements of all lines, then the second ones, where that is a
// copy of longer runs, as of a picture that lies place after place (a pool, the adjoint of a convolution's windows)

static int64_t by_columns(const Node *m, int64_t at)
{
    int64_t lines = type_lanes(m->type) / type_last(m->type);
    return at % lines * type_last(m->type) + at / lines;
}

static int64_t runs_of(const Node *m, bool columns)
{
    int64_t runs = 0, before = -2;
    for (int64_t i = 0; i < type_lanes(m->type); i++) {
        int64_t lane = map_at(m, columns ? by_columns(m, i) : i);
        runs += lane != before + 1;
        before = lane;
    }
    return runs;
}

enum { LONGER = 8 };

void find_columns(Planner *p)
{
    bool *elsewhere = ARENA_ARRAY(scratch_arena(p->cx), bool, p->f->n_nodes + 1);
    for (int i = 0; i < p->f->n_nodes; i++)
        for (int k = 0; k < p->f->nodes[i]->n_in; k++)
            if (p->f->nodes[i]->in[k] && op_info(p->f->nodes[i]->op)->kind != KIND_REDUCE)
                elsewhere[p->f->nodes[i]->in[k]->id] = true;
    for (int i = 0; i < p->f->n_outputs; i++) elsewhere[p->f->outputs[i].node->id] = true;
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *m = p->f->nodes[i];
        if (m->op != OP_move || !m->map || p->unit[i] < 0 || elsewhere[i] || p->view[i].source) continue;
        p->columns[i] = runs_of(m, true) * LONGER < runs_of(m, false);
    }
}

// ---- move steps

// Does what is stored as lane `at` of m come from `space`, and not stand there already? *from: where it is.
static bool must_move(Planner *p, const Node *m, Place out, Space space, int64_t at, Place *from)
{
    int64_t lane, i = p->columns[m->id] ? by_columns(m, at) : at;
    *from = place_of(p, m->in[move_source(m, i, &lane)]);
    bool there = in_place(*from, out, lane, at);
    from->at += (uint32_t)lane;
    return from->space == space && !there;
}

// One move step for the lanes of m that stand in `space`.
static void move_from_space(Planner *p, const Node *m, Place out, Space space)
{
    int64_t lanes = type_lanes(m->type), n = 0, to = 0;
    Place from;
    for (int64_t i = 0; i < lanes; i++) n += must_move(p, m, out, space, i, &from);
    if (!n) return;
    Arena *a = scratch_arena(p->cx);
    Table t = {p->n_steps, (uint32_t)n, ARENA_ARRAY(a, int, n), ARENA_ARRAY(a, uint32_t, n),
               ARENA_ARRAY(a, uint32_t, n)};
    for (int64_t i = 0; i < lanes; i++) {
        if (!must_move(p, m, out, space, i, &from)) continue;
        t.buffer[to] = space == SPACE_WORK ? from.buffer : -1;
        t.lane[to] = from.at;
        t.dst[to++] = (uint32_t)i;
        if (space == SPACE_WORK) touch_buffer(p, from.buffer, p->n_steps);
    }
    Step step = {.kind = STEP_MOVE};
    step.move.n = t.n;
    step.move.space = space;
    step.move.out = FIELD(p, out, move.out);
    ARENA_PUSH(scratch_arena(p->cx), p->tables, p->n_tables, p->cap_tables, t);
    put_step(p, step, m);
}

// A regular move is a map that copies; it needs no tables.
static void copy_view(Planner *p, const Node *m, Place out)
{
    View v = p->view[m->id];
    MapCode code = {.n = 0};
    Place at = place_of(p, v.source);
    Step s = {.kind = STEP_MAP};
    s.map = (MapStep){.n = (uint32_t)type_lanes(m->type), .n_args = 1, .n_outs = 1};
    s.map.outs[0].value = (uint32_t)map_arg(&code, 0);
    s.map.n_code = (uint32_t)code.n;
    s.map.code = arena_intern(p->cx->arena, code.code, (size_t)code.n * sizeof *code.code);
    s.map.args[0] = (Access){at.space, 0, (uint32_t)v.inner, (int32_t)v.outer_step, (int32_t)v.inner_step};
    s.map.args[0].at = FIELD(p, at, map.args[0].at) + (uint32_t)v.first;
    s.map.outs[0].at = FIELD(p, out, map.outs[0].at);
    put_step(p, s, m);
}

void emit_move(Planner *p, const Node *m)
{
    Place out = store_node(p, m);
    if (p->view[m->id].source && !p->reserved[m->id].known) {
        copy_view(p, m, out);
        return;
    }
    for (Space s = SPACE_WORK; s <= SPACE_CONST; s++) move_from_space(p, m, out, s);
}

Place emit_extra(Planner *p, const Node *m)
{
    emit_move(p, m);
    Place at = p->place[m->id];
    p->place[m->id].known = false; // the next one has the same number
    return at;
}
