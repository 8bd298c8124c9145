// roll: groups of steps that differ from the group before by the same lanes and counts become one repeat (plan.h).
//
//     a0 b0 c0 a1 b1 c1 a2 b2 c2 ...  ->  repeat n times: a0 + r da, b0 + r db, c0 + r dc
//
// Tried at each step for the distances at which a step like it stands; the longest run is taken. The rounds of causal
// attention become a few repeats per block: a buffer that grows with the round moves what lies behind it now and then.
#include "pipeline.h"

#include "base/hash.h"

// Lists of fewer steps are small already.
enum { LEAST_STEPS = 200, LEAST_ROUNDS = 3, LEAST_SAVED = 8, MOST_LENGTH = 128, MOST_TRIES = 16 };

typedef struct {
    Step *steps;
    uint64_t *form; // by step: of what must be equal
    int n;
} Steps;

// Equal for steps that are alike; seldom for others.
static uint64_t form_of(const Step *s)
{
    uint64_t h = hash_mix(0, s->kind);
    if (s->kind == STEP_GEMM) return hash_mix(hash_mix(hash_mix(h, s->gemm.m), s->gemm.k), s->gemm.n);
    if (s->kind != STEP_MAP) return h;
    h = hash_mix(hash_mix(hash_mix(h, s->map.n_args), s->map.n_outs), s->map.n_code);
    for (uint32_t i = 0; i < s->map.n_code; i++)
        h = hash_mix(h, s->map.code[i].op + ((uint64_t)s->map.code[i].imm << 16));
    return h;
}

// What step b adds to the fields of a.
static int differences(const Step *a, const Step *b, uint32_t *out)
{
    Step x = *a, y = *b;
    uint32_t *from[MOST_FIELDS], *to[MOST_FIELDS];
    int n = step_fields(&x, from);
    step_fields(&y, to);
    for (int i = 0; i < n; i++) out[i] = *to[i] - *from[i];
    return n;
}

static bool same_difference(const Step *a, const Step *b, const Step *c)
{
    uint32_t first[MOST_FIELDS], second[MOST_FIELDS];
    int n = differences(a, b, first);
    differences(b, c, second);
    for (int i = 0; i < n; i++)
        if (first[i] != second[i]) return false;
    return true;
}

// Rounds of `length` steps from step i on.
static int rounds_of(const Steps *s, int i, int length)
{
    int t = i;
    for (; t + length < s->n; t++) {
        const Step *a = &s->steps[t], *b = a + length;
        if (s->form[t] != s->form[t + length] || !step_alike(a, b)) break;
        if (t >= i + length && !same_difference(a - length, a, b)) break;
    }
    return (t - i) / length + 1;
}

// The repeat that saves most steps; length 0: none is worth it.
static RepeatStep best_repeat(const Steps *s, int i)
{
    RepeatStep best = {0, 0, NULL};
    int saved = LEAST_SAVED - 1, tries = 0;
    for (int length = 1; length <= MOST_LENGTH && i + length < s->n && tries < MOST_TRIES; length++) {
        if (s->form[i] != s->form[i + length]) continue;
        int rounds = rounds_of(s, i, length);
        tries++;
        if (rounds < LEAST_ROUNDS || (rounds - 1) * length <= saved) continue;
        saved = (rounds - 1) * length;
        best = (RepeatStep){(uint32_t)rounds, (uint32_t)length, NULL};
    }
    return best;
}

static const Step *strides_of(Context *cx, const Step *steps, uint32_t length)
{
    Step *strides = ARENA_ARRAY(cx->arena, Step, length);
    for (uint32_t i = 0; i < length; i++) {
        uint32_t by[MOST_FIELDS], *fields[MOST_FIELDS];
        int n = differences(&steps[i], &steps[i + length], by);
        strides[i] = steps[i];
        step_fields(&strides[i], fields);
        for (int k = 0; k < n; k++) *fields[k] = by[k];
    }
    return strides;
}

void roll_steps(Context *cx, Program *p)
{
    Steps s = {(Step *)p->steps, ARENA_ARRAY(scratch_arena(cx), uint64_t, p->n_steps + 1), p->n_steps};
    Step *out = ARENA_ARRAY(scratch_arena(cx), Step, p->n_steps + 1);
    int n = 0;
    for (int i = 0; i < s.n; i++) s.form[i] = form_of(&s.steps[i]);
    for (int i = 0; i < s.n;) {
        RepeatStep r = s.n < LEAST_STEPS ? (RepeatStep){0} : best_repeat(&s, i);
        if (!r.length) {
            out[n++] = s.steps[i++];
            continue;
        }
        r.stride = strides_of(cx, &s.steps[i], r.length);
        out[n++] = (Step){.kind = STEP_REPEAT, .name = s.steps[i].name, .repeat = r};
        for (uint32_t k = 0; k < r.length; k++) out[n++] = s.steps[i + (int)k];
        i += (int)(r.count * r.length);
    }
    p->steps = arena_copy(cx->arena, out, (size_t)n * sizeof *out);
    p->n_steps = n;
}
