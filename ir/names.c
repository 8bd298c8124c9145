// The name table and the spelled words of the text form: see text.h. Open addressing, at most half full.
#include "text.h"

#include "base/hash.h"

#include <string.h>

const char *const TEXT_STAGES[5] = {"imported", "normal", "derived", "fused", "lowered"};

typedef struct {
    const char *name;
    int64_t number;
    uint64_t hash;
    void *value;
} Slot;

struct NameTable {
    Arena *arena;
    Slot *slots;
    size_t n, cap;
};

NameTable *names_new(Arena *arena)
{
    NameTable *t = ARENA_NEW(arena, NameTable);
    t->arena = arena;
    t->cap = 16;
    t->slots = ARENA_ARRAY(arena, Slot, t->cap);
    return t;
}

static uint64_t hash_of(const char *name, int64_t number)
{
    return hash_mix(hash_text(HASH_START, name), (uint64_t)number);
}

static Slot *find(const NameTable *t, const char *name, int64_t number, uint64_t hash)
{
    size_t i = (size_t)hash & (t->cap - 1);
    for (;; i = (i + 1) & (t->cap - 1)) {
        Slot *s = &t->slots[i];
        if (!s->name || (s->hash == hash && s->number == number && !strcmp(s->name, name))) return s;
    }
}

static void grow(NameTable *t)
{
    Slot *old = t->slots;
    size_t count = t->cap;
    t->cap *= 2;
    t->slots = ARENA_ARRAY(t->arena, Slot, t->cap);
    for (size_t i = 0; i < count; i++)
        if (old[i].name) *find(t, old[i].name, old[i].number, old[i].hash) = old[i];
}

void **names_slot(NameTable *t, const char *name, int64_t number)
{
    uint64_t hash = hash_of(name, number);
    Slot *s = find(t, name, number, hash);
    if (s->name) return &s->value;
    if (++t->n * 2 > t->cap) {
        grow(t);
        s = find(t, name, number, hash);
    }
    *s = (Slot){arena_string(t->arena, name), number, hash, NULL};
    return &s->value;
}

bool text_bare_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/'; }

bool text_bare_more(char c) { return text_bare_start(c) || (c >= '0' && c <= '9') || c == '.'; }

bool text_reserved(const char *word, size_t size)
{
    static const char *const words[] = {"_", "f32", "f64", "i64", "bool", "nan", "inf", "return"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == size && !memcmp(words[i], word, size)) return true;
    return false;
}
