// Roles and direction: which input is the event or the latent, which output is what. Decided by the first of
//   options, metadata (nfcc.*), a log_prob output, a log_det output with a published name, the published names.
// Shapes and invertibility only propose candidates; they never tell density from sampling. Otherwise the compile is
// refused (or, where nothing claims to be a flow, the graph compiles to `run`).
#include "base.h"
#include "flow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// The published list. Names of numbers per row may go on after a mark that is no letter: logdet_sample, log_prob.1; the
// others are exact.
static const char *const EVENT_INPUTS[] = {"x", "action", "event", NULL};
static const char *const LATENT_INPUTS[] = {"noise", "z", "eps", "latent", NULL};
static const char *const EVENT_OUTPUTS[] = {"action", "sample", "event", NULL}; // and x_*
static const char *const LATENT_OUTPUTS[] = {"z", "latent", NULL};
static const char *const LOG_DETS[] = {"log_det",          "logdet", "log_abs_det", "logabsdet",
                                       "log_det_jacobian", "ldj",    NULL};
static const char *const LOG_PROBS[] = {"log_prob", "logprob", "log_p", "logp", "log_density", NULL};

typedef struct {
    Context *cx;
    const Module *m;
    const Function *f; // @main, with "u" once a log_prob is split
    const FlowOptions *options;
    Flow *flow;
    Map *map;
    // An output that shows the squares of a base which lead back to no input: why, for the refusal.
    const char *unsolved, *unsolved_why;
    struct { // the last answer of log_det_scale, which is asked for again when a map is taken
        const Map *map;
        int out;
        bool density;
        double scale;
    } last;
} Roles;

static bool in_list(const char *name, const char *const *list)
{
    for (; name && *list; list++)
        if (!strcmp(name, *list)) return true;
    return false;
}

static bool begins_in_list(const char *name, const char *const *list)
{
    for (; name && *list; list++) {
        size_t n = strlen(*list);
        if (!strncmp(name, *list, n) && !(name[n] >= 'a' && name[n] <= 'z')) return true;
    }
    return false;
}

static int find_port(const Port *ports, int n, const char *name)
{
    for (int i = 0; name && i < n; i++)
        if (!strcmp(ports[i].name, name)) return i;
    return -1;
}

static int64_t input_size(const Roles *r, int i) { return type_lanes(r->f->inputs[i]->type); }
static int64_t output_size(const Roles *r, int i) { return type_lanes(r->f->outputs[i].node->type); }
static bool real_input(const Roles *r, int i)
{
    return r->m->inputs[i].type.dtype == T_F32 || r->m->inputs[i].type.dtype == T_F64;
}

static bool is_context(const Roles *r, int input)
{
    for (int i = 0; i < r->options->n_contexts; i++)
        if (!strcmp(r->options->contexts[i], r->m->inputs[input].name)) return true;
    const char *meta = module_property(r->m, "nfcc.context");
    return meta && !strcmp(meta, r->m->inputs[input].name);
}

// The policy's output clip: min(max(y, lo), hi) over all lanes is taken off, once per bound.
static bool strip_bound(Roles *r, LaneRef *lanes, int64_t n, Op op, double *bound)
{
    for (int64_t i = 0; i < n; i++) {
        const Node *v = lanes[i].node;
        if (v->op != op) return false;
        LaneRef c = lane_operand(v, 1, lanes[i].lane);
        if (!lane_is_const(c) || (i && lane_value(c) != *bound)) return false;
        *bound = lane_value(c);
    }
    for (int64_t i = 0; i < n; i++) lanes[i] = lane_operand(lanes[i].node, 0, lanes[i].lane);
    r->flow->has_clip = true;
    return n > 0;
}

static void strip_clip(Roles *r, LaneRef *lanes, int64_t n)
{
    double lo = -INFINITY, hi = INFINITY;
    for (int round = 0; round < 2; round++) {
        strip_bound(r, lanes, n, OP_min, &hi);
        strip_bound(r, lanes, n, OP_max, &lo);
    }
    if (!r->flow->has_clip) return;
    r->flow->clip_lo = lo;
    r->flow->clip_hi = hi;
}

// The map from input `in` to output `out`, or NULL where it is none.
static Map *try_map(Roles *r, int in, int out, bool strip)
{
    if (in < 0 || out < 0 || input_size(r, in) != output_size(r, out) || !real_input(r, in)) return NULL;
    LaneRef *lanes = value_lanes(r->cx, r->f->outputs[out].node);
    int64_t n = output_size(r, out);
    if (strip) strip_clip(r, lanes, n);
    if (!lanes_independent(lanes, n)) return NULL;
    return map_solve(r->cx, r->f, in, lanes, n);
}

static bool solved(const Map *map) { return map && map->solution->solved; }

// ---- outputs with one number

static bool close_to(const double *a, const double *b, double scale, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        if (!(fabs(a[i] - scale * b[i]) <= 1e-5 * (1 + fabs(a[i])))) return false;
    return true;
}

enum { ROWS = 4 };

// Does output `out` equal the derived log_det of the map (scale 1), or its mean over the event (scale 1/D)? 0: neither.
static double derived_scale(const Roles *r, const Map *map, bool density, int out)
{
    double **in = map_inputs(r->cx, map, density, ROWS, 7);
    double *derived = map_log_det(r->cx, map, ROWS, (const double *const *)in), claimed[ROWS];
    double **outs = ARENA_ARRAY(r->cx->arena, double *, r->f->n_outputs + 1);
    outs[out] = claimed;
    eval_function(r->f, ROWS, (const double *const *)in, outs, NULL, NULL);
    if (close_to(claimed, derived, 1, ROWS)) return 1;
    return map->dims > 1 && close_to(claimed, derived, 1.0 / (double)map->dims, ROWS) ? 1.0 / (double)map->dims : 0;
}

static double log_det_scale(Roles *r, const Map *map, bool density, int out)
{
    if (r->last.map == map && r->last.density == density && r->last.out == out) return r->last.scale;
    r->last.map = map;
    r->last.density = density;
    r->last.out = out;
    return r->last.scale = derived_scale(r, map, density, out);
}

static bool is_scalar_output(const Roles *r, int i)
{
    return i < r->m->n_outputs && output_size(r, i) == 1 && r->m->outputs[i].type.dtype != T_BOOL;
}

static int log_det_named(const Roles *r)
{
    int named = find_port(r->m->outputs, r->m->n_outputs, r->options->log_det);
    for (int i = 0; i < r->m->n_outputs && named < 0; i++)
        if (is_scalar_output(r, i) && begins_in_list(r->m->outputs[i].name, LOG_DETS)) named = i;
    return named;
}

static void find_log_det(Roles *r, bool density)
{
    int named = log_det_named(r);
    for (int i = 0; i < r->m->n_outputs; i++) {
        if (!is_scalar_output(r, i) || i == r->flow->log_prob_output || (named >= 0 && i != named)) continue;
        if (i == r->flow->event_output || i == r->flow->latent_output) continue;
        double scale = log_det_scale(r, r->map, density, i);
        if (scale == 0 && i != named) continue;
        r->flow->log_det_output = i;
        r->flow->log_det = r->m->outputs[i].name;
        r->flow->log_det_mean = scale != 0 && scale != 1;
        return;
    }
}

// ---- accepting a map

static void fill(Roles *r, Map *map, bool density, int in, int out, const char *why)
{
    Flow *flow = r->flow;
    flow->is_flow = true;
    flow->density = density;
    flow->why = why;
    flow->dims = map->dims;
    (density ? &flow->event_input : &flow->latent_input)[0] = in;
    (density ? &flow->latent_output : &flow->event_output)[0] = out;
    const char *in_name = r->m->inputs[in].name,
               *out_name = out >= 0 && out < r->m->n_outputs ? r->m->outputs[out].name : NULL;
    flow->event = density ? in_name : out_name;
    flow->latent = density ? out_name : in_name;
    flow->event_type = density || out < 0 || out >= r->m->n_outputs ? r->m->inputs[in].type : r->m->outputs[out].type;
    flow->condition = map->solution->condition;
    int *contexts = ARENA_ARRAY(r->cx->arena, int, r->f->n_inputs + 1);
    for (int i = 0; i < r->f->n_inputs; i++)
        if (i != in) contexts[flow->n_contexts++] = i;
    flow->contexts = contexts;
    r->map = map;
}

// Several outputs of the event's size: the one whose derived log_det equals an exported one-number output; else the
// only one, else the last (a graph that also returns its blocks ends with the latent).
static int choose_output(Roles *r, int in, bool density, Map **chosen)
{
    int last = -1;
    *chosen = NULL;
    for (int o = r->m->n_outputs - 1; o >= 0; o--) {
        bool had_clip = r->flow->has_clip;
        Map *map = try_map(r, in, o, !density);
        if (!solved(map)) {
            r->flow->has_clip = had_clip;
            continue;
        }
        for (int s = 0; s < r->m->n_outputs; s++)
            if (s != o && is_scalar_output(r, s) && log_det_scale(r, map, density, s) != 0) {
                *chosen = map;
                return o;
            }
        if (last < 0) {
            last = o;
            *chosen = map;
        }
    }
    return last;
}

// ---- flows with no inverse: the exported direction with an exported log_det

// The exported number `scalar` as a multiple of log|d out / d in| of a map, by finite differences on a few rows: 1, 1 /
// D, or 0.
static double difference_scale(Roles *r, const Map *map, int scalar)
{
    double **in = map_inputs(r->cx, map, false, ROWS, 7), numeric[ROWS], claimed[ROWS];
    const Function *forward = map_forward(r->cx, map);
    for (size_t i = 0; i < ROWS; i++)
        numeric[i] = difference_log_det(r->cx, forward, map->port, (const double *const *)in, i);
    double **outs = ARENA_ARRAY(r->cx->arena, double *, r->f->n_outputs + 1);
    outs[scalar] = claimed;
    eval_function(r->f, ROWS, (const double *const *)in, outs, NULL, NULL);
    if (close_to(claimed, numeric, 1, ROWS)) return 1;
    return map->dims > 1 && close_to(claimed, numeric, 1.0 / (double)map->dims, ROWS) ? 1.0 / (double)map->dims : 0;
}

// Which output is the log_det of this map? A name decides where there are too many numbers to try (the check will
// refuse).
static int one_way_log_det(Roles *r, const Map *map, int out, double *scale)
{
    int named = log_det_named(r);
    *scale = 1;
    if (map->dims > DIFFERENCE_DIMS) return named;
    for (int s = 0; s < r->m->n_outputs; s++) {
        if (s == out || !is_scalar_output(r, s) || (named >= 0 && s != named)) continue;
        *scale = difference_scale(r, map, s);
        if (*scale != 0) return s;
    }
    return -1;
}

static bool accept_one_way(Roles *r, int in, int out, bool density, const char *why)
{
    Map *map = try_map(r, in, out, !density);
    double scale = 1;
    int s = map && !solved(map) ? one_way_log_det(r, map, out, &scale) : -1;
    if (s < 0) return false;
    map->log_det = r->f->outputs[s].node;
    map->log_det_scale = 1 / scale;
    fill(r, map, density, in, out, why);
    r->flow->log_det_output = s;
    r->flow->log_det = r->m->outputs[s].name;
    r->flow->log_det_mean = scale != 1;
    const Port *port = &r->m->inputs[in];
    r->flow->no_inverse =
        arena_format(r->cx->arena, "'%s' cannot be found from '%s': %s", port->name, r->m->outputs[out].name,
                     solve_explain(r->cx, map->solution, input_lanes(r->cx, r->f->inputs[in]), map->dims, port->name));
    return true;
}

// The input's role is decided; out: the other end, or -1 to look for it.
static bool one_way(Roles *r, int in, int out, bool density, const char *why)
{
    for (int o = r->m->n_outputs - 1; o >= 0; o--) {
        if (out >= 0 && o != out) continue;
        bool had_clip = r->flow->has_clip;
        if (accept_one_way(r, in, o, density, why)) return true;
        r->flow->has_clip = had_clip;
    }
    return false;
}

static void not_invertible(Roles *r, int in, int out, const char *what)
{
    Map *map = try_map(r, in, out, false);
    const Port *port = &r->m->inputs[in];
    if (!map) {
        diag_error(r->cx, NULL, "name the other end with --event or --latent, or export (z, log_det) or log_prob",
                   "no output is a distinct image of input '%s'; it cannot be the %s", port->name, what);
        return;
    }
    LaneRef *lanes = input_lanes(r->cx, r->f->inputs[in]);
    int named = log_det_named(r);
    bool wrong = named >= 0 && map->dims <= DIFFERENCE_DIMS;
    const char *hint =
        wrong ? arena_format(r->cx->arena,
                             "output '%s' is not log|det| of this map, which would give its one direction; --entries "
                             "run ships the graph as it is",
                             r->m->outputs[named].name)
              : "export the log_det too, which gives this one direction; or --entries run ships the graph as it is";
    diag_error(r->cx, NULL, hint, "not invertible from '%s' back to '%s': %s",
               out < r->m->n_outputs ? r->m->outputs[out].name : "the log_prob's squares", port->name,
               solve_explain(r->cx, map->solution, lanes, input_size(r, in), port->name));
}

// The roles are said: input `in` is data (density) or noise; or output `out` is.
static bool accept_said(Roles *r, int in, int out, bool density, const char *why)
{
    Map *map = NULL;
    if (in >= 0 && out < 0)
        out = choose_output(r, in, density, &map);
    else if (out >= 0 && in < 0)
        for (int i = 0; i < r->f->n_inputs && in < 0; i++)
            if (!is_context(r, i) && solved(map = try_map(r, i, out, !density))) in = i;
    if (!map && in >= 0 && out >= 0) map = try_map(r, in, out, !density);
    if (solved(map)) {
        fill(r, map, density, in, out, why);
        return true;
    }
    if (in >= 0 && one_way(r, in, out, density, why)) return true;
    for (int o = 0; o < r->m->n_outputs && out < 0 && in >= 0; o++)
        if (output_size(r, o) == input_size(r, in)) out = o;
    if (in < 0) {
        diag_error(r->cx, NULL, "name the input with --event or --latent", "no input is the preimage of output '%s'",
                   r->m->outputs[out].name);
        return false;
    }
    if (out < 0 && r->flow->log_prob_output >= 0) return false;
    not_invertible(r, in, out, density ? "event" : "latent");
    return false;
}

// ---- by a log_prob

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
        if (input_size(r, i) != dims || !same_lanes(u, input_lanes(r->cx, r->f->inputs[i]), dims)) continue;
        Map *map = NULL;
        int out = choose_output(r, i, false, &map);
        if (out < 0 || !solved(map)) continue;
        if (same_lanes(map->out, u, dims)) continue; // the noise passed through
        fill(r, map, false, i, out, why);
        return true;
    }
    return false;
}

// The graph may also output its own latent, before the base's mean and scale: that one is kept.
static Map *own_latent(Roles *r, int in, const LaneRef *u, int64_t dims, Map *otherwise, int *z)
{
    for (int o = 0; o < r->m->n_outputs; o++) {
        LaneRef *lanes = value_lanes(r->cx, r->f->outputs[o].node);
        if (o == r->flow->log_prob_output || output_size(r, o) != dims || !lanes_independent(lanes, dims)) continue;
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
        if (o != r->flow->log_prob_output && output_size(r, o) == dims &&
            !same_lanes(value_lanes(r->cx, r->f->outputs[o].node), u, dims))
            return true;
    return false;
}

// A density: the input that the squares give back. Names order the candidates, they do not decide.
static bool density_by_log_prob(Roles *r, const LaneRef *u, int64_t dims, const char *why)
{
    int said = find_port(r->m->inputs, r->f->n_inputs, r->options->event);
    if (said < 0) said = find_port(r->m->inputs, r->f->n_inputs, module_property(r->m, "nfcc.event"));
    int found = -1;
    Map *best = NULL;
    for (int i = 0; i < r->f->n_inputs; i++) {
        if ((said >= 0 && i != said) || is_context(r, i) || input_size(r, i) != dims || !real_input(r, i)) continue;
        Map *map = is_noise(r, i, u, dims) ? NULL : map_solve(r->cx, r->f, i, u, dims);
        if (!solved(map)) continue;
        bool better = found < 0 ||
                      (in_list(r->m->inputs[i].name, EVENT_INPUTS) && !in_list(r->m->inputs[found].name, EVENT_INPUTS));
        if (!better) continue;
        found = i;
        best = map;
    }
    if (found < 0) return false;
    int z = -1;
    for (int o = 0; o < r->m->n_outputs && z < 0; o++)
        if (output_size(r, o) == dims && o != r->flow->log_prob_output &&
            same_lanes(value_lanes(r->cx, r->f->outputs[o].node), u, dims))
            z = o;
    if (z >= 0)
        best = map_solve(r->cx, r->f, found, value_lanes(r->cx, r->f->outputs[z].node), dims); // its order
    else
        best = own_latent(r, found, u, dims, best, &z);
    fill(r, best, true, found, z, why);
    return true;
}

// The squares of a base are there, as many as an input has numbers, but they do not lead back to it.
static void note_unsolved(Roles *r, int scalar, const LaneRef *u, int64_t dims, const char *base)
{
    for (int i = 0; i < r->f->n_inputs && !r->unsolved; i++) {
        if (is_context(r, i) || input_size(r, i) != dims || !real_input(r, i)) continue;
        Map *map = map_solve(r->cx, r->f, i, u, dims);
        if (solved(map)) continue;
        const char *name = r->m->inputs[i].name;
        r->unsolved = r->m->outputs[scalar].name;
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
        if (o == r->flow->log_prob_output || output_size(r, o) != dims || !lanes_independent(lanes, dims)) continue;
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
    if (solved(map) || difference_scale(r, map, r->f->n_outputs - 1) != 1) return false;
    if (density && out < 0) out = keep_own_latent(r, map, dims);
    map->log_det = r->f->outputs[r->f->n_outputs - 1].node;
    map->log_det_scale = 1;
    fill(r, map, density, in, out, why);
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
        if (output_size(r, o) != s->dims || o == scalar) continue;
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
        if (!is_context(r, i) && input_size(r, i) == s->dims && real_input(r, i) && one_way_from(r, s, scalar, i, why))
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

static bool try_base(Roles *r, int scalar, BaseKind base, bool one_direction)
{
    Split *s = split_log_prob(r->cx, r->f, scalar, base);
    if (!s) return false;
    const Function *before = r->f;
    r->f = s->f;
    LaneRef *u = value_lanes(r->cx, s->f->outputs[s->f->n_outputs - 1].node);
    accept_log_prob(r, s, scalar);
    const char *why = arena_format(r->cx->arena, "the log_prob output '%s'%s", r->m->outputs[scalar].name,
                                   s->negated ? " (negative)" : "");
    bool independent = lanes_independent(u, s->dims);
    if (independent &&
        (one_direction ? one_way_by_log_prob(r, s, scalar, why)
                       : sampling_by_log_prob(r, u, s->dims, why) || density_by_log_prob(r, u, s->dims, why))) {
        take_base(r, s);
        return true;
    }
    if (independent) note_unsolved(r, scalar, u, s->dims, base_describe(r->cx, base, s->param));
    r->f = before;
    r->flow->log_prob_output = -1;
    r->flow->log_prob = NULL;
    r->flow->log_prob_negated = false;
    return false;
}

static bool try_log_prob(Roles *r, int scalar, bool one_direction)
{
    for (int base = 0; base < BASE_COUNT; base++)
        if (try_base(r, scalar, (BaseKind)base, one_direction)) return true;
    return false;
}

static bool by_log_prob(Roles *r)
{
    const char *said = r->options->log_prob ? r->options->log_prob : r->options->neg_log_prob;
    for (int one_direction = 0; one_direction < 2; one_direction++)
        for (int i = 0; i < r->m->n_outputs; i++)
            if (is_scalar_output(r, i) &&
                (said ? !strcmp(said, r->m->outputs[i].name) : !begins_in_list(r->m->outputs[i].name, LOG_DETS)) &&
                try_log_prob(r, i, one_direction))
                return true;
    for (int i = 0; said && i < r->m->n_outputs; i++)
        if (is_scalar_output(r, i) && !strcmp(said, r->m->outputs[i].name))
            diag_error(r->cx, NULL, "nfcc check --explain MODEL.onnx shows the graph",
                       "output '%s' is not a log_prob that nfcc can split into a base and a flow", said);
    return false;
}

// ---- by names

static bool name_is_end(const char *name, bool event)
{
    return in_list(name, event ? EVENT_OUTPUTS : LATENT_OUTPUTS) || (event && !strncmp(name, "x_", 2));
}

static bool output_named(const Roles *r, bool event)
{
    for (int o = 0; o < r->m->n_outputs; o++)
        if (name_is_end(r->m->outputs[o].name, event)) return true;
    return false;
}

static int named_input(const Roles *r, const char *const *list)
{
    for (int i = 0; i < r->f->n_inputs; i++)
        if (!is_context(r, i) && real_input(r, i) && in_list(r->m->inputs[i].name, list)) return i;
    return -1;
}

// An input noise, z, eps, latent, or an output x_*, action, sample: sampling; an input x, action or event: density.
static bool by_names(Roles *r)
{
    int noise = named_input(r, LATENT_INPUTS), event = named_input(r, EVENT_INPUTS);
    bool both = noise >= 0 && event >= 0, density = noise < 0 || both;
    int in = density ? event : noise;
    if (density && (event < 0 || output_named(r, true))) return false;
    Map *map = NULL;
    int out = choose_output(r, in, density, &map);
    const char *why = arena_format(r->cx->arena, "the name of input '%s'", r->m->inputs[in].name);
    if (out < 0) return one_way(r, in, -1, density, why);
    fill(r, map, density, in, out, why);
    return true;
}

// ---- no decision

// An input and an output of one size, of which one is data and the other noise by their names.
static bool named_pair(const Roles *r, int *in, int *out)
{
    for (int i = 0; i < r->f->n_inputs; i++) {
        const char *name = r->m->inputs[i].name;
        bool event = in_list(name, EVENT_INPUTS), latent = in_list(name, LATENT_INPUTS);
        for (int o = 0; (event || latent) && o < r->m->n_outputs; o++) {
            if (is_context(r, i) || input_size(r, i) != output_size(r, o) || input_size(r, i) == 1) continue;
            if (!name_is_end(r->m->outputs[o].name, latent)) continue;
            *in = i;
            *out = o;
            return true;
        }
    }
    return false;
}

static bool claims(const Roles *r)
{
    for (int o = 0; o < r->m->n_outputs; o++) {
        if (!is_scalar_output(r, o)) continue;
        if (begins_in_list(r->m->outputs[o].name, LOG_DETS) || begins_in_list(r->m->outputs[o].name, LOG_PROBS))
            return true;
    }
    int in, out;
    return named_pair(r, &in, &out) || (r->options->entries && strcmp(r->options->entries, "run"));
}

// Some input and output that are each other's image: a flow whose direction nothing tells.
static int undecided_input(Roles *r)
{
    for (int i = 0; i < r->f->n_inputs; i++)
        for (int o = 0; o < r->m->n_outputs; o++)
            if (!is_context(r, i) && input_size(r, i) == output_size(r, o) && solved(try_map(r, i, o, true))) return i;
    return -1;
}

static int log_prob_named(const Roles *r)
{
    for (int o = 0; o < r->m->n_outputs; o++)
        if (is_scalar_output(r, o) && begins_in_list(r->m->outputs[o].name, LOG_PROBS)) return o;
    return -1;
}

static void no_base(Roles *r, int output)
{
    diag_error(r->cx, NULL,
               "normal, Laplace, logistic, uniform and Student t are read, with a mean and scale, and no mixtures; "
               "--entries run ships the log_prob as it is",
               "output '%s' shows no base distribution that nfcc knows", r->m->outputs[output].name);
}

static bool refuse_or_run(Roles *r)
{
    int i = undecided_input(r);
    r->flow->has_clip = false;
    if (i >= 0) {
        const char *name = r->m->inputs[i].name;
        diag_error(
            r->cx, NULL, NULL,
            "cannot tell data from noise at input '%s'; say --event %s (it is data) or --latent %s (it is noise)", name,
            name, name);
        return false;
    }
    if (r->unsolved) {
        diag_error(r->cx, NULL, "compile with --entries run to ship the graph as it is", "output '%s' %s", r->unsolved,
                   r->unsolved_why);
        return false;
    }
    if (!claims(r)) {
        r->flow->why = "no input and output are each other's image, and no output is a log_prob: not a flow";
        return true;
    }
    int in = -1, out = -1;
    named_pair(r, &in, &out);
    if (in < 0) in = named_input(r, EVENT_INPUTS);
    if (in < 0) in = named_input(r, LATENT_INPUTS);
    for (int o = 0; out < 0 && o < r->m->n_outputs && in >= 0; o++)
        if (output_size(r, o) == input_size(r, in) && !is_scalar_output(r, o)) out = o;
    if (in >= 0 && out >= 0)
        not_invertible(r, in, out, in_list(r->m->inputs[in].name, LATENT_INPUTS) ? "latent" : "event");
    else if (log_prob_named(r) >= 0)
        no_base(r, log_prob_named(r));
    else
        diag_error(r->cx, NULL, "say --event NAME or --latent NAME, or --entries run to ship the graph as it is",
                   "the outputs claim a flow, but no input and output are each other's image");
    return false;
}

// ---- all

static bool said_port(Roles *r, const char *name, const char *what, int *in, int *out)
{
    *in = find_port(r->m->inputs, r->f->n_inputs, name);
    *out = *in >= 0 ? -1 : find_port(r->m->outputs, r->m->n_outputs, name);
    if (*in >= 0 || *out >= 0) return true;
    bool option = r->options->event || r->options->latent;
    diag_error(r->cx, NULL,
               option ? "nfcc check MODEL.onnx lists them"
                      : "--event or --latent decide instead; nfcc check MODEL.onnx lists the names",
               "%s%s '%s': the graph has no such input or output", option ? "--" : "the file's metadata nfcc.", what,
               name);
    return false;
}

static bool by_word(Roles *r, const char *event, const char *latent, const char *why)
{
    int ei = -1, eo = -1, li = -1, lo = -1;
    if (event && !said_port(r, event, "event", &ei, &eo)) return false;
    if (latent && !said_port(r, latent, "latent", &li, &lo)) return false;
    if ((ei >= 0 && li >= 0) || (eo >= 0 && lo >= 0)) {
        diag_error(r->cx, NULL, NULL, "event and latent cannot both be inputs or both be outputs");
        return false;
    }
    bool density = ei >= 0 || lo >= 0;
    return accept_said(r, density ? ei : li, density ? lo : eo, density, why);
}

static bool decide(Roles *r)
{
    const FlowOptions *o = r->options;
    const char *event = module_property(r->m, "nfcc.event"), *latent = module_property(r->m, "nfcc.latent");
    bool words = o->event || o->latent;
    if (!words) {
        size_t errors = r->cx->diag->errors;
        if (by_log_prob(r)) return true;
        if (r->cx->diag->errors > errors) return false;
    } else if (by_log_prob(r)) { // the words must agree with what the squares show
        bool wrong = (o->event && strcmp(o->event, r->flow->event ? r->flow->event : "")) ||
                     (o->latent && r->flow->latent && strcmp(o->latent, r->flow->latent));
        if (!wrong) {
            r->flow->why = "the options";
            return true;
        }
        diag_error(r->cx, NULL, "leave the option out", "the squares of the log_prob output '%s' contradict --%s %s",
                   r->flow->log_prob, o->event ? "event" : "latent", o->event ? o->event : o->latent);
        return false;
    }
    if (words) return by_word(r, o->event, o->latent, "the options");
    if (event || latent) return by_word(r, event, latent, "the file's metadata");
    if (by_names(r)) return true;
    return refuse_or_run(r);
}

// That of the log_prob, else the one that is said, else the normal.
static bool decide_base(Roles *r)
{
    Flow *flow = r->flow;
    BaseKind kind = BASE_NORMAL;
    double param = 0;
    const char *said = r->options->base;
    if (said && !base_named(said, &kind, &param)) {
        diag_error(r->cx, NULL, "normal, laplace, logistic, uniform or student_t:DF",
                   "--base '%s' is not a base distribution", said);
        return false;
    }
    if (flow->base && said && kind != flow->base_kind) {
        diag_error(r->cx, NULL, "leave --base out", "--base %s, but the log_prob output '%s' shows another base: %s",
                   said, flow->log_prob, flow->base);
        return false;
    }
    if (flow->base) return true;
    flow->base_kind = kind;
    flow->base_param = param;
    flow->base = base_describe(r->cx, kind, param);
    flow->base_assumed = !said;
    return true;
}

bool decide_roles(Context *cx, const Module *m, const FlowOptions *options, Flow *flow, const Function **f, Map **map)
{
    Roles r = {.cx = cx, .m = m, .f = module_function(m, "main"), .options = options, .flow = flow};
    *flow = (Flow){.event_input = -1,
                   .event_output = -1,
                   .latent_input = -1,
                   .latent_output = -1,
                   .log_det_output = -1,
                   .log_prob_output = -1};
    if (!r.f) {
        diag_error(cx, NULL, "name the exported graph's function @main", "the module has no function @main");
        return false;
    }
    if (m->n_inputs != r.f->n_inputs || m->n_outputs != r.f->n_outputs) {
        diag_error(cx, NULL, "write a line `port in NAME TYPE batch 0` for each input, `port out ...` for each output",
                   "the module has no ports for @main's inputs and outputs");
        return false;
    }
    if (options->run_only) {
        flow->why = "only run was asked for";
        return true;
    }
    if (!decide(&r)) return false;
    *f = r.f;
    *map = r.map;
    if (!flow->is_flow) return true;
    if (!flow->no_inverse) find_log_det(&r, flow->density);
    if (!decide_base(&r)) return false;
    if (options->has_clip) {
        flow->has_clip = true;
        flow->clip_lo = options->clip_lo;
        flow->clip_hi = options->clip_hi;
    }
    flow->rounds = r.map->solution->n_steps;
    flow->explain = solve_text(cx, r.map->solution);
    return true;
}
