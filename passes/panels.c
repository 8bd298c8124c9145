// Panels: see panels.h.
//
// The columns of W are sorted by how many inputs they read and cut into equal panels; a panel reads only the inputs
// that one of its columns reads. With an autoregressive mask the inputs of a panel are those of the panels before it
// and some more, so about half of the work is left. Elementwise nodes follow their panel, so that the values of a panel
// stand together and the next product reads beginnings of one buffer.
#include "panels.h"

#include "one_lane.h" // emit_forward_lanes
#include "solve.h"

#include <stdlib.h>

enum { LEAST_WEIGHTS = 1 << 14, LEAST_WIDTH = 64, MOST_PANELS = 8 };

typedef struct {
    int64_t key, lane;
} Keyed;

static int by_key(const void *a, const void *b)
{
    const Keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

static void mark(Panels *p, Context *cx, const Node *n)
{
    if (n->id >= p->cap) {
        int cap = (n->id + 64) * 2;
        bool *grown = ARENA_ARRAY(cx->arena, bool, cap);
        for (int i = 0; i < p->cap; i++) grown[i] = p->panel[i];
        p->panel = grown;
        p->cap = cap;
    }
    p->panel[n->id] = true;
}

static bool is_panel(const Panels *p, const Node *n) { return n && n->id < p->cap && p->panel[n->id]; }

// Emit these lanes of n as one group, and remember it.
static void emit_group(Panels *p, LaneEnv *env, const Node *n, const Keyed *lanes, int64_t count)
{
    int64_t *list = heap_array(count, sizeof *list);
    for (int64_t i = 0; i < count; i++) list[i] = lanes[i].lane;
    emit_forward_lanes(env, n, list, count);
    const Node *now = lane_env_get(env, (LaneRef){n, list[0]}).node;
    if (!node_is_const(now)) mark(p, builder_context(env->b), now);
    free(list);
}

// ---- products

static int32_t numbers_in(const float *row, int64_t n)
{
    int32_t k = 0;
    for (int64_t i = 0; i < n; i++) k += row[i] != 0;
    return k;
}

// At least 0.3 of it is zeros. Most matrices are not sparse: they are read once, by vectors, and no further than
// needed.
static bool is_sparse(const Node *w)
{
    int64_t K = w->type.dim[0], N = w->type.dim[1], all = 0;
    const float *f32 = w->type.dtype == T_F32 ? w->data : NULL;
    for (int64_t k = 0; k < K && all * 10 < K * N * 7; k++) {
        if (f32) all += numbers_in(f32 + k * N, N);
        for (int64_t c = 0; c < N && !f32; c++) all += const_at(w, k * N + c) != 0;
    }
    return all * 10 < K * N * 7;
}

// How many inputs each column reads.
static void column_inputs(const Node *w, Keyed *columns)
{
    int64_t K = w->type.dim[0], N = w->type.dim[1];
    for (int64_t k = 0; k < K; k++)
        for (int64_t c = 0; c < N; c++) columns[c].key += const_at(w, k * N + c) != 0;
}

// How many inputs so many columns from number `first` on read in all.
static int64_t panel_inputs(const Node *w, const Keyed *columns, int64_t first, int64_t count)
{
    int64_t K = w->type.dim[0], N = w->type.dim[1], inputs = 0;
    for (int64_t k = 0; k < K; k++) {
        bool reads = false;
        for (int64_t c = first; c < first + count && !reads; c++) reads = const_at(w, k * N + columns[c].lane) != 0;
        inputs += reads;
    }
    return inputs;
}

// The width of the panels of product n, and its columns in their order; 0: it has none.
static int64_t find_panels(const Node *n, Keyed *columns)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1];
    if (type_lanes(n->type) != N || K * N < LEAST_WEIGHTS || N < 2 * LEAST_WIDTH) return 0;
    int64_t panels = N / LEAST_WIDTH < MOST_PANELS ? N / LEAST_WIDTH : MOST_PANELS, products = 0;
    if (!is_sparse(w)) return 0;
    for (int64_t c = 0; c < N; c++) columns[c].lane = c;
    column_inputs(w, columns);
    int64_t width = ((N + panels - 1) / panels + 15) & ~15ll;
    qsort(columns, (size_t)N, sizeof *columns, by_key);
    for (int64_t c = 0; c < N; c += width) {
        int64_t count = N - c < width ? N - c : width;
        products += count * panel_inputs(w, columns, c, count);
    }
    return products * 10 < K * N * 8 ? width : 0;
}

static bool linear_panels(Panels *p, LaneEnv *env, const Node *n)
{
    int64_t N = type_last(n->type);
    Keyed *columns = heap_array(N, sizeof *columns);
    int64_t width = find_panels(n, columns);
    for (int64_t c = 0; width && c < N; c += width) emit_group(p, env, n, columns + c, N - c < width ? N - c : width);
    free(columns);
    return width > 0;
}

bool panels_any(const Function *f)
{
    bool any = false;
    for (int i = 0; i < f->n_nodes && !any; i++) {
        const Node *n = f->nodes[i];
        if (n->op != OP_linear) continue;
        Keyed *columns = heap_array(type_last(n->type), sizeof *columns);
        any = find_panels(n, columns) > 0;
        free(columns);
    }
    return any;
}

// ---- what follows them

// The panel that an elementwise lane reads: its node and lane as a key; -1: none.
static Keyed lane_key(const Panels *p, LaneEnv *env, const Node *n, int64_t i)
{
    for (int k = 0; k < n->n_in; k++) {
        LaneRef r = lane_env_get(env, lane_operand(n, k, i));
        if (is_panel(p, r.node)) return (Keyed){(int64_t)r.node->id << 32 | r.lane, i};
    }
    return (Keyed){-1, i};
}

static bool elementwise_panels(Panels *p, LaneEnv *env, const Node *n)
{
    int64_t count = type_lanes(n->type);
    Keyed *lanes = heap_array(count, sizeof *lanes);
    bool any = false;
    for (int64_t i = 0; i < count; i++) {
        lanes[i] = lane_key(p, env, n, i);
        any = any || lanes[i].key >= 0;
    }
    if (any) qsort(lanes, (size_t)count, sizeof *lanes, by_key);
    for (int64_t i = 0, j = 0; any && i < count; i = j) {
        while (j < count && lanes[j].key >> 32 == lanes[i].key >> 32) j++;
        emit_group(p, env, n, lanes + i, j - i);
    }
    free(lanes);
    return any;
}

bool panels_forward(Panels *panels, LaneEnv *env, const Node *n)
{
    if (n->op == OP_linear) return linear_panels(panels, env, n);
    return panels->cap && op_elementwise(n->op) && elementwise_panels(panels, env, n);
}
