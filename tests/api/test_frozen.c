/* Frozen models: every bit of what they compute stays, their memory shrinks, and nothing
 * writes to them. */
#include "tiny.h"

#include <math.h>
#include <stdbool.h>

#include "test_files.h"

enum { VOCAB = 41, LENGTH = 96, SEQS = 3, COUNT = 80 };

static char folder[TEST_PATH];
static int32_t tokens[COUNT];
static const int64_t cu[SEQS + 1] = {0, 3, 10, COUNT}; /* few rows and many at once */

static int setup(void **state)
{
    (void)state;
    test_folder_make(folder);
    for (int32_t i = 0; i < COUNT; i++)
        tokens[i] = (i * i + 3 * i) % VOCAB;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_folder_remove(folder);
    return 0;
}

static rlhf_context *make_context(int32_t dtype)
{
    rlhf_context_options options;
    rlhf_context *context;

    support_options(&options, 2);
    options.dtype = dtype;
    assert_ok(rlhf_context_create(&options, &context));
    return context;
}

/* GPT-2's kind, tied, or Llama's, not tied. */
static rlhf_model *make_model(rlhf_context *context, bool llama)
{
    rlhf_model_config c = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;

    c.tie_embeddings = !llama;
    if (!llama)
        make_gpt2_like(&c);
    assert_ok(rlhf_model_create(context, &c, 5, &model));
    return model;
}

static int64_t weights_now(rlhf_context *context)
{
    rlhf_memory_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_context_memory(context, &info));
    return info.now[RLHF_MEMORY_WEIGHTS];
}

/* Everything that a model computes: logits of many rows and of few, answers with their
 * log-probabilities. */
typedef struct outcome {
    float logits[COUNT * VOCAB], few[3 * VOCAB];
    int32_t answers[SEQS][20];
    float logprobs[SEQS][20];
} outcome;

static void compute(rlhf_model *model, outcome *out)
{
    rlhf_generator_options options;
    rlhf_generator *generator;
    const int64_t starts[SEQS + 1] = {0, 3, 10, 17};

    memset(out, 0, sizeof *out);
    assert_ok(rlhf_model_logits(model, tokens, cu, SEQS, out->logits));
    assert_ok(rlhf_model_logits(model, tokens, cu, 1, out->few));
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 20;
    options.use_stop_tokens = 0;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, starts, SEQS, NULL));
    assert_ok(rlhf_generator_run(generator));
    for (int64_t s = 0; s < SEQS; s++) {
        rlhf_generation g = {.struct_size = sizeof g};
        assert_ok(rlhf_generator_get(generator, s, &g));
        memcpy(out->answers[s], g.tokens + g.num_prompt, sizeof out->answers[s]);
        memcpy(out->logprobs[s], g.logprobs, sizeof out->logprobs[s]);
    }
    rlhf_generator_free(generator);
}

static void assert_computes(rlhf_model *model, const outcome *expected)
{
    static outcome own;

    compute(model, &own);
    assert_memory_equal(&own, expected, sizeof own);
}

static void test_frozen_model_computes_the_same(void **state)
{
    (void)state;
    static outcome before;

    for (int run = 0; run < 4; run++) {
        rlhf_context *context = make_context(run & 1);
        rlhf_model *model = make_model(context, run & 2), *other;
        const char *path = test_join(folder, "model");
        compute(model, &before);
        assert_ok(rlhf_model_freeze(model));
        assert_ok(rlhf_model_freeze(model));
        assert_computes(model, &before);
        /* What comes out of it is rounded, and rounds to itself. */
        assert_ok(rlhf_model_clone(model, &other));
        assert_computes(other, &before);
        assert_same_model(model, other);
        rlhf_model_free(other);
        assert_ok(rlhf_model_save(model, path));
        assert_ok(rlhf_model_load(context, path, &other));
        assert_computes(other, &before);
        assert_same_model(model, other);
        rlhf_model_free(other);
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
}

static void test_frozen_reward_model_scores_the_same(void **state)
{
    (void)state;
    for (int run = 0; run < 4; run++) {
        rlhf_context *context = make_context(run & 1);
        rlhf_model *model = make_model(context, run & 2);
        const char *path = test_join(folder, "reward");
        float before[SEQS], after[SEQS];
        rlhf_reward_model *reward, *loaded;
        assert_ok(rlhf_reward_model_create(model, NULL, &reward));
        assert_ok(rlhf_reward_model_set_affine(reward, -1.5, 0.25));
        assert_ok(rlhf_reward_model_score(reward, tokens, cu, SEQS, before));
        assert_ok(rlhf_reward_model_freeze(reward));
        assert_ok(rlhf_reward_model_score(reward, tokens, cu, SEQS, after));
        assert_memory_equal(before, after, sizeof before);
        assert_ok(rlhf_reward_model_save(reward, path));
        assert_ok(rlhf_reward_model_load(context, path, &loaded));
        assert_ok(rlhf_reward_model_score(loaded, tokens, cu, SEQS, after));
        for (int i = 0; i < SEQS; i++) /* the head is saved with its scale */
            assert_true(fabsf(after[i] - before[i]) < 1e-2f);
        rlhf_reward_model_free(loaded);
        rlhf_reward_model_free(reward);
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
}

/* Of GPT-2's kind: positions and vectors in fp32, matrices in panels, whole ones of all
 * columns: bf16's take half. */
static void test_frozen_model_takes_half_in_bf16(void **state)
{
    (void)state;
    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++) {
        rlhf_context *context = make_context(dtype);
        rlhf_model_config c = tiny_config(64, 32);
        rlhf_model *model;
        c.position = RLHF_POSITION_LEARNED;
        c.norm = RLHF_NORM_LAYERNORM;
        c.activation = RLHF_ACTIVATION_GELU_TANH;
        c.hidden_size = 32, c.intermediate_size = 64, c.num_layers = 3;
        c.num_heads = 2;
        c.attention_bias = c.mlp_bias = 1;
        assert_ok(rlhf_model_create(context, &c, 5, &model));
        const int64_t matrices = 64 * 32 + 3 * (4 * 32 * 32 + 2 * 32 * 64);
        const int64_t others = rlhf_model_num_parameters(model) - matrices;
        const int64_t before = weights_now(context);
        assert_true(before >= 4 * (matrices + others));
        assert_ok(rlhf_model_freeze(model));
        const int64_t expected =
            (dtype == RLHF_DTYPE_BF16 ? 2 : 4) * matrices + 4 * others;
        /* BLIS's row that is read beyond the last one, alignment, the block's header. */
        assert_in_range(weights_now(context), expected, expected + 13 * 128 + 256);
        assert_true(dtype != RLHF_DTYPE_BF16 || weights_now(context) < before * 6 / 10);
        rlhf_model_free(model);
        assert_int_equal(weights_now(context), 0);
        rlhf_context_free(context);
    }
}

/* Bytes that a PPO trainer's own networks take. */
static int64_t trainer_weights(rlhf_context *context, rlhf_model *policy,
                               rlhf_model *reference)
{
    const int64_t before = weights_now(context);
    rlhf_ppo_trainer *trainer;

    assert_ok(rlhf_ppo_trainer_create(policy, reference, NULL, NULL, NULL, &trainer));
    const int64_t bytes = weights_now(context) - before;
    rlhf_ppo_trainer_free(trainer);
    return bytes;
}

/* The reference that the trainer makes costs what a frozen clone does in bf16, and what a
 * clone does in fp32. */
static void test_ppo_reference_is_frozen_in_bf16(void **state)
{
    (void)state;
    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++) {
        rlhf_context *context = make_context(dtype);
        rlhf_model *policy = make_model(context, false), *clone;
        const int64_t before = weights_now(context);
        assert_ok(rlhf_model_clone(policy, &clone));
        const int64_t plain = weights_now(context) - before;
        if (dtype == RLHF_DTYPE_BF16) {
            assert_ok(rlhf_model_freeze(clone));
            assert_true(weights_now(context) - before != plain); /* AMX fills up */
        }
        assert_int_equal(trainer_weights(context, policy, NULL) -
                             trainer_weights(context, policy, clone),
                         weights_now(context) - before);
        rlhf_model_free(clone);
        rlhf_model_free(policy);
        rlhf_context_free(context);
    }
}

/* In fp32 too: the copies that decoding makes are dropped, and none is made again. */
static void test_frozen_model_keeps_no_copies(void **state)
{
    (void)state;
    static outcome out;

    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++) {
        rlhf_context *context = make_context(dtype);
        rlhf_model *model = make_model(context, true);
        rlhf_memory_info info = {.struct_size = sizeof info};
        compute(model, &out);
        assert_ok(rlhf_context_memory(context, &info));
        assert_true(info.now[RLHF_MEMORY_PACKED] > 0);
        assert_ok(rlhf_model_freeze(model));
        compute(model, &out);
        assert_ok(rlhf_context_memory(context, &info));
        assert_int_equal(info.now[RLHF_MEMORY_PACKED], 0);
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
}

static void test_frozen_model_is_not_written_nor_trained(void **state)
{
    (void)state;
    rlhf_context *context = make_context(RLHF_DTYPE_BF16);
    rlhf_model *model = make_model(context, false), *policy = make_model(context, false);
    const char *name = "transformer.wte.weight";
    float *values = calloc(VOCAB * 16, sizeof *values);
    rlhf_reward_model *reward, *critic;
    rlhf_lm_trainer *lm;
    rlhf_ppo_trainer *ppo;
    rlhf_dataset *rows;

    assert_ok(rlhf_dataset_create(context, NULL, &rows));
    assert_ok(rlhf_reward_model_create(policy, NULL, &reward));
    assert_ok(rlhf_reward_model_create(policy, NULL, &critic));
    assert_ok(rlhf_model_freeze(model));
    assert_ok(rlhf_reward_model_freeze(critic));
    assert_ok(rlhf_model_parameter_read(model, name, values, VOCAB * 16));
    assert_fails(rlhf_model_parameter_write(model, name, values, VOCAB * 16),
                 RLHF_ERR_STATE, name);
    assert_fails(rlhf_model_parameter_write(model, "x", values, 1), RLHF_ERR_NOT_FOUND,
                 "x");
    assert_fails(rlhf_lm_trainer_create(model, rows, NULL, &lm), RLHF_ERR_STATE,
                 "frozen");
    assert_fails(rlhf_ppo_trainer_create(model, NULL, reward, NULL, NULL, &ppo),
                 RLHF_ERR_STATE, "frozen");
    assert_fails(rlhf_ppo_trainer_create(policy, model, reward, critic, NULL, &ppo),
                 RLHF_ERR_STATE, "frozen");
    /* A trainer's own models are not frozen under it; its reference and reward are. */
    assert_ok(rlhf_ppo_trainer_create(policy, model, reward, NULL, NULL, &ppo));
    assert_fails(rlhf_model_freeze(policy), RLHF_ERR_BUSY, "model");
    assert_ok(rlhf_reward_model_freeze(reward));
    rlhf_ppo_trainer_free(ppo);
    assert_ok(rlhf_model_freeze(policy));
    rlhf_reward_model_free(reward);
    rlhf_reward_model_free(critic);
    rlhf_dataset_free(rows);
    rlhf_model_free(model);
    rlhf_model_free(policy);
    rlhf_context_free(context);
    free(values);
}

/* --- PPO ---------------------------------------------------------------------------- */

/* Iterations with a reference of the trainer's own, or with a plain one that the host
 * gives; the reward model frozen or not. The policy's weights at the end are the
 * caller's. */
static float *run_ppo(int32_t dtype, bool own, bool frozen, bool resumed,
                      int64_t *out_count)
{
    rlhf_context *context = make_context(dtype);
    rlhf_model *policy = make_model(context, true), *reference;
    const int64_t starts[5] = {0, 3, 6, 9, 12};
    const char *path = test_join(folder, "state");
    rlhf_reward_model *reward;
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;

    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 20;
    options.stop_token_id = -2;
    options.learning_rate = 3e-3;
    assert_ok(rlhf_model_clone(policy, &reference));
    assert_ok(rlhf_reward_model_create(policy, NULL, &reward));
    assert_ok(rlhf_ppo_trainer_create(policy, own ? NULL : reference, reward, NULL,
                                      &options, &trainer));
    if (frozen)
        assert_ok(rlhf_reward_model_freeze(reward));
    for (int i = 0; i < 3; i++) {
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_ppo_trainer_step(trainer, tokens + 12 * i, starts, 4, &stats));
        assert_true(stats.first_ratio_deviation == 0);
        assert_true((stats.kl == 0) == (i == 0));
        if (i != 1 || !resumed)
            continue;
        assert_ok(rlhf_ppo_trainer_save(trainer, path));
        rlhf_ppo_trainer_free(trainer);
        assert_ok(
            rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer));
        assert_ok(rlhf_ppo_trainer_resume(trainer, path, NULL));
    }
    float *values = model_values(policy, out_count);
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    rlhf_model_free(reference);
    rlhf_context_free(context);
    return values;
}

static void test_ppo_with_frozen_models_is_the_same(void **state)
{
    (void)state;
    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++) {
        int64_t count = 0;
        float *plain = run_ppo(dtype, false, false, false, &count);
        float *frozen = run_ppo(dtype, true, true, false, &count);
        float *resumed = run_ppo(dtype, true, true, true, &count);
        assert_memory_equal(plain, frozen, (size_t)count * sizeof *plain);
        assert_memory_equal(plain, resumed, (size_t)count * sizeof *plain);
        free(plain), free(frozen), free(resumed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_model_computes_the_same),
        cmocka_unit_test(test_frozen_reward_model_scores_the_same),
        cmocka_unit_test(test_frozen_model_takes_half_in_bf16),
        cmocka_unit_test(test_ppo_reference_is_frozen_in_bf16),
        cmocka_unit_test(test_frozen_model_keeps_no_copies),
        cmocka_unit_test(test_frozen_model_is_not_written_nor_trained),
        cmocka_unit_test(test_ppo_with_frozen_models_is_the_same),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
