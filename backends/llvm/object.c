// Weights never pass through LLVM, which copies a constant five times on its way to an object. Its object holds the
// descriptor alone in a section of its own. They are written behind it when the policy is linked (link.c); in an object
// for other linkers that section moves to the file's end and grows over the weights:
//
//     LLVM's object | padding | the section's bytes, weights, zeros
//
// Offsets in the section stay, so relocations do. ELF of 64 bits, little endian, on every target.
#include "abi.h"
#include "file.h"
#include "llvm.h"

#include <string.h>

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
    *b = (Bytes){data, size, rest};
    return b;
}

Object *object_with_weights(Context *cx, Object *object, bool in_it, const void *weights, size_t size)
{
    int index;
    const Bytes *code = object->bytes;
    char *bytes = (char *)(uintptr_t)code->data;
    Elf64_Shdr *s = section_named(bytes, DESCRIPTOR_SECTION, &index);
    if (!s) return NULL;
    size_t start = (code->size + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES, total = s->sh_size + size + WEIGHTS_PAD;
    const void *zeros = arena_alloc(cx->arena, WEIGHTS_PAD);
    object->weights = piece(cx, weights, size, piece(cx, zeros, WEIGHTS_PAD, NULL));
    grow_symbols(bytes, index, s->sh_size, total);
    if (!in_it) return object;
    nfcc_model_header *model = arena_alloc(cx->arena, s->sh_size); // a copy: what it was copied from keeps no checksum
    memcpy(model, bytes + s->sh_offset, s->sh_size);
    const Bytes *section = piece(cx, model, s->sh_size, object->weights);
    object->bytes = piece(cx, bytes, code->size, piece(cx, zeros, start - code->size, section));
    object->weights = NULL;
    s->sh_offset = start;
    s->sh_size = total;
    model->checksum = checksum_bytes(object->bytes);
    return object;
}
