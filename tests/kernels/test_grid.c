/* The grid of a product's tiles: whole, and in even shares. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/size.h"
#include "kernels/grid.h"

static void check_tiles(rlhf__grid grid)
{
    int8_t seen[24][24] = {{0}};

    for (int64_t i = 0; i < rlhf__grid_size(&grid); i++) {
        rlhf__tile tile = rlhf__grid_tile(&grid, i);
        assert_true(tile.group < tile.group_end && tile.panel < tile.panel_end);
        for (int64_t g = tile.group; g < tile.group_end; g++)
            for (int64_t p = tile.panel; p < tile.panel_end; p++)
                assert_int_equal(seen[g][p]++, 0);
    }
    for (int64_t g = 0; g < grid.groups; g++)
        for (int64_t p = 0; p < grid.panels; p++)
            assert_int_equal(seen[g][p], 1);
}

static void test_grid_tiles_cover_a_product_once(void **state)
{
    (void)state;
    for (int64_t groups = 1; groups <= 24; groups++)
        for (int64_t row_tiles = 1; row_tiles <= groups; row_tiles++)
            for (int64_t col_tiles = 1; col_tiles <= 24; col_tiles += 5) {
                check_tiles((rlhf__grid){groups, 24, row_tiles, col_tiles});
                check_tiles((rlhf__grid){24, groups, col_tiles, row_tiles});
            }
}

static void test_grid_more_tiles_are_those_wanted(void **state)
{
    (void)state;
    assert_int_equal(rlhf__grid_more(1, 3, 8, 100), 3);
    assert_int_equal(rlhf__grid_more(5, 3, 8, 100), 5);
    assert_int_equal(rlhf__grid_more(1, 3, 8, 2), 2);
    assert_int_equal(rlhf__grid_more(3, 3, 80, 2), 3);
}

/* The most that one of the shares in which threads begin (pool.c) has of the whole, over
 * what each would have of it. */
static double fullest_share(const rlhf__grid *grid, int64_t threads)
{
    const int64_t size = rlhf__grid_size(grid);
    int64_t fullest = 0, next = 0;

    for (int64_t t = 0; t < threads; t++) {
        int64_t share = 0, end = next + size / threads + (t < size % threads);
        for (; next < end; next++) {
            rlhf__tile tile = rlhf__grid_tile(grid, next);
            share += (tile.group_end - tile.group) * (tile.panel_end - tile.panel);
        }
        fullest = rlhf__max_i64(fullest, share);
    }
    return (double)(fullest * threads) / (double)(grid->groups * grid->panels);
}

/* Grids of gpt2-124m's and llama-15m's products. */
static void test_grid_shares_are_evened_out(void **state)
{
    (void)state;
    const rlhf__grid grids[] = {{32, 72, 1, 9},  {72, 24, 3, 3},   {96, 24, 3, 3},
                                {171, 48, 9, 1}, {384, 48, 9, 1},  {43, 144, 1, 18},
                                {86, 18, 5, 1},  {64, 1571, 2, 9}, {342, 18, 15, 1}};

    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++)
        for (int64_t threads = 1; threads <= 4; threads++) {
            rlhf__grid grid = grids[i];
            rlhf__grid_even_out(&grid, grid.groups, threads);
            assert_true(fullest_share(&grid, threads) < 1.03);
        }
}

/* Evening out does not take tiles away, nor make more than twice as many each way where
 * they had several panels. */
static void test_grid_stays_within_bounds(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 24 * 24 * 24; i++) {
        const rlhf__grid from = {24, 24, 1 + i % 24, 1 + i / 24 % 24};
        const int64_t most = 1 + i / (24 * 24);
        for (int64_t threads = 1; threads <= 64; threads = 2 * threads + 1) {
            rlhf__grid grid = from;
            rlhf__grid_even_out(&grid, most, threads);
            assert_in_range(
                grid.row_tiles, from.row_tiles,
                rlhf__max_i64(from.row_tiles, rlhf__min_i64(most, 2 * from.row_tiles)));
            assert_in_range(grid.col_tiles, from.col_tiles,
                            rlhf__min_i64(24, 2 * from.col_tiles));
        }
    }
}

/* Of few rows no thread has more than its share, in units, and no tile more panels than
 * there is room for. */
static void test_grid_of_few_rows_is_even(void **state)
{
    (void)state;
    static const int64_t columns[] = {1, 16, 64, 288, 768, 864, 1536, 2304, 3072, 50257};
    enum { COLUMNS = sizeof columns / sizeof *columns };

    for (int64_t i = 0; i < COLUMNS * 2 * 2; i++)
        for (int64_t threads = 1; threads <= 9; threads++) {
            const int64_t n = columns[i % COLUMNS], panel = 16 << (i / COLUMNS % 2);
            const int64_t k = i / COLUMNS / 2 ? 64 : 768;
            int64_t unit = 0;
            rlhf__grid grid = rlhf__grid_of_few_rows(k, n, panel, threads, &unit);
            const int64_t fair = rlhf__ceil_div(grid.panels, threads);
            assert_int_equal(grid.panels, rlhf__ceil_div(rlhf__ceil_div(n, panel), unit));
            assert_true(fullest_share(&grid, threads) * (double)grid.panels <
                        (double)(fair * threads) + .5);
            for (int64_t t = 0; t < rlhf__grid_size(&grid); t++) {
                rlhf__tile tile = rlhf__grid_tile(&grid, t);
                assert_in_range((tile.panel_end - tile.panel) * unit, 0,
                                k * n < 1 << 18 ? 4 : RLHF__FEW_ROWS_PANELS);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid_tiles_cover_a_product_once),
        cmocka_unit_test(test_grid_more_tiles_are_those_wanted),
        cmocka_unit_test(test_grid_shares_are_evened_out),
        cmocka_unit_test(test_grid_stays_within_bounds),
        cmocka_unit_test(test_grid_of_few_rows_is_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
