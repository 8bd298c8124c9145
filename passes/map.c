// A Map (flow.h): one input of the exported graph and the output lanes that are taken for its image. Solved here; its
// inverse as a function, and its numbers on drawn rows, by which roles are tried and checks made.
#include "base.h"
#include "flow.h"

#include <stdlib.h>
#include <string.h>

LaneRef *value_lanes(Context *cx, const Node *v)
{
    int64_t n = type_lanes(v->type);
    LaneRef *lanes = ARENA_ARRAY(scratch_arena(cx), LaneRef, n + 1);
    for (int64_t i = 0; i < n; i++) lanes[i] = lane_canonical(v, i);
    return lanes;
}

LaneRef *input_lanes(Context *cx, const Node *input) { return value_lanes(cx, input); }

bool lanes_independent(const LaneRef *lanes, int64_t n)
{
    LaneRef *sorted = heap_array(n, sizeof *sorted);
    memcpy(sorted, lanes, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, lane_compare);
    bool ok = true;
    for (int64_t i = 0; i < n; i++)
        ok = ok && !lane_is_const(sorted[i]) && (!i || !lane_same(sorted[i], sorted[i - 1]));
    free(sorted);
    return ok;
}

// The lanes and all inputs but `port` as the known ones.
static LaneRef *start_lanes(Context *cx, const Function *f, int port, const LaneRef *lanes, int64_t n, int64_t *count)
{
    int64_t known = n, at = 0;
    for (int i = 0; i < f->n_inputs; i++) known += i == port ? 0 : type_lanes(f->inputs[i]->type);
    LaneRef *from = ARENA_ARRAY(scratch_arena(cx), LaneRef, known + 1);
    for (int64_t i = 0; i < n; i++) from[at++] = lanes[i];
    for (int i = 0; i < f->n_inputs; i++)
        for (int64_t k = 0; i != port && k < type_lanes(f->inputs[i]->type); k++)
            from[at++] = (LaneRef){f->inputs[i], k};
    *count = at;
    return from;
}

Map *map_solve(Context *cx, const Function *f, int port, const LaneRef *out, int64_t n)
{
    int64_t known = 0;
    LaneRef *from = start_lanes(cx, f, port, out, n, &known), *to = input_lanes(cx, f->inputs[port]);
    Map *map = ARENA_NEW(scratch_arena(cx), Map);
    *map = (Map){.f = f, .port = port, .out = out, .dims = n};
    map->solution = solve_lanes(cx, f, from, known, to, type_lanes(f->inputs[port]->type));
    return map;
}

const Solution *solve_base(Context *cx, const Function *f, int port, const LaneRef *out, const LaneRef *base, int64_t n)
{
    int64_t known = 0;
    LaneRef *from = start_lanes(cx, f, port, base, n, &known);
    return solve_lanes(cx, f, from, known, out, n);
}

Map *map_solve_with_base(Context *cx, const Function *f, int port, const LaneRef *out, const LaneRef *base, int64_t n)
{
    int64_t known = 0;
    LaneRef *from = start_lanes(cx, f, port, out, n, &known);
    LaneRef *to = ARENA_ARRAY(scratch_arena(cx), LaneRef, 2 * n + 1);
    for (int64_t i = 0; i < n; i++) {
        to[i] = (LaneRef){f->inputs[port], i};
        to[n + i] = base[i];
    }
    const Solution *base_solution = solve_base(cx, f, port, out, base, n);
    Map *map = ARENA_NEW(scratch_arena(cx), Map);
    *map = (Map){.f = f, .port = port, .out = out, .dims = n, .base = base, .base_solution = base_solution};
    map->solution = solve_lanes(cx, f, from, known, to, 2 * n);
    return map->solution->solved && base_solution->solved ? map : NULL;
}

// The inverse as a function: inputs of f with input `port` replaced by "out"; output "in".
static const Function *map_inverse(Context *cx, const Map *map)
{
    const Function *f = map->f;
    Builder *b = builder_new(cx, "inverse");
    Context lanes = {.arena = arena_new(), .diag = cx->diag};
    LaneEnv *env = lane_env_new(&lanes, f, b);
    for (int i = 0; i < f->n_inputs; i++) {
        if (i != map->port) {
            lane_env_set_all(env, f->inputs[i], build_input(b, f->inputs[i]->name, f->inputs[i]->type));
            continue;
        }
        const Node *out = build_input(b, "out", type_vector(map->dims));
        for (int64_t k = 0; k < map->dims; k++) lane_env_set(env, map->out[k], (LaneRef){out, k});
    }
    emit_solution(env, map->solution);
    int64_t n = type_lanes(f->inputs[map->port]->type);
    LaneRef *refs = ARENA_ARRAY(scratch_arena(cx), LaneRef, n + 1);
    for (int64_t k = 0; k < n; k++) refs[k] = lane_env_get(env, (LaneRef){f->inputs[map->port], k});
    build_output(b, "in", lanes_gather_as(b, refs, type_vector(n)));
    arena_free(lanes.arena);
    return builder_finish(b);
}

const Function *map_forward(Context *cx, const Map *map)
{
    Builder *b = builder_new(cx, "forward");
    Context lanes = {.arena = arena_new(), .diag = cx->diag};
    LaneEnv *env = lane_env_new(&lanes, map->f, b);
    lane_env_inputs(env);
    emit_forward(env);
    LaneRef *now = ARENA_ARRAY(scratch_arena(cx), LaneRef, map->dims + 1);
    for (int64_t i = 0; i < map->dims; i++) now[i] = lane_env_get(env, map->out[i]);
    build_output(b, "out", lanes_gather_as(b, now, type_vector(map->dims)));
    arena_free(lanes.arena);
    return builder_finish(b);
}

double **map_inputs(Context *cx, const Map *map, bool density, const char *base, size_t rows, uint64_t seed)
{
    BaseKind kind = BASE_NORMAL;
    double param = 0;
    bool said = base && base_named(base, &kind, &param);
    const Function *f = map->f;
    uint64_t state = seed;
    double **in = ARENA_ARRAY(scratch_arena(cx), double *, f->n_inputs + 1);
    for (int i = 0; i < f->n_inputs; i++) {
        size_t n = rows * (size_t)type_lanes(f->inputs[i]->type);
        in[i] = ARENA_ARRAY(scratch_arena(cx), double, n);
        draw_input(f->inputs[i]->type, rows, &state, in[i]);
        for (size_t k = 0; said && i == map->port && k < n; k++) in[i][k] = base_draw(kind, &state);
    }
    if (!density) return in;
    const Function *inverse = map_inverse(cx, map);
    const double **given = ARENA_ARRAY(scratch_arena(cx), const double *, f->n_inputs + 1);
    for (int i = 0; i < f->n_inputs; i++) given[i] = in[i];
    double *z = ARENA_ARRAY(scratch_arena(cx), double, rows *(size_t)map->dims);
    for (size_t i = 0; i < rows * (size_t)map->dims; i++) z[i] = base_draw(kind, &state);
    given[map->port] = z;
    eval_function(inverse, rows, given, &in[map->port], NULL, NULL);
    return in;
}

double *map_log_det(Context *cx, const Map *map, size_t rows, const double *const *in)
{
    Builder *b = builder_new(cx, "log_det");
    Context lanes = {.arena = arena_new(), .diag = cx->diag};
    LaneEnv *env = lane_env_new(&lanes, map->f, b);
    lane_env_inputs(env);
    emit_forward(env);
    build_output(b, "log_det", emit_log_det(env, map->solution));
    arena_free(lanes.arena);
    double *value = ARENA_ARRAY(scratch_arena(cx), double, rows);
    eval_function(builder_finish(b), rows, in, &value, NULL, NULL);
    return value;
}
