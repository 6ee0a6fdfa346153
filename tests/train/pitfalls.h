/* Shared by the tests of pitfalls: models that are wide awake, models whose distributions
 * are known exactly, samplers that play a script, rollouts of a host's own.
 *
 * The pitfalls that other implementations are on record with, and their tests (of the
 * file test_pitfalls_FILE.c, without the test_pitfall_ before each name):
 * - score one slot after EOS (score): score_one_slot_after_eos,
 *   slot_after_eos_changes_no_action
 * - penalty tests EOS, not the stop id (score): penalty_tests_eos_not_the_stop_token
 * - off-by-ones (score): logits_or_values_off_by_one
 * - ratio is not 1 at the start (policy): ratio_not_one_at_start_by_dropout,
 *   _by_positions, _by_an_unshifted_mask
 * - positions missing under padding (policy): positions_missing_beside_longer_neighbours
 * - last-token search (score): last_token_search_finds_pads_or_an_early_eos
 * - EOS in training, not in scoring (score): eos_in_training_but_not_in_scoring
 * - mask inferred from ids (score): mask_inferred_from_ids, targets_inferred_from_ids
 * - sampler scores post-processed (policy): sampler_scores_are_post_processed_logits
 * - batched generation (policy): batched_generation_differs_from_one_by_one
 * - negative KL (kl): negative_kl
 * - num_mini_batches without effect (update): num_minibatches_has_no_effect_on_steps
 * - whitening (update): whitened_rewards_lose_their_mean, whitening_counts_pads,
 *   whitening_one_token_divides_by_zero
 * - GAE across masked tool tokens (update): gae_across_masked_tool_tokens
 * - k3 gradient bias (kl): k3_gradient_is_biased
 * - token normalizer (update): token_normalizer_under_accumulation, and ppo_ before it
 * - controller KL, sign and prompt tokens (kl): controller_kl_has_the_wrong_sign,
 *   kl_includes_the_prompt
 * - loss mask drops the EOS action (score): loss_mask_drops_the_eos_action
 * - entropy and approxkl over pads (kl): entropy_and_approxkl_average_over_pads
 * - queries cut to the response length (score): query_truncated_to_the_response_length
 * Of what the library does not have, hence without a test:
 * - GRPO: zero loss is normal
 * - RLOO: bf16 noise in sequence ratios, baseline order, group layout
 * - IPO: mean or sum; ORPO: NLL scope, NaN at probability 1; KTO: self-match, KL batch
 * - a run not reproduced on one GPU: no property of code */
#ifndef TESTS_TRAIN_PITFALLS_H
#define TESTS_TRAIN_PITFALLS_H

#include "tiny.h"

#include <math.h>

enum { BOS = 0, EOS = 1, VOCAB = 8, LENGTH = 32, WIDTH = 16 };

static inline void expect_near(const char *what, double actual, double expected,
                               double tolerance)
{
    if (!(fabs(actual - expected) <= tolerance))
        fail_msg("%s is %.9g, expected %.9g", what, actual, expected);
}

/* Weights large enough that every token matters to every later one. */
static inline rlhf_model *awake_model(rlhf_context *context, int32_t position,
                                      uint64_t seed)
{
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;

    config.position = position;
    config.initializer_range = 0.4;
    assert_ok(rlhf_model_create(context, &config, seed, &model));
    return model;
}

static inline void fill_parameter(rlhf_model *model, const char *name, int64_t count,
                                  float value)
{
    float *values = malloc((size_t)count * sizeof *values);

    for (int64_t i = 0; i < count; i++)
        values[i] = value;
    assert_ok(rlhf_model_parameter_write(model, name, values, count));
    free(values);
}

/* A model whose next token has the probabilities p[vocab] whatever came before: its
 * layers add nothing, every hidden state is 1 (to the norm's epsilon), and the logits are
 * log p. */
static inline rlhf_model *known_model(rlhf_context *context, int32_t vocab,
                                      const double *p)
{
    rlhf_model_config config = tiny_config(vocab, LENGTH);
    float head[VOCAB * WIDTH];
    rlhf_model *model;

    config.tie_embeddings = 0;
    assert_ok(rlhf_model_create(context, &config, 1, &model));
    for (int32_t v = 0; v < vocab; v++)
        for (int i = 0; i < WIDTH; i++)
            head[v * WIDTH + i] = (float)(log(p[v]) / WIDTH);
    fill_parameter(model, "model.embed_tokens.weight", (int64_t)vocab * WIDTH, 1);
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.self_attn.o_proj.weight", layer);
        fill_parameter(model, name, (int64_t)WIDTH * WIDTH, 0);
        snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj.weight", layer);
        fill_parameter(model, name, (int64_t)WIDTH * config.intermediate_size, 0);
    }
    assert_ok(rlhf_model_parameter_write(model, "lm_head.weight", head,
                                         (int64_t)vocab * WIDTH));
    return model;
}

static inline rlhf_reward_model *scorer(const rlhf_model *model, int32_t append_eos,
                                        uint64_t seed)
{
    rlhf_reward_model_options options;
    rlhf_reward_model *reward;

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.append_eos = append_eos;
    options.seed = seed;
    assert_ok(rlhf_reward_model_create(model, &options, &reward));
    return reward;
}

static inline float score_one(rlhf_reward_model *reward, const int32_t *tokens,
                              int64_t count)
{
    const int64_t cu_seqlens[2] = {0, count};
    float score;

    assert_ok(rlhf_reward_model_score(reward, tokens, cu_seqlens, 1, &score));
    return score;
}

static inline void logprobs_one(rlhf_model *model, const int32_t *tokens, int64_t count,
                                double temperature, float *out)
{
    const int64_t cu_seqlens[2] = {0, count};

    assert_ok(rlhf_model_logprobs(model, tokens, cu_seqlens, 1, temperature, out));
}

/* Undiscounted, unwhitened, one optimizer step: figures that can be worked out by hand.
 */
static inline rlhf_ppo_options plain_options(int32_t new_tokens)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    o.max_new_tokens = new_tokens;
    o.kl_coef = 0;
    o.gamma = o.lam = 1;
    o.whiten_advantages = 0;
    o.num_epochs = 1;
    o.value_clip_range = 0;
    o.max_grad_norm = o.value_max_grad_norm = 0;
    return o;
}

/* --- a sampler that plays a script -------------------------------------------------- */

typedef struct script {
    const int32_t (*tokens)[8]; /* answers by sequence id */
} script;

static inline rlhf_status play(void *user_data, void *state, const rlhf_sample_info *info,
                               const float *logits, int64_t vocab_size,
                               int32_t *out_token)
{
    const script *own = user_data;

    (void)state;
    (void)logits;
    (void)vocab_size;
    *out_token = own->tokens[info->sequence_id][info->position - info->num_prompt];
    return RLHF_OK;
}

/* It says that it draws from the softmax, so that PPO takes it. */
static inline rlhf_sampler *script_sampler(script *own)
{
    const rlhf_sampler_ops ops = {
        .struct_size = sizeof ops, .sample = play, .softmax_temperature = 1};
    rlhf_sampler *sampler;

    assert_ok(rlhf_sampler_create_custom(&ops, own, &sampler));
    return sampler;
}

/* --- rollouts of a host's own ------------------------------------------------------- */

static inline rlhf_rollout *empty_rollout(rlhf_context *context)
{
    rlhf_rollout *rollout;

    assert_ok(rlhf_rollout_create(context, &rollout));
    return rollout;
}

/* Tokens of which those from num_prompt on are actions; logprobs NULL: the policy's. */
static inline void add_answer(rlhf_rollout *rollout, const int32_t *tokens, int64_t count,
                              int64_t num_prompt, const float *logprobs, double score)
{
    uint8_t mask[LENGTH] = {0};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .logprobs = logprobs,
                                      .num_tokens = count,
                                      .score = score,
                                      .finish = RLHF_FINISH_STOP};

    for (int64_t t = num_prompt; t < count; t++)
        mask[t] = 1;
    assert_ok(rlhf_rollout_append(rollout, &input));
}

static inline rlhf_rollout_sequence sequence_of(const rlhf_rollout *rollout,
                                                int64_t index)
{
    rlhf_rollout_sequence s = {.struct_size = sizeof s};

    assert_ok(rlhf_rollout_get(rollout, index, &s));
    return s;
}

static inline rlhf_ppo_stats update_on(rlhf_ppo_trainer *trainer, rlhf_rollout *rollout)
{
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};

    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    assert_ok(rlhf_ppo_trainer_update(trainer, rollout, &stats));
    return stats;
}

/* Ragged prompts: `lengths` of them, tokens from a fixed pattern. */
static inline void make_prompts(const int64_t *lengths, int64_t count, int32_t *tokens,
                                int64_t *cu_seqlens)
{
    cu_seqlens[0] = 0;
    for (int64_t s = 0; s < count; s++) {
        cu_seqlens[s + 1] = cu_seqlens[s] + lengths[s];
        for (int64_t i = 0; i < lengths[s]; i++)
            tokens[cu_seqlens[s] + i] = i == 0 ? BOS : (int32_t)((3 * s + i * i) % 6 + 2);
    }
}

#endif
