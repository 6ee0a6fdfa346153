/* JSONL rows: each form of TRL's fields against ids worked out by hand. */
#include "data_support.h"

typedef struct row_case {
    int32_t kind;
    const char *line;
    const char *tokens, *rejected; /* rejected NULL: none */
    int64_t prompt_length;
    double margin;
} row_case;

enum {
    TEXT = RLHF_DATASET_TEXT,
    COMPLETION = RLHF_DATASET_COMPLETION,
    PREFERENCE = RLHF_DATASET_PREFERENCE,
    PROMPT = RLHF_DATASET_PROMPT
};

static void check_row(const row_case *c, rlhf_dataset *dataset, int64_t index)
{
    const rlhf_example row = data_row(dataset, index);

    data_check_ids(c->line, row.tokens, row.num_tokens, c->tokens);
    if (row.prompt_length != c->prompt_length)
        fail_msg("%s: prompt of %d, expected %d", c->line, (int)row.prompt_length,
                 (int)c->prompt_length);
    if (c->rejected)
        data_check_ids(c->line, row.rejected, row.num_rejected, c->rejected);
    else if (row.rejected || row.num_rejected)
        fail_msg("%s: has a rejected side", c->line);
    if (row.margin != c->margin)
        fail_msg("%s: margin %g, expected %g", c->line, row.margin, c->margin);
    assert_int_equal(row.id, index);
}

static void check_rows(const data_fixture *f, const row_case *cases, size_t count,
                       int32_t add_bos, int32_t add_eos)
{
    for (size_t i = 0; i < count; i++) {
        rlhf_dataset_options options = data_options(cases[i].kind, 64);
        rlhf_dataset *dataset;
        options.add_bos = add_bos;
        options.add_eos = add_eos;
        assert_ok(data_load(f, "rows.jsonl", cases[i].line, strlen(cases[i].line),
                            &options, &dataset));
        assert_int_equal(data_info(dataset).num_rows, 1);
        check_row(&cases[i], dataset, 0);
        rlhf_dataset_free(dataset);
    }
}
#define CHECK_ROWS(cases, bos, eos)                                                      \
    check_rows(*state, cases, sizeof(cases) / sizeof((cases)[0]), bos, eos)

static void test_jsonl_forms_give_their_rows(void **state)
{
    static const row_case cases[] = {
        {TEXT, "{\"text\": \"cab\"}", "0 4 11 1", NULL, 0, 0},
        {TEXT, "{\"id\": 7, \"text\": \"e\", \"meta\": {\"text\": [1]}}", "0 6 1", NULL,
         0, 0},
        {COMPLETION, "{\"prompt\": \"cd\", \"completion\": \"ef\"}", "0 12 6 7 1", NULL,
         2, 0},
        {COMPLETION, "{\"prompt\": \"\", \"completion\": \"e\"}", "0 6 1", NULL, 1, 0},
        {COMPLETION, "{\"prompt\": \"\\u00e9\", \"completion\": \"\\n\"}", "0 13 14 16 1",
         NULL, 3, 0},
        {PREFERENCE, "{\"prompt\": \"cd\", \"chosen\": \"e\", \"rejected\": \"f\"}",
         "0 12 6 1", "0 12 7 1", 2, 0},
        {PREFERENCE,
         "{\"prompt\": \"g\", \"chosen\": \"e\", \"rejected\": \"ff\", \"margin\": 0.5}",
         "0 8 6 1", "0 8 7 7 1", 2, 0.5},
        {PREFERENCE,
         "{\"prompt\": \"g\", \"chosen\": \"e\", \"rejected\": \"f\", \"margin\": -3}",
         "0 8 6 1", "0 8 7 1", 2, -3},
        {PREFERENCE,
         "{\"prompt\": \"g\", \"chosen\": \"e\", \"rejected\": \"f\", \"margin\": null}",
         "0 8 6 1", "0 8 7 1", 2, 0},
        {PROMPT, "{\"prompt\": \"cab\"}", "0 4 11", NULL, 3, 0},
        {PROMPT, "{\"prompt\": \"cd\", \"completion\": \"e\"}", "0 12", NULL, 2, 0},
    };
    static const row_case bare[] = {
        {TEXT, "{\"text\": \"cab\"}", "4 11", NULL, 0, 0},
        {COMPLETION, "{\"prompt\": \"cd\", \"completion\": \"ef\"}", "12 6 7", NULL, 1,
         0},
        {PREFERENCE, "{\"prompt\": \"cd\", \"chosen\": \"e\", \"rejected\": \"f\"}",
         "12 6", "12 7", 1, 0},
        {PROMPT, "{\"prompt\": \"cab\"}", "4 11", NULL, 2, 0},
    };

    CHECK_ROWS(cases, 1, 1);
    CHECK_ROWS(bare, 0, 0);
}

/* TRL's implicit prompt: the common beginning, without a blank at its end. */
static void test_jsonl_without_prompt_takes_the_common_beginning(void **state)
{
    static const row_case cases[] = {
        {PREFERENCE, "{\"chosen\": \"cdg\", \"rejected\": \"cdh\"}", "0 12 8 1",
         "0 12 9 1", 2, 0},
        {PREFERENCE, "{\"chosen\": \"cd e\", \"rejected\": \"cd f\"}", "0 12 10 6 1",
         "0 12 10 7 1", 2, 0},
        {PREFERENCE, "{\"chosen\": \"ef\", \"rejected\": \"efg\"}", "0 6 7 1",
         "0 6 7 8 1", 2, 0},
        {PREFERENCE, "{\"chosen\": \"e\", \"rejected\": \"f\"}", "0 6 1", "0 7 1", 1, 0},
        /* Two letters that share their first byte: a prompt ends between characters. */
        {PREFERENCE, "{\"chosen\": \"g\\u00e9\", \"rejected\": \"g\\u00e8\"}",
         "0 8 13 14 1", "0 8 13 15 1", 2, 0},
        {PREFERENCE, "{\"chosen_ids\": [2, 3, 4], \"rejected_ids\": [2, 3, 5, 5]}",
         "2 3 4", "2 3 5 5", 2, 0},
        {PREFERENCE, "{\"chosen_ids\": [2, 3], \"rejected_ids\": [2, 3, 4]}", "2 3",
         "2 3 4", 1, 0},
        {PROMPT, "{\"chosen\": \"cd e\", \"rejected\": \"cd f\"}", "0 12", NULL, 2, 0},
        {PROMPT, "{\"chosen_ids\": [2, 3, 4], \"rejected_ids\": [2, 3, 5]}", "2 3", NULL,
         2, 0},
    };

    CHECK_ROWS(cases, 1, 1);
}

/* "ca" + "b" apart are c, a, b; together c, ab. The model sees the latter. */
static void test_jsonl_prompt_and_answer_are_encoded_jointly(void **state)
{
    static const row_case cases[] = {
        {COMPLETION, "{\"prompt\": \"ca\", \"completion\": \"be\"}", "0 4 11 6 1", NULL,
         2, 0},
        {COMPLETION, "{\"prompt\": \"a\", \"completion\": \"b\"}", "0 11 1", NULL, 1, 0},
        /* A token over the boundary on one side only is out of both prompts. */
        {PREFERENCE, "{\"prompt\": \"ca\", \"chosen\": \"b\", \"rejected\": \"d\"}",
         "0 4 11 1", "0 4 2 5 1", 2, 0},
        {PREFERENCE, "{\"prompt\": \"ca\", \"chosen\": \"d\", \"rejected\": \"be\"}",
         "0 4 2 5 1", "0 4 11 6 1", 2, 0},
    };
    const data_fixture *f = *state;
    int32_t ids[8];
    int64_t count;

    CHECK_ROWS(cases, 1, 1);
    /* The premise: apart they have other ids. */
    assert_ok(rlhf_tokenizer_encode(f->tokenizer, "ca", 2, 0, ids, 8, &count));
    data_check_ids("ca", ids, count, "4 2");
    assert_ok(rlhf_tokenizer_encode(f->tokenizer, "cab", 3, 0, ids, 8, &count));
    data_check_ids("cab", ids, count, "4 11");
}

static void test_jsonl_has_one_bos_and_one_eos(void **state)
{
    static const row_case cases[] = {
        {TEXT, "{\"text\": \"<s>cab</s>\"}", "0 4 11 1", NULL, 0, 0},
        {COMPLETION, "{\"prompt\": \"<s>e\", \"completion\": \"f</s>\"}", "0 6 7 1", NULL,
         2, 0},
        {COMPLETION, "{\"prompt\": \"<s>c\", \"completion\": \"d\"}", "0 12 1", NULL, 1,
         0},
        {PREFERENCE, "{\"prompt\": \"<s>g\", \"chosen\": \"e</s>\", \"rejected\": \"f\"}",
         "0 8 6 1", "0 8 7 1", 2, 0},
        {PROMPT, "{\"prompt\": \"<s>cd\"}", "0 12", NULL, 2, 0},
        {PROMPT, "{\"prompt\": \"<s>\"}", "0", NULL, 1, 0},
    };

    CHECK_ROWS(cases, 1, 1);
}

/* Ids win over text and stay as they are: [2, 3] is not made into 11, nothing is added.
 */
static void test_jsonl_ids_are_kept_exactly(void **state)
{
    static const row_case cases[] = {
        {COMPLETION,
         "{\"prompt\": \"gg\", \"completion\": \"hh\", \"prompt_ids\": [2, 3], "
         "\"completion_ids\": [4, 5]}",
         "2 3 4 5", NULL, 2, 0},
        {COMPLETION, "{\"prompt_ids\": [], \"completion_ids\": [2, 3]}", "2 3", NULL, 0,
         0},
        {PREFERENCE,
         "{\"prompt\": \"g\", \"chosen\": \"g\", \"rejected\": \"g\", \"prompt_ids\": "
         "[2], "
         "\"chosen_ids\": [3, 1], \"rejected_ids\": [3, 1, 1, 0]}",
         "2 3 1", "2 3 1 1 0", 1, 0},
        {PROMPT, "{\"prompt\": \"g\", \"prompt_ids\": [2, 3, 16]}", "2 3 16", NULL, 3, 0},
        /* A text beside ids is encoded by itself. */
        {COMPLETION, "{\"prompt\": \"ca\", \"completion_ids\": [3]}", "0 4 2 3", NULL, 3,
         0},
        {COMPLETION, "{\"prompt_ids\": [4, 2], \"completion\": \"b\"}", "4 2 3 1", NULL,
         2, 0},
        {PREFERENCE, "{\"prompt\": \"c\", \"chosen_ids\": [3], \"rejected\": \"e\"}",
         "0 4 3", "0 4 6 1", 2, 0},
        {COMPLETION,
         "{\"prompt\": \"c\", \"completion\": \"e\", \"completion_ids\": null}",
         "0 4 6 1", NULL, 2, 0},
        {COMPLETION, "{\"prompt\": \"c\", \"completion\": \"\", \"completion_ids\": [6]}",
         "0 4 6", NULL, 2, 0},
    };

    CHECK_ROWS(cases, 1, 1);
}

static void test_jsonl_lines_may_be_blank_or_end_otherwise(void **state)
{
    static const char text[] =
        "\xef\xbb\xbf{\"text\": \"e\"}\r\n\n \t\r\n{\"text\": \"f\"}\n"
        "{\"text\": \"g\"}";
    static const char *const expected[] = {"0 6 1", "0 7 1", "0 8 1"};
    const data_fixture *f = *state;
    const rlhf_dataset_options options = data_options(TEXT, 64);
    rlhf_dataset *dataset;

    assert_ok(data_load(f, "rows.json", text, sizeof text - 1, &options, &dataset));
    assert_int_equal(data_info(dataset).num_read, 3);
    assert_int_equal(data_info(dataset).num_rows, 3);
    for (int i = 0; i < 3; i++) {
        const rlhf_example row = data_row(dataset, i);
        data_check_ids(expected[i], row.tokens, row.num_tokens, expected[i]);
    }
    rlhf_dataset_free(dataset);
    assert_ok(data_load(f, "none.jsonl", "", 0, &options, &dataset));
    assert_int_equal(data_info(dataset).num_read, 0);
    rlhf_example row = {.struct_size = sizeof row};
    assert_fails(rlhf_dataset_next(dataset, &row), RLHF_ERR_NOT_FOUND, "no rows");
    rlhf_dataset_free(dataset);
}

/* Lines longer than what is read at once, and lines that end where it ends. */
static void test_jsonl_lines_of_every_length_are_read(void **state)
{
    static const size_t sizes[] = {65535, 65536, 65537, 131072, 200000, 3};
    const data_fixture *f = *state;
    const rlhf_dataset_options options = data_options(TEXT, 1 << 20);
    const char *path = test_join(f->folder, "long.jsonl");
    FILE *file = fopen(path, "wb");
    rlhf_dataset *dataset;

    assert_non_null(file);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fputs("{\"text\": \"", file);
        for (size_t n = 12; n < sizes[i];
             n++) /* the line and its newline: sizes[i] bytes */
            fputc('e', file);
        fputs(sizes[i] > 12 ? "\"}" : "eee\"}", file);
        if (i < sizeof sizes / sizeof sizes[0] - 1)
            fputc('\n', file);
    }
    assert_int_equal(fclose(file), 0);
    assert_ok(rlhf_dataset_load(f->context, f->tokenizer, path, &options, &dataset));
    assert_int_equal(data_info(dataset).num_rows, 6);
    for (int64_t i = 0; i < 6; i++) {
        const rlhf_example row = data_row(dataset, i);
        assert_int_equal(row.num_tokens, (sizes[i] > 12 ? sizes[i] - 12 : 3) + 2);
        for (int64_t t = 1; t < row.num_tokens - 1; t++)
            assert_int_equal(row.tokens[t], 6);
    }
    rlhf_dataset_free(dataset);
}

static void test_jsonl_without_special_tokens_adds_none(void **state)
{
    const data_fixture *f = *state;
    const rlhf_dataset_options options = data_options(COMPLETION, 64);
    static const char config[] = "{\"bos_token\": null, \"eos_token\": null}";
    static const char line[] = "{\"prompt\": \"cd\", \"completion\": \"e\"}";
    rlhf_tokenizer *plain;
    rlhf_dataset *dataset;

    test_write(test_join(f->folder, "tokenizer_config.json"), config, sizeof config - 1);
    assert_ok(rlhf_tokenizer_load(f->context, f->folder, &plain));
    const char *path = test_join(f->folder, "rows.jsonl");
    test_write(path, line, sizeof line - 1);
    assert_ok(rlhf_dataset_load(f->context, plain, path, &options, &dataset));
    rlhf_tokenizer_free(plain); /* the dataset keeps what it needs */
    const rlhf_example row = data_row(dataset, 0);
    data_check_ids(line, row.tokens, row.num_tokens, "12 6");
    assert_int_equal(row.prompt_length, 1);
    rlhf_dataset_free(dataset);
}

/* Texts of which the tokenizer has nothing, before and after rows that it has: no row is
 * refused for what came before it. */
static void test_jsonl_sides_without_tokens_are_empty(void **state)
{
    static const char good[] =
        "{\"prompt\": \"\", \"chosen\": \"a\", \"rejected\": \"b\"}\n";
    static const char bad[] =
        "{\"prompt\": \"\", \"chosen\": \"a\", \"rejected\": \"z\"}\n"
        "{\"prompt\": \"\", \"chosen\": \"z\", \"rejected\": \"a\"}\n"
        "{\"prompt\": \"z\", \"chosen\": \"z\", \"rejected\": \"zz\"}\n";
    const data_fixture *f = *state;
    rlhf_dataset_options options = data_options(RLHF_DATASET_PREFERENCE, 16);
    rlhf_dataset_info info = {.struct_size = sizeof info};
    rlhf_dataset *dataset;
    char text[512];

    options.add_bos = options.add_eos = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "%s%s", i ? good : bad, i ? bad : good);
        assert_ok(data_load(f, "rows.jsonl", text, strlen(text), &options, &dataset));
        assert_ok(rlhf_dataset_get_info(dataset, &info));
        assert_int_equal(info.num_read, 4);
        assert_int_equal(info.num_rows, 1);
        assert_int_equal(info.num_empty_dropped, 3);
        rlhf_dataset_free(dataset);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, data_setup, data_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_jsonl_forms_give_their_rows),
        TEST(test_jsonl_without_prompt_takes_the_common_beginning),
        TEST(test_jsonl_prompt_and_answer_are_encoded_jointly),
        TEST(test_jsonl_has_one_bos_and_one_eos),
        TEST(test_jsonl_ids_are_kept_exactly),
        TEST(test_jsonl_lines_may_be_blank_or_end_otherwise),
        TEST(test_jsonl_lines_of_every_length_are_read),
        TEST(test_jsonl_without_special_tokens_adds_none),
        TEST(test_jsonl_sides_without_tokens_are_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
