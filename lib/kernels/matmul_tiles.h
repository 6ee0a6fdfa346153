/* Tiles of a matrix product, and the packing of its sides, by all threads. Used by
 * matmul.c. */
#ifndef RLHF_KERNELS_MATMUL_TILES_H
#define RLHF_KERNELS_MATMUL_TILES_H

#include "base/size.h"
#include "kernels/blis_kernel.h"
#include "kernels/grid.h"
#include "kernels/table.h"

/* Most rows of a tile: its left side of one k block, about 264 KB, stays in an L2 cache
 * while the panels pass. A multiple of every level's tile_rows. */
#define RLHF__ROW_BLOCK 264

#define RLHF__MAX_PANEL 32
#define RLHF__MAX_ROWS  12

#define RLHF__COPIED_APART 8 /* a cache line */

/* Where both sides have to be packed, the one that all tiles share is packed first, by
 * all threads; the other a block at a time by the thread that needs it, just before,
 * unless that is x and is read as it lies. */
typedef struct rlhf__product {
    const rlhf__kernels *table;
    const rlhf__blis *blis; /* serves full tiles; NULL: the level's own does */
    int64_t m, k, n;
    const float *x; /* [m][ldx], or, by x_columns, [k][ldx] */
    int64_t ldx;
    bool x_columns;
    bool direct;         /* x is read as it lies */
    const float *packed; /* x: [groups][k][tile_rows]; NULL: by the tiles */
    /* Not NULL: where each thread packs x for itself, copy_size floats apart, a row part
     * of row_parts when it takes its first tile of that; and which parts it has, in bits,
     * RLHF__COPIED_APART apart. */
    float *copies;
    int64_t copy_size, row_parts;
    uint64_t *copied;
    const float *panels; /* [n / panel][panel_k][panel]; NULL: by the tiles */
    int64_t panel_k;     /* >= k: a part of it is multiplied */
    const float *matrix; /* B itself, where it did not come packed */
    int64_t ldb;
    bool transposed; /* B[p][j] is matrix[j * ldb + p], else matrix[p * ldb + j] */
    float *blocks;   /* what tiles pack: block_size a thread */
    int64_t block_size;
    const float *bias;
    bool accumulate;
    float *y;
    int64_t ldy;
    rlhf__grid grid;
    int64_t unit; /* of few rows: what is a panel to the grid, in panels */
} rlhf__product;

/* Floats of n columns packed in groups of `width`. BLIS's micro-kernels load the row
 * after the last one, and do not use it. */
static inline int64_t rlhf__packed_size(int64_t n, int64_t k, int64_t width)
{
    return rlhf__ceil_div(n, width) * width * k + RLHF__MAX_PANEL;
}

/* B (k x n), as rlhf__pack_panels has it, into panels of floats. */
void rlhf__pack_right(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                      int64_t k, int64_t n, float *out_panels);
/* The product's left side, all of it, into job->packed's place. */
void rlhf__pack_left(rlhf_context *ctx, rlhf__product *job, float *out_packed);
/* The product, over the grid that is fit for it. */
void rlhf__run_product(rlhf_context *ctx, rlhf__product *job);

#endif
