/* Contexts of every level, dtype and thread count, random arrays, comparisons. */
#ifndef TESTS_KERNELS_SUPPORT_H
#define TESTS_KERNELS_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rlhf/context.h>

#include "base/arena.h"
#include "base/context.h"
#include "base/rng.h"
#include "dtype.h"
#include "kernels/kernels.h"
#if defined(EMULATED_AVX512)
#include "kernels/emulated.h"
#endif

#define GUARD 12345.5f

/* NULL where this machine cannot run the level. */
static inline rlhf_context *native_context(int32_t level, int32_t threads, int32_t dtype)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;

    assert_int_equal(rlhf_context_options_init(&options, sizeof options), RLHF_OK);
    options.cpu_level = level;
    options.num_threads = threads;
    options.dtype = dtype;
    rlhf_status status = rlhf_context_create(&options, &context);
    if (status == RLHF_ERR_UNSUPPORTED)
        return NULL;
    assert_int_equal(status, RLHF_OK);
    return context;
}

/* The levels from AVX-512 on are emulated where the CPU lacks them and the program has
 * them; NULL for a level that can be neither run nor emulated. */
static inline rlhf_context *context_of_dtype(int32_t level, int32_t threads,
                                             int32_t dtype)
{
    rlhf_context *context = native_context(level, threads, dtype);

#if defined(EMULATED_AVX512)
    /* In fp32 these levels are one. */
    if (!context && (level == RLHF_CPU_AVX512 ||
                     (level > RLHF_CPU_AVX512 && dtype == RLHF_DTYPE_BF16))) {
        context = native_context(RLHF_CPU_AVX2, threads, dtype);
        if (!context)
            return NULL;
        context->blis = false;
        context->kernels = &emulated_kernels;
        if (dtype == RLHF_DTYPE_BF16)
            context->bf16 = level == RLHF_CPU_AVX512        ? &emulated_bf16
                            : level == RLHF_CPU_AVX512_BF16 ? &emulated_bf16_dot
                                                            : &emulated_amx;
    }
#endif
    return context;
}

static inline rlhf_context *context_of(int32_t level, int32_t threads)
{
    return context_of_dtype(level, threads, test_dtype());
}

/* At a multiple of 64 bytes, as the library's own memory. */
static inline float *aligned_floats(int64_t count)
{
    float *x =
        aligned_alloc(64, ((size_t)(count > 0 ? count : 1) * sizeof *x + 63) / 64 * 64);

    assert_non_null(x);
    return x;
}

/* Uniform in [-1, 1); the same for the same stream. */
static inline float *random_floats(int64_t count, uint64_t stream)
{
    float *x = aligned_floats(count);

    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(2.0 * rlhf__rng_uniform(42, stream, (uint64_t)i) - 1.0);
    return x;
}

/* `count` floats of GUARD, and 16 more as a fence. */
static inline float *fenced(int64_t count)
{
    float *x = malloc((size_t)(count + 16) * sizeof *x);

    assert_non_null(x);
    for (int64_t i = 0; i < count + 16; i++)
        x[i] = GUARD;
    return x;
}

static inline void assert_fence(const float *x, int64_t count)
{
    for (int64_t i = count; i < count + 16; i++)
        assert_true(x[i] == GUARD);
}

static inline void assert_near(double actual, double expected, double tolerance)
{
    if (!(fabs(actual - expected) <= tolerance * (1.0 + fabs(expected))))
        fail_msg("%.9g is not %.9g within %g", actual, expected, tolerance);
}

static inline void assert_all_near(const float *actual, const double *expected,
                                   int64_t count, double tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(actual[i] - expected[i]) <= tolerance * (1.0 + fabs(expected[i]))))
            fail_msg("[%lld]: %.9g is not %.9g within %g", (long long)i, actual[i],
                     expected[i], tolerance);
}

#define FOR_LEVELS_OF(context, threads, dtype)                                           \
    for (int32_t level_ = RLHF_CPU_PORTABLE; level_ <= RLHF_CPU_AMX; level_++)           \
        for (rlhf_context *context = context_of_dtype(level_, threads, dtype); context;  \
             rlhf_context_free(context), context = NULL)

#define FOR_LEVELS(context, threads) FOR_LEVELS_OF(context, threads, test_dtype())

#endif
