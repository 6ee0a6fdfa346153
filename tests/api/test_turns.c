/* Every call that changes a trainer takes its turn in the context's queue: from a
 * callback of a call that is under way it is refused, and the trainer stays as it is. And
 * what a call refuses it refuses before anything has changed. */
#include <stdbool.h>

#include "tiny.h"

enum { VOCAB = 12, LENGTH = 16 };

typedef struct probe {
    rlhf_context *context;
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward;
    rlhf_ppo_trainer *ppo;
    const rlhf_generator *generator;
    const rlhf_rollout *rollout;
    int calls, refusals, reads, current;
} probe;

static void count_refusal(probe *p, rlhf_status status)
{
    p->calls++;
    p->refusals += status == RLHF_ERR_BUSY;
}

static void on_progress(void *user_data, const char *stage, int64_t done, int64_t total)
{
    probe *p = user_data;
    rlhf_rollout *rollout = NULL;

    (void)stage;
    (void)done;
    (void)total;
    rlhf_generation answer = {.struct_size = sizeof answer};
    rlhf_rollout_sequence sequence = {.struct_size = sizeof sequence};
    if (p->generator && rlhf_generator_num_sequences(p->generator) > 0)
        p->reads += rlhf_generator_get(p->generator, 0, &answer) == RLHF_OK;
    if (p->rollout)
        p->reads += rlhf_rollout_get(p->rollout, 0, &sequence) == RLHF_OK;
    if (p->lm)
        count_refusal(p, rlhf_lm_trainer_set_learning_rate(p->lm, 1.0));
    if (p->reward)
        count_refusal(p, rlhf_reward_trainer_set_learning_rate(p->reward, 1.0));
    if (!p->ppo)
        return;
    count_refusal(p, rlhf_ppo_trainer_set_learning_rate(p->ppo, 1.0, 1.0));
    count_refusal(p, rlhf_ppo_trainer_set_kl_coef(p->ppo, 7.0));
    count_refusal(p, rlhf_ppo_trainer_abandon(p->ppo));
    p->current += rlhf_ppo_trainer_is_current(p->ppo, p->rollout);
    count_refusal(p, rlhf_rollout_create(p->context, &rollout));
    assert_null(rollout);
}

static void start(probe *p)
{
    rlhf_context_options options;

    *p = (probe){0};
    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 1;
    options.dtype = test_dtype();
    options.progress = on_progress;
    options.progress_user_data = p;
    assert_ok(rlhf_context_create(&options, &p->context));
}

static rlhf_dataset *rows(rlhf_context *context, int32_t kind)
{
    static const int32_t chosen[] = {0, 3, 4, 5, 1}, rejected[] = {0, 3, 6, 7, 1};
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    options.max_length = LENGTH;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    const bool pair = kind == RLHF_DATASET_PREFERENCE;
    const rlhf_example row = {.struct_size = sizeof row,
                              .tokens = chosen,
                              .num_tokens = 5,
                              .prompt_length = pair ? 2 : 0,
                              .rejected = pair ? rejected : NULL,
                              .num_rejected = pair ? 5 : 0};
    assert_ok(rlhf_dataset_append(dataset, &row));
    return dataset;
}

static void assert_all_refused(const probe *p)
{
    assert_true(p->calls > 0);
    assert_int_equal(p->refusals, p->calls);
}

static void test_lm_trainer_rate_waits_its_turn(void **state)
{
    rlhf_lm_options options;
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    probe p;

    (void)state;
    start(&p);
    rlhf_model *model = tiny_model(p.context, VOCAB, LENGTH, 1);
    rlhf_dataset *dataset = rows(p.context, RLHF_DATASET_TEXT);
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.schedule = RLHF_SCHEDULE_CONSTANT;
    options.warmup_steps = 0;
    options.learning_rate = 1e-3;
    options.batch_size = 1;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &p.lm));
    assert_ok(rlhf_lm_trainer_step(p.lm, &stats));
    assert_all_refused(&p);
    assert_ok(rlhf_lm_trainer_step(p.lm, &stats));
    assert_true(stats.learning_rate == 1e-3); /* the refused calls left it alone */
    assert_ok(rlhf_lm_trainer_set_learning_rate(p.lm, 2e-3));
    assert_ok(rlhf_lm_trainer_step(p.lm, &stats));
    assert_true(stats.learning_rate == 2e-3);
    rlhf_lm_trainer_free(p.lm);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(p.context);
}

static void test_reward_trainer_rate_waits_its_turn(void **state)
{
    rlhf_reward_options options;
    rlhf_reward_model *reward;
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    probe p;

    (void)state;
    start(&p);
    rlhf_model *model = tiny_model(p.context, VOCAB, LENGTH, 1);
    rlhf_dataset *dataset = rows(p.context, RLHF_DATASET_PREFERENCE);
    assert_ok(rlhf_reward_model_create(model, NULL, &reward));
    assert_ok(rlhf_reward_options_init(&options, sizeof options));
    options.schedule = RLHF_SCHEDULE_CONSTANT;
    options.learning_rate = 1e-3;
    options.batch_size = 1;
    assert_ok(rlhf_reward_trainer_create(reward, dataset, &options, &p.reward));
    assert_ok(rlhf_reward_trainer_step(p.reward, &stats));
    assert_all_refused(&p);
    assert_ok(rlhf_reward_trainer_set_learning_rate(p.reward, 2e-3));
    assert_ok(rlhf_reward_trainer_step(p.reward, &stats));
    assert_true(stats.learning_rate == 2e-3);
    rlhf_reward_trainer_free(p.reward);
    rlhf_reward_model_free(reward);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(p.context);
}

static void test_ppo_trainer_setters_wait_their_turn(void **state)
{
    static const int32_t prompts[] = {0, 3, 0, 4};
    static const int64_t cu_seqlens[] = {0, 2, 4};
    rlhf_ppo_options options;
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    rlhf_reward_model *reward;
    rlhf_rollout *drawn;
    probe p;

    (void)state;
    start(&p);
    rlhf_model *policy = tiny_model(p.context, VOCAB, LENGTH, 1);
    assert_ok(rlhf_reward_model_create(policy, NULL, &reward));
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 3;
    options.num_epochs = 1;
    options.kl_coef = 0.05;
    options.num_minibatches = 2;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &p.ppo));
    assert_fails(rlhf_ppo_trainer_step(p.ppo, prompts, cu_seqlens, 1, &stats),
                 RLHF_ERR_INVALID_ARG, "num_minibatches must be at most the 1 sequences");
    assert_field("num_minibatches");
    assert_int_equal(p.calls, 0); /* nothing was generated for it */
    assert_ok(rlhf_ppo_trainer_step(p.ppo, prompts, cu_seqlens, 2, &stats));
    assert_all_refused(&p);
    assert_true(stats.kl_coef == 0.05);
    assert_ok(rlhf_ppo_trainer_set_kl_coef(p.ppo, 0.1));
    assert_ok(rlhf_ppo_trainer_set_learning_rate(p.ppo, 2e-4, 3e-4));
    assert_ok(rlhf_ppo_trainer_rollout(p.ppo, prompts, cu_seqlens, 2, &drawn));
    p.rollout = drawn;
    assert_ok(rlhf_ppo_trainer_step(p.ppo, prompts, cu_seqlens, 2, &stats));
    assert_true(p.current > 0); /* that is read amid a call */
    assert_int_equal(rlhf_ppo_trainer_is_current(p.ppo, drawn), 0);
    rlhf_rollout_free(drawn);
    assert_true(stats.kl_coef == 0.1);
    assert_true(stats.learning_rate == 2e-4);
    assert_true(stats.value_learning_rate == 3e-4);
    rlhf_ppo_trainer_free(p.ppo);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    rlhf_context_free(p.context);
}

/* What a host forgot to set is noticed before the step, not after it. */
static void test_step_refuses_an_unset_struct_size_first(void **state)
{
    rlhf_lm_options options;
    rlhf_lm_stats stats;
    rlhf_example row;
    probe p;

    (void)state;
    start(&p);
    rlhf_model *model = tiny_model(p.context, VOCAB, LENGTH, 1);
    rlhf_dataset *dataset = rows(p.context, RLHF_DATASET_TEXT);
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 1;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &p.lm));
    for (int garbage = 0; garbage < 2; garbage++) {
        memset(&stats, garbage ? 0x5a : 0, sizeof stats);
        memset(&row, garbage ? 0x5a : 0, sizeof row);
        assert_fails(rlhf_lm_trainer_step(p.lm, &stats), RLHF_ERR_INVALID_ARG,
                     "struct_size");
        assert_fails(rlhf_dataset_next(dataset, &row), RLHF_ERR_INVALID_ARG,
                     "struct_size");
    }
    assert_int_equal(rlhf_lm_trainer_num_steps(p.lm), 0);
    row = (rlhf_example){.struct_size = sizeof row};
    assert_ok(rlhf_dataset_row(dataset, 0, &row));
    rlhf_lm_trainer_free(p.lm);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(p.context);
}

static void test_status_name_knows_every_value(void **state)
{
    (void)state;
    assert_string_equal(rlhf_status_name(RLHF_OK), "RLHF_OK");
    assert_string_equal(rlhf_status_name(RLHF_ERR_INTERNAL), "RLHF_ERR_INTERNAL");
    assert_string_equal(rlhf_status_name(RLHF_ERR_INTERNAL - 1), "RLHF_ERR_UNKNOWN");
    assert_string_equal(rlhf_status_name(1), "RLHF_ERR_UNKNOWN");
    assert_string_equal(rlhf_status_name(INT32_MAX), "RLHF_ERR_UNKNOWN");
    assert_string_equal(rlhf_status_name(INT32_MIN), "RLHF_ERR_UNKNOWN");
}

/* Figures of answers and rollouts are there amid a call, its callbacks included. */
static void test_answers_and_rollouts_are_read_from_a_callback(void **state)
{
    const int32_t prompt[] = {0, 3, 4};
    const int64_t cu_seqlens[] = {0, 3};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = prompt,
                                      .action_mask = (const uint8_t[]){0, 0, 1},
                                      .num_tokens = 3,
                                      .score = 1,
                                      .finish = RLHF_FINISH_STOP};
    rlhf_generator_options options;
    rlhf_generator *generator;
    rlhf_rollout *rollout;
    probe p;

    (void)state;
    start(&p);
    rlhf_model *model = tiny_model(p.context, VOCAB, LENGTH, 1);
    assert_ok(rlhf_rollout_create(p.context, &rollout));
    assert_ok(rlhf_rollout_append(rollout, &input));
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 3;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, prompt, cu_seqlens, 1, NULL));
    p.generator = generator;
    p.rollout = rollout;
    assert_ok(rlhf_generator_run(generator));
    assert_true(p.reads > 0 && p.reads % 2 == 0);
    rlhf_generator_free(generator);
    rlhf_rollout_free(rollout);
    rlhf_model_free(model);
    rlhf_context_free(p.context);
}

/* --- what a callback frees goes when the call ends ---------------------------------- */

typedef struct leaver {
    rlhf_context *context;
    rlhf_model *model;
    rlhf_generator *generator;
    rlhf_lm_trainer *trainer;
    rlhf_ppo_trainer *ppo;
    rlhf_reward_model *reward_model;
    rlhf_rollout *rollout;
    rlhf_dataset *dataset;
    int64_t blocks; /* of its allocator */
    int freed;
} leaver;

static void *leaver_alloc(void *user_data, size_t size, size_t alignment, int32_t kind)
{
    (void)kind;
    ((leaver *)user_data)->blocks++;
    return aligned_alloc(alignment, size);
}

static void leaver_free(void *user_data, void *memory, size_t size, size_t alignment,
                        int32_t kind)
{
    (void)size, (void)alignment, (void)kind;
    ((leaver *)user_data)->blocks--;
    free(memory);
}

static void free_all(leaver *l)
{
    if (l->freed++)
        return;
    rlhf_context_free(l->context);
    rlhf_model_free(l->model);
    rlhf_dataset_free(l->dataset);
    rlhf_generator_free(l->generator);
    rlhf_lm_trainer_free(l->trainer);
    rlhf_ppo_trainer_free(l->ppo);
    rlhf_reward_model_free(l->reward_model);
    rlhf_rollout_free(l->rollout);
}

static int32_t leave_on_text(void *user_data, int64_t id, const char *text, size_t size)
{
    (void)id, (void)text, (void)size;
    free_all(user_data);
    return 0;
}

static void leave_on_progress(void *user_data, const char *stage, int64_t done,
                              int64_t total)
{
    leaver *l = user_data;

    (void)stage, (void)done, (void)total;
    if (l->trainer || l->rollout)
        free_all(l);
}

static void make_leaver(leaver *l, rlhf_progress_fn progress)
{
    const rlhf_allocator allocator = {.struct_size = sizeof allocator,
                                      .alloc = leaver_alloc,
                                      .free = leaver_free,
                                      .user_data = l};
    rlhf_context_options options;

    *l = (leaver){0};
    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 2;
    options.allocator = &allocator;
    options.progress = progress;
    options.progress_user_data = l;
    assert_ok(rlhf_context_create(&options, &l->context));
}

static void test_text_callback_frees_everything(void **state)
{
    const int32_t prompt[] = {0, 3, 4};
    const int64_t ends[] = {0, 3};
    const char *text = "one two three";
    const size_t size = 13;
    rlhf_tokenizer_train_options training;
    rlhf_generator_options options;
    rlhf_tokenizer *tokenizer;
    leaver l;

    (void)state;
    make_leaver(&l, NULL);
    assert_ok(rlhf_tokenizer_train_options_init(&training, sizeof training));
    training.vocab_size = 300;
    assert_ok(rlhf_tokenizer_train(l.context, &text, &size, 1, &training, &tokenizer));
    l.model =
        tiny_model(l.context, (int32_t)rlhf_tokenizer_vocab_size(tokenizer), LENGTH, 1);
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.text = leave_on_text;
    options.text_user_data = &l;
    options.tokenizer = tokenizer;
    options.use_stop_tokens = 0;
    options.max_new_tokens = 8;
    assert_ok(rlhf_generator_create(l.model, NULL, &options, &l.generator));
    rlhf_tokenizer_free(tokenizer);
    assert_ok(rlhf_generator_start(l.generator, prompt, ends, 1, NULL));
    assert_ok(rlhf_generator_run(l.generator));
    assert_int_equal(l.freed > 0, 1);
    assert_int_equal(l.blocks, 0);
}

static void test_progress_callback_frees_everything(void **state)
{
    leaver l;

    (void)state;
    make_leaver(&l, leave_on_progress);
    l.model = tiny_model(l.context, VOCAB, LENGTH, 1);
    l.dataset = rows(l.context, RLHF_DATASET_TEXT);
    assert_ok(rlhf_lm_trainer_create(l.model, l.dataset, NULL, &l.trainer));
    assert_ok(rlhf_lm_trainer_step(l.trainer, NULL));
    assert_int_equal(l.freed > 0, 1);
    assert_int_equal(l.blocks, 0);
}

static void test_progress_callback_frees_the_rollout_of_its_step(void **state)
{
    static const int32_t prompts[] = {0, 3, 4, 0, 5, 6};
    static const int64_t ends[] = {0, 3, 6};
    rlhf_ppo_options options;
    leaver l;

    (void)state;
    make_leaver(&l, leave_on_progress);
    l.model = tiny_model(l.context, VOCAB, LENGTH, 1);
    assert_ok(rlhf_reward_model_create(l.model, NULL, &l.reward_model));
    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 4;
    assert_ok(
        rlhf_ppo_trainer_create(l.model, NULL, l.reward_model, NULL, &options, &l.ppo));
    assert_ok(rlhf_ppo_trainer_rollout(l.ppo, prompts, ends, 2, &l.rollout));
    assert_ok(rlhf_ppo_trainer_step(l.ppo, prompts, ends, 2, NULL));
    assert_int_equal(l.freed > 0, 1);
    assert_int_equal(l.blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lm_trainer_rate_waits_its_turn),
        cmocka_unit_test(test_reward_trainer_rate_waits_its_turn),
        cmocka_unit_test(test_ppo_trainer_setters_wait_their_turn),
        cmocka_unit_test(test_step_refuses_an_unset_struct_size_first),
        cmocka_unit_test(test_answers_and_rollouts_are_read_from_a_callback),
        cmocka_unit_test(test_text_callback_frees_everything),
        cmocka_unit_test(test_progress_callback_frees_everything),
        cmocka_unit_test(test_progress_callback_frees_the_rollout_of_its_step),
        cmocka_unit_test(test_status_name_knows_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
