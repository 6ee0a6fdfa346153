/* Denormals turned into zeros, as the start-up code of what is linked with -ffast-math
 * asks the CPU to, for the thread that loads it. */
#ifndef TESTS_FLUSH_H
#define TESTS_FLUSH_H

#include <float.h>
#include <stdbool.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static inline void flush_denormals(void)
{
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* FTZ, DAZ */
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (uint64_t)1 << 24));
#endif
}

/* By arithmetic, which the compiler must not do by itself. */
static inline bool denormals_are_flushed(void)
{
    volatile double tiny = DBL_MIN, quotient;

    quotient = tiny / 4;
    return quotient == 0.0;
}

#endif
