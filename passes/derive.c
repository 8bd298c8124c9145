// derive: one program per direction from the single exported one.
//
//   @to_latent(contexts, x) -> z, log_det = log|det dz/dx|, log_prob
//   @to_event(contexts, z)  -> x, log_det = log|det dx/dz|, log_prob, act (where the policy ends in a clip)
//   @base(contexts, z)      -> z: noise of a base with a mean and scale of its own, where the exported latent keeps them
//   @score(contexts, x)     -> score = d log_prob / dx
//                              with --score-context also score.NAME = d log_prob / d context NAME
//   @act(contexts, z)       -> act = clip(x + sigma^2 score(x)), x = to_event(z): only with --denoise
//   @run                    the exported graph
//
// The exported direction is built forward, the other from the solved steps; the log-determinant is the sum over the
// same steps in both. log_prob = log N(z; 0, I) + log|det dz/dx|, and -inf where an intermediate overflowed.
//
// A flow that is not invertible has its exported direction alone, with the log_det that the graph exports: of the
// programs only that one exists, and @score of a density. Of a log_prob without a latent @to_latent gives log_prob
// alone.
//
// @score is the adjoint of @to_latent. @act is one march: every lane of @to_latent is also a lane of the inverse
// program (both are lanes of the exported graph), so the adjoint is taken at the values that the inverse has computed,
// and no net is evaluated twice. It runs from z to x, as the inverse does; march_order puts each node of it behind its
// operands, so that a block's weights are read again while they are in cache.
#include "base.h"
#include "flow.h"
#include "grad.h"
#include "panels.h"
#include "pipeline.h"
#include "unfold_sums.h"

#include <math.h>
#include <string.h>

typedef struct {
    Context *cx;
    const Flow *flow;
    const Map *map;
    Builder *b;
    LaneEnv *env;
    bool score_context;
} Derive;

static const Node *vector_of(Derive *d, const LaneRef *refs, int64_t n)
{
    LaneRef *now = ARENA_ARRAY(d->cx->arena, LaneRef, n + 1);
    for (int64_t i = 0; i < n; i++) now[i] = lane_env_get(d->env, refs[i]);
    return lanes_gather_as(d->b, now, type_vector(n));
}

// What is known of lanes lives in `lanes`: a program's own arena, if nobody asks later.
static void start(Derive *d, const char *name, Arena *lanes)
{
    const Function *f = d->map->f;
    d->b = builder_new(d->cx, name);
    d->env = lane_env_new(&(Context){.arena = lanes, .diag = d->cx->diag}, f, d->b);
    for (int i = 0; i < d->flow->n_contexts; i++) {
        const Node *c = f->inputs[d->flow->contexts[i]];
        lane_env_set_all(d->env, c, build_input(d->b, c->name, c->type));
    }
}

// Both ends of the map as vectors: the solved input and its image, computed in the wanted direction.
static void both_ends(Derive *d, bool exported_direction, const char *input, const Node **in, const Node **out)
{
    const Map *map = d->map;
    const Node *port = map->f->inputs[map->port];
    const Node *given = build_input(d->b, input, type_vector(map->dims));
    LaneRef *lanes = input_lanes(d->cx, port);
    if (exported_direction) {
        lane_env_set_all(d->env, port, given);
        emit_forward(d->env);
    } else {
        for (int64_t k = 0; k < map->dims; k++) lane_env_set(d->env, map->out[k], (LaneRef){given, k});
        emit_solution(d->env, map->solution);
    }
    *in = vector_of(d, lanes, map->dims);
    *out = vector_of(d, map->out, map->dims);
}

static const Node *never_nan(Builder *b, const Node *v)
{
    const Node *least = build_scalar(b, -INFINITY);
    return build_select(b, build_binary(b, OP_eq, v, v), v, least);
}

typedef struct {
    const Node *x, *z, *log_det, *log_prob; // log_prob may be NaN
} Ends;

// An exported number, times a constant.
static const Node *exported_times(Derive *d, const Node *exported, double factor)
{
    LaneRef lane = lane_env_lane(d->env, exported, 0);
    const Node *times = build_scalar(d->b, factor);
    return build_binary(d->b, OP_mul, lanes_gather_as(d->b, &lane, type_vector(1)), times);
}

// log|d out / d in| of the map: from the steps, or the exported number of a one-way flow.
static const Node *log_det_of(Derive *d)
{
    const Map *map = d->map;
    if (!map->log_det) return emit_log_det(d->env, map->solution);
    const Node *log_det = exported_times(d, map->log_det, map->log_det_scale);
    if (!map->base) return log_det;
    return build_binary(d->b, OP_sub, log_det, emit_log_det(d->env, map->base_solution));
}

// The exported number, where it is the only one that knows the base.
static const Node *own_log_prob(Derive *d)
{
    emit_missing(d->env);
    return exported_times(d, d->map->log_prob, d->map->log_prob_sign);
}

// One direction, from its input ("x" or "z") on.
static Ends ends_of(Derive *d, bool to_latent)
{
    Builder *b = d->b;
    const Node *in, *out;
    bool along = to_latent == d->flow->density; // is this program's direction the map's?
    both_ends(d, along, to_latent ? "x" : "z", &in, &out);
    const Node *log_det = log_det_of(d);
    const Node *negated = build_unary(b, OP_neg, log_det);
    Ends e = {d->flow->density ? in : out, d->flow->density ? out : in, along ? log_det : negated, NULL};
    const Node *u = d->map->base ? vector_of(d, d->map->base, d->map->dims) : e.z,
               *to_z = d->flow->density ? log_det : negated;
    if (d->map->log_prob) {
        e.log_prob = own_log_prob(d);
        return e;
    }
    if (d->map->base) to_z = build_binary(b, OP_add, to_z, emit_log_det(d->env, d->map->base_solution));
    e.log_prob = build_binary(b, OP_add, to_z, base_log_density(b, d->flow->base_kind, d->flow->base_param, u));
    return e;
}

static const Node *clipped(Builder *b, const Flow *flow, const Node *x)
{
    if (flow->has_clip && flow->clip_lo > -INFINITY) x = build_binary(b, OP_max, x, build_scalar(b, flow->clip_lo));
    if (flow->has_clip && flow->clip_hi < INFINITY) x = build_binary(b, OP_min, x, build_scalar(b, flow->clip_hi));
    return x;
}

static const Function *program(Derive *d, const char *name, bool to_latent)
{
    Arena *lanes = arena_new();
    start(d, name, lanes);
    Ends e = ends_of(d, to_latent);
    if (!d->flow->density_alone) {
        build_output(d->b, to_latent ? "z" : "x", to_latent ? e.z : e.x);
        build_output(d->b, "log_det", e.log_det);
    }
    build_output(d->b, "log_prob", never_nan(d->b, e.log_prob));
    if (!to_latent && d->flow->has_clip && !(d->flow->denoise > 0))
        build_output(d->b, "act", clipped(d->b, d->flow, e.x));
    arena_free(lanes);
    return builder_finish(d->b);
}

// ---- score and march

// @to_latent with the log_prob alone, and where the lanes of the graph are in it.
typedef struct {
    const Function *f;
    LaneEnv *lanes;
} Density;

static Density density_of(Derive *d)
{
    start(d, "density", d->cx->arena);
    build_output(d->b, "log_prob", ends_of(d, true).log_prob);
    return (Density){builder_finish(d->b), d->env};
}

static const Node *input_named(const Function *f, const char *name)
{
    for (int i = 0; i < f->n_inputs; i++)
        if (!strcmp(f->inputs[i]->name, name)) return f->inputs[i];
    return NULL;
}

static const Function *score_program(Derive *d, const Density *density)
{
    const Function *f = density->f;
    Builder *b = builder_new(d->cx, "score");
    Context lanes = {.arena = arena_new(), .diag = d->cx->diag};
    LaneEnv *env = lane_env_new(&lanes, f, b);
    const Node **score = ARENA_ARRAY(d->cx->arena, const Node *, f->n_inputs),
               **wrt = ARENA_ARRAY(d->cx->arena, const Node *, f->n_inputs);
    int n = d->score_context ? f->n_inputs : 1;
    for (int i = 0; i < n; i++) wrt[i] = f->inputs[i ? i - 1 : f->n_inputs - 1]; // x, then the contexts
    lane_env_inputs(env);
    emit_forward(env);
    grad_of(env, f->outputs[0].node, n, wrt, score);
    for (int i = 0; i < n; i++)
        build_output(b, i ? arena_format(d->cx->arena, "score.%s", wrt[i]->name) : "score", score[i]);
    arena_free(lanes.arena);
    return builder_finish(b);
}

static bool alive(const Function *f, const Node *n)
{
    return n && !node_is_const(n) && n->id < f->n_nodes && f->nodes[n->id] == n;
}

// The lanes of `density` that the program under construction has computed already.
static LaneEnv *computed_lanes(Derive *d, const Density *density)
{
    LaneEnv *env = lane_env_new(d->cx, density->f, d->b);
    for (int i = 0; i < d->env->from->n_nodes; i++) {
        const Node *n = d->env->from->nodes[i];
        int64_t lanes = d->env->base[i + 1] - d->env->base[i];
        for (int64_t k = 0; k < lanes; k++) {
            LaneRef theirs = lane_env_get(density->lanes, (LaneRef){n, k}),
                    mine = lane_env_get(d->env, (LaneRef){n, k});
            if (alive(density->f, theirs.node) && mine.node) lane_env_set(env, theirs, mine);
        }
    }
    return env;
}

static const Function *act_program(Derive *d, const Density *density)
{
    const Node *score, *x_in = input_named(density->f, "x");
    start(d, "act", d->cx->arena);
    Builder *b = d->b;
    Ends e = ends_of(d, false);
    LaneEnv *env = computed_lanes(d, density);
    emit_missing(env);
    grad_of(env, density->f->outputs[0].node, 1, &x_in, &score);
    const Node *step = build_binary(b, OP_mul, score, build_scalar(b, d->flow->denoise * d->flow->denoise));
    build_output(b, "act", clipped(b, d->flow, build_binary(b, OP_add, e.x, step)));
    build_output(b, "x", e.x); // tells march_order the inverse from the adjoint
    return march_order(d->cx, builder_finish(b), 1);
}

// Noise of the base: u -> z, where the base has a mean and scale of its own.
static const Function *base_program(Derive *d)
{
    const Map *map = d->map;
    Arena *lanes = arena_new();
    start(d, "base", lanes);
    const Node *u = build_input(d->b, "z", type_vector(map->dims));
    for (int64_t k = 0; k < map->dims; k++) lane_env_set(d->env, map->base[k], (LaneRef){u, k});
    emit_solution(d->env, map->base_solution);
    build_output(d->b, "z", vector_of(d, map->out, map->dims));
    arena_free(lanes);
    return builder_finish(d->b);
}

// The exported direction of a flow that is not invertible; of a density its score too.
static int one_way_programs(Derive *d, const Function **functions)
{
    functions[0] = program(d, d->flow->density ? "to_latent" : "to_event", d->flow->density);
    if (!d->flow->density) return 1;
    Density density = density_of(d);
    functions[1] = score_program(d, &density);
    return 2;
}

static const Function *renamed(Context *cx, const Function *f, const char *name)
{
    Function *copy = arena_copy(cx->arena, f, sizeof *f);
    copy->name = name;
    return copy;
}

// In panels where the other programs are, so that both read one copy of the weights.
static const Function *run_program(Context *cx, const Function *f)
{
    if (!panels_any(f)) return renamed(cx, f, "run");
    Context lanes = {.arena = arena_new(), .diag = cx->diag};
    Builder *b = builder_new(cx, "run");
    LaneEnv *env = lane_env_new(&lanes, f, b);
    lane_env_inputs(env);
    emit_forward(env);
    for (int i = 0; i < f->n_outputs; i++) build_output(b, f->outputs[i].name, lane_env_value(env, f->outputs[i].node));
    arena_free(lanes.arena);
    return builder_finish(b);
}

static bool goes_back(bool decided, const Flow *flow) { return decided && flow->is_flow && !flow->no_inverse; }

// Roles; where no way back is found, once more with sums unfolded, which counts if one is found then. A log_prob that
// shows no base before is a mixture's: unfolded, one of its components would look like the base.
static bool decide(Context *cx, const Module **m, const FlowOptions *options, Flow *flow, const Function **f, Map **map)
{
    Diag *d = cx->diag, before = *d;
    bool decided = decide_roles(cx, *m, options, flow, f, map);
    const Module *unfolded = NULL;
    bool mixture = decided && flow->is_flow && flow->base_kind == BASE_GRAPH;
    if (!goes_back(decided, flow) && (!decided || flow->is_flow) && !mixture) unfolded = unfold_sums(*m, cx);
    if (!unfolded) return decided;
    Flow other = {0};
    const Function *other_f = NULL;
    Map *other_map = NULL;
    Diag said = *d;
    said.list = arena_copy(d->arena, d->list, d->n * sizeof *d->list);
    said.cap = d->n;
    d->n = before.n;
    d->errors = before.errors;
    if (!goes_back(decide_roles(cx, unfolded, options, &other, &other_f, &other_map), &other)) {
        *d = said;
        return decided;
    }
    *m = unfolded;
    *flow = other;
    *f = other_f;
    *map = other_map;
    return true;
}

// Condition numbers of mixing matrices from which a warning is due, and from which the flow is refused unless
// --max-condition says otherwise: f32 has 1.7e7 steps.
#define WARN_CONDITION 1e4
#define MAX_CONDITION 1e6

static bool condition_accepted(Context *cx, const FlowOptions *options, double condition)
{
    double limit = options->max_condition > 0 ? options->max_condition : MAX_CONDITION;
    if (condition > limit) {
        diag_error(cx, NULL, "the inverse loses that many digits; --max-condition accepts it",
                   "a mixing matrix has condition number %.3g, above %.3g", condition, limit);
        return false;
    }
    if (condition > WARN_CONDITION)
        diag_warning(cx, NULL, "a mixing matrix has condition number %.3g: the inverse loses digits", condition);
    return true;
}

static int both_directions(Derive *d, const Function **functions)
{
    int n = 0;
    functions[n++] = program(d, "to_latent", true);
    functions[n++] = program(d, "to_event", false);
    if (d->map->base) functions[n++] = base_program(d);
    Density density = density_of(d);
    functions[n++] = score_program(d, &density);
    if (d->flow->denoise > 0) functions[n++] = act_program(d, &density);
    return n;
}

Module *pass_derive(const Module *m, Context *cx, const FlowOptions *options, Flow *flow)
{
    const Function *f = NULL, *functions[6];
    Map *map = NULL;
    m = pass_merge_linear(m, cx); // here, so that all programs and the adjoint have the same weights
    if (!decide(cx, &m, options, flow, &f, &map)) return NULL;
    flow->denoise = flow->is_flow ? options->denoise : 0;
    functions[0] = run_program(cx, module_function(m, "main"));
    if (!flow->is_flow) return module_new(cx, STAGE_DERIVED, 1, functions, m);
    if (!condition_accepted(cx, options, flow->condition)) return NULL;
    if (flow->no_inverse && flow->denoise > 0)
        diag_error(cx, NULL, "leave --denoise out", "a denoised act needs both directions of the flow: %s",
                   flow->no_inverse);
    Derive d = {cx, flow, map, NULL, NULL, options->score_context};
    int n = flow->no_inverse ? one_way_programs(&d, functions + 1) : both_directions(&d, functions + 1);
    return module_new(cx, STAGE_DERIVED, 1 + n, functions, m);
}
