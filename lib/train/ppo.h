/* The PPO trainer: one iteration is generate, score, advantages, then epochs of
 * minibatches (docs/ppo.md). Files: ppo.c the trainer's life, ppo_sample.c answers and
 * scores, ppo_rows.c network inputs, ppo_advantages.c what the update needs,
 * ppo_update.c the update, ppo_stats.c figures, ppo_state.c saved state. */
#ifndef RLHF_TRAIN_PPO_H
#define RLHF_TRAIN_PPO_H

#include <rlhf/ppo.h>

#include "generate/generator.h"
#include "train/learner.h"
#include "train/reward_model.h"
#include "train/rollout.h"

/* Scores seen so far, for RLHF_SCORE_RUNNING (Chan et al. 1979's pairwise update). */
typedef struct rlhf__running {
    double count, mean, squares; /* squares: sum of (x - mean)^2 */
} rlhf__running;

/* Sums over the minibatches of an update; doubles only, so that state holds them as
 * one array. */
typedef struct rlhf__ppo_tally {
    double policy_loss, value_loss;           /* of minibatches */
    double approxkl, clipped, ratio, entropy; /* of tokens */
    double tokens;
    double value_clipped, value_slots;
    double epoch_approxkl, epoch_tokens; /* of the epoch under way */
    double first_ratio_deviation;
    double policy_norm, value_norm;            /* of steps */
    double minibatches, policy_minibatches;    /* applied or skipped */
    double policy_steps, value_steps;          /* applied */
    double learning_rate, value_learning_rate; /* last used */
    double seconds;
} rlhf__ppo_tally;

/* Inputs of a few episodes for one network, in an arena. Row i of the head is of the
 * slot whose action stands at places[i] of the rollout's arrays, or (places[i] < 0) of
 * the slot after the last action of episodes[i]. */
typedef struct rlhf__ppo_rows {
    rlhf__batch batch;
    int64_t num_rows;
    bool has_after; /* some row is of a slot after the last action */
    int64_t *rows;  /* hidden row, before the action is seen */
    int64_t *places;
    int64_t *episodes; /* index in the rollout */
    int32_t *targets;  /* the actions; -1 after the last */
    int32_t *masked;   /* for rlhf__op_linear_logprob; NULL without a minimum */
} rlhf__ppo_rows;

/* A recorded forward pass of the critic that the advantages left on the tape: the first
 * micro-batch of the update would be the same pass again. */
typedef struct rlhf__ppo_pass {
    uint64_t resets;  /* of the tape when it was recorded; 0: none */
    uint64_t version; /* of the critic's weights */
    rlhf__ppo_rows rows;
    rlhf__var *values;
} rlhf__ppo_pass;

typedef struct rlhf__ppo_trainer {
    rlhf_context *context;
    rlhf_ppo_options options;  /* stop_token_id resolved: -1 is none here */
    rlhf__transformer *policy; /* borrowed, all four */
    rlhf__transformer *reference;
    rlhf__reward_model *reward; /* NULL: none */
    rlhf__reward_model *critic;
    bool owns_reference; /* in the sense that no one else has its weights: saved */
    rlhf__sampler *default_sampler; /* softmax(logits / temperature) */
    const rlhf__sampler *sampler;   /* in use: the default, or a borrowed one */
    rlhf__tape *tape;               /* of all networks, one after the other */
    rlhf__arena *lists; /* what is needed while networks reset the tape's memory */
    rlhf__generator *generator; /* made at the first rollout */
    rlhf__learner policy_learner, critic_learner;
    double kl_coef, learning_rate, value_learning_rate;
    int64_t iteration, num_episodes;
    int64_t next_sequence_id;
    rlhf__running running;
    /* Versions of policy and of a reference copied from it: while both are these, the two
     * have the same weights. 0: never. */
    uint64_t twin_policy, twin_reference;
    rlhf__ppo_pass value_pass;
    /* Answers under way: a cancelled call goes on with them. */
    bool generating;
    uint64_t generating_version; /* of the policy's weights */
    int64_t generating_first_id;
    uint64_t generating_seed;
    /* The update under way; rollout NULL: none. */
    rlhf__rollout *rollout; /* borrowed */
    bool policy_skipped;
    int64_t epoch, minibatch; /* the next one */
    int64_t *order;           /* [episodes] permutation of the epoch */
    int64_t order_capacity;
    float *advantages; /* [tokens] whitened over the minibatch */
    int64_t advantages_capacity;
    int64_t gathered;             /* sequences of `minibatch` whose gradients are there */
    rlhf__ppo_tally tally, fresh; /* fresh: of the minibatch not applied yet */
    int64_t iteration_started_ns; /* 0: not known */
} rlhf__ppo_trainer;

typedef struct rlhf__ppo_models {
    rlhf__transformer *policy, *reference;
    rlhf__reward_model *reward, *critic;
    bool owns_reference;
} rlhf__ppo_models;

/* Options are checked by their table; the rest is checked here. */
rlhf_status rlhf__ppo_trainer_create(const rlhf__ppo_models *models,
                                     const rlhf_ppo_options *options,
                                     rlhf__ppo_trainer **out_trainer);
void rlhf__ppo_trainer_free(rlhf__ppo_trainer *trainer);
/* Of the iteration under way, answers that are being drawn included, nothing is left but
 * the steps that were taken. */
void rlhf__ppo_abandon(rlhf__ppo_trainer *trainer); /* NULL ok */
/* NULL: the default. INVALID_ARG unless it draws from softmax(logits / temperature) or
 * allow_biased_rollout. */
rlhf_status rlhf__ppo_set_sampler(rlhf__ppo_trainer *trainer,
                                  const rlhf__sampler *sampler);
/* A critic: the reward model with its affine folded into the head, or (NULL) the
 * policy's trunk with a zero head. */
rlhf_status rlhf__ppo_make_critic(const rlhf__transformer *policy,
                                  const rlhf__reward_model *reward,
                                  rlhf__reward_model **out_critic);

/* --- ppo_sample.c ------------------------------------------------------------------- */

/* Answers into an empty rollout. A cancelled call keeps its answers so far and the
 * same call goes on; ids are first_id, first_id + 1, …. */
rlhf_status rlhf__ppo_generate(rlhf__ppo_trainer *trainer, const int32_t *tokens,
                               const int64_t *cu_seqlens, int64_t num_seqs,
                               int64_t first_id, uint64_t seed, rlhf__rollout *rollout);
rlhf_status rlhf__ppo_score(rlhf__ppo_trainer *trainer, rlhf__rollout *rollout);
/* As rlhf_ppo_trainer_evaluate, into an empty rollout. out_stats is a whole struct. */
rlhf_status rlhf__ppo_evaluate(rlhf__ppo_trainer *trainer, const int32_t *tokens,
                               const int64_t *cu_seqlens, int64_t num_seqs,
                               rlhf__rollout *rollout, rlhf_ppo_stats *out_stats);
/* True if the rollout's prompts are these. */
bool rlhf__ppo_same_prompts(const rlhf__rollout *rollout, const int32_t *tokens,
                            const int64_t *cu_seqlens, int64_t num_seqs);

/* --- ppo_rows.c --------------------------------------------------------------------- */

/* Inputs of a few episodes, in an arena: of the actions, or (`after`) of the slots after
 * the last ones too, where episodes have one. Without such slots policy and critic share
 * them. */
rlhf_status rlhf__ppo_rows_build(const rlhf__ppo_trainer *trainer,
                                 const rlhf__rollout *rollout, const int64_t *episodes,
                                 int64_t count, bool after, rlhf__arena *arena,
                                 rlhf__ppo_rows *out);
/* End of the micro-batch that begins at `first`: at most micro_batch_tokens, at least
 * one. */
int64_t rlhf__ppo_micro_end(const rlhf__ppo_trainer *trainer,
                            const rlhf__rollout *rollout, const int64_t *episodes,
                            int64_t first, int64_t end);
/* Hidden rows asked for, of `net`, on the trainer's tape. */
rlhf_status rlhf__ppo_hidden(rlhf__ppo_trainer *trainer, rlhf__transformer *net,
                             const rlhf__ppo_rows *rows, rlhf__var **out);
/* Log-probs and entropies (NULL: not asked for) of the actions under `net`, without a
 * tape, micro-batch by micro-batch; out arrays run over the rollout's tokens. Only
 * episodes for which `wanted` (NULL: all) says so. */
rlhf_status rlhf__ppo_logprobs(rlhf__ppo_trainer *trainer, rlhf__transformer *net,
                               const rlhf__rollout *rollout, const bool *wanted,
                               float *out_logprobs, float *out_entropies);
/* Values of the rows, on the tape; `record`: for a backward pass. */
rlhf_status rlhf__ppo_values(rlhf__ppo_trainer *trainer, const rlhf__ppo_rows *rows,
                             rlhf__var **out);
/* Values of the rows with a tape for their gradients: as they stand there from
 * _advantages, or by a pass of their own. */
rlhf_status rlhf__ppo_recorded_values(rlhf__ppo_trainer *trainer,
                                      const rlhf__ppo_rows *rows, rlhf__var **out);

/* --- ppo_advantages.c --------------------------------------------------------------- */

/* Every sequence has a score, and the policy can read it. */
rlhf_status rlhf__ppo_check_sequences(const rlhf__ppo_trainer *trainer,
                                      const rlhf__rollout *rollout);
rlhf_status rlhf__ppo_advantages(rlhf__ppo_trainer *trainer, rlhf__rollout *rollout);
/* Sum of Delta per episode, from log-probs and reference log-probs. */
void rlhf__ppo_sum_kl(rlhf__rollout *rollout, const float *ref_logprobs);
/* The running figures with this rollout's scores counted in. */
rlhf__running rlhf__ppo_running_with(const rlhf__ppo_trainer *trainer,
                                     const rlhf__rollout *rollout);
/* Score of an episode as given: its score (0 if it has none) and its token scores. */
double rlhf__ppo_given_score(const rlhf__rollout *rollout, const rlhf__episode *episode);
double rlhf__ppo_mean_kl(const rlhf__rollout *rollout);

/* --- ppo_update.c ------------------------------------------------------------------- */

rlhf_status rlhf__ppo_accumulate(rlhf__ppo_trainer *trainer, rlhf__rollout *rollout,
                                 int64_t *out_remaining);
rlhf_status rlhf__ppo_apply(rlhf__ppo_trainer *trainer, bool *out_done,
                            rlhf_ppo_stats *out_stats);
rlhf_status rlhf__ppo_update(rlhf__ppo_trainer *trainer, rlhf__rollout *rollout,
                             rlhf_ppo_stats *out_stats);
/* INVALID_ARG where a rollout of so many sequences has too few for its minibatches, or
 * too many for the KL controller's horizon. */
rlhf_status rlhf__ppo_check_episodes(const rlhf__ppo_trainer *trainer,
                                     int64_t num_episodes);
/* Sequences of minibatch m of an epoch: sizes differ by one at most. */
int64_t rlhf__ppo_minibatch_size(const rlhf__ppo_trainer *trainer,
                                 const rlhf__rollout *rollout, int64_t m);
/* The permutation of the epoch under way; each minibatch of it ascends, but for
 * micro_mean. */
rlhf_status rlhf__ppo_shuffle(rlhf__ppo_trainer *trainer, const rlhf__rollout *rollout);

/* --- ppo_stats.c -------------------------------------------------------------------- */

/* Of the rollout and the steps so far. */
void rlhf__ppo_stats(const rlhf__ppo_trainer *trainer, const rlhf__rollout *rollout,
                     rlhf_ppo_stats *out_stats);
/* Score, kl, entropy, length and eos_rate alone, the rest 0. */
void rlhf__ppo_sample_stats(const rlhf__rollout *rollout, rlhf_ppo_stats *out_stats);

/* Whether the weights that the policy has sampled the rollout. */
static inline bool rlhf__ppo_has_sampled(const rlhf__ppo_trainer *trainer,
                                         const rlhf__rollout *rollout)
{
    return rollout->policy_version == trainer->policy->params.version;
}

/* --- ppo_state.c -------------------------------------------------------------------- */

/* `pending`: a rollout of rlhf_ppo_trainer_step whose update has not begun; NULL:
 * none. */
rlhf_status rlhf__ppo_save(rlhf__ppo_trainer *trainer, const rlhf__rollout *pending,
                           const char *path);
/* Into an empty rollout, which must outlive the update that it may be of; *out_found:
 * the state had one. On failure the trainer is as it was. */
rlhf_status rlhf__ppo_resume(rlhf__ppo_trainer *trainer, const char *path,
                             rlhf__rollout *rollout, bool *out_found);

#endif
