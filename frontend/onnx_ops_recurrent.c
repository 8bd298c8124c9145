// Recurrent layers, unrolled: the number of steps is a shape. x: [steps, rows, K], h: [rows, H].
//
//   RNN   h' = f(x W + h R + b)
//   LSTM  i, o, f, g = x W + h R + b;  c' = s(f) c + s(i) tanh(g);  h' = s(o) tanh(c')
//   GRU   z, r, n:  z = s(..), r = s(..), n = tanh(x W_n + r (h R_n + b)) or tanh(x W_n + (r h) R_n + b);
//         h' = n + z (h - n)
#include "onnx_import.h"

#include <string.h>

typedef struct {
    Call *c;
    int kind;
    int64_t steps, rows, K, H, gates;
    bool reset_after; // GRU: r times the product, not the state
    bool relu;        // RNN
    const Node *x, *w, *r, *b, *h, *cell;
} Recurrent;

static const Node *sigmoid(const Recurrent *l, const Node *x) { return build_unary(l->c->b, OP_sigmoid, x); }
static const Node *hyper(const Recurrent *l, const Node *x) { return build_unary(l->c->b, OP_tanh, x); }

// Gate k of a [rows, gates H].
static const Node *gate(const Recurrent *l, const Node *all, int64_t k)
{
    return build_slice(l->c->b, all, 1, k * l->H, l->H, 1);
}

// ---- what is supported

static bool activations_known(Recurrent *l)
{
    static const char *const KNOWN[][3] = {{"Tanh"}, {"Sigmoid", "Tanh", "Tanh"}, {"Sigmoid", "Tanh"}};
    static const int COUNT[] = {1, 3, 2};
    const Onnx__AttributeProto *a = attr(l->c, "activations");
    for (size_t i = 0; a && i < a->n_strings; i++) {
        const char *want = KNOWN[l->kind][i % (size_t)COUNT[l->kind]];
        bool same = a->strings[i].len == strlen(want) && !memcmp(a->strings[i].data, want, a->strings[i].len);
        bool relu = l->kind == LAYER_RNN && a->strings[i].len == 4 && !memcmp(a->strings[i].data, "Relu", 4);
        l->relu = relu;
        if (!same && !relu) {
            fail(l->c, "use the layer's usual activations", "an activation other than the usual ones");
            return false;
        }
    }
    return true;
}

static bool supported(Recurrent *l)
{
    Call *c = l->c;
    if (attr_int(c, "layout", 0) || attr_int(c, "input_forget", 0) || attr(c, "clip")) {
        fail(c, "export the layer as the framework does by default",
             "layout 1, input_forget and clip are not supported");
        return false;
    }
    if (has_arg(c, 4) || (l->kind == LAYER_LSTM && has_arg(c, 7))) {
        fail(c, "give all rows the same number of steps", "sequence lengths and peepholes are not supported");
        return false;
    }
    return activations_known(l);
}

// ---- one step

static const Node *state_product(const Recurrent *l, const Node *h, const Node *r, const Node *bias)
{
    const Node *y = product(l->c, h, r);
    return y && bias ? op2(l->c, OP_add, y, bias) : y;
}

static const Node *gru(const Recurrent *l, const Node *x, const Node *h, const Node *r, const Node *bias)
{
    Builder *b = l->c->b;
    int64_t two = 2 * l->H;
    const Node *all = state_product(l, h, r, bias);
    if (!all) return NULL;
    const Node *part = gate(l, all, 0), *z = sigmoid(l, op2(l->c, OP_add, gate(l, x, 0), part));
    part = gate(l, all, 1);
    const Node *reset = sigmoid(l, op2(l->c, OP_add, gate(l, x, 1), part));
    if (l->reset_after) {
        part = op2(l->c, OP_mul, reset, gate(l, all, 2));
    } else {
        if (bias) bias = build_slice(b, bias, 0, two, l->H, 1);
        r = build_slice(b, r, 1, two, l->H, 1);
        part = state_product(l, op2(l->c, OP_mul, reset, h), r, bias);
    }
    if (!part) return NULL;
    const Node *n = hyper(l, op2(l->c, OP_add, gate(l, x, 2), part));
    return op2(l->c, OP_add, n, op2(l->c, OP_mul, z, op2(l->c, OP_sub, h, n)));
}

static const Node *lstm(const Recurrent *l, const Node *x, const Node *h, const Node **cell, const Node *r,
                        const Node *bias)
{
    const Node *all = state_product(l, h, r, bias);
    if (!all) return NULL;
    all = op2(l->c, OP_add, x, all);
    const Node *in = hyper(l, gate(l, all, 3));
    in = op2(l->c, OP_mul, sigmoid(l, gate(l, all, 0)), in);
    *cell = op2(l->c, OP_add, op2(l->c, OP_mul, sigmoid(l, gate(l, all, 2)), *cell), in);
    const Node *out = hyper(l, *cell);
    return op2(l->c, OP_mul, sigmoid(l, gate(l, all, 1)), out);
}

static const Node *rnn(const Recurrent *l, const Node *x, const Node *h, const Node *r, const Node *bias)
{
    const Node *all = state_product(l, h, r, bias);
    if (!all) return NULL;
    all = op2(l->c, OP_add, x, all);
    return l->relu ? build_alpha(l->c->b, OP_leaky_relu, all, 0) : hyper(l, all);
}

// ---- one direction

// Part d of an operand without that axis; NULL where it is absent.
static const Node *part_of(const Recurrent *l, const Node *v, int64_t d)
{
    if (!v) return NULL;
    const Node *one = build_slice(l->c->b, v, 0, d, 1, 1);
    return build_reshape(l->c->b, one, one->type.rank - 1, one->type.dim + 1);
}

// The state at the start: zeros, or the operand's, without the rows that a fixed batch wrote into it.
static const Node *start_state(const Recurrent *l, const Node *v, int64_t d)
{
    int64_t dim[2] = {l->rows, l->H};
    if (!v) return build_broadcast(l->c->b, build_cast(l->c->b, build_scalar(l->c->b, 0), T_F32), 2, dim);
    const Node *one = part_of(l, v, d);
    return one->type.dim[0] == l->rows ? one : build_slice(l->c->b, one, 0, 0, l->rows, 1);
}

// Fills y[step] with [1, 1, rows, H], and the last state and cell with [1, rows, H].
static bool direction(const Recurrent *l, int64_t d, bool backward, const Node **y, const Node **last,
                      const Node **last_cell)
{
    Builder *b = l->c->b;
    int64_t width = l->gates * l->H, four[4] = {1, 1, l->rows, l->H}, two[2] = {l->rows, width};
    const Node *w = build_transpose(b, part_of(l, l->w, d), (int[]){1, 0}),
               *r = build_transpose(b, part_of(l, l->r, d), (int[]){1, 0}), *both = part_of(l, l->b, d);
    const Node *x = product(l->c, l->x, w), *bias = both ? build_slice(b, both, 0, width, width, 1) : NULL;
    if (!x) return false;
    if (both) x = op2(l->c, OP_add, x, build_slice(b, both, 0, 0, width, 1));
    const Node *h = start_state(l, l->h, d), *cell = start_state(l, l->cell, d);
    for (int64_t i = 0; i < l->steps; i++) {
        int64_t t = backward ? l->steps - 1 - i : i;
        const Node *now = build_reshape(b, build_slice(b, x, 0, t, 1, 1), 2, two);
        h = l->kind == LAYER_GRU    ? gru(l, now, h, r, bias)
            : l->kind == LAYER_LSTM ? lstm(l, now, h, &cell, r, bias)
                                    : rnn(l, now, h, r, bias);
        if (!h) return false;
        y[t] = build_reshape(b, h, 4, four);
    }
    *last = build_reshape(b, h, 3, four + 1);
    *last_cell = build_reshape(b, cell, 3, four + 1);
    return true;
}

// ---- the layer

static bool shapes_fit(Recurrent *l, int64_t directions)
{
    const Node *x = l->x, *w = l->w, *r = l->r;
    bool ok = x->type.rank == 3 && w->type.rank == 3 && r->type.rank == 3;
    if (ok) {
        l->steps = x->type.dim[0];
        l->rows = x->type.dim[1];
        l->K = x->type.dim[2];
        l->H = r->type.dim[2];
        int64_t width = l->gates * l->H;
        ok = l->H > 0 && w->type.dim[0] == directions && r->type.dim[0] == directions && w->type.dim[1] == width &&
             r->type.dim[1] == width && w->type.dim[2] == l->K;
        ok = ok &&
             (!l->b || (l->b->type.rank == 2 && l->b->type.dim[0] == directions && l->b->type.dim[1] == 2 * width));
        const Node *const state[2] = {l->h, l->cell};
        for (int i = 0; i < 2 && ok; i++)
            ok = !state[i] || (state[i]->type.rank == 3 && state[i]->type.dim[0] == directions &&
                               state[i]->type.dim[1] >= l->rows && state[i]->type.dim[2] == l->H);
    }
    if (!ok) fail(l->c, DAMAGED, "its operands' shapes do not agree");
    return ok;
}

void import_recurrent(Call *c, int kind)
{
    static const int64_t GATES[] = {1, 4, 3};
    const char *way = attr_text(c, "direction", "forward");
    bool both = !strcmp(way, "bidirectional");
    attr_int(c, "hidden_size", 0);
    Recurrent l = {.c = c, .kind = kind, .gates = GATES[kind], .x = arg(c, 0), .w = arg(c, 1), .r = arg(c, 2)};
    l.b = optional(c, 3);
    l.h = optional(c, 5);
    l.cell = kind == LAYER_LSTM ? optional(c, 6) : NULL;
    l.reset_after = kind == LAYER_GRU && attr_int(c, "linear_before_reset", 0);
    if (c->failed || !l.x || !l.w || !l.r || !supported(&l) || !shapes_fit(&l, both ? 2 : 1)) return;
    int64_t dims[4] = {l.steps, both ? 2 : 1, l.rows, l.H * l.gates * 4};
    if (!affordable(c, 4, dims)) return;
    l.x = cast_real(c, l.x);
    const Node **y[2], *last[2], *cell[2], *whole[2];
    for (int d = 0; d < (both ? 2 : 1); d++) {
        y[d] = ARENA_ARRAY(call_arena(c), const Node *, l.steps + 1);
        if (!direction(&l, d, d == 1 || !strcmp(way, "reverse"), y[d], &last[d], &cell[d])) return;
        whole[d] = build_concat(c->b, (int)l.steps, y[d], 0);
    }
    int n = both ? 2 : 1;
    if (c->n_out > 0) result(c, 0, build_concat(c->b, n, whole, 1));
    if (c->n_out > 1) result(c, 1, build_concat(c->b, n, last, 0));
    if (c->n_out > 2) result(c, 2, build_concat(c->b, n, cell, 0));
}
