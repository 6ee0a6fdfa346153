/* What holds in every PPO run: the first ratio is exactly 1 and the first KL exactly 0,
 * frozen networks stay as they are to the bit, an evaluation changes nothing. */
#include "train_support.h"

#include "test_files.h"

enum { PROMPTS = 6 };

/* Ragged prompts. */
static const int32_t prompts[15] = {0, 2, 3, 0, 4, 0, 6, 7, 8, 0, 9, 0, 0, 3, 2};
static const int64_t prompt_ends[PROMPTS + 1] = {0, 3, 5, 9, 11, 12, 15};

static char folder[TEST_PATH];

static int setup(void **state)
{
    (void)state;
    test_folder_make(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_folder_remove(folder);
    return 0;
}

/* Several epochs, minibatches and micro-batches; everything moves. */
static rlhf_ppo_options busy_options(void)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    o.max_new_tokens = 7;
    o.min_new_tokens = 2;
    o.temperature = .7;
    o.num_epochs = 2;
    o.num_minibatches = 2;
    o.rollout_batch = 4;
    o.micro_batch_tokens = 20;
    o.learning_rate = o.value_learning_rate = 5e-3;
    o.kl_target = 3;
    o.kl_horizon = 100;
    o.score_normalize = RLHF_SCORE_RUNNING;
    o.seed = 8;
    return o;
}

typedef struct run {
    rlhf_context *context;
    rlhf_model *policy, *reference;
    rlhf_reward_model *reward;
    rlhf_ppo_trainer *trainer;
} run;

static rlhf_model *make_policy(rlhf_context *context, int gpt2, uint64_t seed)
{
    rlhf_model_config config = tiny_config(WORDS, CONTEXT);
    rlhf_model *model;

    if (gpt2) {
        make_gpt2_like(&config);
    } else {
        config.num_heads = 4;
        config.num_kv_heads = 2;
    }
    assert_ok(rlhf_model_create(context, &config, seed, &model));
    return model;
}

static run make_run(const rlhf_ppo_options *o, int gpt2, int own_reference, uint64_t seed)
{
    run r = {.context = support_context(NULL, 2)};

    r.policy = make_policy(r.context, gpt2, seed);
    if (own_reference)
        assert_ok(rlhf_model_clone(r.policy, &r.reference));
    r.reward = tiny_reward_model(r.context, 7, RLHF_APPEND_EOS_IF_MISSING);
    assert_ok(
        rlhf_ppo_trainer_create(r.policy, r.reference, r.reward, NULL, o, &r.trainer));
    return r;
}

static void free_run(run *r)
{
    rlhf_ppo_trainer_free(r->trainer);
    rlhf_reward_model_free(r->reward);
    rlhf_model_free(r->reference);
    rlhf_model_free(r->policy);
    rlhf_context_free(r->context);
}

static rlhf_ppo_stats step(run *r)
{
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};

    assert_ok(rlhf_ppo_trainer_step(r->trainer, prompts, prompt_ends, PROMPTS, &stats));
    assert_int_equal(stats.num_steps, 2 * 2);
    return stats;
}

static void assert_first_ratio_is_one(const rlhf_ppo_stats *stats)
{
    if (stats->first_ratio_deviation != 0)
        fail_msg("the first ratio of iteration %d is off by %g", (int)stats->iteration,
                 stats->first_ratio_deviation);
    assert_true(stats->approxkl > 0); /* later minibatches do move */
}

/* --- ratio and KL ------------------------------------------------------------------- */

static void test_first_ratio_is_one_in_every_iteration(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        rlhf_ppo_options o = busy_options();
        if (i & 2)
            o.train_past_stop = 1;
        if (i & 4) {
            o.score_slot = RLHF_SCORE_AFTER_LAST;
            o.whiten_scope = RLHF_WHITEN_MINIBATCH;
        }
        run r = make_run(&o, i & 1, 1, 1);
        for (int k = 0; k < 4; k++) {
            const rlhf_ppo_stats stats = step(&r);
            assert_first_ratio_is_one(&stats);
        }
        free_run(&r);
    }
}

static void test_first_ratio_is_one_after_the_host_writes_parameters(void **state)
{
    const rlhf_ppo_options o = busy_options();
    run r = make_run(&o, 0, 1, 1);
    float values[WORDS * 16];

    (void)state;
    for (int k = 0; k < 3; k++) {
        const rlhf_ppo_stats stats = step(&r);
        assert_first_ratio_is_one(&stats);
        assert_ok(rlhf_model_parameter_read(r.policy, "model.embed_tokens.weight", values,
                                            WORDS * 16));
        for (int i = 0; i < WORDS * 16; i++)
            values[i] *= 1.5f;
        assert_ok(rlhf_model_parameter_write(r.policy, "model.embed_tokens.weight",
                                             values, WORDS * 16));
    }
    free_run(&r);
}

static void test_first_ratio_is_one_after_resume(void **state)
{
    const rlhf_ppo_options o = busy_options();
    run a = make_run(&o, 0, 1, 1), b = make_run(&o, 0, 1, 30);

    (void)state;
    for (int k = 0; k < 2; k++)
        (void)step(&a);
    assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
    assert_ok(rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), NULL));
    for (int k = 0; k < 2; k++) {
        const rlhf_ppo_stats stats = step(&b);
        assert_int_equal(stats.iteration, 3 + k);
        assert_first_ratio_is_one(&stats);
    }
    free_run(&a);
    free_run(&b);
}

static void
test_first_ratio_is_one_on_samples_whose_logprobs_the_policy_gives(void **state)
{
    const rlhf_ppo_options o = plain_options();
    const sample s[2] = {
        {.tokens = {BOS, 5, 3, 7}, .num_tokens = 4, .first = 2, .last = 3, .score = 1},
        {.tokens = {BOS, 6, 2, 4, 8},
         .num_tokens = 5,
         .first = 1,
         .last = 4,
         .score = 2}};
    ppo_fixture f = ppo_make(&o, 3);

    (void)state;
    for (int k = 0; k < 3; k++)
        assert_true(train_on(&f, make_rollout(&f, s, 2, OLD_OF_POLICY, 0))
                        .first_ratio_deviation == 0);
    ppo_free(&f);
}

static void test_first_kl_is_exactly_zero(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const rlhf_ppo_options o = busy_options();
        run r = make_run(&o, i & 1, i & 2, 1);
        const rlhf_ppo_stats first = step(&r), second = step(&r);
        assert_true(first.kl == 0);
        assert_true(first.non_score_reward == 0);
        assert_true(first.rlhf_reward == first.score);
        assert_true(second.kl != 0);
        free_run(&r);
    }
}

/* --- frozen networks ---------------------------------------------------------------- */

static void test_reference_and_reward_model_keep_every_bit(void **state)
{
    const rlhf_ppo_options o = busy_options();
    run r = make_run(&o, 0, 1, 1);
    rlhf_model *policy, *reference;
    rlhf_reward_model *reward, *critic;
    double scale, offset;
    int64_t n, m;

    (void)state;
    assert_ok(rlhf_reward_model_set_affine(r.reward, 1.5, -.25));
    assert_ok(rlhf_reward_model_clone(r.reward, &reward));
    assert_ok(rlhf_model_clone(r.reference, &reference));
    assert_ok(rlhf_model_clone(r.policy, &policy));
    for (int k = 0; k < 5; k++)
        (void)step(&r);
    assert_same_model(r.reference, reference);
    assert_same_reward(r.reward, reward);
    assert_ok(rlhf_reward_model_get_affine(r.reward, &scale, &offset));
    assert_true(scale == 1.5 && offset == -.25);
    /* While what is trained has moved. */
    assert_ok(rlhf_ppo_trainer_clone_critic(r.trainer, &critic));
    float *x = model_values(r.policy, &n), *y = model_values(policy, &m);
    assert_memory_not_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
    x = reward_values(critic, &n);
    y = reward_values(reward, &m);
    assert_memory_not_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
    rlhf_reward_model_free(critic);
    rlhf_reward_model_free(reward);
    rlhf_model_free(reference);
    rlhf_model_free(policy);
    free_run(&r);
}

/* --- evaluation --------------------------------------------------------------------- */

static void assert_same_state(run *a, run *b)
{
    rlhf_reward_model *x, *y;

    assert_same_model(a->policy, b->policy);
    assert_ok(rlhf_ppo_trainer_clone_critic(a->trainer, &x));
    assert_ok(rlhf_ppo_trainer_clone_critic(b->trainer, &y));
    assert_same_reward(x, y);
    rlhf_reward_model_free(x);
    rlhf_reward_model_free(y);
}

/* Evaluated between iterations and within an update, or not at all: one run. */
static void test_evaluation_on_held_out_prompts_changes_nothing(void **state)
{
    static const int32_t held_out[6] = {0, 10, 11, 0, 5, 9};
    static const int64_t ends[3] = {0, 3, 6};
    const rlhf_ppo_options o = busy_options();
    run a = make_run(&o, 0, 1, 1), b = make_run(&o, 0, 1, 1);
    rlhf_ppo_stats stats = {.struct_size = sizeof stats}, again = stats;
    rlhf_rollout *rollout, *answers;
    int64_t remaining;
    int32_t done = 0;
    float scores[2];

    (void)state;
    (void)step(&a);
    (void)step(&a);
    assert_ok(rlhf_ppo_trainer_evaluate(b.trainer, held_out, ends, 2, &stats, NULL));
    assert_true(stats.kl == 0);
    (void)step(&b);
    assert_ok(
        rlhf_ppo_trainer_rollout(b.trainer, prompts, prompt_ends, PROMPTS, &rollout));
    assert_ok(rlhf_ppo_trainer_score(b.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_advantages(b.trainer, rollout));
    while (!done) {
        assert_ok(rlhf_ppo_trainer_accumulate(b.trainer, rollout, &remaining));
        assert_ok(rlhf_ppo_trainer_evaluate(b.trainer, held_out, ends, 2, &stats, NULL));
        assert_ok(
            rlhf_ppo_trainer_evaluate(b.trainer, held_out, ends, 2, &again, &answers));
        assert_memory_equal(&stats, &again,
                            sizeof stats); /* its own stream, every time */
        if (remaining == 0)
            assert_ok(rlhf_ppo_trainer_apply(b.trainer, &done, NULL));
        if (!done)
            rlhf_rollout_free(answers);
    }
    rlhf_rollout_free(rollout);
    assert_same_state(&a, &b);
    assert_int_equal(rlhf_ppo_trainer_num_iterations(b.trainer), 2);
    /* What it says of the answers is so. */
    assert_int_equal(rlhf_rollout_num_sequences(answers), 2);
    const rlhf_rollout_sequence s = sequence_of(answers, 0), t = sequence_of(answers, 1);
    const int64_t cu_seqlens[3] = {0, s.num_tokens, s.num_tokens + t.num_tokens};
    int32_t tokens[2 * CONTEXT];
    memcpy(tokens, s.tokens, (size_t)s.num_tokens * sizeof *tokens);
    memcpy(tokens + s.num_tokens, t.tokens, (size_t)t.num_tokens * sizeof *tokens);
    assert_ok(rlhf_reward_model_score(b.reward, tokens, cu_seqlens, 2, scores));
    assert_near("score", again.score, ((double)scores[0] + (double)scores[1]) / 2, 1e-6);
    assert_near("kl", again.kl, (s.kl + t.kl) / 2, 1e-9);
    assert_near("length", again.response_length,
                (double)(s.num_actions + t.num_actions) / 2, 0);
    assert_near("eos rate", again.eos_rate,
                ((s.finish == RLHF_FINISH_STOP) + (t.finish == RLHF_FINISH_STOP)) / 2.,
                0);
    rlhf_rollout_free(answers);
    free_run(&a);
    free_run(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_ratio_is_one_in_every_iteration),
        cmocka_unit_test(test_first_ratio_is_one_after_the_host_writes_parameters),
        cmocka_unit_test_setup_teardown(test_first_ratio_is_one_after_resume, setup,
                                        teardown),
        cmocka_unit_test(
            test_first_ratio_is_one_on_samples_whose_logprobs_the_policy_gives),
        cmocka_unit_test(test_first_kl_is_exactly_zero),
        cmocka_unit_test(test_reference_and_reward_model_keep_every_bit),
        cmocka_unit_test(test_evaluation_on_held_out_prompts_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
