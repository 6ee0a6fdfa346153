/* The tape: forward ops append nodes, backward walks them in reverse. All memory, values,
 * gradients and nodes, comes from the tape's arena and is given back by reset, so that
 * the same step twice allocates nothing new. With `record` off, ops compute values only
 * and keep nothing for a backward pass.
 *
 * Gradients accumulate (+=). Those of parameters go to tape->param_grads, the trainer's;
 * NULL means the parameters are frozen. A value's gradient lives from its first
 * contribution until its op has passed it on; then its memory serves the next, so that a
 * backward pass needs little beside the activations. What ops point to (tokens,
 * positions, rows, tables) must stay until backward is done. Ops check cancellation
 * (rlhf__check_cancel) once each. */
#ifndef RLHF_AUTOGRAD_TAPE_H
#define RLHF_AUTOGRAD_TAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "kernels/kernels.h"
#include "tensor/grads.h"
#include "tensor/params.h"

/* A value on the tape: [rows][cols], contiguous; rounded, it is an operand of halves
 * (kernels/operand.h), which linear ops alone read. grad is NULL until something needs
 * it; use rlhf__var_grad to seed it. */
typedef struct rlhf__var {
    int64_t rows, cols;
    float *data;
    float *grad;
    bool needs_grad;
    bool rounded;
    bool grad_is_lent; /* grad is another value's, to be read only */
} rlhf__var;

typedef struct rlhf__tape rlhf__tape;
struct rlhf__tape {
    rlhf_context *context;
    rlhf__arena *arena;
    bool record;
    bool checkpoint;          /* networks record their blocks by rlhf__op_checkpoint */
    rlhf__grads *param_grads; /* or NULL */
    struct rlhf__node *last;  /* newest node */
    void *free_grads;         /* gradients' memory for reuse */
    int64_t pass_rows;        /* tokens of a network's pass without caches; 0: none */
    uint64_t resets;          /* so far: tells whether what was recorded is still there */
};

rlhf_status rlhf__tape_create(rlhf_context *context, rlhf__tape **out_tape);
void rlhf__tape_free(rlhf__tape *tape);
/* Forgets all nodes and memory; then records (or not) into param_grads (or nowhere). */
void rlhf__tape_reset(rlhf__tape *tape, bool record, rlhf__grads *param_grads);
/* Walks the nodes from the newest to the oldest. Seeds must have been added to
 * gradients (or been computed by the fused loss op). A tape is walked once. */
rlhf_status rlhf__tape_backward(rlhf__tape *tape);

/* A fresh value, not zeroed. */
rlhf_status rlhf__var_create(rlhf__tape *tape, int64_t rows, int64_t cols,
                             rlhf__var **out);
/* Its gradient, zeroed when there was none yet: for seeds (+=). Recording only. */
rlhf_status rlhf__var_grad(rlhf__tape *tape, rlhf__var *var, float **out_grad);

/* --- ops. `params` and slab indices name parameters; -1 means none. ----------------- */

rlhf_status rlhf__op_embedding(rlhf__tape *tape, rlhf__params *params, int32_t table,
                               int32_t position_table, const int32_t *tokens,
                               const int32_t *positions, int64_t count, rlhf__var **out);
/* y = x W^T + b */
rlhf_status rlhf__op_linear(rlhf__tape *tape, rlhf__params *params, int32_t weight,
                            int32_t bias, rlhf__var *x, rlhf__var **out);

typedef struct rlhf__op_norm_args {
    rlhf__params *params;
    bool rms; /* RMSNorm, which has no bias; else LayerNorm */
    int32_t weight, bias;
    float eps;
    bool for_linear; /* linear ops alone read it: a bf16 context keeps it rounded */
} rlhf__op_norm_args;
rlhf_status rlhf__op_norm(rlhf__tape *tape, const rlhf__op_norm_args *args, rlhf__var *x,
                          rlhf__var **out);
/* rlhf__op_add, then rlhf__op_norm of the sum, in one pass over the rows. Where nothing
 * is recorded *out becomes the norm, in its own memory: that of a norm of a's columns and
 * no fewer rows. */
rlhf_status rlhf__op_add_norm(rlhf__tape *tape, const rlhf__op_norm_args *args,
                              rlhf__var *a, rlhf__var *b, rlhf__var **out_sum,
                              rlhf__var **out);
rlhf_status rlhf__op_activation(rlhf__tape *tape, rlhf__activation kind, bool for_linear,
                                rlhf__var *x, rlhf__var **out);
/* Rotary in place on the first (num_heads + num_kv_heads) heads of qkv's columns. */
rlhf_status rlhf__op_rope(rlhf__tape *tape, rlhf__var *qkv, int64_t num_rotated_heads,
                          int64_t head_dim, const int32_t *positions,
                          const float *cos_table, const float *sin_table);

typedef struct rlhf__op_attention_args {
    int64_t num_heads, num_kv_heads, head_dim, window;
    int64_t num_seqs;
    const int64_t *cu_seqlens;
    const int64_t
        *from; /* [num_seqs] of each, where wanted rows begin; the others have no
                            values, and get no gradient. NULL: all */
    const rlhf__shared *shared; /* as rlhf__attention's; without a cache */
    /* With a cache (no recording then): one layer's cache of each sequence. */
    void *const *caches; /* NULL: none */
    const int64_t *past;
    int64_t capacity;
} rlhf__op_attention_args;
/* qkv: [tokens][(num_heads + 2 num_kv_heads) * head_dim]; out:
 * [tokens][num_heads*head_dim]. */
rlhf_status rlhf__op_attention(rlhf__tape *tape, const rlhf__op_attention_args *args,
                               rlhf__var *qkv, rlhf__var **out);
/* y = a + b (residual). The sum takes the place of one of them (of b when recording,
 * else of a): neither value may be read by a later op, and b not be what its own op's
 * gradient needs (the output of an attention). */
rlhf_status rlhf__op_add(rlhf__tape *tape, rlhf__var *a, rlhf__var *b, rlhf__var **out);
/* Rows picked: y[i] = x[rows[i]]. */
rlhf_status rlhf__op_gather_rows(rlhf__tape *tape, rlhf__var *x, const int64_t *rows,
                                 int64_t count, rlhf__var **out);
/* The same of ascending rows, each once; where nothing is recorded, in x's own memory. */
rlhf_status rlhf__op_keep_rows(rlhf__tape *tape, rlhf__var *x, const int64_t *rows,
                               int64_t count, rlhf__var **out);

/* A part of a network, a residual stream to another, as one op: part(arg, tape, x, out)
 * computes it, in x's own memory where nothing is recorded. Of all its values the tape
 * keeps x and the output; the backward pass computes the others again. Recording only;
 * `arg` must stay until then. */
typedef rlhf_status (*rlhf__part_fn)(const void *arg, rlhf__tape *tape, rlhf__var *x,
                                     rlhf__var **out);
rlhf_status rlhf__op_checkpoint(rlhf__tape *tape, rlhf__part_fn part, const void *arg,
                                rlhf__var *x, rlhf__var **out);

/* Log-probability, entropy and gradient of a linear head in chunks of rows; the rows x
 * vocabulary matrix never exists whole. For every row i of x: z = (x[i] W^T) * inv_tau,
 * where the logit of token masked[i] (masked NULL or -1: none) is RLHF__MASKED_LOGIT
 * before the scaling: a stop token before min_new_tokens, without gradient;
 * out_logprob[i], out_entropy[i] (may be NULL) as in rlhf__logprob. If `loss` is not
 * NULL and the tape records, it is called for each chunk of rows [first, first +
 * count) with their logprob and entropy and gives d loss / d logprob and d loss / d
 * entropy (zeroed before the call), from which the gradients of W and x follow at
 * once. */
#define RLHF__MASKED_LOGIT (-1e30f) /* finite, so that p * log p stays 0 */
typedef rlhf_status (*rlhf__head_loss_fn)(void *arg, int64_t first, int64_t count,
                                          const float *logprob, const float *entropy,
                                          float *dlogprob, float *dentropy);
rlhf_status rlhf__op_linear_logprob(rlhf__tape *tape, rlhf__params *params,
                                    int32_t weight, rlhf__var *x, const int32_t *targets,
                                    const int32_t *masked, float inv_tau,
                                    float *out_logprob, float *out_entropy,
                                    rlhf__head_loss_fn loss, void *loss_arg);

#endif
