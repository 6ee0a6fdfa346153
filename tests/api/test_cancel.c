/* Cancelling from another thread, from a callback and from a signal handler; calls from
 * several threads on one context, and two contexts side by side. */
#include "api_support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static rlhf_context *signal_context;

static void cancel_on_signal(int number)
{
    (void)number;
    rlhf_context_cancel(signal_context);
}

static void assert_cancelled_once(rlhf_context *context, rlhf_model *model)
{
    rlhf_model *copy;
    const int32_t token = 3;
    const int64_t cu_seqlens[2] = {0, 1};
    float logits[VOCAB];

    (void)context;
    assert_fails(rlhf_model_logits(model, &token, cu_seqlens, 1, logits),
                 RLHF_ERR_CANCELLED, "cancelled by rlhf_context_cancel");
    assert_ok(rlhf_model_logits(model, &token, cu_seqlens, 1, logits));
    assert_ok(rlhf_model_clone(model, &copy));
    rlhf_model_free(copy);
}

static void test_request_stops_the_next_call_and_is_forgotten(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);

    rlhf_context_cancel(context);
    rlhf_context_cancel(context);
    assert_cancelled_once(context, model);
    rlhf_context_cancel(NULL);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_signal_handler_may_cancel(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    struct sigaction action = {.sa_handler = cancel_on_signal}, before;

    signal_context = context;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    assert_cancelled_once(context, model);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* A source without end, which says that it was asked and, at a row, calls for the cancel.
 */
typedef struct endless {
    rlhf_context *context;
    atomic_int asked;
    int cancel_at; /* 0: never */
    int32_t tokens[8];
} endless;

static rlhf_status endless_next(void *user_data, rlhf_example *out)
{
    endless *e = user_data;
    const int asked = atomic_fetch_add(&e->asked, 1) + 1;

    for (int t = 0; t < 8; t++)
        e->tokens[t] = (asked + t * t) % VOCAB;
    out->tokens = e->tokens;
    out->num_tokens = 8;
    if (asked == e->cancel_at)
        rlhf_context_cancel(e->context);
    return RLHF_OK;
}

static rlhf_lm_trainer *endless_trainer(rlhf_context *context, endless *source,
                                        rlhf_model *model)
{
    const rlhf_source_ops ops = {.struct_size = sizeof ops, .next = endless_next};
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;

    source->context = context;
    assert_ok(rlhf_dataset_create_from_source(context, RLHF_DATASET_TEXT, &ops, source,
                                              &dataset));
    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    rlhf_dataset_free(dataset);
    return trainer;
}

/* The step that was cancelled is done by the next call on the same rows: the same
 * weights. */
static void test_callback_may_cancel_and_the_step_is_done_again(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1), *same, *before;
    endless source = {.cancel_at = 3}, other = {.cancel_at = 0};

    assert_ok(rlhf_model_clone(model, &same));
    assert_ok(rlhf_model_clone(model, &before));
    rlhf_lm_trainer *trainer = endless_trainer(context, &source, model);
    assert_fails(rlhf_lm_trainer_step(trainer, NULL), RLHF_ERR_CANCELLED, "cancelled");
    assert_int_equal(rlhf_lm_trainer_num_steps(trainer), 0);
    assert_same_model(model, before);
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    rlhf_lm_trainer *plain = endless_trainer(context, &other, same);
    assert_ok(rlhf_lm_trainer_step(plain, NULL));
    assert_int_equal(atomic_load(&source.asked), atomic_load(&other.asked));
    assert_same_model(model, same);
    rlhf_lm_trainer_free(trainer);
    rlhf_lm_trainer_free(plain);
    rlhf_model_free(model);
    rlhf_model_free(same);
    rlhf_model_free(before);
    rlhf_context_free(context);
}

/* Cancels once the step's rows are being drawn. */
static void *cancel_when_asked(void *arg)
{
    endless *source = arg;

    while (atomic_load(&source->asked) < 1)
        sched_yield();
    rlhf_context_cancel(source->context);
    return NULL;
}

static void test_another_thread_may_cancel(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    endless source = {0};
    rlhf_lm_trainer *trainer = endless_trainer(context, &source, model);
    pthread_t thread;
    rlhf_status status = RLHF_OK;

    assert_int_equal(pthread_create(&thread, NULL, cancel_when_asked, &source), 0);
    while (status == RLHF_OK) /* without end, were the request lost */
        status = rlhf_lm_trainer_step(trainer, NULL);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(status, RLHF_ERR_CANCELLED);
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    rlhf_lm_trainer_free(trainer);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- threads ------------------------------------------------------------------------ */

enum { SEQS = 3, TOKENS = 24, CALLS = 20 };

typedef struct job {
    rlhf_model *model;
    const float *expected; /* [TOKENS][VOCAB] */
    int different, failed;
} job;

static const int64_t job_cu_seqlens[SEQS + 1] = {0, 5, 6, TOKENS};

static rlhf_status job_logits(rlhf_model *model, float *out)
{
    int32_t tokens[TOKENS];

    for (int t = 0; t < TOKENS; t++)
        tokens[t] = (t * t + 1) % VOCAB;
    return rlhf_model_logits(model, tokens, job_cu_seqlens, SEQS, out);
}

static void *run_job(void *arg)
{
    job *j = arg;
    float logits[TOKENS * VOCAB];

    for (int i = 0; i < CALLS; i++) {
        j->failed += job_logits(j->model, logits) != RLHF_OK;
        j->different += memcmp(logits, j->expected, sizeof logits) != 0;
    }
    return NULL;
}

static void run_jobs(job *jobs, int count)
{
    pthread_t threads[4];

    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    for (int i = 0; i < count; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(jobs[i].failed, 0);
        assert_int_equal(jobs[i].different, 0);
    }
}

static void test_calls_on_one_context_queue(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *one = tiny_model(context, VOCAB, LENGTH, 1);
    rlhf_model *two = tiny_model(context, VOCAB, LENGTH, 2);
    float expected[2][TOKENS * VOCAB];

    assert_ok(job_logits(one, expected[0]));
    assert_ok(job_logits(two, expected[1]));
    assert_memory_not_equal(expected[0], expected[1], sizeof expected[0]);
    job jobs[4] = {{one, expected[0], 0, 0},
                   {two, expected[1], 0, 0},
                   {one, expected[0], 0, 0},
                   {two, expected[1], 0, 0}};
    run_jobs(jobs, 4);
    rlhf_model_free(one);
    rlhf_model_free(two);
    rlhf_context_free(context);
}

static void test_two_contexts_work_at_once(void **state)
{
    (void)state;
    rlhf_context *contexts[2] = {support_context(NULL, 1), support_context(NULL, 2)};
    float expected[2][TOKENS * VOCAB];
    job jobs[2];

    for (int i = 0; i < 2; i++) {
        rlhf_model *model = tiny_model(contexts[i], VOCAB, LENGTH, 7);
        assert_ok(job_logits(model, expected[i]));
        jobs[i] = (job){model, expected[i], 0, 0};
    }
    assert_memory_equal(expected[0], expected[1], sizeof expected[0]);
    run_jobs(jobs, 2);
    rlhf_context_cancel(contexts[0]); /* not heard by the other */
    assert_int_equal(job_logits(jobs[1].model, expected[1]), RLHF_OK);
    assert_int_equal(job_logits(jobs[0].model, expected[0]), RLHF_ERR_CANCELLED);
    for (int i = 0; i < 2; i++) {
        rlhf_context_free(contexts[i]);
        rlhf_model_free(jobs[i].model);
    }
}

/* Each thread has its own last error. */
static void *fail_elsewhere(void *arg)
{
    rlhf_model *model = arg;
    float value;

    (void)rlhf_model_parameter_read(model, "elsewhere", &value, 1);
    return NULL;
}

static void test_last_error_belongs_to_its_thread(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1);
    rlhf_error_info info = {.struct_size = sizeof info};
    pthread_t thread;
    float value;

    assert_fails(rlhf_model_parameter_read(model, "here", &value, 1), RLHF_ERR_NOT_FOUND,
                 "here");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, model), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_non_null(strstr(rlhf_last_error_message(), "\"here\""));
    assert_ok(rlhf_last_error_info(&info));
    assert_int_equal(info.status, RLHF_ERR_NOT_FOUND);
    assert_string_equal(info.message, rlhf_last_error_message());
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_stops_the_next_call_and_is_forgotten),
        cmocka_unit_test(test_signal_handler_may_cancel),
        cmocka_unit_test(test_callback_may_cancel_and_the_step_is_done_again),
        cmocka_unit_test(test_another_thread_may_cancel),
        cmocka_unit_test(test_calls_on_one_context_queue),
        cmocka_unit_test(test_two_contexts_work_at_once),
        cmocka_unit_test(test_last_error_belongs_to_its_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
