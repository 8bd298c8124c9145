// A move m is the results of products
//
//     y_c = linear(x_c, w_c)        w_c: one column; c = 0, 1, ... C - 1
//
// and lane i of x_c is lane i of x_0, c times `step` further, or the same constant. What a depthwise convolution comes
// to: step is the places of a picture that lies channel after channel, and 1 of one that lies place after place. Then
// y, place after place, is one product of diagonal matrices (plan.h): vectors run along the columns.
#include "diagonal.h"

static bool is_column(const Node *y)
{
    return y->op == OP_linear && y->n_in == 2 && y->in[1]->type.rank == 2 && linear_dims(y->in[1]->type).n == 1 &&
           y->in[0]->op == OP_move;
}

static bool are_columns(const Node *m)
{
    const Node *y = m->in[0];
    for (int c = 0; c < m->n_in; c++)
        if (!is_column(m->in[c]) || !type_equal(m->in[c]->in[1]->type, y->in[1]->type) ||
            type_lanes(m->in[c]->type) != type_lanes(y->type))
            return false;
    return true;
}

static bool lies_so(const Node *m, bool by_place, const Diagonal *d)
{
    for (int64_t i = 0; i < d->columns * d->places; i++) {
        int64_t lane, column = by_place ? i % d->columns : i / d->places;
        if (move_source(m, i, &lane) != column || lane != (by_place ? i / d->columns : i % d->places)) return false;
    }
    return true;
}

// Lane i of x_c; the first one of x_1 that is not constant says what the picture and the step are.
static bool is_neighbour(const Node *first, const Node *x, int64_t c, int64_t i, Diagonal *d)
{
    int64_t lane, other;
    const Node *from = first->in[move_source(first, i, &lane)], *to = x->in[move_source(x, i, &other)];
    if (node_is_const(from) || node_is_const(to))
        return node_is_const(from) && node_is_const(to) && const_at(from, lane) == const_at(to, other);
    if (!d->picture) d->picture = from, d->step = other - lane;
    return from == d->picture && to == d->picture && other - lane == c * d->step;
}

bool diagonal_of(const Node *m, bool by_place, Diagonal *d)
{
    if (m->op != OP_move || m->n_in < 2 || !are_columns(m)) return false;
    const Node *y = m->in[0];
    *d = (Diagonal){.columns = m->n_in, .places = type_lanes(y->type), .inputs = linear_dims(y->in[1]->type).k};
    if (type_lanes(m->type) != d->columns * d->places || !lies_so(m, by_place, d)) return false;
    for (int64_t c = 1; c < d->columns; c++)
        for (int64_t i = 0; i < d->places * d->inputs; i++)
            if (!is_neighbour(y->in[0], m->in[c]->in[0], c, i, d)) return false;
    return d->picture != NULL;
}
