// AMX's part of the processor's state that is in use: the configuration of tiles, their data. 0: none, as runtime/REALTIME.md
// promises of every call.
#pragma once
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

static inline uint32_t tiles_now(void)
{
    uint32_t a, b, c, d, used = 0;
    int knows = __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && (a >> 2 & 1);
    if (knows) __asm__ volatile("xgetbv" : "=a"(used), "=d"(d) : "c"(1));
    return used >> 17 & 3;
}
#else
static inline uint32_t tiles_now(void) { return 0; }
#endif
