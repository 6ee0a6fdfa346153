/* Rollouts that the host builds: its own samples, several spans of actions with tokens of
 * a tool between them, scores per token; what is refused; what the lines of a file say.
 */
#include "train_support.h"

#include "test_files.h"

/* BOS 5 | 3 7 | tool: 9 9 10 | 4 2 EOS */
enum { LENGTH = 10, ACTIONS = 5 };
static const int32_t tokens[LENGTH] = {BOS, 5, 3, 7, 9, 9, 10, 4, 2, EOS};
static const uint8_t mask[LENGTH] = {0, 0, 1, 1, 0, 0, 0, 1, 1, 1};
static const int64_t action_at[ACTIONS] = {2, 3, 7, 8, 9};

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

static rlhf_rollout_input spans(void)
{
    return (rlhf_rollout_input){.struct_size = sizeof(rlhf_rollout_input),
                                .tokens = tokens,
                                .action_mask = mask,
                                .num_tokens = LENGTH,
                                .score = 2,
                                .finish = RLHF_FINISH_STOP};
}

static rlhf_rollout *rollout_of(rlhf_context *context, const rlhf_rollout_input *input)
{
    rlhf_rollout *rollout;

    assert_ok(rlhf_rollout_create(context, &rollout));
    assert_ok(rlhf_rollout_append(rollout, input));
    return rollout;
}

/* --- several spans ------------------------------------------------------------------ */

static double value_of(const ppo_fixture *f, int64_t count)
{
    const int64_t cu_seqlens[2] = {0, count};
    float value;

    assert_ok(rlhf_reward_model_score(f->critic, tokens, cu_seqlens, 1, &value));
    return (double)value;
}

static void test_spans_carry_the_networks_own_figures_at_their_actions(void **state)
{
    const rlhf_ppo_options o = plain_options();
    const int64_t cu_seqlens[2] = {0, LENGTH};
    const rlhf_rollout_input input = spans();
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = rollout_of(f.context, &input);
    float policy[LENGTH], reference[LENGTH];

    (void)state;
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_ok(rlhf_model_logprobs(f.policy, tokens, cu_seqlens, 1, 1, policy));
    assert_ok(rlhf_model_logprobs(f.reference, tokens, cu_seqlens, 1, 1, reference));
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    assert_int_equal(s.num_prompt, 2);
    assert_int_equal(s.num_actions, ACTIONS);
    for (int64_t t = 0, a = 0; t < LENGTH; t++) {
        if (mask[t])
            assert_near("V", (double)s.values[t], value_of(&f, action_at[a++]), 1e-6);
        else
            assert_true(s.values[t] == 0 && s.rewards[t] == 0 && s.advantages[t] == 0 &&
                        s.returns[t] == 0);
        assert_near("log pi", (double)s.logprobs[t], mask[t] ? (double)policy[t] : 0,
                    1e-6);
        assert_near("log pi_ref", (double)s.ref_logprobs[t],
                    mask[t] ? (double)reference[t] : 0, 1e-6);
    }
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* Log-probs that were left to the trainer are the policy's as it is now: after an update
 * _advantages computes them again, and the first ratio is 1 again. Given ones stay. */
static void test_logprobs_not_given_are_computed_again_after_an_update(void **state)
{
    static const float given[LENGTH] = {0, 0, -2, -3, 0, 0, 0, -1, -2.5f, -2};
    rlhf_ppo_options o = plain_options();
    const int64_t cu_seqlens[2] = {0, LENGTH};
    rlhf_rollout_input input = spans();
    float policy[LENGTH];

    (void)state;
    o.learning_rate = 1e-2;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = rollout_of(f.context, &input);
    for (int i = 0; i < 3; i++) {
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
        assert_ok(rlhf_model_logprobs(f.policy, tokens, cu_seqlens, 1, 1, policy));
        const rlhf_rollout_sequence s = sequence_of(rollout, 0);
        for (int64_t t = 0; t < LENGTH; t++)
            assert_near("log pi", (double)s.logprobs[t], mask[t] ? (double)policy[t] : 0,
                        1e-6);
        assert_ok(rlhf_ppo_trainer_update(f.trainer, rollout, &stats));
        assert_true(stats.first_ratio_deviation == 0);
    }
    rlhf_rollout_free(rollout);
    input.logprobs = given;
    rollout = rollout_of(f.context, &input);
    for (int i = 0; i < 2; i++) {
        assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
        assert_memory_equal(sequence_of(rollout, 0).logprobs, given, sizeof given);
        assert_ok(rlhf_ppo_trainer_update(f.trainer, rollout, NULL));
    }
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* From action to action: tokens of the tool are no steps of the policy, neither gamma nor
 * lambda counts them. A_t = sum_k (gamma lambda)^k delta_{t + k} over actions. */
static void test_gae_goes_across_the_tokens_of_a_tool(void **state)
{
    static const double given[ACTIONS] = {.5, -1, 0, 2, .25};
    rlhf_ppo_options o = plain_options();
    rlhf_rollout_input input = spans();
    float scores[LENGTH];

    (void)state;
    for (int64_t t = 0; t < LENGTH; t++)
        scores[t] = 100; /* at the tool's tokens they mean nothing */
    for (int a = 0; a < ACTIONS; a++)
        scores[action_at[a]] = (float)given[a];
    input.token_scores = scores;
    o.gamma = .9;
    o.lam = .8;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = rollout_of(f.context, &input);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    const rlhf_rollout_sequence s = sequence_of(rollout, 0);
    for (int t = 0; t < ACTIONS; t++) {
        double advantage = 0;
        for (int k = t; k < ACTIONS; k++) {
            const double reward = given[k] + (k == ACTIONS - 1 ? 2 : 0);
            const double next = k + 1 < ACTIONS ? value_of(&f, action_at[k + 1]) : 0;
            advantage +=
                pow(.72, k - t) * (reward + .9 * next - value_of(&f, action_at[k]));
        }
        assert_near("advantage", (double)s.advantages[action_at[t]], advantage, 3e-6);
        assert_near("return", (double)s.returns[action_at[t]],
                    advantage + value_of(&f, action_at[t]), 3e-6);
    }
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* --- training on them --------------------------------------------------------------- */

enum { SAMPLES = 32, SAMPLE_LENGTH = 7 };
static uint64_t random_state = 9;

static double uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

/* BOS, two actions, a tool's token that depends on them, two actions more, and a last
 * token of the tool: drawn by the host from the model's logits. */
static void draw_sample(rlhf_model *policy, int32_t out[SAMPLE_LENGTH],
                        float logprobs[SAMPLE_LENGTH])
{
    static const int is_action[SAMPLE_LENGTH] = {0, 1, 1, 0, 1, 1, 0};
    float logits[SAMPLE_LENGTH * WORDS];

    out[0] = BOS;
    for (int64_t t = 1; t < SAMPLE_LENGTH; t++) {
        const int64_t cu_seqlens[2] = {0, t};
        const float *z = logits + (t - 1) * WORDS;
        double total = 0, sum = 0, u = uniform();
        logprobs[t] = 0;
        out[t] = 9 + (out[t - 1] == 2);
        if (!is_action[t])
            continue;
        assert_ok(rlhf_model_logits(policy, out, cu_seqlens, 1, logits));
        for (int v = 0; v < WORDS; v++)
            total += exp((double)z[v]);
        for (out[t] = 0; out[t] < WORDS - 1; out[t]++)
            if ((sum += exp((double)z[out[t]]) / total) > u)
                break;
        logprobs[t] = (float)((double)z[out[t]] - log(total));
    }
    logprobs[0] = 0;
}

/* Scores 1 for every action 2; returns their share. */
static double iterate_on_own_samples(ppo_fixture *f)
{
    static const uint8_t own_mask[SAMPLE_LENGTH] = {0, 1, 1, 0, 1, 1, 0};
    rlhf_rollout *rollout;
    double hits = 0;

    assert_ok(rlhf_rollout_create(f->context, &rollout));
    for (int i = 0; i < SAMPLES; i++) {
        int32_t sample_tokens[SAMPLE_LENGTH];
        float logprobs[SAMPLE_LENGTH], scores[SAMPLE_LENGTH];
        draw_sample(f->policy, sample_tokens, logprobs);
        for (int t = 0; t < SAMPLE_LENGTH; t++) {
            scores[t] = own_mask[t] && sample_tokens[t] == 2;
            hits += (double)scores[t];
        }
        const rlhf_rollout_input input = {.struct_size = sizeof input,
                                          .tokens = sample_tokens,
                                          .action_mask = own_mask,
                                          .logprobs = logprobs,
                                          .token_scores = scores,
                                          .num_tokens = SAMPLE_LENGTH,
                                          .score = NAN,
                                          .finish = RLHF_FINISH_CALLBACK};
        assert_ok(rlhf_rollout_append(rollout, &input));
    }
    const rlhf_ppo_stats stats = train_on(f, rollout);
    assert_near("score", stats.score, hits / SAMPLES, 1e-6);
    assert_near("length", stats.response_length, 4, 0);
    assert_near("first ratio", stats.first_ratio_deviation, 0,
                1e-5); /* the host's rounding */
    return hits / (SAMPLES * 4);
}

static void test_host_trains_on_samples_of_its_own(void **state)
{
    rlhf_ppo_options o = plain_options();
    double first = 0, last = 0;

    (void)state;
    o.whiten_advantages = 1;
    o.num_epochs = 2;
    o.learning_rate = 3e-3;
    o.value_learning_rate = 1e-2;
    ppo_fixture f = ppo_make(&o, 0);
    for (int i = 0; i < 40; i++) {
        const double share = iterate_on_own_samples(&f);
        first += i < 3 ? share / 3 : 0;
        last += i >= 37 ? share / 3 : 0;
    }
    if (!(first < .25 && last > .8))
        fail_msg("the share of the wanted token went from %.3f to %.3f", first, last);
    ppo_free(&f);
}

/* --- scores ------------------------------------------------------------------------- */

static void test_host_sets_scores_and_they_replace_what_was_computed(void **state)
{
    const rlhf_ppo_options o = plain_options();
    const rlhf_rollout_input input = spans();
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = rollout_of(f.context, &input);
    const float score = -3;
    float scores[LENGTH] = {0};

    (void)state;
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_ok(rlhf_rollout_set_scores(rollout, &score, 1));
    assert_null(sequence_of(rollout, 0).advantages); /* forgotten */
    assert_fails(rlhf_ppo_trainer_update(f.trainer, rollout, NULL), RLHF_ERR_STATE,
                 "no advantages");
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_true(sequence_of(rollout, 0).score == -3);
    assert_true(sequence_of(rollout, 0).rewards[9] == -3);
    scores[3] = .5f;
    assert_ok(rlhf_rollout_set_token_scores(rollout, 0, scores, LENGTH));
    assert_null(sequence_of(rollout, 0).rewards);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_true(sequence_of(rollout, 0).rewards[3] == .5f);
    assert_true(sequence_of(rollout, 0).rewards[9] == -3);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

static void test_sequence_without_a_score_is_named(void **state)
{
    const rlhf_ppo_options o = plain_options();
    rlhf_rollout_input input = spans();
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = rollout_of(f.context, &input);

    (void)state;
    input.score = NAN;
    assert_ok(rlhf_rollout_append(rollout, &input));
    assert_fails(rlhf_ppo_trainer_advantages(f.trainer, rollout), RLHF_ERR_STATE,
                 "sequence 1");
    assert_fails(rlhf_ppo_trainer_score(f.trainer, rollout), RLHF_ERR_STATE,
                 "no reward model");
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* --- what is refused ---------------------------------------------------------------- */

static void test_scores_of_another_shape_are_refused(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    const rlhf_rollout_input input = spans();
    rlhf_rollout *rollout = rollout_of(context, &input);
    const float scores[2] = {1, NAN};
    float token_scores[LENGTH + 1] = {0};

    (void)state;
    assert_fails(rlhf_rollout_set_scores(rollout, scores, 2), RLHF_ERR_INVALID_ARG,
                 "count must be the 1 sequences, got 2");
    assert_field("count");
    assert_fails(rlhf_rollout_set_scores(rollout, scores + 1, 1), RLHF_ERR_INVALID_ARG,
                 "score of sequence 0 is not finite but nan");
    assert_field("scores");
    assert_fails(rlhf_rollout_set_token_scores(rollout, 0, token_scores, LENGTH + 1),
                 RLHF_ERR_INVALID_ARG, "count must be the sequence's 10 tokens, got 11");
    assert_fails(rlhf_rollout_set_token_scores(rollout, 1, token_scores, LENGTH),
                 RLHF_ERR_INVALID_ARG, "index");
    assert_field("index");
    assert_fails(rlhf_rollout_set_token_scores(rollout, -1, token_scores, LENGTH),
                 RLHF_ERR_INVALID_ARG, "index");
    token_scores[4] = NAN; /* no action */
    assert_ok(rlhf_rollout_set_token_scores(rollout, 0, token_scores, LENGTH));
    token_scores[3] = INFINITY;
    assert_fails(rlhf_rollout_set_token_scores(rollout, 0, token_scores, LENGTH),
                 RLHF_ERR_INVALID_ARG, "token score of token 3 is not finite but inf");
    assert_field("token_scores");
    assert_true(sequence_of(rollout, 0).score == 2);
    assert_true(sequence_of(rollout, 0).token_scores[3] == 0);
    rlhf_rollout_free(rollout);
    rlhf_context_free(context);
}

static void test_malformed_sequences_are_refused(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    uint8_t first[LENGTH] = {1, 1}, none[LENGTH] = {0}, three[LENGTH] = {0, 3};
    int32_t negative[LENGTH] = {BOS, -1};
    float nan[LENGTH] = {0, 0, NAN};
    rlhf_rollout_input in[9];
    static const char *const words[9] = {"tokens of a rollout's sequence is NULL",
                                         "action_mask",
                                         "num_tokens must be >= 2, got 1",
                                         "token 0 cannot be an action",
                                         "without an action",
                                         "must be 0 or 1, got 3",
                                         "token 1 is -1",
                                         "logprob of token 2 is not finite but nan",
                                         "finish 99"};
    static const char *const fields[9] = {"tokens",      "action_mask", "num_tokens",
                                          "action_mask", "action_mask", "action_mask",
                                          "tokens",      "logprobs",    "finish"};
    rlhf_rollout *rollout;

    (void)state;
    assert_ok(rlhf_rollout_create(context, &rollout));
    for (int i = 0; i < 9; i++)
        in[i] = spans();
    in[0].tokens = NULL;
    in[1].action_mask = NULL;
    in[2].num_tokens = 1;
    in[3].action_mask = first;
    in[4].action_mask = none;
    in[5].action_mask = three;
    in[6].tokens = negative;
    in[7].logprobs = nan;
    in[8].finish = 99;
    for (int i = 0; i < 9; i++) {
        assert_fails(rlhf_rollout_append(rollout, &in[i]), RLHF_ERR_INVALID_ARG,
                     words[i]);
        assert_field(fields[i]);
    }
    in[0] = spans();
    in[0].score = INFINITY;
    assert_fails(rlhf_rollout_append(rollout, &in[0]), RLHF_ERR_INVALID_ARG, "score");
    in[0].score = 1e300; /* infinite as a float */
    assert_fails(rlhf_rollout_append(rollout, &in[0]), RLHF_ERR_INVALID_ARG, "1e+300");
    assert_int_equal(rlhf_rollout_num_sequences(rollout), 0);
    rlhf_rollout_free(rollout);
    rlhf_context_free(context);
}

static void test_rollout_that_does_not_fit_the_networks_is_refused(void **state)
{
    const rlhf_ppo_options o = plain_options();
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout_input input = spans();
    int32_t foreign[LENGTH] = {BOS, WORDS, 3, 7, 9, 9, 10, 4, 2, EOS};
    int32_t longer[CONTEXT + 1] = {BOS};
    uint8_t longer_mask[CONTEXT + 1] = {0, 1};
    rlhf_rollout *rollout;

    (void)state;
    assert_ok(rlhf_rollout_create(f.context, &rollout));
    assert_fails(rlhf_ppo_trainer_advantages(f.trainer, rollout), RLHF_ERR_INVALID_ARG,
                 "empty");
    rlhf_rollout_free(rollout);
    input.tokens = foreign;
    rollout = rollout_of(f.context, &input);
    assert_fails(rlhf_ppo_trainer_advantages(f.trainer, rollout), RLHF_ERR_INVALID_ARG,
                 "12");
    rlhf_rollout_free(rollout);
    input.tokens = longer;
    input.action_mask = longer_mask;
    input.num_tokens = CONTEXT + 1;
    rollout = rollout_of(f.context, &input);
    assert_fails(rlhf_ppo_trainer_advantages(f.trainer, rollout), RLHF_ERR_INVALID_ARG,
                 "25");
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

static void test_rollout_in_an_update_cannot_be_changed(void **state)
{
    rlhf_ppo_options o = plain_options();
    const rlhf_rollout_input input = spans();
    const float scores[1] = {1};
    int64_t remaining;
    int32_t done;

    (void)state;
    o.num_epochs = 2;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = rollout_of(f.context, &input),
                 *other = rollout_of(f.context, &input);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, other));
    assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
    assert_fails(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining),
                 RLHF_ERR_STATE, "apply them");
    assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, NULL));
    assert_fails(rlhf_rollout_set_scores(rollout, scores, 1), RLHF_ERR_STATE, "update");
    assert_fails(rlhf_rollout_append(rollout, &input), RLHF_ERR_STATE, "update");
    assert_fails(rlhf_ppo_trainer_advantages(f.trainer, rollout), RLHF_ERR_STATE,
                 "update");
    assert_fails(rlhf_ppo_trainer_update(f.trainer, other, NULL), RLHF_ERR_STATE,
                 "another");
    assert_ok(rlhf_ppo_trainer_update(f.trainer, rollout, NULL));
    assert_ok(rlhf_rollout_set_scores(rollout, scores, 1));
    rlhf_rollout_free(rollout);
    rlhf_rollout_free(other);
    ppo_free(&f);
}

/* What a trainer has learnt, as its logits of a fixed sequence. */
static void read_logits(const ppo_fixture *f, float out[LENGTH * WORDS])
{
    const int64_t cu_seqlens[2] = {0, LENGTH};

    assert_ok(rlhf_model_logits(f->policy, tokens, cu_seqlens, 1, out));
}

/* An update that is given up before its first step leaves no trace, and neither its
 * rollout nor its trainer is held up by it. */
static void test_update_under_way_can_be_abandoned(void **state)
{
    const rlhf_ppo_options o = plain_options();
    const rlhf_rollout_input input = spans();
    float logits[2][LENGTH * WORDS], score = 3;
    int64_t remaining;

    (void)state;
    for (int given_up = 0; given_up < 2; given_up++) {
        ppo_fixture f = ppo_make(&o, 3);
        rlhf_rollout *first = rollout_of(f.context, &input);
        rlhf_rollout *second = rollout_of(f.context, &input);
        assert_ok(rlhf_ppo_trainer_abandon(f.trainer)); /* nothing is under way */
        assert_ok(rlhf_ppo_trainer_advantages(f.trainer, second));
        if (given_up) {
            assert_ok(rlhf_ppo_trainer_advantages(f.trainer, first));
            assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, first, &remaining));
            assert_fails(rlhf_ppo_trainer_update(f.trainer, second, NULL), RLHF_ERR_STATE,
                         "another rollout is under way");
            assert_ok(rlhf_ppo_trainer_abandon(f.trainer));
            assert_ok(rlhf_rollout_set_scores(first, &score, 1));
        }
        assert_ok(rlhf_ppo_trainer_update(f.trainer, second, NULL));
        assert_int_equal(rlhf_ppo_trainer_num_iterations(f.trainer), 1);
        read_logits(&f, logits[given_up]);
        rlhf_rollout_free(first);
        rlhf_rollout_free(second);
        ppo_free(&f);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
}

/* Steps that were taken stay; the rollout can then be updated on from the start. */
static void test_abandoned_update_keeps_its_steps(void **state)
{
    rlhf_ppo_options o = plain_options();
    const rlhf_rollout_input input = spans();
    float before[LENGTH * WORDS], after[LENGTH * WORDS], left[LENGTH * WORDS];
    int64_t remaining;
    int32_t done;

    (void)state;
    o.num_epochs = 2;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = rollout_of(f.context, &input);
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    read_logits(&f, before);
    assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
    assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, NULL));
    assert_int_equal(done, 0);
    read_logits(&f, after);
    assert_memory_not_equal(before, after, sizeof before);
    assert_ok(rlhf_ppo_trainer_abandon(f.trainer));
    read_logits(&f, left);
    assert_memory_equal(after, left, sizeof after);
    assert_int_equal(rlhf_ppo_trainer_num_iterations(f.trainer), 0);
    for (int epoch = 0; epoch < 2; epoch++) {
        assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
        assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, NULL));
        assert_int_equal(done, epoch == 1);
    }
    assert_int_equal(rlhf_ppo_trainer_num_iterations(f.trainer), 1);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* A sampler that is cancelled at its fifth token, and counts sequences that are open. */
typedef struct drawing {
    rlhf_context *context;
    int tokens, open;
} drawing;

static rlhf_status begin_drawing(void *user_data, int64_t sequence_id, void **out_state)
{
    drawing *d = user_data;

    (void)sequence_id;
    *out_state = d;
    d->open++;
    return RLHF_OK;
}

static void end_drawing(void *user_data, void *state)
{
    drawing *d = user_data;

    (void)state;
    d->open--;
}

static rlhf_status draw(void *user_data, void *state, const rlhf_sample_info *info,
                        const float *logits, int64_t vocab_size, int32_t *out_token)
{
    drawing *d = user_data;

    (void)state;
    (void)info;
    (void)logits;
    (void)vocab_size;
    if (++d->tokens == 5)
        rlhf_context_cancel(d->context);
    *out_token = 2 + d->tokens % 3;
    return RLHF_OK;
}

static void test_answers_under_way_can_be_abandoned(void **state)
{
    const rlhf_sampler_ops ops = {.struct_size = sizeof ops,
                                  .begin = begin_drawing,
                                  .end = end_drawing,
                                  .sample = draw,
                                  .softmax_temperature = 1};
    const int32_t prompts[4] = {BOS, 5, BOS, 3};
    const int64_t cu_seqlens[3] = {0, 2, 4};
    const rlhf_ppo_options o = plain_options();
    ppo_fixture f = ppo_make(&o, 3);
    drawing d = {.context = f.context};
    rlhf_sampler *sampler;
    rlhf_rollout *rollout;

    (void)state;
    assert_ok(rlhf_sampler_create_custom(&ops, &d, &sampler));
    assert_ok(rlhf_ppo_trainer_set_sampler(f.trainer, sampler));
    rlhf_sampler_free(sampler);
    assert_fails(rlhf_ppo_trainer_rollout(f.trainer, prompts, cu_seqlens, 2, &rollout),
                 RLHF_ERR_CANCELLED, "");
    assert_int_equal(d.open, 2);
    assert_ok(rlhf_ppo_trainer_abandon(f.trainer));
    assert_int_equal(d.open, 0);
    assert_ok(rlhf_ppo_trainer_rollout(f.trainer, prompts, cu_seqlens, 1, &rollout));
    assert_int_equal(rlhf_rollout_num_sequences(rollout), 1);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
    assert_int_equal(d.open, 0);
}

/* --- lines of a file ---------------------------------------------------------------- */

static rlhf_tokenizer *byte_tokenizer(rlhf_context *context)
{
    static const char *const texts[1] = {"a"};
    static const size_t sizes[1] = {1};
    rlhf_tokenizer_train_options options;
    rlhf_tokenizer *tokenizer;

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 257; /* bytes and the one special token */
    assert_ok(rlhf_tokenizer_train(context, texts, sizes, 1, &options, &tokenizer));
    return tokenizer;
}

static double number_after(const char *line, const char *key)
{
    const char *at = strstr(line, key);

    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

static void assert_has(const char *line, const char *words)
{
    if (!strstr(line, words))
        fail_msg("no %s in %s", words, line);
}

static void test_lines_have_ids_text_score_kl_length_and_finish(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_tokenizer *tokenizer = byte_tokenizer(context);
    const int32_t eos = rlhf_tokenizer_eos_id(tokenizer);
    rlhf_model *policy = tiny_model(context, 257, CONTEXT, 1);
    rlhf_model *reference = tiny_model(context, 257, CONTEXT, 2);
    rlhf_ppo_options o = plain_options();
    rlhf_rollout_input input = spans();
    int32_t text[8];
    const uint8_t own_mask[8] = {0, 0, 0, 1, 1, 1};
    char expected[128];
    rlhf_ppo_trainer *trainer;
    int64_t count;

    (void)state;
    assert_ok(rlhf_tokenizer_encode(tokenizer, "a: \"b", 5, 0, text, 8, &count));
    assert_int_equal(count, 5);
    text[count] = eos;
    input.tokens = text;
    input.action_mask = own_mask;
    input.num_tokens = 6;
    input.score = .5;
    rlhf_rollout *rollout = rollout_of(context, &input);
    input.num_tokens = 5;
    input.score = NAN;
    input.finish = RLHF_FINISH_LENGTH;
    assert_ok(rlhf_rollout_append(rollout, &input));
    const char *path = test_join(folder, "samples.jsonl");
    assert_ok(rlhf_rollout_write_jsonl(rollout, NULL, path));
    const float scores[2] = {.5f, -1.25f};
    assert_ok(rlhf_rollout_set_scores(rollout, scores, 2));
    assert_ok(rlhf_ppo_trainer_create(policy, reference, NULL, NULL, &o, &trainer));
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    assert_ok(rlhf_rollout_write_jsonl(rollout, tokenizer, path)); /* appends */

    char *file = test_read(path, NULL), *lines[5];
    for (int i = 0; i < 5; i++)
        lines[i] = strtok(i ? NULL : file, "\n");
    assert_non_null(lines[3]);
    assert_null(lines[4]);
    snprintf(expected, sizeof expected,
             "\"prompt_ids\": [%d, %d, %d], \"completion_ids\": [%d, %d, %d]",
             (int)text[0], (int)text[1], (int)text[2], (int)text[3], (int)text[4],
             (int)eos);
    assert_has(lines[0], expected);
    assert_has(lines[2], expected);
    assert_has(lines[0], "\"kl\": null"); /* not yet */
    assert_has(lines[1], "\"score\": null");
    assert_null(strstr(lines[0], "\"prompt\":"));
    assert_has(lines[2], "\"prompt\": \"a: \", \"completion\": \"\\\"b\"");
    assert_has(lines[2], "\"length\": 3");
    assert_has(lines[3], "\"length\": 2");
    assert_has(lines[2], "\"finish\": \"stop\"");
    assert_has(lines[3], "\"finish\": \"length\"");
    for (int64_t i = 0; i < 2; i++) {
        assert_near("score", number_after(lines[2 + i], "\"score\": "), (double)scores[i],
                    0);
        assert_near("kl", number_after(lines[2 + i], "\"kl\": "),
                    sequence_of(rollout, i).kl, 0);
    }
    assert_true(sequence_of(rollout, 0).kl != 0);
    free(file);

    const char *padded = test_join(folder, "padded.jsonl");
    rlhf_rollout *beyond;
    input.finish = RLHF_FINISH_STOP;
    text[4] = 300; /* of a padded vocabulary: no text in an answer */
    beyond = rollout_of(context, &input);
    assert_ok(rlhf_rollout_write_jsonl(beyond, tokenizer, padded));
    file = test_read(padded, NULL);
    assert_has(file, "\"completion\": \"\\\"\"");
    free(file);
    rlhf_rollout_free(beyond);
    text[0] = 300; /* in a prompt it is a mistake */
    beyond = rollout_of(context, &input);
    assert_fails(rlhf_rollout_write_jsonl(beyond, tokenizer, padded),
                 RLHF_ERR_INVALID_ARG, "300");
    rlhf_rollout_free(beyond);
    rlhf_ppo_trainer_free(trainer);
    rlhf_rollout_free(rollout);
    rlhf_model_free(reference);
    rlhf_model_free(policy);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans_carry_the_networks_own_figures_at_their_actions),
        cmocka_unit_test(test_logprobs_not_given_are_computed_again_after_an_update),
        cmocka_unit_test(test_gae_goes_across_the_tokens_of_a_tool),
        cmocka_unit_test(test_host_trains_on_samples_of_its_own),
        cmocka_unit_test(test_host_sets_scores_and_they_replace_what_was_computed),
        cmocka_unit_test(test_sequence_without_a_score_is_named),
        cmocka_unit_test(test_scores_of_another_shape_are_refused),
        cmocka_unit_test(test_malformed_sequences_are_refused),
        cmocka_unit_test(test_rollout_that_does_not_fit_the_networks_is_refused),
        cmocka_unit_test(test_rollout_in_an_update_cannot_be_changed),
        cmocka_unit_test(test_update_under_way_can_be_abandoned),
        cmocka_unit_test(test_abandoned_update_keeps_its_steps),
        cmocka_unit_test(test_answers_under_way_can_be_abandoned),
        cmocka_unit_test_setup_teardown(
            test_lines_have_ids_text_score_kl_length_and_finish, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
