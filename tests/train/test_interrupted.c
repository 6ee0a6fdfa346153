/* A step that is cancelled, or fails, at any place leaves the last optimizer boundary:
 * the same call again goes on, and the run ends with the bits of one that was never
 * disturbed. For all three trainers; places are allocations, looks for a cancel, rows of
 * a source, draws of a sampler, and gradients that are not finite. */
#include <stdbool.h>

#include "train_support.h"

#include "base/context.h"

enum { PROMPTS = 4, STEPS = 2, ROWS = 23 };

static const int32_t prompts[PROMPTS * 2] = {0, 2, 0, 4, 0, 6, 0, 8};
static const int64_t prompt_ends[PROMPTS + 1] = {0, 2, 4, 6, 8};

/* --- a source and a sampler that fail when told --------------------------------- */

typedef struct culprit {
    int64_t row;              /* of the source */
    int64_t calls, fail_call; /* fail_call -1: never */
    int32_t tokens[2][12];
    int32_t kind;
} culprit;

static rlhf_status fails_now(culprit *c)
{
    return c->calls++ == c->fail_call ? RLHF_ERR_IO : RLHF_OK;
}

static rlhf_status next_row(void *user_data, rlhf_example *out)
{
    culprit *c = user_data;
    const int32_t i = (int32_t)(c->row % ROWS);

    if (fails_now(c) != RLHF_OK)
        return RLHF_ERR_IO;
    c->row++;
    for (int32_t t = 0; t < 12; t++) {
        c->tokens[0][t] = (i * 7 + t * t) % WORDS;
        c->tokens[1][t] = t < 3 ? c->tokens[0][t] : (i * 5 + t * 3 + 1) % WORDS;
    }
    out->tokens = c->tokens[0];
    out->num_tokens = 5 + i % 8;
    if (c->kind == RLHF_DATASET_PREFERENCE) {
        out->prompt_length = 3;
        out->rejected = c->tokens[1];
        out->num_rejected = 6 + i % 5;
    }
    return RLHF_OK;
}

static rlhf_status draw(void *user_data, void *state, const rlhf_sample_info *info,
                        const float *logits, int64_t vocab_size, int32_t *out_token)
{
    double total = 0, sum = 0;

    (void)state;
    if (fails_now(user_data) != RLHF_OK)
        return RLHF_ERR_IO;
    for (int64_t v = 0; v < vocab_size; v++)
        total += exp((double)logits[v]);
    for (*out_token = 0; *out_token < vocab_size - 1; ++*out_token)
        if ((sum += exp((double)logits[*out_token]) / total) > info->uniforms[0])
            break;
    return RLHF_OK;
}

/* --- runs of each trainer ------------------------------------------------------- */

enum { LM, REWARD, PPO, TRAINERS };

typedef struct run {
    int which;
    rlhf_context *context;
    culprit culprit;
    rlhf_dataset *dataset;
    rlhf_model *policy;
    rlhf_reward_model *reward, *critic; /* of PPO: scores, values; of the reward trainer:
                                           reward */
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *rm;
    rlhf_ppo_trainer *ppo;
} run;

static void make_lm(run *r)
{
    rlhf_lm_options o;

    assert_ok(rlhf_lm_options_init(&o, sizeof o));
    o.batch_size = 5;
    o.micro_batch_tokens = 20;
    o.learning_rate = 1e-2;
    o.warmup_steps = 0;
    assert_ok(rlhf_lm_trainer_create(r->policy, r->dataset, &o, &r->lm));
}

static void make_reward(run *r)
{
    rlhf_reward_options o;

    assert_ok(rlhf_reward_options_init(&o, sizeof o));
    o.batch_size = 4;
    o.micro_batch_tokens = 30;
    o.learning_rate = 1e-2;
    r->reward = tiny_reward_model(r->context, 7, RLHF_APPEND_EOS_IF_MISSING);
    assert_ok(rlhf_reward_trainer_create(r->reward, r->dataset, &o, &r->rm));
}

static void make_ppo(run *r)
{
    const rlhf_sampler_ops ops = {
        .struct_size = sizeof ops, .sample = draw, .softmax_temperature = 1};
    rlhf_ppo_options o = plain_options();
    rlhf_sampler *sampler;

    o.max_new_tokens = 5;
    o.num_epochs = o.num_minibatches = 2;
    o.rollout_batch = 3;
    o.micro_batch_tokens = 8;
    o.kl_coef = .1;
    o.learning_rate = o.value_learning_rate = 5e-3;
    o.score_normalize = RLHF_SCORE_RUNNING;
    r->reward = tiny_reward_model(r->context, 7, RLHF_APPEND_EOS_IF_MISSING);
    r->critic = tiny_reward_model(r->context, 8, RLHF_APPEND_EOS_NEVER);
    assert_ok(
        rlhf_ppo_trainer_create(r->policy, NULL, r->reward, r->critic, &o, &r->ppo));
    assert_ok(rlhf_sampler_create_custom(&ops, &r->culprit, &sampler));
    assert_ok(rlhf_ppo_trainer_set_sampler(r->ppo, sampler));
    rlhf_sampler_free(sampler);
}

/* Into `r`, which must stay where it is: the callbacks point to it. */
static void make_run(run *r, int which, rlhf_context *context)
{
    const rlhf_source_ops ops = {.struct_size = sizeof ops, .next = next_row};

    *r = (run){.which = which, .context = context};
    r->culprit.fail_call = -1;
    r->culprit.kind = which == LM ? RLHF_DATASET_TEXT : RLHF_DATASET_PREFERENCE;
    r->policy = tiny_model(context, WORDS, CONTEXT, 1);
    assert_ok(rlhf_dataset_create_from_source(context, r->culprit.kind, &ops, &r->culprit,
                                              &r->dataset));
    if (which == LM)
        make_lm(r);
    else if (which == REWARD)
        make_reward(r);
    else
        make_ppo(r);
}

static void free_run(run *r)
{
    rlhf_lm_trainer_free(r->lm);
    rlhf_reward_trainer_free(r->rm);
    rlhf_ppo_trainer_free(r->ppo);
    rlhf_reward_model_free(r->critic);
    rlhf_reward_model_free(r->reward);
    rlhf_model_free(r->policy);
    rlhf_dataset_free(r->dataset);
    rlhf_context_free(r->context);
}

static rlhf_status step(run *r)
{
    if (r->which == LM)
        return rlhf_lm_trainer_step(r->lm, NULL);
    if (r->which == REWARD)
        return rlhf_reward_trainer_step(r->rm, NULL);
    return rlhf_ppo_trainer_step(r->ppo, prompts, prompt_ends, PROMPTS, NULL);
}

/* What the run trains, to the bit. */
static void assert_same_run(run *a, run *b)
{
    assert_same_model(a->policy, b->policy);
    if (a->reward)
        assert_same_reward(a->reward, b->reward);
    if (a->critic)
        assert_same_reward(a->critic, b->critic);
}

static void make_undisturbed(run *r, int which)
{
    make_run(r, which, support_context(NULL, 1));
    for (int i = 0; i < STEPS; i++)
        assert_ok(step(r));
}

/* --- memory and cancelling ------------------------------------------------------ */

/* Refuses an allocation, or cancels where the library looks whether someone did. */
typedef struct disturber {
    int64_t calls, at; /* -1: never */
    bool cancels;
    rlhf_context *context;
} disturber;

static bool disturbs_now(disturber *d, bool cancels)
{
    return d->at >= 0 && d->cancels == cancels && d->calls++ == d->at;
}

static void *disturbed_alloc(void *user_data, size_t size, size_t alignment, int32_t kind)
{
    (void)kind;
    return disturbs_now(user_data, false) ? NULL : aligned_alloc(alignment, size);
}

static void disturbed_free(void *user_data, void *ptr, size_t size, size_t alignment,
                           int32_t kind)
{
    (void)user_data;
    (void)size;
    (void)alignment;
    (void)kind;
    free(ptr);
}

/* Progress is due again at once: every look at the request for a cancel comes here. */
static void disturbed_progress(void *user_data, const char *stage, int64_t done,
                               int64_t total)
{
    disturber *d = user_data;

    (void)stage;
    (void)done;
    (void)total;
    d->context->last_progress_ns = 0;
    if (disturbs_now(d, true))
        rlhf_context_cancel(d->context);
}

static rlhf_context *disturbed_context(disturber *d)
{
    const rlhf_allocator hooks = {sizeof hooks, disturbed_alloc, disturbed_free, d};
    rlhf_context_options options;

    support_options(&options, 1);
    options.allocator = &hooks;
    options.progress = disturbed_progress;
    options.progress_user_data = d;
    assert_ok(rlhf_context_create(&options, &d->context));
    return d->context;
}

/* Disturbs the first step at place `at`; true if it was stopped there. */
static bool disturbed_run(run *undisturbed, int64_t at, bool cancels)
{
    const rlhf_status expected = cancels ? RLHF_ERR_CANCELLED : RLHF_ERR_NO_MEMORY;
    disturber d = {.at = -1, .cancels = cancels};
    rlhf_status status;
    run r;

    make_run(&r, undisturbed->which, disturbed_context(&d));
    d.at = at;
    status = step(&r);
    const bool stopped = status != RLHF_OK;
    if (stopped && status != expected)
        fail_msg("place %d: %s: %s", (int)at, rlhf_status_name(status),
                 rlhf_last_error_message());
    for (int left = STEPS - !stopped; left > 0; left -= status == RLHF_OK) {
        status = step(&r); /* a request that came too late stops this one */
        if (status != RLHF_ERR_CANCELLED)
            assert_ok(status);
    }
    assert_same_run(&r, undisturbed);
    free_run(&r);
    return stopped;
}

/* At every allocation of the step, or at about 80 of its looks for a cancel. */
static void check_places(int which, bool cancels)
{
    int64_t tried = 0, stopped = 0, count, stride;
    disturber d = {.at = -1, .cancels = cancels};
    run undisturbed, r;

    make_undisturbed(&undisturbed, which);
    make_run(&r, which, disturbed_context(&d));
    d.at = INT64_MAX;
    assert_ok(step(&r));
    count = d.calls;
    free_run(&r);
    stride = cancels ? 1 + count / 80 : 1;
    for (int64_t at = 0; at < count; at += stride, tried++)
        stopped += disturbed_run(&undisturbed, at, cancels);
    assert_true(tried >= 8);
    assert_true(stopped >= tried - cancels); /* the step's last look may come too late */
    free_run(&undisturbed);
}

static void test_step_that_finds_no_memory_is_done_again_to_the_bit(void **state)
{
    (void)state;
    for (int which = 0; which < TRAINERS; which++)
        check_places(which, false);
}

static void test_step_that_is_cancelled_is_done_again_to_the_bit(void **state)
{
    (void)state;
    for (int which = 0; which < TRAINERS; which++)
        check_places(which, true);
}

/* --- callbacks ------------------------------------------------------------------ */

/* The source fails at each row of the first two steps, the sampler at each draw. */
static void test_step_whose_callback_fails_is_done_again_to_the_bit(void **state)
{
    (void)state;
    for (int which = 0; which < TRAINERS; which++) {
        run undisturbed;
        make_undisturbed(&undisturbed, which);
        const int64_t calls = undisturbed.culprit.calls;
        assert_true(calls >= 8);
        for (int64_t at = 0; at < calls; at++) {
            int failures = 0;
            run r;
            make_run(&r, which, support_context(NULL, 1));
            r.culprit.fail_call = at;
            for (int done = 0; done < STEPS;) {
                const rlhf_status status = step(&r);
                if (status == RLHF_OK) {
                    done++;
                } else {
                    assert_int_equal(status, RLHF_ERR_CALLBACK);
                    failures++;
                }
            }
            assert_int_equal(failures, 1);
            assert_same_run(&r, &undisturbed);
            free_run(&r);
        }
        free_run(&undisturbed);
    }
}

/* --- figures that are not finite ------------------------------------------------ */

static void write_norm(run *r, bool scalar, const float *values)
{
    rlhf_reward_model *model = r->which == PPO ? r->critic : r->reward;

    if (scalar)
        assert_ok(
            rlhf_reward_model_parameter_write(model, "model.norm.weight", values, 16));
    else
        assert_ok(rlhf_model_parameter_write(r->policy, "model.norm.weight", values, 16));
}

static void read_norm(run *r, bool scalar, float *values)
{
    rlhf_reward_model *model = r->which == PPO ? r->critic : r->reward;

    if (scalar)
        assert_ok(
            rlhf_reward_model_parameter_read(model, "model.norm.weight", values, 16));
    else
        assert_ok(rlhf_model_parameter_read(r->policy, "model.norm.weight", values, 16));
}

static void test_weights_that_are_not_finite_are_refused(void **state)
{
    run r;
    float values[16], before[16], after[16];

    (void)state;
    make_run(&r, PPO, support_context(NULL, 1));
    for (int i = 0; i < 4; i++) {
        const bool scalar = i & 1;
        read_norm(&r, scalar, before);
        memcpy(values, before, sizeof values);
        values[0] = 9;
        values[15] = i & 2 ? NAN : -INFINITY;
        if (scalar)
            assert_fails(rlhf_reward_model_parameter_write(r.critic, "model.norm.weight",
                                                           values, 16),
                         RLHF_ERR_NUMERIC, "value 15 of \"model.norm.weight\"");
        else
            assert_fails(
                rlhf_model_parameter_write(r.policy, "model.norm.weight", values, 16),
                RLHF_ERR_NUMERIC, "value 15 of \"model.norm.weight\"");
        read_norm(&r, scalar, after);
        assert_memory_equal(before, after, sizeof before);
    }
    free_run(&r);
}

/* Weights so large that sums overflow; taken back, the same call goes on. */
static void test_step_whose_gradient_is_not_finite_is_done_again_to_the_bit(void **state)
{
    (void)state;
    for (int which = 0; which < PPO; which++) {
        run undisturbed, r;
        float huge[16], before[16], after[16];
        make_undisturbed(&undisturbed, which);
        make_run(&r, which, support_context(NULL, 1));
        assert_ok(step(&r));
        read_norm(&r, which == REWARD, before);
        for (int i = 0; i < 16; i++)
            huge[i] = 3e38f;
        write_norm(&r, which == REWARD, huge);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(step(&r), RLHF_ERR_NUMERIC);
            read_norm(&r, which == REWARD, after);
            assert_memory_equal(after, huge, sizeof huge);
        }
        write_norm(&r, which == REWARD, before);
        assert_ok(step(&r));
        assert_same_run(&r, &undisturbed);
        free_run(&r);
        free_run(&undisturbed);
    }
}

/* In the second of four minibatches, of the policy (then the critic). */
static void test_ppo_update_whose_gradient_is_not_finite_goes_on_to_the_bit(void **state)
{
    (void)state;
    for (int scalar = 0; scalar < 2; scalar++) {
        run undisturbed, r;
        rlhf_rollout *rollout;
        float huge[16], before[16];
        int64_t remaining = 1;
        int32_t done;
        make_undisturbed(&undisturbed, PPO);
        make_run(&r, PPO, support_context(NULL, 1));
        assert_ok(
            rlhf_ppo_trainer_rollout(r.ppo, prompts, prompt_ends, PROMPTS, &rollout));
        assert_ok(rlhf_ppo_trainer_score(r.ppo, rollout));
        assert_ok(rlhf_ppo_trainer_advantages(r.ppo, rollout));
        while (remaining > 0)
            assert_ok(rlhf_ppo_trainer_accumulate(r.ppo, rollout, &remaining));
        assert_ok(rlhf_ppo_trainer_apply(r.ppo, &done, NULL));
        read_norm(&r, scalar, before);
        for (int i = 0; i < 16; i++)
            huge[i] = 3e38f;
        write_norm(&r, scalar, huge);
        for (int i = 0; i < 2; i++)
            assert_fails(rlhf_ppo_trainer_update(r.ppo, rollout, NULL), RLHF_ERR_NUMERIC,
                         scalar ? "the critic's gradient" : "the policy's gradient");
        write_norm(&r, scalar, before);
        assert_ok(rlhf_ppo_trainer_update(r.ppo, rollout, NULL));
        rlhf_rollout_free(rollout);
        assert_ok(step(&r));
        assert_same_run(&r, &undisturbed);
        free_run(&r);
        free_run(&undisturbed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_that_finds_no_memory_is_done_again_to_the_bit),
        cmocka_unit_test(test_step_that_is_cancelled_is_done_again_to_the_bit),
        cmocka_unit_test(test_step_whose_callback_fails_is_done_again_to_the_bit),
        cmocka_unit_test(test_weights_that_are_not_finite_are_refused),
        cmocka_unit_test(test_step_whose_gradient_is_not_finite_is_done_again_to_the_bit),
        cmocka_unit_test(test_ppo_update_whose_gradient_is_not_finite_goes_on_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
