/* What of a row is kept: blocks of plain text, over-long rows, pairs with nothing to
 * choose. Whatever is not kept is counted. */
#include "data_support.h"

#include <stdbool.h>

/* --- plain text --------------------------------------------------------------------- */

/* Every block's ids end to end, `total` in all. A last block of one token would have
 * nothing before it, so it repeats the token before; that one counts once. */
static void join_blocks(rlhf_dataset *dataset, int64_t max_length, int64_t total,
                        int32_t *out)
{
    const int64_t num_rows = data_info(dataset).num_rows;
    int64_t count = 0;

    for (int64_t i = 0; i < num_rows; i++) {
        const rlhf_example row = data_row(dataset, i);
        const bool last = i == num_rows - 1;
        const bool repeats = last && total % max_length == 1;
        assert_int_equal(row.prompt_length, 0);
        assert_int_equal(row.num_tokens, last ? total - count + repeats : max_length);
        if (repeats)
            assert_int_equal(row.tokens[0], out[count - 1]);
        memcpy(out + count, row.tokens + repeats,
               (size_t)(row.num_tokens - repeats) * sizeof *out);
        count += row.num_tokens - repeats;
    }
    assert_int_equal(count, total);
}

static void test_plain_text_is_cut_into_blocks_and_loses_nothing(void **state)
{
    const data_fixture *f = *state;
    uint32_t random = 1;
    char text[200];
    int32_t whole[256], blocks[256];

    for (size_t size = 1; size < sizeof text; size += 7) {
        int64_t num_ids;
        for (size_t i = 0; i < size; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = "abcdefgh \n"[(random >> 16) % 10];
        }
        whole[0] = DATA_BOS;
        assert_ok(
            rlhf_tokenizer_encode(f->tokenizer, text, size, 0, whole + 1, 254, &num_ids));
        whole[num_ids + 1] = DATA_EOS;
        for (int32_t max_length = 2; max_length < 12; max_length++) {
            const rlhf_dataset_options options =
                data_options(RLHF_DATASET_TEXT, max_length);
            rlhf_dataset *dataset;
            assert_ok(data_load(f, "plain.txt", text, size, &options, &dataset));
            join_blocks(dataset, max_length, num_ids + 2, blocks);
            assert_memory_equal(blocks, whole, (size_t)(num_ids + 2) * sizeof *whole);
            const rlhf_dataset_info info = data_info(dataset);
            assert_int_equal(info.num_read, 1);
            assert_int_equal(info.num_truncated + info.num_overlong_dropped, 0);
            rlhf_dataset_free(dataset);
        }
    }
}

static void test_text_rows_of_jsonl_are_cut_alike(void **state)
{
    static const char lines[] =
        "{\"text\": \"efghe\"}\n{\"text\": \"g\"}\n{\"text\": \"efgh\"}";
    static const char *const expected[] = {"0 6 7", "8 9 6", "6 1",
                                           "0 8 1", "0 6 7", "8 9 1"};
    const data_fixture *f = *state;
    rlhf_dataset_options options = data_options(RLHF_DATASET_TEXT, 3);
    rlhf_dataset *dataset;

    options.overlong = RLHF_OVERLONG_DROP; /* a text is never over-long */
    assert_ok(data_load(f, "rows.jsonl", lines, sizeof lines - 1, &options, &dataset));
    assert_int_equal(data_info(dataset).num_read, 3);
    assert_int_equal(data_info(dataset).num_rows, 6);
    for (int64_t i = 0; i < 6; i++) {
        const rlhf_example row = data_row(dataset, i);
        data_check_ids("block", row.tokens, row.num_tokens, expected[i]);
    }
    rlhf_dataset_free(dataset);
}

static void test_documents_are_told_apart(void **state)
{
    static const char text[] = "\xef\xbb\xbf"
                               "ab<|endoftext|>cd<|endoftext|><|endoftext|>e";
    data_fixture *f = *state;
    const rlhf_dataset_options options = data_options(RLHF_DATASET_TEXT, 64);
    rlhf_dataset *dataset;
    rlhf_example row;

    /* Without an id for the separator each document has a BOS and an EOS of its own. */
    assert_ok(data_load(f, "plain.txt", text, sizeof text - 1, &options, &dataset));
    row = data_row(dataset, 0);
    data_check_ids("documents", row.tokens, row.num_tokens, "0 11 1 0 12 1 0 6 1");
    rlhf_dataset_free(dataset);

    rlhf_tokenizer_free(f->tokenizer);
    data_write_tokenizer(f->folder, 1);
    assert_ok(rlhf_tokenizer_load(f->context, f->folder, &f->tokenizer));
    assert_ok(data_load(f, "plain.txt", text, sizeof text - 1, &options, &dataset));
    row = data_row(dataset, 0);
    data_check_ids("documents", row.tokens, row.num_tokens, "0 11 17 12 17 17 6 1");
    rlhf_dataset_free(dataset);

    assert_ok(data_load(f, "empty.txt", "\xef\xbb\xbf", 3, &options, &dataset));
    assert_int_equal(data_info(dataset).num_rows, 0);
    assert_int_equal(data_info(dataset).num_empty_dropped, 1);
    rlhf_dataset_free(dataset);
}

/* --- rows of a prompt and answers --------------------------------------------------- */

typedef struct rule_case {
    int32_t kind, max_length;
    const char *line;
    const char *tokens; /* NULL: dropped */
    const char *rejected;
    int64_t prompt_length;
    char counter; /* t, o, i, e: truncated, over-long, identical, empty; '-': none */
} rule_case;

enum {
    COMPLETION = RLHF_DATASET_COMPLETION,
    PREFERENCE = RLHF_DATASET_PREFERENCE,
    PROMPT = RLHF_DATASET_PROMPT
};

static void check_counters(const rule_case *c, const rlhf_dataset_info *info)
{
    const int64_t expected[] = {c->counter == 't', c->counter == 'o', c->counter == 'i',
                                c->counter == 'e'};
    const int64_t got[] = {info->num_truncated, info->num_overlong_dropped,
                           info->num_identical_dropped, info->num_empty_dropped};

    if (memcmp(expected, got, sizeof got) != 0 || info->num_read != 1 ||
        info->num_rows != (c->tokens != NULL))
        fail_msg("%s: counted %d %d %d %d of %d, kept %d", c->line, (int)got[0],
                 (int)got[1], (int)got[2], (int)got[3], (int)info->num_read,
                 (int)info->num_rows);
}

static void check_rule(const data_fixture *f, const rule_case *c, int32_t overlong)
{
    rlhf_dataset_options options = data_options(c->kind, c->max_length);
    rlhf_dataset *dataset;

    options.overlong = overlong;
    assert_ok(data_load(f, "rows.jsonl", c->line, strlen(c->line), &options, &dataset));
    const rlhf_dataset_info info = data_info(dataset);
    check_counters(c, &info);
    if (c->tokens) {
        const rlhf_example row = data_row(dataset, 0);
        data_check_ids(c->line, row.tokens, row.num_tokens, c->tokens);
        data_check_ids(c->line, row.rejected, row.num_rejected,
                       c->rejected ? c->rejected : "");
        assert_int_equal(row.prompt_length, c->prompt_length);
        assert_int_equal(info.num_tokens, row.num_tokens + row.num_rejected);
    }
    rlhf_dataset_free(dataset);
}

static void test_overlong_rows_lose_the_prompts_left(void **state)
{
    static const rule_case cases[] = {
        /* The BOS stays, then what is nearest to the answer. */
        {COMPLETION, 6, "{\"prompt\": \"acegh\", \"completion\": \"ef\"}", "0 8 9 6 7 1",
         NULL, 3, 't'},
        {COMPLETION, 9, "{\"prompt\": \"acegh\", \"completion\": \"ef\"}",
         "0 2 4 6 8 9 6 7 1", NULL, 6, '-'},
        {COMPLETION, 8, "{\"prompt\": \"acegh\", \"completion\": \"ef\"}",
         "0 4 6 8 9 6 7 1", NULL, 5, 't'},
        /* One prompt token stays before the answer, whose end goes then. */
        {COMPLETION, 3, "{\"prompt\": \"acegh\", \"completion\": \"efgh\"}", "0 6 7",
         NULL, 1, 't'},
        {COMPLETION, 3, "{\"prompt_ids\": [2, 4, 6], \"completion_ids\": [7, 8, 9, 5]}",
         "6 7 8", NULL, 1, 't'},
        {COMPLETION, 4, "{\"prompt_ids\": [2, 4, 6], \"completion_ids\": [7, 8]}",
         "4 6 7 8", NULL, 2, 't'},
        {COMPLETION, 2, "{\"prompt_ids\": [], \"completion_ids\": [7, 8, 9]}", "7 8",
         NULL, 0, 't'},
        /* The longer side decides, and both keep the same prompt. */
        {PREFERENCE, 6,
         "{\"prompt\": \"aceg\", \"chosen\": \"e\", \"rejected\": \"fgh\"}", "0 8 6 1",
         "0 8 7 8 9 1", 2, 't'},
        {PREFERENCE, 6,
         "{\"prompt\": \"aceg\", \"chosen\": \"fgh\", \"rejected\": \"e\"}",
         "0 8 7 8 9 1", "0 8 6 1", 2, 't'},
        {PREFERENCE, 4,
         "{\"prompt\": \"aceg\", \"chosen\": \"fghe\", \"rejected\": \"e\"}", "0 7 8 9",
         "0 6 1", 1, 't'},
        {PREFERENCE, 3,
         "{\"prompt_ids\": [2, 4], \"chosen_ids\": [6, 7, 8], \"rejected_ids\": [6, 9]}",
         "4 6 7", "4 6 9", 1, 't'},
        {PROMPT, 3, "{\"prompt\": \"acegh\"}", "0 8 9", NULL, 3, 't'},
        {PROMPT, 3, "{\"prompt_ids\": [2, 4, 6, 8]}", "4 6 8", NULL, 3, 't'},
        {PROMPT, 6, "{\"prompt\": \"acegh\"}", "0 2 4 6 8 9", NULL, 6, '-'},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_rule(*state, &cases[i], RLHF_OVERLONG_TRUNCATE);
}

static void test_overlong_rows_are_dropped_where_asked(void **state)
{
    static const rule_case cases[] = {
        {COMPLETION, 8, "{\"prompt\": \"acegh\", \"completion\": \"ef\"}", NULL, NULL, 0,
         'o'},
        {COMPLETION, 9, "{\"prompt\": \"acegh\", \"completion\": \"ef\"}",
         "0 2 4 6 8 9 6 7 1", NULL, 6, '-'},
        {PREFERENCE, 5, "{\"prompt\": \"a\", \"chosen\": \"e\", \"rejected\": \"fgh\"}",
         NULL, NULL, 0, 'o'},
        {PREFERENCE, 5, "{\"prompt\": \"a\", \"chosen\": \"fgh\", \"rejected\": \"e\"}",
         NULL, NULL, 0, 'o'},
        {PREFERENCE, 5, "{\"prompt\": \"a\", \"chosen\": \"fg\", \"rejected\": \"e\"}",
         "0 2 7 8 1", "0 2 6 1", 2, '-'},
        {PROMPT, 5, "{\"prompt\": \"acegh\"}", NULL, NULL, 0, 'o'},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_rule(*state, &cases[i], RLHF_OVERLONG_DROP);
}

static void test_rows_without_a_choice_or_an_answer_are_dropped(void **state)
{
    static const rule_case cases[] = {
        {PREFERENCE, 9, "{\"prompt\": \"a\", \"chosen\": \"e\", \"rejected\": \"e\"}",
         NULL, NULL, 0, 'i'},
        {PREFERENCE, 9, "{\"chosen\": \"cde\", \"rejected\": \"cde\"}", NULL, NULL, 0,
         'i'},
        {PREFERENCE, 9, "{\"chosen_ids\": [4, 5], \"rejected_ids\": [4, 5]}", NULL, NULL,
         0, 'i'},
        {PREFERENCE, 9,
         "{\"prompt_ids\": [2], \"chosen_ids\": [4, 5], \"rejected_ids\": [4, 5]}", NULL,
         NULL, 0, 'i'},
        /* The same once the ends are gone. */
        {PREFERENCE, 3, "{\"prompt\": \"a\", \"chosen\": \"efg\", \"rejected\": \"efh\"}",
         NULL, NULL, 0, 'i'},
        {PREFERENCE, 9, "{\"prompt\": \"a\", \"chosen\": \"\", \"rejected\": \"e\"}",
         NULL, NULL, 0, 'e'},
        {PREFERENCE, 9, "{\"prompt\": \"a\", \"chosen\": \"e\", \"rejected\": \"\"}",
         NULL, NULL, 0, 'e'},
        {PREFERENCE, 9, "{\"chosen\": \"\", \"rejected\": \"e\"}", NULL, NULL, 0, 'e'},
        {PREFERENCE, 9,
         "{\"prompt\": \"a\", \"chosen\": \"e\", \"rejected\": \"f\", \"rejected_ids\": "
         "[]}",
         NULL, NULL, 0, 'e'},
        {COMPLETION, 9, "{\"prompt\": \"a\", \"completion\": \"\"}", NULL, NULL, 0, 'e'},
        {COMPLETION, 9,
         "{\"prompt\": \"a\", \"completion\": \"e\", \"completion_ids\": []}", NULL, NULL,
         0, 'e'},
        /* One token has nothing before it, so nothing to learn. */
        {COMPLETION, 9, "{\"prompt_ids\": [], \"completion_ids\": [4]}", NULL, NULL, 0,
         'e'},
        {PROMPT, 9, "{\"prompt\": \"\"}", NULL, NULL, 0, 'e'},
        {PROMPT, 9, "{\"prompt_ids\": []}", NULL, NULL, 0, 'e'},
        {RLHF_DATASET_TEXT, 9, "{\"text\": \"\"}", NULL, NULL, 0, 'e'},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_rule(*state, &cases[i], RLHF_OVERLONG_TRUNCATE);
        if (cases[i].max_length == 9)
            check_rule(*state, &cases[i], RLHF_OVERLONG_DROP);
    }
}

/* --- rows of the host --------------------------------------------------------------- */

static void test_appended_rows_follow_the_same_rules(void **state)
{
    static const int32_t a[] = {2, 4, 6, 8, 9}, b[] = {2, 4, 6, 8, 7, 5};
    const data_fixture *f = *state;
    rlhf_dataset_options options = data_options(RLHF_DATASET_PREFERENCE, 4);
    rlhf_example pair = {.struct_size = sizeof pair,
                         .tokens = a,
                         .num_tokens = 5,
                         .prompt_length = 4,
                         .rejected = b,
                         .num_rejected = 6,
                         .margin = 0.25,
                         .id = 99};
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_create(f->context, &options, &dataset));
    assert_ok(rlhf_dataset_append(dataset, &pair));
    pair.rejected = a;
    pair.num_rejected = 5;
    assert_ok(rlhf_dataset_append(dataset, &pair));
    pair.num_rejected = 4;
    assert_ok(rlhf_dataset_append(dataset, &pair));
    const rlhf_dataset_info info = data_info(dataset);
    assert_int_equal(info.num_read, 3);
    assert_int_equal(info.num_rows, 1);
    assert_int_equal(info.num_truncated, 1);
    assert_int_equal(info.num_identical_dropped, 1);
    assert_int_equal(info.num_empty_dropped, 1);
    const rlhf_example row = data_row(dataset, 0);
    data_check_ids("appended", row.tokens, row.num_tokens, "6 8 9");
    data_check_ids("appended", row.rejected, row.num_rejected, "6 8 7 5");
    assert_true(row.margin == 0.25);
    assert_int_equal(row.id, 0);
    rlhf_dataset_free(dataset);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, data_setup, data_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_plain_text_is_cut_into_blocks_and_loses_nothing),
        TEST(test_text_rows_of_jsonl_are_cut_alike),
        TEST(test_documents_are_told_apart),
        TEST(test_overlong_rows_lose_the_prompts_left),
        TEST(test_overlong_rows_are_dropped_where_asked),
        TEST(test_rows_without_a_choice_or_an_answer_are_dropped),
        TEST(test_appended_rows_follow_the_same_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
