/* Inside of the tape, for the files that implement ops. An op's node is a struct that
 * begins with rlhf__node and keeps what its backward rule reads. */
#ifndef RLHF_AUTOGRAD_NODE_H
#define RLHF_AUTOGRAD_NODE_H

#include "autograd/tape.h"

typedef struct rlhf__node {
    struct rlhf__node *previous;
    /* Passes out->grad on to the op's inputs. Called only if out->grad is not NULL,
     * whose memory is then given back unless the op worked in place. */
    rlhf_status (*backward)(rlhf__tape *tape, struct rlhf__node *node);
    rlhf__var *out;
    bool in_place; /* `out` is the input: an older node passes its gradient on */
} rlhf__node;

/* A value that stands for `data` ([rows][cols]); data NULL: memory from the arena. */
rlhf_status rlhf__var_wrap(rlhf__tape *tape, int64_t rows, int64_t cols, float *data,
                           bool needs_grad, rlhf__var **out);
/* A zeroed node of `size` bytes, put on the tape. */
rlhf_status rlhf__node_push(rlhf__tape *tape, size_t size, rlhf__var *out,
                            rlhf_status (*backward)(rlhf__tape *tape, rlhf__node *node),
                            void *out_node);
/* Where a rule puts a contribution to var's gradient. *out_fresh: there is none yet,
 * the memory is not zeroed and the rule must write all of it; else the rule adds. */
rlhf_status rlhf__grad_open(rlhf__tape *tape, rlhf__var *var, float **out_grad,
                            bool *out_fresh);
/* Memory for a gradient, from the freed ones where one fits. */
rlhf_status rlhf__grad_take(rlhf__tape *tape, int64_t count, float **out_memory);
void rlhf__grad_give(rlhf__tape *tape, float *memory, int64_t count);
/* A parameter's gradient, to be added to; NULL where frozen or the slab is -1. */
static inline float *rlhf__slab_grad(const rlhf__tape *tape, int32_t slab)
{
    return tape->param_grads && slab >= 0 ? rlhf__grads_slab(tape->param_grads, slab)
                                          : NULL;
}
/* The same where rows[count] of it alone are added to. */
static inline float *rlhf__rows_grad(const rlhf__tape *tape, int32_t slab,
                                     const int32_t *rows, int64_t count)
{
    return tape->param_grads && slab >= 0
               ? rlhf__grads_rows(tape->param_grads, slab, rows, count)
               : NULL;
}
/* rlhf__params_matmul. In a pass over many rows a product of few keeps no copy either. */
rlhf_status rlhf__tape_matmul(rlhf__tape *tape, rlhf__params *params, int32_t weight,
                              bool forward, rlhf__operand x, int64_t m, const float *bias,
                              bool accumulate, float *y, int64_t ldy);
/* dW of y = x W^T, [rows][width_out] to [rows][width_in]; nothing where W is frozen. */
rlhf_status rlhf__add_weight_grad(rlhf__tape *tape, int32_t weight, const float *dy,
                                  int64_t width_out, rlhf__operand x, int64_t width_in,
                                  int64_t rows);

#endif
