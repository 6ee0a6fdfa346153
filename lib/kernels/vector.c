/* Elementwise kernels and the optimizer's update, in fixed chunks. */
#include <string.h>

#include "kernels/rows.h"

#define CHUNK 16384

typedef struct vector_job {
    const rlhf__kernels *table;
    const float *a, *b;
    float *y, *m, *v, *grad;
    float factor;
    int64_t count, chunk;
    const rlhf__adamw_args *adamw;
    double *sums;
    const bool *which; /* rows of `cols`; count and chunk are of rows */
    bool *begun;
    int64_t cols;
} vector_job;

static void run(rlhf_context *ctx, vector_job *job, rlhf__tile_fn fn)
{
    job->table = rlhf__table(ctx);
    if (!job->chunk)
        job->chunk = CHUNK;
    rlhf__pool_run(ctx->pool, rlhf__ceil_div(job->count, job->chunk), fn, job);
}

static int64_t chunk_count(const vector_job *job, int64_t tile)
{
    return rlhf__min_i64(job->chunk, job->count - tile * job->chunk);
}

static void add_chunk(void *arg, int64_t tile, int32_t thread)
{
    const vector_job *job = arg;
    int64_t at = tile * job->chunk;

    (void)thread;
    job->table->add(job->a + at, job->b + at, chunk_count(job, tile), job->y + at);
}

void rlhf__add(rlhf_context *ctx, const float *a, const float *b, int64_t count, float *y)
{
    vector_job job = {.a = a, .b = b, .y = y, .count = count};

    run(ctx, &job, add_chunk);
}

void rlhf__add_to(rlhf_context *ctx, const float *x, int64_t count, float *y)
{
    rlhf__add(ctx, y, x, count, y);
}

static void scale_chunk(void *arg, int64_t tile, int32_t thread)
{
    const vector_job *job = arg;

    (void)thread;
    job->table->scale(job->factor, chunk_count(job, tile), job->y + tile * job->chunk);
}

void rlhf__scale(rlhf_context *ctx, float factor, int64_t count, float *y)
{
    vector_job job = {.factor = factor, .y = y, .count = count};

    run(ctx, &job, scale_chunk);
}

static void zero_chunk(void *arg, int64_t tile, int32_t thread)
{
    const vector_job *job = arg;

    (void)thread;
    memset(job->y + tile * job->chunk, 0,
           (size_t)chunk_count(job, tile) * sizeof *job->y);
}

void rlhf__zero(rlhf_context *ctx, int64_t count, float *y)
{
    vector_job job = {.y = y, .count = count, .chunk = 16 * CHUNK};

    run(ctx, &job, zero_chunk);
}

#define MAX_PARTS 256

static void squares_chunk(void *arg, int64_t tile, int32_t thread)
{
    const vector_job *job = arg;

    (void)thread;
    job->sums[tile] =
        job->table->sum_squares(job->a + tile * job->chunk, chunk_count(job, tile));
}

double rlhf__sum_squares(rlhf_context *ctx, const float *x, int64_t count)
{
    double sums[MAX_PARTS] = {0}, total = 0.0;
    int64_t part = rlhf__ceil_div(rlhf__ceil_div(count, MAX_PARTS), 16) * 16;
    vector_job job = {
        .a = x, .count = count, .chunk = rlhf__max_i64(part, 4096), .sums = sums};

    run(ctx, &job, squares_chunk);
    for (int i = 0; i < MAX_PARTS; i++)
        total += sums[i];
    return total;
}

static void squares_rows(void *arg, int64_t tile, int32_t thread)
{
    const vector_job *job = arg;
    int64_t first = tile * job->chunk, end = first + chunk_count(job, tile);

    (void)thread;
    for (int64_t i = first; i < end; i++)
        if (job->which[i])
            job->sums[tile] += job->table->sum_squares(job->a + i * job->cols, job->cols);
}

double rlhf__sum_squares_rows(rlhf_context *ctx, const float *x, int64_t rows,
                              int64_t cols, const bool *which)
{
    double sums[MAX_PARTS] = {0}, total = 0.0;
    vector_job job = {.a = x,
                      .count = rows,
                      .chunk = rlhf__ceil_div(rows, MAX_PARTS),
                      .sums = sums,
                      .which = which,
                      .cols = cols};

    run(ctx, &job, squares_rows);
    for (int i = 0; i < MAX_PARTS; i++)
        total += sums[i];
    return total;
}

bool rlhf__all_finite(rlhf_context *ctx, const float *x, int64_t count)
{
    return rlhf__table(ctx)->all_finite(x, count);
}

void rlhf__turn(rlhf_context *ctx, const float *src, int64_t ld, int64_t rows,
                int64_t cols, float *out, int64_t ldo)
{
    rlhf__table(ctx)->turn(src, ld, cols, rows, ldo, out);
}

static void adamw_chunk(void *arg, int64_t tile, int32_t thread)
{
    const vector_job *job = arg;
    int64_t at = tile * job->chunk;

    (void)thread;
    job->table->adamw(job->adamw, chunk_count(job, tile), job->a + at, job->y + at,
                      job->m + at, job->v + at);
}

void rlhf__adamw_update(rlhf_context *ctx, const rlhf__adamw_args *args, int64_t count,
                        const float *grad, float *param, float *m, float *v)
{
    vector_job job = {
        .a = grad, .y = param, .m = m, .v = v, .count = count, .adamw = args};

    run(ctx, &job, adamw_chunk);
}

/* Whether a row has a gradient or moments. */
static bool moves(const vector_job *job, int64_t row)
{
    return job->which[row] || job->begun[row];
}

/* Rows [first, end) of a tile, all of which move or none. */
static void adamw_some(const vector_job *job, int64_t first, int64_t end)
{
    int64_t cols = job->cols, at = first * cols, count = (end - first) * cols;
    const size_t row = (size_t)cols * sizeof *job->m;

    if (!moves(job, first)) {
        if (job->adamw->lr_decay != 0.0f)
            job->table->decay(job->adamw->lr_decay, count, job->y + at);
        return;
    }
    for (int64_t i = first; i < end; i++) {
        if (!job->which[i])
            memset(job->grad + i * cols, 0, row);
        if (!job->begun[i]) {
            memset(job->m + i * cols, 0, row);
            memset(job->v + i * cols, 0, row);
        }
        job->begun[i] = true;
    }
    job->table->adamw(job->adamw, count, job->grad + at, job->y + at, job->m + at,
                      job->v + at);
}

static void adamw_rows(void *arg, int64_t tile, int32_t thread)
{
    const vector_job *job = arg;
    int64_t first = tile * job->chunk, end = first + chunk_count(job, tile);

    (void)thread;
    for (int64_t next = first; first < end; first = next) {
        while (next < end && moves(job, next) == moves(job, first))
            next++;
        adamw_some(job, first, next);
    }
}

void rlhf__adamw_update_rows(rlhf_context *ctx, const rlhf__adamw_args *args,
                             int64_t rows, int64_t cols, const bool *written, bool *begun,
                             float *grad, float *param, float *m, float *v)
{
    vector_job job = {.grad = grad,
                      .y = param,
                      .m = m,
                      .v = v,
                      .count = rows,
                      .chunk = rlhf__max_i64(CHUNK / cols, 1),
                      .adamw = args,
                      .which = written,
                      .begun = begun,
                      .cols = cols};

    run(ctx, &job, adamw_rows);
}

float rlhf__expf(rlhf_context *ctx, float x)
{
    return rlhf__table(ctx)->exp_one(x);
}
