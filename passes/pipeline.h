// The passes' functions: one row in passes.def, one file, one function here.
#pragma once
#include "passes.h"

Module *pass_normal(const Module *m, Context *cx);
Module *pass_lanes(const Module *m, Context *cx);
Module *pass_merge_linear(const Module *m, Context *cx);
Module *pass_narrow(const Module *m, Context *cx);
Module *pass_hoist_context(const Module *m, Context *cx);
// derive alone also reads the user's words and fills the Flow.
Module *pass_derive(const Module *m, Context *cx, const FlowOptions *options, Flow *flow);
