/* Reward models through the API: scores, scale and offset, normalising, and how they
 * are saved. */
#include "api_support.h"

#include <jansson.h>
#include <math.h>

#include "test_files.h"

enum { SEQS = 5, TOKENS = 40, HIDDEN = 16 };
static const int64_t cu_seqlens[SEQS + 1] = {0, 3, 4, 16, 30, TOKENS};

static rlhf_reward_model *make_reward(rlhf_context *context, int32_t append_eos)
{
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 3);
    rlhf_reward_model_options options;
    rlhf_reward_model *reward;

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.append_eos = append_eos;
    options.seed = 4;
    assert_ok(rlhf_reward_model_create(model, &options, &reward));
    rlhf_model_free(model);
    return reward;
}

static void fill_tokens(int32_t tokens[TOKENS])
{
    for (int t = 0; t < TOKENS; t++)
        tokens[t] = 2 + t * t % (VOCAB - 2); /* no EOS */
}

static void score(rlhf_reward_model *reward, float scores[SEQS])
{
    int32_t tokens[TOKENS];

    fill_tokens(tokens);
    assert_ok(rlhf_reward_model_score(reward, tokens, cu_seqlens, SEQS, scores));
}

static void moments(const float scores[SEQS], double *mean, double *deviation)
{
    double sum = 0, squares = 0;

    for (int s = 0; s < SEQS; s++)
        sum += (double)scores[s];
    *mean = sum / SEQS;
    for (int s = 0; s < SEQS; s++)
        squares += ((double)scores[s] - *mean) * ((double)scores[s] - *mean);
    *deviation = sqrt(squares / SEQS);
}

static void test_scores_are_scale_times_raw_plus_offset(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *reward = make_reward(context, RLHF_APPEND_EOS_IF_MISSING);
    float raw[SEQS], now[SEQS];
    double scale, offset;

    assert_ok(rlhf_reward_model_get_affine(reward, &scale, &offset));
    assert_true(scale == 1 && offset == 0);
    score(reward, raw);
    assert_ok(rlhf_reward_model_set_affine(reward, -2.5, 0.75));
    score(reward, now);
    for (int s = 0; s < SEQS; s++)
        assert_true(now[s] == (float)(-2.5 * (double)raw[s] + 0.75));
    const struct {
        double scale, offset;
        const char *words;
    } bad[] = {{0, 0, "scale must be finite and not 0 as a float, got 0"},
               {NAN, 0, "scale must be finite"},
               {INFINITY, 0, "got inf"},
               {1, NAN, "offset must be finite"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(rlhf_reward_model_set_affine(reward, bad[i].scale, bad[i].offset),
                     RLHF_ERR_INVALID_ARG, bad[i].words);
    assert_ok(rlhf_reward_model_get_affine(reward, &scale, &offset));
    assert_true(scale == -2.5 && offset == 0.75);
    rlhf_reward_model_free(reward);
    rlhf_context_free(context);
}

/* The score is the head on the last token: with EOS appended, that of the text with
 * EOS. */
static void test_score_reads_the_last_token_alone(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *appends = make_reward(context, RLHF_APPEND_EOS_IF_MISSING);
    rlhf_reward_model *as_is = make_reward(context, RLHF_APPEND_EOS_NEVER);
    const int32_t tokens[4] = {5, 6, 7, 1}; /* EOS is 1 */
    float with[2], without[2];

    assert_ok(rlhf_reward_model_score(appends, tokens, (const int64_t[]){0, 3}, 1, with));
    assert_ok(
        rlhf_reward_model_score(appends, tokens, (const int64_t[]){0, 4}, 1, with + 1));
    assert_ok(
        rlhf_reward_model_score(as_is, tokens, (const int64_t[]){0, 3}, 1, without));
    assert_ok(
        rlhf_reward_model_score(as_is, tokens, (const int64_t[]){0, 4}, 1, without + 1));
    assert_true(with[0] == with[1]); /* appended once, and only if missing */
    assert_true(with[0] == without[1]);
    assert_true(without[0] != without[1]);
    rlhf_reward_model_free(appends);
    rlhf_reward_model_free(as_is);
    rlhf_context_free(context);
}

/* A sequence as long as the context is scored as it is; one token shorter has room. */
static void test_no_eos_is_appended_where_the_context_is_full(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *appends = make_reward(context, RLHF_APPEND_EOS_IF_MISSING);
    rlhf_reward_model *as_is = make_reward(context, RLHF_APPEND_EOS_NEVER);
    int32_t tokens[LENGTH];
    float with, without;

    for (int t = 0; t < LENGTH; t++)
        tokens[t] = 2 + t * t % (VOCAB - 2);
    for (int64_t n = LENGTH - 1; n <= LENGTH; n++) {
        const int64_t cu[2] = {0, n};
        assert_ok(rlhf_reward_model_score(appends, tokens, cu, 1, &with));
        assert_ok(rlhf_reward_model_score(as_is, tokens, cu, 1, &without));
        assert_int_equal(with == without, n == LENGTH);
    }
    tokens[LENGTH - 1] = 1; /* what was appended to the shorter one */
    assert_ok(rlhf_reward_model_score(appends, tokens, (const int64_t[]){0, LENGTH - 1},
                                      1, &with));
    assert_ok(rlhf_reward_model_score(as_is, tokens, (const int64_t[]){0, LENGTH}, 1,
                                      &without));
    assert_true(with == without);
    rlhf_reward_model_free(appends);
    rlhf_reward_model_free(as_is);
    rlhf_context_free(context);
}

/* A scale of less than 0 turns the order round; normalising does not turn it back. */
static void test_normalising_keeps_the_sign_of_the_scale(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *reward = make_reward(context, RLHF_APPEND_EOS_NEVER);
    int32_t tokens[TOKENS];
    float raw[SEQS], now[SEQS];
    double raw_mean, raw_deviation, scale, offset;

    fill_tokens(tokens);
    score(reward, raw);
    moments(raw, &raw_mean, &raw_deviation);
    for (int i = 0; i < 4; i++) {
        const double old = i / 2 ? 2.5 : -2.5;
        const double expected = i % 2 ? copysign(1 / raw_deviation, old) : old;
        assert_ok(rlhf_reward_model_set_affine(reward, old, .75));
        assert_ok(rlhf_reward_model_normalize(reward, tokens, cu_seqlens, SEQS, i % 2));
        assert_ok(rlhf_reward_model_get_affine(reward, &scale, &offset));
        assert_true(fabs(scale - expected) < 1e-4 * fabs(expected));
        assert_true(fabs(offset + expected * raw_mean) < 1e-4 * fabs(expected));
        score(reward, now);
        for (int s = 0; s < SEQS; s++)
            assert_true(fabs((double)now[s] - expected * ((double)raw[s] - raw_mean)) <
                        1e-4 * fabs(expected));
    }
    rlhf_reward_model_free(reward);
    rlhf_context_free(context);
}

static void test_normalised_scores_average_zero(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *reward = make_reward(context, RLHF_APPEND_EOS_NEVER);
    float raw[SEQS], now[SEQS];
    double mean, deviation, scale, offset, raw_mean, raw_deviation;
    int32_t tokens[TOKENS];

    fill_tokens(tokens);
    score(reward, raw);
    moments(raw, &raw_mean, &raw_deviation);
    assert_true(raw_deviation > 0.01);
    assert_ok(rlhf_reward_model_normalize(reward, tokens, cu_seqlens, SEQS, 0));
    score(reward, now);
    moments(now, &mean, &deviation);
    assert_true(fabs(mean) < 1e-6);
    assert_true(fabs(deviation - raw_deviation) < 1e-6);
    assert_ok(rlhf_reward_model_normalize(reward, tokens, cu_seqlens, SEQS, 1));
    score(reward, now);
    moments(now, &mean, &deviation);
    assert_true(fabs(mean) < 1e-6);
    assert_true(fabs(deviation - 1) < 1e-5);
    assert_ok(rlhf_reward_model_get_affine(reward, &scale, &offset));
    assert_true(fabs(scale - 1 / raw_deviation) < 1e-4 / raw_deviation);
    assert_true(fabs(offset + raw_mean / raw_deviation) < 1e-4 / raw_deviation);
    assert_fails(rlhf_reward_model_normalize(reward, tokens, cu_seqlens, 1, 1),
                 RLHF_ERR_INVALID_ARG, "num_seqs must be >= 2, got 1");
    rlhf_reward_model_free(reward);
    rlhf_context_free(context);
}

static void test_eos_beyond_the_vocabulary_is_named(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 3);
    rlhf_reward_model_options options;
    rlhf_reward_model *reward;

    assert_ok(rlhf_reward_model_options_init(&options, sizeof options));
    options.eos_token_id = VOCAB;
    assert_fails(rlhf_reward_model_create(model, &options, &reward), RLHF_ERR_INVALID_ARG,
                 "eos_token_id must be < vocab_size 12, got 12");
    assert_field("eos_token_id");
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* All scores equal have no variance, however their mean rounds; nothing changes. */
static void test_equal_scores_have_no_unit_variance(void **state)
{
    (void)state;
    enum { MOST = 13 };
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *reward = make_reward(context, RLHF_APPEND_EOS_NEVER);
    int32_t tokens[2 * MOST];
    int64_t cu[MOST + 1];
    double scale, offset;
    float scores[MOST];

    for (int i = 0; i <= MOST; i++)
        cu[i] = 2 * i;
    for (int32_t token = 2; token < VOCAB; token++)
        for (int64_t n = 2; n <= MOST; n++) {
            for (int i = 0; i < 2 * MOST; i++)
                tokens[i] = token;
            assert_ok(rlhf_reward_model_set_affine(reward, 2, 3));
            assert_fails(rlhf_reward_model_normalize(reward, tokens, cu, n, 1),
                         RLHF_ERR_NUMERIC, "no variance to normalise");
            assert_ok(rlhf_reward_model_get_affine(reward, &scale, &offset));
            assert_true(scale == 2 && offset == 3);
            assert_ok(rlhf_reward_model_normalize(reward, tokens, cu, n, 0));
            assert_ok(rlhf_reward_model_score(reward, tokens, cu, n, scores));
            assert_true(fabs((double)scores[0]) < 1e-6);
        }
    rlhf_reward_model_free(reward);
    rlhf_context_free(context);
}

/* The head times the scale is score.weight; the offset is a field of config.json. */
static void test_saving_folds_the_scale_into_the_head(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *reward = make_reward(context, RLHF_APPEND_EOS_NEVER), *loaded;
    char folder[TEST_PATH];
    float before[SEQS], after[SEQS], head[HIDDEN], folded[HIDDEN];
    double scale, offset;

    test_folder_make(folder);
    assert_ok(rlhf_reward_model_set_affine(reward, -2.5, 0.75));
    score(reward, before);
    assert_ok(rlhf_reward_model_save(reward, folder));
    json_t *config = json_load_file(test_join(folder, "config.json"), 0, NULL);
    assert_non_null(config);
    offset = json_number_value(json_object_get(config, "rlhf_score_offset"));
    assert_true(offset == 0.75);
    assert_int_equal(json_integer_value(json_object_get(config, "num_labels")) == 1 ||
                         json_object_size(json_object_get(config, "id2label")) == 1,
                     1);
    json_decref(config);
    assert_ok(rlhf_reward_model_load(context, folder, &loaded));
    assert_ok(rlhf_reward_model_get_affine(loaded, &scale, &offset));
    assert_true(scale == 1 && offset == 0.75);
    assert_ok(rlhf_reward_model_parameter_read(reward, "score.weight", head, HIDDEN));
    assert_ok(rlhf_reward_model_parameter_read(loaded, "score.weight", folded, HIDDEN));
    for (int i = 0; i < HIDDEN; i++)
        assert_true(folded[i] == (float)(-2.5 * (double)head[i]));
    score(loaded, after);
    for (int s = 0; s < SEQS; s++)
        assert_true(fabs((double)after[s] - (double)before[s]) < 1e-5);
    score(reward, after); /* saving changed nothing */
    assert_memory_equal(before, after, sizeof before);
    assert_fails(rlhf_reward_model_set_affine(reward, 1e60, 0), RLHF_ERR_INVALID_ARG,
                 "scale must be finite and not 0 as a float, got 1e+60");
    assert_field("scale");
    assert_fails(rlhf_reward_model_set_affine(reward, 1e-60, 0), RLHF_ERR_INVALID_ARG,
                 "1e-60");
    assert_fails(rlhf_reward_model_set_affine(reward, 1, 1e60), RLHF_ERR_INVALID_ARG,
                 "offset must be finite as a float, got 1e+60");
    assert_field("offset");
    for (int i = 0; i < HIDDEN; i++)
        head[i] = 4;
    assert_ok(rlhf_reward_model_parameter_write(reward, "score.weight", head, HIDDEN));
    assert_ok(rlhf_reward_model_set_affine(reward, 1e38, 0));
    assert_fails(rlhf_reward_model_save(reward, folder), RLHF_ERR_NUMERIC,
                 "score.weight, 4");
    rlhf_reward_model_free(loaded);
    rlhf_reward_model_free(reward);
    rlhf_context_free(context);
    test_folder_remove(folder);
}

static void test_reward_model_is_a_copy_of_the_trunk(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_reward_model *reward = make_reward(context, RLHF_APPEND_EOS_NEVER), *copy;
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 3);
    float trunk[VOCAB * HIDDEN], table[VOCAB * HIDDEN], scores[SEQS], again[SEQS];
    double scale, offset;

    assert_ok(rlhf_model_parameter_read(model, "model.embed_tokens.weight", table,
                                        VOCAB * HIDDEN));
    assert_ok(rlhf_reward_model_parameter_read(reward, "model.embed_tokens.weight", trunk,
                                               VOCAB * HIDDEN));
    assert_memory_equal(trunk, table, sizeof trunk);
    assert_ok(rlhf_reward_model_set_affine(reward, 3, -1));
    assert_ok(rlhf_reward_model_clone(reward, &copy));
    assert_same_reward(reward, copy);
    assert_ok(rlhf_reward_model_get_affine(copy, &scale, &offset));
    assert_true(scale == 3 && offset == -1);
    score(reward, scores);
    memset(trunk, 0, sizeof trunk);
    assert_ok(rlhf_reward_model_parameter_write(copy, "model.embed_tokens.weight", trunk,
                                                VOCAB * HIDDEN));
    score(reward, again);
    assert_memory_equal(scores, again, sizeof scores);
    score(copy, again);
    assert_memory_not_equal(scores, again, sizeof scores);
    rlhf_model_free(model);
    rlhf_reward_model_free(copy);
    rlhf_reward_model_free(reward);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores_are_scale_times_raw_plus_offset),
        cmocka_unit_test(test_score_reads_the_last_token_alone),
        cmocka_unit_test(test_no_eos_is_appended_where_the_context_is_full),
        cmocka_unit_test(test_normalising_keeps_the_sign_of_the_scale),
        cmocka_unit_test(test_normalised_scores_average_zero),
        cmocka_unit_test(test_eos_beyond_the_vocabulary_is_named),
        cmocka_unit_test(test_equal_scores_have_no_unit_variance),
        cmocka_unit_test(test_saving_folds_the_scale_into_the_head),
        cmocka_unit_test(test_reward_model_is_a_copy_of_the_trunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
