// module_difference: NULL if two modules are structurally identical (origins apart), else what differs first. Used by
// the golden tests, the text tests and the fuzzer.
#pragma once
#include "ir.h"

const char *module_difference(const Module *a, const Module *b);
