/* bf16 functions for AMX: products by TDPBF16PS, on tiles of 16 x 16 sums.
 *
 * One instruction takes 16 pairs of k (Intel's manual, and 2,048,000 random cases on
 * hardware): from zero, the even products make one chain of fused multiply-adds and the
 * odd ones another; then sum = sum + (even chain + odd chain), denormals flushed. That is
 * the level's chain, for any number of rows. */
#include <immintrin.h>

#define LANES         16
#define TILE_ROWS     32
#define PANEL_VECTORS 2
#define PAIR_STEP     16
#define HAS_BF16

#include "kernels/bf16_pack.h"

#define TILE       256 /* words or sums of a tile, 16 rows of 64 bytes */
#define TILE_BYTES 64  /* of a row */
#define AHEAD      256 /* words that a panel is asked for early, into the L2 cache */

/* The left side lies in tiles: [pairs / 16][2][16 rows][16 pairs]. */

INLINE void pack_rows(const bool halves, const void *src, int64_t ld, int64_t k,
                      int64_t rows, uint32_t *out)
{
    for (int64_t i = 0; i < TILE_ROWS; i++) {
        uint32_t *to = out + i / 16 * TILE + i % 16 * LANES;
        for (int64_t p = 0; p < k; p += 2 * LANES, to += 2 * TILE) {
            const void *from = element(halves, src, i * ld + p);
            *(vu_unaligned *)to = i >= rows ? word_set(0)
                                  : p + 2 * LANES <= k
                                      ? words_along(halves, from)
                                      : words_along_part(halves, from, k - p);
        }
    }
}

INLINE void pack_columns(const bool halves, const void *src, int64_t ld, int64_t k,
                         int64_t cols, uint32_t *out)
{
    for (int64_t p0 = 0; p0 < k; p0 += 2 * LANES)
        for (int64_t j0 = 0; j0 < TILE_ROWS; j0 += LANES, out += TILE) {
            vu square[LANES];
            for (int p = 0; p < LANES; p++)
                square[p] = j0 < cols
                                ? words_across_part(halves, element(halves, src, j0), ld,
                                                    p0 + 2 * p, k, cols - j0)
                                : word_set(0);
            turn_words(square);
            for (int j = 0; j < LANES; j++)
                *(vu_unaligned *)(out + j * LANES) = square[j];
        }
}

static void amx_pack_left(rlhf__operand src, bool transposed, int64_t k, int64_t cols,
                          uint32_t *out)
{
    if (transposed && src.halves)
        pack_rows(true, src.data, src.ld, k, cols, out);
    else if (transposed)
        pack_rows(false, src.data, src.ld, k, cols, out);
    else if (src.halves)
        pack_columns(true, src.data, src.ld, k, cols, out);
    else
        pack_columns(false, src.data, src.ld, k, cols, out);
}

/* --- products ----------------------------------------------------------------------- */

/* Compilers do not know what tile instructions read. */
INLINE void write_before_tiles(const void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* Tiles 0 to 3 hold sums, 4 and 5 the left side, 6 and 7 the panel: all are whole. */
static unsigned int amx_begin(void)
{
    _Alignas(64) struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};

    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = TILE_BYTES;
        config.rows[i] = 16;
    }
    write_before_tiles(&config);
    _tile_loadconfig(&config);
    return begin_flushing();
}

static void amx_end(unsigned int before)
{
    _tile_release();
    end_flushing(before);
}

#define PANEL_BYTES ((int64_t)(PANEL * sizeof(uint32_t)))

/* 16 or 32 rows of a panel. */
INLINE void whole_tiles(bool two, int64_t pairs, const uint32_t *a, const uint32_t *b,
                        float *c, int64_t ldc, bool accumulate, bool far)
{
    const int64_t row = ldc * (int64_t)sizeof *c;

    write_before_tiles(c);
    if (accumulate) {
        _tile_loadd(0, c, row);
        _tile_loadd(1, c + 16, row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
    }
    if (two && accumulate) {
        _tile_loadd(2, c + 16 * ldc, row);
        _tile_loadd(3, c + 16 * ldc + 16, row);
    } else if (two) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t p = 0; p < pairs; p += PAIR_STEP, a += 2 * TILE, b += 2 * TILE) {
        for (int64_t i = 0; far && i < 2 * TILE; i += LANES)
            __builtin_prefetch(b + AHEAD + i, 0, 2);
        _tile_loadd(4, a, TILE_BYTES);
        _tile_loadd(6, b, PANEL_BYTES);
        _tile_loadd(7, b + 16, PANEL_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (two) {
            _tile_loadd(5, a + TILE, TILE_BYTES);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, row);
    _tile_stored(1, c + 16, row);
    if (two) {
        _tile_stored(2, c + 16 * ldc, row);
        _tile_stored(3, c + 16 * ldc + 16, row);
    }
}

static void amx_product(int64_t m, int64_t pairs, const uint32_t *a, const uint32_t *b,
                        float *c, int64_t ldc, bool accumulate, bool far)
{
    float sums[TILE_ROWS * PANEL];

    if (m == TILE_ROWS) {
        whole_tiles(true, pairs, a, b, c, ldc, accumulate, far);
        return;
    }
    if (accumulate) {
        memset(sums, 0, sizeof sums);
        for (int64_t i = 0; i < m; i++)
            memcpy(sums + i * PANEL, c + i * ldc, PANEL * sizeof *c);
    }
    if (m > 16)
        whole_tiles(true, pairs, a, b, sums, PANEL, accumulate, far);
    else
        whole_tiles(false, pairs, a, b, sums, PANEL, accumulate, far);
    for (int64_t i = 0; i < m; i++)
        memcpy(c + i * ldc, sums + i * PANEL, PANEL * sizeof *c);
}

const rlhf__bf16_kernels rlhf__bf16_amx = {.panel = PANEL,
                                           .tile_rows = TILE_ROWS,
                                           .pair_step = PAIR_STEP,

                                           .round = bf16_round,
                                           .widen = bf16_widen,
                                           .round_pairs = bf16_round_pairs,
                                           .pack = bf16_pack,
                                           .pack_left = amx_pack_left,
                                           .begin = amx_begin,
                                           .end = amx_end,
                                           .product = amx_product,
                                           .add = bf16_add};
