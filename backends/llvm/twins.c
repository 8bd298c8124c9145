// Products that are equal but for their counts: twins. One code that learns the counts serves them all, and does the map
// behind a product for each that has it; those that are alone with their words have their counts as constants.
#include "unit.h"

#include <stdlib.h>
#include <string.h>

// A product by the hashes of its words without and with its counts; which one it is; the map behind it, or NULL.
typedef struct {
    uint32_t rest, all;
    int at;
    const MapStep *behind;
} Twin;

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

Step as_emitted(const Unit *u, const Step *s)
{
    Step one = *s;
    if (s->kind != STEP_GEMM || !u->has_apart) return one;
    one.gemm.apart = s->gemm.apart || (s->gemm.m == 1 && s->gemm.n % 16 == 0);
    return one;
}

static bool map_behind(const Gen *g, const Step *s, const Step *next)
{
    return next && next->kind == STEP_MAP && map_follows(g, &next->map, &s->gemm);
}

// Those of a program, behind the n that are there already. Returns how many there are then.
static int add_products(Unit *u, const Program *p, Twin *list, int n)
{
    Gen *g = &u->g;
    StepWalk walk = plan_walk(p), ahead = walk;
    plan_next(&ahead);
    for (const Step *s, *next; (s = plan_next(&walk));) {
        next = plan_next(&ahead);
        if (s->kind != STEP_GEMM) continue;
        Step one = as_emitted(u, s);
        list[n] = (Twin){key_hash(g, &one, false), key_hash(g, &one, true), n, NULL};
        if (map_behind(g, s, next)) list[n].behind = arena_copy(g->cx->arena, &next->map, sizeof next->map);
        n++;
    }
    return n;
}

// What is said of `n` twins. They are sorted.
static void set_twins(const Twin *list, int n, Twins *by_product)
{
    Twins all = {0};
    for (int i = 0; i < n; i++) {
        all.codes += !i || list[i].all != list[i - 1].all;
        if (!all.after) all.after = list[i].behind;
    }
    for (int i = 0; i < n; i++) {
        all.applies = list[i].behind && maps_equal(all.after, list[i].behind);
        by_product[list[i].at] = all;
    }
}

const Twins *find_twins(Unit *u, int steps)
{
    Arena *arena = u->g.cx->arena;
    Twin *list = ARENA_ARRAY(arena, Twin, steps + 1);
    Twins *by_product = ARENA_ARRAY(arena, Twins, steps + 1);
    int n = 0;
    u->has_apart = u->g.gemm == gemm_emit && has_apart(u->g.plan);
    u->g.mixes = u->g.ahead ? least_scaled(u->g.plan) : 0;
    for (int id = 0; id < PROGRAM_COUNT; id++) n = add_products(u, &u->g.plan->programs[id], list, n);
    qsort(list, (size_t)n, sizeof *list, twin_order);
    for (int i = 0, same; i < n; i += same) {
        for (same = 1; i + same < n && list[i + same].rest == list[i].rest;) same++;
        set_twins(list + i, same, by_product);
    }
    return by_product;
}
