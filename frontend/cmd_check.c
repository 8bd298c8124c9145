// nfcc check MODEL.onnx: what the model is, and every problem found, without writing anything. nfcc verify MODEL.onnx:
// the same with all checks: double, float32, compiled code, reference rows.
#include "cli_entry.h"

#include "cli.h"

static void json_ports(Arena *arena, const char *key, const Port *ports, const int *which, int n)
{
    json_values(key, port_values(arena, ports, which, n), (size_t)n);
}

static void json_problems(const Session *s)
{
    static const char *const kind[] = {"error", "warning"};
    json_key("problems", false);
    putchar('[');
    for (size_t i = 0; i < s->diag.n; i++) {
        printf("%s\n    {\"kind\": \"%s\", \"text\": ", i ? "," : "", kind[s->diag.list[i].kind]);
        json_string(stdout, s->diag.list[i].text);
        printf(", \"hint\": ");
        json_string(stdout, s->diag.list[i].hint);
        putchar('}');
    }
    printf("%s]", s->diag.n ? "\n  " : "");
}

static void json_roles(const Session *s, const Build *b)
{
    const Flow *f = &b->flow;
    json_text("direction", !f->is_flow ? NULL : f->density ? "density" : "sampling");
    json_text("why", f->why);
    json_text("event", f->event);
    json_text("latent", f->latent);
    json_text("log_det", f->log_det);
    json_text("log_prob", f->log_prob);
    if (f->is_flow) {
        json_ports(s->arena, "contexts", b->imported->inputs, f->contexts, f->n_contexts);
        json_key("event_shape", false);
        const nfcc_value event = port_value(&(Port){"x", f->event_type, 0});
        json_shape(&event);
        json_text("one_way", f->no_inverse);
        json_text("base", f->base);
        json_bool("base_assumed", f->base_assumed);
        json_number("rounds", f->rounds);
        json_number("condition", f->condition);
    }
    json_ports(s->arena, "inputs", b->imported->inputs, NULL, b->imported->n_inputs);
    json_ports(s->arena, "outputs", b->imported->outputs, NULL, b->imported->n_outputs);
}

static void json_report(const Session *s, const Build *b, bool ok, bool checks, size_t native_rows)
{
    const CheckReport *r = &b->report;
    putchar('{');
    json_key("file", true);
    json_string(stdout, s->diag.file);
    json_bool("ok", ok);
    json_bool("flow", b->flow.is_flow);
    if (b->imported) json_roles(s, b);
    if (b->plan) json_entries(plan_entries(b->plan));
    if (checks) {
        json_number("rows", (double)r->rows);
        json_number("exported_error", r->exported_error);
        json_number("round_trip_error", r->round_trip);
        json_number("log_det_error", r->log_det_error);
        json_number("float32_error", r->f32_error);
        json_text("float32_worst", r->f32_worst);
        json_number("compiled_rows", (double)native_rows);
    }
    if (b->reference_error >= 0) {
        json_number("reference_rows", (double)b->reference_rows);
        json_number("reference_error", b->reference_error);
        json_text("reference_worst", b->reference_worst);
    }
    if (s->options->value[OPT_explain]) json_text("explain", b->flow.explain);
    json_problems(s);
    printf("\n}\n");
}

// Is what the user typed usable? Nothing is read before that is known.
static bool options_ok(Session *s)
{
    FlowOptions f;
    return flow_options(s, &f) && backend_of(s);
}

static void print_text(Session *s, const Build *b, bool ok, bool checks, size_t native_rows)
{
    if (b->imported && (ok || b->flow.why)) print_flow(stdout, s, b);
    if (b->plan) print_line(stdout, "entries", "%s", entry_list(s->arena, plan_entries(b->plan)));
    if (b->plan && b->flow.rounds)
        print_line(stdout, "inverse", "%d rounds%s", b->flow.rounds,
                   s->options->value[OPT_explain] ? "" : "; --explain prints them");
    if (s->options->value[OPT_explain] && b->flow.explain) printf("\n%s\n", b->flow.explain);
    if (checks && b->verified) print_checks(stdout, s, b, native_rows);
    if (ok) print_line(stdout, checks ? "verify" : "check", "no problem found");
}

static int finish(Session *s, const Build *b, bool ok, bool checks, size_t native_rows)
{
    session_stage(s, NULL);
    if (s->options->value[OPT_json])
        json_report(s, b, ok, checks, native_rows);
    else
        print_text(s, b, ok, checks, native_rows);
    return session_finish(s, ok || session_code(s) ? DONE : WRONG_MODEL);
}

int cmd_check(const Options *o)
{
    Session *s = session_new(o, o->args[0]);
    Build b;
    if (!options_ok(s)) return session_finish(s, WRONG_USAGE);
    bool ok = build_run(s, NULL, true, NULL, NULL, &b);
    return finish(s, &b, ok, false, 0);
}

int cmd_verify(const Options *o)
{
    Session *s = session_new(o, o->args[0]);
    Build b;
    size_t native_rows = 0;
    if (!options_ok(s)) return session_finish(s, WRONG_USAGE);
    bool ok = build_run(s, NULL, true, o->value[OPT_inputs], o->value[OPT_reference], &b);
    ok = ok && build_checked(s, &b, &native_rows);
    return finish(s, &b, ok, true, native_rows);
}
