/* Files and options that are refused: the status, and words that name file, line, field,
 * bound and value. */
#include "data_support.h"

#include <sys/types.h>

typedef struct line_case {
    int32_t kind;
    const char *line;
    rlhf_status status;
    const char *field, *words;
} line_case;

enum {
    TEXT = RLHF_DATASET_TEXT,
    COMPLETION = RLHF_DATASET_COMPLETION,
    PREFERENCE = RLHF_DATASET_PREFERENCE,
    PROMPT = RLHF_DATASET_PROMPT
};

static const line_case line_cases[] = {
    {TEXT, "{", RLHF_ERR_FORMAT, "", "invalid JSON"},
    {TEXT, "{\"text\": \"a\"} {}", RLHF_ERR_FORMAT, "",
     "invalid JSON: end of file expected"},
    {TEXT, "{\"text\": \"a\", \"text\": \"b\"}", RLHF_ERR_FORMAT, "", "duplicate"},
    {TEXT, "{\"text\": \"\xff\"}", RLHF_ERR_FORMAT, "", "decode"},
    {TEXT, "{\"text\": \"\\ud800\"}", RLHF_ERR_FORMAT, "", "\\uD800"},
    {TEXT, "{\"text\": 1e999}", RLHF_ERR_FORMAT, "", "overflow"},
    {TEXT, "[\"a\"]", RLHF_ERR_FORMAT, "", "a row must be a JSON object"},
    {TEXT, "\"a\"", RLHF_ERR_FORMAT, "", "a row must be a JSON object"},
    {TEXT, "{}", RLHF_ERR_FORMAT, "text", "field \"text\" is missing"},
    {TEXT, "{\"text\": null}", RLHF_ERR_FORMAT, "text", "is missing"},
    {TEXT, "{\"text\": 5}", RLHF_ERR_FORMAT, "text", "field \"text\" must be a text"},
    {TEXT, "{\"messages\": [{\"role\": \"user\"}]}", RLHF_ERR_UNSUPPORTED, "messages",
     "is a conversation"},
    {COMPLETION, "{\"completion\": \"a\"}", RLHF_ERR_FORMAT, "prompt",
     "\"prompt\" is missing"},
    {COMPLETION, "{\"prompt\": \"a\"}", RLHF_ERR_FORMAT, "completion",
     "\"completion\" is missing"},
    {COMPLETION, "{\"prompt\": [\"a\"], \"completion\": \"a\"}", RLHF_ERR_FORMAT,
     "prompt", "must be a text"},
    {COMPLETION,
     "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"completion\": []}",
     RLHF_ERR_UNSUPPORTED, "prompt", "is a conversation"},
    {COMPLETION, "{\"prompt\": \"a\", \"completion\": true}", RLHF_ERR_FORMAT,
     "completion", "must be a text"},
    {COMPLETION, "{\"prompt\": \"a\", \"completion_ids\": \"5\"}", RLHF_ERR_FORMAT,
     "completion_ids", "must be a list of ids"},
    {COMPLETION, "{\"prompt\": \"a\", \"completion_ids\": [2, 3.5]}", RLHF_ERR_FORMAT,
     "completion_ids", "item 1 must be an integer"},
    {COMPLETION, "{\"prompt\": \"a\", \"completion_ids\": [true]}", RLHF_ERR_FORMAT,
     "completion_ids", "item 0 must be an integer"},
    {COMPLETION, "{\"prompt\": \"a\", \"completion_ids\": [2, -1]}", RLHF_ERR_FORMAT,
     "completion_ids", "item 1 must be in [0, 17), got -1"},
    {COMPLETION, "{\"prompt_ids\": [17], \"completion\": \"a\"}", RLHF_ERR_FORMAT,
     "prompt_ids", "item 0 must be in [0, 17), got 17"},
    {COMPLETION, "{\"prompt_ids\": [4294967298], \"completion\": \"a\"}", RLHF_ERR_FORMAT,
     "prompt_ids", "got 4294967298"},
    {PREFERENCE, "{\"prompt\": \"a\", \"rejected\": \"b\"}", RLHF_ERR_FORMAT, "chosen",
     "\"chosen\" is missing"},
    {PREFERENCE, "{\"prompt\": \"a\", \"chosen\": \"b\"}", RLHF_ERR_FORMAT, "rejected",
     "\"rejected\" is missing"},
    {PREFERENCE, "{\"prompt\": 1, \"chosen\": \"b\", \"rejected\": \"c\"}",
     RLHF_ERR_FORMAT, "prompt", "must be a text"},
    {PREFERENCE,
     "{\"chosen\": [{\"role\": \"user\"}], \"rejected\": [{\"role\": \"user\"}]}",
     RLHF_ERR_UNSUPPORTED, "chosen", "is a conversation"},
    {PREFERENCE, "{\"chosen_ids\": [2], \"rejected\": \"b\"}", RLHF_ERR_FORMAT,
     "rejected_ids", "is missing: without a prompt both sides need ids"},
    {PREFERENCE, "{\"chosen\": \"b\", \"rejected_ids\": [2]}", RLHF_ERR_FORMAT,
     "chosen_ids", "is missing"},
    {PREFERENCE,
     "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\", \"margin\": \"1\"}",
     RLHF_ERR_FORMAT, "margin", "\"margin\" must be a number"},
    {PREFERENCE,
     "{\"prompt\": \"a\", \"chosen\": \"\", \"rejected\": \"c\", \"margin\": []}",
     RLHF_ERR_FORMAT, "margin", "\"margin\" must be a number"},
    {PROMPT, "{\"text\": \"a\"}", RLHF_ERR_FORMAT, "prompt", "\"prompt\" is missing"},
    {PROMPT, "{\"chosen\": \"a\"}", RLHF_ERR_FORMAT, "rejected",
     "\"rejected\" is missing"},
    {PROMPT, "{\"prompt\": {}}", RLHF_ERR_FORMAT, "prompt", "must be a text"},
};

/* Two good lines and a blank one, then the bad one. */
static const char *const good_lines[] = {
    [TEXT] = "{\"text\": \"a\"}\n",
    [COMPLETION] = "{\"prompt\": \"a\", \"completion\": \"b\"}\n",
    [PREFERENCE] = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n",
    [PROMPT] = "{\"prompt\": \"a\"}\n"};

static void check_line(const data_fixture *f, const line_case *c, const char *after)
{
    const rlhf_dataset_options options = data_options(c->kind, 16);
    rlhf_error_info info = {.struct_size = sizeof info};
    rlhf_dataset *dataset = (rlhf_dataset *)&info; /* must become NULL */
    char text[512];

    snprintf(text, sizeof text, "%s\n%s%s%s", good_lines[c->kind], good_lines[c->kind],
             c->line, after);
    const rlhf_status status =
        data_load(f, "bad.jsonl", text, strlen(text), &options, &dataset);
    assert_ok(rlhf_last_error_info(&info));
    if (status != c->status || info.status != c->status ||
        strcmp(info.field, c->field) != 0 || !strstr(info.message, c->words) ||
        info.line != 4)
        fail_msg("%s\ngave %s, field \"%s\", line %d: %s", c->line,
                 rlhf_status_name(status), info.field, (int)info.line, info.message);
    assert_string_equal(info.file, test_join(f->folder, "bad.jsonl"));
    assert_non_null(strstr(info.message, "bad.jsonl:4:"));
    assert_null(dataset);
}

static void test_lines_malformed_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < sizeof line_cases / sizeof line_cases[0]; i++) {
        check_line(*state, &line_cases[i], "\n{}\n");
        check_line(*state, &line_cases[i], ""); /* the file's last, without its newline */
    }
}

static void test_line_beyond_the_limit_is_refused(void **state)
{
    const data_fixture *f = *state;
    const size_t size = ((size_t)16 << 20) + 1;
    const rlhf_dataset_options options = data_options(TEXT, 16);
    char *text = malloc(size + 2);
    rlhf_dataset *dataset;

    memset(text, ' ', size + 2);
    text[0] = '\n';
    assert_ok(data_load(f, "limit.jsonl", text, size, &options, &dataset));
    rlhf_dataset_free(dataset);
    assert_fails(data_load(f, "limit.jsonl", text, size + 1, &options, &dataset),
                 RLHF_ERR_LIMIT, "limit.jsonl:2: a line of more than 16777216 bytes");
    assert_null(dataset);
    free(text);
}

static void test_paths_that_hold_no_data_are_refused(void **state)
{
    const data_fixture *f = *state;
    rlhf_dataset_options options = data_options(TEXT, 16);
    rlhf_error_info info = {.struct_size = sizeof info};
    rlhf_dataset *dataset;

    for (int i = 0; i < 2; i++) {
        const char *absent = test_join(f->folder, i ? "absent.txt" : "absent.jsonl");
        const char *folder = test_join(f->folder, i ? "folder.txt" : "folder.jsonl");
        assert_fails(
            rlhf_dataset_load(f->context, f->tokenizer, absent, &options, &dataset),
            RLHF_ERR_NOT_FOUND, absent);
        assert_ok(rlhf_last_error_info(&info));
        assert_int_equal(info.system_errno, 2); /* ENOENT */
        assert_string_equal(info.file, absent);
        assert_int_equal(mkdir(folder, 0777), 0);
        assert_fails(
            rlhf_dataset_load(f->context, f->tokenizer, folder, &options, &dataset),
            RLHF_ERR_IO, folder);
        assert_null(dataset);
    }
    /* A pipe without a writer, which opening would wait for. */
    for (int i = 0; i < 2; i++) {
        const char *pipe = test_join(f->folder, i ? "pipe.txt" : "pipe.jsonl");
        assert_int_equal(mkfifo(pipe, 0666), 0);
        assert_fails(
            rlhf_dataset_load(f->context, f->tokenizer, pipe, &options, &dataset),
            RLHF_ERR_IO, "not a regular file");
    }
    /* A hole of 4 GiB and a byte takes no room. */
    const char *huge = test_join(f->folder, "huge.txt");
    test_write(huge, "", 0);
    if (truncate(huge, ((off_t)4 << 30) + 1) == 0)
        assert_fails(
            rlhf_dataset_load(f->context, f->tokenizer, huge, &options, &dataset),
            RLHF_ERR_LIMIT, "4294967297 bytes");
    else
        print_message("no file of 4 GiB can be made here: its limit is not tried\n");
    options.kind = PROMPT;
    assert_fails(data_load(f, "plain.txt", "a", 1, &options, &dataset),
                 RLHF_ERR_INVALID_ARG, "a plain text can only be of kind text");
    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.field, "kind");
}

static void test_options_out_of_range_are_refused(void **state)
{
    const data_fixture *f = *state;
    const rlhf_dataset_options good = data_options(TEXT, 16);
    rlhf_dataset_options options[9];
    static const char *const words[][2] = {
        {"kind", "kind has no value 4"},
        {"kind", "kind has no value -1"},
        {"max_length", "max_length must be >= 2, got 1"},
        {"overlong", "overlong has no value 2"},
        {"add_bos", "add_bos must be 0 or 1, got 2"},
        {"add_eos", "add_eos must be 0 or 1, got -1"},
        {"shuffle", "shuffle must be 0 or 1, got 2"},
        {"num_epochs", "num_epochs must be >= 0, got -1"},
        {"", "struct_size 0 is below"}};
    rlhf_dataset *dataset;

    for (int i = 0; i < 9; i++)
        options[i] = good;
    options[0].kind = 4;
    options[1].kind = -1;
    options[2].max_length = 1;
    options[3].overlong = 2;
    options[4].add_bos = 2;
    options[5].add_eos = -1;
    options[6].shuffle = 2;
    options[7].num_epochs = -1;
    options[8].struct_size = 0;
    for (int i = 0; i < 9; i++) {
        rlhf_error_info info = {.struct_size = sizeof info};
        assert_fails(rlhf_dataset_create(f->context, &options[i], &dataset),
                     RLHF_ERR_INVALID_ARG, words[i][1]);
        assert_ok(rlhf_last_error_info(&info));
        assert_string_equal(info.field, words[i][0]);
        assert_null(dataset);
        assert_fails(data_load(f, "plain.txt", "a", 1, &options[i], &dataset),
                     RLHF_ERR_INVALID_ARG, words[i][1]);
    }
}

/* --- rows of the host --------------------------------------------------------------- */

static void expect_append_refused(rlhf_dataset *dataset, rlhf_example row,
                                  const char *field, const char *words)
{
    rlhf_error_info info = {.struct_size = sizeof info};

    row.struct_size = sizeof row;
    assert_fails(rlhf_dataset_append(dataset, &row), RLHF_ERR_INVALID_ARG, words);
    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.field, field);
    assert_int_equal(data_info(dataset).num_read, 0);
}

static void test_appended_rows_malformed_are_refused(void **state)
{
    static const int32_t ids[] = {2, 3, -4}, other[] = {2, 5, 6};
    const data_fixture *f = *state;
    rlhf_dataset_options options = data_options(PREFERENCE, 16);
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_create(f->context, &options, &dataset));
#define REFUSED(field, words, ...)                                                       \
    expect_append_refused(dataset, (rlhf_example){__VA_ARGS__}, field, words)
    REFUSED("num_tokens", "num_tokens must be in [0, 2147483647], got -1",
            .num_tokens = -1);
    REFUSED("num_tokens", "got 2147483648", .tokens = ids, .num_tokens = 2147483648);
    REFUSED("tokens", "tokens is NULL", .num_tokens = 1);
    REFUSED("prompt_length", "prompt_length must be in [0, num_tokens], got 3",
            .tokens = ids, .num_tokens = 2, .prompt_length = 3);
    REFUSED("prompt_length", "got -1", .tokens = ids, .num_tokens = 2,
            .prompt_length = -1);
    REFUSED("tokens", "tokens[2] must be in [0, 2147483647), got -4", .tokens = ids,
            .num_tokens = 3);
    REFUSED("rejected", "without rejected tokens", .tokens = ids, .num_tokens = 2);
    REFUSED("num_rejected", "num_rejected must be >= prompt_length, got 1", .tokens = ids,
            .num_tokens = 2, .prompt_length = 2, .rejected = other, .num_rejected = 1);
    REFUSED("num_rejected", "num_rejected must be >= prompt_length, got -1",
            .tokens = ids, .num_tokens = 2, .rejected = other, .num_rejected = -1);
    REFUSED("num_rejected", "at most 2147483647, got 2147483648", .tokens = ids,
            .num_tokens = 2, .rejected = other, .num_rejected = 2147483648);
    REFUSED("rejected", "rejected[2] must be in", .tokens = other, .num_tokens = 2,
            .rejected = ids, .num_rejected = 3);
    REFUSED("", "differ within the prompt's 2 tokens", .tokens = ids, .num_tokens = 2,
            .prompt_length = 2, .rejected = other, .num_rejected = 3);
    REFUSED("margin", "margin must be finite, got inf", .tokens = ids, .num_tokens = 2,
            .rejected = other, .num_rejected = 3, .margin = 1e308 * 10);
    rlhf_dataset_free(dataset);
    options.kind = TEXT;
    assert_ok(rlhf_dataset_create(f->context, &options, &dataset));
    REFUSED("prompt_length", "0 in a text, got 1", .tokens = ids, .num_tokens = 2,
            .prompt_length = 1);
    rlhf_dataset_free(dataset);
    options.kind = PROMPT;
    assert_ok(rlhf_dataset_create(f->context, &options, &dataset));
    REFUSED("prompt_length", "num_tokens (or 0) in a prompt, got 1", .tokens = ids,
            .num_tokens = 2, .prompt_length = 1);
    rlhf_example row = {.struct_size = sizeof row};
    assert_fails(rlhf_dataset_row(dataset, 0, &row), RLHF_ERR_INVALID_ARG,
                 "index must be in [0, 0), got 0");
    rlhf_dataset_free(dataset);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, data_setup, data_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lines_malformed_are_refused_by_name),
        TEST(test_line_beyond_the_limit_is_refused),
        TEST(test_paths_that_hold_no_data_are_refused),
        TEST(test_options_out_of_range_are_refused),
        TEST(test_appended_rows_malformed_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
