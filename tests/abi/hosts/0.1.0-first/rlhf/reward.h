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
    RLHF_APPEND_EOS_IF_MISSING = 1
} rlhf_append_eos;

typedef struct rlhf_reward_model_options {
    size_t struct_size;
    uint64_t seed;
    int32_t append_eos;
    int32_t eos_token_id;
} rlhf_reward_model_options;

RLHF_API rlhf_status rlhf_reward_model_options_init(rlhf_reward_model_options *options,
                                                    size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_create(
    const rlhf_model *model, const rlhf_reward_model_options *options,
    rlhf_reward_model **out_reward_model);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_load(
    rlhf_context *context, const char *path, rlhf_reward_model **out_reward_model);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_model_save(rlhf_reward_model *reward_model, const char *path);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_clone(
    const rlhf_reward_model *reward_model, rlhf_reward_model **out_reward_model);

RLHF_API void rlhf_reward_model_free(rlhf_reward_model *reward_model);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_model_score(rlhf_reward_model *reward_model, const int32_t *tokens,
                        const int64_t *cu_seqlens, int64_t num_seqs, float *out_scores);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_normalize(
    rlhf_reward_model *reward_model, const int32_t *tokens, const int64_t *cu_seqlens,
    int64_t num_seqs, int32_t unit_variance);

RLHF_API rlhf_status rlhf_reward_model_get_affine(const rlhf_reward_model *reward_model,
                                                  double *out_scale, double *out_offset);

RLHF_API rlhf_status rlhf_reward_model_set_affine(rlhf_reward_model *reward_model,
                                                  double scale, double offset);

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
    size_t struct_size;
    double learning_rate;
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
    int32_t batch_size;
    int32_t micro_batch_tokens;
    double center_coefficient;
    int32_t use_margin;
    int32_t reserved;
} rlhf_reward_options;

typedef struct rlhf_reward_stats {
    size_t struct_size;
    int64_t step;
    double loss;
    double accuracy;
    double margin;
    double mean_reward;
    double min_reward;
    double max_reward;
    double grad_norm;
    double learning_rate;
    int64_t num_pairs;
    int64_t num_tokens;
    double tokens_per_second;
} rlhf_reward_stats;

RLHF_API rlhf_status rlhf_reward_options_init(rlhf_reward_options *options,
                                              size_t struct_size);

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
