/**
 * @file reward.h
 * Reward models and their trainer: one float for a prompt and its answer.
 */
#ifndef RLHF_REWARD_H
#define RLHF_REWARD_H

#include <rlhf/dataset.h>
#include <rlhf/lm.h>
#include <rlhf/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_reward_model rlhf_reward_model;
typedef struct rlhf_reward_trainer rlhf_reward_trainer;

typedef enum rlhf_append_eos {
    RLHF_APPEND_EOS_NEVER = 0,
    RLHF_APPEND_EOS_IF_MISSING = 1 /**< Unless the last token is EOS, or there is no EOS
                                      id. */
} rlhf_append_eos;

typedef struct rlhf_reward_model_options {
    size_t struct_size;   /**< Set by rlhf_reward_model_options_init. */
    uint64_t seed;        /**< Of the head, N(0, 1/sqrt(hidden_size + 1)), bias 0. */
    int32_t append_eos;   /**< An rlhf_append_eos: one rule for training, scoring and
                               PPO. */
    int32_t eos_token_id; /**< The token appended; -1: the model's. */
} rlhf_reward_model_options;

/** @since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_options_init(rlhf_reward_model_options *options,
                                                    size_t struct_size);
/** A reward model that starts from a copy of a language model's trunk. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_create(
    const rlhf_model *model, const rlhf_reward_model_options *options,
    rlhf_reward_model **out_reward_model);
/** Reads a Hugging Face folder of a …ForSequenceClassification with one label. @since
 * 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_load(
    rlhf_context *context, const char *path, rlhf_reward_model **out_reward_model);
/** Writes one; its scale is folded into score.weight, its offset is the field
 *  `rlhf_score_offset` of config.json. As rlhf_model_save. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_model_save(rlhf_reward_model *reward_model, const char *path);
/** @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_clone(
    const rlhf_reward_model *reward_model, rlhf_reward_model **out_reward_model);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_reward_model_free(rlhf_reward_model *reward_model);
/**
 * Scores of whole sequences (prompt + answer): scale * head(last token) + offset, with
 * EOS appended by the model's rule.
 * @param out_scores  float32[num_seqs]
 * @return As rlhf_model_logits.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_model_score(rlhf_reward_model *reward_model, const int32_t *tokens,
                        const int64_t *cu_seqlens, int64_t num_seqs, float *out_scores);
/** Sets scale and offset so that the given sequences (the reference's answers) score
 *  mean 0 and, with unit_variance, standard deviation 1 (biased). num_seqs >= 2.
 *  @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_normalize(
    rlhf_reward_model *reward_model, const int32_t *tokens, const int64_t *cu_seqlens,
    int64_t num_seqs, int32_t unit_variance);
/** @since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_get_affine(const rlhf_reward_model *reward_model,
                                                  double *out_scale, double *out_offset);
/** scale may have any sign but not be 0 or non-finite. @since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_set_affine(rlhf_reward_model *reward_model,
                                                  double scale, double offset);
/** As the functions of rlhf_model. @since 0.1 */
RLHF_API rlhf_status rlhf_reward_model_get_config(const rlhf_reward_model *reward_model,
                                                  rlhf_model_config *out_config);
RLHF_API int64_t rlhf_reward_model_num_parameters(const rlhf_reward_model *reward_model);
RLHF_API int64_t
rlhf_reward_model_num_parameter_names(const rlhf_reward_model *reward_model);
RLHF_API rlhf_status rlhf_reward_model_parameter_info(
    const rlhf_reward_model *reward_model, int64_t index, rlhf_parameter_info *out_info);
RLHF_API rlhf_status rlhf_reward_model_parameter_read(rlhf_reward_model *reward_model,
                                                      const char *name, float *out_values,
                                                      int64_t count);
RLHF_API rlhf_status rlhf_reward_model_parameter_write(rlhf_reward_model *reward_model,
                                                       const char *name,
                                                       const float *values,
                                                       int64_t count);

typedef struct rlhf_reward_options {
    size_t struct_size;   /**< Set by rlhf_reward_options_init. */
    double learning_rate; /**< As in rlhf_lm_options, down to warmup_steps. */
    double final_lr_ratio;
    double beta1;
    double beta2;
    double epsilon;
    double weight_decay;
    double max_grad_norm;
    int64_t total_steps;
    int64_t warmup_steps;
    int32_t schedule;
    int32_t adam_form;
    int32_t batch_size; /**< Pairs a step, >= 1. */
    int32_t micro_batch_tokens;
    double center_coefficient; /**< c of c * mean((r+ + r-)^2), >= 0; TRL recommends
                                    0.01. */
    int32_t use_margin;        /**< 0 or 1: -log sigmoid(r+ - r- - margin). */
    int32_t reserved;
} rlhf_reward_options;

/** Output struct; over one step's pairs, or over an evaluation's. */
typedef struct rlhf_reward_stats {
    size_t struct_size; /**< Set by the caller. */
    int64_t step;
    double loss;        /**< TRL: loss */
    double accuracy;    /**< Share with r+ > r-, strictly. TRL: accuracy */
    double margin;      /**< Mean r+ - r-. TRL: margin */
    double mean_reward; /**< TRL: mean_reward; also min_, max_. Raw: scale 1, offset 0. */
    double min_reward;
    double max_reward;
    double grad_norm;
    double learning_rate;
    int64_t num_pairs;
    int64_t num_tokens;
    double tokens_per_second;
} rlhf_reward_stats;

/** @since 0.1 */
RLHF_API rlhf_status rlhf_reward_options_init(rlhf_reward_options *options,
                                              size_t struct_size);
/** Trains on the raw score (scale 1, offset 0 until normalised). @param dataset
 *  RLHF_DATASET_PREFERENCE. The rest as rlhf_lm_trainer. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_trainer_create(
    rlhf_reward_model *reward_model, rlhf_dataset *dataset,
    const rlhf_reward_options *options, rlhf_reward_trainer **out_trainer);
RLHF_API void rlhf_reward_trainer_free(rlhf_reward_trainer *trainer);
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_step(rlhf_reward_trainer *trainer, rlhf_reward_stats *out_stats);
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_accumulate(rlhf_reward_trainer *trainer, int64_t *out_remaining);
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_apply(rlhf_reward_trainer *trainer, rlhf_reward_stats *out_stats);
RLHF_API rlhf_status rlhf_reward_trainer_gradient(rlhf_reward_trainer *trainer,
                                                  const char *name, float *out_values,
                                                  int64_t count);
/** Loss and accuracy over at most max_rows held-out pairs (0: all). @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_evaluate(rlhf_reward_trainer *trainer, rlhf_dataset *dataset,
                             int64_t max_rows, rlhf_reward_stats *out_stats);
RLHF_API rlhf_status rlhf_reward_trainer_set_learning_rate(rlhf_reward_trainer *trainer,
                                                           double learning_rate);
RLHF_API int64_t rlhf_reward_trainer_num_steps(const rlhf_reward_trainer *trainer);
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_save(rlhf_reward_trainer *trainer, const char *path);
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_resume(rlhf_reward_trainer *trainer, const char *path);

#ifdef __cplusplus
}
#endif

#endif
