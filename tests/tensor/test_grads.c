/* Gradients that are zeroed when first touched. */
#include "kernels/kernels_support.h"
#include "support.h"

#include "tensor/grads.h"

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

static void assert_zero(const rlhf__grads *grads)
{
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
    for (int round = 0; round < 2; round++) {
        float *b = rlhf__grads_open(&grads, B, &fresh);
        assert_true(fresh && b == grads.values + params.slabs[B].offset);
        b[3] = 2.0f;
        assert_ptr_equal(rlhf__grads_open(&grads, B, &fresh), b);
        assert_false(fresh);
        assert_ptr_equal(rlhf__grads_slab(&grads, B), b);
        assert_true(b[3] == 2.0f); /* what was written stays */
        rlhf__grads_settle(&grads);
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
    rlhf__grads_settle(&grads);
    for (int64_t i = 0; i < params.count; i++)
        grads.values[i] = NAN;
    rlhf__grads_clear(&grads);
    for (int64_t i = 0; i < 35; i++)
        assert_true(rlhf__grads_slab(&grads, A)[i] == 0.0f);
    assert_true(isnan(grads.values[params.slabs[C].offset])); /* not touched yet */
    rlhf__grads_settle(&grads);
    assert_zero(&grads);
    rlhf__grads_free(&grads);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grads_are_fresh_once_after_a_clear),
        cmocka_unit_test(test_grads_cleared_are_zero_whatever_stood_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
