// The Plan's verifier: every rule of plan.h that a wrong pass could break. A violation is a bug of the compiler, not
// of the model, and is reported as an internal error.
//
// Per program it keeps one flag per WORK lane: does it hold a value? Ports and steps set flags; a step that fills a
// buffer clears those of the buffer's padding, since a backend may put garbage there. A read of a lane without a
// value is an error, and so is an output on top of something the same step reads.
#include "plan.h"

#include <string.h>

typedef struct {
    Context *cx;
    const Plan *plan;
    const char *program;
    bool may_read_prep;
    uint32_t work_lanes;
    int step; // -1: the program's ports
    const char *kind, *name;
    bool *has_value; // [work_lanes]
    bool *touched;   // [work_lanes]: lanes written by this step, for the overlap rules; all false between steps
    bool ok;
} Check;

static void fail(Check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(Check *c, const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    c->ok = false;
    const char *hint = "this is a bug in nfcc; please report it with the model";
    if (c->step < 0)
        diag_error(c->cx, NULL, hint, "internal error: plan: program %s: %s", c->program, reason);
    else
        diag_error(c->cx, NULL, hint, "internal error: plan: program %s: step %d (%s '%s'): %s", c->program, c->step,
                   c->kind, c->name, reason);
}

// ---- reads
// Lanes [at, at + n) of a space exist.
static bool check_range(Check *c, const char *what, uint32_t space, uint64_t at, uint64_t n)
{
    const uint64_t size[] = {c->work_lanes, c->plan->prep_lanes, c->plan->weight_lanes};
    static const char *const names[] = {"WORK", "PREP", "CONST"};
    if (space > SPACE_CONST) {
        fail(c, "%s: unknown space %u", what, space);
        return false;
    }
    if (n <= size[space] && at <= size[space] - n) {
        if (space != SPACE_PREP || c->may_read_prep) return true;
        fail(c, "%s: this program has no PREP space", what);
        return false;
    }
    fail(c, "%s: lanes %llu + %llu are outside %s (%llu lanes)", what, (unsigned long long)at, (unsigned long long)n,
         names[space], (unsigned long long)size[space]);
    return false;
}

// The step reads lanes [at, at + n). Call before the step's writes are noted.
static bool check_read(Check *c, const char *what, uint32_t space, uint64_t at, uint64_t n)
{
    if (!check_range(c, what, space, at, n)) return false;
    if (space != SPACE_WORK) return true;
    for (uint64_t lane = at; lane < at + n; lane++)
        if (!c->has_value[lane]) {
            fail(c, "%s: reads WORK lane %llu, which holds no value", what, (unsigned long long)lane);
            return false;
        }
    return true;
}

// ---- writes

// The step writes n lanes at `at` and may spoil those up to the next multiple of 16 after `at`. Marks them as touched.
static bool check_write(Check *c, const char *what, uint64_t at, uint64_t n)
{
    if (!check_range(c, what, SPACE_WORK, at, round_up_lanes(n))) return false;
    for (uint64_t lane = at; lane < at + round_up_lanes(n); lane++) {
        if (c->touched[lane]) {
            fail(c, "%s: WORK lane %llu is written twice", what, (unsigned long long)lane);
            return false;
        }
        c->touched[lane] = true;
    }
    return true;
}

// What the step reads does not lie under what it writes (touched).
static bool check_apart(Check *c, const char *what, uint32_t space, uint64_t at, uint64_t n)
{
    if (space != SPACE_WORK) return true;
    for (uint64_t lane = at; lane < at + n; lane++)
        if (c->touched[lane]) {
            fail(c, "%s: WORK lane %llu is read and written", what, (unsigned long long)lane);
            return false;
        }
    return true;
}

// After all checks of a buffer's writer: the lanes hold values, the padding does not.
static void note_write(Check *c, uint64_t at, uint64_t n)
{
    for (uint64_t lane = at; lane < at + round_up_lanes(n); lane++) {
        c->has_value[lane] = lane < at + n;
        c->touched[lane] = false;
    }
}

static void note_spoiled(Check *c, uint64_t at, uint64_t n)
{
    for (uint64_t lane = at; lane < at + round_up_lanes(n); lane++) c->has_value[lane] = c->touched[lane] = false;
}

static bool check_positive(Check *c, const char *what, uint64_t value)
{
    if (value) return true;
    fail(c, "%s is 0", what);
    return false;
}

// ---- steps. Each returns at its first violation; `touched` is then cleared by check_step.
// The least and the largest of n words of a table.
static void table_range(const Plan *plan, uint32_t table, uint32_t n, int64_t *least, int64_t *most)
{
    *least = *most = plan_table(plan, table, 0);
    for (uint32_t i = 1; i < n; i++) {
        int64_t word = plan_table(plan, table, i);
        if (word < *least) *least = word;
        if (word > *most) *most = word;
    }
}

// Every token is in its tile, at its place.
static bool check_tiles(Check *c, const GemmStep *g)
{
    if (!g->tiled || !plan_taps_are_runs(c->plan, g, TILED_INPUTS)) {
        fail(c, "tiles of a product that is not tiled, or whose taps are no runs of %d", TILED_INPUTS);
        return false;
    }
    if (!check_read(c, "firsts", SPACE_CONST, g->firsts, (uint64_t)g->tiles + 1) ||
        !check_read(c, "slots", SPACE_CONST, g->slots, g->m))
        return false;
    uint32_t m = 0;
    for (uint32_t t = 0; t < g->tiles; t++) {
        uint32_t first = m, end = (uint32_t)plan_table(c->plan, g->firsts, t + 1);
        for (; m < end && m < g->m; m++) {
            int64_t slot = plan_table(c->plan, g->slots, m) - (int64_t)t * TILE_PLACES,
                    from = plan_table(c->plan, g->places, first);
            if (slot >= 0 && slot < TILE_PLACES && plan_table(c->plan, g->places, m) == from + slot * g->stride)
                continue;
            fail(c, "token %u is not where tile %u has it", m, t);
            return false;
        }
    }
    if (m == g->m && plan_table(c->plan, g->firsts, 0) == 0 && plan_table(c->plan, g->firsts, g->tiles) == (int64_t)m)
        return true;
    fail(c, "%u tiles do not have all tokens", g->tiles);
    return false;
}

static bool check_windows(Check *c, const GemmStep *g)
{
    uint32_t words = tap_words(g->k);
    int64_t place[2], tap[2];
    if (g->transposed || g->apart) {
        fail(c, "a product of windows is transposed or has weights of each token's own");
        return false;
    }
    if (!check_read(c, "places", SPACE_CONST, g->places, g->m) || !check_read(c, "taps", SPACE_CONST, g->taps, words))
        return false;
    for (uint32_t k = g->k; k < words; k++)
        if (plan_table(c->plan, g->taps, k) != plan_table(c->plan, g->taps, g->k - 1)) {
            fail(c, "taps: word %u behind the last one is another", k);
            return false;
        }
    if (g->tiles && !check_tiles(c, g)) return false;
    table_range(c->plan, g->places, g->m, &place[0], &place[1]);
    table_range(c->plan, g->taps, g->k, &tap[0], &tap[1]);
    int64_t last = place[1] + tap[1] + (g->diagonal ? g->n - g->diagonal : 0);
    if (place[0] + tap[0] >= 0 && last < g->picture) return true;
    fail(c, "windows read lanes %lld to %lld of a picture of %u", (long long)(place[0] + tap[0]), (long long)last,
         g->picture);
    return false;
}

static void check_gemm(Check *c, const GemmStep *g)
{
    uint64_t in = gemm_x_lanes(g), result = (uint64_t)g->m * (g->transposed ? g->k : g->n);
    if (!check_positive(c, "m", g->m) || !check_positive(c, "k", g->k) || !check_positive(c, "n", g->n) ||
        !check_positive(c, "kb", g->kb))
        return;
    if (g->transposed && (g->has_add || g->scaled || g->has_bias)) {
        fail(c, "a transposed product has neither add nor scale nor bias");
        return;
    }
    if (g->scaled && (g->has_add || !g->has_bias)) {
        fail(c, "a scaled product has a bias and no add");
        return;
    }
    if (g->paired && (g->transposed || (g->kb < g->k && g->kb % 2))) {
        fail(c, "a paired product is transposed or cuts a pair");
        return;
    }
    if ((g->apart && ((uint64_t)g->k * g->n % 16 || g->n % 16)) || (g->one_x && (!g->apart || g->transposed))) {
        fail(c, "a product of own weights is not of whole sixteens, or another one has one x");
        return;
    }
    if (g->tiled && (!g->paired || g->kb < g->k)) {
        fail(c, "a tiled product is not paired or cuts K");
        return;
    }
    if (g->diagonal && (!g->picture || g->paired || GEMM_GROUP % g->diagonal || g->n % g->diagonal)) {
        fail(c, "a diagonal product is paired, reads no picture or has a block that is not whole");
        return;
    }
    uint64_t pairs = gemm_pair_lanes(g);
    if (g->picture && !check_windows(c, g)) return;
    if (!check_read(c, "x", g->x_space, g->x, in)) return;
    if (!check_read(c, "w", SPACE_CONST, g->w, gemm_w_lanes(g))) return;
    if (g->has_bias && !check_read(c, "bias", SPACE_CONST, g->bias, gemm_biases(g))) return;
    if (gemm_add_lanes(g) && g->add_space == SPACE_CONST) {
        fail(c, "add: is in CONST");
        return;
    }
    if (!check_read(c, "add", g->add_space, g->add, gemm_add_lanes(g))) return;
    if (!check_write(c, "out", g->out, result) || !check_write(c, "pairs", g->pairs, pairs)) return;
    if (!check_apart(c, "x", g->x_space, g->x, in)) return;
    if (!check_apart(c, "add", g->add_space, g->add, gemm_add_lanes(g))) return;
    note_write(c, g->out, result);
    note_spoiled(c, g->pairs, pairs);
}

static bool check_instr(Check *c, const MapStep *s, uint32_t k)
{
    const ScalarInstr *code = &s->code[k];
    if (code->op >= S_COUNT) {
        fail(c, "v%u: unknown operation %u", k, code->op);
        return false;
    }
    const uint16_t operand[] = {code->a, code->b, code->c};
    for (int i = 0; i < scalar_operands((ScalarOp)code->op); i++)
        if (operand[i] >= k) {
            fail(c, "v%u: operand v%u comes later", k, operand[i]);
            return false;
        }
    if (code->op == S_arg && code->imm >= s->n_args) {
        fail(c, "v%u: argument %u of %u", k, code->imm, s->n_args);
        return false;
    }
    bool shift = code->op == S_shl || code->op == S_shr || code->op == S_sar;
    if (shift && (s->code[code->b].op != S_imm || s->code[code->b].imm > 31)) {
        fail(c, "v%u: the shift count is no imm of 0 to 31", k);
        return false;
    }
    return true;
}

static bool check_code(Check *c, const MapStep *s)
{
    if (s->n_args > MAP_MAX_ARGS || s->n_outs > MAP_MAX_OUTS || s->n_code > MAP_MAX_CODE) {
        fail(c, "%u arguments, %u outputs, %u instructions: too many", s->n_args, s->n_outs, s->n_code);
        return false;
    }
    for (uint32_t k = 0; k < s->n_code; k++)
        if (!check_instr(c, s, k)) return false;
    for (uint32_t j = 0; j < s->n_outs; j++)
        if (s->outs[j].value >= s->n_code) {
            fail(c, "output %u: there is no v%u", j, s->outs[j].value);
            return false;
        }
    return true;
}

static bool access_contiguous(const Access *a, uint32_t n)
{
    if (n == 1) return true;
    bool rows_join = a->inner >= n || a->outer_step == (int64_t)a->inner;
    return rows_join && (a->inner_step == 1 || a->inner == 1);
}

static bool in_place(const MapStep *s, const Access *a)
{
    for (uint32_t j = 0; j < s->n_outs; j++)
        if (s->outs[j].at == a->at) return access_contiguous(a, s->n);
    return false;
}

// apart: are the lanes free of this step's outputs; else: do they hold values?
static bool check_access(Check *c, const MapStep *s, uint32_t j, bool apart)
{
    const Access *a = &s->args[j];
    char what[32];
    snprintf(what, sizeof what, "argument %u", j);
    if (!a->inner) {
        fail(c, "%s: inner is 0", what);
        return false;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        int64_t lane =
            (int64_t)a->at + (int64_t)(i / a->inner) * a->outer_step + (int64_t)(i % a->inner) * a->inner_step;
        if (lane < 0) {
            fail(c, "%s: lane %lld", what, (long long)lane);
            return false;
        }
        bool good = apart ? check_apart(c, what, a->space, (uint64_t)lane, 1)
                          : check_read(c, what, a->space, (uint64_t)lane, 1);
        if (!good) return false;
    }
    return true;
}

static void check_map(Check *c, const MapStep *s)
{
    if (!check_positive(c, "n", s->n) || !check_code(c, s)) return;
    for (uint32_t j = 0; j < s->n_args; j++)
        if (!check_access(c, s, j, false)) return;
    for (uint32_t j = 0; j < s->n_outs; j++)
        if (!check_write(c, "output", s->outs[j].at, s->n)) return;
    for (uint32_t j = 0; j < s->n_args; j++)
        if (!in_place(s, &s->args[j]) && !check_access(c, s, j, true)) return;
    for (uint32_t j = 0; j < s->n_outs; j++) note_write(c, s->outs[j].at, s->n);
}

static void check_reduce(Check *c, const ReduceStep *s)
{
    uint64_t in = (uint64_t)s->outer * s->k;
    if (s->op != OP_reduce_sum && s->op != OP_reduce_max && s->op != OP_reduce_min && s->op != OP_reduce_prod) {
        fail(c, "operation %d is no reduction", (int)s->op);
        return;
    }
    if (!check_positive(c, "outer", s->outer) || !check_positive(c, "k", s->k)) return;
    if (!check_read(c, "in", s->in_space, s->in, in) || !check_write(c, "out", s->out, s->outer)) return;
    if (!check_apart(c, "in", s->in_space, s->in, in)) return;
    uint32_t centres = reduce_centres(s);
    if (s->squares && (!check_read(c, "centre", s->centre_space, s->centre, centres) ||
                       !check_apart(c, "centre", s->centre_space, s->centre, centres)))
        return;
    note_write(c, s->out, s->outer);
}

// A move fills single lanes of a buffer: what it does not name stays.
static bool check_move_entry(Check *c, const MoveStep *s, const MoveWalk *w)
{
    if (w->src < 0 || w->dst < 0) {
        fail(c, "entry %u: lanes %lld and %lld", w->at - 1, (long long)w->src, (long long)w->dst);
        return false;
    }
    uint64_t lane = (uint64_t)s->out + (uint64_t)w->dst;
    if (!check_read(c, "source", s->space, s->in + (uint64_t)w->src, 1)) return false;
    if (!check_range(c, "destination", SPACE_WORK, lane, 1)) return false;
    if (c->touched[lane]) fail(c, "destination lane %lld comes twice", (long long)w->dst);
    c->touched[lane] = true;
    return c->ok;
}

// The records hold n pairs.
static bool check_runs(Check *c, const MoveStep *s)
{
    uint64_t pairs = 0;
    for (uint32_t i = 0; i < s->runs; i++) {
        MoveRun run;
        uint64_t box = 1;
        memcpy(&run, c->plan->weights + s->src_table + (size_t)i * MOVE_RUN_WORDS, sizeof run);
        for (int k = 0; k < MOVE_AXES; k++) {
            if (run.axis[k].count < 1 || box > s->n) {
                fail(c, "record %u: axis of %d", i, run.axis[k].count);
                return false;
            }
            box *= (uint64_t)run.axis[k].count;
        }
        pairs += box;
    }
    if (s->runs && pairs != s->n) fail(c, "%llu pairs in the records of %u", (unsigned long long)pairs, s->n);
    return c->ok;
}

static void check_move(Check *c, const MoveStep *s)
{
    if (!check_positive(c, "n", s->n)) return;
    if (s->runs > s->n) {
        fail(c, "%u records of %u pairs", s->runs, s->n);
        return;
    }
    if (!check_read(c, "source table", SPACE_CONST, s->src_table, (uint64_t)move_src_words(s))) return;
    if (!s->runs && !check_read(c, "destination table", SPACE_CONST, s->dst_table, s->n)) return;
    if (!check_runs(c, s)) return;
    if (s->out % ALIGN_LANES) fail(c, "out: lane %u is not a multiple of %d", s->out, ALIGN_LANES);
    bool first = s->space != SPACE_CONST;
    for (MoveWalk w = move_walk(c->plan, s); move_next(&w);) {
        if (!check_move_entry(c, s, &w)) return;
        first = first || !w.src;
    }
    if (!first) fail(c, "no entry reads CONST lane %u", s->in);
    for (MoveWalk w = move_walk(c->plan, s); move_next(&w);)
        if (!check_apart(c, "source", s->space, s->in + (uint64_t)w.src, 1)) return;
    for (MoveWalk w = move_walk(c->plan, s); move_next(&w);) {
        uint64_t lane = (uint64_t)s->out + (uint64_t)w.dst;
        c->has_value[lane] = true;
        c->touched[lane] = false;
    }
}

static void check_matmul(Check *c, const MatmulStep *s)
{
    uint64_t a = (uint64_t)s->batch * s->m * s->k, b = (uint64_t)s->batch * s->k * s->n;
    uint64_t result = (uint64_t)s->batch * s->m * s->n;
    if (!check_positive(c, "batch", s->batch) || !check_positive(c, "m", s->m) || !check_positive(c, "k", s->k) ||
        !check_positive(c, "n", s->n))
        return;
    if (!check_read(c, "a", s->a_space, s->a, a) || !check_read(c, "c", s->c_space, s->c, b)) return;
    if (!check_write(c, "out", s->out, result)) return;
    if (!check_apart(c, "a", s->a_space, s->a, a) || !check_apart(c, "c", s->c_space, s->c, b)) return;
    note_write(c, s->out, result);
}

static void check_take(Check *c, const TakeStep *s)
{
    uint64_t table = (s->table_shared ? 1 : (uint64_t)s->outer) * s->k, result = (uint64_t)s->outer * s->j;
    if (!check_positive(c, "outer", s->outer) || !check_positive(c, "k", s->k) || !check_positive(c, "j", s->j)) return;
    if (s->k > 1u << 24) {
        fail(c, "a table of %u entries: f32 cannot count that far", s->k);
        return;
    }
    if (!check_read(c, "table", s->table_space, s->table, table)) return;
    if (!check_read(c, "index", s->index_space, s->index, result)) return;
    if (!check_write(c, "out", s->out, result)) return;
    if (!check_apart(c, "table", s->table_space, s->table, table)) return;
    if (!check_apart(c, "index", s->index_space, s->index, result)) return;
    note_write(c, s->out, result);
}

static void check_step(Check *c, const Step *s)
{
    if (s->kind > STEP_REPEAT) {
        fail(c, "unknown kind %d", (int)s->kind);
        return;
    }
    c->kind = step_name(s->kind);
    c->name = s->name ? s->name : "";
    switch (s->kind) {
    case STEP_GEMM: check_gemm(c, &s->gemm); break;
    case STEP_MAP: check_map(c, &s->map); break;
    case STEP_REDUCE: check_reduce(c, &s->reduce); break;
    case STEP_MOVE: check_move(c, &s->move); break;
    case STEP_MATMUL: check_matmul(c, &s->matmul); break;
    case STEP_TAKE: check_take(c, &s->take); break;
    case STEP_REPEAT: break;
    }
}

// ---- programs
// Repeats stand in the list, with steps of their strides' kinds and no repeat in them.
static void check_repeat(Check *c, const Program *p)
{
    const RepeatStep *r = &p->steps[c->step].repeat;
    if (r->count < 2 || !r->length || r->length >= (uint32_t)(p->n_steps - c->step)) {
        fail(c, "%u times %u of the %d steps that follow", r->count, r->length, p->n_steps - c->step - 1);
        return;
    }
    for (uint32_t i = 0; i < r->length; i++) {
        const Step *s = &p->steps[c->step + 1 + (int)i], *by = &r->stride[i];
        bool same = s->kind == by->kind && s->kind != STEP_REPEAT;
        if (same && s->kind == STEP_MAP)
            same = s->map.n_args == by->map.n_args && s->map.n_outs == by->map.n_outs &&
                   s->map.n_args <= MAP_MAX_ARGS && s->map.n_outs <= MAP_MAX_OUTS;
        if (same) continue;
        fail(c, "step %u of the body has no stride", i);
        return;
    }
}

static void check_repeats(Check *c, const Program *p)
{
    for (c->step = 0; c->step < p->n_steps && c->ok; c->step++) {
        if (p->steps[c->step].kind != STEP_REPEAT) continue;
        c->kind = "repeat";
        c->name = p->steps[c->step].name ? p->steps[c->step].name : "";
        check_repeat(c, p);
    }
}

static void check_steps(Check *c, const Program *p)
{
    const Step *s;
    for (StepWalk w = plan_walk(p); c->ok && (s = plan_next(&w));) {
        c->step = w.at - 1;
        check_step(c, s);
    }
}

static void check_inputs(Check *c, const Program *p)
{
    for (int i = 0; i < p->n_in && c->ok; i++) {
        if (p->in[i].kind > PORT_SCORE) fail(c, "in port %d: unknown kind %u", i, p->in[i].kind);
        check_write(c, "in port", p->in[i].at, p->in[i].lanes);
    }
    for (int i = 0; i < p->n_in && c->ok; i++) note_write(c, p->in[i].at, p->in[i].lanes);
}

static void check_outputs(Check *c, const Program *p)
{
    for (int i = 0; i < p->n_out && c->ok; i++) {
        if (p->out[i].kind > PORT_SCORE) fail(c, "out port %d: unknown kind %u", i, p->out[i].kind);
        check_read(c, "out port", SPACE_WORK, p->out[i].at, p->out[i].lanes);
    }
}

// A program's first violation ends it: the flags are not to be trusted after it.
static bool check_program(Context *cx, const Plan *plan, ProgramId id)
{
    const Program *p = &plan->programs[id];
    Arena *scratch = arena_new();
    Check c = {
        .cx = cx, .plan = plan, .program = program_name(id), .work_lanes = p->work_lanes, .step = -1, .ok = true};
    c.may_read_prep = id == PROGRAM_TO_LATENT || id == PROGRAM_TO_EVENT || id == PROGRAM_SCORE || id == PROGRAM_ACT ||
                      id == PROGRAM_BASE;
    c.has_value = ARENA_ARRAY(scratch, bool, p->work_lanes);
    c.touched = ARENA_ARRAY(scratch, bool, p->work_lanes);
    if (p->work_lanes % ALIGN_LANES) fail(&c, "%u WORK lanes are no multiple of %d", p->work_lanes, ALIGN_LANES);
    if (c.ok) check_inputs(&c, p);
    if (c.ok) check_repeats(&c, p);
    if (c.ok) check_steps(&c, p);
    c.step = -1;
    if (c.ok) check_outputs(&c, p);
    arena_free(scratch);
    return c.ok;
}

bool plan_verify(const Plan *plan, Context *cx)
{
    bool ok = true;
    for (int i = 0; i < PROGRAM_COUNT; i++)
        if (plan->programs[i].exists && !check_program(cx, plan, (ProgramId)i)) ok = false;
    return ok;
}
