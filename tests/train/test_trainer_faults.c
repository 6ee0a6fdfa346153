/* What a host may do to a trainer or a generator and should not be able to break: ids
 * beyond the vocabulary, a rollout of another trainer, weights written in the middle,
 * log-probs from far away. */
#include "pitfalls.h"

#include <stdbool.h>

#include "test_files.h"

/* A model and what its trainers draw from: one text, one pair. */
typedef struct bench {
    rlhf_context *context;
    rlhf_model *model;
    rlhf_reward_model *reward;
    rlhf_dataset *texts, *pairs;
} bench;

static bench make_bench(void)
{
    static const int32_t row[3] = {BOS, 3, 4}, other[2] = {BOS, 5};
    const rlhf_example example = {.struct_size = sizeof example,
                                  .tokens = row,
                                  .num_tokens = 3,
                                  .prompt_length = 1,
                                  .rejected = other,
                                  .num_rejected = 2};
    const rlhf_example text = {
        .struct_size = sizeof text, .tokens = row, .num_tokens = 3};
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_dataset_options options;
    bench b = {.context = support_context(NULL, 1)};

    make_gpt2_like(&config);
    assert_ok(rlhf_model_create(b.context, &config, 1, &b.model));
    b.reward = scorer(b.model, RLHF_APPEND_EOS_NEVER, 1);
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    assert_ok(rlhf_dataset_create(b.context, &options, &b.texts));
    assert_ok(rlhf_dataset_append(b.texts, &text));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(b.context, &options, &b.pairs));
    assert_ok(rlhf_dataset_append(b.pairs, &example));
    return b;
}

static void free_bench(bench *b)
{
    rlhf_dataset_free(b->pairs);
    rlhf_dataset_free(b->texts);
    rlhf_reward_model_free(b->reward);
    rlhf_model_free(b->model);
    rlhf_context_free(b->context);
}

/* The optimizer computes with floats: what is infinite, 0 or 1 as one would train to
 * NaN. */
static void test_options_hold_as_floats(void **state)
{
    enum { FIELDS = 5 };
    static const char *const names[FIELDS] = {"learning_rate", "beta1", "beta2",
                                              "epsilon", "weight_decay"};
    static const double values[FIELDS] = {1e60, 1 - 1e-9, 1 - 1e-9, 1e-60, 1e60};
    rlhf_lm_options lm;
    rlhf_reward_options reward;
    rlhf_ppo_options ppo = plain_options(4);
    double *const all[3][FIELDS] = {
        {&lm.learning_rate, &lm.beta1, &lm.beta2, &lm.epsilon, &lm.weight_decay},
        {&reward.learning_rate, &reward.beta1, &reward.beta2, &reward.epsilon,
         &reward.weight_decay},
        {&ppo.learning_rate, &ppo.beta1, &ppo.beta2, &ppo.epsilon, &ppo.weight_decay}};
    rlhf_lm_trainer *lm_trainer;
    rlhf_reward_trainer *reward_trainer;
    rlhf_ppo_trainer *ppo_trainer;
    bench b = make_bench();

    (void)state;
    assert_ok(rlhf_lm_options_init(&lm, sizeof lm));
    assert_ok(rlhf_reward_options_init(&reward, sizeof reward));
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < FIELDS; i++) {
            const double usual = *all[k][i];
            *all[k][i] = values[i];
            const rlhf_status status =
                k == 0   ? rlhf_lm_trainer_create(b.model, b.texts, &lm, &lm_trainer)
                : k == 1 ? rlhf_reward_trainer_create(b.reward, b.pairs, &reward,
                                                      &reward_trainer)
                         : rlhf_ppo_trainer_create(b.model, NULL, NULL, NULL, &ppo,
                                                   &ppo_trainer);
            assert_fails(status, RLHF_ERR_INVALID_ARG, "as a float, got ");
            assert_field(names[i]);
            *all[k][i] = usual;
        }
    ppo.value_learning_rate = 1e60;
    assert_fails(rlhf_ppo_trainer_create(b.model, NULL, NULL, NULL, &ppo, &ppo_trainer),
                 RLHF_ERR_INVALID_ARG,
                 "value_learning_rate must be finite as a float, got 1e+60");
    ppo.value_learning_rate = 1e20;
    ppo.weight_decay = 1e20; /* their product */
    assert_fails(rlhf_ppo_trainer_create(b.model, NULL, NULL, NULL, &ppo, &ppo_trainer),
                 RLHF_ERR_INVALID_ARG, "value_learning_rate 1e+20 is too large");
    assert_field("value_learning_rate");
    lm.learning_rate = lm.weight_decay = 1e20;
    assert_fails(rlhf_lm_trainer_create(b.model, b.texts, &lm, &lm_trainer),
                 RLHF_ERR_INVALID_ARG, "learning_rate 1e+20 is too large");
    free_bench(&b);
}

static void test_rates_set_hold_as_floats(void **state)
{
    const rlhf_ppo_options options = plain_options(4);
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward;
    rlhf_ppo_trainer *ppo;
    bench b = make_bench();

    (void)state;
    assert_ok(rlhf_lm_trainer_create(b.model, b.texts, NULL, &lm));
    assert_ok(rlhf_reward_trainer_create(b.reward, b.pairs, NULL, &reward));
    assert_fails(rlhf_lm_trainer_set_learning_rate(lm, 1e60), RLHF_ERR_INVALID_ARG,
                 "got 1e+60");
    assert_field("learning_rate");
    assert_fails(rlhf_lm_trainer_set_learning_rate(lm, 1e-60), RLHF_ERR_INVALID_ARG,
                 "got 1e-60");
    assert_fails(rlhf_lm_trainer_set_learning_rate(lm, 1e38), RLHF_ERR_INVALID_ARG,
                 "learning_rate 1e+38 is too large for a beta1 of 0.9");
    assert_field("learning_rate");
    assert_fails(rlhf_reward_trainer_set_learning_rate(reward, 1e60),
                 RLHF_ERR_INVALID_ARG, "got 1e+60");
    rlhf_reward_trainer_free(reward);
    rlhf_lm_trainer_free(lm);
    assert_ok(rlhf_ppo_trainer_create(b.model, NULL, NULL, NULL, &options, &ppo));
    assert_fails(rlhf_ppo_trainer_set_learning_rate(ppo, 1e60, 1), RLHF_ERR_INVALID_ARG,
                 "got 1e+60");
    assert_field("learning_rate");
    assert_fails(rlhf_ppo_trainer_set_learning_rate(ppo, 1, 1e60), RLHF_ERR_INVALID_ARG,
                 "got 1e+60");
    assert_field("value_learning_rate");
    assert_fails(rlhf_ppo_trainer_set_kl_coef(ppo, 1e60), RLHF_ERR_INVALID_ARG,
                 "got 1e+60");
    assert_field("kl_coef");
    rlhf_ppo_trainer_free(ppo);
    free_bench(&b);
}

/* Not "all": on an endless source that would never return. */
static void test_evaluation_of_fewer_rows_than_none_is_refused(void **state)
{
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward;
    bench b = make_bench();
    double loss;

    (void)state;
    assert_ok(rlhf_lm_trainer_create(b.model, b.texts, NULL, &lm));
    assert_ok(rlhf_reward_trainer_create(b.reward, b.pairs, NULL, &reward));
    assert_fails(rlhf_lm_trainer_evaluate(lm, b.texts, -3, &loss), RLHF_ERR_INVALID_ARG,
                 "max_rows must be >= 0, got -3");
    assert_field("max_rows");
    assert_fails(rlhf_reward_trainer_evaluate(reward, b.pairs, -1, &stats),
                 RLHF_ERR_INVALID_ARG, "max_rows must be >= 0, got -1");
    assert_ok(rlhf_lm_trainer_evaluate(lm, b.texts, 0, &loss));
    rlhf_reward_trainer_free(reward);
    rlhf_lm_trainer_free(lm);
    free_bench(&b);
}

/* Weights that overflow: no call gives a NaN for a result. */
static void test_figures_that_are_not_finite_are_named(void **state)
{
    static const int32_t tokens[5] = {BOS, 3, 4, BOS, 2};
    static const int64_t cu_seqlens[3] = {0, 3, 5};
    float table[VOCAB * WIDTH], logprobs[5];
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward;
    bench b = make_bench();
    double loss;

    (void)state;
    for (int i = 0; i < VOCAB * WIDTH; i++)
        table[i] = 3e38f;
    assert_ok(rlhf_lm_trainer_create(b.model, b.texts, NULL, &lm));
    assert_ok(rlhf_reward_trainer_create(b.reward, b.pairs, NULL, &reward));
    assert_ok(rlhf_model_parameter_write(b.model, "transformer.wte.weight", table,
                                         VOCAB * WIDTH));
    assert_ok(rlhf_reward_model_parameter_write(b.reward, "transformer.wte.weight", table,
                                                VOCAB * WIDTH));
    assert_fails(rlhf_model_logprobs(b.model, tokens, cu_seqlens, 2, 1, logprobs),
                 RLHF_ERR_NUMERIC, "log-probability of tokens[1] is not finite");
    assert_fails(rlhf_lm_trainer_evaluate(lm, b.texts, 0, &loss), RLHF_ERR_NUMERIC,
                 "log-probability of token 1 of row 0 is not finite");
    assert_fails(rlhf_reward_trainer_evaluate(reward, b.pairs, 0, &stats),
                 RLHF_ERR_NUMERIC, "score of the chosen answer of row 0 is not finite");
    rlhf_reward_trainer_free(reward);
    rlhf_lm_trainer_free(lm);
    free_bench(&b);
}

static rlhf_example long_row(int32_t *tokens, int64_t count)
{
    for (int64_t t = 0; t < count; t++)
        tokens[t] = (int32_t)(t % VOCAB);
    return (rlhf_example){
        .struct_size = sizeof(rlhf_example), .tokens = tokens, .num_tokens = count};
}

/* A row that would block the trainer for good is found when it is made. */
static void test_rows_too_long_are_named_at_once(void **state)
{
    int32_t tokens[LENGTH + 2];
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward;
    bench b = make_bench();
    rlhf_example row = long_row(tokens, LENGTH + 1);
    double loss;

    (void)state;
    assert_ok(rlhf_dataset_append(b.texts, &row)); /* its last token is not read */
    assert_ok(rlhf_lm_trainer_create(b.model, b.texts, NULL, &lm));
    assert_ok(rlhf_lm_trainer_evaluate(lm, b.texts, 0, &loss));
    row.num_tokens++;
    tokens[LENGTH + 1] = 2;
    assert_ok(rlhf_dataset_append(b.texts, &row)); /* later than the trainer */
    for (int i = 0; i < 2; i++)
        assert_fails(rlhf_lm_trainer_step(lm, NULL), RLHF_ERR_INVALID_ARG,
                     "row 2 has 34 tokens, more than the 33 that a context_length of 32 "
                     "takes");
    assert_fails(rlhf_lm_trainer_evaluate(lm, b.texts, 0, &loss), RLHF_ERR_INVALID_ARG,
                 "row 2 has 34 tokens");
    rlhf_lm_trainer_free(lm);
    assert_fails(rlhf_lm_trainer_create(b.model, b.texts, NULL, &lm),
                 RLHF_ERR_INVALID_ARG,
                 "row 2 has 34 tokens, more than the 33 that a context_length of 32 "
                 "takes; the dataset's max_length is ");

    row.prompt_length = 1;
    row.num_tokens = 3;
    row.rejected = tokens;
    row.num_rejected = LENGTH;
    assert_ok(rlhf_dataset_append(b.pairs, &row));
    assert_ok(rlhf_reward_trainer_create(b.reward, b.pairs, NULL, &reward));
    rlhf_reward_trainer_free(reward);
    row.num_rejected++;
    assert_ok(rlhf_dataset_append(b.pairs, &row));
    assert_fails(rlhf_reward_trainer_create(b.reward, b.pairs, NULL, &reward),
                 RLHF_ERR_INVALID_ARG,
                 "the rejected side of row 2 has 33 tokens, more than the 32 that");
    free_bench(&b);
}

static rlhf_status next_long_row(void *user_data, rlhf_example *out)
{
    *out = long_row(user_data, LENGTH + 2);
    out->id = 41;
    return RLHF_OK;
}

/* A source cannot be looked at: the step names the row as the host does. */
static void test_row_too_long_of_a_source_is_named(void **state)
{
    static const rlhf_source_ops ops = {.struct_size = sizeof ops, .next = next_long_row};
    int32_t tokens[LENGTH + 2];
    rlhf_dataset *source;
    rlhf_lm_trainer *lm;
    bench b = make_bench();

    (void)state;
    assert_ok(rlhf_dataset_create_from_source(b.context, RLHF_DATASET_TEXT, &ops, tokens,
                                              &source));
    assert_ok(rlhf_lm_trainer_create(b.model, source, NULL, &lm));
    assert_fails(rlhf_lm_trainer_step(lm, NULL), RLHF_ERR_INVALID_ARG,
                 "row 41 has 34 tokens, more than the 33");
    rlhf_lm_trainer_free(lm);
    rlhf_dataset_free(source);
    free_bench(&b);
}

/* An id that the model does not know is found as a length is. A row's last token is a
 * target only, no input: it is checked all the same. */
static void test_ids_beyond_the_vocabulary_are_named_at_once(void **state)
{
    int32_t tokens[3] = {BOS, 3, VOCAB};
    const int32_t other[3] = {BOS, 4, -1};
    rlhf_example row = {.struct_size = sizeof row, .tokens = tokens, .num_tokens = 3};
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward;
    bench b = make_bench();
    double loss;

    (void)state;
    assert_ok(rlhf_lm_trainer_create(b.model, b.texts, NULL, &lm));
    assert_ok(rlhf_dataset_append(b.texts, &row)); /* later than the trainer */
    assert_fails(rlhf_lm_trainer_step(lm, NULL), RLHF_ERR_INVALID_ARG,
                 "row 1: tokens[2] must be in [0, 8), got 8");
    assert_fails(rlhf_lm_trainer_evaluate(lm, b.texts, 0, &loss), RLHF_ERR_INVALID_ARG,
                 "row 1: tokens[2] must be in [0, 8), got 8");
    rlhf_lm_trainer_free(lm);
    assert_fails(rlhf_lm_trainer_create(b.model, b.texts, NULL, &lm),
                 RLHF_ERR_INVALID_ARG, "row 1: tokens[2] must be in [0, 8), got 8");
    assert_field("tokens");

    tokens[2] = 5;
    row.prompt_length = 1;
    row.rejected = other;
    row.num_rejected = 2;
    assert_ok(rlhf_dataset_append(b.pairs, &row));
    tokens[1] = VOCAB + 1;
    row.rejected = tokens;
    row.tokens = other;
    row.num_tokens = 2;
    assert_ok(rlhf_dataset_append(b.pairs, &row));
    assert_fails(rlhf_reward_trainer_create(b.reward, b.pairs, NULL, &reward),
                 RLHF_ERR_INVALID_ARG,
                 "the rejected side of row 2: tokens[1] must be in [0, 8), got 9");
    free_bench(&b);
}

/* Rows 100 and on; 101 is too long, 102 has an id that the model does not know. */
typedef struct faulty_source {
    int32_t tokens[LENGTH + 2];
    int64_t next, end;
} faulty_source;

static rlhf_status next_faulty_row(void *user_data, rlhf_example *out)
{
    faulty_source *own = user_data;

    if (own->next == own->end)
        return RLHF_ERR_NOT_FOUND;
    *out = long_row(own->tokens, own->next == 1 ? LENGTH + 2 : 4);
    own->tokens[3] = own->next == 2 ? VOCAB : 3;
    out->id = 100 + own->next++;
    return RLHF_OK;
}

/* A refused row is named once; the step goes on with the others. */
static void test_step_goes_on_without_a_refused_row(void **state)
{
    static const rlhf_source_ops ops = {.struct_size = sizeof ops,
                                        .next = next_faulty_row};
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    faulty_source own = {.end = 5};
    rlhf_lm_options options;
    rlhf_dataset *source;
    rlhf_lm_trainer *lm;
    bench b = make_bench();

    (void)state;
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 2;
    assert_ok(rlhf_dataset_create_from_source(b.context, RLHF_DATASET_TEXT, &ops, &own,
                                              &source));
    assert_ok(rlhf_lm_trainer_create(b.model, source, &options, &lm));
    assert_fails(rlhf_lm_trainer_step(lm, &stats), RLHF_ERR_INVALID_ARG,
                 "row 101 has 34 tokens, more than the 33");
    assert_fails(rlhf_lm_trainer_step(lm, &stats), RLHF_ERR_INVALID_ARG,
                 "row 102: tokens[3] must be in [0, 8), got 8");
    assert_ok(rlhf_lm_trainer_step(lm, &stats));
    assert_int_equal(stats.num_tokens, 8); /* rows 100 and 103 */
    assert_ok(rlhf_lm_trainer_step(lm, &stats));
    assert_int_equal(stats.num_tokens, 4);
    assert_int_equal(stats.step, 2);
    assert_fails(rlhf_lm_trainer_step(lm, &stats), RLHF_ERR_NOT_FOUND, "no more rows");
    rlhf_lm_trainer_free(lm);
    rlhf_dataset_free(source);
    free_bench(&b);
}

/* The critic is a copy of it then, which the caller never gave. */
static void test_reward_model_is_blamed_for_its_own(void **state)
{
    const rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_model *other = tiny_model(context, VOCAB + 1, LENGTH, 1);
    rlhf_reward_model *reward = scorer(other, RLHF_APPEND_EOS_NEVER, 1);
    rlhf_ppo_trainer *trainer;

    (void)state;
    assert_fails(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer),
                 RLHF_ERR_INVALID_ARG, "the reward model has a vocabulary of 9");
    rlhf_reward_model_free(reward);
    rlhf_model_free(other);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

static void test_stop_token_beyond_the_vocabulary_is_named(void **state)
{
    rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_ppo_trainer *trainer;

    (void)state;
    options.stop_token_id = VOCAB;
    assert_fails(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer),
                 RLHF_ERR_INVALID_ARG, "got 8");
    assert_field("stop_token_id");
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* Many sequences go through several passes; each is named by its place in all of them, a
 * token by its place in the sequence. */
static void test_sequence_at_fault_is_named_by_its_index(void **state)
{
    enum { SEQS = 200, BAD_ID = 150, TOO_LONG = 170 };
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_reward_model *reward = scorer(model, RLHF_APPEND_EOS_IF_MISSING, 1);
    rlhf_rollout *rollout = empty_rollout(context);
    const rlhf_ppo_options options = plain_options(4);
    rlhf_ppo_trainer *trainer;
    int32_t tokens[SEQS * LENGTH + 1];
    int64_t cu_seqlens[SEQS + 1];
    float scores[SEQS];

    (void)state;
    for (int t = 0; t <= SEQS * LENGTH; t++)
        tokens[t] = 2 + t % 5;
    for (int s = 0; s <= SEQS; s++)
        cu_seqlens[s] = (int64_t)s * LENGTH + (s > TOO_LONG);
    assert_fails(rlhf_reward_model_score(reward, tokens, cu_seqlens, SEQS, scores),
                 RLHF_ERR_INVALID_ARG, "sequence 170 has 33 tokens");
    tokens[BAD_ID * LENGTH + 2] = VOCAB;
    assert_fails(rlhf_reward_model_score(reward, tokens, cu_seqlens, SEQS, scores),
                 RLHF_ERR_INVALID_ARG,
                 "sequence 150: tokens[2] must be in [0, 8), got 8");
    assert_fails(rlhf_reward_model_normalize(reward, tokens, cu_seqlens, SEQS, 1),
                 RLHF_ERR_INVALID_ARG, "sequence 150: tokens[2]");

    assert_ok(rlhf_ppo_trainer_create(model, NULL, reward, NULL, &options, &trainer));
    add_answer(rollout, tokens, 4, 2, NULL, 1);
    add_answer(rollout, tokens + BAD_ID * LENGTH, 4, 2, NULL, 1);
    assert_fails(rlhf_ppo_trainer_score(trainer, rollout), RLHF_ERR_INVALID_ARG,
                 "sequence 1: tokens[2] must be in [0, 8), got 8");
    assert_fails(rlhf_ppo_trainer_advantages(trainer, rollout), RLHF_ERR_INVALID_ARG,
                 "sequence 1: tokens[2] must be in [0, 8), got 8");
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* Advantages by a trainer of a larger vocabulary or a longer context do not carry a
 * rollout into the update of one that cannot read it. */
static void test_rollout_of_a_larger_trainer_is_refused(void **state)
{
    const int32_t tokens[3] = {BOS, 1, VOCAB - 1};
    const double p[4] = {.25, .25, .25, .25};
    const rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *large = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_model *small = known_model(context, 4, p);
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *first, *second;
    int64_t remaining;

    (void)state;
    assert_ok(rlhf_ppo_trainer_create(large, NULL, NULL, NULL, &options, &first));
    assert_ok(rlhf_ppo_trainer_create(small, NULL, NULL, NULL, &options, &second));
    add_answer(rollout, tokens, 3, 2, NULL, 1);
    assert_ok(rlhf_ppo_trainer_advantages(first, rollout));
    assert_fails(rlhf_ppo_trainer_update(second, rollout, NULL), RLHF_ERR_INVALID_ARG,
                 "[0, 4), got 7");
    assert_fails(rlhf_ppo_trainer_accumulate(second, rollout, &remaining),
                 RLHF_ERR_INVALID_ARG, "[0, 4), got 7");
    assert_ok(
        rlhf_ppo_trainer_update(first, rollout, NULL)); /* it is still the first one's */
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(second);
    rlhf_ppo_trainer_free(first);
    rlhf_model_free(small);
    rlhf_model_free(large);
    rlhf_context_free(context);
}

/* A sample that the policy finds e^200 times likelier than its sampler said: its
 * gradient is not finite, and max_mean_ratio is what skips such a minibatch. */
static void test_minibatch_of_enormous_ratio_is_skipped(void **state)
{
    const int32_t tokens[3] = {BOS, 3, EOS};
    const float far[3] = {0, 0, -200};
    rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1), *before;
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *trainer;

    (void)state;
    options.max_mean_ratio = 10;
    options.learning_rate = 1e-2;
    assert_ok(rlhf_model_clone(policy, &before));
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    add_answer(rollout, tokens, 3, 2, far, -1);
    const rlhf_ppo_stats stats = update_on(trainer, rollout);
    assert_int_equal(stats.num_steps, 0);
    assert_true(stats.ratio > 1e80);
    assert_same_model(policy, before);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(before);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* Of so many sequences that one adaptive step would take beta below 0, and with it
 * turn the penalty into a reward. */
static void test_horizon_too_short_for_the_rollout_is_refused(void **state)
{
    const int32_t tokens[3] = {BOS, 3, EOS};
    rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_rollout *rollout = empty_rollout(context);
    rlhf_ppo_trainer *trainer;

    (void)state;
    options.kl_coef = 0.1;
    options.kl_target = 6;
    options.kl_horizon = 1;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    for (int i = 0; i < 5; i++)
        add_answer(rollout, tokens, 3, 2, NULL, 1);
    assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
    assert_fails(rlhf_ppo_trainer_update(trainer, rollout, NULL), RLHF_ERR_INVALID_ARG,
                 "kl_horizon");
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* An iteration of warm-up counts itself: the first of four has a quarter of the rate. */
static void test_first_warmup_iteration_learns(void **state)
{
    static const double expected[5] = {.25, .5, .75, 1, 1};
    const int32_t tokens[3] = {BOS, 3, EOS};
    rlhf_ppo_options options = plain_options(4);
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = awake_model(context, RLHF_POSITION_ROTARY, 1);
    rlhf_ppo_trainer *trainer;

    (void)state;
    options.learning_rate = 1e-3;
    options.warmup_iterations = 4;
    options.value_learning_rate = 2e-3;
    options.value_warmup_iterations = 2;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    for (int i = 0; i < 5; i++) {
        rlhf_rollout *rollout = empty_rollout(context);
        add_answer(rollout, tokens, 3, 2, NULL, 1);
        const rlhf_ppo_stats stats = update_on(trainer, rollout);
        expect_near("learning_rate", stats.learning_rate, 1e-3 * expected[i], 1e-12);
        expect_near("value_learning_rate", stats.value_learning_rate,
                    i == 0 ? 1e-3 : 2e-3, 1e-12);
        rlhf_rollout_free(rollout);
    }
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* Weights written while answers are under way: they go on as the new weights would
 * from the tokens so far, not on keys and values of the old ones. */
static void test_weights_written_in_the_middle_of_an_answer(void **state)
{
    const int32_t prompt[4] = {BOS, 3, 5, 2};
    const int64_t cu_seqlens[2] = {0, 4};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = awake_model(context, RLHF_POSITION_LEARNED, 1);
    rlhf_model *other = awake_model(context, RLHF_POSITION_LEARNED, 2);
    rlhf_generator_options options;
    rlhf_generator *generator, *expected;
    rlhf_generation a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    int64_t left;

    (void)state;
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 10;
    options.use_stop_tokens = 0;
    options.seed = 3;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, prompt, cu_seqlens, 1, NULL));
    for (int i = 0; i < 4; i++)
        assert_ok(rlhf_generator_step(generator, &left));
    for (int64_t i = 0; i < rlhf_model_num_parameter_names(other); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_model_parameter_info(other, i, &info));
        const int64_t count = info.rows * info.cols;
        float *values = malloc((size_t)count * sizeof *values);
        assert_ok(rlhf_model_parameter_read(other, info.name, values, count));
        assert_ok(rlhf_model_parameter_write(model, info.name, values, count));
        free(values);
    }
    assert_ok(rlhf_generator_run(generator));
    assert_ok(rlhf_generator_get(generator, 0, &a));
    options.max_new_tokens = 6;
    assert_ok(rlhf_generator_create(other, NULL, &options, &expected));
    assert_ok(rlhf_generator_start(expected, a.tokens, (const int64_t[]){0, 8}, 1, NULL));
    assert_ok(rlhf_generator_run(expected));
    assert_ok(rlhf_generator_get(expected, 0, &b));
    assert_int_equal(a.num_tokens, 14);
    assert_memory_equal(a.tokens, b.tokens, 14 * sizeof *a.tokens);
    assert_memory_equal(a.logprobs + 4, b.logprobs, 6 * sizeof *a.logprobs);
    rlhf_generator_free(expected);
    rlhf_generator_free(generator);
    rlhf_model_free(other);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void check_resume(rlhf_context *context, const rlhf_model_config *config,
                         rlhf_dataset *dataset, const char *path, bool saves,
                         const char *refusal)
{
    rlhf_model *model;
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_model_create(context, config, 1, &model));
    assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
    if (saves)
        assert_ok(rlhf_lm_trainer_save(trainer, path));
    else if (refusal)
        assert_fails(rlhf_lm_trainer_resume(trainer, path), RLHF_ERR_INVALID_ARG,
                     refusal);
    else
        assert_ok(rlhf_lm_trainer_resume(trainer, path));
    rlhf_lm_trainer_free(trainer);
    rlhf_model_free(model);
}

/* Weights of equal shapes are not of an equal function. */
static void test_state_of_another_config_is_refused(void **state)
{
    const int32_t row[3] = {BOS, 3, 4};
    const rlhf_example example = {
        .struct_size = sizeof example, .tokens = row, .num_tokens = 3};
    const rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    const char *other = "of a model with another config";
    rlhf_context *context = support_context(NULL, 1);
    rlhf_dataset *dataset;
    char folder[TEST_PATH], path[TEST_PATH + 8];

    (void)state;
    test_folder_make(folder);
    snprintf(path, sizeof path, "%s/state", folder);
    assert_ok(rlhf_dataset_create(context, NULL, &dataset));
    assert_ok(rlhf_dataset_append(dataset, &example));
    check_resume(context, &config, dataset, path, true, NULL);
    check_resume(context, &config, dataset, path, false, NULL);
    rlhf_model_config heads = config, eos = config, theta = config, longer = config;
    heads.num_heads = 4;
    eos.eos_token_id = 2;
    theta.rope_theta = 500000;
    longer.context_length *= 2; /* with rotary positions the function is the same */
    check_resume(context, &heads, dataset, path, false, other);
    check_resume(context, &eos, dataset, path, false, other);
    check_resume(context, &theta, dataset, path, false, other);
    check_resume(context, &longer, dataset, path, false, NULL);
    rlhf_dataset_free(dataset);
    rlhf_context_free(context);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_hold_as_floats),
        cmocka_unit_test(test_rates_set_hold_as_floats),
        cmocka_unit_test(test_evaluation_of_fewer_rows_than_none_is_refused),
        cmocka_unit_test(test_figures_that_are_not_finite_are_named),
        cmocka_unit_test(test_rows_too_long_are_named_at_once),
        cmocka_unit_test(test_row_too_long_of_a_source_is_named),
        cmocka_unit_test(test_reward_model_is_blamed_for_its_own),
        cmocka_unit_test(test_stop_token_beyond_the_vocabulary_is_named),
        cmocka_unit_test(test_ids_beyond_the_vocabulary_are_named_at_once),
        cmocka_unit_test(test_step_goes_on_without_a_refused_row),
        cmocka_unit_test(test_sequence_at_fault_is_named_by_its_index),
        cmocka_unit_test(test_rollout_of_a_larger_trainer_is_refused),
        cmocka_unit_test(test_minibatch_of_enormous_ratio_is_skipped),
        cmocka_unit_test(test_horizon_too_short_for_the_rollout_is_refused),
        cmocka_unit_test(test_first_warmup_iteration_learns),
        cmocka_unit_test(test_weights_written_in_the_middle_of_an_answer),
        cmocka_unit_test(test_state_of_another_config_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
