/* Gradient checkpointing changes no bit of any trainer's gradients and weights, and
 * lowers the peak of the activations. */
#include "tiny.h"

#include <stdbool.h>

enum { VOCAB = 31, LENGTH = 96, ROWS = 24, STEPS = 3, PROMPTS = 8, PROMPT = 6 };

/* What a thread keeps for itself counts as well: the bounds below are of two. */
enum { BOUND_THREADS = 2 };

/* Deep enough that blocks outweigh the rest. */
static rlhf_model *make_model(rlhf_context *context, bool llama)
{
    rlhf_model_config c = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;

    c.num_layers = 8;
    c.hidden_size = 32;
    c.intermediate_size = 96;
    c.num_heads = 4;
    c.num_kv_heads = 2;
    if (!llama) {
        make_gpt2_like(&c);
        c.num_kv_heads = 4;
    }
    c.initializer_range = 0.2;
    assert_ok(rlhf_model_create(context, &c, 3, &model));
    return model;
}

static rlhf_dataset *make_rows(rlhf_context *context, int32_t kind)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int32_t i = 0; i < ROWS; i++) {
        int32_t a[80], b[80];
        for (int32_t t = 0; t < 80; t++) {
            a[t] = (i * 7 + t * t) % VOCAB;
            b[t] = t < 3 ? a[t] : (i * 5 + t * 3 + 1) % VOCAB;
        }
        rlhf_example row = {
            .struct_size = sizeof row, .tokens = a, .num_tokens = 60 + i * 19 % 20};
        if (kind == RLHF_DATASET_PREFERENCE) {
            row.prompt_length = 3;
            row.rejected = b;
            row.num_rejected = 50 + i * 31 % 30;
        }
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

/* --- everything that steps leave ---------------------------------------------------- */

typedef struct trace {
    float *values;
    int64_t count;
    int64_t activations; /* peak, bytes */
} trace;

static float *more(trace *t, int64_t count)
{
    t->values = realloc(t->values, (size_t)(t->count + count) * sizeof *t->values);
    assert_non_null(t->values);
    t->count += count;
    return t->values + t->count - count;
}

static void take(trace *t, float *values, int64_t count)
{
    memcpy(more(t, count), values, (size_t)count * sizeof *values);
    free(values);
}

static void finish(trace *t, rlhf_context *context)
{
    rlhf_memory_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_context_memory(context, &info));
    t->activations = info.peak[RLHF_MEMORY_ACTIVATIONS];
    rlhf_context_free(context);
}

static trace run_lm(bool llama, int32_t checkpointing)
{
    rlhf_context *context = support_context_of(BOUND_THREADS);
    rlhf_model *model = make_model(context, llama);
    rlhf_dataset *dataset = make_rows(context, RLHF_DATASET_TEXT);
    rlhf_lm_options options;
    rlhf_lm_trainer *trainer;
    trace t = {0};

    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 8;
    options.micro_batch_tokens = 300;
    options.warmup_steps = 0;
    options.learning_rate = 1e-2;
    options.gradient_checkpointing = checkpointing;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    for (int step = 0; step < STEPS; step++) {
        for (int64_t remaining = 1; remaining > 0;)
            assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
        for (int64_t i = 0; i < rlhf_model_num_parameter_names(model); i++) {
            rlhf_parameter_info info = {.struct_size = sizeof info};
            assert_ok(rlhf_model_parameter_info(model, i, &info));
            const int64_t n = info.rows * info.cols;
            assert_ok(rlhf_lm_trainer_gradient(trainer, info.name, more(&t, n), n));
        }
        assert_ok(rlhf_lm_trainer_apply(trainer, NULL));
    }
    int64_t count;
    float *values = model_values(model, &count);
    take(&t, values, count);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    finish(&t, context);
    return t;
}

static void reward_gradients(rlhf_reward_trainer *trainer, rlhf_reward_model *reward,
                             trace *t)
{
    for (int64_t i = 0; i < rlhf_reward_model_num_parameter_names(reward); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_reward_model_parameter_info(reward, i, &info));
        const int64_t n = info.rows * info.cols;
        assert_ok(rlhf_reward_trainer_gradient(trainer, info.name, more(t, n), n));
    }
}

static trace run_reward(bool llama, int32_t checkpointing)
{
    rlhf_context *context = support_context_of(BOUND_THREADS);
    rlhf_model *model = make_model(context, llama);
    rlhf_dataset *dataset = make_rows(context, RLHF_DATASET_PREFERENCE);
    rlhf_reward_options options;
    rlhf_reward_model *reward;
    rlhf_reward_trainer *trainer;
    trace t = {0};

    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    rlhf_model_free(model);
    assert_ok(rlhf_reward_options_init(&options, sizeof options));
    options.batch_size = 4;
    options.micro_batch_tokens = 300;
    options.learning_rate = 1e-2;
    options.gradient_checkpointing = checkpointing;
    assert_ok(rlhf_reward_trainer_create(reward, dataset, &options, &trainer));
    for (int step = 0; step < STEPS; step++) {
        for (int64_t remaining = 1; remaining > 0;)
            assert_ok(rlhf_reward_trainer_accumulate(trainer, &remaining));
        reward_gradients(trainer, reward, &t);
        assert_ok(rlhf_reward_trainer_apply(trainer, NULL));
    }
    int64_t count;
    float *values = reward_values(reward, &count);
    take(&t, values, count);
    rlhf_reward_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_dataset_free(dataset);
    finish(&t, context);
    return t;
}

static trace run_ppo(bool llama, int32_t checkpointing)
{
    rlhf_context *context = support_context_of(BOUND_THREADS);
    rlhf_model *policy = make_model(context, llama);
    int32_t tokens[PROMPTS * PROMPT];
    int64_t cu[PROMPTS + 1], count;
    rlhf_reward_model *reward, *critic;
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;
    trace t = {0};

    for (int64_t i = 0; i <= PROMPTS; i++)
        cu[i] = i * PROMPT;
    for (int64_t i = 0; i < PROMPTS * PROMPT; i++)
        tokens[i] = (int32_t)(2 + i * i % (VOCAB - 2));
    assert_ok(rlhf_reward_model_create(policy, NULL, &reward));
    assert_ok(rlhf_ppo_options_preset(&options, sizeof options, "trl"));
    options.max_new_tokens = 80;
    options.num_epochs = options.num_minibatches = 2;
    options.micro_batch_tokens = 400; /* several megabytes: arenas grow by one */
    options.learning_rate = options.value_learning_rate = 1e-2;
    options.gradient_checkpointing = checkpointing;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer));
    for (int step = 0; step < STEPS; step++) {
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_ppo_trainer_step(trainer, tokens, cu, PROMPTS, &stats));
        *more(&t, 1) = (float)stats.policy_grad_norm;
        *more(&t, 1) = (float)stats.value_grad_norm;
        *more(&t, 1) = (float)stats.value_loss;
    }
    float *values = model_values(policy, &count);
    take(&t, values, count);
    assert_ok(rlhf_ppo_trainer_clone_critic(trainer, &critic));
    values = reward_values(critic, &count);
    take(&t, values, count);
    rlhf_reward_model_free(critic);
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    finish(&t, context);
    return t;
}

/* --- the tests ---------------------------------------------------------------------- */

static void check(trace (*run)(bool llama, int32_t checkpointing), const char *what)
{
    for (int llama = 0; llama < 2; llama++) {
        trace whole = run(llama, 0), parts = run(llama, 1);
        assert_int_equal(whole.count, parts.count);
        assert_memory_equal(whole.values, parts.values,
                            (size_t)whole.count * sizeof *whole.values);
        print_message("%s: activations %d KiB, checkpointed %d\n", what,
                      (int)(whole.activations / 1024), (int)(parts.activations / 1024));
        assert_true(2 * parts.activations < whole.activations);
        free(whole.values), free(parts.values);
    }
}

static void test_lm_training_is_the_same_to_the_bit(void **state)
{
    (void)state;
    check(run_lm, "lm");
}

static void test_reward_training_is_the_same_to_the_bit(void **state)
{
    (void)state;
    check(run_reward, "reward");
}

static void test_ppo_training_is_the_same_to_the_bit(void **state)
{
    (void)state;
    check(run_ppo, "ppo");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lm_training_is_the_same_to_the_bit),
        cmocka_unit_test(test_reward_training_is_the_same_to_the_bit),
        cmocka_unit_test(test_ppo_training_is_the_same_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
