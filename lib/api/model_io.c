/* Public calls that read and write model folders. */
#include "api/handle.h"
#include "api/model_handle.h"

#include "hub/folder.h"
#include "train/reward_model.h"

static rlhf_status load_model(rlhf_context *context, const char *path,
                              rlhf_model **out_model)
{
    rlhf__transformer *net = NULL;
    rlhf__hub_origin *origin = NULL;

    RLHF__TRY(rlhf__hub_load(context, path, RLHF__HEAD_LM, &net, NULL, &origin));
    return rlhf__model_handle_create(context, net, origin, out_model);
}

rlhf_status rlhf_model_load(rlhf_context *context, const char *path,
                            rlhf_model **out_model)
{
    RLHF__REQUIRE(out_model);
    *out_model = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(context, load_model(context, path, out_model));
}

rlhf_status rlhf_model_save(rlhf_model *model, const char *path)
{
    RLHF__REQUIRE(model);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(model->handle.context,
                           rlhf__hub_save(path, model->net, NULL, model->origin));
}

static rlhf_status load_reward_model(rlhf_context *context, const char *path,
                                     rlhf_reward_model **out_reward_model)
{
    rlhf__transformer *net = NULL;
    rlhf__hub_origin *origin = NULL;
    rlhf__reward_model *core = NULL;
    rlhf__hub_score score = {0};
    rlhf_status status;

    RLHF__TRY(rlhf__hub_load(context, path, RLHF__HEAD_SCORE, &net, &score, &origin));
    status = rlhf__reward_model_create(net, score.append_eos, score.eos_token_id, &core);
    if (status != RLHF_OK) {
        rlhf__transformer_free(net);
        rlhf__hub_origin_free(origin);
        return status;
    }
    core->scale = score.scale;
    core->offset = score.offset;
    return rlhf__reward_model_handle_create(context, core, origin, out_reward_model);
}

rlhf_status rlhf_reward_model_load(rlhf_context *context, const char *path,
                                   rlhf_reward_model **out_reward_model)
{
    RLHF__REQUIRE(out_reward_model);
    *out_reward_model = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(context, load_reward_model(context, path, out_reward_model));
}

static rlhf_status save_reward_model(const rlhf_reward_model *reward_model,
                                     const char *path)
{
    const rlhf__reward_model *core = reward_model->core;
    rlhf__hub_score score = {core->scale, core->offset, core->append_eos,
                             core->eos_token_id};

    return rlhf__hub_save(path, core->net, &score, reward_model->origin);
}

rlhf_status rlhf_reward_model_save(rlhf_reward_model *reward_model, const char *path)
{
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(reward_model->handle.context,
                           save_reward_model(reward_model, path));
}
