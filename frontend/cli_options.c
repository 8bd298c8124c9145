// Options: one table (cli.h) makes the parser, the help text and the spelling suggestions. A value is kept as the user
// wrote it; whoever needs a number asks option_double or option_u64, which report what is wrong with it.
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *spelling, *argument;
    unsigned commands;
    const char *meaning;
} Row;

static const Row rows[] = {
#define CLI_OPTION_ROW(id, spelling, argument, commands, meaning) {spelling, argument, commands, meaning},
    CLI_OPTIONS(CLI_OPTION_ROW)
#undef CLI_OPTION_ROW
};

const char *option_spelling(OptionId id) { return rows[id].spelling; }

const char *option_of_compile(const Options *o)
{
    for (int i = 0; i < OPT_COUNT; i++)
        if (i != OPT_output && o->value[i] && rows[i].commands & CMD_COMPILE) return rows[i].spelling;
    return NULL;
}

int usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("nfcc: error: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nnfcc: nfcc --help lists commands and options\n", stderr);
    va_end(args);
    return WRONG_USAGE;
}

static int least(int a, int b) { return a < b ? a : b; }

// Edit distance of two short words, where neighbours that changed places count as one edit; long words are as far as
// can be.
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    int n = (int)strlen(a), m = (int)strlen(b), d[LONGEST + 1][LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (int i = 0; i <= n; i++)
        for (int j = 0; j <= m; j++) {
            d[i][j] = i + j;
            if (!i || !j) continue;
            d[i][j] = least(least(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[n][m];
}

const char *nearest_word(Arena *arena, const char *word, const char *const *words, int n)
{
    int best = -1, best_distance = 1 + (int)strlen(word) / 2;
    for (int i = 0; i < n; i++) {
        int d = distance(word, words[i]);
        if (d < best_distance) best = i, best_distance = d;
    }
    return best < 0 ? "" : arena_format(arena, "; did you mean '%s'?", words[best]);
}

static bool refuse_unknown(Arena *arena, unsigned command, const char *word)
{
    const char *words[OPT_COUNT];
    int n = 0;
    for (int i = 0; i < OPT_COUNT; i++)
        if (rows[i].commands & command) words[n++] = rows[i].spelling;
    bool output = !strncmp(word, "--out", 5);
    usage_error("unknown option '%.200s'%s", word,
                output ? "; did you mean '-o'?" : nearest_word(arena, word, words, n));
    return false;
}

// That of the first command which takes an option.
static const char *usage_of(unsigned commands)
{
    int i = 0;
    while (!(commands & cli_commands[i].bit)) i++;
    return cli_commands[i].usage;
}

// Of options that are spelled alike the one that this command takes.
static int find_option(unsigned command, const char *word, size_t length)
{
    int found = -1;
    for (int i = 0; i < OPT_COUNT; i++) {
        if (strlen(rows[i].spelling) != length || strncmp(rows[i].spelling, word, length)) continue;
        if (found < 0 || (rows[i].commands & command)) found = i;
    }
    return found < 0 && length == 2 && !strncmp(word, "-h", 2) ? OPT_help : found;
}

// `--json --html page.html`: a value was forgotten. --json=--html takes it at its word.
static bool is_option(unsigned command, const char *word)
{
    return word[0] == '-' && find_option(command, word, strlen(word)) >= 0;
}

typedef struct {
    const char **contexts, **normalize, **args;
    int n_contexts, contexts_cap, n_normalize, normalize_cap, n_args, args_cap;
} Lists;

static bool take_option(Options *o, Lists *l, unsigned command, char **argv, int argc, int *i)
{
    const char *word = argv[*i], *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    int id = find_option(command, word, length);
    if (id < 0) return refuse_unknown(o->arena, command, arena_format(o->arena, "%.*s", (int)length, word));
    const Row *row = &rows[id];
    if (!(row->commands & command)) {
        usage_error("%s is an option of '%s'", row->spelling, usage_of(row->commands));
        return false;
    }
    bool follows = row->argument && *i + 1 < argc && !is_option(command, argv[*i + 1]);
    const char *value = equals ? equals + 1 : follows ? argv[++*i] : row->argument ? NULL : "";
    if (!value || (equals && !row->argument)) {
        usage_error(row->argument ? "%s needs a value: %s %s" : "%s takes no value", row->spelling, row->spelling,
                    row->argument);
        return false;
    }
    if (id == OPT_context) {
        ARENA_PUSH(o->arena, l->contexts, l->n_contexts, l->contexts_cap, value);
    } else if (id == OPT_normalize) {
        const char *file = strrchr(value, '=');
        if (!file || file == value || !file[1]) {
            usage_error("--normalize %.200s: NAME=FILE.npz is wanted, as in --normalize obs=obs_stats.npz", value);
            return false;
        }
        ARENA_PUSH(o->arena, l->normalize, l->n_normalize, l->normalize_cap, value);
    } else if (o->value[id] && *value && strcmp(o->value[id], value)) {
        usage_error("%s is given twice: '%.200s' and '%.200s'", row->spelling, o->value[id], value);
        return false;
    }
    o->value[id] = value;
    return true;
}

bool options_parse(Options *o, Arena *arena, unsigned command, int argc, char **argv)
{
    Lists l = {0};
    *o = (Options){.arena = arena};
    bool only_args = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_args && !strcmp(word, "--")) {
            only_args = true;
        } else if (!only_args && word[0] == '-' && word[1]) {
            if (!take_option(o, &l, command, argv, argc, &i)) return false;
        } else {
            ARENA_PUSH(arena, l.args, l.n_args, l.args_cap, word);
        }
    }
    o->contexts = l.contexts, o->n_contexts = l.n_contexts;
    o->normalize = l.normalize, o->n_normalize = l.n_normalize;
    o->args = l.args, o->n_args = l.n_args;
    return true;
}

bool option_double(const Options *o, OptionId id, double *value)
{
    if (!o->value[id]) return true;
    char *end;
    errno = 0;
    double v = strtod(o->value[id], &end);
    if (end == o->value[id] || *end || errno || !(v >= 0)) {
        usage_error("%s %.200s: a number >= 0 is wanted", rows[id].spelling, o->value[id]);
        return false;
    }
    *value = v;
    return true;
}

bool option_u64(const Options *o, OptionId id, uint64_t *value)
{
    const char *text = o->value[id];
    if (!text) return true;
    char *end;
    errno = 0;
    bool hex = text[0] == '0' && (text[1] | 32) == 'x'; // 010 is ten
    unsigned long long v = strtoull(text, &end, hex ? 16 : 10);
    if (end == text || *end || errno || strchr(text, '-')) {
        usage_error("%s %.200s: a whole number from 0 to 2^64 - 1 is wanted", rows[id].spelling, text);
        return false;
    }
    *value = v;
    return true;
}

void options_print(FILE *out, unsigned command)
{
    fputs("\noptions:\n", out);
    for (int i = 0; i < OPT_COUNT; i++) {
        if (!(rows[i].commands & command)) continue;
        char left[64];
        snprintf(left, sizeof left, "%s %s", rows[i].spelling, rows[i].argument ? rows[i].argument : "");
        fprintf(out, "  %-28s %s\n", left, rows[i].meaning);
    }
}
