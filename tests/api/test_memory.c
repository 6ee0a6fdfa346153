/* rlhf_context_memory: bytes by kind, against what the parameter counts and the config
 * say that they must be. */
#include "tiny.h"

#include <stdbool.h>

enum {
    VOCAB = 48,
    LENGTH = 128,
    WIDTH = 16,
    MLP = 32,
    LAYERS = 2,
    HEADS = 2,
    KV_HEADS = 1
};

/* Widths are multiples of 16 floats, so that no parameter is padded. */
static rlhf_model *make_model(rlhf_context *context, bool llama)
{
    rlhf_model_config c = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;

    c.hidden_size = WIDTH;
    c.intermediate_size = MLP;
    c.num_layers = LAYERS;
    c.num_heads = HEADS;
    c.num_kv_heads = KV_HEADS;
    c.head_dim = 16;
    if (!llama)
        make_gpt2_like(&c);
    assert_ok(rlhf_model_create(context, &c, 1, &model));
    return model;
}

static rlhf_memory_info memory(rlhf_context *context)
{
    rlhf_memory_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_context_memory(context, &info));
    return info;
}

/* What a block of so many floats takes: a header of 64 bytes before it, and up to 64
 * behind it, to a multiple of 64. */
static int64_t block(int64_t floats)
{
    return (4 * floats + 128) / 64 * 64;
}

/* By hand: tables, then a layer's norms, q with k and v, output, MLP, then the final
 * norm; tied. */
static int64_t num_parameters(bool llama)
{
    const int64_t d = WIDTH, qkv = (HEADS + 2 * KV_HEADS) * 16, q = HEADS * 16;

    if (llama)
        return VOCAB * d + LAYERS * (2 * d + qkv * d + d * q + 2 * MLP * d + d * MLP) + d;
    return (VOCAB + LENGTH) * d +
           LAYERS *
               (4 * d + qkv * (d + 1) + d * (q + 1) + MLP * (d + 1) + d * (MLP + 1)) +
           2 * d;
}

/* cos and sin of half a head at every position. */
static int64_t rope_bytes(bool llama)
{
    return llama ? 2 * block(LENGTH * 8) : 0;
}

static void assert_kinds(rlhf_context *context, int64_t weights, int64_t gradients,
                         int64_t moments)
{
    const rlhf_memory_info m = memory(context);

    assert_int_equal(m.now[RLHF_MEMORY_WEIGHTS], weights);
    assert_int_equal(m.now[RLHF_MEMORY_GRADIENTS], gradients);
    assert_int_equal(m.now[RLHF_MEMORY_MOMENTS], moments);
    assert_int_equal(m.peak[RLHF_MEMORY_WEIGHTS], weights);
    assert_int_equal(m.peak[RLHF_MEMORY_GRADIENTS], gradients);
    assert_int_equal(m.peak[RLHF_MEMORY_MOMENTS], moments);
}

static rlhf_dataset *one_row(rlhf_context *context)
{
    int32_t tokens[20];
    const rlhf_example row = {
        .struct_size = sizeof row, .tokens = tokens, .num_tokens = 20};
    rlhf_dataset *dataset;

    for (int32_t i = 0; i < 20; i++)
        tokens[i] = i * i % VOCAB;
    assert_ok(rlhf_dataset_create(context, NULL, &dataset));
    assert_ok(rlhf_dataset_append(dataset, &row));
    return dataset;
}

static void check_lm(bool llama)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = make_model(context, llama);
    const int64_t n = rlhf_model_num_parameters(model);
    const int64_t weights = block(n) + rope_bytes(llama);
    rlhf_dataset *dataset = one_row(context);
    rlhf_lm_trainer *trainer;

    assert_int_equal(n, num_parameters(llama));
    assert_kinds(context, weights, 0, 0);
    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    assert_kinds(context, weights, block(n), 2 * block(n));
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    assert_kinds(context, weights, block(n), 2 * block(n));
    const rlhf_memory_info m = memory(context);
    assert_int_equal(m.now[RLHF_MEMORY_KV_CACHE], 0);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    assert_int_equal(memory(context).now[RLHF_MEMORY_WEIGHTS], 0);
    assert_int_equal(memory(context).now[RLHF_MEMORY_PACKED], 0);
    rlhf_context_free(context);
}

static void test_weights_gradients_moments_follow_the_parameters(void **state)
{
    (void)state;
    check_lm(true);
    check_lm(false);
}

/* One cache a sequence: all layers, keys and values of its tokens in blocks of 64, in
 * bf16 at half the size. */
static void check_cache(int32_t dtype, bool llama, int64_t num_seqs, int32_t new_tokens,
                        int64_t blocks)
{
    rlhf_context_options context_options;
    rlhf_context *context;

    support_options(&context_options, 1);
    context_options.dtype = dtype;
    assert_ok(rlhf_context_create(&context_options, &context));
    rlhf_model *model = make_model(context, llama);
    rlhf_generator_options options;
    rlhf_generator *generator;
    int32_t tokens[8 * 4];
    int64_t cu[9];

    for (int32_t i = 0; i < 8 * 4; i++)
        tokens[i] = i % VOCAB;
    for (int64_t i = 0; i <= num_seqs; i++)
        cu[i] = 4 * i;
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = new_tokens;
    options.use_stop_tokens = 0;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, cu, num_seqs, NULL));
    assert_ok(rlhf_generator_run(generator));
    const int64_t elements = LAYERS * KV_HEADS * (16 + 16) * 64 * blocks;
    const int64_t floats = dtype == RLHF_DTYPE_BF16 ? elements / 2 : elements;
    assert_int_equal(memory(context).now[RLHF_MEMORY_KV_CACHE], num_seqs * block(floats));
    rlhf_generator_free(generator);
    assert_int_equal(memory(context).now[RLHF_MEMORY_KV_CACHE], 0);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_cache_follows_the_config(void **state)
{
    (void)state;
    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++) {
        check_cache(dtype, true, 1, 30, 1);
        check_cache(dtype, false, 5, 60, 1);
        check_cache(dtype, true, 8, 61, 2);
        check_cache(dtype, false, 3, 124, 2);
    }
}

/* What a step of a deeper, wider network needs at once, which its arena has kept. */
static int64_t bytes_of_step(int32_t dtype, int32_t num_layers)
{
    rlhf_context_options context_options;
    rlhf_model_config c = tiny_config(VOCAB, LENGTH);
    rlhf_lm_options options;
    rlhf_context *context;
    rlhf_model *model;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
    int32_t tokens[LENGTH];
    const rlhf_example row = {
        .struct_size = sizeof row, .tokens = tokens, .num_tokens = LENGTH};

    support_options(&context_options, 1);
    context_options.dtype = dtype;
    assert_ok(rlhf_context_create(&context_options, &context));
    c.hidden_size = 64;
    c.intermediate_size = 256;
    c.num_layers = num_layers;
    assert_ok(rlhf_model_create(context, &c, 1, &model));
    for (int32_t i = 0; i < LENGTH; i++)
        tokens[i] = i * i % VOCAB;
    assert_ok(rlhf_dataset_create(context, NULL, &dataset));
    assert_ok(rlhf_dataset_append(dataset, &row));
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 1;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    for (int i = 0; i < 2; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    const int64_t bytes = memory(context).now[RLHF_MEMORY_ACTIVATIONS];
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
    return bytes;
}

/* Of a layer, both norms and the activation: 2 bytes an element, not 4. */
static void test_bf16_keeps_what_products_read_in_halves(void **state)
{
    const int64_t layers = 8, saved = layers * (LENGTH - 1) * (64 + 64 + 256) * 2;
    const int64_t fp32 =
        bytes_of_step(RLHF_DTYPE_FP32, 2 + layers) - bytes_of_step(RLHF_DTYPE_FP32, 2);
    const int64_t bf16 =
        bytes_of_step(RLHF_DTYPE_BF16, 2 + layers) - bytes_of_step(RLHF_DTYPE_BF16, 2);

    (void)state;
    assert_int_equal(fp32 - bf16, saved);
}

/* Four networks, of which two learn. The rollout's packed copies stand where the policy's
 * gradient will, and nobody else's are kept. */
static void test_ppo_keeps_four_weights_two_gradients_no_copies(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = make_model(context, false);
    const int64_t n = rlhf_model_num_parameters(policy);
    const int64_t trunk = n + 16 + 16; /* the scalar head and its bias, padded */
    const int32_t tokens[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const int64_t cu[5] = {0, 3, 6, 9, 12};
    rlhf_ppo_options options;
    rlhf_reward_model *reward;
    rlhf_ppo_trainer *trainer;

    (void)state;
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 40; /* passes over 64 tokens: packed on the way */
    options.stop_token_id = -2;
    options.num_epochs = 2;
    assert_ok(rlhf_reward_model_create(policy, NULL, &reward));
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer));
    for (int i = 0; i < 3; i++) {
        assert_ok(rlhf_ppo_trainer_step(trainer, tokens, cu, 4, NULL));
        assert_kinds(context, 2 * block(n) + 2 * block(trunk), block(n) + block(trunk),
                     2 * block(n) + 2 * block(trunk));
        assert_int_equal(memory(context).peak[RLHF_MEMORY_PACKED], 0);
    }
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_gradients_moments_follow_the_parameters),
        cmocka_unit_test(test_cache_follows_the_config),
        cmocka_unit_test(test_bf16_keeps_what_products_read_in_halves),
        cmocka_unit_test(test_ppo_keeps_four_weights_two_gradients_no_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
