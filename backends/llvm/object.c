// Weights never pass through LLVM, which copies a constant five times on its way to an object. Its object holds the
// descriptor alone in a section of its own; here that section moves to the file's end and grows over the weights:
//
//     LLVM's object | padding | the section's bytes, weights, zeros
//
// Offsets in the section stay, so relocations do. ELF of 64 bits, little endian, on every target.
#include "llvm.h"

#include <elf.h>
#include <string.h>

enum { LINE = 64 };

static Elf64_Shdr *section_named(char *object, const char *name, int *index)
{
    Elf64_Ehdr *e = (Elf64_Ehdr *)object;
    Elf64_Shdr *s = (Elf64_Shdr *)(object + e->e_shoff);
    const char *names = object + s[e->e_shstrndx].sh_offset;
    for (*index = 0; *index < e->e_shnum; ++*index)
        if (!strcmp(names + s[*index].sh_name, name)) return &s[*index];
    return NULL;
}

// The symbols that have the section's old size get the new one: the descriptor.
static void grow_symbols(char *object, int section, uint64_t from, uint64_t to)
{
    int index;
    Elf64_Shdr *table = section_named(object, ".symtab", &index);
    Elf64_Sym *s = table ? (Elf64_Sym *)(object + table->sh_offset) : NULL;
    for (uint64_t i = 0; s && i < table->sh_size / sizeof *s; i++)
        if (s[i].st_shndx == section && s[i].st_size == from) s[i].st_size = to;
}

static Bytes *piece(Context *cx, const void *data, size_t size, const Bytes *rest)
{
    Bytes *b = ARENA_NEW(cx->arena, Bytes);
    *b = (Bytes){data, size, rest, NULL};
    return b;
}

// object: one piece, which becomes the first.
const Bytes *object_with_weights(Context *cx, Bytes *object, const void *weights, size_t size)
{
    int index;
    char *bytes = (char *)(uintptr_t)object->data;
    Elf64_Shdr *s = section_named(bytes, WEIGHTS_SECTION, &index);
    if (!s) return NULL;
    size_t start = (object->size + LINE - 1) / LINE * LINE, total = s->sh_size + size + WEIGHTS_PAD;
    const void *pad = arena_alloc(cx->arena, WEIGHTS_PAD);
    Bytes *tail =
        piece(cx, bytes + s->sh_offset, s->sh_size, piece(cx, weights, size, piece(cx, pad, WEIGHTS_PAD, NULL)));
    grow_symbols(bytes, index, s->sh_size, total);
    s->sh_offset = start;
    s->sh_size = total;
    object->rest = piece(cx, pad, start - object->size, tail);
    return object;
}
