// units: the caller's units enter the graph before anything is derived from it.
//
//   --normalize c     the graph is fed (c - mean) / std of what the caller passes
//   --unnormalize     x = mean + std * y, y the graph's event. In x -> z the graph is fed (x - mean) / std, in z -> x
//                     its event is rescaled; log|det dz/dx| changes by -sum log std, log_prob too, so that all entries,
//                     and the graph's own outputs, speak of x.
//
// Which input or output is the event, and which outputs are its log_det and log_prob, is asked of the roles pass once.
#include "units.h"
#include "double_math.h"
#include "flow.h"
#include "pipeline.h"

#include <math.h>
#include <string.h>

static const char NOTE[] = "units"; // of a module in the caller's units: what was applied

typedef struct {
    Context *cx;
    const Module *m;
    const Function *main;
    const Scaling *list;
    int n;
    Flow flow;
} Units;

static bool find_flow(Units *u, const FlowOptions *options)
{
    FlowOptions o = *options;
    o.has_clip = false;
    const Function *f = NULL;
    Map *map = NULL;
    const Module *m = pass_normal(u->m, u->cx);
    return decide_roles(u->cx, pass_lanes(m, u->cx), &o, &u->flow, &f, &map);
}

static const Scaling *scaling_of(const Units *u, const char *name)
{
    for (int i = 0; i < u->n; i++)
        if (name ? u->list[i].name && !strcmp(u->list[i].name, name) : !u->list[i].name) return &u->list[i];
    return NULL;
}

static int input_number(const Units *u, const char *name)
{
    for (int i = 0; i < u->m->n_inputs; i++)
        if (!strcmp(u->m->inputs[i].name, name)) return i;
    return -1;
}

static bool is_context(const Units *u, int input)
{
    bool found = !u->flow.is_flow;
    for (int i = 0; i < u->flow.n_contexts; i++) found = found || u->flow.contexts[i] == input;
    return found;
}

static bool check_numbers(const Units *u, const Scaling *s, int64_t lanes)
{
    const char *what = s->name ? s->name : "the event";
    if (s->n != 1 && s->n != lanes) {
        diag_error(u->cx, NULL, "store one number for each number of it, or one for all",
                   "%s: mean and std are %lld numbers, but %s has %lld", s->file, (long long)s->n, what,
                   (long long)lanes);
        return false;
    }
    for (int64_t i = 0; i < s->n; i++) {
        if (isfinite(s->mean[i]) && isfinite(s->std[i]) && s->std[i] > 0) continue;
        diag_error(u->cx, NULL, "a lane that never varies has std 1",
                   "%s: std[%lld] is %g, mean %g: a finite mean and a std above 0 are wanted", s->file, (long long)i,
                   s->std[i], s->mean[i]);
        return false;
    }
    return true;
}

static bool check_context(const Units *u, const Scaling *s)
{
    int input = input_number(u, s->name);
    if (input < 0) {
        const char *names = names_of_ports(u->cx, u->m->inputs, u->m->n_inputs);
        diag_error(u->cx, NULL, arena_format(u->cx->arena, "its inputs are: %s", names),
                   "--normalize %s: the graph has no such input", s->name);
        return false;
    }
    if (!is_context(u, input) || u->m->inputs[input].type.dtype != T_F32) {
        diag_error(u->cx, NULL, "the event is rescaled with --unnormalize FILE.npz",
                   "--normalize %s: it is no context of real numbers", s->name);
        return false;
    }
    return check_numbers(u, s, type_lanes(u->m->inputs[input].type));
}

static bool check_event(const Units *u, const Scaling *s)
{
    if (!u->flow.is_flow) {
        diag_error(u->cx, NULL, "leave it out", "--unnormalize: the graph is no flow, so it has no event (%s)",
                   u->flow.why);
        return false;
    }
    if (u->flow.has_clip) {
        diag_error(
            u->cx, NULL, "export without the clip, and give it in the caller's units: --clip LO,HI",
            "--unnormalize: the graph clips its event, which would then not be the last thing that happens to it");
        return false;
    }
    return check_numbers(u, s, u->flow.dims);
}

static bool check_all(const Units *u)
{
    bool ok = true;
    for (int i = 0; i < u->n; i++) ok &= u->list[i].name ? check_context(u, &u->list[i]) : check_event(u, &u->list[i]);
    return ok;
}

// ---- building

static const Node *numbers_as(Builder *b, Type type, int64_t n, const double *v)
{
    if (n == 1) return build_scalar(b, v[0]);
    type.dtype = T_F64;
    return build_reals(b, type, v);
}

static const Node *rescaled(Builder *b, const Node *x, const Scaling *s, bool standardise)
{
    const Node *mean = numbers_as(b, x->type, s->n, s->mean), *std = numbers_as(b, x->type, s->n, s->std);
    double *inverse = ARENA_ARRAY(builder_context(b)->arena, double, s->n);
    for (int64_t i = 0; i < s->n; i++) inverse[i] = 1 / s->std[i]; // a product is folded into the weights behind it
    if (standardise) {
        const Node *over = numbers_as(b, x->type, s->n, inverse);
        return build_binary(b, OP_mul, build_binary(b, OP_sub, x, mean), over);
    }
    return build_binary(b, OP_add, build_binary(b, OP_mul, x, std), mean);
}

static double log_volume(const Scaling *s, int64_t dims)
{
    double sum = 0;
    for (int64_t i = 0; i < dims; i++) sum += double_log(s->std[s->n == 1 ? 0 : i]);
    return sum;
}

// Output `port` of the graph in the caller's units.
static const Node *output_of(const Units *u, Builder *b, int port, const Node *now)
{
    const Scaling *s = scaling_of(u, NULL);
    const Flow *f = &u->flow;
    if (!s) return now;
    double volume = log_volume(s, f->dims), shift = 0;
    if (port == f->event_output) return rescaled(b, now, s, false);
    if (port == f->log_det_output)
        shift = (f->density ? -volume : volume) / (f->log_det_mean ? (double)f->dims : 1);
    else if (port == f->log_prob_output)
        shift = f->log_prob_negated ? volume : -volume;
    else
        return now;
    return build_binary(b, OP_add, now, build_scalar(b, shift));
}

static const Node *input_of(const Units *u, Builder *b, int port)
{
    const Node *in = u->main->inputs[port], *now = build_input(b, in->name, in->type);
    const Scaling *s =
        port == u->flow.event_input && u->flow.is_flow ? scaling_of(u, NULL) : scaling_of(u, u->m->inputs[port].name);
    return s ? rescaled(b, now, s, true) : now;
}

static const Function *main_in_units(const Units *u)
{
    const Function *f = u->main;
    Builder *b = builder_new(u->cx, f->name);
    const Node **now = ARENA_ARRAY(u->cx->arena, const Node *, f->n_nodes + 1);
    for (int i = 0; i < f->n_inputs; i++) now[f->inputs[i]->id] = input_of(u, b, i);
    for (int i = 0; i < f->n_nodes; i++)
        if (f->nodes[i]->op != OP_input) now[i] = build_copy(b, f->nodes[i], now);
    for (int i = 0; i < f->n_outputs; i++)
        build_output(b, f->outputs[i].name, output_of(u, b, i, now[f->outputs[i].node->id]));
    return builder_finish(b);
}

// A path of this machine has no place in a policy.
static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// A saved module may have been through this before.
static const char *text_of(const Units *u)
{
    const char *text = units_text(u->m);
    for (int i = 0; i < u->n; i++) {
        const Scaling *s = &u->list[i];
        const char *rule = s->name ? arena_format(u->cx->arena, "%s is (caller's - mean) / std", s->name)
                                   : "event is mean + std * the graph's";
        const char *part = arena_format(u->cx->arena, "%s of %s", rule, file_name(s->file));
        text = text ? arena_format(u->cx->arena, "%s; %s", text, part) : part;
    }
    return text;
}

const Module *units_apply(Context *cx, const Module *m, const FlowOptions *options, int n, const Scaling *list)
{
    Units u = {.cx = cx, .m = m, .main = module_function(m, "main"), .list = list, .n = n};
    if (!n) return m;
    if (m->stage != STAGE_IMPORTED || !u.main) {
        diag_error(cx, NULL, "give them where the graph is read: with the .onnx file",
                   "--normalize and --unnormalize change the exported graph, but the file begins behind it");
        return NULL;
    }
    if (!find_flow(&u, options) || !check_all(&u)) return NULL;
    const Function *f = main_in_units(&u);
    Module *out = module_new(cx, m->stage, 1, &f, m);
    out = module_with_note(cx, out, NOTE, text_of(&u));
    return module_verify(out, cx) ? out : NULL;
}

const char *units_text(const Module *m) { return module_note(m, NOTE); }
