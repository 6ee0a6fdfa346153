/* BLIS's sgemm micro-kernel, the one that BLIS picks for this CPU, and nothing else of
 * BLIS. */
#ifndef RLHF_KERNELS_BLIS_KERNEL_H
#define RLHF_KERNELS_BLIS_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

/* True if BLIS's native kernel computes tiles of `rows` x `panel`, with panel along
 * the rows of c. It is an FMA kernel then: the shapes are those of its haswell, zen
 * and skx kernels. False also where asking BLIS would end the process, for what the
 * environment holds. */
bool rlhf__blis_fits(int64_t rows, int64_t panel);
/* The kernel as BLIS tells it, asked for once a product. */
typedef struct rlhf__blis {
    const void *cntx;
    void (*kernel)(void); /* BLIS's own type */
    int64_t rows, columns;
    bool prefers_rows;
} rlhf__blis;

/* Only if it fits. */
void rlhf__blis_find(rlhf__blis *out);
/* c[rows][panel] = (accumulate ? c : 0) + a[k][rows]^T b[k][panel]. */
void rlhf__blis_microkernel(const rlhf__blis *blis, int64_t k, const float *a,
                            const float *b, float *c, int64_t ldc, bool accumulate);

#endif
