// What the search for one-lane functions shares: one_lane.c and one_lane_search.c (which lanes), one_lane_way.c (how
// u gives v), one_lane_rational.c (relations between two slots).
#pragma once
#include "one_lane.h"

enum { SHIFTED = 1, SCALED = 2, POSITION = SHIFTED | SCALED }; // (v - x_k) / w: the position in a bin
enum { MOST_ASSUMED = 64, MOST_LANES = 1 << 14 };

// The lanes between u and v, of one function.
typedef struct {
    LaneRef u, v;
    LaneRef *lanes; // sorted; v and u among them
    uint8_t *fixed; // its level (one_lane.h)
    int n;
} Single;

struct OneLaneFinder {
    Context *cx;
    const Function *f;
    const LaneEnv *base;
    const bool *known;
    int *place;        // by lane number: position + 1 among the collected lanes
    LaneRef *operands; // of the lane at hand: room for MOST_LANES and three
    const char *why;
    int64_t budget; // lanes that may still be looked at, so that a large graph is refused in seconds
};

static inline int64_t number(const OneLaneFinder *q, LaneRef r) { return q->base->base[r.node->id] + r.lane; }
static inline bool is_known(const OneLaneFinder *q, LaneRef r)
{
    return node_is_const(r.node) || q->known[number(q, r)];
}
static inline int place_of(const OneLaneFinder *q, LaneRef r)
{
    return node_is_const(r.node) ? 0 : q->place[number(q, r)];
}

// ---- lanes below u (one_lane_search.c)

// Pending lanes, latest first: a heap by lane number.
typedef struct {
    LaneRef *item;
    int n, cap;
} Heap;

typedef struct {
    Heap heap; // empty: u cannot be expanded
    Single s;  // u, the lanes taken so far, and v, the one through which everything leads (or nothing)
    int cap_lanes;
} Search;

// u's unknown operands are pending; the heap is empty where there are none.
Search *search_new(OneLaneFinder *q, LaneRef u);
// On to the next such v. False: there is none, or too many lanes.
bool search_next(OneLaneFinder *q, Search *w);
void search_free(OneLaneFinder *q, Search *w);

// ---- lanes on the way (one_lane.c)

// Does the lane vary with v within a bin? Known and fixed lanes do not.
bool varies(const OneLaneFinder *q, const Single *s, LaneRef r);
// Is lane r a monotone function of v by steps that the emission can walk back (walk_back there)? threshold: the number
// that r is compared with, or NULL: something else.
bool walkable(const OneLaneFinder *q, const Single *s, LaneRef r, const double *threshold);
// r's number, if it is one: the same in every lane of its node, so that it serves all functions of a group. Else NULL.
const double *lane_number_of(LaneRef r, double *v);
// x at which a step (op of x as operand k and the number c) has the value `number`; NaN: not one number.
double one_lane_threshold(Op op, int k, double c, double number);
// Notes why n is refused. Always NULL.
const void *refuse(OneLaneFinder *q, const Node *n, const char *why);

// ---- ways

typedef struct {
    LaneRef lane; // of the first function
    bool value;
} Assumed;

typedef struct {
    OneLaneFinder *q;
    Arena *a;
    const Slot *slots;
    int n_slots, v_slot, n;
    const Single *first;
    Assumed assumed[MOST_ASSUMED];
    int n_assumed;
    int8_t *truth; // by slot: 1, -1, 0: not assumed
    // By slot, on the branch that is assumed (one_lane_kinks.c): the side that it takes, as truth; is it a number,
    // which?
    int8_t *side;
    bool *constant;
    double *number;
    int splits;
    unsigned fixed_above; // SHIFTED, SCALED by fixed lanes on the way down from u
} WayFinder;

// A branch that cannot be reached.
extern const Way DEAD;

static inline LaneRef slot_operand(const WayFinder *w, int s, int k, int i)
{
    return lane_operand(w->slots[s].node, k, w->slots[s].lanes[i]);
}

Way *new_way(WayFinder *w, WayKind kind, int slot);
// From the value of slot s to that of v; NULL: none is found.
const Way *find_way(WayFinder *w, int s);
bool tests_walkable(const WayFinder *w, const Way *way);
// dg/dv's sign along the way; *ok false where branches disagree.
int way_slope(const WayFinder *w, const Way *way, bool *ok);
bool assumed(const WayFinder *w, LaneRef lane, double *value);
// side, constant and number from truth and assumed.
void settle_kinks(WayFinder *w);
// One of these slots that is a kink of undecided side, or -1.
int open_kink(const WayFinder *w, const bool *below);
// Is operand k of slot s one number for all functions?
bool operand_number(const WayFinder *w, int s, int k, double *value);

// The relation between slots s and t, where s is made from t by rational operations and at most one square root;
// inside: the slots between. *wants: a test to assume first.
Way *relate(WayFinder *w, int s, int t, const bool *inside, int *wants);
// Sign of a related slot's slope by t. q: of the relation's coefficient of u.
int rational_slope(const WayFinder *w, const Way *way);
int rational_divisor_sign(const WayFinder *w, const Way *way);
