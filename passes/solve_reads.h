// Which lanes wait for which: by lane, where it is an operand; by result, how many of its operand lanes are not known
// yet. A lane that becomes known is counted off where it is read, so solving costs what the graph reads, however many
// rounds there are.
#pragma once
#include "lane_env.h"

typedef struct Reads Reads;

// Result lane i of n has `left` unknown operand lanes: 0, it can be computed; or 1 (reported of elementwise ops alone).
// Called once for each, when the number falls to it.
typedef void ReadsWaiting(void *user, const Node *n, int64_t i, int left);

// base: the numbering of f's lanes; no lane is known.
Reads *reads_new(const Function *f, const LaneEnv *base, ReadsWaiting *waiting, void *user);
void reads_free(Reads *r);
void reads_start(Reads *r); // report the results that wait for nothing
void reads_learn(Reads *r, LaneRef lane);
bool reads_any(const Reads *r, LaneRef lane);                           // some node reads it
int64_t reads_left(const Reads *r, const Node *n, int64_t i);           // of an elementwise result
int64_t reads_token_left(const Reads *r, const Node *n, int64_t token); // unknown inputs of a product's token
