/* A run that was interrupted, saved and resumed equals the one that was not, bit for bit:
 * all three trainers, PPO at every place of an iteration. */
#include "tiny.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

#include "test_files.h"

enum { VOCAB = 12, LENGTH = 24, PROMPTS = 6 };

static char folder[TEST_PATH];

static int setup(void **state)
{
    (void)state;
    test_folder_make(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_folder_remove(folder);
    return 0;
}

/* --- language model ----------------------------------------------------------------- */

static rlhf_dataset *make_rows(rlhf_context *context, int32_t kind)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    options.seed = 3;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int32_t i = 0; i < 23; i++) {
        int32_t a[12], b[12];
        for (int32_t t = 0; t < 12; t++) {
            a[t] = (i * 7 + t * t) % VOCAB;
            b[t] = (i * 5 + t * 3 + 1) % VOCAB;
        }
        memcpy(b, a, 3 * sizeof *b);
        rlhf_example row = {
            .struct_size = sizeof row, .tokens = a, .num_tokens = 5 + i % 8};
        if (kind == RLHF_DATASET_PREFERENCE) {
            row.prompt_length = 3;
            row.rejected = b;
            row.num_rejected = 6 + i % 5;
        }
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

static rlhf_lm_options lm_options(void)
{
    rlhf_lm_options o;

    assert_ok(rlhf_lm_options_init(&o, sizeof o));
    o.batch_size = 5;
    o.micro_batch_tokens = 20;
    o.total_steps = 12;
    o.warmup_steps = 3;
    o.learning_rate = 1e-2;
    return o;
}

static void lm_steps(rlhf_lm_trainer *trainer, int count)
{
    for (int i = 0; i < count; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, NULL));
}

static void test_lm_run_resumes_to_the_bit(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    const rlhf_lm_options options = lm_options();
    rlhf_model *a = tiny_model(context, VOCAB, LENGTH, 1);
    rlhf_model *b = tiny_model(context, VOCAB, LENGTH, 99);
    rlhf_dataset *rows_a = make_rows(context, RLHF_DATASET_TEXT);
    rlhf_dataset *rows_b = make_rows(context, RLHF_DATASET_TEXT);
    rlhf_lm_trainer *trainer, *resumed;
    int64_t remaining;

    (void)state;
    assert_ok(rlhf_lm_trainer_create(a, rows_a, &options, &trainer));
    lm_steps(trainer, 5);
    /* In the middle of a step: the resumed run begins it again. */
    assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
    assert_true(remaining > 0);
    assert_ok(rlhf_lm_trainer_save(trainer, test_join(folder, "state")));
    while (remaining > 0)
        assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
    assert_ok(rlhf_lm_trainer_apply(trainer, NULL));
    lm_steps(trainer, 6);
    assert_ok(rlhf_lm_trainer_create(b, rows_b, &options, &resumed));
    assert_ok(rlhf_lm_trainer_resume(resumed, test_join(folder, "state")));
    assert_int_equal(rlhf_lm_trainer_num_steps(resumed), 5);
    lm_steps(resumed, 7);
    assert_same_model(a, b);
    assert_fails(rlhf_lm_trainer_resume(resumed, test_join(folder, "none")),
                 RLHF_ERR_NOT_FOUND, "none");
    rlhf_lm_trainer_free(trainer);
    rlhf_lm_trainer_free(resumed);
    rlhf_dataset_free(rows_a);
    rlhf_dataset_free(rows_b);
    rlhf_model_free(a);
    rlhf_model_free(b);
    rlhf_context_free(context);
}

/* --- reward model ------------------------------------------------------------------- */

static rlhf_reward_model *tiny_reward(rlhf_context *context, uint64_t seed)
{
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, seed);
    rlhf_reward_model_options options;
    rlhf_reward_model *reward;

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.seed = seed;
    assert_ok(rlhf_reward_model_create(model, &options, &reward));
    rlhf_model_free(model);
    return reward;
}

static void test_reward_run_resumes_to_the_bit(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_options options;
    rlhf_reward_model *a = tiny_reward(context, 1), *b = tiny_reward(context, 2);
    rlhf_dataset *rows_a = make_rows(context, RLHF_DATASET_PREFERENCE);
    rlhf_dataset *rows_b = make_rows(context, RLHF_DATASET_PREFERENCE);
    rlhf_reward_trainer *trainer, *resumed;

    (void)state;
    assert_ok(rlhf_reward_options_init(&options, sizeof options));
    options.batch_size = 4;
    options.learning_rate = 1e-2;
    options.micro_batch_tokens = 30;
    assert_ok(rlhf_reward_trainer_create(a, rows_a, &options, &trainer));
    for (int i = 0; i < 4; i++)
        assert_ok(rlhf_reward_trainer_step(trainer, NULL));
    assert_ok(rlhf_reward_trainer_save(trainer, test_join(folder, "state")));
    for (int i = 0; i < 5; i++)
        assert_ok(rlhf_reward_trainer_step(trainer, NULL));
    assert_ok(rlhf_reward_trainer_create(b, rows_b, &options, &resumed));
    assert_ok(rlhf_reward_trainer_resume(resumed, test_join(folder, "state")));
    for (int i = 0; i < 5; i++)
        assert_ok(rlhf_reward_trainer_step(resumed, NULL));
    assert_same_reward(a, b);
    rlhf_reward_trainer_free(trainer);
    rlhf_reward_trainer_free(resumed);
    rlhf_dataset_free(rows_a);
    rlhf_dataset_free(rows_b);
    rlhf_reward_model_free(a);
    rlhf_reward_model_free(b);
    rlhf_context_free(context);
}

/* --- PPO ---------------------------------------------------------------------------- */

/* Cancels a context after a while, from a thread of its own. */
typedef struct canceller {
    rlhf_context *context;
    long delay_us;
} canceller;

static void *cancel_later(void *arg)
{
    const canceller *c = arg;

    usleep((useconds_t)c->delay_us);
    rlhf_context_cancel(c->context);
    return NULL;
}

typedef struct ppo_run {
    rlhf_model *policy;
    rlhf_reward_model *reward;
    rlhf_ppo_trainer *trainer;
} ppo_run;

static rlhf_ppo_options ppo_options(void)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    o.max_new_tokens = 6;
    o.num_epochs = 2;
    o.num_minibatches = 2;
    o.rollout_batch = 4;
    o.micro_batch_tokens = 24;
    o.learning_rate = o.value_learning_rate = 5e-3;
    o.kl_target = 3;
    o.kl_horizon = 100;
    o.score_normalize = RLHF_SCORE_RUNNING;
    o.seed = 8;
    return o;
}

static ppo_run make_run_by(rlhf_context *context, uint64_t seed,
                           const rlhf_ppo_options *options)
{
    ppo_run r = {tiny_model(context, VOCAB, LENGTH, seed), tiny_reward(context, 7), NULL};

    assert_ok(
        rlhf_ppo_trainer_create(r.policy, NULL, r.reward, NULL, options, &r.trainer));
    return r;
}

static ppo_run make_run(rlhf_context *context, uint64_t seed)
{
    const rlhf_ppo_options options = ppo_options();

    return make_run_by(context, seed, &options);
}

static void free_run(ppo_run *r)
{
    rlhf_ppo_trainer_free(r->trainer);
    rlhf_reward_model_free(r->reward);
    rlhf_model_free(r->policy);
}

static const int32_t prompts[PROMPTS * 3] = {0, 2, 3, 0, 4,  5,  0, 6, 7,
                                             0, 8, 9, 0, 10, 11, 0, 3, 2};
static const int64_t prompt_ends[PROMPTS + 1] = {0, 3, 6, 9, 12, 15, 18};

static rlhf_status step(ppo_run *r, rlhf_ppo_stats *stats)
{
    return rlhf_ppo_trainer_step(r->trainer, prompts, prompt_ends, PROMPTS, stats);
}

static void must_step(ppo_run *r)
{
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};

    rlhf_status status;

    do /* a request may come after the call that it was meant for */
        status = step(r, &stats);
    while (status == RLHF_ERR_CANCELLED);
    assert_ok(status);
    assert_int_equal(stats.num_steps, 2 * 2);
    if (stats.first_ratio_deviation != 0)
        fail_msg("the first ratio is off by %g", stats.first_ratio_deviation);
}

static void assert_same_run(ppo_run *a, ppo_run *b)
{
    rlhf_reward_model *x, *y;

    assert_same_model(a->policy, b->policy);
    assert_ok(rlhf_ppo_trainer_clone_critic(a->trainer, &x));
    assert_ok(rlhf_ppo_trainer_clone_critic(b->trainer, &y));
    assert_same_reward(x, y);
    rlhf_reward_model_free(x);
    rlhf_reward_model_free(y);
}

static void test_ppo_run_resumes_to_the_bit_between_iterations(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    ppo_run a = make_run(context, 1), b;

    (void)state;
    for (int i = 0; i < 2; i++)
        must_step(&a);
    assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
    for (int i = 0; i < 2; i++)
        must_step(&a);
    b = make_run(context, 50);
    assert_ok(rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), NULL));
    assert_int_equal(rlhf_ppo_trainer_num_iterations(b.trainer), 2);
    for (int i = 0; i < 2; i++)
        must_step(&b);
    assert_same_run(&a, &b);
    free_run(&a);
    free_run(&b);
    rlhf_context_free(context);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Cancelled all over an iteration; saved, resumed in another trainer, and gone on with
 * there and here: three runs, one result. Where an iteration is over before another
 * thread wakes, it takes more tries. */
static void test_ppo_run_resumes_to_the_bit_from_any_place(void **state)
{
    enum { TRIES = 40, ENOUGH = 5, MOST_TRIES = 40 * TRIES };
    rlhf_context *context = support_context(NULL, 2);
    ppo_run whole = make_run(context, 1);
    int cancelled = 0;

    (void)state;
    must_step(&whole);
    double start = seconds();
    must_step(&whole);
    double length = seconds() - start; /* too long, should the machine have been busy */
    for (int i = 0; i < TRIES || (cancelled < ENOUGH && i < MOST_TRIES); i++) {
        canceller c = {context, (long)(1e6 * length * (i % TRIES) / TRIES)};
        ppo_run a = make_run(context, 1), b = make_run(context, 50);
        pthread_t thread;
        must_step(&a);
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &c), 0);
        start = seconds();
        const rlhf_status status = step(&a, NULL);
        const double took = seconds() - start;
        pthread_join(thread, NULL);
        if (status == RLHF_ERR_CANCELLED) {
            cancelled++;
            assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
            assert_ok(
                rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), NULL));
            must_step(&b);
            must_step(&a);
            assert_same_run(&whole, &b);
        } else {
            assert_ok(status);
            length = took < length ? took : length;
        }
        assert_same_run(&whole, &a);
        free_run(&a);
        free_run(&b);
    }
    assert_true(cancelled >= ENOUGH);
    free_run(&whole);
    rlhf_context_free(context);
}

/* Parts, with gradients looked at and the state saved between micro-batches, equal the
 * whole step; so does what goes on from the state that was saved last, in the middle of a
 * minibatch. */
static void test_ppo_parts_equal_the_whole_step(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    ppo_run a = make_run(context, 1), b = make_run(context, 1), c = make_run(context, 5);
    rlhf_rollout *rollout;
    int64_t remaining;
    int32_t done = 0, most = 0;
    float gradient[16];

    (void)state;
    must_step(&a);
    assert_ok(
        rlhf_ppo_trainer_rollout(b.trainer, prompts, prompt_ends, PROMPTS, &rollout));
    assert_fails(rlhf_ppo_trainer_advantages(b.trainer, rollout), RLHF_ERR_STATE,
                 "score");
    assert_ok(rlhf_ppo_trainer_score(b.trainer, rollout));
    assert_fails(rlhf_ppo_trainer_accumulate(b.trainer, rollout, &remaining),
                 RLHF_ERR_STATE, "advantages");
    assert_ok(rlhf_ppo_trainer_advantages(b.trainer, rollout));
    assert_fails(rlhf_ppo_trainer_apply(b.trainer, &done, NULL), RLHF_ERR_STATE,
                 "gradients");
    while (!done) {
        int32_t micro = 0;
        do {
            assert_ok(rlhf_ppo_trainer_accumulate(b.trainer, rollout, &remaining));
            assert_ok(rlhf_ppo_trainer_gradient(b.trainer, 0, "model.norm.weight",
                                                gradient, 16));
            assert_ok(rlhf_ppo_trainer_gradient(b.trainer, 1, "model.norm.weight",
                                                gradient, 16));
            assert_ok(rlhf_ppo_trainer_save(b.trainer, test_join(folder, "state")));
            if (remaining > 0)
                assert_fails(rlhf_ppo_trainer_apply(b.trainer, &done, NULL),
                             RLHF_ERR_STATE, "not of all");
            micro++;
        } while (remaining > 0);
        most = micro > most ? micro : most;
        assert_fails(rlhf_ppo_trainer_accumulate(b.trainer, rollout, &remaining),
                     RLHF_ERR_STATE, "apply");
        assert_ok(rlhf_ppo_trainer_apply(b.trainer, &done, NULL));
    }
    assert_true(most > 1);
    rlhf_rollout_free(rollout);
    assert_same_run(&a, &b);
    assert_ok(rlhf_ppo_trainer_resume(c.trainer, test_join(folder, "state"), NULL));
    must_step(&c);
    assert_same_run(&a, &c);
    free_run(&a);
    free_run(&b);
    free_run(&c);
    rlhf_context_free(context);
}

/* Saved between any two parts: what the host has drawn and scored is in the state. */
static void test_ppo_rollout_in_the_hosts_hands_is_saved(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    ppo_run a = make_run(context, 1);
    const float scores[PROMPTS] = {1, -1, 2, 0, 0.5f, -2};
    rlhf_rollout *rollout, *drawn;

    (void)state;
    must_step(&a);
    assert_ok(
        rlhf_ppo_trainer_rollout(a.trainer, prompts, prompt_ends, PROMPTS, &rollout));
    for (int stage = 0; stage < 3; stage++) {
        char name[16];
        snprintf(name, sizeof name, "stage%d", stage);
        if (stage == 1)
            assert_ok(rlhf_rollout_set_scores(rollout, scores, PROMPTS));
        if (stage == 2)
            assert_ok(rlhf_ppo_trainer_advantages(a.trainer, rollout));
        else /* refused, it is still in hand */
            assert_fails(rlhf_ppo_trainer_update(a.trainer, rollout, NULL),
                         RLHF_ERR_STATE, "advantages");
        assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, name)));
    }
    assert_ok(rlhf_ppo_trainer_update(a.trainer, rollout, NULL));
    must_step(&a);
    for (int stage = 0; stage < 3; stage++) {
        ppo_run b = make_run(context, 50);
        char name[16];
        snprintf(name, sizeof name, "stage%d", stage);
        assert_ok(rlhf_ppo_trainer_resume(b.trainer, test_join(folder, name), &drawn));
        assert_non_null(drawn);
        if (stage < 1)
            assert_ok(rlhf_rollout_set_scores(drawn, scores, PROMPTS));
        if (stage < 2)
            assert_ok(rlhf_ppo_trainer_advantages(b.trainer, drawn));
        assert_ok(rlhf_ppo_trainer_update(b.trainer, drawn, NULL));
        rlhf_rollout_free(drawn);
        must_step(&b);
        assert_same_run(&a, &b);
        free_run(&b);
    }
    rlhf_rollout_free(rollout);
    free_run(&a);
    rlhf_context_free(context);
}

static void assert_same_stats(rlhf_ppo_stats a, rlhf_ppo_stats b)
{
    a.tokens_per_second = b.tokens_per_second = 0;
    assert_memory_equal(&a, &b, sizeof a);
}

/* One minibatch of an update, of which there are more. */
static void begin_update(ppo_run *r, rlhf_rollout *rollout)
{
    int64_t remaining = 1;
    int32_t done = 1;

    while (remaining > 0)
        assert_ok(rlhf_ppo_trainer_accumulate(r->trainer, rollout, &remaining));
    assert_ok(rlhf_ppo_trainer_apply(r->trainer, &done, NULL));
    assert_false(done);
}

/* A rollout in hand is gone on with by the weights that drew it alone: once the host has
 * written others, a step draws afresh. */
static void test_ppo_step_takes_no_rollout_of_other_weights(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    ppo_run a = make_run(context, 1);
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    rlhf_parameter_info info = {.struct_size = sizeof info};
    rlhf_rollout *rollout;

    (void)state;
    for (int writes = 0; writes < 2; writes++) {
        rlhf_rollout_sequence s = {.struct_size = sizeof s};
        assert_ok(
            rlhf_ppo_trainer_rollout(a.trainer, prompts, prompt_ends, PROMPTS, &rollout));
        if (writes) {
            float values[16 * 16];
            assert_ok(rlhf_model_parameter_info(a.policy, 1, &info));
            assert_ok(rlhf_model_parameter_read(a.policy, info.name, values,
                                                info.rows * info.cols));
            values[0] += .5f;
            assert_ok(rlhf_model_parameter_write(a.policy, info.name, values,
                                                 info.rows * info.cols));
        }
        assert_int_equal(rlhf_ppo_trainer_is_current(a.trainer, rollout), !writes);
        assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
        assert_ok(step(&a, &stats));
        assert_ok(rlhf_rollout_get(rollout, 0, &s));
        assert_int_equal(s.advantages != NULL, !writes);
        assert_true(stats.first_ratio_deviation == 0);
        rlhf_rollout_free(rollout);
        ppo_run b = make_run(context, 5);
        assert_ok(
            rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), &rollout));
        assert_int_equal(rlhf_ppo_trainer_is_current(b.trainer, rollout), !writes);
        rlhf_rollout_free(rollout);
        must_step(&b);
        assert_same_run(&a, &b);
        free_run(&b);
    }
    free_run(&a);
    rlhf_context_free(context);
}

/* Nor one that another trainer is in the middle of an update on. */
static void test_ppo_step_takes_no_rollout_in_anothers_update(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    ppo_run a = make_run(context, 1), b = make_run(context, 5);
    const float scores[PROMPTS] = {1, -1, 2, 0, 0.5f, -2};
    rlhf_rollout *rollout;

    (void)state;
    assert_ok(
        rlhf_ppo_trainer_rollout(a.trainer, prompts, prompt_ends, PROMPTS, &rollout));
    assert_int_equal(rlhf_ppo_trainer_is_current(a.trainer, rollout), 1);
    assert_ok(rlhf_rollout_set_scores(rollout, scores, PROMPTS));
    assert_ok(rlhf_ppo_trainer_advantages(b.trainer, rollout));
    begin_update(&b, rollout);
    assert_int_equal(rlhf_ppo_trainer_is_current(a.trainer, rollout), 0);
    assert_int_equal(rlhf_ppo_trainer_is_current(b.trainer, rollout), 1);
    must_step(&a);
    rlhf_rollout_free(rollout);
    free_run(&a);
    free_run(&b);
    rlhf_context_free(context);
}

/* The options of an update under way are the host's to give again: those that its place
 * does not fit in are named. */
static void test_ppo_resume_names_the_option_that_does_not_fit(void **state)
{
    static const struct {
        int32_t num_epochs, num_minibatches;
        const char *field, *words;
    } rows[] = {
        {1, 2, "num_epochs", "num_epochs is 1, the saved update is in epoch 1"},
        {2, 1, "num_minibatches",
         "num_minibatches is 1, the saved update is in minibatch 1"},
        {2, PROMPTS + 1, "num_minibatches",
         "num_minibatches is 7, the saved update is of 6 sequences"},
    };
    rlhf_context *context = support_context(NULL, 2);
    ppo_run a = make_run(context, 1);
    rlhf_rollout *rollout;

    (void)state;
    assert_ok(
        rlhf_ppo_trainer_rollout(a.trainer, prompts, prompt_ends, PROMPTS, &rollout));
    assert_ok(rlhf_ppo_trainer_score(a.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_advantages(a.trainer, rollout));
    for (int i = 0; i < 3; i++)
        begin_update(&a, rollout);
    assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rlhf_ppo_options o = ppo_options();
        o.num_epochs = rows[i].num_epochs;
        o.num_minibatches = rows[i].num_minibatches;
        ppo_run b = make_run_by(context, 50, &o);
        assert_fails(rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), NULL),
                     RLHF_ERR_INVALID_ARG, rows[i].words);
        assert_field(rows[i].field);
        free_run(&b);
    }
    rlhf_rollout_free(rollout);
    free_run(&a);
    rlhf_context_free(context);
}

/* In the middle of an update of the critic alone, with slots after the last actions and
 * what the host has set by hand: figures and weights go on as if nothing had been. */
static void test_ppo_resumes_what_an_update_under_way_hangs_on(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    rlhf_ppo_options o = ppo_options();
    rlhf_ppo_stats x = {.struct_size = sizeof x}, y = x;
    rlhf_rollout *rollout, *drawn;
    int num_after = 0;

    (void)state;
    o.score_slot = RLHF_SCORE_AFTER_LAST;
    o.critic_warmup = 2;
    o.value_clip_range = .01;
    ppo_run a = make_run_by(context, 1, &o), b = make_run_by(context, 50, &o);
    assert_ok(step(&a, NULL));
    assert_ok(
        rlhf_ppo_trainer_rollout(a.trainer, prompts, prompt_ends, PROMPTS, &rollout));
    assert_ok(rlhf_ppo_trainer_score(a.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_advantages(a.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_set_kl_coef(a.trainer, .3));
    assert_ok(rlhf_ppo_trainer_set_learning_rate(a.trainer, 3e-3, 7e-3));
    for (int64_t i = 0; i < PROMPTS; i++) {
        rlhf_rollout_sequence s = {.struct_size = sizeof s};
        assert_ok(rlhf_rollout_get(rollout, i, &s));
        num_after += s.num_actions < o.max_new_tokens;
    }
    assert_in_range(num_after, 1, PROMPTS - 1);
    begin_update(&a, rollout);
    assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
    assert_ok(rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), &drawn));
    assert_ok(rlhf_ppo_trainer_update(a.trainer, rollout, &x));
    assert_ok(rlhf_ppo_trainer_update(b.trainer, drawn, &y));
    assert_same_stats(x, y);
    assert_int_equal(y.policy_skipped, 1);
    assert_int_equal(y.num_episodes, 2 * PROMPTS);
    assert_true(y.value_learning_rate == 7e-3);
    assert_true(y.kl_coef != .3 && y.entropy > 1);
    assert_same_run(&a, &b);
    assert_ok(step(&a, &x)); /* of both networks */
    assert_ok(step(&b, &y));
    assert_same_stats(x, y);
    assert_true(y.learning_rate == 3e-3);
    assert_same_run(&a, &b);
    rlhf_rollout_free(rollout);
    rlhf_rollout_free(drawn);
    free_run(&a);
    free_run(&b);
    rlhf_context_free(context);
}

/* What the trainer computed for a host's samples it computes again for their next update,
 * by the weights of then; what the host gave stays. */
static void test_ppo_resumes_whose_logprobs_a_rollout_has(void **state)
{
    static const uint8_t mask[5] = {0, 0, 1, 1, 1};
    static const float given[5] = {0, 0, -2, -3, -2.5f};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_ppo_stats x = {.struct_size = sizeof x}, y = x;
    ppo_run a = make_run(context, 1), b = make_run(context, 50);
    rlhf_rollout *rollout, *drawn;

    (void)state;
    assert_ok(rlhf_rollout_create(context, &rollout));
    for (int32_t i = 0; i < 4; i++) {
        const int32_t tokens[5] = {0, 2 + i, 5, 7 - i, 3};
        const rlhf_rollout_input input = {.struct_size = sizeof input,
                                          .tokens = tokens,
                                          .action_mask = mask,
                                          .logprobs = i == 3 ? given : NULL,
                                          .num_tokens = 5,
                                          .score = i % 2 ? 1 : -1,
                                          .finish = RLHF_FINISH_LENGTH};
        assert_ok(rlhf_rollout_append(rollout, &input));
    }
    assert_ok(rlhf_ppo_trainer_advantages(a.trainer, rollout));
    begin_update(&a, rollout);
    assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
    assert_ok(rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), &drawn));
    for (int i = 0; i < 2; i++) {
        if (i > 0) {
            assert_ok(rlhf_ppo_trainer_advantages(a.trainer, rollout));
            assert_ok(rlhf_ppo_trainer_advantages(b.trainer, drawn));
        }
        assert_ok(rlhf_ppo_trainer_update(a.trainer, rollout, &x));
        assert_ok(rlhf_ppo_trainer_update(b.trainer, drawn, &y));
        assert_same_stats(x, y);
        assert_same_run(&a, &b);
    }
    rlhf_rollout_free(rollout);
    rlhf_rollout_free(drawn);
    free_run(&a);
    free_run(&b);
    rlhf_context_free(context);
}

/* Drawn past the stop token and saved before it was scored: the text that the score reads
 * is cut as before. */
static void test_ppo_resumes_where_a_rollouts_scores_end(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_ppo_options o = ppo_options();
    rlhf_rollout *rollout, *drawn;
    int num_cut = 0;

    (void)state;
    o.train_past_stop = 1;
    ppo_run a = make_run_by(context, 1, &o), b = make_run_by(context, 50, &o);
    assert_ok(
        rlhf_ppo_trainer_rollout(a.trainer, prompts, prompt_ends, PROMPTS, &rollout));
    assert_ok(rlhf_ppo_trainer_save(a.trainer, test_join(folder, "state")));
    assert_ok(rlhf_ppo_trainer_resume(b.trainer, test_join(folder, "state"), &drawn));
    assert_ok(rlhf_ppo_trainer_score(a.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_score(b.trainer, drawn));
    for (int64_t i = 0; i < PROMPTS; i++) {
        rlhf_rollout_sequence x = {.struct_size = sizeof x}, y = x;
        assert_ok(rlhf_rollout_get(rollout, i, &x));
        assert_ok(rlhf_rollout_get(drawn, i, &y));
        num_cut += x.finish == RLHF_FINISH_STOP && x.tokens[x.num_tokens - 1] != 1;
        assert_true(x.score == y.score);
    }
    assert_true(num_cut > 0);
    rlhf_rollout_free(rollout);
    rlhf_rollout_free(drawn);
    free_run(&a);
    free_run(&b);
    rlhf_context_free(context);
}

/* The ratio is exactly 1 also after the host has written to the policy between
 * iterations. */
static void test_ppo_first_ratio_is_one_after_the_host_writes(void **state)
{
    rlhf_context *context = support_context(NULL, 2);
    ppo_run r = make_run(context, 1);
    float norm[16];

    (void)state;
    must_step(&r);
    assert_ok(rlhf_model_parameter_read(r.policy, "model.norm.weight", norm, 16));
    for (int i = 0; i < 16; i++)
        norm[i] *= 1.5f;
    assert_ok(rlhf_model_parameter_write(r.policy, "model.norm.weight", norm, 16));
    must_step(&r);
    free_run(&r);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lm_run_resumes_to_the_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reward_run_resumes_to_the_bit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_ppo_run_resumes_to_the_bit_between_iterations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ppo_run_resumes_to_the_bit_from_any_place,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ppo_rollout_in_the_hosts_hands_is_saved,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ppo_parts_equal_the_whole_step, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_ppo_resumes_what_an_update_under_way_hangs_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ppo_step_takes_no_rollout_of_other_weights,
                                        setup, teardown),
        cmocka_unit_test(test_ppo_step_takes_no_rollout_in_anothers_update),
        cmocka_unit_test_setup_teardown(
            test_ppo_resume_names_the_option_that_does_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ppo_resumes_whose_logprobs_a_rollout_has,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ppo_resumes_where_a_rollouts_scores_end,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_ppo_first_ratio_is_one_after_the_host_writes,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
