// The pipeline: expands passes.def, runs each pass that lies ahead of the module's stage, verifies after each.
#include "pipeline.h"

#include "base/clock.h"

#include <string.h>

typedef struct {
    Context *cx; // of the pass, which has its own memory for nodes and scratch
    const FlowOptions *options;
    Flow *flow;
} Run;

static const PassInfo INFO[] = {
#define PASS(id, stage, meaning) {#id, STAGE_##stage, meaning},
#include "passes.def"
#undef PASS
};
enum { COUNT = sizeof INFO / sizeof INFO[0] };

#define PASS(id, stage, meaning) PASS_##id,
typedef enum {
#include "passes.def"
} PassId;
#undef PASS

static const Module *run_pass(Run *r, int pass, const Module *m)
{
    switch ((PassId)pass) {
    case PASS_normal: return pass_normal(m, r->cx);
    case PASS_lanes: return pass_lanes(m, r->cx);
    case PASS_channels_last: return pass_channels_last(m, r->cx);
    case PASS_derive: return pass_derive(m, r->cx, r->options, r->flow);
    case PASS_merge_linear: return pass_merge_linear(m, r->cx);
    case PASS_narrow: return pass_narrow(m, r->cx);
    case PASS_hoist_context: return pass_hoist_context(m, r->cx);
    case PASS_merge_siblings: return pass_merge_siblings(m, r->cx);
    }
    return NULL;
}

const PassInfo *pass_list(int *n)
{
    *n = COUNT;
    return INFO;
}

// "merge-linear" and "merge_linear" are the same name.
static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_'))) return false;
    return !*a && !*b;
}

static int find_pass(Context *cx, const char *name)
{
    for (int i = 0; i < COUNT; i++)
        if (same_name(INFO[i].name, name)) return i;
    diag_error(cx, NULL, "nfcc --list-passes lists them", "no pass is called '%s'", name);
    return -1;
}

static const char LAST_PASS[] = "pass"; // note of a module that was saved on the way

// A saved module goes on after the pass that it names; one without a name, after the passes of its stage.
static int first_pass(const Module *m)
{
    int first = 0;
    const char *last = module_note(m, LAST_PASS);
    for (int i = 0; i < COUNT && last; i++)
        if (!strcmp(last, INFO[i].name)) return i + 1;
    for (int i = 0; i < COUNT && m->stage != STAGE_IMPORTED; i++)
        if (INFO[i].stage <= m->stage) first = i + 1;
    return first;
}

static bool shares_functions(const Module *a, const Module *b)
{
    for (int i = 0; i < a->n_functions; i++)
        for (int k = 0; k < b->n_functions; k++)
            if (a->functions[i]->nodes == b->functions[k]->nodes) return true;
    return false;
}

// The nodes of the module before go when the next one stands, unless somebody asked for that module.
static const Module *run_next(Run *r, int pass, const Module *m, const Module **derived, Arena **last)
{
    size_t before = r->cx->diag->errors;
    r->cx->nodes = arena_within(r->cx->arena);
    r->cx->scratch = arena_within(r->cx->arena);
    const Module *next = run_pass(r, pass, m);
    arena_free(r->cx->scratch);
    r->cx->scratch = NULL;
    if (!next || r->cx->diag->errors > before) return NULL;
    if (pass == PASS_derive) next = flow_attach(r->cx, next, r->flow);
    if (!module_verify(next, r->cx)) return NULL;
    if (*last && shares_functions(m, next))
        arena_move(*last, r->cx->nodes); // a pass that leaves a function as it is
    else
        arena_free(*last);
    *last = r->cx->nodes;
    if (pass == PASS_derive && derived) {
        *derived = next;
        *last = NULL;
    }
    return next;
}

const Module *passes_run(Context *cx, const Module *m, const FlowOptions *options, const PipelineOptions *pipeline,
                         Flow *flow, const Module **derived)
{
    Context own = *cx;
    Run run = {&own, options, flow};
    Arena *last = NULL;
    int stop = pipeline && pipeline->stop_after ? find_pass(cx, pipeline->stop_after) : COUNT - 1;
    if (stop < 0 || (m->stage >= STAGE_DERIVED && !flow_restore(cx, m, flow))) return NULL;
    for (int i = first_pass(m); i <= stop; i++) {
        double start = clock_seconds();
        m = run_next(&run, i, m, derived, &last);
        if (!m) return NULL;
        if (pipeline && pipeline->time) fprintf(stderr, "%-14s %8.3f s\n", INFO[i].name, clock_seconds() - start);
    }
    return pipeline && pipeline->stop_after ? module_with_note(cx, m, LAST_PASS, INFO[stop].name) : m;
}

const Module *pass_run_one(Context *cx, const char *name, const Module *m)
{
    FlowOptions none = {0};
    Flow flow = {0};
    Run run = {cx, &none, &flow};
    int pass = find_pass(cx, name);
    if (pass < 0) return NULL;
    const Module *out = run_pass(&run, pass, m);
    return out && module_verify(out, cx) ? out : NULL;
}
