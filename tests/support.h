/* Shared by tests: an allocator that fails on demand, contexts, assertions with words. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <rlhf/rlhf.h>

#include "dtype.h"

/* Fails the test with the library's own words. */
#define assert_ok(call)                                                                  \
    do {                                                                                 \
        rlhf_status status_ = (call);                                                    \
        if (status_ != RLHF_OK)                                                          \
            fail_msg("%s: %s: %s", #call, rlhf_status_name(status_),                     \
                     rlhf_last_error_message());                                         \
    } while (0)

/* The status, and words that the message must contain. */
#define assert_fails(call, expected, words)                                              \
    do {                                                                                 \
        rlhf_status status_ = (call);                                                    \
        if (status_ != (expected))                                                       \
            fail_msg("%s gave %s, not %s (%s)", #call, rlhf_status_name(status_),        \
                     rlhf_status_name(expected), rlhf_last_error_message());             \
        if (!strstr(rlhf_last_error_message(), words))                                   \
            fail_msg("\"%s\" does not say \"%s\"", rlhf_last_error_message(), words);    \
    } while (0)

/* The field that the last failure names. */
static inline void assert_field(const char *name)
{
    rlhf_error_info info = {.struct_size = sizeof info};

    assert_ok(rlhf_last_error_info(&info));
    if (strcmp(info.field, name) != 0)
        fail_msg("\"%s\" is of field \"%s\", not \"%s\"", info.message, info.field, name);
}

/* Counts blocks; refuses the `fail_at`-th allocation (from 0), and all later ones with
 * `fail_all`. -1: none. */
typedef struct failing_allocator {
    int64_t count, fail_at, live;
    int fail_all;
} failing_allocator;

static inline void *failing_alloc(void *user_data, size_t size, size_t alignment,
                                  int32_t kind)
{
    failing_allocator *own = user_data;
    int64_t index = own->count++;

    (void)kind;
    if (own->fail_at >= 0 &&
        (index == own->fail_at || (own->fail_all && index > own->fail_at)))
        return NULL;
    void *block = aligned_alloc(alignment, size);
    own->live += block != NULL;
    return block;
}

static inline void failing_free(void *user_data, void *ptr, size_t size, size_t alignment,
                                int32_t kind)
{
    failing_allocator *own = user_data;

    (void)size;
    (void)alignment;
    (void)kind;
    own->live -= ptr != NULL;
    free(ptr);
}

static inline rlhf_allocator failing_hooks(failing_allocator *own)
{
    return (rlhf_allocator){sizeof(rlhf_allocator), failing_alloc, failing_free, own};
}

/* Options of a test's context. tests/at_level.py runs programs once more at another
 * kernel level, with other threads or in bf16 by these variables; the library itself
 * reads none. */
static inline void support_options(rlhf_context_options *options, int32_t threads)
{
    const char *level = getenv("RLHF_TEST_CPU_LEVEL"),
               *count = getenv("RLHF_TEST_THREADS");

    assert_ok(rlhf_context_options_init(options, sizeof *options));
    options->dtype = test_dtype();
    options->num_threads = count ? (int32_t)strtol(count, NULL, 10) : threads;
    if (level)
        options->cpu_level = (int32_t)strtol(level, NULL, 10);
}

/* A context of one thread that takes its memory from `own` (NULL: the C library's). */
static inline rlhf_context *support_context(failing_allocator *own, int32_t threads)
{
    rlhf_allocator hooks;
    rlhf_context_options options;
    rlhf_context *context = NULL;

    support_options(&options, threads);
    if (own) {
        hooks = failing_hooks(own);
        options.allocator = &hooks;
    }
    assert_ok(rlhf_context_create(&options, &context));
    return context;
}

/* A context of so many threads, whatever the environment asks for. */
static inline rlhf_context *support_context_of(int32_t threads)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;

    support_options(&options, threads);
    options.num_threads = threads;
    assert_ok(rlhf_context_create(&options, &context));
    return context;
}

#endif
