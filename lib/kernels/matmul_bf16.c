/* Matrix products of a bf16 context: rounding, packing, a grid of tiles fixed by shapes,
 * threads. The fp32 ones are in matmul.c; docs/kernels.md has the contract of both. */
#include <string.h>

#include "base/size.h"
#include "kernels/bf16.h"
#include "kernels/grid.h"
#include "kernels/kernels.h"
#include "kernels/rows.h"

/* Of a tile at most: its sums, a block of k of either side, 2 MB of AMX's in all, stay in
 * an L2 cache. */
#define TILE_GROUPS 32 /* of rows */
#define TILE_PANELS 8
#define TILE_PAIRS  256 /* where the level leaves it open */
#define FEW_PANELS  2   /* where that makes too few tiles */
#define FEW_GROUPS  6
#define PACK_PANELS 8

#define TILES_PER_THREAD 4

static int64_t pairs_of(const rlhf__bf16_kernels *table, int64_t k)
{
    return rlhf__ceil_div(rlhf__ceil_div(k, 2), table->pair_step) * table->pair_step;
}

/* --- rounding and packing ----------------------------------------------------------- */

typedef struct round_job {
    const rlhf__bf16_kernels *table;
    const float *src;
    int64_t ld, cols;
    float *out; /* of ld, or NULL: words */
    uint32_t *words;
} round_job;

static void round_row(void *arg, int64_t row, int32_t thread)
{
    const round_job *job = arg;
    const float *src = job->src + row * job->ld;

    (void)thread;
    if (job->out)
        job->table->round(src, job->cols, job->out + row * job->ld);
    else
        job->table->round_pairs(src, job->cols,
                                job->words + row * pairs_of(job->table, job->cols));
}

void rlhf__round_activations(rlhf_context *ctx, float *x, int64_t ldx, int64_t rows,
                             int64_t cols)
{
    round_job job = {rlhf__bf16(ctx), x, ldx, cols, x, NULL};

    if (job.table)
        rlhf__run_tiles(ctx, rows * cols, rows, round_row, &job);
}

typedef struct pack_job {
    const rlhf__bf16_kernels *table;
    rlhf__operand src;
    int64_t k, n, width; /* groups of `width` columns */
    bool transposed;     /* src is [n][k] */
    bool left;
    uint32_t *out;
} pack_job;

/* Columns that are packed at once. */
static int64_t pack_cols(const pack_job *job)
{
    return job->left ? job->width : PACK_PANELS * job->width;
}

static void pack_tile(void *arg, int64_t tile, int32_t thread)
{
    const pack_job *job = arg;
    int64_t j0 = tile * pack_cols(job), cols = rlhf__min_i64(pack_cols(job), job->n - j0);
    const rlhf__operand src =
        rlhf__operand_from(job->src, job->transposed ? j0 * job->src.ld : j0);
    uint32_t *out = job->out + j0 * pairs_of(job->table, job->k);

    (void)thread;
    if (job->left)
        job->table->pack_left(src, job->transposed, job->k, cols, out);
    else
        job->table->pack(src, job->transposed, job->k, cols, job->width, out);
}

static void run_pack(rlhf_context *ctx, pack_job *job)
{
    rlhf__run_tiles(ctx, job->k * job->n, rlhf__ceil_div(job->n, pack_cols(job)),
                    pack_tile, job);
}

int64_t rlhf__rounded_ld(const rlhf_context *ctx, int64_t cols)
{
    return 2 * pairs_of(rlhf__bf16(ctx), cols);
}

int64_t rlhf__bf16_panels_size(const rlhf_context *ctx, int64_t k, int64_t n)
{
    const rlhf__bf16_kernels *table = rlhf__bf16(ctx);

    return rlhf__ceil_div(n, table->panel) * table->panel * pairs_of(table, k);
}

void rlhf__bf16_pack_panels(rlhf_context *ctx, const float *src, int64_t ld,
                            bool transposed, int64_t k, int64_t n, uint32_t *out_panels)
{
    const rlhf__bf16_kernels *table = rlhf__bf16(ctx);
    pack_job job = {
        table, rlhf__floats(src, ld), k, n, table->panel, transposed, false, out_panels};

    run_pack(ctx, &job);
}

void rlhf__bf16_panels_column(const rlhf_context *ctx, const uint32_t *panels, int64_t k,
                              int64_t j, float *out)
{
    const rlhf__bf16_kernels *table = rlhf__bf16(ctx);
    const int64_t panel = table->panel;
    const uint32_t *from = panels + j / panel * panel * pairs_of(table, k) + j % panel;

    for (int64_t p = 0; p < k; p++) {
        const uint32_t word = from[p / 2 * panel];
        const uint32_t bits = p % 2 ? word & 0xffff0000u : word << 16;
        memcpy(out + p, &bits, sizeof bits);
    }
}

/* --- tiles -------------------------------------------------------------------------- */

typedef struct product_job {
    const rlhf__bf16_kernels *table;
    int64_t m, pairs, n;
    const uint32_t *x; /* groups of the table's tile_rows, or for skinny [m][ldx] */
    int64_t ldx;
    const uint32_t *panels; /* [n / panel][pairs][panel]; NULL: tiles pack */
    rlhf__operand matrix;   /* the right side, k x n, where it did not come packed */
    int64_t k;
    bool transposed;  /* matrix is [n][k] */
    int64_t block;    /* of k, in pairs */
    uint32_t *blocks; /* what tiles pack: TILE_PANELS of a block, each thread */
    const float *bias;
    bool accumulate;
    float *y;
    int64_t ldy;
    rlhf__grid grid;
    int64_t unit; /* of few rows: what is a panel to the grid, in panels */
} product_job;

/* A block of k of a tile: `pairs` from p0 on, panel j of it at b + j * b_step. */
typedef struct block {
    int64_t p0, pairs;
    const uint32_t *b;
    int64_t b_step;
    bool accumulate, far; /* far: b comes from memory, and is used once */
} block;

/* `rows` rows from row i, one panel. One that is not full is multiplied in `edge`. */
static void micro_tile(const product_job *job, const block *at, int64_t i, int64_t rows,
                       int64_t j, const uint32_t *b)
{
    const rlhf__bf16_kernels *t = job->table;
    int64_t cols = rlhf__min_i64(t->panel, job->n - j);
    const uint32_t *a = job->x + i * job->pairs + at->p0 * t->tile_rows;
    float *c = job->y + i * job->ldy + j;
    float edge[RLHF__BF16_MAX_ROWS * RLHF__BF16_MAX_PANEL];

    if (cols == t->panel) {
        t->product(rows, at->pairs, a, b, c, job->ldy, at->accumulate, at->far);
        return;
    }
    if (at->accumulate) {
        memset(edge, 0, sizeof edge);
        for (int64_t r = 0; r < rows; r++)
            memcpy(edge + r * t->panel, c + r * job->ldy, (size_t)cols * sizeof *c);
    }
    t->product(rows, at->pairs, a, b, edge, t->panel, at->accumulate, at->far);
    for (int64_t r = 0; r < rows; r++)
        memcpy(c + r * job->ldy, edge + r * t->panel, (size_t)cols * sizeof *c);
}

/* Where the panels of columns [j0, j1) lie, which the thread packs into its own memory
 * unless they came so. */
static void find_panels(const product_job *job, int64_t j0, int64_t j1, uint32_t *own,
                        block *at)
{
    const rlhf__bf16_kernels *t = job->table;

    if (job->panels) {
        at->b = job->panels + j0 * job->pairs + at->p0 * t->panel;
        at->b_step = t->panel * job->pairs;
        return;
    }
    int64_t k0 = 2 * at->p0, k = rlhf__min_i64(2 * job->block, job->k - k0);
    int64_t from = job->transposed ? j0 * job->matrix.ld + k0 : k0 * job->matrix.ld + j0;
    t->pack(rlhf__operand_from(job->matrix, from), job->transposed, k, j1 - j0, t->panel,
            own);
    at->b = own;
    at->b_step = t->panel * at->pairs;
}

static void product_tile(void *arg, int64_t tile, int32_t thread)
{
    const product_job *job = arg;
    const rlhf__bf16_kernels *t = job->table;
    const rlhf__tile part = rlhf__grid_tile(&job->grid, tile);
    int64_t i0 = part.group * t->tile_rows, j0 = part.panel * t->panel;
    int64_t i1 = rlhf__min_i64(part.group_end * t->tile_rows, job->m);
    int64_t j1 = rlhf__min_i64(part.panel_end * t->panel, job->n);
    uint32_t *own =
        job->blocks ? job->blocks + thread * TILE_PANELS * t->panel * job->block : NULL;
    unsigned int before = t->begin();

    for (int64_t p0 = 0; p0 == 0 || p0 < job->pairs; p0 += job->block) {
        block at = {.p0 = p0,
                    .pairs = rlhf__min_i64(job->block, job->pairs - p0),
                    .accumulate = job->accumulate || p0 > 0,
                    .far = job->panels && job->m <= t->tile_rows};
        find_panels(job, j0, j1, own, &at);
        for (int64_t i = i0; i < i1; i += t->tile_rows)
            for (int64_t j = j0; j < j1; j += t->panel)
                micro_tile(job, &at, i, rlhf__min_i64(t->tile_rows, i1 - i), j,
                           at.b + (j - j0) / t->panel * at.b_step);
    }
    if (job->bias)
        for (int64_t i = i0; i < i1; i++)
            t->add(job->y + i * job->ldy + j0, job->bias + j0, j1 - j0,
                   job->y + i * job->ldy + j0);
    t->end(before);
}

/* One group of panels for few rows. */
static void skinny_tile(void *arg, int64_t tile, int32_t thread)
{
    const product_job *job = arg;
    const rlhf__bf16_kernels *t = job->table;
    const rlhf__tile part = rlhf__grid_tile(&job->grid, tile);
    int64_t j0 = part.panel * job->unit * t->panel;
    int64_t j1 = rlhf__min_i64(part.panel_end * job->unit * t->panel, job->n);
    int64_t ldc = RLHF__FEW_ROWS_PANELS * RLHF__BF16_MAX_PANEL;
    float sums[RLHF__BF16_MAX_SKINNY * RLHF__FEW_ROWS_PANELS * RLHF__BF16_MAX_PANEL];
    unsigned int before = job->table->begin();

    (void)thread;
    if (job->accumulate) {
        memset(sums, 0, sizeof sums);
        for (int64_t i = 0; i < job->m; i++)
            memcpy(sums + i * ldc, job->y + i * job->ldy + j0,
                   (size_t)(j1 - j0) * sizeof *sums);
    }
    t->skinny(job->m, rlhf__ceil_div(j1 - j0, t->panel), job->pairs, job->x, job->ldx,
              job->panels + j0 * job->pairs, t->panel * job->pairs, sums, ldc,
              job->accumulate);
    for (int64_t i = 0; i < job->m; i++) {
        float *y = job->y + i * job->ldy + j0;
        memcpy(y, sums + i * ldc, (size_t)(j1 - j0) * sizeof *y);
        if (job->bias)
            t->add(y, job->bias + j0, j1 - j0, y);
    }
    job->table->end(before);
}

/* Tiles are wide rather than tall: they pack their columns, once if one tile has all
 * rows. Fewer columns, then rows, where there would be too few to share out evenly. */
static rlhf__grid cut(const product_job *job, int64_t threads)
{
    const int64_t wanted = TILES_PER_THREAD * threads;
    rlhf__grid grid = {.groups = rlhf__ceil_div(job->m, job->table->tile_rows),
                       .panels = rlhf__ceil_div(job->n, job->table->panel)};
    int64_t most_rows = rlhf__max_i64(grid.groups / FEW_GROUPS, 1);

    grid.row_tiles = rlhf__ceil_div(grid.groups, TILE_GROUPS);
    grid.col_tiles = rlhf__ceil_div(grid.panels, TILE_PANELS);
    grid.col_tiles = rlhf__grid_more(grid.col_tiles, grid.row_tiles, wanted,
                                     rlhf__ceil_div(grid.panels, FEW_PANELS));
    grid.row_tiles = rlhf__grid_more(grid.row_tiles, grid.col_tiles, wanted, most_rows);
    grid.col_tiles = rlhf__grid_more(grid.col_tiles, grid.row_tiles, wanted, grid.panels);
    grid.row_tiles = rlhf__grid_more(grid.row_tiles, grid.col_tiles, wanted, grid.groups);
    rlhf__grid_even_out(&grid, most_rows, threads);
    return grid;
}

static rlhf_status run_product(rlhf_context *ctx, rlhf__arena *scratch, product_job *job)
{
    const rlhf__bf16_kernels *t = job->table;
    const int64_t threads = rlhf__pool_num_threads(ctx->pool);

    job->grid = cut(job, threads);
    /* Few rows let panels pass in one go, as they lie. */
    job->block = t->block                                ? t->block
                 : job->panels && job->m <= t->tile_rows ? rlhf__max_i64(job->pairs, 1)
                                                         : TILE_PAIRS;
    if (!job->panels)
        RLHF__TRY(rlhf__arena_alloc(scratch,
                                    threads * TILE_PANELS * t->panel * job->block,
                                    sizeof *job->blocks, &job->blocks));
    rlhf__run_tiles(ctx, job->m * job->pairs * 2 * job->n, rlhf__grid_size(&job->grid),
                    product_tile, job);
    return RLHF_OK;
}

/* x as the kernels read it: rows of words where there are few, else packed. */
static rlhf_status prepare_rows(rlhf_context *ctx, rlhf__arena *scratch, rlhf__operand x,
                                int64_t k, bool skinny, product_job *job)
{
    const int64_t rows = job->table->tile_rows;
    const int64_t padded = skinny ? job->m : rlhf__ceil_div(job->m, rows) * rows;
    uint32_t *words = NULL;

    if (skinny && x.halves) {
        job->x = x.data;
        job->ldx = x.ld / 2;
        return RLHF_OK;
    }
    RLHF__TRY(rlhf__arena_alloc(scratch, padded * job->pairs, sizeof *words, &words));
    job->x = words;
    job->ldx = job->pairs;
    if (skinny) {
        round_job round = {job->table, x.data, x.ld, k, NULL, words};
        rlhf__run_tiles(ctx, job->m * k, job->m, round_row, &round);
    } else {
        pack_job left = {job->table, x, k, job->m, rows, true, true, words};
        run_pack(ctx, &left);
    }
    return RLHF_OK;
}

rlhf_status rlhf__bf16_matmul(rlhf_context *ctx, rlhf__arena *scratch, rlhf__operand x,
                              int64_t m, int64_t k, int64_t n, const uint32_t *panels,
                              const float *bias, bool accumulate, float *y, int64_t ldy)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    product_job job = {.table = rlhf__bf16(ctx),
                       .m = m,
                       .pairs = pairs_of(rlhf__bf16(ctx), k),
                       .n = n,
                       .panels = panels,
                       .bias = bias,
                       .accumulate = accumulate,
                       .y = y,
                       .ldy = ldy};

    if (m <= 0 || n <= 0)
        return RLHF_OK;
    const bool skinny = m <= job.table->skinny_rows;
    RLHF__TRY(prepare_rows(ctx, scratch, x, k, skinny, &job));
    if (skinny) {
        job.grid = rlhf__grid_of_few_rows(k, n, job.table->panel,
                                          rlhf__pool_num_threads(ctx->pool), &job.unit);
        rlhf__run_tiles(ctx, m * k * n, rlhf__grid_size(&job.grid), skinny_tile, &job);
    } else {
        RLHF__TRY(run_product(ctx, scratch, &job));
    }
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__bf16_matmul_unpacked(rlhf_context *ctx, rlhf__arena *scratch,
                                       rlhf__operand x, int64_t m, int64_t k, int64_t n,
                                       const float *matrix, int64_t ldb, bool transposed,
                                       const float *bias, bool accumulate, float *y,
                                       int64_t ldy)
{
    const rlhf__bf16_kernels *table = rlhf__bf16(ctx);
    const rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    product_job job = {.table = table,
                       .m = m,
                       .pairs = pairs_of(table, k),
                       .n = n,
                       .matrix = rlhf__floats(matrix, ldb),
                       .k = k,
                       .transposed = transposed,
                       .bias = bias,
                       .accumulate = accumulate,
                       .y = y,
                       .ldy = ldy};

    if (m <= 0 || n <= 0)
        return RLHF_OK;
    RLHF__TRY(prepare_rows(ctx, scratch, x, k, false, &job));
    RLHF__TRY(run_product(ctx, scratch, &job));
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__bf16_weight_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                   const float *dy, int64_t lddy, rlhf__operand x,
                                   int64_t m, int64_t n, int64_t k, bool accumulate,
                                   float *dw, int64_t lddw)
{
    const rlhf__bf16_kernels *table = rlhf__bf16(ctx);
    const rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    const int64_t pairs = pairs_of(table, m), rows = table->tile_rows;
    uint32_t *left = NULL;

    RLHF__TRY(rlhf__arena_alloc(scratch, rlhf__ceil_div(n, rows) * rows * pairs,
                                sizeof *left, &left));
    pack_job left_side = {table, rlhf__floats(dy, lddy), m, n, rows, false, true, left};
    run_pack(ctx, &left_side);
    product_job job = {.table = table,
                       .m = n,
                       .pairs = pairs,
                       .n = k,
                       .x = left,
                       .matrix = x,
                       .k = m,
                       .accumulate = accumulate,
                       .y = dw,
                       .ldy = lddw};
    RLHF__TRY(run_product(ctx, scratch, &job));
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}
