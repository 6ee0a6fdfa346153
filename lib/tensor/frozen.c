/* Frozen parameters: matrices in panels alone, all else in fp32, in one block. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "tensor/params.h"

#define ALIGNMENT 16 /* floats: 64 bytes */

void rlhf__params_read(const rlhf__params *params, int32_t slab, int64_t first,
                       int64_t count, float *out)
{
    const rlhf__slab *s = &params->slabs[slab];
    const float *from = s->values;

    if (!s->is_packed) {
        memcpy(out, from + first * s->cols, (size_t)(count * s->cols) * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        rlhf__panels_column(params->context, from, s->cols, first + i, out + i * s->cols);
}

void rlhf__params_read_flat(const rlhf__params *params, float *out)
{
    for (int32_t i = 0; i < params->num_slabs; i++)
        rlhf__params_read(params, i, 0, params->slabs[i].rows,
                          out + params->slabs[i].offset);
}

/* Floats that a slab takes in frozen parameters. */
static int64_t frozen_size(const rlhf__params *params, const rlhf__slab *s)
{
    const int64_t size = s->exact ? s->rows * s->cols
                                  : rlhf__panels_size(params->context, s->cols, s->rows);

    return rlhf__ceil_div(size, ALIGNMENT) * ALIGNMENT;
}

/* A slab's place in a frozen block from its values in fp32. */
static void freeze_slab(const rlhf__params *params, const rlhf__slab *s,
                        const float *values, float *out)
{
    if (s->exact)
        memcpy(out, values, (size_t)(s->rows * s->cols) * sizeof *out);
    else
        rlhf__pack_panels(params->context, values, s->cols, true, s->cols, s->rows, out);
}

rlhf_status rlhf__params_freeze(rlhf__params *params)
{
    int64_t size = 0;
    float *block = NULL;

    if (params->is_frozen)
        return RLHF_OK;
    for (int32_t i = 0; i < params->num_slabs; i++)
        size += frozen_size(params, &params->slabs[i]);
    RLHF__TRY(
        rlhf__alloc(params->context, size, sizeof *block, RLHF_MEMORY_WEIGHTS, &block));
    rlhf__params_drop_panels(params);
    size = 0;
    for (int32_t i = 0; i < params->num_slabs; i++) {
        rlhf__slab *s = &params->slabs[i];
        freeze_slab(params, s, s->values, block + size);
        s->values = block + size;
        s->is_packed = !s->exact;
        size += frozen_size(params, s);
    }
    rlhf__free(params->values);
    rlhf__params_let_go(params);
    params->values = block;
    params->is_frozen = true;
    return RLHF_OK;
}

void rlhf__params_refreeze(rlhf__params *params, const float *flat)
{
    assert(params->is_frozen);
    for (int32_t i = 0; i < params->num_slabs; i++) {
        const rlhf__slab *s = &params->slabs[i];
        freeze_slab(params, s, flat + s->offset, s->values);
    }
    rlhf__params_end_write(params);
}
