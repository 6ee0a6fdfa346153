/* How many tiles a matrix product is cut into. Each thread begins with a run of tiles of
 * its own (pool.c). Where all have as many, their shares differ by a group of rows or a
 * panel only; of nine tiles one of two threads has five, and the other waits for it. */
#include "kernels/grid.h"

#include "base/size.h"

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
