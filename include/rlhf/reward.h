/**
 * @file reward.h
 * Reward models and their trainer: one float for a prompt and its answer. docs/reward.md
 * has the loss, the normalisation, and how a critic starts from a reward model.
 *
 * A score is scale * raw + offset, where raw is the scalar head on the last token's
 * hidden state. Training, evaluation, scoring and PPO build the model's input by one
 * rule: EOS is appended by `append_eos`.
 *
 * @threads As common.h says.
 */
#ifndef RLHF_REWARD_H
#define RLHF_REWARD_H

#include <rlhf/dataset.h>
#include <rlhf/lm.h>
#include <rlhf/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A network with a scalar head, a scale and an offset. Also PPO's critic. */
typedef struct rlhf_reward_model rlhf_reward_model;
/** A reward model, pairs, an optimizer, and the step that they are at. */
typedef struct rlhf_reward_trainer rlhf_reward_trainer;

/** Whether the model reads an EOS after a sequence. */
typedef enum rlhf_append_eos {
    RLHF_APPEND_EOS_NEVER = 0,     /**< The sequence as it is. */
    RLHF_APPEND_EOS_IF_MISSING = 1 /**< Unless the last token is EOS, there is no EOS id,
                                      or the context is full. */
} rlhf_append_eos;

/** How a reward model starts. */
typedef struct rlhf_reward_model_options {
    size_t struct_size; /**< Set by rlhf_reward_model_options_init. */
    uint64_t seed;      /**< Of the head, N(0, 1/sqrt(hidden_size + 1)), bias 0. */
    int32_t
        append_eos; /**< An rlhf_append_eos: one rule for training, scoring and PPO. */
    int32_t eos_token_id; /**< The token appended, of the vocabulary; -1: the model's. */
} rlhf_reward_model_options;

/**
 * Fills `options` with defaults: seed 0, EOS if missing, the model's EOS.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_reward_model_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_model_options_init(rlhf_reward_model_options *options,
                                                    size_t struct_size);

/**
 * A reward model that starts from a copy of a language model's trunk, with a fresh head;
 * scale 1, offset 0.
 *
 * @param model             Unchanged.
 * @param options           NULL: defaults.
 * @param out_reward_model  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_create(
    const rlhf_model *model, const rlhf_reward_model_options *options,
    rlhf_reward_model **out_reward_model);

/**
 * Reads a Hugging Face folder of a …ForSequenceClassification with one label. Its scale
 * is 1, its offset the field `rlhf_score_offset` of config.json (0 if absent), its EOS
 * rule `rlhf_append_eos` ("never" or "if_missing", which also holds where it is absent,
 * as in TRL's reward training) and `rlhf_append_eos_id`.
 *
 * @param context           As in rlhf_model_load.
 * @param path              A folder.
 * @param out_reward_model  The caller's.
 * @return As rlhf_model_load; RLHF_ERR_UNSUPPORTED also for another number of labels.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_load(
    rlhf_context *context, const char *path, rlhf_reward_model **out_reward_model);

/**
 * Writes one, whole or not at all. The scale is multiplied into score.weight, the head's
 * bias and the offset become `rlhf_score_offset`: a reader that knows no such field gets
 * the scores less that constant.
 *
 * @param reward_model  Unchanged.
 * @param path          As in rlhf_model_save.
 * @return As rlhf_model_save; RLHF_ERR_NUMERIC (scale times a weight is not finite).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_model_save(rlhf_reward_model *reward_model, const char *path);

/**
 * A deep copy on the same context, scale and offset too.
 *
 * @param reward_model      Unchanged.
 * @param out_reward_model  The caller's.
 * @return RLHF_OK; RLHF_ERR_NO_MEMORY.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_clone(
    const rlhf_reward_model *reward_model, rlhf_reward_model **out_reward_model);

/**
 * Gives the caller's hold back; trainers that use the model keep it alive.
 *
 * @param reward_model  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_reward_model_free(rlhf_reward_model *reward_model);

/**
 * Scores of whole sequences (prompt + answer), EOS appended by the model's rule. A
 * sequence's score is the same bits in any batch.
 *
 * @param reward_model  Unchanged.
 * @param tokens        int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
 * @param cu_seqlens    int64[num_seqs + 1], from 0, ascending: no sequence is empty.
 * @param num_seqs      >= 1
 * @param out_scores    float32[num_seqs], scale * raw + offset.
 * @return As rlhf_model_logits; RLHF_ERR_NUMERIC (a score that is not finite).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_model_score(rlhf_reward_model *reward_model, const int32_t *tokens,
                        const int64_t *cu_seqlens, int64_t num_seqs, float *out_scores);

/**
 * Sets scale and offset so that the given sequences (the reference's answers) score mean
 * 0 and, with unit_variance, standard deviation 1 (biased); without, the scale stays. The
 * scale keeps its sign.
 *
 * @param reward_model   Its scale and offset are replaced.
 * @param tokens         As in rlhf_reward_model_score.
 * @param cu_seqlens     As in rlhf_reward_model_score.
 * @param num_seqs       >= 2
 * @param unit_variance  0, or not 0.
 * @return As rlhf_reward_model_score; RLHF_ERR_NUMERIC also where all score alike and
 *         unit_variance is asked for. On failure scale and offset are as before.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_model_normalize(
    rlhf_reward_model *reward_model, const int32_t *tokens, const int64_t *cu_seqlens,
    int64_t num_seqs, int32_t unit_variance);

/**
 * The affine map of the raw score.
 *
 * @param reward_model  The model.
 * @param out_scale     1 until it is set.
 * @param out_offset    0 until it is set.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_model_get_affine(const rlhf_reward_model *reward_model,
                                                  double *out_scale, double *out_offset);

/**
 * Sets the affine map of the raw score.
 *
 * @param reward_model  The model.
 * @param scale         Finite, of any sign, not 0; as a float too.
 * @param offset        Finite, as a float too.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_model_set_affine(rlhf_reward_model *reward_model,
                                                  double scale, double offset);

/**
 * As rlhf_model_get_config.
 *
 * @param reward_model  The model.
 * @param out_config    As in rlhf_model_get_config.
 * @return As rlhf_model_get_config.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_model_get_config(const rlhf_reward_model *reward_model,
                                                  rlhf_model_config *out_config);

/**
 * As rlhf_model_num_parameters; the head (score.weight, score.bias) is counted, scale and
 * offset are not.
 *
 * @param reward_model  NULL gives 0.
 * @return The number of values in all named parameters.
 * @threads Any.
 * @since 0.1
 */
RLHF_API int64_t rlhf_reward_model_num_parameters(const rlhf_reward_model *reward_model);

/**
 * As rlhf_model_num_parameter_names.
 *
 * @param reward_model  NULL gives 0.
 * @return At least 1.
 * @threads Any.
 * @since 0.1
 */
RLHF_API int64_t
rlhf_reward_model_num_parameter_names(const rlhf_reward_model *reward_model);

/**
 * As rlhf_model_parameter_info.
 *
 * @param reward_model  The model.
 * @param index         [0, rlhf_reward_model_num_parameter_names).
 * @param out_info      In: struct_size set. Out: filled.
 * @return As rlhf_model_parameter_info.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_model_parameter_info(
    const rlhf_reward_model *reward_model, int64_t index, rlhf_parameter_info *out_info);

/**
 * As rlhf_model_parameter_read.
 *
 * @param reward_model  Unchanged.
 * @param name          As in rlhf_parameter_info.
 * @param out_values    float32[rows][cols], row-major, caller-allocated.
 * @param count         rows * cols exactly.
 * @return As rlhf_model_parameter_read.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_model_parameter_read(rlhf_reward_model *reward_model,
                                                      const char *name, float *out_values,
                                                      int64_t count);

/**
 * As rlhf_model_parameter_write.
 *
 * @param reward_model  The model.
 * @param name          As in rlhf_parameter_info.
 * @param values        float32[rows][cols], row-major, each finite.
 * @param count         rows * cols exactly.
 * @return As rlhf_model_parameter_write.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_model_parameter_write(rlhf_reward_model *reward_model,
                                                       const char *name,
                                                       const float *values,
                                                       int64_t count);

/**
 * As rlhf_model_freeze. Scale and offset can still be set. A critic that is made from a
 * frozen reward model starts from the rounded weights, so that in a bf16 context freeze
 * it when the PPO trainer is there.
 *
 * @param reward_model  The model.
 * @return As rlhf_model_freeze.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_model_freeze(rlhf_reward_model *reward_model);

/** Optimizer, batch and loss. Fields down to micro_batch_tokens as in rlhf_lm_options. */
typedef struct rlhf_reward_options {
    size_t struct_size;         /**< Set by rlhf_reward_options_init. */
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
    int32_t batch_size;         /**< Pairs a step, >= 1. */
    int32_t micro_batch_tokens; /**< Most tokens at once (a single pair may exceed it). */
    double
        center_coefficient; /**< c of c * mean((r+ + r-)^2), >= 0; TRL recommends 0.01. */
    int32_t use_margin;     /**< 0 or 1: -log sigmoid(r+ - r- - margin). */
    int32_t gradient_checkpointing; /**< As in rlhf_lm_options. */
} rlhf_reward_options;

/** Over one step's pairs, or over an evaluation's. Output struct. Rewards are raw. */
typedef struct rlhf_reward_stats {
    size_t struct_size;       /**< Set by the caller. */
    int64_t step;             /**< Steps done, this one included. */
    double loss;              /**< Mean over pairs. TRL: loss */
    double accuracy;          /**< Share with r+ > r-, strictly. TRL: accuracy */
    double margin;            /**< Mean r+ - r-. TRL: margin */
    double mean_reward;       /**< Over both sides. TRL: mean_reward */
    double min_reward;        /**< TRL: min_reward */
    double max_reward;        /**< TRL: max_reward */
    double grad_norm;         /**< Before clipping; 0 of an evaluation. */
    double learning_rate;     /**< Of this step; 0 of an evaluation. */
    int64_t num_pairs;        /**< Pairs. */
    int64_t num_tokens;       /**< Of both sides, appended EOS too. */
    double tokens_per_second; /**< num_tokens over the time. */
} rlhf_reward_stats;

/**
 * Fills `options` with defaults; docs/options.md lists them.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_reward_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_options_init(rlhf_reward_options *options,
                                              size_t struct_size);

/**
 * Makes a trainer; it trains the raw score, whatever scale and offset are. A reward model
 * has at most one trainer, PPO as its critic's included.
 *
 * @param reward_model  Trained in place; kept alive.
 * @param dataset       Of the same context, RLHF_DATASET_PREFERENCE; kept alive. A side
 *                      may have context_length tokens.
 * @param options       NULL: defaults.
 * @param out_trainer   The caller's.
 * @return As rlhf_lm_trainer_create.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_reward_trainer_create(
    rlhf_reward_model *reward_model, rlhf_dataset *dataset,
    const rlhf_reward_options *options, rlhf_reward_trainer **out_trainer);

/**
 * As rlhf_lm_trainer_free.
 *
 * @param trainer  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_reward_trainer_free(rlhf_reward_trainer *trainer);

/**
 * As rlhf_lm_trainer_step, on pairs.
 *
 * @param trainer    The trainer.
 * @param out_stats  Optional. In: struct_size set. Out: the step's.
 * @return As rlhf_lm_trainer_step.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_step(rlhf_reward_trainer *trainer, rlhf_reward_stats *out_stats);

/**
 * As rlhf_lm_trainer_accumulate; both sides of a pair go through one forward pass, the
 * prompt that they share through it once.
 *
 * @param trainer        The trainer.
 * @param out_remaining  Micro-batches still to come before rlhf_reward_trainer_apply.
 * @return As rlhf_lm_trainer_accumulate.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_accumulate(rlhf_reward_trainer *trainer, int64_t *out_remaining);

/**
 * As rlhf_lm_trainer_apply.
 *
 * @param trainer    The trainer.
 * @param out_stats  As in rlhf_reward_trainer_step.
 * @return As rlhf_lm_trainer_apply.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_apply(rlhf_reward_trainer *trainer, rlhf_reward_stats *out_stats);

/**
 * As rlhf_lm_trainer_gradient; of the mean over the pairs accumulated so far.
 *
 * @param trainer     Between _accumulate and _apply.
 * @param name        As in rlhf_parameter_info.
 * @param out_values  float32[rows][cols], row-major, caller-allocated.
 * @param count       rows * cols exactly.
 * @return As rlhf_lm_trainer_gradient.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_trainer_gradient(rlhf_reward_trainer *trainer,
                                                  const char *name, float *out_values,
                                                  int64_t count);

/**
 * Loss, accuracy and rewards over held-out pairs; as rlhf_lm_trainer_evaluate.
 *
 * @param trainer    The trainer.
 * @param dataset    Of the trainer's context, RLHF_DATASET_PREFERENCE.
 * @param max_rows   At most this many pairs; 0: all, which must end.
 * @param out_stats  In: struct_size set. Out: filled.
 * @return As rlhf_lm_trainer_evaluate.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_evaluate(rlhf_reward_trainer *trainer, rlhf_dataset *dataset,
                             int64_t max_rows, rlhf_reward_stats *out_stats);

/**
 * As rlhf_lm_trainer_set_learning_rate.
 *
 * @param trainer        The trainer.
 * @param learning_rate  > 0, finite; as a float too.
 * @return As rlhf_lm_trainer_set_learning_rate.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_reward_trainer_set_learning_rate(rlhf_reward_trainer *trainer,
                                                           double learning_rate);

/**
 * As rlhf_lm_trainer_num_steps.
 *
 * @param trainer  NULL gives 0.
 * @return Counted over resumed runs too.
 * @threads As rlhf_lm_trainer_num_steps.
 * @since 0.1
 */
RLHF_API int64_t rlhf_reward_trainer_num_steps(const rlhf_reward_trainer *trainer);

/**
 * As rlhf_lm_trainer_save. Scale and offset are the reward model's and not in it.
 *
 * @param trainer  As in rlhf_lm_trainer_save.
 * @param path     As in rlhf_lm_trainer_save.
 * @return As rlhf_lm_trainer_save.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_save(rlhf_reward_trainer *trainer, const char *path);

/**
 * As rlhf_lm_trainer_resume.
 *
 * @param trainer  Any; a step under way is dropped.
 * @param path     The folder.
 * @return As rlhf_lm_trainer_resume.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_reward_trainer_resume(rlhf_reward_trainer *trainer, const char *path);

#ifdef __cplusplus
}
#endif

#endif
