#ifndef RLHF_LM_H
#define RLHF_LM_H

#include <rlhf/dataset.h>
#include <rlhf/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_lm_trainer rlhf_lm_trainer;

typedef enum rlhf_schedule {
    RLHF_SCHEDULE_CONSTANT = 0,
    RLHF_SCHEDULE_LINEAR = 1,
    RLHF_SCHEDULE_COSINE = 2
} rlhf_schedule;

typedef enum rlhf_adam_form { RLHF_ADAM_TORCH = 0, RLHF_ADAM_TF = 1 } rlhf_adam_form;

typedef struct rlhf_lm_options {
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
} rlhf_lm_options;

typedef struct rlhf_lm_stats {
    size_t struct_size;
    int64_t step;
    double loss;
    double grad_norm;
    double learning_rate;
    int64_t num_targets;
    int64_t num_tokens;
    double tokens_per_second;
} rlhf_lm_stats;

RLHF_API rlhf_status rlhf_lm_options_init(rlhf_lm_options *options, size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_lm_trainer_create(rlhf_model *model, rlhf_dataset *dataset,
                       const rlhf_lm_options *options, rlhf_lm_trainer **out_trainer);

RLHF_API void rlhf_lm_trainer_free(rlhf_lm_trainer *trainer);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_step(rlhf_lm_trainer *trainer,
                                                          rlhf_lm_stats *out_stats);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_accumulate(rlhf_lm_trainer *trainer,
                                                                int64_t *out_remaining);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_apply(rlhf_lm_trainer *trainer,
                                                           rlhf_lm_stats *out_stats);

RLHF_API rlhf_status rlhf_lm_trainer_gradient(rlhf_lm_trainer *trainer, const char *name,
                                              float *out_values, int64_t count);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_evaluate(rlhf_lm_trainer *trainer,
                                                              rlhf_dataset *dataset,
                                                              int64_t max_rows,
                                                              double *out_loss);

RLHF_API rlhf_status rlhf_lm_trainer_set_learning_rate(rlhf_lm_trainer *trainer,
                                                       double learning_rate);

RLHF_API int64_t rlhf_lm_trainer_num_steps(const rlhf_lm_trainer *trainer);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_save(rlhf_lm_trainer *trainer,
                                                          const char *path);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_resume(rlhf_lm_trainer *trainer,
                                                            const char *path);

#ifdef __cplusplus
}
#endif

#endif
