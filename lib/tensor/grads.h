/* The gradient of a network's parameters, laid out as rlhf__params.values. Clearing it
 * writes nothing: a slab is zeroed, or overwritten by its first contribution, when that
 * comes, which saves two passes over memory a step. */
#ifndef RLHF_TENSOR_GRADS_H
#define RLHF_TENSOR_GRADS_H

#include "tensor/params.h"

typedef struct rlhf__grads {
    const rlhf__params *params; /* borrowed */
    float *values;              /* [params->count] */
    bool *is_written;           /* [params->num_slabs]; elsewhere values are stale */
} rlhf__grads;

/* All zero. */
rlhf_status rlhf__grads_init(rlhf__grads *grads, const rlhf__params *params);
void rlhf__grads_free(rlhf__grads *grads); /* accepts a zeroed struct */
/* All zero again; whatever stood in `values` may have been anything. */
void rlhf__grads_clear(rlhf__grads *grads);
/* The slab's gradient. *out_fresh: it is zero, but its memory is stale, and the caller
 * must write all of it; else the caller adds. */
float *rlhf__grads_open(rlhf__grads *grads, int32_t slab, bool *out_fresh);
/* The slab's gradient, to be added to. */
float *rlhf__grads_slab(rlhf__grads *grads, int32_t slab);
/* Makes all of `values` what the gradient is, for readers of the whole. */
void rlhf__grads_settle(rlhf__grads *grads);

#endif
