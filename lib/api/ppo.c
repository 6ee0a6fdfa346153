/* The public PPO trainer: argument checks around train/ppo*.c, and the rollout that a
 * trainer keeps alive while it works on it. */
#include "train/ppo.h"

#include <inttypes.h>
#include <math.h>

#include "api/arguments.h"
#include "api/model_handle.h"
#include "api/rollout.h"
#include "api/training.h"
#include "base/context.h"
#include "base/number.h"
#include "base/versioned_struct.h"
#include "nn/transformer.h"
#include "train/ppo_options.h"
#include "train/score.h"

rlhf_status rlhf_ppo_options_init(rlhf_ppo_options *options, size_t struct_size)
{
    return rlhf__struct_init(&rlhf__ppo_options_desc, options, struct_size);
}

rlhf_status rlhf_ppo_options_preset(rlhf_ppo_options *options, size_t struct_size,
                                    const char *name)
{
    rlhf_ppo_options own;

    RLHF__REQUIRE(options);
    RLHF__REQUIRE(name);
    RLHF__TRY(rlhf__ppo_options_preset(name, &own));
    RLHF__TRY(rlhf__struct_init(&rlhf__ppo_options_desc, options, struct_size));
    return rlhf__struct_copy_out(&own, sizeof own, options, "rlhf_ppo_options");
}

/* --- life --------------------------------------------------------------------------- */

static void destroy(void *handle)
{
    rlhf_ppo_trainer *trainer = handle;

    rlhf__ppo_trainer_free(trainer->core);
    if (trainer->policy)
        rlhf__training_end(&trainer->policy->in_training, &trainer->holds_policy);
    if (trainer->critic)
        rlhf__training_end(&trainer->critic->in_training, &trainer->holds_critic);
    rlhf__handle_unref(trainer->policy);
    rlhf__handle_unref(trainer->reference);
    rlhf__handle_unref(trainer->reward_model);
    rlhf__handle_unref(trainer->critic);
    rlhf__handle_unref(trainer->sampler);
    rlhf__handle_unref(trainer->active);
    rlhf__handle_unref(trainer->spare);
}

static rlhf_status take_reference(rlhf_ppo_trainer *trainer, rlhf_model *reference)
{
    rlhf__transformer *net = NULL;

    if (reference) {
        trainer->reference = rlhf__handle_ref(reference);
        return RLHF_OK;
    }
    RLHF__TRY(rlhf__transformer_clone(trainer->policy->net, &net));
    /* Nobody else sees it: rounded it takes half the room, to the same bits. */
    if (trainer->handle.context->bf16) {
        const rlhf_status status = rlhf__params_freeze(&net->params);
        if (status != RLHF_OK) {
            rlhf__transformer_free(net);
            return status;
        }
    }
    return rlhf__model_handle_create(trainer->handle.context, net, NULL,
                                     &trainer->reference);
}

static rlhf_status take_critic(rlhf_ppo_trainer *trainer, rlhf_reward_model *critic)
{
    const rlhf__reward_model *reward =
        trainer->reward_model ? trainer->reward_model->core : NULL;
    rlhf__reward_model *core = NULL;

    if (critic) {
        trainer->critic = rlhf__handle_ref(critic);
        return RLHF_OK;
    }
    RLHF__TRY(rlhf__ppo_make_critic(trainer->policy->net, reward, &core));
    return rlhf__reward_model_handle_create(trainer->handle.context, core, NULL,
                                            &trainer->critic);
}

static rlhf_status create_core(rlhf_ppo_trainer *trainer, bool owns_reference,
                               const rlhf_ppo_options *options)
{
    const rlhf__ppo_models models = {
        .policy = trainer->policy->net,
        .reference = trainer->reference->net,
        .reward = trainer->reward_model ? trainer->reward_model->core : NULL,
        .critic = trainer->critic->core,
        .owns_reference = owns_reference};

    RLHF__TRY(rlhf__training_begin(&trainer->policy->in_training, "policy",
                                   &trainer->holds_policy));
    RLHF__TRY(rlhf__training_begin(&trainer->critic->in_training, "critic",
                                   &trainer->holds_critic));
    RLHF__TRY(rlhf__ppo_trainer_create(&models, options, &trainer->core));
    rlhf__reward_fold_affine(trainer->critic->core); /* its head alone is trained and
                                                        read */
    return RLHF_OK;
}

static rlhf_status create(rlhf_model *policy, rlhf_model *reference,
                          rlhf_reward_model *reward_model, rlhf_reward_model *critic,
                          const rlhf_ppo_options *options, rlhf_ppo_trainer **out_trainer)
{
    rlhf_ppo_trainer *trainer = NULL;
    rlhf_status status;

    RLHF__TRY(
        rlhf__handle_create(policy->handle.context, sizeof *trainer, destroy, &trainer));
    trainer->policy = rlhf__handle_ref(policy);
    trainer->reward_model = rlhf__handle_ref(reward_model);
    status = take_reference(trainer, reference);
    if (status == RLHF_OK)
        status = take_critic(trainer, critic);
    if (status == RLHF_OK)
        status = create_core(trainer, !reference, options);
    if (status != RLHF_OK) {
        rlhf__handle_unref(trainer);
        return status;
    }
    *out_trainer = trainer;
    return RLHF_OK;
}

rlhf_status rlhf_ppo_trainer_create(rlhf_model *policy, rlhf_model *reference,
                                    rlhf_reward_model *reward_model,
                                    rlhf_reward_model *critic,
                                    const rlhf_ppo_options *options,
                                    rlhf_ppo_trainer **out_trainer)
{
    rlhf_ppo_options own;

    RLHF__REQUIRE(out_trainer);
    *out_trainer = NULL;
    RLHF__REQUIRE(policy);
    if (reference)
        RLHF__TRY(rlhf__check_same_context(policy, reference, "policy", "reference"));
    if (reward_model)
        RLHF__TRY(
            rlhf__check_same_context(policy, reward_model, "policy", "reward model"));
    if (critic)
        RLHF__TRY(rlhf__check_same_context(policy, critic, "policy", "critic"));
    RLHF__TRY(rlhf__struct_read(&rlhf__ppo_options_desc, options, &own));
    RLHF__ENTER_AND_RETURN(policy->handle.context, create(policy, reference, reward_model,
                                                          critic, &own, out_trainer));
}

void rlhf_ppo_trainer_free(rlhf_ppo_trainer *trainer)
{
    rlhf__handle_free(trainer);
}

/* --- the rollout in hand ------------------------------------------------------------ */

static void set_active(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout)
{
    rlhf_rollout *old = trainer->active;

    trainer->active = rlhf__handle_ref(rollout);
    rlhf__handle_unref(old);
}

/* After a call that may have begun or ended an update: the trainer keeps its rollout
 * alive. One that failed before it began leaves the rollout in hand. */
static void follow_update(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout,
                          rlhf_status status)
{
    if (trainer->core->rollout == rollout->core)
        set_active(trainer, rollout);
    else if (trainer->active == rollout && status == RLHF_OK)
        set_active(trainer, NULL);
}

static rlhf_status write_stats(const rlhf_ppo_stats *own, rlhf_ppo_stats *out_stats)
{
    return out_stats
               ? rlhf__struct_copy_out(own, sizeof *own, out_stats, "rlhf_ppo_stats")
               : RLHF_OK;
}

/* --- a whole iteration -------------------------------------------------------------- */

/* An empty rollout: the one that the last iteration is done with, or a new one. */
static rlhf_status empty_rollout(rlhf_ppo_trainer *trainer, rlhf_rollout **out_rollout)
{
    *out_rollout = trainer->spare;
    trainer->spare = NULL;
    return *out_rollout ? RLHF_OK
                        : rlhf__rollout_wrap(trainer->handle.context, NULL, out_rollout);
}

/* The iteration's rollout is done with. Where nobody else holds it, the next one takes
 * its memory. */
static void retire_active(rlhf_ppo_trainer *trainer)
{
    rlhf_rollout *old = trainer->active;

    trainer->active = NULL;
    if (old && !trainer->spare && atomic_load(&old->handle.references) == 1) {
        rlhf__rollout_clear(old->core);
        trainer->spare = old;
        return;
    }
    rlhf__handle_unref(old);
}

static rlhf_status sample(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                          const int64_t *cu_seqlens, int64_t num_seqs,
                          rlhf_rollout *rollout)
{
    rlhf__ppo_trainer *core = trainer->core;

    if (core->iteration_started_ns == 0)
        core->iteration_started_ns = rlhf__now_ns();
    RLHF__TRY(rlhf__ppo_generate(core, tokens, cu_seqlens, num_seqs,
                                 core->next_sequence_id, core->options.seed,
                                 rollout->core));
    core->next_sequence_id += num_seqs;
    return RLHF_OK;
}

static bool has_scores(const rlhf__rollout *rollout)
{
    for (int64_t i = 0; i < rollout->num_episodes; i++)
        if (isnan(rollout->episodes[i].score))
            return false;
    return true;
}

/* In the middle of its update, or sampled by the weights that the policy has. */
static bool is_current(const rlhf__ppo_trainer *core, const rlhf__rollout *rollout)
{
    return core->rollout == rollout ||
           (!rollout->in_update && rlhf__ppo_has_sampled(core, rollout));
}

/* Goes on with the rollout in hand if it is current and of these prompts; else samples a
 * new one. */
static rlhf_status prepare_rollout(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                                   const int64_t *cu_seqlens, int64_t num_seqs)
{
    rlhf_rollout *rollout = NULL;

    if (trainer->active && is_current(trainer->core, trainer->active->core) &&
        rlhf__ppo_same_prompts(trainer->active->core, tokens, cu_seqlens, num_seqs))
        return RLHF_OK;
    if (trainer->core->rollout)
        return rlhf__fail(RLHF_ERR_STATE,
                          "the update of another rollout is under way, on other prompts");
    RLHF__TRY(empty_rollout(trainer, &rollout));
    const rlhf_status status = sample(trainer, tokens, cu_seqlens, num_seqs, rollout);
    if (status != RLHF_OK) {
        rlhf__rollout_clear(rollout->core);
        trainer->spare = rollout;
        return status;
    }
    retire_active(trainer);
    trainer->active = rollout;
    return RLHF_OK;
}

static rlhf_status step(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                        const int64_t *cu_seqlens, int64_t num_seqs,
                        rlhf_ppo_stats *out_stats)
{
    rlhf_ppo_stats own;

    RLHF__TRY(rlhf__check_out_struct(out_stats, "rlhf_ppo_stats"));
    if (!trainer->core->reward)
        return rlhf__fail(RLHF_ERR_STATE,
                          "a whole iteration needs a reward model; without "
                          "one call its parts and set the scores");
    RLHF__TRY(rlhf__ppo_check_episodes(trainer->core, num_seqs));
    RLHF__TRY(prepare_rollout(trainer, tokens, cu_seqlens, num_seqs));
    rlhf__rollout *rollout = trainer->active->core;
    if (!trainer->core->rollout) {
        if (!has_scores(rollout))
            RLHF__TRY(rlhf__ppo_score(trainer->core, rollout));
        if (!rollout->has_advantages)
            RLHF__TRY(rlhf__ppo_advantages(trainer->core, rollout));
    }
    RLHF__TRY(rlhf__ppo_update(trainer->core, rollout, &own));
    retire_active(trainer);
    return write_stats(&own, out_stats);
}

rlhf_status rlhf_ppo_trainer_step(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                                  const int64_t *cu_seqlens, int64_t num_seqs,
                                  rlhf_ppo_stats *out_stats)
{
    RLHF__REQUIRE(trainer);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           step(trainer, tokens, cu_seqlens, num_seqs, out_stats));
}

/* --- its parts ---------------------------------------------------------------------- */

/* For the host; kept in hand, so that a state saved before its update holds it. */
static rlhf_status sample_and_keep(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                                   const int64_t *cu_seqlens, int64_t num_seqs,
                                   rlhf_rollout **out_rollout)
{
    rlhf_rollout *rollout = NULL;

    RLHF__TRY(rlhf__rollout_wrap(trainer->handle.context, NULL, &rollout));
    const rlhf_status status = sample(trainer, tokens, cu_seqlens, num_seqs, rollout);
    if (status != RLHF_OK) {
        rlhf__handle_unref(rollout);
        return status;
    }
    if (!trainer->core->rollout)
        set_active(trainer, rollout);
    *out_rollout = rollout;
    return RLHF_OK;
}

rlhf_status rlhf_ppo_trainer_rollout(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                                     const int64_t *cu_seqlens, int64_t num_seqs,
                                     rlhf_rollout **out_rollout)
{
    RLHF__REQUIRE(out_rollout);
    *out_rollout = NULL;
    RLHF__REQUIRE(trainer);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    RLHF__ENTER_AND_RETURN(
        trainer->handle.context,
        sample_and_keep(trainer, tokens, cu_seqlens, num_seqs, out_rollout));
}

rlhf_status rlhf_ppo_trainer_score(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(rollout);
    RLHF__TRY(rlhf__check_same_context(trainer, rollout, "trainer", "rollout"));
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           rlhf__ppo_score(trainer->core, rollout->core));
}

rlhf_status rlhf_ppo_trainer_advantages(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(rollout);
    RLHF__TRY(rlhf__check_same_context(trainer, rollout, "trainer", "rollout"));
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           rlhf__ppo_advantages(trainer->core, rollout->core));
}

static rlhf_status update(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout,
                          rlhf_ppo_stats *out_stats)
{
    rlhf_ppo_stats own;
    rlhf_status status;

    RLHF__TRY(rlhf__check_out_struct(out_stats, "rlhf_ppo_stats"));
    status = rlhf__ppo_update(trainer->core, rollout->core, &own);
    follow_update(trainer, rollout, status);
    return status == RLHF_OK ? write_stats(&own, out_stats) : status;
}

rlhf_status rlhf_ppo_trainer_update(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout,
                                    rlhf_ppo_stats *out_stats)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(rollout);
    RLHF__TRY(rlhf__check_same_context(trainer, rollout, "trainer", "rollout"));
    RLHF__ENTER_AND_RETURN(trainer->handle.context, update(trainer, rollout, out_stats));
}

static rlhf_status accumulate(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout,
                              int64_t *out_remaining)
{
    const rlhf_status status =
        rlhf__ppo_accumulate(trainer->core, rollout->core, out_remaining);

    follow_update(trainer, rollout, status);
    return status;
}

rlhf_status rlhf_ppo_trainer_accumulate(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout,
                                        int64_t *out_remaining)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(rollout);
    RLHF__REQUIRE(out_remaining);
    RLHF__TRY(rlhf__check_same_context(trainer, rollout, "trainer", "rollout"));
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           accumulate(trainer, rollout, out_remaining));
}

static rlhf_status apply(rlhf_ppo_trainer *trainer, int32_t *out_done,
                         rlhf_ppo_stats *out_stats)
{
    rlhf_ppo_stats own;
    bool done = false;

    RLHF__TRY(rlhf__check_out_struct(out_stats, "rlhf_ppo_stats"));
    RLHF__TRY(rlhf__ppo_apply(trainer->core, &done, &own));
    if (done)
        set_active(trainer, NULL);
    *out_done = done;
    return write_stats(&own, out_stats);
}

rlhf_status rlhf_ppo_trainer_apply(rlhf_ppo_trainer *trainer, int32_t *out_done,
                                   rlhf_ppo_stats *out_stats)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(out_done);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, apply(trainer, out_done, out_stats));
}

static rlhf_status gradient(const rlhf__ppo_trainer *core, bool critic, const char *name,
                            float *out_values, int64_t count)
{
    if (core->gathered == 0)
        return rlhf__fail(RLHF_ERR_STATE, "there is no gradient between two steps");
    return rlhf__learner_gradient(critic ? &core->critic_learner : &core->policy_learner,
                                  name, 1.0, out_values, count);
}

rlhf_status rlhf_ppo_trainer_gradient(rlhf_ppo_trainer *trainer, int32_t critic,
                                      const char *name, float *out_values, int64_t count)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(name);
    RLHF__REQUIRE(out_values);
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           gradient(trainer->core, critic != 0, name, out_values, count));
}

static rlhf_status evaluate(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                            const int64_t *cu_seqlens, int64_t num_seqs,
                            rlhf_ppo_stats *out_stats, rlhf_rollout **out_rollout)
{
    rlhf_ppo_stats own;
    rlhf_rollout *rollout = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__check_out_struct(out_stats, "rlhf_ppo_stats"));
    RLHF__TRY(rlhf__rollout_wrap(trainer->handle.context, NULL, &rollout));
    status = rlhf__ppo_evaluate(trainer->core, tokens, cu_seqlens, num_seqs,
                                rollout->core, &own);
    if (status == RLHF_OK)
        status = write_stats(&own, out_stats);
    if (status == RLHF_OK && out_rollout)
        *out_rollout = rlhf__handle_ref(rollout);
    rlhf__handle_unref(rollout);
    return status;
}

rlhf_status rlhf_ppo_trainer_evaluate(rlhf_ppo_trainer *trainer, const int32_t *tokens,
                                      const int64_t *cu_seqlens, int64_t num_seqs,
                                      rlhf_ppo_stats *out_stats,
                                      rlhf_rollout **out_rollout)
{
    if (out_rollout)
        *out_rollout = NULL;
    RLHF__REQUIRE(trainer);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    RLHF__ENTER_AND_RETURN(
        trainer->handle.context,
        evaluate(trainer, tokens, cu_seqlens, num_seqs, out_stats, out_rollout));
}

/* --- knobs -------------------------------------------------------------------------- */

static rlhf_status set_sampler(rlhf_ppo_trainer *trainer, rlhf_sampler *sampler)
{
    rlhf_sampler *old = trainer->sampler;
    rlhf_status status;

    rlhf__handle_ref(sampler); /* the old one's `end` may free the host's */
    status = rlhf__ppo_set_sampler(trainer->core, sampler ? sampler->core : NULL);
    if (status == RLHF_OK)
        trainer->sampler = sampler;
    else
        old = sampler;
    rlhf__handle_unref(old);
    return status;
}

rlhf_status rlhf_ppo_trainer_set_sampler(rlhf_ppo_trainer *trainer, rlhf_sampler *sampler)
{
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, set_sampler(trainer, sampler));
}

static rlhf_status check_not_negative(const char *field, double value)
{
    if (value >= 0.0 && rlhf__is_finite_float(value))
        return RLHF_OK;
    return rlhf__fail_arg(field, "%s must be >= 0 and finite as a float, got %g", field,
                          value);
}

/* As the options have it: 0 trains nothing. */
static rlhf_status check_rate(const rlhf__learner *learner, const char *field,
                              double rate)
{
    RLHF__TRY(check_not_negative(field, rate));
    return rlhf__adamw_check_rate(&learner->adamw.settings, field, rate);
}

static rlhf_status set_rates(rlhf__ppo_trainer *core, double learning_rate,
                             double value_learning_rate)
{
    RLHF__TRY(check_rate(&core->policy_learner, "learning_rate", learning_rate));
    RLHF__TRY(
        check_rate(&core->critic_learner, "value_learning_rate", value_learning_rate));
    core->learning_rate = learning_rate;
    core->value_learning_rate = value_learning_rate;
    return RLHF_OK;
}

rlhf_status rlhf_ppo_trainer_set_learning_rate(rlhf_ppo_trainer *trainer,
                                               double learning_rate,
                                               double value_learning_rate)
{
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           set_rates(trainer->core, learning_rate, value_learning_rate));
}

static rlhf_status set_kl_coef(rlhf__ppo_trainer *core, double kl_coef)
{
    RLHF__TRY(check_not_negative("kl_coef", kl_coef));
    core->kl_coef = kl_coef;
    return RLHF_OK;
}

rlhf_status rlhf_ppo_trainer_set_kl_coef(rlhf_ppo_trainer *trainer, double kl_coef)
{
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, set_kl_coef(trainer->core, kl_coef));
}

static rlhf_status abandon(rlhf_ppo_trainer *trainer)
{
    rlhf__ppo_abandon(trainer->core);
    retire_active(trainer);
    return RLHF_OK;
}

rlhf_status rlhf_ppo_trainer_abandon(rlhf_ppo_trainer *trainer)
{
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, abandon(trainer));
}

int64_t rlhf_ppo_trainer_num_iterations(const rlhf_ppo_trainer *trainer)
{
    return trainer ? trainer->core->iteration : 0;
}

int32_t rlhf_ppo_trainer_is_current(const rlhf_ppo_trainer *trainer,
                                    const rlhf_rollout *rollout)
{
    /* Versions are a context's own. */
    return trainer && rollout && trainer->handle.context == rollout->handle.context &&
           is_current(trainer->core, rollout->core);
}

static rlhf_status clone_critic(rlhf_ppo_trainer *trainer, rlhf_reward_model **out_critic)
{
    rlhf__reward_model *core = NULL;

    RLHF__TRY(rlhf__reward_model_clone(trainer->core->critic, &core));
    return rlhf__reward_model_handle_create(trainer->handle.context, core, NULL,
                                            out_critic);
}

rlhf_status rlhf_ppo_trainer_clone_critic(rlhf_ppo_trainer *trainer,
                                          rlhf_reward_model **out_critic)
{
    RLHF__REQUIRE(out_critic);
    *out_critic = NULL;
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, clone_critic(trainer, out_critic));
}

/* --- saved state -------------------------------------------------------------------- */

static rlhf_status save(rlhf_ppo_trainer *trainer, const char *path)
{
    return rlhf__ppo_save(trainer->core, trainer->active ? trainer->active->core : NULL,
                          path);
}

rlhf_status rlhf_ppo_trainer_save(rlhf_ppo_trainer *trainer, const char *path)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, save(trainer, path));
}

static rlhf_status resume(rlhf_ppo_trainer *trainer, const char *path,
                          rlhf_rollout **out_rollout)
{
    rlhf_rollout *rollout = NULL;
    rlhf_status status;

    /* The handle first: once the state is taken over nothing may fail. */
    RLHF__TRY(rlhf__rollout_wrap(trainer->handle.context, NULL, &rollout));
    bool found = false;
    status = rlhf__ppo_resume(trainer->core, path, rollout->core, &found);
    if (status == RLHF_OK) {
        set_active(trainer, found ? rollout : NULL);
        if (found && out_rollout)
            *out_rollout = rlhf__handle_ref(rollout);
    }
    rlhf__handle_unref(rollout);
    return status;
}

rlhf_status rlhf_ppo_trainer_resume(rlhf_ppo_trainer *trainer, const char *path,
                                    rlhf_rollout **out_rollout)
{
    if (out_rollout)
        *out_rollout = NULL;
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, resume(trainer, path, out_rollout));
}
