// The command line: what nfcc.c, cmd_*.c and cli_*.c share. A command is one function cmd_<name>(options) that returns
// an exit code; options are one table (cli_options.c); a compile in memory is one function (cli_build) used by every
// command.
#pragma once
#include "backend.h"
#include "frontend.h"
#include "nfcc.h"
#include "passes.h"

#include <stdio.h>

// Exit codes: 0 done, 1 the model is not supported or not right, 2 usage, 3 input or output, 4 internal.
enum { DONE, WRONG_MODEL, WRONG_USAGE, IO_FAILED, INTERNAL };

// ---- options (cli_options.c)
enum {
    CMD_COMPILE = 1 << 0,
    CMD_RUN = 1 << 1,
    CMD_CHECK = 1 << 2,
    CMD_VERIFY = 1 << 3,
    CMD_SELFTEST = 1 << 4,
    CMD_INFO = 1 << 5,
    CMD_BENCH = 1 << 6,
    CMD_TEST = 1 << 7,
    CMD_MODEL = CMD_COMPILE | CMD_RUN | CMD_CHECK | CMD_VERIFY | CMD_BENCH,
    CMD_ALL = CMD_MODEL | CMD_SELFTEST | CMD_INFO | CMD_TEST
};

// id, spelling, argument (NULL: a switch), commands that take it, meaning
#define CLI_OPTIONS(O)                                                                                                \
    O(output, "-o", "PATH", CMD_COMPILE | CMD_RUN, "where to write: a file, in place of a link (run: a folder)")      \
    O(emit, "--emit", "KINDS", CMD_COMPILE, "so, o, h, ll, ir; several with commas; so unless said")                  \
    O(target, "--target", "TRIPLE", CMD_COMPILE, "x86_64-linux-gnu or aarch64-linux-gnu; this machine's unless said") \
    O(cpu, "--cpu", "NAME", CMD_COMPILE | CMD_BENCH,                                                                  \
      "native, dispatch (v3 and v4), x86-64-v3, x86-64-v4, cortex-a72; the baseline (bench: native) unless said")     \
    O(name, "--name", "NAME", CMD_COMPILE, "the policy's name in info, symbols and the C header")                     \
    O(backend, "--backend", "NAME", CMD_COMPILE | CMD_RUN | CMD_VERIFY | CMD_BENCH | CMD_TEST,                        \
      "llvm or openblas; run, bench, test: or interp; bench: several with commas")                                    \
    O(event, "--event", "NAME", CMD_MODEL, "this input (or output) is data: the event x")                             \
    O(latent, "--latent", "NAME", CMD_MODEL, "this input (or output) is noise: the latent z")                         \
    O(context, "--context", "NAME", CMD_MODEL, "this input is a context; may be repeated")                            \
    O(log_det, "--log-det", "NAME", CMD_MODEL, "this output is the log-determinant")                                  \
    O(log_prob, "--log-prob", "NAME", CMD_MODEL, "this output is the log-probability")                                \
    O(neg_log_prob, "--neg-log-prob", "NAME", CMD_MODEL, "this output is the negative log-probability")               \
    O(base, "--base", "NAME", CMD_MODEL, "the base: normal, laplace, logistic, uniform or student_t:DF")              \
    O(normalize, "--normalize", "NAME=FILE.npz", CMD_MODEL,                                                           \
      "the graph is fed (c - mean) / std of context NAME; may be repeated")                                           \
    O(unnormalize, "--unnormalize", "FILE.npz", CMD_MODEL,                                                            \
      "the event is mean + std times the graph's: x and log_prob are in the caller's units")                          \
    O(score_context, "--score-context", NULL, CMD_MODEL,                                                              \
      "score also with respect to the contexts (nfcc_score_context)")                                                 \
    O(denoise, "--denoise", "SIGMA", CMD_MODEL,                                                                       \
      "act is one denoising step after the sample: x + SIGMA^2 d log_prob / d x")                                     \
    O(clip, "--clip", "LO,HI", CMD_MODEL, "the policy's output clip: act keeps every number in LO..HI")               \
    O(entries, "--entries", "LIST", CMD_MODEL,                                                                        \
      "entries that there must be (bench: to time), with commas; run alone: never derive")                            \
    O(max_condition, "--max-condition", "C", CMD_MODEL, "refuse matrices of a larger condition number (1e6)")         \
    O(max_error, "--max-error", "E", CMD_COMPILE | CMD_RUN | CMD_VERIFY | CMD_BENCH,                                  \
      "refuse a larger distance of float32 from double, relative to the value's scale (1e-2)")                        \
    O(max_graph_error, "--max-graph-error", "E", CMD_MODEL,                                                           \
      "accept a log_prob or log_det that is off by this from what the graph's structure gives (1e-5)")                \
    O(weights, "--weights", "TYPE", CMD_COMPILE | CMD_RUN | CMD_VERIFY | CMD_BENCH,                                   \
      "f32, or matrices in 16 bits: f16, or bf16, which also rounds what they multiply; bench: several with commas")  \
    O(no_verify, "--no-verify", NULL, CMD_COMPILE | CMD_RUN | CMD_BENCH, "skip the checks")                           \
    O(verify_inputs, "--verify-inputs", "FILE.npz", CMD_COMPILE, "rows to check with, instead of drawn ones")         \
    O(inputs, "--inputs", "FILE.npz", CMD_VERIFY, "rows to check with, instead of drawn ones")                        \
    O(reference, "--reference", "FILE.npz", CMD_COMPILE | CMD_VERIFY,                                                 \
      "rows of the framework that trained the model, compared with")                                                  \
    O(external_data, "--external-data", "DIR", CMD_MODEL, "where weights outside the model file may be read from")    \
    O(allow_nonfinite, "--allow-nonfinite", NULL, CMD_MODEL, "accept NaN and infinite weights")                       \
    O(no_batch, "--no-batch", NULL, CMD_MODEL, "inputs of fixed shape have no batch: the graph is one row as it is")  \
    O(rtol, "--rtol", "R", CMD_TEST, "allowed distance relative to the expected number (1e-3)")                       \
    O(atol, "--atol", "A", CMD_TEST, "allowed distance beside that (1e-7)")                                           \
    O(stop_after, "--stop-after", "PASS", CMD_COMPILE, "print the text form after this pass; with -o, write it")      \
    O(list_passes, "--list-passes", NULL, CMD_COMPILE, "print the passes in their order")                             \
    O(time, "--time", NULL, CMD_COMPILE, "print seconds per stage")                                                   \
    O(samples, "--samples", "K", CMD_RUN | CMD_BENCH, "draw K events per context row: outputs [N, K, ...]")           \
    O(seed, "--seed", "S", CMD_RUN | CMD_BENCH, "seed of the noise (0)")                                              \
    O(first_row, "--first-row", "R", CMD_RUN, "first row of the noise stream (0)")                                    \
    O(temperature, "--temperature", "T", CMD_RUN, "scale of the noise (1); 0: the deterministic action")              \
    O(run_threads, "--threads", "N", CMD_RUN, "threads that compute (1); 0: one per processor; the same bits")        \
    O(explain, "--explain", NULL, CMD_CHECK, "print the inverse program: rounds, rules, log-det terms")               \
    O(json, "--json", NULL, CMD_CHECK | CMD_VERIFY | CMD_INFO, "print JSON instead of text")                          \
    O(rows, "--rows", "LIST", CMD_BENCH, "context rows of a call, several with commas (1,8,64,1024)")                 \
    O(threads, "--threads", "LIST", CMD_BENCH, "threads of a call, several with commas (1)")                          \
    O(seconds, "--seconds", "S", CMD_BENCH, "how long each line is measured (1)")                                     \
    O(warmup, "--warmup", "S", CMD_BENCH, "how long it runs before that (0.2)")                                       \
    O(rate, "--rate", "HZ", CMD_BENCH, "one call each period, as a control loop does; tells missed deadlines")        \
    O(cold, "--cold", NULL, CMD_BENCH, "read other memory before every call, so that no cache holds the policy")      \
    O(pin, "--pin", "CPUS", CMD_BENCH, "run on these processors only, numbers with commas")                           \
    O(json_file, "--json", "FILE", CMD_BENCH, "write the results as JSON")                                            \
    O(html, "--html", "FILE", CMD_BENCH, "write a page with the table and plots")                                     \
    O(help, "--help", NULL, CMD_ALL, "this text")                                                                     \
    O(version, "--version", NULL, CMD_COMPILE, "print the version")

typedef enum {
#define CLI_OPTION_ID(id, spelling, argument, commands, meaning) OPT_##id,
    CLI_OPTIONS(CLI_OPTION_ID)
#undef CLI_OPTION_ID
        OPT_COUNT
} OptionId;

typedef struct {
    Arena *arena;
    const char *value[OPT_COUNT]; // NULL: not given; a switch: ""
    const char *const *contexts;  // every --context
    int n_contexts;
    const char *const *normalize; // every --normalize
    int n_normalize;
    const char *const *args; // what is not an option, in order
    int n_args;
} Options;

// False after a message on stderr (usage).
bool options_parse(Options *o, Arena *arena, unsigned command, int argc, char **argv);
void options_print(FILE *out, unsigned command);
bool option_double(const Options *o, OptionId id, double *value); // as given, or *value unchanged; false: not a number
bool option_u64(const Options *o, OptionId id, uint64_t *value);
const char *option_spelling(OptionId id);
const char *option_of_compile(const Options *o); // one that is given and says how a model is compiled; NULL: none
// "did you mean 'NEAR'?" for a misspelt word among n; "" if none is near.
const char *nearest_word(Arena *arena, const char *word, const char *const *words, int n);
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2))); // prints, returns WRONG_USAGE

// ---- a compile in memory (cli_build.c)
typedef struct {
    Arena *arena;
    Diag diag;
    Context cx;
    const Options *options;
    bool progress; // stderr is a terminal
    bool shown;    // a progress line is on it
    bool internal; // an error is nfcc's own fault: exit code 4
    const char *stage;
    double start, stage_start; // seconds
} Session;

typedef struct {
    unsigned char hash[32];
    const Module *imported, *derived, *lowered;
    Flow flow;
    Plan *plan;
    CheckReport report;
    bool verified, checked_double, checked_float; // not --no-verify; and the file held what the check needs
    double reference_error;                       // worst distance from --reference, relative to scale; < 0: none given
    const char *reference_worst;
    size_t reference_rows;
} Build;

Session *session_new(const Options *o, const char *file);
void session_stage(Session *s, const char *stage); // progress line and --time
int session_finish(Session *s, int code);          // prints diagnostics, frees, returns the exit code
int session_code(const Session *s);                // DONE, or the code of the errors reported
double session_seconds(const Session *s);
// Before anything is computed: the file can be written, and is not what is read. A stream takes what is no library.
bool session_may_write(Session *s, const char *path, bool streams);
extern const char *const weight_names[3];                                         // by WeightType
bool weight_named(const char *text, WeightType *type);                            // false: no such type
bool flow_options(Session *s, FlowOptions *out);                                  // false after a usage message
const Module *build_units(Session *s, const Module *m);                           // cli_units.c: the caller's units
const Module *build_import(Session *s, const char *path, unsigned char hash[32]); // ONNX or .nf
Plan *build_plan(Session *s, const Build *b, const char *name,
                 WeightType type); // of b's lowered module; NULL: reported
// Import, passes, checks, plan, golden rows, of the command's first argument. name: the policy's, or NULL: the file's;
// inputs, reference: npz files or NULL. False after reported errors.
bool build_run(Session *s, const char *name, bool verify, const char *inputs, const char *reference, Build *out);
size_t file_head(const char *path, void *head, size_t size); // bytes read; 0 of a pipe, where none may ever come
const char *policy_name(Arena *arena, const char *path);     // a C identifier made of the file's stem
// The bytes of large constants go: the Plan has its copies. For a compile that is about to write its policy.
void build_forget_weights(Build *b);
// Machine code of a plan as a .so at `path`, opened, compared with the interpreter bit for bit, then renamed.
bool build_shared(Session *s, const Build *b, const char *path, bool verify, size_t *native_rows);
enum { NATIVE_ROWS = 4 };
// Every entry of the compiled policy against the Plan's interpreter on so many rows: bit for bit when tolerance is 0,
// else within that part of each output's scale (backends that do not promise the bits).
bool cli_native_check(Context *cx, const Plan *plan, const char *path, double tolerance);
// A library's product has other bits than the Plan's: then closeness is what can be asked for.
double native_tolerance(const Options *o);
const Backend *backend_of(Session *s);   // NULL after a usage message
bool target_of(Session *s, Target *out); // false after a usage message
// The same under TMPDIR, opened, and no file any more. NULL, and *code, after a message.
nfcc_policy *build_opened(Session *s, const Build *b, bool verify, size_t *native_rows, int *code);
// Made there and checked, no more.
bool build_checked(Session *s, const Build *b, size_t *native_rows);
nfcc_policy *open_policy(Arena *arena, const char *path, int *code); // NULL after a message

// ---- printing
void print_flow(FILE *out, const Session *s, const Build *b); // direction, base, event, contexts, entries
void print_checks(FILE *out, const Session *s, const Build *b, size_t native_rows); // verified: rows and errors
// A port as callers of libnfcc see it; "obs [8]", "a [2, 3] int64, b [1]" or "none".
nfcc_value port_value(const Port *port);
const nfcc_value *port_values(Arena *arena, const Port *ports, const int *which, int n); // which: NULL: the first n
const char *value_text(Arena *arena, const nfcc_value *v);
const char *values_text(Arena *arena, const nfcc_value *list, size_t n);
void print_line(FILE *out, const char *label, const char *format, ...) __attribute__((format(printf, 3, 4)));
unsigned plan_entries(const Plan *plan); // NFCC_HAS_*

// ---- JSON (cli_json.c)
void json_string(FILE *out, const char *text);
void json_key(const char *key, bool first);
void json_text(const char *key, const char *value);
void json_number(const char *key, double value);
void json_count(const char *key, size_t value);
void json_bool(const char *key, bool value);
void json_shape(const nfcc_value *v);
void json_value(const nfcc_value *v);
void json_values(const char *key, const nfcc_value *list, size_t n);
void json_entries(unsigned entries);

// ---- commands (cli_commands.c)
typedef struct {
    const char *name;
    unsigned bit; // CMD_*
    int least_args, most_args;
    int (*run)(const Options *);
    const char *usage, *options, *meaning;
} Command;

enum { N_COMMANDS = 8, MANY_ARGS = 1 << 20 };
extern const Command cli_commands[N_COMMANDS]; // the first: compile, which needs no name
void command_help(FILE *out, const Command *command);

int cmd_compile(const Options *o);
int cmd_run(const Options *o);
int cmd_check(const Options *o);
int cmd_verify(const Options *o);
int cmd_selftest(const Options *o);
int cmd_info(const Options *o);
int cmd_test(const Options *o);
int cmd_bench(const Options *o);
