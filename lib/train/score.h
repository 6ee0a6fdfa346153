/* What a reward model reads and how it scores it. Training, evaluation, scoring and
 * PPO all come through here, so that none of them can see another input than the rest. */
#ifndef RLHF_TRAIN_SCORE_H
#define RLHF_TRAIN_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/tape.h"
#include "train/reward_model.h"

typedef struct rlhf__span {
    const int32_t *tokens;
    int64_t count;
} rlhf__span;

/* Whether the model reads an EOS after these tokens: if_missing, unless they end with
 * it, there is no EOS id, or the context is full. */
bool rlhf__reward_appends_eos(const rlhf__reward_model *model, rlhf__span sequence);
/* Raw scores (scale 1, offset 0) of n sequences in one forward, on the tape: [n][1].
 * The caller has checked tokens and lengths. */
rlhf_status rlhf__reward_forward(rlhf__reward_model *model, rlhf__tape *tape,
                                 const rlhf__span *sequences, int64_t n, rlhf__var **out);
/* Scores, scale and offset applied, in forwards of at most `budget` tokens; no tape is
 * recorded. Checks tokens and lengths, and for cancellation; reports progress
 * ("score"). */
rlhf_status rlhf__reward_scores(rlhf__reward_model *model, rlhf__tape *tape,
                                const rlhf__span *sequences, int64_t n, int64_t budget,
                                float *out_scores);
/* As rlhf_reward_model_normalize. */
rlhf_status rlhf__reward_normalize(rlhf__reward_model *model, rlhf__tape *tape,
                                   const rlhf__span *sequences, int64_t n, int64_t budget,
                                   bool unit_variance);
/* Folds the affine into the head: w <- scale w, b <- scale b + offset; then scale 1,
 * offset 0. */
void rlhf__reward_fold_affine(rlhf__reward_model *model);

#endif
