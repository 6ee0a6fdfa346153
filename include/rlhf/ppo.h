/**
 * @file ppo.h
 * Proximal policy optimisation (Schulman et al. 2017) of a language model against a
 * score, after Ziegler et al. 2019, Stiennon et al. 2020 and Ouyang et al. 2022.
 *
 * One iteration, as a whole (rlhf_ppo_trainer_step) or in its parts:
 *
 *     rollout     answers to the prompts, with the policy's log-probabilities
 *     (scores)    the host's own, or rlhf_ppo_trainer_score by the reward model
 *     advantages  per-token rewards with the KL penalty, values, GAE, whitening
 *     update      epochs of minibatches; one optimizer step each
 */
#ifndef RLHF_PPO_H
#define RLHF_PPO_H

#include <rlhf/generate.h>
#include <rlhf/reward.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_ppo_trainer rlhf_ppo_trainer;
typedef struct rlhf_rollout rlhf_rollout;

/** With Delta = log pi_old - log pi_ref of a token. Schulman 2020, "Approximating KL". */
typedef enum rlhf_kl_estimator {
    RLHF_KL_K1 = 0, /**< Delta */
    RLHF_KL_K2 = 1, /**< Delta^2 / 2 */
    RLHF_KL_K3 = 2  /**< exp(-Delta) - 1 + Delta */
} rlhf_kl_estimator;
typedef enum rlhf_score_slot {
    RLHF_SCORE_AT_LAST = 0,   /**< The last action's slot (EOS where it ended so). */
    RLHF_SCORE_AFTER_LAST = 1 /**< One slot later, with a value and a return of its own,
                                 where there is room below max_new_tokens (TRL). */
} rlhf_score_slot;
typedef enum rlhf_missing_eos {
    RLHF_MISSING_EOS_IGNORE = 0,
    RLHF_MISSING_EOS_REPLACE = 1, /**< The score becomes missing_eos_value. */
    RLHF_MISSING_EOS_SUBTRACT = 2 /**< missing_eos_value is subtracted. */
} rlhf_missing_eos;
typedef enum rlhf_variance {
    RLHF_VARIANCE_BIASED = 0,
    RLHF_VARIANCE_UNBIASED = 1
} rlhf_variance;
typedef enum rlhf_whiten_scope {
    RLHF_WHITEN_ROLLOUT = 0,
    RLHF_WHITEN_MINIBATCH = 1
} rlhf_whiten_scope;
typedef enum rlhf_aggregation {
    RLHF_AGGREGATE_STEP_TOKENS = 0, /**< Sum over tokens / tokens of the optimizer
                                         step. */
    RLHF_AGGREGATE_MICRO_MEAN = 1,  /**< Mean of the micro-batches' token means. */
    RLHF_AGGREGATE_SEQUENCE = 2,    /**< Mean over sequences of their token means. */
    RLHF_AGGREGATE_CONSTANT = 3 /**< Sum over tokens / (sequences * max_new_tokens). */
} rlhf_aggregation;
typedef enum rlhf_score_normalize {
    RLHF_SCORE_RAW = 0,
    RLHF_SCORE_WHITEN = 1, /**< (s - mean) / std over the rollout, biased. */
    RLHF_SCORE_RUNNING = 2 /**< The same by running mean and variance over all
                                rollouts. */
} rlhf_score_normalize;

typedef struct rlhf_ppo_options {
    size_t struct_size; /**< Set by rlhf_ppo_options_init. */
    /* Rollout */
    double temperature;      /**< tau > 0 of sampler, old, new and reference policy. */
    int32_t max_new_tokens;  /**< T, >= 1; prompt + T must fit the context. */
    int32_t min_new_tokens;  /**< EOS masked before, for every policy alike; >= 0. */
    int32_t stop_token_id;   /**< -1: the policy's eos_token_id; -2: none. */
    int32_t train_past_stop; /**< 1: always T tokens, all trained on (Ziegler et al.); the
                                  score reads the truncated text, and lies on the last. */
    int32_t allow_biased_rollout; /**< 1: accept samplers that are not
                                     softmax(logits/tau). */
    int32_t rollout_batch;        /**< Sequences decoded at once, >= 1. */
    uint64_t seed;
    /* Score */
    int32_t missing_eos;     /**< An rlhf_missing_eos. */
    int32_t score_normalize; /**< An rlhf_score_normalize. */
    double missing_eos_value;
    double score_clip;     /**< |score| <= this after normalising; 0: off. */
    double length_penalty; /**< Subtracted from the score for each answer token. */
    /* Reward */
    double kl_coef;        /**< beta >= 0, at the start. */
    double kl_target;      /**< Adaptive KL (Ziegler et al. 2.2), nats a sequence;
                                      0: fixed. */
    double kl_horizon;     /**< Of the adaptive controller, episodes > 0. */
    double kl_clamp;       /**< Each token's estimate to +-this; 0: off. */
    double max_rollout_kl; /**< Mean nats a sequence; a rollout above it leaves the policy
                                as it is (stats.policy_skipped). 0: off. */
    int32_t kl_estimator;  /**< An rlhf_kl_estimator. */
    int32_t score_slot;    /**< An rlhf_score_slot. */
    int32_t whiten_rewards;    /**< 0 or 1: scale to variance 1, mean kept. */
    int32_t whiten_advantages; /**< 0 or 1 */
    int32_t whiten_variance;   /**< An rlhf_variance. */
    int32_t whiten_scope;      /**< An rlhf_whiten_scope. */
    double gamma;              /**< [0, 1] */
    double lam;                /**< lambda of GAE (Schulman et al. 2016), [0, 1] */
    /* Update */
    int32_t num_epochs;         /**< >= 1 */
    int32_t num_minibatches;    /**< Optimizer steps an epoch, >= 1, at most the
                                  sequences. */
    int32_t micro_batch_tokens; /**< >= 1 */
    int32_t aggregation;        /**< An rlhf_aggregation. */
    double clip_range;          /**< epsilon > 0: ratio >= 1 - epsilon. */
    double clip_range_high;     /**< ratio <= 1 + this; 0: clip_range. */
    double dual_clip; /**< c > 1: max(loss, cA) for A < 0 (Ye et al. 2020); 0: off. */
    double log_ratio_clamp;  /**< log ratio to +-this; 0: off. */
    double max_mean_ratio;   /**< A minibatch with a larger mean ratio is skipped; 0:
                                  off. */
    double value_clip_range; /**< epsilon_v; 0: no value clipping. */
    double value_coef;       /**< c_v >= 0: scales the critic's gradient. */
    double entropy_coef;     /**< >= 0 */
    double target_approxkl;  /**< An epoch that ends above it is the last; 0: off. */
    int32_t critic_warmup;   /**< Iterations that train the critic only, >= 0. */
    int32_t adam_form;       /**< An rlhf_adam_form. */
    /* Policy optimizer. Schedules count iterations. */
    double learning_rate;
    double final_lr_ratio;
    double max_grad_norm; /**< 0: off. */
    double weight_decay;
    double beta1;
    double beta2;
    double epsilon;
    int64_t warmup_iterations;
    int64_t total_iterations; /**< >= 1 */
    /* Critic optimizer; beta1, beta2, epsilon, weight_decay are shared. */
    double value_learning_rate;
    double value_final_lr_ratio;
    double value_max_grad_norm;
    int64_t value_warmup_iterations;
    int32_t schedule; /**< An rlhf_schedule. */
    int32_t value_schedule;
} rlhf_ppo_options;

/** One iteration. Output struct. TRL's names in brackets. */
typedef struct rlhf_ppo_stats {
    size_t struct_size;   /**< Set by the caller. */
    int64_t iteration;    /**< Iterations done, this one included. */
    int64_t num_episodes; /**< Sequences so far [episode]. */
    double score; /**< Mean score as given, before any change [objective/scores]. */
    double score_std;
    double kl;               /**< mean_b sum_t Delta, nats a sequence [objective/kl]. */
    double kl_coef;          /**< beta used. */
    double entropy;          /**< Mean over tokens of the policy's [objective/entropy]. */
    double non_score_reward; /**< mean_b sum_t -beta k(t) [objective/non_score_reward]. */
    double rlhf_reward;      /**< score + non_score_reward [objective/rlhf_reward]. */
    double response_length;  /**< Mean tokens. */
    double eos_rate; /**< Share that ended by the stop token [val/num_eos_tokens / n]. */
    double policy_loss;           /**< Mean over minibatches [loss/policy_avg]. */
    double value_loss;            /**< [loss/value_avg] */
    double approxkl;              /**< Mean of (log ratio)^2 / 2 [policy/approxkl_avg]. */
    double clipfrac;              /**< [policy/clipfrac_avg] */
    double value_clipfrac;        /**< [val/clipfrac_avg] */
    double ratio;                 /**< Mean ratio [val/ratio]. */
    double first_ratio_deviation; /**< Largest |ratio - 1| in the first minibatch; exactly
                                     0. */
    double explained_variance; /**< 1 - mean (V - R)^2 / var R, values of the rollout. */
    double policy_grad_norm;   /**< Mean over steps, before clipping. */
    double value_grad_norm;
    double learning_rate; /**< [lr] */
    double value_learning_rate;
    double advantage_mean; /**< Before whitening. */
    double advantage_std;
    double return_mean;
    double value_mean;
    int64_t num_steps;        /**< Optimizer steps of the policy in this iteration. */
    int64_t num_tokens;       /**< Answer tokens. */
    double tokens_per_second; /**< Answer tokens over the iteration's time. */
    int32_t num_epochs;       /**< Begun (fewer when target_approxkl stopped them). */
    int32_t policy_skipped;   /**< 1: critic warm-up, or over max_rollout_kl. */
} rlhf_ppo_stats;

/**
 * One sequence of a rollout. Output struct; pointers are owned by the rollout and valid
 * until its scores are set, it is appended to, or freed. Arrays run over the sequence's
 * tokens; an action is a token that the policy chose (action_mask 1), and per-action
 * figures stand at the action's own place (0 elsewhere).
 */
typedef struct rlhf_rollout_sequence {
    size_t struct_size; /**< Set by the caller. */
    int64_t sequence_id;
    const int32_t *tokens;      /**< [num_tokens] */
    const uint8_t *action_mask; /**< [num_tokens] */
    const float *logprobs;      /**< log pi_old, nats */
    const float *ref_logprobs;  /**< log pi_ref; NULL before they are there. */
    const float *values;        /**< V before the action; NULL before they are there. */
    const float *rewards;       /**< After KL and score; NULL before _advantages. */
    const float *advantages;    /**< As the update uses them; NULL before. */
    const float *returns;       /**< NULL before. */
    const float *token_scores;  /**< NULL unless set. */
    int64_t num_tokens;
    int64_t num_prompt; /**< Tokens before the first action. */
    int64_t num_actions;
    double score;   /**< NaN before it is set. */
    double kl;      /**< sum_t Delta */
    int32_t finish; /**< An rlhf_finish. */
    int32_t reserved;
} rlhf_rollout_sequence;

/** A sequence that the host adds. Input struct, size-versioned. */
typedef struct rlhf_rollout_input {
    size_t struct_size;
    const int32_t *tokens;      /**< [num_tokens] */
    const uint8_t *action_mask; /**< [num_tokens]; token 0 is never an action; >= 1
                                    action. */
    const float *logprobs; /**< [num_tokens] of the policy that sampled, at the actions;
                              NULL: the trainer's policy computes them. */
    const float *token_scores; /**< [num_tokens], at the actions; NULL: none. */
    int64_t num_tokens;
    double score;   /**< NaN: not yet. */
    int32_t finish; /**< An rlhf_finish. */
    int32_t reserved;
} rlhf_rollout_input;

/** The library's defaults: score at the last slot, biased whitening over the rollout,
 *  step-token aggregation, k1 in the reward. @since 0.1 */
RLHF_API rlhf_status rlhf_ppo_options_init(rlhf_ppo_options *options, size_t struct_size);
/**
 * Fills every option as a reference implementation has it (docs/ppo.md lists values and
 * sources): "default", "openai-2019", "instructgpt", "trl", "openrlhf".
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND (another name; the text lists these).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_options_preset(rlhf_ppo_options *options,
                                             size_t struct_size, const char *name);

/**
 * @param policy        Trained in place.
 * @param reference     Frozen; NULL: a copy of the policy as it is now.
 * @param reward_model  Frozen; NULL: the host sets scores.
 * @param critic        Trained in place; NULL: started from the reward model, its scale
 *                      and offset folded into the head; without one, from the policy,
 *                      head 0.
 * @param options       NULL: defaults.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (options; vocabularies or contexts that differ;
 *         one object in two roles); RLHF_ERR_NO_MEMORY; RLHF_ERR_BUSY.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_create(rlhf_model *policy, rlhf_model *reference,
                        rlhf_reward_model *reward_model, rlhf_reward_model *critic,
                        const rlhf_ppo_options *options, rlhf_ppo_trainer **out_trainer);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_ppo_trainer_free(rlhf_ppo_trainer *trainer);

/**
 * A whole iteration on these prompts: rollout, score by the reward model, advantages,
 * update. After RLHF_ERR_CANCELLED the same call with the same prompts goes on where it
 * stopped.
 * @param tokens, cu_seqlens, num_seqs  A ragged batch of prompts.
 * @param out_stats  NULL ok.
 * @return RLHF_OK; RLHF_ERR_STATE (no reward model; another iteration is under way);
 *         RLHF_ERR_INVALID_ARG (a prompt + max_new_tokens over the context, named, before
 *         anything is generated); RLHF_ERR_NUMERIC; RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_step(rlhf_ppo_trainer *trainer,
                                                           const int32_t *tokens,
                                                           const int64_t *cu_seqlens,
                                                           int64_t num_seqs,
                                                           rlhf_ppo_stats *out_stats);
/** Answers to the prompts. The sampler is softmax(logits / temperature) unless one was
 * set.
 *  @param out_rollout  The caller's to free. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_rollout(rlhf_ppo_trainer *trainer,
                                                              const int32_t *tokens,
                                                              const int64_t *cu_seqlens,
                                                              int64_t num_seqs,
                                                              rlhf_rollout **out_rollout);
/** The reward model's scores of a rollout's (truncated) sequences into it. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_score(rlhf_ppo_trainer *trainer,
                                                            rlhf_rollout *rollout);
/** Reference log-probabilities, values, rewards, GAE, whitening. RLHF_ERR_STATE naming
 *  the first sequence without a score. Nothing is changed in the trainer. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_advantages(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout);
/** All optimizer steps on a rollout with advantages, then the KL controller.
 *  @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_update(rlhf_ppo_trainer *trainer,
                                                             rlhf_rollout *rollout,
                                                             rlhf_ppo_stats *out_stats);
/** One minibatch's gradients, of policy and critic, not yet applied; *out_remaining:
 *  minibatches to come in the iteration after this one. The first call begins the
 *  update. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_accumulate(
    rlhf_ppo_trainer *trainer, rlhf_rollout *rollout, int64_t *out_remaining);
/** Applies them. After the last minibatch the iteration is over: *out_done is 1 and the
 *  stats are the iteration's, else of the steps so far. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_apply(rlhf_ppo_trainer *trainer,
                                                            int32_t *out_done,
                                                            rlhf_ppo_stats *out_stats);
/** Between _accumulate and _apply: the policy's (critic 0) or critic's (1) gradient of a
 *  parameter. As rlhf_lm_trainer_gradient. @since 0.1 */
RLHF_API rlhf_status rlhf_ppo_trainer_gradient(rlhf_ppo_trainer *trainer, int32_t critic,
                                               const char *name, float *out_values,
                                               int64_t count);
/** Rollout and scores on held-out prompts, no update, own random stream: score, kl,
 *  entropy, response_length, eos_rate are filled. @param out_rollout  NULL, or the
 *  answers, the caller's to free. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_evaluate(
    rlhf_ppo_trainer *trainer, const int32_t *tokens, const int64_t *cu_seqlens,
    int64_t num_seqs, rlhf_ppo_stats *out_stats, rlhf_rollout **out_rollout);

/** A sampler that declares softmax_temperature == options.temperature; others are
 *  refused (RLHF_ERR_INVALID_ARG) unless allow_biased_rollout. NULL: the default
 *  again. @since 0.1 */
RLHF_API rlhf_status rlhf_ppo_trainer_set_sampler(rlhf_ppo_trainer *trainer,
                                                  rlhf_sampler *sampler);
/** Replaces the schedules' peak rates from the next optimizer step on. @since 0.1 */
RLHF_API rlhf_status rlhf_ppo_trainer_set_learning_rate(rlhf_ppo_trainer *trainer,
                                                        double learning_rate,
                                                        double value_learning_rate);
/** @since 0.1 */
RLHF_API rlhf_status rlhf_ppo_trainer_set_kl_coef(rlhf_ppo_trainer *trainer,
                                                  double kl_coef);
/** Iterations done. @since 0.1 */
RLHF_API int64_t rlhf_ppo_trainer_num_iterations(const rlhf_ppo_trainer *trainer);
/** A copy of the critic as it is now. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_clone_critic(rlhf_ppo_trainer *trainer, rlhf_reward_model **out_critic);
/** Everything, a rollout under way and its place within the iteration among it; as
 *  rlhf_lm_trainer_save. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_save(rlhf_ppo_trainer *trainer,
                                                           const char *path);
/** As rlhf_lm_trainer_resume. @param out_rollout  NULL, or: the rollout whose update
 *  was under way, to be handed to _update or _accumulate (the caller's to free), NULL
 *  if there was none. rlhf_ppo_trainer_step with the same prompts goes on by itself.
 *  @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_resume(rlhf_ppo_trainer *trainer,
                                                             const char *path,
                                                             rlhf_rollout **out_rollout);

/** An empty rollout, for the host's own samples. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_rollout_create(rlhf_context *context,
                                                         rlhf_rollout **out_rollout);
/** NULL ok; a trainer that is in the middle of its update keeps it alive. @since 0.1 */
RLHF_API void rlhf_rollout_free(rlhf_rollout *rollout);
/** Copies a sequence in; what _advantages had computed is forgotten. @since 0.1 */
RLHF_API rlhf_status rlhf_rollout_append(rlhf_rollout *rollout,
                                         const rlhf_rollout_input *input);
/** @since 0.1 */
RLHF_API int64_t rlhf_rollout_num_sequences(const rlhf_rollout *rollout);
/** @since 0.1 */
RLHF_API rlhf_status rlhf_rollout_get(const rlhf_rollout *rollout, int64_t index,
                                      rlhf_rollout_sequence *out_sequence);
/** Scores of all sequences, finite; what _advantages had computed is forgotten.
 *  @param count  The number of sequences exactly. @since 0.1 */
RLHF_API rlhf_status rlhf_rollout_set_scores(rlhf_rollout *rollout, const float *scores,
                                             int64_t count);
/** Rewards of single tokens of one sequence, added to its score's; [num_tokens], at the
 *  actions. A sequence with token scores needs no score. @since 0.1 */
RLHF_API rlhf_status rlhf_rollout_set_token_scores(rlhf_rollout *rollout, int64_t index,
                                                   const float *token_scores,
                                                   int64_t count);
/** Appends one JSON line a sample to a file: `prompt_ids`, `completion_ids`, `prompt`,
 *  `completion` (with a tokenizer), `score`, `kl`, `length`, `finish`. @since 0.1 */
RLHF_API rlhf_status rlhf_rollout_write_jsonl(const rlhf_rollout *rollout,
                                              const rlhf_tokenizer *tokenizer,
                                              const char *path);

#ifdef __cplusplus
}
#endif

#endif
