/* Gradients that are zeroed when first touched. */
#include "grads.h"
#include "kernels/kernels_support.h"
#include "support.h"

enum { A, B, C, NUM_SLABS };

static void make(rlhf_context *context, rlhf__params *params, rlhf__grads *grads)
{
    static const int64_t shapes[NUM_SLABS][2] = {{5, 7}, {1, 16}, {600, 700}};
    int32_t slab;

    assert_ok(rlhf__params_init(params, context));
    for (int i = 0; i < NUM_SLABS; i++)
        assert_ok(rlhf__params_add_slab(params, shapes[i][0], shapes[i][1], true, &slab));
    assert_ok(rlhf__params_allocate(params));
    assert_ok(rlhf__grads_init(grads, params));
}

static void assert_zero(rlhf__grads *grads)
{
    grads_settle(grads);
    for (int64_t i = 0; i < grads->params->count; i++)
        assert_true(grads->values[i] == 0.0f);
}

static void test_grads_are_fresh_once_after_a_clear(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    rlhf__params params;
    rlhf__grads grads;
    bool fresh;

    make(context, &params, &grads);
    assert_zero(&grads);
    rlhf__grads_clear(&grads);
    for (int round = 0; round < 2; round++) {
        float *b = rlhf__grads_open(&grads, B, &fresh);
        assert_true(fresh && b == grads.values + params.slabs[B].offset);
        b[3] = 2.0f;
        assert_ptr_equal(rlhf__grads_open(&grads, B, &fresh), b);
        assert_false(fresh);
        assert_ptr_equal(rlhf__grads_slab(&grads, B), b);
        assert_true(b[3] == 2.0f); /* what was written stays */
        grads_settle(&grads);
        assert_true(b[3] == 2.0f);
        rlhf__grads_clear(&grads);
    }
    rlhf__grads_free(&grads);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

/* The memory may have served another purpose: every element counts, the padding too. */
static void test_grads_cleared_are_zero_whatever_stood_there(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 3);
    rlhf__params params;
    rlhf__grads grads;

    make(context, &params, &grads);
    grads_settle(&grads);
    for (int64_t i = 0; i < params.count; i++)
        grads.values[i] = NAN;
    rlhf__grads_clear(&grads);
    for (int64_t i = 0; i < 35; i++)
        assert_true(rlhf__grads_slab(&grads, A)[i] == 0.0f);
    assert_true(isnan(grads.values[params.slabs[C].offset])); /* not touched yet */
    assert_zero(&grads);
    rlhf__grads_free(&grads);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

/* Rows are zeroed when first asked for; the others once the whole is. */
static void test_grads_of_rows_leave_the_others_stale(void **state)
{
    (void)state;
    static const int32_t some[] = {3, 1, 3}, more[] = {1, 4};
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 2);
    rlhf__params params;
    rlhf__grads grads;
    bool fresh;

    make(context, &params, &grads);
    float *a = grads.values + params.slabs[A].offset;
    for (int i = 0; i < 35; i++)
        a[i] = NAN;
    assert_ptr_equal(rlhf__grads_rows(&grads, A, some, 3), a);
    for (int r = 0; r < 5; r++)
        for (int j = 0; j < 7; j++) {
            assert_int_equal(rlhf__grads_has(&grads, A, r), r == 1 || r == 3);
            assert_true(r == 1 || r == 3 ? a[r * 7 + j] == 0.0f : isnan(a[r * 7 + j]));
        }
    a[7] = 2.0f;
    (void)rlhf__grads_rows(&grads, A, more, 2); /* what was written stays */
    assert_true(a[7] == 2.0f && a[4 * 7] == 0.0f && isnan(a[0]) && isnan(a[2 * 7]));
    assert_ptr_equal(rlhf__grads_open(&grads, A, &fresh), a);
    assert_false(fresh);
    for (int i = 0; i < 35; i++)
        assert_true(a[i] == (i == 7 ? 2.0f : 0.0f));
    assert_ptr_equal(rlhf__grads_rows(&grads, A, some, 3), a); /* of a whole one */
    assert_true(a[7] == 2.0f);
    rlhf__grads_clear(&grads);
    for (int r = 0; r < 5; r++)
        assert_false(rlhf__grads_has(&grads, A, r));
    rlhf__grads_free(&grads);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grads_are_fresh_once_after_a_clear),
        cmocka_unit_test(test_grads_cleared_are_zero_whatever_stood_there),
        cmocka_unit_test(test_grads_of_rows_leave_the_others_stale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
