/* Hugging Face's names of a network's parameters. */
#ifndef RLHF_NN_NAMES_H
#define RLHF_NN_NAMES_H

#include <stdbool.h>

#include "nn/transformer.h"

/* Whether parameters carry GPT-2's names ("transformer.h.0.attn.c_attn.weight"):
 * learned positions, LayerNorm throughout, GELU, as many key as query heads, no
 * rotary. All else has Llama's ("model.layers.0.self_attn.q_proj.weight"), with q, k,
 * v and gate, up as row ranges of the fused matrices. `config` is canonical. */
bool rlhf__uses_gpt2_names(const rlhf_model_config *config);

/* Names every slab of a model whose slabs are there. */
rlhf_status rlhf__add_names(rlhf__transformer *model);

/* Shape of a named parameter as others see it: a vector (norm, bias) is 1 x n. */
void rlhf__named_shape(const rlhf__params *params, const rlhf__named *named,
                       int64_t *out_rows, int64_t *out_cols);

#endif
