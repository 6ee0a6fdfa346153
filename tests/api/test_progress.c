/* Progress as a host meets it: every stage comes to its end, where done == total, once a
 * pass. */
#include <stdbool.h>

#include "api_support.h"

#include "test_files.h"

enum { MAX_STAGES = 16, ROWS = 70 };

typedef struct seen {
    char stage[32];
    int ends;
} seen;

typedef struct watch {
    rlhf_context *context;
    seen stages[MAX_STAGES];
    int num_stages;
    bool cancels; /* where a stage ends */
    char folder[TEST_PATH];
} watch;

static void on_progress(void *user_data, const char *stage, int64_t done, int64_t total)
{
    watch *w = user_data;
    int i = 0;

    while (i < w->num_stages && strcmp(w->stages[i].stage, stage) != 0)
        i++;
    assert_true(i < MAX_STAGES);
    if (i == w->num_stages)
        snprintf(w->stages[w->num_stages++].stage, sizeof w->stages[i].stage, "%s",
                 stage);
    w->stages[i].ends += done == total;
    if (w->cancels && done == total)
        rlhf_context_cancel(w->context);
}

static int watch_setup(void **state)
{
    watch *w = calloc(1, sizeof *w);
    rlhf_context_options options;

    support_options(&options, 1);
    options.progress = on_progress;
    options.progress_user_data = w;
    assert_ok(rlhf_context_create(&options, &w->context));
    test_folder_make(w->folder);
    *state = w;
    return 0;
}

static int watch_teardown(void **state)
{
    watch *w = *state;

    rlhf_context_free(w->context);
    test_folder_remove(w->folder);
    free(w);
    return 0;
}

/* Since the last look `stage` has ended `ends` times, no other one. */
static void expect_ends(watch *w, const char *stage, int ends)
{
    int got = 0;

    for (int i = 0; i < w->num_stages; i++)
        if (strcmp(w->stages[i].stage, stage) == 0)
            got = w->stages[i].ends;
        else if (w->stages[i].ends > 0)
            fail_msg("\"%s\" has ended beside \"%s\"", w->stages[i].stage, stage);
    if (got != ends)
        fail_msg("\"%s\" has ended %d times, not %d", stage, got, ends);
    w->num_stages = 0;
    memset(w->stages, 0, sizeof w->stages);
}

static void test_language_model_stages_end(void **state)
{
    watch *w = *state;
    rlhf_model *model = tiny_model(w->context, VOCAB, LENGTH, 1), *copy;
    rlhf_dataset *dataset = repeated_rows(w->context, ROWS, 8);
    char *path = strdup(test_join(w->folder, "state"));
    rlhf_lm_options options;
    rlhf_lm_trainer *trainer;
    int64_t remaining = 1;
    double loss;

    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 4;
    options.micro_batch_tokens = 8;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    expect_ends(w, "train", 0);
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    expect_ends(w, "train", 1);
    while (remaining > 0)
        assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
    assert_ok(rlhf_lm_trainer_apply(trainer, NULL));
    expect_ends(w, "train", 1);
    for (int64_t rows = 0; rows <= 64; rows += 32) { /* 0: all */
        assert_ok(rlhf_lm_trainer_evaluate(trainer, dataset, rows, &loss));
        expect_ends(w, "evaluate", 1);
    }
    assert_ok(rlhf_lm_trainer_save(trainer, path));
    expect_ends(w, "save", 1);
    assert_ok(rlhf_lm_trainer_resume(trainer, path));
    expect_ends(w, "resume", 1);
    rlhf_lm_trainer_free(trainer);
    free(path);
    path = strdup(test_join(w->folder, "model"));
    assert_ok(rlhf_model_save(model, path));
    expect_ends(w, "save", 1);
    assert_ok(rlhf_model_load(w->context, path, &copy));
    expect_ends(w, "load", 1);
    free(path);
    rlhf_model_free(copy);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
}

static void test_inference_stages_end(void **state)
{
    static const int32_t tokens[5] = {0, 3, 4, 0, 2};
    static const int64_t cu_seqlens[3] = {0, 3, 5};
    watch *w = *state;
    rlhf_model *model = tiny_model(w->context, VOCAB, LENGTH, 1);
    rlhf_reward_model *reward;
    rlhf_generator_options options;
    rlhf_generator *generator;
    float logits[5 * VOCAB], logprobs[5], scores[2];

    assert_ok(rlhf_model_logits(model, tokens, cu_seqlens, 2, logits));
    expect_ends(w, "logits", 1);
    assert_ok(rlhf_model_logprobs(model, tokens, cu_seqlens, 2, 1, logprobs));
    expect_ends(w, "logprobs", 1);
    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    assert_ok(rlhf_reward_model_score(reward, tokens, cu_seqlens, 2, scores));
    expect_ends(w, "score", 1);
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 4;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, cu_seqlens, 2, NULL));
    assert_ok(rlhf_generator_run(generator));
    expect_ends(w, "generate", 1);
    assert_ok(rlhf_generator_start(generator, tokens, cu_seqlens, 2, NULL));
    for (int64_t active = 1; active > 0;)
        assert_ok(rlhf_generator_step(generator, &active));
    expect_ends(w, "generate", 1);
    rlhf_generator_free(generator);
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
}

static void test_reward_stages_end(void **state)
{
    static const int32_t chosen[3] = {0, 3, 4}, rejected[3] = {0, 5, 6};
    const rlhf_example pair = {.struct_size = sizeof pair,
                               .tokens = chosen,
                               .num_tokens = 3,
                               .prompt_length = 1,
                               .rejected = rejected,
                               .num_rejected = 3};
    watch *w = *state;
    rlhf_model *model = tiny_model(w->context, VOCAB, LENGTH, 1);
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    rlhf_dataset_options options;
    rlhf_dataset *dataset;
    rlhf_reward_model *reward;
    rlhf_reward_trainer *trainer;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(w->context, &options, &dataset));
    assert_ok(rlhf_dataset_append(dataset, &pair));
    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    assert_ok(rlhf_reward_trainer_create(reward, dataset, NULL, &trainer));
    assert_ok(rlhf_reward_trainer_step(trainer, NULL));
    expect_ends(w, "train", 1);
    assert_ok(rlhf_reward_trainer_evaluate(trainer, dataset, 0, &stats));
    expect_ends(w, "evaluate", 1);
    rlhf_reward_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
}

static void test_ppo_stages_end(void **state)
{
    static const int32_t tokens[5] = {0, 3, 4, 0, 2};
    static const int64_t cu_seqlens[3] = {0, 3, 5};
    watch *w = *state;
    rlhf_model *model = tiny_model(w->context, VOCAB, LENGTH, 1);
    rlhf_reward_model *reward;
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;
    rlhf_rollout *rollout;
    int64_t remaining;
    int32_t done = 0;

    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 4;
    options.num_minibatches = 1;
    assert_ok(rlhf_ppo_trainer_create(model, NULL, reward, NULL, &options, &trainer));
    for (int i = 0; i < 2; i++) {
        assert_ok(rlhf_ppo_trainer_rollout(trainer, tokens, cu_seqlens, 2, &rollout));
        expect_ends(w, "generate", 1);
        assert_ok(rlhf_ppo_trainer_score(trainer, rollout));
        expect_ends(w, "score", 1);
        assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
        expect_ends(w, "score", i == 0 ? 1 : 2); /* the reference's is its own by then */
        if (i == 0)
            assert_ok(rlhf_ppo_trainer_update(trainer, rollout, NULL));
        while (i == 1 && !done) {
            for (remaining = 1; remaining > 0;)
                assert_ok(rlhf_ppo_trainer_accumulate(trainer, rollout, &remaining));
            assert_ok(rlhf_ppo_trainer_apply(trainer, &done, NULL));
        }
        expect_ends(w, "train", 1);
        rlhf_rollout_free(rollout);
    }
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
}

/* The tokenizer's stage ends too where pairs run out before the vocabulary does; lines of
 * one chunk are told by the clock, not each. */
static void test_text_stages_end(void **state)
{
    static const char *const text = "abab abab cd";
    static const int64_t goals[2] = {258, 1000};
    const size_t size = strlen(text);
    watch *w = *state;
    rlhf_tokenizer_train_options options;
    rlhf_dataset_options rows;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_dataset *dataset;
    char lines[ROWS * 16] = "";

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.min_frequency = 2;
    for (int i = 0; i < 2; i++) {
        rlhf_tokenizer_free(tokenizer);
        options.vocab_size = (int32_t)goals[i];
        assert_ok(
            rlhf_tokenizer_train(w->context, &text, &size, 1, &options, &tokenizer));
        expect_ends(w, "tokenizer", 1);
    }
    for (int i = 0; i < ROWS; i++)
        strcat(lines, "{\"text\":\"ab\"}\n");
    const char *path = test_join(w->folder, "rows.jsonl");
    test_write(path, lines, strlen(lines));
    assert_ok(rlhf_dataset_options_init(&rows, sizeof rows));
    assert_ok(rlhf_dataset_load(w->context, tokenizer, path, &rows, &dataset));
    expect_ends(w, "dataset", 1);
    rlhf_dataset_free(dataset);
    path = test_join(w->folder, "rows.txt");
    test_write(path, text, size);
    assert_ok(rlhf_dataset_load(w->context, tokenizer, path, &rows, &dataset));
    expect_ends(w, "dataset", 1);
    rlhf_dataset_free(dataset);
    rlhf_tokenizer_free(tokenizer);
}

static void test_feedback_stage_ends(void **state)
{
    static const int32_t prompt[1] = {3}, answers[2] = {4, 5};
    const rlhf_comparison pair = {.struct_size = sizeof pair,
                                  .prompt_ids = prompt,
                                  .num_prompt = 1,
                                  .prompt_text = "p",
                                  .answer_ids = {&answers[0], &answers[1]},
                                  .num_answer = {1, 1},
                                  .answer_text = {"a", "b"}};
    watch *w = *state;
    rlhf_feedback *store;
    int64_t skipped;

    assert_ok(
        rlhf_feedback_open(w->context, test_join(w->folder, "choices.db"), 1, &store));
    assert_ok(rlhf_feedback_add_many(store, &pair, 1, &skipped));
    expect_ends(w, "feedback", 1);
    rlhf_feedback_free(store);
}

/* What is done when the callback cancels is kept; the next call is the one that stops. */
static void test_cancel_at_the_end_stops_the_next_call(void **state)
{
    static const int32_t tokens[3] = {0, 3, 4};
    static const int64_t cu_seqlens[2] = {0, 3};
    watch *w = *state;
    rlhf_model *model = tiny_model(w->context, VOCAB, LENGTH, 1);
    rlhf_dataset *dataset = repeated_rows(w->context, ROWS, 8);
    char *path = strdup(test_join(w->folder, "state"));
    rlhf_lm_trainer *trainer;
    rlhf_generator *generator;
    double loss;

    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    assert_ok(rlhf_generator_create(model, NULL, NULL, &generator));
    for (int call = 0; call < 4; call++) {
        w->cancels = true;
        if (call == 0)
            assert_ok(rlhf_lm_trainer_step(trainer, NULL));
        else if (call == 1)
            assert_ok(rlhf_lm_trainer_evaluate(trainer, dataset, 0, &loss));
        else if (call == 2)
            assert_ok(rlhf_lm_trainer_save(trainer, path));
        assert_ok(rlhf_generator_start(generator, tokens, cu_seqlens, 1, NULL));
        if (call == 3)
            assert_ok(rlhf_generator_run(generator));
        w->cancels = false;
        assert_int_equal(rlhf_lm_trainer_step(trainer, NULL), RLHF_ERR_CANCELLED);
    }
    assert_int_equal(rlhf_lm_trainer_num_steps(trainer), 1);
    free(path);
    rlhf_generator_free(generator);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_language_model_stages_end),
        TEST(test_inference_stages_end),
        TEST(test_reward_stages_end),
        TEST(test_ppo_stages_end),
        TEST(test_text_stages_end),
        TEST(test_feedback_stage_ends),
        TEST(test_cancel_at_the_end_stops_the_next_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
