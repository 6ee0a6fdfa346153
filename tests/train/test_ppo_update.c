/* PPO's losses and gradients as the update takes them: each switch against values by
 * hand, and gradients against finite differences of losses written down here.
 *
 * gamma 0 and a critic of zeros make the advantage of an action its token score. */
#include "train_support.h"

/* (A, ratio): (1, 1.5) and (-1, .5) are clipped at epsilon .2; losses -1.2, .8, -.5, 3,
 * -.5. */
static const sample samples[2] = {
    {.tokens = {BOS, 5, 3, 7},
     .num_tokens = 4,
     .first = 2,
     .last = 3,
     .token_scores = {1, -1},
     .log_ratio = {0.40546510810816438, -0.69314718055994529},
     .finish = RLHF_FINISH_LENGTH},
    {.tokens = {BOS, 6, 2, 4, 8},
     .num_tokens = 5,
     .first = 2,
     .last = 4,
     .token_scores = {1, -2, .5f},
     .log_ratio = {-0.69314718055994529, 0.40546510810816438, 0},
     .finish = RLHF_FINISH_LENGTH}};

static rlhf_ppo_options loss_options(void)
{
    rlhf_ppo_options o = plain_options();

    o.gamma = 0;
    o.clip_range = .2;
    return o;
}

static rlhf_ppo_stats stats_of(const rlhf_ppo_options *o, const sample *of, int64_t count)
{
    ppo_fixture f = ppo_make(o, 0);
    const rlhf_ppo_stats stats =
        train_on(&f, make_rollout(&f, of, count, OLD_OF_RATIO, 1));

    ppo_free(&f);
    return stats;
}

static double loss_of(const rlhf_ppo_options *o, double advantage, double ratio)
{
    sample s = samples[0];

    s.last = s.first;
    s.token_scores[0] = (float)advantage;
    s.log_ratio[0] = log(ratio);
    return stats_of(o, &s, 1).policy_loss;
}

/* --- values ------------------------------------------------------------------------- */

static void test_policy_loss_and_figures_of_known_ratios(void **state)
{
    const rlhf_ppo_options o = loss_options();
    const rlhf_ppo_stats stats = stats_of(&o, samples, 2);

    (void)state;
    assert_near("policy loss", stats.policy_loss, 1.6 / 5, 1e-6);
    assert_near("clipfrac", stats.clipfrac, .4, 1e-12);
    assert_near("ratio", stats.ratio, 1, 1e-6);
    assert_near("approxkl", stats.approxkl,
                (pow(log(1.5), 2) + pow(log(.5), 2)) * 2 / 2 / 5, 1e-6);
    assert_near("deviation of the first ratio", stats.first_ratio_deviation, .5, 1e-6);
}

static void test_aggregation_divides_by_what_it_says(void **state)
{
    static const struct {
        int32_t aggregation, micro_batch_tokens;
        double loss;
    } rows[6] = {
        {RLHF_AGGREGATE_STEP_TOKENS, 100, 1.6 / 5},
        {RLHF_AGGREGATE_STEP_TOKENS, 1, 1.6 / 5}, /* whatever its micro-batches */
        {RLHF_AGGREGATE_MICRO_MEAN, 100, 1.6 / 5},
        {RLHF_AGGREGATE_MICRO_MEAN, 1, (-.4 / 2 + 2. / 3) / 2},
        {RLHF_AGGREGATE_SEQUENCE, 100, (-.4 / 2 + 2. / 3) / 2},
        {RLHF_AGGREGATE_CONSTANT, 100, 1.6 / (2 * 8)}, /* max_new_tokens is 8 */
    };

    (void)state;
    for (int i = 0; i < 6; i++) {
        rlhf_ppo_options o = loss_options();
        o.aggregation = rows[i].aggregation;
        o.micro_batch_tokens = rows[i].micro_batch_tokens;
        assert_near("policy loss", stats_of(&o, samples, 2).policy_loss, rows[i].loss,
                    1e-6);
    }
}

static void test_clip_range_high_bounds_the_ratio_above(void **state)
{
    rlhf_ppo_options o = loss_options();

    (void)state;
    assert_near("both alike", loss_of(&o, 1, 1.5), -1.2, 1e-6);
    o.clip_range_high = .4;
    assert_near("above", loss_of(&o, 1, 1.5), -1.4, 1e-6);
    assert_near("below", loss_of(&o, -1, .5), .8, 1e-6);
}

static void test_dual_clip_bounds_the_loss_of_negative_advantages(void **state)
{
    rlhf_ppo_options o = loss_options();

    (void)state;
    assert_near("off", loss_of(&o, -2, 10), 20, 1e-4);
    o.dual_clip = 3;
    assert_near("on", loss_of(&o, -2, 10), 6, 1e-6);
    assert_near("below the bound", loss_of(&o, -2, 2), 4, 1e-5);
    assert_near("positive", loss_of(&o, 2, 10), -2.4, 1e-6);
}

static void test_log_ratio_clamp_bounds_the_ratio(void **state)
{
    rlhf_ppo_options o = loss_options();

    (void)state;
    o.log_ratio_clamp = 1;
    assert_near("above", loss_of(&o, -1, exp(5)), exp(1), 1e-6);
    assert_near("below", loss_of(&o, 1, exp(-5)), -exp(-1), 1e-6);
}

/* --- gradients ---------------------------------------------------------------------- */

/* log pi of a token and the entropy, from logits; the stop token is left out where asked.
 */
static void softmax_of(const rlhf_ppo_options *o, const float *logits, int32_t token,
                       int masked, double *logprob, double *entropy)
{
    double total = 0, mean = 0;

    for (int32_t v = 0; v < WORDS; v++) {
        if (masked && v == o->stop_token_id)
            continue;
        const double z = (double)logits[v] / o->temperature;
        total += exp(z);
        mean += exp(z) * z;
    }
    *logprob = (double)logits[token] / o->temperature - log(total);
    *entropy = log(total) - mean / total;
}

static double clamp(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

static double token_loss(const rlhf_ppo_options *o, double a, double log_ratio)
{
    const double high = o->clip_range_high > 0 ? o->clip_range_high : o->clip_range;

    if (o->log_ratio_clamp > 0)
        log_ratio = clamp(log_ratio, -o->log_ratio_clamp, o->log_ratio_clamp);
    const double ratio = exp(log_ratio);
    double gain = fmin(ratio * a, clamp(ratio, 1 - o->clip_range, 1 + high) * a);
    if (o->dual_clip > 0 && a < 0)
        gain = fmax(gain, o->dual_clip * a);
    return -gain;
}

/* The minibatch's loss, entropy bonus included, of a policy; old log-probs as of `f`. */
static double policy_loss_of(const ppo_fixture *f, const rlhf_ppo_options *o,
                             rlhf_model *policy)
{
    double loss = 0;

    for (int i = 0; i < 2; i++) {
        const sample *s = &samples[i];
        const int64_t cu_seqlens[2] = {0, s->num_tokens}, n = s->last - s->first + 1;
        float logits[MOST_TOKENS * WORDS];
        assert_ok(rlhf_model_logits(policy, s->tokens, cu_seqlens, 1, logits));
        for (int64_t k = 0; k < n; k++) {
            const int64_t t = s->first + k;
            const double old =
                (double)(float)(logprob_at(f->policy, s, t) - s->log_ratio[k]);
            double logprob, entropy, weight = 1. / 5;
            softmax_of(o, logits + (t - 1) * WORDS, s->tokens[t], k < o->min_new_tokens,
                       &logprob, &entropy);
            if (o->aggregation == RLHF_AGGREGATE_SEQUENCE)
                weight = 1. / (2 * (double)n);
            else if (o->aggregation == RLHF_AGGREGATE_CONSTANT)
                weight = 1. / (2 * o->max_new_tokens);
            loss += weight * (token_loss(o, (double)s->token_scores[k], logprob - old) -
                              o->entropy_coef * entropy);
        }
    }
    return loss;
}

/* Central differences at a few entries of two matrices. */
static void check_policy_gradient(const rlhf_ppo_options *o)
{
    static const char *const names[2] = {"model.embed_tokens.weight",
                                         "model.layers.0.self_attn.q_proj.weight"};
    ppo_fixture f = ppo_make(o, 0);
    rlhf_rollout *rollout = make_rollout(&f, samples, 2, OLD_OF_RATIO, 1);
    rlhf_model *moved;
    int64_t remaining;
    const float h = 1e-3f; /* weights are about .02 */

    assert_ok(rlhf_model_clone(f.policy, &moved));
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
    assert_int_equal(remaining, 0);
    for (int m = 0; m < 2; m++) {
        const int64_t count = m ? 16 * 16 : WORDS * 16;
        float values[256], gradient[256];
        assert_ok(rlhf_model_parameter_read(moved, names[m], values, count));
        assert_ok(rlhf_ppo_trainer_gradient(f.trainer, 0, names[m], gradient, count));
        for (int64_t i = 3; i < count; i += 37) {
            const float keep = values[i];
            double loss[2];
            for (int side = 0; side < 2; side++) {
                values[i] = side ? keep + h : keep - h;
                assert_ok(rlhf_model_parameter_write(moved, names[m], values, count));
                loss[side] = policy_loss_of(&f, o, moved);
            }
            values[i] = keep;
            assert_near(names[m], (double)gradient[i],
                        (loss[1] - loss[0]) / (2 * (double)h),
                        5e-4 + 1e-3 * fabs((double)gradient[i]));
        }
        assert_ok(rlhf_model_parameter_write(moved, names[m], values, count));
    }
    rlhf_rollout_free(rollout);
    rlhf_model_free(moved);
    ppo_free(&f);
}

static void test_policy_gradient_is_that_of_its_loss(void **state)
{
    rlhf_ppo_options o[8];

    (void)state;
    for (int i = 0; i < 8; i++)
        o[i] = loss_options();
    o[1].aggregation = RLHF_AGGREGATE_SEQUENCE;
    o[2].aggregation = RLHF_AGGREGATE_CONSTANT;
    o[3].clip_range_high = 2;
    o[4].dual_clip = 1.2;
    o[5].log_ratio_clamp = .3;
    o[6].entropy_coef = .3;
    o[7].entropy_coef = .3;
    o[7].stop_token_id = 9;
    o[7].min_new_tokens = 2;
    o[7].temperature = .7;
    o[7].clip_range = 10;
    for (int i = 0; i < 8; i++)
        check_policy_gradient(&o[i]);
}

static void test_clipped_actions_have_no_gradient(void **state)
{
    const rlhf_ppo_options o = loss_options();
    ppo_fixture f = ppo_make(&o, 0);
    rlhf_rollout *rollout = make_rollout(&f, samples, 1, OLD_OF_RATIO, 1);
    float gradient[WORDS * 16];
    int64_t remaining;

    (void)state;
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
    assert_ok(rlhf_ppo_trainer_gradient(f.trainer, 0, "model.embed_tokens.weight",
                                        gradient, WORDS * 16));
    for (int i = 0; i < WORDS * 16; i++)
        assert_true(gradient[i] == 0.0f);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* --- value -------------------------------------------------------------------------- */

static void test_value_loss_of_a_zero_head_is_half_the_mean_square_return(void **state)
{
    const rlhf_ppo_options o = loss_options();
    const rlhf_ppo_stats stats = stats_of(&o, samples, 2);

    (void)state;
    assert_true(stats.value_mean == 0);
    assert_near("value loss", stats.value_loss, (1 + 1 + 1 + 4 + .25) / 5 / 2, 1e-6);
}

static rlhf_rollout *begin(ppo_fixture *f, const sample *of, int64_t count)
{
    rlhf_rollout *rollout = make_rollout(f, of, count, OLD_OF_POLICY, 1);
    int64_t remaining = 1;

    assert_ok(rlhf_ppo_trainer_advantages(f->trainer, rollout));
    while (remaining > 0)
        assert_ok(rlhf_ppo_trainer_accumulate(f->trainer, rollout, &remaining));
    return rollout;
}

/* d L / d bias = c_v * mean (V - R). */
static void test_value_gradient_is_the_coefficient_times_the_mean_error(void **state)
{
    rlhf_ppo_options o = loss_options();
    double errors = 0;
    float gradient;

    (void)state;
    o.gamma = 1;
    o.value_coef = .3;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = begin(&f, samples, 2);
    for (int64_t i = 0; i < 2; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        for (int64_t t = 0; t < s.num_tokens; t++)
            errors += (double)s.values[t] - (double)s.returns[t];
    }
    assert_ok(rlhf_ppo_trainer_gradient(f.trainer, 1, "score.bias", &gradient, 1));
    assert_near("gradient of the bias", (double)gradient, .3 * errors / 5, 1e-6);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* gamma 0 and V 0: a slot's return is its reward, the score's own where there is room for
 * one. The critic's losses are divided by its slots, the policy's by its actions. */
static void
test_aggregation_counts_the_slot_after_the_last_action_for_the_critic(void **state)
{
    /* Squares and sums of the returns of 3 and of 4 slots; of the actions' advantages. */
    static const double squares[2] = {1 + 1 + 9, 1 + 4 + .25 + 16};
    static const double sums[2] = {1 - 1 + 3, 1 - 2 + .5 - 4}, actions[2] = {0, -.5};
    static const struct {
        int32_t aggregation, micro_batch_tokens;
        double weights[2], policy_weights[2]; /* of a slot of each sequence */
    } rows[5] = {
        {RLHF_AGGREGATE_STEP_TOKENS, 100, {1. / 7, 1. / 7}, {1. / 5, 1. / 5}},
        {RLHF_AGGREGATE_MICRO_MEAN, 100, {1. / 7, 1. / 7}, {1. / 5, 1. / 5}},
        {RLHF_AGGREGATE_MICRO_MEAN, 1, {1. / 6, 1. / 8}, {1. / 4, 1. / 6}},
        {RLHF_AGGREGATE_SEQUENCE, 100, {1. / 6, 1. / 8}, {1. / 4, 1. / 6}},
        {RLHF_AGGREGATE_CONSTANT, 100, {1. / 16, 1. / 16}, {1. / 16, 1. / 16}},
    };
    sample own[2] = {samples[0], samples[1]};

    (void)state;
    own[0].score = 3;
    own[1].score = -4;
    for (int i = 0; i < 5; i++) {
        rlhf_ppo_options o = loss_options();
        int64_t remaining = 1;
        int32_t done;
        float gradient;
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        o.aggregation = rows[i].aggregation;
        o.micro_batch_tokens = rows[i].micro_batch_tokens;
        o.score_slot = RLHF_SCORE_AFTER_LAST;
        ppo_fixture f = ppo_make(&o, 0);
        rlhf_rollout *rollout = make_rollout(&f, own, 2, OLD_OF_POLICY, 1);
        const double *w = rows[i].weights, *p = rows[i].policy_weights;
        assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
        while (remaining > 0)
            assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
        assert_ok(rlhf_ppo_trainer_gradient(f.trainer, 1, "score.bias", &gradient, 1));
        assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, &stats));
        assert_near("value loss", stats.value_loss,
                    (w[0] * squares[0] + w[1] * squares[1]) / 2, 1e-6);
        assert_near("gradient of the bias", (double)gradient,
                    -w[0] * sums[0] - w[1] * sums[1], 1e-6);
        assert_near("policy loss", stats.policy_loss,
                    -p[0] * actions[0] - p[1] * actions[1], 1e-6);
        rlhf_rollout_free(rollout);
        ppo_free(&f);
    }
}

/* Far targets above: in the second epoch every value has left V_old +- epsilon_v towards
 * its return, so that the clipped loss is larger and has no gradient. Without the clip it
 * has one. */
static void test_value_clip_stops_the_gradient_outside_its_range(void **state)
{
    (void)state;
    for (int clip = 0; clip < 2; clip++) {
        rlhf_ppo_options o = loss_options();
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        sample far[2] = {samples[0], samples[1]};
        float gradient[16], largest = 0;
        int32_t done = 0;
        int64_t remaining;
        for (int i = 0; i < 2; i++)
            for (int t = 0; t < 3; t++)
                far[i].token_scores[t] = 100;
        o.num_epochs = 2;
        o.value_learning_rate = 1e-2;
        o.value_clip_range = clip ? 1e-6 : 0;
        ppo_fixture f = ppo_make(&o, 3);
        rlhf_rollout *rollout = begin(&f, far, 2);
        assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, &stats));
        assert_false(done);
        assert_true(stats.value_clipfrac == 0);
        assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
        assert_ok(rlhf_ppo_trainer_gradient(f.trainer, 1, "score.weight", gradient, 16));
        for (int i = 0; i < 16; i++)
            largest = fmaxf(largest, fabsf(gradient[i]));
        assert_true(clip ? largest == 0.0f : largest > 0.1f);
        assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, &stats));
        assert_true(done);
        assert_near("value clipfrac", stats.value_clipfrac, clip ? .5 : 0, 1e-12);
        rlhf_rollout_free(rollout);
        ppo_free(&f);
    }
}

/* --- micro-batches ------------------------------------------------------------------ */

static void gradient_of_cut(int32_t micro_batch_tokens, float *policy, float *critic)
{
    rlhf_ppo_options o = loss_options();
    sample many[4] = {samples[0], samples[1], samples[1], samples[0]};

    many[2].tokens[3] = 9;
    many[3].tokens[1] = 2;
    o.gamma = 1;
    o.micro_batch_tokens = micro_batch_tokens;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = begin(&f, many, 4);
    assert_ok(rlhf_ppo_trainer_gradient(f.trainer, 0, "model.embed_tokens.weight", policy,
                                        WORDS * 16));
    assert_ok(rlhf_ppo_trainer_gradient(f.trainer, 1, "model.embed_tokens.weight", critic,
                                        WORDS * 16));
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* Under step-token aggregation the sums differ by their rounding only: a few units in the
 * last place of the largest gradient. The same cut gives the same bits. */
static void test_micro_batches_equal_one_batch(void **state)
{
    float whole[2][WORDS * 16], cut[2][WORDS * 16], again[2][WORDS * 16];

    (void)state;
    gradient_of_cut(1000, whole[0], whole[1]);
    for (int32_t tokens = 1; tokens < 16; tokens += 7) {
        gradient_of_cut(tokens, cut[0], cut[1]);
        gradient_of_cut(tokens, again[0], again[1]);
        assert_memory_equal(cut, again, sizeof cut);
        for (int m = 0; m < 2; m++) {
            float largest = 0;
            for (int i = 0; i < WORDS * 16; i++)
                largest = fmaxf(largest, fabsf(whole[m][i]));
            assert_true(largest > 1e-2f);
            for (int i = 0; i < WORDS * 16; i++)
                assert_near("gradient", (double)cut[m][i], (double)whole[m][i],
                            1e-6 * (double)largest);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_loss_and_figures_of_known_ratios),
        cmocka_unit_test(test_aggregation_divides_by_what_it_says),
        cmocka_unit_test(test_clip_range_high_bounds_the_ratio_above),
        cmocka_unit_test(test_dual_clip_bounds_the_loss_of_negative_advantages),
        cmocka_unit_test(test_log_ratio_clamp_bounds_the_ratio),
        cmocka_unit_test(test_policy_gradient_is_that_of_its_loss),
        cmocka_unit_test(test_clipped_actions_have_no_gradient),
        cmocka_unit_test(test_value_loss_of_a_zero_head_is_half_the_mean_square_return),
        cmocka_unit_test(test_value_gradient_is_the_coefficient_times_the_mean_error),
        cmocka_unit_test(
            test_aggregation_counts_the_slot_after_the_last_action_for_the_critic),
        cmocka_unit_test(test_value_clip_stops_the_gradient_outside_its_range),
        cmocka_unit_test(test_micro_batches_equal_one_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
