/* The reward model's life; its arithmetic is in the trainers' files. */
#include "train/reward_model.h"

#include "base/alloc.h"

rlhf_status rlhf__reward_model_create(rlhf__transformer *net, int32_t append_eos,
                                      int32_t eos_token_id,
                                      rlhf__reward_model **out_model)
{
    rlhf__reward_model *model = NULL;

    *out_model = NULL;
    RLHF__TRY(rlhf__alloc(net->context, 1, sizeof *model, RLHF_MEMORY_GENERAL, &model));
    model->net = net;
    model->scale = 1.0;
    model->append_eos = append_eos;
    model->eos_token_id = eos_token_id;
    *out_model = model;
    return RLHF_OK;
}

void rlhf__reward_model_free(rlhf__reward_model *model)
{
    if (!model)
        return;
    rlhf__transformer_free(model->net);
    rlhf__free(model);
}

rlhf_status rlhf__reward_model_clone(const rlhf__reward_model *model,
                                     rlhf__reward_model **out_model)
{
    rlhf__transformer *net = NULL;
    rlhf_status status;

    *out_model = NULL;
    RLHF__TRY(rlhf__transformer_clone(model->net, &net));
    status =
        rlhf__reward_model_create(net, model->append_eos, model->eos_token_id, out_model);
    if (status != RLHF_OK) {
        rlhf__transformer_free(net);
        return status;
    }
    (*out_model)->scale = model->scale;
    (*out_model)->offset = model->offset;
    return RLHF_OK;
}
