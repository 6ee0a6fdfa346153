/* A step cut into micro-batches: the gradient of the whole batch within a bound, the same
 * bits for the same cut, and exact by the whole step's token count. */
#include "tiny.h"

#include <math.h>
#include <stdbool.h>

enum { VOCAB = 23, LENGTH = 96, ROWS = 6 };

/* The cut changes the order in which fp32 sums are taken, of some hundred terms: a
 * difference of 1e-5 of the gradient's norm is over ten times what is seen. */
#define BOUND 1e-5

/* Very different lengths, so that a mean of the rows' means is something else. */
static const int64_t lengths[ROWS] = {90, 2, 3, 40, 2, 5};
static const int32_t cuts[] = {1, 41, 60}; /* budgets: row by row, and two between */

static double norm_of(const float *x, int64_t count)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static double distance(const float *a, const float *b, int64_t count)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum);
}

static void fill_row(int row, int32_t *tokens, int32_t *rejected)
{
    for (int32_t t = 0; t < LENGTH; t++) {
        tokens[t] = (row * 7 + t * t) % VOCAB;
        rejected[t] = t < 1 ? tokens[t] : (row * 5 + t * 3 + 1) % VOCAB;
    }
}

/* Rows [first, first + count). */
static rlhf_dataset *make_rows(rlhf_context *context, int32_t kind, int first, int count)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;
    int32_t tokens[LENGTH], rejected[LENGTH];

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    options.shuffle = 0;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int i = first; i < first + count; i++) {
        rlhf_example row = {
            .struct_size = sizeof row, .tokens = tokens, .num_tokens = lengths[i]};
        fill_row(i, tokens, rejected);
        if (kind == RLHF_DATASET_PREFERENCE) {
            row.prompt_length = 1;
            row.rejected = rejected;
            row.num_rejected = lengths[(i + 1) % ROWS] + 1;
        }
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

/* --- language model ----------------------------------------------------------------- */

typedef struct gradient {
    float *values;
    int64_t count, micro_batches;
    double loss, targets;
} gradient;

/* Of rows [first, first + count) as one step. */
static gradient lm_gradient(rlhf_model *model, rlhf_context *context, int32_t budget,
                            int first, int count)
{
    rlhf_dataset *rows = make_rows(context, RLHF_DATASET_TEXT, first, count);
    const int64_t size = rlhf_model_num_parameters(model);
    gradient g = {.values = calloc((size_t)size, sizeof(float))};
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    rlhf_lm_options options;
    rlhf_lm_trainer *trainer;
    rlhf_model *copy;
    int64_t remaining = 1;

    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = count;
    options.micro_batch_tokens = budget;
    assert_ok(rlhf_model_clone(model, &copy));
    assert_ok(rlhf_lm_trainer_create(copy, rows, &options, &trainer));
    for (; remaining > 0; g.micro_batches++)
        assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
    for (int64_t i = 0; i < rlhf_model_num_parameter_names(copy); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_model_parameter_info(copy, i, &info));
        assert_ok(rlhf_lm_trainer_gradient(trainer, info.name, g.values + g.count,
                                           info.rows * info.cols));
        g.count += info.rows * info.cols;
    }
    assert_int_equal(g.count, size);
    assert_ok(rlhf_lm_trainer_apply(trainer, &stats));
    g.loss = stats.loss;
    g.targets = (double)stats.num_targets;
    rlhf_lm_trainer_free(trainer);
    rlhf_model_free(copy);
    rlhf_dataset_free(rows);
    return g;
}

static void test_lm_micro_batches_equal_one_batch(void **state)
{
    static const int64_t expected[] = {6, 4, 2};
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    gradient whole = lm_gradient(model, context, 1000, 0, ROWS);
    const double norm = norm_of(whole.values, whole.count);

    (void)state;
    assert_int_equal(whole.micro_batches, 1);
    for (int i = 0; i < 3; i++) {
        gradient cut = lm_gradient(model, context, cuts[i], 0, ROWS);
        gradient same = lm_gradient(model, context, cuts[i], 0, ROWS);
        assert_int_equal(cut.micro_batches, expected[i]);
        const double off = distance(cut.values, whole.values, whole.count);
        if (!(off <= BOUND * norm))
            fail_msg("budget %d: off by %g of %g", (int)cuts[i], off, norm);
        assert_true(fabs(cut.loss - whole.loss) <= 1e-6 * whole.loss);
        assert_memory_equal(cut.values, same.values, (size_t)cut.count * sizeof(float));
        assert_true(cut.loss == same.loss);
        free(cut.values), free(same.values);
    }
    free(whole.values);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* The step's gradient is the rows' weighted by their targets; the mean of their means is
 * far from it. */
static void test_lm_accumulation_counts_the_steps_tokens(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    gradient step = lm_gradient(model, context, 1, 0, ROWS);
    float *exact = calloc((size_t)step.count, sizeof *exact);
    float *mean_of_means = calloc((size_t)step.count, sizeof *exact);
    double targets = 0, loss = 0, loss_of_means = 0;

    (void)state;
    for (int i = 0; i < ROWS; i++)
        targets += (double)lengths[i] - 1;
    assert_true(step.targets == targets);
    for (int row = 0; row < ROWS; row++) {
        gradient own = lm_gradient(model, context, 1000, row, 1);
        const double share = ((double)lengths[row] - 1) / targets;
        assert_true(own.targets == (double)lengths[row] - 1);
        loss += share * own.loss;
        loss_of_means += own.loss / ROWS;
        for (int64_t i = 0; i < step.count; i++) {
            exact[i] += (float)(share * own.values[i]);
            mean_of_means[i] += own.values[i] / ROWS;
        }
        free(own.values);
    }
    const double norm = norm_of(step.values, step.count);
    assert_true(distance(step.values, exact, step.count) <= BOUND * norm);
    assert_true(fabs(step.loss - loss) <= 1e-6 * loss);
    assert_true(distance(step.values, mean_of_means, step.count) > 0.1 * norm);
    assert_true(fabs(step.loss - loss_of_means) > 1e-4 * loss);
    free(step.values), free(exact), free(mean_of_means);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- reward model ------------------------------------------------------------------- */

static rlhf_reward_model *make_reward(rlhf_model *model)
{
    rlhf_reward_model_options options;
    rlhf_reward_model *reward;

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.seed = 4;
    assert_ok(rlhf_reward_model_create(model, &options, &reward));
    return reward;
}

static gradient reward_gradient(rlhf_model *model, rlhf_context *context, int32_t budget)
{
    rlhf_dataset *rows = make_rows(context, RLHF_DATASET_PREFERENCE, 0, ROWS);
    rlhf_reward_model *reward = make_reward(model);
    gradient g = {0};
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    rlhf_reward_options options;
    rlhf_reward_trainer *trainer;
    int64_t remaining = 1;

    g.values = calloc((size_t)rlhf_reward_model_num_parameters(reward), sizeof(float));
    assert_ok(rlhf_reward_options_init(&options, sizeof options));
    options.batch_size = ROWS;
    options.micro_batch_tokens = budget;
    options.center_coefficient = 0.01;
    assert_ok(rlhf_reward_trainer_create(reward, rows, &options, &trainer));
    for (; remaining > 0; g.micro_batches++)
        assert_ok(rlhf_reward_trainer_accumulate(trainer, &remaining));
    for (int64_t i = 0; i < rlhf_reward_model_num_parameter_names(reward); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_reward_model_parameter_info(reward, i, &info));
        assert_ok(rlhf_reward_trainer_gradient(trainer, info.name, g.values + g.count,
                                               info.rows * info.cols));
        g.count += info.rows * info.cols;
    }
    assert_ok(rlhf_reward_trainer_apply(trainer, &stats));
    g.loss = stats.loss;
    rlhf_reward_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_dataset_free(rows);
    return g;
}

static void test_reward_micro_batches_equal_one_batch(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    gradient whole = reward_gradient(model, context, 10000);
    const double norm = norm_of(whole.values, whole.count);

    (void)state;
    assert_int_equal(whole.micro_batches, 1);
    for (int i = 0; i < 3; i++) {
        gradient cut = reward_gradient(model, context, cuts[i]);
        gradient same = reward_gradient(model, context, cuts[i]);
        assert_true(cut.micro_batches > 1);
        const double off = distance(cut.values, whole.values, whole.count);
        if (!(off <= BOUND * norm))
            fail_msg("budget %d: off by %g of %g", (int)cuts[i], off, norm);
        assert_true(fabs(cut.loss - whole.loss) <= 1e-6 * whole.loss);
        assert_memory_equal(cut.values, same.values, (size_t)cut.count * sizeof(float));
        free(cut.values), free(same.values);
    }
    free(whole.values);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- PPO ---------------------------------------------------------------------------- */

enum { PROMPTS = 5 };

/* The first minibatch's gradients of policy and critic, end to end. */
static gradient ppo_gradient(rlhf_context *context, int32_t budget, int32_t aggregation)
{
    static const int32_t prompts[PROMPTS] = {2, 5, 7, 9, 11};
    static const int64_t ends[PROMPTS + 1] = {0, 1, 2, 3, 4, 5};
    static const float scores[PROMPTS] = {1, -2, 0.5f, 3, -1};
    rlhf_model *policy = tiny_model(context, VOCAB, LENGTH, 1);
    rlhf_reward_model *reward = make_reward(policy);
    gradient g = {.micro_batches = 0};
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;
    rlhf_rollout *rollout;
    int64_t remaining = 1;

    g.values = calloc((size_t)(rlhf_model_num_parameters(policy) +
                               rlhf_reward_model_num_parameters(reward)),
                      sizeof(float));
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 40;
    options.num_epochs = options.num_minibatches = 1;
    options.micro_batch_tokens = budget;
    options.aggregation = aggregation;
    options.entropy_coef = 0.01;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_rollout(trainer, prompts, ends, PROMPTS, &rollout));
    assert_ok(rlhf_rollout_set_scores(rollout, scores, PROMPTS));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    for (; remaining > 0; g.micro_batches++)
        assert_ok(rlhf_ppo_trainer_accumulate(trainer, rollout, &remaining));
    for (int32_t critic = 0; critic < 2; critic++) {
        const int64_t names = critic ? rlhf_reward_model_num_parameter_names(reward)
                                     : rlhf_model_num_parameter_names(policy);
        for (int64_t i = 0; i < names; i++) {
            rlhf_parameter_info info = {.struct_size = sizeof info};
            assert_ok(critic ? rlhf_reward_model_parameter_info(reward, i, &info)
                             : rlhf_model_parameter_info(policy, i, &info));
            assert_ok(rlhf_ppo_trainer_gradient(
                trainer, critic, info.name, g.values + g.count, info.rows * info.cols));
            g.count += info.rows * info.cols;
        }
    }
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    return g;
}

static void test_ppo_micro_batches_equal_one_batch(void **state)
{
    static const int32_t aggregations[] = {
        RLHF_AGGREGATE_STEP_TOKENS, RLHF_AGGREGATE_SEQUENCE, RLHF_AGGREGATE_CONSTANT};
    rlhf_context *context = support_context(NULL, 2);

    (void)state;
    for (int a = 0; a < 3; a++) {
        gradient whole = ppo_gradient(context, 10000, aggregations[a]);
        const double norm = norm_of(whole.values, whole.count);
        assert_int_equal(whole.micro_batches, 1);
        for (int i = 0; i < 3; i++) {
            gradient cut = ppo_gradient(context, cuts[i], aggregations[a]);
            gradient same = ppo_gradient(context, cuts[i], aggregations[a]);
            const double off = distance(cut.values, whole.values, whole.count);
            if (!(off <= BOUND * norm))
                fail_msg("budget %d: off by %g of %g", (int)cuts[i], off, norm);
            assert_true(cut.micro_batches > 1);
            assert_memory_equal(cut.values, same.values,
                                (size_t)cut.count * sizeof(float));
            free(cut.values), free(same.values);
        }
        free(whole.values);
    }
    rlhf_context_free(context);
}

/* The one aggregation that hangs on the cut, as its name says. */
static void test_ppo_micro_mean_depends_on_the_cut(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    gradient whole = ppo_gradient(context, 10000, RLHF_AGGREGATE_MICRO_MEAN);
    gradient tokens = ppo_gradient(context, 10000, RLHF_AGGREGATE_STEP_TOKENS);
    gradient cut = ppo_gradient(context, 1, RLHF_AGGREGATE_MICRO_MEAN);
    gradient sequences = ppo_gradient(context, 1, RLHF_AGGREGATE_SEQUENCE);
    const double norm = norm_of(whole.values, whole.count);

    (void)state;
    /* Uncut it is the step's mean; a sequence a micro-batch, the mean over sequences. */
    assert_true(distance(whole.values, tokens.values, whole.count) <= BOUND * norm);
    assert_true(distance(cut.values, sequences.values, whole.count) <= BOUND * norm);
    assert_true(distance(cut.values, whole.values, whole.count) > 0.01 * norm);
    free(whole.values), free(tokens.values), free(cut.values), free(sequences.values);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lm_micro_batches_equal_one_batch),
        cmocka_unit_test(test_lm_accumulation_counts_the_steps_tokens),
        cmocka_unit_test(test_reward_micro_batches_equal_one_batch),
        cmocka_unit_test(test_ppo_micro_batches_equal_one_batch),
        cmocka_unit_test(test_ppo_micro_mean_depends_on_the_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
