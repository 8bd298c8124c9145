// Golden rows: inputs by the rule of runtime/abi.h, and what the Plan's f32 interpreter makes of them. policy.so
// carries the outputs for its self test.
#include "check.h"
#include "float_bits.h"

#include <math.h>
#include <string.h>

static const uint64_t GOLDEN_SEED = 0x6e666363;

// Noise rows first .. first + rows of a stream, with the plan's own noise program.
static uint32_t *noise_words(Context *cx, const Plan *plan, uint64_t seed, size_t rows)
{
    const Program *p = &plan->programs[PROGRAM_NOISE];
    uint32_t *key = ARENA_ARRAY(cx->arena, uint32_t, rows * 4), *temperature = ARENA_ARRAY(cx->arena, uint32_t, rows);
    for (size_t r = 0; r < rows; r++) {
        key[r * 4] = (uint32_t)seed;
        key[r * 4 + 1] = (uint32_t)(seed >> 32);
        key[r * 4 + 2] = (uint32_t)r;
        temperature[r] = word_of(1);
    }
    const uint32_t *in[2] = {key, temperature};
    if (p->in[0].kind == PORT_TEMPERATURE) in[0] = temperature, in[1] = key;
    uint32_t **out = output_words(cx, p, rows);
    plan_run(plan, PROGRAM_NOISE, rows, NULL, in, out);
    return out[0];
}

// Lane l over all the values: seed + 1 + l / L, lane l % L; integers and bools 0.
static uint32_t **golden_inputs(Context *cx, const Plan *plan, const PlanValue *values, int n, size_t rows)
{
    uint32_t L = plan->programs[PROGRAM_NOISE].out[0].lanes, *noise = NULL;
    uint32_t **in = ARENA_ARRAY(cx->arena, uint32_t *, n + 1);
    uint64_t lane = 0;
    for (int i = 0; i < n; i++) {
        in[i] = ARENA_ARRAY(cx->arena, uint32_t, rows *values[i].lanes + 1);
        for (uint32_t l = 0; l < values[i].lanes; l++, lane++) {
            if (lane % L == 0 || !noise) noise = noise_words(cx, plan, GOLDEN_SEED + 1 + lane / L, rows);
            for (size_t r = 0; r < rows && values[i].dtype == T_F32; r++)
                in[i][r * values[i].lanes + l] = noise[r * L + lane % L];
        }
    }
    return in;
}

static const uint32_t *port_words(const Program *p, uint32_t *const *out, PortKind kind)
{
    for (int i = 0; i < p->n_out; i++)
        if (p->out[i].kind == (uint32_t)kind) return out[i];
    return NULL;
}

static void put_rows(uint32_t *golden, size_t stride, size_t at, const uint32_t *words, size_t lanes, size_t rows)
{
    for (size_t r = 0; r < rows; r++) memcpy(golden + r * stride + at, words + r * lanes, lanes * 4);
}

// What lies in rows from word `at` on, where an event is not finite: an entry that is given it gives NaN.
static void spoil_rows(uint32_t *golden, size_t stride, size_t at, const uint32_t *x, size_t d, size_t rows)
{
    for (size_t i = 0; i < rows * d; i++)
        if (!isfinite(float_of(x[i])))
            for (size_t k = at; k < stride; k++) golden[i / d * stride + k] = word_of(NAN);
}

// Row by row: x and log_prob of to_event at the drawn z, z and log_det of to_latent at that x. Of a flow with one
// direction its own half, of a density alone its log_prob, and x is drawn where nothing makes it.
static void golden_flow(Context *cx, Plan *plan, size_t rows)
{
    const Program *event = &plan->programs[PROGRAM_TO_EVENT], *latent = &plan->programs[PROGRAM_TO_LATENT];
    size_t d = plan->event.lanes, half = d + 1, at = 0;
    size_t stride = (event->exists ? half : 0) + (!latent->exists ? 0 : latent->n_out > 1 ? half : 1);
    uint32_t **contexts = golden_inputs(cx, plan, plan->contexts, plan->n_contexts, rows);
    uint32_t *prep = prepared_words(cx, plan, rows, (const uint32_t *const *)contexts),
             *golden = ARENA_ARRAY(cx->arena, uint32_t, rows *stride + 1);
    const uint32_t *x = noise_words(cx, plan, GOLDEN_SEED, rows);
    if (event->exists && plan->programs[PROGRAM_BASE].exists) { // as in sampling
        uint32_t **out = output_words(cx, &plan->programs[PROGRAM_BASE], rows);
        plan_run(plan, PROGRAM_BASE, rows, prep, &x, out);
        x = port_words(&plan->programs[PROGRAM_BASE], out, PORT_Z);
    }
    if (event->exists) {
        uint32_t **out = output_words(cx, event, rows);
        plan_run(plan, PROGRAM_TO_EVENT, rows, prep, &x, out);
        x = port_words(event, out, PORT_X);
        put_rows(golden, stride, 0, x, d, rows);
        put_rows(golden, stride, d, port_words(event, out, PORT_LOG_PROB), 1, rows);
        at = half;
    }
    if (latent->exists) {
        uint32_t **out = output_words(cx, latent, rows);
        plan_run(plan, PROGRAM_TO_LATENT, rows, prep, &x, out);
        const uint32_t *z = port_words(latent, out, PORT_Z);
        if (z) put_rows(golden, stride, at, z, d, rows);
        put_rows(golden, stride, at + (z ? d : 0), port_words(latent, out, z ? PORT_LOG_DET : PORT_LOG_PROB), 1, rows);
        spoil_rows(golden, stride, at, x, d, rows);
    }
    plan->golden = golden;
    plan->golden_words = (uint32_t)(rows * stride);
}

static void golden_graph(Context *cx, Plan *plan, size_t rows)
{
    const Program *p = &plan->programs[PROGRAM_RUN];
    uint32_t **in = golden_inputs(cx, plan, plan->inputs, plan->n_inputs, rows), **out = output_words(cx, p, rows);
    plan_run(plan, PROGRAM_RUN, rows, NULL, (const uint32_t *const *)in, out);
    size_t stride = 0, at = 0;
    for (int i = 0; i < p->n_out; i++) stride += p->out[i].lanes;
    uint32_t *golden = ARENA_ARRAY(cx->arena, uint32_t, rows *stride + 1);
    for (int i = 0; i < p->n_out; i++) {
        put_rows(golden, stride, at, out[i], p->out[i].lanes, rows);
        at += p->out[i].lanes;
    }
    plan->golden = golden;
    plan->golden_words = (uint32_t)(rows * stride);
}

void plan_golden(Context *cx, Plan *plan)
{
    enum { FEW_LANES = 256, ROWS = 4 }; // of an event; rows are not to make the file larger
    size_t rows = plan->event.lanes > FEW_LANES ? 1 : ROWS;
    plan->golden_rows = (uint32_t)rows;
    if (plan->event.lanes)
        golden_flow(cx, plan, rows);
    else
        golden_graph(cx, plan, rows);
}
