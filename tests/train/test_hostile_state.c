/* A trainer's state whose checksums are right and whose values no run has: each is
 * refused by file and field, and nothing has changed. */
#include "tiny.h"

#include "base/hash.h"
#include "base/json.h"
#include "ckpt/state_format.h"
#include "test_files.h"

enum { VOCAB = 12, LENGTH = 12 };

typedef struct fixture {
    char folder[TEST_PATH];
    char saved[2 * TEST_PATH], edited[2 * TEST_PATH];
    rlhf_context *context;
    rlhf_model *model;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    test_folder_make(f->folder);
    snprintf(f->saved, sizeof f->saved, "%s/saved", f->folder);
    snprintf(f->edited, sizeof f->edited, "%s/edited", f->folder);
    f->context = support_context(NULL, 1);
    f->model = tiny_model(f->context, VOCAB, LENGTH, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    rlhf_model_free(f->model);
    rlhf_context_free(f->context);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

/* --- editing ------------------------------------------------------------------------ */

static rlhf_status hash_value(void *arg, const char *key, rlhf__json *value)
{
    rlhf__state_hash_value(arg, key, rlhf__json_string(value, ""));
    return RLHF_OK;
}

static void set_hash(rlhf__json *document, const char *key, rlhf__sha256 *hash)
{
    char hex[65];

    rlhf__sha256_hex(hash, hex);
    assert_ok(rlhf__json_set(document, key, rlhf__json_new_string(hex, 64)));
}

static const char *file_of(const char *state, const char *name)
{
    static char path[4][3 * TEST_PATH];
    static int next;

    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", state, name);
    return path[next];
}

/* The first `width` bytes of an array. */
static void edit_array(const fixture *f, char *tensors, const char *name,
                       const void *bytes, size_t width)
{
    uint64_t length = 0;
    rlhf__json *header;

    for (int i = 7; i >= 0; i--)
        length = length << 8 | (unsigned char)tensors[i];
    assert_ok(
        rlhf__json_parse(f->context, tensors + 8, (int64_t)length, "header", 1, &header));
    const rlhf__json *offsets =
        rlhf__json_get(rlhf__json_get(header, name), "data_offsets");
    assert_true(rlhf__json_is_array(offsets));
    memcpy(tensors + 8 + length + rlhf__json_i64(rlhf__json_at(offsets, 0), 0), bytes,
           width);
    rlhf__json_free(header);
}

/* The saved state once more, with one value (`text`) or the beginning of one array
 * (`bytes`) replaced, and checksums that are right. */
static void edit_state(const fixture *f, const char *name, const char *text,
                       const void *bytes, size_t width)
{
    rlhf__buffer out = {.context = f->context};
    size_t json_size = 0, size = 0;
    rlhf__json *document;
    rlhf__sha256 hash;
    char *json = test_read(file_of(f->saved, RLHF__STATE_JSON), &json_size);
    char *tensors = test_read(file_of(f->saved, RLHF__STATE_TENSORS), &size);

    assert_ok(
        rlhf__json_parse(f->context, json, (int64_t)json_size, "json", 1, &document));
    rlhf__json *values = rlhf__json_get(document, "values");
    if (text) {
        assert_non_null(rlhf__json_get(values, name));
        assert_ok(rlhf__json_set(values, name,
                                 rlhf__json_new_string(text, (int64_t)strlen(text))));
    } else {
        edit_array(f, tensors, name, bytes, width);
    }
    rlhf__sha256_init(&hash);
    rlhf__sha256_update(&hash, tensors, size);
    set_hash(document, "tensors_sha256", &hash);
    rlhf__sha256_init(&hash);
    assert_ok(rlhf__json_each(values, hash_value, &hash));
    set_hash(document, "values_sha256", &hash);
    assert_ok(rlhf__json_dump(document, 0, &out));
    test_folder_remove(f->edited);
    assert_int_equal(mkdir(f->edited, 0777), 0);
    test_write(file_of(f->edited, RLHF__STATE_JSON), out.data, (size_t)out.size);
    test_write(file_of(f->edited, RLHF__STATE_TENSORS), tensors, size);
    rlhf__buffer_free(&out);
    rlhf__json_free(document);
    free(tensors);
    free(json);
}

/* --- trainers ----------------------------------------------------------------------- */

#define COUNT_MAX    "i64:9223372036854775807"
#define COUNT        "i64:9007199254740993" /* one more than 2^53 */
#define RATE_MAX     "f64:7fefffffffffffff"
#define NOT_A_NUMBER "f64:7ff8000000000000"
#define RATE_TOO_FAR "f64:47d2ced32a16a1b1" /* 1e38: a first step is ten times that */

static void test_lm_state_that_no_run_has_is_refused(void **state)
{
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"step", COUNT_MAX},
        {"step", COUNT},
        {"model.adam_step", COUNT_MAX},
        {"learning_rate", RATE_MAX},
        {"learning_rate", NOT_A_NUMBER},
    };
    static const int32_t tokens[6] = {1, 2, 3, 4, 5, 6};
    static const float negative = -1.0f;
    const fixture *f = *state;
    const rlhf_example row = {
        .struct_size = sizeof row, .tokens = tokens, .num_tokens = 6};
    rlhf_dataset_options options;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    assert_ok(rlhf_dataset_create(f->context, &options, &dataset));
    assert_ok(rlhf_dataset_append(dataset, &row));
    assert_ok(rlhf_lm_trainer_create(f->model, dataset, NULL, &trainer));
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    assert_ok(rlhf_lm_trainer_save(trainer, f->saved));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        edit_state(f, cases[i].name, cases[i].text, NULL, 0);
        assert_fails(rlhf_lm_trainer_resume(trainer, f->edited), RLHF_ERR_FORMAT,
                     "must be in [0, ");
        assert_field(cases[i].name);
    }
    edit_state(f, "learning_rate", RATE_TOO_FAR, NULL, 0);
    assert_fails(rlhf_lm_trainer_resume(trainer, f->edited), RLHF_ERR_INVALID_ARG,
                 "learning_rate");
    edit_state(f, "model.adam_v/model.norm.weight", NULL, &negative, sizeof negative);
    assert_fails(rlhf_lm_trainer_resume(trainer, f->edited), RLHF_ERR_FORMAT,
                 "element 0 is -1");
    assert_field("model.adam_v/model.norm.weight");
    assert_ok(rlhf_lm_trainer_resume(trainer, f->saved));
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
}

/* A rate of 0 is an option: nothing moves. */
static void test_ppo_state_of_a_run_that_does_not_move_is_taken(void **state)
{
    const fixture *f = *state;
    rlhf_ppo_options options;
    rlhf_reward_model *reward;
    rlhf_ppo_trainer *trainer;

    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    options.learning_rate = options.value_learning_rate = 0;
    assert_ok(rlhf_reward_model_create(f->model, NULL, &reward));
    assert_ok(rlhf_ppo_trainer_create(f->model, NULL, reward, NULL, &options, &trainer));
    assert_ok(rlhf_ppo_trainer_save(trainer, f->saved));
    assert_ok(rlhf_ppo_trainer_resume(trainer, f->saved, NULL));
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
}

static void test_ppo_state_that_no_run_has_is_refused(void **state)
{
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"iteration", COUNT},
        {"num_episodes", COUNT_MAX},
        {"next_sequence_id", COUNT_MAX},
        {"epoch", COUNT},
        {"minibatch", COUNT},
        {"policy.adam_step", COUNT_MAX},
        {"learning_rate", RATE_MAX},
        {"value_learning_rate", RATE_MAX},
        {"kl_coef", NOT_A_NUMBER},
        {"running.count", RATE_MAX},
        {"running.mean", RATE_MAX},
        {"running.mean", NOT_A_NUMBER},
    };
    const fixture *f = *state;
    rlhf_reward_model *reward;
    rlhf_ppo_trainer *trainer;
    double tally[32];

    assert_ok(rlhf_reward_model_create(f->model, NULL, &reward));
    assert_ok(rlhf_ppo_trainer_create(f->model, NULL, reward, NULL, NULL, &trainer));
    assert_ok(rlhf_ppo_trainer_save(trainer, f->saved));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        edit_state(f, cases[i].name, cases[i].text, NULL, 0);
        assert_fails(rlhf_ppo_trainer_resume(trainer, f->edited, NULL), RLHF_ERR_FORMAT,
                     "must be in [");
        assert_field(cases[i].name);
    }
    edit_state(f, "value_learning_rate", RATE_TOO_FAR, NULL, 0);
    assert_fails(rlhf_ppo_trainer_resume(trainer, f->edited, NULL), RLHF_ERR_INVALID_ARG,
                 "value_learning_rate");
    for (size_t i = 0; i < 32; i++)
        tally[i] = 1e300;
    edit_state(f, "tally", NULL, tally, 19 * sizeof *tally); /* its counts among them */
    assert_fails(rlhf_ppo_trainer_resume(trainer, f->edited, NULL), RLHF_ERR_FORMAT,
                 "a count of the saved tally is 1e+300");
    assert_field("tally");
    assert_ok(rlhf_ppo_trainer_resume(trainer, f->saved, NULL));
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lm_state_that_no_run_has_is_refused),
        TEST(test_ppo_state_of_a_run_that_does_not_move_is_taken),
        TEST(test_ppo_state_that_no_run_has_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
