/* Gradients of tests: over memory of their own, and read as a whole. */
#ifndef TESTS_GRADS_H
#define TESTS_GRADS_H

#include <stdlib.h>
#include <string.h>

#include "tensor/grads.h"

/* A gradient in `values`, to be freed by grads_free: what stands there or, unless
 * `is_whole`, zero. */
static inline rlhf__grads grads_over(const rlhf__params *params, float *values,
                                     bool is_whole)
{
    rlhf__grads grads = {.params = params,
                         .values = values,
                         .is_whole = calloc((size_t)params->num_slabs, sizeof(bool)),
                         .row_is_written =
                             calloc((size_t)params->num_rows, sizeof(bool))};

    memset(grads.is_whole, is_whole, (size_t)params->num_slabs * sizeof(bool));
    return grads;
}

static inline void grads_free(rlhf__grads *grads)
{
    free(grads->is_whole);
    free(grads->row_is_written);
}

/* Makes all of `values` what the gradient is. */
static inline void grads_settle(rlhf__grads *grads)
{
    for (int32_t i = 0; i < grads->params->num_slabs; i++)
        (void)rlhf__grads_slab(grads, i);
}

#endif
