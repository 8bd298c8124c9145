// The descriptor of a policy (runtime/abi.h) as bytes: header, then ports, values, golden words, strings; padded to
// 64 bytes, where the weights begin. Offsets count from the first byte, so the bytes can be laid anywhere.
#include "abi.h"
#include "target.h"

#include <string.h>

_Static_assert((int)PORT_CONTEXT == (int)NFCC_PORT_CONTEXT && (int)PORT_X == (int)NFCC_PORT_X &&
                   (int)PORT_Z == (int)NFCC_PORT_Z && (int)PORT_LOG_DET == (int)NFCC_PORT_LOG_DET &&
                   (int)PORT_LOG_PROB == (int)NFCC_PORT_LOG_PROB && (int)PORT_ACT == (int)NFCC_PORT_ACT &&
                   (int)PORT_EARLY == (int)NFCC_PORT_EARLY && (int)PORT_PREP == (int)NFCC_PORT_PREP &&
                   (int)PORT_GRAPH == (int)NFCC_PORT_GRAPH && (int)PORT_SEED == (int)NFCC_PORT_SEED &&
                   (int)PORT_TEMPERATURE == (int)NFCC_PORT_TEMPERATURE && (int)PORT_SCORE == (int)NFCC_PORT_SCORE,
               "plan.h and abi.h number the ports alike");
_Static_assert((int)PROGRAM_ENCODE == (int)NFCC_PROGRAM_ENCODE && (int)PROGRAM_LATE == (int)NFCC_PROGRAM_LATE &&
                   (int)PROGRAM_TO_LATENT == (int)NFCC_PROGRAM_TO_LATENT &&
                   (int)PROGRAM_TO_EVENT == (int)NFCC_PROGRAM_TO_EVENT &&
                   (int)PROGRAM_NOISE == (int)NFCC_PROGRAM_NOISE && (int)PROGRAM_RUN == (int)NFCC_PROGRAM_RUN &&
                   (int)PROGRAM_SCORE == (int)NFCC_PROGRAM_SCORE && (int)PROGRAM_ACT == (int)NFCC_PROGRAM_ACT &&
                   (int)PROGRAM_BASE == (int)NFCC_PROGRAM_BASE &&
                   (int)PROGRAM_TO_LATENT_EARLY == (int)NFCC_PROGRAM_TO_LATENT_EARLY &&
                   (int)PROGRAM_TO_EVENT_EARLY == (int)NFCC_PROGRAM_TO_EVENT_EARLY &&
                   (int)PROGRAM_COUNT == (int)NFCC_PROGRAMS,
               "plan.h and abi.h number the programs alike");
_Static_assert((int)T_F32 == (int)NFCC_F32 && (int)T_F64 == (int)NFCC_F64 && (int)T_I64 == (int)NFCC_I64 &&
                   (int)T_BOOL == (int)NFCC_BOOL,
               "ir.h and abi.h number the element types alike");
_Static_assert((int)WEIGHTS_F32 == (int)NFCC_WEIGHTS_F32 && (int)WEIGHTS_F16 == (int)NFCC_WEIGHTS_F16 &&
                   (int)WEIGHTS_BF16 == (int)NFCC_WEIGHTS_BF16,
               "plan.h and abi.h number the weight types alike");
_Static_assert((int)MAX_RANK == 8 && sizeof(nfcc_abi_port) == sizeof(PlanPort), "the tables have one shape");

static const uint64_t golden_seed = 0x6e666363;

// Bytes under construction.
typedef struct {
    Arena *arena;
    unsigned char *data;
    size_t n, cap;
} Blob;

static uint32_t append(Blob *b, const void *data, size_t size, size_t align)
{
    size_t at = (b->n + align - 1) / align * align;
    if (at + size > b->cap) {
        size_t cap = 2 * (at + size) + 1024;
        unsigned char *wider = arena_alloc(b->arena, cap);
        if (b->n) memcpy(wider, b->data, b->n);
        b->data = wider;
        b->cap = cap;
    }
    if (size) memcpy(b->data + at, data, size);
    b->n = at + size;
    return (uint32_t)at;
}

static uint32_t append_string(Blob *b, const char *text)
{
    if (!text) text = "";
    return append(b, text, strlen(text) + 1, 1);
}

static nfcc_abi_value value_entry(Blob *b, const PlanValue *v)
{
    nfcc_abi_value entry = {.dtype = (uint32_t)v->dtype, .rank = (uint32_t)v->rank, .lanes = v->lanes};
    entry.name = append_string(b, v->name);
    for (int i = 0; i < v->rank; i++) entry.dim[i] = (uint32_t)v->dim[i];
    return entry;
}

static uint32_t append_values(Blob *b, const PlanValue *values, int n)
{
    if (!n) return 0;
    nfcc_abi_value *entries = ARENA_ARRAY(b->arena, nfcc_abi_value, n);
    for (int i = 0; i < n; i++) entries[i] = value_entry(b, &values[i]);
    return append(b, entries, (size_t)n * sizeof *entries, 8);
}

static uint32_t append_ports(Blob *b, const PlanPort *ports, int n)
{
    if (!n) return 0;
    return append(b, ports, (size_t)n * sizeof *ports, 8);
}

static nfcc_abi_program program_entry(Blob *b, const Program *p)
{
    nfcc_abi_program entry = {.exists = p->exists};
    if (!p->exists) return entry;
    entry.work_lanes = p->work_lanes;
    entry.n_in = (uint32_t)p->n_in;
    entry.n_out = (uint32_t)p->n_out;
    entry.in = append_ports(b, p->in, p->n_in);
    entry.out = append_ports(b, p->out, p->n_out);
    return entry;
}

static void add_names(Blob *b, nfcc_model_header *h, const Plan *plan, const Target *target, const char *compiler)
{
    h->name = append_string(b, plan->name);
    h->compiler = append_string(b, compiler);
    h->target = append_string(b, arena_format(b->arena, "%s %s", target->triple, target->cpu));
    h->base = append_string(b, plan->base);
    h->notes = append_string(b, plan->notes);
}

static void add_tables(Blob *b, nfcc_model_header *h, const Plan *plan)
{
    h->n_contexts = (uint32_t)plan->n_contexts;
    h->contexts = append_values(b, plan->contexts, plan->n_contexts);
    h->n_inputs = (uint32_t)plan->n_inputs;
    h->inputs = append_values(b, plan->inputs, plan->n_inputs);
    h->n_outputs = (uint32_t)plan->n_outputs;
    h->outputs = append_values(b, plan->outputs, plan->n_outputs);
    h->event = value_entry(b, &plan->event);
    for (int i = 0; i < PROGRAM_COUNT; i++) h->programs[i] = program_entry(b, &plan->programs[i]);
}

static void add_golden(Blob *b, nfcc_model_header *h, const Plan *plan)
{
    h->golden_seed = golden_seed;
    h->given_only = plan->given_only;
    h->golden_rows = plan->golden_rows;
    h->golden_words = plan->golden_words;
    if (plan->golden_words) h->golden = append(b, plan->golden, plan->golden_words * sizeof(uint32_t), 8);
}

// The second table of code offsets, where the target has one.
static void add_other_code(Blob *b, nfcc_model_header *h, const Target *target, WeightType type)
{
    static const int32_t no_code[NFCC_PROGRAMS][NFCC_TILES];
    TargetInfo other;
    if (!target_other(target, type, &other)) return;
    h->other_cpu = other.cpu_bits;
    h->other_code = append(b, no_code, sizeof no_code, 4);
}

static void say_facts(nfcc_model_header *h, const CodeFacts *facts)
{
    h->weights_size = facts->weights;
    h->weight_dtype = (uint32_t)facts->type;
    h->stack_bytes = STACK_BYTES;
    h->shares_prep = facts->shares_prep;
    memcpy(h->cost, facts->cost, sizeof h->cost);
    h->cost_two = facts->cost_two;
}

const Bytes *descriptor_bytes(Context *cx, const Plan *plan, const Target *target, const CodeFacts *facts)
{
    Blob b = {cx->arena, NULL, 0, 0};
    TargetInfo info = target_info(target, facts->type, plan->tiled);
    nfcc_model_header h = {.magic = NFCC_ABI_MAGIC, .version = NFCC_ABI_VERSION, .cpu = info.cpu_bits};
    append(&b, &h, sizeof h, 64);
    add_other_code(&b, &h, target, facts->type);
    memcpy(h.hash, plan->hash, sizeof h.hash);
    h.early_lanes = plan->early_lanes;
    h.prep_lanes = plan->prep_lanes;
    add_names(&b, &h, plan, target, compiler_name(cx));
    add_tables(&b, &h, plan);
    add_golden(&b, &h, plan);
    h.n_compact = facts->n_compact;
    h.compact_programs = facts->compact_programs;
    if (h.n_compact) h.compact = append(&b, facts->compact, h.n_compact * sizeof *facts->compact, 8);
    static const char zeros[64];
    append(&b, zeros, (64 - b.n % 64) % 64, 1);
    h.size = (uint32_t)b.n;
    h.weights = b.n;
    h.few_rows = rows_of_one(&info);
    say_facts(&h, facts);
    memcpy(b.data, &h, sizeof h);
    Bytes *bytes = ARENA_NEW(cx->arena, Bytes);
    *bytes = (Bytes){b.data, b.n, NULL};
    return bytes;
}
