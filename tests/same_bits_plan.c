// same_bits_plan MODEL.onnx FILE ROWS MOST [f16|bf16|tiles]: what the Plan's interpreter, which defines the bits, gives for
// every entry on ROWS rows of random inputs, for same_bits_run to compare a compiled policy with. See same_bits.h.
//
// The Plan's programs read and write values by kind and index of port; a value keeps all rows but for the prepared
// state, which is large and kept for one piece of rows.
#include "same_bits.h"

#include "float_bits.h"
#include "flow.h"
#include "frontend.h"
#include "passes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 4096, KINDS = PORT_SCORE + 1 };

typedef struct {
    uint32_t *words; // NULL: no program gives it
    uint32_t lanes;
    size_t rows; // that are kept: all, or PIECE
} Value;

typedef struct {
    Context cx;
    const Plan *plan;
    size_t rows, most;
    uint64_t random;
    Value *value[KINDS];
    uint32_t n_values; // of a kind
    FILE *out;
} Maker;

// ---- numbers: sums of four uniforms
static float uniform(Maker *m) { return (float)(2 * draw_uniform(&m->random) - 1); }

static void draw(Maker *m, Value *v)
{
    for (size_t i = 0; i < m->rows * v->lanes; i++)
        v->words[i] = word_of(uniform(m) + uniform(m) + uniform(m) + uniform(m));
}

// The graph's outputs have numbers of their own, behind those of its inputs.
static uint32_t out_index(const Maker *m, const PlanPort *port)
{
    return port->index + (port->kind == PORT_GRAPH ? (uint32_t)m->plan->n_inputs : 0);
}

static Value *value_new(Maker *m, uint32_t kind, uint32_t index, uint32_t lanes, size_t rows)
{
    Value *v = &m->value[kind][index];
    if (!v->words || v->lanes != lanes) *v = (Value){ARENA_ARRAY(m->cx.arena, uint32_t, rows *lanes + 1), lanes, rows};
    return v;
}

// ---- programs
static bool run_program(Maker *m, ProgramId id, size_t first, size_t count)
{
    const Program *p = &m->plan->programs[id];
    const uint32_t **in = ARENA_ARRAY(m->cx.arena, const uint32_t *, p->n_in + 1);
    uint32_t **out = ARENA_ARRAY(m->cx.arena, uint32_t *, p->n_out + 1);
    const Value *prep = &m->value[PORT_PREP][0];
    if (!p->exists) return false;
    for (int i = 0; i < p->n_in; i++) {
        const Value *v = &m->value[p->in[i].kind][p->in[i].index];
        in[i] = v->words + first % v->rows * v->lanes;
    }
    for (int i = 0; i < p->n_out; i++) {
        bool part = p->out[i].kind == PORT_EARLY || p->out[i].kind == PORT_PREP;
        Value *v = value_new(m, p->out[i].kind, out_index(m, &p->out[i]), p->out[i].lanes, part ? PIECE : m->rows);
        out[i] = v->words + first % v->rows * v->lanes;
    }
    plan_run(m->plan, id, count, prep->words, in, out);
    return true;
}

static bool run_all(Maker *m, ProgramId id)
{
    bool any = false;
    for (size_t first = 0; first < m->rows; first += PIECE) {
        size_t count = m->rows - first < PIECE ? m->rows - first : PIECE;
        if (m->plan->programs[id].exists && id != PROGRAM_NOISE && id != PROGRAM_RUN) {
            run_program(m, PROGRAM_ENCODE, first, count);
            run_program(m, PROGRAM_LATE, first, count);
        }
        any = run_program(m, id, first, count);
    }
    return any;
}

// ---- the file
static void write_value(const Maker *m, const char *set, const char *name, uint32_t kind, uint32_t index)
{
    const Value *v = &m->value[kind][index];
    SameRecord record = {.lanes = v->lanes};
    if (!v->words) return;
    if (snprintf(record.name, sizeof record.name, "%s.%s", set, name) >= (int)sizeof record.name) exit(3);
    if (fwrite(&record, sizeof record, 1, m->out) != 1 || fwrite(v->words, 4 * v->lanes, m->rows, m->out) != m->rows)
        exit(3);
}

static void forget_outputs(Maker *m) { m->value[PORT_LOG_DET][0] = m->value[PORT_LOG_PROB][0] = (Value){0}; }

// ---- the rows
static void make_noise(Maker *m)
{
    uint32_t lanes = m->plan->event.lanes;
    Value *z = value_new(m, PORT_Z, 0, lanes, m->rows), *seed = value_new(m, PORT_SEED, 0, 4, m->rows);
    Value *temperature = value_new(m, PORT_TEMPERATURE, 0, 1, m->rows);
    for (size_t r = 0; r < m->rows; r++) {
        seed->words[4 * r] = SAME_SEED;
        seed->words[4 * r + 2] = (uint32_t)r;
        temperature->words[r] = word_of(1.0f);
    }
    if (!run_all(m, PROGRAM_NOISE)) draw(m, z);
}

static void share_context(const Maker *m, const Value *v)
{
    for (SameCall c = same_next((SameCall){0}, m->most, m->rows); c.rows; c = same_next(c, m->most, m->rows))
        for (size_t r = c.first + 1; r < c.first + c.rows; r++)
            memcpy(v->words + r * v->lanes, v->words + c.first * v->lanes, 4 * v->lanes);
}

// Events: those of to_event, inside the support; every 16th row is any number, and some of those are far out.
static void make_events(Maker *m)
{
    Value *x = value_new(m, PORT_X, 0, m->plan->event.lanes, m->rows);
    bool inside = m->plan->programs[PROGRAM_TO_EVENT].exists;
    for (size_t i = 0; i < m->rows * x->lanes; i++) {
        size_t row = i / x->lanes;
        if (!inside || row % 16 == 15) x->words[i] = word_of(uniform(m) * (row % 32 == 31 ? 30.0f : 3.0f));
    }
}

static void flow_rows(Maker *m, const char *set)
{
    for (int i = 0; i < m->plan->n_contexts; i++) {
        char name[32];
        snprintf(name, sizeof name, "context.%d", i);
        Value *v = value_new(m, PORT_CONTEXT, (uint32_t)i, m->plan->contexts[i].lanes, m->rows);
        draw(m, v);
        if (!strcmp(set, "shared")) share_context(m, v);
        write_value(m, set, name, PORT_CONTEXT, (uint32_t)i);
    }
    make_noise(m);
    write_value(m, set, "z", PORT_Z, 0);
    if (run_all(m, PROGRAM_TO_EVENT)) {
        write_value(m, set, "to_event.x", PORT_X, 0);
        write_value(m, set, "to_event.log_det", PORT_LOG_DET, 0);
        write_value(m, set, "sample.log_prob", PORT_LOG_PROB, 0);
        run_all(m, PROGRAM_ACT);
        write_value(m, set, "act.x", PORT_ACT, 0);
    }
    forget_outputs(m);
    make_events(m);
    write_value(m, set, "x", PORT_X, 0);
    if (run_all(m, PROGRAM_SCORE)) write_value(m, set, "score.score", PORT_SCORE, 0);
    forget_outputs(m);
    if (!run_all(m, PROGRAM_TO_LATENT)) return;
    write_value(m, set, "to_latent.z", PORT_Z, 0);
    write_value(m, set, "to_latent.log_det", PORT_LOG_DET, 0);
    write_value(m, set, "log_prob.log_prob", PORT_LOG_PROB, 0);
}

static void graph_rows(Maker *m)
{
    char name[32];
    if (!m->plan->programs[PROGRAM_RUN].exists) return;
    for (int i = 0; i < m->plan->n_inputs; i++) {
        draw(m, value_new(m, PORT_GRAPH, (uint32_t)i, m->plan->inputs[i].lanes, m->rows));
        snprintf(name, sizeof name, "in.%d", i);
        write_value(m, "run", name, PORT_GRAPH, (uint32_t)i);
    }
    run_all(m, PROGRAM_RUN);
    for (int i = 0; i < m->plan->n_outputs; i++) {
        snprintf(name, sizeof name, "out.%d", i);
        write_value(m, "run", name, PORT_GRAPH, (uint32_t)(m->plan->n_inputs + i));
    }
}

// ---- the model
static const Plan *plan_of(Context *cx, const char *path, WeightType type, bool tiled)
{
    unsigned char hash[32];
    FlowOptions options = {0};
    ImportOptions import = {0};
    Flow flow = {0};
    const Module *derived = NULL, *imported = onnx_load(cx, path, &import, hash);
    const Module *lowered = imported ? passes_run(cx, imported, &options, NULL, &flow, &derived) : NULL;
    Plan *plan = lowered ? plan_build(cx, lowered, &flow, "same", hash, tiled) : NULL;
    if (plan && type != WEIGHTS_F32) plan_round(cx, plan, type, plan_short_from(cx, plan, type), tiled);
    return plan;
}

static bool all_float(const PlanValue *values, int n)
{
    for (int i = 0; i < n; i++)
        if (values[i].dtype != T_F32) return false;
    return true;
}

static int make_file(Maker *m, const char *path)
{
    SameHeader header = {m->rows, m->most};
    m->n_values = (uint32_t)(m->plan->n_contexts + m->plan->n_inputs + m->plan->n_outputs + 1);
    m->out = fopen(path, "wb");
    if (!m->out || fwrite(&header, sizeof header, 1, m->out) != 1) return 3;
    for (int set = 0; set < 2; set++) {
        for (int k = 0; k < KINDS; k++) m->value[k] = ARENA_ARRAY(m->cx.arena, Value, m->n_values);
        if (m->plan->event.lanes) flow_rows(m, set ? "shared" : "own");
        if (set == 0) graph_rows(m);
    }
    return fclose(m->out) ? 3 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 5) return fprintf(stderr, "usage: same_bits_plan MODEL.onnx FILE ROWS MOST [f16|bf16|tiles]\n"), 2;
    Arena *arena = arena_new();
    Diag diag = {.arena = arena, .file = argv[1]};
    Maker m = {.cx = {.arena = arena, .diag = &diag},
               .rows = strtoull(argv[3], NULL, 10),
               .most = strtoull(argv[4], NULL, 10)};
    m.random = 88172645463325252ull;
    const char *weights = argc < 6 ? "" : argv[5];
    WeightType type = !*weights ? WEIGHTS_F32 : strcmp(weights, "f16") ? WEIGHTS_BF16 : WEIGHTS_F16;
    m.plan = plan_of(&m.cx, argv[1], type, !strcmp(weights, "tiles"));
    diag_print(&diag, stderr);
    if (!m.plan || !m.rows || !m.most) return 1;
    if (!all_float(m.plan->inputs, m.plan->n_inputs) || !all_float(m.plan->contexts, m.plan->n_contexts) ||
        !all_float(m.plan->outputs, m.plan->n_outputs))
        return fprintf(stderr, "%s: f32 inputs and outputs are wanted\n", argv[1]), 1;
    int code = make_file(&m, argv[2]);
    arena_free(arena);
    return code;
}
