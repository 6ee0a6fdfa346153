/* Models as Hugging Face folders: config.json and model.safetensors (or shards). */
#ifndef RLHF_HUB_FOLDER_H
#define RLHF_HUB_FOLDER_H

#include "hub/config_json.h"
#include "nn/transformer.h"

/* Reads a folder. Tensor names may lack their "transformer." or "model." prefix; buffers
 * that old files carry (attn.bias, attn.masked_bias, rotary_emb.inv_freq) are passed
 * over. A missing, unknown or misshapen tensor is FORMAT and named, a value that is not
 * finite NUMERIC.
 * @param head       RLHF__HEAD_LM, or RLHF__HEAD_SCORE for a reward model.
 * @param out_score  Of a reward model; NULL with RLHF__HEAD_LM. */
rlhf_status rlhf__hub_load(rlhf_context *context, const char *path, rlhf__head head,
                           rlhf__transformer **out_net, rlhf__hub_score *out_score,
                           rlhf__hub_origin **out_origin);

/* Writes config.json and model.safetensors; the folder commits as one and its other files
 * are kept, except weights of the model that was there. Linear weights of GPT-2 are
 * transposed to its [in][out]; a score's scale is multiplied into score.weight, and its
 * offset and the head's bias go into config.json.
 * @param score   NULL for a language model.
 * @param origin  NULL: none. */
rlhf_status rlhf__hub_save(const char *path, const rlhf__transformer *net,
                           const rlhf__hub_score *score, const rlhf__hub_origin *origin);

#endif
