/* YAML to options: what is read, and for all that is refused the status, the place, the
 * field, and words with bound and value. */
#include <time.h>

#include "support.h"
#include "test_files.h"

typedef struct fixture {
    char folder[TEST_PATH];
    rlhf_context *context;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    test_folder_make(f->folder);
    f->context = support_context(NULL, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;

    rlhf_context_free(f->context);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

static rlhf_status load_bytes(const fixture *f, const char *text, size_t size,
                              rlhf_config **out)
{
    test_write(test_join(f->folder, "run.yaml"), text, size);
    return rlhf_config_load(f->context, test_join(f->folder, "run.yaml"), out);
}

static rlhf_config *load(const fixture *f, const char *text)
{
    rlhf_config *config;

    assert_ok(load_bytes(f, text, strlen(text), &config));
    return config;
}

/* The failure just seen, against what it must say. */
static void check_failure(const fixture *f, const char *text, rlhf_status got,
                          rlhf_status status, int64_t line, int64_t column,
                          const char *field, const char *words)
{
    rlhf_error_info info = {.struct_size = sizeof info};
    char place[64] = "run.yaml:";

    assert_ok(rlhf_last_error_info(&info));
    if (got != status || info.status != status || info.line != line ||
        info.column != column || strcmp(info.field, field) != 0 ||
        !strstr(info.message, words))
        fail_msg("%s\ngave %s at %d:%d, field \"%s\": %s\nexpected %s at %d:%d, field "
                 "\"%s\": %s",
                 text, rlhf_status_name(got), (int)info.line, (int)info.column,
                 info.field, info.message, rlhf_status_name(status), (int)line,
                 (int)column, field, words);
    assert_string_equal(info.file, test_join(f->folder, "run.yaml"));
    if (line > 0)
        snprintf(place, sizeof place,
                 column > 0 ? "run.yaml:%d:%d: " : "run.yaml:%d: ", (int)line,
                 (int)column);
    assert_non_null(strstr(info.message, place));
}

/* --- files -------------------------------------------------------------------------- */

static const struct {
    const char *text;
    int64_t line, column;
    const char *field, *words;
} malformed[] = {
    {"a: [1, 2]", 1, 4, "", "lists are not allowed"},
    {"- a\n- b", 1, 1, "", "lists are not allowed"},
    {"a: 1\nb:\n  - 2", 3, 3, "", "lists are not allowed"},
    {"a: &x 1\nb: *x", 1, 4, "", "anchors are not allowed"},
    {"a: &x\n  b: 1", 1, 4, "", "anchors are not allowed"},
    {"a: 1\nb: *x", 2, 4, "", "aliases are not allowed"},
    {"a: !!int 1", 1, 4, "", "tags are not allowed"},
    {"a: !x {b: 1}", 1, 4, "", "tags are not allowed"},
    {"%TAG ! tag:x,2000:\n---\na: 1", 1, 1, "", "tags are not allowed"},
    {"a: 1\nb: 2\na: 3", 3, 1, "a", "the key \"a\" is on line 1 already"},
    {"a:\n  b: 1\n  \"b\": 2", 3, 3, "b", "the key \"b\" is on line 2 already"},
    {"a: 1\n---\nb: 2", 2, 1, "", "only one document is allowed"},
    {"a: {b: 1", 2, 1, "", "did not find expected ',' or '}'"},
    {"a: \"x", 1, 6, "", "found unexpected end of stream"},
    {"a:\n\tb: 1", 2, 1, "", "found character that cannot start any token"},
    {"a: 1\n  b: 2", 2, 4, "", "mapping values are not allowed in this context"},
    {"a: 1\nb\n", 3, 1, "", "could not find expected ':'"},
    {"only words", 1, 1, "", "expected keys and values, got \"only words\""},
    {"? {a: 1}\n: 2", 1, 3, "", "a key must be one word"},
    {"? [a]\n: 2", 1, 3, "", "lists are not allowed"},
    {"a: \"x\\0y\"", 1, 4, "", "a zero byte in a value"},
    {"a: \xff", 1, 0, "", "not YAML text: invalid leading UTF-8 octet at byte 3"},
    {"a: \x01", 1, 0, "", "not YAML text: control characters are not allowed"},
};

static void test_files_malformed_are_refused_at_their_place(void **state)
{
    const fixture *f = *state;

    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        rlhf_config *config = (rlhf_config *)(uintptr_t)f;
        const rlhf_status got =
            load_bytes(f, malformed[i].text, strlen(malformed[i].text), &config);
        check_failure(f, malformed[i].text, got, RLHF_ERR_FORMAT, malformed[i].line,
                      malformed[i].column, malformed[i].field, malformed[i].words);
        assert_null(config);
    }
}

/* libyaml looks each up among all before it: 50000 took minutes. */
static void test_tag_directives_take_no_time(void **state)
{
    enum { DIRECTIVES = 40000 };
    const fixture *f = *state;
    char *text = malloc(2 * DIRECTIVES * 16);
    const clock_t start = clock();
    rlhf_config *config;

    for (int wide = 0; wide < 2; wide++) { /* UTF-8, then UTF-16 */
        char *at = text;
        for (int i = 0; i < DIRECTIVES >> wide; i++)
            at += sprintf(at, "%%TAG !%d! !b\n", i);
        size_t size = (size_t)(at - text);
        for (size_t i = size; wide && i-- > 0;) {
            text[2 * i + 2] = text[i];
            text[2 * i + 3] = 0;
        }
        if (wide) {
            memcpy(text, "\xff\xfe", 2);
            size = 2 * size + 2;
        }
        const rlhf_status got = load_bytes(f, text, size, &config);
        check_failure(f, "%TAG", got, RLHF_ERR_FORMAT, 0, 0, "", "tags are not allowed");
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 2.0);
    free(text);
}

static void test_files_over_a_limit_are_refused(void **state)
{
    const fixture *f = *state;
    const size_t size = (1 << 20) + 1;
    char *text = malloc(size + 1);
    rlhf_config *config;
    rlhf_status got;

    memset(text, '#', size); /* one comment */
    assert_ok(load_bytes(f, text, size - 1, &config));
    rlhf_config_free(config);
    got = load_bytes(f, text, size, &config);
    check_failure(f, "1 MiB and a byte", got, RLHF_ERR_LIMIT, 0, 0, "", "1048577 bytes");

    size_t used = 0;
    for (int i = 0; i < 10001; i++)
        used += (size_t)sprintf(text + used, "k%d: 1\n", i);
    got = load_bytes(f, text, used, &config);
    check_failure(f, "10001 keys", got, RLHF_ERR_LIMIT, 10001, 0, "",
                  "more than 10000 keys");

    for (int depth = 32; depth <= 33; depth++) { /* a: of one level each, then a value */
        used = 0;
        for (int i = 0; i < depth; i++)
            used += (size_t)sprintf(text + used, "%*sa:%s\n", i, "",
                                    i == depth - 1 ? " 1" : "");
        got = load_bytes(f, text, used, &config);
        if (depth == 32)
            assert_ok(got);
        else
            check_failure(f, "33 levels", got, RLHF_ERR_FORMAT, 33, 33, "",
                          "nested more than 32 deep");
        rlhf_config_free(config);
    }
    free(text);
}

static void test_paths_that_hold_no_config_are_refused(void **state)
{
    const fixture *f = *state;
    rlhf_error_info info = {.struct_size = sizeof info};
    const char *absent = test_join(f->folder, "absent.yaml");
    rlhf_config *config = (rlhf_config *)(uintptr_t)f;

    assert_fails(rlhf_config_load(f->context, absent, &config), RLHF_ERR_NOT_FOUND,
                 absent);
    assert_null(config);
    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.file, absent);
    assert_int_equal(info.system_errno, 2); /* ENOENT */
    assert_fails(rlhf_config_load(f->context, "", &config), RLHF_ERR_INVALID_ARG,
                 "the path is empty");
    assert_fails(rlhf_config_load(f->context, f->folder, &config), RLHF_ERR_IO,
                 f->folder);
    assert_fails(rlhf_config_load(f->context, NULL, &config), RLHF_ERR_INVALID_ARG,
                 "path");
    assert_fails(rlhf_config_load(NULL, absent, &config), RLHF_ERR_INVALID_ARG,
                 "context");
    rlhf_config_free(NULL);
}

static void test_files_empty_hold_nothing(void **state)
{
    static const char *const texts[] = {"",           "\n\n", "# a comment\n",
                                        "---\n...\n", "~",    "{}"};
    const char *value = "kept";

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        rlhf_config *config = load(*state, texts[i]);
        assert_ok(rlhf_config_string(config, "a", NULL, &value));
        assert_null(value);
        assert_ok(rlhf_config_finish(config));
        rlhf_config_free(config);
    }
}

/* --- structs ------------------------------------------------------------------------ */

static void test_section_fills_a_struct(void **state)
{
    static const char text[] = "train: # of the model\n"
                               "  learning_rate: 2.5e-3\n"
                               "  schedule: \"linear\"\n"
                               "  total_steps: 9000000000\n"
                               "  'batch_size': 7\n"
                               "inner:\n"
                               "  data: {kind: preference, shuffle: false, add_bos: 1,\n"
                               "         seed: 18446744073709551615}\n";
    rlhf_config *config = load(*state, text);
    rlhf_lm_options lm, expected;
    rlhf_dataset_options data;

    assert_ok(rlhf_lm_options_init(&lm, sizeof lm));
    expected = lm;
    expected.learning_rate = 2.5e-3;
    expected.schedule = RLHF_SCHEDULE_LINEAR;
    expected.total_steps = 9000000000;
    expected.batch_size = 7;
    assert_ok(rlhf_config_read(config, "train", "rlhf_lm_options", &lm));
    assert_memory_equal(&lm, &expected, sizeof lm);
    assert_ok(rlhf_config_read(config, "absent", "rlhf_lm_options", &lm));
    assert_memory_equal(&lm, &expected, sizeof lm);
    assert_ok(rlhf_dataset_options_init(&data, sizeof data));
    assert_ok(rlhf_config_read(config, "inner.data", "rlhf_dataset_options", &data));
    assert_int_equal(data.kind, RLHF_DATASET_PREFERENCE);
    assert_int_equal(data.shuffle, 0);
    assert_int_equal(data.add_bos, 1);
    assert_true(data.seed == UINT64_MAX);
    assert_ok(rlhf_config_finish(config));
    rlhf_config_free(config);
}

/* Each is read as section "s"; the place is of the value, or of an unknown key. */
static const struct {
    const char *struct_name, *text;
    int64_t line, column;
    const char *field, *words;
} refused[] = {
    {"rlhf_lm_options", "s:\n  learning_rat: 1", 2, 3, "learning_rat",
     "unknown key \"learning_rat\" in section \"s\"; did you mean \"learning_rate\"?"},
    {"rlhf_lm_options", "s:\n  zebra: 1", 2, 3, "zebra",
     "unknown key \"zebra\" in section \"s\"; known: learning_rate, final_lr_ratio"},
    {"rlhf_lm_options", "s:\n  struct_size: 1", 2, 3, "struct_size", "unknown key"},
    {"rlhf_lm_options", "s:\n  <<: 1", 2, 3, "<<", "unknown key \"<<\""},
    {"rlhf_lm_options", "s:\n  preset: trl", 2, 3, "preset", "unknown key \"preset\""},
    {"rlhf_reward_options", "s:\n  reserved: 0", 2, 3, "reserved", "unknown key"},
    {"rlhf_generator_options", "s:\n  stop_tokens: 0", 2, 3, "stop_tokens",
     "unknown key"},
    {"rlhf_model_config", "s:\n  layers: 0", 2, 3, "layers", "unknown key"},
    {"rlhf_lm_options", "s: 5", 1, 4, "s", "s must be a section, got 5"},
    {"rlhf_lm_options", "s:\n  batch_size: 0", 2, 15, "batch_size",
     "s.batch_size must be >= 1, got 0"},
    {"rlhf_lm_options", "s:\n  batch_size: 2147483648", 2, 15, "batch_size",
     "s.batch_size must be <= 2147483647, got 2147483648"},
    {"rlhf_lm_options", "s:\n  batch_size: -2147483649", 2, 15, "batch_size",
     "s.batch_size must be >= 1, got -2147483649"},
    {"rlhf_lm_options", "s:\n  batch_size: 9223372036854775808", 2, 15, "batch_size",
     "s.batch_size must be an integer, got 9223372036854775808"},
    {"rlhf_lm_options", "s:\n  batch_size: 1.5", 2, 15, "batch_size",
     "must be an integer, got 1.5"},
    {"rlhf_lm_options", "s:\n  batch_size: 1e3", 2, 15, "batch_size",
     "an integer, got 1e3"},
    {"rlhf_lm_options", "s:\n  batch_size: 0x10", 2, 15, "batch_size",
     "an integer, got 0x10"},
    {"rlhf_lm_options", "s:\n  batch_size: \"8\"", 2, 15, "batch_size",
     "must be an integer, got \"8\""},
    {"rlhf_lm_options", "s:\n  batch_size:", 2, 14, "batch_size",
     "s.batch_size must be an integer, got nothing"},
    {"rlhf_lm_options", "s:\n  batch_size: {a: 1}", 2, 15, "batch_size",
     "must be an integer, got a section"},
    {"rlhf_lm_options", "s:\n  total_steps: 0", 2, 16, "total_steps",
     "s.total_steps must be >= 1, got 0"},
    {"rlhf_lm_options", "s:\n  learning_rate: 0", 2, 18, "learning_rate",
     "s.learning_rate must be > 0, got 0"},
    {"rlhf_lm_options", "s:\n  beta1: 1", 2, 10, "beta1", "s.beta1 must be < 1, got 1"},
    {"rlhf_lm_options", "s:\n  final_lr_ratio: 1.5", 2, 19, "final_lr_ratio",
     "s.final_lr_ratio must be <= 1, got 1.5"},
    {"rlhf_lm_options", "s:\n  beta1: fast", 2, 10, "beta1",
     "s.beta1 must be a number, got fast"},
    {"rlhf_lm_options", "s:\n  beta1: .nan", 2, 10, "beta1",
     "must be a number, got .nan"},
    {"rlhf_lm_options", "s:\n  beta1: 0,5", 2, 10, "beta1", "must be a number, got 0,5"},
    {"rlhf_lm_options", "s:\n  learning_rate: 1e999", 2, 18, "learning_rate",
     "got 1e999"},
    {"rlhf_lm_options", "s:\n  schedule: cosin", 2, 13, "schedule",
     "s.schedule must be one of constant, linear, cosine, got cosin"},
    {"rlhf_lm_options", "s:\n  schedule: 1", 2, 13, "schedule",
     "constant, linear, cosine, got 1"},
    {"rlhf_dataset_options", "s:\n  shuffle: yes", 2, 12, "shuffle",
     "s.shuffle must be true or false, got yes"},
    {"rlhf_dataset_options", "s:\n  shuffle: 2", 2, 12, "shuffle",
     "true or false, got 2"},
    {"rlhf_dataset_options", "s:\n  seed: -1", 2, 9, "seed",
     "s.seed must be an integer in [0, 18446744073709551615], got -1"},
    {"rlhf_dataset_options", "s:\n  seed: 18446744073709551616", 2, 9, "seed",
     "got 18446744073709551616"},
    {"rlhf_dataset_options", "s:\n  max_length: 1", 2, 15, "max_length",
     "s.max_length must be >= 2, got 1"},
    {"rlhf_ppo_options", "s:\n  kl_coef: -0.5", 2, 12, "kl_coef",
     "s.kl_coef must be >= 0, got -0.5"},
    {"rlhf_ppo_options", "s:\n  preset: tlr", 2, 11, "preset", "\"tlr\""},
    {"rlhf_ppo_options", "s:\n  preset:", 2, 10, "preset",
     "s.preset must be the name of a preset, got nothing"},
    {"rlhf_ppo_options", "s:\n  preset: {a: 1}", 2, 11, "preset",
     "s.preset must be the name of a preset, got a section"},
    {"rlhf_tokenizer_train_options", "s:\n  bos_token: {a: 1}", 2, 14, "bos_token",
     "s.bos_token must be a text, got a section"},
    {"rlhf_context_options", "s:\n  num_threads: 257", 2, 16, "num_threads",
     "s.num_threads must be <= 256, got 257"},
};

static void test_values_wrong_are_refused_and_options_stay(void **state)
{
    /* Larger than any options struct; the first of its bytes are the struct's. */
    static union {
        size_t struct_size;
        char bytes[4096];
    } options, before;

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        rlhf_config *config = load(*state, refused[i].text);
        memset(&options, 0, sizeof options);
        options.struct_size = sizeof options; /* as of a newer host: the tail is zero */
        before = options;
        const rlhf_status got =
            rlhf_config_read(config, "s", refused[i].struct_name, &options);
        check_failure(*state, refused[i].text, got, RLHF_ERR_FORMAT, refused[i].line,
                      refused[i].column, refused[i].field, refused[i].words);
        assert_memory_equal(&options, &before, sizeof options);
        rlhf_config_free(config);
    }
}

static void test_options_stay_when_a_later_key_fails(void **state)
{
    rlhf_config *config =
        load(*state, "ppo:\n  preset: trl\n  kl_coef: 0.3\n  lam: 2\n  num_epochs: 9");
    rlhf_ppo_options options, before;

    assert_ok(rlhf_ppo_options_init(&options, sizeof options));
    before = options;
    assert_fails(rlhf_config_read(config, "ppo", "rlhf_ppo_options", &options),
                 RLHF_ERR_FORMAT, "ppo.lam must be <= 1, got 2");
    assert_memory_equal(&options, &before, sizeof options);
    rlhf_config_free(config);
}

/* The preset comes first wherever it stands, and the keys change what it set. */
static void test_preset_is_applied_before_the_keys(void **state)
{
    static const char *const names[] = {"openai-2019", "instructgpt", "trl", "openrlhf"};

    for (int i = 0; i < 4; i++) {
        char text[128];
        rlhf_ppo_options options, expected;
        snprintf(text, sizeof text,
                 "ppo:\n  kl_coef: 0.321\n  preset: %s\n  num_epochs: 9", names[i]);
        rlhf_config *config = load(*state, text);
        assert_ok(rlhf_ppo_options_init(&options, sizeof options));
        options.gamma = 0.5; /* a preset fills every option */
        assert_ok(rlhf_ppo_options_preset(&expected, sizeof expected, names[i]));
        assert_true(expected.kl_coef != 0.321 && expected.num_epochs != 9);
        expected.kl_coef = 0.321;
        expected.num_epochs = 9;
        assert_ok(rlhf_config_read(config, "ppo", "rlhf_ppo_options", &options));
        assert_memory_equal(&options, &expected, sizeof options);
        assert_ok(rlhf_config_finish(config));
        rlhf_config_free(config);
    }
}

static void test_structs_are_known_by_name(void **state)
{
    rlhf_config *config = load(*state, "s:\n  a: 1");
    rlhf_lm_options options = {.struct_size = 0};

    assert_fails(rlhf_config_read(config, "s", "rlhf_lm_option", &options),
                 RLHF_ERR_NOT_FOUND, "no options struct is named \"rlhf_lm_option\"");
    assert_fails(rlhf_config_read(config, "s", "rlhf_lm_options", &options),
                 RLHF_ERR_INVALID_ARG, "struct_size 0 is below");
    assert_fails(rlhf_config_read(config, "s", "rlhf_lm_options", NULL),
                 RLHF_ERR_INVALID_ARG, "options");
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    assert_fails(rlhf_config_read(config, "", "rlhf_lm_options", &options),
                 RLHF_ERR_INVALID_ARG, "empty path");
    rlhf_config_free(config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_files_malformed_are_refused_at_their_place),
        TEST(test_tag_directives_take_no_time),
        TEST(test_files_over_a_limit_are_refused),
        TEST(test_paths_that_hold_no_config_are_refused),
        TEST(test_files_empty_hold_nothing),
        TEST(test_section_fills_a_struct),
        TEST(test_values_wrong_are_refused_and_options_stay),
        TEST(test_options_stay_when_a_later_key_fails),
        TEST(test_preset_is_applied_before_the_keys),
        TEST(test_structs_are_known_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
