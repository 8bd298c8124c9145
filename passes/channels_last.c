// channels-last: pictures lie place after place, as products leave them, so that windows of them are long runs.
//
//     y = linear windows(x)                    [P][C]: P places, C channels (filters)
//     p = move y                               [C][P]: the turn, as the exported graph has its pictures
//     f(p, q, constant, one lane)        ->    turn of f(y, q turned back, constant turned back, one lane)
//     reduce_sum p [G][C / G * P]        ->    reduce_sum [G][C / G] of reduce_sum over the places of each channel of y
//     reduce_max windows of p            ->    turn of reduce_max of the same windows, place after place (a pool)
//     C products of one column, side by side, each of windows of its channel of p   ->   turn of them (diagonal.c)
//
// A move of a move is one move (build_move.c), so what reads the result reads y itself. A value that is a turn of
// another is a *picture* here, with its number of channels; pictures that elementwise nodes join are turned together
// or not at all: where the turns' and the windows' runs of neighbouring lanes, each of which is copied by itself,
// become fewer, and something reads windows or sums over channels. Attention's heads, masks and permutations of a
// flow stay as they are.
#include "diagonal.h"
#include "lane_env.h"
#include "pipeline.h"
#include "rewrite.h"

#include <stdlib.h>

typedef struct {
    Context *cx;
    const Function *f;
    int64_t *channels; // by node id: of a picture, else 0
    int *with;         // by node id: another node of those that are turned together, or itself
    int64_t *saved;    // by such a group's root: runs and lanes that need not be copied
    bool *gains;       // by root: lanes are read several times (windows), or reduced
    bool *pooled;      // by node id: a move whose lines are windows of one channel each, which a pool reduces
    bool *in_place;    // by node id: such a move, which a product reads where its picture lies, if that is turned
} Pictures;

// ---- groups

static int root_of(const Pictures *s, const Node *n)
{
    int id = n->id;
    while (s->with[id] != id) id = s->with[id] = s->with[s->with[id]];
    return id;
}

static void join(Pictures *s, const Node *a, const Node *b)
{
    int x = root_of(s, a), y = root_of(s, b);
    s->with[x] = y;
    s->saved[y] += x == y ? 0 : s->saved[x];
    s->gains[y] = s->gains[y] || s->gains[x];
}

static bool turned(const Pictures *s, const Node *n)
{
    int root = root_of(s, n);
    return s->channels[n->id] && s->gains[root] && s->saved[root] > 0;
}

// ---- lanes of a picture of C channels

static int64_t places_of(const Node *n, int64_t C) { return type_lanes(n->type) / C; }
static int64_t place_major(int64_t lane, int64_t C, int64_t P) { return lane % P * C + lane / P; }

// Of a one-operand move that is [P][C] turned to [C][P], 1 < C, P; else 0.
static int64_t turn_of(const Node *m)
{
    int64_t n = type_lanes(m->type);
    if (m->n_in != 1 || !m->map || n < 4 || type_lanes(m->in[0]->type) != n || m->map[0]) return 0;
    int64_t C = m->map[1], P = C > 1 && n % C == 0 ? n / C : 0;
    for (int64_t i = 0; i < n && P; i++)
        if (m->map[i] != place_major(i, C, P)) P = 0;
    return P > 1 ? C : 0;
}

// ---- which values are pictures

static const Node *first_picture(const Pictures *s, const Node *n)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && s->channels[n->in[k]->id] && type_lanes(n->in[k]->type) == type_lanes(n->type)) return n->in[k];
    return NULL;
}

static void elementwise_picture(Pictures *s, const Node *n)
{
    const Node *first = first_picture(s, n);
    if (!first) return;
    s->channels[n->id] = s->channels[first->id];
    for (int k = 0; k < n->n_in; k++)
        if (s->channels[n->in[k]->id] == s->channels[n->id] && type_lanes(n->in[k]->type) == type_lanes(n->type))
            join(s, n, n->in[k]);
}

// The one picture that m reads besides constants of one lane, or NULL.
static const Node *only_picture(const Pictures *s, const Node *m)
{
    const Node *v = NULL;
    for (int k = 0; k < m->n_in; k++) {
        bool picture = s->channels[m->in[k]->id] != 0;
        if (picture ? v != NULL : type_lanes(m->in[k]->type) > 1) return NULL;
        if (picture) v = m->in[k];
    }
    return v;
}

// The picture of which n, a pool, reduces windows, those of every channel at the same places; else NULL.
static const Node *pool_of(const Pictures *s, const Node *n)
{
    const Node *m = n->in[0], *v = m->op == OP_move && m->map ? only_picture(s, m) : NULL;
    int64_t C = v ? s->channels[v->id] : 0, own = v ? type_lanes(m->type) / C : 0;
    if (!v || type_lanes(n->type) % C) return NULL;
    for (int64_t i = 0; i < C * own; i++) {
        int64_t lane, first;
        const Node *from = m->in[move_source(m, i, &lane)];
        if (m->in[move_source(m, i % own, &first)] != from) return NULL;
        if (lane != first + (from == v ? i / own * places_of(v, C) : 0)) return NULL;
    }
    return v;
}

static void find_pool(Pictures *s, const Node *n)
{
    const Node *v = pool_of(s, n);
    if (!v) return;
    s->channels[n->id] = s->channels[v->id];
    s->pooled[n->in[0]->id] = true;
    join(s, n, v);
}

// One product for all channels, if they lie place after place (plan_diagonal.c): already, or when turned.
static void find_diagonal(Pictures *s, const Node *n)
{
    Diagonal d;
    if (!diagonal_of(n, false, &d)) return;
    int64_t N = d.columns / d.groups;
    bool picture = s->channels[d.picture->id] == d.columns && d.step == N * places_of(d.picture, d.columns);
    if (!picture && d.step != N) return;
    s->channels[n->id] = d.columns;
    for (int k = 0; k < n->n_in; k++) s->in_place[n->in[k]->in[0]->id] = true;
    if (picture) {
        join(s, n, d.picture);
        return;
    }
    s->gains[root_of(s, n)] = true;
    s->saved[root_of(s, n)] += d.groups * d.places * d.inputs;
}

static void find_picture(Pictures *s, const Node *n)
{
    if (op_info(n->op)->kind == KIND_REDUCE) {
        find_pool(s, n);
    } else if (op_elementwise(n->op)) {
        elementwise_picture(s, n);
    } else if (is_reshape(n) && s->channels[n->in[0]->id]) {
        s->channels[n->id] = s->channels[n->in[0]->id];
        join(s, n, n->in[0]);
    } else if (n->op == OP_move && (s->channels[n->id] = turn_of(n))) {
        join(s, n, n->in[0]); // all turns of one value
    } else if (n->op == OP_move) {
        find_diagonal(s, n);
    }
}

// ---- what turning saves

enum { TURNED_AT_ONCE = 8 }; // lanes that a turn by itself copies in the time of a run

// A move's lanes that come from v; the runs in which they are read, from v as it is and turned.
typedef struct {
    int64_t lanes, runs, turned_runs;
} Reads;

static Reads reads_of(const Pictures *s, const Node *m, const Node *v)
{
    int64_t C = s->channels[v->id], P = places_of(v, C), before = -2, turned_before = -2;
    Reads r = {0, 0, 0};
    for (int64_t i = 0; i < type_lanes(m->type); i++) {
        int64_t lane;
        if (m->in[move_source(m, i, &lane)] != v) {
            before = turned_before = -2;
            continue;
        }
        int64_t at = place_major(lane, C, P);
        r.lanes++;
        r.runs += lane != before + 1;
        r.turned_runs += at != turned_before + 1;
        before = lane;
        turned_before = at;
    }
    return r;
}

// A pool's windows are copied tap by tap (find_columns): as many runs as there are places.
static void count_move(Pictures *s, const Node *m)
{
    for (int k = 0; k < m->n_in; k++) {
        const Node *v = m->in[k];
        if (!s->channels[v->id] || s->channels[m->id]) continue;
        Reads r = reads_of(s, m, v);
        int64_t turned_runs = s->pooled[m->id] ? r.lanes / s->channels[v->id] : s->in_place[m->id] ? 0 : r.turned_runs;
        s->saved[root_of(s, v)] += r.runs - turned_runs;
        if (s->in_place[m->id] || r.lanes > type_lanes(v->type)) s->gains[root_of(s, v)] = true;
    }
}

// Operands that are no pictures like n are turned for it, where they are not one lane, constant or spread.
static void count_elementwise(Pictures *s, const Node *n)
{
    for (int k = 0; k < n->n_in && s->channels[n->id]; k++) {
        const Node *v = n->in[k];
        bool own = s->channels[v->id] == s->channels[n->id], spread = v->op == OP_move || node_is_const(v);
        if (!own && !spread && type_lanes(v->type) == type_lanes(n->type))
            s->saved[root_of(s, n)] -= type_lanes(n->type) / TURNED_AT_ONCE;
    }
}

static bool reduces_channels(const Pictures *s, const Node *n)
{
    const Node *x = n->in[0];
    return s->channels[x->id] && type_last(x->type) % places_of(x, s->channels[x->id]) == 0;
}

// A picture that somebody reads as it was is turned once.
static void count_readers(Pictures *s)
{
    bool *whole = ARENA_ARRAY(scratch_arena(s->cx), bool, s->f->n_nodes + 1);
    for (int i = 0; i < s->f->n_nodes; i++) {
        const Node *n = s->f->nodes[i];
        OpKind kind = op_info(n->op)->kind;
        if (n->op == OP_move) count_move(s, n);
        if (op_elementwise(n->op)) count_elementwise(s, n);
        bool sums = kind == KIND_REDUCE && reduces_channels(s, n), follows = n->op == OP_move || s->channels[i] || sums;
        if (sums) s->gains[root_of(s, n->in[0])] = true;
        for (int k = 0; k < n->n_in && !follows; k++)
            if (n->in[k]) whole[n->in[k]->id] = true;
    }
    for (int i = 0; i < s->f->n_outputs; i++) whole[s->f->outputs[i].node->id] = true;
    for (int i = 0; i < s->f->n_nodes; i++) {
        const Node *n = s->f->nodes[i];
        if (!s->channels[i]) continue;
        bool turn = n->op == OP_move && n->n_in == 1 && n->map;
        s->saved[root_of(s, n)] += (turn - whole[i]) * type_lanes(n->type) / TURNED_AT_ONCE;
    }
}

// ---- the function with its pictures turned

// n lanes of x by a map: lane i is lane of(i, C, n / C).
static const Node *mapped(Builder *b, const Node *x, Type type, int64_t C, int64_t (*of)(int64_t, int64_t, int64_t))
{
    int64_t n = type_lanes(type);
    int32_t *map = heap_array(n, sizeof *map);
    for (int64_t i = 0; i < n; i++) map[i] = (int32_t)of(i, C, n / C);
    const Node *m = build_move(b, type, 1, &x, map);
    free(map);
    return m;
}

static int64_t channel_major(int64_t lane, int64_t C, int64_t P) { return lane % C * P + lane / C; }
static int64_t channel(int64_t lane, int64_t C, int64_t P) { return (void)P, lane % C; }

// [C] lanes of y, an elementwise node of fewer lanes, whose lane of channel c is map[c].
static const Node *for_channels(Builder *b, const Node *y, int64_t C, const int32_t *map)
{
    const Node *in[3] = {NULL};
    for (int k = 0; k < y->n_in; k++)
        in[k] = type_lanes(y->in[k]->type) == 1 ? y->in[k] : build_move(b, type_vector(C), 1, &y->in[k], map);
    return lanes_apply(b, y, in);
}

// What is one number for several channels (a group's mean) is computed for each, so that it lies as a place does.
static const Node *spread_by_channel(Builder *b, const Node *m, int64_t C)
{
    const Node *y = m->op == OP_move && m->n_in == 1 && m->map ? m->in[0] : NULL;
    int64_t own = y ? type_lanes(y->type) : 0;
    if (own < 2 || own >= C || !op_elementwise(y->op) || y->type.dtype != T_F32) return m;
    for (int64_t i = C; i < type_lanes(m->type); i++)
        if (m->map[i] != m->map[i - C]) return m;
    return mapped(b, for_channels(b, y, C, m->map), m->type, C, channel);
}

static const Node *turned_elementwise(Builder *b, const Node *n, const Node *const *in, int64_t C)
{
    const Node *by_place[3] = {NULL};
    Node picture = *n;
    picture.type = type_make(n->type.dtype, 2, (int64_t[]){places_of(n, C), C});
    for (int k = 0; k < n->n_in; k++) {
        bool one = type_lanes(in[k]->type) == 1;
        Type type = type_make(in[k]->type.dtype, 2, picture.type.dim);
        by_place[k] = one ? in[k] : spread_by_channel(b, mapped(b, in[k], type, C, channel_major), C);
    }
    return mapped(b, build_like(b, &picture, by_place), n->type, C, place_major);
}

static const Node *reduced_by_channel(Builder *b, const Node *n, const Node *x, int64_t C)
{
    int64_t groups = type_lanes(n->type);
    const Node *by_channel = build_reshape(b, x, 2, (int64_t[]){C, places_of(x, C)});
    const Node *y = build_reduce(b, n->op, by_channel);
    if (C > groups) y = build_reduce(b, n->op, build_reshape(b, y, 2, (int64_t[]){groups, C / groups}));
    return build_reshape(b, y, n->type.rank, n->type.dim);
}

static const Node *turned_pool(Builder *b, const Node *n, const Node *windows, int64_t C)
{
    int64_t lines = type_lanes(n->type), K = type_last(windows->type), dim[2] = {lines, K};
    int32_t *map = heap_array(lines * K, sizeof *map);
    for (int64_t i = 0; i < lines * K; i++) map[i] = (int32_t)(channel_major(i / K, C, lines / C) * K + i % K);
    const Node *by_place = build_move(b, type_make(windows->type.dtype, 2, dim), 1, &windows, map);
    free(map);
    return mapped(b, build_reduce(b, n->op, by_place), n->type, C, place_major);
}

static const Node *turn(Builder *b, const Node *n, const Node *const *in, void *user)
{
    const Pictures *s = user;
    if (op_elementwise(n->op) && turned(s, n)) return turned_elementwise(b, n, in, s->channels[n->id]);
    if (op_info(n->op)->kind == KIND_REDUCE && turned(s, n)) return turned_pool(b, n, in[0], s->channels[n->id]);
    if (op_info(n->op)->kind == KIND_REDUCE && turned(s, n->in[0]) && reduces_channels(s, n))
        return reduced_by_channel(b, n, in[0], s->channels[n->in[0]->id]);
    return NULL;
}

static const Function *turn_pictures(Context *cx, const Function *f)
{
    Arena *a = scratch_arena(cx);
    size_t n = (size_t)f->n_nodes + 1;
    Pictures s = {.cx = cx, .f = f};
    s.channels = ARENA_ARRAY(a, int64_t, n);
    s.with = ARENA_ARRAY(a, int, n);
    s.saved = ARENA_ARRAY(a, int64_t, n);
    s.gains = ARENA_ARRAY(a, bool, n);
    s.pooled = ARENA_ARRAY(a, bool, n);
    s.in_place = ARENA_ARRAY(a, bool, n);
    bool any = false;
    for (int i = 0; i < f->n_nodes; i++) s.with[i] = i;
    for (int i = 0; i < f->n_nodes; i++) find_picture(&s, f->nodes[i]);
    count_readers(&s);
    for (int i = 0; i < f->n_nodes; i++) any = any || turned(&s, f->nodes[i]);
    return any ? rewrite_function(cx, f, turn, &s) : f;
}

Module *pass_channels_last(const Module *m, Context *cx)
{
    const Function **functions = ARENA_ARRAY(scratch_arena(cx), const Function *, m->n_functions + 1);
    for (int i = 0; i < m->n_functions; i++) functions[i] = turn_pictures(cx, m->functions[i]);
    return module_new(cx, STAGE_NORMAL, m->n_functions, functions, m);
}
