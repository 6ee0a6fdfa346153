/* The arithmetic of bf16 products from its definition, in integers. */
#ifndef TESTS_BF16_REFERENCE_H
#define TESTS_BF16_REFERENCE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct binary {
    bool negative;
    __int128 size; /* value = size * 2^exponent */
    int exponent;
} binary;

static inline uint32_t reference_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* A finite float; denormals are zeros. */
static inline binary reference_take_apart(float x)
{
    uint32_t bits = reference_bits(x);
    int field = bits >> 23 & 0xff;

    return (binary){bits >> 31, field ? (int)(bits & 0x7fffff) + 0x800000 : 0,
                    field - 150};
}

static inline int reference_width(__int128 size)
{
    uint64_t high = (uint64_t)(size >> 64), low = (uint64_t)size;

    return high ? 128 - __builtin_clzll(high) : low ? 64 - __builtin_clzll(low) : 0;
}

/* To 24 bits, ties to even; below the normal numbers: zero. */
static inline float reference_round(binary x)
{
    int drop = reference_width(x.size) - 24;

    if (drop > 0) {
        __int128 kept = x.size >> drop, rest = x.size - (kept << drop),
                 half = (__int128)1 << (drop - 1);
        x.size = kept + (rest > half || (rest == half && (kept & 1)));
        x.exponent += drop;
    }
    if (x.size > 0 && reference_width(x.size) + x.exponent < -125)
        x.size = 0;
    float size = ldexpf((float)x.size, x.exponent); /* exact, or infinite */
    return x.negative ? -size : size;
}

/* a b + c with one rounding, denormals flushed coming and going. */
static inline float reference_fma(float a, float b, float c)
{
    if (!isfinite(a) || !isfinite(b) || !isfinite(c))
        return a * b + c;
    binary x = reference_take_apart(a), y = reference_take_apart(b),
           z = reference_take_apart(c);
    binary p = {x.negative != y.negative, x.size * y.size, x.exponent + y.exponent};

    if (p.size == 0 && z.size == 0)
        return p.negative && z.negative ? -0.0f : 0.0f;
    if (p.size == 0 || z.size == 0)
        return reference_round(p.size == 0 ? z : p);
    binary *low = p.exponent < z.exponent ? &p : &z, *high = low == &p ? &z : &p;
    int apart = high->exponent - low->exponent;
    if (apart > 75) { /* the lower one matters only by being there */
        low->size = 1;
        apart = 60;
        low->exponent = high->exponent - apart;
    }
    binary sum = {false, high->size << apart, low->exponent};
    sum.size = (high->negative ? -sum.size : sum.size) +
               (low->negative ? -low->size : low->size);
    if (sum.size < 0)
        sum = (binary){true, -sum.size, sum.exponent};
    return reference_round(sum);
}

/* bf16(x) as a float. */
static inline float reference_bf16(float x)
{
    uint32_t bits = reference_bits(x), low = bits & 0xffff0000u, high = low + 0x10000u;
    float down, up;

    if (isnan(x))
        low |= 0x400000u;
    memcpy(&down, &low, sizeof down);
    memcpy(&up, &high, sizeof up);
    if (isnan(x) || isinf(x))
        return down;
    if (fpclassify(x) == FP_SUBNORMAL)
        return copysignf(0.0f, x);
    /* Past the largest bf16, "up" is an infinity that stands for 2^128. */
    double above = isinf(up) ? copysign(0x1p128, x) : (double)up;
    double to_down = fabs((double)x - (double)down), to_up = fabs(above - (double)x);
    if (to_down == to_up)
        return low & 0x10000u ? up : down;
    return to_down < to_up ? down : up;
}

/* One element of a product, x and w read with strides: what is added to `start`. */
typedef float (*reference_sum)(float start, const float *x, int64_t x_step,
                               const float *w, int64_t w_step, int64_t k);

static inline float reference_term(const float *x, int64_t x_step, const float *w,
                                   int64_t w_step, int64_t p, int64_t k, float sum)
{
    return reference_fma(p < k ? reference_bf16(x[p * x_step]) : 0.0f,
                         p < k ? reference_bf16(w[p * w_step]) : 0.0f, sum);
}

/* The chain of vdpbf16ps: the odd product first, blocks of 256. */
static inline float reference_dot_sum(float start, const float *x, int64_t x_step,
                                      const float *w, int64_t w_step, int64_t k)
{
    for (int64_t k0 = 0; k0 < k; k0 += 256) {
        float block = 0.0f;
        for (int64_t p = k0; p < k && p < k0 + 256; p += 2)
            for (int64_t odd = 1; odd >= 0; odd--)
                block = reference_term(x, x_step, w, w_step, p + odd, k, block);
        start = reference_fma(block, 1.0f, start);
    }
    return start;
}

/* The chain of TDPBF16PS: even and odd products apart, blocks of 32 with zeros at the
 * end. */
static inline float reference_tile_sum(float start, const float *x, int64_t x_step,
                                       const float *w, int64_t w_step, int64_t k)
{
    for (int64_t k0 = 0; k0 < k; k0 += 32) {
        float even = 0.0f, odd = 0.0f;
        for (int64_t p = k0; p < k0 + 32; p += 2) {
            even = reference_term(x, x_step, w, w_step, p, k, even);
            odd = reference_term(x, x_step, w, w_step, p + 1, k, odd);
        }
        start = reference_fma(reference_fma(even, 1.0f, odd), 1.0f, start);
    }
    return start;
}

#endif
