/* What products read, and what passes over rows write for them. */
#ifndef RLHF_KERNELS_OPERAND_H
#define RLHF_KERNELS_OPERAND_H

#include <stdbool.h>
#include <stdint.h>

/* Rows of floats or, in a bf16 context, of halves: numbers that are rounded to bf16
 * already, rlhf__rounded_ld elements apart, zeros after a row's last. */
typedef struct rlhf__operand {
    const void *data;
    int64_t ld; /* elements from a row to the next */
    bool halves;
} rlhf__operand;

static inline rlhf__operand rlhf__floats(const float *x, int64_t ld)
{
    return (rlhf__operand){x, ld, false};
}

/* The part of it that begins `count` elements on. */
static inline rlhf__operand rlhf__operand_from(rlhf__operand x, int64_t count)
{
    x.data = x.halves ? (const void *)((const uint16_t *)x.data + count)
                      : (const void *)((const float *)x.data + count);
    return x;
}

/* Where a pass leaves its rows: y[rows][width] or, rounded, what an operand of halves
 * is. */
typedef struct rlhf__result {
    void *data;
    bool halves;
} rlhf__result;

static inline rlhf__result rlhf__to_floats(float *y)
{
    return (rlhf__result){y, false};
}

#endif
