/* Networks against others': a GPT-2 of transformers (logits, gradient), and the real
 * stories260K, whose greedy answer was computed in double precision. */
#include "tiny.h"

#include <jansson.h>
#include <math.h>

#include "golden/gpt2_golden.h"
#include "test_files.h"

enum { VOCAB = 19, FIRST = 8, TOKENS = 11 };

static void near_all(const char *what, const float *actual, const float *expected,
                     int64_t count, double tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)actual[i] - (double)expected[i]) <=
              tolerance * (1 + fabs((double)expected[i]))))
            fail_msg("%s[%d] is %.8g, expected %.8g", what, (int)i, (double)actual[i],
                     (double)expected[i]);
}

static int64_t size_of(rlhf_model *model, const char *name)
{
    for (int64_t i = 0; i < rlhf_model_num_parameter_names(model); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_model_parameter_info(model, i, &info));
        if (strcmp(info.name, name) == 0)
            return info.rows * info.cols;
    }
    fail_msg("there is no parameter %s", name);
    return 0;
}

static rlhf_model *make_gpt2(rlhf_context *context)
{
    rlhf_model_config c;
    rlhf_model *model;
    const float *weights = gpt2_weights;

    assert_ok(rlhf_model_config_init(&c, sizeof c));
    c.vocab_size = VOCAB;
    c.context_length = 12;
    c.hidden_size = 12;
    c.intermediate_size = 20;
    c.num_layers = 2;
    c.num_heads = 3;
    assert_ok(rlhf_model_create(context, &c, 1, &model));
    for (int i = 0; gpt2_names[i]; i++) {
        const int64_t size = size_of(model, gpt2_names[i]);
        assert_ok(rlhf_model_parameter_write(model, gpt2_names[i], weights, size));
        weights += size;
    }
    assert_int_equal(weights - gpt2_weights, rlhf_model_num_parameters(model));
    return model;
}

static void test_gpt2_logits_match_transformers(void **state)
{
    const int64_t cu_seqlens[3] = {0, FIRST, TOKENS}, alone[2] = {0, TOKENS - FIRST};
    float logits[TOKENS * VOCAB], again[TOKENS * VOCAB];

    (void)state;
    for (int32_t threads = 1; threads <= 3; threads++) {
        rlhf_context *context = support_context(NULL, threads);
        rlhf_model *model = make_gpt2(context);
        assert_ok(rlhf_model_logits(model, gpt2_tokens, cu_seqlens, 2, logits));
        near_all("logit", logits, gpt2_logits, TOKENS * VOCAB, 2e-5);
        /* One by one and batched: the same bits. */
        assert_ok(rlhf_model_logits(model, gpt2_tokens + FIRST, alone, 1, again));
        assert_memory_equal(logits + FIRST * VOCAB, again,
                            (TOKENS - FIRST) * VOCAB * sizeof *again);
        rlhf_model_free(model);
        rlhf_context_free(context);
    }
}

static void test_gpt2_gradient_matches_transformers(void **state)
{
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = make_gpt2(context);
    rlhf_dataset_options data_options;
    rlhf_lm_options options;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    int64_t remaining = 1;
    const float *expected = gpt2_gradient;

    (void)state;
    assert_ok(rlhf_dataset_options_init(&data_options, sizeof data_options));
    assert_ok(rlhf_dataset_create(context, &data_options, &dataset));
    for (int i = 0; i < 2; i++) {
        const rlhf_example row = {.struct_size = sizeof row,
                                  .tokens = gpt2_tokens + i * FIRST,
                                  .num_tokens = i ? TOKENS - FIRST : FIRST};
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 2;
    options.micro_batch_tokens = 8; /* two micro-batches: the sum is over the whole
                                       step */
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    while (remaining > 0)
        assert_ok(rlhf_lm_trainer_accumulate(trainer, &remaining));
    for (int i = 0; gpt2_names[i]; i++) {
        float gradient[1024];
        const int64_t size = size_of(model, gpt2_names[i]);
        assert_ok(rlhf_lm_trainer_gradient(trainer, gpt2_names[i], gradient, size));
        near_all(gpt2_names[i], gradient, expected, size, 3e-5);
        expected += size;
    }
    assert_ok(rlhf_lm_trainer_apply(trainer, &stats));
    assert_true(fabs(stats.loss - gpt2_loss) < 1e-5);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- stories260K -------------------------------------------------------------------- */

static json_t *load_reference(const char *data)
{
    char path[2 * TEST_PATH];
    json_t *json;

    snprintf(path, sizeof path, "%s/models/stories260K/greedy_reference.json", data);
    json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    return json;
}

static void check_logits(rlhf_model *model, const int32_t *ids, int64_t count,
                         const json_t *expected, int64_t at)
{
    const int64_t cu_seqlens[2] = {0, count}, vocab = (int64_t)json_array_size(expected);
    float *logits = malloc((size_t)(count * vocab) * sizeof *logits);

    assert_ok(rlhf_model_logits(model, ids, cu_seqlens, 1, logits));
    for (int64_t v = 0; v < vocab; v++) {
        const double want = json_number_value(json_array_get(expected, (size_t)v));
        if (!(fabs((double)logits[at * vocab + v] - want) <= 1e-4))
            fail_msg("logit %d at %d is %.7g, expected %.7g", (int)v, (int)at,
                     (double)logits[at * vocab + v], want);
    }
    free(logits);
}

static void test_stories260k_gives_its_greedy_reference(void **state)
{
    const char *data = test_data_folder();
    const int64_t cu_seqlens[2] = {0, 1};
    char path[2 * TEST_PATH];
    rlhf_sampler_options greedy;
    rlhf_generator_options options;
    rlhf_generation g = {.struct_size = sizeof g};
    rlhf_generator *generator;
    rlhf_sampler *sampler;
    rlhf_model *model;

    (void)state;
    if (!data)
        skip();
    json_t *reference = load_reference(data),
           *ids = json_object_get(reference, "greedy_ids");
    rlhf_context *context = support_context(NULL, 2);
    const int32_t bos = 1;
    snprintf(path, sizeof path, "%s/models/stories260K/hf", data);
    assert_ok(rlhf_model_load(context, path, &model));
    assert_ok(rlhf_sampler_options_init(&greedy, sizeof greedy));
    greedy.temperature = 0;
    assert_ok(rlhf_sampler_create(&greedy, &sampler));
    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.use_stop_tokens = 0;
    options.max_new_tokens = (int32_t)json_array_size(ids);
    assert_ok(rlhf_generator_create(model, sampler, &options, &generator));
    assert_ok(rlhf_generator_start(generator, &bos, cu_seqlens, 1, NULL));
    assert_ok(rlhf_generator_run(generator));
    assert_ok(rlhf_generator_get(generator, 0, &g));
    assert_int_equal(g.num_tokens - g.num_prompt, json_array_size(ids));
    assert_true(json_array_size(ids) > 100);
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_int_equal(g.tokens[1 + i], json_integer_value(json_array_get(ids, i)));
    check_logits(model, g.tokens, 21, json_object_get(reference, "logits_pos0"), 0);
    check_logits(model, g.tokens, 21, json_object_get(reference, "logits_pos20"), 20);
    json_decref(reference);
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2_logits_match_transformers),
        cmocka_unit_test(test_gpt2_gradient_matches_transformers),
        cmocka_unit_test(test_stories260k_gives_its_greedy_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
