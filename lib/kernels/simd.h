/* Vectors of LANES floats for the level that is being compiled: GCC's vector types,
 * and the few operations that they lack. The including file defines LANES (4, 8 or
 * 16). Without FMA hardware v_fma is a multiplication and an addition.
 *
 * What would take several instructions or a way through memory takes one or few where
 * the level has masks (AVX-512), or eight lanes (AVX2); its bits are those of the general
 * form, by which the tests emulate the levels of sixteen. */
#ifndef RLHF_KERNELS_SIMD_H
#define RLHF_KERNELS_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if LANES == 16 && defined(__AVX512F__) && defined(__AVX512DQ__)
#define MASKS 1
#else
#define MASKS 0
#endif

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh_unaligned
    __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef float vf_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

static inline vf v_load(const float *p)
{
    return *(const vf_unaligned *)p;
}

/* Of numbers in bf16. */
static inline vf v_load_halves(const uint16_t *p)
{
#if MASKS
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));

    return (vf)_mm512_slli_epi32(words, 16);
#else
    return (vf)(__builtin_convertvector(*(const vh_unaligned *)p, vi) << 16);
#endif
}

static inline void v_store(float *p, vf x)
{
    *(vf_unaligned *)p = x;
}

/* Past the caches, where the level can; p begins a vector. */
static inline void v_store_far(float *p, vf x)
{
#if MASKS
    _mm512_stream_ps(p, (__m512)x);
#else
    v_store(p, x);
#endif
}

/* After the last of these, before others are told. */
static inline void v_fence(void)
{
#if MASKS
    _mm_sfence();
#endif
}

static inline vf v_set(float x)
{
    return x - (vf){0};
}

static inline vf v_fma(vf a, vf b, vf c)
{
#if LANES == 16
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

#if !MASKS
/* yes or no by each lane of a comparison. */
static inline vf v_select(vi mask, vf yes, vf no)
{
#if LANES == 8
    return (vf)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask);
#else
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
#endif
}
#endif

/* A NaN in either is lost; callers look for those elsewhere. */
static inline vf v_max(vf a, vf b)
{
#if LANES == 16
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_select(a > b, a, b);
#endif
}

static inline vf v_min(vf a, vf b)
{
#if LANES == 8
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return -v_max(-a, -b);
#endif
}

static inline vf v_sqrt(vf x)
{
#if LANES == 16
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif LANES == 8
    return (vf)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < LANES; i++)
        x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* a < b ? yes : no, in each lane. */
static inline vf v_where_less(vf a, vf b, vf yes, vf no)
{
#if MASKS
    __mmask16 less = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);

    return (vf)_mm512_mask_blend_ps(less, (__m512)no, (__m512)yes);
#else
    return v_select(a < b, yes, no);
#endif
}

static inline vf v_abs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}

static inline vf v_copysign(vf size, vf sign)
{
#if MASKS
    const __m512i where = _mm512_set1_epi32(0x7fffffff);

    /* Bits of `size` where `where` has them, else of `sign`. */
    return (vf)_mm512_ternarylogic_epi32(where, (__m512i)size, (__m512i)sign, 0xca);
#else
    return (vf)(((vi)size & 0x7fffffff) | ((vi)sign & (int32_t)0x80000000));
#endif
}

#if LANES == 8
/* All bits of the first n lanes; n in [0, LANES]. */
static inline __m256i v_first(int64_t n)
{
    static const int32_t ones[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_loadu_si256((const void *)(ones + LANES - n));
}
#endif

/* The first n lanes from memory, the others `fill`; n in [0, LANES). */
static inline vf v_load_part(const float *p, int64_t n, float fill)
{
#if MASKS
    __mmask16 first = (__mmask16)((1u << n) - 1u);

    return (vf)_mm512_mask_loadu_ps(_mm512_set1_ps(fill), first, p);
#elif LANES == 8
    __m256i first = v_first(n);

    return (vf)_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, first),
                                (__m256)first);
#else
    float lanes[LANES];

    for (int64_t i = 0; i < LANES; i++)
        lanes[i] = i < n ? p[i] : fill;
    return v_load(lanes);
#endif
}

static inline void v_store_part(float *p, int64_t n, vf x)
{
#if MASKS
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)x);
#elif LANES == 8
    /* By parts: storing by a mask takes AMD's CPUs a dozen cycles. */
    __m128 rest = _mm256_castps256_ps128((__m256)x);

    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps((__m256)x, 1);
    }
    if (n & 2) {
        _mm_storel_pi((void *)(p + (n & 4)), rest);
        rest = _mm_movehl_ps(rest, rest);
    }
    if (n & 1)
        _mm_store_ss(p + (n & 6), rest);
#else
    float lanes[LANES];

    v_store(lanes, x);
    for (int64_t i = 0; i < n; i++)
        p[i] = lanes[i];
#endif
}

/* Lanes [first, last), which may lie outside, of x; the others 0. */
static inline vf v_keep(vf x, int64_t first, int64_t last)
{
    int64_t from = first < 0 ? 0 : first > LANES ? LANES : first;
    int64_t to = last < 0 ? 0 : last > LANES ? LANES : last;
#if MASKS
    __mmask16 kept = (__mmask16)(((1u << to) - 1u) & ~((1u << from) - 1u));

    return (vf)_mm512_maskz_mov_ps(kept, (__m512)x);
#elif LANES == 8
    return (vf)_mm256_and_ps((__m256)x,
                             (__m256)_mm256_andnot_si256(v_first(from), v_first(to)));
#else
    for (int64_t i = 0; i < LANES; i++)
        if (i < from || i >= to)
            x[i] = 0.0f;
    return x;
#endif
}

/* Sum of the lanes in a fixed tree: halves are added until one is left. */
static inline float v_sum(vf x)
{
#if MASKS || LANES == 8
#if MASKS
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256((__m512)x),
                                 _mm512_extractf32x8_ps((__m512)x, 1));
#else
    __m256 eight = (__m256)x;
#endif
    __m128 four =
        _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
    float lanes[LANES];

    v_store(lanes, x);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
#endif
}

static inline float v_max_lane(vf x)
{
#if MASKS || LANES == 8
#if MASKS
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256((__m512)x),
                                 _mm512_extractf32x8_ps((__m512)x, 1));
#else
    __m256 eight = (__m256)x;
#endif
    __m128 four =
        _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));

    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
    float lanes[LANES];

    v_store(lanes, x);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
    return lanes[0];
#endif
}

/* --- functions ---------------------------------------------------------------------- */

/* e^x: x = n ln2 + r, a polynomial of degree 6 in r (minimax on +-ln2/2, as in Cephes'
 * expf), times 2^n. 0 below -87.33 (the result would be denormal), inf above 88.72. */
static inline vf v_exp(vf x)
{
#if MASKS
    /* 2^200 is too much for a float; what is too small is left out at the end. */
    vf limited = v_where_less(v_set(88.72f), x, v_set(200.0f), x);
#else
    vf limited = v_min(v_max(x, v_set(-87.33f)), v_set(88.72f));
#endif
    vf shifted = v_fma(limited, v_set(1.44269504f), v_set(12582912.0f));
    vf n = shifted - 12582912.0f;
    vf r = v_fma(n, v_set(-0.693359375f), limited);
    vf p = v_set(1.9875691500e-4f);

    r = v_fma(n, v_set(2.12194440e-4f), r);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + 1.0f;
#if MASKS
    __mmask16 kept = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.33f), _CMP_NLT_UQ);
    return (vf)_mm512_maskz_scalef_ps(kept, (__m512)p, (__m512)n);
#else
    /* Times 2^n: p is below 1 where n = 128, above where n = -126. */
    vi y = (vi)p + ((vi)shifted << 23);
    y &= ~(x < -87.33f);
    return v_select(x <= 88.72f, (vf)y, x + INFINITY); /* or NaN */
#endif
}

/* tanh x = 1 - 2 / (e^2x + 1); Cephes' odd polynomial below 0.625, where that would
 * cancel. */
static inline vf v_tanh(vf x)
{
    vf a = v_abs(x), s = x * x, p = v_set(-5.70498872745e-3f);
    vf large = v_copysign(1.0f - 2.0f / (v_exp(a + a) + 1.0f), x);

    p = v_fma(p, s, v_set(2.06390887954e-2f));
    p = v_fma(p, s, v_set(-5.37397155531e-2f));
    p = v_fma(p, s, v_set(1.33314422036e-1f));
    p = v_fma(p, s, v_set(-3.33332819422e-1f));
    vf small = v_fma(p * s, x, x);
    return v_where_less(a, v_set(0.625f), small, large);
}

/* erf, after N. Juffa's two minimax polynomials: in x^2 below 0.92, in the exponent
 * above. */
static inline vf v_erf(vf x)
{
    vf t = v_abs(x), s = x * x;
    vf r = v_fma(v_set(-1.72853470e-5f), t, v_set(3.83197126e-4f));
    vf u = v_fma(v_set(-3.88396438e-3f), t, v_set(2.42546219e-2f));
    vf q = v_set(-5.96761703e-4f);

    r = v_fma(r, s, u);
    r = v_fma(r, t, v_set(-1.06777877e-1f));
    r = v_fma(r, t, v_set(-6.34846687e-1f));
    r = v_fma(r, t, v_set(-1.28717512e-1f));
    r = v_fma(r, t, -t);
    vf large = v_copysign(1.0f - v_exp(r), x);
    q = v_fma(q, s, v_set(4.99119423e-3f));
    q = v_fma(q, s, v_set(-2.67681349e-2f));
    q = v_fma(q, s, v_set(1.12819925e-1f));
    q = v_fma(q, s, v_set(-3.76125336e-1f));
    q = v_fma(q, s, v_set(1.28379166e-1f));
    vf small = v_fma(q, x, x);
    return v_where_less(v_set(0.921875f), t, large, small);
}

#endif
