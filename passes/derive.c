// derive: one program per direction from the single exported one.
//
//   @to_latent(contexts, x) -> z, log_det = log|det dz/dx|, log_prob
//   @to_event(contexts, z)  -> x, log_det = log|det dx/dz|, log_prob, act (where the policy ends in a clip)
//   @base(contexts, z)      -> z: noise of a base with a mean and scale of its own, where the exported latent keeps them
//   @run                    the exported graph
//
// The exported direction is built forward, the other from the solved steps; the log-determinant is the sum over the
// same steps in both. log_prob = log N(z; 0, I) + log|det dz/dx|, and -inf where an intermediate overflowed.
#include "base.h"
#include "flow.h"
#include "pipeline.h"

#include <math.h>
#include <string.h>

typedef struct {
    Context *cx;
    const Flow *flow;
    const Map *map;
    Builder *b;
    LaneEnv *env;
} Derive;

static const Node *vector_of(Derive *d, const LaneRef *refs, int64_t n)
{
    LaneRef *now = ARENA_ARRAY(d->cx->arena, LaneRef, n + 1);
    for (int64_t i = 0; i < n; i++) now[i] = lane_env_get(d->env, refs[i]);
    return lanes_gather_as(d->b, now, type_vector(n));
}

static void start(Derive *d, const char *name)
{
    const Function *f = d->map->f;
    d->b = builder_new(d->cx, name);
    d->env = lane_env_new(d->cx, f, d->b);
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
    return build_select(b, build_binary(b, OP_eq, v, v), v, build_scalar(b, -INFINITY));
}

static const Function *program(Derive *d, const char *name, bool to_latent)
{
    Builder *b;
    const Node *in, *out;
    start(d, name);
    b = d->b;
    both_ends(d, to_latent == d->flow->density, to_latent ? "x" : "z", &in, &out);
    const Node *log_det = emit_log_det(d->env, d->map->solution); // log|d out / d in|
    const Node *negated = build_unary(b, OP_neg, log_det);
    const Node *x = d->flow->density ? in : out, *z = d->flow->density ? out : in;
    const Node *u = d->map->base ? vector_of(d, d->map->base, d->map->dims) : z;
    bool along = to_latent == d->flow->density; // is this program's direction the map's?
    const Node *own = along ? log_det : negated, *to_z = d->flow->density ? log_det : negated;
    if (d->map->base) to_z = build_binary(b, OP_add, to_z, emit_log_det(d->env, d->map->base_solution));
    const Node *log_prob = never_nan(b, build_binary(b, OP_add, to_z, base_log_density(b, d->flow->base_kind, d->flow->base_param, u)));
    build_output(b, to_latent ? "z" : "x", to_latent ? z : x);
    build_output(b, "log_det", own);
    build_output(b, "log_prob", log_prob);
    if (!to_latent && d->flow->has_clip) {
        const Node *act = x;
        if (d->flow->clip_lo > -INFINITY) act = build_binary(b, OP_max, act, build_scalar(b, d->flow->clip_lo));
        if (d->flow->clip_hi < INFINITY) act = build_binary(b, OP_min, act, build_scalar(b, d->flow->clip_hi));
        build_output(b, "act", act);
    }
    return builder_finish(b);
}

// Noise of the base: u -> z, where the base has a mean and scale of its own.
static const Function *base_program(Derive *d)
{
    const Map *map = d->map;
    start(d, "base");
    const Node *u = build_input(d->b, "z", type_vector(map->dims));
    for (int64_t k = 0; k < map->dims; k++) lane_env_set(d->env, map->base[k], (LaneRef){u, k});
    emit_solution(d->env, map->base_solution);
    build_output(d->b, "z", vector_of(d, map->out, map->dims));
    return builder_finish(d->b);
}

static const Function *renamed(Context *cx, const Function *f, const char *name)
{
    Function *copy = arena_copy(cx->arena, f, sizeof *f);
    copy->name = name;
    return copy;
}

Module *pass_derive(const Module *m, Context *cx, const FlowOptions *options, Flow *flow)
{
    const Function *f = NULL, *functions[4];
    Map *map = NULL;
    if (!decide_roles(cx, m, options, flow, &f, &map)) return NULL;
    int n = 0;
    functions[n++] = renamed(cx, module_function(m, "main"), "run");
    if (flow->is_flow) {
        double limit = options->max_condition > 0 ? options->max_condition : 1e6;
        if (flow->condition > limit) {
            diag_error(cx, NULL, "the inverse loses that many digits; --max-condition accepts it", "a mixing matrix has condition number %.3g, above %.3g", flow->condition, limit);
            return NULL;
        }
        if (flow->condition > 1e4) diag_warning(cx, NULL, "a mixing matrix has condition number %.3g: the inverse loses digits", flow->condition);
        Derive d = {cx, flow, map, NULL, NULL};
        functions[n++] = program(&d, "to_latent", true);
        functions[n++] = program(&d, "to_event", false);
        if (map->base) functions[n++] = base_program(&d);
    }
    return module_new(cx, STAGE_DERIVED, n, functions, m);
}
