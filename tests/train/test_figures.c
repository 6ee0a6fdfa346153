/* The figures that trainers give back, on rollouts, pairs and rows small enough to work
 * them out by hand. */
#include "train_support.h"

/* --- PPO ---------------------------------------------------------------------------- */

static const sample samples[2] = {{.tokens = {BOS, 5, 3, 7, EOS},
                                   .num_tokens = 5,
                                   .first = 2,
                                   .last = 4,
                                   .delta = {.2, -.5, 0},
                                   .score = 1,
                                   .finish = RLHF_FINISH_STOP},
                                  {.tokens = {BOS, 6, 2, 4},
                                   .num_tokens = 4,
                                   .first = 2,
                                   .last = 3,
                                   .delta = {.1, .3},
                                   .score = 3,
                                   .finish = RLHF_FINISH_LENGTH}};

/* A critic that says .5 whatever it reads. */
static void make_constant(rlhf_reward_model *critic, float value)
{
    const float zeros[16] = {0};

    assert_ok(rlhf_reward_model_parameter_write(critic, "score.weight", zeros, 16));
    assert_ok(rlhf_reward_model_parameter_write(critic, "score.bias", &value, 1));
}

/* beta .1: rewards -.02, .05, 1 and -.01, 2.97; at gamma = lambda = 1 returns 1.03, 1.05,
 * 1 and 2.96, 2.97, advantages .5 less. Of the returns: mean 9.01 / 5, squares around it
 * 4.50988, around .5 12.9859. */
static void test_ppo_figures_of_a_rollout_worked_out_by_hand(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.kl_coef = .1;
    o.learning_rate = 0;
    o.value_learning_rate = 0;
    ppo_fixture f = ppo_make(&o, 3);
    make_constant(f.critic, .5f);
    for (int i = 1; i <= 2; i++) {
        const rlhf_ppo_stats s =
            train_on(&f, make_rollout(&f, samples, 2, OLD_OF_DELTA, 0));
        assert_int_equal(s.iteration, i);
        assert_int_equal(s.num_episodes, 2 * i);
        assert_int_equal(s.num_tokens, 5);
        assert_near("score", s.score, 2, 0);
        assert_near("score_std", s.score_std, 1, 0);
        assert_near("kl", s.kl, .05, 1e-6);
        assert_near("kl_coef", s.kl_coef, .1, 0);
        assert_near("non_score_reward", s.non_score_reward, -.005, 1e-7);
        assert_near("rlhf_reward", s.rlhf_reward, 1.995, 1e-7);
        assert_near("response_length", s.response_length, 2.5, 0);
        assert_near("eos_rate", s.eos_rate, .5, 0);
        assert_near("value_mean", s.value_mean, .5, 0);
        assert_near("return_mean", s.return_mean, 1.802, 1e-6);
        assert_near("advantage_mean", s.advantage_mean, 1.302, 1e-6);
        assert_near("advantage_std", s.advantage_std, .949724, 1e-6);
        assert_near("explained_variance", s.explained_variance, 1 - 12.9859 / 4.50988,
                    1e-5);
        assert_near("value_loss", s.value_loss, 12.9859 / 5 / 2, 1e-6);
    }
    ppo_free(&f);
}

/* --- reward model ------------------------------------------------------------------- */

enum { PAIRS = 3 };

/* Chosen, then rejected; lengths; margins. Three of the six end with EOS. */
static const int32_t answers[2 * PAIRS][4] = {{BOS, 5, 3, EOS}, {BOS, 5, 8},
                                              {BOS, 6, 2},      {BOS, 6, 9, EOS},
                                              {BOS, 7, 10, 4},  {BOS, 7, EOS}};
static const int64_t lengths[2 * PAIRS] = {4, 3, 3, 4, 4, 3};
static const double margins[PAIRS] = {.5, 2, 1};

/* `swapped`: the better is the worse. */
static rlhf_dataset *make_pairs(rlhf_context *context, int swapped)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int i = 0; i < PAIRS; i++) {
        const rlhf_example row = {.struct_size = sizeof row,
                                  .tokens = answers[2 * i + swapped],
                                  .num_tokens = lengths[2 * i + swapped],
                                  .prompt_length = 2,
                                  .rejected = answers[2 * i + !swapped],
                                  .num_rejected = lengths[2 * i + !swapped],
                                  .margin = margins[i]};
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

typedef struct pair_fixture {
    rlhf_context *context;
    rlhf_reward_model *model;
    rlhf_dataset *pairs;
    rlhf_reward_trainer *trainer;
} pair_fixture;

static rlhf_reward_options pair_options(int32_t use_margin)
{
    rlhf_reward_options o;

    assert_ok(rlhf_reward_options_init(&o, sizeof o));
    o.batch_size = PAIRS;
    o.use_margin = use_margin;
    o.center_coefficient = 0;
    return o;
}

static pair_fixture make_pair_fixture(const rlhf_reward_options *options, int swapped)
{
    pair_fixture f = {.context = support_context(NULL, 1)};

    f.model = tiny_reward_model(f.context, 6, RLHF_APPEND_EOS_IF_MISSING);
    f.pairs = make_pairs(f.context, swapped);
    assert_ok(rlhf_reward_trainer_create(f.model, f.pairs, options, &f.trainer));
    return f;
}

static void free_pair_fixture(pair_fixture *f)
{
    rlhf_reward_trainer_free(f->trainer);
    rlhf_dataset_free(f->pairs);
    rlhf_reward_model_free(f->model);
    rlhf_context_free(f->context);
}

static void raw_scores(rlhf_reward_model *model, int swapped, double out[2 * PAIRS])
{
    for (int i = 0; i < 2 * PAIRS; i++) {
        const int64_t cu_seqlens[2] = {0, lengths[i]};
        float score;
        assert_ok(rlhf_reward_model_score(model, answers[i], cu_seqlens, 1, &score));
        out[i ^ swapped] = (double)score;
    }
}

static void assert_pair_figures(const rlhf_reward_stats *s, const double *r,
                                int use_margin)
{
    double loss = 0, right = 0, difference = 0, sum = 0, low = r[0], high = r[0];

    for (int i = 0; i < PAIRS; i++) {
        const double d = r[2 * i] - r[2 * i + 1];
        loss += log1p(exp(-(d - (use_margin ? margins[i] : 0)))) / PAIRS;
        right += (double)(d > 0) / PAIRS;
        difference += d / PAIRS;
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        sum += r[i];
        low = fmin(low, r[i]);
        high = fmax(high, r[i]);
    }
    assert_near("loss", s->loss, loss, 1e-6);
    assert_near("accuracy", s->accuracy, right, 1e-12);
    assert_near("margin", s->margin, difference, 1e-6);
    assert_near("mean_reward", s->mean_reward, sum / (2 * PAIRS), 1e-6);
    assert_near("min_reward", s->min_reward, low, 1e-6);
    assert_near("max_reward", s->max_reward, high, 1e-6);
    assert_int_equal(s->num_pairs, PAIRS);
    assert_int_equal(s->num_tokens, 4 + 3 + 3 + 4 + 4 + 3 + 3); /* and three EOS */
}

/* Raw rewards, whatever the affine; a row's margin counts where it is asked for. */
static void test_reward_figures_of_three_pairs(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        const int use_margin = k % 2, swapped = k / 2;
        const rlhf_reward_options o = pair_options(use_margin);
        pair_fixture f = make_pair_fixture(&o, swapped);
        rlhf_reward_stats stats = {.struct_size = sizeof stats};
        double r[2 * PAIRS];
        raw_scores(f.model, swapped, r);
        assert_true(fabs(r[0] - r[1]) > 1e-3);
        assert_ok(rlhf_reward_model_set_affine(f.model, -3, 7));
        assert_ok(rlhf_reward_trainer_evaluate(f.trainer, f.pairs, 0, &stats));
        assert_pair_figures(&stats, r, use_margin);
        assert_ok(rlhf_reward_trainer_step(f.trainer, &stats));
        assert_pair_figures(&stats, r, use_margin);
        free_pair_fixture(&f);
    }
}

static void test_accuracy_counts_a_tie_as_wrong(void **state)
{
    const rlhf_reward_options o = pair_options(0);
    pair_fixture f = make_pair_fixture(&o, 0);
    rlhf_reward_stats stats = {.struct_size = sizeof stats};

    (void)state;
    make_constant(f.model, .25f);
    assert_ok(rlhf_reward_trainer_evaluate(f.trainer, f.pairs, 0, &stats));
    assert_near("accuracy", stats.accuracy, 0, 0);
    assert_near("margin", stats.margin, 0, 0);
    assert_near("loss", stats.loss, log(2), 1e-12);
    assert_near("least", stats.min_reward, .25, 0);
    assert_near("greatest", stats.max_reward, .25, 0);
    free_pair_fixture(&f);
}

/* --- language model ----------------------------------------------------------------- */

/* Prompts of 2 before completions of 2, 1 and 4 tokens. */
static rlhf_dataset *make_completions(rlhf_context *context)
{
    static const int32_t rows[3][6] = {
        {BOS, 5, 3, EOS}, {BOS, 6, EOS}, {BOS, 7, 10, 4, 9, EOS}};
    static const int64_t row_lengths[3] = {4, 3, 6};
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_COMPLETION;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int i = 0; i < 3; i++) {
        const rlhf_example row = {.struct_size = sizeof row,
                                  .tokens = rows[i],
                                  .num_tokens = row_lengths[i],
                                  .prompt_length = 2};
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

static rlhf_lm_trainer *make_lm(rlhf_model *model, rlhf_dataset *rows)
{
    rlhf_lm_options o;
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_lm_options_init(&o, sizeof o));
    o.batch_size = 3;
    o.micro_batch_tokens = 1; /* a row each */
    o.warmup_steps = 0;
    assert_ok(rlhf_lm_trainer_create(model, rows, &o, &trainer));
    return trainer;
}

static void test_lm_counts_the_tokens_of_rows_and_their_targets(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, WORDS, CONTEXT, 1);
    rlhf_dataset *rows = make_completions(context);
    rlhf_lm_trainer *trainer = make_lm(model, rows);
    rlhf_lm_stats stats = {.struct_size = sizeof stats};

    (void)state;
    for (int i = 1; i <= 2; i++) {
        assert_ok(rlhf_lm_trainer_step(trainer, &stats));
        assert_int_equal(stats.step, i);
        assert_int_equal(stats.num_tokens, 4 + 3 + 6);
        assert_int_equal(stats.num_targets, 2 + 1 + 4);
    }
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(rows);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- an evaluation in the middle of a step ------------------------------------------ */

/* Of one of the rows, between any two micro-batches of a step: the step's figures and
 * weights are those of a step alone. */
static void test_evaluation_within_an_lm_step_leaves_it_alone(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_lm_stats stats[2] = {{.struct_size = sizeof *stats},
                              {.struct_size = sizeof *stats}};
    rlhf_model *models[2];

    (void)state;
    for (int disturbed = 0; disturbed < 2; disturbed++) {
        rlhf_dataset *rows = make_completions(context);
        int64_t remaining = 1;
        double loss;
        models[disturbed] = tiny_model(context, WORDS, CONTEXT, 1);
        rlhf_lm_trainer *trainer = make_lm(models[disturbed], rows);
        for (int k = 0; k < 3; k++) {
            assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
            assert_int_equal(remaining, 2 - k);
            if (disturbed)
                assert_ok(rlhf_lm_trainer_evaluate(trainer, rows, 1, &loss));
        }
        assert_ok(rlhf_lm_trainer_apply(trainer, &stats[disturbed]));
        stats[disturbed].tokens_per_second = 0;
        rlhf_lm_trainer_free(trainer);
        rlhf_dataset_free(rows);
    }
    assert_memory_equal(&stats[0], &stats[1], sizeof *stats);
    assert_same_model(models[0], models[1]);
    rlhf_model_free(models[0]);
    rlhf_model_free(models[1]);
    rlhf_context_free(context);
}

static void test_evaluation_within_a_reward_step_leaves_it_alone(void **state)
{
    rlhf_reward_options o = pair_options(1);
    rlhf_reward_stats stats[2] = {{.struct_size = sizeof *stats},
                                  {.struct_size = sizeof *stats}};
    pair_fixture f[2];

    (void)state;
    o.micro_batch_tokens = 1; /* a pair each */
    o.warmup_steps = 0;
    for (int disturbed = 0; disturbed < 2; disturbed++) {
        rlhf_reward_stats other = {.struct_size = sizeof other};
        int64_t remaining = 1;
        f[disturbed] = make_pair_fixture(&o, 0);
        for (int k = 0; k < PAIRS; k++) {
            assert_ok(rlhf_reward_trainer_accumulate(f[disturbed].trainer, &remaining));
            assert_int_equal(remaining, PAIRS - 1 - k);
            if (disturbed)
                assert_ok(rlhf_reward_trainer_evaluate(f[disturbed].trainer,
                                                       f[disturbed].pairs, 1, &other));
        }
        assert_ok(rlhf_reward_trainer_apply(f[disturbed].trainer, &stats[disturbed]));
        stats[disturbed].tokens_per_second = 0;
    }
    assert_memory_equal(&stats[0], &stats[1], sizeof *stats);
    assert_same_reward(f[0].model, f[1].model);
    free_pair_fixture(&f[0]);
    free_pair_fixture(&f[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ppo_figures_of_a_rollout_worked_out_by_hand),
        cmocka_unit_test(test_reward_figures_of_three_pairs),
        cmocka_unit_test(test_accuracy_counts_a_tie_as_wrong),
        cmocka_unit_test(test_lm_counts_the_tokens_of_rows_and_their_targets),
        cmocka_unit_test(test_evaluation_within_an_lm_step_leaves_it_alone),
        cmocka_unit_test(test_evaluation_within_a_reward_step_leaves_it_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
