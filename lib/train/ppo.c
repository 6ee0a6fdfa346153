/* The PPO trainer's life: models checked against each other, learners, the default
 * sampler. */
#include "train/ppo.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "train/ppo_options.h"
#include "train/score.h"

static rlhf_status check_alike(const char *what, const rlhf__transformer *net,
                               const rlhf__transformer *policy)
{
    const rlhf_model_config *a = &net->config, *b = &policy->config;

    if (net->context != policy->context)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the %s belongs to another context than the "
                          "policy",
                          what);
    if (a->vocab_size != b->vocab_size)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the %s has a vocabulary of %" PRId32
                          ", the policy of %" PRId32,
                          what, a->vocab_size, b->vocab_size);
    if (a->context_length < b->context_length)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the %s has a context of %" PRId32 ", the policy of %" PRId32,
                          what, a->context_length, b->context_length);
    return RLHF_OK;
}

static rlhf_status check_models(const rlhf__ppo_models *m)
{
    if (m->reference == m->policy)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "policy and reference are one model");
    if (m->reward == m->critic)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "reward model and critic are one model");
    RLHF__TRY(check_alike("reference", m->reference, m->policy));
    if (m->reward) /* before the critic, which may be a copy of it */
        RLHF__TRY(check_alike("reward model", m->reward->net, m->policy));
    return check_alike("critic", m->critic->net, m->policy);
}

/* -1 becomes the policy's EOS, -2 none; both "none" are -1 from here on. */
static rlhf_status resolve_stop_token(const rlhf__transformer *policy,
                                      rlhf_ppo_options *options)
{
    if (options->stop_token_id == -1)
        options->stop_token_id = policy->config.eos_token_id;
    else if (options->stop_token_id == -2)
        options->stop_token_id = -1;
    if (options->stop_token_id >= policy->config.vocab_size)
        return rlhf__fail_arg("stop_token_id",
                              "stop_token_id must be in the vocabulary of %" PRId32
                              ", got %" PRId32,
                              policy->config.vocab_size, options->stop_token_id);
    return RLHF_OK;
}

static rlhf_status init_learners(rlhf__ppo_trainer *t)
{
    const rlhf_ppo_options *o = &t->options;
    rlhf__learner_settings settings = {o->beta1,        o->beta2,         o->epsilon,
                                       o->weight_decay, o->max_grad_norm, o->adam_form};

    RLHF__TRY(rlhf__learner_init(&t->policy_learner, t->policy, &settings));
    RLHF__TRY(rlhf__adamw_check_rate(&t->policy_learner.adamw.settings, "learning_rate",
                                     o->learning_rate));
    settings.max_grad_norm = o->value_max_grad_norm;
    RLHF__TRY(rlhf__learner_init(&t->critic_learner, t->critic->net, &settings));
    return rlhf__adamw_check_rate(&t->critic_learner.adamw.settings,
                                  "value_learning_rate", o->value_learning_rate);
}

static rlhf_status make_default_sampler(rlhf__ppo_trainer *t)
{
    const rlhf_sampler_options options = {.struct_size = sizeof options,
                                          .temperature = t->options.temperature,
                                          .top_p = 1.0};

    RLHF__TRY(rlhf__sampler_create(&options, &t->default_sampler));
    t->sampler = t->default_sampler;
    return RLHF_OK;
}

rlhf_status rlhf__ppo_trainer_create(const rlhf__ppo_models *models,
                                     const rlhf_ppo_options *options,
                                     rlhf__ppo_trainer **out_trainer)
{
    rlhf__ppo_trainer *t = NULL;
    rlhf_ppo_options own = *options;
    rlhf_status status;

    *out_trainer = NULL;
    RLHF__TRY(rlhf__ppo_options_check(&own));
    RLHF__TRY(check_models(models));
    RLHF__TRY(resolve_stop_token(models->policy, &own));
    RLHF__TRY(
        rlhf__alloc(models->policy->context, 1, sizeof *t, RLHF_MEMORY_GENERAL, &t));
    t->context = models->policy->context;
    t->options = own;
    t->policy = models->policy;
    t->reference = models->reference;
    t->reward = models->reward;
    t->critic = models->critic;
    t->owns_reference = models->owns_reference;
    t->kl_coef = own.kl_coef;
    t->learning_rate = own.learning_rate;
    t->value_learning_rate = own.value_learning_rate;
    if (models->owns_reference) { /* a copy made a moment ago */
        t->twin_policy = t->policy->params.version;
        t->twin_reference = t->reference->params.version;
    }
    status = rlhf__tape_create(t->context, &t->tape);
    if (status == RLHF_OK)
        t->tape->checkpoint = own.gradient_checkpointing != 0;
    if (status == RLHF_OK)
        status = rlhf__arena_create(t->context, RLHF_MEMORY_GENERAL, &t->lists);
    if (status == RLHF_OK)
        status = make_default_sampler(t);
    if (status == RLHF_OK)
        status = init_learners(t);
    if (status != RLHF_OK) {
        rlhf__ppo_trainer_free(t);
        return status;
    }
    *out_trainer = t;
    return RLHF_OK;
}

void rlhf__ppo_abandon(rlhf__ppo_trainer *t)
{
    if (t->rollout)
        t->rollout->in_update = false;
    t->rollout = NULL;
    t->gathered = 0;
    if (t->generator)
        rlhf__generator_clear(t->generator);
    t->generating = false;
    t->iteration_started_ns = 0;
}

void rlhf__ppo_trainer_free(rlhf__ppo_trainer *t)
{
    if (!t)
        return;
    rlhf__ppo_abandon(t);
    rlhf__params_take_back(&t->policy->params);
    rlhf__generator_free(t->generator);
    rlhf__sampler_free(t->default_sampler);
    rlhf__learner_free(&t->policy_learner);
    rlhf__learner_free(&t->critic_learner);
    rlhf__tape_free(t->tape);
    rlhf__arena_free(t->lists);
    rlhf__free(t->order);
    rlhf__free(t->advantages);
    rlhf__free(t);
}

rlhf_status rlhf__ppo_set_sampler(rlhf__ppo_trainer *t, const rlhf__sampler *sampler)
{
    if (!sampler)
        sampler = t->default_sampler;
    if (sampler->softmax_temperature != t->options.temperature &&
        !t->options.allow_biased_rollout)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the sampler must draw from softmax(logits / %g), its declared "
                          "temperature is %g (0: another distribution); "
                          "allow_biased_rollout accepts it",
                          t->options.temperature, sampler->softmax_temperature);
    rlhf__generator_free(t->generator);
    t->generator = NULL;
    t->generating = false;
    t->sampler = sampler;
    return RLHF_OK;
}

rlhf_status rlhf__ppo_make_critic(const rlhf__transformer *policy,
                                  const rlhf__reward_model *reward,
                                  rlhf__reward_model **out_critic)
{
    rlhf__transformer *net = NULL;
    rlhf_status status;

    *out_critic = NULL;
    if (reward) {
        RLHF__TRY(rlhf__reward_model_clone(reward, out_critic));
        rlhf__reward_fold_affine(*out_critic);
        return RLHF_OK;
    }
    RLHF__TRY(rlhf__transformer_to_scalar(policy, 0, true, &net));
    status = rlhf__reward_model_create(net, RLHF_APPEND_EOS_NEVER,
                                       policy->config.eos_token_id, out_critic);
    if (status != RLHF_OK)
        rlhf__transformer_free(net);
    return status;
}
