/* PPO, whole and in parts, and rollouts. */
#include "oom.h"

#include <math.h>

/* --- the trainer -------------------------------------------------------------------- */

static rlhf_status create(oom_world *w)
{
    const rlhf_ppo_options options = oom_ppo_options();
    rlhf_ppo_trainer *trainer = (void *)w;

    return oom_take(
        rlhf_ppo_trainer_create(w->model, NULL, w->reward, NULL, &options, &trainer),
        &trainer, &w->ppo);
}

static void need_ppo(oom_world *w)
{
    oom_need_reward(w);
    assert_ok(create(w));
}

static rlhf_status keep_stats(oom_world *w, rlhf_status status, rlhf_ppo_stats *stats)
{
    if (status == RLHF_OK)
        stats->tokens_per_second = 0;
    return oom_keep(w, status, stats, sizeof *stats, true);
}

static rlhf_status step(oom_world *w)
{
    rlhf_ppo_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    return keep_stats(
        w, rlhf_ppo_trainer_step(w->ppo, oom_prompts, oom_prompt_ends, 3, &stats),
        &stats);
}

static rlhf_status sample(oom_world *w)
{
    rlhf_rollout *rollout = (void *)w;

    return oom_take(
        rlhf_ppo_trainer_rollout(w->ppo, oom_prompts, oom_prompt_ends, 3, &rollout),
        &rollout, &w->rollout_out);
}

static void need_rollout(oom_world *w)
{
    need_ppo(w);
    assert_ok(
        rlhf_ppo_trainer_rollout(w->ppo, oom_prompts, oom_prompt_ends, 3, &w->rollout));
}

static rlhf_status score(oom_world *w)
{
    return rlhf_ppo_trainer_score(w->ppo, w->rollout);
}

static void need_scores(oom_world *w)
{
    need_rollout(w);
    assert_ok(score(w));
}

static rlhf_status advantages(oom_world *w)
{
    return rlhf_ppo_trainer_advantages(w->ppo, w->rollout);
}

static void need_advantages(oom_world *w)
{
    need_scores(w);
    assert_ok(advantages(w));
}

static rlhf_status update(oom_world *w)
{
    rlhf_ppo_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    return keep_stats(w, rlhf_ppo_trainer_update(w->ppo, w->rollout, &stats), &stats);
}

static rlhf_status accumulate(oom_world *w)
{
    int64_t remaining;

    oom_prepare(&remaining, sizeof remaining, false);
    return oom_keep(w, rlhf_ppo_trainer_accumulate(w->ppo, w->rollout, &remaining),
                    &remaining, sizeof remaining, false);
}

/* A trainer that has nothing yet of what the one before it kept. */
static void renew_trainer(oom_world *w)
{
    rlhf_ppo_trainer_free(w->ppo);
    w->ppo = NULL;
    assert_ok(create(w));
}

static void need_unscored(oom_world *w)
{
    need_rollout(w);
    renew_trainer(w);
}

static void need_prepared(oom_world *w)
{
    need_advantages(w);
    renew_trainer(w);
}

static void need_gradients(oom_world *w)
{
    int64_t remaining;

    need_advantages(w);
    assert_ok(rlhf_ppo_trainer_accumulate(w->ppo, w->rollout, &remaining));
}

static rlhf_status apply(oom_world *w)
{
    rlhf_ppo_stats stats;
    int32_t done;

    oom_prepare(&stats, sizeof stats, true);
    oom_prepare(&done, sizeof done, false);
    const rlhf_status status = rlhf_ppo_trainer_apply(w->ppo, &done, &stats);
    oom_keep(w, status, &done, sizeof done, false);
    return keep_stats(w, status, &stats);
}

static rlhf_status gradient(oom_world *w)
{
    float values[16];

    assert_ok(rlhf_ppo_trainer_gradient(w->ppo, 0, "model.norm.weight", values, 16));
    return rlhf_ppo_trainer_gradient(w->ppo, 1, "model.norm.weight", values, 16);
}

static rlhf_status evaluate(oom_world *w)
{
    rlhf_rollout *rollout = (void *)w;
    rlhf_ppo_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    const rlhf_status status = rlhf_ppo_trainer_evaluate(
        w->ppo, oom_prompts, oom_prompt_ends, 3, &stats, &rollout);
    oom_take(status, &rollout, &w->rollout_out);
    return keep_stats(w, status, &stats);
}

static void need_sampler(oom_world *w)
{
    need_ppo(w);
    assert_ok(rlhf_sampler_create(NULL, &w->sampler));
}

static rlhf_status set_sampler(oom_world *w)
{
    return rlhf_ppo_trainer_set_sampler(w->ppo, w->sampler);
}

static rlhf_status clone_critic(oom_world *w)
{
    rlhf_reward_model *critic = (void *)w;

    return oom_take(rlhf_ppo_trainer_clone_critic(w->ppo, &critic), &critic,
                    &w->reward_out);
}

/* Between two optimizer steps, so that the rollout is saved, too. */
static void need_half_updated(oom_world *w)
{
    int32_t done;

    need_gradients(w);
    assert_ok(rlhf_ppo_trainer_apply(w->ppo, &done, NULL));
    w->names_only = true;
}

static rlhf_status save(oom_world *w)
{
    return rlhf_ppo_trainer_save(w->ppo, test_join(w->folder, "state"));
}

static rlhf_status resume(oom_world *w)
{
    rlhf_rollout *rollout = (void *)w;

    return oom_take(rlhf_ppo_trainer_resume(w->ppo, oom_fixture("ppo-state"), &rollout),
                    &rollout, &w->rollout_out);
}

/* --- rollouts ----------------------------------------------------------------------- */

static rlhf_status rollout_create(oom_world *w)
{
    rlhf_rollout *rollout = (void *)w;

    return oom_take(rlhf_rollout_create(w->context, &rollout), &rollout, &w->rollout_out);
}

static void need_empty(oom_world *w)
{
    oom_need_context(w);
    assert_ok(rlhf_rollout_create(w->context, &w->rollout));
}

static rlhf_status append(oom_world *w)
{
    static const int32_t tokens[5] = {2, 3, 4, 5, 6};
    static const uint8_t mask[5] = {0, 0, 1, 0, 1};
    static const float logprobs[5] = {0, 0, -1, 0, -2}, scores[5] = {0, 0, 0.5f, 0, 1};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .logprobs = logprobs,
                                      .token_scores = scores,
                                      .num_tokens = 5,
                                      .score = 1.5,
                                      .finish = RLHF_FINISH_STOP};

    return rlhf_rollout_append(w->rollout, &input);
}

static void need_appended(oom_world *w)
{
    need_empty(w);
    oom_need_tokenizer(w);
    assert_ok(append(w));
    assert_ok(append(w));
}

static rlhf_status rollout_get(oom_world *w)
{
    rlhf_rollout_sequence sequence = {.struct_size = sizeof sequence};

    return rlhf_rollout_get(w->rollout, 1, &sequence);
}

static rlhf_status set_scores(oom_world *w)
{
    static const float scores[2] = {1, 2};

    return rlhf_rollout_set_scores(w->rollout, scores, 2);
}

static void need_sampled(oom_world *w)
{
    static const int32_t tokens[3] = {2, 3, 4};
    static const uint8_t mask[3] = {0, 1, 1};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .num_tokens = 3,
                                      .score = NAN,
                                      .finish = RLHF_FINISH_STOP};

    need_empty(w);
    assert_ok(rlhf_rollout_append(w->rollout, &input));
}

static rlhf_status set_token_scores(oom_world *w)
{
    static const float scores[3] = {0, 1, 2};

    return rlhf_rollout_set_token_scores(w->rollout, 0, scores, 3);
}

static rlhf_status write_jsonl(oom_world *w)
{
    return rlhf_rollout_write_jsonl(w->rollout, w->tokenizer,
                                    test_join(w->folder, "samples.jsonl"));
}

const oom_scenario oom_ppo_scenarios[] = {
    {"rlhf_ppo_trainer_create", oom_need_reward, create, 0},
    {"rlhf_ppo_trainer_step", need_ppo, step, OOM_KEEPS | OOM_PROGRESSES},
    {"rlhf_ppo_trainer_rollout", need_ppo, sample, OOM_KEEPS},
    {"rlhf_ppo_trainer_score", need_unscored, score, OOM_KEEPS},
    {"rlhf_ppo_trainer_advantages", need_scores, advantages, OOM_KEEPS},
    {"rlhf_ppo_trainer_update", need_prepared, update, OOM_KEEPS | OOM_PROGRESSES},
    {"rlhf_ppo_trainer_accumulate", need_prepared, accumulate, OOM_KEEPS},
    {"rlhf_ppo_trainer_apply", need_gradients, apply, OOM_NONE},
    {"rlhf_ppo_trainer_gradient", need_gradients, gradient, OOM_NONE},
    {"rlhf_ppo_trainer_evaluate", need_ppo, evaluate, OOM_KEEPS},
    {"rlhf_ppo_trainer_set_sampler", need_sampler, set_sampler, OOM_NONE},
    {"rlhf_ppo_trainer_clone_critic", need_ppo, clone_critic, 0},
    {"rlhf_ppo_trainer_save", need_ppo, save, OOM_KEEPS},
    {"rlhf_ppo_trainer_save within an update", need_half_updated, save, OOM_KEEPS},
    {"rlhf_ppo_trainer_resume", need_ppo, resume, OOM_KEEPS | OOM_JSON},
    {"rlhf_rollout_create", oom_need_context, rollout_create, 0},
    {"rlhf_rollout_append", need_empty, append, OOM_KEEPS},
    {"rlhf_rollout_get", need_appended, rollout_get, OOM_NONE},
    {"rlhf_rollout_set_scores", need_appended, set_scores, OOM_NONE},
    {"rlhf_rollout_set_token_scores", need_sampled, set_token_scores, OOM_NONE},
    {"rlhf_rollout_write_jsonl", need_appended, write_jsonl, OOM_KEEPS},
    {NULL, NULL, NULL, 0}};
