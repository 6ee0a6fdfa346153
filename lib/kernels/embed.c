/* Token and position tables: rows gathered, gradients scattered. */
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/rows.h"

typedef struct embed_job {
    rlhf_context *ctx;
    const rlhf__kernels *table;
    const rlhf__bf16_kernels *bf16; /* NULL: rows as they are */
    const int32_t *tokens, *positions;
    int64_t count, width;
    const float *tokens_table; /* NULL: panels */
    const void *panels;
    const float *positions_table, *dy;
    float *y, *dtokens, *dpositions;
} embed_job;

static void gather_rows(void *arg, int64_t first, int64_t last)
{
    const embed_job *job = arg;
    int64_t w = job->width;

    for (int64_t i = first; i < last; i++) {
        float *y = job->y + i * w;
        if (!job->tokens_table)
            rlhf__panels_column(job->ctx, job->panels, w, job->tokens[i], y);
        else if (job->bf16)
            job->bf16->round(job->tokens_table + job->tokens[i] * w, w, y);
        else
            memcpy(y, job->tokens_table + job->tokens[i] * w, (size_t)w * sizeof *y);
        if (job->positions_table)
            job->table->add(y, job->positions_table + job->positions[i] * w, w, y);
    }
}

void rlhf__embed(rlhf_context *ctx, const int32_t *tokens, const int32_t *positions,
                 int64_t count, int64_t width, const float *table,
                 const float *positions_table, float *y)
{
    embed_job job = {.table = rlhf__table(ctx),
                     .bf16 = rlhf__bf16(ctx),
                     .tokens = tokens,
                     .positions = positions,
                     .width = width,
                     .tokens_table = table,
                     .positions_table = positions_table,
                     .y = y};

    rlhf__for_rows(ctx, count, width, gather_rows, &job);
}

void rlhf__embed_panels(rlhf_context *ctx, const int32_t *tokens,
                        const int32_t *positions, int64_t count, int64_t width,
                        const void *panels, const float *positions_table, float *y)
{
    embed_job job = {.ctx = ctx,
                     .table = rlhf__table(ctx),
                     .tokens = tokens,
                     .positions = positions,
                     .width = width,
                     .panels = panels,
                     .positions_table = positions_table,
                     .y = y};

    rlhf__for_rows(ctx, count, width, gather_rows, &job);
}

#define SCATTER_COLUMNS 64

/* All tokens, a strip of columns: each element sums its rows in ascending order. */
static void scatter_strip(void *arg, int64_t tile, int32_t thread)
{
    const embed_job *job = arg;
    int64_t w = job->width, j0 = tile * SCATTER_COLUMNS;
    int64_t n = rlhf__min_i64(SCATTER_COLUMNS, w - j0);

    (void)thread;
    for (int64_t i = 0; i < job->count; i++) {
        const float *dy = job->dy + i * w + j0;
        float *row = job->dtokens + job->tokens[i] * w + j0;
        job->table->add(row, dy, n, row);
        if (job->dpositions) {
            row = job->dpositions + job->positions[i] * w + j0;
            job->table->add(row, dy, n, row);
        }
    }
}

void rlhf__embed_grad(rlhf_context *ctx, const int32_t *tokens, const int32_t *positions,
                      int64_t count, int64_t width, const float *dy, float *dtable,
                      float *dpositions_table)
{
    embed_job job = {.table = rlhf__table(ctx),
                     .tokens = tokens,
                     .positions = positions,
                     .count = count,
                     .width = width,
                     .dy = dy,
                     .dtokens = dtable,
                     .dpositions = dpositions_table};

    rlhf__run_tiles(ctx, count * width, rlhf__ceil_div(width, SCATTER_COLUMNS),
                    scatter_strip, &job);
}
