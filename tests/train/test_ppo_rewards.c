/* From scores and log-probs to advantages: each switch against its arithmetic, worked out
 * here from the definitions, on samples of the test's own. */
#include "train_support.h"

static const sample three = {.tokens = {BOS, 5, 3, 7, EOS},
                             .num_tokens = 5,
                             .first = 2,
                             .last = 4,
                             .delta = {.2, -.5, 0},
                             .score = 1,
                             .finish = RLHF_FINISH_STOP};
static const sample two = {.tokens = {BOS, 6, 2, 4},
                           .num_tokens = 4,
                           .first = 2,
                           .last = 3,
                           .delta = {.1, .3},
                           .score = 3,
                           .finish = RLHF_FINISH_LENGTH};

static void assert_actions(const char *what, const float *figures,
                           const rlhf_rollout_sequence *s, const double *expected,
                           double tolerance)
{
    int64_t n = 0;

    for (int64_t t = 0; t < s->num_tokens; t++) {
        if (s->action_mask[t])
            assert_near(what, (double)figures[t], expected[n++], tolerance);
        else
            assert_true(figures[t] == 0.0f);
    }
}

static rlhf_rollout *advantages_of(const ppo_fixture *f, const sample *samples,
                                   int64_t count)
{
    rlhf_rollout *rollout = make_rollout(f, samples, count, OLD_OF_DELTA, 0);

    assert_ok(rlhf_ppo_trainer_advantages(f->trainer, rollout));
    return rollout;
}

static void assert_rewards(const rlhf_ppo_options *o, const sample *samples,
                           int64_t count, const double expected[][3])
{
    ppo_fixture f = ppo_make(o, 3);
    rlhf_rollout *rollout = advantages_of(&f, samples, count);

    for (int64_t i = 0; i < count; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        assert_actions("reward", s.rewards, &s, expected[i], 2e-6);
    }
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* --- KL penalty --------------------------------------------------------------------- */

static void test_reward_is_the_kl_penalty_and_the_score_at_the_last_action(void **state)
{
    rlhf_ppo_options o = plain_options();
    double sum = 0;

    (void)state;
    o.kl_coef = .1;
    assert_rewards(&o, &three, 1, (const double[][3]){{-.02, .05, 1}});
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = advantages_of(&f, &three, 1);
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    for (int64_t t = 0; t < s.num_tokens; t++)
        sum += (double)s.rewards[t];
    assert_near("sum of rewards", sum, 1.03, 1e-6); /* score - beta * sum of k1 */
    assert_near("kl", s.kl, -.3, 1e-6);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* The trainer's own reference is the policy of the start: before the first update the
 * given log-probs are held against the policy's own, not against themselves. */
static void
test_kl_of_given_logprobs_is_to_the_policy_before_the_first_update(void **state)
{
    rlhf_ppo_options o = plain_options();
    rlhf_context *context = support_context(NULL, 1);
    ppo_fixture f = {.context = context,
                     .policy = tiny_model(context, WORDS, CONTEXT, 1),
                     .reference = tiny_model(context, WORDS, CONTEXT, 1)};

    (void)state;
    o.kl_coef = .1;
    assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, NULL, NULL, &o, &f.trainer));
    rlhf_rollout *rollout = advantages_of(&f, &three, 1);
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    assert_near("kl", s.kl, -.3, 1e-6);
    assert_actions("reward", s.rewards, &s, (double[]){-.02, .05, 1}, 2e-6);
    for (int64_t t = three.first; t <= three.last; t++)
        assert_near("log pi_ref", (double)s.ref_logprobs[t],
                    logprob_at(f.reference, &three, t), 1e-6);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

static void test_reward_takes_each_kl_estimator_and_its_clamp(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.kl_coef = 1;
    o.kl_estimator = RLHF_KL_K2;
    assert_rewards(&o, &three, 1, (const double[][3]){{-.02, -.125, 1}});
    o.kl_estimator = RLHF_KL_K3;
    assert_rewards(&o, &three, 1, (const double[][3]){{-.018731, -.148721, 1}});
    o.kl_clamp = .1;
    assert_rewards(&o, &three, 1, (const double[][3]){{-.018731, -.1, 1}});
    o.kl_estimator = RLHF_KL_K2; /* the estimate, not Delta */
    assert_rewards(&o, &three, 1, (const double[][3]){{-.02, -.1, 1}});
    o.kl_estimator = RLHF_KL_K1;
    assert_rewards(&o, &three, 1, (const double[][3]){{-.1, .1, 1}});
}

/* --- score -------------------------------------------------------------------------- */

static void test_missing_eos_is_ignored_replaces_or_subtracts(void **state)
{
    const sample samples[2] = {three, two};
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.missing_eos_value = -1.5;
    o.missing_eos = RLHF_MISSING_EOS_IGNORE;
    assert_rewards(&o, samples, 2, (const double[][3]){{0, 0, 1}, {0, 3}});
    o.missing_eos = RLHF_MISSING_EOS_REPLACE;
    assert_rewards(&o, samples, 2, (const double[][3]){{0, 0, 1}, {0, -1.5}});
    o.missing_eos = RLHF_MISSING_EOS_SUBTRACT;
    assert_rewards(&o, samples, 2, (const double[][3]){{0, 0, 1}, {0, 4.5}});
}

static void test_score_is_clipped_after_it_is_whitened(void **state)
{
    sample samples[3] = {three, two, two};
    rlhf_ppo_options o = plain_options();

    (void)state;
    samples[2].score = -4;
    o.score_clip = 2;
    assert_rewards(&o, samples, 3, (const double[][3]){{0, 0, 1}, {0, 2}, {0, -2}});
    /* 1, 3, -4: mean 0, biased variance 26 / 3. */
    o.score_normalize = RLHF_SCORE_WHITEN;
    assert_rewards(&o, samples, 3,
                   (const double[][3]){{0, 0, .339683}, {0, 1.019049}, {0, -1.358732}});
    o.score_clip = 1;
    assert_rewards(&o, samples, 3, (const double[][3]){{0, 0, .339683}, {0, 1}, {0, -1}});
}

static void test_length_penalty_is_subtracted_for_each_action(void **state)
{
    const sample samples[2] = {three, two};
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.length_penalty = .25;
    assert_rewards(&o, samples, 2, (const double[][3]){{0, 0, .25}, {0, 2.5}});
}

/* Scores 1, 3, then 5, 7: the second rollout is normalised by mean 4 and variance 5 of
 * all four. */
static void test_running_normalisation_counts_all_rollouts(void **state)
{
    rlhf_ppo_options o = plain_options();
    sample samples[2] = {three, two};

    (void)state;
    o.score_normalize = RLHF_SCORE_RUNNING;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = advantages_of(&f, samples, 2);
    rlhf_rollout_sequence s = sequence_of(rollout, 0);
    assert_actions("first", s.rewards, &s, (double[]){0, 0, -1}, 1e-6);
    /* _advantages changes nothing in the trainer: once more gives the same. */
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    s = sequence_of(rollout, 0);
    assert_actions("first again", s.rewards, &s, (double[]){0, 0, -1}, 1e-6);
    (void)train_on(&f, rollout);
    samples[0].score = 5;
    samples[1].score = 7;
    rollout = advantages_of(&f, samples, 2);
    s = sequence_of(rollout, 0);
    assert_actions("second", s.rewards, &s, (double[]){0, 0, 1 / sqrt(5)}, 1e-6);
    s = sequence_of(rollout, 1);
    assert_actions("second", s.rewards, &s, (double[]){0, 3 / sqrt(5)}, 1e-6);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* Equal scores have no scale: 0, not 0 / 0, of one rollout and of all. */
static void test_normalised_score_without_variance_is_zero(void **state)
{
    (void)state;
    for (int running = 0; running < 2; running++) {
        rlhf_ppo_options o = plain_options();
        sample samples[2] = {three, two};
        samples[0].score = samples[1].score = .1;
        o.score_normalize = running ? RLHF_SCORE_RUNNING : RLHF_SCORE_WHITEN;
        ppo_fixture f = ppo_make(&o, 3);
        for (int i = 0; i < 2; i++) {
            rlhf_rollout *rollout = advantages_of(&f, samples, 2);
            const rlhf_rollout_sequence s = sequence_of(rollout, 0),
                                        t = sequence_of(rollout, 1);
            assert_actions("reward", s.rewards, &s, (double[]){0, 0, 0}, 0);
            assert_actions("reward", t.rewards, &t, (double[]){0, 0}, 0);
            (void)train_on(&f, rollout);
        }
        ppo_free(&f);
    }
}

/* Normalised, clipped, the missing EOS, the length: 1, 3, -4 become .339683, 1.019049,
 * -1.358732, of which the two last are clipped and did not end. */
static void test_scores_are_shaped_in_the_order_of_the_options(void **state)
{
    sample samples[3] = {three, two, two};
    rlhf_ppo_options o = plain_options();

    (void)state;
    samples[2].score = -4;
    o.score_normalize = RLHF_SCORE_WHITEN;
    o.score_clip = 1;
    o.length_penalty = .25;
    o.missing_eos = RLHF_MISSING_EOS_SUBTRACT;
    o.missing_eos_value = .5;
    assert_rewards(&o, samples, 3,
                   (const double[][3]){{0, 0, -.410317}, {0, 0}, {0, -2}});
    o.missing_eos = RLHF_MISSING_EOS_REPLACE;
    o.missing_eos_value = -2;
    assert_rewards(&o, samples, 3,
                   (const double[][3]){{0, 0, -.410317}, {0, -2.5}, {0, -2.5}});
}

/* --- advantages --------------------------------------------------------------------- */

/* V of a prefix by the critic's own score of it. */
static double value_of(const ppo_fixture *f, const int32_t *tokens, int64_t count)
{
    const int64_t cu_seqlens[2] = {0, count};
    float value;

    assert_ok(rlhf_reward_model_score(f->critic, tokens, cu_seqlens, 1, &value));
    return (double)value;
}

/* A_t = sum_k (gamma lambda)^k delta_{t + k}, by the definition. */
static double advantage_of(const double *r, const double *v, int64_t n, int64_t t,
                           double gamma, double lam)
{
    double sum = 0;

    for (int64_t k = t; k < n; k++)
        sum += pow(gamma * lam, (double)(k - t)) *
               (r[k] + gamma * (k + 1 < n ? v[k + 1] : 0) - v[k]);
    return sum;
}

/* Slots of `three` with the score at its last action or one slot after. */
static void check_gae(const rlhf_ppo_options *o, double kl_coef, int after)
{
    ppo_fixture f = ppo_make(o, 3);
    rlhf_rollout *rollout = advantages_of(&f, &three, 1);
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    double r[4] = {-.2 * kl_coef, .5 * kl_coef, 0, 0}, v[4] = {0}, a[3], ret[3],
           values[3];

    r[after ? 3 : 2] += 1;
    for (int64_t i = 0; i < 4; i++)
        v[i] = value_of(&f, three.tokens, 2 + i);
    for (int64_t i = 0; i < 3; i++) {
        a[i] = advantage_of(r, v, after ? 4 : 3, i, o->gamma, o->lam);
        ret[i] = a[i] + v[i];
        values[i] = v[i];
    }
    assert_actions("value", s.values, &s, values, 1e-6);
    assert_actions("reward", s.rewards, &s, r, 1e-6);
    assert_actions("advantage", s.advantages, &s, a, 3e-6);
    assert_actions("return", s.returns, &s, ret, 3e-6);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

static void test_advantages_follow_gamma_lambda_and_the_slot_of_the_score(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.kl_coef = .1;
    for (int after = 0; after < 2; after++)
        for (int i = 0; i < 4; i++) {
            o.gamma = i < 2 ? 1 : .9;
            o.lam = i % 2 ? .8 : 1;
            o.score_slot = after ? RLHF_SCORE_AFTER_LAST : RLHF_SCORE_AT_LAST;
            check_gae(&o, .1, after);
        }
    /* No room below max_new_tokens: the score stays at the last action. */
    o.max_new_tokens = 3;
    check_gae(&o, .1, 0);
}

static void test_token_scores_are_added_and_need_no_score(void **state)
{
    rlhf_ppo_options o = plain_options();
    ppo_fixture f = ppo_make(&o, 3);
    sample samples[2] = {three, two};
    rlhf_rollout *rollout;

    (void)state;
    samples[0].token_scores[0] = .5f;
    samples[0].token_scores[2] = -2;
    samples[1].token_scores[1] = 4;
    samples[1].score = NAN;
    rollout = make_rollout(&f, samples, 2, OLD_OF_DELTA, 1);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    rlhf_rollout_sequence s = sequence_of(rollout, 0);
    assert_actions("reward", s.rewards, &s, (double[]){.5, 0, -1}, 0);
    s = sequence_of(rollout, 1);
    assert_actions("reward", s.rewards, &s, (double[]){0, 4}, 0);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* --- whitening ---------------------------------------------------------------------- */

static void whiten(double *x, int64_t n, int unbiased, int keep_mean)
{
    double mean = 0, var = 0;

    for (int64_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean) / (double)(n - unbiased);
    for (int64_t i = 0; i < n; i++)
        x[i] = (x[i] - mean) / sqrt(var + 1e-8) + (keep_mean ? mean : 0);
}

/* The actions of both sequences, one list. */
static void actions_of(const rlhf_rollout *rollout, int advantages, double out[5])
{
    int64_t n = 0;

    for (int64_t i = 0; i < 2; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        for (int64_t t = 0; t < s.num_tokens; t++)
            if (s.action_mask[t])
                out[n++] = (double)(advantages ? s.advantages : s.rewards)[t];
    }
    assert_int_equal(n, 5);
}

static void whitened_by(const rlhf_ppo_options *o, int advantages, double out[5])
{
    const sample samples[2] = {three, two};
    ppo_fixture f = ppo_make(o, 3);
    rlhf_rollout *rollout = advantages_of(&f, samples, 2);

    actions_of(rollout, advantages, out);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

static void test_masked_whitening_equals_whitening_of_the_compact_list(void **state)
{
    rlhf_ppo_options o = plain_options();
    double expected[5], actual[5];

    (void)state;
    o.kl_coef = .1;
    for (int i = 0; i < 4; i++) {
        const int advantages = i % 2, unbiased = i / 2;
        o.whiten_advantages = o.whiten_rewards = 0;
        whitened_by(&o, advantages, expected);
        whiten(expected, 5, unbiased, !advantages);
        o.whiten_advantages = advantages;
        o.whiten_rewards = !advantages;
        o.whiten_variance = unbiased ? RLHF_VARIANCE_UNBIASED : RLHF_VARIANCE_BIASED;
        whitened_by(&o, advantages, actual);
        for (int k = 0; k < 5; k++)
            assert_near("whitened", actual[k], expected[k], 1e-5);
    }
}

/* The slot after the last action is one of the list: at lambda 1 the last action's return
 * is its own whitened reward and that slot's. */
static void test_whitened_rewards_count_the_slot_after_the_last_action(void **state)
{
    const sample samples[2] = {three, two};
    rlhf_ppo_options o = plain_options();
    /* -beta Delta of the actions, then the score, of each sequence */
    double r[7] = {-.02, .05, 0, 1, -.01, -.03, 3};

    (void)state;
    o.kl_coef = .1;
    o.whiten_rewards = 1;
    o.score_slot = RLHF_SCORE_AFTER_LAST;
    whiten(r, 7, 0, 1);
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = advantages_of(&f, samples, 2);
    const rlhf_rollout_sequence s = sequence_of(rollout, 0), t = sequence_of(rollout, 1);
    assert_actions("reward", s.rewards, &s, r, 3e-6);
    assert_actions("reward", t.rewards, &t, r + 4, 3e-6);
    assert_near("return", (double)s.returns[three.last], r[2] + r[3], 3e-6);
    assert_near("return", (double)t.returns[two.last], r[5] + r[6], 3e-6);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* Two minibatches of one sequence each: their losses are those of lists whitened one by
 * one, or together. */
static void test_whitening_scope_is_the_minibatch_or_the_rollout(void **state)
{
    sample samples[2] = {three, two};
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.whiten_advantages = 1;
    o.num_minibatches = 2;
    o.clip_range = 100;
    o.learning_rate = 0;
    for (int i = 0; i < 5; i++) {
        samples[i / 3].token_scores[i % 3] = (float)(i * i);
        samples[i / 3].log_ratio[i % 3] = .3 * i;
        samples[i / 3].score = 0;
    }
    for (int k = 0; k < 4; k++) {
        const int scope = k % 2, unbiased = k / 2;
        /* gamma 0 and V 0: the advantages are the token scores. */
        double a[5] = {0, 1, 4, 9, 16}, loss = 0;
        o.gamma = 0;
        o.whiten_scope = scope ? RLHF_WHITEN_MINIBATCH : RLHF_WHITEN_ROLLOUT;
        o.whiten_variance = unbiased ? RLHF_VARIANCE_UNBIASED : RLHF_VARIANCE_BIASED;
        if (scope) {
            whiten(a, 3, unbiased, 0);
            whiten(a + 3, 2, unbiased, 0);
        } else {
            whiten(a, 5, unbiased, 0);
        }
        for (int i = 0; i < 5; i++)
            loss -= a[i] * exp(.3 * i) / (i < 3 ? 3 : 2) / 2;
        ppo_fixture f = ppo_make(&o, 0);
        const rlhf_ppo_stats stats =
            train_on(&f, make_rollout(&f, samples, 2, OLD_OF_RATIO, 1));
        assert_near("policy loss", stats.policy_loss, loss, 1e-5);
        ppo_free(&f);
    }
}

/* --- what must not matter ----------------------------------------------------------- */

/* Tokens after the last action, and the company of other sequences, change no bit. */
static void test_tokens_after_the_last_action_and_the_batch_change_nothing(void **state)
{
    rlhf_ppo_options o = plain_options();
    sample samples[3] = {two, three, two};
    const size_t size = 5 * sizeof(float);

    (void)state;
    o.kl_coef = .1;
    o.lam = .95;
    o.score_slot = RLHF_SCORE_AFTER_LAST;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *alone = advantages_of(&f, &three, 1);
    samples[1].num_tokens = 9;
    for (int t = 5; t < 9; t++)
        samples[1].tokens[t] = 2 + t;
    rlhf_rollout *together = advantages_of(&f, samples, 3);
    const rlhf_rollout_sequence a = sequence_of(alone, 0), b = sequence_of(together, 1);
    assert_memory_equal(a.ref_logprobs, b.ref_logprobs, size);
    assert_memory_equal(a.values, b.values, size);
    assert_memory_equal(a.rewards, b.rewards, size);
    assert_memory_equal(a.advantages, b.advantages, size);
    assert_memory_equal(a.returns, b.returns, size);
    rlhf_rollout_free(alone);
    rlhf_rollout_free(together);
    ppo_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reward_is_the_kl_penalty_and_the_score_at_the_last_action),
        cmocka_unit_test(
            test_kl_of_given_logprobs_is_to_the_policy_before_the_first_update),
        cmocka_unit_test(test_reward_takes_each_kl_estimator_and_its_clamp),
        cmocka_unit_test(test_missing_eos_is_ignored_replaces_or_subtracts),
        cmocka_unit_test(test_score_is_clipped_after_it_is_whitened),
        cmocka_unit_test(test_length_penalty_is_subtracted_for_each_action),
        cmocka_unit_test(test_running_normalisation_counts_all_rollouts),
        cmocka_unit_test(test_normalised_score_without_variance_is_zero),
        cmocka_unit_test(test_scores_are_shaped_in_the_order_of_the_options),
        cmocka_unit_test(test_advantages_follow_gamma_lambda_and_the_slot_of_the_score),
        cmocka_unit_test(test_token_scores_are_added_and_need_no_score),
        cmocka_unit_test(test_masked_whitening_equals_whitening_of_the_compact_list),
        cmocka_unit_test(test_whitened_rewards_count_the_slot_after_the_last_action),
        cmocka_unit_test(test_whitening_scope_is_the_minibatch_or_the_rollout),
        cmocka_unit_test(test_tokens_after_the_last_action_and_the_batch_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
