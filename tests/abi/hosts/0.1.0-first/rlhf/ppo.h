#ifndef RLHF_PPO_H
#define RLHF_PPO_H

#include <rlhf/generate.h>
#include <rlhf/reward.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_ppo_trainer rlhf_ppo_trainer;

typedef struct rlhf_rollout rlhf_rollout;

typedef enum rlhf_kl_estimator {
    RLHF_KL_K1 = 0,
    RLHF_KL_K2 = 1,
    RLHF_KL_K3 = 2
} rlhf_kl_estimator;

typedef enum rlhf_score_slot {
    RLHF_SCORE_AT_LAST = 0,
    RLHF_SCORE_AFTER_LAST = 1
} rlhf_score_slot;

typedef enum rlhf_missing_eos {
    RLHF_MISSING_EOS_IGNORE = 0,
    RLHF_MISSING_EOS_REPLACE = 1,
    RLHF_MISSING_EOS_SUBTRACT = 2
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
    RLHF_AGGREGATE_STEP_TOKENS = 0,
    RLHF_AGGREGATE_MICRO_MEAN = 1,
    RLHF_AGGREGATE_SEQUENCE = 2,
    RLHF_AGGREGATE_CONSTANT = 3
} rlhf_aggregation;

typedef enum rlhf_score_normalize {
    RLHF_SCORE_RAW = 0,
    RLHF_SCORE_WHITEN = 1,
    RLHF_SCORE_RUNNING = 2
} rlhf_score_normalize;

typedef struct rlhf_ppo_options {
    size_t struct_size;

    double temperature;
    int32_t max_new_tokens;
    int32_t min_new_tokens;
    int32_t stop_token_id;
    int32_t train_past_stop;
    int32_t allow_biased_rollout;
    int32_t rollout_batch;
    uint64_t seed;

    int32_t missing_eos;
    int32_t score_normalize;
    double missing_eos_value;
    double score_clip;
    double length_penalty;

    double kl_coef;
    double kl_target;
    double kl_horizon;
    double kl_clamp;
    double max_rollout_kl;
    int32_t kl_estimator;
    int32_t score_slot;
    int32_t whiten_rewards;
    int32_t whiten_advantages;
    int32_t whiten_variance;
    int32_t whiten_scope;
    double gamma;
    double lam;

    int32_t num_epochs;
    int32_t num_minibatches;
    int32_t micro_batch_tokens;
    int32_t aggregation;
    double clip_range;
    double clip_range_high;
    double dual_clip;
    double log_ratio_clamp;
    double max_mean_ratio;
    double value_clip_range;
    double value_coef;
    double entropy_coef;
    double target_approxkl;
    int32_t critic_warmup;
    int32_t adam_form;

    double learning_rate;
    double final_lr_ratio;
    double max_grad_norm;
    double weight_decay;
    double beta1;
    double beta2;
    double epsilon;
    int64_t warmup_iterations;
    int64_t total_iterations;

    double value_learning_rate;
    double value_final_lr_ratio;
    double value_max_grad_norm;
    int64_t value_warmup_iterations;
    int32_t schedule;
    int32_t value_schedule;
} rlhf_ppo_options;

typedef struct rlhf_ppo_stats {
    size_t struct_size;
    int64_t iteration;
    int64_t num_episodes;
    double score;
    double score_std;
    double kl;
    double kl_coef;
    double entropy;
    double non_score_reward;
    double rlhf_reward;
    double response_length;
    double eos_rate;
    double policy_loss;
    double value_loss;
    double approxkl;
    double clipfrac;
    double value_clipfrac;
    double ratio;
    double first_ratio_deviation;
    double explained_variance;
    double policy_grad_norm;
    double value_grad_norm;
    double learning_rate;
    double value_learning_rate;
    double advantage_mean;
    double advantage_std;
    double return_mean;
    double value_mean;
    int64_t num_steps;
    int64_t num_tokens;
    double tokens_per_second;
    int32_t num_epochs;
    int32_t policy_skipped;
} rlhf_ppo_stats;

typedef struct rlhf_rollout_sequence {
    size_t struct_size;
    int64_t sequence_id;
    const int32_t *tokens;
    const uint8_t *action_mask;
    const float *logprobs;
    const float *ref_logprobs;
    const float *values;
    const float *rewards;
    const float *advantages;
    const float *returns;
    const float *token_scores;
    int64_t num_tokens;
    int64_t num_prompt;
    int64_t num_actions;
    double score;
    double kl;
    int32_t finish;
    int32_t reserved;
} rlhf_rollout_sequence;

typedef struct rlhf_rollout_input {
    size_t struct_size;
    const int32_t *tokens;
    const uint8_t *action_mask;
    const float *logprobs;
    const float *token_scores;
    int64_t num_tokens;
    double score;
    int32_t finish;
    int32_t reserved;
} rlhf_rollout_input;

RLHF_API rlhf_status rlhf_ppo_options_init(rlhf_ppo_options *options, size_t struct_size);

RLHF_API rlhf_status rlhf_ppo_options_preset(rlhf_ppo_options *options,
                                             size_t struct_size, const char *name);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_create(rlhf_model *policy, rlhf_model *reference,
                        rlhf_reward_model *reward_model, rlhf_reward_model *critic,
                        const rlhf_ppo_options *options, rlhf_ppo_trainer **out_trainer);

RLHF_API void rlhf_ppo_trainer_free(rlhf_ppo_trainer *trainer);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_step(rlhf_ppo_trainer *trainer,
                                                           const int32_t *tokens,
                                                           const int64_t *cu_seqlens,
                                                           int64_t num_seqs,
                                                           rlhf_ppo_stats *out_stats);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_rollout(rlhf_ppo_trainer *trainer,
                                                              const int32_t *tokens,
                                                              const int64_t *cu_seqlens,
                                                              int64_t num_seqs,
                                                              rlhf_rollout **out_rollout);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_score(rlhf_ppo_trainer *trainer,
                                                            rlhf_rollout *rollout);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_advantages(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_update(rlhf_ppo_trainer *trainer,
                                                             rlhf_rollout *rollout,
                                                             rlhf_ppo_stats *out_stats);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_accumulate(
    rlhf_ppo_trainer *trainer, rlhf_rollout *rollout, int64_t *out_remaining);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_apply(rlhf_ppo_trainer *trainer,
                                                            int32_t *out_done,
                                                            rlhf_ppo_stats *out_stats);

RLHF_API rlhf_status rlhf_ppo_trainer_gradient(rlhf_ppo_trainer *trainer, int32_t critic,
                                               const char *name, float *out_values,
                                               int64_t count);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_evaluate(
    rlhf_ppo_trainer *trainer, const int32_t *tokens, const int64_t *cu_seqlens,
    int64_t num_seqs, rlhf_ppo_stats *out_stats, rlhf_rollout **out_rollout);

RLHF_API rlhf_status rlhf_ppo_trainer_set_sampler(rlhf_ppo_trainer *trainer,
                                                  rlhf_sampler *sampler);

RLHF_API rlhf_status rlhf_ppo_trainer_set_learning_rate(rlhf_ppo_trainer *trainer,
                                                        double learning_rate,
                                                        double value_learning_rate);

RLHF_API rlhf_status rlhf_ppo_trainer_set_kl_coef(rlhf_ppo_trainer *trainer,
                                                  double kl_coef);

RLHF_API int64_t rlhf_ppo_trainer_num_iterations(const rlhf_ppo_trainer *trainer);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_ppo_trainer_clone_critic(rlhf_ppo_trainer *trainer, rlhf_reward_model **out_critic);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_save(rlhf_ppo_trainer *trainer,
                                                           const char *path);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_ppo_trainer_resume(rlhf_ppo_trainer *trainer,
                                                             const char *path,
                                                             rlhf_rollout **out_rollout);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_rollout_create(rlhf_context *context,
                                                         rlhf_rollout **out_rollout);

RLHF_API void rlhf_rollout_free(rlhf_rollout *rollout);

RLHF_API rlhf_status rlhf_rollout_append(rlhf_rollout *rollout,
                                         const rlhf_rollout_input *input);

RLHF_API int64_t rlhf_rollout_num_sequences(const rlhf_rollout *rollout);

RLHF_API rlhf_status rlhf_rollout_get(const rlhf_rollout *rollout, int64_t index,
                                      rlhf_rollout_sequence *out_sequence);

RLHF_API rlhf_status rlhf_rollout_set_scores(rlhf_rollout *rollout, const float *scores,
                                             int64_t count);

RLHF_API rlhf_status rlhf_rollout_set_token_scores(rlhf_rollout *rollout, int64_t index,
                                                   const float *token_scores,
                                                   int64_t count);

RLHF_API rlhf_status rlhf_rollout_write_jsonl(const rlhf_rollout *rollout,
                                              const rlhf_tokenizer *tokenizer,
                                              const char *path);

#ifdef __cplusplus
}
#endif

#endif
