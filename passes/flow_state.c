// What derive found, kept in the module: after derive the Flow is written as notes flow.KEY, so that a .nf
// file of a later stage says all that the rest of the pipeline needs, and reading it back gives the same policy.
#include "pipeline.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = "flow.";

typedef struct {
    Context *cx;
    Property *list;
    int n, cap;
} Writer;

__attribute__((format(printf, 3, 4))) static void put(Writer *w, const char *key, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    Property p = {arena_format(w->cx->arena, "%s%s", PREFIX, key), arena_string(w->cx->arena, text)};
    ARENA_PUSH(w->cx->arena, w->list, w->n, w->cap, p);
}

static void put_name(Writer *w, const char *key, const char *name)
{
    if (name) put(w, key, "%s", name);
}

static const char *number_list(Context *cx, int64_t n, const int64_t *list)
{
    const char *text = "";
    for (int64_t i = 0; i < n; i++) text = arena_format(cx->arena, "%s%s%lld", text, i ? " " : "", (long long)list[i]);
    return text;
}

static void put_flow(Writer *w, const Flow *f)
{
    int64_t *contexts = ARENA_ARRAY(w->cx->arena, int64_t, f->n_contexts + 1);
    for (int i = 0; i < f->n_contexts; i++) contexts[i] = f->contexts[i];
    put(w, "direction", "%s", f->density ? "density" : "sampling");
    put_name(w, "event", f->event);
    put_name(w, "latent", f->latent);
    put_name(w, "log_det", f->log_det);
    put_name(w, "log_prob", f->log_prob);
    const int64_t ports[] = {f->event_input,   f->event_output,   f->latent_input,
                             f->latent_output, f->log_det_output, f->log_prob_output};
    put(w, "ports", "%s", number_list(w->cx, 6, ports));
    put(w, "contexts", "%s", number_list(w->cx, f->n_contexts, contexts));
    put(w, "shape", "%s", number_list(w->cx, f->event_type.rank, f->event_type.dim));
    put_name(w, "base", f->base);
    put(w, "base-kind", "%d %a", (int)f->base_kind, f->base_param);
    put(w, "flags", "%d %d %d %d", f->log_prob_negated, f->log_det_mean, f->base_assumed, f->density_alone);
    if (f->has_clip) put(w, "clip", "%a %a", f->clip_lo, f->clip_hi);
    if (f->denoise > 0) put(w, "denoise", "%a", f->denoise);
    put_name(w, "no-inverse", f->no_inverse);
    put(w, "solved", "%a %d", f->condition, f->rounds);
    if (f->unproved || f->has_pieces) put(w, "unproved", "%d %d", f->unproved, f->has_pieces);
}

const Module *flow_attach(Context *cx, const Module *m, const Flow *flow)
{
    Writer w = {.cx = cx};
    Module *out = arena_copy(cx->arena, m, sizeof *m);
    for (int i = 0; i < m->n_notes; i++) ARENA_PUSH(cx->arena, w.list, w.n, w.cap, m->notes[i]);
    put_name(&w, "why", flow->why);
    if (flow->is_flow) put_flow(&w, flow);
    out->notes = w.list;
    out->n_notes = w.n;
    return out;
}

// ---- reading
static const char *get(const Module *m, const char *key)
{
    size_t n = strlen(PREFIX);
    for (int i = 0; i < m->n_notes; i++)
        if (!strncmp(m->notes[i].key, PREFIX, n) && !strcmp(m->notes[i].key + n, key)) return m->notes[i].value;
    return NULL;
}

// Numbers from lo on, below hi; false if there are more than `most`, or others.
static bool get_list(const Module *m, const char *key, int64_t lo, int64_t hi, int64_t *list, int *n, int most)
{
    const char *at = get(m, key);
    for (*n = 0; at && *at;) {
        char *end;
        int64_t v = strtoll(at, &end, 10);
        if (end == at || *n == most || v < lo || v >= hi) return false;
        list[(*n)++] = v;
        at = end + strspn(end, " ");
    }
    return at != NULL;
}

static bool get_ports(Context *cx, const Module *m, Flow *f)
{
    int most = m->n_inputs > m->n_outputs ? m->n_inputs : m->n_outputs, n;
    int64_t port[6], *contexts = ARENA_ARRAY(cx->arena, int64_t, m->n_inputs + 1);
    if (!get_list(m, "ports", -1, most, port, &n, 6) || n != 6) return false;
    f->event_input = (int)port[0], f->event_output = (int)port[1];
    f->latent_input = (int)port[2], f->latent_output = (int)port[3];
    f->log_det_output = (int)port[4], f->log_prob_output = (int)port[5];
    for (int i = 0; i < 6; i++) // the event's and the latent's inputs are the first and the third
        if (port[i] >= (i == 0 || i == 2 ? m->n_inputs : m->n_outputs)) return false;
    if ((f->density ? f->event_input : f->latent_input) < 0) return false;
    if (!get_list(m, "contexts", 0, m->n_inputs, contexts, &n, m->n_inputs)) return false;
    int *list = ARENA_ARRAY(cx->arena, int, n + 1);
    for (int i = 0; i < n; i++) list[i] = (int)contexts[i];
    f->contexts = list;
    f->n_contexts = n;
    return true;
}

static bool get_flow(Context *cx, const Module *m, Flow *f)
{
    int64_t dim[MAX_RANK], flags[4];
    int rank, n;
    if (!get_ports(cx, m, f) || !get_list(m, "shape", 1, 1 << 24, dim, &rank, MAX_RANK)) return false;
    if (!get_list(m, "flags", 0, 2, flags, &n, 4) || n != 4) return false;
    f->event_type = type_make(T_F32, rank, dim);
    if (type_check(cx->arena, f->event_type)) return false;
    f->dims = type_lanes(f->event_type);
    f->log_prob_negated = flags[0], f->log_det_mean = flags[1], f->base_assumed = flags[2];
    f->density_alone = flags[3];
    const char *clip = get(m, "clip"), *solved = get(m, "solved");
    f->has_clip = clip && sscanf(clip, "%la %la", &f->clip_lo, &f->clip_hi) == 2;
    const char *denoise = get(m, "denoise");
    if (denoise && sscanf(denoise, "%la", &f->denoise) != 1) return false;
    if (solved && sscanf(solved, "%la %d", &f->condition, &f->rounds) != 2) return false;
    const char *unproved = get(m, "unproved");
    int pieces = 0;
    if (unproved && sscanf(unproved, "%d %d", &f->unproved, &pieces) != 2) return false;
    f->has_pieces = pieces;
    const char *base = get(m, "base-kind");
    int kind = 0;
    if (base && (sscanf(base, "%d %la", &kind, &f->base_param) != 2 || kind < 0 || kind >= BASE_COUNT)) return false;
    f->base_kind = (BaseKind)kind;
    return !clip || f->has_clip;
}

// ---- does it fit the module?

// The programs' ends: event-sized ones by name, the others one number; outputs from number `least` on may be absent.
static const struct {
    const char *program, *in, *out[4];
    int least;
} ENDS[] = {{"to_latent", "x", {"z", "log_det", "log_prob"}, 3},
            {"to_event", "z", {"x", "log_det", "log_prob", "act"}, 3},
            {"score", "x", {"score"}, 1},
            {"act", "z", {"act"}, 1},
            {"base", "z", {"z"}, 1}};

// Outputs behind these are the scores by the contexts, in order.
static bool outputs_fit(const Module *m, const Flow *f, const Function *p, size_t row)
{
    bool by_contexts = !strcmp(ENDS[row].program, "score");
    int first = row == 0 && f->density_alone ? 2 : 0; // log_prob alone
    for (int i = 0; i < p->n_outputs; i++) {
        const char *name = first + i < 4 ? ENDS[row].out[first + i] : NULL;
        int64_t lanes = name && strncmp(name, "log_", 4) ? f->dims : 1;
        if (name && strcmp(p->outputs[i].name, name)) return false;
        if (!name && (!by_contexts || i > f->n_contexts)) return false;
        if (!name) lanes = type_lanes(m->inputs[f->contexts[i - 1]].type);
        if (type_lanes(p->outputs[i].node->type) != lanes) return false;
    }
    return p->n_outputs + first >= ENDS[row].least;
}

// Inputs 0 .. n of a program are the contexts.
static bool contexts_fit(const Module *m, const Flow *f, const Function *p, int n)
{
    for (int i = 0; i < n && n == f->n_contexts; i++)
        if (type_lanes(p->inputs[i]->type) != type_lanes(m->inputs[f->contexts[i]].type)) return false;
    return n == f->n_contexts;
}

// Where contexts are hoisted, @encode reads them and the programs at most p.
static bool programs_fit(const Module *m, const Flow *f)
{
    const Function *encode = module_function(m, "encode");
    if (encode && !contexts_fit(m, f, encode, encode->n_inputs)) return false;
    if (f->density_alone && (!f->density || module_function(m, "to_event"))) return false;
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        const Function *p = module_function(m, ENDS[i].program);
        if (!p) continue;
        const Node *end = p->n_inputs ? p->inputs[p->n_inputs - 1] : NULL;
        if (!end || strcmp(end->name, ENDS[i].in) || type_lanes(end->type) != f->dims) return false;
        if (m->stage == STAGE_DERIVED && !contexts_fit(m, f, p, p->n_inputs - 1)) return false;
        if (!outputs_fit(m, f, p, i)) return false;
    }
    return module_function(m, f->density ? "to_latent" : "to_event") != NULL;
}

bool flow_restore(Context *cx, const Module *m, Flow *f)
{
    const char *direction = get(m, "direction");
    *f = (Flow){.is_flow = direction != NULL, .why = get(m, "why")};
    if (!direction) return true;
    f->density = !strcmp(direction, "density");
    f->event = get(m, "event"), f->latent = get(m, "latent");
    f->log_det = get(m, "log_det"), f->log_prob = get(m, "log_prob");
    f->base = get(m, "base");
    f->no_inverse = get(m, "no-inverse");
    if (f->base && get_flow(cx, m, f) && programs_fit(m, f)) return true;
    diag_error(cx, NULL, "write the file again with --stop-after",
               "the notes %s* do not describe a flow of this module", PREFIX);
    *f = (Flow){0};
    return false;
}
