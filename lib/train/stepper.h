/* The step machine of the trainers that draw rows from a dataset: rows of a step, its
 * micro-batches, the optimizer step. A failed or cancelled micro-batch takes the step
 * back to its first one, with the same rows: no weight has changed by then. Rows are
 * checked before any micro-batch; one that is refused is left out from then on. */
#ifndef RLHF_TRAIN_STEPPER_H
#define RLHF_TRAIN_STEPPER_H

#include <rlhf/lm.h>

#include "data/batch.h"
#include "train/learner.h"

typedef struct rlhf__stepper_settings {
    rlhf__learner_settings learner;
    double learning_rate, final_lr_ratio;
    int64_t total_steps, warmup_steps;
    int32_t schedule; /* an rlhf_schedule */
    int64_t batch_size, micro_batch_tokens;
    int64_t longest_row; /* tokens that a row, or a side of one, may have */
    bool checkpoint;
    const char *kind; /* "lm", "reward": of the saved state */
} rlhf__stepper_settings;

typedef struct rlhf__stepper rlhf__stepper;
/* What a trainer does with rows: forward, loss sums and, where tape->record, backward. */
typedef rlhf_status (*rlhf__micro_fn)(void *trainer, const rlhf__rows *rows);
/* Forgets the loss sums: a step or an evaluation begins. */
typedef void (*rlhf__clear_fn)(void *trainer);

struct rlhf__stepper {
    rlhf_context *context;
    rlhf__dataset *dataset; /* borrowed */
    rlhf__stepper_settings settings;
    rlhf__micro_fn micro;
    rlhf__clear_fn clear;
    void *trainer;
    rlhf__tape *tape;
    rlhf__learner learner;
    rlhf__rows rows, micro_rows;
    rlhf__cut cut;      /* of `rows`, while num_micro > 0 */
    int64_t next_micro; /* of the step under way; 0: no gradient yet */
    int64_t step;
    int64_t num_tokens; /* through the model in this step */
    int64_t started_ns;
    double learning_rate;
    uint8_t position[RLHF_SOURCE_POSITION_MAX]; /* of the dataset before `rows` were
                                                   drawn */
    size_t position_size;
    rlhf_status position_status;
};

/* INVALID_ARG where a row of a dataset in memory is longer than a row may be or holds an
 * id beyond the vocabulary. */
rlhf_status rlhf__stepper_init(rlhf__stepper *stepper, rlhf__transformer *net,
                               rlhf__dataset *dataset,
                               const rlhf__stepper_settings *settings,
                               rlhf__micro_fn micro, rlhf__clear_fn clear, void *trainer);
void rlhf__stepper_free(rlhf__stepper *stepper); /* accepts a zeroed struct */
rlhf_status rlhf__stepper_accumulate(rlhf__stepper *stepper, int64_t *out_remaining);
/* What is left of the step's micro-batches. */
rlhf_status rlhf__stepper_run(rlhf__stepper *stepper);
/* STATE unless all micro-batches are there. `scale`: one over the step's targets or
 * pairs. On NUMERIC the step begins anew, the weights are as before. */
rlhf_status rlhf__stepper_apply(rlhf__stepper *stepper, double scale, double *out_norm,
                                double *out_learning_rate, double *out_seconds);
/* STATE when there is no gradient. */
rlhf_status rlhf__stepper_gradient(const rlhf__stepper *stepper, const char *name,
                                   double scale, float *out_values, int64_t count);
/* Runs `micro` without a tape over at most max_rows rows of a dataset (0: all, which must
 * end; below: INVALID_ARG). The caller puts its step's sums aside. */
rlhf_status rlhf__stepper_evaluate(rlhf__stepper *stepper, rlhf__dataset *dataset,
                                   int64_t max_rows);
/* The schedule's peak rate, from the next step on; INVALID_ARG unless it is > 0 and, as
 * its steps, finite as a float. */
rlhf_status rlhf__stepper_set_learning_rate(rlhf__stepper *stepper, double learning_rate);
rlhf_status rlhf__stepper_save(rlhf__stepper *stepper, const char *path);
rlhf_status rlhf__stepper_resume(rlhf__stepper *stepper, const char *path);

#endif
