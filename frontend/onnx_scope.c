// Names while a graph is executed: the scopes of graphs and functions, what the instantiation for many rows recorded under
// them, and attributes, which a function's body may take from its call. Tables are open addressing, at most half full.
#include "onnx_scope.h"

#include "base/hash.h"

#include <string.h>

// ---- names

static Binding *slot(Binding *table, size_t cap, const char *name)
{
    size_t at = hash_text(HASH_START, name) & (cap - 1);
    while (table[at].name && strcmp(table[at].name, name) != 0) at = (at + 1) & (cap - 1);
    return &table[at];
}

static void grow(Arena *arena, Scope *s)
{
    size_t cap = s->cap ? s->cap * 2 : 64;
    Binding *table = ARENA_ARRAY(arena, Binding, cap);
    for (size_t i = 0; i < s->cap; i++)
        if (s->table[i].name) *slot(table, cap, s->table[i].name) = s->table[i];
    s->table = table;
    s->cap = cap;
}

bool scope_bind(Arena *arena, Scope *s, const char *name, Value value)
{
    if (s->n * 2 >= s->cap) grow(arena, s);
    Binding *b = slot(s->table, s->cap, name);
    if (b->name) return false;
    *b = (Binding){name, value};
    s->n++;
    return true;
}

Value *scope_find(Scope *s, const char *name)
{
    for (; s; s = s->parent) {
        if (!s->cap) continue;
        Binding *b = slot(s->table, s->cap, name);
        if (b->name) return &b->value;
    }
    return NULL;
}

// ---- records

static Record *record_slot(Record *table, size_t cap, uint64_t key, const char *name)
{
    size_t at = hash_text(key, name) & (cap - 1);
    while (table[at].name && (table[at].key != key || strcmp(table[at].name, name) != 0)) at = (at + 1) & (cap - 1);
    return &table[at];
}

Record *record_make(Arena *arena, Records *r, uint64_t key, const char *name)
{
    if (r->n * 2 >= r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 256;
        Record *table = ARENA_ARRAY(arena, Record, cap);
        for (size_t i = 0; i < r->cap; i++)
            if (r->table[i].name) *record_slot(table, cap, r->table[i].key, r->table[i].name) = r->table[i];
        r->table = table;
        r->cap = cap;
    }
    Record *at = record_slot(r->table, r->cap, key, name);
    if (!at->name) r->n++;
    at->key = key;
    at->name = name;
    return at;
}

const Record *record_find(const Records *r, uint64_t key, const char *name)
{
    if (!r || !r->cap) return NULL;
    const Record *at = record_slot(r->table, r->cap, key, name);
    return at->name ? at : NULL;
}

const Type *many_result(const Call *c, int i)
{
    const Record *r = i < c->n_out ? record_find(c->im->many, c->scope->key, c->node->output[i]) : NULL;
    return r ? &r->type : NULL;
}

int64_t agreed(Call *c, int64_t choice)
{
    if (c->im->record) record_make(scratch_arena(c->im->cx), c->im->record, c->key, "")->choice = choice;
    const Record *r = record_find(c->im->many, c->key, "");
    return r ? r->choice : choice;
}

// ---- attributes, which a function's body may take from its call

static const Onnx__AttributeProto *named(Onnx__AttributeProto *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->name && !strcmp(list[i]->name, name)) return list[i];
    return NULL;
}

// Default of a function's attribute, from attribute_proto (unknown field 11).
static const Onnx__AttributeProto *function_default(Arena *arena, const Onnx__FunctionProto *f, const char *name)
{
    for (int i = 0;; i++) {
        const ProtobufCMessageUnknownField *u = unknown_field(&f->base, 11, i);
        if (!u) return NULL;
        Onnx__AttributeProto *a = (void *)unknown_message(arena, &onnx__attribute_proto__descriptor, u);
        if (a && a->name && !strcmp(a->name, name)) return a;
    }
}

const Onnx__AttributeProto *attribute_of(Arena *arena, const Onnx__NodeProto *node, const Scope *scope,
                                         const char *name)
{
    const Onnx__AttributeProto *a = named(node->attribute, node->n_attribute, name);
    while (a && a->ref_attr_name && *a->ref_attr_name) {
        while (scope && !scope->function) scope = scope->parent;
        if (!scope) return NULL;
        const Onnx__FunctionProto *f = scope->function;
        const char *wanted = a->ref_attr_name;
        const Call *caller = scope->caller;
        a = named(caller->node->attribute, caller->node->n_attribute, wanted);
        if (!a) return function_default(arena, f, wanted);
        scope = caller->scope;
    }
    return a;
}
