// nfcc MODEL.onnx -o POLICY.so: compile, write what --emit asks for, print what was found.
#include "cli_entry.h"

#include "abi.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { KIND_SO = 1, KIND_O = 2, KIND_H = 4, KIND_LL = 8, KIND_IR = 16 };

static const struct {
    const char *name, *extension;
    unsigned bit;
} kinds[] = {
    {"so", ".so", KIND_SO}, {"o", ".o", KIND_O}, {"h", ".h", KIND_H}, {"ll", ".ll", KIND_LL}, {"ir", ".nf", KIND_IR}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

// ---- options
static bool parse_emit(Arena *arena, const char *text, unsigned *bits)
{
    char *list = arena_string(arena, text ? text : "so"), *save = NULL;
    for (char *word = strtok_r(list, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
        unsigned bit = 0;
        for (int i = 0; i < N_KINDS; i++)
            if (!strcmp(kinds[i].name, word)) bit = kinds[i].bit;
        if (!bit) {
            usage_error("--emit %.100s: the kinds are so, o, h, ll, ir", word);
            return false;
        }
        *bits |= bit;
    }
    if (!*bits) usage_error("--emit: a list of so, o, h, ll, ir is wanted");
    return *bits != 0;
}

// -o names the file when one kind is asked for; of several it gives the stem.
static const char *path_of(Arena *arena, const char *output, unsigned all, unsigned bit)
{
    if (all == bit) return output;
    const char *slash = strrchr(output, '/'), *dot = strrchr(slash ? slash : output, '.');
    size_t stem = strlen(output);
    const char *extension = "";
    for (int i = 0; i < N_KINDS; i++) {
        if (dot && !strcmp(dot, kinds[i].extension)) stem = (size_t)(dot - output);
        if (kinds[i].bit == bit) extension = kinds[i].extension;
    }
    return arena_format(arena, "%.*s%s", (int)stem, output, extension);
}

enum { MOST_NAME = 199 }; // bytes

static bool valid_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return n && !name[n] && n <= MOST_NAME && !(*name >= '0' && *name <= '9');
}

static const char *name_of(Session *s)
{
    const char *given = s->options->value[OPT_name], *output = s->options->value[OPT_output];
    if (!given) return policy_name(s->arena, output ? output : s->options->args[0]);
    if (valid_name(given)) return given;
    usage_error("--name '%.100s': at most %d letters, digits and _ are wanted, a letter first, as in C", given,
                MOST_NAME);
    return NULL;
}

// ---- text form
// Long constants go into PATH.bin, of bin_size bytes; 0: there are none.
static bool write_module(Session *s, const Module *m, const char *path, size_t *bin_size)
{
    char *text = NULL, *bin = NULL;
    size_t text_size = 0;
    const char *bin_path = arena_format(s->arena, "%s.bin", path), *slash = strrchr(bin_path, '/');
    FILE *t = open_memstream(&text, &text_size), *b = open_memstream(&bin, bin_size);
    if (t && b) module_write(m, t, b, slash ? slash + 1 : bin_path);
    bool ok = t && b && !fclose(t) && !fclose(b);
    if (!ok) diag_io_error(&s->cx, NULL, "%s: cannot be written", path);
    ok = ok && (*bin_size == 0 || write_file(&s->cx, bin_path, bin, *bin_size)) &&
         write_file(&s->cx, path, text, text_size);
    free(text);
    free(bin);
    return ok;
}

// A pass is merge-linear to its user and merge_linear in C.
static const char *dashed(Arena *arena, const char *name)
{
    char *text = arena_string(arena, name);
    for (char *c = text; *c; c++)
        if (*c == '_') *c = '-';
    return text;
}

static bool known_pass(Arena *arena, const char *name)
{
    int n;
    const PassInfo *list = pass_list(&n);
    const char **names = ARENA_ARRAY(arena, const char *, n + 2);
    for (int i = 0; i < n; i++) {
        names[i] = dashed(arena, list[i].name);
        if (!strcmp(dashed(arena, name), names[i])) return true;
    }
    names[n] = "plan", names[n + 1] = "import";
    if (!strcmp(name, "plan") || !strcmp(name, "import")) return true;
    usage_error("--stop-after %.100s: no such pass%s; nfcc --list-passes prints them", name,
                nearest_word(arena, name, names, n + 2));
    return false;
}

static int print_or_write(Session *s, const Module *m)
{
    const char *path = s->options->value[OPT_output];
    size_t bin_size = 0;
    if (!m) return WRONG_MODEL;
    if (!path) module_write(m, stdout, NULL, NULL);
    return !path || write_module(s, m, path, &bin_size) ? DONE : IO_FAILED;
}

static int print_or_write_plan(Session *s, const Plan *plan)
{
    const char *path = s->options->value[OPT_output];
    char *text = NULL;
    size_t size = 0;
    FILE *out = path ? open_memstream(&text, &size) : stdout;
    if (!plan || !out) return WRONG_MODEL;
    plan_print(plan, out);
    bool ok = !path || (!fclose(out) && write_file(&s->cx, path, text, size));
    free(text);
    return ok ? DONE : IO_FAILED;
}

static int stop_after(Session *s, const char *pass)
{
    FlowOptions f;
    Flow flow = {0};
    unsigned char hash[32] = {0};
    bool import = !strcmp(pass, "import"), plan = !strcmp(pass, "plan");
    PipelineOptions pipeline = {plan ? NULL : pass, s->options->value[OPT_time] != NULL};
    const char *path = s->options->value[OPT_output];
    if (!known_pass(s->arena, pass) || !flow_options(s, &f)) return WRONG_USAGE;
    if (path && !session_may_write(s, path, true)) return IO_FAILED;
    const Module *m = build_import(s, s->options->args[0], hash);
    if (m && !import) m = passes_run(&s->cx, m, &f, &pipeline, &flow, NULL);
    if (!plan || !m) return print_or_write(s, m);
    const char *name = policy_name(s->arena, s->options->args[0]);
    return print_or_write_plan(s, plan_build(&s->cx, m, &flow, name, hash, false));
}

static int list_passes(Arena *arena)
{
    int n;
    const PassInfo *list = pass_list(&n);
    printf("%-18s %s\n", "import", "the exported graph in the IR's ops");
    for (int i = 0; i < n; i++) printf("%-18s %s\n", dashed(arena, list[i].name), list[i].meaning);
    printf("%-18s %s\n", "plan", "numbered buffers and plain steps: what a backend sees");
    return DONE;
}

// ---- writing
typedef struct {
    unsigned kinds;
    const char *output, *name;
    Target target;
    const Backend *backend;
    size_t native_rows, bin_size;
} Job;

static bool may_write_all(Session *s, const Job *j)
{
    bool ok = true;
    for (int i = 0; i < N_KINDS; i++)
        if (j->kinds & kinds[i].bit)
            ok &= session_may_write(s, path_of(s->arena, j->output, j->kinds, kinds[i].bit), kinds[i].bit != KIND_SO);
    return ok;
}

static bool write_object(Session *s, const Build *b, const Job *j)
{
    const char *ll = NULL;
    const char *symbol = arena_format(s->arena, "nfcc_model_%s", j->name); // as emit_header declares it
    const Object *object = j->backend->emit(&s->cx, b->plan, &j->target, symbol, true, j->kinds & KIND_LL ? &ll : NULL);
    if (!object) return false;
    bool ok = true;
    if (j->kinds & KIND_O) ok = write_bytes(&s->cx, path_of(s->arena, j->output, j->kinds, KIND_O), object->bytes);
    if (j->kinds & KIND_LL && !ll)
        diag_error(&s->cx, NULL, "use --backend llvm", "--emit ll: backend %s makes no LLVM IR", j->backend->name);
    if (ok && ll) ok = write_file(&s->cx, path_of(s->arena, j->output, j->kinds, KIND_LL), ll, strlen(ll));
    return ok && !s->diag.errors;
}

static bool write_header(Session *s, const Build *b, const Job *j)
{
    const char *text = emit_header(&s->cx, b->plan, j->name);
    return text && write_file(&s->cx, path_of(s->arena, j->output, j->kinds, KIND_H), text, strlen(text));
}

// Of the rest what may fail goes first: a header without its object, or beside an older one, is a trap.
static bool write_all(Session *s, Build *b, Job *j)
{
    const char *ir = path_of(s->arena, j->output, j->kinds, KIND_IR);
    if (j->kinds & KIND_IR && !write_module(s, b->lowered, ir, &j->bin_size)) return false;
    build_forget_weights(b);
    const char *so = path_of(s->arena, j->output, j->kinds, KIND_SO);
    if (j->kinds & KIND_SO && !build_shared(s, b, so, b->verified, &j->native_rows)) return false;
    if (j->kinds & (KIND_O | KIND_LL) && !write_object(s, b, j)) return false;
    return !(j->kinds & KIND_H) || write_header(s, b, j);
}

// ---- the block of lines
static const char *bytes_text(Arena *arena, double n)
{
    if (n < 1e4) return arena_format(arena, "%.0f bytes", n);
    return n < 1e7 ? arena_format(arena, "%.1f KB", n / 1e3) : arena_format(arena, "%.1f MB", n / 1e6);
}

static double weight_bytes(Session *s, const Plan *plan)
{
    int n;
    const PlanMatrix *matrices = plan_matrices(s->arena, plan, &n);
    double bytes = 4.0 * (double)plan->weight_lanes;
    for (int i = 0; i < n; i++) bytes -= 2.0 * (double)matrices[i].lanes;
    return bytes;
}

static void print_sizes(Session *s, const Build *b, const Job *j)
{
    for (int i = 0; i < N_KINDS; i++) {
        struct stat st;
        if (!(j->kinds & kinds[i].bit)) continue;
        const char *path = path_of(s->arena, j->output, j->kinds, kinds[i].bit);
        if (stat(path, &st)) continue;
        const char *size = bytes_text(s->arena, (double)st.st_size);
        if (kinds[i].bit == KIND_SO)
            size = arena_format(s->arena, "%s, weights %s", size, bytes_text(s->arena, weight_bytes(s, b->plan)));
        if (kinds[i].bit == KIND_IR && j->bin_size)
            size = arena_format(s->arena, "%s, weights in %s.bin, %s", size, path,
                                bytes_text(s->arena, (double)j->bin_size));
        print_line(stdout, "written", "%s (%s)", path, size);
    }
}

// As it can be pasted into a shell.
static const char *shell_word(Arena *arena, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+:,@%=";
    const char *text = "'";
    if (*word && !word[strspn(word, plain)]) return word;
    for (const char *c = word; *c; c++) text = arena_format(arena, *c == '\'' ? "%s'\\''" : "%s%c", text, *c);
    return arena_format(arena, "%s'", text);
}

static const char *next_command(Session *s, const Build *b, const Job *j)
{
    const char *path = path_of(s->arena, j->output, j->kinds, KIND_SO), *inputs = "";
    const Flow *f = &b->flow;
    bool sample = f->is_flow && plan_entries(b->plan) & NFCC_HAS_SAMPLE;
    const char *entry = sample ? "sample" : f->is_flow ? "log_prob" : "run";
    if (!(j->kinds & KIND_SO)) return NULL;
    if (!target_runs_here(&j->target, b->plan->weight_type, b->plan->tiled))
        return arena_format(s->arena,
                            "nfcc_selftest of nfcc.h (or nfcc selftest %s) where it will run: its code could not "
                            "be run here",
                            shell_word(s->arena, path));
    int n = f->is_flow ? f->n_contexts : b->imported->n_inputs;
    for (int i = 0; i < n; i++) {
        const char *name = b->imported->inputs[f->is_flow ? f->contexts[i] : i].name;
        const char *lead = f->is_flow && (!strcmp(name, "x") || !strcmp(name, "z")) ? "ctx." : "";
        const char *input = arena_format(s->arena, "%s%s=%s.npy", lead, name, policy_name(s->arena, name));
        inputs = arena_format(s->arena, "%s %s", inputs, shell_word(s->arena, input));
    }
    if (f->is_flow && !sample) inputs = arena_format(s->arena, "%s x=x.npy", inputs);
    if (sample && b->plan->given_only) inputs = arena_format(s->arena, "%s z=z.npy", inputs);
    return arena_format(s->arena, "nfcc run %s %s%s -o out", shell_word(s->arena, path), entry, inputs);
}

static void print_block(Session *s, const Build *b, const Job *j)
{
    print_flow(stdout, s, b);
    print_line(stdout, "entries", "%s", entry_list(s->arena, plan_entries(b->plan)));
    print_checks(stdout, s, b, j->native_rows);
    print_line(stdout, "target", "%s, %s, %s", j->target.triple, j->target.cpu ? j->target.cpu : "baseline",
               j->backend->name);
    print_sizes(s, b, j);
    print_line(stdout, "seconds", "%.2f", session_seconds(s));
    const char *next = next_command(s, b, j);
    if (next) print_line(stdout, "next", "%s", next);
}

// ---- the command
static bool contradict(const Options *o, OptionId a, OptionId b)
{
    if (!o->value[a] || !o->value[b]) return false;
    usage_error("%s and %s contradict each other: leave one out", option_spelling(a), option_spelling(b));
    return true;
}

static int compile(Session *s)
{
    const Options *o = s->options;
    Job j = {.output = o->value[OPT_output]};
    Build b;
    if (contradict(o, OPT_no_verify, OPT_reference) || contradict(o, OPT_no_verify, OPT_verify_inputs) ||
        contradict(o, OPT_stop_after, OPT_emit))
        return WRONG_USAGE;
    if (o->value[OPT_stop_after]) return stop_after(s, o->value[OPT_stop_after]);
    if (!j.output) return usage_error("-o POLICY.so is missing: nfcc %s -o POLICY.so", o->args[0]);
    if (!parse_emit(s->arena, o->value[OPT_emit], &j.kinds) || !(j.name = name_of(s))) return WRONG_USAGE;
    if (!(j.backend = backend_of(s)) || !target_of(s, &j.target)) return WRONG_USAGE;
    FlowOptions f;
    if (!flow_options(s, &f)) return WRONG_USAGE;
    if (!may_write_all(s, &j)) return IO_FAILED;
    bool verify = !o->value[OPT_no_verify];
    if (!build_run(s, j.name, verify, o->value[OPT_verify_inputs], o->value[OPT_reference], &b)) return WRONG_MODEL;
    if (!write_all(s, &b, &j)) return WRONG_MODEL;
    session_stage(s, NULL);
    print_block(s, &b, &j);
    return DONE;
}

int cmd_compile(const Options *o)
{
    if (o->value[OPT_version]) {
        Context cx = {.arena = o->arena};
        printf("%s, ABI %u\n", compiler_name(&cx), NFCC_ABI_VERSION);
        return DONE;
    }
    if (o->value[OPT_list_passes]) return list_passes(o->arena);
    if (!o->n_args) return usage_error("a model is missing: nfcc MODEL.onnx -o POLICY.so");
    Session *s = session_new(o, o->args[0]);
    int code = compile(s);
    // Reported errors decide the code: a failed step only says that there was one.
    if (code == WRONG_MODEL && session_code(s) != DONE) code = DONE;
    return session_finish(s, code);
}
