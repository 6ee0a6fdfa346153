/* Matrix products: packing, a grid of tiles fixed by shapes, threads. See
 * docs/kernels.md. */
#include <string.h>

#include "base/size.h"
#include "kernels/blis_kernel.h"
#include "kernels/table.h"

#define K_BLOCK     256
#define SKINNY_ROWS 3 /* rows at most for the kernel that streams panels */
#define MAX_PANEL   32
#define MAX_ROWS    12
#define SMALL_WORK  (1 << 15) /* multiply-adds below which threads do not pay */

typedef struct product_job {
    const rlhf__kernels *table;
    bool blis; /* BLIS's micro-kernel fits and serves full tiles */
    int64_t m, k, n;
    const float *x; /* [m][ldx], or packed: [m / rows][k][rows] */
    int64_t ldx;
    bool packed;
    const float *panels; /* [n / panel][k][panel] */
    const float *bias;
    bool accumulate;
    float *y;
    int64_t ldy;
    int64_t tile_rows, tile_cols, col_tiles; /* the grid */
} product_job;

int64_t rlhf__panels_size(rlhf_context *ctx, int64_t k, int64_t n)
{
    int64_t panel = rlhf__table(ctx)->panel;

    /* BLIS's micro-kernels load the row after the last one, and do not use it. */
    return rlhf__ceil_div(n, panel) * panel * k + MAX_PANEL;
}

/* --- packing ------------------------------------------------------------------------ */

typedef struct pack_job {
    const float *src;
    int64_t ld, k, n, width; /* groups of `width` columns */
    bool transposed;         /* src is [n][k] */
    float *out;
} pack_job;

static void pack_group(void *arg, int64_t group, int32_t thread)
{
    const pack_job *job = arg;
    int64_t w = job->width, j0 = group * w, cols = rlhf__min_i64(w, job->n - j0);
    float *out = job->out + j0 * job->k;

    (void)thread;
    if (!job->transposed) {
        for (int64_t p = 0; p < job->k; p++, out += w) {
            memcpy(out, job->src + p * job->ld + j0, (size_t)cols * sizeof *out);
            for (int64_t j = cols; j < w; j++)
                out[j] = 0.0f;
        }
        return;
    }
    /* In squares, so that a cache line is read once. */
    for (int64_t p0 = 0; p0 < job->k; p0 += 16) {
        int64_t p1 = rlhf__min_i64(p0 + 16, job->k);
        for (int64_t j = 0; j < w; j++)
            for (int64_t p = p0; p < p1; p++)
                out[p * w + j] = j < cols ? job->src[(j0 + j) * job->ld + p] : 0.0f;
    }
}

static void pack(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                 int64_t k, int64_t n, int64_t width, float *out)
{
    pack_job job = {src, ld, k, n, width, transposed, out};
    int64_t groups = rlhf__ceil_div(n, width);

    if (k * n < SMALL_WORK)
        for (int64_t group = 0; group < groups; group++)
            pack_group(&job, group, 0);
    else
        rlhf__pool_run(ctx->pool, groups, pack_group, &job);
}

void rlhf__pack_panels(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                       int64_t k, int64_t n, float *out_panels)
{
    pack(ctx, src, ld, transposed, k, n, rlhf__table(ctx)->panel, out_panels);
}

/* --- tiles -------------------------------------------------------------------------- */

/* One micro-tile of one k block: `rows` rows from row i, one panel. */
static void micro_tile(const product_job *job, int64_t i, int64_t rows, int64_t panel_at,
                       int64_t k0, int64_t kb, bool accumulate)
{
    const rlhf__kernels *t = job->table;
    const float *b = job->panels + panel_at * job->k + k0 * t->panel;
    int64_t cols = rlhf__min_i64(t->panel, job->n - panel_at);
    float *c = job->y + i * job->ldy + panel_at;
    float edge[MAX_ROWS * MAX_PANEL];
    bool whole = cols == t->panel;
    float *to = whole ? c : edge;
    int64_t ldc = whole ? job->ldy : t->panel;

    if (job->packed) {
        const float *a = job->x + i * job->k + k0 * t->tile_rows;
        if (whole && rows == t->tile_rows && job->blis)
            rlhf__blis_microkernel(kb, a, b, to, ldc, accumulate);
        else
            t->microkernel(rows, kb, a, b, to, ldc, whole && accumulate);
    } else {
        t->product(rows, t->panel, kb, job->x + i * job->ldx + k0, job->ldx, 1, b,
                   t->panel, to, ldc, whole && accumulate);
    }
    if (!whole)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < cols; j++)
                c[r * job->ldy + j] = accumulate
                                          ? c[r * job->ldy + j] + edge[r * t->panel + j]
                                          : edge[r * t->panel + j];
}

static void product_tile(void *arg, int64_t tile, int32_t thread)
{
    const product_job *job = arg;
    int64_t i0 = tile / job->col_tiles * job->tile_rows;
    int64_t j0 = tile % job->col_tiles * job->tile_cols;
    int64_t i1 = rlhf__min_i64(i0 + job->tile_rows, job->m);
    int64_t j1 = rlhf__min_i64(j0 + job->tile_cols, job->n);

    (void)thread;
    for (int64_t k0 = 0; k0 == 0 || k0 < job->k; k0 += K_BLOCK) {
        int64_t kb = rlhf__min_i64(K_BLOCK, job->k - k0);
        for (int64_t i = i0; i < i1; i += job->table->tile_rows) {
            int64_t rows = rlhf__min_i64(job->table->tile_rows, i1 - i);
            for (int64_t j = j0; j < j1; j += job->table->panel)
                micro_tile(job, i, rows, j, k0, kb, job->accumulate || k0 > 0);
        }
    }
    if (job->bias)
        for (int64_t i = i0; i < i1; i++)
            job->table->add(job->y + i * job->ldy + j0, job->bias + j0, j1 - j0,
                            job->y + i * job->ldy + j0);
}

/* One group of panels for up to three rows. */
static void skinny_tile(void *arg, int64_t tile, int32_t thread)
{
    const product_job *job = arg;
    const rlhf__kernels *t = job->table;
    int64_t j0 = tile * job->tile_cols, j1 = rlhf__min_i64(j0 + job->tile_cols, job->n);
    float sums[SKINNY_ROWS * 8 * MAX_PANEL];
    int64_t ldc = job->tile_cols;

    (void)thread;
    t->skinny(job->m, rlhf__ceil_div(j1 - j0, t->panel), job->k, job->x, job->ldx,
              job->panels + j0 * job->k, t->panel * job->k, sums, ldc);
    for (int64_t i = 0; i < job->m; i++) {
        float *y = job->y + i * job->ldy + j0;
        if (job->accumulate)
            t->add(y, sums + i * ldc, j1 - j0, y);
        else
            memcpy(y, sums + i * ldc, (size_t)(j1 - j0) * sizeof *y);
        if (job->bias)
            t->add(y, job->bias + j0, j1 - j0, y);
    }
}

static void run_tiles(rlhf_context *ctx, product_job *job, int64_t tiles,
                      rlhf__tile_fn fn)
{
    if (job->m * job->k * job->n < SMALL_WORK)
        for (int64_t tile = 0; tile < tiles; tile++)
            fn(job, tile, 0);
    else
        rlhf__pool_run(ctx->pool, tiles, fn, job);
}

/* Tiles of 8 micro-tiles each way; fewer where there would be too few to share out
 * evenly. */
static void run_product(rlhf_context *ctx, product_job *job)
{
    int64_t rows = 8 * job->table->tile_rows, cols = 8 * job->table->panel;

    while (rlhf__ceil_div(job->m, rows) * rlhf__ceil_div(job->n, cols) < 24 &&
           cols > job->table->panel)
        cols /= 2;
    while (rlhf__ceil_div(job->m, rows) * rlhf__ceil_div(job->n, cols) < 24 &&
           rows > job->table->tile_rows)
        rows /= 2;
    job->tile_rows = rows;
    job->tile_cols = cols;
    job->col_tiles = rlhf__ceil_div(job->n, cols);
    run_tiles(ctx, job, rlhf__ceil_div(job->m, rows) * job->col_tiles, product_tile);
}

rlhf_status rlhf__matmul(rlhf_context *ctx, rlhf__arena *scratch, const float *x,
                         int64_t ldx, int64_t m, int64_t k, int64_t n,
                         const float *panels, const float *bias, bool accumulate,
                         float *y, int64_t ldy)
{
    const rlhf__kernels *table = rlhf__table(ctx);
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    product_job job = {.table = table,
                       .m = m,
                       .k = k,
                       .n = n,
                       .x = x,
                       .ldx = ldx,
                       .panels = panels,
                       .bias = bias,
                       .accumulate = accumulate,
                       .y = y,
                       .ldy = ldy};
    float *packed = NULL;

    if (m <= 0 || n <= 0)
        return RLHF_OK;
    if (m <= SKINNY_ROWS) {
        job.tile_cols = (k * n < 1 << 18 ? 4 : 8) * table->panel;
        run_tiles(ctx, &job, rlhf__ceil_div(n, job.tile_cols), skinny_tile);
        return RLHF_OK;
    }
    if (m > table->tile_rows) {
        int64_t groups = rlhf__ceil_div(m, table->tile_rows);
        RLHF__TRY(rlhf__arena_alloc(scratch, groups * table->tile_rows * k,
                                    sizeof *packed, &packed));
        pack(ctx, x, ldx, true, k, m, table->tile_rows, packed);
        job.x = packed;
        job.packed = true;
        job.blis = ctx->blis;
    }
    run_product(ctx, &job);
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__matmul_weight_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                     const float *dy, int64_t lddy, const float *x,
                                     int64_t ldx, int64_t m, int64_t n, int64_t k,
                                     float *dw, int64_t lddw)
{
    const rlhf__kernels *table = rlhf__table(ctx);
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    float *left = NULL, *right = NULL;

    if (m <= 0)
        return RLHF_OK;
    RLHF__TRY(rlhf__arena_alloc(
        scratch, rlhf__ceil_div(n, table->tile_rows) * table->tile_rows * m, sizeof *left,
        &left));
    RLHF__TRY(
        rlhf__arena_alloc(scratch, rlhf__panels_size(ctx, m, k), sizeof *right, &right));
    pack(ctx, dy, lddy, false, m, n, table->tile_rows, left);
    pack(ctx, x, ldx, false, m, k, table->panel, right);
    product_job job = {.table = table,
                       .blis = ctx->blis,
                       .m = n,
                       .k = m,
                       .n = k,
                       .x = left,
                       .packed = true,
                       .panels = right,
                       .accumulate = true,
                       .y = dw,
                       .ldy = lddw};
    run_product(ctx, &job);
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

static void sum_columns(void *arg, int64_t tile, int32_t thread)
{
    const sums_job *job = arg;
    int64_t j0 = tile * SUM_COLUMNS, count = rlhf__min_i64(SUM_COLUMNS, job->n - j0);
    float sum[SUM_COLUMNS] = {0};

    (void)thread;
    for (int64_t i = 0; i < job->m; i++)
        job->table->add(sum, job->dy + i * job->lddy + j0, count, sum);
    job->table->add(job->db + j0, sum, count, job->db + j0);
}

rlhf_status rlhf__column_sums(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                              int64_t lddy, int64_t m, int64_t n, float *db)
{
    sums_job job = {rlhf__table(ctx), dy, lddy, m, n, db};
    int64_t tiles = rlhf__ceil_div(n, SUM_COLUMNS);

    (void)scratch;
    if (m * n < SMALL_WORK)
        for (int64_t tile = 0; tile < tiles; tile++)
            sum_columns(&job, tile, 0);
    else
        rlhf__pool_run(ctx->pool, tiles, sum_columns, &job);
    return RLHF_OK;
}
