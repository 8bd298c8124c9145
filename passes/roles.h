// Deciding roles, its parts: what is said and the order of questions (roles.c), the published names (roles_names.c),
// one input and one output as a map (roles_map.c), and what a log_prob tells (roles_log_prob.c).
#pragma once
#include "base.h"
#include "flow.h"

typedef struct {
    Context *cx;
    const Module *m;
    const Function *f; // @main, with "u" once a log_prob is split
    const FlowOptions *options;
    Flow *flow;
    Map *map;
    // An output that shows the squares of a base which lead back to no input: why, and how far, for the refusal.
    const char *unsolved, *unsolved_why;
    const Solution *unsolved_steps;
    bool strict; // a number that nobody calls a log_prob is one only if what it holds beside the base is the log_det
    struct {     // the last answer of roles_map.c's log_det_scale, which is asked for again when a map is taken
        const Map *map;
        int out;
        bool density;
        double scale;
    } last;
} Roles;

// ---- roles_names.c
typedef enum {
    NAME_EVENT_INPUT,
    NAME_LATENT_INPUT,
    NAME_EVENT_OUTPUT,
    NAME_LATENT_OUTPUT,
    NAME_LOG_DET,
    NAME_LOG_PROB
} NameKind;
bool published(const char *name, NameKind kind);            // is it one of the published names of this kind?
int roles_port(const Port *ports, int n, const char *name); // its number, or -1

// ---- roles_map.c
static inline int64_t roles_input_size(const Roles *r, int i) { return type_lanes(r->f->inputs[i]->type); }
static inline int64_t roles_output_size(const Roles *r, int i) { return type_lanes(r->f->outputs[i].node->type); }
static inline bool roles_real_input(const Roles *r, int i)
{
    return r->m->inputs[i].type.dtype == T_F32 || r->m->inputs[i].type.dtype == T_F64;
}
static inline bool map_solved(const Map *map) { return map && map->solution->solved; }
bool roles_is_context(const Roles *r, int input); // said to be one
bool roles_scalar_output(const Roles *r, int i);
// The map from input `in` to output `out`, or NULL where it is none. strip: without the policy's output clip.
Map *roles_map(Roles *r, int in, int out, bool strip);
// What the derived log_det of the map is multiplied by in output `out` of f: 1, 1/D (its mean over the event), or 0.
double roles_derived_scale(const Roles *r, const Map *map, const Function *f, bool density, int out);
// The exported number `scalar` as a multiple of log|d out / d in| of a map, by finite differences on a few rows: 1,
// 1/D, or 0.
double roles_difference_scale(Roles *r, const Map *map, int scalar);
int roles_log_det_named(const Roles *r); // -1: no output is called a log_det
void roles_find_log_det(Roles *r, bool density);
// The map is the flow's.
void roles_fill(Roles *r, Map *map, bool density, int in, int out, const char *why);
// Several outputs of the event's size: the one whose derived log_det equals an exported one-number output; else the
// only one, else the last (a graph that also returns its blocks ends with the latent).
int roles_choose_output(Roles *r, int in, bool density, Map **chosen);
// A flow with no inverse: its exported direction, where it has an exported log_det. out: the other end, or -1 to look
// for it.
bool roles_one_way(Roles *r, int in, int out, bool density, const char *why);

// ---- roles_log_prob.c
// The output that --log-prob or --neg-log-prob names, or NULL.
static inline const char *roles_said_log_prob(const Roles *r)
{
    return r->options->log_prob ? r->options->log_prob : r->options->neg_log_prob;
}
bool roles_by_log_prob(Roles *r);
