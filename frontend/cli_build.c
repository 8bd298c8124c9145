// A compile in memory: import -> passes -> checks -> plan -> golden rows, and its last part, a policy.so that has been
// opened and compared before it gets its name. Every command that needs a model comes through here.
#include "cli_entry.h"

#include "base.h"
#include "base/unfinished.h"
#include "cli_rows.h"
#include "sha256.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- what the user said
static bool parse_clip(const char *text, FlowOptions *f)
{
    if (!text) return true;
    char *end;
    f->clip_lo = strtod(text, &end);
    bool ok = end != text && *end == ',';
    const char *second = ok ? end + 1 : text;
    f->clip_hi = strtod(second, &end);
    ok = ok && end != second && !*end && f->clip_lo < f->clip_hi;
    if (!ok) usage_error("--clip %.100s: two numbers LO,HI with LO < HI are wanted, as in --clip -1,1", text);
    f->has_clip = ok;
    return ok;
}

static bool parse_base(const char *text, FlowOptions *f)
{
    BaseKind kind;
    double param;
    f->base = text;
    if (!text || base_named(text, &kind, &param)) return true;
    usage_error("--base %.100s: the bases are normal, laplace, logistic, uniform and student_t:DF (DF > 0)", text);
    return false;
}

static bool parse_entries(Arena *arena, const char *text, FlowOptions *f)
{
    const char *names[MOST_ENTRIES];
    int n = entry_names(~0u, names);
    if (!text) return true;
    char *list = arena_string(arena, text), *save = NULL;
    bool any = false, other = false;
    for (char *word = strtok_r(list, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
        if (!entry_bit(word)) {
            usage_error("--entries: '%.100s' is no entry of this version%s", word, nearest_word(arena, word, names, n));
            return false;
        }
        any = true;
        other |= strcmp(word, "run") != 0;
    }
    if (!any) usage_error("--entries: a list such as sample,log_prob is wanted");
    f->run_only = !other;
    f->entries = other ? text : NULL;
    return any;
}

const char *const weight_names[3] = {"f32", "f16", "bf16"};

bool weight_named(const char *text, WeightType *type)
{
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, weight_names[i])) {
            *type = (WeightType)i;
            return true;
        }
    return false;
}

static bool weight_type(Session *s, WeightType *type)
{
    const char *text = s->options->value[OPT_weights];
    *type = WEIGHTS_F32;
    if (!text || weight_named(text, type)) return true;
    usage_error("--weights %.100s: f32, f16 or bf16 is wanted", text);
    return false;
}

// A limit, if given. 0 would be the default, not none.
static bool limit_option(const Options *o, OptionId id, double *limit)
{
    if (!option_double(o, id, limit)) return false;
    bool zero = o->value[id] && *limit == 0;
    if (zero) usage_error("%s 0: a number above 0 is wanted", option_spelling(id));
    return !zero;
}

bool flow_options(Session *s, FlowOptions *f)
{
    WeightType type;
    double other; // who needs it reads it again
    const Options *o = s->options;
    *f = (FlowOptions){.event = o->value[OPT_event],
                       .latent = o->value[OPT_latent],
                       .contexts = o->contexts,
                       .n_contexts = o->n_contexts,
                       .score_context = o->value[OPT_score_context] != NULL,
                       .log_det = o->value[OPT_log_det],
                       .log_prob = o->value[OPT_log_prob],
                       .neg_log_prob = o->value[OPT_neg_log_prob]};
    return weight_type(s, &type) && parse_clip(o->value[OPT_clip], f) && parse_base(o->value[OPT_base], f) &&
           option_double(o, OPT_denoise, &f->denoise) && parse_entries(s->arena, o->value[OPT_entries], f) &&
           limit_option(o, OPT_max_condition, &f->max_condition) && limit_option(o, OPT_max_error, &other) &&
           limit_option(o, OPT_max_graph_error, &other);
}

// ---- import
static bool has_extension(const char *path, const char *extension)
{
    size_t n = strlen(path), m = strlen(extension);
    return n > m && !strcmp(path + n - m, extension);
}

static char *read_text(Session *s, const char *path, size_t *size)
{
    errno = 0;
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    if (f && !fseek(f, 0, SEEK_END)) {
        long n = ftell(f);
        rewind(f);
        if (n >= 0 && n < 1L << 30) {
            text = arena_alloc(s->arena, (size_t)n + 1);
            *size = fread(text, 1, (size_t)n, f);
            if (*size != (size_t)n) text = NULL;
        }
    }
    if (!text) diag_io_error(&s->cx, NULL, "%s: cannot be read: %s", path, errno ? strerror(errno) : "too large");
    if (f) fclose(f);
    return text;
}

static const Module *import_text(Session *s, const char *path, unsigned char hash[32])
{
    size_t size = 0;
    const char *text = read_text(s, path, &size), *slash = strrchr(path, '/');
    if (!text) return NULL;
    TextBin bin;
    const char *dir = slash ? arena_format(s->arena, "%.*s", (int)(slash - path), path) : ".";
    const Module *m = module_read(&s->cx, text, size, dir, &bin);
    Sha256 *sha = sha256_begin();
    sha256_add(sha, text, size);
    sha256_add(sha, bin.data, bin.size);
    sha256_end(sha, hash);
    return m;
}

static const Module *import_file(Session *s, const char *path, unsigned char hash[32])
{
    session_stage(s, "reading");
    if (has_extension(path, ".nf")) return import_text(s, path, hash);
    const Options *o = s->options;
    ImportOptions options = {.external_data = o->value[OPT_external_data],
                             .allow_nonfinite = o->value[OPT_allow_nonfinite] != NULL,
                             .no_batch = o->value[OPT_no_batch] != NULL};
    struct stat folder;
    if (options.external_data && (stat(options.external_data, &folder) || !S_ISDIR(folder.st_mode))) {
        diag_io_error(&s->cx, "name the folder that holds the weights", "--external-data %s: is no folder",
                      options.external_data);
        return NULL;
    }
    return onnx_load(&s->cx, path, &options, hash);
}

const Module *build_import(Session *s, const char *path, unsigned char hash[32])
{
    const Module *m = import_file(s, path, hash);
    return m ? build_units(s, m) : NULL;
}

// ---- the arrows
// A .nf file may start behind derive: then there is no exported graph to check against.
static bool run_passes(Session *s, Build *b)
{
    FlowOptions f;
    PipelineOptions pipeline = {.time = s->options->value[OPT_time] != NULL};
    if (!flow_options(s, &f)) return false;
    session_stage(s, "deriving");
    if (b->imported->stage == STAGE_DERIVED) b->derived = b->imported;
    b->lowered = passes_run(&s->cx, b->imported, &f, &pipeline, &b->flow, &b->derived);
    return b->lowered != NULL;
}

static bool check_double(Session *s, Build *b, CheckOptions *rows, const char *inputs)
{
    if (b->imported->stage >= STAGE_DERIVED || !b->derived) return true;
    session_stage(s, "checking in double");
    if (inputs && !rows_inputs(s, b, inputs, rows)) return false;
    if (!option_double(s->options, OPT_max_graph_error, &rows->max_graph_error)) return false;
    b->checked_double = true;
    return check_flow(&s->cx, b->imported, b->derived, &b->flow, rows, &b->report);
}

static bool check_float(Session *s, Build *b, const CheckOptions *rows)
{
    // Weights of 16 bits are asked for knowingly: their error is reported, and refused where a limit is given.
    double max_error = b->plan->weight_type == WEIGHTS_F32 ? 0 : 1e30;
    if (!option_double(s->options, OPT_max_error, &max_error)) return false;
    if (!b->derived) return true;
    session_stage(s, "checking in float32");
    b->checked_float = true;
    return check_plan(&s->cx, b->derived, b->plan, &b->flow, rows, max_error, &b->report);
}

// --entries: what was asked for must be there.
static bool has_entries(Session *s, const Build *b)
{
    const Plan *plan = b->plan;
    const char *reason = b->flow.no_inverse ? arena_format(s->arena, ": %s", b->flow.no_inverse) : "";
    const char *text = s->options->value[OPT_entries];
    unsigned has = plan_entries(plan);
    char *list = arena_string(s->arena, text ? text : ""), *save = NULL;
    bool ok = true;
    for (char *word = strtok_r(list, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
        if (has & entry_bit(word)) continue;
        diag_error(&s->cx, NULL, arena_format(s->arena, "it has: %s", entry_list(s->arena, has)),
                   "the model gives no entry '%s'%s", word, reason);
        ok = false;
    }
    return ok;
}

// Whether tiles pay is seen from a plan that is made for them.
Plan *build_plan(Session *s, const Build *b, const char *name, WeightType type)
{
    Target target;
    bool tiles = type == WEIGHTS_BF16 && target_of(s, &target) && target_tiles(&target);
    Plan *plan = plan_build(&s->cx, b->lowered, &b->flow, name, b->hash, tiles);
    if (!plan || type == WEIGHTS_F32) return plan;
    uint32_t from = plan_short_from(&s->cx, plan, type);
    if (tiles && !tiles_pay(plan, from)) {
        tiles = false;
        plan = plan_build(&s->cx, b->lowered, &b->flow, name, b->hash, tiles);
    }
    if (plan) plan_round(&s->cx, plan, type, from, tiles);
    return plan;
}

bool build_run(Session *s, const char *name, bool verify, const char *inputs, const char *reference, Build *b)
{
    const char *path = s->options->args[0];
    CheckOptions rows = {0};
    WeightType type = WEIGHTS_F32;
    *b = (Build){.reference_error = -1};
    b->imported = build_import(s, path, b->hash);
    if (!b->imported || !run_passes(s, b)) return false;
    if (verify && !check_double(s, b, &rows, inputs)) return false;
    if (reference && !rows_compare(s, b, reference)) return false;
    session_stage(s, "planning");
    if (!weight_type(s, &type)) return false;
    b->plan = build_plan(s, b, name ? name : policy_name(s->arena, path), type);
    if (!b->plan || !has_entries(s, b)) return false;
    plan_golden(&s->cx, b->plan);
    if (verify && !check_float(s, b, &rows)) return false;
    b->verified = verify;
    return true;
}

static void forget_weights(const Module *m)
{
    enum { LARGE = 1 << 20 };
    for (int i = 0; m && i < m->n_functions; i++)
        for (int k = 0; k < m->functions[i]->n_nodes; k++) {
            const Node *c = m->functions[i]->nodes[k];
            size_t size = node_is_const(c) ? (size_t)type_lanes(c->type) * dtype_size(c->type.dtype) : 0;
            if (size >= LARGE) arena_forget(c->data, size);
        }
}

void build_forget_weights(Build *b)
{
    forget_weights(b->imported);
    forget_weights(b->derived);
    forget_weights(b->lowered);
    b->derived = b->lowered = NULL; // imported: its ports are named in what is printed
}

// ---- policy.so
bool target_of(Session *s, Target *out)
{
    *out = (Target){s->options->value[OPT_target], s->options->value[OPT_cpu]};
    const char *wrong = target_resolve(&s->cx, out);
    if (wrong) usage_error("%s", wrong);
    return !wrong;
}

const Backend *backend_of(Session *s)
{
    const char *name = s->options->value[OPT_backend];
    const Backend *backend = backend_find(name ? name : "llvm");
    int n;
    const Backend *list = backend_list(&n);
    const char *names = "";
    for (int i = 0; i < n; i++) names = arena_format(s->arena, "%s%s%s", names, i ? ", " : "", list[i].name);
    if (!backend) usage_error("--backend %.100s: the backends that compile are %s", name, names);
    return backend;
}

typedef struct {
    Session *s;
    const Build *b;
    const Backend *backend;
} NativeCheck;

double native_tolerance(const Options *o)
{
    const char *name = o->value[OPT_backend];
    return name && strcmp(name, "llvm") ? 1e-3 : 0;
}

static bool check_native(void *user, const char *unchecked)
{
    const NativeCheck *c = user;
    session_stage(c->s, "checking the compiled code");
    if (cli_native_check(&c->s->cx, c->b->plan, unchecked, native_tolerance(c->s->options))) return true;
    c->s->internal = !c->s->diag.io_error;
    return false;
}

static const Object *emit_object(NativeCheck *c, Target *target)
{
    c->backend = backend_of(c->s);
    if (!c->backend || !target_of(c->s, target)) return NULL;
    session_stage(c->s, "generating code");
    return c->backend->emit(&c->s->cx, c->b->plan, target, "nfcc_model", false, NULL);
}

static bool link_object(NativeCheck *c, const Object *object, const Target *target, const char *path, bool verify,
                        size_t *native_rows)
{
    session_stage(c->s, "linking");
    bool blas = !strcmp(c->backend->name, "openblas"),
         checked = verify && target_runs_here(target, c->b->plan->weight_type, c->b->plan->tiled);
    bool good = link_shared(&c->s->cx, object, target, blas, path, checked ? check_native : NULL, c);
    *native_rows = good && checked ? NATIVE_ROWS : 0;
    return good;
}

bool build_shared(Session *s, const Build *b, const char *path, bool verify, size_t *native_rows)
{
    Target target;
    NativeCheck c = {s, b, NULL};
    const Object *object = emit_object(&c, &target);
    return object && link_object(&c, object, &target, path, verify, native_rows);
}

// In a folder of its own, which is gone afterwards; *p (or NULL: it is not opened) stays.
static bool link_apart(NativeCheck *c, const Object *object, const Target *target, bool verify, size_t *native_rows,
                       nfcc_policy **p, int *code)
{
    Arena *arena = c->s->arena;
    const char *dir = getenv("TMPDIR");
    char *folder = arena_format(arena, "%s/nfcc-XXXXXX", dir && *dir ? dir : "/tmp");
    if (!mkdtemp(folder)) {
        diag_io_error(&c->s->cx, "set TMPDIR to a folder that can be written", "%s: cannot be made", folder);
        return false;
    }
    const char *path = arena_format(arena, "%s/policy.so", folder);
    bool good = link_object(c, object, target, path, verify, native_rows);
    if (good && p) *p = open_policy(arena, path, code);
    unlink(path);
    rmdir(folder);
    return good;
}

static bool build_apart(Session *s, const Build *b, bool verify, size_t *native_rows, nfcc_policy **p, int *code)
{
    Target target;
    NativeCheck c = {s, b, NULL};
    const Object *object = emit_object(&c, &target);
    sigset_t before;
    if (!object) return false;
    unfinished_hold(&before);
    bool good = link_apart(&c, object, &target, verify, native_rows, p, code);
    unfinished_release(&before);
    return good;
}

nfcc_policy *build_opened(Session *s, const Build *b, bool verify, size_t *native_rows, int *code)
{
    nfcc_policy *p = NULL;
    *code = WRONG_MODEL;
    build_apart(s, b, verify, native_rows, &p, code);
    return p;
}

bool build_checked(Session *s, const Build *b, size_t *native_rows)
{
    return build_apart(s, b, true, native_rows, NULL, NULL);
}
