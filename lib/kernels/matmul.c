/* Matrix products: what is packed when, and products of few rows. See docs/kernels.md. */
#include <assert.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/matmul_tiles.h"
#include "kernels/rows.h"

#define PACK_FLOATS ((int64_t)1 << 21) /* of a right side that is packed at once */
#define K_MOST      (PACK_FLOATS / 2 / RLHF__ROW_BLOCK) /* of it */
#define COPY_FLOATS ((int64_t)1 << 17) /* of a left side that each thread has in its L2 */
#define MATRIX_ROWS 64 /* rows from which packing B on the way costs little */

bool rlhf__products_round(const rlhf_context *ctx)
{
    return rlhf__bf16(ctx) != NULL;
}

int64_t rlhf__panels_size(rlhf_context *ctx, int64_t k, int64_t n)
{
    if (rlhf__bf16(ctx))
        return rlhf__bf16_panels_size(ctx, k, n);
    return rlhf__packed_size(n, k, rlhf__table(ctx)->panel);
}

void rlhf__pack_panels(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                       int64_t k, int64_t n, void *out_panels)
{
    if (rlhf__bf16(ctx))
        rlhf__bf16_pack_panels(ctx, src, ld, transposed, k, n, out_panels);
    else
        rlhf__pack_right(ctx, src, ld, transposed, k, n, out_panels);
}

void rlhf__panels_column(rlhf_context *ctx, const void *panels, int64_t k, int64_t j,
                         float *out)
{
    const int64_t panel = rlhf__table(ctx)->panel;
    const float *from = (const float *)panels + j / panel * panel * k + j % panel;

    if (rlhf__bf16(ctx)) {
        rlhf__bf16_panels_column(ctx, panels, k, j, out);
        return;
    }
    for (int64_t p = 0; p < k; p++)
        out[p] = from[p * panel];
}

/* One group of panels for up to a micro-tile's rows. */
static void skinny_tile(void *arg, int64_t tile, int32_t thread)
{
    const rlhf__product *job = arg;
    const rlhf__kernels *t = job->table;
    const rlhf__tile part = rlhf__grid_tile(&job->grid, tile);
    int64_t j0 = part.panel * job->unit * t->panel;
    int64_t j1 = rlhf__min_i64(part.panel_end * job->unit * t->panel, job->n);
    float sums[RLHF__MAX_ROWS * RLHF__FEW_ROWS_PANELS * RLHF__MAX_PANEL];
    int64_t ldc = RLHF__FEW_ROWS_PANELS * RLHF__MAX_PANEL;

    (void)thread;
    for (int64_t i = 0; job->accumulate && i < job->m; i++)
        memcpy(sums + i * ldc, job->y + i * job->ldy + j0,
               (size_t)(j1 - j0) * sizeof *sums);
    t->skinny(job->m, rlhf__ceil_div(j1 - j0, t->panel), job->k, job->x, job->ldx,
              job->panels + j0 * job->panel_k, t->panel * job->panel_k, sums, ldc,
              job->accumulate);
    for (int64_t i = 0; i < job->m; i++) {
        float *y = job->y + i * job->ldy + j0;
        memcpy(y, sums + i * ldc, (size_t)(j1 - j0) * sizeof *y);
        if (job->bias)
            t->add(y, job->bias + j0, j1 - j0, y);
    }
}

/* Where a chunk of up to `most` k that begins at k0 ends: where a block does. */
static int64_t k_chunk_end(int64_t k0, int64_t k, int64_t most)
{
    int64_t end = k0, next = rlhf__k_block_end(k0, k);

    do {
        end = next;
        next = rlhf__k_block_end(end, k);
    } while (end < k && next - k0 <= most);
    return end;
}

/* A right side that tiles share, packed and multiplied up to `cols` columns at a time. */
static void shared_matrix(rlhf_context *ctx, const rlhf__product *whole, int64_t cols,
                          float *panels)
{
    for (int64_t j0 = 0; j0 < whole->n; j0 += cols) {
        rlhf__product job = *whole;
        job.n = rlhf__min_i64(cols, whole->n - j0);
        rlhf__pack_panels(ctx, whole->matrix + (whole->transposed ? j0 * whole->ldb : j0),
                          whole->ldb, whole->transposed, job.k, job.n, panels);
        job.panels = panels;
        job.panel_k = job.k;
        job.bias = job.bias ? job.bias + j0 : NULL;
        job.y += j0;
        rlhf__run_product(ctx, &job);
    }
}

/* The part of a product with k in [k0, k1): its left side where it came packed, into
 * `packed`; panels NULL: those that it has, or its tiles pack. */
static void chunk_product(rlhf_context *ctx, const rlhf__product *whole, int64_t k0,
                          int64_t k1, float *packed, int64_t cols, float *panels)
{
    rlhf__product job = *whole;

    job.k = k1 - k0;
    job.x += job.x_columns ? k0 * job.ldx : k0;
    job.accumulate = whole->accumulate || k0 > 0;
    job.bias = k1 == whole->k ? whole->bias : NULL;
    if (job.matrix)
        job.matrix += job.transposed ? k0 : k0 * job.ldb;
    else
        job.panels += k0 * job.table->panel;
    if (packed && whole->copied) {
        job.copies = packed;
        memset(job.copied, 0,
               (size_t)rlhf__pool_num_threads(ctx->pool) * RLHF__COPIED_APART *
                   sizeof *job.copied);
    } else if (packed) {
        rlhf__pack_left(ctx, &job, packed);
    }
    if (panels)
        shared_matrix(ctx, &job, cols, panels);
    else
        rlhf__run_product(ctx, &job);
}

/* Into how many parts the rows of one tile are cut where each thread packs them for
 * itself: what another thread has just written is slow to read. Not at all (1) where
 * every thread has columns enough to pack all rows for, and not such (0) where it has
 * only few even so, nor on levels of CPUs with smaller caches. */
static int64_t copy_parts(rlhf_context *ctx, const rlhf__product *job)
{
    int64_t threads = rlhf__pool_num_threads(ctx->pool), parts = 1;
    int64_t panels = rlhf__ceil_div(job->n, job->table->panel);

    if (job->table->lanes != 16)
        return 0;
    if (panels < 8 * threads)
        parts = rlhf__max_i64(rlhf__min_i64(threads, job->m / 128), 1);
    return panels * parts < 4 * threads ? 0 : parts;
}

/* Where the left side of up to k_most k is packed that all tiles share. */
static rlhf_status get_packed(rlhf_context *ctx, rlhf__arena *scratch,
                              rlhf__product *whole, int64_t k_most, float **out_packed)
{
    int64_t threads = rlhf__pool_num_threads(ctx->pool);
    int64_t size = rlhf__packed_size(whole->m, k_most, whole->table->tile_rows);

    whole->row_parts = copy_parts(ctx, whole);
    if (!whole->row_parts)
        return rlhf__arena_alloc(scratch, size, sizeof(float), out_packed);
    whole->copy_size = size;
    RLHF__TRY(rlhf__arena_alloc(scratch, threads * RLHF__COPIED_APART,
                                sizeof *whole->copied, &whole->copied));
    return rlhf__arena_alloc(scratch, threads * size, sizeof(float), out_packed);
}

/* Packing x does not pay for few panels, fewer on a level that packs 16 floats at once.
 * Columns lie far apart, each in a cache line of its own, and are read so in small
 * products only. */
static bool is_direct(const rlhf__product *job)
{
    int64_t panels = job->table->lanes == 16 ? 6 : job->x_columns ? 12 : 24;

    return job->n <= panels * job->table->panel && (!job->x_columns || job->ldx <= 512);
}

/* More rows than a micro-tile has. Rows of one tile are packed beforehand for all tiles,
 * or by each thread, unless they are read as they lie; of more the right side is. What is
 * packed at once is about PACK_FLOATS, still in a cache when it is read, COPY_FLOATS of
 * the left side; chunks of k end where blocks of k do. */
static rlhf_status packed_product(rlhf_context *ctx, rlhf__arena *scratch,
                                  rlhf__product whole)
{
    const rlhf__kernels *t = whole.table;
    bool many = whole.m > RLHF__ROW_BLOCK || (whole.matrix && is_direct(&whole));
    int64_t k_most = K_MOST, width = 8 * t->panel;
    float *packed = NULL, *panels = NULL;

    whole.direct = many && is_direct(&whole);
    if (!many && t->lanes == 16)
        k_most = rlhf__max_i64(COPY_FLOATS / whole.m, RLHF__K_BLOCK_MOST);
    k_most = rlhf__min_i64(k_most, whole.k);
    int64_t cols = rlhf__min_i64(
        rlhf__max_i64(PACK_FLOATS / rlhf__max_i64(k_most, 1) / width, 1) * width,
        whole.n);
    if (!many && whole.matrix)
        whole.block_size = t->panel;
    else if (many && !whole.direct)
        whole.block_size = rlhf__min_i64(RLHF__ROW_BLOCK, whole.m + t->tile_rows);
    whole.block_size *= rlhf__min_i64(whole.k, RLHF__K_BLOCK_MOST);
    whole.block_size += RLHF__MAX_PANEL;
    RLHF__TRY(rlhf__arena_alloc(scratch, rlhf__pool_num_threads(ctx->pool),
                                (size_t)whole.block_size * sizeof(float), &whole.blocks));
    if (!many)
        RLHF__TRY(get_packed(ctx, scratch, &whole, k_most, &packed));
    else if (whole.matrix)
        RLHF__TRY(rlhf__arena_alloc(scratch, rlhf__panels_size(ctx, k_most, cols),
                                    sizeof *panels, &panels));
    for (int64_t k0 = 0, k1 = -1; k1 < whole.k; k0 = k1) {
        k1 = k_chunk_end(k0, whole.k, k_most);
        chunk_product(ctx, &whole, k0, k1, packed, cols, panels);
    }
    return RLHF_OK;
}

rlhf_status rlhf__matmul(rlhf_context *ctx, rlhf__arena *scratch, rlhf__operand x,
                         int64_t m, int64_t k, int64_t n, const void *panels,
                         const float *bias, bool accumulate, float *y, int64_t ldy)
{
    const rlhf__kernels *table = rlhf__table(ctx);
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    rlhf__product job = {.table = table,
                         .m = m,
                         .k = k,
                         .n = n,
                         .x = x.data,
                         .ldx = x.ld,
                         .panels = panels,
                         .panel_k = k,
                         .bias = bias,
                         .accumulate = accumulate,
                         .y = y,
                         .ldy = ldy};

    if (rlhf__bf16(ctx))
        return rlhf__bf16_matmul(ctx, scratch, x, m, k, n, panels, bias, accumulate, y,
                                 ldy);
    assert(!x.halves);
    if (m <= 0 || n <= 0)
        return RLHF_OK;
    if (m <= table->tile_rows) {
        job.grid = rlhf__grid_of_few_rows(k, n, table->panel,
                                          rlhf__pool_num_threads(ctx->pool), &job.unit);
        rlhf__run_tiles(ctx, m * k * n, rlhf__grid_size(&job.grid), skinny_tile, &job);
    } else {
        RLHF__TRY(packed_product(ctx, scratch, job));
        rlhf__arena_release(scratch, mark);
    }
    return RLHF_OK;
}

bool rlhf__matmul_wants_panels(int64_t m)
{
    return m < MATRIX_ROWS;
}

rlhf_status rlhf__matmul_unpacked(rlhf_context *ctx, rlhf__arena *scratch,
                                  rlhf__operand x, int64_t m, int64_t k, int64_t n,
                                  const float *matrix, int64_t ldb, bool transposed,
                                  const float *bias, bool accumulate, float *y,
                                  int64_t ldy)
{
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    rlhf__product job = {.table = rlhf__table(ctx),
                         .m = m,
                         .k = k,
                         .n = n,
                         .x = x.data,
                         .ldx = x.ld,
                         .matrix = matrix,
                         .ldb = ldb,
                         .transposed = transposed,
                         .bias = bias,
                         .accumulate = accumulate,
                         .y = y,
                         .ldy = ldy};

    if (rlhf__bf16(ctx))
        return rlhf__bf16_matmul_unpacked(ctx, scratch, x, m, k, n, matrix, ldb,
                                          transposed, bias, accumulate, y, ldy);
    assert(!x.halves);
    if (m <= 0 || n <= 0)
        return RLHF_OK;
    RLHF__TRY(packed_product(ctx, scratch, job));
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__matmul_weight_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                     const float *dy, int64_t lddy, rlhf__operand x,
                                     int64_t m, int64_t n, int64_t k, bool accumulate,
                                     float *dw, int64_t lddw)
{
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    rlhf__product job = {.table = rlhf__table(ctx),
                         .m = n,
                         .k = m,
                         .n = k,
                         .x = dy,
                         .ldx = lddy,
                         .x_columns = true,
                         .matrix = x.data,
                         .ldb = x.ld,
                         .accumulate = accumulate,
                         .y = dw,
                         .ldy = lddw};

    if (m <= 0) {
        for (int64_t i = 0; i < n && !accumulate; i++)
            memset(dw + i * lddw, 0, (size_t)k * sizeof *dw);
        return RLHF_OK;
    }
    if (rlhf__bf16(ctx))
        return rlhf__bf16_weight_grad(ctx, scratch, dy, lddy, x, m, n, k, accumulate, dw,
                                      lddw);
    assert(!x.halves);
    if (n <= 0 || k <= 0)
        return RLHF_OK;
    RLHF__TRY(packed_product(ctx, scratch, job));
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

/* --- column sums -------------------------------------------------------------------- */

typedef struct sums_job {
    const rlhf__kernels *table;
    const float *dy;
    int64_t lddy, m, n;
    float *db;
} sums_job;

#define SUM_COLUMNS 128
#define SUM_AHEAD   8 /* rows that are asked for early: the CPU does not see the stride */

static void sum_columns(void *arg, int64_t tile, int32_t thread)
{
    const sums_job *job = arg;
    int64_t j0 = tile * SUM_COLUMNS, count = rlhf__min_i64(SUM_COLUMNS, job->n - j0);
    float sum[SUM_COLUMNS] = {0};

    (void)thread;
    for (int64_t i = 0; i < job->m; i++) {
        const float *row = job->dy + i * job->lddy + j0;
        for (int64_t j = 0; j < count; j += 16)
            __builtin_prefetch(row + SUM_AHEAD * job->lddy + j);
        job->table->add(sum, row, count, sum);
    }
    job->table->add(job->db + j0, sum, count, job->db + j0);
}

rlhf_status rlhf__column_sums(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                              int64_t lddy, int64_t m, int64_t n, float *db)
{
    sums_job job = {rlhf__table(ctx), dy, lddy, m, n, db};
    int64_t tiles = rlhf__ceil_div(n, SUM_COLUMNS);

    (void)scratch;
    rlhf__run_tiles(ctx, m * n, tiles, sum_columns, &job);
    return RLHF_OK;
}
