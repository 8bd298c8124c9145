// Drawn rows that saturate: a tanh that reaches 1 in double, an event beyond a clip in front of atanh. There the
// exported graph itself has no way back, so the row proves nothing; its z is halved until it does.
//
// A row is drawn again only if it fails (z does not come back, or a number is not finite) for that reason: something is
// not finite, or such a clip is at work. Where more than half of the rows do, all stay, and the checks say so.
#include "check.h"
#include "solve.h"

#include <math.h>
#include <string.h>

enum { MOST_HALVINGS = 8 };

bool all_finite(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

static bool any_nan(const double *v, size_t n)
{
    size_t i = 0;
    while (i < n && !isnan(v[i])) i++;
    return i < n;
}

static bool row_finite(Check *c, size_t r)
{
    bool finite = all_finite(c->x + r * c->dims, c->dims) && all_finite(c->back + r * c->dims, c->dims) &&
                  isfinite(c->log_det_x[r]);
    double **exported = check_exported(c);
    for (int o = 0; o < c->main->n_outputs && finite; o++) {
        size_t lanes = (size_t)type_lanes(c->main->outputs[o].node->type);
        finite = all_finite(exported[o] + r * lanes, lanes);
    }
    return finite;
}

static bool row_returns(const Check *c, size_t r)
{
    for (size_t i = r * c->dims; i < (r + 1) * c->dims; i++)
        if (!(fabs(c->back[i] - c->z[i]) <= 1e-6 * (1 + fabs(c->z[i])))) return false;
    return true;
}

// By row: does a clip that the inverse takes for the identity change a number on the way from x to z?
static bool *clipped_rows(Check *c)
{
    Context *cx = c->cx;
    const Function *f = c->to_latent;
    const bool *clips = solve_clips(cx, f);
    bool *clipped = ARENA_ARRAY(cx->arena, bool, c->rows);
    Function g = *f;
    Output *ports = ARENA_ARRAY(cx->arena, Output, f->n_nodes * 2 + f->n_outputs);
    int first = f->n_outputs, n = first;
    memcpy(ports, f->outputs, (size_t)first * sizeof *ports);
    for (int i = 0; i < f->n_nodes; i++) {
        if (!clips[i]) continue;
        const Node *m = f->nodes[i];
        ports[n++] = (Output){"clip", m};
        ports[n++] = (Output){"unclipped", m->in[node_is_const(m->in[0]) ? 1 : 0]};
    }
    if (n == first) return clipped;
    g.outputs = ports;
    g.n_outputs = n;
    double **out = ARENA_ARRAY(cx->arena, double *, n);
    for (int o = first; o < n; o++) out[o] = check_numbers(cx, c->rows * (size_t)type_lanes(ports[o].node->type));
    check_run_program(c, &g, c->x, out);
    for (int o = first; o < n; o += 2) {
        size_t lanes = (size_t)type_lanes(ports[o].node->type);
        bool same = lanes == (size_t)type_lanes(ports[o + 1].node->type);
        for (size_t r = 0; r < c->rows && same; r++)
            if (memcmp(out[o] + r * lanes, out[o + 1] + r * lanes, lanes * sizeof(double))) clipped[r] = true;
    }
    return clipped;
}

static size_t saturated_rows(Check *c, bool *saturated)
{
    size_t n = 0;
    bool *clipped = NULL;
    for (size_t r = 0; r < c->rows; r++) {
        saturated[r] = !row_finite(c, r);
        if (!saturated[r] && !row_returns(c, r)) {
            if (!clipped) clipped = clipped_rows(c);
            saturated[r] = clipped[r];
        }
        n += saturated[r];
    }
    return n;
}

bool check_redraw(Check *c, int tries)
{
    bool *saturated = ARENA_ARRAY(c->cx->arena, bool, c->rows);
    size_t n = tries < MOST_HALVINGS ? saturated_rows(c, saturated) : 0;
    if (!n || n > c->rows / 2) return false;
    if (!tries) {
        c->report->redrawn = n;
        for (size_t r = 0; r < c->rows; r++) c->report->eventless += any_nan(c->x + r * c->dims, c->dims);
    }
    for (size_t r = 0; r < c->rows; r++)
        for (size_t i = r * c->dims; i < (r + 1) * c->dims && saturated[r]; i++)
            c->z[i] = (double)(float)(0.5 * c->z[i]);
    return true;
}
