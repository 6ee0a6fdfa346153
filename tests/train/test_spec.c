/* Exact values of the algorithms, worked out by hand or published; each row says what
 * it is. */
#include "grads.h"
#include "support.h"

#include <math.h>

#include "kernels/kernels.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "train/gae.h"
#include "train/kl.h"
#include "train/ppo_loss.h"
#include "train/reward.h"

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof((array)[0])))

static void near(const char *what, double actual, double expected, double tolerance)
{
    if (!(fabs(actual - expected) <= tolerance))
        fail_msg("%s is %.9g, expected %.9g", what, actual, expected);
}

static void near_all(const char *what, const float *actual, const double *expected,
                     int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        near(what, (double)actual[i], expected[i], 2e-6);
}

/* --- language model ----------------------------------------------------------------- */

static void test_logprob_of_known_logits(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    const float z[3] = {2, 1, 0};
    const int32_t target = 0;
    float *zeros = calloc(50257, sizeof *zeros), logprob, entropy;

    (void)state;
    rlhf__logprob(context, z, 3, 1, 3, &target, 1.0f, &logprob, &entropy, NULL);
    near("log p at tau 1", (double)logprob, -0.407606, 1e-6);
    rlhf__logprob(context, z, 3, 1, 3, &target, (float)(1 / 0.7), &logprob, &entropy,
                  NULL);
    near("log p at tau 0.7", (double)logprob, -0.260118, 1e-6);
    rlhf__logprob(context, zeros, 50257, 1, 50257, &target, 1.0f, &logprob, &entropy,
                  NULL);
    near("log p of uniform", (double)logprob, -10.824905, 1e-5);
    near("entropy of uniform", (double)entropy, 10.824905, 1e-5);
    free(zeros);
    rlhf_context_free(context);
}

/* --- pairwise loss ------------------------------------------------------------------ */

static void test_pairwise_loss_and_gradient(void **state)
{
    static const double loss[11] = {5.006715, 4.018150, 3.048587, 2.126928,
                                    1.313262, .693147,  .313262,  .126928,
                                    .048587,  .018150,  .006715};
    static const double slope[11] = {.993307, .982014, .952574, .880797, .731059, .5,
                                     .268941, .119203, .047426, .017986, .006693};

    (void)state;
    for (int i = 0; i < 11; i++) {
        const double d = i - 5;
        const rlhf__pair_loss p = rlhf__reward_pair_loss(0.3 + d, 0.3, 0, 0);
        near("pairwise loss", p.loss, loss[i], 1e-6);
        near("gradient on chosen", p.dchosen, -slope[i], 1e-6);
        near("gradient on rejected", p.drejected, slope[i], 1e-6);
        near("loss(-d) - loss(d)", rlhf__reward_pair_loss(-d, 0, 0, 0).loss - p.loss, d,
             1e-12);
    }
    near("margin 1 at d = 1", rlhf__reward_pair_loss(1, 0, 1, 0).loss, 0.6931471805599453,
         1e-12);
    near("centering",
         rlhf__reward_pair_loss(1, 2, 0, .01).loss -
             rlhf__reward_pair_loss(1, 2, 0, 0).loss,
         0.09, 1e-12);
}

/* Only the centering sees a constant that is added to all rewards. */
static void test_pairwise_loss_ignores_a_constant(void **state)
{
    (void)state;
    for (int i = -3; i <= 3; i++) {
        const rlhf__pair_loss a = rlhf__reward_pair_loss(i, .5, .25, 0);
        const rlhf__pair_loss b = rlhf__reward_pair_loss(i + 7, 7.5, .25, 0);
        near("loss", b.loss, a.loss, 1e-12);
        near("gradient on chosen", b.dchosen, a.dchosen, 1e-12);
        near("gradient on rejected", b.drejected, a.drejected, 1e-12);
        /* c (r+ + r-)^2 grows by c ((s + 14)^2 - s^2) = c (28 s + 196), s = r+ + r-. */
        near("centering",
             rlhf__reward_pair_loss(i + 7, 7.5, .25, .01).loss -
                 rlhf__reward_pair_loss(i, .5, .25, .01).loss,
             .01 * (28 * (i + .5) + 196), 1e-12);
    }
}

/* --- KL ----------------------------------------------------------------------------- */

static void test_kl_estimators(void **state)
{
    static const double delta[3] = {.2, -.5, 0};
    static const double k3[3] = {.018731, .148721, 0};
    const double pi[2] = {.75, .25}, ref = .5;
    double expected[3] = {0, 0, 0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        near("k1", rlhf__kl_estimate(RLHF_KL_K1, delta[i], 0), delta[i], 1e-12);
        near("k2", rlhf__kl_estimate(RLHF_KL_K2, delta[i], 0), delta[i] * delta[i] / 2,
             1e-12);
        near("k3", rlhf__kl_estimate(RLHF_KL_K3, delta[i], 0), k3[i], 1e-6);
    }
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 2; i++)
            expected[k] += pi[i] * rlhf__kl_estimate(k, log(pi[i] / ref), 0);
    near("E k1", expected[RLHF_KL_K1], .130812, 1e-6);
    near("E k2", expected[RLHF_KL_K2], .121707, 1e-6);
    near("E k3", expected[RLHF_KL_K3], .130812, 1e-6);
    near("clamp", rlhf__kl_estimate(RLHF_KL_K1, 5, 2), 2, 0);
    near("clamp below", rlhf__kl_estimate(RLHF_KL_K1, -5, 2), -2, 0);
}

/* A k3 of the wrong sign has another mean. */
static void test_kl_k3_has_the_sign_of_its_source(void **state)
{
    const double delta[2] = {log(.75 / .5), log(.25 / .5)};

    (void)state;
    near("E k3, sign reversed",
         .75 * rlhf__kl_estimate(RLHF_KL_K3, -delta[0], 0) +
             .25 * rlhf__kl_estimate(RLHF_KL_K3, -delta[1], 0),
         .119188, 1e-6);
    for (double d = -4; d <= 4; d += .25) {
        assert_true(rlhf__kl_estimate(RLHF_KL_K2, d, 0) >= 0);
        assert_true(rlhf__kl_estimate(RLHF_KL_K3, d, 0) >= 0);
    }
}

/* k1 in the reward: the expected policy gradient on the logits is the exact gradient of
 * the KL, +-.205990 for pi = (.75, .25) and a uniform reference. */
static void test_kl_in_the_reward_has_the_gradient_of_the_exact_kl(void **state)
{
    static const double pi[2] = {.75, .25};
    double gradient[2] = {0, 0};
    rlhf_ppo_options o;

    (void)state;
    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    for (int a = 0; a < 2; a++) {
        const double reward = -rlhf__kl_estimate(RLHF_KL_K1, log(pi[a] / .5), 0);
        const rlhf__policy_loss loss =
            rlhf__ppo_policy_loss(&o, reward, log(pi[a]), log(pi[a]));
        for (int v = 0; v < 2; v++)
            gradient[v] += pi[a] * loss.gradient * ((v == a) - pi[v]);
    }
    near("gradient", gradient[0], .205990, 1e-6);
    near("gradient", gradient[1], -.205990, 1e-6);
}

static void test_kl_controller(void **state)
{
    static const double kl[6] = {0, 4.8, 6, 6.6, 7.2, 60};
    static const double beta[6] = {.148464, .148464, .15, .150768, .151536, .151536};

    (void)state;
    for (int i = 0; i < 6; i++)
        near("beta", rlhf__kl_controller(.15, kl[i], 6, 10000, 512), beta[i], 1e-9);
    near("fixed beta", rlhf__kl_controller(.15, 60, 0, 10000, 512), .15, 0);
}

/* --- GAE and whitening -------------------------------------------------------------- */

static void check_gae(const float *r, const float *v, int64_t n, double gamma, double lam,
                      const double *a, const double *ret)
{
    float advantages[8], returns[8];

    rlhf__gae(r, v, n, gamma, lam, advantages, returns);
    near_all("advantage", advantages, a, n);
    if (ret)
        near_all("return", returns, ret, n);
}

static void test_gae_of_known_rewards(void **state)
{
    const float r[3] = {0, 0, 1}, half[3] = {.5f, .5f, .5f};
    const float r2[3] = {1, -1, 2}, v2[3] = {.5f, .25f, -.5f};
    const float r4[4] = {0, 0, 0, 1}, v4[4] = {.5f, .5f, .5f, .7f};

    (void)state;
    check_gae(r, half, 3, 1, .95, (double[]){.45125, .475, .5},
              (double[]){.95125, .975, 1});
    check_gae(r, half, 3, 1, 1, (double[]){.5, .5, .5}, (double[]){1, 1, 1});
    check_gae(r, half, 3, 1, 0, (double[]){0, 0, .5}, NULL);
    check_gae(r2, v2, 3, .9, .8, (double[]){.797, .1, 2.5}, NULL);
    check_gae(r2, v2, 3, .9, 1, (double[]){1.22, .55, 2.5}, (double[]){1.72, .8, 2});
    /* The score one slot after EOS. */
    check_gae(r4, v4, 4, 1, .95, (double[]){.4377125, .46075, .485, .3}, NULL);
    check_gae(r4, v4, 4, 1, 1, (double[]){.5, .5, .5, .3}, NULL);
}

static void test_whitening(void **state)
{
    float x[4] = {1, 2, 3, 4}, y[9], one[1] = {7}, same[3] = {.1f, .1f, .1f};

    (void)state;
    rlhf__whiten(x, 4, RLHF_VARIANCE_BIASED, false);
    near_all("biased", x, (double[]){-1.341641, -.447214, .447214, 1.341641}, 4);
    for (int i = 0; i < 4; i++)
        x[i] = (float)(i + 1);
    rlhf__whiten(x, 4, RLHF_VARIANCE_UNBIASED, false);
    near_all("unbiased", x, (double[]){-1.161895, -.387298, .387298, 1.161895}, 4);
    for (int i = 0; i < 9; i++)
        y[i] = (float)(1.2 + .1 * i);
    rlhf__whiten(y, 9, RLHF_VARIANCE_BIASED, true);
    near_all("biased, mean kept", y, (double[]){.050807, .438105, .825403}, 3);
    for (int i = 0; i < 9; i++)
        y[i] = (float)(1.2 + .1 * i);
    rlhf__whiten(y, 9, RLHF_VARIANCE_UNBIASED, true);
    near_all("unbiased, mean kept", y, (double[]){.139407, .504555, .869703}, 3);
    /* A constant set, and a set of one, give 0 and no division by zero. */
    rlhf__whiten(same, 3, RLHF_VARIANCE_BIASED, false);
    near_all("constant", same, (double[]){0, 0, 0}, 3);
    rlhf__whiten(one, 1, RLHF_VARIANCE_UNBIASED, false);
    near_all("one element", one, (double[]){0}, 1);
    /* The epsilon is the variance's, 1e-8: here as much as the variance itself. */
    x[0] = 0;
    x[1] = 2e-4f;
    rlhf__whiten(x, 2, RLHF_VARIANCE_BIASED, false);
    near_all("variance of epsilon", x, (double[]){-.707107, .707107}, 2);
}

/* The rounding of a mean, times 1 / sqrt(1e-8), is no signal. */
static void test_whitening_of_a_constant_is_exactly_zero(void **state)
{
    static const float values[6] = {.1f, 1e-3f, 1.0f / 3, -7.7f, 123456.7f, 1e30f};
    static const int64_t counts[4] = {10, 11, 97, 1000};
    float x[1000];

    (void)state;
    for (int i = 0; i < 6 * 4 * 4; i++) {
        const float value = values[i % 6];
        const int64_t n = counts[i / 6 % 4];
        const bool keep_mean = i / 24 % 2;
        for (int64_t k = 0; k < n; k++)
            x[k] = value;
        rlhf__whiten(x, n, i / 48 ? RLHF_VARIANCE_UNBIASED : RLHF_VARIANCE_BIASED,
                     keep_mean);
        for (int64_t k = 0; k < n; k++)
            near("constant", (double)x[k], keep_mean ? (double)value : 0, 0);
    }
}

/* --- PPO's losses ------------------------------------------------------------------- */

static void test_policy_loss(void **state)
{
    static const struct {
        double a, ratio, loss;
        bool clipped;
    } rows[4] = {{1, 1.5, -1.2, true},
                 {-1, 1.5, 1.5, false},
                 {1, .5, -.5, false},
                 {-1, .5, .8, true}};
    rlhf_ppo_options o;

    (void)state;
    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    o.clip_range = .2;
    o.clip_range_high = 0;
    for (int i = 0; i < 4; i++) {
        const rlhf__policy_loss l =
            rlhf__ppo_policy_loss(&o, rows[i].a, log(rows[i].ratio), 0);
        near("policy loss", l.loss, rows[i].loss, 1e-12);
        assert_int_equal(l.clipped, rows[i].clipped);
        near("gradient", l.gradient, rows[i].clipped ? 0 : -rows[i].a * rows[i].ratio,
             1e-12);
    }
    /* At ratio 1 the gradient is -A, nothing is clipped. */
    const rlhf__policy_loss first = rlhf__ppo_policy_loss(&o, .7, -1.25, -1.25);
    near("ratio", first.ratio, 1, 0);
    near("gradient at ratio 1", first.gradient, -.7, 0);
    assert_false(first.clipped);
    /* Dual clip: at most -c A where A < 0. */
    o.dual_clip = 3;
    near("dual clip", rlhf__ppo_policy_loss(&o, -1, log(10), 0).loss, 3, 1e-12);
    /* Asymmetric clip. */
    o.dual_clip = 0;
    o.clip_range_high = .3;
    near("clip-higher", rlhf__ppo_policy_loss(&o, 1, log(1.5), 0).loss, -1.3, 1e-12);
}

/* Not 0 * inf. */
static void test_action_without_advantage_costs_nothing_at_any_ratio(void **state)
{
    rlhf_ppo_options o;

    (void)state;
    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    for (int dual = 0; dual < 2; dual++)
        for (int k = 0; k < 4; k++) {
            static const double log_ratios[4] = {-1e4, 0, 1, 1e4};
            o.dual_clip = dual ? 3 : 0;
            const rlhf__policy_loss l =
                rlhf__ppo_policy_loss(&o, 0, log_ratios[k] - 1, -1);
            near("loss", l.loss, 0, 0);
            near("gradient", l.gradient, 0, 0);
            assert_false(l.clipped);
        }
}

static void test_value_loss(void **state)
{
    const rlhf__value_loss clipped = rlhf__ppo_value_loss(.2, 1, 0, 2);

    (void)state;
    near("V 1, R 2", clipped.loss, 1.62, 1e-12);
    near("its gradient", clipped.gradient, 0, 0);
    assert_true(clipped.clipped);
    near("V 1, R 0", rlhf__ppo_value_loss(.2, 1, 0, 0).loss, .5, 1e-12);
    near("V .1, R 2", rlhf__ppo_value_loss(.2, .1, 0, 2).loss, 1.805, 1e-12);
    near("no clip", rlhf__ppo_value_loss(0, 1, 0, 2).loss, .5, 1e-12);
}

/* --- optimizer ---------------------------------------------------------------------- */

/* |d theta| / lr of one step on a parameter of 0. */
static double adam_step(int32_t form, double gradient)
{
    rlhf_context *context = support_context(NULL, 1);
    const rlhf__adamw_settings settings = {.9, .999, 1e-5, 0, form};
    rlhf__params params;
    rlhf__adamw adamw;
    int32_t slab;
    rlhf__grads grads;
    double norm, moved;

    assert_ok(rlhf__params_init(&params, context));
    assert_ok(rlhf__params_add_slab(&params, 1, 1, true, &slab));
    assert_ok(rlhf__params_allocate(&params));
    assert_ok(rlhf__adamw_init(&adamw, &params, &settings));
    assert_ok(rlhf__grads_init(&grads, &params));
    rlhf__grads_slab(&grads, slab)[0] = (float)gradient;
    assert_ok(adamw_step(&adamw, &params, &grads, 1.0, 1.0, 0, &norm));
    near("norm", norm, gradient, 1e-7 * gradient);
    moved = -(double)params.values[0];
    rlhf__grads_free(&grads);
    rlhf__adamw_free(&adamw);
    rlhf__params_free(&params);
    rlhf_context_free(context);
    return moved;
}

static void test_adam_first_step_in_both_forms(void **state)
{
    (void)state;
    near("torch 1e-6", adam_step(RLHF_ADAM_TORCH, 1e-6), .0909091, 1e-6);
    near("TF 1e-6", adam_step(RLHF_ADAM_TF, 1e-6), .00315231, 1e-7);
    near("torch 1e-4", adam_step(RLHF_ADAM_TORCH, 1e-4), .909091, 1e-5);
    near("TF 1e-4", adam_step(RLHF_ADAM_TF, 1e-4), .240253, 1e-5);
    near("torch 1", adam_step(RLHF_ADAM_TORCH, 1), .99999, 1e-6);
    near("TF 1", adam_step(RLHF_ADAM_TF, 1), .999684, 1e-6);
}

static void test_clip_and_schedules(void **state)
{
    (void)state;
    near("below", rlhf__clip_factor(.5, 1), 1, 0);
    near("above", rlhf__clip_factor(4, 1), .25, 1e-6);
    near("off", rlhf__clip_factor(4, 0), 1, 0);
    near("warm-up", rlhf__schedule_rate(RLHF_SCHEDULE_LINEAR, 2, 0, 10, 110, 5), 1,
         1e-12);
    near("peak", rlhf__schedule_rate(RLHF_SCHEDULE_LINEAR, 2, 0, 10, 110, 10), 2, 1e-12);
    near("half way", rlhf__schedule_rate(RLHF_SCHEDULE_LINEAR, 2, 0, 10, 110, 60), 1,
         1e-12);
    near("end", rlhf__schedule_rate(RLHF_SCHEDULE_LINEAR, 2, .1, 10, 110, 500), .2,
         1e-12);
    near("cosine", rlhf__schedule_rate(RLHF_SCHEDULE_COSINE, 2, 0, 0, 100, 25),
         1 + cos(acos(-1) / 4), 1e-12);
    near("constant", rlhf__schedule_rate(RLHF_SCHEDULE_CONSTANT, 2, 0, 0, 100, 99), 2, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logprob_of_known_logits),
        cmocka_unit_test(test_pairwise_loss_and_gradient),
        cmocka_unit_test(test_pairwise_loss_ignores_a_constant),
        cmocka_unit_test(test_kl_estimators),
        cmocka_unit_test(test_kl_k3_has_the_sign_of_its_source),
        cmocka_unit_test(test_kl_in_the_reward_has_the_gradient_of_the_exact_kl),
        cmocka_unit_test(test_kl_controller),
        cmocka_unit_test(test_gae_of_known_rewards),
        cmocka_unit_test(test_whitening),
        cmocka_unit_test(test_whitening_of_a_constant_is_exactly_zero),
        cmocka_unit_test(test_policy_loss),
        cmocka_unit_test(test_action_without_advantage_costs_nothing_at_any_ratio),
        cmocka_unit_test(test_value_loss),
        cmocka_unit_test(test_adam_first_step_in_both_forms),
        cmocka_unit_test(test_clip_and_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
