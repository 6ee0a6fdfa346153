/* Packing of a level: a group of columns with k running within. Included by level.h
 * only; memory order alone, no arithmetic. */

typedef float v4 __attribute__((vector_size(16)));
typedef float v4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
typedef float v2_unaligned __attribute__((vector_size(8), aligned(4), may_alias));

/* out[p * width + j] = src[j * ld + p] for four p and four j. */
INLINE void turn_four(const float *src, int64_t ld, int64_t width, float *out)
{
    v4 a = *(const v4_unaligned *)src, b = *(const v4_unaligned *)(src + ld);
    v4 c = *(const v4_unaligned *)(src + 2 * ld),
       d = *(const v4_unaligned *)(src + 3 * ld);
    v4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    v4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    v4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    v4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);

    *(v4_unaligned *)out = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(v4_unaligned *)(out + width) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(v4_unaligned *)(out + 2 * width) =
        __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(v4_unaligned *)(out + 3 * width) =
        __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/* The same for two j. */
INLINE void turn_two(const float *src, int64_t ld, int64_t width, float *out)
{
    v4 a = *(const v4_unaligned *)src, b = *(const v4_unaligned *)(src + ld);

    *(v2_unaligned *)out = __builtin_shufflevector(a, b, 0, 4);
    *(v2_unaligned *)(out + width) = __builtin_shufflevector(a, b, 1, 5);
    *(v2_unaligned *)(out + 2 * width) = __builtin_shufflevector(a, b, 2, 6);
    *(v2_unaligned *)(out + 3 * width) = __builtin_shufflevector(a, b, 3, 7);
}

#if LANES == 16

typedef float v8 __attribute__((vector_size(32)));
typedef float v8_unaligned __attribute__((vector_size(32), aligned(4), may_alias));

INLINE vf four_lanes(v4 a, v4 b, v4 c, v4 d)
{
    v8 low = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    v8 high = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);

    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                                   13, 14, 15);
}

/* Four floats of src's rows 0, 4, 8 and 12, or of the first two or three of those. */
INLINE vf load_lanes(const int lanes, const float *src, int64_t ld)
{
    v4 a = *(const v4_unaligned *)src, b = *(const v4_unaligned *)(src + 4 * ld);
    v4 c = {0}, d = {0};

    if (lanes > 2)
        c = *(const v4_unaligned *)(src + 8 * ld);
    if (lanes > 3)
        d = *(const v4_unaligned *)(src + 12 * ld);
    return four_lanes(a, b, c, d);
}

INLINE void store_lanes(const int lanes, const bool far, float *out, vf x)
{
    if (lanes == 4) {
        if (far)
            v_store_far(out, x);
        else
            v_store(out, x);
        return;
    }
    *(v8_unaligned *)out = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
    if (lanes == 3)
        *(v4_unaligned *)(out + 8) = __builtin_shufflevector(x, x, 8, 9, 10, 11);
}

/* turn_four in up to four lanes at once: four p, 4 * lanes of j. */
INLINE void turn_lanes(const int lanes, const bool far, const float *src, int64_t ld,
                       int64_t width, float *out)
{
    vf a = load_lanes(lanes, src, ld), b = load_lanes(lanes, src + ld, ld);
    vf c = load_lanes(lanes, src + 2 * ld, ld), d = load_lanes(lanes, src + 3 * ld, ld);
    vf ab_low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25,
                                        12, 28, 13, 29);
    vf ab_high = __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27,
                                         14, 30, 15, 31);
    vf cd_low = __builtin_shufflevector(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25,
                                        12, 28, 13, 29);
    vf cd_high = __builtin_shufflevector(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27,
                                         14, 30, 15, 31);

    store_lanes(lanes, far, out,
                __builtin_shufflevector(ab_low, cd_low, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9,
                                        24, 25, 12, 13, 28, 29));
    store_lanes(lanes, far, out + width,
                __builtin_shufflevector(ab_low, cd_low, 2, 3, 18, 19, 6, 7, 22, 23, 10,
                                        11, 26, 27, 14, 15, 30, 31));
    store_lanes(lanes, far, out + 2 * width,
                __builtin_shufflevector(ab_high, cd_high, 0, 1, 16, 17, 4, 5, 20, 21, 8,
                                        9, 24, 25, 12, 13, 28, 29));
    store_lanes(lanes, far, out + 3 * width,
                __builtin_shufflevector(ab_high, cd_high, 2, 3, 18, 19, 6, 7, 22, 23, 10,
                                        11, 26, 27, 14, 15, 30, 31));
}

/* As many of the columns from 0 to cols as whole lanes take, for p in [p0, p1), four at
 * a time; returns where the rest begins. */
INLINE int64_t turn_wide(const bool far, const float *src, int64_t ld, int64_t p0,
                         int64_t p1, int64_t cols, int64_t width, float *out)
{
    int64_t j = 0;

    for (; j + 16 <= cols; j += 16)
        for (int64_t p = p0; p < p1; p += 4)
            turn_lanes(4, far, src + j * ld + p, ld, width, out + p * width + j);
    if (j + 12 <= cols) {
        for (int64_t p = p0; p < p1; p += 4)
            turn_lanes(3, far, src + j * ld + p, ld, width, out + p * width + j);
        return j + 12;
    }
    if (j + 8 <= cols) {
        for (int64_t p = p0; p < p1; p += 4)
            turn_lanes(2, far, src + j * ld + p, ld, width, out + p * width + j);
        return j + 8;
    }
    return j;
}

#else

INLINE int64_t turn_wide(const bool far, const float *src, int64_t ld, int64_t p0,
                         int64_t p1, int64_t cols, int64_t width, float *out)
{
    (void)far;
    (void)src;
    (void)ld;
    (void)p0;
    (void)p1;
    (void)cols;
    (void)width;
    (void)out;
    return 0;
}

#endif

/* out[p * width + j] = src[j * ld + p] for p < k, j < cols: in squares, a cache line of
 * each row at a time. */
INLINE void turn_any(const bool far, const float *src, int64_t ld, int64_t k,
                     int64_t cols, int64_t width, float *out)
{
    for (int64_t p0 = 0; p0 < k; p0 += 16) {
        int64_t p1 = k - p0 < 16 ? k : p0 + 16, whole = p0 + (p1 - p0) / 4 * 4;
        int64_t j = turn_wide(far, src, ld, p0, whole, cols, width, out);
        for (; j + 4 <= cols; j += 4)
            for (int64_t p = p0; p < whole; p += 4)
                turn_four(src + j * ld + p, ld, width, out + p * width + j);
        for (; j + 2 <= cols; j += 2)
            for (int64_t p = p0; p < whole; p += 4)
                turn_two(src + j * ld + p, ld, width, out + p * width + j);
        for (int64_t p = p0; p < p1; p++)
            for (int64_t q = p < whole ? j : 0; q < cols; q++)
                out[p * width + q] = src[q * ld + p];
    }
}

/* Into memory that is read later, past the caches where whole lines are written: they
 * are not fetched first. */
static void turn(const float *src, int64_t ld, int64_t k, int64_t cols, int64_t width,
                 float *out)
{
    if (width % 16 != 0 || (uintptr_t)out % 64 != 0) {
        turn_any(false, src, ld, k, cols, width, out);
        return;
    }
    turn_any(true, src, ld, k, cols, width, out);
    v_fence();
}

static void pack_turned(const float *src, int64_t ld, int64_t k, int64_t cols,
                        int64_t width, float *out)
{
    turn_any(false, src, ld, k, cols, width, out);
    for (int64_t p = 0; cols < width && p < k; p++)
        for (int64_t j = cols; j < width; j++)
            out[p * width + j] = 0.0f;
}

/* src is [k][cols]. */
static void pack_copied(const float *src, int64_t ld, int64_t k, int64_t cols,
                        int64_t width, float *out)
{
    if (cols == width && width == PANEL) {
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < PANEL; j += LANES)
                v_store(out + p * PANEL + j, v_load(src + p * ld + j));
    } else if (cols == width && width == TILE_ROWS) {
        for (int64_t p = 0; p < k; p++)
            memcpy(out + p * TILE_ROWS, src + p * ld, TILE_ROWS * sizeof *out);
    } else {
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < width; j++)
                out[p * width + j] = j < cols ? src[p * ld + j] : 0.0f;
    }
}
