// Steps and the fields that wait for the buffers' lanes; products, reductions and table look-ups.
#include "planner.h"

int new_buffer(Planner *p, int64_t lanes)
{
    Buffer b = {(uint32_t)lanes, 0, -1, -1, -1};
    ARENA_PUSH(scratch_arena(p->cx), p->buffers, p->n_buffers, p->cap_buffers, b);
    return p->n_buffers - 1;
}

void touch_buffer(Planner *p, int buffer, int step)
{
    Buffer *b = &p->buffers[buffer];
    if (b->first < 0) b->first = step;
    if (step > b->last) b->last = step;
}

uint32_t field_of(Planner *p, Place at, size_t offset)
{
    if (at.space == SPACE_WORK) {
        Fixup f = {p->n_steps, at.buffer, offset};
        ARENA_PUSH(scratch_arena(p->cx), p->fixups, p->n_fixups, p->cap_fixups, f);
        touch_buffer(p, at.buffer, p->n_steps);
    }
    return at.at;
}

void put_step(Planner *p, Step step, const Node *n)
{
    step.name = n->origin && n->origin->node ? n->origin->node : op_info(n->op)->name;
    ARENA_PUSH(scratch_arena(p->cx), p->steps, p->n_steps, p->cap_steps, step);
}

Place store_node(Planner *p, const Node *n)
{
    Place at = p->reserved[n->id];
    if (!at.known) at = (Place){true, SPACE_WORK, new_buffer(p, type_lanes(n->type)), 0};
    p->place[n->id] = at;
    p->written[n->id] = p->n_steps;
    return at;
}

void emit_linear(Planner *p, const Node *n)
{
    const Node *w = n->in[1];
    LinearDims d = linear_dims(w->type);
    Step s = {.kind = STEP_GEMM};
    bool diagonal = is_diagonal(n), apart = d.groups > 1 && !diagonal;
    int64_t block = d.n;
    if (diagonal) d.n *= d.groups;
    const Windows *windows = p->unit[n->in[0]->id] < 0 ? windows_read(p, n, 0) : NULL;
    Place x = windows ? place_of_windows(p, n->in[0]) : place_of(p, n->in[0]);
    bool has_bias = n->n_in > 2 && n->in[2];
    const Node *add = n->n_in > 4 ? n->in[4] : n->n_in > 3 ? n->in[3] : NULL;
    s.gemm = (GemmStep){.m = (uint32_t)(type_lanes(n->type) / d.n),
                        .k = (uint32_t)d.k,
                        .n = (uint32_t)d.n,
                        .kb = (uint32_t)(d.n <= 64 && !windows ? (d.k + 3) / 4 : d.k),
                        .has_add = n->n_in == 4,
                        .scaled = n->n_in == 5,
                        .has_bias = has_bias,
                        .apart = apart,
                        .one_x = apart && type_lanes(n->in[0]->type) == d.k,
                        .diagonal = diagonal ? (uint32_t)block : 0,
                        .x_space = x.space,
                        .w = (diagonal ? pool_diagonal : pool_matrix)(p->pool, w)};
    s.gemm.x = FIELD(p, x, gemm.x);
    if (windows) {
        s.gemm.picture = (uint32_t)windows->lanes;
        s.gemm.places = pool_put(p->pool, windows->places, s.gemm.m);
        s.gemm.taps = pool_put(p->pool, windows->taps, tap_words(s.gemm.k));
    }
    if (add) {
        Place at = place_of(p, add);
        s.gemm.add_space = at.space;
        s.gemm.add = FIELD(p, at, gemm.add);
    }
    if (has_bias) s.gemm.bias = place_of(p, n->in[2]).at;
    s.gemm.out = FIELD(p, store_node(p, n), gemm.out);
    put_step(p, s, n);
}

void emit_linear_t(Planner *p, const Node *n)
{
    const Node *w = n->in[1];
    LinearDims d = linear_dims(w->type);
    Step s = {.kind = STEP_GEMM};
    Place x = place_of(p, n->in[0]);
    s.gemm = (GemmStep){.m = (uint32_t)(type_lanes(n->type) / d.k),
                        .k = (uint32_t)d.k,
                        .n = (uint32_t)d.n,
                        .kb = (uint32_t)d.k,
                        .transposed = true,
                        .apart = d.groups > 1,
                        .x_space = x.space,
                        .w = pool_matrix(p->pool, w)};
    s.gemm.x = FIELD(p, x, gemm.x);
    s.gemm.out = FIELD(p, store_node(p, n), gemm.out);
    put_step(p, s, n);
}

void emit_reduce(Planner *p, const Node *n)
{
    const Node *across = reduced_across(p, n), *in = across ? across : reshaped(p, n->in[0]), *centre = NULL;
    if (p->made[in->id]) centre = centre_of(p, in->in[0]), in = in->in[0]->in[0];
    Place x = place_of(p, in);
    Step s = {.kind = STEP_REDUCE};
    s.reduce = (ReduceStep){.op = n->op,
                            .squares = centre != NULL,
                            .centres = centre && type_lanes(centre->type) > 1,
                            .across = across != NULL,
                            .outer = (uint32_t)type_lanes(n->type),
                            .k = (uint32_t)type_last(n->in[0]->type),
                            .in_space = x.space};
    s.reduce.in = FIELD(p, x, reduce.in);
    if (centre) {
        Place c = place_of(p, centre);
        s.reduce.centre_space = c.space;
        s.reduce.centre = FIELD(p, c, reduce.centre);
    }
    s.reduce.out = FIELD(p, store_node(p, n), reduce.out);
    put_step(p, s, n);
}

void emit_matmul(Planner *p, const Node *n)
{
    Type a = n->in[0]->type;
    uint32_t M = (uint32_t)a.dim[a.rank - 2], N = (uint32_t)type_last(n->type);
    Place x = place_of(p, n->in[0]), y = place_of(p, n->in[1]);
    Step s = {.kind = STEP_MATMUL};
    s.matmul = (MatmulStep){.batch = (uint32_t)(type_lanes(n->type) / (M * N)),
                            .m = M,
                            .k = (uint32_t)type_last(a),
                            .n = N,
                            .a_space = x.space,
                            .c_space = y.space};
    s.matmul.a = FIELD(p, x, matmul.a);
    s.matmul.c = FIELD(p, y, matmul.c);
    s.matmul.out = FIELD(p, store_node(p, n), matmul.out);
    put_step(p, s, n);
}

void emit_take(Planner *p, const Node *n)
{
    Place table = place_of(p, n->in[0]), index = place_of(p, n->in[1]);
    int64_t K = type_last(n->in[0]->type), J = type_last(n->in[1]->type), outer = type_lanes(n->type) / J;
    Step s = {.kind = STEP_TAKE};
    s.take = (TakeStep){.outer = (uint32_t)outer,
                        .k = (uint32_t)K,
                        .j = (uint32_t)J,
                        .table_shared = type_lanes(n->in[0]->type) == K && outer > 1,
                        .table_space = table.space,
                        .index_space = index.space};
    s.take.table = FIELD(p, table, take.table);
    s.take.index = FIELD(p, index, take.index);
    s.take.out = FIELD(p, store_node(p, n), take.out);
    put_step(p, s, n);
}
