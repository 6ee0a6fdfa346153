/* What drives the update: epochs and minibatches, what stops or skips them, the KL
 * controller, and the two optimizers' own rates, schedules and norms. */
#include "train_support.h"

static const sample samples[2] = {{.tokens = {BOS, 5, 3, 7, EOS},
                                   .num_tokens = 5,
                                   .first = 2,
                                   .last = 4,
                                   .token_scores = {1, -1, 2},
                                   .delta = {.2, -.5, 0},
                                   .finish = RLHF_FINISH_STOP},
                                  {.tokens = {BOS, 6, 2, 4},
                                   .num_tokens = 4,
                                   .first = 2,
                                   .last = 3,
                                   .token_scores = {3, -2},
                                   .delta = {.1, .3},
                                   .finish = RLHF_FINISH_LENGTH}};
static const double mean_kl = (.2 - .5 + .1 + .3) / 2;

static rlhf_ppo_stats iterate(ppo_fixture *f, int old)
{
    return train_on(f, make_rollout(f, samples, 2, old, 1));
}

/* The networks before and after, and whether they moved. */
typedef struct snapshot {
    float *policy, *critic;
    int64_t num_policy, num_critic;
} snapshot;

static snapshot take_snapshot(ppo_fixture *f)
{
    snapshot s;

    s.policy = model_values(f->policy, &s.num_policy);
    s.critic = reward_values(f->critic, &s.num_critic);
    return s;
}

/* Bit 0: the policy has changed since; bit 1: the critic. Frees the snapshot. */
static int changes(ppo_fixture *f, snapshot before)
{
    snapshot now = take_snapshot(f);
    const int policy = memcmp(before.policy, now.policy,
                              (size_t)now.num_policy * sizeof *now.policy) != 0;
    const int critic = memcmp(before.critic, now.critic,
                              (size_t)now.num_critic * sizeof *now.critic) != 0;

    free(before.policy);
    free(before.critic);
    free(now.policy);
    free(now.critic);
    return policy | critic << 1;
}

/* 0 trains nothing, whether it is an option or set later. */
static void test_rate_of_zero_can_be_set(void **state)
{
    const rlhf_ppo_options options = plain_options();
    ppo_fixture f = ppo_make(&options, 1);
    snapshot before = take_snapshot(&f);

    (void)state;
    assert_fails(rlhf_ppo_trainer_set_learning_rate(f.trainer, -1, 0),
                 RLHF_ERR_INVALID_ARG,
                 "learning_rate must be >= 0 and finite as a float, got -1");
    assert_ok(rlhf_ppo_trainer_set_learning_rate(f.trainer, 0, 0));
    iterate(&f, OLD_OF_POLICY);
    assert_int_equal(changes(&f, before), 0);
    before = take_snapshot(&f);
    assert_ok(rlhf_ppo_trainer_set_learning_rate(f.trainer, 0, 1e-3));
    iterate(&f, OLD_OF_POLICY);
    assert_int_equal(changes(&f, before), 2);
    ppo_free(&f);
}

/* --- epochs and minibatches --------------------------------------------------------- */

enum { SEQUENCES = 7, MINIBATCHES = 3, EPOCHS = 4 };

/* Which of the sequences a minibatch had: only those give a gradient to the embedding of
 * their own prompt token, 3 + i. */
static int members(rlhf_ppo_trainer *trainer)
{
    float gradient[WORDS * 16];
    int set = 0;

    assert_ok(rlhf_ppo_trainer_gradient(trainer, 0, "model.embed_tokens.weight", gradient,
                                        WORDS * 16));
    for (int i = 0; i < SEQUENCES; i++)
        for (int j = 0; j < 16; j++)
            set |= (gradient[(3 + i) * 16 + j] != 0.0f) << i;
    return set;
}

static void
test_each_sequence_comes_once_an_epoch_in_epochs_times_minibatches_steps(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model_config config = tiny_config(WORDS, CONTEXT);
    rlhf_ppo_options o = plain_options();
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    ppo_fixture f = {.context = context};
    rlhf_rollout *rollout;
    int sets[2 * EPOCHS][MINIBATCHES], differ = 0;
    int32_t done = 0;

    (void)state;
    config.tie_embeddings = 0;
    o.num_epochs = EPOCHS;
    o.num_minibatches = MINIBATCHES;
    assert_ok(rlhf_model_create(context, &config, 1, &f.policy));
    assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, NULL, NULL, &o, &f.trainer));
    assert_ok(rlhf_rollout_create(context, &rollout));
    for (int i = 0; i < SEQUENCES; i++) {
        const sample s = {.tokens = {BOS, 3 + i, 2},
                          .num_tokens = 3,
                          .first = 2,
                          .last = 2,
                          .score = 1 + i};
        add_sample(&f, rollout, &s, OLD_OF_POLICY, 0);
    }
    for (int e = 0; e < 2 * EPOCHS; e++) { /* of two iterations */
        int seen = 0;
        if (e % EPOCHS == 0)
            assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
        done = 0;
        for (int m = 0; m < MINIBATCHES; m++) {
            int64_t remaining;
            assert_false(done);
            assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
            assert_int_equal(remaining, 0);
            sets[e][m] = members(f.trainer);
            assert_in_range(__builtin_popcount((unsigned)sets[e][m]), 2, 3);
            assert_int_equal(seen & sets[e][m], 0);
            seen |= sets[e][m];
            assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, &stats));
        }
        assert_int_equal(seen, (1 << SEQUENCES) - 1);
        for (int k = 0; k < e; k++)
            differ += memcmp(sets[e], sets[k], sizeof sets[0]) != 0;
        assert_int_equal(done, e % EPOCHS == EPOCHS - 1);
    }
    /* A fresh order every epoch of every iteration: no two of the 8 are alike. */
    assert_int_equal(differ, EPOCHS * (2 * EPOCHS - 1));
    assert_int_equal(stats.num_steps, EPOCHS * MINIBATCHES);
    assert_int_equal(stats.num_epochs, EPOCHS);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

static void test_more_minibatches_than_sequences_are_refused(void **state)
{
    rlhf_ppo_options o = plain_options();
    rlhf_rollout *rollout;
    int64_t remaining;

    (void)state;
    o.num_minibatches = 3;
    ppo_fixture f = ppo_make(&o, 3);
    rollout = make_rollout(&f, samples, 2, OLD_OF_POLICY, 1);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_fails(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining),
                 RLHF_ERR_INVALID_ARG, "num_minibatches");
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

static void
test_first_minibatch_has_ratio_one_and_loss_minus_the_mean_advantage(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    for (int whiten = 0; whiten < 2; whiten++) {
        o.whiten_advantages = whiten;
        ppo_fixture f = ppo_make(&o, 3);
        const rlhf_ppo_stats s = iterate(&f, OLD_OF_POLICY);
        assert_true(s.first_ratio_deviation == 0);
        assert_true(s.ratio == 1);
        assert_true(s.approxkl == 0);
        assert_true(s.clipfrac == 0);
        assert_near("policy loss", s.policy_loss, whiten ? 0 : -s.advantage_mean, 1e-6);
        ppo_free(&f);
    }
}

static void test_ratio_is_one_in_every_epoch_at_rate_zero(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.learning_rate = 0;
    o.num_epochs = 3;
    o.num_minibatches = 2;
    o.micro_batch_tokens = 1;
    ppo_fixture f = ppo_make(&o, 3);
    const snapshot before = take_snapshot(&f);
    const rlhf_ppo_stats s = iterate(&f, OLD_OF_POLICY);
    assert_int_equal(s.num_steps, 6);
    assert_true(s.ratio == 1);
    assert_true(s.approxkl == 0);
    assert_true(s.clipfrac == 0);
    assert_int_equal(changes(&f, before), 2);
    ppo_free(&f);
}

/* --- what stops and what skips ------------------------------------------------------ */

static void test_target_approxkl_makes_the_epoch_that_passes_it_the_last(void **state)
{
    static const struct {
        double target;
        int32_t epochs;
    } rows[3] = {{0, 4}, {1e-12, 2}, {1e6, 4}};

    (void)state;
    for (int i = 0; i < 3; i++) {
        rlhf_ppo_options o = plain_options();
        o.num_epochs = 4;
        o.num_minibatches = 1;
        o.target_approxkl = rows[i].target;
        ppo_fixture f = ppo_make(&o, 3);
        /* The first epoch is at ratio 1: its approxkl is 0. */
        const rlhf_ppo_stats s = iterate(&f, OLD_OF_POLICY);
        assert_int_equal(s.num_epochs, rows[i].epochs);
        assert_int_equal(s.num_steps, rows[i].epochs);
        ppo_free(&f);
    }
}

static rlhf_ppo_options epoch_options(double target)
{
    rlhf_ppo_options o = plain_options();

    o.num_epochs = 4;
    o.num_minibatches = 2;
    o.learning_rate = 1e-2;
    o.target_approxkl = target;
    return o;
}

/* Means of (log ratio)^2 / 2 of each epoch's actions, and of the last minibatch of the
 * second, from the means of all steps so far. */
static void approxkl_of_epochs(double out[4], double *out_last_of_second)
{
    const rlhf_ppo_options o = epoch_options(0);
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = make_rollout(&f, samples, 2, OLD_OF_POLICY, 1);
    double so_far[8];
    int64_t remaining;
    int32_t done;

    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    for (int m = 0; m < 8; m++) {
        assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
        assert_int_equal(remaining, 0);
        assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, &stats));
        so_far[m] = stats.approxkl;
    }
    for (int e = 0; e < 4; e++)
        out[e] = (e + 1) * so_far[2 * e + 1] - (e > 0 ? e * so_far[2 * e - 1] : 0);
    /* An epoch has 5 actions, its minibatches 2 and 3 of them in either order. */
    *out_last_of_second =
        fmin((10 * so_far[3] - 7 * so_far[2]) / 3, (10 * so_far[3] - 8 * so_far[2]) / 2);
    assert_int_equal(done, 1);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* Of the epoch's own actions, all of them: neither of all epochs so far nor of the last
 * minibatch. */
static void test_target_approxkl_is_held_against_the_whole_epoch_alone(void **state)
{
    double mean[4], last_of_second;

    (void)state;
    approxkl_of_epochs(mean, &last_of_second);
    assert_true(mean[0] < mean[1] && 1.2 * mean[1] < mean[2]);
    assert_true(last_of_second > 1.05 * mean[1]);
    for (int i = 0; i < 2; i++) {
        const rlhf_ppo_options o = epoch_options(i ? .98 * mean[2] : 1.02 * mean[1]);
        ppo_fixture f = ppo_make(&o, 3);
        const rlhf_ppo_stats s = iterate(&f, OLD_OF_POLICY);
        assert_int_equal(s.num_epochs, 3);
        assert_int_equal(s.num_steps, 6);
        ppo_free(&f);
    }
}

static void test_critic_warmup_leaves_the_policy_alone(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.critic_warmup = 2;
    ppo_fixture f = ppo_make(&o, 3);
    for (int i = 0; i < 3; i++) {
        const snapshot before = take_snapshot(&f);
        const rlhf_ppo_stats s = iterate(&f, OLD_OF_POLICY);
        assert_int_equal(s.policy_skipped, i < 2);
        assert_int_equal(s.num_steps, i < 2 ? 0 : 1);
        assert_int_equal(changes(&f, before), i < 2 ? 2 : 3);
    }
    ppo_free(&f);
}

static void test_rollout_over_its_kl_ceiling_does_not_update_the_policy(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        rlhf_ppo_options o = plain_options();
        o.max_rollout_kl = over ? mean_kl - .01 : mean_kl + .01;
        ppo_fixture f = ppo_make(&o, 3);
        const snapshot before = take_snapshot(&f);
        const rlhf_ppo_stats s = iterate(&f, OLD_OF_DELTA);
        assert_near("kl", s.kl, mean_kl, 1e-6);
        assert_int_equal(s.policy_skipped, over);
        assert_int_equal(changes(&f, before), over ? 2 : 3);
        ppo_free(&f);
    }
}

static void test_minibatch_over_the_mean_ratio_is_skipped(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        rlhf_ppo_options o = plain_options();
        sample far[2] = {samples[0], samples[1]};
        for (int i = 0; i < 2; i++)
            for (int t = 0; t < 3; t++)
                far[i].log_ratio[t] = log(12);
        far[0].token_scores[0] = -40; /* not every action is clipped */
        o.max_mean_ratio = over ? 10 : 20;
        ppo_fixture f = ppo_make(&o, 3);
        const snapshot before = take_snapshot(&f);
        const rlhf_ppo_stats s = train_on(&f, make_rollout(&f, far, 2, OLD_OF_RATIO, 1));
        assert_near("ratio", s.ratio, 12, 1e-4);
        assert_int_equal(s.num_steps, !over);
        assert_int_equal(s.iteration, 1);
        assert_int_equal(changes(&f, before), over ? 0 : 3);
        ppo_free(&f);
    }
}

/* --- KL controller ------------------------------------------------------------------ */

static void test_adaptive_kl_follows_its_target(void **state)
{
    static const struct {
        double target, factor;
    } rows[4] = {{0, 1},
                 {mean_kl / 2, 1 + .2 * 2 / 10.},
                 {6, 1 - .2 * 2 / 10.},
                 {mean_kl / 1.1, 1 + .1 * 2 / 10.}};

    (void)state;
    for (int i = 0; i < 4; i++) {
        rlhf_ppo_options o = plain_options();
        o.kl_coef = .1;
        o.kl_target = rows[i].target;
        o.kl_horizon = 10;
        o.learning_rate = 0;
        ppo_fixture f = ppo_make(&o, 3);
        assert_near("first beta", iterate(&f, OLD_OF_DELTA).kl_coef, .1, 0);
        assert_near("second beta", iterate(&f, OLD_OF_DELTA).kl_coef, .1 * rows[i].factor,
                    1e-7);
        assert_ok(rlhf_ppo_trainer_set_kl_coef(f.trainer, .7));
        assert_near("the host's beta", iterate(&f, OLD_OF_DELTA).kl_coef, .7, 0);
        ppo_free(&f);
    }
}

/* -beta Delta of every action, by another beta than that of the options. */
static void assert_kl_rewards(ppo_fixture *f, double beta)
{
    rlhf_rollout *rollout = make_rollout(f, samples, 2, OLD_OF_DELTA, 0);

    assert_ok(rlhf_ppo_trainer_advantages(f->trainer, rollout));
    for (int64_t i = 0; i < 2; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        for (int64_t t = samples[i].first; t <= samples[i].last; t++)
            assert_near("reward", (double)s.rewards[t],
                        -beta * samples[i].delta[t - samples[i].first], 1e-6);
    }
    rlhf_rollout_free(rollout);
}

static void test_beta_that_was_adapted_or_set_reaches_the_rewards(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.kl_coef = 1;
    o.kl_target = mean_kl / 2;
    o.kl_horizon = 2; /* beta grows by a fifth */
    ppo_fixture f = ppo_make(&o, 3);
    assert_kl_rewards(&f, 1);
    (void)iterate(&f, OLD_OF_DELTA);
    assert_kl_rewards(&f, 1.2);
    (void)iterate(&f, OLD_OF_DELTA);
    assert_kl_rewards(&f, 1.44);
    assert_ok(rlhf_ppo_trainer_set_kl_coef(f.trainer, .7));
    assert_kl_rewards(&f, .7);
    assert_ok(rlhf_ppo_trainer_set_kl_coef(f.trainer, 0));
    assert_kl_rewards(&f, 0);
    ppo_free(&f);
}

/* What the figures call beta is that of the rewards, whatever was set since. */
static void test_figures_are_of_the_beta_that_the_rewards_used(void **state)
{
    rlhf_ppo_options o = plain_options();
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};

    (void)state;
    o.kl_coef = .05;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = make_rollout(&f, samples, 2, OLD_OF_DELTA, 1);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_set_kl_coef(f.trainer, .7));
    assert_ok(rlhf_ppo_trainer_update(f.trainer, rollout, &stats));
    assert_near("beta", stats.kl_coef, .05, 0);
    assert_near("non-score reward", stats.non_score_reward, -.05 * mean_kl, 1e-6);
    assert_near("reward", stats.rlhf_reward, stats.score + stats.non_score_reward, 0);
    rlhf_rollout_free(rollout);
    assert_near("the next", iterate(&f, OLD_OF_DELTA).kl_coef, .7, 0);
    ppo_free(&f);
}

/* A host's samples have the entropy of the policy as the update met it; where the policy
 * made no pass it is not known. */
static void test_entropy_that_nobody_computed_is_not_a_number(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.critic_warmup = 1;
    ppo_fixture f = ppo_make(&o, 3);
    assert_true(isnan(iterate(&f, OLD_OF_DELTA).entropy));
    assert_near("entropy", iterate(&f, OLD_OF_DELTA).entropy, log(WORDS), .05);
    ppo_free(&f);
    /* With log-probs left to the trainer it is known. */
    f = ppo_make(&o, 3);
    assert_near("entropy", iterate(&f, OLD_OF_POLICY).entropy, log(WORDS), .05);
    ppo_free(&f);
}

/* --- two optimizers ----------------------------------------------------------------- */

static void test_policy_and_critic_have_schedules_of_their_own(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.learning_rate = 1e-3;
    o.schedule = RLHF_SCHEDULE_LINEAR;
    o.final_lr_ratio = .1;
    o.warmup_iterations = 2;
    o.total_iterations = 5;
    o.value_learning_rate = 4e-3;
    o.value_schedule = RLHF_SCHEDULE_COSINE;
    o.value_final_lr_ratio = .2;
    ppo_fixture f = ppo_make(&o, 3);
    for (int i = 0; i < 7; i++) {
        const double linear = i < 2 ? (i + 1) / 2. : 1 - .9 * fmin(1, (i - 2) / 3.);
        const double cosine = .2 + .4 * (1 + cos(acos(-1) * fmin(1, i / 5.)));
        const rlhf_ppo_stats s = iterate(&f, OLD_OF_POLICY);
        assert_near("policy's rate", s.learning_rate, 1e-3 * linear, 1e-12);
        assert_near("critic's rate", s.value_learning_rate, 4e-3 * cosine, 1e-12);
    }
    assert_ok(rlhf_ppo_trainer_set_learning_rate(f.trainer, 3e-3, 8e-3));
    const rlhf_ppo_stats s = iterate(&f, OLD_OF_POLICY);
    assert_near("policy's new rate", s.learning_rate, 3e-4, 1e-12);
    assert_near("critic's new rate", s.value_learning_rate, 1.6e-3, 1e-12);
    ppo_free(&f);
}

/* A network's whole gradient, in the order of its parameters' names. */
static float *gradients(const ppo_fixture *f, int32_t critic, double *out_norm)
{
    const int64_t names = critic ? rlhf_reward_model_num_parameter_names(f->critic)
                                 : rlhf_model_num_parameter_names(f->policy);
    const int64_t count = critic ? rlhf_reward_model_num_parameters(f->critic)
                                 : rlhf_model_num_parameters(f->policy);
    float *all = malloc((size_t)count * sizeof *all);
    int64_t at = 0;
    double squares = 0;

    for (int64_t i = 0; i < names; i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(critic ? rlhf_reward_model_parameter_info(f->critic, i, &info)
                         : rlhf_model_parameter_info(f->policy, i, &info));
        assert_ok(rlhf_ppo_trainer_gradient(f->trainer, critic, info.name, all + at,
                                            info.rows * info.cols));
        at += info.rows * info.cols;
    }
    assert_int_equal(at, count);
    for (int64_t i = 0; i < count; i++)
        squares += (double)all[i] * (double)all[i];
    *out_norm = sqrt(squares);
    return all;
}

/* Adam's first step on a clipped gradient g: lr g / (|g| + eps). */
static void assert_stepped(const float *before, const float *after, const float *gradient,
                           int64_t count, double factor, double rate)
{
    for (int64_t i = 0; i < count; i++) {
        const double g = factor * (double)gradient[i];
        assert_near("step", (double)after[i] - (double)before[i],
                    -rate * g / (fabs(g) + 1e-3),
                    1e-7 + 1e-3 * rate * fabs(g) / (fabs(g) + 1e-3));
    }
}

static void test_policy_and_critic_have_rates_and_norms_of_their_own(void **state)
{
    rlhf_ppo_options o = plain_options();
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    double norms[2];
    int64_t remaining;
    int32_t done;

    (void)state;
    o.epsilon = 1e-3; /* so that the size of the gradient counts */
    o.learning_rate = 1e-3;
    o.value_learning_rate = 5e-3;
    o.max_grad_norm = .01;
    o.value_max_grad_norm = .05;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = make_rollout(&f, samples, 2, OLD_OF_POLICY, 1);
    const snapshot before = take_snapshot(&f);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
    float *policy = gradients(&f, 0, &norms[0]), *critic = gradients(&f, 1, &norms[1]);
    assert_true(norms[0] > .02 && norms[1] > .1);
    assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, &stats));
    assert_near("policy's norm", stats.policy_grad_norm, norms[0], 1e-5 * norms[0]);
    assert_near("critic's norm", stats.value_grad_norm, norms[1], 1e-5 * norms[1]);
    snapshot after = take_snapshot(&f);
    assert_stepped(before.policy, after.policy, policy, after.num_policy, .01 / norms[0],
                   1e-3);
    assert_stepped(before.critic, after.critic, critic, after.num_critic, .05 / norms[1],
                   5e-3);
    free(policy);
    free(critic);
    free(after.policy);
    free(after.critic);
    assert_int_equal(changes(&f, before), 3);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_of_zero_can_be_set),
        cmocka_unit_test(
            test_each_sequence_comes_once_an_epoch_in_epochs_times_minibatches_steps),
        cmocka_unit_test(test_more_minibatches_than_sequences_are_refused),
        cmocka_unit_test(
            test_first_minibatch_has_ratio_one_and_loss_minus_the_mean_advantage),
        cmocka_unit_test(test_ratio_is_one_in_every_epoch_at_rate_zero),
        cmocka_unit_test(test_target_approxkl_makes_the_epoch_that_passes_it_the_last),
        cmocka_unit_test(test_target_approxkl_is_held_against_the_whole_epoch_alone),
        cmocka_unit_test(test_critic_warmup_leaves_the_policy_alone),
        cmocka_unit_test(test_rollout_over_its_kl_ceiling_does_not_update_the_policy),
        cmocka_unit_test(test_minibatch_over_the_mean_ratio_is_skipped),
        cmocka_unit_test(test_adaptive_kl_follows_its_target),
        cmocka_unit_test(test_beta_that_was_adapted_or_set_reaches_the_rewards),
        cmocka_unit_test(test_figures_are_of_the_beta_that_the_rewards_used),
        cmocka_unit_test(test_entropy_that_nobody_computed_is_not_a_number),
        cmocka_unit_test(test_policy_and_critic_have_schedules_of_their_own),
        cmocka_unit_test(test_policy_and_critic_have_rates_and_norms_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
