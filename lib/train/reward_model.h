/* A reward model: a transformer with a scalar head, and the affine map of its score. */
#ifndef RLHF_TRAIN_REWARD_MODEL_H
#define RLHF_TRAIN_REWARD_MODEL_H

#include <stdint.h>

#include "nn/transformer.h"

/* score = scale * head(hidden of the last token) + offset */
typedef struct rlhf__reward_model {
    rlhf__transformer *net; /* owned; scalar head */
    double scale, offset;
    int32_t append_eos;   /* an rlhf_append_eos */
    int32_t eos_token_id; /* the token appended; -1: none */
} rlhf__reward_model;

/* Takes `net` over on success; scale 1, offset 0. */
rlhf_status rlhf__reward_model_create(rlhf__transformer *net, int32_t append_eos,
                                      int32_t eos_token_id,
                                      rlhf__reward_model **out_model);
void rlhf__reward_model_free(rlhf__reward_model *model); /* NULL ok */
rlhf_status rlhf__reward_model_clone(const rlhf__reward_model *model,
                                     rlhf__reward_model **out_model);

#endif
