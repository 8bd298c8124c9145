// The terms of a log_prob that belong to its base (base_terms.c): what split.c makes the latent of.
#pragma once
#include "base.h"
#include "lane_env.h"

enum { MOST_FACTORS = 6, FACTOR_DEPTH = 12 };

// One term of a base: weight * k * f(lane).
typedef struct {
    LaneRef lane;
    double weight;
    LaneRef times[MOST_FACTORS], over[MOST_FACTORS];
    int n_times, n_over;
    double low, high; // uniform
    double outer;     // student_t: the weight of the logarithm
    bool minus;       // logistic: the lane is -v
} BaseTerm;

typedef struct {
    Context *cx;
    BaseKind base;
    BaseTerm *terms;
    int64_t n, cap;
    int64_t budget; // lanes that are still looked at
} BaseTerms;

// r, which is no sum, with its weight in the log_prob: added where it is a term of the base.
void base_terms_add(BaseTerms *c, LaneRef r, double weight);
// Logistic: -softplus(v) - softplus(-v) = -v - 2 softplus(-v): halves that meet are one term, the others none.
void base_terms_pair(BaseTerms *c);
// r = base^2?
bool lane_square_of(LaneRef r, LaneRef *base);
