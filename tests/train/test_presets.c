/* Every option of every preset, written out again from the reference implementations' own
 * figures (Ziegler et al.'s books runs, Ouyang et al. without ptx and EMA, TRL's recipe,
 * OpenRLHF), and the library's defaults. Where a source is silent the table says what is
 * assumed. */
#include "support.h"

#include <math.h>

#include "base/versioned_struct.h"
#include "train/ppo_options.h"

static const char *const names[5] = {"default", "openai-2019", "instructgpt", "trl",
                                     "openrlhf"};

static const struct {
    const char *field;
    double values[5];
} table[] = {
    /* Rollout */
    {"temperature", {1, .7, 1, .7, 1}},
    {"max_new_tokens", {64, 24, 256, 53, 256}},
    {"min_new_tokens", {0, 16, 0, 0, 0}},
    {"stop_token_id", {-1, -1, -1, -1, -1}},
    {"train_past_stop", {0, 1, 0, 0, 0}},
    {"allow_biased_rollout", {0, 0, 0, 0, 0}},
    {"rollout_batch", {64, 64, 64, 64, 64}},
    {"seed", {0, 0, 0, 0, 0}},
    /* Score: replaced by -1, or 1 subtracted, without EOS */
    {"missing_eos", {0, 1, 0, 2, 0}},
    {"missing_eos_value", {0, -1, 0, 1, 0}},
    {"score_normalize", {0, 0, 0, 0, 0}},
    {"score_clip", {0, 0, 0, 0, 10}},
    {"length_penalty", {0, 0, 0, 0, 0}},
    /* Reward */
    {"kl_coef", {.05, .15, .02, .05, .01}},
    {"kl_target", {0, 6, 0, 0, 0}},
    {"kl_horizon", {10000, 10000, 10000, 10000, 10000}},
    {"kl_clamp", {0, 0, 0, 0, 10}},
    {"max_rollout_kl", {0, 0, 0, 0, 0}},
    {"kl_estimator", {0, 0, 0, 0, 0}},
    {"score_slot", {0, 0, 0, 1, 0}},
    {"whiten_rewards", {0, 1, 0, 0, 0}},
    {"whiten_advantages", {1, 1, 1, 1, 1}},
    {"whiten_variance", {0, 0, 0, 1, 0}},
    {"whiten_scope", {0, 1, 0, 0, 0}},
    {"gamma", {1, 1, 1, 1, 1}},
    {"lam", {.95, .95, .95, .95, 1}},
    /* Update: 1024 rollouts in steps of 128 are 8 minibatches */
    {"num_epochs", {4, 4, 1, 4, 1}},
    {"num_minibatches", {1, 1, 8, 1, 8}},
    {"micro_batch_tokens", {2048, 2048, 2048, 2048, 2048}},
    {"aggregation", {0, 0, 0, 1, 0}},
    {"clip_range", {.2, .2, .2, .2, .2}},
    {"clip_range_high", {0, 0, 0, 0, 0}},
    {"dual_clip", {0, 0, 0, 0, 0}},
    {"log_ratio_clamp", {0, 0, 0, 0, 20}},
    {"max_mean_ratio", {0, 0, 0, 0, 0}},
    {"value_clip_range", {.2, .2, .2, .2, .5}},
    {"value_coef", {.1, .1, .1, .1, 1}},
    {"entropy_coef", {0, 0, 0, 0, 0}},
    {"target_approxkl", {0, 0, 0, 0, 0}},
    {"critic_warmup", {0, 0, 0, 0, 0}},
    {"adam_form", {0, 1, 0, 0, 0}},
    /* Optimizers: ceil(10^6 / 512) iterations, or 256000 / 512 */
    {"learning_rate", {1e-5, 1e-5, 8e-6, 3e-6, 1e-6}},
    {"final_lr_ratio", {1, 0, 1, 0, .1}},
    {"max_grad_norm", {1, 0, 1, 0, 1}},
    {"weight_decay", {0, 0, 0, 0, 0}},
    {"beta1", {.9, .9, .9, .9, .9}},
    {"beta2", {.999, .999, .95, .999, .95}},
    {"epsilon", {1e-5, 1e-5, 1e-8, 1e-8, 1e-8}},
    {"warmup_iterations", {0, 0, 10, 0, 30}},
    {"total_iterations", {1000, 1954, 500, 1954, 1000}},
    {"value_learning_rate", {1e-5, 1e-5, 9e-6, 3e-6, 9e-6}},
    {"value_final_lr_ratio", {1, 0, 1, 0, .1}},
    {"value_max_grad_norm", {1, 0, 1, 0, 1}},
    {"value_warmup_iterations", {0, 0, 10, 0, 30}},
    {"schedule", {0, 1, 0, 1, 2}},
    {"value_schedule", {0, 1, 0, 1, 2}},
    {"gradient_checkpointing", {0, 0, 0, 0, 0}},
    {"reserved", {0, 0, 0, 0, 0}},
};
enum { ROWS = sizeof table / sizeof table[0] };

static double value_of(const rlhf_ppo_options *o, const rlhf__field *field)
{
    const char *at = (const char *)o + field->offset;
    int32_t i32;
    int64_t i64;
    uint64_t u64;
    double f64;

    switch (field->type) {
    case RLHF__FIELD_F64:
        return memcpy(&f64, at, sizeof f64), f64;
    case RLHF__FIELD_I64:
        return memcpy(&i64, at, sizeof i64), (double)i64;
    case RLHF__FIELD_U64:
        return memcpy(&u64, at, sizeof u64), (double)u64;
    default:
        return memcpy(&i32, at, sizeof i32), (double)i32;
    }
}

static void test_presets_fill_every_option_from_their_sources(void **state)
{
    (void)state;
    assert_int_equal(ROWS, rlhf__ppo_options_desc.num_fields);
    for (int p = 0; p < 5; p++) {
        rlhf_ppo_options o;
        memset(&o, 0x5a, sizeof o);
        assert_ok(rlhf_ppo_options_preset(&o, sizeof o, names[p]));
        assert_int_equal(o.struct_size, sizeof o);
        for (int i = 0; i < ROWS; i++) {
            const rlhf__field *field =
                rlhf__struct_find(&rlhf__ppo_options_desc, table[i].field);
            assert_non_null(field);
            if (value_of(&o, field) != table[i].values[p])
                fail_msg("%s has %s = %g, expected %g", names[p], table[i].field,
                         value_of(&o, field), table[i].values[p]);
        }
    }
}

static void test_default_preset_is_what_init_gives(void **state)
{
    rlhf_ppo_options a, b;

    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    assert_ok(rlhf_ppo_options_init(&a, sizeof a));
    assert_ok(rlhf_ppo_options_preset(&b, sizeof b, "default"));
    assert_memory_equal(&a, &b, sizeof a);
}

static void test_unknown_preset_is_refused_with_the_names(void **state)
{
    rlhf_ppo_options o;

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_fails(rlhf_ppo_options_preset(&o, sizeof o, "best"), RLHF_ERR_NOT_FOUND,
                     names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets_fill_every_option_from_their_sources),
        cmocka_unit_test(test_default_preset_is_what_init_gives),
        cmocka_unit_test(test_unknown_preset_is_refused_with_the_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
