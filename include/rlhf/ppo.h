/**
 * @file ppo.h
 * Proximal policy optimisation (Schulman et al. 2017) of a language model against a
 * score, after Ziegler et al. 2019, Stiennon et al. 2020 and Ouyang et al. 2022.
 * docs/ppo.md has the mathematics beside the functions that do it, and the presets'
 * values and sources.
 *
 * One iteration, as a whole (rlhf_ppo_trainer_step) or in its parts:
 *
 *     rollout     answers to the prompts, with the policy's log-probabilities
 *     (scores)    the host's own, or rlhf_ppo_trainer_score by the reward model
 *     advantages  per-token rewards with the KL penalty, values, GAE, whitening
 *     update      epochs of minibatches; one optimizer step each
 *
 * A cancelled or failed call leaves the last optimizer boundary; the same call goes on,
 * or rlhf_ppo_trainer_abandon gives the iteration up.
 *
 * @threads As common.h says. Rollouts: their figures (_num_sequences, _get) are read
 *         without waiting, so not while another thread is in a call that changes the
 *         rollout.
 */
#ifndef RLHF_PPO_H
#define RLHF_PPO_H

#include <rlhf/generate.h>
#include <rlhf/reward.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Policy, reference, reward model, critic, optimizers, and where in an iteration they
 * are. */
typedef struct rlhf_ppo_trainer rlhf_ppo_trainer;
/** Sequences, which of their tokens are actions, scores, and what PPO computes from them.
 */
typedef struct rlhf_rollout rlhf_rollout;

/** With Delta = log pi_old - log pi_ref of a token. Schulman 2020, "Approximating KL". */
typedef enum rlhf_kl_estimator {
    RLHF_KL_K1 = 0, /**< Delta */
    RLHF_KL_K2 = 1, /**< Delta^2 / 2 */
    RLHF_KL_K3 = 2  /**< exp(-Delta) - 1 + Delta */
} rlhf_kl_estimator;

/** Where the score enters the rewards. */
typedef enum rlhf_score_slot {
    RLHF_SCORE_AT_LAST = 0,   /**< The last action's slot (EOS where it ended so). */
    RLHF_SCORE_AFTER_LAST = 1 /**< One slot later, with a value and a return of its own,
                                   where there is room below max_new_tokens (TRL). */
} rlhf_score_slot;

/** What an answer that did not end by the stop token does to its score. */
typedef enum rlhf_missing_eos {
    RLHF_MISSING_EOS_IGNORE = 0,  /**< Nothing. */
    RLHF_MISSING_EOS_REPLACE = 1, /**< The score becomes missing_eos_value. */
    RLHF_MISSING_EOS_SUBTRACT = 2 /**< missing_eos_value is subtracted. */
} rlhf_missing_eos;

/** Divisor of whitening's variance. */
typedef enum rlhf_variance {
    RLHF_VARIANCE_BIASED = 0,  /**< n */
    RLHF_VARIANCE_UNBIASED = 1 /**< n - 1 */
} rlhf_variance;

/** The set over which advantages are whitened. */
typedef enum rlhf_whiten_scope {
    RLHF_WHITEN_ROLLOUT = 0,  /**< All actions of the rollout. */
    RLHF_WHITEN_MINIBATCH = 1 /**< The actions of each minibatch. */
} rlhf_whiten_scope;

/** How the losses of tokens become the loss of an optimizer step. */
typedef enum rlhf_aggregation {
    RLHF_AGGREGATE_STEP_TOKENS =
        0,                         /**< Sum over tokens / tokens of the optimizer step. */
    RLHF_AGGREGATE_MICRO_MEAN = 1, /**< Mean of the micro-batches' token means. */
    RLHF_AGGREGATE_SEQUENCE = 2,   /**< Mean over sequences of their token means. */
    RLHF_AGGREGATE_CONSTANT = 3    /**< Sum over tokens / (sequences * max_new_tokens). */
} rlhf_aggregation;

/** What is done to scores before anything else. */
typedef enum rlhf_score_normalize {
    RLHF_SCORE_RAW = 0,    /**< Nothing. */
    RLHF_SCORE_WHITEN = 1, /**< (s - mean) / std over the rollout, biased. */
    RLHF_SCORE_RUNNING =
        2 /**< The same by running mean and variance over all rollouts. */
} rlhf_score_normalize;

/** All switches. docs/ppo.md has each preset's values. Rates, betas, epsilon, decay and
 *  coefficients must be in their ranges as floats too, as in rlhf_lm_options. */
typedef struct rlhf_ppo_options {
    size_t struct_size; /**< Set by rlhf_ppo_options_init. */
    /* Rollout */
    double temperature;      /**< tau > 0 of sampler, old, new and reference policy. */
    int32_t max_new_tokens;  /**< T, >= 1; prompt + T must fit the context. */
    int32_t min_new_tokens;  /**< The stop token is masked before, for every policy
                                  alike; [0, max_new_tokens]. */
    int32_t stop_token_id;   /**< -1: the policy's eos_token_id; -2: none. */
    int32_t train_past_stop; /**< 1: always T tokens, all trained on (Ziegler et al.); the
                                  reward model reads up to the first stop token, and the
                                  score lies on the last token. */
    int32_t
        allow_biased_rollout; /**< 1: accept samplers that are not softmax(logits/tau). */
    int32_t rollout_batch;    /**< Sequences decoded at once, >= 1. */
    uint64_t seed;            /**< Of sampling and of the minibatches' order. */
    /* Score, in this order: normalise, clip, missing EOS, length. */
    int32_t missing_eos;      /**< An rlhf_missing_eos. */
    int32_t score_normalize;  /**< An rlhf_score_normalize. */
    double missing_eos_value; /**< In units of the normalised score. */
    double score_clip;        /**< |score| <= this after normalising; 0: off. */
    double length_penalty;    /**< Subtracted from the score for each answer token. */
    /* Reward */
    double kl_coef;         /**< beta >= 0, at the start. */
    double kl_target;       /**< Adaptive KL (Ziegler et al. 2.2), nats a sequence;
                                    0: fixed. */
    double kl_horizon;      /**< Of the adaptive controller, episodes > 0; with a target
                                    over a fifth of a rollout's, or beta could reach 0. */
    double kl_clamp;        /**< Each token's estimate to +-this; 0: off. */
    double max_rollout_kl;  /**< Mean nats a sequence; a rollout above it leaves the
                                    policy as it is (stats.policy_skipped). 0: off. */
    int32_t kl_estimator;   /**< An rlhf_kl_estimator. */
    int32_t score_slot;     /**< An rlhf_score_slot. */
    int32_t whiten_rewards; /**< 0 or 1: scale to variance 1, mean kept. */
    int32_t whiten_advantages; /**< 0 or 1: mean 0, variance 1. */
    int32_t whiten_variance;   /**< An rlhf_variance, of both. */
    int32_t whiten_scope;      /**< An rlhf_whiten_scope, of advantages. */
    double gamma;              /**< [0, 1] */
    double lam;                /**< lambda of GAE (Schulman et al. 2016), [0, 1] */
    /* Update */
    int32_t num_epochs;         /**< >= 1 */
    int32_t num_minibatches;    /**< Optimizer steps an epoch, >= 1, at most the
                                     sequences. */
    int32_t micro_batch_tokens; /**< Most tokens in one pass, >= 1; a single sequence may
                                     exceed it. */
    int32_t aggregation;        /**< An rlhf_aggregation. */
    double clip_range;          /**< epsilon > 0: ratio >= 1 - epsilon. */
    double clip_range_high;     /**< ratio <= 1 + this; 0: clip_range. */
    double dual_clip;       /**< c > 1: loss <= -cA for A < 0 (Ye et al. 2020); 0: off. */
    double log_ratio_clamp; /**< log ratio to +-this; 0: off. */
    double max_mean_ratio;  /**< A minibatch with a larger mean ratio makes no step; 0:
                                 off. */
    double value_clip_range; /**< epsilon_v; 0: no value clipping. */
    double value_coef;       /**< c_v >= 0: scales the critic's gradient. */
    double entropy_coef;     /**< >= 0 */
    double target_approxkl;  /**< An epoch that ends above it is the last; 0: off. */
    int32_t critic_warmup;   /**< Iterations that train the critic only, >= 0. */
    int32_t adam_form;       /**< An rlhf_adam_form. */
    /* Policy optimizer. Schedules count iterations. */
    double learning_rate;      /**< >= 0 */
    double final_lr_ratio;     /**< [0, 1], of learning_rate at total_iterations. */
    double max_grad_norm;      /**< 0: off. */
    double weight_decay;       /**< >= 0; on matrices only. */
    double beta1;              /**< [0, 1) */
    double beta2;              /**< [0, 1) */
    double epsilon;            /**< > 0 */
    int64_t warmup_iterations; /**< n >= 0: iteration i < n, from 0, has (i + 1) / n of
                                    the rate. */
    int64_t total_iterations;  /**< >= 1 */
    /* Critic optimizer; beta1, beta2, epsilon, weight_decay are shared. */
    double value_learning_rate;      /**< >= 0 */
    double value_final_lr_ratio;     /**< [0, 1] */
    double value_max_grad_norm;      /**< 0: off. */
    int64_t value_warmup_iterations; /**< As warmup_iterations. */
    int32_t schedule;                /**< An rlhf_schedule. */
    int32_t value_schedule;          /**< An rlhf_schedule. */
    /* Memory */
    int32_t gradient_checkpointing; /**< As in rlhf_lm_options, policy and critic. */
    int32_t reserved;               /**< 0 */
} rlhf_ppo_options;

/**
 * One iteration. Output struct. TRL's names in brackets; docs/metrics.md has formulas,
 * and where TRL's figure of that name is another.
 */
typedef struct rlhf_ppo_stats {
    size_t struct_size;      /**< Set by the caller. */
    int64_t iteration;       /**< Iterations done, this one included. */
    int64_t num_episodes;    /**< Sequences so far [episode]. */
    double score;            /**< Mean score as given, before any change
                                  [objective/scores]; NaN without scores. */
    double score_std;        /**< Biased. */
    double kl;               /**< mean_b sum_t Delta, nats a sequence [objective/kl]. */
    double kl_coef;          /**< beta used. */
    double entropy;          /**< Mean over actions of the sampling policy's, nats; NaN
                                  where not known [policy/entropy_avg]. */
    double non_score_reward; /**< mean_b sum_t -beta k(t)
                                  [objective/non_score_reward]. */
    double rlhf_reward;      /**< score + non_score_reward [objective/rlhf_reward]. */
    double response_length;  /**< Mean actions of a sequence. */
    double eos_rate;         /**< Share that ended by the stop token
                                  [val/num_eos_tokens, there a count]. */
    double policy_loss;      /**< Mean over minibatches [loss/policy_avg]. */
    double value_loss;       /**< Mean over minibatches [loss/value_avg]. */
    double approxkl;         /**< Mean of (log ratio)^2 / 2 [policy/approxkl_avg]. */
    double clipfrac;         /**< Share of tokens whose clipped loss is the larger
                                  [policy/clipfrac_avg]. */
    double value_clipfrac;   /**< The same of values [val/clipfrac_avg]. */
    double ratio;            /**< Mean ratio [val/ratio]. */
    double first_ratio_deviation; /**< Largest |ratio - 1| in the first minibatch; exactly
                                     0 where the policy recorded the log-probabilities. */
    double explained_variance;  /**< 1 - mean (V - R)^2 / var R, values of the rollout; 0
                                     where all returns are equal. */
    double policy_grad_norm;    /**< Mean over steps, before clipping. */
    double value_grad_norm;     /**< Mean over steps, before clipping. */
    double learning_rate;       /**< Of the last step [lr]. */
    double value_learning_rate; /**< Of the last step. */
    double advantage_mean;      /**< Before whitening. */
    double advantage_std;       /**< Before whitening; biased. */
    double return_mean;         /**< Over the slots that the critic learns from. */
    double value_mean;          /**< Over the slots that the critic learns from. */
    int64_t num_steps;          /**< Optimizer steps of the policy in this iteration. */
    int64_t num_tokens;         /**< Actions. */
    double tokens_per_second;   /**< Actions over the iteration's time. */
    int32_t num_epochs;         /**< Begun (fewer when target_approxkl stopped them). */
    int32_t policy_skipped;     /**< 1: critic warm-up, or over max_rollout_kl. */
} rlhf_ppo_stats;

/**
 * One sequence of a rollout. Output struct; pointers are owned by the rollout and valid
 * until its scores are set, it is appended to, _advantages is called on it, or it is
 * freed. Arrays run over the sequence's tokens; an action is a token that the policy
 * chose (action_mask 1), and per-action figures stand at the action's own place (0
 * elsewhere).
 */
typedef struct rlhf_rollout_sequence {
    size_t struct_size;         /**< Set by the caller. */
    int64_t sequence_id;        /**< Keys the sampling; of an appended one, its number. */
    const int32_t *tokens;      /**< [num_tokens] */
    const uint8_t *action_mask; /**< [num_tokens] */
    const float *logprobs;      /**< log pi_old, nats; NULL before they are there. */
    const float *ref_logprobs;  /**< log pi_ref; NULL before _advantages. */
    const float *values;        /**< V before the action; NULL before _advantages. */
    const float *rewards;       /**< After KL and score; NULL before _advantages. */
    const float *advantages;    /**< As the update uses them (before whitening by
                                     minibatch); NULL before _advantages. */
    const float *returns;       /**< NULL before _advantages. */
    const float *token_scores;  /**< NULL unless set. */
    int64_t num_tokens;         /**< All. */
    int64_t num_prompt;         /**< Tokens before the first action. */
    int64_t num_actions;        /**< Actions. */
    double score;               /**< NaN before it is set. */
    double kl;                  /**< sum_t Delta; NaN before _advantages or _evaluate. */
    int32_t finish;             /**< An rlhf_finish. */
    int32_t reserved;           /**< 0 */
} rlhf_rollout_sequence;

/** A sequence that the host adds. */
typedef struct rlhf_rollout_input {
    size_t struct_size;         /**< sizeof(rlhf_rollout_input) */
    const int32_t *tokens;      /**< [num_tokens], each >= 0. */
    const uint8_t *action_mask; /**< [num_tokens] of 0 and 1; token 0 is never an action;
                                   at least one is. */
    const float *logprobs;     /**< [num_tokens] of the policy that sampled, finite at the
                                    actions; NULL: _advantages computes the trainer's. */
    const float *token_scores; /**< [num_tokens], finite at the actions; NULL: none. */
    int64_t num_tokens;        /**< >= 2 */
    double score;              /**< Finite as a float; NaN: not yet. */
    int32_t finish;            /**< An rlhf_finish; RLHF_FINISH_STOP counts as ended. */
    int32_t reserved;          /**< 0 */
} rlhf_rollout_input;

/**
 * Fills `options` with the library's defaults, the preset "default": score at the last
 * slot, biased whitening over the rollout, step-token aggregation, k1 in the reward.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_ppo_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_options_init(rlhf_ppo_options *options, size_t struct_size);

/**
 * Fills every option as a reference implementation has it.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_ppo_options).
 * @param name         "default", "openai-2019", "instructgpt", "trl", "openrlhf".
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND (another name; the text lists these);
 *         RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_options_preset(rlhf_ppo_options *options,
                                             size_t struct_size, const char *name);

/**
 * Makes a trainer. All models belong to one context and one vocabulary; the others'
 * contexts are at least as long as the policy's. A policy or critic has at most one
 * trainer.
 *
 * @param policy        Trained in place; kept alive, as all of them.
 * @param reference     Only read; not the policy. rlhf_model_freeze makes it smaller, at
 *                      any time. NULL: a copy of the policy as it is now, frozen so in a
 *                      context of RLHF_DTYPE_BF16.
 * @param reward_model  Only read; rlhf_reward_model_freeze makes it smaller. NULL: the
 *                      host sets scores.
 * @param critic        Trained in place, its scale and offset folded into its head at
 *                      once; not the reward model. NULL: a copy of the reward model,
 *                      folded so; without one, the policy's trunk with head 0.
 * @param options       NULL: defaults.
 * @param out_trainer   The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option; vocabularies or contexts that
 *         differ; one object in two roles); RLHF_ERR_BUSY (policy or critic has a
 *         trainer); RLHF_ERR_STATE (policy or critic is frozen).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_create(rlhf_model *policy, rlhf_model *reference,
                        rlhf_reward_model *reward_model, rlhf_reward_model *critic,
                        const rlhf_ppo_options *options, rlhf_ppo_trainer **out_trainer);

/**
 * Frees a trainer; policy and critic stay as the last step left them. A rollout whose
 * update was under way is the host's again.
 *
 * @param trainer  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_ppo_trainer_free(rlhf_ppo_trainer *trainer);

/**
 * A whole iteration on these prompts: rollout, score by the reward model, advantages,
 * update. After RLHF_ERR_CANCELLED the same call with the same prompts goes on where it
 * stopped. A rollout of rlhf_ppo_trainer_rollout or _resume that is still in hand and of
 * these prompts is taken instead of a new one, unless its update has not begun and the
 * policy's weights have changed since. Several answers to one prompt: give it several
 * times; they share its passes (docs/autograd.md).
 *
 * @param trainer     With a reward model.
 * @param tokens      int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
 * @param cu_seqlens  int64[num_seqs + 1], from 0, ascending.
 * @param num_seqs    Prompts, at least num_minibatches.
 * @param out_stats   Optional. In: struct_size set. Out: the iteration's.
 * @return RLHF_OK; RLHF_ERR_STATE (no reward model; another rollout's update is under
 *         way); RLHF_ERR_INVALID_ARG (a prompt that is empty, or with max_new_tokens
 *         over the context, named, before anything is generated; num_minibatches above
 *         num_seqs; struct_size); RLHF_ERR_NUMERIC; RLHF_ERR_CALLBACK (the sampler);
 *         RLHF_ERR_CANCELLED. The networks stand at the last optimizer step.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_step(rlhf_ppo_trainer *trainer,
                                                           const int32_t *tokens,
                                                           const int64_t *cu_seqlens,
                                                           int64_t num_seqs,
                                                           rlhf_ppo_stats *out_stats);

/**
 * Answers to the prompts. The sampler is softmax(logits / temperature) unless one was
 * set. After RLHF_ERR_CANCELLED the same call goes on, if the policy has not changed.
 *
 * @param trainer      The trainer.
 * @param tokens       As in rlhf_ppo_trainer_step.
 * @param cu_seqlens   As in rlhf_ppo_trainer_step.
 * @param num_seqs     >= 1
 * @param out_rollout  The caller's; without scores. The trainer holds on to it until its
 *                     update is over or another is drawn: rlhf_ppo_trainer_save writes
 *                     it.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (a prompt, named, before anything is generated);
 *         RLHF_ERR_NUMERIC; RLHF_ERR_CALLBACK; RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_rollout(rlhf_ppo_trainer *trainer,
                                                              const int32_t *tokens,
                                                              const int64_t *cu_seqlens,
                                                              int64_t num_seqs,
                                                              rlhf_rollout **out_rollout);

/**
 * Sets a rollout's scores to the reward model's, which reads each sequence up to the
 * first stop token that an action follows directly, or whole: a stop token that ends one
 * of several turns ends nothing.
 *
 * @param trainer  With a reward model.
 * @param rollout  Of the trainer's context; its scores are replaced.
 * @return RLHF_OK; RLHF_ERR_STATE (no reward model; an update is under way);
 *         RLHF_ERR_INVALID_ARG (a token, a length, named); RLHF_ERR_NUMERIC;
 *         RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_score(rlhf_ppo_trainer *trainer,
                                                            rlhf_rollout *rollout);

/**
 * Reference log-probabilities, values, rewards, GAE, whitening; log-probabilities of the
 * policy where none were recorded. Nothing changes in the trainer.
 *
 * @param trainer  The trainer.
 * @param rollout  Of the trainer's context, with a score or token scores for each
 *                 sequence.
 * @return RLHF_OK; RLHF_ERR_STATE (a sequence without a score, named; an update is under
 *         way); RLHF_ERR_INVALID_ARG (an empty rollout; a token, a length, named);
 *         RLHF_ERR_CANCELLED. On failure the rollout has no advantages.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_advantages(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout);

/**
 * All optimizer steps on a rollout, or what is left of them, then the KL controller. On
 * a rollout whose update is over it begins another iteration, with the same samples and
 * the advantages that they had.
 *
 * @param trainer    The trainer.
 * @param rollout    With advantages. While its update is under way it cannot be
 *                   changed, and the trainer keeps it alive.
 * @param out_stats  Optional. In: struct_size set. Out: the iteration's.
 * @return RLHF_OK; RLHF_ERR_STATE (no advantages; the update of another rollout, or by
 *         another trainer, is under way); RLHF_ERR_INVALID_ARG (num_minibatches above
 *         the sequences; struct_size); RLHF_ERR_NUMERIC (a gradient that is not finite;
 *         it is dropped); RLHF_ERR_CANCELLED. The same call goes on from the last
 *         optimizer step.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_update(rlhf_ppo_trainer *trainer,
                                                             rlhf_rollout *rollout,
                                                             rlhf_ppo_stats *out_stats);

/**
 * One micro-batch's gradients, of policy and critic, added to those of the minibatch
 * under way, or of the next one. The first call begins the update.
 *
 * @param trainer        The trainer.
 * @param rollout        As in rlhf_ppo_trainer_update.
 * @param out_remaining  Micro-batches still to come before rlhf_ppo_trainer_apply.
 * @return As rlhf_ppo_trainer_update; RLHF_ERR_STATE also where all of the minibatch's
 *         gradients are there and not applied yet. After another failure call again: the
 *         minibatch starts afresh.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_accumulate(
    rlhf_ppo_trainer *trainer, rlhf_rollout *rollout, int64_t *out_remaining);

/**
 * Applies them: one optimizer step of each network.
 *
 * @param trainer    After rlhf_ppo_trainer_accumulate has left no micro-batch.
 * @param out_done   1 after the iteration's last minibatch, else 0.
 * @param out_stats  Optional. In: struct_size set. Out: the iteration's when it is
 *                   done, else of the steps so far.
 * @return RLHF_OK; RLHF_ERR_STATE (not all gradients); RLHF_ERR_NUMERIC (not finite: no
 *         weight changes, and they are dropped); RLHF_ERR_INVALID_ARG (struct_size).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_apply(rlhf_ppo_trainer *trainer,
                                                            int32_t *out_done,
                                                            rlhf_ppo_stats *out_stats);

/**
 * The gradient of a parameter, of the minibatch's loss, before clipping; the critic's is
 * scaled by value_coef already. Zeros of a policy that this iteration skips.
 *
 * @param trainer     Between _accumulate and _apply.
 * @param critic      0: the policy's; not 0: the critic's.
 * @param name        As in rlhf_parameter_info.
 * @param out_values  float32[rows][cols], row-major, caller-allocated.
 * @param count       rows * cols exactly.
 * @return As rlhf_lm_trainer_gradient.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_trainer_gradient(rlhf_ppo_trainer *trainer, int32_t critic,
                                               const char *name, float *out_values,
                                               int64_t count);

/**
 * Rollout and scores on held-out prompts, no update; from a random stream of its own, the
 * same at every call, so that two calls on the same weights give the same answers.
 *
 * @param trainer      The trainer.
 * @param tokens       As in rlhf_ppo_trainer_step.
 * @param cu_seqlens   As in rlhf_ppo_trainer_step.
 * @param num_seqs     >= 1
 * @param out_stats    Optional. In: struct_size set. Out: iteration, score (NaN without a
 *                     reward model), score_std, kl, kl_coef, entropy, response_length,
 *                     eos_rate and num_tokens; the rest 0.
 * @param out_rollout  Optional: the answers, the caller's.
 * @return As rlhf_ppo_trainer_rollout.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_evaluate(
    rlhf_ppo_trainer *trainer, const int32_t *tokens, const int64_t *cu_seqlens,
    int64_t num_seqs, rlhf_ppo_stats *out_stats, rlhf_rollout **out_rollout);

/**
 * Replaces the sampler; answers under way are given up. It is not saved.
 *
 * @param trainer  The trainer.
 * @param sampler  Kept alive. One that declares softmax_temperature ==
 *                 options.temperature, or any with allow_biased_rollout. NULL: the
 *                 default again.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (another distribution).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_trainer_set_sampler(rlhf_ppo_trainer *trainer,
                                                  rlhf_sampler *sampler);

/**
 * Replaces the schedules' peak rates from the next optimizer step on. Saved.
 *
 * @param trainer              The trainer.
 * @param learning_rate        Of the policy, >= 0, finite; as a float too.
 * @param value_learning_rate  Of the critic, the same.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_trainer_set_learning_rate(rlhf_ppo_trainer *trainer,
                                                        double learning_rate,
                                                        double value_learning_rate);

/**
 * Replaces beta from the next _advantages on. Saved.
 *
 * @param trainer  The trainer.
 * @param kl_coef  >= 0, finite; as a float too.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_trainer_set_kl_coef(rlhf_ppo_trainer *trainer,
                                                  double kl_coef);

/**
 * Gives up the iteration under way: answers that are being drawn, the rollout in hand,
 * its update. Optimizer steps that were taken stay, the iteration does not count, and the
 * next one may be of any prompts: for a host that has better to do than to go on, or
 * whose update fails at every call (RLHF_ERR_NUMERIC). A rollout that the host holds
 * keeps its scores and advantages, and can be changed again, or updated on from the
 * start.
 *
 * @param trainer  With or without an iteration under way.
 * @return RLHF_OK.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_ppo_trainer_abandon(rlhf_ppo_trainer *trainer);

/**
 * Iterations done.
 *
 * @param trainer  NULL gives 0.
 * @return Counted over resumed runs too.
 * @threads Not while another thread is in a call on the trainer; from a callback too.
 * @since 0.1
 */
RLHF_API int64_t rlhf_ppo_trainer_num_iterations(const rlhf_ppo_trainer *trainer);

/**
 * Whether a rollout is current: in the middle of its update by this trainer, or sampled
 * by the weights that the policy has. rlhf_ppo_trainer_step goes on with no other; a host
 * that sets the scores itself asks, as of one that rlhf_ppo_trainer_resume gave back.
 *
 * @param trainer  NULL gives 0.
 * @param rollout  NULL gives 0, as does one of another context, in the middle of another
 *                 trainer's update, or with a sequence that the host appended: which
 *                 weights sampled that is not known.
 * @return 1 or 0.
 * @threads Not while another thread is in a call on the trainer, its policy or the
 *         rollout; from a callback too.
 * @since 0.1
 */
RLHF_API int32_t rlhf_ppo_trainer_is_current(const rlhf_ppo_trainer *trainer,
                                             const rlhf_rollout *rollout);

/**
 * A copy of the critic as it is now; scale 1, offset 0.
 *
 * @param trainer     The trainer.
 * @param out_critic  The caller's.
 * @return RLHF_OK; RLHF_ERR_NO_MEMORY.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_clone_critic(rlhf_ppo_trainer *trainer, rlhf_reward_model **out_critic);

/**
 * As rlhf_lm_trainer_save: both networks, their moments, beta, rates, running score
 * figures, a reference that the trainer made itself (in a context of RLHF_DTYPE_BF16 its
 * rounded weights), and the rollout under way with its place in the iteration. A given
 * reference and the reward model are the host's to keep.
 *
 * @param trainer  At any place, as in rlhf_lm_trainer_save.
 * @param path     As in rlhf_lm_trainer_save.
 * @return As rlhf_lm_trainer_save.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_save(rlhf_ppo_trainer *trainer,
                                                           const char *path);

/**
 * As rlhf_lm_trainer_resume. rlhf_ppo_trainer_step with the same prompts goes on by
 * itself. Of an update that was under way num_epochs and num_minibatches have to leave
 * room for its place.
 *
 * @param trainer      Any; an update under way is given up.
 * @param path         The folder.
 * @param out_rollout  Optional: the rollout in hand, whose update was under way or had
 *                     not begun, with its scores and advantages as they were; the
 *                     caller's. NULL if there was none.
 * @return As rlhf_lm_trainer_resume; RLHF_ERR_INVALID_ARG (num_epochs or num_minibatches
 *         too small for the saved update, or more minibatches than its sequences,
 *         named).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_resume(rlhf_ppo_trainer *trainer,
                                                             const char *path,
                                                             rlhf_rollout **out_rollout);

/**
 * An empty rollout, for the host's own samples.
 *
 * @param context      The trainer's.
 * @param out_rollout  The caller's.
 * @return RLHF_OK; RLHF_ERR_NO_MEMORY.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_rollout_create(rlhf_context *context,
                                                         rlhf_rollout **out_rollout);

/**
 * Gives the caller's hold back; a trainer in the middle of its update keeps it alive.
 *
 * @param rollout  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_rollout_free(rlhf_rollout *rollout);

/**
 * Copies a sequence in; what _advantages had computed is forgotten.
 *
 * @param rollout  Not in the middle of an update.
 * @param input    Copied.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (a field, named); RLHF_ERR_STATE (an update is
 *         under way).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_rollout_append(rlhf_rollout *rollout,
                                         const rlhf_rollout_input *input);

/**
 * Sequences of a rollout.
 *
 * @param rollout  NULL gives 0.
 * @return 0 of an empty one.
 * @since 0.1
 */
RLHF_API int64_t rlhf_rollout_num_sequences(const rlhf_rollout *rollout);

/**
 * A sequence of a rollout.
 *
 * @param rollout       The rollout.
 * @param index         [0, rlhf_rollout_num_sequences), in the order of prompts or
 *                      _append.
 * @param out_sequence  In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_rollout_get(const rlhf_rollout *rollout, int64_t index,
                                      rlhf_rollout_sequence *out_sequence);

/**
 * Sets the scores of all sequences; what _advantages had computed is forgotten.
 *
 * @param rollout  Not in the middle of an update.
 * @param scores   float32[count], finite.
 * @param count    The number of sequences exactly.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_STATE (an update is under way).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_rollout_set_scores(rlhf_rollout *rollout, const float *scores,
                                             int64_t count);

/**
 * Sets rewards of single tokens of one sequence, added to its score's; what _advantages
 * had computed is forgotten. A sequence with token scores needs no score.
 *
 * @param rollout       Not in the middle of an update.
 * @param index         [0, rlhf_rollout_num_sequences).
 * @param token_scores  float32[count]; those at the actions count, and must be finite.
 * @param count         The sequence's num_tokens exactly.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_STATE (an update is under way).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_rollout_set_token_scores(rlhf_rollout *rollout, int64_t index,
                                                   const float *token_scores,
                                                   int64_t count);

/**
 * Appends one JSON line a sequence to a file: `prompt_ids`, `completion_ids`, `prompt`
 * and `completion` (with a tokenizer), `score`, `kl` (null where not there yet), `length`
 * (actions), `finish` ("none", "stop", "length", "context", "callback").
 *
 * @param rollout    Unchanged.
 * @param tokenizer  NULL: ids only.
 * @param path       Made if it is not there; its folder must be.
 * @return RLHF_OK; RLHF_ERR_IO (also where the path is there and not a regular file),
 *         RLHF_ERR_NOT_FOUND (the folder); RLHF_ERR_INVALID_ARG (an empty path; an id of
 *         a prompt that the tokenizer lacks; one of an answer has no text). On failure
 *         the file is as it was.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_rollout_write_jsonl(const rlhf_rollout *rollout,
                                              const rlhf_tokenizer *tokenizer,
                                              const char *path);

#ifdef __cplusplus
}
#endif

#endif
