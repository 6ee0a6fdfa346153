/* The gradient of a network's parameters, laid out as rlhf__params.values. Clearing it
 * writes nothing: a slab is zeroed, or overwritten by its first contribution, when that
 * comes, which saves two passes over memory a step. Of a table of which a batch reads
 * some rows, the others are not written at all. */
#ifndef RLHF_TENSOR_GRADS_H
#define RLHF_TENSOR_GRADS_H

#include "tensor/params.h"

typedef struct rlhf__grads {
    const rlhf__params *params; /* borrowed */
    float *values;              /* [params->count] */
    bool *is_whole;             /* [params->num_slabs]: all of it is written */
    bool *row_is_written; /* [params->num_rows]: of the other slabs. All else is zero, but
                             its values are stale */
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
/* The same where the caller adds to rows[count] alone, of which some may be equal. */
float *rlhf__grads_rows(rlhf__grads *grads, int32_t slab, const int32_t *rows,
                        int64_t count);
/* The same of one row. */
float *rlhf__grads_row(rlhf__grads *grads, int32_t slab, int64_t row);
/* Whether a row of the slab is written. */
static inline bool rlhf__grads_has(const rlhf__grads *grads, int32_t slab, int64_t row)
{
    return grads->is_whole[slab] ||
           grads->row_is_written[grads->params->slabs[slab].first_row + row];
}

#endif
