// The one way in which reading and writing of .npy files say what is wrong.
#pragma once
#include "cli_npy.h"

#include <stdarg.h>
#include <stdio.h>

__attribute__((format(printf, 2, 3))) static inline const char *fail(NpyError *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return e->text;
}
