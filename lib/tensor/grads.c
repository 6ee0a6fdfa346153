/* Parameter gradients that are zeroed when first touched. */
#include "tensor/grads.h"

#include <string.h>

#include "base/alloc.h"
#include "kernels/kernels.h"

rlhf_status rlhf__grads_init(rlhf__grads *grads, const rlhf__params *params)
{
    *grads = (rlhf__grads){.params = params};
    RLHF__TRY(rlhf__alloc(params->context, params->count, sizeof *grads->values,
                          RLHF_MEMORY_GRADIENTS, &grads->values));
    rlhf_status status =
        rlhf__alloc(params->context, params->num_slabs, sizeof *grads->is_written,
                    RLHF_MEMORY_GENERAL, &grads->is_written);
    if (status != RLHF_OK)
        rlhf__grads_free(grads);
    return status;
}

void rlhf__grads_free(rlhf__grads *grads)
{
    rlhf__free(grads->values);
    rlhf__free(grads->is_written);
    *grads = (rlhf__grads){0};
}

void rlhf__grads_clear(rlhf__grads *grads)
{
    memset(grads->is_written, false,
           (size_t)grads->params->num_slabs * sizeof *grads->is_written);
    rlhf__params_clear_padding(grads->params, grads->values);
}

float *rlhf__grads_open(rlhf__grads *grads, int32_t slab, bool *out_fresh)
{
    *out_fresh = !grads->is_written[slab];
    grads->is_written[slab] = true;
    return grads->values + grads->params->slabs[slab].offset;
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

void rlhf__grads_settle(rlhf__grads *grads)
{
    for (int32_t i = 0; i < grads->params->num_slabs; i++)
        (void)rlhf__grads_slab(grads, i);
}
