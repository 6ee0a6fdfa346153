/* Public rollouts: argument checks around train/rollout.c. */
#include "api/rollout.h"

#include <inttypes.h>

#include "base/versioned_struct.h"
#include "train/rollout.h"

static void destroy(void *handle)
{
    rlhf__rollout_free(((rlhf_rollout *)handle)->core);
}

rlhf_status rlhf__rollout_wrap(rlhf_context *context, rlhf__rollout *core,
                               rlhf_rollout **out_rollout)
{
    rlhf_rollout *rollout = NULL;
    rlhf_status status = rlhf__handle_create(context, sizeof *rollout, destroy, &rollout);

    if (status == RLHF_OK && !core)
        status = rlhf__rollout_create(context, &core);
    if (status != RLHF_OK) {
        rlhf__rollout_free(core);
        rlhf__handle_unref(rollout);
        return status;
    }
    rollout->core = core;
    *out_rollout = rollout;
    return RLHF_OK;
}

rlhf_status rlhf_rollout_create(rlhf_context *context, rlhf_rollout **out_rollout)
{
    RLHF__REQUIRE(out_rollout);
    *out_rollout = NULL;
    RLHF__REQUIRE(context);
    RLHF__ENTER_AND_RETURN(context, rlhf__rollout_wrap(context, NULL, out_rollout));
}

void rlhf_rollout_free(rlhf_rollout *rollout)
{
    rlhf__handle_free(rollout);
}

rlhf_status rlhf_rollout_append(rlhf_rollout *rollout, const rlhf_rollout_input *input)
{
    rlhf_rollout_input own;

    RLHF__REQUIRE(rollout);
    RLHF__REQUIRE(input);
    RLHF__TRY(
        rlhf__struct_copy_in(input, sizeof own, sizeof own, &own, "rlhf_rollout_input"));
    RLHF__ENTER_AND_RETURN(
        rollout->handle.context,
        rlhf__rollout_append(rollout->core, &own, rollout->core->num_episodes));
}

int64_t rlhf_rollout_num_sequences(const rlhf_rollout *rollout)
{
    return rollout ? rollout->core->num_episodes : 0;
}

rlhf_status rlhf_rollout_get(const rlhf_rollout *rollout, int64_t index,
                             rlhf_rollout_sequence *out_sequence)
{
    RLHF__REQUIRE(rollout);
    RLHF__REQUIRE(out_sequence);
    return rlhf__rollout_get(rollout->core, index, out_sequence);
}

rlhf_status rlhf_rollout_set_scores(rlhf_rollout *rollout, const float *scores,
                                    int64_t count)
{
    RLHF__REQUIRE(rollout);
    RLHF__REQUIRE(scores);
    RLHF__ENTER_AND_RETURN(rollout->handle.context,
                           rlhf__rollout_set_scores(rollout->core, scores, count));
}

rlhf_status rlhf_rollout_set_token_scores(rlhf_rollout *rollout, int64_t index,
                                          const float *token_scores, int64_t count)
{
    RLHF__REQUIRE(rollout);
    RLHF__REQUIRE(token_scores);
    RLHF__ENTER_AND_RETURN(
        rollout->handle.context,
        rlhf__rollout_set_token_scores(rollout->core, index, token_scores, count));
}

rlhf_status rlhf_rollout_write_jsonl(const rlhf_rollout *rollout,
                                     const rlhf_tokenizer *tokenizer, const char *path)
{
    RLHF__REQUIRE(rollout);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(rollout->handle.context,
                           rlhf__rollout_write_jsonl(
                               rollout->core, tokenizer ? tokenizer->core : NULL, path));
}
