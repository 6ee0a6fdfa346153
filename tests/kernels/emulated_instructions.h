/* AVX-512 instructions by AVX2's, in halves. */
#ifndef TESTS_EMULATED_INSTRUCTIONS_H
#define TESTS_EMULATED_INSTRUCTIONS_H

#include <immintrin.h>

#include "bf16_reference.h"

typedef union emulated_halves {
    __m512 whole;
    __m256 half[2];
} emulated_halves;

static inline __m512 emulated_fmadd(__m512 a, __m512 b, __m512 c)
{
    emulated_halves x = {a}, y = {b}, z = {c};

    for (int i = 0; i < 2; i++)
        z.half[i] = _mm256_fmadd_ps(x.half[i], y.half[i], z.half[i]);
    return z.whole;
}

static inline __m512 emulated_max(__m512 a, __m512 b)
{
    emulated_halves x = {a}, y = {b};

    for (int i = 0; i < 2; i++)
        x.half[i] = _mm256_max_ps(x.half[i], y.half[i]);
    return x.whole;
}

static inline __m512 emulated_sqrt(__m512 a)
{
    emulated_halves x = {a};

    for (int i = 0; i < 2; i++)
        x.half[i] = _mm256_sqrt_ps(x.half[i]);
    return x.whole;
}

typedef uint32_t emulated_words __attribute__((vector_size(64)));

/* A bf16 that stands in the high half of a word. */
static inline float emulated_float(uint32_t word)
{
    float x;

    memcpy(&x, &word, sizeof x);
    return x;
}

/* As Intel's manual has VDPBF16PS: the odd product, then the even one. */
__attribute__((noinline, unused)) static __m512 emulated_dot(__m512 sum, emulated_words a,
                                                             emulated_words b)
{
    for (int i = 0; i < 16; i++) {
        sum[i] = reference_fma(emulated_float(a[i] & 0xffff0000u),
                               emulated_float(b[i] & 0xffff0000u), sum[i]);
        sum[i] =
            reference_fma(emulated_float(a[i] << 16), emulated_float(b[i] << 16), sum[i]);
    }
    return sum;
}

#define _mm512_fmadd_ps emulated_fmadd
#define _mm512_max_ps   emulated_max
#define _mm512_sqrt_ps  emulated_sqrt
#define _mm512_dpbf16_ps(s, a, b)                                                        \
    emulated_dot(s, (emulated_words)(a), (emulated_words)(b))

#endif
