// One input and one output of the graph as a map: is it solved, which number is its log_det, and what it makes of the
// flow. Shapes and invertibility only propose candidates; who asks for them decides.
#include "roles.h"

#include <math.h>
#include <string.h>

bool roles_is_context(const Roles *r, int input)
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

Map *roles_map(Roles *r, int in, int out, bool strip)
{
    if (in < 0 || out < 0 || roles_input_size(r, in) != roles_output_size(r, out) || !roles_real_input(r, in))
        return NULL;
    LaneRef *lanes = value_lanes(r->cx, r->f->outputs[out].node);
    int64_t n = roles_output_size(r, out);
    if (strip) strip_clip(r, lanes, n);
    if (!lanes_independent(lanes, n)) return NULL;
    return map_solve(r->cx, r->f, in, lanes, n);
}

// ---- outputs with one number

static bool close_to(const double *a, const double *b, double scale, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        if (!(fabs(a[i] - scale * b[i]) <= 1e-5 * (1 + fabs(a[i])))) return false;
    return true;
}

enum { ROWS = 4 };

static void evaluate_output(const Roles *r, const Function *f, int out, double **in, double *value)
{
    double **outs = ARENA_ARRAY(r->cx->arena, double *, f->n_outputs + 1);
    outs[out] = value;
    eval_function(f, ROWS, (const double *const *)in, outs, NULL, NULL);
}

static double scale_between(const Map *map, const double *claimed, const double *log_det)
{
    double mean = 1.0 / (double)map->dims;
    if (close_to(claimed, log_det, 1, ROWS)) return 1;
    return map->dims > 1 && close_to(claimed, log_det, mean, ROWS) ? mean : 0;
}

static bool vary(const double *v)
{
    for (size_t i = 1; i < ROWS; i++)
        if (fabs(v[i] - v[0]) > 1e-5 * (1 + fabs(v[0]))) return true;
    return false;
}

// sure: the log_det is not the same in all rows, as in a spline's tails, where other numbers are 0, too.
static double scale_on(const Roles *r, const Map *map, const Function *f, int out, double **in, bool *sure)
{
    double *derived = map_log_det(r->cx, map, ROWS, (const double *const *)in), claimed[ROWS];
    evaluate_output(r, f, out, in, claimed);
    *sure = vary(derived);
    return scale_between(map, claimed, derived);
}

// An event that is drawn as it comes serves where the log_det varies there; else it is made of a drawn latent, by the
// inverse program, which takes longer to build than the rest.
double roles_derived_scale(const Roles *r, const Map *map, const Function *f, bool density, int out)
{
    bool sure = false;
    double scale = scale_on(r, map, f, out, map_inputs(r->cx, map, false, r->options->base, ROWS, 7), &sure);
    if (!density || (scale != 0 && sure)) return scale;
    return scale_on(r, map, f, out, map_inputs(r->cx, map, true, r->options->base, ROWS, 7), &sure);
}

// The same of an output of the graph; the last answer is kept.
static double log_det_scale(Roles *r, const Map *map, bool density, int out)
{
    if (r->last.map == map && r->last.density == density && r->last.out == out) return r->last.scale;
    r->last.map = map;
    r->last.density = density;
    r->last.out = out;
    return r->last.scale = roles_derived_scale(r, map, r->f, density, out);
}

bool roles_scalar_output(const Roles *r, int i)
{
    return i < r->m->n_outputs && roles_output_size(r, i) == 1 && r->m->outputs[i].type.dtype != T_BOOL;
}

int roles_log_det_named(const Roles *r)
{
    int named = roles_port(r->m->outputs, r->m->n_outputs, r->options->log_det);
    for (int i = 0; i < r->m->n_outputs && named < 0; i++)
        if (roles_scalar_output(r, i) && published(r->m->outputs[i].name, NAME_LOG_DET)) named = i;
    return named;
}

void roles_find_log_det(Roles *r, bool density)
{
    int named = roles_log_det_named(r);
    for (int i = 0; i < r->m->n_outputs; i++) {
        if (!roles_scalar_output(r, i) || i == r->flow->log_prob_output || (named >= 0 && i != named)) continue;
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

void roles_fill(Roles *r, Map *map, bool density, int in, int out, const char *why)
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

int roles_choose_output(Roles *r, int in, bool density, Map **chosen)
{
    int last = -1;
    *chosen = NULL;
    for (int o = r->m->n_outputs - 1; o >= 0; o--) {
        bool had_clip = r->flow->has_clip;
        Map *map = roles_map(r, in, o, !density);
        if (!map_solved(map)) {
            r->flow->has_clip = had_clip;
            continue;
        }
        for (int s = 0; s < r->m->n_outputs; s++)
            if (s != o && roles_scalar_output(r, s) && log_det_scale(r, map, density, s) != 0) {
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

double roles_difference_scale(Roles *r, const Map *map, int scalar)
{
    double **in = map_inputs(r->cx, map, false, r->options->base, ROWS, 7), numeric[ROWS], claimed[ROWS];
    const Function *forward = map_forward(r->cx, map);
    for (size_t i = 0; i < ROWS; i++)
        numeric[i] = difference_log_det(r->cx, forward, map->port, (const double *const *)in, i);
    evaluate_output(r, r->f, scalar, in, claimed);
    return scale_between(map, claimed, numeric);
}

// Which output is the log_det of this map? A name decides where there are too many numbers to try (the check will
// refuse).
static int one_way_log_det(Roles *r, const Map *map, int out, double *scale)
{
    int named = roles_log_det_named(r);
    *scale = 1;
    if (map->dims > DIFFERENCE_DIMS) return named;
    for (int s = 0; s < r->m->n_outputs; s++) {
        if (s == out || !roles_scalar_output(r, s) || (named >= 0 && s != named)) continue;
        *scale = roles_difference_scale(r, map, s);
        if (*scale != 0) return s;
    }
    return -1;
}

static bool accept_one_way(Roles *r, int in, int out, bool density, const char *why)
{
    Map *map = roles_map(r, in, out, !density);
    double scale = 1;
    int s = map && !map_solved(map) ? one_way_log_det(r, map, out, &scale) : -1;
    if (s < 0) return false;
    map->log_det = r->f->outputs[s].node;
    map->log_det_scale = 1 / scale;
    roles_fill(r, map, density, in, out, why);
    r->flow->log_det_output = s;
    r->flow->log_det = r->m->outputs[s].name;
    r->flow->log_det_mean = scale != 1;
    const Port *port = &r->m->inputs[in];
    r->flow->no_inverse =
        arena_format(r->cx->arena, "'%s' cannot be found from '%s': %s", port->name, r->m->outputs[out].name,
                     solve_explain(r->cx, map->solution, input_lanes(r->cx, r->f->inputs[in]), map->dims, port->name));
    return true;
}

bool roles_one_way(Roles *r, int in, int out, bool density, const char *why)
{
    for (int o = r->m->n_outputs - 1; o >= 0; o--) {
        if (out >= 0 && o != out) continue;
        bool had_clip = r->flow->has_clip;
        if (accept_one_way(r, in, o, density, why)) return true;
        r->flow->has_clip = had_clip;
    }
    return false;
}
