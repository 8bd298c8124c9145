// See text_lex.h. Numbers are read by the C library from a copy of their characters; what may stand in a name or number
// is said by text.h and number_text.
#include "text_lex.h"
#include "float_bits.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NUMBER = 64 }; // characters of a number
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
static const int64_t EXPANSION = 1 << 16; // a fuzzer shall not spend its time on filling memory
#else
static const int64_t EXPANSION = 1 << 30; // bytes beyond some multiple of the text
#endif

bool lex_fail(Lexer *x, const char *hint, const char *format, ...)
{
    if (x->failed) return false;
    x->failed = true;
    char reason[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    diag_error(x->cx, NULL, hint, "line %d: %s", x->line, reason);
    x->at = x->end;
    return false;
}

Lexer lex_new(Context *cx, const char *text, size_t size)
{
    Lexer x = {.cx = cx, .arena = cx->arena, .at = text, .end = text + size, .line = 1};
    if (size > INT32_MAX) lex_fail(&x, NULL, "more than 2 GiB of text");
    x.budget = EXPANSION + 64 * (int64_t)size;
    return x;
}

bool lex_spend(Lexer *x, int64_t bytes)
{
    x->budget -= bytes;
    return x->budget >= 0 ? true : lex_fail(x, NULL, "maps and splats of the text expand to too many bytes");
}

// ---- characters and words
void lex_skip_blanks(Lexer *x)
{
    while (lex_peek(x) == ' ' || lex_peek(x) == '\t' || lex_peek(x) == '\r') x->at++;
    if (lex_peek(x) == '#')
        while (x->at < x->end && *x->at != '\n') x->at++;
}

void lex_skip_lines(Lexer *x)
{
    for (lex_skip_blanks(x); lex_peek(x) == '\n'; lex_skip_blanks(x)) {
        x->at++;
        x->line++;
    }
}

bool lex_accept(Lexer *x, char c)
{
    lex_skip_blanks(x);
    if (lex_peek(x) != c || x->at >= x->end) return false;
    x->at++;
    return true;
}

const char *lex_shown(Lexer *x)
{
    if (x->at >= x->end) return "the end";
    if (*x->at == '\n') return "the end of the line";
    return isprint((unsigned char)*x->at) ? arena_format(x->arena, "'%c'", *x->at)
                                          : arena_format(x->arena, "character %d", (unsigned char)*x->at);
}

bool lex_expect(Lexer *x, char c)
{
    if (lex_accept(x, c)) return true;
    return lex_fail(x, NULL, "expected '%c', found %s", c, lex_shown(x));
}

bool lex_end_of_line(Lexer *x)
{
    lex_skip_blanks(x);
    if (x->at >= x->end) return !x->failed;
    return *x->at == '\n' ? true : lex_fail(x, NULL, "expected the end of the line, found %s", lex_shown(x));
}

// The bare word here, without reading it; its size is 0 if there is none.
static size_t word_here(Lexer *x)
{
    lex_skip_blanks(x);
    const char *p = x->at;
    if (p < x->end && text_bare_start(*p))
        while (p < x->end && text_bare_more(*p)) p++;
    return (size_t)(p - x->at);
}

bool lex_word_is(Lexer *x, const char *word)
{
    size_t size = word_here(x);
    return size == strlen(word) && !memcmp(x->at, word, size);
}

bool lex_accept_word(Lexer *x, const char *word)
{
    if (!lex_word_is(x, word)) return false;
    x->at += strlen(word);
    return true;
}

const char *lex_word(Lexer *x, const char *what)
{
    size_t size = word_here(x);
    char *word = arena_alloc(x->arena, size + 1);
    if (!size) lex_fail(x, NULL, "expected %s, found %s", what, lex_shown(x));
    memcpy(word, x->at, x->failed ? 0 : size);
    if (!x->failed) x->at += size;
    return word;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The character of the escape after a backslash.
static char read_escape(Lexer *x)
{
    char c = lex_peek(x);
    if (c == '"' || c == '\\') {
        x->at++;
        return c;
    }
    int high = c == 'x' && x->end - x->at >= 3 ? hex_digit(x->at[1]) : -1;
    int low = high >= 0 ? hex_digit(x->at[2]) : -1;
    if (low < 0 || high * 16 + low == 0) {
        lex_fail(x, NULL, "an escape is \\\", \\\\ or \\xHH (not 00)");
        return '\0';
    }
    x->at += 3;
    return (char)(high * 16 + low);
}

const char *lex_quoted(Lexer *x)
{
    if (!lex_expect(x, '"')) return "";
    const char *close = x->at;
    while (close < x->end && *close != '"' && *close != '\n') close += *close == '\\' && close + 1 < x->end ? 2 : 1;
    if (close >= x->end || *close != '"') {
        lex_fail(x, NULL, "the quoted name does not end on its line");
        return "";
    }
    char *text = arena_alloc(x->arena, (size_t)(close - x->at) + 1), *out = text;
    while (!x->failed && x->at < close) {
        char c = *x->at++;
        if (c == '\0' || c == '\n') lex_fail(x, NULL, "a zero byte or line end in a quoted name");
        *out++ = c == '\\' ? read_escape(x) : c;
    }
    if (!x->failed) x->at = close + 1;
    return text;
}

const char *lex_name(Lexer *x, const char *what)
{
    lex_skip_blanks(x);
    if (lex_peek(x) == '"') {
        const char *name = lex_quoted(x);
        if (!*name) lex_fail(x, NULL, "a name is empty");
        return name;
    }
    size_t size = word_here(x);
    if (size && text_reserved(x->at, size))
        lex_fail(x, NULL, "'%.*s' is a word of the language; as a name it is written in quotes", (int)size, x->at);
    return lex_word(x, what);
}

// ---- numbers

// Copies the characters of a number to `text`: a sign, digits, letters, points that are not "..".
static bool number_text(Lexer *x, char text[MOST_NUMBER + 1])
{
    int n = 0;
    lex_skip_lines(x);
    for (const char *p = x->at; p < x->end && n <= MOST_NUMBER; p++) {
        bool sign = (*p == '-' || *p == '+') && (!n || strchr("eEpP", p[-1]));
        bool point = *p == '.' && (p + 1 >= x->end || p[1] != '.');
        if (!sign && !point && !isalnum((unsigned char)*p)) break;
        if (n == MOST_NUMBER) return lex_fail(x, NULL, "a number of more than %d characters", MOST_NUMBER);
        text[n++] = *p;
    }
    text[n] = '\0';
    return n ? true : lex_fail(x, NULL, "expected a number, found %s", lex_shown(x));
}

int64_t lex_int(Lexer *x)
{
    char text[MOST_NUMBER + 1], *end = text;
    if (!number_text(x, text)) return 0;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*end || errno) {
        lex_fail(x, NULL, "'%s' is not an integer of 64 bits", text);
        return 0;
    }
    x->at += strlen(text);
    return v;
}

int64_t lex_count(Lexer *x, int64_t most, const char *what)
{
    int64_t v = lex_int(x);
    if (!x->failed && (v < 0 || v > most)) lex_fail(x, NULL, "%s %" PRId64 " is not in 0..%" PRId64, what, v, most);
    return x->failed ? 0 : v;
}

// The bits of a NaN in parentheses, or the usual ones.
static uint64_t read_nan(Lexer *x, bool single)
{
    if (lex_peek(x) != '(') return single ? 0x7fc00000 : 0x7ff8000000000000;
    char text[MOST_NUMBER + 1], *end = text;
    x->at++;
    if (!number_text(x, text)) return 0;
    errno = 0;
    uint64_t bits = strtoull(text, &end, 16), exponent = single ? 0x7f800000 : 0x7ff0000000000000;
    uint64_t all = single ? 0xffffffff : UINT64_MAX, fraction = bits & (single ? 0x7fffff : 0xfffffffffffff);
    if (*end || errno || bits > all || (bits & exponent) != exponent || !fraction)
        lex_fail(x, NULL, "'%s' are not the bits of a NaN", text);
    else
        x->at += strlen(text);
    lex_expect(x, ')');
    return bits;
}

// A float's or double's bits.
static uint64_t read_real(Lexer *x, bool single)
{
    char text[MOST_NUMBER + 1], *end = text;
    if (!number_text(x, text)) return 0;
    float f = 0;
    double d = 0;
    if (!strcmp(text, "nan")) {
        x->at += 3;
        return read_nan(x, single);
    }
    if (single)
        f = strtof(text, &end), d = (double)f;
    else
        d = strtod(text, &end);
    bool infinite = !strcmp(text, "inf") || !strcmp(text, "-inf");
    if (*end || isnan(d) || (isinf(d) && !infinite))
        lex_fail(x, NULL, "'%s' is not a number of type %s", text, single ? "f32" : "f64");
    else
        x->at += strlen(text);
    return single ? word_of(f) : bits_of(d);
}

double lex_double(Lexer *x) { return double_of(read_real(x, false)); }

uint64_t lex_element(Lexer *x, DType dtype)
{
    switch (dtype) {
    case T_F32: return read_real(x, true);
    case T_F64: return read_real(x, false);
    case T_I64: return (uint64_t)lex_int(x);
    case T_BOOL: return (uint64_t)lex_count(x, 1, "bool");
    }
    return 0;
}

bool lex_dtype_is(Lexer *x, DType *dtype)
{
    for (int i = 0; i < 4; i++)
        if (lex_word_is(x, dtype_name((DType)i))) {
            *dtype = (DType)i;
            return true;
        }
    return false;
}

Type lex_type(Lexer *x)
{
    Type t = {0};
    if (!lex_dtype_is(x, &t.dtype)) lex_fail(x, NULL, "expected a type such as f32[1,6], found %s", lex_shown(x));
    if (x->failed) return t;
    x->at += strlen(dtype_name(t.dtype));
    lex_expect(x, '[');
    while (!x->failed && !lex_accept(x, ']')) {
        if (t.rank) lex_expect(x, ',');
        if (t.rank == MAX_RANK) lex_fail(x, NULL, "more than %d dims", MAX_RANK);
        int64_t dim = lex_count(x, MAX_LANES, "dim");
        if (!x->failed) t.dim[t.rank++] = dim;
    }
    const char *why = x->failed ? NULL : type_check(x->arena, t);
    if (why) lex_fail(x, NULL, "%s", why);
    return t;
}
