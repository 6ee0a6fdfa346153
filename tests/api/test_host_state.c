/* What the library must leave to its host and may not rely on: the locale, the working
 * directory, signals; another context at the same time; and a forked child that still
 * holds handles. The floating-point environment is test_float_state.c's. */
#include "outcome.h"

#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "test_files.h"

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

extern char **environ;

enum { SIGNALS = 64 };

/* All that a host has set for its process. */
typedef struct host_state {
    char directory[4096], environment[16384];
    sigset_t blocked;
    struct sigaction actions[SIGNALS + 1];
    mode_t mask;
} host_state;

static host_state *read_host_state(void)
{
    host_state *s = calloc(1, sizeof *s);
    size_t used = 0;

    assert_non_null(getcwd(s->directory, sizeof s->directory));
    for (char **entry = environ; *entry && used < sizeof s->environment - 1; entry++)
        used += (size_t)snprintf(s->environment + used, sizeof s->environment - used,
                                 "%s\n", *entry);
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &s->blocked), 0);
    for (int number = 1; number <= SIGNALS; number++)
        (void)sigaction(number, NULL, &s->actions[number]); /* two are libc's own */
    s->mask = umask(022);
    umask(s->mask);
    return s;
}

static void test_directory_signals_and_environment_stay(void **state)
{
    (void)state;
    char folder[TEST_PATH];
    double rate, tiny;
    outcome out;
    host_state *before = read_host_state(), *after;

    test_folder_make(folder);
    write_all(folder, &rate, &tiny);
    test_folder_remove(folder);
    outcome_compute(2, &out);
    after = read_host_state();
    assert_string_equal(before->directory, after->directory);
    assert_string_equal(before->environment, after->environment);
    assert_int_equal(before->mask, after->mask);
    for (int number = 1; number <= SIGNALS; number++) {
        const struct sigaction *x = &before->actions[number],
                               *y = &after->actions[number];
        assert_int_equal(sigismember(&before->blocked, number),
                         sigismember(&after->blocked, number));
        assert_true(x->sa_handler == y->sa_handler && x->sa_flags == y->sa_flags);
    }
    free(before);
    free(after);
}

/* Paths are looked up when they are given: a host that goes elsewhere in between, even
 * where it may not write, loses nothing. */
static void test_directory_may_change_at_any_time(void **state)
{
    (void)state;
    char folder[TEST_PATH], home[4096];
    rlhf_context *context = support_context(NULL, 2);
    const int32_t ids[2] = {1, 2};
    const rlhf_comparison comparison = {.struct_size = sizeof comparison,
                                        .prompt_ids = ids,
                                        .answer_ids = {ids, ids + 1},
                                        .num_prompt = 1,
                                        .num_answer = {1, 1}};
    rlhf_feedback_info info = {.struct_size = sizeof info};
    rlhf_example row = {.struct_size = sizeof row};
    rlhf_dataset_options options;
    static const char *const text = "a b";
    const size_t size = 3;
    rlhf_tokenizer *tokenizer;
    rlhf_feedback *feedback;
    rlhf_dataset *dataset;
    rlhf_model *model, *again;
    int64_t id;

    test_folder_make(folder);
    assert_non_null(getcwd(home, sizeof home));
    assert_int_equal(chdir(folder), 0);
    test_write("rows.jsonl", "{\"prompt_ids\": [1, 2]}\n", 23);
    model = tiny_model(context, VOCAB, LENGTH, 5);
    assert_ok(rlhf_model_save(model, "model"));
    assert_ok(rlhf_feedback_open(context, "store.db", 1, &feedback));
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PROMPT;
    assert_ok(rlhf_tokenizer_train(context, &text, &size, 1, NULL, &tokenizer));
    assert_ok(rlhf_dataset_load(context, tokenizer, "rows.jsonl", &options, &dataset));
    assert_ok(rlhf_model_load(context, "model", &again));
    assert_int_equal(chdir("/"), 0);
    assert_ok(rlhf_feedback_add(feedback, &comparison, &id));
    assert_ok(rlhf_feedback_get_info(feedback, &info));
    assert_ok(rlhf_dataset_next(dataset, &row));
    assert_int_equal(row.num_tokens, 2);
    assert_same_model(model, again);
    rlhf_feedback_free(feedback);
    assert_int_equal(chdir(folder), 0);
    assert_ok(rlhf_feedback_open(context, "store.db", 0, &feedback));
    info.num_comparisons = 0;
    assert_ok(rlhf_feedback_get_info(feedback, &info));
    assert_int_equal(info.num_comparisons, 1);
    assert_int_equal(chdir(home), 0);
    rlhf_feedback_free(feedback);
    rlhf_dataset_free(dataset);
    rlhf_tokenizer_free(tokenizer);
    rlhf_model_free(again);
    rlhf_model_free(model);
    rlhf_context_free(context);
    test_folder_remove(folder);
}

static volatile sig_atomic_t alarms, elsewhere;
static pthread_t host_thread;

static void on_alarm(int number)
{
    (void)number;
    alarms++;
    elsewhere += !pthread_equal(pthread_self(), host_thread);
}

/* A host whose timer interrupts whatever can be interrupted, a thousand times a second:
 * files are whole, bits the same, and its handler runs on its own thread. */
static void test_signals_interrupt_nothing(void **state)
{
    (void)state;
    const struct sigaction handler = {.sa_handler = on_alarm}; /* no SA_RESTART */
    const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    struct sigaction previous;
    char plain[TEST_PATH], interrupted[TEST_PATH];
    double rate, tiny;
    outcome expected, out;

    test_folder_make(plain);
    test_folder_make(interrupted);
    write_all(plain, &rate, &tiny);
    outcome_compute(3, &expected);
    host_thread = pthread_self();
    assert_int_equal(sigaction(SIGALRM, &handler, &previous), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    outcome_compute(3, &out);
    write_all(interrupted, &rate, &tiny);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &previous, NULL), 0);
    assert_true(alarms > 0);
    assert_int_equal(elsewhere, 0);
    assert_memory_equal(&expected, &out, sizeof out);
    test_files_equal(test_join(plain, "model/config.json"),
                     test_join(interrupted, "model/config.json"));
    test_files_equal(test_join(plain, "model/model.safetensors"),
                     test_join(interrupted, "model/model.safetensors"));
    test_folder_remove(plain);
    test_folder_remove(interrupted);
}

/* --- another context ---------------------------------------------------------------- */

typedef struct thread_job {
    int32_t threads;
    outcome out;
} thread_job;

static void *compute_on_thread(void *arg)
{
    thread_job *job = arg;

    outcome_compute(job->threads, &job->out);
    return NULL;
}

/* On two threads, with other thread counts: each as if it were alone. */
static void test_two_contexts_work_at_once(void **state)
{
    (void)state;
    thread_job alone = {.threads = 2}, jobs[2] = {{.threads = 1}, {.threads = 3}};
    pthread_t threads[2];

    compute_on_thread(&alone);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compute_on_thread, &jobs[i]),
                         0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_memory_equal(&jobs[i].out, &alone.out, sizeof alone.out);
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
        cmocka_unit_test(test_rounding_of_the_host_changes_no_number_in_a_file),
        cmocka_unit_test(test_decimal_comma_of_the_host_changes_nothing),
        cmocka_unit_test(test_directory_signals_and_environment_stay),
        cmocka_unit_test(test_directory_may_change_at_any_time),
        cmocka_unit_test(test_signals_interrupt_nothing),
        cmocka_unit_test(test_two_contexts_work_at_once),
        cmocka_unit_test(test_forked_child_gets_state_and_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
