// Object -> shared object of code that needs nothing from elsewhere: sections get addresses, relocations become
// numbers, one symbol is exported. The weights, a piece of their section that no relocation touches, are not copied.
//
//     ELF and program headers | .dynsym .gnu.hash .dynstr | read-only sections | code | .dynamic | .symtab, names,
//     section headers
//
// Three segments are mapped: R, R E and, for .dynamic, which loaders write to, RW. A page in which one ends and the next
// begins is mapped twice: the next one's addresses are file offsets plus another page, so the file has no holes.
// What cannot be resolved here (an undefined symbol, writable data) is an error: this proves that the policy is alone.
#include "target.h"

#include <elf.h>
#include <string.h>

enum { LINE = 64, SEGMENTS = 7, TAGS = 7 };

// The largest page of each machine.
static uint64_t page_of(unsigned machine) { return machine == EM_AARCH64 ? 1 << 16 : 1 << 12; }

typedef struct {
    Context *cx;
    const Bytes *object;
    const char *head; // its first piece: headers, symbols, relocations
    const Elf64_Ehdr *e;
    const Elf64_Shdr *section;
    const Elf64_Sym *symbol;
    uint64_t n_symbols;
    const char *names;       // of symbols
    const Elf64_Sym *export; // the one symbol that others see
    uint64_t *address;       // by section of the object; 0: it has none
    uint64_t page;

    Bytes *first, *last; // the file so far
    uint64_t size, gap;  // its size; address less offset in the segment under way
    const char *soname;
    Elf64_Shdr *table; // its sections
    int n_sections;
    char section_names[4096];
    size_t n_names;
    Elf64_Phdr program[SEGMENTS];
} Link;

static bool wrong(Link *l, const char *what, const char *name)
{
    diag_error(l->cx, NULL, "this is a bug of nfcc; please report it with the model", "internal error: linking: %s%s",
               what, name);
    return false;
}

// ---- the object
static bool in_head(const Link *l, uint64_t at, uint64_t size)
{
    return at <= l->object->size && size <= l->object->size - at;
}

static const Elf64_Shdr *section_of_type(const Link *l, unsigned type)
{
    for (int i = 0; i < l->e->e_shnum; i++)
        if (l->section[i].sh_type == type) return &l->section[i];
    return NULL;
}

static bool is_object(Link *l)
{
    l->e = (const Elf64_Ehdr *)l->head;
    if (l->object->size < sizeof *l->e || memcmp(l->e->e_ident, ELFMAG, SELFMAG) != 0) return false;
    if (l->e->e_type != ET_REL || !in_head(l, l->e->e_shoff, l->e->e_shnum * sizeof(Elf64_Shdr))) return false;
    l->section = (const Elf64_Shdr *)(l->head + l->e->e_shoff);
    const Elf64_Shdr *symbols = section_of_type(l, SHT_SYMTAB);
    if (!symbols || symbols->sh_link >= l->e->e_shnum || !in_head(l, symbols->sh_offset, symbols->sh_size))
        return false;
    l->symbol = (const Elf64_Sym *)(l->head + symbols->sh_offset);
    l->n_symbols = symbols->sh_size / sizeof *l->symbol;
    l->names = l->head + l->section[symbols->sh_link].sh_offset;
    l->page = page_of(l->e->e_machine);
    return true;
}

static bool find_export(Link *l)
{
    for (uint64_t i = 1; i < l->n_symbols; i++) {
        const Elf64_Sym *s = &l->symbol[i];
        if (s->st_shndx == SHN_UNDEF) return wrong(l, "undefined symbol ", l->names + s->st_name);
        if (ELF64_ST_BIND(s->st_info) != STB_GLOBAL || ELF64_ST_VISIBILITY(s->st_other) == STV_HIDDEN) continue;
        if (l->export) return wrong(l, "a second exported symbol ", l->names + s->st_name);
        l->export = s;
    }
    return l->export || wrong(l, "no exported symbol", "");
}

// ---- the file
static void append(Link *l, const void *data, uint64_t size)
{
    Bytes *b = ARENA_NEW(l->cx->arena, Bytes);
    *b = (Bytes){data, size, NULL};
    if (l->last)
        l->last->rest = b;
    else
        l->first = b;
    l->last = b;
    l->size += size;
}

static void align_to(Link *l, uint64_t align)
{
    uint64_t pad = -l->size & (align - 1);
    if (pad) append(l, arena_alloc(l->cx->arena, pad), pad);
}

// A section that begins here; its bytes are appended next.
static Elf64_Shdr *begin_section(Link *l, const char *name, unsigned type, uint64_t flags, uint64_t align)
{
    align_to(l, align);
    Elf64_Shdr *s = &l->table[l->n_sections++];
    *s = (Elf64_Shdr){.sh_name = (Elf64_Word)l->n_names,
                      .sh_type = type,
                      .sh_flags = flags,
                      .sh_addr = flags & SHF_ALLOC ? l->size + l->gap : 0,
                      .sh_offset = l->size,
                      .sh_addralign = align};
    size_t n = strlen(name) + 1;
    memcpy(l->section_names + l->n_names, name, n);
    l->n_names += n;
    return s;
}

static void end_section(Link *l, Elf64_Shdr *s) { s->sh_size = l->size - s->sh_offset; }

static Elf64_Shdr *whole_section(Link *l, const char *name, unsigned type, uint64_t flags, const void *data, size_t n)
{
    Elf64_Shdr *s = begin_section(l, name, type, flags, type == SHT_STRTAB ? 1 : 8);
    append(l, data, n);
    end_section(l, s);
    return s;
}

// ---- what the loader looks a symbol up by
static uint32_t gnu_hash(const char *name)
{
    uint32_t h = 5381;
    for (; *name; name++) h = h * 33 + (unsigned char)*name;
    return h;
}

// Section .dynsym is the first of the table, .gnu.hash the second, .dynstr the third. The symbol's place follows.
static Elf64_Sym *add_lookup(Link *l)
{
    Arena *a = l->cx->arena;
    const char *name = l->names + l->export->st_name;
    Elf64_Sym *symbols = ARENA_ARRAY(a, Elf64_Sym, 2);
    size_t n = strlen(name) + 1, strings = 1 + n + strlen(l->soname) + 1;
    Elf64_Shdr *s = whole_section(l, ".dynsym", SHT_DYNSYM, SHF_ALLOC, symbols, 2 * sizeof *symbols);
    s->sh_entsize = sizeof *symbols;
    s->sh_link = 3;
    s->sh_info = 1;
    enum { SHIFT = 26 };
    uint32_t h = gnu_hash(name), *table = ARENA_ARRAY(a, uint32_t, 8);
    uint64_t bloom = 1ull << h % 64 | 1ull << (h >> SHIFT) % 64;
    memcpy(table, (uint32_t[]){1, 1, 1, SHIFT, 0, 0, 1, h | 1}, 8 * sizeof *table); // one bucket, one symbol, the last
    memcpy(table + 4, &bloom, sizeof bloom);
    whole_section(l, ".gnu.hash", SHT_GNU_HASH, SHF_ALLOC, table, 8 * sizeof *table)->sh_link = 1;
    char *text = arena_alloc(a, strings);
    memcpy(text + 1, name, n);
    strcpy(text + 1 + n, l->soname);
    whole_section(l, ".dynstr", SHT_STRTAB, SHF_ALLOC, text, strings);
    return &symbols[1];
}

static void add_dynamic(Link *l)
{
    const Elf64_Shdr *t = l->table;
    size_t name = strlen(l->names + l->export->st_name) + 1;
    const Elf64_Dyn tags[TAGS] = {{DT_SONAME, {1 + name}},          {DT_SYMTAB, {t[1].sh_addr}},
                                  {DT_SYMENT, {sizeof(Elf64_Sym)}}, {DT_STRTAB, {t[3].sh_addr}},
                                  {DT_STRSZ, {t[3].sh_size}},       {DT_GNU_HASH, {t[2].sh_addr}}};
    Elf64_Shdr *s = whole_section(l, ".dynamic", SHT_DYNAMIC, SHF_ALLOC | SHF_WRITE,
                                  arena_copy(l->cx->arena, tags, sizeof tags), sizeof tags);
    s->sh_link = 3;
    s->sh_entsize = sizeof *tags;
}

// ---- relocations
typedef enum {
    PLACE,
    PAGES,
    LOW,
    BRANCH
} Form; // a distance; pages to there; the low 12 bits of an address; words to there

static const struct {
    uint16_t machine, type;
    Form form;
    int bits; // of a distance; LOW: to shift right by
} relocations[] = {
    {EM_X86_64, R_X86_64_PC32, PLACE, 32},
    {EM_X86_64, R_X86_64_PLT32, PLACE, 32},
    {EM_X86_64, R_X86_64_PC64, PLACE, 64},
    {EM_AARCH64, R_AARCH64_PREL32, PLACE, 32},
    {EM_AARCH64, R_AARCH64_PREL64, PLACE, 64},
    {EM_AARCH64, R_AARCH64_ADR_PREL_PG_HI21, PAGES, 21},
    {EM_AARCH64, R_AARCH64_ADD_ABS_LO12_NC, LOW, 0},
    {EM_AARCH64, R_AARCH64_LDST8_ABS_LO12_NC, LOW, 0},
    {EM_AARCH64, R_AARCH64_LDST16_ABS_LO12_NC, LOW, 1},
    {EM_AARCH64, R_AARCH64_LDST32_ABS_LO12_NC, LOW, 2},
    {EM_AARCH64, R_AARCH64_LDST64_ABS_LO12_NC, LOW, 3},
    {EM_AARCH64, R_AARCH64_LDST128_ABS_LO12_NC, LOW, 4},
    {EM_AARCH64, R_AARCH64_CALL26, BRANCH, 26},
    {EM_AARCH64, R_AARCH64_JUMP26, BRANCH, 26},
};
enum { RELOCATIONS = sizeof relocations / sizeof *relocations };

static bool fits(int64_t v, int bits) { return bits == 64 || (v >= -(1ll << (bits - 1)) && v < 1ll << (bits - 1)); }

// Instructions have 0 where the number goes. False: too far.
static bool put(char *at, int k, uint64_t target, uint64_t place)
{
    int bits = relocations[k].bits;
    int64_t way = (int64_t)(target - place);
    uint32_t word;
    memcpy(&word, at, sizeof word);
    switch (relocations[k].form) {
    case PLACE: memcpy(at, &way, (size_t)bits / 8); return fits(way, bits);
    case PAGES:
        way = (int64_t)((target >> 12) - (place >> 12));
        word |= (uint32_t)(way & 3) << 29 | (uint32_t)(way >> 2 & 0x7ffff) << 5;
        break;
    case LOW: word |= (uint32_t)((target & 0xfff) >> bits) << 10; break;
    case BRANCH:
        way >>= 2;
        word |= (uint32_t)way & 0x3ffffff;
        break;
    }
    memcpy(at, &word, sizeof word);
    return relocations[k].form == LOW || fits(way, bits);
}

static bool relocate(Link *l, const Elf64_Rela *r, char *at, uint64_t place)
{
    uint64_t i = ELF64_R_SYM(r->r_info), type = ELF64_R_TYPE(r->r_info);
    const Elf64_Sym *s = &l->symbol[i < l->n_symbols ? i : 0];
    uint64_t section = s->st_shndx < l->e->e_shnum ? l->address[s->st_shndx] : 0;
    if (!section) return wrong(l, "a relocation to what is not loaded: ", l->names + s->st_name);
    for (int k = 0; k < RELOCATIONS; k++)
        if (relocations[k].machine == l->e->e_machine && relocations[k].type == type)
            return put(at, k, section + s->st_value + (uint64_t)r->r_addend, place) ||
                   wrong(l, "too far: ", l->names + s->st_name);
    return wrong(l, "a relocation of an unknown kind: ", arena_format(l->cx->arena, "%u", (unsigned)type));
}

static const Elf64_Shdr *relocations_of(const Link *l, int section)
{
    for (int i = 0; i < l->e->e_shnum; i++)
        if (l->section[i].sh_type == SHT_RELA && l->section[i].sh_info == (unsigned)section) return &l->section[i];
    return NULL;
}

// ---- the object's sections
// Bytes from..from + size of a section, which stand in one piece of the object, with the relocations in them done.
static bool add_part(Link *l, int section, uint64_t from, const char *data, uint64_t size)
{
    const Elf64_Shdr *table = relocations_of(l, section);
    const Elf64_Rela *r = table ? (const Elf64_Rela *)(l->head + table->sh_offset) : NULL;
    uint64_t n = table && in_head(l, table->sh_offset, table->sh_size) ? table->sh_size / sizeof *r : 0;
    char *own = NULL;
    for (uint64_t i = 0; i < n; i++) {
        if (r[i].r_offset - from >= size) continue;
        if (size < 8 || r[i].r_offset - from > size - 4) return wrong(l, "a relocation past its section", "");
        if (!own) own = arena_copy(l->cx->arena, data, size);
        if (!relocate(l, &r[i], own + (r[i].r_offset - from), l->address[section] + r[i].r_offset)) return false;
    }
    append(l, own ? own : data, size);
    return true;
}

static bool add_contents(Link *l, int section)
{
    const Elf64_Shdr *s = &l->section[section];
    uint64_t at = 0, done = 0; // of the object, of the section
    for (const Bytes *b = l->object; b && done < s->sh_size; at += b->size, b = b->rest) {
        uint64_t skip = s->sh_offset + done - at, left = s->sh_size - done;
        if (skip >= b->size) continue;
        uint64_t size = left < b->size - skip ? left : b->size - skip;
        if (!add_part(l, section, done, (const char *)b->data + skip, size)) return false;
        done += size;
    }
    return done == s->sh_size || wrong(l, "a section past the object's end", "");
}

static bool is_loaded(const Elf64_Shdr *s) { return s->sh_flags & SHF_ALLOC && s->sh_size; }
static bool is_code(const Elf64_Shdr *s) { return s->sh_flags & SHF_EXECINSTR; }

static bool only_constants(Link *l)
{
    for (int i = 0; i < l->e->e_shnum; i++) {
        const Elf64_Shdr *s = &l->section[i];
        if (is_loaded(s) && (s->sh_flags & (SHF_WRITE | SHF_TLS) || s->sh_type == SHT_NOBITS))
            return wrong(l, "writable data", "");
    }
    return true;
}

// Where each section will be, before any relocation is done: `size` bytes of the file stand.
static void set_addresses(Link *l, uint64_t size)
{
    l->address = ARENA_ARRAY(l->cx->arena, uint64_t, l->e->e_shnum);
    for (int code = 0; code < 2; code++)
        for (int i = 0; i < l->e->e_shnum; i++) {
            const Elf64_Shdr *s = &l->section[i];
            if (!is_loaded(s) || is_code(s) != (bool)code) continue;
            uint64_t align = s->sh_addralign > LINE ? s->sh_addralign : LINE;
            size = (size + align - 1) / align * align;
            l->address[i] = size + (code ? l->page : 0);
            size += s->sh_size;
        }
}

static bool add_sections(Link *l, bool code, Elf64_Sym *symbol)
{
    const char *names = l->head + l->section[l->e->e_shstrndx].sh_offset;
    for (int i = 0; i < l->e->e_shnum; i++) {
        const Elf64_Shdr *s = &l->section[i];
        if (!is_loaded(s) || is_code(s) != code) continue;
        if (l->n_names + strlen(names + s->sh_name) > sizeof l->section_names / 2)
            return wrong(l, "too many sections", "");
        uint64_t align = s->sh_addralign > LINE ? s->sh_addralign : LINE;
        Elf64_Shdr *to = begin_section(l, names + s->sh_name, s->sh_type, s->sh_flags, align);
        to->sh_entsize = s->sh_entsize;
        if (i == l->export->st_shndx) symbol->st_shndx = (Elf64_Section)(l->n_sections - 1);
        if (!add_contents(l, i)) return false;
        end_section(l, to);
    }
    return true;
}

static void set_symbol(const Link *l, Elf64_Sym *symbol)
{
    symbol->st_name = 1;
    symbol->st_info = l->export->st_info;
    symbol->st_other = l->export->st_other;
    symbol->st_size = l->export->st_size;
    symbol->st_value = l->address[l->export->st_shndx] + l->export->st_value;
}

// ---- headers
static void segment(Link *l, int i, unsigned type, unsigned flags, uint64_t from, uint64_t align)
{
    uint64_t size = l->size - from;
    l->program[i] = (Elf64_Phdr){.p_type = type,
                                 .p_flags = flags,
                                 .p_offset = from,
                                 .p_vaddr = from + l->gap,
                                 .p_paddr = from + l->gap,
                                 .p_filesz = size,
                                 .p_memsz = size,
                                 .p_align = align};
}

// The rest of .dynamic's page goes with it, so that it can be made read-only when loaded.
static void add_dynamic_segments(Link *l)
{
    align_to(l, 8);
    uint64_t from = l->size;
    add_dynamic(l);
    segment(l, 4, PT_DYNAMIC, PF_R | PF_W, from, 8);
    segment(l, 3, PT_LOAD, PF_R | PF_W, from, l->page);
    segment(l, 5, PT_GNU_RELRO, PF_R, from, 1);
    uint64_t whole = l->page - (l->program[3].p_vaddr & (l->page - 1));
    l->program[3].p_memsz = l->program[5].p_memsz = whole > l->program[3].p_filesz ? whole : l->program[3].p_filesz;
    l->program[6] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W};
}

// For nm and debuggers: the exported symbol again.
static void add_names(Link *l, const Elf64_Sym *symbol)
{
    Arena *a = l->cx->arena;
    const char *name = l->names + l->export->st_name;
    char *text = arena_alloc(a, strlen(name) + 2);
    strcpy(text + 1, name);
    Elf64_Shdr *s = whole_section(l, ".symtab", SHT_SYMTAB, 0, symbol - 1, 2 * sizeof *symbol);
    s->sh_entsize = sizeof *symbol;
    s->sh_info = 1;
    s->sh_link = (unsigned)l->n_sections;
    whole_section(l, ".strtab", SHT_STRTAB, 0, text, strlen(name) + 2);
    s = begin_section(l, ".shstrtab", SHT_STRTAB, 0, 1);
    append(l, arena_copy(a, l->section_names, l->n_names), l->n_names);
    end_section(l, s);
}

static void set_header(const Link *l, Elf64_Ehdr *e, uint64_t sections)
{
    *e = *l->e;
    e->e_type = ET_DYN;
    e->e_phoff = sizeof *e;
    e->e_phentsize = sizeof(Elf64_Phdr);
    e->e_phnum = SEGMENTS;
    e->e_shoff = sections;
    e->e_shnum = (Elf64_Half)l->n_sections;
    e->e_shstrndx = (Elf64_Half)(l->n_sections - 1);
    memcpy(e + 1, l->program, sizeof l->program);
}

static bool build(Link *l)
{
    Elf64_Ehdr *e = arena_alloc(l->cx->arena, sizeof *e + sizeof l->program);
    append(l, e, sizeof *e + sizeof l->program);
    l->program[0] = (Elf64_Phdr){.p_type = PT_PHDR,
                                 .p_flags = PF_R,
                                 .p_offset = sizeof *e,
                                 .p_vaddr = sizeof *e,
                                 .p_paddr = sizeof *e,
                                 .p_filesz = sizeof l->program,
                                 .p_memsz = sizeof l->program,
                                 .p_align = 8};
    Elf64_Sym *symbol = add_lookup(l);
    set_addresses(l, l->size);
    if (!add_sections(l, false, symbol)) return false;
    segment(l, 1, PT_LOAD, PF_R, 0, l->page);
    l->gap += l->page;
    align_to(l, LINE);
    uint64_t code = l->size;
    if (!add_sections(l, true, symbol)) return false;
    segment(l, 2, PT_LOAD, PF_R | PF_X, code, l->page);
    l->gap += l->page;
    add_dynamic_segments(l);
    set_symbol(l, symbol);
    add_names(l, symbol);
    align_to(l, 8);
    set_header(l, e, l->size);
    append(l, l->table, (uint64_t)l->n_sections * sizeof *l->table);
    return true;
}

const Bytes *shared_object(Context *cx, const Bytes *object, const char *soname)
{
    Link *l = ARENA_NEW(cx->arena, Link);
    l->cx = cx;
    l->object = object;
    l->head = object->data;
    l->soname = soname;
    if (!is_object(l)) {
        wrong(l, "not an object", "");
        return NULL;
    }
    l->table = ARENA_ARRAY(cx->arena, Elf64_Shdr, l->e->e_shnum + 8);
    l->n_sections = 1;
    l->n_names = 1;
    return find_export(l) && only_constants(l) && build(l) ? l->first : NULL;
}
