/* Vectors of LANES floats for the level that is being compiled: GCC's vector types,
 * and the few operations that they lack. The including file defines LANES (4, 8 or
 * 16). Without FMA hardware v_fma is a multiplication and an addition. */
#ifndef RLHF_KERNELS_SIMD_H
#define RLHF_KERNELS_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef float vf_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

static inline vf v_load(const float *p)
{
    return *(const vf_unaligned *)p;
}

static inline void v_store(float *p, vf x)
{
    *(vf_unaligned *)p = x;
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

/* A NaN in either is lost; callers look for those elsewhere. */
static inline vf v_max(vf a, vf b)
{
#if LANES == 16
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    vi greater = a > b;
    return (vf)((greater & (vi)a) | (~greater & (vi)b));
#endif
}

static inline vf v_min(vf a, vf b)
{
    return -v_max(-a, -b);
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

/* mask: all ones or all zeros in each lane. */
static inline vf v_select(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

static inline vf v_abs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}

static inline vf v_copysign(vf size, vf sign)
{
    return (vf)(((vi)size & 0x7fffffff) | ((vi)sign & (int32_t)0x80000000));
}

/* The first n lanes from memory, the others `fill`; n in [0, LANES). */
static inline vf v_load_part(const float *p, int64_t n, float fill)
{
    float lanes[LANES];

    for (int64_t i = 0; i < LANES; i++)
        lanes[i] = i < n ? p[i] : fill;
    return v_load(lanes);
}

static inline void v_store_part(float *p, int64_t n, vf x)
{
    float lanes[LANES];

    v_store(lanes, x);
    for (int64_t i = 0; i < n; i++)
        p[i] = lanes[i];
}

/* Sum of the lanes in a fixed tree: halves are added until one is left. */
static inline float v_sum(vf x)
{
    float lanes[LANES];

    v_store(lanes, x);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

static inline float v_max_lane(vf x)
{
    float lanes[LANES];

    v_store(lanes, x);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
    return lanes[0];
}

/* --- functions ---------------------------------------------------------------------- */

/* e^x: x = n ln2 + r, a polynomial of degree 6 in r (minimax on +-ln2/2, as in Cephes'
 * expf), times 2^n. 0 below -87.33 (the result would be denormal), inf above 88.72. */
static inline vf v_exp(vf x)
{
    vf limited = v_min(v_max(x, v_set(-87.33f)), v_set(88.72f));
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
    /* 2^n in two halves, so that n = 128 does not overflow. */
    vi bits = (vi)shifted - 0x4b400000, half = bits >> 1;
    vf y = p * (vf)((half + 127) << 23) * (vf)((bits - half + 127) << 23);
    y = v_select(x < v_set(-87.33f), v_set(0.0f), y);
    y = v_select(x > v_set(88.72f), v_set(INFINITY), y);
    return v_select(x != x, x, y); /* NaN. NOLINT(misc-redundant-expression) */
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
    return v_select(a < v_set(0.625f), small, large);
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
    return v_select(t > v_set(0.921875f), large, small);
}

#endif
