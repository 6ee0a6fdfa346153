/* Real preferences: hh-rlhf's dialogues under the tokenizer of stories260K. Every row of
 * the file is accounted for, and every row kept still says what the person read. */
#include "data_support.h"

#include <jansson.h>

enum {
    PAIRS = 2354,
    IDENTICAL = 2,
    SOME = 500
}; /* of the file; the first two are known */

typedef struct real_fixture {
    char folder[TEST_PATH];
    char path[2 * TEST_PATH], some[2 * TEST_PATH]; /* all pairs; the first of them */
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;
} real_fixture;

/* NULL in *state where the data or gzip are missing. */
static int setup(void **state)
{
    const char *data = test_data_folder();
    char command[8 * TEST_PATH], tokenizer[2 * TEST_PATH];
    real_fixture *f;

    *state = NULL;
    if (!data)
        return 0;
    f = calloc(1, sizeof *f);
    test_folder_make(f->folder);
    snprintf(f->path, sizeof f->path, "%s/pairs.jsonl", f->folder);
    snprintf(f->some, sizeof f->some, "%s/some.jsonl", f->folder);
    snprintf(command, sizeof command,
             "gzip -dc '%s/pref/hh-rlhf/helpful-base/test.jsonl.gz' > '%s' && "
             "head -n %d '%s' > '%s'",
             data, f->path, SOME, f->path, f->some);
    if (system(command) != 0) {
        print_message("skipped: %s\n", command);
        test_folder_remove(f->folder);
        free(f);
        return 0;
    }
    f->context = support_context(NULL, 1);
    snprintf(tokenizer, sizeof tokenizer, "%s/models/stories260K/hf", data);
    assert_ok(rlhf_tokenizer_load(f->context, tokenizer, &f->tokenizer));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    real_fixture *f = *state;

    if (!f)
        return 0;
    rlhf_tokenizer_free(f->tokenizer);
    rlhf_context_free(f->context);
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

static rlhf_dataset *load_pairs(const real_fixture *f, const char *path,
                                int32_t max_length, int32_t overlong)
{
    rlhf_dataset_options options = data_options(RLHF_DATASET_PREFERENCE, max_length);
    rlhf_dataset *dataset;

    options.overlong = overlong;
    assert_ok(rlhf_dataset_load(f->context, f->tokenizer, path, &options, &dataset));
    return dataset;
}

static void check_side(const real_fixture *f, const int32_t *ids, int64_t count,
                       const json_t *expected)
{
    static char text[1 << 16];
    size_t size;

    assert_ok(
        rlhf_tokenizer_decode(f->tokenizer, ids, count, 1, text, sizeof text, &size));
    if (size != json_string_length(expected) ||
        memcmp(text, json_string_value(expected), size) != 0)
        fail_msg("\"%s\"\nbecame \"%s\"", json_string_value(expected), text);
}

static void test_real_pairs_keep_their_words(void **state)
{
    const real_fixture *f = *state;
    rlhf_dataset *dataset;
    char line[1 << 16];
    int64_t kept = 0, identical = 0, lines = 0;

    if (!f)
        skip();
    dataset = load_pairs(f, f->path, 1 << 20, RLHF_OVERLONG_TRUNCATE);
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        json_t *row = json_loads(line, 0, NULL);
        const json_t *chosen = json_object_get(row, "chosen");
        const json_t *rejected = json_object_get(row, "rejected");
        assert_non_null(row);
        lines++;
        if (json_equal(chosen, rejected)) {
            identical++;
        } else {
            const rlhf_example pair = data_row(dataset, kept++);
            check_side(f, pair.tokens, pair.num_tokens, chosen);
            check_side(f, pair.rejected, pair.num_rejected, rejected);
            assert_int_equal(pair.tokens[0], rlhf_tokenizer_bos_id(f->tokenizer));
            assert_memory_equal(pair.tokens, pair.rejected,
                                (size_t)pair.prompt_length * sizeof(int32_t));
            assert_true(pair.prompt_length > 10); /* "\n\nHuman: ..." */
        }
        json_decref(row);
    }
    fclose(file);
    const rlhf_dataset_info info = data_info(dataset);
    assert_int_equal(lines, PAIRS);
    assert_int_equal(identical, IDENTICAL);
    assert_int_equal(info.num_read, PAIRS);
    assert_int_equal(info.num_rows, kept);
    assert_int_equal(info.num_identical_dropped, IDENTICAL);
    assert_int_equal(info.num_truncated + info.num_overlong_dropped, 0);
    assert_int_equal(info.num_rows + info.num_identical_dropped + info.num_empty_dropped,
                     PAIRS);
    rlhf_dataset_free(dataset);
}

static void test_real_pairs_over_the_limit_are_counted(void **state)
{
    const real_fixture *f = *state;
    enum { LIMIT = 512 };
    rlhf_dataset *whole, *shorter, *fewer;
    int64_t longer = 0;

    if (!f)
        skip();
    whole = load_pairs(f, f->some, 1 << 20, RLHF_OVERLONG_TRUNCATE);
    shorter = load_pairs(f, f->some, LIMIT, RLHF_OVERLONG_TRUNCATE);
    fewer = load_pairs(f, f->some, LIMIT, RLHF_OVERLONG_DROP);
    for (int64_t i = 0; i < data_info(whole).num_rows; i++) {
        const rlhf_example pair = data_row(whole, i);
        longer += pair.num_tokens > LIMIT || pair.num_rejected > LIMIT;
    }
    const rlhf_dataset_info cut = data_info(shorter), dropped = data_info(fewer);
    const int64_t same = data_info(whole).num_identical_dropped;
    assert_true(longer > 20);
    assert_int_equal(dropped.num_overlong_dropped, longer);
    assert_int_equal(dropped.num_rows, SOME - same - longer);
    /* Some pairs are the same within the limit. */
    assert_int_equal(cut.num_truncated + cut.num_identical_dropped - same, longer);
    assert_int_equal(cut.num_rows + cut.num_identical_dropped, SOME);
    for (int64_t i = 0; i < cut.num_rows; i++) {
        const rlhf_example pair = data_row(shorter, i);
        assert_in_range(pair.num_tokens, pair.prompt_length + 1, LIMIT);
        assert_in_range(pair.num_rejected, pair.prompt_length + 1, LIMIT);
    }
    rlhf_dataset_free(whole);
    rlhf_dataset_free(shorter);
    rlhf_dataset_free(fewer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_real_pairs_keep_their_words, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_real_pairs_over_the_limit_are_counted, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
