// The parts of a program's list: repeats whose rounds have equal code and args that grow by the same are written as one
// round and what it grows by.
#include "unit.h"

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

void collect_parts(Unit *u, int id)
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
