/* NULL for each pointer of every public function: refused by INVALID_ARG or a no-op,
 * never a crash. The list is held against librlhf.map, so that a new function is
 * noticed. */
#include "api_support.h"

#include <stdbool.h>

#include "test_files.h"

enum { MAX_NAMES = 256 };

static char seen[MAX_NAMES][64];
static int num_seen;

/* The function's name out of "rlhf_x(…)" or "(void)rlhf_x(…)". */
static void note(const char *call)
{
    const char *start = strstr(call, "rlhf_");
    const size_t size = strcspn(start, "(");

    for (int i = 0; i < num_seen; i++)
        if (strlen(seen[i]) == size && strncmp(seen[i], start, size) == 0)
            return;
    assert_true(num_seen < MAX_NAMES && size < sizeof seen[0]);
    memcpy(seen[num_seen], start, size);
    seen[num_seen++][size] = '\0';
}

static void check_refused(const char *call, rlhf_status status)
{
    note(call);
    if (status != RLHF_ERR_INVALID_ARG)
        fail_msg("%s gave %s", call, rlhf_status_name(status));
    if (!strstr(rlhf_last_error_message(), "NULL"))
        fail_msg("%s says \"%s\"", call, rlhf_last_error_message());
    rlhf_error_info info = {.struct_size = sizeof info};
    assert_ok(rlhf_last_error_info(&info));
    const bool of_argument =
        strstr(info.message, " is NULL") && strncmp(info.message, "rlhf_", 5) != 0;
    if (of_argument &&
        (!info.field[0] || strncmp(info.field, info.message, strlen(info.field)) != 0))
        fail_msg("%s says \"%s\" of field \"%s\"", call, info.message, info.field);
}

static void check_gives(const char *call, int64_t value, int64_t expected)
{
    note(call);
    if (value != expected)
        fail_msg("%s gave %lld", call, (long long)value);
}

static void check_handle(const char *call, rlhf_status status, void **handle)
{
    check_refused(call, status);
    if (*handle)
        fail_msg("%s left *out as it was", call);
    *handle = handle; /* no pointer to anything: the next call must set it to NULL */
}

#define REFUSES(call)         check_refused(#call, (call))
#define GIVES(expected, call) check_gives(#call, (call), expected)
#define IGNORES(call)         (note(#call), (call))
/* A constructor: it sets its output to NULL before anything else. */
#define NO_HANDLE(call) check_handle(#call, (call), &out)
#define OUT             ((void *)&out)

typedef struct objects {
    rlhf_context *context;
    rlhf_model *model, *policy;
    rlhf_reward_model *reward;
    rlhf_tokenizer *tokenizer;
    rlhf_text_stream *stream;
    rlhf_dataset *dataset, *pairs;
    rlhf_sampler *sampler;
    rlhf_generator *generator;
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *reward_trainer;
    rlhf_ppo_trainer *ppo;
    rlhf_rollout *rollout;
    rlhf_feedback *feedback;
    rlhf_config *config;
    char folder[TEST_PATH];
} objects;

static const int32_t tokens[3] = {2, 3, 4};
static const int64_t cu[2] = {0, 3};
static void *out = &out;
static int64_t count64;
static size_t size;

static rlhf_tokenizer *small_tokenizer(rlhf_context *context)
{
    const char *text = "a tokenizer of bytes";
    const size_t length = strlen(text);
    rlhf_tokenizer_train_options options;
    rlhf_tokenizer *tokenizer;

    assert_ok(rlhf_tokenizer_train_options_init(&options, sizeof options));
    options.vocab_size = 257;
    assert_ok(rlhf_tokenizer_train(context, &text, &length, 1, &options, &tokenizer));
    return tokenizer;
}

static void make_trainers(objects *o)
{
    rlhf_dataset_options options;

    assert_ok(rlhf_lm_trainer_create(o->model, o->dataset, NULL, &o->lm));
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_create(o->context, &options, &o->pairs));
    assert_ok(rlhf_reward_model_create(o->model, NULL, &o->reward));
    assert_ok(rlhf_reward_trainer_create(o->reward, o->pairs, NULL, &o->reward_trainer));
    o->policy = tiny_model(o->context, VOCAB, LENGTH, 2);
    assert_ok(rlhf_ppo_trainer_create(o->policy, NULL, NULL, NULL, NULL, &o->ppo));
}

static int setup(void **state)
{
    objects *o = calloc(1, sizeof *o);

    test_folder_make(o->folder);
    o->context = support_context(NULL, 1);
    o->model = tiny_model(o->context, VOCAB, LENGTH, 1);
    o->tokenizer = small_tokenizer(o->context);
    o->dataset = repeated_rows(o->context, 2, 6);
    assert_ok(rlhf_text_stream_create(o->tokenizer, 0, &o->stream));
    assert_ok(rlhf_sampler_create(NULL, &o->sampler));
    assert_ok(rlhf_generator_create(o->model, NULL, NULL, &o->generator));
    assert_ok(rlhf_rollout_create(o->context, &o->rollout));
    assert_ok(rlhf_feedback_open(o->context, test_join(o->folder, "store.db"), 1,
                                 &o->feedback));
    test_write(test_join(o->folder, "c.yaml"), "a: 1\n", 5);
    assert_ok(rlhf_config_load(o->context, test_join(o->folder, "c.yaml"), &o->config));
    make_trainers(o);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    objects *o = *state;

    rlhf_config_free(o->config);
    rlhf_feedback_free(o->feedback);
    rlhf_rollout_free(o->rollout);
    rlhf_ppo_trainer_free(o->ppo);
    rlhf_reward_trainer_free(o->reward_trainer);
    rlhf_lm_trainer_free(o->lm);
    rlhf_generator_free(o->generator);
    rlhf_sampler_free(o->sampler);
    rlhf_text_stream_free(o->stream);
    rlhf_tokenizer_free(o->tokenizer);
    rlhf_dataset_free(o->dataset);
    rlhf_dataset_free(o->pairs);
    rlhf_reward_model_free(o->reward);
    rlhf_model_free(o->model);
    rlhf_model_free(o->policy);
    rlhf_context_free(o->context);
    test_folder_remove(o->folder);
    free(o);
    return 0;
}

static void test_null_to_context_and_config(void **state)
{
    objects *o = *state;
    rlhf_memory_info memory = {.struct_size = sizeof memory};
    const char *text;
    double number;

    GIVES(RLHF_ERR_INVALID_ARG, rlhf_last_error_info(NULL));
    assert_non_null((note("rlhf_last_error_message("), rlhf_last_error_message()));
    assert_string_equal((note("rlhf_status_name("), rlhf_status_name(1)),
                        "RLHF_ERR_UNKNOWN");
    assert_string_equal((note("rlhf_version("), rlhf_version()), "0.1.0");
    REFUSES(rlhf_context_options_init(NULL, sizeof(rlhf_context_options)));
    REFUSES(rlhf_context_create(NULL, NULL));
    IGNORES(rlhf_context_free(NULL));
    IGNORES(rlhf_context_cancel(NULL));
    GIVES(0, rlhf_context_cpu_level(NULL));
    GIVES(0, rlhf_context_num_threads(NULL));
    GIVES(0, rlhf_context_dtype(NULL));
    REFUSES(rlhf_context_memory(NULL, &memory));
    REFUSES(rlhf_context_memory(o->context, NULL));
    NO_HANDLE(rlhf_config_load(NULL, "x", OUT));
    NO_HANDLE(rlhf_config_load(o->context, NULL, OUT));
    REFUSES(rlhf_config_load(o->context, "x", NULL));
    IGNORES(rlhf_config_free(NULL));
    REFUSES(rlhf_config_read(NULL, "a", "rlhf_lm_options", &number));
    REFUSES(rlhf_config_read(o->config, NULL, "rlhf_lm_options", &number));
    REFUSES(rlhf_config_read(o->config, "a", NULL, &number));
    REFUSES(rlhf_config_read(o->config, "a", "rlhf_lm_options", NULL));
    REFUSES(rlhf_config_string(NULL, "a", NULL, &text));
    REFUSES(rlhf_config_string(o->config, NULL, NULL, &text));
    REFUSES(rlhf_config_string(o->config, "a", NULL, NULL));
    REFUSES(rlhf_config_int(NULL, "a", 0, 0, 1, &count64));
    REFUSES(rlhf_config_int(o->config, NULL, 0, 0, 1, &count64));
    REFUSES(rlhf_config_int(o->config, "a", 0, 0, 1, NULL));
    REFUSES(rlhf_config_double(NULL, "a", 0, 0, 1, &number));
    REFUSES(rlhf_config_double(o->config, NULL, 0, 0, 1, &number));
    REFUSES(rlhf_config_double(o->config, "a", 0, 0, 1, NULL));
    REFUSES(rlhf_config_finish(NULL));
}

static void test_null_to_models(void **state)
{
    objects *o = *state;
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_parameter_info info = {.struct_size = sizeof info};
    const char *name = "model.norm.weight";
    float values[3 * VOCAB];

    REFUSES(rlhf_model_config_init(NULL, sizeof config));
    NO_HANDLE(rlhf_model_create(NULL, &config, 1, OUT));
    NO_HANDLE(rlhf_model_create(o->context, NULL, 1, OUT));
    REFUSES(rlhf_model_create(o->context, &config, 1, NULL));
    NO_HANDLE(rlhf_model_load(NULL, "x", OUT));
    NO_HANDLE(rlhf_model_load(o->context, NULL, OUT));
    REFUSES(rlhf_model_load(o->context, "x", NULL));
    REFUSES(rlhf_model_save(NULL, "x"));
    REFUSES(rlhf_model_save(o->model, NULL));
    NO_HANDLE(rlhf_model_clone(NULL, OUT));
    REFUSES(rlhf_model_clone(o->model, NULL));
    IGNORES(rlhf_model_free(NULL));
    REFUSES(rlhf_model_get_config(NULL, &config));
    REFUSES(rlhf_model_get_config(o->model, NULL));
    GIVES(0, rlhf_model_num_parameters(NULL));
    GIVES(0, rlhf_model_num_parameter_names(NULL));
    REFUSES(rlhf_model_parameter_info(NULL, 0, &info));
    REFUSES(rlhf_model_parameter_info(o->model, 0, NULL));
    REFUSES(rlhf_model_parameter_read(NULL, name, values, 16));
    REFUSES(rlhf_model_parameter_read(o->model, NULL, values, 16));
    REFUSES(rlhf_model_parameter_read(o->model, name, NULL, 16));
    REFUSES(rlhf_model_parameter_write(NULL, name, values, 16));
    REFUSES(rlhf_model_parameter_write(o->model, NULL, values, 16));
    REFUSES(rlhf_model_parameter_write(o->model, name, NULL, 16));
    REFUSES(rlhf_model_freeze(NULL));
    REFUSES(rlhf_model_logits(NULL, tokens, cu, 1, values));
    REFUSES(rlhf_model_logits(o->model, NULL, cu, 1, values));
    REFUSES(rlhf_model_logits(o->model, tokens, NULL, 1, values));
    REFUSES(rlhf_model_logits(o->model, tokens, cu, 1, NULL));
    REFUSES(rlhf_model_logprobs(NULL, tokens, cu, 1, 1.0, values));
    REFUSES(rlhf_model_logprobs(o->model, NULL, cu, 1, 1.0, values));
    REFUSES(rlhf_model_logprobs(o->model, tokens, NULL, 1, 1.0, values));
    REFUSES(rlhf_model_logprobs(o->model, tokens, cu, 1, 1.0, NULL));
}

static void test_null_to_reward_models(void **state)
{
    objects *o = *state;
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_parameter_info info = {.struct_size = sizeof info};
    rlhf_reward_model *reward = o->reward;
    float values[16];
    double scale, offset;

    REFUSES(rlhf_reward_model_options_init(NULL, sizeof(rlhf_reward_model_options)));
    NO_HANDLE(rlhf_reward_model_create(NULL, NULL, OUT));
    REFUSES(rlhf_reward_model_create(o->model, NULL, NULL));
    NO_HANDLE(rlhf_reward_model_load(NULL, "x", OUT));
    NO_HANDLE(rlhf_reward_model_load(o->context, NULL, OUT));
    REFUSES(rlhf_reward_model_load(o->context, "x", NULL));
    REFUSES(rlhf_reward_model_save(NULL, "x"));
    REFUSES(rlhf_reward_model_save(reward, NULL));
    NO_HANDLE(rlhf_reward_model_clone(NULL, OUT));
    REFUSES(rlhf_reward_model_clone(reward, NULL));
    IGNORES(rlhf_reward_model_free(NULL));
    REFUSES(rlhf_reward_model_score(NULL, tokens, cu, 1, values));
    REFUSES(rlhf_reward_model_score(reward, NULL, cu, 1, values));
    REFUSES(rlhf_reward_model_score(reward, tokens, NULL, 1, values));
    REFUSES(rlhf_reward_model_score(reward, tokens, cu, 1, NULL));
    REFUSES(rlhf_reward_model_normalize(NULL, tokens, cu, 2, 1));
    REFUSES(rlhf_reward_model_normalize(reward, NULL, cu, 2, 1));
    REFUSES(rlhf_reward_model_normalize(reward, tokens, NULL, 2, 1));
    REFUSES(rlhf_reward_model_get_affine(NULL, &scale, &offset));
    REFUSES(rlhf_reward_model_get_affine(reward, NULL, &offset));
    REFUSES(rlhf_reward_model_get_affine(reward, &scale, NULL));
    REFUSES(rlhf_reward_model_set_affine(NULL, 1, 0));
    REFUSES(rlhf_reward_model_get_config(NULL, &config));
    REFUSES(rlhf_reward_model_get_config(reward, NULL));
    GIVES(0, rlhf_reward_model_num_parameters(NULL));
    GIVES(0, rlhf_reward_model_num_parameter_names(NULL));
    REFUSES(rlhf_reward_model_parameter_info(NULL, 0, &info));
    REFUSES(rlhf_reward_model_parameter_info(reward, 0, NULL));
    REFUSES(rlhf_reward_model_parameter_read(NULL, "x", values, 16));
    REFUSES(rlhf_reward_model_parameter_read(reward, NULL, values, 16));
    REFUSES(rlhf_reward_model_parameter_read(reward, "x", NULL, 16));
    REFUSES(rlhf_reward_model_parameter_write(NULL, "x", values, 16));
    REFUSES(rlhf_reward_model_parameter_write(reward, NULL, values, 16));
    REFUSES(rlhf_reward_model_parameter_write(reward, "x", NULL, 16));
    REFUSES(rlhf_reward_model_freeze(NULL));
}

static void test_null_to_tokenizers(void **state)
{
    objects *o = *state;
    const char *text = "x";
    const size_t one = 1;
    int32_t ids[4];
    char bytes[8];
    const char *piece;

    REFUSES(
        rlhf_tokenizer_train_options_init(NULL, sizeof(rlhf_tokenizer_train_options)));
    NO_HANDLE(rlhf_tokenizer_train(NULL, &text, &one, 1, NULL, OUT));
    NO_HANDLE(rlhf_tokenizer_train(o->context, NULL, &one, 1, NULL, OUT));
    NO_HANDLE(rlhf_tokenizer_train(o->context, &text, NULL, 1, NULL, OUT));
    REFUSES(rlhf_tokenizer_train(o->context, &text, &one, 1, NULL, NULL));
    NO_HANDLE(rlhf_tokenizer_load(NULL, "x", OUT));
    NO_HANDLE(rlhf_tokenizer_load(o->context, NULL, OUT));
    REFUSES(rlhf_tokenizer_load(o->context, "x", NULL));
    REFUSES(rlhf_tokenizer_save(NULL, "x"));
    REFUSES(rlhf_tokenizer_save(o->tokenizer, NULL));
    IGNORES(rlhf_tokenizer_free(NULL));
    GIVES(0, rlhf_tokenizer_vocab_size(NULL));
    GIVES(-1, rlhf_tokenizer_bos_id(NULL));
    GIVES(-1, rlhf_tokenizer_eos_id(NULL));
    GIVES(-1, rlhf_tokenizer_token_id(NULL, "x"));
    GIVES(-1, rlhf_tokenizer_token_id(o->tokenizer, NULL));
    REFUSES(rlhf_tokenizer_encode(NULL, "x", 1, 0, ids, 4, &count64));
    REFUSES(rlhf_tokenizer_encode(o->tokenizer, NULL, 1, 0, ids, 4, &count64));
    REFUSES(rlhf_tokenizer_encode(o->tokenizer, "x", 1, 0, NULL, 4, &count64));
    REFUSES(rlhf_tokenizer_encode(o->tokenizer, "x", 1, 0, ids, 4, NULL));
    REFUSES(rlhf_tokenizer_decode(NULL, tokens, 3, 0, bytes, sizeof bytes, &size));
    REFUSES(rlhf_tokenizer_decode(o->tokenizer, NULL, 3, 0, bytes, sizeof bytes, &size));
    REFUSES(rlhf_tokenizer_decode(o->tokenizer, tokens, 3, 0, NULL, sizeof bytes, &size));
    REFUSES(rlhf_tokenizer_decode(o->tokenizer, tokens, 3, 0, bytes, sizeof bytes, NULL));
    NO_HANDLE(rlhf_text_stream_create(NULL, 0, OUT));
    REFUSES(rlhf_text_stream_create(o->tokenizer, 0, NULL));
    REFUSES(rlhf_text_stream_push(NULL, 1, &piece, &size));
    REFUSES(rlhf_text_stream_push(o->stream, 1, NULL, &size));
    REFUSES(rlhf_text_stream_push(o->stream, 1, &piece, NULL));
    IGNORES(rlhf_text_stream_free(NULL));
}

static void test_null_to_datasets_and_feedback(void **state)
{
    objects *o = *state;
    rlhf_example row = {.struct_size = sizeof row};
    rlhf_dataset_info info = {.struct_size = sizeof info};
    rlhf_feedback_info counts = {.struct_size = sizeof counts};
    rlhf_comparison pair = {.struct_size = sizeof pair};
    const rlhf_source_ops ops = {.struct_size = sizeof ops};
    void *second = &second;
    char bytes[8];

    REFUSES(rlhf_dataset_options_init(NULL, sizeof(rlhf_dataset_options)));
    NO_HANDLE(rlhf_dataset_load(NULL, o->tokenizer, "x", NULL, OUT));
    NO_HANDLE(rlhf_dataset_load(o->context, NULL, "x", NULL, OUT));
    NO_HANDLE(rlhf_dataset_load(o->context, o->tokenizer, NULL, NULL, OUT));
    REFUSES(rlhf_dataset_load(o->context, o->tokenizer, "x", NULL, NULL));
    NO_HANDLE(rlhf_dataset_create(NULL, NULL, OUT));
    REFUSES(rlhf_dataset_create(o->context, NULL, NULL));
    NO_HANDLE(rlhf_dataset_create_from_source(NULL, 0, &ops, NULL, OUT));
    NO_HANDLE(rlhf_dataset_create_from_source(o->context, 0, NULL, NULL, OUT));
    NO_HANDLE(rlhf_dataset_create_from_source(o->context, 0, &ops, NULL, OUT));
    REFUSES(rlhf_dataset_create_from_source(o->context, 0, &ops, NULL, NULL));
    IGNORES(rlhf_dataset_free(NULL));
    REFUSES(rlhf_dataset_append(NULL, &row));
    REFUSES(rlhf_dataset_append(o->dataset, NULL));
    REFUSES(rlhf_dataset_append(
        o->dataset, &(rlhf_example){.struct_size = sizeof row, .num_tokens = 2}));
    NO_HANDLE(rlhf_dataset_split(NULL, 1, 1, OUT, (void *)&second));
    assert_null(second);
    REFUSES(rlhf_dataset_split(o->dataset, 1, 1, NULL, (void *)&second));
    NO_HANDLE(rlhf_dataset_split(o->dataset, 1, 1, OUT, NULL));
    REFUSES(rlhf_dataset_get_info(NULL, &info));
    REFUSES(rlhf_dataset_get_info(o->dataset, NULL));
    REFUSES(rlhf_dataset_row(NULL, 0, &row));
    REFUSES(rlhf_dataset_row(o->dataset, 0, NULL));
    REFUSES(rlhf_dataset_next(NULL, &row));
    REFUSES(rlhf_dataset_next(o->dataset, NULL));
    REFUSES(rlhf_dataset_rewind(NULL));
    REFUSES(rlhf_dataset_save_position(NULL, bytes, 8, &size));
    REFUSES(rlhf_dataset_save_position(o->dataset, NULL, 8, &size));
    REFUSES(rlhf_dataset_save_position(o->dataset, bytes, 8, NULL));
    REFUSES(rlhf_dataset_restore_position(NULL, bytes, 8));
    REFUSES(rlhf_dataset_restore_position(o->dataset, NULL, 8));
    NO_HANDLE(rlhf_feedback_open(NULL, "x", 1, OUT));
    NO_HANDLE(rlhf_feedback_open(o->context, NULL, 1, OUT));
    REFUSES(rlhf_feedback_open(o->context, "x", 1, NULL));
    IGNORES(rlhf_feedback_free(NULL));
    REFUSES(rlhf_feedback_add(NULL, &pair, &count64));
    REFUSES(rlhf_feedback_add(o->feedback, NULL, &count64));
    REFUSES(rlhf_feedback_add_many(NULL, &pair, 1, &count64));
    REFUSES(rlhf_feedback_add_many(o->feedback, NULL, 1, &count64));
    REFUSES(rlhf_feedback_next(NULL, &pair));
    REFUSES(rlhf_feedback_next(o->feedback, NULL));
    REFUSES(rlhf_feedback_get(NULL, 1, &pair));
    REFUSES(rlhf_feedback_get(o->feedback, 1, NULL));
    REFUSES(rlhf_feedback_choose(NULL, 1, RLHF_CHOICE_FIRST));
    REFUSES(rlhf_feedback_undo(NULL, &count64));
    REFUSES(rlhf_feedback_get_info(NULL, &counts));
    REFUSES(rlhf_feedback_get_info(o->feedback, NULL));
    REFUSES(rlhf_feedback_export(NULL, "x"));
    REFUSES(rlhf_feedback_export(o->feedback, NULL));
    NO_HANDLE(rlhf_feedback_dataset(NULL, NULL, OUT));
    REFUSES(rlhf_feedback_dataset(o->feedback, NULL, NULL));
}

static void test_null_to_generation(void **state)
{
    objects *o = *state;
    rlhf_generation generation = {.struct_size = sizeof generation};
    const rlhf_sampler_ops ops = {.struct_size = sizeof ops};

    REFUSES(rlhf_sampler_options_init(NULL, sizeof(rlhf_sampler_options)));
    REFUSES(rlhf_sampler_create(NULL, NULL));
    NO_HANDLE(rlhf_sampler_create_custom(NULL, NULL, OUT));
    NO_HANDLE(rlhf_sampler_create_custom(&ops, NULL, OUT));
    REFUSES(rlhf_sampler_create_custom(&ops, NULL, NULL));
    IGNORES(rlhf_sampler_free(NULL));
    REFUSES(rlhf_generator_options_init(NULL, sizeof(rlhf_generator_options)));
    NO_HANDLE(rlhf_generator_create(NULL, NULL, NULL, OUT));
    REFUSES(rlhf_generator_create(o->model, NULL, NULL, NULL));
    IGNORES(rlhf_generator_free(NULL));
    REFUSES(rlhf_generator_start(NULL, tokens, cu, 1, NULL));
    REFUSES(rlhf_generator_start(o->generator, NULL, cu, 1, NULL));
    REFUSES(rlhf_generator_start(o->generator, tokens, NULL, 1, NULL));
    REFUSES(rlhf_generator_step(NULL, &count64));
    REFUSES(rlhf_generator_step(o->generator, NULL));
    REFUSES(rlhf_generator_run(NULL));
    GIVES(0, rlhf_generator_num_sequences(NULL));
    REFUSES(rlhf_generator_get(NULL, 0, &generation));
    REFUSES(rlhf_generator_get(o->generator, 0, NULL));
}

static void test_null_to_supervised_trainers(void **state)
{
    objects *o = *state;
    float values[16];
    double loss;
    rlhf_reward_stats stats = {.struct_size = sizeof stats};

    REFUSES(rlhf_lm_options_init(NULL, sizeof(rlhf_lm_options)));
    NO_HANDLE(rlhf_lm_trainer_create(NULL, o->dataset, NULL, OUT));
    NO_HANDLE(rlhf_lm_trainer_create(o->model, NULL, NULL, OUT));
    REFUSES(rlhf_lm_trainer_create(o->model, o->dataset, NULL, NULL));
    IGNORES(rlhf_lm_trainer_free(NULL));
    REFUSES(rlhf_lm_trainer_step(NULL, NULL));
    REFUSES(rlhf_lm_trainer_accumulate(NULL, &count64));
    REFUSES(rlhf_lm_trainer_accumulate(o->lm, NULL));
    REFUSES(rlhf_lm_trainer_apply(NULL, NULL));
    REFUSES(rlhf_lm_trainer_gradient(NULL, "x", values, 16));
    REFUSES(rlhf_lm_trainer_gradient(o->lm, NULL, values, 16));
    REFUSES(rlhf_lm_trainer_gradient(o->lm, "x", NULL, 16));
    REFUSES(rlhf_lm_trainer_evaluate(NULL, o->dataset, 0, &loss));
    REFUSES(rlhf_lm_trainer_evaluate(o->lm, NULL, 0, &loss));
    REFUSES(rlhf_lm_trainer_evaluate(o->lm, o->dataset, 0, NULL));
    REFUSES(rlhf_lm_trainer_set_learning_rate(NULL, 1.0));
    GIVES(0, rlhf_lm_trainer_num_steps(NULL));
    REFUSES(rlhf_lm_trainer_save(NULL, "x"));
    REFUSES(rlhf_lm_trainer_save(o->lm, NULL));
    REFUSES(rlhf_lm_trainer_resume(NULL, "x"));
    REFUSES(rlhf_lm_trainer_resume(o->lm, NULL));
    REFUSES(rlhf_reward_options_init(NULL, sizeof(rlhf_reward_options)));
    NO_HANDLE(rlhf_reward_trainer_create(NULL, o->pairs, NULL, OUT));
    NO_HANDLE(rlhf_reward_trainer_create(o->reward, NULL, NULL, OUT));
    REFUSES(rlhf_reward_trainer_create(o->reward, o->pairs, NULL, NULL));
    IGNORES(rlhf_reward_trainer_free(NULL));
    REFUSES(rlhf_reward_trainer_step(NULL, NULL));
    REFUSES(rlhf_reward_trainer_accumulate(NULL, &count64));
    REFUSES(rlhf_reward_trainer_accumulate(o->reward_trainer, NULL));
    REFUSES(rlhf_reward_trainer_apply(NULL, NULL));
    REFUSES(rlhf_reward_trainer_gradient(NULL, "x", values, 16));
    REFUSES(rlhf_reward_trainer_gradient(o->reward_trainer, NULL, values, 16));
    REFUSES(rlhf_reward_trainer_gradient(o->reward_trainer, "x", NULL, 16));
    REFUSES(rlhf_reward_trainer_evaluate(NULL, o->pairs, 0, &stats));
    REFUSES(rlhf_reward_trainer_evaluate(o->reward_trainer, NULL, 0, &stats));
    REFUSES(rlhf_reward_trainer_evaluate(o->reward_trainer, o->pairs, 0, NULL));
    REFUSES(rlhf_reward_trainer_set_learning_rate(NULL, 1.0));
    GIVES(0, rlhf_reward_trainer_num_steps(NULL));
    REFUSES(rlhf_reward_trainer_save(NULL, "x"));
    REFUSES(rlhf_reward_trainer_save(o->reward_trainer, NULL));
    REFUSES(rlhf_reward_trainer_resume(NULL, "x"));
    REFUSES(rlhf_reward_trainer_resume(o->reward_trainer, NULL));
}

static void test_null_to_ppo(void **state)
{
    objects *o = *state;
    rlhf_ppo_trainer *ppo = o->ppo;
    rlhf_ppo_options options;
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    float values[16];
    int32_t done;

    REFUSES(rlhf_ppo_options_init(NULL, sizeof options));
    REFUSES(rlhf_ppo_options_preset(NULL, sizeof options, "trl"));
    REFUSES(rlhf_ppo_options_preset(&options, sizeof options, NULL));
    NO_HANDLE(rlhf_ppo_trainer_create(NULL, NULL, NULL, NULL, NULL, OUT));
    REFUSES(rlhf_ppo_trainer_create(o->policy, NULL, NULL, NULL, NULL, NULL));
    IGNORES(rlhf_ppo_trainer_free(NULL));
    REFUSES(rlhf_ppo_trainer_step(NULL, tokens, cu, 1, &stats));
    REFUSES(rlhf_ppo_trainer_step(ppo, NULL, cu, 1, &stats));
    REFUSES(rlhf_ppo_trainer_step(ppo, tokens, NULL, 1, &stats));
    NO_HANDLE(rlhf_ppo_trainer_rollout(NULL, tokens, cu, 1, OUT));
    NO_HANDLE(rlhf_ppo_trainer_rollout(ppo, NULL, cu, 1, OUT));
    NO_HANDLE(rlhf_ppo_trainer_rollout(ppo, tokens, NULL, 1, OUT));
    REFUSES(rlhf_ppo_trainer_rollout(ppo, tokens, cu, 1, NULL));
    REFUSES(rlhf_ppo_trainer_score(NULL, o->rollout));
    REFUSES(rlhf_ppo_trainer_score(ppo, NULL));
    REFUSES(rlhf_ppo_trainer_advantages(NULL, o->rollout));
    REFUSES(rlhf_ppo_trainer_advantages(ppo, NULL));
    REFUSES(rlhf_ppo_trainer_update(NULL, o->rollout, &stats));
    REFUSES(rlhf_ppo_trainer_update(ppo, NULL, &stats));
    REFUSES(rlhf_ppo_trainer_accumulate(NULL, o->rollout, &count64));
    REFUSES(rlhf_ppo_trainer_accumulate(ppo, NULL, &count64));
    REFUSES(rlhf_ppo_trainer_accumulate(ppo, o->rollout, NULL));
    REFUSES(rlhf_ppo_trainer_apply(NULL, &done, &stats));
    REFUSES(rlhf_ppo_trainer_apply(ppo, NULL, &stats));
    REFUSES(rlhf_ppo_trainer_gradient(NULL, 0, "x", values, 16));
    REFUSES(rlhf_ppo_trainer_gradient(ppo, 0, NULL, values, 16));
    REFUSES(rlhf_ppo_trainer_gradient(ppo, 0, "x", NULL, 16));
    REFUSES(rlhf_ppo_trainer_evaluate(NULL, tokens, cu, 1, &stats, NULL));
    REFUSES(rlhf_ppo_trainer_evaluate(ppo, NULL, cu, 1, &stats, NULL));
    REFUSES(rlhf_ppo_trainer_evaluate(ppo, tokens, NULL, 1, &stats, NULL));
    REFUSES(rlhf_ppo_trainer_set_sampler(NULL, NULL));
    REFUSES(rlhf_ppo_trainer_set_learning_rate(NULL, 1.0, 1.0));
    REFUSES(rlhf_ppo_trainer_set_kl_coef(NULL, 1.0));
    REFUSES(rlhf_ppo_trainer_abandon(NULL));
    GIVES(0, rlhf_ppo_trainer_num_iterations(NULL));
    GIVES(0, rlhf_ppo_trainer_is_current(NULL, o->rollout));
    GIVES(0, rlhf_ppo_trainer_is_current(ppo, NULL));
    NO_HANDLE(rlhf_ppo_trainer_clone_critic(NULL, OUT));
    REFUSES(rlhf_ppo_trainer_clone_critic(ppo, NULL));
    REFUSES(rlhf_ppo_trainer_save(NULL, "x"));
    REFUSES(rlhf_ppo_trainer_save(ppo, NULL));
    REFUSES(rlhf_ppo_trainer_resume(NULL, "x", NULL));
    REFUSES(rlhf_ppo_trainer_resume(ppo, NULL, NULL));
    NO_HANDLE(rlhf_rollout_create(NULL, OUT));
    REFUSES(rlhf_rollout_create(o->context, NULL));
    IGNORES(rlhf_rollout_free(NULL));
}

static void test_null_to_rollouts(void **state)
{
    objects *o = *state;
    rlhf_rollout_sequence sequence = {.struct_size = sizeof sequence};
    rlhf_rollout_input input = {.struct_size = sizeof input, .num_tokens = 3};
    const uint8_t mask[3] = {0, 1, 1};
    float values[3] = {0};

    REFUSES(rlhf_rollout_append(NULL, &input));
    REFUSES(rlhf_rollout_append(o->rollout, NULL));
    input.tokens = tokens;
    REFUSES(rlhf_rollout_append(o->rollout, &input)); /* no mask */
    input.tokens = NULL;
    input.action_mask = mask;
    REFUSES(rlhf_rollout_append(o->rollout, &input));
    GIVES(0, rlhf_rollout_num_sequences(NULL));
    REFUSES(rlhf_rollout_get(NULL, 0, &sequence));
    REFUSES(rlhf_rollout_get(o->rollout, 0, NULL));
    REFUSES(rlhf_rollout_set_scores(NULL, values, 1));
    REFUSES(rlhf_rollout_set_scores(o->rollout, NULL, 1));
    REFUSES(rlhf_rollout_set_token_scores(NULL, 0, values, 3));
    REFUSES(rlhf_rollout_set_token_scores(o->rollout, 0, NULL, 3));
    REFUSES(rlhf_rollout_write_jsonl(NULL, NULL, "x"));
    REFUSES(rlhf_rollout_write_jsonl(o->rollout, NULL, NULL));
}

/* Runs last. */
static void test_every_function_of_the_map_was_given_null(void **state)
{
    (void)state;
    const char *root = getenv("RLHF_SOURCE_DIR");
    char path[TEST_PATH];
    int in_map = 0;

    snprintf(path, sizeof path, "%s/lib/librlhf.map", root ? root : ".");
    char *map = test_read(path, NULL);
    if (!map)
        fail_msg("cannot read %s: RLHF_SOURCE_DIR names the source folder", path);
    for (char *name = strtok(map, " ;{}\n"); name; name = strtok(NULL, " ;{}\n")) {
        int found = 0;
        if (strncmp(name, "rlhf_", 5) != 0)
            continue;
        in_map++;
        for (int i = 0; i < num_seen; i++)
            found |= strcmp(seen[i], name) == 0;
        if (!found)
            fail_msg("%s has no NULL test", name);
    }
    assert_int_equal(in_map, num_seen);
    free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_to_context_and_config),
        cmocka_unit_test(test_null_to_models),
        cmocka_unit_test(test_null_to_reward_models),
        cmocka_unit_test(test_null_to_tokenizers),
        cmocka_unit_test(test_null_to_datasets_and_feedback),
        cmocka_unit_test(test_null_to_generation),
        cmocka_unit_test(test_null_to_supervised_trainers),
        cmocka_unit_test(test_null_to_ppo),
        cmocka_unit_test(test_null_to_rollouts),
        cmocka_unit_test(test_every_function_of_the_map_was_given_null),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
