/* Next-token loss on texts, or on answers with their prompts masked. */
#ifndef RLHF_TRAIN_LM_H
#define RLHF_TRAIN_LM_H

#include <rlhf/lm.h>

#include "train/stepper.h"

/* Sums over the targets seen since they were cleared. */
typedef struct rlhf__lm_sums {
    double loss; /* nats */
    int64_t num_targets;
} rlhf__lm_sums;

typedef struct rlhf__lm_trainer {
    rlhf__stepper stepper;
    rlhf__transformer *net; /* borrowed */
    rlhf__lm_sums sums;
} rlhf__lm_trainer;

/* Options are checked already. */
rlhf_status rlhf__lm_trainer_create(rlhf__transformer *net, rlhf__dataset *dataset,
                                    const rlhf_lm_options *options,
                                    rlhf__lm_trainer **out_trainer);
void rlhf__lm_trainer_free(rlhf__lm_trainer *trainer); /* NULL ok */
/* out_stats is a whole struct of today's size. */
rlhf_status rlhf__lm_trainer_apply(rlhf__lm_trainer *trainer, rlhf_lm_stats *out_stats);
rlhf_status rlhf__lm_trainer_gradient(const rlhf__lm_trainer *trainer, const char *name,
                                      float *out_values, int64_t count);
rlhf_status rlhf__lm_trainer_evaluate(rlhf__lm_trainer *trainer, rlhf__dataset *dataset,
                                      int64_t max_rows, double *out_loss);

#endif
