// Which steps of a Plan are distinct: each gets a number, and what a step may still learn are its args. twins.c says
// what products learn, turns.c where their fetching turns, rounds.c which runs of a list are written once.
#include "unit.h"

#include <stdlib.h>
#include <string.h>

// A product of so many weights has wider blocks of rows.
enum { LARGE_WEIGHTS = 1 << 15 };

// ---- distinct steps
uint32_t words_hash(const uint32_t *words, int n)
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ words[i]) * 16777619u ^ h >> 15;
    return h;
}

static bool words_equal(const uint32_t *a, int n_a, const uint32_t *b, int n_b)
{
    return n_a == n_b && !memcmp(a, b, (size_t)n_a * sizeof *a);
}

static const uint32_t *part_of(const StepKey *key, KeyPart part, int *n)
{
    int from = part == KEY_ONE ? key->n_after : 0;
    *n = (part == KEY_ROWS ? key->n_rows : key->n_words) - from;
    return key->words + from;
}

// The first code of equal words in this part of its key, or the one that is made next.
static int first_of(Unit *u, const StepKey *key, KeyPart part)
{
    int n, n_other, *buckets = u->buckets[part];
    const uint32_t *words = part_of(key, part, &n);
    uint32_t slot = words_hash(words, n) % (uint32_t)u->n_buckets;
    for (; buckets[slot]; slot = (slot + 1) % (uint32_t)u->n_buckets) {
        const uint32_t *other = part_of(&u->codes[buckets[slot] - 1].key, part, &n_other);
        if (words_equal(other, n_other, words, n)) return buckets[slot] - 1;
    }
    buckets[slot] = u->n_codes + 1;
    return u->n_codes;
}

static int code_of(Unit *u, const Step *step, const StepKey *key)
{
    Arena *arena = u->g.cx->arena;
    int at = first_of(u, key, KEY_ALL);
    if (at < u->n_codes) return at;
    Code code = {.key = *key,
                 .step = arena_copy(arena, step, sizeof *step),
                 .after = u->g.after,
                 .taken = u->g.taken,
                 .first = first_of(u, key, KEY_ROWS),
                 .one = first_of(u, key, KEY_ONE)};
    code.key.words = arena_copy(arena, key->words, (size_t)key->n_words * sizeof *key->words);
    code.key.args = arena_copy(arena, key->args, (size_t)key->n_args * sizeof *key->args);
    ARENA_PUSH(arena, u->codes, u->n_codes, u->cap_codes, code);
    return at;
}

// ---- how args are stored: as few bytes as the largest needs, without the zero bits that all of a kind end in
typedef struct {
    uint32_t any, most; // all values or'ed; the largest
} Range;

static ArgForm form_of(Range r)
{
    ArgForm f = {2, 0};
    while (f.shift < 4 && r.any && !(r.any >> f.shift & 1)) f.shift++;
    while (f.bytes < 4 && r.most >> f.shift >> 8 * f.bytes) f.bytes++;
    return f.bytes < 4 ? f : (ArgForm){4, 0};
}

// Two bytes for WORK: as they are, or without the four bits that are 0 of every buffer's first lane.
static ArgForm work_form(uint32_t work_lanes) { return (ArgForm){2, work_lanes <= 1 << 16 ? 0 : 4}; }

static void add_range(Range *ranges, const StepKey *key)
{
    for (int j = 0; j < key->n_args; j++) {
        Range *r = &ranges[key->args[j].kind];
        r->any |= key->args[j].value;
        if (key->args[j].value > r->most) r->most = key->args[j].value;
    }
}

static int steps_of(const Program *p)
{
    int n = 0;
    for (StepWalk w = plan_walk(p); plan_next(&w);) n++;
    return n;
}

// Where weights do not stay in cache, only products of many of them take a noticeable time.
static bool is_large(const Gen *g, const Step *s)
{
    if (s->kind != STEP_GEMM || !g->ahead) return s->kind == STEP_GEMM;
    return !s->gemm.transposed && (uint64_t)s->gemm.k * s->gemm.n >= LARGE_WEIGHTS;
}

// By step of the list: some round of it needs wide lanes. Then all have them, so that the rounds share a code.
static bool *wide_steps(Unit *u, const Program *p)
{
    bool *wide = ARENA_ARRAY(u->g.cx->arena, bool, p->n_steps + 1);
    const Step *s;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));) {
        Step one = as_emitted(u, s);
        if (w.repeat >= 0 && !wide[w.at - 1]) wide[w.at - 1] = step_key(&u->g, &one, false, false).wide;
    }
    return wide;
}

// Code that learns its counts is larger, except where the blocks of K are whole. Other backends' code knows them.
static bool counts_known(const Gen *g, const Step *s, const Twins *twins)
{
    if (!twins || g->gemm != gemm_emit) return twins;
    return twins->codes <= (s->gemm.transposed || gemm_cuts(g, &s->gemm).whole ? 1 : 3);
}

// What a product does behind it, and whether the step before has done this one. `twins`: of a product, else NULL.
static void set_after(Gen *g, const Twins *twins)
{
    g->taken = g->applies;
    g->after = twins ? twins->after : NULL;
    g->applies = twins && twins->applies;
}

static void collect_program(Unit *u, int id, const Twins **product, Range *ranges)
{
    Gen *g = &u->g;
    const Program *p = &g->plan->programs[id];
    const Turn *turns = find_turns(g, p, steps_of(p));
    const bool *wide = wide_steps(u, p);
    bool *known = ARENA_ARRAY(g->cx->arena, bool, p->n_steps + 1); // by step of the list, as in its first round
    const Step *s;
    u->uses[id] = ARENA_ARRAY(g->cx->arena, Use, steps_of(p) + 1);
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));) {
        const Twins *twins = s->kind == STEP_GEMM ? (*product)++ : NULL;
        Step one = as_emitted(u, s);
        int at = w.at - 1;
        if (w.repeat < 0 || !w.round) known[at] = counts_known(g, &one, twins);
        if (twins && gemm_turns(g, &s->gemm)) g->turn = *turns++;
        set_after(g, twins);
        StepKey key = step_key(g, &one, known[at], wide[at]);
        int code = code_of(u, &one, &key);
        Code *first = &u->codes[u->codes[code].first];
        first->large = first->large || is_large(g, s);
        const Arg *args = arena_copy(g->cx->arena, key.args, (size_t)key.n_args * sizeof *args);
        u->uses[id][u->n_uses[id]++] = (Use){code, args};
        add_range(ranges, &key);
    }
}

void collect_steps(Unit *u)
{
    Gen *g = &u->g;
    Range ranges[ARG_KINDS] = {0};
    int steps = 0;
    uint32_t work_lanes = 0;
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        const Program *p = &g->plan->programs[i];
        steps += steps_of(p);
        if (p->work_lanes > work_lanes) work_lanes = p->work_lanes;
    }
    u->n_buckets = 2 * steps + 1;
    for (int i = 0; i < KEY_PARTS; i++) u->buckets[i] = ARENA_ARRAY(g->cx->arena, int, u->n_buckets);
    g->form[ARG_WORK] = work_form(work_lanes);
    g->lengths_vary = lengths_vary(g->plan);
    g->long_values = reductions_long(g->plan);
    g->numbers = numbers_of(g->cx, g->plan, steps);
    const Twins *product = find_twins(u, steps);
    for (int i = 0; i < PROGRAM_COUNT; i++) collect_program(u, i, &product, ranges);
    g->after = NULL;
    g->applies = g->taken = false;
    free(g->key_words);
    free(g->key_args);
    g->key_words = NULL;
    g->key_args = NULL;
    for (int i = 0; i < ARG_KINDS; i++)
        if (i != ARG_WORK) g->form[i] = form_of(ranges[i]);
    u->code_bytes = u->n_codes <= 1 << 8 ? 1 : u->n_codes <= 1 << 16 ? 2 : 4;
    for (int i = 0; i < PROGRAM_COUNT; i++) collect_parts(u, i);
}
