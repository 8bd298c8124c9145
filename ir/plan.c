// Names of the Plan's parts and its readable text, for `--stop-after plan`. The text is for people: nothing reads it.
#include "plan.h"

#include <inttypes.h>

typedef struct {
    const char *name;
    int operands;
} ScalarInfo;

static const ScalarInfo scalars[S_COUNT] = {
#define SCALAR(id, operands, meaning) {#id, operands},
#include "scalar.def"
#undef SCALAR
};

static const char *scalar_name(ScalarOp op) { return scalars[op].name; }

int scalar_operands(ScalarOp op) { return scalars[op].operands; }

const char *program_name(ProgramId id)
{
    switch (id) {
    case PROGRAM_ENCODE: return "encode";
    case PROGRAM_LATE: return "late";
    case PROGRAM_TO_LATENT: return "to_latent";
    case PROGRAM_TO_EVENT: return "to_event";
    case PROGRAM_NOISE: return "noise";
    case PROGRAM_RUN: return "run";
    case PROGRAM_SCORE: return "score";
    case PROGRAM_ACT: return "act";
    case PROGRAM_BASE: return "base";
    case PROGRAM_TO_LATENT_EARLY: return "to_latent_early";
    case PROGRAM_TO_EVENT_EARLY: return "to_event_early";
    case PROGRAM_COUNT: break;
    }
    return "?";
}

const char *step_name(StepKind kind)
{
    switch (kind) {
    case STEP_GEMM: return "gemm";
    case STEP_MAP: return "map";
    case STEP_REDUCE: return "reduce";
    case STEP_MOVE: return "move";
    case STEP_MATMUL: return "matmul";
    case STEP_TAKE: return "take";
    case STEP_REPEAT: return "repeat";
    }
    return "?";
}

static const char *const port_names[] = {"context", "x",    "z",     "log_det", "log_prob",    "act",
                                         "early",   "prep", "graph", "seed",    "temperature", "score"};
static const char *const space_names[] = {"work", "prep", "const"};

static void print_gemm(const GemmStep *g, FILE *out)
{
    if (g->transposed) fputs("transposed ", out);
    if (g->paired) fprintf(out, "%s at work+%u, ", g->tiled ? "tiled" : "paired", g->pairs);
    if (g->diagonal) fprintf(out, "diagonal of %u, ", g->diagonal);
    if (g->apart) fprintf(out, "apart%s, ", g->one_x ? ", one x" : "");
    fprintf(out, "m %u, k %u, n %u, kb %u: work+%u = %s+%u . const+%u", g->m, g->k, g->n, g->kb, g->out,
            space_names[g->x_space], g->x, g->w);
    if (g->picture) fprintf(out, ", windows of %u by const+%u and const+%u", g->picture, g->places, g->taps);
    if (g->tiles)
        fprintf(out, " in %u tiles, stride %u, by const+%u and const+%u", g->tiles, g->stride, g->firsts, g->slots);
    if (g->has_add) fprintf(out, " + %s+%u", space_names[g->add_space], g->add);
    if (g->scaled) fprintf(out, " * %s+%u", space_names[g->add_space], g->add);
    if (g->has_bias) fprintf(out, " + const+%u", g->bias);
    fputc('\n', out);
}

static void print_instr(const ScalarInstr *code, uint32_t number, FILE *out)
{
    fprintf(out, "        v%u = %s", number, scalar_name((ScalarOp)code->op));
    union {
        uint32_t u;
        float f;
    } word = {.u = code->imm};
    const uint16_t operand[] = {code->a, code->b, code->c};
    if (code->op == S_arg) fprintf(out, " %u", code->imm);
    if (code->op == S_imm) fprintf(out, " 0x%08x (%.9g)", word.u, (double)word.f);
    for (int i = 0; i < scalar_operands((ScalarOp)code->op); i++) fprintf(out, "%s v%u", i ? "," : "", operand[i]);
    fputc('\n', out);
}

static void print_map(const MapStep *s, FILE *out)
{
    fprintf(out, "n %u\n", s->n);
    for (uint32_t j = 0; j < s->n_args; j++) {
        const Access *a = &s->args[j];
        fprintf(out, "        arg %u: %s+%u", j, space_names[a->space], a->at);
        if (a->inner == s->n && a->inner_step == 1)
            fputc('\n', out);
        else
            fprintf(out, ", %u by %d, then by %d\n", a->inner, a->inner_step, a->outer_step);
    }
    for (uint32_t k = 0; k < s->n_code; k++) print_instr(&s->code[k], k, out);
    for (uint32_t j = 0; j < s->n_outs; j++) fprintf(out, "        work+%u = v%u\n", s->outs[j].at, s->outs[j].value);
}

static void print_step(const Step *step, int number, FILE *out)
{
    fprintf(out, "    %d: %s '%s' ", number, step_name(step->kind), step->name ? step->name : "");
    const ReduceStep *r = &step->reduce;
    const MoveStep *v = &step->move;
    const MatmulStep *p = &step->matmul;
    const TakeStep *t = &step->take;
    switch (step->kind) {
    case STEP_GEMM: print_gemm(&step->gemm, out); break;
    case STEP_MAP: print_map(&step->map, out); break;
    case STEP_REDUCE:
        fprintf(out, "%s, outer %u, k %u%s: work+%u = %s+%u", op_info(r->op)->name, r->outer, r->k,
                r->across ? " across" : "", r->out, space_names[r->in_space], r->in);
        if (r->squares)
            fprintf(out, " - %s+%u%s, squared", space_names[r->centre_space], r->centre, r->centres ? " each" : "");
        fputc('\n', out);
        break;
    case STEP_MOVE:
        if (v->runs)
            fprintf(out, "n %u: work+%u = %s+%u by %u runs at const+%u\n", v->n, v->out, space_names[v->space], v->in,
                    v->runs, v->src_table);
        else
            fprintf(out, "n %u: work+%u[const+%u] = %s+%u[const+%u]\n", v->n, v->out, v->dst_table,
                    space_names[v->space], v->in, v->src_table);
        break;
    case STEP_MATMUL:
        fprintf(out, "batch %u, m %u, k %u, n %u: work+%u = %s+%u . %s+%u\n", p->batch, p->m, p->k, p->n, p->out,
                space_names[p->a_space], p->a, space_names[p->c_space], p->c);
        break;
    case STEP_TAKE:
        fprintf(out, "outer %u, k %u, j %u: work+%u = %s+%u[%s+%u]%s\n", t->outer, t->k, t->j, t->out,
                space_names[t->table_space], t->table, space_names[t->index_space], t->index,
                t->table_shared ? ", one table" : "");
        break;
    case STEP_REPEAT: fprintf(out, "%u times the next %u steps\n", step->repeat.count, step->repeat.length); break;
    }
}

// What a later round adds to the lane numbers and counts.
static void print_stride(const Step *stride, FILE *out)
{
    Step by = *stride;
    uint32_t *fields[MOST_FIELDS];
    int n = step_fields(&by, fields), last = n;
    while (last && !*fields[last - 1]) last--;
    for (int i = 0; i < last; i++) fprintf(out, "%s%+d", i ? " " : "        each round ", (int)*fields[i]);
    if (last) fputc('\n', out);
}

static void print_steps(const Program *p, FILE *out)
{
    int repeat = -1, end = 0;
    for (int i = 0; i < p->n_steps; i++) {
        print_step(&p->steps[i], i, out);
        if (p->steps[i].kind == STEP_REPEAT) {
            repeat = i;
            end = i + (int)p->steps[i].repeat.length;
        } else if (i <= end && repeat >= 0) {
            print_stride(&p->steps[repeat].repeat.stride[i - repeat - 1], out);
        }
    }
}

static void print_ports(const char *label, const PlanPort *port, int n, FILE *out)
{
    for (int i = 0; i < n; i++)
        fprintf(out, "    %s %s %u: work+%u, %u lanes\n", label, port_names[port[i].kind], port[i].index, port[i].at,
                port[i].lanes);
}

static void print_program(const Program *p, const char *name, FILE *out)
{
    fprintf(out, "program %s: %d steps, %u work lanes\n", name, p->n_steps, p->work_lanes);
    print_ports("in", p->in, p->n_in, out);
    print_ports("out", p->out, p->n_out, out);
    print_steps(p, out);
}

static void print_values(const char *label, const PlanValue *values, int n, FILE *out)
{
    for (int i = 0; i < n; i++) {
        fprintf(out, "%s %d '%s': %s[", label, i, values[i].name, dtype_name(values[i].dtype));
        for (int d = 0; d < values[i].rank; d++) fprintf(out, "%s%" PRId64, d ? "," : "", values[i].dim[d]);
        fprintf(out, "], %u lanes\n", values[i].lanes);
    }
}

void plan_print(const Plan *plan, FILE *out)
{
    fprintf(out, "plan '%s': %" PRIu64 " weight lanes, %u early lanes, %u prep lanes\n", plan->name ? plan->name : "",
            plan->weight_lanes, plan->early_lanes, plan->prep_lanes);
    print_values("context", plan->contexts, plan->n_contexts, out);
    if (plan->event.lanes) print_values("event", &plan->event, 1, out);
    print_values("input", plan->inputs, plan->n_inputs, out);
    print_values("output", plan->outputs, plan->n_outputs, out);
    for (int i = 0; i < PROGRAM_COUNT; i++)
        if (plan->programs[i].exists) print_program(&plan->programs[i], program_name((ProgramId)i), out);
}
