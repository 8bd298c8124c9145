// Einsum: operands are contracted two at a time. A letter repeated in one operand is its diagonal, one that nobody
// needs any more is summed over; what is left is transposed into a batch of matrix products.
#include "onnx_import.h"

#include <string.h>

enum { LETTERS = 128 };

typedef struct {
    int n;
    int axis[MAX_RANK]; // letter of each axis; digits stand for the axes of "..."
} Term;

// One term of an equation, up to ',' or '-' or the end. Axes of "..." become letters 0, 1, ... from the right.
static bool term_of(Call *c, const char **at, int rank, Term *t)
{
    t->n = 0;
    for (; **at && **at != ',' && **at != '-'; (*at)++) {
        if (**at == ' ') continue;
        if (!strncmp(*at, "...", 3)) {
            int letters = 0;
            for (const char *p = *at + 3; *p && *p != ',' && *p != '-'; p++) letters += *p != ' ';
            int dots = rank - t->n - letters;
            if (dots < 0 || t->n + dots > MAX_RANK)
                return fail(c, DAMAGED, "its equation does not fit its operands") != NULL;
            for (int i = dots; i-- > 0;) t->axis[t->n++] = i;
            *at += 2;
            continue;
        }
        if (**at < 'A' || **at > 'z' || t->n == MAX_RANK) return fail(c, DAMAGED, "its equation is not valid") != NULL;
        t->axis[t->n++] = **at;
    }
    return true;
}

typedef struct {
    const Node *x;
    Term t;
} Labelled;

static int position(const Term *t, int letter)
{
    for (int i = 0; i < t->n; i++)
        if (t->axis[i] == letter) return i;
    return -1;
}

static int64_t dim_of(const Labelled *l, int letter) { return l->x->type.dim[position(&l->t, letter)]; }

// Axes of x in the order of `want`, merged into dims by the given group sizes (-1 ends the list).
static const Node *arranged(Call *c, const Labelled *l, const Term *want)
{
    int perm[MAX_RANK];
    for (int i = 0; i < want->n; i++) perm[i] = position(&l->t, want->axis[i]);
    return affordable(c, l->x->type.rank, l->x->type.dim) ? build_transpose(c->b, l->x, perm) : NULL;
}

typedef struct {
    Type from;
    const Term *all, *kept;
} Diagonal;

static int64_t diagonal_source(const void *user, const int64_t *index)
{
    const Diagonal *d = user;
    int64_t lane = 0;
    for (int i = 0; i < d->all->n; i++) lane = lane * d->from.dim[i] + index[position(d->kept, d->all->axis[i])];
    return lane;
}

// A letter that occurs twice in a term walks the diagonal.
static bool take_diagonals(Call *c, Labelled *l)
{
    Term kept = {0};
    Type t = l->x->type;
    for (int i = 0; i < l->t.n; i++) {
        int seen = position(&kept, l->t.axis[i]);
        if (seen < 0) {
            t.dim[kept.n] = l->x->type.dim[i];
            kept.axis[kept.n++] = l->t.axis[i];
        } else if (t.dim[seen] != l->x->type.dim[i]) {
            return fail(c, DAMAGED, "a repeated letter of its equation has two sizes") != NULL;
        }
    }
    if (kept.n == l->t.n) return true;
    t.rank = kept.n;
    if (t.dtype == T_F64) t.dtype = T_F32;
    Diagonal d = {l->x->type, &l->t, &kept};
    l->x = remap(c, t, 1, &l->x, diagonal_source, &d);
    l->t = kept;
    return l->x != NULL;
}

// Sums over the letters that nobody needs any more.
static bool sum_unneeded(Call *c, Labelled *l, const bool *needed)
{
    int64_t axes[MAX_RANK], n = 0;
    Term kept = {0};
    for (int i = 0; i < l->t.n; i++) {
        if (needed[l->t.axis[i]])
            kept.axis[kept.n++] = l->t.axis[i];
        else
            axes[n++] = i;
    }
    if (!n) return true;
    LastAxes la = last_axes(l->x, n, axes);
    const Node *lines = to_last(c, l->x, &la);
    if (!lines) return false;
    l->x = build_reduce(c->b, OP_reduce_sum, lines);
    l->t = kept;
    return true;
}

// An axis of one element against more of them in the other operand broadcasts: it is dropped.
static void drop_ones(Call *c, Labelled *l, const Labelled *other)
{
    Term kept = {0};
    int64_t dim[MAX_RANK];
    for (int i = 0; i < l->t.n; i++) {
        if (l->x->type.dim[i] == 1 && position(&other->t, l->t.axis[i]) >= 0 && dim_of(other, l->t.axis[i]) != 1)
            continue;
        dim[kept.n] = l->x->type.dim[i];
        kept.axis[kept.n++] = l->t.axis[i];
    }
    l->x = build_reshape(c->b, l->x, kept.n, dim);
    l->t = kept;
}

static void append(Term *t, int64_t *size, const Labelled *l, int letter)
{
    t->axis[t->n++] = letter;
    *size *= dim_of(l, letter);
}

// Product of two operands: letters of both are batch (needed later) or contracted, the others free.
static bool contract(Call *c, Labelled *a, Labelled *w, const bool *needed)
{
    drop_ones(c, a, w);
    drop_ones(c, w, a);
    Term ta = {0}, tw = {0}, out = {0};
    int64_t P = 1, M = 1, K = 1, N = 1, one = 1, dim[2 * MAX_RANK];
    for (int i = 0; i < a->t.n; i++) {
        int letter = a->t.axis[i];
        if (position(&w->t, letter) < 0) continue;
        if (dim_of(a, letter) != dim_of(w, letter))
            return fail(c, DAMAGED, "a letter of its equation has two sizes") != NULL;
        if (needed[letter]) append(&ta, &P, a, letter), append(&tw, &one, w, letter);
    }
    for (int i = 0; i < a->t.n; i++)
        if (position(&w->t, a->t.axis[i]) < 0) append(&ta, &M, a, a->t.axis[i]);
    out = ta;
    for (int i = 0; i < a->t.n; i++)
        if (position(&w->t, a->t.axis[i]) >= 0 && !needed[a->t.axis[i]])
            append(&ta, &K, a, a->t.axis[i]), append(&tw, &one, w, a->t.axis[i]);
    for (int i = 0; i < w->t.n; i++) {
        if (position(&a->t, w->t.axis[i]) >= 0) continue;
        append(&tw, &N, w, w->t.axis[i]);
        if (out.n == MAX_RANK)
            return fail(c, "merge dimensions in the model", "a tensor of more than 8 dimensions") != NULL;
        out.axis[out.n++] = w->t.axis[i];
    }
    for (int i = 0; i < out.n; i++)
        dim[i] = position(&a->t, out.axis[i]) >= 0 ? dim_of(a, out.axis[i]) : dim_of(w, out.axis[i]);
    const Node *x = arranged(c, a, &ta), *y = arranged(c, w, &tw);
    if (!x || !y) return false;
    x = build_reshape(c->b, x, P == 1 ? 2 : 3, P == 1 ? (int64_t[]){M, K} : (int64_t[]){P, M, K});
    y = build_reshape(c->b, y, P == 1 ? 2 : 3, P == 1 ? (int64_t[]){K, N} : (int64_t[]){P, K, N});
    const Node *z = product(c, x, y);
    a->x = z ? checked_reshape(c, z, out.n, dim) : NULL;
    a->t = out;
    return a->x != NULL;
}

// Without "->": "..." first, then the letters that occur once, in alphabetical order.
static Term implicit_output(const Labelled *in, int n)
{
    int count[LETTERS] = {0};
    Term out = {0};
    for (int i = 0; i < n; i++)
        for (int k = 0; k < in[i].t.n; k++) count[in[i].t.axis[k]]++;
    for (int l = MAX_RANK; l-- > 0;)
        if (count[l] && out.n < MAX_RANK) out.axis[out.n++] = l;
    for (int l = 'A'; l <= 'z'; l++)
        if (count[l] == 1 && out.n < MAX_RANK) out.axis[out.n++] = l;
    return out;
}

static bool equation(Call *c, const char *at, Labelled *in, Term *out)
{
    int dots = 0;
    for (int i = 0; i < c->n_in; i++) {
        if (!(in[i].x = cast_real(c, arg(c, i))) || !term_of(c, &at, in[i].x->type.rank, &in[i].t)) return false;
        if (in[i].t.n != in[i].x->type.rank || (i + 1 < c->n_in && *at++ != ','))
            return fail(c, DAMAGED, "its equation does not fit its operands") != NULL;
        for (int k = 0; k < in[i].t.n; k++)
            if (in[i].t.axis[k] < MAX_RANK && in[i].t.axis[k] >= dots) dots = in[i].t.axis[k] + 1;
    }
    if (*at != '-') {
        *out = implicit_output(in, c->n_in);
        return true;
    }
    int letters = 0;
    for (const char *p = at + 2; at[1] && *p; p++) letters += *p != ' ' && *p != '.';
    bool has_dots = strstr(at, "...") != NULL;
    if (at[1] != '>') return fail(c, DAMAGED, "its equation is not valid") != NULL;
    at += 2;
    return term_of(c, &at, letters + (has_dots ? dots : 0), out) &&
           (!*at || fail(c, DAMAGED, "its equation is not valid"));
}

void import_einsum(Call *c, int unused)
{
    (void)unused;
    Labelled *in = ARENA_ARRAY(call_arena(c), Labelled, c->n_in + 1);
    Term out;
    if (c->n_in < 1 || c->n_in > 64) {
        fail(c, DAMAGED, "%d operands", c->n_in);
        return;
    }
    if (!equation(c, attr_text(c, "equation", ""), in, &out)) return;
    for (int i = 0; i < c->n_in; i++) {
        if (!take_diagonals(c, &in[i])) return;
        bool needed[LETTERS] = {false};
        for (int k = 0; k < out.n; k++) needed[out.axis[k]] = true;
        for (int k = i + 1; k < c->n_in; k++)
            for (int j = 0; j < in[k].t.n; j++) needed[in[k].t.axis[j]] = true;
        bool first[LETTERS];
        memcpy(first, needed, sizeof first);
        for (int j = 0; i > 0 && j < in[0].t.n; j++) first[in[0].t.axis[j]] = true; // contracted with what came before
        if (!sum_unneeded(c, &in[i], first)) return;
        if (i > 0 && !contract(c, &in[0], &in[i], needed)) return;
    }
    for (int k = 0; k < out.n; k++)
        if (position(&in[0].t, out.axis[k]) < 0 || out.n != in[0].t.n) {
            fail(c, DAMAGED, "its equation makes letters that no operand has");
            return;
        }
    result(c, 0, arranged(c, &in[0], &out));
}
