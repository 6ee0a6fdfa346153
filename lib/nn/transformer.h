/* One decoder-only transformer, described by rlhf_model_config: GPT-2, Llama and their
 * kin are configs of it. Pre-norm blocks: x += attention(norm1(x)); x +=
 * mlp(norm2(x)); final norm. */
#ifndef RLHF_NN_TRANSFORMER_H
#define RLHF_NN_TRANSFORMER_H

#include <stdbool.h>
#include <stdint.h>

#include <rlhf/model.h>

#include "autograd/tape.h"
#include "tensor/params.h"

/* Slab indices; -1 where the config has no such parameter. */
typedef struct rlhf__block_slabs {
    int32_t norm1_weight, norm1_bias;
    int32_t qkv_weight, qkv_bias; /* rows: all q heads, then k, then v */
    int32_t out_weight, out_bias;
    int32_t norm2_weight, norm2_bias;
    int32_t up_weight, up_bias; /* SwiGLU: gate rows, then up rows */
    int32_t down_weight, down_bias;
} rlhf__block_slabs;

typedef struct rlhf__transformer {
    rlhf_context *context;
    rlhf_model_config config;  /* canonical: every field set; layers points to `layers` */
    rlhf_layer_config *layers; /* [num_layers], always filled */
    rlhf__params params;
    int32_t token_table, position_table; /* position_table -1 with rotary */
    rlhf__block_slabs *blocks;
    int32_t final_norm_weight, final_norm_bias;
    int32_t head_weight; /* == token_table when tied; -1: no LM head (scalar model) */
    int32_t score_weight, score_bias; /* scalar head d -> 1; -1: none */
    float *rope_cos, *rope_sin;       /* [distinct thetas][context_length][head_dim/2], or
                                   NULL */
    const float **layer_cos, **layer_sin; /* [num_layers], into the tables; NULL: no
                                             rotary */
    int64_t tokens_read; /* by all forward passes so far: the network's work */
} rlhf__transformer;

typedef enum rlhf__head { RLHF__HEAD_LM, RLHF__HEAD_SCORE } rlhf__head;

/* Checks the config (INVALID_ARG names field and value) and makes a model of zeros,
 * with a language-model head or a scalar head. */
rlhf_status rlhf__transformer_create(rlhf_context *context,
                                     const rlhf_model_config *config, rlhf__head head,
                                     rlhf__transformer **out);
/* The same without values: the caller gives its parameters their memory, sets every one
 * of them, and makes the rotary tables. */
rlhf_status rlhf__transformer_create_bare(rlhf_context *context,
                                          const rlhf_model_config *config,
                                          rlhf__head head, rlhf__transformer **out);
/* Takes time and memory by the context's length; once a model. cancels: CANCELLED where
 * that is asked for between two tables. */
rlhf_status rlhf__transformer_make_rotary(rlhf__transformer *model, bool cancels);
void rlhf__transformer_free(rlhf__transformer *model);
/* SHA-256 of what the function computed depends on besides parameters and their shapes:
 * heads, positions, norms, activation, attention, the stop token. */
void rlhf__transformer_fingerprint(const rlhf__transformer *model, char out_hex[65]);
/* Never frozen: a clone of a frozen model has the values that its products see. */
rlhf_status rlhf__transformer_clone(const rlhf__transformer *model,
                                    rlhf__transformer **out);
/* The same trunk with a scalar head instead of the LM head; head weights N(0,
 * 1/sqrt(d+1)), bias 0 (spec section 3), or zeros. */
rlhf_status rlhf__transformer_to_scalar(const rlhf__transformer *model, uint64_t seed,
                                        bool zero_head, rlhf__transformer **out);
/* GPT-2's published initialisation: N(0, range), both embeddings among them (as Hugging
 * Face's; OpenAI's code has 0.01 for positions, the paper does not say), residual
 * projections N(0, range / sqrt(2 L)), norms 1, biases 0. */
void rlhf__transformer_init(rlhf__transformer *model, uint64_t seed);

/* Keys and values of one sequence: layers' caches, allocated per sequence, grown in
 * steps. */
typedef struct rlhf__kv_cache {
    rlhf_context *context;
    void *data;     /* [num_layers][rlhf__kv_size(capacity)] of rlhf__kv_element bytes */
    int64_t length; /* tokens in it */
    int64_t capacity; /* multiple of RLHF__ATTENTION_BLOCK */
} rlhf__kv_cache;
/* Room for `capacity` tokens; keeps what is in it. */
rlhf_status rlhf__kv_cache_reserve(rlhf__kv_cache *cache, const rlhf__transformer *model,
                                   int64_t capacity);
/* One layer's part. */
void *rlhf__kv_cache_layer(const rlhf__kv_cache *cache, const rlhf__transformer *model,
                           int64_t layer);
/* `to` holds the first `length` tokens of `from`, and nothing else; both have one
 * capacity. */
void rlhf__kv_cache_copy(rlhf__kv_cache *to, const rlhf__kv_cache *from,
                         const rlhf__transformer *model, int64_t length);
void rlhf__kv_cache_free(rlhf__kv_cache *cache);

/* A ragged batch: sequences end to end. */
typedef struct rlhf__batch {
    const int32_t *tokens;     /* [cu_seqlens[num_seqs]] */
    const int64_t *cu_seqlens; /* [num_seqs + 1], from 0, ascending */
    int64_t num_seqs;
    rlhf__kv_cache *const *caches; /* NULL, or one a sequence; all of one capacity;
                                      lengths grow by the new tokens on success only */
    const int64_t *rows; /* [num_rows] tokens whose hidden states are wanted, each once,
                            ascending; NULL: all. They must stay as long as what is
                            recorded. */
    int64_t num_rows;
} rlhf__batch;

/* INVALID_ARG if a token is outside the vocabulary or a sequence (with its cache)
 * exceeds the context, naming both. */
rlhf_status rlhf__batch_check(const rlhf__transformer *model, const rlhf__batch *batch);
/* The same of one sequence, named by the index that it has to the caller. */
rlhf_status rlhf__sequence_check(const rlhf__transformer *model, int64_t index,
                                 const int32_t *tokens, int64_t count);
/* Of its tokens alone; `what` it is, before the index. */
rlhf_status rlhf__ids_check(const rlhf__transformer *model, const char *what,
                            int64_t index, const int32_t *tokens, int64_t count);

/* Hidden states after the final norm, [tokens or num_rows][hidden]. Positions count from
 * the cache's length. Behind its attention the last layer computes wanted rows only; what
 * sequences begin with alike before those is computed once (nn/share.h). */
rlhf_status rlhf__transformer_forward(rlhf__transformer *model, rlhf__tape *tape,
                                      const rlhf__batch *batch, rlhf__var **out_hidden);
/* logits[rows][vocab] (LM head) or scores[rows][1] (scalar head, bias included). */
rlhf_status rlhf__transformer_head(rlhf__transformer *model, rlhf__tape *tape,
                                   rlhf__var *hidden, rlhf__var **out);

#endif
