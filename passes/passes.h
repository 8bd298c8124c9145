// Passes: Module -> Module, the pipeline table (passes.def), the solver's result, the checks, and the plan.
#pragma once
#include "plan.h"

// What the user said about the model (command line) before metadata and structure are looked at. NULL or 0: not said.
typedef struct {
    const char *event, *latent;  // ONNX name of the input that is data / noise, or of the output that is
    const char *const *contexts; // names that are contexts, for graphs with more than one candidate
    int n_contexts;
    const char *log_det, *log_prob, *neg_log_prob; // output names
    const char *base; // normal (confirms the assumption), laplace, logistic, uniform, student_t:DF
    bool has_clip;
    double clip_lo, clip_hi; // --clip LO,HI: the policy's output clip
    double denoise;          // --denoise SIGMA: act = clip(x + SIGMA^2 score(x)); 0: not
    bool score_context;      // --score-context: score with respect to the contexts too
    double max_condition;    // 0: 1e6
    bool run_only;           // --entries run: never derive
    const char *entries;     // --entries a,b,c or NULL
} FlowOptions;

// What was found; also what `nfcc check` and the compile's output block print.
typedef struct {
    bool is_flow;
    const char *why; // not a flow: the reason, one line. Flow: what decided direction and roles
    bool density;    // exported direction: true x -> z, false z -> x
    const char *event, *latent, *log_det, *log_prob; // ONNX names of inputs/outputs, NULL where absent
    bool log_prob_negated, log_det_mean;
    int event_input, event_output; // port numbers in @main or -1: the event (density: input) ...
    int latent_input, latent_output;
    int log_det_output, log_prob_output;
    const int *contexts; // input port numbers that are contexts, in order
    int n_contexts;
    Type event_type;  // without batch
    int64_t dims;     // D
    const char *base; // "standard normal", "diagonal Gaussian (learned)", ...
    bool base_assumed;
    BaseKind base_kind;
    double base_param; // Student t: degrees of freedom
    bool has_clip;     // the policy ends in a clip, or --clip
    double clip_lo, clip_hi;
    double denoise;         // sigma of the policy's denoising step, 0: none
    bool density_alone;     // a log_prob without a latent: there is no to_latent either
    const char *no_inverse; // a one-way flow: why the other direction does not exist. NULL: it does
    const char *explain;    // the inverse program: rounds, groups, rules, where it stops (check --explain)
    double condition;       // worst condition number of a solved block, 0: none
    int rounds;
    int unproved; // functions of one lane whose rise is not proved, but confirmed by the rows of the check
    bool
        has_pieces; // functions of one lane are chosen by comparisons: that pieces do not overlap is seen on those rows
} Flow;

// Names of programs in a derived module: @encode, @late (after hoist), @to_latent, @to_event, @run. Inputs and outputs
// are named by entry names: contexts by their ONNX names, x, z, log_det, log_prob, act; prepared state: e0.., p0...
typedef struct {
    const char *stop_after; // pass name, or NULL: all
    bool time;              // print seconds per pass to stderr
} PipelineOptions;

typedef struct {
    const char *name;
    Stage stage; // after this pass
    const char *meaning;
} PassInfo;
const PassInfo *pass_list(int *n);

// Run the pipeline from the module's stage on. Returns the module after the last pass (or after stop_after), NULL after
// reported errors. flow is filled by the derive pass. `derived` (or NULL) gets the module right after derive, for
// checks.
const Module *passes_run(Context *cx, const Module *m, const FlowOptions *options, const PipelineOptions *pipeline,
                         Flow *flow, const Module **derived);
// The last arrow: a lowered module -> Plan. tiled: plan_round is to be asked for tiled products.
Plan *plan_build(Context *cx, const Module *m, const Flow *flow, const char *name, const unsigned char hash[32],
                 bool tiled);

// ---- checks of every compile (check.c, check_plan.c, golden.c)
typedef struct {
    size_t rows; // 0: 32, fewer of a very large model
    uint64_t seed;
    const double *const *contexts; // given rows [rows][lanes] per context, or NULL: standard normal
    const double *x;               // given events, or NULL: to_event of drawn z
    const double *z;               // given latents of a flow that has no to_latent, or NULL: drawn
    double max_graph_error;        // of the exported log_prob and log_det, relative; 0: rounding of constants
} CheckOptions;

typedef struct {
    size_t rows;
    bool few_rows;                       // because the model is large
    size_t redrawn;                      // rows that saturated, and were drawn again nearer the base's centre
    size_t eventless;                    // of them, those whose first latent has no event: to_event gives NaN
    double exported_error;               // exported outputs against derived ones, relative to the sum of absolute terms
    double round_trip;                   // |x - to_event(to_latent(x))| relative to scale
    double log_det_error;                // relative, against the exported one or finite differences
    bool finite_differences;             // log_det was checked by finite differences
    double score_error;                  // score against finite differences of log_prob, relative
    double f32_error;                    // Plan's interpreter against double, relative to scale, worst output
    const char *f32_worst;               // its name
    double sample_error, log_prob_error; // the same of to_event's x, and of log_prob and log_det
    const struct Check *checked;         // check_flow's rows, for check_plan on the same modules; start from {0}
} CheckReport;

// Exported graph against derived programs. Reports errors; false if any.
bool check_flow(Context *cx, const Module *imported, const Module *derived, const Flow *flow,
                const CheckOptions *options, CheckReport *report);
// Plan's f32 interpreter against the derived programs in double; refuses above max_error (0: 1e-2).
bool check_plan(Context *cx, const Module *derived, const Plan *plan, const Flow *flow, const CheckOptions *options,
                double max_error, CheckReport *report);
// Draws and runs the golden rows (abi.h) with the Plan's interpreter and stores them in the plan.
void plan_golden(Context *cx, Plan *plan);
// One pass alone, without options; for golden tests.
const Module *pass_run_one(Context *cx, const char *name, const Module *m);
