/* What the library must leave to its host: the floating-point control word, the locale,
 * the working directory, signals; and a forked child that still holds handles. */
#include "api_support.h"

#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <sys/wait.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "test_files.h"

enum { TOKENS = 12 };

/* Everything whose bits a host could disturb: initialisation, forward, sampling, a step.
 */
typedef struct outcome {
    float logits[TOKENS * VOCAB];
    int32_t answer[16];
    double loss, rate;
} outcome;

static void compute(outcome *out)
{
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 5);
    rlhf_dataset *dataset = repeated_rows(context, 3, 9);
    const int64_t cu_seqlens[3] = {0, 4, TOKENS};
    int32_t tokens[TOKENS];
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    rlhf_generator *generator;
    rlhf_generator_options options;
    rlhf_generation generation = {.struct_size = sizeof generation};
    rlhf_lm_trainer *trainer;

    memset(out, 0, sizeof *out);
    for (int t = 0; t < TOKENS; t++)
        tokens[t] = (3 * t + 1) % VOCAB;
    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, &stats));
    out->loss = stats.loss;
    out->rate = stats.learning_rate;
    assert_ok(rlhf_model_logits(model, tokens, cu_seqlens, 2, out->logits));
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 12;
    options.use_stop_tokens = 0;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, cu_seqlens, 1, NULL));
    assert_ok(rlhf_generator_run(generator));
    assert_ok(rlhf_generator_get(generator, 0, &generation));
    assert_int_equal(generation.num_tokens, 16);
    memcpy(out->answer, generation.tokens, sizeof out->answer);
    rlhf_generator_free(generator);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* A fast-math host that rounds up: the same bits, and its own settings after each call.
 */
static void test_float_settings_of_the_host_change_nothing(void **state)
{
    (void)state;
    outcome plain, disturbed;

    compute(&plain);
    assert_int_equal(fesetround(FE_UPWARD), 0);
#if defined(__x86_64__)
    const unsigned int before = _mm_getcsr() | 0x8040; /* FTZ, DAZ */
    _mm_setcsr(before);
    assert_int_equal(before & 0x6000, 0x4000); /* it does round up */
#endif
    compute(&disturbed);
#if defined(__x86_64__)
    const unsigned int after = _mm_getcsr();
    _mm_setcsr(0x1f80);
    assert_int_equal(after & 0xffc0, before & 0xffc0);
#endif
    assert_int_equal(fegetround(), FE_UPWARD);
    assert_int_equal(fesetround(FE_TONEAREST), 0);
    assert_memory_equal(&plain, &disturbed, sizeof plain);
}

/* --- locale ------------------------------------------------------------------------- */

/* musl takes any name, and has no comma for it. */
static int has_comma(const char *locale)
{
    return setlocale(LC_ALL, locale) && strcmp(localeconv()->decimal_point, ",") == 0;
}

/* A locale with a decimal comma: one that is installed, or one made in the folder. */
static int use_decimal_comma(const char *folder)
{
    char command[2 * TEST_PATH];

    if (has_comma("de_DE.UTF-8"))
        return 1;
    snprintf(command, sizeof command,
             "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1", folder);
    if (system(command) == -1 || setenv("LOCPATH", folder, 1))
        return 0;
    return has_comma("de_DE.UTF-8");
}

static const char yaml[] = "numbers:\n  rate: 0.3\n  tiny: 1.7e-7\n";

static void write_all(const char *folder, double *out_rate, double *out_tiny)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 5);
    const char *path = test_join(folder, "numbers.yaml");
    rlhf_config *config;
    rlhf_rollout *rollout;

    assert_ok(rlhf_model_save(model, test_join(folder, "model")));
    test_write(path, yaml, sizeof yaml - 1);
    assert_ok(rlhf_config_load(context, path, &config));
    assert_ok(rlhf_config_double(config, "numbers.rate", 0, 0, 1, out_rate));
    assert_ok(rlhf_config_double(config, "numbers.tiny", 0, 0, 1, out_tiny));
    const int32_t tokens[3] = {2, 3, 4};
    const uint8_t mask[3] = {0, 1, 1};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .num_tokens = 3,
                                      .score = 0.125};
    assert_ok(rlhf_rollout_create(context, &rollout));
    assert_ok(rlhf_rollout_append(rollout, &input));
    assert_ok(
        rlhf_rollout_write_jsonl(rollout, NULL, test_join(folder, "rollout.jsonl")));
    rlhf_rollout_free(rollout);
    rlhf_config_free(config);
    rlhf_model_free(model);
    assert_ok(rlhf_model_load(context, test_join(folder, "model"), &model));
    assert_fails(rlhf_model_logprobs(model, tokens, (const int64_t[]){0, 3}, 1, -0.5,
                                     (float[3]){0}),
                 RLHF_ERR_INVALID_ARG, "got -0.5");
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_rounding_of_the_host_changes_no_number_in_a_file(void **state)
{
    (void)state;
    char plain[TEST_PATH], upward[TEST_PATH];
    double rate, tiny, rate_up, tiny_up;

    test_folder_make(plain);
    test_folder_make(upward);
    write_all(plain, &rate, &tiny);
    assert_int_equal(fesetround(FE_UPWARD), 0);
    write_all(upward, &rate_up, &tiny_up);
    assert_int_equal(fesetround(FE_TONEAREST), 0);
    assert_true(rate == 0.3 &&
                tiny == 1.7e-7); /* one of them would be the next number up */
    assert_true(rate_up == rate && tiny_up == tiny);
    test_files_equal(test_join(plain, "model/config.json"),
                     test_join(upward, "model/config.json"));
    test_folder_remove(plain);
    test_folder_remove(upward);
}

static void test_decimal_comma_of_the_host_changes_nothing(void **state)
{
    (void)state;
    char plain[TEST_PATH], german[TEST_PATH], locales[TEST_PATH], digits[16];
    double rate, tiny;

    test_folder_make(plain);
    test_folder_make(german);
    test_folder_make(locales);
    write_all(plain, &rate, &tiny);
    if (use_decimal_comma(locales)) {
        write_all(german, &rate, &tiny);
        snprintf(digits, sizeof digits, "%.1f", 1.5);
        assert_string_equal(digits, "1,5"); /* the host's locale is as it was */
        setlocale(LC_ALL, "C");
        assert_true(rate == 0.3 && tiny == 1.7e-7);
        test_files_equal(test_join(plain, "model/config.json"),
                         test_join(german, "model/config.json"));
        test_files_equal(test_join(plain, "rollout.jsonl"),
                         test_join(german, "rollout.jsonl"));
    } else {
        print_message(
            "skipped: no locale with a decimal comma, and localedef makes none\n");
    }
    test_folder_remove(plain);
    test_folder_remove(german);
    test_folder_remove(locales);
    assert_non_null(setlocale(LC_ALL, "C"));
}

/* --- directory, signals ------------------------------------------------------------- */

static void test_directory_signals_and_environment_stay(void **state)
{
    (void)state;
    char before[4096], after[4096], folder[TEST_PATH];
    sigset_t mask_before, mask_after;
    double rate, tiny;

    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &mask_before), 0);
    test_folder_make(folder);
    write_all(folder, &rate, &tiny);
    test_folder_remove(folder);
    assert_non_null(getcwd(after, sizeof after));
    assert_string_equal(before, after);
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &mask_after), 0);
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        assert_int_equal(sigismember(&mask_before, number),
                         sigismember(&mask_after, number));
        if (number == SIGKILL || number == SIGSTOP)
            continue;
        assert_int_equal(sigaction(number, NULL, &action), 0);
        if (number == SIGINT || number == SIGTERM || number == SIGPIPE ||
            number == SIGXFSZ)
            assert_true(action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
    }
}

/* --- fork --------------------------------------------------------------------------- */

typedef struct family {
    rlhf_context *context;
    rlhf_model *model;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
    rlhf_generator *generator;
    rlhf_feedback *feedback;
} family;

static void free_family(family *f)
{
    rlhf_context_free(f->context);
    rlhf_generator_free(f->generator);
    rlhf_lm_trainer_free(f->trainer);
    rlhf_feedback_free(f->feedback);
    rlhf_dataset_free(f->dataset);
    rlhf_model_free(f->model);
}

/* In the child: the number of the first thing that went wrong; 0: none. */
static int child_of_fork(family *f)
{
    const int32_t token = 1;
    const int64_t cu_seqlens[2] = {0, 1};
    float logits[VOCAB];
    rlhf_model *copy;
    rlhf_feedback_info info = {.struct_size = sizeof info};

    alarm(60); /* a hang ends as a failure */
    if (rlhf_model_logits(f->model, &token, cu_seqlens, 1, logits) != RLHF_ERR_STATE)
        return 1;
    if (!strstr(rlhf_last_error_message(), "forked child"))
        return 2;
    if (rlhf_model_clone(f->model, &copy) != RLHF_ERR_STATE || copy)
        return 3;
    if (rlhf_lm_trainer_step(f->trainer, NULL) != RLHF_ERR_STATE)
        return 4;
    if (rlhf_lm_trainer_set_learning_rate(f->trainer, 0.1) != RLHF_ERR_STATE)
        return 5;
    if (rlhf_generator_run(f->generator) != RLHF_ERR_STATE)
        return 6;
    if (rlhf_feedback_get_info(f->feedback, &info) != RLHF_ERR_STATE)
        return 7;
    if (rlhf_model_num_parameters(f->model) <= 0)
        return 8;
    rlhf_context_cancel(f->context);
    free_family(f);
    rlhf_context *fresh = support_context(NULL, 2); /* its own context works */
    rlhf_model *model = tiny_model(fresh, VOCAB, LENGTH, 1);
    if (rlhf_model_logits(model, &token, cu_seqlens, 1, logits) != RLHF_OK)
        return 9;
    rlhf_model_free(model);
    rlhf_context_free(fresh);
    return 0;
}

static void test_forked_child_gets_state_and_frees(void **state)
{
    (void)state;
    char folder[TEST_PATH];
    family f = {.context = support_context(NULL, 3)};
    rlhf_feedback_info info = {.struct_size = sizeof info};
    int status = -1;

    test_folder_make(folder);
    f.model = tiny_model(f.context, VOCAB, LENGTH, 1);
    f.dataset = repeated_rows(f.context, 4, 8);
    assert_ok(rlhf_lm_trainer_create(f.model, f.dataset, NULL, &f.trainer));
    assert_ok(rlhf_lm_trainer_step(f.trainer, NULL)); /* the pool has worked */
    assert_ok(rlhf_generator_create(f.model, NULL, NULL, &f.generator));
    assert_ok(
        rlhf_feedback_open(f.context, test_join(folder, "store.db"), 1, &f.feedback));
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(child_of_fork(&f));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(rlhf_lm_trainer_step(f.trainer, NULL)); /* the parent noticed nothing */
    assert_ok(rlhf_feedback_get_info(f.feedback, &info));
    free_family(&f);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float_settings_of_the_host_change_nothing),
        cmocka_unit_test(test_rounding_of_the_host_changes_no_number_in_a_file),
        cmocka_unit_test(test_decimal_comma_of_the_host_changes_nothing),
        cmocka_unit_test(test_directory_signals_and_environment_stay),
        cmocka_unit_test(test_forked_child_gets_state_and_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
