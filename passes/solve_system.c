// A system: k known lanes that are affine in k unknown ones through ops that each stand between several of them (a
// rotation written as c p - s q beside s p + c q, a mix written column by column, a product with a computed matrix).
//
//   known_j = sum_i a_ij unknown_i + rest_j      unknown = (known - rest) A^-1
//
// Where no a_ij by constants is found, known lanes are factors, too (solve_matrix.c). What they are is not known here:
// any numbers stand for them, so that a matrix is singular only where it is so for whatever they may be.
// A known lane is followed through affine ops down to the atoms, lanes of other ops or of nodes before a cut: its form
// is the list of atoms with their factors. Lanes that share atoms are one component, which is solved if it has as many
// independent forms as atoms. The cut goes backward through the nodes, as what lies behind the lanes to be found is
// often affine, too (a net's last product). rest is the lane's value where all atoms are 0.
#include "solve_system.h"
#include "affine.h"
#include "emit.h"
#include "flow.h"
#include "small_matrix.h"

#include <math.h>
#include <string.h>

// What is wider is an atom; larger systems are written as products, which have a rule of their own.
enum { MOST_TERMS = 128, MOST_DEPTH = 256, MOST_WORK = 1 << 23, MOST_SIZE = 256 };

typedef struct {
    LaneRef atom; // first: terms are sorted by it
    double factor;
} AffineTerm;

typedef struct {
    AffineTerm *terms;
    int n;
} Form;

typedef struct {
    LaneRef lane;
    Form form;
} Equation;

typedef struct {
    const SystemQuestion *q;
    Arena *arena;
    Form **form; // by lane number: of a lane that was followed
    int64_t work;
    int cut;       // lanes of nodes before this one are atoms
    int too_large; // lanes of a computed system that is not solved
    Equation *equations;
    int n_equations, cap_equations;
    LaneRef *atoms;
    int n_atoms, cap_atoms;
    int *atom_at;                       // by lane number: atom + 1
    int *parent, *n_in, *n_by, *column; // by atom: the one that stands for it; of that one atoms and equations
} Search;

static int64_t number(const Search *s, LaneRef r) { return s->q->base->base[r.node->id] + r.lane; }
static bool is_known(const Search *s, LaneRef r) { return node_is_const(r.node) || s->q->known[number(s, r)]; }

// ---- operands of lane i of an op (affine.c), with numbers for their factors

// Any number in place of lane r, the same one whenever it is asked for.
static double any_number(int64_t r)
{
    uint64_t state = (uint64_t)r;
    double v = 2 * draw_uniform(&state);
    return v < 1 ? -0.5 - v : v - 0.5;
}

// The number d lane / d operand; NAN: it is none.
static double factor_of(const Search *s, const Node *n, int64_t i, int64_t k)
{
    AffineFactor f = affine_factor(n, i, k);
    if (!f.affine || !f.by.node) return f.affine ? f.number : NAN;
    double v = 0;
    if (lane_is_const(f.by))
        v = lane_value(f.by);
    else if (s->q->computed && is_known(s, f.by))
        v = any_number(number(s, f.by));
    else
        return NAN;
    return f.divides ? 1 / v : v;
}

// ---- forms

// Sorted, equal atoms added up, and without those that vanish.
static void collect(Form *f)
{
    int n = 0;
    if (f->n > 1) qsort(f->terms, (size_t)f->n, sizeof *f->terms, lane_compare);
    for (int i = 0; i < f->n;) {
        AffineTerm sum = f->terms[i];
        for (i++; i < f->n && lane_same(f->terms[i].atom, sum.atom); i++) sum.factor += f->terms[i].factor;
        if (fabs(sum.factor) > 1e-12) f->terms[n++] = sum;
    }
    f->n = n;
}

static const Form *follow(Search *s, LaneRef r, int depth);

// The form of lane i of n through its operands, in `terms` of 2 MOST_TERMS; false: it is not affine, or too much.
static bool through_operands(Search *s, const Node *n, int64_t i, int depth, Form *f)
{
    f->n = 0;
    int64_t K = affine_operands(n);
    s->work += K;
    for (int64_t k = 0; k < K; k++) {
        LaneRef r = affine_operand(n, i, k);
        if (is_known(s, r)) continue;
        double factor = factor_of(s, n, i, k);
        if (!isfinite(factor)) return false;
        if (factor == 0) continue;
        const Form *g = follow(s, r, depth);
        if (f->n + g->n > 2 * MOST_TERMS || (s->work += g->n + 1) > MOST_WORK) return false;
        for (int t = 0; t < g->n; t++) f->terms[f->n++] = (AffineTerm){g->terms[t].atom, factor * g->terms[t].factor};
    }
    collect(f);
    return K && f->n <= MOST_TERMS;
}

static Form keep(Search *s, const Form *f)
{
    return (Form){arena_copy(s->arena, f->terms, (size_t)f->n * sizeof *f->terms), f->n};
}

static const Form *follow(Search *s, LaneRef r, int depth)
{
    Form **at = &s->form[number(s, r)];
    if (*at) return *at;
    AffineTerm terms[2 * MOST_TERMS];
    Form f = {terms, 0};
    if (r.node->id < s->cut || depth >= MOST_DEPTH || !through_operands(s, r.node, r.lane, depth + 1, &f)) {
        terms[0] = (AffineTerm){r, 1};
        f.n = 1;
    }
    *at = ARENA_NEW(s->arena, Form);
    **at = keep(s, &f);
    return *at;
}

// ---- components

static int root_of(const Search *s, int a)
{
    while (s->parent[a] != a) a = s->parent[a];
    return a;
}

static int atom_number(Search *s, LaneRef r)
{
    int *at = &s->atom_at[number(s, r)];
    if (!*at) {
        ARENA_PUSH(s->arena, s->atoms, s->n_atoms, s->cap_atoms, r);
        *at = s->n_atoms;
    }
    return *at - 1;
}

static bool mixes(const Search *s, const Node *n)
{
    if (n->op == OP_matmul) return s->q->computed;
    return n->op == OP_add || n->op == OP_sub || n->op == OP_reduce_sum || n->op == OP_linear;
}

// Known lanes that have unknown operands left.
static void find_equations(Search *s)
{
    AffineTerm terms[2 * MOST_TERMS];
    Form f = {terms, 0};
    for (int id = 0; id < s->q->f->n_nodes && s->work < MOST_WORK; id++) {
        const Node *n = s->q->f->nodes[id];
        if (!mixes(s, n)) continue;
        for (int64_t i = 0; i < type_lanes(n->type); i++) {
            LaneRef r = {n, i};
            if (!is_known(s, r) || !through_operands(s, n, i, 0, &f) || !f.n) continue;
            for (int t = 0; t < f.n; t++) atom_number(s, terms[t].atom);
            ARENA_PUSH(s->arena, s->equations, s->n_equations, s->cap_equations, ((Equation){r, keep(s, &f)}));
        }
    }
}

// Where there are equations in one atom, these alone: a triangular matrix is solved lane by lane.
static void keep_single(Search *s)
{
    int n = 0;
    for (int e = 0; e < s->n_equations; e++)
        if (s->equations[e].form.n == 1) s->equations[n++] = s->equations[e];
    if (n) s->n_equations = n;
}

static void join_atoms(Search *s)
{
    int **by_atom_arrays[] = {&s->parent, &s->n_in, &s->n_by, &s->column};
    for (int i = 0; i < 4; i++) *by_atom_arrays[i] = ARENA_ARRAY(s->arena, int, s->n_atoms + 1);
    for (int a = 0; a < s->n_atoms; a++) s->parent[a] = a;
    for (int e = 0; e < s->n_equations; e++) {
        const Form *f = &s->equations[e].form;
        int first = root_of(s, atom_number(s, f->terms[0].atom));
        for (int t = 1; t < f->n; t++) s->parent[root_of(s, atom_number(s, f->terms[t].atom))] = first;
    }
    for (int a = 0; a < s->n_atoms; a++) s->n_in[root_of(s, a)]++;
    for (int e = 0; e < s->n_equations; e++) s->n_by[root_of(s, atom_number(s, s->equations[e].form.terms[0].atom))]++;
}

// ---- solving

// A component: some atoms, and equations in no others.
typedef struct {
    int *atoms, *equations;
    int k, rows;
    double *inverse;
    double log_det, condition;
} Component;

// [equations][atoms], or the other way round.
static double *matrix_of(Search *s, const Component *c, int rows, bool transposed)
{
    double *a = ARENA_ARRAY(s->arena, double, (size_t)rows * c->k + 1);
    for (int j = 0; j < c->k; j++) s->column[c->atoms[j]] = j;
    for (int r = 0; r < rows; r++) {
        const Form *f = &s->equations[c->equations[r]].form;
        for (int t = 0; t < f->n; t++) {
            int j = s->column[atom_number(s, f->terms[t].atom)];
            a[transposed ? j * rows + r : r * c->k + j] = f->terms[t].factor;
        }
    }
    return a;
}

static bool solve_component(Search *s, Component *c)
{
    if (!independent_rows(matrix_of(s, c, c->rows, false), c->rows, c->k, c->equations)) return false;
    if (s->q->computed) return true;
    double *a = matrix_of(s, c, c->k, true), norm = matrix_norm1(a, c->k);
    c->inverse = ARENA_ARRAY(s->arena, double, (size_t)c->k * c->k);
    Determinant det = invert_matrix(a, c->inverse, c->k);
    if (!det.sign) return false;
    c->log_det = det.log_size;
    c->condition = norm * matrix_norm1(c->inverse, c->k);
    return true;
}

static Component component_of(Search *s, int root)
{
    Component c = {.atoms = ARENA_ARRAY(s->arena, int, s->n_in[root]),
                   .equations = ARENA_ARRAY(s->arena, int, s->n_by[root])};
    for (int a = 0; a < s->n_atoms; a++)
        if (root_of(s, a) == root) c.atoms[c.k++] = a;
    for (int e = 0; e < s->n_equations; e++)
        if (root_of(s, atom_number(s, s->equations[e].form.terms[0].atom)) == root) c.equations[c.rows++] = e;
    return c;
}

// ---- what lies between

typedef struct {
    LaneRef *lanes;
    int n, cap;
} Refs;

static void put(Search *s, Refs *list, LaneRef r) { ARENA_PUSH(s->arena, list->lanes, list->n, list->cap, r); }

static void look_between(Search *s, LaneRef r, bool *seen, Refs *between, Refs *zeros)
{
    for (int64_t k = 0; k < affine_operands(r.node); k++) {
        LaneRef in = affine_operand(r.node, r.lane, k);
        if (is_known(s, in) || seen[number(s, in)]) continue;
        seen[number(s, in)] = true;
        const Form *f = s->form[number(s, in)];
        if (!f || (f->n == 1 && lane_same(f->terms[0].atom, in))) {
            put(s, zeros, in);
            continue;
        }
        put(s, between, in);
        look_between(s, in, seen, between, zeros);
    }
}

// The components as one system of k, whose matrix has them along its diagonal; computed ones are equally large.
static const System *side_by_side(Search *s, const Component *c, int n, int k)
{
    LaneRef *known = ARENA_ARRAY(s->arena, LaneRef, k), *atoms = ARENA_ARRAY(s->arena, LaneRef, k);
    double *inverse = s->q->computed ? NULL : ARENA_ARRAY(s->arena, double, (size_t)k *k);
    bool *seen = ARENA_ARRAY(s->arena, bool, s->q->base->n_lanes + 1);
    Refs between = {0}, zeros = {0};
    System *y = ARENA_NEW(s->arena, System);
    for (int m = 0, at = 0; m < n; at += c[m++].k) {
        for (int i = 0; i < c[m].k; i++) {
            known[at + i] = s->equations[c[m].equations[i]].lane;
            atoms[at + i] = s->atoms[c[m].atoms[i]];
            if (inverse)
                memcpy(inverse + (at + i) * k + at, c[m].inverse + i * c[m].k, (size_t)c[m].k * sizeof *inverse);
            look_between(s, known[at + i], seen, &between, &zeros);
        }
        y->log_det += c[m].log_det;
        y->condition = fmax(y->condition, c[m].condition);
    }
    if (between.n) qsort(between.lanes, (size_t)between.n, sizeof *between.lanes, lane_compare);
    y->k = k;
    y->size = inverse ? k : c[0].k;
    y->known = known;
    y->atoms = atoms;
    y->inverse = inverse;
    y->between = between.lanes;
    y->n_between = between.n;
    y->zeros = zeros.lanes;
    y->n_zeros = zeros.n;
    return y;
}

static bool may_be_affine(const Search *s, const Node *n, int64_t i)
{
    bool any = false;
    for (int64_t k = 0; k < affine_operands(n) && !any; k++)
        any = !is_known(s, affine_operand(n, i, k)) && isfinite(factor_of(s, n, i, k));
    return any;
}

// The last node before the cut that has atoms and may be affine in others.
static int next_cut(const Search *s)
{
    int next = 0;
    for (int a = 0; a < s->n_atoms; a++) {
        LaneRef r = s->atoms[a];
        if (r.node->id < s->cut && r.node->id > next && may_be_affine(s, r.node, r.lane)) next = r.node->id;
    }
    return next;
}

// Computed systems of one size are solved at once. *n systems of *k lanes in all are found so far; larger ones are
// forgotten.
static bool takes_size(Search *s, int root, int *n, int *k)
{
    int size = s->n_in[root];
    if (size > MOST_SOLVED) {
        s->too_large = size;
        return false;
    }
    if (*n && size < *k / *n) *n = *k = 0;
    return !*n || size == *k / *n;
}

static const System *find_behind(Search *s, int cut)
{
    s->cut = cut;
    s->n_equations = s->n_atoms = 0;
    s->work += s->q->base->n_lanes / 16;
    memset(s->form, 0, (size_t)s->q->base->n_lanes * sizeof(Form *));
    memset(s->atom_at, 0, (size_t)s->q->base->n_lanes * sizeof *s->atom_at);
    find_equations(s);
    if (s->q->computed) keep_single(s);
    join_atoms(s);
    Component *solved = ARENA_ARRAY(s->arena, Component, s->n_atoms + 1);
    int n = 0, k = 0;
    for (int a = 0; a < s->n_atoms; a++) {
        if (s->n_by[a] < s->n_in[a] || k + s->n_in[a] > MOST_SIZE || s->n_by[a] > 4 * MOST_SIZE || root_of(s, a) != a)
            continue;
        if (s->q->computed && !takes_size(s, a, &n, &k)) continue;
        Component c = component_of(s, a);
        if (!solve_component(s, &c)) continue;
        solved[n++] = c;
        k += c.k;
    }
    return n ? side_by_side(s, solved, n, k) : NULL;
}

const System *find_system(Context *cx, const SystemQuestion *q)
{
    Search s = {.q = q, .arena = scratch_arena(cx)};
    s.form = ARENA_ARRAY(s.arena, Form *, q->base->n_lanes + 1);
    s.atom_at = ARENA_ARRAY(s.arena, int, q->base->n_lanes + 1);
    const System *found = NULL;
    for (int cut = q->f->n_nodes; cut && !found && s.work < MOST_WORK; cut = next_cut(&s)) found = find_behind(&s, cut);
    if (s.too_large && !found)
        *q->why = arena_format(s.arena, "%d lanes are mixed by a computed matrix; at most %d are found together",
                               s.too_large, MOST_SOLVED);
    return found;
}
