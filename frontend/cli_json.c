// JSON on stdout, member by member: what check, verify and info print for other programs.
#include "cli_entry.h"

#include "cli.h"

#include <math.h>

// Bytes of the UTF-8 character that begins here (RFC 3629); 0: none does. A file's name may be any bytes, JSON not.
static size_t character_size(const unsigned char *c)
{
    unsigned first = c[0], second = c[1];
    size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    bool twice = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90); // a shorter form exists
    bool beyond = (first == 0xed && second >= 0xa0) || (first == 0xf4 && second >= 0x90);
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return twice || beyond ? 0 : n;
}

void json_string(FILE *out, const char *text)
{
    if (!text) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        size_t n = character_size(c);
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (n == 0)
            fputs("\\ufffd", out);
        else if (*c < 32)
            fprintf(out, "\\u%04x", *c);
        else
            fwrite(c, 1, n, out);
        c += n ? n : 1;
    }
    fputc('"', out);
}

void json_key(const char *key, bool first) { printf("%s\n  \"%s\": ", first ? "" : ",", key); }

void json_text(const char *key, const char *value)
{
    json_key(key, false);
    json_string(stdout, value);
}

void json_number(const char *key, double value)
{
    json_key(key, false);
    if (isfinite(value))
        printf("%.9g", value);
    else
        printf("null");
}

void json_count(const char *key, size_t value)
{
    json_key(key, false);
    printf("%zu", value);
}

void json_bool(const char *key, bool value)
{
    json_key(key, false);
    fputs(value ? "true" : "false", stdout);
}

void json_shape(const nfcc_value *v)
{
    putchar('[');
    for (unsigned i = 0; i < v->rank; i++) printf("%s%zu", i ? ", " : "", v->shape[i]);
    putchar(']');
}

void json_value(const nfcc_value *v)
{
    static const char *const types[] = {"float32", "float64", "int64", "bool"};
    printf("{\"name\": ");
    json_string(stdout, v->name);
    printf(", \"type\": \"%s\", \"shape\": ", types[v->type]);
    json_shape(v);
    putchar('}');
}

void json_values(const char *key, const nfcc_value *list, size_t n)
{
    json_key(key, false);
    putchar('[');
    for (size_t i = 0; i < n; i++) {
        if (i) fputs(", ", stdout);
        json_value(&list[i]);
    }
    putchar(']');
}

void json_entries(unsigned entries)
{
    const char *names[MOST_ENTRIES];
    int n = entry_names(entries, names);
    json_key("entries", false);
    putchar('[');
    for (int i = 0; i < n; i++) printf("%s\"%s\"", i ? ", " : "", names[i]);
    putchar(']');
}
