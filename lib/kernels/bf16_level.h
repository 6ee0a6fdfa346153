/* The bf16 functions of a level that multiplies by vectors; see bf16.h. Written once,
 * compiled for each level with its own choices (bf16_pack.h). */
#include "kernels/bf16_pack.h"

#define SKINNY_ROWS 3

static void bf16_pack_left(rlhf__operand src, bool transposed, int64_t k, int64_t cols,
                           uint32_t *out)
{
    bf16_pack(src, transposed, k, cols, TILE_ROWS, out);
}

/* --- the chain ---------------------------------------------------------------------- */

/* A pair is done in parts: a whole word at once by vdpbf16ps, else its odd element and
 * then its even one. step: sum + a b, in one rounding each. */
#if defined(HAS_BF16)

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

/* Without FMA: the product of two bf16 is exact in double, and its sum with an fp32 is
 * nearly so. Rounding that sum again, to fp32, gives what one rounding would, unless it
 * fell on the middle between two fp32: then it first goes to its neighbour on the exact
 * sum's side (rounding to odd, Boldo and Melquiond 2008). */
__attribute__((noinline, cold)) static void off_the_middle(vd *sums, const vd *x,
                                                           const vd *y)
{
    for (int i = 0; i < LANES; i++) {
        double s = (*sums)[i], of_x = s - (*y)[i]; /* Knuth's two-sum */
        double error = ((*x)[i] - of_x) + ((*y)[i] - (s - of_x));
        uint64_t bits;
        memcpy(&bits, &s, sizeof bits);
        if ((bits & 0x1fffffff) == 0x10000000 && (error > 0.0 || error < 0.0))
            bits += (error > 0.0) == (s > 0.0) ? 1 : -1;
        memcpy(&s, &bits, sizeof s);
        (*sums)[i] = s;
    }
}

INLINE vf step(vf sum, part a, part b)
{
    vd x = widen(a) * widen(b);
    vd y = widen(sum), s = x + y;
    vi middle = __builtin_convertvector((vl)s & 0x1fffffff, vi) == 0x10000000;

    if (__builtin_expect(any_lane(middle), 0))
        off_the_middle(&s, &x, &y);
    return narrow(s);
}

#endif
#endif

/* --- products ----------------------------------------------------------------------- */

/* c[M][PANEL] (+)= a[pairs][TILE_ROWS] b[pairs][PANEL]; M is a constant at each call. */
INLINE void tile(const int M, int64_t pairs, const uint32_t *a, const uint32_t *b,
                 float *c, int64_t ldc, bool accumulate)
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
                part x = part_of(word_set(a[p * TILE_ROWS + i]), h);
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
static void bf16_product(int64_t m, int64_t pairs, const uint32_t *a, const uint32_t *b,
                         float *c, int64_t ldc, bool accumulate, bool far)
{
    (void)far;
#define TILE_CASE(M)                                                                     \
    case M:                                                                              \
        tile(M, pairs, a, b, c, ldc, accumulate);                                        \
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

/* M rows against Q panels at once: enough independent chains to hide the latency of the
 * steps, and several streams of memory. */
INLINE void skinny_panels(const int M, const int Q, int64_t pairs, const uint32_t *x,
                          int64_t ldx, const uint32_t *b, int64_t stride, float *c,
                          int64_t ldc, bool accumulate)
{
    for (int64_t p0 = 0; p0 == 0 || p0 < pairs; p0 += RLHF__BF16_BLOCK) {
        int64_t p1 = pairs - p0 < RLHF__BF16_BLOCK ? pairs : p0 + RLHF__BF16_BLOCK;
        vf sum[SKINNY_ROWS][4][PANEL_VECTORS];
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

#define BF16_TABLE                                                                       \
    {                                                                                    \
        .panel = PANEL, .tile_rows = TILE_ROWS, .skinny_rows = SKINNY_ROWS,              \
        .pair_step = PAIR_STEP, .block = RLHF__BF16_BLOCK, .round = bf16_round,          \
        .widen = bf16_widen, .round_pairs = bf16_round_pairs, .pack = bf16_pack,         \
        .pack_left = bf16_pack_left, .begin = begin_flushing, .end = end_flushing,       \
        .product = bf16_product, .skinny = bf16_skinny, .add = bf16_add                  \
    }
