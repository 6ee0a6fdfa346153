/* The rollout: which distribution answers come from and are recorded under, where they
 * end, what of them is scored, which samplers and temperatures are refused, and how
 * long it is current. */
#include "train_support.h"

enum { PROMPTS = 16 };

static int32_t prompts[PROMPTS * 2];
static int64_t prompt_ends[PROMPTS + 1];

static int setup(void **state)
{
    (void)state;
    for (int32_t i = 0; i < PROMPTS; i++) {
        prompts[2 * i] = BOS;
        prompts[2 * i + 1] = 2 + i % 10;
        prompt_ends[i + 1] = 2 * (i + 1);
    }
    return 0;
}

static rlhf_rollout *roll(ppo_fixture *f)
{
    rlhf_rollout *rollout;

    assert_ok(
        rlhf_ppo_trainer_rollout(f->trainer, prompts, prompt_ends, PROMPTS, &rollout));
    return rollout;
}

/* log softmax(logits / tau) of token t of a sequence, `masked` (-1: none) left out. */
static double logprob_under(rlhf_model *model, const rlhf_rollout_sequence *s, int64_t t,
                            double temperature, int32_t masked)
{
    const int64_t cu_seqlens[2] = {0, s->num_tokens};
    float logits[MOST_TOKENS * WORDS];
    double total = 0;

    assert_ok(rlhf_model_logits(model, s->tokens, cu_seqlens, 1, logits));
    for (int32_t v = 0; v < WORDS; v++)
        if (v != masked)
            total += exp((double)logits[(t - 1) * WORDS + v] / temperature);
    return (double)logits[(t - 1) * WORDS + s->tokens[t]] / temperature - log(total);
}

/* Weights of the head made larger, so that the distribution is far from uniform. */
static void sharpen(rlhf_model *model)
{
    float values[WORDS * 16];

    assert_ok(rlhf_model_parameter_read(model, "model.embed_tokens.weight", values,
                                        WORDS * 16));
    for (int i = 0; i < WORDS * 16; i++)
        values[i] *= 20;
    assert_ok(rlhf_model_parameter_write(model, "model.embed_tokens.weight", values,
                                         WORDS * 16));
}

/* --- distributions ------------------------------------------------------------------ */

static void test_rollout_records_logprobs_at_the_trainers_temperature(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.temperature = .7;
    ppo_fixture f = ppo_make(&o, 3);
    sharpen(f.policy);
    sharpen(f.reference);
    rlhf_rollout *rollout = roll(&f);
    float zeros[PROMPTS] = {0};
    assert_ok(rlhf_rollout_set_scores(rollout, zeros, PROMPTS));
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    for (int64_t i = 0; i < PROMPTS; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        for (int64_t t = s.num_prompt; t < s.num_tokens; t++) {
            assert_near("log pi", (double)s.logprobs[t],
                        logprob_under(f.policy, &s, t, .7, -1), 2e-6);
            assert_near("log pi_ref", (double)s.ref_logprobs[t],
                        logprob_under(f.reference, &s, t, .7, -1), 2e-6);
        }
    }
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* The stop token is left out of sampler, old, new and reference alike before the minimum.
 */
static void test_minimum_length_masks_the_stop_token_for_every_policy(void **state)
{
    rlhf_ppo_options o = plain_options();
    int64_t later_stops = 0;
    float zeros[PROMPTS] = {0};

    (void)state;
    o.min_new_tokens = 3;
    o.max_new_tokens = 12;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout = roll(&f);
    assert_ok(rlhf_rollout_set_scores(rollout, zeros, PROMPTS));
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    for (int64_t i = 0; i < PROMPTS; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        assert_true(s.num_actions >= 3);
        later_stops += s.finish == RLHF_FINISH_STOP;
        for (int64_t t = s.num_prompt; t < s.num_tokens; t++) {
            const int32_t masked = t - s.num_prompt < 3 ? EOS : -1;
            assert_true(s.tokens[t] != masked);
            assert_near("log pi", (double)s.logprobs[t],
                        logprob_under(f.policy, &s, t, 1, masked), 2e-6);
            assert_near("log pi_ref", (double)s.ref_logprobs[t],
                        logprob_under(f.reference, &s, t, 1, masked), 2e-6);
        }
    }
    assert_true(later_stops > 0);
    /* The new policy too: the first ratio is 1. */
    assert_true(train_on(&f, rollout).first_ratio_deviation == 0);
    ppo_free(&f);
}

/* A host's sample may have the stop token before the minimum: that action alone is read
 * unmasked. Actions are counted over the spans of a sequence, and anew in the next. */
static void test_stop_token_that_a_host_took_early_is_read_unmasked_alone(void **state)
{
    static const int32_t tokens[8] = {BOS, 5, 3, EOS, 9, 4, EOS, 7};
    static const uint8_t mask[8] = {0, 0, 1, 1, 0, 1, 1, 1};
    static const int32_t masked[8] = {0, 0, EOS, -1, 0, EOS, -1, -1};
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.min_new_tokens = 4; /* the fourth action is a stop token too, the fifth free */
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_rollout *rollout;
    assert_ok(rlhf_rollout_create(f.context, &rollout));
    for (int i = 0; i < 2; i++) {
        const rlhf_rollout_input input = {.struct_size = sizeof input,
                                          .tokens = tokens,
                                          .action_mask = mask,
                                          .num_tokens = 8,
                                          .score = 1};
        assert_ok(rlhf_rollout_append(rollout, &input));
    }
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    for (int64_t i = 0; i < 2; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        for (int64_t t = 2; t < 8; t++) {
            if (!mask[t])
                continue;
            assert_near("log pi", (double)s.logprobs[t],
                        logprob_under(f.policy, &s, t, 1, masked[t]), 2e-6);
            assert_near("log pi_ref", (double)s.ref_logprobs[t],
                        logprob_under(f.reference, &s, t, 1, masked[t]), 2e-6);
        }
    }
    assert_true(train_on(&f, rollout).first_ratio_deviation == 0);
    ppo_free(&f);
}

/* Weights of the policy that a rollout was not drawn by. */
static void write_norm(rlhf_model *model)
{
    float values[16];

    assert_ok(rlhf_model_parameter_read(model, "model.norm.weight", values, 16));
    for (int i = 0; i < 16; i++)
        values[i] *= i % 2 ? 1.5f : .5f;
    assert_ok(rlhf_model_parameter_write(model, "model.norm.weight", values, 16));
}

/* A rollout by one trainer is another's to estimate, on the same policy and with a
 * reference that is a copy of it: the reference's log-probs are by the weights and the
 * options of the trainer that computes them, the policy's as they were recorded. */
static void test_reference_is_read_as_the_trainer_that_computes_has_it(void **state)
{
    static const struct {
        double temperature;
        int32_t min_new_tokens, stop_token_id;
    } first = {.5, 2, EOS},
      rows[5] = {{.5, 2, EOS}, {2, 2, EOS}, {.5, 0, EOS}, {.5, 2, 7}, {.5, 2, EOS}};
    float zeros[PROMPTS] = {0};

    (void)state;
    for (int i = 0; i < 5; i++) {
        rlhf_ppo_options o = plain_options();
        rlhf_context *context = support_context(NULL, 1);
        ppo_fixture f = {.context = context,
                         .policy = tiny_model(context, WORDS, CONTEXT, 1)};
        double kl = 0;
        sharpen(f.policy);
        o.temperature = first.temperature;
        o.min_new_tokens = first.min_new_tokens;
        o.stop_token_id = first.stop_token_id;
        assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, NULL, NULL, &o, &f.trainer));
        rlhf_rollout *rollout = roll(&f);
        assert_ok(rlhf_rollout_set_scores(rollout, zeros, PROMPTS));
        rlhf_ppo_trainer_free(f.trainer);
        if (i == 4)
            write_norm(f.policy);
        o.temperature = rows[i].temperature;
        o.min_new_tokens = rows[i].min_new_tokens;
        o.stop_token_id = rows[i].stop_token_id;
        assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, NULL, NULL, &o, &f.trainer));
        assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
        for (int64_t k = 0; k < PROMPTS; k++) {
            const rlhf_rollout_sequence s = sequence_of(rollout, k);
            kl = fmax(kl, fabs(s.kl));
            for (int64_t t = s.num_prompt; t < s.num_tokens; t++) {
                int masked = t - s.num_prompt < o.min_new_tokens ? o.stop_token_id : -1;
                if (s.tokens[t] == masked)
                    masked = -1; /* taken all the same */
                assert_near("log pi_ref", (double)s.ref_logprobs[t],
                            logprob_under(f.policy, &s, t, o.temperature, masked), 2e-5);
            }
        }
        assert_true(i == 0 ? kl == 0 : kl > 1e-3);
        rlhf_rollout_free(rollout);
        ppo_free(&f);
    }
}

/* --- ends --------------------------------------------------------------------------- */

static void test_stop_token_ends_an_answer(void **state)
{
    static const int32_t given[3] = {-1, 9, -2}, stop[3] = {EOS, 9, -1};

    (void)state;
    for (int k = 0; k < 3; k++) {
        rlhf_ppo_options o = plain_options();
        int64_t stopped = 0;
        o.stop_token_id = given[k];
        ppo_fixture f = ppo_make(&o, 3);
        rlhf_rollout *rollout = roll(&f);
        for (int64_t i = 0; i < PROMPTS; i++) {
            const rlhf_rollout_sequence s = sequence_of(rollout, i);
            const int ends = s.tokens[s.num_tokens - 1] == stop[k];
            for (int64_t t = s.num_prompt; t < s.num_tokens - 1; t++)
                assert_int_not_equal(s.tokens[t], stop[k]);
            assert_int_equal(s.finish, ends ? RLHF_FINISH_STOP : RLHF_FINISH_LENGTH);
            assert_int_equal(s.num_actions, s.num_tokens - 2);
            if (!ends)
                assert_int_equal(s.num_actions, o.max_new_tokens);
            stopped += ends;
        }
        assert_true(k == 2 ? stopped == 0 : stopped > 0);
        rlhf_rollout_free(rollout);
        ppo_free(&f);
    }
}

/* Always T actions; the score reads up to the first stop token and lies on the last
 * action. */
static void test_training_past_the_stop_token_scores_the_truncated_text(void **state)
{
    rlhf_ppo_options o = plain_options();
    rlhf_context *context = support_context(NULL, 1);
    ppo_fixture f = {.context = context,
                     .policy = tiny_model(context, WORDS, CONTEXT, 1)};
    rlhf_reward_model *reward = tiny_reward_model(context, 4, RLHF_APPEND_EOS_IF_MISSING);
    int64_t cut = 0;

    (void)state;
    o.train_past_stop = 1;
    assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, reward, NULL, &o, &f.trainer));
    rlhf_rollout *rollout = roll(&f);
    assert_ok(rlhf_ppo_trainer_score(f.trainer, rollout));
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    for (int64_t i = 0; i < PROMPTS; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        int64_t cu_seqlens[2] = {0, s.num_prompt + 1};
        float score;
        while (cu_seqlens[1] < s.num_tokens && s.tokens[cu_seqlens[1] - 1] != EOS)
            cu_seqlens[1]++;
        const int stops = s.tokens[cu_seqlens[1] - 1] == EOS;
        assert_ok(rlhf_reward_model_score(reward, s.tokens, cu_seqlens, 1, &score));
        assert_near("score", s.score, (double)score, 0);
        assert_int_equal(s.num_actions, o.max_new_tokens);
        assert_int_equal(s.finish, stops ? RLHF_FINISH_STOP : RLHF_FINISH_LENGTH);
        for (int64_t t = s.num_prompt; t < s.num_tokens; t++)
            assert_near("reward", (double)s.rewards[t],
                        t == s.num_tokens - 1 ? s.score : 0, 0);
        cut += cu_seqlens[1] < s.num_tokens;
    }
    assert_true(cut > 0);
    rlhf_rollout_free(rollout);
    rlhf_reward_model_free(reward);
    ppo_free(&f);
}

/* Answers 3 EOS 5 EOS 4 4 …: it says that it draws from the softmax. */
static rlhf_status play(void *user_data, void *state, const rlhf_sample_info *info,
                        const float *logits, int64_t vocab_size, int32_t *out_token)
{
    static const int32_t answer[5] = {3, EOS, 5, EOS, 4};
    const int64_t at = info->position - info->num_prompt;

    (void)user_data;
    (void)state;
    (void)logits;
    (void)vocab_size;
    *out_token = answer[at < 4 ? at : 4];
    return RLHF_OK;
}

static void test_score_reads_up_to_the_first_of_two_stop_tokens(void **state)
{
    const rlhf_sampler_ops ops = {
        .struct_size = sizeof ops, .sample = play, .softmax_temperature = 1};
    rlhf_ppo_options o = plain_options();
    rlhf_context *context = support_context(NULL, 1);
    ppo_fixture f = {.context = context,
                     .policy = tiny_model(context, WORDS, CONTEXT, 1)};
    rlhf_reward_model *reward = tiny_reward_model(context, 4, RLHF_APPEND_EOS_IF_MISSING);
    rlhf_sampler *sampler;

    (void)state;
    o.train_past_stop = 1;
    assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, reward, NULL, &o, &f.trainer));
    assert_ok(rlhf_sampler_create_custom(&ops, NULL, &sampler));
    assert_ok(rlhf_ppo_trainer_set_sampler(f.trainer, sampler));
    rlhf_sampler_free(sampler);
    rlhf_rollout *rollout = roll(&f);
    assert_ok(rlhf_ppo_trainer_score(f.trainer, rollout));
    for (int64_t i = 0; i < PROMPTS; i++) {
        const rlhf_rollout_sequence s = sequence_of(rollout, i);
        const int64_t cu_seqlens[2] = {0, 4};
        float score;
        assert_ok(rlhf_reward_model_score(reward, s.tokens, cu_seqlens, 1, &score));
        assert_int_equal(s.num_tokens, 2 + o.max_new_tokens);
        assert_int_equal(s.tokens[5], EOS);
        assert_int_equal(s.finish, RLHF_FINISH_STOP);
        assert_near("score", s.score, (double)score, 0);
    }
    rlhf_rollout_free(rollout);
    rlhf_reward_model_free(reward);
    ppo_free(&f);
}

/* A host's sequence is cut where the policy went on after its first stop token. One that
 * ends a turn, or is no action, ends nothing; nor is there any without a stop token. */
static void
test_hosts_sequence_is_scored_up_to_the_stop_token_it_goes_on_from(void **state)
{
    static const struct {
        int32_t tokens[7], stop_token;
        uint8_t mask[7];
        int64_t scored;
    } rows[6] = {
        {{BOS, 5, 3, EOS, 6, EOS, 4}, -1, {0, 0, 1, 1, 1, 1, 1}, 4},
        {{BOS, 5, 3, EOS, 6, EOS, 4}, 6, {0, 0, 1, 1, 1, 1, 1}, 5},
        {{BOS, 5, 3, EOS, 6, EOS, 4}, -2, {0, 0, 1, 1, 1, 1, 1}, 7},
        {{BOS, 5, 3, 7, 6, 4, EOS}, -1, {0, 0, 1, 1, 1, 1, 1}, 7},
        {{BOS, 5, EOS, 3, EOS, 6, 4}, -1, {0, 1, 1, 0, 0, 1, 1}, 7}, /* two turns */
        {{BOS, 5, EOS, 3, 4, EOS, 4}, -1, {0, 1, 1, 0, 1, 1, 1}, 6},
    };
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *reward = tiny_reward_model(context, 4, RLHF_APPEND_EOS_NEVER);

    (void)state;
    for (int i = 0; i < 6; i++) {
        const int64_t cu_seqlens[2] = {0, rows[i].scored};
        const rlhf_rollout_input input = {.struct_size = sizeof input,
                                          .tokens = rows[i].tokens,
                                          .action_mask = rows[i].mask,
                                          .num_tokens = 7,
                                          .score = NAN};
        rlhf_ppo_options o = plain_options();
        ppo_fixture f = {.policy = tiny_model(context, WORDS, CONTEXT, 1)};
        rlhf_rollout *rollout;
        float score;
        o.stop_token_id = rows[i].stop_token;
        assert_ok(rlhf_ppo_trainer_create(f.policy, NULL, reward, NULL, &o, &f.trainer));
        assert_ok(rlhf_rollout_create(context, &rollout));
        assert_ok(rlhf_rollout_append(rollout, &input));
        assert_ok(rlhf_ppo_trainer_score(f.trainer, rollout));
        assert_ok(rlhf_reward_model_score(reward, rows[i].tokens, cu_seqlens, 1, &score));
        assert_near("score", sequence_of(rollout, 0).score, (double)score, 0);
        rlhf_rollout_free(rollout);
        ppo_free(&f);
    }
    rlhf_reward_model_free(reward);
    rlhf_context_free(context);
}

static void test_prompt_that_leaves_no_room_is_refused_before_the_rollout(void **state)
{
    rlhf_ppo_options o = plain_options();
    rlhf_rollout *rollout = NULL;

    (void)state;
    o.max_new_tokens = CONTEXT - 1;
    ppo_fixture f = ppo_make(&o, 3);
    assert_fails(
        rlhf_ppo_trainer_rollout(f.trainer, prompts, prompt_ends, PROMPTS, &rollout),
        RLHF_ERR_INVALID_ARG, "prompt 0 has 2 tokens");
    assert_null(rollout);
    ppo_free(&f);
}

/* --- samplers ----------------------------------------------------------------------- */

typedef struct picker {
    int64_t calls;
} picker;

/* Draws from softmax(logits / .7) by the inverse of its distribution function. */
static rlhf_status pick(void *user_data, void *state, const rlhf_sample_info *info,
                        const float *logits, int64_t vocab_size, int32_t *out_token)
{
    double total = 0, sum = 0;

    (void)state;
    ((picker *)user_data)->calls++;
    for (int64_t v = 0; v < vocab_size; v++)
        total += exp((double)logits[v] / .7);
    for (int64_t v = 0; v < vocab_size; v++) {
        sum += exp((double)logits[v] / .7) / total;
        *out_token = (int32_t)v;
        if (info->uniforms[0] < sum)
            break;
    }
    return RLHF_OK;
}

static rlhf_sampler *library_sampler(double temperature, int32_t top_k, double top_p,
                                     double min_p)
{
    rlhf_sampler_options options;
    rlhf_sampler *sampler;

    assert_ok(rlhf_sampler_options_init(&options, sizeof options));
    options.temperature = temperature;
    options.top_k = top_k;
    options.top_p = top_p;
    options.min_p = min_p;
    assert_ok(rlhf_sampler_create(&options, &sampler));
    return sampler;
}

static void test_samplers_of_another_distribution_are_refused(void **state)
{
    rlhf_ppo_options o = plain_options();

    (void)state;
    o.temperature = .7;
    for (int allow = 0; allow < 2; allow++) {
        o.allow_biased_rollout = allow;
        ppo_fixture f = ppo_make(&o, 3);
        rlhf_sampler *biased[5] = {
            library_sampler(1, 0, 1, 0),   library_sampler(.7, 3, 1, 0),
            library_sampler(.7, 0, .9, 0), library_sampler(.7, 0, 1, .1),
            library_sampler(0, 0, 1, 0),
        };
        for (int i = 0; i < 5; i++) {
            if (allow)
                assert_ok(rlhf_ppo_trainer_set_sampler(f.trainer, biased[i]));
            else
                assert_fails(rlhf_ppo_trainer_set_sampler(f.trainer, biased[i]),
                             RLHF_ERR_INVALID_ARG, "softmax(logits / 0.7)");
            rlhf_sampler_free(biased[i]);
        }
        rlhf_sampler *same = library_sampler(.7, 0, 1, 0);
        assert_ok(rlhf_ppo_trainer_set_sampler(f.trainer, same));
        rlhf_sampler_free(same);
        assert_ok(rlhf_ppo_trainer_set_sampler(f.trainer, NULL));
        ppo_free(&f);
    }
}

/* A host's sampler that declares the trainer's temperature is used; another is refused.
 */
static void test_host_sampler_must_declare_the_trainers_temperature(void **state)
{
    rlhf_ppo_options o = plain_options();
    picker own = {0};
    rlhf_sampler_ops ops = {.struct_size = sizeof ops, .sample = pick};
    rlhf_sampler *sampler;
    int64_t actions = 0;

    (void)state;
    o.temperature = .7;
    ppo_fixture f = ppo_make(&o, 3);
    for (int i = 0; i < 2; i++) {
        ops.softmax_temperature = i;
        assert_ok(rlhf_sampler_create_custom(&ops, &own, &sampler));
        assert_fails(rlhf_ppo_trainer_set_sampler(f.trainer, sampler),
                     RLHF_ERR_INVALID_ARG, "declared temperature");
        rlhf_sampler_free(sampler);
    }
    ops.softmax_temperature = .7;
    assert_ok(rlhf_sampler_create_custom(&ops, &own, &sampler));
    assert_ok(rlhf_ppo_trainer_set_sampler(f.trainer, sampler));
    rlhf_sampler_free(sampler); /* the trainer keeps it */
    rlhf_rollout *rollout = roll(&f);
    for (int64_t i = 0; i < PROMPTS; i++)
        actions += sequence_of(rollout, i).num_actions;
    assert_int_equal(own.calls, actions);
    rlhf_rollout_free(rollout);
    ppo_free(&f);
}

/* --- options ------------------------------------------------------------------------ */

static void assert_refused(const rlhf_ppo_options *o, const char *words)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *policy = tiny_model(context, WORDS, CONTEXT, 1);
    rlhf_ppo_trainer *trainer;

    assert_fails(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, o, &trainer),
                 RLHF_ERR_INVALID_ARG, words);
    assert_null(trainer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
}

static void test_options_out_of_range_are_refused_by_name(void **state)
{
    rlhf_ppo_options o[8];

    (void)state;
    for (int i = 0; i < 8; i++)
        o[i] = plain_options();
    o[0].temperature = 0;
    assert_refused(&o[0], "temperature");
    o[1].temperature = NAN;
    assert_refused(&o[1], "temperature");
    o[2].min_new_tokens = 9;
    assert_refused(&o[2], "min_new_tokens must be <= max_new_tokens (8), got 9");
    o[3].dual_clip = 1;
    assert_refused(&o[3], "dual_clip must be 0 or > 1, got 1");
    o[4].stop_token_id = WORDS;
    assert_refused(&o[4], "stop_token_id");
    o[5].gamma = 1.5;
    assert_refused(&o[5], "gamma");
    o[6].aggregation = 9;
    assert_refused(&o[6], "aggregation");
    o[7].clip_range = 0;
    assert_refused(&o[7], "clip_range");
}

/* --- whose weights sampled it ------------------------------------------------------- */

#define ASSERT_CURRENT(f, rollout, expected)                                             \
    assert_int_equal(rlhf_ppo_trainer_is_current((f)->trainer, rollout), expected)

static void test_rollout_is_current_while_the_policy_has_its_weights(void **state)
{
    static const sample one = {.tokens = {BOS, 5, 3, EOS},
                               .num_tokens = 4,
                               .first = 2,
                               .last = 3,
                               .score = 1,
                               .finish = RLHF_FINISH_STOP};
    const rlhf_ppo_options o = plain_options();
    ppo_fixture f = ppo_make(&o, 3), foreign = ppo_make(&o, 3);
    rlhf_rollout *drawn = roll(&f), *of_another_context = roll(&foreign);
    rlhf_rollout *own = make_rollout(&f, &one, 1, OLD_OF_POLICY, 0), *evaluated;

    (void)state;
    assert_ok(rlhf_ppo_trainer_evaluate(f.trainer, prompts, prompt_ends, PROMPTS, NULL,
                                        &evaluated));
    ASSERT_CURRENT(&f, drawn, 1);
    ASSERT_CURRENT(&f, evaluated, 1);
    ASSERT_CURRENT(&f, own, 0);
    ASSERT_CURRENT(&f, of_another_context, 0); /* though of weights alike */
    ASSERT_CURRENT(&foreign, of_another_context, 1);
    add_sample(&f, drawn, &one, OLD_OF_POLICY, 0);
    ASSERT_CURRENT(&f, drawn, 0);
    sharpen(f.policy);
    ASSERT_CURRENT(&f, evaluated, 0);
    rlhf_rollout_free(evaluated);
    rlhf_rollout_free(own);
    rlhf_rollout_free(of_another_context);
    rlhf_rollout_free(drawn);
    ppo_free(&foreign);
    ppo_free(&f);
}

/* By the trainer whose update it is, and by no other. */
static void test_rollout_is_current_in_its_update(void **state)
{
    static const float scores[PROMPTS] = {1, -1, 2};
    rlhf_ppo_options o = plain_options();
    rlhf_ppo_trainer *other;
    int64_t remaining = 1;
    int32_t done;

    (void)state;
    o.num_epochs = 2;
    ppo_fixture f = ppo_make(&o, 3);
    rlhf_model *policy = tiny_model(f.context, WORDS, CONTEXT, 1);
    assert_ok(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &o, &other));
    rlhf_rollout *rollout = roll(&f), *second = roll(&f);
    assert_ok(rlhf_rollout_set_scores(rollout, scores, PROMPTS));
    assert_ok(rlhf_ppo_trainer_advantages(f.trainer, rollout));
    while (remaining > 0)
        assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
    ASSERT_CURRENT(&f, second, 1);
    assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, NULL));
    assert_int_equal(done, 0);
    ASSERT_CURRENT(&f, second, 0);
    ASSERT_CURRENT(&f, rollout, 1);
    assert_int_equal(rlhf_ppo_trainer_is_current(other, rollout), 0);
    assert_ok(rlhf_ppo_trainer_update(f.trainer, rollout, NULL));
    ASSERT_CURRENT(&f, rollout, 0);
    rlhf_rollout_free(second);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(other);
    rlhf_model_free(policy);
    ppo_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rollout_records_logprobs_at_the_trainers_temperature),
        cmocka_unit_test(test_minimum_length_masks_the_stop_token_for_every_policy),
        cmocka_unit_test(test_stop_token_that_a_host_took_early_is_read_unmasked_alone),
        cmocka_unit_test(test_reference_is_read_as_the_trainer_that_computes_has_it),
        cmocka_unit_test(test_stop_token_ends_an_answer),
        cmocka_unit_test(test_training_past_the_stop_token_scores_the_truncated_text),
        cmocka_unit_test(test_score_reads_up_to_the_first_of_two_stop_tokens),
        cmocka_unit_test(
            test_hosts_sequence_is_scored_up_to_the_stop_token_it_goes_on_from),
        cmocka_unit_test(test_prompt_that_leaves_no_room_is_refused_before_the_rollout),
        cmocka_unit_test(test_samplers_of_another_distribution_are_refused),
        cmocka_unit_test(test_host_sampler_must_declare_the_trainers_temperature),
        cmocka_unit_test(test_options_out_of_range_are_refused_by_name),
        cmocka_unit_test(test_rollout_is_current_while_the_policy_has_its_weights),
        cmocka_unit_test(test_rollout_is_current_in_its_update),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
