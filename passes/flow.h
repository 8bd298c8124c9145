// Between roles and derive: one exported map (an input's lanes to output lanes) with its solved inverse.
#pragma once
#include "solve.h"

// f maps lanes of input `port` to `out`, given all other inputs. Solved from out.
typedef struct {
    const Function *f;
    int port;           // the input that is solved for
    const LaneRef *out; // its image: canonical lanes, D of them
    int64_t dims;
    const Solution *solution;
    // A base that is not standard normal in out: its standardised lanes, and out solved from them. NULL: out itself.
    const LaneRef *base;
    const Solution *base_solution;
    // A flow with no inverse: the solution is not solved, and log|d out / d in| (with a base: log|d base / d in|)
    // is log_det_scale times this exported number.
    const Node *log_det;
    double log_det_scale;
    // A base of no known form: the exported log_prob, in the given sign, is that of the whole. NULL: the base's.
    const Node *log_prob;
    double log_prob_sign;
} Map;

// Solve f for input port from the lanes; map->solution->solved tells whether it works. Reports nothing.
Map *map_solve(Context *cx, const Function *f, int port, const LaneRef *out, int64_t n);
// The same from `out`, which the base lanes are functions of; also out from the base lanes. NULL where either is not
// solved.
Map *map_solve_with_base(Context *cx, const Function *f, int port, const LaneRef *out, const LaneRef *base, int64_t n);
// out from the base lanes and the inputs but `port`.
const Solution *solve_base(Context *cx, const Function *f, int port, const LaneRef *out, const LaneRef *base,
                           int64_t n);
// Lanes of an output value, canonical.
LaneRef *value_lanes(Context *cx, const Node *v);
LaneRef *input_lanes(Context *cx, const Node *input);
// Distinct and none constant?
bool lanes_independent(const LaneRef *lanes, int64_t n);

// ---- the latent inside a log_prob (split.c)
// If output `scalar` of f is a log_prob (or its negative) with this base: the function with one more output, named
// "u": the standardised latent lanes. NULL: it is not.
typedef struct {
    const Function *f; // f with the output "u" added last
    int64_t dims;
    bool negated;
    bool bounded; // the graph guards it by bounds, which the flow's own log_prob is without
    bool plain;   // every term stands as in the standardised density: u are lanes of f itself
    BaseKind base;
    double param; // Student t: degrees of freedom
} Split;
Split *split_log_prob(Context *cx, const Function *f, int scalar, BaseKind base);
// s->f with one more output, "rest": what the log_prob says of log|d u / d input|, or, where u are noise, of
// log|d event / d u|.
const Function *split_rest(Context *cx, const Split *s, int scalar, bool of_noise);

// ---- roles (roles.c): decides roles and direction, fills flow; map is the solved exported direction, on `f` (the
// module's @main, perhaps with "u" added). Returns false after reported errors. No flow: true with flow->is_flow false.
bool decide_roles(Context *cx, const Module *m, const FlowOptions *options, Flow *flow, const Function **f, Map **map);

// Evaluate the map on a few rows: drawn latents/contexts -> consistent inputs of f (row-major per port) for numeric
// tests. For a density export x = inverse(z drawn); for a sampling export z drawn, from the base of that name (NULL:
// normal). rows * lanes values per port.
double **map_inputs(Context *cx, const Map *map, bool density, const char *base, size_t rows, uint64_t seed);
// log|d out / d in| of the map on those inputs.
double *map_log_det(Context *cx, const Map *map, size_t rows, const double *const *in);
// log|det d out / d in| of the function's first output for input `port` by central differences around one row; in[i]:
// rows of input i. 2 D rows in one evaluation, so D should be small.
enum { DIFFERENCE_DIMS = 256 };
double difference_log_det(Context *cx, const Function *f, int port, const double *const *in, size_t row);
// The map itself as a function: f's inputs -> "out".
const Function *map_forward(Context *cx, const Map *map);
// Numbers for checks (draw.c): in (0, 1), and standard normal.
double draw_uniform(uint64_t *state);
double draw_normal(uint64_t *state);
// Rows of an input of the exported graph: standard normal; of images (rank 3 and more) in [0, 1]; integers 0 and 1,
// which every table has; booleans of which neither fills a row, so that a mask leaves something.
void draw_input(Type type, size_t rows, uint64_t *state, double *out);
