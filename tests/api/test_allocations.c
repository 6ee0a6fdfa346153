/* The second step of every trainer, the second batch of a generator, and every position
 * but the first ask the allocator for nothing: what a step needs is kept from the one
 * before. Counted through the context's hooks, calls of any kind. */
#include "tiny.h"

#include <stdbool.h>

enum { VOCAB = 29, LENGTH = 128, ROWS = 64, PROMPTS = 6, PROMPT = 9 };

static rlhf_model *make_model(rlhf_context *context, bool llama, uint64_t seed)
{
    rlhf_model_config c = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;

    if (!llama)
        make_gpt2_like(&c);
    assert_ok(rlhf_model_create(context, &c, seed, &model));
    return model;
}

/* Rows of one length, so that steps have one shape. */
static rlhf_dataset *make_rows(rlhf_context *context, int32_t kind)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int32_t i = 0; i < ROWS; i++) {
        int32_t a[40], b[40];
        for (int32_t t = 0; t < 40; t++) {
            a[t] = (i * 7 + t * t) % VOCAB;
            b[t] = t < 3 ? a[t] : (i * 5 + t * 3 + 1) % VOCAB;
        }
        rlhf_example row = {.struct_size = sizeof row, .tokens = a, .num_tokens = 40};
        if (kind == RLHF_DATASET_PREFERENCE) {
            row.prompt_length = 3;
            row.rejected = b;
            row.num_rejected = 40;
        }
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

static void make_prompts(int32_t *tokens, int64_t *cu)
{
    for (int64_t i = 0; i <= PROMPTS; i++)
        cu[i] = i * PROMPT;
    for (int64_t i = 0; i < PROMPTS * PROMPT; i++)
        tokens[i] = (int32_t)(2 + i * i % (VOCAB - 2));
}

/* --- trainers ----------------------------------------------------------------------- */

static void check_lm(bool llama)
{
    failing_allocator own = {.fail_at = -1};
    rlhf_context *context = support_context(&own, 2);
    rlhf_model *model = make_model(context, llama, 1);
    rlhf_dataset *dataset = make_rows(context, RLHF_DATASET_TEXT);
    rlhf_lm_trainer *trainer;
    rlhf_lm_options options;

    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 8;
    options.micro_batch_tokens = 120; /* several micro-batches */
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    const int64_t before = own.count;
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    assert_int_equal(own.count - before, 0);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_lm_steps_after_the_first_allocate_nothing(void **state)
{
    (void)state;
    check_lm(true);
    check_lm(false);
}

static void check_reward(bool llama)
{
    failing_allocator own = {.fail_at = -1};
    rlhf_context *context = support_context(&own, 2);
    rlhf_model *model = make_model(context, llama, 1);
    rlhf_dataset *dataset = make_rows(context, RLHF_DATASET_PREFERENCE);
    rlhf_reward_model *reward;
    rlhf_reward_trainer *trainer;
    rlhf_reward_options options;

    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    assert_ok(rlhf_reward_options_init(&options, sizeof options));
    options.batch_size = 6;
    options.micro_batch_tokens = 200;
    assert_ok(rlhf_reward_trainer_create(reward, dataset, &options, &trainer));
    assert_ok(rlhf_reward_trainer_step(trainer, NULL));
    const int64_t before = own.count;
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_reward_trainer_step(trainer, NULL));
    assert_int_equal(own.count - before, 0);
    rlhf_reward_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_reward_steps_after_the_first_allocate_nothing(void **state)
{
    (void)state;
    check_reward(true);
    check_reward(false);
}

/* Answers of one length, so that iterations have one shape. */
static rlhf_ppo_options ppo_options(const char *preset)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_preset(&o, sizeof o, preset));
    o.max_new_tokens = 80; /* over 64 tokens: such passes pack weights on the way */
    o.stop_token_id = -2;
    o.num_epochs = 2;
    o.num_minibatches = 2;
    o.micro_batch_tokens = 100;
    o.rollout_batch = 4;
    o.learning_rate = o.value_learning_rate = 1e-3;
    return o;
}

static void check_ppo(bool llama, const char *preset)
{
    failing_allocator own = {.fail_at = -1};
    rlhf_context *context = support_context(&own, 2);
    rlhf_model *policy = make_model(context, llama, 1);
    const rlhf_ppo_options options = ppo_options(preset);
    int32_t tokens[PROMPTS * PROMPT];
    int64_t cu[PROMPTS + 1];
    rlhf_reward_model *reward;
    rlhf_ppo_trainer *trainer;

    make_prompts(tokens, cu);
    assert_ok(rlhf_reward_model_create(policy, NULL, &reward));
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_step(trainer, tokens, cu, PROMPTS, NULL));
    const int64_t before = own.count;
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_ppo_trainer_step(trainer, tokens, cu, PROMPTS, NULL));
    if (own.count != before)
        fail_msg("%s: %d allocations in three iterations", preset,
                 (int)(own.count - before));
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

static void test_ppo_iterations_after_the_first_allocate_nothing(void **state)
{
    (void)state;
    check_ppo(true, "default");
    check_ppo(false, "trl");         /* slots after the last action */
    check_ppo(false, "openai-2019"); /* whitening by minibatch */
}

/* --- generation --------------------------------------------------------------------- */

static void check_generator(bool llama)
{
    failing_allocator own = {.fail_at = -1};
    rlhf_context *context = support_context(&own, 2);
    rlhf_model *model = make_model(context, llama, 1);
    int32_t tokens[PROMPTS * PROMPT];
    int64_t cu[PROMPTS + 1], left;
    rlhf_generator_options options;
    rlhf_generator *generator;

    make_prompts(tokens, cu);
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 40;
    options.use_stop_tokens = 0;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, cu, PROMPTS, NULL));
    for (int i = 0; i < 2; i++) /* prompts, and the arena settles */
        assert_ok(rlhf_generator_step(generator, &left));
    int64_t before = own.count;
    assert_ok(rlhf_generator_run(generator));
    assert_int_equal(own.count - before, 0);
    before = own.count;
    assert_ok(rlhf_generator_start(generator, tokens, cu, PROMPTS, NULL));
    assert_ok(rlhf_generator_run(generator));
    assert_int_equal(own.count - before, 0);
    rlhf_generator_free(generator);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_decoding_allocates_nothing(void **state)
{
    (void)state;
    check_generator(true);
    check_generator(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lm_steps_after_the_first_allocate_nothing),
        cmocka_unit_test(test_reward_steps_after_the_first_allocate_nothing),
        cmocka_unit_test(test_ppo_iterations_after_the_first_allocate_nothing),
        cmocka_unit_test(test_decoding_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
