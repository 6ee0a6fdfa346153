/* bf16 products against their level's chain in integers, bit for bit, at every level;
 * every route against every other. */
#include "products.h"

#include "bf16_reference.h"
#include "kernels/bf16.h"

static const shape shapes[] = {{1, 1, 1},    {1, 3, 5},     {2, 255, 33},  {3, 256, 100},
                               {4, 257, 31}, {7, 511, 65},  {12, 513, 64}, {13, 600, 35},
                               {2, 600, 40}, {30, 301, 17}, {65, 20, 130}, {70, 544, 36}};
#define NUM_SHAPES (sizeof shapes / sizeof shapes[0])

/* --- numbers ------------------------------------------------------------------------ */

/* Of the rounding's boundaries: on a bf16, off it by a little, halfway, near that. */
static const uint32_t lows[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
#define NUM_LOWS (int64_t)(sizeof lows / sizeof lows[0])

/* Plain; of many magnitudes; such that products lie about the least normal number. */
typedef enum numbers { PLAIN, WIDE, TINY, NUM_KINDS } numbers;

static float *make_numbers(numbers kind, int64_t count, uint64_t stream)
{
    float *x = random_floats(count, stream);

    for (int64_t i = 0; i < count; i++) {
        double u = rlhf__rng_uniform(43, stream, (uint64_t)i);
        int exponent = kind == WIDE ? (int)(u * 60.0) - 30 : (int)(u * 4.0) - 65;
        if (kind != PLAIN)
            x[i] = ldexpf(x[i], exponent);
        if (u > 0.95)
            x[i] = u > 0.97 ? -0.0f : copysignf(0x1p-130f, x[i]); /* denormal */
    }
    return x;
}

/* --- rounding ----------------------------------------------------------------------- */

static float *all_highs(uint32_t low)
{
    float *x = aligned_floats(1 << 16);

    for (uint32_t high = 0; high < 1 << 16; high++) {
        uint32_t bits = high << 16 | low;
        memcpy(&x[high], &bits, sizeof bits);
    }
    return x;
}

static void test_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (int64_t l = 0; l < NUM_LOWS; l++) {
        const int64_t count = (1 << 16) - 1; /* odd: the last pair is half empty */
        float *x = all_highs(lows[l]), *expected = aligned_floats(count);
        for (int64_t i = 0; i < count; i++)
            expected[i] = reference_bf16(x[i]);
        FOR_LEVELS_OF(context, 1, RLHF_DTYPE_BF16)
        {
            float *y = fenced(count);
            uint32_t *pairs = (uint32_t *)(void *)aligned_floats((count + 1) / 2);
            rlhf__bf16(context)->round(x, count, y);
            rlhf__bf16(context)->round_pairs(x, count, pairs);
            assert_memory_equal(y, expected, (size_t)count * sizeof *y);
            assert_fence(y, count);
            for (int64_t i = 0; i < count + 1; i++) {
                uint32_t half = pairs[i / 2] >> (i % 2 ? 16 : 0) & 0xffff;
                assert_int_equal(half, i < count ? reference_bits(expected[i]) >> 16 : 0);
            }
            free(y), free(pairs);
        }
        free(x), free(expected);
    }
}

static void test_bf16_rounds_activations_in_their_columns(void **state)
{
    (void)state;
    FOR_LEVELS_OF(context, 2, RLHF_DTYPE_BF16)
    {
        float *x = random_floats(300 * 200, 1), *y = random_floats(300 * 200, 1);
        rlhf__round_activations(context, y + 7, 200, 300, 150);
        for (int64_t i = 0; i < 300 * 200; i++) {
            bool inside = i % 200 >= 7 && i % 200 < 157;
            assert_true(y[i] == (inside ? reference_bf16(x[i]) : x[i]));
        }
        free(x), free(y);
    }
    FOR_LEVELS(context, 1)
    {
        float x[] = {1.001f};
        rlhf__round_activations(context, x, 1, 1, 1);
        assert_true(x[0] == 1.001f);
    }
}

/* --- products ----------------------------------------------------------------------- */

static bool is_of_tiles(int32_t level)
{
    return level == RLHF_CPU_AMX;
}

static void check_products(shape s, numbers kind, bool tiles)
{
    const reference_sum sum_of = tiles ? reference_tile_sum : reference_dot_sum;
    float *x = make_numbers(kind, s.m * s.k, 1), *w = make_numbers(kind, s.n * s.k, 2);
    float *bias = make_numbers(kind, s.n, 3), *start = make_numbers(kind, s.m * s.n, 4);
    float *y = aligned_floats(s.m * s.n), *z = aligned_floats(s.m * s.n);

    for (int64_t r = 0; r < s.m; r++)
        for (int64_t c = 0; c < s.n; c++) {
            const float *row = x + r * s.k;
            /* Tiles begin from zero, the other chain from its first block. */
            float sum = sum_of(tiles ? 0.0f : -0.0f, row, 1, w + c * s.k, 1, s.k);
            y[r * s.n + c] = reference_fma(sum, 1.0f, bias[c]);
            z[r * s.n + c] = sum_of(start[r * s.n + c], row, 1, w + c, s.n, s.k);
        }
    FOR_LEVELS_OF(context, 2, RLHF_DTYPE_BF16)
    {
        if (is_of_tiles(level_) != tiles)
            continue;
        float *forward = run_product(context, x, w, true, bias, NULL, s);
        float *backward = run_product(context, x, w, false, NULL, start, s);
        assert_memory_equal(forward, y, (size_t)(s.m * s.n) * sizeof *y);
        assert_memory_equal(backward, z, (size_t)(s.m * s.n) * sizeof *z);
        free(forward), free(backward);
    }
    free(x), free(w), free(bias), free(start), free(y), free(z);
}

static void check_weight_grad(shape s, numbers kind, bool tiles)
{
    const reference_sum sum_of = tiles ? reference_tile_sum : reference_dot_sum;
    float *dy = make_numbers(kind, s.k * s.m, 1), *x = make_numbers(kind, s.k * s.n, 2);
    float *start = make_numbers(kind, s.m * s.n, 3), *dw = aligned_floats(s.m * s.n);
    shape grad = {s.k, s.n, s.m}; /* k is the number of rows now */

    for (int64_t r = 0; r < s.m; r++)
        for (int64_t c = 0; c < s.n; c++)
            dw[r * s.n + c] = sum_of(start[r * s.n + c], dy + r, s.m, x + c, s.n, s.k);
    FOR_LEVELS_OF(context, 2, RLHF_DTYPE_BF16)
    {
        if (is_of_tiles(level_) != tiles)
            continue;
        float *mine = run_weight_grad(context, dy, x, grad, start);
        assert_memory_equal(mine, dw, (size_t)(s.m * s.n) * sizeof *dw);
        free(mine);
    }
    free(dy), free(x), free(start), free(dw);
}

static void test_bf16_products_are_the_level_s_chain(void **state)
{
    (void)state;
    for (numbers kind = PLAIN; kind < NUM_KINDS; kind++)
        for (size_t i = 0; i < 2 * NUM_SHAPES; i++)
            check_products(shapes[i / 2], kind, i % 2);
}

static void test_bf16_weight_gradients_are_the_level_s_chain(void **state)
{
    (void)state;
    for (numbers kind = PLAIN; kind < NUM_KINDS; kind++)
        for (size_t i = 0; i < 2 * NUM_SHAPES; i++)
            check_weight_grad(shapes[i / 2], kind, i % 2);
}

/* A weight so wide that it is packed on the way in parts; run_product compares. */
static void test_bf16_parts_of_a_wide_weight_are_its_product(void **state)
{
    (void)state;
    const shape s = {1, 602, 3600}; /* 301 pairs: more than 2^20 words at any panel */
    float *x = random_floats(s.m * s.k, 1), *w = random_floats(s.n * s.k, 2);
    float *bias = random_floats(s.n, 3), *start = random_floats(s.m * s.n, 4);

    FOR_LEVELS_OF(context, 2, RLHF_DTYPE_BF16)
    {
        free(run_product(context, x, w, true, bias, NULL, s));
        free(run_product(context, x, w, false, NULL, start, s));
    }
    free(x), free(w), free(bias), free(start);
}

/* Panels give back the rounded columns that they were made of. */
static void test_bf16_panels_give_columns_back(void **state)
{
    (void)state;
    const int64_t k = 37, n = 50;
    float *w = random_floats(n * k, 2), column[37];

    FOR_LEVELS_OF(context, 1, RLHF_DTYPE_BF16)
    {
        float *panels = aligned_floats(rlhf__panels_size(context, k, n));
        rlhf__pack_panels(context, w, k, true, k, n, panels);
        for (int64_t j = 0; j < n; j++) {
            rlhf__panels_column(context, panels, k, j, column);
            for (int64_t p = 0; p < k; p++)
                assert_true(column[p] == reference_bf16(w[j * k + p]));
        }
        free(panels);
    }
    free(w);
}

/* Each row alone has the bits that it has among others, for all row counts. */
static void test_bf16_rows_do_not_depend_on_each_other(void **state)
{
    (void)state;
    FOR_LEVELS_OF(context, 2, RLHF_DTYPE_BF16)
    {
        shape all = {27, 261, 70};
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

static void check_threads(shape s)
{
    float *x = random_floats(s.m * s.k, 1), *w = random_floats(s.n * s.k, 2);
    float *dy = random_floats(s.m * s.n, 3);

    for (int32_t level = RLHF_CPU_PORTABLE; level <= RLHF_CPU_AMX; level++) {
        float *first = NULL, *first_dw = NULL;
        for (int32_t threads = 1; threads <= 3; threads++) {
            rlhf_context *context = context_of_dtype(level, threads, RLHF_DTYPE_BF16);
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
        free(first), free(first_dw);
    }
    free(x), free(w), free(dy);
}

static void test_bf16_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    check_threads((shape){50, 300, 90});
    check_threads((shape){299, 40, 330}); /* tiles of several groups and panels */
}

/* A product that takes long enough for both threads to be in it, of a weight that each
 * packs for itself. Emulated levels would take seconds. */
static void test_bf16_threads_pack_for_themselves(void **state)
{
    (void)state;
    const shape s = {300, 2000, 2900};
    float *x = random_floats(s.m * s.k, 1), *w = random_floats(s.n * s.k, 2);

    for (int32_t level = RLHF_CPU_AVX2; level <= RLHF_CPU_AMX; level++) {
        rlhf_context *context = native_context(level, 2, RLHF_DTYPE_BF16);
        if (context)
            free(run_product(context, x, w, true, NULL, NULL, s));
        rlhf_context_free(context);
    }
    free(x), free(w);
}

/* The control word that flushes denormals is the products' alone. */
static void test_bf16_products_leave_denormals_to_others(void **state)
{
    (void)state;
    FOR_LEVELS_OF(context, 1, RLHF_DTYPE_BF16)
    {
        for (int64_t m = 1; m <= 9; m += 4) {
            shape s = {m, 8, 8};
            float *x = random_floats(s.m * s.k, 1), *w = random_floats(s.n * s.k, 2);
            free(run_product(context, x, w, true, NULL, NULL, s));
            volatile float small = 0x1p-126f;
            assert_true(small * 0.5f != 0.0f);
            free(x), free(w);
        }
    }
}

/* An embedding is the token's rounded row, plus the position's as it is. */
static void test_bf16_embeddings_are_rounded(void **state)
{
    (void)state;
    const int32_t tokens[] = {4, 0, 4}, positions[] = {0, 1, 2};
    float *table = random_floats(5 * 19, 1), *places = random_floats(3 * 19, 2);

    FOR_LEVELS_OF(context, 1, RLHF_DTYPE_BF16)
    {
        float *y = fenced(3 * 19), *z = fenced(3 * 19);
        rlhf__embed(context, tokens, positions, 3, 19, table, NULL, y);
        rlhf__embed(context, tokens, positions, 3, 19, table, places, z);
        for (int64_t i = 0; i < 3 * 19; i++) {
            float row = reference_bf16(table[tokens[i / 19] * 19 + i % 19]);
            assert_true(y[i] == row && z[i] == row + places[i]);
        }
        assert_fence(y, 3 * 19);
        assert_fence(z, 3 * 19);
        free(y), free(z);
    }
    free(table), free(places);
}

/* A pass over rows into floats, or into halves. */
typedef rlhf_status (*row_pass)(rlhf_context *context, rlhf__arena *arena, float *x,
                                int64_t rows, int64_t width, const float *weight,
                                rlhf__result y);

static rlhf_status pass_layernorm(rlhf_context *context, rlhf__arena *arena, float *x,
                                  int64_t rows, int64_t width, const float *weight,
                                  rlhf__result y)
{
    return rlhf__layernorm(context, arena, x, NULL, rows, width, weight, weight, 1e-5f, y,
                           NULL, NULL);
}

static rlhf_status pass_rmsnorm(rlhf_context *context, rlhf__arena *arena, float *x,
                                int64_t rows, int64_t width, const float *weight,
                                rlhf__result y)
{
    return rlhf__rmsnorm(context, arena, x, NULL, rows, width, weight, 1e-5f, y, NULL);
}

static rlhf_status pass_gelu(rlhf_context *context, rlhf__arena *arena, float *x,
                             int64_t rows, int64_t width, const float *weight,
                             rlhf__result y)
{
    (void)weight;
    return rlhf__activation_forward(context, arena, RLHF__GELU_TANH, x, rows, width, y);
}

static rlhf_status pass_swiglu(rlhf_context *context, rlhf__arena *arena, float *x,
                               int64_t rows, int64_t width, const float *weight,
                               rlhf__result y)
{
    (void)weight;
    return rlhf__activation_forward(context, arena, RLHF__SWIGLU, x, rows, width, y);
}

/* Halves are the pass's floats, rounded; what fills a row up is zeros. */
static void check_row_pass(rlhf_context *context, row_pass pass, int64_t rows,
                           int64_t width)
{
    const int64_t ld = rlhf__rounded_ld(context, width);
    float *x = random_floats(2 * rows * width, 1), *weight = random_floats(width, 2);
    float *y = fenced(rows * width), *z = fenced(rows * ld / 2);
    uint16_t *halves = calloc((size_t)(rows * ld), sizeof *halves);
    rlhf__arena *arena = NULL;

    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    for (int64_t i = 0; i < rows * ld / 2; i++)
        z[i] = NAN;
    assert_int_equal(pass(context, NULL, x, rows, width, weight, rlhf__to_floats(y)),
                     RLHF_OK);
    assert_int_equal(
        pass(context, arena, x, rows, width, weight, (rlhf__result){z, true}), RLHF_OK);
    for (int64_t i = 0; i < rows * width; i++)
        halves[i / width * ld + i % width] =
            (uint16_t)(reference_bits(reference_bf16(y[i])) >> 16);
    assert_memory_equal(z, halves, (size_t)(rows * ld) * sizeof *halves);
    assert_fence(z, rows * ld / 2);
    rlhf__arena_free(arena);
    free(x), free(weight), free(y), free(z), free(halves);
}

static void test_bf16_rows_for_products_are_rounded(void **state)
{
    (void)state;
    const row_pass passes[] = {pass_layernorm, pass_rmsnorm, pass_gelu, pass_swiglu};

    FOR_LEVELS_OF(context, 2, RLHF_DTYPE_BF16)
    {
        for (int i = 0; i < 4; i++) {
            check_row_pass(context, passes[i], 3, 1);
            check_row_pass(context, passes[i], 200, 33);
            check_row_pass(context, passes[i], 70, 288);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16_rounds_activations_in_their_columns),
        cmocka_unit_test(test_bf16_products_are_the_level_s_chain),
        cmocka_unit_test(test_bf16_weight_gradients_are_the_level_s_chain),
        cmocka_unit_test(test_bf16_parts_of_a_wide_weight_are_its_product),
        cmocka_unit_test(test_bf16_panels_give_columns_back),
        cmocka_unit_test(test_bf16_rows_do_not_depend_on_each_other),
        cmocka_unit_test(test_bf16_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_bf16_threads_pack_for_themselves),
        cmocka_unit_test(test_bf16_products_leave_denormals_to_others),
        cmocka_unit_test(test_bf16_embeddings_are_rounded),
        cmocka_unit_test(test_bf16_rows_for_products_are_rounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
