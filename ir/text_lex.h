// The text being read: a place in its characters, and what stands there. After a failure nothing more is read (the
// place is the end, results are 0 or empty), so only loops need to look at `failed`.
#pragma once
#include "text.h"

typedef struct {
    Context *cx;
    Arena *arena;
    const char *at, *end;
    int line;
    bool failed;
    int64_t budget; // bytes that maps and splats may still expand to
} Lexer;

Lexer lex_new(Context *cx, const char *text, size_t size);

// Reports the reason with the line; false. Reports nothing after the first.
__attribute__((format(printf, 3, 4))) bool lex_fail(Lexer *x, const char *hint, const char *format, ...);

// What a short text may stand for in memory.
bool lex_spend(Lexer *x, int64_t bytes);

// ---- characters and words
static inline char lex_peek(const Lexer *x) { return x->at < x->end ? *x->at : '\0'; }
void lex_skip_blanks(Lexer *x);
void lex_skip_lines(Lexer *x); // ends of lines, too: between statements and inside brackets
bool lex_accept(Lexer *x, char c);
bool lex_expect(Lexer *x, char c);
bool lex_end_of_line(Lexer *x);
const char *lex_shown(Lexer *x); // what stands here, for messages

bool lex_word_is(Lexer *x, const char *word);
bool lex_accept_word(Lexer *x, const char *word);
const char *lex_word(Lexer *x, const char *what);
const char *lex_quoted(Lexer *x);
const char *lex_name(Lexer *x, const char *what); // bare or quoted; not a word of the language

// ---- numbers and types
int64_t lex_int(Lexer *x);
int64_t lex_count(Lexer *x, int64_t most, const char *what); // 0..most
double lex_double(Lexer *x);
uint64_t lex_element(Lexer *x, DType dtype); // its bits
bool lex_dtype_is(Lexer *x, DType *dtype);   // whether one stands here; it is not read
Type lex_type(Lexer *x);

// ---- constants (text_constant.c)
typedef struct {
    const char *dir, *name; // name: after a line bin "FILE"
    const char *data;       // contents, or NULL before a constant needs them
    size_t size;
} BinFile;

// A number, or numbers in brackets, with the shape that the brackets have. NULL after a failure.
const void *lex_literal(Lexer *x, DType dtype, Type *type);
// The data of `constant`: a literal, splat, or a place in the bin file.
const void *lex_constant(Lexer *x, Type type, BinFile *bin);
