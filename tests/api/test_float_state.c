/* The floating-point environment is the host's: whatever it rounds, flushes or traps, the
 * library's results are the same, and its settings are as they were after each call. */
#include "outcome.h"

#include <fenv.h>
#include <stdbool.h>

#include "flush.h"
#include "test_files.h"

static bool rounds_up(void)
{
    volatile float one = 1.0f, sum;

    sum = one + 1e-30f;
    return sum > one;
}

static outcome undisturbed(int32_t threads)
{
    outcome plain;

    assert_false(denormals_are_flushed() || rounds_up());
    outcome_compute(threads, &plain);
    return plain;
}

/* --- what the host has set ---------------------------------------------------------- */

static void test_flushing_host_gets_the_same_bits(void **state)
{
    (void)state;
    fenv_t usual;

    for (int32_t threads = 1; threads <= 3; threads += 2) {
        const outcome plain = undisturbed(threads);
        outcome flushed;
        fegetenv(&usual);
        flush_denormals();
        assert_true(denormals_are_flushed());
        outcome_compute(threads, &flushed);
        const bool still = denormals_are_flushed();
        fesetenv(&usual);
        assert_true(still);
        assert_memory_equal(&plain, &flushed, sizeof plain);
    }
}

static void test_rounding_host_gets_the_same_bits(void **state)
{
    (void)state;
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        const outcome plain = undisturbed(2);
        outcome rounded;
        assert_int_equal(fesetround(modes[i]), 0);
        assert_true(rounds_up() == (modes[i] == FE_UPWARD));
        outcome_compute(2, &rounded);
        const int after = fegetround();
        assert_int_equal(fesetround(FE_TONEAREST), 0);
        assert_int_equal(after, modes[i]);
        assert_memory_equal(&plain, &rounded, sizeof plain);
    }
}

#if defined(__GLIBC__) && defined(__x86_64__)
/* Inexact results would raise SIGFPE; so would x87's, at the host's next instruction. */
static void test_trapping_host_is_not_trapped(void **state)
{
    (void)state;
    const outcome plain = undisturbed(2);
    outcome trapping;
    volatile long double third = 3.0L;

    assert_int_equal(feclearexcept(FE_ALL_EXCEPT), 0);
    assert_int_not_equal(feenableexcept(FE_ALL_EXCEPT), -1);
    outcome_compute(2, &trapping);
    third = third + 1.0L; /* exact */
    const int enabled = fegetexcept(), raised = fetestexcept(FE_ALL_EXCEPT);
    assert_int_not_equal(fedisableexcept(FE_ALL_EXCEPT), -1);
    assert_int_equal(enabled, FE_ALL_EXCEPT);
    assert_int_equal(raised, 0); /* and our own flags are no business of the host's */
    assert_memory_equal(&plain, &trapping, sizeof plain);
}
#endif

/* What is checked before a call takes its turn, and the words of a refusal. */
static void check_words(char out[4][256], rlhf_status out_status[2])
{
    rlhf_sampler_options options;
    rlhf_sampler *sampler;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 5);
    rlhf_dataset *dataset = repeated_rows(context, 2, 8);
    rlhf_lm_trainer *trainer;
    rlhf_lm_options lm;

    assert_ok(rlhf_sampler_options_init(&options, sizeof options));
    options.temperature = -0.1;
    assert_fails(rlhf_sampler_create(&options, &sampler), RLHF_ERR_INVALID_ARG, "-0.1");
    snprintf(out[0], sizeof out[0], "%s", rlhf_last_error_message());
    options.temperature = 4e-320;
    out_status[0] = rlhf_sampler_create(&options, &sampler);
    rlhf_sampler_free(sampler);
    assert_ok(rlhf_lm_options_init(&lm, sizeof lm));
    lm.weight_decay = -1.1;
    assert_fails(rlhf_lm_trainer_create(model, dataset, &lm, &trainer),
                 RLHF_ERR_INVALID_ARG, "-1.1");
    snprintf(out[1], sizeof out[1], "%s", rlhf_last_error_message());
    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    out_status[1] = rlhf_lm_trainer_set_learning_rate(trainer, 1e-40); /* as a float */
    assert_fails(rlhf_lm_trainer_set_learning_rate(trainer, -1.0 / 3),
                 RLHF_ERR_INVALID_ARG, "-0.3333");
    snprintf(out[2], sizeof out[2], "%s", rlhf_last_error_message());
    assert_fails(
        rlhf_model_logprobs(model, NULL, (const int64_t[]){0, 1}, 1, 0, (float[1]){0}),
        RLHF_ERR_INVALID_ARG, "tokens");
    snprintf(out[3], sizeof out[3], "%s", rlhf_last_error_message());
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_checks_and_words_are_the_same(void **state)
{
    (void)state;
    char plain[4][256], disturbed[4][256];
    rlhf_status status[2], status_disturbed[2];
    fenv_t usual;

    check_words(plain, status);
    fegetenv(&usual);
    flush_denormals();
    fesetround(FE_UPWARD);
    check_words(disturbed, status_disturbed);
    fesetenv(&usual);
    for (int i = 0; i < 4; i++)
        assert_string_equal(plain[i], disturbed[i]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(status[i], RLHF_OK); /* it is above 0 */
        assert_int_equal(status_disturbed[i], RLHF_OK);
    }
}

/* --- what a callback leaves behind -------------------------------------------------- */

enum { BYTES = 257, ROW = 24 }; /* every byte is a token, and one is special */

typedef struct vandal {
    bool active;
    int calls[8]; /* log, progress, text, next, save, begin, sample, end */
    int32_t row[ROW];
} vandal;

/* As if the callback had loaded a fast-math library, and rounded up itself. */
static void disturb(vandal *v, int callback)
{
    v->calls[callback]++;
    if (!v->active)
        return;
    flush_denormals();
    fesetround(FE_UPWARD);
}

static void on_log(void *user_data, int32_t level, const char *message)
{
    (void)level;
    (void)message;
    disturb(user_data, 0);
}

static void on_progress(void *user_data, const char *stage, int64_t done, int64_t total)
{
    (void)stage;
    (void)done;
    (void)total;
    disturb(user_data, 1);
}

static int32_t on_text(void *user_data, int64_t sequence, const char *text, size_t size)
{
    (void)sequence;
    (void)text;
    (void)size;
    disturb(user_data, 2);
    return 0;
}

static rlhf_status on_next(void *user_data, rlhf_example *out)
{
    vandal *v = user_data;

    for (int i = 0; i < ROW; i++)
        v->row[i] = (i * 7 + v->calls[3]) % BYTES;
    out->tokens = v->row;
    out->num_tokens = ROW;
    disturb(v, 3);
    return RLHF_OK;
}

static rlhf_status on_save(void *user_data, void *out_bytes, size_t capacity,
                           size_t *out_size)
{
    vandal *v = user_data;

    assert_true(capacity >= sizeof v->calls[3]);
    memcpy(out_bytes, &v->calls[3], sizeof v->calls[3]);
    *out_size = sizeof v->calls[3];
    disturb(v, 4);
    return RLHF_OK;
}

static rlhf_status on_restore(void *user_data, const void *bytes, size_t size)
{
    (void)user_data;
    (void)bytes;
    (void)size;
    return RLHF_OK;
}

static rlhf_status on_begin(void *user_data, int64_t sequence_id, void **out_state)
{
    (void)sequence_id;
    (void)out_state;
    disturb(user_data, 5);
    return RLHF_OK;
}

static rlhf_status on_sample(void *user_data, void *state, const rlhf_sample_info *info,
                             const float *logits, int64_t vocab_size, int32_t *out_token)
{
    (void)state;
    (void)logits;
    *out_token = (int32_t)((info->position * 31) % vocab_size);
    disturb(user_data, 6);
    return RLHF_OK;
}

static void on_end(void *user_data, void *state)
{
    (void)state;
    disturb(user_data, 7);
}

typedef struct work {
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;
    rlhf_model *model;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
    rlhf_sampler *sampler;
    rlhf_generator *generator;
} work;

static work make_work(vandal *v)
{
    static const char *const text = "a";
    const size_t size = 1;
    const rlhf_source_ops source = {sizeof source, on_next, on_save, on_restore, NULL};
    const rlhf_sampler_ops ops = {
        .struct_size = sizeof ops, .begin = on_begin, .end = on_end, .sample = on_sample};
    rlhf_context_options options;
    rlhf_generator_options generator;
    rlhf_tokenizer_train_options train;
    work w;

    support_options(&options, 2);
    options.log = on_log;
    options.log_level = RLHF_LOG_DEBUG;
    options.progress = on_progress;
    options.log_user_data = options.progress_user_data = v;
    assert_ok(rlhf_context_create(&options, &w.context));
    assert_ok(rlhf_tokenizer_train_options_init(&train, sizeof train));
    train.vocab_size = BYTES;
    assert_ok(rlhf_tokenizer_train(w.context, &text, &size, 1, &train, &w.tokenizer));
    w.model = tiny_model(w.context, BYTES, LENGTH, 3);
    assert_ok(rlhf_dataset_create_from_source(w.context, RLHF_DATASET_TEXT, &source, v,
                                              &w.dataset));
    assert_ok(rlhf_lm_trainer_create(w.model, w.dataset, NULL, &w.trainer));
    assert_ok(rlhf_sampler_create_custom(&ops, v, &w.sampler));
    assert_ok(rlhf_generator_options_init(&generator, sizeof generator));
    generator.max_new_tokens = 6;
    generator.use_stop_tokens = 0;
    generator.tokenizer = w.tokenizer;
    generator.text = on_text;
    generator.text_user_data = v;
    assert_ok(rlhf_generator_create(w.model, w.sampler, &generator, &w.generator));
    return w;
}

static void free_work(work *w)
{
    rlhf_generator_free(w->generator);
    rlhf_sampler_free(w->sampler);
    rlhf_lm_trainer_free(w->trainer);
    rlhf_dataset_free(w->dataset);
    rlhf_model_free(w->model);
    rlhf_tokenizer_free(w->tokenizer);
    rlhf_context_free(w->context);
}

typedef struct trace {
    double losses[3];
    float logprobs[12];
    uint64_t weights;
} trace;

/* A reward model whose end of text is its pad token: saving it logs a warning before it
 * writes the offset's digits. */
static void save_reward_model(rlhf_context *context, const char *path)
{
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_reward_model *reward;
    rlhf_model *model;

    config.pad_token_id = config.eos_token_id;
    assert_ok(rlhf_model_create(context, &config, 1, &model));
    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    assert_ok(rlhf_reward_model_set_affine(reward, 1.0, 1.0 / 3));
    assert_ok(rlhf_reward_model_save(reward, path));
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
}

static trace run_with_callbacks(bool active, const char *folder)
{
    vandal v = {.active = active};
    work w = make_work(&v);
    trace t = {{0}, {0}, 0};
    const int32_t tokens[6] = {5, 6, 7, 8, 9, 10};
    const int64_t ends[3] = {0, 2, 6};
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    rlhf_generation got = {.struct_size = sizeof got};
    unsigned char position[RLHF_SOURCE_POSITION_MAX];
    size_t size;

    for (int i = 0; i < 3; i++) {
        assert_ok(rlhf_lm_trainer_step(w.trainer, &stats));
        t.losses[i] = stats.loss;
    }
    assert_ok(rlhf_dataset_save_position(w.dataset, position, sizeof position, &size));
    assert_false(denormals_are_flushed() || rounds_up()); /* the host's own stay, too */
    assert_ok(rlhf_generator_start(w.generator, tokens, ends, 2, NULL));
    assert_ok(rlhf_generator_run(w.generator));
    for (int i = 0; i < 2; i++) {
        assert_ok(rlhf_generator_get(w.generator, i, &got));
        memcpy(t.logprobs + 6 * i, got.logprobs, 6 * sizeof *t.logprobs);
    }
    t.weights = outcome_hash(w.model);
    save_reward_model(w.context, folder);
    assert_false(denormals_are_flushed() || rounds_up());
    for (int i = 0; i < 8; i++)
        if (!v.calls[i])
            fail_msg("callback %d was not called", i);
    free_work(&w);
    return t;
}

static void test_callback_cannot_change_the_bits(void **state)
{
    (void)state;
    char folder[TEST_PATH];

    test_folder_make(folder);
    const trace plain = run_with_callbacks(false, test_join(folder, "plain"));
    const trace disturbed = run_with_callbacks(true, test_join(folder, "disturbed"));
    assert_memory_equal(&plain, &disturbed, sizeof plain);
    test_files_equal(test_join(folder, "plain/config.json"),
                     test_join(folder, "disturbed/config.json"));
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flushing_host_gets_the_same_bits),
        cmocka_unit_test(test_rounding_host_gets_the_same_bits),
#if defined(__GLIBC__) && defined(__x86_64__)
        cmocka_unit_test(test_trapping_host_is_not_trapped),
#endif
        cmocka_unit_test(test_checks_and_words_are_the_same),
        cmocka_unit_test(test_callback_cannot_change_the_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
