/* The table that drives defaults, range checks, YAML and the bindings, and the
 * presets. */
#include "train/ppo_options.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "train/options.h"

static const rlhf__enum_name missing_eos_names[] = {
    {"ignore", RLHF_MISSING_EOS_IGNORE},
    {"replace", RLHF_MISSING_EOS_REPLACE},
    {"subtract", RLHF_MISSING_EOS_SUBTRACT},
    {NULL, 0}};
static const rlhf__enum_name score_normalize_names[] = {{"raw", RLHF_SCORE_RAW},
                                                        {"whiten", RLHF_SCORE_WHITEN},
                                                        {"running", RLHF_SCORE_RUNNING},
                                                        {NULL, 0}};
static const rlhf__enum_name kl_estimator_names[] = {
    {"k1", RLHF_KL_K1}, {"k2", RLHF_KL_K2}, {"k3", RLHF_KL_K3}, {NULL, 0}};
static const rlhf__enum_name score_slot_names[] = {
    {"at_last", RLHF_SCORE_AT_LAST}, {"after_last", RLHF_SCORE_AFTER_LAST}, {NULL, 0}};
static const rlhf__enum_name variance_names[] = {
    {"biased", RLHF_VARIANCE_BIASED}, {"unbiased", RLHF_VARIANCE_UNBIASED}, {NULL, 0}};
static const rlhf__enum_name whiten_scope_names[] = {
    {"rollout", RLHF_WHITEN_ROLLOUT}, {"minibatch", RLHF_WHITEN_MINIBATCH}, {NULL, 0}};
static const rlhf__enum_name aggregation_names[] = {
    {"step_tokens", RLHF_AGGREGATE_STEP_TOKENS},
    {"micro_mean", RLHF_AGGREGATE_MICRO_MEAN},
    {"sequence", RLHF_AGGREGATE_SEQUENCE},
    {"constant", RLHF_AGGREGATE_CONSTANT},
    {NULL, 0}};

#define FIELD(member) #member, .offset = offsetof(rlhf_ppo_options, member)
static const rlhf__field ppo_fields[] = {
    /* Rollout */
    {FIELD(temperature), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0,
     .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "tau of sampler, old, new and reference policy"},
    {FIELD(max_new_tokens), .type = RLHF__FIELD_I32, .default_value = 64, .min = 1,
     .max = INT32_MAX, .help = "most tokens of an answer"},
    {FIELD(min_new_tokens), .type = RLHF__FIELD_I32, .min = 0, .max = INT32_MAX,
     .help = "the stop token is masked before, for every policy alike"},
    {FIELD(stop_token_id), .type = RLHF__FIELD_I32, .default_value = -1, .min = -2,
     .max = INT32_MAX, .help = "-1: the policy's eos_token_id; -2: none"},
    {FIELD(train_past_stop), .type = RLHF__FIELD_BOOL,
     .help = "1: always max_new_tokens tokens, all trained on"},
    {FIELD(allow_biased_rollout), .type = RLHF__FIELD_BOOL,
     .help = "1: accept samplers that are not softmax(logits / tau)"},
    {FIELD(rollout_batch), .type = RLHF__FIELD_I32, .default_value = 64, .min = 1,
     .max = INT32_MAX, .help = "sequences decoded at once"},
    {FIELD(seed), .type = RLHF__FIELD_U64,
     .help = "of sampling and of the minibatches' order"},
    /* Score */
    {FIELD(missing_eos), .type = RLHF__FIELD_ENUM,
     .default_value = RLHF_MISSING_EOS_IGNORE, .names = missing_eos_names,
     .help = "what an answer without the stop token does to its score"},
    {FIELD(score_normalize), .type = RLHF__FIELD_ENUM, .default_value = RLHF_SCORE_RAW,
     .names = score_normalize_names,
     .help = "scores as they are, or whitened over the rollout or all rollouts"},
    {FIELD(missing_eos_value), .type = RLHF__FIELD_F64, .as_float = true,
     .min = -HUGE_VAL, .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "the score, or what is subtracted from it, without the stop token"},
    {FIELD(score_clip), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .help = "|score| at most this, after normalising; 0: off"},
    {FIELD(length_penalty), .type = RLHF__FIELD_F64, .as_float = true, .min = -HUGE_VAL,
     .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "subtracted from the score for each answer token"},
    /* Reward */
    {FIELD(kl_coef), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.05,
     .min = 0, .max = HUGE_VAL, .max_exclusive = true,
     .help = "beta at the start: penalty per nat of KL to the reference"},
    {FIELD(kl_target), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true,
     .help = "of the adaptive controller, nats a sequence; 0: beta is fixed"},
    {FIELD(kl_horizon), .type = RLHF__FIELD_F64, .default_value = 10000, .min = 0,
     .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "of the adaptive controller, episodes"},
    {FIELD(kl_clamp), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .help = "each token's estimate to +-this; 0: off"},
    {FIELD(max_rollout_kl), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true,
     .help = "mean nats a sequence above which the policy is not updated; 0: off"},
    {FIELD(kl_estimator), .type = RLHF__FIELD_ENUM, .default_value = RLHF_KL_K1,
     .names = kl_estimator_names, .help = "estimate of the KL in the reward"},
    {FIELD(score_slot), .type = RLHF__FIELD_ENUM, .default_value = RLHF_SCORE_AT_LAST,
     .names = score_slot_names, .help = "where the score enters GAE"},
    {FIELD(whiten_rewards), .type = RLHF__FIELD_BOOL,
     .help = "1: rewards to variance 1, mean kept"},
    {FIELD(whiten_advantages), .type = RLHF__FIELD_BOOL, .default_value = 1,
     .help = "1: advantages to mean 0, variance 1"},
    {FIELD(whiten_variance), .type = RLHF__FIELD_ENUM,
     .default_value = RLHF_VARIANCE_BIASED, .names = variance_names,
     .help = "divide by n or n - 1"},
    {FIELD(whiten_scope), .type = RLHF__FIELD_ENUM, .default_value = RLHF_WHITEN_ROLLOUT,
     .names = whiten_scope_names, .help = "set over which advantages are whitened"},
    {FIELD(gamma), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0, .max = 1,
     .help = "discount"},
    {FIELD(lam), .type = RLHF__FIELD_F64, .default_value = 0.95, .min = 0, .max = 1,
     .help = "lambda of GAE"},
    /* Update */
    {FIELD(num_epochs), .type = RLHF__FIELD_I32, .default_value = 4, .min = 1,
     .max = INT32_MAX, .help = "passes over each rollout"},
    {FIELD(num_minibatches), .type = RLHF__FIELD_I32, .default_value = 1, .min = 1,
     .max = INT32_MAX, .help = "optimizer steps an epoch"},
    {FIELD(micro_batch_tokens), .type = RLHF__FIELD_I32, .default_value = 2048, .min = 1,
     .max = INT32_MAX, .help = "most tokens in one forward and backward pass"},
    {FIELD(aggregation), .type = RLHF__FIELD_ENUM,
     .default_value = RLHF_AGGREGATE_STEP_TOKENS, .names = aggregation_names,
     .help = "how token losses become a step's loss"},
    {FIELD(clip_range), .type = RLHF__FIELD_F64, .default_value = 0.2, .min = 0,
     .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "epsilon: ratio >= 1 - epsilon"},
    {FIELD(clip_range_high), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .help = "ratio <= 1 + this; 0: clip_range"},
    {FIELD(dual_clip), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .help = "c > 1 bounds the loss of A < 0 by -cA; 0: off"},
    {FIELD(log_ratio_clamp), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .help = "log ratio to +-this; 0: off"},
    {FIELD(max_mean_ratio), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true,
     .help = "a minibatch with a larger mean ratio is skipped; 0: off"},
    {FIELD(value_clip_range), .type = RLHF__FIELD_F64, .default_value = 0.2, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true,
     .help = "epsilon_v of the value clip; 0: off"},
    {FIELD(value_coef), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.1,
     .min = 0, .max = HUGE_VAL, .max_exclusive = true,
     .help = "c_v: scales the critic's gradient"},
    {FIELD(entropy_coef), .type = RLHF__FIELD_F64, .as_float = true, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true, .help = "weight of the entropy bonus"},
    {FIELD(target_approxkl), .type = RLHF__FIELD_F64, .min = 0, .max = HUGE_VAL,
     .max_exclusive = true, .help = "an epoch that ends above it is the last; 0: off"},
    {FIELD(critic_warmup), .type = RLHF__FIELD_I32, .min = 0, .max = INT32_MAX,
     .help = "iterations that train the critic only"},
    {FIELD(adam_form), .type = RLHF__FIELD_ENUM, .default_value = RLHF_ADAM_TORCH,
     .names = rlhf__adam_form_names, .help = "where Adam's epsilon stands"},
    /* Policy optimizer */
    {FIELD(learning_rate), .type = RLHF__FIELD_F64, .as_float = true,
     .default_value = 1e-5, .min = 0, .max = HUGE_VAL, .max_exclusive = true,
     .help = "of the policy, at the end of warm-up"},
    {FIELD(final_lr_ratio), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0,
     .max = 1, .help = "of learning_rate at total_iterations"},
    {FIELD(max_grad_norm), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true, .help = "global-norm clipping; 0: off"},
    {FIELD(weight_decay), .type = RLHF__FIELD_F64, .as_float = true, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true, .help = "on matrices only"},
    {FIELD(beta1), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.9,
     .min = 0, .max = 1, .max_exclusive = true, .help = "Adam's"},
    {FIELD(beta2), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.999,
     .min = 0, .max = 1, .max_exclusive = true, .help = "Adam's"},
    {FIELD(epsilon), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 1e-5,
     .min = 0, .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "Adam's"},
    {FIELD(warmup_iterations), .type = RLHF__FIELD_I64, .min = 0, .max = 9e18,
     .help = "linear warm-up of the rate"},
    {FIELD(total_iterations), .type = RLHF__FIELD_I64, .default_value = 1000, .min = 1,
     .max = 9e18, .help = "of the schedules"},
    /* Critic optimizer */
    {FIELD(value_learning_rate), .type = RLHF__FIELD_F64, .as_float = true,
     .default_value = 1e-5, .min = 0, .max = HUGE_VAL, .max_exclusive = true,
     .help = "of the critic, at the end of warm-up"},
    {FIELD(value_final_lr_ratio), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0,
     .max = 1, .help = "of value_learning_rate at total_iterations"},
    {FIELD(value_max_grad_norm), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true,
     .help = "global-norm clipping of the critic; 0: off"},
    {FIELD(value_warmup_iterations), .type = RLHF__FIELD_I64, .min = 0, .max = 9e18,
     .help = "linear warm-up of the critic's rate"},
    {FIELD(schedule), .type = RLHF__FIELD_ENUM, .default_value = RLHF_SCHEDULE_CONSTANT,
     .names = rlhf__schedule_names, .help = "of learning_rate"},
    {FIELD(value_schedule), .type = RLHF__FIELD_ENUM,
     .default_value = RLHF_SCHEDULE_CONSTANT, .names = rlhf__schedule_names,
     .help = "of value_learning_rate"},
    /* Memory */
    {FIELD(gradient_checkpointing), .type = RLHF__FIELD_BOOL,
     .help = "1: blocks are computed again in the backward pass"},
    {FIELD(reserved), .type = RLHF__FIELD_I32, .help = "0"},
};
#undef FIELD

const rlhf__struct_desc rlhf__ppo_options_desc = {
    "rlhf_ppo_options", sizeof(rlhf_ppo_options),
    offsetof(rlhf_ppo_options, gradient_checkpointing), ppo_fields,
    sizeof ppo_fields / sizeof ppo_fields[0]};

/* Columns: openai-2019 (the books runs of openai/lm-human-preferences), instructgpt
 * (Ouyang et al. 2022, without ptx and EMA), trl, openrlhf. A value that no source
 * states is marked "assumed"; docs/ppo.md has the sources. */
static const char *const preset_names[] = {"openai-2019", "instructgpt", "trl",
                                           "openrlhf"};
enum { NUM_PRESETS = 4 };

static const struct {
    const char *field;
    double values[NUM_PRESETS];
} preset_values[] = {
    {"temperature", {0.7, 1, 0.7, 1}},
    {"max_new_tokens", {24, 256, 53, 256}}, /* assumed: instructgpt, openrlhf */
    /* assumed: instructgpt. Ziegler et al. only look past earlier stop tokens; here they
     * are masked. */
    {"min_new_tokens", {16, 0, 0, 0}},
    {"stop_token_id", {-1, -1, -1, -1}},
    {"train_past_stop", {1, 0, 0, 0}},
    {"allow_biased_rollout", {0, 0, 0, 0}},
    {"rollout_batch", {64, 64, 64, 64}}, /* assumed */
    {"seed", {0, 0, 0, 0}},
    {"missing_eos",
     {RLHF_MISSING_EOS_REPLACE, RLHF_MISSING_EOS_IGNORE, RLHF_MISSING_EOS_SUBTRACT,
      RLHF_MISSING_EOS_IGNORE}}, /* assumed: instructgpt */
    {"score_normalize", {RLHF_SCORE_RAW, RLHF_SCORE_RAW, RLHF_SCORE_RAW, RLHF_SCORE_RAW}},
    {"missing_eos_value", {-1, 0, 1, 0}}, /* assumed: instructgpt */
    {"score_clip", {0, 0, 0, 10}},        /* assumed: instructgpt */
    {"length_penalty", {0, 0, 0, 0}},
    {"kl_coef", {0.15, 0.02, 0.05, 0.01}},
    {"kl_target", {6, 0, 0, 0}},
    /* assumed: instructgpt, trl, openrlhf */
    {"kl_horizon", {10000, 10000, 10000, 10000}},
    {"kl_clamp", {0, 0, 0, 10}}, /* assumed: instructgpt */
    {"max_rollout_kl", {0, 0, 0, 0}},
    {"kl_estimator", {RLHF_KL_K1, RLHF_KL_K1, RLHF_KL_K1, RLHF_KL_K1}},
    {"score_slot",
     {RLHF_SCORE_AT_LAST, RLHF_SCORE_AT_LAST, RLHF_SCORE_AFTER_LAST,
      RLHF_SCORE_AT_LAST}},              /* assumed: instructgpt */
    {"whiten_rewards", {1, 0, 0, 0}},    /* assumed: instructgpt */
    {"whiten_advantages", {1, 1, 1, 1}}, /* assumed: instructgpt */
    {"whiten_variance",
     {RLHF_VARIANCE_BIASED, RLHF_VARIANCE_BIASED, RLHF_VARIANCE_UNBIASED,
      RLHF_VARIANCE_BIASED}}, /* assumed: instructgpt */
    {"whiten_scope",
     {RLHF_WHITEN_MINIBATCH, RLHF_WHITEN_ROLLOUT, RLHF_WHITEN_ROLLOUT,
      RLHF_WHITEN_ROLLOUT}}, /* assumed: instructgpt */
    {"gamma", {1, 1, 1, 1}},
    {"lam", {0.95, 0.95, 0.95, 1}}, /* assumed: instructgpt */
    {"num_epochs", {4, 1, 4, 1}},
    {"num_minibatches", {1, 8, 1, 8}},
    {"micro_batch_tokens", {2048, 2048, 2048, 2048}}, /* assumed */
    {"aggregation",
     {RLHF_AGGREGATE_STEP_TOKENS, RLHF_AGGREGATE_STEP_TOKENS, RLHF_AGGREGATE_MICRO_MEAN,
      RLHF_AGGREGATE_STEP_TOKENS}}, /* assumed: instructgpt */
    {"clip_range", {0.2, 0.2, 0.2, 0.2}},
    {"clip_range_high", {0, 0, 0, 0}},
    {"dual_clip", {0, 0, 0, 0}},
    {"log_ratio_clamp", {0, 0, 0, 20}},         /* assumed: instructgpt */
    {"max_mean_ratio", {0, 0, 0, 0}},           /* assumed: instructgpt */
    {"value_clip_range", {0.2, 0.2, 0.2, 0.5}}, /* assumed: instructgpt */
    {"value_coef", {0.1, 0.1, 0.1, 1}},         /* assumed: instructgpt, openrlhf */
    {"entropy_coef", {0, 0, 0, 0}},
    {"target_approxkl", {0, 0, 0, 0}}, /* assumed: instructgpt */
    {"critic_warmup", {0, 0, 0, 0}},   /* assumed: instructgpt */
    /* assumed: instructgpt */
    {"adam_form", {RLHF_ADAM_TF, RLHF_ADAM_TORCH, RLHF_ADAM_TORCH, RLHF_ADAM_TORCH}},
    {"learning_rate", {1e-5, 8e-6, 3e-6, 1e-6}}, /* assumed: instructgpt */
    {"final_lr_ratio", {0, 1, 0, 0.1}},
    {"max_grad_norm", {0, 1, 0, 1}}, /* assumed: instructgpt */
    {"weight_decay", {0, 0, 0, 0}},  /* assumed: instructgpt */
    {"beta1", {0.9, 0.9, 0.9, 0.9}},
    {"beta2", {0.999, 0.95, 0.999, 0.95}},
    {"epsilon", {1e-5, 1e-8, 1e-8, 1e-8}}, /* assumed: instructgpt */
    /* Of 10 the first has a tenth of the rate, as Ouyang et al. */
    {"warmup_iterations", {0, 10, 0, 30}},
    {"total_iterations", {1954, 500, 1954, 1000}}, /* assumed: openrlhf */
    {"value_learning_rate", {1e-5, 9e-6, 3e-6, 9e-6}},
    {"value_final_lr_ratio", {0, 1, 0, 0.1}},
    {"value_max_grad_norm", {0, 1, 0, 1}},       /* assumed: instructgpt */
    {"value_warmup_iterations", {0, 10, 0, 30}}, /* assumed: instructgpt */
    {"schedule",
     {RLHF_SCHEDULE_LINEAR, RLHF_SCHEDULE_CONSTANT, RLHF_SCHEDULE_LINEAR,
      RLHF_SCHEDULE_COSINE}},
    {"value_schedule",
     {RLHF_SCHEDULE_LINEAR, RLHF_SCHEDULE_CONSTANT, RLHF_SCHEDULE_LINEAR,
      RLHF_SCHEDULE_COSINE}},                 /* assumed: instructgpt */
    {"gradient_checkpointing", {0, 0, 0, 0}}, /* no result hangs on it */
};

static void set_field(const rlhf__field *field, double value, rlhf_ppo_options *options)
{
    char *at = (char *)options + field->offset;

    if (field->type == RLHF__FIELD_F64)
        *(double *)(void *)at = value;
    else if (field->type == RLHF__FIELD_I64)
        *(int64_t *)(void *)at = (int64_t)value;
    else if (field->type == RLHF__FIELD_U64)
        *(uint64_t *)(void *)at = (uint64_t)value;
    else
        *(int32_t *)(void *)at = (int32_t)value;
}

rlhf_status rlhf__ppo_options_preset(const char *name, rlhf_ppo_options *out)
{
    int preset = -1;

    RLHF__TRY(rlhf__struct_init(&rlhf__ppo_options_desc, out, sizeof *out));
    if (strcmp(name, "default") == 0)
        return RLHF_OK;
    for (int i = 0; i < NUM_PRESETS; i++)
        if (strcmp(name, preset_names[i]) == 0)
            preset = i;
    if (preset < 0)
        return rlhf__fail(
            RLHF_ERR_NOT_FOUND,
            "no preset \"%.64s\"; there are default, openai-2019, instructgpt, "
            "trl and openrlhf",
            name);
    for (size_t i = 0; i < sizeof preset_values / sizeof preset_values[0]; i++) {
        const rlhf__field *field =
            rlhf__struct_find(&rlhf__ppo_options_desc, preset_values[i].field);
        if (!field)
            return rlhf__fail(RLHF_ERR_INTERNAL, "preset of unknown option %s",
                              preset_values[i].field);
        set_field(field, preset_values[i].values[preset], out);
    }
    return RLHF_OK;
}

rlhf_status rlhf__ppo_options_check(const rlhf_ppo_options *options)
{
    if (options->min_new_tokens > options->max_new_tokens)
        return rlhf__fail_arg("min_new_tokens",
                              "min_new_tokens must be <= max_new_tokens (%" PRId32
                              "), got %" PRId32,
                              options->max_new_tokens, options->min_new_tokens);
    if (options->dual_clip != 0.0 && !(options->dual_clip > 1.0))
        return rlhf__fail_arg("dual_clip", "dual_clip must be 0 or > 1, got %g",
                              options->dual_clip);
    return RLHF_OK;
}
