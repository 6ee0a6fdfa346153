/* PPO's unique optimum is pi* ~ pi_ref exp(R / beta): on a bandit and on sequences that
 * can be enumerated the policy has to get there. Fine-tuning has to reach the answer that
 * it is given. */
#include "tiny.h"

#include <math.h>

enum { BOS = 0, EOS = 1 };

/* log p of a sequence's tokens after its first, summed. */
static double logprob_of(rlhf_model *model, const int32_t *tokens, int64_t count)
{
    const int64_t cu_seqlens[2] = {0, count};
    float logprobs[16];
    double sum = 0;

    assert_ok(rlhf_model_logprobs(model, tokens, cu_seqlens, 1, 1.0, logprobs));
    for (int64_t i = 1; i < count; i++)
        sum += (double)logprobs[i];
    return sum;
}

/* Every sequence of a small tree: BOS, then up to two tokens of {1, 2, 3}; 1 ends it. */
typedef struct leaf {
    int32_t tokens[3];
    int64_t count;
    double score;
} leaf;

static int make_leaves(leaf *leaves)
{
    int n = 0;

    leaves[n++] = (leaf){{BOS, EOS}, 2, 0.2};
    for (int32_t a = 2; a < 4; a++)
        for (int32_t b = 1; b < 4; b++, n++)
            leaves[n] =
                (leaf){{BOS, a, b}, 3, 0.8 * (a == 2) - 0.5 * (b == 3) + 0.3 * (a == b)};
    return n;
}

static double score_of(const leaf *leaves, int n, const int32_t *tokens, int64_t count)
{
    for (int i = 0; i < n; i++)
        if (leaves[i].count == count &&
            memcmp(leaves[i].tokens, tokens, (size_t)count * sizeof *tokens) == 0)
            return leaves[i].score;
    fail_msg("a sequence of %d tokens is not in the tree", (int)count);
    return 0;
}

static rlhf_ppo_options tree_options(double beta, int32_t length, int64_t iterations)
{
    rlhf_ppo_options o;

    assert_ok(rlhf_ppo_options_init(&o, sizeof o));
    o.max_new_tokens = length;
    o.stop_token_id = length > 1 ? EOS : -2;
    o.kl_coef = beta;
    o.gamma = 1;
    o.lam = 1;
    o.num_epochs = 1;
    o.num_minibatches = 1;
    o.whiten_advantages = 1;
    o.learning_rate = 1e-2;
    o.value_learning_rate = 1e-2;
    o.schedule = o.value_schedule = RLHF_SCHEDULE_COSINE;
    o.final_lr_ratio = 0.01;
    o.total_iterations = iterations;
    o.max_grad_norm = o.value_max_grad_norm = 0;
    o.missing_eos = RLHF_MISSING_EOS_IGNORE;
    return o;
}

/* Trains on copies of the prompt BOS; scores from the tree. */
static void train(rlhf_ppo_trainer *trainer, const leaf *leaves, int n,
                  int64_t iterations, int64_t batch)
{
    int32_t *tokens = calloc((size_t)batch, sizeof *tokens);
    int64_t *cu_seqlens = malloc((size_t)(batch + 1) * sizeof *cu_seqlens);
    float *scores = malloc((size_t)batch * sizeof *scores);

    for (int64_t i = 0; i <= batch; i++)
        cu_seqlens[i] = i;
    for (int64_t it = 0; it < iterations; it++) {
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        rlhf_rollout *rollout;
        assert_ok(rlhf_ppo_trainer_rollout(trainer, tokens, cu_seqlens, batch, &rollout));
        for (int64_t i = 0; i < batch; i++) {
            rlhf_rollout_sequence s = {.struct_size = sizeof s};
            assert_ok(rlhf_rollout_get(rollout, i, &s));
            scores[i] = (float)score_of(leaves, n, s.tokens, s.num_tokens);
        }
        assert_ok(rlhf_rollout_set_scores(rollout, scores, batch));
        assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
        assert_ok(rlhf_ppo_trainer_update(trainer, rollout, &stats));
        if (stats.first_ratio_deviation != 0)
            fail_msg("the first ratio of iteration %d is off by %g", (int)it,
                     stats.first_ratio_deviation);
        if (it == 0 && stats.kl != 0)
            fail_msg("the KL of the first iteration is %g", stats.kl);
        rlhf_rollout_free(rollout);
    }
    free(tokens);
    free(cu_seqlens);
    free(scores);
}

/* Total variation between the policy and pi* over the leaves. */
static double distance(rlhf_model *policy, rlhf_model *reference, const leaf *leaves,
                       int n, double beta)
{
    double weights[16], total = 0, sum = 0;

    for (int i = 0; i < n; i++)
        total += weights[i] =
            exp(logprob_of(reference, leaves[i].tokens, leaves[i].count) +
                leaves[i].score / beta);
    for (int i = 0; i < n; i++)
        sum += fabs(weights[i] / total -
                    exp(logprob_of(policy, leaves[i].tokens, leaves[i].count)));
    return sum / 2;
}

/* A policy of which `uniform` says that every token is as likely as any other. */
static rlhf_model *make_policy(rlhf_context *context, int32_t vocab, int uniform)
{
    rlhf_model_config config = tiny_config(vocab, 8);
    float *zeros = calloc((size_t)vocab * 16, sizeof *zeros);
    rlhf_model *policy;

    /* Rotary positions cannot tell BOS BOS from BOS: equal tokens mix to equal values. */
    config.position = RLHF_POSITION_LEARNED;
    config.num_layers = 1;
    config.tie_embeddings = 0;
    assert_ok(rlhf_model_create(context, &config, 5, &policy));
    if (uniform)
        assert_ok(rlhf_model_parameter_write(policy, "lm_head.weight", zeros,
                                             (int64_t)vocab * 16));
    free(zeros);
    return policy;
}

/* What PPO maximises: sum p (R - beta log(p / p_ref)); *out_kl is its KL. */
static double objective(rlhf_model *policy, rlhf_model *reference, const leaf *leaves,
                        int n, double beta, double *out_kl)
{
    double sum = 0;

    *out_kl = 0;
    for (int i = 0; i < n; i++) {
        const double p = logprob_of(policy, leaves[i].tokens, leaves[i].count);
        const double delta = p - logprob_of(reference, leaves[i].tokens, leaves[i].count);
        sum += exp(p) * leaves[i].score;
        *out_kl += exp(p) * delta;
    }
    return sum - beta * *out_kl;
}

static void check_optimum(const leaf *leaves, int n, int32_t vocab, int32_t length,
                          double beta, int64_t iterations, const double published[2])
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = make_policy(context, vocab, published != NULL), *reference,
               *before;
    const rlhf_ppo_options options = tree_options(beta, length, iterations);
    rlhf_ppo_trainer *trainer;
    double kl;

    assert_ok(rlhf_model_clone(policy, &reference));
    assert_ok(rlhf_model_clone(policy, &before));
    assert_ok(rlhf_ppo_trainer_create(policy, reference, NULL, NULL, &options, &trainer));
    const double start = distance(policy, reference, leaves, n, beta);
    train(trainer, leaves, n, iterations, 128);
    const double end = distance(policy, reference, leaves, n, beta);
    if (!(end < 0.01) || !(start > 0.1))
        fail_msg("total variation from pi* is %.4f (%.4f before)", end, start);
    const double reached = objective(policy, reference, leaves, n, beta, &kl);
    if (published &&
        !(fabs(reached - published[0]) < 0.002 && fabs(kl - published[1]) < 0.02))
        fail_msg("objective %.6f, KL %.6f; the optimum has %.6f, %.6f", reached, kl,
                 published[0], published[1]);
    assert_same_model(reference, before); /* frozen, to the bit */
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(before);
    rlhf_model_free(reference);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

/* Three arms, uniform reference, R = [1, 0, 0]. */
static const leaf arms[3] = {{{BOS, 0}, 2, 1}, {{BOS, 1}, 2, 0}, {{BOS, 2}, 2, 0}};

/* pi* = [.576117, .211942, .211942] */
static void test_bandit_reaches_the_closed_form_at_beta_1(void **state)
{
    (void)state;
    check_optimum(arms, 3, 3, 1, 1, 80, (const double[]){.452832, .123284});
}

/* pi* = [.786986, .106507, .106507] */
static void test_bandit_reaches_the_closed_form_at_beta_half(void **state)
{
    (void)state;
    check_optimum(arms, 3, 3, 1, .5, 80, (const double[]){.570466, .433040});
}

static void test_sequences_reach_the_closed_form(void **state)
{
    leaf leaves[16];
    /* The leaves of token 0, and those that end in it, score 0. */
    const int n = make_leaves(leaves);
    leaf all[16];
    int m = 0;

    (void)state;
    for (int i = 0; i < n; i++)
        all[m++] = leaves[i];
    all[m++] = (leaf){{BOS, 0, 0}, 3, 0};
    all[m++] = (leaf){{BOS, 0, 1}, 3, 0};
    all[m++] = (leaf){{BOS, 0, 2}, 3, 0};
    all[m++] = (leaf){{BOS, 0, 3}, 3, 0};
    all[m++] = (leaf){{BOS, 2, 0}, 3, 0};
    all[m++] = (leaf){{BOS, 3, 0}, 3, 0};
    check_optimum(all, m, 4, 2, 0.5, 120, NULL);
}

/* The loss of one row is the mean over its answer, from the first token to EOS, of
 * -log p; an answer may be EOS alone. */
static void test_first_answer_token_and_eos_carry_the_loss(void **state)
{
    static const int32_t row[6] = {BOS, 5, 4, 3, 6, EOS};
    static const int64_t cu_seqlens[2] = {0, 6};
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, 8, 16, 3);
    float logprobs[6];

    (void)state;
    assert_ok(rlhf_model_logprobs(model, row, cu_seqlens, 1, 1.0, logprobs));
    for (int64_t prompt = 3; prompt < 6; prompt++) {
        const rlhf_example example = {.struct_size = sizeof example,
                                      .tokens = row,
                                      .num_tokens = 6,
                                      .prompt_length = prompt};
        rlhf_dataset_options data_options;
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        rlhf_dataset *dataset;
        rlhf_lm_trainer *trainer;
        double loss, expected = 0;
        for (int64_t t = prompt; t < 6; t++)
            expected -= (double)logprobs[t] / (double)(6 - prompt);
        assert_ok(rlhf_dataset_options_init(&data_options, sizeof data_options));
        data_options.kind = RLHF_DATASET_COMPLETION;
        data_options.num_epochs = 1;
        assert_ok(rlhf_dataset_create(context, &data_options, &dataset));
        assert_ok(rlhf_dataset_append(dataset, &example));
        assert_ok(rlhf_lm_trainer_create(model, dataset, NULL, &trainer));
        assert_ok(rlhf_lm_trainer_evaluate(trainer, dataset, 0, &loss));
        if (!(fabs(loss - expected) < 1e-6))
            fail_msg("loss %.9g, expected %.9g", loss, expected);
        assert_ok(rlhf_lm_trainer_step(trainer, &stats)); /* rate 0: warm-up */
        assert_int_equal(stats.num_targets, 6 - prompt);
        if (!(fabs(stats.loss - expected) < 1e-6))
            fail_msg("loss of the step %.9g, expected %.9g", stats.loss, expected);
        rlhf_lm_trainer_free(trainer);
        rlhf_dataset_free(dataset);
    }
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* One answer for every prompt: its first token and its EOS carry the loss too. */
static void test_fine_tuning_learns_a_constant_answer_and_its_end(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, 8, 16, 3);
    rlhf_dataset_options data_options;
    rlhf_lm_options options;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
    float logprobs[6];

    (void)state;
    assert_ok(rlhf_dataset_options_init(&data_options, sizeof data_options));
    data_options.kind = RLHF_DATASET_COMPLETION;
    assert_ok(rlhf_dataset_create(context, &data_options, &dataset));
    for (int32_t p = 2; p < 8; p++) {
        const int32_t row[6] = {BOS, p, 9 - p, 4, 6, EOS};
        const rlhf_example example = {.struct_size = sizeof example,
                                      .tokens = row,
                                      .num_tokens = 6,
                                      .prompt_length = 3};
        assert_ok(rlhf_dataset_append(dataset, &example));
    }
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.learning_rate = 1e-2;
    options.batch_size = 6;
    options.total_steps = 150;
    options.warmup_steps = 0;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    for (int i = 0; i < 150; i++) {
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_lm_trainer_step(trainer, &stats));
        assert_int_equal(stats.num_targets, 6 * 3);
    }
    const int32_t row[6] = {BOS, 5, 4, 4, 6, EOS};
    const int64_t cu_seqlens[2] = {0, 6};
    assert_ok(rlhf_model_logprobs(model, row, cu_seqlens, 1, 1.0, logprobs));
    for (int t = 3; t < 6; t++)
        if (!(exp((double)logprobs[t]) > 0.99))
            fail_msg("p of token %d of the answer is %g", t - 3,
                     exp((double)logprobs[t]));
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bandit_reaches_the_closed_form_at_beta_1),
        cmocka_unit_test(test_bandit_reaches_the_closed_form_at_beta_half),
        cmocka_unit_test(test_sequences_reach_the_closed_form),
        cmocka_unit_test(test_first_answer_token_and_eos_carry_the_loss),
        cmocka_unit_test(test_fine_tuning_learns_a_constant_answer_and_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
