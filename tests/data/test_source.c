/* Datasets that draw from a source of the host: what it gives is checked, its position is
 * saved and restored, and nobody asks how many rows there are. */
#include "data_support.h"

#include "tiny.h"

/* Row i is the ids (i + t * 3) mod 23, with 3 to 7 of them; `end` < 0: for ever. */
typedef struct counting_source {
    int64_t at, end;
    int32_t ids[8];
    int destroyed;
    rlhf_status fail_next, fail_save, fail_restore;
    size_t claim; /* size of a position, if not 0 */
} counting_source;

static rlhf_status source_next(void *user_data, rlhf_example *out)
{
    counting_source *own = user_data;

    assert_int_equal(out->struct_size, sizeof *out);
    if (own->fail_next)
        return own->fail_next;
    if (own->at == own->end)
        return RLHF_ERR_NOT_FOUND;
    for (int t = 0; t < 8; t++)
        own->ids[t] = (int32_t)((own->at + t * 3) % 23);
    out->tokens = own->ids;
    out->num_tokens = 3 + own->at % 5;
    out->id = own->at++;
    return RLHF_OK;
}

static rlhf_status source_save(void *user_data, void *out_bytes, size_t capacity,
                               size_t *out_size)
{
    const counting_source *own = user_data;

    if (own->fail_save)
        return own->fail_save;
    if (capacity < sizeof own->at)
        return RLHF_ERR_LIMIT;
    memcpy(out_bytes, &own->at, sizeof own->at);
    *out_size = own->claim ? own->claim : sizeof own->at;
    return RLHF_OK;
}

static rlhf_status source_restore(void *user_data, const void *bytes, size_t size)
{
    counting_source *own = user_data;

    if (own->fail_restore || size != sizeof own->at)
        return own->fail_restore ? own->fail_restore : RLHF_ERR_FORMAT;
    memcpy(&own->at, bytes, size);
    return RLHF_OK;
}

static void source_destroy(void *user_data)
{
    ((counting_source *)user_data)->destroyed++;
}

static const rlhf_source_ops counting_ops = {sizeof counting_ops, source_next,
                                             source_save, source_restore, source_destroy};

static rlhf_dataset *make_source(const data_fixture *f, int32_t kind,
                                 const rlhf_source_ops *ops, void *user_data)
{
    rlhf_dataset *dataset;

    assert_ok(
        rlhf_dataset_create_from_source(f->context, kind, ops, user_data, &dataset));
    return dataset;
}

static void test_source_gives_its_rows_until_its_end(void **state)
{
    counting_source source = {.end = 6};
    rlhf_dataset *dataset =
        make_source(*state, RLHF_DATASET_TEXT, &counting_ops, &source);
    rlhf_example row = {.struct_size = sizeof row};

    for (int64_t i = 0; i < 6; i++) {
        assert_ok(rlhf_dataset_next(dataset, &row));
        assert_int_equal(row.id, i);
        assert_int_equal(row.num_tokens, 3 + i % 5);
        for (int64_t t = 0; t < row.num_tokens; t++)
            assert_int_equal(row.tokens[t], (i + t * 3) % 23);
        assert_int_equal(row.prompt_length, 0);
    }
    for (int i = 0; i < 2; i++)
        assert_fails(rlhf_dataset_next(dataset, &row), RLHF_ERR_NOT_FOUND,
                     "no more rows");
    source.end = 7; /* a stream may grow */
    assert_ok(rlhf_dataset_next(dataset, &row));
    assert_int_equal(row.id, 6);
    assert_int_equal(source.destroyed, 0);
    rlhf_dataset_free(dataset);
    assert_int_equal(source.destroyed, 1);
}

static void test_source_has_no_row_numbers(void **state)
{
    counting_source source = {.end = 6};
    rlhf_dataset *dataset =
        make_source(*state, RLHF_DATASET_PROMPT, &counting_ops, &source);
    rlhf_dataset *train, *held_out;
    rlhf_example row = {.struct_size = sizeof row};

    assert_int_equal(data_info(dataset).num_rows, -1);
    assert_int_equal(data_info(dataset).kind, RLHF_DATASET_PROMPT);
    assert_ok(rlhf_dataset_next(dataset, &row));
    assert_int_equal(row.prompt_length, row.num_tokens);
    assert_fails(rlhf_dataset_row(dataset, 0, &row), RLHF_ERR_UNSUPPORTED,
                 "have no numbers");
    assert_fails(rlhf_dataset_append(dataset, &row), RLHF_ERR_UNSUPPORTED,
                 "takes no rows");
    assert_fails(rlhf_dataset_rewind(dataset), RLHF_ERR_UNSUPPORTED, "cannot be rewound");
    assert_fails(rlhf_dataset_split(dataset, 0, 0, &train, &held_out),
                 RLHF_ERR_UNSUPPORTED, "cannot be split");
    rlhf_dataset_free(dataset);
}

static void test_source_that_fails_is_named_and_asked_again(void **state)
{
    static const rlhf_status failures[] = {RLHF_ERR_IO, RLHF_ERR_CANCELLED,
                                           RLHF_ERR_NO_MEMORY, (rlhf_status)77};
    counting_source source = {.end = 2};
    rlhf_dataset *dataset =
        make_source(*state, RLHF_DATASET_TEXT, &counting_ops, &source);
    rlhf_example row = {.struct_size = sizeof row};
    char words[64];

    for (int i = 0; i < 4; i++) {
        source.fail_next = failures[i];
        snprintf(words, sizeof words, "the source's next failed: %s (%d)",
                 rlhf_status_name(failures[i]), (int)failures[i]);
        assert_fails(rlhf_dataset_next(dataset, &row), RLHF_ERR_CALLBACK, words);
    }
    source.fail_next = RLHF_OK;
    assert_ok(rlhf_dataset_next(dataset, &row));
    assert_int_equal(row.id, 0); /* nothing was lost */
    rlhf_dataset_free(dataset);
}

/* --- positions ---------------------------------------------------------------------- */

static void test_source_position_continues(void **state)
{
    for (int64_t at = 0; at < 6; at++) {
        counting_source source = {.end = 6}, other = {.end = 6};
        rlhf_dataset *dataset =
            make_source(*state, RLHF_DATASET_TEXT, &counting_ops, &source);
        rlhf_dataset *resumed =
            make_source(*state, RLHF_DATASET_TEXT, &counting_ops, &other);
        unsigned char position[RLHF_SOURCE_POSITION_MAX];
        rlhf_example row = {.struct_size = sizeof row};
        size_t size = 0;
        for (int64_t i = 0; i < at; i++)
            assert_ok(rlhf_dataset_next(dataset, &row));
        assert_ok(rlhf_dataset_save_position(dataset, position, sizeof position, &size));
        assert_ok(rlhf_dataset_restore_position(resumed, position, size));
        for (int64_t i = at; i < 6; i++) {
            assert_ok(rlhf_dataset_next(resumed, &row));
            assert_int_equal(row.id, i);
        }
        assert_fails(rlhf_dataset_next(resumed, &row), RLHF_ERR_NOT_FOUND,
                     "no more rows");
        rlhf_dataset_free(dataset);
        rlhf_dataset_free(resumed);
    }
}

static void test_source_position_failures_are_named(void **state)
{
    const rlhf_source_ops bare = {.struct_size = sizeof bare, .next = source_next};
    counting_source source = {.end = 6};
    rlhf_dataset *dataset =
        make_source(*state, RLHF_DATASET_TEXT, &counting_ops, &source);
    static unsigned char position[RLHF_SOURCE_POSITION_MAX + 1];
    size_t size = 99;

    source.fail_save = RLHF_ERR_IO;
    assert_fails(rlhf_dataset_save_position(dataset, position, 100, &size),
                 RLHF_ERR_CALLBACK, "the source's save failed: RLHF_ERR_IO");
    source.fail_save = RLHF_OK;
    source.claim = 101;
    assert_fails(rlhf_dataset_save_position(dataset, position, 100, &size),
                 RLHF_ERR_CALLBACK, "position has 101 bytes, capacity is 100");
    source.claim = RLHF_SOURCE_POSITION_MAX + 1; /* over the limit, whatever the room */
    assert_fails(rlhf_dataset_save_position(dataset, position, sizeof position, &size),
                 RLHF_ERR_CALLBACK, "capacity is 4096");
    source.claim = 0;
    assert_fails(rlhf_dataset_save_position(dataset, position, 4, &size),
                 RLHF_ERR_CALLBACK, "RLHF_ERR_LIMIT");
    assert_int_equal(size, 99);
    source.fail_restore = RLHF_ERR_FORMAT;
    assert_fails(rlhf_dataset_restore_position(dataset, position, 8), RLHF_ERR_CALLBACK,
                 "the source's restore failed: RLHF_ERR_FORMAT");
    assert_fails(rlhf_dataset_restore_position(dataset, position, sizeof position),
                 RLHF_ERR_INVALID_ARG, "at most 4096 bytes, got 4097");
    rlhf_dataset_free(dataset);

    dataset = make_source(*state, RLHF_DATASET_TEXT, &bare, &source);
    assert_fails(rlhf_dataset_save_position(dataset, position, 100, &size),
                 RLHF_ERR_UNSUPPORTED, "cannot save its position");
    assert_fails(rlhf_dataset_restore_position(dataset, position, 8),
                 RLHF_ERR_UNSUPPORTED, "cannot restore a position");
    rlhf_dataset_free(dataset);
}

static void test_source_table_is_checked(void **state)
{
    const data_fixture *f = *state;
    counting_source source = {.end = 6};
    rlhf_dataset *dataset = (rlhf_dataset *)&source;
    rlhf_source_ops ops = counting_ops;
    rlhf_error_info info = {.struct_size = sizeof info};

    ops.next = NULL;
    assert_fails(rlhf_dataset_create_from_source(f->context, RLHF_DATASET_TEXT, &ops,
                                                 &source, &dataset),
                 RLHF_ERR_INVALID_ARG, "next is NULL");
    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.field, "next");
    assert_null(dataset);
    ops = counting_ops;
    ops.save = NULL;
    assert_fails(rlhf_dataset_create_from_source(f->context, RLHF_DATASET_TEXT, &ops,
                                                 &source, &dataset),
                 RLHF_ERR_INVALID_ARG, "both save and restore, or neither");
    ops = counting_ops;
    ops.struct_size = 0;
    assert_fails(rlhf_dataset_create_from_source(f->context, RLHF_DATASET_TEXT, &ops,
                                                 &source, &dataset),
                 RLHF_ERR_INVALID_ARG, "struct_size 0");
    assert_fails(
        rlhf_dataset_create_from_source(f->context, 4, &counting_ops, &source, &dataset),
        RLHF_ERR_INVALID_ARG, "kind has no value 4");
    assert_int_equal(source.destroyed, 0); /* still the host's */
}

/* --- rows that are refused ---------------------------------------------------------- */

static rlhf_status give_row(void *user_data, rlhf_example *out)
{
    const size_t size = out->struct_size;

    *out = *(const rlhf_example *)user_data;
    out->struct_size = size;
    return RLHF_OK;
}

static void expect_row_refused(const data_fixture *f, int32_t kind, rlhf_example given,
                               const char *words)
{
    const rlhf_source_ops ops = {.struct_size = sizeof ops, .next = give_row};
    rlhf_dataset *dataset = make_source(f, kind, &ops, &given);
    rlhf_example row = {.struct_size = sizeof row};

    given.id = 41;
    assert_fails(rlhf_dataset_next(dataset, &row), RLHF_ERR_CALLBACK, words);
    assert_non_null(strstr(rlhf_last_error_message(), "the source's row 41 is refused"));
    assert_null(row.tokens);
    rlhf_dataset_free(dataset);
}

static void test_source_rows_are_checked(void **state)
{
    static const int32_t ids[] = {2, 3, -1}, other[] = {2, 4, 5};
#define REFUSED(kind, words, ...)                                                        \
    expect_row_refused(*state, kind, (rlhf_example){__VA_ARGS__}, words)
    REFUSED(RLHF_DATASET_TEXT, "num_tokens must be >= 2, got 1", .tokens = ids,
            .num_tokens = 1);
    REFUSED(RLHF_DATASET_TEXT, "num_tokens must be >= 2, got 0", .num_tokens = 0);
    REFUSED(RLHF_DATASET_TEXT, "tokens is NULL", .num_tokens = 2);
    REFUSED(RLHF_DATASET_TEXT, "tokens[2] must be in", .tokens = ids, .num_tokens = 3);
    REFUSED(RLHF_DATASET_TEXT, "got -5", .tokens = ids, .num_tokens = -5);
    REFUSED(RLHF_DATASET_PROMPT, "num_tokens must be >= 1, got 0", .num_tokens = 0);
    REFUSED(RLHF_DATASET_COMPLETION, "num_tokens must be >= 3, got 2", .tokens = ids,
            .num_tokens = 2, .prompt_length = 2);
    REFUSED(RLHF_DATASET_COMPLETION, "num_tokens must be >= 2, got 1", .tokens = ids,
            .num_tokens = 1);
    REFUSED(RLHF_DATASET_PREFERENCE, "without rejected tokens", .tokens = ids,
            .num_tokens = 2);
    REFUSED(RLHF_DATASET_PREFERENCE, "num_rejected must be >= 2, got 1", .tokens = ids,
            .num_tokens = 2, .prompt_length = 1, .rejected = other, .num_rejected = 1);
    REFUSED(RLHF_DATASET_PREFERENCE, "differ within the prompt's 2 tokens", .tokens = ids,
            .num_tokens = 2, .prompt_length = 2, .rejected = other, .num_rejected = 3);
}

/* --- training ----------------------------------------------------------------------- */

static rlhf_lm_trainer *make_trainer(rlhf_model *model, rlhf_dataset *dataset)
{
    rlhf_lm_options options;
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 4;
    options.total_steps = 10;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    return trainer;
}

static void test_source_is_trained_on_without_a_count(void **state)
{
    const data_fixture *f = *state;
    counting_source source = {.end = -1};
    rlhf_source_ops ops = {.struct_size = sizeof ops, .next = source_next};
    rlhf_dataset *dataset = make_source(f, RLHF_DATASET_TEXT, &ops, &source);
    rlhf_model *model = tiny_model(f->context, 23, 16, 1);
    rlhf_lm_trainer *trainer = make_trainer(model, dataset);
    float loss[2] = {0, 0};

    for (int i = 0; i < 6; i++) {
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_lm_trainer_step(trainer, &stats));
        loss[i > 0] = (float)stats.loss;
        assert_int_equal(source.at, 4 * (i + 1)); /* just what the step needs */
    }
    assert_true(loss[1] < loss[0]);
    source.end = source.at + 3; /* a short batch, then the end */
    assert_ok(rlhf_lm_trainer_step(trainer, NULL));
    assert_fails(rlhf_lm_trainer_step(trainer, NULL), RLHF_ERR_NOT_FOUND, "no more rows");
    assert_fails(rlhf_lm_trainer_save(trainer, test_join(f->folder, "state")),
                 RLHF_ERR_UNSUPPORTED, "cannot save its position");
    assert_false(test_exists(test_join(f->folder, "state")));
    rlhf_lm_trainer_free(trainer);
    rlhf_model_free(model);
    rlhf_dataset_free(dataset);
}

static void test_source_resumes_with_its_trainer(void **state)
{
    const data_fixture *f = *state;
    counting_source sources[2] = {{.end = -1}, {.end = -1}};
    rlhf_model *models[2];
    rlhf_dataset *datasets[2];
    rlhf_lm_trainer *trainers[2];
    const char *path = test_join(f->folder, "state");

    for (int i = 0; i < 2; i++) {
        models[i] = tiny_model(f->context, 23, 16, (uint64_t)i);
        datasets[i] = make_source(f, RLHF_DATASET_TEXT, &counting_ops, &sources[i]);
        trainers[i] = make_trainer(models[i], datasets[i]);
    }
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_lm_trainer_step(trainers[0], NULL));
    assert_ok(rlhf_lm_trainer_save(trainers[0], path));
    assert_ok(rlhf_lm_trainer_resume(trainers[1], path));
    assert_int_equal(sources[1].at, 12);
    for (int i = 0; i < 3; i++)
        for (int t = 0; t < 2; t++)
            assert_ok(rlhf_lm_trainer_step(trainers[t], NULL));
    assert_same_model(models[0], models[1]);
    for (int i = 0; i < 2; i++) {
        rlhf_dataset_free(datasets[i]); /* before its trainer: that keeps it alive */
        assert_int_equal(sources[i].destroyed, 0);
        rlhf_lm_trainer_free(trainers[i]);
        assert_int_equal(sources[i].destroyed, 1);
        rlhf_model_free(models[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, data_setup, data_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_source_gives_its_rows_until_its_end),
        TEST(test_source_has_no_row_numbers),
        TEST(test_source_that_fails_is_named_and_asked_again),
        TEST(test_source_position_continues),
        TEST(test_source_position_failures_are_named),
        TEST(test_source_table_is_checked),
        TEST(test_source_rows_are_checked),
        TEST(test_source_is_trained_on_without_a_count),
        TEST(test_source_resumes_with_its_trainer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
