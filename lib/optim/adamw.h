/* AdamW (Loshchilov and Hutter 2019) over a network's flat parameters, and the global
 * norm of its gradient. A step is norm (which fails on a gradient that is not finite,
 * before any weight changes), clip factor, apply (which cannot fail).
 *
 * grad_scale multiplies a gradient first: gradients are summed over all micro-batches of
 * a step and scaled once, by 1 / (tokens of the whole step).
 *
 * Rows of a token table that no batch has read have no moments, and a step leaves them
 * and the gradient's rows alone, but for weight decay. */
#ifndef RLHF_OPTIM_ADAMW_H
#define RLHF_OPTIM_ADAMW_H

#include <stdint.h>

#include <rlhf/lm.h>

#include "tensor/grads.h"

typedef struct rlhf__adamw_settings {
    double beta1, beta2, epsilon;
    double weight_decay; /* on slabs with `decay` only */
    int32_t form;        /* an rlhf_adam_form */
} rlhf__adamw_settings;

typedef struct rlhf__adamw {
    rlhf__adamw_settings settings;
    /* The state to be saved and restored: */
    int64_t step; /* steps done */
    float *m, *v; /* [params->count] */
    /* Derived: [params->num_rows]; elsewhere moments are 0, but m and v are stale. */
    bool *row_has_moments;
} rlhf__adamw;

/* Moments of zeros. */
rlhf_status rlhf__adamw_init(rlhf__adamw *adamw, const rlhf__params *params,
                             const rlhf__adamw_settings *settings);
void rlhf__adamw_free(rlhf__adamw *adamw); /* accepts a zeroed struct */

/* Zeroes m and v where they are stale, for who reads them. */
void rlhf__adamw_settle(rlhf__adamw *adamw, const rlhf__params *params);
/* After m and v were written: which rows have moments. */
void rlhf__adamw_find_moments(rlhf__adamw *adamw, const rlhf__params *params);
/* INVALID_ARG naming `field` where a step at this rate is not finite as a float. */
rlhf_status rlhf__adamw_check_rate(const rlhf__adamw_settings *settings,
                                   const char *field, double learning_rate);
/* Euclidean norm of grad_scale * grads. NUMERIC, naming `what`, if a gradient or the norm
 * is not finite. */
rlhf_status rlhf__grad_norm(const rlhf__grads *grads, double grad_scale, const char *what,
                            double *out_norm);
/* min(1, max_norm / (norm + 1e-6)), torch's form; 1 where max_norm is 0. */
double rlhf__clip_factor(double norm, double max_norm);
/* One update by grad_scale * grads, which must be finite; writes zeros to rows of them
 * that have moments but no gradient. Bumps the parameters' version. */
void rlhf__adamw_apply(rlhf__adamw *adamw, rlhf__params *params, rlhf__grads *grads,
                       double learning_rate, double grad_scale);

#endif
