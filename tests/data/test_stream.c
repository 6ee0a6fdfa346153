/* The stream of a dataset: order, epochs, parts, and positions to come back to. */
#include "data_support.h"

enum { ROWS = 37 };

/* Row i is the prompt [i, i + 1], so that its first token says which row it is. */
static rlhf_dataset *make_rows(const data_fixture *f, int64_t count, int32_t shuffle,
                               int64_t num_epochs, uint64_t seed)
{
    rlhf_dataset_options options = data_options(RLHF_DATASET_PROMPT, 16);
    rlhf_dataset *dataset;

    options.shuffle = shuffle;
    options.num_epochs = num_epochs;
    options.seed = seed;
    assert_ok(rlhf_dataset_create(f->context, &options, &dataset));
    for (int32_t i = 0; i < count; i++) {
        const int32_t ids[] = {i, i + 1};
        const rlhf_example row = {
            .struct_size = sizeof row, .tokens = ids, .num_tokens = 2};
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

static int32_t next_row(rlhf_dataset *dataset)
{
    rlhf_example row = {.struct_size = sizeof row};

    assert_ok(rlhf_dataset_next(dataset, &row));
    assert_int_equal(row.num_tokens, 2);
    assert_int_equal(row.prompt_length, 2);
    assert_int_equal(row.tokens[1], row.tokens[0] + 1);
    assert_int_equal(row.id, row.tokens[0]);
    return row.tokens[0];
}

static void draw(rlhf_dataset *dataset, int32_t *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = next_row(dataset);
}

static void assert_end(rlhf_dataset *dataset)
{
    rlhf_example row = {.struct_size = sizeof row};

    assert_fails(rlhf_dataset_next(dataset, &row), RLHF_ERR_NOT_FOUND, "no row is left");
    assert_null(row.tokens);
}

static void assert_permutation(const int32_t *rows, int64_t count)
{
    char seen[ROWS] = {0};

    for (int64_t i = 0; i < count; i++) {
        assert_in_range(rows[i], 0, count - 1);
        assert_int_equal(seen[rows[i]]++, 0);
    }
}

static void test_stream_shuffles_every_epoch_by_the_seed(void **state)
{
    int32_t first[4 * ROWS], again[4 * ROWS], other[4 * ROWS];
    rlhf_dataset *dataset = make_rows(*state, ROWS, 1, 0, 11);
    rlhf_dataset *same = make_rows(*state, ROWS, 1, 0, 11);
    rlhf_dataset *another = make_rows(*state, ROWS, 1, 0, 12);
    const size_t epoch = ROWS * sizeof *first;

    draw(dataset, first, 4 * ROWS);
    draw(same, again, 4 * ROWS);
    draw(another, other, 4 * ROWS);
    assert_memory_equal(first, again, sizeof first);
    for (int e = 0; e < 4; e++) {
        assert_permutation(first + e * ROWS, ROWS);
        assert_permutation(other + e * ROWS, ROWS);
        assert_memory_not_equal(first + e * ROWS, other + e * ROWS, epoch);
        for (int before = 0; before < e; before++)
            assert_memory_not_equal(first + e * ROWS, first + before * ROWS, epoch);
    }
    assert_ok(rlhf_dataset_rewind(dataset));
    draw(dataset, again, 4 * ROWS);
    assert_memory_equal(first, again, sizeof first);
    rlhf_dataset_free(dataset);
    rlhf_dataset_free(same);
    rlhf_dataset_free(another);
}

/* Each of the six orders of three rows comes a sixth of the time: chi-square with 5
 * degrees of freedom, 20.5 is passed by chance once in 1000. */
static void test_stream_orders_are_alike_probable(void **state)
{
    enum { EPOCHS = 3000 };
    rlhf_dataset *dataset = make_rows(*state, 3, 1, EPOCHS, 5);
    int counts[9] = {0};
    double chi_square = 0;

    for (int e = 0; e < EPOCHS; e++) {
        int32_t rows[3];
        draw(dataset, rows, 3);
        assert_permutation(rows, 3);
        counts[3 * rows[0] + rows[1]]++;
    }
    for (int i = 0; i < 9; i++)
        if (i % 4 != 0) /* the first two differ */
            chi_square +=
                (counts[i] - EPOCHS / 6.0) * (counts[i] - EPOCHS / 6.0) * 6 / EPOCHS;
    assert_true(chi_square < 20.5);
    assert_end(dataset);
    rlhf_dataset_free(dataset);
}

static void test_stream_ends_after_its_epochs(void **state)
{
    rlhf_dataset *dataset = make_rows(*state, 5, 0, 3, 0);

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 15; i++)
            assert_int_equal(next_row(dataset), i % 5); /* the order of the file */
        assert_end(dataset);
        assert_end(dataset);
        assert_ok(rlhf_dataset_rewind(dataset));
    }
    rlhf_dataset_free(dataset);
}

static void test_stream_takes_no_rows_once_begun(void **state)
{
    static const int32_t ids[] = {2, 3};
    const rlhf_example row = {.struct_size = sizeof row, .tokens = ids, .num_tokens = 2};
    rlhf_dataset *dataset = make_rows(*state, 2, 1, 0, 0);
    rlhf_example uninitialised = {0};

    assert_fails(rlhf_dataset_next(dataset, &uninitialised), RLHF_ERR_INVALID_ARG,
                 "struct_size is 0");
    assert_ok(rlhf_dataset_append(dataset, &row)); /* no row was drawn by the failure */
    next_row(dataset);
    assert_fails(rlhf_dataset_append(dataset, &row), RLHF_ERR_STATE,
                 "once rows were drawn");
    rlhf_dataset_free(dataset);
}

/* --- parts -------------------------------------------------------------------------- */

static void collect(rlhf_dataset *part, char *seen, int64_t expected)
{
    assert_int_equal(data_info(part).num_rows, expected);
    assert_int_equal(data_info(part).num_read, expected);
    for (int64_t i = 0; i < expected; i++) {
        const rlhf_example row = data_row(part, i);
        assert_int_equal(row.num_tokens, 2);
        assert_int_equal(row.tokens[1], row.tokens[0] + 1);
        seen[row.tokens[0]]++;
    }
}

static void test_split_is_disjoint_and_complete(void **state)
{
    static const int64_t sizes[] = {0, 1, 10, ROWS - 1, ROWS};
    rlhf_dataset *dataset = make_rows(*state, ROWS, 1, 0, 3);
    rlhf_dataset *train, *held_out;

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        char seen[ROWS] = {0};
        assert_ok(rlhf_dataset_split(dataset, sizes[s], 7, &train, &held_out));
        collect(train, seen, ROWS - sizes[s]);
        collect(held_out, seen, sizes[s]);
        for (int i = 0; i < ROWS; i++)
            assert_int_equal(seen[i], 1);
        rlhf_dataset_free(train);
        rlhf_dataset_free(held_out);
    }
    assert_int_equal(data_info(dataset).num_rows, ROWS);
    assert_fails(rlhf_dataset_split(dataset, -1, 7, &train, &held_out),
                 RLHF_ERR_INVALID_ARG, "held_out must be in [0, 37], got -1");
    assert_fails(rlhf_dataset_split(dataset, 38, 7, &train, &held_out),
                 RLHF_ERR_INVALID_ARG, "held_out must be in [0, 37], got 38");
    assert_null(train);
    assert_null(held_out);
    rlhf_dataset_free(dataset);
}

static uint64_t held_out_set(rlhf_dataset *dataset, uint64_t seed)
{
    rlhf_dataset *train, *held_out;
    uint64_t set = 0;

    assert_ok(rlhf_dataset_split(dataset, 10, seed, &train, &held_out));
    for (int64_t i = 0; i < 10; i++)
        set |= (uint64_t)1 << data_row(held_out, i).tokens[0];
    rlhf_dataset_free(train);
    rlhf_dataset_free(held_out);
    return set;
}

static void test_split_is_drawn_by_its_seed(void **state)
{
    rlhf_dataset *dataset = make_rows(*state, ROWS, 1, 0, 3);
    const uint64_t a = held_out_set(dataset, 1), b = held_out_set(dataset, 2);

    assert_true(a == held_out_set(dataset, 1));
    assert_true(a != b);
    assert_true(a != ((uint64_t)1 << 10) - 1);
    rlhf_dataset_free(dataset);
}

static void test_split_keeps_rows_whole(void **state)
{
    static const char lines[] =
        "{\"prompt\": \"a\", \"chosen\": \"ee\", \"rejected\": \"f\", \"margin\": 1.5}\n"
        "{\"prompt\": \"cd\", \"chosen\": \"g\", \"rejected\": \"hhh\", \"margin\": "
        "-2}\n";
    const data_fixture *f = *state;
    const rlhf_dataset_options options = data_options(RLHF_DATASET_PREFERENCE, 16);
    rlhf_dataset *dataset, *parts[2];

    assert_ok(data_load(f, "rows.jsonl", lines, sizeof lines - 1, &options, &dataset));
    assert_ok(rlhf_dataset_split(dataset, 1, 0, &parts[0], &parts[1]));
    rlhf_dataset_free(dataset);
    for (int i = 0; i < 2; i++) {
        const rlhf_example row = data_row(parts[i], 0);
        const int first = row.tokens[1] == 2;
        data_check_ids("split", row.tokens, row.num_tokens,
                       first ? "0 2 6 6 1" : "0 12 8 1");
        data_check_ids("split", row.rejected, row.num_rejected,
                       first ? "0 2 7 1" : "0 12 9 9 9 1");
        assert_int_equal(row.prompt_length, 2);
        assert_true(row.margin == (first ? 1.5 : -2));
    }
    assert_true(data_row(parts[0], 0).tokens[1] != data_row(parts[1], 0).tokens[1]);
    rlhf_dataset_free(parts[0]);
    rlhf_dataset_free(parts[1]);
}

/* --- positions ---------------------------------------------------------------------- */

static void test_position_continues_from_any_place(void **state)
{
    enum { N = 7, TOTAL = 3 * N };
    for (int32_t shuffle = 0; shuffle < 2; shuffle++)
        for (int64_t at = 0; at <= TOTAL; at++) {
            rlhf_dataset *dataset = make_rows(*state, N, shuffle, 3, 9);
            rlhf_dataset *resumed = make_rows(*state, N, shuffle, 3, 9);
            unsigned char position[RLHF_SOURCE_POSITION_MAX];
            int32_t before[TOTAL], rest[TOTAL], again[TOTAL];
            size_t size = 0;
            draw(dataset, before, at);
            assert_ok(
                rlhf_dataset_save_position(dataset, position, sizeof position, &size));
            assert_in_range(size, 1, sizeof position);
            draw(dataset, rest, TOTAL - at); /* saving did not move it */
            assert_end(dataset);
            draw(resumed, again, at / 2); /* wherever it stood */
            assert_ok(rlhf_dataset_restore_position(resumed, position, size));
            draw(resumed, again, TOTAL - at);
            assert_end(resumed);
            assert_memory_equal(rest, again, (size_t)(TOTAL - at) * sizeof *rest);
            assert_ok(
                rlhf_dataset_restore_position(dataset, position, size)); /* backwards */
            draw(dataset, again, TOTAL - at);
            assert_memory_equal(rest, again, (size_t)(TOTAL - at) * sizeof *rest);
            rlhf_dataset_free(dataset);
            rlhf_dataset_free(resumed);
        }
}

static void expect_refused(rlhf_dataset *to, const unsigned char *position, size_t size,
                           rlhf_status status, const char *words)
{
    const int32_t before = next_row(to);

    assert_fails(rlhf_dataset_restore_position(to, position, size), status, words);
    assert_int_equal(next_row(to), before + 1); /* where it was */
    rlhf_dataset_free(to);
}

static void test_position_of_something_else_is_refused(void **state)
{
    const data_fixture *f = *state;
    rlhf_dataset *dataset = make_rows(f, 5, 0, 0, 1);
    unsigned char position[RLHF_SOURCE_POSITION_MAX], broken[RLHF_SOURCE_POSITION_MAX];
    size_t size = 12345;

    next_row(dataset);
    assert_fails(rlhf_dataset_save_position(dataset, position, 8, &size), RLHF_ERR_LIMIT,
                 "capacity is 8");
    assert_int_equal(size, 12345);
    assert_ok(rlhf_dataset_save_position(dataset, position, sizeof position, &size));
    expect_refused(make_rows(f, 6, 0, 0, 1), position, size, RLHF_ERR_INVALID_ARG,
                   "other data: 5 rows there, 6 here");
    expect_refused(make_rows(f, 5, 0, 0, 2), position, size, RLHF_ERR_INVALID_ARG,
                   "another order: seed 1, shuffle 0 there, seed 2, shuffle 0 here");
    expect_refused(make_rows(f, 5, 0, 0, 1), position, size - 1, RLHF_ERR_FORMAT,
                   "bytes, got");
    expect_refused(make_rows(f, 5, 0, 0, 1), position, 0, RLHF_ERR_FORMAT, "got 0");
    memcpy(broken, position, size);
    broken[0] ^= 1;
    expect_refused(make_rows(f, 5, 0, 0, 1), broken, size, RLHF_ERR_FORMAT,
                   "not a position");
    memcpy(broken, position, size);
    memset(broken + 8, 0xff, 8); /* the epoch */
    expect_refused(make_rows(f, 5, 0, 0, 1), broken, size, RLHF_ERR_FORMAT, "epoch -1");
    memcpy(broken, position, size);
    broken[16] = 6; /* the row */
    expect_refused(make_rows(f, 5, 0, 0, 1), broken, size, RLHF_ERR_FORMAT, "row 6");
    rlhf_dataset *shuffled = make_rows(f, 5, 1, 0, 1);
    assert_fails(rlhf_dataset_restore_position(shuffled, position, size),
                 RLHF_ERR_INVALID_ARG, "seed 1, shuffle 0 there, seed 1, shuffle 1 here");
    rlhf_dataset_free(shuffled);
    rlhf_dataset_free(dataset);
}

/* Rows of the same number and length with other ids, sides or margins are other data. */
static void test_position_knows_its_data(void **state)
{
    static const char *const variants[] = {
        "{\"prompt_ids\": [2], \"chosen_ids\": [4, 5], \"rejected_ids\": [6, 7]}",
        "{\"prompt_ids\": [2], \"chosen_ids\": [4, 5], \"rejected_ids\": [6, 8]}",
        "{\"prompt_ids\": [2], \"chosen_ids\": [4], \"rejected_ids\": [5, 6, 7]}",
        "{\"prompt_ids\": [2, 4], \"chosen_ids\": [5], \"rejected_ids\": [6, 7]}",
        "{\"prompt_ids\":[2],\"chosen_ids\":[4,5],\"rejected_ids\":[6,7],\"margin\":1}",
    };
    const data_fixture *f = *state;
    const rlhf_dataset_options options = data_options(RLHF_DATASET_PREFERENCE, 16);
    unsigned char position[RLHF_SOURCE_POSITION_MAX];
    rlhf_dataset *dataset;
    size_t size = 0;

    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        assert_ok(data_load(f, "rows.jsonl", variants[i], strlen(variants[i]), &options,
                            &dataset));
        if (i == 0)
            assert_ok(
                rlhf_dataset_save_position(dataset, position, sizeof position, &size));
        else
            assert_fails(rlhf_dataset_restore_position(dataset, position, size),
                         RLHF_ERR_INVALID_ARG, "other data");
        rlhf_dataset_free(dataset);
    }
}

/* Its epoch goes on counting, so that one at the end of the integers would overflow. */
static void test_position_of_an_extreme_epoch_is_refused(void **state)
{
    static const int64_t epochs[] = {INT64_MAX, ((int64_t)1 << 53) + 1, -1};
    static const char row[] = "{\"prompt\": \"a\"}\n";
    const data_fixture *f = *state;
    const rlhf_dataset_options options = data_options(RLHF_DATASET_PROMPT, 16);
    unsigned char position[RLHF_SOURCE_POSITION_MAX];
    rlhf_dataset *dataset;
    size_t size = 0;

    assert_ok(data_load(f, "rows.jsonl", row, strlen(row), &options, &dataset));
    assert_ok(rlhf_dataset_save_position(dataset, position, sizeof position, &size));
    for (size_t i = 0; i < sizeof epochs / sizeof epochs[0]; i++) {
        memcpy(position + 8, &epochs[i], sizeof epochs[i]); /* behind the magic */
        assert_fails(rlhf_dataset_restore_position(dataset, position, size),
                     RLHF_ERR_FORMAT, "a position at row 0 of epoch");
    }
    rlhf_dataset_free(dataset);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, data_setup, data_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stream_shuffles_every_epoch_by_the_seed),
        TEST(test_stream_orders_are_alike_probable),
        TEST(test_stream_ends_after_its_epochs),
        TEST(test_stream_takes_no_rows_once_begun),
        TEST(test_split_is_disjoint_and_complete),
        TEST(test_split_is_drawn_by_its_seed),
        TEST(test_split_keeps_rows_whole),
        TEST(test_position_continues_from_any_place),
        TEST(test_position_of_something_else_is_refused),
        TEST(test_position_knows_its_data),
        TEST(test_position_of_an_extreme_epoch_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
