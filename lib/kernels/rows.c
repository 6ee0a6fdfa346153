/* Threads over tiles and rows. */
#include "kernels/rows.h"

void rlhf__run_tiles(rlhf_context *ctx, int64_t work, int64_t tiles, rlhf__tile_fn fn,
                     void *arg)
{
    if (work >= RLHF__SMALL_WORK) {
        rlhf__pool_run(ctx->pool, tiles, fn, arg);
        return;
    }
    for (int64_t tile = 0; tile < tiles; tile++)
        fn(arg, tile, 0);
}

typedef struct rows_job {
    rlhf__rows_fn fn;
    void *arg;
    int64_t rows, chunk;
} rows_job;

static void run_chunk(void *arg, int64_t tile, int32_t thread)
{
    const rows_job *job = arg;
    int64_t first = tile * job->chunk;

    (void)thread;
    job->fn(job->arg, first, rlhf__min_i64(first + job->chunk, job->rows));
}

void rlhf__for_rows(rlhf_context *ctx, int64_t rows, int64_t width, rlhf__rows_fn fn,
                    void *arg)
{
    rows_job job = {fn, arg, rows, rlhf__row_chunk(rows, width)};

    rlhf__pool_run(ctx->pool, rlhf__ceil_div(rows, job.chunk), run_chunk, &job);
}
