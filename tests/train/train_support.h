/* For tests of the trainers: a PPO trainer whose every input the test sets, and rollouts
 * of the test's own samples, so that the expected figures can be worked out by hand. */
#ifndef TESTS_TRAIN_SUPPORT_H
#define TESTS_TRAIN_SUPPORT_H

#include <math.h>

#include "tiny.h"

enum { BOS = 0, EOS = 1, WORDS = 12, CONTEXT = 24, MOST_TOKENS = 16 };

static inline void assert_near(const char *what, double actual, double expected,
                               double tolerance)
{
    if (!(fabs(actual - expected) <= tolerance))
        fail_msg("%s is %.9g, expected %.9g", what, actual, expected);
}

static inline rlhf_reward_model *tiny_reward_model(rlhf_context *context, uint64_t seed,
                                                   int32_t append_eos)
{
    rlhf_model *model = tiny_model(context, WORDS, CONTEXT, seed);
    rlhf_reward_model_options options;
    rlhf_reward_model *reward;

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.seed = seed;
    options.append_eos = append_eos;
    assert_ok(rlhf_reward_model_create(model, &options, &reward));
    rlhf_model_free(model);
    return reward;
}

/* Nothing but the plain algorithm: every switch off, one step of one minibatch. */
static inline rlhf_ppo_options plain_options(void)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    o.max_new_tokens = 8;
    o.kl_coef = 0;
    o.gamma = o.lam = 1;
    o.whiten_advantages = 0;
    o.num_epochs = o.num_minibatches = 1;
    o.value_clip_range = 0;
    o.value_coef = 1;
    o.max_grad_norm = o.value_max_grad_norm = 0;
    o.seed = 5;
    return o;
}

/* A trainer and its networks. `critic` 0: with a zero head, so that V is 0; else its
 * seed. */
typedef struct ppo_fixture {
    rlhf_context *context;
    rlhf_model *policy, *reference;
    rlhf_reward_model *critic;
    rlhf_ppo_trainer *trainer;
} ppo_fixture;

static inline ppo_fixture ppo_make(const rlhf_ppo_options *options, uint64_t critic)
{
    ppo_fixture f = {.context = support_context(NULL, 1)};

    f.policy = tiny_model(f.context, WORDS, CONTEXT, 1);
    f.reference = tiny_model(f.context, WORDS, CONTEXT, 2);
    if (critic)
        f.critic = tiny_reward_model(f.context, critic, RLHF_APPEND_EOS_NEVER);
    assert_ok(rlhf_ppo_trainer_create(f.policy, f.reference, NULL, f.critic, options,
                                      &f.trainer));
    return f;
}

static inline void ppo_free(ppo_fixture *f)
{
    rlhf_ppo_trainer_free(f->trainer);
    rlhf_reward_model_free(f->critic);
    rlhf_model_free(f->reference);
    rlhf_model_free(f->policy);
    rlhf_context_free(f->context);
}

/* A sample of the test's own: tokens from the first to the last action are actions.
 * Figures run over the actions; NULL: none. */
typedef struct sample {
    int32_t tokens[MOST_TOKENS];
    int64_t num_tokens, first, last;
    float token_scores[MOST_TOKENS];
    double log_ratio[MOST_TOKENS]; /* log pi - log pi_old of each action */
    double delta[MOST_TOKENS];     /* log pi_old - log pi_ref of each action */
    double score;
    int32_t finish;
} sample;

static inline double logprob_at(rlhf_model *model, const sample *s, int64_t t)
{
    const int64_t cu_seqlens[2] = {0, s->num_tokens};
    float logprobs[MOST_TOKENS];

    assert_ok(rlhf_model_logprobs(model, s->tokens, cu_seqlens, 1, 1.0, logprobs));
    return (double)logprobs[t];
}

enum { OLD_OF_POLICY, OLD_OF_RATIO, OLD_OF_DELTA };

/* Adds a sample. Old log-probs: left to the trainer's policy, or such that the ratio of
 * the policy as it is now, or Delta to the reference, is the sample's. */
static inline void add_sample(const ppo_fixture *f, rlhf_rollout *rollout,
                              const sample *s, int old, int has_token_scores)
{
    uint8_t mask[MOST_TOKENS] = {0};
    float logprobs[MOST_TOKENS] = {0}, scores[MOST_TOKENS] = {0};

    for (int64_t t = s->first, i = 0; t <= s->last; t++, i++) {
        mask[t] = 1;
        scores[t] = s->token_scores[i];
        if (old == OLD_OF_RATIO)
            logprobs[t] = (float)(logprob_at(f->policy, s, t) - s->log_ratio[i]);
        else if (old == OLD_OF_DELTA)
            logprobs[t] = (float)(logprob_at(f->reference, s, t) + s->delta[i]);
    }
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = s->tokens,
                                      .action_mask = mask,
                                      .logprobs = old == OLD_OF_POLICY ? NULL : logprobs,
                                      .token_scores = has_token_scores ? scores : NULL,
                                      .num_tokens = s->num_tokens,
                                      .score = s->score,
                                      .finish = s->finish};
    assert_ok(rlhf_rollout_append(rollout, &input));
}

static inline rlhf_rollout *make_rollout(const ppo_fixture *f, const sample *samples,
                                         int64_t count, int old, int has_token_scores)
{
    rlhf_rollout *rollout;

    assert_ok(rlhf_rollout_create(f->context, &rollout));
    for (int64_t i = 0; i < count; i++)
        add_sample(f, rollout, &samples[i], old, has_token_scores);
    return rollout;
}

static inline rlhf_rollout_sequence sequence_of(const rlhf_rollout *rollout,
                                                int64_t index)
{
    rlhf_rollout_sequence s = {.struct_size = sizeof s};

    assert_ok(rlhf_rollout_get(rollout, index, &s));
    return s;
}

/* Advantages and update; the rollout is freed. */
static inline rlhf_ppo_stats train_on(ppo_fixture *f, rlhf_rollout *rollout)
{
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};

    assert_ok(rlhf_ppo_trainer_advantages(f->trainer, rollout));
    assert_ok(rlhf_ppo_trainer_update(f->trainer, rollout, &stats));
    rlhf_rollout_free(rollout);
    return stats;
}

#endif
