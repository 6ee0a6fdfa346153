/* No forward pass twice for the same weights and tokens: the tokens that each network
 * reads in an iteration are counted. */
#include "train_support.h"

#include "api/handle.h"
#include "nn/transformer.h"
#include "train/ppo.h"

enum { PROMPTS = 6, PROMPT = 3, NEW = 8 };

typedef struct world {
    rlhf_context *context;
    rlhf_model *policy;
    rlhf_reward_model *reward;
    rlhf_ppo_trainer *trainer;
    int32_t tokens[PROMPTS * PROMPT];
    int64_t cu[PROMPTS + 1];
} world;

static world make_world(rlhf_model *(*reference)(rlhf_context *), int32_t score_slot,
                        int32_t num_minibatches, int32_t micro_batch_tokens)
{
    rlhf_ppo_options o = plain_options();
    world w = {.context = support_context(NULL, 1)};
    rlhf_model *given = reference ? reference(w.context) : NULL;

    o.max_new_tokens = NEW;
    o.stop_token_id = -2;
    o.score_slot = score_slot;
    o.num_epochs = 3;
    o.num_minibatches = num_minibatches;
    o.micro_batch_tokens = micro_batch_tokens;
    o.learning_rate = o.value_learning_rate = 1e-2;
    w.policy = tiny_model(w.context, WORDS, CONTEXT, 1);
    w.reward = tiny_reward_model(w.context, 2, RLHF_APPEND_EOS_NEVER);
    assert_ok(rlhf_ppo_trainer_create(w.policy, given, w.reward, NULL, &o, &w.trainer));
    rlhf_model_free(given);
    for (int64_t i = 0; i <= PROMPTS; i++)
        w.cu[i] = i * PROMPT;
    for (int64_t i = 0; i < PROMPTS * PROMPT; i++)
        w.tokens[i] = (int32_t)(2 + i * i % (WORDS - 2));
    return w;
}

static void free_world(world *w)
{
    rlhf_ppo_trainer_free(w->trainer);
    rlhf_reward_model_free(w->reward);
    rlhf_model_free(w->policy);
    rlhf_context_free(w->context);
}

/* Tokens read by policy, reference, reward model, critic since the last call. */
typedef struct reads {
    int64_t policy, reference, reward, critic;
} reads;

static reads take_reads(world *w)
{
    rlhf__ppo_trainer *t = w->trainer->core;
    const reads r = {t->policy->tokens_read, t->reference->tokens_read,
                     t->reward->net->tokens_read, t->critic->net->tokens_read};

    t->policy->tokens_read = t->reference->tokens_read = 0;
    t->reward->net->tokens_read = t->critic->net->tokens_read = 0;
    return r;
}

/* A network reads all tokens of a sequence but the last, from which nothing is
 * predicted. */
enum { SEQUENCE = PROMPT + NEW - 1, ALL = PROMPTS * SEQUENCE };

static void test_passes_are_as_many_as_weights_differ(void **state)
{
    world w = make_world(NULL, RLHF_SCORE_AT_LAST, 1, 2048);

    (void)state;
    for (int iteration = 0; iteration < 2; iteration++) {
        assert_ok(rlhf_ppo_trainer_step(w.trainer, w.tokens, w.cu, PROMPTS, NULL));
        const reads r = take_reads(&w);
        /* The rollout, then one pass an epoch. */
        assert_int_equal(r.policy, ALL + 3 * ALL);
        /* At first it is the policy, whose log-probabilities are there. */
        assert_int_equal(r.reference, iteration == 0 ? 0 : ALL);
        assert_int_equal(r.reward, PROMPTS * (PROMPT + NEW));
        /* The values' pass is the first epoch's. */
        assert_int_equal(r.critic, 3 * ALL);
    }
    free_world(&w);
}

/* Two minibatches of two micro-batches each: one micro-batch is spared. */
static void test_first_micro_batch_alone_is_there_already(void **state)
{
    world w = make_world(NULL, RLHF_SCORE_AT_LAST, 2, 2 * (PROMPT + NEW));

    (void)state;
    assert_ok(rlhf_ppo_trainer_step(w.trainer, w.tokens, w.cu, PROMPTS, NULL));
    assert_int_equal(take_reads(&w).critic, ALL + 3 * ALL - 2 * SEQUENCE);
    free_world(&w);
}

static rlhf_model *other_reference(rlhf_context *context)
{
    return tiny_model(context, WORDS, CONTEXT, 1); /* equal, but nobody can know */
}

/* Three answers each to two prompts of 10 tokens. What predicts the first token of an
 * answer is each one's own; a minibatch has them side by side, whatever the epoch's
 * order. */
static void test_answers_share_their_prompt(void **state)
{
    enum { ANSWERS = 6, LONG = 10, INPUT = LONG + NEW - 1, SHARED = LONG - 1 };
    world w = make_world(other_reference, RLHF_SCORE_AT_LAST, 1, 2048);
    int64_t cu[ANSWERS + 1] = {0};
    int32_t tokens[ANSWERS * LONG];

    (void)state;
    for (int64_t i = 0; i < ANSWERS * LONG; i++) {
        tokens[i] = (int32_t)(2 + (i % LONG + i / (3 * LONG)) % (WORDS - 2));
        cu[i / LONG + 1] = i + 1;
    }
    assert_ok(rlhf_ppo_trainer_step(w.trainer, tokens, cu, ANSWERS, NULL));
    const reads r = take_reads(&w);
    const int64_t pass = ANSWERS * INPUT - 4 * SHARED;
    assert_int_equal(r.policy, 2 * LONG + ANSWERS * (NEW - 1) + 3 * pass);
    assert_int_equal(r.reference, pass);
    assert_int_equal(r.critic, 3 * pass);
    /* Answers may begin alike, too, but for their last tokens. */
    assert_in_range(r.reward, 2 * (LONG + NEW) + 4, ANSWERS * (LONG + NEW) - 4 * LONG);
    free_world(&w);
}

static void test_reference_of_the_host_is_read(void **state)
{
    world w = make_world(other_reference, RLHF_SCORE_AT_LAST, 1, 2048);
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};

    (void)state;
    assert_ok(rlhf_ppo_trainer_step(w.trainer, w.tokens, w.cu, PROMPTS, &stats));
    assert_int_equal(take_reads(&w).reference, ALL);
    assert_true(stats.kl == 0.0);
    free_world(&w);
}

/* --- the pass that is kept is of no other weights or tokens ------------------------- */

static rlhf_rollout *prepared_rollout(world *w)
{
    rlhf_rollout *rollout;

    assert_ok(rlhf_ppo_trainer_rollout(w->trainer, w->tokens, w->cu, PROMPTS, &rollout));
    assert_ok(rlhf_ppo_trainer_score(w->trainer, rollout));
    assert_ok(rlhf_ppo_trainer_advantages(w->trainer, rollout));
    return rollout;
}

/* All of the critic's gradient after the first micro-batch. */
static float *critic_gradient(world *w, rlhf_rollout *rollout, int64_t *out_count)
{
    int64_t remaining, count = rlhf_reward_model_num_parameters(w->reward), at = 0;
    float *values = malloc((size_t)count * sizeof *values);

    assert_ok(rlhf_ppo_trainer_accumulate(w->trainer, rollout, &remaining));
    for (int64_t i = 0; i < rlhf_reward_model_num_parameter_names(w->reward); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_reward_model_parameter_info(w->reward, i, &info));
        assert_ok(rlhf_ppo_trainer_gradient(w->trainer, 1, info.name, values + at,
                                            info.rows * info.cols));
        at += info.rows * info.cols;
    }
    *out_count = at;
    return values;
}

/* With the pass that was kept, and after another call has taken the tape: the same
 * gradient, bit for bit. */
static void check_kept_pass(int32_t score_slot, bool evaluate_between)
{
    world kept = make_world(NULL, score_slot, 1, 2048);
    world anew = make_world(NULL, score_slot, 1, 2048);
    rlhf_rollout *a = prepared_rollout(&kept), *b = prepared_rollout(&anew);
    int64_t n, m;

    take_reads(&kept), take_reads(&anew);
    if (evaluate_between)
        assert_ok(rlhf_ppo_trainer_evaluate(anew.trainer, anew.tokens, anew.cu, PROMPTS,
                                            NULL, NULL));
    else
        rlhf__params_end_write(&anew.trainer->core->critic->net->params);
    float *x = critic_gradient(&kept, a, &n), *y = critic_gradient(&anew, b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    assert_int_equal(take_reads(&kept).critic, 0);
    assert_int_equal(take_reads(&anew).critic, ALL);
    free(x), free(y);
    rlhf_rollout_free(a), rlhf_rollout_free(b);
    free_world(&kept), free_world(&anew);
}

static void test_kept_pass_gives_the_gradient_of_its_own(void **state)
{
    (void)state;
    check_kept_pass(RLHF_SCORE_AT_LAST, true);
    check_kept_pass(RLHF_SCORE_AFTER_LAST, true);
    check_kept_pass(RLHF_SCORE_AT_LAST, false);
}

/* Advantages of two rollouts, then the update of the first: its pass is not the one that
 * was kept. */
static void test_kept_pass_is_of_its_rollout(void **state)
{
    world w = make_world(NULL, RLHF_SCORE_AT_LAST, 1, 2048);
    rlhf_rollout *first = prepared_rollout(&w);
    rlhf_rollout *second = prepared_rollout(&w);
    int64_t n;

    (void)state;
    take_reads(&w);
    free(critic_gradient(&w, first, &n));
    assert_int_equal(take_reads(&w).critic, ALL);
    rlhf_rollout_free(first), rlhf_rollout_free(second);
    free_world(&w);
}

/* Scoring leaves no node behind: nothing was recorded. */
static void test_scores_are_read_without_a_tape(void **state)
{
    world w = make_world(NULL, RLHF_SCORE_AT_LAST, 1, 2048);
    rlhf_rollout *rollout;

    (void)state;
    assert_ok(rlhf_ppo_trainer_rollout(w.trainer, w.tokens, w.cu, PROMPTS, &rollout));
    assert_ok(rlhf_ppo_trainer_score(w.trainer, rollout));
    assert_null(w.trainer->core->tape->last);
    assert_false(w.trainer->core->tape->record);
    assert_ok(rlhf__ppo_logprobs(w.trainer->core, w.trainer->core->reference,
                                 rollout->core, NULL, rollout->core->logprobs, NULL));
    assert_null(w.trainer->core->tape->last);
    rlhf_rollout_free(rollout);
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes_are_as_many_as_weights_differ),
        cmocka_unit_test(test_first_micro_batch_alone_is_there_already),
        cmocka_unit_test(test_answers_share_their_prompt),
        cmocka_unit_test(test_reference_of_the_host_is_read),
        cmocka_unit_test(test_kept_pass_gives_the_gradient_of_its_own),
        cmocka_unit_test(test_kept_pass_is_of_its_rollout),
        cmocka_unit_test(test_scores_are_read_without_a_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
