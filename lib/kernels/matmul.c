/* Matrix products: packing, a grid of tiles fixed by shapes, threads. See
 * docs/kernels.md. */
#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "kernels/bf16.h"
#include "kernels/blis_kernel.h"
#include "kernels/rows.h"

#define K_BLOCK 256
/* Rows of a tile: its left side of one k block, about 264 KB, stays in an L2 cache while
 * the panels pass, each of which is read once. A multiple of every level's tile_rows. */
#define ROW_BLOCK   264
#define PACK_FLOATS ((int64_t)1 << 20) /* of a left side that is packed at once */
#define FEW_GROUPS  8
#define PACK_GROUPS 8
#define PACK_ROWS   32
#define MATRIX_ROWS 64 /* rows from which packing B on the way costs little */
#define MAX_PANEL   32
#define MAX_ROWS    12

typedef struct product_job {
    const rlhf__kernels *table;
    const rlhf__blis *blis; /* serves full tiles; NULL: the level's own does */
    int64_t m, k, n;
    const float *x; /* [m][ldx]; of a tile packed: [groups][k][tile_rows] */
    int64_t ldx;
    const float *panels; /* [n / panel][panel_k][panel] */
    int64_t panel_k;     /* >= k: a part of it is multiplied */
    const float *matrix; /* panels NULL: B itself, packed chunk by chunk */
    int64_t ldb;
    bool transposed; /* B[p][j] is matrix[j * ldb + p], else matrix[p * ldb + j] */
    const float *bias;
    bool accumulate;
    float *y;
    int64_t ldy;
    int64_t tile_groups, tile_cols, col_tiles; /* the grid */
} product_job;

/* BLIS's micro-kernels load the row after the last one, and do not use it. */
static int64_t packed_size(int64_t n, int64_t k, int64_t width)
{
    return rlhf__ceil_div(n, width) * width * k + MAX_PANEL;
}

int64_t rlhf__panels_size(rlhf_context *ctx, int64_t k, int64_t n)
{
    if (rlhf__bf16(ctx))
        return rlhf__bf16_panels_size(ctx, k, n);
    return packed_size(n, k, rlhf__table(ctx)->panel);
}

/* The first of `n` rows in a group of the left side, up to `width` rows each. A rest is
 * shared by the last two groups: two rows by themselves take as long as four. */
static int64_t group_begin(int64_t n, int64_t width, int64_t group)
{
    int64_t groups = rlhf__ceil_div(n, width);

    if (group == groups)
        return n;
    if (group > 0 && group == groups - 1)
        return n - (n - (group - 1) * width) / 2;
    return group * width;
}

/* --- packing ------------------------------------------------------------------------ */

typedef struct pack_job {
    const rlhf__kernels *table;
    const float *src;
    int64_t ld, k, n, width; /* groups of `width` columns */
    bool transposed;         /* src is [n][k] */
    bool left;               /* groups are of group_begin */
    float *out;
} pack_job;

/* PACK_GROUPS groups, and of rows that are copied PACK_ROWS at a time, so that they are
 * read along more than one group's columns. */
static void pack_groups(void *arg, int64_t tile, int32_t thread)
{
    const pack_job *job = arg;
    int64_t first = tile * PACK_GROUPS, w = job->width, ld = job->ld;
    int64_t last = rlhf__min_i64(first + PACK_GROUPS, rlhf__ceil_div(job->n, w));
    int64_t step = job->transposed ? job->k : PACK_ROWS;

    (void)thread;
    for (int64_t p = 0; p < job->k; p += step)
        for (int64_t group = first; group < last; group++) {
            int64_t j = job->left ? group_begin(job->n, w, group) : group * w;
            int64_t end = job->left ? group_begin(job->n, w, group + 1)
                                    : rlhf__min_i64(j + w, job->n);
            int64_t rows = rlhf__min_i64(step, job->k - p);
            float *out = job->out + (group * job->k + p) * w;
            if (job->transposed)
                job->table->pack_turned(job->src + j * ld, ld, rows, end - j, w, out);
            else
                job->table->pack_copied(job->src + p * ld + j, ld, rows, end - j, w, out);
        }
}

static void run_pack(rlhf_context *ctx, pack_job *job)
{
    job->table = rlhf__table(ctx);
    rlhf__run_tiles(ctx, job->k * job->n,
                    rlhf__ceil_div(job->n, PACK_GROUPS * job->width), pack_groups, job);
}

/* A left side: rows of x, or columns of dy (not transposed). */
static void pack_left(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                      int64_t k, int64_t m, float *out)
{
    pack_job job = {.src = src,
                    .ld = ld,
                    .k = k,
                    .n = m,
                    .width = rlhf__table(ctx)->tile_rows,
                    .transposed = transposed,
                    .left = true,
                    .out = out};

    run_pack(ctx, &job);
}

void rlhf__pack_panels(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                       int64_t k, int64_t n, void *out_panels)
{
    pack_job job = {.src = src,
                    .ld = ld,
                    .k = k,
                    .n = n,
                    .width = rlhf__table(ctx)->panel,
                    .transposed = transposed,
                    .out = out_panels};

    if (rlhf__bf16(ctx))
        rlhf__bf16_pack_panels(ctx, src, ld, transposed, k, n, out_panels);
    else
        run_pack(ctx, &job);
}

/* --- tiles -------------------------------------------------------------------------- */

/* One micro-tile of one k block: a group of rows, one panel. Where `next` is not NULL our
 * own kernel serves and asks for `ahead` floats from there each step. */
static void micro_tile(const product_job *job, int64_t group, int64_t panel_at,
                       int64_t k0, bool accumulate, const float *next, int64_t ahead)
{
    const rlhf__kernels *t = job->table;
    int64_t i = group_begin(job->m, t->tile_rows, group);
    int64_t rows = group_begin(job->m, t->tile_rows, group + 1) - i;
    int64_t kb = rlhf__min_i64(K_BLOCK, job->k - k0);
    const float *a = job->x + (group * job->k + k0) * t->tile_rows;
    const float *b = job->panels + panel_at * job->panel_k + k0 * t->panel;
    int64_t cols = rlhf__min_i64(t->panel, job->n - panel_at);
    float *c = job->y + i * job->ldy + panel_at;
    float edge[MAX_ROWS * MAX_PANEL];

    if (cols == t->panel) {
        if (rows == t->tile_rows && job->blis && !next)
            rlhf__blis_microkernel(job->blis, kb, a, b, c, job->ldy, accumulate);
        else
            t->microkernel(rows, kb, a, b, c, job->ldy, accumulate, next ? next : b,
                           ahead);
        return;
    }
    t->microkernel(rows, kb, a, b, edge, t->panel, false, next ? next : b, ahead);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j++)
            c[r * job->ldy + j] = accumulate
                                      ? c[r * job->ldy + j] + edge[r * t->panel + j]
                                      : edge[r * t->panel + j];
}

/* Asks for floats [first, last) of what is needed next. */
static void prefetch(const float *next, int64_t first, int64_t last)
{
    for (int64_t i = first; i < last; i += 16)
        __builtin_prefetch(next + i, 0, 2);
}

/* One panel of one k block against groups [first, last), meanwhile a slice at a time of
 * the panel that comes next: it lies in memory that was not read for long. A large slice
 * is asked for from within the kernel, since memory takes so many requests at once. */
static void product_panel(const product_job *job, int64_t first, int64_t last, int64_t j,
                          int64_t k0, const float *next)
{
    int64_t kb = rlhf__min_i64(K_BLOCK, job->k - k0);
    int64_t slice = kb * job->table->panel / (last - first);
    bool within = next && last - first <= FEW_GROUPS;

    for (int64_t group = first; group < last; group++) {
        if (next && !within)
            prefetch(next, (group - first) * slice, (group - first + 1) * slice);
        micro_tile(job, group, j, k0, job->accumulate || k0 > 0,
                   within ? next + (group - first) * slice : NULL,
                   rlhf__ceil_div(slice, kb));
    }
}

static void product_tile(void *arg, int64_t tile, int32_t thread)
{
    const product_job *job = arg;
    int64_t step = job->table->tile_rows, panel = job->table->panel;
    int64_t first = tile / job->col_tiles * job->tile_groups;
    int64_t last = rlhf__min_i64(first + job->tile_groups, rlhf__ceil_div(job->m, step));
    int64_t i0 = group_begin(job->m, step, first), i1 = group_begin(job->m, step, last);
    int64_t j0 = tile % job->col_tiles * job->tile_cols;
    int64_t j1 = rlhf__min_i64(j0 + job->tile_cols, job->n);

    (void)thread;
    for (int64_t k0 = 0; k0 == 0 || k0 < job->k; k0 += K_BLOCK)
        for (int64_t j = j0; j < j1; j += panel) {
            const float *next = NULL;
            if (j + panel < j1)
                next = job->panels + (j + panel) * job->panel_k + k0 * panel;
            else if (k0 + K_BLOCK < job->k)
                next = job->panels + j0 * job->panel_k + (k0 + K_BLOCK) * panel;
            product_panel(job, first, last, j, k0, next);
        }
    if (job->bias)
        for (int64_t i = i0; i < i1; i++)
            job->table->add(job->y + i * job->ldy + j0, job->bias + j0, j1 - j0,
                            job->y + i * job->ldy + j0);
}

/* One group of panels for up to a micro-tile's rows. */
static void skinny_tile(void *arg, int64_t tile, int32_t thread)
{
    const product_job *job = arg;
    const rlhf__kernels *t = job->table;
    int64_t j0 = tile * job->tile_cols, j1 = rlhf__min_i64(j0 + job->tile_cols, job->n);
    float sums[MAX_ROWS * 8 * MAX_PANEL];
    int64_t ldc = job->tile_cols;

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

/* Tiles of up to 8 panels; fewer where there would be too few tiles to share out
 * evenly. */
static void run_product(rlhf_context *ctx, product_job *job)
{
    int64_t cols = 8 * job->table->panel;
    int64_t groups = rlhf__ceil_div(job->m, job->table->tile_rows);
    int64_t row_tiles = rlhf__ceil_div(job->m, ROW_BLOCK);
    rlhf__blis blis;

    while (row_tiles * rlhf__ceil_div(job->n, cols) < 24 && cols > job->table->panel)
        cols /= 2;
    job->tile_groups = rlhf__ceil_div(groups, row_tiles);
    job->tile_cols = cols;
    job->col_tiles = rlhf__ceil_div(job->n, cols);
    if (ctx->blis && rlhf__blis_find(&blis))
        job->blis = &blis;
    rlhf__run_tiles(ctx, job->m * job->k * job->n,
                    rlhf__ceil_div(groups, job->tile_groups) * job->col_tiles,
                    product_tile, job);
}

/* Rows of `k` that are packed at once: whole tiles. */
static int64_t row_chunk(int64_t k)
{
    return rlhf__max_i64(PACK_FLOATS / k / ROW_BLOCK, 1) * ROW_BLOCK;
}

/* Rows [k0, k0 + job->k) of B packed and multiplied, about PACK_FLOATS at a time. */
static void matrix_product(rlhf_context *ctx, const product_job *whole, int64_t k0,
                           int64_t cols, float *panels)
{
    for (int64_t j0 = 0; j0 < whole->n; j0 += cols) {
        product_job job = *whole;
        const float *from = whole->transposed ? whole->matrix + j0 * whole->ldb + k0
                                              : whole->matrix + k0 * whole->ldb + j0;
        job.n = rlhf__min_i64(cols, whole->n - j0);
        rlhf__pack_panels(ctx, from, whole->ldb, whole->transposed, job.k, job.n, panels);
        job.panels = panels;
        job.panel_k = job.k;
        job.bias = job.bias ? job.bias + j0 : NULL;
        job.y += j0;
        run_product(ctx, &job);
    }
}

/* More rows than a micro-tile has: packed in chunks of about PACK_FLOATS, which are still
 * in a cache when they are read. Chunks of k end where blocks of k do. */
static rlhf_status packed_product(rlhf_context *ctx, rlhf__arena *scratch,
                                  const product_job *whole)
{
    int64_t step = whole->table->tile_rows, m = whole->m, k = whole->k;
    int64_t k_chunk = ROW_BLOCK * k > PACK_FLOATS
                          ? PACK_FLOATS / ROW_BLOCK / K_BLOCK * K_BLOCK
                          : rlhf__max_i64(k, 1);
    int64_t chunk = row_chunk(k_chunk), width = 8 * whole->table->panel;
    int64_t cols = rlhf__max_i64(PACK_FLOATS / k_chunk / width, 1) * width;
    float *packed = NULL, *panels = NULL;

    RLHF__TRY(rlhf__arena_alloc(scratch,
                                packed_size(rlhf__min_i64(chunk, m), k_chunk, step),
                                sizeof *packed, &packed));
    if (whole->matrix)
        RLHF__TRY(rlhf__arena_alloc(
            scratch, rlhf__panels_size(ctx, k_chunk, rlhf__min_i64(cols, whole->n)),
            sizeof *panels, &panels));
    for (int64_t i0 = 0; i0 < m; i0 += chunk)
        for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += k_chunk) {
            product_job job = *whole;
            job.m = rlhf__min_i64(chunk, m - i0);
            job.k = rlhf__min_i64(k_chunk, k - k0);
            pack_left(ctx, whole->x + i0 * whole->ldx + k0, whole->ldx, true, job.k,
                      job.m, packed);
            job.x = packed;
            job.accumulate = whole->accumulate || k0 > 0;
            job.bias = k0 + k_chunk >= k ? whole->bias : NULL;
            job.y += i0 * whole->ldy;
            if (whole->matrix) {
                matrix_product(ctx, &job, k0, cols, panels);
            } else {
                job.panels += k0 * whole->table->panel;
                run_product(ctx, &job);
            }
        }
    return RLHF_OK;
}

rlhf_status rlhf__matmul(rlhf_context *ctx, rlhf__arena *scratch, const float *x,
                         int64_t ldx, int64_t m, int64_t k, int64_t n, const void *panels,
                         const float *bias, bool accumulate, float *y, int64_t ldy)
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
                       .panel_k = k,
                       .bias = bias,
                       .accumulate = accumulate,
                       .y = y,
                       .ldy = ldy};

    if (rlhf__bf16(ctx))
        return rlhf__bf16_matmul(ctx, scratch, x, ldx, m, k, n, panels, bias, accumulate,
                                 y, ldy);
    if (m <= 0 || n <= 0)
        return RLHF_OK;
    if (m <= table->tile_rows) {
        job.tile_cols = (k * n < 1 << 18 ? 4 : 8) * table->panel;
        rlhf__run_tiles(ctx, m * k * n, rlhf__ceil_div(n, job.tile_cols), skinny_tile,
                        &job);
    } else {
        RLHF__TRY(packed_product(ctx, scratch, &job));
        rlhf__arena_release(scratch, mark);
    }
    return RLHF_OK;
}

bool rlhf__matmul_wants_panels(rlhf_context *ctx, int64_t m)
{
    return rlhf__bf16(ctx) || m < MATRIX_ROWS;
}

rlhf_status rlhf__matmul_unpacked(rlhf_context *ctx, rlhf__arena *scratch, const float *x,
                                  int64_t ldx, int64_t m, int64_t k, int64_t n,
                                  const float *matrix, int64_t ldb, bool transposed,
                                  const float *bias, bool accumulate, float *y,
                                  int64_t ldy)
{
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    product_job job = {.table = rlhf__table(ctx),
                       .m = m,
                       .k = k,
                       .n = n,
                       .x = x,
                       .ldx = ldx,
                       .matrix = matrix,
                       .ldb = ldb,
                       .transposed = transposed,
                       .bias = bias,
                       .accumulate = accumulate,
                       .y = y,
                       .ldy = ldy};

    assert(!rlhf__bf16(ctx));
    if (m <= 0 || n <= 0)
        return RLHF_OK;
    RLHF__TRY(packed_product(ctx, scratch, &job));
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__matmul_weight_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                     const float *dy, int64_t lddy, const float *x,
                                     int64_t ldx, int64_t m, int64_t n, int64_t k,
                                     bool accumulate, float *dw, int64_t lddw)
{
    const rlhf__kernels *table = rlhf__table(ctx);
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    int64_t step = table->tile_rows;
    int64_t chunk = row_chunk(rlhf__max_i64(m, 1));
    float *left = NULL, *right = NULL;

    if (m <= 0) {
        for (int64_t i = 0; i < n && !accumulate; i++)
            memset(dw + i * lddw, 0, (size_t)k * sizeof *dw);
        return RLHF_OK;
    }
    if (rlhf__bf16(ctx))
        return rlhf__bf16_weight_grad(ctx, scratch, dy, lddy, x, ldx, m, n, k, accumulate,
                                      dw, lddw);
    RLHF__TRY(rlhf__arena_alloc(scratch, packed_size(rlhf__min_i64(chunk, n), m, step),
                                sizeof *left, &left));
    RLHF__TRY(
        rlhf__arena_alloc(scratch, rlhf__panels_size(ctx, m, k), sizeof *right, &right));
    rlhf__pack_panels(ctx, x, ldx, false, m, k, right);
    for (int64_t i0 = 0; i0 < n; i0 += chunk) {
        product_job job = {.table = table,
                           .m = rlhf__min_i64(chunk, n - i0),
                           .k = m,
                           .n = k,
                           .x = left,
                           .panels = right,
                           .panel_k = m,
                           .accumulate = accumulate,
                           .y = dw + i0 * lddw,
                           .ldy = lddw};
        pack_left(ctx, dy + i0, lddy, false, m, job.m, left);
        run_product(ctx, &job);
    }
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
    rlhf__run_tiles(ctx, m * n, tiles, sum_columns, &job);
    return RLHF_OK;
}
