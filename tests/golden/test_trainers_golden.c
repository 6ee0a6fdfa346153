/* Each trainer's step against PyTorch: loss, gradient, weights after, PPO's advantages
 * and statistics. The vectors come from make_trainers.py, in double precision; ours
 * are fp32, so the tolerances are a few hundred roundings. */
#include <math.h>

#include "golden/trainers_golden.h"
#include "support.h"

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof((array)[0])))
#define VOCAB        23
#define PROMPT       4

static void near(const char *what, double actual, double expected, double tolerance)
{
    if (!(fabs(actual - expected) <= tolerance * (1 + fabs(expected))))
        fail_msg("%s is %.9g, expected %.9g", what, actual, expected);
}

static rlhf_model_config tiny_config(void)
{
    rlhf_model_config c;

    assert_ok(rlhf_model_config_init(&c, sizeof c));
    c.vocab_size = VOCAB;
    c.context_length = 16;
    c.hidden_size = 8;
    c.intermediate_size = 12;
    c.num_layers = 2;
    c.num_heads = 2;
    c.num_kv_heads = 1;
    c.head_dim = 4;
    c.position = RLHF_POSITION_ROTARY;
    c.norm = RLHF_NORM_RMSNORM;
    c.activation = RLHF_ACTIVATION_SWIGLU;
    c.attention_bias = 0;
    c.mlp_bias = 0;
    c.tie_embeddings = 1;
    c.bos_token_id = 1;
    c.eos_token_id = 2;
    c.norm_eps = 1e-5;
    c.rope_theta = 10000;
    return c;
}

/* Size of a parameter of either kind of model. */
static int64_t parameter_size(rlhf_model *model, rlhf_reward_model *scalar,
                              const char *name)
{
    int64_t count = model ? rlhf_model_num_parameter_names(model)
                          : rlhf_reward_model_num_parameter_names(scalar);

    for (int64_t i = 0; i < count; i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(model ? rlhf_model_parameter_info(model, i, &info)
                        : rlhf_reward_model_parameter_info(scalar, i, &info));
        if (strcmp(info.name, name) == 0)
            return info.rows * info.cols;
    }
    fail_msg("no parameter %s", name);
    return 0;
}

static rlhf_model *make_policy(rlhf_context *context, const float *weights)
{
    rlhf_model_config config = tiny_config();
    rlhf_model *model;

    assert_ok(rlhf_model_create(context, &config, 1, &model));
    for (int i = 0; policy_names[i]; i++) {
        int64_t size = parameter_size(model, NULL, policy_names[i]);
        assert_ok(rlhf_model_parameter_write(model, policy_names[i], weights, size));
        weights += size;
    }
    return model;
}

static rlhf_reward_model *make_scalar(rlhf_context *context)
{
    rlhf_model *trunk = make_policy(context, policy_weights);
    rlhf_reward_model_options options;
    rlhf_reward_model *model;
    const float *weights = scalar_weights;

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.append_eos = RLHF_APPEND_EOS_NEVER;
    assert_ok(rlhf_reward_model_create(trunk, &options, &model));
    rlhf_model_free(trunk);
    for (int i = 0; scalar_names[i]; i++) {
        int64_t size = parameter_size(NULL, model, scalar_names[i]);
        assert_ok(
            rlhf_reward_model_parameter_write(model, scalar_names[i], weights, size));
        weights += size;
    }
    return model;
}

static void compare(const char *name, const float *actual, const float *expected,
                    int64_t size, double tolerance)
{
    for (int64_t i = 0; i < size; i++)
        near(name, actual[i], expected[i], tolerance);
}

static void compare_policy(rlhf_model *model, const float *expected, double tolerance)
{
    float values[512];

    for (int i = 0; policy_names[i]; i++) {
        int64_t size = parameter_size(model, NULL, policy_names[i]);
        assert_ok(rlhf_model_parameter_read(model, policy_names[i], values, size));
        compare(policy_names[i], values, expected, size, tolerance);
        expected += size;
    }
}

static void compare_scalar(rlhf_reward_model *model, const float *expected,
                           double tolerance)
{
    float values[512];

    for (int i = 0; scalar_names[i]; i++) {
        int64_t size = parameter_size(NULL, model, scalar_names[i]);
        assert_ok(rlhf_reward_model_parameter_read(model, scalar_names[i], values, size));
        compare(scalar_names[i], values, expected, size, tolerance);
        expected += size;
    }
}

static rlhf_dataset *make_dataset(rlhf_context *context, int32_t kind)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    options.max_length = 16;
    options.shuffle = 0;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    return dataset;
}

static void test_lm_step_matches_torch(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 0);
    rlhf_model *model = make_policy(context, policy_weights);
    rlhf_dataset *dataset = make_dataset(context, RLHF_DATASET_COMPLETION);
    rlhf_lm_trainer *trainer;
    rlhf_lm_options options;
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    const int32_t *tokens = lm_tokens;
    const float *expected = lm_gradient;
    int64_t remaining = 1;
    float gradient[512];

    for (int64_t i = 0; i < COUNT(lm_lengths); i++) {
        rlhf_example row = {.struct_size = sizeof row,
                            .tokens = tokens,
                            .num_tokens = lm_lengths[i],
                            .prompt_length = lm_prompts[i]};
        assert_ok(rlhf_dataset_append(dataset, &row));
        tokens += lm_lengths[i];
    }
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.learning_rate = 1e-2;
    options.epsilon = 1e-6;
    options.weight_decay = 0.01;
    options.beta1 = 0.9;
    options.beta2 = 0.95;
    options.max_grad_norm = 0;
    options.schedule = RLHF_SCHEDULE_CONSTANT;
    options.warmup_steps = 0;
    options.batch_size = 3;
    options.micro_batch_tokens = 10; /* two micro-batches: scaled by the whole step's
                                        tokens */
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    while (remaining)
        assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
    for (int i = 0; policy_names[i]; i++) {
        int64_t size = parameter_size(model, NULL, policy_names[i]);
        assert_ok(rlhf_lm_trainer_gradient(trainer, policy_names[i], gradient, size));
        compare(policy_names[i], gradient, expected, size, 2e-5);
        expected += size;
    }
    assert_ok(rlhf_lm_trainer_apply(trainer, &stats));
    near("loss", stats.loss, lm_loss_and_norm[0], 1e-5);
    near("grad_norm", stats.grad_norm, lm_loss_and_norm[1], 1e-5);
    assert_int_equal(stats.num_targets, 3 + 4 + 1);
    compare_policy(model, lm_after, 1e-4);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_reward_step_matches_torch(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 0);
    rlhf_reward_model *model = make_scalar(context);
    rlhf_dataset *dataset = make_dataset(context, RLHF_DATASET_PREFERENCE);
    rlhf_reward_trainer *trainer;
    rlhf_reward_options options;
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    const int32_t *chosen = rm_chosen, *rejected = rm_rejected;
    const float *expected = rm_gradient;
    int64_t remaining = 1, cu_seqlens[4] = {0};
    float gradient[512], scores[3];

    for (int i = 0; i < 3; i++)
        cu_seqlens[i + 1] = cu_seqlens[i] + rm_chosen_lengths[i];
    assert_ok(rlhf_reward_model_score(model, rm_chosen, cu_seqlens, 3, scores));
    for (int i = 0; i < 3; i++)
        near("score", scores[i], rm_scores[i], 1e-5);
    for (int i = 0; i < 3; i++) {
        rlhf_example row = {.struct_size = sizeof row,
                            .tokens = chosen,
                            .num_tokens = rm_chosen_lengths[i],
                            .prompt_length = 2,
                            .rejected = rejected,
                            .num_rejected = rm_rejected_lengths[i],
                            .margin = rm_margins[i]};
        assert_ok(rlhf_dataset_append(dataset, &row));
        chosen += rm_chosen_lengths[i];
        rejected += rm_rejected_lengths[i];
    }
    assert_ok(rlhf_reward_options_init(&options, sizeof options));
    options.learning_rate = 1e-2;
    options.epsilon = 1e-6;
    options.weight_decay = 0.01;
    options.beta1 = 0.9;
    options.beta2 = 0.95;
    options.max_grad_norm = 0;
    options.schedule = RLHF_SCHEDULE_CONSTANT;
    options.warmup_steps = 0;
    options.batch_size = 3;
    options.use_margin = 1;
    options.center_coefficient = 0.05;
    assert_ok(rlhf_reward_trainer_create(model, dataset, &options, &trainer));
    while (remaining)
        assert_ok(rlhf_reward_trainer_accumulate(trainer, &remaining));
    for (int i = 0; scalar_names[i]; i++) {
        int64_t size = parameter_size(NULL, model, scalar_names[i]);
        assert_ok(rlhf_reward_trainer_gradient(trainer, scalar_names[i], gradient, size));
        compare(scalar_names[i], gradient, expected, size, 2e-5);
        expected += size;
    }
    assert_ok(rlhf_reward_trainer_apply(trainer, &stats));
    near("loss", stats.loss, rm_loss_and_norm[0], 1e-5);
    near("grad_norm", stats.grad_norm, rm_loss_and_norm[1], 1e-5);
    compare_scalar(model, rm_after, 2e-4);
    rlhf_reward_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_reward_model_free(model);
    rlhf_context_free(context);
}

static rlhf_ppo_options trl_options(void)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_preset(&o, sizeof o, "trl"));
    o.temperature = 0.7;
    o.max_new_tokens = 6;
    o.kl_coef = 0.1;
    o.gamma = 0.98;
    o.lam = 0.95;
    o.clip_range = 0.2;
    o.value_clip_range = 0.2;
    o.value_coef = 0.1;
    o.num_epochs = 2;
    o.num_minibatches = 1;
    o.missing_eos = RLHF_MISSING_EOS_IGNORE;
    o.schedule = o.value_schedule = RLHF_SCHEDULE_CONSTANT;
    o.warmup_iterations = o.value_warmup_iterations = 0;
    o.learning_rate = o.value_learning_rate = 1e-2;
    o.max_grad_norm = o.value_max_grad_norm = 0;
    o.weight_decay = 0.01;
    o.beta1 = 0.9;
    o.beta2 = 0.95;
    o.epsilon = 1e-6;
    return o;
}

static rlhf_rollout *make_rollout(rlhf_context *context)
{
    rlhf_rollout *rollout;
    const int32_t *tokens = ppo_tokens;
    const float *logprobs = ppo_old_logprobs;

    assert_ok(rlhf_rollout_create(context, &rollout));
    for (int64_t b = 0; b < COUNT(ppo_lengths); b++) {
        uint8_t mask[16] = {0};
        float own[16] = {0};
        for (int64_t t = 0; t < ppo_lengths[b]; t++) {
            mask[PROMPT + t] = 1;
            own[PROMPT + t] = logprobs[t];
        }
        rlhf_rollout_input input = {.struct_size = sizeof input,
                                    .tokens = tokens,
                                    .action_mask = mask,
                                    .logprobs = own,
                                    .num_tokens = PROMPT + ppo_lengths[b],
                                    .score = ppo_scores[b],
                                    .finish = ppo_lengths[b] < 6 ? RLHF_FINISH_STOP
                                                                 : RLHF_FINISH_LENGTH};
        assert_ok(rlhf_rollout_append(rollout, &input));
        tokens += PROMPT + ppo_lengths[b];
        logprobs += ppo_lengths[b];
    }
    return rollout;
}

static void compare_rollout(rlhf_rollout *rollout)
{
    int64_t at = 0;
    double kl = 0;

    for (int64_t b = 0; b < COUNT(ppo_lengths); b++) {
        rlhf_rollout_sequence s = {.struct_size = sizeof s};
        assert_ok(rlhf_rollout_get(rollout, b, &s));
        assert_int_equal(s.num_actions, ppo_lengths[b]);
        kl += s.kl / (double)COUNT(ppo_lengths);
        for (int64_t t = 0; t < ppo_lengths[b]; t++, at++) {
            near("ref_logprob", s.ref_logprobs[PROMPT + t], ppo_ref_logprobs[at], 1e-5);
            near("value", s.values[PROMPT + t], ppo_values[at], 1e-5);
            near("advantage", s.advantages[PROMPT + t], ppo_advantages[at], 1e-4);
            near("return", s.returns[PROMPT + t], ppo_returns[at], 1e-4);
        }
    }
    near("kl", kl, ppo_kl[0], 1e-5);
}

static void test_ppo_iteration_matches_trl(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 0);
    rlhf_model *policy = make_policy(context, policy_weights);
    rlhf_model *reference = make_policy(context, ppo_reference);
    rlhf_reward_model *critic = make_scalar(context);
    rlhf_ppo_options options = trl_options();
    rlhf_ppo_stats s = {.struct_size = sizeof s};
    rlhf_ppo_trainer *trainer;

    assert_ok(
        rlhf_ppo_trainer_create(policy, reference, NULL, critic, &options, &trainer));
    rlhf_rollout *rollout = make_rollout(context);
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    compare_rollout(rollout);
    assert_ok(rlhf_ppo_trainer_update(trainer, rollout, &s));
    assert_int_equal(s.num_steps, 2);
    const double ours[8] = {s.policy_loss,      s.value_loss,     s.approxkl,
                            s.clipfrac,         s.value_clipfrac, s.ratio,
                            s.policy_grad_norm, s.value_grad_norm};
    static const char *const names[8] = {"policy_loss",      "value_loss",     "approxkl",
                                         "clipfrac",         "value_clipfrac", "ratio",
                                         "policy_grad_norm", "value_grad_norm"};
    for (int i = 0; i < 8; i++)
        near(names[i], ours[i], ppo_stats[i], 1e-3);
    compare_policy(policy, ppo_policy_after, 1e-3);
    compare_scalar(critic, ppo_critic_after, 1e-3);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(critic);
    rlhf_model_free(reference);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lm_step_matches_torch),
        cmocka_unit_test(test_reward_step_matches_torch),
        cmocka_unit_test(test_ppo_iteration_matches_trl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
