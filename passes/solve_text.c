// A solution in words: what unknown lanes wait for (messages), the inverse program step by step (check --explain), and
// how a function of one lane is solved.
#include "solve.h"

#include <stdio.h>
#include <stdlib.h>

// ---- functions of one lane

// The worst case of a call is every call's: the numbers are constants.
static const char *bracket_text(Context *cx, const OneLane *g, const Way *way)
{
    bool bin = way->in_bin || way->between;
    int grid = bin ? 0 : !g->net ? ROOT_GRID : g->proved ? NET_COARSE + NET_PARTS - 1 : 1 + ROOT_OUTWARD;
    int values = grid + (g->net ? NET_SECTIONS * (NET_PARTS - 1) : ROOT_SECTIONS * (ROOT_PARTS - 1));
    return arena_format(cx->arena, "root in %s: %d values of the function and %d Newton steps, whatever the data",
                        bin ? "its bin" : "-2^32..2^32", values, ROOT_STEPS);
}

static const char *way_text(Context *cx, const OneLane *g, const Way *way)
{
    switch (way->kind) {
    case WAY_END: return "";
    case WAY_CHAIN: return way_text(cx, g, way->next);
    case WAY_SELECT:
        return arena_format(cx->arena, "either (%s) or (%s)", way_text(cx, g, way->next),
                            way_text(cx, g, way->otherwise));
    case WAY_RATIONAL:
    case WAY_BRACKET: {
        const char *kind = way->kind == WAY_BRACKET             ? bracket_text(cx, g, way)
                           : poly_degree(way->relation, 0) == 2 ? "root of a quadratic"
                                                                : "rational";
        const char *rest = way_text(cx, g, way->next);
        return arena_format(cx->arena, "%s%s%s", kind, *rest ? ", " : "", rest);
    }
    }
    return "";
}

static const char *function_text(Context *cx, const OneLane *g)
{
    return arena_format(cx->arena, "%s%s; %s", g->slope > 0 ? "rising" : "falling",
                        g->proved ? "" : " (not proved: confirmed by the rows of the check)", way_text(cx, g, g->way));
}

// ---- steps and what is missing

static const char *node_label(Context *cx, const Node *n)
{
    if (n->op == OP_input) return arena_format(cx->arena, "input '%s'", n->name);
    if (n->origin && n->origin->node)
        return arena_format(cx->arena, "'%s' (%s)", n->origin->node,
                            n->origin->op ? n->origin->op : op_info(n->op)->name);
    return arena_format(cx->arena, "node %d (%s)", n->id, op_info(n->op)->name);
}

// A known-output node that reads the lane and cannot give it back: what the lane waits for.
static const Node *waits_at(const Solution *s, LaneRef lane)
{
    for (int i = s->f->n_nodes - 1; i >= 0; i--) {
        const Node *n = s->f->nodes[i];
        if (n->op == OP_move || op_info(n->op)->kind == KIND_LEAF) continue;
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k] || node_is_const(n->in[k])) continue;
            int64_t lanes = type_lanes(n->in[k]->type);
            for (int64_t j = 0; j < lanes; j++)
                if (lane_same(lane_canonical(n->in[k], j), lane)) return n;
        }
    }
    return NULL;
}

const char *solve_explain(Context *cx, const Solution *s, const LaneRef *to, int64_t n_to, const char *name)
{
    const char *text = NULL;
    int64_t shown = 0, missing = 0;
    for (int64_t i = 0; i < n_to; i++) {
        if (node_is_const(to[i].node) || s->known[s->base->base[to[i].node->id] + to[i].lane]) continue;
        if (missing++ && shown >= 3) continue;
        const Node *at = waits_at(s, to[i]);
        shown++;
        text = arena_format(cx->arena, "%s%s%s[%lld] waits at %s", text ? text : "", text ? "; " : "", name,
                            (long long)i, at ? node_label(cx, at) : "nothing (it is not used)");
    }
    if (missing > shown) text = arena_format(cx->arena, "%s; %lld more", text, (long long)(missing - shown));
    if (text && s->why) text = arena_format(cx->arena, "%s; %s", text, s->why);
    return text ? text : "";
}

const char *solve_text(Context *cx, const Solution *s)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    if (!f) return "";
    for (int i = 0; i < s->n_steps; i++) {
        const SolveStep *t = &s->steps[i];
        if (t->kind == STEP_FORWARD)
            fprintf(f, "%4d  forward   %6lld lanes of %s\n", i, (long long)t->n, node_label(cx, t->node));
        if (t->kind == STEP_BACKWARD)
            fprintf(f, "%4d  inverse   %6lld lanes through %s of %s, operand %d\n", i, (long long)t->n,
                    op_info(t->node->op)->name, node_label(cx, t->node), t->operand);
        if (t->kind == STEP_FUNCTION)
            fprintf(f, "%4d  function  %6lld lanes of %s: %s\n", i, (long long)t->n, node_label(cx, t->node),
                    function_text(cx, t->function));
        if (t->kind == STEP_SYSTEM && t->system->inverse)
            fprintf(f, "%4d  system    %6d lanes at %s, log|det| %.6g, condition %.3g\n", i, t->system->k,
                    node_label(cx, t->node), t->system->log_det, t->system->condition);
        else if (t->kind == STEP_SYSTEM)
            fprintf(f, "%4d  system    %6d lanes at %s, %d at a time, by a computed matrix\n", i, t->system->k,
                    node_label(cx, t->node), t->system->size);
        if (t->kind == STEP_BLOCK)
            fprintf(f, "%4d  solve     %lld x %lld block of %s, %lld token(s), log|det| %.6g, condition %.3g\n", i,
                    (long long)t->k, (long long)t->k, node_label(cx, t->node), (long long)t->n, t->log_det,
                    t->condition);
    }
    if (!s->solved) fprintf(f, "%4d  stops     no other lane becomes known\n", s->n_steps);
    fclose(f);
    const char *text = arena_string(cx->arena, out);
    free(out);
    return text;
}
