/* The critic against what it must become: the exact value of every prefix of a tree whose
 * answers are all there in their proportions, and, started from a normalised reward
 * model, no worse than the mean at once. */
#include "train_support.h"

enum { DEPTH = 3, VOCAB = 4, ITERATIONS = 250 };

/* --- the enumerated tree ------------------------------------------------------------ */

/* All answers to BOS of at most DEPTH tokens under the uniform policy: token EOS ends one
 * (or does not, with `ends` 0). An answer that ends early is there as often as it would
 * be sampled: each once for every way of filling the rest. */
typedef struct tree {
    int ends;
    int64_t num_paths;
    int32_t paths[64][DEPTH];
    int64_t lengths[64];
    double scores[64];
} tree;

static double score_of(const int32_t *answer, int64_t n)
{
    double score = n == 1 ? .4 : n == 2 ? -.3 : .1;

    for (int64_t t = 0; t < n; t++)
        score += (answer[t] == 2) * .8 * (double)(t + 1) - (answer[t] == 3) * .5;
    return score;
}

static void make_tree(tree *t, int ends)
{
    t->ends = ends;
    t->num_paths = VOCAB * VOCAB * VOCAB;
    for (int32_t i = 0; i < t->num_paths; i++) {
        int32_t *path = t->paths[i];
        path[0] = i / (VOCAB * VOCAB);
        path[1] = i / VOCAB % VOCAB;
        path[2] = i % VOCAB;
        t->lengths[i] = DEPTH;
        for (int64_t n = DEPTH; ends && n > 0; n--)
            if (path[n - 1] == EOS)
                t->lengths[i] = n;
        t->scores[i] = score_of(path, t->lengths[i]);
    }
}

/* V of the prefix that path i begins with, n answer tokens long: the mean score of the
 * paths that begin so. */
static double exact_value(const tree *t, int64_t i, int64_t n)
{
    double sum = 0, count = 0;

    for (int64_t k = 0; k < t->num_paths; k++)
        if (memcmp(t->paths[k], t->paths[i], (size_t)n * sizeof(int32_t)) == 0) {
            sum += t->scores[k];
            count += 1;
        }
    return sum / count;
}

static rlhf_rollout *tree_rollout(rlhf_context *context, const tree *t)
{
    rlhf_rollout *rollout;

    assert_ok(rlhf_rollout_create(context, &rollout));
    for (int64_t i = 0; i < t->num_paths; i++) {
        int32_t tokens[1 + DEPTH] = {BOS};
        static const uint8_t mask[1 + DEPTH] = {0, 1, 1, 1};
        memcpy(tokens + 1, t->paths[i], sizeof t->paths[i]);
        const rlhf_rollout_input input = {
            .struct_size = sizeof input,
            .tokens = tokens,
            .action_mask = mask,
            .num_tokens = 1 + t->lengths[i],
            .score = t->scores[i],
            .finish = t->ends && t->paths[i][t->lengths[i] - 1] == EOS
                          ? RLHF_FINISH_STOP
                          : RLHF_FINISH_LENGTH};
        assert_ok(rlhf_rollout_append(rollout, &input));
    }
    return rollout;
}

/* The largest error of V over all prefixes, EOS' own among them where it has a slot. */
static double largest_error(rlhf_ppo_trainer *trainer, const tree *t, int after)
{
    rlhf_reward_model *critic;
    double largest = 0;

    assert_ok(rlhf_ppo_trainer_clone_critic(trainer, &critic));
    for (int64_t i = 0; i < t->num_paths; i++)
        for (int64_t n = 0; n < t->lengths[i] + (after && t->lengths[i] < DEPTH); n++) {
            const int64_t cu_seqlens[2] = {0, 1 + n};
            int32_t tokens[1 + DEPTH] = {BOS};
            float value;
            memcpy(tokens + 1, t->paths[i], (size_t)n * sizeof *tokens);
            assert_ok(rlhf_reward_model_score(critic, tokens, cu_seqlens, 1, &value));
            largest = fmax(largest, fabs((double)value - exact_value(t, i, n)));
        }
    rlhf_reward_model_free(critic);
    return largest;
}

static rlhf_ppo_options tree_options(int32_t score_slot, double lam)
{
    rlhf_ppo_options o = plain_options();

    o.max_new_tokens = DEPTH;
    o.score_slot = score_slot;
    o.lam = lam;
    o.critic_warmup = 1000; /* the critic alone */
    o.value_learning_rate = 1e-2;
    o.value_schedule = RLHF_SCHEDULE_COSINE;
    o.value_final_lr_ratio = .01;
    o.total_iterations = ITERATIONS;
    return o;
}

static void check_tree(int ends, int32_t score_slot, double lam)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model_config config = tiny_config(VOCAB, 8);
    const rlhf_ppo_options o = tree_options(score_slot, lam);
    const int after = score_slot == RLHF_SCORE_AFTER_LAST;
    rlhf_model *policy;
    rlhf_ppo_trainer *trainer;
    tree t;

    make_tree(&t, ends);
    config.num_layers = 1;
    config.position = RLHF_POSITION_LEARNED; /* BOS BOS is not BOS */
    assert_ok(rlhf_model_create(context, &config, 3, &policy));
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &o, &trainer));
    const double start = largest_error(trainer, &t, after);
    rlhf_rollout *rollout = tree_rollout(context, &t);
    for (int i = 0; i < ITERATIONS; i++) {
        assert_ok(rlhf_ppo_trainer_advantages(trainer, rollout));
        assert_ok(rlhf_ppo_trainer_update(trainer, rollout, NULL));
    }
    const double end = largest_error(trainer, &t, after);
    if (!(start > .5) || !(end < .02))
        fail_msg("V is off by %.4f at most (%.4f before)", end, start);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

static void test_critic_becomes_the_exact_value_of_every_prefix_with_eos(void **state)
{
    (void)state;
    check_tree(1, RLHF_SCORE_AT_LAST, 1);
    check_tree(1, RLHF_SCORE_AT_LAST, .95);
}

static void test_critic_becomes_the_exact_value_of_every_prefix_without_eos(void **state)
{
    (void)state;
    check_tree(0, RLHF_SCORE_AT_LAST, 1);
}

/* With a slot after EOS, V(EOS) is the score itself. */
static void test_critic_becomes_the_exact_value_of_eos_too(void **state)
{
    (void)state;
    check_tree(1, RLHF_SCORE_AFTER_LAST, .95);
}

/* --- the affine --------------------------------------------------------------------- */

enum { SCORED = 3 };
static const int32_t scored[3 * SCORED] = {BOS, 5, 3, BOS, 7, EOS, BOS, 2, 9};
static const int64_t scored_ends[SCORED + 1] = {0, 3, 6, 9};

static rlhf_reward_model *affine_model(rlhf_context *context, double scale, double offset,
                                       float bias)
{
    rlhf_reward_model *model = tiny_reward_model(context, 6, RLHF_APPEND_EOS_NEVER);

    assert_ok(rlhf_reward_model_parameter_write(model, "score.bias", &bias, 1));
    assert_ok(rlhf_reward_model_set_affine(model, scale, offset));
    return model;
}

static void scores_of(rlhf_reward_model *model, float out[SCORED])
{
    assert_ok(rlhf_reward_model_score(model, scored, scored_ends, SCORED, out));
}

/* w <- scale w, b <- scale b + offset. By a power of two and without a bias that rounds
 * nowhere: the same bits. */
static void test_critic_from_a_reward_model_scores_as_it_does(void **state)
{
    static const struct {
        double scale, offset;
        float bias;
    } rows[4] = {{2, 5, 0}, {-.5, 5, 0}, {1.7, 5, .3f}, {-.3, -4, 2}};
    const double rounding = test_dtype() == RLHF_DTYPE_BF16 ? 2e-2 : 1e-5;

    (void)state;
    for (int i = 0; i < 4; i++) {
        const rlhf_ppo_options o = plain_options();
        rlhf_context *context = support_context(NULL, 1);
        ppo_fixture f = {.context = context,
                         .policy = tiny_model(context, WORDS, CONTEXT, 1)};
        rlhf_reward_model *critic,
            *reward = affine_model(context, rows[i].scale, rows[i].offset, rows[i].bias);
        float expected[SCORED], actual[SCORED], still[SCORED];
        scores_of(reward, expected);
        assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, reward, NULL, &o, &f.trainer));
        assert_ok(rlhf_ppo_trainer_clone_critic(f.trainer, &critic));
        scores_of(critic, actual);
        for (int s = 0; s < SCORED; s++)
            assert_near("score", (double)actual[s], (double)expected[s],
                        rows[i].bias == 0 ? 0 : rounding);
        scores_of(reward, still); /* it was the copy's head */
        assert_memory_equal(still, expected, sizeof still);
        rlhf_reward_model_free(critic);
        rlhf_reward_model_free(reward);
        ppo_free(&f);
    }
}

/* A host's critic is folded in place, at once: V is what it scored before. */
static void test_affine_of_a_hosts_critic_is_folded_at_once(void **state)
{
    const rlhf_ppo_options o = plain_options();
    rlhf_context *context = support_context(NULL, 1);
    ppo_fixture f = {.context = context,
                     .policy = tiny_model(context, WORDS, CONTEXT, 1),
                     .critic = affine_model(context, 2, -3, 0)};
    float expected[SCORED], actual[SCORED];

    (void)state;
    scores_of(f.critic, expected);
    assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, NULL, f.critic, &o, &f.trainer));
    scores_of(f.critic, actual);
    assert_memory_equal(actual, expected, sizeof actual);
    for (int i = 0; i < SCORED; i++) {
        sample s = {.num_tokens = 4, .first = 3, .last = 3};
        memcpy(s.tokens, scored + 3 * i, 3 * sizeof *scored);
        rlhf_rollout *rollout = make_rollout(&f, &s, 1, OLD_OF_POLICY, 0);
        assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
        assert_near("V", (double)sequence_of(rollout, 0).values[3], (double)expected[i],
                    0);
        rlhf_rollout_free(rollout);
    }
    ppo_free(&f);
}

/* --- from a reward model ------------------------------------------------------------ */

enum { LETTERS = 6, ANSWER = 6, PAIRS = 400 };

static uint64_t random_state;

static int32_t random_below(int32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((random_state >> 33) % (uint64_t)n);
}

/* Each 2 counts 1, each 3 counts -1. */
static int worth(const int32_t *tokens, int64_t n)
{
    int sum = 0;

    for (int64_t t = 1; t < n; t++)
        sum += (tokens[t] == 2) - (tokens[t] == 3);
    return sum;
}

static void random_answer(int32_t out[1 + ANSWER])
{
    out[0] = BOS;
    for (int t = 1; t <= ANSWER; t++)
        out[t] = 2 + random_below(LETTERS - 2);
}

/* Pairs of answers, the worthier one chosen; of all lengths, so that prefixes are scored
 * too. */
static rlhf_dataset *make_pairs(rlhf_context *context)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int i = 0; i < PAIRS; i++) {
        int32_t a[1 + ANSWER], b[1 + ANSWER];
        const int64_t n = 2 + random_below(ANSWER), m = 2 + random_below(ANSWER);
        random_answer(a);
        random_answer(b);
        if (worth(a, n) == worth(b, m))
            continue;
        const int first = worth(a, n) > worth(b, m);
        const rlhf_example row = {.struct_size = sizeof row,
                                  .tokens = first ? a : b,
                                  .num_tokens = first ? n : m,
                                  .prompt_length = 1,
                                  .rejected = first ? b : a,
                                  .num_rejected = first ? m : n};
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

static rlhf_reward_model *train_reward(rlhf_context *context, const rlhf_model *model)
{
    rlhf_reward_model_options options;
    rlhf_reward_options training;
    rlhf_reward_model *reward;
    rlhf_reward_trainer *trainer;
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    rlhf_dataset *pairs = make_pairs(context);
    float offset = 5; /* far from 0: only the normalisation takes it away */

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.append_eos = RLHF_APPEND_EOS_NEVER;
    assert_ok(rlhf_reward_model_create(model, &options, &reward));
    assert_ok(rlhf_reward_options_init(&training, sizeof training));
    training.learning_rate = 1e-2;
    training.total_steps = 120;
    training.batch_size = 32;
    assert_ok(rlhf_reward_trainer_create(reward, pairs, &training, &trainer));
    for (int i = 0; i < 120; i++)
        assert_ok(rlhf_reward_trainer_step(trainer, &stats));
    assert_true(stats.accuracy > .8);
    assert_ok(rlhf_reward_model_parameter_write(reward, "score.bias", &offset, 1));
    rlhf_reward_trainer_free(trainer);
    rlhf_dataset_free(pairs);
    return reward;
}

static void
test_critic_from_a_normalised_reward_model_explains_variance_at_once(void **state)
{
    enum { PROMPTS = 128 };
    static const int32_t prompts[PROMPTS] = {BOS};
    static int64_t ends[PROMPTS + 1];
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = tiny_model(context, LETTERS, 16, 3);
    rlhf_ppo_options o = plain_options();
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    rlhf_ppo_trainer *trainer;
    int32_t answers[PROMPTS * (1 + ANSWER)];
    int64_t cu_seqlens[PROMPTS + 1] = {0};
    float scores[PROMPTS];
    double mean = 0, squares = 0;

    (void)state;
    random_state = 4;
    rlhf_reward_model *reward = train_reward(context, policy);
    for (int64_t i = 0; i < PROMPTS; i++) {
        random_answer(answers + i * (1 + ANSWER));
        cu_seqlens[i + 1] = (i + 1) * (1 + ANSWER);
        ends[i + 1] = i + 1;
    }
    assert_ok(rlhf_reward_model_normalize(reward, answers, cu_seqlens, PROMPTS, 1));
    /* Normalised: mean 0 and standard deviation 1 on those answers. */
    assert_ok(rlhf_reward_model_score(reward, answers, cu_seqlens, PROMPTS, scores));
    for (int i = 0; i < PROMPTS; i++)
        mean += (double)scores[i] / PROMPTS;
    for (int i = 0; i < PROMPTS; i++)
        squares += pow((double)scores[i] - mean, 2) / PROMPTS;
    assert_near("mean", mean, 0, 1e-5);
    assert_near("standard deviation", sqrt(squares), 1, 1e-5);
    o.max_new_tokens = ANSWER;
    o.stop_token_id = -2;
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &o, &trainer));
    assert_ok(rlhf_ppo_trainer_step(trainer, prompts, ends, PROMPTS, &stats));
    if (!(stats.explained_variance >= 0))
        fail_msg("explained variance is %g", stats.explained_variance);
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_critic_becomes_the_exact_value_of_every_prefix_with_eos),
        cmocka_unit_test(test_critic_becomes_the_exact_value_of_every_prefix_without_eos),
        cmocka_unit_test(test_critic_becomes_the_exact_value_of_eos_too),
        cmocka_unit_test(test_critic_from_a_reward_model_scores_as_it_does),
        cmocka_unit_test(test_affine_of_a_hosts_critic_is_folded_at_once),
        cmocka_unit_test(
            test_critic_from_a_normalised_reward_model_explains_variance_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
