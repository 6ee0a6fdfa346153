/* Threads over tiles and rows. */
#include "kernels/rows.h"

#include <string.h>

#include "kernels/kernels.h"

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

static rlhf_status round_rows(rlhf_context *ctx, rlhf__arena *scratch, rlhf__result y,
                              int64_t rows, int64_t work, rlhf__rows_fn fn, void *arg,
                              rlhf__out_rows *out)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);

    out->bf16 = rlhf__bf16(ctx);
    out->words = y.data;
    out->ld = rlhf__rounded_ld(ctx, out->width) / 2;
    out->chunk = rlhf__row_chunk(rows, work);
    RLHF__TRY(rlhf__arena_alloc(scratch, rlhf__ceil_div(rows, out->chunk) * out->width,
                                sizeof *out->floats, &out->floats));
    rlhf__for_rows(ctx, rows, work, fn, arg);
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__for_out_rows(rlhf_context *ctx, rlhf__arena *scratch, rlhf__result y,
                               int64_t rows, int64_t width, int64_t work,
                               rlhf__rows_fn fn, void *arg, rlhf__out_rows *out)
{
    *out = (rlhf__out_rows){.floats = y.data, .width = width};
    if (y.halves)
        return round_rows(ctx, scratch, y, rows, work, fn, arg, out);
    rlhf__for_rows(ctx, rows, work, fn, arg);
    return RLHF_OK;
}

void rlhf__out_row_put(const rlhf__out_rows *out, int64_t i)
{
    const int64_t pairs = rlhf__ceil_div(out->width, 2);
    uint32_t *words;

    if (!out->bf16)
        return;
    words = out->words + i * out->ld;
    out->bf16->round_pairs(rlhf__out_row(out, i), out->width, words);
    memset(words + pairs, 0, (size_t)(out->ld - pairs) * sizeof *words);
}
