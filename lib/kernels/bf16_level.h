/* The bf16 functions of a level; see bf16.h. Written once, compiled for each level with
 * its own LANES, TILE_ROWS, PANEL_VECTORS and flags, and DOT_PRODUCT where the CPU has
 * vdpbf16ps. */
#include "kernels/bf16.h"
#include "kernels/simd.h"

#define INLINE static inline __attribute__((always_inline))
#define PANEL  (PANEL_VECTORS * LANES)

typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint64_t vu_wide __attribute__((vector_size(LANES * 4))); /* half the lanes */
typedef uint32_t vu_half __attribute__((vector_size(LANES * 2)));
typedef uint16_t vs_unaligned
    __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef uint32_t vu_unaligned
    __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t vu_half_unaligned
    __attribute__((vector_size(LANES * 2), aligned(4), may_alias));

INLINE vu word_load(const uint32_t *p)
{
    return *(const vu_unaligned *)p;
}

INLINE vu word_set(uint32_t x)
{
    return x - (vu){0};
}

/* --- rounding ----------------------------------------------------------------------- */

/* The 16 bits of bf16(x), in each lane's low half. */
INLINE vu round_bits(vf x)
{
    vu u = (vu)x, high = u >> 16;
    vi size = (vi)(u & 0x7fffffffu);
    vi denormal = size<0x00800000, nan = size> 0x7f800000;
    vu nearest = (u + 0x7fffu + (high & 1u)) >> 16;

    nearest = ((vu)denormal & high & 0x8000u) | (~(vu)denormal & nearest);
    return ((vu)nan & (high | 0x40u)) | (~(vu)nan & nearest);
}

/* Pairs of lanes become words; the even lane lies in the low half. */
INLINE vu_half join_lanes(vu bits)
{
    vu_wide wide = (vu_wide)bits;

    return __builtin_convertvector((wide | wide >> 16) & 0xffffffffu, vu_half);
}

static void bf16_round(const float *src, int64_t count, float *out)
{
    int64_t i = 0;

    for (; i + LANES <= count; i += LANES)
        v_store(out + i, (vf)(round_bits(v_load(src + i)) << 16));
    if (i < count)
        v_store_part(out + i, count - i,
                     (vf)(round_bits(v_load_part(src + i, count - i, 0.0f)) << 16));
}

static void bf16_widen(const uint16_t *src, int64_t count, float *out)
{
    for (int64_t i = 0; i < count; i += LANES) {
        vs_unaligned halves = *(const vs_unaligned *)(src + i);
        v_store(out + i, (vf)(__builtin_convertvector(halves, vu) << 16));
    }
}

static void bf16_round_pairs(const float *src, int64_t count, uint32_t *out)
{
    int64_t i = 0;

    for (; i + LANES <= count; i += LANES)
        *(vu_half_unaligned *)(out + i / 2) = join_lanes(round_bits(v_load(src + i)));
    if (i < count) {
        vu_half last = join_lanes(round_bits(v_load_part(src + i, count - i, 0.0f)));
        memcpy(out + i / 2, &last, (size_t)((count - i + 1) / 2) * sizeof *out);
    }
}

/* Rows of k, which lie along memory, become columns of words: in strips, so that a strip
 * of all rows stays near. */
static void pack_transposed(const float *src, int64_t ld, int64_t k, int64_t cols,
                            int64_t width, uint32_t *out)
{
    enum { STRIP = 32 };
    uint32_t strip[PANEL > TILE_ROWS ? PANEL : TILE_ROWS][STRIP];

    for (int64_t p0 = 0; p0 < k; p0 += 2 * STRIP) {
        int64_t left = k - p0 < 2 * STRIP ? k - p0 : 2 * STRIP, pairs = (left + 1) / 2;
        for (int64_t j = 0; j < cols; j++)
            bf16_round_pairs(src + j * ld + p0, left, strip[j]);
        for (int64_t j = cols; j < width; j++)
            memset(strip[j], 0, sizeof strip[j]);
        for (int64_t p = 0; p < pairs; p++, out += width)
            for (int64_t j = 0; j < width; j++)
                out[j] = strip[j][p];
    }
}

/* Two rows of the matrix become one of words. */
static void pack_straight(const float *src, int64_t ld, int64_t k, int64_t cols,
                          int64_t width, uint32_t *out)
{
    for (int64_t p = 0; p < k; p += 2, out += width) {
        const float *even = src + p * ld, *odd = p + 1 < k ? even + ld : NULL;
        int64_t j = 0;
        for (; j + LANES <= cols; j += LANES) {
            vu high = odd ? round_bits(v_load(odd + j)) << 16 : word_set(0);
            *(vu_unaligned *)(out + j) = round_bits(v_load(even + j)) | high;
        }
        if (j < cols) {
            vu low = round_bits(v_load_part(even + j, cols - j, 0.0f));
            vu high = odd ? round_bits(v_load_part(odd + j, cols - j, 0.0f)) << 16
                          : word_set(0);
            vu words = low | high;
            memcpy(out + j, &words, (size_t)(cols - j) * sizeof *out);
        }
        memset(out + cols, 0, (size_t)(width - cols) * sizeof *out);
    }
}

static void bf16_pack(const float *src, int64_t ld, bool transposed, int64_t k,
                      int64_t cols, int64_t width, uint32_t *out)
{
    if (transposed)
        pack_transposed(src, ld, k, cols, width, out);
    else
        pack_straight(src, ld, k, cols, width, out);
}

/* --- the chain ---------------------------------------------------------------------- */

/* A pair is done in parts: a whole word at once by vdpbf16ps, else its odd element and
 * then its even one. step: sum + a b, in one rounding each. */
#if defined(DOT_PRODUCT)

#define PARTS 1
typedef vu part;

INLINE part part_of(vu words, int which)
{
    (void)which;
    return words;
}

INLINE vf step(vf sum, part a, part b)
{
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

#else

#define PARTS 2
typedef vf part;

INLINE part part_of(vu words, int which)
{
    return (vf)(which == 0 ? words & 0xffff0000u : words << 16);
}

#if LANES > 4

INLINE vf step(vf sum, part a, part b)
{
    return v_fma(a, b, sum);
}

#else

/* To fp32; what lies below its normal numbers once rounded to 24 bits is a zero. */
INLINE float narrow(double x)
{
    return fabs(x) < 0x1.ffffffp-127 ? copysignf(0.0f, (float)x) : (float)x;
}

/* Without FMA, lane by lane: the product of two bf16 is exact in double, and its sum with
 * an fp32 is nearly so. Rounding that sum again, to fp32, gives what one rounding would,
 * unless it fell on the middle between two fp32: then it first goes to its neighbour on
 * the exact sum's side (rounding to odd, Boldo and Melquiond 2008). */
INLINE float step_lane(float sum, float a, float b)
{
    double x = (double)a * (double)b, y = (double)sum, s = x + y;
    uint64_t bits;

    memcpy(&bits, &s, sizeof bits);
    if (__builtin_expect((bits & 0x1fffffff) == 0x10000000, 0)) {
        double of_x = s - y, error = (x - of_x) + (y - (s - of_x)); /* Knuth's two-sum */
        if (error > 0.0 || error < 0.0)
            bits += (error > 0.0) == (s > 0.0) ? 1 : -1;
        memcpy(&s, &bits, sizeof s);
    }
    return narrow(s);
}

INLINE vf step(vf sum, part a, part b)
{
    for (int i = 0; i < LANES; i++)
        sum[i] = step_lane(sum[i], a[i], b[i]);
    return sum;
}

#endif
#endif

INLINE vf add_flushed(vf a, vf b)
{
#if LANES > 4
    return a + b; /* the control word flushes */
#else
    for (int i = 0; i < LANES; i++)
        a[i] = narrow((double)narrow((double)a[i]) + (double)narrow((double)b[i]));
    return a;
#endif
}

/* --- products ----------------------------------------------------------------------- */

/* c[M][PANEL] (+)= a[M][pairs] b[pairs][PANEL]; M is a constant at each call. */
INLINE void tile(const int M, int64_t pairs, const uint32_t *a, int64_t a_row,
                 int64_t a_step, const uint32_t *b, float *c, int64_t ldc,
                 bool accumulate)
{
    vf sum[TILE_ROWS][PANEL_VECTORS];

#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
        for (int j = 0; j < PANEL_VECTORS; j++)
            sum[i][j] = v_set(0.0f);
    for (int64_t p = 0; p < pairs; p++) {
#pragma GCC unroll 2
        for (int h = 0; h < PARTS; h++) {
            part row[PANEL_VECTORS];
#pragma GCC unroll 4
            for (int j = 0; j < PANEL_VECTORS; j++)
                row[j] = part_of(word_load(b + p * PANEL + j * LANES), h);
#pragma GCC unroll 16
            for (int i = 0; i < M; i++) {
                part x = part_of(word_set(a[i * a_row + p * a_step]), h);
#pragma GCC unroll 4
                for (int j = 0; j < PANEL_VECTORS; j++)
                    sum[i][j] = step(sum[i][j], x, row[j]);
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
        for (int j = 0; j < PANEL_VECTORS; j++) {
            float *at = c + i * ldc + j * LANES;
            v_store(at, accumulate ? add_flushed(v_load(at), sum[i][j]) : sum[i][j]);
        }
}

/* A row count known at run time becomes a constant. */
INLINE void tile_rows(int64_t m, int64_t pairs, const uint32_t *a, int64_t a_row,
                      int64_t a_step, const uint32_t *b, float *c, int64_t ldc,
                      bool accumulate)
{
#define TILE_CASE(M)                                                                     \
    case M:                                                                              \
        tile(M, pairs, a, a_row, a_step, b, c, ldc, accumulate);                         \
        break
    switch (m) {
        TILE_CASE(1);
        TILE_CASE(2);
        TILE_CASE(3);
        TILE_CASE(4);
        TILE_CASE(5);
        TILE_CASE(6);
#if TILE_ROWS > 6
        TILE_CASE(7);
        TILE_CASE(8);
        TILE_CASE(9);
        TILE_CASE(10);
        TILE_CASE(11);
        TILE_CASE(12);
#endif
    }
#undef TILE_CASE
}

static void bf16_product(int64_t m, int64_t pairs, const uint32_t *a, int64_t a_row,
                         int64_t a_step, const uint32_t *b, float *c, int64_t ldc,
                         bool accumulate)
{
    if (a_step == TILE_ROWS) /* packed */
        tile_rows(m, pairs, a, 1, TILE_ROWS, b, c, ldc, accumulate);
    else
        tile_rows(m, pairs, a, a_row, 1, b, c, ldc, accumulate);
}

/* M rows against Q panels at once: enough independent chains to hide the latency of the
 * steps, and several streams of memory. */
INLINE void skinny_panels(const int M, const int Q, int64_t pairs, const uint32_t *x,
                          int64_t ldx, const uint32_t *b, int64_t stride, float *c,
                          int64_t ldc, bool accumulate)
{
    for (int64_t p0 = 0; p0 == 0 || p0 < pairs; p0 += RLHF__BF16_BLOCK) {
        int64_t p1 = pairs - p0 < RLHF__BF16_BLOCK ? pairs : p0 + RLHF__BF16_BLOCK;
        vf sum[3][4][PANEL_VECTORS];
#pragma GCC unroll 3
        for (int i = 0; i < M; i++)
#pragma GCC unroll 4
            for (int q = 0; q < Q; q++)
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++)
                    sum[i][q][j] = v_set(0.0f);
        for (int64_t p = p0; p < p1; p++) {
#pragma GCC unroll 2
            for (int h = 0; h < PARTS; h++) {
#pragma GCC unroll 4
                for (int q = 0; q < Q; q++) {
#pragma GCC unroll 2
                    for (int j = 0; j < PANEL_VECTORS; j++) {
                        part w =
                            part_of(word_load(b + q * stride + p * PANEL + j * LANES), h);
#pragma GCC unroll 3
                        for (int i = 0; i < M; i++)
                            sum[i][q][j] = step(sum[i][q][j],
                                                part_of(word_set(x[i * ldx + p]), h), w);
                    }
                }
            }
        }
#pragma GCC unroll 3
        for (int i = 0; i < M; i++)
#pragma GCC unroll 4
            for (int q = 0; q < Q; q++)
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++) {
                    float *at = c + i * ldc + q * PANEL + j * LANES;
                    v_store(at, p0 || accumulate ? add_flushed(v_load(at), sum[i][q][j])
                                                 : sum[i][q][j]);
                }
    }
}

static void bf16_skinny(int64_t m, int64_t panels, int64_t pairs, const uint32_t *x,
                        int64_t ldx, const uint32_t *b, int64_t stride, float *c,
                        int64_t ldc, bool accumulate)
{
    for (int64_t q = 0; q < panels;) {
        const uint32_t *at = b + q * stride;
        float *to = c + q * PANEL;
        bool four = q + 4 <= panels;
        if (four && m == 1)
            skinny_panels(1, 4, pairs, x, ldx, at, stride, to, ldc, accumulate);
        else if (four && m == 2)
            skinny_panels(2, 4, pairs, x, ldx, at, stride, to, ldc, accumulate);
        else if (four)
            skinny_panels(3, 4, pairs, x, ldx, at, stride, to, ldc, accumulate);
        else if (m == 1)
            skinny_panels(1, 1, pairs, x, ldx, at, stride, to, ldc, accumulate);
        else if (m == 2)
            skinny_panels(2, 1, pairs, x, ldx, at, stride, to, ldc, accumulate);
        else
            skinny_panels(3, 1, pairs, x, ldx, at, stride, to, ldc, accumulate);
        q += four ? 4 : 1;
    }
}

static void bf16_add(const float *a, const float *b, int64_t count, float *y)
{
    int64_t i = 0;

    for (; i + LANES <= count; i += LANES)
        v_store(y + i, add_flushed(v_load(a + i), v_load(b + i)));
    if (i < count)
        v_store_part(y + i, count - i,
                     add_flushed(v_load_part(a + i, count - i, 0.0f),
                                 v_load_part(b + i, count - i, 0.0f)));
}

#define BF16_TABLE                                                                       \
    {                                                                                    \
        .panel = PANEL, .tile_rows = TILE_ROWS, .round = bf16_round,                     \
        .widen = bf16_widen, .round_pairs = bf16_round_pairs, .pack = bf16_pack,         \
        .product = bf16_product, .skinny = bf16_skinny, .add = bf16_add                  \
    }
