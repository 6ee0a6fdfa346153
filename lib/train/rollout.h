/* A rollout: sequences, which of their tokens are actions, and what PPO computes for
 * those. Arrays run over the tokens of all sequences end to end; a figure of an action
 * stands at the action's own place. */
#ifndef RLHF_TRAIN_ROLLOUT_H
#define RLHF_TRAIN_ROLLOUT_H

#include <stdbool.h>
#include <stdint.h>

#include <rlhf/ppo.h>

#include "base/error.h"

/* One sequence. */
typedef struct rlhf__episode {
    int64_t id;
    int64_t first; /* its tokens are tokens[first .. first + num_tokens) */
    int64_t num_tokens;
    int64_t num_prompt; /* tokens before the first action */
    int64_t num_actions;
    int64_t last_action;   /* its place within the sequence */
    int64_t scored_tokens; /* leading tokens that the score reads (train_past_stop
                              cuts); 0: as the trainer that scores it finds */
    double score;          /* NaN before it is set */
    double kl;             /* sum of Delta; NaN before _advantages */
    double entropy;        /* summed over actions; NaN if unknown */
    int32_t finish;        /* an rlhf_finish */
    bool has_logprobs, has_token_scores;
    bool own_logprobs; /* computed by a trainer, not recorded when it was sampled */
    /* The slot after the last action (RLHF_SCORE_AFTER_LAST). */
    bool has_after;
    float after_value, after_reward, after_return;
} rlhf__episode;

/* What _advantages computes; each [num_tokens]. */
typedef struct rlhf__estimates {
    float *ref_logprobs, *values, *rewards, *advantages, *returns;
} rlhf__estimates;

typedef struct rlhf__rollout {
    rlhf_context *context;
    rlhf__episode *episodes;
    int64_t num_episodes, episodes_capacity;
    int64_t num_tokens, num_actions;
    int32_t *tokens;
    uint8_t *action_mask;
    float *logprobs;
    float *token_scores;
    int64_t tokens_capacity, mask_capacity, logprobs_capacity, scores_capacity;
    float *estimates_block; /* storage of `estimates` */
    int64_t estimates_capacity;
    rlhf__estimates estimates; /* NULLs before _advantages */
    /* Of the weights that sampled all of it (0: not known), and by which options. */
    uint64_t policy_version;
    double temperature;
    int32_t min_new_tokens, stop_token_id;
    double kl_coef;              /* beta of the rewards */
    double advantage_figures[2]; /* mean and biased variance, before whitening */
    bool has_advantages;
    bool in_update; /* a trainer is in the middle of its update: no changes */
} rlhf__rollout;

rlhf_status rlhf__rollout_create(rlhf_context *context, rlhf__rollout **out_rollout);
void rlhf__rollout_free(rlhf__rollout *rollout); /* NULL ok */
/* Checks and copies; the episode gets `id`. On failure the rollout is as before. */
rlhf_status rlhf__rollout_append(rlhf__rollout *rollout, const rlhf_rollout_input *input,
                                 int64_t id);
/* INVALID_ARG out of range. */
rlhf_status rlhf__rollout_get(const rlhf__rollout *rollout, int64_t index,
                              rlhf_rollout_sequence *out_sequence);
rlhf_status rlhf__rollout_set_scores(rlhf__rollout *rollout, const float *scores,
                                     int64_t count);
rlhf_status rlhf__rollout_set_token_scores(rlhf__rollout *rollout, int64_t index,
                                           const float *token_scores, int64_t count);
/* Room for the estimates, zeroed. */
rlhf_status rlhf__rollout_reserve_estimates(rlhf__rollout *rollout);
/* Forgets what _advantages computed. */
void rlhf__rollout_forget(rlhf__rollout *rollout);
/* No sequence; memory kept. */
void rlhf__rollout_clear(rlhf__rollout *rollout);

/* One JSON line a sequence, appended to a file; `tokenizer` NULL: ids only. The lines
 * of one call are written by one write, so that a reader never sees half of one. */
struct rlhf__tokenizer;
rlhf_status rlhf__rollout_write_jsonl(const rlhf__rollout *rollout,
                                      const struct rlhf__tokenizer *tokenizer,
                                      const char *path);

#endif
