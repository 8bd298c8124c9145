// A move m is the results of products
//
//     y_g = linear(x_g, w_g)        g = 0, 1, ... G - 1; columns g * N to g * N + N - 1
//
// and lane i of x_g is lane i of x_0, g times `step` further, or the same constant. What a grouped convolution comes
// to, a depthwise one with N = 1: where as many channels go in as out, step is N of a picture that lies place after
// place, and N times its places of one that lies channel after channel. Then y, place after place, is one product of
// block diagonal matrices (plan.h): vectors run along the columns of all.
#include "diagonal.h"

#include "plan.h"

static bool is_group(const Node *y)
{
    return y->op == OP_linear && y->n_in == 2 && y->in[1]->type.rank == 2 && y->in[0]->op == OP_move;
}

static bool are_groups(const Node *m)
{
    const Node *y = m->in[0];
    for (int c = 0; c < m->n_in; c++)
        if (!is_group(m->in[c]) || !type_equal(m->in[c]->in[1]->type, y->in[1]->type) ||
            type_lanes(m->in[c]->type) != type_lanes(y->type))
            return false;
    return true;
}

static bool lies_so(const Node *m, bool by_place, const Diagonal *d)
{
    int64_t N = d->columns / d->groups;
    for (int64_t i = 0; i < d->columns * d->places; i++) {
        int64_t lane, column = by_place ? i % d->columns : i / d->places,
                      place = by_place ? i / d->columns : i % d->places;
        if (move_source(m, i, &lane) != column / N || lane != place * N + column % N) return false;
    }
    return true;
}

// Lane i of x_g; the first one of x_1 that is not constant says what the picture and the step are.
static bool is_neighbour(const Node *first, const Node *x, int64_t g, int64_t i, Diagonal *d)
{
    int64_t lane, other;
    const Node *from = first->in[move_source(first, i, &lane)], *to = x->in[move_source(x, i, &other)];
    if (node_is_const(from) || node_is_const(to))
        return node_is_const(from) && node_is_const(to) && const_at(from, lane) == const_at(to, other);
    if (!d->picture) d->picture = from, d->step = other - lane;
    return from == d->picture && to == d->picture && other - lane == g * d->step;
}

// Blocks of outputs as plan.h has them; of windows. One place of several columns each may be one of own matrices.
static bool fits(const Diagonal *d)
{
    int64_t N = d->columns / d->groups;
    return GEMM_GROUP % N == 0 && d->inputs > N && (d->places > 1 || N == 1);
}

bool diagonal_of(const Node *m, bool by_place, Diagonal *d)
{
    if (m->op != OP_move || m->n_in < 2 || !are_groups(m)) return false;
    const Node *y = m->in[0];
    LinearDims w = linear_dims(y->in[1]->type);
    *d = (Diagonal){.columns = m->n_in * w.n, .groups = m->n_in, .places = type_lanes(y->type) / w.n, .inputs = w.k};
    if (!fits(d) || type_lanes(m->type) != d->columns * d->places || !lies_so(m, by_place, d)) return false;
    for (int64_t g = 1; g < d->groups; g++)
        for (int64_t i = 0; i < d->places * d->inputs; i++)
            if (!is_neighbour(y->in[0], m->in[g]->in[0], g, i, d)) return false;
    return d->picture != NULL;
}
