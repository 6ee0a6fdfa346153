/* Pitfalls on record around the score: where it stands, what it reads, which tokens it
 * counts. The table in pitfalls.h says which test is whose. */
#include "pitfalls.h"

typedef struct rig {
    rlhf_context *context;
    rlhf_model *policy, *reference;
    rlhf_reward_model *critic;
    rlhf_ppo_trainer *trainer;
} rig;

static rig make_rig(const rlhf_ppo_options *options)
{
    rig r = {.context = support_context(NULL, 1)};

    r.policy = awake_model(r.context, RLHF_POSITION_ROTARY, 1);
    r.reference = awake_model(r.context, RLHF_POSITION_ROTARY, 2);
    r.critic = scorer(r.policy, RLHF_APPEND_EOS_NEVER, 3);
    assert_ok(rlhf_ppo_trainer_create(r.policy, r.reference, NULL, r.critic, options,
                                      &r.trainer));
    return r;
}

static void free_rig(rig *r)
{
    rlhf_ppo_trainer_free(r->trainer);
    rlhf_reward_model_free(r->critic);
    rlhf_model_free(r->reference);
    rlhf_model_free(r->policy);
    rlhf_context_free(r->context);
}

/* --- where the score stands --------------------------------------------------------- */

enum { SHORT_T = 4 };

/* Ends by EOS in the middle, at once, and not at all. */
static rlhf_rollout *three_answers(rlhf_context *context)
{
    const int32_t middle[6] = {BOS, 5, 3, 2, 4, EOS}, at_once[4] = {BOS, 5, 3, EOS};
    const int32_t never[7] = {BOS, 5, 3, 2, 6, 7, 4};
    rlhf_rollout *rollout = empty_rollout(context);

    add_answer(rollout, middle, 6, 3, NULL, 1.5);
    add_answer(rollout, at_once, 4, 3, NULL, -2);
    add_answer(rollout, never, 7, 3, NULL, 3);
    return rollout;
}

/* The score stands on EOS itself; every other slot has the KL penalty alone. */
static void test_pitfall_score_one_slot_after_eos(void **state)
{
    rlhf_ppo_options options = plain_options(SHORT_T);

    (void)state;
    options.kl_coef = 0.1;
    rig r = make_rig(&options);
    rlhf_rollout *rollout = three_answers(r.context);
    assert_ok(rlhf_ppo_trainer_advantages(r.trainer, rollout));
    for (int64_t i = 0; i < 3; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        for (int64_t j = s.num_prompt; j < s.num_tokens; j++) {
            const double penalty =
                -0.1 * ((double)s.logprobs[j] - (double)s.ref_logprobs[j]);
            assert_true(penalty != 0);
            expect_near("reward", (double)s.rewards[j],
                        penalty + (j == s.num_tokens - 1 ? s.score : 0), 1e-6);
        }
    }
    rlhf_rollout_free(rollout);
    free_rig(&r);
}

/* The switch that asks for the later slot gives it one of its own: with gamma = lambda =
 * 1 the advantages of the actions are what they were. */
static void test_pitfall_slot_after_eos_changes_no_action(void **state)
{
    rlhf_ppo_options options = plain_options(SHORT_T);
    float before[3][8];

    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        options.score_slot = mode ? RLHF_SCORE_AFTER_LAST : RLHF_SCORE_AT_LAST;
        rig r = make_rig(&options);
        rlhf_rollout *rollout = three_answers(r.context);
        assert_ok(rlhf_ppo_trainer_advantages(r.trainer, rollout));
        for (int64_t i = 0; i < 3; i++) {
            const rlhf_rollout_sequence s = sequence_of(rollout, i);
            const int full = s.num_actions == SHORT_T; /* no slot is left */
            expect_near("reward at the last action", (double)s.rewards[s.num_tokens - 1],
                        mode && !full ? 0 : s.score, 0);
            for (int64_t j = s.num_prompt; j < s.num_tokens; j++)
                if (mode)
                    expect_near("advantage", (double)s.advantages[j],
                                (double)before[i][j], 1e-5);
                else
                    before[i][j] = s.advantages[j];
        }
        rlhf_rollout_free(rollout);
        free_rig(&r);
    }
}

/* Stop token 5, EOS 1: an answer that ends by 5 is whole whatever it contains, one that
 * has an EOS in it and no 5 is not. */
static void test_pitfall_penalty_tests_eos_not_the_stop_token(void **state)
{
    static const int32_t answers[2][8] = {{3, EOS, 5}, {3, EOS, EOS, EOS}};
    const int64_t lengths[2] = {3, 2}, expected_tokens[2] = {6, 6};
    const double expected[2] = {0.7f, -1};
    const float scores[2] = {0.7f, 0.7f};
    script own = {answers};
    rlhf_ppo_options options = plain_options(4);
    int32_t tokens[8];
    int64_t cu_seqlens[3];
    rlhf_rollout *rollout;

    (void)state;
    options.stop_token_id = 5;
    options.missing_eos = RLHF_MISSING_EOS_REPLACE;
    options.missing_eos_value = -1;
    rig r = make_rig(&options);
    rlhf_sampler *sampler = script_sampler(&own);
    assert_ok(rlhf_ppo_trainer_set_sampler(r.trainer, sampler));
    make_prompts(lengths, 2, tokens, cu_seqlens);
    assert_ok(rlhf_ppo_trainer_rollout(r.trainer, tokens, cu_seqlens, 2, &rollout));
    assert_ok(rlhf_rollout_set_scores(rollout, scores, 2));
    const rlhf_ppo_stats stats = update_on(r.trainer, rollout);
    for (int64_t i = 0; i < 2; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        assert_int_equal(s.num_tokens, expected_tokens[i]);
        assert_int_equal(s.finish, i == 0 ? RLHF_FINISH_STOP : RLHF_FINISH_LENGTH);
        expect_near("reward", (double)s.rewards[s.num_tokens - 1], expected[i], 0);
    }
    expect_near("eos_rate", stats.eos_rate, 0.5, 0);
    rlhf_rollout_free(rollout);
    rlhf_sampler_free(sampler);
    free_rig(&r);
}

/* The action at j is predicted, and its value given, by the tokens before j: neither by
 * itself nor by one too few. */
static void test_pitfall_logits_or_values_off_by_one(void **state)
{
    const int64_t lengths[4] = {1, 4, 9, 2};
    rlhf_ppo_options options = plain_options(7);
    int32_t tokens[16];
    int64_t cu_seqlens[5];
    rlhf_rollout *rollout;

    (void)state;
    options.micro_batch_tokens = 20;
    rig r = make_rig(&options);
    make_prompts(lengths, 4, tokens, cu_seqlens);
    assert_ok(rlhf_ppo_trainer_rollout(r.trainer, tokens, cu_seqlens, 4, &rollout));
    assert_ok(rlhf_rollout_set_scores(rollout, (const float[]){1, 2, 3, 4}, 4));
    assert_ok(rlhf_ppo_trainer_advantages(r.trainer, rollout));
    for (int64_t i = 0; i < 4; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        float policy[LENGTH], reference[LENGTH];
        assert_int_equal(s.num_prompt, lengths[i]);
        logprobs_one(r.policy, s.tokens, s.num_tokens, 1, policy);
        logprobs_one(r.reference, s.tokens, s.num_tokens, 1, reference);
        for (int64_t j = 0; j < s.num_tokens; j++) {
            const int action = j >= lengths[i];
            assert_int_equal(s.action_mask[j], action);
            expect_near("log pi", (double)s.logprobs[j], action ? (double)policy[j] : 0,
                        0);
            expect_near("log pi_ref", (double)s.ref_logprobs[j],
                        action ? (double)reference[j] : 0, 0);
            expect_near("V", (double)s.values[j],
                        action ? (double)score_one(r.critic, s.tokens, j) : 0, 0);
        }
    }
    rlhf_rollout_free(rollout);
    free_rig(&r);
}

/* --- what the score reads ----------------------------------------------------------- */

static rlhf_model *padded_model(rlhf_context *context)
{
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;

    config.initializer_range = 0.4;
    config.pad_token_id = EOS; /* as many published folders have it */
    assert_ok(rlhf_model_create(context, &config, 1, &model));
    return model;
}

/* The score is read at the last token, though EOS (also the pad token) stands in the
 * prompt, in the answer, and at the end; a value of the same network, which knows no
 * "last", agrees. */
static void test_pitfall_last_token_search_finds_pads_or_an_early_eos(void **state)
{
    static const int32_t rows[4][6] = {
        {BOS, EOS, EOS, 3, 4}, {EOS, EOS, BOS, 5}, {BOS, 3, 4, EOS, EOS}, {BOS, EOS}};
    static const int64_t lengths[4] = {5, 4, 5, 2};
    const rlhf_ppo_options options = plain_options(8);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = padded_model(context);
    rlhf_reward_model *reward = scorer(model, RLHF_APPEND_EOS_NEVER, 3);
    rlhf_reward_model *critic = scorer(model, RLHF_APPEND_EOS_NEVER, 3);
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *trainer;
    int32_t all[32];
    int64_t cu_seqlens[5] = {0};
    float together[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        int32_t row[8];
        memcpy(all + cu_seqlens[i], rows[i], (size_t)lengths[i] * sizeof *all);
        cu_seqlens[i + 1] = cu_seqlens[i] + lengths[i];
        memcpy(row, rows[i], (size_t)lengths[i] * sizeof *row);
        row[lengths[i]] = 2; /* any action: its value is of the tokens before */
        add_answer(rollout, row, lengths[i] + 1, lengths[i], NULL, 0);
    }
    assert_ok(rlhf_ppo_trainer_create(model, NULL, NULL, critic, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    assert_ok(rlhf_reward_model_score(reward, all, cu_seqlens, 4, together));
    for (int i = 0; i < 4; i++) {
        const float alone = score_one(reward, rows[i], lengths[i]);
        expect_near("score beside its value", (double)alone,
                    (double)sequence_of(rollout, i).values[lengths[i]], 0);
        expect_near("score in a batch", (double)together[i], (double)alone, 0);
        assert_true(alone != score_one(reward, rows[i], lengths[i] - 1));
    }
    rlhf_ppo_trainer_free(trainer);
    rlhf_rollout_free(rollout);
    rlhf_reward_model_free(critic);
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- one rule for EOS --------------------------------------------------------------- */

static const int32_t chosen_rows[3][5] = {
    {BOS, 3, 4, 5, 2}, {BOS, 6, 2, EOS}, {BOS, 7, 7, 3}};
static const int32_t rejected_rows[3][5] = {
    {BOS, 3, 2}, {BOS, 6, 4, 4}, {BOS, 7, 2, EOS}};
static const int64_t chosen_lengths[3] = {5, 4, 4}, rejected_lengths[3] = {3, 4, 4};

static rlhf_dataset *make_pairs(rlhf_context *context)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int i = 0; i < 3; i++) {
        const rlhf_example row = {.struct_size = sizeof row,
                                  .tokens = chosen_rows[i],
                                  .num_tokens = chosen_lengths[i],
                                  .prompt_length = 2,
                                  .rejected = rejected_rows[i],
                                  .num_rejected = rejected_lengths[i]};
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

/* What the trainer's figures say of the pairs, against the public score of the same
 * tokens. */
static void check_training_scores(rlhf_context *context, rlhf_reward_model *reward)
{
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    rlhf_dataset *pairs = make_pairs(context);
    rlhf_reward_trainer *trainer;
    double loss = 0, margin = 0;

    for (int i = 0; i < 3; i++) {
        const double d = (double)score_one(reward, chosen_rows[i], chosen_lengths[i]) -
                         (double)score_one(reward, rejected_rows[i], rejected_lengths[i]);
        loss += log1p(exp(-d)) / 3;
        margin += d / 3;
    }
    assert_ok(rlhf_reward_trainer_create(reward, pairs, NULL, &trainer));
    assert_ok(rlhf_reward_trainer_evaluate(trainer, pairs, 0, &stats));
    expect_near("loss", stats.loss, loss, 1e-6);
    expect_near("margin", stats.margin, margin, 1e-6);
    rlhf_reward_trainer_free(trainer);
    rlhf_dataset_free(pairs);
}

static void check_ppo_scores(rlhf_context *context, rlhf_model *model,
                             rlhf_reward_model *reward)
{
    const rlhf_ppo_options options = plain_options(8);
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *trainer;

    assert_ok(rlhf_ppo_trainer_create(model, NULL, reward, NULL, &options, &trainer));
    for (int i = 0; i < 3; i++)
        add_answer(rollout, chosen_rows[i], chosen_lengths[i], 2, NULL, NAN);
    assert_ok(rlhf_ppo_trainer_score(trainer, rollout));
    for (int i = 0; i < 3; i++)
        expect_near("score in PPO", sequence_of(rollout, i).score,
                    (double)score_one(reward, chosen_rows[i], chosen_lengths[i]), 0);
    rlhf_ppo_trainer_free(trainer);
    rlhf_rollout_free(rollout);
}

/* Training, evaluation, scoring and PPO read the same tokens: EOS appended in all or in
 * none. */
static void test_pitfall_eos_in_training_but_not_in_scoring(void **state)
{
    const int32_t with_eos[6] = {BOS, 3, 4, 5, 2, EOS};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = awake_model(context, RLHF_POSITION_LEARNED, 1);
    rlhf_reward_model *never = scorer(model, RLHF_APPEND_EOS_NEVER, 4);
    rlhf_reward_model *if_missing = scorer(model, RLHF_APPEND_EOS_IF_MISSING, 4);

    (void)state;
    expect_near("score with EOS appended", (double)score_one(if_missing, with_eos, 5),
                (double)score_one(never, with_eos, 6), 0);
    expect_near("score with EOS there", (double)score_one(if_missing, with_eos, 6),
                (double)score_one(never, with_eos, 6), 0);
    assert_true(score_one(never, with_eos, 5) != score_one(never, with_eos, 6));
    check_training_scores(context, never);
    check_training_scores(context, if_missing);
    check_ppo_scores(context, model, never);
    check_ppo_scores(context, model, if_missing);
    rlhf_reward_model_free(if_missing);
    rlhf_reward_model_free(never);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- which tokens count ------------------------------------------------------------- */

/* Ids equal to EOS and to the pad token, in the prompt and in the middle of the answer,
 * are tokens as any other: the prompt is masked by its length, the answer trained on by
 * its places. */
static void test_pitfall_mask_inferred_from_ids(void **state)
{
    static const int32_t answers[1][8] = {{2, EOS, EOS, 4}};
    const int32_t prompt[4] = {BOS, EOS, EOS, 3};
    const int64_t cu_seqlens[2] = {0, 4};
    script own = {answers};
    rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = padded_model(context);
    rlhf_sampler *sampler = script_sampler(&own);
    rlhf_ppo_trainer *trainer;
    rlhf_rollout *rollout;
    float logprobs[LENGTH];

    (void)state;
    options.stop_token_id = -2;
    assert_ok(rlhf_ppo_trainer_create(model, NULL, NULL, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_set_sampler(trainer, sampler));
    assert_ok(rlhf_ppo_trainer_rollout(trainer, prompt, cu_seqlens, 1, &rollout));
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    logprobs_one(model, s.tokens, 8, 1, logprobs);
    assert_int_equal(s.num_tokens, 8);
    assert_int_equal(s.num_prompt, 4);
    assert_int_equal(s.num_actions, 4);
    assert_memory_equal(s.tokens, prompt, sizeof prompt);
    assert_memory_equal(s.logprobs + 4, logprobs + 4, 4 * sizeof *logprobs);
    assert_ok(rlhf_rollout_set_scores(rollout, (const float[]){1}, 1));
    const rlhf_ppo_stats stats = update_on(trainer, rollout);
    assert_memory_equal(sequence_of(rollout, 0).ref_logprobs + 4, logprobs + 4,
                        4 * sizeof *logprobs);
    assert_int_equal(stats.num_tokens, 4);
    expect_near("first ratio", stats.first_ratio_deviation, 0, 0);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_pitfall_targets_inferred_from_ids(void **state)
{
    const int32_t row[7] = {BOS, EOS, EOS, 2, EOS, 3, EOS};
    const rlhf_example example = {.struct_size = sizeof example,
                                  .tokens = row,
                                  .num_tokens = 7,
                                  .prompt_length = 3};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = padded_model(context);
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    rlhf_dataset_options options;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
    float logprobs[7];
    double loss = 0;

    (void)state;
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_COMPLETION;
    options.num_epochs = 1;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    assert_ok(rlhf_dataset_append(dataset, &example));
    logprobs_one(model, row, 7, 1, logprobs);
    for (int t = 3; t < 7; t++)
        loss -= (double)logprobs[t] / 4;
    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    assert_ok(rlhf_lm_trainer_step(trainer, &stats));
    assert_int_equal(stats.num_targets, 4);
    expect_near("loss", stats.loss, loss, 1e-6);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* With pad = EOS too, the EOS that the policy chose is an action: the gradient of its
 * logits is A (p - onehot). */
static void test_pitfall_loss_mask_drops_the_eos_action(void **state)
{
    const double p[3] = {.5, .3, .2};
    const int32_t answer[3] = {BOS, 2, EOS};
    const rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = known_model(context, 3, p);
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *trainer;
    float gradient[3 * WIDTH];
    int64_t remaining;

    (void)state;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    add_answer(rollout, answer, 3, 2, NULL, 1); /* EOS alone is the answer */
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    assert_ok(rlhf_ppo_trainer_accumulate(trainer, rollout, &remaining));
    assert_ok(
        rlhf_ppo_trainer_gradient(trainer, 0, "lm_head.weight", gradient, 3 * WIDTH));
    for (int v = 0; v < 3; v++)
        expect_near("gradient", (double)gradient[v * WIDTH], p[v] - (v == EOS), 1e-4);
    assert_int_equal(sequence_of(rollout, 0).num_actions, 1);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* A prompt far longer than the answer is read whole. */
static void test_pitfall_query_truncated_to_the_response_length(void **state)
{
    const int64_t lengths[1] = {14};
    const rlhf_ppo_options options = plain_options(2);
    int32_t tokens[16];
    int64_t cu_seqlens[2];
    rlhf_rollout *rollout;
    float whole[LENGTH], cut[LENGTH];

    (void)state;
    rig r = make_rig(&options);
    make_prompts(lengths, 1, tokens, cu_seqlens);
    assert_ok(rlhf_ppo_trainer_rollout(r.trainer, tokens, cu_seqlens, 1, &rollout));
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    assert_int_equal(s.num_prompt, 14);
    assert_memory_equal(s.tokens, tokens, 14 * sizeof *tokens);
    logprobs_one(r.policy, s.tokens, s.num_tokens, 1, whole);
    logprobs_one(r.policy, s.tokens + 12, s.num_tokens - 12, 1, cut);
    assert_true(whole[14] != cut[2]);
    expect_near("log pi", (double)s.logprobs[14], (double)whole[14], 0);
    rlhf_rollout_free(rollout);
    free_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pitfall_score_one_slot_after_eos),
        cmocka_unit_test(test_pitfall_slot_after_eos_changes_no_action),
        cmocka_unit_test(test_pitfall_penalty_tests_eos_not_the_stop_token),
        cmocka_unit_test(test_pitfall_logits_or_values_off_by_one),
        cmocka_unit_test(test_pitfall_last_token_search_finds_pads_or_an_early_eos),
        cmocka_unit_test(test_pitfall_eos_in_training_but_not_in_scoring),
        cmocka_unit_test(test_pitfall_mask_inferred_from_ids),
        cmocka_unit_test(test_pitfall_targets_inferred_from_ids),
        cmocka_unit_test(test_pitfall_loss_mask_drops_the_eos_action),
        cmocka_unit_test(test_pitfall_query_truncated_to_the_response_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
