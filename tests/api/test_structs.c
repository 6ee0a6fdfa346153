/* Every struct with a struct_size: none set, an older host's, a newer host's with
 * zeros, and a newer host's that sets what this library does not know. And: versions
 * and names. */
#include "api_support.h"

#include "test_files.h"

enum { EXTRA = 24, ROOM = 1024 };

typedef struct objects {
    rlhf_context *context;
    rlhf_model *model;
    rlhf_reward_model *reward;
    rlhf_dataset *dataset, *pairs;
    rlhf_generator *generator;
    rlhf_rollout *rollout;
    rlhf_feedback *feedback;
    char folder[TEST_PATH];
} objects;

static int setup(void **state)
{
    objects *o = calloc(1, sizeof *o);
    const int32_t tokens[3] = {2, 3, 4};
    const uint8_t mask[3] = {0, 1, 1};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .num_tokens = 3};
    rlhf_dataset_options options;

    test_folder_make(o->folder);
    o->context = support_context(NULL, 1);
    o->model = tiny_model(o->context, VOCAB, LENGTH, 1);
    o->dataset = repeated_rows(o->context, 3, 6);
    assert_ok(rlhf_reward_model_create(o->model, NULL, &o->reward));
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(o->context, &options, &o->pairs));
    assert_ok(rlhf_generator_create(o->model, NULL, NULL, &o->generator));
    assert_ok(
        rlhf_generator_start(o->generator, tokens, (const int64_t[]){0, 3}, 1, NULL));
    assert_ok(rlhf_rollout_create(o->context, &o->rollout));
    assert_ok(rlhf_rollout_append(o->rollout, &input));
    assert_ok(
        rlhf_feedback_open(o->context, test_join(o->folder, "s.db"), 1, &o->feedback));
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    objects *o = *state;

    rlhf_feedback_free(o->feedback);
    rlhf_rollout_free(o->rollout);
    rlhf_generator_free(o->generator);
    rlhf_dataset_free(o->dataset);
    rlhf_dataset_free(o->pairs);
    rlhf_reward_model_free(o->reward);
    rlhf_model_free(o->model);
    rlhf_context_free(o->context);
    test_folder_remove(o->folder);
    free(o);
    return 0;
}

/* --- options: an _init, and a call that reads them ---------------------------------- */

typedef rlhf_status (*use_fn)(objects *o, void *given);

static rlhf_status use_context(objects *o, void *given)
{
    rlhf_context *made;
    const rlhf_status status = rlhf_context_create(given, &made);

    (void)o;
    rlhf_context_free(made);
    return status;
}

static rlhf_status use_model(objects *o, void *given)
{
    rlhf_model *made;
    rlhf_model_config *config = given;

    if (config->struct_size >= sizeof *config)
        config->vocab_size = VOCAB;
    const rlhf_status status = rlhf_model_create(o->context, given, 1, &made);
    rlhf_model_free(made);
    return status;
}

static rlhf_status use_reward_model(objects *o, void *given)
{
    rlhf_reward_model *made;
    const rlhf_status status = rlhf_reward_model_create(o->model, given, &made);

    rlhf_reward_model_free(made);
    return status;
}

static rlhf_status use_tokenizer(objects *o, void *given)
{
    const char *text = "abab";
    const size_t size = 4;
    rlhf_tokenizer *made;
    const rlhf_status status =
        rlhf_tokenizer_train(o->context, &text, &size, 1, given, &made);

    rlhf_tokenizer_free(made);
    return status;
}

static rlhf_status use_dataset(objects *o, void *given)
{
    rlhf_dataset *made;
    const rlhf_status status = rlhf_dataset_create(o->context, given, &made);

    rlhf_dataset_free(made);
    return status;
}

static rlhf_status use_sampler(objects *o, void *given)
{
    rlhf_sampler *made;
    const rlhf_status status = rlhf_sampler_create(given, &made);

    (void)o;
    rlhf_sampler_free(made);
    return status;
}

static rlhf_status use_generator(objects *o, void *given)
{
    rlhf_generator *made;
    const rlhf_status status = rlhf_generator_create(o->model, NULL, given, &made);

    rlhf_generator_free(made);
    return status;
}

static rlhf_status use_lm(objects *o, void *given)
{
    rlhf_lm_trainer *made;
    const rlhf_status status = rlhf_lm_trainer_create(o->model, o->dataset, given, &made);

    rlhf_lm_trainer_free(made);
    return status;
}

static rlhf_status use_reward(objects *o, void *given)
{
    rlhf_reward_trainer *made;
    const rlhf_status status =
        rlhf_reward_trainer_create(o->reward, o->pairs, given, &made);

    rlhf_reward_trainer_free(made);
    return status;
}

static rlhf_status use_ppo(objects *o, void *given)
{
    rlhf_ppo_trainer *made;
    const rlhf_status status =
        rlhf_ppo_trainer_create(o->model, NULL, NULL, NULL, given, &made);

    rlhf_ppo_trainer_free(made);
    return status;
}

#define INIT(type) (rlhf_status(*)(void *, size_t)) type##_init, sizeof(type), #type
static const struct {
    rlhf_status (*init)(void *, size_t);
    size_t size;
    const char *name;
    use_fn use;
} options_structs[] = {
    {INIT(rlhf_context_options), use_context},
    {INIT(rlhf_model_config), use_model},
    {INIT(rlhf_reward_model_options), use_reward_model},
    {INIT(rlhf_tokenizer_train_options), use_tokenizer},
    {INIT(rlhf_dataset_options), use_dataset},
    {INIT(rlhf_sampler_options), use_sampler},
    {INIT(rlhf_generator_options), use_generator},
    {INIT(rlhf_lm_options), use_lm},
    {INIT(rlhf_reward_options), use_reward},
    {INIT(rlhf_ppo_options), use_ppo},
};

/* A struct of a size that the library does not have, at the end of a block of `ROOM`
 * bytes. */
static void set_size(void *given, size_t size)
{
    memcpy(given, &size, sizeof size);
}

static void test_options_travel_between_versions(void **state)
{
    objects *o = *state;
    _Alignas(16) unsigned char given[ROOM];

    for (size_t i = 0; i < sizeof options_structs / sizeof options_structs[0]; i++) {
        const size_t size = options_structs[i].size;
        const use_fn use = options_structs[i].use;
        memset(given, 0xff, sizeof given);
        if (options_structs[i].init(given, size + EXTRA) != RLHF_OK)
            fail_msg("%s of a newer host: %s", options_structs[i].name,
                     rlhf_last_error_message());
        assert_int_equal(given[size], 0); /* the unknown tail is zero */
        assert_int_equal(given[size + EXTRA - 1], 0);
        assert_int_equal(given[size + EXTRA], 0xff); /* and nothing beyond is touched */
        assert_ok(use(o, given));
        given[size + EXTRA - 1] = 1;
        assert_fails(use(o, given), RLHF_ERR_UNSUPPORTED, options_structs[i].name);
        given[size + EXTRA - 1] = 0;
        set_size(given, 0);
        assert_fails(use(o, given), RLHF_ERR_INVALID_ARG, "was it initialised?");
        set_size(given, (size_t)-1);
        assert_fails(use(o, given), RLHF_ERR_INVALID_ARG, "not plausible");
        assert_fails(options_structs[i].init(given, 0), RLHF_ERR_INVALID_ARG,
                     "struct_size 0 is below");
    }
}

/* --- inputs without an _init -------------------------------------------------------- */

static rlhf_status use_allocator(objects *o, void *given)
{
    rlhf_context_options options;

    assert_ok(rlhf_context_options_init(&options, sizeof options));
    options.allocator = given;
    return use_context(o, &options);
}

static rlhf_status next_none(void *user_data, rlhf_example *out)
{
    (void)user_data;
    (void)out;
    return RLHF_ERR_NOT_FOUND;
}

static rlhf_status use_source(objects *o, void *given)
{
    rlhf_dataset *made;
    const rlhf_status status = rlhf_dataset_create_from_source(
        o->context, RLHF_DATASET_TEXT, given, NULL, &made);

    rlhf_dataset_free(made);
    return status;
}

static rlhf_status sample_none(void *user_data, void *state, const rlhf_sample_info *info,
                               const float *logits, int64_t vocab_size,
                               int32_t *out_token)
{
    (void)user_data;
    (void)state;
    (void)info;
    (void)logits;
    (void)vocab_size;
    *out_token = 0;
    return RLHF_OK;
}

static rlhf_status use_sampler_ops(objects *o, void *given)
{
    rlhf_sampler *made;
    const rlhf_status status = rlhf_sampler_create_custom(given, NULL, &made);

    (void)o;
    rlhf_sampler_free(made);
    return status;
}

static rlhf_status use_layer(objects *o, void *given)
{
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_model *made;

    config.num_layers = config.num_layer_configs = 1;
    config.layers = given;
    const rlhf_status status = rlhf_model_create(o->context, &config, 1, &made);
    rlhf_model_free(made);
    return status;
}

static rlhf_status use_example(objects *o, void *given)
{
    return rlhf_dataset_append(o->dataset, given);
}

static rlhf_status use_rollout_input(objects *o, void *given)
{
    return rlhf_rollout_append(o->rollout, given);
}

static rlhf_status use_comparison(objects *o, void *given)
{
    int64_t id;

    return rlhf_feedback_add(o->feedback, given, &id);
}

static void test_inputs_travel_between_versions(void **state)
{
    objects *o = *state;
    static const int32_t tokens[3] = {2, 3, 4}, other[1] = {5};
    static const uint8_t mask[3] = {0, 1, 1};
    failing_allocator counter = {.fail_at = -1};
    const rlhf_allocator allocator = failing_hooks(&counter);
    const rlhf_source_ops source = {.struct_size = sizeof source, .next = next_none};
    const rlhf_sampler_ops sampler = {.struct_size = sizeof sampler,
                                      .sample = sample_none};
    const rlhf_example row = {
        .struct_size = sizeof row, .tokens = tokens, .num_tokens = 3};
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = tokens,
                                      .action_mask = mask,
                                      .num_tokens = 3};
    const rlhf_comparison pair = {.struct_size = sizeof pair,
                                  .prompt_ids = tokens,
                                  .answer_ids = {tokens, other},
                                  .num_prompt = 3,
                                  .num_answer = {3, 1},
                                  .prompt_text = "p",
                                  .answer_text = {"a", "b"}};
    rlhf_model_config config = {.struct_size = sizeof config};
    assert_ok(rlhf_model_get_config(o->model, &config));
    const struct {
        const void *valid;
        size_t size;
        use_fn use;
        const char *name;
    } inputs[] = {
        {&allocator, sizeof allocator, use_allocator, "rlhf_allocator"},
        {&source, sizeof source, use_source, "rlhf_source_ops"},
        {&sampler, sizeof sampler, use_sampler_ops, "rlhf_sampler_ops"},
        {config.layers, sizeof *config.layers, use_layer, "rlhf_layer_config"},
        {&row, sizeof row, use_example, "rlhf_example"},
        {&input, sizeof input, use_rollout_input, "rlhf_rollout_input"},
        {&pair, sizeof pair, use_comparison, "rlhf_comparison"},
    };

    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        _Alignas(16) unsigned char given[ROOM] = {0};
        const size_t size = inputs[i].size;
        memcpy(given, inputs[i].valid, size);
        assert_ok(inputs[i].use(o, given));
        set_size(given, size + EXTRA);
        assert_ok(inputs[i].use(o, given));
        given[size + EXTRA - 1] = 1;
        assert_fails(inputs[i].use(o, given), RLHF_ERR_UNSUPPORTED, inputs[i].name);
        set_size(given, 0);
        assert_fails(inputs[i].use(o, given), RLHF_ERR_INVALID_ARG, inputs[i].name);
    }
}

/* --- outputs ------------------------------------------------------------------------ */

static rlhf_status fill_error(objects *o, void *out)
{
    (void)o;
    return rlhf_last_error_info(out);
}

static rlhf_status fill_memory(objects *o, void *out)
{
    return rlhf_context_memory(o->context, out);
}

static rlhf_status fill_parameter(objects *o, void *out)
{
    return rlhf_model_parameter_info(o->model, 0, out);
}

static rlhf_status fill_config(objects *o, void *out)
{
    return rlhf_model_get_config(o->model, out);
}

static rlhf_status fill_dataset(objects *o, void *out)
{
    return rlhf_dataset_get_info(o->dataset, out);
}

static rlhf_status fill_row(objects *o, void *out)
{
    return rlhf_dataset_row(o->dataset, 0, out);
}

static rlhf_status fill_generation(objects *o, void *out)
{
    return rlhf_generator_get(o->generator, 0, out);
}

static rlhf_status fill_sequence(objects *o, void *out)
{
    return rlhf_rollout_get(o->rollout, 0, out);
}

static rlhf_status fill_feedback(objects *o, void *out)
{
    return rlhf_feedback_get_info(o->feedback, out);
}

static rlhf_status fill_lm(objects *o, void *out)
{
    rlhf_lm_trainer *trainer;
    rlhf_status status;

    assert_ok(rlhf_lm_trainer_create(o->model, o->dataset, NULL, &trainer));
    status = rlhf_lm_trainer_step(trainer, out);
    rlhf_lm_trainer_free(trainer);
    return status;
}

static rlhf_status fill_reward(objects *o, void *out)
{
    static const int32_t chosen[3] = {2, 3, 4}, rejected[3] = {2, 3, 5};
    const rlhf_example pair = {.struct_size = sizeof pair,
                               .tokens = chosen,
                               .num_tokens = 3,
                               .prompt_length = 2,
                               .rejected = rejected,
                               .num_rejected = 3};
    rlhf_reward_trainer *trainer;
    rlhf_status status;

    assert_ok(rlhf_dataset_append(o->pairs, &pair));
    assert_ok(rlhf_reward_trainer_create(o->reward, o->pairs, NULL, &trainer));
    status = rlhf_reward_trainer_evaluate(trainer, o->pairs, 0, out);
    rlhf_reward_trainer_free(trainer);
    return status;
}

static rlhf_status fill_ppo(objects *o, void *out)
{
    const int32_t tokens[2] = {2, 3};
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;
    rlhf_status status;

    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 2;
    assert_ok(rlhf_ppo_trainer_create(o->model, NULL, NULL, NULL, &options, &trainer));
    status =
        rlhf_ppo_trainer_evaluate(trainer, tokens, (const int64_t[]){0, 2}, 1, out, NULL);
    rlhf_ppo_trainer_free(trainer);
    return status;
}

#define OUTPUT(type, fill)                                                               \
    {                                                                                    \
        sizeof(type), fill, #type                                                        \
    }
static const struct {
    size_t size;
    use_fn fill;
    const char *name;
} outputs[] = {
    OUTPUT(rlhf_error_info, fill_error),
    OUTPUT(rlhf_memory_info, fill_memory),
    OUTPUT(rlhf_parameter_info, fill_parameter),
    OUTPUT(rlhf_model_config, fill_config),
    OUTPUT(rlhf_dataset_info, fill_dataset),
    OUTPUT(rlhf_example, fill_row),
    OUTPUT(rlhf_generation, fill_generation),
    OUTPUT(rlhf_rollout_sequence, fill_sequence),
    OUTPUT(rlhf_feedback_info, fill_feedback),
    OUTPUT(rlhf_lm_stats, fill_lm),
    OUTPUT(rlhf_reward_stats, fill_reward),
    OUTPUT(rlhf_ppo_stats, fill_ppo),
};

/* An older host gets what it has room for, a newer one zeros; no byte beyond is
 * touched. */
static void test_outputs_fit_older_and_newer_hosts(void **state)
{
    objects *o = *state;

    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        _Alignas(16) unsigned char out[ROOM];
        const size_t size = outputs[i].size;
        const size_t sizes[2] = {size + EXTRA, size - 8};
        for (int s = 0; s < 2; s++) {
            memset(out, 0xa5, sizeof out);
            set_size(out, sizes[s]);
            if (outputs[i].fill(o, out) != RLHF_OK)
                fail_msg("%s: %s", outputs[i].name, rlhf_last_error_message());
            if (memcmp(out, &sizes[s], sizeof sizes[s]) != 0 || out[sizes[s]] != 0xa5)
                fail_msg("%s: struct_size or the bytes beyond are touched",
                         outputs[i].name);
            if (s == 0 && (out[size] || out[size + EXTRA - 1]))
                fail_msg("%s: the unknown tail is not zero", outputs[i].name);
        }
        memset(out, 0, sizeof out);
        if (outputs[i].fill(o, out) != RLHF_ERR_INVALID_ARG)
            fail_msg("%s with struct_size 0 is taken", outputs[i].name);
    }
}

/* --- versions ----------------------------------------------------------------------- */

static void test_version_is_that_of_the_header(void **state)
{
    (void)state;
    char expected[32];

    snprintf(expected, sizeof expected, "%d.%d.%d", RLHF_VERSION_MAJOR,
             RLHF_VERSION_MINOR, RLHF_VERSION_PATCH);
    assert_string_equal(rlhf_version(), expected);
    assert_string_equal(rlhf_status_name(RLHF_OK), "RLHF_OK");
    assert_string_equal(rlhf_status_name(RLHF_ERR_INVALID_ARG), "RLHF_ERR_INVALID_ARG");
    assert_string_equal(rlhf_status_name(RLHF_ERR_INTERNAL), "RLHF_ERR_INTERNAL");
    assert_string_equal(rlhf_status_name(RLHF_ERR_INTERNAL - 1), "RLHF_ERR_UNKNOWN");
    assert_string_equal(rlhf_status_name(INT32_MIN), "RLHF_ERR_UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_travel_between_versions),
        cmocka_unit_test(test_inputs_travel_between_versions),
        cmocka_unit_test(test_outputs_fit_older_and_newer_hosts),
        cmocka_unit_test(test_version_is_that_of_the_header),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
