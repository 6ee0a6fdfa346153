/* Parameter gradients that are zeroed when first touched. */
#include "tensor/grads.h"

#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#define ROW_TILES  8
#define FEW_FLOATS ((int64_t)1 << 16) /* zeroed sooner than threads meet */

rlhf_status rlhf__grads_init(rlhf__grads *grads, const rlhf__params *params)
{
    *grads = (rlhf__grads){.params = params};
    rlhf_status status =
        rlhf__alloc_raw(params->context, params->count, sizeof *grads->values,
                        RLHF_MEMORY_GRADIENTS, &grads->values);
    if (status == RLHF_OK)
        status =
            rlhf__alloc_raw(params->context, params->num_slabs, sizeof *grads->is_whole,
                            RLHF_MEMORY_GENERAL, &grads->is_whole);
    if (status == RLHF_OK)
        status = rlhf__alloc_raw(params->context, params->num_rows,
                                 sizeof *grads->row_is_written, RLHF_MEMORY_GENERAL,
                                 &grads->row_is_written);
    if (status == RLHF_OK)
        rlhf__grads_clear(grads);
    else
        rlhf__grads_free(grads);
    return status;
}

void rlhf__grads_free(rlhf__grads *grads)
{
    rlhf__free(grads->values);
    rlhf__free(grads->is_whole);
    rlhf__free(grads->row_is_written);
    *grads = (rlhf__grads){0};
}

void rlhf__grads_clear(rlhf__grads *grads)
{
    const rlhf__params *params = grads->params;

    memset(grads->is_whole, false, (size_t)params->num_slabs * sizeof *grads->is_whole);
    memset(grads->row_is_written, false,
           (size_t)params->num_rows * sizeof *grads->row_is_written);
    rlhf__params_clear_padding(params, grads->values);
}

float *rlhf__grads_row(rlhf__grads *grads, int32_t slab, int64_t row)
{
    const rlhf__slab *s = &grads->params->slabs[slab];
    float *values = grads->values + s->offset + row * s->cols;

    if (!rlhf__grads_has(grads, slab, row))
        memset(values, 0, (size_t)s->cols * sizeof *values);
    grads->row_is_written[s->first_row + row] = true;
    return values;
}

typedef struct rows_job {
    rlhf__grads *grads;
    int32_t slab;
    const int32_t *rows;
    int64_t count, tiles;
} rows_job;

/* Every so-manieth row of the slab, so that equal rows are one tile's. */
static void open_some(void *arg, int64_t tile, int32_t thread)
{
    const rows_job *job = arg;

    (void)thread;
    for (int64_t i = 0; i < job->count; i++)
        if (job->rows[i] % job->tiles == tile)
            (void)rlhf__grads_row(job->grads, job->slab, job->rows[i]);
}

float *rlhf__grads_rows(rlhf__grads *grads, int32_t slab, const int32_t *rows,
                        int64_t count)
{
    const rlhf__slab *s = &grads->params->slabs[slab];
    const int64_t tiles = count * s->cols < FEW_FLOATS ? 1 : ROW_TILES;
    rows_job job = {grads, slab, rows, count, tiles};

    rlhf__pool_run(grads->params->context->pool, tiles, open_some, &job);
    return grads->values + s->offset;
}

float *rlhf__grads_open(rlhf__grads *grads, int32_t slab, bool *out_fresh)
{
    const rlhf__slab *s = &grads->params->slabs[slab];
    const bool *written = grads->row_is_written + s->first_row;

    *out_fresh = !grads->is_whole[slab] &&
                 !memchr(written, true, (size_t)s->rows * sizeof *written);
    for (int64_t i = 0; !*out_fresh && !grads->is_whole[slab] && i < s->rows; i++)
        (void)rlhf__grads_row(grads, slab, i);
    grads->is_whole[slab] = true;
    return grads->values + s->offset;
}

float *rlhf__grads_slab(rlhf__grads *grads, int32_t slab)
{
    const rlhf__slab *s = &grads->params->slabs[slab];
    bool fresh;
    float *values = rlhf__grads_open(grads, slab, &fresh);

    if (fresh)
        rlhf__zero(grads->params->context, s->rows * s->cols, values);
    return values;
}
