// JSON on stdout, member by member: what check, verify and info print for other programs.
#include "cli_entry.h"

#include "cli.h"

#include <math.h>

void json_string(FILE *out, const char *text)
{
    if (!text) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 32)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
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

void json_entries(unsigned entries)
{
    const char *names[MOST_ENTRIES];
    int n = entry_names(entries, names);
    json_key("entries", false);
    putchar('[');
    for (int i = 0; i < n; i++) printf("%s\"%s\"", i ? ", " : "", names[i]);
    putchar(']');
}
