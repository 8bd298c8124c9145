// Windows: where x of a product is a move that reads a picture in windows, the product reads them where they lie
// (plan.h, `picture`), so that nothing is copied but the picture, with its border around it.
//
// The picture's lanes are numbered along axes, those of its type. A move is windows if token m's input k is, along each
// of them, number
//
//     place[m] + tap[k]
//
// and those numbers that are outside of the picture, and no others, are the border's. With strides, dilations, crops
// and any order of the taps that is so of every convolution. Passes have joined axes (channels, lines and columns are
// one of 32768 lanes), so they are divided, in every way, until a move is windows along them.
//
// Places and taps come from the move itself: those of the token that reads the picture in most inputs are taps, and
// from there on each token that shares an input with a known one gives its place, and the taps that only it has.
#include "planner.h"

#include <string.h>

enum { AXES = MAX_RANK + 1, BORDER = -1 };

typedef struct {
    int n;
    int64_t dim[AXES];
} Axes;

typedef struct {
    int64_t low[AXES], dim[AXES]; // of the picture with its border: its first number and how many
    int64_t lanes;
    bool is_picture; // there is no border
} Frame;

typedef struct {
    Arena *arena;
    int64_t tokens, inputs;
    const int32_t *lane; // [tokens][inputs]: of the picture, or BORDER
    int64_t first;       // the token that reads the picture in most inputs
    Axes axes;
    int32_t (*place)[AXES], (*tap)[AXES];
    bool *has_place, *has_tap;
    Frame frame;
    int64_t patience; // lanes still to be looked at
} Search;

// A border is copied only where that is less than the windows are. Not worth it is what reads each lane once.
enum { MOST_DIVIDED = 2, PATIENCE = 1 << 25 };

static void digits_of(const Axes *axes, int64_t lane, int32_t digit[AXES])
{
    for (int a = axes->n - 1; a >= 0; a--) {
        digit[a] = (int32_t)(lane % axes->dim[a]);
        lane /= axes->dim[a];
    }
}

static int64_t fullest_token(const Search *s)
{
    int64_t best = 0, most = -1;
    for (int64_t m = 0; m < s->tokens; m++) {
        int64_t inside = 0;
        for (int64_t k = 0; k < s->inputs; k++) inside += s->lane[m * s->inputs + k] != BORDER;
        if (inside > most) best = m, most = inside;
    }
    return best;
}

// A token whose place is known: its taps are added, or are what they were.
static bool agrees(Search *s, int64_t m, bool *grows)
{
    s->patience -= s->inputs;
    for (int64_t k = 0; k < s->inputs; k++) {
        int64_t lane = s->lane[m * s->inputs + k];
        if (lane == BORDER) continue;
        int32_t digit[AXES];
        digits_of(&s->axes, lane, digit);
        for (int a = 0; a < s->axes.n; a++) {
            int32_t tap = digit[a] - s->place[m][a];
            if (s->has_tap[k] && s->tap[k][a] != tap) return false;
            s->tap[k][a] = tap;
        }
        *grows = *grows || !s->has_tap[k];
        s->has_tap[k] = true;
    }
    return true;
}

// From one input whose tap is known.
static bool find_place(Search *s, int64_t m)
{
    for (int64_t k = 0; k < s->inputs && !s->has_place[m]; k++) {
        int64_t lane = s->lane[m * s->inputs + k];
        if (lane == BORDER || !s->has_tap[k]) continue;
        digits_of(&s->axes, lane, s->place[m]);
        for (int a = 0; a < s->axes.n; a++) s->place[m][a] -= s->tap[k][a];
        s->has_place[m] = true;
    }
    return s->has_place[m];
}

static bool places_and_taps(Search *s)
{
    memset(s->has_place, 0, (size_t)s->tokens * sizeof *s->has_place);
    memset(s->has_tap, 0, (size_t)s->inputs * sizeof *s->has_tap);
    memset(s->place[s->first], 0, sizeof s->place[s->first]);
    s->has_place[s->first] = true;
    bool grows = true, all = agrees(s, s->first, &grows);
    while (grows && all) {
        grows = false;
        for (int64_t m = 0; m < s->tokens && all; m++) all = !find_place(s, m) || agrees(s, m, &grows);
    }
    for (int64_t m = 0; m < s->tokens; m++) all = all && s->has_place[m];
    for (int64_t k = 0; k < s->inputs; k++) all = all && s->has_tap[k];
    return all;
}

static bool outside(const Search *s, int64_t m, int64_t k)
{
    for (int a = 0; a < s->axes.n; a++) {
        int32_t at = s->place[m][a] + s->tap[k][a];
        if (at < 0 || at >= s->axes.dim[a]) return true;
    }
    return false;
}

static bool borders_are_outside(const Search *s)
{
    for (int64_t m = 0; m < s->tokens; m++)
        for (int64_t k = 0; k < s->inputs; k++)
            if (s->lane[m * s->inputs + k] == BORDER && !outside(s, m, k)) return false;
    return true;
}

static Frame frame_of(const Search *s);

static bool along_axes(Search *s, const Axes *axes)
{
    s->axes = *axes;
    if (!places_and_taps(s) || !borders_are_outside(s)) return false;
    s->frame = frame_of(s);
    return s->frame.lanes < s->tokens * s->inputs;
}

static Axes divided(const Axes *axes, int axis, int64_t inner)
{
    Axes d = *axes;
    memmove(d.dim + axis + 1, d.dim + axis, (size_t)(axes->n - axis) * sizeof *d.dim);
    d.n++;
    d.dim[axis] /= inner;
    d.dim[axis + 1] = inner;
    return d;
}

// Along these axes, so many of which are to be divided; of one that was, the outer part alone once more.
static bool search(Search *s, const Axes *axes, int most, int divisions)
{
    if (!divisions) return along_axes(s, axes);
    for (int a = 0; a < most && axes->n < AXES; a++)
        for (int64_t inner = 2; inner < axes->dim[a] && s->patience > 0; inner++) {
            if (axes->dim[a] % inner) continue;
            Axes more = divided(axes, a, inner);
            if (search(s, &more, a + 1, divisions - 1)) return true;
        }
    return false;
}

// ---- what a move reads: a picture and the border's number

static const Node *picture_of(const Node *m)
{
    const Node *picture = NULL;
    for (int k = 0; k < m->n_in; k++) {
        if (node_is_const(m->in[k])) continue;
        if (picture) return NULL;
        picture = m->in[k];
    }
    return picture;
}

// Each lane of m, and the border's operand and lane (those of the first lane of it).
static const int32_t *lanes_read(Arena *arena, const Node *m, const Node *picture, const Node **border, int64_t *at)
{
    int64_t n = type_lanes(m->type), lane;
    int32_t *list = ARENA_ARRAY(arena, int32_t, n);
    *border = NULL;
    for (int64_t i = 0; i < n; i++) {
        const Node *from = m->in[move_source(m, i, &lane)];
        list[i] = from == picture ? (int32_t)lane : BORDER;
        if (from == picture) continue;
        if (!*border) *border = from, *at = lane;
        if (const_at(from, lane) != const_at(*border, *at)) return NULL;
    }
    return list;
}

static Axes axes_of(Type type)
{
    Axes axes = {0};
    for (int i = 0; i < type.rank; i++)
        if (type.dim[i] > 1) axes.dim[axes.n++] = type.dim[i];
    return axes;
}

// ---- what comes of it

static void range_of(int32_t (*list)[AXES], int64_t n, int axis, int32_t *low, int32_t *high)
{
    *low = *high = list[0][axis];
    for (int64_t i = 1; i < n; i++) {
        if (list[i][axis] < *low) *low = list[i][axis];
        if (list[i][axis] > *high) *high = list[i][axis];
    }
}

static Frame frame_of(const Search *s)
{
    Frame f = {.lanes = 1, .is_picture = true};
    for (int a = 0; a < s->axes.n; a++) {
        int32_t place[2], tap[2];
        range_of(s->place, s->tokens, a, &place[0], &place[1]);
        range_of(s->tap, s->inputs, a, &tap[0], &tap[1]);
        f.low[a] = place[0] + tap[0];
        f.dim[a] = place[1] + tap[1] - f.low[a] + 1;
        f.is_picture = f.is_picture && f.low[a] >= 0 && f.low[a] + f.dim[a] <= s->axes.dim[a];
    }
    for (int a = 0; a < s->axes.n; a++) {
        if (f.is_picture) f.low[a] = 0, f.dim[a] = s->axes.dim[a];
        f.lanes *= f.dim[a];
    }
    return f;
}

// Lanes of the frame from numbers along the axes, from `low` on.
static int32_t *lanes_along(Arena *arena, const Search *s, const Frame *f, int32_t (*list)[AXES], int64_t n,
                            int64_t room, const int64_t *low)
{
    int32_t *lanes = ARENA_ARRAY(arena, int32_t, room);
    for (int64_t i = 0; i < room; i++) {
        int64_t lane = 0;
        for (int a = 0; a < s->axes.n; a++) lane = lane * f->dim[a] + list[i < n ? i : n - 1][a] - low[a];
        lanes[i] = (int32_t)lane;
    }
    return lanes;
}

// The picture in its frame.
static const Node *framed(Arena *arena, const Search *s, const Frame *f, const Node *picture, const Node *border,
                          int64_t border_lane, int id)
{
    const Node **in = ARENA_ARRAY(arena, const Node *, 2);
    int32_t *map = ARENA_ARRAY(arena, int32_t, f->lanes), digit[AXES];
    Axes axes = {.n = s->axes.n};
    in[0] = picture;
    in[1] = border;
    memcpy(axes.dim, f->dim, sizeof f->dim);
    for (int64_t i = 0; i < f->lanes; i++) {
        int64_t lane = 0;
        bool inside = true;
        digits_of(&axes, i, digit);
        for (int a = 0; a < axes.n; a++) {
            int64_t at = digit[a] + f->low[a];
            inside = inside && at >= 0 && at < s->axes.dim[a];
            lane = lane * s->axes.dim[a] + at;
        }
        map[i] = (int32_t)(inside ? lane : type_lanes(picture->type) + border_lane);
    }
    Node *n = ARENA_NEW(arena, Node);
    *n = (Node){.id = id, .op = OP_move, .type = type_vector(f->lanes), .n_in = border ? 2 : 1, .in = in, .map = map};
    n->base = move_bases(arena, n->n_in, n->in);
    return n;
}

// Of the places, each of which is the tokens of so many groups of N outputs, neighbours; NULL: they are not.
static const int32_t *first_groups(Arena *arena, const Search *s, const Frame *f, int64_t groups, int64_t N)
{
    int32_t *lanes = lanes_along(arena, s, f, s->place, s->tokens, s->tokens, f->low);
    for (int64_t m = 0; m < s->tokens; m++) {
        if (m % groups == 0) lanes[m / groups] = lanes[m];
        if (lanes[m] != lanes[m / groups] + m % groups * N) return NULL;
    }
    return lanes;
}

static Windows *windows_with(Planner *p, Search *s, const Node *move, const Node *picture, int64_t groups, int64_t N)
{
    const Node *border = NULL;
    int64_t border_lane = 0;
    if (!(s->lane = lanes_read(s->arena, move, picture, &border, &border_lane))) return NULL;
    Axes axes = axes_of(picture->type);
    s->first = fullest_token(s);
    bool found = false;
    s->patience = PATIENCE;
    for (int n = 0; n <= MOST_DIVIDED && !found; n++) found = search(s, &axes, axes.n, n);
    if (!found) return NULL;
    Frame f = s->frame;
    const int64_t none[AXES] = {0};
    Arena *a = scratch_arena(p->cx);
    Windows *w = ARENA_NEW(a, Windows);
    *w = (Windows){.picture = picture, .lanes = f.lanes, .inputs = s->inputs, .groups = groups};
    if (!(w->places = first_groups(a, s, &f, groups, N))) return NULL;
    if (!f.is_picture) w->framed = framed(a, s, &f, picture, border, border_lane, p->f->n_nodes);
    w->taps = lanes_along(a, s, &f, s->tap, s->inputs, tap_words((uint32_t)s->inputs), none);
    return w;
}

// Groups of outputs of a place that have windows of their own; 0: no windows are read.
static int64_t groups_of(const Node *linear)
{
    LinearDims d = linear_dims(linear->in[1]->type);
    return is_diagonal(linear) ? d.groups : !d.groups;
}

static Windows *windows_of(Planner *p, const Node *move, const Node *linear)
{
    LinearDims d = linear_dims(linear->in[1]->type);
    const Node *picture = picture_of(move);
    int64_t lanes = type_lanes(move->type), groups = groups_of(linear);
    if (!picture || !groups || lanes <= type_lanes(picture->type)) return NULL;
    if (d.k * d.n > MOST_WITH_WINDOWS && !p->tiled) return NULL;
    Arena *own = arena_within(scratch_arena(p->cx));
    Search s = {.arena = own, .tokens = lanes / d.k, .inputs = d.k};
    s.place = arena_alloc(own, (size_t)s.tokens * sizeof *s.place);
    s.tap = arena_alloc(own, (size_t)s.inputs * sizeof *s.tap);
    s.has_place = ARENA_ARRAY(own, bool, s.tokens);
    s.has_tap = ARENA_ARRAY(own, bool, s.inputs);
    Windows *w = windows_with(p, &s, move, picture, groups, d.n);
    arena_free(own);
    return w;
}

// Where there are none: x itself, turned so that the groups of an input are neighbours.
static Windows *copied_windows(Planner *p, const Node *x, int64_t groups, int64_t N)
{
    Arena *a = scratch_arena(p->cx);
    int64_t columns = groups * N, inputs = type_last(x->type), places = type_lanes(x->type) / groups / inputs;
    int64_t lanes = places * inputs * columns;
    int32_t *map = ARENA_ARRAY(a, int32_t, lanes), *place = ARENA_ARRAY(a, int32_t, places),
            *tap = ARENA_ARRAY(a, int32_t, tap_words((uint32_t)inputs));
    for (int64_t i = 0; i < lanes; i++) {
        int64_t group = i % columns / N, input = i / columns % inputs;
        map[i] = x->map[(i / columns / inputs * groups + group) * inputs + input];
    }
    for (int64_t m = 0; m < places; m++) place[m] = (int32_t)(m * inputs * columns);
    for (int64_t k = 0; k < tap_words((uint32_t)inputs); k++)
        tap[k] = (int32_t)((k < inputs ? k : inputs - 1) * columns);
    Node *turned = ARENA_NEW(a, Node);
    *turned = *x;
    turned->id = p->f->n_nodes;
    turned->type = type_vector(lanes);
    turned->map = map;
    Windows *w = ARENA_NEW(a, Windows);
    *w = (Windows){.framed = turned, .lanes = lanes, .inputs = inputs, .groups = groups, .places = place, .taps = tap};
    return w;
}

void find_windows(Planner *p)
{
    for (int i = 0; i < p->f->n_nodes; i++) {
        const Node *n = p->f->nodes[i], *x = n->n_in ? n->in[0] : NULL;
        if (n->op != OP_linear || x->op != OP_move || is_slice(p, x)) continue;
        if (p->windows[x->id] && !is_diagonal(n)) continue;
        p->windows[x->id] = windows_of(p, x, n);
        if (is_diagonal(n) && !p->windows[x->id])
            p->windows[x->id] = copied_windows(p, x, groups_of(n), type_last(n->type));
    }
}

const Windows *windows_read(const Planner *p, const Node *reader, int operand)
{
    if (reader->op != OP_linear || operand) return NULL;
    const Windows *w = p->windows[reader->in[0]->id];
    return w && w->groups == groups_of(reader) && w->inputs == linear_dims(reader->in[1]->type).k ? w : NULL;
}

Place place_of_windows(Planner *p, const Node *move)
{
    Windows *w = p->windows[move->id];
    if (!w->framed) return place_of(p, w->picture);
    if (!w->at.known) w->at = emit_extra(p, w->framed);
    return w->at;
}
