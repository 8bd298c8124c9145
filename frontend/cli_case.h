// One case of ONNX's backend tests: see cli_case.c.
#pragma once
#include "cli.h"

typedef enum { CASE_PASS, CASE_FAIL, CASE_UNSUPPORTED } CaseVerdict;

typedef struct {
    double rtol, atol;
    bool interp; // the Plan's interpreter, whose bits the llvm backend has, instead of compiled code
} CaseOptions;

// Run the case in folder `dir`. `note` (in the session's arena) gets the reason of a verdict, or how a case that passes
// was read; "" where there is nothing to say.
CaseVerdict case_run(Session *s, const char *dir, const CaseOptions *options, const char **note);
