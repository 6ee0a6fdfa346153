/* Rows held for a step and their cut into micro-batches, against plain loops. */
#include "data_support.h"

#include "base/context.h"
#include "data/batch.h"

enum { ROWS = 40, LONGEST = 9 };

static uint32_t random_state;

static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 16) % bound;
}

/* Ragged rows; of a preference both sides begin with the same prompt. */
static void fill(rlhf__rows *rows, rlhf_context *context, int32_t kind, int64_t count)
{
    random_state = 7;
    rlhf__rows_init(rows, context, kind);
    for (int64_t i = 0; i < count; i++) {
        const int64_t prompt =
            kind == RLHF_DATASET_TEXT ? 0 : (int64_t)random_below(LONGEST - 2);
        int32_t a[LONGEST], b[LONGEST];
        rlhf_example row = {
            .tokens = a,
            .num_tokens = prompt + 1 + random_below((uint32_t)(LONGEST - prompt)),
            .prompt_length = prompt,
            .rejected = b,
            .num_rejected = prompt + 1 + random_below((uint32_t)(LONGEST - prompt)),
            .margin = (double)i / 2,
            .id = 1000 + i};
        for (int t = 0; t < LONGEST; t++) {
            a[t] = (int32_t)random_below(100);
            b[t] = t < prompt ? a[t] : (int32_t)random_below(100);
        }
        assert_ok(rlhf__rows_add(rows, &row));
    }
}

static int64_t per_row(const rlhf__rows *rows)
{
    return rows->kind == RLHF_DATASET_PREFERENCE ? 2 : 1;
}

static int64_t tokens_of(const rlhf__rows *rows, int64_t row)
{
    int64_t total = 0;

    for (int64_t s = row * per_row(rows); s < (row + 1) * per_row(rows); s++)
        total += rows->cu_seqlens[s + 1] - rows->cu_seqlens[s];
    return total;
}

static void check_cut(const rlhf__rows *rows, const rlhf__cut *cut, int64_t budget,
                      bool by_length)
{
    char seen[ROWS] = {0};

    assert_int_equal(cut->starts[0], 0);
    assert_int_equal(cut->starts[cut->num_micro], rows->num_rows);
    for (int64_t m = 0; m < cut->num_micro; m++) {
        int64_t total = 0;
        assert_true(cut->starts[m] < cut->starts[m + 1]); /* a row at least */
        for (int64_t i = cut->starts[m]; i < cut->starts[m + 1]; i++) {
            assert_in_range(cut->order[i], 0, rows->num_rows - 1);
            assert_int_equal(seen[cut->order[i]]++, 0);
            total += tokens_of(rows, cut->order[i]);
        }
        assert_true(total <= budget || cut->starts[m + 1] - cut->starts[m] == 1);
        /* The next row had no room any more. */
        if (m + 1 < cut->num_micro)
            assert_true(total + tokens_of(rows, cut->order[cut->starts[m + 1]]) > budget);
    }
    for (int64_t i = 1; i < rows->num_rows; i++) {
        const int64_t a = cut->order[i - 1], b = cut->order[i];
        if (by_length)
            assert_true(tokens_of(rows, a) > tokens_of(rows, b) ||
                        (tokens_of(rows, a) == tokens_of(rows, b) && a < b));
        else
            assert_true(a < b);
    }
}

static void check_gather(const rlhf__rows *rows, const rlhf__cut *cut, rlhf__rows *micro)
{
    for (int64_t m = 0; m < cut->num_micro; m++) {
        assert_ok(rlhf__rows_gather(rows, cut, m, micro));
        assert_int_equal(micro->num_rows, cut->starts[m + 1] - cut->starts[m]);
        assert_int_equal(micro->num_seqs, micro->num_rows * per_row(rows));
        for (int64_t i = 0; i < micro->num_rows; i++) {
            const int64_t row = cut->order[cut->starts[m] + i];
            assert_int_equal(micro->ids[i], rows->ids[row]);
            assert_int_equal(micro->prompt_lengths[i], rows->prompt_lengths[row]);
            assert_true(micro->margins[i] == rows->margins[row]);
            assert_int_equal(tokens_of(micro, i), tokens_of(rows, row));
            assert_int_equal(micro->cu_seqlens[i * per_row(rows) + 1] -
                                 micro->cu_seqlens[i * per_row(rows)],
                             rows->cu_seqlens[row * per_row(rows) + 1] -
                                 rows->cu_seqlens[row * per_row(rows)]);
            assert_memory_equal(micro->tokens + micro->cu_seqlens[i * per_row(rows)],
                                rows->tokens + rows->cu_seqlens[row * per_row(rows)],
                                (size_t)tokens_of(rows, row) * sizeof(int32_t));
        }
    }
}

static void test_rows_are_cut_by_a_budget_of_tokens(void **state)
{
    static const int32_t kinds[] = {RLHF_DATASET_TEXT, RLHF_DATASET_COMPLETION,
                                    RLHF_DATASET_PREFERENCE, RLHF_DATASET_PROMPT};
    const data_fixture *f = *state;

    for (int k = 0; k < 4; k++)
        for (int64_t budget = 1; budget < 100; budget += k + 3)
            for (int by_length = 0; by_length < 2; by_length++) {
                rlhf__rows rows, micro;
                rlhf__cut cut = {0};
                fill(&rows, f->context, kinds[k], ROWS);
                rlhf__rows_init(&micro, f->context, kinds[k]);
                assert_ok(rlhf__rows_cut(&rows, budget, by_length, &cut));
                check_cut(&rows, &cut, budget, by_length);
                check_gather(&rows, &cut, &micro);
                rlhf__cut_free(&cut);
                rlhf__rows_free(&micro);
                rlhf__rows_free(&rows);
            }
}

static void test_rows_count_their_targets(void **state)
{
    static const int32_t kinds[] = {RLHF_DATASET_TEXT, RLHF_DATASET_COMPLETION,
                                    RLHF_DATASET_PREFERENCE};
    const data_fixture *f = *state;

    for (int k = 0; k < 3; k++) {
        rlhf__rows rows;
        fill(&rows, f->context, kinds[k], ROWS);
        for (int64_t first = 0; first < ROWS; first += 5) {
            int64_t expected = 0;
            for (int64_t row = first; row < first + 5; row++)
                for (int64_t s = row * per_row(&rows); s < (row + 1) * per_row(&rows);
                     s++)
                    for (int64_t t = 0; t < rows.cu_seqlens[s + 1] - rows.cu_seqlens[s];
                         t++)
                        expected += t > 0 && t >= rows.prompt_lengths[row];
            assert_int_equal(rlhf__rows_num_targets(&rows, first, 5), expected);
        }
        rlhf__rows_free(&rows);
    }
}

/* A source of prompts [i, i + 1] that fails once at row `fail_at` and ends before row
 * `end`. */
typedef struct failing_source {
    int32_t at, fail_at, end;
    int32_t ids[2];
} failing_source;

static rlhf_status next_prompt(void *user_data, rlhf_example *out)
{
    failing_source *own = user_data;

    if (own->at == own->end)
        return RLHF_ERR_NOT_FOUND;
    if (own->at == own->fail_at) {
        own->fail_at = -1;
        return RLHF_ERR_IO;
    }
    own->ids[0] = own->at;
    own->ids[1] = own->at + 1;
    out->tokens = own->ids; /* overwritten by the next row */
    out->num_tokens = 2;
    out->id = own->at++;
    return RLHF_OK;
}

static void test_rows_drawn_stay_when_the_source_fails(void **state)
{
    const data_fixture *f = *state;
    failing_source source = {.fail_at = 3, .end = 7};
    const rlhf_source_ops ops = {.struct_size = sizeof ops, .next = next_prompt};
    rlhf__dataset *dataset;
    rlhf__rows rows;

    assert_ok(rlhf__dataset_create_from_source(f->context, RLHF_DATASET_PROMPT, &ops,
                                               &source, &dataset));
    rlhf__rows_init(&rows, f->context, RLHF_DATASET_PROMPT);
    assert_fails(rlhf__rows_draw(&rows, dataset, 5), RLHF_ERR_CALLBACK, "RLHF_ERR_IO");
    assert_int_equal(rows.num_rows, 3);
    assert_ok(rlhf__rows_draw(&rows, dataset, 5)); /* goes on */
    assert_int_equal(rows.num_rows, 5);
    for (int32_t i = 0; i < 5; i++) {
        assert_int_equal(rows.ids[i], i);
        assert_int_equal(rows.tokens[2 * i], i);
        assert_int_equal(rows.tokens[2 * i + 1], i + 1);
    }
    rlhf__rows_clear(&rows);
    assert_ok(rlhf__rows_draw(&rows, dataset, 5)); /* what is left */
    assert_int_equal(rows.num_rows, 2);
    rlhf__rows_clear(&rows);
    assert_int_equal(rlhf__rows_num_tokens(&rows), 0);
    assert_fails(rlhf__rows_draw(&rows, dataset, 5), RLHF_ERR_NOT_FOUND, "no more rows");
    rlhf__rows_free(&rows);
    rlhf__dataset_free(dataset);
}

/* As if the row had never been added, the first and the last too. */
static void test_row_dropped_leaves_the_others_as_they_were(void **state)
{
    static const int64_t dropped[] = {0, 7, ROWS - 1};
    const data_fixture *f = *state;

    for (int d = 0; d < 3; d++) {
        rlhf__rows all, rows;
        fill(&all, f->context, RLHF_DATASET_PREFERENCE, ROWS);
        rlhf__rows_init(&rows, f->context, RLHF_DATASET_PREFERENCE);
        for (int64_t i = 0; i < ROWS; i++) {
            const int64_t *ends = all.cu_seqlens + 2 * i;
            const rlhf_example row = {.tokens = all.tokens + ends[0],
                                      .num_tokens = ends[1] - ends[0],
                                      .prompt_length = all.prompt_lengths[i],
                                      .rejected = all.tokens + ends[1],
                                      .num_rejected = ends[2] - ends[1],
                                      .margin = all.margins[i],
                                      .id = all.ids[i]};
            if (i != dropped[d])
                assert_ok(rlhf__rows_add(&rows, &row));
        }
        rlhf__rows_drop(&all, dropped[d]);
        assert_int_equal(all.num_rows, ROWS - 1);
        assert_int_equal(all.num_seqs, rows.num_seqs);
        assert_memory_equal(all.cu_seqlens, rows.cu_seqlens,
                            (size_t)(rows.num_seqs + 1) * sizeof *rows.cu_seqlens);
        assert_memory_equal(all.tokens, rows.tokens,
                            (size_t)rlhf__rows_num_tokens(&rows) * sizeof *rows.tokens);
        assert_memory_equal(all.prompt_lengths, rows.prompt_lengths,
                            (ROWS - 1) * sizeof *rows.prompt_lengths);
        assert_memory_equal(all.margins, rows.margins, (ROWS - 1) * sizeof *rows.margins);
        assert_memory_equal(all.ids, rows.ids, (ROWS - 1) * sizeof *rows.ids);
        rlhf__rows_free(&all);
        rlhf__rows_free(&rows);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, data_setup, data_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_are_cut_by_a_budget_of_tokens),
        TEST(test_rows_count_their_targets),
        TEST(test_row_dropped_leaves_the_others_as_they_were),
        TEST(test_rows_drawn_stay_when_the_source_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
