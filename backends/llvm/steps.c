// Which steps of a Plan are distinct: each gets a number, and what a step may still learn are its args. Runs of steps
// that differ by constant amounts are kept as parts of a list, one round written out.
#include "unit.h"

#include <stdlib.h>
#include <string.h>

// A product of so many weights has wider blocks of rows.
enum { LARGE_WEIGHTS = 1 << 15 };

// ---- distinct steps
static uint32_t words_hash(const uint32_t *words, int n)
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

// ---- products whose counts are known to their code: those that are alone with the rest of their words
static int twin_order(const void *a, const void *b)
{
    const Twin *x = a, *y = b;
    if (x->rest != y->rest) return x->rest < y->rest ? -1 : 1;
    if (x->all != y->all) return x->all < y->all ? -1 : 1;
    return x->at - y->at;
}

// Transposed ones have little code but that of T > 1.
static uint32_t key_hash(Gen *g, const Step *s, bool known)
{
    g->after = NULL;
    g->taken = false;
    StepKey k = step_key(g, s, known, false);
    return words_hash(k.words, s->gemm.transposed ? k.n_rows : k.n_words);
}

// As code is made of it: where a policy has products of several tokens with weights of their own, that code serves the
// products of one token.
static Step as_emitted(const Unit *u, const Step *s)
{
    Step one = *s;
    if (s->kind != STEP_GEMM || !u->has_apart) return one;
    one.gemm.apart = s->gemm.apart || (s->gemm.m == 1 && s->gemm.n % 16 == 0);
    return one;
}

static bool has_apart(const Plan *plan)
{
    const Step *s;
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&plan->programs[id]); (s = plan_next(&w));)
            if (s->kind == STEP_GEMM && s->gemm.apart && !s->gemm.transposed) return true;
    return false;
}

static uint32_t least_scaled(const Plan *plan)
{
    const Step *s;
    uint32_t least = 0;
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&plan->programs[id]); (s = plan_next(&w));)
            if (s->kind == STEP_GEMM && s->gemm.scaled && (!least || s->gemm.k < least)) least = s->gemm.k;
    return least;
}

// The steps of a program and the one behind each.
typedef struct {
    StepWalk walk, ahead;
    const Step *next;
} TwoWalks;

static TwoWalks walk_two(const Program *p)
{
    TwoWalks w = {plan_walk(p), plan_walk(p), NULL};
    plan_next(&w.ahead);
    return w;
}

static const Step *two_next(TwoWalks *w)
{
    w->next = plan_next(&w->ahead);
    return plan_next(&w->walk);
}

static bool equal_code(const MapStep *a, const MapStep *b)
{
    return a->n_code == b->n_code && a->outs[0].value == b->outs[0].value &&
           !memcmp(a->code, b->code, a->n_code * sizeof *a->code);
}

static bool map_behind(const Gen *g, const Step *s, const Step *next)
{
    return s->kind == STEP_GEMM && next && next->kind == STEP_MAP && map_follows(g, &next->map, &s->gemm);
}

static void find_twins(Unit *u, int steps)
{
    Gen *g = &u->g;
    const Step *s;
    u->twins = ARENA_ARRAY(g->cx->arena, Twin, steps + 1);
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (TwoWalks w = walk_two(&g->plan->programs[id]); (s = two_next(&w));)
            if (s->kind == STEP_GEMM) {
                Step one = as_emitted(u, s);
                Twin t = {key_hash(g, &one, false), key_hash(g, &one, true), u->n_twins, NULL};
                if (map_behind(g, s, w.next)) t.after = arena_copy(g->cx->arena, &w.next->map, sizeof t.after[0]);
                u->twins[u->n_twins++] = t;
            }
    qsort(u->twins, (size_t)u->n_twins, sizeof *u->twins, twin_order);
}

static int first_twin(const Unit *u, uint32_t rest)
{
    int low = 0, high = u->n_twins;
    while (low < high) {
        int middle = (low + high) / 2;
        if (u->twins[middle].rest < rest)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Code that learns its counts is larger, except where the blocks of K are whole. Other backends' code knows them.
static bool counts_known(Unit *u, const Step *s)
{
    if (s->kind != STEP_GEMM) return false;
    if (u->g.gemm != gemm_emit) return true;
    uint32_t rest = key_hash(&u->g, s, false);
    int low = first_twin(u, rest), codes = 0;
    int most = s->gemm.transposed || gemm_cuts(&u->g, &s->gemm).whole ? 1 : 3;
    for (int i = low; i < u->n_twins && u->twins[i].rest == rest && codes <= most; i++)
        codes += i == low || u->twins[i].all != u->twins[i - 1].all;
    return codes <= most;
}

// The map that the code of a product can do behind it: the first that follows one of its twins.
static const MapStep *map_of_twins(Unit *u, const Step *s)
{
    uint32_t rest = key_hash(&u->g, s, false);
    for (int i = first_twin(u, rest); i < u->n_twins && u->twins[i].rest == rest; i++)
        if (u->twins[i].after) return u->twins[i].after;
    return NULL;
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

// ---- where fetching ahead turns (llvm.h)
enum { GAP = 1 << 16 };   // bytes between the weights of a run at most: biases, scales
enum { SMALL = 1 << 14 }; // products of fewer bytes are passed over, but where they go on with a run

typedef struct {
    uint64_t from, to; // bytes
    Turn turn;
} Stretch;

static Stretch stretch_of(const Gen *g, const GemmStep *s)
{
    uint32_t at;
    MatrixKind kind = layout_matrix(g->layout, s->w, &at);
    uint64_t from = kind ? 2ull * at : 4ull * layout_lane(g->layout, s->w);
    return (Stretch){from, from + gemm_w_lanes(s) * (kind ? 2 : 4), {0, 0}};
}

static bool follows(const Stretch *a, const Stretch *b) { return b->from >= a->to && b->from <= a->to + GAP; }

static Turn turn_to(uint64_t end, uint64_t next)
{
    return (Turn){(uint32_t)(end / LINE_BYTES), (uint32_t)(next / LINE_BYTES)};
}

// By product of the program, as it is done. Behind the last one things are supposed to go on as they did, so that the
// rounds of a repeat are alike.
static const Stretch *find_turns(const Gen *g, const Program *p, int steps)
{
    Stretch *all = ARENA_ARRAY(g->cx->arena, Stretch, steps + 1), *before = NULL, *after = NULL;
    const Step *s;
    int n = 0;
    for (StepWalk w = plan_walk(p); (s = plan_next(&w));)
        if (s->kind == STEP_GEMM && gemm_turns(g, &s->gemm)) all[n++] = stretch_of(g, &s->gemm);
    uint64_t turn = 0; // how far the last one goes, modulo 2^64
    for (Stretch *at = all; at < all + n; at++) {
        if (at->to - at->from < SMALL) continue;
        if (before && !follows(before, at)) turn = at->from - before->to;
        before = at;
    }
    for (Stretch *at = all + n; at-- > all;) {
        bool there = (int64_t)(at->to + turn) >= 0;
        at->turn = turn_to(at->to, there ? at->to + turn : at->to);
        if (at->to - at->from < SMALL && (at == all || !follows(at - 1, at))) continue;
        if (after) at->turn = follows(at, after) ? after->turn : turn_to(at->to, after->from);
        after = at;
    }
    return all;
}

// What a product does behind it, and whether that has been done.
static void set_after(Unit *u, const Step *s, const MapStep *behind)
{
    Gen *g = &u->g;
    const MapStep *after = s->kind == STEP_GEMM ? map_of_twins(u, s) : NULL;
    g->taken = g->applies;
    g->after = after;
    g->applies = g->after && behind && equal_code(g->after, behind);
}

static void collect_program(Unit *u, int id, Range *ranges)
{
    const Program *p = &u->g.plan->programs[id];
    const Stretch *turns = find_turns(&u->g, p, steps_of(p));
    const bool *wide = wide_steps(u, p);
    bool *known = ARENA_ARRAY(u->g.cx->arena, bool, p->n_steps + 1); // by step of the list, as in its first round
    const Step *s;
    u->uses[id] = ARENA_ARRAY(u->g.cx->arena, Use, steps_of(p) + 1);
    for (TwoWalks w = walk_two(p); (s = two_next(&w));) {
        Step one = as_emitted(u, s);
        int at = w.walk.at - 1;
        if (w.walk.repeat < 0 || !w.walk.round) known[at] = counts_known(u, &one);
        if (s->kind == STEP_GEMM && gemm_turns(&u->g, &s->gemm)) u->g.turn = turns++->turn;
        set_after(u, &one, map_behind(&u->g, s, w.next) ? &w.next->map : NULL);
        StepKey key = step_key(&u->g, &one, known[at], wide[at]);
        int code = code_of(u, &one, &key);
        Code *first = &u->codes[u->codes[code].first];
        first->large = first->large || is_large(&u->g, s);
        const Arg *args = arena_copy(u->g.cx->arena, key.args, (size_t)key.n_args * sizeof *args);
        u->uses[id][u->n_uses[id]++] = (Use){code, args};
        add_range(ranges, &key);
    }
}

// ---- parts of a list: repeats whose rounds have equal code and args that grow by the same
int step_bytes(const Unit *u, const StepKey *key)
{
    int n = u->code_bytes;
    for (int i = 0; i < key->n_args; i++) n += u->g.form[key->args[i].kind].bytes;
    return n;
}

int uses_bytes(const Unit *u, const Use *uses, int n)
{
    int bytes = 0;
    for (int i = 0; i < n; i++) bytes += step_bytes(u, &u->codes[uses[i].code].key);
    return bytes;
}

static int64_t growth(const Use *a, const Use *b, int arg)
{
    return (int64_t)b->args[arg].value - (int64_t)a->args[arg].value;
}

// Is round b to round a as round a to the one before it? (before: NULL: it is the first)
static bool goes_on(const Unit *u, const Use *before, const Use *a, const Use *b, int length)
{
    for (int i = 0; i < length; i++) {
        if (a[i].code != b[i].code) return false;
        for (int j = 0; before && j < u->codes[a[i].code].key.n_args; j++)
            if (growth(&before[i], &a[i], j) != growth(&a[i], &b[i], j)) return false;
    }
    return true;
}

static void add_part_of(Unit *u, int id, Part part)
{
    Part *last = u->n_parts[id] ? &u->parts[id][u->n_parts[id] - 1] : NULL;
    if (last && last->rounds == 1 && part.rounds == 1)
        last->length += part.length;
    else
        ARENA_PUSH(u->g.cx->arena, u->parts[id], u->n_parts[id], u->cap_parts[id], part);
}

static void add_repeat(Unit *u, int id, int first, int length, int rounds)
{
    const Use *uses = u->uses[id] + first;
    bool fits = uses_bytes(u, uses, length) + 16 <= MOST_BODY;
    for (int r = 0, n; r < rounds; r += n) {
        const Use *at = uses + r * length;
        for (n = 1; fits && r + n < rounds; n++)
            if (!goes_on(u, n > 1 ? at + (n - 2) * length : NULL, at + (n - 1) * length, at + n * length, length))
                break;
        if (n == 2) n = 1; // two rounds are as long as their differences
        add_part_of(u, id, (Part){first + r * length, length, n});
    }
}

static void collect_parts(Unit *u, int id)
{
    const Program *p = &u->g.plan->programs[id];
    int use = 0;
    for (int i = 0; i < p->n_steps; i++) {
        const RepeatStep *r = &p->steps[i].repeat;
        if (p->steps[i].kind != STEP_REPEAT) {
            add_part_of(u, id, (Part){use++, 1, 1});
            continue;
        }
        add_repeat(u, id, use, (int)r->length, (int)r->count);
        use += (int)(r->length * r->count);
        i += (int)r->length;
    }
    if (u->n_parts[id] == 1 && u->parts[id][0].rounds == 1) u->n_parts[id] = 0;
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
    g->numbers = numbers_of(g->cx, g->plan, steps);
    u->has_apart = g->gemm == gemm_emit && has_apart(g->plan);
    g->mixes = g->ahead ? least_scaled(g->plan) : 0;
    find_twins(u, steps);
    for (int i = 0; i < PROGRAM_COUNT; i++) collect_program(u, i, ranges);
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
