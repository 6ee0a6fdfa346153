/* Matrix products by the library, with fences around the results. */
#ifndef TESTS_KERNELS_PRODUCTS_H
#define TESTS_KERNELS_PRODUCTS_H

#include "kernels/bf16.h"
#include "kernels_support.h"

typedef struct shape {
    int64_t m, k, n;
} shape;

/* x[rows][cols] rounded, as an operand of halves; its data is to be freed. */
static inline rlhf__operand make_halves(rlhf_context *context, const float *x,
                                        int64_t rows, int64_t cols)
{
    const int64_t words = rlhf__rounded_ld(context, cols) / 2;
    uint32_t *halves = (uint32_t *)(void *)aligned_floats(rows * words);

    memset(halves, 0, (size_t)(rows * words) * sizeof *halves);
    for (int64_t i = 0; i < rows; i++)
        rlhf__bf16(context)->round_pairs(x + i * cols, cols, halves + i * words);
    return (rlhf__operand){halves, 2 * words, true};
}

/* y[m][n] by the library, from a weight's panels, [n][k] or [k][n]; start NULL: not
 * added to. */
static inline float *run_packed_product(rlhf_context *context, rlhf__operand x,
                                        const float *w, bool transposed,
                                        const float *bias, const float *start, shape s)
{
    rlhf__arena *arena = NULL;
    float *panels, *y = fenced(s.m * s.n);

    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    panels = aligned_floats(rlhf__panels_size(context, s.k, s.n));
    rlhf__pack_panels(context, w, transposed ? s.k : s.n, transposed, s.k, s.n, panels);
    if (start)
        memcpy(y, start, (size_t)(s.m * s.n) * sizeof *y);
    assert_int_equal(rlhf__matmul(context, arena, x, s.m, s.k, s.n, panels, bias,
                                  start != NULL, y, s.n),
                     RLHF_OK);
    assert_fence(y, s.m * s.n);
    free(panels);
    rlhf__arena_free(arena);
    return y;
}

/* run_packed_product, and the same from the weight itself. */
static inline float *run_both_products(rlhf_context *context, rlhf__operand x,
                                       const float *w, bool transposed, const float *bias,
                                       const float *start, shape s)
{
    rlhf__arena *arena = NULL;
    float *y = run_packed_product(context, x, w, transposed, bias, start, s);
    float *z = fenced(s.m * s.n);
    const size_t size = (size_t)(s.m * s.n) * sizeof *y;

    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    if (start)
        memcpy(z, start, size);
    assert_int_equal(rlhf__matmul_unpacked(context, arena, x, s.m, s.k, s.n, w,
                                           transposed ? s.k : s.n, transposed, bias,
                                           start != NULL, z, s.n),
                     RLHF_OK);
    assert_fence(z, s.m * s.n);
    assert_memory_equal(y, z, size);
    free(z);
    rlhf__arena_free(arena);
    return y;
}

/* The same from x and, where products round, from x rounded before. */
static inline float *run_product(rlhf_context *context, const float *x, const float *w,
                                 bool transposed, const float *bias, const float *start,
                                 shape s)
{
    float *y =
        run_both_products(context, rlhf__floats(x, s.k), w, transposed, bias, start, s);

    if (rlhf__products_round(context)) {
        rlhf__operand halves = make_halves(context, x, s.m, s.k);
        float *z = run_both_products(context, halves, w, transposed, bias, start, s);
        assert_memory_equal(y, z, (size_t)(s.m * s.n) * sizeof *y);
        free(z), free((void *)halves.data);
    }
    return y;
}

/* dw[n][k]; start NULL: overwrites what is there. */
static inline float *run_one_weight_grad(rlhf_context *context, const float *dy,
                                         rlhf__operand x, shape s, const float *start)
{
    rlhf__arena *arena = NULL;
    float *dw = fenced(s.n * s.k);

    assert_int_equal(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena),
                     RLHF_OK);
    for (int64_t i = 0; i < s.n * s.k; i++)
        dw[i] = start ? start[i] : NAN;
    assert_int_equal(rlhf__matmul_weight_grad(context, arena, dy, s.n, x, s.m, s.n, s.k,
                                              start != NULL, dw, s.k),
                     RLHF_OK);
    assert_fence(dw, s.n * s.k);
    rlhf__arena_free(arena);
    return dw;
}

static inline float *run_weight_grad(rlhf_context *context, const float *dy,
                                     const float *x, shape s, const float *start)
{
    float *dw = run_one_weight_grad(context, dy, rlhf__floats(x, s.k), s, start);

    if (rlhf__products_round(context)) {
        rlhf__operand halves = make_halves(context, x, s.m, s.k);
        float *other = run_one_weight_grad(context, dy, halves, s, start);
        assert_memory_equal(dw, other, (size_t)(s.n * s.k) * sizeof *dw);
        free(other), free((void *)halves.data);
    }
    return dw;
}

#endif
