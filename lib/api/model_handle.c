/* Model handles around cores. */
#include "api/model_handle.h"

#include "hub/config_json.h"
#include "nn/transformer.h"
#include "train/reward_model.h"

static void destroy_model(void *handle)
{
    rlhf_model *model = handle;

    rlhf__transformer_free(model->net);
    rlhf__hub_origin_free(model->origin);
}

rlhf_status rlhf__model_handle_create(rlhf_context *context,
                                      struct rlhf__transformer *net,
                                      struct rlhf__hub_origin *origin,
                                      rlhf_model **out_model)
{
    rlhf_model *model = NULL;
    rlhf_status status =
        rlhf__handle_create(context, sizeof *model, destroy_model, &model);

    *out_model = NULL;
    if (status != RLHF_OK) {
        rlhf__transformer_free(net);
        rlhf__hub_origin_free(origin);
        return status;
    }
    model->net = net;
    model->origin = origin;
    atomic_init(&model->in_training, 0);
    *out_model = model;
    return RLHF_OK;
}

static void destroy_reward_model(void *handle)
{
    rlhf_reward_model *reward_model = handle;

    rlhf__reward_model_free(reward_model->core);
    rlhf__hub_origin_free(reward_model->origin);
}

rlhf_status rlhf__reward_model_handle_create(rlhf_context *context,
                                             struct rlhf__reward_model *core,
                                             struct rlhf__hub_origin *origin,
                                             rlhf_reward_model **out_reward_model)
{
    rlhf_reward_model *reward_model = NULL;
    rlhf_status status = rlhf__handle_create(context, sizeof *reward_model,
                                             destroy_reward_model, &reward_model);

    *out_reward_model = NULL;
    if (status != RLHF_OK) {
        rlhf__reward_model_free(core);
        rlhf__hub_origin_free(origin);
        return status;
    }
    reward_model->core = core;
    reward_model->origin = origin;
    atomic_init(&reward_model->in_training, 0);
    *out_reward_model = reward_model;
    return RLHF_OK;
}
