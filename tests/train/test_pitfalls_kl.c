/* Pitfalls on record around KL and the figures of an iteration: signs, estimators,
 * prompts and pads counted in. The table in pitfalls.h says which test is whose. */
#include "pitfalls.h"

/* --- KL ----------------------------------------------------------------------------- */

enum { ARMS = 4, SAMPLES = 1024 };
static const double arms[ARMS] = {.1, .6, .2, .1}, even[ARMS] = {.25, .25, .25, .25};

/* log p of action `t`: EOS is masked for the first one, and the rest fills its place. */
static double arm_logprob(const double *p, int32_t token, int64_t t)
{
    return log(p[token]) - (t == 0 ? log1p(-p[EOS]) : 0);
}

/* KL of the answers (two tokens, the first not EOS) of the policy from the reference. */
static double exact_kl(void)
{
    double kl = 0;

    for (int64_t t = 0; t < 2; t++)
        for (int32_t v = 0; v < ARMS; v++) {
            const double own = arm_logprob(arms, v, t), other = arm_logprob(even, v, t);
            if (t > 0 || v != EOS)
                kl += exp(own) * (own - other);
        }
    return kl;
}

/* A minimum length masks EOS in sampler, policy and reference alike: each sequence has
 * the log ratio of the two masked distributions, and their mean is a KL again, hence not
 * negative. */
static void test_pitfall_negative_kl(void **state)
{
    static int32_t tokens[SAMPLES];
    static int64_t cu_seqlens[SAMPLES + 1];
    static float scores[SAMPLES];
    rlhf_ppo_options options = plain_options(2);
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *policy = known_model(context, ARMS, arms);
    rlhf_model *reference = known_model(context, ARMS, even);
    rlhf_ppo_trainer *trainer;
    rlhf_rollout *rollout;
    double sum = 0, squares = 0;

    (void)state;
    options.min_new_tokens = 1;
    for (int64_t i = 0; i <= SAMPLES; i++)
        cu_seqlens[i] = i;
    assert_ok(rlhf_ppo_trainer_create(policy, reference, NULL, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_rollout(trainer, tokens, cu_seqlens, SAMPLES, &rollout));
    assert_ok(rlhf_rollout_set_scores(rollout, scores, SAMPLES));
    const rlhf_ppo_stats stats = update_on(trainer, rollout);
    for (int64_t i = 0; i < SAMPLES; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        double kl = 0;
        assert_int_equal(s.num_tokens, 3);
        assert_int_not_equal(s.tokens[1], EOS);
        for (int64_t t = 0; t < 2; t++)
            kl += arm_logprob(arms, s.tokens[1 + t], t) -
                  arm_logprob(even, s.tokens[1 + t], t);
        expect_near("kl of a sequence", s.kl, kl, 1e-4);
        sum += s.kl / SAMPLES;
        squares += s.kl * s.kl / SAMPLES;
    }
    expect_near("stats.kl", stats.kl, sum, 1e-9);
    expect_near("mean kl", sum, exact_kl(), 5 * sqrt((squares - sum * sum) / SAMPLES));
    assert_true(stats.kl > 0);
    expect_near("first ratio - 1", stats.first_ratio_deviation, 0, 0);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(reference);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* Two arms of probability 3/4 and 1/4, reference even; four samples in just those shares,
 * so that their mean is the expectation. Prompts before them, of any length, are no part
 * of it. */
typedef struct coin {
    rlhf_context *context;
    rlhf_model *policy, *reference;
    rlhf_ppo_trainer *trainer;
    rlhf_rollout *rollout;
} coin;

static coin make_coin(const rlhf_ppo_options *options)
{
    static const double biased[2] = {.75, .25}, fair[2] = {.5, .5};
    coin c = {.context = support_context(NULL, 1)};

    c.policy = known_model(c.context, 2, biased);
    c.reference = known_model(c.context, 2, fair);
    assert_ok(
        rlhf_ppo_trainer_create(c.policy, c.reference, NULL, NULL, options, &c.trainer));
    c.rollout = empty_rollout(c.context);
    for (int i = 0; i < 4; i++) {
        const int32_t tokens[6] = {0, 0, 0, 0, 0, i == 3};
        add_answer(c.rollout, tokens + i, 6 - i, 5 - i, NULL, 0);
    }
    assert_ok(rlhf_ppo_trainer_advantages(c.trainer, c.rollout));
    return c;
}

static void free_coin(coin *c)
{
    rlhf_rollout_free(c->rollout);
    rlhf_ppo_trainer_free(c->trainer);
    rlhf_model_free(c->reference);
    rlhf_model_free(c->policy);
    rlhf_context_free(c->context);
}

/* Gradient of the loss with respect to the first arm's logit. */
static double coin_gradient(int32_t estimator)
{
    rlhf_ppo_options options = plain_options(4);
    float gradient[2 * WIDTH];
    int64_t remaining;

    options.kl_coef = 1;
    options.kl_estimator = estimator;
    coin c = make_coin(&options);
    assert_ok(rlhf_ppo_trainer_accumulate(c.trainer, c.rollout, &remaining));
    assert_ok(
        rlhf_ppo_trainer_gradient(c.trainer, 0, "lm_head.weight", gradient, 2 * WIDTH));
    expect_near("gradients of the two arms",
                (double)gradient[0] + (double)gradient[WIDTH], 0, 1e-6);
    free_coin(&c);
    return (double)gradient[0];
}

/* d KL(pi || ref) / dz is .205990: k1 in the reward, the default, has it without bias.
 * k3, right as a number, is no gradient of the KL: pi_a k3_a ([a = 1] - pi_1) sums to
 * -.044010, and in the loss it would have been the .25 of KL(ref || pi). */
static void test_pitfall_k3_gradient_is_biased(void **state)
{
    rlhf_ppo_options options;

    (void)state;
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    assert_int_equal(options.kl_estimator, RLHF_KL_K1);
    expect_near("gradient with k1", coin_gradient(RLHF_KL_K1), .205990, 1e-4);
    expect_near("gradient with k3", coin_gradient(RLHF_KL_K3), -.044010, 1e-4);
}

/* The controller is steered by sum Delta = .130812: above a target of .125. A
 * sign-reversed k3
 * (.119188) would be below it. */
static void test_pitfall_controller_kl_has_the_wrong_sign(void **state)
{
    rlhf_ppo_options options = plain_options(4);
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};

    (void)state;
    options.kl_coef = 0.5;
    options.kl_target = 0.125;
    options.kl_horizon = 40;
    options.learning_rate = 0;
    coin c = make_coin(&options);
    assert_ok(rlhf_ppo_trainer_update(c.trainer, c.rollout, &stats));
    expect_near("kl", stats.kl, .130812, 1e-5);
    expect_near("kl_coef used", stats.kl_coef, .5, 0);
    stats = update_on(c.trainer, c.rollout);
    expect_near("kl_coef after", stats.kl_coef, .5 * (1 + (.130812 / .125 - 1) * 4 / 40),
                1e-6);
    free_coin(&c);
}

/* The policy differs from the reference in every prompt token, and no prompt is as long
 * as another: the KL is that of the one action, sequence by sequence. */
static void test_pitfall_kl_includes_the_prompt(void **state)
{
    const rlhf_ppo_options options = plain_options(4);

    (void)state;
    coin c = make_coin(&options);
    for (int i = 0; i < 4; i++) {
        const rlhf_rollout_sequence s = sequence_of(c.rollout, i);
        assert_int_equal(s.num_prompt, 5 - i);
        expect_near("kl of a sequence", s.kl, log(i == 3 ? .5 : 1.5), 1e-5);
    }
    free_coin(&c);
}

/* --- figures over ragged answers ---------------------------------------------------- */

/* Answers of 1 to 7 tokens whose old log-probs lie `lag` below the policy's. */
static rlhf_rollout *lagging_answers(rlhf_context *context, const double *p, double lag)
{
    rlhf_rollout *rollout = empty_rollout(context);

    for (int64_t n = 1; n < 8; n += 2) {
        int32_t tokens[9] = {BOS};
        float logprobs[9] = {0};
        for (int64_t t = 1; t <= n; t++) {
            tokens[t] = t == n ? EOS : (int32_t)(2 + t % 2);
            logprobs[t] = (float)(log(p[tokens[t]]) - lag);
        }
        add_answer(rollout, tokens, n + 1, 1, logprobs, 0);
    }
    return rollout;
}

/* Entropy and approxkl are means over the actions: where each is the same at every
 * action, the mean is that number, whatever the lengths. */
static void test_pitfall_entropy_and_approxkl_average_over_pads(void **state)
{
    rlhf_ppo_options options = plain_options(8);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = known_model(context, ARMS, arms);
    rlhf_ppo_trainer *trainer;
    double entropy = 0;

    (void)state;
    for (int v = 0; v < ARMS; v++)
        entropy -= arms[v] * log(arms[v]);
    options.learning_rate = 0;
    options.num_minibatches = 2;
    options.micro_batch_tokens = 5;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    rlhf_rollout *rollout = lagging_answers(context, arms, 0.1);
    rlhf_ppo_stats drawn = {.struct_size = sizeof drawn};
    assert_ok(rlhf_ppo_trainer_evaluate(trainer, (const int32_t[]){0, 0, 0, 0},
                                        (const int64_t[]){0, 1, 2, 3, 4}, 4, &drawn,
                                        NULL));
    assert_true(drawn.response_length < 8); /* some ended early */
    expect_near("entropy of drawn answers", drawn.entropy, entropy, 1e-5);
    const rlhf_ppo_stats stats = update_on(trainer, rollout);
    expect_near("entropy", stats.entropy, entropy, 1e-5);
    expect_near("approxkl", stats.approxkl, 0.005, 1e-5);
    expect_near("ratio", stats.ratio, exp(0.1), 1e-5);
    assert_int_equal(stats.num_tokens, 16);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pitfall_negative_kl),
        cmocka_unit_test(test_pitfall_k3_gradient_is_biased),
        cmocka_unit_test(test_pitfall_controller_kl_has_the_wrong_sign),
        cmocka_unit_test(test_pitfall_kl_includes_the_prompt),
        cmocka_unit_test(test_pitfall_entropy_and_approxkl_average_over_pads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
