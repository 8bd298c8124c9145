// Roles and direction: which input is the event or the latent, which output is what. Decided by the first of
//   a log_prob output (which options and metadata must not contradict), options, metadata (nfcc.*), the published names.
// Shapes and invertibility only propose candidates; they never tell density from sampling. Otherwise the compile is
// refused (or, where nothing claims to be a flow, the graph compiles to `run`).
#include "roles.h"

#include <string.h>

// ---- by what is said

// One end as the options, else the file's metadata, name it: NULL where they do not; its input or its output, or -1.
typedef struct {
    const char *name;
    int in, out;
} Word;

typedef struct {
    bool option;
    Word event, latent;
} Said;

static bool unsolved_fails(const Roles *r)
{
    diag_error(r->cx, NULL, "compile with --entries run to ship the graph as it is", "output '%s' %s", r->unsolved,
               r->unsolved_why);
    r->flow->explain = solve_text(r->cx, r->unsolved_steps);
    return false;
}

static void not_invertible(Roles *r, int in, int out, const char *what)
{
    Map *map = roles_map(r, in, out, false);
    const Port *port = &r->m->inputs[in];
    if (!map && r->unsolved) {
        unsolved_fails(r);
        return;
    }
    if (!map) {
        diag_error(r->cx, NULL, "name the other end with --event or --latent, or export (z, log_det) or log_prob",
                   "no output is a distinct image of input '%s'; it cannot be the %s", port->name, what);
        return;
    }
    LaneRef *lanes = input_lanes(r->cx, r->f->inputs[in]);
    int named = roles_log_det_named(r);
    bool wrong = named >= 0 && map->dims <= DIFFERENCE_DIMS;
    const char *hint =
        wrong ? arena_format(r->cx->arena,
                             "output '%s' is not log|det| of this map, which would give its one direction; --entries "
                             "run ships the graph as it is",
                             r->m->outputs[named].name)
              : "export the log_det too, which gives this one direction; or --entries run ships the graph as it is";
    diag_error(r->cx, NULL, hint, "not invertible from '%s' back to '%s': %s",
               out < r->m->n_outputs ? r->m->outputs[out].name : "the log_prob's squares", port->name,
               solve_explain(r->cx, map->solution, lanes, roles_input_size(r, in), port->name));
    r->flow->explain = solve_text(r->cx, map->solution);
}

// The roles are said: input `in` is data (density) or noise; or output `out` is.
static bool accept_said(Roles *r, int in, int out, bool density, const char *why)
{
    Map *map = NULL;
    if (in >= 0 && out < 0)
        out = roles_choose_output(r, in, density, &map);
    else if (out >= 0 && in < 0)
        for (int i = 0; i < r->f->n_inputs && in < 0; i++)
            if (!roles_is_context(r, i) && map_solved(map = roles_map(r, i, out, !density))) in = i;
    if (!map && in >= 0 && out >= 0) map = roles_map(r, in, out, !density);
    if (map_solved(map)) {
        roles_fill(r, map, density, in, out, why);
        return true;
    }
    if (in >= 0 && roles_one_way(r, in, out, density, why)) return true;
    for (int o = 0; o < r->m->n_outputs && out < 0 && in >= 0; o++)
        if (roles_output_size(r, o) == roles_input_size(r, in)) out = o;
    if (in < 0) {
        diag_error(r->cx, NULL, "name the input with --event or --latent", "no input is the preimage of output '%s'",
                   r->m->outputs[out].name);
        return false;
    }
    if (out < 0 && r->flow->log_prob_output >= 0) return false;
    not_invertible(r, in, out, density ? "event" : "latent");
    return false;
}

// ---- by names

static bool output_named(const Roles *r, bool event)
{
    for (int o = 0; o < r->m->n_outputs; o++)
        if (published(r->m->outputs[o].name, event ? NAME_EVENT_OUTPUT : NAME_LATENT_OUTPUT)) return true;
    return false;
}

static int named_input(const Roles *r, NameKind kind)
{
    for (int i = 0; i < r->f->n_inputs; i++)
        if (!roles_is_context(r, i) && roles_real_input(r, i) && published(r->m->inputs[i].name, kind)) return i;
    return -1;
}

// An input noise, z, eps, latent, or an output x_*, action, sample: sampling; an input x, action or event: density.
static bool by_names(Roles *r)
{
    int noise = named_input(r, NAME_LATENT_INPUT), event = named_input(r, NAME_EVENT_INPUT);
    bool both = noise >= 0 && event >= 0, density = noise < 0 || both;
    int in = density ? event : noise;
    if (density && (event < 0 || output_named(r, true))) return false;
    Map *map = NULL;
    int out = roles_choose_output(r, in, density, &map);
    const char *why = arena_format(r->cx->arena, "the name of input '%s'", r->m->inputs[in].name);
    if (out < 0) return roles_one_way(r, in, -1, density, why);
    roles_fill(r, map, density, in, out, why);
    return true;
}

static int log_prob_named(const Roles *r)
{
    for (int o = 0; o < r->m->n_outputs; o++)
        if (roles_scalar_output(r, o) && published(r->m->outputs[o].name, NAME_LOG_PROB)) return o;
    return -1;
}

// ---- a log_prob whose base is of no known form (a mixture), or not seen

// The end that goes in: said, or by its name; -1: not decided.
static int named_end(const Roles *r, const Said *said, bool *density)
{
    *density = said->event.name != NULL;
    if (said->event.name && said->latent.name) return -1;
    if (said->event.name || said->latent.name) return *density ? said->event.in : said->latent.in;
    int noise = named_input(r, NAME_LATENT_INPUT), x = named_input(r, NAME_EVENT_INPUT);
    *density = noise < 0;
    return noise >= 0 && x >= 0 ? -1 : noise >= 0 ? noise : output_named(r, true) ? -1 : x;
}

// The exported log_prob is taken as it is. With an invertible output beside it both directions exist; else that of a
// density alone does. A base that is seen and does not fit, or is said, is no such case.
static bool own_density(Roles *r, const Said *said)
{
    Map *map = NULL;
    Flow *flow = r->flow;
    bool density = false, seen = r->unsolved || r->options->base;
    const char *own = roles_said_log_prob(r);
    int scalar = own ? roles_port(r->m->outputs, r->m->n_outputs, own) : log_prob_named(r),
        in = named_end(r, said, &density);
    if (seen || in < 0 || scalar < 0 || !roles_scalar_output(r, scalar) || !roles_real_input(r, in)) return false;
    int out = roles_choose_output(r, in, density, &map);
    if (out < 0 && !density) return false;
    if (out < 0) map = map_solve(r->cx, r->f, in, input_lanes(r->cx, r->f->inputs[in]), roles_input_size(r, in));
    map->log_prob = r->f->outputs[scalar].node;
    map->log_prob_sign = r->options->neg_log_prob ? -1 : 1;
    const char *name = r->m->outputs[scalar].name;
    roles_fill(
        r, map, density, in, out,
        arena_format(r->cx->arena, "the log_prob output '%s' and the name of input '%s'", name, r->m->inputs[in].name));
    flow->log_prob_output = scalar;
    flow->log_prob = name;
    flow->log_prob_negated = r->options->neg_log_prob != NULL;
    flow->base_kind = BASE_GRAPH;
    flow->base = arena_format(r->cx->arena, "none that nfcc knows (a mixture?): log_prob is the graph's own%s",
                              out < 0 ? "" : "; z must be given");
    flow->density_alone = out < 0;
    if (out < 0) flow->no_inverse = "no output is a latent, and the log_prob shows none: the density alone";
    return true;
}

// ---- no decision

// An input and an output of one size, of which one is data and the other noise by their names.
static bool named_pair(const Roles *r, int *in, int *out)
{
    for (int i = 0; i < r->f->n_inputs; i++) {
        const char *name = r->m->inputs[i].name;
        bool event = published(name, NAME_EVENT_INPUT), latent = published(name, NAME_LATENT_INPUT);
        for (int o = 0; (event || latent) && o < r->m->n_outputs; o++) {
            if (roles_is_context(r, i) || roles_input_size(r, i) != roles_output_size(r, o) ||
                roles_input_size(r, i) == 1)
                continue;
            if (!published(r->m->outputs[o].name, latent ? NAME_EVENT_OUTPUT : NAME_LATENT_OUTPUT)) continue;
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
        if (!roles_scalar_output(r, o)) continue;
        if (published(r->m->outputs[o].name, NAME_LOG_DET) || published(r->m->outputs[o].name, NAME_LOG_PROB))
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
            if (!roles_is_context(r, i) && roles_input_size(r, i) == roles_output_size(r, o) &&
                map_solved(roles_map(r, i, o, true)))
                return i;
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
    r->strict = false;
    if (roles_by_log_prob(r)) return true; // its error says what is wrong
    if (r->unsolved) return unsolved_fails(r);
    if (!claims(r)) {
        r->flow->why = "no input and output are each other's image, and no output is a log_prob: not a flow";
        return true;
    }
    int in = -1, out = -1;
    named_pair(r, &in, &out);
    if (in < 0) in = named_input(r, NAME_EVENT_INPUT);
    if (in < 0) in = named_input(r, NAME_LATENT_INPUT);
    for (int o = 0; out < 0 && o < r->m->n_outputs && in >= 0; o++)
        if (roles_output_size(r, o) == roles_input_size(r, in) && !roles_scalar_output(r, o)) out = o;
    if (in >= 0 && out >= 0)
        not_invertible(r, in, out, published(r->m->inputs[in].name, NAME_LATENT_INPUT) ? "latent" : "event");
    else if (log_prob_named(r) >= 0)
        no_base(r, log_prob_named(r));
    else
        diag_error(r->cx, NULL, "say --event NAME or --latent NAME, or --entries run to ship the graph as it is",
                   "the outputs claim a flow, but no input and output are each other's image");
    return false;
}

// ---- all

static const char *said_where(const Said *said) { return said->option ? "--" : "the file's metadata nfcc."; }

static bool find_said(Roles *r, const Said *said, Word *word, const char *what)
{
    word->in = roles_port(r->m->inputs, r->f->n_inputs, word->name);
    word->out = word->in >= 0 ? -1 : roles_port(r->m->outputs, r->m->n_outputs, word->name);
    if (!word->name || word->in >= 0 || word->out >= 0) return true;
    diag_error(r->cx, NULL,
               said->option ? "nfcc check MODEL.onnx lists them"
                            : "--event or --latent decide instead; nfcc check MODEL.onnx lists the names",
               "%s%s '%s': the graph has no such input or output", said_where(said), what, word->name);
    return false;
}

static bool is_input(Roles *r, const char *option, const char *name)
{
    const Module *m = r->m;
    if (!name || roles_port(m->inputs, m->n_inputs, name) >= 0) return true;
    diag_error(r->cx, NULL,
               arena_format(r->cx->arena, "its inputs are: %s", names_of_ports(r->cx, m->inputs, m->n_inputs)),
               "%s '%s': the graph has no such input", option, name);
    return false;
}

static bool is_number_output(Roles *r, const char *option, const char *name)
{
    const Module *m = r->m;
    int i = roles_port(m->outputs, m->n_outputs, name);
    if (!name || (i >= 0 && roles_scalar_output(r, i))) return true;
    const char *hint =
        arena_format(r->cx->arena, "its outputs are: %s", names_of_ports(r->cx, m->outputs, m->n_outputs));
    if (i < 0)
        diag_error(r->cx, NULL, hint, "%s '%s': the graph has no such output", option, name);
    else
        diag_error(r->cx, NULL, hint, "%s '%s': this output is not one number per row", option, name);
    return false;
}

// An option that names nothing decides nothing: a spelling mistake would pass unseen.
static bool options_name_ports(Roles *r)
{
    const FlowOptions *o = r->options;
    bool ok = is_number_output(r, "--log-det", o->log_det);
    ok &= is_number_output(r, "--log-prob", o->log_prob);
    ok &= is_number_output(r, "--neg-log-prob", o->neg_log_prob);
    for (int i = 0; i < o->n_contexts; i++) ok &= is_input(r, "--context", o->contexts[i]);
    return ok;
}

static bool by_word(Roles *r, const Said *said, const char *why)
{
    const Word *event = &said->event, *latent = &said->latent;
    if ((event->in >= 0 && latent->in >= 0) || (event->out >= 0 && latent->out >= 0)) {
        diag_error(r->cx, NULL, "one of them goes in, the other comes out; nfcc check MODEL.onnx lists the names",
                   "event and latent cannot both be inputs or both be outputs");
        return false;
    }
    bool density = event->in >= 0 || latent->out >= 0;
    return accept_said(r, density ? event->in : latent->in, density ? latent->out : event->out, density, why);
}

// The log_prob's roles are the ones that are said.
static bool agrees(Roles *r, const Said *said)
{
    const Flow *f = r->flow;
    const char *event = said->event.name, *latent = said->latent.name;
    bool wrong_event = event && strcmp(event, f->event ? f->event : "");
    bool wrong_latent = latent && strcmp(latent, f->latent ? f->latent : "");
    if (!wrong_event && !wrong_latent) return true;
    diag_error(r->cx, NULL, said->option ? "leave the option out" : "--event or --latent decide instead",
               "the squares of the log_prob output '%s' contradict %s%s %s", f->log_prob, said_where(said),
               wrong_event ? "event" : "latent", wrong_event ? event : latent);
    return false;
}

static bool said_log_prob_fails(const Roles *r, const Said *said_ends)
{
    const char *said = roles_said_log_prob(r);
    int i = roles_port(r->m->outputs, r->m->n_outputs, said);
    if (i < 0 || !roles_scalar_output(r, i)) return false;
    if (r->unsolved) return unsolved_fails(r), true;
    const char *hint = "--event NAME takes it as it is, where the base is of no known form";
    if (r->options->base) hint = "leave --base out: --event NAME then takes the graph's own log_prob";
    if (said_ends->event.name && !r->options->base) hint = "--entries run ships the graph as it is";
    diag_error(r->cx, NULL, hint, "output '%s' is not a log_prob that nfcc can split into a base and a flow", said);
    return true;
}

static bool decide(Roles *r)
{
    const FlowOptions *o = r->options;
    bool option = o->event || o->latent;
    Said said = {.option = option,
                 .event.name = option ? o->event : module_property(r->m, "nfcc.event"),
                 .latent.name = option ? o->latent : module_property(r->m, "nfcc.latent")};
    const char *why = option ? "the options" : "the file's metadata";
    size_t errors = r->cx->diag->errors;
    if (!find_said(r, &said, &said.event, "event") || !find_said(r, &said, &said.latent, "latent")) return false;
    if (roles_by_log_prob(r)) {
        if (option) r->flow->why = why;
        return agrees(r, &said);
    }
    if (own_density(r, &said)) return true;
    if (said_log_prob_fails(r, &said)) return false;
    if (said.event.name || said.latent.name) return by_word(r, &said, why);
    return by_names(r) || (r->cx->diag->errors == errors && refuse_or_run(r));
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
    Roles r = {.cx = cx, .m = m, .f = module_function(m, "main"), .options = options, .flow = flow, .strict = true};
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
    if (!options_name_ports(&r)) return false;
    if (options->run_only) {
        flow->why = "only run was asked for";
        return true;
    }
    if (!decide(&r)) return false;
    *f = r.f;
    *map = r.map;
    if (!flow->is_flow) return true;
    if (!flow->no_inverse) roles_find_log_det(&r, flow->density);
    if (!decide_base(&r)) return false;
    if (options->has_clip) {
        flow->has_clip = true;
        flow->clip_lo = options->clip_lo;
        flow->clip_hi = options->clip_hi;
    }
    flow->rounds = r.map->solution->n_steps;
    if (!flow->no_inverse) {
        flow->unproved = solve_unproved(r.map->solution);
        flow->has_pieces = solve_has_pieces(r.map->solution);
    }
    flow->explain = solve_text(cx, r.map->solution);
    return true;
}
