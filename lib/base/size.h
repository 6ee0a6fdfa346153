/* Checked size arithmetic: every product that becomes an allocation goes through here. */
#ifndef RLHF_BASE_SIZE_H
#define RLHF_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Highest count that is taken from a file: no run comes near it, and none that goes on
 * from it overflows. */
#define RLHF__COUNT_MAX ((int64_t)1 << 53)

/* False if a * b (a + b) does not fit; then *out is untouched. */
static inline bool rlhf__size_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

static inline bool rlhf__size_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

static inline int64_t rlhf__min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t rlhf__max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t rlhf__ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

#endif
