// Every compiled entry against the Plan's interpreter, bit for bit. The Plan's programs run on a board of values, one
// per kind and index of port, so that a program's inputs are simply looked up; libnfcc runs the entries on the same
// rows. The entries are called with 1, 4, 32 and 64 rows, which are the same four rows again: every tile size is
// compared. Policies of large workspaces are not called with 64, which run the code of 32 on twice the memory.
#include "cli.h"
#include "float_bits.h"
#include "flow.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { ROWS = NATIVE_ROWS, NOISE_SEED = 12345, MOST_ROWS = 64, KINDS = PORT_SCORE + 1 };

typedef struct {
    uint32_t *words; // [ROWS][lanes], NULL: not known
    uint32_t lanes;
} Value;

typedef struct {
    Context *cx;
    const Plan *plan;
    nfcc_policy *policy;
    const char *path;
    double tolerance;
    double slack[ROWS]; // by row: how far a gradient jumps nearby, see find_slack
    uint64_t random;
    Value *board[KINDS];
    uint32_t n_board;
    const void **contexts, **graph_in; // as libnfcc takes them, MOST_ROWS rows
    float *z, *x;
    void *work, *prepared;
} Native;

static Value *at_board(Native *n, uint32_t kind, uint32_t index)
{
    return kind < KINDS && index < n->n_board ? &n->board[kind][index] : NULL;
}

static void put_board(Native *n, uint32_t kind, uint32_t index, uint32_t lanes)
{
    Value *v = at_board(n, kind, index);
    *v = (Value){ARENA_ARRAY(n->cx->arena, uint32_t, (size_t)ROWS *(lanes + 1)), lanes};
}

// In [-1, 1], from a fixed stream.
static float next_number(Native *n) { return (float)(2 * draw_uniform(&n->random) - 1); }

// ---- the Plan's side
static bool run_program(Native *n, ProgramId id)
{
    const Program *p = &n->plan->programs[id];
    const uint32_t **in = ARENA_ARRAY(n->cx->arena, const uint32_t *, p->n_in + 1);
    uint32_t **out = ARENA_ARRAY(n->cx->arena, uint32_t *, p->n_out + 1);
    if (!p->exists) return false;
    for (int i = 0; i < p->n_in; i++) {
        const Value *v = at_board(n, p->in[i].kind, p->in[i].index);
        if (!v || !v->words) return false;
        in[i] = v->words;
    }
    for (int i = 0; i < p->n_out; i++) {
        put_board(n, p->out[i].kind, p->out[i].index, p->out[i].lanes);
        out[i] = at_board(n, p->out[i].kind, p->out[i].index)->words;
    }
    plan_run(n->plan, id, ROWS, at_board(n, PORT_PREP, 0)->words, in, out);
    return true;
}

// A context or graph input: random words on the board, and the same rows as the caller of libnfcc holds them.
static const void *make_input(Native *n, uint32_t kind, uint32_t index, const PlanValue *v)
{
    size_t size = v->dtype == T_I64 ? 8 : v->dtype == T_BOOL ? 1 : 4, lanes = v->lanes;
    char *data = arena_array(n->cx->arena, MOST_ROWS * (lanes + 1), size);
    put_board(n, kind, index, v->lanes);
    uint32_t *words = at_board(n, kind, index)->words;
    for (size_t i = 0; i < ROWS * lanes; i++) {
        float f = next_number(n);
        int64_t whole = f > 0;
        if (v->dtype != T_F32) f = (float)whole;
        words[i] = word_of(f);
        for (size_t r = i / lanes; r < MOST_ROWS; r += ROWS) {
            void *to = data + (r * lanes + i % lanes) * size;
            memcpy(to,
                   v->dtype == T_I64    ? (void *)&whole
                   : v->dtype == T_BOOL ? (void *)&(bool){whole != 0}
                                        : (void *)&f,
                   size);
        }
    }
    return data;
}

static float *repeat_rows(Native *n, const Value *v)
{
    float *all = ARENA_ARRAY(n->cx->arena, float, (size_t)MOST_ROWS *(v->lanes + 1));
    for (size_t r = 0; r < MOST_ROWS; r++) memcpy(all + r * v->lanes, v->words + r % ROWS * v->lanes, v->lanes * 4);
    return all;
}

static void make_board(Native *n)
{
    const Plan *p = n->plan;
    n->n_board = (uint32_t)(p->n_contexts + p->n_inputs + p->n_outputs + 1);
    for (int k = 0; k < KINDS; k++) n->board[k] = ARENA_ARRAY(n->cx->arena, Value, n->n_board);
    n->contexts = ARENA_ARRAY(n->cx->arena, const void *, p->n_contexts + 1);
    n->graph_in = ARENA_ARRAY(n->cx->arena, const void *, p->n_inputs + 1);
    for (int i = 0; i < p->n_contexts; i++) n->contexts[i] = make_input(n, PORT_CONTEXT, (uint32_t)i, &p->contexts[i]);
}

// ---- comparing
static bool same(const Native *n, uint32_t mine, uint32_t want, double scale, size_t row)
{
    float a = float_of(mine), b = float_of(want);
    if (mine == want || (isnan(a) && isnan(b))) return true;
    return n->tolerance > 0 && fabs((double)a - (double)b) <= n->tolerance * scale + n->slack[row % ROWS];
}

enum { NEAR = 8 };

// A library's product may see the other side of a kink (a leaky ReLU of almost 0): the gradient then jumps. How far it
// jumps on rows nearby says how far it may be off here. The program's input and output on the board stay as they are.
static void find_slack(Native *n, ProgramId id, PortKind in, PortKind out)
{
    Value given = *at_board(n, in, 0), here = *at_board(n, out, 0);
    size_t lanes = (size_t)ROWS * given.lanes;
    for (int k = 0; k < NEAR && n->tolerance > 0; k++) {
        Value moved = {ARENA_ARRAY(n->cx->arena, uint32_t, lanes + 1), given.lanes};
        for (size_t i = 0; i < lanes; i++) {
            float x = float_of(given.words[i]);
            moved.words[i] = word_of(x + 1e-5f * (1 + fabsf(x)) * next_number(n));
        }
        *at_board(n, in, 0) = moved;
        run_program(n, id);
        for (size_t i = 0; i < (size_t)ROWS * here.lanes; i++) {
            double far = fabs((double)float_of(at_board(n, out, 0)->words[i]) - (double)float_of(here.words[i]));
            if (isfinite(far)) n->slack[i / here.lanes] = fmax(n->slack[i / here.lanes], 4 * far);
        }
    }
    *at_board(n, in, 0) = given;
    *at_board(n, out, 0) = here;
}

static double scale_of(const Value *v)
{
    double scale = 1;
    for (size_t i = 0; i < (size_t)ROWS * v->lanes; i++) scale = fmax(scale, fabs((double)float_of(v->words[i])));
    return isfinite(scale) ? scale : 1;
}

static bool compare(const Native *n, const char *entry, const char *output, const float *mine, const Value *want,
                    size_t rows)
{
    double scale = n->tolerance > 0 ? scale_of(want) : 1;
    for (size_t i = 0; i < rows * want->lanes; i++) {
        uint32_t a = word_of(mine[i]), b = want->words[i % ((size_t)ROWS * want->lanes)];
        if (same(n, a, b, scale, i / want->lanes)) continue;
        diag_error(n->cx, NULL,
                   "this is a bug in nfcc: please report it with the model; --no-verify writes the file unchecked",
                   "compiled entry '%s', %zu rows: output '%s', row %zu, number %zu is %.9g (0x%08x); the Plan says "
                   "%.9g (0x%08x)",
                   entry, rows, output, i / want->lanes, i % want->lanes, (double)mine[i], a, (double)float_of(b), b);
        return false;
    }
    return true;
}

static bool status_ok(const Native *n, const char *entry, nfcc_status status)
{
    if (status != NFCC_OK && status != NFCC_NOT_FINITE)
        diag_error(n->cx, NULL, NULL, "compiled entry '%s': %s", entry, nfcc_status_text(status));
    return status == NFCC_OK || status == NFCC_NOT_FINITE;
}

static bool check_to_event(Native *n, size_t rows, float *x, float *one)
{
    const Value *event = at_board(n, PORT_X, 0), *log_det = at_board(n, PORT_LOG_DET, 0),
                *log_prob = at_board(n, PORT_LOG_PROB, 0);
    nfcc_noise noise = {0, 0, 1.0f, n->z};
    if (!status_ok(n, "to_event",
                   nfcc_to_event(n->policy, n->prepared, 1, n->z, x, log_det->words ? one : NULL, n->work)))
        return false;
    if (!compare(n, "to_event", "x", x, event, rows)) return false;
    if (log_det->words && !compare(n, "to_event", "log_det", one, log_det, rows)) return false;
    if (!(nfcc_get_info(n->policy)->entries & NFCC_HAS_SAMPLE_AND_LOG_PROB)) return true;
    nfcc_status status = nfcc_sample_and_log_prob(n->policy, n->prepared, &noise, 1, x, one, n->work);
    return status_ok(n, "sample_and_log_prob", status) && compare(n, "sample_and_log_prob", "x", x, event, rows) &&
           compare(n, "sample_and_log_prob", "log_prob", one, log_prob, rows);
}

static bool check_act(Native *n, size_t rows, float *x, float *one)
{
    (void)one;
    const Value *act = at_board(n, PORT_ACT, 0);
    nfcc_noise noise = {0, 0, 1.0f, n->z};
    if (!act->words || !(nfcc_get_info(n->policy)->entries & NFCC_HAS_ACT)) return true;
    return status_ok(n, "act", nfcc_act(n->policy, n->prepared, &noise, 1, x, n->work)) &&
           compare(n, "act", "x", x, act, rows);
}

static bool check_to_latent(Native *n, size_t rows, float *z, float *one)
{
    const Value *latent = at_board(n, PORT_Z, 0), *log_det = at_board(n, PORT_LOG_DET, 0),
                *log_prob = at_board(n, PORT_LOG_PROB, 0);
    unsigned entries = nfcc_get_info(n->policy)->entries;
    nfcc_status status = NFCC_OK;
    if (entries & NFCC_HAS_TO_LATENT) {
        status = nfcc_to_latent(n->policy, n->prepared, 1, n->x, z, log_det->words ? one : NULL, n->work);
        if (!status_ok(n, "to_latent", status) || !compare(n, "to_latent", "z", z, latent, rows)) return false;
    }
    if (log_det->words && !compare(n, "to_latent", "log_det", one, log_det, rows)) return false;
    if (!(entries & NFCC_HAS_LOG_PROB)) return true;
    status = nfcc_log_prob(n->policy, n->prepared, 1, n->x, one, n->work);
    return status_ok(n, "log_prob", status) && compare(n, "log_prob", "log_prob", one, log_prob, rows);
}

static bool check_score(Native *n, size_t rows, float *score, float *one)
{
    (void)one;
    const Value *want = at_board(n, PORT_SCORE, 0);
    return status_ok(n, "score", nfcc_score(n->policy, n->prepared, 1, n->x, score, n->work)) &&
           compare(n, "score", "score", score, want, rows);
}

static const size_t row_counts[] = {ROWS, 1, 32, MOST_ROWS};
enum { N_COUNTS = sizeof row_counts / sizeof *row_counts, LARGE_WORK = 64 << 20 };

static int counts_of(const Native *n) { return N_COUNTS - (nfcc_get_info(n->policy)->work_size > LARGE_WORK); }

typedef bool Check(Native *n, size_t rows, float *wide, float *one);

// One program's entries with every number of rows.
static bool check_rows(Native *n, Check *check)
{
    float *wide = ARENA_ARRAY(n->cx->arena, float, (size_t)MOST_ROWS *(n->plan->event.lanes + 1));
    float one[MOST_ROWS];
    for (int i = 0; i < counts_of(n); i++) {
        size_t rows = row_counts[i];
        if (!status_ok(n, "prepare", nfcc_prepare(n->policy, rows, n->contexts, n->prepared, n->work))) return false;
        if (!check(n, rows, wide, one)) return false;
    }
    return true;
}

static void clear_outputs(Native *n)
{
    *at_board(n, PORT_LOG_DET, 0) = *at_board(n, PORT_LOG_PROB, 0) = *at_board(n, PORT_ACT, 0) = (Value){0};
}

static bool check_noise(Native *n)
{
    const Program *p = &n->plan->programs[PROGRAM_NOISE];
    if (!p->exists) return true;
    put_board(n, PORT_SEED, 0, 4);
    put_board(n, PORT_TEMPERATURE, 0, 1);
    for (uint32_t r = 0; r < ROWS; r++) {
        const uint32_t words[4] = {NOISE_SEED, 0, r, 0};
        memcpy(at_board(n, PORT_SEED, 0)->words + r * 4, words, sizeof words);
        at_board(n, PORT_TEMPERATURE, 0)->words[r] = word_of(1.0f);
    }
    float *z = ARENA_ARRAY(n->cx->arena, float, (size_t)ROWS *(n->plan->event.lanes + 1));
    if (!run_program(n, PROGRAM_NOISE) || !status_ok(n, "noise", nfcc_draw(n->policy, NOISE_SEED, 0, ROWS, z, n->work)))
        return false;
    n->z = repeat_rows(n, at_board(n, PORT_Z, 0));
    return compare(n, "noise", "z", z, at_board(n, PORT_Z, 0), ROWS);
}

static void draw_event(Native *n, uint32_t kind)
{
    put_board(n, kind, 0, n->plan->event.lanes);
    Value *v = at_board(n, kind, 0);
    for (size_t i = 0; i < (size_t)ROWS * v->lanes; i++) v->words[i] = word_of(next_number(n));
}

// An event that overflowed is no row to check with: of one the entries give NaN, whatever the program says.
static void draw_overflowed(Native *n)
{
    Value *v = at_board(n, PORT_X, 0);
    for (size_t i = 0; v->words && i < (size_t)ROWS * v->lanes; i++)
        if (!isfinite(float_of(v->words[i]))) v->words[i] = word_of(next_number(n));
}

static bool check_flow_entries(Native *n)
{
    run_program(n, PROGRAM_ENCODE);
    run_program(n, PROGRAM_LATE);
    if (!check_noise(n)) return false;
    if (!at_board(n, PORT_Z, 0)->words) draw_event(n, PORT_Z);
    n->z = repeat_rows(n, at_board(n, PORT_Z, 0));
    if (run_program(n, PROGRAM_TO_EVENT) && (!check_rows(n, check_to_event) || !check_rows(n, check_act))) return false;
    clear_outputs(n);
    if (run_program(n, PROGRAM_ACT)) {
        find_slack(n, PROGRAM_ACT, PORT_Z, PORT_ACT);
        if (!check_rows(n, check_act)) return false;
    }
    memset(n->slack, 0, sizeof n->slack);
    if (!at_board(n, PORT_X, 0)->words) draw_event(n, PORT_X);
    draw_overflowed(n);
    n->x = repeat_rows(n, at_board(n, PORT_X, 0));
    if (run_program(n, PROGRAM_SCORE)) {
        find_slack(n, PROGRAM_SCORE, PORT_X, PORT_SCORE);
        if (!check_rows(n, check_score)) return false;
    }
    memset(n->slack, 0, sizeof n->slack);
    clear_outputs(n);
    return !run_program(n, PROGRAM_TO_LATENT) || check_rows(n, check_to_latent);
}

// The graph's outputs come back in the caller's types: integers and bools are compared as the floats they were.
static float *as_floats(Native *n, const PlanValue *v, const void *data, size_t rows)
{
    size_t count = rows * v->lanes;
    float *out = ARENA_ARRAY(n->cx->arena, float, count + 1);
    for (size_t i = 0; i < count; i++) {
        if (v->dtype == T_I64)
            out[i] = (float)((const int64_t *)data)[i];
        else if (v->dtype == T_BOOL)
            out[i] = ((const unsigned char *)data)[i];
        else
            out[i] = ((const float *)data)[i];
    }
    return out;
}

static bool check_run(Native *n)
{
    const Plan *p = n->plan;
    if (!p->programs[PROGRAM_RUN].exists) return true;
    for (int i = 0; i < p->n_inputs; i++) n->graph_in[i] = make_input(n, PORT_GRAPH, (uint32_t)i, &p->inputs[i]);
    void **out = ARENA_ARRAY(n->cx->arena, void *, p->n_outputs + 1);
    for (int i = 0; i < p->n_outputs; i++)
        out[i] = arena_array(n->cx->arena, (size_t)MOST_ROWS * (p->outputs[i].lanes + 1), 8);
    if (!run_program(n, PROGRAM_RUN)) return true;
    for (int c = 0; c < counts_of(n); c++) {
        if (!status_ok(n, "run", nfcc_run(n->policy, row_counts[c], n->graph_in, out, n->work))) return false;
        for (int i = 0; i < p->n_outputs; i++) {
            const Value *want = at_board(n, PORT_GRAPH, (uint32_t)i);
            if (!compare(n, "run", p->outputs[i].name, as_floats(n, &p->outputs[i], out[i], row_counts[c]), want,
                         row_counts[c]))
                return false;
        }
    }
    return true;
}

// The golden rows on every kind of tile, and from prepared state of both lengths (more rows than these checks have are
// prepared in short).
static bool check_golden(Native *n)
{
    size_t size = nfcc_selftest_size(n->policy);
    if (n->tolerance > 0) return true;
    return status_ok(n, "selftest", nfcc_selftest(n->policy, arena_alloc(n->cx->arena, size + 1), size));
}

static bool check_set(Native n, unsigned flags, unsigned *cpu)
{
    nfcc_status status = nfcc_open(n.path, flags, &n.policy);
    if (status == NFCC_FILE && errno) {
        diag_io_error(n.cx,
                      errno == EPERM ? "code in a folder that is mounted noexec cannot be run, which the check does: "
                                       "choose another folder (verify and run: by TMPDIR), or --no-verify"
                                     : NULL,
                      "%s: cannot be opened: %s", n.path, strerror(errno));
        return false;
    }
    if (status) {
        diag_error(n.cx, NULL, NULL, "the compiled policy does not open: %s", nfcc_status_text(status));
        return false;
    }
    const nfcc_info *info = nfcc_get_info(n.policy);
    bool again = info->cpu == *cpu, ok = true;
    *cpu = info->cpu;
    if (!again) {
        n.work = arena_alloc(n.cx->arena, info->work_size + 1);
        n.prepared =
            arena_alloc(n.cx->arena, nfcc_prepared_size(n.policy, MOST_ROWS) + nfcc_prepared_size(n.policy, ROWS) + 1);
        make_board(&n);
        ok = (!n.plan->event.lanes || check_flow_entries(&n)) && check_run(&n) && check_golden(&n);
    }
    nfcc_close(n.policy);
    return ok;
}

// With --cpu dispatch there are two sets of code: both are checked. The file's own pages serve: no copy of the weights.
bool cli_native_check(Context *cx, const Plan *plan, const char *path, double tolerance)
{
    Native n = {.cx = cx, .plan = plan, .path = path, .tolerance = tolerance, .random = 1};
    unsigned cpu = 0;
    return check_set(n, NFCC_OPEN_SHARED, &cpu) && check_set(n, NFCC_OPEN_SHARED | NFCC_OPEN_BASELINE, &cpu);
}
