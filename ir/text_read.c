// Text -> Module: reads what text_write.c writes, and what people write by hand (grammar: ir/README.md).
//
// One pass over the characters, no recursion. Nodes are made as they are written, without the builder's folding and
// sharing, and every line is checked against the rules of form, so an error can say its line. The text is not trusted:
// what a short text may expand to (maps, splats) is limited by `budget`, all else is bounded by the text's size.
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_NUMBER = 64 }; // characters of a number
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
static const int64_t EXPANSION = 1 << 16; // a fuzzer shall not spend its time on filling memory
#else
static const int64_t EXPANSION = 1 << 30; // bytes beyond some multiple of the text
#endif
static const int64_t MOST_BIN = 1LL << 33; // bytes

typedef struct {
    Context *cx;
    Arena *arena;
    const char *at, *end;
    int line;
    bool failed;
    int64_t budget;
    const char *dir, *bin_name;
    const char *bin; // contents of the bin file, or NULL before a constant needs it
    size_t bin_size;

    // the function being read
    NameTable *named, *numbered; // label -> Node
    const Node **nodes;
    int n, cap;
    const Node **inputs;
    int n_inputs, cap_inputs;
    Output *outputs;
    int n_outputs, cap_outputs;

    // the module
    const Function **functions;
    int n_functions, cap_functions;
    Property *properties;
    int n_properties, cap_properties;
    Port *ports[2]; // in, out
    int n_ports[2], cap_ports[2];
    Stage stage;
} Reader;

// ---- characters and words. After a failure nothing more is read, so only loops need to look at `failed`.

__attribute__((format(printf, 3, 4))) static bool fail(Reader *r, const char *hint, const char *format, ...)
{
    if (r->failed) return false;
    r->failed = true;
    char reason[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    diag_error(r->cx, NULL, hint, "line %d: %s", r->line, reason);
    r->at = r->end;
    return false;
}

static char peek(const Reader *r) { return r->at < r->end ? *r->at : '\0'; }

static void skip_blanks(Reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\r') r->at++;
    if (peek(r) == '#')
        while (r->at < r->end && *r->at != '\n') r->at++;
}

// Blanks, comments and ends of lines: between statements and inside brackets.
static void skip_lines(Reader *r)
{
    for (skip_blanks(r); peek(r) == '\n'; skip_blanks(r)) {
        r->at++;
        r->line++;
    }
}

static bool accept(Reader *r, char c)
{
    skip_blanks(r);
    if (peek(r) != c || r->at >= r->end) return false;
    r->at++;
    return true;
}

static const char *shown(Reader *r)
{
    if (r->at >= r->end) return "the end";
    if (*r->at == '\n') return "the end of the line";
    return isprint((unsigned char)*r->at) ? arena_format(r->arena, "'%c'", *r->at)
                                          : arena_format(r->arena, "character %d", (unsigned char)*r->at);
}

static bool expect(Reader *r, char c)
{
    if (accept(r, c)) return true;
    return fail(r, NULL, "expected '%c', found %s", c, shown(r));
}

static bool end_of_line(Reader *r)
{
    skip_blanks(r);
    if (r->at >= r->end) return !r->failed;
    return *r->at == '\n' ? true : fail(r, NULL, "expected the end of the line, found %s", shown(r));
}

// The bare word here, without reading it; its size is 0 if there is none.
static size_t word_here(Reader *r)
{
    skip_blanks(r);
    const char *p = r->at;
    if (p < r->end && text_bare_start(*p))
        while (p < r->end && text_bare_more(*p)) p++;
    return (size_t)(p - r->at);
}

static bool word_is(Reader *r, const char *word)
{
    size_t size = word_here(r);
    return size == strlen(word) && !memcmp(r->at, word, size);
}

static bool accept_word(Reader *r, const char *word)
{
    if (!word_is(r, word)) return false;
    r->at += strlen(word);
    return true;
}

static const char *read_word(Reader *r, const char *what)
{
    size_t size = word_here(r);
    char *word = arena_alloc(r->arena, size + 1);
    if (!size) fail(r, NULL, "expected %s, found %s", what, shown(r));
    memcpy(word, r->at, r->failed ? 0 : size);
    if (!r->failed) r->at += size;
    return word;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The character of the escape after a backslash.
static char read_escape(Reader *r)
{
    char c = peek(r);
    if (c == '"' || c == '\\') {
        r->at++;
        return c;
    }
    int high = c == 'x' && r->end - r->at >= 3 ? hex_digit(r->at[1]) : -1;
    int low = high >= 0 ? hex_digit(r->at[2]) : -1;
    if (low < 0 || high * 16 + low == 0) {
        fail(r, NULL, "an escape is \\\", \\\\ or \\xHH (not 00)");
        return '\0';
    }
    r->at += 3;
    return (char)(high * 16 + low);
}

static const char *read_quoted(Reader *r)
{
    if (!expect(r, '"')) return "";
    const char *close = r->at;
    while (close < r->end && *close != '"' && *close != '\n') close += *close == '\\' && close + 1 < r->end ? 2 : 1;
    if (close >= r->end || *close != '"') {
        fail(r, NULL, "the quoted name does not end on its line");
        return "";
    }
    char *text = arena_alloc(r->arena, (size_t)(close - r->at) + 1), *out = text;
    while (!r->failed && r->at < close) {
        char c = *r->at++;
        if (c == '\0' || c == '\n') fail(r, NULL, "a zero byte or line end in a quoted name");
        *out++ = c == '\\' ? read_escape(r) : c;
    }
    if (!r->failed) r->at = close + 1;
    return text;
}

static const char *read_name(Reader *r, const char *what)
{
    skip_blanks(r);
    if (peek(r) == '"') {
        const char *name = read_quoted(r);
        if (!*name) fail(r, NULL, "a name is empty");
        return name;
    }
    size_t size = word_here(r);
    if (size && text_reserved(r->at, size))
        fail(r, NULL, "'%.*s' is a word of the language; as a name it is written in quotes", (int)size, r->at);
    return read_word(r, what);
}

// ---- numbers

// Copies the characters of a number to `text`: a sign, digits, letters, points that are not "..".
static bool number_text(Reader *r, char text[MOST_NUMBER + 1])
{
    int n = 0;
    skip_lines(r);
    for (const char *p = r->at; p < r->end && n <= MOST_NUMBER; p++) {
        bool sign = (*p == '-' || *p == '+') && (!n || strchr("eEpP", p[-1]));
        bool point = *p == '.' && (p + 1 >= r->end || p[1] != '.');
        if (!sign && !point && !isalnum((unsigned char)*p)) break;
        if (n == MOST_NUMBER) return fail(r, NULL, "a number of more than %d characters", MOST_NUMBER);
        text[n++] = *p;
    }
    text[n] = '\0';
    return n ? true : fail(r, NULL, "expected a number, found %s", shown(r));
}

static int64_t read_int(Reader *r)
{
    char text[MOST_NUMBER + 1], *end = text;
    if (!number_text(r, text)) return 0;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*end || errno) {
        fail(r, NULL, "'%s' is not an integer of 64 bits", text);
        return 0;
    }
    r->at += strlen(text);
    return v;
}

static int64_t read_count(Reader *r, int64_t most, const char *what)
{
    int64_t v = read_int(r);
    if (!r->failed && (v < 0 || v > most)) fail(r, NULL, "%s %" PRId64 " is not in 0..%" PRId64, what, v, most);
    return r->failed ? 0 : v;
}

// The bits of a NaN in parentheses, or the usual ones.
static uint64_t read_nan(Reader *r, bool single)
{
    if (peek(r) != '(') return single ? 0x7fc00000 : 0x7ff8000000000000;
    char text[MOST_NUMBER + 1], *end = text;
    r->at++;
    if (!number_text(r, text)) return 0;
    errno = 0;
    uint64_t bits = strtoull(text, &end, 16), exponent = single ? 0x7f800000 : 0x7ff0000000000000;
    uint64_t all = single ? 0xffffffff : UINT64_MAX, fraction = bits & (single ? 0x7fffff : 0xfffffffffffff);
    if (*end || errno || bits > all || (bits & exponent) != exponent || !fraction)
        fail(r, NULL, "'%s' are not the bits of a NaN", text);
    else
        r->at += strlen(text);
    expect(r, ')');
    return bits;
}

// A float's or double's bits.
static uint64_t read_real(Reader *r, bool single)
{
    char text[MOST_NUMBER + 1], *end = text;
    if (!number_text(r, text)) return 0;
    float f = 0;
    double d = 0;
    if (!strcmp(text, "nan")) {
        r->at += 3;
        return read_nan(r, single);
    }
    if (single)
        f = strtof(text, &end), d = (double)f;
    else
        d = strtod(text, &end);
    bool infinite = !strcmp(text, "inf") || !strcmp(text, "-inf");
    if (*end || isnan(d) || (isinf(d) && !infinite))
        fail(r, NULL, "'%s' is not a number of type %s", text, single ? "f32" : "f64");
    else
        r->at += strlen(text);
    uint64_t bits = 0;
    memcpy(&bits, single ? (void *)&f : (void *)&d, single ? sizeof f : sizeof d);
    return bits;
}

static uint64_t read_element(Reader *r, DType dtype)
{
    switch (dtype) {
    case T_F32: return read_real(r, true);
    case T_F64: return read_real(r, false);
    case T_I64: return (uint64_t)read_int(r);
    case T_BOOL: return (uint64_t)read_count(r, 1, "bool");
    }
    return 0;
}

static bool dtype_here(Reader *r, DType *dtype)
{
    for (int i = 0; i < 4; i++)
        if (word_is(r, dtype_name((DType)i))) {
            *dtype = (DType)i;
            return true;
        }
    return false;
}

static Type read_type(Reader *r)
{
    Type t = {0};
    if (!dtype_here(r, &t.dtype)) fail(r, NULL, "expected a type such as f32[1,6], found %s", shown(r));
    if (r->failed) return t;
    r->at += strlen(dtype_name(t.dtype));
    expect(r, '[');
    while (!r->failed && !accept(r, ']')) {
        if (t.rank) expect(r, ',');
        if (t.rank == MAX_RANK) fail(r, NULL, "more than %d dims", MAX_RANK);
        int64_t dim = read_count(r, MAX_LANES, "dim");
        if (!r->failed) t.dim[t.rank++] = dim;
    }
    const char *why = r->failed ? NULL : type_check(r->arena, t);
    if (why) fail(r, NULL, "%s", why);
    return t;
}

// ---- constants

// What short text may stand for in memory.
static bool spend(Reader *r, int64_t bytes)
{
    r->budget -= bytes;
    return r->budget >= 0 ? true : fail(r, NULL, "maps and splats of the text expand to too many bytes");
}

// A nested list being read: where we are, and the dims found so far (-1: not known).
typedef struct {
    DType dtype;
    uint64_t *items;
    int n, cap;
    int depth, rank;
    int64_t dim[MAX_RANK], count[MAX_RANK];
} List;

static bool list_open(Reader *r, List *l)
{
    if (l->depth == MAX_RANK || (l->rank >= 0 && l->depth >= l->rank))
        return fail(r, NULL, "brackets are nested too deep");
    l->count[l->depth++] = 0;
    return true;
}

static bool list_close(Reader *r, List *l)
{
    int d = --l->depth;
    if (l->rank < 0) l->rank = d + 1;
    if (l->dim[d] < 0) l->dim[d] = l->count[d];
    if (l->dim[d] != l->count[d])
        return fail(r, NULL, "lists of unequal length: %" PRId64 " and %" PRId64, l->dim[d], l->count[d]);
    if (d) l->count[d - 1]++;
    return true;
}

static bool list_item(Reader *r, List *l)
{
    if (l->rank < 0) l->rank = l->depth;
    if (l->rank != l->depth) return fail(r, NULL, "brackets are not nested evenly");
    uint64_t v = read_element(r, l->dtype);
    if (r->failed) return false;
    ARENA_PUSH(r->arena, l->items, l->n, l->cap, v);
    if (l->depth) l->count[l->depth - 1]++;
    return true;
}

// A number, or numbers in brackets; l->rank and l->dim are its shape.
static bool read_list(Reader *r, DType dtype, List *l)
{
    *l = (List){.dtype = dtype, .rank = -1};
    for (int i = 0; i < MAX_RANK; i++) l->dim[i] = -1;
    bool need = true; // an item or a list comes next, else ',' or ']'
    do {
        if (l->depth) skip_lines(r);
        bool close = l->depth && (!need || !l->count[l->depth - 1]) && accept(r, ']');
        if (close)
            need = !list_close(r, l);
        else if (!need)
            need = expect(r, ',');
        else if (accept(r, '['))
            list_open(r, l);
        else
            need = !list_item(r, l);
    } while (!r->failed && (l->depth || need));
    return !r->failed;
}

static void *pack(Reader *r, const List *l)
{
    size_t size = dtype_size(l->dtype);
    char *data = arena_array(r->arena, (size_t)l->n, size);
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
static const void *read_list_of(Reader *r, Type type)
{
    List l;
    if (!read_list(r, type.dtype, &l)) return NULL;
    bool flat = l.rank == 1 && l.n == type_lanes(type);
    if (!flat && !type_equal(list_type(&l), type))
        fail(r, NULL, "a list of shape %s for a constant of type %s", type_text(r->arena, list_type(&l)),
             type_text(r->arena, type));
    return pack(r, &l);
}

static const void *read_splat(Reader *r, Type type)
{
    int64_t count = type_lanes(type);
    size_t size = dtype_size(type.dtype);
    uint64_t v = read_element(r, type.dtype);
    if (r->failed || !spend(r, count * (int64_t)size)) return NULL;
    char *data = arena_array(r->arena, (size_t)count, size);
    for (int64_t i = 0; i < count; i++) memcpy(data + (size_t)i * size, &v, size);
    return data;
}

static bool read_file(Reader *r, int file)
{
    struct stat info;
    if (fstat(file, &info) || !S_ISREG(info.st_mode))
        return fail(r, NULL, "bin file '%s' is not a regular file", r->bin_name);
    if (info.st_size > MOST_BIN) return fail(r, NULL, "bin file '%s' is larger than 8 GiB", r->bin_name);
    size_t size = (size_t)info.st_size, done = 0;
    char *data = arena_alloc(r->arena, size);
    while (done < size) {
        ssize_t n = read(file, data + done, size - done);
        if (n <= 0)
            return fail(r, NULL, "bin file '%s' cannot be read: %s", r->bin_name,
                        n ? strerror(errno) : "it is cut off");
        done += (size_t)n;
    }
    r->bin = data;
    r->bin_size = size;
    return true;
}

static bool open_bin(Reader *r)
{
    if (r->bin) return true;
    if (!r->bin_name) return fail(r, NULL, "a constant in a bin file, but no line bin \"FILE\" before it");
    if (!r->dir) return fail(r, NULL, "constants in bin files cannot be read here");
    const char *path = arena_format(r->arena, "%s/%s", r->dir, r->bin_name);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return fail(r, "the bin file was written beside the text; keep them together",
                    "bin file '%s' cannot be opened: %s", r->bin_name, strerror(errno));
    bool done = read_file(r, file);
    close(file);
    return done;
}

static const void *read_bin(Reader *r, Type type)
{
    int64_t wanted = type_lanes(type) * (int64_t)dtype_size(type.dtype);
    expect(r, '[');
    int64_t offset = read_count(r, INT64_MAX, "offset");
    expect(r, ',');
    int64_t size = read_count(r, INT64_MAX, "length");
    expect(r, ']');
    if (r->failed) return NULL;
    if (size != wanted) fail(r, NULL, "length %" PRId64 ", but the constant has %" PRId64 " bytes", size, wanted);
    if (offset % 8) fail(r, NULL, "offset %" PRId64 " is not a multiple of 8", offset);
    if (r->failed || !open_bin(r)) return NULL;
    if (type.dtype == T_BOOL && !spend(r, size)) return NULL; // every one is looked at
    if (offset > (int64_t)r->bin_size || size > (int64_t)r->bin_size - offset)
        fail(r, NULL, "bin[%" PRId64 ",%" PRId64 "] is outside the file of %zu bytes", offset, size, r->bin_size);
    return r->failed ? NULL : r->bin + offset;
}

static const void *read_data(Reader *r, Type type)
{
    if (accept_word(r, "splat")) return read_splat(r, type);
    if (accept_word(r, "bin")) return read_bin(r, type);
    skip_blanks(r);
    if (r->end - r->at >= 3 && !memcmp(r->at, "...", 3)) {
        fail(r, "write the text together with its bin file", "the constant's data was not written");
        return NULL;
    }
    return read_list_of(r, type);
}

// ---- values

// A label as written: a name and number (1 where none is written), or %number with name NULL.
typedef struct {
    const char *name;
    int64_t number;
} Label;

static Label read_label(Reader *r, const char *what)
{
    if (accept(r, '%')) return (Label){NULL, read_count(r, INT64_MAX, "value number")};
    Label l = {read_name(r, what), 1};
    if (peek(r) == '~') {
        r->at++;
        l.number = read_count(r, INT64_MAX, "name number");
        if (!r->failed && l.number < 2) fail(r, NULL, "name numbers start at ~2");
    }
    return l;
}

static const char *label_text(Reader *r, Label l)
{
    if (!l.name) return arena_format(r->arena, "%%%" PRId64, l.number);
    return l.number > 1 ? arena_format(r->arena, "%.200s~%" PRId64, l.name, l.number) : l.name;
}

static void **label_slot(Reader *r, Label l)
{
    return l.name ? names_slot(r->named, l.name, l.number) : names_slot(r->numbered, "", l.number);
}

static const Origin *origin_of(Reader *r, Op op, Label l)
{
    Origin *o = ARENA_NEW(r->arena, Origin);
    *o = (Origin){
        .node = label_text(r, l), .op = op_info(op)->name, .source = arena_format(r->arena, "line %d", r->line)};
    return o;
}

static bool add_node(Reader *r, Node *n)
{
    const char *why = r->failed ? NULL : node_check(r->arena, n);
    if (why) fail(r, NULL, "%s: %s", op_info(n->op)->name, why);
    if (r->failed) return false;
    n->id = r->n;
    ARENA_PUSH(r->arena, r->nodes, r->n, r->cap, n);
    return true;
}

static void define(Reader *r, Label l, Node *n)
{
    if (r->failed) return;
    void **slot = label_slot(r, l);
    if (*slot) fail(r, NULL, "'%s' is defined twice", label_text(r, l));
    n->name = l.name;
    n->origin = origin_of(r, n->op, l);
    if (!add_node(r, n)) return;
    *slot = n;
    if (n->op == OP_input) ARENA_PUSH(r->arena, r->inputs, r->n_inputs, r->cap_inputs, n);
}

static const Node *use(Reader *r, Label l)
{
    if (r->failed) return NULL;
    const Node *n = *label_slot(r, l);
    if (!n) fail(r, NULL, "'%s' is not defined before this line", label_text(r, l));
    return n;
}

static bool literal_here(Reader *r, DType *dtype)
{
    *dtype = T_F32;
    if (dtype_here(r, dtype)) {
        r->at += strlen(dtype_name(*dtype));
        return true;
    }
    char c = peek(r);
    return c == '[' || c == '-' || isdigit((unsigned char)c) || word_is(r, "inf") || word_is(r, "nan");
}

static const Node *read_operand(Reader *r)
{
    DType dtype;
    if (accept_word(r, "_")) return NULL;
    if (!literal_here(r, &dtype)) return use(r, read_label(r, "an operand"));
    List l;
    skip_blanks(r);
    if (!read_list(r, dtype, &l)) return NULL;
    Node *n = ARENA_NEW(r->arena, Node);
    *n = (Node){.op = OP_constant, .type = list_type(&l), .data = pack(r, &l)};
    n->origin = origin_of(r, OP_constant, (Label){NULL, r->n});
    return add_node(r, n) ? n : NULL;
}

static void read_operands(Reader *r, Node *n)
{
    const Node **in = NULL;
    int cap = 0;
    skip_blanks(r);
    if (r->at >= r->end || peek(r) == '\n' || peek(r) == '{') return;
    do {
        const Node *operand = read_operand(r);
        if (r->failed) return;
        ARENA_PUSH(r->arena, in, n->n_in, cap, operand);
    } while (accept(r, ','));
    n->in = in;
}

// ---- maps

// A, A..B or A..B:STEP, then *COUNT.
typedef struct {
    int64_t first, step, length, times;
} Item;

static Item read_item(Reader *r)
{
    Item it = {read_count(r, INT32_MAX, "lane"), 0, 1, 1};
    skip_blanks(r);
    if (r->end - r->at >= 2 && r->at[0] == '.' && r->at[1] == '.') {
        r->at += 2;
        int64_t last = read_count(r, INT32_MAX, "lane");
        it.step = last < it.first ? -1 : 1;
        if (accept(r, ':')) it.step = read_int(r);
        int64_t way = last - it.first;
        if (!r->failed &&
            (!it.step || it.step > INT32_MAX || it.step < -INT32_MAX || way % it.step || way / it.step < 0))
            fail(r, NULL, "steps of %" PRId64 " do not lead from %" PRId64 " to %" PRId64, it.step, it.first, last);
        if (!r->failed) it.length = way / it.step + 1;
    }
    if (accept(r, '*')) it.times = read_count(r, INT32_MAX, "repeat");
    return it;
}

static void read_map(Reader *r, Node *n)
{
    int64_t lanes = type_lanes(n->type), at = 0;
    expect(r, '[');
    if (!spend(r, lanes * (int64_t)sizeof *n->map)) return;
    int32_t *map = ARENA_ARRAY(r->arena, int32_t, lanes);
    skip_lines(r);
    bool more = !accept(r, ']');
    while (more && !r->failed) {
        Item it = read_item(r);
        if (!r->failed && it.length * it.times > lanes - at)
            fail(r, NULL, "the map has more entries than the result's %" PRId64 " lanes", lanes);
        for (int64_t t = 0; !r->failed && t < it.times; t++)
            for (int64_t k = 0; k < it.length; k++) map[at++] = (int32_t)(it.first + k * it.step);
        skip_lines(r);
        more = accept(r, ',');
        if (!more) expect(r, ']');
        if (more) skip_lines(r);
    }
    if (!r->failed && at != lanes)
        fail(r, NULL, "the map has %" PRId64 " entries, the result %" PRId64 " lanes", at, lanes);
    n->map = map;
}

// ---- statements and functions

static bool read_op(Reader *r, Op *op)
{
    const char *word = read_word(r, "an op");
    for (int i = 0; i < OP_COUNT; i++)
        if (!strcmp(op_info((Op)i)->name, word)) {
            *op = (Op)i;
            return true;
        }
    return fail(r, "the ops are listed in ir/ops.def", "unknown op '%.100s'", word);
}

static void read_alpha(Reader *r, Node *n)
{
    if (!accept_word(r, "alpha")) fail(r, NULL, "the only attribute is alpha");
    expect(r, '=');
    uint64_t bits = read_real(r, false);
    memcpy(&n->alpha, &bits, sizeof bits);
    expect(r, '}');
}

// LABEL: TYPE = OP ...
static void read_statement(Reader *r)
{
    Node *n = ARENA_NEW(r->arena, Node);
    Label label = read_label(r, "a value, return or '}'");
    expect(r, ':');
    n->type = read_type(r);
    expect(r, '=');
    if (r->failed || !read_op(r, &n->op)) return;
    if (n->op == OP_constant)
        n->data = read_data(r, n->type);
    else
        read_operands(r, n);
    skip_blanks(r);
    if (n->op == OP_move && peek(r) == '[') read_map(r, n);
    if (n->op == OP_move && !r->failed) n->base = move_bases(r->arena, n->n_in, n->in);
    if (accept(r, '{')) read_alpha(r, n);
    if (end_of_line(r)) define(r, label, n);
}

static void read_inputs(Reader *r)
{
    expect(r, '(');
    skip_lines(r);
    bool more = !accept(r, ')');
    while (more && !r->failed) {
        Node *n = ARENA_NEW(r->arena, Node);
        n->op = OP_input;
        Label label = read_label(r, "an input");
        expect(r, ':');
        n->type = read_type(r);
        define(r, label, n);
        skip_lines(r);
        more = accept(r, ',');
        if (!more) expect(r, ')');
        skip_lines(r);
    }
}

// NAME=LABEL, or a value under its own name.
static void read_output(Reader *r)
{
    Label label = read_label(r, "an output");
    const char *name = label.name;
    if (accept(r, '=')) {
        if (!name || label.number > 1) fail(r, NULL, "'%s' is no name for an output", label_text(r, label));
        label = read_label(r, "a value");
    }
    if (!r->failed && !name)
        fail(r, NULL, "output %s needs a name: NAME=%s", label_text(r, label), label_text(r, label));
    Output o = {name, use(r, label)};
    if (!r->failed) ARENA_PUSH(r->arena, r->outputs, r->n_outputs, r->cap_outputs, o);
}

static void read_outputs(Reader *r)
{
    skip_blanks(r);
    if (peek(r) != '\n' && r->at < r->end) {
        do read_output(r);
        while (!r->failed && accept(r, ','));
    }
    end_of_line(r);
    skip_lines(r);
    expect(r, '}');
}

static void start_function(Reader *r)
{
    r->named = names_new(r->arena);
    r->numbered = names_new(r->arena);
    r->nodes = r->inputs = NULL;
    r->outputs = NULL;
    r->n = r->cap = r->n_inputs = r->cap_inputs = r->n_outputs = r->cap_outputs = 0;
}

static void finish_function(Reader *r, const char *name)
{
    const Node *at = NULL;
    Function *f = ARENA_NEW(r->arena, Function);
    *f = (Function){name, r->nodes, r->n, r->inputs, r->n_inputs, r->outputs, r->n_outputs};
    const char *why = function_check(r->arena, f, &at);
    if (why) fail(r, NULL, "func @%s: %s", name, why);
    ARENA_PUSH(r->arena, r->functions, r->n_functions, r->cap_functions, f);
}

static void read_function(Reader *r)
{
    start_function(r);
    expect(r, '@');
    const char *name = read_name(r, "the function's name");
    read_inputs(r);
    expect(r, '{');
    end_of_line(r);
    for (skip_lines(r); !r->failed && !accept_word(r, "return"); skip_lines(r)) {
        if (r->at >= r->end) fail(r, NULL, "func @%s has no return", name);
        if (!r->failed) read_statement(r);
    }
    read_outputs(r);
    end_of_line(r);
    if (!r->failed) finish_function(r, name);
}

// ---- the module

static void read_stage(Reader *r)
{
    if (!accept_word(r, "stage")) fail(r, NULL, "expected stage=NAME");
    expect(r, '=');
    const char *word = read_word(r, "a stage");
    for (int i = 0; i <= STAGE_LOWERED; i++)
        if (!r->failed && !strcmp(TEXT_STAGES[i], word)) {
            r->stage = (Stage)i;
            return;
        }
    fail(r, "stages: imported, normal, derived, fused, lowered", "unknown stage '%.100s'", word);
}

static void read_property(Reader *r)
{
    Property p = {.key = read_quoted(r)};
    p.value = read_quoted(r);
    if (!r->failed) ARENA_PUSH(r->arena, r->properties, r->n_properties, r->cap_properties, p);
}

static void read_port(Reader *r)
{
    bool out = accept_word(r, "out");
    if (!out && !accept_word(r, "in")) fail(r, NULL, "expected in or out");
    Port p = {.name = read_quoted(r), .batch_axis = -1};
    p.type = read_type(r);
    if (accept_word(r, "batch")) p.batch_axis = (int)read_count(r, p.type.rank, "batch axis");
    if (!r->failed) ARENA_PUSH(r->arena, r->ports[out], r->n_ports[out], r->cap_ports[out], p);
}

static void read_bin_name(Reader *r)
{
    const char *name = read_quoted(r);
    if (r->failed) return;
    if (r->bin_name) fail(r, NULL, "a second bin file");
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        fail(r, "the bin file lies beside the text", "bin file '%.200s' is not a plain file name", name);
    r->bin_name = name;
}

static void read_line(Reader *r)
{
    bool func = accept_word(r, "func");
    if (func)
        read_function(r);
    else if (accept_word(r, "module"))
        read_stage(r);
    else if (accept_word(r, "bin"))
        read_bin_name(r);
    else if (accept_word(r, "property"))
        read_property(r);
    else if (accept_word(r, "port"))
        read_port(r);
    else
        fail(r, NULL, "expected module, bin, property, port or func, found %s", shown(r));
    end_of_line(r);
}

static Module *finish_module(Reader *r)
{
    Module *m = ARENA_NEW(r->arena, Module);
    *m = (Module){.stage = r->stage,
                  .functions = r->functions,
                  .n_functions = r->n_functions,
                  .properties = r->properties,
                  .n_properties = r->n_properties,
                  .inputs = r->ports[0],
                  .outputs = r->ports[1],
                  .n_inputs = r->n_ports[0],
                  .n_outputs = r->n_ports[1]};
    const char *why = module_check(r->arena, m);
    if (why) fail(r, NULL, "%s", why);
    return r->failed ? NULL : m;
}

Module *module_read(Context *cx, const char *text, size_t size, const char *dir)
{
    Reader r = {.cx = cx, .arena = cx->arena, .at = text, .end = text + size, .line = 1, .dir = dir};
    if (size > INT32_MAX) fail(&r, NULL, "more than 2 GiB of text");
    r.budget = EXPANSION + 64 * (int64_t)size;
    for (skip_lines(&r); !r.failed && r.at < r.end; skip_lines(&r)) read_line(&r);
    return r.failed ? NULL : finish_module(&r);
}
