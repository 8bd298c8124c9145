// What people read: the block of lines about a flow, the checks' errors, names of entries.
#include "cli_entry.h"

#include "base.h"
#include "cli.h"
#include "units.h"

static bool has_port(const Program *p, PortKind kind)
{
    for (int i = 0; i < p->n_out; i++)
        if (p->out[i].kind == kind) return true;
    return false;
}

unsigned plan_entries(const Plan *plan)
{
    const Program *latent = &plan->programs[PROGRAM_TO_LATENT], *event = &plan->programs[PROGRAM_TO_EVENT];
    unsigned bits = 0;
    if (latent->exists && has_port(latent, PORT_Z)) bits |= NFCC_HAS_TO_LATENT;
    if (latent->exists && has_port(latent, PORT_LOG_PROB)) bits |= NFCC_HAS_LOG_PROB;
    if (event->exists) bits |= NFCC_HAS_TO_EVENT | NFCC_HAS_SAMPLE | NFCC_HAS_ACT;
    if (event->exists && has_port(event, PORT_LOG_PROB)) bits |= NFCC_HAS_SAMPLE_AND_LOG_PROB | NFCC_HAS_SAMPLE_BEST;
    if (plan->programs[PROGRAM_RUN].exists) bits |= NFCC_HAS_RUN;
    if (plan->programs[PROGRAM_SCORE].exists) bits |= NFCC_HAS_SCORE;
    return bits;
}

void print_line(FILE *out, const char *label, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(out, "%10s: ", label);
    vfprintf(out, format, args);
    fputc('\n', out);
    va_end(args);
}

nfcc_value port_value(const Port *port)
{
    static const nfcc_type types[] = {NFCC_TYPE_F32, NFCC_TYPE_F32, NFCC_TYPE_I64, NFCC_TYPE_BOOL};
    nfcc_value v = {.name = port->name,
                    .type = types[port->type.dtype],
                    .rank = (unsigned)port->type.rank,
                    .size = (size_t)type_lanes(port->type)};
    for (int i = 0; i < port->type.rank; i++) v.shape[i] = (size_t)port->type.dim[i];
    return v;
}

const nfcc_value *port_values(Arena *arena, const Port *ports, const int *which, int n)
{
    nfcc_value *v = ARENA_ARRAY(arena, nfcc_value, n + 1);
    for (int i = 0; i < n; i++) v[i] = port_value(&ports[which ? which[i] : i]);
    return v;
}

const char *value_text(Arena *arena, const nfcc_value *v)
{
    static const char *const types[] = {"", " float64", " int64", " bool"};
    const char *text = "";
    for (unsigned i = 0; i < v->rank; i++) text = arena_format(arena, "%s%s%zu", text, i ? ", " : "", v->shape[i]);
    return arena_format(arena, "%s [%s]%s", v->name, text, types[v->type]);
}

const char *values_text(Arena *arena, const nfcc_value *list, size_t n)
{
    const char *text = "";
    for (size_t i = 0; i < n; i++)
        text = arena_format(arena, "%s%s%s", text, i ? ", " : "", value_text(arena, &list[i]));
    return n ? text : "none";
}

static const char *ports_text(Arena *arena, const Port *ports, const int *which, int n)
{
    return values_text(arena, port_values(arena, ports, which, n), (size_t)n);
}

void print_flow(FILE *out, const Session *s, const Build *b)
{
    const Flow *f = &b->flow;
    const Module *m = b->imported;
    if (!f->is_flow) {
        print_line(out, "flow", "no: %s", f->why ? f->why : "nothing in the graph claims to be one");
        print_line(out, "inputs", "%s", ports_text(s->arena, m->inputs, NULL, m->n_inputs));
        print_line(out, "outputs", "%s", ports_text(s->arena, m->outputs, NULL, m->n_outputs));
        return;
    }
    const nfcc_value event = port_value(&(Port){f->event ? f->event : "x", f->event_type, 0});
    print_line(out, "direction", "%s; %s", f->density ? "x -> z (density)" : "z -> x (sampling)", f->why ? f->why : "");
    print_line(out, "base", "%s", base_text(s->arena, f));
    print_line(out, "event", "%s", value_text(s->arena, &event));
    print_line(out, "contexts", "%s", ports_text(s->arena, m->inputs, f->contexts, f->n_contexts));
    if (f->no_inverse) print_line(out, "one way", "%s", f->no_inverse);
    if (units_text(m)) print_line(out, "units", "%s", units_text(m));
    if (f->denoise > 0) print_line(out, "denoise", "act is x + %g^2 score(x), x sampled", f->denoise);
    if (f->has_clip) print_line(out, "clip", "act keeps every number in %g..%g", f->clip_lo, f->clip_hi);
    if (f->log_det_mean)
        print_line(out, "log_det", "the graph's is the mean over the event's %lld numbers; the entries' is the sum",
                   (long long)f->dims);
    if (f->unproved)
        print_line(out, "rising", "not proved of %d function%s of one number, seen on the rows that are checked",
                   f->unproved, f->unproved == 1 ? "" : "s");
    if (f->condition > 1e4)
        print_line(out, "condition", "%.3g: the worst matrix that is inverted; expect that factor in errors",
                   f->condition);
}

static void print_float(FILE *out, const Build *b)
{
    static const char *const labels[] = {"float32", "weights f16", "weights bf16"};
    const CheckReport *r = &b->report;
    const char *worst = r->f32_worst ? r->f32_worst : "run";
    if (b->plan->weight_type == WEIGHTS_F32 || !b->flow.is_flow)
        print_line(out, labels[b->plan->weight_type], "%.1e of the value's scale from double, worst at %s",
                   r->f32_error, worst);
    else
        print_line(out, labels[b->plan->weight_type],
                   "samples %.1e, log_prob %.1e of the value's scale from double with f32 weights; worst %.1e at %s",
                   r->sample_error, r->log_prob_error, r->f32_error, worst);
}

void print_checks(FILE *out, const Session *s, const Build *b, size_t native_rows)
{
    const CheckReport *r = &b->report;
    const char *why = r->few_rows ? " (the model is large)" : "";
    if (!b->verified) {
        print_line(out, "verified", "no (--no-verify)");
    } else if (!b->checked_double) {
        print_line(out, "verified", "not against an exported graph: the file begins behind derive");
    } else if (b->flow.density_alone) {
        print_line(out, "verified", "%zu rows in double: graph %.1e, score %.1e (finite differences)", r->rows,
                   r->exported_error, r->score_error);
    } else if (b->flow.no_inverse) {
        print_line(out, "verified", "%zu rows%s in double: graph %.1e, log_det %.1e (finite differences)", r->rows, why,
                   r->exported_error, r->log_det_error);
    } else if (b->flow.is_flow) {
        print_line(out, "verified", "%zu rows%s in double: graph %.1e, round trip %.1e, log_det %.1e%s", r->rows, why,
                   r->exported_error, r->round_trip, r->log_det_error,
                   r->finite_differences ? " (finite differences)" : "");
    }
    if (r->redrawn)
        print_line(out, "saturated", "%zu of the %zu rows were drawn again nearer the base's centre", r->redrawn,
                   r->rows);
    if (r->eventless)
        print_line(out, "no event", "for %zu of the %zu latents drawn from the base: sample gives NaN there",
                   r->eventless, r->rows);
    if (b->checked_float) print_float(out, b);
    if (native_rows && native_tolerance(s->options) == 0)
        print_line(out, "compiled", "%zu rows of every entry equal the Plan's interpreter", native_rows);
    else if (native_rows)
        print_line(out, "compiled",
                   "%zu rows of every entry within %g of the value's scale from the Plan's interpreter", native_rows,
                   native_tolerance(s->options));
    if (b->reference_error >= 0)
        print_line(out, "reference", "%zu rows: %.1e of the value's scale, worst at %s", b->reference_rows,
                   b->reference_error, b->reference_worst ? b->reference_worst : "-");
}
