/* The JSON reader against JSONTestSuite: what must be accepted is, what must be refused
 * is, with words, and nothing crashes. */
#include "support.h"
#include "test_files.h"

#include "base/json.h"

/* Legal JSON that the reader refuses by its own rules: duplicate keys, and a zero byte
 * in a key. */
static const char *const stricter[] = {"y_object_duplicated_key.json",
                                       "y_object_duplicated_key_and_value.json",
                                       "y_object_escaped_null_in_key.json"};

static int is_stricter(const char *name)
{
    for (size_t i = 0; i < sizeof stricter / sizeof stricter[0]; i++)
        if (strcmp(name, stricter[i]) == 0)
            return 1;
    return 0;
}

static void check_refusal(const char *name, const char *path, rlhf_status status)
{
    rlhf_error_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_last_error_info(&info));
    if (status != RLHF_ERR_FORMAT || info.line < 1 || strcmp(info.file, path) != 0 ||
        !strstr(info.message, path) || !strstr(info.message, "JSON"))
        fail_msg("%s: %s in \"%s\", line %d: %s", name, rlhf_status_name(status),
                 info.file, (int)info.line, info.message);
}

/* What was read and written is read again as the same text. */
static void check_accepted(const char *name, rlhf__json *json)
{
    rlhf__buffer once = {NULL, NULL, 0, 0}, twice = {NULL, NULL, 0, 0};
    rlhf__json *again;

    assert_ok(rlhf__json_dump(json, 0, &once));
    if (rlhf__json_parse(NULL, once.data, once.size, name, 1, &again) != RLHF_OK)
        fail_msg("%s: %s\nwas written as %s", name, rlhf_last_error_message(), once.data);
    assert_ok(rlhf__json_dump(again, 0, &twice));
    assert_int_equal(once.size, twice.size);
    assert_memory_equal(once.data, twice.data, (size_t)once.size);
    rlhf__json_free(again);
    rlhf__buffer_free(&once);
    rlhf__buffer_free(&twice);
}

static void check_file(const char *folder, const char *name, int counts[2])
{
    char path[3 * TEST_PATH];
    rlhf__json *json = NULL;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    const rlhf_status status = rlhf__json_load(NULL, path, 1 << 20, &json);
    if (status == RLHF_OK)
        check_accepted(name, json);
    else
        check_refusal(name, path, status);
    if (strncmp(name, "y_", 2) == 0 && (status == RLHF_OK) == is_stricter(name))
        fail_msg("%s: %s", name,
                 status == RLHF_OK ? "accepted" : rlhf_last_error_message());
    if (strncmp(name, "n_", 2) == 0 && status == RLHF_OK)
        fail_msg("%s was accepted", name);
    counts[name[0] == 'y']++;
    rlhf__json_free(json);
}

static void check_folder(const char *data, const char *name, int counts[2])
{
    char path[2 * TEST_PATH];
    DIR *folder;

    snprintf(path, sizeof path, "%s/json/%s", data, name);
    folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (strstr(entry->d_name, ".json"))
            check_file(path, entry->d_name, counts);
    closedir(folder);
}

static void test_json_accepts_and_refuses_as_the_suite_says(void **state)
{
    const char *data = test_data_folder();
    int counts[2] = {0, 0};

    (void)state;
    if (!data)
        skip();
    check_folder(data, "test_parsing", counts);
    assert_int_equal(counts[1], 95);
    assert_int_equal(counts[0], 318 - 95);
    check_folder(data, "test_transform", counts); /* either way, but never a crash */
}

static void test_json_numbers_keep_their_values(void **state)
{
    static const struct {
        const char *text;
        int is_int;
        int64_t i64;
        double f64;
    } rows[] = {
        {"9223372036854775807", 1, INT64_MAX, 9223372036854775807.0},
        {"-9223372036854775808", 1, INT64_MIN, -9223372036854775808.0},
        {"9223372036854775808", 0, -7, 9223372036854775808.0}, /* beyond 64 bits: reals */
        {"-9223372036854775809", 0, -7, -9223372036854775809.0},
        {"-0", 1, 0, 0},
        {"1.0", 0, -7, 1},
        {"1E22", 0, -7, 1e22},
        {"0.1", 0, -7, 0.1},
        {"1e-999", 0, -7, 0},
        {"5e-324", 0, -7, 5e-324},
        {"1.000000000000000005", 0, -7, 1},
    };
    static const char *const refused[] = {"1e999", "01",  "1.",  ".5",
                                          "+1",    "0x1", "NaN", "Infinity"};
    rlhf__json *json;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_ok(rlhf__json_parse(NULL, rows[i].text, (int64_t)strlen(rows[i].text), "n",
                                   1, &json));
        assert_int_equal(rlhf__json_is_int(json), rows[i].is_int);
        assert_true(rlhf__json_i64(json, -7) == rows[i].i64);
        assert_true(rlhf__json_f64(json, -7) == rows[i].f64);
        rlhf__json_free(json);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_fails(rlhf__json_parse(NULL, refused[i], (int64_t)strlen(refused[i]), "n",
                                      1, &json),
                     RLHF_ERR_FORMAT, "n:1:");
        assert_null(json);
    }
}

/* Wherever it stands; "\\u0000" within a string is another matter. */
static void test_json_refuses_zero_bytes(void **state)
{
    static const struct {
        const char *text;
        int64_t size;
    } rows[] = {{"1\0", 2},      {"[1\0]", 4},       {"[1\0,2]", 6}, {"true\0", 5},
                {"[null\0]", 7}, {"{\"a\":1\0}", 8}, {"\0", 1},      {"\0 1", 3},
                {"\"a\0b\"", 5}, {"[]\0", 3},        {"1\0{}", 4}};
    rlhf__json *json;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_fails(
            rlhf__json_parse(NULL, rows[i].text, rows[i].size, "f.json", 3, &json),
            RLHF_ERR_FORMAT, "f.json:3: invalid JSON: a zero byte");
        assert_null(json);
    }
    assert_ok(rlhf__json_parse(NULL, "\"a\\u0000b\"", 10, "f.json", 3, &json));
    assert_int_equal(rlhf__json_string_size(json), 3);
    rlhf__json_free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_accepts_and_refuses_as_the_suite_says),
        cmocka_unit_test(test_json_numbers_keep_their_values),
        cmocka_unit_test(test_json_refuses_zero_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
