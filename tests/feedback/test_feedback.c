/* Comparisons and choices: display order, what is stored, undo, export and back. */
#include "feedback_support.h"

static void test_comparisons_come_back_as_added(void **state)
{
    static const int32_t prompt[] = {5, 0, 7}, first[] = {1, 2147483647}, second[] = {9};
    feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    rlhf_comparison in = {.struct_size = sizeof in,
                          .id = 99,
                          .prompt_ids = prompt,
                          .num_prompt = 3,
                          .answer_ids = {first, second},
                          .num_answer = {2, 1},
                          .prompt_text = "Wie geht\xe2\x80\x99s?\n\"",
                          .answer_text = {"\xff\xfe invalid", ""}};
    rlhf_comparison out = {.struct_size = sizeof out};
    int64_t id = 0;

    assert_fails(rlhf_feedback_next(store, &out), RLHF_ERR_NOT_FOUND,
                 "no comparison is left");
    assert_ok(rlhf_feedback_add(store, &in, &id));
    assert_int_equal(id, 1);
    rlhf_feedback_free(store);
    store = feedback_open(f, 1);
    assert_ok(rlhf_feedback_next(store, &out));
    assert_int_equal(out.id, 1);
    assert_int_equal(out.num_prompt, 3);
    assert_memory_equal(out.prompt_ids, prompt, sizeof prompt);
    assert_int_equal(out.num_answer[0], 2);
    assert_memory_equal(out.answer_ids[0], first, sizeof first);
    assert_int_equal(out.num_answer[1], 1);
    assert_memory_equal(out.answer_ids[1], second, sizeof second);
    assert_string_equal(out.prompt_text, in.prompt_text);
    assert_string_equal(out.answer_text[0], in.answer_text[0]);
    assert_string_equal(out.answer_text[1], "");
    assert_int_equal(out.choice, RLHF_CHOICE_NONE);
    assert_int_equal(out.preferred, -1);
    assert_fails(rlhf_feedback_get(store, 2, &out), RLHF_ERR_NOT_FOUND,
                 "no comparison 2");
    rlhf_feedback_free(store);
}

/* --- display order ------------------------------------------------------------------ */

enum { MANY = 200, PAIRS = 60 };

static void draw_orders(feedback_fixture *f, uint64_t seed, int32_t orders[MANY])
{
    rlhf_feedback *store = feedback_open(f, seed);
    rlhf_comparison out = {.struct_size = sizeof out};

    feedback_add_pairs(store, MANY);
    for (int64_t i = 0; i < MANY; i++) {
        assert_ok(rlhf_feedback_get(store, i + 1, &out));
        orders[i] = out.order;
    }
    rlhf_feedback_free(store);
    assert_int_equal(unlink(f->path), 0);
}

/* 200 throws of a fair coin: 100 heads, standard deviation 7; a run of 20 alike is rarer
 * than one in 5000. */
static void test_display_order_is_drawn_by_the_seed(void **state)
{
    int32_t a[MANY], again[MANY], b[MANY], heads = 0, run = 0;

    draw_orders(*state, 1, a);
    draw_orders(*state, 1, again);
    draw_orders(*state, 2, b);
    assert_memory_equal(a, again, sizeof a);
    assert_memory_not_equal(a, b, sizeof a);
    for (int i = 0; i < MANY; i++) {
        assert_in_range(a[i], 0, 1);
        heads += a[i];
        run = i > 0 && a[i] == a[i - 1] ? run + 1 : 1;
        assert_true(run < 20);
    }
    assert_in_range(heads, 70, 130);
}

/* The annotator sees two texts in display order and always takes the better one, which is
 * answer 0 in one half of the pairs and answer 1 in the other. */
static void test_annotator_who_prefers_one_stores_it_in_both_orders(void **state)
{
    feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 3);
    rlhf_comparison c = {.struct_size = sizeof c};
    rlhf_dataset *dataset;
    int seen[2][2] = {{0}}; /* [where the better one is][display order] */

    feedback_add_pairs(store, PAIRS);
    while (rlhf_feedback_next(store, &c) == RLHF_OK) {
        const char *shown[2] = {c.answer_text[c.order], c.answer_text[1 - c.order]};
        const int32_t pick =
            strcmp(shown[0], "better") == 0 ? RLHF_CHOICE_FIRST : RLHF_CHOICE_SECOND;
        const int better = strcmp(c.answer_text[1], "better") == 0;
        assert_string_equal(shown[pick == RLHF_CHOICE_SECOND], "better");
        seen[better][c.order]++;
        assert_ok(rlhf_feedback_choose(store, c.id, pick));
        assert_ok(rlhf_feedback_get(store, c.id, &c));
        assert_int_equal(c.choice, pick);
        assert_int_equal(c.preferred, better);
    }
    for (int i = 0; i < 4; i++)
        assert_true(seen[i / 2][i % 2] > 5);

    assert_ok(rlhf_feedback_dataset(store, NULL, &dataset));
    for (int64_t i = 0; i < PAIRS; i++) {
        rlhf_example row = {.struct_size = sizeof row};
        assert_ok(rlhf_dataset_row(dataset, i, &row));
        assert_int_equal(row.tokens[row.prompt_length], BETTER_ID);
        assert_int_equal(row.rejected[row.prompt_length], WORSE_ID);
    }
    rlhf_dataset_free(dataset);
    rlhf_feedback_free(store);
}

/* --- choices ------------------------------------------------------------------------ */

static void expect_info(rlhf_feedback *store, int64_t pending, int64_t chosen,
                        int64_t ties, int64_t skipped)
{
    rlhf_feedback_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_feedback_get_info(store, &info));
    assert_int_equal(info.num_comparisons, pending + chosen + ties + skipped);
    assert_int_equal(info.num_pending, pending);
    assert_int_equal(info.num_chosen, chosen);
    assert_int_equal(info.num_ties, ties);
    assert_int_equal(info.num_skipped, skipped);
}

static int64_t next_id(rlhf_feedback *store)
{
    rlhf_comparison c = {.struct_size = sizeof c};

    assert_ok(rlhf_feedback_next(store, &c));
    assert_int_equal(c.choice, RLHF_CHOICE_NONE);
    return c.id;
}

static void test_choices_are_made_once_and_undone_in_turn(void **state)
{
    rlhf_feedback *store = feedback_open(*state, 1);
    rlhf_comparison c = {.struct_size = sizeof c};
    int64_t id = 77;

    feedback_add_pairs(store, 5);
    assert_fails(rlhf_feedback_undo(store, &id), RLHF_ERR_NOT_FOUND,
                 "no choice to take back");
    assert_int_equal(id, 77);
    assert_int_equal(next_id(store), 1);
    assert_ok(rlhf_feedback_choose(store, 1, RLHF_CHOICE_FIRST));
    assert_ok(rlhf_feedback_choose(store, 4, RLHF_CHOICE_SECOND)); /* in any order */
    assert_ok(rlhf_feedback_choose(store, 2, RLHF_CHOICE_TIE));
    assert_ok(rlhf_feedback_choose(store, 3, RLHF_CHOICE_SKIP));
    expect_info(store, 1, 2, 1, 1);
    assert_int_equal(next_id(store), 5);
    assert_fails(rlhf_feedback_choose(store, 2, RLHF_CHOICE_FIRST), RLHF_ERR_EXISTS,
                 "comparison 2 has the choice 3 already");
    assert_fails(rlhf_feedback_choose(store, 6, RLHF_CHOICE_FIRST), RLHF_ERR_NOT_FOUND,
                 "no comparison 6");
    assert_fails(rlhf_feedback_choose(store, 5, RLHF_CHOICE_NONE), RLHF_ERR_INVALID_ARG,
                 "choice must be in [1, 4], got 0");
    assert_fails(rlhf_feedback_choose(store, 5, 5), RLHF_ERR_INVALID_ARG, "got 5");
    expect_info(store, 1, 2, 1, 1);
    for (int64_t i = 2; i <= 3; i++) { /* a tie and a skip prefer none */
        assert_ok(rlhf_feedback_get(store, i, &c));
        assert_int_equal(c.preferred, -1);
    }
    rlhf_feedback_free(store);

    store = feedback_open(*state, 1); /* undo knows what another process chose last */
    static const int64_t order[] = {3, 2, 4, 1};
    for (int i = 0; i < 4; i++) {
        assert_ok(rlhf_feedback_undo(store, &id));
        assert_int_equal(id, order[i]);
    }
    expect_info(store, 5, 0, 0, 0);
    assert_ok(rlhf_feedback_choose(store, 4, RLHF_CHOICE_FIRST)); /* another choice now */
    assert_ok(rlhf_feedback_get(store, 4, &c));
    assert_int_equal(c.preferred, c.order);
    assert_ok(rlhf_feedback_undo(store, NULL));
    expect_info(store, 5, 0, 0, 0);
    rlhf_feedback_free(store);
}

static void test_comparisons_malformed_are_refused(void **state)
{
    static const int32_t ids[] = {1, -2}, other[] = {3};
    rlhf_feedback *store = feedback_open(*state, 1);
    int64_t id = 77;
#define REFUSED(status, words, ...)                                                      \
    do {                                                                                 \
        const rlhf_comparison c_ = {.struct_size = sizeof c_, __VA_ARGS__};              \
        assert_fails(rlhf_feedback_add(store, &c_, &id), status, words);                 \
    } while (0)

    REFUSED(RLHF_ERR_INVALID_ARG, "prompt_ids[1] must be >= 0, got -2", .prompt_ids = ids,
            .num_prompt = 2);
    REFUSED(RLHF_ERR_INVALID_ARG, "answer_ids[1]: 1 ids at NULL", .num_answer = {0, 1});
    REFUSED(RLHF_ERR_INVALID_ARG, "answer_ids[0]: -1 ids", .answer_ids = {ids, NULL},
            .num_answer = {-1, 0});
    REFUSED(RLHF_ERR_LIMIT, "answer_ids[1]: 4194305 ids; at most 4194304",
            .answer_ids = {NULL, ids}, .num_answer = {0, 4194305});
    REFUSED(RLHF_ERR_EXISTS, "both answers are the same", .prompt_text = "p");
    REFUSED(RLHF_ERR_EXISTS, "both answers are the same", .answer_text = {"a", "a"},
            .answer_ids = {ids, other}, .num_answer = {1, 1});
    REFUSED(RLHF_ERR_EXISTS, "both answers are the same", .answer_ids = {ids, ids},
            .num_answer = {1, 1});
    rlhf_comparison c = {.struct_size = 0};
    assert_fails(rlhf_feedback_add(store, &c, &id), RLHF_ERR_INVALID_ARG,
                 "struct_size 0");
    char *text = malloc((16 << 20) + 2);
    memset(text, 'x', (16 << 20) + 1);
    text[(16 << 20) + 1] = 0;
    REFUSED(RLHF_ERR_LIMIT, "answer_text[1]: a text of more than 16777216 bytes",
            .answer_text = {"a", text});
    free(text);
    assert_int_equal(id, 77);
    expect_info(store, 0, 0, 0, 0);
    rlhf_feedback_free(store);
}

static void test_many_are_added_all_or_none(void **state)
{
    static const int32_t bad[] = {-7};
    rlhf_feedback *store = feedback_open(*state, 1);
    rlhf_comparison many[6];
    int64_t skipped = 77;

    for (int i = 0; i < 6; i++)
        many[i] = feedback_pair(i);
    many[4].prompt_ids = bad;
    many[4].num_prompt = 1;
    assert_fails(rlhf_feedback_add_many(store, many, 6, &skipped), RLHF_ERR_INVALID_ARG,
                 "prompt_ids[0] must be >= 0, got -7");
    assert_int_equal(skipped, 77);
    expect_info(store, 0, 0, 0, 0);
    many[4] = many[5];
    many[2].answer_text[1] = many[2].answer_text[0];
    assert_ok(rlhf_feedback_add_many(store, many, 6, &skipped));
    assert_int_equal(skipped, 1);
    expect_info(store, 5, 0, 0, 0);
    assert_int_equal(next_id(store), 1); /* the failure used up no ids */
    assert_ok(rlhf_feedback_add_many(store, NULL, 0, &skipped));
    assert_int_equal(skipped, 0);
    assert_fails(rlhf_feedback_add_many(store, NULL, 1, &skipped), RLHF_ERR_INVALID_ARG,
                 "NULL");
    assert_fails(rlhf_feedback_add_many(store, many, -1, &skipped), RLHF_ERR_INVALID_ARG,
                 "-1");
    rlhf_feedback_free(store);
}

/* --- out and back in ---------------------------------------------------------------- */

static void check_exported(rlhf_dataset *dataset, int64_t i, int64_t id)
{
    rlhf_example row = {.struct_size = sizeof row};

    /* The ids as they were added: no BOS, no EOS, nothing encoded again. */
    assert_ok(rlhf_dataset_row(dataset, i, &row));
    assert_int_equal(row.prompt_length, 2);
    assert_int_equal(row.num_tokens, 4);
    assert_int_equal(row.num_rejected, 3);
    assert_int_equal(row.tokens[0], (id - 1) % 10 + 10);
    assert_int_equal(row.tokens[1], 3);
    assert_int_equal(row.tokens[2], BETTER_ID);
    assert_int_equal(row.tokens[3], 4);
    assert_memory_equal(row.rejected, row.tokens, 2 * sizeof(int32_t));
    assert_int_equal(row.rejected[2], WORSE_ID);
}

static void test_choices_are_exported_with_their_ids(void **state)
{
    feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    const char *path = test_join(f->folder, "choices.jsonl");
    rlhf_comparison c = {.struct_size = sizeof c};
    rlhf_dataset_options options;
    rlhf_dataset *datasets[2];
    size_t size;

    feedback_add_pairs(store, 30);
    for (int64_t id = 1; id <= 30; id++) { /* every fifth a tie, every seventh skipped */
        assert_ok(rlhf_feedback_get(store, id, &c));
        const int better = strcmp(c.answer_text[1], "better") == 0;
        const int32_t pick = better == c.order ? RLHF_CHOICE_FIRST : RLHF_CHOICE_SECOND;
        assert_ok(rlhf_feedback_choose(store, id,
                                       id % 5 == 0   ? RLHF_CHOICE_TIE
                                       : id % 7 == 0 ? RLHF_CHOICE_SKIP
                                                     : pick));
    }
    assert_ok(rlhf_feedback_export(store, path));
    char *text = test_read(path, &size);
    assert_non_null(strstr(text, "\"prompt\": \"prompt 0\""));
    assert_non_null(strstr(text, "\"chosen\": \"better\""));
    assert_non_null(strstr(text, "\"rejected_ids\": [6]"));
    free(text);
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_load(f->context, f->tokenizer, path, &options, &datasets[0]));
    options.kind = RLHF_DATASET_TEXT; /* _dataset knows its kind */
    assert_ok(rlhf_feedback_dataset(store, &options, &datasets[1]));
    for (int d = 0; d < 2; d++) {
        rlhf_dataset_info info = {.struct_size = sizeof info};
        int64_t i = 0;
        assert_ok(rlhf_dataset_get_info(datasets[d], &info));
        assert_int_equal(info.kind, RLHF_DATASET_PREFERENCE);
        assert_int_equal(info.num_rows, 20);
        for (int64_t id = 1; id <= 30; id++)
            if (id % 5 != 0 && id % 7 != 0)
                check_exported(datasets[d], i++, id);
        rlhf_dataset_free(datasets[d]);
    }
    assert_fails(
        rlhf_feedback_export(store, test_join(f->folder, "no/such/folder.jsonl")),
        RLHF_ERR_NOT_FOUND, "no/such/folder.jsonl");
    options.max_length = 1;
    assert_fails(rlhf_feedback_dataset(store, &options, &datasets[0]),
                 RLHF_ERR_INVALID_ARG, "max_length must be >= 2, got 1");
    assert_null(datasets[0]);
    rlhf_feedback_free(store);
}

/* An empty text has no ids either way: whether it stands for text or for ids the answers
 * tell. */
static void test_empty_prompt_of_texts_is_exported_as_a_text(void **state)
{
    static const int32_t better[] = {BETTER_ID}, worse[] = {WORSE_ID};
    feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    const char *path = test_join(f->folder, "choices.jsonl");
    const rlhf_comparison pairs[2] = {{.struct_size = sizeof *pairs,
                                       .prompt_text = "",
                                       .answer_text = {"better", "worse"}},
                                      {.struct_size = sizeof *pairs,
                                       .prompt_text = "",
                                       .answer_ids = {better, worse},
                                       .num_answer = {1, 1},
                                       .answer_text = {"better", "worse"}}};
    int64_t skipped;
    size_t size;

    assert_ok(rlhf_feedback_add_many(store, pairs, 2, &skipped));
    for (int64_t id = 1; id <= 2; id++)
        assert_ok(rlhf_feedback_choose(store, id, RLHF_CHOICE_FIRST));
    assert_ok(rlhf_feedback_export(store, path));
    char *text = test_read(path, &size);
    char *second = strchr(text, '\n');
    assert_non_null(second);
    assert_non_null(strstr(second, "\"prompt_ids\": []"));
    *second = '\0';
    assert_null(strstr(text, "_ids"));
    free(text);
    rlhf_feedback_free(store);
}

/* Answers that came as texts alone are exported as such, so that training encodes them;
 * bytes that are no UTF-8 are repaired, for JSON has none. */
static void test_texts_without_ids_are_exported_as_texts(void **state)
{
    feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    const char *path = test_join(f->folder, "choices.jsonl");
    const rlhf_comparison in = {
        .struct_size = sizeof in, .prompt_text = "p", .answer_text = {"a \xff", "b"}};
    rlhf_comparison c = {.struct_size = sizeof c};
    rlhf_dataset_options options;
    rlhf_dataset *dataset;
    rlhf_example row = {.struct_size = sizeof row};
    size_t size;

    assert_ok(rlhf_feedback_add(store, &in, NULL));
    assert_ok(rlhf_feedback_next(store, &c));
    assert_ok(rlhf_feedback_choose(
        store, 1, c.order == 0 ? RLHF_CHOICE_FIRST : RLHF_CHOICE_SECOND));
    assert_ok(rlhf_feedback_export(store, path));
    char *text = test_read(path, &size);
    assert_string_equal(
        text,
        "{\"prompt\": \"p\", \"chosen\": \"a \xef\xbf\xbd\", \"rejected\": \"b\"}\n");
    free(text);
    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = RLHF_DATASET_PREFERENCE;
    assert_ok(rlhf_dataset_load(f->context, f->tokenizer, path, &options, &dataset));
    assert_ok(rlhf_dataset_row(dataset, 0, &row));
    assert_true(row.num_tokens > row.prompt_length &&
                row.num_rejected > row.prompt_length);
    rlhf_dataset_free(dataset);
    /* Without a tokenizer there is nothing to train on, and the count says so. */
    assert_ok(rlhf_feedback_dataset(store, NULL, &dataset));
    rlhf_dataset_info info = {.struct_size = sizeof info};
    assert_ok(rlhf_dataset_get_info(dataset, &info));
    assert_int_equal(info.num_rows, 0);
    assert_int_equal(info.num_empty_dropped, 1);
    rlhf_dataset_free(dataset);
    rlhf_feedback_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEEDBACK_TEST(test_comparisons_come_back_as_added),
        FEEDBACK_TEST(test_display_order_is_drawn_by_the_seed),
        FEEDBACK_TEST(test_annotator_who_prefers_one_stores_it_in_both_orders),
        FEEDBACK_TEST(test_choices_are_made_once_and_undone_in_turn),
        FEEDBACK_TEST(test_comparisons_malformed_are_refused),
        FEEDBACK_TEST(test_many_are_added_all_or_none),
        FEEDBACK_TEST(test_choices_are_exported_with_their_ids),
        FEEDBACK_TEST(test_empty_prompt_of_texts_is_exported_as_a_text),
        FEEDBACK_TEST(test_texts_without_ids_are_exported_as_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
