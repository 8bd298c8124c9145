// Roles by a log_prob output: its terms (split.c) are a base's, and the lanes that they stand on are noise that is an
// input (sampling), or lead back to an input (density). Where they lead back to none, the exported direction alone.
#include "roles.h"

#include <string.h>

static bool same_lanes(const LaneRef *a, const LaneRef *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        bool found = false;
        for (int64_t j = 0; j < n && !found; j++) found = lane_same(a[i], b[(i + j) % n]);
        if (!found) return false;
    }
    return true;
}

static void accept_log_prob(Roles *r, const Split *s, int scalar)
{
    r->flow->log_prob_output = scalar;
    r->flow->log_prob = r->m->outputs[scalar].name;
    r->flow->log_prob_negated = s->negated;
}

// The squares are an input itself: that input is noise.
static bool sampling_by_log_prob(Roles *r, const LaneRef *u, int64_t dims, const char *why)
{
    for (int i = 0; i < r->f->n_inputs; i++) {
        if (roles_input_size(r, i) != dims || !same_lanes(u, input_lanes(r->cx, r->f->inputs[i]), dims)) continue;
        Map *map = NULL;
        int out = roles_choose_output(r, i, false, &map);
        if (out < 0 || !map_solved(map)) continue;
        if (same_lanes(map->out, u, dims)) continue; // the noise passed through
        roles_fill(r, map, false, i, out, why);
        return true;
    }
    return false;
}

// The graph may also output its own latent, before the base's mean and scale: that one is kept.
static Map *own_latent(Roles *r, int in, const LaneRef *u, int64_t dims, Map *otherwise, int *z)
{
    for (int o = 0; o < r->m->n_outputs; o++) {
        LaneRef *lanes = value_lanes(r->cx, r->f->outputs[o].node);
        if (o == r->flow->log_prob_output || roles_output_size(r, o) != dims || !lanes_independent(lanes, dims))
            continue;
        if (same_lanes(lanes, input_lanes(r->cx, r->f->inputs[in]), dims)) continue; // the event passed through
        Map *map = map_solve_with_base(r->cx, r->f, in, lanes, u, dims);
        if (!map) continue;
        *z = o;
        return map;
    }
    return otherwise;
}

// The squares are the input itself and the graph makes something else of that size: noise, not a flow that does
// nothing.
static bool is_noise(Roles *r, int in, const LaneRef *u, int64_t dims)
{
    if (!same_lanes(u, input_lanes(r->cx, r->f->inputs[in]), dims)) return false;
    for (int o = 0; o < r->m->n_outputs; o++)
        if (o != r->flow->log_prob_output && roles_output_size(r, o) == dims &&
            !same_lanes(value_lanes(r->cx, r->f->outputs[o].node), u, dims))
            return true;
    return false;
}

// A density: the input that the squares give back. Names order the candidates, they do not decide.
static bool density_by_log_prob(Roles *r, const LaneRef *u, int64_t dims, const char *why)
{
    int said = roles_port(r->m->inputs, r->f->n_inputs, r->options->event);
    if (said < 0) said = roles_port(r->m->inputs, r->f->n_inputs, module_property(r->m, "nfcc.event"));
    int found = -1;
    Map *best = NULL;
    for (int i = 0; i < r->f->n_inputs; i++) {
        if ((said >= 0 && i != said) || roles_is_context(r, i) || roles_input_size(r, i) != dims ||
            !roles_real_input(r, i))
            continue;
        Map *map = is_noise(r, i, u, dims) ? NULL : map_solve(r->cx, r->f, i, u, dims);
        if (!map_solved(map)) continue;
        bool better = found < 0 || (published(r->m->inputs[i].name, NAME_EVENT_INPUT) &&
                                    !published(r->m->inputs[found].name, NAME_EVENT_INPUT));
        if (!better) continue;
        found = i;
        best = map;
    }
    if (found < 0) return false;
    int z = -1;
    for (int o = 0; o < r->m->n_outputs && z < 0; o++)
        if (roles_output_size(r, o) == dims && o != r->flow->log_prob_output &&
            same_lanes(value_lanes(r->cx, r->f->outputs[o].node), u, dims))
            z = o;
    if (z >= 0)
        best = map_solve(r->cx, r->f, found, value_lanes(r->cx, r->f->outputs[z].node), dims); // its order
    else
        best = own_latent(r, found, u, dims, best, &z);
    roles_fill(r, best, true, found, z, why);
    return true;
}

// The squares of a base are there, as many as an input has numbers, but they do not lead back to it.
static void note_unsolved(Roles *r, int scalar, const LaneRef *u, int64_t dims, const char *base)
{
    for (int i = 0; i < r->f->n_inputs && !r->unsolved; i++) {
        if (roles_is_context(r, i) || roles_input_size(r, i) != dims || !roles_real_input(r, i)) continue;
        Map *map = map_solve(r->cx, r->f, i, u, dims);
        if (map_solved(map)) continue;
        const char *name = r->m->inputs[i].name;
        r->unsolved = r->m->outputs[scalar].name;
        r->unsolved_steps = map->solution;
        r->unsolved_why = arena_format(
            r->cx->arena, "shows the %lld terms of a %s, but '%s' cannot be found from them: %s", (long long)dims, base,
            name, solve_explain(r->cx, map->solution, input_lanes(r->cx, r->f->inputs[i]), dims, name));
    }
}

// The graph's own latent, before the base's mean and scale: the map ends there. Its output, or -1.
static int keep_own_latent(Roles *r, Map *map, int64_t dims)
{
    for (int o = 0; o < r->m->n_outputs; o++) {
        LaneRef *lanes = value_lanes(r->cx, r->f->outputs[o].node);
        if (o == r->flow->log_prob_output || roles_output_size(r, o) != dims || !lanes_independent(lanes, dims))
            continue;
        if (same_lanes(lanes, input_lanes(r->cx, r->f->inputs[map->port]), dims)) continue; // the event passed through
        const Solution *solution = solve_base(r->cx, r->f, map->port, lanes, map->out, dims);
        if (!solution->solved) continue;
        map->base = map->out;
        map->base_solution = solution;
        map->out = lanes;
        return o;
    }
    return -1;
}

// A map that is not solved, whose log|det| is what is left of the log_prob: the last output of r->f.
static bool rest_is_log_det(Roles *r, int in, int out, const LaneRef *lanes, int64_t dims, bool density,
                            const char *why)
{
    if (!lanes_independent(lanes, dims)) return false;
    Map *map = map_solve(r->cx, r->f, in, lanes, dims);
    if (map_solved(map) || roles_difference_scale(r, map, r->f->n_outputs - 1) != 1) return false;
    if (density && out < 0) out = keep_own_latent(r, map, dims);
    map->log_det = r->f->outputs[r->f->n_outputs - 1].node;
    map->log_det_scale = 1;
    roles_fill(r, map, density, in, out, why);
    const char *name = r->m->inputs[in].name;
    r->flow->no_inverse =
        arena_format(r->cx->arena, "'%s' cannot be found from %s: %s", name,
                     density ? "the log_prob's terms" : r->m->outputs[out].name,
                     solve_explain(r->cx, map->solution, input_lanes(r->cx, r->f->inputs[in]), dims, name));
    return true;
}

static bool one_way_from(Roles *r, const Split *s, int scalar, int in, const char *why)
{
    const Function *before = r->f;
    bool noise = same_lanes(value_lanes(r->cx, s->f->outputs[s->f->n_outputs - 1].node),
                            input_lanes(r->cx, s->f->inputs[in]), s->dims);
    r->f = split_rest(r->cx, s, scalar, noise);
    LaneRef *u = value_lanes(r->cx, r->f->outputs[r->f->n_outputs - 2].node);
    int z = -1;
    for (int o = 0; o < r->m->n_outputs; o++) {
        if (roles_output_size(r, o) != s->dims || o == scalar) continue;
        LaneRef *lanes = value_lanes(r->cx, r->f->outputs[o].node);
        if (same_lanes(lanes, u, s->dims))
            z = o;
        else if (noise && rest_is_log_det(r, in, o, lanes, s->dims, false, why))
            return true;
    }
    if (z >= 0) u = value_lanes(r->cx, r->f->outputs[z].node); // its order
    if (!noise && rest_is_log_det(r, in, z, u, s->dims, true, why)) return true;
    r->f = before;
    return false;
}

// The terms do not lead back to an input: the exported direction alone, where finite differences prove that what is
// left of the log_prob is its log_det.
static bool one_way_by_log_prob(Roles *r, const Split *s, int scalar, const char *why)
{
    for (int i = 0; i < r->f->n_inputs && s->dims <= DIFFERENCE_DIMS; i++)
        if (!roles_is_context(r, i) && roles_input_size(r, i) == s->dims && roles_real_input(r, i) &&
            one_way_from(r, s, scalar, i, why))
            return true;
    return false;
}

static void take_base(Roles *r, const Split *s)
{
    r->flow->base_kind = s->base;
    r->flow->base_param = s->param;
    const char *standard = base_describe(r->cx, s->base, s->param);
    r->flow->base =
        r->map->base ? arena_format(r->cx->arena, "%s with mean and scale, from the log_prob; z is the exported latent",
                                    standard)
        : s->plain
            ? standard
            : arena_format(r->cx->arena, "%s; its mean and scale are part of the flow: z is standardised", standard);
}

// Nobody said that the number is a log_prob: what it holds beside the base must be the log-determinant (a tanh's own
// looks like a logistic base).
static bool rest_agrees(Roles *r, const Split *s, int scalar)
{
    bool density = r->flow->density;
    const Node *u = s->f->outputs[s->f->n_outputs - 1].node;
    Map *map = density ? map_solve(r->cx, s->f, r->map->port, value_lanes(r->cx, u), s->dims) : r->map;
    if (!map_solved(map) || s->base == BASE_UNIFORM) return true; // drawn rows lie outside
    const Function *f = split_rest(r->cx, s, scalar, !density);
    return roles_derived_scale(r, map, f, density, f->n_outputs - 1) == 1;
}

static bool is_said_log_prob(const Roles *r, int scalar)
{
    return roles_said_log_prob(r) || published(r->m->outputs[scalar].name, NAME_LOG_PROB);
}

static bool try_base(Roles *r, int scalar, BaseKind base, bool one_direction)
{
    Split *s = split_log_prob(r->cx, r->f, scalar, base);
    if (!s) return false;
    const Function *before = r->f;
    const Flow flow = *r->flow;
    r->f = s->f;
    LaneRef *u = value_lanes(r->cx, s->f->outputs[s->f->n_outputs - 1].node);
    accept_log_prob(r, s, scalar);
    const char *why = arena_format(r->cx->arena, "the log_prob output '%s'%s%s", r->m->outputs[scalar].name,
                                   s->negated ? " (negative)" : "", s->bounded ? ", its bounds left out" : "");
    bool independent = lanes_independent(u, s->dims);
    if (independent &&
        (one_direction ? one_way_by_log_prob(r, s, scalar, why)
                       : sampling_by_log_prob(r, u, s->dims, why) || density_by_log_prob(r, u, s->dims, why))) {
        if (one_direction || !r->strict || is_said_log_prob(r, scalar) || rest_agrees(r, s, scalar)) {
            take_base(r, s);
            return true;
        }
    } else if (independent)
        note_unsolved(r, scalar, u, s->dims, base_describe(r->cx, base, s->param));
    r->f = before;
    *r->flow = flow;
    return false;
}

static bool try_log_prob(Roles *r, int scalar, bool one_direction)
{
    for (int base = 0; base < BASE_GRAPH; base++)
        if (try_base(r, scalar, (BaseKind)base, one_direction)) return true;
    return false;
}

bool roles_by_log_prob(Roles *r)
{
    const char *said = roles_said_log_prob(r);
    for (int one_direction = 0; one_direction < 2; one_direction++)
        for (int i = 0; i < r->m->n_outputs; i++)
            if (roles_scalar_output(r, i) &&
                (said ? !strcmp(said, r->m->outputs[i].name) : !published(r->m->outputs[i].name, NAME_LOG_DET)) &&
                try_log_prob(r, i, one_direction))
                return true;
    return false;
}
