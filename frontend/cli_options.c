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

typedef struct {
    unsigned command;
    const char *name, *usage, *meaning;
} CommandHelp;

static const CommandHelp helps[] = {
    {CMD_COMPILE, "MODEL.onnx -o POLICY.so", "nfcc MODEL.onnx -o POLICY.so [options]",
     "Compile a flow exported to ONNX into a self-contained shared object, checked against a double-precision oracle.\n"
     "MODEL may also be a .nf file, as --stop-after writes them."},
    {CMD_RUN, "run",
     "nfcc run MODEL.onnx|POLICY.so ENTRY [NAME=FILE.npy ...] [--samples K] [--seed S] [--first-row R]\n"
     "                [--temperature T] [--threads N] [--backend llvm|openblas|interp] -o DIR",
     "Run one entry on NumPy files and write DIR/OUTPUT.npy for each output.\n"
     "Entries: to_latent (x -> z, log_det), to_event (z -> x, log_det), log_prob and score (x), sample,\n"
     "sample_and_log_prob, act, sample_best (the most likely of --samples K), and run (the graph's own inputs and\n"
     "outputs, by their own names).\n"
     "Inputs: x, z and the contexts by their ONNX names; a context itself called x or z is ctx.x or ctx.z. z=\n"
     "replaces the drawn noise. N is the most rows of any input, 0 where one has none; one row is shared.\n"
     "Outputs are [N, ...]; with --samples K [N, K, ...] ([K, ...] without contexts). / in a name is written _."},
    {CMD_CHECK, "check", "nfcc check MODEL.onnx [--explain] [--json]",
     "Say what the model is: roles, entries, and every problem found. --explain prints the inverse program."},
    {CMD_VERIFY, "verify", "nfcc verify MODEL.onnx [--inputs FILE.npz] [--reference FILE.npz] [--json]",
     "Check the model in double, the Plan in float32 and the compiled code bit for bit, on drawn or given rows.\n"
     "Keys of the files: contexts by their ONNX names, x, z (or noise), and for --reference also log_det, log_prob,\n"
     "score, to_event.x and to_event.log_det; the graph's own names of its inputs and outputs serve as well."},
    {CMD_BENCH, "bench",
     "nfcc bench MODEL.onnx [--backend LIST] [--entries LIST] [--rows LIST] [--samples K] [--threads LIST]\n"
     "                  [--seconds S] [--rate HZ | --cold] [--pin CPUS] [--json FILE] [--html FILE]",
     "Time the model's entries with each backend, and say how near to what this machine can do at most they come.\n"
     "Backends: llvm, openblas, interp (the interpreter in double). Entries: to_latent, to_event, log_prob, sample,\n"
     "sample_and_log_prob, sample_best, act, score, run; prepare (what depends on the contexts alone), and\n"
     "prepare+sample, prepare+act, ... for a whole decision: the others work on contexts that are prepared already.\n"
     "With several threads, preparing is a part of every call. --samples K: events for each of the rows."},
    {CMD_SELFTEST, "selftest", "nfcc selftest POLICY.so...",
     "Compare each file with its checksum, and the golden rows stored in it with what this machine computes, bit for\n"
     "bit; of an object (.o) the checksum alone. Exit code 3: a file was damaged or changed. 1: one cannot run here, "
     "or\n"
     "computes other bits."},
    {CMD_INFO, "info", "nfcc info POLICY.so [--json]",
     "Say what a compiled policy is, also one for another machine: shapes, entries, base, target, sizes, and whether\n"
     "the file is as it was written (exit code 3 if its checksum is another)."},
    {CMD_TEST, "test", "nfcc test DIR... [--backend llvm|openblas|interp] [--rtol R] [--atol A]",
     "Run ONNX backend tests, model.onnx and test_data_set_*/{input,output}_*.pb, through the entry run in float32.\n"
     "DIR is a case or a folder of cases. PASS, FAIL, or UNSUPPORTED with the reason; exit code 1 if one failed.\n"
     "interp: the Plan's interpreter, whose bits the llvm backend has. Inputs that set shapes are taken as constants."},
};

// The first of them.
static const char *command_name(unsigned commands)
{
    size_t i = 0;
    while (!(commands & helps[i].command)) i++;
    return helps[i].name;
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
        usage_error("%s is an option of 'nfcc %s'", row->spelling, command_name(row->commands));
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

// ---- help
static void print_options(FILE *out, unsigned command)
{
    fputs("\noptions:\n", out);
    for (int i = 0; i < OPT_COUNT; i++) {
        if (!(rows[i].commands & command)) continue;
        char left[64];
        snprintf(left, sizeof left, "%s %s", rows[i].spelling, rows[i].argument ? rows[i].argument : "");
        fprintf(out, "  %-28s %s\n", left, rows[i].meaning);
    }
}

static void print_commands(FILE *out)
{
    fputs("\nother commands (nfcc COMMAND --help):\n", out);
    for (size_t i = 1; i < sizeof helps / sizeof *helps; i++) fprintf(out, "  %s\n", helps[i].usage);
    fputs("\nexit codes: 0 done, 1 the model is not supported or not right, 2 usage, 3 input or output, 4 internal\n",
          out);
}

void options_help(FILE *out, unsigned command)
{
    for (size_t i = 0; i < sizeof helps / sizeof *helps; i++) {
        if (helps[i].command != command) continue;
        fprintf(out, "usage: %s\n\n%s\n", helps[i].usage, helps[i].meaning);
    }
    print_options(out, command);
    if (command == CMD_COMPILE) print_commands(out);
}
