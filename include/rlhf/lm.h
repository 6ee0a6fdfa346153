/**
 * @file lm.h
 * Pretraining and supervised fine-tuning: next-token loss. docs/lm.md has the
 * mathematics, docs/optimizer.md that of the steps.
 *
 * A trainer is stepped, never run. Between two calls the host may look at anything,
 * change the learning rate, save, or stop. A cancelled or failed call leaves the last
 * optimizer boundary: the same call begins the step again, with the same rows. A row that
 * is refused (too long, an id beyond the vocabulary) is named and left out of them.
 *
 * @threads As common.h says.
 */
#ifndef RLHF_LM_H
#define RLHF_LM_H

#include <rlhf/dataset.h>
#include <rlhf/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A model, a dataset, an optimizer, and the step that they are at. */
typedef struct rlhf_lm_trainer rlhf_lm_trainer;

/** Learning rate after warm-up, from learning_rate to learning_rate * final_lr_ratio. */
typedef enum rlhf_schedule {
    RLHF_SCHEDULE_CONSTANT = 0, /**< learning_rate. */
    RLHF_SCHEDULE_LINEAR = 1, /**< A line, down to the ratio at total_steps, then flat. */
    RLHF_SCHEDULE_COSINE = 2  /**< Half a cosine, the same. */
} rlhf_schedule;

/** Where Adam's epsilon stands. */
typedef enum rlhf_adam_form {
    RLHF_ADAM_TORCH = 0, /**< Outside of the bias correction. */
    RLHF_ADAM_TF = 1     /**< TensorFlow 1's: before it. */
} rlhf_adam_form;

/** Optimizer and batch. Rates, betas, epsilon and decay are computed with as floats: what
 *  is left of them as floats must be in their ranges too, and learning_rate / (1 - beta1)
 *  and learning_rate * weight_decay finite. */
typedef struct rlhf_lm_options {
    size_t struct_size;             /**< Set by rlhf_lm_options_init. */
    double learning_rate;           /**< > 0, at the end of warm-up. */
    double final_lr_ratio;          /**< [0, 1], of learning_rate at total_steps. */
    double beta1;                   /**< [0, 1) */
    double beta2;                   /**< [0, 1) */
    double epsilon;                 /**< > 0 */
    double weight_decay;            /**< >= 0; on matrices only. */
    double max_grad_norm;           /**< Global-norm clipping; 0: off. */
    int64_t total_steps;            /**< Of the schedule, >= 1. */
    int64_t warmup_steps;           /**< Linear from 0, >= 0. */
    int32_t schedule;               /**< An rlhf_schedule. */
    int32_t adam_form;              /**< An rlhf_adam_form. */
    int32_t batch_size;             /**< Rows a step, >= 1. */
    int32_t micro_batch_tokens;     /**< Most tokens at once (a single row may exceed it),
                                   >= 1. */
    int32_t gradient_checkpointing; /**< 0 or 1: each block keeps its input alone and is
                                       computed again in the backward pass, to the same
                                       bits: less memory, a third more time. */
    int32_t reserved;               /**< 0 */
} rlhf_lm_options;

/** One optimizer step. Output struct. */
typedef struct rlhf_lm_stats {
    size_t struct_size;       /**< Set by the caller. */
    int64_t step;             /**< Steps done, this one included. */
    double loss;              /**< Mean over the step's targets, nats. TRL: loss */
    double grad_norm;         /**< Before clipping. TRL: grad_norm */
    double learning_rate;     /**< Of this step. TRL: learning_rate */
    int64_t num_targets;      /**< Tokens that carried loss. */
    int64_t num_tokens;       /**< Tokens of the step's rows. */
    double tokens_per_second; /**< num_tokens over the step's time. */
} rlhf_lm_stats;

/**
 * Fills `options` with defaults; docs/options.md lists them.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_lm_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_lm_options_init(rlhf_lm_options *options, size_t struct_size);

/**
 * Makes a trainer. A model has at most one.
 *
 * @param model        Trained in place; kept alive.
 * @param dataset      Of the same context, RLHF_DATASET_TEXT or
 *                     RLHF_DATASET_COMPLETION; kept alive, drawn from. A row may have
 *                     context_length + 1 tokens: its last is predicted, never read.
 * @param options      NULL: defaults.
 * @param out_trainer  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named; the dataset's kind; of a
 *         dataset in memory the longest row, where it is too long, or the first with an
 *         id beyond the vocabulary, named; two contexts);
 *         RLHF_ERR_BUSY (another trainer trains the model); RLHF_ERR_STATE (the model is
 *         frozen).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_lm_trainer_create(rlhf_model *model, rlhf_dataset *dataset,
                       const rlhf_lm_options *options, rlhf_lm_trainer **out_trainer);

/**
 * Frees a trainer; the model stays as the last step left it.
 *
 * @param trainer  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_lm_trainer_free(rlhf_lm_trainer *trainer);

/**
 * A whole optimizer step: what is left of rlhf_lm_trainer_accumulate, then _apply.
 *
 * @param trainer    The trainer.
 * @param out_stats  Optional. In: struct_size set. Out: the step's.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND (the dataset has ended; a last short step comes
 *         before); RLHF_ERR_NUMERIC (a gradient that is not finite);
 *         RLHF_ERR_CANCELLED; RLHF_ERR_CALLBACK (the source); RLHF_ERR_INVALID_ARG
 *         (struct_size; a row of a source, or appended since _create, that is too long
 *         or has an id beyond the vocabulary, named by its own id: the same call goes on
 *         without it, a run resumed from before it is told again). The weights are then
 *         as before the step.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_step(rlhf_lm_trainer *trainer,
                                                          rlhf_lm_stats *out_stats);

/**
 * One micro-batch of the step under way, or of a new one: its gradients are added up.
 *
 * @param trainer        The trainer.
 * @param out_remaining  Micro-batches still to come before rlhf_lm_trainer_apply.
 * @return As rlhf_lm_trainer_step; RLHF_ERR_STATE (all are there). After another
 *         failure the step begins anew: its micro-batches so far are dropped.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_accumulate(rlhf_lm_trainer *trainer,
                                                                int64_t *out_remaining);

/**
 * Clips and updates the weights.
 *
 * @param trainer    The trainer.
 * @param out_stats  As in rlhf_lm_trainer_step.
 * @return RLHF_OK; RLHF_ERR_STATE (micro-batches are missing); RLHF_ERR_NUMERIC (the
 *         gradient is not finite: it is dropped, the step begins anew);
 *         RLHF_ERR_INVALID_ARG (struct_size).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_apply(rlhf_lm_trainer *trainer,
                                                           rlhf_lm_stats *out_stats);

/**
 * The gradient of a parameter, of the mean loss over the micro-batches accumulated so
 * far, before clipping.
 *
 * @param trainer     Between _accumulate and _apply.
 * @param name        As in rlhf_parameter_info.
 * @param out_values  float32[rows][cols], row-major, caller-allocated.
 * @param count       rows * cols exactly.
 * @return RLHF_OK; RLHF_ERR_STATE (there is none); RLHF_ERR_NOT_FOUND (no such name);
 *         RLHF_ERR_INVALID_ARG (count).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_lm_trainer_gradient(rlhf_lm_trainer *trainer, const char *name,
                                              float *out_values, int64_t count);

/**
 * Mean loss per target over rows of a dataset; nothing is trained. A dataset in memory is
 * read by row number, its stream stays; a host's source is drawn from. Allowed within a
 * step.
 *
 * @param trainer   The trainer.
 * @param dataset   Of the trainer's context and its dataset's kind.
 * @param max_rows  At most this many; 0: all, which must end.
 * @param out_loss  Nats.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (kind, context, max_rows below 0, no target, a
 *         row that _step would refuse: none is left out); RLHF_ERR_NUMERIC (a
 *         log-probability that is not finite; named); RLHF_ERR_CANCELLED;
 *         RLHF_ERR_CALLBACK.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_evaluate(rlhf_lm_trainer *trainer,
                                                              rlhf_dataset *dataset,
                                                              int64_t max_rows,
                                                              double *out_loss);

/**
 * Replaces the schedule's peak rate, learning_rate, from the next _apply on. Saved.
 *
 * @param trainer        The trainer.
 * @param learning_rate  > 0, finite; as a float too.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_lm_trainer_set_learning_rate(rlhf_lm_trainer *trainer,
                                                       double learning_rate);

/**
 * Steps done.
 *
 * @param trainer  NULL gives 0.
 * @return Counted over resumed runs too.
 * @threads Not while another thread is in a call on the trainer; from a callback too.
 * @since 0.1
 */
RLHF_API int64_t rlhf_lm_trainer_num_steps(const rlhf_lm_trainer *trainer);

/**
 * Writes what the rest of the run depends on (weights, moments, step, rate, place in the
 * data) into one folder, whole or not at all. docs/formats.md.
 *
 * @param trainer  Between _accumulate and _apply too: the state is that of the last
 *                 optimizer step, and the resumed run begins the step under way again,
 *                 with the same rows.
 * @param path     A folder of saved state, which is replaced as a whole, an empty one, or
 *                 one that is not there; else as in rlhf_model_save.
 * @return RLHF_OK; RLHF_ERR_EXISTS (something else is there); RLHF_ERR_IO,
 *         RLHF_ERR_NOT_FOUND; RLHF_ERR_INVALID_ARG (an empty path, the current
 *         directory); RLHF_ERR_UNSUPPORTED, RLHF_ERR_CALLBACK (the source gives no
 *         position); RLHF_ERR_CANCELLED. On failure what was there is as it was.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_save(rlhf_lm_trainer *trainer,
                                                          const char *path);

/**
 * Goes on where _save was, to the same bits on the same build and CPU level (else a
 * warning is logged). Model, dataset and options given to _create must be those of the
 * saved run: the model's weights are replaced, the data's rows are checked, the options
 * are not.
 *
 * @param trainer  Any; a step under way is dropped.
 * @param path     The folder.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT (damaged, or of
 *         another model's shapes); RLHF_ERR_UNSUPPORTED (written by a newer version);
 *         RLHF_ERR_INVALID_ARG (another kind of trainer, number of parameters, config,
 *         data or order; a learning rate that is too high for the options);
 *         RLHF_ERR_CALLBACK; RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_lm_trainer_resume(rlhf_lm_trainer *trainer,
                                                            const char *path);

#ifdef __cplusplus
}
#endif

#endif
