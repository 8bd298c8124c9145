// Constants of the text: lists in brackets, splats, and places in the bin file beside the text, which is read whole
// when the first constant needs it.
#include "text_lex.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t MOST_BIN = 1LL << 33; // bytes

// A nested list being read: where we are, and the dims found so far (-1: not known).
typedef struct {
    DType dtype;
    uint64_t *items;
    int n, cap;
    int depth, rank;
    int64_t dim[MAX_RANK], count[MAX_RANK];
} List;

static bool list_open(Lexer *x, List *l)
{
    if (l->depth == MAX_RANK || (l->rank >= 0 && l->depth >= l->rank))
        return lex_fail(x, NULL, "brackets are nested too deep");
    l->count[l->depth++] = 0;
    return true;
}

static bool list_close(Lexer *x, List *l)
{
    int d = --l->depth;
    if (l->rank < 0) l->rank = d + 1;
    if (l->dim[d] < 0) l->dim[d] = l->count[d];
    if (l->dim[d] != l->count[d])
        return lex_fail(x, NULL, "lists of unequal length: %" PRId64 " and %" PRId64, l->dim[d], l->count[d]);
    if (d) l->count[d - 1]++;
    return true;
}

static bool list_item(Lexer *x, List *l)
{
    if (l->rank < 0) l->rank = l->depth;
    if (l->rank != l->depth) return lex_fail(x, NULL, "brackets are not nested evenly");
    uint64_t v = lex_element(x, l->dtype);
    if (x->failed) return false;
    ARENA_PUSH(x->arena, l->items, l->n, l->cap, v);
    if (l->depth) l->count[l->depth - 1]++;
    return true;
}

// A number, or numbers in brackets; l->rank and l->dim are its shape.
static bool list_read(Lexer *x, DType dtype, List *l)
{
    *l = (List){.dtype = dtype, .rank = -1};
    for (int i = 0; i < MAX_RANK; i++) l->dim[i] = -1;
    bool need = true; // an item or a list comes next, else ',' or ']'
    do {
        if (l->depth) lex_skip_lines(x);
        bool close = l->depth && (!need || !l->count[l->depth - 1]) && lex_accept(x, ']');
        if (close)
            need = !list_close(x, l);
        else if (!need)
            need = lex_expect(x, ',');
        else if (lex_accept(x, '['))
            list_open(x, l);
        else
            need = !list_item(x, l);
    } while (!x->failed && (l->depth || need));
    return !x->failed;
}

static void *list_data(Lexer *x, const List *l)
{
    size_t size = dtype_size(l->dtype);
    char *data = arena_array(x->arena, (size_t)l->n, size);
    for (int i = 0; i < l->n; i++) memcpy(data + (size_t)i * size, &l->items[i], size); // little-endian
    return data;
}

static Type list_type(const List *l)
{
    Type t = {.dtype = l->dtype, .rank = l->rank};
    for (int i = 0; i < l->rank; i++) t.dim[i] = l->dim[i] < 0 ? 0 : l->dim[i];
    return t;
}

// The list's shape must be the declared one; a flat list may stand for any shape of as many elements.
static const void *read_list_of(Lexer *x, Type type)
{
    List l;
    if (!list_read(x, type.dtype, &l)) return NULL;
    bool flat = l.rank == 1 && l.n == type_lanes(type);
    if (!flat && !type_equal(list_type(&l), type))
        lex_fail(x, NULL, "a list of shape %s for a constant of type %s", type_text(x->arena, list_type(&l)),
                 type_text(x->arena, type));
    return list_data(x, &l);
}

static const void *read_splat(Lexer *x, Type type)
{
    int64_t count = type_lanes(type);
    size_t size = dtype_size(type.dtype);
    uint64_t v = lex_element(x, type.dtype);
    if (x->failed || !lex_spend(x, count * (int64_t)size)) return NULL;
    char *data = arena_array(x->arena, (size_t)count, size);
    for (int64_t i = 0; i < count; i++) memcpy(data + (size_t)i * size, &v, size);
    return data;
}

static bool read_file(Lexer *x, BinFile *b, int file)
{
    struct stat info;
    if (fstat(file, &info) || !S_ISREG(info.st_mode))
        return lex_fail(x, NULL, "bin file '%s' is not a regular file", b->name);
    if (info.st_size > MOST_BIN) return lex_fail(x, NULL, "bin file '%s' is larger than 8 GiB", b->name);
    size_t size = (size_t)info.st_size, done = 0;
    char *data = arena_alloc(x->arena, size);
    while (done < size) {
        ssize_t n = read(file, data + done, size - done);
        if (n <= 0)
            return lex_fail(x, NULL, "bin file '%s' cannot be read: %s", b->name,
                            n ? strerror(errno) : "it is cut off");
        done += (size_t)n;
    }
    b->data = data;
    b->size = size;
    return true;
}

static bool open_bin(Lexer *x, BinFile *b)
{
    if (b->data) return true;
    if (!b->name) return lex_fail(x, NULL, "a constant in a bin file, but no line bin \"FILE\" before it");
    if (!b->dir) return lex_fail(x, NULL, "constants in bin files cannot be read here");
    const char *path = arena_format(x->arena, "%s/%s", b->dir, b->name);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return lex_fail(x, "the bin file was written beside the text; keep them together",
                        "bin file '%s' cannot be opened: %s", b->name, strerror(errno));
    bool done = read_file(x, b, file);
    close(file);
    return done;
}

static const void *read_bin(Lexer *x, BinFile *b, Type type)
{
    int64_t wanted = type_lanes(type) * (int64_t)dtype_size(type.dtype);
    lex_expect(x, '[');
    int64_t offset = lex_count(x, INT64_MAX, "offset");
    lex_expect(x, ',');
    int64_t size = lex_count(x, INT64_MAX, "length");
    lex_expect(x, ']');
    if (x->failed) return NULL;
    if (size != wanted) lex_fail(x, NULL, "length %" PRId64 ", but the constant has %" PRId64 " bytes", size, wanted);
    if (offset % 8) lex_fail(x, NULL, "offset %" PRId64 " is not a multiple of 8", offset);
    if (x->failed || !open_bin(x, b)) return NULL;
    if (type.dtype == T_BOOL && !lex_spend(x, size)) return NULL; // every one is looked at
    if (offset > (int64_t)b->size || size > (int64_t)b->size - offset)
        lex_fail(x, NULL, "bin[%" PRId64 ",%" PRId64 "] is outside the file of %zu bytes", offset, size, b->size);
    return x->failed ? NULL : b->data + offset;
}

const void *lex_literal(Lexer *x, DType dtype, Type *type)
{
    List l;
    if (!list_read(x, dtype, &l)) return NULL;
    *type = list_type(&l);
    return list_data(x, &l);
}

const void *lex_constant(Lexer *x, Type type, BinFile *bin)
{
    if (lex_accept_word(x, "splat")) return read_splat(x, type);
    if (lex_accept_word(x, "bin")) return read_bin(x, bin, type);
    lex_skip_blanks(x);
    if (x->end - x->at >= 3 && !memcmp(x->at, "...", 3)) {
        lex_fail(x, "write the text together with its bin file", "the constant's data was not written");
        return NULL;
    }
    return read_list_of(x, type);
}
