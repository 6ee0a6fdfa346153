/* Matrix products against double precision, and every route against every other bit
 * for bit. */
#include "products.h"

#include "kernels/blis_kernel.h"
#include "kernels/table.h"

static const shape shapes[] = {
    {1, 1, 1},      {1, 3, 5},      {2, 255, 33},   {3, 256, 100},  {4, 257, 31},
    {7, 511, 65},   {12, 513, 96},  {13, 1000, 70}, {40, 64, 130},  {100, 300, 17},
    {65, 20, 257},  {200, 768, 48}, {300, 260, 40}, {13, 4200, 24}, {7, 1000, 1100},
    {1, 70, 1100},  {3, 300, 430},  {5, 384, 20},   {9, 385, 20},   {600, 640, 33},
    {265, 641, 70}, {270, 4100, 20}};
#define NUM_SHAPES (sizeof shapes / sizeof shapes[0])

static void test_matmul_equals_double_reference(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t i = 0; i < NUM_SHAPES; i++) {
            shape s = shapes[i];
            float *x = random_floats(s.m * s.k, 1), *w = random_floats(s.n * s.k, 2);
            float *bias = random_floats(s.n, 3), *start = random_floats(s.m * s.n, 4);
            float *y = run_product(context, x, w, true, bias, NULL, s);
            float *z = run_product(context, x, w, false, NULL, start, s);
            for (int64_t r = 0; r < s.m; r++)
                for (int64_t c = 0; c < s.n; c++) {
                    double a = bias[c], b = start[r * s.n + c];
                    for (int64_t p = 0; p < s.k; p++) {
                        a += (double)x[r * s.k + p] * w[c * s.k + p];
                        b += (double)x[r * s.k + p] * w[p * s.n + c];
                    }
                    assert_near(y[r * s.n + c], a, 2e-5);
                    assert_near(z[r * s.n + c], b, 2e-5);
                }
            free(x), free(w), free(bias), free(start), free(y), free(z);
        }
    }
}

/* The contract: fma over ascending k in blocks of 256, a rest of up to 128 within the
 * last, blocks added in order, then the bias. */
static void test_matmul_is_the_documented_chain(void **state)
{
    (void)state;
    FOR_LEVELS(context, 1)
    {
        for (size_t i = 0; i < NUM_SHAPES; i++) {
            shape s = shapes[i];
            float *x = random_floats(s.m * s.k, 1), *w = random_floats(s.n * s.k, 2);
            float *bias = random_floats(s.n, 3);
            float *y = run_product(context, x, w, true, bias, NULL, s);
            for (int64_t r = 0; r < s.m; r++)
                for (int64_t c = 0; c < s.n; c++) {
                    float sum = 0.0f;
                    for (int64_t k0 = 0, k1; k0 < s.k; k0 = k1) {
                        float block = 0.0f;
                        k1 = s.k - k0 > 256 + 128 ? k0 + 256 : s.k;
                        for (int64_t p = k0; p < k1; p++)
                            block = level_ == RLHF_CPU_PORTABLE
                                        ? block + x[r * s.k + p] * w[c * s.k + p]
                                        : fmaf(x[r * s.k + p], w[c * s.k + p], block);
                        sum = k0 ? sum + block : block;
                    }
                    assert_true(y[r * s.n + c] == sum + bias[c]);
                }
            free(x), free(w), free(bias), free(y);
        }
    }
}

/* Each row alone has the bits that it has among others, for all row counts. */
static void test_matmul_rows_do_not_depend_on_each_other(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        shape all = {40, 513, 100};
        float *x = random_floats(all.m * all.k, 1), *w = random_floats(all.n * all.k, 2);
        float *whole = run_product(context, x, w, true, NULL, NULL, all);
        for (int64_t m = 1; m < all.m; m++) {
            shape s = {m, all.k, all.n};
            float *part =
                run_product(context, x + (all.m - m) * all.k, w, true, NULL, NULL, s);
            assert_memory_equal(part, whole + (all.m - m) * all.n,
                                (size_t)(m * all.n) * sizeof *part);
            free(part);
        }
        free(x), free(w), free(whole);
    }
}

static void test_weight_grad_equals_double_reference(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t i = 0; i < NUM_SHAPES; i++) {
            shape s = shapes[i];
            float *dy = random_floats(s.m * s.n, 1), *x = random_floats(s.m * s.k, 2);
            float *start = random_floats(s.n * s.k, 3), *db = fenced(s.n);
            float *dw = run_weight_grad(context, dy, x, s, start);
            memset(db, 0, (size_t)s.n * sizeof *db);
            assert_int_equal(rlhf__column_sums(context, NULL, dy, s.n, s.m, s.n, db),
                             RLHF_OK);
            assert_fence(db, s.n);
            for (int64_t r = 0; r < s.n; r++) {
                double b = 0;
                for (int64_t t = 0; t < s.m; t++)
                    b += dy[t * s.n + r];
                assert_near(db[r], b, 1e-5);
                for (int64_t c = 0; c < s.k; c++) {
                    double sum = start[r * s.k + c];
                    for (int64_t t = 0; t < s.m; t++)
                        sum += (double)dy[t * s.n + r] * x[t * s.k + c];
                    assert_near(dw[r * s.k + c], sum, 2e-5);
                }
            }
            free(dy), free(x), free(start), free(dw), free(db);
        }
    }
}

static void test_weight_grad_overwrites_to_the_bits_of_adding_to_zeros(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        for (size_t i = 0; i < NUM_SHAPES; i++) {
            shape s = shapes[i];
            float *dy = random_floats(s.m * s.n, 1), *x = random_floats(s.m * s.k, 2);
            float *zeros = calloc((size_t)(s.n * s.k), sizeof *zeros);
            float *added = run_weight_grad(context, dy, x, s, zeros);
            float *fresh = run_weight_grad(context, dy, x, s, NULL);
            assert_memory_equal(fresh, added, (size_t)(s.n * s.k) * sizeof *fresh);
            free(fresh);
            s.m = 0; /* a sum of nothing */
            fresh = run_weight_grad(context, dy, x, s, NULL);
            assert_memory_equal(fresh, zeros, (size_t)(s.n * s.k) * sizeof *fresh);
            free(dy), free(x), free(zeros), free(added), free(fresh);
        }
    }
}

static void test_matmul_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (int32_t level = RLHF_CPU_PORTABLE; level <= RLHF_CPU_AMX; level++) {
        for (size_t i = 0; i < NUM_SHAPES; i++) {
            shape s = shapes[i];
            float *x = random_floats(s.m * s.k, 1), *w = random_floats(s.n * s.k, 2);
            float *dy = random_floats(s.m * s.n, 3), *first = NULL, *first_dw = NULL;
            for (int32_t threads = 1; threads <= 3; threads++) {
                rlhf_context *context = context_of(level, threads);
                if (!context)
                    continue;
                float *y = run_product(context, x, w, true, NULL, NULL, s);
                float *dw = run_weight_grad(context, dy, x, s, w);
                if (first) {
                    assert_memory_equal(y, first, (size_t)(s.m * s.n) * sizeof *y);
                    assert_memory_equal(dw, first_dw, (size_t)(s.n * s.k) * sizeof *dw);
                    free(y), free(dw);
                } else {
                    first = y;
                    first_dw = dw;
                }
                rlhf_context_free(context);
            }
            free(x), free(w), free(dy), free(first), free(first_dw);
        }
    }
}

/* --- BLIS's kernel ------------------------------------------------------------------ */

static const char *const level_names[] = {"avx2", "avx512"};

/* The level whose tiles BLIS's kernel must compute (meson runs this program once for each
 * BLIS_ARCH_TYPE): "avx2", "avx512", "none"; NULL: whichever. */
static const char *wanted_level(void)
{
    return getenv("RLHF_TEST_BLIS_LEVEL");
}

static bool can_run(int32_t level)
{
    int32_t resolved;

    return rlhf__kernels_resolve_level(level, RLHF_DTYPE_FP32, &resolved) == RLHF_OK;
}

static void compare_kernels(const rlhf__kernels *t)
{
    const size_t size = (size_t)(t->tile_rows * t->panel) * sizeof(float);
    rlhf__blis blis;

    assert_true(rlhf__blis_find(&blis));
    for (int64_t k = 1; k <= 384; k += 17) {
        float *a = random_floats(k * t->tile_rows + 64, 1);
        float *b = random_floats(k * t->panel + 64, 2);
        float *ours = random_floats(t->tile_rows * t->panel, 3);
        float *theirs = random_floats(t->tile_rows * t->panel, 3);
        const rlhf__ask ask = {.at = b, .steps = 1};
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            t->microkernel(t->tile_rows, k, a, b, ours, t->panel, accumulate, &ask);
            rlhf__blis_microkernel(&blis, k, a, b, theirs, t->panel, accumulate);
            assert_memory_equal(ours, theirs, size);
        }
        free(a), free(b), free(ours), free(theirs);
    }
}

/* Whichever it is here, it has the bits of ours; and it is the one that was asked for. */
static void test_blis_kernel_is_the_same_chain(void **state)
{
    (void)state;
    const char *wanted = wanted_level();
    int compared = 0;

    for (int32_t i = 0; i < 2; i++) {
        const rlhf__kernels *t = rlhf__kernels_for_level(RLHF_CPU_AVX2 + i);
        if (!can_run(RLHF_CPU_AVX2 + i))
            continue;
        const bool fits = rlhf__blis_fits(t->tile_rows, t->panel);
        if (wanted)
            assert_int_equal(fits, strcmp(wanted, level_names[i]) == 0);
        if (fits)
            compare_kernels(t);
        compared += fits;
    }
    if (!compared)
        print_message("BLIS's kernel has another shape than ours: not compared\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_equals_double_reference),
        cmocka_unit_test(test_matmul_is_the_documented_chain),
        cmocka_unit_test(test_matmul_rows_do_not_depend_on_each_other),
        cmocka_unit_test(test_weight_grad_equals_double_reference),
        cmocka_unit_test(test_weight_grad_overwrites_to_the_bits_of_adding_to_zeros),
        cmocka_unit_test(test_matmul_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_blis_kernel_is_the_same_chain),
    };
    const struct CMUnitTest blis[] = {
        cmocka_unit_test(test_blis_kernel_is_the_same_chain),
    };
    for (int32_t i = 0; i < 2; i++)
        if (wanted_level() && strcmp(wanted_level(), level_names[i]) == 0 &&
            !can_run(RLHF_CPU_AVX2 + i)) {
            print_message("skipped: this CPU cannot run BLIS's kernels for %s\n",
                          level_names[i]);
            return 77; /* meson's word for it */
        }
    if (getenv("RLHF_TEST_BLIS_ALONE"))
        return cmocka_run_group_tests(blis, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
