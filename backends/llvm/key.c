// Step descriptors split in two: words that decide the code, and lane numbers and counts that are its arguments. Steps
// of equal words share one function, whichever program they are in. A count is an argument where the code is as fast
// with it; the words then say what remains of it, such as the lanes behind the last whole vector.
#include "llvm.h"

#include <string.h>

static void word(Gen *g, StepKey *k, uint32_t w)
{
    HEAP_PUSH(g->key_words, k->n_words, g->cap_key_words, w);
    k->words = g->key_words;
}
static void arg(Gen *g, StepKey *k, uint32_t kind, uint32_t value)
{
    Arg a = {kind, kind == ARG_CONST ? layout_lane(g->layout, value) : value};
    HEAP_PUSH(g->key_args, k->n_args, g->cap_key_args, a);
    k->args = g->key_args;
}

static void count(Gen *g, StepKey *k, uint32_t value)
{
    if (k->known)
        word(g, k, value);
    else
        arg(g, k, ARG_COUNT, value);
}

static void words_of(Gen *g, StepKey *k, const uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) word(g, k, words[i]);
}
#define WORDS(...) words_of(g, k, (const uint32_t[]){__VA_ARGS__}, sizeof(uint32_t[]){__VA_ARGS__} / sizeof(uint32_t))

// Which numbers are args follows from the code's other words (numbers.c).
static void code_key(Gen *g, StepKey *k, const ScalarInstr *c, bool is_arg)
{
    WORDS((uint32_t)c->op | (uint32_t)c->a << 16, (uint32_t)c->b | (uint32_t)c->c << 16, is_arg ? 0 : c->imm);
}

// The words from here on are for T = 1 alone.
static void one_row(StepKey *k) { k->n_rows = k->n_words; }

// A code that knows its counts has no args of them.
static void product_key(Gen *g, StepKey *k, const GemmStep *s)
{
    Cuts c = gemm_cuts(g, s);
    WORDS(c.cuts > 1, c.whole, gemm_expands(g, s), s->n >= GEMM_GROUP, s->n % GEMM_GROUP,
          gemm_paired(g, s) && s->k % 2);
    count(g, k, s->k);
    if (c.cuts > 1) count(g, k, s->kb);
    if (s->n >= GEMM_GROUP) count(g, k, s->n / GEMM_GROUP);
    one_row(k);
    WORDS((uint32_t)c.cuts, gemm_gathers_tokens(g, s), gemm_compacts(g, s));
}

bool transposed_even(const GemmStep *s) { return s->n % (s->n < GEMM_GROUP ? 16 : GEMM_GROUP) == 0; }

static void transposed_key(Gen *g, StepKey *k, const GemmStep *s)
{
    bool even = transposed_even(s);
    WORDS(s->k >= 8, s->k % 8, even, even ? 0 : s->n % GEMM_GROUP, s->n >= GEMM_GROUP && !even);
    count(g, k, s->k);
    if (even)
        count(g, k, s->n);
    else if (s->n >= GEMM_GROUP)
        count(g, k, s->n / GEMM_GROUP);
    one_row(k);
    word(g, k, (uint32_t)least(s->n, GEMM_GROUP));
}

enum { MIXED = 8, WINDOWS = 16 };

static void tiled_windows_key(Gen *g, StepKey *k, const GemmStep *s)
{
    uint32_t first[MOST_RUNS];
    int runs = s->tiles ? 0 : tap_runs(g, s, first);
    WORDS(s->tiles, s->stride, s->picture, s->tiles ? 0 : s->k, (uint32_t)runs);
    for (int i = 0; i < runs; i++) word(g, k, first[i]);
    if (!s->tiles) return;
    arg(g, k, ARG_CONST, s->firsts);
    arg(g, k, ARG_CONST, s->slots);
}

static void gemm_key(Gen *g, StepKey *k, const GemmStep *s)
{
    bool mixed = gemm_mixed(g, s), reads_add = mixed || gemm_add_lanes(s);
    uint32_t behind = mixed ? MIXED : s->has_add | s->scaled << 1 | s->has_bias << 2;
    if (s->picture) behind |= WINDOWS << windows_even(g, s);
    WORDS(s->apart ? 0 : s->m, s->diagonal << 2 | (uint32_t)s->apart << 1 | s->one_x, behind, s->transposed,
          s->x_space);
    arg(g, k, s->x_space, s->x);
    if (reads_add) arg(g, k, ARG_ADD, s->add << 1 | s->add_space);
    uint32_t at;
    MatrixKind kind = layout_matrix(g->layout, s->w, &at);
    word(g, k, kind);
    arg(g, k, kind ? ARG_SHORT : ARG_CONST, kind ? at : s->w);
    if (mixed || s->has_bias) arg(g, k, ARG_CONST, s->has_bias ? s->bias : s->w);
    arg(g, k, ARG_WORK, s->out);
    if (gemm_paired(g, s)) arg(g, k, ARG_WORK, s->pairs);
    if (s->picture) {
        arg(g, k, ARG_CONST, s->places);
        arg(g, k, ARG_CONST, s->taps);
        if (gemm_tiled(g, s)) tiled_windows_key(g, k, s);
    }
    if (mixed) arg(g, k, ARG_WORD, s->scaled ? 2 : s->has_bias);
    if (s->apart) count(g, k, s->m);
    if (s->transposed)
        transposed_key(g, k, s);
    else
        product_key(g, k, s);
    if (gemm_turns(g, s)) {
        arg(g, k, ARG_LINE, g->turn.end);
        arg(g, k, ARG_LINE, g->turn.next);
    }
    if (g->after) arg(g, k, ARG_WORD, g->applies);
}

Pattern pattern_of(const Access *a, uint32_t n)
{
    Pattern p = {true, a->inner_step, a->inner, a->outer_step, a->inner_step};
    if (a->inner >= n) return p;
    if (a->inner == 1) {
        p.step = a->outer_step;
        return p;
    }
    p.one_level = (int64_t)a->inner * a->inner_step == a->outer_step;
    return p;
}

int map_width(const TargetInfo *info) { return info->width < 8 ? 8 : info->width; }

bool map_flat(const MapStep *s)
{
    for (uint32_t i = 0; i < s->n_args; i++)
        if (!pattern_of(&s->args[i], s->n).one_level) return false;
    return true;
}

// PREP may have fewer rows than WORK.
bool map_joined(const MapStep *s)
{
    for (uint32_t i = 0; i < s->n_args; i++) {
        Pattern p = pattern_of(&s->args[i], s->n);
        bool alike = s->args[i].space == SPACE_WORK && p.step == 1,
             one = s->args[i].space == SPACE_CONST && p.step == 0;
        if (!p.one_level || !(alike || one)) return false;
    }
    return true;
}

// A short map, in place, of all results of the product before it costs less in the product's registers than a pass of
// its own over them. One of many operations does not: the product fills the multiplying units by itself.
enum { SHORT_CODE = 10 };

bool map_follows(const Gen *g, const MapStep *s, const GemmStep *gemm)
{
    if (g->gemm != gemm_emit || gemm->transposed || s->n != gemm->m * gemm->n) return false;
    if (s->n_args != 1 || s->n_outs != 1 || s->n_code > SHORT_CODE || !map_joined(s)) return false;
    if (g->info.tiles && !gemm_tiled(g, gemm)) return false;
    const Learned *learned = numbers_learned(g->numbers, s);
    for (uint32_t i = 0; i < s->n_code; i++)
        if (is_learned(learned, i)) return false;
    return s->args[0].space == SPACE_WORK && s->args[0].at == gemm->out && s->outs[0].at == gemm->out;
}

static void map_arg_key(Gen *g, StepKey *k, const Access *a, uint32_t n)
{
    Pattern p = pattern_of(a, n);
    if (p.one_level)
        WORDS(a->space, 0, (uint32_t)p.step, 0);
    else
        WORDS(a->space, (uint32_t)p.inner, (uint32_t)p.outer_step, (uint32_t)p.inner_step);
    arg(g, k, a->space, a->at);
}

// For T = 1 one vector needs no loop.
static void map_key(Gen *g, StepKey *k, const MapStep *s)
{
    bool flat = map_flat(s);
    WORDS(flat ? 0 : s->n, s->n_args, s->n_outs, s->n_code);
    for (uint32_t i = 0; i < s->n_args; i++) map_arg_key(g, k, &s->args[i], s->n);
    for (uint32_t i = 0; i < s->n_outs; i++) {
        word(g, k, s->outs[i].value);
        arg(g, k, ARG_WORK, s->outs[i].at);
    }
    const Learned *learned = numbers_learned(g->numbers, s);
    for (uint32_t i = 0; i < s->n_code; i++) {
        const ScalarInstr *c = &s->code[i];
        bool is_arg = is_learned(learned, i);
        if (is_arg) arg(g, k, ARG_WORD, c->imm);
        code_key(g, k, c, is_arg);
    }
    if (flat) count(g, k, s->n);
    one_row(k);
    for (int i = 0; i < g->n_levels; i++) word(g, k, s->n <= (uint32_t)map_width(&g->level[i]));
}

enum { MOST_LENGTHS = 4 };

bool lengths_vary(const Plan *plan)
{
    uint32_t seen = 0;
    const Step *s;
    for (int id = 0; id < PROGRAM_COUNT; id++)
        for (StepWalk w = plan_walk(&plan->programs[id]); (s = plan_next(&w));)
            if (s->kind == STEP_REDUCE && !s->reduce.across) seen |= 1u << s->reduce.k % 16;
    return __builtin_popcount(seen) > MOST_LENGTHS;
}

static void reduce_key(Gen *g, StepKey *k, const ReduceStep *s)
{
    WORDS((uint32_t)s->op, s->squares, s->squares && reduce_centres_move(s), s->in_space, reduce_learns_lines(g, s),
          s->across);
    arg(g, k, s->in_space, s->in);
    if (s->squares) {
        word(g, k, s->centre_space);
        arg(g, k, s->centre_space, s->centre);
    }
    arg(g, k, ARG_WORK, s->out);
    if (reduce_learns_lines(g, s)) count(g, k, s->outer);
    if (reduce_learns_length(g, s)) {
        count(g, k, s->k);
        return;
    }
    WORDS(s->k >= 16, s->k % 16);
    if (s->k >= 16) count(g, k, s->k / 16);
}

TableShape table_shape(const Plan *plan, uint32_t table, uint32_t n)
{
    TableShape t = {true, plan_table(plan, table, 0), 1};
    if (n > 1) t.step = plan_table(plan, table, 1) - t.first;
    for (uint32_t i = 1; i < n && t.affine; i++) t.affine = plan_table(plan, table, i) == t.first + (int64_t)i * t.step;
    return t;
}

static void move_key(Gen *g, StepKey *k, const MoveStep *s)
{
    if (s->runs) {
        WORDS(s->space, 2);
        arg(g, k, s->space, s->in);
        arg(g, k, ARG_CONST, s->src_table);
        arg(g, k, ARG_WORK, s->out);
        count(g, k, s->runs);
        return;
    }
    TableShape src = table_shape(g->plan, s->src_table, s->n), dst = table_shape(g->plan, s->dst_table, s->n);
    WORDS(s->space, src.affine, src.affine ? (uint32_t)src.step : 0, dst.affine, dst.affine ? (uint32_t)dst.step : 0);
    arg(g, k, s->space, src.affine ? s->in + (uint32_t)src.first : s->in);
    if (!src.affine) arg(g, k, ARG_CONST, s->src_table);
    if (!dst.affine) arg(g, k, ARG_CONST, s->dst_table);
    arg(g, k, ARG_WORK, dst.affine ? s->out + (uint32_t)dst.first : s->out);
    count(g, k, s->n);
    one_row(k);
    for (int i = 0; i < g->n_levels; i++) {
        uint32_t width = (uint32_t)g->level[i].width;
        WORDS(s->n >= width, s->n % width != 0);
    }
}

static void matmul_key(Gen *g, StepKey *k, const MatmulStep *s)
{
    Cuts c = matmul_cuts(g, s);
    if (matmul_dots(s)) {
        WORDS(0, 1, 0, s->a_space, s->c_space);
        arg(g, k, s->a_space, s->a);
        arg(g, k, s->c_space, s->c);
        arg(g, k, ARG_WORK, s->out);
        count(g, k, s->m);
        count(g, k, s->k);
        return;
    }
    WORDS(s->m, s->n, c.whole, s->a_space, s->c_space);
    arg(g, k, s->a_space, s->a);
    arg(g, k, s->c_space, s->c);
    arg(g, k, ARG_WORK, s->out);
    count(g, k, s->batch);
    count(g, k, s->k);
}

static void take_key(Gen *g, StepKey *k, const TakeStep *s)
{
    WORDS(s->k, s->table_shared, s->table_space, s->index_space);
    arg(g, k, s->table_space, s->table);
    arg(g, k, s->index_space, s->index);
    arg(g, k, ARG_WORK, s->out);
    count(g, k, s->outer);
    count(g, k, s->j);
}

// In front, since T = 1, where every step does its own work but for tiles, does not look at it.
enum { AFTER = 1 << 16 };

static void after_key(Gen *g, StepKey *k)
{
    const MapStep *s = g->after;
    if (g->taken) word(g, k, AFTER);
    if (s) WORDS(AFTER | s->n_code, s->outs[0].value);
    for (uint32_t i = 0; s && i < s->n_code; i++) code_key(g, k, &s->code[i], false);
    k->n_after = g->info.tiles ? 0 : k->n_words;
}

// Lanes of WORK are stored short where they all can be (form[ARG_WORK] is set), else all of a step's are wide.
static void set_width(Gen *g, StepKey *k)
{
    ArgForm f = g->form[ARG_WORK];
    for (int i = 0; i < k->n_args; i++) {
        uint32_t lane = k->args[i].value, low = (1u << f.shift) - 1;
        if (k->args[i].kind == ARG_WORK && (lane & low || lane >> f.shift > 0xffff)) k->wide = true;
    }
    for (int i = 0; i < k->n_args && k->wide; i++)
        if (k->args[i].kind == ARG_WORK) g->key_args[i].kind = ARG_WIDE;
    g->key_words[k->n_after] |= k->wide ? 1u << 31 : 0;
}

StepKey step_key(Gen *g, const Step *s, bool known, bool wide)
{
    StepKey k = {.known = known, .wide = wide};
    after_key(g, &k);
    word(g, &k, (uint32_t)s->kind << 1 | known);
    switch (s->kind) {
    case STEP_GEMM: gemm_key(g, &k, &s->gemm); break;
    case STEP_MAP: map_key(g, &k, &s->map); break;
    case STEP_REDUCE: reduce_key(g, &k, &s->reduce); break;
    case STEP_MOVE: move_key(g, &k, &s->move); break;
    case STEP_MATMUL: matmul_key(g, &k, &s->matmul); break;
    case STEP_TAKE: take_key(g, &k, &s->take); break;
    case STEP_REPEAT: break;
    }
    if (!k.n_rows) k.n_rows = k.n_words;
    set_width(g, &k);
    return k;
}
