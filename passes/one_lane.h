// One-lane functions: u = g(v; known lanes), where the unknown lane v is used more than once (a spline, softsign).
//
// A group of such functions of equal structure is solved by a Way: how the value of one slot gives the value of v.
//
//   WAY_END       the slot is v
//   WAY_CHAIN     only one operand leads to v: the op is inverted (a clamp, or a branch that is known to be taken:
//                 the identity)
//   WAY_SELECT    both answers lead to v: v = select(c, v of the first way, v of the second). c compares a monotone
//                 function of v with known lanes; as g is monotone, c is known: v >= K is u >= g(K) (or <=)
//   WAY_RATIONAL  a polynomial relation F(t, u) = 0 with the nearest slot t through which all uses of v lead:
//                 of degree 1 in t, or of degree 1 in u and 2 in t
//   WAY_BRACKET   u is a function of t whose slope is proved to keep one sign: its root is bracketed. Of a polynomial in
//                 a bin the slope's sign need not be proved: the rows of the check confirm it
#pragma once
#include "lane_env.h"
#include "poly.h"

// Clamps and falling steps between v and what is compared.
enum { MOST_TURNS = 12 };

// A lane between u and v, the same one in every function of the group.
typedef struct {
    const Node *node;
    const int64_t *lanes; // by function
    int in[3];            // operand's slot; -1: known, or constant between the thresholds of v
} Slot;

// The work of a bracketed root (one_lane_newton.c), the same whatever the data: points of the grid, then ROOT_SECTIONS
// times the points between ROOT_PARTS parts, then Newton steps.
enum { ROOT_DOUBLINGS = 32, ROOT_GRID = 2 * ROOT_DOUBLINGS + 3, ROOT_PARTS = 16, ROOT_SECTIONS = 4, ROOT_STEPS = 3 };
// Of a net: every NET_PARTS-th point of the grid, then those between; fewer points at a time, whose values are large.
enum { NET_PARTS = 8, NET_COARSE = (ROOT_GRID + NET_PARTS - 1) / NET_PARTS, NET_SECTIONS = 5 };
// Of an integral (a net that is not proved): 0, then 1, 2, ... on one side, all at once.
enum { ROOT_OUTWARD = ROOT_DOUBLINGS + 1 };

typedef enum { WAY_END, WAY_CHAIN, WAY_SELECT, WAY_RATIONAL, WAY_BRACKET } WayKind;

typedef struct Way Way;
struct Way {
    WayKind kind;
    int slot;
    bool same;       // CHAIN: the identity
    int operand;     // CHAIN
    int slope;       // CHAIN, RATIONAL: sign of the slope by the next slot; 0: not known
    bool has_number; // CHAIN: the other operand is this number
    double number;
    unsigned uses_fixed; // CHAIN: shifts (1) or scales (2) by a lane that is constant between the thresholds of v
    int test; // SELECT: a slot that chooses (select, abs, leaky_relu, min, max); see one_lane_test in emission
    const Way *next, *otherwise; // SELECT: otherwise where the test is false; NULL: that branch cannot be reached
    int t;                       // RATIONAL: slot of t, given by next
    Poly relation;               // F; symbol 0 is t, 1 is u, the others the lanes of symbols
    int n_symbols;
    const LaneRef *const *symbols; // by symbol, by function
    const int *sign;               // of the symbols
    int relation_slope; // RATIONAL of degree 2 in t: sign of dF/dt at the wanted root; 0: found when running, by F(1) -
                        // F(0)
    bool in_bin;        // t is the position in a bin: 0..1
    bool from_bin;      // u is
    bool between;       // BRACKET: t lies between the images of v's nearest thresholds; its slope is not proved
};

typedef struct {
    const Function *f;
    int n; // functions in the group
    const LaneRef *u, *v;
    const Slot *slots; // 0 is u
    int n_slots, v_slot;
    const Way *way;
    int slope;   // sign of dg/dv: 1, -1
    bool proved; // that it is so; else the rows of the check confirm it
    // Lanes that depend on v, of function i: sorted by node and lane; which of them are constant between thresholds.
    const LaneRef *const *lanes;
    // 0: it varies; 1: thresholds by known lanes; 2: by lanes of level 1 (a bin that is halved), which come after them.
    const uint8_t *const *fixed;
    const int *n_lanes;
    bool net; // through sums of many lanes (one_lane_net.c): the slots are u and v, lanes those between them
} OneLane;

typedef struct OneLaneFinder OneLaneFinder;
OneLaneFinder *one_lane_finder(Context *cx, const Function *f, const LaneEnv *base, const bool *known);
// A group whose outputs are lanes of node n, or NULL. nets: only those through sums of many lanes.
const OneLane *one_lane_find(OneLaneFinder *finder, const Node *n, bool nets);
// Why the last one found nothing, for people; NULL: no one-lane function was seen.
const char *one_lane_why(const OneLaneFinder *finder);
// The inverse of a rising unary op whose values are compared with a number; 0: it has none here.
static inline Op one_lane_rising(Op op)
{
    switch ((int)op) {
    case OP_exp: return OP_log;
    case OP_log: return OP_exp;
    case OP_expm1: return OP_log1p;
    case OP_log1p: return OP_expm1;
    case OP_tanh: return OP_atanh;
    case OP_atanh: return OP_tanh;
    case OP_sigmoid: return OP_logit;
    case OP_logit: return OP_sigmoid;
    case OP_softplus: return OP_softplus_inv;
    case OP_softplus_inv: return OP_softplus;
    case OP_erf: return OP_erfinv;
    case OP_erfinv: return OP_erf;
    case OP_sinh: return OP_asinh;
    case OP_asinh: return OP_sinh;
    default: return (Op)0;
    }
}

// With F = p + q other = 0: p' q - p q' by own, where own is t if F is of degree 1 in u (other = u), else u (other =
// t).
Poly one_lane_slope(Arena *a, const Way *way);

// Sign of slot s's slope by slot t, by intervals; 0: not proved. n: functions in the group.
int one_lane_monotone(const Slot *slots, int n_slots, int n, int s, int t, bool in_bin);

// A clip of slot s's sigmoid or tanh at the ends of its range, which keeps rounding off them: the slot that it passes,
// whose slope it has. -1: it is none.
int one_lane_guarded(const Slot *slots, int n, int s);

// The sign that all the lanes have, by what defines them or by intervals; 0: not known.
int one_lane_sign(const LaneRef *lanes, int n);

// Rows of the largest table that one of the lanes is taken from: the bins. 0: there is none.
int64_t one_lane_bins(const LaneRef *lanes, int n);
// A lane that rounds another one down.
static inline bool one_lane_rounds(const Node *n)
{
    return n->op == OP_floor || (n->op == OP_trunc && n->in[0]->type.dtype == T_F32);
}

// ---- emission (one_lane_emit.c)
void one_lane_emit(LaneEnv *env, const OneLane *g);
// log|du/dv| of each function, all lanes being in env: a vector (or one lane for all).
const Node *one_lane_log_slope(LaneEnv *env, const OneLane *g);
// From emit_forward.c and emit_inverse.c: forward lanes of one node, the inverse of one elementwise step.
void emit_forward_lanes(LaneEnv *env, const Node *n, const int64_t *lanes, int64_t count);
const Node *emit_inverse_unary(LaneEnv *env, const Node *n, const Node *u);
const Node *emit_inverse_binary(LaneEnv *env, const Node *n, int k, const Node *u, const Node *other);
// WAY_BRACKET (one_lane_newton.c): t from u, and du/dt at t. low, high: what v lies between, where way->between.
const Node *one_lane_bracketed(LaneEnv *env, const OneLane *g, const Way *way, const Node *u, const Node *low,
                               const Node *high);
const Node *one_lane_steepness(LaneEnv *env, const OneLane *g, const Way *way, const Node *t);
