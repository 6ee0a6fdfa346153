/* Frozen parameters: what they hold, what they give back, what products make of them. */
#include "kernels/bf16_reference.h"
#include "kernels/kernels_support.h"
#include "support.h"

#include "tensor/params.h"

enum { NUM_SLABS = 5, TABLE = 0, EXACT = 3 };

/* Two matrices of odd shapes, a vector, a matrix that is to stay exact, a vector. */
static void make_params(rlhf_context *context, rlhf__params *params)
{
    static const int64_t shapes[NUM_SLABS][2] = {
        {45, 7}, {1, 16}, {33, 9}, {12, 7}, {5, 1}};
    const bool decays[NUM_SLABS] = {true, false, true, true, false};
    int32_t slab = -1;

    assert_ok(rlhf__params_init(params, context));
    for (int i = 0; i < NUM_SLABS; i++)
        assert_ok(
            rlhf__params_add_slab(params, shapes[i][0], shapes[i][1], decays[i], &slab));
    params->slabs[EXACT].exact = true;
    assert_ok(rlhf__params_allocate(params));
    float *values = rlhf__params_begin_write(params);
    for (int i = 0; i < NUM_SLABS; i++)
        for (int64_t j = 0; j < shapes[i][0] * shapes[i][1]; j++)
            values[params->slabs[i].offset + j] =
                (float)(rlhf__rng_uniform(7, (uint64_t)i, (uint64_t)j) - 0.5);
    rlhf__params_end_write(params);
}

/* What a slab's element is in frozen parameters. */
static float frozen_value(const rlhf_context *context, const rlhf__slab *slab, float x)
{
    return context->bf16 && slab->decay && !slab->exact ? reference_bf16(x) : x;
}

static void check_values(rlhf_context *context, const rlhf__params *frozen,
                         const rlhf__params *plain)
{
    float *flat = fenced(frozen->count);

    rlhf__params_read_flat(frozen, flat);
    for (int32_t s = 0; s < NUM_SLABS; s++) {
        const rlhf__slab *slab = &plain->slabs[s];
        float row[16];
        for (int64_t i = 0; i < slab->rows; i++) {
            rlhf__params_read(frozen, s, i, 1, row);
            for (int64_t c = 0; c < slab->cols; c++) {
                const int64_t at = slab->offset + i * slab->cols + c;
                assert_true(row[c] == frozen_value(context, slab, plain->values[at]));
                assert_true(flat[at] == row[c]);
            }
        }
    }
    assert_fence(flat, frozen->count);
    free(flat);
}

static void test_frozen_values_are_the_rounded_ones(void **state)
{
    (void)state;
    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++)
        FOR_LEVELS_OF(context, 2, dtype)
        {
            rlhf__params plain, frozen, clone;
            make_params(context, &plain);
            make_params(context, &frozen);
            const uint64_t version = frozen.version;
            assert_ok(rlhf__params_freeze(&frozen));
            assert_ok(rlhf__params_freeze(&frozen)); /* once more: nothing */
            assert_true(frozen.is_frozen && frozen.version == version);
            check_values(context, &frozen, &plain);
            assert_ok(rlhf__params_clone(&frozen, &clone));
            assert_false(clone.is_frozen);
            check_values(context, &clone, &clone);
            check_values(context, &frozen, &clone);
            rlhf__params_free(&plain), rlhf__params_free(&frozen);
            rlhf__params_free(&clone);
        }
}

static void test_frozen_values_can_be_taken_anew(void **state)
{
    (void)state;
    FOR_LEVELS_OF(context, 1, RLHF_DTYPE_BF16)
    {
        rlhf__params plain, frozen;
        make_params(context, &plain);
        make_params(context, &frozen);
        assert_ok(rlhf__params_freeze(&frozen));
        const uint64_t version = frozen.version;
        for (int32_t s = 0; s < NUM_SLABS; s++)
            for (int64_t i = 0; i < plain.slabs[s].rows * plain.slabs[s].cols; i++)
                rlhf__slab_values(&plain, s)[i] += 0.375f;
        rlhf__params_refreeze(&frozen, plain.values);
        assert_true(frozen.version != version);
        check_values(context, &frozen, &plain);
        rlhf__params_free(&plain), rlhf__params_free(&frozen);
    }
}

/* Few rows and many, and the table's rows as an embedding: the plain ones' bits. */
static void test_frozen_products_have_the_same_bits(void **state)
{
    (void)state;
    const int32_t tokens[] = {3, 44, 0, 17, 16}, positions[] = {0, 1, 2, 11, 4};
    float *x = random_floats(100 * 7, 1);

    for (int32_t dtype = RLHF_DTYPE_FP32; dtype <= RLHF_DTYPE_BF16; dtype++)
        FOR_LEVELS_OF(context, 2, dtype)
        {
            rlhf__params plain, frozen;
            rlhf__arena *arena = NULL;
            float *y = fenced(100 * 45), *z = fenced(100 * 45);
            const void *panels = NULL;
            assert_ok(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena));
            make_params(context, &plain);
            make_params(context, &frozen);
            assert_ok(rlhf__params_freeze(&frozen));
            for (int64_t m = 1; m <= 100; m += 33) {
                assert_ok(rlhf__params_matmul(&plain, TABLE, true,
                                              rlhf__matmul_wants_panels(m), arena,
                                              rlhf__floats(x, 7), m, NULL, false, y, 45));
                assert_ok(rlhf__params_matmul(&frozen, TABLE, true,
                                              rlhf__matmul_wants_panels(m), arena,
                                              rlhf__floats(x, 7), m, NULL, false, z, 45));
                assert_memory_equal(y, z, (size_t)(m * 45) * sizeof *y);
            }
            rlhf__embed(context, tokens, positions, 5, 7,
                        rlhf__slab_values(&plain, TABLE),
                        rlhf__slab_values(&plain, EXACT), y);
            assert_ok(rlhf__params_forward_panels(&frozen, TABLE, &panels));
            rlhf__embed_panels(context, tokens, positions, 5, 7, panels,
                               rlhf__slab_values(&frozen, EXACT), z);
            assert_memory_equal(y, z, 5 * 7 * sizeof *y);
            assert_fence(y, 100 * 45);
            assert_fence(z, 100 * 45);
            free(y), free(z);
            rlhf__params_free(&plain), rlhf__params_free(&frozen);
            rlhf__arena_free(arena);
        }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_values_are_the_rounded_ones),
        cmocka_unit_test(test_frozen_values_can_be_taken_anew),
        cmocka_unit_test(test_frozen_products_have_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
