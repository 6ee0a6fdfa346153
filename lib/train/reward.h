/* The pairwise loss on a reward model. */
#ifndef RLHF_TRAIN_REWARD_H
#define RLHF_TRAIN_REWARD_H

#include <rlhf/reward.h>

#include "train/reward_model.h"
#include "train/stepper.h"

/* Loss of one pair and its gradient: -log sigmoid(r+ - r- - margin) + c (r+ + r-)^2. */
typedef struct rlhf__pair_loss {
    double loss, dchosen, drejected;
} rlhf__pair_loss;
rlhf__pair_loss rlhf__reward_pair_loss(double chosen, double rejected, double margin,
                                       double center_coefficient);

/* Sums over the pairs seen since they were cleared. */
typedef struct rlhf__reward_sums {
    double loss, margin, reward, min_reward, max_reward;
    int64_t num_right, num_pairs, num_tokens;
} rlhf__reward_sums;

typedef struct rlhf__reward_trainer {
    rlhf__stepper stepper;
    rlhf__reward_model *model; /* borrowed */
    double center_coefficient;
    int32_t use_margin;
    rlhf__reward_sums sums;
} rlhf__reward_trainer;

/* Options are checked already. */
rlhf_status rlhf__reward_trainer_create(rlhf__reward_model *model, rlhf__dataset *dataset,
                                        const rlhf_reward_options *options,
                                        rlhf__reward_trainer **out_trainer);
void rlhf__reward_trainer_free(rlhf__reward_trainer *trainer); /* NULL ok */
rlhf_status rlhf__reward_trainer_apply(rlhf__reward_trainer *trainer,
                                       rlhf_reward_stats *out_stats);
rlhf_status rlhf__reward_trainer_gradient(const rlhf__reward_trainer *trainer,
                                          const char *name, float *out_values,
                                          int64_t count);
rlhf_status rlhf__reward_trainer_evaluate(rlhf__reward_trainer *trainer,
                                          rlhf__dataset *dataset, int64_t max_rows,
                                          rlhf_reward_stats *out_stats);

#endif
