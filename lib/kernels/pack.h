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

/* out[p * width + j] = src[j * ld + p] for p < k, j < cols: in squares, a cache line of
 * each row at a time. */
static void turn(const float *src, int64_t ld, int64_t k, int64_t cols, int64_t width,
                 float *out)
{
    for (int64_t p0 = 0; p0 < k; p0 += 16) {
        int64_t p1 = k - p0 < 16 ? k : p0 + 16, whole = p0 + (p1 - p0) / 4 * 4, j = 0;
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

static void pack_turned(const float *src, int64_t ld, int64_t k, int64_t cols,
                        int64_t width, float *out)
{
    turn(src, ld, k, cols, width, out);
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
            memcpy(out + p * PANEL, src + p * ld, PANEL * sizeof *out);
    } else if (cols == width && width == TILE_ROWS) {
        for (int64_t p = 0; p < k; p++)
            memcpy(out + p * TILE_ROWS, src + p * ld, TILE_ROWS * sizeof *out);
    } else {
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < width; j++)
                out[p * width + j] = j < cols ? src[p * ld + j] : 0.0f;
    }
}
