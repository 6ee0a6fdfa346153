/* The grid of tiles that a matrix product is cut into: its groups of rows and its panels
 * of columns, in shares as even as they can be. Used by matmul_tiles.c and
 * matmul_bf16.c. */
#ifndef RLHF_KERNELS_GRID_H
#define RLHF_KERNELS_GRID_H

#include <stdint.h>

#define RLHF__FEW_ROWS_PANELS 8

typedef struct rlhf__grid {
    int64_t groups, panels; /* at least one of each */
    int64_t row_tiles, col_tiles;
} rlhf__grid;

/* Groups [group, group_end) and panels [panel, panel_end). */
typedef struct rlhf__tile {
    int64_t group, group_end;
    int64_t panel, panel_end;
} rlhf__tile;

static inline int64_t rlhf__grid_size(const rlhf__grid *grid)
{
    return grid->row_tiles * grid->col_tiles;
}

/* Tiles of the same rows come one after the other. */
static inline rlhf__tile rlhf__grid_tile(const rlhf__grid *grid, int64_t tile)
{
    int64_t r = tile / grid->col_tiles, c = tile % grid->col_tiles;

    return (rlhf__tile){.group = grid->groups * r / grid->row_tiles,
                        .group_end = grid->groups * (r + 1) / grid->row_tiles,
                        .panel = grid->panels * c / grid->col_tiles,
                        .panel_end = grid->panels * (c + 1) / grid->col_tiles};
}

/* `tiles` one way, or more, up to `most`, so that with `others` the other way they are
 * the `wanted` number. */
int64_t rlhf__grid_more(int64_t tiles, int64_t others, int64_t wanted, int64_t most);
/* Adds columns of tiles, then rows up to `most_rows`, so that no thread has a tile more
 * than others have. */
void rlhf__grid_even_out(rlhf__grid *grid, int64_t most_rows, int64_t threads);
/* The grid of a product of few rows, k x n, whose panels stream through: as many tiles
 * for each thread, of up to RLHF__FEW_ROWS_PANELS panels. What the grid calls a panel is
 * here *out_unit of them. */
rlhf__grid rlhf__grid_of_few_rows(int64_t k, int64_t n, int64_t panel, int64_t threads,
                                  int64_t *out_unit);

#endif
