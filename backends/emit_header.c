// The typed C header of one policy: a struct type per context, event, graph input and output, so that a wrong array
// does not compile, and inline functions that name them in order and call the functions of nfcc.h. C11 and C++.
#include "abi.h"
#include "target.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct {
    Context *cx;
    FILE *out;
    const Plan *plan;
    const char *name, *upper;
} Header;

// ONNX names as parts of C names, each different from those before it.
static const char *identifier(Context *cx, const char *name)
{
    char *copy = arena_string(cx->arena, name && *name ? name : "_");
    for (char *c = copy; *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '_';
    return copy;
}

static const char **identifiers(Context *cx, const PlanValue *values, int n)
{
    const char **names = ARENA_ARRAY(cx->arena, const char *, n + 1);
    for (int i = 0; i < n; i++) {
        const char *plain = identifier(cx, values[i].name);
        names[i] = plain;
        for (int j = 0, suffix = 2; j < i; j++)
            if (!strcasecmp(names[j], names[i])) { // they also become macros
                names[i] = arena_format(cx->arena, "%s_%d", plain, suffix++);
                j = -1;
            }
    }
    return names;
}

static const char *upper_case(Context *cx, const char *name)
{
    char *copy = arena_string(cx->arena, name);
    for (char *c = copy; *c; c++) *c = (char)toupper((unsigned char)*c);
    return copy;
}

static const char *element(DType dtype) { return dtype == T_I64 ? "int64_t" : dtype == T_BOOL ? "uint8_t" : "float"; }

static void write_type(Header *h, const PlanValue *v, const char *type)
{
    fprintf(h->out, "typedef struct { %s value[%u]; } %s_%s; /* [", element(v->dtype), v->lanes ? v->lanes : 1, h->name,
            type);
    for (int i = 0; i < v->rank; i++) fprintf(h->out, "%s%lld", i ? ", " : "", (long long)v->dim[i]);
    fprintf(h->out, "] */\n");
}

static void write_types(Header *h, const char *kind, const PlanValue *values, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) write_type(h, &values[i], arena_format(h->cx->arena, "%s_%s", kind, names[i]));
}

static void write_sizes(Header *h, const char *kind, const PlanValue *values, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        fprintf(h->out, "#define %s_%s_%s_SIZE %u\n", h->upper, kind, upper_case(h->cx, names[i]), values[i].lanes);
}

static bool has_out(const Plan *plan, ProgramId id, PortKind kind)
{
    const Program *p = &plan->programs[id];
    for (int i = 0; p->exists && i < p->n_out; i++)
        if (p->out[i].kind == (uint32_t)kind) return true;
    return false;
}

// ---- functions
static void write_params(Header *h, const char *qualifier, const char *kind, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        fprintf(h->out, ", %s%s_%s_%s *%s_%s", qualifier, h->name, kind, names[i], kind, names[i]);
}

static void write_array(Header *h, const char *type, const char *array, const char *kind, const char *const *names,
                        int n)
{
    fprintf(h->out, "    %sconst %s[] = {", type, array);
    for (int i = 0; i < n; i++) fprintf(h->out, "%s%s_%s", i ? ", " : "", kind, names[i]);
    fprintf(h->out, "};\n");
}

static void write_prepare(Header *h, const char *const *contexts)
{
    const Plan *p = h->plan;
    fprintf(h->out,
            "\n/* Everything that depends on the contexts alone, for `rows` rows of them. */\n"
            "static inline nfcc_status %s_prepare(const nfcc_policy *policy, size_t rows",
            h->name);
    write_params(h, "const ", "context", contexts, p->n_contexts);
    fprintf(h->out, ", void *prepared, void *work)\n{\n");
    if (p->n_contexts) write_array(h, "const void *", "contexts", "context", contexts, p->n_contexts);
    fprintf(h->out, "    return nfcc_prepare(policy, rows, %s, prepared, work);\n}\n",
            p->n_contexts ? "contexts" : "NULL");
}

// One entry whose arguments are rows of the event type and of one number: E, the event struct.
static void write_signature(Header *h, const char *entry, const char *params)
{
    fprintf(h->out, "static inline nfcc_status %s_%s(const nfcc_policy *policy, const void *prepared, ", h->name,
            entry);
    for (const char *c = params; *c; c++)
        if (*c == 'E')
            fprintf(h->out, "%s_event", h->name);
        else
            fputc(*c, h->out);
    fprintf(h->out, ", void *work)\n{\n");
}

static void write_entry(Header *h, const char *entry, const char *params, const char *args)
{
    write_signature(h, entry, params);
    fprintf(h->out, "    return nfcc_%s(policy, prepared, %s, work);\n}\n", entry, args);
}

static const char *const in_x = "const E *x", *const x_value = "(const float *)x";

static void write_density(Header *h)
{
    Arena *a = h->cx->arena;
    if (has_out(h->plan, PROGRAM_TO_LATENT, PORT_Z))
        write_entry(h, "to_latent", arena_format(a, "size_t n, %s, E *z, float *log_det", in_x),
                    arena_format(a, "n, %s, (float *)z, log_det", x_value));
    if (has_out(h->plan, PROGRAM_SCORE, PORT_SCORE))
        write_entry(h, "score", arena_format(a, "size_t n, %s, E *score", in_x),
                    arena_format(a, "n, %s, (float *)score", x_value));
    if (has_out(h->plan, PROGRAM_TO_LATENT, PORT_LOG_PROB))
        write_entry(h, "log_prob", arena_format(a, "size_t n, %s, float *log_prob", in_x),
                    arena_format(a, "n, %s, log_prob", x_value));
}

// --score-context: the score of an integer context is 0, as floats.
static void write_score_context(Header *h, const char *const *contexts)
{
    const Plan *p = h->plan;
    const Program *score = &p->programs[PROGRAM_SCORE];
    if (!score->exists || !p->n_contexts || score->n_out <= p->n_contexts) return;
    Arena *a = h->cx->arena;
    const char *params = "size_t n, const E *x, E *score", *list = "";
    for (int i = 0; i < p->n_contexts; i++) {
        bool row = p->contexts[i].dtype == T_F32;
        const char *type = row ? arena_format(a, "%s_context_%s", h->name, contexts[i]) : "float";
        params = arena_format(a, "%s, %s *score_%s", params, type, contexts[i]);
        list = arena_format(a, "%s%s%sscore_%s", list, i ? ", " : "", row ? "(float *)" : "", contexts[i]);
    }
    write_signature(h, "score_context", params);
    fprintf(h->out,
            "    float *const context_score[] = {%s};\n"
            "    return nfcc_score_context(policy, prepared, n, (const float *)x, (float *)score, context_score, "
            "work);\n}\n",
            list);
}

static void write_sampling(Header *h)
{
    if (!has_out(h->plan, PROGRAM_TO_EVENT, PORT_X)) return;
    write_entry(h, "to_event", "size_t n, const E *z, E *x, float *log_det",
                "n, (const float *)z, (float *)x, log_det");
    if (!h->plan->programs[PROGRAM_NOISE].exists) return;
    write_entry(h, "sample", "nfcc_noise *noise, size_t n, E *x", "noise, n, (float *)x");
    if (has_out(h->plan, PROGRAM_TO_EVENT, PORT_LOG_PROB)) {
        const char *params = "nfcc_noise *noise, size_t n, E *x, float *log_prob";
        write_entry(h, "sample_and_log_prob", params, "noise, n, (float *)x, log_prob");
        write_entry(h, "sample_best", params, "noise, n, (float *)x, log_prob");
    }
    write_entry(h, "act", "nfcc_noise *noise, size_t n, E *x", "noise, n, (float *)x");
}

static void write_run(Header *h, const char *const *inputs, const char *const *outputs)
{
    const Plan *p = h->plan;
    if (!p->programs[PROGRAM_RUN].exists) return;
    fprintf(h->out,
            "/* The exported graph itself. NULL for an output that is not wanted. */\n"
            "static inline nfcc_status %s_run(const nfcc_policy *policy, size_t rows",
            h->name);
    write_params(h, "const ", "input", inputs, p->n_inputs);
    write_params(h, "", "output", outputs, p->n_outputs);
    fprintf(h->out, ", void *work)\n{\n");
    if (p->n_inputs) write_array(h, "const void *", "in", "input", inputs, p->n_inputs);
    if (p->n_outputs) write_array(h, "void *", "out", "output", outputs, p->n_outputs);
    fprintf(h->out, "    return nfcc_run(policy, rows, %s, %s, work);\n}\n", p->n_inputs ? "in" : "NULL",
            p->n_outputs ? "out" : "NULL");
}

// A policy of another model must not be called by these types.
static void write_identity(Header *h)
{
    fprintf(h->out,
            "\n/* 1 if `policy` was compiled from the model that this header was written for. */\n"
            "static inline int %s_is(const nfcc_policy *policy)\n{\n    static const unsigned char hash[32] = {",
            h->name);
    for (int i = 0; i < 32; i++) fprintf(h->out, "%s%u", i ? "," : "", h->plan->hash[i]);
    fprintf(h->out, "};\n    return memcmp(nfcc_get_info(policy)->model_hash, hash, sizeof hash) == 0;\n}\n");
}

// The casts are C's, whatever the program that includes the header asks of its own.
static const char quiet[] = "#if defined(__cplusplus) && defined(__GNUC__)\n#pragma GCC diagnostic push\n"
                            "#pragma GCC diagnostic ignored \"-Wold-style-cast\"\n#endif\n\n",
                  as_before[] = "#if defined(__cplusplus) && defined(__GNUC__)\n#pragma GCC diagnostic pop\n#endif\n";

static void write_top(Header *h)
{
    fprintf(h->out,
            "/* %s: the policy's sizes, types and functions. Written by nfcc " NFCC_VERSION "; do not edit.\n"
            " * The functions are those of nfcc.h, which documents them; arrays are rows of the structs below. */\n"
            "#ifndef NFCC_POLICY_%s_H\n#define NFCC_POLICY_%s_H\n#include <nfcc.h>\n#include <stdint.h>\n#include "
            "<string.h>\n\n",
            h->name, h->upper, h->upper);
    fprintf(h->out,
            "#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
            "extern const nfcc_model nfcc_model_%s; /* of --emit o, for nfcc_open_static */\n"
            "#ifdef __cplusplus\n}\n#endif\n\n",
            h->name);
    fprintf(h->out, "%s", quiet);
}

static void write_header(Header *h)
{
    const Plan *p = h->plan;
    const char *const *contexts = identifiers(h->cx, p->contexts, p->n_contexts);
    const char *const *inputs = identifiers(h->cx, p->inputs, p->n_inputs);
    const char *const *outputs = identifiers(h->cx, p->outputs, p->n_outputs);
    write_top(h);
    fprintf(h->out, "#define %s_CONTEXTS %d\n", h->upper, p->n_contexts);
    if (p->event.lanes) fprintf(h->out, "#define %s_EVENT_SIZE %u\n", h->upper, p->event.lanes);
    write_sizes(h, "CONTEXT", p->contexts, contexts, p->n_contexts);
    fprintf(h->out, "\n/* one row of each; the shape without the batch */\n");
    if (p->event.lanes) write_type(h, &p->event, "event");
    write_types(h, "context", p->contexts, contexts, p->n_contexts);
    write_types(h, "input", p->inputs, inputs, p->n_inputs);
    write_types(h, "output", p->outputs, outputs, p->n_outputs);
    write_identity(h);
    if (p->event.lanes) {
        write_prepare(h, contexts);
        write_density(h);
        write_score_context(h, contexts);
        write_sampling(h);
    }
    write_run(h, inputs, outputs);
    fprintf(h->out, "%s#endif\n", as_before);
}

const char *emit_header(Context *cx, const Plan *plan, const char *name)
{
    char *text = NULL;
    size_t size = 0;
    Header h = {cx, open_memstream(&text, &size), plan, name, upper_case(cx, name)};
    if (!h.out) return NULL;
    write_header(&h);
    if (fclose(h.out)) return NULL;
    const char *copy = arena_string(cx->arena, text);
    free(text);
    return copy;
}
