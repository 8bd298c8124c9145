// Maps that differ in numbers alone, as the slopes and scales of an unrolled net do: where there are many of them, the
// numbers that differ are args of one code. Each of them would else be a function of its own, two milliseconds of LLVM.
#include "llvm.h"

#include "base/hash.h"

enum { MOST_ALIKE = 8 }; // so many maps of one kind know their numbers

// Maps of equal code but for the words of its S_imm.
typedef struct {
    uint64_t hash;
    const ScalarInstr *code;
    uint32_t n_code;
    uint64_t known[MOST_ALIKE]; // hashes of the different words so far
    int n;                      // MOST_ALIKE + 1: more
    Learned learned;            // those words that differ
} Kind;

struct Numbers {
    Kind *kinds;
    int n, cap;
    int *table; // open addressing: number of the kind + 1
    size_t size;
};

static uint64_t kind_hash(const MapStep *s)
{
    uint64_t h = hash_mix(1, s->n_code);
    for (uint32_t k = 0; k < s->n_code; k++) {
        const ScalarInstr *c = &s->code[k];
        h = hash_mix(h, (uint64_t)c->op << 48 | (uint64_t)c->a << 32 | (uint64_t)c->b << 16 | c->c);
        if (c->op != S_imm) h = hash_mix(h, c->imm);
    }
    return h;
}

static uint64_t words_hash(const MapStep *s)
{
    uint64_t h = 0;
    for (uint32_t k = 0; k < s->n_code; k++)
        if (s->code[k].op == S_imm) h = hash_mix(h, s->code[k].imm);
    return h;
}

static bool alike(const Kind *kind, uint64_t hash, const MapStep *s)
{
    if (kind->hash != hash || kind->n_code != s->n_code) return false;
    for (uint32_t k = 0; k < s->n_code; k++) {
        const ScalarInstr *a = &kind->code[k], *b = &s->code[k];
        bool same = a->op == b->op && a->a == b->a && a->b == b->b && a->c == b->c;
        if (!same || (a->op != S_imm && a->imm != b->imm)) return false;
    }
    return true;
}

static int *slot_of(const Numbers *numbers, uint64_t hash, const MapStep *s)
{
    size_t at = hash >> 20 & (numbers->size - 1);
    while (numbers->table[at] && !alike(&numbers->kinds[numbers->table[at] - 1], hash, s))
        at = (at + 1) & (numbers->size - 1);
    return &numbers->table[at];
}

static Kind *kind_of(Context *cx, Numbers *numbers, const MapStep *s)
{
    Kind kind = {.hash = kind_hash(s), .code = s->code, .n_code = s->n_code};
    int *slot = slot_of(numbers, kind.hash, s);
    if (!*slot) {
        ARENA_PUSH(cx->arena, numbers->kinds, numbers->n, numbers->cap, kind);
        *slot = numbers->n;
    }
    return &numbers->kinds[*slot - 1];
}

static void note_words(Kind *kind, const MapStep *s)
{
    uint64_t hash = words_hash(s);
    for (uint32_t k = 0; k < s->n_code; k++)
        if (s->code[k].op == S_imm && s->code[k].imm != kind->code[k].imm) kind->learned.bits[k / 64] |= 1ull << k % 64;
    for (int i = 0; i < kind->n && i < MOST_ALIKE; i++)
        if (kind->known[i] == hash) return;
    if (kind->n < MOST_ALIKE) kind->known[kind->n] = hash;
    if (kind->n <= MOST_ALIKE) kind->n++;
}

const Numbers *numbers_of(Context *cx, const Plan *plan, int steps)
{
    Numbers *numbers = ARENA_NEW(cx->arena, Numbers);
    numbers->size = hash_slots((size_t)steps);
    numbers->table = ARENA_ARRAY(cx->arena, int, numbers->size);
    const Step *s;
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&plan->programs[id]); (s = plan_next(&w));)
            if (s->kind == STEP_MAP) note_words(kind_of(cx, numbers, &s->map), &s->map);
    return numbers;
}

const Learned *numbers_learned(const Numbers *numbers, const MapStep *s)
{
    static const Learned none = {{0}};
    const Kind *kind = &numbers->kinds[*slot_of(numbers, kind_hash(s), s) - 1];
    return kind->n > MOST_ALIKE ? &kind->learned : &none;
}
