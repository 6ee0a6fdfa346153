/* Same seed, same bytes: weights after steps of every trainer, rollouts and answers do
 * not depend on the number of threads, at any CPU level that this machine can run; and at
 * each level the policy that samples is the one that is trained, to the last bit. */
#include "tiny.h"

#include <stdbool.h>

enum { VOCAB = 67, LENGTH = 96, ROWS = 40, PROMPTS = 8 };

/* Large enough that the products are cut into tiles for several threads. */
static rlhf_model *make_model(rlhf_context *context, bool llama, uint64_t seed)
{
    rlhf_model_config c = tiny_config(VOCAB, LENGTH);
    rlhf_model *model;

    c.hidden_size = 48;
    c.intermediate_size = 100;
    c.num_heads = 4;
    c.num_kv_heads = 2;
    if (!llama) {
        make_gpt2_like(&c);
        c.num_kv_heads = 4;
    }
    assert_ok(rlhf_model_create(context, &c, seed, &model));
    return model;
}

/* NULL, with a word, where this machine cannot run the level. */
static rlhf_context *make_context(int32_t level, int32_t threads)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;

    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.cpu_level = level;
    options.num_threads = threads;
    options.dtype = test_dtype();
    const rlhf_status status = rlhf_context_create(&options, &context);
    if (status == RLHF_ERR_UNSUPPORTED) {
        print_message("not compared: %s\n", rlhf_last_error_message());
        return NULL;
    }
    assert_ok(status);
    assert_int_equal(rlhf_context_cpu_level(context), level);
    return context;
}

/* --- everything that a run leaves --------------------------------------------------- */

typedef struct trace {
    uint8_t *bytes;
    size_t size;
} trace;

static void note(trace *t, const void *bytes, size_t size)
{
    t->bytes = realloc(t->bytes, t->size + size);
    assert_non_null(t->bytes);
    memcpy(t->bytes + t->size, bytes, size);
    t->size += size;
}

static void note_model(trace *t, rlhf_model *model)
{
    int64_t count;
    float *values = model_values(model, &count);

    note(t, values, (size_t)count * sizeof *values);
    free(values);
}

static void note_reward(trace *t, rlhf_reward_model *model)
{
    int64_t count;
    float *values = reward_values(model, &count);

    note(t, values, (size_t)count * sizeof *values);
    free(values);
}

static rlhf_dataset *make_rows(rlhf_context *context, int32_t kind)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    options.seed = 3;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int32_t i = 0; i < ROWS; i++) {
        int32_t a[80], b[80];
        for (int32_t t = 0; t < 80; t++) {
            a[t] = (i * 7 + t * t) % VOCAB;
            b[t] = t < 3 ? a[t] : (i * 5 + t * 3 + 1) % VOCAB;
        }
        rlhf_example row = {
            .struct_size = sizeof row, .tokens = a, .num_tokens = 5 + i * 19 % 70};
        if (kind == RLHF_DATASET_PREFERENCE) {
            row.prompt_length = 3;
            row.rejected = b;
            row.num_rejected = 6 + i * 31 % 70;
        }
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

static void trace_lm(rlhf_context *context, rlhf_model *model, trace *t)
{
    rlhf_dataset *rows = make_rows(context, RLHF_DATASET_TEXT);
    rlhf_lm_trainer *trainer;
    rlhf_lm_options options;

    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 20;
    options.micro_batch_tokens =
        450; /* over a chunk of rows, and more than one of them */
    options.learning_rate = 1e-2;
    assert_ok(rlhf_lm_trainer_create(model, rows, &options, &trainer));
    for (int i = 0; i < 3; i++) {
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_lm_trainer_step(trainer, &stats));
        note(t, &stats.loss, sizeof stats.loss);
        note(t, &stats.grad_norm, sizeof stats.grad_norm);
    }
    note_model(t, model);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(rows);
}

static rlhf_reward_model *trace_reward(rlhf_context *context, rlhf_model *model, trace *t)
{
    rlhf_dataset *rows = make_rows(context, RLHF_DATASET_PREFERENCE);
    rlhf_reward_model_options model_options;
    rlhf_reward_model *reward;
    rlhf_reward_trainer *trainer;
    rlhf_reward_options options;

    assert_ok(rlhf_reward_model_options_init(&model_options, sizeof model_options));
    model_options.seed = 5;
    assert_ok(rlhf_reward_model_create(model, &model_options, &reward));
    assert_ok(rlhf_reward_options_init(&options, sizeof options));
    options.batch_size = 8;
    options.micro_batch_tokens = 450;
    options.learning_rate = 1e-2;
    assert_ok(rlhf_reward_trainer_create(reward, rows, &options, &trainer));
    for (int i = 0; i < 2; i++) {
        rlhf_reward_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_reward_trainer_step(trainer, &stats));
        note(t, &stats.loss, sizeof stats.loss);
    }
    note_reward(t, reward);
    rlhf_reward_trainer_free(trainer);
    rlhf_dataset_free(rows);
    return reward;
}

static void make_prompts(int32_t tokens[PROMPTS * 8], int64_t cu[PROMPTS + 1])
{
    cu[0] = 0;
    for (int s = 0; s < PROMPTS; s++) {
        cu[s + 1] = cu[s] + 1 + s % 5;
        for (int64_t i = cu[s]; i < cu[s + 1]; i++)
            tokens[i] = (int32_t)(2 + (i * 11 + s) % (VOCAB - 2));
    }
}

/* Two iterations by parts, so that the rollouts are seen. */
static void trace_ppo(rlhf_model *policy, rlhf_reward_model *reward, trace *t)
{
    int32_t tokens[PROMPTS * 8];
    int64_t cu[PROMPTS + 1];
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;
    rlhf_reward_model *critic;

    make_prompts(tokens, cu);
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 40;
    options.num_epochs = 2;
    options.num_minibatches = 2;
    options.micro_batch_tokens = 100;
    options.rollout_batch = 5;
    options.temperature = 0.9;
    options.learning_rate = options.value_learning_rate = 3e-3;
    options.entropy_coef = 0.01;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer));
    for (int iteration = 0; iteration < 2; iteration++) {
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        rlhf_rollout *rollout;
        assert_ok(rlhf_ppo_trainer_rollout(trainer, tokens, cu, PROMPTS, &rollout));
        assert_ok(rlhf_ppo_trainer_score(trainer, rollout));
        assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
        for (int64_t i = 0; i < PROMPTS; i++) {
            rlhf_rollout_sequence s = {.struct_size = sizeof s};
            assert_ok(rlhf_rollout_get(rollout, i, &s));
            const size_t size = (size_t)s.num_tokens * sizeof(float);
            note(t, s.tokens, size), note(t, s.logprobs, size);
            note(t, s.ref_logprobs, size), note(t, s.advantages, size);
            note(t, &s.score, sizeof s.score);
            if (iteration == 0) /* the policy is the reference, exactly */
                assert_memory_equal(s.logprobs, s.ref_logprobs, size);
        }
        assert_ok(rlhf_ppo_trainer_update(trainer, rollout, &stats));
        assert_true(stats.first_ratio_deviation == 0.0);
        assert_true(iteration > 0 ? stats.kl != 0.0 : stats.kl == 0.0);
        note(t, &stats.policy_loss, sizeof stats.policy_loss);
        note(t, &stats.value_loss, sizeof stats.value_loss);
        note(t, &stats.approxkl, sizeof stats.approxkl);
        rlhf_rollout_free(rollout);
    }
    assert_ok(rlhf_ppo_trainer_clone_critic(trainer, &critic));
    note_model(t, policy);
    note_reward(t, critic);
    rlhf_reward_model_free(critic);
    rlhf_ppo_trainer_free(trainer);
}

static void trace_answers(rlhf_model *model, trace *t)
{
    int32_t tokens[PROMPTS * 8];
    int64_t cu[PROMPTS + 1];
    rlhf_generator_options options;
    rlhf_generator *generator;

    make_prompts(tokens, cu);
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 70; /* over a block of the cache */
    options.seed = 6;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, cu, PROMPTS, NULL));
    assert_ok(rlhf_generator_run(generator));
    for (int64_t i = 0; i < PROMPTS; i++) {
        rlhf_generation g = {.struct_size = sizeof g};
        assert_ok(rlhf_generator_get(generator, i, &g));
        note(t, g.tokens, (size_t)g.num_tokens * sizeof *g.tokens);
        note(t, g.logprobs, (size_t)(g.num_tokens - g.num_prompt) * sizeof *g.logprobs);
    }
    rlhf_generator_free(generator);
}

/* Pretraining, a reward model, PPO and answers; all that can be seen of them. */
static trace run_pipeline(rlhf_context *context, bool llama)
{
    rlhf_model *model = make_model(context, llama, 1);
    trace t = {0};

    trace_lm(context, model, &t);
    rlhf_reward_model *reward = trace_reward(context, model, &t);
    trace_ppo(model, reward, &t);
    trace_answers(model, &t);
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
    return t;
}

/* --- the tests ---------------------------------------------------------------------- */

static void check_level(int32_t level, bool llama)
{
    trace first = {0};

    for (int32_t threads = 1; threads <= 3; threads++) {
        rlhf_context *context = make_context(level, threads);
        if (!context)
            return;
        trace t = run_pipeline(context, llama);
        if (threads == 1) {
            first = t;
        } else {
            assert_int_equal(t.size, first.size);
            assert_memory_equal(t.bytes, first.bytes, t.size);
            free(t.bytes);
        }
        rlhf_context_free(context);
    }
    free(first.bytes);
}

static void test_portable_run_does_not_depend_on_threads(void **state)
{
    (void)state;
    if (test_dtype() == RLHF_DTYPE_BF16)
        print_message("not compared: slow in bf16, where kernels-bf16 holds this level's "
                      "products to the others'\n");
    else
        check_level(RLHF_CPU_PORTABLE, true);
}

static void test_avx2_run_does_not_depend_on_threads(void **state)
{
    (void)state;
    check_level(RLHF_CPU_AVX2, true);
    check_level(RLHF_CPU_AVX2, false);
}

static void test_avx512_run_does_not_depend_on_threads(void **state)
{
    (void)state;
    for (int32_t level = RLHF_CPU_AVX512; level <= RLHF_CPU_AMX; level++) {
        check_level(level, true);
        check_level(level, false);
    }
}

/* A second run in the same context knows nothing of the first; another seed is another
 * run. */
static void test_run_repeats_itself(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    trace first = run_pipeline(context, true), again = run_pipeline(context, true);
    rlhf_model *x = make_model(context, true, 1), *y = make_model(context, true, 2);
    trace tx = {0}, ty = {0};

    (void)state;
    assert_int_equal(first.size, again.size);
    assert_memory_equal(first.bytes, again.bytes, first.size);
    trace_answers(x, &tx), trace_answers(y, &ty);
    assert_true(tx.size != ty.size || memcmp(tx.bytes, ty.bytes, tx.size) != 0);
    free(first.bytes), free(again.bytes), free(tx.bytes), free(ty.bytes);
    rlhf_model_free(x), rlhf_model_free(y);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_portable_run_does_not_depend_on_threads),
        cmocka_unit_test(test_avx2_run_does_not_depend_on_threads),
        cmocka_unit_test(test_avx512_run_does_not_depend_on_threads),
        cmocka_unit_test(test_run_repeats_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
