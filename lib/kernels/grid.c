/* How many tiles a matrix product is cut into. Each thread begins with a run of tiles of
 * its own (pool.c). Where all have as many, their shares differ by a group of rows or a
 * panel only; of nine tiles one of two threads has five, and the other waits for it. */
#include "kernels/grid.h"

#include "base/size.h"

#define AT_ONCE 4                  /* panels that products of few rows read at once */
#define SMALL   ((int64_t)1 << 18) /* elements of a weight that takes smaller tiles */

int64_t rlhf__grid_more(int64_t tiles, int64_t others, int64_t wanted, int64_t most)
{
    return rlhf__max_i64(tiles, rlhf__min_i64(rlhf__ceil_div(wanted, others), most));
}

/* From `least` to `most` tiles, but not over twice as many, since small ones cost more:
 * the number which, `others` times over, leaves the fullest thread the smallest share. */
static int64_t fairest(int64_t least, int64_t most, int64_t others, int64_t threads)
{
    int64_t best = least, end = rlhf__min_i64(most, 2 * least);

    for (int64_t tiles = least + 1; tiles <= end && best * others % threads; tiles++)
        if (rlhf__ceil_div(tiles * others, threads) * best <
            rlhf__ceil_div(best * others, threads) * tiles)
            best = tiles;
    return best;
}

void rlhf__grid_even_out(rlhf__grid *grid, int64_t most_rows, int64_t threads)
{
    /* Of one panel here and two there, one share may be twice another. */
    if (2 * grid->col_tiles > grid->panels)
        grid->col_tiles = grid->panels;
    else
        grid->col_tiles =
            fairest(grid->col_tiles, grid->panels / 2, grid->row_tiles, threads);
    grid->row_tiles = fairest(grid->row_tiles, most_rows, grid->col_tiles, threads);
}

rlhf__grid rlhf__grid_of_few_rows(int64_t k, int64_t n, int64_t panel, int64_t threads,
                                  int64_t *out_unit)
{
    const int64_t panels = rlhf__ceil_div(n, panel);
    const int64_t most =
        k * n < SMALL ? RLHF__FEW_ROWS_PANELS / 2 : RLHF__FEW_ROWS_PANELS;
    /* Of few panels the threads would get too unlike shares by AT_ONCE. */
    const int64_t unit = panels < 4 * AT_ONCE * threads ? 1 : AT_ONCE;
    const int64_t units = rlhf__ceil_div(panels, unit);
    const int64_t tiles = rlhf__ceil_div(units, most / unit);

    *out_unit = unit;
    return (rlhf__grid){.groups = 1,
                        .panels = units,
                        .row_tiles = 1,
                        .col_tiles = rlhf__ceil_div(tiles, threads) * threads};
}
