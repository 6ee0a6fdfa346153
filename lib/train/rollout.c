/* The rollout as a container; ppo_sample.c fills one, ppo_advantages.c computes on it. */
#include "train/rollout.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/number.h"
#include "base/versioned_struct.h"

rlhf_status rlhf__rollout_create(rlhf_context *context, rlhf__rollout **out_rollout)
{
    rlhf__rollout *rollout = NULL;

    *out_rollout = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *rollout, RLHF_MEMORY_GENERAL, &rollout));
    rollout->context = context;
    *out_rollout = rollout;
    return RLHF_OK;
}

void rlhf__rollout_free(rlhf__rollout *rollout)
{
    if (!rollout)
        return;
    rlhf__free(rollout->episodes);
    rlhf__free(rollout->tokens);
    rlhf__free(rollout->action_mask);
    rlhf__free(rollout->logprobs);
    rlhf__free(rollout->token_scores);
    rlhf__free(rollout->estimates_block);
    rlhf__free(rollout);
}

void rlhf__rollout_forget(rlhf__rollout *rollout)
{
    memset(&rollout->estimates, 0, sizeof rollout->estimates);
    rollout->has_advantages = false;
    for (int64_t e = 0; e < rollout->num_episodes; e++) {
        rollout->episodes[e].kl = NAN;
        rollout->episodes[e].has_after = false;
    }
}

void rlhf__rollout_clear(rlhf__rollout *rollout)
{
    rlhf__rollout_forget(rollout);
    rollout->num_episodes = rollout->num_tokens = rollout->num_actions = 0;
    rollout->policy_version = 0;
}

rlhf_status rlhf__rollout_reserve_estimates(rlhf__rollout *rollout)
{
    const int64_t n = rollout->num_tokens;

    rlhf__rollout_forget(rollout);
    RLHF__TRY(rlhf__grow(rollout->context, &rollout->estimates_block,
                         &rollout->estimates_capacity, 5 * n,
                         sizeof *rollout->estimates_block));
    float *block = rollout->estimates_block;
    memset(block, 0, (size_t)(5 * n) * sizeof *block);
    rollout->estimates =
        (rlhf__estimates){block, block + n, block + 2 * n, block + 3 * n, block + 4 * n};
    return RLHF_OK;
}

static rlhf_status refuse_in_update(const rlhf__rollout *rollout)
{
    if (rollout->in_update)
        return rlhf__fail(RLHF_ERR_STATE, "the rollout is in the middle of an update");
    return RLHF_OK;
}

static rlhf_status check_figures(const char *name, const char *field,
                                 const float *figures, const uint8_t *action_mask,
                                 int64_t count)
{
    for (int64_t t = 0; figures && t < count; t++)
        if (action_mask[t] && !isfinite(figures[t]))
            return rlhf__fail_arg(field, "%s of token %" PRId64 " is not finite but %g",
                                  name, t, (double)figures[t]);
    return RLHF_OK;
}

static rlhf_status check_input(const rlhf_rollout_input *input)
{
    int64_t num_actions = 0;

    if (!input->tokens || !input->action_mask)
        return rlhf__fail_arg(input->tokens ? "action_mask" : "tokens",
                              "%s of a rollout's sequence is NULL",
                              input->tokens ? "action_mask" : "tokens");
    if (input->num_tokens < 2)
        return rlhf__fail_arg("num_tokens", "num_tokens must be >= 2, got %" PRId64,
                              input->num_tokens);
    for (int64_t t = 0; t < input->num_tokens; t++) {
        if (input->tokens[t] < 0)
            return rlhf__fail_arg("tokens", "token %" PRId64 " is %" PRId32, t,
                                  input->tokens[t]);
        if (input->action_mask[t] > 1)
            return rlhf__fail_arg(
                "action_mask", "action_mask of token %" PRId64 " must be 0 or 1, got %d",
                t, (int)input->action_mask[t]);
        num_actions += input->action_mask[t];
    }
    if (input->action_mask[0])
        return rlhf__fail_arg("action_mask", "token 0 cannot be an action");
    if (num_actions == 0)
        return rlhf__fail_arg("action_mask", "a sequence without an action");
    if (!isnan(input->score) && !rlhf__is_finite_float(input->score))
        return rlhf__fail_arg("score",
                              "score must be finite as a float, or NaN, "
                              "got %g",
                              input->score);
    if (input->finish < RLHF_FINISH_NONE || input->finish > RLHF_FINISH_CALLBACK)
        return rlhf__fail_arg("finish", "finish %" PRId32 " is not an rlhf_finish",
                              input->finish);
    RLHF__TRY(check_figures("logprob", "logprobs", input->logprobs, input->action_mask,
                            input->num_tokens));
    return check_figures("token score", "token_scores", input->token_scores,
                         input->action_mask, input->num_tokens);
}

static rlhf_status reserve_tokens(rlhf__rollout *r, int64_t count)
{
    RLHF__TRY(rlhf__grow(r->context, &r->tokens, &r->tokens_capacity, count,
                         sizeof *r->tokens));
    RLHF__TRY(rlhf__grow(r->context, &r->action_mask, &r->mask_capacity, count,
                         sizeof *r->action_mask));
    RLHF__TRY(rlhf__grow(r->context, &r->logprobs, &r->logprobs_capacity, count,
                         sizeof *r->logprobs));
    return rlhf__grow(r->context, &r->token_scores, &r->scores_capacity, count,
                      sizeof *r->token_scores);
}

/* Figures at the actions, 0 elsewhere; all 0 for NULL. */
static void copy_masked(const float *from, const uint8_t *action_mask, int64_t count,
                        float *to)
{
    for (int64_t t = 0; t < count; t++)
        to[t] = from && action_mask[t] ? from[t] : 0.0f;
}

rlhf_status rlhf__rollout_append(rlhf__rollout *r, const rlhf_rollout_input *input,
                                 int64_t id)
{
    const int64_t n = input->num_tokens, first = r->num_tokens;
    rlhf__episode episode = {.id = id,
                             .first = first,
                             .num_tokens = n,
                             .score = input->score,
                             .kl = NAN,
                             .entropy = NAN,
                             .finish = input->finish,
                             .has_logprobs = input->logprobs != NULL,
                             .has_token_scores = input->token_scores != NULL};

    RLHF__TRY(refuse_in_update(r));
    RLHF__TRY(check_input(input));
    RLHF__TRY(reserve_tokens(r, first + n));
    RLHF__TRY(rlhf__grow(r->context, &r->episodes, &r->episodes_capacity,
                         r->num_episodes + 1, sizeof *r->episodes));
    memcpy(r->tokens + first, input->tokens, (size_t)n * sizeof *r->tokens);
    memcpy(r->action_mask + first, input->action_mask, (size_t)n);
    copy_masked(input->logprobs, input->action_mask, n, r->logprobs + first);
    copy_masked(input->token_scores, input->action_mask, n, r->token_scores + first);
    for (int64_t t = n - 1; t > 0; t--) {
        if (!input->action_mask[t])
            continue;
        if (episode.num_actions++ == 0)
            episode.last_action = t;
        episode.num_prompt = t;
    }
    rlhf__rollout_forget(r);
    r->episodes[r->num_episodes++] = episode;
    r->num_tokens += n;
    r->num_actions += episode.num_actions;
    r->policy_version = 0;
    return RLHF_OK;
}

rlhf_status rlhf__rollout_get(const rlhf__rollout *r, int64_t index,
                              rlhf_rollout_sequence *out_sequence)
{
    if (index < 0 || index >= r->num_episodes)
        return rlhf__fail_arg("index", "index must be in [0, %" PRId64 "), got %" PRId64,
                              r->num_episodes, index);
    const rlhf__episode *e = &r->episodes[index];
    const bool there = r->has_advantages;
    const rlhf_rollout_sequence own = {
        .struct_size = sizeof own,
        .sequence_id = e->id,
        .tokens = r->tokens + e->first,
        .action_mask = r->action_mask + e->first,
        .logprobs = e->has_logprobs ? r->logprobs + e->first : NULL,
        .ref_logprobs = there ? r->estimates.ref_logprobs + e->first : NULL,
        .values = there ? r->estimates.values + e->first : NULL,
        .rewards = there ? r->estimates.rewards + e->first : NULL,
        .advantages = there ? r->estimates.advantages + e->first : NULL,
        .returns = there ? r->estimates.returns + e->first : NULL,
        .token_scores = e->has_token_scores ? r->token_scores + e->first : NULL,
        .num_tokens = e->num_tokens,
        .num_prompt = e->num_prompt,
        .num_actions = e->num_actions,
        .score = e->score,
        .kl = e->kl,
        .finish = e->finish};
    return rlhf__struct_copy_out(&own, sizeof own, out_sequence, "rlhf_rollout_sequence");
}

rlhf_status rlhf__rollout_set_scores(rlhf__rollout *r, const float *scores, int64_t count)
{
    RLHF__TRY(refuse_in_update(r));
    if (count != r->num_episodes)
        return rlhf__fail_arg("count",
                              "count must be the %" PRId64 " sequences, got %" PRId64,
                              r->num_episodes, count);
    for (int64_t e = 0; e < count; e++)
        if (!isfinite(scores[e]))
            return rlhf__fail_arg("scores",
                                  "score of sequence %" PRId64 " is not finite but %g", e,
                                  (double)scores[e]);
    rlhf__rollout_forget(r);
    for (int64_t e = 0; e < count; e++)
        r->episodes[e].score = (double)scores[e];
    return RLHF_OK;
}

rlhf_status rlhf__rollout_set_token_scores(rlhf__rollout *r, int64_t index,
                                           const float *token_scores, int64_t count)
{
    RLHF__TRY(refuse_in_update(r));
    if (index < 0 || index >= r->num_episodes)
        return rlhf__fail_arg("index", "index must be in [0, %" PRId64 "), got %" PRId64,
                              r->num_episodes, index);
    rlhf__episode *e = &r->episodes[index];
    if (count != e->num_tokens)
        return rlhf__fail_arg(
            "count", "count must be the sequence's %" PRId64 " tokens, got %" PRId64,
            e->num_tokens, count);
    RLHF__TRY(check_figures("token score", "token_scores", token_scores,
                            r->action_mask + e->first, count));
    rlhf__rollout_forget(r);
    copy_masked(token_scores, r->action_mask + e->first, count,
                r->token_scores + e->first);
    e->has_token_scores = true;
    return RLHF_OK;
}
