/* Rounding and packing of a level's bf16 products; see bf16.h. Written once, compiled for
 * each level with its own LANES, TILE_ROWS, PANEL_VECTORS and flags, and HAS_BF16 where
 * the CPU rounds by itself. Included by bf16_level.h and bf16_amx.c only. */
#include "kernels/bf16.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define PANEL  (PANEL_VECTORS * LANES)

typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint64_t vu_wide __attribute__((vector_size(LANES * 4))); /* half the lanes */
typedef uint32_t vu_half __attribute__((vector_size(LANES * 2)));
typedef uint16_t vs __attribute__((vector_size(LANES * 4)));
typedef uint16_t vs_unaligned
    __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef uint32_t vu_unaligned
    __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t vu_half_unaligned
    __attribute__((vector_size(LANES * 2), aligned(4), may_alias));

#if !defined(PAIR_STEP)
#define PAIR_STEP 1 /* pairs of k are filled up with zeros to a multiple of it */
#endif

static inline int64_t pairs_of(int64_t k)
{
    return ((k + 1) / 2 + PAIR_STEP - 1) / PAIR_STEP * PAIR_STEP;
}

INLINE vu word_load(const uint32_t *p)
{
    return *(const vu_unaligned *)p;
}

INLINE vu word_set(uint32_t x)
{
    return x - (vu){0};
}

/* vdpbf16ps flushes denormals by itself; what stands in for it, and the sums of blocks,
 * do by the control word. The portable level needs none. */
static unsigned int begin_flushing(void)
{
#if defined(__x86_64__)
    unsigned int before = _mm_getcsr();

    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zeros */
    return before;
#else
    return 0;
#endif
}

static void end_flushing(unsigned int before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
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

/* Element i of an operand. */
INLINE const void *element(const bool halves, const void *src, int64_t i)
{
    if (halves)
        return (const uint16_t *)src + i;
    return (const float *)src + i;
}

/* Words from 2 * LANES elements along memory. */
INLINE vu words_along(const bool halves, const void *src)
{
    if (halves)
        return word_load((const uint32_t *)src);
    const float *floats = (const float *)src;
#if defined(HAS_BF16)
    return (vu)_mm512_cvtne2ps_pbh((__m512)v_load(floats + LANES),
                                   (__m512)v_load(floats));
#else
    const vu_half parts[2] = {join_lanes(round_bits(v_load(floats))),
                              join_lanes(round_bits(v_load(floats + LANES)))};
    vu words;

    memcpy(&words, parts, sizeof words);
    return words;
#endif
}

/* From the first `count` of them; zeros after these. */
static vu words_along_part(const bool halves, const void *src, int64_t count)
{
    float part[2 * LANES] = {0};

    memcpy(part, src, (size_t)count * (halves ? sizeof(uint16_t) : sizeof *part));
    return words_along(halves, part);
}

/* Words from two rows: `even` in the low halves, `odd` in the high ones. */
INLINE vu words_across(vf even, vf odd)
{
#if defined(HAS_BF16)
    const vs both = (vs)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
    return (vu)__builtin_shufflevector(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                       21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                       28, 13, 29, 14, 30, 15, 31);
#else
    return round_bits(even) | round_bits(odd) << 16;
#endif
}

/* Up to LANES halves, each in its lane's low half; zeros after these. */
INLINE vu halves_at(const void *src, int64_t count)
{
    uint16_t part[LANES] = {0};

    if (count < LANES)
        src = memcpy(part, src, (size_t)count * sizeof *part);
    return __builtin_convertvector(*(const vs_unaligned *)src, vu);
}

/* The same from `cols` columns of row p and the next of k rows. */
INLINE vu words_across_part(const bool halves, const void *src, int64_t ld, int64_t p,
                            int64_t k, int64_t cols)
{
    const void *first = element(halves, src, p * ld);
    const void *second = element(halves, src, (p + 1) * ld);
    const float *even = (const float *)first, *odd = (const float *)second;
    const vf none = v_set(0.0f);

    if (halves)
        return (p < k ? halves_at(first, cols) : word_set(0)) |
               (p + 1 < k ? halves_at(second, cols) : word_set(0)) << 16;
    if (cols >= LANES)
        return words_across(p < k ? v_load(even) : none, p + 1 < k ? v_load(odd) : none);
    return words_across(p < k ? v_load_part(even, cols, 0.0f) : none,
                        p + 1 < k ? v_load_part(odd, cols, 0.0f) : none);
}

static void bf16_round_pairs(const float *src, int64_t count, uint32_t *out)
{
    int64_t i = 0;

    for (; i + 2 * LANES <= count; i += 2 * LANES)
        *(vu_unaligned *)(out + i / 2) = words_along(false, src + i);
    if (i < count) {
        vu last = words_along_part(false, src + i, count - i);
        memcpy(out + i / 2, &last, (size_t)((count - i + 1) / 2) * sizeof *out);
    }
}

/* --- packing ------------------------------------------------------------------------ */

#if LANES == 16

/* Rows of words become columns: within quarters of 4 lanes by twos and by fours, then the
 * quarters themselves. */
INLINE void turn_words(vu row[LANES])
{
    vu two[LANES], four[LANES];

#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) {
        two[i] = __builtin_shufflevector(row[i], row[i + 1], 0, 16, 1, 17, 4, 20, 5, 21,
                                         8, 24, 9, 25, 12, 28, 13, 29);
        two[i + 1] = __builtin_shufflevector(row[i], row[i + 1], 2, 18, 3, 19, 6, 22, 7,
                                             23, 10, 26, 11, 27, 14, 30, 15, 31);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            four[i + 2 * h] =
                __builtin_shufflevector(two[i + h], two[i + h + 2], 0, 1, 16, 17, 4, 5,
                                        20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
            four[i + 2 * h + 1] =
                __builtin_shufflevector(two[i + h], two[i + h + 2], 2, 3, 18, 19, 6, 7,
                                        22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
#define EVEN_QUARTERS(a, b)                                                              \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26,  \
                            27)
#define ODD_QUARTERS(a, b)                                                               \
    __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29,    \
                            30, 31)
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const vu low_even = EVEN_QUARTERS(four[c], four[4 + c]);
        const vu low_odd = ODD_QUARTERS(four[c], four[4 + c]);
        const vu high_even = EVEN_QUARTERS(four[8 + c], four[12 + c]);
        const vu high_odd = ODD_QUARTERS(four[8 + c], four[12 + c]);
        row[c] = EVEN_QUARTERS(low_even, high_even);
        row[4 + c] = EVEN_QUARTERS(low_odd, high_odd);
        row[8 + c] = ODD_QUARTERS(low_even, high_even);
        row[12 + c] = ODD_QUARTERS(low_odd, high_odd);
    }
#undef EVEN_QUARTERS
#undef ODD_QUARTERS
}

#else

INLINE void turn_words(vu row[LANES])
{
    const vu(*from)[LANES] = (const vu(*)[LANES])row;
    vu turned[LANES];

    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++)
            turned[i][j] = (*from)[j][i];
    memcpy(row, turned, sizeof turned);
}

#endif

INLINE void put_words(uint32_t *out, int64_t count, vu words)
{
    if (count >= LANES)
        *(vu_unaligned *)out = words;
    else
        memcpy(out, &words, (size_t)count * sizeof *out);
}

/* Rows of k, which lie along memory, become columns of words: in squares of LANES words
 * each way. */
INLINE void pack_transposed(const bool halves, const void *src, int64_t ld, int64_t k,
                            int64_t cols, int64_t width, uint32_t *out)
{
    const int64_t all_pairs = pairs_of(k);

    for (int64_t p0 = 0; p0 < k; p0 += 2 * LANES) {
        int64_t left = k - p0 < 2 * LANES ? k - p0 : 2 * LANES;
        int64_t pairs = all_pairs - p0 / 2 < LANES ? all_pairs - p0 / 2 : LANES;
        for (int64_t j0 = 0; j0 < width; j0 += LANES) {
            vu square[LANES];
            for (int j = 0; j < LANES; j++) {
                const void *at = element(halves, src, (j0 + j) * ld + p0);
                square[j] = j0 + j >= cols      ? word_set(0)
                            : left == 2 * LANES ? words_along(halves, at)
                                                : words_along_part(halves, at, left);
            }
            turn_words(square);
            for (int64_t p = 0; p < pairs; p++)
                put_words(out + (p0 / 2 + p) * width + j0, width - j0, square[p]);
        }
    }
}

/* Two rows of the matrix become one of words, in all groups of columns. */
INLINE void pack_straight(const bool halves, const void *src, int64_t ld, int64_t k,
                          int64_t cols, int64_t width, uint32_t *out)
{
    const int64_t pairs = pairs_of(k);

    for (int64_t p = 0; p < pairs; p++, out += width)
        for (int64_t j0 = 0; j0 < cols; j0 += width)
            for (int64_t j = j0; j < j0 + width; j += LANES) {
                vu words = j < cols ? words_across_part(halves, element(halves, src, j),
                                                        ld, 2 * p, k, cols - j)
                                    : word_set(0);
                put_words(out + j0 * pairs + j - j0, j0 + width - j, words);
            }
}

INLINE void pack_of(const bool halves, const void *src, int64_t ld, bool transposed,
                    int64_t k, int64_t cols, int64_t width, uint32_t *out)
{
    if (!transposed)
        pack_straight(halves, src, ld, k, cols, width, out);
    for (int64_t j = 0; transposed && j < cols; j += width)
        pack_transposed(halves, element(halves, src, j * ld), ld, k, cols - j, width,
                        out + j * pairs_of(k));
}

static void bf16_pack(rlhf__operand src, bool transposed, int64_t k, int64_t cols,
                      int64_t width, uint32_t *out)
{
    if (src.halves)
        pack_of(true, src.data, src.ld, transposed, k, cols, width, out);
    else
        pack_of(false, src.data, src.ld, transposed, k, cols, width, out);
}

/* --- sums --------------------------------------------------------------------------- */

#if LANES == 4

typedef double vd __attribute__((vector_size(LANES * 8)));
typedef int64_t vl __attribute__((vector_size(LANES * 8)));

INLINE bool any_lane(vi mask)
{
    uint64_t words[2];

    memcpy(words, &mask, sizeof words);
    return (words[0] | words[1]) != 0;
}

/* To fp32; what lies below its normal numbers once rounded to 24 bits is a zero. */
INLINE vf narrow(vd x)
{
    vd size = (vd)((vl)x & INT64_MAX);
    vi tiny = __builtin_convertvector(size < 0x1.ffffffp-127, vi);

    return (vf)((vi) __builtin_convertvector(x, vf) & (~tiny | INT32_MIN));
}

INLINE vd widen(vf x)
{
    return __builtin_convertvector(x, vd);
}

#endif

INLINE vf add_flushed(vf a, vf b)
{
#if LANES > 4
    return a + b; /* the control word flushes */
#else
    return narrow(widen(narrow(widen(a))) + widen(narrow(widen(b))));
#endif
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
