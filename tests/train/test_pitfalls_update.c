/* Pitfalls on record around the update: how many steps it makes and on what, whitening,
 * GAE over several spans, what a step's gradient is divided by. The table in pitfalls.h
 * says which test is whose. */
#include "pitfalls.h"

/* --- steps -------------------------------------------------------------------------- */

enum { SEQUENCES = 7 };

/* Prompt i + 1 alone: the gradient of the token table tells whether it was in a
 * minibatch. */
static rlhf_rollout *marked_answers(rlhf_context *context)
{
    rlhf_rollout *rollout = empty_rollout(context);

    for (int32_t i = 0; i < SEQUENCES; i++) {
        const int32_t tokens[3] = {i + 1, BOS, BOS};
        add_answer(rollout, tokens, 3, 1, NULL, i - 2.5);
    }
    return rollout;
}

/* Counts the sequences of the minibatch whose gradients are there. */
static int count_members(rlhf_ppo_trainer *trainer, int seen[SEQUENCES])
{
    float gradient[VOCAB * WIDTH];
    int members = 0;

    assert_ok(rlhf_ppo_trainer_gradient(trainer, 0, "model.embed_tokens.weight", gradient,
                                        VOCAB * WIDTH));
    for (int i = 0; i < SEQUENCES; i++) {
        double sum = 0;
        for (int d = 0; d < WIDTH; d++)
            sum += fabs((double)gradient[(i + 1) * WIDTH + d]);
        seen[i] += sum > 0;
        members += sum > 0;
    }
    return members;
}

static void check_steps(int32_t epochs, int32_t minibatches)
{
    rlhf_ppo_options options = plain_options(2);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    rlhf_model *policy;
    rlhf_rollout *rollout = marked_answers(context);
    rlhf_ppo_trainer *trainer;
    int64_t remaining;
    int32_t done = 0;

    config.tie_embeddings = 0;
    config.initializer_range = 0.4;
    assert_ok(rlhf_model_create(context, &config, 1, &policy));
    options.num_epochs = epochs;
    options.num_minibatches = minibatches;
    options.micro_batch_tokens = 6; /* two sequences */
    options.clip_range = 1e3;       /* no gradient is clipped away */
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    for (int32_t epoch = 0; epoch < epochs; epoch++) {
        int seen[SEQUENCES] = {0};
        for (int32_t m = 0; m < minibatches; m++) {
            assert_int_equal(done, 0);
            do
                assert_ok(rlhf_ppo_trainer_accumulate(trainer, rollout, &remaining));
            while (remaining > 0);
            const int members = count_members(trainer, seen);
            assert_true(members == SEQUENCES / minibatches ||
                        members == (SEQUENCES + minibatches - 1) / minibatches);
            assert_ok(rlhf_ppo_trainer_apply(trainer, &done, &stats));
        }
        for (int i = 0; i < SEQUENCES; i++)
            assert_int_equal(seen[i], 1);
    }
    assert_int_equal(done, 1);
    assert_int_equal(stats.num_steps, (int64_t)epochs * minibatches);
    assert_int_equal(stats.num_epochs, epochs);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* An epoch has num_minibatches optimizer steps, each on its own sequences. */
static void test_pitfall_num_minibatches_has_no_effect_on_steps(void **state)
{
    (void)state;
    check_steps(1, 1);
    check_steps(2, 3);
    check_steps(3, SEQUENCES);
}

/* --- whitening ---------------------------------------------------------------------- */

/* Ragged answers with a score at every action: 1, 2, …, 7 over all. */
static rlhf_rollout *numbered_answers(rlhf_context *context)
{
    rlhf_rollout *rollout = empty_rollout(context);
    int next = 1;

    for (int64_t n = 1; n < 5; n *= 2) {
        const int32_t tokens[7] = {BOS, 3, 2, 4, 5, 6, EOS};
        float figures[7] = {0};
        add_answer(rollout, tokens, n + 2, 2, NULL, 0);
        for (int64_t t = 2; t < n + 2; t++)
            figures[t] = (float)next++;
        assert_ok(rlhf_rollout_set_token_scores(
            rollout, rlhf_rollout_num_sequences(rollout) - 1, figures, n + 2));
    }
    return rollout;
}

/* Copies a figure of every action; returns how many. */
static int actions_of(const rlhf_rollout *rollout, int advantages, double *out)
{
    int n = 0;

    for (int64_t i = 0; i < rlhf_rollout_num_sequences(rollout); i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        for (int64_t t = 0; t < s.num_tokens; t++)
            if (s.action_mask[t])
                out[n++] = (double)(advantages ? s.advantages[t] : s.rewards[t]);
            else
                expect_near("figure of no action",
                            (double)(advantages ? s.advantages[t] : s.rewards[t]), 0, 0);
    }
    return n;
}

/* Mean 4, biased variance 4: (x - 4) / 2 + 4, not (x - 4) / 2 and not x / 2. */
static void test_pitfall_whitened_rewards_lose_their_mean(void **state)
{
    rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_rollout *rollout = numbered_answers(context);
    rlhf_ppo_trainer *trainer;
    double rewards[8];

    (void)state;
    options.whiten_rewards = 1;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    assert_int_equal(actions_of(rollout, 0, rewards), 7);
    for (int i = 0; i < 7; i++)
        expect_near("reward", rewards[i], (i + 1 - 4) / 2.0 + 4, 1e-5);
    rlhf_ppo_trainer_free(trainer);
    rlhf_rollout_free(rollout);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* Ragged answers whiten as the list of their actions does: with gamma 0 and no value the
 * advantages are the scores 1 … 7. */
static void test_pitfall_whitening_counts_pads(void **state)
{
    rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    double advantages[8];

    (void)state;
    options.gamma = 0;
    options.whiten_advantages = 1;
    for (int unbiased = 0; unbiased < 2; unbiased++) {
        rlhf_rollout *rollout = numbered_answers(context);
        rlhf_ppo_trainer *trainer;
        options.whiten_variance = unbiased;
        assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
        assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
        assert_int_equal(actions_of(rollout, 1, advantages), 7);
        for (int i = 0; i < 7; i++)
            expect_near("advantage", advantages[i],
                        (i + 1 - 4) / sqrt(28.0 / (unbiased ? 6 : 7)), 1e-5);
        rlhf_ppo_trainer_free(trainer);
        rlhf_rollout_free(rollout);
    }
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* One action in all: its whitened advantage is 0, of either variance, over rollout or
 * minibatch, and the update goes through. */
static void test_pitfall_whitening_one_token_divides_by_zero(void **state)
{
    const int32_t tokens[3] = {BOS, 3, EOS};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);

    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        rlhf_ppo_options options = plain_options(4);
        rlhf_rollout *rollout = empty_rollout(context);
        rlhf_ppo_trainer *trainer;
        float gradient[VOCAB * WIDTH];
        int64_t remaining;
        options.whiten_advantages = options.whiten_rewards = 1;
        options.whiten_variance = mode % 2;
        options.whiten_scope = mode / 2;
        assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
        add_answer(rollout, tokens, 3, 2, NULL, 5);
        assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
        expect_near("reward", (double)sequence_of(rollout, 0).rewards[2], 5, 0);
        assert_ok(rlhf_ppo_trainer_accumulate(trainer, rollout, &remaining));
        assert_ok(rlhf_ppo_trainer_gradient(trainer, 0, "model.embed_tokens.weight",
                                            gradient, VOCAB * WIDTH));
        for (int i = 0; i < VOCAB * WIDTH; i++)
            expect_near("gradient", (double)gradient[i], 0, 0);
        rlhf_ppo_trainer_free(trainer);
        rlhf_rollout_free(rollout);
    }
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* --- several turns ------------------------------------------------------------------ */

/* Five actions in three spans, a tool's tokens between them: GAE goes from action to
 * action, as if the tool's tokens were not there; they have no reward, value, advantage
 * or return. */
static void test_pitfall_gae_across_masked_tool_tokens(void **state)
{
    const int32_t tokens[12] = {BOS, 3, 5, 2, 6, 7, 7, 4, 2, 3, 3, EOS};
    const uint8_t mask[12] = {0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1};
    const float scores[12] = {0, 0, 1, -1, 9, 9, 9, 2, 9, 9, 9, 0.5f};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .token_scores = scores,
                                      .num_tokens = 12,
                                      .score = 3};
    rlhf_ppo_options options = plain_options(8);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_reward_model *critic = scorer(policy, RLHF_APPEND_EOS_NEVER, 3);
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *trainer;
    double advantage = 0, next = 0;

    (void)state;
    options.gamma = 0.9;
    options.lam = 0.8;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, critic, &options, &trainer));
    assert_ok(rlhf_rollout_append(rollout, &input));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    for (int t = 11; t >= 0; t--) {
        if (!mask[t]) {
            assert_true(s.rewards[t] == 0 && s.values[t] == 0 && s.advantages[t] == 0 &&
                        s.returns[t] == 0);
            continue;
        }
        const double value = (double)score_one(critic, tokens, t);
        const double reward = (double)scores[t] + (t == 11 ? 3 : 0);
        advantage = reward + 0.9 * next - value + 0.9 * 0.8 * advantage;
        next = value;
        expect_near("reward", (double)s.rewards[t], reward, 1e-6);
        expect_near("advantage", (double)s.advantages[t], advantage, 1e-5);
        expect_near("return", (double)s.returns[t], advantage + value, 1e-5);
    }
    rlhf_ppo_trainer_free(trainer);
    rlhf_rollout_free(rollout);
    rlhf_reward_model_free(critic);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* --- accumulation ------------------------------------------------------------------- */

/* A long row and short ones: a mean of micro-batch means would weigh the short ones'
 * tokens three and more times as much. */
static rlhf_dataset *uneven_rows(rlhf_context *context)
{
    static const int64_t lengths[4] = {20, 3, 5, 2};
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.shuffle = 0;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int64_t i = 0; i < 4; i++) {
        int32_t tokens[20];
        for (int64_t t = 0; t < lengths[i]; t++)
            tokens[t] = (int32_t)((i * 5 + t * t + t) % VOCAB);
        const rlhf_example row = {
            .struct_size = sizeof row, .tokens = tokens, .num_tokens = lengths[i]};
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

static void assert_close(const float *a, const float *b, int64_t count)
{
    float largest = 0; /* GCC 12 for aarch64 crashes on a double one */

    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(a[i]));
    assert_true(largest > 0);
    for (int64_t i = 0; i < count; i++)
        expect_near("gradient", (double)b[i], (double)a[i], 1e-5 * (double)largest);
}

static void test_pitfall_token_normalizer_under_accumulation(void **state)
{
    float gradients[2][VOCAB * WIDTH];
    double losses[2];

    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        rlhf_context *context = support_context(NULL, 1);
        rlhf_model *model = awake_model(context, RLHF_POSITION_ROTARY, 1);
        rlhf_dataset *dataset = uneven_rows(context);
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        rlhf_lm_options options;
        rlhf_lm_trainer *trainer;
        int64_t remaining = 1, micro = 0;
        assert_ok(rlhf_lm_options_init(&options, sizeof options));
        options.batch_size = 4;
        options.micro_batch_tokens = cut ? 1 : 4096;
        assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
        for (; remaining > 0; micro++)
            assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
        assert_int_equal(micro, cut ? 4 : 1);
        assert_ok(rlhf_lm_trainer_gradient(trainer, "model.embed_tokens.weight",
                                           gradients[cut], VOCAB * WIDTH));
        assert_ok(rlhf_lm_trainer_apply(trainer, &stats));
        assert_int_equal(stats.num_targets, 19 + 2 + 4 + 1);
        losses[cut] = stats.loss;
        rlhf_lm_trainer_free(trainer);
        rlhf_dataset_free(dataset);
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
    expect_near("loss", losses[1], losses[0], 1e-6);
    assert_close(gradients[0], gradients[1], VOCAB * WIDTH);
}

/* Gradients of policy and critic on uneven answers, cut or whole. */
static void ppo_gradients(int32_t aggregation, int32_t micro_batch_tokens,
                          float *policy_out, float *critic_out)
{
    rlhf_ppo_options options = plain_options(8);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_reward_model *critic = scorer(policy, RLHF_APPEND_EOS_NEVER, 3);
    rlhf_rollout *rollout = numbered_answers(context);
    rlhf_ppo_trainer *trainer;
    int64_t remaining;

    options.aggregation = aggregation;
    options.micro_batch_tokens = micro_batch_tokens;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, critic, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    do
        assert_ok(rlhf_ppo_trainer_accumulate(trainer, rollout, &remaining));
    while (remaining > 0);
    assert_ok(rlhf_ppo_trainer_gradient(trainer, 0, "model.embed_tokens.weight",
                                        policy_out, VOCAB * WIDTH));
    assert_ok(rlhf_ppo_trainer_gradient(trainer, 1, "model.embed_tokens.weight",
                                        critic_out, VOCAB * WIDTH));
    rlhf_ppo_trainer_free(trainer);
    rlhf_rollout_free(rollout);
    rlhf_reward_model_free(critic);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* By default a step is divided by its own tokens, however it was cut; the mean of
 * micro-batch means is there on request, and another number. */
static void test_pitfall_ppo_token_normalizer_under_accumulation(void **state)
{
    float whole[2][VOCAB * WIDTH], cut[2][VOCAB * WIDTH], means[2][VOCAB * WIDTH];
    rlhf_ppo_options options;
    float difference = 0; /* as above */

    (void)state;
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    ppo_gradients(options.aggregation, 4096, whole[0], whole[1]);
    ppo_gradients(options.aggregation, 1, cut[0], cut[1]);
    ppo_gradients(RLHF_AGGREGATE_MICRO_MEAN, 1, means[0], means[1]);
    for (int net = 0; net < 2; net++) {
        assert_close(whole[net], cut[net], VOCAB * WIDTH);
        for (int i = 0; i < VOCAB * WIDTH; i++)
            difference = fmaxf(difference, fabsf(means[net][i] - cut[net][i]));
        assert_true(difference > 1e-2f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pitfall_num_minibatches_has_no_effect_on_steps),
        cmocka_unit_test(test_pitfall_whitened_rewards_lose_their_mean),
        cmocka_unit_test(test_pitfall_whitening_counts_pads),
        cmocka_unit_test(test_pitfall_whitening_one_token_divides_by_zero),
        cmocka_unit_test(test_pitfall_gae_across_masked_tool_tokens),
        cmocka_unit_test(test_pitfall_token_normalizer_under_accumulation),
        cmocka_unit_test(test_pitfall_ppo_token_normalizer_under_accumulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
