/* AVX-512 instructions by AVX2's, in halves: each by its constant index, since by a
 * variable one they would be kept in memory, which a sanitizer watches. */
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

    z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
    return z.whole;
}

static inline __m512 emulated_max(__m512 a, __m512 b)
{
    emulated_halves x = {a}, y = {b};

    x.half[0] = _mm256_max_ps(x.half[0], y.half[0]);
    x.half[1] = _mm256_max_ps(x.half[1], y.half[1]);
    return x.whole;
}

static inline __m512 emulated_sqrt(__m512 a)
{
    emulated_halves x = {a};

    x.half[0] = _mm256_sqrt_ps(x.half[0]);
    x.half[1] = _mm256_sqrt_ps(x.half[1]);
    return x.whole;
}

typedef uint32_t emulated_words __attribute__((vector_size(64)));

/* The instructions below round to nearest and flush denormals whatever MXCSR says. */
static inline unsigned int emulated_begin(void)
{
    unsigned int before = _mm_getcsr(), wanted = (before & ~0x6000u) | 0x8040u;

    if (wanted != before)
        _mm_setcsr(wanted);
    return before;
}

static inline void emulated_end(unsigned int before)
{
    if ((_mm_getcsr() ^ before) & ~0x3fu) /* more than what has happened meanwhile */
        _mm_setcsr(before);
}

/* a b + sum with one rounding; stays between the two above. */
static inline __m256 emulated_chain(__m256i a, __m256i b, __m256 sum)
{
    __asm__ volatile("vfmadd231ps %2, %1, %0"
                     : "+x"(sum)
                     : "x"(_mm256_castsi256_ps(a)), "x"(_mm256_castsi256_ps(b)));
    return sum;
}

/* A word holds two numbers in bf16. */
static inline __m256i emulated_even(__m256i words)
{
    return _mm256_slli_epi32(words, 16);
}

static inline __m256i emulated_odd(__m256i words)
{
    return _mm256_and_si256(words, _mm256_set1_epi32((int)0xffff0000u));
}

typedef union emulated_word_halves {
    emulated_words whole;
    __m256i half[2];
} emulated_word_halves;

static inline __m256 emulated_dot_half(__m256 sum, __m256i a, __m256i b)
{
    sum = emulated_chain(emulated_odd(a), emulated_odd(b), sum);
    return emulated_chain(emulated_even(a), emulated_even(b), sum);
}

/* As Intel's manual has VDPBF16PS: the odd product, then the even one. */
static inline __m512 emulated_dot(__m512 sum, emulated_words a, emulated_words b)
{
    emulated_halves s = {sum};
    emulated_word_halves x = {a}, y = {b};
    unsigned int before = emulated_begin();

    s.half[0] = emulated_dot_half(s.half[0], x.half[0], y.half[0]);
    s.half[1] = emulated_dot_half(s.half[1], x.half[1], y.half[1]);
    emulated_end(before);
    return s.whole;
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

/* Eight of a row's sums: the even products' chain, the odd ones', then both added. */
static inline void emulated_multiply_half(uint32_t *sums, const uint32_t *a,
                                          const uint32_t *b)
{
    const __m256i one = _mm256_castps_si256(_mm256_set1_ps(1.0f));
    __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
    __m256 start = _mm256_loadu_ps((const float *)sums);

    for (int p = 0; p < 16; p++) {
        __m256i x = _mm256_set1_epi32((int)a[p]);
        __m256i y = _mm256_loadu_si256((const void *)(b + 16 * p));
        even = emulated_chain(emulated_even(x), emulated_even(y), even);
        odd = emulated_chain(emulated_odd(x), emulated_odd(y), odd);
    }
    odd = emulated_chain(_mm256_castps_si256(even), one, odd);
    start = emulated_chain(_mm256_castps_si256(odd), one, start);
    _mm256_storeu_ps((float *)sums, start);
}

__attribute__((unused)) static void emulated_multiply(int sum, int a, int b)
{
    unsigned int before = emulated_begin();

    for (int row = 0; row < 16; row++)
        for (int col = 0; col < 16; col += 8)
            emulated_multiply_half(&emulated_tiles[sum][row][col], emulated_tiles[a][row],
                                   &emulated_tiles[b][0][col]);
    emulated_end(before);
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
