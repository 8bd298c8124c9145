// Reads of lanes and what still waits: see solve_reads.h.
//
// left[result] counts unknown operand lanes. Products of dense weights, transposed ones and matmul count the unknown
// lanes of a token (a row of a) once for all its results; a masked product counts for each column the inputs that have
// a weight in it, and matmul for each result the lanes of its column of c that meet no constant 0 in a.
#include "solve_reads.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t node, operand; // is lane `at` of that operand
    uint32_t at;
} Read;

typedef struct {
    int32_t *left; // by token: unknown inputs
    bool masked;   // linear: weights have zeros, columns wait for themselves
    bool *zero;    // matmul: lanes of a that are the constant 0
} Tokens;

struct Reads {
    const Function *f;
    const LaneEnv *base;
    ReadsWaiting *waiting;
    void *user;
    int64_t *first; // by lane number: its reads begin
    Read *reads;
    int32_t *left;  // by lane number
    Tokens *tokens; // by node id
};

static int64_t number(const Reads *r, const Node *n, int64_t i) { return r->base->base[n->id] + i; }

static int64_t tokens_of(const Node *n)
{
    int64_t width = n->op == OP_linear_t ? n->in[1]->type.dim[0] : type_last(n->type);
    return width ? type_lanes(n->type) / width : 0;
}

// ---- one read

static void report(Reads *r, const Node *n, int64_t i)
{
    const Tokens *t = &r->tokens[n->id];
    int32_t left = r->left[number(r, n, i)];
    if (left > (op_elementwise(n->op) ? 1 : 0)) return;
    if (t->left && !t->masked && t->left[i / (type_lanes(n->type) / tokens_of(n))]) return;
    r->waiting(r->user, n, i, left);
}

static void count_result(Reads *r, const Node *n, int64_t i, int by)
{
    r->left[number(r, n, i)] += by;
    if (by < 0) report(r, n, i);
}

static void count_token(Reads *r, const Node *n, int64_t token, int by)
{
    Tokens *t = &r->tokens[n->id];
    int64_t width = type_lanes(n->type) / tokens_of(n);
    t->left[token] += by;
    for (int64_t c = 0; by < 0 && !t->masked && !t->left[token] && c < width; c++) report(r, n, token * width + c);
}

static void count_linear(Reads *r, const Node *n, Read read, int by)
{
    const Node *w = n->in[1];
    int64_t K = w->type.dim[0], N = w->type.dim[1], m = read.at / K, k = read.at % K;
    if (read.operand) {
        count_result(r, n, read.at, by);
        return;
    }
    count_token(r, n, m, by);
    for (int64_t c = 0; r->tokens[n->id].masked && c < N; c++)
        if (const_at(w, k * N + c) != 0) count_result(r, n, m * N + c, by);
}

static void count_matmul(Reads *r, const Node *n, Read read, int by)
{
    Type a = n->in[0]->type;
    int64_t M = a.dim[a.rank - 2], K = type_last(a), N = type_last(n->type);
    if (!read.operand) {
        count_token(r, n, read.at / K, by);
        return;
    }
    int64_t batch = read.at / (K * N), k = read.at / N % K, j = read.at % N;
    for (int64_t row = batch * M; row < (batch + 1) * M; row++)
        if (!r->tokens[n->id].zero[row * K + k]) count_result(r, n, row * N + j, by);
}

static void count_take(Reads *r, const Node *n, Read read, int by)
{
    int64_t K = type_last(n->in[0]->type), J = type_last(n->in[1]->type), rows = type_lanes(n->in[0]->type) / K;
    int64_t first = rows == 1 ? 0 : read.at / K * J, count = rows == 1 ? type_lanes(n->type) : J;
    if (read.operand) first = read.at, count = 1;
    for (int64_t i = first; i < first + count; i++) count_result(r, n, i, by);
}

static void count_read(Reads *r, Read read, int by)
{
    const Node *n = r->f->nodes[read.node];
    switch (op_info(n->op)->kind) {
    case KIND_LEAF:
    case KIND_MOVE: break;
    case KIND_UNARY:
    case KIND_BINARY:
    case KIND_TERNARY: {
        bool spread = type_lanes(n->in[read.operand]->type) == 1;
        int64_t end = spread ? type_lanes(n->type) : read.at + 1;
        for (int64_t i = read.at; i < end; i++) count_result(r, n, i, by);
        break;
    }
    case KIND_LINEAR: count_linear(r, n, read, by); break;
    case KIND_LINEAR_T: count_token(r, n, read.at / n->in[1]->type.dim[1], by); break;
    case KIND_MATMUL: count_matmul(r, n, read, by); break;
    case KIND_REDUCE: count_result(r, n, read.at / type_last(n->in[0]->type), by); break;
    case KIND_TAKE: count_take(r, n, read, by); break;
    }
}

// ---- set-up

// Calls per operand lane that is no constant; fill: NULL to count alone.
static void scan(Reads *r, int64_t *fill)
{
    for (int id = 0; id < r->f->n_nodes; id++) {
        const Node *n = r->f->nodes[id];
        for (int k = 0; n->op != OP_move && k < n->n_in; k++) {
            if (!n->in[k] || node_is_const(n->in[k])) continue;
            int64_t lanes = type_lanes(n->in[k]->type);
            for (int64_t i = 0; i < lanes; i++) {
                LaneRef lane = lane_canonical(n->in[k], i);
                if (node_is_const(lane.node)) continue;
                int64_t at = number(r, lane.node, lane.lane);
                if (fill)
                    r->reads[fill[at]++] = (Read){(uint32_t)id, (uint32_t)k, (uint32_t)i};
                else
                    r->first[at + 1]++;
            }
        }
    }
}

static bool has_zero(const Node *w)
{
    int64_t n = type_lanes(w->type);
    for (int64_t i = 0; i < n; i++)
        if (const_at(w, i) == 0) return true;
    return false;
}

static void prepare_tokens(Reads *r, const Node *n)
{
    Tokens *t = &r->tokens[n->id];
    OpKind kind = op_info(n->op)->kind;
    if (kind != KIND_LINEAR && kind != KIND_LINEAR_T && kind != KIND_MATMUL) return;
    t->left = heap_array(tokens_of(n), sizeof *t->left);
    t->masked = kind == KIND_LINEAR && has_zero(n->in[1]);
    if (kind != KIND_MATMUL) return;
    int64_t lanes = type_lanes(n->in[0]->type);
    t->zero = heap_array(lanes, sizeof *t->zero);
    for (int64_t i = 0; i < lanes; i++) {
        LaneRef lane = lane_canonical(n->in[0], i);
        t->zero[i] = lane_is_const(lane) && lane_value(lane) == 0;
    }
}

Reads *reads_new(const Function *f, const LaneEnv *base, ReadsWaiting *waiting, void *user)
{
    Reads *r = heap_array(1, sizeof *r);
    *r = (Reads){.f = f, .base = base, .waiting = waiting, .user = user};
    r->first = heap_array(base->n_lanes + 1, sizeof *r->first);
    r->left = heap_array(base->n_lanes, sizeof *r->left);
    r->tokens = heap_array(f->n_nodes, sizeof *r->tokens);
    for (int i = 0; i < f->n_nodes; i++) prepare_tokens(r, f->nodes[i]);
    scan(r, NULL);
    for (int64_t i = 0; i < base->n_lanes; i++) r->first[i + 1] += r->first[i];
    r->reads = heap_array(r->first[base->n_lanes], sizeof *r->reads);
    int64_t *fill = heap_array(base->n_lanes, sizeof *fill);
    memcpy(fill, r->first, (size_t)base->n_lanes * sizeof *fill);
    scan(r, fill);
    free(fill);
    for (int64_t i = 0; i < r->first[base->n_lanes]; i++) count_read(r, r->reads[i], 1);
    return r;
}

void reads_free(Reads *r)
{
    for (int i = 0; i < r->f->n_nodes; i++) {
        free(r->tokens[i].left);
        free(r->tokens[i].zero);
    }
    free(r->first);
    free(r->reads);
    free(r->left);
    free(r->tokens);
    free(r);
}

void reads_start(Reads *r)
{
    for (int id = 0; id < r->f->n_nodes; id++) {
        const Node *n = r->f->nodes[id];
        OpKind kind = op_info(n->op)->kind;
        int64_t lanes = kind == KIND_LEAF || kind == KIND_MOVE ? 0 : type_lanes(n->type);
        for (int64_t i = 0; i < lanes; i++)
            if (!r->left[number(r, n, i)]) report(r, n, i);
    }
}

// ---- use

void reads_learn(Reads *r, LaneRef lane)
{
    int64_t at = number(r, lane.node, lane.lane);
    for (int64_t i = r->first[at]; i < r->first[at + 1]; i++) count_read(r, r->reads[i], -1);
}

bool reads_any(const Reads *r, LaneRef lane)
{
    int64_t at = number(r, lane.node, lane.lane);
    return r->first[at + 1] > r->first[at];
}

int64_t reads_left(const Reads *r, const Node *n, int64_t i) { return r->left[number(r, n, i)]; }
int64_t reads_token_left(const Reads *r, const Node *n, int64_t token) { return r->tokens[n->id].left[token]; }
