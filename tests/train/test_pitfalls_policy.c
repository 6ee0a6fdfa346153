/* Pitfalls on record around the policy: log-probabilities that differ between rollout
 * and update, between a batch and one alone, between what is drawn and what is
 * recorded. The table in pitfalls.h says which test is whose. */
#include "pitfalls.h"

#include "test_files.h"

/* --- the ratio at the start --------------------------------------------------------- */

enum { PROMPTS = 5 };
static const int64_t prompt_lengths[PROMPTS] = {1, 7, 2, 11, 4};

static rlhf_rollout *scored_rollout(rlhf_ppo_trainer *trainer)
{
    const float scores[PROMPTS] = {1, -1, .5f, 0, 2};
    int32_t tokens[32];
    int64_t cu_seqlens[PROMPTS + 1];
    rlhf_rollout *rollout;

    make_prompts(prompt_lengths, PROMPTS, tokens, cu_seqlens);
    assert_ok(rlhf_ppo_trainer_rollout(trainer, tokens, cu_seqlens, PROMPTS, &rollout));
    assert_ok(rlhf_rollout_set_scores(rollout, scores, PROMPTS));
    return rollout;
}

/* Two real iterations, each of which begins at a ratio of exactly 1; then, at a rate of
 * 0, epochs in which it stays there. */
static void check_ratio(rlhf_model *model, double temperature, int32_t micro_batch_tokens)
{
    rlhf_ppo_options options = plain_options(9);
    rlhf_ppo_trainer *trainer;

    options.temperature = temperature;
    options.micro_batch_tokens = micro_batch_tokens;
    options.rollout_batch = 3;
    options.min_new_tokens = 2;
    options.num_epochs = 3;
    options.num_minibatches = 2;
    for (int frozen = 0; frozen < 2; frozen++) {
        options.learning_rate = frozen ? 0 : 1e-2;
        assert_ok(rlhf_ppo_trainer_create(model, NULL, NULL, NULL, &options, &trainer));
        for (int iteration = 0; iteration < 2; iteration++) {
            rlhf_rollout *rollout = scored_rollout(trainer);
            const rlhf_ppo_stats stats = update_on(trainer, rollout);
            expect_near("first ratio - 1", stats.first_ratio_deviation, 0, 0);
            if (frozen || iteration == 0)
                expect_near("kl", stats.kl, 0, 0);
            expect_near("num_steps", (double)stats.num_steps, 6, 0);
            if (frozen) {
                expect_near("ratio", stats.ratio, 1, 0);
                expect_near("approxkl", stats.approxkl, 0, 0);
                expect_near("clipfrac", stats.clipfrac, 0, 0);
            } else {
                assert_true(stats.approxkl > 0);
            }
            rlhf_rollout_free(rollout);
        }
        rlhf_ppo_trainer_free(trainer);
    }
}

static void test_pitfall_ratio_not_one_at_start_by_positions(void **state)
{
    static const int32_t positions[2] = {RLHF_POSITION_ROTARY, RLHF_POSITION_LEARNED};

    (void)state;
    for (int i = 0; i < 2; i++) {
        rlhf_context *context = support_context(NULL, 2);
        rlhf_model *model = awake_model(context, positions[i], 3);
        check_ratio(model, 1, 4096); /* one micro-batch a minibatch */
        check_ratio(model, 0.7, 1);  /* one a sequence */
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
}

/* A folder that asks for dropout of one half. */
static void write_dropout_folder(const char *path)
{
    rlhf_context *context = support_context(NULL, 1);
    const char *config_path = test_join(path, "config.json");
    rlhf_model_config config;
    rlhf_model *model;
    char *text;
    size_t size = 0;
    int edits = 0;

    assert_ok(rlhf_model_config_init(&config, sizeof config));
    config.vocab_size = VOCAB;
    config.context_length = LENGTH;
    config.hidden_size = WIDTH;
    config.num_layers = config.num_heads = 2;
    config.eos_token_id = EOS;
    config.initializer_range = 0.4;
    assert_ok(rlhf_model_create(context, &config, 1, &model));
    assert_ok(rlhf_model_save(model, path));
    text = test_read(config_path, &size);
    assert_non_null(text);
    for (char *at = text; (at = strstr(at, "pdrop\": 0.0")) != NULL; edits++)
        at[strlen("pdrop\": 0.")] = '5';
    assert_int_equal(edits, 3);
    test_write(config_path, text, size);
    free(text);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_pitfall_ratio_not_one_at_start_by_dropout(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    char folder[TEST_PATH];
    rlhf_model *model;

    (void)state;
    test_folder_make(folder);
    write_dropout_folder(test_join(folder, "model"));
    assert_ok(rlhf_model_load(context, test_join(folder, "model"), &model));
    check_ratio(model, 1, 16);
    rlhf_model_free(model);
    rlhf_context_free(context);
    test_folder_remove(folder);
}

/* Two spans of actions: log-probs, reference and ratio stand at the actions' own places,
 * none at the place before or after. */
static void test_pitfall_ratio_not_one_at_start_by_an_unshifted_mask(void **state)
{
    const int32_t tokens[9] = {BOS, 3, 5, 2, 6, 7, 4, 4, EOS};
    const uint8_t mask[9] = {0, 0, 1, 1, 0, 0, 0, 1, 1};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .num_tokens = 9,
                                      .score = 1};
    const rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_LEARNED, 1);
    rlhf_model *reference = awake_model(context, RLHF_POSITION_LEARNED, 2);
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *trainer;
    float own[9], other[9];

    (void)state;
    logprobs_one(policy, tokens, 9, 1, own);
    logprobs_one(reference, tokens, 9, 1, other);
    assert_ok(rlhf_ppo_trainer_create(policy, reference, NULL, NULL, &options, &trainer));
    assert_ok(rlhf_rollout_append(rollout, &input));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    assert_int_equal(s.num_prompt, 2);
    assert_int_equal(s.num_actions, 4);
    double kl = 0;
    for (int t = 0; t < 9; t++) {
        expect_near("log pi", (double)s.logprobs[t], mask[t] ? (double)own[t] : 0, 0);
        expect_near("log pi_ref", (double)s.ref_logprobs[t],
                    mask[t] ? (double)other[t] : 0, 0);
        kl += mask[t] ? (double)own[t] - (double)other[t] : 0;
    }
    expect_near("kl", s.kl, kl, 1e-12);
    const rlhf_ppo_stats stats = update_on(trainer, rollout);
    expect_near("first ratio - 1", stats.first_ratio_deviation, 0, 0);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(reference);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* --- neighbours --------------------------------------------------------------------- */

/* Sequence `index` of `batch` has the figures of the only one of `alone`. */
static void assert_same_figures(const rlhf_rollout *batch, int64_t index,
                                const rlhf_rollout *alone)
{
    const rlhf_rollout_sequence a = sequence_of(batch, index), b = sequence_of(alone, 0);
    const size_t size = (size_t)a.num_tokens * sizeof(float);

    assert_int_equal(a.num_tokens, b.num_tokens);
    assert_memory_equal(a.logprobs, b.logprobs, size);
    assert_memory_equal(a.ref_logprobs, b.ref_logprobs, size);
    assert_memory_equal(a.values, b.values, size);
    assert_memory_equal(a.rewards, b.rewards, size);
    assert_memory_equal(a.advantages, b.advantages, size);
    assert_memory_equal(a.returns, b.returns, size);
    expect_near("kl", a.kl, b.kl, 0);
}

/* There are no pads, hence no positions to get wrong beside them: what a sequence is
 * given does not depend on how much longer or shorter its neighbours are, nor on their
 * tokens. */
static void test_pitfall_positions_missing_beside_longer_neighbours(void **state)
{
    static const int32_t rows[3][12] = {
        {BOS, 3, 2, EOS}, {BOS, 5, 6, 7, 2, 3, 4, 2, 2, 5, 6, 7}, {BOS, 4, 4, 6, EOS}};
    static const int64_t lengths[3] = {4, 12, 5}, prompts[3] = {2, 3, 4};
    rlhf_ppo_options options = plain_options(16);
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_LEARNED, 1);
    rlhf_model *reference = awake_model(context, RLHF_POSITION_LEARNED, 2);
    rlhf_reward_model *critic = scorer(policy, RLHF_APPEND_EOS_NEVER, 3);
    rlhf_rollout *batch = empty_rollout(context);
    rlhf_ppo_trainer *trainer;

    (void)state;
    options.kl_coef = 0.3;
    assert_ok(
        rlhf_ppo_trainer_create(policy, reference, NULL, critic, &options, &trainer));
    for (int i = 0; i < 3; i++)
        add_answer(batch, rows[i], lengths[i], prompts[i], NULL, i - 1);
    assert_ok(rlhf_ppo_trainer_advantages(trainer, batch));
    for (int i = 0; i < 3; i++) {
        rlhf_rollout *alone = empty_rollout(context);
        add_answer(alone, rows[i], lengths[i], prompts[i], NULL, i - 1);
        assert_ok(rlhf_ppo_trainer_advantages(trainer, alone));
        assert_same_figures(batch, i, alone);
        rlhf_rollout_free(alone);
    }
    rlhf_rollout_free(batch);
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(critic);
    rlhf_model_free(reference);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

static rlhf_generator *run_generator(rlhf_model *model, const int32_t *tokens,
                                     const int64_t *cu_seqlens, int64_t count,
                                     const int64_t *ids)
{
    rlhf_generator_options options;
    rlhf_generator *generator;

    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 12;
    options.seed = 9;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, cu_seqlens, count, ids));
    assert_ok(rlhf_generator_run(generator));
    return generator;
}

static rlhf_generation generation_of(const rlhf_generator *generator, int64_t index)
{
    rlhf_generation g = {.struct_size = sizeof g};

    assert_ok(rlhf_generator_get(generator, index, &g));
    return g;
}

static void test_pitfall_batched_generation_differs_from_one_by_one(void **state)
{
    static const int32_t positions[2] = {RLHF_POSITION_ROTARY, RLHF_POSITION_LEARNED};
    static const int64_t ids[PROMPTS] = {3, 0, 11, 7, 4};
    rlhf_context *context = support_context(NULL, 2);
    int32_t tokens[32];
    int64_t cu_seqlens[PROMPTS + 1];

    (void)state;
    make_prompts(prompt_lengths, PROMPTS, tokens, cu_seqlens);
    for (int p = 0; p < 2; p++) {
        rlhf_model *model = awake_model(context, positions[p], 4);
        rlhf_generator *batch = run_generator(model, tokens, cu_seqlens, PROMPTS, ids);
        for (int i = 0; i < PROMPTS; i++) {
            const int64_t cu[2] = {0, prompt_lengths[i]};
            rlhf_generator *one =
                run_generator(model, tokens + cu_seqlens[i], cu, 1, ids + i);
            const rlhf_generation a = generation_of(batch, i), b = generation_of(one, 0);
            float whole[LENGTH];
            assert_int_equal(a.num_tokens, b.num_tokens);
            assert_memory_equal(a.tokens, b.tokens,
                                (size_t)a.num_tokens * sizeof *a.tokens);
            logprobs_one(model, a.tokens, a.num_tokens, 1, whole);
            const size_t size =
                (size_t)(a.num_tokens - a.num_prompt) * sizeof *a.logprobs;
            assert_memory_equal(a.logprobs, b.logprobs, size);
            assert_memory_equal(a.logprobs, whole + a.num_prompt, size);
            rlhf_generator_free(one);
        }
        rlhf_generator_free(batch);
        rlhf_model_free(model);
    }
    rlhf_context_free(context);
}

/* --- what is recorded --------------------------------------------------------------- */

static rlhf_sampler *cut_sampler(int32_t top_k)
{
    rlhf_sampler_options options;
    rlhf_sampler *sampler;

    assert_ok(rlhf_sampler_options_init(&options, sizeof options));
    options.temperature = 0.5;
    options.top_k = top_k;
    assert_ok(rlhf_sampler_create(&options, &sampler));
    return sampler;
}

/* With top-k and another temperature in the sampler, what PPO records is still the
 * log-softmax of all logits at its own temperature: what the update computes. */
static void test_pitfall_sampler_scores_are_post_processed_logits(void **state)
{
    const int64_t lengths[2] = {3, 6};
    rlhf_ppo_options options = plain_options(8);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_sampler *sampler = cut_sampler(2);
    rlhf_ppo_trainer *trainer;
    rlhf_rollout *rollout;
    int32_t tokens[16];
    int64_t cu_seqlens[3];
    float logprobs[LENGTH];

    (void)state;
    options.temperature = 0.8;
    assert_ok(rlhf_ppo_trainer_create(model, NULL, NULL, NULL, &options, &trainer));
    assert_fails(rlhf_ppo_trainer_set_sampler(trainer, sampler), RLHF_ERR_INVALID_ARG,
                 "softmax");
    rlhf_ppo_trainer_free(trainer);
    options.allow_biased_rollout = 1;
    assert_ok(rlhf_ppo_trainer_create(model, NULL, NULL, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_set_sampler(trainer, sampler));
    make_prompts(lengths, 2, tokens, cu_seqlens);
    assert_ok(rlhf_ppo_trainer_rollout(trainer, tokens, cu_seqlens, 2, &rollout));
    for (int i = 0; i < 2; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        logprobs_one(model, s.tokens, s.num_tokens, 0.8, logprobs);
        assert_memory_equal(s.logprobs + s.num_prompt, logprobs + s.num_prompt,
                            (size_t)s.num_actions * sizeof *logprobs);
    }
    assert_ok(rlhf_rollout_set_scores(rollout, (const float[]){1, 0}, 2));
    const rlhf_ppo_stats stats = update_on(trainer, rollout);
    expect_near("first ratio - 1", stats.first_ratio_deviation, 0, 0);
    expect_near("kl", stats.kl, 0, 0);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pitfall_ratio_not_one_at_start_by_positions),
        cmocka_unit_test(test_pitfall_ratio_not_one_at_start_by_dropout),
        cmocka_unit_test(test_pitfall_ratio_not_one_at_start_by_an_unshifted_mask),
        cmocka_unit_test(test_pitfall_positions_missing_beside_longer_neighbours),
        cmocka_unit_test(test_pitfall_batched_generation_differs_from_one_by_one),
        cmocka_unit_test(test_pitfall_sampler_scores_are_post_processed_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
