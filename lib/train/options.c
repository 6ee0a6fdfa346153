/* Option tables of the language-model and reward trainers and of the reward model. */
#include "train/options.h"

#include <math.h>

#include <rlhf/reward.h>

const rlhf__enum_name rlhf__schedule_names[] = {{"constant", RLHF_SCHEDULE_CONSTANT},
                                                {"linear", RLHF_SCHEDULE_LINEAR},
                                                {"cosine", RLHF_SCHEDULE_COSINE},
                                                {NULL, 0}};
const rlhf__enum_name rlhf__adam_form_names[] = {
    {"torch", RLHF_ADAM_TORCH}, {"tf", RLHF_ADAM_TF}, {NULL, 0}};
static const rlhf__enum_name append_eos_names[] = {
    {"never", RLHF_APPEND_EOS_NEVER},
    {"if_missing", RLHF_APPEND_EOS_IF_MISSING},
    {NULL, 0}};

#define FIELD(member) #member, .offset = offsetof(rlhf_lm_options, member)
static const rlhf__field lm_fields[] = {
    {FIELD(learning_rate), .type = RLHF__FIELD_F64, .as_float = true,
     .default_value = 3e-4, .min = 0, .max = HUGE_VAL, .min_exclusive = true,
     .max_exclusive = true, .help = "at the end of warm-up"},
    {FIELD(final_lr_ratio), .type = RLHF__FIELD_F64, .default_value = 0.1, .min = 0,
     .max = 1, .help = "of learning_rate at total_steps"},
    {FIELD(beta1), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.9,
     .min = 0, .max = 1, .max_exclusive = true, .help = "Adam's"},
    {FIELD(beta2), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.95,
     .min = 0, .max = 1, .max_exclusive = true, .help = "Adam's"},
    {FIELD(epsilon), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 1e-8,
     .min = 0, .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "Adam's"},
    {FIELD(weight_decay), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.1,
     .min = 0, .max = HUGE_VAL, .max_exclusive = true, .help = "on matrices only"},
    {FIELD(max_grad_norm), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true, .help = "global-norm clipping; 0: off"},
    {FIELD(total_steps), .type = RLHF__FIELD_I64, .default_value = 1000, .min = 1,
     .max = 9e18, .help = "of the schedule"},
    {FIELD(warmup_steps), .type = RLHF__FIELD_I64, .default_value = 50, .min = 0,
     .max = 9e18, .help = "linear from 0"},
    {FIELD(schedule), .type = RLHF__FIELD_ENUM, .default_value = RLHF_SCHEDULE_COSINE,
     .names = rlhf__schedule_names, .help = "of the learning rate"},
    {FIELD(adam_form), .type = RLHF__FIELD_ENUM, .default_value = RLHF_ADAM_TORCH,
     .names = rlhf__adam_form_names, .help = "where Adam's epsilon stands"},
    {FIELD(batch_size), .type = RLHF__FIELD_I32, .default_value = 32, .min = 1,
     .max = INT32_MAX, .help = "rows a step"},
    {FIELD(micro_batch_tokens), .type = RLHF__FIELD_I32, .default_value = 4096, .min = 1,
     .max = INT32_MAX, .help = "most tokens at once"},
    {FIELD(gradient_checkpointing), .type = RLHF__FIELD_BOOL,
     .help = "1: blocks are computed again in the backward pass"},
    {FIELD(reserved), .type = RLHF__FIELD_I32, .help = "0"},
};
#undef FIELD

const rlhf__struct_desc rlhf__lm_options_desc = {
    "rlhf_lm_options", sizeof(rlhf_lm_options),
    offsetof(rlhf_lm_options, gradient_checkpointing), lm_fields,
    sizeof lm_fields / sizeof lm_fields[0]};

#define FIELD(member) #member, .offset = offsetof(rlhf_reward_options, member)
static const rlhf__field reward_fields[] = {
    {FIELD(learning_rate), .type = RLHF__FIELD_F64, .as_float = true,
     .default_value = 1e-5, .min = 0, .max = HUGE_VAL, .min_exclusive = true,
     .max_exclusive = true, .help = "at the end of warm-up"},
    {FIELD(final_lr_ratio), .type = RLHF__FIELD_F64, .default_value = 0.1, .min = 0,
     .max = 1, .help = "of learning_rate at total_steps"},
    {FIELD(beta1), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.9,
     .min = 0, .max = 1, .max_exclusive = true, .help = "Adam's"},
    {FIELD(beta2), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0.999,
     .min = 0, .max = 1, .max_exclusive = true, .help = "Adam's"},
    {FIELD(epsilon), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 1e-8,
     .min = 0, .max = HUGE_VAL, .min_exclusive = true, .max_exclusive = true,
     .help = "Adam's"},
    {FIELD(weight_decay), .type = RLHF__FIELD_F64, .as_float = true, .default_value = 0,
     .min = 0, .max = HUGE_VAL, .max_exclusive = true, .help = "on matrices only"},
    {FIELD(max_grad_norm), .type = RLHF__FIELD_F64, .default_value = 1, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true, .help = "global-norm clipping; 0: off"},
    {FIELD(total_steps), .type = RLHF__FIELD_I64, .default_value = 1000, .min = 1,
     .max = 9e18, .help = "of the schedule"},
    {FIELD(warmup_steps), .type = RLHF__FIELD_I64, .default_value = 0, .min = 0,
     .max = 9e18, .help = "linear from 0"},
    {FIELD(schedule), .type = RLHF__FIELD_ENUM, .default_value = RLHF_SCHEDULE_COSINE,
     .names = rlhf__schedule_names, .help = "of the learning rate"},
    {FIELD(adam_form), .type = RLHF__FIELD_ENUM, .default_value = RLHF_ADAM_TORCH,
     .names = rlhf__adam_form_names, .help = "where Adam's epsilon stands"},
    {FIELD(batch_size), .type = RLHF__FIELD_I32, .default_value = 64, .min = 1,
     .max = INT32_MAX, .help = "pairs a step"},
    {FIELD(micro_batch_tokens), .type = RLHF__FIELD_I32, .default_value = 4096, .min = 1,
     .max = INT32_MAX, .help = "most tokens at once"},
    {FIELD(center_coefficient), .type = RLHF__FIELD_F64, .as_float = true, .min = 0,
     .max = HUGE_VAL, .max_exclusive = true,
     .help = "c of c * mean((r+ + r-)^2); 0: off"},
    {FIELD(use_margin), .type = RLHF__FIELD_BOOL, .default_value = 1,
     .help = "1: -log sigmoid(r+ - r- - margin)"},
    {FIELD(gradient_checkpointing), .type = RLHF__FIELD_BOOL,
     .help = "1: blocks are computed again in the backward pass"},
};
#undef FIELD

const rlhf__struct_desc rlhf__reward_options_desc = {
    "rlhf_reward_options", sizeof(rlhf_reward_options), sizeof(rlhf_reward_options),
    reward_fields, sizeof reward_fields / sizeof reward_fields[0]};

#define FIELD(member) #member, .offset = offsetof(rlhf_reward_model_options, member)
static const rlhf__field reward_model_fields[] = {
    {FIELD(seed), .type = RLHF__FIELD_U64, .help = "of the head, N(0, 1/sqrt(d + 1))"},
    {FIELD(append_eos), .type = RLHF__FIELD_ENUM,
     .default_value = RLHF_APPEND_EOS_IF_MISSING, .names = append_eos_names,
     .help = "one rule for training, scoring and PPO"},
    {FIELD(eos_token_id), .type = RLHF__FIELD_I32, .default_value = -1, .min = -1,
     .max = INT32_MAX, .help = "the token appended; -1: the model's"},
};
#undef FIELD

const rlhf__struct_desc rlhf__reward_model_options_desc = {
    "rlhf_reward_model_options", sizeof(rlhf_reward_model_options),
    sizeof(rlhf_reward_model_options), reward_model_fields,
    sizeof reward_model_fields / sizeof reward_model_fields[0]};
