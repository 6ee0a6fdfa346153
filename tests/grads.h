/* Gradients of tests: over memory of their own, read as a whole, and stepped by. */
#ifndef TESTS_GRADS_H
#define TESTS_GRADS_H

#include <stdlib.h>
#include <string.h>

#include "optim/adamw.h"
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

/* Norm, clip (max_norm 0: off), apply. On failure nothing changed. */
static inline rlhf_status adamw_step(rlhf__adamw *adamw, rlhf__params *params,
                                     rlhf__grads *grads, double learning_rate,
                                     double scale, double max_norm, double *out_norm)
{
    const rlhf_status status = rlhf__grad_norm(grads, scale, "the gradient", out_norm);

    if (status == RLHF_OK)
        rlhf__adamw_apply(adamw, params, grads, learning_rate,
                          scale * rlhf__clip_factor(*out_norm, max_norm));
    return status;
}

#endif
