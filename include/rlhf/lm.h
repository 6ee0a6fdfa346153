/**
 * @file lm.h
 * Pretraining and supervised fine-tuning: next-token loss.
 *
 * A trainer is stepped, never run. Between two calls the host may look at anything,
 * change the learning rate, save, or stop. A cancelled or failed call leaves the last
 * optimizer boundary; the same call goes on from it, with the same rows.
 */
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
    RLHF_SCHEDULE_LINEAR = 1, /**< From lr to lr * final_lr_ratio at total_steps. */
    RLHF_SCHEDULE_COSINE = 2
} rlhf_schedule;

typedef enum rlhf_adam_form {
    RLHF_ADAM_TORCH = 0, /**< eps outside the bias correction */
    RLHF_ADAM_TF = 1     /**< TensorFlow 1's: eps before it */
} rlhf_adam_form;

typedef struct rlhf_lm_options {
    size_t struct_size;         /**< Set by rlhf_lm_options_init. */
    double learning_rate;       /**< > 0, at the end of warm-up. */
    double final_lr_ratio;      /**< [0, 1], of learning_rate at total_steps. */
    double beta1;               /**< [0, 1) */
    double beta2;               /**< [0, 1) */
    double epsilon;             /**< > 0 */
    double weight_decay;        /**< >= 0; on matrices only. */
    double max_grad_norm;       /**< Global-norm clipping; 0: off. */
    int64_t total_steps;        /**< Of the schedule, >= 1. */
    int64_t warmup_steps;       /**< Linear from 0, >= 0. */
    int32_t schedule;           /**< An rlhf_schedule. */
    int32_t adam_form;          /**< An rlhf_adam_form. */
    int32_t batch_size;         /**< Rows a step, >= 1. */
    int32_t micro_batch_tokens; /**< Most tokens at once (a single row may exceed it),
                                   >= 1. */
} rlhf_lm_options;

/** One optimizer step. Output struct. */
typedef struct rlhf_lm_stats {
    size_t struct_size;   /**< Set by the caller. */
    int64_t step;         /**< Steps done, this one included. */
    double loss;          /**< Mean over the step's targets, nats. TRL: loss */
    double grad_norm;     /**< Before clipping. TRL: grad_norm */
    double learning_rate; /**< Of this step. */
    int64_t num_targets;  /**< Tokens that carried loss. */
    int64_t num_tokens;   /**< Tokens that went through the model. */
    double tokens_per_second;
} rlhf_lm_stats;

/** @since 0.1 */
RLHF_API rlhf_status rlhf_lm_options_init(rlhf_lm_options *options, size_t struct_size);
/**
 * @param model    Trained in place.
 * @param dataset  RLHF_DATASET_TEXT or RLHF_DATASET_COMPLETION.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_NO_MEMORY; RLHF_ERR_BUSY (another
 *         trainer trains the model).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_lm_trainer_create(rlhf_model *model, rlhf_dataset *dataset,
                       const rlhf_lm_options *options, rlhf_lm_trainer **out_trainer);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_lm_trainer_free(rlhf_lm_trainer *trainer);
/** A whole optimizer step: rlhf_lm_trainer_accumulate until done, then _apply.
 *  RLHF_ERR_NOT_FOUND when the dataset has ended; RLHF_ERR_NUMERIC (the weights are as
 *  before the step). @param out_stats NULL ok. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_step(rlhf_lm_trainer *trainer,
                                                          rlhf_lm_stats *out_stats);
/** One micro-batch of the step under way (or of a new one). *out_remaining: micro-batches
 *  still to come before rlhf_lm_trainer_apply. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_accumulate(rlhf_lm_trainer *trainer,
                                                                int64_t *out_remaining);
/** Updates the weights. RLHF_ERR_STATE before all micro-batches are there. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_apply(rlhf_lm_trainer *trainer,
                                                           rlhf_lm_stats *out_stats);
/** The accumulated gradient of a parameter (of the step's mean loss, before clipping),
 *  between _accumulate and _apply; as rlhf_model_parameter_read. RLHF_ERR_STATE when
 *  there is none.
 *  @since 0.1 */
RLHF_API rlhf_status rlhf_lm_trainer_gradient(rlhf_lm_trainer *trainer, const char *name,
                                              float *out_values, int64_t count);
/** Mean loss per target over at most max_rows rows (0: all) of a finite dataset. @since
 * 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_evaluate(rlhf_lm_trainer *trainer,
                                                              rlhf_dataset *dataset,
                                                              int64_t max_rows,
                                                              double *out_loss);
/** Replaces the schedule's peak rate from the next step on. @since 0.1 */
RLHF_API rlhf_status rlhf_lm_trainer_set_learning_rate(rlhf_lm_trainer *trainer,
                                                       double learning_rate);
/** Steps done. @since 0.1 */
RLHF_API int64_t rlhf_lm_trainer_num_steps(const rlhf_lm_trainer *trainer);
/** Everything that the rest of the run depends on, into one folder, whole or not at all.
 *  RLHF_ERR_STATE between _accumulate and _apply. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_save(rlhf_lm_trainer *trainer,
                                                          const char *path);
/** Goes on where _save was: the model, options and dataset given to _create must be those
 *  of the saved run (the weights are replaced). RLHF_ERR_FORMAT, RLHF_ERR_UNSUPPORTED
 *  (written by a newer version), RLHF_ERR_INVALID_ARG (another model). On failure nothing
 *  changed.
 *  @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_resume(rlhf_lm_trainer *trainer,
                                                            const char *path);

#ifdef __cplusplus
}
#endif

#endif
