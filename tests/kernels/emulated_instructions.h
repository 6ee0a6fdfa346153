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

/* As Intel's manual has VCVTNE2PS2BF16: low's floats, then high's, rounded. */
__attribute__((noinline, unused)) static emulated_words emulated_round(__m512 high,
                                                                       __m512 low)
{
    emulated_words words;

    for (int i = 0; i < 16; i++) {
        const __m512 from = i < 8 ? low : high;
        uint32_t even = reference_bits(reference_bf16(from[2 * i % 16]));
        uint32_t odd = reference_bits(reference_bf16(from[2 * i % 16 + 1]));
        words[i] = even >> 16 | (odd & 0xffff0000u);
    }
    return words;
}

/* --- AMX: eight tiles of 16 rows of 64 bytes ---------------------------------------- */

static _Thread_local uint32_t emulated_tiles[8][16][16];

__attribute__((unused)) static void emulated_zero(int tile)
{
    memset(emulated_tiles[tile], 0, sizeof emulated_tiles[tile]);
}

__attribute__((unused)) static void emulated_load(int tile, const void *from,
                                                  int64_t stride)
{
    for (int row = 0; row < 16; row++)
        memcpy(emulated_tiles[tile][row], (const char *)from + row * stride, 64);
}

__attribute__((unused)) static void emulated_store(int tile, void *to, int64_t stride)
{
    for (int row = 0; row < 16; row++)
        memcpy((char *)to + row * stride, emulated_tiles[tile][row], 64);
}

__attribute__((unused)) static void emulated_multiply(int sum, int a, int b)
{
    for (int row = 0; row < 16; row++)
        for (int col = 0; col < 16; col++) {
            uint32_t *at = &emulated_tiles[sum][row][col];
            float chain[2] = {0.0f, 0.0f}, start = emulated_float(*at);
            for (int p = 0; p < 16; p++)
                for (int odd = 0; odd < 2; odd++) {
                    uint32_t x = emulated_tiles[a][row][p], y = emulated_tiles[b][p][col];
                    chain[odd] = reference_fma(
                        emulated_float(odd ? x & 0xffff0000u : x << 16),
                        emulated_float(odd ? y & 0xffff0000u : y << 16), chain[odd]);
                }
            *at = reference_bits(
                reference_fma(reference_fma(chain[0], 1.0f, chain[1]), 1.0f, start));
        }
}

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) (void)(config)
#define _tile_release()          (void)0
#define _tile_zero               emulated_zero
#define _tile_loadd              emulated_load
#define _tile_stored             emulated_store
#define _tile_dpbf16ps           emulated_multiply

#define _mm512_fmadd_ps                emulated_fmadd
#define _mm512_max_ps                  emulated_max
#define _mm512_sqrt_ps                 emulated_sqrt
#define _mm512_cvtne2ps_pbh(high, low) emulated_round(high, low)
#define _mm512_dpbf16_ps(s, a, b)                                                        \
    emulated_dot(s, (emulated_words)(a), (emulated_words)(b))

#endif
